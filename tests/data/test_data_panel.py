"""Panels from arrays: parts, times, categories, errors."""

import pickle

import numpy as np
import pytest

from crnn.data import Panel, Vocabulary
from crnn.data.panel_checks import check_counts, check_known_ahead, check_same_columns

nan = np.nan
MONTH = np.timedelta64(1, "M")


def months(start, count):
    return np.datetime64(start, "M") + np.arange(count)


@pytest.fixture
def panel():
    return Panel(
        [[1.0, nan, 3.0], [], [4.0, 5.0]],
        known=[[[0, 1], [2, 3], [4, 5], [6, 7]], [[8, 9], [10, 11]], [[12, 13], [14, 15]]],
        static=[[1.5, 2], [3, 4], [5, 6]],
        categories=[["n", 3], ["s", 1], ["n", 1]],
        times=[months("2024-01", 4), months("2024-03", 2), months("2023-12", 2)],
        names=["a", "b", "c"],
        columns={
            "target": "sold",
            "known": ["price", "sale"],
            "static": ["area", "age"],
            "categories": ["side", "kind"],
        },
    )


def equal(one, two):
    """Whether two panels have the same contents."""
    assert (one.names, one.columns, one.step) == (two.names, two.columns, two.step)
    for name in ("series", "known", "static", "categories", "times", "lengths", "starts"):
        a, b = getattr(one, name), getattr(two, name)
        assert (a is None) == (b is None)
        for x, y in zip([] if a is None else a, [] if b is None else b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_a_panel_has_what_it_was_made_of(panel):
    assert len(panel) == 3
    assert panel.names == ("a", "b", "c")
    np.testing.assert_array_equal(panel.series[0], [1, nan, 3])
    np.testing.assert_array_equal(panel.known[1], [[8, 9], [10, 11]])
    np.testing.assert_array_equal(panel.static, [[1.5, 2], [3, 4], [5, 6]])
    assert panel.categories.tolist() == [["n", "3"], ["s", "1"], ["n", "1"]]
    np.testing.assert_array_equal(panel.times[2], months("2023-12", 2))
    assert panel.step == MONTH
    np.testing.assert_array_equal(panel.lengths, [3, 0, 2])
    np.testing.assert_array_equal(panel.known_lengths, [4, 2, 2])
    parts = {name: getattr(panel, name) for name in ("known", "static", "categories", "times")}
    equal(panel, Panel(panel.series, names=panel.names, columns=panel.columns, **parts))
    equal(panel, pickle.loads(pickle.dumps(panel)))


def test_the_least_panel():
    panel = Panel([[1, 2, 3]])
    assert panel.names == ("0",)
    assert (panel.known, panel.static, panel.categories, panel.times) == (None,) * 4
    assert panel.numbers.dtype == np.float64
    np.testing.assert_array_equal(panel.known_lengths, panel.lengths)
    assert panel.vocabularies() == ()
    assert panel.category_numbers(()).shape == (1, 0)
    np.testing.assert_array_equal(Panel(np.ones((2, 5), np.float32)).lengths, [5, 5])
    masked = Panel([np.ma.masked_equal([1, -9, 2], -9)])
    np.testing.assert_array_equal(masked.series[0], [1, nan, 2])


def test_one_axis_is_one_column():
    panel = Panel([[1.0]], known=[[1, 2]], columns={"known": "price"})
    assert panel.columns["known"] == ("price",)
    panel = Panel([[1.0]], known=[[1, 2]], static=[3], categories=["x"], names=[7])
    assert panel.known[0].shape == (2, 1)
    assert panel.static.shape == panel.categories.shape == (1, 1)
    assert panel.columns == {
        "target": None,
        "known": ("0",),
        "static": ("0",),
        "categories": ("0",),
    }
    assert panel.names == ("7",)


@pytest.mark.parametrize(
    ("key", "names"),
    [
        (0, "a"),
        (-1, "c"),
        (np.int32(1), "b"),
        ("b", "b"),
        (slice(1, None), "bc"),
        (slice(None, None, -1), "cba"),
        (["c", "a"], "ca"),
        (np.array(["c", "a"]), "ca"),
        ([2, "a"], "ca"),
        (np.array([2, 0]), "ca"),
        ([True, False, True], "ac"),
    ],
)
def test_parts_share_the_store(panel, key, names):
    part = panel[key]
    assert "".join(part.names) == names
    assert part.numbers is panel.numbers
    positions = [panel.names.index(name) for name in names]
    for name in ("series", "known", "static", "categories", "times", "starts"):
        whole, some = getattr(panel, name), getattr(part, name)
        for position, value in zip(positions, some, strict=True):
            np.testing.assert_array_equal(value, whole[position])
    equal(part, part[list(names)])


def test_iteration_gives_panels(panel):
    assert [one.names for one in panel] == [("a",), ("b",), ("c",)]
    assert all(type(one) is Panel and len(one) == 1 for one in panel)


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (3, IndexError, "expected a position of one of 3 series, got 3"),
        (-4, IndexError, "got -4"),
        ("d", KeyError, "expected the name of one of 3 series, got 'd'"),
        ([], ValueError, "at least one series of the panel, got none"),
        (slice(5, 9), ValueError, "at least one series"),
        ([0, "a"], ValueError, "at most once"),
        ([True], IndexError, r"booleans of shape \(n=3,\), got \(1,\)"),
        (1.5, TypeError, "expected names, positions or a slice of series, got 1.5"),
        ([1.5], TypeError, "expected names, positions or a slice"),
        (True, TypeError, "got True"),
    ],
)
def test_keys_that_are_none(panel, key, error, message):
    with pytest.raises(error, match=message):
        panel[key]


