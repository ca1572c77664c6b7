"""Layer normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from crnn.common.arrays import Array, underflows
from crnn.common.checks import check_dtype, check_fits, check_positive, check_product, check_size
from crnn.layers.base.buffer import Shapes
from crnn.layers.base.description import Widths
from crnn.layers.pointwise.rows import RowIndex, WithParameters, check_floats


class LayerNorm(WithParameters):
    """Every step normalised over its features: y = gain ∘ (x - mean) / sqrt(var + eps) + bias.

    Ba, Kiros and Hinton, "Layer normalization" (2016).

    Parameters
    ----------
    size : int
        Number of features.
    eps : float, default 1e-5
        Added to the variance, so that equal features give 0 instead of a division by 0.
    dtype : {"float32", "float64"}, default "float32"

    Attributes
    ----------
    params, grads : dict
        gain (size,), 1 at first; bias (size,), 0 at first.

    Raises
    ------
    ValueError, TypeError
        For a size below 1, an eps that is not positive or an unknown dtype.
    """

    _leading, _arguments = ("size",), ("size", "eps", "dtype")

    def __init__(self, size: int, *, eps: float = 1e-5, dtype: DTypeLike = "float32") -> None:
        self.size = check_size("size", size)
        check_product("size", self.size)
        self.eps, kind = check_positive("eps", eps), check_dtype(dtype)
        if not check_fits("eps", self.eps, np.empty((), kind)) > 0:
            raise ValueError(f"eps: expected a positive number that {kind} holds, got {eps!r}")
        self._lay_out(self._shapes(self.size), kind)
        self.params["gain"] = 1.0

    @classmethod
    def _shapes(cls, size: int, **_: Any) -> Shapes:
        return dict.fromkeys(("gain", "bias"), (check_size("size", size),))

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        return Widths(config["size"], config["size"])

    input_size = property(lambda self: self.size)
    output_size = property(lambda self: self.size)

    def _check(self, x: Any) -> Array:
        return check_floats(x, self.size, "size")

    @underflows
    def _rows(self, rows: Array, draw: RowIndex) -> tuple[Array, Any]:
        rows = rows.astype(self.dtype, copy=False)
        centred = rows - rows.mean(axis=1, keepdims=True)
        variance = np.square(centred).mean(axis=1, keepdims=True)
        scale = 1 / np.sqrt(variance + self.dtype.type(self.eps))
        normal = centred * scale
        params = self.params
        return params["gain"] * normal + params["bias"], (normal, scale)

    @underflows
    def _rows_back(self, memory: Any, dy: Array) -> Array:
        normal, scale = memory
        dy = dy.astype(self.dtype, copy=False)
        grads = self.grads
        grads["gain"] += (dy * normal).sum(axis=0)
        grads["bias"] += dy.sum(axis=0)
        d = dy * self.params["gain"]
        through_mean = d.mean(axis=1, keepdims=True)
        through_scale = normal * (d * normal).mean(axis=1, keepdims=True)
        return np.asarray(scale * (d - through_mean - through_scale))
