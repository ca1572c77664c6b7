"""CSV files and data frames as series or sequences."""

import os
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from crnn.common.choices import Missing
from crnn.common.representation import never_raising
from crnn.data.csv_file import CsvFile
from crnn.data.missing import Place, Rows, fill
from crnn.data.numerals import Numerals, is_missing
from crnn.data.representation import counted

Name = str | int
Names = Name | Sequence[Name]
Floats = NDArray[np.float64]


class Table(NamedTuple):
    """Table of numbers that `read_csv` and `from_frame` return: a named tuple of arrays.

    With `group`, each field is a list with one array for each sequence, instead of one array.

    Parameters
    ----------
    x : array (N, F) of float64, or list of such arrays
        The values of `columns`.
    target : array (N, F') of float64, list of such arrays, or None
        The values of the columns `target`, None without them. For classes use
        ``target[:, 0].astype(int)``.
    mask : array (N,) of bool, list of such arrays, or None
        With ``missing="mask"``: True where no value of the row of x is missing. Missing values are
        0 in x.
    weights : array (N,) of float64, list of such arrays, or None
        With ``missing="mask"`` and a target: 1 where no value of the row's target is missing, else
        0.
    groups : list of str, or None
        With `group`: the value of that column for each sequence.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> table = crnn.data.Table(np.zeros((100, 3)), target=np.ones((100, 1)))
    >>> table
    <Table: x (100, 3), target (100, 1)>
    >>> x, target, *_ = table
    >>> x.shape
    (100, 3)
    """

    x: Any
    target: Any = None
    mask: Any = None
    weights: Any = None
    groups: list[str] | None = None

    @never_raising
    def __repr__(self) -> str:
        fields = {name: value for name, value in self._asdict().items() if value is not None}
        groups = fields.pop("groups", None)
        parts = [] if groups is None else [counted(len(groups), "sequence")]
        parts += [f"{name} {_shape(value)}" for name, value in fields.items()]
        if groups is not None:
            lengths = [len(sequence) for sequence in self.x]
            parts.append(f"T from {min(lengths)} to {max(lengths)}")
        return f"<{type(self).__name__}: {', '.join(parts)}>"


