"""A layer's last state as one vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from crnn.layers.composition import Wrapper
from crnn.layers.description import Widths
from crnn.layers.options import Given
from crnn.layers.places import back_in, check_in, run_in
from crnn.layers.states import arrays_of
from crnn.layers.tapes import ask_for_trace
from crnn.seq2seq.bridge import formed, side_by_side, split_like


class LastStateTape(NamedTuple):
    """The layer's tape, and its state, for the form."""

    layer: Any
    state: Any

    @property
    def parts(self) -> dict[str, Any]:
        """The layer's."""
        return {"layer": self.layer}


class LastState(Wrapper):
    """What a layer knows at the end of each row, as one vector: (B, T, I) -> (B, S).

    Parameters
    ----------
    layer : layer
        Any that has a state. Its parameters have the names "layer.W_x", ...

    Attributes
    ----------
    layer : layer

    Raises
    ------
    TypeError
        If it is not a layer.
    ValueError
        From forward, if it has no state.

    Notes
    -----
    S is the width of all arrays of the state together, which lie side by side in their order: 2H
    for an LSTM, h then c. In both directions (`Bidirectional`) that is where each of them ends,
    which no single step of the output shows.
    """

    many_to_one = True

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths | None:
        inside = super()._widths(config)
        if inside is None:
            return None
        return Widths(inside.input, sum(inside.state), inside.state, timeless=True)

    def _run(self, x: Any, state: Any, given: Given, keep: bool) -> tuple[Any, Any, LastStateTape]:
        _, after, tape = run_in(self, "layer", given.part(0), x, state, keep)
        if not arrays_of(after):
            raise ValueError(f"layer: expected one with a state, got {self.layer!r:.100}")
        return side_by_side(after), after, LastStateTape(tape, after)

    def check_backward(self, tape: Any, dstate: Any) -> None:
        if not isinstance(tape, LastStateTape):
            given = type(tape).__name__
            raise TypeError(f"tape: expected the one that forward returned, got {given}")
        check_in(self, "layer", tape.layer, dstate)

    def backward(
        self, tape: LastStateTape, dy: Any, dstate: Any = None, *, trace: bool = False
    ) -> tuple[Any, Any]:
        """dx, dstate; adds to the gradients of the layer. None stands for zeros."""
        self.check_backward(tape, dstate)
        if trace:
            ask_for_trace(tape)
        flat = side_by_side(tape.state if dstate is None else dstate)
        total = np.zeros_like(flat) if dstate is None else flat
        total = total if dy is None else total + np.asarray(dy, flat.dtype)
        given = formed(tape.state, split_like(total, tape.state))
        dx, dbefore = back_in(self, "layer", tape.layer, None, given)
        return dx, dbefore
