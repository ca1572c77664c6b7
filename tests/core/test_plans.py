"""Descriptions of plans: their values and gradients, and the descriptions that are refused.

crnn's own code makes the descriptions, but no description may crash the core.
"""

import sys

import numpy as np
import pytest

import crnn
import crnn._core as _core
from support.comparing import assert_close, assert_same_bits
from support.running import fill

B, T, I, H, K, C, S = 3, 5, 4, 4, 6, 2, 7
FLOATS = "input", (), False, (I, 0)
SYMBOLS = "input", (), False, (0, K)
EITHER = "input", (), False, (I, I)
NONE = None, None


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def sum_of(W, *edges):
    return "sum", edges, False, (W, None, np.zeros_like(W), None)


def rowwise(operation, *edges):
    return "rowwise", edges, False, (operation, *NONE)


def attend(*edges, width=C, v=None, dv=None):
    return "attend", edges, False, (width, v, dv)


def residual(*edges):
    return "residual", edges, False, ()


def pool(*edges, how="mean"):
    return "pool", edges, False, (how,)


def final(*edges, cell=False):
    return "state", edges, False, (cell,)


def gru(inputs=I, **options):
    return fill(crnn.GRU(inputs, H, dtype="float64", seed=1, **options), 2)


def recurrent(layer, *edges, vectors=NONE):
    return "recurrent", edges, False, (layer, 0, *vectors)


def plan_of(*nodes, states=None):
    return _core.Plan("float64", nodes, states)


def run(plan, x, *, keep=True, state=None, memory=None, lengths=None, mask=None, resets=None):
    options = True, 0, 0, 0, False, keep
    return plan.forward(x, state, lengths, mask, resets, *options, memory)


# ----------------------------------------------------------------------------------------- values


def looped():
    """Return a plan with a cycle of four nodes, its matrices, and an input."""
    W = [normal(2 * I, I, seed=i) / 3 for i in range(3)]
    dW = [np.zeros_like(one) for one in W]
    nodes = [
        ("sum", ((0, 0), (4, 1)), False, (W[0], None, dW[0], None)),
        rowwise(("activate", "tanh"), (1, 0)),
        ("sum", ((2, 0), (1, 2)), False, (W[1], None, dW[1], None)),
        rowwise(("mul",), (3, 0), (0, 0)),
        ("sum", ((4, 0), (1, 0)), False, (W[2], None, dW[2], None)),
    ]
    return plan_of(FLOATS, *nodes), W, dW, normal(B, T, I, seed=5)


def loop_by_steps(x, W):
    """Return what the plan of `looped` computes, step by step."""
    zeros = np.zeros((len(x), I))
    a, d, y = [zeros, zeros], zeros, []
    for t in range(x.shape[1]):
        one = np.concatenate([x[:, t], d], 1) @ W[0]
        two = np.concatenate([np.tanh(one), a[-2]], 1) @ W[1]
        d = two * x[:, t]
        a.append(one)
        y.append(np.concatenate([d, one], 1) @ W[2])
    return np.stack(y, 1)


def test_a_cycle_of_operations_without_memory():
    plan, W, _, x = looped()
    y, _, tape = run(plan, x)
    assert_close(y, loop_by_steps(x, W), 1e-14)
    assert_same_bits(run(plan, x, keep=False)[0], y)
    assert_same_bits(tape.value(5), y)
    assert tape.weights is None
    ragged = run(plan, x, lengths=[T, 2, 0])[0]
    assert_same_bits(ragged[1, :2], y[1, :2])
    assert not ragged[1, 2:].any()
    assert not ragged[2].any()


def slope(function, array, place):
    """Return the derivative of function() with respect to an element of an array."""
    before, ends = array[place], []
    for step in (1e-6, -1e-6):
        array[place] = before + step
        ends.append(function())
    array[place] = before
    return (ends[0] - ends[1]) / 2e-6


def test_gradients_of_a_cycle():
    plan, W, dW, x = looped()
    dy = normal(B, T, I, seed=6)
    dx, _ = plan.backward(gru(), run(plan, x)[2], dy, None, False)
    for array, gradient in zip([x, *W], [dx, *dW], strict=True):
        for place in np.ndindex(array.shape):
            expected = slope(lambda: (loop_by_steps(x, W) * dy).sum(), array, place)
            assert abs(gradient[place] - expected) < 1e-7


