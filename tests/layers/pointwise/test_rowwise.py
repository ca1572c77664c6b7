"""Activation, LayerNorm, Pool, sums and merges: against NumPy in float64, and against PyTorch."""

import math
from typing import get_args

import numpy as np
import pytest

import crnn
import crnn._core as _core
from crnn import reference
from crnn.common import choices
from support.comparing import assert_same_bits
from support.running import fill

NAMES = get_args(choices.PointwiseActivation)
EPS = {"float32": 2.0**-23, "float64": 2.0**-52}
#: Sizes near multiples of the vectors of all instruction sets.
WIDTHS = (1, 3, 4, 5, 8, 15, 16, 17, 31, 63, 64, 65, 100, 257)


def drawn(*shape, seed=0, scale=1.0):
    return np.random.default_rng(seed).normal(size=shape) * scale


def ragged(B, T):
    return np.random.default_rng(3).integers(0, T + 1, B)


# ------------------------------------------------------------------------------------- activations


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_activations(name, scale, dtype, isa):
    """Values and gradients, up to a few units in the last place of the largest term."""
    layer, limit = crnn.Activation(name), 20 * EPS[dtype]
    for width in WIDTHS:
        x, dy = drawn(2, 5, width, scale=scale).astype(dtype), drawn(2, 5, width, seed=1)
        y, _, tape = layer.forward(x)
        dx, _ = layer.backward(tape, dy.astype(dtype))
        exact = x.astype(np.float64)
        assert y.dtype == dx.dtype == dtype
        np.testing.assert_allclose(y, reference.activate(name, exact), limit, limit * scale)
        expected = reference.activate_backward(name, exact, dy.astype(dtype).astype(np.float64))
        np.testing.assert_allclose(dx, expected, 4 * limit, 40 * limit)


@pytest.mark.parametrize("name", NAMES)
def test_activations_at_the_ends(name, dtype, isa):
    layer, most = crnn.Activation(name), np.finfo(dtype).max
    x = np.array([[0.0, most, -most, np.inf, -np.inf, np.nan]], dtype)
    y, _, tape = layer.forward(x)
    dx, _ = layer.backward(tape, np.ones_like(x))
    bounded = {"tanh": (-1, 1), "sigmoid": (0, 1), "hard_sigmoid": (0, 1), "softsign": (-1, 1)}
    low, high = bounded.get(name, (0, most))
    if name == "identity":
        low = -most
    assert y[0, 0] == (0.5 if "sigmoid" in name else 0)
    np.testing.assert_allclose(y[0, 1:3], [high, low])
    assert math.isnan(y[0, 5])
    if name != "softsign":  # inf / inf
        assert y[0, 3] == (high if name in bounded else np.inf)
        assert y[0, 4] == (-np.inf if name == "identity" else low)
        assert dx[0, 3] == (0 if name in bounded else 1)
        assert dx[0, 4] == (1 if name == "identity" else 0)
    assert np.isfinite(dx[0, :3]).all()


def test_an_unknown_activation():
    with pytest.raises(ValueError, match=r"^name: expected one of 'tanh', .* got 'swish'$"):
        crnn.Activation("swish")
    assert repr(crnn.Activation("gelu")) == "Activation('gelu')"


@pytest.mark.parametrize("name", NAMES)
def test_the_tape_has_values_of_its_own(name):
    layer = crnn.Activation(name)
    x = drawn(2, 3, 4)
    y, _, tape = layer.forward(x)
    expected = layer.backward(tape, np.ones_like(y))[0]
    x[...], y[...] = 7, 7
    assert_same_bits(layer.backward(tape, np.ones_like(y))[0], expected)


# ----------------------------------------------------------------------------- layer normalisation


