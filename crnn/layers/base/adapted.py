"""Objects with the methods of a layer, wrapped as `Layer`; and the layers inside a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from crnn.common.arrays import Array
from crnn.common.representation import never_raising
from crnn.layers.base.attributes import DEFAULTS
from crnn.layers.base.layer import Layer, check_converted, check_layer
from crnn.layers.base.protocol import LayerLike
from crnn.layers.base.trainable import is_trainable


class Adapted(Layer):
    """Wrapper that makes a `Layer` of an object with forward, backward, params and grads.

    Parameters
    ----------
    layer : object
        The object. Attributes of `Layer` that it does not have get the defaults of `Layer`.
    """

    def __init__(self, layer: LayerLike) -> None:
        self.adapted: Any = layer
        for name in {"stream", "check_backward"}.intersection(dir(layer)):
            vars(self)[name] = getattr(layer, name)

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Array, Any, Any]:
        y, state, tape = self.adapted.forward(*args, **kwargs)
        return y, state, tape

    def backward(self, *args: Any, **kwargs: Any) -> Any:
        return self.adapted.backward(*args, **kwargs)

    def __call__(self, x: Any, state: Any = None, **steps: Any) -> tuple[Any, Any]:
        if callable(self.adapted):
            y, after = self.adapted(x, state, **steps)
        else:
            y, after, _ = self.forward(x, state, training=False, **steps)
        return y, after

    def _convert(self, dtype: np.dtype[Any]) -> None:
        with suppress(TypeError, ValueError):  # check_converted finds arrays that were not replaced
            for name, array in dict(self.adapted.params).items():
                self.adapted.params[name] = array.astype(dtype)
                self.adapted.grads[name] = np.zeros(array.shape, dtype)
        check_converted(self, dtype)

    @property
    def trainable(self) -> bool:
        """The attribute `trainable` of the wrapped object; True if it has none."""
        return is_trainable(self.adapted)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self.adapted.trainable = value

    @property
    def _frozen(self) -> bool:  # type: ignore[override]
        return not self.trainable

    def check_backward(self, tape: Any, dstate: Any) -> None:
        """Raise nothing: the form of the tapes of the wrapped object is not known."""

    @property
    def param_views(self) -> dict[str, Array]:
        return dict(self.adapted.params)

    @property
    def grad_views(self) -> dict[str, Array]:
        return dict(self.adapted.grads)

    @never_raising
    def __repr__(self) -> str:
        return repr(self.adapted)


def _attribute(name: str, default: Any) -> Any:
    """Return a property with the value of the wrapped object, or the default."""
    return property(lambda self: getattr(self.adapted, name, default))


for _name, _default in DEFAULTS.items():
    setattr(Adapted, _name, _attribute(_name, _default))


def layer_of(layer: LayerLike) -> Layer:
    """Return a `Layer` unchanged, and any other object with its methods in an `Adapted`."""
    return layer if isinstance(layer, Layer) else Adapted(layer)


def class_of(layer: LayerLike) -> Any:
    """Return the class of a layer, or of the object that `Adapted` wraps."""
    return type(layer.adapted) if isinstance(layer, Adapted) else type(layer)


def check_one_input(name: str, layer: Any) -> None:
    """Raise TypeError unless this is a layer whose forward takes one input x, as `fit` needs it."""
    if not isinstance(layer, Layer):
        check_layer(name, layer)
        layer = layer_of(layer)
    wrapper = layer.trained_through
    if wrapper is not None:
        raise TypeError(
            f"{name}: expected a layer that reads one input, got a {type(layer).__name__}: "
            f"wrap it in {wrapper}"
        )


def named_layers(layer: LayerLike, place: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield a layer and all layers inside, with their dotted names; "" for the layer itself."""
    whole = layer_of(layer)
    yield place, whole
    for name, part in whole.parts.items():
        yield from named_layers(part, dotted_name(place, name))


def _flagged_layers(model: LayerLike) -> dict[str, Layer]:
    """Return the layers of a model that have a flag of their own, by their dotted names."""
    return {
        name: layer
        for name, layer in named_layers(model)
        if not layer.parts or layer._holds_parameters()
    }


def frozen_names(model: LayerLike) -> list[str]:
    """Return the dotted names of the layers of a model that are frozen, without compositions."""
    return [name for name, layer in _flagged_layers(model).items() if layer._frozen]


def freeze_named(model: LayerLike, names: Any) -> None:
    """Freeze the layers with these dotted names, and make the others trainable.

    Raises
    ------
    ValueError
        `names` is no list of names of layers that the model has. Nothing is changed then.
    """
    layers = _flagged_layers(model)
    if not isinstance(names, list) or not all(
        isinstance(name, str) and name in layers for name in names
    ):
        raise ValueError(f"frozen: expected names of layers of the model, got {names!r:.200}")
    for name, layer in layers.items():
        if isinstance(layer, Adapted):
            if layer.trainable is (name in names):
                layer.trainable = name not in names
        else:
            layer._frozen = name in names


def dotted_name(place: str, name: str) -> str:
    """Return the dotted name of a part, from the name of its layer ("" for a whole model)."""
    return f"{place}.{name}" if place else name


def reads_backwards_itself(layer: Layer) -> bool:
    """Return whether a layer reads backwards although none of its parts does."""
    parts_do = any(part.reads_backwards for part in map(layer_of, layer.parts.values()))
    return layer.reads_backwards and not parts_do


def stepwise_obstacle(layer: LayerLike) -> str | None:
    """Return text that names the part because of which a layer cannot run step by step.

    Such a part reads backwards, reads a tuple, or removes the time axis. The text continues a
    message that ends with the layer. It is "" if the layer itself is the reason. None: the layer
    can run step by step.
    """
    for place, part in reversed(list(named_layers(layer))):  # innermost parts first
        backwards = reads_backwards_itself(part)
        reads_tuple = part.sequence_input is not None and not part.stages
        if backwards or reads_tuple or not part.keeps_time:
            return f", whose part {place!r} is {part!r:.100}" if place else ""
    return None
