"""Attention in the core: comparison with NumPy, PyTorch and finite differences; bits; errors."""

import copy

import numpy as np
import pytest

import crnn._core as _core
from crnn.layers.attention.alignment import Attention, MemoryGradient
from support.comparing import assert_close, assert_same_bits

B, TQ, TS, A, C = 4, 3, 6, 5, 7
SOURCE, TARGET = [6, 0, 1, 4], [3, 2, 3, 0]
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
LENGTHS = {"full": (None, None), "lengths": (SOURCE, TARGET)}

every_kind = pytest.mark.parametrize("additive", [True, False], ids=["additive", "dot"])
every_length = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)


def sample(dtype="float64", shape=(B, TQ, TS, A, C), seed=0):
    """Return queries, keys, values and v, and dcontext."""
    rng = np.random.default_rng(seed)
    batch, queries, steps, key_size, value_size = shape
    shapes = [(batch, queries, key_size), (batch, steps, key_size), (batch, steps, value_size)]
    arrays = [rng.normal(size=shape).astype(dtype) for shape in [*shapes, (key_size,)]]
    return arrays, rng.normal(size=(batch, queries, value_size)).astype(dtype)


def plan_of(arrays, v, dv):
    """Return the plan of attention to keys and values; its input is the queries."""
    queries, _, values = arrays
    rest = values.shape[2], v, dv
    nodes = ("input", (), False, (queries.shape[2], 0)), ("attend", ((0, 0),), False, rest)
    return _core.Plan(queries.dtype, nodes, None)


def forward(plan, arrays, source, target, keep=True):
    queries, keys, values = arrays
    options = None, None, False, 0, 0, 0, False, keep
    return plan.forward(queries, None, target, *options, (keys, values, source))


def run(additive, arrays, dcontext, lengths):
    """Return the results of forward and backward by name; dv starts at 0."""
    *given, v = arrays
    dv = np.zeros(v.shape, v.dtype) if additive else None
    plan = plan_of(given, np.ascontiguousarray(v) if additive else None, dv)
    context, _, tape = forward(plan, given, *lengths)
    dqueries, _, *grads = plan.backward(object(), tape, dcontext, None, False)
    names = ["context", "weights", "dqueries", "dkeys", "dvalues"]
    found = [context, tape.weights, dqueries, *grads]
    return dict(zip(names, found, strict=True)) | {"dv": dv}


def plain_scores(additive, queries, keys, v):
    if additive:
        return np.tanh(queries[:, :, None] + keys[:, None]) @ v
    return queries @ keys.swapaxes(1, 2)


def valid_steps(lengths, steps):
    """Return which steps (B, steps) are valid."""
    return np.arange(steps) < np.reshape([steps] * B if lengths is None else lengths, (-1, 1))


def plain(additive, queries, keys, values, v, source, target):
    """Return context and weights, computed in NumPy."""
    valid = valid_steps(source, TS)[:, None] & valid_steps(target, TQ)[:, :, None]
    scores = plain_scores(additive, queries, keys, v)
    exps = np.where(valid, np.exp(scores - scores.max(-1, keepdims=True)), 0)
    sums = exps.sum(-1, keepdims=True)
    weights = np.divide(exps, sums, out=np.zeros_like(exps), where=sums > 0)
    return weights @ values, weights


@every_kind
@every_length
def test_forward_agrees_with_numpy(additive, lengths, dtype, isa):
    arrays, dcontext = sample(dtype)
    found = run(additive, arrays, dcontext, lengths)
    context, weights = plain(additive, *arrays, *lengths)
    assert found["context"].dtype == found["weights"].dtype == dtype
    assert_close(found["context"], context, TOLERANCE[dtype])
    assert_close(found["weights"], weights, TOLERANCE[dtype])


@every_kind
@every_length
def test_all_agrees_with_torch(additive, lengths, dtype, isa):
    torch = pytest.importorskip("torch")
    arrays, dcontext = sample(dtype)
    found = run(additive, arrays, dcontext, lengths)
    queries, keys, values, v = leaves = [torch.tensor(x, requires_grad=True) for x in arrays]
    if additive:
        scores = torch.tanh(queries[:, :, None] + keys[:, None]) @ v
    else:
        scores = queries @ keys.transpose(1, 2)
    source, target = (
        torch.tensor(valid_steps(x, n)) for x, n in zip(lengths, (TS, TQ), strict=True)
    )
    scores = scores.masked_fill(~source[:, None], -1e9).softmax(-1)
    weights = scores * source[:, None] * target[:, :, None]
    context = weights @ values
    context.backward(torch.tensor(dcontext))
    expected = [context.detach(), weights.detach(), *(leaf.grad for leaf in leaves)]
    for (name, array), twin in zip(found.items(), expected, strict=True):
        if array is not None:
            assert_close(array, twin.numpy(), TOLERANCE[dtype], name)


@every_kind
def test_gradients_are_the_finite_differences(additive):
    arrays, dcontext = sample()
    lengths = (SOURCE, TARGET)
    found = run(additive, arrays, dcontext, lengths)
    names = ["dqueries", "dkeys", "dvalues", "dv"]
    step = 1e-6
    for name, array in list(zip(names, arrays, strict=True))[: 4 if additive else 3]:
        for at in np.ndindex(array.shape):
            before, losses = array[at], []
            for moved in (before + step, before - step):
                array[at] = moved
                losses.append(np.sum(plain(additive, *arrays, *lengths)[0] * dcontext))
            array[at] = before
            expected = (losses[0] - losses[1]) / (2 * step)
            assert found[name][at] == pytest.approx(expected, abs=1e-8), (name, at)


