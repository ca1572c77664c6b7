"""What pictures are made of: types, and checks of arguments."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.figures import Axes as Axes

Floats = NDArray[np.float64]


def curves_of(name: str, value: Any, expected: str) -> Mapping[Any, Any]:
    """Return an argument that must be a mapping of names to something, at least one."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: expected a mapping of names to {expected}, got {value!r:.100}")
    if not value:
        raise ValueError(f"{name}: expected at least one, got an empty mapping")
    return value


def pair_of(name: str, value: Any, expected: str) -> tuple[Any, Any]:
    """Return an argument that must be a pair of arrays: `expected` are their names and shapes."""
    if not isinstance(value, tuple | list | np.ndarray) or len(value) != 2:
        raise ValueError(f"{name}: expected a pair {expected}, got {value!r:.100}")
    return value[0], value[1]


def numbers(
    name: str, value: ArrayLike, shapes: Sequence[int], expected: str, *, finite: bool = False
) -> Floats:
    """Return an argument as an array.

    Parameters
    ----------
    name : str
        Of the argument.
    value
        What was given.
    shapes : sequence of int
        The numbers of axes it may have.
    expected : str
        What an error says was expected.
    finite : bool
        Whether all numbers must be finite.

    Raises
    ------
    ValueError
        If it is no array of numbers, is empty, or has another number of axes.
    """
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected {expected}, got {value!r:.100}") from None
    if array.ndim not in shapes or not array.size:
        raise ValueError(f"{name}: expected {expected}, got shape {array.shape}")
    if finite and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise ValueError(
            f"{name}: expected {expected}, all of them finite, got {count} that are not"
        )
    return array


def check_same_shape(name: str, words: str, first: Floats, second: Floats) -> None:
    """Raise ValueError unless the two arrays of a pair have one shape."""
    if first.shape != second.shape:
        raise ValueError(f"{name}: expected {words}, got {first.shape} and {second.shape}")
