"""The data of a run before its first update: what is wrong with them, and what tells them apart.

Items are checked for their form, for the range of their symbols and targets, and for what the model
and the loss say to one item of each form. The model runs on a few items alone.
"""

import functools
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.callbacks.run import Position
from crnn.common.checks import valid_steps
from crnn.layers.base.adapted import layer_of, named_layers
from crnn.training import windows
from crnn.training.windows import Data, Item, Loss, Tbptt, Window

_WHOLE, _SAMPLE = 2**14, 1024  # bytes up to which an array is read whole; else so many numbers


class Told(NamedTuple):
    """What tells data from others, and how many windows they are cut into."""

    description: dict[str, int]
    windows: int


class Look:
    """Looks at the data of a run before its first update.

    Parameters
    ----------
    model, loss, tbptt, stateful
        Those of the run.

    Notes
    -----
    The model and the loss are tried where it is needed: on an item of another form than the first
    one, and on rows with larger symbols. Validation data are compared with the data to train on, so
    the model seldom runs. On data to train on, models and losses that are not crnn's own are not
    tried: they may count their calls.
    """

    def __init__(self, model: Any, loss: Loss, tbptt: Tbptt, stateful: bool) -> None:
        self._model, self._loss, self._tbptt, self._stateful = model, loss, tbptt, stateful
        self._trials: _Trials | None = None

    def training(self, data: Data, epoch: int) -> Told | None:
        """Check the data to train on, where that is cheap: lists, and the classes of `crnn.data`.

        Their first item is not tried: the first update does that.
        """
        return self._through(data, "data", epoch) if is_held(data) else None

    def _own(self) -> bool:
        """Whether model and loss are crnn's own."""
        return _is_own(self._loss) and all(
            _is_own(type(part)) for _, part in named_layers(self._model)
        )

    def validation(self, data: Data, epoch: int) -> Told | None:
        """Check the validation data, unless they can be gone through only once."""
        if hasattr(data, "__next__"):
            return None
        return self._through(data, "validation", epoch)

    def _through(self, data: Data, name: str, epoch: int) -> Told:
        """Go through the data once.

        Raises
        ------
        ValueError, TypeError
            What `fit` would raise when it came to the item. The message names data and item.
        """
        windows.set_epoch(data, epoch)
        held = name == "data" or is_held(data)
        trials, trust = self._trials, name == "data"
        rows: int | None = None
        total = largest = count = content = items = 0
        for item in windows.items_of(data, name, self._tbptt, self._model):
            if self._stateful:
                rows = windows.check_rows(rows, item, name)
            if items == 0 and trust:
                first = item  # looked at where another one comes
            else:
                if trials is None:
                    trials = self._trials = _Trials(self._model, self._loss, self._tbptt)
                if items == trust:
                    trials.begin(name, tries=not trust or self._own())
                    if trust:
                        trials.add(0, first, trust=True)
                trials.add(items, item)
            shape = item.shape
            B = shape[0] if shape else 0
            total, largest, items = total + B, max(largest, B), items + 1
            cuts = windows.windows_of(item, self._tbptt)
            count += len(cuts) if isinstance(cuts, tuple) else sum(1 for _ in cuts)
            content = digest(item, content, content=held)
        if not count:
            raise ValueError(f"{name}: expected data with valid steps, got none")
        if items > trust and trials is not None:
            trials.end()
        told = {"items": items, "batch": largest, "rows": total, "content": content}
        return Told(told, count)


def is_held(data: Data) -> bool:
    """Whether data are the same each time, and cheap to go through."""
    return isinstance(data, list | tuple) or type(data).__module__.startswith("crnn.")


