"""Merging of the outputs of both directions, and its gradient."""

from __future__ import annotations

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Array


def merged(parts: list[Array], merge: str) -> Array:
    """Return one array: the parts side by side, or the sum, mean or product of two parts."""
    if merge == "concat":
        return np.concatenate(parts, axis=-1)
    first, second = parts
    return _core.rowwise_forward((merge,), None, (first, second), None, False, False)[0]


def split(d: Array, parts: list[Array], merge: str) -> list[Array]:
    """Return the gradients of the parts, from the gradient of the array that `merged` returned."""
    if merge == "concat":
        return np.split(d, np.cumsum([part.shape[-1] for part in parts])[:-1], axis=-1)
    inputs = (parts[0], parts[1]) if merge == "mul" else (None, None)
    return list(_core.rowwise_backward((merge,), None, inputs, None, None, None, d, None))
