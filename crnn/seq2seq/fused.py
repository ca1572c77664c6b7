"""A decoder of the core's own recurrent layers: all its steps, attention included, in one call.

What `crnn.seq2seq.stepwise` does for any decoder through its public methods, and the same numbers
up to rounding. An embedding is lowered as `crnn.layers.lowering` does it: W_x e is taken once for
each symbol, and each step looks its row up beside the context.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import crnn._core as _core
from crnn.common.arrays import Array, Lengths
from crnn.common.checks import valid_steps
from crnn.layers.attention.alignment import MemoryGradient
from crnn.layers.base.arguments import ForwardOptions, first_part_number
from crnn.layers.compose.lowering import SymbolTable, signature_text, table_layer, tape_signature
from crnn.layers.compose.sequential import Sequential, SequentialTape
from crnn.layers.pointwise.dropout import Dropout
from crnn.seq2seq.decoding import Decoded, DecodedGradient
from crnn.seq2seq.encoding import Encoding
from crnn.seq2seq.levels import Level

if TYPE_CHECKING:
    from crnn.seq2seq.parts import Seq2SeqParts

TABLE_SYMBOLS = 256
"""In use, symbols are all taken through W_x at once where there are at most so many: whatever the
number of rows, because either way has bits of its own."""

SHARED_WORK = 1e5
"""Multiply-adds of a step of one layer from which on the rows are shared out among threads."""


class FusedTape(NamedTuple):
    """Of a run in one call of the core."""

    core: Any
    table: SymbolTable | None  # of the symbols that occur
    made_of: list[Any]  # of each layer of the decoder its `tape_signature`

    def check_back(self, model: Seq2SeqParts) -> None:
        levels = levels_of(model)
        if levels is None or [tape_signature(level.layer) for level in levels] != self.made_of:
            raise ValueError(
                f"tape: expected one of a decoder like {model.decoder!r:.200}, "
                f"got one of {', '.join(map(signature_text, self.made_of))}"
            )

    def back(self, model: Seq2SeqParts, dy: Array, dcontext: Array | None) -> DecodedGradient:
        assert dcontext is not None
        lowest, *others = (level.layer for level in _known(model))
        reads: Any = nullcontext(lowest)
        if self.table is not None:
            assert model.target_embedding is not None
            reads = self.table.adding_gradients(model.target_embedding, lowest)
        with reads as reader:
            arguments = (reader, *others), dy, dcontext, *_query_map(model, "grad_views")
            dx, dkeys, dvalues, dstates = model._decode_back(self.core, *arguments)
        dfed = None if self.table is not None else dx[:, :, : model.target_width]
        dstart = _nested(model.decoder, iter(dstates))
        return DecodedGradient(dfed, MemoryGradient(dvalues, dkeys), dstart)

    def shown(self, model: Seq2SeqParts) -> Any:
        if type(model.decoder) is not Sequential:
            return self.core.levels[0]
        return _nested(model.decoder, iter(self.core.levels), SequentialTape)


def levels_of(model: Seq2SeqParts, layer: int = 0) -> list[Level] | None:
    """The levels of the decoder of a model with this number; None where it cannot be run here."""
    number = (first_part_number(layer) + 1) % 2**32
    decoder = model.decoder
    if type(decoder) is not Sequential:
        number = first_part_number(number) % 2**32
    return model._levels.of(decoder, number)


def draws(levels: list[Level]) -> bool:
    """Whether anything is dropped in training."""
    names = ("recurrent_dropout", "weight_drop", "zoneout")
    inside = any(np.any(level.layer.options[name]) for level in levels for name in names)
    return inside or any(level.dropout is not None for level in levels)


def _known(model: Seq2SeqParts) -> list[Level]:
    levels = levels_of(model)
    assert levels is not None
    return levels


def _flat(decoder: Any, state: Any) -> list[Any]:
    """The state of each level."""
    if type(decoder) is not Sequential:
        return [] if type(decoder) is Dropout else [state]
    pairs = zip(decoder.layers, state, strict=True)
    return [flat for part, own in pairs for flat in _flat(part, own)]


def _nested(decoder: Any, levels: Iterator[Any], kind: Callable[..., Any] = list) -> Any:
    """What there is of each level, states or tapes, as the decoder has them."""
    if type(decoder) is not Sequential:
        return None if type(decoder) is Dropout else next(levels)
    return kind([_nested(part, levels, kind) for part in decoder.layers])


def _query_map(model: Seq2SeqParts, what: str) -> tuple[Any, Any]:
    """W_query as it lies in memory, and v: of `param_views` or `grad_views`; None without."""
    arrays = getattr(model.attention, what)
    W_query = arrays.get("W_query")
    return None if W_query is None else W_query.T, arrays.get("v")


def decode(
    model: Seq2SeqParts, target: Array, encoding: Encoding, lengths: Lengths, given: ForwardOptions
) -> Decoded:
    """Run a decoder with input feeding over the steps of a target.

    The parameters are those of `crnn.seq2seq.decoding.decode`; the decoder one that has levels.
    """
    levels, memory = levels_of(model, given.layer), encoding.memory
    assert levels is not None
    assert memory is not None
    table, symbols, C = None, None, memory.values.shape[2]
    own = model.target_width if model.target_embedding is None else 0
    x = np.zeros((*target.shape[:2], own + C), model.dtype)
    told: list[Any] = []
    made_of: list[Any] = []
    there = None if lengths is None else valid_steps(lengths, target.shape)
    if model.target_embedding is None:
        x[:, :, :own] = target if there is None else np.where(there[:, :, None], target, 0)
    else:
        table = SymbolTable(model.target_embedding, levels[0].layer, target, there)
        symbols = table.rows
    stacked = type(model.decoder) is Sequential
    states = _flat(model.decoder, encoding.state) if stacked else [encoding.state]
    for level, state in zip(levels, states, strict=True):
        layer = level.layer if told or table is None else table.layer
        told.append((layer, state, level.number, level.dropout and level.drops))
        made_of.append(tape_signature(level.layer))
    attended = memory.keys, memory.values, memory.lengths, *_query_map(model, "param_views")
    noise = given.training, given.call or 0, given.first_row
    y, _, tape = model._decode(tuple(told), x, symbols, lengths, *attended, *noise)
    return Decoded(y, tape.contexts, tape.weights, target, FusedTape(tape, table, made_of))


# --------------------------------------------------------------------------------------------------
# In use
# --------------------------------------------------------------------------------------------------


def generate_symbols(
    model: Seq2SeqParts, encoding: Encoding, start: NDArray[np.int64], searches: Sequence[Any]
) -> None:
    """Go through searches to their ends, from one encoding of each source.

    Parameters
    ----------
    model : Seq2Seq
        With a decoder that has levels, and symbols.
    encoding : Encoding
    start : array (B,)
        The symbol that each row is fed first.
    searches : sequence of Search
        Some groups each, one behind the other: each may be run by a thread of its own.
    """
    levels = _known(model)
    assert model.target_embedding is not None
    layers, vectors = [level.layer for level in levels], model.target_embedding.params["W"]
    in_table = len(vectors) <= TABLE_SYMBOLS
    if in_table:
        layers[0] = table_layer(layers[0], vectors)
    told = tuple(zip(layers, _flat(model.decoder, encoding.state), strict=True))
    values, keys, lengths = encoding.memory or (None, None, None)
    queries: tuple[Any, Any] = None, None
    if model.attention is not None:
        queries = _query_map(model, "param_views")
    attended, fed = (keys, values, lengths, *queries), None if in_table else vectors
    W, b = model.output.params["W"], model.output.params.get("b")
    model._generate(told, fed, model.feeds, *attended, W.T, b, start, tuple(searches))


def shares(model: Seq2SeqParts, rows: int) -> list[tuple[int, int]]:
    """How rows are shared out among threads: first and last one behind of each share."""
    threads = min(_core.num_threads(), rows)
    if rows * model.decoder_output * model.decoder_output < SHARED_WORK:
        threads = 1
    ends = [rows * i // threads for i in range(threads + 1)] if threads else [0, 0]
    return list(itertools.pairwise(ends))
