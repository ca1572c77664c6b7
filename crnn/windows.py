"""What a pass over the data gives, and how it is cut into windows along T."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.layers.base import check_size, valid_steps

Data = Iterable[tuple[Any, ...]]


class Item(NamedTuple):
    """What a pass over the data gives, or a window of it."""

    x: NDArray[Any]
    target: NDArray[Any]
    lengths: NDArray[Any] | None


def items_of(data: Data, name: str, tbptt: tuple[int, int] | None) -> Iterator[Item]:
    """Go through the data once, checking what comes."""
    empty = True
    for item in data:
        empty = False
        if not isinstance(item, tuple | list) or len(item) not in (2, 3):
            raise ValueError(
                f"{name}: expected items (x, target) or (x, target, lengths), got {item!r:.60}"
            )
        x, target = np.asarray(item[0]), np.asarray(item[1])
        lengths = np.asarray(item[2]) if len(item) == 3 and item[2] is not None else None
        if tbptt and (x.ndim < 2 or target.shape[:2] != x.shape[:2]):
            raise ValueError(
                f"{name}: windows (tbptt) need x (B, T, ...) and target (B, T, ...), "
                f"got shapes {x.shape} and {target.shape}"
            )
        if lengths is not None:
            valid_steps(lengths, x.shape)  # windows would hide a length that is out of range
        yield Item(x, target, lengths)
    if empty:
        raise ValueError(
            f"{name}: expected items, got none. An iterator can be gone through only once: "
            f"for more than one epoch give a list, or an object with __iter__"
        )


def windows_of(item: Item, tbptt: tuple[int, int] | None) -> Iterator[Item]:
    """Cut an item into windows along T; those in which no row has a valid step are left out."""
    x, target, lengths = item
    steps = x.shape[1] if x.ndim > 1 else 1
    if len(x) == 0:
        return
    if lengths is not None:
        steps = min(steps, int(lengths.max()))
    if tbptt is None:
        if steps > 0:
            yield item
        return
    for start in range(0, steps, tbptt[0]):
        window = slice(start, min(start + tbptt[0], steps))
        part = None if lengths is None else np.clip(lengths - start, 0, tbptt[0])
        yield Item(x[:, window], target[:, window], part)


def valid_steps_of(y: Any, lengths: NDArray[Any] | None) -> int:
    """Return how many steps of y (B, T, ...) are valid; of a y without steps (B, K), the rows."""
    if y.ndim < 3:
        return int(y.shape[0])
    return int(y.shape[0] * y.shape[1] if lengths is None else lengths.sum())


def check_tbptt(tbptt: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return a pair of equal window sizes, or None."""
    if tbptt is None:
        return None
    if not isinstance(tbptt, tuple | list) or len(tbptt) != 2:
        raise ValueError(f"tbptt: expected None or (k1, k2), got {tbptt!r}")
    k1, k2 = (check_size(name, k) for name, k in zip(("k1", "k2"), tbptt, strict=True))
    if k1 != k2:
        raise ValueError(f"tbptt: only k1 == k2 is there so far, got ({k1}, {k2})")
    return k1, k2


def set_epoch(data: Data, epoch: int) -> None:
    """Tell data that change from epoch to epoch how many are done."""
    if hasattr(data, "set_epoch"):
        data.set_epoch(epoch)
