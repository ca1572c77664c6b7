"""Exact backpropagation through time in less memory: windows are computed a second time.

Griewank and Walther, "Revolve" (2000), and Chen et al., "Training deep nets with sublinear memory
cost" (2016), with the checkpoints at equal distances.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import crnn._core as _core
from crnn.common.arrays import Array, as_array
from crnn.common.checks import check_array, check_lengths, check_size, check_steps
from crnn.common.nested import check_like, map_state
from crnn.layers.base.adapted import not_by_steps, walk
from crnn.layers.base.arguments import ForwardOptions, is_from_outside
from crnn.layers.base.places import back_in, run_in
from crnn.layers.base.protocol import LayerLike
from crnn.layers.base.tapes import Pieces, ask_for_trace, check_tape
from crnn.layers.compose.base import Unnamed
from crnn.layers.compose.streams import stream_of


class Traces:
    """The tapes of all windows of the last walk back that was to be traced."""

    def __init__(self) -> None:
        self.wanted = False
        self.windows: list[Any] = []

    def begin(self) -> bool:
        """Whether the walk that begins is to be traced."""
        wanted, self.wanted = self.wanted, False
        if wanted:
            self.windows.clear()
        return wanted

    def add(self, tape: Any) -> None:
        """The next window before; asks it for its trace."""
        ask_for_trace(tape)
        self.windows.insert(0, tape)


class CheckpointedTape(NamedTuple):
    """What Checkpointed keeps: the input, and the state before each window."""

    owner: tuple[Any, ...]
    x: Array
    given: ForwardOptions
    starts: list[Any]
    end: Any  # zeros like the last state, in no memory
    shape: tuple[int, ...]  # of y
    echoes: Echoes | None
    traces: Traces

    @property
    def parts(self) -> dict[str, Any]:
        """The windows' tapes of a walk back that left a trace."""
        return {"layer": Pieces(self.traces.windows)}

    def ask_for_trace(self) -> None:
        """Keep the windows' tapes of the next walk back."""
        self.traces.wanted = True


class Echoes(NamedTuple):
    """Steps (row, step) that repeat the output of an earlier window, and its step."""

    rows: NDArray[np.intp]
    steps: NDArray[np.intp]
    sources: NDArray[np.intp]


