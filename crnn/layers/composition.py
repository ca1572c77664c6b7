"""Layers made of layers. All of them speak the one protocol, so any may stand inside any other."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from crnn import _core
from crnn.layers import init
from crnn.layers.base import (
    Array,
    Layer,
    accepts,
    as_array,
    build,
    check_layer,
    check_no_state,
    describe,
)
from crnn.layers.lowering import EmbeddedTape, Pair, check_pair_backward, pair_backward, run_as_one
from crnn.layers.recurrent import Recurrent


def _forward(part: Any, x: Any, state: Any, given: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """forward of a part, with those of the given options that it knows."""
    known = accepts(type(part).forward)
    options = {name: value for name, value in given.items() if name in known and value is not None}
    y, new_state, tape = part.forward(x, state, **options)
    return y, new_state, tape


def _check_backward(part: Any, tape: Any, dstate: Any) -> None:
    check: Callable[[Any, Any], None] | None = getattr(part, "check_backward", None)
    if check is not None:
        check(tape, dstate)


class Composition(Layer):
    """A layer whose parameters are those of its parts, under dotted names."""

    @property
    def parts(self) -> dict[str, Layer]:
        """The layers this one is made of, by the name that stands before the dot."""
        return {}

    def _nested(self, what: str) -> dict[str, Array]:
        return {
            f"{prefix}.{name}": array
            for prefix, part in self.parts.items()
            for name, array in getattr(part, what).items()
        }

    @property
    def param_views(self) -> dict[str, Array]:
        return self._nested("params")

    @property
    def grad_views(self) -> dict[str, Array]:
        return self._nested("grads")

    def _convert(self, dtype: np.dtype[Any]) -> None:
        for part in self.parts.values():
            part._convert(dtype)


class SequentialTape(tuple[Any, ...]):
    """The tapes of the layers, of one forward: they belong together, so it cannot be edited."""


class Sequential(Composition):
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

    Notes
    -----
    The state is the list of the layers' states; `tape[i]` is the tape of layer i. `lengths` reach
    every layer that knows them.
    """

    _leading = ("layers",)

    def __init__(self, layers: Sequence[Any]) -> None:
        if not isinstance(layers, (list, tuple)) or not layers:
            raise TypeError(f"layers: expected a list of at least one layer, got {layers!r:.200}")
        for i, layer in enumerate(layers):
            check_layer(f"layers[{i}]", layer)
        self.layers = list(layers)

    @property
    def parts(self) -> dict[str, Any]:
        return {str(i): layer for i, layer in enumerate(self.layers)}

    @property
    def config(self) -> dict[str, Any]:
        return {"layers": [describe(layer) for layer in self.layers]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Sequential:
        return cls([build(description) for description in config["layers"]])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.layers!r})"

    def _states(self, name: str, state: Any) -> list[Any]:
        if state is None:
            return [None] * len(self.layers)
        if isinstance(state, (list, tuple)) and len(state) == len(self.layers):
            return list(state)
        given = f"{len(state)} items" if isinstance(state, (list, tuple)) else type(state).__name__
        raise ValueError(
            f"{name}: expected None or a list of {len(self.layers)} states, got {given}"
        )

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None) -> tuple[Any, list[Any]]:
        """y, states: evaluation, keeps nothing."""
        states = self._states("state", state)
        layers = iter(range(len(self.layers)))
        for i in layers:
            if self._is_pair(i, x):
                pair = Pair(self.layers[i], self.layers[i + 1], x, lengths)
                x, states[i + 1] = pair(states[i + 1])
                next(layers)
            else:
                x, states[i] = self.layers[i](x, states[i], lengths=lengths)
        return x, states

    def _is_pair(self, i: int, x: Any) -> bool:
        """Whether layers i and i + 1 run as one on x."""
        return i + 1 < len(self.layers) and run_as_one(self.layers[i], self.layers[i + 1], x)

    def forward(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        training: bool = True,
        call: int | None = None,
    ) -> tuple[Any, list[Any], SequentialTape]:
        """y, states, tapes of all layers.

        Parameters
        ----------
        x, state, lengths, training
            As the layers take them; `state` is a list.
        call : int, optional
            Number of this call, for layers that draw random numbers.
        """
        given = {"lengths": lengths, "training": training, "call": call}
        states = self._states("state", state)
        tapes: list[Any] = [None] * len(self.layers)
        layers = iter(range(len(self.layers)))
        for i in layers:
            if self._is_pair(i, x):
                pair = Pair(self.layers[i], self.layers[i + 1], x, lengths)
                x, states[i + 1], tapes[i + 1] = pair.forward(states[i + 1])
                next(layers)
            else:
                x, states[i], tapes[i] = _forward(self.layers[i], x, states[i], given)
        return x, states, SequentialTape(tapes)

    def check_backward(self, tape: Any, dstate: Any) -> None:
        if not isinstance(tape, SequentialTape) or len(tape) != len(self.layers):
            raise TypeError(
                f"tape: expected the list of {len(self.layers)} tapes that forward returned, "
                f"got {type(tape).__name__}"
            )
        before: Any = None
        for layer, part, part_dstate in zip(
            self.layers, tape, self._states("dstate", dstate), strict=True
        ):
            if isinstance(part, EmbeddedTape):
                check_pair_backward(before, layer, part, part_dstate)
            elif part is None:  # the embedding before it: the next tape is of both
                check_no_state(type(layer).__name__, "dstate", part_dstate)
            else:
                _check_backward(layer, part, part_dstate)
            before = layer

    def backward(self, tape: Any, dy: Any, dstate: Any = None) -> tuple[Any, list[Any]]:
        """dx, dstates; adds to the gradients of all layers."""
        self.check_backward(tape, dstate)
        dstates = self._states("dstate", dstate)
        layers = reversed(range(len(self.layers)))
        for i in layers:
            if isinstance(tape[i], EmbeddedTape):
                pair = self.layers[i - 1], self.layers[i]
                dstates[i] = pair_backward(*pair, tape[i], dy, dstates[i])
                dy = None  # symbols have no gradient
                next(layers)
            else:
                dy, dstates[i] = self.layers[i].backward(tape[i], dy, dstates[i])
        return dy, dstates


