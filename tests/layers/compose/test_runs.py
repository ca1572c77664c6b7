"""Models of which the core runs some layers in one call, and others run by their methods."""

import copy
import pickle

import numpy as np
import pytest

import crnn
from crnn.layers.compose.planned import MixedTape
from support.comparing import assert_same_bits
from support.planning import B, LayerByLayer, T, calls_of, results_of, steps_of
from support.running import leaves

I, K = 5, 6


class Doubled(crnn.Layer):
    """A layer of a user: y = 2 x."""

    keeps_features = True

    def forward(self, x, state=None, *, lengths=None, training=True):
        return 2 * x, None, x.shape

    def backward(self, tape, dy, dstate=None):
        return None if dy is None else 2 * dy, None


def layers_of(name):
    """Return the layers of a model and its runs (begin, end); the same at each call."""
    options = {"dtype": "float64"}
    around = [
        crnn.Embedding(K, 5, seed=1, **options),
        crnn.GRU(5, 8, seed=2, recurrent_dropout=0.2, **options),
        Doubled(),
        crnn.Dropout(0.3, seed=3),
        crnn.LSTM(8, 7, seed=4, zoneout=0.2, **options),
        crnn.Dense(7, K, seed=5, **options),
    ]
    if name == "around a layer":
        return around, [(0, 2), (3, 6)]
    if name == "between layers":
        return [Doubled(), *around[3:], Doubled()], [(1, 4)]
    if name == "one layer":
        return [
            crnn.GRU(I, 8, seed=1, **options),
            Doubled(),
            crnn.Dense(8, 2, seed=2, **options),
        ], []
    if name == "tied":
        return [*around[:2], crnn.Dense(8, 5, seed=1, **options), crnn.TiedDense(around[0])], [
            (0, 3)
        ]
    if name == "nested":
        inner = crnn.Sequential([crnn.Dense(8, 8, seed=7, **options), Doubled()])
        both = crnn.Bidirectional(crnn.GRU(8, 3, seed=9, **options), "sum")
        return [*around[:2], crnn.Sequential([both, crnn.Dense(3, 8, seed=8, **options)]), inner], [
            (0, 3)
        ]
    return [
        crnn.Embedding(K, 5, seed=1, **options),
        crnn.LSTM(5, 8, seed=6, **options),
        crnn.Pool("mean"),
        crnn.Dense(8, 4, seed=6, **options),
        crnn.Activation("tanh"),
    ], [(0, 5)]


MODELS = ["around a layer", "between layers", "one layer", "tied", "nested", "around a pool"]


def pair_of(name):
    """Return a model with runs, the same model without, and x."""
    model, plain = crnn.Sequential(layers_of(name)[0]), LayerByLayer(layers_of(name)[0])
    rng = np.random.default_rng(3)
    symbols = model.symbols == K
    sizes = {"between layers": 8}
    x = rng.integers(0, K, (B, T)) if symbols else rng.normal(size=(B, T, sizes.get(name, I)))
    return model, plain, x


@pytest.mark.parametrize("name", MODELS)
def test_the_runs_of_a_model(name):
    layers, runs = layers_of(name)
    found = crnn.Sequential(layers)._planned().runs(0)
    assert [(run.begin, run.end) for run in found.values()] == runs


@pytest.mark.parametrize("steps", ["all", "lengths", "holes"])
@pytest.mark.parametrize("name", MODELS)
def test_the_bits_of_a_call_layer_by_layer(name, steps):
    model, plain, x = pair_of(name)
    found, expected = (results_of(each, x, **steps_of(steps)) for each in (model, plain))
    assert_same_bits(leaves(found), leaves(expected))


@pytest.mark.parametrize("name", MODELS)
def test_gradients(name):
    model, _, x = pair_of(name)
    report = crnn.gradcheck(model, x, lengths=[T, 3, 0, 5])
    assert report.ok, report