def _is_own(function: Any) -> bool:
    """Whether a function or a class is one of crnn."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__module__", "")).startswith("crnn.")


def described(data: Any) -> dict[str, Any] | None:
    """Return what tells data from others that were not looked at, as far as it is known."""
    if hasattr(data, "__len__"):
        batch_size = getattr(data, "batch_size", None)
        return {"items": len(data), "batch": batch_size if isinstance(batch_size, int) else None}
    return None


# ----------------------------------------------------------------------------- items run for trial


class _Trials:
    """Items that the model and the loss are tried on: one of each form, and those of extremes."""

    def __init__(self, model: Any, loss: Loss, tbptt: Tbptt) -> None:
        self._model, self._loss, self._tbptt = model, loss, tbptt
        self._forms: set[str] = set()  # of items that can be read
        self._limits: dict[tuple[str, bool], int] = {}  # the most extreme integers so far
        self._rows: dict[tuple[str, bool], tuple[int, Window, int]] = {}  # and where they are

    def begin(self, name: str, *, tries: bool) -> None:
        """Begin with other data, of which items are tried or not."""
        self._name, self._tries = name, tries
        self._rows = {}

    def add(self, number: int, item: Item, *, trust: bool = False) -> None:
        """Try an item of a new form; note where the largest and smallest integers are.

        An item to `trust` is not tried: others are compared with it.
        """
        window = next(iter(windows.windows_of(item, self._tbptt)), None)
        if window is None:
            return
        form = _form(item)
        if form not in self._forms:
            if not trust and self._tries:
                with _naming(self._name, number):
                    self._try(window.item)
            self._forms.add(form)
        for place, array, valid in _integers(item):
            for largest in (True, False):
                self._note((place, largest), number, item, _extreme(array, valid, largest))

    def _note(
        self, key: tuple[str, bool], number: int, item: Item, found: tuple[int, int, int] | None
    ) -> None:
        """Remember the row and window of an item that has the most extreme integer so far."""
        if found is None:
            return
        value, row, step = found
        largest, known = key[1], self._limits.get(key, -1 if key[1] else 0)
        if value > known if largest else value < known:
            cuts = windows.windows_of(item, self._tbptt)
            window = next((one for one in cuts if step < one.stop), None)
            if window is not None:
                self._limits[key], self._rows[key] = value, (number, window, row)

    def end(self) -> None:
        """Try the rows with the largest and the smallest integers."""
        for number, window, row in self._rows.values() if self._tries else ():
            try:
                self._try(_row(window.item, row))
            except Exception:
                with _naming(self._name, number):  # a model may need more rows than one
                    self._try(window.item)

    def _try(self, item: Item) -> None:
        """Run model and loss as in validation."""
        y, _ = layer_of(self._model)(item.x, None, **item.options)
        windows.loss_of(self._loss, y, item)


@contextmanager
def _naming(name: str, number: int) -> Iterator[None]:
    """Name data and item in errors about what is in them."""
    try:
        yield
    except (ValueError, TypeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        text = str(error).removeprefix(f"{name}: ")
        raise kind(f"{name}: item {number}: {text}") from error


def _arrays(item: Item) -> dict[str, NDArray[Any]]:
    """Return the arrays of an item by name."""
    given: dict[str, Any] = {}
    for i, x in enumerate(item.x if isinstance(item.x, tuple) else (item.x,)):
        given[f"x[{i}]"] = x
    given["target"] = item.target
    for name in ("lengths", "mask", "resets", "weights"):
        if (array := getattr(item, name)) is not None:
            given[name] = array
    return given


def _form(item: Item) -> str:
    """Return what decides whether the model and the loss can read an item, as far as it shows."""
    B, T = (*item.shape, None, None)[:2]
    shapes = [
        (
            name,
            array.dtype.kind,
            array.shape[2:],
            [size == own for size, own in zip(array.shape, (B, T), strict=False)],
        )
        for name, array in _arrays(item).items()
    ]
    return repr((shapes, _counts_fit(item)))


def _counts_fit(item: Item) -> bool:
    """Whether integers (B,) among several inputs, such as lengths, are steps of one of them."""
    xs = item.x if isinstance(item.x, tuple) else ()
    longest = max((x.shape[1] for x in xs if x.ndim > 1), default=0)
    counts = [x for x in xs if x.ndim == 1 and x.dtype.kind in "iu" and x.size]
    return all(0 <= count.min() and count.max() <= longest for count in counts)


def _integers(item: Item) -> Iterator[tuple[str, NDArray[Any], NDArray[np.bool_] | None]]:
    """Arrays of integers in an item by name, and which of their steps count."""
    there = True if item.lengths is None else valid_steps(item.lengths, item.shape)
    read = there if item.mask is None else there & item.mask.astype(bool)
    valid = {f"x[{item.timed}]": read, "target": _counted(item, there)}
    for name, array in _arrays(item).items():
        if array.dtype.kind in "iu" and (name.startswith("x") or name == "target"):
            steps = np.asarray(valid.get(name, True))
            fits = steps.ndim > 0 and array.shape[: steps.ndim] == steps.shape
            yield name, array, steps if fits and not steps.all() else None


def _counted(item: Item, there: Any) -> Any:
    """Return which steps of the target count, (B, T); or which rows, where it has no steps."""
    if item.weights is None:
        return there
    counts, shape = item.weights > 0, item.shape[:2]
    if item.target.shape[:2] != shape:  # many to one: lengths are of x alone
        return counts
    return there & np.broadcast_to(counts.reshape(len(counts), -1), shape)


def _extreme(
    array: NDArray[Any], valid: NDArray[np.bool_] | None, largest: bool
) -> tuple[int, int, int] | None:
    """Return the largest or smallest integer that counts, its row and its step."""
    if not array.size or (valid is not None and not valid.any()):
        return None
    if valid is not None:
        limits = np.iinfo(array.dtype)
        wide = valid.reshape(valid.shape + (1,) * (array.ndim - valid.ndim))
        array = np.where(wide, array, limits.min if largest else limits.max)
    flat = array.argmax() if largest else array.argmin()
    where = [int(axis) for axis in np.unravel_index(int(flat), array.shape)]
    return int(array.flat[flat]), where[0], where[1] if array.ndim > 1 else 0


def _row(item: Item, row: int) -> Item:
    """Return one row of an item."""
    rows = slice(row, row + 1)
    x = tuple(part[rows] for part in item.x) if isinstance(item.x, tuple) else item.x[rows]
    names = ("lengths", "mask", "resets", "weights")
    extras = {name: each[rows] for name in names if (each := getattr(item, name)) is not None}
    return item._replace(x=x, target=item.target[rows], **extras)


# ------------------------------------------------------------------------- telling data from others


def digest(item: Item, before: int = 0, *, content: bool = True) -> int:
    """Return a number that depends on an item and on the number of those before it.

    Parameters
    ----------
    item : Item
    before : int
        The number of the items before it.
    content : bool
        Whether it depends on the numbers in the arrays, or on shapes and types alone. Of large
        arrays only some of them are looked at.
    """
    for name, array in _arrays(item).items():
        before = zlib.crc32(f"{name} {array.dtype.kind} {array.shape}".encode(), before)
        if content and array.nbytes <= _WHOLE:
            before = zlib.crc32(array.tobytes(), before)
        elif content:
            places = np.linspace(0, array.size - 1, _SAMPLE).astype(np.intp)
            before = zlib.crc32(array[np.unravel_index(places, array.shape)].tobytes(), before)
    return before


class Seen:
    """The items of data that cannot be looked at beforehand, as they come in an epoch.

    Parameters
    ----------
    data
    begun : Position
        Where the run goes on in the epoch; up to there the items must be those seen then.
    """

    def __init__(self, data: Data, begun: Position) -> None:
        self.number, self._begun = 0, begun
        self._counts = not is_held(data)
        self._content = hasattr(data, "__next__")
        self._known = begun.item + (begun.window > 0)

    def add(self, number: int, item: Item) -> None:
        """Note an item; ValueError where it is not the one that was there before."""
        if not self._counts:
            return
        self.number = digest(item, self.number, content=self._content)
        if number + 1 == self._known and self._begun.seen not in (0, self.number):
            raise ValueError(
                f"data: a run is resumed with the data that it began with, in the same batches and "
                f"the same order; the first {self._known} items of this epoch are others"
            )
