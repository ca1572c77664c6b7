"""LastState returns the last state; Pool("last") of a reversed layer does not, and warns."""

import warnings

import numpy as np
import pytest

import crnn
from support.comparing import assert_close, assert_same_bits
from support.running import fill

B, T, I, H = 3, 5, 3, 4
F64 = {"dtype": "float64"}
X = np.random.default_rng(0).normal(size=(B, T, I))
LENGTHS = np.array([5, 2, 0])
MERGES = {
    "concat": lambda a, b: np.concatenate([a, b], axis=1),
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) / 2,
    "mul": lambda a, b: a * b,
}


def both(merge="concat", inputs=I):
    return crnn.Bidirectional(crnn.LSTM(inputs, H, **F64), merge)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("of", ["h", "c"])
def test_the_last_states_of_both_directions_are_merged(merge, of):
    layer, i = fill(both(merge)), "hc".index(of)
    y, state = crnn.LastState(layer, of)(X, lengths=LENGTHS)
    expected = layer(X, lengths=LENGTHS)[1]
    assert_same_bits(state, expected)
    assert_close(y, MERGES[merge](expected.forward[i], expected.backward[i]), 1e-15)
    if of == "h":  # h is the output at the last step of each direction
        steps, _ = layer.forward_layer(X, lengths=LENGTHS)
        back, _ = layer.backward_layer(X, lengths=LENGTHS)
        ends = steps[[0, 1], LENGTHS[:2] - 1]
        assert_close(y[:2], MERGES[merge](ends, back[:2, 0]), 1e-15)


def test_h_is_the_default_and_that_of_the_layer_on_top():
    lstm, gru = fill(crnn.LSTM(I, H, **F64)), fill(crnn.GRU(H, 2, **F64))
    for layer in (
        lstm,
        crnn.Checkpointed(lstm, 2),
        crnn.Conditioned(lstm, crnn.Dense(2, 8, **F64)),
    ):
        x = (X, np.zeros((B, 2))) if isinstance(layer, crnn.Conditioned) else X
        assert_close(crnn.LastState(layer)(x)[0], lstm(X)[0][:, -1], 1e-15)
    stack = crnn.Sequential([lstm, crnn.Sequential([gru])])
    assert_close(crnn.LastState(stack)(X)[0], gru(lstm(X)[0])[1], 1e-15)
    y, ((h, c), (top,)) = crnn.LastState(stack, of="all")(X)
    assert_close(y, np.concatenate([h, c, top], axis=1), 1e-15)
    projected = fill(crnn.LSTM(I, H, proj_size=2, **F64))
    assert crnn.LastState(projected)(X)[0].shape == (B, 2)
    assert crnn.LastState(projected, of="c")(X)[0].shape == (B, H)


