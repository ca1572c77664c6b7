"""Sequences of different lengths: padding, and batches of similar length."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, as_array, described
from crnn.common.checks import check_size
from crnn.data.order import Ordered

Lengths = NDArray[np.int64]


def pad(sequences: Sequence[Any], value: Any = 0) -> tuple[Array, Lengths]:
    """Put sequences of different lengths into one array.

    Parameters
    ----------
    sequences : B arrays (T_b, ...), or lists
        Of the same shape but for their lengths; symbols (T_b,) or features (T_b, F).
    value : number
        What stands after a row's end. Layers do not read it.

    Returns
    -------
    x : (B, T, ...)
        T is the longest length.
    lengths : (B,) integers

    Examples
    --------
    >>> x, lengths = pad([[1, 2, 3], [4]])
    >>> x
    array([[1, 2, 3],
           [4, 0, 0]])
    >>> lengths
    array([3, 1])
    """
    rows = _Ragged("sequences", sequences)
    if value != 0:  # which every type holds
        rows.dtype = np.result_type(rows.dtype, value)
    return rows.take(np.arange(len(rows)), value), rows.lengths


class Batches(Ordered):
    """Sequences in batches, of similar length where lengths differ, shuffled each epoch.

    An item is ``(x (B, T, ...), target, lengths (B,))`` with T the longest length in its batch, and
    0 in the padding. Sequences that are one array have one length, and the item is ``(x,
    target)``. With `mask`, `resets` or `weights` it has a fourth entry that holds theirs by name.

    Parameters
    ----------
    sequences : list of n arrays (T, ...), or an array (n, T, ...)
        Symbols (T,) or features (T, F). An array may be memory-mapped, or a view such as `windows`
        returns: a batch is read when its turn comes.
    targets : list or array
        A list of arrays (T, ...) has a target for each step of each sequence, and is padded. A list
        of numbers, or an array (n, ...), has one for each sequence; with `sequences` in an array
        an array (n, T, ...) has one for each step.
    batch_size : int
        B. What is left over, chosen at random each epoch, makes a smaller batch.
    shuffle : bool
        Draw a new order each epoch. Otherwise sequences come in the order given.
    seed : int, optional
        The order is a function of `seed` and the number of the epoch. None draws a fresh seed.
    bucket : bool, optional
        Put sequences of similar length together, which saves padding: those of 50 random batches,
        or of half of all where these are fewer, are sorted by length and cut, and the batches come
        in random order. By default where they are shuffled; without shuffling it sorts all
        sequences by length.
    drop_last : bool
        Leave the smaller batch out.
    mask, resets, weights : list or array, optional
        As `targets`: which steps are read, where the state starts anew (both for each step), what a
        step or a sequence counts in the loss.

    Attributes
    ----------
    lengths : array (n,)
        Of all sequences, in the order given.
    epoch : int
        The epoch whose order the next iteration has.

    Examples
    --------
    >>> batches = Batches([[1, 2], [3], [4, 5, 6]], [0, 1, 0], batch_size=2, shuffle=False)
    >>> for x, target, lengths in batches:
    ...     print(x.tolist(), target, lengths)
    [[1, 2], [3, 0]] [0 1] [2 1]
    [[4, 5, 6]] [0] [3]
    """

    def __init__(
        self,
        sequences: Any,
        targets: Any,
        batch_size: int = 32,
        *,
        shuffle: bool = True,
        seed: int | None = 0,
        bucket: bool | None = None,
        drop_last: bool = False,
        mask: Any = None,
        resets: Any = None,
        weights: Any = None,
    ) -> None:
        self._x = x = _rows("sequences", sequences)
        if isinstance(x, _Uniform) and x.array.ndim < 2:
            raise ValueError(f"sequences: expected n of them (T, ...), got {described(sequences)}")
        if drop_last and len(x) < check_size("batch_size", batch_size):
            raise ValueError(
                f"sequences: expected at least batch_size={batch_size} with drop_last, got {len(x)}"
            )
        self.lengths = x.lengths
        self._target = self._beside("targets", targets)
        given = {"mask": mask, "resets": resets, "weights": weights}
        self._extras = {
            name: self._beside(name, value, each_step=name != "weights")
            for name, value in given.items()
            if value is not None
        }
        sort = isinstance(x, _Ragged) and bool(shuffle if bucket is None else bucket)
        super().__init__(x.lengths, batch_size, shuffle, seed, sort, drop_last)

    def _beside(self, name: str, given: Any, each_step: bool = False) -> "_Uniform | _Ragged":
        """Check what belongs to the sequences, one entry to each."""
        x, rows = self._x, _rows(name, given)
        if len(rows) != len(x):
            raise ValueError(f"{name}: expected {len(x)}, one for each sequence, got {len(rows)}")
        if isinstance(rows, _Ragged):
            wrong = np.flatnonzero(rows.lengths != self.lengths)
            if wrong.size:
                expected, got = self.lengths[wrong[0]], rows.lengths[wrong[0]]
                raise ValueError(
                    f"{name}: expected T={expected} steps for sequence {wrong[0]}, got {got} "
                    f"(one vector for each sequence is given as an array)"
                )
        elif each_step and isinstance(x, _Ragged):
            raise ValueError(f"{name}: expected a list of arrays (T,), got {described(given)}")
        elif each_step and isinstance(x, _Uniform) and rows.array.shape != x.array.shape[:2]:
            raise ValueError(
                f"{name}: expected shape (n, T)={x.array.shape[:2]}, got {described(given)}"
            )
        return rows

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for numbers in self._numbers():
            x, target = self._x.take(numbers), self._target.take(numbers)
            lengths = self.lengths[numbers] if isinstance(self._x, _Ragged) else None
            extras = {name: rows.take(numbers) for name, rows in self._extras.items()}
            if extras:
                yield x, target, lengths, extras
            else:
                yield (x, target) if lengths is None else (x, target, lengths)


class _Uniform:
    """An array (n, ...), from which rows are taken as they are."""

    def __init__(self, name: str, array: Array) -> None:
        if array.ndim == 0 or array.dtype.kind not in "biuf":
            raise ValueError(
                f"{name}: expected numbers, one entry a sequence, got {described(array)}"
            )
        if len(array) == 0:
            raise ValueError(f"{name}: expected at least one, got none")
        self.array = array

    @property
    def lengths(self) -> Lengths:
        return np.full(len(self), self.array.shape[1], np.int64)

    def __len__(self) -> int:
        return len(self.array)

    def take(self, numbers: NDArray[np.intp]) -> Array:
        return self.array[numbers]


class _Ragged:
    """Arrays (T, ...) of different lengths, which are padded when they are taken."""

    def __init__(self, name: str, sequences: Sequence[Any]) -> None:
        self.arrays = [as_array(name, sequence) for sequence in sequences]
        if not self.arrays:
            raise ValueError(f"{name}: expected at least one, got none")
        # [] is a sequence of no steps, of whatever kind the others are
        telling = [a for a in self.arrays if a.ndim != 1 or a.size] or self.arrays[:1]
        for array in telling:
            if array.ndim == 0 or array.dtype.kind not in "biuf":
                raise ValueError(
                    f"{name}: expected arrays (T, ...) of numbers, got {described(array)}"
                )
            if array.shape[1:] != telling[0].shape[1:]:
                raise ValueError(
                    f"{name}: expected arrays that differ in T alone, "
                    f"got shapes {telling[0].shape} and {array.shape}"
                )
        self.tail = telling[0].shape[1:]
        self.dtype = np.result_type(*{array.dtype for array in telling})
        self.lengths = np.array([len(array) for array in self.arrays], np.int64)

    def __len__(self) -> int:
        return len(self.arrays)

    def take(self, numbers: NDArray[np.intp], value: Any = 0) -> Array:
        shape = (len(numbers), self.lengths[numbers].max(), *self.tail)
        rows = np.full(shape, value, self.dtype)
        for row, number in zip(rows, numbers, strict=True):
            if self.lengths[number]:
                row[: self.lengths[number]] = self.arrays[number]
        return rows


def _rows(name: str, given: Any) -> _Uniform | _Ragged:
    """Return an array, or a list of numbers, as it is, and a list of arrays to be padded."""
    if isinstance(given, np.ndarray) and given.dtype != object:
        return _Uniform(name, given)
    listed = list(given)
    if listed and np.ndim(listed[0]) == 0 and not isinstance(listed[0], str):
        return _Uniform(name, as_array(name, listed))
    return _Ragged(name, listed)
