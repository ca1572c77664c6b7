"""Checks of the data of a run before its first update, and descriptions that identify the data.

The form of all items and the range of their symbols and targets are checked. The model and the loss
are tested on a few items: one item of each form, and the rows with the largest and the smallest
symbols.
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

_READ_WHOLE = 2**14  # largest array in bytes that a checksum reads completely
_SAMPLES = 1024  # numbers that a checksum reads of a larger array


class DataSummary(NamedTuple):
    """Description of data that were checked, and the number of windows in one pass over them."""

    description: dict[str, int]
    windows: int


class DataChecks:
    """Checks of the data of a run before its first update.

    Parameters
    ----------
    model, loss, tbptt, stateful
        The arguments of the run.

    Notes
    -----
    The model and the loss are tested on items that differ in form from the first item, and on rows
    with larger or smaller symbols. Validation data are compared with the training data, so that the
    model runs only a few times. On training data, models and losses that are not defined in crnn
    are not tested, because they may count their calls.
    """

    def __init__(self, model: Any, loss: Loss, tbptt: Tbptt, stateful: bool) -> None:
        self._model, self._loss, self._tbptt, self._stateful = model, loss, tbptt, stateful
        self._test_runs: _TestRuns | None = None

    def training(self, data: Data, epoch: int) -> DataSummary | None:
        """Check the training data if they are repeatable; return None for other data.

        The model is not tested on the first item, because the first update is computed from it.
        """
        return self._check(data, "data", epoch) if is_repeatable(data) else None

    def validation(self, data: Data, epoch: int) -> DataSummary | None:
        """Check the validation data; return None for an iterator, which can be read only once."""
        if hasattr(data, "__next__"):
            return None
        return self._check(data, "validation", epoch)

    def _is_defined_in_crnn(self) -> bool:
        """Return whether the model and the loss are defined in crnn."""
        return _is_from_crnn(self._loss) and all(
            _is_from_crnn(type(part)) for _, part in named_layers(self._model)
        )

    def _check(self, data: Data, name: str, epoch: int) -> DataSummary:
        """Read the data once and check all items.

        Raises
        ------
        ValueError, TypeError
            As `fit` would raise for the item. The message names the data and the item.
        """
        windows.set_epoch(data, epoch)
        with_content = name == "data" or is_repeatable(data)
        test_runs, skips_first = self._test_runs, name == "data"
        rows: int | None = None
        total = largest = count = content = items = 0
        for item in windows.items_of(data, name, self._tbptt, self._model):
            if self._stateful:
                rows = windows.check_rows(rows, item, name)
            if items == 0 and skips_first:
                first = item  # added when there is a second item to compare with it
            else:
                if test_runs is None:
                    test_runs = self._test_runs = _TestRuns(self._model, self._loss, self._tbptt)
                if items == skips_first:
                    test_runs.begin(name, enabled=not skips_first or self._is_defined_in_crnn())
                    if skips_first:
                        test_runs.add(0, first, run=False)
                test_runs.add(items, item)
            shape = item.shape
            B = shape[0] if shape else 0
            total, largest, items = total + B, max(largest, B), items + 1
            cuts = windows.windows_of(item, self._tbptt)
            count += len(cuts) if isinstance(cuts, tuple) else sum(1 for _ in cuts)
            content = checksum_of(item, content, content=with_content)
        if not count:
            raise ValueError(f"{name}: expected data with valid steps, got none")
        if items > skips_first and test_runs is not None:
            test_runs.end()
        description = {"items": items, "batch": largest, "rows": total, "content": content}
        return DataSummary(description, count)


def is_repeatable(data: Data) -> bool:
    """Return whether data are cheap to read and equal in each pass: lists, and those of crnn."""
    return isinstance(data, list | tuple) or type(data).__module__.startswith("crnn.")


def _is_from_crnn(function: Any) -> bool:
    """Return whether a function or class is defined in crnn."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__module__", "")).startswith("crnn.")


def describe_unread(data: Any) -> dict[str, Any] | None:
    """Return a description of data that were not read: their length and batch size, if known."""
    if hasattr(data, "__len__"):
        batch_size = getattr(data, "batch_size", None)
        return {"items": len(data), "batch": batch_size if isinstance(batch_size, int) else None}
    return None


