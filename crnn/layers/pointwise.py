"""Layers that treat every step alike and have no state: Dense, Embedding, Dropout, LayerNorm.

Each works on rows, (N, features), the valid steps of the input one after the other; what lies past
a row's end is left out of the computation and is 0 in the output and the gradient.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from crnn import _core
from crnn.layers import init
from crnn.layers.base import (
    Array,
    Layer,
    as_array,
    check_count,
    check_dtype,
    check_no_state,
    check_positive,
    check_product,
    check_seed,
    check_size,
    valid_steps,
)


class PointwiseTape(NamedTuple):
    """What a pointwise layer keeps: whose it is, y's shape, the valid steps, its own memory."""

    owner: tuple[Any, ...]
    shape: tuple[int, ...]
    valid: NDArray[np.bool_] | None
    memory: Any


class Draw(NamedTuple):
    """Where rows come from, for a layer that draws a random number for each entry."""

    training: bool
    call: int
    first_row: int
    first_step: int
    layer: int
    lead: tuple[int, ...]
    valid: NDArray[np.bool_] | None

    def places(self) -> tuple[Array, Array]:
        """The number of the row, and of the step, of each of the rows."""
        steps = self.lead[1:]
        row, step = np.divmod(np.arange(math.prod(self.lead)), max(math.prod(steps), 1))
        there = slice(None) if self.valid is None else self.valid.ravel()
        return row[there], self.first_step + step[there]


class Pointwise(Layer):
    """A layer without a state that maps rows to rows; subclasses give `_rows` and `_rows_back`."""

    #: How many of the last axes of the input belong to one step: 0 for symbols.
    _feature_axes = 1

    def _check(self, x: Any) -> Array:
        """The input as an array of the right kind, (..., features) or (...,) symbols."""
        raise NotImplementedError

    def _rows(self, rows: Array, draw: Draw) -> tuple[Array, Any]:
        """Outputs (N, features) of the rows, and what `_rows_back` needs."""
        raise NotImplementedError

    def _rows_back(self, memory: Any, dy: Array) -> Array | None:
        """dx of the rows from dy (N, features); adds to the gradients."""
        raise NotImplementedError

    def forward(
        self,
        x: Any,
        state: None = None,
        *,
        lengths: Any = None,
        training: bool = True,
        call: int = 0,
        first_row: int = 0,
        first_step: int = 0,
        layer: int = 0,
    ) -> tuple[Array, None, PointwiseTape]:
        """y, None, tape.

        Parameters
        ----------
        x : array
            (B, T, features), or without a time axis (B, features); for symbols without the last.
        state : None
        lengths : (B,) integers, optional
            Steps of each row that are there; past them y is 0.
        training : bool, default True
            False: as in evaluation.
        call, first_row, first_step, layer : int, default 0
            Number of this call, of the input's first row and first step, and of this layer in a
            model: what Dropout draws is a function of its seed and of these.
        """
        check_no_state(type(self).__name__, "state", state)
        check_count("call", call, 64)
        check_count("first_row", first_row, 64)
        check_count("first_step", first_step, 32)
        check_count("layer", layer, 32)
        steps = self._check(x)
        split = steps.ndim - self._feature_axes
        lead = steps.shape[:split]
        valid = None if lengths is None else valid_steps(lengths, lead)
        flat = (math.prod(lead), *steps.shape[split:])
        # Side by side, so that NumPy's sums over a row run in one order.
        rows = np.ascontiguousarray(steps.reshape(flat) if valid is None else steps[valid])
        draw = Draw(training, call, first_row, first_step, layer, lead, valid)
        out, memory = self._rows(self._check_rows(rows), draw)
        y = _place(out, lead, valid)
        return y, None, PointwiseTape(self._owner(), y.shape, valid, memory)

    def _check_rows(self, rows: Array) -> Array:
        """Checks of values, which hold for valid steps alone."""
        return rows

    def backward(
        self, tape: PointwiseTape, dy: Any, dstate: None = None
    ) -> tuple[Array | None, None]:
        """dx, None; adds to `grads`. `dy` None stands for zeros."""
        self.check_backward(tape, dstate)
        given = np.zeros(tape.shape) if dy is None else as_array("dy", dy)
        if given.dtype.kind != "f":
            raise TypeError(f"dy: expected floats of shape {tape.shape}, got {given.dtype}")
        if given.shape != tape.shape:
            raise ValueError(f"dy: expected floats of shape {tape.shape}, got shape {given.shape}")
        flat = (math.prod(tape.shape[:-1]), tape.shape[-1])
        rows = np.ascontiguousarray(
            given.reshape(flat) if tape.valid is None else given[tape.valid]
        )
        dx = self._rows_back(tape.memory, rows)
        return None if dx is None else _place(dx, tape.shape[:-1], tape.valid), None

    def check_backward(self, tape: Any, dstate: Any) -> None:
        super().check_backward(tape, dstate)
        if not isinstance(tape, PointwiseTape):
            given = type(tape).__name__
            raise TypeError(f"tape: expected the one that forward returned, got {given}")
        if tape.owner != self._owner():
            raise ValueError(
                f"tape: expected one of a layer like this, {self._owner()}, got one of {tape.owner}"
            )

    def _owner(self) -> tuple[Any, ...]:
        """What a layer must have in common with the one that made a tape."""
        return (type(self).__name__, *(array.shape for array in self.param_views.values()))


