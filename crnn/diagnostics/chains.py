"""Recurrences s_t = F(s_{t-1}, x_t) in a model, and their derivatives step by step.

A model that reads forwards is one recurrence: its state is that of all its layers side by side.
Where some layer reads from the end, the state of one direction depends on outputs that the other
made of later steps, and there is no F for all of it: such a model is taken apart into *chains*,
runs of layers that read in one direction, each with the input that it gets held as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array
from crnn.common.checks import check_lengths, check_steps
from crnn.common.nested import arrays_of, filled, states_of
from crnn.diagnostics.subject import evaluation
from crnn.layers.base.adapted import inside, layer_of
from crnn.layers.base.arguments import EVALUATION, ForwardOptions
from crnn.layers.compose.base import Runner, run_layer
from crnn.layers.compose.sequential import Sequential

_AT_ONCE = 64 << 20
"""Bytes of Jacobians that are there at a time."""


class Chain(NamedTuple):
    """A recurrence, and what it reads.

    Attributes
    ----------
    place : str
        Where it stands in the model: "" for all of it, "forward", "1", "1..3", ...
    layer : layer
        All of whose recurrent parts read in the same direction.
    x : array (B, T, ...)
    state : state
        The initial one.
    given : ForwardOptions
    backwards : bool
        The direction.
    """

    place: str
    layer: Any
    x: Array
    state: Any
    given: ForwardOptions
    backwards: bool


def chains_of(
    layer: Any, x: Any, state: Any, given: ForwardOptions, place: str = ""
) -> Iterator[Chain]:
    """The recurrences that a model is made of, those without a state left out."""
    layer = layer_of(layer)
    if layer.sequence_input is not None and not layer.stages:
        x, state = _conditioned(layer, x, state)
        name = inside(place, "layer") if layer.reads_backwards else place
        yield from chains_of(layer.inner, x, state, given, name)
    elif isinstance(x, tuple):
        first, *rest = layer.stages or [layer]
        states = states_of("state", state, 1 + len(rest))
        x, states[0] = _conditioned(first, x, states[0])
        yield from chains_of(Sequential([first.inner, *rest]), x, states, given, place)
    elif not layer.reads_backwards or not layer.parts:
        chain = Chain(place, layer, x, state, given, layer.reads_backwards)
        if arrays_of(_initial(chain)):
            yield chain
    elif layer.directions:
        states = states_of("state", state, len(layer.directions))
        for (name, part), own in zip(layer.directions.items(), states, strict=True):
            yield from chains_of(part, x, own, given, inside(place, name))
    elif layer.stages:
        states = states_of("state", state, len(layer.stages))
        yield from _stacked(layer.stages, x, states, given, place)
    elif layer.inner is not None:
        yield from chains_of(layer.inner, x, state, given, inside(place, "layer"))
    else:
        raise ValueError(
            f"layer: expected recurrent layers and compositions of crnn, got {layer!r:.100}, whose "
            "parts read in both directions"
        )


def _conditioned(layer: Any, x: Any, state: Any) -> tuple[Any, Any]:
    """The sequences, and the state that the fixed data give."""
    if layer.sequence_input is None or layer.inner is None:
        raise TypeError(
            "x: expected floats (B, T, I) or symbols (B, T), or for a Conditioned, alone or the "
            f"first of a Sequential, the pair that it reads, got a tuple for {layer!r:.100}"
        )
    if state is None:
        _, state, _ = run_layer(layer, (x[0][:, :0], x[1]), None, EVALUATION, False)
    return x[0], state


def _stacked(
    layers: Sequence[Any], x: Any, states: list[Any], given: ForwardOptions, place: str
) -> Iterator[Chain]:
    """Runs of layers that read forwards, and those between them by themselves."""
    mixed = [layer.reads_backwards for layer in layers]
    begin, count = 0, len(mixed)
    while begin < count:
        end = begin + 1
        while end < count and not mixed[begin] and not mixed[end]:
            end += 1
        one = end == begin + 1
        part = layers[begin] if one else Sequential(layers[begin:end])
        own = states[begin] if one else states[begin:end]
        name = str(begin) if one else f"{begin}..{end - 1}"
        yield from chains_of(part, x, own, given, inside(place, name))
        if not part.keeps_time:
            return  # what follows has no steps
        x, _, _ = run_layer(part, x, own, given, False)
        begin, given = end, Runner(part).behind(given)


def _initial(chain: Chain) -> Any:
    """The state before the first step, all arrays of it."""
    return run_layer(chain.layer, chain.x[:, :0], chain.state, EVALUATION, False)[1]


class Steps:
    """The steps of a chain one by one: states, and the Jacobians between them.

    Parameters
    ----------
    chain : Chain

    Attributes
    ----------
    lengths : int64 array (B,)
    width : int
        S, of all arrays of the state side by side.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain, x, given = chain, chain.x, chain.given
        self.batch, self.steps = x.shape[:2]
        self.lengths = np.full(self.batch, self.steps, np.int64)
        if given.lengths is not None:
            self.lengths = check_lengths(given.lengths, x.shape).astype(np.int64)
        self._marks = {
            name: check_steps(name, value, x.shape)
            for name, value in (("mask", given.mask), ("resets", given.resets))
            if value is not None
        }
        self._cut = self._cuts()
        self._like = _initial(chain)
        self._before = self._states()
        self.width = sum(_flat(part).shape[1] for part in arrays_of(self._like))

    @property
    def order(self) -> range:
        """The steps as they are read."""
        return range(self.steps)[::-1] if self._chain.backwards else range(self.steps)

    def _cuts(self) -> NDArray[np.bool_]:
        """(B, T): the steps before which a layer that reads backwards has to be begun anew.

        A reset is a cut between a step and the one before it in x. To a layer that reads forwards a
        single step can say so.
        """
        cut = np.zeros((self.batch, self.steps), bool)
        if self._chain.backwards and (resets := self._marks.pop("resets", None)) is not None:
            there = np.arange(self.steps) < self.lengths[:, None]
            cut[:, :-1] = (resets & there)[:, 1:]
        return cut

    def _begun(self, state: Any, t: int) -> Any:
        """The state before step t, which some rows begin anew."""
        cut = self._cut[:, t]
        if not cut.any():
            return state
        anew = arrays_of(_initial(self._chain._replace(state=None)))
        parts = [part.copy() for part in arrays_of(state)]
        for part, fresh in zip(parts, anew, strict=True):
            part[cut] = fresh[cut]
        return filled(state, parts)

    def _given(self, steps: slice) -> ForwardOptions:
        """What some steps, each as a row of one step, are told."""
        own = (np.arange(self.steps)[steps] < self.lengths[:, None]).astype(np.int64)
        marks: dict[str, Any] = {}
        marks |= {name: mark[:, steps].reshape(-1, 1) for name, mark in self._marks.items()}
        return evaluation(own.reshape(-1), **marks)

    def _states(self) -> list[list[Array]]:
        """The states before each step, in the order of x: of each array T times (B, ...)."""
        state = self._like
        before: list[list[Array]] = [[np.empty(0)] * self.steps for _ in arrays_of(state)]
        for t in self.order:
            state = self._begun(state, t)
            for story, part in zip(before, arrays_of(state), strict=True):
                story[t] = part
            given, x = self._given(slice(t, t + 1)), self._chain.x[:, t : t + 1]
            _, state, _ = run_layer(self._chain.layer, x, state, given, False)
        self._check_end(state)
        return before if self.steps else [[part] for part in arrays_of(state)]

    def _check_end(self, state: Any) -> None:
        """Raise unless this state, which single steps lead to, is that of all steps at once."""
        layer, x, start, given = self._chain[1:5]
        whole = arrays_of(run_layer(layer, x, start, given, False)[1])
        for part, twin in zip(arrays_of(state), whole, strict=True):
            if not np.allclose(part, twin, rtol=1e-6, atol=1e-9, equal_nan=True):
                raise ValueError(
                    "layer: expected one whose state follows from the state before and the input "
                    f"of that step alone, got {layer!r:.100}, which looks at other steps too"
                )

    def jacobians(self, steps: slice) -> NDArray[np.float64]:
        """∂(state after)/∂(state before) of some steps: (B, steps, S, S).

        One run forward over all of them at once, and S walks back along its tape, each from one
        unit of the state.
        """
        chain, layer = self._chain, self._chain.layer
        x = chain.x[:, steps]
        count, x = x.shape[1], x.reshape(x.shape[0] * x.shape[1], 1, *x.shape[2:])
        stories = [np.stack(story[steps], axis=1) for story in self._before]
        before = [story.reshape(len(x), *story.shape[2:]) for story in stories]
        y, after, tape = run_layer(layer, x, filled(self._like, before), self._given(steps), True)
        dy, rows = np.zeros_like(y), []
        for dafter in _units(after):
            _, dbefore = layer.backward(tape, dy, dafter)
            rows.append(np.concatenate([_flat(part) for part in arrays_of(dbefore)], axis=1))
        found: NDArray[np.float64] = np.stack(rows, axis=1)
        found = found.reshape(self.batch, count, *found.shape[1:])
        found[self._cut[:, steps]] = 0
        return found

    def blocks(self) -> list[slice]:
        """Steps to be taken at a time, from the last that is read to the first."""
        each = max(1, _AT_ONCE // (8 * max(1, self.batch) * self.width**2))
        cuts = [slice(t, min(t + each, self.steps)) for t in range(0, self.steps, each)]
        return cuts if self._chain.backwards else cuts[::-1]


def _flat(part: Array) -> Array:
    """An array of a state, (B, ...), as (B, S)."""
    return part.reshape(len(part), math.prod(part.shape[1:]))


def _units(state: Any) -> Iterator[Any]:
    """States of zeros but for one unit that is 1, unit after unit."""
    like = arrays_of(state)
    for i, part in enumerate(like):
        for unit in range(_flat(part).shape[1]):
            zeros = [np.zeros_like(other, order="C") for other in like]
            _flat(zeros[i])[:, unit] = 1
            yield filled(state, zeros)


def products(steps: Steps) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.int64]]]:
    """∂s_T/∂s_t for each t, from the last step that is read to the first.

    Yields
    ------
    t : int
        A step of x.
    product : array (B, S, S)
    exponent : array (B,)
        The derivative is product * 2**exponent: apart, because what explodes or vanishes over many
        steps is more or less than a float can hold.
    """
    product = np.broadcast_to(np.eye(steps.width), (steps.batch, steps.width, steps.width))
    exponent = np.zeros(steps.batch, np.int64)
    backwards = steps.order.step < 0
    for block in steps.blocks():
        found = steps.jacobians(block)
        places = range(block.start, block.stop)
        for t in places if backwards else places[::-1]:
            yield t, product, exponent
            product = product @ found[:, t - block.start]
            largest = np.abs(product).max(axis=(1, 2), initial=0)
            shift = np.where((largest > 0) & np.isfinite(largest), np.frexp(largest)[1], 0)
            product = np.ldexp(product, -shift[:, None, None])
            exponent = exponent + shift
