"""Wrapper that makes a layer read each row from its last valid step to its first."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, as_array
from crnn.common.checks import check_lengths, check_steps
from crnn.common.representation import tape_text
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.nodes import Graph, Nodes, runs_unchanged
from crnn.layers.base.places import backward_part, run_part
from crnn.layers.compose.base import WithoutPrefix


class MirroredTape(NamedTuple):
    """Tape of the layer inside, and the order (B, T) in which it read the steps."""

    layer: Any
    order: NDArray[np.intp]

    @property
    def parts(self) -> dict[str, Any]:
        """The tape of the layer inside."""
        return {"layer": self.layer}

    def __repr__(self) -> str:
        return tape_text(self)


class Mirrored(WithoutPrefix):
    """Layer that reads each row from its last valid step to its first. y is aligned with x.

    `crnn.Bidirectional` uses it for layers without an option ``reverse``.

    Parameters
    ----------
    layer : layer
        A layer that reads forwards and keeps the time axis. Its parameters have no prefix here.

    Notes
    -----
    The state is that of the layer after step 0. A reset at step t resets the state between the
    steps t and t - 1, thus before the layer reads step t - 1.
    """

    reads_backwards, _tape = True, MirroredTape

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        inner = self.inner
        if not runs_unchanged(self, Mirrored) or graph.reverse or not inner.runs_reversed:
            return None
        filled, graph.reverse = graph.filled, True
        nodes = inner.add_nodes(graph, x, number)
        graph.reverse = False
        if nodes is None:
            return None
        value, form, _ = nodes
        return Nodes(value, form, lambda call: call.temporal(self, x, form, number, filled))

    def _run(
        self, x: Any, state: Any, options: ForwardOptions, keep: bool
    ) -> tuple[Any, Any, MirroredTape]:
        steps = as_array("x", x)
        if steps.ndim < 2:
            raise ValueError(f"x: expected shape (B, T, I), or (B, T), got shape {steps.shape}")
        order, mask, resets = _order(options.lengths, steps.shape), options.mask, options.resets
        if mask is not None:
            mask = _reordered(check_steps("mask", mask, steps.shape), order)
        if resets is not None:
            later = np.zeros(steps.shape[:2], bool)  # resets of step t + 1, at step t
            later[:, :-1] = check_steps("resets", resets, steps.shape)[:, 1:]
            resets = _reordered(later & _has_next(options.lengths, steps.shape), order)
        inside = options._replace(mask=mask, resets=resets)
        y, after, tape = run_part(self, "layer", inside, _reordered(steps, order), state, keep)
        return _reordered(y, order), after, MirroredTape(tape, order)

    def _back(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        mirrored = None if dy is None else _reordered(as_array("dy", dy), tape.order)
        dx, dbefore = backward_part(self, "layer", tape.layer, mirrored, dstate)
        return None if dx is None else _reordered(dx, tape.order), dbefore


def _has_next(lengths: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the steps (B, T) after which the row has another valid step."""
    ends = np.full(shape[0], shape[1]) if lengths is None else check_lengths(lengths, shape)
    return np.asarray(np.arange(1, shape[1] + 1) < ends[:, None])


def _order(lengths: Any, shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Return the mirrored order (B, T) of the valid steps; padding is not moved.

    The order is its own inverse.
    """
    t = np.arange(shape[1])
    if lengths is None:
        return np.broadcast_to(t[::-1], shape[:2])
    ends = check_lengths(lengths, shape).astype(np.intp)[:, None]
    return np.where(t < ends, ends - 1 - t, t)


def _reordered(array: Array, order: NDArray[np.intp]) -> Array:
    """Return the steps of an array (B, T, ...) in another order."""
    return array[np.arange(len(order))[:, None], order]
