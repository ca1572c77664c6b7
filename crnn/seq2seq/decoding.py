"""What both ways to run a decoder give, and the way that runs all steps at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from crnn.common.arrays import Array, Lengths
from crnn.common.nested import map_state
from crnn.layers.attention.alignment import AttentionTape, MemoryGradient
from crnn.layers.base.arguments import ForwardOptions
from crnn.seq2seq.encoding import Encoding

if TYPE_CHECKING:
    from crnn.seq2seq.parts import Seq2SeqParts


class Decoded(NamedTuple):
    """A decoder's run over the steps of a target."""

    y: Array  # (B, T, P), the decoder's output
    context: Array | None  # (B, T, C); None without attention, like
    weights: Array | None  # (B, T, T_s)
    fed: Array  # what was fed: the target, or partly the model's own output
    tape: DecodedTape

    @property
    def outputs(self) -> Array:
        """What the output layer reads: the decoder's output, joined with the context."""
        return joined(self.y, self.context)


class DecodedTape(Protocol):
    """What a run keeps for the way back."""

    def check_back(self, model: Seq2SeqParts) -> None:
        """Raise what `back` would, before anything has changed."""

    def back(self, model: Seq2SeqParts, dy: Array, dcontext: Array | None) -> DecodedGradient:
        """The gradients of the run; adds to those of embedding, decoder and attention."""

    def shown(self, model: Seq2SeqParts) -> Any:
        """The tape, or the tapes, of the decoder alone."""


class DecodedGradient(NamedTuple):
    """The gradients that come out of a decoder's run."""

    dfed: Array | None  # None for symbols
    dmemory: MemoryGradient | None
    dstart: Any


def joined(y: Array, context: Array | None) -> Array:
    """Both side by side."""
    return y if context is None else np.concatenate([y, context], axis=2)


def choice(model: Seq2SeqParts, y: Array, context: Array | None) -> Array:
    """What a model itself gives at a step: the likeliest symbols (B,), or vectors (B, E).

    Parameters
    ----------
    model : Seq2Seq
    y, context : arrays (B, 1, P) and (B, 1, C)
    """
    logits, _ = model.output(joined(y, context))
    chosen = logits[:, 0] if model.target_symbols is None else logits[:, 0].argmax(axis=1)
    return np.asarray(chosen)


class WholeTape(NamedTuple):
    """Of a run over all steps at once."""

    decoder: Any  # of the embedding and the decoder
    attention: AttentionTape | None
    start: Any

    def check_back(self, model: Seq2SeqParts) -> None:
        model.target_reader.check_backward(self.decoder)

    def back(self, model: Seq2SeqParts, dy: Array, dcontext: Array | None) -> DecodedGradient:
        dmemory = None
        if model.attention is not None:
            assert self.attention is not None
            assert dcontext is not None
            dmemory = MemoryGradient.zeros(self.attention.memory)
            dy = dy + model.attention.backward(self.attention, dcontext, dmemory)
        dfed, dstart = model.target_reader.backward(self.decoder, dy, None)
        return DecodedGradient(dfed, dmemory, filled_up(dstart, self.start))

    def shown(self, model: Seq2SeqParts) -> Any:
        return model.target_reader.layer_tape(self.decoder)


def decode(
    model: Seq2SeqParts, target: Array, encoding: Encoding, lengths: Lengths, given: ForwardOptions
) -> Decoded:
    """Run the decoder over all steps at once: what it is fed does not depend on what it gave.

    Parameters
    ----------
    model : Seq2Seq
        Without attention, or with ``input_feeding=False``.
    target : array (B, T) of integers, or (B, T, E)
    encoding : Encoding
    lengths : array (B,) of integers, optional
        Steps of each row of the target.
    given : ForwardOptions
        How the decoder is run.
    """
    given, context, weights, asked = given._replace(lengths=lengths), None, None, None
    y, _, tape = model.target_reader.run(target, encoding.state, given.for_part(1), True)
    if model.attention is not None:
        assert encoding.memory is not None
        context, weights, asked = model.attention.forward(y, encoding.memory, lengths)
        weights = weights.copy()  # those that are shown may be edited
    return Decoded(y, context, weights, target, WholeTape(tape, asked, encoding.state))


def filled_up(dstate: Any, like: Any) -> Any:
    """The gradient of a state, zeros where a layer that was never run gave none."""
    return map_state(np.zeros_like, like) if dstate is None else dstate
