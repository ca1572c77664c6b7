"""Gates and states of one unit over a text: values, scales and characters."""

from itertools import pairwise

import numpy as np
import pytest

import crnn
from crnn import plotting

matplotlib = pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("headless")

SYMBOLS = "\t\n abcdefghij"


def read(layer, steps, rows=2):
    x = np.random.default_rng(0).normal(size=(rows, steps, layer.input_size))
    return layer.forward(x)[2]


def lines_of(axes, columns, names):
    """Return the values of each line over all blocks, from the images."""
    (first, *others) = [np.ma.filled(image.get_array(), np.nan) for image in axes.images]
    grid = first.copy()
    for other in others:
        assert not np.any(~np.isnan(grid) & ~np.isnan(other))  # no value covers another
        grid[~np.isnan(other)] = other[~np.isnan(other)]
    height = len(names) + 2
    assert grid.shape[1] == columns
    values = {name: grid[i::height].ravel() for i, name in enumerate(names)}
    for space in (len(names), len(names) + 1):
        assert np.all(np.isnan(grid[space::height]))
    return {name: value[~np.isnan(value)] for name, value in values.items()}


def names_of(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def test_gates_and_states_of_an_lstm():
    lstm = crnn.LSTM(3, 5, seed=0)
    tape = read(lstm, 50)
    axes = plotting.unit_over_text("abcdefghij" * 5, tape, 4, row=1, columns=24)
    names = ["i", "f", "g", "o", "tanh(c)", "h"]
    assert names_of(axes) == names * 3  # three blocks
    found = lines_of(axes, 24, names)
    for gate in "ifgo":
        np.testing.assert_allclose(found[gate], tape.gates[gate][1, :, 4], rtol=1e-6)
    np.testing.assert_allclose(found["tanh(c)"], np.tanh(tape.c[1, :, 4]), rtol=1e-6)
    np.testing.assert_allclose(found["h"], tape.h[1, :, 4], rtol=1e-6)
    unsigned, signed = axes.images
    assert (unsigned.get_clim(), signed.get_clim()) == ((0, 1), (-1, 1))
    assert np.sum(~np.ma.getmaskarray(unsigned.get_array())) == 3 * 50
    (bar,) = [one for one in axes.figure.axes if one is not axes]
    assert (bar.get_ylabel(), bar.child_axes[0].get_ylabel()) == ("g, tanh(c), h", "i, f, o")


@pytest.mark.parametrize(
    ("layer", "names", "limits"),
    [
        (crnn.GRU(3, 5, seed=0), ["r", "z", "n", "h"], [(0, 1), (-1, 1)]),
        (crnn.JANET(3, 5, seed=0), ["f", "g", "h"], [(0, 1), (-1, 1)]),
        (crnn.RNN(3, 5, seed=0), ["h"], [(-1, 1)]),
        (crnn.LSTM(3, 5, proj_size=2), ["i", "f", "g", "o", "tanh(c)"], [(0, 1), (-1, 1)]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_layers(layer, names, limits):
    axes = plotting.unit_over_text("abcde", read(layer, 5), 0)
    assert names_of(axes) == names
    assert [image.get_clim() for image in axes.images] == limits
    axes.figure.draw_without_rendering()


def test_values_above_one_have_a_symmetric_scale():
    rnn = crnn.RNN(3, 5, activation="relu", seed=0)
    rnn.params["W_x"] *= 20
    tape = read(rnn, 30)
    axes = plotting.unit_over_text("abcde" * 6, tape, 2)
    largest = tape.h[0, :, 2].max()
    assert largest > 1
    np.testing.assert_allclose(axes.images[0].get_clim(), (-largest, largest), rtol=1e-6)


def test_the_tapes_of_compositions():
    x = np.array([[SYMBOLS.index(character) for character in "a b\n"]])
    model = crnn.Sequential([crnn.Embedding(13, 4, seed=0), crnn.LSTM(4, 6, seed=1)])
    tape = model.forward(x)[2]
    found = lines_of(
        plotting.unit_over_text("a b\n", tape[1], 3), 20, ["i", "f", "g", "o", "tanh(c)", "h"]
    )
    np.testing.assert_allclose(found["f"], tape[1].gates["f"][0, :, 3], rtol=1e-6)
    both = crnn.Bidirectional(crnn.GRU(4, 6, seed=0))
    tape = read(both.forward_layer, 4), both.forward(np.zeros((1, 4, 4)))[2]
    assert names_of(plotting.unit_over_text("abcd", tape[1].backward, 0)) == ["r", "z", "n", "h"]


def test_characters_are_below_their_values_and_visible():
    axes = plotting.unit_over_text("a\tb c\n$\0" * 4, read(crnn.RNN(3, 5), 40), 0, columns=20)
    shown = [(text.get_text(), text.get_position()) for text in axes.texts]
    assert [text for text, _ in shown[:8]] == ["a", "⇥", "b", "␣", "c", "↵", "$", "·"]
    assert [place for _, place in shown[18:22]] == [(18, 1), (19, 1), (0, 4), (1, 4)]
    assert len(shown) == 32  # as long as the text; the rest is padding


@pytest.mark.parametrize(("steps", "size"), [(5, None), (200, None), (130, (7.5, 3.8))])
def test_characters_do_not_overlap(steps, size):
    axes = None
    if size:
        axes = matplotlib.figure.Figure(figsize=size, layout="constrained").subplots()
    tape = read(crnn.LSTM(3, 5), steps)
    axes = plotting.unit_over_text(("abW\n" * 50)[:steps], tape, 0, axes)
    axes.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    for before, after in pairwise(boxes):
        assert before.x1 <= after.x0 + 0.5 or after.y1 < before.y0
    names = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(after.y1 < before.y0 + 1 for before, after in pairwise(names))
    inside = axes.figure.bbox
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in [*boxes, *names])
    assert axes.figure.get_size_inches()[0] <= 7.5
    assert min(text.get_fontsize() for text in axes.texts) >= 6


def test_no_grid_is_drawn_in_a_style_with_grids():
    with matplotlib.rc_context({"axes.grid": True}):
        axes = plotting.unit_over_text("abc", read(crnn.RNN(3, 5), 3), 0)
        alignment = plotting.plot_attention([[1.0, 0.0]], "ab", "c")
    for one in (axes, alignment):
        ticks = [*one.xaxis.get_major_ticks(), *one.yaxis.get_major_ticks()]
        assert not any(tick.gridline.get_visible() for tick in ticks)


TAPE = read(crnn.GRU(3, 5, seed=0), 4)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("abcde", TAPE, 0), {}, "text: expected from 1 to T=4 characters, got 5"),
        (("", TAPE, 0), {}, "text: expected from 1 to T=4 characters, got 0"),
        (("ab", TAPE, 5), {}, "unit: expected from 0 to 4, got 5"),
        (("ab", TAPE, -1), {}, "unit: expected from 0 to 4, got -1"),
        (("ab", TAPE, 0), {"row": 2}, "row: expected from 0 to 1, got 2"),
        (("ab", TAPE, 0), {"columns": 0}, "columns: expected at least 1, got 0"),
        (("ab", (TAPE,), 0), {}, "tape: expected the tape of a recurrent layer .* got tuple"),
    ],
)
def test_wrong_arguments(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        plotting.unit_over_text(*arguments, **options)


def test_the_tape_of_a_bidirectional_layer_raises():
    tape = crnn.Bidirectional(crnn.GRU(3, 5)).forward(np.zeros((1, 2, 3)))[2]
    with pytest.raises(
        ValueError, match=r"tape: .* tape.backward of a Bidirectional.* got PairTape"
    ):
        plotting.unit_over_text("ab", tape, 0)
