"""What an output depends on: which inputs moved it, and how far they may lie from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.diagnostics.display import Display
from crnn.diagnostics.norms import norms
from crnn.diagnostics.subject import evaluation, floats_or_symbols, in_float64
from crnn.layers.base import Array, check_count, check_number, check_size
from crnn.layers.checkpointed import Checkpointed
from crnn.layers.composition import Bidirectional, Sequential
from crnn.layers.conditioned import Conditioned
from crnn.layers.dense import Dropout, Embedding
from crnn.layers.options import Given, steps_there
from crnn.layers.recurrent import Recurrent
from crnn.layers.states import map_state
from crnn.seq2seq import TeacherForcing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

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
    given: Given
    several: bool

    @property
    def x(self) -> Array:
        """(T, ...): the sequence that is asked about."""
        return np.asarray(self.arrays[self.which][0])

    @property
    def there(self) -> NDArray[np.bool_]:
        """(T,): the steps of x before its end."""
        shape, timed = self.arrays[self.which].shape, getattr(self.model, "timed", 0)
        ends = self.given.lengths
        if self.which != timed:  # a source, with lengths of its own; or fixed data
            ends = self.arrays[2] if timed and len(self.arrays) > 2 else None
        return np.asarray(steps_there(ends, None, shape)[0])

    @property
    def read(self) -> NDArray[np.bool_]:
        """(T,): those that are not masked, either: what stands at others may be no number."""
        masked = self.given.mask is not None and self.which == getattr(self.model, "timed", 0)
        return self.there & self.given.mask[0] if masked else self.there

    def run(self, copies: Array, keep: bool = False) -> tuple[Floats, Any]:
        """y (N, T_out, K), or (N, K), and the tape, of N copies with other x (N, T, ...)."""
        many = len(copies)
        arrays = tuple(
            copies if i == self.which else repeated(array, many)
            for i, array in enumerate(self.arrays)
        )
        marks: dict[str, Any] = {
            name: repeated(value, many)
            for name, value in zip(("lengths", "mask", "resets"), self.given, strict=False)
            if value is not None
        }
        state = map_state(lambda part: repeated(part, many), self.state)
        x = arrays if self.several else arrays[0]
        y, _, tape = self.given._replace(**marks).run(self.model, x, state, keep)
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
    looked_at, read = in_float64(model, "model"), floats_or_symbols(x)
    evaluation(**marks).run(looked_at, read, state, False)  # which says what is wrong
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


# --------------------------------------------------------------------------------------------------
# Changing inputs
# --------------------------------------------------------------------------------------------------


def symbols_read(model: Any, which: int = 0) -> int | None:
    """How many symbols a model knows of the array `which` that it reads; None where it is unknown.

    Only of models that read symbols.
    """
    if isinstance(model, Embedding):
        return model.K
    if isinstance(model, TeacherForcing):
        inside = model.model
        return inside.target_symbols if which else inside.source_symbols or inside.own_symbols
    if isinstance(model, Sequential):
        return symbols_read(model.layers[0])
    if isinstance(model, Bidirectional):
        return symbols_read(model.forward_layer)
    if isinstance(model, Recurrent):
        return int(model.input_size)
    return symbols_read(model.layer) if hasattr(model, "layer") else None


def altered(row: Row, rng: np.random.Generator) -> Iterator[tuple[NDArray[np.intp], Array]]:
    """Copies of the sequence in each of which one step is another: steps (N,), x (N, T, ...).

    A symbol becomes another one, drawn evenly; floats gain noise of their own spread.
    """
    x, there = row.x, row.there
    symbols = x.dtype.kind in "iu"
    K = symbols_read(row.model, row.which) if symbols else None
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


def _change(found: Floats, y: Floats) -> Floats:
    """How far numbers lie apart: 0 where they are the same, inf where one is no number."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(found - y)
    apart[(found == y) | (np.isnan(found) & np.isnan(y))] = 0
    return np.where(np.isnan(apart), np.inf, apart)


class ReceptiveField(Display):
    """What `receptive_field` found.

    Attributes
    ----------
    influence : float64 array (T_out, T_in)
        The largest change of any feature of y at a step, when one input step is changed. Exactly 0
        where nothing changes, to the last bit.
    first, last : int64 array (T_out,)
        The first and the last input step, counted from 0, that reaches each output; -1 where none
        does.
    back, ahead : int64 array (T_out,)
        How many steps before, and after its own, an input may lie and reach each output; 0 where
        none does.
    """

    def __init__(self, influence: Floats, fraction: float, end: int | None = None) -> None:
        self.influence = influence
        limit = fraction * influence.max(initial=0) if fraction else 0.0
        reaches = influence > limit
        T_out, T_in = influence.shape
        some = reaches.any(axis=1) if T_in else np.zeros(T_out, bool)
        self.first = np.where(some, reaches.argmax(axis=1) if T_in else 0, -1)
        self.last = np.where(some, T_in - 1 - (reaches[:, ::-1].argmax(axis=1) if T_in else 0), -1)
        own = np.arange(T_out) if T_out > 1 else np.full(T_out, (T_in if end is None else end) - 1)
        self.back = np.where(some, np.maximum(own - self.first, 0), 0)
        self.ahead = np.where(some, np.maximum(self.last - own, 0), 0)

    @property
    def columns(self) -> dict[str, Any]:
        out, steps = np.indices(self.influence.shape).reshape(2, -1)
        return {"output": out + 1, "input": steps + 1, "influence": self.influence.ravel()}

    def plot(self, ax: Axes | None = None) -> Axes:
        """A row for each output step, a column for each input step."""
        from crnn.plotting import influence

        return influence(self.influence, ax)


