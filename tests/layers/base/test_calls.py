"""Training calls without `call`: the layer that is called from outside counts them."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import crnn
from crnn.layers.base.layer import Layer
from crnn.models import SequenceAutoencoder
from crnn.training.tbptt import WindowedModel
from crnn.training.windows import Item, Window
from support.comparing import assert_same_bits
from support.tables import H, I, K

B, T = 3, 5
OPTIONS = {"dtype": "float64", "seed": 1}


def lstm(**options):
    return crnn.LSTM(I, H, **OPTIONS, **options)


def gru(inputs, **options):
    return crnn.GRU(inputs, H, **OPTIONS, **options)


def seq2seq(decoder, **options):
    symbols = {"source_symbols": K, "target_symbols": K}
    return crnn.Seq2Seq(gru(I), decoder, **symbols, **OPTIONS, **options)


def teacher(decoder, probability=1.0, **options):
    return crnn.TeacherForcing(seq2seq(decoder, **options), probability, seed=1)


def dropped(inputs):
    return crnn.Sequential([gru(inputs), crnn.Dropout(0.5, seed=4)])


X = np.random.default_rng(0).normal(size=(B, T, I))
SYMBOLS = np.random.default_rng(0).integers(0, K, (B, T))
FIXED = np.random.default_rng(1).normal(size=(B, 2))

# Everything that draws in training, and what it reads.
DRAWING = {
    "dropout": (lambda: crnn.Dropout(0.5, seed=1), X),
    "dropout-variational": (lambda: crnn.Dropout(0.5, variational=True, seed=1), X),
    "recurrent-dropout": (lambda: lstm(recurrent_dropout=0.5), X),
    "zoneout": (lambda: lstm(zoneout=0.5), X),
    "zoneout-c": (lambda: lstm(zoneout=(0.0, 0.5)), X),
    "weight-drop": (lambda: lstm(weight_drop=0.5), X),
    "weight-drop-gru": (lambda: gru(I, weight_drop=0.5), X),
    "symbols": (lambda: lstm(recurrent_dropout=0.5), SYMBOLS % I),
    "bidirectional": (lambda: crnn.Bidirectional(lstm(zoneout=0.3)), X),
    "residual": (lambda: crnn.Residual(crnn.Dropout(0.5, seed=1)), X),
    "sequential": (lambda: crnn.Sequential([lstm(), crnn.Dropout(0.5, seed=1)]), X),
    "nested": (
        lambda: crnn.Sequential([crnn.Residual(crnn.RNN(I, I, zoneout=0.5, **OPTIONS))]),
        X,
    ),
    "embedded": (
        lambda: crnn.Sequential([crnn.Embedding(K, I, **OPTIONS), lstm(weight_drop=0.5)]),
        SYMBOLS,
    ),
    "checkpointed": (lambda: crnn.Checkpointed(lstm(zoneout=0.5), 2), X),
    "conditioned": (
        lambda: crnn.Conditioned(gru(I, recurrent_dropout=0.5), crnn.Dense(2, H, **OPTIONS)),
        (X, FIXED),
    ),
    "conditioned-init": (
        lambda: crnn.Conditioned(
            gru(I), crnn.Sequential([crnn.Dense(2, H, **OPTIONS), crnn.Dropout(0.5, seed=2)])
        ),
        (X, FIXED),
    ),
    "teacher": (lambda: teacher(gru(I, zoneout=0.5)), (SYMBOLS, SYMBOLS)),
    "teacher-fused": (
        lambda: teacher(gru(I + H, recurrent_dropout=0.5), attention="dot"),
        (SYMBOLS, SYMBOLS),
    ),
    "teacher-stepwise": (lambda: teacher(dropped(I + H), attention="dot"), (SYMBOLS, SYMBOLS)),
    "scheduled": (lambda: teacher(gru(I), 0.5), (SYMBOLS, SYMBOLS)),
    "autoencoder": (
        lambda: SequenceAutoencoder(gru(I, zoneout=0.5), gru(I), 2, **OPTIONS),
        X,
    ),
    "autoencoder-scheduled": (
        lambda: SequenceAutoencoder(gru(I), gru(I), 2, probability=0.3, **OPTIONS),
        X,
    ),
}

# What draws nothing.
CALM = {
    "dropout-0": (lambda: crnn.Dropout(0.0), X),
    "lstm": (lstm, X),
    "pool": (lambda: crnn.Pool("mean"), X),
    "bidirectional": (lambda: crnn.Bidirectional(lstm()), X),
    "sequential": (lambda: crnn.Sequential([lstm(), crnn.Dropout(0.0), crnn.Pool()]), X),
    "checkpointed": (lambda: crnn.Checkpointed(lstm(), 2), X),
    "teacher": (lambda: teacher(gru(I)), (SYMBOLS, SYMBOLS)),
    "autoencoder": (lambda: SequenceAutoencoder(gru(I), gru(I), 2, **OPTIONS), X),
}

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "astype": lambda layer: layer.astype("float64"),
}

drawing = pytest.mark.parametrize("name", DRAWING)


def output(layer, x, **options):
    return layer.forward(x, **options)[0]


def counts(layer):
    """`calls` of a layer and of all that it is made of."""
    return [part.calls for _, part in crnn.layers.base.adapted.walk(layer)]


@drawing
def test_each_training_call_draws_anew(name):
    """Call n of a loop of one's own draws what ``call=n`` draws; the layer outside counts alone."""
    make, x = DRAWING[name]
    layer = make()
    ys = [output(layer, x) for _ in range(3)]
    assert all((ys[i] != ys[j]).any() for i in range(3) for j in range(i))
    expected = [output(make(), x, call=n) for n in range(3)]
    assert_same_bits(ys, expected)
    assert layer.calls == 3
    assert not any(counts(layer)[1:])


