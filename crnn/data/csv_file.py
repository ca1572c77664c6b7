"""CSV files, read by pandas, with checks of their form."""

import codecs
import csv
import io
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from crnn.common.checks import check_count
from crnn.storage.files import open_regular

_BLOCK = 100_000  # rows whose texts are in memory at a time


class CsvFile:
    """CSV file that pandas reads as texts, with a check of the number of values in each row."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        delimiter: str,
        skipfooter: int,
        encoding: str,
        options: dict[str, Any],
    ) -> None:
        _check_form(delimiter, skipfooter, encoding)
        self._path, self._delimiter, self._options = path, delimiter, options
        self._skipfooter = skipfooter
        self._encoding = "utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding

    def _open(self) -> Any:
        raw = open_regular(self._path, whole=False)
        return io.TextIOWrapper(raw, newline="", encoding=self._encoding)

    def read(self) -> tuple[list[str], Iterator[Any]]:
        """Return the column names, and an iterator over the rows below in blocks (data frames)."""
        frames = self._frames()
        first: Any = next(frames, None)
        header = [] if first is None else [str(name).strip() for name in first.iloc[0]]
        if all(map(_is_number, header)):
            raise ValueError(f"{self._path}: expected column names in the first line, got {header}")
        return header, self._complete(itertools.chain([first.iloc[1:]], frames))

    def _frames(self) -> Iterator[Any]:
        """Yield the rows of the file, the header included, as data frames of texts."""
        try:
            import pandas
        except ImportError:
            raise ImportError(
                'read_csv() needs pandas: pip install ".[data]" in a checkout of crnn'
            ) from None
        settings = {
            "sep": self._delimiter,
            "header": None,
            "dtype": object,
            "na_filter": False,
            "engine": "python",  # the only one that tells a missing value from an empty one
            "skipfooter": self._skipfooter,
            "chunksize": None if self._skipfooter else _BLOCK,
        }
        with self._open() as file:
            try:
                frames = pandas.read_csv(file, **settings, **self._options)
                yield from [frames] if self._skipfooter else frames
            except pandas.errors.EmptyDataError:
                return
            except (pandas.errors.ParserError, csv.Error) as error:
                raise ValueError(self._message(str(error))) from None
            except UnicodeError as error:
                name = self._encoding.removesuffix("-sig").upper()
                raise ValueError(f"{self._path}: expected a text in {name}: {error}") from None

    def _message(self, error: str) -> str:
        """Return the message for an error of pandas, with the line that is wrong."""
        match = re.fullmatch(r"Expected (\d+) fields in line (\d+), saw (\d+).*", error)
        if match is not None:
            expected, line, got = match.groups()
            return f"{self._path}: line {line}: expected {expected} values, got {got}"
        where = ""
        with self._open() as file:
            reader = csv.reader(file, delimiter=self._delimiter)
            try:
                for _ in reader:
                    pass
            except csv.Error:
                where = f"line {reader.line_num}: "
        return f"{self._path}: {where}expected CSV: {error}"

    def _complete(self, frames: Iterable[Any]) -> Iterator[Any]:
        """Yield the same frames; raise ValueError for a row that lacks values at its end."""
        for frame in frames:
            short = frame.isna().any(axis=1).to_numpy()
            if short.any():
                row = int(short.argmax())
                got = int(frame.iloc[row].notna().sum())
                where = self.line(int(frame.index[row]) - 1)
                raise ValueError(f"{where}: expected {frame.shape[1]} values, got {got}")
            yield frame

    def line(self, row: int) -> str:
        """Return the file and line of a row, which is counted from 0 below the column names."""
        if self._options:  # options such as skiprows leave lines out: lines cannot be counted
            return f"{self._path}: row {row + 1}"
        with self._open() as file:
            reader = csv.reader(file, delimiter=self._delimiter)
            lines = (reader.line_num for cells in reader if "".join(cells).strip() or cells[1:])
            return f"{self._path}: line {next(itertools.islice(lines, row + 1, None))}"


def _check_form(delimiter: Any, skipfooter: Any, encoding: Any) -> None:
    """Raise unless the arguments are a character, a number of lines and an encoding."""
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '\r\n"':
        raise ValueError(f"delimiter: expected one character, got {delimiter!r:.60}")
    check_count("skipfooter", skipfooter, 31)
    try:
        codecs.lookup(encoding)
    except (LookupError, TypeError):
        raise ValueError(
            f"encoding: expected the name of an encoding, got {encoding!r:.60}"
        ) from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
