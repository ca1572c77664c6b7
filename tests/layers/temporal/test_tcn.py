"""TCNBlock and TCN: against NumPy twins and the authors' TemporalConvNet; dropout; sizes."""

import itertools

import numpy as np
import pytest

import crnn
from crnn import reference
from crnn.layers.base.description import describe, widths_of
from support.comparing import assert_close, assert_same_bits
from support.running import fill
from support.temporal import CONVS, RUNS, Problem, block, every_start
from support.temporal_layers import (
    TOLERANCES,
    assert_agree,
    expected,
    random_steps,
    solve,
)

BLOCKS = {
    name: case for name, case in CONVS.items() if case.kind == "TCNBlock" and case.bias
}  # blocks of crnn have biases
STACKS = {
    "block": lambda **options: crnn.TCNBlock(3, 8, **options),
    "tcn": lambda **options: crnn.TCN(3, [8, 8], **options),
}
every_block = pytest.mark.parametrize("name", BLOCKS)


# --------------------------------------------------------------------------------- the NumPy twin


@every_block
@pytest.mark.parametrize("run", [run for run in RUNS if "reverse" not in run])
@every_start
def test_blocks_agree_with_the_twin(name, run, given, dtype, isa, threads):
    threads(2)
    problem = Problem(name, given=given)
    found = solve(problem, _layer(problem, dtype), **RUNS[run])
    wanted = expected(problem, **RUNS[run])
    assert_agree({key: found[key] for key in wanted}, wanted, dtype)


def _layer(problem, dtype="float64", **options):
    """Return the block of a problem: its arguments have no bias."""
    case = problem.case
    layer = crnn.TCNBlock(*case.sizes, **case.options, dtype=dtype, **options)
    layer.load_state_dict(problem.params)
    return layer


@pytest.mark.parametrize("taps", [1, 2, 3, 9, 17])
@pytest.mark.parametrize("dilation", [1, 7])
@pytest.mark.parametrize("sizes", [(1, 1), (7, 8), (16, 17), (33, 15), (16, 16)], ids=str)
def test_taps_dilations_and_widths(taps, dilation, sizes, dtype):
    rng = np.random.default_rng([taps, dilation, *sizes])
    problem = Problem(block(sizes, taps=taps, dilation=dilation), sizes=(4, 30))
    for name in problem.params:  # so that values stay near 1
        problem.params[name] /= np.sqrt(problem.params[name].size) if name.endswith("W") else 1
    for options in ({}, random_steps(rng, 4, 30)):
        found = solve(problem, _layer(problem, dtype), **options)
        assert_agree(found, expected(problem, **options), dtype)


@every_block
@pytest.mark.parametrize("run", ["full", "holes"])
@pytest.mark.parametrize("drop", [{}, {"dropout": 0.4}, {"dropout": 0.4, "variational": True}])
def test_gradients_of_blocks(name, run, drop):
    problem = Problem(name)
    layer = _layer(problem, seed=2, **drop)
    report = crnn.gradcheck(layer, problem.x, list(problem.state), **RUNS[run], tolerance=1e-7)
    assert report, str(report)
    assert {row.name for row in report.rows} == {*layer.params, "x", "state[0]", "state[1]"}


@pytest.mark.parametrize("run", ["full", "holes"])
def test_gradients_of_stacks(run):
    problem = Problem("tcn")
    tcn = fill(crnn.TCN(4, [3, 3, 5], taps=2, dropout=0.3, dtype="float64", seed=1), 3)
    state = [[part[:4] for part in states] for states in tcn(np.ones((4, 6, 4)))[1]]
    report = crnn.gradcheck(tcn, problem.x, state, **RUNS[run], tolerance=1e-7)
    assert report, str(report)


# -------------------------------------------------------------------------------------- dropout


@pytest.mark.parametrize("variational", [False, True], ids=["elements", "channels"])
def test_dropout_is_that_of_the_twins(variational):
    """Masks are functions of seed, call, layer, row, step and unit."""
    one = fill(
        crnn.TCNBlock(3, 5, dilation=2, dropout=0.4, variational=variational, dtype="float64")
    )
    x = np.random.default_rng(0).normal(size=(4, 9, 3))
    y, _, tape = one.forward(x, call=7, first_row=2, first_step=3, layer=1)
    twin = reference.CausalConv(dilation=2, activation="relu", weight_norm=True)
    z, rows, units = x, 2 + np.arange(4), np.arange(5)
    for conv, seed, shown in zip(
        (one.conv1, one.conv2), one._drop_seeds, (tape.conv1, tape.conv2), strict=True
    ):
        z, _, _ = twin.forward(dict(conv.params), z)
        assert_close(shown, z, 1e-12)
        step = 0 if variational else (3 + np.arange(9))[:, None]
        draws = reference.Draws(seed, 7, 1)
        z = z * draws.mask(0.4, reference.drops.DROPOUT, rows[:, None, None], step, units)
    skip = x @ one.params["skip.W"].T + one.params["skip.b"]
    assert_close(y, np.maximum(z + skip, 0), 1e-12)
    assert_same_bits(tape.y, y)


