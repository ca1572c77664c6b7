"""Layers whose initial state is computed from data that do not change in time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from crnn.common.arrays import Array, as_array
from crnn.common.checks import check_array
from crnn.common.nested import arrays_of, check_no_counts, filled
from crnn.common.representation import tape_text
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import EVALUATION, ForwardOptions
from crnn.layers.base.layer import check_layer
from crnn.layers.base.places import backward_part, check_part, run_part
from crnn.layers.base.protocol import LayerLike, Part
from crnn.layers.base.trainable import NO_TAPE
from crnn.layers.compose.base import Wrapper
from crnn.layers.compose.streams import stream_of


class ConditionedTape(NamedTuple):
    """Tapes of both parts. That of init is None if the caller passed a state."""

    layer: Any
    init: Any
    fixed: tuple[tuple[int, ...], np.dtype[Any]]  # shape and type of the fixed data

    @property
    def parts(self) -> dict[str, Any]:
        """The tapes of both parts, by name."""
        return {"layer": self.layer, "init": self.init}

    def __repr__(self) -> str:
        return tape_text(self)


class Conditioned(Wrapper):
    """Layer with an initial state that is computed from fixed data, for instance from an image.

    The input is the pair (x, fixed): the sequences, and features (B, F) that do not change in time.
    The initial state is init(fixed). The gradient passes through it to `init` and `fixed`.

    Parameters
    ----------
    layer : layer
        Any layer with a state. Its parameters have the names "layer.W_x", ...
    init : layer
        A Dense, or another layer without a state, from (B, F) to (B, S). S is the sum of the widths
        of the arrays of the state, which are side by side in their order: for an LSTM, h and c with
        S = 2H. Its parameters have the names "init.W", ...

    Attributes
    ----------
    layer, init : layers
        As passed.

    Raises
    ------
    TypeError
        If `layer` or `init` is not a layer. From forward: if x is not a pair.
    ValueError
        From forward: if the output of `init` has another width.

    Notes
    -----
    If the caller passes a state, `fixed` is not used, and its gradient is 0. After a reset, the
    state is that with which `layer` starts without `fixed`. `lengths`, `mask` and `resets` apply to
    x. A call without steps returns the initial state: ``_, state = model((x[:, :0], fixed))``.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> model = crnn.Conditioned(crnn.LSTM(8, 16, seed=0), crnn.Dense(50, 32, seed=1))
    >>> x, fixed = np.ones((2, 5, 8)), np.ones((2, 50))
    >>> y, (h, c) = model((x, fixed))
    >>> y.shape, c.shape
    ((2, 5, 16), (2, 16))
    >>> _, (h, c) = model((x[:, :0], fixed))  # the initial state
    >>> bool(np.allclose(np.hstack([h, c]), model.init(fixed)[0]))
    True
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
        self, x: Any, state: Any, options: ForwardOptions, keep: bool
    ) -> tuple[Any, Any, ConditionedTape]:
        steps, fixed = _pair(x)
        start, init_tape = state, None
        if state is None:
            start, init_tape = self._start(steps, fixed, options, keep)
        inside = options.for_part(0)
        if init_tape is not None and init_tape is not NO_TAPE:  # it needs the gradient of the state
            inside = inside._replace(needs_dx=None)
        y, after, tape = run_part(self, "layer", inside, steps, start, keep)
        return y, after, ConditionedTape(tape, init_tape, (fixed.shape, fixed.dtype))

    def _start(
        self, x: Array, fixed: Array, options: ForwardOptions, keep: bool
    ) -> tuple[Any, Any]:
        """Return the initial state, and the tape of init."""
        # a call without steps returns a state, whose shapes are used
        _, form, _ = run_part(self, "layer", EVALUATION, x[:, :0], None, False)
        ends = np.cumsum([int(np.prod(part.shape[1:])) for part in arrays_of(form)])
        if not len(ends):
            raise ValueError(f"layer: expected one with a state, got {self.layer!r:.100}")
        check_no_counts("layer", self.layer, form)
        inside = options.without_steps().for_part(1)
        flat, _, tape = run_part(self, "init", inside, fixed, None, keep)
        if flat.shape != (len(x), ends[-1]):
            raise ValueError(
                f"init: expected an output of shape (B={len(x)}, {ends[-1]}), "
                f"the width of the layer's state, got shape {flat.shape}"
            )
        pairs = zip(np.split(flat, ends[:-1], axis=1), arrays_of(form), strict=True)
        return filled(form, [part.reshape(array.shape) for part, array in pairs]), tape

    def check_backward(self, tape: Any, dstate: Any) -> None:
        super().check_backward(tape, dstate)
        if tape.init is not None:
            check_part(self, "init", tape.init, None)

    def _back(self, tape: Any, dy: Any, dstate: Any) -> tuple[tuple[Any, Any], Any]:
        dx, dstart = backward_part(self, "layer", tape.layer, dy, dstate)
        if tape.init is None:
            return (dx, np.zeros(*tape.fixed)), dstart
        if tape.init is NO_TAPE:
            return (dx, None), None
        flat = [part.reshape(len(part), -1) for part in arrays_of(dstart)]
        dfixed, _ = backward_part(self, "init", tape.init, np.concatenate(flat, axis=1))
        return (dx, dfixed), dstart

    def check_steps_forward(self) -> None:
        self.inner.check_steps_forward()

    def stream(self, batch_size: int = 1, state: Any = None) -> Any:
        """Return a stream of the layer, which starts from a state computed from `fixed`.

        Parameters
        ----------
        batch_size : int, default 1
            B, the number of rows.
        state : state
            Initial state, as returned by ``_, state = model((x[:, :0], fixed))``.

        Returns
        -------
        stream
            With ``step(x)``, ``state`` and ``reset(rows)``.

        Raises
        ------
        ValueError
            If `state` is None, or the layer cannot run step by step.
        """
        if state is None:
            raise ValueError("state: expected the one that is computed from fixed, got None")
        return stream_of(self.layer, batch_size, state)


def _pair(x: Any) -> tuple[Array, Array]:
    """Return the sequences and the fixed data as arrays."""
    if not isinstance(x, tuple) or len(x) != 2:
        raise TypeError(f"x: expected the pair (x, fixed), got {type(x).__name__}")
    steps = as_array("x[0]", x[0])
    if steps.ndim < 2:
        raise ValueError(f"x[0]: expected shape (B, T, I), or (B, T), got shape {steps.shape}")
    return steps, check_array("x[1]", x[1], "floats", (("B", len(steps)), "F"))
