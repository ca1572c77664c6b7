"""Layers made of layers. All of them speak the one protocol, so any may stand inside any other."""

from __future__ import annotations

import copyreg
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from crnn import _core
from crnn.layers import init
from crnn.layers.base import Array, Layer, as_array, check_layer, check_no_state, underflows
from crnn.layers.description import Widths, build, describe, parameter_count, widths_of
from crnn.layers.lowering import EmbeddedTape, Pair, check_pair_backward, pair_backward, run_as_one
from crnn.layers.options import (
    Given,
    answers_masked,
    check_backward,
    has_no_time_axis,
    is_stochastic,
    steps_there,
)
from crnn.layers.parameters import WithoutBuffer
from crnn.layers.places import add_place, back_in, check_in, run_in, shown
from crnn.layers.pooling import warn_of_reversed
from crnn.layers.recurrent import Recurrent, cell_classes
from crnn.layers.states import states_of
from crnn.layers.streams import ResidualStream, SequentialStream
from crnn.layers.tapes import ask_for_trace
from crnn.layers.tied import built, counting, describing


class Composition(Layer):
    """A layer whose parameters are those of its parts, under dotted names."""

    @property
    def parts(self) -> dict[str, Layer]:
        """The layers this one is made of, by the name that stands before the dot."""
        return {}

    @property
    def answers_masked(self) -> bool:
        """Whether y at masked steps is made of outputs that a part gives there."""
        return any(map(answers_masked, self.parts.values()))

    def place_of(self, key: Any) -> str:
        """Name a part, and show it, for an error that it raises: ``"layer, LSTM(3, 8)"``.

        Parameters
        ----------
        key : str
            The attribute that holds the part.
        """
        return f"{key}, {shown(getattr(self, key))}"

    def _nested(self, what: str) -> dict[str, Array]:
        return {
            f"{prefix}.{name}": array
            for prefix, part in self.parts.items()
            for name, array in getattr(part, what).items()
        }

    @property
    def stochastic(self) -> bool:
        """Whether any of the parts draws random numbers in training that depend on `call`."""
        return any(map(is_stochastic, self.parts.values()))

    @property
    def param_views(self) -> dict[str, Array]:
        return self._nested("params")

    @property
    def grad_views(self) -> dict[str, Array]:
        return self._nested("grads")

    flat_params, flat_grads = WithoutBuffer(), WithoutBuffer()

    def _convert(self, dtype: np.dtype[Any]) -> None:
        for part in self.parts.values():
            part._convert(dtype)


class RunsParts(Composition):
    """A composition that hands the arguments of forward on to its parts, in `_run`."""

    @abstractmethod
    def _run(self, x: Any, state: Any, given: Given, keep: bool) -> tuple[Any, Any, Any]:
        """y, state, tape; without `keep` in evaluation, and the tape means nothing."""

    def __call__(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        mask: Any = None,
        resets: Any = None,
        filled: bool = False,
    ) -> tuple[Any, Any]:
        """y, state: evaluation, keeps nothing. The arguments are those of `forward`."""
        given = Given(lengths, mask, resets, training=False, filled=filled or None)
        y, after, _ = self._run(x, state, given, keep=False)
        return y, after

    def forward(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        mask: Any = None,
        resets: Any = None,
        training: bool = True,
        call: int | None = None,
        first_row: int = 0,
        first_step: int = 0,
        layer: int = 0,
        filled: bool = False,
    ) -> tuple[Any, Any, Any]:
        """y, state, tape. Each part gets those of the arguments that it knows.

        Parameters
        ----------
        x, state
            As the parts take them.
        lengths : (B,) integers, optional
            Steps of each row that are there.
        mask : (B, T) booleans, optional
            False: a step that is not read, whatever stands there; the state is carried. A
            recurrent layer repeats its output, which layers behind it read; before it y is 0.
        resets : (B, T) booleans, optional
            True: the state starts anew before this step.
        training : bool, default True
            False: nothing is dropped.
        call : int, optional
            Number of this call. None: the next one of `calls`, where the parts draw anything.
        first_row, first_step, layer : int, default 0
            Number of the first row and the first step of x, and of this layer in what it is a part
            of: they decide, with `call` and the parts' seeds, what is dropped. Parts are numbered
            from `layer`.
        filled : bool, default False
            True: x at masked steps is the output of a layer before, which layers of single steps
            read. Compositions pass it.
        """
        counts = self.call_number(call, training), first_row, first_step, layer
        given = Given(lengths, mask, resets, training, *counts, filled or None)
        return self._run(x, state, given, keep=True)


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


