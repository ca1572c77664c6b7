"""Bidirectional layers over subclasses that return outputs of other types and shapes."""

import numpy as np
import pytest

import crnn
from crnn.layers.compose.bidirectional import Pair
from support.comparing import assert_close
from support.tables import MERGES

B, T, I, H = 2, 5, 3, 4
TYPES = ["int8", "uint8", "int64", "bool", "float16", "float32", "float64", "longdouble"]


def returning(change):
    """Return a class whose forward and call return a changed y."""

    class Own(crnn.GRU):
        def forward(self, *given, **options):
            y, *rest = super().forward(*given, **options)
            return change(y), *rest

        def __call__(self, *given, **options):
            y, state = super().__call__(*given, **options)
            return change(y), state

    return Own


def merged(merge, f, b):
    """Merge two arrays in NumPy, as documented."""
    if merge == "concat":
        return np.concatenate([f, b], axis=2)
    return {"sum": f + b, "mean": (f + b) / 2, "mul": f * b}[merge]


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("kind", TYPES)
def test_outputs_of_other_types(kind, merge):
    """Outputs are merged as floats: integers do not overflow."""
    own = returning(lambda y: (100 * np.abs(y)).astype(kind))
    layer = crnn.Bidirectional(own(I, H, seed=1), merge)
    x = np.random.default_rng(0).normal(size=(B, T, I)).astype("float32")
    y, _, tape = layer.forward(x)
    f, b = (part(x)[0].astype("float64") for part in (layer.forward_layer, layer.backward_layer))
    assert y.dtype == ("float64" if kind == "float64" else "float32")
    assert_close(y.astype("float64"), merged(merge, f, b), 1e-6)
    np.testing.assert_array_equal(layer(x)[0], y)
    dy = np.random.default_rng(1).normal(size=y.shape).astype("float32")
    layer.zero_grad()
    dx, _ = layer.backward(tape, dy)
    shares = {"concat": np.split(dy, 2, axis=-1), "sum": (dy, dy), "mean": (dy / 2, dy / 2)}
    df, db = shares[merge] if merge != "mul" else (dy * b, dy * f)
    parts = layer.forward_layer, layer.backward_layer
    expected = sum(
        crnn.GRU.backward(part, own_tape, share.astype("float32"))[0]
        for part, own_tape, share in zip(
            parts, (tape.forward, tape.backward), (df, db), strict=True
        )
    )
    assert_close(dx, expected, 1e-5)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("change", [lambda y: y[:1], lambda y: y[:, :1], lambda y: y[..., :1]])
def test_outputs_of_different_shapes_are_refused(merge, change):
    """Only the number of features may differ, and only for "concat"."""
    first, second = crnn.GRU(I, H, seed=1), returning(change)(I, H, reverse=True, seed=2)
    layer = crnn.Bidirectional(first, merge)
    layer._pair = Pair(first, second, merge)
    x = np.ones((B, T, I), "float32")
    if merge == "concat" and change(np.ones((B, T, H))).shape[:2] == (B, T):
        y, _, tape = layer.forward(x)
        assert y.shape == (B, T, H + 1)
        with pytest.raises(ValueError, match="dy"):
            layer.backward(tape, np.ones_like(y))
        return
    for run in (layer, layer.forward):
        with pytest.raises(ValueError, match="same shape"):
            run(x)


@pytest.mark.parametrize("kind", ["complex64", "object", "U1"])
def test_outputs_that_are_no_real_numbers_are_refused(kind):
    layer = crnn.Bidirectional(returning(lambda y: y.astype(kind))(I, H), "sum")
    with pytest.raises(TypeError, match=r"^y: expected real numbers"):
        layer.forward(np.ones((B, T, I), "float32"))
