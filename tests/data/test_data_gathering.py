"""Windows of a panel, gathered in the core, against plain loops; scales of windows."""

import numpy as np
import pytest

import crnn
from crnn import _core
from crnn.data import Panel, Standardizer
from crnn.data.gathering import Gatherer, WindowScale, step_features

nan = np.nan


def windows_by_loops(panel, lags, features, constants, flags, series, begins, steps, scales):
    """Return what Gatherer says, in float64."""
    age, log_scale, indicators = flags
    x, target, weights = [], np.zeros((len(series), steps)), np.zeros((len(series), steps))
    lengths = []
    for row, (i, begin, scale) in enumerate(zip(series, begins, scales, strict=True)):
        numbers = panel.series[i]
        read = [t for t in range(begin, begin + steps) if t >= 0]

        def number(t, numbers=numbers):
            return numbers[t] if 0 <= t < len(numbers) else nan

        rows = []
        for place, t in enumerate(read):
            lagged = np.array([number(t - lag) for lag in lags])
            there = ~np.isnan(lagged)
            parts = [[] if features is None else features[i][t]]
            parts += [[] if constants is None else constants[i]]
            parts += [[np.log10(2.0 + t)] if age else [], [np.log(scale)] if log_scale else []]
            parts += [there if indicators else [], np.where(there, lagged, 0) / scale]
            rows.append(np.concatenate(parts))
            if not np.isnan(number(t)):
                target[row, place], weights[row, place] = number(t), 1
        lengths.append(len(read))
        x.append(rows)
    return x, target, weights, lengths


@pytest.fixture
def panel():
    rng = np.random.default_rng(3)
    sizes = [40, 0, 7, 120, 1, 33]
    series = [rng.normal(size=size) * 10**k for k, size in enumerate(sizes)]
    for numbers in series:
        numbers[rng.random(len(numbers)) < 0.2] = nan
    series[5][:] = nan
    known = [rng.normal(size=(size + 20, 2)) for size in sizes]
    return Panel(series, known=known, static=rng.normal(size=(len(sizes), 3)))


def batch(panel, rows, steps, ahead, seed=0):
    rng = np.random.default_rng(seed)
    series = rng.integers(0, len(panel), rows)
    begins = rng.integers(-steps - 2, np.maximum(panel.lengths[series] + ahead - steps, 0) + 1)
    return series, begins, rng.uniform(0.1, 5, rows)


@pytest.mark.parametrize("flags", [(True, True, True), (False, True, False), (False, False, True)])
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_windows_are_those_of_plain_loops(panel, flags, plain, dtype):
    lags = [12, 7, 1]
    features, constants = (None, None) if plain else (panel.known, panel.static)
    names = dict(zip(("age", "log_scale", "indicators"), flags, strict=True))
    gather = Gatherer(panel, lags, features=features, constants=constants, dtype=dtype, **names)
    series, begins, scales = batch(panel, 50, 9, 9)
    found = gather(series, begins, 9, scales)
    x, target, weights, lengths = windows_by_loops(
        panel, lags, features, constants, flags, series, begins, 9, scales
    )
    assert found.x.shape == (50, 9, gather.input_size)
    assert found.x.dtype == dtype
    tolerance = 2e-7 if dtype == "float32" else 3e-16  # log and log10 of NumPy
    for row, expected in enumerate(x):
        steps = lengths[row]
        if steps:
            np.testing.assert_allclose(found.x[row, :steps], expected, rtol=tolerance)
        np.testing.assert_array_equal(found.x[row, steps:], 0)
    np.testing.assert_array_equal(found.target, target)
    np.testing.assert_array_equal(found.weights, weights)
    np.testing.assert_array_equal(found.lengths, lengths)
    assert set(lengths) >= {0, 9}


def test_bits_depend_on_neither_threads_nor_the_batch(panel):
    gather = Gatherer(panel, range(1, 41), features=panel.known, indicators=True)
    series, begins, scales = batch(panel, 300, 20, 10)
    before, results = _core.num_threads(), []
    try:
        for threads in (1, 2, 3):
            crnn.set_num_threads(threads)
            results.append(gather(series, begins, 20, scales))
    finally:
        crnn.set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert one.tobytes() == two.tobytes()
    order = np.random.default_rng(1).permutation(300)[:17]
    part = gather(series[order], begins[order], 20, scales[order])
    for one, two in zip(results[0], part, strict=True):
        assert one[order].tobytes() == two.tobytes()


def test_a_part_of_a_panel_has_the_same_windows(panel):
    part = panel[[3, 0]].until(4)
    features = part.known
    whole = Gatherer(panel, [5, 1], features=panel.known, indicators=True)
    few = Gatherer(part, [5, 1], features=features, indicators=True)
    one = whole([3, 0], [90, 20], 10, [2.0, 3.0])
    two = few([0, 1], [90, 20], 10, [2.0, 3.0])
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    end = few([0], [110], 10, [1.0])  # the last 4 steps are left out
    np.testing.assert_array_equal(end.weights[0, 6:], 0)
    lagged, there = end.x[0, :, -1], end.x[0, :, -3]
    np.testing.assert_array_equal(lagged[7:], 0)
    np.testing.assert_array_equal(there[7:], 0)