def receptive_field(
    model: Any,
    x: Any,
    state: Any = None,
    *,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    row: int = 0,
    array: int = 0,
    fraction: float = 0.0,
    repeats: int = 3,
    seed: int = 0,
) -> ReceptiveField:
    """Measure which input steps reach which output steps: by changing them, one by one.

    Nothing is assumed about the model: it is run on T altered copies of a sequence. So what it
    finds is the field at this input, with these weights: an influence that vanishes below the
    rounding of float64 is none.

    Parameters
    ----------
    model : layer
        Any layer or composition. It is looked at in evaluation, in a float64 copy.
    x, state, lengths, mask, resets
        As in the model's forward.
    row : int, default 0
        Which sequence.
    array : int, default 0
        Where x is a tuple, which of its arrays to change: 0 is the source of a
        `crnn.TeacherForcing`, 1 its target.
    fraction : float, default 0
        Of the largest influence, from which on `first`, `last`, `back` and `ahead` count one: 0
        counts whatever changes a bit, 0.01 what is felt.
    repeats : int, default 3
        How many changes of each step to try; the largest effect counts.
    seed : int, default 0
        Decides the changes.

    Returns
    -------
    ReceptiveField

    Raises
    ------
    TypeError, ValueError
        For arguments that the model's forward refuses, or that are out of range.

    Examples
    --------
    >>> import numpy as np
    >>> layer = crnn.Bidirectional(crnn.GRU(2, 3, seed=0))
    >>> field = receptive_field(layer, np.ones((1, 5, 2)))
    >>> field.back, field.ahead
    (array([0, 1, 2, 3, 4]), array([4, 3, 2, 1, 0]))
    """
    check_number("fraction", fraction, 0, 1)
    marks = {"lengths": lengths, "mask": mask, "resets": resets}
    one = row_of(model, x, state, marks, row, array, "array")
    y = one.outputs(one.x[None])
    largest = np.zeros((y.shape[1], len(one.x)))
    rng = np.random.default_rng(check_count("seed", seed, 64))
    for _ in range(check_size("repeats", repeats)):
        for steps, copies in altered(one, rng):
            change = _change(one.outputs(copies), y)
            change = change.reshape(len(steps), y.shape[1], -1).max(axis=2)
            largest[:, steps] = np.maximum(largest[:, steps], change.T)
    largest[one.end(len(y[0])) :] = 0  # what is written into padding means nothing
    last = np.flatnonzero(one.there)
    return ReceptiveField(largest, fraction, int(last[-1]) + 1 if len(last) else 0)


# --------------------------------------------------------------------------------------------------
# Gradients of inputs
# --------------------------------------------------------------------------------------------------


class InputSaliency(Display):
    """What `input_saliency` found.

    Attributes
    ----------
    values : float64 array (T,)
        How strongly each input step moves the output: not negative, unless the gradient is taken
        times the input.
    step, output : int
        The output's step, from 0, and feature.
    symbols : array (T,), or None
        Those that were read.
    aligned : bool
        Whether outputs and inputs are of the same steps.
    """

    def __init__(
        self, values: Floats, step: int, output: int, symbols: Array | None, aligned: bool
    ) -> None:
        self.values, self.step, self.output, self.symbols = values, step, output, symbols
        self.aligned = aligned

    @property
    def columns(self) -> dict[str, Any]:
        found: dict[str, Any] = {"step": np.arange(len(self.values)) + 1}
        if self.symbols is not None:
            found["symbol"] = self.symbols
        return found | {"saliency": self.values}

    def plot(self, ax: Axes | None = None, *, text: Any = None) -> Axes:
        """The values over the steps; with `text`, T characters or words, over these."""
        from crnn.plotting import saliency

        at = self.step if self.aligned else None
        return saliency(self.values, ax, symbols=text, at=at)


