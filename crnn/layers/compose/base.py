"""Layers made of layers. All of them speak the one protocol, so any may stand inside any other."""

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
from crnn.layers.base.answers import of_inner
from crnn.layers.base.arguments import STEPS, ForwardOptions, forward_of, is_own
from crnn.layers.base.calls import numbered
from crnn.layers.base.description import Widths, build, describe, widths_of
from crnn.layers.base.layer import Layer, check_layer
from crnn.layers.base.parameters import WithoutBuffer
from crnn.layers.base.places import check_in, shown
from crnn.layers.base.protocol import Input, LayerLike, Part
from crnn.layers.base.tapes import ask_for_trace, check_tape

#: What a layer is run by: equal as long as neither its class nor the layer itself has others.
methods_of = attrgetter("forward", "backward", "__class__.__call__")


class Runner:
    """How a composition runs one of its parts: what of it does not change from call to call.

    Parameters
    ----------
    layer : layer
        crnn's or one of another maker.

    Attributes
    ----------
    layer : layer
        As given.
    known : set of str
        The arguments that its forward takes.
    outside : bool
        Whether its forward is not one of this package.
    draws : bool
        Whether its forward takes `call`, and may draw what depends on it.
    own : Layer
        The layer as a `Layer`: itself, or adapted.
    """

    __slots__ = ("_getters", "_plain", "draws", "known", "layer", "outside", "own")

    def __init__(self, layer: Any) -> None:
        self.layer, self.own = layer, layer_of(layer)
        self.known, self.outside = forward_of(layer)
        self.draws = "call" in self.known
        names = [name for name in ForwardOptions._fields if name in self.known]
        of_call = [name for name in names if name in (*STEPS, "filled")]
        self._getters = {True: _getter(names), False: _getter(of_call)}
        self._plain = not self.outside and is_own(class_of(layer).__call__)

    def run(
        self,
        x: Any,
        state: Any,
        given: ForwardOptions,
        number: int,
        keep: bool,
        instead: Any = None,
    ) -> tuple[Any, Any, Any]:
        """y, state, tape, from those of the arguments that the layer's forward knows.

        Parameters
        ----------
        x, state
            As the layer takes them.
        given : ForwardOptions
        number : int
            Of the layer in what it is a part of.
        keep : bool
            False: evaluation, and no tape.
        instead : layer, optional
            One that is run in place of the layer, and takes the same arguments.
        """
        layer = self.layer if instead is None else instead
        if given.mask is not None and not given.filled and "mask" not in self.known:
            x = _without_masked(x, given.mask)
        names, values = self._getters[keep]
        options = dict(zip(names, values(given)))  # noqa: B905 - as many
        if not self._plain:
            options = {name: value for name, value in options.items() if value is not None}
        if not keep:
            y, after = layer(x, state, **options)
            return y, after, None
        if self.draws:
            options["layer"] = number
            if given.call is None:
                options.pop("call", None)
        if self.outside and given.training and given.call is not None:
            with numbered(given.call):  # for the layers that it calls
                y, after, tape = layer.forward(x, state, **options)
        else:
            y, after, tape = layer.forward(x, state, **options)
        return y, after, tape

    def behind(self, given: ForwardOptions) -> ForwardOptions:
        """The arguments for a layer that reads what this one gives."""
        if not self.own.keeps_time:
            return given.without_steps()
        if given.mask is not None and arguments.answers_masked(self.own):
            return given._replace(filled=True)
        return given


def _getter(names: Sequence[str]) -> tuple[Sequence[str], Callable[[ForwardOptions], Any]]:
    """Names of arguments, and a function that gets them."""
    if len(names) > 1:
        return names, attrgetter(*names)
    return names, lambda given: [getattr(given, name) for name in names]


def run_layer(
    layer: Any, x: Any, state: Any, given: ForwardOptions, keep: bool
) -> tuple[Any, Any, Any]:
    """y, state, tape of any layer, see `Runner.run`."""
    return Runner(layer).run(x, state, given, given.layer, keep)


def _without_masked(x: Any, mask: Any) -> Any:
    """x with zeros at masked steps, for a layer that takes no mask: they may hold anything."""
    if not isinstance(x, np.ndarray) or x.ndim < 2:
        return x
    there = check_steps("mask", mask, x.shape)
    return np.where(there.reshape(there.shape + (1,) * (x.ndim - 2)), x, x.dtype.type(0))


class Runners(dict[str, tuple[Any, Runner]]):
    """How the parts of a composition are run. A copy begins without: it has other parts."""

    def __reduce__(self) -> Any:
        return Runners, ()