LAYERS = {
    **{f"both {merge}": lambda merge=merge: both(merge) for merge in MERGES},
    "stack": lambda: crnn.Sequential([both("mul"), both("sum", H)]),
    "residual": lambda: crnn.Residual(crnn.LSTM(I, I, **F64)),
    "checkpointed": lambda: crnn.Checkpointed(crnn.LSTM(I, H, **F64), 2),
    "reversed": lambda: crnn.LSTM(I, H, reverse=True, **F64),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("of", ["h", "c", "all"])
def test_gradients(name, of):
    layer = fill(crnn.LastState(LAYERS[name](), of))
    report = crnn.gradcheck(layer, X, lengths=LENGTHS)
    assert report.ok, report
    report = crnn.gradcheck(crnn.Sequential([layer, crnn.Dropout(0.0)]), X, lengths=LENGTHS)
    assert report.ok, report


def test_a_gradient_may_be_missing():
    layer = crnn.LastState(both())
    _, state, tape = layer.forward(X)
    dstate = (None, tuple(np.ones_like(part) for part in state[1]))
    found = layer.backward(tape, None, dstate)[0]
    zeros = tuple(np.zeros_like(part) for part in state[0])
    assert_same_bits(found, layer.backward(tape, None, (zeros, dstate[1]))[0])
    assert not layer.backward(tape, None)[0].any()


def test_results_may_be_changed():
    layer = fill(crnn.LastState(both("mul")))
    y, state, tape = layer.forward(X)
    expected = layer.backward(tape, np.ones_like(y))[0]
    for part in (y, *state[0], *state[1]):
        part[...] = 7
    assert_same_bits(layer.backward(tape, np.ones_like(y))[0], expected)


def test_saving_and_showing(tmp_path):
    layer = crnn.LastState(crnn.Bidirectional(crnn.LSTM(I, H, seed=0), "sum"), "c")
    crnn.save(tmp_path / "model.npz", layer)
    other = crnn.load(tmp_path / "model.npz")
    assert repr(other) == repr(layer)
    assert repr(layer).startswith("LastState(Bidirectional(")
    assert repr(layer).endswith(", merge='sum'), of='c')")
    assert_same_bits(other(X)[0], layer(X)[0])
    old = {"layer": layer.config["layer"]}  # old files have no `of`
    assert crnn.LastState.from_config(old).of == "all"
    for of, shape in (("h", f"(B, {H})"), ("all", "(B, ?)")):
        row = crnn.LastState(layer.layer, of).summary().rows[0]
        assert row.shape == shape


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: crnn.LastState(3), "layer: expected a layer, got 3"),
        (lambda: crnn.LastState(both(), "hidden"), "of: expected one of 'h', 'c', 'all', got 'hid"),
        (lambda: crnn.LastState(both(), ["h"]), "of: expected one of 'h', 'c', 'all', got "),
        (lambda: crnn.LastState(crnn.Dense(I, 2))(X), "layer: expected one with a state, got Den"),
        (lambda: crnn.LastState(crnn.GRU(I, 2), "c")(X), "of: .* without c, GRU"),
        (
            lambda: crnn.LastState(crnn.Bidirectional(crnn.RNN(I, 2)), "c")(X),
            "of: expected 'h' or 'all' for a layer without c, RNN",
        ),
        (
            lambda: crnn.LastState(crnn.Sequential([crnn.GRU(I, 2), crnn.Dropout(0.1)]))(X),
            r"layer: expected a Sequential whose last layer has a state, .* ends in Dropout\(0.1",
        ),
    ],
)
def test_errors(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_a_gradient_of_another_shape_is_refused():
    layer = crnn.LastState(both("sum"))
    _, _, tape = layer.forward(X)
    with pytest.raises(
        ValueError, match=r"dy: expected floats of shape \(3, 4\), got shape \(3, 8"
    ):
        layer.backward(tape, np.ones((B, 2 * H)))
    assert not any(grad.any() for grad in layer.grads.values())


# ------------------------------------------------------------------------- the last step in time

TRAPS = {
    "both directions": lambda: [both(), crnn.Pool()],
    "reversed": lambda: [crnn.GRU(I, H, reverse=True), crnn.Pool("last")],
    "with layers between": lambda: [both(), crnn.Dense(8, 2), crnn.Dropout(0.1), crnn.Pool()],
    "nested": lambda: [
        crnn.Sequential([crnn.Dense(I, I), crnn.Residual(crnn.Sequential([both("sum", 3)]))]),
        crnn.Pool(),
    ],
    "behind a layer that reads forwards": lambda: [crnn.GRU(I, I), both(), crnn.Pool()],
}
FINE = {
    "mean": lambda: [both(), crnn.Pool("mean")],
    "max": lambda: [both(), crnn.Pool("max")],
    "last state": lambda: [crnn.LastState(both()), crnn.Dense(8, 2)],
    "forwards": lambda: [crnn.GRU(I, H), crnn.Dense(4, 4), crnn.Pool()],
    "a layer on top": lambda: [both(), crnn.LSTM(8, 4), crnn.Dropout(0.1), crnn.Pool()],
    "no layer": lambda: [crnn.Pool(), crnn.Dense(3, 2)],
}


@pytest.mark.parametrize("name", TRAPS)
def test_the_last_step_of_a_reversed_layer_is_warned_of(name):
    with pytest.warns(UserWarning, match=r"Pool\('last'\) takes the last step .*LastState") as seen:
        crnn.Sequential(TRAPS[name]())
    assert seen[0].filename == __file__


@pytest.mark.parametrize("name", FINE)
def test_other_vectors_are_not_warned_of(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        crnn.Sequential(FINE[name]())


def test_one_warning_for_one_model(tmp_path):
    with pytest.warns(UserWarning, match="layers.1.: Pool") as seen:
        encoder = crnn.Sequential([both(), crnn.Pool()])
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = crnn.Seq2Seq(encoder, crnn.GRU(3, 4, **F64))
        model(X, X)
    crnn.save(tmp_path / "old.npz", encoder)
    with pytest.warns(UserWarning, match="LastState"):
        crnn.load(tmp_path / "old.npz")  # a file with such a model can be loaded
