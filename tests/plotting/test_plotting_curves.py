"""Curves: gradient norms by distance, a time series with predictions, singular values."""

from itertools import pairwise

import numpy as np
import pytest

from crnn import plotting

matplotlib = pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("headless")


def legend_of(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def check_legend_covers_nothing(axes):
    """Check that no line or band crosses the legend, and that it lies inside the axes."""
    axes.figure.draw_without_rendering()
    frame = axes.get_legend().get_window_extent()
    assert axes.bbox.x0 <= frame.x0 < frame.x1 <= axes.bbox.x1
    for line in axes.lines:
        if line.get_transform() == axes.transData:
            heights = line.get_transform().transform(line.get_xydata().astype(float))[:, 1]
            assert np.nanmax(heights) < frame.y0
    for band in axes.collections:
        assert band.get_window_extent().y1 < frame.y0


# -------------------------------------------------------------------------- gradients in time


def test_norms_are_drawn_against_the_distance_from_the_last_step():
    axes = plotting.gradient_against_distance({"RNN": [1e-9, 1e-6, 1e-3, 1]})
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_xydata(), [[0, 1], [1, 1e-3], [2, 1e-6], [3, 1e-9]])
    assert axes.get_yscale() == "log"
    assert not axes.collections  # of one row there is no band
    assert legend_of(axes) == ["RNN"]
    assert "T − t" in axes.get_xlabel()
    assert "norm" in axes.get_ylabel()


def test_several_rows_are_a_median_and_a_band():
    norms = np.outer(np.arange(1, 12), 10.0 ** np.arange(-4, 1))  # (11, 5)
    axes = plotting.gradient_against_distance({"LSTM": norms})
    (line,), (band,) = axes.lines, axes.collections
    np.testing.assert_allclose(line.get_ydata(), 6 * 10.0 ** -np.arange(5))
    corners = band.get_paths()[0].vertices
    for distance in range(5):
        ends = corners[corners[:, 0] == distance, 1]
        np.testing.assert_allclose(
            [ends.min(), ends.max()], [2 * 10.0**-distance, 10 * 10.0**-distance]
        )


def test_padding_and_underflow_are_not_drawn():
    norms = np.array([0, 1e-40, 1e-30, 1e-10, 1, 0, 0], np.float32)  # 1e-40 is subnormal
    (line,) = plotting.gradient_against_distance({"a": norms}).lines
    np.testing.assert_allclose(line.get_xydata(), [[0, 1], [1, 1e-10], [2, 1e-30]], rtol=1e-6)
    (line,) = plotting.gradient_against_distance({"a": norms.astype(np.float64)}).lines
    assert len(line.get_xydata()) == 4  # of float64 it is a normal number
    (line,) = plotting.gradient_against_distance({"a": [np.inf, 1e200, 1]}).lines
    assert line.get_xdata().tolist() == [0, 1]


def test_the_distance_is_counted_from_the_last_step_of_each_row():
    norms = [[1e-4, 1e-2, 1, 0, 0], [1e-8, 1e-6, 1e-4, 1e-2, 1], [0, 0, 0, 0, 0]]
    (line,) = plotting.gradient_against_distance({"a": norms}).lines
    np.testing.assert_allclose(line.get_ydata(), [1, 1e-2, 1e-4, 1e-6, 1e-8])


def test_underflow_is_decided_by_the_median():
    norms = [[0, 0, 1], [0, 0, 1], [1e-6, 1e-3, 1]]
    (line,) = plotting.gradient_against_distance({"a": norms}).lines
    assert line.get_xdata().tolist() == [0]


def test_objects_with_norms_are_curves():
    class Jacobians:
        norms = np.array([0.1, 1.0])

    class Flow:
        h_norms = np.array([[0.2, 1.0], [0.2, 1.0]])

    axes = plotting.gradient_against_distance({"one": Jacobians(), "two": Flow()})
    assert [line.get_ydata()[1] for line in axes.lines] == [0.1, 0.2]
    axes = plotting.gradient_against_distance(Jacobians())
    assert axes.lines[0].get_ydata()[1] == 0.1
    assert not axes.get_legend()


