"""Metrics of forecasts: of sample paths, of quantiles and intervals, and relative to naive errors.

A target that is NaN is missing: all sums are over the observed steps, the valid steps whose target
is there. Letters: B series, T steps of the horizon, S samples, Q levels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.arrays import Array, Floats, as_array
from crnn.common.checks import check_array, check_flag, check_number, check_size
from crnn.losses.steps import check_levels, check_values, step_weights
from crnn.metrics.base import Metric, Total, called


def crps(
    samples: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    fair: bool = False,
) -> Total:
    """Return the sum of the continuous ranked probability scores of samples, in the unit of them.

    E|X - z| - E|X - X'|/2 for samples X, X' and the target z: Gneiting and Raftery, "Strictly
    proper scoring rules, prediction, and estimation" (2007). For one sample it is the absolute
    error.

    Parameters
    ----------
    samples : (B, S, T) floats
        S samples of each step, such as ``Forecast.samples``.
    target : (B, T) real numbers
        Target values. NaN: missing.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of each step, or of each row. None: 1.
    fair : bool, default False
        Divide the second mean by S (S - 1) instead of S²: it is then unbiased, and the score of few
        samples is comparable with that of many. Needs two samples.

    Returns
    -------
    Total
        The weighted sum over the observed steps, and the sum of the weights. ``.mean`` is the CRPS.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, or a weight is negative or not finite.

    Examples
    --------
    >>> import crnn
    >>> crnn.metrics.crps([[[0.0], [2.0]]], [[1.0]]).mean
    0.5
    """
    drawn = check_array("samples", samples, "floats", ("B", "S", "T"))
    S, least = drawn.shape[1], 1 + check_flag("fair", fair)
    if least > S:
        raise ValueError(f"samples: expected at least {least} samples of each step, got {S}")
    z, share = _observed(
        target, (drawn.shape[0], drawn.shape[2]), lengths, weights, "samples[:, 0]"
    )
    x = np.sort(drawn.astype(np.float64), axis=1)
    order = (2 * np.arange(1, S + 1) - S - 1)[:, None]
    spread = (order * x).sum(axis=1) / (S * (S - 1 if fair else S))
    scores = np.abs(x - z[:, None]).mean(axis=1) - spread
    return Total(_sum(share, scores), float(share.sum()))


def quantile_loss(
    y: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    levels: ArrayLike,
    weights: ArrayLike | None = None,
) -> Total:
    """Return the sum of the quantile losses 2 |(y_q - z)(1[z <= y_q] - q)|, in the unit of y.

    Twice the loss `crnn.losses.quantile`: for the median it is the absolute error.

    Parameters
    ----------
    y : (B, T, Q) floats
        Quantiles at the levels.
    target : (B, T) real numbers
        Target values z. NaN: missing.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    levels : (Q,) numbers between 0 and 1
        The levels q.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of each step, or of each row. None: 1.

    Returns
    -------
    Total
        The weighted sum over the observed steps and the levels, and the sum of the weights times Q.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a level is not between 0 and 1, or a weight is negative or not
        finite.

    Examples
    --------
    >>> import crnn
    >>> crnn.metrics.quantile_loss([[[0.0, 2.0]]], [[1.0]], levels=[0.5, 0.75])
    Total(sum=1.5, weight=2.0)
    """
    loss, share, _ = _quantile_losses(y, target, lengths, weights, levels)
    return Total(_sum(share, loss), float(share.sum()) * np.shape(levels)[0])


def _quantile_losses(
    y: Any, target: Any, lengths: Any, weights: Any, levels: Any
) -> tuple[Floats, Floats, Floats]:
    """Return the loss of each step, summed over the levels, its weight, and the target."""
    quantiles = check_array("y", y, "floats", ("B", "T", "Q"))
    q = check_levels(levels, quantiles.shape[2])
    z, share = _observed(target, quantiles.shape[:2], lengths, weights, "y[..., 0]")
    error = quantiles.astype(np.float64) - z[..., None]
    return 2 * np.abs(error * ((error >= 0) - q)).sum(axis=2), share, z


def coverage(
    y: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
) -> Total:
    """Return how many targets lie in their interval.

    The share, ``.mean``, is near the level of the interval if the forecast is calibrated: near 0.8
    for the interval from the quantile 0.1 to the quantile 0.9.

    Parameters
    ----------
    y : (B, T, 2) floats
        Lower and upper end of the interval of each step.
    target : (B, T) real numbers
        Target values. NaN: missing.
    lengths, weights
        As for `crps`.

    Returns
    -------
    Total
        The weight of the observed steps whose target is in the interval, ends included, and of all
        of them.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, or a weight is negative or not finite.

    Examples
    --------
    >>> import crnn
    >>> crnn.metrics.coverage([[[0.0, 2.0], [0.0, 2.0]]], [[1.0, 3.0]]).mean
    0.5
    """
    ends = check_array("y", y, "floats", ("B", "T", 2))
    z, share = _observed(target, ends.shape[:2], lengths, weights, "y[..., 0]")
    inside = (ends[..., 0] <= z) & (z <= ends[..., 1])
    return Total(_sum(share, inside), float(share.sum()))


def seasonal_error(series: Iterable[ArrayLike], period: int) -> Floats:
    """Return the mean error of the seasonal naive forecast within each series.

    The mean of |z_t - z_(t-m)| over the pairs of which both are there, for the period m; for a
    series of at most m steps m = 1. `mase` and `msis` divide by it.

    Parameters
    ----------
    series : iterable of (T_i,) real numbers
        The past of each series, without the steps of the forecast. NaN: missing.
    period : int
        m, the number of steps of a season; 1 for series without one.

    Returns
    -------
    array (B,)
        NaN for a series without such a pair.

    Raises
    ------
    ValueError, TypeError
        If `period` is below 1, or a series is not one row of real numbers.

    Examples
    --------
    >>> import crnn
    >>> crnn.metrics.seasonal_error([[1.0, 5.0, 2.0, 7.0], [3.0]], period=2)
    array([1.5, nan])
    """
    m, errors = check_size("period", period), []
    for i, past in enumerate(series):
        row = check_array(f"series[{i}]", past, "real numbers", ("T",)).astype(np.float64)
        lag = m if m < len(row) else 1
        steps = np.abs(row[lag:] - row[:-lag])
        there = steps[~np.isnan(steps)]
        errors.append(there.mean() if there.size else math.nan)
    return np.array(errors)


def mase(
    y: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    scale: ArrayLike,
    weights: ArrayLike | None = None,
) -> Total:
    """Return the sum over series of their mean absolute scaled errors.

    The mean absolute error of a series, divided by the error of the seasonal naive forecast within
    its past: Hyndman and Koehler, "Another look at measures of forecast accuracy" (2006).

    Parameters
    ----------
    y : (B, T) floats
        Point forecasts, such as medians.
    target : (B, T) real numbers
        Target values. NaN: missing.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    scale : (B,) numbers
        The errors from `seasonal_error`. A series whose scale is 0 or NaN is left out.
    weights : (B,) or (B, T) numbers of at least 0, optional
        Weight of each step in the mean of its series; series with an observed step of positive
        weight count alike. None: 1.

    Returns
    -------
    Total
        The sum over the series, and their number. ``.mean`` is the MASE: below 1, the forecast is
        better than the naive one was within the past.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a scale is negative or infinite, or a weight is negative or not
        finite.

    Examples
    --------
    >>> import crnn
    >>> crnn.metrics.mase([[1.0, 2.0]], [[1.0, 5.0]], scale=[3.0]).mean
    0.5
    """
    point = check_array("y", y, "floats", ("B", "T"))
    z, share = _observed(target, point.shape, lengths, weights, "y")
    return _scaled(np.abs(point - z), share, scale)


def msis(
    y: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    scale: ArrayLike,
    alpha: float = 0.05,
    weights: ArrayLike | None = None,
) -> Total:
    """Return the sum over series of their mean scaled interval scores.

    An interval [l, u] scores u - l, and 2/α times the distance of a target outside of it; the mean
    of a series is divided by the error of the seasonal naive forecast: Makridakis et al., "The M4
    competition" (2020).

    Parameters
    ----------
    y : (B, T, 2) floats
        The quantiles α/2 and 1 - α/2.
    target, lengths, scale, weights
        As for `mase`.
    alpha : float, default 0.05
        α, the probability that a target is outside of its interval.

    Returns
    -------
    Total
        The sum over the series, and their number. ``.mean`` is the MSIS.

    Raises
    ------
    ValueError, TypeError
        As `mase` does, or if `alpha` is not between 0 and 1.

    Examples
    --------
    >>> import crnn
    >>> crnn.metrics.msis([[[0.0, 2.0], [0.0, 2.0]]], [[1.0, 3.0]], scale=[1.0], alpha=0.5).mean
    4.0
    """
    outside = check_number("alpha", alpha, np.nextafter(0, 1), 1)
    ends = check_array("y", y, "floats", ("B", "T", 2)).astype(np.float64)
    z, share = _observed(target, ends.shape[:2], lengths, weights, "y[..., 0]")
    low, high = ends[..., 0], ends[..., 1]
    distance = np.maximum(low - z, 0) + np.maximum(z - high, 0)
    return _scaled(high - low + 2 / outside * distance, share, scale)


def _scaled(scores: Floats, share: Floats, scale: Any) -> Total:
    """Return the sum over series of their mean scores in units of their scales."""
    units = as_array("scale", scale)
    if units.dtype.kind not in "fiu" or units.shape != share.shape[:1]:
        raise ValueError(
            f"scale: expected a number for each series, shape {share.shape[:1]}, got "
            f"{units.dtype} of shape {units.shape}"
        )
    if (units < 0).any() or np.isinf(units).any():
        raise ValueError("scale: expected finite numbers of at least 0, or NaN, got others")
    use = (units > 0) & (share.sum(axis=1) > 0)
    means = np.where(share > 0, share * scores, 0).sum(axis=1)[use] / share.sum(axis=1)[use]
    return Total(float((means / units[use]).sum()), float(use.sum()))


#: 0.1, 0.2, ..., 0.9
DECILES = tuple(k / 10 for k in range(1, 10))


class _Ratio(Metric):
    """Sum of losses over the sum of the sizes of the targets."""

    def value_of(self, totals: tuple[Any, ...]) -> float:
        loss, size = totals
        if not size:
            return math.inf if loss else math.nan
        return float(loss / size)


class ND(_Ratio):
    """Normalised deviation: the sum of absolute errors over the sum of the sizes of the targets.

    Parameters
    ----------
    y : (B, T) floats
        Point forecasts, such as medians.
    target : (B, T) real numbers
        Target values. NaN: missing.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of each step, or of each row. None: 1.

    Returns
    -------
    float
        Infinite if all targets are 0, or nan if the errors are 0, too. If called without arrays: a
        metric object, for batches or for `crnn.fit`.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, or a weight is negative or not finite.

    Examples
    --------
    >>> import crnn
    >>> crnn.metrics.nd([[1.0, 2.0]], [[1.0, 3.0]])
    0.25
    """

    def __call__(
        self,
        y: ArrayLike | None = None,
        target: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        *,
        weights: ArrayLike | None = None,
    ) -> Any:
        return called(ND(), y, target, lengths, weights)

    def sums(
        self, y: Any, target: Any, lengths: Any = None, weights: Any = None
    ) -> tuple[Any, ...]:
        point = check_array("y", y, "floats", ("B", "T"))
        z, share = _observed(target, point.shape, lengths, weights, "y")
        return _sum(share, np.abs(point - z)), _sum(share, np.abs(z))

    def __repr__(self) -> str:
        return "nd()"


class WQLOptions(TypedDict, total=False):
    """Options of `wql`."""

    levels: ArrayLike


class WQL(_Ratio):
    """Weighted quantile loss: the mean over levels of `quantile_loss` over the sum of |target|.

    Parameters
    ----------
    y : (B, T, Q) floats
        Quantiles at the levels.
    target : (B, T) real numbers
        Target values. NaN: missing.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of each step, or of each row. None: 1.
    levels : (Q,) numbers between 0 and 1, default 0.1, 0.2, ..., 0.9
        The levels of y.

    Returns
    -------
    float
        Infinite if all targets are 0, or nan if the losses are 0, too. If called without arrays: a
        metric object with this option, for batches or for `crnn.fit`.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a level is not between 0 and 1, or a weight is negative or not
        finite.

    Examples
    --------
    >>> import crnn
    >>> crnn.metrics.wql([[[1.0, 3.0]]], [[2.0]], levels=[0.25, 0.75])
    0.25
    """

    def __init__(self, levels: ArrayLike = DECILES) -> None:
        self.levels = check_levels(levels, len(np.atleast_1d(as_array("levels", levels))))

    def __call__(
        self,
        y: ArrayLike | None = None,
        target: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        *,
        weights: ArrayLike | None = None,
        **options: Unpack[WQLOptions],
    ) -> Any:
        defaults: WQLOptions = {"levels": self.levels}
        return called(WQL(**(defaults | options)), y, target, lengths, weights)

    def sums(
        self, y: Any, target: Any, lengths: Any = None, weights: Any = None
    ) -> tuple[Any, ...]:
        loss, share, z = _quantile_losses(y, target, lengths, weights, self.levels)
        return _sum(share, loss) / len(self.levels), _sum(share, np.abs(z))

    def __repr__(self) -> str:
        return f"wql(levels={self.levels.tolist()})"


nd, wql = ND(), WQL()


def _observed(
    target: Any, lead: tuple[int, ...], lengths: Any, weights: Any, like: str
) -> tuple[Floats, Floats]:
    """Return targets (B, T), 0 where they are missing, and the weights of the steps, 0 there."""
    z = check_values("target", target, lead, like).astype(np.float64)
    share = step_weights(weights, lead, lengths)
    share[np.isnan(z)] = 0
    return np.where(share > 0, z, 0.0), share


def _sum(share: Floats, scores: Array | NDArray[np.bool_]) -> float:
    """Return the weighted sum of the scores of the observed steps."""
    return float(np.where(share > 0, share * scores, 0).sum())
