"""A model unfolded in time."""

from itertools import pairwise, zip_longest
from typing import Any

from crnn.common.figures import Axes
from crnn.layers.base.protocol import LayerLike
from crnn.plotting.axes import BLUE, DARK, ORANGE, PALE, WIDTH, axes_of
from crnn.plotting.rows import Row, Rows, rows_of

# inches, in a picture of its natural size
_BOX = 0.34  # height
_JOIN = 0.2  # height of what joins two ways
_GAP = 0.46  # between rows, for an arrow and the shape of what it carries
_JOIN_GAP = 0.28  # the same below what joins, and between two directions
_ENDS = 0.34  # below and above, for the names of what comes and goes
_LINE = 0.135  # of small text
_LETTER = 0.053  # of small text
_START = 0.2  # of the arrows by which the first state comes and the last one leaves
_BESIDE = 0.05  # between a box and a way that passes it by
_COLUMN = (0.78, 1.2)  # the least and the largest width
# of a column
_SIDE = 0.22  # how far two directions stand from its middle
_RECURRENT, _DIRECTION, _WIDEST = 0.6, 0.4, 0.84  # widths of boxes

_FIRST, _SMALL = 9, 7.5  # points
_FILLS = {"recurrent": "#DCEBF7", "layer": "#F4F4F4", "pool": "#FFF3D6", "join": "white"}


def unfolded(model: LayerLike, steps: int = 4, ax: "Axes | None" = None) -> "Axes":
    """Draw what a model computes, unfolded in time.

    There is a column for each of the first steps and one for the last, T, and a row for each layer,
    from the input x at the bottom to the output y. Upwards goes what a layer gives to the next one,
    with its shape at one step; sideways go the states. Parameters stand beside their layer once:
    they are the same at every step.

    Parameters
    ----------
    model : layer
        One of crnn's, in any composition, or any that speaks their protocol, which is a plain box.
    steps : int
        How many of the first steps are drawn.
    ax : matplotlib axes, optional
        Where to draw; by default a new figure of the right size. In axes smaller than that the
        letters are smaller, too.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    TypeError
        If `model` is no layer.
    ValueError
        If it reads more than one sequence, as a Seq2Seq does, or `steps` is less than 1.
    """
    made_of = rows_of(model)
    if steps < 1:
        raise ValueError(f"steps: expected at least 1, got {steps}")
    plan = _Plan(made_of, steps)
    axes = axes_of(ax, (plan.width, plan.height))
    sheet = _Sheet(axes, plan, own=ax is None)
    for i, row in enumerate(made_of.rows):
        _draw_label(sheet, plan, i, row)
        _draw_row(sheet, plan, i, row)
        if row.states:
            _draw_states(sheet, plan, i, row)
    _draw_ends(sheet, plan, made_of)
    _draw_shapes(sheet, plan, made_of)
    return axes


class _Plan:
    """Where everything stands, in inches."""

    def __init__(self, made_of: Rows, steps: int) -> None:
        self.rows = made_of.rows
        self.steps = steps
        names = [words for row in self.rows for words in _state_names(row)]
        beside = (_START + max(map(_width, names)) + 0.1) if names else 0.0
        ways = sum(row.joins is not None and row.joins >= 0 for row in self.rows)
        reach = ways * _BESIDE  # of boxes and ways past them, from the middle of a column
        labels = max(_label_width(row) for row in self.rows)
        right = max(beside, 0.3)  # for shapes, too
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
        """The heights of the rows' middles, with room for the labels beside them."""
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
        """Half the height of the boxes of a row."""
        return (_JOIN if self.rows[i].joins is not None else _BOX) / 2

    def bottom(self, i: int) -> float:
        return self.middles[i] - self.half(i)

    def top(self, i: int) -> float:
        return self.middles[i] + self.half(i)

    def columns(self, row: Row) -> list[float]:
        """The middles of the columns in which a row has boxes."""
        return [*self.centers, self.last] if row.time else [self.last]

    def box_width(self, row: Row) -> float:
        if row.joins == -1:  # both ways come from below
            return 2 * _SIDE * self.column + 0.14
        if row.joins is not None:
            return _JOIN
        if row.side:
            return _DIRECTION * self.column
        needed = 0 if row.states else 0.064 * len(row.name) + 0.1
        return min(max(_RECURRENT * self.column, needed), _WIDEST * self.column)

    def place(self, row: Row, column: float) -> float:
        """The middle of a row's box in a column."""
        return column + row.side * _SIDE * self.column

    def source(self, i: int) -> float:
        """The height at which begins what a row reads."""
        if self.rows[i].side > 0:
            return self.source(i - 1)
        return self.top(i - 1) if i else _ENDS

    def turn(self, i: int) -> float:
        """The height at which the ways to two directions part."""
        return self.bottom(i - 1 if self.rows[i].side > 0 else i) - 0.14

    def bypass(self, i: int) -> float:
        """How far to the left a way passes by the rows that row i joins."""
        between = self.rows[self.rows[i].joins : i]
        half = max(abs(self.place(row, 0)) + self.box_width(row) / 2 for row in between)
        inside = sum(row.joins is not None and row.joins >= 0 for row in between)
        return half + _BESIDE * (1 + inside)