def test_curves_differ_in_colour_and_line_style():
    curves = {f"model {n}": 10.0 ** -np.linspace(n, 0, 50) for n in range(1, 15)}
    axes = plotting.gradient_against_distance(curves)
    looks = [(line.get_color(), line.get_linestyle(), line._dash_pattern) for line in axes.lines]
    assert len({str(look) for look in looks}) == 14
    for one, other in pairwise(looks[:7]):
        assert one[0] != other[0]
        assert one[1:] != other[1:]
    assert legend_of(axes) == [*curves]
    check_legend_covers_nothing(axes)


@pytest.mark.parametrize("size", [(7.5, 4.0), (3.7, 3.0)])
def test_the_legend_of_gradients_covers_no_curve(size):
    names = ("RNN, orthogonal", "LSTM, forget bias 1", "GRU", "JANET, chrono")
    rng = np.random.default_rng(0)
    curves = {name: np.exp(rng.normal(size=(9, 5))) for name in names}
    axes = matplotlib.figure.Figure(figsize=size, layout="constrained").subplots()
    assert plotting.gradient_against_distance(curves, axes) is axes
    check_legend_covers_nothing(axes)


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "curves: expected at least one, got an empty mapping"),
        ({"a": np.zeros((1, 2, 3))}, r"curves\['a'\]: expected norms .* got shape \(1, 2, 3\)"),
        ({"a": []}, r"curves\['a'\]: expected norms .* got shape \(0,\)"),
        ({"a": [1], "b": [-1, 2]}, r"curves\['b'\]: expected norms of at least 0, got 1 below 0"),
        ({"a": [np.nan]}, r"curves\['a'\]: expected norms of at least 0, got 1 below 0 or NaN"),
        ({"a": [0.0, 0.0]}, r"curves\['a'\]: expected at least one norm above 0, got none"),
        ({"a": "far"}, r"curves\['a'\]: expected norms .* got 'far'"),
        ("far", "curves: expected norms .* got 'far'"),
    ],
)
def test_wrong_norms_raise(curves, message):
    with pytest.raises(ValueError, match=message):
        plotting.gradient_against_distance(curves)


# ------------------------------------------------------------------------------------- a series


def test_a_series_and_its_predictions():
    true, predicted = np.arange(10.0), np.array([7.5, 8.5, 9.5, 10.5])
    axes = plotting.series(true, predicted, start=7, label="forecast", ylabel="passengers")
    truth, guess, begin = axes.lines
    np.testing.assert_array_equal(truth.get_xydata(), np.stack([true, true], axis=1))
    np.testing.assert_array_equal(guess.get_xdata(), [7, 8, 9, 10])  # beyond the end, too
    np.testing.assert_array_equal(guess.get_ydata(), predicted)
    assert begin.get_xdata() == [7, 7]
    assert truth.get_linestyle() != guess.get_linestyle()
    assert truth.get_color() != guess.get_color()
    assert legend_of(axes) == ["true", "forecast"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "passengers")
    check_legend_covers_nothing(axes)


def test_predictions_of_the_whole_series_have_no_start_line():
    axes = plotting.series(np.ones((5, 1)), np.ones((5, 1)))
    assert len(axes.lines) == 2


def test_few_predictions_have_markers():
    few, many = (plotting.series(np.zeros(99), np.zeros(n)).lines[1] for n in (9, 99))
    assert (few.get_marker(), many.get_marker()) == ("o", "")


def test_an_interval_is_a_band():
    low, high = np.array([1.0, 2, 3]), np.array([3.0, 5, 7])
    axes = plotting.series(np.zeros(6), [2, 3, 4], start=3, interval=(low, high))
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    for step, ends in zip((3, 4, 5), zip(low, high, strict=True), strict=True):
        found = corners[corners[:, 0] == step, 1]
        assert (found.min(), found.max()) == ends
    assert sorted(legend_of(axes)) == ["expected range", "predicted", "true"]
    check_legend_covers_nothing(axes)


def test_time_is_on_the_axis():
    days = np.datetime64("2024-02-27") + np.arange(9)
    axes = plotting.series(np.arange(5), np.arange(3), start=4, time=days)
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), days[:5])
    np.testing.assert_array_equal(axes.lines[1].get_xdata(), days[4:7])
    assert axes.get_xlabel() == "time"
    axes.figure.draw_without_rendering()
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert "Mar" in labels
    assert axes.xaxis.get_offset_text().get_text().startswith("2024-")
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(one.x1 < other.x0 for one, other in pairwise(boxes))


