"""Items of the data, and the windows along T into which they are cut.

Nothing is copied: x and target may be memory-mapped files that are larger than memory, of which
each window reads only its steps.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import as_array
from crnn.common.checks import check_lengths, valid_steps
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import options_of
from crnn.layers.base.layer import Layer
from crnn.losses import Mean

Data = Iterable[tuple[Any, ...]]
Loss = Callable[..., tuple[float, Any]]
Tbptt = tuple[int, int] | None

EXTRAS = ("mask", "resets", "weights")


_BATCHES = "crnn.data.Batches(sequences, targets) makes items of single sequences"


class Item(NamedTuple):
    """One entry of the data, checked: input, target and options of all its steps, or of some."""

    x: Any  # (B, T, ...), or a tuple of arrays
    target: NDArray[Any]
    lengths: NDArray[Any] | None = None
    mask: NDArray[Any] | None = None
    resets: NDArray[Any] | None = None
    weights: NDArray[Any] | None = None
    sequence_input: int = 0  # index of the array (B, T, ...) in a tuple x

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of x, or of the sequence in a tuple x."""
        x, i = self.x, self.sequence_input
        shape: tuple[int, ...] = (x[i] if isinstance(x, tuple) and i < len(x) else x).shape
        return shape

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of forward: lengths, mask and resets, if they are not None."""
        options: dict[str, Any] = {}
        if self.lengths is not None:
            options["lengths"] = self.lengths
        if self.mask is not None:
            options["mask"] = self.mask
        if self.resets is not None:
            options["resets"] = self.resets
        return options

    def copied(self) -> "Item":
        """Return a copy of the arguments of forward, without the target."""
        x = tuple(map(np.array, self.x)) if isinstance(self.x, tuple) else np.array(self.x)
        options = {name: np.array(value) for name, value in self.options.items()}
        return Item(x, np.empty(0), **options, sequence_input=self.sequence_input)

    def rows(self, start: int, stop: int) -> "Item":
        """Return the rows from `start` to before `stop`."""
        rows = slice(start, stop)
        x = tuple(part[rows] for part in self.x) if isinstance(self.x, tuple) else self.x[rows]
        names = ("lengths", *EXTRAS)
        extras = {name: each[rows] for name in names if (each := getattr(self, name)) is not None}
        return self._replace(x=x, target=self.target[rows], **extras)

    def cut(self, start: int, stop: int) -> "Item":
        """Return the steps from `start` to before `stop`."""
        steps = slice(start, stop)
        x = (self.x[0][:, steps], *self.x[1:]) if isinstance(self.x, tuple) else self.x[:, steps]
        lengths = None if self.lengths is None else np.clip(self.lengths - start, 0, stop - start)
        mask, resets, weights = (
            extra if extra is None or extra.ndim < 2 else extra[:, steps]
            for extra in (self.mask, self.resets, self.weights)
        )
        return Item(x, self.target[:, steps], lengths, mask, resets, weights)


class Window(NamedTuple):
    """Consecutive steps of an item, which give one update."""

    item: Item  # only the steps of the window
    start: int
    stop: int
    total: int  # number of steps of the whole item


def sequence_input_of(model: Any, tbptt: Tbptt = None) -> int:
    """Return the index of the array in a tuple x that has the steps of lengths and windows."""
    layer = model if isinstance(model, Layer) else layer_of(model)
    index = layer.sequence_input or 0
    if tbptt and index:
        raise ValueError(
            f"tbptt: expected None, because {type(model).__name__} has no state from which a "
            f"second window could continue, got {tbptt}"
        )
    return index


def items_of(
    data: Data, name: str, tbptt: Tbptt, model: Any = None, *, once: bool = False
) -> Iterator[Item]:
    """Read the data once and yield the checked items; with a model, check the extras for it.

    `once` tells that the data are not read again, and are an iterator only if the caller chose so.
    """
    is_empty = True
    index = sequence_input_of(model, tbptt) if tbptt and model is not None else 0
    for entry in data:
        is_empty = False
        if not isinstance(entry, tuple | list) or len(entry) not in (2, 3, 4):
            raise ValueError(
                f"{name}: expected items (x, target) or (x, target, lengths) or "
                f"(x, target, lengths, extras), got {entry!r:.60}"
            )
        try:
            x, target = entry[0], np.asarray(entry[1])
            if not isinstance(x, tuple):
                x = np.asarray(x)
                shape = x.shape
            else:
                x, index = _as_arrays(x), 0 if model is None else sequence_input_of(model, tbptt)
                shape = Item(x, target, sequence_input=index).shape
        except ValueError as error:
            if "inhomogeneous" not in str(error):
                raise
            raise ValueError(
                f"{name}: expected items of arrays, got sequences of different lengths: {_BATCHES}"
            ) from error
        if not shape or not target.shape:
            raise ValueError(
                f"{name}: expected items (x, target) with x (B, T, ...) and a target of B rows, "
                f"got shapes {shape} and {target.shape}: {_BATCHES}"
            )
        if tbptt and (len(shape) < 2 or target.shape[:2] != shape[:2]):
            raise ValueError(
                f"{name}: expected x (B, T, ...) and target (B, T, ...) with tbptt, "
                f"got shapes {shape} and {target.shape}"
            )
        lengths = entry[2] if len(entry) > 2 else None
        if lengths is not None:  # checked here because windows clip lengths
            lengths = check_lengths(lengths, shape, f"{name}: lengths")
        extras = _check_extras(name, entry[3], shape, target.shape) if len(entry) > 3 else {}
        if extras and model is not None:
            _check_options(model, extras, name)
        yield Item(x, target, lengths, **extras, sequence_input=index)
    if is_empty:
        several = (
            ". An iterator can be read only once: for more than one epoch pass a list, or an "
            "object with __iter__"
        )
        raise ValueError(f"{name}: expected items, got none{'' if once else several}")


def _as_arrays(x: tuple[Any, ...]) -> Any:
    """Return a tuple that contains an array as a tuple of arrays, any other tuple as an array."""
    if any(isinstance(part, np.ndarray) for part in x):
        return tuple(np.asarray(part) for part in x)
    return np.asarray(x)


def _check_extras(
    name: str, extras: Any, shape: tuple[int, ...], target: tuple[int, ...]
) -> dict[str, NDArray[Any]]:
    """Return the fourth entry of an item as arrays by name, or raise."""
    if extras is None:
        return {}
    if not isinstance(extras, Mapping) or not set(extras) <= set(EXTRAS):
        shown = list(extras) if isinstance(extras, Mapping) else f"{extras!r:.60}"
        raise ValueError(
            f"{name}: the fourth entry of an item: expected a mapping with any of "
            f"{', '.join(EXTRAS)}, got {shown}"
        )
    arrays = {key: as_array(key, value) for key, value in extras.items() if value is not None}
    for key, array in arrays.items():
        expected = shape[:2] if key != "weights" else target[: max(1, min(2, array.ndim))]
        if array.shape != expected:
            raise ValueError(
                f"{name}: {key}: expected shape (B, T) = {expected}, got shape {array.shape}"
            )
    return arrays


def windows_of(item: Item, tbptt: Tbptt) -> Iterable[Window]:
    """Return the windows of an item along T, without windows in which all steps are padding."""
    shape, lengths = item.shape, item.lengths
    steps = shape[1] if len(shape) > 1 else 1
    if lengths is not None and shape[0]:
        steps = min(steps, int(lengths.max()))
    if shape[0] == 0 or steps == 0:
        return ()
    return (Window(item, 0, steps, steps),) if tbptt is None else _cut(item, steps, tbptt[0])


def _cut(item: Item, steps: int, k1: int) -> Iterator[Window]:
    """Yield windows of at most k1 steps."""
    for start in range(0, steps, k1):
        stop = min(start + k1, steps)
        yield Window(item.cut(start, stop), start, stop, steps)


def _check_options(model: Any, extras: Mapping[str, Any], name: str) -> None:
    """Raise ValueError if an item has a mask or resets and the model's forward takes none."""
    for option in ("mask", "resets"):
        if option in extras and option not in options_of(model):
            raise ValueError(
                f"{name}: {option}: expected none, the forward of {type(model).__name__} "
                f"takes no {option}"
            )


