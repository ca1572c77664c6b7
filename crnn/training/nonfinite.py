"""Numbers that are infinite or NaN: checks of data, and the layer in which one first occurred."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import first_nonfinite
from crnn.common.checks import steps_there
from crnn.common.nested import named_arrays
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.layer import Layer
from crnn.layers.compose.base import Runner, run_layer
from crnn.training.windows import Item

#: Function from a name, a row and a step (None: the array has no time axis) to the name and the
#: place of a number in a message.
Located = Callable[[str, int, int | None], tuple[str, str]]


def in_row(name: str, row: int, step: int | None) -> tuple[str, str]:
    """Return the name and the place of a number in an array of rows; see `Located`."""
    return name, f"in row {row}" + ("" if step is None else f" at step {step}")


def shifted(located: Located, row: int, step: int) -> Located:
    """Return `Located` for a window whose first row and step have these numbers."""
    return lambda name, r, t: located(name, row + r, None if t is None else step + t)


def steps_read(item: Item) -> NDArray[np.bool_] | None:
    """Return the steps (B, T) of an item that are read; None for an item without a time axis."""
    if len(item.shape) < 2 or (item.lengths is None and item.mask is None):
        return None
    return steps_there(item.lengths, item.mask, item.shape)


def check_finite(name: str, x: Any, read: NDArray[np.bool_] | None, located: Located) -> None:
    """Raise ValueError if a float at a step that is read is not finite.

    Parameters
    ----------
    name : str
    x : array (B, T, F) or (B, F); others have no floats
    read : booleans (B, T), or None
        None: all steps.
    located : callable
        See `Located`.
    """
    array = np.asarray(x)
    if array.dtype.kind != "f":
        return
    wrong = ~np.isfinite(array)
    if read is not None and array.ndim > 2 and read.shape == array.shape[:2]:
        wrong = wrong & read[..., None]
    if wrong.any():
        index = tuple(np.argwhere(wrong)[0])
        step = int(index[1]) if array.ndim > 2 else None
        shown, where = located(name, int(index[0]), step)
        raise ValueError(
            f"{shown}: expected finite numbers at the steps that are read, got {array[index]} "
            f"{where}"
        )


def locate_nonfinite_forward(model: Any, item: Item, state: Any, options: Mapping[str, Any]) -> str:
    """Return the origin of the first number that is not finite in a forward pass, as text.

    The forward pass is repeated layer by layer.

    Parameters
    ----------
    model : layer
    item : Item
        Input and target of the forward pass.
    state : state
        The initial state.
    options : mapping
        The other keyword arguments of the forward pass.
    """
    inputs = item.x if isinstance(item.x, tuple) else (item.x,)
    if not all(_is_finite_where_read(x, item) for x in inputs):
        return "the input x is not finite"
    origin, _ = _forward_origin("", layer_of(model), item.x, state, ForwardOptions(**options))
    if origin:
        return origin
    if not _is_finite_where_read(item.target, item._replace(mask=None)):
        return "the target is not finite"
    return "the model's output is finite: it is the loss itself"


def locate_nonfinite_backward(model: Any) -> str | None:
    """Return the first gradient of the backward pass that is not finite, as text, or None."""
    first = first_nonfinite(reversed(list(layer_of(model)._trained_grads.items())))
    if first is None:
        return None
    prefix, layer = "", layer_of(model)
    *path, _ = first.name.split(".")
    for part in path:
        if part not in layer.parts:
            break
        prefix, layer = f"{prefix}.{part}" if prefix else part, layer.parts[part]
    return f"the gradient of {first.name} of {_layer_text(prefix, layer)} is {first.number}"


def _is_finite_where_read(array: Any, item: Item) -> bool:
    """Return whether an array of an item is finite at the steps that are read.

    The array has the steps of the item if its first axes are (B, T) of x.
    """
    steps = item.shape[:2]
    if np.shape(array)[:2] == steps and len(steps) == 2:
        array = np.asarray(array)[steps_there(item.lengths, item.mask, steps)]
    return _is_finite(array)


def _forward_origin(
    name: str, layer: Layer, x: Any, state: Any, options: ForwardOptions
) -> tuple[str | None, Any]:
    """Return the origin of a number that is not finite in a layer, or None, and its output."""
    if layer.stages:
        states = [None] * len(layer.stages) if state is None else state
        for i, (inner, before) in enumerate(zip(layer.stages, states, strict=True)):
            inner_name = f"{name}.{i}" if name else str(i)
            origin, x = _forward_origin(inner_name, inner, x, before, options.for_part(i))
            if origin:
                return origin, x
            options = Runner(inner).options_after(options)
        return None, x
    if first := first_nonfinite(layer.params.items()):
        return f"the parameter {first.name} of {_layer_text(name, layer)} is not finite", x
    y, after, _ = run_layer(layer, x, state, options, True)
    if not (_is_finite(y) and _is_finite(after)):
        return f"the output of {_layer_text(name, layer)} is not finite", y
    return None, y


def _layer_text(name: str, layer: Any) -> str:
    return f"layer {name}, {layer!r}" if name else f"the model, {layer!r}"


def _is_finite(value: Any) -> bool:
    """Return whether all floats in nested arrays are finite."""
    return first_nonfinite(named_arrays(value)) is None
