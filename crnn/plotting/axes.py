"""What pictures share: colours, forms of lines, and axes to draw into."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.common.figures import Axes
from crnn.storage.files import check_target

if TYPE_CHECKING:
    from matplotlib.legend import Legend

MISSING = 'pictures need matplotlib: pip install "crnn[plot]"'
WIDTH = 7.5  # inches: what a notebook shows without making it smaller
MAP = "cividis"  # for values: the larger the lighter, for the colour-blind as well
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
YELLOW, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
DARK, PALE = "#222222", "#8A8A8A"  # for what is true, and for what only helps

_COLOURS = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, BLACK)
_FORMS: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
_FEW = 12  # points of a line that get a marker each
_SHOWN = {"\t": "⇥", "\n": "↵", " ": "␣"}


class Look(NamedTuple):
    """How a line is told apart from others."""

    color: str
    linestyle: Any


def look(i: int) -> Look:
    """Return the look of line i; 42 lines have each their own."""
    return Look(_COLOURS[i % len(_COLOURS)], _FORMS[i % len(_FORMS)])


def styled(i: int, drawn: NDArray[np.bool_]) -> dict[str, Any]:
    """Return how line i is drawn, of whose points (N,) some are not.

    Points get a marker where they are few; of many, those that have no neighbour, which no line
    would show.
    """
    beside = np.pad(drawn, 1)
    marked = drawn if drawn.sum() <= _FEW else drawn & ~beside[:-2] & ~beside[2:]
    style = look(i)._asdict() | {"linewidth": 1.8}
    if marked.any():
        style |= {"marker": "o", "markersize": 4, "markevery": np.flatnonzero(marked)}
    return style


def visible(symbol: str) -> str:
    """Return a symbol that can be seen in place of one that cannot."""
    if symbol in _SHOWN:
        return _SHOWN[symbol]
    return symbol if symbol.isprintable() else "·"


def axes_of(ax: "Axes | None", size: tuple[float, float]) -> "Axes":
    """Return the axes given, or those of a new figure of this size in inches."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(MISSING) from error
    return plt.figure(figsize=size, layout="constrained").subplots()


def save(
    path: str | os.PathLike[str], size: tuple[float, float], draw: "Callable[[Axes], object]"
) -> None:
    """Let `draw` draw into an image file, without a window on any screen."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(MISSING) from error
    check_target(path)
    figure = Figure(figsize=size, layout="constrained")
    draw(figure.subplots())
    ending = os.path.splitext(path)[1].removeprefix(".") or "png"
    figure.savefig(path, dpi=150, format=ending)  # which else appends an ending to the path


def tidy(axes: "Axes", xlabel: str, ylabel: str, *, whole: bool = True) -> None:
    """Name the axes, take away what says nothing, and let faint lines help to read values.

    With `whole`, all ticks of the x axis stand at integers.
    """
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if whole:
        axes.locator_params(axis="x", integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(False)  # whatever the user's style says
    axes.grid(axis="y", alpha=0.3, linestyle="-")
    axes.set_axisbelow(True)


def legend_on_top(axes: "Axes") -> None:
    """Add a legend at the upper end of the axes, and make room so that it covers no line."""
    legend = _fitting_legend(axes, loc="upper left", borderaxespad=0.2)
    share = min(legend.get_window_extent().height / axes.bbox.height + 0.03, 0.6)
    scale = axes.yaxis.get_transform()  # the axis may be logarithmic
    low, high = scale.transform(axes.get_ylim())
    top = high + (high - low) * share / (1 - share)
    with np.errstate(over="ignore"):
        ends = scale.inverted().transform([low, top])
    if np.isfinite(ends).all():
        axes.set_ylim(*ends)


def legend_below(axes: "Axes") -> None:
    """Add a legend under the label of the x axis, where no line and no title can be."""
    from matplotlib.transforms import ScaledTranslation

    size = float(axes.xaxis.label.get_fontsize()) / 72  # inches
    down = ScaledTranslation(0, -3.6 * size, axes.figure.dpi_scale_trans)
    where = {"bbox_to_anchor": (0.5, 0), "bbox_transform": axes.transAxes + down}
    _fitting_legend(axes, loc="upper center", borderaxespad=0, **where)


def _fitting_legend(axes: "Axes", **where: Any) -> "Legend":
    """Return a legend with as many columns as there is room for."""
    where |= {"frameon": True, "facecolor": "white", "edgecolor": "none", "framealpha": 0.9}
    entries = len(axes.get_legend_handles_labels()[1])
    for size in ("medium", "small", "x-small"):
        for columns in range(min(entries, 4), 0, -1):
            legend = axes.legend(ncols=columns, fontsize=size, handlelength=2.6, **where)
            if legend.get_window_extent().width <= axes.bbox.width:
                return legend
    return legend
