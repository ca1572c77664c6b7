"""What the arrays of these pages are called."""

from types import SimpleNamespace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Arrays = list[Array]
Named = dict[str, Array]
Integers = NDArray[np.intp]
Shapes = dict[str, tuple[int, ...]]

# Values under the lecture's names: each gate's rows of the parameters (W_xi (H, I), b_i (H,), ...),
# the gates' sums, or what a step computes (i, f, ...).
Blocks = SimpleNamespace


def one_hot(symbols: ArrayLike, size: int) -> Array:
    """Turn integers (...,) into rows (..., size) with a single 1."""
    return np.array(np.asarray(symbols)[..., None] == np.arange(size), np.float64)
