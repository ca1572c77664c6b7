"""Streams, windows and delayed targets of a long series."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import crnn
from crnn.data import Standardizer, Streams, TextStreams, delayed, windows

# ---------------------------------------------------------------------------------------- streams


@given(st.integers(2, 80), st.integers(1, 9), st.integers(1, 20), st.sampled_from([None, 1, 3]))
def test_every_step_comes_once_and_rows_are_continued(N, batch, steps, features):
    if batch > N:
        return
    x = np.arange(float(N)) if features is None else np.arange(float(N * features)).reshape(N, -1)
    streams = Streams(x, 2 * x, batch_size=batch, steps=steps)
    items = list(streams)
    assert len(items) == len(streams)
    rows = [np.concatenate([item[0][b] for item in items]) for b in range(batch)]
    for item_x, target in items:
        assert item_x.shape[:1] + item_x.shape[2:] == (batch, features or 1)
        np.testing.assert_array_equal(target, 2 * item_x)
    assert [item[0].shape[1] for item in items[:-1]] == [steps] * (len(items) - 1)
    length = N // batch
    for b, row in enumerate(rows):  # row b of an item is continued by row b of the next
        np.testing.assert_array_equal(row, x.reshape(N, -1)[b * length : (b + 1) * length])
    seen = np.concatenate(rows)[:, 0]
    np.testing.assert_array_equal(seen, x.reshape(N, -1)[: batch * length, 0])  # once, in order
    assert N - len(seen) < batch


@given(st.integers(2, 60), st.integers(1, 6), st.integers(1, 9))
def test_without_a_target_the_next_step_is_predicted(N, batch, steps):
    if batch >= N:
        return
    for x, target in Streams(np.arange(N), batch_size=batch, steps=steps):
        assert x.dtype.kind == "i"
        assert x.ndim == 2  # symbols
        np.testing.assert_array_equal(target, x + 1)


def test_one_item_equals_that_of_text_streams():
    text = np.arange(50) % 7
    ((x, target),), ((x2, target2),) = Streams(text, batch_size=4), TextStreams(text, 4)
    np.testing.assert_array_equal(x, x2)
    np.testing.assert_array_equal(target, target2)


def test_masks_resets_and_weights_of_each_step():
    N = 11
    mask, resets, weights = np.arange(N) % 3 > 0, np.arange(N) % 5 == 0, np.arange(N) / 2
    streams = Streams(
        np.arange(N), batch_size=2, steps=2, mask=mask, resets=resets, weights=weights
    )
    for x, _, lengths, extras in streams:
        assert lengths is None
        np.testing.assert_array_equal(extras["mask"], x % 3 > 0)
        np.testing.assert_array_equal(extras["resets"], x % 5 == 0)
        np.testing.assert_array_equal(extras["weights"], x / 2)
        assert extras["mask"].dtype == extras["resets"].dtype == bool


@pytest.fixture
def file(tmp_path):
    """A memory-mapped series of 6 million numbers."""
    shape = (2_000_000, 3)
    series = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, shape)
    series[:100] = 1
    series[-100:] = 2
    return series


def test_a_file_is_read_only_when_it_is_needed(file):
    for x, target in Streams(file, file[:, 0], batch_size=16, steps=100):
        assert np.shares_memory(x, file)
        assert np.shares_memory(target, file)
        assert (x[0] == 1).all()
        break
    x, target = windows(file, 1000, horizon=10, stride=7)
    assert np.shares_memory(x, file)
    assert np.shares_memory(target, file)
    assert (target[-1, -1] == 2).all()
    assert len(x) == (len(file) - 1010) // 7 + 1


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.ones(3),), {"batch_size": 3}, "x: expected N of at least 4, got 3"),
        ((np.ones(2), np.ones(2)), {"batch_size": 3}, "x: expected N of at least 3, got 2"),
        (
            (np.ones(3), np.ones(2)),
            {"batch_size": 1},
            "target: expected N=3 steps, as in the series, got 2",
        ),
        (
            (np.array("ab"),),
            {"batch_size": 1},
            r"x: expected numbers \(N, F\) or \(N,\), got <U2 of sha",
        ),
        ((["ab", "c"],), {"batch_size": 1}, r"x: expected numbers \(N, F\) or \(N,\), got <U2"),
        ((np.ones(3),), {"batch_size": 0}, "batch_size: expected an integer of at least 1"),
        ((np.ones(3),), {"batch_size": 1, "steps": 0}, "steps: expected an integer of at least 1"),
        (
            (np.ones(3),),
            {"batch_size": 1, "mask": [True]},
            r"mask: expected shape \(N,\)=\(3,\), got",
        ),
    ],
)
def test_wrong_streams(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        Streams(*arguments, **options)


def test_streams_train():
    wave = np.sin(np.arange(400) / 5)
    model = crnn.Sequential([crnn.GRU(1, 8, seed=0), crnn.Dense(8, 1, seed=1)])
    history = crnn.fit(
        model,
        Streams(Standardizer().fit(wave).transform(wave), batch_size=4, steps=20),
        loss=crnn.losses.mse,
        optimizer=crnn.optim.Adam(model, lr=0.02),
        epochs=20,
        progress=False,
    )
    assert history.loss[-1] < 0.05


# ---------------------------------------------------------------------------------------- windows


@given(
    N=st.integers(1, 60),
    steps=st.integers(1, 12),
    horizon=st.integers(0, 6),
    stride=st.integers(1, 9),
    every_step=st.booleans(),
)
def test_windows_by_their_definition(N, steps, horizon, stride, every_step):
    series, other = np.arange(2.0 * N).reshape(N, 2), np.arange(N)
    options = {"horizon": horizon, "stride": stride, "every_step": every_step}
    if horizon == 0 and not every_step:
        with pytest.raises(ValueError, match="horizon: expected an integer of at least 1"):
            windows(series, steps, **options)
        return
    starts = range(0, N - steps - horizon + 1, stride)
    if not starts:
        with pytest.raises(ValueError, match=rf"steps \+ horizon = {steps + horizon} .* got {N}"):
            windows(series, steps, **options)
        return
    x, target = windows(series, steps, **options)
    _, symbols = windows(series, steps, target=other, **options)
    assert np.shares_memory(x, series)
    assert np.shares_memory(target, series)
    np.testing.assert_array_equal(x, [series[s : s + steps] for s in starts])
    if every_step:
        ends = [(s + horizon, s + horizon + steps) for s in starts]
    else:
        ends = [(s + steps, s + steps + horizon) for s in starts]
    np.testing.assert_array_equal(target, [series[a:b] for a, b in ends])
    np.testing.assert_array_equal(symbols, [other[a:b] for a, b in ends])


def test_shapes_of_windows_fit_the_layers():
    def shapes(series, target=None):
        return [array.shape for array in windows(series, 4, horizon=2, target=target)]

    assert shapes(np.ones(9)) == [(4, 4, 1), (4, 2, 1)]
    assert shapes(np.ones((9, 3))) == [(4, 4, 3), (4, 2, 3)]
    assert shapes(np.ones(9, int)) == [(4, 4), (4, 2)]
    assert shapes(np.ones((9, 3)), np.ones(9, int)) == [(4, 4, 3), (4, 2)]
    assert windows(np.ones(9, bool), 4)[0].shape == (5, 4)


def test_windows_cannot_be_written_through():
    x, _ = windows(np.ones(9), 4)
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 2


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.ones(4), 4), {}, r"at least steps \+ horizon = 5 for one window, got 4"),
        ((np.ones(4), 0), {}, "steps: expected an integer of at least 1"),
        ((np.ones(4), 1), {"stride": 0}, "stride: expected an integer of at least 1"),
        (
            (np.ones(4), 1),
            {"target": np.ones(3)},
            "target: expected N=4 steps, as in the series, got 3",
        ),
        ((np.float64(4), 1), {}, r"series: expected numbers .* got float64 of shape \(\)"),
    ],
)
def test_wrong_windows(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        windows(*arguments, **options)


# -------------------------------------------------------------------------------- delayed targets


@given(st.integers(0, 4), st.integers(1, 9), st.integers(0, 8), st.sampled_from([(), (2,)]))
def test_delayed_targets_come_later(B, T, k, tail):
    x = np.zeros((B, T, 1))
    target = np.random.default_rng(0).integers(1, 9, (B, T, *tail))
    before = target.copy()
    if k >= T:
        with pytest.raises(ValueError, match=f"k: expected an integer from 0 to T-1={T - 1}, got"):
            delayed(x, target, k)
        return
    same, later, lengths, extras = delayed(x, target, k, lengths=[T] * B)
    assert same is x
    assert lengths == [T] * B
    assert later.dtype == target.dtype
    for t in range(T):
        if t < k:
            assert not later[:, t].any()
            assert not extras["weights"][:, t].any()
        else:
            np.testing.assert_array_equal(later[:, t], target[:, t - k])
            assert (extras["weights"][:, t] == 1).all()
    np.testing.assert_array_equal(target, before)


def test_wrong_delays():
    with pytest.raises(ValueError, match=r"target: .* got shapes \(2, 3\) and \(2, 4, 1\)"):
        delayed(np.ones((2, 4, 1)), np.ones((2, 3)), 1)
    with pytest.raises(ValueError, match="k: expected an integer from 0 to T-1=3, got -1"):
        delayed(np.ones((2, 4)), np.ones((2, 4)), -1)