def test_panels_cannot_be_changed(panel):
    for part in (panel, panel[1:], panel.until(1), pickle.loads(pickle.dumps(panel[1:]))):
        arrays = [value for value in vars(part).values() if isinstance(value, np.ndarray)]
        assert len(arrays) >= 9
        for array in [*arrays, *part.series, *part.known]:
            assert not array.flags.writeable
    given = np.ones(3)
    panel = Panel([given])
    given[:] = 9
    np.testing.assert_array_equal(panel.series[0], 1)


def test_what_is_left_out_at_the_end(panel):
    part = panel.until(2)
    np.testing.assert_array_equal(part.lengths, [1, 0, 0])
    np.testing.assert_array_equal(part.known_lengths, [4, 2, 2])
    assert part.numbers is panel.numbers
    np.testing.assert_array_equal(panel.last(2), [[nan, 3], [nan, nan], [4, 5]])
    np.testing.assert_array_equal(panel.last(2, skip=1), [[1, nan], [nan, nan], [nan, 4]])
    np.testing.assert_array_equal(panel.last(1, skip=5), [[nan]] * 3)
    assert panel.last(0).shape == (3, 0)
    equal(panel.until(0), panel)
    equal(panel.until(1).until(1), part)
    equal(panel.until(2)["a"], panel["a"].until(2))
    np.testing.assert_array_equal(Panel([[1.0, 2]]).until(1).known_lengths, [1])
    for wrong, error in ((-1, ValueError), (1.5, TypeError)):
        with pytest.raises(error, match="steps: expected an integer"):
            panel.until(wrong)


def test_future_times(panel):
    found = panel.future_times(2)
    expected = [months("2024-04", 2), months("2024-03", 2), months("2024-02", 2)]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(panel.until(1).future_times(1)[2], months("2024-01", 1))
    with pytest.raises(ValueError, match="panel: expected one with times"):
        Panel([[1.0]]).future_times(1)


def test_times_by_start_and_step():
    panel = Panel([[1.0, 2], [3.0]], times=("2024-01-01T06", np.timedelta64(30, "m")))
    np.testing.assert_array_equal(
        panel.times[0], np.array(["2024-01-01T06:00", "2024-01-01T06:30"], "M8")
    )
    np.testing.assert_array_equal(panel.starts[0], panel.starts[1])
    panel = Panel([[1.0, 2], [3.0]], times=(["2024-01-01", "2025-04-01"], np.timedelta64(3, "M")))
    assert panel.starts.dtype == "M8[M]"
    np.testing.assert_array_equal(
        panel.future_times(1)[:, 0], np.array(["2024-07", "2025-07"], "M8")
    )
    yearly = Panel([[1.0, 2]], times=("1990", np.timedelta64(1, "Y")))
    assert yearly.future_times(1)[0, 0] == np.datetime64("1992")


def test_times_of_dates_of_months():
    firsts = np.array(["2024-01-01", "2024-02-01", "2024-03-01"], "M8[ns]")
    assert Panel([[1.0, 2, 3]], times=[firsts]).step == MONTH
    ends = np.array(["2024-01-31", "2024-02-29", "2024-03-31"], "M8[s]")
    panel = Panel([[1.0, 2, 3]], times=[ends])
    assert (panel.step, panel.starts[0]) == (MONTH, np.datetime64("2024-01"))