def test_the_last_node_in_a_cycle():
    """y and dy of the user are not read or written after the call."""
    W = normal(2 * I, I) / 2
    plan = plan_of(FLOATS, sum_of(W, (0, 0), (1, 1)))
    x, dy = normal(B, T, I, seed=1), normal(B, T, I, seed=2)
    y, _, tape = run(plan, x)
    expected = plan.backward(gru(), tape, dy.copy(), None, False)[0]
    y[...] = np.nan
    before = dy.copy()
    assert_same_bits(plan.backward(gru(), tape, dy, None, False)[0], expected)
    assert_same_bits(dy, before)
    assert abs(expected[0, 0, 0] - slope(lambda: (run(plan, x)[0] * dy).sum(), x, (0, 0, 0))) < 1e-7


@pytest.mark.parametrize("embedded", [False, True])
def test_symbols_beside_floats(embedded):
    """A layer reads symbols, or their vectors, and beside them another look-up of the symbols."""
    E, x = 3, np.random.default_rng(1).integers(0, K, (B, T))
    floats, vectors = normal(K, C), normal(K, E, seed=1) if embedded else np.eye(K)
    layer, pair = gru(vectors.shape[1] + C), (vectors, np.zeros_like(vectors))
    look_up = "sum", ((0, 0),), False, (floats, None, np.zeros_like(floats), None)
    node = recurrent(layer, (1, 0), (0, 0), vectors=pair if embedded else NONE)
    plan, lengths, dy = plan_of(SYMBOLS, look_up, node, states=2), [T, 3, 0], normal(B, T, H)
    y, state, tape = run(plan, x, lengths=lengths)
    joined = np.concatenate([vectors[x], floats[x]], 2)
    expected, last, own = layer.forward(joined, lengths=lengths)
    assert_close(y, expected, 1e-14)
    assert_close(state, last, 1e-14)
    assert_close(tape.layer(2, None).h, own.h, 1e-14)
    with pytest.raises(ValueError, match=r"^tape: .* read symbols inside the decoder"):
        layer.backward(tape.layer(2, None), dy)
    dx, dstate = plan.backward(layer, tape, dy, None, False)
    assert dx is None
    grads = layer.flat_grads.copy()
    layer.zero_grad()
    djoined, dlast = layer.backward(own, dy)
    assert_close(grads, layer.flat_grads, 1e-13)
    assert_close(dstate, dlast, 1e-13)
    found = [look_up[3][2]] + ([pair[1]] if embedded else [])
    for one, part in zip(found, [djoined[..., -C:], djoined[..., :-C]], strict=False):
        summed = np.zeros_like(one)
        np.add.at(summed, x[np.arange(T) < np.array(lengths)[:, None]], part[valid(lengths)])
        assert_close(one, summed, 1e-13)


def valid(lengths):
    return np.arange(T) < np.array(lengths)[:, None]


# -------------------------------------------------------------------------- refused descriptions