def check_rows(before: int | None, item: Item, name: str) -> int:
    """Return the number of rows of an item; raise ValueError if it differs from `before`."""
    rows = item.shape[0]
    if before not in (None, rows):
        raise ValueError(
            f"{name}: expected items of B={before} rows with stateful=True, where row b continues "
            f"row b, got shape {item.shape}"
        )
    return rows


def loss_of(loss: Loss, y: Any, item: Item) -> tuple[float, Any]:
    """Return the loss of y and its gradient. For y (B, K), without steps, lengths are None."""
    lengths = None if y.ndim == 2 else item.lengths
    if item.weights is None:
        result = loss(y, item.target, lengths)
    else:
        result = loss(y, item.target, lengths, weights=item.weights)
    if not isinstance(result, tuple) or len(result) != 2 or result[1] is None:
        raise TypeError(
            f"loss: expected a function that returns (value, gradient), got {result!r:.60}"
        )
    return result


def weigh(value: float, y: Any, item: Item) -> tuple[int, float]:
    """Return the number of valid steps of y (B, T, ...), and the divisor of a loss.

    For y (B, K), without steps, it is the number of rows. A loss that is not a `crnn.losses.Mean`
    counts as the mean over the valid steps, weighted if the item has weights.
    """
    lengths = None if y.ndim < 3 else item.lengths
    lead = y.shape[: 1 if y.ndim < 3 else 2]
    steps = math.prod(lead) if lengths is None else int(lengths.sum())
    if isinstance(value, Mean):
        return steps, value.weight
    if item.weights is None:
        return steps, steps
    weights = np.asarray(item.weights, np.float64)
    if len(lead) == 2:
        weights = np.broadcast_to(weights.reshape(lead[0], -1), lead)
        if lengths is not None:
            weights = weights[valid_steps(lengths, lead)]
    return steps, float(weights.sum())


def set_epoch(data: Data, epoch: int) -> None:
    """Call ``data.set_epoch`` with the number of epochs done, if the data have this method."""
    if hasattr(data, "set_epoch"):
        data.set_epoch(epoch)
