"""Layers of other makers seen as `Layer`, and all layers that a model is made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from crnn.common.arrays import Array
from crnn.layers.base.answers import DEFAULTS
from crnn.layers.base.layer import Layer, check_converted, check_layer
from crnn.layers.base.protocol import LayerLike


class Adapted(Layer):
    """A layer that is no `Layer`, seen as one: it has forward, backward, params and grads.

    Parameters
    ----------
    layer : object
        Those attributes of `Layer` that it has count; of the others the defaults do.
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
        with suppress(TypeError, ValueError):  # arrays that cannot be replaced are seen below
            for name, array in dict(self.adapted.params).items():
                self.adapted.params[name] = array.astype(dtype)
                self.adapted.grads[name] = np.zeros(array.shape, dtype)
        check_converted(self, dtype)

    def check_backward(self, tape: Any, dstate: Any) -> None:
        """Raise nothing: only the layer itself knows its tapes."""

    @property
    def param_views(self) -> dict[str, Array]:
        return dict(self.adapted.params)

    @property
    def grad_views(self) -> dict[str, Array]:
        return dict(self.adapted.grads)

    def __repr__(self) -> str:
        return repr(self.adapted)


def _answer(name: str, default: Any) -> Any:
    return property(lambda self: getattr(self.adapted, name, default))


for _name, _default in DEFAULTS.items():
    setattr(Adapted, _name, _answer(_name, _default))


def layer_of(layer: LayerLike) -> Layer:
    """A layer itself, or one of another maker seen as a `Layer`."""
    return layer if isinstance(layer, Layer) else Adapted(layer)


def class_of(layer: LayerLike) -> Any:
    """The class that has the methods of a layer."""
    return type(layer.adapted) if isinstance(layer, Adapted) else type(layer)


def check_one_input(name: str, layer: Any) -> None:
    """TypeError unless this is a layer whose forward takes one input x, as `crnn.fit` needs it."""
    if not isinstance(layer, Layer):
        check_layer(name, layer)
        layer = layer_of(layer)
    through = layer.trained_through
    if through is not None:
        raise TypeError(
            f"{name}: expected a layer that reads one input, got a {type(layer).__name__}: "
            f"wrap it in {through}"
        )


def walk(layer: LayerLike, place: str = "") -> Iterator[tuple[str, Layer]]:
    """A layer and all layers it is made of, each with its dotted place, "" for itself."""
    own = layer_of(layer)
    yield place, own
    for name, part in own.parts.items():
        yield from walk(part, inside(place, name))


def inside(place: str, name: str) -> str:
    """The dotted place of a part in a layer that has a place itself, "" for the whole."""
    return f"{place}.{name}" if place else name


def reads_backwards_itself(layer: Layer) -> bool:
    """Whether a layer reads backwards, and not because one of its parts does."""
    inside = any(part.reads_backwards for part in map(layer_of, layer.parts.values()))
    return layer.reads_backwards and not inside


def not_by_steps(layer: LayerLike) -> str | None:
    """The first part because of which a layer cannot run by steps, as words behind the layer.

    It reads backwards, or a tuple, or removes the time axis. None: there is no such part; "": it is
    the layer itself.
    """
    for place, part in reversed(list(walk(layer))):  # parts before what they are parts of
        backwards = reads_backwards_itself(part)
        several = part.sequence_input is not None and not part.stages
        if backwards or several or not part.keeps_time:
            return f", whose part {place!r} is {part!r:.100}" if place else ""
    return None