def test_series_without_a_time():
    panel = Panel([[1.0, 2], []], times=[months("2024-01", 2), []])
    assert np.isnat(panel.starts[1])
    assert np.isnat(panel.future_times(1)[1, 0])
    assert panel.times[1].shape == (0,)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("<Panel: 1 series of 1 step>", {"series": [[1]]}),
        ("<Panel: 2 series of 0 to 2 steps>", {"series": [[], [1, 2]]}),
        (
            "<Panel: 1 series of 2 steps of 1 day from 2024-02-03>",
            {"series": [[1, 2]], "times": (["2024-02-03"], np.timedelta64(1, "D"))},
        ),
        (
            "<Panel: 1 series of 1 step, with known, static and categories>",
            {"series": [[1]], "known": [[1]], "static": [1], "categories": ["x"]},
        ),
    ],
)
def test_reprs(text, options):
    assert repr(Panel(**options)) == text


def test_a_repr_reads_no_series_and_does_not_raise(panel):
    panel.numbers = None
    assert repr(panel) == (
        "<Panel: 3 series of 0 to 3 steps of 1 month from 2023-12, with known, static and "
        "categories>"
    )
    assert "Panel" in repr(Panel.__new__(Panel))


# --------------------------------------------------------------------------------- categories


def test_categories_by_the_vocabularies_of_a_model(panel):
    vocabularies = panel.vocabularies()
    assert [vocabulary.symbols for vocabulary in vocabularies] == [("n", "s"), ("1", "3")]
    np.testing.assert_array_equal(panel.category_numbers(vocabularies), [[0, 1], [1, 0], [0, 0]])
    np.testing.assert_array_equal(panel[[2]].category_numbers(vocabularies), [[0, 0]])
    few = (Vocabulary("n"), Vocabulary(["1", "3"]))
    with pytest.raises(
        ValueError, match=r"series 'b', column 'side': expected one of the 1 categories .*, got 's'"
    ):
        panel.category_numbers(few)
    np.testing.assert_array_equal(
        panel.category_numbers((Vocabulary("n", unknown="?"), few[1]))[:, 0], [0, 1, 0]
    )
    with pytest.raises(ValueError, match="categories: expected 1 columns, got 2"):
        panel.category_numbers(few[:1])


# ------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("series", "options", "error", "message"),
    [
        ([], {}, ValueError, "series: expected at least one, got none"),
        (5, {}, TypeError, "series: expected a list of arrays, got 5"),
        ("ab", {}, TypeError, "series: expected a list of arrays, got 'ab'"),
        (
            [1.0, 2.0],
            {},
            TypeError,
            r"series: series '0': .* shape \(T,\), got float64 of shape \(\)",
        ),
        ([[[1.0]]], {}, TypeError, r"series '0': expected real .* got float64 of shape \(1, 1\)"),
        ([["a"]], {}, TypeError, "series '0': expected real numbers .* got <U1"),
        ([[1, None]], {}, TypeError, "series '0': expected real numbers .* got object"),
        ([[1.0], [1, 2, -np.inf]], {}, ValueError, "series '1', step 2: expected a finite .* -inf"),
        ([[]], {"names": []}, ValueError, "names: expected 1, one for each series, got 0"),
        ([[]] * 2, {"names": "a"}, ValueError, "names: expected 2, one for each series, got 1"),
        (
            [[]] * 2,
            {"names": ["1", 1]},
            ValueError,
            "names: expected distinct names, got '1' twice",
        ),
        ([[]], {"names": [1.0]}, TypeError, "names: expected strings or integers, got 1.0"),
        ([[]], {"known": []}, ValueError, "known: expected 1, one for each series, got 0"),
        (
            [[1], [1, 2, 3]],
            {"known": [[1], [1, 2]], "columns": {"known": ["price"]}},
            ValueError,
            "known: series '1': .* at least T=3 steps .* 'price', got 2: the first missing .* is 2",
        ),
        (
            [[1], [1]],
            {"known": [[1], [[1, 2]]]},
            ValueError,
            "known: series '0': expected F=2 columns as in other series, got 1",
        ),
        (
            [[1], [1]],
            {"known": [[[1, 2]], [[1, 2], [3, nan]]], "names": ["x", "y"]},
            ValueError,
            "known: series 'y', column '1', step 1: expected a finite number, got nan",
        ),
        ([[1]], {"known": [[np.inf]]}, ValueError, "known: series '0', column '0', step 0: .* inf"),
        ([[1]], {"known": [["a"]]}, TypeError, r"known: series '0': .* of shape \(T, F\), got <U1"),
        ([[1]], {"static": [1, 2]}, ValueError, r"static: expected .*\(n=1, F\) or \(n=1,\), got"),
        ([[1]], {"static": ["a"]}, TypeError, "static: expected real numbers"),
        (
            [[1]],
            {"static": [nan], "columns": {"static": ["area"]}},
            ValueError,
            "static: series '0', column 'area': expected a finite number, got nan",
        ),
        ([[1]], {"categories": ["a", "b"]}, ValueError, r"categories: expected shape \(n=1, C\)"),
        (
            [[1]],
            {"categories": [1.5]},
            TypeError,
            "series '0', column '0': expected a string or an",
        ),
        ([[1]], {"categories": [None]}, TypeError, "series '0', column '0': .* got None"),
        ([[1]], {"columns": {"price": "a"}}, ValueError, "columns: expected a mapping of"),
        ([[1]], {"columns": {"known": ["a"]}}, ValueError, "columns: expected 0 names for 'known'"),
        ([[1]], {"columns": {"target": 5}}, TypeError, "columns: expected a string for 'target'"),
        ([[1]], {"columns": {"known": 5}}, TypeError, "columns: 'known': expected a list of str"),
        (
            [[1]],
            {"known": [[[1, 2]]], "columns": {"known": ["a", "a"]}},
            ValueError,
            r"columns: expected distinct names for 'known', got \('a', 'a'\)",
        ),
        ([[1]], {"names": 5}, TypeError, "names: expected a list of strings, got 5"),
        ([[1]], {"known": 5}, TypeError, "known: expected a list of arrays, got 5"),
        ([[1]], {"known": "1"}, TypeError, "known: expected a list of arrays, got '1'"),
        ([[1]], {"known": {"a": [1]}}, TypeError, "known: expected a list of arrays, got {'a'"),
        ([[1]], {"known": [np.ones((1, 0))]}, ValueError, "known: expected at least one column"),
        ([[1]], {"static": np.ones((1, 0))}, ValueError, "static: expected at least one column"),
        ([[1]], {"categories": [[]]}, ValueError, "categories: expected at least one column"),
        ([[1]], {"times": "2024"}, TypeError, "times: expected a list of arrays, or a pair"),
    ],
)
def test_errors(series, options, error, message):
    with pytest.raises(error, match=message):
        Panel(series, **options)


