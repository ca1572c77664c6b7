"""One to many: generate, against loops over whole calls.

Letters: B sequences, T steps, H hidden units, K symbols, F features.
"""

import signal

import numpy as np
import pytest

import crnn
import crnn._core as _core
from crnn.common.nested import map_state
from crnn.layers.compose.streams import stream_of
from support.comparing import assert_close
from support.running import fill

B, T, H, K, F = 4, 12, 5, 6, 3
F64 = {"dtype": "float64"}
START = np.array([0, 3, 5, 3])


@pytest.fixture
def model():
    layers = [crnn.Embedding(K, H, **F64), crnn.LSTM(H, H, **F64), crnn.Dense(H, K, **F64)]
    model = fill(crnn.Sequential(layers), seed=8, scale=1.5)
    model.params["2.b"] = 0  # so that the symbols depend on what was read
    return model


@pytest.fixture
def vectors():
    return fill(crnn.Sequential([crnn.GRU(F, H, **F64), crnn.Dense(H, F, **F64)]))


def logits_of(model, symbols, start=START, state=None):
    """Return the logits of every step for these symbols as inputs."""
    x = np.concatenate([start[:, None], symbols[:, :-1]], axis=1)
    return model(x, state)[0]


def test_the_likeliest_symbol_is_fed_back(model):
    symbols = crnn.generate(model, START, T)
    assert (symbols.shape, symbols.dtype) == ((B, T), np.int64)
    np.testing.assert_array_equal(symbols, logits_of(model, symbols).argmax(axis=2))
    np.testing.assert_array_equal(symbols[1], symbols[3])
    assert len(np.unique(symbols)) > 2


def test_from_a_state(model):
    _, state = model(np.tile(np.arange(K), (B, 1)))
    symbols = crnn.generate(model, START, T, state=state)
    expected = logits_of(model, symbols, state=state).argmax(axis=2)
    np.testing.assert_array_equal(symbols, expected)
    assert (symbols != crnn.generate(model, START, T)).any()


def test_after_the_stop_all_symbols_are_stop(model):
    free = crnn.generate(model, START, T)
    stop = free[0, 2]
    assert [stop in row for row in free] == [True, False, True, False]
    symbols = crnn.generate(model, START, T, stop=stop)
    for row, whole in zip(symbols, free, strict=True):
        ends = np.flatnonzero(whole == stop)
        end = ends[0] if len(ends) else T
        np.testing.assert_array_equal(row[:end], whole[:end])
        assert (row[end:] == stop).all()
    alone = crnn.generate(model, START[:1], T, stop=stop)  # ends early
    np.testing.assert_array_equal(alone, symbols[:1])


def test_symbols_are_drawn_with_their_probabilities(model):
    """The symbols are those of inverse transform sampling with the same random numbers."""
    symbols = crnn.generate(model, START, T, temperature=0.7, seed=5)
    stream = int.from_bytes(b"sample")
    for b, logits in enumerate(logits_of(model, symbols)):
        u = _core.random_uniform(5, stream, b << 32, T)
        p = np.exp(logits / 0.7) / np.exp(logits / 0.7).sum(axis=1, keepdims=True)
        np.testing.assert_array_equal(symbols[b], (p.cumsum(axis=1) <= u[:, None]).sum(axis=1))
    np.testing.assert_array_equal(
        symbols[:2], crnn.generate(model, START[:2], T, temperature=0.7, seed=5)
    )
    assert (symbols != crnn.generate(model, START, T, temperature=0.7, seed=6)).any()
    cold = crnn.generate(model, START, T, temperature=None)
    np.testing.assert_array_equal(cold, crnn.generate(model, START, T))


class Fixed(crnn.Layer):
    """Layer with equal logits at every step."""

    params = grads = {}  # noqa: RUF012

    def __init__(self, probabilities):
        self.logits = np.log(probabilities)

    def forward(self, x, state=None, *, lengths=None, training=True):
        return np.broadcast_to(self.logits, (*x.shape, len(self.logits))), None, None

    def backward(self, tape, dy, dstate=None):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0.1, 0.3, 0.2, 0.3, 0.1]),
        ({"top_k": 3}, [0, 0.3, 0.2, 0.3, 0]),
        ({"top_k": 1}, [0, 1, 0, 0, 0]),  # of equal ones the first
        ({"top_k": 99}, [0.1, 0.3, 0.2, 0.3, 0.1]),
        ({"top_p": 0.29}, [0, 1, 0, 0, 0]),
        ({"top_p": 0.31}, [0, 1, 0, 1, 0]),
        ({"top_p": 0.61}, [0, 0.3, 0.2, 0.3, 0]),
        ({"top_p": 1.0}, [0.1, 0.3, 0.2, 0.3, 0.1]),
        ({"top_k": 3, "top_p": 0.7}, [0, 0.3, 0, 0.3, 0]),  # 0.6 of the 0.8 that are left
        ({"top_p": 0.45, "temperature": 0.5}, [0, 1, 0, 1, 0]),  # 9 of 9 + 9 + 4 + 1 + 1 is less
        ({"top_p": 0.35, "temperature": 0.5}, [0, 1, 0, 0, 0]),
    ],
)
def test_the_symbols_that_are_sampled_from(options, kept):
    temperature = options.get("temperature", 1.0)
    model = Fixed([0.1, 0.3, 0.2, 0.3, 0.1])
    options = {"temperature": temperature, "seed": 0} | options
    found = crnn.generate(model, np.zeros(20, int), 500, **options)
    expected = np.array(kept, float) ** (1 / temperature)
    expected /= expected.sum()
    shares = np.bincount(found.ravel(), minlength=5) / found.size
    assert not shares[expected == 0].any()
    assert_close(shares, expected, 0.05)


