"""Batches of sequences of different lengths, padding, and splits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import crnn
from crnn.data import Batches, hold_out, pad, split, windows
from support.runs import StopAt, network, numbers, trainer

# ---------------------------------------------------------------------------------------- padding

lengths_lists = st.lists(st.integers(0, 9), min_size=1, max_size=60)


def sequences(lengths, features=2):
    """Sequences whose step t is (number of the sequence, t + 1)."""
    steps = [np.column_stack([np.full(n, k), np.arange(1, n + 1)]) for k, n in enumerate(lengths)]
    return [step[:, :features].astype(float) for step in steps]


@given(lengths_lists, st.integers(-2, 2))
def test_padding_follows_each_row(lengths, value):
    rows = sequences(lengths)
    x, padded_lengths = pad(rows, value)
    assert x.shape == (len(lengths), max(lengths), 2)
    np.testing.assert_array_equal(padded_lengths, lengths)
    for row, padded, length in zip(rows, x, lengths, strict=True):
        np.testing.assert_array_equal(padded[:length], row)
        assert (padded[length:] == value).all()


def test_the_dtype_of_padded_sequences():
    assert pad([np.ones(2, np.float32), np.ones(3, np.float32)])[0].dtype == np.float32
    assert pad([[1, 2], []])[0].dtype == np.int64  # [] has no dtype
    np.testing.assert_array_equal(pad([[], np.ones((1, 2))])[0], [[[0, 0]], [[1, 1]]])
    assert pad([np.array([True]), np.array([], bool)])[0].dtype == bool
    assert pad([[1], [0.5, 2]])[0].dtype == np.float64
    x, lengths = pad([[1, 2], [3]], np.nan)
    np.testing.assert_array_equal(x, [[1, 2], [3, np.nan]])
    assert lengths.dtype == np.int64


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "sequences: expected at least one, got none"),
        (["abc"], r"sequences: expected arrays \(T, \.\.\.\) of numbers, got <U3 of shape \(\)"),
        ([[1], 2], r"sequences: expected arrays \(T, \.\.\.\) of numbers, got int64 of shape \(\)"),
        ([np.ones((2, 3)), np.ones((2, 4))], r"differ in T alone, got shapes \(2, 3\) and \(2, 4"),
        ([np.ones((2, 3)), np.ones(2)], r"differ in T alone, got shapes \(2, 3\) and \(2,\)"),
    ],
)
def test_what_cannot_be_padded(rows, message):
    with pytest.raises(ValueError, match=message):
        pad(rows)


# ---------------------------------------------------------------------------------------- batches


def items_of(batches, epoch=0):
    batches.set_epoch(epoch)
    return list(batches)


def rows_of(items):
    """The numbers of the sequences, in order: each is the target of its sequence."""
    return [number for item in items for number in item[1].tolist()]


@given(lengths_lists, st.integers(1, 7), st.booleans(), st.booleans(), st.integers(0, 5))
def test_every_sequence_comes_once_an_epoch(lengths, batch, shuffle, bucket, epoch):
    rows = sequences(lengths)
    targets = [10.0 * row for row in rows]
    batches = Batches(
        rows, targets, batch, shuffle=shuffle, bucket=bucket, weights=np.arange(len(lengths))
    )
    items = items_of(batches, epoch)
    assert len(items) == len(batches) == -(-len(lengths) // batch)
    assert sorted(len(item[0]) for item in items)[1:] == [batch] * (len(items) - 1)
    seen = []
    for x, target, batch_lengths, extras in items:
        assert x.shape[1] == batch_lengths.max()
        np.testing.assert_array_equal(target, 10 * x)
        for row, length, number in zip(x, batch_lengths, extras["weights"], strict=True):
            np.testing.assert_array_equal(row[:length], rows[number])
            assert not row[length:].any()
            seen.append(number)
    assert sorted(seen) == list(range(len(lengths)))


@given(st.integers(0, 2**64 - 1), st.integers(0, 3), st.booleans())
def test_the_order_is_a_function_of_seed_and_epoch(seed, epoch, bucket):
    rows = sequences(np.random.default_rng(0).integers(1, 20, 200))

    def order(seed, epoch):
        return rows_of(items_of(Batches(rows, range(200), 9, seed=seed, bucket=bucket), epoch))

    first = order(seed, epoch)
    assert order(seed, epoch) == first
    assert order(seed, epoch + 1) != first
    assert order(seed ^ 1, epoch) != first
    assert first != sorted(first)


def test_the_order_does_not_depend_on_earlier_iterations():
    rows = sequences([1, 5, 2, 4, 3] * 20)
    batches = Batches(rows, range(100), 8)
    expected = [rows_of(items_of(batches, epoch)) for epoch in range(3)]
    assert rows_of(items_of(batches, 1)) == expected[1]
    next(iter(batches))
    assert rows_of(items_of(batches, 2)) == expected[2]


def test_without_shuffling_they_come_as_given():
    rows = sequences([3, 1, 2, 1])
    batches = Batches(rows, range(4), 3, shuffle=False)
    assert rows_of(items_of(batches)) == rows_of(items_of(batches, 1)) == [0, 1, 2, 3]
    by_length = Batches(rows, range(4), 3, shuffle=False, bucket=True)
    assert rows_of(items_of(by_length)) == [1, 3, 2, 0]


def test_similar_lengths_share_a_batch():
    lengths = np.random.default_rng(1).integers(1, 200, 2000)
    rows = [np.zeros(n, int) for n in lengths]

    def padded(**options):
        items = items_of(Batches(rows, range(2000), 16, **options))
        return sum(x.size for x, _, _ in items) / lengths.sum()

    assert padded(bucket=False) > 1.7
    assert padded() < 1.06


def test_batches_differ_from_epoch_to_epoch():
    batches = Batches(sequences(range(1, 33)), range(32), 8)
    epochs = [[tuple(sorted(item[1])) for item in items_of(batches, epoch)] for epoch in range(30)]
    assert len(set(map(frozenset, epochs))) == 30  # other sequences share a batch
    places = [[31 in rows for rows in items].index(True) for items in epochs]
    assert set(places) == {0, 1, 2, 3}  # the longest one may be in any batch of an epoch


def test_batches_do_not_come_sorted_by_length():
    lengths = np.random.default_rng(1).integers(1, 200, 2000)
    batches = Batches([np.zeros(n, int) for n in lengths], range(2000), 16)
    longest = [x.shape[1] for x, _, _ in items_of(batches)]
    assert abs(np.corrcoef(longest[1:], longest[:-1])[0, 1]) < 0.3


@pytest.mark.parametrize("bucket", [False, True])
def test_what_is_left_out_is_drawn_at_random(bucket):
    """With buckets, too: the sequences that are left out are not always the longest."""
    batches = Batches(sequences(range(1, 16)), range(15), 4, bucket=bucket, drop_last=True)
    assert len(batches) == 3
    left_out = set()
    for epoch in range(40):
        items = items_of(batches, epoch)
        assert [len(item[0]) for item in items] == [4, 4, 4]
        left_out |= set(range(15)) - set(rows_of(items))
    assert left_out == set(range(15))


def test_sequences_of_one_length():
    x = np.arange(24.0).reshape(6, 4, 1)
    batches = Batches(x, x[:, 0, 0], 4, shuffle=False)
    (first, target), (second, _) = batches
    np.testing.assert_array_equal(first, x[:4])
    np.testing.assert_array_equal(second, x[4:])
    np.testing.assert_array_equal(target, [0, 4, 8, 12])
    np.testing.assert_array_equal(batches.lengths, [4] * 6)


def test_symbols_and_what_belongs_to_each_step():
    masks, weights = [[True, False], [True]], [[1, 0.5], [2]]
    batches = Batches(
        [[1, 2], [3]], [[4, 5], [6]], 2, shuffle=False, mask=masks, resets=masks, weights=weights
    )
    ((x, target, lengths, extras),) = batches
    np.testing.assert_array_equal(x, [[1, 2], [3, 0]])
    np.testing.assert_array_equal(target, [[4, 5], [6, 0]])
    np.testing.assert_array_equal(lengths, [2, 1])
    assert list(extras) == ["mask", "resets", "weights"]
    assert extras["mask"].dtype == bool
    np.testing.assert_array_equal(extras["mask"], [[True, False], [True, False]])
    np.testing.assert_array_equal(extras["weights"], [[1, 0.5], [2, 0]])


def test_windows_of_a_file_are_read_batch_by_batch(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(10_000.0))
    series = np.load(tmp_path / "x.npy", mmap_mode="r")
    x, target = windows(series, 50)
    batches = Batches(x, target[:, 0], 32)
    assert np.shares_memory(batches._x.array, series)
    for x, target in batches:
        assert x.shape[1:] == (50, 1)
        np.testing.assert_array_equal(x[:, -1] + 1, target)


def test_a_fresh_seed_can_be_read():
    one, two = (Batches(sequences([1] * 50), range(50), seed=None) for _ in range(2))
    assert one.seed != two.seed
    again = Batches(sequences([1] * 50), range(50), seed=one.seed)
    assert rows_of(items_of(again)) == rows_of(items_of(one))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([], []), {}, "sequences: expected at least one, got none"),
        ((np.ones((0, 2)), []), {}, "sequences: expected at least one, got none"),
        (([[1], [2]], [0]), {}, "targets: expected 2, one for each sequence, got 1"),
        (([[1], [2, 3]], [[1], [2]]), {}, "targets: expected T=2 steps for sequence 1, got 1"),
        ((np.ones((2, 3, 1)), [[1, 2], [3, 4]]), {}, "targets: expected T=3 steps for sequence 0"),
        (([1, 2], [0, 1]), {}, r"sequences: expected n sequences \(T, \.\.\.\), got int64"),
        ((["ab", "c"], [0, 1]), {}, r"sequences: expected arrays .* got <U2"),
        (([[1], [2]], ["a", "b"]), {}, r"targets: expected arrays .* got <U1"),
        (([[1], [2]], [0, 1], 0), {}, "batch_size: expected an integer of at least 1"),
        (([[1]], [0], 2), {"drop_last": True}, "at least batch_size=2 with drop_last, got 1"),
        (([[1]], [0]), {"seed": -1}, r"seed: expected None or an integer from 0"),
        (([[1]], [0]), {"mask": np.ones((1, 1), bool)}, r"mask: expected a list of arrays \(T,\)"),
        (([[1]], [0]), {"resets": [0]}, r"resets: expected a list of arrays \(T,\)"),
        (
            (np.ones((2, 3, 1)), [0, 1]),
            {"mask": np.ones((2, 2))},
            r"mask: .*\(n, T\)=\(2, 3\), got",
        ),
        (([[1], [2]], [0, 1]), {"weights": [1]}, "weights: expected 2, one for each sequence"),
    ],
)
def test_wrong_batches(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        Batches(*arguments, **options)


# ---------------------------------------------------------------------------------- with training


@pytest.mark.parametrize("update", [1, 4, 5, 7])
def test_a_run_stopped_in_an_epoch_goes_on_with_the_same_batches(update):
    draw = np.random.default_rng(3)
    texts = [draw.integers(0, 4, n) for n in draw.integers(1, 9, 17)]

    def data():
        return Batches(texts, texts, 4, seed=5)

    whole = trainer(data=data(), tbptt=None)
    whole.run()
    run = trainer(data=data(), tbptt=None, callbacks=[StopAt(update)])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    again = trainer(network(seed=7, dropout=0.3), data(), tbptt=None)
    again.model.layers[1].seed = run.model.layers[1].seed
    again.load_state_dict(run.state_dict())
    again.run()
    np.testing.assert_equal(numbers(again), numbers(whole))


def test_many_to_one_from_windows():
    x, target = windows(np.sin(np.arange(60) / 3), 8)
    model = crnn.Sequential([crnn.RNN(1, 4, seed=0), crnn.Dense(4, 1, seed=1)])
    history = crnn.fit(
        model,
        Batches(x, target, 16),
        loss=lambda y, target, lengths: last_step(y, target),
        optimizer=crnn.optim.Adam(model, lr=0.02),
        epochs=30,
        progress=False,
    )
    assert history.loss[-1] < 0.1 * history.loss[0]


def last_step(y, target):
    loss, dlast = crnn.losses.mse(y[:, -1:], target)
    dy = np.zeros_like(y)
    dy[:, -1:] = dlast
    return loss, dy


# ----------------------------------------------------------------------------------------- splits


@given(st.integers(2, 50), st.floats(0.001, 0.999), st.integers(0, 60))
def test_a_split_in_time_holds_out_the_end(n, share, gap):
    count = min(max(1, round(share * n)), n - 1)
    x = np.arange(n)
    if gap >= n - count:
        with pytest.raises(ValueError, match="gap: expected an integer from 0 to below"):
            split(x, share=share, gap=gap)
        return
    train, out = split(x, share=share, gap=gap)
    np.testing.assert_array_equal(train, np.arange(n - count - gap))
    np.testing.assert_array_equal(out, np.arange(n - count, n))
    assert np.shares_memory(train, x)
    assert np.shares_memory(out, x)


@given(st.integers(2, 50), st.floats(0.001, 0.999), st.integers(0, 1000))
def test_a_split_by_sequence_is_drawn_by_the_seed(n, share, seed):
    x, names = np.arange(n)[:, None], [str(k) for k in range(n)]
    options = {"share": share, "by": "sequence", "seed": seed}
    x_train, x_out, train, out = split(x, names, **options)
    assert [str(k) for k in x_train[:, 0]] == train
    assert [str(k) for k in x_out[:, 0]] == out
    assert sorted(train + out) == sorted(names)
    assert train == sorted(train, key=int)
    assert out == sorted(out, key=int)
    assert (train, out) == hold_out(names, share, seed)


def test_another_seed_is_another_split():
    assert len({tuple(split(range(99), by="sequence", seed=s)[1]) for s in range(5)}) == 5


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ((), {}, r"data: expected one or more of the same length, got lengths \[\]"),
        (([1, 2], [1]), {}, r"data: expected one or more of the same length, got lengths \[2, 1\]"),
        (([1],), {}, "data: expected at least two, got 1"),
        (([1, 2],), {"share": 0}, "share: expected a number above 0 and below 1, got 0"),
        (([1, 2],), {"share": 1.0}, r"share: expected a number above 0 and below 1, got 1\.0"),
        (([1, 2],), {"by": "row"}, "by: expected 'time' or 'sequence', got 'row'"),
        (([1, 2],), {"gap": 1}, "gap: expected an integer from 0 to below 1 .* got 1"),
        (([1, 2],), {"gap": 1, "by": "sequence"}, "gap: expected 0 with by='sequence', got 1"),
    ],
)
def test_wrong_splits(data, options, message):
    with pytest.raises(ValueError, match=message):
        split(*data, **options)


def test_a_share_given_by_position_is_answered():
    with pytest.raises(TypeError, match=r"data: expected arrays or lists .* got 0\.2; .* share="):
        split([1, 2, 3], [4, 5, 6], 0.2)
