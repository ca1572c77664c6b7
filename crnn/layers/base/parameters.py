"""Parameters and gradients by name and as one vector. Their names and shapes are fixed."""

from __future__ import annotations

from typing import Any

import numpy as np

from crnn.common.arrays import Array, as_array, fitting


def assignable(name: str, value: Any, array: Array) -> Array:
    """Return a value in the type of the array into which it will be copied.

    Raises
    ------
    TypeError
        The value does not consist of real numbers.
    ValueError
        The value has another shape than the array and is not one number, contains a number that
        the type of the array cannot represent, or the array is read-only.
    """
    values = as_array(name, value)
    if values.dtype.kind not in "fiu" or values.shape not in (array.shape, ()):
        error = ValueError if values.dtype.kind in "fiu" else TypeError
        raise error(
            f"{name}: expected real numbers of shape {array.shape}, or one number, "
            f"got {values.dtype} of shape {values.shape}"
        )
    if not array.flags.writeable:
        raise ValueError(f"{name}: expected an array that can be written, got a read-only one")
    return fitting(name, values, array.dtype)


def assign(name: str, array: Array, value: Any) -> None:
    """Copy real numbers into an array. `assignable` lists the errors."""
    if value is not array:  # `layer.params[name] -= d` assigns the array itself
        array[...] = assignable(name, value, array)


class Parameters(dict[str, Array]):
    """Arrays of a layer by name. Assigning copies the value into the array of the layer.

    A value has the shape of the array, or is one number. The names are fixed: adding or deleting a
    name raises TypeError. `update` and `|=` check all values before they write the first one.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer = crnn.RNN(3, 2, seed=0)
    >>> layer.params["W_h"] = np.eye(2)
    >>> layer.params.update(W_x=0.5, b=[1, 2])
    >>> layer.params["b"]
    array([1., 2.], dtype=float32)
    """

    def _array(self, name: Any) -> Array:
        if name not in self:
            raise TypeError(f"{name}: the names are fixed, expected one of {', '.join(self)}")
        return self[name]

    def __setitem__(self, name: str, value: Any) -> None:
        assign(name, self._array(name), value)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Copy values into the arrays of these names. If one is invalid, none is copied.

        Parameters
        ----------
        *args, **kwargs
            As for `dict.update`: a mapping of names to values, or names as keywords.
        """
        # copies: a value may be one of the arrays that are written
        values = {
            name: np.array(assignable(name, value, self._array(name)))
            for name, value in dict(*args, **kwargs).items()
        }
        for name, value in values.items():
            self[name][...] = value

    def __ior__(self, other: Any) -> Parameters:  # type: ignore[override, misc]
        self.update(other)
        return self

    def check_same(self, attribute: str, value: Any) -> None:
        """Raise AttributeError unless a value has the same arrays, as after ``params |= ...``."""
        same = isinstance(value, Parameters) and self.keys() == value.keys()
        if not same or any(
            array.ctypes.data != value[name].ctypes.data for name, array in self.items()
        ):
            raise AttributeError(
                f"{attribute}: cannot be set; assign to its entries, or use {attribute}.update"
            )

    def setdefault(self, name: str, default: Any = None) -> Array:
        """Return the array of a name, which must exist."""
        return self._array(name)

    def _refuse(self, *args: Any) -> Any:
        raise TypeError(f"the names are fixed, none can be deleted: {', '.join(self)}")

    __delitem__ = pop = popitem = clear = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return Parameters, (dict(self),)


def writable(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return unpickled attributes, with a copy of every array that cannot be written.

    Arrays are read-only if they are in a file (joblib) or in memory of others (pickle's buffers).

    Parameters
    ----------
    attributes : dict
        Arrays in it, and in dictionaries, lists and tuples inside, two levels deep, are copied. An
        array that occurs twice is copied once.
    """
    copies: dict[int, Array] = {}

    def copied(value: Any, depth: int) -> Any:
        if isinstance(value, np.ndarray):
            if type(value) is np.ndarray and value.flags.behaved:
                return value
            if id(value) not in copies:
                copies[id(value)] = np.array(value)
            return copies[id(value)]
        if not depth or type(value) not in (dict, list, tuple):
            return value
        old = list(value.values() if isinstance(value, dict) else value)
        new = [copied(part, depth - 1) for part in old]
        if all(before is after for before, after in zip(old, new, strict=True)):
            return value  # the container may occur twice, too
        return dict(zip(value, new, strict=True)) if isinstance(value, dict) else type(value)(new)

    return {name: copied(value, 2) for name, value in attributes.items()}


class WithoutBuffer:
    """Attribute `flat_params` or `flat_grads` of a composition: reading or setting it raises."""

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
    """Attribute `flat_params` or `flat_grads` of a layer without parameters: an empty vector."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, layer: Any, owner: Any = None) -> Any:
        return self if layer is None else np.empty(0, np.float32)

    def __set__(self, layer: Any, value: Any) -> None:
        assign(self._name, np.empty(0, np.float32), value)
