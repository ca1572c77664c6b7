"""Checks of arguments: each returns the value in the type that is computed with, or raises."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from crnn.common.arrays import Array, as_array, fitting

#: The letters of `dtype.kind` that each kind of numbers has.
_TRUTHS = "booleans, or integers 0 and 1,"
_KINDS = {"floats": "f", "integers": "iu", _TRUTHS: "biu", "real numbers": "fiu"}

#: The size of an axis: a letter stands for any size, a letter with a number for that number.
Size: TypeAlias = str | int | tuple[str, int]


def check_array(
    name: str,
    value: Any,
    kinds: str,
    *shapes: tuple[Size, ...],
    note: str = "",
    kind_error: type[Exception] = TypeError,
) -> Array:
    """Return a value as an array of one kind of numbers that has one of some shapes.

    Parameters
    ----------
    name : str
        Of the argument, for the message.
    value : array_like
    kinds : {"floats", "integers", "booleans, or integers 0 and 1,", "real numbers"}
    *shapes : tuple
        The shapes allowed, such as ``("B", "T", ("I", 3))``; none: any shape.
    note : str
        What the message says after the shapes.
    kind_error : type
        The exception for numbers of another kind.

    Raises
    ------
    TypeError
        If NumPy cannot make an array of the value; or `kind_error`, for another kind.
    ValueError
        For another shape.

    Examples
    --------
    >>> check_array("x", [[1, 2]], "floats", ("B", "T", ("I", 3)))
    Traceback (most recent call last):
    TypeError: x: expected floats of shape (B, T, I=3), got int64 of shape (1, 2)
    """
    array = value if type(value) is np.ndarray else as_array(name, value)
    right = array.dtype.kind in _KINDS[kinds]
    if right and (not shapes or array.shape in shapes or any(_has(array, one) for one in shapes)):
        return array
    of_shape = " of shape " + " or ".join(map(_written, shapes)) if shapes else ""
    expected = f"{name}: expected {kinds}{of_shape}{note}"
    if not right:
        raise kind_error(f"{expected}, got {array.dtype} of shape {array.shape}")
    raise ValueError(f"{expected}, got shape {array.shape}")


def _has(array: Array, shape: tuple[Size, ...]) -> bool:
    """Whether an array has as many axes, and the sizes that are numbers."""
    pairs = zip(array.shape, shape, strict=False)
    return array.ndim == len(shape) and all(
        isinstance(size, str) or found == (size[1] if isinstance(size, tuple) else size)
        for found, size in pairs
    )


def _written(shape: tuple[Size, ...]) -> str:
    """A shape as it stands in messages: (B, T, I=3)."""
    sizes = [f"{size[0]}={size[1]}" if isinstance(size, tuple) else str(size) for size in shape]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def steps_there(lengths: Any, mask: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which steps (B, T) are read: those before their row's end that are not masked.

    Parameters
    ----------
    lengths : (B,) integers, or None
        Valid steps of each row; None: all T steps of every row.
    mask : (B, T) booleans, or integers 0 and 1, or None
        False at steps that are not read; None: no step is masked.
    shape : tuple
        Of the input: (B, T, ...).

    Raises
    ------
    TypeError, ValueError
        For lengths or a mask of another type or shape, or with other values.
    """
    there = np.ones(shape[:2], bool) if lengths is None else valid_steps(lengths, shape)
    return there if mask is None else there & check_steps("mask", mask, shape)


