"""Checks of targets, and weights of the steps that a loss or a metric counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, Floats, as_array
from crnn.common.checks import check_array, check_entry, valid_steps

_ONE_FOR_EACH_ROW = "for one target for each sequence put crnn.Pool() into the model"


def _valid(lengths: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.ones(shape, dtype=bool) if lengths is None else valid_steps(lengths, shape)


def step_weights(weights: Any, lead: tuple[int, ...], lengths: Any) -> NDArray[np.float64]:
    """Return weights of the shape `lead`: 0 in the padding, elsewhere those passed, or 1.

    Weights of shape (B,) hold for all steps of a row.
    """
    if weights is None:
        return _valid(lengths, lead).astype(np.float64)
    array = as_array("weights", weights)
    if array.dtype.kind not in "fiub" or array.ndim == 0 or array.shape != lead[: array.ndim]:
        raise ValueError(
            f"weights: expected real numbers of shape {lead}, "
            f"got {array.dtype} of shape {array.shape}"
        )
    numbers = array.astype(np.float64)
    wide = np.broadcast_to(numbers.reshape(numbers.shape + (1,) * (len(lead) - array.ndim)), lead)
    wide = np.where(_valid(lengths, lead), wide, 0.0)
    if not (np.isfinite(wide).all() and (wide >= 0).all()):
        raise ValueError("weights: expected finite numbers of at least 0, got others")
    return wide


def check_classes(name: str, targets: Any, shape: tuple[int, ...]) -> Array:
    """Return targets as an array of integers, one for each vector of scores.

    Parameters
    ----------
    name : str
        Name of the argument.
    targets : array_like
    shape : tuple of int
        Shape of the scores, (B, T, K) or (B, K).

    Raises
    ------
    TypeError, ValueError
        If they have another dtype or shape. The message says how to convert targets of a frequent
        other form.
    """
    array, lead, hint = as_array(name, targets), shape[:-1], ""
    if array.shape == shape and shape[-1] > 1:
        hint = f"of one-hot rows: {name}.argmax(axis=-1)"
    elif array.shape == (*lead, 1):
        hint = f"without the last axis: {name}[..., 0]"
    elif array.shape == lead and array.dtype.kind == "f":
        hint = f"of whole numbers: {name}.astype(int)"
    elif len(lead) == 2 and array.shape == lead[:1]:
        hint = _ONE_FOR_EACH_ROW
    with hinting(hint):
        return check_array(name, array, "integers", lead)


@contextmanager
def hinting(hint: str) -> Iterator[None]:
    """Add a hint to the message of an error."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if not hint:
            raise
        raise type(error)(f"{error}: {hint}") from None


def check_values(name: str, target: Any, shape: tuple[int, ...], outputs: str = "y") -> Array:
    """Return targets as an array of real numbers of the shape of the outputs y.

    Parameters
    ----------
    name, outputs : str
        Names of the arguments.
    target : array_like
    shape : tuple of int
        Shape of the outputs.

    Raises
    ------
    TypeError, ValueError
        If they have another dtype or shape, as `check_classes` does.
    """
    array, hint = as_array(name, target), ""
    if array.shape == shape and array.dtype.kind in "fiu":
        return array
    if (*array.shape, 1) == shape:
        hint = f"with the last axis: {name}[..., None]"
    elif len(shape) == 3 and array.shape in (shape[:1], (shape[0], shape[2])):
        hint = _ONE_FOR_EACH_ROW
    with hinting(hint):
        return check_array(name, array, "real numbers", shape, note=f", that of {outputs}")


def check_levels(levels: Any, count: int) -> Floats:
    """Return levels of quantiles as an array (count,), or raise."""
    q = check_entry("levels", levels, (count,)).astype(np.float64)
    if not ((q > 0) & (q < 1)).all():
        raise ValueError(f"levels: expected numbers between 0 and 1, got {q}")
    return q
