"""Arrays from what a user gives, and numbers that fit a type."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Lengths = NDArray[np.int64] | None
_Function = TypeVar("_Function", bound=Callable[..., Any])


def as_array(name: str, value: Any) -> Array:
    """Anything as an array, or a TypeError that names the argument."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name}: expected an array, got what NumPy cannot make one of ({error})"
        ) from None


def described(value: Any) -> str:
    """The type and the shape of an array, for an error."""
    array = np.asarray(value)
    return f"{array.dtype} of shape {array.shape}"


def fitting(name: str, given: Array, dtype: np.dtype[Any]) -> Array:
    """Real numbers in another type, which must hold all of them, or a ValueError."""
    if given.dtype == dtype:
        return given
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        array = given.astype(dtype)
    lost = np.isfinite(given) & ~np.isfinite(array) if dtype.kind == "f" else given != array
    if lost.any():
        raise ValueError(f"{name}: expected numbers that {dtype} holds, got {given[lost][0]}")
    return array


class NonFinite(NamedTuple):
    """The name of an array, and a number in it with its place: ``nan at (0, 1)``."""

    name: str
    number: str


def first_nonfinite(arrays: Iterable[tuple[str, Any]]) -> NonFinite | None:
    """The first float that is not finite in arrays with their names, or None."""
    for name, value in arrays:
        array = np.asarray(value)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            return NonFinite(name, f"{array[where]} at {where}")
    return None


def underflows(function: _Function) -> _Function:
    """Let numbers too small for their type become 0 in a function, whatever np.seterr says."""

    @functools.wraps(function)
    def quiet(*args: Any, **kwargs: Any) -> Any:
        with np.errstate(under="ignore"):  # a new one for each call: NumPy 1 cannot share one
            return function(*args, **kwargs)

    return cast(_Function, quiet)