# --------------------------------------------------------------------- tests of model and loss


class _TestRuns:
    """Test runs of the model and the loss: on one item of each form, and on extreme symbols."""

    def __init__(self, model: Any, loss: Loss, tbptt: Tbptt) -> None:
        self._model, self._loss, self._tbptt = model, loss, tbptt
        self._forms: set[str] = set()  # forms that the model can read
        self._limits: dict[tuple[str, bool], int] = {}  # most extreme integers so far
        self._rows: dict[tuple[str, bool], tuple[int, Window, int]] = {}  # rows that contain them

    def begin(self, name: str, *, enabled: bool) -> None:
        """Begin with other data. If not enabled, items are compared and the model does not run."""
        self._name, self._enabled = name, enabled
        self._rows = {}

    def add(self, number: int, item: Item, *, run: bool = True) -> None:
        """Test an item of a new form, and record the rows with the most extreme integers.

        If `run` is False the model does not run, and the form of the item counts as readable.
        """
        window = next(iter(windows.windows_of(item, self._tbptt)), None)
        if window is None:
            return
        form = _form_of(item)
        if form not in self._forms:
            if run and self._enabled:
                with named_errors(self._name, number):
                    self._run(window.item)
            self._forms.add(form)
        for name, array, valid in _integers_of(item):
            for largest in (True, False):
                self._record((name, largest), number, item, _extreme_of(array, valid, largest))

    def _record(
        self, key: tuple[str, bool], number: int, item: Item, extreme: tuple[int, int, int] | None
    ) -> None:
        """Record the row and window of an integer if it is the most extreme one so far."""
        if extreme is None:
            return
        value, row, step = extreme
        largest, known = key[1], self._limits.get(key, -1 if key[1] else 0)
        if value > known if largest else value < known:
            cuts = windows.windows_of(item, self._tbptt)
            window = next((one for one in cuts if step < one.stop), None)
            if window is not None:
                self._limits[key], self._rows[key] = value, (number, window, row)

    def end(self) -> None:
        """Test the rows with the largest and the smallest integers."""
        for number, window, row in self._rows.values() if self._enabled else ():
            try:
                self._run(window.item.rows(row, row + 1))
            except Exception:
                with named_errors(self._name, number):  # the model may need all rows
                    self._run(window.item)

    def _run(self, item: Item) -> None:
        """Run model and loss as in an evaluation."""
        y, _ = layer_of(self._model)(item.x, None, **item.options)
        windows.loss_of(self._loss, y, item)


@contextmanager
def named_errors(name: str, number: int) -> Iterator[None]:
    """Add the names of data and item to the message of an error."""
    try:
        yield
    except (ValueError, TypeError) as error:
        error_type = TypeError if isinstance(error, TypeError) else ValueError
        text = str(error).removeprefix(f"{name}: ")
        raise error_type(f"{name}: item {number}: {text}") from error


def _arrays_of(item: Item) -> dict[str, NDArray[Any]]:
    """Return the arrays of an item by name."""
    arrays: dict[str, Any] = {}
    for i, x in enumerate(item.x if isinstance(item.x, tuple) else (item.x,)):
        arrays[f"x[{i}]"] = x
    arrays["target"] = item.target
    for name in ("lengths", "mask", "resets", "weights"):
        if (array := getattr(item, name)) is not None:
            arrays[name] = array
    return arrays


def _form_of(item: Item) -> str:
    """Return the form of an item: if the model can read one item of a form, it can read all."""
    B, T = (*item.shape, None, None)[:2]
    shapes = [
        (
            name,
            array.dtype.kind,
            array.shape[2:],
            [size == expected for size, expected in zip(array.shape, (B, T), strict=False)],
        )
        for name, array in _arrays_of(item).items()
    ]
    return repr((shapes, _lengths_fit(item)))


