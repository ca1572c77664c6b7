"""Conversion of arguments to arrays, and checks of numbers."""

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
    """Return a value as an array, or raise a TypeError that names the argument."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name}: expected an array, got a value that NumPy cannot convert ({error})"
        ) from None


def memory_key(array: Array) -> tuple[int, tuple[int, ...]]:
    """Return the address and the shape of an array: equal for two views of one parameter."""
    return array.ctypes.data, array.shape


def described(value: Any) -> str:
    """Return the dtype and the shape of an array as a text for an error message."""
    array = np.asarray(value)
    return f"{array.dtype} of shape {array.shape}"


def fitting(name: str, array: Array, dtype: np.dtype[Any]) -> Array:
    """Return real numbers in another dtype, or raise if one of them is out of its range."""
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        converted = array.astype(dtype)
    exact = dtype.kind != "f"
    lost = array != converted if exact else np.isfinite(array) & ~np.isfinite(converted)
    if lost.any():
        raise ValueError(f"{name}: expected numbers in the range of {dtype}, got {array[lost][0]}")
    return converted


class NonFinite(NamedTuple):
    """Name of an array, and an entry with its index: ``nan at (0, 1)``."""

    name: str
    number: str


def first_nonfinite(arrays: Iterable[tuple[str, Any]]) -> NonFinite | None:
    """Return the first float that is not finite in arrays with their names, or None."""
    for name, value in arrays:
        array = np.asarray(value)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            return NonFinite(name, f"{array[index]} at {index}")
    return None


def underflows(function: _Function) -> _Function:
    """Decorate a function such that underflow gives 0, independently of np.seterr."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with np.errstate(under="ignore"):  # one per call: NumPy 1 cannot reuse an errstate
            return function(*args, **kwargs)

    return cast(_Function, wrapper)


def in_order(numbers: Array) -> float:
    """Return the sum of numbers (N,), added one after another: zeros among them change no bit."""
    return float(np.add.accumulate(numbers, dtype=np.float64)[-1]) if len(numbers) else 0.0
