"""Plot of a time series and its prediction."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.plotting.arguments import Axes, Floats, numbers, pair_of
from crnn.plotting.axes import DARK, ORANGE, PALE, WIDTH, axes_of, legend_on_top, tidy

_FEW = 40  # at most this many predictions get a marker each


def series(
    true: ArrayLike,
    predicted: ArrayLike,
    ax: "Axes | None" = None,
    *,
    start: int = 0,
    time: ArrayLike | None = None,
    interval: "tuple[ArrayLike, ArrayLike] | None" = None,
    label: str = "predicted",
    ylabel: str = "value",
) -> "Axes":
    """Draw a time series and its predictions.

    Parameters
    ----------
    true : array_like (T,) or (T, 1)
        Time series; NaN where a value is missing.
    predicted : array_like (N,) or (N, 1)
        Predictions of steps `start` to `start` + N - 1; they may extend beyond the end of `true`.
    ax : matplotlib axes, optional
        Axes to draw into; by default those of a new figure.
    start : int, default 0
        Step of the first prediction, from 0 to T. A dotted line marks it if it is above 0.
    time : array_like, optional
        Numbers or dates of the steps for the x axis, at least max(T, `start` + N) of them; by
        default 0, 1, 2, ...
    interval : (low, high), optional
        Two arrays (N,): the ends of the prediction interval of each step, drawn as a band.
    label : str, default "predicted"
        Label of the predictions in the legend.
    ylabel : str, default "value"
        Label of the y axis.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If a shape is wrong, `time` is too short, or `start` is not between 0 and T.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import crnn
    >>> ax = crnn.plotting.series([1.0, 2.0, 3.0, 4.0], [2.9, 4.1, 5.2], start=2)
    >>> ax.get_legend_handles_labels()[1]
    ['true', 'predicted']
    """
    truth = _column("true", true, "a series (T,) of at least one number")
    guess = _column("predicted", predicted, "at least one prediction (N,)")
    if not 0 <= start <= len(truth):
        raise ValueError(f"start: expected a step from 0 to T={len(truth)}, got {start}")
    steps = _time(time, max(len(truth), start + len(guess)))
    band = None if interval is None else _band(interval, len(guess))
    axes = axes_of(ax, (WIDTH, 3.6))
    where = steps[start : start + len(guess)]
    marker = "o" if len(guess) <= _FEW else ""
    axes.plot(steps[: len(truth)], truth, "-", color=DARK, linewidth=1.4, label="true")
    if band is not None:
        axes.fill_between(
            where, band[0], band[1], color=ORANGE, alpha=0.25, linewidth=0, label="expected range"
        )
    axes.plot(where, guess, color=ORANGE, linestyle="--", marker=marker, markersize=4, label=label)
    if start:
        axes.axvline(where[0], color=PALE, linestyle=":", linewidth=1.5)
    tidy(axes, "step" if time is None else "time", ylabel, whole=time is None)
    if steps.dtype.kind == "M":
        _shorten_dates(axes)
    legend_on_top(axes)
    return axes


def _shorten_dates(axes: "Axes") -> None:
    """Label an axis of times such that the labels do not overlap."""
    from matplotlib import dates

    library: Any = dates  # without types
    locator = library.AutoDateLocator(maxticks=10)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(library.ConciseDateFormatter(locator))


def _column(name: str, value: ArrayLike, expected: str) -> Floats:
    """Return a series (T,) or (T, 1) as (T,), or raise."""
    array = numbers(name, value, (1, 2), expected)
    if array.ndim == 2 and array.shape[1] != 1:
        raise ValueError(f"{name}: expected {expected}, got shape {array.shape}")
    return array.reshape(-1)


def _time(time: ArrayLike | None, count: int) -> NDArray[Any]:
    """Return the positions of the steps on the x axis, or raise."""
    if time is None:
        return np.arange(count)
    steps = np.asarray(time)
    if steps.ndim != 1 or len(steps) < count:
        raise ValueError(
            f"time: expected at least {count} values, one per step drawn, got shape {steps.shape}"
        )
    return steps


def _band(interval: Any, count: int) -> list[Floats]:
    """Return the lower and the upper ends of the prediction intervals, or raise."""
    pair, ends = pair_of("interval", interval, f"(low, high) of arrays ({count},)"), []
    expected = f"one value per prediction ({count},)"
    for name, value in zip(("interval, low", "interval, high"), pair, strict=True):
        end = _column(name, value, expected)
        if len(end) != count:
            raise ValueError(f"{name}: expected {expected}, got shape {end.shape}")
        ends.append(end)
    return ends
