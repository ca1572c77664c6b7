"""Bridge: computes the decoder's initial state from the encoder's last state.

Where the two states have the same number of arrays with the same widths, the state is passed on
unchanged. Otherwise one learned linear map, the bridge, converts it. A state that counts steps,
such as the cache of self-attention, is neither handed on nor computed from another state: the
decoder then begins with its own initial state.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from crnn.common.arrays import Array
from crnn.common.nested import arrays_of, counts_steps, filled
from crnn.layers.pointwise.dense import Dense


class BridgeTape(NamedTuple):
    """Values that `bridge_backward` needs."""

    state: Any  # the encoder's last state, for its structure and shapes
    tape: Any  # the tape of the linear map, None without one


def state_widths(state: Any) -> list[int]:
    """Return the number of values per row of each array (B, ...) of a state: P, or D*P."""
    return [int(np.prod(part.shape[1:])) for part in arrays_of(state)]


def handed_on(state: Any) -> Any:
    """Return a state, or None if it counts steps."""
    return None if counts_steps(state) else state


def bridge_sizes(encoder_widths: list[int], decoder_widths: list[int]) -> tuple[int, int] | None:
    """Return the input and output size of the linear map, or None where no map is needed."""
    if not encoder_widths or not decoder_widths or encoder_widths == decoder_widths:
        return None
    return sum(encoder_widths), sum(decoder_widths)


def bridge_for(state: Any, start: Any, **options: Any) -> Dense | None:
    """Return the linear map from states like `state` to states like `start`, or None.

    None where no map is needed: `state` has no arrays, or both states have the same number of
    arrays with the same widths.
    """
    sizes = bridge_sizes(state_widths(handed_on(state)), state_widths(handed_on(start)))
    return None if sizes is None else Dense(*sizes, **options)


def bridge_forward(bridge: Dense | None, state: Any, like: Any) -> tuple[Any, BridgeTape]:
    """Return the decoder's initial state, with the structure of `like`, and a tape."""
    if bridge is None:
        if isinstance(state, np.ndarray) and isinstance(like, np.ndarray):
            return state.reshape(len(state), *like.shape[1:]), BridgeTape(state, None)
        return state_from_arrays(like, arrays_of(state)), BridgeTape(state, None)
    mapped, _, tape = bridge.forward(concatenated(state))
    return state_from_arrays(like, split_like(mapped, like)), BridgeTape(state, tape)


def bridge_backward(bridge: Dense | None, tape: BridgeTape, dstart: Any) -> Any:
    """Return the gradient at the encoder's last state; add to the gradients of the bridge."""
    if bridge is None:
        return state_from_arrays(tape.state, arrays_of(dstart))
    flat, _ = bridge.backward(tape.tape, concatenated(dstart))
    assert flat is not None
    return state_from_arrays(tape.state, split_like(flat, tape.state))


def concatenated(state: Any) -> Array:
    """Return the arrays of a state concatenated to one array (B, sum of the widths)."""
    pairs = zip(arrays_of(state), state_widths(state), strict=True)
    return np.concatenate([part.reshape(len(part), width) for part, width in pairs], axis=1)


def split_like(flat: Array, like: Any) -> list[Array]:
    """Split the columns of `flat` into arrays with the widths of the state `like`."""
    return np.split(flat, np.cumsum(state_widths(like))[:-1], axis=1)


def state_from_arrays(like: Any, arrays: list[Array]) -> Any:
    """Return a state of these arrays, with the structure of `like` and any number of rows."""
    pairs = zip(arrays, arrays_of(like), strict=True)
    return filled(like, [part.reshape(len(part), *old.shape[1:]) for part, old in pairs])


def last_h(state: Any) -> Array:
    """Return h (B, P) of the last layer that has a state; of a state (h, c) the first array.

    Of a layer with delays, whose h is (B, D, P), it is that of the last step.
    """
    h = _array_of_h(state)
    return h[:, -1] if h.ndim == 3 else h


def add_to_last_h(dstate: Any, dh: Array) -> Any:
    """Return a gradient of a state, to which that of `last_h` is added."""
    h = _array_of_h(dstate)
    total = h.copy()
    last_h(total)[...] += dh
    return filled(dstate, [total if part is h else part for part in arrays_of(dstate)])


def _array_of_h(state: Any) -> Array:
    if isinstance(state, list):
        return _array_of_h([part for part in state if arrays_of(part)][-1])
    return arrays_of(state)[0]
