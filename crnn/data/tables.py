"""CSV files and data frames as series, or as sequences."""

import csv
import io
import math
import os
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.data.missing import FILLS, Place, Rows, fill
from crnn.files import open_regular

Names = str | Sequence[str]
Missing = Literal["error", "drop", "interpolate", "forward", "mask"]
Floats = NDArray[np.float64]

_NOTHING = {"", "na", "n/a", "<na>", "nan", "nat", "null", "none"}  # in lower case


class Table(NamedTuple):
    """What `read_csv` and `from_frame` return; with `group`, lists with an array a sequence.

    Attributes
    ----------
    x : (N, F) float64
        The values of `columns`.
    target : (N, F') float64, or None
        The values of `target`; for classes ``target[:, 0].astype(int)``.
    mask : (N,) bool, or None
        With ``missing="mask"``: whether the row of x is complete. What is missing there is 0.
    weights : (N,) float64, or None
        With ``missing="mask"`` and a target: 1 where the row's target is complete, else 0.
    groups : list of str, or None
        The value of the column `group` in each sequence.
    """

    x: Any
    target: Any = None
    mask: Any = None
    weights: Any = None
    groups: list[str] | None = None


def read_csv(
    path: str | os.PathLike[str],
    columns: Names | None = None,
    *,
    target: Names | None = None,
    group: str | None = None,
    delimiter: str = ",",
    missing: Missing = "error",
) -> Table:
    """Read a series, or sequences, from a CSV file (UTF-8) whose first line names its columns.

    Rows are steps in time and keep their order. Empty lines are skipped.

    Parameters
    ----------
    path : str or path
    columns : str or sequence of str, optional
        The F columns to read, in this order. By default all but `target` and `group`.
    target : str or sequence of str, optional
        The F' columns to be predicted; they may be among `columns` as well.
    group : str, optional
        The column that tells sequences apart: one for each value, in the order in which the values
        first appear.
    delimiter : str
        What stands between two values, one character.
    missing : {"error", "drop", "interpolate", "forward", "mask"}
        What to do where a value is missing: nothing, spaces, NA, N/A, NaN, null or None.
        ``"drop"``: leave the row out, though steps are then no longer evenly apart.
        ``"interpolate"``: on a line between the neighbours in the same sequence, and the nearest
        value at the ends. ``"forward"``: the last value before. ``"mask"``: 0, and tell so in
        `Table.mask` and `Table.weights`.

    Returns
    -------
    Table

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        A column that is not there (those that are get listed), a value that is missing or no finite
        number (line and column get named), no header, no rows, a line with another number of
        values, another encoding.

    Examples
    --------
    >>> data = read_csv("sales.csv", target="sold", missing="interpolate")  # doctest: +SKIP
    >>> streams = Streams(data.x, data.target, batch=16, steps=50)  # doctest: +SKIP
    """
    choice = _Choice(columns, target, group, missing)
    raw = open_regular(path, whole=False)
    with io.TextIOWrapper(raw, newline="", encoding="utf-8-sig") as file:
        lines = _lines(csv.reader(file, delimiter=delimiter), path)
        header = [name.strip() for name in next(lines, (0, []))[1]]
        if all(map(_is_number, header)):
            raise ValueError(f"{path}: expected names of columns in the first line, got {header}")
        choice.look_up(header)
        texts = {name: header.index(name) for name in choice.names}
        values = {name: array("d") for name in choice.numbers}
        numbers, keys = array("q"), []

        def place(row: int, name: str) -> str:
            return f"{path}: line {numbers[row]}, column {name!r}"

        for row, (number, cells) in enumerate(lines):
            if len(cells) != len(header):
                raise ValueError(
                    f"{path}: line {number}: expected {len(header)} values, got {len(cells)}"
                )
            numbers.append(number)
            for name, column in values.items():
                column.append(_parse(cells[texts[name]], row, name, place))
            if group is not None:
                keys.append(cells[texts[group]])
    if not numbers:
        raise ValueError(f"{path}: expected rows below the names of columns, got none")
    return choice.table({name: np.array(column) for name, column in values.items()}, keys, place)


