"""Panels from data frames and CSV files."""

import datetime
import warnings

import numpy as np
import pytest

from crnn.data import AbsentRowsWarning, Panel

pandas = pytest.importorskip("pandas")

nan = np.nan
HOURS = np.timedelta64(1, "h")


@pytest.fixture
def file(tmp_path):
    """A function that writes a file and returns its path."""

    def write(text):
        path = tmp_path / "sales.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


SALES = """\
day,shop,region,area,sold,price,open
2024-01-01,b,north,1.5,3,9,1
2024-01-01,a,south,2,7,8,1
2024-01-02,b,north,1.5,,9.5,0
2024-01-02,a,south,2,6,8,1
2024-01-03,b,north,1.5,4,9,1
2024-01-04,b,north,1.5,,10,1
2024-01-05,b,north,1.5,,11,1
"""
ROLES = {
    "target": "sold",
    "group": "shop",
    "time": "day",
    "known": ["price", "open"],
    "static": "area",
    "categories": ["region"],
}


def of_text(text, **options):
    """Return the panel of a frame that is read from the text of a CSV file."""
    import io

    return Panel.from_frame(pandas.read_csv(io.StringIO(text)), **options)


def check_sales(panel):
    assert panel.names == ("b", "a")
    np.testing.assert_array_equal(panel.series[0], [3, nan, 4])  # later rows are the future
    np.testing.assert_array_equal(panel.series[1], [7, 6])
    np.testing.assert_array_equal(panel.known[0], [[9, 1], [9.5, 0], [9, 1], [10, 1], [11, 1]])
    np.testing.assert_array_equal(panel.known[1], [[8, 1], [8, 1]])
    np.testing.assert_array_equal(panel.static, [[1.5], [2]])
    assert panel.categories.tolist() == [["north"], ["south"]]
    assert panel.starts.tolist() == [datetime.date(2024, 1, 1)] * 2
    assert panel.step == np.timedelta64(1, "D")
    assert panel.columns == {
        "target": "sold",
        "known": ("price", "open"),
        "static": ("area",),
        "categories": ("region",),
    }


def test_a_file_and_a_frame_give_the_same(file):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_sales(Panel.read_csv(file(SALES), **ROLES))
        check_sales(of_text(SALES, **ROLES))
        frame = pandas.read_csv(file(SALES), parse_dates=["day"])
        check_sales(Panel.from_frame(frame, **ROLES))
        frame["day"] = frame["day"].dt.date
        check_sales(Panel.from_frame(frame, **ROLES))
        check_sales(Panel.read_csv(file(SALES.replace(",", ";")), delimiter=";", **ROLES))


def test_without_covariates_all_rows_are_the_series(file):
    panel = Panel.read_csv(file(SALES), target="sold", group="shop", time="day")
    np.testing.assert_array_equal(panel.series[0], [3, nan, 4, nan, nan])
    assert (panel.known, panel.static, panel.categories) == (None, None, None)


def test_one_series_without_times(file):
    panel = Panel.read_csv(file("x,y\n1,5\n,6\n3,7\n"), target="x", known="y")
    np.testing.assert_array_equal(panel.series[0], [1, nan, 3])
    assert (panel.names, panel.times) == (("0",), None)
    np.testing.assert_array_equal(of_text("x,y\n1,5\n", target=1).series[0], [5])


def test_a_series_of_the_future_alone_is_empty(file):
    panel = Panel.read_csv(file("s,x,y\na,1,5\nb,,6\nb,,7\n"), target="x", group="s", known="y")
    np.testing.assert_array_equal(panel.lengths, [1, 0])
    np.testing.assert_array_equal(panel.known[1], [[6], [7]])


def test_a_common_end_of_the_past(file):
    panel = Panel.read_csv(file(SALES), end="2024-01-02", **ROLES)
    np.testing.assert_array_equal(panel.series[0], [3, nan])
    np.testing.assert_array_equal(panel.series[1], [7, 6])
    np.testing.assert_array_equal(panel.known_lengths, [5, 2])
    later = Panel.read_csv(file(SALES), end=np.datetime64("2024-01-04"), **ROLES)
    np.testing.assert_array_equal(later.series[0], [3, nan, 4, nan])
    plain = {"target": "sold", "group": "shop", "time": "day"}
    np.testing.assert_array_equal(of_text(SALES, end="2024-01-03", **plain).lengths, [3, 2])
    np.testing.assert_array_equal(of_text(SALES, end="2023", **plain).lengths, [0, 0])
    with pytest.raises(ValueError, match="end: expected time= with it, got None"):
        of_text("x\n1\n", target="x", end="2024-01-01")
    with pytest.raises(ValueError, match="end: step 0: expected a time as"):
        of_text(SALES, end="soon", **plain)


