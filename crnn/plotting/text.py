"""Plots of values over a text: one value per character, or all gates and states of a unit."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.plotting.arguments import Axes, Floats
from crnn.plotting.axes import MAP, axes_of, visible

if TYPE_CHECKING:
    from matplotlib.image import AxesImage

_SHOWN = {
    "\t": " ",
    "\n": "↵",
}  # the other characters keep their form, so that lines and indentation are visible
_FEWEST = 20  # smallest width of a plot in characters
_CHARACTER: dict[str, Any] = {"family": "monospace", "parse_math": False}
_CHARACTER |= {"ha": "center", "va": "center_baseline"}


def gates_over_text(
    text: str,
    values: ArrayLike,
    ax: "Axes | None" = None,
    *,
    label: str = "",
    limits: tuple[float, float] | None = None,
    columns: int = 80,
) -> "Axes":
    """Draw a text with one value per character as the background colour.

    Parameters
    ----------
    text : str
        Text of T characters.
    values : array_like (T,)
        One value per character, such as a gate ``tape.gates["f"][0, :, unit]`` or a cell state
        ``np.tanh(tape.c[0, :, unit])``.
    ax : matplotlib axes, optional
        Axes to draw into; by default those of a new figure whose size depends on the text.
    label : str, default ""
        Label of the colour bar: the meaning of the values.
    limits : (float, float), optional
        Values of the darkest and the lightest colour. By default (0, 1) if all values are between 0
        and 1; otherwise (-m, m) with the largest magnitude m.
    columns : int, default 80
        Largest number of characters in a line; a newline ends a line earlier.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If the text is empty, the number of values is not T, or `columns` is below 1.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import crnn
    >>> ax = crnn.plotting.gates_over_text("cat", [0.1, 0.9, 0.5], label="forget gate")
    >>> [text.get_text() for text in ax.texts]
    ['c', 'a', 't']
    """
    numbers = np.asarray(values, np.float64)
    if numbers.shape != (len(text),) or not len(text):
        raise ValueError(
            f"values: expected one value per character (at least 1), shape ({len(text)},), "
            f"got shape {numbers.shape}"
        )
    _check_columns(columns)
    row, column = places(text, columns)
    grid = np.full((row[-1] + 1, columns), np.nan)
    grid[row, column] = numbers
    axes = axes_of(ax, (0.125 * columns + 1.2, 0.25 * len(grid) + 0.4))
    low, high = limits or _limits(numbers)
    image = axes.imshow(grid, cmap=MAP, vmin=low, vmax=high, aspect=1.8)
    for character, y, x, value in zip(text, row, column, numbers, strict=True):
        color = "white" if value < (low + high) / 2 else "black"
        axes.text(x, y, _SHOWN.get(character, character), color=color, fontsize=9, **_CHARACTER)
    axes.set_axis_off()
    axes.figure.colorbar(image, ax=axes, label=label, shrink=min(1.0, 8 / len(grid)), pad=0.02)
    return axes


def unit_over_text(
    text: str, tape: Any, unit: int, ax: "Axes | None" = None, *, row: int = 0, columns: int = 60
) -> "Axes":
    """Draw the gates, the cell state and the hidden state of one unit over the text that it read.

    The values of step t are above the t-th character.

    Parameters
    ----------
    text : str
        Characters that the layer read, from 1 to T of them.
    tape : tape of a recurrent layer
        Third value of ``layer.forward``. For a `crnn.Sequential` the tape of one layer, such as
        ``tape[1]``; for a `crnn.Bidirectional` ``tape.forward`` or ``tape.backward``.
    unit : int
        Index of the hidden unit, from 0 to H - 1.
    ax : matplotlib axes, optional
        Axes to draw into; by default those of a new figure whose size depends on the text.
    row : int, default 0
        Row of the batch that has the text, from 0 to B - 1.
    columns : int, default 60
        Largest number of characters in a line; a longer text is continued below.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If the text is empty or longer than T, `row`, `unit` or `columns` is out of range, or the
        tape has no gates.
    ImportError
        If matplotlib is not installed.

    Notes
    -----
    The colours of gates with values from 0 to 1 have the scale 0 to 1. The other lines share a
    scale that is symmetric about 0, at least -1 to 1. The cell state c is drawn as tanh(c). A layer
    with a projection has no line for h, because its projected units are no hidden units.

    Examples
    --------
    >>> import crnn
    >>> lstm = crnn.LSTM(3, 4, seed=0)  # 3 symbols: a, b and c
    >>> _, _, tape = lstm.forward([[0, 1, 2, 0]])
    >>> ax = crnn.plotting.unit_over_text("abca", tape, unit=2)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['i', 'f', 'g', 'o', 'tanh(c)', 'h']
    """
    gates = _gates(tape)
    B, T, H = next(iter(gates.values())).shape
    for name, index, count in (("row", row, B), ("unit", unit, H)):
        if not 0 <= index < count:
            raise ValueError(f"{name}: expected from 0 to {count - 1}, got {index}")
    if not 1 <= len(text) <= T:
        raise ValueError(f"text: expected from 1 to T={T} characters, got {len(text)}")
    _check_columns(columns)
    lines = [line.of(row, unit) for line in _lines(tape, gates)]
    blocks = _Blocks(len(text), min(columns, max(len(text), _FEWEST)), len(lines))
    axes = axes_of(ax, (0.1 * blocks.columns + 1.5, 0.2 * blocks.height + 0.4))
    images = [
        (_image(axes, lines, unsigned, blocks), ", ".join(names))
        for unsigned in (True, False)
        if (names := [line.name for line in lines if line.unsigned == unsigned])
    ]
    _label(axes, text, [line.name for line in lines], blocks)
    _add_scale(axes, images, blocks)
    return axes


class _Line(NamedTuple):
    """A line of the plot: its name and values; `unsigned` if all are between 0 and 1."""

    name: str
    values: Floats
    unsigned: bool = False

    def of(self, row: int, unit: int) -> "_Line":
        """Return the line of one unit in one row of the batch: (T,) from (B, T, H)."""
        return self._replace(values=self.values[row, :, unit])


class _Blocks(NamedTuple):
    """Layout: blocks that have the lines of values and below them a line of characters."""

    length: int  # characters of the text
    columns: int
    lines: int

    @property
    def number(self) -> int:
        """Number of blocks."""
        return -(-self.length // self.columns)

    @property
    def height(self) -> int:
        """Number of grid rows of the plot."""
        return self.row(self.number - 1, self.lines) + 1

    def row(self, block: int, line: int) -> int:
        """Return the grid row of a line of a block; line `lines` has the characters."""
        return block * (self.lines + 2) + line

    def places(self, line: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the grid rows and columns of all steps in a line of their block."""
        steps = np.arange(self.length)
        return steps // self.columns * (self.lines + 2) + line, steps % self.columns


