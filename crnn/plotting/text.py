"""Values over a text: one for each character, or all that one unit does."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.plotting.arguments import Axes, Floats
from crnn.plotting.axes import MAP, axes_of, visible

if TYPE_CHECKING:
    from matplotlib.image import AxesImage

_SHOWN = {"\t": " ", "\n": "↵"}  # where a text is shown as a page, with its lines and indentation
_FEWEST = 20  # characters that a line has room for
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
    """Draw what one unit does while it reads a text: its gates, its cell state, its output.

    Parameters
    ----------
    text : str
        The characters read, at most T: what belongs to a step stands above the character read.
    tape : tape of a recurrent layer
        As ``layer.forward`` returns it; of a `Sequential` the part of that layer, ``tape[1]``, of a
        `Bidirectional` ``tape.forward`` or ``tape.backward``.
    unit : int
        From 0 to H - 1.
    ax : matplotlib axes, optional
        Where to draw; by default a new figure of the right size.
    row : int
        The row of the batch in which the text was read.
    columns : int
        Characters side by side; a longer text goes on below.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If the text is empty or too long, there is no such row or unit, or the tape has no gates.

    Notes
    -----
    Gates from 0 to 1 are shown on a scale from 0 to 1; the other lines share one with 0 in its
    middle, from -1 to 1 where that is enough. Of a cell state c, tanh(c) is shown. A layer with a
    projection has no line for h, because projected units are others.
    """
    gates = _gates(tape)
    B, T, H = next(iter(gates.values())).shape
    for name, given, count in (("row", row, B), ("unit", unit, H)):
        if not 0 <= given < count:
            raise ValueError(f"{name}: expected from 0 to {count - 1}, got {given}")
    if not 1 <= len(text) <= T:
        raise ValueError(
            f"text: expected from 1 to T={T} characters, those that were read, got {len(text)}"
        )
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
    """A line of the picture: its name, values, and whether all of them lie between 0 and 1."""

    name: str
    values: Floats
    unsigned: bool = False

    def of(self, row: int, unit: int) -> "_Line":
        """Return the line of one unit in one row, (T,) of (B, T, H)."""
        return self._replace(values=self.values[row, :, unit])


class _Blocks(NamedTuple):
    """Where everything stands: blocks of lines above their characters, with space between."""

    length: int  # of the text
    columns: int
    lines: int

    @property
    def number(self) -> int:
        return -(-self.length // self.columns)

    @property
    def height(self) -> int:
        """Return the rows of the whole picture."""
        return self.row(self.number - 1, self.lines) + 1

    def row(self, block: int, line: int) -> int:
        """Return where a line of a block stands; the one after the last is that of characters."""
        return block * (self.lines + 2) + line

    def places(self, line: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the row and the column of each character, or of its value in a line."""
        steps = np.arange(self.length)
        return steps // self.columns * (self.lines + 2) + line, steps % self.columns


def _gates(tape: Any) -> dict[str, Floats]:
    """Return the gates of a tape, (B, T, H) each."""
    gates = getattr(tape, "gates", None)
    if not isinstance(gates, Mapping) or not gates:
        raise ValueError(
            "tape: expected that of a recurrent layer, which has gates (of a Sequential one of its "
            f"tapes, of a Bidirectional tape.forward or .backward), got {type(tape).__name__}"
        )
    return {name: np.asarray(gate, np.float64) for name, gate in gates.items()}


def _lines(tape: Any, gates: dict[str, Floats]) -> list[_Line]:
    """Return the lines of all units: the gates, and below them the states."""
    own = {name: gate for name, gate in gates.items() if name != "h"}
    lines = [_Line(name, gate, _limits(gate) == (0, 1)) for name, gate in own.items()]
    if getattr(tape, "c", None) is not None:
        lines.append(_Line("tanh(c)", np.tanh(np.asarray(tape.c, np.float64))))
    if np.shape(tape.h) == next(iter(gates.values())).shape:  # else projected: no units of these
        lines.append(_Line("h", np.asarray(tape.h, np.float64)))
    return lines


def _image(axes: "Axes", lines: list[_Line], unsigned: bool, blocks: _Blocks) -> "AxesImage":
    """Draw the lines that share a scale."""
    grid = np.full((blocks.height, blocks.columns), np.nan)
    for i, line in enumerate(lines):
        if line.unsigned == unsigned:
            grid[blocks.places(i)] = line.values[: blocks.length]
    largest = 1.0 if unsigned else max(1.0, float(np.nanmax(np.abs(grid))))
    low = 0.0 if unsigned else -largest
    return axes.imshow(grid, cmap=MAP, vmin=low, vmax=largest, aspect="auto")


def _label(axes: "Axes", text: str, names: list[str], blocks: _Blocks) -> None:
    """Write the names of the lines to the left of each block and the characters below it."""
    rows = [blocks.row(block, i) for block in range(blocks.number) for i in range(blocks.lines)]
    point = axes.figure.dpi / 72
    wide = axes.bbox.width / point / blocks.columns  # the room that a character has
    high = axes.bbox.height / point / blocks.height
    axes.set_yticks(rows, names * blocks.number, fontsize=min(9, 0.85 * high))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    for row in rows:  # apart from each other
        axes.axhline(row - 0.5, color="white", linewidth=1.5)
    size = min(9.5, wide / 0.65, high)  # characters are 0.6 of that wide
    for character, y, x in zip(text, *blocks.places(blocks.lines), strict=True):
        axes.text(x, y, visible(character), fontsize=size, **_CHARACTER)


def _add_scale(axes: "Axes", images: "list[tuple[AxesImage, str]]", blocks: _Blocks) -> None:
    """Draw the scale of colours; where there are two, on both sides of one strip."""
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
    if columns < 1:
        raise ValueError(f"columns: expected at least 1, got {columns}")


def places(text: str, columns: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
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


def _limits(values: Floats) -> tuple[float, float]:
    if values.min(initial=0) >= 0 and values.max(initial=0) <= 1:
        return 0.0, 1.0
    largest = float(np.abs(values).max())
    return -largest, largest
