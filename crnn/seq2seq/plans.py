"""The plan of a decoder: its nodes from the target to the output layer, made once for a model."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import crnn._core as _core
from crnn.layers.attention.alignment import Attention
from crnn.layers.base.arguments import first_part_number
from crnn.layers.base.layer import Layer
from crnn.layers.base.nodes import Graph, Nodes, witness
from crnn.layers.compose.sequential import Sequential
from crnn.layers.pointwise.dense import Dense
from crnn.layers.pointwise.embedding import Embedding


class DecoderParts(Protocol):
    """What a plan reads of a Seq2Seq."""

    decoder: Any
    target_embedding: Embedding | None
    attention: Attention | None
    output: Dense
    target_symbols: int | None
    target_width: int

    @property
    def feeds_context(self) -> bool:
        """Whether the input of the decoder includes the context."""


class DecoderGraph(NamedTuple):
    """Nodes from the target to the input of the output layer.

    Attributes
    ----------
    graph : Graph
        Node 0 is the target.
    decoder : Nodes
        Those of the decoder alone.
    outputs : int
        The node of the decoder's output, with attention joined with the context.
    """

    graph: Graph
    decoder: Nodes
    outputs: int


def decoder_graph(model: DecoderParts, number: int) -> DecoderGraph | None:
    """Return the graph of a decoder; None if a part does not have the nodes that are needed.

    Parameters
    ----------
    model : Seq2Seq
    number : int
        Number of the decoder in the model.
    """
    K, feeds = model.target_symbols, model.feeds_context
    graph = Graph(model.target_width if K is None else None, K)
    asked = _add_query(model, graph, ()) if feeds else None
    x = _add_input(model, graph, asked)
    if x is None or (feeds and asked is None) or not isinstance(model.decoder, Layer):
        return None
    nodes = model.decoder.add_nodes(graph, x, number)
    if nodes is None:
        return None
    if model.attention is None:
        return DecoderGraph(graph, nodes, nodes.value)
    if asked is None:
        asked = _add_query(model, graph, (nodes.value,))
    elif graph.nodes[nodes.value][0] == "recurrent":
        graph.add_delayed(asked[0], nodes.value)
    else:
        asked = None  # the first query is h of an initial state, which only a recurrent layer has
    if asked is None:
        return None
    return DecoderGraph(graph, nodes, graph.add_joined(nodes.value, asked[1]))


def _add_query(
    model: DecoderParts, graph: Graph, sources: tuple[int, ...]
) -> tuple[int, int] | None:
    """Add the attention: return the node that reads h and the node of the context."""
    return None if model.attention is None else model.attention.add_query(graph, sources)


def _add_input(model: DecoderParts, graph: Graph, asked: tuple[int, int] | None) -> int | None:
    """Add the input of the decoder: the target or its vectors, joined with the context."""
    x, embedding = 0, model.target_embedding
    if embedding is not None:
        vectors = embedding.add_nodes(graph, x, 0)
        if vectors is None:
            return None
        x = vectors.value
    return x if asked is None else graph.add_joined(x, asked[1])


class DecoderPlan:
    """A decoder as one call of the core.

    Parameters
    ----------
    graph : Graph
    nodes : Nodes
        Those of the decoder alone.
    """

    def __init__(self, graph: Graph, nodes: Nodes) -> None:
        self.nodes = nodes
        self.core = _core.Plan(graph.dtype, tuple(graph.nodes), self.nodes.form)


class DecoderPlans:
    """A cache of the plans of a model, valid while its parts and their methods are the same."""

    def __init__(self) -> None:
        self._cache: tuple[tuple[Any, ...], dict[Any, DecoderPlan | None]] = (), {}

    def __reduce__(self) -> Any:
        return DecoderPlans, ()  # a copy of the model has other layers

    def of(self, model: DecoderParts, layer: int, logits: bool) -> DecoderPlan | None:
        """Return the plan of the decoder of a model with the number `layer`; None without one.

        With `logits` it ends with the output layer.
        """
        if not isinstance(model.decoder, Layer):
            return None
        parts = [model.decoder, model.target_embedding, model.attention, model.output]
        present = [part for part in parts if part is not None]
        seen, plans = self._cache
        if not _core.unchanged(present, seen):
            seen, plans = self._cache = witness(present), {}
        key = layer, model.feeds_context, logits
        if key not in plans:
            plans[key] = _new_plan(model, layer, logits)
        return plans[key]


def _new_plan(model: DecoderParts, layer: int, logits: bool) -> DecoderPlan | None:
    number = (first_part_number(layer) + 1) % 2**32
    if type(model.decoder) is not Sequential:
        number = first_part_number(number) % 2**32
    made = decoder_graph(model, number)
    if made is None or (logits and model.output.add_nodes(made.graph, made.outputs, 0) is None):
        return None
    try:
        return DecoderPlan(made.graph, made.decoder)
    except (TypeError, ValueError):  # layers that do not fit each other
        return None
