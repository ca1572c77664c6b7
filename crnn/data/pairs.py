"""Pairs of texts or sequences: what goes in and what shall come out, of lengths of their own."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn.data.batches import pad
from crnn.data.order import batches_of
from crnn.files import open_regular
from crnn.layers.base import as_array, check_count, check_seed, check_size

Pair = tuple[str, str]
Symbols = NDArray[np.int64]


def read_pairs(path: str | os.PathLike[str]) -> list[Pair]:
    """Read pairs of texts from a file: two columns with a tab between, a pair a line, in UTF-8.

    Lines with nothing but spaces are skipped. The texts are taken as they are, spaces included.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    list of (source, target)

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        A line that has not two columns, or an empty one, or is not in UTF-8 (it gets named by its
        number), or no pairs.
    """
    with open_regular(path) as file:
        pairs = [
            _pair(line, f"{path}: line {number}")
            for number, line in enumerate(text_lines(file, path), 1)
            if line.strip()
        ]
    if not pairs:
        raise ValueError(f"{path}: expected pairs of texts, got an empty file")
    return pairs


def text_lines(file: Iterable[bytes], name: object) -> Iterator[str]:
    r"""Go through the lines of a file in UTF-8, without what ends them (``\n`` or ``\r\n``).

    Parameters
    ----------
    file : iterable of bytes
        A file that was opened in binary mode.
    name : str or path
        What it is called in an error.
    """
    for number, line in enumerate(file, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{name}: line {number}: expected a text in UTF-8: {error}") from None
        yield text.removesuffix("\n").removesuffix("\r")


def _pair(line: str, place: str) -> Pair:
    columns = line.split("\t")
    if len(columns) != 2:
        raise ValueError(
            f"{place}: expected two texts with a tab between them, got {_count(columns)}: "
            f"{line!r:.60}"
        )
    for name, text in zip(("source", "target"), columns, strict=True):
        if not text.strip():
            raise ValueError(f"{place}: expected two texts with a tab between them, no {name} came")
    return columns[0], columns[1]


def _count(columns: list[str]) -> str:
    return "no tab" if len(columns) == 1 else f"{len(columns)} columns"


class PairBatches:
    """Pairs of sequences of symbols in batches, for a model that reads one and writes the other.

    An item is ``((source (B, S), target_in (B, T), source_lengths (B,)), target (B, T), lengths
    (B,))``, which is what `crnn.TeacherForcing` trains on: `target_in` is the target behind the
    start symbol, `target` the same with the stop symbol at its end, and `lengths` counts the steps
    of these. S and T are the longest lengths in the batch; padding is 0.

    Parameters
    ----------
    sources, targets : lists of n arrays (S,) and (T - 1,)
        Symbols. A source may be empty, and so may a target be.
    batch : int
        B. What is left over, chosen at random each epoch, makes a smaller batch.
    start, stop : int
        The symbols of the target that begin it and end it; they may be the same.
    shuffle, seed, bucket
        As for `Batches`; pairs are of similar length where source and target have so many symbols
        together.

    Attributes
    ----------
    steps : int
        Valid steps of the target in an epoch.
    epoch : int
        The epoch whose order the next iteration has.

    Examples
    --------
    >>> sources, targets = [[1, 2, 3], [4]], [[5, 6], [7]]
    >>> pairs = PairBatches(sources, targets, batch=2, start=0, stop=9, shuffle=False)
    >>> (((source, target_in, source_lengths), target, lengths),) = pairs
    >>> source.tolist(), source_lengths.tolist()
    ([[4, 0, 0], [1, 2, 3]], [1, 3])
    >>> target_in.tolist(), target.tolist(), lengths.tolist()
    ([[0, 7, 0], [0, 5, 6]], [[7, 9, 0], [5, 6, 9]], [2, 3])
    """

    def __init__(
        self,
        sources: Sequence[Any],
        targets: Sequence[Any],
        batch: int = 32,
        *,
        start: int,
        stop: int,
        shuffle: bool = True,
        seed: int | None = 0,
        bucket: bool = True,
    ) -> None:
        self.batch = check_size("batch", batch)
        self._sources = _symbols("sources", sources)
        first, last = ([check_count(n, v, 32)] for n, v in (("start", start), ("stop", stop)))
        self._targets = [
            np.concatenate([first, target, last]) for target in _symbols("targets", targets)
        ]
        if len(self._sources) != len(self._targets):
            raise ValueError(
                f"targets: expected {len(self._sources)}, one for each source, "
                f"got {len(self._targets)}"
            )
        if not self._sources:
            raise ValueError("sources: expected at least one, got none")
        pairs = zip(self._sources, self._targets, strict=True)
        self._together = np.array([len(source) + len(target) for source, target in pairs], np.int64)
        self.shuffle, self.seed, self.bucket = bool(shuffle), check_seed(seed), bool(bucket)
        self.steps = sum(len(target) - 1 for target in self._targets)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, whose order the next iteration has."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self._sources) // self.batch)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        order = batches_of(
            self._together,
            self.batch,
            shuffle=self.shuffle,
            seed=self.seed,
            epoch=self.epoch,
            bucket=self.bucket,
        )
        for numbers in order:
            source, source_lengths = pad([self._sources[number] for number in numbers])
            targets = [self._targets[number] for number in numbers]
            target_in, lengths = pad([target[:-1] for target in targets])
            target, _ = pad([target[1:] for target in targets])
            yield (source, target_in, source_lengths), target, lengths


def _symbols(name: str, sequences: Sequence[Any]) -> list[Symbols]:
    """Return sequences of symbols as arrays of one type."""
    arrays = [as_array(name, sequence) for sequence in sequences]
    for array in arrays:
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise ValueError(
                f"{name}: expected arrays (T,) of integers, got {array.dtype} of "
                f"shape {array.shape}"
            )
    return [array.astype(np.int64) for array in arrays]
