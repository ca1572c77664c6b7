"""Merging of the outputs of both directions, and its gradient."""

from __future__ import annotations

import numpy as np

from crnn.common.arrays import Array, underflows


@underflows
def merged(parts: list[Array], merge: str) -> Array:
    """Return one array: the parts side by side, or the sum, mean or product of two parts."""
    if merge == "concat":
        return np.concatenate(parts, axis=-1)
    first, second = parts
    if merge == "mul":
        return np.asarray(first * second)
    total = first + second
    return np.asarray(total * total.dtype.type(0.5) if merge == "mean" else total)


@underflows
def split(d: Array, parts: list[Array], merge: str) -> list[Array]:
    """Return the gradients of the parts, from the gradient of the array that `merged` returned."""
    if merge == "concat":
        return np.split(d, np.cumsum([part.shape[-1] for part in parts])[:-1], axis=-1)
    if merge == "mul":
        return [d * parts[1], d * parts[0]]
    return [d * d.dtype.type(0.5)] * 2 if merge == "mean" else [d, d]
