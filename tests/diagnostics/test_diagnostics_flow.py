"""gradient_flow and gate_statistics, compared with plain loops."""

import copy
import math
import re

import numpy as np
import pytest

import crnn
import crnn._core as _core
from crnn.diagnostics import gate_statistics, gradient_flow
from crnn.diagnostics.gates import RANGES, gate_values
from crnn.diagnostics.norms import norms
from crnn.layers.base.adapted import named_layers
from crnn.layers.base.tapes import recurrent_tapes
from support.comparing import assert_close, assert_same_bits
from support.displays import check_display
from support.running import fill, gradients_like
from support.tables import CELLS, LAYERS, VARIED, WITH_W_H

pytestmark = pytest.mark.filterwarnings("error")

B, T, I, H = 3, 7, 3, 4
LENGTHS = np.array([7, 0, 4])


def recurrent(layer):
    return {place: part for place, part in named_layers(layer) if isinstance(part, _core.Recurrent)}


WITH_STATE = [name for name, subject in LAYERS.items() if recurrent(subject.layer())]


def traced_tape(layer, x, **options):
    """Return the tape of a traced backward pass from random dy and dstate."""
    layer.zero_grad()
    y, end, tape = layer.forward(x, **options)
    dy, dend = gradients_like([y, end], np.random.default_rng(5))
    layer.backward(tape, dy, dend, trace=True)
    return tape


def marks(seed=3):
    rng = np.random.default_rng(seed)
    mask, resets = rng.random((B, T)) < 0.8, rng.random((B, T)) < 0.2
    return {"lengths": LENGTHS, "mask": mask, "resets": resets}


def floats(seed=1):
    return np.random.default_rng(seed).normal(size=(B, T, I))


# --------------------------------------------------------------------------------- gradient_flow


@pytest.mark.parametrize("name", WITH_STATE)
def test_shares_and_norms_of_every_layer(name):
    subject = LAYERS[name]
    layer, x = subject.layer(), subject.inputs(B, T)
    tape = traced_tape(layer, x, lengths=LENGTHS)
    flow = gradient_flow(tape)
    parts = recurrent(layer)
    assert list(flow.parts) == list(parts)
    for (place, pieces), own in zip(recurrent_tapes(tape), parts.values(), strict=True):
        part, grad = flow[place], own.grads.get("W_h")
        if grad is None:
            assert part.shares is part.share_norms is part.row_share_norms is None
            with pytest.raises(ValueError, match=r"share: expected .* with W_h"):
                part.share(0)
        else:
            assert_close(part.shares.sum(axis=0), grad, 1e-12, "shares")
            assert part.shares.shape == (T, *grad.shape)
        dh = np.concatenate([piece.dh for piece in pieces], axis=1)
        assert_same_bits(part.dh, dh)
        np.testing.assert_allclose(part.h_norms, np.sqrt((dh**2).sum(axis=2)), rtol=1e-13)
        assert (part.dc is None) == (part.c_norms is None) == (not hasattr(pieces[0], "dc"))
        if part.dc is not None:
            dc = np.concatenate([piece.dc for piece in pieces], axis=1)
            np.testing.assert_allclose(part.c_norms, np.linalg.norm(dc, axis=2), rtol=1e-13)
        there = np.arange(T) < LENGTHS[:, None]
        np.testing.assert_array_equal(part.read, there)
        assert not part.h_norms[~there].any()
        assert set(part.dgates) == set(own.gate_order)


@pytest.mark.parametrize(
    "name", [*WITH_W_H, *(name for name in VARIED if name.endswith("-weight_drop"))]
)
def test_each_rows_part_of_each_share(name):
    layer = fill((CELLS | VARIED)[name](I, H, dtype="float64", seed=2))
    tape = traced_tape(layer, floats(), call=3, **marks())
    flow = gradient_flow(tape)
    factors = np.ones_like(layer.grads["W_h"]) if tape.W_h_kept is None else tape.W_h_kept
    assert (tape.W_h_kept is not None) == ("weight_drop" in name)
    whole = np.zeros((B, T, *factors.shape))
    for b in range(B):
        for t in range(T):
            rows = [np.outer(d[b, t], h[b, t]) for d, h in tape.W_h_terms.values()]
            whole[b, t] = np.concatenate(rows) * factors
    np.testing.assert_allclose(
        flow.row_share_norms, np.linalg.norm(whole, axis=(2, 3)), rtol=1e-12, atol=1e-300
    )
    assert_close(flow.shares, whole.sum(axis=0), 1e-13)
    np.testing.assert_allclose(
        flow.share_norms, np.linalg.norm(whole.sum(axis=0), axis=(1, 2)), rtol=1e-12
    )
    assert_close(whole.sum(axis=(0, 1)), layer.grads["W_h"], 1e-12)