@drawing
def test_a_call_that_is_given_wins(name):
    make, x = DRAWING[name]
    layer = make()
    assert_same_bits(output(layer, x, call=2), output(make(), x, call=2))
    assert layer.calls == 0
    assert_same_bits(output(layer, x, call=None), output(make(), x, call=0))
    assert layer.calls == 1


@drawing
def test_evaluation_does_not_count(name):
    make, x = DRAWING[name]
    layer = make()
    layer(x)
    output(layer, x, training=False)
    if name in ("recurrent-dropout", "sequential", "residual"):
        layer.stream(B).step(X[:, 0])
    assert not any(counts(layer))


@pytest.mark.parametrize("name", CALM)
def test_nothing_is_counted_where_nothing_is_drawn(name):
    make, x = CALM[name]
    layer = make()
    assert_same_bits(output(layer, x), output(layer, x))
    assert not any(counts(layer))


def test_a_sequence_to_sequence_model_counts():
    model = seq2seq(dropped(I + H), attention="dot")
    ys = [model.forward(SYMBOLS, SYMBOLS)[0] for _ in range(2)]
    assert (ys[0] != ys[1]).any()
    assert model.calls == 2
    assert not any(counts(model)[1:])
    again = seq2seq(dropped(I + H), attention="dot").forward(SYMBOLS, SYMBOLS, call=1)[0]
    assert_same_bits(ys[1], again)


@drawing
def test_backward_has_the_masks_of_its_forward(name):
    """Two tapes of one layer, walked back after both calls."""
    make, x = DRAWING[name]
    layer = make()
    calls = [layer.forward(x) for _ in range(2)]
    for n, (y, _, tape) in enumerate(calls):
        other = make()
        twin = other.forward(x, call=n)[2]
        layer.zero_grad()
        dy = np.cos(np.arange(y.size)).reshape(y.shape)
        found, expected = layer.backward(tape, dy), other.backward(twin, dy)
        assert_same_bits([found, layer.grads], [expected, other.grads])


# With vectors, those that are fed back have no gradient, but change.
@pytest.mark.parametrize("name", [name for name in DRAWING if name != "autoencoder-scheduled"])
def test_gradients_are_checked_with_a_fixed_call(name):
    make, x = DRAWING[name]
    layer = make()
    output(layer, x)
    layer.calls = 3
    if name.startswith("teacher") or name == "scheduled":
        x = tuple(part[:1, :2] for part in x)
    report = crnn.gradcheck(layer, x, tolerance=1e-6)
    assert report.ok, report
    assert layer.calls == 3


@drawing
@pytest.mark.parametrize("how", COPIES)
def test_copies_go_on_counting(name, how):
    make, x = DRAWING[name]
    layer = make()
    output(layer, x)
    other = COPIES[how](layer)
    assert other.calls == 1
    assert_same_bits(output(other, x), output(layer, x))


@drawing
def test_a_saved_model_goes_on_counting(name, tmp_path):
    make, x = DRAWING[name]
    layer, path = make(), tmp_path / "model.npz"
    crnn.save(path, layer)
    assert crnn.load(path).calls == 0
    for _ in range(2):
        output(layer, x)
    assert not [key for key in layer.state_dict() if "calls" in key]
    crnn.save(path, layer)
    other = crnn.load(path)
    assert other.calls == 2
    assert_same_bits(output(other, x), output(layer, x))


def test_a_saved_model_keeps_the_counts_of_its_parts(tmp_path):
    model = crnn.Sequential([crnn.Residual(crnn.Dropout(0.5)), lstm(zoneout=0.5)])
    model.layers[0].layer.forward(X)
    model.layers[1].calls = 7
    crnn.save(tmp_path / "model.npz", model)
    assert counts(crnn.load(tmp_path / "model.npz")) == [0, 0, 1, 7]
    model.layers[1].calls = 10**15  # no size of a layer
    crnn.save(tmp_path / "model.npz", model)
    assert counts(crnn.load(tmp_path / "model.npz")) == [0, 0, 1, 10**15]


