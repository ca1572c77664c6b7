"""Parameters and gradients as a mapping and as one buffer, whose names and shapes are fixed."""

from __future__ import annotations

from typing import Any

import numpy as np

from crnn.common.arrays import Array, as_array, fitting


def assignable(name: str, value: Any, array: Array) -> Array:
    """A value of the type of an array that it is to be copied into.

    Raises
    ------
    TypeError
        If it is not made of real numbers.
    ValueError
        If it has neither the shape of the array nor is one number, has a number beyond the type of
        the array, or the array cannot be written.
    """
    given = as_array(name, value)
    if given.dtype.kind not in "fiu" or given.shape not in (array.shape, ()):
        kind = ValueError if given.dtype.kind in "fiu" else TypeError
        raise kind(
            f"{name}: expected real numbers of shape {array.shape}, or one number, "
            f"got {given.dtype} of shape {given.shape}"
        )
    if not array.flags.writeable:
        raise ValueError(f"{name}: expected an array that can be written, got a read-only one")
    return fitting(name, given, array.dtype)


def assign(name: str, array: Array, value: Any) -> None:
    """Copy real numbers into an array; see `assignable`."""
    if value is not array:  # as after `-=`
        array[...] = assignable(name, value, array)


class Parameters(dict[str, Array]):
    """Arrays by name. Assigning copies into the array that the layer computes with.

    A value has the shape of the array, or is one number. The names are fixed: to add or to delete
    one is a TypeError. `update` and `|=` check all values before they write any.

    Examples
    --------
    >>> layer.params["b"] = 0.0            # doctest: +SKIP
    >>> layer.params["W_h"] = np.eye(4)    # doctest: +SKIP
    >>> layer.params.update(W_x=W_x, b=b)  # doctest: +SKIP
    """

    def _own(self, name: Any) -> Array:
        if name not in self:
            raise TypeError(f"{name}: the names are fixed, expected one of {', '.join(self)}")
        return self[name]

    def __setitem__(self, name: str, value: Any) -> None:
        assign(name, self._own(name), value)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Copy values into the arrays of these names, all or none."""
        given = dict(*args, **kwargs)
        # copies: a value may be one of the arrays that are written
        values = {
            name: np.array(assignable(name, value, self._own(name)))
            for name, value in given.items()
        }
        for name, value in values.items():
            self[name][...] = value

    def __ior__(self, other: Any) -> Parameters:  # type: ignore[override, misc]
        self.update(other)
        return self

    def check_same(self, attribute: str, value: Any) -> None:
        """AttributeError unless a value has these very arrays, as after ``layer.params |= ...``."""
        same = isinstance(value, Parameters) and self.keys() == value.keys()
        if not same or any(
            array.ctypes.data != value[name].ctypes.data for name, array in self.items()
        ):
            raise AttributeError(
                f"{attribute}: cannot be set; assign to its entries, or use {attribute}.update"
            )

    def setdefault(self, name: str, default: Any = None) -> Array:
        """The array of a name that is there."""
        return self._own(name)

    def _refuse(self, *args: Any) -> Any:
        raise TypeError(f"the names are fixed, none can be deleted: {', '.join(self)}")

    __delitem__ = pop = popitem = clear = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return Parameters, (dict(self),)


def writable(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes that were unpickled, with every array that cannot be written copied.

    Arrays are read-only where they lie in a file (joblib) or in foreign memory (pickle's buffers).

    Parameters
    ----------
    attributes : dict
        Arrays are found in it, and in dictionaries, lists and tuples inside, two levels deep. The
        same array in two places is one copy.
    """
    copies: dict[int, Array] = {}

    def own(value: Any, depth: int) -> Any:
        if isinstance(value, np.ndarray):
            if type(value) is np.ndarray and value.flags.behaved:
                return value
            if id(value) not in copies:
                copies[id(value)] = np.array(value)
            return copies[id(value)]
        if not depth or type(value) not in (dict, list, tuple):
            return value
        old = list(value.values() if isinstance(value, dict) else value)
        new = [own(part, depth - 1) for part in old]
        if all(one is other for one, other in zip(old, new, strict=True)):
            return value  # also the container may be in two places
        return dict(zip(value, new, strict=True)) if isinstance(value, dict) else type(value)(new)

    return {name: own(value, 2) for name, value in attributes.items()}


class WithoutBuffer:
    """The attribute `flat_params` or `flat_grads` of a composition, which has no such buffer."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, layer: Any, owner: Any = None) -> Any:
        if layer is None:
            return self
        self._refuse(layer)

    def __set__(self, layer: Any, value: Any) -> None:
        self._refuse(layer)

    def _refuse(self, layer: Any) -> None:
        raise AttributeError(
            f"{self._name}: {type(layer).__name__} is a composition and has no buffer of its own; "
            f"use {self._name} of its parts ({', '.join(layer.parts)}) or, by name, "
            f"{self._name.removeprefix('flat_')}"
        )


class EmptyBuffer:
    """The attribute `flat_params` or `flat_grads` of a layer without parameters."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, layer: Any, owner: Any = None) -> Any:
        return self if layer is None else np.empty(0, np.float32)

    def __set__(self, layer: Any, value: Any) -> None:
        assign(self._name, np.empty(0, np.float32), value)
