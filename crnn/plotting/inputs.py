"""What an output depends on: which inputs reach it, and which moved it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crnn.plotting.arguments import Axes, Floats, numbers
from crnn.plotting.axes import (
    BLUE,
    DARK,
    MAP,
    ORANGE,
    PALE,
    WIDTH,
    axes_of,
    legend_below,
    legend_on_top,
    tidy,
    visible,
)
from crnn.plotting.text import gates_over_text, places

_EXPLAINED = "step whose output is explained"
_COLUMNS = 50  # characters in a row, at most
_FEWEST = 20
_LOW = 2.2  # inches: axes beside which a scale has no room
_ROOM = 0.17  # inches that a word takes which is written upright


def influence(
    matrix: ArrayLike, ax: "Axes | None" = None, *, label: str = "largest change of y"
) -> "Axes":
    """Draw how strongly each input step reaches each output step, on a logarithmic scale.

    Parameters
    ----------
    matrix : array (T_out, T_in)
        A row for each step of the output, a column for each one of the input: not negative, and 0
        where nothing at all arrives, which is hatched.
    ax : matplotlib axes, optional
        Where to draw; by default a new figure of the right size.
    label : str
        What the numbers are, written beside the scale of colours.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If it is no matrix, or has negative numbers or some that are not finite.
    """
    grid = numbers("matrix", matrix, (2,), "numbers (T_out, T_in), 0 or more", finite=True)
    if wrong := int((grid < 0).sum()):
        raise ValueError(f"matrix: expected numbers (T_out, T_in), 0 or more, got {wrong} below 0")
    T_out, T_in = grid.shape
    axes = axes_of(ax, (WIDTH, float(np.clip(WIDTH * 0.8 * T_out / T_in, 1.8, 6.0))))
    if grid.any():
        _heat(axes, grid, label)
    if not grid.all():
        _hatch(axes)
    axes.set(xlim=(0.5, T_in + 0.5), ylim=(T_out + 0.5, 0.5))
    axes.locator_params(axis="x", integer=True, min_n_ticks=min(T_in, 2))
    axes.locator_params(axis="y", integer=True, min_n_ticks=min(T_out, 2))
    axes.set(xlabel="input step", ylabel="output step")
    axes.grid(False)
    if not grid.all():
        legend_below(axes)
    return axes


def _heat(axes: "Axes", grid: Floats, label: str) -> None:
    """Draw what is above 0, and its scale."""
    from matplotlib.colors import LogNorm

    T_out, T_in = grid.shape
    above = grid[grid > 0]
    low, high = float(above.min()), float(above.max())
    scale = LogNorm(low if low < high else high / 10, high)
    ends = (0.5, T_in + 0.5, T_out + 0.5, 0.5)
    shown = np.ma.masked_equal(grid, 0)
    image = axes.imshow(
        shown, MAP, scale, aspect="auto", extent=ends, interpolation="nearest", zorder=2
    )
    low_axes = axes.bbox.height / axes.figure.dpi < _LOW
    where: dict[str, Any] = {"location": "top", "aspect": 50} if low_axes else {"pad": 0.02}
    axes.figure.colorbar(image, ax=axes, label=label, **where)


def _hatch(axes: "Axes") -> None:
    """Hatch the ground, which shows where nothing is drawn."""
    from matplotlib.patches import Rectangle

    place: dict[str, Any] = {"transform": axes.transAxes, "zorder": 1}
    look: dict[str, Any] = {
        "facecolor": "white",
        "edgecolor": PALE,
        "hatch": "////",
        "linewidth": 0,
    }
    axes.add_patch(Rectangle((0, 0), 1, 1, **place, **look, label="0: no influence at all"))


def saliency(
    values: ArrayLike,
    ax: "Axes | None" = None,
    *,
    symbols: Sequence[str] | None = None,
    at: int | None = None,
) -> "Axes":
    """Draw how strongly each input step moves an output: over the text that was read, or as bars.

    Parameters
    ----------
    values : array (T,)
        Not negative, or signed.
    ax : matplotlib axes, optional
        Where to draw; by default a new figure of the right size.
    symbols : T strings or a text of T characters, optional
        What was read. Characters stand on the colours of their values; words stand under bars, as
        many of them as there is room for, those of the largest values first.
    at : int, optional
        The step, from 0, whose output is explained: it is marked.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If shapes do not fit, a number is not finite, or there is no such step.
    """
    array = numbers("values", values, (1,), "one for each step (T,)", finite=True)
    T = len(array)
    if symbols is not None and len(symbols) != T:
        raise ValueError(f"symbols: expected one for each of the {T} values, got {len(symbols)}")
    if at is not None and not 0 <= at < T:
        raise ValueError(f"at: expected a step from 0 to T - 1 = {T - 1}, got {at}")
    shown = None if symbols is None else [*map(str, symbols)]
    if shown is not None and all(len(symbol) == 1 for symbol in shown):
        return _over_text(array, "".join(shown), at, ax)
    axes = _bars(array, at, ax)
    if shown is not None:
        _write_words(axes, shown, array)
    return axes


def _over_text(values: Floats, text: str, at: int | None, ax: "Axes | None") -> "Axes":
    """Draw values over characters, of which one may have a frame."""
    from matplotlib.patches import Rectangle

    columns = min(max(map(len, [*text.splitlines(keepends=True), " " * _FEWEST])), _COLUMNS)
    largest = float(np.abs(values).max()) or 1.0
    limits = (0.0 if values.min() >= 0 else -largest, largest)
    rows, across = places(text, columns)
    axes = axes_of(ax, (0.125 * columns + 1.25, 0.25 * (rows[-1] + 1) + 0.9))
    gates_over_text(text, values, axes, label="saliency", limits=limits, columns=columns)
    if at is not None:
        corner = (across[at] - 0.5, rows[at] - 0.5)
        look: dict[str, Any] = {"fill": False, "edgecolor": ORANGE, "linewidth": 2}
        axes.add_patch(Rectangle(corner, 1, 1, **look, clip_on=False, label=_EXPLAINED))
        axes.legend(loc="upper left", bbox_to_anchor=(0, 0), frameon=False, fontsize="small")
    return axes


def _bars(values: Floats, at: int | None, ax: "Axes | None") -> "Axes":
    """Draw a bar for each step; those below 0 have another colour."""
    axes = axes_of(ax, (WIDTH, 3.2))
    steps = np.arange(1, len(values) + 1)
    axes.bar(steps, values, width=0.8, color=np.where(values < 0, ORANGE, BLUE).tolist())
    axes.axhline(0, color=DARK, linewidth=0.8)
    axes.set_xlim(0.4, len(values) + 0.6)
    axes.locator_params(axis="x", min_n_ticks=1)
    tidy(axes, "input step", "saliency")
    if at is not None:
        style: dict[str, Any] = {"color": PALE, "linestyle": "--", "linewidth": 1.5}
        axes.axvline(at + 1, **style, zorder=0.5, label=_EXPLAINED)
        legend_on_top(axes)
    return axes


def _write_words(axes: "Axes", words: list[str], values: Floats) -> None:
    """Write words under their bars: as many as there is room for, the largest values first."""
    width = axes.bbox.width / axes.figure.dpi  # inches
    apart = max(1, int(np.ceil(_ROOM * len(words) / width)))
    chosen: list[int] = []
    for step in np.argsort(-np.abs(values), kind="stable").tolist():
        if all(abs(step - other) >= apart for other in chosen):
            chosen.append(step)
    labels = ["".join(map(visible, words[step])) for step in chosen]
    axes.set_xticks([step + 1 for step in chosen], labels, rotation=90, parse_math=False)
    axes.set_xlabel("")
