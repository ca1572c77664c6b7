"""A layer that reads forwards, made to read each row from its last step to its first."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, as_array
from crnn.common.checks import check_lengths, check_steps
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.places import back_in, run_in
from crnn.layers.compose.base import Unnamed


class MirroredTape(NamedTuple):
    """The tape of the layer inside, and the order in which it read the steps."""

    layer: Any
    order: NDArray[np.intp]

    @property
    def parts(self) -> dict[str, Any]:
        """That tape."""
        return {"layer": self.layer}


class Mirrored(Unnamed):
    """A layer that reads each row from its own last step to its first; y stays aligned with x.

    `crnn.Bidirectional` makes it of a layer without an option ``reverse``.

    Parameters
    ----------
    layer : layer
        One that reads forwards and keeps the time axis. Its parameters keep their names here,
        without a prefix.

    Notes
    -----
    The state is the layer's, after step 0. A reset before step t lets the state start anew between
    steps t and t - 1, so before the layer reads step t - 1.
    """

    reads_backwards, _tape = True, MirroredTape

    def _run(
        self, x: Any, state: Any, given: ForwardOptions, keep: bool
    ) -> tuple[Any, Any, MirroredTape]:
        steps = as_array("x", x)
        if steps.ndim < 2:
            raise ValueError(f"x: expected shape (B, T, I), or (B, T), got shape {steps.shape}")
        order, mask, resets = _order(given.lengths, steps.shape), given.mask, given.resets
        if mask is not None:
            mask = _taken(check_steps("mask", mask, steps.shape), order)
        if resets is not None:
            later = np.zeros(steps.shape[:2], bool)  # whether the step read before was reset
            later[:, :-1] = check_steps("resets", resets, steps.shape)[:, 1:]
            resets = _taken(later & _within(given.lengths, steps.shape), order)
        inside = given._replace(mask=mask, resets=resets)
        y, after, tape = run_in(self, "layer", inside, _taken(steps, order), state, keep)
        return _taken(y, order), after, MirroredTape(tape, order)

    def _back(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        mirrored = None if dy is None else _taken(as_array("dy", dy), tape.order)
        dx, dbefore = back_in(self, "layer", tape.layer, mirrored, dstate)
        return None if dx is None else _taken(dx, tape.order), dbefore


def _within(lengths: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Steps (B, T) whose following one lies before their row's end."""
    ends = np.full(shape[0], shape[1]) if lengths is None else check_lengths(lengths, shape)
    return np.asarray(np.arange(1, shape[1] + 1) < ends[:, None])


def _order(lengths: Any, shape: tuple[int, ...]) -> NDArray[np.intp]:
    """For each place (B, T) the step that stands there, mirrored: the other way round it is equal.

    Padding stays where it is.
    """
    places = np.arange(shape[1])
    if lengths is None:
        return np.broadcast_to(places[::-1], shape[:2])
    ends = check_lengths(lengths, shape).astype(np.intp)[:, None]
    return np.where(places < ends, ends - 1 - places, places)


def _taken(array: Array, order: NDArray[np.intp]) -> Array:
    """The steps of (B, T, ...) in another order."""
    return array[np.arange(len(order))[:, None], order]
