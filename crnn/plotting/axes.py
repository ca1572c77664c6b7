"""Colours, line styles, axes and legends that all plots share."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.common.figures import Axes
from crnn.storage.files import check_target

if TYPE_CHECKING:
    from matplotlib.legend import Legend

MISSING = 'plots require matplotlib: pip install ".[plot]" in a checkout of crnn'
WIDTH = 7.5  # inches: the largest width that a notebook shows unscaled
MAP = "cividis"  # colour map for values: larger is lighter, also for colour-blind readers
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
YELLOW, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
DARK, PALE = "#222222", "#8A8A8A"  # for true values, and for auxiliary lines

_COLOURS = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, BLACK)
_STYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
_FEW = 12  # a line with at most this many points gets a marker at each
_SHOWN = {"\t": "⇥", "\n": "↵", " ": "␣"}


class Look(NamedTuple):
    """Colour and line style of a line."""

    color: str
    linestyle: Any


def look(i: int) -> Look:
    """Return colour and style of line i; the first 42 lines all differ."""
    return Look(_COLOURS[i % len(_COLOURS)], _STYLES[i % len(_STYLES)])


def styled(i: int, drawn: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the keyword arguments of ``axes.plot`` for line i.

    `drawn` (N,) is True for the points that are drawn. A line of few points gets a marker at each
    point. A longer line gets one at each isolated point, which would be invisible otherwise.
    """
    padded = np.pad(drawn, 1)
    marked = drawn if drawn.sum() <= _FEW else drawn & ~padded[:-2] & ~padded[2:]
    style = look(i)._asdict() | {"linewidth": 1.8}
    if marked.any():
        style |= {"marker": "o", "markersize": 4, "markevery": np.flatnonzero(marked)}
    return style


def visible(symbol: str) -> str:
    """Return a symbol, or a visible replacement for white space and unprintable characters."""
    if symbol in _SHOWN:
        return _SHOWN[symbol]
    return symbol if symbol.isprintable() else "·"


def axes_of(ax: "Axes | None", size: tuple[float, float]) -> "Axes":
    """Return `ax`, or for None the axes of a new figure of this size in inches."""
    if ax is not None:
        if not hasattr(ax, "figure") or not hasattr(ax, "plot"):
            raise TypeError(
                f"ax: expected axes of matplotlib, or None for a new figure, got {ax!r:.60}; a "
                "picture is saved by ax.figure.savefig(path)"
            )
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(MISSING) from error
    return plt.figure(figsize=size, layout="constrained").subplots()


def save(
    path: str | os.PathLike[str], size: tuple[float, float], draw: "Callable[[Axes], object]"
) -> None:
    """Write the plot that `draw` draws to an image file; no window is opened."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(MISSING) from error
    check_target(path)
    figure = Figure(figsize=size, layout="constrained")
    draw(figure.subplots())
    suffix = os.path.splitext(path)[1].removeprefix(".") or "png"
    figure.savefig(path, dpi=150, format=suffix)  # without format, savefig would append a suffix


def tidy(axes: "Axes", xlabel: str, ylabel: str, *, whole: bool = True) -> None:
    """Label the axes, remove the top and right spines, and add a faint horizontal grid.

    With `whole`, the ticks of the x axis are integers.
    """
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if whole:
        axes.locator_params(axis="x", integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(False)  # overrides the user's matplotlib style
    axes.grid(axis="y", alpha=0.3, linestyle="-")
    axes.set_axisbelow(True)


def legend_on_top(axes: "Axes") -> None:
    """Add a legend at the top of the axes, and extend the y axis so that it covers no line."""
    legend = _fitting_legend(axes, loc="upper left", borderaxespad=0.2)
    share = min(legend.get_window_extent().height / axes.bbox.height + 0.03, 0.6)
    scale = axes.yaxis.get_transform()  # linear or logarithmic
    low, high = scale.transform(axes.get_ylim())
    top = high + (high - low) * share / (1 - share)
    with np.errstate(over="ignore"):
        ends = scale.inverted().transform([low, top])
    if np.isfinite(ends).all():
        axes.set_ylim(*ends)


def legend_below(axes: "Axes") -> None:
    """Add a legend below the label of the x axis, outside of the axes."""
    from matplotlib.transforms import ScaledTranslation

    size = float(axes.xaxis.label.get_fontsize()) / 72  # inches
    down = ScaledTranslation(0, -3.6 * size, axes.figure.dpi_scale_trans)
    where = {"bbox_to_anchor": (0.5, 0), "bbox_transform": axes.transAxes + down}
    _fitting_legend(axes, loc="upper center", borderaxespad=0, **where)


def _fitting_legend(axes: "Axes", **where: Any) -> "Legend":
    """Add a legend with as many columns as fit into the axes, and return it."""
    where |= {"frameon": True, "facecolor": "white", "edgecolor": "none", "framealpha": 0.9}
    entries = len(axes.get_legend_handles_labels()[1])
    for size in ("medium", "small", "x-small"):
        for columns in range(min(entries, 4), 0, -1):
            legend = axes.legend(ncols=columns, fontsize=size, handlelength=2.6, **where)
            if legend.get_window_extent().width <= axes.bbox.width:
                return legend
    return legend