def test_forms_of_numbers(file):
    path = file("x;k\n1,5;1.000,25\n-9;2\n")
    options = {"delimiter": ";", "decimal": ",", "thousands": ".", "na_values": -9}
    panel = Panel.read_csv(path, target="x", known="k", **options)
    np.testing.assert_array_equal(panel.series[0], [1.5])
    np.testing.assert_array_equal(panel.known[0][:, 0], [1000.25, 2])


def test_absent_rows_are_missing_numbers_and_are_announced(file):
    text = "t,s,x\n2024-01-01T00,a,1\n2024-01-01T06,a,2\n2024-01-02T00,a,3\n2024-01-01T18,b,4\n"
    with pytest.warns(AbsentRowsWarning) as caught:
        panel = Panel.read_csv(file(text), target="x", group="s", time="t")
    np.testing.assert_array_equal(panel.series[0], [1, 2, nan, nan, 3])
    np.testing.assert_array_equal(panel.series[1], [4])
    assert panel.step == 6 * HOURS
    message = str(caught[0].message)
    assert message.startswith("2 of 6 steps have no row and became missing numbers, the first one")
    assert "at 2024-01-01T12:00, before series 'a'" in message
    assert "line 4, column 't'" in message
    assert caught[0].filename == __file__
    with pytest.warns(AbsentRowsWarning, match="10 of 14 steps"):
        panel = Panel.read_csv(file(text), target="x", group="s", time="t", step=2 * HOURS)
    np.testing.assert_array_equal(panel.lengths, [13, 1])
    assert panel.step == 2 * HOURS


def test_months_of_different_lengths_are_even():
    text = "t,x\n2024-01-01,1\n2024-02-01,2\n2024-03-01,3\n2024-05-01,5\n"
    with pytest.warns(AbsentRowsWarning, match="1 of 5 steps .* at 2024-04, before"):
        panel = of_text(text, target="x", time="t")
    np.testing.assert_array_equal(panel.series[0], [1, 2, 3, nan, 5])
    assert panel.starts.dtype == "M8[M]"
    quarters = of_text("t,x\n2024-03-31,1\n2024-06-30,2\n2024-09-30,3\n", target="x", time="t")
    assert quarters.step == np.timedelta64(3, "M")


MONTH_ENDS = "t,x\n2024-01-31,1\n2024-02-29,2\n2024-03-31,3\n2024-04-30,4\n"
MONTH_STARTS = "t,x\n2024-01-01,1\n2024-02-01,2\n2024-03-01,3\n2024-04-01,4\n"


@pytest.mark.parametrize(
    ("end", "of_ends", "of_starts"),
    [
        ("2024-01-30", 0, 1),
        ("2024-02-28", 1, 2),
        ("2024-02-28T23:59", 1, 2),
        ("2024-02-29", 2, 2),
        ("2024-02-29T18:00", 2, 2),
        ("2024-03-01", 2, 3),
        ("2024-02", 2, 2),
        (np.datetime64("2024-03-31", "ns"), 3, 3),
        (pandas.Timestamp("2024-03-30"), 2, 3),
        ("2030-01-01", 4, 4),
    ],
)
def test_the_end_of_the_past_of_months(end, of_ends, of_starts):
    for text, expected in ((MONTH_ENDS, of_ends), (MONTH_STARTS, of_starts)):
        panel = of_text(text, target="x", time="t", end=end)
        np.testing.assert_array_equal(panel.series[0], np.arange(1, expected + 1))


