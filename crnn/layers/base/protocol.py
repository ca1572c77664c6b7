"""Types of arguments that are layers: layers of crnn, and objects with the same methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Never, Protocol, TypeAlias, TypeVar, overload

from numpy.typing import ArrayLike

from crnn.common.arrays import Array

#: x of a layer: one array, or a tuple of arrays for a layer that reads several.
Input: TypeAlias = ArrayLike | tuple[ArrayLike | None, ...]

Value_co = TypeVar("Value_co", covariant=True)


class LayerLike(Protocol):
    """A layer of crnn, or an object that has its methods: the type of layers as arguments.

    `crnn.layers.base.layer.check_layer` checks the same at run time.
    """

    @property
    def params(self) -> Mapping[str, Array]:
        """Parameters by name; the arrays are changed in place."""

    @property
    def grads(self) -> Mapping[str, Array]:
        """Gradients by name; `backward` adds to the arrays."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return y, the last state, and a tape for `backward`."""

    def backward(self, *args: Any, **kwargs: Any) -> Any:
        """Add to the gradients, and return the gradients of x and of the initial state."""


# The classes below annotate attributes: they define for type checkers which values can be read and
# set. They are never instantiated.


class Part:
    """Type of an attribute that holds a layer of any class."""

    def __get__(self, layer: object, cls: Any) -> Any:
        """Return the layer."""

    def __set__(self, layer: object, value: LayerLike) -> None:
        """Set the layer."""


class Option(Generic[Value_co]):
    """Type of an attribute that can be read, but not set."""

    @overload
    def __get__(self, layer: None, cls: Any) -> Option[Value_co]: ...
    @overload
    def __get__(self, layer: object, cls: Any) -> Value_co: ...
    def __get__(self, layer: object, cls: Any) -> Any:
        """Return the value of the option."""

    def __set__(self, layer: object, value: Never) -> None:
        """Reject all values: options cannot change."""
