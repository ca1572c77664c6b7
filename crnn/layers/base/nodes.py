"""Operations of the core that layers are made of: the nodes of a plan.

A layer of crnn adds its own nodes to a `Graph` in its method `add_nodes`. A model whose layers all
do so, and override nothing, runs in one call of the core (`crnn.layers.compose.planned`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from crnn.layers.base.description import is_crnn_class

#: Methods that run a layer. A layer that replaces one of them has no nodes.
_METHODS = ("forward", "backward", "__call__")


class Nodes(NamedTuple):
    """What a layer has added to a graph.

    Attributes
    ----------
    value : int
        The node whose value is the output of the layer.
    form : form of a state
        None without a state; an integer is a recurrent node; a tuple stands for a list, and a
        PairState for a PairState.
    tape : function
        Returns the tape of the layer, from the `Expansion` of a call.
    """

    value: int
    form: Any
    tape: Callable[[Any], Any]


class Graph:
    """Nodes of a plan, in order. Node 0 is the input.

    Parameters
    ----------
    features : int or None
        Number of features of x; None if the model reads symbols alone.
    symbols : int or None
        Number of symbols K; None if the model reads floats alone.
    """

    def __init__(self, features: int | None, symbols: int | None) -> None:
        self.nodes: list[tuple[Any, ...]] = [("input", (), False, (features or 0, symbols or 0))]
        self.filled = False  # masked steps are answered by a recurrent layer before
        self.reverse = False  # rows are read from their end, by layers with `runs_reversed`
        self.dtype: Any = None
        self.embedding: Any = None  # of the last node, where that looks up vectors

    def add(
        self, operation: str, sources: tuple[int, ...], *rest: Any, filled: bool | None = None
    ) -> int:
        """Add a node that reads the values of other nodes, and return its number."""
        edges = tuple((source, 0) for source in sources)
        filled = self.filled if filled is None else filled
        reading = 4 if self.reverse and not filled else filled
        self.nodes.append((operation, edges, reading, rest))
        self.embedding = None
        return len(self.nodes) - 1

    def add_layer(self, layer: Any, x: int, number: int) -> Nodes | None:
        """Add the nodes of a layer that reads node x; None, without any node, if it has none."""
        count, last = len(self.nodes), self.nodes[-1]
        before = self.filled, self.dtype, self.embedding
        added: Nodes | None = layer.add_nodes(self, x, number)
        if added is None:  # a part of a composition may have added nodes, or replaced the last one
            self.nodes[count - 1 :] = [last]
            self.filled, self.dtype, self.embedding = before
        return added

    def add_delayed(self, node: int, source: int) -> None:
        """Let a node read another one, which may be a later one, at the step before."""
        operation, edges, filled, rest = self.nodes[node]
        self.nodes[node] = operation, (*edges, (source, 1)), filled, rest

    def answer(self, node: int) -> None:
        """Let a node repeat its last value at masked steps, as a recurrent layer does."""
        operation, edges, _, rest = self.nodes[node]
        self.nodes[node] = operation, edges, 3 if self.reverse else 2, rest

    def add_joined(self, x: int, other: int) -> int:
        """Add the concatenation of two values, which a recurrent layer may read apart."""
        embedding = self.embedding if x == len(self.nodes) - 1 else None
        node = self.add("rowwise", (x, other), ("concat",), None, None)
        self.embedding = embedding
        return node

    def matches(self, dtype: Any) -> bool:
        """Return whether a layer of this type fits the others."""
        if self.dtype is None:
            self.dtype = dtype
        return bool(self.dtype == dtype)

    def add_embedding(self, embedding: Any, x: int) -> int:
        """Add the look-up of the vectors of an Embedding."""
        flat = embedding._flat
        dW = flat.trained_views(embedding._frozen).get("W")
        node = self.add("sum", (x,), flat.param_views["W"], None, dW, None)
        self.embedding = embedding
        return node

    def add_drop(self, x: int, p: float, variational: bool, seed: int, number: int) -> int:
        """Add dropout, see `Dropout`; return the node, x itself if nothing is dropped."""
        if p == 0:
            return x
        operation = "drop", p, variational, (seed, 0, 0, 0, number)
        return self.add("rowwise", (x,), operation, None, None)

    def add_recurrent(self, layer: Any, x: int, number: int) -> tuple[int, Any]:
        """Add a recurrent layer; return the node, and the Embedding that it reads itself.

        The look-up of an Embedding right before becomes part of the layer: what a vector gives to
        the sums of the gates is computed once for each symbol. If the vectors are joined with other
        floats, the layer reads symbols beside floats; the Embedding is None then.
        """
        embedding, vectors, sources = self.embedding, (None, None), (x,)
        if embedding is not None and x == len(self.nodes) - 1:
            floats: tuple[int, ...] = ()
            if self.nodes[x][0] == "rowwise":
                _, (_, (other, _)), _, _ = self.nodes.pop()
                floats, embedding = (other,), None
            _, ((symbols, _),), _, (W, _, dW, _) = self.nodes.pop()
            vectors, sources = (W, dW), (*floats, symbols)
        node = self.add("recurrent", sources, layer, number, *vectors)
        self.filled = True
        return node, embedding

    def is_recurrent(self, node: int) -> bool:
        """Return whether a node is a recurrent layer."""
        return bool(self.nodes[node][0] == "recurrent")

    def parts_of_state(self, node: int) -> int | tuple[int, int]:
        """Return a number that stands for the state h of a recurrent node, or two for (h, c)."""
        layer = self.nodes[node][3][0]
        return 2 * node if len(layer.state_sizes) == 1 else (2 * node, 2 * node + 1)

    def layer_of_state(self, part: int) -> Any:
        """Return the layer of a part of the state of a recurrent node, see `parts_of_state`."""
        return self.nodes[part // 2][3][0]

    def add_state(self, part: int) -> int:
        """Add a part of the final state of a recurrent node, see `parts_of_state`."""
        return self.add("state", (part // 2,), part % 2 == 1)

    def add_reader(self, x: int, add: Callable[[int], Nodes | None]) -> Nodes | None:
        """Add a layer by `add`, which gets the node to read; None if it has no nodes.

        If several of its nodes read x, they read a copy: dx is the gradient of the layer, in one
        sum, plus what other readers add.
        """
        begin, filled = len(self.nodes), self.filled
        added = add(x)
        if added is not None and self.readers(x, begin) > 1:
            del self.nodes[begin:]
            self.filled = filled
            added = add(self.add("rowwise", (x,), ("activate", "identity"), None, None))
        return added

    def readers(self, node: int, begin: int) -> int:
        """Return how many edges of the nodes from `begin` on read a node."""
        return sum(source == node for _, edges, *_ in self.nodes[begin:] for source, _ in edges)


class WithNodes:
    """Part of `Layer` that describes a layer as nodes."""

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        """Add the nodes of the layer to a graph; None if it has none: it runs by its methods.

        Parameters
        ----------
        graph : Graph
        x : int
            The node whose value the layer reads.
        number : int
            Number of the layer in the model, see `ForwardOptions.for_part`.
        """
        return None

    #: Names of attributes. If one has another value, `add_nodes` may add other nodes. The layers
    #: inside, `parts`, are watched, too; the attributes tell which ones these are.
    watched: ClassVar[tuple[str, ...]] = ()

    @property
    def runs_reversed(self) -> bool:
        """Whether `add_nodes` respects `reverse` of the graph, and the layer draws no numbers.

        The nodes then read each row from its end, with the bits of a layer that gets it mirrored.
        """
        return False

    if TYPE_CHECKING:

        @property
        def parts(self) -> Mapping[str, Any]: ...


def witness(layers: list[Any]) -> tuple[Any, ...]:
    """Return what `_core.unchanged` compares layers with.

    Raises
    ------
    AttributeError
        If an object is no layer.
    """
    entries = []
    for layer in layers:
        flag = "_frozen" if hasattr(layer, "_frozen") else "trainable"
        flags = (flag,) if hasattr(layer, flag) else ()
        names = ("forward", "backward", *flags, *getattr(layer, "watched", ()))
        values = [getattr(layer, name) for name in names]
        copies = tuple(list(value) if type(value) is list else value for value in values)
        inside = witness(list(layer.parts.values())) if isinstance(layer, WithNodes) else ()
        entries.append((layer, type(layer), type(layer).__call__, names, copies, inside))
    return tuple(entries)


def runs_unchanged(layer: Any, cls: type[Any]) -> bool:
    """Return whether a layer has the methods of this class of crnn that run it.

    Its class is this one, or one of crnn that is derived from it.
    """
    own = type(layer)
    return (
        (own is cls or (issubclass(own, cls) and is_crnn_class(own)))
        and not any(name in vars(layer) for name in _METHODS)
        and all(getattr(own, name) is getattr(cls, name) for name in _METHODS)
        and all(getattr(cls, name).__module__.startswith("crnn.") for name in _METHODS)
    )


def add_pointwise(
    layer: Any, graph: Graph, x: int, number: int, operation: str, *rest: Any
) -> Nodes:
    """Add the only node of a layer without memory."""
    filled = graph.filled
    return pointwise_nodes(layer, x, number, filled, graph.add(operation, (x,), *rest))


def pointwise_nodes(layer: Any, x: int, number: int, filled: bool, node: int) -> Nodes:
    """Return the nodes of a layer without memory.

    The tape is made when it is asked for. Its key is the one that the layer has now, so that a
    layer of other sizes refuses it.
    """
    key = layer._tape_key
    return Nodes(node, None, lambda call: call.pointwise(layer, x, number, filled, key))
