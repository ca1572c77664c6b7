"""Decoders whose blocks read the encoder's output as a memory, a part of their state.

A block with `memory_size` has the state (k, v, steps, memory, lengths), see
`crnn.TransformerBlock`. All blocks of a decoder read the same memory, one array.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crnn.common.arrays import Array, Lengths
from crnn.layers.base.adapted import layer_of, named_layers
from crnn.layers.compose.base import Wrapper
from crnn.layers.compose.sequential import Sequential


def memory_size(decoder: Any) -> int | None:
    """Return the number of features C of the memory of a decoder; None if it reads none.

    Raises
    ------
    ValueError
        Layers read memories of different widths, or are inside of one whose states are not known.
    """
    sizes = {_size(part) for _, part in named_layers(decoder)} - {None}
    if len(sizes) > 1:
        raise ValueError(
            f"decoder: expected layers with one memory_size, got {sorted(filter(None, sizes))} in "
            f"{decoder!r:.100}"
        )
    if sizes and with_memory(decoder, np.zeros((0, 0, 0)), None) is None:
        raise ValueError(
            "decoder: expected layers with memory_size in a Sequential or in layers around one "
            f"layer, got {decoder!r:.100}"
        )
    return next(iter(sizes), None)


def _size(layer: Any) -> int | None:
    size: int | None = getattr(layer_of(layer), "memory_size", None)
    return size


def with_memory(layer: Any, memory: Array, lengths: Lengths) -> Any:
    """Return the state of a layer that has read nothing but has a memory; None if it reads none.

    Parameters
    ----------
    layer : layer
    memory : array (B, T_s, C)
    lengths : array (B,) of integers, optional
        Number of valid steps of the memory. None: all T_s steps are valid.
    """
    if _size(layer) is not None:
        return None, None, None, memory, lengths
    if isinstance(layer, Wrapper):
        return with_memory(layer.layer, memory, lengths)
    if not isinstance(layer, Sequential):
        return None
    states = [with_memory(part, memory, lengths) for part in layer.layers]
    return None if all(state is None for state in states) else states


def memory_gradient(layer: Any, dstate: Any) -> Array | None:
    """Return the sum of the gradients of the memory in the gradient of a state; None without one.

    Parameters
    ----------
    layer : layer
    dstate : gradient of its initial state
    """
    if dstate is None:
        return None
    if _size(layer) is not None:
        return np.asarray(dstate[2])
    if isinstance(layer, Wrapper):
        return memory_gradient(layer.layer, dstate)
    total: Array | None = None
    for part, dpart in zip(getattr(layer, "layers", ()), dstate, strict=False):
        found = memory_gradient(part, dpart)
        if found is not None:
            total = found if total is None else total + found
    return total


def memory_weights(tape: Any) -> Array | None:
    """Return the weights (B, T, T_s) of the last layer with a memory; None without one.

    They are the means over the heads.

    Parameters
    ----------
    tape : tape of a decoder
    """
    if "memory_attention" in dir(tape):
        return np.asarray(tape.memory_attention.mean(axis=1))
    for part in reversed(list(getattr(tape, "parts", {}).values())):
        weights = memory_weights(part)
        if weights is not None:
            return weights
    return None
