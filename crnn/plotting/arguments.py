"""Types and checks of the arguments of plots."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.figures import Axes as Axes

Floats = NDArray[np.float64]


def curves_of(name: str, value: Any, expected: str) -> Mapping[Any, Any]:
    """Return a mapping of names to the `expected` values, or raise; it must not be empty."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: expected a mapping of names to {expected}, got {value!r:.100}")
    if not value:
        raise ValueError(f"{name}: expected at least one, got an empty mapping")
    return value


def pair_of(name: str, value: Any, expected: str) -> tuple[Any, Any]:
    """Return both items of a pair, or raise; `expected` is the text for the message."""
    if not isinstance(value, tuple | list | np.ndarray) or len(value) != 2:
        raise ValueError(f"{name}: expected a pair {expected}, got {value!r:.100}")
    return value[0], value[1]


def numbers(
    name: str, value: ArrayLike, shapes: Sequence[int], expected: str, *, finite: bool = False
) -> Floats:
    """Return an argument as an array of float64.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    value : array_like
        Value of the argument.
    shapes : sequence of int
        Numbers of axes that are allowed.
    expected : str
        Text for the message, after "expected".
    finite : bool, default False
        Whether all numbers must be finite.

    Returns
    -------
    array of float64

    Raises
    ------
    ValueError
        If `value` is no array of numbers, is empty, has another number of axes, or is not finite
        where `finite` is True.
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


def check_same_shape(name: str, expected: str, first: Floats, second: Floats) -> None:
    """Raise ValueError unless both arrays of a pair have the same shape."""
    if first.shape != second.shape:
        raise ValueError(f"{name}: expected {expected}, got {first.shape} and {second.shape}")
