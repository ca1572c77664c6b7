"""TransformerBlock: against its NumPy twin, its gradients, and blocks of language models."""

import numpy as np
import pytest

import crnn
from support.comparing import assert_close
from support.running import fill
from support.temporal import BLOCKS, RUNS, Problem, every_start, packed, transformer
from support.temporal_layers import TOLERANCES, assert_agree, expected, random_steps, solve

ACTIVATIONS = ("gelu", "gelu_exact", "swiglu", "relu")
CASES = {
    name: case
    for name, case in BLOCKS.items()
    if case.options.get("memory_size") is None or case.options.get("causal", True)
} | {"transformer-window-1": transformer(heads=2, bias=False, activation="swiglu", window=1)}
AHEAD = {name: run for name, run in RUNS.items() if "reverse" not in name}
every_case = pytest.mark.parametrize("name", CASES)
every_run = pytest.mark.parametrize("run", AHEAD)


def compare(problem, dtype, *, given=True, **options):
    """Compare a layer with its twin: y, the state, all gradients."""
    found = solve(problem, problem.layer(dtype=dtype), **options)
    wanted = expected(problem, **options)
    if problem.case.options.get("causal", True):
        np.testing.assert_array_equal(found.pop("state 2"), wanted.pop("state 2"))
    if not problem.state:  # the twin returns none without a state
        for key in {"dstate 0", "dstate 1"} & found.keys():
            assert not found.pop(key).any()
            wanted.pop(key, None)
    assert set(found) <= set(wanted)
    factor = 4 if problem.case.options.get("memory_size") else 1
    assert_agree(found, {key: wanted[key] for key in found}, dtype, factor=factor)


@every_case
@every_run
@every_start
def test_agrees_with_the_twin(name, run, given, dtype, isa, threads):
    threads(2)
    compare(Problem(CASES[name], given=given), dtype, given=given, **AHEAD[run])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("heads", [1, 3, 4])
@pytest.mark.parametrize("window", [1, 5, 100, None])
def test_activations_heads_and_windows(activation, heads, window, dtype):
    rng = np.random.default_rng(heads)
    options = {"heads": heads, "window": window, "activation": activation, "feedforward_size": 17}
    for size, rotary, bias in ((4, True, False), (5, False, True)):
        case = transformer(heads * size, bias, rotary=rotary, **options)
        problem = Problem(case, sizes=(5, 24))
        for steps in ({}, random_steps(rng, 5, 24)):
            compare(problem, dtype, **steps)


@every_case
@pytest.mark.parametrize("run", ["full", "holes"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients(name, run, dropout):
    problem = Problem(CASES[name])
    layer = problem.layer(dropout=dropout, seed=8)
    options = {"call": 3} if dropout else {}
    report = crnn.gradcheck(
        layer, problem.x, packed(problem.state), **AHEAD[run], **options, tolerance=1e-7
    )
    assert report, str(report)
    states = {"state[0]", "state[1]"} if layer.window != 1 and layer.causal else set()
    states |= {"state[2]"} if layer.memory_size else set()
    assert {row.name for row in report.rows} >= {*layer.params, "x"} | states


PEERS = {
    "nanogpt": {"activation": "gelu", "rotary": False},
    "nanogpt-exact": {"activation": "gelu_exact", "rotary": False},
    "llama": {"activation": "swiglu", "rotary": True, "feedforward_size": 43},
    "llama-window": {"activation": "swiglu", "rotary": True, "window": 7},
}


@pytest.mark.parametrize("name", PEERS)
def test_agrees_with_blocks_of_language_models(name, dtype):
    """The block of nanoGPT, and one with rotary positions and SwiGLU as in Llama."""
    torch = pytest.importorskip("torch")
    from support.torch_attention import gpt_block, pre_norm_block

    layer = fill(crnn.TransformerBlock(24, 3, dtype=dtype, seed=2, **PEERS[name]), scale=0.4)
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=(3, 33, 24)).astype(dtype) for _ in range(2))
    w = {name: torch.tensor(W, requires_grad=True) for name, W in layer.params.items()}
    inputs = torch.tensor(x, requires_grad=True)
    y = gpt_block(w, inputs, 3) if name == "nanogpt" else pre_norm_block(w, inputs, layer)
    y.backward(torch.tensor(dy))
    found, _, tape = layer.forward(x)
    dx, _ = layer.backward(tape, dy)
    assert_close(found, y.detach().numpy(), TOLERANCES[dtype])
    assert_close(dx, inputs.grad.numpy(), TOLERANCES[dtype])
    for key, parameter in w.items():
        assert_close(layer.grads[key], parameter.grad.numpy(), TOLERANCES[dtype], key)


