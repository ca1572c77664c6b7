"""Plots of diagnostics: norms, saturation, influence, saliency, recorded values."""

from itertools import pairwise

import numpy as np
import pytest

import crnn
from crnn import plotting
from crnn.diagnostics import (
    gate_statistics,
    gradient_flow,
    input_saliency,
    memory_capacity,
    receptive_field,
    state_jacobians,
)

matplotlib = pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("headless")


def legend_of(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def inputs(steps=9, rows=3, features=2):
    return np.random.default_rng(0).normal(size=(rows, steps, features))


def flow_of(model, x):
    y, _, tape = model.forward(x)
    model.backward(tape, np.ones_like(y), trace=True)
    return gradient_flow(tape)


def both_directions():
    return crnn.Bidirectional(crnn.LSTM(2, 3, dtype="float64", seed=0))


def check_everything_is_inside(axes):
    axes.figure.draw_without_rendering()
    inside, boxes = axes.figure.bbox, [axes.get_tightbbox()]
    boxes += [other.get_tightbbox() for other in axes.figure.axes]
    for box in boxes:
        assert inside.x0 - 1 <= box.x0 < box.x1 <= inside.x1 + 1
        assert inside.y0 - 1 <= box.y0 < box.y1 <= inside.y1 + 1


# -------------------------------------------------------------------------------- norms by step


def test_norms_are_drawn_step_by_step():
    axes = plotting.norms_by_step({"h": [1e-3, 1e-2, 0.1], "c": [1.0, 2.0]})
    first, second = axes.lines
    np.testing.assert_array_equal(first.get_xydata(), [[1, 1e-3], [2, 1e-2], [3, 0.1]])
    np.testing.assert_array_equal(second.get_xydata(), [[1, 1], [2, 2]])
    assert axes.get_yscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step t", "norm")
    assert first.get_color() != second.get_color()
    assert first.get_linestyle() != second.get_linestyle()
    assert legend_of(axes) == ["h", "c"]


def test_zeros_and_values_that_are_not_finite_are_gaps():
    axes = plotting.norms_by_step({"h": [0, 1, 0, 2, np.inf, np.nan, 3]})
    shown = axes.lines[0].get_ydata()
    np.testing.assert_array_equal(shown, [np.nan, 1, np.nan, 2, np.nan, np.nan, 3])


def test_an_isolated_norm_has_a_marker():
    norms = np.ones(50)
    norms[[20, 22]] = 0
    (line,) = plotting.norms_by_step({"h": norms}).lines
    assert (line.get_marker(), line.get_markevery().tolist()) == ("o", [21])
    (line,) = plotting.norms_by_step({"h": np.ones(50)}).lines
    assert line.get_marker() == "None"


def test_a_curve_of_zeros_is_in_the_legend():
    axes = plotting.norms_by_step({"h": [1.0, 2.0], "term": [0.0, 0.0]})
    assert legend_of(axes) == ["h", "term (no value above 0)"]
    plotting.norms_by_step({"term": [0.0]}).figure.draw_without_rendering()


def test_the_flow_of_a_gradient():
    flow = flow_of(both_directions(), inputs())
    axes = flow.plot()
    assert len(axes.lines) == 6
    assert "forward: dL/dc_t" in legend_of(axes)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), flow["forward"].by_step("h"))
    check_everything_is_inside(axes)


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "curves: expected at least one, got an empty mapping"),
        ([1.0], r"curves: expected a mapping of names to norms \(T,\), got \[1.0\]"),
        ({"a": [[1.0]]}, r"curves\['a'\]: expected norms \(T,\) .* got shape \(1, 1\)"),
        ({"a": [1.0, -1.0]}, r"curves\['a'\]: expected norms of at least 0, got 1 below 0"),
    ],
)
def test_wrong_norms_by_step_raise(curves, message):
    with pytest.raises(ValueError, match=message):
        plotting.norms_by_step(curves)


# --------------------------------------------------------------------- gradients of several parts


