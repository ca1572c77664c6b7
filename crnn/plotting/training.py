"""Pictures of a training run."""

import os
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from crnn.plotting.arguments import Axes, Floats, check_same_shape, curves_of, numbers, pair_of
from crnn.plotting.axes import BLUE, ORANGE, PALE, WIDTH, axes_of, legend_on_top, save, styled, tidy

_SIZE = (6.4, 4.0)  # inches


class Losses(Protocol):
    """The columns of a `History` that are drawn: a row for each epoch."""

    @property
    def epoch(self) -> Any:
        """Numbers of the epochs."""

    @property
    def loss(self) -> Any:
        """Mean losses while it trained."""

    @property
    def val_loss(self) -> Any:
        """Mean losses over the validation data, None without."""


def loss_curve(
    history: Losses, ax: "Axes | None" = None, *, unit: str = "loss", scale: float = 1.0
) -> "Axes":
    """Draw the loss over the epochs, in training and on the validation data.

    Parameters
    ----------
    history : History
        As `crnn.fit` returns it.
    ax : matplotlib axes, optional
        Where to draw; by default a new figure.
    unit : str
        Name of the axis.
    scale : float
        What the losses are multiplied by, ``1 / log(2)`` to turn nats into bits.

    Returns
    -------
    matplotlib axes
    """
    axes = axes_of(ax, _SIZE)
    losses = scale * np.array(history.loss)
    axes.plot(history.epoch, losses, "o-", color=BLUE, label="training, mean over the epoch")
    if any(value is not None for value in history.val_loss):
        validation = scale * np.array(history.val_loss, np.float64)
        axes.plot(history.epoch, validation, "s--", color=ORANGE, label="validation")
    tidy(axes, "epoch", unit)
    axes.legend(frameon=False)
    return axes


def save_loss_curve(
    path: str | os.PathLike[str], history: Losses, *, unit: str = "loss", scale: float = 1.0
) -> None:
    """Draw `loss_curve` into an image file, without a window on any screen.

    Parameters
    ----------
    path : str or path
        Its ending tells the format.
    history, unit, scale
        As for `loss_curve`.
    """
    save(path, _SIZE, lambda axes: loss_curve(history, axes, unit=unit, scale=scale))


def singular_values(updates: ArrayLike, values: ArrayLike, ax: "Axes | None" = None) -> "Axes":
    """Draw singular values, such as those of W_h, over the updates of a training run.

    Parameters
    ----------
    updates : array (N,)
        The numbers of the updates after which they were taken.
    values : array (N,) or (N, k)
        The largest one, or k of them, in any order: the largest and the smallest stand out, those
        between are thin lines.
    ax : matplotlib axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If shapes do not fit, or a number is not finite.
    """
    steps = numbers("updates", updates, (1,), "at least one number of an update (N,)", finite=True)
    expected = f"as many rows as there are updates, ({len(steps)},) or ({len(steps)}, k)"
    table = numbers("values", values, (1, 2), expected, finite=True)
    if len(table) != len(steps):
        raise ValueError(f"values: expected {expected}, got shape {table.shape}")
    axes = axes_of(ax, (WIDTH, 3.6))
    table = np.sort(table.reshape(len(steps), -1), axis=1)
    for j, between in enumerate(table.T[-2:0:-1]):
        label = "" if j else "those between"
        axes.plot(steps, between, "-", color=PALE, linewidth=0.6, alpha=0.7, label=label)
    ends = {"largest": table[:, -1]} | ({"smallest": table[:, 0]} if table.shape[1] > 1 else {})
    lines = {name: (steps, line) for name, line in ends.items()}
    return recorded(lines, axes, ylabel="singular value", hline=(1, "1: length is kept"))


def recorded(
    columns: "Mapping[str, tuple[ArrayLike, ArrayLike]]",
    ax: "Axes | None" = None,
    *,
    ylabel: str,
    log: bool = False,
    hline: float | tuple[float, str] | None = None,
) -> "Axes":
    """Draw what was recorded during a training run, such as norms of gradients.

    Parameters
    ----------
    columns : mapping of names to pairs (updates, values)
        For each line two arrays (N,): the numbers of the updates, and what was recorded after them;
        NaN where nothing was. One line may have more than another.
    ax : matplotlib axes, optional
        Where to draw; by default a new figure.
    ylabel : str
        Name of the axis of values.
    log : bool
        Whether that axis is logarithmic. Values that are not above 0 are left out then.
    hline : float or (float, str), optional
        A value to which a line is drawn right across, and what the legend says of it.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If there is no line, or shapes do not fit.
    """
    given = curves_of("columns", columns, "pairs (updates, values) of arrays (N,)")
    found = {str(name): _line(f"columns[{name!r}]", value) for name, value in given.items()}
    axes = axes_of(ax, (WIDTH, 3.6))
    axes.set_yscale("log" if log else "linear")
    for i, (name, (updates, values)) in enumerate(found.items()):
        there = np.isfinite(values) & ((values > 0) | (not log))
        axes.plot(updates, np.where(there, values, np.nan), **styled(i, there), label=name)
    if hline is not None:
        value, says = hline if isinstance(hline, tuple) else (hline, f"{hline:g}")
        axes.axhline(value, linestyle=":", color="black", linewidth=1.2, label=says)
    tidy(axes, "update", ylabel)
    legend_on_top(axes)
    return axes


def _line(name: str, value: Any) -> tuple[Floats, Floats]:
    """Return the updates and the values of a line, (N,) each."""
    pair, expected = (
        pair_of(name, value, "(updates, values) of arrays (N,)"),
        "at least one number (N,)",
    )
    updates = numbers(f"{name}, updates", pair[0], (1,), expected, finite=True)
    values = numbers(f"{name}, values", pair[1], (1,), expected)
    check_same_shape(name, "updates and values of one shape (N,)", updates, values)
    return updates, values
