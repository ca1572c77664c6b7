"""The base of layers that run as operations of the core alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_count
from crnn.common.representation import never_raising
from crnn.layers.base.layer import Layer, Temporal
from crnn.layers.base.nodes import Graph, Nodes, witness
from crnn.layers.base.tapes import check_tape
from crnn.layers.base.trainable import NO_TAPE


class Described(NamedTuple):
    """The nodes of a layer.

    Attributes
    ----------
    value : int
        The node whose value is the output.
    form : form of a state
        As in `Nodes`.
    names : mapping of str to int
        Nodes whose values the tape shows, by the names of its attributes.
    weights : mapping of str to int
        Nodes of attention whose weights it shows.
    """

    value: int
    form: Any
    names: Mapping[str, int]
    weights: Mapping[str, int] = MappingProxyType({})


class TemporalTape:
    """Tape of a layer of this package.

    Its attributes are values of the steps, arrays (B, T, features), and weights of attention
    (B, M, T, S + T), or of a memory (B, M, T, T_s); which ones there are, the layer says.
    """

    __slots__ = ("_core", "_described", "_number")

    def __init__(self, core: Any, described: Described, number: int) -> None:
        self._core, self._described, self._number = core, described, number

    def __getattr__(self, name: str) -> Array:
        if name.startswith("_") or name not in dir(self):
            raise AttributeError(f"{name}: expected one of {', '.join(dir(self))}")
        weights = self._described.weights
        value: Array = (
            self._core.attention(weights[name])
            if name in weights
            else self._core.value(self._described.names[name])
        )
        return value

    def __dir__(self) -> list[str]:
        return sorted({*self._described.names, *self._described.weights})

    @never_raising
    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {', '.join(dir(self))}>"


class _Planned(NamedTuple):
    """A layer as one call of the core."""

    own: Any  # what the layer was,
    witness: Any  # and its parts
    core: Any
    described: Described


class _Plans(dict[int, _Planned]):
    """The plans of a layer by its number in a model. Copies are empty: they have other arrays."""

    def __reduce__(self) -> Any:
        return _Plans, ()


class CoreTemporal(Temporal):
    """Base of layers that run as operations of the core, alone and in a model.

    A subclass has `_describe`, and `add_nodes`, which calls `_nodes` if the layer is unchanged.
    """

    dtype: Any

    @abstractmethod
    def _describe(self, graph: Graph, x: int, number: int) -> Described:
        """Add the nodes of the layer, which reads node x, to a graph of its type."""

    def _nodes(self, graph: Graph, x: int, number: int) -> Nodes | None:
        """Return the nodes of the layer in the graph of a model."""
        if not graph.matches(self.dtype):
            return None
        filled = graph.filled
        described = self._describe(graph, x, number)
        graph.filled = True

        def tape(call: Any) -> Any:
            return call.temporal(self, x, described.form, number, filled)

        return Nodes(described.value, described.form, tape)

    def _plan(self, number: Any) -> _Planned:
        """Return the plan of the layer with a number; make it anew if the layer has changed."""
        if type(number) is not int or not 0 <= number < 2**32:
            number = check_count("layer", number, 32)
        plans = self.__dict__.get("_plans")
        if plans is None:
            plans = self.__dict__["_plans"] = _Plans()
        plan: _Planned | None = plans.get(number)
        own = tuple(getattr(self, name) for name in ("_frozen", *self.watched))
        parts = list(self.parts.values())
        if plan is None or own != plan.own or not _core.unchanged(parts, plan.witness):
            graph = Graph(self.input_size, self.symbols)
            described = self._describe(graph, 0, number)
            core = _core.Plan(self.dtype, tuple(graph.nodes), described.form, strict=True)
            plan = plans[number] = _Planned(own, witness(parts), core, described)
        return plan

    @property
    def stochastic(self) -> bool:
        """Whether forward draws random numbers in training that depend on ``call``."""
        return bool(self._plan(0).core.stochastic)

    def __call__(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        mask: Any = None,
        resets: Any = None,
        filled: bool | None = False,
    ) -> tuple[Array, Any]:
        """Run the layer in evaluation: nothing is dropped, and nothing is kept for backward.

        Parameters
        ----------
        x, state, lengths, mask, resets, filled
            As for `forward`.

        Returns
        -------
        y : array (B, T, O)
            Output.
        state : state
            State after the last valid step of each row, in the form that the class documents.
        """
        if "forward" in self.__dict__ or type(self).forward is not CoreTemporal.forward:
            return Layer.__call__(self, x, state, lengths=lengths, mask=mask, resets=resets)
        call = x, state, lengths, mask, resets, False, None, 0, 0, bool(filled), False
        y, after = self._plan(0).core.forward(*call)
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
        filled: bool | None = False,
        needs_dx: bool | None = True,
    ) -> tuple[Array, Any, TemporalTape]:
        """Run the layer, and return a tape with all that `backward` needs.

        Parameters
        ----------
        x : floats (B, T, I)
            The sequences.
        state : state, optional
            Initial state, in the form that the class documents. None: nothing was read before.
        lengths : integers (B,), optional
            Number of valid steps of each row, from 0 to T. The steps after them are padding: they
            are not read, and y is 0 there. None: all T steps are valid.
        mask : booleans or integers 0 and 1 (B, T), optional
            False at steps that are not read. They do not count: a step before them and a step after
            them are neighbours. y repeats the last output there. None: all steps are read.
        resets : booleans or integers 0 and 1 (B, T), optional
            True at steps from which on nothing before them is seen. None: there are none.
        training : bool, default True
            False: nothing is dropped.
        call : int, optional
            Number of this call, from 0 to 2**64 - 1. Equal numbers drop the same units. None: the
            next number, which the attribute `calls` counts.
        first_row, first_step : int, default 0
            Number of the first row and of the first step of x, where x is part of a larger batch or
            of longer sequences.
        layer : int, default 0
            Number of this layer in a model.
        filled : bool, default False
            True: x at masked steps is the output of a previous layer. Compositions pass it.
        needs_dx : bool, default True
            False: the tape is for the gradients of the parameters that are trained now alone.

        Returns
        -------
        y : array (B, T, O)
            Output.
        state : state
            State after the last valid step of each row, in the form that the class documents.
        tape : TemporalTape
            Argument of `backward`. Its attributes show values of the steps.

        Raises
        ------
        ValueError, TypeError
            If an argument has a wrong type, shape or value.
        """
        if call is None and training and self.stochastic:
            call = self.next_call()
        plan = self._plan(layer)
        numbers = call, first_row, first_step, bool(filled), True
        wanted = None, needs_dx is not False
        y, after, core = plan.core.forward(
            x, state, lengths, mask, resets, training, *numbers, *wanted
        )
        return y, after, TemporalTape(core, plan.described, layer)

    def check_backward(self, tape: Any, dstate: Any) -> None:
        check_tape(tape, TemporalTape)
        self._plan(tape._number).core.check(tape._core, dstate)

    def backward(
        self, tape: Any, dy: Any, dstate: Any = None, *, trace: bool = False
    ) -> tuple[Any, Any]:
        """Add to `grads`, and return the gradients of x and of the initial state.

        Parameters
        ----------
        tape : TemporalTape
            Returned by `forward` of this layer, or of one with the same sizes and options.
        dy : array like y, or None
            Gradient of the loss with respect to y. None stands for zeros.
        dstate : gradient of the state that `forward` returned, optional
            In the form of the state. None stands for zeros.
        trace : bool, default False
            Compositions pass it; this layer has nothing to trace.

        Returns
        -------
        dx : array like x
            Gradient with respect to x.
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
        if tape is NO_TAPE:
            return None, None
        check_tape(tape, TemporalTape)
        plan = self._plan(tape._number)
        dx, dbefore = plan.core.backward(self, tape._core, dy, dstate, False)
        return dx, dbefore

    def _core_stream(self, batch_size: int, state: Any) -> Any:
        return self._plan(0).core.stream(batch_size, state)

    def stream(self, batch_size: int = 1, state: Any = None) -> Any:
        """Return a stream, which runs the layer one step at a time.

        The stream has copies of the parameters: it does not follow later changes of them. A step
        takes the same time, however many there were, and has the bits of that step in `forward`.

        Parameters
        ----------
        batch_size : int, default 1
            B, the number of rows.
        state : state, optional
            Initial state. None: nothing was read before.

        Returns
        -------
        stream : Stream
            ``stream.step(x)`` takes floats (B, I) and returns y (B, O). ``stream.state`` is the
            state, and ``stream.reset(rows)`` lets rows begin anew.

        Raises
        ------
        ValueError
            If the layer reads backwards.
        """
        self.check_steps_forward()
        return self._core_stream(batch_size, state)
