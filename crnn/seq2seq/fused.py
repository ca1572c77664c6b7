"""Decoders of crnn's own recurrent layers: the core runs all steps, with attention, in one call.

The results equal those of `crnn.seq2seq.stepwise`, which runs any decoder through its public
methods, up to rounding. The product W_x e of the lowest layer and the vector of a symbol is
computed once for each symbol that occurs, and each step reads the result for its symbol; the
context is the rest of the layer's input.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.layers.base.arguments import first_part_number
from crnn.layers.compose.sequential import Sequential
from crnn.layers.pointwise.dropout import Dropout
from crnn.seq2seq.encoding import Encoding
from crnn.seq2seq.levels import Level

if TYPE_CHECKING:
    from crnn.seq2seq.parts import Seq2SeqParts

#: In generation, W_x e is computed for all symbols in advance if there are at most this many. The
#: limit does not depend on the number of rows, because the two ways differ in the last bits.
TABLE_SYMBOLS = 256

#: Number of multiply-adds per step of one layer from which the rows are divided among threads.
SHARED_WORK = 1e5


def levels_of(model: Seq2SeqParts, layer: int = 0) -> list[Level] | None:
    """Return the levels of the decoder of a model with the number `layer`.

    None where the core cannot run the decoder in one call.
    """
    number = (first_part_number(layer) + 1) % 2**32
    decoder = model.decoder
    if type(decoder) is not Sequential:
        number = first_part_number(number) % 2**32
    return model._levels.of(decoder, number)


def draws(levels: list[Level]) -> bool:
    """Return whether the decoder draws random numbers in training, for any kind of dropout."""
    names = ("recurrent_dropout", "weight_drop", "zoneout")
    inside = any(np.any(level.layer.options[name]) for level in levels for name in names)
    return inside or any(level.dropout is not None for level in levels)


def _existing_levels(model: Seq2SeqParts) -> list[Level]:
    """Return the levels of a decoder that is known to have some."""
    levels = levels_of(model)
    assert levels is not None
    return levels


def _flat_states(decoder: Any, state: Any) -> list[Any]:
    """Return the states of the levels, lowest first, from the nested state of the decoder."""
    if type(decoder) is not Sequential:
        return [] if type(decoder) is Dropout else [state]
    pairs = zip(decoder.layers, state, strict=True)
    return [flat for part, part_state in pairs for flat in _flat_states(part, part_state)]


def _query_arrays(model: Seq2SeqParts, attribute: str) -> tuple[Any, Any]:
    """Return W_query, transposed as in memory, and v of the attention; None where it has none.

    `attribute` is "param_views" or "grad_views".
    """
    arrays = getattr(model.attention, attribute)
    W_query = arrays.get("W_query")
    return None if W_query is None else W_query.T, arrays.get("v")


def _vectors(model: Seq2SeqParts, attribute: str) -> Any:
    """Return the vectors of the symbols of the target, or their gradients; None without symbols.

    `attribute` is "param_views" or "grad_views".
    """
    embedding = model.target_embedding
    return None if embedding is None else getattr(embedding, attribute)["W"]


def generate_symbols(
    model: Seq2SeqParts, encoding: Encoding, start: NDArray[np.int64], searches: Sequence[Any]
) -> None:
    """Run searches to their ends; each row of the encoding is the source of one group.

    Parameters
    ----------
    model : Seq2Seq
        A model of symbols whose decoder has levels.
    encoding : Encoding
        The encoding of the sources.
    start : array (B,)
        The first input symbol of each row.
    searches : sequence of Search
        Searches over consecutive groups of rows; each may run on its own thread.
    """
    levels = _existing_levels(model)
    assert model.target_embedding is not None
    layers, vectors = [level.layer for level in levels], model.target_embedding.params["W"]
    in_table = len(vectors) <= TABLE_SYMBOLS
    if in_table:
        layers[0] = table_layer(layers[0], vectors)
    core_levels = tuple(zip(layers, _flat_states(model.decoder, encoding.state), strict=True))
    values, keys, lengths = encoding.memory or (None, None, None)
    queries: tuple[Any, Any] = None, None
    if model.attention is not None:
        queries = _query_arrays(model, "param_views")
    attention, embedding = (keys, values, lengths, *queries), None if in_table else vectors
    output = model.output.params["W"].T, model.output.params.get("b")
    model._generate(
        core_levels, embedding, model.feeds_context, *attention, *output, start, tuple(searches)
    )


def table_layer(layer: Any, vectors: Array) -> Any:
    """Return a layer like `layer` with one input for each vector, in place of its elements."""
    S, E = vectors.shape
    arguments = layer._core_arguments() | {"input_size": S + layer.input_size - E}
    made = layer._core_type(**arguments)
    made.seed = layer.seed
    views = layer.param_views
    for name, view in made.param_views.items():
        if name == "W_x":
            view.T[:S] = _core.dense_forward(vectors, views[name].T[:E], None)
            view.T[S:] = views[name].T[E:]
        else:
            view[...] = views[name]
    return made


def shares(model: Seq2SeqParts, rows: int) -> list[tuple[int, int]]:
    """Return how rows are divided among threads: the first row and the end of each share."""
    threads = min(_core.num_threads(), rows)
    if rows * model.decoder_output * model.decoder_output < SHARED_WORK:
        threads = 1
    ends = [rows * i // threads for i in range(threads + 1)] if threads else [0, 0]
    return list(itertools.pairwise(ends))
