"""Errors that are raised inside compositions get notes with the place and the repr of the layer."""

import re

import numpy as np
import pytest

import crnn

B, T, I = 2, 4, 3
X = np.zeros((B, T, I), np.float32)
MINE, DENSE = "Breaks(3, 3, seed=0)", "Dense(3, 3, seed=0)"


class Breaks(crnn.RNN):
    """A layer that raises an error in the method `way`."""

    way = None

    def _break(self, way):
        if self.way == way:
            raise RuntimeError("broken")

    def __call__(self, *args, **kwargs):
        self._break("call")
        return super().__call__(*args, **kwargs)

    def forward(self, *args, **kwargs):
        self._break("forward")
        return super().forward(*args, **kwargs)

    def backward(self, *args, **kwargs):
        self._break("backward")
        return super().backward(*args, **kwargs)

    def check_backward(self, *args):
        self._break("check")
        return super().check_backward(*args)

    def stream(self, *args):
        self._break("stream")
        return BreakingStream(super().stream(*args), self.way)


class BreakingStream:
    def __init__(self, stream, way):
        self.stream, self.way = stream, way

    def step(self, x):
        if self.way == "step":
            raise RuntimeError("broken")
        return self.stream.step(x)

    @property
    def state(self):
        return self.stream.state

    @state.setter
    def state(self, value):
        if self.way == "state" and value is not None:
            raise RuntimeError("broken")


def breaks(way):
    layer = Breaks(I, I, seed=0)
    layer.way = way
    return layer


def run(model, way, x=X):
    """Call the method of the model in which a part raises."""
    if way == "call":
        model(x)
    elif way in ("stream", "step", "state"):
        stream = model.stream(B)
        if way == "state":
            stream.state = stream.state
        stream.step(X[:, 0])
    else:
        y, _, tape = model.forward(x)
        model.backward(tape, np.zeros_like(y))


def notes_of(raising, *args):
    with pytest.raises((RuntimeError, ValueError, TypeError)) as caught:
        raising(*args)
    return getattr(caught.value, "__notes__", [])


ALL = ("call", "forward", "backward", "check", "stream", "step", "state")
FOLLOWS = f"in layers[1], {MINE}, which follows {DENSE}"
COMPOSITIONS = {
    "sequential": (lambda part: crnn.Sequential([crnn.Dense(I, I, seed=0), part]), [FOLLOWS], ALL),
    "residual": (crnn.Residual, [f"in layer, {MINE}"], ALL),
    "checkpointed": (lambda part: crnn.Checkpointed(part, 3), [f"in layer, {MINE}"], ALL[:3]),
    "last state": (crnn.LastState, [f"in layer, {MINE}"], ALL[:4]),
    "conditioned": (
        lambda part: crnn.Conditioned(part, crnn.Dense(2, I, seed=0)),
        [f"in layer, {MINE}"],
        ALL[:4],
    ),
    "bidirectional": (crnn.Bidirectional, [f"in forward_layer, {MINE}"], ALL[:3]),
    "nested": (
        lambda part: crnn.Residual(
            crnn.Sequential([crnn.Dense(I, I, seed=0), crnn.Residual(part)])
        ),
        [
            f"in layer, {MINE}",
            f"in layers[1], Residual({MINE}), which follows {DENSE}",
            f"in layer, Sequential([{DENSE}, Residual({MINE})])",
        ],
        ALL,
    ),
}


@pytest.mark.parametrize(
    ("name", "way"), [(name, way) for name, row in COMPOSITIONS.items() for way in row[2]]
)
def test_the_part_that_raises_is_named(name, way):
    composition, expected, _ = COMPOSITIONS[name]
    model = composition(breaks(way))
    x = (X, np.zeros((B, 2), np.float32)) if name == "conditioned" else X
    assert notes_of(run, model, way, x) == expected
    model = composition(breaks(None))
    run(model, way, x)  # without an error in the part, none is raised


@pytest.mark.parametrize("way", ["call", "forward", "backward"])
def test_the_second_direction_is_named(way):
    model = crnn.Bidirectional(Breaks(I, I, seed=1))
    model.backward_layer.way = way
    (note,) = notes_of(run, model, way)
    assert note.startswith("in backward_layer, Breaks(3, 3, reverse=True, seed=")


def test_the_direction_whose_state_does_not_fit_is_named():
    model = crnn.Bidirectional(crnn.GRU(I, 2))
    y, _, tape = model.forward(X)
    wrong = np.zeros((B, 5), np.float32)
    assert notes_of(model, X, (None, wrong))[0].startswith("in backward_layer, GRU(3, 2, reverse")
    (note,) = notes_of(model.backward, tape, np.zeros_like(y), (wrong, None))
    assert note == f"in forward_layer, {model.forward_layer!r}"
    assert not np.any(model.grads["forward.b"])


