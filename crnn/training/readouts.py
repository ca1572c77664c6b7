"""Readouts that are fitted by least squares to what the layers before them return."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from crnn.callbacks.progress import open_bar
from crnn.common.arrays import Array
from crnn.common.checks import check_array, check_count, check_steps, steps_there
from crnn.layers.base.adapted import layer_of, named_layers, reads_backwards_itself
from crnn.layers.base.arguments import options_of
from crnn.layers.base.layer import Layer
from crnn.layers.base.protocol import LayerLike
from crnn.layers.compose.sequential import Sequential
from crnn.layers.pointwise.factor import Factor
from crnn.layers.pointwise.readable import Steps, add_steps, after_washout, no_steps, readable_steps
from crnn.layers.pointwise.ridge import Ridge, fold_ends, folds_of
from crnn.layers.pointwise.rls import RLS
from crnn.training.data_checks import named_errors
from crnn.training.nonfinite import Located, check_finite, in_row, shifted, steps_read
from crnn.training.predicting import runs_by_windows
from crnn.training.sequences import Sequences
from crnn.training.windows import Data, Item, items_of, windows_of

#: Largest number of values of all layers in a window, if it has more than the fewest steps.
_VALUES = 1 << 22
_FEWEST, _MOST = 1 << 8, 1 << 14  # steps of a window, times rows

_EXPECTED = (
    "data: expected a tuple (x, target), (x, target, lengths) or (x, target, lengths, extras), or "
    "an iterable of such items"
)


def fit_readout(
    model: LayerLike,
    data: Data | tuple[Any, ...],
    *,
    washout: int = 0,
    folds: int | None = None,
) -> Ridge | RLS:
    """Fit the last layer of a model by least squares, without a gradient.

    The layers before it run forward only, in windows of steps, with the state carried from window
    to window. Their outputs are reduced to a triangular factor as they arrive, so memory does not
    depend on the number of steps.

    Parameters
    ----------
    model : Sequential
        Its last layer is a `crnn.Ridge`, or a `crnn.RLS`. The layers before it may be of any
        classes; they do not change.
    data : tuple or iterable of items
        A tuple is a single item: (x, target), (x, target, lengths) or (x, target, lengths, extras)
        as for `crnn.fit`. x is (B, T, I), or (B, T) symbols, and the target (B, T, K). If the
        layers remove the time axis, as `crnn.LastState` and `crnn.Pool` do, the target is (B, K).
        In (x, target), both may also be lists of sequences of different lengths: x[i] is (T_i, I),
        and target[i] is (T_i, K), or (K,).

        Any other iterable has such items. It may be an iterator; with `folds`, it is read twice if
        it is not one. Every item begins with the state zero (or the learned one), as do the steps
        after `resets`. `weights` in the extras are weights of the squared errors.
    washout : int, default 0
        Number of steps after the beginning of each sequence, and after each reset, that are left
        out, because their outputs depend on the initial state. Only steps that are read count, so
        shorter sequences give nothing. Layers that read backwards begin at the end of a sequence:
        steps are left out there, or at both ends if some layers read forwards and some backwards.
    folds : int, optional
        Number of folds for cross-validation, at least 2. The steps that are read are divided into
        so many parts of consecutive steps, equal but for one step; for an iterator, which can be
        read only once, item i belongs to fold i modulo `folds`. None: 5 if the Ridge has several
        alphas, else there is one fold.

    Returns
    -------
    Ridge or RLS
        The last layer of the model. ``alpha_``, ``cv_error_`` and ``solve`` of a Ridge are of these
        data. Earlier data are forgotten.

    Raises
    ------
    TypeError, ValueError
        If the model or the data have another form; if no step is left behind the washout; if a
        number of x, or an output of the layers before, is not finite; if the Ridge cannot be solved
        (see `crnn.Ridge.solve`). The model has not changed then.
    RuntimeError
        If another thread fits the readout. This call has changed nothing then.

    See Also
    --------
    Ridge.fit : The same for outputs of layers that are in memory.
    ESN : A reservoir and a readout as one model, with feedback of outputs.
    fit : Training of all layers by gradients.

    Notes
    -----
    Rows are processed in their order, all steps of a row before those of the next one. The weights
    are therefore bit-identical to those of ``Ridge.fit`` on the outputs of all rows at once.

    Dropout is off. If a layer has ``noise``, all layers run as in training, with the random numbers
    of ``call=0``: these depend on the row and the step, and not on the windows. A layer that reads
    backwards or removes the time axis reads a whole row at once; memory then depends on the longest
    row. After Ctrl-C the model has not changed.

    With an RLS, the steps are learned one after the other, from W = 0.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> x = crnn.data.narma(600, seed=0)
    >>> x, target = (part[None, :, None] for part in x)
    >>> model = crnn.Sequential([crnn.RNN(1, 50, leak=0.5, seed=0), crnn.Ridge(50, 1, alpha=1e-8)])
    >>> readout = crnn.fit_readout(model, (x, target), washout=100)
    >>> readout.steps_
    500
    >>> y = crnn.predict(model, x)
    >>> bool(crnn.metrics.nrmse(y[:, 100:], target[:, 100:]) < 0.5)
    True
    """
    layers = list(model.layers) if isinstance(model, Sequential) else []
    if not layers or not isinstance(layers[-1], Ridge | RLS):
        raise TypeError(
            "model: expected a crnn.Sequential whose last layer is a crnn.Ridge or a crnn.RLS, got "
            f"{model!r:.200}"
        )
    features = Features(Sequential(layers[:-1]) if len(layers) > 1 else None)
    return fit_states(features, layers[-1], Source(data, features, model), washout, folds)


class Features:
    """The layers before a readout.

    Parameters
    ----------
    layer : layer, or None
        None: the readout reads x itself.

    Attributes
    ----------
    keeps_time : bool
        Whether the output has the time axis of x.
    steps : int
        Largest number of steps, times rows, of a window.
    in_windows : bool
        Whether a row may be cut into windows.
    forwards, backwards : bool
        Whether outputs depend on the state before the first, and behind the last step.
    """

    def __init__(self, layer: LayerLike | None) -> None:
        self._layer = None if layer is None else layer_of(layer)
        parts = [] if layer is None else [part for _, part in named_layers(layer)]
        self.keeps_time = self._layer is None or self._layer.keeps_time
        self.in_windows = self._layer is None or runs_by_windows(self._layer)
        self.backwards = any(map(reads_backwards_itself, parts))
        self.forwards = not self.backwards or (layer is not None and _reads_forwards(layer))
        width = sum(part.output_size or 0 for part in parts)
        self.steps = min(max(_VALUES // max(width, 1), _FEWEST), _MOST)
        self._noisy = any(_has_noise(part) for part in parts)
        self._names = frozenset[str]() if layer is None else options_of(layer)

    @property
    def form(self) -> dict[str, Any]:
        """Arguments of `Sequences` for sequences that the layers read."""
        return {"keeps_time": self.keeps_time, "steps": self.steps}

    def __call__(self, item: Item, state: Any, row: int, step: int) -> tuple[Array, Any]:
        """Return the outputs and the state behind an item, of which `check` has seen the numbers.

        Parameters
        ----------
        item : Item
        state : state
        row, step : int
            Numbers of the first row and step among all rows of the data.
        """
        if self._layer is None:
            return np.asarray(item.x), None
        if not self._noisy:
            y, after = self._layer(item.x, state, **item.options)
            return np.asarray(y), after
        options = {"call": 0, "first_row": row, "first_step": step, "needs_dx": False}
        options = {name: value for name, value in options.items() if name in self._names}
        y, after, _ = self._layer.forward(item.x, state, training=True, **options, **item.options)
        return np.asarray(y), after

    def check(self, item: Item, located: Located) -> None:
        """Raise ValueError if a number that the layers read is not finite.

        Steps of the washout are read, too: the states behind them depend on them.

        Parameters
        ----------
        item : Item
        located : callable
            As `Items.located`, for rows and steps of this item.
        """
        parts = item.x if isinstance(item.x, tuple) else (item.x,)
        for place, part in enumerate(parts):
            name = f"x[{place}]" if len(parts) > 1 else "x"
            read = steps_read(item) if place == item.sequence_input else None
            check_finite(name, part, read, located)

    def kept(
        self, valid: NDArray[np.bool_], resets: NDArray[np.bool_] | None, washout: int, read: Any
    ) -> tuple[NDArray[np.bool_], Any]:
        """Return the steps (B, T) that the readout reads, and the counts for the next window.

        Parameters
        ----------
        valid, resets, washout, read
            As for `after_washout`.
        """
        kept = valid
        if self.forwards:
            kept, read = after_washout(valid, resets, np.array([[washout]]), read)
        if self.backwards:
            kept = kept & _before_washout(valid, resets, washout)
        return kept, read


def _reads_forwards(layer: LayerLike) -> bool:
    """Return whether a layer, or one inside, has a state and reads forwards."""
    adapted = layer_of(layer)
    if reads_backwards_itself(adapted):
        return False
    if not adapted.parts:
        return adapted.has_state
    return any(map(_reads_forwards, adapted.parts.values()))


def _has_noise(layer: Layer) -> bool:
    """Return whether a layer has a noise above 0 that is drawn in training."""
    noise = getattr(layer, "noise", 0)
    return isinstance(noise, (int, float)) and noise > 0


# ------------------------------------------------------------------------------------------- data


class Items(Protocol):
    """Items of data for `fit_states`, with the attributes of `Source`."""

    once: bool
    name: str
    names: tuple[str, str]

    def __iter__(self) -> Iterator[Item]: ...

    def located(self, name: str, row: int, step: int | None) -> tuple[str, str]: ...


class Source:
    """The items of the data.

    Parameters
    ----------
    data : tuple or iterable
        As for `fit_readout`.
    features : Features
        The layers before the readout.
    model : layer
        The model that reads x.

    Attributes
    ----------
    once : bool
        Whether the items can be read only once.
    name : str
        Name of the data in errors; "" if there is a single item.
    names : (str, str)
        Names of the data and of the targets in errors.
    """

    def __init__(self, data: Any, features: Features, model: Any) -> None:
        self.once, self.name = hasattr(data, "__next__"), "data"
        self.names = "data", "target"
        self._model = model
        self._items: Callable[[], Iterable[Any]]
        if isinstance(data, str | dict | np.ndarray) or not isinstance(data, Iterable):
            raise TypeError(f"{_EXPECTED}, got {type(data).__name__}")
        if not isinstance(data, tuple) or all(isinstance(entry, tuple) for entry in data):
            self._items = lambda: data
        elif len(data) in (2, 3, 4) and isinstance(data[0], list):
            if any(other is not None for other in data[2:]):
                raise ValueError(
                    "data: expected (x, target) without lengths and extras for lists of sequences, "
                    f"got {len(data)} entries"
                )
            width, form = ("K", model[-1].output_size), features.form
            sequences = Sequences(data[0], data[1], width, **form)
            self._items = lambda: sequences
        else:
            self._items = lambda: [data]

    def __iter__(self) -> Iterator[Item]:
        return items_of(self._items(), self.name, None, self._model, once=True)

    def located(self, name: str, row: int, step: int | None) -> tuple[str, str]:
        """Return the name and the place of a number in an item; see `Located`."""
        return in_row(name, row, step)


# ---------------------------------------------------------------------------------------- windows


class _Window(NamedTuple):
    """Some rows and steps of an item, whose kept steps a readout reads."""

    item: Item
    kept: NDArray[np.bool_]  # (B, T), or (B,)
    place: tuple[int, int, int]  # numbers of the item, and of its first row and step
    first: bool  # whether the state begins here
    row: int  # number of the first row among all rows of the data


def _windows(source: Items, features: Features, outputs: int, washout: int) -> Iterator[_Window]:
    """Yield the windows of all items in the order of rows and steps."""
    before = 0
    for number, item in enumerate(source):
        x = item.x[item.sequence_input] if isinstance(item.x, tuple) else item.x
        B, timed = x.shape[0], x.ndim > 2 or x.dtype.kind in "iu"
        with named_errors(source.name, number) if source.name else nullcontext():
            name = "target" if source.name else source.names[1]
            check_array(name, item.target, "real numbers", _sizes(x, timed, features, outputs))
            for name, marks in (("mask", item.mask), ("resets", item.resets)):
                if marks is not None:
                    check_steps(name, marks, x.shape[: 1 + timed])
        rows = max(1, features.steps // max(x.shape[1], 1)) if timed else features.steps
        for first in range(0, B, rows):
            group = item.rows(first, first + rows)
            place = number, first, before + first
            if timed and features.keeps_time:
                yield from _steps_of(group, features, washout, place)
            elif washout:
                raise ValueError(
                    "washout: expected 0, because the readout reads one vector for each row, got "
                    f"{washout}"
                )
            else:
                kept = np.ones(min(rows, B - first), bool)
                yield _Window(group, kept, (number, first, 0), True, before + first)
        before += B


def _sizes(x: Array, timed: bool, features: Features, outputs: int) -> tuple[tuple[str, int], ...]:
    """Return the shape of the target of an item."""
    steps = [("T", x.shape[1])] if timed and features.keeps_time else []
    return ("B", x.shape[0]), *steps, ("K", outputs)


def _steps_of(
    group: Item, features: Features, washout: int, place: tuple[int, int, int]
) -> Iterator[_Window]:
    """Yield the windows of some rows of an item; one window if they cannot be cut."""
    size = features.steps if features.in_windows else max(group.shape[1], 1)
    number, first, row = place
    read: Any = None
    for window in windows_of(group, (size, size)):
        item, shape = window.item, window.item.shape[:2]
        valid = steps_there(item.lengths, item.mask, shape)
        resets = None if item.resets is None else check_steps("resets", item.resets, shape)
        kept, read = features.kept(valid, resets, washout, read)
        yield _Window(item, kept, (number, first, window.start), window.start == 0, row)


def _before_washout(
    valid: NDArray[np.bool_], resets: NDArray[np.bool_] | None, washout: int
) -> NDArray[np.bool_]:
    """Return the steps before the last ones of their piece, which layers read first."""
    if resets is not None:
        later = np.zeros_like(resets)  # a reset lies between a step and the one before
        later[:, :-1] = resets[:, 1:]
        resets = later[:, ::-1]
    kept, _ = after_washout(valid[:, ::-1], resets, np.array([[washout]]))
    return kept[:, ::-1]


def _counts(window: _Window) -> NDArray[np.bool_]:
    """Return the kept steps that have a weight above 0."""
    weights = window.item.weights
    if weights is None or weights.ndim > window.kept.ndim:
        return window.kept
    shape = weights.shape + (1,) * (window.kept.ndim - weights.ndim)
    return window.kept & (weights.reshape(shape) > 0)


# ---------------------------------------------------------------------------------------- fitting


class _RidgeFit:
    """Steps that are added to the factors of the folds of a Ridge.

    Parameters
    ----------
    readout : Ridge
    ends : list of int, or None
        The numbers of steps behind each fold. None: item i belongs to fold i modulo their number.
    folds : int
    """

    def __init__(self, readout: Ridge, ends: list[int] | None, folds: int) -> None:
        self._readout, self._before = readout, readout._factors
        self._ends, self._folds = ends, folds
        self._factors: dict[int, Factor] = {}
        self.count = 0

    def add(self, steps: Steps, item: int) -> None:
        """Add the steps of a window of an item."""
        begin = 0
        while begin < steps.count:
            if self._ends is None:
                fold, end = item % self._folds, steps.count
            else:
                fold = next(i for i, end in enumerate(self._ends) if end > self.count)
                end = min(steps.count, begin + self._ends[fold] - self.count)
            add_steps(self._factor(fold), steps.part(begin, end), self._readout.bias)
            self.count += end - begin
            begin = end

    def _factor(self, fold: int) -> Factor:
        """Return the factor of a fold; make it at the first call."""
        if fold not in self._factors:
            features = self._readout.input_size + self._readout.bias
            self._factors[fold] = Factor(features, self._readout.output_size)
        return self._factors[fold]

    def finish(self) -> None:
        """Set the weights of the Ridge."""
        missing = self._folds - len(self._factors)
        if missing:
            raise ValueError(
                f"folds: expected an item with steps that are read in each of the {self._folds} "
                f"folds, because an iterator can be read only once, got none in {missing} of them"
            )
        self._readout._store(self._before, self._factors, self._readout.alpha)


class _RLSFit:
    """Steps that a copy of an RLS learns one after the other."""

    def __init__(self, readout: RLS) -> None:
        sizes = readout.input_size, readout.output_size
        self._readout = readout
        self._copy = RLS(*sizes, alpha=readout.alpha, forgetting=readout.forgetting)
        self.count = 0

    def add(self, steps: Steps, item: int) -> None:
        """Learn the steps of a window."""
        if steps.weights is not None:
            raise ValueError("weights: expected None for a crnn.RLS, got an array")
        if steps.count:
            self._copy.step(steps.h[steps.places], steps.target[steps.places])
        self.count += steps.count

    def finish(self) -> None:
        """Let the RLS itself continue from where its copy is."""
        self._readout._replace(self._copy)


def fit_states(
    features: Features,
    readout: Ridge | RLS,
    source: Items,
    washout: int,
    folds: int | None,
) -> Ridge | RLS:
    """Fit a readout to the outputs of layers; the arguments but the last three are checked."""
    washout = check_count("washout", washout, 62)
    fit = _new_fit(features, readout, source, washout, folds)
    bar, state = open_bar(None, "steps"), None
    sizes = readout.input_size, readout.output_size
    try:
        for window in _windows(source, features, readout.output_size, washout):
            item, kept = window.item, window.kept
            number, first, step = window.place
            with named_errors(source.name, number) if source.name else nullcontext():
                state = None if window.first else state
                row = first if source.name else window.row
                features.check(item, shifted(source.located, row, step))
                z, state = features(item, state, window.row, step)
                _check_form(z, kept, features)
                _check_outputs(z, kept, (first, step))
                mask = kept if kept.ndim > 1 else None
                weights = item.weights
                steps = readable_steps(sizes, z, item.target, None, mask, 0, None, weights)
                steps.check_target(source.names[1])
                fit.add(steps, number)
            if bar is not None:
                bar.update(kept.size)
        if not fit.count:
            raise no_steps(source.names[0], washout)
    finally:
        if bar is not None:
            bar.close()
    fit.finish()
    return readout


def _new_fit(
    features: Features, readout: Ridge | RLS, source: Items, washout: int, folds: int | None
) -> _RidgeFit | _RLSFit:
    """Return a fit without steps; count the steps that are kept if they are divided into folds."""
    if isinstance(readout, RLS):
        if folds is not None:
            raise ValueError(f"folds: expected None for a crnn.RLS, got {folds!r}")
        return _RLSFit(readout)
    number = folds_of(readout.alpha, folds)
    if number == 1:
        return _RidgeFit(readout, [2**62], 1)
    if source.once:
        return _RidgeFit(readout, None, number)
    windows = _windows(source, features, readout.output_size, washout)
    count = sum(int(_counts(window).sum()) for window in windows)
    if not count:
        raise no_steps(source.names[0], washout)
    return _RidgeFit(readout, fold_ends(count, number), number)


def _check_form(z: Array, kept: NDArray[np.bool_], features: Features) -> None:
    """Raise ValueError unless the outputs have the leading axes that the attributes tell."""
    if z.shape[:-1] != kept.shape:
        raise ValueError(
            f"model: expected outputs of shape ({', '.join(map(str, kept.shape))}, H) from the "
            f"layers before the readout, got shape {z.shape}"
        )


def _check_outputs(z: Array, kept: NDArray[np.bool_], begin: tuple[int, int]) -> None:
    """Raise ValueError if an output at a kept step is not finite; name its row and step."""
    wrong = kept & ~np.isfinite(z).all(axis=-1)
    if wrong.any():
        place = np.argwhere(wrong)[0]
        number = z[tuple(place)][~np.isfinite(z[tuple(place)])][0]
        step = begin[1] + place[1] if len(place) > 1 else None
        _, where = in_row("", begin[0] + place[0], step)
        raise ValueError(
            f"model: expected finite outputs of the layers before the readout, got {number} {where}"
        )
