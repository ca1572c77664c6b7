"""Models, and runs of the layers of a Sequential, that the core runs in one call.

A plan takes the arguments of a model as a user gives them, and returns None for an argument that
does not fit: the model then runs layer by layer, and the layer that refuses the argument raises the
error.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import crnn._core as _core
from crnn.common.representation import never_raising
from crnn.layers.base.arguments import ForwardOptions, first_part_number
from crnn.layers.base.nodes import Graph, Nodes, witness
from crnn.layers.base.tapes import recurrent_tapes
from crnn.layers.base.trainable import NO_TAPE
from crnn.layers.compose.base import Runner, RunsParts

if TYPE_CHECKING:
    from crnn.common.arrays import Array
    from crnn.layers.base.layer import Layer


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
        self.value: Callable[[int], Array | None] = tape.value

    def recurrent(self, node: int, embedding: Any) -> Any:
        """Return the tape of a recurrent layer; with an Embedding, it has read its vectors."""
        if not self._tape.keeps(node):
            return NO_TAPE
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

    def pointwise(self, layer: Any, x: int, number: int, filled: bool, key: Any) -> Any:
        """Return the tape of a layer without memory: it runs again on its input.

        The key of the tape is the one that the layer had during the call.
        """
        value = self.value(x)
        if value is None:
            return NO_TAPE
        options = self.options(value, number, filled)._asdict()
        del options["resets"], options["needs_dx"]
        return layer.forward(value, **options)[2]._replace(key=key)

    def temporal(self, layer: Any, x: int, form: Any, number: int, filled: bool) -> Any:
        """Return the tape of a layer with a state of its own: it runs again on its input."""
        value = self.value(x)
        if value is None:
            return NO_TAPE
        options = self.options(value, number, filled)._asdict()
        del options["needs_dx"]
        return layer.forward(value, self._starts(form), **options)[2]

    def _starts(self, form: Any) -> Any:
        """Return the initial states of nodes that are no recurrent layers."""
        if form is None or isinstance(form, int):
            return None if form is None else self._tape.start(form)
        starts = list(map(self._starts, form))
        return None if all(start is None for start in starts) else starts

    def pool(self, layer: Any, x: int) -> Any:
        """Return the tape of a Pool: it runs again on its input."""
        options, value = self._options, self.value(x)
        if value is None:
            return NO_TAPE
        return layer.forward(value, lengths=options.lengths, mask=options.mask)[2]


class Planned:
    """A model, or a run of layers, and its plan.

    Parameters
    ----------
    graph : Graph
    nodes : Nodes
        What the whole model has added.
    number : int
        Number of the model in a larger one; of a run, that of its Sequential.
    """

    def __init__(self, graph: Graph, nodes: Nodes, number: int) -> None:
        self.number = number
        self.core = _core.Plan(graph.dtype, tuple(graph.nodes), nodes.form)
        self.evaluate, self.tape = self.core.forward, nodes.tape
        self.is_sequence = type(nodes.form) is tuple
        self.count = len(nodes.form) if isinstance(nodes.form, tuple) else 1

    def run(self, x: Any, state: Any, options: ForwardOptions, keep: bool) -> Any:
        """Return y, state, tape; None if an argument does not fit."""
        lengths, mask, resets, training, call, row, step, _, filled, needs_dx = options
        whole = None, needs_dx is not False  # no memory
        result = self.core.forward(
            x, state, lengths, mask, resets, training, call, row, step, filled, keep, *whole
        )
        if result is None or not keep:
            return result if result is None else (*result, None)
        y, after, tape = result
        return y, after, PlannedTape(self, tape, options)

    def backward(self, owner: Any, tape: PlannedTape, dy: Any, dstate: Any, trace: bool) -> Any:
        """Add to the gradients of `owner`; return dx, dstate; None if an argument does not fit."""
        return self.core.backward(owner, tape.core, dy, dstate, trace)


def _planned(graph: Graph, nodes: Nodes, number: int) -> Planned | None:
    """Return the plan of a graph; None if its layers have no type, or do not fit each other."""
    try:
        return None if graph.dtype is None else Planned(graph, nodes, number)
    except (TypeError, ValueError):
        return None


def planned_model(model: Any, number: int) -> Planned | None:
    """Return a model as one call of the core; None if a part has no nodes or does not fit.

    Parameters
    ----------
    model : Layer
    number : int
        Number of the model in a larger one.
    """
    graph = Graph(model.input_size, model.symbols)
    nodes = graph.add_layer(model, 0, number)
    return None if nodes is None else _planned(graph, nodes, number)


class Stages:
    """What a composition knows of its layers. It is valid while these do not change.

    Parameters
    ----------
    layers : list of layers
    """

    def __init__(self, layers: list[Any]) -> None:
        self.witness = witness(layers)
        self.stages = list(map(Runner, layers))


class RunsPlanned(RunsParts):
    """Base of compositions that the core may run in one call."""

    @abstractmethod
    def _planned(self) -> Stages:
        """Return what is known of the layers; make it anew if a layer has changed."""

    @property
    def stochastic(self) -> bool:
        """Whether any layer draws random numbers in training that depend on `call`."""
        for stage in self._planned().stages:  # a generator would add a function call for each layer
            if stage.takes_call and (stage.from_outside or stage.layer.stochastic):
                return True
        return False


class Run(NamedTuple):
    """Consecutive layers of a Sequential that the core runs in one call."""

    begin: int
    end: int
    planned: Planned


def planned_runs(layers: Sequence[Layer], number: int) -> dict[int, Run]:
    """Return the longest runs of layers with nodes, by the index of the first layer.

    A run has at least two layers, or all. Layers behind one that removes the time axis, and is in
    no run itself, are in none.

    Parameters
    ----------
    layers : sequence of Layer
        The layers of a Sequential.
    number : int
        Number of the Sequential in a larger model.
    """
    runs, begin, has_time = dict[int, Run](), 0, True
    while begin < len(layers) and has_time:
        graph = Graph(width_read(layers, begin), layers[begin].symbols)
        nodes = joined_nodes(graph, layers, begin, 0, number)
        end = begin + max(1, len(nodes))
        if len(nodes) >= min(2, len(layers)):
            planned = _planned(graph, sequence_of(nodes), number)
            if planned is not None:
                runs[begin] = Run(begin, end, planned)
        has_time = all(layer.keeps_time for layer in layers[begin:end])
        begin = end
    return runs


def width_read(layers: Sequence[Layer], begin: int = 0) -> int | None:
    """Return the features of x: those of the first layer that does not keep their number."""
    for i in range(begin, len(layers)):
        if layers[i].input_size is not None or not layers[i].keeps_features:
            return layers[i].input_size
    return None


def joined_nodes(
    graph: Graph, layers: Sequence[Layer], begin: int, x: int, number: int
) -> list[Nodes]:
    """Add layers, each of which reads the one before, up to the first that has no nodes.

    Parameters
    ----------
    graph : Graph
    layers : sequence of Layer
        The layers of a Sequential.
    begin : int
        The first layer to add.
    x : int
        The node whose value it reads.
    number : int
        Number of the Sequential in a larger model.
    """
    nodes, first = list[Nodes](), first_part_number(number)
    for i in range(begin, len(layers)):
        added = graph.add_layer(layers[i], x, (first + i) % 2**32)
        if added is None:
            break
        nodes.append(added)
        x = added.value
    return nodes


def sequence_of(nodes: list[Nodes]) -> Nodes:
    """Return the nodes of a sequence of layers, from those of each layer."""
    forms, tapes = tuple(part.form for part in nodes), [part.tape for part in nodes]
    return Nodes(nodes[-1].value, forms, lambda call: SequentialTape(tape(call) for tape in tapes))


class SequentialTape(tuple[Any, ...]):
    """Tapes of all layers of one forward, as a tuple."""

    @property
    def parts(self) -> dict[str, Any]:
        """The tapes by the names of the layers, "0", "1", ..."""
        return {str(i): tape for i, tape in enumerate(self)}


class LazyTape:
    """Base of tapes whose content, the tapes of all layers, is made when it is asked for."""

    __slots__ = ("_layers",)

    _layers: Any

    def _expanded(self) -> Any:
        """Return the tapes of all layers, as a call layer by layer returns them."""
        raise NotImplementedError

    @property
    def layers(self) -> Any:
        """The tapes of all layers, as a call layer by layer returns them."""
        if self._layers is None:
            self._layers = self._expanded()
        return self._layers

    @property
    def parts(self) -> dict[str, Any]:
        """The tapes by the names of the layers."""
        parts: dict[str, Any] = self.layers.parts
        return parts

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the tapes of all layers, such as those of a Bidirectional."""
        if name.startswith("_") or name == "layers":
            raise AttributeError(name)
        return getattr(self.layers, name)

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

    @never_raising
    def __repr__(self) -> str:
        return repr(self.layers)


