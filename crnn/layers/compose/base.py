"""Base classes of compositions, which are layers that contain layers."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_steps
from crnn.layers.base import arguments
from crnn.layers.base.adapted import class_of, layer_of
from crnn.layers.base.arguments import (
    STEPS,
    ForwardOptions,
    first_part_number,
    forward_of,
    is_crnn_function,
)
from crnn.layers.base.attributes import from_inner
from crnn.layers.base.calls import numbered
from crnn.layers.base.description import Widths, build, describe, widths_of
from crnn.layers.base.layer import Layer, check_layer
from crnn.layers.base.nodes import Graph, Nodes
from crnn.layers.base.parameters import WithoutBuffer
from crnn.layers.base.places import check_part, shown
from crnn.layers.base.protocol import Input, LayerLike, Part
from crnn.layers.base.tapes import check_tape, request_trace
from crnn.layers.base.trainable import NO_TAPE, trains

#: Returns the methods that run a layer. They are compared to notice when one of them is replaced.
methods_key = attrgetter("forward", "backward", "__class__.__call__")


class Runner:
    """Runs one part of a composition: passes the arguments that the part takes.

    It keeps all that does not change from call to call.

    Parameters
    ----------
    layer : layer
        A layer of crnn, or an object with the methods of one.

    Attributes
    ----------
    layer : layer
        The part itself.
    adapted : Layer
        The part, wrapped in `Adapted` if it is no `Layer`.
    option_names : set of str
        Names of the arguments of its forward.
    from_outside : bool
        Whether its forward is defined outside of crnn.
    takes_call : bool
        Whether its forward takes `call`, so that it may draw random numbers.
    """

    __slots__ = (
        "_getters",
        "_takes_none",
        "adapted",
        "from_outside",
        "layer",
        "option_names",
        "takes_call",
    )

    def __init__(self, layer: Any) -> None:
        self.layer, self.adapted = layer, layer_of(layer)
        self.option_names, self.from_outside = forward_of(layer)
        self.takes_call = "call" in self.option_names
        # a forward from outside may pass its ``**options`` on to layers that do not take needs_dx
        own = self.option_names - ({"needs_dx"} if self.from_outside else set())
        names = [name for name in ForwardOptions._fields if name in own]
        in_evaluation = [name for name in names if name in (*STEPS, "filled")]
        self._getters = {True: _getter(names), False: _getter(in_evaluation)}
        # methods of crnn take None for each option; others get only options that are not None
        self._takes_none = not self.from_outside and is_crnn_function(class_of(layer).__call__)

    def run(
        self,
        x: Any,
        state: Any,
        options: ForwardOptions,
        number: int,
        keep: bool,
    ) -> tuple[Any, Any, Any]:
        """Run the layer with the options that its forward takes; return y, state, tape.

        Parameters
        ----------
        x, state
            Arguments of the layer.
        options : ForwardOptions
            Options of the composition.
        number : int
            Number of the layer in the composition, see `ForwardOptions.for_part`.
        keep : bool
            True: call forward. False: evaluate, and return None as the tape.
        """
        layer = self.layer
        if keep and options.needs_dx is False and not trains(layer):
            return *self._without_tape(x, state, options, number), NO_TAPE
        if options.mask is not None and not options.filled and "mask" not in self.option_names:
            x = _without_masked(x, options.mask)
        names, values = self._getters[keep]
        keywords = dict(zip(names, values(options)))  # noqa: B905 - they have the same length
        if not self._takes_none:
            keywords = {name: value for name, value in keywords.items() if value is not None}
        if not keep:
            y, after = layer(x, state, **keywords)
            return y, after, None
        if self.takes_call:
            keywords["layer"] = number
            if options.call is None:
                keywords.pop("call", None)
        if self.from_outside and options.training and options.call is not None:
            with numbered(options.call):  # for layers that this forward calls without `call`
                y, after, tape = layer.forward(x, state, **keywords)
        else:
            y, after, tape = layer.forward(x, state, **keywords)
        return y, after, tape

    def _without_tape(
        self, x: Any, state: Any, options: ForwardOptions, number: int
    ) -> tuple[Any, Any]:
        """Return y and state of a layer that is not trained, as its forward computes them."""
        draws = self.from_outside or (self.takes_call and self.layer.stochastic)
        wanted = options._replace(needs_dx=None)
        return self.run(x, state, wanted, number, bool(options.training and draws))[:2]

    def options_after(self, options: ForwardOptions) -> ForwardOptions:
        """Return the options for a layer that reads the output of this layer."""
        if not self.adapted.keeps_time:
            return options.without_steps()
        if options.mask is not None and arguments.answers_masked(self.adapted):
            return options._replace(filled=True)
        return options


def _getter(names: Sequence[str]) -> tuple[Sequence[str], Callable[[ForwardOptions], Any]]:
    """Return the names of options, and a function that returns their values."""
    if len(names) > 1:
        return names, attrgetter(*names)
    return names, lambda options: [getattr(options, name) for name in names]


def run_layer(
    layer: Any, x: Any, state: Any, options: ForwardOptions, keep: bool
) -> tuple[Any, Any, Any]:
    """Run any layer by `Runner.run`; return y, state, tape."""
    return Runner(layer).run(x, state, options, options.layer, keep)


def _without_masked(x: Any, mask: Any) -> Any:
    """Return x with zeros at masked steps, for a layer that takes no mask."""
    if not isinstance(x, np.ndarray) or x.ndim < 2:
        return x
    read = check_steps("mask", mask, x.shape)
    return np.where(read.reshape(read.shape + (1,) * (x.ndim - 2)), x, x.dtype.type(0))


class Runners(dict[str, tuple[Any, Runner]]):
    """Cache of the runners of a composition's parts. A copy is empty, because its parts differ."""

    def __reduce__(self) -> Any:
        return Runners, ()


