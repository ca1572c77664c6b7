"""Orders and splits that depend on nothing but their arguments."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

import crnn._core as _core
from crnn.common.checks import check_flag, check_seed, check_size
from crnn.common.choices import SplitBy
from crnn.common.representation import never_raising
from crnn.data.representation import counted, with_names

# Streams of the counter-based generator (crnn._core.random_uniform), independent of one another.
SHUFFLE = int.from_bytes(b"shuffle")
BATCHES = int.from_bytes(b"batches")
_SPLIT = int.from_bytes(b"split")

_POOL = 50  # the sequences of at most so many batches are sorted by length together

Line = TypeVar("Line")


def permutation(n: int, seed: int, stream: int, number: int = 0) -> NDArray[np.intp]:
    """Return a random order (n,) of 0 ... n-1 that depends on nothing but the arguments.

    Parameters
    ----------
    n : int
        The number of elements.
    seed : int
        The seed of the random numbers, 0 ... 2**64 - 1.
    stream : int
        The stream of random numbers, 0 ... 2**64 - 1: streams of one seed are independent.
    number : int, default 0
        The position of the order in its stream. Orders of different numbers are independent.

    Returns
    -------
    array (n,) of integers
        Each of 0 ... n-1 once.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> order = crnn.data.permutation(5, seed=3, stream=1)
    >>> sorted(order.tolist())
    [0, 1, 2, 3, 4]
    >>> np.array_equal(order, crnn.data.permutation(5, seed=3, stream=1))
    True
    """
    return np.argsort(_core.random_uniform(seed, stream, number * n, n), kind="stable")


class Ordered:
    """Base class of batches whose order is a function of the seed and the number of the epoch.

    Parameters
    ----------
    lengths : array (n,) of int64
        The lengths of the sequences.
    batch_size, shuffle, seed, bucket, drop_last
        As for `Batches`.
    """

    #: Singular and plural of one entry of a batch, for `repr`.
    _noun: ClassVar[tuple[str, str]] = ("sequence", "sequences")

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
        self.shuffle, self.seed = check_flag("shuffle", shuffle), check_seed(seed)
        self.bucket = check_flag("bucket", bucket)
        self._drop_last = check_flag("drop_last", drop_last)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order the next iteration has.

        Parameters
        ----------
        epoch : int
            The number of the epoch, from 0. `crnn.fit` sets it before each epoch.
        """
        self.epoch = epoch

    def __len__(self) -> int:
        n = len(self._lengths)
        return n // self.batch_size if self._drop_last else -(-n // self.batch_size)

    @never_raising
    def __repr__(self) -> str:
        if self.shuffle:
            order = f"{'bucketed, ' if self.bucket else ''}shuffled with seed {self.seed}"
        else:
            order = "sorted by length" if self.bucket else "not shuffled"
        return (
            f"<{type(self).__name__}: {counted(len(self._lengths), *self._noun)} in "
            f"{counted(len(self), 'batch', 'batches')} of {self.batch_size}, {order}"
            f"{with_names(self._optional_names())}>"
        )

    def _optional_names(self) -> Iterable[str]:
        """Return the names of the optional arrays, for `repr`."""
        return ()

    def _batches_of_numbers(self) -> list[NDArray[np.intp]]:
        """Return the numbers of the sequences in each batch of the epoch."""
        lengths, batch_size, n = self._lengths, self.batch_size, len(self._lengths)
        if self.shuffle:
            order = permutation(n, self.seed, SHUFFLE, self.epoch)
        else:
            order = np.argsort(lengths, kind="stable") if self.bucket else np.arange(n)
        whole = n - n % batch_size
        if self.shuffle and self.bucket:  # the rest stays random: sorted, it would be the longest
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
    """Split data into a part for training and a part that is held out.

    Parameters
    ----------
    *data : arrays or lists, all of one length
        Split at the same places. Their first axis is time, or counts sequences.
    share : float, default 0.1
        The share that is held out, above 0 and below 1. At least one element is held out, and at
        least one is left for training.
    by : {"time", "sequence"}, default "time"
        ``"time"``: the end is held out, because it is the future. ``"sequence"``: elements chosen
        at random are held out; both parts keep the order.
    gap : int, default 0
        For ``"time"``: the number of steps before the held-out end that belong to neither part.
        Elements that contain later steps or overlap, such as `windows`, need a gap as long as the
        overlap. It is better to split the series before it is cut.
    seed : int, default 0
        The random choice of ``"sequence"`` is a function of it.

    Returns
    -------
    list
        ``[train, held_out]`` of the first argument, then of the second, and so on, as
        ``train_test_split`` of scikit-learn returns them. Arrays that are split by time are views.

    Raises
    ------
    ValueError
        Data of different lengths, fewer than two elements, or an option outside of its range.
    TypeError
        An argument without a length.

    Examples
    --------
    >>> import crnn
    >>> crnn.data.split([1, 2, 3, 4, 5], share=0.4)
    [[1, 2, 3], [4, 5]]
    >>> x, x_out, y, y_out = crnn.data.split("abcd", [1, 2, 3, 4], share=0.25, gap=1)
    >>> x, x_out, y, y_out
    ('ab', 'd', [1, 2], [4])
    """
    for part in data:
        if not hasattr(part, "__len__"):
            raise TypeError(
                f"data: expected arrays or lists of one length, got {part!r:.60}; the part that is "
                "held out is share=0.1"
            )
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
                f"gap: expected an integer from 0 to below {n - count} "
                f"({count} of {n} are held out), got {gap!r}"
            )
        return [p for part in data for p in (part[: n - count - gap], part[n - count :])]
    if gap:
        raise ValueError(f"gap: expected 0 with by='sequence', got {gap!r}")
    order = permutation(n, check_seed(seed), _SPLIT)
    parts = np.sort(order[count:]), np.sort(order[:count])
    return [_selected(part, numbers) for part in data for numbers in parts]


def hold_out(lines: Sequence[Line], share: float, seed: int) -> tuple[list[Line], list[Line]]:
    """Split lines at random into a list for training and a list that is held out.

    This is `split` with ``by="sequence"``, except that the share may be 0.

    Parameters
    ----------
    lines : sequence
        Lines, pairs, or any other elements; at least two, unless the share is 0.
    share : float
        The share that is held out, from 0 to below 1. If it is above 0, at least one line is held
        out, and at least one is left for training.
    seed : int
        The random choice is a function of it.

    Returns
    -------
    train, held_out : list
        Each in the order of `lines`.

    Raises
    ------
    ValueError
        A share outside of its range, or fewer than two lines.

    Examples
    --------
    >>> import crnn
    >>> train, held_out = crnn.data.hold_out(["a", "b", "c", "d", "e"], share=0.4, seed=0)
    >>> len(train), len(held_out), sorted(train + held_out)
    (3, 2, ['a', 'b', 'c', 'd', 'e'])
    """
    if not 0 <= share < 1:
        raise ValueError(f"share: expected a number from 0 to below 1, got {share!r}")
    if share == 0:
        return list(lines), []
    if len(lines) < 2:
        raise ValueError(f"lines: expected at least two, got {len(lines)}")
    train, held_out = split(lines, share=share, by="sequence", seed=seed)
    return train, held_out


def _selected(elements: Any, numbers: NDArray[np.intp]) -> Any:
    """Return the elements of an array or a list that have these numbers."""
    if isinstance(elements, np.ndarray):
        return elements[numbers]
    return [elements[number] for number in numbers.tolist()]
