"""What layers share that treat every step alike and have no state.

Each works on rows, (N, features), the valid steps of the input one after the other. Steps past a
row's end and masked steps are left out of the computation; output and gradient are 0 there. Masked
steps that hold outputs of a layer before (`filled`) are computed like others.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import crnn._core as _core
from crnn.common.arrays import Array, as_array
from crnn.common.checks import check_count, steps_there
from crnn.layers.base.buffer import InOneBuffer
from crnn.layers.base.layer import Layer, check_no_state


class PointwiseTape(NamedTuple):
    """What a pointwise layer keeps: whose it is, y's shape, the valid steps, its own memory."""

    owner: tuple[Any, ...]
    shape: tuple[int, ...]
    valid: NDArray[np.bool_] | None
    memory: Any


class _Counts(NamedTuple):
    """The arguments of forward that random numbers are a function of."""

    training: bool
    call: int | None = None
    first_row: int = 0
    first_step: int = 0
    layer: int = 0


class Draw(NamedTuple):
    """Where rows come from, for a layer that draws a random number for each entry."""

    training: bool
    call: int
    first_row: int
    first_step: int
    layer: int
    lead: tuple[int, ...]
    valid: NDArray[np.bool_] | None

    def places(self) -> tuple[Array, Array]:
        """The number of the row, and of the step, of each of the rows."""
        steps = self.lead[1:]
        row, step = np.divmod(np.arange(math.prod(self.lead)), max(math.prod(steps), 1))
        there = slice(None) if self.valid is None else self.valid.ravel()
        return row[there], self.first_step + step[there]