@pytest.mark.parametrize("text", [MONTH_ENDS, MONTH_STARTS])
def test_a_step_of_days_at_the_edges_of_months(text):
    options = {"target": "x", "time": "t"}
    for step in (np.timedelta64(1, "D"), np.timedelta64(24, "h"), datetime.timedelta(days=1)):
        with pytest.warns(AbsentRowsWarning, match=r"\d\d of \d\d steps have no row"):
            panel = of_text(text, step=step, **options)
        days = np.array([line[:10] for line in text.split()[1:]], "M8[D]")
        assert panel.starts[0] == days[0]
        np.testing.assert_array_equal(panel.times[0][~np.isnan(panel.series[0])], days)
    for step in (None, np.timedelta64(1, "M")):
        panel = of_text(text, step=step, **options)
        assert (panel.step, panel.lengths[0]) == (np.timedelta64(1, "M"), 4)
    with pytest.raises(ValueError, match="a whole number of steps of 1 year after 2024-01"):
        of_text(text, step=np.timedelta64(1, "Y"), **options)


@pytest.mark.parametrize("end", [["2024-01-01"], np.array(["2024-01-01", "2025"], "M8[D]"), 2024])
def test_the_end_is_one_time(end):
    with pytest.raises(TypeError, match="end: expected"):
        of_text(SALES, end=end, target="sold", group="shop", time="day")


def test_an_end_that_the_unit_of_the_times_cannot_hold():
    times = np.datetime64("2024-01-01", "ns") + np.arange(3)
    frame = pandas.DataFrame({"t": times, "x": range(3)})
    with pytest.raises(ValueError, match=r"end: .* datetime64\[ns\] can hold, got 2500-01-01"):
        Panel.from_frame(frame, target="x", time="t", end="2500-01-01")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"delimiter": ""}, ValueError, "delimiter: expected one character, got ''"),
        ({"delimiter": None}, ValueError, "delimiter: expected one character, got None"),
        ({"delimiter": "\n"}, ValueError, "delimiter: expected one character"),
        ({"encoding": "spam"}, ValueError, "encoding: expected the name of an encoding, got 's"),
        ({"encoding": 5}, ValueError, "encoding: expected the name of an encoding, got 5"),
        ({"skipfooter": -1}, ValueError, "skipfooter: expected an integer from 0"),
        ({"skipfooter": 1.5}, TypeError, "skipfooter: expected an integer from 0"),
        ({"known": None}, TypeError, "known: expected names of columns, got None"),
    ],
)
def test_the_form_of_a_file_is_checked(file, options, error, message):
    with pytest.raises(error, match=message):
        Panel.read_csv(file(SALES), **(ROLES | options))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",b,north,1.5,4", ',"b,north,1.5,4', "sales.csv: .*expected CSV: "),
        ("1.5,4", "1.5,4\0", "line 6, column 'sold': expected a finite number"),
        ("1.5,4", "1.5,1e999", "line 6, column 'sold': expected a finite number, got '1e999'"),
        ("1.5,4", "1.5,inf", "line 6, column 'sold': expected a finite number, got 'inf'"),
        ("1.5,4,9,1", "1.5,4,9", "line 6: expected 7 values, got 6"),
        ("1.5,4,9,1", "1.5,4,9,1,0", "line 6: expected 7 values, got 8"),
        ("1.5,4", '1.5,"4,5"', "line 6, column 'sold': expected a finite number, got '4,5'"),
        ("2024-01-03,b", "2024-1-3,b", "line 6, column 'day': expected a time as 2024-02-29"),
        ("2024-01-03,b", "2024-01-03T00:00+01:00,b", "line 6, column 'day': .* a time zone"),
        ("2024-01-03,b", "03.01.2024,b", "line 6, column 'day': expected a time as 2024-02-29"),
    ],
)
def test_damaged_files(file, old, new, message):
    assert old in SALES
    with pytest.raises(ValueError, match=message):
        Panel.read_csv(file(SALES.replace(old, new)), **ROLES)


def test_a_file_without_the_mark_of_its_encoding(file):
    with pytest.raises(ValueError, match=r"sales.csv: expected a text in UTF-16: "):
        Panel.read_csv(file(SALES), encoding="utf-16", **ROLES)


def test_forms_of_files(file):
    check_sales(Panel.read_csv(file("\ufeff" + SALES), **ROLES))
    german = SALES.replace(",", ";").replace(".", ",")
    check_sales(Panel.read_csv(file(german), delimiter=";", decimal=",", **ROLES))
    path = file("")
    path.write_bytes(SALES.replace("\n", "\r\n").encode("utf-16"))
    check_sales(Panel.read_csv(path, encoding="utf-16", **ROLES))