W, V = np.ones((I, I)), np.ones(I)
REVERSED = gru(reverse=True)
REFUSED = {
    "a later node without a delay": [sum_of(W, (2, 0)), sum_of(W, (1, 0))],
    "itself without a delay": [sum_of(W, (1, 0))],
    "a node that is not there": [sum_of(W, (2, 1))],
    "a negative node": [sum_of(W, (-1, 1))],
    "a negative delay": [sum_of(W, (0, -1))],
    "a recurrent layer with a delay": [recurrent(gru(), (0, 1))],
    "a recurrent layer of a later node": [recurrent(gru(), (2, 1)), sum_of(W, (1, 0))],
    "an activation with a delay": [rowwise(("activate", "tanh"), (0, 1))],
    "a product of a later node": [rowwise(("mul",), (0, 0), (2, 1)), sum_of(W, (1, 0))],
    "attention to floats with a delay": [attend((0, 1))],
    "attention to a sum with a delay": [sum_of(W, (0, 0)), attend((1, 1))],
    "a layer without an edge": [recurrent(gru())],
    "a layer with three edges": [
        sum_of(W, (0, 0)),
        recurrent(gru(3 * I), (1, 0), (0, 0), (0, 0)),
    ],
    "a layer with floats beside floats": [
        sum_of(W, (0, 0)),
        recurrent(gru(2 * I), (1, 0), (0, 0)),
    ],
    "a layer of another width": [recurrent(gru(I + 1), (0, 0))],
    "vectors for floats": [recurrent(gru(C), (0, 0), vectors=(np.ones((I, C)),) * 2)],
    "a sum without edges": [sum_of(np.ones((0, I)))],
    "a sum of other rows": [sum_of(np.ones((I + 1, I)), (0, 0))],
    "a sum without features": [sum_of(np.ones((I, 0)), (0, 0))],
    "attention without an edge": [attend()],
    "attention with two edges": [attend((0, 0), (0, 0))],
    "attention without features": [attend((0, 0), width=0)],
    "two attentions": [attend((0, 0)), attend((0, 0))],
    "v of another length": [attend((0, 0), v=np.ones(I + 1), dv=np.ones(I + 1))],
    "a gradient without v": [attend((0, 0), dv=V)],
    "v of another type": [attend((0, 0), v=V.astype("float32"), dv=V.astype("float32"))],
    "a residual of one value": [residual((0, 0))],
    "a residual of other widths": [sum_of(np.ones((I, 2)), (0, 0)), residual((1, 0), (0, 0))],
    "a residual with a delay": [residual((0, 0), (0, 1))],
    "a residual in a cycle": [sum_of(W, (2, 1)), residual((1, 0), (0, 0))],
    "a merge of other widths": [sum_of(np.ones((I, 2)), (0, 0)), rowwise(("mul",), (1, 0), (0, 0))],
    "a pool without an edge": [pool()],
    "a pool of two values": [pool((0, 0), (0, 0))],
    "a pool with a delay": [pool((0, 1))],
    "a pool of a pool": [pool((0, 0)), pool((1, 0))],
    "a pool in a cycle": [sum_of(W, (3, 1)), pool((1, 0)), sum_of(W, (1, 0))],
    "a layer behind a pool": [pool((0, 0)), recurrent(gru(), (1, 0))],
    "attention behind a pool": [pool((0, 0)), attend((1, 0))],
    "a sum of steps and a pool": [pool((0, 0)), sum_of(np.ones((2 * I, I)), (0, 0), (1, 0))],
    "a residual of steps and a pool": [pool((0, 0)), residual((1, 0), (0, 0))],
    "a pool with a delay behind it": [pool((0, 0)), sum_of(W, (1, 1))],
    "a state of the input": [final((0, 0))],
    "a state of a sum": [sum_of(W, (0, 0)), final((1, 0))],
    "a state of a later layer": [final((2, 1)), recurrent(gru(), (0, 0))],
    "a state of two layers": [recurrent(gru(), (0, 0)), final((1, 0), (1, 0))],
    "a state without an edge": [recurrent(gru(), (0, 0)), final()],
    "c of a layer without c": [recurrent(gru(), (0, 0)), final((1, 0), cell=True)],
    "a layer behind a state": [
        recurrent(gru(), (0, 0)),
        final((1, 0)),
        recurrent(gru(), (2, 0)),
    ],
    "a reversed layer in a cycle": [
        sum_of(W, (2, 1)),
        recurrent(REVERSED, (1, 0)),
    ],
}
REFUSED_SYMBOLS = {
    "a pool": [pool((0, 0))],
    "a residual": [sum_of(np.ones((K, K)), (0, 0)), residual((1, 0), (0, 0))],
    "a sum with a delay": [sum_of(np.ones((K, I)), (0, 1))],
    "a sum of symbols twice": [sum_of(np.ones((2 * K, I)), (0, 0), (0, 0))],
    "an activation": [rowwise(("activate", "tanh"), (0, 0))],
    "attention": [attend((0, 0))],
    "symbols in front of floats": [
        sum_of(np.ones((K, I)), (0, 0)),
        recurrent(gru(I + K), (0, 0), (1, 0)),
    ],
    "symbols beside symbols": [recurrent(gru(2 * K), (0, 0), (0, 0))],
    "symbols with a delay": [
        sum_of(np.ones((K, I)), (0, 0)),
        recurrent(gru(I + K), (1, 0), (0, 1)),
    ],
    "a layer of another width": [recurrent(gru(K - 1), (0, 0))],
    "vectors of other symbols": [recurrent(gru(C), (0, 0), vectors=(np.ones((K + 1, C)),) * 2)],
    "vectors of another width": [recurrent(gru(C), (0, 0), vectors=(np.ones((K, I)),) * 2)],
}
REFUSED_EITHER = {
    "a sum with a delay": [sum_of(W, (0, 1))],
    "an activation": [rowwise(("activate", "tanh"), (0, 0))],
    "attention": [attend((0, 0))],
    "a sum of both": [sum_of(np.ones((2 * I, I)), (0, 0), (0, 0))],
    "symbols beside floats": [
        sum_of(W, (0, 0)),
        recurrent(gru(2 * I), (1, 0), (0, 0)),
    ],
    "vectors": [recurrent(gru(C), (0, 0), vectors=(np.ones((I, C)),) * 2)],
}
DESCRIPTIONS = [
    (first, nodes)
    for first, table in ((FLOATS, REFUSED), (SYMBOLS, REFUSED_SYMBOLS), (EITHER, REFUSED_EITHER))
    for nodes in table.values()
]
NAMES = [
    *REFUSED,
    *(
        f"{kind}: {name}"
        for kind, table in (("symbols", REFUSED_SYMBOLS), ("either", REFUSED_EITHER))
        for name in table
    ),
]


