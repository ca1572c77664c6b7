"""A linear map of every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_dtype, check_product, check_seed, check_size
from crnn.layers.base import weights
from crnn.layers.base.buffer import Shapes
from crnn.layers.base.description import Widths
from crnn.layers.pointwise.rows import RowIndex, WithParameters, check_floats


class Dense(WithParameters):
    """A linear map of every step: y = W x + b.

    Parameters
    ----------
    input_size, output_size : int
        I, and the number of outputs, for instance K classes.
    bias : bool, default True
        Whether there is a b.
    dtype : {"float32", "float64"}, default "float32"
    seed : int, optional
        Decides W: uniform, with fans I and `output_size` (Glorot and Bengio 2010). None draws one.

    Attributes
    ----------
    params, grads : dict
        W (output_size, I), b (output_size,), zero at first.

    Raises
    ------
    ValueError, TypeError
        For sizes below 1 or an unknown dtype.
    """

    _leading = ("input_size", "output_size")
    _arguments = (*_leading, "bias", "dtype", "seed")
    input_size: int
    output_size: int

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        bias: bool = True,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        self.input_size = check_size("input_size", input_size)
        self.output_size = check_size("output_size", output_size)
        check_product("input_size, output_size", self.input_size, self.output_size)
        self.bias = bool(bias)
        self.seed = check_seed(seed)
        shapes = self._shapes(self.input_size, self.output_size, self.bias)
        self._lay_out(shapes, check_dtype(dtype))
        self.params["W"] = weights.glorot_uniform(
            self.seed, weights.INPUT_STREAM, shapes["W"], self.input_size, self.output_size
        )

    @classmethod
    def _shapes(cls, input_size: int, output_size: int, bias: bool = True, **_: Any) -> Shapes:
        I, K = check_size("input_size", input_size), check_size("output_size", output_size)
        return {"W": (K, I)} | ({"b": (K,)} if bias else {})

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        return Widths(config["input_size"], config["output_size"])

    _keeps_rows = True

    def _check(self, x: Any) -> Array:
        right = type(x) is np.ndarray and x.ndim > 1 and x.shape[-1] == self.input_size
        return x if right and x.dtype.kind == "f" else check_floats(x, self.input_size, "I")

    def __call__(  # type: ignore[override]
        self,
        x: ArrayLike,
        state: None = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        filled: bool | None = False,
    ) -> tuple[Array, None]:
        """y, None: evaluation, keeps nothing. The arguments are those of `forward`."""
        if (  # what a single step costs is mostly the way to the core
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
        params, grads = self._flat.param_views, self._flat.grad_views
        return _core.dense_backward(memory, params["W"].T, dy, grads["W"].T, grads.get("b"))
