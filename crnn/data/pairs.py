"""Pairs of texts or sequences: what goes in and what shall come out, of lengths of their own."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import as_array, described
from crnn.common.checks import check_count
from crnn.data.batches import pad
from crnn.data.order import Ordered
from crnn.storage.files import open_regular

Pair = tuple[str, str]
Symbols = NDArray[np.int64]


def read_pairs(path: str | os.PathLike[str], columns: Sequence[int] = (0, 1)) -> list[Pair]:
    """Read pairs of texts from a file: columns with a tab between, a pair a line, in UTF-8.

    Lines with nothing but spaces are skipped. The texts are taken as they are, spaces included.

    Parameters
    ----------
    path : str or path
    columns : pair of int, default (0, 1)
        Which columns are source and target. The others are not looked at: files of Tatoeba and Anki
        say in a third one where a pair comes from.

    Returns
    -------
    list of (source, target)

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        A line that lacks one of the two texts, has another number of columns than the first, or is
        not in UTF-8 (it gets named by its number), or no pairs.
    """
    chosen = _checked(columns)
    pairs: list[Pair] = []
    width: int | None = None
    with open_regular(path) as file:
        for number, line in enumerate(text_lines(file, path), 1):
            if line.strip():
                texts, place = line.split("\t"), f"{path}: line {number}"
                pairs.append(_pair(texts, chosen, place))
                width = width or len(texts)
                if len(texts) != width:
                    raise ValueError(
                        f"{place}: expected {width} columns as in the lines before, "
                        f"got {len(texts)}: {line!r:.60}"
                    )
    if not pairs:
        raise ValueError(f"{path}: expected pairs of texts, got an empty file")
    return pairs


def _checked(columns: Sequence[int]) -> tuple[int, int]:
    """The numbers of two columns."""
    try:
        source, target = (int(check_count("columns", column, 31)) for column in columns)
    except (TypeError, ValueError):
        raise ValueError(
            f"columns: expected two integers of at least 0, as (0, 1), got {columns!r:.60}"
        ) from None
    return source, target


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


def _pair(texts: list[str], columns: tuple[int, int], place: str) -> Pair:
    """The two texts of a line that was split at its tabs."""
    expected = f"{place}: expected two texts with a tab between them"
    if max(columns) >= len(texts):
        where = "" if columns == (0, 1) else f", in columns {columns[0]} and {columns[1]} from 0"
        got = "no tab" if len(texts) == 1 else f"{len(texts)} columns"
        raise ValueError(f"{expected}{where}, got {got}: {chr(9).join(texts)!r:.60}")
    source, target = (texts[column] for column in columns)
    for name, text in (("source", source), ("target", target)):
        if not text.strip():
            raise ValueError(f"{expected}, no {name} came")
    return source, target


class PairBatches(Ordered):
    """Pairs of sequences of symbols in batches, for a model that reads one and writes the other.

    An item is ``((source (B, S), target_in (B, T), source_lengths (B,)), target (B, T), lengths
    (B,))``, which is what `crnn.TeacherForcing` trains on: `target_in` is the target behind the
    start symbol, `target` the same with the stop symbol at its end, and `lengths` counts the steps
    of these. S and T are the longest lengths in the batch; padding is 0.

    Parameters
    ----------
    sources, targets : lists of n arrays (S,) and (T - 1,)
        Symbols. A source may be empty, and so may a target be.
    batch_size : int
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
    >>> pairs = PairBatches(sources, targets, batch_size=2, start=0, stop=9, shuffle=False)
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
        batch_size: int = 32,
        *,
        start: int,
        stop: int,
        shuffle: bool = True,
        seed: int | None = 0,
        bucket: bool = True,
    ) -> None:
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
        together = np.array([len(source) + len(target) for source, target in pairs], np.int64)
        super().__init__(together, batch_size, shuffle, seed, bucket)
        self.steps = sum(len(target) - 1 for target in self._targets)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for numbers in self._numbers():
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
            raise ValueError(f"{name}: expected arrays (T,) of integers, got {described(array)}")
    return [array.astype(np.int64) for array in arrays]