class Checkpointed(Unnamed):
    """A layer that keeps the state each `every` steps, and recomputes what lies between.

    Forward runs windows of `every` steps and keeps the state before each; backward goes from the
    last window to the first, computes its tape once more and walks it back. So at most
    ceil(T / every) states and one window's tape are in memory in place of the tape of T steps, at
    the cost of a second forward: with every near sqrt(T), memory grows with sqrt(T).

    Parameters
    ----------
    layer : layer
        One that reads forwards and keeps the time axis: RNN, LSTM, GRU, JANET, or any composition
        of them with layers like Dense.
    every : int
        Steps of a window.

    Attributes
    ----------
    layer : layer
        Its parameters keep their names here, without a prefix: an optimizer or a `state_dict` made
        for the layer fits this one, and what is trained here is loaded there.
    every : int

    Raises
    ------
    TypeError
        If it is not a layer.
    ValueError
        If a part is reversed or Bidirectional, removes the time axis, or is a Conditioned; `every`
        is below 1. From forward, for a mask that only the whole sequence could answer (see Notes).

    Notes
    -----
    Outputs and last state have the bits that they have without windows; so have the gradients of a
    single recurrent layer, whose sums go on from window to window. The parameters must be the same
    when `backward` computes the windows again; of x the tape has a copy.

    What is dropped is what the layer itself drops, without windows.

    With a `mask`, a step that is masked at the start of a window repeats an output of the window
    before. That is known where all outputs of masked steps are repetitions: behind a recurrent
    layer. It is an error for masked steps behind a Residual around one, or behind dropout.
    """

    _leading, _arguments = ("layer", "every"), ("every",)

    def __init__(self, layer: LayerLike, every: int) -> None:
        super().__init__(layer)
        self.every = check_size("every", every)
        if (where := not_by_steps(layer)) is not None:
            raise ValueError(
                "layer: expected one that reads forwards, from arrays, and keeps the time "
                f"axis, got {layer!r:.100}{where}"
            )

    tape_after_backward = True

    @property
    def stochastic(self) -> bool:
        """Whether the layer draws, or a part from outside the package may.

        Windows are computed twice, so no part may count by itself.
        """
        return super().stochastic or any(is_from_outside(part) for _, part in walk(self.layer))

    def _run(self, x: Any, state: Any, given: ForwardOptions, keep: bool) -> tuple[Any, Any, Any]:
        if not keep:
            return run_in(self, "layer", given, x, state, keep)
        array = _core.kept(as_array("x", x))
        given = _checked(given, array)
        echoes = self._echoes(given, array.shape)
        starts, y = [], np.empty(0)
        after = map_state(np.array, state)  # the caller may edit what it gave
        for cut in self._cuts(array):
            starts.append(after)
            window = _window(given, cut)
            part, after = run_in(self, "layer", window, array[:, cut], after, True)[:2]
            if part.shape[:2] != array[:, cut].shape[:2]:
                raise ValueError(
                    f"layer: expected one that keeps the time axis, got y of shape {part.shape} "
                    f"from x of shape {array[:, cut].shape}"
                )
            if not cut.start:
                y = np.empty((*array.shape[:2], *part.shape[2:]), part.dtype)
            y[:, cut] = part
        if echoes is not None:
            y[echoes.rows, echoes.steps] = y[echoes.rows, echoes.sources]
        end = map_state(lambda one: np.broadcast_to(one.dtype.type(0), one.shape), after)
        kept = (array, given, starts, end, y.shape, echoes, Traces())
        return y, after, CheckpointedTape(self._owner(), *kept)

    def _cuts(self, x: Array) -> list[slice]:
        """The windows; one for no steps."""
        T = x.shape[1]
        begins = range(0, max(T, 1), self.every)
        return [slice(begin, min(begin + self.every, T)) for begin in begins]

    def _owner(self) -> tuple[Any, ...]:
        """What a layer must have in common with the one that made a tape."""
        shapes = ((name, array.shape) for name, array in self.layer.params.items())
        return (type(self.layer).__name__, self.every, *shapes)

    def _echoes(self, given: ForwardOptions, shape: tuple[int, ...]) -> Echoes | None:
        """Masked steps that repeat an output of an earlier window, where there are any."""
        if given.mask is None:
            return None
        T = np.arange(shape[1])
        own = np.ones(shape[:2], bool) if given.lengths is None else T < given.lengths[:, None]
        read = own & given.mask
        anew = np.zeros_like(read) if given.resets is None else given.resets
        # the last step that was read or reset; reset and not read: there is nothing to repeat
        sources = np.maximum.accumulate(np.where(read | anew, T, -1), axis=1)
        known = (sources >= 0) & np.take_along_axis(read, sources, axis=1)
        earlier = sources < T - T % self.every
        rows, steps = np.nonzero(own & ~given.mask & known & earlier)
        if not len(rows) or self.receptive_field == 1:
            return None
        if not self.repeats_masked(False, given.training):
            raise ValueError(
                "mask: expected the first step of a window to be there, because this layer's "
                f"output at a masked step is no repetition, got False at row {rows[0]}, "
                f"step {steps[0]}"
            )
        return Echoes(rows, steps, sources[rows, steps])

    def check_backward(self, tape: Any, dstate: Any) -> None:
        check_tape(tape, CheckpointedTape)
        if tape.owner != self._owner():
            raise ValueError(
                f"tape: expected one of a layer like this, {self._owner()}, got one of {tape.owner}"
            )
        check_like("dstate", dstate, tape.end)

    def _checked_dy(self, tape: Any, dy: Any) -> Any:
        """dy, checked, with what is given at repeated outputs moved to where they were computed."""
        if dy is None:
            return None
        array = check_array("dy", dy, "floats", tape.shape)
        if tape.echoes is None:
            return array
        rows, steps, sources = tape.echoes
        array = array.copy()
        np.add.at(array, (rows, sources), array[rows, steps])
        array[rows, steps] = 0
        return array

    def _back(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        """dx, dstate of all windows, from the last to the first.

        A trace takes the memory that was saved: the tapes of all windows are kept for it.
        """
        dx, traced = None, tape.traces.begin()
        for cut, start in zip(reversed(self._cuts(tape.x)), reversed(tape.starts), strict=True):
            given, x = _window(tape.given, cut), tape.x[:, cut]
            part = run_in(self, "layer", given, x, start, True)[2]
            if traced:
                tape.traces.add(part)
            part_dy = None if dy is None else dy[:, cut]
            d, dstate = back_in(self, "layer", part, part_dy, dstate)
            del part  # before the next one is there
            if d is not None:
                dx = np.empty(tape.x.shape, d.dtype) if dx is None else dx
                dx[:, cut] = d
        return dx, dstate

    def stream(self, batch_size: int = 1, state: Any = None) -> Any:
        """The layer one step at a time, as it runs without windows."""
        return stream_of(self.layer, batch_size, state)


def _checked(given: ForwardOptions, x: Array) -> ForwardOptions:
    """The same with arrays of its own that fit x, of which windows can be taken."""
    expected = "x: expected floats of shape (B, T, I), or integers (B, T)"
    if x.dtype.kind not in "fiu":
        raise TypeError(f"{expected}, got {x.dtype}")
    if x.ndim < 2:
        raise ValueError(f"{expected}, got shape {x.shape}")
    lengths, mask, resets = given.lengths, given.mask, given.resets
    if lengths is not None:
        lengths = check_lengths(lengths, x.shape).astype(np.int64)  # a copy
    if mask is not None:
        mask = check_steps("mask", mask, x.shape)
    if resets is not None:
        resets = check_steps("resets", resets, x.shape)
    return given._replace(lengths=lengths, mask=mask, resets=resets)


def _window(given: ForwardOptions, cut: slice) -> ForwardOptions:
    """What a window gets."""
    lengths, mask, resets = given.lengths, given.mask, given.resets
    return given._replace(
        lengths=None if lengths is None else np.clip(lengths - cut.start, 0, cut.stop - cut.start),
        mask=None if mask is None else mask[:, cut],
        resets=None if resets is None else resets[:, cut],
        first_step=given.first_step + cut.start,
    )
