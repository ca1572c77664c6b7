"""Sequences of layers, in which each layer reads the output of the layer before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast, overload

from numpy.typing import ArrayLike

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.nested import no_state, states_of
from crnn.common.representation import never_raising
from crnn.layers.base.adapted import layer_of, named_layers, stepwise_obstacle
from crnn.layers.base.arguments import (
    ForwardOptions,
    first_part_number,
    is_from_outside,
    reliable_widths,
)
from crnn.layers.base.description import Widths, build, describe, widths_of
from crnn.layers.base.layer import Layer, check_layer, check_no_state
from crnn.layers.base.nodes import Graph, Nodes, runs_unchanged, witness
from crnn.layers.base.places import add_place, shown
from crnn.layers.base.protocol import Input, LayerLike
from crnn.layers.base.tapes import request_trace
from crnn.layers.compose import lowering
from crnn.layers.compose.base import Runner, RunsParts
from crnn.layers.compose.lowering import EmbeddedTape, Pair
from crnn.layers.compose.planned import Planned, PlannedTape, planned_model
from crnn.layers.compose.pooling import warn_of_reversed
from crnn.layers.compose.streams import SequentialStream
from crnn.layers.pointwise.tied import built, counting, describing

_unchanged = _core.unchanged


class Stage(Runner):
    """Runner of one layer of a Sequential.

    Attributes
    ----------
    may_pair : bool
        Whether the layer may run as one with the next layer, if x is symbols.
    """

    __slots__ = ("may_pair",)

    def __init__(self, layer: Any, following: Any) -> None:
        super().__init__(layer)
        self.may_pair = lowering.may_run_as_one(layer, following)


class Plan:
    """What a Sequential knows of its layers. It is valid while these do not change."""

    def __init__(self, layers: list[Any], witness: tuple[Any, ...]) -> None:
        self.witness = witness
        self.stages = list(map(Stage, layers, [*layers[1:], None]))
        self.layers = list(map(layer_of, layers))
        self.parts = dict(zip(map(str, range(len(layers))), self.layers, strict=True))
        self._planned: dict[int, Planned | None] = {}
        self.whole: Planned | None = None  # with the number 0, if `knows_whole`
        self.knows_whole = False

    def planned(self, model: Sequential, number: int) -> Planned | None:
        """Return the model as one call of the core; None if a layer has no nodes.

        Parameters
        ----------
        model : Sequential
        number : int
            Number of the model in a larger one.
        """
        try:
            return self._planned[number]
        except KeyError:
            planned = self._planned[number] = planned_model(model, number)
            if number == 0:
                self.whole, self.knows_whole = planned, True
            return planned

    def __reduce__(self) -> Any:
        return Plan, ([], ())  # a copy has other layers, so it makes a new plan


class SequentialTape(tuple[Any, ...]):
    """Tapes of all layers of one forward, as a tuple."""

    @property
    def parts(self) -> dict[str, Any]:
        """The tapes by the names of the layers, "0", "1", ..."""
        return {str(i): tape for i, tape in enumerate(self)}


class Sequential(RunsParts):
    """Layers in sequence: each layer reads the output of the layer before it.

    Parameters
    ----------
    layers : list or tuple of layers
        At least one layer, of any classes. Their parameters have the names "0.W_x", "1.W", ...

    Attributes
    ----------
    layers : list of layers
        As passed. ``len(model)``, ``model[i]``, slices and iteration work as for the list.

    Raises
    ------
    TypeError
        If `layers` is no list or tuple of layers, or is empty.
    ValueError
        If a layer reads another number of features than the layer before it returns.

    Warns
    -----
    UserWarning
        If ``Pool("last")`` follows a `Bidirectional` or a layer with ``reverse=True``.

    Notes
    -----
    The state is the list of the states of all layers, with None for layers without a state.
    ``tape[i]`` is the tape of layer i. `lengths`, `mask` and `resets` are passed to every layer
    that has these arguments, up to a layer that removes the time axis, such as `Pool`.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> model = crnn.Sequential([crnn.GRU(3, 8, seed=0), crnn.LSTM(8, 8, seed=1), crnn.Dense(8, 2)])
    >>> y, state = model(np.ones((4, 6, 3)), lengths=[6, 2, 5, 1])
    >>> y.shape, len(state), state[2] is None
    ((4, 6, 2), 3, True)
    >>> list(model.params)[:3], model.params["2.W"].shape
    (['0.W_x', '0.W_h', '0.b'], (2, 8))
    """

    _leading = ("layers",)

    #: Names of the layers in errors, if they are not "layers[i]".
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

        An optimizer that was made before raises an error in its next step, because it does not have
        the new parameters. Make a new one.

        Parameters
        ----------
        layer : layer
            The new last layer.

        Raises
        ------
        TypeError
            If it is not a layer.
        ValueError
            If it reads another number of features than the last layer returns.
        """
        check_layer("layer", layer)
        if any(part is self for _, part in named_layers(layer)):
            raise ValueError("layer: expected a layer that does not contain this model, got one")
        Sequential([*self.layers, layer])  # raises if the widths do not match
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
        """Raise ValueError if a layer cannot read the output of the layer before it."""
        before, width, without_time = None, None, None
        for i, layer in enumerate(self.stages):
            reads, returns = reliable_widths(layer)
            reliable = not is_from_outside(layer)  # others may inherit wrong attributes
            if reliable and without_time is not None and (layer.has_state or not layer.keeps_time):
                raise ValueError(
                    f"layers[{i}]: expected a layer that reads vectors (B, F), because "
                    f"{shown(without_time)} removes the time axis, got {shown(layer)}, which reads "
                    "sequences (B, T, F)"
                )
            if reliable and i and layer.symbols is not None and reads is None:
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
            width = returns if returns is not None or not layer.keeps_features else width

    @classmethod
    def _joined(cls, layers: list[Any], names: list[str]) -> Sequential:
        """Make a Sequential of parts of another composition. Errors show these names."""
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
        """Features of x: those of the first layer that does not keep the number of features."""
        for layer in self.stages:
            if layer.input_size is not None or not layer.keeps_features:
                return layer.input_size
        return None

    @property
    def output_size(self) -> int | None:
        """Features of y: those of the last layer that does not keep the number of features."""
        for layer in reversed(self.stages):
            if layer.output_size is not None or not layer.keeps_features:
                return layer.output_size
        return None

    symbols = property(lambda self: self.stages[0].symbols)
    keeps_features = property(lambda self: all(layer.keeps_features for layer in self.stages))
    keeps_time = property(lambda self: all(layer.keeps_time for layer in self.stages))

    @property
    def receptive_field(self) -> float:
        """Number of steps of x on which a step of y depends, through all layers."""
        return 1 + sum(layer.receptive_field - 1 for layer in self.stages)

    sequence_input = property(lambda self: self.stages[0].sequence_input)

    def repeats_masked(self, repeated: bool, training: bool) -> bool:
        for layer in self.stages:
            repeated = layer.repeats_masked(repeated, training)
        return repeated

    def with_vectors(self, symbols: Array, which: int = 0) -> tuple[Layer, Array] | None:
        replaced = self.stages[0].with_vectors(symbols, which)
        if replaced is None:
            return None
        return Sequential([replaced[0], *self.layers[1:]]), replaced[1]

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

    @never_raising
    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.layers!r})"

    def place_of(self, key: int) -> str:
        """Return the name and the repr of a layer, and the repr of the layer before it."""
        name = self._names[key] if self._names else f"layers[{key}]"
        before = f", which follows {shown(self.layers[key - 1])}" if key else ""
        return f"{name}, {shown(self.layers[key])}{before}"

    def _states(self, name: str, state: Any) -> list[Any]:
        return states_of(name, state, len(self.layers))

    @property
    def stochastic(self) -> bool:
        """Whether any layer draws random numbers in training that depend on `call`."""
        plan = self._planned()
        planned = plan.whole if plan.knows_whole else plan.planned(self, 0)
        if planned is not None:
            return planned.core.stochastic
        for stage in plan.stages:  # a generator would add a function call for each layer
            if stage.takes_call and (stage.from_outside or stage.layer.stochastic):
                return True
        return False

    def _planned(self) -> Plan:
        """Return the plan; make a new one if a layer, or what its nodes depend on, has changed."""
        plan: Plan | None = self.__dict__.get("_plan")
        if plan is not None and _unchanged(self.layers, plan.witness):
            return plan
        try:
            plan = self._plan = Plan(self.layers, witness(self.layers))
        except AttributeError:  # the list contains an object that is no layer
            for i, layer in enumerate(self.layers):
                check_layer(f"layers[{i}]", layer)
            raise
        return plan

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        if not runs_unchanged(self, Sequential):
            return None
        first, nodes = first_part_number(number), list[Nodes]()
        for i, layer in enumerate(self.layers):
            part_number = (first + i) % 2**32
            added = layer.add_nodes(graph, x, part_number) if isinstance(layer, Layer) else None
            if added is None:
                return None
            nodes.append(added)
            x = added.value
        forms, tapes = tuple(part.form for part in nodes), [part.tape for part in nodes]
        return Nodes(x, forms, lambda call: SequentialTape(tape(call) for tape in tapes))

    watched = ("layers",)

    def _at_once(
        self, x: Any, state: Any, lengths: Any, mask: Any, resets: Any, filled: Any
    ) -> tuple[Any, Any] | None:
        plan: Plan | None = self.__dict__.get("_plan")
        if plan is None or not _unchanged(self.layers, plan.witness):
            plan = self._planned()
        planned = plan.whole if plan.knows_whole else plan.planned(self, 0)
        if planned is None:
            return None
        result: tuple[Any, Any] | None = planned.evaluate(
            x, state, lengths, mask, resets, False, None, 0, 0, filled, False
        )
        return result

    def _run(
        self, x: Any, state: Any, options: ForwardOptions, keep: bool
    ) -> tuple[Any, list[Any], Any]:
        plan, layer = self._planned(), options.layer
        planned = plan.planned(self, layer) if type(layer) is int and layer >= 0 else None
        if planned is not None:
            result: tuple[Any, list[Any], Any] | None = planned.run(x, state, options, keep)
            if result is not None:
                return result
        stages = plan.stages
        first = 64 * layer + 1 if type(layer) is int and layer >= 0 else first_part_number(layer)
        states = [None] * len(stages) if state is None else self._states("state", state)
        tapes: list[Any] = [None] * len(stages)
        indices = iter(range(len(stages)))
        for i in indices:
            stage, number = stages[i], (first + i) % 2**32
            try:
                if stage.may_pair and lowering.run_as_one(self.layers[i], self.layers[i + 1], x):
                    check_no_state(type(stage.layer).__name__, "state", states[i])
                    pair, i = Pair(self.layers[i], self.layers[i + 1], x, options), next(indices)
                    stage, number = stages[i], (first + i) % 2**32
                    x, states[i], tapes[i] = pair.run(stage, states[i], options, number, keep)
                else:
                    x, states[i], tapes[i] = stage.run(x, states[i], options, number, keep)
            except Exception as error:
                add_place(error, self, i)
                raise
            if options.mask is not None or not stage.adapted.keeps_time:
                options = stage.options_after(options)
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

    def stream(
        self, batch_size: int = 1, state: Any = None
    ) -> SequentialStream | _core.Stream[Any]:
        """Return a stream, which runs the layers one step at a time.

        The stream has copies of the parameters: it does not follow later changes of them.

        Parameters
        ----------
        batch_size : int, default 1
            B, the number of rows.
        state : list of states, optional
            Initial states of all layers. None stands for zeros.

        Returns
        -------
        stream : stream
            ``stream.step(x)`` takes floats (B, I) or integers (B,) and returns y (B, O).
            ``stream.state`` is the list of states, and ``stream.reset(rows)`` sets it to zeros.

        Raises
        ------
        ValueError
            If a layer cannot run step by step, such as `Bidirectional`, `Pool` and layers with
            ``reverse=True``.

        Examples
        --------
        >>> import crnn
        >>> import numpy as np
        >>> model = crnn.Sequential([crnn.GRU(3, 4, seed=0), crnn.Dense(4, 2, seed=1)])
        >>> stream = model.stream(batch_size=5)
        >>> stream.step(np.ones((5, 3))).shape
        (5, 2)
        """
        states = self._states("state", state)
        planned = self._planned().planned(self, 0)
        if planned is not None and stepwise_obstacle(self) is None:
            return planned.core.stream(batch_size, state)
        return SequentialStream(self, batch_size, states)

    def check_backward(self, tape: Any, dstate: Any) -> None:
        if type(tape) is PlannedTape:
            planned = self._planned().planned(self, tape.options.layer)
            if planned and planned.core.check(tape.core, dstate):
                return
            tape = tape.layers
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
                elif tape[i] is None:  # an Embedding that ran as one with the next layer
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
        """Add to the gradients of all layers, and return the gradients of x and of the states.

        Parameters
        ----------
        tape : SequentialTape
            Returned by `forward` of this layer, or of one with the same sizes and options.
        dy : array like y, or None
            Gradient of the loss with respect to y. None stands for zeros.
        dstate : list of gradients of the states that `forward` returned, optional
            None, also as an entry, stands for zeros.
        trace : bool, default False
            Keep the gradients of every step on the tapes of the recurrent layers, for
            `crnn.diagnostics.gradient_flow`.

        Returns
        -------
        dx : array like x, or None
            Gradient with respect to x; None if x was integers.
        dstate : list of gradients
            Gradients of the initial states of all layers.

        Raises
        ------
        TypeError, ValueError
            If an argument has another type or shape, or the tape is one of a different layer. The
            gradients have not changed then.
        RuntimeError
            If another thread is adding to the same gradients.
        """
        if type(tape) is PlannedTape:
            planned = self._planned().planned(self, tape.options.layer)
            result: tuple[Any, list[Any]] | None = None
            if planned is not None:
                result = planned.backward(self, tape, dy, dstate, trace)
            if result is not None:
                return result
        self.check_backward(tape, dstate)
        tape = tape.layers if type(tape) is PlannedTape else tape
        dstates = [None] * len(tape) if dstate is None else self._states("dstate", dstate)
        layers = reversed(range(len(self.layers)))
        with _core.Writing(self):
            if trace:
                request_trace(tape)
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