class Pointwise(Layer):
    """A layer without a state that maps rows to rows; subclasses give `_rows` and `_rows_back`."""

    #: How many of the last axes of the input belong to one step: 0 for symbols.
    _feature_axes = 1

    #: Whether `_rows_back` needs the rows as they are: then a tape has a copy of them.
    _keeps_rows = False

    #: y is 0 at masked steps: a layer behind this one leaves them out too.
    answers_masked = False

    @abstractmethod
    def _check(self, x: Any) -> Array:
        """The input as an array of the right kind, (..., features) or (...,) symbols."""

    @abstractmethod
    def _rows(self, rows: Array, draw: Draw) -> tuple[Array, Any]:
        """Outputs (N, features) of the rows, and what `_rows_back` needs."""

    @abstractmethod
    def _rows_back(self, memory: Any, dy: Array) -> Array | None:
        """dx of the rows from dy (N, features); adds to the gradients."""

    def __call__(self, x: Any, state: Any = None, **steps: Any) -> tuple[Any, Any]:
        """y, None: evaluation, keeps nothing. `steps` are lengths, mask and filled of `forward`."""
        given = {name: value for name, value in steps.items() if value is not None}
        if type(self).forward is not Pointwise.forward or "forward" in vars(self):
            return self.forward(x, state, training=False, **given)[:2]
        check_no_state(type(self).__name__, "state", state)
        return self._run(x, _Counts(False), keep=False, **given)[0], None

    def forward(
        self,
        x: Any,
        state: None = None,
        *,
        lengths: Any = None,
        mask: Any = None,
        training: bool = True,
        call: int | None = None,
        first_row: int = 0,
        first_step: int = 0,
        layer: int = 0,
        filled: bool = False,
    ) -> tuple[Array, None, PointwiseTape]:
        """y, None, tape.

        Parameters
        ----------
        x : array
            (B, T, features), or without a time axis (B, features); for symbols without the last.
        state : None
        lengths : (B,) integers, optional
            Steps of each row that are there; past them y is 0.
        mask : (B, T) booleans, optional
            False: a step that is not read; y and dx are 0 there.
        training : bool, default True
            False: as in evaluation.
        call : int, optional
            Number of this call. None: the next one of `calls`, for a layer that draws anything.
        first_row, first_step, layer : int, default 0
            Number of the input's first row and first step, and of this layer in a model: what
            Dropout draws is a function of its seed, of `call` and of these.
        filled : bool, default False
            True: x at masked steps is the output of a layer before, and is read. Compositions pass
            it.
        """
        check_no_state(type(self).__name__, "state", state)
        check_count("first_row", first_row, 64)
        check_count("first_step", first_step, 32)
        check_count("layer", layer, 32)
        counts = _Counts(training, call, first_row, first_step, layer)
        y, valid, memory = self._run(x, counts, True, lengths, mask, filled)
        return y, None, PointwiseTape(self._owner(), y.shape, valid, memory)

    def _run(
        self,
        x: Any,
        counts: _Counts,
        keep: bool,
        lengths: Any = None,
        mask: Any = None,
        filled: bool = False,
    ) -> tuple[Array, NDArray[np.bool_] | None, Any]:
        """y, the valid steps, and what `_rows_back` needs, which is the tape's own with `keep`."""
        steps = self._check(x)
        split = steps.ndim - self._feature_axes
        lead = steps.shape[:split]
        mask = None if filled else mask
        valid = None
        if lengths is not None or mask is not None:
            valid = steps_there(lengths, mask, lead)
        flat = (math.prod(lead), *steps.shape[split:])
        # Side by side, so that NumPy's sums over a row run in one order.
        rows = np.ascontiguousarray(steps.reshape(flat) if valid is None else steps[valid])
        if keep and self._keeps_rows and valid is None:
            rows = _core.kept(rows)
        rows, number = self._check_rows(rows), self.call_number(counts.call, counts.training) or 0
        check_count("call", number, 64)
        draw = Draw(counts.training, number, *counts[2:], lead, valid)
        out, memory = self._rows(rows, draw)
        return _place(out, lead, valid), valid, memory

    def _check_rows(self, rows: Array) -> Array:
        """Checks of values, which hold for valid steps alone."""
        return rows

    def backward(
        self, tape: PointwiseTape, dy: Any, dstate: None = None
    ) -> tuple[Array | None, None]:
        """dx, None; adds to `grads`. `dy` None stands for zeros."""
        self.check_backward(tape, dstate)
        given = np.zeros(tape.shape) if dy is None else as_array("dy", dy)
        if given.dtype.kind != "f":
            raise TypeError(f"dy: expected floats of shape {tape.shape}, got {given.dtype}")
        if given.shape != tape.shape:
            raise ValueError(f"dy: expected floats of shape {tape.shape}, got shape {given.shape}")
        flat = (math.prod(tape.shape[:-1]), tape.shape[-1])
        rows = np.ascontiguousarray(
            given.reshape(flat) if tape.valid is None else given[tape.valid]
        )
        with _core.Writing(self):
            dx = self._rows_back(tape.memory, rows)
        return None if dx is None else _place(dx, tape.shape[:-1], tape.valid), None

    def check_backward(self, tape: Any, dstate: Any) -> None:
        super().check_backward(tape, dstate)
        if not isinstance(tape, PointwiseTape):
            given = type(tape).__name__
            raise TypeError(f"tape: expected the one that forward returned, got {given}")
        if tape.owner != self._owner():
            raise ValueError(
                f"tape: expected one of a layer like this, {self._owner()}, got one of {tape.owner}"
            )

    def _owner(self) -> tuple[Any, ...]:
        """What a layer must have in common with the one that made a tape."""
        return (type(self).__name__, *(array.shape for array in self.param_views.values()))


def _place(rows: Array, lead: tuple[int, ...], valid: NDArray[np.bool_] | None) -> Array:
    """Rows back in their places, zeros elsewhere."""
    if valid is None:
        return rows.reshape(*lead, rows.shape[-1])
    whole = np.zeros((*lead, rows.shape[-1]), dtype=rows.dtype)
    whole[valid] = rows
    return whole


def check_floats(x: Any, size: int | None, letter: str) -> Array:
    """Floats whose last axis has `size` entries, or any number of them for None."""
    array = as_array("x", x)
    last = letter if size is None else f"{letter}={size}"
    expected = f"x: expected floats of shape (B, T, {last}) or (B, {last})"
    if array.dtype.kind != "f":
        raise TypeError(f"{expected}, got {array.dtype} of shape {array.shape}")
    if array.ndim < 2 or (size is not None and array.shape[-1] != size):
        raise ValueError(f"{expected}, got shape {array.shape}")
    return array


class WithParameters(InOneBuffer, Pointwise):
    """A pointwise layer that has parameters."""
