"""Diagram of a model, unfolded in time."""

from itertools import pairwise, zip_longest
from typing import Any

from crnn.common.figures import Axes
from crnn.layers.base.protocol import LayerLike
from crnn.plotting.axes import BLUE, DARK, ORANGE, PALE, WIDTH, axes_of
from crnn.plotting.rows import GraphRow, Rows, rows_of

# Inches, in a plot of its natural size.
_BOX = 0.34  # height of a box
_JOIN = 0.2  # height of the box of a merge
_GAP = 0.46  # between rows: an arrow with a shape beside it
_JOIN_GAP = 0.28  # below a merge, and between two directions
_ENDS = 0.34  # below and above the rows: names of inputs and outputs
_LINE = 0.135  # height of a line of small text
_LETTER = 0.053  # width of a letter of small text
_START = 0.2  # length of the arrows of the initial and the final state
_BESIDE = 0.05  # between a box and the skip connection beside it
_COLUMN = (0.78, 1.2)  # smallest and largest width of a column

# Fractions of the width of a column.
_SIDE = 0.22  # distance of the two directions from the centre
_RECURRENT, _DIRECTION, _WIDEST = 0.6, 0.4, 0.84  # widths of boxes

_FIRST, _SMALL = 9, 7.5  # font sizes in points
_FILLS = {"recurrent": "#DCEBF7", "layer": "#F4F4F4", "pool": "#FFF3D6", "join": "white"}


def unfolded(model: LayerLike, steps: int = 4, ax: "Axes | None" = None) -> "Axes":
    """Draw the computation of a model, unfolded in time.

    The plot has one column for each of the first steps and one for the last step T, and one row per
    layer, from the input x at the bottom to the output y at the top. Arrows upwards are outputs of
    a layer, with their shape at one step; arrows sideways are states. The parameters are written
    once beside their layer, because all steps share them.

    Parameters
    ----------
    model : layer
        Any layer or composition of crnn. A layer of another class is drawn as a plain box.
    steps : int, default 4
        Number of first steps to draw, at least 1.
    ax : matplotlib axes, optional
        Axes to draw into; by default those of a new figure whose size depends on the model. In
        smaller axes the text is smaller.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    TypeError
        If `model` is no layer.
    ValueError
        If `model` reads more than one sequence, as `crnn.Seq2Seq` does, or `steps` is below 1.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import crnn
    >>> model = crnn.Sequential([crnn.GRU(2, 8, seed=0), crnn.Dense(8, 3, seed=1)])
    >>> ax = crnn.plotting.unfolded(model, steps=2)
    >>> texts = [text.get_text() for text in ax.texts]
    >>> "0: GRU" in texts, "1: Dense" in texts
    (True, True)
    """
    unfolding = rows_of(model)
    if steps < 1:
        raise ValueError(f"steps: expected at least 1, got {steps}")
    plan = _Plan(unfolding, steps)
    axes = axes_of(ax, (plan.width, plan.height))
    sheet = _Sheet(axes, plan, new_figure=ax is None)
    for i, row in enumerate(unfolding.rows):
        _draw_label(sheet, plan, i, row)
        _draw_row(sheet, plan, i, row)
        if row.states:
            _draw_states(sheet, plan, i, row)
    _draw_ends(sheet, plan, unfolding)
    _draw_shapes(sheet, plan, unfolding)
    return axes