def test_each_part_of_the_jacobians_is_a_curve():
    x = inputs()
    one, both = state_jacobians(crnn.GRU(2, 3, seed=0), x), state_jacobians(both_directions(), x)
    axes = plotting.gradient_against_distance({"GRU": one, "LSTM": both})
    assert legend_of(axes) == ["GRU", "LSTM forward", "LSTM backward"]
    parts = [*one.parts.values(), *both.parts.values()]
    for line, part in zip(axes.lines, parts, strict=True):
        median = np.median(part.by_distance, axis=0)[::-1]
        np.testing.assert_allclose(line.get_ydata(), median)
        assert line.get_ydata()[0] == pytest.approx(1)  # also for the backward direction
    axes = plotting.gradient_against_distance(both)
    assert legend_of(axes) == ["forward", "backward"]


def test_shorter_rows_do_not_count_at_steps_beyond_their_length():
    x, lengths = inputs(), [9, 4, 4]
    found = state_jacobians(crnn.GRU(2, 3, seed=0), x, lengths=lengths)
    (line,) = plotting.gradient_against_distance(found).lines
    np.testing.assert_allclose(line.get_ydata()[4:], found.norms[0, 4::-1])


def test_each_part_of_a_flow_is_a_curve():
    flow = flow_of(both_directions(), inputs(rows=1))
    axes = plotting.gradient_against_distance({"LSTM": flow})
    assert legend_of(axes) == ["LSTM forward", "LSTM backward"]
    np.testing.assert_allclose(axes.lines[1].get_ydata(), flow["backward"].h_norms[0, ::-1])
    alone = flow_of(crnn.Sequential([crnn.GRU(2, 3, seed=0)]), inputs())
    assert legend_of(plotting.gradient_against_distance({"GRU": alone})) == ["GRU"]


# ----------------------------------------------------------------------------------- saturation


def test_saturation_has_a_point_for_each_unit():
    points = {"i": ([0.1, 0.9], [0.2, 0.1]), "f": ([1.0], [0.0])}
    axes = plotting.saturation(points)
    first, second = axes.collections
    np.testing.assert_array_equal(first.get_offsets(), [[0.1, 0.2], [0.9, 0.1]])
    np.testing.assert_array_equal(second.get_offsets(), [[1, 0]])
    (bound,) = axes.lines
    np.testing.assert_array_equal(bound.get_xydata(), [[0, 1], [1, 0]])
    assert legend_of(axes) == ["i", "f", "saturated at every step"]
    assert (axes.get_xlim(), axes.get_ylim(), axes.get_aspect()) == ((0, 1), (0, 1), 1)
    assert "upper" in axes.get_xlabel()
    assert "lower" in axes.get_ylabel()
    assert first.get_alpha() < 1


def test_gates_differ_in_colour_and_marker():
    axes = plotting.saturation({str(n): ([0.5], [0.5]) for n in range(42)})
    looks = {
        (cloud.get_facecolor().tobytes(), cloud.get_paths()[0].vertices.tobytes())
        for cloud in axes.collections
    }
    assert len(looks) == 42


def test_the_legend_of_saturation_covers_no_point():
    statistics = gate_statistics(both_directions(), inputs())
    axes = statistics.plot()
    check_everything_is_inside(axes)
    assert axes.get_legend().get_window_extent().x0 > axes.bbox.x1
    assert legend_of(axes)[:2] == ["forward: i", "forward: f"]
    check_everything_is_inside(plotting.saturation({"encoder.1.backward: f": ([0.5], [0.5])}))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ({}, "points: expected at least one, got an empty mapping"),
        (3, r"points: expected a mapping of names to pairs \(high, low\) .* got 3"),
        ({"f": [0.5]}, r"points\['f'\]: expected a pair \(high, low\) .* got \[0.5\]"),
        ({"f": ([0.5], [0.1, 0.2])}, r"points\['f'\]: .* one shape \(H,\), got \(1,\) and \(2,\)"),
        ({"f": ([0.5], [1.1])}, r"points\['f'\], low: expected fractions from 0 to 1, got 1"),
        ({"f": ([np.nan], [1])}, r"points\['f'\], high: .* all of them finite, got 1 that are not"),
        ({"f": ([[1]], [1])}, r"points\['f'\], high: .* got shape \(1, 1\)"),
    ],
)
def test_wrong_fractions_raise(points, message):
    with pytest.raises(ValueError, match=message):
        plotting.saturation(points)


