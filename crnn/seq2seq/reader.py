"""An embedding, if any, and the layer that reads its vectors, run as one Sequential.

A Sequential runs an Embedding and a recurrent layer in one call (`crnn.layers.compose.planned`),
and numbers its layers, so that dropout draws the same numbers wherever the two layers are run.
"""

from __future__ import annotations

from operator import is_
from typing import Any

from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.trainable import NO_TAPE
from crnn.layers.compose.base import Runner
from crnn.layers.compose.planned import SequentialTape
from crnn.layers.compose.sequential import Sequential


class Readers:
    """A cache of the readers of a model, each valid while its layers are the same objects."""

    def __init__(self) -> None:
        self._cache: dict[str, tuple[list[Any], Reader]] = {}

    def __reduce__(self) -> Any:
        return Readers, ()  # a copy of the model has other layers

    def of(self, side: str, embedding: Any, layer: Any) -> Reader:
        """Return the reader of a side, "source" or "target"."""
        layers = [embedding, layer, *(layer.layers if type(layer) is Sequential else ())]
        entry = self._cache.get(side)
        if entry is None or len(entry[0]) != len(layers) or not all(map(is_, entry[0], layers)):
            part = "encoder" if side == "source" else "decoder"
            entry = layers, Reader(embedding, layer, (f"{side}_embedding", part))
            self._cache[side] = entry
        return entry[1]


class Reader:
    """A layer after an embedding; its states and tapes are those of the layer alone.

    Parameters
    ----------
    embedding : Embedding or None
        The embedding. None: the layer reads vectors, or symbols itself.
    layer : layer
        The layer.
    names : pair of str
        The names of the embedding and the layer in errors.
    """

    def __init__(self, embedding: Any, layer: Any, names: tuple[str, str]) -> None:
        self._stacked = type(layer) is Sequential
        inner = layer.layers if self._stacked else [layer]
        self._embeddings = [] if embedding is None else [embedding]
        self._count = len(inner)
        inner_names = [names[1]]
        if self._stacked:
            inner_names = [f"{names[1]}.layers[{i}]" for i in range(len(inner))]
        all_names = [names[0], *inner_names] if self._embeddings else inner_names
        self.layers = Sequential._joined([*self._embeddings, *inner], all_names)
        self._runner = Runner(self.layers)

    def run(self, x: Any, state: Any, options: ForwardOptions, keep: bool) -> tuple[Any, Any, Any]:
        """Return y, the state of the layer, and the tape of both."""
        states = None if state is None else self._all_states(state)
        y, after, tape = self._runner.run(x, states, options, options.layer, keep)
        return y, self._of_layer(after), tape

    def check_backward(self, tape: Any) -> None:
        """Raise the errors of `backward` about a tape, before a gradient changes."""
        if tape is not NO_TAPE:
            self.layers.check_backward(tape, None)

    def backward(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        """Return dx and dstate; add to the gradients of both layers."""
        if tape is NO_TAPE:
            return None, None
        dstates = None if dstate is None else self._all_states(dstate)
        dx, dbefore = self.layers.backward(tape, dy, dstates)
        return dx, self._of_layer(dbefore)

    def layer_tape(self, tape: Any) -> Any:
        """Return the tape of the layer from the tape of both."""
        if tape is NO_TAPE:
            return NO_TAPE
        layer_tape = self._of_layer(list(tape))
        return SequentialTape(layer_tape) if self._stacked else layer_tape

    def _all_states(self, state: Any) -> list[Any]:
        """Return the states of the embedding, which has none, and of the layer, as one list."""
        return [None for _ in self._embeddings] + (list(state) if self._stacked else [state])

    def _of_layer(self, values: list[Any]) -> Any:
        """Return the layer's part of the states or tapes of both."""
        inner = values[-self._count :]
        return inner if self._stacked else inner[0]
