"""CausalConv: against its NumPy twin and PyTorch, and the bits of its results."""

import numpy as np
import pytest

import crnn
from support.comparing import assert_close, assert_same_bits
from support.running import copied, fill, forward_backward, like
from support.temporal import CONVS, LENGTHS, MASK, RUNS, Problem, conv, every_run, every_start
from support.temporal_layers import (
    TOLERANCES,
    assert_agree,
    expected,
    random_steps,
    solve,
)

CASES = {name: case for name, case in CONVS.items() if case.kind == "CausalConv"}
TAPS, DILATIONS, WIDTHS = (1, 2, 3, 9, 17), (1, 2, 7), ((1, 1), (7, 8), (16, 17), (33, 15))
every_case = pytest.mark.parametrize("name", CASES)


def split(options):
    """Return the options of a layer, and those of its forward."""
    options = dict(options)
    reverse = {"reverse": options.pop("reverse")} if "reverse" in options else {}
    return reverse, options


# --------------------------------------------------------------------------------- the NumPy twin


@every_case
@every_run
@every_start
def test_agrees_with_the_twin(name, run, given, dtype, isa, threads):
    threads(2)
    problem = Problem(name, given=given)
    own, options = split(RUNS[run])
    found = solve(problem, problem.layer(dtype=dtype, **own), **options)
    wanted = expected(problem, **RUNS[run])
    if not given:
        wanted["dstate 0"] = found["dstate 0"]  # the twin returns none without a state
    assert_agree({key: found[key] for key in wanted}, wanted, dtype)


@pytest.mark.parametrize("taps", TAPS)
@pytest.mark.parametrize("dilation", DILATIONS)
@pytest.mark.parametrize("sizes", WIDTHS, ids=str)
def test_taps_dilations_and_widths(taps, dilation, sizes, dtype):
    """More taps than are added at a time, and widths around those of vectors and tiles."""
    rng = np.random.default_rng([taps, dilation, *sizes])
    for norm, activation in ((False, None), (True, "relu"), (True, "tanh")):
        case = conv(sizes, taps=taps, dilation=dilation, weight_norm=norm, activation=activation)
        problem = Problem(case, sizes=(5, 40))
        for options in ({}, random_steps(rng, 5, 40)):
            for reverse in (False, True):
                found = solve(problem, problem.layer(dtype=dtype, reverse=reverse), **options)
                wanted = expected(problem, reverse=reverse, **options)
                assert_agree(found, wanted, dtype, f"{norm} {activation} {reverse}")


@pytest.mark.parametrize("dilation", [5, 21, 24, 32, 39, 48, 100])
@pytest.mark.parametrize("steps", [13, 40, 64, 100])
def test_rows_that_end_before_all_taps_have_steps(dilation, steps, dtype):
    """Large dilations: many neighbouring steps have equally many taps."""
    problem = Problem(conv(dilation=dilation), sizes=(3, steps), given=False)
    for reverse in (False, True):
        found = solve(problem, problem.layer(dtype=dtype, reverse=reverse))
        wanted = expected(problem, reverse=reverse)
        wanted["dstate 0"] = found["dstate 0"]
        assert_agree({key: found[key] for key in wanted}, wanted, dtype)
    problem = Problem(conv(dilation=dilation), sizes=(3, steps))
    assert_agree(solve(problem, problem.layer(dtype=dtype)), expected(problem), dtype)


def test_a_norm_of_zero_gives_zero():
    """Units whose v is 0: W and all gradients are 0, in forward and in fold()."""
    problem = Problem(conv((3, 4), weight_norm=True))
    problem.params["v"][:, 2] = 0
    layer = problem.layer()
    found = solve(problem, layer)
    assert_agree(found, expected(problem), "float64")
    assert not layer.fold().params["W"][:, 2].any()


@pytest.mark.parametrize("bias", [False, True])
def test_folded_weights_compute_the_same(bias, dtype):
    layer = fill(crnn.CausalConv(3, 5, 4, dilation=2, weight_norm=True, bias=bias, dtype=dtype))
    x = np.random.default_rng(0).normal(size=(2, 9, 3)).astype(dtype)
    folded = layer.fold()
    assert not folded.weight_norm
    assert_close(folded(x)[0], layer(x)[0], TOLERANCES[dtype])
    again = folded.fold()
    assert again is not folded
    assert_same_bits(dict(again.params), dict(folded.params))