# ------------------------------------------------------------------------------------ influence


def test_influence_has_inputs_in_columns_and_outputs_in_rows():
    matrix = np.array([[1.0, 0.0, 0.0], [0.01, 0.1, 0.0]])
    axes = plotting.influence(matrix, label="change")
    (image,) = axes.images
    np.testing.assert_array_equal(np.ma.filled(image.get_array(), 0), matrix)
    np.testing.assert_array_equal(np.ma.getmaskarray(image.get_array()), matrix == 0)
    assert isinstance(image.norm, matplotlib.colors.LogNorm)
    assert (image.get_clim(), image.get_cmap().name) == ((0.01, 1), "cividis")
    assert image.get_extent() == [0.5, 3.5, 2.5, 0.5]  # so steps are counted from 1
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("input step", "output step")
    (bar,) = [other for other in axes.figure.axes if other is not axes]
    assert "change" in (bar.get_xlabel(), bar.get_ylabel())


def test_zero_influence_is_hatched_and_in_the_legend():
    axes = plotting.influence(np.tril(np.ones((4, 4))))
    (ground,) = axes.patches
    assert ground.get_hatch()
    assert ground.get_zorder() < axes.images[0].get_zorder()
    assert legend_of(axes) == ["0: no influence at all"]
    full = plotting.influence(np.ones((4, 4)))
    assert not full.patches
    assert full.get_legend() is None
    nothing = plotting.influence(np.zeros((4, 4)))
    assert not nothing.images
    assert legend_of(nothing) == ["0: no influence at all"]


@pytest.mark.parametrize("shape", [(40, 40), (1, 60), (1, 1), (60, 5)])
def test_an_influence_of_any_shape_fits(shape):
    axes = plotting.influence(np.tril(np.ones(shape)) * 10.0 ** -np.arange(shape[1]))
    check_everything_is_inside(axes)
    steps = [*axes.get_xticks(), *axes.get_yticks()]
    assert all(step == round(step) for step in steps)


def test_the_receptive_field_of_a_model():
    field = receptive_field(crnn.GRU(2, 3, seed=0), inputs())
    axes = field.plot()
    np.testing.assert_array_equal(np.ma.filled(axes.images[0].get_array(), 0), field.influence)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([1.0], r"matrix: expected numbers \(T_out, T_in\) of at least 0, got shape \(1,\)"),
        (np.zeros((2, 0)), r"matrix: expected .* got shape \(2, 0\)"),
        ([[-1.0]], r"matrix: expected numbers \(T_out, T_in\) of at least 0, got 1 below 0"),
        ([[np.inf]], "matrix: expected .* all of them finite, got 1 that are not"),
    ],
)
def test_wrong_influence_raises(matrix, message):
    with pytest.raises(ValueError, match=message):
        plotting.influence(matrix)


# ------------------------------------------------------------------------------------- saliency


@pytest.mark.parametrize("symbols", ["ab\ncd", [*"ab\ncd"]])
def test_the_saliency_of_characters_is_drawn_over_them(symbols):
    values = [0.0, 0.001, 0.002, 0.0, 0.004]
    axes = plotting.saliency(values, symbols=symbols, at=3)
    (image,) = axes.images
    assert image.get_clim() == (0, 0.004)
    assert [text.get_text() for text in axes.texts] == ["a", "b", "↵", "c", "d"]
    assert np.ma.filled(image.get_array(), np.nan)[1, 1] == 0.004
    (frame,) = axes.patches
    assert (frame.get_xy(), frame.get_fill()) == ((-0.5, 0.5), False)
    assert legend_of(axes) == ["step whose output is explained"]
    check_everything_is_inside(axes)


