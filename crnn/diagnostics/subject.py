"""The model that diagnostics run: a float64 copy in evaluation mode, and its recurrent parts."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Array, as_array
from crnn.layers.base.adapted import check_one_input, named_layers
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.layer import as_dtype
from crnn.layers.base.tapes import recurrent_tapes, request_trace
from crnn.layers.compose.base import run_layer


def in_float64(layer: Any, name: str = "layer") -> Any:
    """Return a float64 copy of a layer, so that the layer itself does not change."""
    check_one_input(name, layer)
    narrow = {str(array.dtype) for array in layer.params.values()} - {"float64"}
    if narrow and not hasattr(layer, "astype"):
        raise TypeError(
            f"{name}: expected a layer of float64 parameters, or one with a method astype, got "
            f"{', '.join(sorted(narrow))} in {layer!r:.100}"
        )
    return as_dtype(copy.deepcopy(layer), "float64")


def floats_or_symbols(x: Any, name: str = "x") -> Any:
    """Return an input as an array, floats in float64; a tuple as a tuple of such arrays."""
    if x is None:
        return None
    if isinstance(x, tuple):
        return tuple(floats_or_symbols(part, f"{name}[{i}]") for i, part in enumerate(x))
    array = as_array(name, x)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def evaluation_options(lengths: Any = None, mask: Any = None, resets: Any = None) -> ForwardOptions:
    """Return the keyword arguments of a forward pass without dropout."""
    return ForwardOptions(lengths, mask, resets, training=False)


def prepare(
    layer: Any, x: Any, name: str = "layer", **options: Any
) -> tuple[Any, Any, ForwardOptions]:
    """Return a model and its input in float64, and the options: lengths, mask and resets."""
    return in_float64(layer, name), floats_or_symbols(x), evaluation_options(**options)


def tape_of(model: Any, x: Any, state: Any, options: ForwardOptions) -> Any:
    """Return the tape of a forward pass, complete also for layers with checkpoints."""
    y, _, tape = run_layer(model, x, state, options, True)
    # A layer with checkpoints computes its tapes in backward; a trace makes it keep them.
    if any(part.tape_after_backward for _, part in named_layers(model)):
        request_trace(tape)
        model.backward(tape, np.zeros_like(y))
    return tape


class RecurrentPart(NamedTuple):
    """A recurrent layer of a model, with its tapes.

    Attributes
    ----------
    place : str
        The dotted name of the layer in the model; "" if it is the whole model.
    layer : recurrent layer
    pieces : list of Tape
        Its tapes, in the order of time: one for each call of forward.
    """

    place: str
    layer: Any
    pieces: list[_core.Tape]

    @property
    def read(self) -> Array:
        """Bool array (B, T), true at the steps that were read."""
        return np.concatenate([tape.read for tape in self.pieces], axis=1)

    @property
    def title(self) -> str:
        """Name of the layer in messages: its place and its class."""
        name = type(self.layer).__name__
        return f"{self.place} ({name})" if self.place else name


def recurrent_parts(layer: Any, tape: Any) -> Iterator[RecurrentPart]:
    """Yield the recurrent layers of a model, each with its tapes."""
    layers = [
        (place, part) for place, part in named_layers(layer) if isinstance(part, _core.Recurrent)
    ]
    kept = list(recurrent_tapes(tape))
    if len(kept) != len(layers):
        expected = ", ".join(place or "itself" for place, _ in layers) or "none"
        actual = ", ".join(one.place or "itself" for one in kept) or "none"
        raise ValueError(
            f"layer: expected one whose recurrent parts ({expected}) all have a tape of crnn in "
            f"the tape of the layer, got tapes of {actual}"
        )
    for (place, part), one in zip(layers, kept, strict=True):
        yield RecurrentPart(place, part, one.tapes)
