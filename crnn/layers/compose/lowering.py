"""An Embedding and the recurrent layer that reads its vectors, run as one layer.

In the sums of the gates, a symbol with the vector e contributes W_x e. This product is computed
once for each symbol that occurs, and looked up at each step. In backward, the gradients of all
steps with the same symbol are added first, and the product is computed once for each symbol.
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
from crnn.common.representation import tape_text
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.compose.base import Runner
from crnn.layers.pointwise.embedding import Embedding
from crnn.layers.recurrent.cells import OVERRIDDEN, Recurrent, is_core_layer


def may_run_as_one(first: Any, second: Any) -> bool:
    """Return whether two layers are an Embedding and a recurrent layer that override no method."""
    plain = type(first) is Embedding and not OVERRIDDEN & vars(first).keys()
    return plain and is_core_layer(second)


def run_as_one(first: Embedding, second: Any, x: Any) -> bool:
    """Return whether two such layers run as one on x: widths and types match, x is symbols."""
    symbols = x if type(x) is np.ndarray else as_array("x", x)
    match = (first.size, first.dtype) == (second.input_size, second.dtype)
    return match and symbols.ndim == 2 and symbols.dtype.kind in "iu"


class SymbolTable:
    """The symbols that occur in an input, and a layer with one input for each of them.

    Parameters
    ----------
    embedding : Embedding
    layer : recurrent layer
        Its first inputs are the vectors of the embedding; it may have further inputs.
    symbols : integers (B, T)
    valid : booleans (B, T), optional
        Steps that are read. None: all steps.

    Attributes
    ----------
    symbols : integers (S,)
        The symbols that occur, in ascending order.
    rows : int64 array (B, T)
        Index of the symbol of each step in `symbols`.
    layer : recurrent layer
        Like `layer`, but the first S columns of its W_x are the products W_x e of the symbols.
    """

    def __init__(self, embedding: Embedding, layer: Any, symbols: Array, valid: Any = None) -> None:
        read = slice(None) if valid is None else valid
        values = embedding.check_symbols(symbols[read].ravel()).astype(np.int64)
        # the additional symbol 0 makes the table non-empty
        self.symbols, indices = np.unique(np.append(values, 0), return_inverse=True)
        self.rows = np.zeros(symbols.shape, dtype=np.int64)
        self.rows[read] = indices[:-1].reshape(self.rows[read].shape)
        self.layer = table_layer(layer, embedding.param_views["W"][self.symbols])
        self._lock = threading.Lock()

    @contextmanager
    def adding_gradients(self, embedding: Embedding, layer: Any) -> Iterator[Any]:
        """Yield the layer of the table for one backward, and add its gradients to both layers.

        A lock serialises threads that run backward with the same tape for different models.
        """
        with self._lock:
            self.layer.flat_grads.fill(0)
            yield self.layer
            self._add_gradients(embedding, layer)

    def _add_gradients(self, embedding: Embedding, layer: Any) -> None:
        """Add the gradients of the layer of the table to those of the embedding and the layer."""
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
    """Return a layer like `layer` with one input for each vector, in place of its elements."""
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
    """Tape of both layers. It has the attributes of the tape of the recurrent layer."""

    table: SymbolTable
    tape: Any
    made_by: tuple[int, Any]  # K of the embedding, and the `tape_signature` of the recurrent layer

    @property
    def parts(self) -> dict[str, Any]:
        """The tape of the recurrent layer; this tape is at its index in the model."""
        return {"": self.tape}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tape, name)

    def __repr__(self) -> str:
        return tape_text(self)


def tape_signature(layer: Any) -> tuple[str, dict[str, Any]] | None:
    """Return the class and the options of a recurrent layer; None for any other layer.

    Layers with equal signatures can use each other's tapes.
    """
    if not isinstance(layer, Recurrent):
        return None
    core: Any = layer
    return core._core_type.__name__, core._core_arguments()


def signature_text(signature: tuple[str, dict[str, Any]] | None) -> str:
    """Return the text of a `tape_signature` for an error."""
    if signature is None:
        return "another layer"
    options = ", ".join(f"{name}={value!r}" for name, value in signature[1].items())
    return f"{signature[0]}({options})"


class Pair:
    """An Embedding and a recurrent layer, which run as one on an input.

    Parameters
    ----------
    embedding, layer
        Two layers for which `may_run_as_one` is true.
    x : integers (B, T)
    options : ForwardOptions
    """

    def __init__(self, embedding: Embedding, layer: Any, x: Any, options: ForwardOptions) -> None:
        symbols = np.asarray(x)
        valid = None
        if options.lengths is not None or options.mask is not None:
            valid = steps_there(options.lengths, options.mask, symbols.shape)
        self.table = SymbolTable(embedding, layer, symbols, valid)
        self.made_by = embedding.K, tape_signature(layer)

    def run(
        self, runner: Runner, state: Any, options: ForwardOptions, number: int, keep: bool
    ) -> tuple[Array, Any, EmbeddedTape]:
        """Run both layers by the runner of the recurrent layer; return y, state, tape."""
        layer, rows = self.table.layer, self.table.rows
        y, after, tape = runner.run(rows, state, options, number, keep, layer)
        return y, after, EmbeddedTape(self.table, tape, self.made_by)


def check_pair_backward(embedding: Any, layer: Any, tape: EmbeddedTape, dstate: Any) -> None:
    """Raise an error unless tape and dstate are those of these two layers."""
    K, signature = tape.made_by
    if (
        not isinstance(embedding, Embedding)
        or embedding.K != K
        or tape_signature(layer) != signature
    ):
        raise ValueError(
            f"tape: expected one of {embedding!r} and {layer!r}, "
            f"got one of an Embedding with K={K} and {signature_text(signature)}"
        )
    tape.table.layer.check_backward(tape.tape, dstate)


def pair_backward(
    embedding: Embedding, layer: Any, tape: EmbeddedTape, dy: Any, dstate: Any
) -> Any:
    """Add to the gradients of both layers, and return the gradient of the initial state."""
    with tape.table.adding_gradients(embedding, layer) as table:
        _, dbefore = table.backward(tape.tape, dy, dstate)
    return dbefore
