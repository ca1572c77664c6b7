"""Rows of the diagram that `unfolded` draws, from the layers of a model."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from crnn.layers.base.adapted import class_of, dotted_name, layer_of
from crnn.layers.base.layer import Layer, check_layer
from crnn.layers.base.protocol import LayerLike
from crnn.layers.base.summary import summarize

_SIGNS = {"sum": "+", "mul": "×"}  # short names of merges of two directions
_LINE = 28  # largest number of characters in a line of parameters
_MOST = 8  # largest number of lines of parameters


class GraphRow(NamedTuple):
    """A row of boxes: a layer, or a merge of two inputs.

    Attributes
    ----------
    name : str
        Text in each box.
    title : str
        Text beside the row, in bold.
    gives : str
        Shape of the output of a box, at one step.
    notes : tuple of str
        Lines below the title.
    states : tuple of str
        Names of the states; empty for a layer without a state.
    backwards : bool
        Whether the states pass from the last step to the first.
    side : int
        -1 and 1 for the two rows of two directions, which are drawn side by side; otherwise 0.
    joins : int or None
        For a merge with a skip connection, the index of the first row that the connection skips;
        -1 for a merge of the two directions below; None for a layer.
    pools : str
        For a row that removes the time axis, the pooling: "last" reads the last step only. ""
        for all other rows.
    time : bool
        True: one box per step. False: one box, at the last step.
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
    """Rows from the bottom to the top, and the shape of the input of a step in `reads`."""

    rows: list[GraphRow]
    reads: str


def rows_of(model: LayerLike) -> Rows:
    """Return the rows of a model, from the bottom to the top.

    Raises
    ------
    TypeError
        If `model` is no layer.
    ValueError
        If `model` reads more than one sequence.
    """
    check_layer("model", model)
    model = layer_of(model)
    if {"encoder", "decoder"} <= model.parts.keys():
        raise ValueError(
            "model: expected a layer that reads one sequence, got a "
            f"{type(model).__name__}; pass its encoder or its decoder"
        )
    shapes = {row.name: row.shape for row in summarize(model).rows}
    reads = _reads(_leaves(model))
    builder = _Builder(shapes, reads)
    builder.add("", model)
    return Rows(builder.rows, reads)


class _Builder:
    """Builder of the rows, from the bottom to the top.

    Parameters
    ----------
    shapes : dict of str to str
        Output shape of each layer, by its dotted name.
    reads : str
        Input shape of the model at a step. Layers that keep the shape and have no size output it.
    """

    def __init__(self, shapes: dict[str, str], reads: str) -> None:
        self.rows: list[GraphRow] = []
        self._shapes = shapes
        self._reads = reads
        self._time = True

    def add(self, place: str, layer: Any, note: str = "") -> None:
        """Add the rows of a layer."""
        if layer.stages:
            for name, part in layer.parts.items():
                self.add(dotted_name(place, name), part, note)
                note = ""
        elif layer.directions:
            self._add_two_directions(place, layer, note)
        elif layer.inner is not None:
            self._add_wrapped(place, layer, note)
        else:
            self._add_plain(place, layer, note)

    def _add_wrapped(self, place: str, layer: Layer, note: str) -> None:
        """Add the rows of a layer around one inner layer, such as Residual."""
        begin = len(self.rows)
        first = [type(layer.parts[name]).__name__ for name in layer.once]
        if first:
            note = f"starts from {', '.join(first)}(fixed)"
        elif not layer.adds_input:
            note = f"{type(layer).__name__}, {note}".strip(", ")
        self.add(dotted_name(place, "layer"), layer.inner, note)
        if layer.adds_input:
            title, gives = _title(place, "Residual"), self.rows[-1].gives
            self.rows.append(GraphRow("+", title, gives, joins=begin, time=self._time))

    def _add_two_directions(self, place: str, layer: Any, note: str) -> None:
        """Add the rows of both directions and of their merge."""
        for side, (name, part) in zip((-1, 1), layer.directions.items(), strict=True):
            row = self._row(dotted_name(place, name), part, note)
            self.rows.append(row._replace(side=side))
        name = _SIGNS.get(layer.merge, layer.merge)
        title, gives = _title(place, type(layer).__name__), self._shape(place)
        self.rows.append(GraphRow(name, title, gives, joins=-1))

    def _add_plain(self, place: str, layer: Any, note: str) -> None:
        """Add the row of a layer without parts."""
        row = self._row(place, layer, note)
        if self._time and not layer.keeps_time:
            how = str(getattr(layer, "how", ""))
            row = row._replace(pools=how or "?", notes=(how, *row.notes) if how else row.notes)
            self._time = False
        self.rows.append(row._replace(time=self._time))

    def _row(self, place: str, layer: Any, note: str) -> GraphRow:
        """Return the row of a layer without parts."""
        name = class_of(layer).__name__
        states = _states(layer)
        notes = list(_lines(f"{key} {_shown(array.shape)}" for key, array in layer.params.items()))
        if len(notes) > _MOST:
            notes[_MOST - 1 :] = ["…"]
        if states:
            notes.append(_state_shapes(layer, states))
        return GraphRow(
            name,
            _title(place, name),
            self._shape(place),
            (*notes, note) if note else tuple(notes),
            states,
            bool(states) and layer.reads_backwards,
        )

    def _shape(self, place: str) -> str:
        """Return the output shape of a layer at a step."""
        shape = self._shapes.get(place, "(B, T, ?)").replace("T, ", "")
        unknown = "?" in shape and all(row.gives == self._reads for row in self.rows)
        return self._reads if unknown else shape


def _leaves(layer: Any) -> Iterator[Any]:
    """Yield the layers without parts, from the bottom; of two directions the first."""
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
    """Return the input shape of a step, from the first layer that determines it."""
    for layer in leaves:
        if layer.input_size is not None:
            return f"(B, {layer.input_size})"
        if layer.symbols is not None:
            return "(B,)"
        if not layer.keeps_features:
            break
    return "(B, ?)"


def _states(layer: Any) -> tuple[str, ...]:
    """Return the names of the arrays of a layer's state."""
    return ("h", "c")[: len(layer.state_sizes)]


def _state_shapes(layer: Any, states: tuple[str, ...]) -> str:
    """Return the names and shapes of a layer's states as a text."""
    sizes, depth = layer.state_sizes[: len(states)], layer.state_depth
    rows = f"B, {depth}" if depth > 1 else "B"
    if len(set(sizes)) == 1:
        return f"state {', '.join(states)} ({rows}, {sizes[0]})"
    return f"state h ({rows}, {sizes[0]}), c ({rows}, {sizes[1]})"


def _lines(words: Iterator[str]) -> Iterator[str]:
    """Yield lines of as many words as fit."""
    line = ""
    for word in words:
        if line and len(line) + len(word) + 2 > _LINE:
            yield line
            line = ""
        line = f"{line}, {word}" if line else word
    if line:
        yield line


def _title(place: str, name: str) -> str:
    """Return the title of a row: the dotted name of the layer, and its class."""
    return f"{place}: {name}" if place else name


def _shown(shape: tuple[int, ...]) -> str:
    """Return a shape as a text."""
    return str(tuple(map(int, shape)))