def test_norms_by_step_unit_and_row():
    layer = fill(crnn.LSTM(I, H, dtype="float64"))
    flow = gradient_flow(traced_tape(layer, floats(), lengths=LENGTHS))
    for what, array in (("h", flow.dh), ("c", flow.dc)):
        squares = array**2
        np.testing.assert_allclose(flow.by_step(what), np.sqrt(squares.sum(axis=(0, 2))))
        np.testing.assert_allclose(flow.by_unit(what), np.sqrt(squares.sum(axis=(0, 1))))
        np.testing.assert_allclose(flow.by_row(what), np.sqrt(squares.sum(axis=(1, 2))))
    assert_same_bits(flow.by_step(), flow.by_step("h"))
    assert flow.by_row()[1] == 0
    projected = gradient_flow(traced_tape(crnn.LSTM(I, H, proj_size=2, dtype="float64"), floats()))
    assert (projected.by_unit("h").shape, projected.by_unit("c").shape) == ((2,), (H,))


def test_share_of_one_step():
    flow = gradient_flow(traced_tape(fill(crnn.GRU(I, H, dtype="float64")), floats()))
    for t in range(T):
        assert_same_bits(flow.share(t), flow.shares[t])
    assert_same_bits(flow.share(-1), flow.shares[-1])
    assert_same_bits(flow.share(np.int64(2)), flow.shares[2])
    for wrong in (T, -T - 1, 1.5, "a", None):
        with pytest.raises(
            ValueError, match=f"t: expected a step from 0 to T - 1 = 6, got {wrong!r}"
        ):
            flow.share(wrong)


def test_pieces_of_a_checkpointed_layer_are_one():
    plain = fill(crnn.LSTM(I, H, dtype="float64"))
    cut = crnn.Checkpointed(copy.deepcopy(plain), 3)
    whole = gradient_flow(traced_tape(plain, floats(), **marks()))
    flow = gradient_flow(traced_tape(cut, floats(), **marks()))["layer"]
    for name in ("h_norms", "c_norms", "shares", "share_norms", "row_share_norms", "dgates"):
        for one, other in zip(
            _leaves(getattr(flow, name)), _leaves(getattr(whole, name)), strict=True
        ):
            assert_close(one, other, 1e-12, name)


def _leaves(value):
    return list(value.values()) if isinstance(value, dict) else [value]


@pytest.mark.parametrize("attention", [None, "additive"])
def test_encoder_and_decoder(attention):
    width = 4 if attention is None else 9
    parts = crnn.Bidirectional(crnn.LSTM(4, 5, seed=2), "sum"), crnn.GRU(width, 5, seed=1)
    options = {"source_symbols": 5, "target_symbols": 6, "dtype": "float64", "seed": 0}
    model = crnn.Seq2Seq(*parts, attention=attention, **options)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, (B, T)), rng.integers(0, 6, (B, 4))
    for layer in (model, crnn.TeacherForcing(model, seed=0)):
        layer.zero_grad()
        y, *_, tape = layer.forward(*x) if layer is model else layer.forward(x)
        layer.backward(tape, np.ones_like(y), trace=True)
        flow = gradient_flow(tape)
        assert list(flow.parts) == ["encoder.forward", "encoder.backward", "decoder"]
        for place, part in flow.parts.items():
            assert_close(part.shares.sum(axis=0), layer.grads[f"{place}.W_h"], 1e-12)
        assert flow["decoder"].h_norms.shape == (B, 4)
        check_display(flow)


