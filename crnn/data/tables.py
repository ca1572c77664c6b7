"""CSV files and data frames as series, or as sequences."""

import os
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from crnn.common.choices import Missing
from crnn.data.csv_file import CsvFile
from crnn.data.missing import Place, Rows, fill
from crnn.data.numerals import Numerals, is_missing

Name = str | int
Names = Name | Sequence[Name]
Floats = NDArray[np.float64]


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
    group: Name | None = None,
    delimiter: str = ",",
    missing: Missing = "error",
    na_values: Any = (),
    decimal: str = ".",
    thousands: str | None = None,
    skipfooter: int = 0,
    encoding: str = "utf-8",
    **options: Any,
) -> Table:
    """Read a series, or sequences, from a CSV file whose first line names its columns.

    Rows are steps in time and keep their order. Empty lines are skipped. pandas reads the file:
    ``pip install "crnn[data]"``.

    Parameters
    ----------
    path : str or path
    columns : str, int or sequence of these, optional
        The F columns to read, in this order, by name or by position from 0. By default all but
        `target` and `group`.
    target : str, int or sequence of these, optional
        The F' columns to be predicted; they may be among `columns` as well.
    group : str or int, optional
        The column that tells sequences apart: one for each value, in the order in which the values
        first appear.
    delimiter : str, default ","
        What stands between two values, one character.
    missing : {"error", "drop", "interpolate", "forward", "mask"}
        What to do where a value is missing: nothing, spaces, ?, NA, N/A, NaN, null or None.
        ``"drop"``: leave the row out, though steps are then no longer evenly apart.
        ``"interpolate"``: on a line between the neighbours in the same sequence, and the nearest
        value at the ends. ``"forward"``: the last value before. ``"mask"``: 0, and tell so in
        `Table.mask` and `Table.weights`.
    na_values : str, number, or sequence of these, optional
        What else stands for a missing value: ``"-"``, ``-999``.
    decimal : str, default "."
        The character before the fraction: ``","`` in 3,14.
    thousands : str, optional
        The character between groups of digits: ``","`` in 1,234,567.
    skipfooter : int, default 0
        How many lines at the end to leave out: totals, or where the data come from.
    encoding : str, default "utf-8"
    **options
        Further keywords of ``pandas.read_csv``, as ``skiprows=2``, ``comment="#"`` or
        ``quotechar="'"``. Errors then count rows instead of lines.

    Returns
    -------
    Table

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ImportError
        pandas is not installed.
    ValueError
        A column that is not there (those that are get listed), a value that is missing or no finite
        number (line and column get named), no header, no rows, a line with another number of
        values, another encoding.

    Examples
    --------
    >>> data = read_csv("sales.csv", target="sold", missing="interpolate")  # doctest: +SKIP
    >>> streams = Streams(data.x, data.target, batch_size=16, steps=50)  # doctest: +SKIP
    """
    numerals = Numerals(decimal, thousands, na_values)
    file = CsvFile(path, delimiter, skipfooter, encoding, options)
    header, blocks = file.read()
    choice = _Choice(header, columns, target, group, missing)

    def place(row: int, name: Any) -> str:
        return f"{file.line(row)}, column {name!r}"

    values = {name: array("d") for name in choice.numbers}
    keys: list[str] = []
    rows = 0
    for block in blocks:
        for name, column in values.items():
            column.extend(_parsed(block[header.index(name)], name, place, numerals, rows))
        if choice.group is not None:
            keys += list(block[header.index(choice.group)])
        rows += len(block)
    if not rows:
        raise ValueError(f"{path}: expected rows below the names of columns, got none")
    return choice.table({name: np.array(column) for name, column in values.items()}, keys, place)