def input_saliency(
    model: Any,
    x: Any,
    state: Any = None,
    *,
    row: int = 0,
    step: int = -1,
    output: int | None = None,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    array: int = 0,
    times_input: bool = False,
    method: str = "gradient",
) -> InputSaliency:
    """Which inputs moved this output: the gradient of one number of y with respect to each x_t.

    Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks" (2014); for text Li et
    al., "Visualizing and understanding neural models in NLP" (2016).

    Parameters
    ----------
    model : layer
        Any layer or composition. It is looked at in evaluation, in a float64 copy.
    x, state, lengths, mask, resets
        As in the model's forward.
    row : int, default 0
        Which sequence.
    step : int, default -1
        Which step of y; negative ones count from the row's last step. A model that gives one vector
        has one step.
    output : int, optional
        Which feature of y, such as the logit of a symbol. None: the largest.
    array : int, default 0
        Where x is a tuple, which of its arrays is asked about.
    times_input : bool, default False
        The gradient times the input, summed over its features: signed, and of an input that is
        zero, zero. By default the norm of the gradient over the features.
    method : {"gradient", "occlusion"}
        "occlusion": the mean change of the output when a step is replaced by others, which needs no
        gradient. The gradient with respect to symbols is taken at their vectors (of an `Embedding`;
        of a recurrent layer that reads symbols, their one-hot rows).

    Returns
    -------
    InputSaliency
        With ``values`` (T,), 0 past the row's end.

    Raises
    ------
    TypeError, ValueError
        For arguments that the model's forward refuses, or that are out of range; for a gradient
        with respect to symbols in a model whose vectors cannot be found.
    """
    if method not in ("gradient", "occlusion"):
        raise ValueError(f"method: expected 'gradient' or 'occlusion', got {method!r}")
    marks = {"lengths": lengths, "mask": mask, "resets": resets}
    one = row_of(model, x, state, marks, row, array, "array")
    y = one.outputs(one.x[None])
    end = one.end(y.shape[1])
    if not end:
        raise ValueError(f"row: expected one that has steps, got row {row} of length 0")
    step = _place("step", step, end)
    chosen = int(y[0, step].argmax()) if output is None else _place("output", output, y.shape[2])
    if method == "occlusion":
        values = _occluded(one, y, step, chosen)
    else:
        values = _gradient(one, step, chosen, times_input)
    symbols = one.x if one.x.dtype.kind in "iu" else None
    return InputSaliency(values, step, chosen, symbols, y.shape[1] == len(one.x))


def _place(name: str, value: int, count: int) -> int:
    if not isinstance(value, (int, np.integer)) or not -count <= value < count:
        raise ValueError(
            f"{name}: expected an integer from 0 to {count - 1}, or one from -{count} to -1 that "
            f"counts from the end, got {value!r}"
        )
    return int(value) % count


def _occluded(one: Row, y: Floats, step: int, output: int, repeats: int = 8) -> Floats:
    rng, total = np.random.default_rng(0), np.zeros(len(one.x))
    for _ in range(repeats):
        for steps, copies in altered(one, rng):
            found = one.outputs(copies)[:, step, output]
            total[steps] += _change(found, y[0, step, output])
    return total / repeats


def _gradient(one: Row, step: int, output: int, times_input: bool) -> Floats:
    vectors, there = one, one.there
    if one.x.dtype.kind in "iu":
        K, x = symbols_read(one.model, one.which) or 0, one.arrays[one.which]
        x = np.where(one.read | ((x >= 0) & (x < K)), x, 0)
        model, x = with_vectors(one.model, x)
        arrays = [x if i == one.which else own for i, own in enumerate(one.arrays)]
        vectors = one._replace(model=model, arrays=tuple(arrays))
    y, tape = vectors.run(vectors.x[None], keep=True)
    dy = np.zeros_like(y)
    dy[(0, output) if y.ndim == 2 else (0, step, output)] = 1
    dx, _ = vectors.model.backward(tape, dy)
    found = dx[vectors.which] if vectors.several else dx
    if found is None:
        raise ValueError("model: expected one whose backward gives the gradient of x, got None")
    found = np.asarray(found)[0].reshape(len(there), -1)[there]
    values = np.zeros(len(there))
    if times_input:
        with np.errstate(over="ignore", invalid="ignore"):
            each = found * vectors.x[there].reshape(found.shape)
        values[there] = np.where(found == 0, 0, each).sum(axis=1)  # 0 also of what is no number
    else:
        values[there] = norms(found, 1)
    return values


def with_vectors(model: Any, symbols: Array) -> tuple[Any, Floats]:
    """A model that reads vectors (1, T, E) in place of symbols (1, T), and gives the same.

    Raises
    ------
    ValueError
        If it is not known what vectors stand for the symbols.
    """
    if isinstance(model, Embedding):
        return Dropout(0.0, seed=0), model.params["W"][model.check_symbols(symbols)]
    if isinstance(model, Sequential):
        first, vectors = with_vectors(model.layers[0], symbols)
        return Sequential([first, *model.layers[1:]]), vectors
    if isinstance(model, Checkpointed):
        inside, vectors = with_vectors(model.layer, symbols)
        return Checkpointed(inside, model.every), vectors
    if isinstance(model, Conditioned):
        inside, vectors = with_vectors(model.layer, symbols)
        return Conditioned(inside, model.init), vectors
    if isinstance(model, Recurrent | Bidirectional):
        K = symbols_read(model)
        assert K is not None
        return model, np.eye(K)[symbols]
    raise ValueError(
        "x: expected floats, because it is not known what vectors stand for the symbols that "
        f"{type(model).__name__} reads, got integers; method='occlusion' needs no gradient"
    )
