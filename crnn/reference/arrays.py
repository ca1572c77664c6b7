"""Type names for the arrays of these modules, parameters of parts, and one-hot vectors."""

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Arrays = list[Array]
Named = dict[str, Array]  # name -> array
Integers = NDArray[np.intp]
Shapes = dict[str, tuple[int, ...]]  # name -> shape

# Arrays under the names of the equations: the parameters of each gate (W_xi (H, I), b_i (H,), ...),
# the sums of the gates, or the values that a step computes (i, f, ...).
Blocks = SimpleNamespace


def one_hot(symbols: ArrayLike, size: int) -> Array:
    """Return the one-hot vector of each symbol.

    Parameters
    ----------
    symbols : array (...) of integers
        Symbols from 0 to K - 1.
    size : int
        K, the number of symbols.

    Returns
    -------
    float64 array (..., K)
        1 at the index of the symbol, 0 elsewhere.

    Examples
    --------
    >>> import crnn
    >>> crnn.reference.one_hot([2, 0], 3)
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """
    return np.array(np.asarray(symbols)[..., None] == np.arange(size), np.float64)


def part(params: Mapping[str, Array], name: str) -> Named:
    """Return the parameters of a part without its name in front: "encoder.W_x" as "W_x"."""
    return {key[len(name) + 1 :]: params[key] for key in params if key.startswith(f"{name}.")}