def from_frame(
    frame: Any,
    columns: Names | None = None,
    *,
    target: Names | None = None,
    group: Name | None = None,
    missing: Missing = "error",
) -> Table:
    """Take a series, or sequences, from a data frame of pandas, polars or the like.

    Parameters
    ----------
    frame : data frame
        Anything with ``frame.columns`` and ``frame[name].to_numpy()``.
    columns, target, group, missing
        As for `read_csv`: names, or positions where no column has that name. Missing are NaN, None,
        and the library's own words for it.

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
    choice = _Choice(list(frame.columns), columns, target, group, missing)

    def place(row: int, name: Any) -> str:
        return f"frame: row {row}, column {name!r}"

    if not len(frame):
        raise ValueError("frame: expected rows, got none")
    values = {name: _floats(frame[name].to_numpy(), name, place) for name in choice.numbers}
    keys = [] if group is None else [str(key) for key in frame[choice.group].to_numpy()]
    return choice.table(values, keys, place)


class _Choice:
    """What is wanted of a table with a header; the other parameters are those of `read_csv`."""

    def __init__(
        self,
        header: list[Any],
        columns: Names | None,
        target: Names | None,
        group: Name | None,
        missing: Missing,
    ) -> None:
        if missing not in get_args(Missing):
            raise ValueError(
                f"missing: expected one of {', '.join(get_args(Missing))}, got {missing!r}"
            )
        self._missing = missing
        wanted = [] if target is None else _listed(target)
        self._target = [_named("target", name, header) for name in wanted]
        self.group: Any = None if group is None else _named("group", group, header)
        others = [*self._target] if group is None else [*self._target, self.group]
        if columns is None:
            columns = [name for name in header if name not in others]
        self._columns = [_named("columns", name, header) for name in _listed(columns)]
        if not self._columns:
            raise ValueError(f"columns: expected at least one of {header}, got none")
        self.numbers = list(dict.fromkeys([*self._columns, *self._target]))

    def table(self, values: dict[str, Floats], keys: list[str], place: Place) -> Table:
        """Fill what is missing, and sort rows into sequences."""
        grid = np.column_stack([values[name] for name in self.numbers])
        x, y = (
            [self.numbers.index(name) for name in names] for names in (self._columns, self._target)
        )
        known = ~np.isnan(grid)
        whole = np.arange(len(grid))
        groups = {"": whole} if self.group is None else _groups(keys, self.group, place)
        groups = fill(grid, groups, self._missing, self.numbers, place)

        def parts(array: NDArray[Any]) -> Any:
            sequences = [array[rows] for rows in groups.values()]
            return sequences[0] if self.group is None else sequences

        masked = self._missing == "mask"
        return Table(
            x=parts(grid[:, x]),
            target=parts(grid[:, y]) if y else None,
            mask=parts(np.all(known[:, x], axis=1)) if masked else None,
            weights=parts(np.all(known[:, y], axis=1).astype(np.float64)) if masked and y else None,
            groups=None if self.group is None else list(groups),
        )


def _listed(names: Names) -> list[Any]:
    return [names] if isinstance(names, (str, int, np.integer)) else list(names)


def _named(argument: str, name: Any, header: list[Any]) -> Any:
    """The name of a column that is given by name, or by position where none has that name."""
    position = isinstance(name, (int, np.integer)) and not isinstance(name, bool)
    if position and name not in header and -len(header) <= name < len(header):
        name = header[name]
    if header.count(name) != 1:
        what = "of those that are there twice" if name in header else "got"
        raise ValueError(f"{argument}: expected a column of {header}, {what} {name!r}")
    return name


def _groups(keys: list[str], column: str, place: Place) -> dict[str, Rows]:
    """Return the rows of each sequence, in order of appearance."""
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        if is_missing(key):
            raise ValueError(f"{place(row, column)}: expected the name of a group, got {key!r}")
        rows.setdefault(key.strip(), []).append(row)
    return {key: np.array(numbers) for key, numbers in rows.items()}


def _parsed(
    texts: Iterable[Any], name: Any, place: Place, numerals: Numerals, first: int = 0
) -> list[float]:
    """Return numbers, NaN where one is missing; `first` is the number of the first row."""
    numbers: list[float] = []
    for text in texts:
        try:
            numbers.append(numerals.number(str(text)))
        except ValueError:
            where = place(first + len(numbers), name)
            raise ValueError(f"{where}: expected a finite number, got {text!r:.60}") from None
    return numbers


def _floats(values: NDArray[Any], name: str, place: Place) -> Floats:
    """Return a column of a frame, NaN where a value is missing."""
    if values.dtype.kind in "OUT":
        return np.array(_parsed(values, name, place, Numerals()))
    if values.dtype.kind not in "biuf":
        raise ValueError(f"frame: column {name!r}: expected numbers, got {values.dtype}")
    numbers = values.astype(np.float64)
    if np.isinf(numbers).any():
        row = int(np.argmax(np.isinf(numbers)))
        raise ValueError(f"{place(row, name)}: expected a finite number, got {numbers[row]}")
    return numbers