class _Sheet:
    """Axes in inches of the plan, and how much larger or smaller than these they are."""

    def __init__(self, axes: "Axes", plan: _Plan, own: bool) -> None:
        self.axes = axes
        axes.set_axis_off()
        axes.set(aspect="equal", xlim=(0, plan.width), ylim=(0, plan.height))
        box, dpi = axes.bbox, axes.figure.dpi
        natural = min(box.width / dpi / plan.width, box.height / dpi / plan.height)
        self.scale = 1.0 if own else natural

    def text(self, x: float, y: float, words: str, size: float = _SMALL, **how: Any) -> None:
        given: dict[str, Any] = {"ha": "center", "va": "center", "color": DARK, "zorder": 4} | how
        self.axes.text(x, y, words, fontsize=size * self.scale, **given)

    def line(self, *points: tuple[float, float], color: str = DARK, style: Any = "-") -> None:
        xs, ys = zip(*points, strict=True)
        self.axes.plot(xs, ys, color=color, linestyle=style, linewidth=self.scale, zorder=1)

    def arrow(self, *points: tuple[float, float], color: str = DARK, style: Any = "-") -> None:
        """Draw a line through points with an arrowhead at the last one."""
        self.line(*points, color=color, style=style)
        head = {"arrowstyle": "-|>", "color": color, "shrinkA": 0, "shrinkB": 0, "linewidth": 0}
        head |= {"mutation_scale": 9 * self.scale}
        self.axes.annotate("", points[-1], points[-2], arrowprops=head, zorder=2)

    def box(self, x: float, y: float, width: float, height: float, fill: str, name: str) -> None:
        from matplotlib.patches import FancyBboxPatch

        corner = min(0.05, height / 4)
        begin = x - width / 2 + corner, y - height / 2 + corner
        inner = width - 2 * corner, height - 2 * corner
        look: dict[str, Any] = {"facecolor": fill, "edgecolor": DARK, "linewidth": self.scale}
        shape = f"round,pad={corner}"
        self.axes.add_patch(FancyBboxPatch(begin, *inner, boxstyle=shape, **look, zorder=3))
        size = min(8.0, 72 * width / (0.8 * len(name)))
        if size >= 5.5:  # else the title beside the row must do
            self.text(x, y, name, size)


def _draw_label(sheet: _Sheet, plan: _Plan, i: int, row: Row) -> None:
    """Write beside a row what it is, and its parameters."""
    height = _LINE * len(row.notes)
    middle = plan.middles[i]
    sheet.text(0.05, middle + height / 2, row.title, _FIRST, ha="left", weight="bold")
    if row.notes:
        words = "\n".join(row.notes)
        sheet.text(0.05, middle + height / 2 - 0.1, words, ha="left", va="top", linespacing=1.25)


def _draw_row(sheet: _Sheet, plan: _Plan, i: int, row: Row) -> None:
    """Draw the boxes of a row, and the arrows into them."""
    kinds = {"join": row.joins is not None, "pool": row.pools, "recurrent": row.states}
    fill = _FILLS[next((kind for kind, is_it in kinds.items() if is_it), "layer")]
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


