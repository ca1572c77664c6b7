"""One sequence of a call and the model that reads it; and the same with one step changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, Floats
from crnn.common.checks import steps_there
from crnn.common.nested import map_state
from crnn.diagnostics.subject import evaluation, prepared
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import STEPS, ForwardOptions
from crnn.layers.compose.base import run_layer

_ROWS = 256
"""Altered copies of a sequence that are run at a time."""


class Row(NamedTuple):
    """One sequence, and the model that reads it.

    Attributes
    ----------
    model : layer
        In float64.
    arrays : tuple of arrays (1, T, ...)
        What it reads; of more than one, where it reads a tuple.
    which : int
        The array that is asked about.
    state, given
        Of this row alone.
    several : bool
        Whether the model reads a tuple.
    """

    model: Any
    arrays: tuple[Array, ...]
    which: int
    state: Any
    given: ForwardOptions
    several: bool

    @property
    def x(self) -> Array:
        """(T, ...): the sequence that is asked about."""
        return np.asarray(self.arrays[self.which][0])

    @property
    def there(self) -> NDArray[np.bool_]:
        """(T,): the steps of x before its end."""
        shape, timed = self.arrays[self.which].shape, (layer_of(self.model).sequence_input or 0)
        ends = self.given.lengths
        if self.which != timed:  # a source, with lengths of its own; or fixed data
            ends = self.arrays[2] if timed and len(self.arrays) > 2 else None
        return np.asarray(steps_there(ends, None, shape)[0])

    @property
    def read(self) -> NDArray[np.bool_]:
        """(T,): those that are not masked, either: what stands at others may be no number."""
        masked = self.given.mask is not None and self.which == (
            layer_of(self.model).sequence_input or 0
        )
        if not masked:
            return self.there
        shape = self.arrays[self.which].shape
        return np.asarray(steps_there(self.given.lengths, self.given.mask, shape)[0])

    def run(self, copies: Array, keep: bool = False) -> tuple[Floats, Any]:
        """y (N, T_out, K), or (N, K), and the tape, of N copies with other x (N, T, ...)."""
        many = len(copies)
        arrays = tuple(
            copies if i == self.which else repeated(array, many)
            for i, array in enumerate(self.arrays)
        )
        marks: dict[str, Any] = {
            name: repeated(value, many)
            for name in STEPS
            if (value := getattr(self.given, name)) is not None
        }
        state = map_state(lambda part: repeated(part, many), self.state)
        x = arrays if self.several else arrays[0]
        y, _, tape = run_layer(self.model, x, state, self.given._replace(**marks), keep)
        return np.asarray(y), tape

    def outputs(self, copies: Array) -> Floats:
        """y (N, T_out, K) of copies; of a model that gives one vector, T_out is 1."""
        y, _ = self.run(copies)
        return y[:, None] if y.ndim == 2 else y

    def end(self, steps: int) -> int:
        """How many of the outputs' steps are there."""
        lengths = self.given.lengths
        return steps if lengths is None else min(steps, int(lengths[0]))


def repeated(array: Array, many: int) -> Array:
    """(1, ...) as (many, ...)."""
    return np.asarray(np.repeat(array, many, axis=0))


def row_of(
    model: Any, x: Any, state: Any, marks: dict[str, Any], row: int, which: int, name: str
) -> Row:
    """One row of a call, checked."""
    looked_at, read, given = prepared(model, x, "model", **marks)
    run_layer(looked_at, read, state, given, False)  # which says what is wrong
    several = isinstance(read, tuple)
    arrays = tuple(array for array in read if array is not None) if several else (read,)
    timed = [i for i, array in enumerate(arrays) if array.ndim > 1]
    if not isinstance(which, (int, np.integer)) or which not in timed:
        raise ValueError(
            f"{name}: expected the number of an array of x with a time axis, one of {timed}, "
            f"got {which!r}"
        )
    B = len(arrays[0])
    if not isinstance(row, (int, np.integer)) or not -B <= row < B:
        raise ValueError(f"row: expected an integer from 0 to B - 1 = {B - 1}, got {row!r}")
    only = slice(row % B, row % B + 1)
    own = {key: None if value is None else np.asarray(value)[only] for key, value in marks.items()}
    return Row(
        looked_at,
        tuple(array[only] for array in arrays),
        int(which),
        map_state(lambda part: np.asarray(part)[only], state),
        evaluation(**own),
        several,
    )


def altered(row: Row, rng: np.random.Generator) -> Iterator[tuple[NDArray[np.intp], Array]]:
    """Copies of the sequence in each of which one step is another: steps (N,), x (N, T, ...).

    A symbol becomes another one, drawn evenly; floats gain noise of their own spread.
    """
    x, there = row.x, row.there
    symbols = x.dtype.kind in "iu"
    K = layer_of(row.model).symbols_of(row.which) if symbols else None
    known = np.unique(x) if K is None else np.arange(K)
    if symbols and len(known) < 2:
        raise ValueError("x: expected at least two symbols, to change one into another")
    spread = 1.0 if symbols else _spread(x[row.read])
    places_there = np.flatnonzero(there)
    for begin in range(0, len(places_there), _ROWS):
        steps = places_there[begin : begin + _ROWS]
        copies = repeated(x[None], len(steps))
        places = np.arange(len(steps)), steps
        if symbols:
            at = np.searchsorted(known, x[steps])
            copies[places] = known[(at + rng.integers(1, len(known), len(steps))) % len(known)]
        else:
            copies[places] += spread * rng.standard_normal(copies[places].shape)
        yield steps, copies


def _spread(x: Array) -> float:
    """How much floats vary; if they do not, how large they are; 1 if they are 0, or not finite."""
    largest = float(np.abs(x).max(initial=0))
    if not 0 < largest < np.inf:
        return 1.0
    return largest * (float(np.std(x / largest)) or 1.0)


def change_of(found: Floats, y: Floats) -> Floats:
    """How far numbers lie apart: 0 where they are the same, inf where one is no number."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(found - y)
    apart[(found == y) | (np.isnan(found) & np.isnan(y))] = 0
    return np.where(np.isnan(apart), np.inf, apart)
