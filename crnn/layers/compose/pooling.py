"""From a sequence to one vector: many to one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.arrays import Array, underflows
from crnn.common.checks import check_array, steps_there
from crnn.common.choices import Pooling
from crnn.layers.base.adapted import layer_of, reads_backwards_itself
from crnn.layers.base.description import Widths
from crnn.layers.base.layer import Layer, check_no_state
from crnn.layers.base.parameters import EmptyBuffer
from crnn.layers.base.tapes import check_tape

HOW = get_args(Pooling)


class PoolTape(NamedTuple):
    """What Pool keeps: how it pooled which steps, and for "last" and "max" which it took (B, F)."""

    how: str
    shape: tuple[int, ...]
    there: NDArray[np.bool_]
    taken: NDArray[np.intp] | None


class Pool(Layer):
    """One vector for each row, from its valid steps: (B, T, F) -> (B, F).

    Parameters
    ----------
    how : {"last", "mean", "max"}, default "last"
        The last valid step in time; the mean over the valid steps; or the largest number of each
        feature, whose gradient goes to the first of the steps that have it.

    Attributes
    ----------
    how : str

    Raises
    ------
    ValueError
        If `how` is unknown.

    Notes
    -----
    Valid are the steps before a row's end (`lengths`) that are not masked (`mask`); where a row has
    none, y is 0. What stands at other steps is not looked at. In a `Sequential` the layers behind a
    Pool get no lengths, mask or resets: there is no time axis any more.

    The last step in time of a reversed layer, so also of the backward direction of a
    `Bidirectional`, is the one that it has read first: its output there has seen one step. Pool
    "mean" or "max", or take the last states by `LastState`. A `Sequential` warns of it.
    """

    _leading = _arguments = ("how",)
    keeps_features, keeps_time = True, False
    flat_params, flat_grads = EmptyBuffer(), EmptyBuffer()

    def __init__(self, how: Pooling = "last") -> None:
        if how not in HOW:
            raise ValueError(f"how: expected one of {', '.join(map(repr, HOW))}, got {how!r}")
        self.how = how

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        return Widths(None, None, timeless=True)

    @underflows
    def forward(
        self,
        x: ArrayLike,
        state: None = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        training: bool = True,
    ) -> tuple[Array, None, PoolTape]:
        """y (B, F), None, tape.

        Parameters
        ----------
        x : (B, T, F) floats
        state : None
        lengths : (B,) integers, optional
        mask : (B, T) booleans, optional
            False: a step to be left out.
        training : bool
            Makes no difference.
        """
        check_no_state("Pool", "state", state)
        given = check_array("x", x, "floats", ("B", "T", "F"))
        there = steps_there(lengths, mask, given.shape)
        y, taken = np.zeros((len(given), given.shape[2]), given.dtype), None
        if there.any() and self.how == "mean":
            # accumulate adds step by step: rows that end early, or another T, have the same bits
            total = np.add.accumulate(np.where(there[..., None], given, 0), axis=1)[:, -1]
            y = np.asarray(total / _counts(there, given.dtype))
        elif there.any():
            taken = _last(given, there) if self.how == "last" else _largest(given, there)
            found = np.take_along_axis(given, taken[:, None], axis=1)[:, 0]
            np.copyto(y, found, where=_some(there))
        return y, None, PoolTape(self.how, given.shape, there, taken)

    def check_backward(self, tape: Any, dstate: Any) -> None:
        super().check_backward(tape, dstate)
        check_tape(tape, PoolTape)
        if tape.how != self.how:
            raise ValueError(f"tape: expected one of {self!r}, got one of Pool({tape.how!r})")

    @underflows
    def backward(
        self, tape: PoolTape, dy: ArrayLike | None, dstate: None = None
    ) -> tuple[Array, None]:
        """dx (B, T, F), None; `dy` None stands for zeros."""
        self.check_backward(tape, dstate)
        B, T, F = tape.shape
        given = np.zeros((B, F)) if dy is None else check_array("dy", dy, "floats", (B, F))
        dx = np.zeros((B, T, F), given.dtype)
        each = np.where(_some(tape.there), given, 0)
        if tape.taken is not None:
            np.put_along_axis(dx, tape.taken[:, None], each[:, None], axis=1)
        elif tape.there.any():
            share = (each / _counts(tape.there, given.dtype))[:, None]
            np.copyto(dx, share, where=tape.there[..., None])
        return dx, None


def _by_themselves(layer: Layer) -> Iterator[Layer]:
    """The innermost layers of which each has a direction that is not that of its parts."""
    if not layer.parts or reads_backwards_itself(layer):
        yield layer
        return
    for part in layer.parts.values():
        yield from _by_themselves(layer_of(part))


def warn_of_reversed(layers: Sequence[Any]) -> None:
    """Warn where layers pool the last step in time of a reversed layer, which has read no other."""
    for i, layer in enumerate(layers):
        if not isinstance(layer, Pool) or layer.how != "last":
            continue
        for j in reversed(range(i)):
            ends = [part for part in _by_themselves(layers[j]) if part.receptive_field > 1]
            if ends and ends[-1].reads_backwards:
                warnings.warn(
                    f"layers[{i}]: Pool('last') takes the last step in time, where the backward "
                    f"direction of layers[{j}], {layers[j]!r:.100}, has read that step alone; "
                    "LastState(layer) gives the last states of both directions, Pool('mean') and "
                    "Pool('max') see all steps",
                    stacklevel=3,
                )
            if ends:
                break


def _some(there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which rows have a valid step, (B, 1)."""
    return np.asarray(there.any(axis=1, keepdims=True))


def _counts(there: NDArray[np.bool_], dtype: np.dtype[Any]) -> Array:
    """How many steps each row has, (B, 1); 1 for a row without."""
    return np.asarray(np.maximum(there.sum(axis=1, keepdims=True), 1), dtype)


def _last(x: Array, there: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The last valid step, for each row and feature."""
    last = x.shape[1] - 1 - there[:, ::-1].argmax(axis=1)
    return np.broadcast_to(last[:, None], (len(x), x.shape[2]))


def _largest(x: Array, there: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The first valid step with the largest number, for each row and feature."""
    place = np.where(there[..., None], x, -np.inf).argmax(axis=1)
    rows = np.arange(len(x))[:, None]
    first = there.argmax(axis=1)[:, None]
    return np.asarray(np.where(there[rows, place], place, first))  # first: all are -inf
