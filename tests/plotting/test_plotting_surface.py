"""A loss over two parameters: levels of the colours, and paths of gradient descent."""

import numpy as np
import pytest

from crnn import plotting

matplotlib = pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("headless")

X, Y = np.linspace(-2, 2, 41), np.linspace(-1, 1, 21)
BOWL = X**2 + 3 * Y[:, None] ** 2


def filled(axes):
    """Return the filled contours, and the levels at which the colour changes."""
    (found,) = [one for one in axes.collections if getattr(one, "filled", False)]
    return found, found.levels


def heads(axes):
    return [note.xy for note in axes.texts if getattr(note, "arrow_patch", None) is not None]


def test_the_surface_has_x_to_the_right_and_y_upwards():
    axes = plotting.loss_surface(X, Y, BOWL, xlabel="weight", ylabel="bias", levels=12)
    _, levels = filled(axes)
    assert (axes.get_xlim(), axes.get_ylim()) == ((-2, 2), (-1, 1))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("weight", "bias")
    assert len(levels) == 13
    assert (levels[0], levels[-1]) == (BOWL.min(), BOWL.max())
    assert np.all(np.diff(levels) > 0)
    (bar,) = [one for one in axes.figure.axes if one is not axes]
    assert bar.get_ylabel() == "loss"
    assert not axes.get_legend()
    axes.figure.draw_without_rendering()


def test_a_cliff_and_a_plain_both_have_many_levels():
    losses = np.where(X > 1.5, 1e6, 0.1) * (1 + BOWL)
    _, levels = filled(plotting.loss_surface(X, Y, losses))
    plain, cliff = losses[:, X <= 1.5].max(), losses[:, X > 1.5].min()
    assert np.sum(levels < plain) >= 6
    assert np.sum((levels > plain) & (levels < cliff)) >= 4


@pytest.mark.parametrize("offset", [0, -5, 1e3])
def test_losses_of_any_sign(offset):
    _, levels = filled(plotting.loss_surface(X, Y, BOWL + offset))
    assert len(levels) == 31
    inside = [np.mean(BOWL + offset < level) for level in levels]
    assert np.max(np.diff(inside)) < 0.15  # no step of the colours takes much of the area


def test_losses_that_are_not_finite_are_drawn_like_the_largest():
    losses = BOWL.copy()
    losses[0, 0], losses[-1, -1] = np.inf, np.nan
    contours, levels = filled(plotting.loss_surface(X, Y, losses))
    assert levels[-1] == BOWL.max()
    losses[0, 0] = losses[-1, -1] = BOWL.max()
    expected, _ = filled(plotting.loss_surface(X, Y, losses))
    for found, path in zip(contours.get_paths(), expected.get_paths(), strict=True):
        np.testing.assert_array_equal(found.vertices, path.vertices)
    with pytest.raises(ValueError, match="losses: expected at least one finite number, got none"):
        plotting.loss_surface(X, Y, np.full_like(BOWL, np.nan))


def test_a_constant_loss():
    axes = plotting.loss_surface(X, Y, np.ones_like(BOWL))
    axes.figure.draw_without_rendering()
    assert filled(axes)[1].tolist() == [0.5, 1.5]


# ------------------------------------------------------------------------------------ ways down


def test_both_paths_are_drawn_and_differ():
    path, clipped = [(1, 0.5), (-1, 0), (0.5, 0.25)], [(1, 0.5), (0.5, 0.4), (0.2, 0.2)]
    axes = plotting.loss_surface(X, Y, BOWL, path=path, clipped=clipped)
    plain, other = axes.lines
    np.testing.assert_array_equal(plain.get_xydata(), path)
    np.testing.assert_array_equal(other.get_xydata(), clipped)
    for what in ("color", "linestyle", "marker"):
        assert getattr(plain, f"get_{what}")() != getattr(other, f"get_{what}")(), what
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["gradient descent", "with clipping"]
    assert heads(axes) == [*path[1:], *clipped[1:]]