@pytest.mark.parametrize(
    ("dtype", "power"),
    [("float32", -110), ("float32", 110), ("float64", -900), ("float64", 900)],
)
def test_the_length_of_v_changes_nothing_but_its_gradient(dtype, power):
    """Squares of its numbers are not in the range of their type."""
    layer = fill(crnn.CausalConv(3, 5, 4, weight_norm=True, dtype=dtype))
    x = np.random.default_rng(0).normal(size=(2, 9, 3)).astype(dtype)
    usual = forward_backward(layer, x)
    layer.params["v"][...] = np.ldexp(layer.params["v"], power)
    found = forward_backward(layer, x)
    found["grads.v"] = np.ldexp(found["grads.v"], power)
    for name in ("y", "dx", "grads.v", "grads.g"):
        assert_close(found[name], usual[name], TOLERANCES[dtype])


@every_case
@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
@pytest.mark.parametrize("run", ["full", "holes"])
def test_gradients(name, reverse, run):
    problem = Problem(name)
    layer = problem.layer(reverse=reverse)
    report = crnn.gradcheck(layer, problem.x, problem.state[0], **RUNS[run], tolerance=1e-7)
    assert report, str(report)
    assert {row.name for row in report.rows} >= {*layer.params, "x", "state"}


# -------------------------------------------------------------------------------------- PyTorch


@pytest.mark.parametrize("taps", [1, 3, 9])
@pytest.mark.parametrize("dilation", DILATIONS)
@pytest.mark.parametrize("norm", [False, True], ids=["plain", "weight_norm"])
def test_agrees_with_torch(taps, dilation, norm, dtype):
    """nn.Conv1d on x with zeros in front; weight_norm of torch.nn.utils.parametrizations."""
    torch = pytest.importorskip("torch")
    layer = fill(crnn.CausalConv(6, 9, taps, dilation=dilation, weight_norm=norm, dtype=dtype))
    module = torch.nn.Conv1d(6, 9, taps, dilation=dilation, dtype=getattr(torch, dtype))
    weight, names = module.weight, {"W": "weight"}
    if norm:
        torch.nn.utils.parametrizations.weight_norm(module)
        parts = module.parametrizations.weight
        weight, names = parts.original1, {"g": "original0", "v": "original1"}
    with torch.no_grad():
        weight.copy_(torch.tensor(layer.params["v" if norm else "W"].transpose(1, 2, 0)))
        module.bias.copy_(torch.tensor(layer.params["b"]))
        if norm:
            parts.original0.copy_(torch.tensor(layer.params["g"][:, None, None]))
    rng = np.random.default_rng(taps)
    x, dy = (rng.normal(size=(3, 20, width)).astype(dtype) for width in (6, 9))
    inputs = torch.tensor(x, requires_grad=True)
    y = module(torch.nn.functional.pad(inputs, (0, 0, (taps - 1) * dilation, 0)).mT).mT
    y.backward(torch.tensor(dy))
    found, _, tape = layer.forward(x)
    dx, _ = layer.backward(tape, dy)
    close = TOLERANCES[dtype]
    assert_close(found, y.detach().numpy(), close)
    assert_close(dx, inputs.grad.numpy(), close)
    assert_close(layer.grads["b"], module.bias.grad.numpy(), close)
    of = {"W": weight} if not norm else {key: getattr(parts, name) for key, name in names.items()}
    for key, parameter in of.items():
        grad = parameter.grad.numpy()
        grad = grad[:, 0, 0] if key == "g" else grad.transpose(2, 0, 1)
        assert_close(layer.grads[key], grad, close, key)


# ----------------------------------------------------------------------------------------- bits

