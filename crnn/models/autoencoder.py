"""Recurrent autoencoder: a sequence is encoded in a short vector, its code, and decoded from it.

Letters: ``B`` sequences, ``T`` steps, ``I`` features, ``K`` symbols, ``C`` numbers in a code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from crnn.common.arrays import Array
from crnn.common.checks import check_array, check_dtype, check_seed, check_size, valid_steps
from crnn.common.representation import tape_text
from crnn.layers.base import weights
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.attributes import Fixed
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
    """Values that `SequenceAutoencoder.backward` needs from forward."""

    teacher: TeacherForcingTape

    def __repr__(self) -> str:
        return tape_text(self)


class SequenceAutoencoder(EncoderDecoder):
    """Sequence autoencoder: encodes a sequence in a vector, and decodes it, without labels.

    The code is a linear map of the encoder's last state. Another linear map of the code is the
    decoder's initial state. The decoder then generates the sequence step by step; its input is the
    step before. This is the model of Sutskever, Vinyals and Le, "Sequence to sequence learning with
    neural networks" (2014), from a sequence to itself, as in Dai and Le, "Semi-supervised sequence
    learning" (2015).

    Parameters
    ----------
    encoder : layer
        A layer with a state that reads (B, T, I).
    decoder : layer
        A layer with a state that can run step by step. For vectors it reads I features, as the
        encoder does. For symbols each of the two layers gets an embedding of its input size.
    code : int
        C, the length of the code.
    symbols : int, optional
        K, for sequences of symbols. None: sequences of vectors.
    probability : float, default 1.0
        The probability that the decoder reads the true step before, in training; otherwise it reads
        its output for that step (see `crnn.TeacherForcing`). With a smaller value the output
        depends more on the code.
    dtype : {"float32", "float64"}, optional
        The dtype of all parts. None: that of the encoder.
    seed : int, optional
        The seed of the weights of the new parts. None draws a fresh seed.

    Attributes
    ----------
    model : Seq2Seq
        The model inside. Its encoder computes the code.
    code : int
        C.
    seed : int
        The seed, also where it was drawn.

    Raises
    ------
    TypeError, ValueError
        Arguments that are not layers, a decoder that cannot run step by step, layers without a
        state, or layers that read different numbers of features.

    Notes
    -----
    The autoencoder is a layer from x to its reconstruction y. ``crnn.fit(autoencoder, data,
    loss=...)`` trains it on items (x, x) or (x, x, lengths), as `crnn.data.Batches` makes them. The
    loss is `crnn.losses.mse` for vectors, and `crnn.losses.cross_entropy` for symbols, whose y are
    logits. The decoder's first input is zeros, or symbol 0.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> model = crnn.models.SequenceAutoencoder(crnn.GRU(8, 32), crnn.GRU(8, 32), code=4)
    >>> x = np.zeros((10, 5, 8), np.float32)
    >>> code = model.encode(x)
    >>> code.shape, model.decode(code, steps=5).shape
    ((10, 4), (10, 5, 8))
    """

    _leading = ("encoder", "decoder", "code")
    code, seed = Fixed[int](), Fixed[int]()

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
        vars(self).update(code=check_size("code", code), seed=check_seed(seed))
        numbers = dtype_of(encoder, decoder) if dtype is None else check_dtype(dtype)
        self.model = Seq2Seq(
            Sequential([LastState(encoder, of="all"), self._code_layer(encoder, numbers)]),
            decoder,
            source_symbols=symbols,
            target_symbols=symbols,
            dtype=numbers,
            seed=self.seed,
        )
        expected, got = self.model.source_width, self.model.target_width
        if symbols is None and expected != got:
            raise ValueError(
                f"decoder: expected a layer that reads {expected} features, as the encoder does, "
                f"got {got}"
            )
        self._teacher = TeacherForcing(self.model, probability, self.seed)

    def _code_layer(self, encoder: LayerLike, dtype: np.dtype[Any]) -> Dense:
        """Return the linear map from the encoder's last state to the code."""
        width = layer_of(encoder).input_size
        if width is None:
            raise ValueError(
                "encoder: expected a layer that reads vectors of a fixed size (input_size), "
                f"got {encoder!r:.100}"
            )
        state, _ = LastState(encoder, of="all")(np.zeros((1, 1, width), dtype))
        seed = weights.seed_of_part(self.seed, weights.PARTS_STREAM, len(NEW_PARTS))
        return Dense(state.shape[1], self.code, dtype=dtype, seed=seed)

    @classmethod
    def parameter_count(cls, config: Mapping[str, Any]) -> int:
        encoder, decoder = (widths_of(config[name]) for name in ("encoder", "decoder"))
        code, symbols = check_size("code", config["code"]), config.get("symbols")
        code_layer = 0
        if encoder is not None:
            code_layer = count_of(Dense._shapes(sum(encoder.state), code))
            encoder = Widths(encoder.input, code, encoder.state, timeless=True)
        new = new_parameter_count(encoder, decoder, symbols, symbols)
        return code_layer + new + super().parameter_count(config)

    # ------------------------------------------------------------------------------ properties

    @property
    def encoder(self) -> Any:
        """Layer that reads the sequence."""
        return self.model.encoder.layers[0].layer

    @property
    def decoder(self) -> Any:
        """Layer that generates the sequence."""
        return self.model.decoder

    @property
    def parts(self) -> dict[str, Any]:
        encoding = {"encoder": self.encoder, "code": self.model.encoder.layers[1]}
        decoding = {name: part for name, part in self.model.parts.items() if name != "encoder"}
        return encoding | decoding

    @property
    def stochastic(self) -> bool:
        """Whether a part draws random numbers, or the inputs of the decoder are drawn."""
        return self._teacher.stochastic

    @property
    def output_size(self) -> int:
        """Width of y: I for vectors, K for symbols."""
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
        x: ArrayLike,
        state: None = None,
        *,
        lengths: ArrayLike | None = None,
        training: bool = True,
        call: int | None = None,
        first_row: int = 0,
        layer: int = 0,
    ) -> tuple[Array, None, AutoencoderTape]:
        """Return the reconstruction of x from its code, and the tape for `backward`.

        Parameters
        ----------
        x : floats (B, T, I), or integers (B, T)
            The sequences.
        state : None
            The autoencoder has no state.
        lengths : integers (B,), optional
            The number of valid steps of each row. None: all T.
        training : bool, default True
            False: no dropout, and the decoder always reads the true step before.
        call, first_row, layer : int
            The position in the streams of random numbers, as for every layer.

        Returns
        -------
        y : array (B, T, I), or logits (B, T, K)
            The reconstruction, 0 in the padding.
        state : None
            The autoencoder has no state.
        tape : AutoencoderTape
            The values that `backward` needs.
        """
        check_no_state(type(self).__name__, "state", state)
        source, ends = self._checked(x, lengths)
        target_in = np.zeros_like(source)
        target_in[:, 1:] = source[:, :-1]
        y, _, tape = self._teacher.forward(
            (source, target_in, ends),
            lengths=ends,
            training=training,
            call=self.call_number(call, training),
            first_row=first_row,
            layer=layer,
        )
        return y, None, AutoencoderTape(tape)

    def _checked(self, x: Any, lengths: Any) -> tuple[Array, Any]:
        K, width = self.model.source_symbols, self.model.source_width
        source = checks.check_steps_of("x", x, None, K, width, self.model.dtype)
        ends = checks.checked_lengths("lengths", lengths, source.shape)
        if K is None:
            return source, ends
        checks.check_symbols("x", source, ends, K)
        if ends is not None:  # padding may be no symbol, and the decoder reads it one step later
            source = np.where(valid_steps(ends, source.shape), source, 0)
        return source, ends

    def check_backward(self, tape: Any, dstate: Any) -> None:
        super().check_backward(tape, dstate)
        if not isinstance(tape, AutoencoderTape):
            got = type(tape).__name__
            raise TypeError(f"tape: expected the one that forward returned, got {got}")

    def backward(
        self, tape: AutoencoderTape, dy: ArrayLike | None, dstate: None = None
    ) -> tuple[Array | None, None]:
        """Return the gradient at x, and add to the gradients of the parameters.

        Parameters
        ----------
        tape : AutoencoderTape
            The tape that `forward` returned.
        dy : floats (B, T, I), or (B, T, K)
            The gradient at y.
        dstate : None
            The autoencoder has no state.

        Returns
        -------
        dx : array (B, T, I), or None
            The gradient at x. None for symbols.
        dstate : None
            The autoencoder has no state.
        """
        self.check_backward(tape, dstate)
        (dsource, dtarget_in, _), _ = self._teacher.backward(tape.teacher, dy)
        if dsource is None or dtarget_in is None:
            return None, None
        dx = np.array(dsource)
        dx[:, :-1] += dtarget_in[:, 1:]
        return dx, None

    # -------------------------------------------------------------------- encoding and decoding

    def encode(self, x: ArrayLike, lengths: ArrayLike | None = None) -> Array:
        """Return the codes of sequences.

        Parameters
        ----------
        x : floats (B, T, I), or integers (B, T)
            The sequences.
        lengths : integers (B,), optional
            The number of valid steps of each row. None: all T.

        Returns
        -------
        array (B, C)
            The code of each sequence.
        """
        source, ends = self._checked(x, lengths)
        options = ForwardOptions(lengths=ends, training=False)
        code, _, _ = self.model.source_reader.run(source, None, options.for_part(0), False)
        return np.asarray(code)

    def decode(self, code: ArrayLike, steps: int) -> Array:
        """Return the sequences that the decoder generates from codes.

        The input of each step is the output of the step before.

        Parameters
        ----------
        code : floats (B, C)
            The codes, as `encode` returns them.
        steps : int
            T, the number of steps to generate. A sequence that was shorter is in its first steps.

        Returns
        -------
        floats (B, T, I), or int64 (B, T)
            The vectors, or the most likely symbols.
        """
        codes = check_array("code", code, "floats", ("B", ("C", self.code)))
        encoding = encoding_of(self.model, codes.astype(self.model.dtype, copy=False))
        of_symbols = self.model.target_symbols is not None
        start = 0 if of_symbols else np.zeros(self.output_size, self.model.dtype)
        y, _ = self.model.write(encoding, start, None, check_size("steps", steps), _GREEDY)
        return y