@pytest.mark.parametrize("variational", [False, True], ids=["elements", "channels"])
@pytest.mark.parametrize("make", STACKS.values(), ids=STACKS)
def test_dropout_draws_the_same_in_parts(make, variational, dtype):
    """Parts of rows and of steps, and calls of the same number; other calls differ."""
    layer = fill(make(dropout=0.5, variational=variational, dtype=dtype, seed=4))
    x = np.random.default_rng(0).normal(size=(6, 12, 3)).astype(dtype)
    y, end, _ = layer.forward(x, call=3)
    assert_same_bits(layer.forward(x, call=3)[0], y)
    assert not np.array_equal(layer.forward(x, call=4)[0], y)
    assert not np.array_equal(layer(x)[0], y)
    for rows in (slice(0, 1), slice(2, 5)):
        part, _, _ = layer.forward(x[rows], call=3, first_row=rows.start)
        assert_same_bits(part, y[rows])
    first, state, _ = layer.forward(x[:, :5], call=3)
    second, after, _ = layer.forward(x[:, 5:], state, call=3, first_step=5)
    assert_same_bits([np.concatenate([first, second], axis=1), after], [y, end])


def test_calls_are_counted_where_something_is_dropped():
    drops, plain = crnn.TCNBlock(2, 2, dropout=0.1), crnn.TCNBlock(2, 2)
    x = np.zeros((1, 3, 2))
    for layer, calls in ((drops, 2), (plain, 0)):
        assert layer.stochastic is (calls > 0)
        layer.forward(x)
        layer.forward(x, training=False)
        layer.forward(x)
        assert layer.calls == calls


# -------------------------------------------------------------------------------------- PyTorch


def _temporal_block(torch, inputs, outputs, taps, dilation, dtype):
    """Return the block of Bai et al.: Conv1d pads both ends, the end is cut off ("chomp")."""
    norm, options = torch.nn.utils.parametrizations.weight_norm, {"dtype": dtype}
    chomp = (taps - 1) * dilation

    class Chomp(torch.nn.Module):
        def forward(self, x):
            return x[:, :, :-chomp].contiguous()

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            options_ = options | {"padding": chomp, "dilation": dilation}
            self.conv1 = norm(torch.nn.Conv1d(inputs, outputs, taps, **options_))
            self.conv2 = norm(torch.nn.Conv1d(outputs, outputs, taps, **options_))
            self.net = torch.nn.Sequential(
                self.conv1, Chomp(), torch.nn.ReLU(), torch.nn.Dropout(0.0),
                self.conv2, Chomp(), torch.nn.ReLU(), torch.nn.Dropout(0.0),
            )  # fmt: skip
            self.skip = (
                torch.nn.Conv1d(inputs, outputs, 1, **options) if inputs != outputs else None
            )

        def forward(self, x):
            return (self.net(x) + (x if self.skip is None else self.skip(x))).relu()

    return Block()


def _pairs(block, module):
    """Return pairs of a name of a block and a tensor of the module, seen in crnn's shape."""
    pairs = {}
    for name in ("conv1", "conv2"):
        conv = getattr(module, name)
        pairs[f"{name}.v"] = conv.parametrizations.weight.original1, (2, 0, 1)
        pairs[f"{name}.g"] = conv.parametrizations.weight.original0, None
        pairs[f"{name}.b"] = conv.bias, None
    if module.skip is not None:
        pairs["skip.W"], pairs["skip.b"] = (module.skip.weight, None), (module.skip.bias, None)
    assert set(pairs) == set(block.params)
    return pairs


def _in_shape(array, order, shape):
    array = array if order is None else array.transpose(order)
    return array.reshape(shape)


