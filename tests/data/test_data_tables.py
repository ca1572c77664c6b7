"""CSV files and data frames."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import crnn.data.csv_file
from crnn.data import Batches, Streams, from_frame, read_csv

nan = np.nan


@pytest.fixture
def file(tmp_path):
    """A function that writes a file and returns its path."""

    def write(text, encoding="utf-8"):
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


# -------------------------------------------------------------------------------------- CSV files


def test_columns_are_read_in_the_order_of_the_argument(file):
    path = file("a,b , c\n1,2,3\n\n4,5.5,-6e2\n")
    table = read_csv(path)
    np.testing.assert_array_equal(table.x, [[1, 2, 3], [4, 5.5, -600]])
    assert table.x.dtype == np.float64
    assert table[1:] == (None, None, None, None)
    np.testing.assert_array_equal(read_csv(path, ["c", "a"]).x, [[3, 1], [-600, 4]])
    np.testing.assert_array_equal(read_csv(path, "b").x, [[2], [5.5]])


def test_targets_are_inputs_only_if_they_are_columns(file):
    path = file("a,b,c\n1,2,3\n4,5,6\n")
    x, target, *_ = read_csv(path, target="b")
    np.testing.assert_array_equal(x, [[1, 3], [4, 6]])
    np.testing.assert_array_equal(target, [[2], [5]])
    x, target, *_ = read_csv(path, ["b"], target=["b", "a"])
    np.testing.assert_array_equal(x, [[2], [5]])
    np.testing.assert_array_equal(target, [[2, 1], [5, 4]])


def test_other_columns_may_hold_anything(file):
    path = file('day;value;note;note\n2024-01-01;1;"a;\nb";\n2024-01-02; 2 ;;x\n')
    np.testing.assert_array_equal(read_csv(path, "value", delimiter=";").x, [[1], [2]])


def test_a_byte_order_mark_is_no_part_of_a_name(file):
    assert read_csv(file("a\n1\n", "utf-8-sig"), "a").x == 1


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_are_read_to_the_last_bit(tmp_path, values):
    path = tmp_path / "numbers.csv"
    path.write_text("\n".join(["a", *map(repr, values)]))
    np.testing.assert_array_equal(read_csv(path).x[:, 0], values)


def test_a_group_is_a_sequence(file):
    path = file("who,x,y\nb,1,10\na,2,20\nb ,3,30\na,4,40\nb,5,50\n")
    table = read_csv(path, target="y", group="who")
    assert table.groups == ["b", "a"]
    for x, expected in zip(table.x, ([1, 3, 5], [2, 4]), strict=True):
        np.testing.assert_array_equal(x[:, 0], expected)
    for target, expected in zip(table.target, ([10, 30, 50], [20, 40]), strict=True):
        np.testing.assert_array_equal(target[:, 0], expected)
    ((x, target, lengths),) = Batches(table.x, table.target, shuffle=False)
    np.testing.assert_array_equal(lengths, [3, 2])
    np.testing.assert_array_equal(target, 10 * x)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, r"table\.csv: expected column names in the first line, got \[\]"),
        ("1,2\n3,4\n", {}, r"table\.csv: expected column names in the first line, got \['1',"),
        ("a,b\n", {}, r"table\.csv: expected rows below the column names, got none"),
        ("a,b\n1,2\n", {"columns": "c"}, r"columns: expected a column of \['a', 'b'\], got 'c'"),
        (
            "a,b\n1,2\n",
            {"columns": []},
            r"columns: expected at least one of \['a', 'b'\], got none",
        ),
        ("a,b\n1,2\n", {"target": "c"}, r"target: expected a column of \['a', 'b'\], got 'c'"),
        ("a,b\n1,2\n", {"group": "c"}, r"group: expected a column of \['a', 'b'\], got 'c'"),
        ("a,b\n1,2\n", {"target": ["a", "b"]}, "columns: expected at least one of .* got none"),
        ("a;b\n1;2\n", {"columns": "a"}, r"columns: expected a column of \['a;b'\], got 'a'"),
        ("a,a\n1,2\n", {}, r"columns: .* \['a', 'a'\], got 'a', the name of several columns"),
        ("a,b\n1,2\n1\n", {}, r"table\.csv: line 3: expected 2 values, got 1"),
        ("a\n1\n\n2,3\n", {}, r"table\.csv: line 4: expected 1 values, got 2"),
        ("a,b\n1,2\n1,x y\n", {}, r"line 3, column 'b': expected a finite number, got 'x y'"),
        ("a,b\n1,2\n1,inf\n", {}, r"line 3, column 'b': expected a finite number, got 'inf'"),
        ("a\n1_000\n", {}, r"line 2, column 'a': expected a finite number, got '1_000'"),
        ('a,b\n"1\n",2\n3,x\n', {}, r"line 4, column 'b': expected a finite number, got 'x'"),
        (
            "a,b\n1,2\n3,\n",
            {},
            r"line 3, column 'b': the value is missing; missing= accepts drop, ",
        ),
        ("a,b\n1,2\n3,4\n", {"missing": "zero"}, "missing: expected one of error, drop, .*'zero'"),
        ("a,b\n1,2\n,4\n", {"group": "a"}, r"line 3, column 'a': expected the name of a group"),
    ],
)
def test_errors_say_where(file, text, options, message):
    with pytest.raises(ValueError, match=message):
        read_csv(file(text), **options)


def test_what_is_no_text(file, tmp_path):
    with pytest.raises(FileNotFoundError):
        read_csv(tmp_path / "nothing.csv")
    with pytest.raises(ValueError, match=r"table\.csv: expected a text in UTF-8"):
        read_csv(file("ä\n1\n", "latin-1"))
    with pytest.raises(ValueError, match=r"table\.csv: line 2: expected CSV: field larger than"):
        read_csv(file("a\n" + "1" * 200_000))


# ------------------------------------------------------------------- notations of numbers in files


def test_a_question_mark_is_a_missing_value(file):
    path = file("a,b\n1,?\n ? ,4\n")
    np.testing.assert_array_equal(read_csv(path, missing="interpolate").x, [[1, 4], [1, 4]])
    with pytest.raises(ValueError, match="line 2, column 'b': the value is missing"):
        read_csv(path)


@pytest.mark.parametrize("na_values", ["-999", -999, ["-", -999.0], ("-", "-999")])
def test_other_words_for_missing_values(file, na_values):
    path = file("a,b\n1,-999\n2,5\n3,-999.0\n")
    table = read_csv(path, missing="mask", na_values=na_values)
    np.testing.assert_array_equal(table.mask, [False, True, False])
    if not isinstance(na_values, str | int):
        assert not read_csv(file("a\n-\n"), missing="mask", na_values=na_values).mask.any()
    with pytest.raises(ValueError, match="line 2, column 'a': expected a finite number, got '-'"):
        read_csv(file("a\n-\n"), missing="mask")


def test_decimal_commas_and_thousands(file):
    path = file("day;a;b\n1;3,14;1.234.567,5\n2;-0,5e2;1.000\n3;+7;-12\n")
    expected = [[3.14, 1234567.5], [-50, 1000], [7, -12]]
    options = {"delimiter": ";", "decimal": ",", "thousands": "."}
    np.testing.assert_array_equal(read_csv(path, ["a", "b"], **options).x, expected)
    quoted = file('a,b\n"1,234.5",1\n"12,34,567",2\n"-1,000",3\n')
    table = read_csv(quoted, "a", target="b", thousands=",")
    np.testing.assert_array_equal(table.x, [[1234.5], [1234567], [-1000]])
    spaces = file("a\n1 234\n12\u202f345\n")
    with pytest.raises(ValueError, match=r"line 3, column 'a': expected a finite number, got '12"):
        read_csv(spaces, thousands=" ")


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("3,14", {}),  # a decimal comma without decimal=","
        ("3.14", {"decimal": ","}),
        ("3,14", {"thousands": ","}),  # not 314
        ("1,23,4", {"thousands": ","}),
        (",123", {"thousands": ","}),
        ("1,234.5,678", {"thousands": ","}),
        ("1,2,3", {"decimal": ","}),
        ("1.234", {"decimal": ",", "thousands": "'"}),
        ("inf", {"decimal": ","}),
        ("1_0", {"thousands": "_"}),
        ("True", {}),
    ],
)
def test_numbers_that_are_written_otherwise_are_refused(file, cell, options):
    with pytest.raises(ValueError, match=r"line 3, column 'b': expected a finite number, got '"):
        read_csv(file(f"a;b\n1;2\n3;{cell}\n"), delimiter=";", **options)


def test_lines_at_the_end_are_left_out(file):
    text = "a,b\n1,2\n3,4\nTotal: 2 rows\nFrom a, b, and c\n"
    np.testing.assert_array_equal(read_csv(file(text), skipfooter=2).x, [[1, 2], [3, 4]])
    with pytest.raises(ValueError, match=r"table\.csv: line 4: expected 2 values, got 1"):
        read_csv(file(text), skipfooter=1)
    with pytest.raises(ValueError, match=r"table\.csv: line 5: expected 2 values, got 3"):
        read_csv(file(text))


def test_everything_at_once(file):
    text = "Zeit;Wert;Gruppe\n1;1.000,5;x\n2;?;x\n3;-;y\n4;2,5;y\nQuelle: a; b; c; d\n"
    options = {"delimiter": ";", "decimal": ",", "thousands": ".", "skipfooter": 1}
    table = read_csv(
        file(text, "latin-1"),
        1,
        group=2,
        missing="mask",
        na_values="-",
        encoding="latin-1",
        **options,
    )
    assert table.groups == ["x", "y"]
    np.testing.assert_array_equal(np.concatenate(table.x)[:, 0], [1000.5, 0, 0, 2.5])
    np.testing.assert_array_equal(np.concatenate(table.mask), [True, False, False, True])


def test_further_options_are_those_of_pandas(file):
    path = file("made by hand\na,b\n1,2 # first\n# nothing\n'3',x\n")
    options = {"skiprows": 1, "comment": "#", "quotechar": "'"}
    np.testing.assert_array_equal(read_csv(path, "a", **options).x, [[1], [3]])
    with pytest.raises(
        ValueError, match=r"table\.csv: row 2, column 'b': expected a finite number"
    ):
        read_csv(path, **options)
    with pytest.raises(TypeError, match="header"):
        read_csv(path, header=1)


def test_a_long_file_is_read_in_blocks(file, monkeypatch):
    monkeypatch.setattr(crnn.data.csv_file, "_BLOCK", 3)
    lines = [f"{k},{'' if k == 8 else 10 * k}" for k in range(10)]
    path = file("\n".join(["a,b", *lines]))
    table = read_csv(path, target="b", missing="interpolate")
    np.testing.assert_array_equal(table.target, 10 * table.x)
    np.testing.assert_array_equal(table.x[:, 0], np.arange(10))
    for line, message in (
        ("10", "line 12: expected 2 values, got 1"),
        ("10,x", "line 12, column 'b': expected a finite number, got 'x'"),
    ):
        with pytest.raises(ValueError, match=message):
            read_csv(file("\n".join(["a,b", *lines, line])), missing="drop")


@pytest.mark.parametrize("target", [2, -1, [2], (2,), range(2, 3), np.array([2]), np.int64(2), "c"])
def test_columns_by_position(file, target):
    pandas = pytest.importorskip("pandas")
    path = file("a,b,c\n1,2,3\n4,5,6\n")
    for table in (
        read_csv(path, target=target),
        from_frame(pandas.read_csv(path), target=target),
        from_frame(pandas.read_csv(path, header=None, skiprows=1), target=2),
        from_frame(
            Frame(a=Frame.Column([1, 4]), b=Frame.Column([2, 5]), c=Frame.Column([3, 6])),
            target=target,
        ),
    ):
        np.testing.assert_array_equal(table.x, [[1, 2], [4, 5]])
        np.testing.assert_array_equal(table.target, [[3], [6]])
    np.testing.assert_array_equal(read_csv(path, [2, "a"]).x, [[3, 1], [6, 4]])
    assert read_csv(path, 1, group=0).groups == ["1", "4"]
    for wrong in (3, -4, True, 1.0):
        with pytest.raises(
            ValueError, match=r"target: expected a column of \['a', 'b', 'c'\], got"
        ):
            read_csv(path, target=[wrong])


def test_a_name_comes_before_a_position():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({1: [10.0], 0: [20.0]})
    assert from_frame(frame, target=1).target == 10


def test_options_that_make_no_sense(file):
    path = file("a\n1\n")
    for options, message in (
        ({"decimal": ""}, "decimal: expected one character, got ''"),
        ({"thousands": ".."}, r"thousands: expected None or one character, got '\.\.'"),
        ({"thousands": "."}, "thousands: expected another character than decimal"),
    ):
        with pytest.raises(ValueError, match=message):
            read_csv(path, **options)


def test_without_pandas_the_error_says_what_to_install(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'read_csv\(\) needs pandas: pip install ".\[data\]"'):
        read_csv(file("a\n1\n"))
    frame = Frame(a=Frame.Column([1, 2]))
    np.testing.assert_array_equal(from_frame(frame).x, [[1], [2]])  # pandas is not needed


# --------------------------------------------------------------------------------- missing values

HOLES = "a,b,c\n,1,10\n2,NA,20\n,nan,30\n8,4, \n,5,50\n"


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("interpolate", [[2, 1], [2, 2], [5, 3], [8, 4], [8, 5]]),
        ("mask", [[0, 1], [2, 0], [0, 0], [8, 4], [0, 5]]),
        ("drop", [[8, 4]]),
    ],
)
def test_missing_values(file, missing, expected):
    np.testing.assert_allclose(read_csv(file(HOLES), ["a", "b"], missing=missing).x, expected)


def test_the_last_value_is_repeated(file):
    table = read_csv(file(HOLES), ["b", "c"], missing="forward")
    np.testing.assert_array_equal(table.x, [[1, 10], [1, 20], [1, 30], [4, 30], [5, 50]])
    with pytest.raises(
        ValueError, match=r"line 2, column 'a': the value is missing, .* no value befo"
    ):
        read_csv(file(HOLES), missing="forward")


def test_missing_inputs_and_missing_targets_are_marked_separately(file):
    table = read_csv(file(HOLES), ["a", "b"], target="c", missing="mask")
    np.testing.assert_array_equal(table.mask, [False, False, False, True, False])
    assert table.mask.dtype == bool
    np.testing.assert_array_equal(table.weights, [1, 1, 1, 0, 1])
    np.testing.assert_array_equal(table.target, [[10], [20], [30], [0], [50]])
    assert read_csv(file(HOLES), ["a"], missing="mask").weights is None
    streams = Streams(
        table.x, table.target, batch_size=1, steps=3, mask=table.mask, weights=table.weights
    )
    np.testing.assert_array_equal(next(iter(streams))[3]["mask"], [[False, False, False]])


def test_nothing_is_filled_across_sequences(file):
    text = "who,a\np,1\nq,\np,3\nq,8\np,\n"
    table = read_csv(file(text), group="who", missing="interpolate")
    np.testing.assert_array_equal(table.x[0], [[1], [3], [3]])
    np.testing.assert_array_equal(table.x[1], [[8], [8]])
    with pytest.raises(ValueError, match=r"line 3, column 'a': the value is missing, .* before it"):
        read_csv(file(text), group="who", missing="forward")
    table = read_csv(file("who,a\np,\nq,1\n"), group="who", missing="drop")
    assert table.groups == ["q"]
    table = read_csv(file("who,a\np,\nq,1\n"), group="who", missing="mask")
    np.testing.assert_array_equal(np.concatenate(table.mask), [False, True])


def test_a_column_without_values(file):
    text = "who,a,b\np,1,2\nq,,2\n"
    for missing in ("interpolate", "forward"):
        with pytest.raises(ValueError, match=r"line 3, column 'a': .* no value in this column"):
            read_csv(file(text), group="who", missing=missing)
    with pytest.raises(
        ValueError, match="missing: expected at least one row without missing values, got none"
    ):
        read_csv(file("a,b\n1,\n,2\n"), missing="drop")


@given(st.lists(st.one_of(st.none(), st.integers(-9, 9)), min_size=1, max_size=30))
def test_interpolation_against_its_definition(tmp_path, values):
    path = tmp_path / "holes.csv"
    path.write_text("\n".join(["t,a", *(f"0,{'' if v is None else v}" for v in values)]))
    known = [k for k, v in enumerate(values) if v is not None]
    if not known:
        return
    for k, value in enumerate(read_csv(path, "a", missing="interpolate").x[:, 0]):
        left = max((j for j in known if j <= k), default=known[0])
        right = min((j for j in known if j >= k), default=known[-1])
        share = (k - left) / (right - left) if left < right else 0
        assert value == pytest.approx(values[left] + share * (values[right] - values[left]))


# ------------------------------------------------------------------------------------ data frames


def test_a_frame_gives_the_table_of_its_file(file):
    pandas = pytest.importorskip("pandas")
    path = file("who,a,b,c\nx,,1,10\ny,2,,20\nx,3,5,\ny,8,4,40\nx,1,1,1\n")
    frame = pandas.read_csv(path)
    for options in (
        {"columns": ["c", "b"], "missing": "interpolate"},
        {"target": "c", "group": "who", "missing": "mask"},
        {"group": "who", "missing": "drop"},
    ):
        tables = from_frame(frame, **options), read_csv(path, **options)
        for one, other in zip(*tables, strict=True):
            if isinstance(other, list):
                for a, b in zip(one, other, strict=True):
                    np.testing.assert_array_equal(a, b)
            else:
                np.testing.assert_array_equal(one, other)


def test_frames_of_all_types():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "float": [1.5, nan],
            "int": pandas.array([3, None], dtype="Int64"),
            "bool": [True, False],
            "object": [None, 7],
            "text": ["2.5", "NA"],
            0: [1, 2],
            "day": pandas.to_datetime(["2024-01-01", "2024-01-02"]),
            "word": ["a", "b"],
        }
    )
    table = from_frame(frame, ["float", "int", "bool", "object", "text", 0], missing="mask")
    np.testing.assert_array_equal(table.x, [[1.5, 3, 1, 0, 2.5, 1], [0, 0, 0, 7, 0, 2]])
    np.testing.assert_array_equal(table.mask, [False, False])
    assert from_frame(frame, [0], group="word").groups == ["a", "b"]
    for name, message in {
        "day": "frame: column 'day': expected numbers, got datetime64",
        "word": "frame: row 0, column 'word': expected a finite number, got 'a'",
        "float": "frame: row 1, column 'float': the value is missing",
        "none": "columns: expected a column of .* got 'none'",
    }.items():
        with pytest.raises(ValueError, match=message):
            from_frame(frame, name)
    with pytest.raises(ValueError, match="row 1, column 'float': expected the name of a group"):
        from_frame(frame, [0], group="float")
    with pytest.raises(ValueError, match="row 1, column 'a': expected a finite number, got inf"):
        from_frame(pandas.DataFrame({"a": [1, np.inf]}))
    with pytest.raises(ValueError, match="frame: expected rows, got none"):
        from_frame(frame[:0], [0])


class Frame(dict):
    """A data frame with nothing but the interface that `from_frame` needs."""

    class Column(list):
        def to_numpy(self):
            return np.asarray(self)

    @property
    def columns(self):
        return list(self)

    def __len__(self):
        return len(next(iter(self.values())))


def test_frames_of_other_libraries():
    frame = Frame(a=Frame.Column([1, 2, 3]), b=Frame.Column([4.0, nan, 6.0]))
    table = from_frame(frame, target="a", missing="interpolate")
    np.testing.assert_array_equal(table.x, [[4], [5], [6]])
    np.testing.assert_array_equal(table.target, [[1], [2], [3]])
    assert np.isnan(frame["b"][1])
    with pytest.raises(TypeError, match="frame: expected a data frame, got dict"):
        from_frame({"a": [1, 2]})