def check_steps(name: str, value: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask (B, T) as a new array of booleans, whose bytes are 0 and 1.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    value : (B, T) booleans, or integers 0 and 1
        The bytes of an array of booleans may have other values, such as in a view of an array of
        uint8: all but 0 are true.
    shape : tuple
        Of the input: (B, T, ...).

    Raises
    ------
    TypeError
        For numbers of another kind, such as floats.
    ValueError
        For another shape, for integers other than 0 and 1, or for an input without a time axis.
    """
    if len(shape) < 2:
        raise ValueError(
            f"{name}: expected none for an input without a time axis, of shape {shape}"
        )
    if not isinstance(value, np.ndarray):
        value = as_array(name, value)
        value = value if value.size else value.astype(bool)  # NumPy makes floats of an empty list
    array = check_array(name, value, _TRUTHS, (("B", shape[0]), ("T", shape[1])))
    if array.dtype.kind == "b":
        return np.asarray(array.view(np.uint8) != 0)
    return _truths(name, np.array(array))  # a copy: no other code can edit it after the check


def _truths(name: str, integers: NDArray[Any]) -> NDArray[np.bool_]:
    """Return integers (B, T) as booleans; ValueError unless each is 0 or 1."""
    wrong = (integers != 0) & (integers != 1)
    if wrong.any():
        row, step = (int(places[0]) for places in np.nonzero(wrong))
        B, T = integers.shape
        raise ValueError(
            f"{name}: expected {_TRUTHS} of shape (B={B}, T={T}), "
            f"got {integers[row, step]} in row {row} at step {step}"
        )
    return np.asarray(integers != 0)


def draw_seed() -> int:
    """A fresh seed from the operating system, short enough to be read and typed."""
    return int.from_bytes(os.urandom(4), "little")


def check_seed(seed: int | None) -> int:
    """The seed itself, or a fresh one for None; an integer in 0 ... 2**64 - 1."""
    if seed is None:
        return draw_seed()
    if isinstance(seed, (int, np.integer)) and 0 <= seed < 2**64:
        return int(seed)
    kind = ValueError if isinstance(seed, (int, np.integer)) else TypeError
    raise kind(f"seed: expected None or an integer from 0 to 2**64 - 1, got {seed!r}")


def check_count(name: str, value: int, bits: int) -> int:
    """An integer from 0 to 2**bits - 1."""
    if not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an integer from 0 to 2**{bits} - 1, got {value!r}")
    if not 0 <= value < 2**bits:
        raise ValueError(f"{name}: expected an integer from 0 to 2**{bits} - 1, got {value!r}")
    return int(value)


def check_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """'float32' or 'float64' in any of NumPy's spellings."""
    try:
        kind = np.dtype(dtype) if dtype is not None else None
    except TypeError:
        kind = None
    if kind not in (np.float32, np.float64):
        raise ValueError(f"dtype: expected 'float32' or 'float64', got {dtype!r}")
    assert kind is not None
    return kind


def check_size(name: str, value: int) -> int:
    """A size of at least 1."""
    if not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an integer of at least 1, got {value!r}")
    if not 1 <= value <= np.iinfo(np.intp).max:
        raise ValueError(
            f"{name}: expected an integer of at least 1 that memory can hold, got {value!r}"
        )
    return int(value)


def check_number(name: str, value: float, low: float, high: float = math.inf) -> float:
    """A number with low <= value < high."""
    if not isinstance(value, (int, float, np.number)) or not low <= value < high:
        below = "" if high == math.inf else f" and below {high:g}"
        raise ValueError(
            f"{name}: expected a finite number of at least {low:g}{below}, got {value!r}"
        )
    return float(value)


def check_positive(name: str, value: float) -> float:
    """A number above 0."""
    if not isinstance(value, (int, float, np.number)) or not 0 < value < math.inf:
        raise ValueError(f"{name}: expected a positive number, got {value!r}")
    return float(value)


def check_product(names: str, *sizes: int) -> None:
    """ValueError unless arrays of all these sizes together can be counted in bytes."""
    if math.prod(sizes) > np.iinfo(np.intp).max // 64:
        raise ValueError(
            f"{names}: expected sizes that memory can hold, got {sizes}, which are too large: "
            f"their product overflows"
        )


def check_lengths(lengths: Any, shape: tuple[int, ...], name: str = "lengths") -> NDArray[Any]:
    """Lengths (B,) from 0 to T as integers, of an input (B, T, ...)."""
    if len(shape) < 2:
        raise ValueError(
            f"{name}: expected none for an input without a time axis, of shape {shape}"
        )
    given = as_array(name, lengths)
    if given.size == 0:
        given = given.astype(np.int64)
    if given.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers of shape (B={shape[0]},), got {given.dtype}")
    if given.shape != shape[:1]:
        raise ValueError(f"{name}: expected shape (B={shape[0]},), got shape {given.shape}")
    if given.size and not (0 <= given.min() and given.max() <= shape[1]):
        raise ValueError(
            f"{name}: expected integers from 0 to T={shape[1]}, got {given.min()} to {given.max()}"
        )
    return given


def valid_steps(lengths: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which steps of (B, T) lie before their row's end, for lengths (B,) from 0 to T."""
    given = check_lengths(lengths, shape)
    return np.asarray(np.arange(shape[1]) < given[:, None])


def check_names(name: str, expected: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise unless `given` is a mapping with the same keys."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{name}: expected a mapping of {list(expected)}, got {given!r:.100}")
    missing = [key for key in expected if key not in given]
    unknown = [key for key in given if key not in expected]
    if missing or unknown:
        raise ValueError(
            f"{name}: expected {list(expected)}; "
            f"missing: {missing or 'none'}, unknown: {unknown or 'none'}"
        )


def check_entry(name: str, value: Any, shape: tuple[int, ...]) -> Array:
    """An array of real numbers of this shape."""
    return check_array(name, value, "real numbers", shape, kind_error=ValueError)


def check_fits(name: str, value: Any, like: Array) -> Array:
    """Real numbers of the shape of another array, in its type, which must hold all of them."""
    given = check_entry(name, value, like.shape)
    return fitting(name, given, like.dtype)


def check_counted(name: str, value: Any) -> int:
    """Return an integer from 0 to below 2**63."""
    if type(value) is bool or not isinstance(value, int | np.integer) or not 0 <= value < 2**63:
        raise ValueError(f"{name}: expected an integer of at least 0, got {value!r:.60}")
    return int(value)


def check_real(name: str, value: Any, low: float = -math.inf, *, finite: bool = True) -> float:
    """Return a number of at least `low`; NaN and infinity count unless `finite`."""
    if type(value) is bool or not isinstance(value, Real):
        raise ValueError(f"{name}: expected a number, got {value!r:.60}")
    if value < low or (finite and not math.isfinite(value)):
        at_least = "" if low == -math.inf else f" of at least {low:g}"
        raise ValueError(f"{name}: expected a finite number{at_least}, got {value!r:.60}")
    return float(value)
