"""Dense layers: the same affine map at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_dtype, check_flag, check_product, check_seed, check_size
from crnn.layers.base import weights
from crnn.layers.base.attributes import Fixed
from crnn.layers.base.buffer import Shapes, transposed
from crnn.layers.base.description import Widths
from crnn.layers.base.nodes import Graph, Nodes, pointwise_nodes, runs_unchanged
from crnn.layers.pointwise.rows import Gathered, RowIndex, WithParameters, check_floats


class Dense(WithParameters, Gathered):
    """Dense layer: y = W x + b at every step.

    Parameters
    ----------
    input_size, output_size : int
        Number of inputs I, and of outputs, for instance K classes.
    bias : bool, default True
        Whether the layer has a bias b.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters and outputs.
    seed : int, optional
        Seed of the initial W, which is uniform with fans I and K (Glorot and Bengio, "Understanding
        the difficulty of training deep feedforward neural networks", 2010). None draws a seed.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W (K, I) and b (K,). The initial b is 0.
    flat_params, flat_grads : ndarray
        The same numbers as one vector each; assigning copies into it.
    seed : int
        The seed that was used.

    Raises
    ------
    ValueError, TypeError
        If a size is below 1, or the dtype or the seed is invalid.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer = crnn.Dense(3, 2)
    >>> layer.params["W"] = [[1, 0, 0], [0, 1, 1]]
    >>> layer.params["b"] = 0.5
    >>> layer(np.array([[1.0, 2.0, 3.0]]))[0]  # without a time axis
    array([[1.5, 5.5]], dtype=float32)
    >>> layer(np.ones((4, 7, 3)))[0].shape
    (4, 7, 2)
    """

    _leading = ("input_size", "output_size")
    _arguments: ClassVar[tuple[str, ...]] = (*_leading, "bias", "dtype", "seed")
    input_size, output_size = Fixed[int](), Fixed[int]()
    bias, seed = Fixed[bool](), Fixed[int]()

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        bias: bool = True,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        I, K = check_size("input_size", input_size), check_size("output_size", output_size)
        check_product("input_size, output_size", I, K)
        bias, seed, numbers = check_flag("bias", bias), check_seed(seed), check_dtype(dtype)
        shapes = self._shapes(I, K, bias)
        vars(self).update(input_size=I, output_size=K, bias=bias, seed=seed)
        self._lay_out(shapes, numbers)
        self.params["W"] = weights.glorot_uniform(seed, weights.INPUT_STREAM, shapes["W"], I, K)

    @classmethod
    def _shapes(cls, input_size: int, output_size: int, bias: bool = True, **_: Any) -> Shapes:
        I, K = check_size("input_size", input_size), check_size("output_size", output_size)
        return {"W": (K, I)} | ({"b": (K,)} if bias else {})

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        return Widths(config["input_size"], config["output_size"])

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        if not runs_unchanged(self, Dense) or not graph.matches(self.dtype):
            return None
        filled = graph.filled
        return pointwise_nodes(self, x, number, filled, self.add_to(graph, x))

    def add_to(self, graph: Graph, x: int) -> int:
        """Add the sum that the layer computes to a graph of its type."""
        params, grads = self._flat.param_views, self._flat.trained_views(self._frozen)
        arrays = params["W"].T, params.get("b"), transposed(grads.get("W")), grads.get("b")
        return graph.add("sum", (x,), *arrays)

    _keeps_rows = True

    def _check(self, x: Any) -> Array:
        fits = type(x) is np.ndarray and x.ndim > 1 and x.shape[-1] == self.input_size
        return x if fits and x.dtype.kind == "f" else check_floats(x, self.input_size, "I")

    def __call__(  # type: ignore[override]
        self,
        x: ArrayLike,
        state: None = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        filled: bool | None = False,
    ) -> tuple[Array, None]:
        """Run the layer in evaluation: nothing is kept for backward.

        Parameters
        ----------
        x, state, lengths, mask, filled
            As for `forward`.

        Returns
        -------
        y : array (B, T, K), or (B, K)
            Output; 0 at padding and masked steps.
        state : None
        """
        if (  # a fast path: for a single step, the general one takes longer than the product
            type(x) is not np.ndarray
            or x.dtype.kind != "f"
            or x.ndim < 2
            or x.shape[-1] != self.input_size
            or state is not None
            or lengths is not None
            or mask is not None
            or self._replaced()
        ):
            return super().__call__(x, state, lengths=lengths, mask=mask, filled=filled)
        params = self._flat.param_views
        return _core.dense_forward(x, params["W"].T, params.get("b")), None

    def _rows(self, rows: Array, draw: RowIndex) -> tuple[Array, Any]:
        params = self._flat.param_views
        return _core.dense_forward(rows, params["W"].T, params.get("b")), rows

    def _rows_back(self, memory: Any, dy: Array) -> Array:
        params, grads = self._flat.param_views, self._flat.trained_views(self._frozen)
        dW_t, db = transposed(grads.get("W")), grads.get("b")
        return _core.dense_backward(memory, params["W"].T, dy, dW_t, db)