def test_what_is_stored_at_a_missing_number_is_not_read():
    payloads = np.array([0x7FF8000000000000, 0x7FF8000000000123, 0xFFF8000000000456], np.uint64)
    found = []
    for missing in payloads.view(np.float64):
        gather = Gatherer(Panel([[1.0, missing, 3.0]]), [1], indicators=True)
        found.append(b"".join(part.tobytes() for part in gather([0], [0], 4, [2.0])))
    assert found[0] == found[1] == found[2]


def test_no_rows_and_no_steps(panel):
    gather = Gatherer(panel, [1])
    assert gather([], [], 5, []).x.shape == (0, 5, 3)
    assert gather([0, 3], [0, 0], 0, [1.0, 1.0]).x.shape == (2, 0, 3)
    assert Gatherer(panel, [], age=False, log_scale=False)([0], [0], 2, [1.0]).x.shape == (1, 2, 0)


@pytest.mark.parametrize(
    ("series", "begins", "steps", "scales", "message"),
    [
        ([6], [0], 5, [1.0], "series: expected integers from 0 to n-1=5, got 6 to 6"),
        ([-1], [0], 5, [1.0], "series: expected integers from 0 to n-1=5"),
        ([0], [0, 1], 5, [1.0], r"begins: expected integers of shape \(B=1,\)"),
        ([0], [2**60], 5, [1.0], r"begins: expected integers from -2\*\*52 to 2\*\*52"),
        ([0], [0], -1, [1.0], "steps: expected an integer from 0"),
        ([0], [0], 5, [0.0], "scales: "),
        ([0], [0], 5, [nan], "scales: "),
        ([0], [0], 5, [np.inf], "scales: "),
        ([0], [0], 5, [1.0, 1.0], r"scales: expected floats of shape \(B=1,\)"),
        ([0], [56], 5, [1.0], "features: series '0': expected features of 61 steps, got 60"),
        (
            [0] * 2**9,
            [-(2**51)] * 2**9,
            2**51,
            [1.0] * 2**9,
            "windows: expected sizes that memory can hold",
        ),
    ],
)
def test_errors_of_a_batch(panel, series, begins, steps, scales, message):
    with pytest.raises(ValueError, match=message):
        Gatherer(panel, [1], features=panel.known)(series, begins, steps, scales)


def test_errors_of_a_gatherer(panel):
    with pytest.raises(ValueError, match="lags: expected an integer of at least 1, got 0"):
        Gatherer(panel, [1, 0])
    with pytest.raises(ValueError, match=r"lags: expected integers up to 2\*\*52"):
        Gatherer(panel, [2**60])
    with pytest.raises(TypeError, match="lags: expected an integer"):
        Gatherer(panel, [1.5])
    with pytest.raises(ValueError, match="features: expected n=6 arrays, got 1"):
        Gatherer(panel, [1], features=panel.known[:1])
    with pytest.raises(ValueError, match=r"constants: expected shape \(n=6, F'\)"):
        Gatherer(panel, [1], constants=[[1.0]])


def test_the_core_refuses_what_lies_outside():
    """Its own Python code never asks for it."""
    store, lags, top = np.arange(10.0), np.array([1]), 2**63 - 1

    def gather(places, lags=lags, known=None, steps=3):
        places = np.array(places)[:, None]
        return _core.gather_windows(
            store, places, np.ones(1), known, None, lags, steps, True, True, True, np.float32
        )

    gather([2, 8, 0, 0, 0])
    for places in (
        *([-1, 2, 0, 0, 0], [2, 9, 0, 0, 0], [2, -1, 0, 0, 0], [11, 0, 0, 0, 0], [top, 1, 0, 0, 0]),
        *([1, top, 0, 0, 0], [0, 1, top, 0, 0], [0, 1, -top, 0, 0]),
    ):
        with pytest.raises(ValueError, match="places: "):
            gather(places)
    known = np.zeros((5, 2))
    gather([0, 1, 0, 2, 3], known=known)
    for places in ([0, 1, 1, 2, 3], [0, 1, 0, 3, 3], [0, 1, 0, -1, 3], [0, 1, 0, 1, top]):
        with pytest.raises(ValueError, match="places: steps with known"):
            gather(places, known=known)
    for lag in (0, -1, -top, top):
        with pytest.raises(ValueError, match="lags: expected integers from 1"):
            gather([0, 1, 0, 0, 0], lags=np.array([lag]))
    for ranges in ([[-1], [2]], [[3], [2]], [[0], [11]], [[-top], [top]]):
        with pytest.raises(ValueError, match="ranges: "):
            _core.sum_ranges(store, np.array(ranges), True)


# ----------------------------------------------------------------------------------- features


