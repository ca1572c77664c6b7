"""Base classes of pointwise layers, which apply the same function to every step.

Padding and masked steps are left out; output and gradient are 0 there. With `filled`, masked steps
contain outputs of a previous layer, and are computed like other steps.
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
from crnn.common.representation import tape_text
from crnn.layers.base.buffer import InOneBuffer
from crnn.layers.base.layer import Layer, check_no_state
from crnn.layers.base.tapes import check_tape


class PointwiseTape(NamedTuple):
    """Tape of a pointwise layer."""

    key: tuple[Any, ...]  # equal for all layers that can use the tape
    shape: tuple[int, ...]  # of y
    valid: NDArray[np.bool_] | None  # None: all steps
    memory: Any  # the values that `_rows_back` needs

    def __repr__(self) -> str:
        return tape_text(self)


class RowIndex(NamedTuple):
    """Numbers of the rows and steps of a batch, on which the random numbers of a layer depend."""

    training: bool
    call: int
    first_row: int
    first_step: int
    layer: int


_INT = {int}

#: For evaluation, which draws no random numbers.
EVALUATION = RowIndex(False, 0, 0, 0, 0)


class Pointwise(Layer):
    """Base of layers that apply one function to every step.

    A subclass has `_steps` and `_steps_back`, or `_operation` of the core (`Rowwise`), or `_rows`
    and `_rows_back` (`Gathered`).
    """

    #: Number of the last axes of x that belong to one step: 1, or 0 for symbols.
    _feature_axes = 1

    answers_masked = False  # y is 0 at masked steps, and the next layer does not read them
    receptive_field = 1

    def repeats_masked(self, repeated: bool, training: bool) -> bool:
        return repeated

    @abstractmethod
    def _check(self, x: Any) -> Array:
        """Check x, and return it as an array (..., features), or (...,) of symbols."""

    @abstractmethod
    def _steps(
        self, x: Array, valid: NDArray[np.bool_] | None, draw: RowIndex, keep: bool
    ) -> tuple[Array, Any]:
        """Return y (..., F), 0 at steps that are not valid, and what `_steps_back` needs.

        If `keep` is False, the latter is not used.
        """

    @abstractmethod
    def _steps_back(self, memory: Any, valid: NDArray[np.bool_] | None, dy: Array) -> Array | None:
        """Add to the gradients, and return dx, which is 0 at steps that are not valid."""

    def __call__(  # type: ignore[override]
        self,
        x: ArrayLike,
        state: None = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        filled: bool | None = False,
    ) -> tuple[Array, None]:
        """Run the layer in evaluation: nothing is dropped, and nothing is kept for backward.

        Parameters
        ----------
        x, state, lengths, mask, filled
            As for `forward`.

        Returns
        -------
        y : array (B, T, O), or (B, O)
            Output; 0 at padding and masked steps.
        state : None
        """
        if self._replaced():
            every = {"lengths": lengths, "mask": mask, "filled": filled or None}
            options: dict[str, Any] = {k: value for k, value in every.items() if value is not None}
            y, after, _ = self.forward(x, state, training=False, **options)
            return y, after
        if state is not None:
            check_no_state(type(self).__name__, "state", state)  # type: ignore[unreachable]
        steps, valid = self._check(x), None
        leading = steps.shape[: steps.ndim - self._feature_axes]
        if lengths is not None or (mask is not None and not filled):
            valid = steps_there(lengths, None if filled else mask, leading)
        return self._steps(steps, valid, EVALUATION, False)[0], None

    def _replaced(self) -> bool:
        """Return whether a subclass or the layer itself overrides forward."""
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
        """Run the layer, and return a tape with all that `backward` needs.

        Parameters
        ----------
        x : floats (B, T, I) or (B, I); for symbols integers (B, T) or (B,)
            The input, with or without a time axis.
        state : None
            The layer has no state.
        lengths : integers (B,), optional
            Number of valid steps of each row, from 0 to T. The steps after them are padding: they
            are not read, and y is 0 there. None: all T steps are valid.
        mask : booleans or integers 0 and 1 (B, T), optional
            False at steps that are not read; y and dx are 0 there. None: all steps are read.
        training : bool, default True
            False: nothing is dropped.
        call : int, optional
            Number of this call, from 0 to 2**64 - 1, for a layer that drops units. Equal numbers
            drop the same units. None: the next number, which the attribute `calls` counts.
        first_row, first_step : int, default 0
            Number of the first row and of the first step of x, where x is part of a larger batch or
            of longer sequences.
        layer : int, default 0
            Number of this layer in a model.
        filled : bool, default False
            True: x at masked steps is the output of a previous layer, and is read. Compositions
            pass it.

        Returns
        -------
        y : array (B, T, O), or (B, O)
            Output.
        state : None
        tape : PointwiseTape
            Argument of `backward`.
        """
        if state is not None:
            check_no_state(type(self).__name__, "state", state)  # type: ignore[unreachable]
        if {type(first_row), type(first_step), type(layer)} != _INT or not (
            0 <= first_row < 2**64 and 0 <= first_step < 2**32 and 0 <= layer < 2**32
        ):
            first_row = check_count("first_row", first_row, 64)
            first_step = check_count("first_step", first_step, 32)
            layer = check_count("layer", layer, 32)
        steps, valid = self._check(x), None
        leading = steps.shape[: steps.ndim - self._feature_axes]
        if lengths is not None or (mask is not None and not filled):
            valid = steps_there(lengths, None if filled else mask, leading)
        if call is None and training and self.stochastic:
            call = self.next_call()
        if call is not None and not (type(call) is int and 0 <= call < 2**64):
            call = check_count("call", call, 64)
        draw = RowIndex(training, call or 0, first_row, first_step, layer)
        y, memory = self._steps(steps, valid, draw, True)
        return y, None, PointwiseTape(self._tape_key, y.shape, valid, memory)

    def backward(
        self, tape: PointwiseTape, dy: ArrayLike | None, dstate: None = None
    ) -> tuple[Array | None, None]:
        """Add to `grads`, and return the gradient of x.

        Parameters
        ----------
        tape : PointwiseTape
            Returned by `forward` of this layer, or of one with the same sizes.
        dy : array like y, or None
            Gradient of the loss with respect to y. None stands for zeros.
        dstate : None
            The layer has no state.

        Returns
        -------
        dx : array like x, or None
            Gradient with respect to x; None if x was symbols.
        dstate : None

        Raises
        ------
        TypeError, ValueError
            If an argument has another type or shape, or the tape is one of a different layer. The
            gradients have not changed then.
        RuntimeError
            If another thread is adding to the same gradients.
        """
        self.check_backward(tape, dstate)
        gradient = np.zeros(tape.shape) if dy is None else dy
        if (
            type(gradient) is not np.ndarray
            or gradient.dtype.kind != "f"
            or gradient.shape != tape.shape
        ):
            gradient = check_array("dy", gradient, "floats", tape.shape)
        with _core.Writing(self):
            return self._steps_back(tape.memory, tape.valid, gradient), None

    def check_backward(self, tape: Any, dstate: Any) -> None:
        if dstate is not None:
            check_no_state(type(self).__name__, "dstate", dstate)
        if not isinstance(tape, PointwiseTape):
            check_tape(tape, PointwiseTape)
        if tape.key != self._tape_key:
            raise ValueError(
                f"tape: expected one of a layer like this, {self._tape_key}, got one of {tape.key}"
            )

    @functools.cached_property
    def _tape_key(self) -> tuple[Any, ...]:
        """Key that is equal for all layers that can use a tape of this layer."""
        return (type(self).__name__, *(array.shape for array in self.param_views.values()))


def _copied(steps: Array, valid: NDArray[np.bool_] | None) -> Array:
    """Return a copy, with 0 at steps that are not valid."""
    copy = steps.copy()
    if valid is not None:
        copy[~valid] = 0
    return copy


def _scattered(rows: Array, leading: tuple[int, ...], valid: NDArray[np.bool_] | None) -> Array:
    """Return an array (*leading, features) with the rows at the valid steps, and 0 elsewhere."""
    if valid is None:
        return rows.reshape(*leading, rows.shape[-1])
    whole = np.zeros((*leading, rows.shape[-1]), dtype=rows.dtype)
    whole[valid] = rows
    return whole


def check_floats(x: Any, size: int | None, letter: str) -> Array:
    """Check floats whose last axis has `size` elements, or any number for None."""
    array = x if type(x) is np.ndarray else as_array("x", x)
    if array.dtype.kind == "f" and array.ndim > 1 and size in (None, array.shape[-1]):
        return array
    last = letter if size is None else (letter, size)
    return check_array("x", array, "floats", ("B", "T", last), ("B", last))


class Rowwise(Pointwise):
    """Base of layers that are one operation of the core on each step."""

    flat_params: Any
    flat_grads: Any

    @abstractmethod
    def _operation(self, draw: RowIndex) -> tuple[Any, ...] | None:
        """Return the operation as `_core.rowwise_forward` reads it; None if y is x."""

    #: Whether backward reads x, and whether it reads y. The tape has a copy of them.
    _reads_x, _reads_y = False, False

    def _steps(
        self, x: Array, valid: NDArray[np.bool_] | None, draw: RowIndex, keep: bool
    ) -> tuple[Array, Any]:
        operation = self._operation(draw)
        if operation is None:
            return _copied(x, valid), None
        params = self.flat_params
        y, kept = _core.rowwise_forward(operation, params, (x,), valid, keep, False)
        x_kept = _core.kept(x) if keep and self._reads_x else None
        return y, (operation, x_kept, _core.kept(y) if keep and self._reads_y else None, kept)

    def _steps_back(self, memory: Any, valid: NDArray[np.bool_] | None, dy: Array) -> Array:
        if memory is None:
            return _copied(dy, valid)
        operation, x, y, kept = memory
        params, grads = self.flat_params, None if self._frozen else self.flat_grads
        (dx,) = _core.rowwise_backward(operation, params, (x,), y, kept, valid, dy, grads)
        return dx


class Gathered(Pointwise):
    """Base of layers that compute on an array (N, features) of the N valid steps of a batch."""

    #: Whether `_rows_back` reads the rows of x. If so, the tape has a copy of them.
    _keeps_rows = False

    @abstractmethod
    def _rows(self, rows: Array, draw: RowIndex) -> tuple[Array, Any]:
        """Return the outputs (N, features) of the rows, and the values that `_rows_back` needs."""

    @abstractmethod
    def _rows_back(self, memory: Any, dy: Array) -> Array | None:
        """Add to the gradients, and return dx of the rows, from dy (N, features)."""

    def _steps(
        self, x: Array, valid: NDArray[np.bool_] | None, draw: RowIndex, keep: bool
    ) -> tuple[Array, Any]:
        leading = x.shape[: x.ndim - self._feature_axes]
        if valid is None:
            rows = np.ascontiguousarray(x.reshape(math.prod(leading), *x.shape[len(leading) :]))
            rows = _core.kept(rows) if keep and self._keeps_rows else rows
        else:
            rows = np.ascontiguousarray(x[valid])
        out, memory = self._rows(rows, draw)
        return _scattered(out, leading, valid), memory

    def _steps_back(self, memory: Any, valid: NDArray[np.bool_] | None, dy: Array) -> Array | None:
        leading = dy.shape[:-1]
        rows = dy.reshape(math.prod(leading), dy.shape[-1]) if valid is None else dy[valid]
        dx = self._rows_back(memory, np.ascontiguousarray(rows))
        return None if dx is None else _scattered(dx, leading, valid)


class WithParameters(InOneBuffer, Pointwise):
    """Base of pointwise layers with parameters."""

    @functools.cached_property
    def _tape_key(self) -> tuple[Any, ...]:
        return (type(self).__name__, *self._flat.shapes.values())
