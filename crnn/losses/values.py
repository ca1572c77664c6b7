"""Losses of real numbers: squared errors, and errors of quantiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import crnn._core as _core
from crnn.common.arrays import Array, underflows
from crnn.common.checks import check_array, valid_steps
from crnn.losses.mean import Mean
from crnn.losses.steps import check_levels, check_values, step_weights


def mse(
    y: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
) -> tuple[Mean, Array]:
    """Return the mean squared error over the valid elements, and its gradient.

    Parameters
    ----------
    y : (B, T, ...) floats
        Outputs of a model.
    target : array of real numbers, of the shape of y
        Target values.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of all elements of each step, or of each row, in the mean. None: 1.

    Returns
    -------
    loss : Mean
        Mean of (y - target)**2; 0 if no element is valid or all weights are 0. ``loss.weight`` is
        the number of valid elements, or the sum of their weights.
    dy : array like y
        Gradient of the loss: 2 (y - target) divided by the number of valid elements.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match or values are not real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> loss, dy = crnn.losses.mse(np.ones((1, 4, 1)), np.zeros((1, 4, 1)), lengths=[2])
    >>> loss, loss.weight, dy[0, :, 0]
    (1.0, 2.0, array([1., 1., 0., 0.]))
    """
    values = check_array("y", y, "floats")
    targets = check_values("target", target, values.shape)
    if weights is not None:
        return _weighted_squares(values, targets, lengths, weights)
    if lengths is None:
        total, dy = _core.squared_error(values, targets, 1 / max(values.size, 1))
        return Mean(total / values.size if values.size else 0.0, values.size), dy
    valid = valid_steps(lengths, values.shape[:2])
    kept = values[valid]
    total, rows = _core.squared_error(kept, targets[valid], 1 / max(kept.size, 1))
    dy = np.zeros(values.shape, dtype=rows.dtype)
    dy[valid] = rows
    return Mean(total / kept.size if kept.size else 0.0, kept.size), dy


@underflows
def _weighted_squares(
    values: Array, targets: Array, lengths: Any, weights: Any
) -> tuple[Mean, Array]:
    """Return loss and gradient of `mse` with weights."""
    lead = values.shape[:2]
    v = step_weights(weights, lead, lengths)
    dy = np.zeros_like(values)
    valid = v > 0
    error = values[valid] - targets[valid]
    each = v[valid].reshape(-1, *(1,) * (error.ndim - 1))
    total = float(each.sum()) * (error[0].size if len(error) else 1)
    if not total:
        return Mean(0.0, 0.0), dy
    share = each / total
    dy[valid] = 2 * share * error
    return Mean(float((share * np.square(error, dtype=np.float64)).sum()), total), dy


def quantile(
    y: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    levels: ArrayLike,
    weights: ArrayLike | None = None,
) -> tuple[Mean, Array]:
    """Return the quantile loss (pinball loss) over the valid steps, and its gradient.

    Outputs that minimise it are the quantiles of the target at the given levels, without an
    assumption about its distribution: Koenker and Bassett, "Regression quantiles" (1978).

    Parameters
    ----------
    y : (B, T, Q) or (B, Q) floats
        Outputs of a model, one for each level.
    target : (B, T) or (B,) real numbers
        Target values.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    levels : (Q,) numbers between 0 and 1
        The levels q, such as [0.1, 0.5, 0.9].
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of each step, or of each row, in the mean. None: 1.

    Returns
    -------
    loss : Mean
        Mean over the valid steps and the levels of max(q (target - y), (q - 1) (target - y)); 0 if
        no step is valid. For q = 0.5 it is half the absolute error. ``loss.weight`` is the sum of
        the weights times Q.
    dy : array like y
        Gradient of the loss: (1[target < y] - q) times the weight of the step, divided by
        ``loss.weight``; 0 where y is the target.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a level is not between 0 and 1, or a weight is negative or not
        finite.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> y, target = np.zeros((1, 2, 2), "f"), np.array([[1.0, -1.0]])
    >>> loss, dy = crnn.losses.quantile(y, target, levels=[0.5, 0.9])
    >>> loss, loss.weight
    (0.5, 4.0)
    >>> dy[0]
    array([[-0.125, -0.225],
           [ 0.125,  0.025]], dtype=float32)
    """
    values = check_array("y", y, "floats", ("B", "T", "Q"), ("B", "Q"))
    lead, Q = values.shape[:-1], values.shape[-1]
    q = check_levels(levels, Q)
    targets = check_values("target", target, lead, "y[..., 0]")
    shares = step_weights(weights, lead, lengths)
    valid = shares > 0
    error = targets[valid][:, None] - values[valid].astype(np.float64)
    total = float(shares.sum()) * Q
    dy = np.zeros_like(values)
    if not total:
        return Mean(0.0, 0.0), dy
    share = shares[valid][:, None] / total
    slope = np.where(error < 0, 1 - q, np.where(error > 0, -q, 0.0))
    dy[valid] = share * slope
    return Mean(float((share * -slope * error).sum()), total), dy
