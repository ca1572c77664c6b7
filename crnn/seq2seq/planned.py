"""Decoders whose layers have nodes, with attention: the core runs all steps in one call.

The results equal those of `crnn.seq2seq.stepwise`, which runs any decoder through its public
methods, up to rounding.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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

    def of(self, model: Seq2SeqParts, layer: int, logits: bool) -> DecoderPlan | None:
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


def _new_plan(model: Seq2SeqParts, layer: int, logits: bool) -> DecoderPlan | None:
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


def decoder_plan(model: Seq2SeqParts, layer: int = 0) -> DecoderPlan | None:
    """Return the plan of the decoder of a model with the number `layer`.

    None where the core cannot run the decoder in one call.
    """
    return model._plans.of(model, layer, False)


def generation_plan(model: Seq2SeqParts) -> DecoderPlan | None:
    """Return the plan of the decoder and the output layer of a model of symbols.

    None where the core cannot run both in one call.
    """
    return model._plans.of(model, 0, True)


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


# --------------------------------------------------------------------------------------------------
# Generation
# --------------------------------------------------------------------------------------------------

#: Number of multiply-adds per step of one layer from which the rows are divided among threads.
SHARED_WORK = 1e5


def shares(model: Seq2SeqParts, rows: int) -> list[tuple[int, int]]:
    """Return how rows are divided among threads: the first row and the end of each share."""
    threads = min(_core.num_threads(), rows)
    if rows * model.decoder_output * model.decoder_output < SHARED_WORK:
        threads = 1
    ends = [rows * i // threads for i in range(threads + 1)] if threads else [0, 0]
    return list(itertools.pairwise(ends))


def generate_symbols(
    plan: DecoderPlan, encoding: Encoding, start: NDArray[np.int64], searches: Sequence[Any]
) -> None:
    """Run searches to their ends; each row of the encoding is the source of one group.

    Parameters
    ----------
    plan : DecoderPlan
        A `generation_plan`.
    encoding : Encoding
        The encoding of the sources.
    start : array (B,)
        The first input symbol of each row.
    searches : sequence of Search
        Searches over consecutive groups of rows; each may run on its own thread.
    """
    if not len(start):
        return
    memory = encoding.memory
    source = None if memory is None else (memory.keys, memory.values, memory.lengths)
    stream = plan.core.stream(len(start), encoding.state, source)
    assert stream is not None  # no part of a decoder reads backwards
    stream._generate(start, tuple(searches))