class _Plan:
    """Layout: positions and sizes in inches, from the lower left corner."""

    def __init__(self, unfolding: Rows, steps: int) -> None:
        self.rows = unfolding.rows
        self.steps = steps
        names = [name for row in self.rows for name in _state_names(row)]
        beside = (_START + max(map(_width, names)) + 0.1) if names else 0.0
        skips = sum(row.joins is not None and row.joins >= 0 for row in self.rows)
        reach = skips * _BESIDE  # of boxes and skip connections, from the centre of a column
        labels = max(_label_width(row) for row in self.rows)
        right = max(beside, 0.3)  # shapes need 0.3
        space = WIDTH - labels - 2 * reach - beside - right - 0.1
        least, largest = _COLUMN
        self.column = min(max(space / (steps + 0.6 + _WIDEST), least), largest)
        self.reach = reach + self.column * _WIDEST / 2
        first = labels + 0.1 + beside + self.reach
        self.centers = [first + self.column * k for k in range(steps)]
        self.dots = self.centers[-1] + 0.8 * self.column
        self.last = self.dots + 0.8 * self.column
        self.width = self.last + self.reach + right
        self.middles = self._middles()
        self.height = self.middles[-1] + self.half(len(self.rows) - 1) + _GAP + _ENDS

    def _middles(self) -> list[float]:
        """Return the centre y of each row, such that neither boxes nor labels overlap."""
        middles: list[float] = []
        top = label_top = 0.0
        for i, row in enumerate(self.rows):
            label = 0.19 + _LINE * len(row.notes)
            space = _ENDS + _GAP if not i else _GAP
            if row.joins is not None or row.side > 0:
                space = _JOIN_GAP
            middle = max(top + space + self.half(i), label_top + 0.1 + label / 2)
            middles.append(middle)
            top, label_top = middle + self.half(i), middle + label / 2
        return middles

    def half(self, i: int) -> float:
        """Return half the height of the boxes of row i."""
        return (_JOIN if self.rows[i].joins is not None else _BOX) / 2

    def bottom(self, i: int) -> float:
        """Return y of the lower edge of row i."""
        return self.middles[i] - self.half(i)

    def top(self, i: int) -> float:
        """Return y of the upper edge of row i."""
        return self.middles[i] + self.half(i)

    def columns(self, row: GraphRow) -> list[float]:
        """Return the centre x of each column in which a row has a box."""
        return [*self.centers, self.last] if row.time else [self.last]

    def box_width(self, row: GraphRow) -> float:
        """Return the width of the boxes of a row."""
        if row.joins == -1:  # a merge of both directions is as wide as these
            return 2 * _SIDE * self.column + 0.14
        if row.joins is not None:
            return _JOIN
        if row.side:
            return _DIRECTION * self.column
        needed = 0 if row.states else 0.064 * len(row.name) + 0.1
        return min(max(_RECURRENT * self.column, needed), _WIDEST * self.column)

    def place(self, row: GraphRow, column: float) -> float:
        """Return the centre x of the box of a row in a column."""
        return column + row.side * _SIDE * self.column

    def source(self, i: int) -> float:
        """Return y where the input arrows of row i begin."""
        if self.rows[i].side > 0:
            return self.source(i - 1)
        return self.top(i - 1) if i else _ENDS

    def turn(self, i: int) -> float:
        """Return y where the arrows to the two directions branch."""
        return self.bottom(i - 1 if self.rows[i].side > 0 else i) - 0.14

    def bypass(self, i: int) -> float:
        """Return the distance of the skip connection into row i from the centre of a column."""
        skipped = self.rows[self.rows[i].joins : i]
        half = max(abs(self.place(row, 0)) + self.box_width(row) / 2 for row in skipped)
        nested = sum(row.joins is not None and row.joins >= 0 for row in skipped)
        return half + _BESIDE * (1 + nested)