def _place(rows: Array, lead: tuple[int, ...], valid: NDArray[np.bool_] | None) -> Array:
    """Rows back in their places, zeros elsewhere."""
    if valid is None:
        return rows.reshape(*lead, rows.shape[-1])
    whole = np.zeros((*lead, rows.shape[-1]), dtype=rows.dtype)
    whole[valid] = rows
    return whole


def _check_floats(x: Any, size: int | None, letter: str) -> Array:
    """Floats whose last axis has `size` entries, or any number of them for None."""
    array = as_array("x", x)
    last = letter if size is None else f"{letter}={size}"
    expected = f"x: expected floats of shape (B, T, {last}) or (B, {last})"
    if array.dtype.kind != "f":
        raise TypeError(f"{expected}, got {array.dtype} of shape {array.shape}")
    if array.ndim < 2 or (size is not None and array.shape[-1] != size):
        raise ValueError(f"{expected}, got shape {array.shape}")
    return array


class Flat:
    """Parameters and gradients of a layer in one buffer each, and views of them by name.

    With `transposed`, the memory of a matrix holds its transpose: as products read it.
    """

    def __init__(
        self, shapes: dict[str, tuple[int, ...]], dtype: np.dtype[Any], transposed: bool = True
    ) -> None:
        self.shapes, self.transposed = shapes, transposed
        count = sum(int(np.prod(shape)) for shape in shapes.values())
        self.params = np.zeros(count, dtype=dtype)
        self.grads = np.zeros(count, dtype=dtype)

    def views(self, buffer: Array) -> dict[str, Array]:
        """The views of a buffer by name."""
        found, begin = {}, 0
        for name, shape in self.shapes.items():
            end = begin + int(np.prod(shape))
            part = buffer[begin:end]
            found[name] = part.reshape(shape[::-1]).T if self.transposed else part.reshape(shape)
            begin = end
        return found


class WithParameters(Pointwise):
    """A pointwise layer that has parameters."""

    _flat: Flat

    @property
    def param_views(self) -> dict[str, Array]:
        return self._flat.views(self._flat.params)

    @property
    def grad_views(self) -> dict[str, Array]:
        return self._flat.views(self._flat.grads)

    @property
    def flat_params(self) -> Array:
        """All parameters as one vector."""
        return self._flat.params

    @property
    def flat_grads(self) -> Array:
        """All gradients as one vector."""
        return self._flat.grads

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of parameters and outputs."""
        return np.dtype(self._flat.params.dtype)

    def _convert(self, dtype: np.dtype[Any]) -> None:
        old = self._flat
        self._flat = Flat(old.shapes, dtype, old.transposed)
        self._flat.params[...] = old.params


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
        shapes: dict[str, tuple[int, ...]] = {"W": (self.output_size, self.input_size)}
        if self.bias:
            shapes["b"] = (self.output_size,)
        self._flat = Flat(shapes, check_dtype(dtype))
        self.params["W"] = init.glorot_uniform(
            self.seed, init.INPUT_STREAM, shapes["W"], self.input_size, self.output_size
        )

    @property
    def config(self) -> dict[str, Any]:
        return {
            "input_size": self.input_size,
            "output_size": self.output_size,
            "bias": self.bias,
            "dtype": self.dtype.name,
            "seed": self.seed,
        }

    def _check(self, x: Any) -> Array:
        return _check_floats(x, self.input_size, "I")

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
        self._flat = Flat({"W": (self.K, self.size)}, check_dtype(dtype), transposed=False)
        self.params["W"] = init.normal(self.seed, init.INPUT_STREAM, (self.K, self.size))

    @property
    def config(self) -> dict[str, Any]:
        return {"K": self.K, "size": self.size, "dtype": self.dtype.name, "seed": self.seed}

    _feature_axes = 0

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
        drops the same. None draws one.

    Raises
    ------
    ValueError
        If p is not in [0, 1).
    """

    _leading = ("p",)

    def __init__(self, p: float, *, variational: bool = False, seed: int | None = None) -> None:
        if not isinstance(p, (int, float, np.number)) or not 0 <= p < 1:
            raise ValueError(f"p: expected a probability, 0 <= p < 1, got {p!r}")
        self.p, self.variational = float(p), bool(variational)
        self.seed = check_seed(seed)

    @property
    def config(self) -> dict[str, Any]:
        return {"p": self.p, "variational": self.variational, "seed": self.seed}

    def _check(self, x: Any) -> Array:
        return _check_floats(x, None, "I")

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
        self.eps = check_positive("eps", eps)
        self._flat = Flat({"gain": (self.size,), "bias": (self.size,)}, check_dtype(dtype))
        self.params["gain"] = 1.0

    @property
    def config(self) -> dict[str, Any]:
        return {"size": self.size, "eps": self.eps, "dtype": self.dtype.name}

    def _check(self, x: Any) -> Array:
        return _check_floats(x, self.size, "size")

    def _rows(self, rows: Array, draw: Draw) -> tuple[Array, Any]:
        rows = rows.astype(self.dtype, copy=False)
        centred = rows - rows.mean(axis=1, keepdims=True)
        scale = 1 / np.sqrt(
            np.square(centred).mean(axis=1, keepdims=True) + self.dtype.type(self.eps)
        )
        normal = centred * scale
        params = self.params
        return params["gain"] * normal + params["bias"], (normal, scale)

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
