"""An embedding, where there is one, and the layer that reads its vectors, run as one Sequential.

So what runs an Embedding and a recurrent layer as one (`crnn.layers.lowering`) finds the pair, and
layers draw the same numbers (dropout) wherever the two are run.
"""

from __future__ import annotations

from operator import is_
from typing import Any

from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.compose.base import Runner
from crnn.layers.compose.sequential import Sequential, SequentialTape


class Readers:
    """The readers of a model, each kept as long as its layers are the same."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[list[Any], Reader]] = {}

    def __reduce__(self) -> Any:
        return Readers, ()  # a copy has other layers

    def of(self, side: str, embedding: Any, layer: Any) -> Reader:
        """The reader of "source" or "target"."""
        layers = [embedding, layer, *(layer.layers if type(layer) is Sequential else ())]
        kept = self._kept.get(side)
        if kept is None or len(kept[0]) != len(layers) or not all(map(is_, kept[0], layers)):
            part = "encoder" if side == "source" else "decoder"
            kept = layers, Reader(embedding, layer, (f"{side}_embedding", part))
            self._kept[side] = kept
        return kept[1]


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
        self._runner = Runner(self.layers)

    def run(self, x: Any, state: Any, given: ForwardOptions, keep: bool) -> tuple[Any, Any, Any]:
        """y, state, tape: the layer's state, and a tape of both."""
        packed = None if state is None else self._packed(state)
        y, after, tape = self._runner.run(x, packed, given, given.layer, keep)
        return y, self._unpacked(after), tape

    def check_backward(self, tape: Any) -> None:
        """Raise what `backward` would of a tape, before anything has changed."""
        self.layers.check_backward(tape, None)

    def backward(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        """dx, dstate; adds to the gradients."""
        packed = None if dstate is None else self._packed(dstate)
        dx, dbefore = self.layers.backward(tape, dy, packed)
        return dx, self._unpacked(dbefore)

    def layer_tape(self, tape: Any) -> Any:
        """The tape of the layer, of a tape of both."""
        own = self._unpacked(list(tape))
        return SequentialTape(own) if self._stacked else own

    def _packed(self, state: Any) -> list[Any]:
        return [None for _ in self._ahead] + (list(state) if self._stacked else [state])

    def _unpacked(self, states: list[Any]) -> Any:
        own = states[-self._inside :]
        return own if self._stacked else own[0]
