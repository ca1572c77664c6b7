"""A model as rows, one above the other, of what happens at every step: what `unfolded` draws."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from crnn.layers.base.adapted import class_of, inside, layer_of
from crnn.layers.base.layer import Layer, check_layer
from crnn.layers.base.protocol import LayerLike
from crnn.layers.base.summary import summarize

_SIGNS = {"sum": "+", "mul": "×"}  # how two directions are merged, where a sign is shorter
_LINE = 28  # characters of a line of parameters
_MOST = 8  # lines of parameters


class Row(NamedTuple):
    """A row of boxes.

    Attributes
    ----------
    name : str
        What stands in each box.
    title : str
        What stands beside the row, in bold.
    notes : tuple of str
        What stands below the title.
    gives : str
        Shape of what leaves a box upwards, of one step.
    states : tuple of str
        Names of what goes from step to step; empty for a layer without a state.
    backwards : bool
        Whether it goes from the last step to the first.
    side : int
        -1 and 1: of the rows of two directions, which stand beside each other; else 0.
    joins : int
        Of a row that joins two ways, the first row of those between: one way passes them by. -1:
        it joins the two directions below. None for layers.
    pools : str
        Of a row without a time axis that reads all steps: "last" if it shows the last alone.
    time : bool
        Whether there is a box for every step; else for the last alone.
    """

    name: str
    title: str
    gives: str
    notes: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    backwards: bool = False
    side: int = 0
    joins: int | None = None
    pools: str = ""
    time: bool = True


class Rows(NamedTuple):
    """The rows from the bottom, and the shape of what the lowest one reads at a step."""

    rows: list[Row]
    reads: str


def rows_of(model: LayerLike) -> Rows:
    """Return what a model is made of, from the bottom to the top.

    Raises
    ------
    TypeError
        If it is no layer.
    ValueError
        If it reads more than one sequence.
    """
    check_layer("model", model)
    model = layer_of(model)
    if {"encoder", "decoder"} <= model.parts.keys():
        raise ValueError(
            "model: expected a layer that reads one sequence, got a "
            f"{type(model).__name__}: unfold its encoder, or its decoder"
        )
    shapes = {row.name: row.shape for row in summarize(model).rows}
    reads = _reads(_leaves(model))
    builder = _Builder(shapes, reads)
    builder.add("", model)
    return Rows(builder.rows, reads)


class _Builder:
    """Makes the rows, from the bottom.

    Parameters
    ----------
    shapes : dict
        Of the output of each layer, by its dotted place.
    reads : str
        The shape that the model reads at a step: that of layers which keep it and have no size.
    """

    def __init__(self, shapes: dict[str, str], reads: str) -> None:
        self.rows: list[Row] = []
        self._shapes = shapes
        self._reads = reads
        self._time = True

    def add(self, place: str, layer: Any, note: str = "") -> None:
        """Add the rows of a layer."""
        if layer.stages:
            for name, part in layer.parts.items():
                self.add(inside(place, name), part, note)
                note = ""
        elif layer.directions:
            self._add_two_directions(place, layer, note)
        elif layer.inner is not None:
            self._add_wrapped(place, layer, note)
        else:
            self._add_plain(place, layer, note)

    def _add_wrapped(self, place: str, layer: Layer, note: str) -> None:
        begin = len(self.rows)
        first = [type(layer.parts[name]).__name__ for name in layer.once]
        if first:
            note = f"starts from {', '.join(first)}(fixed)"
        elif not layer.adds_input:
            note = f"{type(layer).__name__}, {note}".strip(", ")
        self.add(inside(place, "layer"), layer.inner, note)
        if layer.adds_input:
            title, gives = _title(place, "Residual"), self.rows[-1].gives
            self.rows.append(Row("+", title, gives, joins=begin, time=self._time))

    def _add_two_directions(self, place: str, layer: Any, note: str) -> None:
        for side, (name, part) in zip((-1, 1), layer.directions.items(), strict=True):
            row = self._row(inside(place, name), part, note)
            self.rows.append(row._replace(side=side))
        name = _SIGNS.get(layer.merge, layer.merge)
        title, gives = _title(place, type(layer).__name__), self._shape(place)
        self.rows.append(Row(name, title, gives, joins=-1))

    def _add_plain(self, place: str, layer: Any, note: str) -> None:
        row = self._row(place, layer, note)
        if self._time and not layer.keeps_time:
            how = str(getattr(layer, "how", ""))
            row = row._replace(pools=how or "?", notes=(how, *row.notes) if how else row.notes)
            self._time = False
        self.rows.append(row._replace(time=self._time))

    def _row(self, place: str, layer: Any, note: str) -> Row:
        name = class_of(layer).__name__
        states = _states(layer)
        notes = list(_lines(f"{key} {_shown(array.shape)}" for key, array in layer.params.items()))
        if len(notes) > _MOST:
            notes[_MOST - 1 :] = ["…"]
        if states:
            notes.append(_state_shapes(layer, states))
        return Row(
            name,
            _title(place, name),
            self._shape(place),
            (*notes, note) if note else tuple(notes),
            states,
            bool(states) and layer.reads_backwards,
        )

    def _shape(self, place: str) -> str:
        """The shape of what a layer gives at a step."""
        shape = self._shapes.get(place, "(B, T, ?)").replace("T, ", "")
        unknown = "?" in shape and all(row.gives == self._reads for row in self.rows)
        return self._reads if unknown else shape


def _leaves(layer: Any) -> Iterator[Any]:
    """The layers that read x, and then each other's output, from the bottom."""
    if layer.directions:
        yield from _leaves(next(iter(layer.directions.values())))
    elif layer.inner is not None:
        yield from _leaves(layer.inner)
    elif layer.stages:
        for part in layer.parts.values():
            yield from _leaves(part)
    else:
        yield layer


def _reads(leaves: Iterator[Any]) -> str:
    """The shape that the first layer reads at a step, of which a later one may know more."""
    for layer in leaves:
        if layer.input_size is not None:
            return f"(B, {layer.input_size})"
        if layer.symbols is not None:
            return "(B,)"
        if not layer.keeps_features:
            break
    return "(B, ?)"


def _states(layer: Any) -> tuple[str, ...]:
    """Names of the arrays of a layer's state, as far as it tells of them."""
    return ("h", "c")[: len(layer.state_sizes)]


def _state_shapes(layer: Any, states: tuple[str, ...]) -> str:
    sizes = layer.state_sizes[: len(states)]
    if len(set(sizes)) == 1:
        return f"state {', '.join(states)} (B, {sizes[0]})"
    return f"state h (B, {sizes[0]}), c (B, {sizes[1]})"


def _lines(words: Iterator[str]) -> Iterator[str]:
    """As many words in a line as fit."""
    line = ""
    for word in words:
        if line and len(line) + len(word) + 2 > _LINE:
            yield line
            line = ""
        line = f"{line}, {word}" if line else word
    if line:
        yield line


def _title(place: str, name: str) -> str:
    return f"{place}: {name}" if place else name


def _shown(shape: tuple[int, ...]) -> str:
    return str(tuple(map(int, shape)))
