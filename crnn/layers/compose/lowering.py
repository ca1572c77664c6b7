"""An Embedding and the recurrent layer that reads it, alone or beside other features, run as one.

A symbol's share in the sums of the gates is W_x e, where e is its row of the embedding. There are
no more such vectors than different symbols, however many steps there are: so the product is taken
once for each symbol that occurs, and each step looks its vector up. The same holds on the way back:
the gradients of all steps with the same symbol are added first, and then taken through the product.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Array, as_array
from crnn.common.checks import steps_there
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.compose.base import Runner
from crnn.layers.pointwise.embedding import Embedding
from crnn.layers.recurrent.cells import Recurrent

#: What an instance may have of its own in place of its class's.
_OVERRIDDEN = {"forward", "backward", "__call__"}


def is_core_layer(layer: Any) -> bool:
    """Whether a layer is one of crnn's recurrent ones in what it does: nothing is overridden."""
    kind, own = type(layer), _core.Recurrent
    return (
        isinstance(layer, Recurrent)
        and kind.__call__ is own.__call__
        and kind.forward is own.forward
        and kind.backward is own.backward
        and not _OVERRIDDEN & vars(layer).keys()
    )


def may_run_as_one(first: Any, second: Any) -> bool:
    """Whether two layers run as one where they fit: both crnn's own in what they do."""
    own = type(first) is Embedding and not _OVERRIDDEN & vars(first).keys()
    return own and is_core_layer(second)


def run_as_one(first: Embedding, second: Any, x: Any) -> bool:
    """Whether two layers that may run as one do so on x: they fit, x is symbols (B, T)."""
    symbols = x if type(x) is np.ndarray else as_array("x", x)
    fit = (first.size, first.dtype) == (second.input_size, second.dtype)
    return fit and symbols.ndim == 2 and symbols.dtype.kind in "iu"


class Table:
    """The symbols that occur in an input, and a layer that has an input for each of them.

    Parameters
    ----------
    embedding : Embedding
    layer : recurrent layer
        Its first inputs are the embedding's vectors; it may have others behind them.
    symbols : (B, T) integers
    there : (B, T) booleans, optional
        Which of them are read.

    Attributes
    ----------
    symbols : (S,) integers
        Those that occur, ascending.
    rows : (B, T) int64
        For each step the place of its symbol in `symbols`.
    layer : recurrent layer
        Like `layer`, with the S columns of W_x that are W_x times a symbol's vector in front.
    """

    def __init__(self, embedding: Embedding, layer: Any, symbols: Array, there: Any = None) -> None:
        read = slice(None) if there is None else there
        found = embedding.check_symbols(symbols[read].ravel()).astype(np.int64)
        # with a 0 behind them: never empty
        self.symbols, places = np.unique(np.append(found, 0), return_inverse=True)
        self.rows = np.zeros(symbols.shape, dtype=np.int64)
        self.rows[read] = places[:-1].reshape(self.rows[read].shape)
        self.layer = table_layer(layer, embedding.param_views["W"][self.symbols])
        self._lock = threading.Lock()

    @contextmanager
    def gathering(self, embedding: Embedding, layer: Any) -> Iterator[Any]:
        """The table's layer, for one backward; what that adds to is handed on at the end.

        Threads that walk one tape back into models of their own wait for each other here.
        """
        with self._lock:
            self.layer.flat_grads.fill(0)
            yield self.layer
            self._hand_over(embedding, layer)

    def _hand_over(self, embedding: Embedding, layer: Any) -> None:
        """Add the gradients of the table's layer to those that it is made of."""
        S, E, grads = len(self.symbols), embedding.size, layer.grad_views
        for name, grad in self.layer.grad_views.items():
            if name != "W_x":
                grads[name][...] += grad
                continue
            vectors, W_x = embedding.params["W"][self.symbols], layer.param_views[name]
            embedding.grads["W"][self.symbols] += _core.dense_backward(
                vectors, W_x.T[:E], grad.T[:S], grads[name].T[:E], None
            )
            grads[name].T[E:] += grad.T[S:]


def table_layer(layer: Any, vectors: Array) -> Any:
    """A layer like `layer` that has an input for each of the vectors, in place of their numbers."""
    S, E = vectors.shape
    arguments = layer._core_arguments() | {"input_size": S + layer.input_size - E}
    made = layer._core_type(**arguments)
    made.seed = layer.seed
    views = layer.param_views
    for name, view in made.param_views.items():
        if name == "W_x":
            view.T[:S] = _core.dense_forward(vectors, views[name].T[:E], None)
            view.T[S:] = views[name].T[E:]
        else:
            view[...] = views[name]
    return made


class EmbeddedTape(NamedTuple):
    """The tape of both layers; its attributes are those of the recurrent layer's tape."""

    table: Table
    tape: Any
    made_of: tuple[int, Any]  # K of the embedding, and the other layer's `likeness`

    @property
    def parts(self) -> dict[str, Any]:
        """That of the recurrent layer, in whose place this one stands."""
        return {"": self.tape}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tape, name)


def likeness(layer: Any) -> tuple[str, dict[str, Any]] | None:
    """What two layers share that can read each other's tapes; None for any other layer."""
    if not isinstance(layer, Recurrent):
        return None
    kind: Any = layer
    return kind._core_type.__name__, kind._core_arguments()


def shown_likeness(likeness: tuple[str, dict[str, Any]] | None) -> str:
    """It in an error."""
    if likeness is None:
        return "another layer"
    options = ", ".join(f"{name}={value!r}" for name, value in likeness[1].items())
    return f"{likeness[0]}({options})"


class Pair:
    """An Embedding and a recurrent layer on one input.

    Parameters
    ----------
    embedding, layer
        For which `may_run_as_one`.
    x : (B, T) integers
    given : ForwardOptions
    """

    def __init__(self, embedding: Embedding, layer: Any, x: Any, given: ForwardOptions) -> None:
        symbols = np.asarray(x)
        there = None
        if given.lengths is not None or given.mask is not None:
            there = steps_there(given.lengths, given.mask, symbols.shape)
        self.table = Table(embedding, layer, symbols, there)
        self.made_of = embedding.K, likeness(layer)

    def run(
        self, runner: Runner, state: Any, given: ForwardOptions, number: int, keep: bool
    ) -> tuple[Array, Any, EmbeddedTape]:
        """y, state, tape, as `Runner.run`; `runner` is that of the recurrent layer."""
        instead, rows = self.table.layer, self.table.rows
        y, after, tape = runner.run(rows, state, given, number, keep, instead)
        return y, after, EmbeddedTape(self.table, tape, self.made_of)


def check_pair_backward(embedding: Any, layer: Any, tape: EmbeddedTape, dstate: Any) -> None:
    """Raise where a tape is not one of these two layers, or dstate not one of its state."""
    K, what = tape.made_of
    if not isinstance(embedding, Embedding) or embedding.K != K or likeness(layer) != what:
        raise ValueError(
            f"tape: expected one of {embedding!r} and {layer!r}, "
            f"got one of an Embedding with K={K} and {shown_likeness(what)}"
        )
    tape.table.layer.check_backward(tape.tape, dstate)


def pair_backward(
    embedding: Embedding, layer: Any, tape: EmbeddedTape, dy: Any, dstate: Any
) -> Any:
    """The gradient of the initial state; adds to the gradients of both layers."""
    with tape.table.gathering(embedding, layer) as table:
        _, dbefore = table.backward(tape.tape, dy, dstate)
    return dbefore