class Residual(Composition):
    """y = x + layer(x): He et al., "Deep residual learning for image recognition" (2016).

    Parameters
    ----------
    layer : layer
        One whose output has the shape of its input. Its parameters have the names "layer.W_x", ...

    Attributes
    ----------
    layer : layer

    Raises
    ------
    TypeError
        If it is not a layer.
    ValueError
        From forward, if y and x differ in shape.
    """

    _leading = ("layer",)

    def __init__(self, layer: Any) -> None:
        check_layer("layer", layer)
        self.layer = layer

    @property
    def parts(self) -> dict[str, Any]:
        return {"layer": self.layer}

    @property
    def config(self) -> dict[str, Any]:
        return {"layer": describe(self.layer)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Residual:
        return cls(build(config["layer"]))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.layer!r})"

    def _add(self, x: Any, y: Any) -> Array:
        skip = as_array("x", x)
        if skip.shape != y.shape or skip.dtype.kind != "f":
            raise ValueError(
                f"x: expected floats of the shape {y.shape} that the layer gives, "
                f"got {skip.dtype} of shape {skip.shape}"
            )
        return np.asarray(y + skip.astype(y.dtype, copy=False))

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None) -> tuple[Any, Any]:
        """y, state: evaluation, keeps nothing."""
        y, after = self.layer(x, state, lengths=lengths)
        return self._add(x, y), after

    def forward(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        training: bool = True,
        call: int | None = None,
    ) -> tuple[Any, Any, Any]:
        """y, state, tape: those of the layer, but for x added to y."""
        given = {"lengths": lengths, "training": training, "call": call}
        y, after, tape = _forward(self.layer, x, state, given)
        return self._add(x, y), after, tape

    def check_backward(self, tape: Any, dstate: Any) -> None:
        _check_backward(self.layer, tape, dstate)

    def backward(self, tape: Any, dy: Any, dstate: Any = None) -> tuple[Any, Any]:
        """dx, dstate; adds to the gradients of the layer."""
        dx, dbefore = self.layer.backward(tape, dy, dstate)
        return dx if dy is None else dx + np.asarray(dy, dtype=dx.dtype), dbefore


class Bidirectional(_core.Bidirectional, Composition):
    """A recurrent layer and a mirror of it, which reads each row from its last step to its first.

    Schuster and Paliwal, "Bidirectional recurrent neural networks" (1997).

    Parameters
    ----------
    layer : RNN, LSTM, GRU or JANET
        The one that reads forwards. The mirror has the same options and weights of its own, drawn
        from the layer's seed.
    merge : {"concat", "sum", "mean", "mul"}, default "concat"
        How the outputs at each step become one: side by side, (B, T, 2H), or combined, (B, T, H).

    Attributes
    ----------
    forward_layer, backward_layer : recurrent layers
        Their parameters have the names "forward.W_x", "backward.W_x", ...
    merge : str

    Raises
    ------
    TypeError, ValueError
        If `layer` is not a recurrent one, is reversed itself, or `merge` is unknown.

    Notes
    -----
    The state is the pair (forward, backward) of states; a tape has the tapes `forward` and
    `backward`.
    """

    _leading = ("layer",)

    def __init__(self, layer: Recurrent, merge: str = "concat") -> None:
        if not isinstance(layer, Recurrent):
            raise TypeError(
                f"layer: expected a recurrent layer (RNN, LSTM, GRU, JANET), got {layer!r:.200}"
            )
        config = layer.config
        if config["reverse"]:
            raise ValueError(
                "layer: expected one with reverse=False; its mirror is the reversed one"
            )
        draw = _core.random_uniform(config["seed"], init.MIRROR_STREAM, 0, 1)[0]
        mirror = type(layer).from_config(config | {"reverse": True, "seed": int(draw * 2**53)})
        super().__init__(cast(Any, layer), cast(Any, mirror), merge)

    @property
    def parts(self) -> dict[str, Any]:
        return {"forward": self.forward_layer, "backward": self.backward_layer}

    @property
    def config(self) -> dict[str, Any]:
        return {"layer": describe(self.forward_layer), "merge": self.merge}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Bidirectional:
        layer = build(config["layer"])
        if not isinstance(layer, Recurrent):
            raise ValueError(f"layer: expected a recurrent layer, got {type(layer).__name__}")
        return cls(layer, config["merge"])

    def __repr__(self) -> str:
        merge = "" if self.merge == "concat" else f", merge={self.merge!r}"
        return f"{type(self).__name__}({self.forward_layer!r}{merge})"

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self.forward_layer, self.backward_layer, self.merge, self.__dict__)
        return copyreg.__newobj__, (type(self),), state  # type: ignore[attr-defined]

    def __setstate__(self, state: tuple[Any, Any, str, dict[str, Any]]) -> None:
        forward_layer, backward_layer, merge, attributes = state
        _core.Bidirectional.__init__(self, forward_layer, backward_layer, merge)
        self.__dict__.update(attributes)
