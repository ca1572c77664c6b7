"""A model and one row of its input, and copies of this row with one step changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, Floats
from crnn.common.checks import steps_there
from crnn.common.nested import map_state
from crnn.diagnostics.subject import evaluation_options, prepare
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import STEPS, ForwardOptions
from crnn.layers.compose.base import run_layer

_COPIES = 256
"""Number of altered copies of a sequence that run in one batch."""


class SingleRow(NamedTuple):
    """A model and one row of its input.

    Attributes
    ----------
    model : layer
        In float64.
    arrays : tuple of arrays (1, T, ...)
        The input: several arrays if the model reads a tuple.
    array_index : int
        Index of the examined array in `arrays`.
    state : state
        The initial state of this row.
    options : ForwardOptions
        Lengths, mask and resets of this row.
    reads_tuple : bool
        Whether the model reads a tuple.
    """

    model: Any
    arrays: tuple[Array, ...]
    array_index: int
    state: Any
    options: ForwardOptions
    reads_tuple: bool

    @property
    def x(self) -> Array:
        """The examined sequence (T, ...)."""
        return np.asarray(self.arrays[self.array_index][0])

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Bools (T,), true at the steps of x before its end."""
        shape = self.arrays[self.array_index].shape
        sequence = layer_of(self.model).sequence_input or 0
        lengths = self.options.lengths
        if (
            self.array_index != sequence
        ):  # a source, whose lengths are the third array; or fixed data
            lengths = self.arrays[2] if sequence and len(self.arrays) > 2 else None
        return np.asarray(steps_there(lengths, None, shape)[0])

    @property
    def read(self) -> NDArray[np.bool_]:
        """Bools (T,), true at valid steps that are not masked; x may be NaN at the others."""
        masked = self.options.mask is not None and self.array_index == (
            layer_of(self.model).sequence_input or 0
        )
        if not masked:
            return self.valid
        shape = self.arrays[self.array_index].shape
        return np.asarray(steps_there(self.options.lengths, self.options.mask, shape)[0])

    def run(self, copies: Array, keep: bool = False) -> tuple[Floats, Any]:
        """Run the model on N copies of the row, with x (N, T, ...) in place of its sequence.

        Returns
        -------
        y : array (N, T_out, K) or (N, K)
        tape : tape, or None without `keep`
        """
        count = len(copies)
        arrays = tuple(
            copies if i == self.array_index else repeated(array, count)
            for i, array in enumerate(self.arrays)
        )
        by_step: dict[str, Any] = {
            name: repeated(value, count)
            for name in STEPS
            if (value := getattr(self.options, name)) is not None
        }
        state = map_state(lambda part: repeated(part, count), self.state)
        x = arrays if self.reads_tuple else arrays[0]
        y, _, tape = run_layer(self.model, x, state, self.options._replace(**by_step), keep)
        return np.asarray(y), tape

    def outputs(self, copies: Array) -> Floats:
        """Return y (N, T_out, K) of copies; T_out is 1 if the model gives one vector per row."""
        y, _ = self.run(copies)
        return y[:, None] if y.ndim == 2 else y

    def valid_outputs(self, steps: int) -> int:
        """Return the number of valid steps of an output of `steps` steps."""
        lengths = self.options.lengths
        return steps if lengths is None else min(steps, int(lengths[0]))


def repeated(array: Array, count: int) -> Array:
    """Return an array (1, ...) repeated as (count, ...)."""
    return np.asarray(np.repeat(array, count, axis=0))


def single_row(
    model: Any, x: Any, state: Any, options: dict[str, Any], row: int, array_index: int, name: str
) -> SingleRow:
    """Return one row of a call, after checking the arguments; `name` is that of `array_index`."""
    float64_model, inputs, forward_options = prepare(model, x, "model", **options)
    run_layer(float64_model, inputs, state, forward_options, False)  # raises for wrong arguments
    reads_tuple = isinstance(inputs, tuple)
    arrays = tuple(array for array in inputs if array is not None) if reads_tuple else (inputs,)
    with_time = [i for i, array in enumerate(arrays) if array.ndim > 1]
    if not isinstance(array_index, (int, np.integer)) or array_index not in with_time:
        raise ValueError(
            f"{name}: expected the number of an array of x with a time axis, one of {with_time}, "
            f"got {array_index!r}"
        )
    B = len(arrays[0])
    if not isinstance(row, (int, np.integer)) or not -B <= row < B:
        raise ValueError(f"row: expected an integer from 0 to B - 1 = {B - 1}, got {row!r}")
    only = slice(row % B, row % B + 1)
    of_row = {
        key: None if value is None else np.asarray(value)[only] for key, value in options.items()
    }
    return SingleRow(
        float64_model,
        tuple(array[only] for array in arrays),
        int(array_index),
        map_state(lambda part: np.asarray(part)[only], state),
        evaluation_options(**of_row),
        reads_tuple,
    )


def altered_copies(
    row: SingleRow, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.intp], Array]]:
    """Yield copies of the sequence, each with one step changed: steps (N,), x (N, T, ...).

    A symbol is replaced by another one, drawn uniformly. Floats get normal noise with the standard
    deviation of the sequence.
    """
    x = row.x
    symbols = x.dtype.kind in "iu"
    K = layer_of(row.model).symbols_of(row.array_index) if symbols else None
    known = np.unique(x) if K is None else np.arange(K)
    if symbols and len(known) < 2:
        raise ValueError(
            "x: expected at least two symbols, so that one can replace another, got "
            f"{known.tolist()}"
        )
    spread = 1.0 if symbols else _spread(x[row.read])
    valid_steps = np.flatnonzero(row.valid)
    for begin in range(0, len(valid_steps), _COPIES):
        steps = valid_steps[begin : begin + _COPIES]
        copies = repeated(x[None], len(steps))
        changed = np.arange(len(steps)), steps
        if symbols:
            old = np.searchsorted(known, x[steps])
            copies[changed] = known[(old + rng.integers(1, len(known), len(steps))) % len(known)]
        else:
            copies[changed] += spread * rng.standard_normal(copies[changed].shape)
        yield steps, copies


def _spread(x: Array) -> float:
    """Return the standard deviation of floats.

    If they are all equal, return their magnitude; if they are all 0 or one is not finite, return 1.
    """
    largest = float(np.abs(x).max(initial=0))
    if not 0 < largest < np.inf:
        return 1.0
    return largest * (float(np.std(x / largest)) or 1.0)


def absolute_change(outputs: Floats, y: Floats) -> Floats:
    """Return abs(outputs - y): 0 where both are the same or NaN, infinite where one is NaN."""
    with np.errstate(invalid="ignore"):
        change = np.abs(outputs - y)
    change[(outputs == y) | (np.isnan(outputs) & np.isnan(y))] = 0
    return np.where(np.isnan(change), np.inf, change)