class _Sheet:
    """Axes in the inches of the plan, with the scale of text and lines."""

    def __init__(self, axes: "Axes", plan: _Plan, new_figure: bool) -> None:
        self.axes = axes
        axes.set_axis_off()
        axes.set(aspect="equal", xlim=(0, plan.width), ylim=(0, plan.height))
        box, dpi = axes.bbox, axes.figure.dpi
        natural = min(box.width / dpi / plan.width, box.height / dpi / plan.height)
        self.scale = 1.0 if new_figure else natural

    def text(self, x: float, y: float, words: str, size: float = _SMALL, **style: Any) -> None:
        """Write a text, by default centred at (x, y)."""
        defaults: dict[str, Any] = {"ha": "center", "va": "center", "color": DARK, "zorder": 4}
        self.axes.text(x, y, words, fontsize=size * self.scale, **defaults | style)

    def line(self, *points: tuple[float, float], color: str = DARK, style: Any = "-") -> None:
        """Draw a line through points."""
        xs, ys = zip(*points, strict=True)
        self.axes.plot(xs, ys, color=color, linestyle=style, linewidth=self.scale, zorder=1)

    def arrow(self, *points: tuple[float, float], color: str = DARK, style: Any = "-") -> None:
        """Draw a line through points with an arrowhead at the last one."""
        self.line(*points, color=color, style=style)
        head = {"arrowstyle": "-|>", "color": color, "shrinkA": 0, "shrinkB": 0, "linewidth": 0}
        head |= {"mutation_scale": 9 * self.scale}
        self.axes.annotate("", points[-1], points[-2], arrowprops=head, zorder=2)

    def box(self, x: float, y: float, width: float, height: float, fill: str, name: str) -> None:
        """Draw a box with its centre at (x, y) and a name inside."""
        from matplotlib.patches import FancyBboxPatch

        corner = min(0.05, height / 4)
        begin = x - width / 2 + corner, y - height / 2 + corner
        inner = width - 2 * corner, height - 2 * corner
        look: dict[str, Any] = {"facecolor": fill, "edgecolor": DARK, "linewidth": self.scale}
        shape = f"round,pad={corner}"
        self.axes.add_patch(FancyBboxPatch(begin, *inner, boxstyle=shape, **look, zorder=3))
        size = min(8.0, 72 * width / (0.8 * len(name)))
        if size >= 5.5:  # a smaller name would be illegible; the title beside the row has it
            self.text(x, y, name, size)


def _draw_label(sheet: _Sheet, plan: _Plan, i: int, row: GraphRow) -> None:
    """Write the title and the parameters of a row beside it."""
    height = _LINE * len(row.notes)
    middle = plan.middles[i]
    sheet.text(0.05, middle + height / 2, row.title, _FIRST, ha="left", weight="bold")
    if row.notes:
        words = "\n".join(row.notes)
        sheet.text(0.05, middle + height / 2 - 0.1, words, ha="left", va="top", linespacing=1.25)


def _draw_row(sheet: _Sheet, plan: _Plan, i: int, row: GraphRow) -> None:
    """Draw the boxes of a row, and the arrows into them."""
    checks = {"join": row.joins is not None, "pool": row.pools, "recurrent": row.states}
    fill = _FILLS[next((name for name, holds in checks.items() if holds), "layer")]
    box = plan.middles[i], plan.box_width(row), 2 * plan.half(i), fill, row.name
    columns = plan.columns(row)
    if row.pools not in ("", "last"):  # one box that reads all steps
        columns = [*plan.centers, plan.last]
        width = plan.last - plan.centers[0] + plan.box_width(row)
        sheet.box((columns[0] + columns[-1]) / 2, box[0], width, *box[2:])
    else:
        for x in columns:
            sheet.box(plan.place(row, x), *box)
    for x in columns:
        _draw_input(sheet, plan, i, row, x)
    if row.time and not row.states:
        sheet.text(plan.dots, plan.middles[i], "⋯", _FIRST)


def _draw_input(sheet: _Sheet, plan: _Plan, i: int, row: GraphRow, x: float) -> None:
    """Draw the arrow into the box in column x; a merge has two."""
    source, bottom = plan.source(i), plan.bottom(i)
    if row.joins == -1:
        for below in (i - 2, i - 1):
            place = plan.place(plan.rows[below], x)
            sheet.arrow((place, plan.top(below)), (place, bottom))
        return
    if row.joins is not None:
        low, y, beside = plan.source(row.joins) + 0.06, plan.middles[i], x - plan.bypass(i)
        edge = x - plan.box_width(row) / 2
        sheet.arrow((x, low), (beside, low), (beside, y), (edge, y), color=PALE)
    if row.side:
        place, turn = plan.place(row, x), plan.turn(i)
        sheet.arrow((x, source), (x, turn), (place, turn), (place, bottom))
    else:
        sheet.arrow((x, source), (x, bottom))