class Frame:
    """Data frame of arrays, whose columns may differ in length."""

    def __init__(self, length, **columns):
        self.columns, self._length, self._columns = list(columns), length, columns

    def __len__(self):
        return self._length

    def __getitem__(self, name):
        return pandas.Series(self._columns[name])


@pytest.mark.parametrize(("name", "length"), [("x", 2), ("t", 4), ("s", 2), ("k", 0), ("c", 5)])
def test_frames_whose_columns_differ_in_length(name, length):
    columns = {
        "x": np.ones(9),
        "t": np.arange("2024-01-01", "2024-01-10", dtype="M8[D]"),
        "s": np.array(["a"] * 9, object),
        "k": np.ones(9),
        "c": np.array(["u"] * 9, object),
    }
    columns = {key: array[: length if key == name else 3] for key, array in columns.items()}
    with pytest.raises(ValueError, match=f"frame: column '{name}': expected 3 rows, got {length}"):
        Panel.from_frame(
            Frame(3, **columns), target="x", time="t", group="s", known="k", categories="c"
        )


def test_rows_of_one_series_may_lie_apart():
    rng = np.random.default_rng(0)
    days = np.arange("2024-01-01", "2024-03-01", dtype="datetime64[D]")
    frame = pandas.DataFrame(
        {
            "s": np.repeat(["a", "b", "c"], len(days)),
            "t": np.tile(days, 3),
            "x": rng.normal(size=3 * len(days)),
        }
    )
    options = {"target": "x", "group": "s", "time": "t"}
    whole = Panel.from_frame(frame, **options)
    mixed = Panel.from_frame(frame.sort_values("t", kind="stable"), **options)
    for one, two in zip(whole.series, mixed.series, strict=True):
        np.testing.assert_array_equal(one, two)
    some = frame[(rng.random(len(frame)) < 0.7) | (frame.t == days[0]) | (frame.t == days[-1])]
    with pytest.warns(AbsentRowsWarning, match=f"{len(frame) - len(some)} of {len(frame)} steps"):
        sparse = Panel.from_frame(some, **options)
    for name, one, two in zip("abc", whole.series, sparse.series, strict=True):
        kept = np.isin(days, some.t[some.s == name].to_numpy())
        np.testing.assert_array_equal(np.where(kept, one, nan), two)


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        (SALES, {"target": "units"}, r"target: expected a column of \['day', .*, got 'units'"),
        (SALES, {"target": None}, r"target: expected a column of \['day', .*, got None"),
        (SALES, {"known": ["cost"]}, "known: expected a column of .* got 'cost'"),
        ("day,shop,region,area,sold,price,open\n", {}, "expected rows"),
        (
            SALES.replace("1.5,4", "1.5,x"),
            {},
            "(line 6|row 4), column 'sold': expected a finite number",
        ),
        (SALES.replace("9.5", ""), {}, "known: series 'b', column 'price', step 1: .* got nan"),
        (
            SALES.replace("-04,b", "-03,b"),
            {},
            "series 'b': .*(line 7|row 5), column 'day': .* ascending order, got 2024-01-03 twice",
        ),
        (SALES.replace("-04,b", "-02,b"), {}, "(line 7|row 5).* got 2024-01-02 after 2024-01-03"),
        (
            SALES.replace("01-04,b", "13-04,b"),
            {},
            "(line 7|row 5), column 'day': expected a time as",
        ),
        (
            SALES.replace("-04,b", "-04T09,b"),
            {},
            "(line 4|row 2), .*: expected a whole number of steps of 15 hours",
        ),
        (
            SALES.replace("-05,b", "-06,b"),
            {},
            "known: series 'b': .*(line 8|row 6).*: expected a row for each .* none for 2024-01-05",
        ),
        (
            SALES.replace("1.5,4", "1.6,4"),
            {},
            "(line 6|row 4), column 'area': expected 1.5, as in the first row .*, got 1.6",
        ),
        (
            SALES.replace("north,1.5,4", "west,1.5,4"),
            {},
            "(line 6|row 4), column 'region': expected 'north', .* got 'west'",
        ),
        (
            SALES.replace("south", "?"),
            {},
            r"(line 3|row 1), column 'region': expected a category, got '\?'",
        ),
        (SALES.replace("1.5", ""), {}, "column 'area': expected"),
        (SALES.replace(",b,", ",,"), {}, "column 'shop': expected the name of a group"),
        (SALES, {"step": 5 * HOURS}, "expected a whole number of steps of 5 hours"),
        (
            SALES,
            {"step": np.timedelta64(1, "M")},
            "step: expected days or a finer unit, as the times are not all the first",
        ),
        (SALES, {"step": np.timedelta64(0, "D")}, "step: expected a timedelta64 above 0"),
        (SALES, {"step": 5}, "step: expected a timedelta64 above 0"),
        (SALES, {"step": "1D"}, "step: expected a timedelta64 above 0 with a unit, got '1D'"),
        (SALES, {"step": HOURS, "time": None}, "step: expected time= with it, got"),
        (SALES, {"end": "2024-01-02T00:00Z"}, "end: step 0: .* without a time zone"),
        (SALES, {"known": ["sold"]}, "known: expected another column than the target, got 'sold'"),
        (SALES, {"static": ["sold"]}, "static: expected another column than the target"),
        (SALES, {"group": "sold"}, "group: expected another column than the target"),
        (SALES, {"known": ["price", "price"]}, "known: expected distinct columns, got"),
        (SALES, {"known": "price", "static": ["area"] * 2}, "static: expected distinct columns"),
        (SALES.replace(",1.5,", ",,"), {}, "column 'area': expected a finite number, got nan"),
    ],
)
def test_errors(file, text, changes, message):
    for read in (
        lambda **roles: Panel.read_csv(file(text), **roles),
        lambda **roles: of_text(text, **roles),
    ):
        with pytest.raises(ValueError, match=message):
            read(**ROLES | changes)


