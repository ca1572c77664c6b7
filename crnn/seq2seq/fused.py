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
from crnn.common.arrays import Array
from crnn.common.checks import valid_steps
from crnn.layers.attention.alignment import MemoryGradient
from crnn.layers.base.arguments import Given
from crnn.layers.compose.lowering import Table, described, is_core_layer, table_layer
from crnn.layers.compose.sequential import Sequential, SequentialTape
from crnn.layers.pointwise.dropout import Dropout
from crnn.seq2seq.decoding import Decoded, DecodedGradient
from crnn.seq2seq.encoding import Encoding

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
    table: Table | None  # of the symbols that occur
    made_of: tuple[str | None, ...]  # what the layers of the decoder are

    def check_back(self, model: Seq2SeqParts) -> None:
        if not runs(model) or _made_of(model) != self.made_of:
            raise ValueError(
                f"tape: expected one of a decoder like {model.decoder!r:.200}, "
                f"got one of {', '.join(map(str, self.made_of))}"
            )

    def back(self, model: Seq2SeqParts, dy: Array, dcontext: Array | None) -> DecodedGradient:
        assert dcontext is not None
        lowest, *others = (level.layer for level in _levels(model))
        reads: Any = nullcontext(lowest)
        if self.table is not None:
            assert model.target_embedding is not None
            reads = self.table.gathering(model.target_embedding, lowest)
        with reads as reader:
            arguments = (reader, *others), dy, dcontext, *_query_map(model, "grads")
            dx, dkeys, dvalues, dstates = model._decode_back(self.core, *arguments)
        dfed = None if self.table is not None else dx[:, :, : model.target_width]
        dstart = _nested(model.decoder, iter(dstates))
        return DecodedGradient(dfed, MemoryGradient(dvalues, dkeys), dstart)

    def shown(self, model: Seq2SeqParts) -> Any:
        return _nested(model.decoder, iter(self.core.levels), SequentialTape)


class Level(NamedTuple):
    """A recurrent layer of the decoder, its number in the model, and what is dropped before it."""

    layer: Any
    number: int
    dropout: tuple[float, int, int, bool] | None = None  # p, seed, number, variational


def levels_of(decoder: Any, given: Given) -> list[Level] | None:
    """The recurrent layers that a decoder is made of, lowest first; None for any other decoder.

    Dropout may stand between them. `given` is what the decoder is given: layers draw the numbers
    that they draw in `stepwise`.
    """
    levels: list[Level] = []
    dropout: tuple[float, int, int, bool] | None = None
    for part, own in _leaves(decoder, given if type(decoder) is Sequential else given.part(0)):
        if type(part) is Dropout and levels and dropout is None:
            dropout = (part.p, part.seed, own.layer, part.variational)
        elif is_core_layer(part):
            levels.append(Level(part, own.layer, dropout))
            dropout = None
        else:
            return None
    return levels if levels and dropout is None else None


def _leaves(layer: Any, given: Given) -> Iterator[tuple[Any, Given]]:
    """The parts of a Sequential, of those inside of it as well, each with what it is given."""
    if type(layer) is not Sequential:
        yield layer, given
        return
    for i, part in enumerate(layer.layers):
        yield from _leaves(part, given.part(i))


def runs(model: Seq2SeqParts) -> bool:
    """Whether the decoder of a model can be run here."""
    return levels_of(model.decoder, Given()) is not None


def draws(model: Seq2SeqParts) -> bool:
    """Whether it drops anything in training."""
    names = ("recurrent_dropout", "weight_drop", "zoneout")
    levels = _levels(model)
    inside = any(np.any(level.layer.options[name]) for level in levels for name in names)
    return inside or any(level.dropout for level in levels)


def _levels(model: Seq2SeqParts, given: Given = Given()) -> list[Level]:  # noqa: B008
    levels = levels_of(model.decoder, given)
    assert levels is not None
    return levels


def _made_of(model: Seq2SeqParts) -> tuple[str | None, ...]:
    """What layers must have in common with those of a tape."""
    return tuple(described(level.layer) for level in _levels(model))


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
    """W_query as it lies in memory, and v, of `params` or of `grads`; None where there is none."""
    arrays = getattr(model.attention, what)
    W_query = arrays.get("W_query")
    return None if W_query is None else W_query.T, arrays.get("v")


def decode(
    model: Seq2SeqParts,
    target: Array,
    encoding: Encoding,
    lengths: NDArray[np.int64] | None,
    given: Given,
) -> Decoded:
    """Run a decoder with input feeding over the steps of a target.

    The parameters are those of `crnn.seq2seq.decoding.decode`; the decoder one that has levels.
    """
    levels, memory = _levels(model, given.part(1)), encoding.memory
    assert memory is not None
    table, symbols, C = None, None, memory.values.shape[2]
    own = model.target_width if model.target_embedding is None else 0
    x = np.zeros((*target.shape[:2], own + C), model.dtype)
    layers = [level.layer for level in levels]
    there = None if lengths is None else valid_steps(lengths, target.shape)
    if model.target_embedding is None:
        x[:, :, :own] = target if there is None else np.where(there[:, :, None], target, 0)
    else:
        table = Table(model.target_embedding, layers[0], target, there)
        symbols, layers[0] = table.rows, table.layer
    states, numbers = _flat(model.decoder, encoding.state), [level.number for level in levels]
    told = tuple(zip(layers, states, numbers, [level.dropout for level in levels], strict=True))
    queries = _query_map(model, "params")
    attended = memory.keys, memory.values, memory.lengths, *queries
    noise = given.training, given.call or 0, given.first_row
    y, _, tape = model._decode(told, x, symbols, lengths, *attended, *noise)
    context = tape.contexts
    return Decoded(y, context, tape.weights, target, FusedTape(tape, table, _made_of(model)))


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
    levels = _levels(model)
    assert model.target_embedding is not None
    layers, vectors = [level.layer for level in levels], model.target_embedding.params["W"]
    in_table = len(vectors) <= TABLE_SYMBOLS
    if in_table:
        layers[0] = table_layer(layers[0], vectors)
    told = tuple(zip(layers, _flat(model.decoder, encoding.state), strict=True))
    values, keys, lengths = encoding.memory or (None, None, None)
    W_query, v = _query_map(model, "params") if model.attention is not None else (None, None)
    output = model.output.params
    model._generate(
        told,
        None if in_table else vectors,
        model.feeds,
        keys,
        values,
        lengths,
        W_query,
        v,
        output["W"].T,
        output.get("b"),
        start,
        tuple(searches),
    )


def shares(model: Seq2SeqParts, rows: int) -> list[tuple[int, int]]:
    """How rows are shared out among threads: first and last one behind of each share."""
    threads = min(_core.num_threads(), rows)
    if rows * model.decoder_output * model.decoder_output < SHARED_WORK:
        threads = 1
    ends = [rows * i // threads for i in range(threads + 1)] if threads else [0, 0]
    return list(itertools.pairwise(ends))
