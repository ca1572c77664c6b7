"""What one run of a model over sources and targets keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crnn.common.arrays import Array
from crnn.seq2seq.decoding import Decoded
from crnn.seq2seq.encoding import EncodingTape

if TYPE_CHECKING:
    from crnn.seq2seq.parts import Seq2SeqParts


class Seq2SeqTape:
    """What `Seq2Seq.forward` keeps for the way back, and shows.

    Attributes
    ----------
    attention : array (B, T_target, T_source)
        How much each step of the target looks at each step of the source: rows sum to 1; 0 in the
        padding of either, and for an empty source.
    encoder : tape
        That of the encoder.
    decoder : tape, or tuple of tapes
        That of the decoder, of all steps; where it had to run step by step through its own methods,
        one for each.
    target_in : array
        What the decoder was fed: the target, in scheduled sampling partly its own output.
    """

    def __init__(
        self, model: Seq2SeqParts, encoding: EncodingTape, decoded: Decoded, output: Any
    ) -> None:
        self._owner = model.identity
        self._encoding, self._decoded, self._output = encoding, decoded, output
        self.target_in = decoded.fed
        self.encoder = model.source_reader.layer_tape(encoding.encoder)
        self.decoder = decoded.tape.shown(model)

    @property
    def parts(self) -> dict[str, Any]:
        """Those of encoder and decoder."""
        return {"encoder": self.encoder, "decoder": self.decoder}

    @property
    def attention(self) -> Array:
        """The weights; see the class."""
        if self._decoded.weights is None:
            raise AttributeError("attention: the model of this tape has none (attention=None)")
        return self._decoded.weights
