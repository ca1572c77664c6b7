"""Panels of tables that have a row for each step of each series."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np

from crnn.common.arrays import Array, Floats
from crnn.common.notices import warn
from crnn.data.csv_file import CsvFile
from crnn.data.missing import Place
from crnn.data.numerals import Numerals, is_missing
from crnn.data.panel_checks import MONTHS, check_order
from crnn.data.tables import (
    column_floats,
    column_name,
    group_rows,
    listed,
    parsed,
)
from crnn.data.times import (
    Times,
    as_times,
    distances,
    duration,
    in_coarse_unit,
    in_unit,
    moment,
    parse_times,
)

_MOST_ABSENT = 50  # absent rows for each one that is there, beyond which the step must be wrong


class AbsentRowsWarning(UserWarning):
    """Warning that steps without a row in a table have become missing numbers.

    Examples
    --------
    Turn the warning into an error:

    >>> import warnings
    >>> import crnn
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", crnn.data.AbsentRowsWarning)
    ...     # panel = crnn.data.Panel.read_csv(...)
    >>> issubclass(crnn.data.AbsentRowsWarning, UserWarning)
    True
    """


class Roles(NamedTuple):
    """Columns by what they hold: the arguments of `Panel.from_frame`."""

    target: Any
    group: Any
    time: Any
    known: Any
    static: Any
    categories: Any

    def of(self, header: list[Any]) -> Roles:
        """Return the same with names of the header, or raise for an unknown column."""

        def one(role: str) -> Any:
            value = getattr(self, role)
            return None if value is None else column_name(role, value, header)

        def several(role: str) -> list[Any]:
            names = getattr(self, role)
            if not isinstance(names, str | int | np.integer) and not hasattr(names, "__iter__"):
                raise TypeError(f"{role}: expected names of columns, got {names!r:.60}")
            return [column_name(role, name, header) for name in listed(names)]

        if self.target is None:
            raise ValueError(f"target: expected a column of {header}, got None")
        roles = Roles(
            *(one(role) for role in ("target", "group", "time")),
            *(several(role) for role in ("known", "static", "categories")),
        )
        roles._check_apart()
        return roles

    def _check_apart(self) -> None:
        """Raise for a column that occurs twice in a role, or that is the target and another one."""
        for role in ("group", "time", "known", "static", "categories"):
            value = getattr(self, role)
            names = value if isinstance(value, list) else [value]
            if self.target in names:
                raise ValueError(
                    f"{role}: expected another column than the target, got {self.target!r}"
                )
            if len(set(names)) < len(names):
                raise ValueError(f"{role}: expected distinct columns, got {names}")

    @property
    def numbers(self) -> list[Any]:
        """All columns of numbers."""
        return list(dict.fromkeys([self.target, *self.known, *self.static]))


class Form(NamedTuple):
    """Form of a CSV file: the arguments of `Panel.read_csv`."""

    delimiter: str
    na_values: Any
    decimal: str
    thousands: str | None
    skipfooter: int
    encoding: str
    options: dict[str, Any]


class Rows(NamedTuple):
    """Columns of a table with N rows."""

    roles: Roles
    numbers: dict[Any, Floats]  # by the name of the column
    texts: dict[Any, list[str]]  # those of the categories
    keys: list[str]  # of the series; empty without `group`
    times: Times | None
    place: Place  # of a row and a column, for messages

    def grid(self, names: Any) -> Floats:
        """Return some columns of numbers (N, F)."""
        return np.column_stack([self.numbers[name] for name in names])


def of_frame(frame: Any, roles: Roles) -> Rows:
    """Return the columns of a data frame."""
    if not hasattr(frame, "columns"):
        raise TypeError(f"frame: expected a data frame, got {type(frame).__name__}")
    roles = roles.of(list(frame.columns))
    if not len(frame):
        raise ValueError("frame: expected rows, got none")

    def place(row: int, name: Any) -> str:
        return f"frame: row {row}, column {name!r}"

    def column(name: Any) -> Any:
        values = frame[name].to_numpy()
        if len(values) != len(frame):
            raise ValueError(
                f"frame: column {name!r}: expected {len(frame)} rows, got {len(values)}"
            )
        return values

    def texts(name: Any) -> list[str]:
        values = column(name)
        if values.dtype.kind == "f":
            raise ValueError(
                f"frame: column {name!r}: expected strings or integers, got {values.dtype}"
            )
        return [str(value) for value in values]

    return Rows(
        roles,
        {name: column_floats(column(name), name, place) for name in roles.numbers},
        {name: texts(name) for name in roles.categories},
        [] if roles.group is None else texts(roles.group),
        None if roles.time is None else _frame_times(column(roles.time), roles.time, place),
        place,
    )


def _frame_times(values: Any, name: Any, place: Place) -> Times:
    """Return the times of a column of a frame."""
    if values.dtype.kind in "OUT":
        return parse_times(values, lambda row: place(row, name))
    if values.dtype.kind != "M":
        raise TypeError(
            f"frame: column {name!r}: expected datetime64 or texts as 2024-02-29, "
            f"got {values.dtype}; without time= the rows are the steps"
        )
    if np.isnat(values).any():
        raise ValueError(f"{place(int(np.isnat(values).argmax()), name)}: expected a time, got NaT")
    return np.asarray(values)


def of_csv(path: str | os.PathLike[str], roles: Roles, form: Form) -> Rows:
    """Return the columns of a CSV file."""
    numerals = Numerals(form.decimal, form.thousands, form.na_values)
    file = CsvFile(path, form.delimiter, form.skipfooter, form.encoding, form.options)
    header, blocks = file.read()
    roles = roles.of(header)

    def place(row: int, name: Any) -> str:
        return f"{file.line(row)}, column {name!r}"

    numbers = {name: array("d") for name in roles.numbers}
    worded = [name for name in (roles.group, roles.time) if name is not None]
    texts: dict[Any, list[str]] = {name: [] for name in [*worded, *roles.categories]}
    rows = 0
    for block in blocks:
        for name, column in numbers.items():
            column.extend(parsed(block[header.index(name)], name, place, numerals, rows))
        for name, words in texts.items():
            words += [word.strip() for word in block[header.index(name)]]
        rows += len(block)
    if not rows:
        raise ValueError(f"{path}: expected rows below the column names, got none")
    times = None
    if roles.time is not None:
        times = parse_times(texts[roles.time], lambda row: place(row, roles.time))
    keys = [] if roles.group is None else texts[roles.group]
    filled = {name: np.array(column) for name, column in numbers.items()}
    return Rows(roles, filled, texts, keys, times, place)


class _Grid(NamedTuple):
    """Steps of all series, one series after another.

    Parameters
    ----------
    rows : array (N,) of integers
        Rows of the table by series.
    cells : array (N,) of int64
        The step of each of them, among those of all series.
    begins, sizes : array (n,) of int64
        The first step of each series, and how many it has.
    times : pair or None
        Start of each series, and the step.
    ends_of_months : bool
        Whether the months of `times` were written as their last days.
    """

    rows: Array
    cells: Array
    begins: Array
    sizes: Array
    times: tuple[Times, np.timedelta64] | None
    ends_of_months: bool = False

    def cut(self, values: Floats) -> list[Floats]:
        """Return values (N, ...) of rows as those of the steps of each series, NaN if absent."""
        steps = np.full((int(self.sizes.sum()), *values.shape[1:]), np.nan)
        steps[self.cells] = values[self.rows]
        ends = self.begins + self.sizes
        return [steps[a:b] for a, b in zip(self.begins, ends, strict=True)]


def arranged(read: Rows, step: np.timedelta64 | None, end: Any = None) -> dict[str, Any]:
    """Return the arguments of the panel of a table."""
    roles, names = read.roles, ["0"]
    groups = {"0": np.arange(len(read.numbers[roles.target]))}
    if roles.group is not None:
        groups = group_rows(read.keys, str(roles.group), read.place)
        names = list(groups)
    grid = _grid(read, groups, step)
    series = grid.cut(read.numbers[roles.target])
    known = grid.cut(read.grid(roles.known)) if roles.known else None
    if end is not None:
        series = [part[:size] for part, size in zip(series, _past(grid, end), strict=True)]
    elif known is not None:
        series = [_observed(part) for part in series]
    first = grid.rows[np.cumsum([0, *map(len, groups.values())])[:-1]]
    return {
        "series": series,
        "known": known,
        "static": _constant(read, groups, first, roles.static, read.numbers),
        "categories": _constant(read, groups, first, roles.categories, read.texts),
        "times": grid.times,
        "names": names,
        "columns": {
            "target": str(roles.target),
            "known": roles.known,
            "static": roles.static,
            "categories": roles.categories,
        },
    }


def _past(grid: _Grid, end: Any) -> Array:
    """Return how many steps each series has up to a time."""
    if grid.times is None:
        raise ValueError("end: expected time= with it, got None")
    starts, step = grid.times
    if np.ndim(end):
        raise TypeError(f"end: expected one time, got {end!r:.60}")
    last = as_times("end", [end])
    if grid.ends_of_months and np.datetime_data(last.dtype)[0] not in MONTHS:
        # The last day of a month is the day before the first one of the next month.
        months = (last.astype("datetime64[D]") + np.timedelta64(1, "D")).astype(starts.dtype)
        last = months - np.timedelta64(1, "M")
    is_finer = np.result_type(last.dtype, starts.dtype) != starts.dtype
    last = last.astype(starts.dtype) if is_finer else in_unit("end", last, starts.dtype)
    return np.asarray(np.maximum((last[0] - starts) // step + 1, 0))


def _observed(numbers: Floats) -> Floats:
    """Return a series without the missing numbers at its end."""
    there = np.flatnonzero(~np.isnan(numbers))
    return numbers[: there[-1] + 1 if there.size else 0]


def _constant(
    read: Rows, groups: dict[str, Array], first: Array, names: Any, columns: dict[Any, Any]
) -> Array | None:
    """Return columns (n, F) that have one value in all rows of a series; None without columns."""
    if not names:
        return None
    rows = np.concatenate([*groups.values()])
    found = []
    for name in names:
        values = np.asarray(columns[name], None if columns is read.numbers else object)
        if columns is read.numbers and np.isnan(values[first]).any():
            row = int(first[np.isnan(values[first])][0])
            raise ValueError(f"{read.place(row, name)}: expected a finite number, got nan")
        expected = np.repeat(values[first], [len(part) for part in groups.values()])
        if (values[rows] != expected).any():
            at = int((values[rows] != expected).argmax())
            raise ValueError(
                f"{read.place(int(rows[at]), name)}: expected {_text(expected[at])}, as in the "
                f"first row of the series, got {_text(values[rows[at]])}"
            )
        if columns is not read.numbers:
            _check_present(read, first, name, values)
        found.append(values[first])
    return np.column_stack(found)


def _text(value: Any) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)


def _check_present(read: Rows, first: Array, name: Any, values: Array) -> None:
    for row in first:
        if is_missing(values[row]):
            raise ValueError(
                f"{read.place(int(row), name)}: expected a category, got {values[row]!r}"
            )


def _grid(read: Rows, groups: dict[str, Array], step: np.timedelta64 | None) -> _Grid:
    """Return the steps of all series; absent rows are announced by a warning."""
    rows = np.concatenate([*groups.values()])
    counts = np.array([len(part) for part in groups.values()], np.int64)
    begins = np.cumsum(counts) - counts
    if read.times is None:
        if step is not None:
            raise ValueError(f"step: expected time= with it, got {step!r:.60}")
        return _Grid(rows, np.arange(len(rows)), begins, counts, None)
    step = _checked_step(step)
    months = step is None or np.datetime_data(step.dtype)[0] in MONTHS
    times = in_coarse_unit(read.times[rows], months=months)
    last_days = bool((times.astype(read.times.dtype) != read.times[rows]).any())

    def where(i: int) -> str:
        series = list(groups)[int(np.searchsorted(np.cumsum(counts), i, side="right"))]
        return f"series {series!r}: {read.place(int(rows[i]), read.roles.time)}"

    apart, place = distances(times, counts)
    check_order(times, apart, place, where)
    step = _step(times, apart, step)
    ahead = np.ones(len(rows), np.int64)
    ahead[place] = _whole_steps(times, apart, place, step, where)
    if ahead.sum(dtype=np.float64) > (1 + _MOST_ABSENT) * len(rows):
        at = int(place[apart.argmin()])
        raise ValueError(
            f"times: {where(at)}: expected rows for most steps of {duration(step)}, the smallest "
            f"distance of two rows, got rows for 1 in {ahead.sum(dtype=np.float64) / len(rows):.0f}"
            f": {moment(times[at])} after {moment(times[at - 1])}; step= sets another distance"
        )
    absent = np.flatnonzero(ahead > 1)
    if absent.size:
        _announce(read, where(int(absent[0])), times[absent[0] - 1] + step, ahead, len(rows))
    cells = np.cumsum(ahead) - 1
    sizes = np.add.reduceat(ahead, begins)
    return _Grid(rows, cells, np.cumsum(sizes) - sizes, sizes, (times[begins], step), last_days)


def _step(times: Times, apart: Array, step: Any) -> Any:
    """Return the time between two steps, in the unit of the times."""
    if step is None:
        if not len(apart):
            raise ValueError("time: expected two rows in one series, got one in each: give step=")
        return apart.min()
    if (np.datetime_data(times.dtype)[0] in MONTHS) != (np.datetime_data(step.dtype)[0] in MONTHS):
        raise ValueError(
            f"step: expected days or a finer unit, as the times are not all the first, or all the "
            f"last, days of months, got {duration(step)}"
        )
    return step


def _checked_step(step: Any) -> Any:
    """Return the argument `step` as a timedelta64, or raise."""
    if step is None:
        return None
    wanted = np.timedelta64("NaT")
    if isinstance(step, np.timedelta64 | timedelta):
        wanted = np.timedelta64(step)
    is_generic = np.datetime_data(wanted.dtype)[0] == "generic"
    if is_generic or np.isnat(wanted) or not wanted > np.timedelta64(0):
        raise ValueError(f"step: expected a timedelta64 above 0 with a unit, got {step!r:.60}")
    return wanted


def _whole_steps(
    times: Times, apart: Array, place: Array, step: Any, where: Callable[[int], str]
) -> Array:
    """Return how many steps lie between neighbours, or raise unless it is a whole number."""
    uneven = apart % step != np.timedelta64(0)
    if uneven.any():
        at = int(place[uneven.argmax()])
        raise ValueError(
            f"times: {where(at)}: expected a whole number of steps of {duration(step)} after "
            f"{moment(times[at - 1])}, got {moment(times[at])}"
        )
    return np.asarray(apart // step, np.int64)


def _announce(read: Rows, where: str, first: Any, ahead: Array, rows: int) -> None:
    """Warn about absent rows, or raise where they would be gaps of covariates."""
    absent = int(ahead.sum()) - rows
    if read.roles.known:
        raise ValueError(
            f"known: {where}: expected a row for each step, because covariates have no gaps, got "
            f"none for {moment(first)} before this one"
        )
    warn(
        f"{absent} of {absent + rows} steps have no row and became missing numbers, the first one "
        f"at {moment(first)}, before {where}",
        AbsentRowsWarning,
    )
