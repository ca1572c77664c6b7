"""Streams of compositions, which run the streams of the parts.

They have the methods of the stream of a recurrent layer: ``step(x)``, ``state``, ``reset(rows)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from crnn.common.arrays import Array
from crnn.common.nested import states_of
from crnn.common.representation import never_raising
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.places import add_place, shown


def stream_of(layer: Any, batch_size: int, state: Any) -> Any:
    """Return a stream of any layer.

    Raises
    ------
    ValueError
        The layer cannot run step by step: it reads backwards, or removes the time axis.
    """
    adapted = layer_of(layer)
    stream = adapted._core_stream(batch_size, state)
    if stream is None:
        adapted.check_steps_forward()
        stream = adapted.stream(batch_size, state)
    return stream


class SequentialStream:
    """Stream of a Sequential: the streams of its layers. The state is the list of their states.

    Parameters
    ----------
    owner : Sequential
    batch_size : int
        B, the number of rows.
    states : sequence of states
        Initial states; None stands for zeros.
    """

    def __init__(self, owner: Any, batch_size: int, states: Sequence[Any]) -> None:
        self._owner, self._streams = owner, list[Any]()
        for i, layer in enumerate(owner.layers):
            try:
                self._streams.append(stream_of(layer, batch_size, states[i]))
            except Exception as error:
                add_place(error, owner, i)
                raise

    @never_raising
    def __repr__(self) -> str:
        return f"<SequentialStream of {', '.join(map(shown, vars(self).get('_streams', [])))}>"

    @property
    def state(self) -> list[Any]:
        """States of all layers. It can be set; None stands for zeros."""
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
        """Run one step, change the states, and return y (B, O).

        Parameters
        ----------
        x : floats (B, I), or integers (B,)
            Input of the step.

        Returns
        -------
        array (B, O)
            Output of the step.
        """
        for i, stream in enumerate(self._streams):
            try:
                x = stream.step(x)
            except Exception as error:
                add_place(error, self._owner, i)
                raise
        return np.asarray(x)

    def reset(self, rows: Any = None) -> None:
        """Set the state of some rows to zeros, or to the states that layers have learned.

        Parameters
        ----------
        rows : integers (N,), optional
            Numbers of the rows, from 0 to B - 1. None: all rows.
        """
        for stream in self._streams:
            stream.reset(rows)


class WrapperStream:
    """Base of the streams of wrappers: the stream of the layer inside, whose state is the state.

    Parameters
    ----------
    owner : layer
        The wrapper.
    batch_size : int
        B, the number of rows.
    state : state of the layer, or None
        Initial state.
    """

    def __init__(self, owner: Any, batch_size: int, state: Any) -> None:
        self._owner = owner
        try:
            self._stream = stream_of(owner.layer, batch_size, state)
        except Exception as error:
            add_place(error, owner, "layer")
            raise

    @never_raising
    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {shown(vars(self).get('_stream'))}>"

    @property
    def state(self) -> Any:
        """State of the layer. It can be set; None stands for zeros."""
        return self._stream.state

    @state.setter
    def state(self, value: Any) -> None:
        try:
            self._stream.state = value
        except Exception as error:
            add_place(error, self._owner, "layer")
            raise

    def _inner_step(self, x: Any) -> Array:
        """Run one step of the layer, and return its output."""
        try:
            y: Array = self._stream.step(x)
        except Exception as error:
            add_place(error, self._owner, "layer")
            raise
        return y

    def reset(self, rows: Any = None) -> None:
        """Set the state of some rows to zeros, or to the states that layers have learned.

        Parameters
        ----------
        rows : integers (N,), optional
            Numbers of the rows, from 0 to B - 1. None: all rows.
        """
        self._stream.reset(rows)


class ResidualStream(WrapperStream):
    """Stream of a Residual: the stream of its layer, and the addition of x.

    Parameters
    ----------
    owner : Residual
    add : function
        Computes the output from x and the output of the layer.
    batch_size : int
        B, the number of rows.
    state : state of the layer, or None
        Initial state.
    """

    def __init__(self, owner: Any, add: Callable[[Any, Any], Array], batch_size: int, state: Any):
        self._add = add
        super().__init__(owner, batch_size, state)

    def step(self, x: Any, /) -> Array:
        """Run one step, change the state, and return x + y.

        Parameters
        ----------
        x : floats (B, F)
            Input of the step.

        Returns
        -------
        array (B, F)
            Output of the step.
        """
        return self._add(x, self._inner_step(x))
