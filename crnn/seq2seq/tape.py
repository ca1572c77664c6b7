"""The tape of `Seq2Seq.forward`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from crnn.common.arrays import Array
from crnn.common.representation import tape_text
from crnn.layers.base.tapes import TapeSequence
from crnn.seq2seq.decoding import Decoded
from crnn.seq2seq.encoding import EncodingTape
from crnn.seq2seq.memories import memory_weights

if TYPE_CHECKING:
    from crnn.seq2seq.parts import Seq2SeqParts


class Seq2SeqTape:
    """Tape of `Seq2Seq.forward`: attention weights, the tapes of the parts, for `backward`.

    Attributes
    ----------
    attention : array (B, T_t, T_s)
        The attention weights: how much the context of a step of the target depends on each step of
        the source. They sum to 1 over the source; they are 0 in the padding of source and target,
        and for an empty source. Of a decoder with `memory_size`, means over the heads of its last
        block. AttributeError for a model without attention.
    encoder : tape
        The tape of the encoder.
    decoder : tape, or tuple of tapes
        The tape of the decoder, over all steps. A tuple of one tape per step where the decoder had
        to run step by step.
    parts : dict
        The tapes of encoder and decoder, by name.
    target_in : array (B, T_t) or (B, T_t, E)
        The inputs of the decoder: the target, in scheduled sampling in part the model's own output.
    """

    def __init__(
        self, model: Seq2SeqParts, encoding: EncodingTape, decoded: Decoded, output: Any
    ) -> None:
        self._owner, self._model = model.identity, model
        self._encoding, self._decoded, self._output = encoding, decoded, output
        self.target_in = decoded.inputs

    @functools.cached_property
    def encoder(self) -> Any:
        """The tape of the encoder."""
        return self._model.source_reader.layer_tape(self._encoding.encoder)

    @functools.cached_property
    def decoder(self) -> Any:
        """The tape of the decoder."""
        return self._decoded.tape.decoder_tape(self._model)

    def _asdict(self) -> dict[str, Any]:
        """What the repr shows."""
        return {"target_in": self.target_in, "encoder": self.encoder, "decoder": self.decoder}

    @property
    def parts(self) -> dict[str, Any]:
        """Tapes of encoder and decoder, by name."""
        return {"encoder": self.encoder, "decoder": self.decoder}

    @property
    def attention(self) -> Array:
        """Attention weights (B, T_t, T_s)."""
        if self._model.memory_size is not None:
            return self._memory_weights
        if self._decoded.weights is None:
            raise AttributeError("attention: the model of this tape has none (attention=None)")
        return self._decoded.weights

    @functools.cached_property
    def _memory_weights(self) -> Array:
        """Weights of the memory of the last block; of a decoder in steps, of the steps that ran."""
        steps = self.decoder if isinstance(self.decoder, TapeSequence) else (self.decoder,)
        found = [weights for weights in map(memory_weights, steps) if weights is not None]
        if not found:
            raise AttributeError("attention: the tape has no values of a decoder that is frozen")
        weights = np.concatenate(found, axis=1)
        missing = self.target_in.shape[1] - weights.shape[1]
        return np.pad(weights, [(0, 0), (0, missing), (0, 0)])

    def __repr__(self) -> str:
        return tape_text(self)
