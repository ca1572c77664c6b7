"""Times of steps: features of the calendar, and times that are evenly apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.arrays import Array, Floats, as_array

Times: TypeAlias = NDArray[np.datetime64]

_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")
_EXACT = ("D", "h", "m", "s", "ms", "us", "ns")  # units of which each is a multiple of the next
_CLOCK = _UNITS[4:]
_FINE = _UNITS[9:]  # units that hold a few centuries or less
_SPAN = ("0001-01-01", "9999-12-31")  # times are in these years
_WORDS = {"Y": "year", "M": "month", "W": "week", "D": "day", "h": "hour", "m": "minute"}
_WORDS |= {"s": "second"}
# NumPy reads more texts, such as "17" (a year), "today" and time zones.
_TIME = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d{1,9})?)?)?)?)?)?")


class _Feature(NamedTuple):
    """Feature of the calendar: the coarsest unit that has it, and its number from 0 to most."""

    unit: str
    number: Callable[[Times], Any]
    most: int


def _part(unit: str, whole: str) -> Callable[[Times], Any]:
    """Return a function that counts units since the begin of the whole unit that has them."""

    def number(times: Times) -> Any:
        begin = times.astype(f"datetime64[{whole}]").astype(f"datetime64[{unit}]")
        return (times.astype(f"datetime64[{unit}]") - begin).astype(np.int64)

    return number


def _weekday(times: Times) -> Any:
    days = times.astype("datetime64[D]").astype(np.int64)
    return (days + 3) % 7  # 1970-01-01 was a Thursday


_FEATURES = {
    "hour": _Feature("h", _part("h", "D"), 23),
    "weekday": _Feature("D", _weekday, 6),
    "monthday": _Feature("D", _part("D", "M"), 30),
    "yearday": _Feature("D", _part("D", "Y"), 365),
    "month": _Feature("M", _part("M", "Y"), 11),
}

#: Names of the features of `calendar`.
CALENDAR = tuple(_FEATURES)


def calendar(times: ArrayLike, *names: str) -> Floats:
    """Return features of the calendar in [-1/2, 1/2], as covariates that are known in advance.

    Parameters
    ----------
    times : array (T,) of datetime64
        The time of each step. Texts as "2024-02-29" and dates of Python are converted.
    *names : {"hour", "weekday", "monthday", "yearday", "month"}
        k features, in the order of the columns: hour / 23 - 1/2; weekday / 6 - 1/2, with 0 for
        Monday; (day - 1) / 30 - 1/2; (day of the year - 1) / 365 - 1/2; (month - 1) / 11 - 1/2.

    Returns
    -------
    array (T, k) of float64

    Raises
    ------
    ValueError
        If no name or an unknown one is given, a time is NaT or no time, or the unit of the times is
        too coarse for a feature: months have no weekday.
    TypeError
        If `times` are not times.

    Notes
    -----
    The features are those of GluonTS, as in Salinas et al., "DeepAR" (2017). Times have no time
    zone. Holidays are columns of the user.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> days = np.arange("2024-02-28", "2024-03-02", dtype="datetime64[D]")
    >>> crnn.data.calendar(days, "weekday", "monthday").round(2)
    array([[-0.17,  0.4 ],
           [ 0.  ,  0.43],
           [ 0.17, -0.5 ]])
    """
    if not names:
        raise ValueError(f"names: expected at least one of {_listed(_FEATURES)}, got none")
    for name in names:
        if name not in _FEATURES:
            raise ValueError(f"names: expected some of {_listed(_FEATURES)}, got {name!r:.60}")
    stamps = as_times("times", times)
    for name in names:
        if _UNITS.index(_unit(stamps)) < _UNITS.index(_FEATURES[name].unit):
            raise ValueError(
                f"times: expected datetime64[{_FEATURES[name].unit}] or a finer unit for "
                f"{name!r}, got {stamps.dtype}"
            )
    features = np.empty((len(stamps), len(names)))
    for column, name in enumerate(names):
        features[:, column] = _FEATURES[name].number(stamps) / _FEATURES[name].most - 0.5
    return features


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names))


def _unit(times: Times) -> str:
    """Return the unit of times; "W" for a multiple as 2 weeks."""
    return np.datetime_data(times.dtype)[0]


def as_times(name: str, value: Any) -> Times:
    """Return times (T,) of datetime64 with a unit, none of them NaT, or raise.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    value : array_like
        Array of datetime64, or texts or dates.
    """
    array = as_array(name, value)
    if array.ndim == 1 and (array.dtype.kind in "UOT" or array.size == 0):
        array = parse_times(array, lambda i: f"{name}: step {i}")
    if array.dtype.kind != "M" or array.ndim != 1:
        raise TypeError(
            f"{name}: expected datetime64 of shape (T,), got {array.dtype} of shape {array.shape}"
        )
    if np.isnat(array).any():
        raise ValueError(f"{name}: expected times, got NaT at step {np.isnat(array).argmax()}")
    if _unit(array) == "generic":
        raise TypeError(f"{name}: expected datetime64 with a unit, got {array.dtype}")
    if _unit(array) not in _FINE:
        low, high = (np.datetime64(end).astype(array.dtype) for end in _SPAN)
        wrong = (array < low) | (array > high)
        if wrong.any():
            raise ValueError(
                f"{name}: step {int(wrong.argmax())}: expected a time of the years 1 to 9999, got "
                f"{array.dtype} number {int(array[wrong.argmax()].astype(np.int64))}"
            )
    return array


def in_unit(name: str, times: Times, unit: Any) -> Times:
    """Return times in a finer or an equal unit, or raise if that cannot hold them.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    times : array (T,) of datetime64
    unit : dtype of datetime64
    """
    try:
        same = times.astype(unit)
        wrong = same.astype(times.dtype) != times
    except OverflowError:
        same, wrong = times, np.ones(len(times), bool)
    if wrong.any():
        raise ValueError(
            f"{name}: expected times that {np.dtype(unit)} can hold, "
            f"got {moment(times[wrong.argmax()])}"
        )
    return same


def check_reach(name: str, starts: Times, steps: Any, step: Any, names: Sequence[str]) -> None:
    """Raise if a series would go on beyond the times that its unit, or the year 9999, can hold.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    starts : array (n,) of datetime64
        Time of the first step of each series; NaT where it is not known.
    steps : array (n,) of integers, or int
        How many steps each series has.
    step : timedelta64
        Time between two steps.
    names : sequence of n str
        Names of the series.
    """
    unit: Any
    last = 2**63 - 1
    if _unit(starts) not in _FINE:
        last = int(np.datetime64(_SPAN[1]).astype(starts.dtype).astype(np.int64))
    unit, multiple = np.datetime_data(starts.dtype)
    apart = step.astype(np.dtype(f"timedelta64[{multiple}{unit}]")).astype(np.uint64)
    counts = np.broadcast_to(np.asarray(steps, np.int64), starts.shape)
    room = (np.uint64(last) - starts.astype(np.int64).astype(np.uint64)) // apart
    short = ~np.isnat(starts) & (np.maximum(counts - 1, 0).astype(np.uint64) > room)
    if short.any():
        i = int(short.argmax())
        raise ValueError(
            f"{name}: series {names[i]!r}: expected times up to "
            f"{moment(np.datetime64(last * multiple, unit))}, got {counts[i]} steps of "
            f"{duration(step)} from {moment(starts[i])}"
        )


def parse_times(texts: Any, place: Callable[[int], str]) -> Times:
    """Return texts or dates of Python as times, in the finest unit among them.

    Parameters
    ----------
    texts : sequence of str, dates or times
        ISO 8601, without a time zone.
    place : callable
        Returns the place of the text number i, with which an error message begins.
    """
    words = [str(text).strip() for text in texts]
    if not words:
        return np.array([], "datetime64[D]")
    if all(map(_TIME.fullmatch, words)):
        try:
            times: Times = np.array(words, "datetime64")
        except ValueError:  # a 13th month
            pass
        else:
            _check_parsed(times, words, place)
            return times
    wrong = next(i for i, word in enumerate(words) if not _is_time(word))
    raise ValueError(
        f"{place(wrong)}: expected a time as 2024-02-29 or 2024-02-29T18:30, without a "
        f"time zone, got {words[wrong]!r:.60}; pandas.to_datetime reads other forms"
    )


def _check_parsed(times: Times, words: list[str], place: Callable[[int], str]) -> None:
    """Raise if the finest unit among texts cannot hold one of them: NumPy returns another time."""
    if _unit(times) in _FINE:
        whole = np.array([word[:19] for word in words], "datetime64[s]")
        wrong = times.astype("datetime64[s]") != whole
        if wrong.any():
            at = int(wrong.argmax())
            raise ValueError(
                f"{place(at)}: expected a time that {times.dtype} can hold, the unit of the finest "
                f"one, got {words[at]!r:.60}"
            )


def _is_time(word: str) -> bool:
    if not _TIME.fullmatch(word):
        return False
    try:
        np.datetime64(word)
    except ValueError:
        return False
    return True


def moment(time: Any) -> str:
    """Return a time as a text, without the zeros at its end."""
    return str(np.datetime_as_string(time, unit="auto") if _unit(time) in _CLOCK else time)


def duration(step: Any) -> str:
    """Return a length of time in words: "1 day", "15 minutes"."""
    unit: Any
    coarse: Any
    unit, multiple = np.datetime_data(step.dtype)
    count = int(step.astype(np.int64)) * multiple
    for coarse in _EXACT[: _EXACT.index(unit)] if unit in _EXACT else ():
        whole = np.timedelta64(1, coarse) // np.timedelta64(1, unit)
        if count % whole == 0:
            unit, count = coarse, int(count // whole)
            break
    return f"{count} {_WORDS.get(unit, unit)}{'' if count == 1 or unit not in _WORDS else 's'}"


def in_coarse_unit(times: Times, *, months: bool = True) -> Times:
    """Return the same times in the coarsest unit that holds all of them.

    Times that are all the first days of months, or all the last ones, at midnight, are months,
    unless `months` is false.
    """
    if not len(times) or _unit(times) not in _EXACT or np.datetime_data(times.dtype)[1] != 1:
        return times
    for unit in _EXACT[: _EXACT.index(_unit(times)) + 1]:
        coarse = times.astype(f"datetime64[{unit}]")
        if (coarse.astype(times.dtype) == times).all():
            break
    return _in_months(coarse) if unit == "D" and months else coarse


def _in_months(days: Times) -> Times:
    for shift in (0, 1):  # the day after the last one of a month is a first one
        months = (days + np.timedelta64(shift, "D")).astype("datetime64[M]")
        if (months.astype("datetime64[D]") == days + np.timedelta64(shift, "D")).all():
            return np.asarray(months - np.timedelta64(shift, "M"))
    return days


class Distances(NamedTuple):
    """Distances between neighbours among the times of many series.

    Parameters
    ----------
    distance : array (m,) of timedelta64
        Time of a step less that of the step before.
    place : array (m,) of int64
        Index of the later one among all times.
    """

    distance: Array
    place: Array


def distances(times: Times, lengths: Array) -> Distances:
    """Return the distances within series.

    Parameters
    ----------
    times : array (N,) of datetime64
        Times of all series, one series after another.
    lengths : array (n,) of int64
        Number of times of each series.
    """
    begins = np.cumsum(lengths) - lengths
    inside = np.ones(len(times), bool)
    inside[begins[lengths > 0]] = False
    place = np.flatnonzero(inside)
    distance = times[place] - times[place - 1]
    wrapped = (distance > np.timedelta64(0)) != (times[place] > times[place - 1])
    if wrapped.any():
        at = int(place[wrapped.argmax()])
        raise ValueError(
            f"times: expected neighbours whose distance {times.dtype} can hold, got "
            f"{moment(times[at])} after {moment(times[at - 1])}"
        )
    return Distances(distance, place)


def join_times(times: Sequence[Times]) -> Times:
    """Return the times of all series, one series after another, in one unit."""
    filled = [part for part in times if len(part)]
    if not filled:
        return np.array([], "datetime64[D]")
    unit = np.result_type(*(part.dtype for part in filled))
    return in_coarse_unit(np.concatenate([in_unit("times", part, unit) for part in filled]))