def test_the_scale_of_signed_saliency_is_symmetric():
    axes = plotting.saliency([0.1, -0.4], symbols="ab")
    assert axes.images[0].get_clim() == (-0.4, 0.4)
    assert not axes.patches
    assert plotting.saliency([0, 0], symbols="ab").images[0].get_clim() == (0, 1)


def test_a_long_text_is_no_wider_than_a_notebook():
    axes = plotting.saliency(np.ones(500), symbols="x" * 500)
    assert axes.figure.get_size_inches()[0] <= 7.5


def test_without_symbols_there_are_bars():
    axes = plotting.saliency([0.5, -0.25, 0.0], at=2)
    bars = axes.patches
    assert [bar.get_height() for bar in bars] == [0.5, -0.25, 0]
    assert [bar.get_x() + bar.get_width() / 2 for bar in bars] == pytest.approx([1, 2, 3])
    assert bars[0].get_facecolor() != bars[1].get_facecolor()
    (mark,) = [line for line in axes.lines if line.get_label().startswith("step")]
    assert mark.get_xdata() == [3, 3]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("input step", "saliency")
    assert plotting.saliency([1.0]).get_legend() is None


@pytest.mark.parametrize("count", [3, 30, 300])
def test_as_many_words_are_written_as_fit(count):
    words = [f"word{n}$" for n in range(count)]
    values = np.random.default_rng(0).normal(size=count)
    axes = plotting.saliency(values, symbols=words)
    check_everything_is_inside(axes)
    labels = sorted(axes.get_xticklabels(), key=lambda label: label.get_position()[0])
    boxes = [label.get_window_extent() for label in labels]
    assert all(a.x1 <= b.x0 for a, b in pairwise(boxes))
    shown = {label.get_text() for label in labels}
    assert shown <= set(words)
    assert words[int(np.abs(values).argmax())] in shown
    assert len(shown) >= min(count, 20)
    for label in labels:
        assert words[int(label.get_position()[0]) - 1] == label.get_text()


def test_the_saliency_of_a_model():
    found = input_saliency(crnn.GRU(2, 3, seed=0), inputs())
    axes = found.plot()
    np.testing.assert_array_equal([bar.get_height() for bar in axes.patches], found.values)
    assert found.plot(text="abcdefghi").images


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([[1.0]], {}, r"values: expected one number per step \(T,\), got shape \(1, 1\)"),
        ([], {}, r"values: expected one number per step \(T,\), got shape \(0,\)"),
        ([np.nan], {}, "values: expected .* all of them finite, got 1 that are not"),
        ([1, 2], {"symbols": "abc"}, "symbols: expected 2 symbols, one per value, got 3"),
        ([1, 2], {"at": 2}, "at: expected a step from 0 to T - 1 = 1, got 2"),
        ([1, 2], {"at": -1}, "at: expected a step from 0 to T - 1 = 1, got -1"),
    ],
)
def test_wrong_arguments_of_saliency(values, options, message):
    with pytest.raises(ValueError, match=message):
        plotting.saliency(values, **options)


# ------------------------------------------------------------------------------- what was recorded


def test_recorded_lines_over_updates():
    columns = {"0": ([1, 2, 3], [1.0, np.nan, 2.0]), "1": ([2], [4.0])}
    axes = plotting.recorded(columns, ylabel="reach", hline=1)
    first, second, one = axes.lines
    np.testing.assert_array_equal(first.get_xydata(), [[1, 1], [2, np.nan], [3, 2]])
    np.testing.assert_array_equal(second.get_xydata(), [[2, 4]])
    assert second.get_marker() == "o"
    assert one.get_ydata() == [1, 1]
    assert first.get_linestyle() != second.get_linestyle()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("update", "reach")
    assert (axes.get_yscale(), legend_of(axes)) == ("linear", ["0", "1", "1"])


