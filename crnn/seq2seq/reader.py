"""An embedding, where there is one, and the layer that reads its vectors, run as one Sequential.

So what runs an Embedding and a recurrent layer as one (`crnn.layers.lowering`) finds the pair, and
layers draw the same numbers (dropout) wherever the two are run.
"""

from __future__ import annotations

from typing import Any

from crnn.layers.base.arguments import Given
from crnn.layers.compose.sequential import Sequential, SequentialTape


class Reader:
    """A layer behind an embedding; its states and tapes are those of the layer alone.

    Parameters
    ----------
    embedding : Embedding or None
    layer : layer
    names : pair of str
        What errors call the two.
    """

    def __init__(self, embedding: Any, layer: Any, names: tuple[str, str]) -> None:
        self._stacked = type(layer) is Sequential
        inner = layer.layers if self._stacked else [layer]
        self._ahead = [] if embedding is None else [embedding]
        self._inside = len(inner)
        own = [f"{names[1]}.layers[{i}]" if self._stacked else names[1] for i in range(len(inner))]
        called = [*names[:1], *own] if self._ahead else own
        self.layers = Sequential._joined([*self._ahead, *inner], called)

    def run(self, x: Any, state: Any, given: Given, keep: bool) -> tuple[Any, Any, Any]:
        """y, state, tape: the layer's state, and a tape of both."""
        y, after, tape = given.run(self.layers, x, self._packed(state), keep)
        return y, self._unpacked(after), tape

    def check_backward(self, tape: Any) -> None:
        """Raise what `backward` would of a tape, before anything has changed."""
        self.layers.check_backward(tape, None)

    def backward(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        """dx, dstate; adds to the gradients."""
        dx, dbefore = self.layers.backward(tape, dy, self._packed(dstate))
        return dx, self._unpacked(dbefore)

    def layer_tape(self, tape: Any) -> Any:
        """The tape of the layer, of a tape of both."""
        own = self._unpacked(list(tape))
        return SequentialTape(own) if self._stacked else own

    def _packed(self, state: Any) -> list[Any] | None:
        if state is None:
            return None
        return [None for _ in self._ahead] + (list(state) if self._stacked else [state])

    def _unpacked(self, states: list[Any]) -> Any:
        own = states[-self._inside :]
        return own if self._stacked else own[0]
