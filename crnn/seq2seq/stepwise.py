"""A decoder that runs step by step, because the input of a step depends on the step before.

With input feeding the input includes the context, which is computed from the last h. In scheduled
sampling and in generation the input is the model's own output. The decoder may be any layer that
runs step by step: only its public methods are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, Lengths
from crnn.layers.attention.alignment import Attention, AttentionTape, Memory, MemoryGradient
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.tapes import TapeSequence
from crnn.layers.compose.base import Runner
from crnn.seq2seq.bridge import add_to_last_h, last_h
from crnn.seq2seq.decoding import (
    Decoded,
    DecodedGradient,
    joined,
    prediction,
    split,
    zeros_if_none,
)
from crnn.seq2seq.encoding import Encoding, rows_of_state
from crnn.seq2seq.reader import Reader

if TYPE_CHECKING:
    from crnn.seq2seq.parts import Seq2SeqParts


class StepTape(NamedTuple):
    """Values of one step that the backward pass needs."""

    decoder: Any
    embedding: Any  # None where the tape of the decoder includes the embedding
    attention: AttentionTape | None


class StepsTape(NamedTuple):
    """Tape of a decoder that ran step by step."""

    steps: tuple[StepTape, ...]  # up to the end of the longest row
    start: Any
    memory: Memory | None
    inputs: Array
    feedback: NDArray[np.bool_] | None  # (B, T): True where the input was the model's own output

    def check_backward(self, model: Seq2SeqParts) -> None:
        reader, embedding = step_reader(model)
        for step in self.steps:
            reader.check_backward(step.decoder)
            if embedding is not None:
                embedding.check_backward(step.embedding, None)

    def backward(self, model: Seq2SeqParts, doutputs: Array) -> DecodedGradient:
        backward_pass, (dy, dcontext) = _BackwardPass(model, self), split(model, doutputs)
        dinputs = None
        if self.inputs.dtype.kind not in "iu":
            dinputs = np.zeros_like(self.inputs, model.dtype)
        for t in reversed(range(len(self.steps))):
            one = slice(t, t + 1)
            dcontext_t = None if dcontext is None else dcontext[:, one]
            dx = backward_pass.step(self.steps[t], dy[:, one], dcontext_t)
            if dinputs is not None:
                dinputs[:, one] = dx
        if dinputs is not None and self.feedback is not None:
            dinputs[self.feedback] = 0
        return DecodedGradient(dinputs, backward_pass.dmemory, backward_pass.dstart(self.start))

    def decoder_tape(self, model: Seq2SeqParts) -> Any:
        reader, _ = step_reader(model)
        return TapeSequence(reader.layer_tape(step.decoder) for step in self.steps)


class Step(NamedTuple):
    """The results of one step, each (B, 1, ...)."""

    y: Array
    context: Array | None
    weights: Array | None
    tape: StepTape


class StepwisePass:
    """Forward pass of a decoder, one step per call of `step`.

    Parameters
    ----------
    model : Seq2Seq
        The model.
    encoding : Encoding
        The encoding of the source.
    options : ForwardOptions
        The options of the forward pass.
    keep : bool
        False: evaluation; the tapes must not be used.

    Attributes
    ----------
    state : state
        The state of the decoder.
    h : array (B, 1, P), or None
        With input feeding, the query of the next context. Otherwise None.
    memory : Memory or None
        The memory of the attention.
    """

    def __init__(
        self, model: Seq2SeqParts, encoding: Encoding, options: ForwardOptions, keep: bool
    ) -> None:
        self._model, self._options, self._keep = model, options.for_part(1), keep
        self._reader, embedding = step_reader(model)
        self._embedder = None if embedding is None else Runner(embedding)
        self.memory, self.state = encoding.memory, encoding.state
        self.h = last_h(encoding.state)[:, None] if model.feeds_context else None
        self._step = 0

    def step(self, x: Array, lengths: Lengths = None) -> Step:
        """Run one step.

        Parameters
        ----------
        x : array (B, 1) of integers, or (B, 1, E)
            The input of the step.
        lengths : array (B,) of 0 and 1, optional
            1 for each row in which the step is valid. None: all rows.
        """
        options = self._options._replace(lengths=lengths, first_step=self._step)
        context = weights = attention_tape = embedding_tape = None
        if self._embedder is not None:
            x, _, embedding_tape = self._embedder.run(x, None, options, options.layer, self._keep)
        if self.h is not None:
            context, weights, attention_tape = self._attend(self.h, lengths)
            x = joined(x.astype(self._model.dtype, copy=False), context)
        y, self.state, tape = self._reader.run(x, self.state, options, self._keep)
        if self.h is not None:
            self.h = y
        elif self._model.attention is not None:
            context, weights, attention_tape = self._attend(y, lengths)
        self._step += 1
        return Step(y, context, weights, StepTape(tape, embedding_tape, attention_tape))

    def _attend(self, h: Array, lengths: Any) -> tuple[Array, Array, AttentionTape]:
        """Return the context and the weights of the query h, and a tape."""
        attention: Attention | None = self._model.attention
        assert attention is not None
        assert self.memory is not None
        return attention.forward(h, self.memory, lengths)

    def select(self, rows: NDArray[np.intp]) -> None:
        """Continue with these rows of the batch; a row may occur several times, or not at all."""
        self.state = rows_of_state(self.state, rows)
        self.h = None if self.h is None else self.h[rows]
        self.memory = None if self.memory is None else self.memory.rows(rows)


def step_reader(model: Seq2SeqParts) -> tuple[Reader, Any]:
    """Return the reader that runs a step, and the embedding unless the reader includes it."""
    if model.feeds_context:
        return Reader(None, model.decoder, ("", "decoder")), model.target_embedding
    return model.target_reader, None


def decode(
    model: Seq2SeqParts,
    target: Array,
    encoding: Encoding,
    lengths: Lengths,
    options: ForwardOptions,
    feedback: NDArray[np.bool_] | None = None,
) -> Decoded:
    """Run the decoder over the steps of a target.

    Parameters
    ----------
    model, target, encoding, lengths, options
        As for `crnn.seq2seq.decoding.decode`, with or without input feeding.
    feedback : array (B, T) of booleans, optional
        True where the input is the model's own output of the step before, in place of the target;
        no gradient passes through it. False in step 0.
    """
    inputs = target if feedback is None else target.copy()
    options = options._replace(needs_dx=None)
    decoder = StepwisePass(model, encoding, options, True)
    outputs, tapes = _Outputs(model, target.shape, encoding), []
    longest = int(target.shape[1] if lengths is None else lengths.max(initial=0))
    for t in range(longest):
        valid = None if lengths is None else (lengths > t).astype(np.int64)
        step = decoder.step(inputs[:, t : t + 1], valid)
        outputs.put(t, step)
        tapes.append(step.tape)
        if feedback is not None and t + 1 < target.shape[1]:
            predicted = prediction(model, step.y, step.context)
            inputs[:, t + 1][feedback[:, t + 1]] = predicted[feedback[:, t + 1]]
    tape = StepsTape(tuple(tapes), encoding.state, encoding.memory, inputs, feedback)
    return Decoded(joined(outputs.y, outputs.context), outputs.weights, inputs, tape)


class _Outputs:
    """Arrays (B, T, ...) of the results of all steps, filled step by step; 0 in the padding."""

    def __init__(self, model: Seq2SeqParts, shape: tuple[int, ...], encoding: Encoding) -> None:
        B, T = shape[:2]
        self.y = np.zeros((B, T, model.decoder_output), model.dtype)
        self.context = self.weights = None
        if encoding.memory is not None:
            _, steps, width = encoding.memory.values.shape
            self.context = np.zeros((B, T, width), model.dtype)
            self.weights = np.zeros((B, T, steps), model.dtype)

    def put(self, t: int, step: Step) -> None:
        """Write the results of step t."""
        self.y[:, t] = step.y[:, 0]
        if self.context is not None and self.weights is not None:
            assert step.context is not None
            assert step.weights is not None
            self.context[:, t] = step.context[:, 0]
            self.weights[:, t] = step.weights[:, 0]


class _BackwardPass:
    """Backward pass of a decoder that ran step by step, from the last step to the first.

    With input feeding, h of step t - 1 is the query of step t: its gradient is added to the
    gradient at the output of step t - 1, and for step 0 to the gradient at the initial state.
    """

    def __init__(self, model: Seq2SeqParts, tape: StepsTape) -> None:
        self._model, self._attention = model, model.attention
        self._reader, self._embedding = step_reader(model)
        self.dmemory = None if tape.memory is None else MemoryGradient.zeros(tape.memory)
        self._dstate: Any = None
        self._dh: Any = 0  # (B, 1, P), the gradient at the query of the step after

    def step(self, tape: StepTape, dy: Array, dcontext: Array | None) -> Array | None:
        """Return the gradient at the input of one step, None for symbols."""
        if not self._model.feeds_context:
            if dcontext is not None:
                dy = dy + self._attention_backward(tape, dcontext)
            dx, self._dstate = self._reader.backward(tape.decoder, dy, self._dstate)
            return None if dx is None else np.asarray(dx)
        dx, self._dstate = self._reader.backward(tape.decoder, dy + self._dh, self._dstate)
        assert dcontext is not None
        width = dx.shape[2] - dcontext.shape[2]
        self._dh = self._attention_backward(tape, dcontext + dx[:, :, width:])
        dembedded = np.ascontiguousarray(dx[:, :, :width])
        if self._embedding is None:
            return dembedded
        self._embedding.backward(tape.embedding, dembedded)
        return None

    def _attention_backward(self, tape: StepTape, dcontext: Array) -> Array:
        """Return the gradient at the query of a step; add to the gradient at the memory."""
        assert self._attention is not None
        assert tape.attention is not None
        assert self.dmemory is not None
        return self._attention.backward(tape.attention, dcontext, self.dmemory)

    def dstart(self, start: Any) -> Any:
        """Return the gradient at the initial state `start`, after all steps."""
        dstart = zeros_if_none(self._dstate, start)
        if not self._model.feeds_context or self._dstate is None:
            return dstart
        return add_to_last_h(dstart, self._dh[:, 0])