def test_tapes_of_single_layers():
    model, plain, x = pair_of("around a layer")
    (y, _, tape), (_, _, other) = (each.forward(x, call=1) for each in (model, plain))
    assert type(tape) is MixedTape
    assert len(tape) == len(model)
    assert repr(tape) == repr(other)
    for name in ("f", "i"):
        assert_same_bits(tape[4].gates[name], other[4].gates[name])
    model.backward(tape, np.cos(y), trace=True)
    plain.backward(other, np.cos(y), trace=True)
    for i in (1, 4):
        assert_same_bits(tape[i].dh, other[i].dh)
    assert_same_bits(dict(model.grads), dict(plain.grads))
    model.zero_grad()
    model.backward(tape.layers, np.cos(y))
    assert_same_bits(model.layers[5].grads["W"], plain.layers[5].grads["W"])


def test_few_python_calls():
    """Those of two runs, and those of the layer of the user."""
    model, _, x = pair_of("around a layer")
    y, _, tape = model.forward(x)
    assert calls_of(lambda: model(x)) <= 24
    assert calls_of(lambda: model.forward(x)) <= 24
    assert calls_of(lambda: model.backward(tape, y)) <= 24


def arguments():
    yield "state", lambda m, x: m(x, [None, np.ones((B, 3)), None, None, None, None])
    yield "later state", lambda m, x: m(x, [None, None, None, None, 1, None])
    yield "state of the user", lambda m, x: m(x, [None] * 5)
    yield "symbol", lambda m, x: m(x + 1)
    yield "lengths", lambda m, x: m(x, lengths=[T + 1] * B)
    yield "mask", lambda m, x: m.forward(x, mask=np.full((B, T), 2))
    yield "call", lambda m, x: m.forward(x, call=-1)
    yield "dy", lambda m, x: m.backward(m.forward(x)[2], np.ones((B, T, K + 1)))
    yield "dstate", lambda m, x: m.backward(m.forward(x)[2], None, [None] * 4 + [5, None])
    yield "first dstate", lambda m, x: m.backward(m.forward(x)[2], None, [None, 5] + [None] * 4)
    yield "tape", lambda m, x: m.backward(crnn.Sequential(m[:3]).forward(x)[2], None)
    yield (
        "other tape",
        lambda m, x: m.backward(crnn.Bidirectional(m[1]).forward(np.ones((1, 2, 5)))[2], None),
    )


@pytest.mark.parametrize(
    "use", [use for _, use in arguments()], ids=[name for name, _ in arguments()]
)
def test_errors_are_those_of_a_call_layer_by_layer(use):
    errors = []
    *models, x = pair_of("around a layer")
    for model in models:
        with pytest.raises((ValueError, TypeError)) as caught:
            use(model, x)
        assert not any(grad.any() for grad in model.grads.values())
        notes = getattr(caught.value, "__notes__", [])
        errors.append((type(caught.value), str(caught.value), notes))
    assert errors[0] == errors[1]


def test_changes_of_a_layer_inside_another_are_noticed():
    model, _, x = pair_of("nested")
    y, _ = model(x)
    inner = model.layers[2].layers
    inner[0].backward_layer.forward = lambda *given, **options: 1 / 0
    with pytest.raises(ZeroDivisionError):
        model.forward(x)
    del inner[0].backward_layer.forward
    assert_same_bits(model(x)[0], y)
    inner[0] = crnn.Bidirectional(inner[0].forward_layer, "mean")
    assert (model(x)[0] != y).any()
    assert_same_bits(model(x)[0], LayerByLayer(model.layers)(x)[0])
    inner[1] = Doubled()
    inner[0] = crnn.Dense(8, 8, dtype="float64")
    assert [run.end for run in model._planned().runs(0).values()] == [2]


def test_copies_have_runs_of_their_own():
    model, _, x = pair_of("around a layer")
    y, _, tape = model.forward(x, call=1)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        other.backward(tape, y)
        assert not any(grad.any() for grad in model.grads.values())
        assert all(grad.any() for grad in other.grads.values())