@every_kind
def test_padding_has_no_weight_and_no_gradient(additive, dtype):
    arrays, dcontext = sample(dtype)
    queries, keys, values, _ = arrays
    source, target = valid_steps(SOURCE, TS), valid_steps(TARGET, TQ)
    for array, valid in [(keys, source), (values, source), (queries, target), (dcontext, target)]:
        array[~valid] = np.nan
    found = run(additive, arrays, dcontext, (SOURCE, TARGET))
    valid = source[:, None] & target[:, :, None]
    assert not found["weights"][~valid].any()
    assert not found["context"][1].any(), "an empty source"
    for name, mask in [
        ("context", target),
        ("dqueries", target),
        ("dkeys", source),
        ("dvalues", source),
    ]:
        assert not found[name][~mask].any(), name
        assert np.isfinite(found[name]).all(), name
    sums = found["weights"].sum(-1)
    assert_close(sums[valid.any(-1)], np.ones(valid.any(-1).sum(), dtype), TOLERANCE[dtype])


def test_gradient_of_v_is_added(dtype):
    arrays, dcontext = sample(dtype)
    *given, v = arrays
    fresh = run(True, arrays, dcontext, (None, None))["dv"]
    dv = fresh.copy()
    plan = plan_of(given, v, dv)
    plan.backward(object(), forward(plan, given, None, None)[2], dcontext, None, False)
    assert_close(dv, 2 * fresh, TOLERANCE[dtype])


@every_kind
def test_number_of_threads_changes_no_bit(additive, dtype, threads):
    arrays, dcontext = sample(dtype, (24, 24, 40, 65, 66))
    lengths = (np.arange(24) * 40 // 23, np.arange(24)[::-1] + 1)
    threads(1)
    alone = run(additive, arrays, dcontext, lengths)
    for count in (2, 3):
        threads(count)
        assert_same_bits(run(additive, arrays, dcontext, lengths), alone)


@every_kind
def test_a_row_and_a_query_alone_have_the_same_bits(additive, dtype, isa):
    (*given, v), _ = sample(dtype, (3, 5, 19, 21, 18))
    plan = plan_of(given, *((v, np.zeros_like(v)) if additive else (None, None)))
    lengths = [19, 7, 12]
    context, _, tape = forward(plan, given, lengths, None)
    queries, keys, values = given
    for row, length in enumerate(lengths):
        for t in range(5):
            one = [
                queries[row : row + 1, t : t + 1],
                keys[row : row + 1, :length],
                values[row : row + 1, :length],
            ]
            found, _, own = forward(plan, one, None, None)
            assert_same_bits(found[0, 0], context[row, t])
            assert_same_bits(own.weights[0, 0], tape.weights[row, t, :length])


def test_arrays_of_any_memory_layout(isa):
    arrays, dcontext = sample()
    expected = run(True, arrays, dcontext, (SOURCE, TARGET))
    turned = [np.asfortranarray(x) for x in arrays[:3]] + [np.repeat(arrays[3], 2)[::2]]
    assert_same_bits(run(True, turned, np.asfortranarray(dcontext), (SOURCE, TARGET)), expected)


def test_wrong_arguments_are_refused():
    """Memories that do not fit are in test_plans.py; what a user gives is checked before."""
    arrays, dcontext = sample()
    *given, v = arrays
    dv = np.zeros(A)
    plan = plan_of(given, v, dv)
    assert forward(plan, [given[0][..., 1:], *given[1:]], None, None) is None
    assert forward(plan, [given[0].astype(int), *given[1:]], None, None) is None
    assert forward(plan, given, None, [-1, 1, 2, 3]) is None
    tape = forward(plan, given, SOURCE, TARGET)[2]
    for wrong in (dcontext[:, 1:], dcontext[..., 1:], "dcontext"):
        assert plan.backward(object(), tape, wrong, None, False) is None
    assert not dv.any()


@pytest.mark.parametrize("kind", ["additive", "dot", "general"])
def test_the_layer_refuses_arguments_that_do_not_fit(kind):
    layer = Attention(kind, C, C, seed=1)
    values, h = np.ones((B, TS, C), "float32"), np.ones((B, TQ, C), "float32")
    memory = layer.memory(values, None)
    context, _, tape = layer.forward(h, memory, TARGET)
    gradient = MemoryGradient.zeros(memory)
    with pytest.raises(ValueError, match=r"^h, memory: expected floats \(B, T_q, P=7\)"):
        layer.forward(h[1:], memory)
    with pytest.raises(ValueError, match=r"^tape, dcontext: expected a tape of an attention"):
        layer.backward(tape, context[1:], gradient)
    assert not any(array.any() for array in (*gradient, layer.flat_grads))
    twin = copy.deepcopy(layer)
    layer.backward(tape, context, gradient)
    other = MemoryGradient.zeros(memory)
    twin.backward(tape, context, other)
    assert_same_bits(list(other), list(gradient))
    assert_same_bits(twin.flat_grads, layer.flat_grads)
