"""All optimizers with their references in NumPy and PyTorch, and a model to test them."""

import numpy as np
import pytest

import crnn
from crnn import optim, reference
from support.running import fill, like

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
OPTIMIZERS = {
    "sgd": (optim.SGD, {"lr": 0.1}, reference.sgd_momentum, "SGD"),
    "momentum": (optim.SGD, {"lr": 0.1, "momentum": 0.9}, reference.sgd_momentum, "SGD"),
    "rmsprop": (optim.RMSprop, {"lr": 0.05}, reference.rmsprop, "RMSprop"),
    "rmsprop-options": (
        optim.RMSprop, {"lr": 0.05, "alpha": 0.5, "eps": 0.1}, reference.rmsprop, "RMSprop",
    ),
    "adam": (optim.Adam, {}, reference.adam, "Adam"),
    "adam-options": (
        optim.Adam, {"lr": 0.1, "betas": (0.5, 0.7), "eps": 0.1}, reference.adam, "Adam",
    ),
    "adamw": (optim.AdamW, {"lr": 0.1}, reference.adamw, "AdamW"),
    "adamw-options": (
        optim.AdamW, {"lr": 0.1, "weight_decay": 0.5, "eps": 0.1}, reference.adamw, "AdamW",
    ),
}  # fmt: skip
STEPS = 20
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def model(dtype="float64"):
    """Return a model with arrays of all shapes and memory orders, of sizes that need remainders."""
    layers = [crnn.Embedding(3, 5), crnn.GRU(5, 7), crnn.LayerNorm(7), crnn.Dense(7, 3)]
    return fill(crnn.Sequential([layer.astype(dtype) for layer in layers]))


def gradients(layer, step):
    """Return random gradients of very different magnitudes, equal for layers of equal shapes."""
    drawn = like(dict_values(layer.grads), np.random.default_rng(step))
    return dict(zip(layer.grads, (10.0 ** (step % 3 - 1) * grad for grad in drawn), strict=True))


def dict_values(arrays):
    return list(arrays.values())


def defaults(name):
    """Return defaults; references have none for lr where those of PyTorch and crnn differ."""
    make, options, _, _ = OPTIMIZERS[name]
    return {"lr": make(model()).lr} | options