LAYERS = {
    "conv": lambda **o: crnn.CausalConv(5, 9, 3, dilation=2, **o),
    "conv-tanh": lambda **o: crnn.CausalConv(5, 17, 2, dilation=7, activation="tanh", **o),
    "conv-taps": lambda **o: crnn.CausalConv(5, 8, 17, weight_norm=True, **o),
    "conv-one": lambda **o: crnn.CausalConv(5, 8, 1, activation="relu", **o),
    "block": lambda **o: crnn.TCNBlock(5, 9, dilation=3, **o),
    "block-same": lambda **o: crnn.TCNBlock(5, 5, 2, weight_norm=False, **o),
    "tcn": lambda **o: crnn.TCN(5, [8, 8, 3], taps=3, **o),
}
every_layer = pytest.mark.parametrize("kind", LAYERS)
B, T = 6, 70


def task(kind, dtype, seed=0, **options):
    """Return a layer, x and an initial state."""
    layer = fill(LAYERS[kind](dtype=dtype, seed=3, **options), seed, 0.4)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(B, T, 5)).astype(dtype)
    return layer, x, like(layer(x)[1], rng)


def rows_of(state, rows):
    return [rows_of(part, rows) for part in state] if isinstance(state, list) else state[rows]


def steps_of():
    return random_steps(np.random.default_rng(9), B, T)


@every_layer
def test_a_row_alone_and_in_a_batch(kind, dtype, isa, threads):
    threads(2)
    layer, x, state = task(kind, dtype)
    steps = steps_of()
    y, end, _ = layer.forward(x, state, **steps)
    dy = np.cos(y)
    whole = forward_backward(layer, x, state, **steps)
    for b in range(B):
        row = slice(b, b + 1)
        own = {key: array[row] for key, array in steps.items()}
        alone = layer(x[row], rows_of(state, row), **own)
        assert_same_bits(alone, (y[row], rows_of(end, row)))
        _, _, tape = layer.forward(x[row], rows_of(state, row), training=False, **own)
        dx, dstate = layer.backward(tape, dy[row])
        _, _, tape = layer.forward(x, state, training=False, **steps)
        every = layer.backward(tape, dy)
        assert_same_bits([dx, dstate], [every[0][row], rows_of(every[1], row)])
        assert whole["y"].shape == y.shape


@every_layer
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunks_are_the_whole(kind, chunk, dtype, isa):
    """Outputs and states; dropout too, whose draws depend on the step."""
    options = {} if kind.startswith("conv") else {"dropout": 0.4}
    layer, x, state = task(kind, dtype, **options)
    steps = random_steps(np.random.default_rng(2), B, T, ("mask", "resets"))
    y, end, _ = layer.forward(x, state, call=5, **steps)
    parts, now = [], state
    for first in range(0, T, chunk):
        own = {key: array[:, first : first + chunk] for key, array in steps.items()}
        part = x[:, first : first + chunk]
        out, now, _ = layer.forward(part, now, call=5, first_step=first, **own)
        seen = own["mask"].argmax(axis=1)  # a chunk has no output before its first step
        seen[~own["mask"].any(axis=1)] = out.shape[1]
        there = (np.arange(out.shape[1]) >= seen[:, None])[..., None]
        assert not out[np.broadcast_to(~there, out.shape)].any()
        parts.append(np.where(there, out, y[:, first : first + chunk]))
    assert_same_bits(np.concatenate(parts, axis=1), y)
    assert_same_bits(now, end)


@every_layer
def test_streams_are_the_whole(kind, dtype, isa):
    layer, x, state = task(kind, dtype)
    y, end = layer(x, state)
    stream = layer.stream(B, state)
    for t in range(T):
        assert_same_bits(stream.step(x[:, t]), y[:, t])
        if t in (0, 3, T - 1):
            assert_same_bits(stream.state, layer(x[:, : t + 1], state)[1])
    assert_same_bits(stream.state, end)


