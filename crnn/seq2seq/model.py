"""Sequence-to-sequence models.

Letters: B sequences, T_s steps of the source, T_t of the target, K symbols, I features of the
source, E features of the vector that the decoder reads at each step of the target, C units of the
encoder's output, P units of the decoder's output.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import crnn._core as _core
from crnn.common.arrays import Array, Lengths
from crnn.common.checks import check_array, check_count, check_size
from crnn.layers.base.arguments import EVALUATION, ForwardOptions, is_stochastic
from crnn.layers.base.tapes import check_tape, request_trace
from crnn.seq2seq import checks, decoding, planned, stepwise
from crnn.seq2seq.encoding import Encoding, encode, encode_backward
from crnn.seq2seq.generating import Choosing, generate_symbols, generate_vectors, with_feedback
from crnn.seq2seq.parts import Seq2SeqParts
from crnn.seq2seq.tape import Seq2SeqTape


class Seq2Seq(Seq2SeqParts):
    """Sequence-to-sequence model: encoder, bridge, attention, decoder and output layer.

    The encoder reads a source sequence. Its last state is the initial state of the decoder, which
    predicts a target sequence of any other length, step by step: Sutskever, Vinyals and Le,
    "Sequence to sequence learning with neural networks" (2014). With attention each step also reads
    a weighted mean of the encoder's output: Bahdanau, Cho and Bengio, "Neural machine translation
    by jointly learning to align and translate" (2015); Luong, Pham and Manning, "Effective
    approaches to attention-based neural machine translation" (2015).

    Parameters
    ----------
    encoder : layer
        Layer that reads the source, (B, T_s, I) -> (B, T_s, C), such as a recurrent layer or a
        `crnn.Sequential`. For encoders without a state or a time axis see Notes.
    decoder : layer
        Layer with a state that runs step by step (not reversed). It reads the target shifted by one
        step, with a start symbol in front. Its input_size is E, with `input_feeding` E + C.
    source_symbols : int, optional
        K of the source. The model then embeds symbols for the encoder. None: the source is vectors,
        or the encoder begins with an embedding.
    target_symbols : int, optional
        K of the target. The model then embeds symbols for the decoder, and returns K logits. None:
        the target is vectors of E features.
    attention : {None, "additive", "dot", "general"}, default None
        Score of the decoder's h and each valid step e of the encoder's output:
        ``v · tanh(W_query h + W_key e)``, ``h · e`` or ``h · W e``. The softmax of the scores gives
        the weights of a mean of e, the context. The output layer reads the decoder's output
        concatenated with the context. None: no attention.
    input_feeding : bool, default True
        With attention: compute the context from the decoder's h of the step before (at step 0 from
        the initial state), and concatenate it with the decoder's input. False: compute it from the
        decoder's output of the same step. The decoder then runs over all steps at once.
    dtype : {"float32", "float64"}, optional
        Dtype of all parts. Layers of another dtype are copied. None: that of the encoder.
    seed : int, optional
        Seed of the weights of the parts that the model makes. None: a random seed.

    Attributes
    ----------
    encoder, decoder : layer
        The two layers; copies of the arguments where these have another dtype.
    source_embedding, target_embedding : Embedding or None
        The embeddings of the symbols.
    bridge : Dense or None
        Linear map from the encoder's last state to the decoder's initial state. None where both
        states have the same number of arrays of the same widths: the state is then passed on
        unchanged.
    attention : Attention or None
        The attention.
    output : Dense
        Linear map to K logits, or to E features.
    params, grads : dict
        Arrays of all parts: "encoder.W_x", "source_embedding.W", "attention.W_query", "output.b".

    Methods
    -------
    forward(source, target_in)
        Logits of every step of a known target, for training.
    backward(tape, dlogits)
        Gradients of a forward pass.
    generate(source, start=..., stop=..., max_steps=...)
        Targets that the model writes: greedy, sampled, or by beam search.

    Raises
    ------
    TypeError, ValueError
        If `encoder` or `decoder` is not a layer, the decoder does not run step by step or has no
        state, its input_size is too small for the context, or attention "dot" has a decoder's
        output and an encoder's output of different widths.

    See Also
    --------
    crnn.TeacherForcing : makes the model trainable with `crnn.fit`.
    crnn.models.Translator : translates text to text.

    Notes
    -----
    Three kinds of encoders have another role than described above.

    - An encoder that returns one vector per sequence, (B, T_s, I) -> (B, C), as a `crnn.Pool` at
      its end does: the vector takes the place of the last state. It excludes attention.
    - An encoder without a state, without attention: the source itself is one vector per row,
      (B, I) -> (B, C), such as the features of an image, and the encoder's output takes the place
      of the last state.
    - An encoder without a state, with attention: the decoder starts from its own initial state.

    Examples
    --------
    >>> import crnn
    >>> encoder, decoder = crnn.GRU(8, 16, seed=0), crnn.GRU(8 + 16, 16, seed=1)
    >>> model = crnn.Seq2Seq(
    ...     encoder, decoder, source_symbols=20, target_symbols=30, attention="additive", seed=2
    ... )
    >>> logits, tape = model.forward([[3, 1, 4]], [[0, 9, 2, 6]])
    >>> logits.shape, tape.attention.shape
    ((1, 4, 30), (1, 4, 3))
    >>> tokens, scores = model.generate([[3, 1, 4]], start=0, stop=1, max_steps=5)
    >>> tokens.shape, scores.shape
    ((1, 5), (1,))
    """

    trained_through, once, has_state = "crnn.TeacherForcing", ("bridge",), False

    # ------------------------------------------------------------------------------- training

    def __call__(  # type: ignore[override]
        self,
        source: ArrayLike,
        target_in: ArrayLike,
        *,
        source_lengths: ArrayLike | None = None,
        target_lengths: ArrayLike | None = None,
    ) -> tuple[Array, None]:
        """Return the logits, and None for the state, in evaluation: without dropout or a tape.

        Parameters
        ----------
        source, target_in, source_lengths, target_lengths
            As for `forward`.

        Returns
        -------
        logits : array (B, T_t, K), or (B, T_t, E)
            The output at every step of the target.
        state : None
            The model has no state.
        """
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
        """Return the logits of every step of a known target (teacher forcing), and a tape.

        The decoder reads `target_in`, the correct target shifted by one step, not its own output.
        So ``logits[:, t]`` predicts the step of the target that ``target_in[:, t + 1]`` contains.

        Parameters
        ----------
        source : integers (B, T_s), or floats (B, T_s, I)
            Symbols from 0 to K - 1, or vectors. Floats (B, I) for an encoder that reads one vector
            per row.
        target_in : integers (B, T_t), or floats (B, T_t, E)
            Inputs of the decoder: a start symbol or vector at step 0, then the target of step t - 1
            at step t.
        source_lengths, target_lengths : integers (B,), optional
            Number of valid steps of each row, from 0 to T_s or T_t. The padding after them may hold
            any value; it does not change a result. None: all steps are valid.
        training : bool, default True
            Apply dropout, where the parts have it. False: evaluation.
        call : int, optional
            Number of this call. The dropout mask is a function of it, of the seeds of the parts,
            and of the numbers of rows and steps. None: the next number, which the attribute `calls`
            counts.
        first_row : int, default 0
            Number of the first row, where the rows are part of a larger batch.
        layer : int, default 0
            Number of this model in a larger model.

        Returns
        -------
        logits : array (B, T_t, K), or (B, T_t, E)
            Logits of the symbols of the target, or vectors; 0 in the padding.
        tape : Seq2SeqTape
            Values for `backward`, and ``tape.attention`` (B, T_t, T_s), the attention weights.

        Raises
        ------
        TypeError, ValueError
            If an array has another dtype or shape, a symbol or a length is out of range, or one of
            the numbers is not valid.

        Examples
        --------
        >>> import crnn
        >>> model = crnn.Seq2Seq(
        ...     crnn.GRU(4, 8), crnn.GRU(4 + 8, 8), source_symbols=9, target_symbols=7,
        ...     attention="dot",
        ... )
        >>> logits, tape = model.forward([[3, 1, 4], [5, 8, 0]], [[0, 2], [0, 6]],
        ...                              source_lengths=[3, 2])
        >>> logits.shape
        (2, 2, 7)
        >>> tape.attention[1, :, 2]  # the padding of the source has no weight
        array([0., 0.], dtype=float32)
        """
        check_counts(call, first_row, layer)
        inputs = self.checked_inputs(source, target_in, source_lengths, target_lengths)
        number = self.call_number(call, training)
        return self.run(
            *inputs, ForwardOptions(None, None, None, training, number, first_row, 0, layer)
        )

    def checked_inputs(
        self,
        source: Any,
        target_in: Any,
        source_lengths: Any,
        target_lengths: Any,
        *,
        lengths_name: str = "target_lengths",
    ) -> tuple[Array, Array, Lengths, Lengths]:
        """Return source, target and their lengths as `run` takes them, or raise.

        `lengths_name` is the name of the target's lengths in errors.
        """
        source, source_lengths = self._checked_source(source, source_lengths)
        K, width = self.target_symbols, self.target_width
        dtype = self.output.dtype
        target = checks.check_steps_of("target_in", target_in, len(source), K, width, dtype)
        if target_lengths is not None:
            target_lengths = checks.checked_lengths(lengths_name, target_lengths, target.shape)
        if K is not None:
            checks.check_symbols("target_in", target, target_lengths, K)
            target = checks.readable_symbols(target, target_lengths)
        return source, target, source_lengths, target_lengths

    def _checked_source(self, source: Any, source_lengths: Any) -> tuple[Array, Lengths]:
        """Return the source as an array, and its lengths, or raise."""
        if self.fixed:
            return checks.check_fixed(source, source_lengths, self.source_width, self.dtype), None
        K = self.encoder_symbols if self.source_symbols is None else self.source_symbols
        array = checks.check_steps_of("source", source, None, K, self.source_width, self.dtype)
        lengths = None
        if source_lengths is not None:
            lengths = checks.checked_lengths("source_lengths", source_lengths, array.shape)
        if K is not None:
            checks.check_symbols("source", array, lengths, K)
        return array, lengths

    def run(
        self,
        source: Array,
        target: Array,
        source_lengths: Lengths,
        target_lengths: Lengths,
        options: ForwardOptions,
        feedback: NDArray[np.bool_] | None = None,
    ) -> tuple[Array, Seq2SeqTape]:
        """Return logits and tape from checked inputs.

        Parameters
        ----------
        source, target, source_lengths, target_lengths
            As `checked_inputs` returns them.
        options : ForwardOptions
            The other options of the forward pass.
        feedback : array (B, T_t) of booleans, optional
            True where the decoder reads its own output of the step before, not the target.
        """
        encoding = encode(self, source, source_lengths, options, True)
        if encoding.tape.is_read:
            options = options._replace(needs_dx=None)
        decoded = self._run_decoder(target, encoding, target_lengths, options, feedback)
        logits, _, tape = self.output.forward(decoded.outputs, lengths=target_lengths)
        return logits, Seq2SeqTape(self, encoding.tape, decoded, tape)

    def _run_decoder(
        self,
        target: Array,
        encoding: Encoding,
        lengths: Lengths,
        options: ForwardOptions,
        feedback: Array | None,
    ) -> decoding.Decoded:
        """Return the result of the decoder, from the fastest implementation that can run it."""
        if feedback is not None and self.target_symbols:
            plan = planned.generation_plan(self)
            if plan and not is_stochastic(self.decoder):
                with suppress(FloatingPointError):  # a logit is NaN: the logits will show it
                    target, feedback = with_feedback(self, plan, target, encoding, feedback), None
        decoded = None
        if feedback is None:
            decode = planned.decode if self.feeds_context else decoding.decode
            decoded = decode(self, target, encoding, lengths, options)
        if decoded is None:
            decoded = stepwise.decode(self, target, encoding, lengths, options, feedback)
        return decoded

    def backward(  # type: ignore[override]
        self, tape: Seq2SeqTape, dlogits: ArrayLike | None, *, trace: bool = False
    ) -> Array | None:
        """Return the gradient at the source, and add to the gradients of all parts.

        Parameters
        ----------
        tape : Seq2SeqTape
            The tape of a forward pass of this model. It may be used several times; each call adds
            to the gradients again. `zero_grad` sets these to 0.
        dlogits : floats (B, T_t, K), or (B, T_t, E)
            Gradient of the loss at the logits. The padding is ignored. None stands for zeros.
        trace : bool, default False
            Keep the gradient at each step in the tapes of the recurrent layers.

        Returns
        -------
        array (B, T_s, I), or None
            Gradient at the source; None for symbols.

        Raises
        ------
        TypeError, ValueError
            If the tape is of another model, or the gradient has another dtype or shape. No gradient
            changes then.

        Examples
        --------
        >>> import crnn
        >>> model = crnn.Seq2Seq(crnn.GRU(4, 8), crnn.GRU(4, 8), source_symbols=9, target_symbols=7)
        >>> logits, tape = model.forward([[3, 1, 4]], [[0, 2]])
        >>> loss, dlogits = crnn.losses.cross_entropy(logits, [[2, 1]])
        >>> model.backward(tape, dlogits)  # None: the source is symbols
        >>> bool(model.grads["encoder.W_h"].any())
        True
        """
        return self.run_backward(tape, dlogits, trace=trace)[0]

    def run_backward(
        self, tape: Seq2SeqTape, dlogits: Any, name: str = "dlogits", *, trace: bool = False
    ) -> tuple[Array | None, Array | None]:
        """Return the gradients at source and target, None for symbols.

        `name` is the name of `dlogits` in errors.
        """
        self.check_run_backward(tape, dlogits, name)
        encoding, decoded = tape._encoding, tape._decoded
        with _core.Writing(self):
            if trace:
                request_trace(tape)
            doutputs, _ = self.output.backward(tape._output, dlogits)
            assert doutputs is not None
            gradient = decoded.tape.backward(self, doutputs)
            if not encoding.is_read:
                return None, gradient.dinputs
            dsource = encode_backward(self, encoding, gradient.dmemory, gradient.dstart)
            return dsource, gradient.dinputs

    def check_run_backward(self, tape: Any, dlogits: Any, name: str) -> None:
        """Raise the errors of `run_backward` before a gradient changes."""
        if not isinstance(tape, Seq2SeqTape):
            check_tape(tape, Seq2SeqTape)
        if tape._owner != self.identity:
            raise ValueError(
                "tape: expected one of a model like this, got one of another model: of "
                f"{tape._owner[0]} with attention={tape._owner[1]!r} or other parameters"
            )
        self.source_reader.check_backward(tape._encoding.encoder)
        tape._decoded.tape.check_backward(self)
        if dlogits is None:
            return
        shape = (*tape._decoded.outputs.shape[:2], self.output_size)
        check_array(name, dlogits, "floats", shape)

    # ----------------------------------------------------------------------------- generation

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
        """Return the targets that the model writes for sources; its output of a step is fed back.

        The next symbol of a target is the most likely one (greedy, the default), a symbol that is
        sampled (with `temperature`), or the best target is searched (with `beam`).

        Parameters
        ----------
        source, source_lengths
            As for `forward`.
        start : int or integers (B,); for vectors floats (E,) or (B, E)
            First input of the decoder: one for all rows, or one per row.
        stop : int or None
            Symbol that ends a target. None: all targets have `max_steps` symbols. Must be None for
            vectors.
        max_steps : int
            Largest number of steps of a target, at least 1.
        beam : int, default 1
            Number of partial targets that beam search keeps for each source. 1: greedy. Must be 1
            with a temperature.
        n_best : int, default 1
            Number of targets to return for each source: the best of the beam, best first, at most
            `beam`; with a temperature, that many samples.
        length_penalty : float, default 0.0
            Scores are divided by the number of symbols, `stop` included, to this power, before beam
            search ranks the targets. 0: sums of log-probabilities; 1: their means.
        temperature : float, optional
            Sample symbols with the probabilities softmax(logits / temperature); above 0. None: do
            not sample.
        top_k : int, optional
            Sample from the `top_k` most probable symbols only. Requires a temperature.
        top_p : float, optional
            Sample from the smallest set of most probable symbols whose probabilities sum to at
            least `top_p`, after `top_k`. Requires a temperature.
        seed : int, optional
            Seed of the sampling. Equal seeds give equal targets. None: a random seed.

        Returns
        -------
        tokens : int64 array (B, N), or (B, n_best, N) where n_best > 1
            Symbols without the start symbol. All symbols after the first `stop` are `stop`. N is
            the length of the longest target, `stop` included. For vectors: floats
            (B, max_steps, E).
        scores : float64 array (B,), or (B, n_best) where n_best > 1; None for vectors
            Sum of the log-probabilities of the symbols up to the first `stop`, at temperature 1,
            divided as described for `length_penalty`.

        Raises
        ------
        TypeError, ValueError
            If an argument has another type or shape, is out of range, or does not apply: options of
            sampling without a temperature, options of symbols for vectors.
        FloatingPointError
            If a logit is NaN.

        Notes
        -----
        Where a beam finds fewer than `n_best` targets, the others have the score -infinity and
        consist of `stop`, or of -1 where `stop` is None.

        Examples
        --------
        >>> import crnn
        >>> model = crnn.Seq2Seq(crnn.GRU(4, 8), crnn.GRU(4, 8), source_symbols=9, target_symbols=7)
        >>> options = {"start": 0, "stop": None, "max_steps": 5}
        >>> tokens, scores = model.generate([[3, 1, 4], [5, 8, 2]], **options)
        >>> tokens.shape, scores.shape
        ((2, 5), (2,))
        >>> tokens, scores = model.generate([[3, 1, 4]], **options, beam=4, n_best=2)
        >>> tokens.shape, bool(scores[0, 0] >= scores[0, 1])
        ((1, 2, 5), True)
        >>> tokens, _ = model.generate([[3, 1, 4]], **options, temperature=0.8, n_best=10, seed=0)
        >>> tokens.shape
        (1, 10, 5)
        """
        choosing = Choosing(beam, n_best, length_penalty, temperature, top_k, top_p, seed)
        array, lengths = self._checked_source(source, source_lengths)
        encoding = encode(self, array, lengths, EVALUATION, False)
        return self.write(encoding, start, stop, max_steps, choosing)

    def write(
        self, encoding: Encoding, start: Any, stop: int | None, max_steps: int, choosing: Choosing
    ) -> tuple[Array, Array | None]:
        """Return tokens and scores as `generate` does, from the encoding of the sources."""
        batch, n_best = encoding.batch, choosing.n_best
        if self.target_symbols is None:
            choosing.check_vectors(stop)
            first = checks.check_start_vectors(start, batch, self.target_width, self.dtype)
            steps = check_size("max_steps", max_steps)
            return generate_vectors(self, encoding, first, steps), None
        K = self.target_symbols
        symbols = checks.check_start_symbols(start, batch, K)
        stop = checks.check_stop(stop, K)
        tokens, scores = generate_symbols(self, encoding, symbols, choosing, stop, max_steps)
        return (tokens, scores) if n_best > 1 else (tokens[:, 0], scores[:, 0])


def check_counts(call: int | None, first_row: int, layer: int) -> None:
    """Raise if the numbers `call`, `first_row` or `layer` of forward are not valid."""
    if call is not None:
        check_count("call", call, 64)
    if type(first_row) is not int or first_row < 0 or first_row >= 2**64:
        check_count("first_row", first_row, 64)
    if type(layer) is not int or layer < 0 or layer >= 2**32:
        check_count("layer", layer, 32)