def test_features_of_steps():
    days = np.arange("2024-02-27", "2024-03-05", dtype="datetime64[D]")
    panel = Panel([np.arange(4.0), []], known=[np.arange(7.0), [9.0, 8.0]], times=[days, days[:2]])
    one, two = step_features(panel, ["monthday"], ahead=2)
    np.testing.assert_array_equal(one[:, 0], np.arange(6))
    np.testing.assert_array_equal(
        one,
        np.column_stack(
            [
                np.arange(6),
                crnn.data.calendar(days[:6], "monthday"),
            ]
        ),
    )
    np.testing.assert_array_equal(two[:, 0], [9, 8])
    scaler = Standardizer().fit(panel.known)
    scaled = step_features(panel, scaler=scaler, ahead=1)
    np.testing.assert_array_equal(scaled[0], scaler.transform(np.arange(5.0)[:, None]))
    with pytest.raises(
        ValueError, match=r"known: series '1': .* T \+ H = 0 \+ 3 steps .* first missing step is 2"
    ):
        step_features(panel, ahead=3)
    assert [part.shape for part in step_features(Panel([[1.0], []]), ahead=2)] == [(3, 0), (2, 0)]
    with pytest.raises(ValueError, match="expected one with times"):
        step_features(Panel([[1.0]]), ["month"])


# ------------------------------------------------------------------------------------- scales


def test_scales_are_means_of_what_is_there():
    panel = Panel([[1.0, nan, -3.0, 100.0], [nan, nan, 5.0], [], [nan, nan]])
    scale = WindowScale("mean", 7.0, 0.5)
    series = [0, 0, 0, 0, 1, 1, 2, 3]
    begins = [0, -5, 1, 3, 0, 0, 0, 0]
    ends = [3, 2, 2, 9, 2, 3, 0, 2]
    expected = [2, 1, 1, 100, 7, 5, 7, 7]  # 1: an empty range takes the steps before it
    np.testing.assert_array_equal(scale(panel, series, begins, ends), expected)
    np.testing.assert_array_equal(WindowScale(None)(panel, series, begins, ends), 1)
    counts = Panel([[0.0, nan, 3.0], [nan]])
    found = WindowScale("count", 4.0)(counts, [0, 0, 1], [0, 0, 0], [3, 1, 1])
    np.testing.assert_array_equal(found, [2.5, 1, 4])


def test_scales_depend_on_neither_the_batch_nor_later_numbers():
    rng = np.random.default_rng(0)
    series = [rng.normal(size=30) * 10.0**k for k in range(5)]
    panel, scale = Panel(series), WindowScale("mean", 3.0, 1e-9)
    rows, begins, ends = np.arange(5), np.full(5, 3), np.full(5, 17)
    together = scale(panel, rows, begins, ends)
    alone = [scale(panel, [i], [3], [17])[0] for i in rows]
    np.testing.assert_array_equal(together, alone)
    later = Panel([np.concatenate([numbers[:17], [1e9] * 13]) for numbers in series])
    np.testing.assert_array_equal(scale(later, rows, begins, ends), together)
    np.testing.assert_array_equal(scale(panel[::-1].until(13), [4, 3], [3, 3], [30, 30]), alone[:2])


def test_constants_of_a_training_set():
    panel = Panel([[2.0, -2.0], [4.0], [0.0, 0.0], [nan], [], [6.0, nan]], names=list("abcdef"))
    scale = WindowScale.fit(panel, "mean")
    assert scale.config == {"kind": "mean", "typical": 14 / 6, "floor": 0.004}
    assert WindowScale(**scale.config).config == scale.config
    np.testing.assert_array_equal(scale(panel, [2, 3], [0, 0], [2, 1]), [0.004, 14 / 6])
    assert WindowScale.fit(panel[::-1], "mean").config == scale.config
    assert WindowScale.fit(Panel([[0.0, 2.0], [7.0]]), "count").typical == 4
    for empty in ([0.0, 0.0], [nan], []):
        scale = WindowScale.fit(Panel([empty]), "mean")
        assert (scale.typical, scale.floor) == (1, 1)
        assert scale(Panel([empty]), [0], [0], [2]) == 1
    assert WindowScale.fit(Panel([[]]), "count").typical == 1
    assert WindowScale.fit(Panel([[5.0]]), None).config["kind"] is None


def test_errors_of_scales():
    with pytest.raises(ValueError, match="kind: expected one of 'mean', 'count', got 'max'"):
        WindowScale("max")
    for name in ("typical", "floor"):
        for value in (0.0, nan, -1.0, np.inf):
            with pytest.raises(ValueError, match=f"{name}: expected a finite number"):
                WindowScale("mean", **{name: value})
    huge = Panel([[1.0], [1e308, 1e308]], names=["a", "b"])
    with pytest.raises(ValueError, match="series 'b': expected numbers whose sum is finite"):
        WindowScale.fit(huge, "mean")
    with pytest.raises(ValueError, match="series 'b': expected numbers whose sum is finite"):
        WindowScale("mean")(huge, [0, 1], [0, 0], [1, 2])
    with pytest.raises(ValueError, match="series: expected integers from 0"):
        WindowScale("mean")(huge, [2], [0], [1])