def test_layer_norm(dtype, isa):
    for width in WIDTHS:
        layer = fill(crnn.LayerNorm(width, dtype=dtype))
        x, dy = (drawn(3, 4, width, seed=s, scale=2).astype(dtype) for s in (0, 1))
        y, _, tape = layer.forward(x + layer.dtype.type(5))
        dx, _ = layer.backward(tape, dy)
        gain, bias = (layer.params[key].astype(np.float64) for key in ("gain", "bias"))
        exact = (x + layer.dtype.type(5)).astype(np.float64)
        limit = 200 * EPS[dtype]
        np.testing.assert_allclose(y, reference.layer_norm(exact, gain, bias), limit, limit)
        found = (dx, layer.grads["gain"], layer.grads["bias"])
        scale = 1 + 300 * (width == 1)  # 1 / sqrt(eps): equal features have a variance of 0
        for one, two in zip(
            found,
            reference.layer_norm_backward(exact, gain, dy.astype(np.float64)),
            strict=True,
        ):
            np.testing.assert_allclose(one, two, 10 * limit, 10 * limit * scale)


@pytest.mark.parametrize("eps", [1e-45, 1e-40, 1e-5])
def test_equal_features_with_any_eps(eps, dtype):
    layer = crnn.LayerNorm(5, eps=eps, dtype=dtype)
    x = np.full((1, 2, 5), 3.0, dtype)
    y, _, tape = layer.forward(x)
    assert not y.any()
    assert np.isfinite(layer.backward(tape, drawn(1, 2, 5).astype(dtype))[0]).all()


def test_backward_uses_the_parameters_as_they_are():
    layer, x, dy = fill(crnn.LayerNorm(4, dtype="float64")), drawn(2, 3, 4), drawn(2, 3, 4, seed=1)
    _, _, tape = layer.forward(x)
    dx, _ = layer.backward(tape, dy)
    layer.params["gain"] *= 2
    np.testing.assert_allclose(layer.backward(tape, dy)[0], 2 * dx, 1e-14)


# ------------------------------------------------------------------------------------------ pooling


def pooled(how, x, valid):
    """Return y and dx for dy = 1 ... F, row by row in Python."""
    B, T, F = x.shape
    y, dx = np.zeros((B, F), x.dtype), np.zeros((B, T, F), x.dtype)
    dy = np.arange(1, F + 1, dtype=x.dtype)
    for b in range(B):
        steps = np.flatnonzero(valid[b])
        if how == "mean" and len(steps):
            y[b] = sum(x[b, t] for t in steps) / x.dtype.type(len(steps))
            dx[b, steps] = dy / x.dtype.type(len(steps))
        for f in range(F) if how != "mean" and len(steps) else ():
            at = steps[-1] if how == "last" else steps[np.argmax(x[b, steps, f])]
            y[b, f], dx[b, at, f] = x[b, at, f], dy[f]
    return y, dx


@pytest.mark.parametrize("how", get_args(choices.Pooling))
def test_pool(how, dtype, isa):
    """Ties, NaN, infinities, rows without steps and masks."""
    B, T = 6, 7
    mask = np.random.default_rng(0).random((B, T)) < 0.6
    mask[2] = False
    for width in WIDTHS:
        x = np.round(drawn(B, T, width), 1).astype(dtype)
        x[0, 2, 0] = x[1, 3, -1] = np.nan
        x[3], x[4, :, 0], x[5, 1, 0] = -np.inf, np.inf, -0.0
        y, _, tape = crnn.Pool(how).forward(x, mask=mask)
        dy = np.broadcast_to(np.arange(1, width + 1, dtype=dtype), y.shape)
        dx, _ = crnn.Pool(how).backward(tape, dy)
        expected = pooled(how, x, mask)
        np.testing.assert_array_equal(y, expected[0])
        np.testing.assert_array_equal(dx, expected[1])


def test_no_step_at_all():
    for how in get_args(choices.Pooling):
        for shape in ((0, 3, 2), (2, 0, 3), (2, 3, 0), (0, 0, 0)):
            y, _, tape = crnn.Pool(how).forward(np.ones(shape))
            dx, _ = crnn.Pool(how).backward(tape, np.ones(y.shape))
            assert y.shape == (shape[0], shape[2])
            assert dx.shape == shape
            assert shape[1] or not y.any()


# -------------------------------------------------------------------- all: bits, memory and threads

