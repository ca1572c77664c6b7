"""Attention in the core: comparison with NumPy, PyTorch and finite differences; bits; errors."""

import numpy as np
import pytest

import crnn._core as _core
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


def run(additive, arrays, dcontext, lengths):
    """Return the results of forward and backward by name; dv starts at 0."""
    *given, v = arrays
    dv = np.zeros_like(v) if additive else None
    rest = (v if additive else None, *lengths)
    context, weights = _core.attention_forward(additive, *given, *rest)
    grads = _core.attention_backward(additive, *given, *rest, weights, dcontext, dv)
    names = ["context", "weights", "dqueries", "dkeys", "dvalues"]
    return dict(zip(names, [context, weights, *grads], strict=True)) | {"dv": dv}


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


@every_kind
def test_gradient_of_v_is_added(additive, dtype):
    arrays, dcontext = sample(dtype)
    *given, v = arrays
    if additive:
        fresh = run(True, arrays, dcontext, (None, None))["dv"]
        weights = _core.attention_forward(True, *given, v, None, None)[1]
        dv = fresh.copy()
        _core.attention_backward(True, *given, v, None, None, weights, dcontext, dv)
        assert_close(dv, 2 * fresh, TOLERANCE[dtype])
    else:
        assert run(False, arrays, dcontext, (None, None))["dv"] is None


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
    v = v if additive else None
    lengths = [19, 7, 12]
    context, weights = _core.attention_forward(additive, *given, v, lengths, None)
    queries, keys, values = given
    for row, length in enumerate(lengths):
        for t in range(5):
            one = _core.attention_forward(
                additive,
                queries[row : row + 1, t : t + 1],
                keys[row : row + 1, :length],
                values[row : row + 1, :length],
                v,
                None,
                None,
            )
            assert_same_bits(one[0][0, 0], context[row, t])
            assert_same_bits(one[1][0, 0], weights[row, t, :length])


def test_arrays_of_any_memory_layout(isa):
    arrays, dcontext = sample()
    expected = run(True, arrays, dcontext, (SOURCE, TARGET))
    turned = [np.asfortranarray(x) for x in arrays[:3]] + [np.repeat(arrays[3], 2)[::2]]
    assert_same_bits(run(True, turned, np.asfortranarray(dcontext), (SOURCE, TARGET)), expected)


# name of an argument: (its wrong value, the exception, the beginning of the message)
ERRORS = [
    ("queries", np.ones((B, TQ)), ValueError, r"queries: expected floats of shape \(B, T_q, A\), "),
    ("queries", np.ones((B, TQ, A), int), TypeError, "queries: expected floats, got int64"),
    ("keys", np.ones((B, TS, A + 1)), ValueError, r"keys: expected .*\(B=4, T_s, A=5\), got"),
    ("keys", np.ones((B + 1, TS, A)), ValueError, r"keys: expected .*\(B=4, T_s, A=5\), got"),
    ("values", np.ones((B, TS + 1, C)), ValueError, r"values: expected .*\(B=4, T_s=6, C\), got"),
    ("v", None, TypeError, r"v: expected floats of shape \(A=5,\), got object"),
    ("v", np.ones(A + 1), ValueError, r"v: expected floats of shape \(A=5,\), got .*\(6,\)"),
    ("additive", False, ValueError, "v: expected None, because the scores are not additive, got"),
    ("source", [0, 1, 2, 7], ValueError, "source_lengths: expected integers from 0 to 6, got 7"),
    ("source", [0, 1], ValueError, r"source_lengths: expected integers of shape \(B=4,\), got"),
    ("source", [0.0] * 4, TypeError, r"source_lengths: expected integers .*, got float64"),
    ("target", [-1, 1, 2, 3], ValueError, "target_lengths: expected integers from 0 to 3, got -1"),
    ("weights", np.ones((B, TQ, TQ)), ValueError, r"weights: expected .*\(B=4, T_q=3, T_s=6\)"),
    ("dcontext", np.ones((B, TQ, A)), ValueError, r"dcontext: expected .*\(B=4, T_q=3, C=7\)"),
    ("dv", None, TypeError, "dv: expected a writeable float32 or float64 array .*, got None"),
    ("dv", np.zeros(A, "f4"), ValueError, "dv: expected the shape of v .*, got float32"),
    ("dv", np.zeros(A - 1), ValueError, r"dv: expected the shape of v .*, got .*\(4,\)"),
]


@pytest.mark.parametrize(("name", "value", "error", "message"), ERRORS)
def test_wrong_arguments_are_named_and_change_nothing(name, value, error, message):
    (queries, keys, values, v), dcontext = sample()
    dv = np.zeros(A)
    arguments = {
        "additive": True,
        "queries": queries,
        "keys": keys,
        "values": values,
        "v": v,
        "source": SOURCE,
        "target": TARGET,
        "weights": np.ones((B, TQ, TS)),
        "dcontext": dcontext,
        "dv": dv,
    } | {name: value}
    with pytest.raises(error, match="^" + message):
        _core.attention_backward(*arguments.values())
    assert not dv.any()
    if name not in ("weights", "dcontext", "dv"):
        with pytest.raises(error, match="^" + message):
            _core.attention_forward(*list(arguments.values())[:7])


def test_no_gradient_of_v_without_v():
    arrays, dcontext = sample()
    weights = np.ones((B, TQ, TS))
    with pytest.raises(
        ValueError, match=r"^dv: expected None, because the scores are not additive, got"
    ):
        _core.attention_backward(
            False, *arrays[:3], None, None, None, weights, dcontext, np.zeros(A)
        )
