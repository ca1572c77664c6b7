"""Metrics of values: y are real numbers, such as the next value of a series."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crnn.common.arrays import Floats
from crnn.common.checks import check_array
from crnn.losses import step_weights
from crnn.metrics.base import Total


def mae(
    y: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
) -> Total:
    """Return the absolute errors: their mean is the mean absolute error, in the unit of y.

    Parameters
    ----------
    y, target : (B, T, ...) or (B, F) floats of one shape
    lengths : (B,) integers, optional
        Valid steps of each row, 0 ... T; None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of each element of a step, or of a row; None: 1.

    Returns
    -------
    Total
        The sum of abs(y - target) over the valid elements, and their weight.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not match, values that are no real numbers, negative weights.

    Examples
    --------
    >>> import crnn
    >>> crnn.metrics.mae([[[1.0], [2.0], [9.0]]], [[[1.5], [2.5], [0.0]]], lengths=[2])
    Total(sum=1.0, weight=2.0)
    """
    values, wanted, wide = _values(y, target, lengths, weights)
    errors = np.abs(values - wanted)
    by_step = errors.sum(axis=tuple(range(1, errors.ndim)))
    return Total(float(wide @ by_step), float(wide.sum() * math.prod(errors.shape[1:])))


def _values(y: Any, target: Any, lengths: Any, weights: Any) -> tuple[Floats, Floats, Floats]:
    """Return outputs and targets (N, ...) of the N steps of positive weight, and weights (N,)."""
    values = check_array("y", y, "floats")
    wanted = check_array("target", target, "real numbers", values.shape, note=", that of y")
    if values.ndim < 2:
        raise ValueError(f"y: expected shape (B, T, ...) or (B, F), got {values.shape}")
    lead = values.shape[: 1 if values.ndim == 2 and lengths is None else 2]
    if weights is not None and np.ndim(weights) == 2:
        lead = values.shape[:2]
    wide = step_weights(weights, lead, lengths)
    counts = wide > 0
    return values[counts].astype(np.float64), wanted[counts].astype(np.float64), wide[counts]