def test_a_flow_of_several_parts_names_them():
    layer = crnn.Sequential([crnn.GRU(I, H), crnn.LSTM(H, 2)])
    flow = gradient_flow(traced_tape(layer, floats()))
    for name in ("h_norms", "dh", "shares", "by_step", "share_norms"):
        with pytest.raises(
            AttributeError, match=rf"{name}: expected a flow of one part, .* '0', '1'"
        ):
            getattr(flow, name)
    with pytest.raises(KeyError, match="expected one of '0', '1', got '2'"):
        flow["2"]
    with pytest.raises(AttributeError, match="has no attribute 'norms'"):
        _ = flow.norms
    with pytest.raises(ValueError, match=r"what: expected 'h', because .* h alone, got 'c'"):
        flow["0"].by_step("c")
    with pytest.raises(ValueError, match="what: expected 'h' or 'c', got 'x'"):
        flow["1"].by_step("x")


@pytest.mark.parametrize("tape", [None, 3, "tape", [], {}, np.ones(3)])
def test_arguments_that_are_not_tapes(tape):
    message = f"tape: expected the tape of a recurrent layer .*got {type(tape).__name__}, which"
    with pytest.raises(ValueError, match=message):
        gradient_flow(tape)


def test_without_a_trace():
    for layer in (crnn.GRU(I, H), crnn.Sequential([crnn.GRU(I, H), crnn.Dense(H, 2)])):
        y, _, tape = layer.forward(floats())
        for _ in range(2):
            with pytest.raises(ValueError, match=r"tape: .*trace=True\), got .* contains no trace"):
                gradient_flow(tape)
            layer.backward(tape, np.ones_like(y))
    _, _, tape = crnn.Dense(I, 2).forward(floats())
    with pytest.raises(ValueError, match=r"tape: expected .* contains no tape of"):
        gradient_flow(tape)


@pytest.mark.parametrize("sizes", [(B, 0), (0, T), (0, 0)])
def test_no_steps_or_no_rows(sizes):
    layer = crnn.LSTM(I, H)
    flow = gradient_flow(traced_tape(layer, np.zeros((*sizes, I))))
    assert flow.h_norms.shape == flow.row_share_norms.shape == sizes
    assert flow.by_step().shape == flow.share_norms.shape == sizes[1:]
    assert flow.shares.shape == (sizes[1], 4 * H, H)
    assert not flow.shares.any()
    assert flow.by_row().shape == sizes[:1]
    assert {len(column) for column in flow.columns.values()} == {0}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("direction", [1, -1])
def test_gradients_whose_squares_are_no_floats(dtype, direction):
    """Exploding or vanishing gradients: their norms are right while they fit into a float."""
    size = {"float32": 1e25, "float64": 1e170}[dtype] ** direction
    layer = crnn.RNN(I, H, activation="identity", dtype=dtype, seed=0)  # W_h is orthogonal
    y, _, tape = layer.forward(floats())
    dy = np.zeros_like(y)
    dy[:, -1] = size
    layer.backward(tape, dy, trace=True)
    flow = gradient_flow(tape)
    norm = math.sqrt(H) * size
    np.testing.assert_allclose(flow.h_norms, norm, rtol=1e-4)
    np.testing.assert_allclose(flow.by_step(), math.sqrt(B) * norm, rtol=1e-4)
    h = np.concatenate([np.zeros((B, 1, H)), tape.h[:, :-1]], axis=1)
    expected = norm * np.linalg.norm(h, axis=2)
    np.testing.assert_allclose(flow.row_share_norms, expected, rtol=1e-4)
    assert np.isfinite(flow.share_norms).all()
    assert flow.share_norms[1:].min() > 0


def test_norms_of_numbers_of_any_size():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4, 5))
    for axis in (1, (0, 2), (0, 1, 2)[:2]):
        np.testing.assert_allclose(norms(x, axis), np.linalg.norm(x, axis=axis), rtol=1e-14)
        np.testing.assert_allclose(
            norms(x * 1e300, axis), 1e300 * np.linalg.norm(x, axis=axis), rtol=1e-14
        )
    big = np.full((2, 2), np.finfo(float).max)
    assert norms(big, 1).tolist() == [np.inf, np.inf]
    assert norms(np.array([[5e-324, 0.0]]), 1).tolist() == [5e-324]
    assert norms(np.array([[np.inf, 1.0], [0.0, 0.0]]), 1).tolist() == [np.inf, 0]
    assert np.isnan(norms(np.array([[np.nan, 1.0]]), 1)).all()
    assert norms(np.zeros((2, 0)), 1).tolist() == [0, 0]


