"""What a pass over the data gives, and how it is cut into windows along T.

Nothing is copied: x and target may be memory-mapped files longer than memory, of which each window
reads its own steps.
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


class Item(NamedTuple):
    """What a pass over the data gives, or the steps from one to another of it."""

    x: Any  # (B, T, ...), or a tuple of such an array and of others
    target: NDArray[Any]
    lengths: NDArray[Any] | None = None
    mask: NDArray[Any] | None = None
    resets: NDArray[Any] | None = None
    weights: NDArray[Any] | None = None
    timed: int = 0  # the place of that array in a tuple

    @property
    def shape(self) -> tuple[int, ...]:
        """Of x."""
        x, timed = self.x, self.timed
        shape: tuple[int, ...] = (x[timed] if isinstance(x, tuple) and timed < len(x) else x).shape
        return shape

    @property
    def options(self) -> dict[str, Any]:
        """What the model is told besides x: those of lengths, mask and resets that are there."""
        given: dict[str, Any] = {}
        if self.lengths is not None:
            given["lengths"] = self.lengths
        if self.mask is not None:
            given["mask"] = self.mask
        if self.resets is not None:
            given["resets"] = self.resets
        return given

    def kept(self) -> "Item":
        """Return what goes into forward in arrays of its own, without the target."""
        x = tuple(map(np.array, self.x)) if isinstance(self.x, tuple) else np.array(self.x)
        options = {name: np.array(value) for name, value in self.options.items()}
        return Item(x, np.empty(0), **options, timed=self.timed)

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
    """The steps of an item that one update learns from."""

    item: Item  # these steps alone
    start: int
    stop: int
    total: int  # steps of the item


def timed_in(model: Any, tbptt: Tbptt = None) -> int:
    """Which array of a tuple x has the steps that lengths count and that windows cut."""
    own = model if isinstance(model, Layer) else layer_of(model)
    timed = own.sequence_input or 0
    if tbptt and timed:
        raise ValueError(
            f"tbptt: expected None, because {type(model).__name__} has no state from which a "
            f"second window could go on, got {tbptt}"
        )
    return timed


def items_of(data: Data, name: str, tbptt: Tbptt, model: Any = None) -> Iterator[Item]:
    """Go through the data once, checking what comes, for a model where there is one."""
    empty, timed = True, timed_in(model, tbptt) if tbptt and model is not None else 0
    for given in data:
        empty = False
        if not isinstance(given, tuple | list) or len(given) not in (2, 3, 4):
            raise ValueError(
                f"{name}: expected items (x, target) or (x, target, lengths) or "
                f"(x, target, lengths, extras), got {given!r:.60}"
            )
        x, target = given[0], np.asarray(given[1])
        if not isinstance(x, tuple):
            x = np.asarray(x)
            shape = x.shape
        else:
            x, timed = _arrays(x), 0 if model is None else timed_in(model, tbptt)
            shape = Item(x, target, timed=timed).shape
        if tbptt and (len(shape) < 2 or target.shape[:2] != shape[:2]):
            raise ValueError(
                f"{name}: windows (tbptt) need x (B, T, ...) and target (B, T, ...), "
                f"got shapes {shape} and {target.shape}"
            )
        lengths = given[2] if len(given) > 2 else None
        if lengths is not None:
            lengths = check_lengths(lengths, shape, f"{name}: lengths")  # windows would hide it
        extras = _extras(name, given[3], shape, target.shape) if len(given) > 3 else {}
        if extras and model is not None:
            _check_takes(model, extras, name)
        yield Item(x, target, lengths, **extras, timed=timed)
    if empty:
        raise ValueError(
            f"{name}: expected items, got none. An iterator can be gone through only once: "
            f"for more than one epoch give a list, or an object with __iter__"
        )


def _arrays(x: tuple[Any, ...]) -> Any:
    """Return a tuple with an array in it, as some layers read, as one of arrays; else an array."""
    if any(isinstance(part, np.ndarray) for part in x):
        return tuple(np.asarray(part) for part in x)
    return np.asarray(x)


def _extras(
    name: str, given: Any, shape: tuple[int, ...], target: tuple[int, ...]
) -> dict[str, NDArray[Any]]:
    """Return the fourth entry of an item, checked."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not set(given) <= set(EXTRAS):
        raise ValueError(
            f"{name}: the fourth entry of an item: expected a mapping with any of "
            f"{', '.join(EXTRAS)}, got {list(given) if isinstance(given, Mapping) else given!r:.60}"
        )
    extras = {key: as_array(key, value) for key, value in given.items() if value is not None}
    for key, array in extras.items():
        wanted = shape[:2] if key != "weights" else target[: max(1, min(2, array.ndim))]
        if array.shape != wanted:
            raise ValueError(
                f"{name}: {key}: expected shape (B, T) = {wanted}, got shape {array.shape}"
            )
    return extras


def windows_of(item: Item, tbptt: Tbptt) -> Iterable[Window]:
    """Cut an item into windows along T; those in which no row has a valid step are left out."""
    shape, lengths = item.shape, item.lengths
    steps = shape[1] if len(shape) > 1 else 1
    if lengths is not None and shape[0]:
        steps = min(steps, int(lengths.max()))
    if shape[0] == 0 or steps == 0:
        return ()
    return (Window(item, 0, steps, steps),) if tbptt is None else _cut(item, steps, tbptt[0])


def _cut(item: Item, steps: int, k1: int) -> Iterator[Window]:
    """Windows of at most k1 steps."""
    for start in range(0, steps, k1):
        stop = min(start + k1, steps)
        yield Window(item.cut(start, stop), start, stop, steps)


def _check_takes(model: Any, extras: Mapping[str, Any], name: str) -> None:
    """ValueError where an item has what the model's forward cannot be told."""
    for option in ("mask", "resets"):
        if option in extras and option not in options_of(model):
            raise ValueError(
                f"{name}: {option}: expected none, the forward of {type(model).__name__} "
                f"takes no {option}"
            )


def check_rows(before: int | None, item: Item, name: str) -> int:
    """Return how many rows an item has, which with stateful=True must not change."""
    rows = item.shape[0]
    if before not in (None, rows):
        raise ValueError(
            f"{name}: with stateful=True row b goes on in row b: "
            f"expected items of B={before} rows, got shape {item.shape}"
        )
    return rows


def loss_of(loss: Loss, y: Any, item: Item) -> tuple[float, Any]:
    """Return the loss of y and its gradient; a y (B, K) has no steps, and so no lengths."""
    lengths = None if y.ndim == 2 else item.lengths
    if item.weights is None:
        return loss(y, item.target, lengths)
    return loss(y, item.target, lengths, weights=item.weights)


def weigh(value: float, y: Any, item: Item) -> tuple[int, float]:
    """Return how many steps of y (B, T, ...) are valid, and what a loss was divided by.

    Of a y without steps, (B, K), the rows count. A loss that is no `crnn.losses.Mean` is taken for
    the mean over the valid steps, by their weights where the item has some.
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
    """Tell data that change from epoch to epoch how many are done."""
    if hasattr(data, "set_epoch"):
        data.set_epoch(epoch)