def test_covariates_without_steps_may_have_any_shape():
    panel = Panel([[], [1.0]], known=[np.ones((0, 5)), np.ones((1, 3))])
    assert panel.known_numbers.shape == (1, 3)


# Times that the unit cannot hold: NumPy returns other times, without an error.

LAST = np.datetime64("2262-04-11", "ns")  # datetime64[ns] ends on this day
LONG_AGO = np.array(["1500-01-01", "1500-01-02"], "M8[D]")


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([LONG_AGO, [LAST - 2, LAST - 1]], "times: .* datetime64.ns. can hold, got 1500-01-01"),
        (("1500-01-01", np.timedelta64(1, "ns")), "times: .* datetime64.ns. can hold, got 1500"),
        (
            (LAST, np.timedelta64(1, "D")),
            "times: series 'a': expected times up to 2262-04-11T23:.*, got 2 steps of 1 day from",
        ),
        (
            (["2024-01-01", "9999-12-31"], np.timedelta64(1, "D")),
            "times: series 'b': expected times up to 9999-12-31, got 2 steps of 1 day from 9999",
        ),
        (("2024-01-01", np.timedelta64(2**62, "D")), "times: series 'a': .* up to 9999-12-31"),
        (
            [["1500-01-01", "2024-01-01T00:00:00.000000001"], []],
            "times: series 'a': step 0: expected a time that datetime64.ns. can hold, .*'1500-01",
        ),
        ([["2024-01-01T00:00:00.0000000001"] * 2, []], "series 'a': step 0: expected a time as"),
        (
            [np.array([-(2**63) + 1, 2**63 - 1], "M8[ns]"), np.array([], "M8[ns]")],
            "times: expected neighbours whose distance datetime64.ns. can hold, got 2262-04-11T",
        ),
        (
            [np.array([-(2**63) + 1, 5], "M8[s]"), np.array([], "M8[s]")],
            "times: series 'a': step 0: expected a time of the years 1 to 9999, got datetime64.s.",
        ),
        ([np.array([10**9] * 2, "M8[D]"), np.array([], "M8[D]")], "step 0: .* years 1 to 9999"),
        ([["0000-02-01", "0000-02-02"], []], "step 0: expected a time of the years 1 to 9999"),
    ],
    ids=str,
)
def test_times_that_their_unit_cannot_hold(times, message):
    counts = [2, 2 if isinstance(times, tuple) else len(times[1])]
    with pytest.raises(ValueError, match=message):
        Panel([np.ones(count) for count in counts], times=times, names=["a", "b"])


