"""A skip connection around a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, underflows
from crnn.common.checks import check_array, steps_there
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.places import back_in, run_in
from crnn.layers.compose.base import Wrapper
from crnn.layers.compose.streams import ResidualStream


class ResidualTape:
    """The tape of the layer inside, whose attributes and items are this one's.

    `there` are the steps of x that were added, (B, T); None for all.
    """

    def __init__(self, layer: Any, there: NDArray[np.bool_] | None = None) -> None:
        self.layer, self.there = layer, there

    @property
    def parts(self) -> dict[str, Any]:
        """That tape."""
        return {"layer": self.layer}

    def __getattr__(self, name: str) -> Any:
        if name in ("layer", "there"):
            raise AttributeError(name)
        return getattr(self.layer, name)

    def __getitem__(self, key: Any) -> Any:
        return self.layer[key]


class Residual(Wrapper):
    """y = x + layer(x): He et al., "Deep residual learning for image recognition" (2016).

    Where x is not read, past a row's end or at a masked step, y is what the layer gives there.

    Parameters
    ----------
    layer : layer
        One whose output has the shape of its input. Its parameters have the names "layer.W_x", ...

    Attributes
    ----------
    layer : layer

    Raises
    ------
    TypeError
        If it is not a layer.
    ValueError
        From forward, if y and x differ in shape.
    """

    adds_input, _tape = True, ResidualTape
    symbols = None  # x is added to y

    def repeats_masked(self, repeated: bool, training: bool) -> bool:
        return repeated and super().repeats_masked(repeated, training)

    def with_vectors(self, symbols: Array, which: int = 0) -> None:
        return None

    def _add(self, x: Any, y: Any, there: NDArray[np.bool_] | None = None) -> Array:
        note = ", that of the layer's output"
        skip = check_array("x", x, "floats", y.shape, note=note, kind_error=ValueError)
        return _sum_where(there, y, skip)

    def _run(self, x: Any, state: Any, given: ForwardOptions, keep: bool) -> tuple[Any, Any, Any]:
        y, after, tape = run_in(self, "layer", given.part(0), x, state, keep)
        mask, there = None if given.filled else given.mask, None
        if given.lengths is not None or mask is not None:
            there = steps_there(given.lengths, mask, np.shape(x))
        return self._add(x, y, there), after, ResidualTape(tape, there)

    def stream(self, batch_size: int = 1, state: Any = None) -> ResidualStream:
        """The layer one step at a time, as `Sequential.stream`."""
        return ResidualStream(self, self._add, batch_size, state)

    def _back(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        dx, dbefore = back_in(self, "layer", tape.layer, dy, dstate)
        if dy is not None:
            dx = _sum_where(tape.there, dx, dy)
        return dx, dbefore


@underflows
def _sum_where(there: NDArray[np.bool_] | None, array: Array, other: Any) -> Array:
    """array + other, at other steps than these array alone; None: all steps."""
    other = np.asarray(other, array.dtype)
    if there is None:
        return np.asarray(array + other)
    where = there.reshape(there.shape + (1,) * (array.ndim - 2))
    return np.asarray(np.add(array, other, where=where, out=array.copy()))
