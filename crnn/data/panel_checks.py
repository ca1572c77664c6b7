"""Checks of the arguments and of the contents of panels: messages name series, column and step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, Floats, as_array, described
from crnn.common.checks import check_array
from crnn.data.times import (
    Times,
    as_times,
    check_reach,
    distances,
    duration,
    in_unit,
    join_times,
    moment,
)
from crnn.data.vocabulary import Vocabulary

Integers = NDArray[np.int64]
Columns = dict[str, Any]

MONTHS = ("Y", "M")  # units that are not whole days
_LARGEST = 1e30  # size of a number; products of two of them overflow in float32


class Located:
    """Places in a store that has the steps of many series one after another.

    Parameters
    ----------
    names : sequence of n str
        Names of the series.
    lengths : array (n,) of int64
        Number of steps of each.
    """

    def __init__(self, names: Sequence[str], lengths: Integers) -> None:
        self._names, self._ends, self._lengths = names, np.cumsum(lengths), lengths

    def __call__(self, place: int, column: str | None = None) -> str:
        """Return series, column and step of a place as text."""
        series = int(np.searchsorted(self._ends, place, side="right"))
        step = place - int(self._ends[series] - self._lengths[series])
        return f"series {self._names[series]!r}{_titled(column)}, step {step}"


def _titled(column: str | None) -> str:
    return "" if column is None else f", column {column!r}"


def check_series(series: Any) -> list[Any]:
    """Return the series as a list, or raise."""
    if hasattr(series, "columns"):
        raise TypeError(
            f"series: expected a list of arrays, got {type(series).__name__}; Panel.from_frame "
            f"reads data frames"
        )
    parts = _listed("series", series, "arrays")
    if not parts:
        raise ValueError("series: expected at least one, got none")
    return parts


def _listed(argument: str, values: Any, what: str) -> list[Any]:
    """Return several values as a list, or raise."""
    is_one = isinstance(values, str | bytes | Mapping) or getattr(values, "ndim", 1) == 0
    if is_one or not hasattr(values, "__iter__"):
        raise TypeError(f"{argument}: expected a list of {what}, got {values!r:.60}")
    return list(values)


def check_names(names: Any, count: int) -> tuple[str, ...]:
    """Return the names of n series as texts, or raise."""
    if names is None:
        return tuple(map(str, range(count)))
    listed = [names] if isinstance(names, str) else _listed("names", names, "strings")
    for name in listed:
        if isinstance(name, bool) or not isinstance(name, str | int | np.integer):
            raise TypeError(f"names: expected strings or integers, got {name!r:.60}")
    texts = tuple(map(str, listed))
    if len(texts) != count:
        raise ValueError(f"names: expected {count}, one for each series, got {len(texts)}")
    if len(set(texts)) < count:
        twice = next(name for name, times in Counter(texts).items() if times > 1)
        raise ValueError(f"names: expected distinct names, got {twice!r} twice")
    return texts


def check_columns(columns: Any) -> Columns:
    """Return the names of columns, of which those of arrays may be left out, or raise."""
    titles: Columns = {"target": None, "known": (), "static": (), "categories": ()}
    columns = {} if columns is None else columns
    if not isinstance(columns, Mapping) or not columns.keys() <= titles.keys():
        raise ValueError(f"columns: expected a mapping of {list(titles)}, got {columns!r:.100}")
    for role, value in columns.items():
        if isinstance(value, str) and role != "target":
            value = [value]
        if role != "target":
            value = () if value is None else _listed(f"columns: {role!r}", value, "strings")
            value = tuple(map(str, value))
            if len(set(value)) < len(value):
                raise ValueError(f"columns: expected distinct names for {role!r}, got {value}")
        titles[role] = value
    if titles["target"] is not None and not isinstance(titles["target"], str):
        raise TypeError(f"columns: expected a string for 'target', got {titles['target']!r:.60}")
    return titles


def _name_columns(columns: Columns, role: str, count: int) -> None:
    """Put numbers in place of names that are left out; raise for another number of names."""
    titles = columns[role] or tuple(map(str, range(count)))
    if len(titles) != count:
        raise ValueError(f"columns: expected {count} names for {role!r}, got {len(titles)}")
    columns[role] = titles


def _numbers(argument: str, name: str, value: Any, ndims: tuple[int, ...]) -> Floats:
    """Return real numbers as float64; NaN where a masked array has none."""
    if isinstance(value, np.ma.MaskedArray):
        value = np.ma.filled(value.astype(np.float64), np.nan)
    array = as_array(f"{argument}: series {name!r}", value)
    if array.size == 0 and array.ndim in ndims:
        array = array.astype(np.float64)
    if array.dtype.kind not in "biuf" or array.ndim not in ndims:
        shape = "(T,)" if ndims == (1,) else "(T, F)"
        raise TypeError(
            f"{argument}: series {name!r}: expected real numbers of shape {shape}, "
            f"got {described(array)}"
        )
    return array.astype(np.float64, copy=False)


def join_series(
    parts: Sequence[Any], names: Sequence[str], target: str | None
) -> tuple[Floats, Integers]:
    """Return the numbers of all series one after another, and the length of each, or raise."""
    arrays = [_numbers("series", name, part, (1,)) for name, part in zip(names, parts, strict=True)]
    lengths = np.array([len(array) for array in arrays], np.int64)
    store = np.concatenate(arrays)
    if np.isinf(store).any():
        place = int(np.isinf(store).argmax())
        where = Located(names, lengths)(place, target)
        raise ValueError(f"{where}: expected a finite number or NaN, got {store[place]}")
    return store, lengths


def join_known(
    known: Any, lengths: Integers, names: Sequence[str], columns: Columns
) -> tuple[Floats | None, Integers]:
    """Return the covariates of all series one after another, and their lengths, or raise."""
    if known is None:
        _name_columns(columns, "known", 0)
        return None, lengths.copy()
    given = _listed("known", known, "arrays")
    if len(given) != len(names):
        raise ValueError(f"known: expected {len(names)}, one for each series, got {len(given)}")
    arrays = [
        _numbers("known", name, part, (1, 2)) for name, part in zip(names, given, strict=True)
    ]
    arrays = [array[:, None] if array.ndim == 1 else array for array in arrays]
    F = max((array.shape[1] for array in arrays if len(array)), default=arrays[0].shape[1])
    _check_some_columns("known", F)
    _name_columns(columns, "known", F)
    for name, array, length in zip(names, arrays, lengths, strict=True):
        if array.shape[1] != F and len(array):
            raise ValueError(
                f"known: series {name!r}: expected F={F} columns as in other series, "
                f"got {array.shape[1]}"
            )
        if len(array) < length:
            raise ValueError(_too_early(name, columns["known"], len(array), f"T={length}"))
    store = np.concatenate([array if len(array) else np.empty((0, F)) for array in arrays])
    extents = np.array([len(array) for array in arrays], np.int64)
    if not np.isfinite(store).all():
        place, column = (int(i) for i in np.argwhere(~np.isfinite(store))[0])
        where = Located(names, extents)(place, columns["known"][column])
        raise ValueError(f"known: {where}: expected a finite number, got {store[place, column]}")
    return store, extents


def _check_some_columns(argument: str, count: int) -> None:
    if not count:
        raise ValueError(f"{argument}: expected at least one column, got none")


def _too_early(name: str, titles: Sequence[str], got: int, expected: str) -> str:
    listed = ", ".join(map(repr, titles))
    return (
        f"known: series {name!r}: expected numbers of at least {expected} steps in the columns "
        f"{listed}, got {got}: the first missing step is {got}"
    )


def check_static(static: Any, names: Sequence[str], columns: Columns) -> Floats | None:
    """Return numbers of each series (n, F'), or raise."""
    if static is None:
        _name_columns(columns, "static", 0)
        return None
    n = ("n", len(names))
    array = check_array("static", static, "real numbers", (n, "F"), (n,)).astype(np.float64)
    array = array[:, None] if array.ndim == 1 else array
    _check_some_columns("static", array.shape[1])
    _name_columns(columns, "static", array.shape[1])
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(
            f"static: series {names[row]!r}{_titled(columns['static'][column])}: expected a finite "
            f"number, got {array[row, column]}"
        )
    return array


def check_categories(categories: Any, names: Sequence[str], columns: Columns) -> Array | None:
    """Return categories (n, C) as texts, or raise."""
    if categories is None:
        _name_columns(columns, "categories", 0)
        return None
    array = as_array("categories", categories)
    if array.ndim not in (1, 2) or len(array) != len(names):
        raise ValueError(
            f"categories: expected shape (n={len(names)}, C) or (n={len(names)},), "
            f"got shape {array.shape}"
        )
    array = array[:, None] if array.ndim == 1 else array
    _check_some_columns("categories", array.shape[1])
    _name_columns(columns, "categories", array.shape[1])
    texts = np.empty(array.shape, object)
    for (row, column), value in np.ndenumerate(array):
        if isinstance(value, bool | np.bool_) or not isinstance(value, str | int | np.integer):
            raise TypeError(
                f"categories: series {names[row]!r}{_titled(columns['categories'][column])}: "
                f"expected a string or an integer, got {value!r:.60}"
            )
        texts[row, column] = str(value)
    return texts


def number_categories(
    categories: Array | None,
    vocabularies: Sequence[Vocabulary],
    names: Sequence[str],
    columns: Columns,
) -> Integers:
    """Return categories (n, C) as numbers, or raise for one that is not in its vocabulary."""
    count = 0 if categories is None else categories.shape[1]
    if count != len(vocabularies):
        raise ValueError(f"categories: expected {len(vocabularies)} columns, got {count}")
    numbers = np.empty((len(names), count), np.int64)
    for column, vocabulary in enumerate(vocabularies):
        assert categories is not None
        known = {symbol: number for number, symbol in enumerate(vocabulary.symbols)}
        other = None if vocabulary.unknown is None else known[vocabulary.unknown]
        for row, value in enumerate(categories[:, column]):
            number = known.get(value, other)
            if number is None:
                raise ValueError(
                    f"categories: series {names[row]!r}"
                    f"{_titled(columns['categories'][column])}: expected one of the "
                    f"{len(vocabulary)} categories of the training data, got {value!r:.60}"
                )
            numbers[row, column] = number
    return numbers


def check_times(
    times: Any, lengths: Integers, extents: Integers, names: Sequence[str]
) -> tuple[Times | None, np.timedelta64 | None]:
    """Return the time of the first step of each series, and the time between steps, or raise.

    Parameters
    ----------
    times : as for Panel
        Times, or a pair of start and step.
    lengths, extents : array (n,) of int64
        T_i and T_i + H_i.
    names : sequence of n str
        Names of the series.
    """
    if times is None:
        return None, None
    if isinstance(times, tuple) and len(times) == 2 and isinstance(times[1], _STEPS):
        starts, step = _from_pair(times[0], _as_step(times[1]), len(names))
        check_reach("times", starts, extents, step, names)
        return starts, step
    given = _listed("times", times, "arrays, or a pair (start, step)")
    if len(given) != len(names):
        raise ValueError(
            f"times: expected {len(names)} arrays, one for each series, or a pair (start, step), "
            f"got {len(given)}"
        )
    stamps = [
        as_times(f"times: series {name!r}", part) for name, part in zip(names, given, strict=True)
    ]
    for name, part, length, extent in zip(names, stamps, lengths, extents, strict=True):
        if len(part) not in (length, extent):
            either = f"{length}" if length == extent else f"{length} or {extent}"
            raise ValueError(
                f"times: series {name!r}: expected {either}, one for each step, got {len(part)}"
            )
    counts = np.array([len(part) for part in stamps], np.int64)
    starts, step = _even(join_times(stamps), counts, names)
    check_reach("times", starts, extents, step, names)
    return starts, step


_STEPS = (np.timedelta64, timedelta)


def _as_step(step: Any) -> Any:
    return np.timedelta64(step)


def _from_pair(start: Any, step: np.timedelta64, count: int) -> tuple[Times, np.timedelta64]:
    unit, _ = np.datetime_data(step.dtype)
    if unit == "generic" or np.isnat(step) or not step > np.timedelta64(0):
        raise ValueError(f"times: expected a step above 0 with a unit, got {step!r}")
    starts = as_times("times", np.atleast_1d(as_array("times", start)))
    if starts.shape not in ((1,), (count,)):
        raise ValueError(f"times: expected one start or n={count}, got {len(starts)}")
    if unit in MONTHS:
        months = starts.astype("datetime64[M]")
        if (months.astype(starts.dtype) != starts).any():
            wrong = starts[months.astype(starts.dtype) != starts][0]
            raise ValueError(
                f"times: expected first days of months as starts of steps of "
                f"{duration(step)}, got {moment(wrong)}"
            )
        starts, step = months, step.astype("timedelta64[M]")
    common = np.result_type(starts.dtype, np.dtype(f"datetime64[{_whole(step)}]"))
    starts = in_unit("times", starts, common)
    return np.broadcast_to(starts, (count,)).copy(), step


def _whole(step: Any) -> str:
    """Return the unit of a step as datetime64 and timedelta64 write it."""
    unit, multiple = np.datetime_data(step.dtype)
    return f"{multiple}{unit}"


def _even(times: Times, counts: Integers, names: Sequence[str]) -> tuple[Times, np.timedelta64]:
    located = Located(names, counts)
    apart = distances(times, counts)
    check_order(times, apart.distance, apart.place, located)
    if not len(apart.distance):
        raise ValueError(
            "times: expected at least two steps in one series; give a pair (start, step) otherwise"
        )
    step = apart.distance[0]
    if (apart.distance != step).any():
        at = int((apart.distance != step).argmax())
        place = int(apart.place[at])
        raise ValueError(
            f"times: {located(place)}: expected times that are evenly apart, by "
            f"{duration(step)}, got {moment(times[place])} after {moment(times[place - 1])}; "
            f"Panel.from_frame fills steps that are absent"
        )
    starts = np.full(len(names), "NaT", times.dtype)
    starts[counts > 0] = times[(np.cumsum(counts) - counts)[counts > 0]]
    return starts, step


def check_order(times: Times, distance: Array, place: Array, where: Any) -> None:
    """Raise for a time that is not later than the one before it."""
    wrong = distance <= np.timedelta64(0)
    if wrong.any():
        at = int(place[wrong.argmax()])
        got = (
            f"{moment(times[at])} twice"
            if times[at] == times[at - 1]
            else f"{moment(times[at])} after {moment(times[at - 1])}"
        )
        raise ValueError(f"times: {where(at)}: expected times in ascending order, got {got}")


# ------------------------------------------------------------- what a model asks of a panel


class _Panel(Protocol):
    numbers: Floats
    lengths: Integers
    known_numbers: Floats | None
    known_lengths: Integers
    static: Floats | None
    columns: Columns
    names: tuple[str, ...]

    @property
    def series(self) -> list[Floats]: ...

    @property
    def known(self) -> list[Floats] | None: ...


def check_known_ahead(panel: _Panel, steps: int) -> None:
    """Raise if the covariates of a series end less than `steps` steps after it."""
    short = panel.known_lengths < panel.lengths + steps
    if panel.known_numbers is not None and short.any():
        i = int(short.argmax())
        expected = f"T + H = {panel.lengths[i]} + {steps}"
        got = int(panel.known_lengths[i])
        raise ValueError(_too_early(panel.names[i], panel.columns["known"], got, expected))


def check_counts(panel: _Panel) -> None:
    """Raise for a number that is no count, 0, 1, 2, ... 2**53, which floats hold exactly."""
    for name, numbers in zip(panel.names, panel.series, strict=True):
        wrong = (numbers < 0) | (numbers != np.floor(numbers)) & ~np.isnan(numbers)
        wrong |= numbers > 2**53
        if wrong.any():
            step = int(wrong.argmax())
            limit = "at least 0" if not numbers[step] > 2**53 else "at most 2**53"
            raise ValueError(
                f"series {name!r}{_titled(panel.columns['target'])}, step {step}: expected a "
                f"whole number of {limit}, got {numbers[step]}"
            )


def check_magnitudes(panel: _Panel) -> None:
    """Raise for a number that is too large for a network, whose numbers are float32."""
    known = () if panel.known is None else panel.known
    parts = [
        *(
            ("", name, part[:, None], (panel.columns["target"],))
            for name, part in zip(panel.names, panel.series, strict=True)
        ),
        *(
            ("known: ", name, part, panel.columns["known"])
            for name, part in zip(panel.names, known, strict=False)
        ),
    ]
    for argument, name, numbers, titles in parts:
        large = np.abs(numbers) > _LARGEST
        if large.any():
            step, column = (int(i) for i in np.argwhere(large)[0])
            raise ValueError(
                f"{argument}series {name!r}{_titled(titles[column])}, step {step}: expected a "
                f"number of at most {_LARGEST:g} in size, got {numbers[step, column]:g}"
            )
    if panel.static is not None and (np.abs(panel.static) > _LARGEST).any():
        row, column = np.argwhere(np.abs(panel.static) > _LARGEST)[0]
        raise ValueError(
            f"static: series {panel.names[row]!r}{_titled(panel.columns['static'][column])}: "
            f"expected a number of at most {_LARGEST:g} in size, got {panel.static[row, column]:g}"
        )


def check_same_columns(panel: _Panel, columns: Columns) -> None:
    """Raise unless a panel has the columns of the training data, in the same order."""
    for role in ("known", "static", "categories"):
        if tuple(panel.columns[role]) != tuple(columns[role]):
            expected, got = (
                ", ".join(map(repr, titles)) or "none"
                for titles in (columns[role], panel.columns[role])
            )
            raise ValueError(
                f"panel: expected the {role} columns of the training data: {expected}, got {got}"
            )
