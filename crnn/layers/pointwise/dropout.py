"""Dropout of single elements, or of the same features at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crnn.common.arrays import Array
from crnn.common.checks import check_flag, check_probability, check_seed
from crnn.layers.base.attributes import Checked
from crnn.layers.base.description import Widths
from crnn.layers.base.nodes import Graph, Nodes, add_pointwise, runs_unchanged
from crnn.layers.base.parameters import EmptyBuffer
from crnn.layers.pointwise.rows import RowIndex, Rowwise, check_floats


class Dropout(Rowwise):
    """Dropout: in training, elements are 0 with probability p; the others are divided by 1 - p.

    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting" (2014).
    In evaluation, y is x.

    Parameters
    ----------
    p : float
        Probability, 0 <= p < 1.
    variational : bool, default False
        Drop the same features at all steps of a row: Gal and Ghahramani, "A theoretically grounded
        application of dropout in recurrent neural networks" (2016).
    seed : int, optional
        Seed of the random numbers. None draws a seed.

    Attributes
    ----------
    p : float
        As passed.
    variational : bool
        As passed.
    seed : int
        The seed that was used.
    calls : int
        Number of the next training call without a `call` argument.

    Raises
    ------
    ValueError, TypeError
        If p is not in [0, 1), or the seed is invalid.

    Notes
    -----
    The dropped elements are a function of the seed, of `call` and `layer`, which are arguments of
    forward, and of the numbers of row, step and feature. Equal numbers drop the same elements.
    `fit` and compositions pass these arguments. If forward gets no `call`, the layer counts its
    training calls.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer, x = crnn.Dropout(0.5, seed=0), np.ones((2, 50, 4))
    >>> y, state, tape = layer.forward(x, call=0)
    >>> np.unique(y)
    array([0., 2.])
    >>> bool((layer.forward(x, call=0)[0] == y).all()), bool((layer(x)[0] == x).all())
    (True, True)
    """

    _leading, _arguments = ("p",), ("p", "variational", "seed")
    keeps_features = True
    flat_params, flat_grads = EmptyBuffer(), EmptyBuffer()
    p, variational = Checked[float](check_probability), Checked[bool](check_flag)
    seed = Checked[int](lambda name, value: check_seed(value))

    def __init__(self, p: float, *, variational: bool = False, seed: int | None = None) -> None:
        self.p, self.variational, self.seed = p, variational, seed

    stochastic = property(lambda self: self.p > 0)

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        return Widths(None, None)

    def repeats_masked(self, repeated: bool, training: bool) -> bool:
        return repeated and (self.variational or not training or self.p == 0)

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        if not runs_unchanged(self, Dropout):
            return None
        operation = "drop", self.p, self.variational, (self.seed, 0, 0, 0, number)
        return add_pointwise(self, graph, x, number, "rowwise", operation, None, None)

    watched = ("p", "variational", "seed")

    def _check(self, x: Any) -> Array:
        return check_floats(x, None, "I")

    def _operation(self, draw: RowIndex) -> tuple[Any, ...] | None:
        if not draw.training or self.p == 0:
            return None
        counts = self.seed, draw.call, draw.first_row, draw.first_step, draw.layer
        return "drop", self.p, self.variational, counts
