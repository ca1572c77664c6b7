"""SelfAttention: against its NumPy twin and PyTorch, its gradients, and the weights on its tape."""

import itertools

import numpy as np
import pytest

import crnn
from support.attentions import KINDS, first_state, gradients_of, inputs, layer_of
from support.comparing import assert_close
from support.running import fill
from support.temporal import (
    ATTENTIONS,
    RUNS,
    Problem,
    T,
    attention,
    every_start,
    packed,
)
from support.temporal_layers import TOLERANCES, assert_agree, expected, random_steps, solve

AHEAD = {name: run for name, run in RUNS.items() if "reverse" not in name}
every_case = pytest.mark.parametrize("name", ATTENTIONS)
every_run = pytest.mark.parametrize("run", AHEAD)


def compare(problem, dtype, *, given=True, **options):
    """Compare a layer with its twin: y, the state, all gradients."""
    found = solve(problem, problem.layer(dtype=dtype), **options)
    wanted = expected(problem, **options)
    steps = found.pop("state 2", None)
    if steps is not None:
        np.testing.assert_array_equal(steps, wanted.pop("state 2"))
    for key in ("dstate 0", "dstate 1"):
        if not given and key in found:  # the twin returns none without a state
            assert not found.pop(key).any()
            wanted.pop(key, None)
    assert_agree(found, wanted, dtype)


# --------------------------------------------------------------------------------- the NumPy twin


@every_case
@every_run
@every_start
def test_agrees_with_the_twin(name, run, given, dtype, isa, threads):
    threads(2)
    compare(Problem(name, given=given), dtype, given=given, **AHEAD[run])


@pytest.mark.parametrize("heads", [1, 2, 3, 4])
@pytest.mark.parametrize("window", [1, 2, 5, 100, None])
@pytest.mark.parametrize("size", [2, 7, 16])
def test_heads_windows_and_widths(heads, window, size, dtype):
    """Widths of heads around those of vectors, and windows within and beyond x."""
    rng = np.random.default_rng([heads, size])
    for rotary, bias in itertools.product([True, False], repeat=2):
        if rotary and size % 2:
            continue
        case = attention(heads * size, bias, heads=heads, window=window, rotary=rotary)
        problem = Problem(case, sizes=(5, 40))
        for options in ({}, random_steps(rng, 5, 40)):
            compare(problem, dtype, **options)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("rotary", [True, False])
def test_attention_to_all_steps(heads, rotary, dtype):
    problem = Problem(attention(6, heads=heads, causal=False, rotary=rotary), sizes=(5, 40))
    compare(problem, dtype)
    compare(problem, dtype, **random_steps(np.random.default_rng(heads), 5, 40))


# -------------------------------------------------------------------------------------- gradients


@every_case
@pytest.mark.parametrize("run", ["full", "holes"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients(name, run, dropout):
    problem = Problem(name)
    layer = problem.layer(dropout=dropout, seed=8)
    options = {"call": 3} if dropout else {}
    report = crnn.gradcheck(
        layer, problem.x, packed(problem.state), **AHEAD[run], **options, tolerance=1e-7
    )
    assert report, str(report)
    states = {"state[0]", "state[1]"} if layer.causal and layer.window != 1 else set()
    assert {row.name for row in report.rows} >= {*layer.params, "x"} | states


def test_gradients_add_up():
    layer, x = layer_of("window"), inputs(steps=9)
    y, end, tape = layer.forward(x, first_state(layer))
    first = layer.backward(tape, np.ones_like(y), gradients_of(end))
    once = {name: grad.copy() for name, grad in layer.grads.items()}
    again = layer.backward(tape, np.ones_like(y), gradients_of(end))
    for name, grad in once.items():
        assert_close(layer.grads[name], 2 * grad, 1e-14, name)
    np.testing.assert_array_equal(first[0], again[0])


# ---------------------------------------------------------------------------------------- PyTorch


@pytest.mark.parametrize("window", [None, 1, 5])
@pytest.mark.parametrize("rotary", [True, False])
def test_agrees_with_torch(window, rotary, dtype):
    """scaled_dot_product_attention over q, k, v of heads, rotated in halves."""
    torch = pytest.importorskip("torch")
    from support.torch_attention import attended

    options = {"window": window, "rotary": rotary, "dtype": dtype, "seed": 2}
    layer = fill(crnn.SelfAttention(24, 3, **options))
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=(3, 33, 24)).astype(dtype) for _ in range(2))
    w = {name: torch.tensor(W, requires_grad=True) for name, W in layer.params.items()}
    inputs = torch.tensor(x, requires_grad=True)
    y = attended(w, inputs, layer)[0]
    y.backward(torch.tensor(dy))
    found, _, tape = layer.forward(x)
    dx, _ = layer.backward(tape, dy)
    assert_close(found, y.detach().numpy(), TOLERANCES[dtype])
    assert_close(dx, inputs.grad.numpy(), TOLERANCES[dtype])
    for name, parameter in w.items():
        # The gradient of the bias of k is 0: a softmax does not change if all scores grow alike.
        scale = np.abs(layer.grads[name]).max()
        np.testing.assert_allclose(
            layer.grads[name] / scale, parameter.grad / scale, rtol=0, atol=TOLERANCES[dtype]
        )


