"""A layer whose initial state is computed from fixed data."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from crnn.common.arrays import Array, as_array
from crnn.common.checks import check_array
from crnn.common.nested import arrays_of, filled
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import EVALUATION, ForwardOptions
from crnn.layers.base.layer import check_layer
from crnn.layers.base.places import back_in, check_in, run_in
from crnn.layers.base.protocol import LayerLike, Part
from crnn.layers.compose.base import Wrapper
from crnn.layers.compose.streams import stream_of


class ConditionedTape(NamedTuple):
    """The tapes of both parts; init's is None where a state was given."""

    layer: Any
    init: Any
    fixed: tuple[tuple[int, ...], np.dtype[Any]]

    @property
    def parts(self) -> dict[str, Any]:
        """Both, by name."""
        return {"layer": self.layer, "init": self.init}


class Conditioned(Wrapper):
    """A layer that starts from a state made of fixed data: of an image, say, to describe it.

    The input is the pair (x, fixed): the sequences, and features (B, F) that do not change in time.
    The initial state is init(fixed), and the gradient goes back through it.

    Parameters
    ----------
    layer : layer
        Any that has a state. Its parameters have the names "layer.W_x", ...
    init : layer
        A Dense, or any layer without a state, (B, F) -> (B, S). S is the width of all arrays of the
        layer's state together, which lie side by side in their order: 2H for an LSTM, h then c.
        Its parameters have the names "init.W", ...

    Attributes
    ----------
    layer, init : layers

    Raises
    ------
    TypeError
        If one of them is not a layer; from forward, if x is not a pair.
    ValueError
        From forward, if `init` gives another width.

    Notes
    -----
    A state that is given goes before `fixed`, which then plays no part: its gradient, and what is
    added to init's, is 0. Pieces behind a reset start as the layer starts them, not from `fixed`.
    `lengths` and the like go to the layer. No steps leave the initial state as it is, which is a
    way to have it: ``_, state = conditioned((x[:, :0], fixed))``.

    Examples
    --------
    >>> model = crnn.Conditioned(crnn.LSTM(8, 16), crnn.Dense(50, 32))  # doctest: +SKIP
    >>> y, state = model((x, fixed))  # doctest: +SKIP
    """

    _leading = _layers = ("layer", "init")
    sequence_input, once, _tape = 0, ("init",), ConditionedTape

    init: Part

    def __init__(self, layer: LayerLike, init: LayerLike) -> None:
        super().__init__(layer)
        check_layer("init", init)
        self.init = init

    @property
    def parts(self) -> dict[str, Any]:
        return {"layer": self.inner, "init": layer_of(self.init)}

    def _run(
        self, x: Any, state: Any, given: ForwardOptions, keep: bool
    ) -> tuple[Any, Any, ConditionedTape]:
        steps, fixed = _pair(x)
        start, init_tape = state, None
        if state is None:
            start, init_tape = self._start(steps, fixed, given, keep)
        y, after, tape = run_in(self, "layer", given.part(0), steps, start, keep)
        return y, after, ConditionedTape(tape, init_tape, (fixed.shape, fixed.dtype))

    def _start(self, x: Array, fixed: Array, given: ForwardOptions, keep: bool) -> tuple[Any, Any]:
        """The initial state, and init's tape."""
        _, like, _ = run_in(self, "layer", EVALUATION, x[:, :0], None, False)  # its state's form
        ends = np.cumsum([int(np.prod(part.shape[1:])) for part in arrays_of(like)])
        if not len(ends):
            raise ValueError(f"layer: expected one with a state, got {self.layer!r:.100}")
        flat, _, tape = run_in(self, "init", given.without_steps().part(1), fixed, None, keep)
        if flat.shape != (len(x), ends[-1]):
            raise ValueError(
                f"init: expected an output of shape (B={len(x)}, {ends[-1]}), "
                f"the width of the layer's state, got shape {flat.shape}"
            )
        parts = zip(np.split(flat, ends[:-1], axis=1), arrays_of(like), strict=True)
        return filled(like, [part.reshape(twin.shape) for part, twin in parts]), tape

    def check_backward(self, tape: Any, dstate: Any) -> None:
        super().check_backward(tape, dstate)
        if tape.init is not None:
            check_in(self, "init", tape.init, None)

    def _back(self, tape: Any, dy: Any, dstate: Any) -> tuple[tuple[Any, Any], Any]:
        """(dx, dfixed), dstate."""
        dx, dstart = back_in(self, "layer", tape.layer, dy, dstate)
        if tape.init is None:
            return (dx, np.zeros(*tape.fixed)), dstart
        flat = [part.reshape(len(part), -1) for part in arrays_of(dstart)]
        dfixed, _ = back_in(self, "init", tape.init, np.concatenate(flat, axis=1))
        return (dx, dfixed), dstart

    def check_steps_forward(self) -> None:
        self.inner.check_steps_forward()

    def stream(self, batch_size: int = 1, state: Any = None) -> Any:
        """The layer one step at a time, from a state that `fixed` is already in.

        Parameters
        ----------
        batch_size : int, default 1
            B.
        state : state
            As ``_, state = conditioned((x[:, :0], fixed))`` gives it.

        Raises
        ------
        ValueError
            If there is no state, or the layer cannot run step by step.
        """
        if state is None:
            raise ValueError("state: expected the one that fixed gives, got None")
        return stream_of(self.layer, batch_size, state)


def _pair(x: Any) -> tuple[Array, Array]:
    """The sequences and the fixed data."""
    if not isinstance(x, tuple) or len(x) != 2:
        raise TypeError(f"x: expected the pair (x, fixed), got {type(x).__name__}")
    steps = as_array("x[0]", x[0])
    if steps.ndim < 2:
        raise ValueError(f"x[0]: expected shape (B, T, I), or (B, T), got shape {steps.shape}")
    return steps, check_array("x[1]", x[1], "floats", (("B", len(steps)), "F"))
