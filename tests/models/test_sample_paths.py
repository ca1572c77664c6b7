"""Sample paths in the core: the bits of the loop in NumPy, for any parts and threads; errors."""

import signal

import numpy as np
import pytest

import crnn
import crnn._core as _core
from crnn.layers.compose.streams import stream_of
from crnn.losses.likelihoods import PARAMETERS
from crnn.models import DeepAR
from crnn.models.categories import WithCategories, joined_before
from crnn.models.deepar_sampling import last_observed, series_hash
from support.comparing import assert_same_bits
from support.running import fill

KINDS = list(PARAMETERS)
CELLS = ["rnn", "lstm", "gru", "janet", "mingru", "minlstm", "tcn", "transformer"]
H = 4


def panel_of(n=4, rich=False, seed=0):
    """Return series of counts; where rich, an empty one, one with gaps, and all kinds of inputs."""
    rng = np.random.default_rng(seed)
    series = [rng.poisson(9, size).astype(float) for size in rng.integers(9, 30, n)]
    if not rich:
        return crnn.data.Panel(series, names=[f"s{i}" for i in range(n)])
    series[0] = np.empty(0)
    series[1][[3, 5, -1, -2]] = np.nan
    return crnn.data.Panel(
        series,
        known=[rng.normal(5, 2, size=(len(row) + 60, 2)) for row in series],
        static=rng.normal(size=(n, 1)),
        categories=[["red"], ["blue"]] * (n // 2),
        times=("2020-03", np.timedelta64(1, "M")),
        names=[f"s{i}" for i in range(n)],
    )


def made(panel, likelihood="student_t", **options):
    options = {"hidden_size": 8, "layers": 2, "seed": 3, "period": 4, "context": 6} | options
    model = DeepAR.for_panel(panel, H, likelihood=likelihood, **options)
    fill(model.network, 2, 0.3)
    return model


def twin(model, panel, steps, samples, seed=0):
    """Return what `predict` samples, path by path, by crnn.reference.sample_path."""
    inputs, ends, kind = model.inputs, last_observed(panel), KINDS.index(model.likelihood)
    gather = inputs.gatherer(panel, steps)
    paths = np.empty((len(panel), samples, steps), np.float32)
    for i, end in enumerate(ends):
        gap, begin, row = panel.lengths[i] - end, end - inputs.context, np.array([i])
        scale = inputs.scale(panel, row, [begin], [end])
        past = gather(row, [begin], inputs.context, scale)
        read, x = past.x, gather(row, [end], gap + steps, scale).x
        layer, name = model.network, np.array([series_hash(panel.names[i])])
        if isinstance(layer, WithCategories):
            vectors = layer.vectors(inputs.categories(panel)[row])
            read, x, layer = joined_before(vectors, read), joined_before(vectors, x), layer.layer
        _, state = layer(read, lengths=past.lengths)
        for sample in range(samples):
            stream = stream_of(layer, 1, state)

            def draw(outputs, step, sample=sample, scale=scale, name=name):
                places = name, np.array([sample]), np.array([step])
                return _core.draw_observed(kind, outputs[None], scale, seed, *places)[0]

            path = crnn.reference.sample_path(
                lambda row, stream=stream: stream.step(row[None])[0],
                draw,
                x[0],
                inputs.lags,
                scale[0],
                indicators=inputs.indicators,
            )
            paths[i, sample] = path[gap:]
    return paths


@pytest.mark.parametrize("rich", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_paths_have_the_bits_of_the_twin(cell, rich):
    panel = panel_of(rich=rich)
    for likelihood in KINDS:
        model = made(panel, likelihood, cell=cell)
        found = model.predict(panel, steps=6, samples=3, seed=5).samples
        assert_same_bits(found, twin(model, panel, 6, 3, 5))


@pytest.mark.parametrize("lags", [[], [1], [2, 5, 17], [12], [30, 29], [1, 2, 3, 11, 12, 13]])
@pytest.mark.parametrize("rich", [False, True])
def test_lags_longer_and_shorter_than_the_forecast(lags, rich):
    panel = panel_of(rich=rich)
    model = made(panel, lags=lags, layers=1)
    for steps in (1, 2, 12):
        found = model.predict(panel, steps=steps, samples=2).samples
        assert_same_bits(found, twin(model, panel, steps, 2))


@pytest.mark.parametrize(
    "options",
    [
        {"layer_norm": True},
        {"proj_size": 4},
        {"learn_state": True},
        {"peepholes": True},
        {"bias": False},
        {"dtype": "float64"},
    ],
)
def test_other_layers(options):
    """Some of them cannot begin their sums with the inputs that paths share."""
    panel = panel_of()
    inputs = made(panel).inputs
    width = options.get("proj_size", 8)
    head = crnn.Dense(width, 3, seed=1, dtype=options.get("dtype", "float32"))
    network = crnn.Sequential([crnn.LSTM(inputs.input_size, 8, seed=0, **options), head])
    model = DeepAR(fill(network, 2, 0.3), inputs)
    found = model.predict(panel, samples=3).samples
    if options == {"dtype": "float64"}:  # which reads more digits of the numbers that are drawn
        np.testing.assert_allclose(found, twin(model, panel, H, 3), rtol=1e-5)
    else:
        assert_same_bits(found, twin(model, panel, H, 3))


def test_networks_without_a_state():
    panel = panel_of()
    inputs = made(panel).inputs
    layers = [crnn.Dense(inputs.input_size, 5, seed=0), crnn.Activation("tanh")]
    network = crnn.Sequential([*layers, crnn.Dense(5, 3, seed=1)])
    model = DeepAR(network, inputs)
    assert_same_bits(model.predict(panel, samples=3).samples, twin(model, panel, H, 3))


class Same(crnn.Layer):
    """A layer that the core does not know."""

    keeps_features, receptive_field = True, 1

    def __init__(self, size):
        self.input_size = self.output_size = size

    def forward(self, x, state=None, *, lengths=None, training=True):
        return x, None, None

    def backward(self, tape, dy, dstate=None):
        raise NotImplementedError


def in_python(model):
    """Return the model with a layer that the core does not know, before the last one."""
    *layers, head = model.network.layers
    same = Same(head.input_size)
    return DeepAR(crnn.Sequential([*layers, same, head]), model.inputs, model.likelihood)


@pytest.mark.parametrize("likelihood", KINDS)
def test_networks_with_other_layers_have_the_same_bits(likelihood):
    panel = panel_of()
    model = made(panel, likelihood)
    whole = model.predict(panel, steps=9, samples=5).samples
    assert_same_bits(in_python(model).predict(panel, steps=9, samples=5).samples, whole)


@pytest.mark.parametrize("cell", ["lstm", "transformer"])
def test_parts_and_threads_have_the_same_bits(cell, threads):
    """A series has several parts, and a part has several series."""
    panel = panel_of(rich=True)
    model = made(panel, cell=cell)
    few = model.predict(panel, samples=7).samples
    many = model.predict(panel, samples=300).samples
    assert_same_bits(many[:, :7], few)
    for count in (1, 2, 3):
        threads(count)
        assert_same_bits(model.predict(panel, samples=300).samples, many)
        assert_same_bits(model.predict(panel[[3, 1]], samples=7).samples, few[[3, 1]])


def test_large_weights_are_shared_by_threads(threads):
    panel = panel_of(1)
    model = made(panel, hidden_size=200)
    threads(1)
    one = model.predict(panel, samples=2).samples
    threads(4)
    assert_same_bits(model.predict(panel, samples=2).samples, one)


@pytest.mark.parametrize("known", [True, False])
def test_the_series_and_the_step_of_an_output_that_is_not_finite(known):
    """The covariate of series 2 overflows at step 3 of the forecast, that of series 3 at step 1."""
    rng = np.random.default_rng(0)
    covariates = rng.normal(size=(4, 40, 1))
    series, names = rng.normal(10, 1, size=(4, 20)), ["a", "b", "c", "d"]
    panel = crnn.data.Panel(series, known=covariates, names=names)
    inputs = made(panel).inputs
    cell = crnn.RNN(inputs.input_size, 8, activation="relu", seed=0)
    model = DeepAR(crnn.Sequential([cell, crnn.Dense(8, 3, seed=1)]), inputs)
    model = model if known else in_python(model)
    other = covariates.copy()
    other[2, 23], other[3, 21] = 1e25, 1e25
    cell.params["W_x"][:, 0] = 1e15
    with pytest.raises(FloatingPointError, match="series 'c', step 3 of the forecast: the outputs"):
        model.predict(crnn.data.Panel(series, known=other, names=names), samples=2, steps=6)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no interval timers")
def test_ctrl_c_ends_a_forecast():
    def interrupt(*_):
        raise KeyboardInterrupt

    panel = panel_of()
    model, before = made(panel), signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            model.predict(panel, samples=5000, steps=5000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def arguments(**changes):
    given = {
        "likelihood": 0,
        "x": np.zeros((2, 3, 5), np.float32),
        "scales": np.ones(2),
        "series": np.arange(2),
        "lags": np.array([2, 1]),
        "indicators": True,
        "samples": 4,
        "gap": 1,
        "seed": 0,
    }
    return tuple((given | changes).values())


def stream(outputs=2):
    return crnn.Sequential([crnn.GRU(5, 4, seed=0), crnn.Dense(4, outputs, seed=1)]).stream(2)


def test_a_stream_keeps_its_state():
    own = stream()
    before = own.state
    paths, bad = own._sample_paths(*arguments())
    assert paths.shape == (2, 4, 2)
    assert bad is None
    assert_same_bits(own.state, before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"likelihood": 1}, "stream"),
        ({"likelihood": -1}, "stream"),
        ({"x": np.zeros((3, 3, 5), np.float32)}, "x: expected"),
        ({"x": np.zeros((2, 3, 4), np.float32)}, "x: expected"),
        ({"scales": np.ones(3)}, "scales: expected"),
        ({"series": np.arange(3)}, "series: expected"),
        ({"lags": np.array([1, 2])}, "lags"),
        ({"lags": np.array([1, 1])}, "lags"),
        ({"lags": np.array([1, 0])}, "lags"),
        ({"lags": np.array([3, 2, 1])}, "lags"),
        ({"samples": 0}, "samples: expected"),
        ({"gap": 3}, "gap"),
        ({"gap": -1}, "gap"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        stream()._sample_paths(*arguments(**changes))