def _shape(value: Any) -> str:
    """Return the shape of an array, and (T, ...) with the shape of a step for a list of arrays."""
    if not isinstance(value, list):
        return str(value.shape)
    sizes = ["T", *value[0].shape[1:]]
    return f"({', '.join(map(str, sizes))}{',' if len(sizes) == 1 else ''})"


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
    r"""Read a series or sequences from a CSV file that has the column names in its first line.

    Rows are steps in time and keep their order. Empty lines are skipped. The file is read by
    pandas: ``pip install ".[data]"`` in a checkout of crnn.

    Parameters
    ----------
    path : str or path
        The name of the file.
    columns : str, int or sequence of these, optional
        The F columns to read, in this order, by name or by position from 0. None: all columns but
        `target` and `group`.
    target : str, int or sequence of these, optional
        The F' columns to be predicted; they may be among `columns`, too. None: no targets.
    group : str or int, optional
        The column that names the sequence of each row. There is one sequence for each value, in the
        order in which the values first appear. None: all rows are one series.
    delimiter : str, default ","
        The character between two values.
    missing : {"error", "drop", "interpolate", "forward", "mask"}, default "error"
        The treatment of missing values: empty ones, spaces, ?, NA, N/A, NaN, null and None.
        ``"error"``: raise a ValueError. ``"drop"``: leave the row out; steps are then no longer
        evenly spaced in time. ``"interpolate"``: linear interpolation between the neighbours in the
        same sequence, and the nearest value at the ends. ``"forward"``: the last value before.
        ``"mask"``: 0, marked in `Table.mask` and `Table.weights`.
    na_values : str, number, or sequence of these, default ()
        Further texts or numbers for a missing value: ``"-"``, ``-999``.
    decimal : str, default "."
        The character before the fraction: ``","`` in 3,14.
    thousands : str, optional
        The character between groups of digits: ``","`` in 1,234,567. None: no separators.
    skipfooter : int, default 0
        The number of lines to leave out at the end, such as totals or the source of the data.
    encoding : str, default "utf-8"
        The encoding of the file.
    **options
        Further keywords of ``pandas.read_csv``, such as ``skiprows=2``, ``comment="#"`` or
        ``quotechar="'"``. With any of them, error messages count rows instead of lines.

    Returns
    -------
    Table
        Arrays for one series; lists of arrays with `group`.

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    ImportError
        pandas is not installed.
    ValueError
        An unknown column (the message lists the columns), a value that is missing or no finite
        number (the message has its line and column), no header, no rows, a line with another number
        of values, or another encoding.

    Examples
    --------
    >>> import crnn
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "sales.csv")
    ...     with open(path, "w", encoding="utf-8") as file:
    ...         _ = file.write("day,price,sold\n1,2.5,10\n2,,12\n3,3.5,8\n")
    ...     table = crnn.data.read_csv(path, "price", target="sold", missing="interpolate")
    >>> table
    <Table: x (3, 1), target (3, 1)>
    >>> table.x.tolist()
    [[2.5], [3.0], [3.5]]
    """
    numerals = Numerals(decimal, thousands, na_values)
    file = CsvFile(path, delimiter, skipfooter, encoding, options)
    header, blocks = file.read()
    selection = _Selection(header, columns, target, group, missing)

    def place(row: int, name: Any) -> str:
        return f"{file.line(row)}, column {name!r}"

    values = {name: array("d") for name in selection.numbers}
    keys: list[str] = []
    rows = 0
    for block in blocks:
        for name, column in values.items():
            column.extend(parsed(block[header.index(name)], name, place, numerals, rows))
        if selection.group is not None:
            keys += list(block[header.index(selection.group)])
        rows += len(block)
    if not rows:
        raise ValueError(f"{path}: expected rows below the column names, got none")
    return selection.table({name: np.array(column) for name, column in values.items()}, keys, place)


def from_frame(
    frame: Any,
    columns: Names | None = None,
    *,
    target: Names | None = None,
    group: Name | None = None,
    missing: Missing = "error",
) -> Table:
    """Return a series or sequences from a data frame of pandas, polars or a similar library.

    Parameters
    ----------
    frame : data frame
        Any object with ``frame.columns`` and ``frame[name].to_numpy()``.
    columns : str, int or sequence of these, optional
        The F columns to read, in this order, by name, or by position where no column has that name.
        None: all columns but `target` and `group`.
    target : str, int or sequence of these, optional
        The F' columns to be predicted; they may be among `columns`, too. None: no targets.
    group : str or int, optional
        The column that names the sequence of each row. None: all rows are one series.
    missing : {"error", "drop", "interpolate", "forward", "mask"}, default "error"
        The treatment of missing values, as for `read_csv`. Missing are NaN, None, and the missing
        values of the library, such as ``pandas.NA``.

    Returns
    -------
    Table
        Arrays for one series; lists of arrays with `group`. They share no memory with the frame.

    Raises
    ------
    TypeError
        `frame` is not a data frame.
    ValueError
        As for `read_csv`. Messages count rows from 0.

    Examples
    --------
    >>> import crnn
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"who": ["a", "a", "b"], "x": [1, 2, 3], "y": [0, 1, 0]})
    >>> table = crnn.data.from_frame(frame, "x", target="y", group="who")
    >>> table
    <Table: 2 sequences, x (T, 1), target (T, 1), T from 1 to 2>
    >>> table.groups
    ['a', 'b']
    """
    if not hasattr(frame, "columns"):
        raise TypeError(f"frame: expected a data frame, got {type(frame).__name__}")
    selection = _Selection(list(frame.columns), columns, target, group, missing)

    def place(row: int, name: Any) -> str:
        return f"frame: row {row}, column {name!r}"

    if not len(frame):
        raise ValueError("frame: expected rows, got none")
    values = {
        name: column_floats(frame[name].to_numpy(), name, place) for name in selection.numbers
    }
    keys = [] if group is None else [str(key) for key in frame[selection.group].to_numpy()]
    return selection.table(values, keys, place)