class PlannedTape(LazyTape):
    """Tape of a model, or of a run of layers, that the core ran in one call.

    Parameters
    ----------
    planned : Planned
    core : _core.PlanTape
    options : ForwardOptions
        Options of the call.
    """

    __slots__ = ("core", "options", "planned")

    def __init__(self, planned: Planned, core: Any, options: ForwardOptions) -> None:
        self.planned, self.core, self.options = planned, core, options
        self._layers = None

    def __len__(self) -> int:
        return self.planned.count

    def _expanded(self) -> Any:
        return self.planned.tape(Expansion(self.core, self.options))


class MixedTape(LazyTape):
    """Tape of a Sequential of which the core ran some layers in one call.

    Parameters
    ----------
    pieces : list
        The tapes of consecutive layers: the PlannedTape of a run, or a SequentialTape.
    """

    __slots__ = ("pieces",)

    def __init__(self, pieces: list[Any]) -> None:
        self.pieces = pieces
        self._layers = None

    def _expanded(self) -> SequentialTape:
        return SequentialTape(tape for piece in self.pieces for tape in piece)


def joined_tapes(pieces: list[Any]) -> Any:
    """Return the tape of a Sequential.

    Parameters
    ----------
    pieces : list
        The tapes of consecutive layers: the PlannedTape of a run, or a list of tapes.
    """
    tapes = [SequentialTape(piece) if type(piece) is list else piece for piece in pieces]
    return tapes[0] if len(tapes) == 1 else MixedTape(tapes)