def test_a_step_out_of_the_window_is_cut_off_at_its_border():
    axes = plotting.loss_surface(X, Y, BOWL, path=[(0, 0), (4, 1), (0, 3), (0, 0.5)])
    (line,) = axes.lines
    expected = [(0, 0), (2, 0.5), (np.nan,) * 2, (np.nan,) * 2, (0, 1), (0, 0.5)]
    np.testing.assert_allclose(line.get_xydata(), expected)
    assert [expected[i] for i in line.get_markevery()] == [(0, 0), (0, 0.5)]
    assert [*map(tuple, heads(axes))] == [(2, 0.5), (0, 0.5)]
    (label,) = axes.get_legend().get_texts()
    assert label.get_text() == "gradient descent (2 of 4 points outside)"


def test_a_step_across_the_window_is_drawn():
    axes = plotting.loss_surface(X, Y, BOWL, clipped=[(-4, 0), (4, 0)])
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_xydata()[:2], [(-2, 0), (2, 0)])
    assert line.get_markevery() == []


def test_a_path_that_diverges():
    path = [(0, 0.5), (1e200, 1e200), (np.inf, np.nan)]
    axes = plotting.loss_surface(X, Y, BOWL, path=path)
    ends = axes.lines[0].get_xydata()
    assert np.nanmax(np.abs(ends)) <= 2
    assert "2 of 3 points outside" in axes.get_legend().get_texts()[0].get_text()
    axes.figure.draw_without_rendering()


def test_short_steps_have_no_arrowheads():
    path = np.stack([np.linspace(1, 0, 200)] * 2, axis=1)
    axes = plotting.loss_surface(X, Y, BOWL, path=path)
    assert not heads(axes)
    assert len(axes.lines[0].get_markevery()) == 200


def test_the_legend_covers_neither_the_surface_nor_the_label():
    for size in ((7.5, 5), (3.7, 3)):
        axes = matplotlib.figure.Figure(figsize=size, layout="constrained").subplots()
        way = [(5, 5), (0, 0)]
        assert plotting.loss_surface(X, Y, BOWL, axes, path=way, clipped=way) is axes
        axes.set_title("A loss")
        axes.figure.draw_without_rendering()
        legend = axes.get_legend().get_window_extent()
        assert legend.y1 < axes.xaxis.label.get_window_extent().y0
        assert axes.figure.bbox.x0 <= legend.x0 < legend.x1 <= axes.figure.bbox.x1
        assert axes.figure.bbox.y0 <= legend.y0
        assert axes.bbox.width > 0.5 * axes.figure.bbox.width  # there is room for the surface


# ------------------------------------------------------------------------------- wrong arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, Y, BOWL.T), r"losses: expected an array .* = \(21, 41\), got shape \(41, 21\)"),
        ((X, Y, BOWL[0]), r"losses: expected an array .* = \(21, 41\), got shape \(41,\)"),
        ((X[::-1], Y, BOWL), "x: expected at least 2 increasing numbers, got "),
        ((X, [0, 0], BOWL), r"y: expected at least 2 increasing numbers, got \[0, 0\]"),
        ((X, [[0, 1]], BOWL), r"y: expected at least 2 increasing numbers, got shape \(1, 2\)"),
        ((X, [0, np.nan], BOWL), "y: expected .* all of them finite, got 1 that are not"),
        ((["a"], Y, BOWL), r"x: expected .* got \['a'\]"),
    ],
)
def test_wrong_surfaces_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        plotting.loss_surface(*arguments)


@pytest.mark.parametrize("name", ["path", "clipped"])
def test_a_path_has_points(name):
    with pytest.raises(ValueError, match=rf"{name}: expected points \(S, 2\), got shape \(2, 3\)"):
        plotting.loss_surface(X, Y, BOWL, **{name: np.zeros((2, 3))})
    with pytest.raises(ValueError, match=rf"{name}: expected points \(S, 2\), got shape \(2,\)"):
        plotting.loss_surface(X, Y, BOWL, **{name: [1, 2]})


def test_too_few_levels():
    with pytest.raises(ValueError, match="levels: expected at least 2, got 1"):
        plotting.loss_surface(X, Y, BOWL, levels=1)
