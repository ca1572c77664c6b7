"""Piano rolls: a bar for each note, frames over probabilities, names of keys."""

import numpy as np
import pytest

from crnn import plotting

matplotlib = pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("headless")


def roll_of(*notes, T=8):
    """A piano roll of (number in MIDI, first step, step after the last)."""
    roll = np.zeros((T, 88))
    for number, first, last in notes:
        roll[first:last, number - 21] = 1
    return roll


def bars(axes):
    """(number, begin, length, colour) of each bar, in order."""
    found = []
    for bar in axes.patches:
        if bar.get_zorder() == 3:
            middle = bar.get_y() + bar.get_height() / 2
            colour = matplotlib.colors.to_hex(bar.get_facecolor()).upper()
            found.append((round(middle), bar.get_x(), bar.get_width(), colour))
    return sorted(found)


def names(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def test_a_key_that_is_held_is_one_bar():
    axes = plotting.piano_roll(roll_of((60, 0, 3), (60, 5, 6), (64, 2, 8), (108, 0, 1)))
    assert [bar[:3] for bar in bars(axes)] == [(60, 0, 3), (60, 5, 1), (64, 2, 6), (108, 0, 1)]
    assert len({bar[3] for bar in bars(axes)}) == 1
    assert axes.get_legend() is None
    assert axes.get_xlim() == (0, 8)
    axes.figure.canvas.draw()


def test_generated_notes_have_another_colour_from_their_step_on():
    axes = plotting.piano_roll(roll_of((60, 0, 6), (62, 5, 8)), start=4)
    blue, orange = plotting.axes.BLUE, plotting.axes.ORANGE
    assert bars(axes) == [(60, 0, 4, blue), (60, 4, 2, orange), (62, 5, 3, orange)]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["given", "generated"]
    assert axes.lines[0].get_xdata()[0] == 4
    assert plotting.piano_roll(roll_of((60, 0, 6)), start=8).get_legend() is None


def test_probabilities_are_colours_and_notes_are_frames():
    roll, p = roll_of((60, 0, 3), T=4), np.zeros((4, 88))
    p[2, 60 - 21], p[3, 40 - 21], p[0] = 0.75, 0.5, np.nan
    axes = plotting.piano_roll(roll, probabilities=p, start=2)
    (image,) = axes.images
    grid = image.get_array()
    assert grid.shape == (88, 4)
    assert (grid[60 - 21, 2], grid[40 - 21, 3]) == (0.75, 0.5)
    assert np.ma.getmaskarray(grid)[:, 0].all()
    assert image.get_clim() == (0, 1)
    left, right, bottom, top = image.get_extent()
    assert (left, right, bottom, top) == (0, 4, 20.5, 108.5)
    low, high = axes.get_ylim()
    assert low < 40 < 60 < high  # keys that are probable are shown, too
    assert {bar[3] for bar in bars(axes)} == {"#000000"}  # no face
    axes.figure.canvas.draw()


def test_the_white_keys_of_a_small_range_and_the_c_of_a_large_one_have_names():
    small = plotting.piano_roll(roll_of((60, 0, 1), (67, 0, 1)))
    assert names(small) == ["B3", "C4", "D4", "E4", "F4", "G4", "A4"]
    assert names(plotting.piano_roll(roll_of((40, 0, 1), (90, 0, 1)))) == ["C3", "C4", "C5", "C6"]
    assert names(plotting.piano_roll(np.eye(3), lowest=60)) == ["C4", "D4"]


def test_a_silent_roll_is_drawn():
    axes = plotting.piano_roll(np.zeros((3, 88)))
    assert bars(axes) == []
    assert len(names(axes)) >= 5
    axes.figure.canvas.draw()


WRONG = [
    (np.zeros(3), {}, r"roll: expected a piano roll \(T, K\) of 0 and 1, got shape \(3,\)"),
    (np.zeros((0, 88)), {}, "roll: expected a piano roll"),
    (np.full((2, 3), 0.5), {}, "roll: expected 0 and 1, got other numbers; sample probabilities"),
    ("notes", {}, "roll: expected a piano roll"),
    (np.eye(3), {"start": 4}, "start: expected a step from 0 to T=3, got 4"),
    (np.eye(3), {"start": -1}, "start: expected a step from 0 to T=3, got -1"),
    (np.eye(3), {"probabilities": np.ones((2, 3))}, r"the shape of the roll, \(3, 3\), got shape"),
    (np.eye(3), {"probabilities": np.full((3, 3), 2.0)}, "from 0 to 1, got others"),
]


@pytest.mark.parametrize(("roll", "options", "message"), WRONG)
def test_wrong_arguments(roll, options, message):
    with pytest.raises(ValueError, match=message):
        plotting.piano_roll(roll, **options)
