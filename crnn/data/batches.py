"""Sequences of different lengths: padding, and batches of similar length."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, as_array, described
from crnn.common.checks import check_size
from crnn.data.order import Ordered

Lengths = NDArray[np.int64]


def pad(sequences: Sequence[Any], value: Any = 0) -> tuple[Array, Lengths]:
    """Return sequences of different lengths as one padded array, with their lengths.

    Parameters
    ----------
    sequences : B arrays or lists (T_b, ...)
        Symbols (T_b,) or features (T_b, F). Their shapes may differ in the length alone.
    value : number, default 0
        The value of the padding after the end of each row. Layers do not read it.

    Returns
    -------
    x : array (B, T, ...)
        The padded sequences; T is the longest length.
    lengths : array (B,) of int64
        The number of steps of each sequence.

    Raises
    ------
    ValueError
        No sequences, sequences that are not arrays of numbers, or different numbers of features.

    Examples
    --------
    >>> import crnn
    >>> x, lengths = crnn.data.pad([[1, 2, 3], [4]])
    >>> x
    array([[1, 2, 3],
           [4, 0, 0]])
    >>> lengths
    array([3, 1])
    """
    ragged = _Ragged("sequences", sequences)
    if value != 0:  # every dtype holds 0
        ragged.dtype = np.result_type(ragged.dtype, value)
    return ragged.take(np.arange(len(ragged)), value), ragged.lengths


class Batches(Ordered):
    """Batches of sequences, of similar length where lengths differ, shuffled in each epoch.

    Sequences in a list may differ in length: an item is ``(x (B, T, ...), target, lengths (B,))``,
    where T is the longest length in the batch and the padding is 0. Sequences in one array have one
    length: an item is ``(x, target)``. With `mask`, `resets` or `weights` an item is ``(x, target,
    lengths or None, extras)``, where the dictionary `extras` holds these arrays by name.

    Parameters
    ----------
    sequences : list of n arrays (T, ...), or array (n, T, ...)
        Symbols (T,) or features (T, F). An array may be memory-mapped, or a view as `windows`
        returns it: each batch is read when it is needed.
    targets : list or array
        A list of arrays (T, ...) has a target for each step of each sequence; it is padded. A list
        of numbers or an array (n, ...) has one target for each sequence. Where `sequences` is an
        array, an array (n, T, ...) has a target for each step.
    batch_size : int, default 32
        B. If n is no multiple of it, the sequences that remain make a smaller batch; with
        `shuffle` they are chosen at random in each epoch.
    shuffle : bool, default True
        Draw a new order for each epoch. False: keep the order of `sequences`.
    seed : int or None, default 0
        The order is a function of `seed` and the number of the epoch. None draws a fresh seed.
    bucket : bool, optional
        Put sequences of similar length into one batch, which saves padding. With `shuffle`, the
        sequences of 50 random batches (of half of all batches where these are fewer) are sorted by
        length and cut into batches, which come in random order. Without `shuffle`, all sequences
        are sorted by length. None: the value of `shuffle`. Ignored where `sequences` is an array.
    drop_last : bool, default False
        Leave out the smaller batch.
    mask : list or array, optional
        True for each step that is read, in the form of `targets`.
    resets : list or array, optional
        True for each step before which the state is reset, in the form of `targets`.
    weights : list or array, optional
        The weight of each step, or of each sequence, in the loss, in the form of `targets`.

    Attributes
    ----------
    lengths : array (n,) of int64
        The lengths of all sequences, in the order of `sequences`.
    batch_size : int
        B.
    shuffle, bucket : bool
        Whether the order is shuffled, and whether batches have sequences of similar length.
    seed : int
        The seed, also where it was drawn.
    epoch : int
        The epoch, from 0, whose order the next iteration has.

    Raises
    ------
    ValueError
        No sequences, sequences that are not arrays of numbers, another number of targets than of
        sequences, or targets whose lengths differ from those of the sequences.

    Examples
    --------
    >>> import crnn
    >>> sequences, classes = [[1, 2], [3], [4, 5, 6]], [0, 1, 0]
    >>> batches = crnn.data.Batches(sequences, classes, batch_size=2, shuffle=False)
    >>> batches
    <Batches: 3 sequences in 2 batches of 2, not shuffled>
    >>> for x, target, lengths in batches:
    ...     print(x.tolist(), target, lengths)
    [[1, 2], [3, 0]] [0 1] [2 1]
    [[4, 5, 6]] [0] [3]
    """

    _extras: "dict[str, _Uniform | _Ragged]"

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
        self._x = x = _entries("sequences", sequences)
        if isinstance(x, _Uniform) and x.array.ndim < 2:
            raise ValueError(
                f"sequences: expected n sequences (T, ...), got {described(sequences)}"
            )
        if drop_last and len(x) < check_size("batch_size", batch_size):
            raise ValueError(
                f"sequences: expected at least batch_size={batch_size} with drop_last, got {len(x)}"
            )
        self.lengths = x.lengths
        self._target = self._aligned("targets", targets)
        options = {"mask": mask, "resets": resets, "weights": weights}
        self._extras = {
            name: self._aligned(name, value, each_step=name != "weights")
            for name, value in options.items()
            if value is not None
        }
        sort = isinstance(x, _Ragged) and bool(shuffle if bucket is None else bucket)
        super().__init__(x.lengths, batch_size, shuffle, seed, sort, drop_last)

    def _aligned(self, name: str, value: Any, each_step: bool = False) -> "_Uniform | _Ragged":
        """Check an argument that has one entry for each sequence, and return its entries."""
        x, entries = self._x, _entries(name, value)
        if len(entries) != len(x):
            raise ValueError(
                f"{name}: expected {len(x)}, one for each sequence, got {len(entries)}"
            )
        if isinstance(entries, _Ragged):
            wrong = np.flatnonzero(entries.lengths != self.lengths)
            if wrong.size:
                expected, got = self.lengths[wrong[0]], entries.lengths[wrong[0]]
                raise ValueError(
                    f"{name}: expected T={expected} steps for sequence {wrong[0]}, got {got} "
                    f"(pass an array, not a list, for one vector per sequence)"
                )
        elif each_step and isinstance(x, _Ragged):
            raise ValueError(f"{name}: expected a list of arrays (T,), got {described(value)}")
        elif each_step and isinstance(x, _Uniform) and entries.array.shape != x.array.shape[:2]:
            raise ValueError(
                f"{name}: expected shape (n, T)={x.array.shape[:2]}, got {described(value)}"
            )
        return entries

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for numbers in self._batches_of_numbers():
            x, target = self._x.take(numbers), self._target.take(numbers)
            lengths = self.lengths[numbers] if isinstance(self._x, _Ragged) else None
            extras = {name: entries.take(numbers) for name, entries in self._extras.items()}
            if extras:
                yield x, target, lengths, extras
            else:
                yield (x, target) if lengths is None else (x, target, lengths)

    def _optional_names(self) -> Iterable[str]:
        return self._extras


class _Uniform:
    """An array (n, ...) with one entry for each sequence; entries need no padding."""

    def __init__(self, name: str, array: Array) -> None:
        if array.ndim == 0 or array.dtype.kind not in "biuf":
            raise ValueError(
                f"{name}: expected numbers, one entry for each sequence, got {described(array)}"
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
    """Arrays (T, ...) of different lengths, padded when some of them are taken."""

    def __init__(self, name: str, sequences: Sequence[Any]) -> None:
        self.arrays = [as_array(name, sequence) for sequence in sequences]
        if not self.arrays:
            raise ValueError(f"{name}: expected at least one, got none")
        # [] has no steps, and NumPy's float64 for it says nothing about the other sequences.
        typed = [a for a in self.arrays if a.ndim != 1 or a.size] or self.arrays[:1]
        for array in typed:
            if array.ndim == 0 or array.dtype.kind not in "biuf":
                raise ValueError(
                    f"{name}: expected arrays (T, ...) of numbers, got {described(array)}"
                )
            if array.shape[1:] != typed[0].shape[1:]:
                raise ValueError(
                    f"{name}: expected arrays that differ in T alone, "
                    f"got shapes {typed[0].shape} and {array.shape}"
                )
        self.tail = typed[0].shape[1:]
        self.dtype = np.result_type(*{array.dtype for array in typed})
        self.lengths = np.array([len(array) for array in self.arrays], np.int64)

    def __len__(self) -> int:
        return len(self.arrays)

    def take(self, numbers: NDArray[np.intp], value: Any = 0) -> Array:
        shape = (len(numbers), self.lengths[numbers].max(), *self.tail)
        padded = np.full(shape, value, self.dtype)
        for row, number in zip(padded, numbers, strict=True):
            if self.lengths[number]:
                row[: self.lengths[number]] = self.arrays[number]
        return padded


def _entries(name: str, value: Any) -> _Uniform | _Ragged:
    """Return an array or a list of numbers as uniform entries, a list of arrays as ragged ones."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return _Uniform(name, value)
    listed = list(value)
    if listed and np.ndim(listed[0]) == 0 and not isinstance(listed[0], str):
        return _Uniform(name, as_array(name, listed))
    return _Ragged(name, listed)
