"""Features of the calendar, and times as texts."""

import datetime

import numpy as np
import pytest

from crnn.data import calendar
from crnn.data.times import duration, in_coarse_unit, moment, parse_times


def by_python(time, name):
    numbers = {
        "hour": (time.hour, 23),
        "weekday": (time.weekday(), 6),
        "monthday": (time.day - 1, 30),
        "yearday": (time.timetuple().tm_yday - 1, 365),
        "month": (time.month - 1, 11),
    }
    number, most = numbers[name]
    return number / most - 0.5


@pytest.mark.parametrize("unit", ["h", "m", "s", "us", "ns"])
def test_features_are_those_of_python(unit):
    names = ["month", "hour", "weekday", "yearday", "monthday"]
    rng = np.random.default_rng(0)
    hours = rng.integers(-(50 * 8766), 100 * 8766, 2000)  # from 1920 to 2070
    times = (np.datetime64("1970-01-01", "h") + hours).astype(f"datetime64[{unit}]")
    expected = [[by_python(time, n) for n in names] for time in times.astype("M8[s]").tolist()]
    np.testing.assert_array_equal(calendar(times, *names), expected)


def test_features_span_half_below_to_half_above():
    hours = np.arange("2023-01-01", "2025-01-01", dtype="datetime64[h]")
    found = calendar(hours, "hour", "weekday", "monthday", "yearday", "month")
    assert found.shape == (len(hours), 5)
    np.testing.assert_array_equal(found.min(axis=0), -0.5)
    np.testing.assert_array_equal(found.max(axis=0), 0.5)


def test_coarse_units_have_what_they_hold():
    months = np.arange("1969-11", "1970-03", dtype="datetime64[M]")
    np.testing.assert_allclose(calendar(months, "month")[:, 0], np.array([10, 11, 0, 1]) / 11 - 0.5)
    assert calendar(np.array([], "datetime64[D]"), "weekday").shape == (0, 1)
    np.testing.assert_array_equal(
        calendar(["2024-02-29", "2024-03-01"], "month"),
        [
            [1 / 11 - 0.5],
            [2 / 11 - 0.5],
        ],
    )
    np.testing.assert_array_equal(calendar([datetime.date(2024, 1, 1)], "weekday"), [[-0.5]])


@pytest.mark.parametrize(
    ("times", "names", "error", "message"),
    [
        (["2024-01"], [], ValueError, "names: expected at least one of 'hour', 'weekday'"),
        (["2024-01"], ["Month"], ValueError, "names: expected some of .*, got 'Month'"),
        (
            ["2024-01"],
            ["weekday"],
            ValueError,
            r"datetime64\[D\] or .* 'weekday', got datetime64\[M\]",
        ),
        (
            ["2024-01-01"],
            ["hour"],
            ValueError,
            r"datetime64\[h\] or .* 'hour', got datetime64\[D\]",
        ),
        (np.array(["2024-01-01"], "M8[W]"), ["weekday"], ValueError, r"got datetime64\[W\]"),
        (np.array(["2024", "NaT"], "M8[D]"), ["month"], ValueError, "got NaT at step 1"),
        (["2024-01-01", ""], ["month"], ValueError, "step 1: expected a time as 2024-02-29"),
        ([1, 2], ["month"], TypeError, r"times: expected datetime64 of shape \(T,\), got int64"),
        ([["2024-01-01"]], ["month"], TypeError, r"got <U10 of shape \(1, 1\)"),
    ],
)
def test_errors(times, names, error, message):
    with pytest.raises(error, match=message):
        calendar(times, *names)


@pytest.mark.parametrize(
    "text",
    [
        *("", "17", "20240101", "today", "now", "NaT", "2024-13-01", "2024-1-1", "01.02.2024"),
        *("2024-01-01T00:00Z", "2024-01-01T00:00+01:00", "2024-01-01 00:00:00+01:00"),
    ],
)
def test_texts_that_are_no_times(text):
    with pytest.raises(ValueError, match="row 1: expected a time as 2024-02-29"):
        parse_times(["2024-01-01", text], lambda i: f"row {i}")


def test_texts_of_times_have_the_finest_unit():
    times = parse_times(["2024-01-01", " 2024-01-01 06:30 "], str)
    assert times.dtype == "datetime64[m]"
    assert moment(times[1]) == "2024-01-01T06:30"
    assert moment(np.datetime64("2024-03", "M")) == "2024-03"


def test_times_in_the_coarsest_unit():
    def unit(*times):
        return np.datetime_data(in_coarse_unit(np.array(times, "M8[ns]")).dtype)[0]

    assert unit("2024-01-01", "2024-01-02") == "D"
    assert unit("2024-01-01", "2024-01-01T03") == "h"
    assert unit("2024-01-01T00:00:00.5") == "ms"
    assert unit("2024-01-01", "2024-04-01") == "M"
    assert unit("2024-01-31", "2024-02-29", "2023-02-28") == "M"
    assert unit("2024-01-31", "2024-02-28") == "D"
    ends = in_coarse_unit(np.array(["2024-01-31", "2024-02-29"], "M8[D]"))
    assert [moment(time) for time in ends] == ["2024-01", "2024-02"]


def test_lengths_of_time_in_words():
    steps = [(1, "D"), (15, "m"), (3, "M"), (2, "Y"), (5, "ms"), (1, "W")]
    words = ["1 day", "15 minutes", "3 months", "2 years", "5 ms", "1 week"]
    assert [duration(np.timedelta64(*step)) for step in steps] == words
