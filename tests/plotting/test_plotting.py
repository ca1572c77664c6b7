"""Loss curves, gates over a text and attention weights; and the error without matplotlib."""

import sys
from itertools import pairwise

import numpy as np
import pytest

from crnn import plotting
from crnn.callbacks.history import History

matplotlib = pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("headless")


def history(val_loss):
    epochs = len(val_loss)
    columns = {name: [1.0] * epochs for name in History.NAMES}
    loss = [3.0 / (1 + n) for n in range(epochs)]
    return History(columns | {"epoch": [*range(1, epochs + 1)], "loss": loss, "val_loss": val_loss})


def test_the_loss_curve_has_both_curves():
    axes = plotting.loss_curve(history([2.0, 1.0]), unit="bits", scale=2.0)
    training, validation = axes.lines
    np.testing.assert_array_equal(training.get_xydata(), [[1, 6], [2, 3]])
    np.testing.assert_array_equal(validation.get_xydata(), [[1, 4], [2, 2]])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "bits")
    assert training.get_linestyle() != validation.get_linestyle()


def test_without_validation_there_is_one_curve():
    axes = plotting.loss_curve(history([None, None]))
    assert len(axes.lines) == 1


def test_the_loss_curve_is_drawn_into_axes_and_files(tmp_path):
    figure = matplotlib.figure.Figure()
    axes = figure.subplots()
    assert plotting.loss_curve(history([2.0]), axes) is axes
    plotting.save_loss_curve(tmp_path / "loss.png", history([2.0]))
    assert (tmp_path / "loss.png").stat().st_size > 1000


def test_gates_over_text_colours_each_character_by_its_value():
    text, values = "ab\ncdefg$", np.linspace(0, 1, 9)
    axes = plotting.gates_over_text(text, values, columns=4, label="f")
    image = axes.images[0]
    grid = image.get_array()
    expected = [[0, 1, 2, None], [3, 4, 5, 6], [7, 8, None, None]]
    for row, numbers in enumerate(expected):
        for column, number in enumerate(numbers):
            if number is None:
                assert np.ma.getmaskarray(grid)[row, column]
            else:
                assert grid[row, column] == values[number]
    shown = [(t.get_text(), t.get_position()) for t in axes.texts]
    assert shown[:4] == [("a", (0, 0)), ("b", (1, 0)), ("↵", (2, 0)), ("c", (0, 1))]
    assert (axes.texts[0].get_color(), axes.texts[-1].get_color()) == ("white", "black")
    assert image.get_clim() == (0, 1)
    axes.figure.canvas.draw()


def test_the_scale_of_signed_values_is_symmetric():
    axes = plotting.gates_over_text("abc", [-0.5, 0.1, 3.0])
    assert axes.images[0].get_clim() == (-3, 3)
    axes = plotting.gates_over_text("abc", [-0.5, 0.1, 3.0], limits=(-1, 1))
    assert axes.images[0].get_clim() == (-1, 1)


def test_lightness_increases_along_the_colour_map():
    colours = matplotlib.colormaps["cividis"](np.linspace(0, 1, 50))[:, :3]
    assert np.all(np.diff(colours @ [0.2126, 0.7152, 0.0722]) > 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("abc", [1, 2]), r"values: expected one value per character .* \(3,\), got shape \(2,\)"),
        (("", []), r"values: expected one value per character .* \(0,\), got shape \(0,\)"),
        (("abc", [[1, 2, 3]]), r"values: .* got shape \(1, 3\)"),
    ],
)
def test_wrong_values_over_text_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        plotting.gates_over_text(*arguments)
    with pytest.raises(ValueError, match="columns: expected at least 1, got 0"):
        plotting.gates_over_text("a", [1], columns=0)


def test_the_error_without_matplotlib_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    message = r'plots require matplotlib: pip install ".\[plot\]"'
    with pytest.raises(ImportError, match=message):
        plotting.loss_curve(history([1.0]))
    with pytest.raises(ImportError, match=message):
        plotting.save_loss_curve(tmp_path / "loss.png", history([1.0]))


# -------------------------------------------------------------------------------------- attention


