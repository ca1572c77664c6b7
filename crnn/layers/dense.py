"""Dense, Embedding, Dropout and LayerNorm: each step for itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from crnn import _core
from crnn.layers import init
from crnn.layers.base import (
    Array,
    as_array,
    check_dtype,
    check_fits,
    check_positive,
    check_product,
    check_seed,
    check_size,
    underflows,
)
from crnn.layers.description import Widths
from crnn.layers.parameters import EmptyBuffer
from crnn.layers.pointwise import Draw, Flat, Pointwise, Shapes, WithParameters, check_floats


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
        self._flat = Flat(shapes, check_dtype(dtype))
        self.params["W"] = init.glorot_uniform(
            self.seed, init.INPUT_STREAM, shapes["W"], self.input_size, self.output_size
        )

    @classmethod
    def _shapes(cls, input_size: int, output_size: int, bias: bool = True, **_: Any) -> Shapes:
        I, K = check_size("input_size", input_size), check_size("output_size", output_size)
        return {"W": (K, I)} | ({"b": (K,)} if bias else {})

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        return Widths(config["input_size"], config["output_size"])

    @property
    def config(self) -> dict[str, Any]:
        return {
            "input_size": self.input_size,
            "output_size": self.output_size,
            "bias": self.bias,
            "dtype": self.dtype.name,
            "seed": self.seed,
        }

    _keeps_rows = True

    def _check(self, x: Any) -> Array:
        return check_floats(x, self.input_size, "I")

    def _rows(self, rows: Array, draw: Draw) -> tuple[Array, Any]:
        params = self.params
        return _core.dense_forward(rows, params["W"].T, params.get("b")), rows

    def _rows_back(self, memory: Any, dy: Array) -> Array:
        params, grads = self.params, self.grads
        return _core.dense_backward(memory, params["W"].T, dy, grads["W"].T, grads.get("b"))


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

    _leading = ("K", "size")

    def __init__(
        self, K: int, size: int, *, dtype: DTypeLike = "float32", seed: int | None = None
    ) -> None:
        self.K = check_size("K", K)
        self.size = check_size("size", size)
        check_product("K, size", self.K, self.size)
        self.seed = check_seed(seed)
        shapes = self._shapes(self.K, self.size)
        self._flat = Flat(shapes, check_dtype(dtype), transposed=False)
        self.params["W"] = init.normal(self.seed, init.INPUT_STREAM, (self.K, self.size))

    @classmethod
    def _shapes(cls, K: int, size: int, **_: Any) -> Shapes:
        return {"W": (check_size("K", K), check_size("size", size))}

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        return Widths(None, config["size"])

    @property
    def config(self) -> dict[str, Any]:
        return {"K": self.K, "size": self.size, "dtype": self.dtype.name, "seed": self.seed}

    _feature_axes = 0
    _keeps_rows = True

    def _check(self, x: Any) -> Array:
        array = as_array("x", x)
        if array.dtype.kind not in "iu":
            raise TypeError(
                f"x: expected integers of shape (B, T), got {array.dtype} of shape {array.shape}"
            )
        if array.ndim < 1:
            raise ValueError(f"x: expected integers of shape (B, T), got shape {array.shape}")
        return array

    def check_symbols(self, symbols: Array) -> Array:
        """The symbols themselves, or ValueError."""
        if symbols.size and not (0 <= symbols.min() and symbols.max() < self.K):
            raise ValueError(
                f"x: expected integers from 0 to K-1={self.K - 1}, "
                f"got {symbols.min()} to {symbols.max()}"
            )
        return symbols

    def _check_rows(self, rows: Array) -> Array:
        return self.check_symbols(rows)

    def _rows(self, rows: Array, draw: Draw) -> tuple[Array, Any]:
        return self.params["W"][rows], rows

    def _rows_back(self, memory: Any, dy: Array) -> None:
        _core.embedding_backward(memory, dy, self.grads["W"])


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

    _leading = ("p",)
    keeps_features = True
    flat_params, flat_grads = EmptyBuffer(), EmptyBuffer()

    def __init__(self, p: float, *, variational: bool = False, seed: int | None = None) -> None:
        if not isinstance(p, (int, float, np.number)) or not 0 <= p < 1:
            raise ValueError(f"p: expected a probability, 0 <= p < 1, got {p!r}")
        self.p, self.variational = float(p), bool(variational)
        self.seed = check_seed(seed)

    @property
    def stochastic(self) -> bool:
        """Whether anything is dropped."""
        return self.p > 0

    @property
    def config(self) -> dict[str, Any]:
        return {"p": self.p, "variational": self.variational, "seed": self.seed}

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        return Widths(None, None)

    def _check(self, x: Any) -> Array:
        return check_floats(x, None, "I")

    def _rows(self, rows: Array, draw: Draw) -> tuple[Array, Any]:
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

    _leading = ("size",)

    def __init__(self, size: int, *, eps: float = 1e-5, dtype: DTypeLike = "float32") -> None:
        self.size = check_size("size", size)
        check_product("size", self.size)
        self.eps, kind = check_positive("eps", eps), check_dtype(dtype)
        if not check_fits("eps", self.eps, np.empty((), kind)) > 0:
            raise ValueError(f"eps: expected a positive number that {kind} holds, got {eps!r}")
        self._flat = Flat(self._shapes(self.size), kind)
        self.params["gain"] = 1.0

    @classmethod
    def _shapes(cls, size: int, **_: Any) -> Shapes:
        return dict.fromkeys(("gain", "bias"), (check_size("size", size),))

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths:
        return Widths(config["size"], config["size"])

    @property
    def config(self) -> dict[str, Any]:
        return {"size": self.size, "eps": self.eps, "dtype": self.dtype.name}

    def _check(self, x: Any) -> Array:
        return check_floats(x, self.size, "size")

    @underflows
    def _rows(self, rows: Array, draw: Draw) -> tuple[Array, Any]:
        rows = rows.astype(self.dtype, copy=False)
        centred = rows - rows.mean(axis=1, keepdims=True)
        scale = 1 / np.sqrt(
            np.square(centred).mean(axis=1, keepdims=True) + self.dtype.type(self.eps)
        )
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
