"""Pooling: one vector for each row, from the vectors of its steps."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_array, check_choice, steps_there
from crnn.common.choices import Pooling
from crnn.common.representation import tape_text
from crnn.layers.base.adapted import layer_of, reads_backwards_itself
from crnn.layers.base.attributes import Checked
from crnn.layers.base.description import Widths
from crnn.layers.base.layer import Layer, check_no_state
from crnn.layers.base.nodes import Graph, Nodes, runs_unchanged
from crnn.layers.base.parameters import EmptyBuffer
from crnn.layers.base.tapes import check_tape

HOW = get_args(Pooling)


class PoolTape(NamedTuple):
    """Tape of Pool. `taken` (B, F) are the selected steps for "last" and "max"."""

    how: str
    shape: tuple[int, ...]
    valid: NDArray[np.bool_]
    taken: NDArray[np.intp] | None

    def __repr__(self) -> str:
        return tape_text(self)


class Pool(Layer):
    """Layer that returns one vector for each row, from its valid steps: (B, T, F) to (B, F).

    Parameters
    ----------
    how : {"last", "mean", "max"}, default "last"
        "last": the last valid step in time. "mean": the mean over the valid steps. "max": the
        largest number of each feature; its gradient goes to the first step with this number.

    Attributes
    ----------
    how : str
        As passed.

    Raises
    ------
    ValueError
        If `how` is unknown.

    See Also
    --------
    LastState : Last state of a recurrent layer, for both directions of a `Bidirectional`.

    Notes
    -----
    Valid are the steps before the end of a row (`lengths`) that are not masked (`mask`). For a row
    without valid steps, y is 0. Other steps are not read. In a `Sequential`, the layers after a
    Pool get no lengths, mask or resets, because there is no time axis any more.

    A layer with ``reverse=True``, and the backward layer of a `Bidirectional`, read the last step
    in time first: "last" selects an output that depends on one step only. Use "mean", "max" or
    `LastState` with such layers. A `Sequential` warns of "last".

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> x = np.array([[[1.0], [5.0], [3.0]], [[2.0], [4.0], [9.0]]])
    >>> crnn.Pool("mean")(x, lengths=[3, 2])[0].ravel()
    array([3., 3.])
    >>> crnn.Pool("max")(x, lengths=[3, 2])[0].ravel()
    array([5., 4.])
    """

    _leading = _arguments = ("how",)
    keeps_features, keeps_time = True, False
    flat_params, flat_grads = EmptyBuffer(), EmptyBuffer()
    how = Checked[Pooling](partial(check_choice, choices=HOW))

    def __init__(self, how: Pooling = "last") -> None:
        self.how = how

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        return Widths(None, None, timeless=True)

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        if not runs_unchanged(self, Pool):
            return None
        return Nodes(graph.add("pool", (x,), self.how), None, lambda call: call.pool(self, x))

    watched = ("how",)

    def forward(
        self,
        x: ArrayLike,
        state: None = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        training: bool = True,
    ) -> tuple[Array, None, PoolTape]:
        """Pool the valid steps of each row, and return a tape for `backward`.

        Parameters
        ----------
        x : floats (B, T, F)
            The sequences.
        state : None
            A Pool has no state.
        lengths : integers (B,), optional
            Number of valid steps of each row. None: all T steps.
        mask : booleans or integers 0 and 1 (B, T), optional
            False at steps that are not read. None: all steps are read.
        training : bool, default True
            Has no effect.

        Returns
        -------
        y : array (B, F)
            One vector for each row.
        state : None
        tape : PoolTape
            Argument of `backward`.
        """
        check_no_state("Pool", "state", state)
        steps = check_array("x", x, "floats", ("B", "T", "F"))
        valid = steps_there(lengths, mask, steps.shape)
        y, taken = _core.pool_forward(self.how, steps, valid)
        return y, None, PoolTape(self.how, steps.shape, valid, taken)

    def check_backward(self, tape: Any, dstate: Any) -> None:
        super().check_backward(tape, dstate)
        check_tape(tape, PoolTape)
        if tape.how != self.how:
            raise ValueError(f"tape: expected one of {self!r}, got one of Pool({tape.how!r})")

    def backward(
        self, tape: PoolTape, dy: ArrayLike | None, dstate: None = None
    ) -> tuple[Array, None]:
        """Return the gradient of x.

        Parameters
        ----------
        tape : PoolTape
            Returned by `forward` of a Pool with the same `how`.
        dy : array (B, F), or None
            Gradient of the loss with respect to y. None stands for zeros.
        dstate : None
            A Pool has no state.

        Returns
        -------
        dx : array (B, T, F)
            Gradient with respect to x; 0 at steps that are not valid.
        dstate : None
        """
        self.check_backward(tape, dstate)
        B, _, F = tape.shape
        gradient = np.zeros((B, F)) if dy is None else check_array("dy", dy, "floats", (B, F))
        return _core.pool_backward(self.how, tape.shape, tape.valid, tape.taken, gradient), None


def _directed_layers(layer: Layer) -> Iterator[Layer]:
    """Yield the layers inside that have a direction of reading which no part of them has."""
    if not layer.parts or reads_backwards_itself(layer):
        yield layer
        return
    for part in layer.parts.values():
        yield from _directed_layers(layer_of(part))


def warn_of_reversed(layers: Sequence[Any]) -> None:
    """Warn if Pool("last") selects an output of a reversed layer, which has read one step only."""
    for i, layer in enumerate(layers):
        if not isinstance(layer, Pool) or layer.how != "last":
            continue
        for j in reversed(range(i)):
            recurrent = [part for part in _directed_layers(layers[j]) if part.receptive_field > 1]
            if recurrent and recurrent[-1].reads_backwards:
                warnings.warn(
                    f"layers[{i}]: Pool('last') takes the last step in time, at which the backward "
                    f"direction of layers[{j}], {layers[j]!r:.100}, has read only that step; use "
                    "LastState(layer) for the last states of both directions, or Pool('mean') or "
                    "Pool('max') for all steps",
                    stacklevel=3,
                )
            if recurrent:
                break
