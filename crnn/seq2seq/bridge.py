"""From the encoder's last state to the decoder's first: as it is, or through one learned map."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from crnn.common.arrays import Array
from crnn.common.nested import arrays_of, filled
from crnn.layers.pointwise.dense import Dense


class BridgeTape(NamedTuple):
    """What the way back needs: the encoder's state, for its form, and the tape of the map."""

    state: Any
    tape: Any


def widths_of(state: Any) -> list[int]:
    """How many numbers each array (B, ...) of a state has for a row."""
    return [int(np.prod(part.shape[1:])) for part in arrays_of(state)]


def bridge_sizes(given: list[int], wanted: list[int]) -> tuple[int, int] | None:
    """Input and output of the map from states of some widths to others; None: none is needed."""
    return None if not given or given == wanted else (sum(given), sum(wanted))


def bridge_for(state: Any, start: Any, **options: Any) -> Dense | None:
    """The map from states like `state` to states like `start`, where one is needed.

    Without a state there is nothing to map; arrays of the same number and the same widths are
    handed over as they are, in their order.
    """
    sizes = bridge_sizes(widths_of(state), widths_of(start))
    return None if sizes is None else Dense(*sizes, **options)


def cross(bridge: Dense | None, state: Any, like: Any) -> tuple[Any, BridgeTape]:
    """The decoder's first state, in the form of `like`, and a tape."""
    if bridge is None:
        if isinstance(state, np.ndarray) and isinstance(like, np.ndarray):
            return state.reshape(len(state), *like.shape[1:]), BridgeTape(state, None)
        return formed(like, arrays_of(state)), BridgeTape(state, None)
    mapped, _, tape = bridge.forward(side_by_side(state))
    return formed(like, split_like(mapped, like)), BridgeTape(state, tape)


def cross_back(bridge: Dense | None, tape: BridgeTape, dstart: Any) -> Any:
    """The gradient of the encoder's state; adds to those of the map."""
    if bridge is None:
        return formed(tape.state, arrays_of(dstart))
    flat, _ = bridge.backward(tape.tape, side_by_side(dstart))
    assert flat is not None
    return formed(tape.state, split_like(flat, tape.state))


def side_by_side(state: Any) -> Array:
    """The arrays of a state as one, (B, sum of the widths)."""
    pairs = zip(arrays_of(state), widths_of(state), strict=True)
    return np.concatenate([part.reshape(len(part), width) for part, width in pairs], axis=1)


def split_like(flat: Array, like: Any) -> list[Array]:
    """Arrays as wide as those of a state, which lie side by side in `flat`."""
    return np.split(flat, np.cumsum(widths_of(like))[:-1], axis=1)


def formed(like: Any, arrays: list[Array]) -> Any:
    """A state like another, with these arrays, as many rows as they have."""
    pairs = zip(arrays, arrays_of(like), strict=True)
    return filled(like, [part.reshape(len(part), *twin.shape[1:]) for part, twin in pairs])


def last_h(state: Any) -> Array:
    """h of the last layer that has a state, (B, P): of (h, c) the first."""
    if isinstance(state, list):
        return last_h([part for part in state if arrays_of(part)][-1])
    return arrays_of(state)[0]
