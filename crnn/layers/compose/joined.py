"""Wrapper that puts the input of a layer behind its output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, underflows
from crnn.common.checks import check_array, check_size
from crnn.common.representation import tape_text
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.attributes import Fixed
from crnn.layers.base.description import Widths
from crnn.layers.base.nodes import Graph, Nodes, runs_unchanged
from crnn.layers.base.places import backward_part, run_part
from crnn.layers.base.protocol import LayerLike
from crnn.layers.compose.base import Wrapper
from crnn.layers.compose.streams import WrapperStream


class JoinedTape(NamedTuple):
    """Tape of the layer inside, the steps at which x is joined (None: all), and shape of y."""

    layer: Any
    valid: NDArray[np.bool_] | None
    shape: tuple[int, ...]

    @property
    def parts(self) -> dict[str, Any]:
        """The tape of the layer inside."""
        return {"layer": self.layer}

    def __repr__(self) -> str:
        return tape_text(self)


class Joined(Wrapper):
    """Layer whose output is that of another layer, and behind it the first features of its input.

    `crnn.ESN` uses it for a readout that reads states and inputs.

    Parameters
    ----------
    layer : layer
        A layer that reads floats (B, T, I) and keeps the time axis. Its parameters have the names
        "layer.W_x", ...
    features : int
        Number of features of x that are joined.

    Notes
    -----
    The state is that of the layer. At steps of x that are not read, which are padding and masked
    steps, the joined features are 0.
    """

    _leading, _arguments, _tape = ("layer", "features"), ("features",), JoinedTape
    symbols, keeps_features = None, False  # symbols cannot be joined with y
    features = Fixed[int]()

    def __init__(self, layer: LayerLike, features: int) -> None:
        super().__init__(layer)
        features, width = check_size("features", features), self.inner.input_size
        if width is not None and features > width:
            raise ValueError(f"features: expected at most I={width}, got {features}")
        vars(self)["features"] = features

    @property
    def output_size(self) -> int | None:
        """Features of the layer's output, and the joined ones."""
        width = self.inner.output_size
        return None if width is None else width + self.features

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths | None:
        inner = super()._widths(config)
        if inner is None or inner.output is None:
            return None
        return inner._replace(output=inner.output + config["features"])

    def repeats_masked(self, repeated: bool, training: bool) -> bool:
        return False

    def with_vectors(self, symbols: Array, which: int = 0) -> None:
        return None

    def _run(
        self, x: Any, state: Any, options: ForwardOptions, keep: bool
    ) -> tuple[Any, Any, JoinedTape]:
        x = check_array("x", x, "floats", ("B", "T", "I"))
        y, after, tape = run_part(self, "layer", options.for_part(0), x, state, keep)
        valid = options.steps_joined(x)
        return _joined(y, x[..., : self.features], valid), after, JoinedTape(tape, valid, x.shape)

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        if not runs_unchanged(self, Joined):
            return None
        begin, filled, embedding = len(graph.nodes), graph.filled, graph.embedding
        inner = self._inner_nodes(graph, x, number)  # the first node behind x
        if inner is None:
            del graph.nodes[begin:]
            graph.filled, graph.embedding = filled, embedding
            return None
        copy = graph.add("rowwise", (x,), ("activate", "identity"), None, None)
        if self.features != self.inner.input_size:
            copy = graph.add("sum", (copy,), self._selection(), None, None, None)
        node = graph.add("rowwise", (inner.value, copy), ("concat",), None, None)

        def tape(call: Any) -> JoinedTape:
            given = call.value(x)
            valid = call.options(given, number, filled).steps_joined(given)
            return JoinedTape(inner.tape(call), valid, given.shape)

        return Nodes(node, inner.form, tape)

    def _selection(self) -> Array:
        """Return the matrix that selects the joined features."""
        dtype = next((array.dtype for array in self.layer.params.values()), np.dtype(np.float32))
        return np.eye(self.inner.input_size or 0, self.features, dtype=dtype)

    def stream(self, batch_size: int = 1, state: Any = None) -> JoinedStream:
        """Return a stream, which runs the layer one step at a time.

        Parameters
        ----------
        batch_size : int, default 1
            B, the number of rows.
        state : state, optional
            Initial state of the layer inside. None stands for zeros.

        Returns
        -------
        stream : JoinedStream
            ``stream.step(x)`` takes floats (B, I) and returns y (B, O).

        Raises
        ------
        ValueError
            If the layer cannot run step by step.
        """
        return JoinedStream(self, batch_size, state)

    def _checked_dy(self, tape: Any, dy: Any) -> Any:
        return dy if dy is None else check_array("dy", dy, "floats", ("B", "T", "O"))

    def _back(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        if dy is None:
            return backward_part(self, "layer", tape.layer, None, dstate)
        width = dy.shape[-1] - self.features
        dx, dbefore = backward_part(self, "layer", tape.layer, dy[..., :width], dstate)
        if dx is None:  # not wanted
            return None, dbefore
        share = dy[..., width:]
        if tape.valid is not None:
            share = np.where(tape.valid[..., None], share, 0)
        dx = np.array(dx)
        dx[..., : self.features] += share.astype(dx.dtype)
        return dx, dbefore


@underflows  # the cast
def _joined(y: Any, x: Array, valid: NDArray[np.bool_] | None) -> Array:
    """Return y, and behind it x at valid steps and 0 at others."""
    y = np.asarray(y)
    if y.shape[:2] != x.shape[:2]:
        raise ValueError(
            f"layer: expected one that keeps the time axis, got y of shape {y.shape} from x of "
            f"shape {x.shape}"
        )
    part = x.astype(y.dtype)
    return np.concatenate([y, part if valid is None else np.where(valid[..., None], part, 0)], 2)


class JoinedStream(WrapperStream):
    """Stream of a Joined: the stream of its layer, with x behind its output."""

    def step(self, x: Any, /) -> Array:
        """Run one step, change the state, and return y (B, O).

        Parameters
        ----------
        x : floats (B, I)
            Input of the step.

        Returns
        -------
        array (B, O)
            Output of the step.
        """
        x = check_array("x", x, "floats", ("B", "I"))
        y = self._inner_step(x)
        return _joined(y[:, None], x[:, None, : self._owner.features], None)[:, 0]
