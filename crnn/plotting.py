"""Pictures of training and of what goes on inside a layer.

matplotlib is imported when a picture is drawn; it comes with ``pip install "crnn[plot]"``. Colours
are told apart by the colour-blind and in greyscale: lines differ in form too (the colours are those
of Okabe and Ito, 2008), and the map for values, cividis, grows lighter throughout.
"""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MISSING = 'pictures need matplotlib: pip install "crnn[plot]"'
_SIZE = (6.4, 4.0)  # inches
_BLUE, _ORANGE = "#0072B2", "#D55E00"
_SHOWN = {"\t": " ", "\n": "↵"}  # what stands in a picture for characters that cannot be seen


def loss_curve(
    history: History, ax: "Axes | None" = None, *, unit: str = "loss", scale: float = 1.0
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
    axes = _axes(ax, _SIZE)
    losses = scale * np.array(history.loss)
    axes.plot(history.epoch, losses, "o-", color=_BLUE, label="training, mean over the epoch")
    if any(value is not None for value in history.val_loss):
        validation = scale * np.array(history.val_loss, np.float64)
        axes.plot(history.epoch, validation, "s--", color=_ORANGE, label="validation")
    axes.set_xlabel("epoch")
    axes.set_ylabel(unit)
    axes.locator_params(axis="x", integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    return axes


def save_loss_curve(
    path: str | os.PathLike[str], history: History, *, unit: str = "loss", scale: float = 1.0
) -> None:
    """Draw `loss_curve` into an image file, without a window on any screen.

    Parameters
    ----------
    path : str or path
        Its ending tells the format.
    history, unit, scale
        As for `loss_curve`.
    """
    _save(path, _SIZE, lambda axes: loss_curve(history, axes, unit=unit, scale=scale))


def gates_over_text(
    text: str,
    values: ArrayLike,
    ax: "Axes | None" = None,
    *,
    label: str = "",
    limits: tuple[float, float] | None = None,
    columns: int = 80,
) -> "Axes":
    """Draw a text with each character on the colour of a value, such as a unit's gate or state.

    Parameters
    ----------
    text : str
        T characters.
    values : array (T,)
        One for each character, for instance ``tape.gates["f"][0, :, unit]`` or
        ``np.tanh(tape.c[0, :, unit])``.
    ax : matplotlib axes, optional
        Where to draw; by default a new figure of the right size.
    label : str
        What the values are, written beside the scale of colours.
    limits : (float, float), optional
        Values of the darkest and the lightest colour. By default 0 and 1 for values between these,
        else the largest magnitude with both signs.
    columns : int
        Characters in a row; a newline ends it earlier.

    Returns
    -------
    matplotlib axes
    """
    numbers = np.asarray(values, np.float64)
    if numbers.shape != (len(text),) or not len(text):
        raise ValueError(
            f"values: expected one for each of the {len(text)} characters (at least one), shape "
            f"({len(text)},), got shape {numbers.shape}"
        )
    if columns < 1:
        raise ValueError(f"columns: expected at least 1, got {columns}")
    row, column = _places(text, columns)
    grid = np.full((row[-1] + 1, columns), np.nan)
    grid[row, column] = numbers
    axes = _axes(ax, (0.125 * columns + 1.2, 0.25 * len(grid) + 0.4))
    low, high = limits or _limits(numbers)
    image = axes.imshow(grid, cmap="cividis", vmin=low, vmax=high, aspect=1.8)
    for character, y, x, value in zip(text, row, column, numbers, strict=True):
        dark = value < (low + high) / 2
        axes.text(
            x,
            y,
            _SHOWN.get(character, character),
            color="white" if dark else "black",
            family="monospace",
            fontsize=9,
            ha="center",
            va="center_baseline",
            parse_math=False,
        )
    axes.set_axis_off()
    axes.figure.colorbar(image, ax=axes, label=label, shrink=min(1.0, 8 / len(grid)), pad=0.02)
    return axes


def plot_attention(
    weights: ArrayLike,
    source: Sequence[str],
    target: Sequence[str],
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw where a decoder looked: a row for each symbol written, a column for each one read.

    Parameters
    ----------
    weights : array (T, S)
        From 0 to 1, for instance ``tape.attention[0]`` without padding.
    source : S strings
        The symbols read, characters or words; a text serves for its characters.
    target : T strings
        The symbols written.
    ax : matplotlib axes, optional
        Where to draw; by default a new figure of the right size.

    Returns
    -------
    matplotlib axes
    """
    grid = np.asarray(weights, np.float64)
    if grid.shape != (len(target), len(source)) or not grid.size:
        raise ValueError(
            f"weights: expected shape (T, S) = ({len(target)}, {len(source)}), as many as there "
            f"are symbols (at least one of each), got shape {grid.shape}"
        )
    axes = _axes(ax, _attention_size(source, target))
    image = axes.imshow(grid, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    upright = 90 if _longest(source) > 1 else 0
    labels: dict[str, Any] = {"family": "monospace", "fontsize": 9, "parse_math": False}
    axes.set_xticks(range(len(source)), _visible(source), rotation=upright, **labels)
    axes.set_yticks(range(len(target)), _visible(target), **labels)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("source")
    axes.set_ylabel("target")
    axes.spines[:].set_visible(False)
    axes.figure.colorbar(image, ax=axes, label="weight", pad=0.02, aspect=max(5, len(target)))
    return axes


def save_attention(
    path: str | os.PathLike[str], weights: ArrayLike, source: Sequence[str], target: Sequence[str]
) -> None:
    """Draw `plot_attention` into an image file, without a window on any screen.

    Parameters
    ----------
    path : str or path
        Its ending tells the format.
    weights, source, target
        As for `plot_attention`.
    """
    size = _attention_size(source, target)
    _save(path, size, lambda axes: plot_attention(weights, source, target, axes))


def _attention_size(source: Sequence[str], target: Sequence[str]) -> tuple[float, float]:
    """Return inches in which every symbol has a place of its own."""
    beside, above = 0.09 * _longest(target), 0.09 * _longest(source)
    return 0.22 * len(source) + beside + 1.6, max(0.22 * len(target) + above + 0.7, 1.8)


def _longest(symbols: Sequence[str]) -> int:
    return max(map(len, symbols), default=0)


def _visible(symbols: Sequence[str]) -> list[str]:
    """Return labels that can be seen."""
    return ["␣" if symbol == " " else _SHOWN.get(symbol, symbol) for symbol in symbols]


def _places(text: str, columns: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the row and the column of each character."""
    rows, places = [], []
    row = column = 0
    for character in text:
        if column == columns:
            row, column = row + 1, 0
        rows.append(row)
        places.append(column)
        column = columns if character == "\n" else column + 1
    return np.array(rows, np.intp), np.array(places, np.intp)


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    if values.min() >= 0 and values.max() <= 1:
        return 0.0, 1.0
    largest = float(np.abs(values).max())
    return -largest, largest


def _save(
    path: str | os.PathLike[str], size: tuple[float, float], draw: "Callable[[Axes], object]"
) -> None:
    """Let `draw` draw into an image file."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(_MISSING) from error
    figure = Figure(figsize=size, layout="constrained")
    draw(figure.subplots())
    figure.savefig(path, dpi=150)


def _axes(ax: "Axes | None", size: tuple[float, float]) -> "Axes":
    """Return the axes given, or those of a new figure."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(_MISSING) from error
    return plt.figure(figsize=size, layout="constrained").subplots()
