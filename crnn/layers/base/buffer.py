"""Layers whose parameters are views of one buffer, and whose gradients are views of another."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from crnn.common.arrays import Array
from crnn.layers.base.layer import Layer
from crnn.layers.base.parameters import assign, writable

Shapes = dict[str, tuple[int, ...]]

_lock = threading.Lock()


def count_of(shapes: Shapes) -> int:
    """Return the number of elements of arrays of these shapes together."""
    return sum(map(math.prod, shapes.values()))


def transposed(array: Array | None) -> Array | None:
    """Return the transpose of an array; None for None."""
    return None if array is None else array.T


class ParameterBuffer:
    """One buffer for the parameters of a layer, one for its gradients, and views of both by name.

    The gradients have no memory until they are read.

    Parameters
    ----------
    shapes : dict of str to tuple
        Shape of each parameter by name.
    dtype : dtype
    transposed : bool, default True
        Store the transpose of each matrix, which is the order in which matrix products read it.
    """

    def __init__(self, shapes: Shapes, dtype: np.dtype[Any], transposed: bool = True) -> None:
        self.__setstate__((shapes, transposed, np.zeros(count_of(shapes), dtype=dtype), None))

    shapes: Shapes
    transposed: bool
    params: Array
    _grads: tuple[Array, dict[str, Array]] | None  # the buffer and its views

    def __getstate__(self) -> Any:
        return self.shapes, self.transposed, self.params, self.grads if self.has_grads else None

    def __setstate__(self, state: Any) -> None:
        self.shapes, self.transposed, params, grads = state
        buffers = writable({"params": params, "grads": grads})
        self.params, grads = buffers["params"], buffers["grads"]
        self.param_views = self._views(self.params)
        self._grads = None if grads is None else (grads, self._views(grads))

    @property
    def has_grads(self) -> bool:
        """Whether there is memory for gradients: something has read them."""
        return self._grads is not None

    def _with_grads(self) -> tuple[Array, dict[str, Array]]:
        """Return the gradients and their views; make them, filled with zeros, if there are none."""
        if self._grads is None:
            with _lock:
                if self._grads is None:
                    grads = np.zeros_like(self.params)
                    self._grads = grads, self._views(grads)
        return self._grads

    @property
    def grads(self) -> Array:
        """The gradients as one vector."""
        return self._with_grads()[0]

    @property
    def grad_views(self) -> dict[str, Array]:
        """The gradients by name."""
        return self._with_grads()[1]

    def trained_views(self, frozen: bool) -> Mapping[str, Array]:
        """Return the gradients to which backward adds, by name: none of a frozen layer.

        Parameters
        ----------
        frozen : bool
        """
        return {} if frozen else self.grad_views

    def _views(self, buffer: Array) -> dict[str, Array]:
        """Return the views of a buffer by name."""
        views, begin = {}, 0
        for name, shape in self.shapes.items():
            end = begin + math.prod(shape)
            part = buffer[begin:end]
            views[name] = part.reshape(shape[::-1]).T if self.transposed else part.reshape(shape)
            begin = end
        return views


class InOneBuffer(Layer):
    """Base of layers whose parameters are in one `ParameterBuffer`."""

    _flat: ParameterBuffer

    def _lay_out(self, shapes: Shapes, dtype: np.dtype[Any], transposed: bool = True) -> None:
        """Make the buffers, filled with zeros."""
        self._flat = ParameterBuffer(shapes, dtype, transposed)
        self.__dict__.pop("_tape_key", None)  # old shapes, if __init__ is called a second time

    @classmethod
    def _shapes(cls, *args: Any, **config: Any) -> Shapes:
        """Return the shapes of the parameters by name, from the arguments of the constructor.

        Arguments on which no shape depends are ignored.
        """
        return {}

    watched: ClassVar[tuple[str, ...]] = ("_flat",)

    def __copy__(self) -> Self:
        """Return a copy with arrays of its own, as a copy of a recurrent layer has."""
        other = type(self).__new__(type(self))
        own = (ParameterBuffer, np.ndarray)
        state = {k: copy.deepcopy(v) if isinstance(v, own) else v for k, v in vars(self).items()}
        other.__setstate__(state)
        return other

    @property
    def config(self) -> dict[str, Any]:
        return super().config | {"dtype": self.dtype.name}

    @classmethod
    def parameter_count(cls, config: Mapping[str, Any]) -> int:
        return count_of(cls._shapes(**config))

    @property
    def param_views(self) -> dict[str, Array]:
        return self._flat.param_views

    @property
    def grad_views(self) -> dict[str, Array]:
        return self._flat.grad_views

    @property
    def flat_params(self) -> Array:
        """All parameters as one vector. Assigning copies into the vector."""
        return self._flat.params

    @flat_params.setter
    def flat_params(self, values: Any) -> None:
        assign("flat_params", self._flat.params, values)

    @property
    def flat_grads(self) -> Array:
        """All gradients as one vector. Assigning copies into the vector."""
        return self._flat.grads

    @flat_grads.setter
    def flat_grads(self, values: Any) -> None:
        assign("flat_grads", self._flat.grads, values)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Float type of parameters and outputs."""
        return np.dtype(self._flat.params.dtype)

    def zero_grad(self) -> None:
        if self._flat.has_grads:
            self._flat.grads.fill(0)

    @property
    def _has_grads(self) -> bool:
        """Whether the layer has memory for gradients."""
        return self._flat.has_grads

    def _convert(self, dtype: np.dtype[Any]) -> None:
        old = self._flat
        self._flat = ParameterBuffer(old.shapes, dtype, old.transposed)
        self._flat.params[...] = old.params
