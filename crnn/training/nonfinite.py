"""Where numbers stopped being finite: the layer is named, so that one knows where to look."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from crnn.common.arrays import first_nonfinite
from crnn.common.checks import steps_there
from crnn.common.nested import named_arrays
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.layer import Layer
from crnn.layers.compose.base import Runner, run_layer
from crnn.training.windows import Item


def locate_nonfinite_forward(model: Any, item: Item, state: Any, options: Mapping[str, Any]) -> str:
    """Say where the first number that is not finite comes from, on the way forward.

    Parameters
    ----------
    model : layer
    item : Item
        What it was run on, layer by layer again now.
    state : state
        From which.
    options : mapping
        What else forward was told.
    """
    inputs = item.x if isinstance(item.x, tuple) else (item.x,)
    if not all(_finite_where_read(x, item) for x in inputs):
        return "the input x is not finite"
    found, _ = _walk("", layer_of(model), item.x, state, ForwardOptions(**options))
    if found:
        return found
    if not _finite_where_read(item.target, item._replace(mask=None)):
        return "the target is not finite"
    return "the model's output is finite: it is the loss itself"


def locate_nonfinite_backward(model: Any) -> str | None:
    """Say which gradient was the first that is not finite, on the way back; None if all are."""
    found = first_nonfinite(reversed(list(model.grads.items())))
    if found is None:
        return None
    prefix, layer = "", layer_of(model)
    *path, _ = found.name.split(".")
    for part in path:
        if part not in layer.parts:
            break
        prefix, layer = f"{prefix}.{part}" if prefix else part, layer.parts[part]
    return f"the gradient of {found.name} of {_named(prefix, layer)} is {found.number}"


def _finite_where_read(array: Any, item: Item) -> bool:
    """Whether an array of an item is finite at the steps that are read: others may hold anything.

    It has the item's steps where its first axes are (B, T) of x.
    """
    steps = item.shape[:2]
    if np.shape(array)[:2] == steps and len(steps) == 2:
        array = np.asarray(array)[steps_there(item.lengths, item.mask, steps)]
    return _finite(array)


def _walk(
    name: str, layer: Layer, x: Any, state: Any, given: ForwardOptions
) -> tuple[str | None, Any]:
    """Return what is wrong in a layer or None, and its output."""
    if layer.stages:
        states = [None] * len(layer.stages) if state is None else state
        for i, (inner, before) in enumerate(zip(layer.stages, states, strict=True)):
            place = f"{name}.{i}" if name else str(i)
            found, x = _walk(place, inner, x, before, given.for_part(i))
            if found:
                return found, x
            given = Runner(inner).options_after(given)
        return None, x
    if wrong := first_nonfinite(layer.params.items()):
        return f"the parameter {wrong.name} of {_named(name, layer)} is not finite", x
    y, after, _ = run_layer(layer, x, state, given, True)
    if not (_finite(y) and _finite(after)):
        return f"the output of {_named(name, layer)} is not finite", y
    return None, y


def _named(name: str, layer: Any) -> str:
    return f"layer {name}, {layer!r}" if name else f"the model, {layer!r}"


def _finite(value: Any) -> bool:
    """Whether all floats in a nesting of arrays are finite."""
    return first_nonfinite(named_arrays(value)) is None
