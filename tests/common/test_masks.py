"""Masks and resets of integers 0 and 1: all public functions treat them as booleans."""

import numpy as np
import pytest

import crnn
from crnn import diagnostics, losses, optim
from crnn.common.checks import check_steps, steps_there
from crnn.data import Batches, Streams
from crnn.reference import LSTM
from support.comparing import assert_same_bits
from support.running import fill

pytestmark = pytest.mark.filterwarnings("error")

B, T, I, H, K = 3, 6, 3, 4, 2
RNG = np.random.default_rng(7)
X = RNG.normal(size=(B, T, I))
LENGTHS = np.array([6, 4, 2])
MASK, RESETS = RNG.random((B, T)) < 0.7, RNG.random((B, T)) < 0.3
MASK[:, 0] = True
WRONG = {"mask": MASK * 2, "resets": RESETS * -1}


def model(seed=0):
    layers = [
        crnn.LSTM(I, H, dtype="float64"),
        crnn.Bidirectional(crnn.GRU(H, H, dtype="float64"), "sum"),
        crnn.Residual(crnn.Dense(H, H, dtype="float64")),
        crnn.LayerNorm(H, dtype="float64"),
    ]
    return fill(crnn.Sequential(layers), seed)


# -------------------------------------------------------------------------------------- diagnostics


def gates(layer, **marks):
    return diagnostics.gate_statistics(layer, X, **marks).columns


def flow(layer, **marks):
    y, _, tape = layer.forward(X, **marks)
    layer.backward(tape, y, trace=True)
    return diagnostics.gradient_flow(tape).columns


def jacobians(layer, **marks):
    return diagnostics.state_jacobians(layer, X, **marks).columns


def memory(layer, **marks):
    return diagnostics.memory_length(layer, X, **marks).columns


def receptive(layer, **marks):
    return diagnostics.receptive_field(layer, X, row=0, **marks).influence


def gradient(layer, **marks):
    return diagnostics.input_saliency(layer, X, row=0, **marks).values


def occlusion(layer, **marks):
    return diagnostics.input_saliency(layer, X, row=0, method="occlusion", **marks).values


def gradcheck(layer, **marks):
    return crnn.gradcheck(layer, X, **marks).max_error


DIAGNOSTICS = [gates, flow, jacobians, memory, receptive, gradient, occlusion, gradcheck]


@pytest.mark.parametrize("function", DIAGNOSTICS)
@pytest.mark.parametrize("make", [model, lambda: fill(crnn.GRU(I, H, dtype="float64"))])
def test_diagnostics(function, make):
    layer = make()
    for marks in ({"mask": MASK}, {"resets": RESETS}, {"mask": MASK, "resets": RESETS}):
        expected = function(layer, lengths=LENGTHS, **marks)
        for kind in (np.int64, np.uint8):
            integers = {name: value.astype(kind) for name, value in marks.items()}
            found = function(layer, lengths=LENGTHS, **integers)
            np.testing.assert_equal(found, expected)
    for name, wrong in WRONG.items():
        with pytest.raises(ValueError, match=f"{name}: expected booleans, or integers 0 and 1"):
            function(layer, **{name: wrong})


def test_odd_bytes_in_a_mask_of_diagnostics():
    odd = (MASK * np.uint8(2)).view(bool)
    layer = model()
    for function in (receptive, gradient, occlusion):
        np.testing.assert_equal(function(layer, mask=odd), function(layer, mask=MASK))


# ----------------------------------------------------------------------------------------- training


def trained(data, **options):
    layer = crnn.Sequential([crnn.GRU(I, H, seed=1), crnn.Dense(H, K, seed=2)])
    adam = optim.Adam(layer)
    options = {"epochs": 2, "progress": False, "validation": data} | options
    crnn.fit(layer, data, loss=losses.cross_entropy, optimizer=adam, **options)
    return layer.params


TARGET = RNG.integers(0, K, (B, T))
EXTRAS = {"mask": MASK, "resets": RESETS}
KINDS = {
    "int64": lambda mask: mask.astype(np.int64),
    "uint8": lambda mask: mask.astype(np.uint8),
    "list": lambda mask: mask.astype(int).tolist(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"tbptt": (2, 2)}, {"tbptt": (4, 2), "stateful": True}])
def test_items_of_fit(kind, options):
    integers = {name: KINDS[kind](value) for name, value in EXTRAS.items()}
    x = X.astype(np.float32)
    expected = trained([(x, TARGET, LENGTHS, EXTRAS)], **options)
    assert_same_bits(trained([(x, TARGET, LENGTHS, integers)], **options), expected)


def by_sequence(value):
    """Return the rows (B, T, ...) as a list of arrays without padding."""
    return [value[row, :length] for row, length in enumerate(LENGTHS)]


def uniform(x, target, convert):
    return Batches(x, target, 2, **{name: convert(value) for name, value in EXTRAS.items()})


def ragged(x, target, convert):
    marks = {name: list(map(convert, by_sequence(value))) for name, value in EXTRAS.items()}
    return Batches(by_sequence(x), by_sequence(target), 2, **marks)


def streams(x, target, convert):
    marks = {name: convert(value.reshape(-1)) for name, value in EXTRAS.items()}
    return Streams(x.reshape(-1, I), target.reshape(-1), batch_size=2, steps=4, **marks)


@pytest.mark.parametrize("kind", ["int64", "uint8"])
@pytest.mark.parametrize("make", [uniform, ragged, streams])
def test_data_of_fit(kind, make):
    x = X.astype(np.float32)
    expected = trained(make(x, TARGET, lambda value: value))
    assert_same_bits(trained(make(x, TARGET, KINDS[kind])), expected)


# ------------------------------------------------------------------------- checks and the reference


def test_the_twin():
    twin = LSTM()
    layer = fill(crnn.LSTM(I, H, dtype="float64"))
    params = dict(layer.params)
    expected = twin.forward(params, X, mask=MASK, resets=RESETS)[0]
    assert_same_bits(twin.forward(params, X, mask=MASK * 1, resets=RESETS * 1)[0], expected)


def test_checks_of_masks():
    for value in (MASK, MASK * 1, MASK.astype("u8"), MASK.tolist(), (MASK * 1).tolist()):
        found = check_steps("mask", value, X.shape)
        assert found.dtype == bool
        assert found is not value
        assert_same_bits(found, MASK)
    found = check_steps("mask", MASK, X.shape)
    assert not np.shares_memory(found, MASK)
    assert_same_bits(check_steps("mask", [[], []], (2, 0, 3)), np.ones((2, 0), bool))
    before = np.arange(T) < LENGTHS[:, None]
    assert_same_bits(steps_there(LENGTHS, MASK * 1, X.shape), MASK & before)
    assert_same_bits(steps_there(LENGTHS, None, X.shape), before)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (MASK * 2, ValueError, r"mask: .*of shape \(B=3, T=6\), got 2 in row 0 at step 0"),
        (MASK * 1.0, TypeError, r"mask: .*of shape \(B=3, T=6\), got float64 of shape \(3, 6\)"),
        (MASK[:1] * 1, ValueError, r"mask: .*of shape \(B=3, T=6\), got shape \(1, 6\)"),
        (1, ValueError, r"mask: .*of shape \(B=3, T=6\), got shape \(\)"),
    ],
)
def test_wrong_masks(value, error, message):
    with pytest.raises(
        error, match=message.replace(".*", "expected booleans, or integers 0 and 1, ")
    ):
        check_steps("mask", value, X.shape)