def test_values_on_the_tape():
    layer = fill(crnn.TransformerBlock(8, 2, activation="relu", dtype="float64", seed=0))
    x = np.random.default_rng(0).normal(size=(2, 7, 8))
    y, _, tape = layer.forward(x)
    assert dir(tape) == ["attention", "context", "hidden", "middle", "qkv", "y"]
    attended, _, own = layer.attention.forward(layer.norm1(x)[0])
    np.testing.assert_array_equal(tape.attention, own.attention)
    np.testing.assert_array_equal(tape.qkv, own.qkv)
    np.testing.assert_array_equal(tape.context, own.context)
    np.testing.assert_array_equal(tape.middle, x + attended)
    u = layer.norm2(tape.middle)[0]
    np.testing.assert_array_equal(tape.hidden, np.maximum(layer.linear1(u)[0], 0))
    np.testing.assert_array_equal(tape.y, tape.middle + layer.linear2(tape.hidden)[0])
    np.testing.assert_array_equal(tape.y, y)


def test_initial_weights():
    """Normal with deviation 0.02, as GPT-2, W_o and linear2 times `scale`; biases are 0."""
    layer = crnn.TransformerBlock(128, 4, scale=0.25, seed=0)
    for name, array in layer.params.items():
        if name.endswith("gain"):
            assert (array == 1).all()
        elif array.ndim == 1:
            assert not array.any()
        else:
            expected = 0.02 * (0.25 if name in ("attention.W_o", "linear2.W") else 1)
            assert abs(array.std() / expected - 1) < 0.02, name
            assert abs(array.mean()) < 0.02 * expected, name
    matrices = [W.ravel()[:100] for W in layer.params.values() if W.ndim == 2]
    assert np.abs(np.corrcoef(matrices) - np.eye(len(matrices))).max() < 0.4  # drawn apart


def test_dropout_of_three_places():
    """Of the weights of attention, and of both outputs: each is drawn by itself."""
    p, rows = 0.4, 40
    layer = fill(crnn.TransformerBlock(8, 2, dropout=p, dtype="float64", seed=0))
    x = np.random.default_rng(0).normal(size=(rows, 50, 8))
    _, _, tape = layer.forward(x, call=1)
    W, b = layer.attention.params["W_o"], layer.attention.params["b_o"]
    first = (tape.middle - x) / (tape.context @ W.T + b)
    second = (tape.y - tape.middle) / layer.linear2(tape.hidden)[0]
    for factor in (first, second):
        kept = factor > 0.5 / (1 - p)
        assert_close(factor[kept], np.full(kept.sum(), 1 / (1 - p)), 1e-6)
        assert abs(factor[~kept]).max() < 1e-6
        assert abs(kept.mean() - (1 - p)) < 0.02
    assert abs(np.corrcoef((first > 1).ravel(), (second > 1).ravel())[0, 1]) < 0.03
    assert np.abs(layer.forward(x, call=1, training=False)[2].context - tape.context).max() > 0.01
    assert layer.stochastic
    assert not fill(crnn.TransformerBlock(8, 2)).stochastic