class Wrapper(RunsParts):
    """A composition of one layer, which is all that it is made of."""

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
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(build(config["layer"]))

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths | None:
        return widths_of(config["layer"])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.layer!r})"


class ResidualTape:
    """The tape of the layer inside, whose attributes and items are this one's.

    `there` are the steps of x that were added, (B, T); None for all.
    """

    def __init__(self, layer: Any, there: NDArray[np.bool_] | None = None) -> None:
        self.layer, self.there = layer, there

    @property
    def parts(self) -> dict[str, Any]:
        """That tape."""
        return {"layer": self.layer}

    def __getattr__(self, name: str) -> Any:
        if name in ("layer", "there"):
            raise AttributeError(name)
        return getattr(self.layer, name)

    def __getitem__(self, key: Any) -> Any:
        return self.layer[key]


class Residual(Wrapper):
    """y = x + layer(x): He et al., "Deep residual learning for image recognition" (2016).

    Where x is not read, past a row's end or at a masked step, y is what the layer gives there.

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

    def _add(self, x: Any, y: Any, there: NDArray[np.bool_] | None = None) -> Array:
        skip = as_array("x", x)
        if skip.shape != y.shape or skip.dtype.kind != "f":
            raise ValueError(
                f"x: expected floats of the shape {y.shape} that the layer gives, "
                f"got {skip.dtype} of shape {skip.shape}"
            )
        return _sum_where(there, y, skip)

    def _run(self, x: Any, state: Any, given: Given, keep: bool) -> tuple[Any, Any, Any]:
        y, after, tape = run_in(self, "layer", given.part(0), x, state, keep)
        mask, there = None if given.filled else given.mask, None
        if given.lengths is not None or mask is not None:
            there = steps_there(given.lengths, mask, np.shape(x))
        return self._add(x, y, there), after, ResidualTape(tape, there)

    def stream(self, batch: int = 1, state: Any = None) -> ResidualStream:
        """The layer one step at a time, as `Sequential.stream`."""
        return ResidualStream(self, self._add, batch, state)

    def check_backward(self, tape: Any, dstate: Any) -> None:
        if not isinstance(tape, ResidualTape):
            given = type(tape).__name__
            raise TypeError(f"tape: expected the one that forward returned, got {given}")
        check_in(self, "layer", tape.layer, dstate)

    def backward(
        self, tape: Any, dy: Any, dstate: Any = None, *, trace: bool = False
    ) -> tuple[Any, Any]:
        """dx, dstate; adds to the gradients of the layer."""
        self.check_backward(tape, dstate)
        if trace:
            ask_for_trace(tape)
        dx, dbefore = back_in(self, "layer", tape.layer, dy, dstate)
        if dy is not None:
            dx = _sum_where(tape.there, dx, dy)
        return dx, dbefore


@underflows
def _sum_where(there: NDArray[np.bool_] | None, array: Array, other: Any) -> Array:
    """array + other, at other steps than these array alone; None: all steps."""
    other = np.asarray(other, array.dtype)
    if there is None:
        return np.asarray(array + other)
    where = there.reshape(there.shape + (1,) * (array.ndim - 2))
    return np.asarray(np.add(array, other, where=where, out=array.copy()))


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
                f"layer: expected a recurrent layer ({', '.join(cell_classes())}), "
                f"got {layer!r:.200}"
            )
        config = layer.config
        if config["reverse"]:
            raise ValueError(
                "layer: expected one with reverse=False; its mirror is the reversed one"
            )
        seed = init.seed_of_part(config["seed"], init.MIRROR_STREAM)
        mirror = type(layer).from_config(config | {"reverse": True, "seed": seed})
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

    @classmethod
    def parameter_count(cls, config: Mapping[str, Any]) -> int:
        return 2 * parameter_count(config["layer"])

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths | None:
        one = widths_of(config["layer"])
        if one is None or one.output is None:
            return None
        sides = 2 if config["merge"] == "concat" else 1
        return Widths(one.input, sides * one.output, 2 * one.state)

    def __repr__(self) -> str:
        merge = "" if self.merge == "concat" else f", merge={self.merge!r}"
        return f"{type(self).__name__}({self.forward_layer!r}{merge})"

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self.forward_layer, self.backward_layer, self.merge, self.__dict__)
        return copyreg.__newobj__, (type(self),), state  # type: ignore[attr-defined]

    def __setstate__(self, state: tuple[Any, Any, str, dict[str, Any]]) -> None:
        forward_layer, backward_layer, merge, attributes = state
        _core.Bidirectional.__init__(self, forward_layer, backward_layer, merge)
        super().__setstate__(attributes)
