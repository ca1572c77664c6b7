"""A series, and what was predicted of it."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.plotting.arguments import Axes, Floats, numbers, pair_of
from crnn.plotting.axes import DARK, ORANGE, PALE, WIDTH, axes_of, legend_on_top, tidy

_FEW = 40  # predictions that get a marker each


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
    """Draw a series, and predictions of it.

    Parameters
    ----------
    true : array (T,)
        The series; NaN where it is not known. (T, 1) will do.
    predicted : array (N,)
        Predictions of the steps from `start` on, which may go beyond the end of the series.
    ax : matplotlib axes, optional
        Where to draw; by default a new figure.
    start : int
        The step of the series that the first prediction is of. A line marks it where it is not 0.
    time : array, optional
        Numbers or dates of the steps, at least as many as are drawn; by default 0, 1, ...
    interval : (low, high), optional
        Two arrays (N,) between which a value is expected: a band.
    label : str
        Of the predictions.
    ylabel : str
        Name of the axis of values.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If shapes do not fit, or `start` lies beyond the series.
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
    legend_on_top(axes)
    return axes


def _column(name: str, value: ArrayLike, expected: str) -> Floats:
    """Return a series of one feature as (T,)."""
    array = numbers(name, value, (1, 2), expected)
    if array.ndim == 2 and array.shape[1] != 1:
        raise ValueError(f"{name}: expected {expected}, got shape {array.shape}")
    return array.reshape(-1)


def _time(time: ArrayLike | None, count: int) -> NDArray[Any]:
    """Return where each step stands on the x axis."""
    if time is None:
        return np.arange(count)
    steps = np.asarray(time)
    if steps.ndim != 1 or len(steps) < count:
        raise ValueError(
            f"time: expected one for each of the {count} steps drawn, got shape {steps.shape}"
        )
    return steps


def _band(interval: Any, count: int) -> list[Floats]:
    """Return the lower and the upper end of each prediction's interval."""
    pair, ends = pair_of("interval", interval, f"(low, high) of arrays ({count},)"), []
    expected = f"one for each prediction ({count},)"
    for name, value in zip(("interval, low", "interval, high"), pair, strict=True):
        end = _column(name, value, expected)
        if len(end) != count:
            raise ValueError(f"{name}: expected {expected}, got shape {end.shape}")
        ends.append(end)
    return ends