class _Selection:
    """Columns selected from a header; the other parameters are those of `read_csv`."""

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
        targets = [] if target is None else listed(target)
        self._target = [column_name("target", name, header) for name in targets]
        self.group: Any = None if group is None else column_name("group", group, header)
        others = [*self._target] if group is None else [*self._target, self.group]
        if columns is None:
            columns = [name for name in header if name not in others]
        self._columns = [column_name("columns", name, header) for name in listed(columns)]
        if not self._columns:
            raise ValueError(f"columns: expected at least one of {header}, got none")
        self.numbers = list(dict.fromkeys([*self._columns, *self._target]))

    def table(self, values: dict[str, Floats], keys: list[str], place: Place) -> Table:
        """Return the table of the values, with missing ones filled and rows put into sequences."""
        grid = np.column_stack([values[name] for name in self.numbers])
        x, y = (
            [self.numbers.index(name) for name in names] for names in (self._columns, self._target)
        )
        known = ~np.isnan(grid)
        all_rows = np.arange(len(grid))
        groups = {"": all_rows} if self.group is None else group_rows(keys, self.group, place)
        groups = fill(grid, groups, self._missing, self.numbers, place)

        def by_group(array: NDArray[Any]) -> Any:
            sequences = [array[rows] for rows in groups.values()]
            return sequences[0] if self.group is None else sequences

        mask = weights = None
        if self._missing == "mask":
            mask = by_group(np.all(known[:, x], axis=1))
            weights = by_group(np.all(known[:, y], axis=1).astype(np.float64)) if y else None
        return Table(
            x=by_group(grid[:, x]),
            target=by_group(grid[:, y]) if y else None,
            mask=mask,
            weights=weights,
            groups=None if self.group is None else list(groups),
        )


def listed(names: Names) -> list[Any]:
    """Return one name or position, or several of them, as a list."""
    return [names] if isinstance(names, (str, int, np.integer)) else list(names)


def column_name(argument: str, name: Any, header: list[Any]) -> Any:
    """Return the name of a column from a name, or from a position that is no name."""
    is_position = isinstance(name, (int, np.integer)) and not isinstance(name, bool)
    if is_position and name not in header and -len(header) <= name < len(header):
        name = header[name]
    if header.count(name) != 1:
        several = ", the name of several columns" if name in header else ""
        raise ValueError(f"{argument}: expected a column of {header}, got {name!r}{several}")
    return name


def group_rows(keys: list[str], column: str, place: Place) -> dict[str, Rows]:
    """Return the rows of each sequence, in order of appearance."""
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        if is_missing(key):
            raise ValueError(f"{place(row, column)}: expected the name of a group, got {key!r}")
        rows.setdefault(key.strip(), []).append(row)
    return {key: np.array(numbers) for key, numbers in rows.items()}


def parsed(
    texts: Iterable[Any], name: Any, place: Place, numerals: Numerals, first: int = 0
) -> list[float]:
    """Return the numbers of texts, NaN for missing ones; `first` is the row of the first text."""
    numbers: list[float] = []
    for text in texts:
        try:
            numbers.append(numerals.number(str(text)))
        except ValueError:
            where = place(first + len(numbers), name)
            raise ValueError(f"{where}: expected a finite number, got {text!r:.60}") from None
    return numbers


def column_floats(values: NDArray[Any], name: str, place: Place) -> Floats:
    """Return a column of a frame as float64, NaN where a value is missing."""
    if values.dtype.kind in "OUT":
        return np.array(parsed(values, name, place, Numerals()))
    if values.dtype.kind not in "biuf":
        raise ValueError(f"frame: column {name!r}: expected numbers, got {values.dtype}")
    numbers = values.astype(np.float64)
    if np.isinf(numbers).any():
        row = int(np.argmax(np.isinf(numbers)))
        raise ValueError(f"{place(row, name)}: expected a finite number, got {numbers[row]}")
    return numbers