def labels_of(axes):
    ticks = axes.get_yticklabels(), axes.get_xticklabels()
    return [[label.get_text() for label in side] for side in ticks]


def test_attention_has_the_target_in_rows_and_the_source_in_columns():
    weights = np.array([[0.9, 0.1, 0.0], [0.0, 0.25, 0.75]])
    axes = plotting.plot_attention(weights, "a b", "$\n")
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), weights)
    assert (image.get_clim(), image.get_cmap().name) == ((0, 1), "cividis")
    assert labels_of(axes) == [["$", "↵"], ["a", "␣", "b"]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("source", "target")
    axes.figure.canvas.draw()


@pytest.mark.parametrize(
    ("source", "target"),
    [("x" * 60, "y" * 40), (["extraordinarily", "$long$", "words"] * 5, ["langes", "Wort"] * 4)],
)
def test_labels_of_attention_do_not_overlap(source, target):
    axes = plotting.plot_attention(np.zeros((len(target), len(source))), source, target)
    axes.figure.canvas.draw()
    for labels, low, high in (
        (axes.get_xticklabels(), "x0", "x1"),
        (axes.get_yticklabels()[::-1], "y0", "y1"),
    ):
        boxes = [label.get_window_extent() for label in labels]
        assert all(getattr(box, high) < getattr(after, low) for box, after in pairwise(boxes))
        inside = axes.figure.bbox
        assert all(inside.x0 <= b.x0 and b.x1 <= inside.x1 for b in boxes)
        assert all(inside.y0 <= b.y0 and b.y1 <= inside.y1 for b in boxes)


def test_attention_is_drawn_into_axes_and_files(tmp_path):
    axes = matplotlib.figure.Figure().subplots()
    assert plotting.plot_attention([[1.0]], "a", "b", axes) is axes
    plotting.save_attention(tmp_path / "attention.png", [[1.0]], "a", "b")
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("weights", "source", "target", "shapes"),
    [
        ([[1, 2]], "ab", "cd", r"\(2, 2\), .* got shape \(1, 2\)"),
        ([[1, 2]], "a", "cd", r"\(2, 1\), .* got shape \(1, 2\)"),
        (np.zeros((0, 2)), "ab", "", r"\(0, 2\), .* got shape \(0, 2\)"),
    ],
)
def test_attention_weights_of_a_wrong_shape_raise(weights, source, target, shapes):
    message = rf"weights: expected shape \(T, S\) = {shapes}"
    with pytest.raises(ValueError, match=message):
        plotting.plot_attention(weights, source, target)


def test_attention_without_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install ".\[plot\]"'):
        plotting.save_attention(tmp_path / "a.png", [[1.0]], "a", "b")


def test_a_path_in_place_of_axes_is_answered():
    with pytest.raises(
        TypeError, match=r"ax: expected axes of matplotlib.* got 'loss\.png'; .*savefig"
    ):
        plotting.confusion_matrix([[1]], "loss.png")


def test_a_confusion_matrix_has_a_number_in_each_cell_and_names_on_both_sides():
    ax = plotting.confusion_matrix([[8, 2], [0, 0]], names=["cat", "$dog"])
    assert [text.get_text() for text in ax.texts] == ["8", "2", "0", "0"]
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["cat", "$dog"]
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.8, 0.2], [0, 0]])
    assert not plotting.confusion_matrix(np.eye(21)).texts
    assert plotting.confusion_matrix(np.eye(2) / 3).texts[0].get_text() == "0.333"


@pytest.mark.parametrize(
    ("matrix", "names", "message"),
    [
        ([[1, 2]], None, r"matrix: expected counts \(K, K\) of at least 0, got shape \(1, 2\)"),
        ([[1, -2], [0, 1]], None, r"matrix: expected counts .* smallest -2"),
        ([1, 2], None, r"matrix: expected a matrix \(K, K\) of counts, got shape \(2,\)"),
        ([[np.nan]], None, "matrix: .* finite"),
        ([[1]], ["a", "b"], "names: expected K=1 names, got 2"),
    ],
)
def test_a_wrong_confusion_matrix(matrix, names, message):
    with pytest.raises(ValueError, match=message):
        plotting.confusion_matrix(matrix, names=names)
