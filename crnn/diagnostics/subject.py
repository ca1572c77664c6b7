"""What diagnostics run: a model in float64, in evaluation, and its recurrent parts by place."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Array, as_array
from crnn.layers.base.adapted import check_one_input, walk
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.layer import as_dtype
from crnn.layers.base.tapes import ask_for_trace, kept_in
from crnn.layers.compose.base import run_layer


def in_float64(layer: Any, name: str = "layer") -> Any:
    """A float64 copy of a layer; whoever looks at it changes nothing of the layer itself."""
    check_one_input(name, layer)
    narrow = {str(array.dtype) for array in layer.params.values()} - {"float64"}
    if narrow and not hasattr(layer, "astype"):
        raise TypeError(
            f"{name}: expected a layer of float64 parameters, or one with a method astype, got "
            f"{', '.join(sorted(narrow))} in {layer!r:.100}"
        )
    return as_dtype(copy.deepcopy(layer), "float64")


def floats_or_symbols(x: Any, name: str = "x") -> Any:
    """An input as arrays, floats in float64; a tuple of such arrays where it is a tuple."""
    if x is None:
        return None
    if isinstance(x, tuple):
        return tuple(floats_or_symbols(part, f"{name}[{i}]") for i, part in enumerate(x))
    array = as_array(name, x)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def evaluation(lengths: Any = None, mask: Any = None, resets: Any = None) -> ForwardOptions:
    """How a model is run: nothing is dropped."""
    return ForwardOptions(lengths, mask, resets, training=False)


def prepared(
    layer: Any, x: Any, name: str = "layer", **marks: Any
) -> tuple[Any, Any, ForwardOptions]:
    """A model and its input in float64, and how it is run; marks: lengths, mask, resets."""
    return in_float64(layer, name), floats_or_symbols(x), evaluation(**marks)


def tape_of(model: Any, x: Any, state: Any, given: ForwardOptions) -> Any:
    """What a model keeps of a run. What is checkpointed is walked back, so that it keeps all."""
    y, _, tape = run_layer(model, x, state, given, True)
    if any(part.tape_after_backward for _, part in walk(model)):
        ask_for_trace(tape)
        model.backward(tape, np.zeros_like(y))
    return tape


class Part(NamedTuple):
    """A recurrent layer of a model and what it kept.

    Attributes
    ----------
    place : str
        "" for a layer alone, else its dotted name in the model.
    layer : recurrent layer
    pieces : list of Tape
        In the order of time.
    """

    place: str
    layer: Any
    pieces: list[_core.Tape]

    @property
    def read(self) -> Array:
        """(B, T) bool: the steps that were read."""
        return np.concatenate([tape.read for tape in self.pieces], axis=1)

    @property
    def title(self) -> str:
        """What to call it in words."""
        kind = type(self.layer).__name__
        return f"{self.place} ({kind})" if self.place else kind


def parts_of(layer: Any, tape: Any) -> Iterator[Part]:
    """The recurrent layers of a model, each with what it kept on this tape."""
    own = [(place, part) for place, part in walk(layer) if isinstance(part, _core.Recurrent)]
    kept = list(kept_in(tape))
    if len(kept) != len(own):
        expected = ", ".join(place or "itself" for place, _ in own) or "none"
        found = ", ".join(one.place or "itself" for one in kept) or "none"
        raise ValueError(
            f"layer: expected one whose recurrent parts ({expected}) all keep a tape that can be "
            f"looked into, got tapes of {found}"
        )
    for (place, part), one in zip(own, kept, strict=True):
        yield Part(place, part, one.pieces)
