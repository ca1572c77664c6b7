"""Models that the core runs in one call.

A plan takes the arguments of a model as a user gives them, and returns None for an argument that
does not fit: the model then runs layer by layer, and the layer that refuses the argument raises the
error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import crnn._core as _core
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.nodes import Graph, Nodes
from crnn.layers.base.tapes import recurrent_tapes

if TYPE_CHECKING:
    from crnn.common.arrays import Array


class Expansion:
    """One call of a plan, for the tapes of single layers.

    Parameters
    ----------
    tape : _core.PlanTape
    options : ForwardOptions
        Options of the call.
    """

    def __init__(self, tape: Any, options: ForwardOptions) -> None:
        self._tape, self._options = tape, options
        self.value: Callable[[int], Array] = tape.value

    def recurrent(self, node: int, embedding: Any) -> Any:
        """Return the tape of a recurrent layer; with an Embedding, it has read its vectors."""
        vectors = None
        if embedding is not None:
            lengths, mask, *_ = self._options
            vectors, _ = embedding(self._tape.read(node), lengths=lengths, mask=mask)
        return self._tape.layer(node, vectors)

    def options(self, x: Array, number: int, filled: bool) -> ForwardOptions:
        """Return the options of a layer that has read x, the value of a node."""
        options = self._options._replace(layer=number)
        if x.ndim == 2 and x.dtype.kind == "f":  # behind a layer that removes the time axis
            return options.without_steps()
        return options._replace(filled=bool(options.filled or filled))

    def pointwise(self, layer: Any, x: int, number: int, filled: bool) -> Any:
        """Return the tape of a layer without memory: it runs again on its input."""
        value = self.value(x)
        options = self.options(value, number, filled)._asdict()
        del options["resets"]
        return layer.forward(value, **options)[2]

    def pool(self, layer: Any, x: int) -> Any:
        """Return the tape of a Pool: it runs again on its input."""
        options = self._options
        return layer.forward(self.value(x), lengths=options.lengths, mask=options.mask)[2]


class Planned:
    """A model and its plan.

    Parameters
    ----------
    graph : Graph
    nodes : Nodes
        What the whole model has added.
    """

    def __init__(self, graph: Graph, nodes: Nodes) -> None:
        self.core = _core.Plan(graph.dtype, tuple(graph.nodes), nodes.form)
        self.evaluate, self.tape = self.core.forward, nodes.tape

    def run(self, x: Any, state: Any, options: ForwardOptions, keep: bool) -> Any:
        """Return y, state, tape; None if an argument does not fit."""
        lengths, mask, resets, training, call, row, step, _, filled = options
        result = self.core.forward(
            x, state, lengths, mask, resets, training, call, row, step, filled, keep
        )
        if result is None or not keep:
            return result if result is None else (*result, None)
        y, after, tape = result
        return y, after, PlannedTape(self, tape, options)

    def backward(self, owner: Any, tape: PlannedTape, dy: Any, dstate: Any, trace: bool) -> Any:
        """Add to the gradients of `owner`; return dx, dstate; None if an argument does not fit."""
        return self.core.backward(owner, tape.core, dy, dstate, trace)


def planned_model(model: Any, number: int) -> Planned | None:
    """Return a model as one call of the core; None if a part has no nodes or does not fit.

    Parameters
    ----------
    model : Layer
    number : int
        Number of the model in a larger one.
    """
    graph = Graph(model.input_size, model.symbols)
    nodes = model.add_nodes(graph, 0, number)
    if nodes is None or graph.dtype is None:
        return None
    try:
        return Planned(graph, nodes)
    except (TypeError, ValueError):  # layers that do not fit each other
        return None


class PlannedTape:
    """Tape of a model that the core ran in one call. The tapes of its layers are made when asked.

    Parameters
    ----------
    planned : Planned
    core : _core.PlanTape
    options : ForwardOptions
        Options of the call.
    """

    __slots__ = ("_parts", "core", "options", "planned")

    def __init__(self, planned: Planned, core: Any, options: ForwardOptions) -> None:
        self.planned, self.core, self.options = planned, core, options
        self._parts: Any = None

    @property
    def layers(self) -> Any:
        """The tapes of all layers, as a call layer by layer returns them."""
        if self._parts is None:
            self._parts = self.planned.tape(Expansion(self.core, self.options))
        return self._parts

    @property
    def parts(self) -> dict[str, Any]:
        """The tapes by the names of the layers."""
        parts: dict[str, Any] = self.layers.parts
        return parts

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)

    def __getitem__(self, key: Any) -> Any:
        return self.layers[key]

    def request_trace(self) -> None:
        """Make the next backward keep a trace in the tapes of the recurrent layers."""
        for _, tapes in recurrent_tapes(self):
            for tape in tapes:
                tape.traced = True

    def __repr__(self) -> str:
        return repr(self.layers)
