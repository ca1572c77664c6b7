"""A recurrent autoencoder: a sequence becomes one short vector, its code, and is written from it.

Letters: ``B`` sequences, ``T`` steps, ``I`` features, ``K`` symbols, ``C`` numbers of a code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from crnn.common.arrays import Array
from crnn.common.checks import check_array, check_dtype, check_seed, check_size, valid_steps
from crnn.layers.base import weights
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.buffer import count_of
from crnn.layers.base.description import Widths, widths_of
from crnn.layers.base.layer import check_layer, check_no_state
from crnn.layers.base.protocol import LayerLike
from crnn.layers.compose.last_state import LastState
from crnn.layers.compose.sequential import Sequential
from crnn.layers.pointwise.dense import Dense
from crnn.seq2seq import checks
from crnn.seq2seq.encoding import encoding_of
from crnn.seq2seq.generating import Choosing
from crnn.seq2seq.model import Seq2Seq
from crnn.seq2seq.parts import NEW_PARTS, EncoderDecoder, dtype_of, new_parameter_count
from crnn.seq2seq.teacher import TeacherForcing, TeacherForcingTape

_GREEDY = Choosing(1, 1, 0.0, None, None, None, None)


class AutoencoderTape(NamedTuple):
    """What `SequenceAutoencoder.forward` keeps."""

    teacher: TeacherForcingTape


class SequenceAutoencoder(EncoderDecoder):
    """A sequence to a vector and back, learned from the sequences alone.

    The encoder's last state becomes the code, through a linear map; the code becomes the decoder's
    first state, through another, and the decoder writes the sequence, step by step, from what it
    has written so far: Sutskever, Vinyals and Le (2014) from a sequence to itself; Dai and Le,
    "Semi-supervised sequence learning" (2015).

    Parameters
    ----------
    encoder : layer
        Reads the sequence, (B, T, I) -> (B, T, ...). Any that has a state.
    decoder : layer
        Any that runs step by step and has a state. It reads I features as well; symbols have
        embeddings of the widths that the two layers read.
    code : int
        C, the length of the code.
    symbols : int, optional
        K, for sequences of symbols. None: sequences of vectors.
    probability : float, default 1.0
        How often the decoder is told the right step before, in training; else it reads what it has
        given itself (see `crnn.TeacherForcing`). The less it is told, the more the code has to say.
    dtype : {"float32", "float64"}, optional
        Of all parts. None: the encoder's.
    seed : int, optional
        Decides the weights of the new parts. None draws one.

    Attributes
    ----------
    model : Seq2Seq
        Its encoder makes the code.
    code : int

    Raises
    ------
    TypeError, ValueError
        For arguments that are no layers, a decoder that cannot run step by step, layers without a
        state, or that read vectors of different lengths.

    Notes
    -----
    It is a layer in the usual protocol that maps x to what it gives in place of x, so
    ``crnn.fit(autoencoder, data, loss=...)`` trains it on items (x, x) or (x, x, lengths), as
    `crnn.data.Batches` makes them: with `crnn.losses.mse` for vectors, `crnn.losses.cross_entropy`
    for symbols, of which y are the logits. At first the decoder is fed zeros, or symbol 0.

    Examples
    --------
    >>> import crnn, numpy as np
    >>> from crnn.models import SequenceAutoencoder
    >>> model = SequenceAutoencoder(crnn.GRU(8, 32), crnn.GRU(8, 32), code=4)
    >>> x = np.zeros((10, 5, 8), np.float32)
    >>> code = model.encode(x)
    >>> code.shape, model.decode(code, steps=5).shape
    ((10, 4), (10, 5, 8))
    """

    _leading = ("encoder", "decoder", "code")

    def __init__(
        self,
        encoder: LayerLike,
        decoder: LayerLike,
        code: int,
        *,
        symbols: int | None = None,
        probability: float = 1.0,
        dtype: DTypeLike | None = None,
        seed: int | None = None,
    ) -> None:
        check_layer("encoder", encoder)
        check_layer("decoder", decoder)
        self.code, self.seed = check_size("code", code), check_seed(seed)
        kind = dtype_of(encoder, decoder) if dtype is None else check_dtype(dtype)
        self.model = Seq2Seq(
            Sequential([LastState(encoder, of="all"), self._to_code(encoder, kind)]),
            decoder,
            source_symbols=symbols,
            target_symbols=symbols,
            dtype=kind,
            seed=self.seed,
        )
        widths = self.model.source_width, self.model.target_width
        if symbols is None and widths[0] != widths[1]:
            raise ValueError(
                "decoder: expected one that reads vectors as the encoder does, of "
                f"{widths[0]} features, got {widths[1]}"
            )
        self._teacher = TeacherForcing(self.model, probability, self.seed)

    def _to_code(self, encoder: LayerLike, dtype: np.dtype[Any]) -> Dense:
        """The map from the encoder's last state to the code."""
        width = layer_of(encoder).input_size
        if width is None:
            raise ValueError(
                "encoder: expected a layer that reads vectors and says how long they are "
                f"(input_size), got {encoder!r:.100}"
            )
        state, _ = LastState(encoder, of="all")(np.zeros((1, 1, width), dtype))
        seed = weights.seed_of_part(self.seed, weights.PARTS_STREAM, len(NEW_PARTS))
        return Dense(state.shape[1], self.code, dtype=dtype, seed=seed)

    @classmethod
    def parameter_count(cls, config: Mapping[str, Any]) -> int:
        encoder, decoder = (widths_of(config[name]) for name in ("encoder", "decoder"))
        code, symbols = check_size("code", config["code"]), config.get("symbols")
        to_code = 0
        if encoder is not None:
            to_code = count_of(Dense._shapes(sum(encoder.state), code))
            encoder = Widths(encoder.input, code, encoder.state, timeless=True)
        new = new_parameter_count(encoder, decoder, symbols, symbols)
        return to_code + new + super().parameter_count(config)

    # ------------------------------------------------------------------------------- what it is

    @property
    def encoder(self) -> Any:
        """The layer that reads."""
        return self.model.encoder.layers[0].layer

    @property
    def decoder(self) -> Any:
        """The layer that writes."""
        return self.model.decoder

    @property
    def parts(self) -> dict[str, Any]:
        own = {"encoder": self.encoder, "code": self.model.encoder.layers[1]}
        return own | {name: part for name, part in self.model.parts.items() if name != "encoder"}

    @property
    def stochastic(self) -> bool:
        """Whether the parts draw, or the steps that are fed are drawn."""
        return self._teacher.stochastic

    @property
    def output_size(self) -> int:
        """I, or K."""
        return self.model.output_size

    @property
    def _own_config(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "symbols": self.model.source_symbols,
            "probability": self._teacher.probability,
            "dtype": self.model.dtype.name,
            "seed": self.seed,
        }

    # -------------------------------------------------------------------------------- training

    def forward(
        self,
        x: Any,
        state: None = None,
        *,
        lengths: Any = None,
        training: bool = True,
        call: int | None = None,
        first_row: int = 0,
        layer: int = 0,
    ) -> tuple[Array, None, AutoencoderTape]:
        """y, None, tape: what the decoder gives from the code of x.

        Parameters
        ----------
        x : floats (B, T, I), or integers (B, T)
        state : None
        lengths : (B,) integers, optional
        training : bool, default True
            False: nothing is dropped, the decoder is always told the right step before.
        call, first_row, layer : int, default 0
            As in every layer.

        Returns
        -------
        y : array (B, T, I), or (B, T, K)
        state : None
        tape : AutoencoderTape
        """
        check_no_state(type(self).__name__, "state", state)
        read, ends = self._checked(x, lengths)
        fed = np.zeros_like(read)
        fed[:, 1:] = read[:, :-1]
        y, _, tape = self._teacher.forward(
            (read, fed, ends),
            lengths=ends,
            training=training,
            call=self.call_number(call, training),
            first_row=first_row,
            layer=layer,
        )
        return y, None, AutoencoderTape(tape)

    def _checked(self, x: Any, lengths: Any) -> tuple[Array, Any]:
        K, width = self.model.source_symbols, self.model.source_width
        read = checks.check_steps_of("x", x, None, K, width, self.model.dtype)
        ends = checks.checked_lengths("lengths", lengths, read.shape)
        if K is None:
            return read, ends
        checks.check_symbols("x", read, ends, K)
        # What stands in padding may be no symbol, and one step later it is fed.
        return read if ends is None else np.where(valid_steps(ends, read.shape), read, 0), ends

    def check_backward(self, tape: Any, dstate: Any) -> None:
        super().check_backward(tape, dstate)
        if not isinstance(tape, AutoencoderTape):
            given = type(tape).__name__
            raise TypeError(f"tape: expected the one that forward returned, got {given}")

    def backward(
        self, tape: AutoencoderTape, dy: Any, dstate: None = None
    ) -> tuple[Array | None, None]:
        """dx, None; adds to the gradients. dx is None for symbols."""
        self.check_backward(tape, dstate)
        (dread, dfed, _), _ = self._teacher.backward(tape.teacher, dy)
        if dread is None or dfed is None:
            return None, None
        dx = np.array(dread)
        dx[:, :-1] += dfed[:, 1:]
        return dx, None

    # ------------------------------------------------------------------------------------- use

    def encode(self, x: Any, lengths: Any = None) -> Array:
        """Return the codes (B, C) of sequences.

        Parameters
        ----------
        x : floats (B, T, I), or integers (B, T)
        lengths : (B,) integers, optional
        """
        read, ends = self._checked(x, lengths)
        given = ForwardOptions(lengths=ends, training=False)
        code, _, _ = self.model.source_reader.run(read, None, given.part(0), False)
        return np.asarray(code)

    def decode(self, code: Any, steps: int) -> Array:
        """Return the sequences that the decoder writes from codes, by itself.

        Parameters
        ----------
        code : floats (B, C)
        steps : int
            T, the same for all; a shorter sequence is what stands in front.

        Returns
        -------
        floats (B, T, I), or int64 (B, T)
            For symbols the likeliest at each step.
        """
        given = check_array("code", code, "floats", ("B", ("C", self.code)))
        encoding = encoding_of(self.model, given.astype(self.model.dtype, copy=False))
        symbols = self.model.target_symbols is not None
        start = 0 if symbols else np.zeros(self.output_size, self.model.dtype)
        found, _ = self.model.write(encoding, start, None, check_size("steps", steps), _GREEDY)
        return found
