"""Self-attention and blocks of Transformers: layers of many options, and what is compared."""

import numpy as np

import crnn
from support.running import fill
from support.temporal_layers import random_steps

H, B, T = 8, 6, 70

ATTENTIONS = {
    "all": {},
    "plain": {"rotary": False},
    "window": {"window": 5},
    "window-1": {"window": 1},
    "window-long": {"window": 99, "bias": False},
    "whole": {"causal": False},
}
BLOCKS = {
    "block": {},
    "block-window": {"window": 5, "activation": "swiglu"},
    "block-plain": {"rotary": False, "activation": "relu", "bias": False},
    "block-exact": {"window": 2, "activation": "gelu_exact", "feedforward_size": 19},
    "block-whole": {"causal": False},
}
KINDS = ATTENTIONS | BLOCKS
CAUSAL = [kind for kind, options in KINDS.items() if options.get("causal", True)]


def layer_of(kind, dtype="float64", seed=0, *, heads=2, **options):
    """Return a layer of the table with random parameters."""
    make = crnn.TransformerBlock if kind in BLOCKS else crnn.SelfAttention
    return fill(make(H, heads, dtype=dtype, seed=3, **KINDS[kind], **options), seed, 0.4)


def inputs(dtype="float64", rows=B, steps=T, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, steps, H)).astype(dtype)


def first_state(layer, rows=B, read=(0, 3, 7, 1, 2, 40), seed=1):
    """Return a state of rows that have read so many steps, or None where there is none.

    Slots for steps that do not exist have NaN.
    """
    if not layer.has_state:
        return None
    rng, steps = np.random.default_rng(seed), np.resize(read, rows)
    slots = layer.window - 1 if layer.window else max(read)
    k, v = (rng.normal(size=(rows, slots, H)).astype(layer.dtype) for _ in range(2))
    k[unseen(k, steps)] = v[unseen(v, steps)] = np.nan
    return k, v, steps


def unseen(cache, steps):
    """Return which slots of keys or values (B, S, H) are of steps that do not exist."""
    slots = cache.shape[1]
    return np.arange(slots) < slots - np.minimum(steps, slots)[:, None]


def rows_of(state, rows):
    """Return some rows of a state; slots that none of them has seen are left out."""
    if state is None:
        return None
    k, v, steps = (part[rows] for part in state)
    return k, v, steps


def seen_of(state):
    """Return the keys and values of the steps that exist, row by row, and the numbers of steps."""
    if state is None:
        return []
    k, v, steps = state
    known = [slice(k.shape[1] - min(int(n), k.shape[1]), None) for n in steps]
    rows = [(k[b, own], v[b, own]) for b, own in enumerate(known)]
    return [np.concatenate([part.ravel() for pair in rows for part in pair] or [k.ravel()]), steps]


def some_steps(kinds=("lengths", "mask", "resets"), seed=9):
    """Return options of forward for B rows of T steps."""
    return random_steps(np.random.default_rng(seed), B, T, kinds)


def gradients_of(state, seed=5):
    """Return random gradients (dk, dv) of a state, 0 for steps that do not exist."""
    if state is None:
        return None
    rng, steps = np.random.default_rng(seed), state[2]
    pair = tuple(rng.normal(size=part.shape).astype(part.dtype) for part in state[:2])
    for part in pair:
        part[unseen(part, steps)] = 0
    return pair


def run(layer, x, state=None, *, dy=None, **options):
    """Return the results of forward and backward by name; the gradients begin at 0."""
    layer.zero_grad()
    y, end, tape = layer.forward(x, state, **({"call": 0} | options))
    dy = np.cos(np.arange(y.size).reshape(y.shape)).astype(y.dtype) if dy is None else dy
    dx, dstate = layer.backward(tape, dy, gradients_of(end))
    found = {"y": y, "dx": dx} | {f"d{name}": g.copy() for name, g in layer.grads.items()}
    found |= {f"state {k}": part for k, part in enumerate(seen_of(end))}
    return found | {f"dstate {k}": part for k, part in enumerate(dstate or ())}
