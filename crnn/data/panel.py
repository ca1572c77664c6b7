"""Panels: many series of different lengths in one store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, Floats
from crnn.common.checks import check_count
from crnn.common.representation import never_raising
from crnn.data import panel_checks, panel_tables
from crnn.data.representation import counted, with_names
from crnn.data.tables import Name, Names
from crnn.data.times import Times, check_reach, duration, moment
from crnn.data.vocabulary import Vocabulary

Integers = NDArray[np.int64]

#: Attributes with an element for each series.
_EACH = ("firsts", "lengths", "known_firsts", "known_lengths", "static", "categories", "starts")


class Panel:
    """Panel: many series of any lengths, with what is known about them.

    A panel cannot be changed. Its parts, such as ``panel[:10]`` and ``panel.until(24)``, are panels
    that share its memory.

    Parameters
    ----------
    series : list of n arrays (T_i,), or array (n, T)
        The numbers of each series, in the order of time. NaN is a missing number. A series without
        numbers, or with NaN alone, is forecast from what is known about it.
    known : list of n arrays (T_i + H_i, F) or (T_i + H_i,), optional
        Covariates: F numbers of each step that are known in advance, such as a price. They may go
        on beyond the end of the series, as a forecast needs them.
    static : array (n, F') or (n,), optional
        Numbers of each series that do not change, such as an area.
    categories : array (n, C) or (n,) of strings or integers, optional
        Categories of each series, such as a region.
    times : list of n arrays of datetime64, or pair, optional
        Times of the steps: T_i of them, or T_i + H_i where `known` goes on. They are evenly apart,
        by the same step in all series, and of the years 1 to 9999. Months are datetime64[M]; times
        that are all the first, or all the last, days of months are read as months. A pair is
        (start, step), a datetime64 for all series or an array (n,), and a timedelta64. None: steps
        have no times.
    names : sequence of n distinct strings or integers, optional
        Names of the series. None: "0", "1", ...
    columns : mapping, optional
        Names of the columns, for messages: "target" a string, "known", "static" and "categories"
        sequences of F, F' and C strings. Columns without a name have their number.

    Attributes
    ----------
    numbers : array (N,) of float64
        The store: the numbers of all series, of which this panel may be a part.
    known_numbers : array (M, F) of float64, or None
        The store of the covariates.
    firsts, lengths : array (n,) of int64
        The place of the first number of each series in `numbers`, and T_i.
    known_firsts, known_lengths : array (n,) of int64
        The place of each series in `known_numbers`, and T_i + H_i; `firsts` and `lengths` without
        covariates.
    static : array (n, F') of float64, or None
        Numbers of each series.
    categories : array (n, C) of str, or None
        Categories of each series; integers as texts.
    starts : array (n,) of datetime64, or None
        Time of the first step of each series; NaT where it is not known.
    step : timedelta64 or None
        Time between two steps.
    columns : dict
        Names of the columns.
    names : tuple of n str
        Names of the series.

    Raises
    ------
    ValueError, TypeError
        No series, other shapes than those above, names that occur twice, covariates that end before
        their series or are not finite, an infinite number, or times that are out of order, doubled
        or unevenly apart. The message names the series, the column and the step.

    See Also
    --------
    from_frame, read_csv : make a panel of a table.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> panel = crnn.data.Panel(
    ...     [[5.0, 6.0, 7.0], [1.0, np.nan]],
    ...     known=[[0, 0, 1, 1], [0, 1, 0]],
    ...     times=(["2024-01", "2024-02"], np.timedelta64(1, "M")),
    ...     names=["north", "south"],
    ... )
    >>> panel
    <Panel: 2 series of 2 to 3 steps of 1 month from 2024-01, with known>
    >>> panel["south"].series
    [array([ 1., nan])]
    >>> panel.until(1).lengths
    array([2, 1])
    """

    numbers: Floats
    known_numbers: Floats | None
    firsts: Integers
    lengths: Integers
    known_firsts: Integers
    known_lengths: Integers
    static: Floats | None
    categories: Array | None
    starts: Times | None
    step: Any
    columns: dict[str, Any]
    names: tuple[str, ...]

    def __init__(
        self,
        series: Any,
        *,
        known: Any = None,
        static: Any = None,
        categories: Any = None,
        times: Any = None,
        names: Sequence[str | int] | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> None:
        parts = panel_checks.check_series(series)
        self.names = panel_checks.check_names(names, len(parts))
        self.columns = panel_checks.check_columns(columns)
        self.numbers, self.lengths = panel_checks.join_series(
            parts, self.names, self.columns["target"]
        )
        self.firsts = np.cumsum(self.lengths) - self.lengths
        self.known_numbers, self.known_lengths = panel_checks.join_known(
            known, self.lengths, self.names, self.columns
        )
        self.known_firsts = np.cumsum(self.known_lengths) - self.known_lengths
        self.static = panel_checks.check_static(static, self.names, self.columns)
        self.categories = panel_checks.check_categories(categories, self.names, self.columns)
        self.starts, self.step = panel_checks.check_times(
            times, self.lengths, self.known_lengths, self.names
        )
        self._seal()

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        target: Name,
        group: Name | None = None,
        time: Name | None = None,
        known: Names = (),
        static: Names = (),
        categories: Names = (),
        step: np.timedelta64 | None = None,
        end: Any = None,
    ) -> Panel:
        """Return the panel of a data frame with a row for each step of each series.

        Parameters
        ----------
        frame : data frame
            Of pandas, polars or a similar library: any object with ``frame.columns`` and
            ``frame[name].to_numpy()``.
        target : str or int
            The column of the numbers, by name, or by position where no column has that name.
            Missing values are NaN, None, and those of the library.
        group : str or int, optional
            The column that names the series of each row. Series are in the order in which they
            appear. None: all rows are one series.
        time : str or int, optional
            The column of times: datetime64, dates, or texts as 2024-02-29. Steps without a row
            become missing numbers. None: the rows of a series are its steps.
        known, static, categories : str, int or sequence of these, default ()
            The columns of covariates, and of numbers and categories that are the same in all rows
            of a series.
        step : timedelta64, optional
            The time between two steps. None: the smallest one between two rows. With a step of days
            or less, first and last days of months are days, too, and not months.
        end : datetime64 or str, optional
            The time of the last step of the past: later rows are the future, of which the
            covariates are read alone. It is compared with the times as they are in the rows. None:
            with `known`, a series ends with the last number of its target, and without with its
            last row.

        Returns
        -------
        Panel
            It shares no memory with the frame.

        Raises
        ------
        TypeError
            `frame` is not a data frame.
        ValueError
            An unknown column, one that is the target and another one, a value that is no number or
            no time, times that are out of order, doubled or no whole steps apart, or as the class
            raises. Messages count rows from 0.

        Warns
        -----
        AbsentRowsWarning
            Steps without a row have become missing numbers.

        Examples
        --------
        >>> import crnn
        >>> import pandas as pd
        >>> frame = pd.DataFrame(
        ...     {
        ...         "shop": ["a", "a", "b", "b", "b"],
        ...         "day": pd.date_range("2024-01-01", "2024-01-05"),
        ...         "sold": [3, None, 5, 6, 7],
        ...     }
        ... )
        >>> crnn.data.Panel.from_frame(frame, target="sold", group="shop", time="day")
        <Panel: 2 series of 2 to 3 steps of 1 day from 2024-01-01>
        """
        roles = panel_tables.Roles(target, group, time, known, static, categories)
        return cls(**panel_tables.arranged(panel_tables.of_frame(frame, roles), step, end))

    @classmethod
    def read_csv(
        cls,
        path: str | os.PathLike[str],
        *,
        target: Name,
        group: Name | None = None,
        time: Name | None = None,
        known: Names = (),
        static: Names = (),
        categories: Names = (),
        step: np.timedelta64 | None = None,
        end: Any = None,
        delimiter: str = ",",
        na_values: Any = (),
        decimal: str = ".",
        thousands: str | None = None,
        skipfooter: int = 0,
        encoding: str = "utf-8",
        **options: Any,
    ) -> Panel:
        r"""Return the panel of a CSV file with a line for each step of each series.

        Parameters
        ----------
        path : str or path
            The name of the file. It has the column names in its first line and is read by pandas:
            ``pip install ".[data]"`` in a checkout of crnn.
        target, group, time, known, static, categories, step, end
            As for `from_frame`.
        delimiter, na_values, decimal, thousands, skipfooter, encoding, **options
            As for `crnn.data.read_csv`.

        Returns
        -------
        Panel

        Raises
        ------
        FileNotFoundError
            The file does not exist.
        ImportError
            pandas is not installed.
        ValueError
            As for `from_frame` and `crnn.data.read_csv`. Messages have the line.

        Warns
        -----
        AbsentRowsWarning
            Steps without a line have become missing numbers.

        Examples
        --------
        >>> import crnn
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "sales.csv")
        ...     with open(path, "w", encoding="utf-8") as file:
        ...         _ = file.write("shop,day,sold\na,2024-01-01,3\na,2024-01-02,\n")
        ...     panel = crnn.data.Panel.read_csv(path, target="sold", group="shop", time="day")
        >>> panel
        <Panel: 1 series of 2 steps of 1 day from 2024-01-01>
        """
        roles = panel_tables.Roles(target, group, time, known, static, categories)
        form = panel_tables.Form(
            delimiter, na_values, decimal, thousands, skipfooter, encoding, options
        )
        return cls(**panel_tables.arranged(panel_tables.of_csv(path, roles, form), step, end))

    def _seal(self) -> None:
        """Make all arrays read-only."""
        for array in vars(self).values():
            if isinstance(array, np.ndarray):
                array.flags.writeable = False

    def _part(self, index: Any, **changes: Any) -> Panel:
        """Return a panel of some series, with other values of attributes."""
        part = object.__new__(type(self))
        vars(part).update(vars(self))
        part.__dict__.pop("_positions", None)
        taken = {name: rows for name in _EACH if (rows := getattr(self, name)) is not None}
        vars(part).update({name: rows[index] for name, rows in taken.items()})
        part.names = tuple(np.array(self.names, object)[index])
        vars(part).update(changes)
        part._seal()
        return part

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._seal()

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Panel]:
        return (self[position] for position in range(len(self)))

    def __getitem__(self, key: Any) -> Panel:
        if isinstance(key, slice):
            index = np.arange(len(self))[key]
        else:
            keys = [key] if np.ndim(key) == 0 else self._listed(key)
            index = np.array([self._position(one) for one in keys], np.int64)
        if not index.size:
            raise ValueError("expected at least one series of the panel, got none")
        if np.unique(index).size < index.size:
            raise ValueError("expected each series of the panel at most once, got one twice")
        return self._part(index)

    def _listed(self, keys: Any) -> Any:
        """Return names and positions as a list; those of the True ones of a mask (n,)."""
        array = np.asarray(keys)
        if array.dtype != bool:
            return keys
        if array.shape != (len(self),):
            raise IndexError(f"expected booleans of shape (n={len(self)},), got {array.shape}")
        return np.flatnonzero(array)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.names)}

    def _position(self, key: Any) -> int:
        """Return the position of a series from its name or a position."""
        if isinstance(key, str):
            if key not in self._positions:
                raise KeyError(f"expected the name of one of {len(self)} series, got {key!r:.60}")
            return self._positions[key]
        if isinstance(key, bool | np.bool_) or not isinstance(key, int | np.integer):
            raise TypeError(f"expected names, positions or a slice of series, got {key!r:.60}")
        if not -len(self) <= key < len(self):
            raise IndexError(f"expected a position of one of {len(self)} series, got {key}")
        return int(key) % len(self)

    @property
    def series(self) -> list[Floats]:
        """Numbers (T_i,) of each series, as views of the store."""
        ends = self.firsts + self.lengths
        return [self.numbers[a:b] for a, b in zip(self.firsts, ends, strict=True)]

    @property
    def known(self) -> list[Floats] | None:
        """Covariates (T_i + H_i, F) of each series, as views of the store, or None."""
        if self.known_numbers is None:
            return None
        ends = self.known_firsts + self.known_lengths
        store = self.known_numbers
        return [store[a:b] for a, b in zip(self.known_firsts, ends, strict=True)]

    @property
    def times(self) -> list[Times] | None:
        """Times (T_i + H_i,) of the steps of each series, or None."""
        if self.starts is None:
            return None
        pairs = zip(self.starts, self.known_lengths, strict=True)
        return [start + np.arange(length) * self.step for start, length in pairs]

    def future_times(self, steps: int) -> Times:
        """Return the times of the steps after the end of each series.

        Parameters
        ----------
        steps : int
            H, the number of steps.

        Returns
        -------
        array (n, H) of datetime64
            NaT for a series without a time.

        Raises
        ------
        ValueError
            If the panel has no times.
        """
        steps = check_count("steps", steps, 52)
        if self.starts is None:
            raise ValueError("panel: expected one with times, got none: give times= to Panel")
        check_reach("steps", self.starts, self.lengths + steps, self.step, self.names)
        after = self.lengths[:, None] + np.arange(steps)
        return np.asarray(self.starts[:, None] + after * self.step)

    def until(self, steps: int) -> Panel:
        """Return the panel without the last steps of each series, as for a backtest.

        Parameters
        ----------
        steps : int
            How many steps to leave out, of each series. A series with fewer steps becomes empty.

        Returns
        -------
        Panel
            Covariates that are known in advance stay, so that they go on beyond the ends.

        Raises
        ------
        TypeError, ValueError
            `steps` is not an integer of at least 0.
        """
        lengths = np.maximum(self.lengths - check_count("steps", steps, 52), 0)
        changes = {"lengths": lengths}
        if self.known_numbers is None:
            changes["known_lengths"] = lengths.copy()
        return self._part(slice(None), **changes)

    def last(self, steps: int, *, skip: int = 0) -> Floats:
        """Return the last numbers of each series: those that `until` leaves out.

        Parameters
        ----------
        steps : int
            H, how many steps of each series.
        skip : int, default 0
            How many later steps there are behind these.

        Returns
        -------
        array (n, H) of float64
            NaN where a number is missing, or the series begins later.

        Raises
        ------
        TypeError, ValueError
            An argument is not an integer of at least 0.
        """
        steps, skip = check_count("steps", steps, 52), check_count("skip", skip, 52)
        found = np.full((len(self), steps), np.nan)
        for row, numbers in zip(found, self.series, strict=True):
            part = numbers[max(len(numbers) - skip - steps, 0) : max(len(numbers) - skip, 0)]
            row[steps - len(part) :] = part
        return found

    def vocabularies(self) -> tuple[Vocabulary, ...]:
        """Return the categories that occur, a `Vocabulary` (K symbols) for each of the C columns.

        A model keeps those of its training data.
        """
        if self.categories is None:
            return ()
        return tuple(Vocabulary(sorted(set(column))) for column in self.categories.T)

    def category_numbers(self, vocabularies: Sequence[Vocabulary]) -> Integers:
        """Return the categories of each series as numbers, from the vocabularies of a model.

        Parameters
        ----------
        vocabularies : sequence of C Vocabulary
            Of each column.

        Returns
        -------
        array (n, C) of int64

        Raises
        ------
        ValueError
            A category that is not in its vocabulary, or another number of columns. The message
            names the series and the column.
        """
        return panel_checks.number_categories(
            self.categories, vocabularies, self.names, self.columns
        )

    @never_raising
    def __repr__(self) -> str:
        low, high = int(self.lengths.min()), int(self.lengths.max())
        steps = counted(high, "step") if low == high else f"{low} to {high} steps"
        of = "" if self.step is None else f" of {duration(self.step)}"
        begin = ""
        if self.starts is not None and not np.isnat(self.starts).all():
            begin = f" from {moment(np.nanmin(self.starts))}"
        parts = {"known": self.known_numbers, "static": self.static, "categories": self.categories}
        names = with_names(name for name, value in parts.items() if value is not None)
        text = f"{len(self)} series of {steps}{of}{begin}{names}"
        return f"<{type(self).__name__}: {text}>"