@pytest.mark.parametrize(("first", "nodes"), DESCRIPTIONS, ids=NAMES)
def test_a_description_is_refused(first, nodes):
    with pytest.raises(ValueError, match="expected sizes and types that fit"):
        plan_of(first, *nodes)


def test_similar_descriptions_are_accepted():
    plan_of(FLOATS, sum_of(W, (2, 1)), sum_of(W, (1, 0)))
    plan_of(FLOATS, sum_of(W, (2, 1)), recurrent(gru(), (1, 0)))
    plan_of(FLOATS, attend((0, 0), v=V, dv=V))
    plan_of(EITHER, sum_of(W, (0, 0)), sum_of(np.ones((2 * I, I)), (1, 1), (0, 0)))
    plan_of(FLOATS, sum_of(W, (0, 0)), residual((1, 0), (0, 0)))
    plan_of(FLOATS, pool((0, 0)), sum_of(W, (1, 0)), residual((2, 0), (1, 0)))
    plan_of(FLOATS, recurrent(gru(), (0, 0)), final((1, 0)), rowwise(("activate", "tanh"), (2, 0)))
    plan_of(SYMBOLS, recurrent(gru(K), (0, 0)))
    plan_of(SYMBOLS, recurrent(gru(C), (0, 0), vectors=(np.ones((K, C)),) * 2))


def test_inputs_that_are_refused():
    for sizes in [(0, 0), (-1, 3), (3, -1)]:
        with pytest.raises(ValueError, match="expected sizes and types that fit"):
            plan_of(("input", (), False, sizes), sum_of(np.ones((3, I)), (0, 0)))
    with pytest.raises(ValueError, match="expected sizes and types that fit"):  # floats or symbols
        plan_of(("input", (), False, (3, 5)), sum_of(np.ones((3, I)), (0, 0)))


def test_operations_that_are_not_there():
    with pytest.raises(ValueError, match=r"^how: unknown name 'median'"):
        plan_of(FLOATS, pool((0, 0), how="median"))
    with pytest.raises(TypeError, match="0 arguments"):
        plan_of(FLOATS, ("residual", ((0, 0), (0, 0)), False, (("sum",),)))


# --------------------------------------------------------------------------------- refused calls


def attending(**options):
    """Return a plan with a layer, of which the attention reads h of the step before."""
    layer = gru(I + C, **options)
    joined = rowwise(("concat",), (0, 0), (1, 0))
    return plan_of(FLOATS, attend((3, 1)), joined, recurrent(layer, (2, 0)), states=3), layer