@every_layer
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_gradients_of_chunks_are_those_of_the_whole(kind, chunk):
    """With the gradient of the state passed back from chunk to chunk."""
    options = {} if kind.startswith("conv") else {"dropout": 0.4}
    layer, x, state = task(kind, "float64", **options)
    lengths = np.array([70, 0, 31, 64, 7, 69])
    resets = steps_of()["resets"]
    y, end, tape = layer.forward(x, state, call=5, lengths=lengths, resets=resets)
    dy, dend = like((y, end), np.random.default_rng(3))
    layer.zero_grad()
    dx, dstate = layer.backward(tape, dy, dend)
    whole = copied([dx, dstate, dict(layer.grads)])
    firsts, now, tapes = range(0, T, chunk), state, []
    for first in firsts:
        part = slice(first, first + chunk)
        own = {"lengths": np.clip(lengths - first, 0, x[:, part].shape[1])}
        own |= {"resets": resets[:, part], "first_step": first, "call": 5}
        _, now, tape = layer.forward(x[:, part], now, **own)
        tapes.append(tape)
    layer.zero_grad()
    parts, dnow = [], dend
    for first, tape in zip(reversed(firsts), reversed(tapes), strict=True):
        dpart, dnow = layer.backward(tape, dy[:, first : first + chunk], dnow)
        parts.insert(0, dpart)
    found = copied([np.concatenate(parts, axis=1), dnow, dict(layer.grads)])
    for name, array in whole.items():
        assert_close(found[name], array, 1e-12, name)


@every_layer
def test_threads_give_equal_bits(kind, dtype, isa, threads):
    layer, x, state = task(kind, dtype)
    x, state = np.repeat(x, 5, axis=0), rows_of(state, np.repeat(np.arange(B), 5))
    steps = random_steps(np.random.default_rng(1), 5 * B, T)
    found = []
    for n in (1, 2, 3):
        threads(n)
        found.append([forward_backward(layer, x, state, **options) for options in ({}, steps)])
    assert_same_bits(found[1], found[0])
    assert_same_bits(found[2], found[0])


@every_layer
@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e30], ids=str)
def test_what_is_not_read_changes_nothing(kind, garbage, dtype, isa):
    """Padding and masked steps of x and dy, and their gradients."""
    layer, x, state = task(kind, dtype)
    steps = steps_of()
    valid = (np.arange(T) < steps["lengths"][:, None]) & steps["mask"]
    spoilt = np.where(valid[..., None], x, np.array(garbage, dtype))
    padding = np.arange(T) >= steps["lengths"][:, None]

    def spoil(dy):
        dy[padding] = garbage

    found = forward_backward(layer, spoilt, state, spoil=spoil, **steps)
    assert_same_bits(found, forward_backward(layer, x, state, **steps))
    assert all(np.isfinite(array).all() for array in found.values())


@every_layer
@pytest.mark.parametrize("garbage", [np.nan, np.inf], ids=str)
def test_later_steps_and_those_before_a_reset_change_nothing(kind, garbage, dtype, isa):
    layer, x, state = task(kind, dtype)
    y, _ = layer(x, state)
    later = x.copy()
    later[:, 40:] = garbage
    assert_same_bits(layer(later, state)[0][:, :40], y[:, :40])
    resets = np.zeros((B, T), bool)
    resets[:, 30] = True
    before = x.copy()
    before[:, :30] = garbage
    y, _ = layer(x, state, resets=resets)
    assert_same_bits(layer(before, state, resets=resets)[0][:, 30:], y[:, 30:])


@every_layer
def test_a_call_of_the_layer_is_its_evaluation(kind, dtype):
    options = {} if kind.startswith("conv") else {"dropout": 0.4}
    layer, x, state = task(kind, dtype, **options)
    steps = steps_of()
    y, end, tape = layer.forward(x, state, training=False, **steps)
    assert_same_bits(layer(x, state, **steps), (y, end))
    assert_same_bits(tape.y if hasattr(tape, "y") else y, y)


def test_masked_steps_repeat_the_last_output():
    layer = fill(crnn.TCNBlock(3, 4, dtype="float64"))
    x = np.random.default_rng(0).normal(size=(4, 6, 3))
    y, _ = layer(x, mask=MASK, lengths=LENGTHS)
    for b in range(4):
        last = np.zeros(4)
        for t in range(6):
            if t < LENGTHS[b] and MASK[b][t]:
                last = y[b, t]
            assert_same_bits(y[b, t], last if t < LENGTHS[b] else np.zeros(4))
