"""Pairs of texts or sequences: a source and its target, whose lengths may differ."""

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
    r"""Read pairs of texts from a UTF-8 file with one pair per line, in columns separated by tabs.

    Lines of spaces alone are skipped. The texts keep the spaces around them.

    Parameters
    ----------
    path : str or path
        The name of the file.
    columns : pair of int, default (0, 1)
        The columns of the source and of the target, from 0. Other columns are ignored, such as the
        third one in files of Tatoeba and Anki, which names the author.

    Returns
    -------
    list of (source, target)
        The pairs, in the order of the lines.

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    ValueError
        A line without one of the two texts, with another number of columns than the first line, or
        not in UTF-8 (the message has the number of the line); or a file without pairs.

    Examples
    --------
    >>> import crnn
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "pairs.tsv")
    ...     with open(path, "w", encoding="utf-8") as file:
    ...         _ = file.write("Go.\tVe.\nHi.\tHola.\n")
    ...     crnn.data.read_pairs(path)
    [('Go.', 'Ve.'), ('Hi.', 'Hola.')]
    """
    chosen = _checked_columns(columns)
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


def _checked_columns(columns: Sequence[int]) -> tuple[int, int]:
    """Return the numbers of the two columns."""
    try:
        source, target = (int(check_count("columns", column, 31)) for column in columns)
    except (TypeError, ValueError):
        raise ValueError(
            f"columns: expected two integers of at least 0, as (0, 1), got {columns!r:.60}"
        ) from None
    return source, target


def text_lines(file: Iterable[bytes], name: object) -> Iterator[str]:
    r"""Yield the lines of a file in UTF-8, without the ``\n`` or ``\r\n`` at their end.

    Parameters
    ----------
    file : iterable of bytes
        A file that was opened in binary mode.
    name : str or path
        The name of the file in error messages.
    """
    for number, line in enumerate(file, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{name}: line {number}: expected a text in UTF-8: {error}") from None
        yield text.removesuffix("\n").removesuffix("\r")


def _pair(texts: list[str], columns: tuple[int, int], place: str) -> Pair:
    """Return the two texts of a line that was split at its tabs."""
    expected = f"{place}: expected two texts with a tab between them"
    if max(columns) >= len(texts):
        where = "" if columns == (0, 1) else f", in columns {columns[0]} and {columns[1]} from 0"
        got = "no tab" if len(texts) == 1 else f"{len(texts)} columns"
        raise ValueError(f"{expected}{where}, got {got}: {chr(9).join(texts)!r:.60}")
    source, target = (texts[column] for column in columns)
    for name, text in (("source", source), ("target", target)):
        if not text.strip():
            raise ValueError(f"{expected}, got an empty {name}")
    return source, target


class PairBatches(Ordered):
    """Batches of pairs of symbol sequences, for a model that reads a source and writes a target.

    An item is ``((source (B, S), target_in (B, T), source_lengths (B,)), target (B, T), lengths
    (B,))``, the form that `crnn.TeacherForcing` trains on: `target_in` is the start symbol and the
    target after it, `target` is the target and the stop symbol after it, and `lengths` is the
    number of steps of these two. S and T are the longest lengths in the batch; the padding is 0.

    Parameters
    ----------
    sources : list of n arrays (S,)
        The symbols of each source. A source may be empty.
    targets : list of n arrays (T - 1,)
        The symbols of each target. A target may be empty.
    batch_size : int, default 32
        B. If n is no multiple of it, the pairs that remain make a smaller batch; with `shuffle`
        they are chosen at random in each epoch.
    start, stop : int
        The symbols before the first and after the last step of a target; they may be the same.
    shuffle : bool, default True
        Draw a new order for each epoch. False: keep the order of `sources`.
    seed : int or None, default 0
        The order is a function of `seed` and the number of the epoch. None draws a fresh seed.
    bucket : bool, default True
        Put pairs of similar length into one batch, as for `Batches`. The length of a pair is the
        number of symbols of its source and of its target together.

    Attributes
    ----------
    steps : int
        The number of valid steps of the targets in an epoch.
    batch_size : int
        B.
    shuffle, bucket : bool
        Whether the order is shuffled, and whether batches have pairs of similar length.
    seed : int
        The seed, also where it was drawn.
    epoch : int
        The epoch, from 0, whose order the next iteration has.

    Raises
    ------
    ValueError
        No sources, another number of targets than of sources, or sequences that are not integers.

    Examples
    --------
    >>> import crnn
    >>> pairs = crnn.data.PairBatches(
    ...     [[1, 2, 3], [4]], [[5, 6], [7]], batch_size=2, start=0, stop=9, shuffle=False
    ... )
    >>> (((source, target_in, source_lengths), target, lengths),) = pairs
    >>> source.tolist(), source_lengths.tolist()
    ([[4, 0, 0], [1, 2, 3]], [1, 3])
    >>> target_in.tolist(), target.tolist(), lengths.tolist()
    ([[0, 7, 0], [0, 5, 6]], [[7, 9, 0], [5, 6, 9]], [2, 3])
    """

    _noun = ("pair", "pairs")

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
        first, last = [check_count("start", start, 32)], [check_count("stop", stop, 32)]
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
        for numbers in self._batches_of_numbers():
            source, source_lengths = pad([self._sources[number] for number in numbers])
            targets = [self._targets[number] for number in numbers]
            target_in, lengths = pad([target[:-1] for target in targets])
            target, _ = pad([target[1:] for target in targets])
            yield (source, target_in, source_lengths), target, lengths


def _symbols(name: str, sequences: Sequence[Any]) -> list[Symbols]:
    """Return sequences of symbols as arrays of int64."""
    arrays = [as_array(name, sequence) for sequence in sequences]
    for array in arrays:
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise ValueError(f"{name}: expected arrays (T,) of integers, got {described(array)}")
    return [array.astype(np.int64) for array in arrays]
