"""DeepAR: training, forecasts, files, and what forecasts may not depend on."""

import numpy as np
import pytest

import crnn
import crnn._core as _core
from crnn.callbacks import Checkpoint
from crnn.losses.likelihoods import PARAMETERS
from crnn.models import DeepAR, deepar
from crnn.models.deepar_inputs import calendar_names, default_lags
from crnn.models.deepar_sampling import last_observed, series_hash
from crnn.models.deepar_windows import TrainingWindows
from crnn.storage import archive
from support.comparing import assert_same_bits
from support.running import fill

KINDS = list(PARAMETERS)
SMALL = {"hidden_size": 6, "layers": 2, "seed": 3}
QUICK = {"updates": 4, "batch_size": 8, "progress": False}
H = 3


def counts(rng, n, length):
    return rng.poisson(rng.uniform(1, 20, n)[:, None], (n, length)).astype(float)


def rich_panel(n=6, length=26, ahead=8, seed=0):
    """Return a panel with everything: gaps, covariates, static numbers, categories, times."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(length // 2, length, n)
    series = [counts(rng, 1, size)[0] for size in lengths]
    for numbers in series:
        numbers[rng.random(len(numbers)) < 0.15] = np.nan
    series[1][-2:] = np.nan
    series[2] = np.empty(0)
    series[3][:] = np.nan
    return crnn.data.Panel(
        series,
        known=[rng.normal(5, 2, size=(len(row) + ahead, 2)) for row in series],
        static=rng.normal(10, 3, size=(n, 1)),
        categories=[["red", "x"], ["blue", "y"], ["red", "y"], ["green", "x"], ["red", "x"]]
        + [["blue", "x"]] * (n - 5),
        times=("2020-03", np.timedelta64(1, "M")),
        names=[f"shop {i}" for i in range(n)],
    )


def made(panel, likelihood="student_t", horizon=H, **options):
    options = SMALL | {"period": 4, "context": 7} | options
    return DeepAR.for_panel(panel, horizon, likelihood=likelihood, **options)


@pytest.fixture(scope="module")
def rich():
    return rich_panel()


@pytest.fixture(scope="module")
def plain():
    rng = np.random.default_rng(1)
    return crnn.data.Panel(rng.normal(10, 2, (9, 30)), names=[f"s{i}" for i in range(9)])


# ------------------------------------------------------------------------ inputs by definition


def inputs_of(model, panel, i, numbers, step, scale):
    """Return the inputs of a step, from the numbers before it."""
    inputs = model.inputs
    fixed = []
    if panel.known is not None:
        store = panel.known_numbers
        fixed += ((panel.known[i][step] - store.mean(axis=0)) / store.std(axis=0)).tolist()
    for name in inputs.calendar:
        time = panel.starts[i] + step * panel.step
        fixed += crnn.data.calendar(time[None], name)[0].tolist()
    if panel.static is not None:
        centred = panel.static[i] - panel.static.mean(axis=0)
        fixed += (centred / panel.static.std(axis=0)).tolist()
    fixed += [np.log10(2 + step)] * inputs.age + [np.log(scale)]
    past = [numbers[step - lag] if lag <= step else np.nan for lag in model.lags]
    if inputs.indicators:
        fixed += [float(not np.isnan(z)) for z in past]
    return fixed + [0.0 if np.isnan(z) else z / scale for z in past]


def path_by_definition(model, panel, i, sample, steps, seed):
    """Return one path of one series: the network reads all steps again for each number."""
    numbers = panel.series[i]
    observed = np.flatnonzero(~np.isnan(numbers))
    end = observed[-1] + 1 if len(observed) else 0
    begin = max(end - model.context, 0)
    scale = float(model.inputs.scale(panel, [i], [begin], [end])[0])
    known, drawn = numbers[:end].tolist(), 0
    while len(known) < len(numbers) + steps:
        rows = [
            inputs_of(model, panel, i, known, step, scale) for step in range(begin, len(known) + 1)
        ]
        x = np.array([rows], np.float32)
        if panel.categories is not None:
            x = x, model.inputs.categories(panel)[[i]]
        raw = np.ascontiguousarray(model.network(x)[0][0, -1:])
        places = ([series_hash(panel.names[i])], [sample], [drawn])
        places = [np.array(one, np.int64) for one in places]
        kind = KINDS.index(model.likelihood)
        known.append(_core.draw_observed(kind, raw, np.array([scale]), seed, *places)[0])
        drawn += 1
    return np.array(known[len(numbers) :], np.float32)


@pytest.mark.parametrize("likelihood", KINDS)
def test_paths_are_those_of_the_definition(rich, likelihood):
    model = made(rich, likelihood, age=likelihood == "student_t")
    fill(model.network, 2, 0.2)
    paths = model.predict(rich, steps=6, samples=2, seed=5).samples
    for i in range(len(rich)):
        for sample in range(2):
            expected = path_by_definition(model, rich, i, sample, 6, 5)
            np.testing.assert_allclose(paths[i, sample], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["rnn", "gru", "janet", "mingru", "minlstm", "tcn", "transformer"])
def test_every_cell(plain, cell):
    model = made(plain, cell=cell, hidden_size=8)
    history = model.train(plain, **QUICK)
    assert np.isfinite(history.loss).all()
    paths = model.predict(plain[:2], steps=5, samples=2, seed=5).samples
    expected = [path_by_definition(model, plain[:2], i, 1, 5, 5) for i in range(2)]
    np.testing.assert_allclose(paths[:, 1], expected, rtol=1e-4, atol=1e-5)


def test_default_lags():
    assert default_lags(None, 100) == (7, 6, 5, 4, 3, 2, 1)
    assert default_lags(24, 1000)[:9] == (73, 72, 71, 49, 48, 47, 25, 24, 23)
    assert default_lags(1, 100) == (7, 6, 5, 4, 3, 2, 1)
    assert max(default_lags(24, 60)) == 25
    assert max(default_lags(24, 97)) == 25
    assert max(default_lags(24, 98)) == 49
    assert default_lags(12, 0) == (1,)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ((1, "h"), ("hour", "weekday", "monthday", "yearday")),
        ((15, "m"), ("hour", "weekday", "monthday", "yearday")),
        ((24, "h"), ("weekday", "monthday", "yearday")),
        ((1, "W"), ("monthday", "yearday")),
        ((3, "M"), ("month",)),
        ((12, "M"), ()),
        ((1, "Y"), ()),
    ],
)
def test_calendars(step, expected):
    assert calendar_names(np.timedelta64(*step)) == expected


def test_the_last_layer_reads_the_inputs(plain):
    """Without its recurrent layers, the network is a linear map of the inputs of each step."""
    model = made(plain)
    for name, param in model.network.params.items():
        if not name.startswith("1."):
            param[...] = 0
    head, x = model.network.layers[-1].params, np.eye(model.inputs.input_size, dtype=np.float32)
    y, _ = model.network(x[:, None])
    expected = head["W"][:, 6:].T + head["b"]
    assert np.abs(head["W"][:, 6:]).min() > 0
    np.testing.assert_allclose(y[:, 0], expected, rtol=1e-6)


def test_the_age_is_an_input_on_request(tmp_path, plain):
    model = made(plain, age=True)
    assert model.inputs.input_size == made(plain).inputs.input_size + 1
    assert "13, age" in repr(model)
    model.save(tmp_path / "model")
    assert DeepAR.load(tmp_path / "model").inputs.config == model.inputs.config
    with pytest.raises(TypeError, match="age: expected"):
        made(plain, age="yes")


# ------------------------------------------------------------------------------------- windows


def test_windows_are_functions_of_seed_update_and_row(plain):
    model = made(plain)
    options = {"updates": 250, "batch_size": 5, "seed": 7}
    data = TrainingWindows(model.inputs, plain, **options)
    assert (data.epochs, len(data)) == (3, 100)
    data.set_epoch(2)
    assert len(data) == len(list(data)) == 50
    item = next(iter(data))
    data.set_epoch(0)
    list(data)
    again = TrainingWindows(model.inputs, plain, **options)
    again.set_epoch(2)
    assert_same_bits(next(iter(again))[:3], item[:3])
    rows, starts = data.places(200)
    np.testing.assert_array_equal(
        item[1][:, model.context :, 0],
        [
            plain.series[row][start : start + H]
            if start >= model.context
            else item[1][k, model.context :, 0]
            for k, (row, start) in enumerate(zip(rows, starts, strict=True))
        ],
    )


def test_all_windows_are_equally_likely():
    panel = crnn.data.Panel([np.ones(H), np.ones(H + 3), np.full(H + 1, np.nan), np.ones(1)])
    data = TrainingWindows(made(panel).inputs, panel, updates=1, batch_size=60_000, seed=0)
    rows, starts = data.places(0)
    found = {}
    for pair in zip(rows.tolist(), starts.tolist(), strict=True):
        found[pair] = found.get(pair, 0) + 1
    assert set(found) == {(0, 0), (1, 0), (1, 1), (1, 2), (1, 3), (3, 0)}
    assert max(abs(count - 10_000) for count in found.values()) < 500


def test_series_are_drawn_by_their_scale():
    panel = crnn.data.Panel([np.full(20, 1.0), np.full(9, 3.0)])
    data = TrainingWindows(
        made(panel).inputs, panel, updates=1, batch_size=40_000, seed=0, weights="scale"
    )
    rows, _ = data.places(0)
    assert abs(rows.mean() - 0.75) < 0.01


# ------------------------------------------------------------------------------------ training


@pytest.mark.parametrize("likelihood", KINDS)
def test_training(rich, likelihood):
    model = made(rich, likelihood)
    history = model.train(rich, updates=150, batch_size=8, lr=0.01, progress=False)
    assert history.loss[-1] < history.loss[0]
    assert len(history.loss) == len(history.val_loss) == 2


def test_held_out_numbers_are_not_trained_on(plain):
    numbers = np.array(plain.series)
    numbers[:, -2 * H :] = 1e6
    other = crnn.data.Panel(numbers)
    for held_out in (2, 3):
        networks = []
        for panel in (plain, other):
            model = made(plain)
            run = model.trainer(panel, updates=4, batch_size=8, validation_windows=held_out)
            run.run()
            networks.append(model.network.state_dict())
        assert_same_bits(*networks)


def test_the_loss_of_held_out_windows_is_that_of_the_horizon(plain):
    model = made(plain, layers=1)
    history = model.train(plain, **QUICK)
    past = plain.until(H)
    scales = model.inputs.scale(past, np.arange(9), past.lengths - 7, past.lengths)
    x = np.array(
        [
            [inputs_of(model, plain, i, row, step, scales[i]) for step in range(20, 30)]
            for i, row in enumerate(plain.series)
        ],
        np.float32,
    )
    raw = model.network(x)[0][:, 7:]
    loss, _ = crnn.losses.student_t_nll(raw, plain.last(H), scale=scales)
    assert history.val_loss[-1] == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.parametrize("stop", [2, 130])
def test_resumed_runs_have_the_same_bits(tmp_path, plain, stop):
    class Stop(crnn.callbacks.Callback):
        def on_update(self, run):
            if run.position.update == stop:
                raise KeyboardInterrupt

    path, options = tmp_path / "run.npz", {"updates": 150, "batch_size": 4}
    whole = made(plain, layers=1, dropout=0.3)
    whole.trainer(plain, **options).run()
    part = made(plain, layers=1, dropout=0.3)
    with pytest.raises(KeyboardInterrupt):
        part.trainer(plain, **options, callbacks=[Checkpoint(path, updates=1), Stop()]).run()
    resumed = made(plain, layers=1, dropout=0.3)
    run = resumed.trainer(plain, **options, callbacks=[Checkpoint(path, updates=1)])
    run.resume(path)
    run.run()
    assert_same_bits(resumed.network.state_dict(), whole.network.state_dict())


def test_training_has_the_same_bits_for_any_number_of_threads(rich, threads):
    found = []
    for count in (1, 2):
        threads(count)
        model = made(rich, "negative_binomial", hidden_size=40)
        model.train(rich, updates=4, batch_size=32, progress=False)
        samples = model.predict(rich, samples=60).samples
        found.append((model.network.state_dict(), samples))
    assert_same_bits(*found)


def test_numbers_at_missing_positions_are_inert(rich):
    """NaN is one number of many that stand for a missing one in the store of a masked array."""
    masked = [np.ma.masked_invalid(row) for row in rich.series]
    for row in masked:
        row.data[row.mask] = 1e9
    other = crnn.data.Panel(
        masked,
        known=rich.known,
        static=rich.static,
        categories=rich.categories,
        times=(rich.starts, rich.step),
        names=rich.names,
    )
    found = []
    for panel in (rich, other):
        model = made(panel)
        model.train(panel, **QUICK)
        found.append(model.predict(panel, samples=4).samples)
    assert_same_bits(*found)


# ----------------------------------------------------------------------------------- forecasts


def test_subsets_and_orders_have_the_same_bits(rich):
    model = made(rich, "negative_binomial")
    fill(model.network, 1, 0.3)
    whole = model.predict(rich, samples=7, seed=2).samples
    for order in ([3, 0, 5, 1], [4], [5, 4, 3, 2, 1, 0]):
        assert_same_bits(model.predict(rich[order], samples=7, seed=2).samples, whole[order])
    assert_same_bits(model.predict(rich, samples=3, seed=2).samples, whole[:, :3])
    longer = model.predict(rich, samples=7, steps=8, seed=2).samples
    assert_same_bits(longer[:, :, :H], whole)
    assert not np.array_equal(model.predict(rich, samples=7, seed=3).samples, whole)


def test_groups_of_series_have_the_same_bits(plain, monkeypatch):
    model = made(plain)
    whole = model.predict(plain, samples=5).samples
    monkeypatch.setattr("crnn.models.deepar_sampling._ROWS", 12)
    assert_same_bits(model.predict(plain, samples=5).samples, whole)


def test_gaps_at_the_end_are_sampled_through(plain):
    """A forecast behind a gap of 2 steps is a longer forecast without its first 2 steps."""
    model = made(plain)
    numbers = np.array(plain.series)
    numbers[:, -2:] = np.nan
    gap = crnn.data.Panel(numbers, names=plain.names)
    assert last_observed(gap).tolist() == [28] * 9
    longer = model.predict(plain.until(2), steps=H + 2, samples=4).samples
    assert_same_bits(model.predict(gap, samples=4).samples, longer[:, :, 2:])


def test_cold_start(rich):
    """A series without numbers is forecast from what is known about it."""
    model = made(rich)
    fill(model.network, 1, 0.3)
    forecast = model.predict(rich["shop 2"], samples=200)
    assert forecast.samples.shape == (1, 200, H)
    assert np.isfinite(forecast.samples).all()
    known = [rich.known[2] + 1]
    other = crnn.data.Panel(
        [[]],
        known=known,
        static=rich.static[2:3],
        categories=rich.categories[2:3],
        times=(rich.starts[2:3], rich.step),
        names=["shop 2"],
    )
    assert not np.array_equal(model.predict(other, samples=200).samples, forecast.samples)


def test_times_and_names(rich):
    forecast = made(rich).predict(rich, samples=2)
    assert forecast.names == rich.names
    np.testing.assert_array_equal(forecast.times, rich.future_times(H))
    assert repr(forecast) == "<Forecast: 2 samples of 3 steps of 6 series>"


def test_counts_are_whole_numbers(rich):
    samples = made(rich, "negative_binomial").predict(rich, samples=50).samples
    assert (samples >= 0).all()
    np.testing.assert_array_equal(samples, np.floor(samples))


def test_backtests(rich):
    model = made(rich, "negative_binomial")
    table = model.backtest(rich, windows=2, stride=2, samples=20)
    assert list(table.scores) == ["DeepAR", "seasonal naive"]
    assert table.coverage("DeepAR").shape == (H,)
    first = model.predict(rich.until(H), samples=20)
    alone = model.backtest(rich, samples=20)
    levels = np.moveaxis(first.quantile(np.arange(1, 10) / 10), 0, 2)
    assert alone["DeepAR"]["wql"] == pytest.approx(crnn.metrics.wql(levels, rich.last(H)))


def test_backtests_leave_out_windows_that_begin_before_their_series(plain):
    model = made(plain)
    longer = [*plain.series, np.full(H - 1, 1e9)]
    table = model.backtest(crnn.data.Panel(longer, names=[*plain.names, "short"]), samples=20)
    assert table["DeepAR"] == pytest.approx(model.backtest(plain, samples=20)["DeepAR"])
    short = crnn.data.Panel([[1.0, 2.0]])
    with pytest.raises(ValueError, match="windows: expected numbers in the last windows"):
        model.backtest(short)


def test_files(tmp_path, rich):
    for options in ({}, {"scale": None}):
        model = made(rich, "negative_binomial", **options)
        model.train(rich, **QUICK)
        model.save(tmp_path)
        again = DeepAR.load(tmp_path)
        assert repr(again) == repr(model)
        assert_same_bits(
            again.predict(rich, samples=3).samples, model.predict(rich, samples=3).samples
        )


LIES = [
    *(((name,), value) for name in ("context", "horizon") for value in (None, 0, 1.5, "3", 2**31)),
    *((("period",), value) for value in (0, 1.5, "3", 2**62)),
    *((("lags",), value) for value in (None, 5, "12", [0], [1.5], [2**31], [[1]], [1])),
    *((("indicators",), value) for value in (None, 2, "yes", False)),
    *((("scale",), value) for value in (None, {}, {"kind": "x"}, {"kind": "mean", "typical": 0})),
    *((("columns", "known"), value) for value in (None, "p", ["0"], ["0", 1], ["0", "0"], [])),
    *((("columns", "static"), value) for value in ([], ["0", "1"], {"0": 1})),
    *((("columns", "categories"), value) for value in ([], ["0"], [None, "1"])),
    *((("calendar",), value) for value in (None, "month", ["x"], [["month"]], ["month", "month"])),
    *((("step",), value) for value in (None, 1, ["1 month"])),
    *((("known",), value) for value in (None, {}, {"mean": [0], "scale": [1]})),
    *((("static",), value) for value in (None, {"mean": [0, 1], "scale": [1, 1]})),
    *((("vocabularies",), value) for value in (None, [], [{}, {}])),
    (("vocabularies", 0), {"symbols": ["red"], "unknown": None}),
    (("vocabularies", 1), {"symbols": ["x", "y", "z"], "unknown": None}),
]


@pytest.mark.parametrize(("place", "lie"), LIES, ids=str)
def test_files_that_lie_are_refused(tmp_path, rich, place, lie):
    made(rich).save(tmp_path)
    tree = DeepAR.read_tree(tmp_path)
    *inside, last = place
    part = tree["inputs"]
    for key in inside:
        part = part[key]
    assert part[last] != lie
    part[last] = lie
    archive.write(tmp_path / "checkpoint.npz", "forecasting model", tree)
    with pytest.raises(ValueError, match=r"checkpoint.npz: cannot be read: "):
        DeepAR.load(tmp_path)


def test_a_repr_tells_context_and_lags(plain):
    text = repr(made(plain))
    assert text.startswith(
        "<DeepAR: student_t, context 7, horizon 3, period 4, lags 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, "
        "12, 13, by Sequential([Joined(Sequential([LSTM("
    )


# -------------------------------------------------------------------------------------- errors


def refuses(model, message, function, *arguments, error=ValueError, **options):
    """Assert that a call raises, and changes nothing."""
    before = model.network.state_dict()
    before = {name: array.copy() for name, array in before.items()}
    with pytest.raises(error, match=message):
        function(*arguments, **options)
    assert_same_bits(model.network.state_dict(), before)


def test_covariates_that_end_too_early(rich):
    model = made(rich)
    message = r"known: series 'shop 0': expected numbers of at least T \+ H = 24 \+ 9 steps in the "
    message += "columns '0', '1', got 32: the first missing step is 32"
    refuses(model, message, model.predict, rich, steps=9)


def test_unknown_categories(rich):
    model = made(rich[[0, 1, 2, 4, 5]])
    message = "series 'shop 3', column '0': expected one of the 2 categories"
    refuses(model, message, model.predict, rich)
    refuses(model, message, model.train, rich, **QUICK)


def test_numbers_that_are_no_counts(rich):
    model = made(rich, "negative_binomial")
    series = [row.copy() for row in rich.series]
    series[4][5] = 2.5
    other = crnn.data.Panel(
        series,
        known=rich.known,
        static=rich.static,
        categories=rich.categories,
        times=(rich.starts, rich.step),
        names=rich.names,
    )
    message = r"series 'shop 4', step 5: expected a whole number of at least 0, got 2.5"
    refuses(model, message, model.train, other, **QUICK)
    with pytest.raises(ValueError, match=message):
        made(other, "negative_binomial")


def test_other_columns_and_times(rich, plain):
    model = made(rich)
    refuses(model, "panel: expected the known columns", model.predict, plain)
    days = crnn.data.Panel(
        rich.series,
        known=rich.known,
        static=rich.static,
        categories=rich.categories,
        times=("2020-03-01", np.timedelta64(1, "D")),
    )
    message = "panel: expected times with steps of 1 month, got steps of 1 day"
    refuses(model, message, model.predict, days)
    refuses(model, "panel: expected a crnn.data.Panel", model.train, [1], error=TypeError)


def test_too_short_series():
    short = crnn.data.Panel([[1.0, 2.0], [3.0]])
    model = made(short)
    refuses(model, "validation_windows: expected a series", model.train, short, **QUICK,
            validation_windows=2)  # fmt: skip
    empty = crnn.data.Panel([[], [np.nan]])
    message = "panel: expected a number in the training part"
    refuses(model, message, model.train, empty, **QUICK, validation_windows=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"likelihood": "poisson"}, "likelihood: expected"),
        ({"cell": "esn"}, "cell: expected one of"),
        ({"context": 0}, "context: expected"),
        ({"period": 0}, "period: expected"),
        ({"lags": [0]}, "lags: expected"),
        ({"dropout": 1.5}, "dropout: expected"),
        ({"scale": "count"}, "scale: expected"),
        ({"layers": 0}, "layers: expected"),
        ({"horizon": 0}, "horizon: expected"),
    ],
)
def test_bad_options(plain, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        made(plain, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"updates": 0}, "updates: expected"),
        ({"batch_size": 0}, "batch_size: expected"),
        ({"lr": -1.0}, "lr: expected"),
        ({"weights": "size"}, "weights: expected"),
        ({"validation_windows": -1}, "validation_windows: expected"),
        ({"progress": 2}, "progress: expected"),
    ],
)
def test_bad_options_of_training(plain, options, message):
    model = made(plain)
    refuses(model, message, model.train, plain, **(QUICK | options), error=(TypeError, ValueError))


WRONG_SIZES = [0, -1, 1.5, "3", 2**31, 2**62, 2**63, 10**30]


@pytest.mark.parametrize("value", WRONG_SIZES)
def test_numbers_of_steps_have_limits(plain, value):
    model = made(plain)
    for name in ("horizon", "context", "period"):
        with pytest.raises((TypeError, ValueError), match=f"{name}: expected"):
            made(plain, **{name: value})
    with pytest.raises((TypeError, ValueError), match="lags: expected"):
        made(plain, lags=[1, value])
    for name in ("updates", "batch_size", "validation_windows"):
        if (name, value) != ("validation_windows", 0):
            refuses(
                model,
                f"{name}: expected",
                model.train,
                plain,
                error=(TypeError, ValueError),
                **(QUICK | {name: value}),
            )
    for name in ("steps", "samples"):
        with pytest.raises((TypeError, ValueError), match=f"{name}: expected"):
            model.predict(plain, **{name: value})
    for name in ("windows", "stride", "samples"):
        with pytest.raises((TypeError, ValueError), match=f"{name}: expected"):
            model.backtest(plain, **{name: value})


def test_sizes_whose_product_is_too_large(plain):
    model = made(plain)
    most = 2**31 - 1
    with pytest.raises(ValueError, match=r"samples: expected n S H of at most .*, got 9 x 21474"):
        model.predict(plain, samples=most, steps=most)


@pytest.mark.parametrize("lags", [5, "12"])
def test_lags_are_a_sequence(plain, lags):
    with pytest.raises(TypeError, match=f"lags: expected a sequence of integers, got {lags!r}"):
        made(plain, lags=lags)


def test_more_windows_than_the_longest_series_has(plain):
    model = made(plain)
    refuses(
        model,
        "validation_windows: expected at most 10, as the longest series has 30 steps, "
        "and windows have 3, got 11",
        model.train,
        plain,
        validation_windows=11,
    )
    with pytest.raises(ValueError, match=r"windows: expected at most 10, .* got 11"):
        model.backtest(plain, windows=11)
    with pytest.raises(ValueError, match=r"windows: expected at most 28, .* got 29"):
        model.backtest(plain, windows=29, stride=1)
    assert model.backtest(plain, windows=28, stride=1, samples=1).windows == 28


def test_times_of_the_forecast_are_checked_before_it(rich, monkeypatch):
    model = made(crnn.data.Panel([[1.0] * 9], times=("9999-01", np.timedelta64(1, "M"))))
    monkeypatch.setattr(deepar, "sample_paths", lambda *a, **o: pytest.fail("it was sampled"))
    panel = crnn.data.Panel([[1.0] * 9], times=("9999-01", np.timedelta64(1, "M")))
    with pytest.raises(ValueError, match="steps: series '0': expected times up to 9999-12, got 13"):
        model.predict(panel, steps=4)


@pytest.mark.parametrize("part", ["series", "known", "static"])
@pytest.mark.parametrize("size", [1.1e30, -1e300])
def test_numbers_that_float32_cannot_hold(part, size):
    def panel(large):
        parts = {"series": np.ones((2, 9)), "known": np.ones((2, 12, 1)), "static": np.ones((2, 1))}
        parts[part][1, ...] = 1
        if large:
            parts[part].reshape(2, -1)[1, 8 if part != "static" else 0] = size
        columns = {"target": "sold", "known": ["price"], "static": ["area"]}
        return crnn.data.Panel(parts.pop("series"), **parts, columns=columns, names=["a", "b"])

    where = {"series": "series 'b', column 'sold', step 8", "static": "series 'b', column 'area'"}
    where["known"] = "known: series 'b', column 'price', step 8"
    message = f"{where[part]}: expected a number of at most 1e\\+30 in size, got"
    model = made(panel(False))
    refuses(model, message, model.train, panel(True), **QUICK)
    refuses(model, message, model.predict, panel(True))
    refuses(model, message, model.backtest, panel(True))
    with pytest.raises(ValueError, match=message):
        made(panel(True))
    model.predict(panel(True)["a"], samples=2)


def test_large_numbers_are_trained_and_forecast():
    numbers = np.random.default_rng(0).normal(size=(4, 20))
    for size in (1e29, 1e-30):
        panel = crnn.data.Panel(numbers * size)
        model = made(panel, "gaussian")
        assert np.isfinite(model.train(panel, **QUICK).loss).all()
        assert np.isfinite(model.predict(panel, samples=5).samples).all()
    counts = crnn.data.Panel(np.full((2, 20), 2.0**53))
    model = made(counts, "negative_binomial")
    assert np.isfinite(model.train(counts, **QUICK).loss).all()
    assert np.isfinite(model.predict(counts, samples=5).samples).all()
    more = crnn.data.Panel(np.full((2, 20), 2.0**54))
    refuses(model, r"series '0', step 0: .* at most 2\*\*53, got 1.8", model.predict, more)


@pytest.mark.parametrize("options", [{"steps": 0}, {"samples": 0}, {"seed": -1}])
def test_bad_options_of_forecasts(plain, options):
    (name,) = options
    with pytest.raises((TypeError, ValueError), match=f"{name}: expected"):
        made(plain).predict(plain, **options)


def test_networks_that_do_not_fit(plain):
    inputs = made(plain).inputs
    with pytest.raises(ValueError, match="network: expected one with input_size="):
        DeepAR(crnn.LSTM(3, 3), inputs)
    with pytest.raises(ValueError, match="network: expected one with output_size=3"):
        DeepAR(crnn.LSTM(inputs.input_size, 4), inputs)


def test_outputs_that_are_not_finite(plain):
    model = made(plain)
    model.network.layers[-1].params["b"][...] = np.nan
    with pytest.raises(FloatingPointError, match="series 's0', step 0 of the forecast"):
        model.predict(plain)
