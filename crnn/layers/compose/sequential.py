"""Layers one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast, overload

from numpy.typing import ArrayLike

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.nested import no_state, states_of
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import (
    ForwardOptions,
    first_part,
    is_from_outside,
    widths_told,
)
from crnn.layers.base.description import Widths, build, describe, widths_of
from crnn.layers.base.layer import Layer, check_layer, check_no_state
from crnn.layers.base.places import add_place, shown
from crnn.layers.base.protocol import Input, LayerLike
from crnn.layers.base.tapes import ask_for_trace
from crnn.layers.compose import lowering
from crnn.layers.compose.base import Runner, RunsParts, methods_of
from crnn.layers.compose.lowering import EmbeddedTape, Pair
from crnn.layers.compose.pooling import warn_of_reversed
from crnn.layers.compose.streams import SequentialStream
from crnn.layers.pointwise.tied import built, counting, describing


class Stage(Runner):
    """How a layer of a Sequential is run.

    Attributes
    ----------
    pairs : bool
        Whether it may run as one with the layer behind it, where x are symbols.
    """

    __slots__ = ("pairs",)

    def __init__(self, layer: Any, behind: Any) -> None:
        super().__init__(layer)
        self.pairs = lowering.may_run_as_one(layer, behind)


class Plan:
    """How the layers of a Sequential are run, as long as they are these and have these methods."""

    def __init__(self, layers: list[Any], methods: list[Any]) -> None:
        self.methods = methods
        self.stages = list(map(Stage, layers, [*layers[1:], None]))
        self.layers = list(map(layer_of, layers))
        self.parts = dict(zip(map(str, range(len(layers))), self.layers, strict=True))

    def __reduce__(self) -> Any:
        return Plan, ([], [])  # a copy has other layers, and plans anew


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

    def __init__(self, layers: Sequence[LayerLike]) -> None:
        if not isinstance(layers, (list, tuple)) or not layers:
            raise TypeError(f"layers: expected a list of at least one layer, got {layers!r:.200}")
        for i, layer in enumerate(layers):
            check_layer(f"layers[{i}]", layer)
        self.layers: list[Any] = list(layers)
        self._check_widths()
        warn_of_reversed(self.stages)

    def append(self, layer: LayerLike) -> None:
        """Add a layer at the end.

        An optimizer that was made before does not have its parameters, and says so: make a new one.

        Raises
        ------
        TypeError
            If it is not a layer.
        ValueError
            If it reads another number of features than the last layer returns.
        """
        check_layer("layer", layer)
        Sequential([*self.layers, layer])  # raises where they do not fit
        self.layers.append(layer)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Any:
        return Sequential(self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def _check_widths(self) -> None:
        """ValueError where a layer gives another number of features than the next one reads."""
        before, width, without_time = None, None, None
        for i, layer in enumerate(self.stages):
            reads, gives = widths_told(layer)
            own = not is_from_outside(layer)  # others may have changed what they inherit
            if own and without_time is not None and (layer.has_state or not layer.keeps_time):
                raise ValueError(
                    f"layers[{i}]: expected a layer that reads vectors (B, F), because "
                    f"{shown(without_time)} removes the time axis, got {shown(layer)}, which reads "
                    "sequences (B, T, F)"
                )
            if own and i and layer.symbols is not None and reads is None:
                raise ValueError(
                    f"layers[{i}]: expected a layer that reads the outputs of {shown(before)}, got "
                    f"{shown(layer)}, which reads symbols"
                )
            if None not in (width, reads) and width != reads:
                raise ValueError(
                    f"layers[{i}]: expected a layer that reads the {width} features of "
                    f"{shown(before)}, got {shown(layer)}, which reads {reads}"
                )
            before = layer
            without_time = without_time if layer.keeps_time else layer
            width = gives if gives is not None or not layer.keeps_features else width

    @classmethod
    def _joined(cls, layers: list[Any], names: list[str]) -> Sequential:
        """Parts of another composition, one after the other; errors call them by these names."""
        made = cls.__new__(cls)
        made.layers, made._names = layers, names
        return made

    @property
    def stages(self) -> list[Layer]:
        """The layers."""
        return self._planned().layers

    @property
    def parts(self) -> dict[str, Layer]:
        return self._planned().parts

    @property
    def input_size(self) -> int | None:
        """That of the first layer that has one, where those before it keep the features of x."""
        for layer in self.stages:
            if layer.input_size is not None or not layer.keeps_features:
                return layer.input_size
        return None

    @property
    def output_size(self) -> int | None:
        """That of the last layer that has one, where those behind it keep its features."""
        for layer in reversed(self.stages):
            if layer.output_size is not None or not layer.keeps_features:
                return layer.output_size
        return None

    symbols = property(lambda self: self.stages[0].symbols)
    keeps_features = property(lambda self: all(layer.keeps_features for layer in self.stages))
    keeps_time = property(lambda self: all(layer.keeps_time for layer in self.stages))

    @property
    def receptive_field(self) -> float:
        """Steps of x that a step of y depends on, through all layers."""
        return 1 + sum(layer.receptive_field - 1 for layer in self.stages)

    sequence_input = property(lambda self: self.stages[0].sequence_input)

    def repeats_masked(self, repeated: bool, training: bool) -> bool:
        for layer in self.stages:
            repeated = layer.repeats_masked(repeated, training)
        return repeated

    def with_vectors(self, symbols: Array, which: int = 0) -> tuple[Layer, Array] | None:
        found = self.stages[0].with_vectors(symbols, which)
        return None if found is None else (Sequential([found[0], *self.layers[1:]]), found[1])

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
            known[-1].last,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.layers!r})"

    def place_of(self, key: int) -> str:
        """Name the layer of this index, and the one before it."""
        name = self._names[key] if self._names else f"layers[{key}]"
        before = f", which follows {shown(self.layers[key - 1])}" if key else ""
        return f"{name}, {shown(self.layers[key])}{before}"

    def _states(self, name: str, state: Any) -> list[Any]:
        return states_of(name, state, len(self.layers))

    @property
    def stochastic(self) -> bool:
        """Whether any of the layers draws random numbers in training that depend on `call`."""
        for stage in self._planned().stages:  # a generator would cost a call for each
            if stage.draws and (stage.outside or stage.layer.stochastic):
                return True
        return False

    def _planned(self) -> Plan:
        """How the layers are run: made once, and again where one of them has changed."""
        try:
            methods = list(map(methods_of, self.layers))
        except AttributeError:  # something else was put into the list
            for i, layer in enumerate(self.layers):
                check_layer(f"layers[{i}]", layer)
            raise
        plan = self.__dict__.get("_plan")
        if plan is None or plan.methods != methods:
            plan = self._plan = Plan(self.layers, methods)
        return plan

    def _run(
        self, x: Any, state: Any, given: ForwardOptions, keep: bool
    ) -> tuple[Any, list[Any], SequentialTape]:
        stages, layer = self._planned().stages, given.layer
        first = 64 * layer + 1 if type(layer) is int and layer >= 0 else first_part(layer)
        states = [None] * len(stages) if state is None else self._states("state", state)
        tapes: list[Any] = [None] * len(stages)
        places = iter(range(len(stages)))
        for i in places:
            stage, number = stages[i], (first + i) % 2**32
            try:
                if stage.pairs and lowering.run_as_one(self.layers[i], self.layers[i + 1], x):
                    pair, i = Pair(self.layers[i], self.layers[i + 1], x, given), next(places)
                    stage, number = stages[i], (first + i) % 2**32
                    x, states[i], tapes[i] = pair.run(stage, states[i], given, number, keep)
                else:
                    x, states[i], tapes[i] = stage.run(x, states[i], given, number, keep)
            except Exception as error:
                add_place(error, self, i)
                raise
            if given.mask is not None or not stage.own.keeps_time:
                given = stage.behind(given)
        return x, states, SequentialTape(tapes)

    if TYPE_CHECKING:

        def __call__(
            self,
            x: Input,
            state: Sequence[Any] | None = None,
            *,
            lengths: ArrayLike | None = None,
            mask: ArrayLike | None = None,
            resets: ArrayLike | None = None,
            filled: bool = False,
        ) -> tuple[Array, list[Any]]: ...

        def forward(
            self,
            x: Input,
            state: Sequence[Any] | None = None,
            *,
            lengths: ArrayLike | None = None,
            mask: ArrayLike | None = None,
            resets: ArrayLike | None = None,
            training: bool = True,
            call: int | None = None,
            first_row: int = 0,
            first_step: int = 0,
            layer: int = 0,
            filled: bool = False,
        ) -> tuple[Array, list[Any], SequentialTape]: ...

    def stream(self, batch_size: int = 1, state: Any = None) -> SequentialStream:
        """The layers one step at a time, with the weights as they are now.

        Parameters
        ----------
        batch_size : int, default 1
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
        return SequentialStream(self, batch_size, self._states("state", state))

    def check_backward(self, tape: Any, dstate: Any) -> None:
        if not isinstance(tape, SequentialTape) or len(tape) != len(self.layers):
            raise TypeError(
                f"tape: expected the list of {len(self.layers)} tapes that forward returned, "
                f"got {type(tape).__name__}"
            )
        dstates = [None] * len(tape) if dstate is None else self._states("dstate", dstate)
        for i, layer in enumerate(self._planned().layers):
            try:
                if isinstance(tape[i], EmbeddedTape):
                    lowering.check_pair_backward(self.layers[i - 1], layer, tape[i], dstates[i])
                elif tape[i] is None:  # the embedding before it: the next tape is of both
                    check_no_state(type(layer).__name__, "dstate", dstates[i])
                else:
                    layer.check_backward(tape[i], dstates[i])
            except Exception as error:
                add_place(error, self, i)
                raise

    def head_backward(self, tape: Any, state: Any, dy: Any) -> None:
        for i, layer in reversed(list(enumerate(self.stages))):
            try:
                if not no_state(state[i]):
                    layer.head_backward(tape[i], state[i], dy)
                    return
                dy, _ = layer.backward(tape[i], dy)
            except Exception as error:
                add_place(error, self, i)
                raise

    def backward(
        self, tape: Any, dy: ArrayLike | None, dstate: Any = None, *, trace: bool = False
    ) -> tuple[Any, list[Any]]:
        """dx, dstates; adds to the gradients of all layers. With `trace`, their tapes keep it."""
        self.check_backward(tape, dstate)
        dstates = [None] * len(tape) if dstate is None else self._states("dstate", dstate)
        layers = reversed(range(len(self.layers)))
        with _core.Writing(self):
            if trace:
                ask_for_trace(tape)
            for i in layers:
                try:
                    if isinstance(tape[i], EmbeddedTape):
                        pair = self.layers[i - 1], self.layers[i]
                        dstates[i] = lowering.pair_backward(*pair, tape[i], dy, dstates[i])
                        dy = None  # symbols have no gradient
                        next(layers)
                    else:
                        dy, dstates[i] = self.layers[i].backward(tape[i], dy, dstates[i])
                except Exception as error:
                    add_place(error, self, i)
                    raise
        return dy, dstates
