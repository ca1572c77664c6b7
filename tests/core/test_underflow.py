"""Under np.errstate(all="raise") underflow does not raise: numbers that are too small become 0."""

import functools
import itertools

import numpy as np
import pytest

import crnn
from crnn import losses
from crnn.data import Standardizer
from crnn.training.evaluation import evaluate
from crnn.training.trainer import Trainer
from support.comparing import assert_same_bits
from support.running import fill, forward_backward
from support.tables import LAYERS

B, T, K = 3, 4, 5
RNG = np.random.default_rng(3)
TINY = {"float32": [1e-20, 1e-30, 1e-40, 1e-44], "float64": [1e-160, 1e-300, 1e-310, 5e-324]}


def raising():
    return np.errstate(all="raise")


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, dtype):
    """Inputs, parameters and gradients of all magnitudes, also of another dtype than the layer."""
    subject = LAYERS[name]
    for scale in TINY["float32"] + TINY["float64"]:
        layer = subject.layer(dtype)
        x = subject.inputs(B, T, symbols=subject.features is None)
        x = x * scale if x.dtype.kind == "f" else x
        for part in (x, x.astype(dtype) if x.dtype.kind == "f" else x):
            for small in (False, True):
                if small:
                    for array in layer.params.values():
                        array *= scale

                def spoil(dy, scale=scale):
                    dy *= scale

                expected = forward_backward(layer, part, lengths=[4, 0, 2], spoil=spoil)
                plain = layer(part)
                with raising():
                    found = forward_backward(layer, part, lengths=[4, 0, 2], spoil=lambda dy: None)
                    assert_same_bits(layer(part), plain)
                assert_same_bits(found["y"], expected["y"])


OPTIONS = [
    dict(zip(("weights", "class_weights", "label_smoothing", "lengths"), values, strict=True))
    for values in itertools.product(
        (None, np.array([[1, 1e-300, 0.5, 3.0]] * B)), (None, [1, 1e-200, 2, 0, 1e-310]), (0, 0.1),
        (None, [4, 0, 2]),
    )
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("size", [1e-300, 1e-40, 1.0, 100.0, 800.0, 1e30])
def test_cross_entropy(options, size, dtype):
    rng = np.random.default_rng(0)
    size = min(size, 1e30) if dtype == "float32" else size
    logits = (rng.normal(size=(B, T, K)) * size).astype(dtype)
    targets = rng.integers(0, K, (B, T))
    targets[:, 0] = 1  # with the other weights only, a gradient may be outside of float32
    expected = losses.cross_entropy(logits, targets, **options)
    with raising():
        found = losses.cross_entropy(logits, targets, **options)
    assert_same_bits(found, expected)
    assert np.isfinite(found[1]).all()


@pytest.mark.parametrize("weights", [None, np.array([[1, 1e-300, 0.5, 0]] * B)])
@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e-30, 1.0])
def test_mse(weights, size, dtype):
    y, target = (RNG.normal(size=(2, B, T, K)) * size).astype(dtype)
    for lengths in (None, [4, 0, 2]):
        expected = losses.mse(y, target, lengths, weights=weights)
        with raising():
            found = losses.mse(y, target, lengths, weights=weights)
        assert_same_bits(found, expected)


@pytest.mark.parametrize(
    "make", [crnn.optim.SGD, crnn.optim.RMSprop, crnn.optim.Adam, crnn.optim.AdamW]
)
@pytest.mark.parametrize("options", [{}, {"clip_norm": 1e-3}, {"clip_value": 1e-30}])
def test_optimizers(make, options, dtype):
    found = []
    for state in ("ignore", "raise"):
        layer = fill(crnn.LSTM(2, 3, dtype=dtype))
        optimizer = make(layer, lr=1e-3, **options)
        with np.errstate(all=state):
            for scale in [1.0, *TINY[dtype]]:
                for grad in layer.grads.values():
                    grad.flat[::2] = scale
                    grad.flat[1::2] = 1.0
                optimizer.scale_grads(1e-30)
                optimizer.step()
        found.append((layer.state_dict(), optimizer.state_dict()))
    assert_same_bits(found[0], found[1])


def test_scaling():
    small = np.float32([[0.0, 0.0, 1e-42]])
    x = np.array([[0.0, 1e-200, 5e-324], [1e-308, 2e-200, 1.0], [0.0, 3e-200, 1e-300]])
    with raising():
        scaler = Standardizer().fit(x)
        z = scaler.transform(x)
        scaler.inverse_transform(z)
        scaler.transform(small)
        scaler.inverse_transform(small)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run(accumulate):
    """Also with losses of the user and weights of any magnitude."""
    x, targets = RNG.normal(size=(B, T, 2)), RNG.integers(0, K, (B, T))
    weights = np.full((B, T), 1e-300)
    data = [(x, targets, None, {"weights": weights}), (x, targets), (x, targets, [4, 0, 2])]
    layers = [crnn.Dense(2, 4), crnn.LayerNorm(4), crnn.GRU(4, 4), crnn.Dense(4, K)]
    model = crnn.Sequential(layers)
    loss = functools.partial(losses.cross_entropy, class_weights=[1e-30, 1, 1, 1, 1])
    with raising():
        trainer = Trainer(
            model, data, loss=loss, optimizer=crnn.optim.Adam(model, clip_norm=1e-20), epochs=2,
            accumulate=accumulate, validation=data,
        )  # fmt: skip
        trainer.run()
        evaluate(model, data, loss=loss)


def test_gradcheck():
    with raising():
        assert crnn.gradcheck(crnn.LayerNorm(3, dtype="float64"), np.full((2, 2, 3), 1e-300))