KEYS, VALUES = normal(B, S, H), normal(B, S, C, seed=1)
X = normal(B, T, I, seed=2)
MEMORIES = [
    None,
    (),
    [KEYS, VALUES, None],
    (KEYS, VALUES),
    (None, VALUES, None),
    (KEYS, None, None),
    (KEYS[:2], VALUES, None),
    (KEYS, VALUES[:2], None),
    (KEYS[:, 1:], VALUES, None),
    (KEYS[..., 1:], VALUES, None),
    (KEYS, VALUES[..., 1:], None),
    (KEYS[0], VALUES, None),
    (KEYS.astype(complex), VALUES, None),
    (KEYS, VALUES, [S, S]),
    (KEYS, VALUES, [S, 0, S + 1]),
    (KEYS, VALUES, [S, 0, -1]),
    (KEYS, VALUES, [1.0, 1.0, 1.0]),
]


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_memory_that_does_not_fit_is_refused(memory):
    plan, _ = attending()
    assert run(plan, X, memory=memory) is None


def test_other_arguments_that_are_refused():
    memory, plain, (plan, layer) = (KEYS, VALUES, [S, 3, 0]), looped()[0], attending()
    assert run(plain, X, memory=memory) is None
    for other in (plan, plain):
        given = memory if other is plan else None
        assert run(other, X, memory=given) is not None
        for name in ("mask", "resets"):
            assert run(other, X, memory=given, **{name: np.ones((B, T), bool)}) is None
    with pytest.raises(ValueError, match="memory"):
        plan.stream(1, None)
    assert plain.stream(1, None) is None  # it reads steps that a stream does not keep
    layer.__init__(I + C, H, reverse=True, dtype="float64")
    assert run(plan, X, memory=memory) is None
    assert plan.stream(B, None, memory) is None


def test_gradients_of_a_memory():
    plan, layer = attending()
    memory, dy, x = (KEYS.copy(), VALUES.copy(), [S, 3, 0]), normal(B, T, H, seed=3), X.copy()
    y, _, tape = run(plan, x, memory=memory, lengths=[T, 2, T])
    assert repr(tape) == f"<PlanTape of GRU: B={B}, T={T}, T_source={S}>"
    assert_close(tape.weights.sum(-1), np.where(valid([T, 2, 0]), 1.0, 0), 1e-14)
    tape.weights[...] = 7  # a copy
    assert_same_bits(run(plan, x, memory=memory, lengths=[T, 2, T], keep=False)[0], y)
    dx, _, dkeys, dvalues = plan.backward(layer, tape, dy, None, False)
    assert not dkeys[1, 3:].any()
    assert not dvalues[2].any()

    def loss():
        return (run(plan, x, memory=memory, lengths=[T, 2, T])[0] * dy).sum()

    for array, gradient in zip((x, *memory[:2]), (dx, dkeys, dvalues), strict=True):
        for place in ((0, 0, 0), (0, 1, 1), (1, 1, 0)):
            assert abs(gradient[place] - slope(loss, array, place)) < 1e-7


def test_a_state_alone_has_gradients_of_the_memory():
    plan, layer = attending()
    tape, dh = run(plan, X, memory=(KEYS, VALUES, None))[2], normal(B, H, seed=4)
    found = plan.backward(layer, tape, None, dh, False)
    assert found[2].any()
    assert_same_bits(found, plan.backward(layer, tape, np.zeros((B, T, H)), dh, False))


def test_a_stream_keeps_no_reference_to_the_parameters():
    W = normal(I, I)
    plan, before = plan_of(FLOATS, sum_of(W, (0, 0))), sys.getrefcount(W)
    assert_close(plan.stream(B, None).step(X[:, 0]), X[:, 0] @ W, 1e-14)
    assert sys.getrefcount(W) == before


def test_a_tape_of_another_plan_is_refused():
    plan, layer = attending()
    tape = run(plan, X, memory=(KEYS, VALUES, None))[2]
    other, _ = attending(activation="relu")
    joined = rowwise(("concat",), (0, 0), (1, 0))
    additive = attend((3, 1), v=np.ones(H), dv=np.zeros(H))
    scored = plan_of(FLOATS, additive, joined, recurrent(layer, (2, 0)), states=3)
    dy = normal(B, T, H)
    assert plan.check(tape, None)
    for one in (other, scored, looped()[0]):
        assert not one.check(tape, None)
        assert one.backward(layer, tape, dy, None, False) is None
    assert plan.backward(layer, tape, dy[:1], None, False) is None
    assert not layer.flat_grads.any()
