"""Euclidean norms of numbers of any size, also where their squares overflow or underflow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def norms(array: NDArray[Any], axis: int | tuple[int, ...]) -> NDArray[np.float64]:
    """Return the norms along some axes in float64; infinite where float64 overflows."""
    largest = np.abs(array).max(axis=axis, keepdims=True, initial=0).astype(np.float64)
    scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    with np.errstate(over="ignore"):
        scaled = np.linalg.norm(array / scale, axis=axis) * np.squeeze(scale, axis)
    return np.asarray(scaled, np.float64)
