"""A layer one step at a time, by calls on sequences of one step."""

from __future__ import annotations

from typing import Any

import numpy as np

from crnn.common.arrays import Array, as_array
from crnn.common.checks import check_size
from crnn.common.nested import map_state


class CalledStream:
    """Stream of a layer without one, such as Dense, which is called on sequences of one step."""

    def __init__(self, layer: Any, batch_size: int, state: Any) -> None:
        self._layer, self._batch = layer, check_size("batch_size", batch_size)
        self.state = state

    def __repr__(self) -> str:
        own = vars(self)
        layer = own.get("_layer")
        inner = getattr(layer, "__dict__", {}).get("adapted", layer)  # of a layer of another maker
        return f"<CalledStream of {type(inner).__name__}: B={own.get('_batch')}>"

    def step(self, x: Any, /) -> Array:
        """Return y (B, ...) of one step."""
        given = as_array("x", x)
        if given.ndim < 1 or len(given) != self._batch:
            raise ValueError(
                f"x: expected shape (B={self._batch}, I) or symbols (B={self._batch},), "
                f"got shape {given.shape}"
            )
        y, self.state = self._layer(given[:, None], self.state)
        return np.asarray(y[:, 0])

    def reset(self, rows: Any = None) -> None:
        """Set the state of these rows, or of all, to zeros."""

        def cleared(part: Any) -> Array:
            there = np.array(part)
            there[np.asarray(rows)] = 0
            return there

        self.state = None if rows is None else map_state(cleared, self.state)