MAPS = {
    **{name: lambda F, dtype, name=name: crnn.Activation(name) for name in NAMES},
    "norm": lambda F, dtype: fill(crnn.LayerNorm(F, dtype=dtype)),
    "dropout": lambda F, dtype: crnn.Dropout(0.3, seed=1),
    "variational": lambda F, dtype: crnn.Dropout(0.3, variational=True, seed=1),
    "residual": lambda F, dtype: crnn.Residual(crnn.Activation("gelu")),
}


def both_ways(layer, x, dy, **options):
    for grad in layer.grads.values():
        grad[...] = 0.5
    y, _, tape = layer.forward(x, call=3, **options)
    return [y, layer.backward(tape, dy)[0], {key: g.copy() for key, g in layer.grads.items()}]


@pytest.mark.parametrize("name", MAPS)
def test_a_step_has_the_same_bits_wherever_it_lies(name, dtype, isa):
    """In strided memory, alone, behind other steps, and in a batch with padding or masks."""
    B, T = 5, 6
    for F in (1, 3, 16, 70):
        layer, x, dy = MAPS[name](F, dtype), drawn(B, T, F).astype(dtype), drawn(B, T, F, seed=1)
        whole = both_ways(layer, x, dy)
        strided = drawn(T, B, 2 * F, seed=2).astype(dtype).transpose(1, 0, 2)[..., F:]
        strided[...] = x
        assert_same_bits(both_ways(layer, strided, np.asfortranarray(dy)), whole)
        for b, t in ((0, 0), (4, 5), (2, 3)):
            at = {"first_row": b, "first_step": t}
            one = both_ways(layer, x[b : b + 1, t : t + 1], dy[b : b + 1, t : t + 1], **at)
            assert_same_bits(one[:2], [part[b : b + 1, t : t + 1] for part in whole[:2]])
        mask = np.random.default_rng(0).random((B, T)) < 0.5
        lengths = ragged(B, T)
        for valid, options in (
            (mask, {"mask": mask}),
            (np.arange(T) < lengths[:, None], {"lengths": lengths}),
        ):
            y, dx, _ = both_ways(layer, x, dy, **options)
            assert_same_bits([y[valid], dx[valid]], [part[valid] for part in whole[:2]])
            inside = name == "residual"  # there y is that of the layer inside, and dx is 0
            assert inside or not (y[~valid].any() or dx[~valid].any())


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("valid", [None, "lengths"])
def test_any_number_of_threads(name, valid, dtype, isa, threads):
    B, T, F = 40, 50, 517
    layer, x, dy = MAPS[name](F, dtype), drawn(B, T, F).astype(dtype), drawn(B, T, F, seed=1)
    options = {"lengths": ragged(B, T)} if valid else {}
    found = {}
    for n in (1, 2, 3, 5):
        threads(n)
        found[n] = both_ways(layer, x, dy, **options)
        assert_same_bits(found[n], found[1])


@pytest.mark.parametrize("how", get_args(choices.Pooling))
def test_any_number_of_threads_in_pool(how, dtype, isa, threads):
    x, layer, found = drawn(40, 100, 517).astype(dtype), crnn.Pool(how), {}
    for n in (1, 2, 3, 5):
        threads(n)
        y, _, tape = layer.forward(x, lengths=ragged(40, 100))
        found[n] = [y, layer.backward(tape, y)]
        assert_same_bits(found[n], found[1])


# --------------------------------------------------------------------------- functions of the core

