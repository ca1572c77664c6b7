"""Layer normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from crnn.common.arrays import Array
from crnn.common.checks import check_dtype, check_fits, check_positive, check_product, check_size
from crnn.layers.base.attributes import Fixed
from crnn.layers.base.buffer import Shapes
from crnn.layers.base.description import Widths
from crnn.layers.base.nodes import Graph, Nodes, add_pointwise, runs_unchanged
from crnn.layers.pointwise.rows import RowIndex, Rowwise, WithParameters, check_floats


class LayerNorm(WithParameters, Rowwise):
    """Layer normalisation of every step: y = gain ∘ (x - mean) / sqrt(var + eps) + bias.

    Mean and variance are those of the features of the step. Ba, Kiros and Hinton, "Layer
    normalization" (2016).

    Parameters
    ----------
    size : int
        Number of features.
    eps : float, default 1e-5
        Positive number that is added to the variance, so that equal features do not divide by 0.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters and outputs.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        gain (size,) and bias (size,). The initial gain is 1, the initial bias 0.
    flat_params, flat_grads : ndarray
        The same numbers as one vector each; assigning copies into it.

    Raises
    ------
    ValueError, TypeError
        If the size is below 1, eps is not positive, or the dtype is unknown.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> y, state = crnn.LayerNorm(4)(np.array([[[1.0, 2.0, 3.0, 10.0]]]))
    >>> abs(round(float(y.mean()), 2)), round(float(y.std()), 2)
    (0.0, 1.0)
    """

    _leading, _arguments = ("size",), ("size", "eps", "dtype")
    size, eps = Fixed[int](), Fixed[float]()
    _reads_x = True

    def __init__(self, size: int, *, eps: float = 1e-5, dtype: DTypeLike = "float32") -> None:
        size = check_size("size", size)
        check_product("size", size)
        eps, dtype = check_positive("eps", eps), check_dtype(dtype)
        if not check_fits("eps", eps, np.empty((), dtype)) > 0:
            raise ValueError(f"eps: expected a positive number in {dtype}, got {eps!r}")
        vars(self).update(size=size, eps=eps)
        self._lay_out(self._shapes(size), dtype)
        self.params["gain"] = 1.0

    @classmethod
    def _shapes(cls, size: int, **_: Any) -> Shapes:
        return dict.fromkeys(("gain", "bias"), (check_size("size", size),))

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        return Widths(config["size"], config["size"])

    input_size = property(lambda self: self.size)
    output_size = property(lambda self: self.size)

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        if not runs_unchanged(self, LayerNorm) or not graph.matches(self.dtype):
            return None
        arrays = self._flat.params, None if self._frozen else self._flat.grads
        return add_pointwise(self, graph, x, number, "rowwise", ("norm", self.eps), *arrays)

    def _check(self, x: Any) -> Array:
        return check_floats(x, self.size, "size")

    def _operation(self, draw: RowIndex) -> tuple[Any, ...]:
        return "norm", self.eps
