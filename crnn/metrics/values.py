"""Metrics of real numbers, such as the next value of a time series."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crnn.common.arrays import Floats
from crnn.common.checks import check_array
from crnn.losses import check_values, step_weights
from crnn.metrics.base import Total


def mae(
    y: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
) -> Total:
    """Return the sum of absolute errors; its mean is the mean absolute error, in the unit of y.

    Parameters
    ----------
    y : (B, T, ...) or (B, F) floats
        Outputs of a model.
    target : array of real numbers, of the shape of y
        Target values.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of all elements of each step, or of each row. None: 1.

    Returns
    -------
    Total
        The weighted sum of abs(y - target) over the valid elements, and the sum of their weights.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, values are not real numbers, or a weight is negative or not finite.

    Examples
    --------
    >>> import crnn
    >>> crnn.metrics.mae([[[1.0], [2.0], [9.0]]], [[[1.5], [2.5], [0.0]]], lengths=[2])
    Total(sum=1.0, weight=2.0)
    """
    values, targets, step_weight = _values(y, target, lengths, weights)
    errors = np.abs(values - targets)
    by_step = errors.sum(axis=tuple(range(1, errors.ndim)))
    weight = float(step_weight.sum()) * math.prod(errors.shape[1:])
    return Total(float(step_weight @ by_step), weight)


def _values(y: Any, target: Any, lengths: Any, weights: Any) -> tuple[Floats, Floats, Floats]:
    """Return outputs and targets (N, ...) of the N steps of positive weight, and weights (N,)."""
    values = check_array("y", y, "floats")
    targets = check_values("target", target, values.shape)
    if values.ndim < 2:
        raise ValueError(f"y: expected shape (B, T, ...) or (B, F), got {values.shape}")
    lead = values.shape[: 1 if values.ndim == 2 and lengths is None else 2]
    if weights is not None and np.ndim(weights) == 2:
        lead = values.shape[:2]
    step_weight = step_weights(weights, lead, lengths)
    valid = step_weight > 0
    return values[valid].astype(np.float64), targets[valid].astype(np.float64), step_weight[valid]