def test_flows_as_tables_and_pictures():
    layer = crnn.Sequential([crnn.GRU(I, H), crnn.LSTM(H, 2)])
    flow = gradient_flow(traced_tape(layer, floats(), lengths=LENGTHS))
    check_display(flow)
    columns = flow.columns
    assert columns["part"].tolist() == ["0"] * 11 + ["1"] * 11
    assert np.isnan(columns["dc"][:11]).all()
    np.testing.assert_array_equal(columns["dc"][11:], flow["1"].c_norms[flow["1"].read])
    np.testing.assert_array_equal(columns["dh"][:11], flow["0"].h_norms[flow["0"].read])
    np.testing.assert_array_equal(columns["dW_h"][:11], flow["0"].row_share_norms[flow["0"].read])
    assert columns["row"][:11].tolist() == [0] * 7 + [2] * 4
    assert columns["step"][:11].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3]
    check_display(gradient_flow(traced_tape(crnn.RNN(I, H), floats())))


# ------------------------------------------------------------------------------- gate_statistics


def test_counts_by_hand():
    sigma = np.array([[0.05, 0.1], [0.5, 0.1], [0.95, 0.9], [1.0, 0.11]])
    found = gate_values(sigma, "sigmoid", 0.1)
    assert found.mean.tolist() == [sigma[:, 0].mean(), sigma[:, 1].mean()]
    assert found.low.tolist() == [0.25, 0.5]
    assert found.high.tolist() == [0.5, 0.25]
    assert found.saturated == 0.75
    tanh = np.array([[-0.9, -0.79], [0.81, 0.0], [-1.0, 1.0]])
    found = gate_values(tanh, "tanh", 0.1)
    assert (found.low * 3).tolist() == [2, 0]
    assert (found.high * 3).tolist() == [1, 1]
    relu = np.array([[0.0, 0.0, 1e-9], [0.0, 3.0, 1e9]])
    found = gate_values(relu, "relu", 0.1)
    assert found.low.tolist() == [1, 0.5, 0]
    assert found.high.tolist() == [0, 0, 0]
    found = gate_values(np.array([[-1e9, 0.0]]), "identity", 0.1)
    assert (found.low.tolist(), found.high.tolist(), found.saturated) == ([0, 0], [0, 0], 0)
    found = gate_values(np.zeros((0, 2)), "sigmoid", 0.1)
    assert (found.mean.tolist(), found.low.tolist(), found.high.tolist()) == ([0, 0],) * 3
    assert gate_values(np.zeros((3, 0)), "sigmoid", 0.1).saturated == 0


def counted(gate, activation, there, margin):
    """Return mean, low and high of each unit, computed value by value."""
    low, high = RANGES[activation]
    near = margin * (high - low) if math.isfinite(high - low) else 0.0
    rows = [gate[b, t] for b, t in zip(*np.nonzero(there), strict=True)]
    units = list(zip(*rows, strict=True))
    return (
        [sum(unit) / len(unit) for unit in units],
        [sum(value <= low + near for value in unit) / len(unit) for unit in units],
        [sum(value >= high - near for value in unit) / len(unit) for unit in units],
    )


