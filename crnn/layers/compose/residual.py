"""Residual connections around layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import crnn._core as _core
from crnn.common.arrays import Array, underflows
from crnn.common.checks import check_array
from crnn.common.representation import tape_text
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.nodes import Graph, Nodes, runs_unchanged
from crnn.layers.base.places import backward_part, run_part
from crnn.layers.base.trainable import NO_TAPE
from crnn.layers.compose.base import Wrapper
from crnn.layers.compose.streams import ResidualStream


class ResidualTape:
    """Tape of Residual: it has the attributes and items of the tape of the layer inside.

    Parameters
    ----------
    layer : object
        Tape of the layer inside.
    valid : booleans (B, T), optional
        Steps at which x was added. None: all steps.
    """

    def __init__(self, layer: Any, valid: NDArray[np.bool_] | None = None) -> None:
        self.layer, self.valid = layer, valid

    @property
    def parts(self) -> dict[str, Any]:
        """The tape of the layer inside."""
        return {"layer": self.layer}

    def __getattr__(self, name: str) -> Any:
        if name in ("layer", "valid"):
            raise AttributeError(name)
        return getattr(self.layer, name)

    def __getitem__(self, key: Any) -> Any:
        return self.layer[key]

    def __repr__(self) -> str:
        return tape_text(self)


class Residual(Wrapper):
    """Residual connection around a layer: y = x + layer(x).

    He et al., "Deep residual learning for image recognition" (2016).

    Parameters
    ----------
    layer : layer
        A layer whose output has the shape of its input. Its parameters have the names
        "layer.W_x", ...

    Attributes
    ----------
    layer : layer
        As passed.

    Raises
    ------
    TypeError
        If `layer` is not a layer.
    ValueError
        From forward: if the output of the layer has another shape than x.

    Notes
    -----
    The state is that of the layer. At steps of x that are not read, which are padding and masked
    steps, y is the output of the layer alone.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> x, layer = np.ones((2, 5, 4)), crnn.GRU(4, 4, seed=0)
    >>> y, state = crnn.Residual(layer)(x)
    >>> bool(np.allclose(y, x + layer(x)[0]))
    True
    """

    adds_input, _tape = True, ResidualTape
    symbols = None  # symbols cannot be added to y

    def repeats_masked(self, repeated: bool, training: bool) -> bool:
        return repeated and super().repeats_masked(repeated, training)

    def with_vectors(self, symbols: Array, which: int = 0) -> None:
        return None

    def _add(self, x: Any, y: Any, valid: NDArray[np.bool_] | None = None) -> Array:
        """Return x + y; y alone at steps that are not valid."""
        note = ", that of the layer's output"
        skip = check_array("x", x, "floats", y.shape, note=note, kind_error=ValueError)
        return _sum_where(valid, y, skip)

    def _run(self, x: Any, state: Any, options: ForwardOptions, keep: bool) -> tuple[Any, Any, Any]:
        y, after, tape = run_part(self, "layer", options.for_part(0), x, state, keep)
        valid = options.steps_joined(x)
        return self._add(x, y, valid), after, ResidualTape(tape, valid)

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        if not runs_unchanged(self, Residual):
            return None
        filled = graph.filled
        inner = graph.add_reader(x, lambda read: self._inner_nodes(graph, read, number))
        if inner is None:
            return None
        node = graph.add("residual", (inner.value, x), filled=filled)

        def tape(call: Any) -> Any:
            given = call.value(x)
            if given is None:
                return NO_TAPE
            valid = call.options(given, number, filled).steps_joined(given)
            return ResidualTape(inner.tape(call), valid)

        return Nodes(node, inner.form, tape)

    def stream(self, batch_size: int = 1, state: Any = None) -> ResidualStream:
        """Return a stream, which runs the layer one step at a time.

        Parameters
        ----------
        batch_size : int, default 1
            B, the number of rows.
        state : state, optional
            Initial state of the layer inside. None stands for zeros.

        Returns
        -------
        stream : ResidualStream
            ``stream.step(x)`` takes floats (B, F) and returns y (B, F). ``stream.state`` is the
            state, and ``stream.reset(rows)`` sets it to zeros.

        Raises
        ------
        ValueError
            If the layer cannot run step by step.
        """
        return ResidualStream(self, self._add, batch_size, state)

    def _back(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        dx, dbefore = backward_part(self, "layer", tape.layer, dy, dstate)
        if dy is not None and dx is not None:
            dx = _sum_where(tape.valid, dx, dy)
        return dx, dbefore


@underflows  # the cast
def _sum_where(valid: NDArray[np.bool_] | None, array: Array, other: Any) -> Array:
    """Return array + other at valid steps, and the array at others. None: all steps are valid."""
    other = np.asarray(other, array.dtype)
    return _core.rowwise_forward(("sum",), None, (array, other), valid, False, True)[0]
