"""A stream that runs any layer one step at a time, by calls with sequences of one step."""

from __future__ import annotations

from typing import Any

import numpy as np

from crnn.common.arrays import Array, as_array
from crnn.common.checks import check_size
from crnn.common.nested import map_state
from crnn.common.representation import never_raising


class CalledStream:
    """Stream of a layer without a faster one, such as Dense: it calls the layer for each step.

    Parameters
    ----------
    layer : Layer
    batch_size : int
        B, the number of rows.
    state : state of the layer, or None
        Initial state.
    """

    def __init__(self, layer: Any, batch_size: int, state: Any) -> None:
        self._layer, self._batch = layer, check_size("batch_size", batch_size)
        self.state = state

    @never_raising
    def __repr__(self) -> str:
        attributes = vars(self)
        layer = attributes.get("_layer")
        inner = getattr(layer, "__dict__", {}).get("adapted", layer)  # the object that is wrapped
        return f"<CalledStream of {type(inner).__name__}: B={attributes.get('_batch')}>"

    def step(self, x: Any, /) -> Array:
        """Run one step, change the state, and return y (B, O).

        Parameters
        ----------
        x : floats (B, I), or integers (B,)
            Input of the step.

        Returns
        -------
        array (B, O)
            Output of the step.
        """
        step = as_array("x", x)
        if step.ndim < 1 or len(step) != self._batch:
            raise ValueError(
                f"x: expected shape (B={self._batch}, I) or symbols (B={self._batch},), "
                f"got shape {step.shape}"
            )
        y, self.state = self._layer(step[:, None], self.state)
        return np.asarray(y[:, 0])

    def reset(self, rows: Any = None) -> None:
        """Set the state to zeros.

        Parameters
        ----------
        rows : integers, or booleans (B,); optional
            The rows to reset. None: all rows.
        """

        def cleared(part: Any) -> Array:
            array = np.array(part)
            array[np.asarray(rows)] = 0
            return array

        self.state = None if rows is None else map_state(cleared, self.state)