GATED = [*CELLS, *(name for name in VARIED if name.endswith(("-hard", "-softsign", "-all")))]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", GATED)
def test_against_an_independent_count(name, reverse):
    layer = fill((CELLS | VARIED)[name](I, H, dtype="float64", reverse=reverse, seed=3), scale=2.0)
    x, given = floats(), marks()
    x[~given["mask"]] = 1e30  # values in the padding and at masked steps do not count
    x[np.arange(T) >= LENGTHS[:, None]] = -1e30
    found = gate_statistics(layer, x, margin=0.2, **given)
    assert list(found.parts) == [""]
    assert list(found.parts[""]) == list(layer.gate_order)
    _, _, tape = layer.forward(x, training=False, **given)
    there = given["mask"] & (np.arange(T) < LENGTHS[:, None])
    for gate in layer.gate_order:
        numbers = counted(tape.gates[gate], layer.gate_activations[gate], there, 0.2)
        for one, other in zip(found[gate], numbers, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


def test_every_activation_has_its_range():
    with pytest.raises(ValueError, match="activation: expected") as caught:
        crnn.LSTM(I, H, activation="spam")
    assert set(re.findall(r"'(\w+)'", str(caught.value))) == {*RANGES, "spam"}
    for name in RANGES:
        layer = crnn.LSTM(I, H, activation=name, recurrent_activation=name, seed=0)
        assert set(layer.gate_activations.values()) == {name}
        assert list(gate_statistics(layer, floats()).parts[""]) == list("ifgo")


def test_forced_gates():
    layer = crnn.LSTM(I, H, seed=0, dtype="float64")
    bias = {gate: slice(i * H, (i + 1) * H) for i, gate in enumerate(layer.gate_order)}
    layer.params["b"][bias["f"]] = 30
    layer.params["b"][bias["o"]] = -30
    layer.params["b"][bias["i"]] = 0
    layer.params["W_x"][bias["i"]] = 0
    layer.params["W_h"][bias["i"]] = 0
    found = gate_statistics(layer, floats())
    assert found["f"].high.tolist() == [1] * H
    assert found["f"].low.tolist() == [0] * H
    assert found["o"].low.tolist() == [1] * H
    assert found["i"].mean.tolist() == [0.5] * H
    assert found["f"].saturated == found["o"].saturated == 1
    assert found["i"].saturated == 0
    relu = crnn.RNN(I, H, activation="relu", seed=0)
    relu.params["b"][:2] = -100
    relu.params["b"][2:] = 100
    assert gate_statistics(relu, floats())["h"].low.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("margin", [0, 0.3, np.float32(0.25), 0.4999])
def test_margins(margin):
    layer = fill(crnn.GRU(I, H, dtype="float64"))
    found = gate_statistics(layer, floats(), margin=margin)
    assert found.margin == margin
    _, _, tape = layer.forward(floats())
    there = np.ones((B, T), bool)
    _, low, high = counted(tape.gates["n"], "tanh", there, margin)
    assert (found["n"].low.tolist(), found["n"].high.tolist()) == (low, high)


@pytest.mark.parametrize("name", WITH_STATE)
def test_gates_of_every_layer(name):
    subject = LAYERS[name]
    layer, x = subject.layer("float32"), subject.inputs(B, T, "float32")
    for grad in layer.grads.values():
        grad[...] = 3
    before = copy.deepcopy((dict(layer.params), dict(layer.grads)))
    found = gate_statistics(layer, x, lengths=LENGTHS)
    assert_same_bits((dict(layer.params), dict(layer.grads)), before)
    assert {place: list(gates) for place, gates in found.parts.items()} == {
        place: list(part.gate_order) for place, part in recurrent(layer).items()
    }
    assert_same_bits(gate_statistics(layer, x, lengths=LENGTHS).columns, found.columns)


def test_a_checkpointed_layer_shows_its_gates():
    plain = fill(crnn.GRU(I, H))
    found = gate_statistics(crnn.Checkpointed(plain, 3), floats(), **marks())
    for one, other in zip(
        found["n"], gate_statistics(plain, floats(), **marks())["n"], strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_gates_of_an_encoder_and_a_decoder():
    parts = crnn.GRU(4, 5, seed=2), crnn.LSTM(4, 5, seed=1)
    model = crnn.Seq2Seq(*parts, source_symbols=5, target_symbols=6, seed=0)
    x = np.zeros((B, T), int), np.zeros((B, 4), int)
    found = gate_statistics(crnn.TeacherForcing(model, probability=0.0, seed=0), x)
    assert {place: "".join(gates) for place, gates in found.parts.items()} == {
        "encoder": "rzn",
        "decoder": "ifgo",
    }
    with pytest.raises(KeyError, match=r"f: expected .* of one part, .* 'encoder', 'decoder'"):
        found["f"]
    check_display(found)


@pytest.mark.parametrize("sizes", [(B, 0), (0, T), (0, 0)])
def test_gates_of_no_steps(sizes):
    found = gate_statistics(crnn.GRU(I, H, seed=0), np.zeros((*sizes, I)))
    assert found["r"].mean.tolist() == found["z"].high.tolist() == [0] * H
    check_display(found)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e308])