def test_recorded_on_a_logarithmic_axis():
    axes = plotting.recorded(
        {"norm": ([1, 2, 3], [0.0, 1e-3, 1e3])}, ylabel="norm", log=True, hline=(5.0, "clipped")
    )
    assert axes.get_yscale() == "log"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [np.nan, 1e-3, 1e3])
    assert legend_of(axes) == ["norm", "clipped"]
    check_everything_is_inside(axes)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "columns: expected at least one, got an empty mapping"),
        ([1], r"columns: expected a mapping of names to pairs \(updates, values\) .* got \[1\]"),
        ({"a": 1}, r"columns\['a'\]: expected a pair \(updates, values\) .* got 1"),
        ({"a": ([1, 2], [1])}, r"columns\['a'\]: .* one shape \(N,\), got \(2,\) and \(1,\)"),
        ({"a": ([], [])}, r"columns\['a'\], updates: .* got shape \(0,\)"),
        ({"a": ([np.nan], [1])}, r"columns\['a'\], updates: .* finite, got 1 that are not"),
    ],
)
def test_wrong_records_raise(columns, message):
    with pytest.raises(ValueError, match=message):
        plotting.recorded(columns, ylabel="y")


# --------------------------------------------------------------------------------- memory capacity


def test_capacities_are_drawn_by_delay():
    axes = plotting.memory_curve({"a": [1.0, 0.5], "b": [1.0, 1.0, 0.25]})
    first, second = axes.lines
    np.testing.assert_array_equal(first.get_xydata(), [[1, 1], [2, 0.5]])
    np.testing.assert_array_equal(second.get_xydata(), [[1, 1], [2, 1], [3, 0.25]])
    assert legend_of(axes) == ["a (1.50)", "b (2.25)"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("delay k, in steps", "squared correlation")
    check_everything_is_inside(axes)


def test_a_memory_capacity_plots_itself():
    memory = memory_capacity(crnn.RNN(1, 4, seed=0), steps=200)
    axes = memory.plot()
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), memory.capacities)
    plain = plotting.memory_curve(memory)
    np.testing.assert_array_equal(plain.lines[0].get_ydata(), memory.capacities)
    assert plain.get_legend() is None


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "curves: expected at least one, got an empty mapping"),
        ({"a": []}, r"curves\['a'\]: expected capacities .* got shape \(0,\)"),
        ({"a": [[0.5]]}, r"curves\['a'\]: expected capacities .* got shape \(1, 1\)"),
        ([1.5, -0.1, 0.2], r"curves: expected capacities \(K,\) from 0 to 1, got 2 outside"),
        ([np.nan], r"curves: .*finite, got 1 that are not"),
        ("a", "curves: expected capacities .* got 'a'"),
    ],
)
def test_wrong_capacities_raise(curves, message):
    with pytest.raises(ValueError, match=message):
        plotting.memory_curve(curves)


# ---------------------------------------------------------------------------------------- all of it


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plotting.norms_by_step({"h": [1.0]}, ax),
        lambda ax: plotting.saturation({"f": ([0.5], [0.5])}, ax),
        lambda ax: plotting.influence([[1.0, 0.0]], ax),
        lambda ax: plotting.memory_curve({"a": [1.0, 0.0]}, ax),
        lambda ax: plotting.saliency([1.0, 2.0], ax),
        lambda ax: plotting.saliency([1.0, 2.0], ax, symbols="ab"),
        lambda ax: plotting.recorded({"a": ([1], [1.0])}, ax, ylabel="y"),
    ],
)
def test_plots_are_drawn_into_the_axes_of_the_caller(draw):
    axes = matplotlib.figure.Figure(figsize=(4, 3), layout="constrained").subplots()
    assert draw(axes) is axes
    axes.figure.draw_without_rendering()
