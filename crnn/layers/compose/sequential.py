"""Layers one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import crnn._core as _core
from crnn.common.nested import states_of
from crnn.layers.base.arguments import (
    Given,
    check_backward,
    has_no_time_axis,
)
from crnn.layers.base.description import Widths, build, describe, widths_of
from crnn.layers.base.layer import check_layer, check_no_state
from crnn.layers.base.places import add_place, shown
from crnn.layers.base.streams import SequentialStream
from crnn.layers.base.tapes import ask_for_trace
from crnn.layers.compose.base import RunsParts
from crnn.layers.compose.lowering import (
    EmbeddedTape,
    Pair,
    check_pair_backward,
    pair_backward,
    run_as_one,
)
from crnn.layers.compose.pooling import warn_of_reversed
from crnn.layers.pointwise.tied import built, counting, describing


class SequentialTape(tuple[Any, ...]):
    """The tapes of the layers, of one forward: they belong together, so it cannot be edited."""

    @property
    def parts(self) -> dict[str, Any]:
        """Each under the name of its layer."""
        return {str(i): tape for i, tape in enumerate(self)}


class Sequential(RunsParts):
    """Layers one after the other: stacked recurrent layers, a Dense on top, any mix.

    Parameters
    ----------
    layers : sequence of layers
        Each reads what the one before it gives. Their parameters have the names "0.W_x", "1.W", ...

    Attributes
    ----------
    layers : list of layers

    Raises
    ------
    TypeError
        If one of them is not a layer.

    Warns
    -----
    UserWarning
        If a `Pool` of "last" stands behind a `Bidirectional` or reversed layer.

    Notes
    -----
    The state is the list of the layers' states; `tape[i]` is the tape of layer i. `lengths`, `mask`
    and `resets` reach every layer that knows them, up to one that removes the time axis (`Pool`).
    """

    _leading = ("layers",)

    #: Names of the layers in errors, where these are not "layers[i]".
    _names: Sequence[str] = ()

    def __init__(self, layers: Sequence[Any]) -> None:
        if not isinstance(layers, (list, tuple)) or not layers:
            raise TypeError(f"layers: expected a list of at least one layer, got {layers!r:.200}")
        for i, layer in enumerate(layers):
            check_layer(f"layers[{i}]", layer)
        self.layers = list(layers)
        warn_of_reversed(self.layers)

    @classmethod
    def _joined(cls, layers: list[Any], names: list[str]) -> Sequential:
        """Parts of another composition, one after the other; errors call them by these names."""
        made = cls.__new__(cls)
        made.layers, made._names = layers, names
        return made

    @property
    def parts(self) -> dict[str, Any]:
        return {str(i): layer for i, layer in enumerate(self.layers)}

    @property
    def config(self) -> dict[str, Any]:
        with describing(self):
            return {"layers": [describe(layer) for layer in self.layers]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Sequential:
        return cast(Sequential, built(lambda: cls([build(part) for part in config["layers"]])))

    @classmethod
    def parameter_count(cls, config: Mapping[str, Any]) -> int:
        with counting(config):
            return super().parameter_count(config)

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths | None:
        parts = [widths_of(part) for part in config["layers"]]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        changing = [part for part in known if (part.input, part.output) != (None, None)]
        outputs = [part.output for part in known if part.output is not None]
        return Widths(
            changing[0].input if changing else None,
            outputs[-1] if outputs else None,
            tuple(width for part in known for width in part.state),
            any(part.timeless for part in known),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.layers!r})"

    def place_of(self, key: int) -> str:
        """Name the layer of this index, and the one before it."""
        name = self._names[key] if self._names else f"layers[{key}]"
        before = f", which follows {shown(self.layers[key - 1])}" if key else ""
        return f"{name}, {shown(self.layers[key])}{before}"

    @property
    def many_to_one(self) -> bool:
        """Whether y has no time axis, because one of the layers removes it."""
        return any(map(has_no_time_axis, self.layers))

    def _states(self, name: str, state: Any) -> list[Any]:
        return states_of(name, state, len(self.layers))

    def _is_pair(self, i: int, x: Any) -> bool:
        """Whether layers i and i + 1 run as one on x."""
        return i + 1 < len(self.layers) and run_as_one(self.layers[i], self.layers[i + 1], x)

    def _run(
        self, x: Any, state: Any, given: Given, keep: bool
    ) -> tuple[Any, list[Any], SequentialTape]:
        states = self._states("state", state)
        tapes: list[Any] = [None] * len(self.layers)
        layers = iter(range(len(self.layers)))
        for i in layers:
            own = given.part(i)
            try:
                if self._is_pair(i, x):
                    pair = Pair(self.layers[i], self.layers[i + 1], x, given.part(i + 1))
                    i = next(layers)
                    x, states[i], tapes[i] = pair.run(states[i], keep)
                else:
                    x, states[i], tapes[i] = own.run(self.layers[i], x, states[i], keep)
            except Exception as error:
                add_place(error, self, i)
                raise
            given = given.behind(self.layers[i])
        return x, states, SequentialTape(tapes)

    def stream(self, batch: int = 1, state: Any = None) -> SequentialStream:
        """The layers one step at a time, with the weights as they are now.

        Parameters
        ----------
        batch : int, default 1
            B.
        state : list of states, optional
            None stands for zeros.

        Returns
        -------
        stream
            With ``step(x) -> y``, x (B, I) or symbols (B,), and ``state``, ``reset(rows=None)``.

        Raises
        ------
        ValueError
            If a layer cannot run step by step: a Bidirectional or reversed one, a Pool.
        """
        return SequentialStream(self, batch, self._states("state", state))

    def check_backward(self, tape: Any, dstate: Any) -> None:
        if not isinstance(tape, SequentialTape) or len(tape) != len(self.layers):
            raise TypeError(
                f"tape: expected the list of {len(self.layers)} tapes that forward returned, "
                f"got {type(tape).__name__}"
            )
        dstates = self._states("dstate", dstate)
        for i, layer in enumerate(self.layers):
            try:
                if isinstance(tape[i], EmbeddedTape):
                    check_pair_backward(self.layers[i - 1], layer, tape[i], dstates[i])
                elif tape[i] is None:  # the embedding before it: the next tape is of both
                    check_no_state(type(layer).__name__, "dstate", dstates[i])
                else:
                    check_backward(layer, tape[i], dstates[i])
            except Exception as error:
                add_place(error, self, i)
                raise

    def backward(
        self, tape: Any, dy: Any, dstate: Any = None, *, trace: bool = False
    ) -> tuple[Any, list[Any]]:
        """dx, dstates; adds to the gradients of all layers. With `trace`, their tapes keep it."""
        self.check_backward(tape, dstate)
        dstates = self._states("dstate", dstate)
        layers = reversed(range(len(self.layers)))
        with _core.Writing(self):
            if trace:
                ask_for_trace(tape)
            for i in layers:
                try:
                    if isinstance(tape[i], EmbeddedTape):
                        pair = self.layers[i - 1], self.layers[i]
                        dstates[i] = pair_backward(*pair, tape[i], dy, dstates[i])
                        dy = None  # symbols have no gradient
                        next(layers)
                    else:
                        dy, dstates[i] = self.layers[i].backward(tape[i], dy, dstates[i])
                except Exception as error:
                    add_place(error, self, i)
                    raise
        return dy, dstates
