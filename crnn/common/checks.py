"""Checks of arguments: each returns the converted value, or raises an error that names it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from crnn.common.arrays import Array, as_array, fitting

#: Group of dtypes of masks and resets.
_TRUTHS = "booleans, or integers 0 and 1,"
#: Values of `dtype.kind` for each group of dtypes.
_DTYPE_KINDS = {"floats": "f", "integers": "iu", _TRUTHS: "biu", "real numbers": "fiu"}

#: Size of an axis: a letter for any size, or a number, with a letter as its name if it is a pair.
Size: TypeAlias = str | int | tuple[str, int]


def check_array(
    name: str,
    value: Any,
    kinds: str,
    *shapes: tuple[Size, ...],
    note: str = "",
    hint: str = "",
    kind_error: type[Exception] = TypeError,
) -> Array:
    """Return a value as an array, after a check of its dtype and shape.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    value : array_like
        Value of the argument. An array is returned without a copy.
    kinds : {"floats", "integers", "booleans, or integers 0 and 1,", "real numbers"}
        Group of dtypes that is allowed.
    *shapes : tuple
        Shapes that are allowed, such as ``("B", "T", ("I", 3))``; without any, all shapes are.
    note : str, default ""
        Text of the message after the shapes.
    hint : str, default ""
        Text at the end of the message.
    kind_error : type, default TypeError
        Class of the exception for a wrong dtype.

    Returns
    -------
    array

    Raises
    ------
    TypeError
        If NumPy cannot convert the value to an array, or (by default) if the dtype is wrong.
    ValueError
        If the shape is wrong.

    Examples
    --------
    >>> from crnn.common.checks import check_array
    >>> check_array("x", [[1, 2]], "floats", ("B", "T", ("I", 3)))
    Traceback (most recent call last):
    TypeError: x: expected floats of shape (B, T, I=3), got int64 of shape (1, 2)
    """
    array = value if type(value) is np.ndarray else as_array(name, value)
    has_dtype = array.dtype.kind in _DTYPE_KINDS[kinds]
    if has_dtype and (
        not shapes or array.shape in shapes or any(_has(array, shape) for shape in shapes)
    ):
        return array
    of_shape = " of shape " + " or ".join(map(_written, shapes)) if shapes else ""
    expected = f"{name}: expected {kinds}{of_shape}{note}"
    if not has_dtype:
        raise kind_error(f"{expected}, got {array.dtype} of shape {array.shape}{hint}")
    raise ValueError(f"{expected}, got shape {array.shape}{hint}")


def _has(array: Array, shape: tuple[Size, ...]) -> bool:
    """Return whether an array has the number of axes and the fixed sizes of a shape."""
    pairs = zip(array.shape, shape, strict=False)
    return array.ndim == len(shape) and all(
        isinstance(size, str) or actual == (size[1] if isinstance(size, tuple) else size)
        for actual, size in pairs
    )


def _written(shape: tuple[Size, ...]) -> str:
    """Return a shape as a text for messages: (B, T, I=3)."""
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
    """Return a random seed of 32 bits from the operating system, short enough to be typed."""
    return int.from_bytes(os.urandom(4), "little")


def check_seed(seed: int | None) -> int:
    """Return a seed from 0 to 2**64 - 1, or for None a random seed; raise for other values."""
    if seed is None:
        return draw_seed()
    if isinstance(seed, (int, np.integer)) and 0 <= seed < 2**64:
        return int(seed)
    error = ValueError if isinstance(seed, (int, np.integer)) else TypeError
    raise error(f"seed: expected None or an integer from 0 to 2**64 - 1, got {seed!r}")


def check_count(name: str, value: int, bits: int) -> int:
    """Return an integer from 0 to 2**bits - 1, or raise."""
    if not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an integer from 0 to 2**{bits} - 1, got {value!r}")
    if not 0 <= value < 2**bits:
        raise ValueError(f"{name}: expected an integer from 0 to 2**{bits} - 1, got {value!r}")
    return int(value)


def check_flag(name: str, value: Any) -> bool:
    """Return a flag as a bool, or raise.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    value : bool
        Also of NumPy, or an integer that is 0 or 1. Other values, such as "no", have a truth value
        that is seldom meant.

    Raises
    ------
    TypeError
        For any other value.
    """
    if isinstance(value, (bool, np.bool_)) or (
        isinstance(value, (int, np.integer)) and value in (0, 1)
    ):
        return bool(value)
    raise TypeError(f"{name}: expected True or False, got {value!r:.60}")


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """Return a value that is one of some names, or raise."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r:.60}"
        )
    return value