def _draw_input(sheet: _Sheet, plan: _Plan, i: int, row: Row, x: float) -> None:
    """Draw the arrow from what a box in column x reads; two into one that joins."""
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


def _draw_states(sheet: _Sheet, plan: _Plan, i: int, row: Row) -> None:
    """Draw what goes from step to step."""
    y, half = plan.middles[i], plan.box_width(row) / 2
    color, style = (ORANGE, (0, (4, 1.5))) if row.backwards else (BLUE, "-")
    places = [plan.place(row, x) for x in plan.centers]
    dots, last = plan.place(row, plan.dots), plan.place(row, plan.last)
    boxes = [(place - half, place + half) for place in (*places, last)]
    begin, end = plan.centers[0] - plan.reach - _START, plan.last + plan.reach + _START
    stops = [(begin, begin), *boxes[:-1], (dots - 0.1, dots + 0.1), boxes[-1], (end, end)]
    for here, there in pairwise(stops):
        way = (here[1], y), (there[0], y)
        sheet.arrow(*(reversed(way) if row.backwards else way), color=color, style=style)
    sheet.text(dots, y, "⋯", _FIRST)
    around = {"facecolor": "white", "edgecolor": "none", "pad": 0.3}  # a way may pass behind
    for x, after in pairwise(places):
        # of two directions each has the other's arrows in half of the space
        free = (x + after) / 2 - row.side * 0.12 * plan.column
        names = ", ".join(row.states)
        sheet.text(free, y + 0.035, names, 7, va="bottom", color=color, bbox=around)
    first, final = _state_names(row)
    sheet.text(begin - 0.04, y, first, 8, ha="right", color=color)
    sheet.text(end + 0.04, y, final, 8, ha="left", color=color)


def _draw_ends(sheet: _Sheet, plan: _Plan, made_of: Rows) -> None:
    """Draw what comes in at the bottom and what goes out at the top."""
    last = made_of.rows[-1]
    _draw_names(sheet, plan, "x", _ENDS / 2, True)
    _draw_names(sheet, plan, "y", plan.height - _ENDS / 2, last.time)
    top = plan.top(len(plan.rows) - 1)
    for x in plan.columns(last):
        sheet.arrow((x, top), (x, plan.height - _ENDS))


def _draw_names(sheet: _Sheet, plan: _Plan, name: str, y: float, time: bool) -> None:
    """Write the names of what the columns read or give."""
    if not time:
        sheet.text(plan.last, y, f"${name}$", 11)
        return
    for k, x in enumerate(plan.centers, 1):
        sheet.text(x, y, f"${name}_{{{k}}}$", 11)
    sheet.text(plan.dots, y, "⋯", _FIRST)
    sheet.text(plan.last, y, f"${name}_T$", 11)


def _draw_shapes(sheet: _Sheet, plan: _Plan, made_of: Rows) -> None:
    """Write once, beside the first arrow of a row, the shape of what goes up there."""
    sheet.text(plan.centers[0] + 0.05, _ENDS + 0.15, made_of.reads, 7, ha="left")
    for i, (row, after) in enumerate(zip_longest(plan.rows, plan.rows[1:])):
        arrows = plan.columns(after if after is not None and after.pools == "last" else row)
        if not row.side:  # of two directions what both give together
            sheet.text(arrows[0] + 0.05, plan.top(i) + 0.15, row.gives, 7, ha="left")


def _state_names(row: Row) -> tuple[str, ...]:
    """The names of the states at both ends of a row, of the left one first."""
    ends = () if not row.states else ("1", "T+1") if row.backwards else ("0", "T")
    return tuple(", ".join(f"${name}_{{{step}}}$" for name in row.states) for step in ends)


def _width(names: str) -> float:
    """The width of names of states, which are mathematics."""
    return 0.07 * len(names.translate(str.maketrans("", "", "${}_ ")))


def _label_width(row: Row) -> float:
    """The width of what stands beside a row."""
    return max([0.077 * len(row.title), *(_LETTER * len(note) for note in row.notes)])