def test_times_up_to_the_last_ones_that_a_unit_holds():
    panel = Panel([[1.0] * 3], times=(LAST - np.timedelta64(2, "D"), np.timedelta64(1, "D")))
    assert panel.times[0][-1] == LAST
    assert panel.future_times(0).shape == (1, 0)
    with pytest.raises(ValueError, match=r"steps: series '0': .* got 4 steps of 1 day from 2262"):
        panel.future_times(1)
    early = Panel([[1.0] * 2], times=[np.array([-(2**63) + 1, -(2**63) + 2], "M8[ns]")])
    assert early.times[0].astype(np.int64).tolist() == [-(2**63) + 1, -(2**63) + 2]
    assert repr(Panel([[1] * 2], times=[["9999-12-30", "9999-12-31"]])).endswith("9999-12-30>")


DAYS = np.arange("2024-01-01", "2024-01-09", dtype="datetime64[D]")


@pytest.mark.parametrize(
    ("times", "error", "message"),
    [
        ([DAYS[:3]], ValueError, "times: expected 2 arrays, one for each series, or a pair"),
        ([DAYS[:3], DAYS[:2]], ValueError, "times: series 'b': expected 3, one for each .* got 2"),
        ([DAYS[:3], [1, 2, 3]], TypeError, "times: series 'b': expected datetime64"),
        ([DAYS[:3], ["2024-01-01", "x", ""]], ValueError, "times: series 'b': step 1: expected a"),
        (
            [DAYS[:3], DAYS[[0, 2, 1]]],
            ValueError,
            "series 'b', step 2: .* ascending order, got 2024-01-02 after 2024-01-03",
        ),
        (
            [DAYS[:3], DAYS[[0, 1, 1]]],
            ValueError,
            "series 'b', step 2: .* order, got 2024-01-02 twice",
        ),
        (
            [DAYS[:3], DAYS[[0, 1, 4]]],
            ValueError,
            "series 'b', step 2: .* evenly apart, by 1 day, got 2024-01-05 after 2024-01-02",
        ),
        ([DAYS[:3], DAYS[[0, 2, 4]]], ValueError, "series 'b', step 1: .* evenly apart, by 1 day"),
        (("2024-01-01", np.timedelta64(0, "D")), ValueError, "times: expected a step above 0"),
        (
            ("2024-01-01", np.timedelta64(1)),
            ValueError,
            "times: expected a step above 0 with a unit",
        ),
        (("2024-01-01", np.timedelta64("NaT", "D")), ValueError, "times: expected a step above 0"),
        (
            ("2024-01-05", MONTH),
            ValueError,
            "times: expected first days of months .* got 2024-01-05",
        ),
        ((["2024-01-01"] * 3, MONTH), ValueError, "times: expected one start or n=2, got 3"),
        ((5, MONTH), TypeError, "times: expected datetime64"),
        ((np.datetime64("NaT", "D"), MONTH), ValueError, "times: expected times, got NaT"),
    ],
)
def test_errors_of_times(times, error, message):
    with pytest.raises(error, match=message):
        Panel([[1, 2, 3], [4, 5, 6]], times=times, names=["a", "b"])


def test_a_step_that_no_series_shows():
    with pytest.raises(ValueError, match="times: expected at least two steps in one series"):
        Panel([[1.0]], times=[DAYS[:1]])
    with pytest.raises(ValueError, match="times: series '0': expected 1 or 2, one for each step"):
        Panel([[1.0]], known=[[1, 2]], times=[DAYS[:3]])


def test_what_a_model_asks_for(panel):
    check_known_ahead(panel, 0)
    check_known_ahead(panel.until(1), 1)
    with pytest.raises(
        ValueError,
        match=r"known: series 'c': .* T \+ H = 2 \+ 1 steps in the columns 'price', 'sale', got 2",
    ):
        check_known_ahead(panel, 1)
    check_known_ahead(Panel([[1.0]]), 5)
    check_counts(panel)
    for value in (0.5, -1.0):
        wrong = Panel([[1, nan], [0, 2, value]], names=["a", "b"], columns={"target": "sold"})
        with pytest.raises(ValueError, match=f"series 'b', column 'sold', step 2: .* got {value}"):
            check_counts(wrong)
    check_same_columns(panel[:1], panel.columns)
    with pytest.raises(
        ValueError, match=r"panel: expected the known columns .*: 'price', 'sale', got none"
    ):
        check_same_columns(Panel([[1.0]]), panel.columns)