class Composition(Layer):
    """Base of layers whose parameters are those of their parts, with dotted names.

    The attributes that describe the layer are computed from those of its parts.
    """

    #: Names of the arguments of the constructor that are layers; `_arguments` has the others.
    _layers: ClassVar[tuple[str, ...]] = ()

    @property
    def _own_config(self) -> dict[str, Any]:
        """The arguments of the constructor that are no layers."""
        return super().config

    @property
    def config(self) -> dict[str, Any]:
        return {name: describe(getattr(self, name)) for name in self._layers} | self._own_config

    def _shown(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._layers} | self._own_config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(**(dict(config) | {name: build(config[name]) for name in cls._layers}))

    @property
    def parts(self) -> dict[str, Layer]:
        """The layers inside this layer, by the prefix of the names of their parameters."""
        return {}

    @property
    def answers_masked(self) -> bool:
        """Whether y at masked steps is computed from outputs of a part, and not 0."""
        return any(map(arguments.answers_masked, self.parts.values()))

    has_state = property(lambda self: any(part.has_state for part in self.parts.values()))

    @property
    def reads_backwards(self) -> bool:
        """Whether any part reads backwards."""
        return any(part.reads_backwards for part in self.parts.values())

    def runner(self, key: str) -> Runner:
        """Return the runner of the part in the attribute `key`."""
        layer = getattr(self, key)
        methods, runners = methods_key(layer), self.__dict__.get("_runners")
        if runners is None:
            runners = self.__dict__["_runners"] = Runners()
        cached = runners.get(key)
        if cached is None or cached[0] != methods:
            cached = runners[key] = methods, Runner(layer)
        runner: Runner = cached[1]
        return runner

    def place_of(self, key: Any) -> str:
        """Return the name and the repr of a part, such as ``"layer, LSTM(3, 8)"``, for errors.

        Parameters
        ----------
        key : str
            Name of the attribute that has the part.
        """
        return f"{key}, {shown(getattr(self, key))}"

    def _nested(self, attribute: str) -> dict[str, Array]:
        """Return the arrays of all parts from the attribute `params` or `grads`."""
        return {
            f"{prefix}.{name}": array
            for prefix, part in self.parts.items()
            for name, array in getattr(part, attribute).items()
        }

    @property
    def stochastic(self) -> bool:
        """Whether any part draws random numbers in training that depend on `call`."""
        return any(map(arguments.is_stochastic, self.parts.values()))

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

    def zero_grad(self) -> None:
        for part in self.parts.values():
            part.zero_grad()

    def _holds_parameters(self) -> bool:
        return False

    @property
    def _trained_grads(self) -> dict[str, Array]:
        return self._nested("_trained_grads")