def test_the_commonest_mistake_is_refused_by_the_constructor():
    first, second = crnn.Bidirectional(crnn.LSTM(3, 8)), crnn.Dense(8, 4)
    message = (
        f"layers[1]: expected a layer that reads the 16 features of {first!r}, "
        f"got {second!r}, which reads 8"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        crnn.Sequential([first, second])


def test_an_error_after_construction_names_the_layer():
    model = crnn.Sequential([crnn.Bidirectional(crnn.LSTM(3, 8)), crnn.Dense(16, 4)])
    model.layers[1] = second = crnn.Dense(8, 4)
    where = f"in layers[1], {second!r}, which follows {model.layers[0]!r}"
    for way in (model, model.forward):
        with pytest.raises(ValueError, match=r"^x: expected floats of shape \(B, T, I=8\) .*16\)"):
            way(X)
        assert notes_of(way, X) == [where]


def test_the_input_of_a_composition_is_named_by_its_first_layer():
    model = crnn.Sequential([crnn.Embedding(5, 3), crnn.LSTM(3, 8)])
    assert notes_of(model, [[7]]) == [f"in layers[0], {model.layers[0]!r}"]
    tape = model.forward([[1]])[2]
    other = crnn.Sequential([crnn.Embedding(5, 3), crnn.LSTM(3, 7)])
    follows = f"in layers[1], {other.layers[1]!r}, which follows {other.layers[0]!r}"
    assert notes_of(other.backward, tape, None) == [follows]
    assert notes_of(model.forward, [[1]], [None, np.zeros(3)])[0].startswith("in layers[1], LSTM")


def test_errors_of_a_composition_itself_have_no_note():
    model = crnn.Sequential([crnn.Dense(I, I, seed=0), crnn.GRU(I, I)])
    assert notes_of(model, X, [None]) == []
    assert notes_of(lambda: model.forward(X, layer=-1)) == []
    assert notes_of(crnn.Residual(crnn.Dense(I, 2)), X) == []


def test_both_parts_of_a_conditioned_layer_are_named():
    model = crnn.Conditioned(crnn.LSTM(I, 4), crnn.Dense(2, 8))
    fixed = np.zeros((B, 5), np.float32)
    assert notes_of(model, (X, fixed)) == [f"in init, {model.init!r}"]
    assert notes_of(model, (X[..., :2], fixed[:, :2])) == [f"in layer, {model.layer!r}"]


def test_the_parts_of_a_model_of_two_sequences_are_named():
    encoder = crnn.Sequential([crnn.GRU(3, 5), crnn.Dense(5, 5)])
    encoder.layers[1] = crnn.Dense(4, 5)
    (inner, outer) = notes_of(crnn.Seq2Seq, encoder, crnn.GRU(3, 5))
    first, second = encoder.layers
    assert inner == f"in layers[1], {second!r}, which follows {first!r}"
    assert outer == f"in encoder, {encoder!r}"
    for symbols in (None, 9):
        part, decoder = breaks(None), crnn.Sequential([breaks(None)])
        model = crnn.Seq2Seq(
            crnn.Sequential([part]), decoder, source_symbols=symbols, target_symbols=4
        )
        source = X if symbols is None else np.zeros((B, T), int)
        model.encoder.layers[0].way = "forward"
        (note,) = notes_of(model.forward, source, np.zeros((B, T), int))
        before = ", which follows Embedding(" if symbols else ""
        assert note.startswith(f"in encoder.layers[0], {MINE}{before}")
        model.encoder.layers[0].way, model.decoder.layers[0].way = None, "backward"
        y, tape = model.forward(source, np.zeros((B, T), int))
        (note,) = notes_of(model.backward, tape, np.zeros_like(y))
        assert note.startswith(f"in decoder.layers[0], {MINE}, which follows Embedding(")


def test_a_head_that_is_trained_alone_is_named():
    class Head(crnn.Dense):
        def backward(self, *args):
            raise RuntimeError("broken")

    model = crnn.Sequential([crnn.GRU(I, 4), Head(4, 2)])
    options = {"loss": crnn.losses.mse, "optimizer": crnn.optim.SGD(model, lr=0.1), "epochs": 1}
    data = [(X, np.zeros((B, T, 2), np.float32))]
    fit = lambda: crnn.fit(model, data, tbptt=(T, 1), progress=False, **options)  # noqa: E731
    assert notes_of(fit) == [
        f"in layers[1], {model.layers[1]!r}, which follows {model.layers[0]!r}",
        "in data, item 0",
    ]


def test_a_long_or_broken_repr_does_no_harm():
    class Unnamed(Breaks):
        def __repr__(self):
            raise ValueError("no name")

    layer = Unnamed(I, I)
    layer.way = "call"
    with pytest.raises(RuntimeError, match=r"^broken") as caught:
        crnn.Sequential([layer])(X)
    assert "Unnamed object at" in caught.value.__notes__[0]
    long = crnn.Sequential([crnn.Dense(I, I, seed=0)] * 50 + [breaks("call")])
    assert all(len(note) < 300 for note in notes_of(crnn.Residual(long), X))


def test_a_removed_layer_raises_its_error_without_a_note():
    model = crnn.Sequential([crnn.Dense(I, I), breaks("step")])
    stream = model.stream(B)
    del model.layers[1]
    with pytest.raises(RuntimeError, match=r"^broken"):
        stream.step(X[:, 0])


def test_an_interrupt_gets_no_note():
    class Interrupted(crnn.Dense):
        def forward(self, *args, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        crnn.Sequential([Interrupted(I, I)])(X)
    assert not hasattr(caught.value, "__notes__")
