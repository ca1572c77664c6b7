"""An Embedding and the recurrent layer that reads it, run as one.

A symbol's share in the sums of the gates is W_x e, where e is its row of the embedding. There are
no more such vectors than different symbols, however many steps there are: so the product is taken
once for each symbol that occurs, and each step looks its vector up. The same holds on the way back:
the gradients of all steps with the same symbol are added first, and then taken through the product.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from crnn import _core
from crnn.layers.base import Array, as_array
from crnn.layers.dense import Embedding
from crnn.layers.options import Given, steps_there
from crnn.layers.recurrent import Recurrent


def run_as_one(first: Any, second: Any, x: Any) -> bool:
    """Whether two layers can run as one on x: both crnn's own in what they do, x symbols (B, T)."""
    if type(first) is not Embedding or not isinstance(second, Recurrent):
        return False
    symbols, layer, kind = as_array("x", x), cast(Any, second), type(second)
    return bool(
        kind.forward is _core.Recurrent.forward
        and kind.backward is _core.Recurrent.backward
        and (first.dtype, first.size) == (layer.dtype, layer.input_size)
        and symbols.ndim == 2
        and symbols.dtype.kind in "iu"
    )


class EmbeddedTape(NamedTuple):
    """The tape of both layers; its attributes are those of the recurrent layer's tape."""

    table_layer: Any
    tape: Any
    symbols: NDArray[Any]
    made_of: tuple[int, str | None]  # K of the embedding, and what the other layer is

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tape, name)


def _described(layer: Any) -> str | None:
    """What two layers share that can read each other's tapes; None for any other layer."""
    if not isinstance(layer, Recurrent):
        return None
    kind: Any = layer
    options = ", ".join(f"{name}={value!r}" for name, value in kind._core_arguments().items())
    return f"{kind._core_type.__name__}({options})"


class Pair:
    """An Embedding and a recurrent layer on one input.

    Parameters
    ----------
    embedding, layer
        For which `run_as_one`.
    x : (B, T) integers
    given : Given
        What the recurrent layer gets besides.
    """

    def __init__(self, embedding: Embedding, layer: Any, x: Any, given: Given) -> None:
        symbols = np.asarray(x)
        there = steps_there(given.lengths, given.mask, symbols.shape)
        found = embedding.check_symbols(symbols[there]).astype(np.int64)
        # with a 0 behind them: never empty
        self.symbols, places = np.unique(np.append(found, 0), return_inverse=True)
        self.rows = np.zeros(symbols.shape, dtype=np.int64)  # of the table, for each step
        self.rows[there] = places[:-1]
        self.table_layer = _table_layer(layer, embedding.params["W"][self.symbols])
        self.given = given
        self.made_of = embedding.K, _described(layer)

    def run(self, state: Any, keep: bool) -> tuple[Array, Any, EmbeddedTape]:
        """y, state, tape; without `keep` in evaluation, and the tape means nothing."""
        y, after, tape = self.given.run(self.table_layer, self.rows, state, keep)
        return y, after, EmbeddedTape(self.table_layer, tape, self.symbols, self.made_of)


def _table_layer(layer: Any, vectors: Array) -> Any:
    """A layer like `layer` whose W_x is W_x times the vectors: one input for each of them."""
    arguments = layer._core_arguments() | {"input_size": len(vectors)}
    table_layer = layer._core_type(**arguments)
    table_layer.seed = layer.seed
    for name, view in table_layer.param_views.items():
        if name == "W_x":
            view.T[...] = _core.dense_forward(vectors, layer.param_views["W_x"].T, None)
        else:
            view[...] = layer.param_views[name]
    return table_layer


def check_pair_backward(embedding: Any, layer: Any, tape: EmbeddedTape, dstate: Any) -> None:
    """Raise where a tape is not one of these two layers, or dstate not one of its state."""
    K, what = tape.made_of
    if not isinstance(embedding, Embedding) or embedding.K != K or _described(layer) != what:
        raise ValueError(
            f"tape: expected one of {embedding!r} and {layer!r}, "
            f"got one of an Embedding with K={K} and {what}"
        )
    tape.table_layer.check_backward(tape.tape, dstate)


def pair_backward(
    embedding: Embedding, layer: Any, tape: EmbeddedTape, dy: Any, dstate: Any
) -> Any:
    """The gradient of the initial state; adds to the gradients of both layers."""
    tape.table_layer.flat_grads.fill(0)
    _, dbefore = tape.table_layer.backward(tape.tape, dy, dstate)
    grads = layer.grad_views
    for name, grad in tape.table_layer.grad_views.items():
        if name != "W_x":
            grads[name][...] += grad
            continue
        vectors, W_x = embedding.params["W"][tape.symbols], layer.param_views["W_x"]
        embedding.grads["W"][tape.symbols] += _core.dense_backward(
            vectors, W_x.T, grad.T, grads["W_x"].T, None
        )
    return dbefore