@pytest.mark.parametrize("taps", [2, 3, 5])
def test_stacks_agree_with_the_temporal_conv_net(taps, dtype):
    """Weights copied from the authors' network; outputs and gradients."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(taps)
    widths = [4, 6, 6, 5]
    tcn = crnn.TCN(widths[0], widths[1:], taps, dtype=dtype)
    net = torch.nn.Sequential(
        *(
            _temporal_block(torch, one, other, taps, 2**k, getattr(torch, dtype))
            for k, (one, other) in enumerate(itertools.pairwise(widths))
        )
    )
    for one, module in zip(tcn, net, strict=True):
        for name, (tensor, order) in _pairs(one, module).items():
            array = tensor.detach().numpy()
            one.params[name] = _in_shape(array, order, one.params[name].shape)
    rng = np.random.default_rng(1)
    x, dy = (rng.normal(size=(3, 40, width)).astype(dtype) for width in (4, 5))
    inputs = torch.tensor(x, requires_grad=True)
    wanted = net(inputs.mT).mT
    wanted.backward(torch.tensor(dy))
    y, _, tape = tcn.forward(x)
    dx, _ = tcn.backward(tape, dy)
    close = TOLERANCES[dtype]
    assert_close(y, wanted.detach().numpy(), close)
    assert_close(dx, inputs.grad.numpy(), close)
    for one, module in zip(tcn, net, strict=True):
        for name, (tensor, order) in _pairs(one, module).items():
            grad = _in_shape(tensor.grad.numpy(), order, one.grads[name].shape)
            assert_close(one.grads[name], grad, close, name)


# ---------------------------------------------------------------------------- sizes and stacks


def test_a_stack_is_its_blocks(dtype):
    """In one call of the core, or block by block: the same bits."""
    tcn = fill(crnn.TCN(3, [4, 4, 5], dilations=[1, 3, 2], dropout=0.3, dtype=dtype, seed=6))
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4, 20, 3)).astype(dtype)
    steps = random_steps(rng, 4, 20)
    y, end, tape = tcn.forward(x, call=2, **steps)
    z, ends, tapes = x, [], []
    for number, one in enumerate(tcn, 1):  # parts of a model are numbered from 1
        z, after, kept = one.forward(z, call=2, layer=number, filled=number > 1, **steps)
        ends.append(after)
        tapes.append(kept)
    assert_same_bits([y, end], [z, ends])
    tcn.zero_grad()
    dx, _ = tcn.backward(tape, np.cos(y))
    grads = {name: grad.copy() for name, grad in tcn.grads.items()}
    tcn.zero_grad()
    dz = np.cos(y)
    for one, kept in zip(reversed(list(tcn)), reversed(tapes), strict=True):
        dz, _ = one.backward(kept, dz)
    assert_same_bits([dx, grads], [dz, dict(tcn.grads)])


@pytest.mark.parametrize("steps", [1, 2, 5, 6, 29, 30, 100, 1000])
@pytest.mark.parametrize("taps", [2, 3, 8])
def test_covering(steps, taps):
    tcn = crnn.TCN.covering(2, 3, steps, taps, seed=0)
    assert tcn.receptive_field >= steps
    assert len(tcn) == 1 or crnn.TCN(2, [3] * (len(tcn) - 1), taps).receptive_field < steps
    assert tcn.receptive_field == 1 + 2 * (taps - 1) * sum(2**k for k in range(len(tcn)))


def test_receptive_fields_are_those_that_are_measured():
    """For outputs in the middle of a sequence, with any parameters; nothing ahead."""
    for layer, behind in [
        (crnn.CausalConv(2, 3, 3, dilation=4, seed=0), 9),
        (crnn.CausalConv(2, 3, 1, seed=0), 1),
        (crnn.TCNBlock(2, 4, 2, dilation=3, seed=0), 7),
        (crnn.TCN(2, [4, 4], taps=2, seed=0), 7),
        (crnn.TCN(2, [4, 4], taps=2, dilations=[1, 5], seed=0), 13),
    ]:
        assert layer.receptive_field == behind
        x = np.random.default_rng(0).normal(size=(1, 20, 2))
        found = crnn.diagnostics.receptive_field(fill(layer), x, repeats=8)
        assert not found.ahead.any()
        assert found.back.max() == behind - 1  # of single steps all units may be 0


def test_initial_weights_are_those_of_their_norm():
    """v and g begin with W = v; the variances are those of He and of Glorot."""
    layer = crnn.CausalConv(100, 120, 4, activation="relu", weight_norm=True, seed=1)
    v, g = layer.params["v"], layer.params["g"]
    assert_close(g, np.sqrt((v.astype(float) ** 2).sum(axis=(0, 2))), 1e-6)
    assert abs(v.var() / (2 / 400) - 1) < 0.02
    plain = crnn.CausalConv(100, 120, 4, activation="relu", seed=1)
    assert_same_bits(plain.params["W"], v)
    assert abs(crnn.CausalConv(100, 120, 4, seed=1).params["W"].var() / (2 / 880) - 1) < 0.02
    assert not layer.params["b"].any()


def test_seeds_make_equal_layers():
    for make in (lambda s: crnn.CausalConv(2, 3, seed=s), lambda s: crnn.TCN(2, [3, 3], seed=s)):
        assert_same_bits(dict(make(5).params), dict(make(5).params))
        pairs = zip(make(5).params.values(), make(6).params.values(), strict=True)
        assert all(np.any(one != other) or not one.any() for one, other in pairs)
    tcn = crnn.TCN(3, [3, 3], seed=0)
    arrays = [conv.params["v"] for one in tcn for conv in (one.conv1, one.conv2)]
    assert all(np.any(a != b) for a, b in itertools.combinations(arrays, 2))


@pytest.mark.parametrize("of", ["h", "all"])
def test_last_states_have_the_width_that_a_description_declares(of):
    """With of="h" the newest input alone."""
    for layer in (crnn.CausalConv(3, 4, 3, dilation=2), crnn.TCNBlock(3, 4), crnn.TCN(3, [4, 5])):
        model = crnn.LastState(layer, of)
        y, _ = model(np.ones((2, 9, 3)))
        assert widths_of(describe(model)).output == y.shape[1]
