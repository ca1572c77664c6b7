"""Which layer holds each parameter of a model."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import crnn._core as _core
from crnn.common.arrays import Array, memory_key
from crnn.layers.base.adapted import Adapted, layer_of, named_layers
from crnn.layers.base.layer import Layer


def first_names(params: Mapping[str, Array]) -> dict[str, str]:
    """Return the first name of each parameter by any of its names.

    A parameter has several names where a model uses one layer, or its weights, in two places.
    """
    first: dict[tuple[int, tuple[int, ...]], str] = {}
    return {name: first.setdefault(memory_key(array), name) for name, array in params.items()}


class Owner(NamedTuple):
    """The layer that holds a parameter, and the name of the parameter in that layer."""

    layer: Callable[[], Any]  # returns None after the layer was deleted
    name: str


def owners_of(model: Any, params: Mapping[str, Array]) -> dict[str, Owner]:
    """Return the innermost layer that holds each of these parameters of a model."""
    owners = {
        memory_key(array): Owner(strong_reference(model), name) for name, array in params.items()
    }
    for _, part in named_layers(model):
        for name, array in part.params.items():
            owners[memory_key(array)] = Owner(strong_reference(part), name)
    return {name: owners[memory_key(array)] for name, array in params.items()}


def strong_reference(layer: Any) -> Callable[[], Any]:
    """Return a function that returns a layer and keeps it alive."""
    return itertools.repeat(layer).__next__


def weak_reference(layer: Any) -> Callable[[], Any]:
    """Return a function that returns a layer, or None after the layer was deleted.

    Of an object that is wrapped, a model holds the object alone: it is wrapped again.
    """
    if isinstance(layer, Adapted):
        wrapped = weak_reference(layer.adapted)
        return lambda: None if (found := wrapped()) is None else Adapted(found)
    try:
        return weakref.ref(layer)
    except TypeError:  # None, or a class that does not support weak references
        return strong_reference(layer)


def check_ties(model: Any) -> None:
    """Raise ValueError if a layer shares the weights of a layer outside of the model.

    The shared weights would not be trained.
    """
    parts = [part for _, part in named_layers(model)]
    for part in parts:
        shared = part.shares_weights_of
        if shared is not None and not any(shared is other for other in parts):
            raise ValueError(
                f"model: expected the embedding that {type(part).__name__} shares its weights with "
                f"to be a layer of the model, got {shared!r} outside of it"
            )


def addresses(params: Mapping[str, Array]) -> dict[str, int]:
    """Return the memory address of each array that is not empty, by name."""
    return {name: array.ctypes.data for name, array in params.items() if array.size}


def layout_of(model: Any) -> tuple[list[Any], list[Any]]:
    """Return the layers of a model, and a list that changes whenever its parameters are replaced.

    The list has the identities of the layers and of their parameter buffers, for layers of other
    packages the addresses of their arrays, and whether each layer is frozen. The optimizer keeps
    the layers alive, so that Python does not reuse an identity.
    """
    parts, remaining = [], [model if isinstance(model, Layer) else layer_of(model)]
    marks: list[Any] = []
    while remaining:
        part = remaining.pop()
        parts.append(part)
        marks.append(part._frozen)
        if inside := part.parts:
            remaining += inside.values()
        if (flat := part.__dict__.get("_flat")) is not None:
            marks.append(id(flat.params))
        elif isinstance(part, _core.Recurrent):
            marks.append(id(part.flat_params))
        if not type(part).__module__.startswith("crnn."):
            marks.append(addresses(part.params))
    return parts, [*map(id, parts), *marks]
