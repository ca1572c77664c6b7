"""Plots of training runs."""

import os
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from crnn.common.checks import check_flag
from crnn.plotting.arguments import Axes, Floats, check_same_shape, curves_of, numbers, pair_of
from crnn.plotting.axes import BLUE, ORANGE, PALE, WIDTH, axes_of, legend_on_top, save, styled, tidy

_SIZE = (6.4, 4.0)  # inches


class Losses(Protocol):
    """Columns of a `History` that `loss_curve` draws, with one row per epoch."""

    @property
    def epoch(self) -> Any:
        """Numbers of the epochs, from 1."""

    @property
    def loss(self) -> Any:
        """Mean training loss of each epoch."""

    @property
    def val_loss(self) -> Any:
        """Mean validation loss of each epoch; None without validation data."""


def loss_curve(
    history: Losses, ax: "Axes | None" = None, *, unit: str = "loss", scale: float = 1.0
) -> "Axes":
    """Draw the training loss and the validation loss of each epoch.

    Parameters
    ----------
    history : History
        Table that `crnn.fit` returns.
    ax : matplotlib axes, optional
        Axes to draw into; by default those of a new figure.
    unit : str, default "loss"
        Label of the y axis.
    scale : float, default 1.0
        Factor of the losses; ``1 / log(2)`` converts nats to bits.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    See Also
    --------
    save_loss_curve : Write the plot to an image file.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> model = crnn.Dense(1, 1, seed=0)
    >>> data = [(np.ones((1, 4, 1), np.float32), np.zeros((1, 4, 1), np.float32))]
    >>> adam = crnn.optim.Adam(model)
    >>> history = crnn.fit(
    ...     model, data, loss=crnn.losses.mse, optimizer=adam, epochs=3, progress=False
    ... )
    >>> ax = crnn.plotting.loss_curve(history)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('epoch', 'loss')
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
    """Write the plot of `loss_curve` to an image file; no window is opened.

    Parameters
    ----------
    path : str or path
        File to write. Its suffix selects the format (``.png``, ``.pdf``, ``.svg``, ...); without a
        suffix the format is PNG.
    history : History
        Table that `crnn.fit` returns.
    unit : str, default "loss"
        Label of the y axis.
    scale : float, default 1.0
        Factor of the losses; ``1 / log(2)`` converts nats to bits.

    Raises
    ------
    ValueError
        If `path` is a directory, or its suffix is no format of matplotlib.
    FileNotFoundError
        If the folder of `path` does not exist.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> from types import SimpleNamespace
    >>> import crnn
    >>> history = SimpleNamespace(epoch=[1, 2], loss=[2.0, 1.5], val_loss=[None, None])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     crnn.plotting.save_loss_curve(os.path.join(folder, "loss.png"), history)
    ...     os.listdir(folder)
    ['loss.png']
    """
    save(path, _SIZE, lambda axes: loss_curve(history, axes, unit=unit, scale=scale))


def singular_values(updates: ArrayLike, values: ArrayLike, ax: "Axes | None" = None) -> "Axes":
    """Draw singular values of a matrix, such as W_h, over the updates of a training run.

    Parameters
    ----------
    updates : array_like (N,)
        Numbers of the updates after which the singular values were computed.
    values : array_like (N,) or (N, k)
        Largest singular value, or k singular values in any order. The largest and the smallest
        value are thick lines, the values in between thin lines.
    ax : matplotlib axes, optional
        Axes to draw into; by default those of a new figure.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If a shape is wrong, or a number is not finite.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import crnn
    >>> ax = crnn.plotting.singular_values([0, 10, 20], [[1.0, 0.9], [1.2, 0.8], [1.3, 0.7]])
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('update', 'singular value')
    """
    steps = numbers("updates", updates, (1,), "at least one number of an update (N,)", finite=True)
    expected = f"one row per update, ({len(steps)},) or ({len(steps)}, k)"
    table = numbers("values", values, (1, 2), expected, finite=True)
    if len(table) != len(steps):
        raise ValueError(f"values: expected {expected}, got shape {table.shape}")
    axes = axes_of(ax, (WIDTH, 3.6))
    table = np.sort(table.reshape(len(steps), -1), axis=1)
    for j, between in enumerate(table.T[-2:0:-1]):
        label = "" if j else "in between"
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
    """Draw values that were recorded during a training run, such as gradient norms.

    Parameters
    ----------
    columns : mapping of names to pairs (updates, values)
        For each line two arrays (N,): the numbers of the updates, and the values after them; NaN
        where a value is missing. N may differ between the lines. The names label the lines.
    ax : matplotlib axes, optional
        Axes to draw into; by default those of a new figure.
    ylabel : str
        Label of the y axis.
    log : bool, default False
        Whether the y axis is logarithmic; values of 0 and below are then not drawn.
    hline : float or (float, str), optional
        Value at which a dotted horizontal line is drawn, and its label in the legend; by default
        the label is the value.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If `columns` is empty, or a shape is wrong.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import crnn
    >>> columns = {"W_h": ([1, 2, 3], [0.9, 1.1, 4.0]), "W_x": ([1, 2, 3], [0.2, 0.3, 0.9])}
    >>> ax = crnn.plotting.recorded(columns, ylabel="gradient norm", log=True)
    >>> ax.get_xlabel(), ax.get_yscale()
    ('update', 'log')
    """
    pairs = curves_of("columns", columns, "pairs (updates, values) of arrays (N,)")
    lines = {str(name): _line(f"columns[{name!r}]", value) for name, value in pairs.items()}
    log, axes = check_flag("log", log), axes_of(ax, (WIDTH, 3.6))
    axes.set_yscale("log" if log else "linear")
    for i, (name, (updates, values)) in enumerate(lines.items()):
        drawn = np.isfinite(values) & ((values > 0) | (not log))
        axes.plot(updates, np.where(drawn, values, np.nan), **styled(i, drawn), label=name)
    if hline is not None:
        value, label = hline if isinstance(hline, tuple) else (hline, f"{hline:g}")
        axes.axhline(value, linestyle=":", color="black", linewidth=1.2, label=label)
    tidy(axes, "update", ylabel)
    legend_on_top(axes)
    return axes


def _line(name: str, value: Any) -> tuple[Floats, Floats]:
    """Return the updates and the values of a line, (N,) each, or raise."""
    pair = pair_of(name, value, "(updates, values) of arrays (N,)")
    expected = "at least one number (N,)"
    updates = numbers(f"{name}, updates", pair[0], (1,), expected, finite=True)
    values = numbers(f"{name}, values", pair[1], (1,), expected)
    check_same_shape(name, "updates and values of one shape (N,)", updates, values)
    return updates, values