def check_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return the dtype float32 or float64, or raise."""
    try:
        converted = np.dtype(dtype) if dtype is not None else None
    except TypeError:
        converted = None
    if converted not in (np.float32, np.float64):
        raise ValueError(f"dtype: expected 'float32' or 'float64', got {dtype!r}")
    assert converted is not None
    return converted


def check_size(name: str, value: int) -> int:
    """Return a size of at least 1, or raise."""
    if not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an integer of at least 1, got {value!r}")
    if not 1 <= value <= np.iinfo(np.intp).max:
        held = "" if value < 1 else " that memory can hold"
        raise ValueError(f"{name}: expected an integer of at least 1{held}, got {value!r}")
    return int(value)


def check_number(name: str, value: float, low: float, high: float = math.inf) -> float:
    """Return a number with low <= value < high as a float, or raise."""
    if not isinstance(value, (int, float, np.number)) or not low <= value < high:
        below = "" if high == math.inf else f" and below {high:g}"
        raise ValueError(
            f"{name}: expected a finite number of at least {low:g}{below}, got {value!r}"
        )
    return float(value)


def check_positive(name: str, value: float) -> float:
    """Return a finite number above 0 as a float, or raise."""
    if not isinstance(value, (int, float, np.number)) or not 0 < value < math.inf:
        raise ValueError(f"{name}: expected a positive number, got {value!r}")
    return float(value)


def check_probability(name: str, value: Any) -> float:
    """Return a number from 0 to below 1 as a float, or raise."""
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not is_number or not 0 <= value < 1:
        raise ValueError(f"{name}: expected a probability, 0 <= p < 1, got {value!r:.60}")
    return float(value)


def check_product(names: str, *sizes: int) -> None:
    """Raise ValueError if the size in bytes of an array of these sizes overflows."""
    if math.prod(sizes) > np.iinfo(np.intp).max // 64:
        raise ValueError(
            f"{names}: expected sizes that memory can hold, got {sizes}, which are too large: "
            f"their product overflows"
        )


def check_lengths(lengths: Any, shape: tuple[int, ...], name: str = "lengths") -> NDArray[Any]:
    """Return lengths (B,) from 0 to T for an input of shape (B, T, ...), or raise."""
    if len(shape) < 2:
        raise ValueError(
            f"{name}: expected none for an input without a time axis, of shape {shape}"
        )
    array = as_array(name, lengths)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers of shape (B={shape[0]},), got {array.dtype}")
    if array.shape != shape[:1]:
        raise ValueError(f"{name}: expected shape (B={shape[0]},), got shape {array.shape}")
    if array.size and not (0 <= array.min() and array.max() <= shape[1]):
        row = int(np.flatnonzero((array < 0) | (array > shape[1]))[0])
        raise ValueError(
            f"{name}: expected integers from 0 to T={shape[1]}, got {array[row]} in row {row}"
        )
    return array


def valid_steps(lengths: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask (B, T) of the valid steps for lengths (B,), or raise."""
    array = check_lengths(lengths, shape)
    return np.asarray(np.arange(shape[1]) < array[:, None])


def check_names(name: str, expected: Mapping[str, Any], value: Mapping[str, Any]) -> None:
    """Raise unless a value is a mapping with the keys of `expected`."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: expected a mapping of {list(expected)}, got {value!r:.100}")
    missing = [key for key in expected if key not in value]
    unknown = [key for key in value if key not in expected]
    if missing or unknown:
        raise ValueError(
            f"{name}: expected {list(expected)}; "
            f"missing: {missing or 'none'}, unknown: {unknown or 'none'}"
        )


def check_entry(name: str, value: Any, shape: tuple[int, ...]) -> Array:
    """Return an array of real numbers of this shape, or raise."""
    return check_array(name, value, "real numbers", shape, kind_error=ValueError)


def check_fits(name: str, value: Any, like: Array) -> Array:
    """Return real numbers with the shape and the dtype of another array, or raise."""
    array = check_entry(name, value, like.shape)
    return fitting(name, array, like.dtype)


def check_counted(name: str, value: Any) -> int:
    """Return an integer from 0 to 2**63 - 1, or raise."""
    if type(value) is bool or not isinstance(value, int | np.integer) or not 0 <= value < 2**63:
        raise ValueError(f"{name}: expected an integer of at least 0, got {value!r:.60}")
    return int(value)


def check_real(name: str, value: Any, low: float = -math.inf, *, finite: bool = True) -> float:
    """Return a number of at least `low`, or raise; without `finite` it may be NaN or infinite."""
    if type(value) is bool or not isinstance(value, Real):
        raise ValueError(f"{name}: expected a number, got {value!r:.60}")
    if value < low or (finite and not math.isfinite(value)):
        at_least = "" if low == -math.inf else f" of at least {low:g}"
        raise ValueError(f"{name}: expected a finite number{at_least}, got {value!r:.60}")
    return float(value)