STEPS = np.ones((2, 3, 4))
NORM = (("norm", 1e-5), np.ones(8))
MISFITS = {
    "an unknown operation": (("none",), None, (STEPS,), None, True, False),
    "no operation": ((), None, (STEPS,), None, True, False),
    "an unknown activation": (("activate", "none"), None, (STEPS,), None, True, False),
    "one input of two": (("sum",), None, (STEPS,), None, True, False),
    "two inputs of one": (("activate", "tanh"), None, (STEPS, STEPS), None, True, False),
    "another shape": (("sum",), None, (STEPS, STEPS[:, 1:]), None, True, False),
    "no input": (("concat",), None, (None, None), None, True, False),
    "integers": (("sum",), None, (STEPS, STEPS.astype(int)), None, True, False),
    "one axis": (("activate", "tanh"), None, (STEPS[0, 0],), None, True, False),
    "four axes": (("activate", "tanh"), None, (STEPS[None],), None, True, False),
    "other steps": (("activate", "tanh"), None, (STEPS,), np.ones((3, 2), bool), True, False),
    "other gains": (NORM[0], np.ones(7), (STEPS,), None, True, False),
    "no gains": (NORM[0], None, (STEPS,), None, True, False),
}
BACK_MISFITS = {
    "no x": (*NORM, (None,), None, np.ones((6, 2)), None, STEPS, np.ones(8)),
    "nothing kept": (*NORM, (STEPS,), None, None, None, STEPS, np.ones(8)),
    "fewer kept": (*NORM, (STEPS,), None, np.ones((5, 2)), None, STEPS, np.ones(8)),
    "gradients of another type": (
        *NORM,
        (STEPS,),
        None,
        np.ones((6, 2)),
        None,
        STEPS,
        np.ones(8, "f"),
    ),
    "fewer gradients": (*NORM, (STEPS,), None, np.ones((6, 2)), None, STEPS, np.ones(7)),
    "no y": (("activate", "tanh"), None, (None,), None, None, None, STEPS, None),
    "no factors": (("mul",), None, (None, None), None, None, None, STEPS, None),
    "no parts": (("concat",), None, (None, None), None, None, None, STEPS, None),
    "another dy": (("mul",), None, (STEPS, STEPS), None, None, None, STEPS[:1], None),
}


@pytest.mark.parametrize("name", MISFITS)
def test_forward_refuses(name):
    with pytest.raises((ValueError, TypeError, IndexError)):
        _core.rowwise_forward(*MISFITS[name])


@pytest.mark.parametrize("name", BACK_MISFITS)
def test_backward_refuses(name):
    with pytest.raises((ValueError, TypeError)):
        _core.rowwise_backward(*BACK_MISFITS[name])


def test_pool_refuses():
    valid, taken, dy = np.ones((2, 3), bool), np.zeros((2, 4), int), np.ones((2, 4))
    for args in (("none", STEPS, valid), ("max", STEPS, valid[1:]), ("max", STEPS[0], valid)):
        with pytest.raises(ValueError, match=r"expected|unknown"):
            _core.pool_forward(*args)
    for taken_ in (taken + 3, taken - 1, taken[1:]):
        with pytest.raises(ValueError, match="taken"):
            _core.pool_backward("max", STEPS.shape, valid, taken_, dy)
    with pytest.raises(ValueError, match="dy"):
        _core.pool_backward("mean", STEPS.shape, valid, None, dy[1:])


# ---------------------------------------------------------------------------------------- PyTorch

TORCH = {
    "gelu": lambda F, x: F.gelu(x, approximate="tanh"),
    "gelu_exact": lambda F, x: F.gelu(x),
    "silu": lambda F, x: F.silu(x),
    "softsign": lambda F, x: F.softsign(x),
    "relu": lambda F, x: F.relu(x),
}


@pytest.mark.parametrize("name", [*TORCH, "norm"])
def test_torch_agrees(name):
    torch = pytest.importorskip("torch")
    layer = MAPS[name](9, "float64")
    given, dy = drawn(3, 4, 9, scale=3), drawn(3, 4, 9, seed=1)
    x = torch.tensor(given, requires_grad=True)
    if name == "norm":
        gain, bias = (torch.tensor(np.array(layer.params[key])) for key in ("gain", "bias"))
        y = torch.nn.functional.layer_norm(x, (9,), gain, bias)
    else:
        y = TORCH[name](torch.nn.functional, x)
    y.backward(torch.tensor(dy))
    found, dx, _ = both_ways(layer, given, dy)
    np.testing.assert_allclose(found, y.detach().numpy(), 1e-13, 1e-14)
    np.testing.assert_allclose(dx, x.grad.numpy(), 1e-12, 1e-13)
