"""Malformed calls of SelfAttention and TransformerBlock, and files that lie about them."""

import json

import numpy as np
import pytest

import crnn
from support.attentions import gradients_of, inputs, layer_of
from support.comparing import assert_same_bits
from support.running import copied

LAYERS = [crnn.SelfAttention, crnn.TransformerBlock]
every_class = pytest.mark.parametrize("make", LAYERS)
KINDS = ["all", "window", "block", "block-window"]
every_kind = pytest.mark.parametrize("kind", KINDS)
B, T, H = 3, 5, 8


@every_class
@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        ((8, 3), {}, "heads: expected a divisor of size=8, got 3"),
        ((8, 16), {}, "heads: expected a divisor of size=8, got 16"),
        ((6, 2), {}, "heads: expected an even number of features for each head with rotary=True"),
        ((5, 5), {}, "heads: expected an even number"),
        ((8, 0), {}, "heads: expected"),
        ((8, -1), {}, "heads: expected"),
        ((8, 2.0), {}, "heads: expected"),
        ((8, "2"), {}, "heads: expected"),
        ((0, 1), {}, "size: expected"),
        ((-8, 2), {}, "size: expected"),
        ((None, 2), {}, "size: expected"),
        ((2**40, 2), {}, "size"),
        ((2**62, 2), {}, "size"),
        ((8, 2), {"window": 0}, "window: expected"),
        ((8, 2), {"window": -1}, "window: expected"),
        ((8, 2), {"window": 1.5}, "window: expected"),
        ((8, 2), {"window": "all"}, "window: expected"),
        ((8, 2), {"window": 2**70}, "window: expected"),
        ((8, 2), {"window": 2**63}, "window: expected"),
        ((8, 2), {"dropout": 1.0}, "dropout: expected"),
        ((8, 2), {"dropout": -0.1}, "dropout: expected"),
        ((8, 2), {"dropout": np.nan}, "dropout: expected"),
        ((8, 2), {"dropout": True}, "dropout: expected"),
        ((8, 2), {"dropout": "0.1"}, "dropout: expected"),
        ((8, 2), {"dropout": None}, "dropout: expected"),
        ((8, 2), {"dtype": "int32"}, "dtype: expected"),
        ((8, 2), {"dtype": "float16"}, "dtype: expected"),
        ((8, 2), {"seed": -1}, "seed: expected"),
        ((8, 2), {"seed": 1.5}, "seed: expected"),
        ((8, 2), {"bias": "yes"}, "bias: expected"),
        ((8, 2), {"bias": None}, "bias: expected"),
        ((8, 2), {"rotary": 2}, "rotary: expected"),
        ((8, 2), {"rotary": np.array([True, False])}, "rotary: expected"),
    ],
)
def test_arguments(make, sizes, options, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make(*sizes, **options)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (crnn.SelfAttention, {"causal": False, "window": 3}, "window: expected None with causal"),
        (crnn.SelfAttention, {"causal": 1.5}, "causal: expected"),
        (crnn.TransformerBlock, {"activation": "silu"}, "activation: expected one of 'gelu'"),
        (crnn.TransformerBlock, {"activation": None}, "activation: expected one of 'gelu'"),
        (crnn.TransformerBlock, {"activation": ["gelu"]}, "activation: expected one of 'gelu'"),
        (crnn.TransformerBlock, {"feedforward_size": 0}, "feedforward_size: expected"),
        (crnn.TransformerBlock, {"feedforward_size": 2.5}, "feedforward_size: expected"),
        (crnn.TransformerBlock, {"feedforward_size": 2**62}, ""),
        (crnn.TransformerBlock, {"scale": 0}, "scale: expected"),
        (crnn.TransformerBlock, {"scale": np.inf}, "scale: expected"),
        (crnn.TransformerBlock, {"scale": np.nan}, "scale: expected"),
        (crnn.TransformerBlock, {"scale": "1"}, "scale: expected"),
    ],
)
def test_arguments_of_one_class(make, options, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make(8, 2, **options)


# ---------------------------------------------------------------------------------------- calls

X = np.zeros((B, T, H))
CALLS = [
    ({"x": X[..., :7]}, r"x: expected floats of shape \(B, T, I=8\), got"),
    ({"x": X[0]}, r"x: expected"),
    ({"x": X[None]}, r"x: expected"),
    ({"x": np.zeros((B, T), int)}, r"x: expected floats of shape \(B, T, I=8\), got int64"),
    ({"x": X.astype(str)}, r"x: expected"),
    ({"x": X.astype(complex)}, r"x: expected"),
    ({"x": None}, r"x: expected"),
    ({"lengths": [5, 5]}, r"lengths: expected"),
    ({"lengths": [5, 6, 5]}, r"lengths: expected"),
    ({"lengths": [5, -1, 5]}, r"lengths: expected"),
    ({"lengths": [5.0, 5, 5]}, r"lengths: expected"),
    ({"mask": np.ones((B, 4), bool)}, r"mask: expected"),
    ({"mask": np.full((B, T), 2)}, r"mask: expected"),
    ({"resets": np.ones((B, T, 1), bool)}, r"resets: expected"),
    ({"resets": np.full((B, T), 0.5)}, r"resets: expected"),
]


@every_kind
@pytest.mark.parametrize(("given", "message"), CALLS)
def test_calls(kind, given, message):
    layer, x = layer_of(kind), given.get("x", X)
    given = {key: value for key, value in given.items() if key != "x"}
    for run in (layer, layer.forward):
        with pytest.raises((ValueError, TypeError), match=f"^{message}"):
            run(x, **given)
    assert layer.calls == 0


def states(kind):
    """Return states that do not fit, with what the message says, for B rows."""
    S = 4
    k, v, steps = np.zeros((B, S, H)), np.zeros((B, S, H)), np.array([4, 2, 0])
    bad = {
        "array": (k, r"expected None or \(k, v, steps\), got array"),
        "pair": ((k, v), r"expected None or \(k, v, steps\), got \("),
        "four": ((k, v, steps, steps), r"expected None or \(k, v, steps\), got \("),
        "string": ("state", r"expected None or \(k, v, steps\), got 'state'"),
        "rows": ((k[:2], v, steps), "expected"),
        "slots": ((k, v[:, :3], steps), "expected"),
        "features": ((k[..., :7], v, steps), "expected"),
        "vectors": ((k[:, 0], v, steps), "expected"),
        "symbols": ((k.astype(int), v, steps), "expected"),
        "strings": ((k, v.astype(str), steps), "expected"),
        "missing": ((k, None, steps), "expected"),
        "uncounted": ((k, v, None), "expected"),
        "floats": ((k, v, steps.astype(float)), "expected"),
        "counts": ((k, v, steps[:2]), "expected"),
        "table": ((k, v, steps[:, None]), "expected"),
        "negative": ((k, v, np.array([4, -1, 0])), "expected steps from 0 to"),
        "huge": ((k, v, np.array([4, 2**62, 0])), "expected steps from 0 to"),
    }
    if "window" in kind:
        bad["too many"] = (np.zeros((B, 5, H)), np.zeros((B, 5, H)), steps), "expected"
        bad["too few"] = (k[:, :3], v[:, :3], steps), "expected"
    else:
        bad["truncated"] = (
            (k, v, np.array([4, 5, 0])),
            "expected steps from 0 to S=4, got 5",
        )
    return bad


@every_kind
def test_states(kind):
    layer, x = layer_of(kind), inputs(rows=B, steps=T)
    stream = layer.stream(B)
    stream.step(x[:, 0])
    before, model = stream.state, crnn.Sequential([layer])
    for name, (state, message) in states(kind).items():
        calls = [lambda s=state: layer(x, s), lambda s=state: layer.forward(x, s)]
        calls += [lambda s=state: layer.stream(B, s), lambda s=state: setattr(stream, "state", s)]
        for call in calls:
            with pytest.raises((ValueError, TypeError), match=f"^state: {message}"):
                call()
        with pytest.raises((ValueError, TypeError), match="state"):
            model(x, [state])
        assert_same_bits(stream.state, before), name


@every_kind
def test_gradients_that_do_not_fit_change_nothing(kind):
    layer, x = layer_of(kind), inputs(rows=B, steps=T)
    y, end, tape = layer.forward(x)
    dk, dv = gradients_of(end)
    layer.backward(tape, y)
    before = copied(dict(layer.grads))
    wrong = {
        "triple": (dk, dv, end[2]),
        "array": dk,
        "one": (dk,),
        "rows": (dk[:2], dv),
        "slots": (dk[:, 1:], dv[:, 1:]),
        "uneven": (dk[:, 1:], dv),
        "features": (dk[..., 1:], dv[..., 1:]),
        "strings": (dk.astype(str), dv),
        "missing": (dk, None),
        "text": "dstate",
    }
    for name, dstate in wrong.items():
        with pytest.raises((ValueError, TypeError), match=r"^dstate: expected"):
            layer.backward(tape, y, dstate)
        with pytest.raises((ValueError, TypeError), match=r"^dstate: expected"):
            layer.check_backward(tape, dstate)
        assert_same_bits(dict(layer.grads), before), name
    for dy in (y[:2], y[..., 1:], y.astype(str), "dy", np.zeros(3)):
        with pytest.raises((ValueError, TypeError), match=r"^dy: expected"):
            layer.backward(tape, dy)
    with pytest.raises(TypeError, match=r"^tape: expected"):
        layer_of("window-1").backward(tape, y)
    for other in (None, y, "tape", crnn.GRU(8, 8, dtype="float64").forward(x)[2]):
        with pytest.raises(TypeError, match=r"^tape: expected"):
            layer.backward(other, y)
    assert_same_bits(dict(layer.grads), before)


def test_a_stream_of_later_steps():
    layer = crnn.SelfAttention(8, 2, causal=False)
    for stream in (layer.stream, crnn.Sequential([layer]).stream):
        with pytest.raises(ValueError, match="expected one that runs step by step"):
            stream()
    with pytest.raises(TypeError, match=r"^state: expected"):
        layer(np.zeros((1, 2, 8)), (np.zeros((1, 2, 8)), np.zeros((1, 2, 8)), np.array([2])))


@every_kind
def test_steps_of_a_stream(kind):
    layer, x = layer_of(kind), inputs(rows=B, steps=T)
    stream = layer.stream(B)
    stream.step(x[:, 0])
    before = stream.state
    for wrong in (x[:2, 1], x[:, 1, 1:], x, x[:, 1].astype(int), "x", None):
        with pytest.raises((ValueError, TypeError), match=r"^x: expected"):
            stream.step(wrong)
    for rows in ([3], [-1], [0.5], "rows", [[0]]):
        with pytest.raises((ValueError, TypeError), match=r"^rows: expected"):
            stream.reset(rows)
    assert_same_bits(stream.state, before)
    for size in (-1, 2**62, 1.5):
        with pytest.raises((ValueError, TypeError, MemoryError)):
            layer.stream(size)
    with pytest.raises((ValueError, MemoryError)):
        layer.stream(2**40)


# ---------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    "lie",
    [
        {"size": 2**31},
        {"size": 16},
        {"heads": 3},
        {"heads": 0},
        {"window": 0},
        {"window": "x"},
        {"bias": False},
        {"dropout": 2},
        {"size": None},
        {"unknown": 1},
    ],
    ids=str,
)
@every_class
def test_files_that_lie(make, lie, tmp_path):
    """A changed configuration is refused, before memory for its parameters is allocated."""
    crnn.save(tmp_path / "a.npz", make(8, 2))
    with np.load(tmp_path / "a.npz") as file:
        arrays = dict(file)
    (name,) = [key for key, value in arrays.items() if b"SelfAttention" in _text(value)
               or b"TransformerBlock" in _text(value)]  # fmt: skip
    description = json.loads(_text(arrays[name]))
    assert _change(description, lie)
    changed = np.frombuffer(json.dumps(description).encode(), np.uint8)
    arrays[name] = changed if arrays[name].dtype == np.uint8 else np.array(json.dumps(description))
    np.savez(tmp_path / "b.npz", **arrays)
    with pytest.raises(ValueError, match=r"b\.npz"):
        crnn.load(tmp_path / "b.npz")


def _text(array):
    if array.dtype.kind == "U" and array.ndim == 0:
        return str(array).encode()
    return array.tobytes() if array.dtype == np.uint8 else b""


def _change(value, lie):
    """Change the configuration of the layer inside a description; return whether there is one."""
    if isinstance(value, dict):
        if "heads" in value and "size" in value:
            value.update(lie)
            return True
        return any(_change(part, lie) for part in value.values())
    return isinstance(value, list) and any(_change(part, lie) for part in value)


@every_class
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"window": 3, "rotary": False}], ids=str)
def test_parameter_counts(make, options):
    more = [{}]
    if make is crnn.TransformerBlock:
        more += [{"activation": "swiglu"}, {"feedforward_size": 5}]
    for extra in more:
        layer = make(8, 2, **options, **extra)
        count = sum(array.size for array in layer.params.values())
        assert make.parameter_count(layer.config) == count
