"""Checkpointed has the results of the layer itself, from windows that are computed twice.

Letters: B sequences, T steps, F features.
"""

import gc
import weakref

import numpy as np
import pytest

import crnn
from crnn.layers.base.description import describe
from support import stubs
from support.comparing import assert_close, assert_same_bits
from support.running import fill, forward_backward
from support.stubs import Leaky, assert_differences
from support.tables import CELLS, every_cell

B, T, F = 4, 11, 3
RNG = np.random.default_rng(0)
X, SYMBOLS = RNG.normal(size=(B, T, F)), RNG.integers(0, F, (B, T))
LENGTHS = [11, 0, 6, 3]
MASK = RNG.random((B, T)) < 0.5
RESETS = RNG.random((B, T)) < 0.2
F64 = {"dtype": "float64"}
every_window = pytest.mark.parametrize("every", [1, 3, 4, 11, 20])


@every_cell
@every_window
@pytest.mark.parametrize("x", [X, SYMBOLS], ids=["floats", "symbols"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_a_recurrent_layer_has_the_same_bits(kind, every, x, lengths, dtype):
    layer = fill(CELLS[kind](F, 5, dtype=dtype))
    state = layer(X[:, ::-1])[1]
    for start in (None, state):
        expected = forward_backward(layer, x, start, lengths=lengths)
        found = forward_backward(crnn.Checkpointed(layer, every), x, start, lengths=lengths)
        assert_same_bits(found, expected)
    whole = crnn.Checkpointed(layer, every)
    assert_same_bits(whole(x, state, lengths=lengths), layer(x, state, lengths=lengths))


def stack():
    inner = crnn.Residual(crnn.Sequential([crnn.GRU(F, F, **F64), crnn.LayerNorm(F, **F64)]))
    layers = [crnn.Embedding(F, F, **F64), crnn.LSTM(F, F, **F64), inner]
    return crnn.Sequential([*layers, crnn.Dense(F, 2, **F64)])


@every_window
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_a_composition(every, lengths):
    layer = fill(stack())
    whole = crnn.Checkpointed(layer, every)
    expected = forward_backward(layer, SYMBOLS, lengths=lengths)
    found = forward_backward(whole, SYMBOLS, lengths=lengths)
    assert list(found) == list(expected)
    for name, array in found.items():
        if name == "y" or name.startswith("state"):
            assert_same_bits(array, expected[name])
        assert_close(array, expected[name], 1e-12, name)
    report = crnn.gradcheck(
        whole, SYMBOLS[:, :5], lengths=None if lengths is None else [5, 0, 4, 1]
    )
    assert report.ok, f"\n{report}"


STEPS = {
    "mask": {"mask": MASK},
    "resets": {"resets": RESETS},
    "all": {"mask": MASK, "resets": RESETS, "lengths": LENGTHS},
}


@every_window
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("state", [False, True], ids=["zeros", "state"])
def test_masks_and_resets(every, steps, state):
    """Also for outputs that repeat an output of an earlier window, after several layers."""
    start = RNG.normal(size=(B, F)) if state else None
    for layer, begin in (
        (Leaky(F), start),
        (
            crnn.Sequential([Leaky(F, 1), crnn.Dense(F, F, **F64), Leaky(F, 2)]),
            [start, None, start],
        ),
        (crnn.Sequential([Leaky(F, 1), crnn.Residual(Leaky(F, 2)), stack().layers[3]]), None),
    ):
        expected = forward_backward(layer, X, begin, **steps)
        found = forward_backward(crnn.Checkpointed(layer, every), X, begin, **steps)
        assert list(found) == list(expected)
        for name, array in found.items():
            assert_close(array, expected[name], 1e-13, name)


@every_window
def test_backward_draws_the_numbers_of_forward(every):
    """Backward draws the same numbers as forward: gradients agree with differences."""
    layer = crnn.Sequential([Leaky(F, 1, noise=0.8), Leaky(F, 1, noise=0.8)])
    options = {"call": 5, "first_row": 2, "layer": 3, "lengths": LENGTHS, "resets": RESETS}
    assert_differences(crnn.Checkpointed(layer, every), X.copy(), options)


def test_noise_is_the_layers_own_in_every_window():
    layer, x = Leaky(F, 1, noise=0.8), np.ones((B, T, F))
    y, _, _ = crnn.Checkpointed(layer, 4).forward(x, call=5, layer=3)
    state = None
    for begin in (0, 4, 8):
        part, state, _ = layer.forward(x[:, begin : begin + 4], state, call=5, layer=3)
        np.testing.assert_array_equal(y[:, begin : begin + 4], part)
    plain, _, _ = crnn.Checkpointed(layer, 4).forward(x, training=False)
    np.testing.assert_array_equal(plain, layer(x)[0])


def test_layers_without_memory_repeat_nothing():
    dense = fill(crnn.Dense(F, F, **F64))
    whole = crnn.Checkpointed(crnn.Sequential([dense]), 3)
    y, _, _ = whole.forward(X, mask=MASK)
    np.testing.assert_array_equal(y, np.where(MASK[..., None], dense(X)[0], 0))


@pytest.mark.parametrize(
    "layer",
    [
        crnn.Residual(Leaky(F)),
        crnn.Sequential([Leaky(F), crnn.Dropout(0.5, seed=1)]),
        crnn.Sequential([crnn.Residual(Leaky(F)), crnn.Dense(F, F)]),
    ],
    ids=["residual", "dropout", "residual-inside"],
)
def test_masked_steps_that_are_no_repetitions(layer):
    whole, early = crnn.Checkpointed(layer, 4), np.ones((B, T), bool)
    early[:, 3] = early[0, :2] = False  # inside a window
    whole.forward(X, mask=early)
    early[2, 4] = False
    with pytest.raises(ValueError, match=r"^mask: expected .*, got False at row 2, step 4"):
        whole.forward(X, mask=early)
    assert whole(X, mask=early)[0].shape == X.shape  # evaluation has no windows


def test_dropout_repeats_in_evaluation():
    layer = crnn.Sequential([Leaky(F), crnn.Dropout(0.5, seed=1)])
    y, _, _ = crnn.Checkpointed(layer, 4).forward(X, mask=MASK, training=False)
    np.testing.assert_array_equal(y, layer(X, mask=MASK)[0])


# ---------------------------------------------------------------------------------------- memory


@every_window
def test_one_windows_tape_is_alive_at_a_time(every, monkeypatch):
    alive, most, longest = weakref.WeakSet(), [0], [0]
    original = stubs.Tape.__init__

    def counted(self, **content):
        original(self, **content)
        alive.add(self)
        most[0] = max(most[0], len(alive))
        longest[0] = max(longest[0], content["x"].shape[1])

    monkeypatch.setattr(stubs.Tape, "__init__", counted)
    gc.disable()
    try:
        whole = crnn.Checkpointed(Leaky(F), every)
        y, _, tape = whole.forward(X)
        assert not alive
        assert len(tape.starts) == -(-T // every)
        assert tape.starts[0] is None
        assert all(start.shape == (B, F) for start in tape.starts[1:])
        whole.backward(tape, y)
    finally:
        gc.enable()
    assert not alive
    assert (most[0], longest[0]) == (1, min(every, T))


# ------------------------------------------------------------------------- as any other layer


def test_names_are_those_of_the_layer(tmp_path):
    layer = stack()
    whole = crnn.Checkpointed(layer, 4)
    assert list(whole.params) == list(layer.params)
    whole.load_state_dict(layer.state_dict())
    optimizer = crnn.optim.Adam(whole)
    optimizer.load_state_dict(crnn.optim.Adam(layer).state_dict())
    crnn.save(tmp_path / "model.npz", whole)
    other = crnn.load(tmp_path / "model.npz")
    assert describe(other) == describe(whole)
    assert_same_bits(other(SYMBOLS), whole(SYMBOLS))
    assert repr(eval(repr(whole), vars(crnn))) == repr(whole)
    assert_close(whole.astype("float32")(SYMBOLS)[0], whole(SYMBOLS)[0], 1e-5)


def test_a_stream():
    layer = fill(crnn.LSTM(F, F, **F64))
    stream = crnn.Checkpointed(layer, 4).stream(B)
    steps = [stream.step(X[:, t]) for t in range(T)]
    assert_close(np.stack(steps, axis=1), layer(X)[0], 1e-13)


@pytest.mark.parametrize("shape", [(0, 5, F), (2, 0, F), (0, 0, F)])
def test_nothing_to_read(shape):
    layer = crnn.LSTM(F, F, **F64)
    found = forward_backward(crnn.Checkpointed(layer, 2), np.zeros(shape))
    assert_same_bits(found, forward_backward(layer, np.zeros(shape)))


def test_the_caller_may_change_its_arrays():
    whole, start = crnn.Checkpointed(fill(crnn.GRU(F, F, **F64)), 3), RNG.normal(size=(B, F))
    lengths, resets = np.array(LENGTHS), RESETS.copy()
    expected = forward_backward(whole, X, start, lengths=lengths)
    whole.zero_grad()
    y, end, tape = whole.forward(X, start, lengths=lengths)
    dy, dend = np.random.default_rng(5).normal(size=y.shape), None
    reference = whole.backward(tape, dy, dend)
    for array in (y, end, start, lengths):
        array[...] = 0
    assert_same_bits(whole.backward(tape, dy, dend), reference)
    leaky, dy = crnn.Checkpointed(Leaky(F), 3), X
    _, _, tape = leaky.forward(X, resets=resets)
    reference = leaky.backward(tape, dy)
    resets[...] = True
    assert_same_bits(leaky.backward(tape, dy), reference)
    assert expected["y"].any()


@pytest.mark.parametrize(
    ("layer", "place"),
    [
        (crnn.LSTM(F, F, reverse=True), None),
        (crnn.Bidirectional(crnn.LSTM(F, F)), "backward"),
        (
            crnn.Sequential([crnn.LSTM(F, F), crnn.Residual(crnn.GRU(F, F, reverse=True))]),
            "1.layer",
        ),
        (crnn.Pool(), None),
        (crnn.Residual(crnn.Sequential([crnn.LSTM(F, F), crnn.Pool()])), "layer.1"),
        (crnn.Conditioned(crnn.LSTM(F, F), crnn.Dense(F, 2 * F)), None),
    ],
    ids=["reverse", "bidirectional", "reverse-inside", "pool", "pool-inside", "conditioned"],
)
def test_layers_that_cannot_run_step_by_step(layer, place):
    where = f", whose part '{place}' is " if place else ""
    with pytest.raises(
        ValueError, match=rf"^layer: expected one that reads forwards.*got .*{where}"
    ):
        crnn.Checkpointed(layer, 4)


def test_errors():
    with pytest.raises(TypeError, match=r"^layer: expected a layer, got 3"):
        crnn.Checkpointed(3, 4)
    with pytest.raises(ValueError, match=r"^every: expected an integer of at least 1"):
        crnn.Checkpointed(crnn.LSTM(F, F), 0)
    whole = crnn.Checkpointed(Leaky(F), 4)
    for options, message in (
        ({"mask": MASK[:1]}, r"mask: expected booleans, .*\(B=4, T=11\), got shape \(1, 11\)"),
        ({"resets": RESETS * 1.0}, r"resets: expected booleans, .*, got float64"),
        ({"resets": RESETS * -1}, r"resets: expected booleans, .*, got -1 in row"),
        ({"lengths": [12, 0, 0, 0]}, r"lengths: expected integers from 0 to T=11, got 12 in row 0"),
    ):
        with pytest.raises((TypeError, ValueError), match="^" + message):
            whole.forward(X, **options)


def test_after_an_error_nothing_has_changed():
    """Also gradients of the layers after it, for which backward runs first."""
    inner = crnn.Checkpointed(crnn.LSTM(F, F, **F64), 4)
    whole = crnn.Sequential([inner, crnn.Dense(F, 2, **F64)])
    y, (end, _), tape = whole.forward(X)
    other = crnn.Checkpointed(crnn.LSTM(F, F, **F64), 5).forward(X)[2]
    for wrong in (
        lambda: whole.backward(tape, y, [end[0], None]),
        lambda: whole.backward(tape, y, [(end[0][:1], end[1]), None]),
        lambda: whole.backward(tape, y, [(end[0] > 0, end[1]), None]),
        lambda: inner.backward(tape[0], y),
        lambda: inner.backward(tape[0], X > 0),
        lambda: inner.backward(other, X),
        lambda: inner.backward(tape, X),
    ):
        with pytest.raises(
            (TypeError, ValueError), match=r"^(dy|dstate|tape)(\[\d\])?: expected .*"
        ):
            wrong()
    assert not any(grad.any() for grad in whole.grads.values())


@pytest.mark.parametrize(
    "noise", [{"zoneout": 0.3}, {"recurrent_dropout": 0.4}, {"zoneout": 0.2, "layer_norm": True}]
)
def test_noise_is_that_of_the_layer_without_windows(noise):
    """Steps are numbered, and gradients summed, across windows."""
    lstm = crnn.LSTM(F, 5, seed=4, **noise)
    model = crnn.Sequential([crnn.Dropout(0.3, seed=1), lstm])
    x = np.random.default_rng(0).normal(size=(B, T, F)).astype("float32")
    counts = {"call": 3, "first_row": 2, "first_step": 5, "layer": 1}
    found = forward_backward(crnn.Checkpointed(lstm, 4), x, **counts)
    assert_same_bits(found, forward_backward(lstm, x, **counts))
    y = crnn.Checkpointed(model, 4).forward(x, **counts)[0]
    assert_same_bits(y, model.forward(x, **counts)[0])


@pytest.mark.parametrize(
    "layer",
    [
        crnn.CausalConv(4, 4, taps=1, dtype="float64", seed=0),
        crnn.Positions(4, 9, dtype="float64", seed=0),
        crnn.SelfAttention(4, 2, window=1, dtype="float64", seed=0),
        crnn.TransformerBlock(4, 2, window=1, dtype="float64", seed=0),
        crnn.TCN(4, [4], taps=1, dtype="float64", seed=0),
        crnn.Sequential(
            [crnn.Positions(4, 9, dtype="float64"), crnn.Dense(4, 3, dtype="float64", seed=0)]
        ),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_masked_step_begins_a_window_of_a_layer_that_sees_one_step(layer):
    """It repeats the output of the window before, though no step sees another one."""
    x = np.random.default_rng(0).normal(size=(2, 4, 4))
    mask = np.array([[1, 1, 0, 1], [1, 1, 1, 0]], bool)
    whole, part = layer.forward(x, mask=mask), crnn.Checkpointed(layer, 2).forward(x, mask=mask)
    np.testing.assert_array_equal(part[0], whole[0])