def test_a_step_that_is_much_too_short():
    text = "t,x\n2024-01-01,1\n2024-01-02,2\n2024-01-03,3\n2024-01-03T00:00:01,4\n2024-01-04,5\n"
    with pytest.raises(
        ValueError, match=r"rows for most steps of 1 second, .* 2024-01-03T00:00:01"
    ):
        of_text(text, target="x", time="t")
    with pytest.raises(ValueError, match="expected a whole number of steps of 1 day"):
        of_text(text, target="x", time="t", step=np.timedelta64(1, "D"))


def test_rows_that_show_no_step():
    with pytest.raises(ValueError, match="time: expected two rows in one series"):
        of_text("t,x\n2024-01-01,1\n", target="x", time="t")
    step = np.timedelta64(1, "D")
    assert of_text("t,x\n2024-01-02,1\n", target="x", time="t", step=step).step == step


def test_errors_of_frames():
    with pytest.raises(TypeError, match="frame: expected a data frame, got list"):
        Panel.from_frame([1, 2], target="x")
    with pytest.raises(TypeError, match="series: expected a list of arrays, got DataFrame"):
        Panel(pandas.DataFrame({"x": [1.0]}))
    frame = pandas.DataFrame({"t": [1, 2], "x": [1.0, 2.0], "c": [1.5, 2.5]})
    with pytest.raises(
        TypeError, match=r"column 't': expected datetime64 .* got int64; without time="
    ):
        Panel.from_frame(frame, target="x", time="t")
    with pytest.raises(ValueError, match="column 'c': expected strings or integers, got float64"):
        Panel.from_frame(frame, target="x", categories="c")
    frame["t"] = pandas.to_datetime(["2024-01-01", None])
    with pytest.raises(ValueError, match="frame: row 1, column 't': expected a time, got NaT"):
        Panel.from_frame(frame, target="x", time="t")
    frame["t"] = pandas.to_datetime(["2024-01-01", "2024-01-02"], utc=True)
    with pytest.raises(
        ValueError, match=r"row 0, column 't': expected a time .* without a time zone"
    ):
        Panel.from_frame(frame, target="x", time="t")


def test_categories_of_a_frame():
    frame = pandas.DataFrame({"s": ["a", "b"], "x": [1.0, 2.0], "k": [3, 4]})
    frame["c"] = pandas.Categorical(["low", "high"])
    panel = Panel.from_frame(frame, target="x", group="s", categories=["k", "c"])
    assert panel.categories.tolist() == [["3", "low"], ["4", "high"]]
