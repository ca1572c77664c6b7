"""Find axes without labels when figures are drawn, in the kernel of a notebook."""

import re

from matplotlib.backend_bases import FigureCanvasBase

NUMBER = re.compile(r"[-+\u2212]?\d[\d.,]*%?$|\$\\mathdefault")

unlabelled = []  # axes of the figures drawn since `watch` was called


def watch():
    """Check each figure from now on when it is converted to an image."""
    draw = FigureCanvasBase.print_figure

    def print_figure(canvas, *arguments, **options):
        result = draw(canvas, *arguments, **options)
        unlabelled.extend(lacking(canvas.figure))
        return result

    FigureCanvasBase.print_figure = print_figure


def lacking(figure):
    """Return the axes of a figure that have no label."""
    for axes in figure.axes:
        if axes.get_label() == "<colorbar>":
            if not axes.get_xlabel() + axes.get_ylabel():
                yield "a scale of colours"
            continue
        for name in "xy":
            if _needs(axes, name) and not _label(figure, axes, name):
                yield f"the {name} axis under the title {axes.get_title()!r}"


def _needs(axes, name):
    """Return whether an axis has numbers at its ticks; words need no label."""
    axis = getattr(axes, f"{name}axis")
    if not (axes.axison and axes.get_visible() and axis.get_visible()):
        return False
    texts = [tick.get_text() for tick in axis.get_ticklabels() if tick.get_visible()]
    return any(NUMBER.match(text) for text in texts)


def _label(figure, axes, name):
    """Return the label of an axis, of one in the same column (x) or row (y), or of the figure."""
    found = [getattr(figure, f"get_sup{name}label")(), getattr(axes, f"get_{name}label")()]
    here = _place(axes, name)
    for other in figure.axes:
        there = _place(other, name)
        if (
            here and there and here[0] == there[0] and here[1] != there[1]
        ):  # a twin axis needs its own label
            found.append(getattr(other, f"get_{name}label")())
    return "".join(found)


def _place(axes, name):
    """Return the place of axes in a grid: for x (column, row), for y (row, column)."""
    place = axes.get_subplotspec()
    if place is None:
        return None
    spans = (place.colspan, place.rowspan) if name == "x" else (place.rowspan, place.colspan)
    return tuple((span.start, span.stop) for span in spans)