class Composition(Layer):
    """A layer whose parameters are those of its parts, under dotted names.

    What others ask about it, it answers from what its parts answer.
    """

    #: Arguments of the constructor that are layers; `_arguments` are the others.
    _layers: ClassVar[tuple[str, ...]] = ()

    @property
    def _own_config(self) -> dict[str, Any]:
        """The arguments that are no layers."""
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
        """The layers this one is made of, by the name that stands before the dot."""
        return {}

    @property
    def answers_masked(self) -> bool:
        """Whether y at masked steps is made of outputs that a part gives there."""
        return any(map(arguments.answers_masked, self.parts.values()))

    has_state = property(lambda self: any(part.has_state for part in self.parts.values()))

    @property
    def reads_backwards(self) -> bool:
        """Whether any of the parts reads backwards."""
        return any(part.reads_backwards for part in self.parts.values())

    def runner(self, key: str) -> Runner:
        """How the part that the attribute `key` holds is run."""
        layer = getattr(self, key)
        methods, runners = methods_of(layer), self.__dict__.get("_runners")
        if runners is None:
            runners = self.__dict__["_runners"] = Runners()
        found = runners.get(key)
        if found is None or found[0] != methods:
            found = runners[key] = methods, Runner(layer)
        runner: Runner = found[1]
        return runner

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


class RunsParts(Composition):
    """A composition that hands the arguments of forward on to its parts, in `_run`."""

    @abstractmethod
    def _run(self, x: Any, state: Any, given: ForwardOptions, keep: bool) -> tuple[Any, Any, Any]:
        """y, state, tape; without `keep` in evaluation, and the tape means nothing."""

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
        """y, state: evaluation, keeps nothing. The arguments are those of `forward`."""
        given = ForwardOptions(lengths, mask, resets, training=False, filled=filled or None)
        y, after, _ = self._run(x, state, given, keep=False)
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
    ) -> tuple[Array, Any, Any]:
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
        if call is None and training and self.stochastic:
            call = self.next_call()
        counts = call, first_row, first_step, layer
        given = ForwardOptions(lengths, mask, resets, training, *counts, filled or None)
        return self._run(x, state, given, keep=True)

    def backward(
        self, tape: Any, dy: ArrayLike | None, dstate: Any = None, *, trace: bool = False
    ) -> tuple[Any, Any]:
        """dx, dstate; adds to the gradients of the parts. `dy` None stands for zeros.

        With `trace` the tapes of the recurrent layers inside keep one.
        """
        self.check_backward(tape, dstate)
        dy = self._checked_dy(tape, dy)
        with _core.Writing(self):
            if trace:
                ask_for_trace(tape)
            return self._back(tape, dy, dstate)

    def _checked_dy(self, tape: Any, dy: Any) -> Any:
        """The dy that `_back` takes, or an error before anything has changed."""
        return dy

    def _back(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        """dx, dstate of a tape and a dstate that were checked; adds to the gradients."""
        raise NotImplementedError


class Wrapper(RunsParts):
    """A composition around one layer, `layer`, which reads x; it answers what that one answers."""

    _leading: ClassVar[tuple[str, ...]] = ("layer",)
    _layers: ClassVar[tuple[str, ...]] = ("layer",)
    #: What `_run` makes: of the tape `layer` and of what else the way back needs.
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

    input_size, output_size = of_inner("input_size"), of_inner("output_size")
    symbols, receptive_field = of_inner("symbols"), of_inner("receptive_field")
    keeps_features, keeps_time = of_inner("keeps_features"), of_inner("keeps_time")

    def repeats_masked(self, repeated: bool, training: bool) -> bool:
        return self.inner.repeats_masked(repeated, training)

    def check_backward(self, tape: Any, dstate: Any) -> None:
        check_tape(tape, self._tape)
        check_in(self, "layer", tape.layer, dstate)

    def with_vectors(self, symbols: Array, which: int = 0) -> tuple[Layer, Array] | None:
        found = self.inner.with_vectors(symbols)
        return None if found is None else (self._around(found[0]), found[1])

    def _around(self, layer: Layer) -> Self:
        """Return this layer with another one inside."""
        other = copy.copy(self)
        other.layer = layer
        return other

    @classmethod
    def _widths(cls, config: Mapping[str, Any]) -> Widths | None:
        return widths_of(config["layer"])


class Unnamed(Wrapper):
    """A wrapper that stands before no dot: parameters have the names that the layer gives them."""

    @property
    def param_views(self) -> dict[str, Array]:
        return dict(self.layer.params)

    @property
    def grad_views(self) -> dict[str, Array]:
        return dict(self.layer.grads)
