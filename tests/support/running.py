"""Helpers to run a layer: random parameters, states and gradients; forward and backward."""

import numpy as np

from crnn.common.nested import gradient_form
from crnn.layers.base.arguments import options_of


def fill(layer, seed=0, scale=0.6):
    """Make all parameters random, also those that a fresh layer has at 0; return the layer."""
    rng = np.random.default_rng(seed)
    for array in layer.params.values():
        array[...] = rng.normal(0, scale, array.shape)
    return layer


def leaves(value, name=""):
    """Return the arrays in nested tuples, lists and dicts, by name; None has no arrays."""
    if value is None:
        return {}
    if isinstance(value, dict):
        items = [(f"{name}.{key}" if name else key, part) for key, part in value.items()]
    elif isinstance(value, tuple | list):
        items = [(f"{name}[{k}]", part) for k, part in enumerate(value)]
    else:
        return {name: np.asarray(value)}
    return {key: leaf for item, part in items for key, leaf in leaves(part, item).items()}


def like(value, rng):
    """Return a state like `value` with random arrays; numbers of steps are the same."""
    if value is None:
        return None
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        return value.copy()
    if isinstance(value, tuple | list):
        return type(value)(like(part, rng) for part in value)
    return rng.normal(size=value.shape).astype(value.dtype)


def gradients_like(value, rng):
    """Return random gradients of a state, or of the list [y, state]: without numbers of steps."""
    return like(gradient_form(value), rng)


def copied(value):
    """Return copies of nested arrays, by name."""
    return {name: array.copy() for name, array in leaves(value).items()}


def valid_steps(lengths, T):
    """Return which steps are valid (B, T)."""
    return np.arange(T) < np.asarray(lengths)[:, None]


def first_call(layer):
    """Return options of forward with which dropout is equal in every call."""
    return {"call": 0} if "call" in options_of(layer) else {}


def forward_backward(layer, x, state=None, /, *, lengths=None, spoil=None, **options):
    """Return the results of forward and backward by name, from random dy and dstate.

    The gradients start at 0. `spoil(dy)` may write into dy before it is used. The call is 0 unless
    it is given: the same call drops the same.
    """
    layer.zero_grad()
    options = first_call(layer) | options
    y, end, tape = layer.forward(x, state, lengths=lengths, **options)
    dy, dend = gradients_like([y, end], np.random.default_rng(5))
    if spoil:
        spoil(dy)
    dx, dstate = layer.backward(tape, dy, dend)
    found = {"y": y, "state": end, "dx": dx, "dstate": dstate, "grads": dict(layer.grads)}
    return copied(found)
