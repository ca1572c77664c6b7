"""Sequences of layers, in which each layer reads the output of the layer before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast, overload

from numpy.typing import ArrayLike

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.nested import no_state, states_of
from crnn.common.representation import never_raising
from crnn.layers.base.adapted import named_layers
from crnn.layers.base.arguments import (
    ForwardOptions,
    first_part_number,
    is_from_outside,
    reliable_widths,
)
from crnn.layers.base.description import Widths, build, describe, widths_of
from crnn.layers.base.layer import Layer, check_layer
from crnn.layers.base.nodes import Graph, Nodes, runs_unchanged
from crnn.layers.base.places import add_place, layer_backward, shown
from crnn.layers.base.protocol import Input, LayerLike
from crnn.layers.base.tapes import request_trace
from crnn.layers.base.trainable import NO_TAPE, trains
from crnn.layers.compose.planned import (
    MixedTape,
    Planned,
    PlannedTape,
    Run,
    RunsPlanned,
    SequentialTape,
    Stages,
    joined_nodes,
    joined_tapes,
    planned_runs,
    sequence_of,
    width_read,
)
from crnn.layers.compose.pooling import warn_of_reversed
from crnn.layers.compose.streams import SequentialStream
from crnn.layers.pointwise.tied import built, counting, describing

_unchanged = _core.unchanged


class Plan(Stages):
    """What a Sequential knows of its layers: the runs of the core, by the number of the model."""

    def __init__(self, layers: list[Any]) -> None:
        super().__init__(layers)
        self.layers = [stage.adapted for stage in self.stages]
        self.parts = dict(zip(map(str, range(len(layers))), self.layers, strict=True))
        self._runs: dict[int, dict[int, Run]] = {}
        self.whole: Planned | None = None  # with the number 0, if `knows_whole`
        self.knows_whole = False
        self._trains: list[bool] | None = None

    def trains(self, i: int) -> bool:
        """Return whether backward of layer i computes gradients of parameters."""
        if self._trains is None:
            self._trains = list(map(trains, self.layers))
        return self._trains[i]

    def runs(self, number: int) -> dict[int, Run]:
        """Return the runs of layers that the core runs in one call, by their first layers.

        Parameters
        ----------
        number : int
            Number of the model in a larger one.
        """
        try:
            return self._runs[number]
        except KeyError:
            runs = self._runs[number] = planned_runs(self.layers, number)
            return runs

    def planned(self, number: int) -> Planned | None:
        """Return the whole model as one call of the core; None if a layer has no nodes."""
        run = self.runs(number).get(0)
        planned = run.planned if run is not None and run.end == len(self.layers) else None
        if number == 0:
            self.whole, self.knows_whole = planned, True
        return planned

    def __reduce__(self) -> Any:
        return Plan, ([],)  # a copy has other layers, so it makes a new plan


class Sequential(RunsPlanned):
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

    _leading: ClassVar[tuple[str, ...]] = ("layers",)

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

    def __copy__(self) -> Self:
        """Return a model of the same layers, to which others can be added."""
        other = type(self).__new__(type(self))
        state = {name: value for name, value in vars(self).items() if name != "_plan"}
        other.__setstate__(state | {"layers": list(self.layers)})
        return other

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
        return width_read(self.stages)

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
            any(part.counts for part in known),
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
        planned = plan.whole if plan.knows_whole else plan.planned(0)
        return super().stochastic if planned is None else planned.core.stochastic

    def _planned(self) -> Plan:
        """Return the plan; make a new one if a layer, or what its nodes depend on, has changed."""
        plan: Plan | None = self.__dict__.get("_plan")
        if plan is not None and _unchanged(self.layers, plan.witness):
            return plan
        try:
            plan = self._plan = Plan(self.layers)
        except AttributeError:  # the list contains an object that is no layer
            for i, layer in enumerate(self.layers):
                check_layer(f"layers[{i}]", layer)
            raise
        return plan

    def add_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        if not runs_unchanged(self, Sequential):
            return None
        layers = self._planned().layers
        nodes = joined_nodes(graph, layers, 0, x, number)
        return sequence_of(nodes) if len(nodes) == len(layers) else None

    watched = ("layers",)

    @property
    def runs_reversed(self) -> bool:
        return all(layer.runs_reversed for layer in self._planned().layers)

    def _at_once(
        self, x: Any, state: Any, lengths: Any, mask: Any, resets: Any, filled: Any
    ) -> tuple[Any, Any] | None:
        plan: Plan | None = self.__dict__.get("_plan")
        if plan is None or not _unchanged(self.layers, plan.witness):
            plan = self._planned()
        planned = plan.whole if plan.knows_whole else plan.planned(0)
        if planned is None:
            return None
        result: tuple[Any, Any] | None = planned.evaluate(
            x, state, lengths, mask, resets, False, None, 0, 0, filled, False
        )
        return result

    def _run(
        self, x: Any, state: Any, options: ForwardOptions, keep: bool
    ) -> tuple[Any, list[Any], Any]:
        plan, first = self._planned(), first_part_number(options.layer)
        runs, stages, i = plan.runs(first // 64), plan.stages, 0
        states = [None] * len(stages) if state is None else self._states("state", state)
        pieces = list[Any]()  # the tape of a run, or a list of tapes of layers
        while i < len(stages):
            run, end = runs.get(i), i + 1
            result = run and run.planned.run(x, states[i : run.end], options, keep)
            if run and result:
                end = run.end
                x, states[i:end], tape = result
                pieces.append(tape)
            else:
                if not pieces or type(pieces[-1]) is not list:
                    pieces.append([])
                number = (first + i) % 2**32
                x, states[i], tape = self._run_layer(plan, i, x, states[i], options, number, keep)
                pieces[-1].append(tape)
            if options.needs_dx is False and any(plan.trains(k) for k in range(i, end)):
                options = options._replace(needs_dx=None)
            for stage in stages[i:end] if end < len(stages) else ():
                if options.mask is not None or not stage.adapted.keeps_time:
                    options = stage.options_after(options)
            i = end
        whole = len(pieces) == 1 and type(pieces[0]) is PlannedTape
        return x, states, pieces[0] if whole else joined_tapes(pieces)

    def _run_layer(self, plan: Plan, i: int, *arguments: Any) -> tuple[Any, Any, Any]:
        """Run layer i by its methods; the arguments are those of `Runner.run`."""
        try:
            return plan.stages[i].run(*arguments)
        except Exception as error:
            add_place(error, self, i)
            raise

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
            needs_dx: bool | None = True,
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
        stream: _core.Stream[Any] | None = self._core_stream(batch_size, state)
        if stream is not None:
            return stream
        return SequentialStream(self, batch_size, self._states("state", state))

    def _core_stream(self, batch_size: int, state: Any) -> Any:
        planned = self._planned().planned(0)
        if state is not None:
            self._states("state", state)  # an error for another number of states
        return None if planned is None else planned.core.stream(batch_size, state)

    def _pieces(self, tape: Any) -> list[tuple[int, int, Any, Run | None]]:
        """Return the pieces of a tape: the ranges of their layers, and the runs that made them."""
        plan, pieces, begin = self._planned(), list[Any](), 0
        for piece in tape.pieces if type(tape) is MixedTape else [tape]:
            run, end = None, begin
            is_run = type(piece) is PlannedTape and piece.planned.is_sequence
            if is_run or isinstance(piece, SequentialTape):
                end += len(piece)
            if is_run:
                run = plan.runs(piece.planned.number).get(begin)
            pieces.append((begin, end, piece, run if run and run.end == end else None))
            begin = end
        if begin != len(self.layers):
            raise TypeError(
                f"tape: expected the list of {len(self.layers)} tapes that forward returned, "
                f"got {type(tape).__name__}"
            )
        return pieces

    def check_backward(self, tape: Any, dstate: Any) -> None:
        self._check_pieces(self._pieces(tape), self._states("dstate", dstate))

    def _check_pieces(self, pieces: list[Any], dstates: list[Any]) -> None:
        """Raise an error unless backward takes these pieces of a tape and gradients of states."""
        layers = self._planned().layers
        for begin, end, piece, run in pieces:
            if run and run.planned.core.check(piece.core, dstates[begin:end]):
                continue
            for i, layer_tape in enumerate(piece, begin):
                if layer_tape is NO_TAPE:
                    continue
                try:
                    layers[i].check_backward(layer_tape, dstates[i])
                except Exception as error:
                    add_place(error, self, i)
                    raise

    def head_backward(self, tape: Any, state: Any, dy: Any) -> None:
        for i, layer in reversed(list(enumerate(self.stages))):
            try:
                if tape[i] is NO_TAPE:
                    return
                if not no_state(state[i]):
                    layer.head_backward(tape[i], state[i], dy)
                    return
                dy, _ = layer_backward(layer, tape[i], dy)
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
        pieces, dstates = self._pieces(tape), self._states("dstate", dstate)
        if len(pieces) > 1:
            self._check_pieces(pieces, dstates)
        with _core.Writing(self):
            for begin, end, piece, run in reversed(pieces):
                part = dstates[begin:end]
                result = run and run.planned.backward(self, piece, dy, part, trace)
                if result:
                    dy, dstates[begin:end] = result
                else:
                    if len(pieces) == 1:  # the core has not taken it, or has not checked it
                        self._check_pieces(pieces, dstates)
                    if trace:
                        request_trace(piece)
                    dy = self._layers_back(begin, piece, dy, dstates)
        return dy, dstates

    def _layers_back(self, begin: int, tapes: Any, dy: Any, dstates: list[Any]) -> Any:
        """Run layers back by their methods, from the last one to layer `begin`; return dx."""
        for i, tape in reversed(list(enumerate(tapes, begin))):
            try:
                dy, dstates[i] = layer_backward(self.layers[i], tape, dy, dstates[i])
            except Exception as error:
                add_place(error, self, i)
                raise
        return dy
