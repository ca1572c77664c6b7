"""Vectors for symbols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import DTypeLike

import crnn._core as _core
from crnn.common.arrays import Array, as_array
from crnn.common.checks import check_array, check_dtype, check_product, check_seed, check_size
from crnn.layers.base import weights
from crnn.layers.base.buffer import Shapes
from crnn.layers.base.description import Widths
from crnn.layers.base.layer import Layer
from crnn.layers.pointwise.dropout import Dropout
from crnn.layers.pointwise.rows import RowIndex, WithParameters


class Embedding(WithParameters):
    """A vector for each symbol: y = W[x].

    Parameters
    ----------
    K : int
        Number of symbols, 0 ... K-1.
    size : int
        Length of a vector.
    dtype : {"float32", "float64"}, default "float32"
    seed : int, optional
        Decides W: standard normal. None draws one.

    Attributes
    ----------
    params, grads : dict
        W (K, size).

    Raises
    ------
    ValueError, TypeError
        For sizes below 1 or an unknown dtype; from forward for symbols that are not in 0 ... K-1.
    """

    _leading, _arguments = ("K", "size"), ("K", "size", "dtype", "seed")

    def __init__(
        self, K: int, size: int, *, dtype: DTypeLike = "float32", seed: int | None = None
    ) -> None:
        self.K = check_size("K", K)
        self.size = check_size("size", size)
        check_product("K, size", self.K, self.size)
        self.seed = check_seed(seed)
        shapes = self._shapes(self.K, self.size)
        self._lay_out(shapes, check_dtype(dtype), transposed=False)
        self.params["W"] = weights.normal(self.seed, weights.INPUT_STREAM, (self.K, self.size))

    @classmethod
    def _shapes(cls, K: int, size: int, **_: Any) -> Shapes:
        return {"W": (check_size("K", K), check_size("size", size))}

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        return Widths(None, config["size"])

    symbols = property(lambda self: self.K)
    output_size = property(lambda self: self.size)
    multiply_adds = property(lambda self: 0)

    def with_vectors(self, symbols: Array, which: int = 0) -> tuple[Layer, Array]:
        return Dropout(0.0, seed=0), self.params["W"][self.check_symbols(symbols)]

    _feature_axes = 0
    _keeps_rows = True

    def _check(self, x: Any) -> Array:
        array = as_array("x", x)
        if array.dtype.kind in "iu" and array.ndim > 0:
            return array
        return check_array("x", array, "integers", ("B", "T"))

    def check_symbols(self, symbols: Array) -> Array:
        """The symbols themselves, or ValueError."""
        if symbols.size and not (0 <= symbols.min() and symbols.max() < self.K):
            raise ValueError(
                f"x: expected integers from 0 to K-1={self.K - 1}, "
                f"got {symbols.min()} to {symbols.max()}"
            )
        return symbols

    def _rows(self, rows: Array, draw: RowIndex) -> tuple[Array, Any]:
        return self._flat.param_views["W"][self.check_symbols(rows)], rows

    def _rows_back(self, memory: Any, dy: Array) -> None:
        _core.embedding_backward(memory, dy, self.grads["W"])
