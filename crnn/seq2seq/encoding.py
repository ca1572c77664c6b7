"""The encoder's part of a model: from the source to what the decoder starts from and looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, Lengths
from crnn.common.nested import arrays_of, map_state, no_state
from crnn.layers.attention.alignment import Memory, MemoryGradient
from crnn.layers.base.arguments import ForwardOptions, first_part_number
from crnn.layers.base.places import backward_part, run_part
from crnn.seq2seq.bridge import BridgeTape, cross, cross_back

if TYPE_CHECKING:
    from crnn.seq2seq.parts import Seq2SeqParts


class EncodingTape(NamedTuple):
    """What the way back needs."""

    encoder: Any  # of the embedding and the encoder
    memory: Memory | None
    bridge: BridgeTape | None  # None where the encoder has no state, and then
    start: Any  # the tape of the decoder's run over no steps


class Encoding(NamedTuple):
    """What the decoder is given of a source."""

    memory: Memory | None  # with attention
    state: Any  # the decoder's first, an array of its own for each row
    tape: EncodingTape

    @property
    def batch(self) -> int:
        """How many rows."""
        return len(arrays_of(self.state)[0])

    def rows(self, rows: NDArray[np.intp]) -> Encoding:
        """The encoding of these rows."""
        memory = None if self.memory is None else self.memory.rows(rows)
        return Encoding(memory, map_state(lambda part: part[rows], self.state), self.tape)


def encode(
    model: Seq2SeqParts, source: Array, lengths: Lengths, given: ForwardOptions, keep: bool
) -> Encoding:
    """Read the source.

    Parameters
    ----------
    model : Seq2Seq
    source : array (B, T_s) of integers, or (B, T_s, I)
    lengths : array (B,) of integers, optional
    given : ForwardOptions
        How the encoder is run; its lengths are not looked at.
    keep : bool
        False: evaluation, and the tape means nothing.
    """
    given = given._replace(lengths=lengths, layer=first_part_number(given.layer))
    y, state, tape = model.source_reader.run(source, None, given, keep)
    if model.one_vector:
        state = y
    memory = None if model.attention is None else model.attention.memory(y, lengths)
    if not no_state(state):
        start, bridge_tape = cross(model.bridge, state, model.start_like)
        return Encoding(memory, start, EncodingTape(tape, memory, bridge_tape, None))
    # No steps: the state from which the decoder starts by itself, which may be learned.
    nothing = np.zeros((len(source), 0, model.decoder_width), model.dtype)
    alone = given._replace(lengths=None, layer=(given.layer + 1) % 2**32)
    _, start, start_tape = run_part(model, "decoder", alone, nothing, None, keep)
    return Encoding(memory, start, EncodingTape(tape, memory, None, start_tape))


def encoding_of(model: Seq2SeqParts, vector: Array) -> Encoding:
    """The encoding in which the encoder made this vector (B, C), for a model of one vector."""
    start, _ = cross(model.bridge, vector, model.start_like)
    return Encoding(None, start, EncodingTape(None, None, None, None))


def encode_back(
    model: Seq2SeqParts, tape: EncodingTape, gradient: MemoryGradient | None, dstart: Any
) -> Array | None:
    """The gradient of the source, None for symbols; adds to the gradients of what `encode` ran.

    Parameters
    ----------
    model : Seq2Seq
    tape : EncodingTape
    gradient : MemoryGradient or None
        Of what the decoder looked at; None without attention.
    dstart : state
        The gradient of the decoder's first state.
    """
    dy, dstate = None, None
    if tape.bridge is None:
        backward_part(model, "decoder", tape.start, None, dstart)
    else:
        dstate = cross_back(model.bridge, tape.bridge, dstart)
    if model.attention is not None:
        assert tape.memory is not None
        assert gradient is not None
        dy = model.attention.memory_backward(tape.memory, gradient)
    if model.one_vector:
        dy, dstate = dstate, None
    dsource, _ = model.source_reader.backward(tape.encoder, dy, dstate)
    return None if dsource is None else np.asarray(dsource)
