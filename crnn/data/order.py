"""Orders and splits that depend on nothing but their arguments."""

from collections.abc import Sequence
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

import crnn._core as _core
from crnn.common.checks import check_seed, check_size
from crnn.common.choices import SplitBy

# Streams of the counter-based generator (crnn._core.random_uniform), apart from one another.
SHUFFLE = int.from_bytes(b"shuffle")
BATCHES = int.from_bytes(b"batches")
_SPLIT = int.from_bytes(b"split")

_POOL = 50  # at most so many batches' worth of sequences are sorted by length together

One = TypeVar("One")


def permutation(n: int, seed: int, stream: int, number: int = 0) -> NDArray[np.intp]:
    """Return an order (n,) of 0 ... n-1 that depends on nothing but the arguments.

    Parameters
    ----------
    n : int
        How many.
    seed, stream : int
        Which sequence of random numbers.
    number : int
        Which of the orders that come one after the other in it.
    """
    return np.argsort(_core.random_uniform(seed, stream, number * n, n), kind="stable")


class Ordered:
    """Sequences in batches, whose order is a function of the seed and the number of the epoch.

    Parameters
    ----------
    lengths : (n,)
        Of the sequences.
    batch_size, shuffle, seed, bucket, drop_last
        As for `Batches`.
    """

    def __init__(
        self,
        lengths: NDArray[np.int64],
        batch_size: int,
        shuffle: bool,
        seed: int | None,
        bucket: bool,
        drop_last: bool = False,
    ) -> None:
        self._lengths, self.batch_size = lengths, check_size("batch_size", batch_size)
        self.shuffle, self.seed = bool(shuffle), check_seed(seed)
        self.bucket, self._drop_last = bool(bucket), bool(drop_last)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, whose order the next iteration has."""
        self.epoch = epoch

    def __len__(self) -> int:
        n = len(self._lengths)
        return n // self.batch_size if self._drop_last else -(-n // self.batch_size)

    def _numbers(self) -> list[NDArray[np.intp]]:
        """Return the numbers of the sequences of each batch of the epoch."""
        lengths, batch_size, n = self._lengths, self.batch_size, len(self._lengths)
        if self.shuffle:
            order = permutation(n, self.seed, SHUFFLE, self.epoch)
        else:
            order = np.argsort(lengths, kind="stable") if self.bucket else np.arange(n)
        whole = n - n % batch_size
        if self.shuffle and self.bucket:  # the rest is not sorted in: it would be the longest ones
            pool = batch_size * max(1, min(_POOL, -(-whole // (2 * batch_size))))
            for first in range(0, whole, pool):
                part = order[first : min(first + pool, whole)]
                part[...] = part[np.argsort(lengths[part], kind="stable")]
        end = whole if self._drop_last else n
        batches = [order[first : first + batch_size] for first in range(0, end, batch_size)]
        if self.shuffle and self.bucket:
            turns = permutation(len(batches), self.seed, BATCHES, self.epoch)
            batches = [batches[turn] for turn in turns]
        return batches


def split(
    *data: Any,
    share: float = 0.1,
    by: SplitBy = "time",
    gap: int = 0,
    seed: int = 0,
) -> list[Any]:
    """Split data into a part to train on and a part held out.

    Parameters
    ----------
    *data : arrays or lists, all of one length
        Split in the same places. Their first axis is time, or counts sequences.
    share : float
        How much to hold out, above 0 and below 1: at least one element, and one is left.
    by : {"time", "sequence"}
        ``"time"``: the end is held out, as the future is. ``"sequence"``: elements chosen at random
        are held out; both parts keep the order.
    gap : int
        Steps before the held-out end that belong to neither part, for ``"time"``. Elements that
        look ahead or overlap (such as `windows`) need a gap as long as what they share; better
        split the series first.
    seed : int
        The random choice is a function of it.

    Returns
    -------
    list
        ``[train, held_out]`` of the first argument, then of the second, and so on, as
        scikit-learn's ``train_test_split`` has it. Arrays split by time are views.

    Examples
    --------
    >>> split([1, 2, 3, 4, 5], share=0.4)
    [[1, 2, 3], [4, 5]]
    >>> x, x_out, y, y_out = split("abcd", [1, 2, 3, 4], share=0.25, gap=1)
    >>> x, x_out, y, y_out
    ('ab', 'd', [1, 2], [4])
    """
    lengths = [len(part) for part in data]
    if len(set(lengths)) != 1:
        raise ValueError(f"data: expected one or more of the same length, got lengths {lengths}")
    if not 0 < share < 1:
        raise ValueError(f"share: expected a number above 0 and below 1, got {share!r}")
    if by not in get_args(SplitBy):
        raise ValueError(f"by: expected {' or '.join(map(repr, get_args(SplitBy)))}, got {by!r}")
    n = lengths[0]
    if n < 2:
        raise ValueError(f"data: expected at least two, got {n}")
    count = min(max(1, round(share * n)), n - 1)
    if by == "time":
        if not 0 <= gap < n - count:
            raise ValueError(
                f"gap: expected an integer from 0 to below {n - count}, "
                f"which is what {count} held out of {n} leave, got {gap!r}"
            )
        return [p for part in data for p in (part[: n - count - gap], part[n - count :])]
    if gap:
        raise ValueError(f"gap: expected 0 with by='sequence', got {gap!r}")
    order = permutation(n, check_seed(seed), _SPLIT)
    parts = np.sort(order[count:]), np.sort(order[:count])
    return [_take(part, numbers) for part in data for numbers in parts]


def hold_out(lines: Sequence[One], share: float, seed: int) -> tuple[list[One], list[One]]:
    """Split lines into those to train on and those held out, chosen at random.

    It is `split` by sequence, in which the share may be 0.

    Parameters
    ----------
    lines : sequence
        Of lines, pairs of them, or what else; at least two, unless the share is 0.
    share : float
        How much to hold out, from 0 to below 1; more than 0 is at least one line, and one is left.
    seed : int
        The choice is a function of it.

    Returns
    -------
    train, held_out : lists
        Each in the order of `lines`.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share: expected a number from 0 to below 1, got {share!r}")
    if share == 0:
        return list(lines), []
    if len(lines) < 2:
        raise ValueError(f"lines: expected at least two, got {len(lines)}")
    train, out = split(lines, share=share, by="sequence", seed=seed)
    return train, out


def _take(part: Any, numbers: NDArray[np.intp]) -> Any:
    if isinstance(part, np.ndarray):
        return part[numbers]
    return [part[number] for number in numbers.tolist()]
