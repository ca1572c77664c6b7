"""Sequence to sequence: an encoder reads, a decoder writes, and may look back at what was read.

Letters: B sequences, T_s steps of the source, T_t of the target, K symbols, I features of the
source, E numbers that stand for a symbol of the target, C units of the encoder's output, P of the
decoder's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import crnn._core as _core
from crnn.common.arrays import Array, Lengths
from crnn.common.checks import check_array, check_count, check_size
from crnn.layers.base.arguments import EVALUATION, ForwardOptions
from crnn.layers.base.tapes import check_tape, request_trace
from crnn.seq2seq import checks, decoding, fused, stepwise
from crnn.seq2seq.encoding import Encoding, encode, encode_back
from crnn.seq2seq.generating import Choosing, generate_symbols, generate_vectors, own_choices
from crnn.seq2seq.parts import Seq2SeqParts
from crnn.seq2seq.tape import Seq2SeqTape


class Seq2Seq(Seq2SeqParts):
    """One sequence in, another out: encoder, bridge, attention, decoder, output.

    Sutskever, Vinyals and Le, "Sequence to sequence learning with neural networks" (2014); with
    attention: Bahdanau, Cho and Bengio, "Neural machine translation by jointly learning to align
    and translate" (2015); Luong, Pham and Manning, "Effective approaches to attention-based neural
    machine translation" (2015).

    Parameters
    ----------
    encoder : layer
        Reads the source, (B, T_s, I) -> (B, T_s, C). Its last state becomes the decoder's first:
        as it is where both are of as many arrays of the same widths, else through one linear map of
        all of it, the bridge. In its place stands the output of an encoder that makes one vector of
        a sequence (`Pool`) or, without attention, of one without a state, whose source is a vector
        itself, (B, I) -> (B, C): the features of an image, say. With attention an encoder without a
        state leaves the decoder to start by itself.
    decoder : layer
        Any that runs step by step and has a state. It reads the target shifted by one step (a start
        symbol in front).
    source_symbols, target_symbols : int, optional
        K of the source's and of the target's symbols, for which there are embeddings. None: vectors
        come in, or are given.
    attention : {None, "additive", "dot", "general"}
        How the decoder looks back at the encoder's output e: its h is compared with each valid step
        by ``v · tanh(W_query h + W_key e)``, ``h · e`` or ``h · W e``; the softmax of that weighs
        the mean of e, which is the context.
    input_feeding : bool, default True
        With attention: the context is asked for with the decoder's last h (of the step before; at
        first, of the initial state) and joined to the decoder's input. False: it is asked for with
        the output of the step, the decoder runs over all steps at once. Either way the output layer
        reads the decoder's output joined with the context.
    dtype : {"float32", "float64"}, optional
        Of all parts; layers of another one are copied. None: the encoder's.
    seed : int, optional
        Decides the weights of the new parts. None draws one.

    Attributes
    ----------
    encoder, decoder, source_embedding, target_embedding, bridge, attention, output : layers
        The parts, None where there is none. Their parameters have the names "encoder.W_x",
        "source_embedding.W", "attention.W_query", "output.b", ...

    Raises
    ------
    TypeError, ValueError
        For arguments that are no layers, a decoder that cannot run step by step or has no state, or
        whose input is too narrow for the context, widths that "dot" cannot compare.

    Notes
    -----
    E, the width of the target's embedding (of its vectors, where there are no symbols), is the
    decoder's input less C where the context is joined to it. A linear `output` gives K logits, or E
    features.

    It is trained through `crnn.TeacherForcing`, a layer in the usual protocol, which `crnn.fit`
    takes.

    Examples
    --------
    >>> import crnn
    >>> encoder, decoder = crnn.GRU(8, 16), crnn.GRU(8 + 16, 16)
    >>> model = crnn.Seq2Seq(encoder, decoder, source_symbols=20, target_symbols=30,
    ...                      attention="additive")
    >>> logits, tape = model.forward([[3, 1, 4]], [[0, 9, 2, 6]])
    >>> logits.shape, tape.attention.shape
    ((1, 4, 30), (1, 4, 3))
    """

    trained_through, once, has_state = "crnn.TeacherForcing", ("bridge",), False

    # ------------------------------------------------------------------------------ running it

    def __call__(  # type: ignore[override]
        self,
        source: ArrayLike,
        target_in: ArrayLike,
        *,
        source_lengths: ArrayLike | None = None,
        target_lengths: ArrayLike | None = None,
    ) -> tuple[Array, None]:
        """logits, None: evaluation, where dropout is off."""
        lengths: dict[str, Any]
        lengths = {"source_lengths": source_lengths, "target_lengths": target_lengths}
        return self.forward(source, target_in, **lengths, training=False)[0], None

    def forward(  # type: ignore[override]
        self,
        source: ArrayLike,
        target_in: ArrayLike,
        *,
        source_lengths: ArrayLike | None = None,
        target_lengths: ArrayLike | None = None,
        training: bool = True,
        call: int | None = None,
        first_row: int = 0,
        layer: int = 0,
    ) -> tuple[Array, Seq2SeqTape]:
        """logits, tape: what comes after each step of the target (teacher forcing).

        Parameters
        ----------
        source : integers (B, T_s), or floats (B, T_s, I)
            Floats (B, I) where it is a vector.
        target_in : integers (B, T_t), or floats (B, T_t, E)
            What the decoder is fed: at step t what it is to have given at step t - 1, the start
            symbol at step 0.
        source_lengths, target_lengths : (B,) integers, optional
            Steps of each row that are there. What stands in padding is not looked at.
        training : bool, default True
            False: nothing is dropped.
        call : int, optional
            Number of this call. None: the next one of `calls`, where the parts draw anything.
        first_row, layer : int, default 0
            They decide, with `call` and the parts' seeds, what is dropped: as in every layer.

        Returns
        -------
        logits : array (B, T_t, K), or (B, T_t, E)
            0 past a row's end.
        tape : Seq2SeqTape
            For `backward`; ``tape.attention`` (B, T_t, T_s) are the weights.

        Raises
        ------
        TypeError, ValueError
            For arrays of other types or shapes, symbols that are none, lengths out of range.
        """
        check_counts(call, first_row, layer)
        checked = self.checked(source, target_in, source_lengths, target_lengths)
        number = self.call_number(call, training)
        return self.run(
            *checked, ForwardOptions(None, None, None, training, number, first_row, 0, layer)
        )

    def checked(
        self,
        source: Any,
        target_in: Any,
        source_lengths: Any,
        target_lengths: Any,
        *,
        lengths_name: str = "target_lengths",
    ) -> tuple[Array, Array, Lengths, Lengths]:
        """Sources, targets and both lengths as `run` takes them, or an error.

        `lengths_name` is what the caller knows the target's lengths by.
        """
        read, lengths = self._checked_source(source, source_lengths)
        K, width = self.target_symbols, self.target_width
        dtype = self.output.dtype
        target = checks.check_steps_of("target_in", target_in, len(read), K, width, dtype)
        ends = None
        if target_lengths is not None:
            ends = checks.checked_lengths(lengths_name, target_lengths, target.shape)
        if K is not None:
            checks.check_symbols("target_in", target, ends, K)
            target = checks.readable_symbols(target, ends)
        return read, target, lengths, ends

    def _checked_source(self, source: Any, source_lengths: Any) -> tuple[Array, Lengths]:
        if self.fixed:
            return checks.check_fixed(source, source_lengths, self.source_width, self.dtype), None
        K = self.own_symbols if self.source_symbols is None else self.source_symbols
        read = checks.check_steps_of("source", source, None, K, self.source_width, self.dtype)
        lengths = None
        if source_lengths is not None:
            lengths = checks.checked_lengths("source_lengths", source_lengths, read.shape)
        if K is not None:
            checks.check_symbols("source", read, lengths, K)
        return read, lengths

    def run(
        self,
        source: Array,
        target: Array,
        source_lengths: Lengths,
        target_lengths: Lengths,
        given: ForwardOptions,
        own: NDArray[np.bool_] | None = None,
    ) -> tuple[Array, Seq2SeqTape]:
        """`forward` on what `checked` gave; `own`: where the decoder is fed its own output."""
        encoding = encode(self, source, source_lengths, given, True)
        decoded = self._decoded(target, encoding, target_lengths, given, own)
        logits, _, tape = self.output.forward(decoded.outputs, lengths=target_lengths)
        return logits, Seq2SeqTape(self, encoding.tape, decoded, tape)

    def _decoded(
        self,
        target: Array,
        encoding: Encoding,
        lengths: Lengths,
        given: ForwardOptions,
        own: Array | None,
    ) -> decoding.Decoded:
        """The decoder's run, in the fastest of the ways that there are for it."""
        levels = fused.levels_of(self) if own is not None or self.feeds else None
        if own is not None and levels and self.target_symbols and not fused.draws(levels):
            target, own = own_choices(self, target, encoding, own), None
        if own is not None or (self.feeds and levels is None):
            return stepwise.decode(self, target, encoding, lengths, given, own)
        decode = fused.decode if self.feeds else decoding.decode
        return decode(self, target, encoding, lengths, given)

    def backward(  # type: ignore[override]
        self, tape: Seq2SeqTape, dlogits: ArrayLike | None, *, trace: bool = False
    ) -> Array | None:
        """The gradient of the source, None for symbols; adds to the gradients of all parts.

        Parameters
        ----------
        tape : Seq2SeqTape
            May be walked back more than once; each walk adds again.
        dlogits : array like the logits
            What stands in padding is not looked at. None stands for zeros.
        trace : bool, default False
            Keep what the walk back finds at each step in the tapes of the recurrent layers.

        Raises
        ------
        TypeError, ValueError
            For a tape of another model, or a gradient of another type or shape. Nothing has changed
            then.
        """
        return self.run_back(tape, dlogits, trace=trace)[0]

    def run_back(
        self, tape: Seq2SeqTape, dlogits: Any, name: str = "dlogits", *, trace: bool = False
    ) -> tuple[Array | None, Array | None]:
        """The gradients of source and target, None for symbols; `name` is that of `dlogits`."""
        self.check_run_back(tape, dlogits, name)
        encoding, decoded = tape._encoding, tape._decoded
        with _core.Writing(self):
            if trace:
                request_trace(tape)
            doutputs, _ = self.output.backward(tape._output, dlogits)
            assert doutputs is not None
            dy, dcontext = doutputs[..., : self.decoder_output], None
            if self.attention is not None:
                dcontext = doutputs[..., self.decoder_output :]
            found = decoded.tape.back(self, dy, dcontext)
            return encode_back(self, encoding, found.dmemory, found.dstart), found.dfed

    def check_run_back(self, tape: Any, dlogits: Any, name: str) -> None:
        """Raise what `run_back` would, before any part has changed."""
        if not isinstance(tape, Seq2SeqTape):
            check_tape(tape, Seq2SeqTape)
        if tape._owner != self.identity:
            raise ValueError(
                "tape: expected one of a model like this, got one of another: of "
                f"{tape._owner[0]} with attention={tape._owner[1]!r} or other parameters"
            )
        self.source_reader.check_backward(tape._encoding.encoder)
        tape._decoded.tape.check_back(self)
        if dlogits is None:
            return
        shape = (*tape._decoded.y.shape[:2], self.output_size)
        check_array(name, dlogits, "floats", shape)

    # ------------------------------------------------------------------------------- using it

    def generate(
        self,
        source: ArrayLike,
        *,
        start: ArrayLike,
        stop: int | None,
        max_steps: int,
        source_lengths: ArrayLike | None = None,
        beam: int = 1,
        n_best: int = 1,
        length_penalty: float = 0.0,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> tuple[Array, Array | None]:
        """Write targets: each step reads what the step before it gave.

        Parameters
        ----------
        source, source_lengths
            As for `forward`.
        start : int or (B,) integers; or (E,) or (B, E) floats
            What is fed first.
        stop : int or None
            The symbol that ends a row. None: nothing does; for vectors it must be None.
        max_steps : int
            How many steps a row has at most.
        beam : int, default 1
            Hypotheses of each row that beam search keeps.
        n_best : int, default 1
            How many targets of each row are given: the best of the beam, the best first, or as many
            samples. Where a beam finds fewer, the rest have no symbols and the score -infinity.
        length_penalty : float, default 0
            Scores are divided by the number of symbols, the stop included, to this power.
        temperature : float, optional
            Draw symbols with probabilities softmax(logits / temperature). None: the likeliest.
        top_k, top_p, seed
            As for `crnn.generate`, with a temperature. For vectors none of these choices is there.

        Returns
        -------
        tokens : int64 array (B, N), or (B, n_best, N)
            Without the start symbol; behind the first `stop` there is nothing but `stop` (where
            `stop` is None and a beam finds fewer than `n_best`, -1). N is the length of the longest
            row, its `stop` included. For vectors, floats (B, max_steps, E).
        scores : float64 array (B,), or (B, n_best)
            The sum of the log-probabilities that the model gives to the symbols (at temperature 1),
            up to the first `stop` and with it; see `length_penalty`. None for vectors.

        Raises
        ------
        TypeError, ValueError
            For arguments of other types, shapes or ranges, or that say nothing together.
        FloatingPointError
            If a logit is not a number.
        """
        how = Choosing(beam, n_best, length_penalty, temperature, top_k, top_p, seed)
        read = self._checked_source(source, source_lengths)
        return self.write(encode(self, *read, EVALUATION, False), start, stop, max_steps, how)

    def write(
        self, encoding: Encoding, start: Any, stop: int | None, max_steps: int, how: Choosing
    ) -> tuple[Array, Array | None]:
        """What `generate` gives, of sources that are read already."""
        batch, n_best = encoding.batch, how.n_best
        if self.target_symbols is None:
            how.check_vectors(stop)
            first = checks.check_start_vectors(start, batch, self.target_width, self.dtype)
            steps = check_size("max_steps", max_steps)
            return generate_vectors(self, encoding, first, steps), None
        K = self.target_symbols
        symbols = checks.check_start_symbols(start, batch, K)
        stop = checks.check_stop(stop, K)
        tokens, scores = generate_symbols(self, encoding, symbols, how, stop, max_steps)
        return (tokens, scores) if n_best > 1 else (tokens[:, 0], scores[:, 0])


def check_counts(call: int | None, first_row: int, layer: int) -> None:
    """Check the numbers that forward takes besides its arrays."""
    if call is not None:
        check_count("call", call, 64)
    if type(first_row) is not int or first_row < 0 or first_row >= 2**64:
        check_count("first_row", first_row, 64)
    if type(layer) is not int or layer < 0 or layer >= 2**32:
        check_count("layer", layer, 32)
