"""Embeddings: a vector for each symbol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import DTypeLike

import crnn._core as _core
from crnn.common.arrays import Array, as_array
from crnn.common.checks import check_array, check_dtype, check_product, check_seed, check_size
from crnn.layers.base import weights
from crnn.layers.base.attributes import Fixed
from crnn.layers.base.buffer import Shapes
from crnn.layers.base.description import Widths
from crnn.layers.base.layer import Layer
from crnn.layers.base.nodes import Graph, Nodes, pointwise_nodes, runs_unchanged
from crnn.layers.pointwise.dropout import Dropout
from crnn.layers.pointwise.rows import Gathered, RowIndex, WithParameters


class Embedding(WithParameters, Gathered):
    """Embedding: a vector for each symbol, y = W[x].

    Parameters
    ----------
    K : int
        Number of symbols. The symbols are the integers from 0 to K - 1.
    size : int
        Length of a vector.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters and outputs.
    seed : int, optional
        Seed of the initial W, which is standard normal. None draws a seed.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W (K, size).
    flat_params, flat_grads : ndarray
        The same numbers as one vector each; assigning copies into it.
    seed : int
        The seed that was used.

    Raises
    ------
    ValueError, TypeError
        If a size is below 1, or the dtype or the seed is invalid. From forward: if x is not
        integers from 0 to K - 1.

    Examples
    --------
    >>> import crnn
    >>> layer = crnn.Embedding(3, 2)
    >>> layer.params["W"] = [[0, 0], [1, 2], [3, 4]]
    >>> y, state = layer([[2, 0, 1]])
    >>> y[0]
    array([[3., 4.],
           [0., 0.],
           [1., 2.]], dtype=float32)
    """

    _leading, _arguments = ("K", "size"), ("K", "size", "dtype", "seed")
    K, size, seed = Fixed[int](), Fixed[int](), Fixed[int]()

    def __init__(
        self, K: int, size: int, *, dtype: DTypeLike = "float32", seed: int | None = None
    ) -> None:
        K, size = check_size("K", K), check_size("size", size)
        check_product("K, size", K, size)
        seed, numbers = check_seed(seed), check_dtype(dtype)
        vars(self).update(K=K, size=size, seed=seed)
        self._lay_out(self._shapes(K, size), numbers, transposed=False)
        self.params["W"] = weights.normal(seed, weights.INPUT_STREAM, (K, size))

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

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        if not runs_unchanged(self, Embedding) or not graph.matches(self.dtype):
            return None
        return pointwise_nodes(self, x, number, graph.filled, graph.add_embedding(self, x))

    _feature_axes = 0
    _keeps_rows = True

    def _check(self, x: Any) -> Array:
        array = as_array("x", x)
        if array.dtype.kind in "iu" and array.ndim > 0:
            return array
        return check_array("x", array, "integers", ("B", "T"))

    def check_symbols(self, symbols: Array) -> Array:
        """Return the symbols, or raise ValueError if one is not in the range 0 ... K - 1.

        Parameters
        ----------
        symbols : array of integers

        Returns
        -------
        array of integers
            The same array.
        """
        if symbols.size and not (0 <= symbols.min() and symbols.max() < self.K):
            raise ValueError(
                f"x: expected integers from 0 to K-1={self.K - 1}, "
                f"got {symbols.min()} to {symbols.max()}"
            )
        return symbols

    def _rows(self, rows: Array, draw: RowIndex) -> tuple[Array, Any]:
        return self._flat.param_views["W"][self.check_symbols(rows)], rows

    def _rows_back(self, memory: Any, dy: Array) -> None:
        if not self._frozen:
            _core.embedding_backward(memory, dy, self.grads["W"])
