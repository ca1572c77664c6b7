"""A model unfolded in time: its boxes, arrows and shapes, and that no text overlaps."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

import crnn
from crnn import plotting
from crnn.plotting.rows import rows_of

matplotlib = pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("headless")


class Doubling:
    """Layer of a class outside of crnn."""

    params, grads = {"factor": np.full((1, 1), 2.0)}, {"factor": np.zeros((1, 1))}

    def __call__(self, x, state=None):
        return 2 * x, None

    def forward(self, x, state=None):
        return 2 * x, None, None

    def backward(self, tape, dy, dstate=None):
        return 2 * dy, None


def sequential(*layers):
    return crnn.Sequential(list(layers))


def deep():
    return sequential(
        crnn.Embedding(100, 1000),
        crnn.Bidirectional(crnn.LSTM(1000, 32)),
        sequential(crnn.LSTM(64, 32, proj_size=16, peepholes=True, layer_norm=True)),
        crnn.Residual(crnn.GRU(16, 16)),
        crnn.Dropout(0.1),
        crnn.JANET(16, 8, reverse=True),
        crnn.Pool("mean"),
        crnn.Dense(8, 1000),
    )


MODELS = {
    "rnn": lambda: crnn.RNN(3, 5),
    "characters": lambda: sequential(
        crnn.Embedding(60, 16), crnn.LSTM(16, 128), crnn.Dense(128, 60)
    ),
    "bidirectional": lambda: crnn.Bidirectional(crnn.GRU(3, 4), merge="sum"),
    "residuals": lambda: crnn.Residual(
        sequential(crnn.Residual(crnn.Bidirectional(crnn.LSTM(8, 8), merge="mean")), crnn.RNN(8, 8))
    ),
    "conditioned": lambda: crnn.Conditioned(crnn.LSTM(8, 16), crnn.Dense(50, 32)),
    "checkpointed": lambda: crnn.Checkpointed(sequential(crnn.GRU(4, 8), crnn.LayerNorm(8)), 4),
    "deep": deep,
    "last": lambda: sequential(crnn.GRU(2, 4), crnn.Pool(), crnn.Dense(4, 2)),
    "of another maker": lambda: sequential(crnn.Dropout(0.2), crnn.LSTM(4, 8), Doubling()),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def words(axes):
    return Counter(text.get_text() for text in axes.texts if text.get_text())


def boxes_of(axes):
    return [patch for patch in axes.patches if hasattr(patch, "get_boxstyle")]


def arrows_of(axes):
    """Return the ends (from, to) of each arrow."""
    return [
        (note.xyann, note.xy)
        for note in axes.texts
        if getattr(note, "arrow_patch", None) is not None
    ]


def sideways(axes, backwards=False):
    found = [(a, b) for a, b in arrows_of(axes) if a[1] == b[1] and a[0] != b[0]]
    return [(a, b) for a, b in found if (a[0] > b[0]) == backwards]


# ------------------------------------------------------------------------------- what there is


def test_a_box_for_each_layer_and_step():
    axes = plotting.unfolded(MODELS["characters"](), steps=3)
    found = words(axes)
    assert len(boxes_of(axes)) == 3 * 4  # and the last column
    assert [found[name] for name in ("Embedding", "LSTM", "Dense")] == [4, 4, 4]
    for name in ("0: Embedding", "1: LSTM", "2: Dense", "W (60, 16)", "W (60, 128), b (60,)"):
        assert found[name] == 1, name
    ends = [f"${name}_{k}$" for name in "xy" for k in ("{1}", "{2}", "{3}", "T")]
    assert [found[end] for end in ends] == [1] * 8


def test_shapes_are_beside_the_arrows():
    axes = plotting.unfolded(MODELS["characters"]())
    shapes = [text for text in axes.texts if text.get_text().startswith("(B")]
    shapes.sort(key=lambda text: text.get_position()[1])
    assert [text.get_text() for text in shapes] == ["(B,)", "(B, 16)", "(B, 128)", "(B, 60)"]


def test_only_recurrent_layers_pass_states_from_step_to_step():
    axes = plotting.unfolded(MODELS["characters"](), steps=3)
    found = words(axes)
    assert found["h, c"] == 2  # between three columns
    assert found["$h_{0}$, $c_{0}$"] == found["$h_{T}$, $c_{T}$"] == 1
    assert len(sideways(axes)) == 6  # in, twice, to the dots, from them, out
    assert not sideways(axes, backwards=True)
    assert not sideways(plotting.unfolded(crnn.Dense(3, 4)))
    assert words(plotting.unfolded(crnn.GRU(3, 4), steps=3))["h"] == 2


def test_a_reversed_layer_passes_its_state_backwards():
    axes = plotting.unfolded(crnn.JANET(3, 4, reverse=True))
    assert not sideways(axes)
    assert len(sideways(axes, backwards=True)) == 7
    assert words(axes)["$h_{T+1}$"] == words(axes)["$h_{1}$"] == 1


def test_two_directions_are_two_rows():
    axes = plotting.unfolded(crnn.Bidirectional(crnn.GRU(3, 4)))
    found = words(axes)
    assert found["forward: GRU"] == found["backward: GRU"] == found["Bidirectional"] == 1
    assert (found["GRU"], found["concat"], found["(B, 8)"]) == (10, 5, 1)
    assert len(sideways(axes)) == len(sideways(axes, backwards=True)) == 7
    low, high = (
        next(y for text in axes.texts if text.get_text() == name for y in [text.get_position()[1]])
        for name in ("forward: GRU", "backward: GRU")
    )
    assert low < high


def test_after_pooling_only_the_last_column_has_boxes():
    axes = plotting.unfolded(MODELS["last"](), steps=4)
    found = words(axes)
    assert (found["GRU"], found["Pool"], found["Dense"]) == (5, 1, 1)
    assert (found["$y$"], found["$y_T$"]) == (1, 0)
    into = [b for a, b in arrows_of(axes) if a[0] == b[0]]
    assert len(into) == 5 + 1 + 1 + 1  # into the GRUs, Pool, Dense, and out
    axes = plotting.unfolded(sequential(crnn.GRU(2, 4), crnn.Pool("mean"), crnn.Dense(4, 2)))
    into = [b for a, b in arrows_of(axes) if a[0] == b[0]]
    assert len(into) == 5 + 5 + 1 + 1  # the mean reads all steps


def test_a_residual_has_a_skip_connection():
    rows = rows_of(sequential(crnn.Residual(sequential(crnn.RNN(4, 4), crnn.Dense(4, 4))))).rows
    assert [(row.name, row.joins) for row in rows] == [("RNN", None), ("Dense", None), ("+", 0)]
    axes = plotting.unfolded(crnn.Residual(crnn.Dense(4, 4)))
    by = [line for line in axes.lines if len(line.get_xdata()) == 4]
    assert len(by) == 5
    (x, *_), (_, low, high, _) = by[0].get_data()
    box = boxes_of(axes)[0].get_window_extent().transformed(axes.transData.inverted())
    assert by[0].get_xdata()[1] < box.x0 < x
    assert low < box.y0 < box.y1 < high


def test_notes_and_shapes_of_layers():
    conditioned, checkpointed = (MODELS[name]() for name in ("conditioned", "checkpointed"))
    assert [(row.title, row.notes[-1]) for row in rows_of(conditioned).rows] == [
        ("layer: LSTM", "starts from Dense(fixed)")
    ]
    gru, norm = rows_of(checkpointed).rows
    assert (gru.title, gru.notes[-1], norm.title) == (
        "layer.0: GRU",
        "Checkpointed",
        "layer.1: LayerNorm",
    )
    projected = rows_of(crnn.LSTM(4, 8, proj_size=3)).rows[0]
    assert projected.notes[-1] == "state h (B, 3), c (B, 8)"
    assert projected.gives == "(B, 3)"


def test_a_layer_outside_of_crnn_is_a_plain_box():
    made_of = rows_of(MODELS["of another maker"]())
    assert made_of.reads == "(B, 4)"  # from the input_size of the LSTM
    assert [row.gives for row in made_of.rows] == ["(B, 4)", "(B, 8)", "(B, ?)"]
    assert made_of.rows[2].notes == ("factor (1, 1)",)
    assert words(plotting.unfolded(Doubling(), steps=2))["Doubling"] == 4  # boxes and the title


# ---------------------------------------------------------------------------- that it can be read


def check_legible(axes):
    """Check that no text overlaps another or the edge of a box, and that none is cut off."""
    figure = axes.figure
    figure.draw_without_rendering()
    texts = [text for text in axes.texts if text.get_text().strip()]
    extents = [(text.get_text(), text.get_window_extent()) for text in texts]
    frames = [patch.get_window_extent() for patch in boxes_of(axes)]
    for (one, here), (other, there) in combinations(extents, 2):
        assert not here.overlaps(there), f"{one!r} and {other!r}"
    for word, here in extents:
        assert figure.bbox.x0 <= here.x0 < here.x1 <= figure.bbox.x1, word
        assert figure.bbox.y0 <= here.y0 < here.y1 <= figure.bbox.y1, word
        for frame in frames:
            within = frame.x0 <= here.x0 and here.x1 <= frame.x1
            assert within or not here.overlaps(frame), word


@pytest.mark.parametrize("steps", [1, 4])
def test_texts_do_not_overlap(model, steps):
    check_legible(plotting.unfolded(model, steps))


@pytest.mark.parametrize("name", ["characters", "bidirectional"])
def test_texts_do_not_overlap_in_a_users_style(name):
    with matplotlib.rc_context({"font.size": 13, "axes.grid": True, "axes.titlesize": 20}):
        axes = plotting.unfolded(MODELS[name]())
        axes.set_title("A model")
        axes.figure.set_size_inches(*(1.15 * axes.figure.get_size_inches()))
        check_legible(axes)


def test_no_arrow_crosses_the_names_of_states():
    axes = plotting.unfolded(crnn.Bidirectional(crnn.LSTM(3, 4)))
    axes.figure.draw_without_rendering()
    names = [text.get_window_extent() for text in axes.texts if "h" in text.get_text().split(", ")]
    ways = [line.get_path().transformed(axes.transData) for line in axes.lines]
    assert len(names) == 6  # three in each direction
    assert not any(way.intersects_bbox(name, filled=False) for way in ways for name in names)


def test_the_plot_fits_a_notebook():
    for name in ("rnn", "characters", "deep"):
        axes = plotting.unfolded(MODELS[name]())
        assert axes.figure.get_size_inches()[0] < 8
        sizes = [text.get_fontsize() for text in axes.texts if text.get_text()]
        assert min(sizes) >= 5.5


def test_the_text_is_smaller_in_smaller_axes():
    natural = plotting.unfolded(MODELS["characters"]())
    figure = matplotlib.figure.Figure(figsize=(3.75, 2), layout="constrained")
    axes = plotting.unfolded(MODELS["characters"](), ax=figure.subplots())
    letters = [
        max(text.get_fontsize() for text in one.texts if text.get_text()) for one in (axes, natural)
    ]
    assert letters[0] < 0.6 * letters[1]
    check_legible(axes)


# ------------------------------------------------------------------------------- wrong arguments


def test_a_value_that_is_no_layer_raises():
    with pytest.raises(TypeError, match="model: expected a layer, got 3"):
        plotting.unfolded(3)
    with pytest.raises(TypeError, match=r"model: expected a layer, .* a class"):
        plotting.unfolded(crnn.LSTM)


def test_a_model_of_two_sequences_raises():
    model = crnn.Seq2Seq(
        crnn.GRU(4, 8), crnn.GRU(4, 8), source_symbols=5, target_symbols=5, attention=None
    )
    for one in (model, crnn.TeacherForcing(model)):
        with pytest.raises(
            ValueError,
            match=rf"model: expected a layer that reads one sequence, got a {type(one).__name__}",
        ):
            plotting.unfolded(one)
    assert words(plotting.unfolded(model.encoder))["GRU"] == 6


def test_zero_steps_raise():
    with pytest.raises(ValueError, match="steps: expected at least 1, got 0"):
        plotting.unfolded(crnn.RNN(1, 1), 0)
