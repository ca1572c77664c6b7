"""A decoder run one step after the other: what it is fed depends on what it gave.

With input feeding that is the context, asked for with the last h; in scheduled sampling and in use,
it is the model's own last choice. Any decoder that runs step by step will do: its public methods
are all that is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, Lengths
from crnn.common.nested import arrays_of, filled, map_state
from crnn.layers.attention.alignment import Attention, AttentionTape, Memory, MemoryGradient
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.tapes import TapeSequence
from crnn.layers.compose.base import Runner
from crnn.seq2seq.bridge import last_h
from crnn.seq2seq.decoding import Decoded, DecodedGradient, choice, filled_up, joined
from crnn.seq2seq.encoding import Encoding
from crnn.seq2seq.reader import Reader

if TYPE_CHECKING:
    from crnn.seq2seq.parts import Seq2SeqParts


class StepTape(NamedTuple):
    """What the way back needs of one step."""

    decoder: Any
    embedding: Any  # None where the reader of the step has the embedding inside
    attention: AttentionTape | None


class StepsTape(NamedTuple):
    """Of a run step by step.

    On the way back, with input feeding, the gradient of the h that asked at step t goes to the
    output of step t - 1, at step 0 to the first state.
    """

    steps: tuple[StepTape, ...]  # up to the end of the longest row
    start: Any
    memory: Memory | None
    fed: Array
    own: NDArray[np.bool_] | None  # (B, T): where the model was fed its own output

    def check_back(self, model: Seq2SeqParts) -> None:
        reader, embedding = step_reader(model)
        for step in self.steps:
            reader.check_backward(step.decoder)
            if embedding is not None:
                embedding.check_backward(step.embedding, None)

    def back(self, model: Seq2SeqParts, dy: Array, dcontext: Array | None) -> DecodedGradient:
        back = _WalkBack(model, self)
        dfed = None if self.fed.dtype.kind in "iu" else np.zeros_like(self.fed, model.dtype)
        for t in reversed(range(len(self.steps))):
            one = slice(t, t + 1)
            dnow = None if dcontext is None else dcontext[:, one]
            dx = back.step(self.steps[t], dy[:, one], dnow)
            if dfed is not None:
                dfed[:, one] = dx
        if dfed is not None and self.own is not None:
            dfed[self.own] = 0
        return DecodedGradient(dfed, back.dmemory, back.start(self.start))

    def shown(self, model: Seq2SeqParts) -> Any:
        reader, _ = step_reader(model)
        return TapeSequence(reader.layer_tape(step.decoder) for step in self.steps)


class Step(NamedTuple):
    """What one step gave; (B, 1, ...) each."""

    y: Array
    context: Array | None
    weights: Array | None
    tape: StepTape


class WindowPass:
    """A decoder on its way along the target.

    Parameters
    ----------
    model : Seq2Seq
    encoding : Encoding
    given : ForwardOptions
        How the decoder is run.
    keep : bool
        False: evaluation, and the tapes mean nothing.

    Attributes
    ----------
    state : state
        The decoder's.
    h : array (B, 1, P)
        What the next context is asked for with, with input feeding.
    memory : Memory or None
    """

    def __init__(
        self, model: Seq2SeqParts, encoding: Encoding, given: ForwardOptions, keep: bool
    ) -> None:
        self._model, self._given, self._keep = model, given.for_part(1), keep
        self._reader, embedding = step_reader(model)
        self._embedder = None if embedding is None else Runner(embedding)
        self.memory, self.state = encoding.memory, encoding.state
        self.h = last_h(encoding.state)[:, None] if model.feeds else None
        self._step = 0

    def step(self, x: Array, lengths: Lengths = None) -> Step:
        """Take one step.

        Parameters
        ----------
        x : array (B, 1) of integers, or (B, 1, E)
        lengths : array (B,) of 0 and 1, optional
            Which rows have this step.
        """
        given = self._given._replace(lengths=lengths, first_step=self._step)
        asked = given_context = embedded = None
        if self._embedder is not None:
            x, _, embedded = self._embedder.run(x, None, given, given.layer, self._keep)
        if self.h is not None:
            given_context, weights, asked = self._ask(self.h, lengths)
            x = joined(x.astype(self._model.dtype, copy=False), given_context)
        y, self.state, tape = self._reader.run(x, self.state, given, self._keep)
        if self.h is not None:
            self.h = y
        elif self._model.attention is not None:
            given_context, weights, asked = self._ask(y, lengths)
        self._step += 1
        shown = None if asked is None else weights
        return Step(y, given_context, shown, StepTape(tape, embedded, asked))

    def _ask(self, h: Array, lengths: Any) -> tuple[Array, Array, AttentionTape]:
        attention: Attention | None = self._model.attention
        assert attention is not None
        assert self.memory is not None
        return attention.forward(h, self.memory, lengths)

    def rows(self, rows: NDArray[np.intp]) -> None:
        """Go on with these rows, each of which goes on from one of the rows there are."""
        self.state = map_state(lambda part: part[rows], self.state)
        self.h = None if self.h is None else self.h[rows]
        self.memory = None if self.memory is None else self.memory.rows(rows)


def step_reader(model: Seq2SeqParts) -> tuple[Reader, Any]:
    """What runs a step, and the embedding where it is not inside of that."""
    if model.feeds:
        return Reader(None, model.decoder, ("", "decoder")), model.target_embedding
    return model.target_reader, None


def decode(
    model: Seq2SeqParts,
    target: Array,
    encoding: Encoding,
    lengths: Lengths,
    given: ForwardOptions,
    own: NDArray[np.bool_] | None = None,
) -> Decoded:
    """Run the decoder over the steps of a target.

    Parameters
    ----------
    model, target, encoding, lengths, given
        As for `crnn.seq2seq.decoding.decode`, with or without input feeding.
    own : array (B, T) of booleans, optional
        Where the model is fed its own output of the step before in place of the target, without a
        gradient through it. False in step 0.
    """
    fed = target if own is None else target.copy()
    walk = WindowPass(model, encoding, given, True)
    shown, tapes = _Shown(model, target.shape, encoding), []
    longest = int(target.shape[1] if lengths is None else lengths.max(initial=0))
    for t in range(longest):
        there = None if lengths is None else (lengths > t).astype(np.int64)
        step = walk.step(fed[:, t : t + 1], there)
        shown.put(t, step)
        tapes.append(step.tape)
        if own is not None and t + 1 < target.shape[1]:
            chosen = choice(model, step.y, step.context)
            fed[:, t + 1][own[:, t + 1]] = chosen[own[:, t + 1]]
    tape = StepsTape(tuple(tapes), encoding.state, encoding.memory, fed, own)
    return Decoded(shown.y, shown.context, shown.weights, fed, tape)


class _Shown:
    """Arrays (B, T, ...) that are filled step by step; zeros past the ends."""

    def __init__(self, model: Seq2SeqParts, shape: tuple[int, ...], encoding: Encoding) -> None:
        B, T = shape[:2]
        self.y = np.zeros((B, T, model.decoder_output), model.dtype)
        self.context = self.weights = None
        if encoding.memory is not None:
            _, steps, width = encoding.memory.values.shape
            self.context = np.zeros((B, T, width), model.dtype)
            self.weights = np.zeros((B, T, steps), model.dtype)

    def put(self, t: int, step: Step) -> None:
        self.y[:, t] = step.y[:, 0]
        if self.context is not None and self.weights is not None:
            assert step.context is not None
            assert step.weights is not None
            self.context[:, t] = step.context[:, 0]
            self.weights[:, t] = step.weights[:, 0]


class _WalkBack:
    """The way back along the steps."""

    def __init__(self, model: Seq2SeqParts, tape: StepsTape) -> None:
        self._model, self._attention = model, model.attention
        self._reader, self._embedding = step_reader(model)
        self.dmemory = None if tape.memory is None else MemoryGradient.zeros(tape.memory)
        self._dstate: Any = None
        self._dh: Any = 0  # (B, 1, P): what later steps have asked with

    def step(self, tape: StepTape, dy: Array, dcontext: Array | None) -> Array | None:
        """The gradient of what the step was fed."""
        if not self._model.feeds:
            if dcontext is not None:
                dy = dy + self._asked(tape, dcontext)
            dx, self._dstate = self._reader.backward(tape.decoder, dy, self._dstate)
            return None if dx is None else np.asarray(dx)
        dx, self._dstate = self._reader.backward(tape.decoder, dy + self._dh, self._dstate)
        assert dcontext is not None
        width = dx.shape[2] - dcontext.shape[2]
        self._dh = self._asked(tape, dcontext + dx[:, :, width:])
        dembedded = np.ascontiguousarray(dx[:, :, :width])
        if self._embedding is None:
            return dembedded
        self._embedding.backward(tape.embedding, dembedded)
        return None

    def _asked(self, tape: StepTape, dcontext: Array) -> Array:
        assert self._attention is not None
        assert tape.attention is not None
        assert self.dmemory is not None
        return self._attention.backward(tape.attention, dcontext, self.dmemory)

    def start(self, start: Any) -> Any:
        """The gradient of the first state."""
        dstart = filled_up(self._dstate, start)
        if not self._model.feeds or self._dstate is None:
            return dstart
        first, dquery = last_h(dstart), self._dh[:, 0]
        parts = [part + dquery if part is first else part for part in arrays_of(dstart)]
        return filled(dstart, parts)
