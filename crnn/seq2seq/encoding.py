"""The encoder side of a model: from the source to the decoder's initial state and its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, Lengths
from crnn.common.nested import arrays_of, counts_steps, map_state, no_state
from crnn.layers.attention.alignment import Memory, MemoryGradient
from crnn.layers.base.arguments import ForwardOptions, first_part_number
from crnn.layers.base.places import backward_part, run_part
from crnn.layers.base.trainable import NO_TAPE, trains
from crnn.seq2seq.bridge import BridgeTape, bridge_backward, bridge_forward, handed_on
from crnn.seq2seq.memories import memory_gradient, with_memory

if TYPE_CHECKING:
    from crnn.seq2seq.parts import Seq2SeqParts


class EncodingTape(NamedTuple):
    """Values that `encode_backward` needs."""

    encoder: Any  # the tape of the embedding and the encoder
    memory: Memory | None
    bridge: BridgeTape | None  # None where the encoder has no state
    start: Any  # then the tape of the decoder's forward pass over no steps
    is_read: bool = True  # False: no gradient is wanted of the source and of what reads it


class Encoding(NamedTuple):
    """The encoding of a source, as the decoder reads it."""

    memory: Memory | None  # None without attention
    state: Any  # the decoder's initial state, without memory shared between rows
    tape: EncodingTape

    @property
    def batch(self) -> int:
        """Number of rows, B."""
        return len(arrays_of(self.state)[0])

    def rows(self, rows: NDArray[np.intp]) -> Encoding:
        """Return the encoding of these rows."""
        memory = None if self.memory is None else self.memory.rows(rows)
        return Encoding(memory, rows_of_state(self.state, rows), self.tape)


def rows_of_state(state: Any, rows: NDArray[np.intp]) -> Any:
    """Return these rows of a state; an array that is in several places, such as a memory, once."""
    taken: dict[int, Array] = {}

    def of(part: Array) -> Array:
        if id(part) not in taken:
            taken[id(part)] = part[rows]
        return taken[id(part)]

    return map_state(of, state)


def encode(
    model: Seq2SeqParts, source: Array, lengths: Lengths, options: ForwardOptions, keep: bool
) -> Encoding:
    """Return the encoding of a source.

    Parameters
    ----------
    model : Seq2Seq
        The model.
    source : array (B, T_s) of integers, or (B, T_s, I)
        The source; (B, I) where it is one vector per row.
    lengths : array (B,) of integers, optional
        The number of valid steps of each row of the source.
    options : ForwardOptions
        The other options of the forward pass; its `lengths` are ignored.
    keep : bool
        False: evaluation; the tape must not be used.
    """
    options = options._replace(lengths=lengths, layer=first_part_number(options.layer))
    is_read = options.needs_dx is not False or trains_source(model)
    y, state, tape = model.source_reader.run(source, None, options, keep)
    if model.one_vector:
        state = y
    memory = None if model.attention is None else model.attention.memory(y, lengths)
    state = handed_on(state)
    if not no_state(state) and not counts_steps(model.start_like):
        start, bridge_tape = bridge_forward(model.bridge, state, model.start_like)
        return Encoding(memory, start, EncodingTape(tape, memory, bridge_tape, None, is_read))
    # The decoder, run over no steps, returns its own initial state, which may be learned; with a
    # memory it is y.
    no_steps = np.zeros((len(source), 0, model.decoder_width), model.dtype)
    decoder_options = options._replace(lengths=None, layer=(options.layer + 1) % 2**32)
    begun = None if model.memory_size is None else with_memory(model.decoder, y, lengths)
    _, start, start_tape = run_part(model, "decoder", decoder_options, no_steps, begun, keep)
    is_read = is_read or start_tape is not NO_TAPE  # a start that is learned
    return Encoding(memory, start, EncodingTape(tape, memory, None, start_tape, is_read))


def trains_source(model: Seq2SeqParts) -> bool:
    """Return whether a layer is trained whose gradient passes through the decoder's start."""
    between = [part for part in (model.bridge, model.attention) if part is not None]
    return any(map(trains, [model.source_reader.layers, *between]))


def encoding_of(model: Seq2SeqParts, vector: Array) -> Encoding:
    """Return the encoding of sources whose encoder output is `vector` (B, C), for decoding only."""
    start, _ = bridge_forward(model.bridge, vector, model.start_like)
    return Encoding(None, start, EncodingTape(None, None, None, None))


def encode_backward(
    model: Seq2SeqParts, tape: EncodingTape, dmemory: MemoryGradient | None, dstart: Any
) -> Array | None:
    """Return the gradient at the source, None for symbols; add to the gradients of the parts.

    Parameters
    ----------
    model : Seq2Seq
        The model.
    tape : EncodingTape
        The tape that `encode` returned.
    dmemory : MemoryGradient or None
        The gradient at the memory of the attention; None without attention.
    dstart : state
        The gradient at the decoder's initial state.
    """
    dy, dstate = None, None
    if tape.bridge is None:
        backward_part(model, "decoder", tape.start, None, dstart)
    else:
        dstate = bridge_backward(model.bridge, tape.bridge, dstart)
    if model.attention is not None:
        assert tape.memory is not None
        assert dmemory is not None
        dy = model.attention.memory_backward(tape.memory, dmemory)
    elif model.memory_size is not None:
        dy = memory_gradient(model.decoder, dstart)
    if model.one_vector:
        dy, dstate = dstate, None
    dsource, _ = model.source_reader.backward(tape.encoder, dy, dstate)
    return None if dsource is None else np.asarray(dsource)
