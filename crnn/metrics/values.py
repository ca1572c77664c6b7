"""Metrics of real numbers, such as the next value of a time series."""

from __future__ import annotations

import math
from typing import Any, TypedDict, Unpack, get_args

import numpy as np
from numpy.typing import ArrayLike

from crnn.common.arrays import Floats
from crnn.common.checks import check_array, check_positive
from crnn.common.choices import ErrorScale
from crnn.losses.steps import check_values, step_weights
from crnn.metrics.base import Metric, Total, called


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


class NRMSEOptions(TypedDict, total=False):
    """Options of `nrmse`."""

    scale: ErrorScale | float


class NRMSE(Metric):
    """Normalised root mean square error: sqrt(mean((y - target)**2)) / scale.

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
    scale : {"std", "mean"} or float, default "std"
        "std": the standard deviation of all valid elements of the target, so that a model that
        always predicts their mean has the error 1 (Jaeger and Haas 2004). "mean": the mean of their
        absolute values (Salinas et al. 2020). A positive number: this number, such as the standard
        deviation of the whole series, where the targets are only a part of it.

    Returns
    -------
    float
        At least 0. Infinite if the scale is 0, or nan if the error is 0, too, or without a valid
        step. If called without arrays: a metric object with this option, for batches or for
        `crnn.fit`.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, values are not real numbers, a weight is negative or not finite, or
        the scale is unknown.

    Notes
    -----
    The standard deviation is computed from sums of values and of squares over all batches. It loses
    digits if the mean is much larger than it; with a ratio of 10**6, four digits are left.

    Examples
    --------
    >>> import crnn
    >>> target = [[[1.0], [3.0], [1.0], [3.0]]]
    >>> crnn.metrics.nrmse([[[2.0], [2.0], [2.0], [2.0]]], target)
    1.0
    >>> crnn.metrics.nrmse([[[2.0], [2.0], [2.0], [2.0]]], target, scale="mean")
    0.5
    """

    def __init__(self, scale: ErrorScale | float = "std") -> None:
        if isinstance(scale, str) and scale in get_args(ErrorScale):
            self.scale: ErrorScale | float = scale
            return
        if isinstance(scale, bool) or not isinstance(scale, int | float | np.number):
            raise ValueError(
                f"scale: expected 'std', 'mean' or a positive number, got {scale!r:.60}"
            )
        self.scale = check_positive("scale", scale)

    def __call__(
        self,
        y: ArrayLike | None = None,
        target: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        *,
        weights: ArrayLike | None = None,
        **options: Unpack[NRMSEOptions],
    ) -> Any:
        defaults: NRMSEOptions = {"scale": self.scale}
        return called(NRMSE(**(defaults | options)), y, target, lengths, weights)

    def sums(
        self, y: Any, target: Any, lengths: Any = None, weights: Any = None
    ) -> tuple[Any, ...]:
        values, targets, step_weight = _values(y, target, lengths, weights)
        axes = tuple(range(1, values.ndim))
        elements = np.square(values - targets), targets, np.square(targets), np.abs(targets)
        weight = float(step_weight.sum()) * math.prod(values.shape[1:])
        return weight, *(float(step_weight @ part.sum(axis=axes)) for part in elements)

    def value_of(self, totals: tuple[Any, ...]) -> float:
        if not totals[0]:
            return math.nan
        errors, mean, squares, size = (part / totals[0] for part in totals[1:])
        if self.scale == "std":
            scale = math.sqrt(max(squares - mean * mean, 0.0))
        else:
            scale = size if isinstance(self.scale, str) else self.scale
        if not scale:
            return math.inf if errors else math.nan
        return math.sqrt(errors) / scale

    def __repr__(self) -> str:
        return f"nrmse(scale={self.scale!r})"


nrmse = NRMSE()


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
