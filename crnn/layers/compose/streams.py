"""Compositions one step at a time, made of the streams of their parts.

Each has what the stream of a recurrent layer has: ``step(x) -> y``, ``state``, ``reset(rows)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from crnn.common.arrays import Array
from crnn.common.nested import states_of
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.places import add_place, shown


def stream_of(layer: Any, batch_size: int, state: Any) -> Any:
    """The stream of any layer.

    Raises
    ------
    ValueError
        If the layer cannot run step by step: it reads from the end, or pools.
    """
    own = layer_of(layer)
    own.check_steps_forward()
    return own.stream(batch_size, state)


class SequentialStream:
    """The streams of the layers of a Sequential; the state is the list of theirs."""

    def __init__(self, owner: Any, batch_size: int, states: Sequence[Any]) -> None:
        self._owner, self._streams = owner, list[Any]()
        for i, layer in enumerate(owner.layers):
            try:
                self._streams.append(stream_of(layer, batch_size, states[i]))
            except Exception as error:
                add_place(error, owner, i)
                raise

    def __repr__(self) -> str:
        return f"<SequentialStream of {', '.join(map(shown, vars(self).get('_streams', [])))}>"

    @property
    def state(self) -> list[Any]:
        """The states of all layers; may be assigned, None for zeros."""
        return [stream.state for stream in self._streams]

    @state.setter
    def state(self, value: Any) -> None:
        states, before = states_of("state", value, len(self._streams)), self.state
        for i, stream in enumerate(self._streams):
            try:
                stream.state = states[i]
            except Exception as error:
                for k in range(i):
                    self._streams[k].state = before[k]
                add_place(error, self._owner, i)
                raise

    def step(self, x: Any, /) -> Array:
        """y of one step, (B, ...), from x (B, ...); the state moves on."""
        for i, stream in enumerate(self._streams):
            try:
                x = stream.step(x)
            except Exception as error:
                add_place(error, self._owner, i)
                raise
        return np.asarray(x)

    def reset(self, rows: Any = None) -> None:
        """State zero for these rows, or for all."""
        for stream in self._streams:
            stream.reset(rows)


class ResidualStream:
    """The stream of the layer of a Residual, with `add(x, y)` in place of the y that it gives."""

    def __init__(self, owner: Any, add: Callable[[Any, Any], Array], batch_size: int, state: Any):
        self._owner, self._add = owner, add
        try:
            self._stream = stream_of(owner.layer, batch_size, state)
        except Exception as error:
            add_place(error, owner, "layer")
            raise

    def __repr__(self) -> str:
        return f"<ResidualStream of {shown(vars(self).get('_stream'))}>"

    @property
    def state(self) -> Any:
        """The state of the layer; may be assigned, None for zeros."""
        return self._stream.state

    @state.setter
    def state(self, value: Any) -> None:
        try:
            self._stream.state = value
        except Exception as error:
            add_place(error, self._owner, "layer")
            raise

    def step(self, x: Any, /) -> Array:
        """x + y, (B, F)."""
        try:
            y = self._stream.step(x)
        except Exception as error:
            add_place(error, self._owner, "layer")
            raise
        return self._add(x, y)

    def reset(self, rows: Any = None) -> None:
        """State zero for these rows, or for all."""
        self._stream.reset(rows)