def from_frame(
    frame: Any,
    columns: Names | None = None,
    *,
    target: Names | None = None,
    group: str | None = None,
    missing: Missing = "error",
) -> Table:
    """Take a series, or sequences, from a data frame of pandas, polars or the like.

    Parameters
    ----------
    frame : data frame
        Anything with ``frame.columns`` and ``frame[name].to_numpy()``.
    columns, target, group, missing
        As for `read_csv`. Missing are NaN, None, and the library's own words for it.

    Returns
    -------
    Table
        Its arrays share nothing with the frame.

    Raises
    ------
    TypeError
        Not a data frame.
    ValueError
        As `read_csv`. Rows are counted from 0.
    """
    if not hasattr(frame, "columns"):
        raise TypeError(f"frame: expected a data frame, got {type(frame).__name__}")
    choice = _Choice(columns, target, group, missing)
    choice.look_up(list(frame.columns))

    def place(row: int, name: str) -> str:
        return f"frame: row {row}, column {name!r}"

    if not len(frame):
        raise ValueError("frame: expected rows, got none")
    values = {name: _floats(frame[name].to_numpy(), name, place) for name in choice.numbers}
    keys = [] if group is None else [str(key) for key in frame[group].to_numpy()]
    return choice.table(values, keys, place)


class _Choice:
    """What is wanted of a table; the parameters are those of `read_csv`."""

    def __init__(
        self, columns: Names | None, target: Names | None, group: str | None, missing: Missing
    ) -> None:
        if missing not in ("error", *FILLS):
            raise ValueError(
                f"missing: expected one of {', '.join(('error', *FILLS))}, got {missing!r}"
            )
        self._columns = None if columns is None else _listed(columns)
        self._target = [] if target is None else _listed(target)
        self._group, self._missing = group, missing

    def look_up(self, header: list[str]) -> None:
        """Find the columns in the header of a table."""
        group = [] if self._group is None else [self._group]
        if self._columns is None:
            self._columns = [name for name in header if name not in (*self._target, *group)]
        wanted = {"columns": self._columns, "target": self._target, "group": group}
        for argument, names in wanted.items():
            for name in names:
                if header.count(name) != 1:
                    what = "of those that are there twice" if name in header else "got"
                    raise ValueError(f"{argument}: expected a column of {header}, {what} {name!r}")
        if not self._columns:
            raise ValueError(f"columns: expected at least one of {header}, got none")
        self.numbers = list(dict.fromkeys([*self._columns, *self._target]))
        self.names = [*self.numbers, *group]

    def table(self, values: dict[str, Floats], keys: list[str], place: Place) -> Table:
        """Fill what is missing, and sort rows into sequences."""
        assert self._columns is not None
        grid = np.column_stack([values[name] for name in self.numbers])
        x, y = (
            [self.numbers.index(name) for name in names] for names in (self._columns, self._target)
        )
        known = ~np.isnan(grid)
        whole = np.arange(len(grid))
        groups = {"": whole} if self._group is None else _groups(keys, self._group, place)
        groups = fill(grid, groups, self._missing, self.numbers, place)

        def parts(array: NDArray[Any]) -> Any:
            sequences = [array[rows] for rows in groups.values()]
            return sequences[0] if self._group is None else sequences

        masked = self._missing == "mask"
        return Table(
            x=parts(grid[:, x]),
            target=parts(grid[:, y]) if y else None,
            mask=parts(np.all(known[:, x], axis=1)) if masked else None,
            weights=parts(np.all(known[:, y], axis=1).astype(np.float64)) if masked and y else None,
            groups=None if self._group is None else list(groups),
        )


def _listed(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _groups(keys: list[str], column: str, place: Place) -> dict[str, Rows]:
    """Return the rows of each sequence, in order of appearance."""
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        if key.strip().lower() in _NOTHING:
            raise ValueError(f"{place(row, column)}: expected the name of a group, got {key!r}")
        rows.setdefault(key.strip(), []).append(row)
    return {key: np.array(numbers) for key, numbers in rows.items()}


def _lines(reader: Any, path: str | os.PathLike[str]) -> Iterator[tuple[int, list[str]]]:
    """Go through the lines that are not empty, with their numbers."""
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num}: expected CSV: {error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected a text in UTF-8: {error}") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse(text: str, row: int, name: str, place: Place) -> float:
    """Return a number, NaN where it is missing."""
    try:
        number = float(text)
        if math.isfinite(number) and "_" not in text:  # 1_000 is a number in Python alone
            return number
    except ValueError:
        pass
    if text.strip().lower() in _NOTHING:
        return math.nan
    raise ValueError(f"{place(row, name)}: expected a finite number, got {text!r}")


def _floats(values: NDArray[Any], name: str, place: Place) -> Floats:
    """Return a column of a frame, NaN where a value is missing."""
    if values.dtype.kind in "OUT":
        return np.array([_parse(str(v), row, name, place) for row, v in enumerate(values)])
    if values.dtype.kind not in "biuf":
        raise ValueError(f"frame: column {name!r}: expected numbers, got {values.dtype}")
    numbers = values.astype(np.float64)
    if np.isinf(numbers).any():
        row = int(np.argmax(np.isinf(numbers)))
        raise ValueError(f"{place(row, name)}: expected a finite number, got {numbers[row]}")
    return numbers