@pytest.mark.parametrize("calls", [-1, 2**64, 1.5, "1", None, True])
def test_a_file_with_another_count_is_refused(calls, tmp_path):
    tree = crnn.storage.models.model_tree(crnn.Dropout(0.5))
    tree["layer"]["calls"] = calls
    crnn.storage.archive.write(tmp_path / "model.npz", "model", tree)
    with pytest.raises(ValueError, match="calls: expected an integer from 0 to 2"):
        crnn.load(tmp_path / "model.npz")


@pytest.mark.parametrize("name", ["dropout", "recurrent-dropout", "bidirectional", "sequential"])
def test_threads_never_get_the_same_number(name):
    make, x = DRAWING[name]
    layer, calls, before = make(), 60, []
    with ThreadPoolExecutor(8) as pool:
        ys = list(pool.map(lambda _: output(layer, x[:1]), range(calls)))
    assert layer.calls == calls
    before = {output(layer, x[:1], call=n).tobytes() for n in range(calls)}
    assert {y.tobytes() for y in ys} == before


def test_threads_that_count_a_lot():
    layer = crnn.Dropout(0.5)
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: [layer.next_call() for _ in range(1000)], range(8)))
    assert sorted(n for part in numbers for n in part) == list(range(8000))


def test_a_call_that_fails_counts_nothing():
    """Of a layer; a composition has counted when one of its parts fails."""
    for layer in (crnn.Dropout(0.5), lstm(zoneout=0.5)):
        for bad in ({"x": "x"}, {"x": X, "lengths": [1]}, {"x": X, "state": np.zeros(3)}):
            with pytest.raises((TypeError, ValueError)):
                layer.forward(**bad)
        assert layer.calls == 0


# --------------------------------------------------------------------------- classes from outside


class WithoutCall(crnn.LSTM):
    """A forward that takes no `call`."""

    def forward(self, x, state=None, *, lengths=None, training=True):
        return super().forward(x, state, lengths=lengths, training=training)


class Own(Layer):
    """A composition of one's own, which hands no `call` on."""

    def __init__(self, layer):
        self.layer = layer

    param_views = property(lambda self: dict(self.layer.params))
    grad_views = property(lambda self: dict(self.layer.grads))

    def forward(self, x, state=None, *, training=True):
        return self.layer.forward(x, state, training=training)

    def backward(self, tape, dy, dstate=None):
        return self.layer.backward(tape, dy, dstate)


class Noise(crnn.Dense):
    """A layer of the package with noise of one's own."""

    def forward(self, x, state=None, *, training=True, call=0, **options):
        if training:
            x = x + np.random.default_rng(call).normal(size=x.shape)
        return super().forward(x, state, training=training, **options)


def from_outside():
    return {
        "subclass": WithoutCall(I, I, recurrent_dropout=0.5, **OPTIONS),
        "bidirectional": crnn.Bidirectional(WithoutCall(I, I, zoneout=0.5, **OPTIONS)),
        "composition": Own(crnn.Dropout(0.5, seed=1)),
        "composition-of-one": Own(crnn.Sequential([lstm(zoneout=0.5)])),
        "in-sequential": crnn.Sequential([WithoutCall(I, I, zoneout=0.5, **OPTIONS)]),
        "beside-dropout": crnn.Sequential([Own(crnn.Dropout(0.5, seed=1)), crnn.Dropout(0.1)]),
        "in-residual": crnn.Residual(Own(crnn.Dropout(0.5, seed=1))),
        "checkpointed": crnn.Checkpointed(Own(lstm(zoneout=0.5)), 2),
        "checkpointed-deep": crnn.Sequential(
            [crnn.Checkpointed(crnn.Sequential([WithoutCall(I, I, zoneout=0.5, **OPTIONS)]), 2)]
        ),
        "noise": crnn.Sequential([Noise(I, I, **OPTIONS)]),
    }


@pytest.mark.parametrize("name", from_outside())
def test_classes_from_outside_draw_anew(name):
    layer = from_outside()[name]
    ys = [output(layer, X) for _ in range(3)]
    assert all((ys[i] != ys[j]).any() for i in range(3) for j in range(i))
    report = crnn.gradcheck(layer, X[:1])
    assert report.ok, report


def test_a_run_numbers_the_calls_inside_classes_from_outside():
    """Under `fit` they draw by the number of the update, so a resumed run draws the same."""
    for make in (
        lambda: Own(crnn.Dropout(0.5, seed=1)),
        lambda: crnn.Sequential([Own(crnn.Dropout(0.5, seed=1))]),
    ):
        model = make()
        window = Window(Item(X, X), 0, T, T)
        for update in (4, 1):
            y = WindowedModel(model, None, False).forward(window, None, call=update).y
            assert_same_bits(y, output(crnn.Dropout(0.5, seed=1), X, call=update))
        assert not any(counts(model))


def test_a_count_can_be_set():
    layer = crnn.Dropout(0.5, seed=1)
    layer.calls = 5
    assert_same_bits(output(layer, X), output(layer, X, call=5))
    for layer in (crnn.Dropout(0.5), lstm(zoneout=0.5), crnn.Residual(crnn.Dropout(0.5))):
        layer.calls = -1
        with pytest.raises(ValueError, match="call"):
            layer.forward(X)
