"""Checkpointing: exact backpropagation through time in less memory, by a second forward.

Griewank and Walther, "Revolve" (2000), and Chen et al., "Training deep nets with sublinear memory
cost" (2016), with checkpoints at equal distances.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import crnn._core as _core
from crnn.common.arrays import Array, as_array
from crnn.common.checks import check_array, check_lengths, check_size, check_steps
from crnn.common.nested import check_like, gradient_form, map_state
from crnn.common.representation import tape_text
from crnn.layers.base.adapted import named_layers, stepwise_obstacle
from crnn.layers.base.arguments import ForwardOptions, is_from_outside
from crnn.layers.base.attributes import Checked
from crnn.layers.base.places import backward_part, run_part
from crnn.layers.base.protocol import LayerLike
from crnn.layers.base.tapes import TapeSequence, check_tape, request_trace
from crnn.layers.compose.base import WithoutPrefix
from crnn.layers.compose.streams import stream_of


class Traces:
    """Tapes of all windows of the last backward that was traced.

    Attributes
    ----------
    requested : bool
        Whether the next backward keeps a trace.
    windows : list of tapes
        In the order of time.
    """

    def __init__(self) -> None:
        self.requested = False
        self.windows: list[Any] = []

    def begin(self) -> bool:
        """Begin a backward, and return whether it keeps a trace."""
        requested, self.requested = self.requested, False
        if requested:
            self.windows.clear()
        return requested

    def add(self, tape: Any) -> None:
        """Add the tape of the window before the last added one, and request its trace."""
        request_trace(tape)
        self.windows.insert(0, tape)


class CheckpointedTape(NamedTuple):
    """Tape of Checkpointed: the input, and the state before each window."""

    key: tuple[Any, ...]  # equal for all layers that can use the tape
    x: Array
    options: ForwardOptions
    starts: list[Any]  # state before each window
    end: Any  # zeros in the form of its gradient, as broadcast arrays that need no memory
    shape: tuple[int, ...]  # of y
    repeats: Repeats | None
    traces: Traces

    @property
    def parts(self) -> dict[str, Any]:
        """The tapes of all windows, after a backward with a trace."""
        return {"layer": TapeSequence(self.traces.windows)}

    def request_trace(self) -> None:
        """Make the next backward keep the tapes of all windows."""
        self.traces.requested = True

    def __repr__(self) -> str:
        return tape_text(self)


class Repeats(NamedTuple):
    """Rows and steps of outputs that repeat an output of an earlier window, and its step."""

    rows: NDArray[np.intp]
    steps: NDArray[np.intp]
    sources: NDArray[np.intp]


class Checkpointed(WithoutPrefix):
    """Layer that saves memory in training: it keeps one state per window, and recomputes the rest.

    Forward runs windows of `every` steps, and keeps only the state before each window. Backward
    goes from the last window to the first; for each one it runs forward again to get its tape. The
    memory is that of ceil(T / every) states and one tape of `every` steps, and not of a tape of T
    steps. With `every` near sqrt(T), it grows with sqrt(T). The cost is a second forward.

    Parameters
    ----------
    layer : layer
        A layer that can run step by step: a recurrent layer such as GRU, or a composition of such
        layers with layers such as Dense.
    every : int
        Number of steps of a window.

    Attributes
    ----------
    layer : layer
        The layer inside. Its parameters have no prefix here, so a `state_dict` of the layer can be
        loaded into this layer, and the reverse.
    every : int
        As passed.

    Raises
    ------
    TypeError
        If `layer` is not a layer.
    ValueError
        If a part reads backwards, removes the time axis or is a `Conditioned`, or `every` is below
        1. From forward: if the output at a masked step is not known (see Notes).

    Notes
    -----
    Outputs and the last state are bit-identical to those of the layer itself, and the same units
    are dropped. The gradients of a single recurrent layer are bit-identical, too. The parameters
    must not change between forward and backward. The tape has a copy of x.

    If a step is masked at the start of a window, its output repeats an output of the window before.
    This is supported if all outputs at masked steps are repetitions: those of a recurrent layer,
    and of pointwise layers after it. It is an error for a `Residual` around a recurrent layer, or
    for dropout after it.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer, x = crnn.GRU(3, 4, seed=0), np.ones((2, 100, 3))
    >>> saving = crnn.Checkpointed(layer, every=10)
    >>> y, state, tape = saving.forward(x)
    >>> bool((y == layer(x)[0]).all())
    True
    >>> dx, dstate = saving.backward(tape, np.ones_like(y))
    >>> dx.shape, saving.grads["W_h"].shape
    ((2, 100, 3), (12, 4))
    """

    _leading, _arguments = ("layer", "every"), ("every",)
    every = Checked[int](check_size)

    def __init__(self, layer: LayerLike, every: int) -> None:
        super().__init__(layer)
        self.every = every
        if (obstacle := stepwise_obstacle(layer)) is not None:
            raise ValueError(
                "layer: expected one that reads forwards, from arrays, and keeps the time "
                f"axis, got {layer!r:.100}{obstacle}"
            )

    tape_after_backward = True

    @property
    def stochastic(self) -> bool:
        """Whether the layer draws random numbers, or a part from outside of crnn may do so.

        Windows run twice with the same number, so the parts must not count their calls.
        """
        return super().stochastic or any(
            is_from_outside(part) for _, part in named_layers(self.layer)
        )

    def _run(self, x: Any, state: Any, options: ForwardOptions, keep: bool) -> tuple[Any, Any, Any]:
        if not keep:
            return run_part(self, "layer", options, x, state, keep)
        array = _core.kept(as_array("x", x))
        options = _checked(options, array)
        repeats = self._repeats(options, array.shape)
        starts, y = [], np.empty(0)
        after = map_state(np.array, state)  # a copy: the caller may change the array
        for window in self._windows(array):
            starts.append(after)
            inside = _window_options(options, window)
            part, after = run_part(self, "layer", inside, array[:, window], after, True)[:2]
            if part.shape[:2] != array[:, window].shape[:2]:
                raise ValueError(
                    f"layer: expected one that keeps the time axis, got y of shape {part.shape} "
                    f"from x of shape {array[:, window].shape}"
                )
            if not window.start:
                y = np.empty((*array.shape[:2], *part.shape[2:]), part.dtype)
            y[:, window] = part
        if repeats is not None:
            y[repeats.rows, repeats.steps] = y[repeats.rows, repeats.sources]
        end = map_state(
            lambda part: np.broadcast_to(part.dtype.type(0), part.shape), gradient_form(after)
        )
        kept = (array, options, starts, end, y.shape, repeats, Traces())
        return y, after, CheckpointedTape(self._tape_key(), *kept)

    def _windows(self, x: Array) -> list[slice]:
        """Return the steps of each window. For T = 0 there is one empty window."""
        T = x.shape[1]
        begins = range(0, max(T, 1), self.every)
        return [slice(begin, min(begin + self.every, T)) for begin in begins]

    def _tape_key(self) -> tuple[Any, ...]:
        """Return a key that is equal for all layers that can use a tape of this layer."""
        shapes = ((name, array.shape) for name, array in self.layer.params.items())
        return (type(self.layer).__name__, self.every, *shapes)

    def _repeats(self, options: ForwardOptions, shape: tuple[int, ...]) -> Repeats | None:
        """Return the masked steps that repeat an output of an earlier window, or None."""
        if options.mask is None:
            return None
        t = np.arange(shape[1])
        valid = (
            np.ones(shape[:2], bool) if options.lengths is None else t < options.lengths[:, None]
        )
        read = valid & options.mask
        reset = np.zeros_like(read) if options.resets is None else options.resets
        # the last step that was read or reset; after a reset without a read, y is 0
        sources = np.maximum.accumulate(np.where(read | reset, t, -1), axis=1)
        repeated = (sources >= 0) & np.take_along_axis(read, sources, axis=1)
        earlier = sources < t - t % self.every
        rows, steps = np.nonzero(valid & ~options.mask & repeated & earlier)
        if not len(rows) or (self.receptive_field == 1 and not self.has_state):
            return None
        if not self.repeats_masked(False, options.training):
            raise ValueError(
                "mask: expected True at the first step of a window, because this layer's output at "
                f"a masked step is no repetition, got False at row {rows[0]}, step {steps[0]}"
            )
        return Repeats(rows, steps, sources[rows, steps])

    def check_backward(self, tape: Any, dstate: Any) -> None:
        check_tape(tape, CheckpointedTape)
        if tape.key != self._tape_key():
            raise ValueError(
                f"tape: expected one of a layer like this, {self._tape_key()}, "
                f"got one of {tape.key}"
            )
        check_like("dstate", dstate, tape.end)

    def _checked_dy(self, tape: Any, dy: Any) -> Any:
        """Check dy, and move gradients of repeated outputs to the steps that they repeat."""
        if dy is None:
            return None
        array = check_array("dy", dy, "floats", tape.shape)
        if tape.repeats is None:
            return array
        rows, steps, sources = tape.repeats
        array = array.copy()
        np.add.at(array, (rows, sources), array[rows, steps])
        array[rows, steps] = 0
        return array

    def _back(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        """Run backward of all windows, from the last to the first; return dx, dstate.

        With a trace, the tapes of all windows are kept, so no memory is saved.
        """
        dx, traced = None, tape.traces.begin()
        windows = reversed(self._windows(tape.x))
        for window, start in zip(windows, reversed(tape.starts), strict=True):
            options, x = _window_options(tape.options, window), tape.x[:, window]
            part = run_part(self, "layer", options, x, start, True)[2]
            if traced:
                tape.traces.add(part)
            part_dy = None if dy is None else dy[:, window]
            part_dx, dstate = backward_part(self, "layer", part, part_dy, dstate)
            del part  # free this tape before the next one is made
            if part_dx is not None:
                dx = np.empty(tape.x.shape, part_dx.dtype) if dx is None else dx
                dx[:, window] = part_dx
        return dx, dstate

    def stream(self, batch_size: int = 1, state: Any = None) -> Any:
        """Return a stream of the layer inside, as `Layer.stream`.

        Parameters
        ----------
        batch_size : int, default 1
            B, the number of rows.
        state : state, optional
            Initial state. None stands for zeros.

        Returns
        -------
        stream
            With ``step(x)``, ``state`` and ``reset(rows)``.
        """
        return stream_of(self.layer, batch_size, state)


def _checked(options: ForwardOptions, x: Array) -> ForwardOptions:
    """Return the options with checked copies of the arrays, which can be cut into windows."""
    expected = "x: expected floats of shape (B, T, I), or integers (B, T)"
    if x.dtype.kind not in "fiu":
        raise TypeError(f"{expected}, got {x.dtype}")
    if x.ndim < 2:
        raise ValueError(f"{expected}, got shape {x.shape}")
    lengths, mask, resets = options.lengths, options.mask, options.resets
    if lengths is not None:
        lengths = check_lengths(lengths, x.shape).astype(np.int64)  # a copy
    if mask is not None:
        mask = check_steps("mask", mask, x.shape)
    if resets is not None:
        resets = check_steps("resets", resets, x.shape)
    return options._replace(lengths=lengths, mask=mask, resets=resets)


def _window_options(options: ForwardOptions, window: slice) -> ForwardOptions:
    """Return the options for the steps of a window."""
    lengths, mask, resets = options.lengths, options.mask, options.resets
    if lengths is not None:
        lengths = np.clip(lengths - window.start, 0, window.stop - window.start)
    return options._replace(
        lengths=lengths,
        mask=None if mask is None else mask[:, window],
        resets=None if resets is None else resets[:, window],
        first_step=options.first_step + window.start,
    )