def _draw_states(sheet: _Sheet, plan: _Plan, i: int, row: GraphRow) -> None:
    """Draw the states that a row passes from step to step."""
    y, half = plan.middles[i], plan.box_width(row) / 2
    color, style = (ORANGE, (0, (4, 1.5))) if row.backwards else (BLUE, "-")
    places = [plan.place(row, x) for x in plan.centers]
    dots, last = plan.place(row, plan.dots), plan.place(row, plan.last)
    boxes = [(place - half, place + half) for place in (*places, last)]
    begin, end = plan.centers[0] - plan.reach - _START, plan.last + plan.reach + _START
    stops = [(begin, begin), *boxes[:-1], (dots - 0.1, dots + 0.1), boxes[-1], (end, end)]
    for left, right in pairwise(stops):
        ends = (left[1], y), (right[0], y)
        sheet.arrow(*(reversed(ends) if row.backwards else ends), color=color, style=style)
    sheet.text(dots, y, "⋯", _FIRST)
    around = {
        "facecolor": "white",
        "edgecolor": "none",
        "pad": 0.3,
    }  # a skip connection may pass behind
    for x, after in pairwise(places):
        # The arrows into the other direction cross one half of the space between two boxes.
        free = (x + after) / 2 - row.side * 0.12 * plan.column
        names = ", ".join(row.states)
        sheet.text(free, y + 0.035, names, 7, va="bottom", color=color, bbox=around)
    first, final = _state_names(row)
    sheet.text(begin - 0.04, y, first, 8, ha="right", color=color)
    sheet.text(end + 0.04, y, final, 8, ha="left", color=color)


def _draw_ends(sheet: _Sheet, plan: _Plan, unfolding: Rows) -> None:
    """Draw the inputs at the bottom and the outputs at the top."""
    last = unfolding.rows[-1]
    _draw_names(sheet, plan, "x", _ENDS / 2, True)
    _draw_names(sheet, plan, "y", plan.height - _ENDS / 2, last.time)
    top = plan.top(len(plan.rows) - 1)
    for x in plan.columns(last):
        sheet.arrow((x, top), (x, plan.height - _ENDS))


def _draw_names(sheet: _Sheet, plan: _Plan, name: str, y: float, time: bool) -> None:
    """Write the names of the inputs or outputs of all columns."""
    if not time:
        sheet.text(plan.last, y, f"${name}$", 11)
        return
    for k, x in enumerate(plan.centers, 1):
        sheet.text(x, y, f"${name}_{{{k}}}$", 11)
    sheet.text(plan.dots, y, "⋯", _FIRST)
    sheet.text(plan.last, y, f"${name}_T$", 11)


def _draw_shapes(sheet: _Sheet, plan: _Plan, unfolding: Rows) -> None:
    """Write the shape of the output of each row beside its first arrow upwards."""
    sheet.text(plan.centers[0] + 0.05, _ENDS + 0.15, unfolding.reads, 7, ha="left")
    for i, (row, after) in enumerate(zip_longest(plan.rows, plan.rows[1:])):
        arrows = plan.columns(after if after is not None and after.pools == "last" else row)
        if not row.side:  # the merge above has the shape of both directions
            sheet.text(arrows[0] + 0.05, plan.top(i) + 0.15, row.gives, 7, ha="left")


def _state_names(row: GraphRow) -> tuple[str, ...]:
    """Return the names of the states at the left and at the right end of a row."""
    ends = () if not row.states else ("1", "T+1") if row.backwards else ("0", "T")
    return tuple(", ".join(f"${name}_{{{step}}}$" for name in row.states) for step in ends)


def _width(names: str) -> float:
    """Return the width of names of states, which are set as mathematics."""
    return 0.07 * len(names.translate(str.maketrans("", "", "${}_ ")))


def _label_width(row: GraphRow) -> float:
    """Return the width of the title and the parameters of a row."""
    return max([0.077 * len(row.title), *(_LETTER * len(note) for note in row.notes)])