@pytest.mark.parametrize("step", ["m", "h", "D", "M", "Y"])
def test_labels_of_times_do_not_overlap(step):
    for count in (9, 57, 400):
        time = np.datetime64("2024-02-27").astype(f"M8[{step}]") + np.arange(count)
        axes = plotting.series(np.arange(count), [1.0], start=count - 1, time=time)
        axes.figure.draw_without_rendering()
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert len(boxes) >= 3
        assert all(one.x1 < other.x0 for one, other in pairwise(boxes))


def test_gaps_in_a_series_are_gaps():
    axes = plotting.series([1, np.nan, 3], [1, 2, 3])
    assert np.isnan(axes.lines[0].get_ydata()[1])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([], [1]), {}, r"true: expected a series \(T,\) .* got shape \(0,\)"),
        ((np.zeros((3, 2)), [1]), {}, r"true: expected a series .* got shape \(3, 2\)"),
        (([1], []), {}, r"predicted: expected at least one prediction \(N,\), got shape \(0,\)"),
        (([1], ["x"]), {}, r"predicted: expected .* got \['x'\]"),
        (([1, 2], [1]), {"start": 3}, "start: expected a step from 0 to T=2, got 3"),
        (([1, 2], [1]), {"start": -1}, "start: expected a step from 0 to T=2, got -1"),
        (
            ([1, 2], [1, 2]),
            {"start": 1, "time": [1, 2]},
            r"time: expected at least 3 values, .* got shape \(2,\)",
        ),
        (([1], [1]), {"interval": [1, 2, 3]}, r"interval: expected a pair .* got \[1, 2, 3\]"),
        (([1], [1]), {"interval": 0.1}, r"interval: expected a pair \(low, high\) .* got 0.1"),
        (([1], [1]), {"interval": ([1], [1, 2])}, r"interval, high: .* got shape \(2,\)"),
        (([1], [1]), {"interval": ([1, 2], [1])}, r"interval, low: .* got shape \(2,\)"),
    ],
)
def test_wrong_arguments_of_a_series(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        plotting.series(*arguments, **options)


# ------------------------------------------------------------------------------ singular values


def test_the_largest_and_the_smallest_singular_value_stand_out():
    values = np.array([[0.5, 2.0, 1.0, 0.9], [3.0, 0.4, 1.1, 1.2]])  # in any order
    axes = plotting.singular_values([10, 20], values)
    *between, largest, smallest, one = axes.lines
    np.testing.assert_array_equal(largest.get_xydata(), [[10, 2], [20, 3]])
    np.testing.assert_array_equal(smallest.get_xydata(), [[10, 0.5], [20, 0.4]])
    assert sorted(line.get_ydata().tolist() for line in between) == [[0.9, 1.1], [1, 1.2]]
    assert one.get_ydata() == [1, 1]
    assert len({line.get_linestyle() for line in (largest, smallest, one)}) == 3
    assert legend_of(axes) == ["in between", "largest", "smallest", "1: length is kept"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("update", "singular value")
    check_legend_covers_nothing(axes)


def test_one_singular_value_is_one_line():
    for values in ([1.0, 1.5], [[1.0], [1.5]]):
        axes = plotting.singular_values([0, 1], values)
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1, 1.5])
        assert len(axes.lines) == 2
        assert legend_of(axes) == ["largest", "1: length is kept"]


@pytest.mark.parametrize(
    ("updates", "values", "message"),
    [
        ([1, 2], [1], r"values: expected one row per update, \(2,\) or \(2, k\), got shape \(1,\)"),
        ([1, 2], np.ones((3, 2)), r"values: expected one row per update, .* got shape \(3, 2\)"),
        ([1], np.ones((1, 2, 2)), r"values: expected one row per update, .* got shape \(1, 2, 2\)"),
        ([1], [np.inf], "values: expected .* all of them finite, got 1 that are not"),
        ([[1]], [1], r"updates: expected at least one number .* got shape \(1, 1\)"),
        ([], [], r"updates: expected at least one number .* got shape \(0,\)"),
    ],
)
def test_wrong_singular_values(updates, values, message):
    with pytest.raises(ValueError, match=message):
        plotting.singular_values(updates, values)