def test_values_that_are_not_finite_do_not_warn(bad):
    layer = crnn.RNN(I, H, activation="identity", dtype="float64", seed=0)
    layer.params["W_h"][0, 0] = bad
    found = gate_statistics(layer, floats())["h"]
    assert not np.isfinite(found.mean[0])
    layer = crnn.RNN(I, H, dtype="float64", seed=0)
    x = floats()
    x[0, 0] = bad
    assert gate_statistics(layer, x)["h"].low.shape == (H,)


def test_gates_as_tables_and_pictures():
    found = gate_statistics(fill(crnn.LSTM(I, H)), floats())
    check_display(found)
    columns = found.columns
    assert "".join(columns["gate"]) == "iiiiffffggggoooo"
    assert columns["unit"].tolist() == [0, 1, 2, 3] * 4
    np.testing.assert_array_equal(columns["high"][4:8], found["f"].high)
    check_display(gate_statistics(fill(crnn.Bidirectional(crnn.GRU(I, H))), floats()))


X = floats()
GRU = crnn.GRU(I, H, seed=0)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((None, X), {}, TypeError, "layer: expected a layer, got None"),
        ((crnn.GRU, X), {}, TypeError, "layer: expected a layer, got .*, a class"),
        (
            (crnn.Dense(I, 2), X),
            {},
            ValueError,
            "layer: expected one with a recurrent part, got De",
        ),
        ((GRU, X[0]), {}, ValueError, r"x: expected .*\(B, T, I=3\).*, got .*\(7, 3\)"),
        ((GRU, X > 0), {}, TypeError, "x: expected .*, got bool"),
        ((GRU, None), {}, TypeError, "x: expected .*, got object"),
        ((GRU, X, X), {}, ValueError, r"state: expected .*\(B=3, H=4\), got"),
        ((GRU, X), {"lengths": [1]}, ValueError, r"lengths: expected .*\(B=3,\), got .*\(1,\)"),
        ((GRU, X), {"mask": X}, TypeError, "mask: expected booleans, .*, got float64"),
        ((GRU, X), {"resets": True}, ValueError, r"resets: expected booleans, .*, got .*\(\)"),
        ((GRU, X), {"margin": 0.5}, ValueError, "margin: expected .* 0 and below 0.5, got 0.5"),
        ((GRU, X), {"margin": -0.1}, ValueError, "margin: expected .*, got -0.1"),
        ((GRU, X), {"margin": np.nan}, ValueError, "margin: expected .*, got nan"),
        ((GRU, X), {"margin": "a"}, ValueError, "margin: expected .*, got 'a'"),
        ((GRU, X), {"margin": None}, ValueError, "margin: expected .*, got None"),
    ],
)
def test_wrong_arguments_of_gate_statistics(arguments, options, error, message):
    with pytest.raises(error, match=message):
        gate_statistics(*arguments, **options)


class Wrapped(crnn.GRU):
    """A layer with another type of tape."""

    def forward(self, *args, **options):
        y, state, tape = super().forward(*args, **options)
        return y, state, (tape,)


def test_a_tape_without_the_tape_of_a_part():
    message = (
        r"layer: expected one whose recurrent parts \({}\) all have a tape .*, got tapes of {}"
    )
    with pytest.raises(ValueError, match=message.format("itself", "none")):
        gate_statistics(Wrapped(I, H, seed=0), X)
    layer = crnn.Sequential([crnn.GRU(I, H), Wrapped(H, H)])
    with pytest.raises(ValueError, match=message.format("0, 1", "0")):
        gate_statistics(layer, X)


def test_wrong_gates():
    with pytest.raises(KeyError, match="f: expected one of 'r', 'z', 'n'"):
        gate_statistics(GRU, X)["f"]
