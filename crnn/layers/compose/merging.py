"""How arrays of two directions become one, and their gradients from that of it."""

from __future__ import annotations

import numpy as np

from crnn.common.arrays import Array, underflows


@underflows
def merged(parts: list[Array], merge: str) -> Array:
    """One array (..., F) of several: side by side, or of the same shape combined."""
    if merge == "concat":
        return np.concatenate(parts, axis=-1)
    first, second = parts
    if merge == "mul":
        return np.asarray(first * second)
    total = first + second
    return np.asarray(total * total.dtype.type(0.5) if merge == "mean" else total)


@underflows
def split(d: Array, parts: list[Array], merge: str) -> list[Array]:
    """The gradients of the parts, from that of what `merged` made of them."""
    if merge == "concat":
        return np.split(d, np.cumsum([part.shape[-1] for part in parts])[:-1], axis=-1)
    if merge == "mul":
        return [d * parts[1], d * parts[0]]
    return [d * d.dtype.type(0.5)] * 2 if merge == "mean" else [d, d]