def _lengths_fit(item: Item) -> bool:
    """Return whether integers (B,) among several inputs, such as lengths, are valid lengths."""
    xs = item.x if isinstance(item.x, tuple) else ()
    longest = max((x.shape[1] for x in xs if x.ndim > 1), default=0)
    counts = [x for x in xs if x.ndim == 1 and x.dtype.kind in "iu" and x.size]
    return all(0 <= count.min() and count.max() <= longest for count in counts)


def _integers_of(item: Item) -> Iterator[tuple[str, NDArray[Any], NDArray[np.bool_] | None]]:
    """Yield name, array and valid steps (None: all) of the integer arrays in an item."""
    inside = True if item.lengths is None else valid_steps(item.lengths, item.shape)
    read = inside if item.mask is None else inside & item.mask.astype(bool)
    valid_by_name = {f"x[{item.sequence_input}]": read, "target": _valid_targets(item, inside)}
    for name, array in _arrays_of(item).items():
        if array.dtype.kind in "iu" and (name.startswith("x") or name == "target"):
            steps = np.asarray(valid_by_name.get(name, True))
            fits = steps.ndim > 0 and array.shape[: steps.ndim] == steps.shape
            yield name, array, steps if fits and not steps.all() else None


def _valid_targets(item: Item, inside: Any) -> Any:
    """Return the steps (B, T) of the target with a loss, or the rows (B,) if it has no steps."""
    if item.weights is None:
        return inside
    positive, shape = item.weights > 0, item.shape[:2]
    if item.target.shape[:2] != shape:  # many to one: lengths are those of x only
        return positive
    return inside & np.broadcast_to(positive.reshape(len(positive), -1), shape)


def _extreme_of(
    array: NDArray[Any], valid: NDArray[np.bool_] | None, largest: bool
) -> tuple[int, int, int] | None:
    """Return the largest or smallest integer at the valid steps, its row and its step."""
    if not array.size or (valid is not None and not valid.any()):
        return None
    if valid is not None:
        limits = np.iinfo(array.dtype)
        wide = valid.reshape(valid.shape + (1,) * (array.ndim - valid.ndim))
        array = np.where(wide, array, limits.min if largest else limits.max)
    flat = array.argmax() if largest else array.argmin()
    index = [int(axis) for axis in np.unravel_index(int(flat), array.shape)]
    return int(array.flat[flat]), index[0], index[1] if array.ndim > 1 else 0


# ----------------------------------------------------------------------------------- checksums


def checksum_of(item: Item, before: int = 0, *, content: bool = True) -> int:
    """Return a checksum of an item and of the items before it.

    Parameters
    ----------
    item : Item
    before : int, default 0
        Checksum of the items before it.
    content : bool, default True
        True: the checksum depends on the numbers in the arrays, of large arrays on a sample of
        them. False: it depends only on shapes and dtypes.
    """
    for name, array in _arrays_of(item).items():
        before = zlib.crc32(f"{name} {array.dtype.kind} {array.shape}".encode(), before)
        if content and array.nbytes <= _READ_WHOLE:
            before = zlib.crc32(array.tobytes(), before)
        elif content:
            sample = np.linspace(0, array.size - 1, _SAMPLES).astype(np.intp)
            before = zlib.crc32(array[np.unravel_index(sample, array.shape)].tobytes(), before)
    return before


class EpochChecksum:
    """Checksum of the items of an epoch, for data that are not checked before the first update.

    Parameters
    ----------
    data : iterable
    begun : Position
        The position at which the run continues. The items before it must be those of the saved run.

    Attributes
    ----------
    value : int
        Checksum of the items added so far.
    """

    def __init__(self, data: Data, begun: Position) -> None:
        self.value, self._begun = 0, begun
        self._content = hasattr(data, "__next__")
        self._known_items = begun.item + (begun.window > 0)

    def add(self, number: int, item: Item) -> None:
        """Add an item; raise ValueError if the items differ from those of the saved run."""
        self.value = checksum_of(item, self.value, content=self._content)
        if number + 1 == self._known_items and self._begun.seen not in (0, self.value):
            raise ValueError(
                f"data: expected the data of the saved run, in the same batches and the same "
                f"order, got others in the first {self._known_items} items of this epoch"
            )
