"""Attributes of layers: defaults of those that describe a layer, and arguments of constructors.

The docstring of `crnn.Layer` explains the former. The latter are `Fixed` or `Checked`, so that a
layer never has an option that its constructor would not have accepted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Never, TypeVar, overload

#: Value of each attribute for a layer that does not set it.
DEFAULTS: dict[str, Any] = {
    "input_size": None,
    "output_size": None,
    "symbols": None,
    "keeps_features": False,
    "keeps_time": True,
    "has_state": False,
    "state_sizes": (),
    "state_depth": 1,
    "reads_backwards": False,
    "receptive_field": math.inf,
    "sequence_input": None,
    "stochastic": False,
    "answers_masked": None,
    "parts": MappingProxyType({}),
    "stages": (),
    "directions": MappingProxyType({}),
    "merge": None,
    "inner": None,
    "adds_input": False,
    "once": (),
    "tape_after_backward": False,
    "shares_weights_of": None,
    "trained_through": None,
}


T = TypeVar("T")


class _Argument(Generic[T]):
    """Argument of a constructor as an attribute. Its value is in the dictionary of the layer.

    At run time there is no `__get__`, so reading it takes no longer than another attribute.
    """

    def __set_name__(self, cls: type, name: str) -> None:
        self._name = name

    if TYPE_CHECKING:

        @overload
        def __get__(self, layer: None, cls: Any) -> Any: ...
        @overload
        def __get__(self, layer: object, cls: Any) -> T: ...
        def __get__(self, layer: object, cls: Any) -> Any: ...


class Fixed(_Argument[T]):
    """Argument that cannot be set later, because the layer was made with it.

    A constructor writes it by ``vars(self).update``.
    """

    def __set__(self, layer: object, value: Never) -> None:
        raise AttributeError(f"{self._name}: cannot be set; make a new layer with this option")


class FixedPart(_Argument[T]):
    """Layer inside that cannot be replaced, because only the arguments of the outer one are saved.

    A constructor writes it by ``vars(self).update``.
    """

    def __set__(self, layer: object, value: Never) -> None:
        raise AttributeError(
            f"{self._name}: cannot be set; write into its parameters, or make a layer of your own "
            f"of such parts"
        )


class Checked(_Argument[T]):
    """Argument that can be set at any time. Each value is checked as in the constructor.

    Parameters
    ----------
    check : callable
        ``check(name, value)`` returns the value to store, or raises an error that begins with the
        name.
    """

    def __init__(self, check: Callable[[str, Any], T]) -> None:
        self._check = check

    def __set__(self, layer: object, value: Any) -> None:
        vars(layer)[self._name] = self._check(self._name, value)


def from_inner(name: str) -> Any:
    """Return a property with the value that the attribute of this name has in `inner`."""
    return property(lambda self: getattr(self.inner, name))