def _gates(tape: Any) -> dict[str, Floats]:
    """Return the gates of a tape, (B, T, H) each, or raise."""
    gates = getattr(tape, "gates", None)
    if not isinstance(gates, Mapping) or not gates:
        tape = getattr(tape, "layers", tape)  # of a model that the core ran in one call
        raise ValueError(
            "tape: expected the tape of a recurrent layer with gates (one of the tapes of a "
            "Sequential, tape.forward or tape.backward of a Bidirectional), "
            f"got {type(tape).__name__}"
        )
    return {name: np.asarray(gate, np.float64) for name, gate in gates.items()}


def _lines(tape: Any, gates: dict[str, Floats]) -> list[_Line]:
    """Return the lines of all units: the gates, then the states."""
    lines = [
        _Line(name, gate, _limits(gate) == (0, 1)) for name, gate in gates.items() if name != "h"
    ]
    if getattr(tape, "c", None) is not None:
        lines.append(_Line("tanh(c)", np.tanh(np.asarray(tape.c, np.float64))))
    if np.shape(tape.h) == next(iter(gates.values())).shape:  # otherwise h is projected
        lines.append(_Line("h", np.asarray(tape.h, np.float64)))
    return lines


def _image(axes: "Axes", lines: list[_Line], unsigned: bool, blocks: _Blocks) -> "AxesImage":
    """Draw the lines that share a colour scale."""
    grid = np.full((blocks.height, blocks.columns), np.nan)
    for i, line in enumerate(lines):
        if line.unsigned == unsigned:
            grid[blocks.places(i)] = line.values[: blocks.length]
    largest = 1.0 if unsigned else max(1.0, float(np.nanmax(np.abs(grid))))
    low = 0.0 if unsigned else -largest
    return axes.imshow(grid, cmap=MAP, vmin=low, vmax=largest, aspect="auto")


def _label(axes: "Axes", text: str, names: list[str], blocks: _Blocks) -> None:
    """Write the names of the lines to the left of each block, and the characters below it."""
    rows = [blocks.row(block, i) for block in range(blocks.number) for i in range(blocks.lines)]
    point = axes.figure.dpi / 72
    width = axes.bbox.width / point / blocks.columns  # points per character
    height = axes.bbox.height / point / blocks.height
    axes.set_yticks(rows, names * blocks.number, fontsize=min(9, 0.85 * height))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    for row in rows:  # white space between the lines
        axes.axhline(row - 0.5, color="white", linewidth=1.5)
    size = min(9.5, width / 0.65, height)  # monospaced characters have the width 0.6 * size
    for character, y, x in zip(text, *blocks.places(blocks.lines), strict=True):
        axes.text(x, y, visible(character), fontsize=size, **_CHARACTER)


def _add_scale(axes: "Axes", images: "list[tuple[AxesImage, str]]", blocks: _Blocks) -> None:
    """Draw the colour bar; two scales get the two sides of one bar."""
    image, names = images[-1]
    bar = axes.figure.colorbar(
        image, ax=axes, label=names, pad=0.02, shrink=min(1.0, 12 / blocks.height), aspect=14
    )
    low, high = image.get_clim()
    ticks = [low, (low + high) / 2, high]
    bar.set_ticks(ticks, labels=[f"{tick:.3g}".replace("-", "−") for tick in ticks])
    if len(images) == 1:
        return

    def to_unsigned(value: Any) -> Any:
        return (value / high + 1) / 2

    def from_unsigned(value: Any) -> Any:
        return (2 * value - 1) * high

    side = bar.ax.secondary_yaxis("left", functions=(to_unsigned, from_unsigned))
    side.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    side.set_ylabel(images[0][1])


def _check_columns(columns: int) -> None:
    """Raise ValueError unless at least one character fits into a line."""
    if columns < 1:
        raise ValueError(f"columns: expected at least 1, got {columns}")


def places(text: str, columns: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the lines and the columns of all characters, where a newline ends a line."""
    lines, places = [], []
    line = column = 0
    for character in text:
        if column == columns:
            line, column = line + 1, 0
        lines.append(line)
        places.append(column)
        column = columns if character == "\n" else column + 1
    return np.array(lines, np.intp), np.array(places, np.intp)


def _limits(values: Floats) -> tuple[float, float]:
    """Return the values of the darkest and the lightest colour."""
    if values.min(initial=0) >= 0 and values.max(initial=0) <= 1:
        return 0.0, 1.0
    largest = float(np.abs(values).max())
    return -largest, largest
