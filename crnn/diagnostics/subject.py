"""What diagnostics run: a model in float64, in evaluation, and its recurrent parts by place."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from crnn import _core
from crnn.layers.base import Array, as_array, as_dtype, check_layer
from crnn.layers.options import Given, walk
from crnn.layers.tapes import kept_in


def in_float64(layer: Any) -> Any:
    """A float64 copy of a layer; whoever looks at it changes nothing of the layer itself."""
    through = getattr(layer, "trained_through", None)
    if through is not None:
        raise TypeError(
            f"layer: expected a layer that reads one input, got a {type(layer).__name__}: "
            f"wrap it in {through}"
        )
    check_layer("layer", layer)
    return as_dtype(copy.deepcopy(layer), "float64")


def floats_or_symbols(x: Any, name: str = "x") -> Any:
    """An input as arrays, floats in float64; a tuple of such arrays where it is a tuple."""
    if isinstance(x, tuple):
        return tuple(floats_or_symbols(part, f"{name}[{i}]") for i, part in enumerate(x))
    array = as_array(name, x)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def evaluation(lengths: Any = None, mask: Any = None, resets: Any = None) -> Given:
    """How a model is run: nothing is dropped."""
    return Given(lengths, mask, resets, training=False)


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
        raise ValueError(
            f"layer: expected one whose recurrent parts, {', '.join(p for p, _ in own) or 'none'}, "
            f"all keep a tape that can be looked into, got tapes of "
            f"{', '.join(one.place for one in kept) or 'none'}"
        )
    for (place, part), one in zip(own, kept, strict=True):
        yield Part(place, part, one.pieces)