class RunsParts(Composition):
    """Base of compositions whose `_run` passes the options of forward to the parts."""

    def _at_once(self, *arguments: Any) -> tuple[Any, Any] | None:
        """Return y and state of an evaluation in one call of the core; None if there is none."""
        return None

    @abstractmethod
    def _run(self, x: Any, state: Any, options: ForwardOptions, keep: bool) -> tuple[Any, Any, Any]:
        """Run the parts; return y, state, tape. The tape is not used if `keep` is False."""

    def __call__(
        self,
        x: Input,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        filled: bool = False,
    ) -> tuple[Array, Any]:
        """Run the layer in evaluation: nothing is dropped, and nothing is kept for backward.

        Parameters
        ----------
        x, state, lengths, mask, resets, filled
            As for `forward`.

        Returns
        -------
        y : array (B, T, O), or (B, O) for a layer that removes the time axis
            Output.
        state : state
            State after the last valid step of each row, in the form that the class documents.
        """
        result = self._at_once(x, state, lengths, mask, resets, filled)
        if result is not None:
            return result
        options = ForwardOptions(lengths, mask, resets, training=False, filled=filled or None)
        y, after, _ = self._run(x, state, options, keep=False)
        return y, after

    def forward(
        self,
        x: Input,
        state: Any = None,
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
    ) -> tuple[Array, Any, Any]:
        """Run the layer, and return a tape with all that `backward` needs.

        Each part gets the arguments that its forward declares.

        Parameters
        ----------
        x : floats (B, T, I), or integers (B, T) for symbols
            The sequences, as the first part reads them.
        state : state, optional
            Initial state, in the form that the class documents. None stands for zeros.
        lengths : integers (B,), optional
            Number of valid steps of each row, from 0 to T. The steps after them are padding. None:
            all T steps are valid.
        mask : booleans or integers 0 and 1 (B, T), optional
            False at steps that are not read. The state does not change there. A recurrent layer
            repeats its last output, which later layers read; layers before it return 0.
        resets : booleans or integers 0 and 1 (B, T), optional
            True at steps before which the state of a row is reset.
        training : bool, default True
            False: nothing is dropped.
        call : int, optional
            Number of this call, from 0 to 2**64 - 1. Equal numbers drop the same units. None: the
            next number, which the attribute `calls` counts.
        first_row, first_step : int, default 0
            Number of the first row and of the first step of x, where x is part of a larger batch or
            of longer sequences.
        layer : int, default 0
            Number of this layer in a model. The numbers of its parts follow from it.
        filled : bool, default False
            True: x at masked steps is the output of a previous layer, and pointwise layers read it.
            Compositions pass it.
        needs_dx : bool, default True
            False: the tape is for the gradients of the parameters that are trained now, as
            `crnn.fit` needs them. Layers on which no such parameter depends keep no tape, and
            `backward` returns None for the gradients of x and of their states.

        Returns
        -------
        y : array (B, T, O), or (B, O) for a layer that removes the time axis
            Output.
        state : state
            State after the last valid step of each row, in the form that the class documents.
        tape : object
            Argument of `backward`. The tapes of the parts are inside.
        """
        if call is None and training and self.stochastic:
            call = self.next_call()
        numbers = call, first_row, first_step, layer
        unwanted = None if needs_dx or needs_dx is None else False
        options = ForwardOptions(
            lengths, mask, resets, training, *numbers, filled or None, unwanted
        )
        return self._run(x, state, options, keep=True)

    def backward(
        self, tape: Any, dy: ArrayLike | None, dstate: Any = None, *, trace: bool = False
    ) -> tuple[Any, Any]:
        """Add to the gradients of the parts, and return the gradients of x and of the state.

        Parameters
        ----------
        tape : object
            Returned by `forward` of this layer, or of one with the same sizes and options.
        dy : array like y, or None
            Gradient of the loss with respect to y. None stands for zeros.
        dstate : gradient of the state that `forward` returned, optional
            In the form of the state. None stands for zeros.
        trace : bool, default False
            Keep the gradients of every step on the tapes of the recurrent layers, for
            `crnn.diagnostics.gradient_flow`.

        Returns
        -------
        dx : array like x, or None
            Gradient with respect to x; None if x was integers.
        dstate : gradient of the initial state
            In the form of the state.

        Raises
        ------
        TypeError, ValueError
            If an argument has another type or shape, or the tape is one of a different layer. The
            gradients have not changed then.
        RuntimeError
            If another thread is adding to the same gradients.
        """
        self.check_backward(tape, dstate)
        dy = self._checked_dy(tape, dy)
        with _core.Writing(self):
            if trace:
                request_trace(tape)
            return self._back(tape, dy, dstate)

    def _checked_dy(self, tape: Any, dy: Any) -> Any:
        """Check dy before any gradient has changed, and return it in the form for `_back`."""
        return dy

    def _back(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        """Add to the gradients, and return dx, dstate. The arguments were checked."""
        raise NotImplementedError


class Wrapper(RunsParts):
    """Base of compositions around one layer, `layer`, which reads x.

    Attributes that describe the layer are those of the layer inside.
    """

    _leading: ClassVar[tuple[str, ...]] = ("layer",)
    _layers: ClassVar[tuple[str, ...]] = ("layer",)
    #: Type of the tape that `_run` returns. Its attribute `layer` is the tape of the layer inside.
    _tape: ClassVar[type[Any]]

    layer: Part

    def __init__(self, layer: LayerLike) -> None:
        check_layer("layer", layer)
        self.layer = layer

    @property
    def inner(self) -> Layer:
        """The layer inside."""
        return layer_of(self.layer)

    @property
    def parts(self) -> dict[str, Layer]:
        return {"layer": self.inner}

    input_size, output_size = from_inner("input_size"), from_inner("output_size")
    symbols, receptive_field = from_inner("symbols"), from_inner("receptive_field")
    keeps_features, keeps_time = from_inner("keeps_features"), from_inner("keeps_time")

    def repeats_masked(self, repeated: bool, training: bool) -> bool:
        return self.inner.repeats_masked(repeated, training)

    def check_backward(self, tape: Any, dstate: Any) -> None:
        check_tape(tape, self._tape)
        check_part(self, "layer", tape.layer, dstate)

    def with_vectors(self, symbols: Array, which: int = 0) -> tuple[Layer, Array] | None:
        replaced = self.inner.with_vectors(symbols)
        return None if replaced is None else (self._with_layer(replaced[0]), replaced[1])

    def _inner_nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        """Add the nodes of the layer inside, where `number` is that of this layer."""
        graph.embedding = None  # the layer inside reads vectors, as it does by its methods
        return self.inner.add_nodes(graph, x, first_part_number(number) % 2**32)

    watched: ClassVar[tuple[str, ...]] = ("layer",)

    def _with_layer(self, layer: Layer) -> Self:
        """Return a copy with another layer inside."""
        other = copy.copy(self)
        other.layer = layer
        return other

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths | None:
        return widths_of(config["layer"])


class WithoutPrefix(Wrapper):
    """Base of wrappers whose parameters have the names of the layer inside, without a prefix."""

    @property
    def param_views(self) -> dict[str, Array]:
        return dict(self.layer.params)

    @property
    def grad_views(self) -> dict[str, Array]:
        return dict(self.layer.grads)

    @property
    def _trained_grads(self) -> dict[str, Array]:
        return dict(self.inner._trained_grads)
