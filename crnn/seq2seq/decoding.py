"""The result of a decoder's forward pass, and the decoder that runs all steps at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from crnn.common.arrays import Array, Lengths
from crnn.common.nested import gradient_form, map_state
from crnn.layers.attention.alignment import AttentionTape, MemoryGradient
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.trainable import NO_TAPE
from crnn.seq2seq.encoding import Encoding

if TYPE_CHECKING:
    from crnn.seq2seq.parts import Seq2SeqParts


class Decoded(NamedTuple):
    """The result of a decoder's forward pass over the steps of a target."""

    outputs: Array  # (B, T, P), with attention (B, T, P + C): the input of the output layer
    weights: Array | None  # (B, T, T_s), None without attention
    inputs: Array  # the decoder's inputs: the target, or in part the model's own output
    tape: DecodedTape


class DecodedTape(Protocol):
    """Values of a decoder's forward pass that its backward pass needs."""

    def check_backward(self, model: Seq2SeqParts) -> None:
        """Raise the errors of `backward` before a gradient changes."""

    def backward(self, model: Seq2SeqParts, doutputs: Array) -> DecodedGradient:
        """Return the gradients; add to those of the embedding, the decoder and the attention."""

    def decoder_tape(self, model: Seq2SeqParts) -> Any:
        """Return the tape of the decoder alone, or a tuple of one tape per step."""


class DecodedGradient(NamedTuple):
    """The gradients that a decoder's backward pass returns."""

    dinputs: Array | None  # None for symbols
    dmemory: MemoryGradient | None  # None without attention
    dstart: Any  # at the decoder's initial state


def joined(y: Array, context: Array | None) -> Array:
    """Return the decoder's output concatenated with the context, if any."""
    return y if context is None else np.concatenate([y, context], axis=2)


def split(model: Seq2SeqParts, doutputs: Array) -> tuple[Array, Array | None]:
    """Return the gradients at the decoder's output and at the context, None without attention."""
    P = model.decoder_output
    return doutputs[..., :P], None if model.attention is None else doutputs[..., P:]


def prediction(model: Seq2SeqParts, y: Array, context: Array | None) -> Array:
    """Return the model's output at one step: the most likely symbols (B,), or vectors (B, E).

    Parameters
    ----------
    model : Seq2Seq
        The model.
    y, context : arrays (B, 1, P) and (B, 1, C)
        The decoder's output and the context, None without attention.
    """
    logits, _ = model.output(joined(y, context))
    predicted = logits[:, 0] if model.target_symbols is None else logits[:, 0].argmax(axis=1)
    return np.asarray(predicted)


class WholeTape(NamedTuple):
    """Tape of a decoder that ran over all steps at once."""

    decoder: Any  # the tape of the embedding and the decoder
    attention: AttentionTape | None
    start: Any

    def check_backward(self, model: Seq2SeqParts) -> None:
        model.target_reader.check_backward(self.decoder)

    def backward(self, model: Seq2SeqParts, doutputs: Array) -> DecodedGradient:
        dmemory, (dy, dcontext) = None, split(model, doutputs)
        if self.decoder is NO_TAPE:
            return DecodedGradient(None, None, None)
        if model.attention is not None:
            assert self.attention is not None
            assert dcontext is not None
            dmemory = MemoryGradient.zeros(self.attention.memory)
            dy = dy + model.attention.backward(self.attention, dcontext, dmemory)
        dinputs, dstart = model.target_reader.backward(self.decoder, dy, None)
        return DecodedGradient(dinputs, dmemory, zeros_if_none(dstart, self.start))

    def decoder_tape(self, model: Seq2SeqParts) -> Any:
        return model.target_reader.layer_tape(self.decoder)


def decode(
    model: Seq2SeqParts,
    target: Array,
    encoding: Encoding,
    lengths: Lengths,
    options: ForwardOptions,
) -> Decoded:
    """Run the decoder over all steps at once: its inputs do not depend on its outputs.

    Parameters
    ----------
    model : Seq2Seq
        A model without attention, or with ``input_feeding=False``.
    target : array (B, T) of integers, or (B, T, E)
        The decoder's inputs.
    encoding : Encoding
        The encoding of the source.
    lengths : array (B,) of integers, optional
        The number of valid steps of each row of the target.
    options : ForwardOptions
        The other options of the forward pass.
    """
    options = options._replace(lengths=lengths)
    context = weights = attention_tape = None
    y, _, tape = model.target_reader.run(target, encoding.state, options.for_part(1), True)
    if model.attention is not None:
        assert encoding.memory is not None
        context, weights, attention_tape = model.attention.forward(y, encoding.memory, lengths)
    whole = WholeTape(tape, attention_tape, encoding.state)
    return Decoded(joined(y, context), weights, target, whole)


def zeros_if_none(dstate: Any, like: Any) -> Any:
    """Return the gradient of a state, or zeros like `like` where a layer returned None."""
    return map_state(np.zeros_like, gradient_form(like)) if dstate is None else dstate
