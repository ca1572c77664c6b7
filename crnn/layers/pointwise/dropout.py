"""Dropout, of single numbers or of the same features at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_seed
from crnn.layers.base.description import Widths
from crnn.layers.base.parameters import EmptyBuffer
from crnn.layers.pointwise.rows import Pointwise, RowIndex, check_floats


class Dropout(Pointwise):
    """Sets each number to 0 with probability p in training, and divides the others by 1 - p.

    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting" (2014).

    Parameters
    ----------
    p : float
        Probability, 0 <= p < 1.
    variational : bool, default False
        Drop the same features at every step of a row: Gal and Ghahramani, "A theoretically grounded
        application of dropout in recurrent neural networks" (2016).
    seed : int, optional
        What is dropped is a function of it, of the row's number, the step and the feature, and of
        `call` and `layer`, arguments of forward that `fit` and compositions give: the same call
        drops the same. Without `call` each training call has the next number of `calls`. None draws
        one.

    Raises
    ------
    ValueError
        If p is not in [0, 1).
    """

    _leading, _arguments = ("p",), ("p", "variational", "seed")
    keeps_features = True
    flat_params, flat_grads = EmptyBuffer(), EmptyBuffer()

    def __init__(self, p: float, *, variational: bool = False, seed: int | None = None) -> None:
        if not isinstance(p, (int, float, np.number)) or not 0 <= p < 1:
            raise ValueError(f"p: expected a probability, 0 <= p < 1, got {p!r}")
        self.p, self.variational = float(p), bool(variational)
        self.seed = check_seed(seed)

    stochastic = property(lambda self: self.p > 0)

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        return Widths(None, None)

    def repeats_masked(self, repeated: bool, training: bool) -> bool:
        return repeated and (self.variational or not training or self.p == 0)

    def _check(self, x: Any) -> Array:
        return check_floats(x, None, "I")

    def _rows(self, rows: Array, draw: RowIndex) -> tuple[Array, Any]:
        if not draw.training or self.p == 0:
            return rows.copy(), None  # y is the caller's to edit
        row, step = draw.places()
        counts = self.seed, draw.call, draw.first_row, draw.layer
        noise = (row, 0 * step if self.variational else step, *counts)
        return _core.dropout(_computed(rows), self.p, *noise), noise

    def _rows_back(self, memory: Any, dy: Array) -> Array:
        return dy.copy() if memory is None else _core.dropout(_computed(dy), self.p, *memory)


def _computed(rows: Array) -> Array:
    """Rows of a type that the core computes with."""
    return rows.astype(np.result_type(rows.dtype, np.float32), copy=False)