def test_impossible_symbols_are_never_drawn():
    with np.errstate(divide="ignore"):
        model = Fixed([0.0, 0.5, 0.0, 0.5, 0.0])
    found = crnn.generate(model, np.zeros(4, int), 200, temperature=2.0, seed=1)
    assert set(np.unique(found)) == {1, 3}


def test_vectors_are_fed_back(vectors):
    start = np.random.default_rng(0).normal(size=(B, F))
    y = crnn.generate(vectors, start, T)
    x = np.concatenate([start[:, None], y[:, :-1]], axis=1)
    assert_close(y, vectors(x)[0], 1e-13)
    rounded = crnn.generate(vectors, start, T, feedback=np.round)
    x = np.concatenate([start[:, None], np.round(rounded[:, :-1])], axis=1)
    assert_close(rounded, vectors(x)[0], 1e-13)


def by_steps(model, start, steps, x=None, state=None):
    """Return the outputs and the last state of a loop over single steps."""
    stream, y, outputs = stream_of(model, len(start), state), start, []
    for t in range(steps):
        y = stream.step(y if x is None else np.concatenate([x[:, t], y], axis=1))
        outputs.append(y)
    return np.stack(outputs, axis=1), stream.state


@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_closed_loop_of_the_core_has_the_bits_of_single_steps(dtype, rows, count, threads):
    options = {"dtype": dtype}
    first = crnn.RNN(F, 33, leak=0.3, delays=(1, 4), **options)
    layers = [first, crnn.LSTM(33, 9, delays=3, **options)]
    model = fill(crnn.Sequential([*layers, crnn.Dense(9, F, **options)]))
    start = np.random.default_rng(0).normal(size=(rows, F)).astype(dtype)
    state = model(np.ones((rows, 2, F)))[1]
    steps = 1100  # more than between two looks for Ctrl-C
    threads(count)
    y = crnn.generate(model, start, steps, state=state)
    expected, _ = by_steps(model, start, steps, state=state)
    np.testing.assert_array_equal(y, expected)
    last = map_state(lambda part: part[-1:], state)
    alone = crnn.generate(model, start[-1:], steps, state=last)
    np.testing.assert_array_equal(y[-1:], alone)


def test_a_stream_goes_on_behind_the_steps_that_the_core_ran():
    model = fill(crnn.Sequential([crnn.GRU(5, H, **F64), crnn.Dense(H, 2, **F64)]))
    rng = np.random.default_rng(0)
    start, x = rng.normal(size=(B, 2)), rng.normal(size=(B, T, 6))[..., ::2]
    stream = model.stream(B)
    y = np.concatenate(
        [stream._feed(start, 5, x[:, :5]), stream._feed(start * 0, T - 5, x[:, 5:])], axis=1
    )
    first, state = by_steps(model, start, 5, x)
    rest, state = by_steps(model, start * 0, T - 5, x[:, 5:], state)
    np.testing.assert_array_equal(y, np.concatenate([first, rest], axis=1))
    np.testing.assert_array_equal(stream.state[0], state[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((B, 2)), 0, None), "steps: expected an integer of at least 1"),
        ((np.zeros((B, 2)), T, np.zeros((B, T, 2))), "x: expected sizes and types that fit"),
        ((np.zeros((B, 2)), T, np.zeros((B, T, 5))), "x: expected sizes and types that fit"),
        (
            (np.zeros((B, 2)), T, np.zeros((B, T - 1, 3))),
            r"x: expected floats of shape \(B=4, T=12",
        ),
        ((np.zeros((B, 2)), T, np.zeros((B, T, 3), int)), "x: expected floats"),
        ((np.zeros((B, 3)), T, np.zeros((B, T, 3))), r"start: expected floats of shape \(B=4, O=2"),
        ((np.zeros((B, 2)), 2**62, np.zeros((B, T, 3))), "x: expected floats of shape"),
    ],
)
def test_a_wrong_call_of_the_loop_changes_nothing(arguments, message):
    stream = crnn.Sequential([crnn.GRU(5, H, seed=0), crnn.Dense(H, 2, seed=1)]).stream(B)
    stream.step(np.ones((B, 5)))
    before = stream.state[0]
    with pytest.raises((TypeError, ValueError), match="^" + message):
        stream._feed(*arguments)
    np.testing.assert_array_equal(stream.state[0], before)


