"""Activation functions as layers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, get_args

from crnn.common import choices
from crnn.common.arrays import Array
from crnn.common.checks import check_choice
from crnn.layers.base.attributes import Checked
from crnn.layers.base.description import Widths
from crnn.layers.base.nodes import Graph, Nodes, add_pointwise, runs_unchanged
from crnn.layers.base.parameters import EmptyBuffer
from crnn.layers.pointwise.rows import RowIndex, Rowwise, check_floats

NAMES = get_args(choices.PointwiseActivation)


class Activation(Rowwise):
    """Activation function of every element: y = φ(x).

    Parameters
    ----------
    name : str
        "tanh"; "sigmoid", the logistic function σ; "hard_sigmoid", 0.2 x + 0.5 limited to 0 ... 1;
        "relu", max(0, x); "softsign", x / (1 + abs(x)); "identity";

        "gelu", x σ(2 sqrt(2/π) (x + 0.044715 x³)), which equals the approximation of GELU with
        tanh; "gelu_exact", x Φ(x), where Φ is the distribution function of the standard normal
        distribution: Hendrycks and Gimpel, "Gaussian error linear units (GELUs)" (2016);

        "silu", x σ(x), also called swish: Ramachandran, Zoph and Le, "Searching for activation
        functions" (2017).

    Attributes
    ----------
    name : str
        As passed.

    Raises
    ------
    ValueError
        If `name` is unknown.

    Notes
    -----
    The slope of "relu" at 0 is 0, that of "hard_sigmoid" at its bounds is 0.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> crnn.Activation("relu")(np.array([[-1.0, 0.0, 2.0]]))[0]
    array([[0., 0., 2.]])
    """

    _leading = _arguments = ("name",)
    keeps_features = True
    flat_params, flat_grads = EmptyBuffer(), EmptyBuffer()
    name = Checked[choices.PointwiseActivation](partial(check_choice, choices=NAMES))

    def __init__(self, name: choices.PointwiseActivation) -> None:
        self.name = name

    _reads_x = property(lambda self: self.name not in get_args(choices.Activation))
    _reads_y = property(lambda self: not self._reads_x)

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        return Widths(None, None)

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        if not runs_unchanged(self, Activation):
            return None
        operation = "activate", self.name
        return add_pointwise(self, graph, x, number, "rowwise", operation, None, None)

    watched = ("name",)

    def _check(self, x: Any) -> Array:
        return check_floats(x, None, "I")

    def _operation(self, draw: RowIndex) -> tuple[Any, ...]:
        return "activate", self.name
