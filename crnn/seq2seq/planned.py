"""Decoders whose layers have nodes, with attention: the core runs all steps in one call.

The results equal those of `crnn.seq2seq.stepwise`, which runs any decoder through its public
methods, up to rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import crnn._core as _core
from crnn.common.arrays import Array, Lengths
from crnn.layers.attention.alignment import MemoryGradient
from crnn.layers.base.arguments import ForwardOptions, first_part_number
from crnn.layers.base.layer import Layer
from crnn.layers.base.nodes import Graph, Nodes, witness
from crnn.layers.compose.planned import Expansion
from crnn.layers.compose.sequential import Sequential
from crnn.seq2seq.decoding import Decoded, DecodedGradient
from crnn.seq2seq.encoding import Encoding

if TYPE_CHECKING:
    from crnn.seq2seq.parts import Seq2SeqParts


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


def decoder_graph(model: Seq2SeqParts, number: int) -> DecoderGraph | None:
    """Return the graph of a decoder; None if a part has no nodes, or not those that are needed.

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
    model: Seq2SeqParts, graph: Graph, sources: tuple[int, ...]
) -> tuple[int, int] | None:
    """Add the attention: return the node that reads h and the node of the context."""
    return None if model.attention is None else model.attention.add_query(graph, sources)


def _add_input(model: Seq2SeqParts, graph: Graph, asked: tuple[int, int] | None) -> int | None:
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
    made : DecoderGraph
    """

    def __init__(self, made: DecoderGraph) -> None:
        graph, self.nodes, _ = made
        self.core = _core.Plan(graph.dtype, tuple(graph.nodes), self.nodes.form)


class DecoderPlans:
    """A cache of the plans of a model, valid while its parts and their methods are the same."""

    def __init__(self) -> None:
        self._cache: tuple[tuple[Any, ...], dict[Any, DecoderPlan | None]] = (), {}

    def __reduce__(self) -> Any:
        return DecoderPlans, ()  # a copy of the model has other layers

    def of(self, model: Seq2SeqParts, layer: int) -> DecoderPlan | None:
        """Return the plan of the decoder of a model with the number `layer`; None without one."""
        if not isinstance(model.decoder, Layer):
            return None
        parts = [model.decoder, model.target_embedding, model.attention]
        present = [part for part in parts if part is not None]
        seen, plans = self._cache
        if not _core.unchanged(present, seen):
            seen, plans = self._cache = witness(present), {}
        key = layer, model.feeds_context
        if key not in plans:
            plans[key] = _new_plan(model, layer)
        return plans[key]


def _new_plan(model: Seq2SeqParts, layer: int) -> DecoderPlan | None:
    number = (first_part_number(layer) + 1) % 2**32
    if type(model.decoder) is not Sequential:
        number = first_part_number(number) % 2**32
    made = decoder_graph(model, number)
    try:
        return None if made is None else DecoderPlan(made)
    except (TypeError, ValueError):  # layers that do not fit each other
        return None


def decoder_plan(model: Seq2SeqParts, layer: int = 0) -> DecoderPlan | None:
    """Return the plan of the decoder of a model with the number `layer`.

    None where the core cannot run the decoder in one call.
    """
    return model._plans.of(model, layer)


class PlannedDecoderTape(NamedTuple):
    """Tape of a decoder that the core ran in one call."""

    core: Any
    plan: DecoderPlan
    options: ForwardOptions

    def check_backward(self, model: Seq2SeqParts) -> None:
        plan = decoder_plan(model, self.options.layer)
        if plan is None or not plan.core.check(self.core, None):
            raise ValueError(
                f"tape: expected one of a decoder like {model.decoder!r:.200}, "
                f"got one of another decoder: {self.core!r}"
            )

    def backward(self, model: Seq2SeqParts, doutputs: Array) -> DecodedGradient:
        plan = decoder_plan(model, self.options.layer)
        assert plan is not None
        gradients = plan.core.backward(model, self.core, doutputs, None, False)
        assert gradients is not None  # check_backward was called before
        dinputs, dstart, dkeys, dvalues = gradients
        return DecodedGradient(dinputs, MemoryGradient(dvalues, dkeys), dstart)

    def decoder_tape(self, model: Seq2SeqParts) -> Any:
        return self.plan.nodes.tape(Expansion(self.core, self.options))


def decode(
    model: Seq2SeqParts,
    target: Array,
    encoding: Encoding,
    lengths: Lengths,
    options: ForwardOptions,
) -> Decoded | None:
    """Run a decoder with input feeding over the steps of a target.

    The parameters are those of `crnn.seq2seq.decoding.decode`. The result is None where the core
    cannot run the decoder in one call.
    """
    plan, memory = decoder_plan(model, options.layer), encoding.memory
    if plan is None or memory is None:
        return None
    training, call, row = options.training, options.call or 0, options.first_row
    source = memory.keys, memory.values, memory.lengths
    result = plan.core.forward(
        target, encoding.state, lengths, None, None, training, call, row, 0, False, True, source
    )
    if result is None:
        return None
    outputs, _, tape = result
    made = PlannedDecoderTape(tape, plan, options._replace(lengths=lengths))
    return Decoded(outputs, tape.weights, target, made)