def test_more_steps_than_memory_holds():
    symbols = crnn.Sequential([crnn.GRU(5, H, seed=0), crnn.Dense(H, 5, seed=1)])
    for model, start in ((crnn.GRU(F, F), np.zeros((B, F))), (symbols, [0])):
        with pytest.raises(ValueError, match=r"^steps: expected sizes that memory can hold"):
            crnn.generate(model, start, 2**62)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no interval timers")
def test_ctrl_c_ends_a_closed_loop():
    def interrupt(*_):
        raise KeyboardInterrupt

    model = crnn.RNN(500, 500, seed=0)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            crnn.generate(model, np.zeros((1, 500)), 2_000_000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_recurrent_layer_alone_and_a_conditioned_one():
    rng = np.random.default_rng(0)
    start, fixed = rng.normal(size=(B, F)), rng.normal(size=(B, 2))
    gru = fill(crnn.GRU(F, F, **F64))
    model = fill(crnn.Conditioned(gru, crnn.Dense(2, F, **F64)))
    _, state = model((start[:, None][:, :0], fixed))
    y = crnn.generate(model, start, T, state=state)
    x = np.concatenate([start[:, None], y[:, :-1]], axis=1)
    assert_close(y, model((x, fixed))[0], 1e-13)
    np.testing.assert_array_equal(y, crnn.generate(gru, start, T, state=state))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"start": [[0, 1]]},
            r"start: expected integers of shape \(B,\) or floats of shape \(B, F",
        ),
        ({"start": 0}, r"start: expected integers .*, got int64 of shape \(\)"),
        ({"start": [0.5]}, r"start: expected .*, got float64 of shape \(1,\)"),
        ({"start": [True]}, r"start: expected .*, got bool of shape \(1,\)"),
        ({"start": [0, K]}, r"start: expected integers from 0 to K-1=5, got 6 in row 1"),
        ({"start": [-1]}, r"start: expected integers from 0 to K-1=5, got -1 in row 0"),
        ({"start": np.zeros((B, F)), "stop": 1}, r"stop: expected None for vectors, got 1"),
        (
            {"start": np.zeros((B, F)), "temperature": 1.0},
            r"temperature: expected None for vectors",
        ),
        ({"steps": 0}, r"steps: expected an integer of at least 1"),
        ({"stop": -1}, r"stop: expected None or a symbol, an integer of at least 0, got -1"),
        ({"stop": 1.0}, r"stop: expected None or a symbol, an integer of at least 0, got 1.0"),
        ({"temperature": -1}, r"temperature: expected a positive number, or None .*, got -1"),
        ({"temperature": np.nan}, r"temperature: expected a positive number, or None .*, got nan"),
        ({"top_k": 2}, r"top_k: expected None without a temperature, got 2"),
        ({"top_p": 0.5}, r"top_p: expected None without a temperature, got 0.5"),
        ({"temperature": 1, "top_k": 0}, r"top_k: expected an integer of at least 1"),
        ({"temperature": 1, "top_p": 0}, r"top_p: expected a positive number, got 0"),
        ({"temperature": 1, "top_p": 1.5}, r"top_p: expected a probability, 0 < p <= 1, got 1.5"),
        ({"temperature": 1, "seed": -1}, r"seed: expected None or an integer from 0"),
        ({"feedback": np.round}, r"feedback: expected None for symbols, got <"),
        ({"state": [None]}, r"state: expected None or a list of 3 states, got 1 items"),
    ],
)
def test_errors(model, options, message):
    options = {"start": START, "steps": T} | options
    with pytest.raises((TypeError, ValueError), match="^" + message):
        crnn.generate(model, **options)


def test_a_start_that_the_model_does_not_read():
    with pytest.raises(
        ValueError, match=r"^start: expected floats of shape \(B=2, F=3\), got shape"
    ):
        crnn.generate(crnn.GRU(3, 3), np.zeros((2, 4)), T)
    symbols = crnn.Sequential([crnn.Embedding(K, F), crnn.GRU(F, K)])
    with pytest.raises(
        TypeError, match=r"^start: expected integers of shape \(B=2,\), got float64"
    ):
        crnn.generate(symbols, np.zeros((2, F)), T)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 0}])
def test_outputs_that_the_model_does_not_read(options):
    with pytest.raises(ValueError, match=r"^model: expected at most as many outputs as the K=3"):
        crnn.generate(crnn.GRU(3, 4), [0], T, **options)
    few = crnn.generate(crnn.GRU(4, 3, seed=0), [3], T, **options)
    assert few.max() < 3


def test_models_that_do_not_run_step_by_step_raise():
    for layer in (crnn.Bidirectional(crnn.LSTM(F, F)), crnn.GRU(F, F, reverse=True)):
        with pytest.raises(ValueError, match=r"^layer: expected one that runs step by step, got"):
            crnn.generate(layer, np.zeros((B, F)), T)
        with pytest.raises(ValueError, match=r"^layer: expected one that runs step by step, got"):
            stream_of(layer, B, None)


def test_logits_that_are_nan_raise(model):
    model.params["2.b"] = np.nan
    with pytest.raises(FloatingPointError, match=r"^logits: expected numbers at step 0, got NaN"):
        crnn.generate(model, START, T)