# -------------------------------------------------------------------------------------- the tape


@every_case
@pytest.mark.parametrize("run", AHEAD)
@every_start
def test_weights_on_the_tape(name, run, given, dtype):
    """Against the twin; 0 where a step is not seen, and for steps that are not read."""
    problem = Problem(name, given=given)
    layer = problem.layer(dtype=dtype)
    state = packed(
        [part.astype(dtype) if part.dtype.kind == "f" else part for part in problem.state]
    )
    _, _, tape = layer.forward(problem.x.astype(dtype), state, **AHEAD[run])
    weights = problem.twin.weights(problem.solve(**AHEAD[run]).tape)
    if not given:  # the twin has slots of a window, in which there is nothing
        assert not weights[..., :-T].any()
        weights = weights[..., weights.shape[3] - T :]
    assert tape.attention.dtype == dtype
    assert_close(tape.attention, weights, TOLERANCES[dtype])
    sums = tape.attention.sum(axis=3)
    assert (np.isclose(sums, 1, atol=1e-5) | (sums == 0)).all()


def test_values_on_the_tape():
    layer, x = layer_of("plain"), inputs(steps=9)
    y, _, tape = layer.forward(x)
    assert dir(tape) == ["attention", "context", "qkv", "y"]
    np.testing.assert_array_equal(tape.y, y)
    assert_close(tape.qkv, x @ layer.params["W_qkv"].T + layer.params["b_qkv"], 1e-13)
    assert_close(y, tape.context @ layer.params["W_o"].T + layer.params["b_o"], 1e-13)
    v = tape.qkv[:, :, 16:].reshape(6, 9, 2, 4)
    context = np.einsum("bmtr,brma->btma", tape.attention, v).reshape(6, 9, 8)
    assert_close(tape.context, context, 1e-13)
    with pytest.raises(AttributeError, match="gates: expected one of attention, context, qkv, y"):
        _ = tape.gates
    assert "attention" in repr(tape)


def test_the_tape_has_copies():
    """What a user writes into its arrays, x or y has no effect on backward."""
    layer, x = layer_of("window"), inputs(steps=9)
    y, _, tape = layer.forward(x)
    expected = layer.backward(tape, np.ones_like(y))[0]
    own = x.copy()
    y, _, tape = layer.forward(own)
    for array in (own, y, tape.qkv, tape.context, tape.attention, tape.y):
        array[...] = np.nan
    np.testing.assert_array_equal(layer.backward(tape, np.ones_like(y))[0], expected)


def test_weights_are_those_before_dropout():
    layer = layer_of("all", dropout=0.5)
    x = inputs(steps=9)
    weights = layer.forward(x, training=True, call=1)[2].attention
    np.testing.assert_array_equal(weights, layer.forward(x, training=False)[2].attention)


def test_the_weights_of_a_model():
    """`tape.parts` of a Sequential has the tapes of its layers, also where it ran as one call."""
    blocks = [layer_of("block", seed=k) for k in range(2)]
    model, x = crnn.Sequential([*blocks, crnn.Dense(8, 3, dtype="float64")]), inputs(steps=9)
    _, _, tape = model.forward(x)
    own, parts = x, tape.parts.values()
    for block, part in zip(blocks, parts, strict=False):
        own, _, alone = block.forward(own)
        assert set(dir(part)) == set(dir(alone))
        for name in dir(alone):
            np.testing.assert_array_equal(getattr(part, name), getattr(alone, name), err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_no_steps_gives_0(kind, dtype):
    layer, x = layer_of(kind, dtype), inputs(dtype, steps=9)
    lengths = [9, 0, 3, 9, 0, 1]
    y, end, tape = layer.forward(x, lengths=lengths)
    dx, _ = layer.backward(tape, np.full_like(y, np.nan), gradients_of(end))
    assert not y[[1, 4]].any()
    assert not dx[[1, 4]].any()
    assert not tape.attention[[1, 4]].any()
    if end is not None:
        np.testing.assert_array_equal(end[2], lengths)
    layer.zero_grad()
    y, _, tape = layer.forward(x, lengths=np.zeros(6, int))
    layer.backward(tape, np.full_like(y, np.nan))
    assert not y.any()
    assert not any(grad.any() for grad in layer.grads.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "steps"), [(0, 5), (4, 0), (0, 0), (1, 1)])
def test_smallest_shapes(kind, rows, steps, dtype):
    layer, x = layer_of(kind, dtype), inputs(dtype, rows, steps)
    state = first_state(layer, rows)
    y, end, tape = layer.forward(x, state)
    dx, _ = layer.backward(tape, y, gradients_of(end))
    assert y.shape == dx.shape == (rows, steps, 8)
    assert tape.attention.shape[:3] == (rows, 2, steps)
    if state is not None:
        np.testing.assert_array_equal(end[2], state[2] + steps)
