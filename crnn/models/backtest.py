"""Backtests: forecasts of the last windows of series, compared with the numbers there.

Letters: n series, H steps of the horizon, W windows, m steps of a season, Q levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from crnn.common.arrays import Array, Floats
from crnn.common.checks import check_size
from crnn.common.representation import never_raising
from crnn.common.tables import aligned
from crnn.metrics import coverage, mase, msis, nd, nrmse, wql
from crnn.metrics.forecasts import DECILES, seasonal_error

#: Levels of the quantiles that metrics read.
LEVELS = (0.025, *DECILES, 0.975)


class Quantiles(NamedTuple):
    """Forecast as metrics read it.

    Parameters
    ----------
    levels : array (Q, n, H)
        Quantiles at `LEVELS`.
    mean : array (n, H)
        Means.
    """

    levels: Array
    mean: Array


def seasonal_naive(series: Sequence[ArrayLike], steps: int, period: int = 1) -> Quantiles:
    """Return the seasonal naive forecast: the last season is repeated.

    Quantiles are those of normal distributions around it, whose variance is the mean square of the
    differences between seasons of the series, times the number of seasons ahead: Hyndman and
    Athanasopoulos, "Forecasting: principles and practice" (2021), section 5.5.

    Parameters
    ----------
    series : sequence of n arrays (T_i,)
        The past. NaN: missing; the number one or more seasons before stands for it, or 0 if there
        is none.
    steps : int
        H.
    period : int, default 1
        m, the steps of a season. A series of fewer steps has seasons of one step.

    Returns
    -------
    Quantiles
        The mean is the forecast.

    Examples
    --------
    >>> from crnn.models.backtest import seasonal_naive
    >>> seasonal_naive([[1.0, 5.0, 2.0, 7.0]], 3, period=2).mean
    array([[2., 7., 2.]])
    """
    H, season = check_size("steps", steps), check_size("period", period)
    mean, spread = np.zeros((len(series), H)), np.zeros((len(series), H))
    for row, numbers in enumerate(series):
        past = np.asarray(numbers, np.float64)
        m = season if season <= len(past) else 1
        last = _last_season(past, m)
        mean[row] = np.resize(last, H)
        changes = past[m:] - past[:-m]
        changes = changes[~np.isnan(changes)]
        deviation = float(np.sqrt(np.mean(changes**2))) if changes.size else 0.0
        spread[row] = deviation * np.sqrt(np.arange(H) // m + 1)
    normal = np.array([NormalDist().inv_cdf(q) for q in LEVELS])
    return Quantiles(mean + normal[:, None, None] * spread, mean)


def _last_season(past: Floats, m: int) -> Floats:
    """Return the last m numbers; earlier seasons stand for missing numbers, at last 0."""
    padded = np.concatenate([np.full(-len(past) % m, np.nan), past]).reshape(-1, m)
    if not len(padded):
        return np.zeros(m)
    there = ~np.isnan(padded)
    rows = len(padded) - 1 - there[::-1].argmax(axis=0)
    return np.where(there.any(axis=0), padded[rows, np.arange(m)], 0.0)


class Scores(NamedTuple):
    """Metrics of a forecast.

    Parameters
    ----------
    values : dict of str to float
        Metrics by name.
    coverage : array (H,)
        Share of the numbers of each step of the horizon in the interval of 80 %.
    """

    values: dict[str, float]
    coverage: Floats


def scores_of(forecast: Quantiles, truth: Floats, naive_errors: Floats) -> Scores:
    """Return the metrics of a forecast; sums are over all observed steps.

    Parameters
    ----------
    forecast : Quantiles
        Of W n series.
    truth : array (W n, H)
        The numbers; NaN: missing.
    naive_errors : array (W n,)
        Errors of the seasonal naive forecast within each past, see
        `crnn.metrics.forecasts.seasonal_error`.

    Returns
    -------
    Scores
    """
    levels = np.moveaxis(forecast.levels, 0, 2)
    deciles, median = levels[:, :, 1:-1], levels[:, :, 1 + len(DECILES) // 2]
    ends, wide = levels[:, :, [1, -2]], levels[:, :, [0, -1]]
    there = ~np.isnan(truth)
    values = {
        "wql": float(wql(deciles, truth)),
        "nd": float(nd(median, truth)),
        "nrmse": float(
            nrmse(
                forecast.mean[..., None],
                np.where(there, truth, 0)[..., None],
                weights=there.astype(np.float64),
                scale="mean",
            )
        ),
        "mase": mase(median, truth, scale=naive_errors).mean,
        "msis": msis(wide, truth, scale=naive_errors).mean,
        "coverage 80%": coverage(ends, truth).mean,
        "coverage 95%": coverage(wide, truth).mean,
    }
    steps = range(truth.shape[1])
    covered = [coverage(ends[:, [h]], truth[:, [h]]).mean for h in steps]
    return Scores(values, np.array(covered, np.float64))


class Backtest:
    """Table of metrics of a model and of the seasonal naive forecast.

    Parameters
    ----------
    scores : dict of str to Scores
        By the name of the forecast.
    windows, horizon, series : int
        How many windows of how many steps of how many series were forecast.

    Attributes
    ----------
    scores, windows, horizon, series
        As passed.

    Examples
    --------
    >>> import numpy as np
    >>> from crnn.models.backtest import Backtest, scores_of, seasonal_naive
    >>> naive = seasonal_naive([[1.0, 2.0, 4.0]], 2)
    >>> scores = scores_of(naive, np.array([[4.0, 8.0]]), np.array([1.5]))
    >>> Backtest({"naive": scores}, 1, 2, 1)["naive"]["nd"]
    0.3333333333333333
    """

    def __init__(self, scores: dict[str, Scores], windows: int, horizon: int, series: int) -> None:
        self.scores, self.windows, self.horizon, self.series = scores, windows, horizon, series

    def __getitem__(self, name: str) -> dict[str, float]:
        """Return the metrics of a forecast by its name."""
        return self.scores[name].values

    def coverage(self, name: str) -> Floats:
        """Return how many numbers of each step lie in the interval of 80 % of a forecast.

        Parameters
        ----------
        name : str
            Name of the forecast.

        Returns
        -------
        array (H,)
            Shares.
        """
        return self.scores[name].coverage

    def columns(self) -> dict[str, list[Any]]:
        """Return the table as columns: the names of the metrics, and a column for each forecast.

        Returns
        -------
        dict of str to list
            "metric", and numbers by the name of the forecast.

        Examples
        --------
        >>> import numpy as np
        >>> from crnn.models.backtest import Backtest, scores_of, seasonal_naive
        >>> naive = seasonal_naive([[1.0, 2.0, 4.0]], 1)
        >>> scores = scores_of(naive, np.array([[4.0]]), np.array([1.5]))
        >>> Backtest({"naive": scores}, 1, 1, 1).columns()["metric"][-1]
        'coverage 80%, step 1'
        """
        first = next(iter(self.scores))
        steps = [f"coverage 80%, step {h + 1}" for h in range(self.horizon)]
        table: dict[str, list[Any]] = {"metric": [*self[first], *steps]}
        for name in self.scores:
            table[name] = [*self[name].values(), *self.coverage(name).tolist()]
        return table

    def _rows(self) -> list[tuple[str, ...]]:
        metrics, *forecasts = self.columns().values()
        rows = [("", *self.scores)]
        for metric, *numbers in zip(metrics, *forecasts, strict=True):
            digits = 2 if ", step " in metric else 4
            rows.append((metric, *(f"{number:.{digits}f}" for number in numbers)))
        return rows

    @never_raising
    def __repr__(self) -> str:
        title = f"{self.series} series, {self.windows} x {self.horizon} steps"
        return "\n".join([title, *aligned(self._rows(), right=range(1, 1 + len(self.scores)))])


def seasonal_errors(series: Sequence[Any], period: int | None) -> Floats:
    """Return the errors by which MASE and MSIS divide.

    Parameters
    ----------
    series : sequence of n arrays (T_i,)
        The past of each series.
    period : int or None
        Steps of a season. None: 1.

    Returns
    -------
    array (n,)
    """
    return seasonal_error(series, period or 1)
