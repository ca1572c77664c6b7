"""What layers share that treat every step alike and have no state.

Each works on rows, (N, features), the valid steps of the input one after the other. Steps past a
row's end and masked steps are left out of the computation; output and gradient are 0 there. Masked
steps that hold outputs of a layer before (`filled`) are computed like others.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

import crnn._core as _core
from crnn.common.arrays import Array, as_array
from crnn.common.checks import check_array, check_count, steps_there
from crnn.layers.base.buffer import InOneBuffer
from crnn.layers.base.layer import Layer, check_no_state
from crnn.layers.base.tapes import check_tape


class PointwiseTape(NamedTuple):
    """What a pointwise layer keeps: whose it is, y's shape, the valid steps, its own memory."""

    owner: tuple[Any, ...]
    shape: tuple[int, ...]
    valid: NDArray[np.bool_] | None
    memory: Any


class RowIndex(NamedTuple):
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


_INT = {int}

#: Of evaluation, where nothing is drawn.
EVALUATION = RowIndex(False, 0, 0, 0, 0, (), None)


class Pointwise(Layer):
    """A layer without a state that maps rows to rows; subclasses give `_rows` and `_rows_back`."""

    #: How many of the last axes of the input belong to one step: 0 for symbols.
    _feature_axes = 1

    #: Whether `_rows_back` needs the rows as they are: then a tape has a copy of them.
    _keeps_rows = False

    answers_masked = False  # y is 0 at masked steps: a layer behind leaves them out too
    receptive_field = 1

    def repeats_masked(self, repeated: bool, training: bool) -> bool:
        return repeated

    @abstractmethod
    def _check(self, x: Any) -> Array:
        """The input as an array of the right kind, (..., features) or (...,) symbols."""

    @abstractmethod
    def _rows(self, rows: Array, draw: RowIndex) -> tuple[Array, Any]:
        """Outputs (N, features) of the rows, and what `_rows_back` needs."""

    @abstractmethod
    def _rows_back(self, memory: Any, dy: Array) -> Array | None:
        """dx of the rows from dy (N, features); adds to the gradients."""

    def __call__(  # type: ignore[override]
        self,
        x: ArrayLike,
        state: None = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        filled: bool | None = False,
    ) -> tuple[Array, None]:
        """y, None: evaluation, keeps nothing. The arguments are those of `forward`."""
        if self._replaced():
            each = {"lengths": lengths, "mask": mask, "filled": filled or None}
            given: dict[str, Any] = {k: value for k, value in each.items() if value is not None}
            y, after, _ = self.forward(x, state, training=False, **given)
            return y, after
        if state is not None:
            check_no_state(type(self).__name__, "state", state)  # type: ignore[unreachable]
        steps, valid = self._check(x), None
        lead = steps.shape[: steps.ndim - self._feature_axes]
        if lengths is not None or (mask is not None and not filled):
            valid = steps_there(lengths, None if filled else mask, lead)
        rows = steps.reshape(math.prod(lead), *steps.shape[len(lead) :])
        rows = np.ascontiguousarray(rows if valid is None else steps[valid])
        out, _ = self._rows(rows, EVALUATION)
        return _place(out, lead, valid), None

    def _replaced(self) -> bool:
        """Whether a subclass or the layer itself has a forward of its own."""
        return type(self).forward is not Pointwise.forward or "forward" in self.__dict__

    def forward(
        self,
        x: ArrayLike,
        state: None = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
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
        if state is not None:
            check_no_state(type(self).__name__, "state", state)  # type: ignore[unreachable]
        if {type(first_row), type(first_step), type(layer)} != _INT or not (
            0 <= first_row < 2**64 and 0 <= first_step < 2**32 and 0 <= layer < 2**32
        ):
            check_count("first_row", first_row, 64)
            check_count("first_step", first_step, 32)
            check_count("layer", layer, 32)
        steps, valid = self._check(x), None
        lead = steps.shape[: steps.ndim - self._feature_axes]
        if lengths is not None or (mask is not None and not filled):
            valid = steps_there(lengths, None if filled else mask, lead)
        if valid is None:
            rows = np.ascontiguousarray(steps.reshape(math.prod(lead), *steps.shape[len(lead) :]))
            rows = _core.kept(rows) if self._keeps_rows else rows
        else:
            rows = np.ascontiguousarray(steps[valid])
        if call is None and training and self.stochastic:
            call = self.next_call()
        if call is not None and not (type(call) is int and 0 <= call < 2**64):
            check_count("call", call, 64)
        draw = RowIndex(training, call or 0, first_row, first_step, layer, lead, valid)
        out, memory = self._rows(rows, draw)
        y = out.reshape(*lead, out.shape[-1]) if valid is None else _place(out, lead, valid)
        return y, None, PointwiseTape(self._owner, y.shape, valid, memory)

    def backward(
        self, tape: PointwiseTape, dy: ArrayLike | None, dstate: None = None
    ) -> tuple[Array | None, None]:
        """dx, None; adds to `grads`. `dy` None stands for zeros."""
        self.check_backward(tape, dstate)
        given = np.zeros(tape.shape) if dy is None else dy
        if type(given) is not np.ndarray or given.dtype.kind != "f" or given.shape != tape.shape:
            given = check_array("dy", given, "floats", tape.shape)
        flat = (math.prod(tape.shape[:-1]), tape.shape[-1])
        rows = given.reshape(flat) if tape.valid is None else given[tape.valid]
        with _core.Writing(self):
            dx = self._rows_back(tape.memory, np.ascontiguousarray(rows))
        if dx is not None:
            lead = tape.shape[:-1]
            shape = (*lead, dx.shape[-1])
            dx = dx.reshape(shape) if tape.valid is None else _place(dx, lead, tape.valid)
        return dx, None

    def check_backward(self, tape: Any, dstate: Any) -> None:
        if dstate is not None:
            check_no_state(type(self).__name__, "dstate", dstate)
        if not isinstance(tape, PointwiseTape):
            check_tape(tape, PointwiseTape)
        if tape.owner != self._owner:
            raise ValueError(
                f"tape: expected one of a layer like this, {self._owner}, got one of {tape.owner}"
            )

    @functools.cached_property
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
    array = x if type(x) is np.ndarray else as_array("x", x)
    if array.dtype.kind == "f" and array.ndim > 1 and size in (None, array.shape[-1]):
        return array
    last = letter if size is None else (letter, size)
    return check_array("x", array, "floats", ("B", "T", last), ("B", last))


class WithParameters(InOneBuffer, Pointwise):
    """A pointwise layer that has parameters."""

    @functools.cached_property
    def _owner(self) -> tuple[Any, ...]:
        return (type(self).__name__, *self._flat.shapes.values())
