"""The types of layers as arguments: layers of crnn, and objects with the same methods."""

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
        """Parameters by name; the arrays are edited in place."""

    @property
    def grads(self) -> Mapping[str, Array]:
        """Gradients by name; `backward` adds to the arrays."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return y, the state and a tape."""

    def backward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the gradients at x and at the state; add to `grads`."""


# The classes below are types of attributes, for annotations in classes: they describe to type
# checkers what may be read and set. None is instantiated.


class Part:
    """The type of an attribute that holds a layer: any layer can be set; its class is not known."""

    def __get__(self, layer: object, cls: Any) -> Any:
        """Return the layer, whose attributes are those of its class."""

    def __set__(self, layer: object, value: LayerLike) -> None:
        """Set the layer."""


class Option(Generic[Value_co]):
    """The type of an attribute that can be read and not set."""

    @overload
    def __get__(self, layer: None, cls: Any) -> Option[Value_co]: ...
    @overload
    def __get__(self, layer: object, cls: Any) -> Value_co: ...
    def __get__(self, layer: object, cls: Any) -> Any:
        """Return the value of an instance."""

    def __set__(self, layer: object, value: Never) -> None:
        """Accept no value: options are fixed."""
