"""Recurrences s_t = F(s_{t-1}, x_t) in a model, and their derivatives step by step.

A model that reads forwards is one recurrence, whose state consists of the states of all its layers
side by side. If some layers read backwards, the state of one direction depends on outputs of the
other direction at later steps, and no single F exists. Such a model is split into *chains*: groups
of consecutive layers that read in the same direction. The input of each chain is held constant.
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
from crnn.diagnostics.subject import evaluation_options
from crnn.layers.base.adapted import dotted_name, layer_of
from crnn.layers.base.arguments import EVALUATION, ForwardOptions
from crnn.layers.compose.base import Runner, run_layer
from crnn.layers.compose.sequential import Sequential

_BLOCK_BYTES = 64 << 20
"""Size of the Jacobians that are computed at a time."""


class Chain(NamedTuple):
    """A recurrence and its input.

    Attributes
    ----------
    place : str
        Place of its layers in the model: "" for the whole model, "forward", "1", "1..3", ...
    layer : layer
        A layer or composition whose recurrent parts all read in the same direction.
    x : array (B, T, ...)
    state : state
        The initial state.
    options : ForwardOptions
    backwards : bool
        Whether the layer reads from the last step to the first.
    """

    place: str
    layer: Any
    x: Array
    state: Any
    options: ForwardOptions
    backwards: bool


def chains_of(
    layer: Any, x: Any, state: Any, options: ForwardOptions, place: str = ""
) -> Iterator[Chain]:
    """Yield the recurrences of a model, without layers that have no state."""
    layer = layer_of(layer)
    if layer.sequence_input is not None and not layer.stages:
        x, state = _sequence_and_state(layer, x, state)
        name = dotted_name(place, "layer") if layer.reads_backwards else place
        yield from chains_of(layer.inner, x, state, options, name)
    elif isinstance(x, tuple):
        first, *rest = layer.stages or [layer]
        states = states_of("state", state, 1 + len(rest))
        x, states[0] = _sequence_and_state(first, x, states[0])
        yield from chains_of(Sequential([first.inner, *rest]), x, states, options, place)
    elif not layer.reads_backwards or not layer.parts:
        chain = Chain(place, layer, x, state, options, layer.reads_backwards)
        if arrays_of(_initial_state(chain)):
            yield chain
    elif layer.directions:
        states = states_of("state", state, len(layer.directions))
        for (name, part), part_state in zip(layer.directions.items(), states, strict=True):
            yield from chains_of(part, x, part_state, options, dotted_name(place, name))
    elif layer.stages:
        states = states_of("state", state, len(layer.stages))
        yield from _chains_of_stages(layer.stages, x, states, options, place)
    elif layer.inner is not None:
        yield from chains_of(layer.inner, x, state, options, dotted_name(place, "layer"))
    else:
        raise ValueError(
            f"layer: expected recurrent layers and compositions of crnn, got {layer!r:.100}, whose "
            "parts read in both directions"
        )


def _sequence_and_state(layer: Any, x: Any, state: Any) -> tuple[Any, Any]:
    """Return the sequence of a pair x, and the initial state computed from its fixed data."""
    if layer.sequence_input is None or layer.inner is None:
        raise TypeError(
            "x: expected floats (B, T, I) or symbols (B, T), or a pair for a Conditioned, alone or "
            f"the first layer of a Sequential, got a tuple for {layer!r:.100}"
        )
    if state is None:
        _, state, _ = run_layer(layer, (x[0][:, :0], x[1]), None, EVALUATION, False)
    return x[0], state


def _chains_of_stages(
    layers: Sequence[Any], x: Any, states: list[Any], options: ForwardOptions, place: str
) -> Iterator[Chain]:
    """Yield the chains of consecutive layers; layers that read forwards are grouped."""
    backwards = [layer.reads_backwards for layer in layers]
    begin, count = 0, len(backwards)
    while begin < count:
        end = begin + 1
        while end < count and not backwards[begin] and not backwards[end]:
            end += 1
        alone = end == begin + 1
        group = layers[begin] if alone else Sequential(layers[begin:end])
        state = states[begin] if alone else states[begin:end]
        name = str(begin) if alone else f"{begin}..{end - 1}"
        yield from chains_of(group, x, state, options, dotted_name(place, name))
        if not group.keeps_time:
            return  # the layers behind it have no steps
        x, _, _ = run_layer(group, x, state, options, False)
        begin, options = end, Runner(group).options_after(options)


def _initial_state(chain: Chain) -> Any:
    """Return the state before the first step, with an array in place of each None."""
    return run_layer(chain.layer, chain.x[:, :0], chain.state, EVALUATION, False)[1]


class ChainSteps:
    """The single steps of a chain: the states before them, and their Jacobians.

    Parameters
    ----------
    chain : Chain

    Attributes
    ----------
    batch, steps : int
        B and T.
    lengths : int64 array (B,)
        Number of valid steps of each row.
    width : int
        S, the width of all arrays of the state side by side.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain, x, options = chain, chain.x, chain.options
        self.batch, self.steps = x.shape[:2]
        self.lengths = np.full(self.batch, self.steps, np.int64)
        if options.lengths is not None:
            self.lengths = check_lengths(options.lengths, x.shape).astype(np.int64)
        self._masks = {
            name: check_steps(name, value, x.shape)
            for name, value in (("mask", options.mask), ("resets", options.resets))
            if value is not None
        }
        self._restarts = self._backward_restarts()
        self._initial = _initial_state(chain)
        self._before = self._states_before()
        self.width = sum(_flat(part).shape[1] for part in arrays_of(self._initial))

    @property
    def order(self) -> range:
        """The steps in the order in which they are read."""
        return range(self.steps)[::-1] if self._chain.backwards else range(self.steps)

    def _backward_restarts(self) -> NDArray[np.bool_]:
        """Return (B, T): the steps at which a layer that reads backwards starts anew.

        A reset at step t separates the steps t - 1 and t. A layer that reads forwards applies it
        in a run of step t alone; a layer that reads backwards would have to apply it in a run of
        step t - 1, so its state is reset here. The resets of such a layer are removed from
        `_masks`.
        """
        restarts = np.zeros((self.batch, self.steps), bool)
        if self._chain.backwards and (resets := self._masks.pop("resets", None)) is not None:
            valid = np.arange(self.steps) < self.lengths[:, None]
            restarts[:, :-1] = (resets & valid)[:, 1:]
        return restarts

    def _restarted(self, state: Any, t: int) -> Any:
        """Return the state before step t with the initial state in rows that start anew."""
        rows = self._restarts[:, t]
        if not rows.any():
            return state
        initial = arrays_of(_initial_state(self._chain._replace(state=None)))
        parts = [part.copy() for part in arrays_of(state)]
        for part, fresh in zip(parts, initial, strict=True):
            part[rows] = fresh[rows]
        return filled(state, parts)

    def _options_of(self, steps: slice) -> ForwardOptions:
        """Return the options for a run in which each of these steps is a row of one step."""
        lengths = (np.arange(self.steps)[steps] < self.lengths[:, None]).astype(np.int64)
        masks: dict[str, Any] = {}
        masks |= {name: mask[:, steps].reshape(-1, 1) for name, mask in self._masks.items()}
        return evaluation_options(lengths.reshape(-1), **masks)

    def _states_before(self) -> list[list[Array]]:
        """Return the states before each step: for each array of the state a list of T (B, ...)."""
        state = self._initial
        before: list[list[Array]] = [[np.empty(0)] * self.steps for _ in arrays_of(state)]
        for t in self.order:
            state = self._restarted(state, t)
            for by_step, part in zip(before, arrays_of(state), strict=True):
                by_step[t] = part
            options, x = self._options_of(slice(t, t + 1)), self._chain.x[:, t : t + 1]
            _, state, _ = run_layer(self._chain.layer, x, state, options, False)
        self._check_end(state)
        return before if self.steps else [[part] for part in arrays_of(state)]

    def _check_end(self, state: Any) -> None:
        """Raise unless the last state of single steps is that of a run over all steps."""
        layer, x, start, options = self._chain[1:5]
        expected = arrays_of(run_layer(layer, x, start, options, False)[1])
        for part, twin in zip(arrays_of(state), expected, strict=True):
            if not np.allclose(part, twin, rtol=1e-6, atol=1e-9, equal_nan=True):
                raise ValueError(
                    "layer: expected one whose state is computed from the state before and the "
                    f"input of the same step, got {layer!r:.100}, whose state depends on other "
                    "steps, too"
                )

    def jacobians(self, steps: slice) -> NDArray[np.float64]:
        """Return ∂(state after)/∂(state before) of some steps, (B, steps, S, S).

        One forward pass over all of these steps at once, each as a separate row, and S backward
        passes, each from one unit of the state.
        """
        chain, layer = self._chain, self._chain.layer
        x = chain.x[:, steps]
        count, x = x.shape[1], x.reshape(x.shape[0] * x.shape[1], 1, *x.shape[2:])
        stacked = [np.stack(by_step[steps], axis=1) for by_step in self._before]
        before = [part.reshape(len(x), *part.shape[2:]) for part in stacked]
        state = filled(self._initial, before)
        y, after, tape = run_layer(layer, x, state, self._options_of(steps), True)
        dy, rows = np.zeros_like(y), []
        for dafter in _unit_states(after):
            _, dbefore = layer.backward(tape, dy, dafter)
            rows.append(np.concatenate([_flat(part) for part in arrays_of(dbefore)], axis=1))
        matrices: NDArray[np.float64] = np.stack(rows, axis=1)
        matrices = matrices.reshape(self.batch, count, *matrices.shape[1:])
        matrices[self._restarts[:, steps]] = 0
        return matrices

    def blocks(self) -> list[slice]:
        """Return the steps in blocks of limited memory, the one that is read last first."""
        size = max(1, _BLOCK_BYTES // (8 * max(1, self.batch) * self.width**2))
        blocks = [slice(t, min(t + size, self.steps)) for t in range(0, self.steps, size)]
        return blocks if self._chain.backwards else blocks[::-1]


def _flat(part: Array) -> Array:
    """Return an array (B, ...) of a state as (B, S)."""
    return part.reshape(len(part), math.prod(part.shape[1:]))


def _unit_states(state: Any) -> Iterator[Any]:
    """Yield for each unit a state that is 1 at this unit and 0 at all others."""
    like = arrays_of(state)
    for i, part in enumerate(like):
        for unit in range(_flat(part).shape[1]):
            zeros = [np.zeros_like(other, order="C") for other in like]
            _flat(zeros[i])[:, unit] = 1
            yield filled(state, zeros)


def jacobian_products(
    steps: ChainSteps,
) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.int64]]]:
    """Yield ∂s_T/∂s_t for each t, from the last step that is read to the first.

    Yields
    ------
    t : int
        A step of x.
    product : array (B, S, S)
    exponent : array (B,)
        The derivative is product * 2**exponent. They are separate because a derivative that
        vanishes or explodes over many steps is outside of the range of float64.
    """
    product = np.broadcast_to(np.eye(steps.width), (steps.batch, steps.width, steps.width))
    exponent = np.zeros(steps.batch, np.int64)
    backwards = steps.order.step < 0
    for block in steps.blocks():
        matrices = steps.jacobians(block)
        times = range(block.start, block.stop)
        for t in times if backwards else times[::-1]:
            yield t, product, exponent
            product = product @ matrices[:, t - block.start]
            largest = np.abs(product).max(axis=(1, 2), initial=0)
            shift = np.where((largest > 0) & np.isfinite(largest), np.frexp(largest)[1], 0)
            product = np.ldexp(product, -shift[:, None, None])
            exponent = exponent + shift
