"""`predict`: the outputs of a call, for every form of data, in any batches."""

import numpy as np
import pytest

import crnn
from crnn.data import Batches
from crnn.training import predicting

I, H, K = 3, 4, 2
rng = np.random.default_rng(0)
LENGTHS = [5, 1, 9, 0, 9, 3, 7]
SEQUENCES = [rng.normal(size=(T, I)) for T in LENGTHS]
SYMBOLS = [rng.integers(0, I, T) for T in LENGTHS]


def tagger(**options):
    """A model with an output at each step."""
    return crnn.Sequential([crnn.GRU(I, H, seed=0, **options), crnn.Dense(H, K, seed=1)])


def classifier():
    """A model with an output for each sequence."""
    layers = [crnn.LSTM(I, H, seed=0), crnn.Dropout(0.5, seed=2), crnn.Pool(), crnn.Dense(H, K)]
    return crnn.Sequential(layers)


MODELS = {
    "gru": lambda: crnn.GRU(I, H, seed=0),
    "tagger": tagger,
    "learned state": lambda: tagger(learn_state=True),
    "classifier": classifier,
    "bidirectional": lambda: crnn.Bidirectional(crnn.LSTM(I, H, seed=0)),
    "reversed": lambda: tagger(reverse=True),
    "checkpointed": lambda: crnn.Checkpointed(tagger(), every=2),
    "float64": lambda: tagger().astype("float64"),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.mark.parametrize("batch_size", [None, 1, 2, 3, 100])
@pytest.mark.parametrize("sequences", [SEQUENCES, SYMBOLS], ids=["floats", "symbols"])
def test_a_list_gives_what_each_sequence_alone_gives(model, sequences, batch_size):
    outputs = crnn.predict(model, sequences, batch_size=batch_size)
    assert isinstance(outputs, list)
    for x, y in zip(sequences, outputs, strict=True):
        alone = model(x[None])[0][0]
        assert y.dtype == alone.dtype
        assert y.base is None  # otherwise y would keep the array of the whole batch in memory
        np.testing.assert_array_equal(y, alone)


@pytest.mark.parametrize("batch_size", [None, 1, 4, 100])
def test_an_array_gives_an_array(model, batch_size):
    x = rng.normal(size=(7, 5, I))
    y = crnn.predict(model, x, batch_size=batch_size)
    assert isinstance(y, np.ndarray)
    np.testing.assert_array_equal(y, model(x)[0])
    symbols = rng.integers(0, I, (7, 5))
    np.testing.assert_array_equal(
        crnn.predict(model, symbols, batch_size=batch_size), model(symbols)[0]
    )


def test_memory_mapped_and_other_arrays(tmp_path):
    x = rng.normal(size=(7, 5, I)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    model, mapped = tagger(), np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(crnn.predict(model, mapped, batch_size=2), model(x)[0])
    np.testing.assert_array_equal(crnn.predict(model, x[::-1, :, ::1]), model(x[::-1])[0])
    assert crnn.predict(model, x[:0]).shape == (0, 5, K)
    assert crnn.predict(model, x[:, :0]).shape == (7, 0, K)


def test_items_give_a_list(model):
    targets = [np.zeros(T, int) for T in LENGTHS]
    data = Batches(SEQUENCES, targets, batch_size=3, seed=1)
    outputs = crnn.predict(model, data)
    items = list(data)
    assert len(outputs) == len(items) == 3
    for (x, _, lengths), y in zip(items, outputs, strict=True):
        np.testing.assert_array_equal(y, model(x, lengths=lengths)[0])
    again = crnn.predict(model, (item for item in items))  # an iterator, too
    for one, other in zip(outputs, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_items_may_have_masks_no_target_or_be_x_alone():
    model, x = tagger(), rng.normal(size=(2, 4, I))
    extras = {"mask": np.array([[1, 0, 1, 1], [1, 1, 1, 0]], bool), "resets": np.eye(2, 4) > 0}
    items = [(x, None, None, extras), (x, None), (x, None, [4, 2])]
    first, second, third = crnn.predict(model, items)
    np.testing.assert_array_equal(first, model(x, **extras)[0])
    np.testing.assert_array_equal(second, model(x)[0])
    np.testing.assert_array_equal(third, model(x, lengths=[4, 2])[0])
    (alone,) = crnn.predict(model, iter([x]))
    np.testing.assert_array_equal(alone, second)


def test_several_inputs():
    model = crnn.TeacherForcing(
        crnn.Seq2Seq(crnn.GRU(4, H, seed=0), crnn.GRU(4, H, seed=1), source_symbols=5,
                     target_symbols=6, seed=2)
    )  # fmt: skip
    source, target = rng.integers(0, 5, (7, 4)), rng.integers(0, 6, (7, 3))
    y = model((source, target))[0]
    np.testing.assert_array_equal(crnn.predict(model, (source, target), batch_size=2), y)
    items = [((source, target), target), ((source[:2], target[:2]), target[:2])]
    whole, part = crnn.predict(model, items)
    np.testing.assert_array_equal(whole, y)
    np.testing.assert_array_equal(part, y[:2])


def test_nothing_is_drawn_counted_or_changed():
    model = crnn.Sequential([crnn.LSTM(I, H, seed=0), crnn.Dropout(0.5, seed=1), crnn.Dense(H, K)])
    before, calls = model.state_dict(), model.calls
    one, other = crnn.predict(model, SEQUENCES), crnn.predict(model, SEQUENCES)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.calls == calls
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_layer_that_takes_no_lengths():
    class Mean(crnn.Layer):
        """The mean over all steps, which padding would change."""

        params, grads, keeps_time = {}, {}, False

        def forward(self, x, state=None, *, training=True):
            return x.mean(axis=1), None, None

        def backward(self, tape, dy, dstate=None):
            raise NotImplementedError

    sequences = [x for x in SEQUENCES if len(x)]
    for x, y in zip(sequences, crnn.predict(Mean(), sequences), strict=True):
        np.testing.assert_allclose(y, x.mean(axis=0))


# ------------------------------------------------------------------------- bounded memory


def rows_and_steps(model, monkeypatch, data, **options):
    """The largest number of rows, and of steps, that the model is called with."""
    seen, call = [], type(model).__call__

    def noted(self, x, *args, **kwargs):
        seen.append(np.shape(x)[:2])
        return call(self, x, *args, **kwargs)

    monkeypatch.setattr(type(model), "__call__", noted)
    outputs = crnn.predict(model, data, **options)
    monkeypatch.setattr(type(model), "__call__", call)
    return outputs, max(rows for rows, _ in seen), max(steps for _, steps in seen)


def test_batches_are_bounded(monkeypatch):
    monkeypatch.setattr(predicting, "_STEPS", 20)
    model, x = tagger(), rng.normal(size=(50, 5, I))
    y, rows, _ = rows_and_steps(model, monkeypatch, x)
    assert rows == 4
    np.testing.assert_array_equal(y, model(x)[0])
    _, rows, _ = rows_and_steps(model, monkeypatch, x, batch_size=7)
    assert rows == 7
    _, rows, _ = rows_and_steps(model, monkeypatch, list(x))
    assert rows == 4


@pytest.mark.parametrize("name", MODELS)
def test_long_sequences_are_computed_in_windows(monkeypatch, name):
    monkeypatch.setattr(predicting, "_STEPS", 4)
    model = MODELS[name]()
    sequences = [*SEQUENCES, np.zeros((0, I))]
    outputs, _, steps = rows_and_steps(model, monkeypatch, sequences)
    by_windows = name not in ("classifier", "bidirectional", "reversed")
    assert steps == (4 if by_windows else 9)
    for x, y in zip(sequences, outputs, strict=True):
        np.testing.assert_array_equal(y, model(x[None])[0][0])
    x = rng.normal(size=(2, 9, I))
    extras = {"resets": rng.uniform(size=(2, 9)) < 0.3, "mask": rng.uniform(size=(2, 9)) < 0.5}
    for chosen in ({}, extras, {"resets": extras["resets"]}):
        (y,) = crnn.predict(model, [(x, None, [9, 5], chosen)])
        np.testing.assert_array_equal(y, model(x, lengths=[9, 5], **chosen)[0])


# -------------------------------------------------------------------------------- mistakes

X = SEQUENCES[0]
WRONG = [
    ((X, X), {}, r"got a tuple: write crnn.predict\(model, x\)"),
    ("text", {}, "got str"),
    (3, {}, "got int"),
    ({"x": X}, {}, "got dict"),
    (None, {}, "got NoneType"),
    (np.array(1.0), {}, r"got float64 of shape \(\)"),
    (np.array([X, X[:2]], object), {}, r"got object of shape \(2,\)"),
    ([X, X[:, :2]], {}, r"data\[1\]: expected shape \(T, 3\), as that of data\[0\], got \(5, 2\)"),
    ([X, X[None]], {}, r"data\[1\]: expected a sequence \(T, I\) of floats or \(T,\) of symbols"),
    ([["a", "b"]], {}, r"data\[0\]: expected a sequence .* got <U1 of shape \(2,\)"),
    ([X, 3], {}, r"data\[1\]: expected a sequence"),
    ([X[:, :2]], {}, r"x: expected .*I=3"),
    (X[None, :, :2], {}, r"x: expected .*I=3"),
    ([np.array([0, 3])], {}, "x: expected symbols"),
    ([X], {"batch_size": 0}, "batch_size: expected an integer of at least 1"),
    ([X], {"batch_size": 1.5}, "batch_size: expected an integer of at least 1"),
    ([(X[None], None)], {"batch_size": 2}, "batch_size: expected None for an iterable of items"),
    ([(X[None], None, [9])], {}, "data: lengths: expected integers from 0 to T=5"),
    (iter([]), {}, "data: expected items, got none"),
]


@pytest.mark.parametrize(("data", "options", "message"), WRONG)
def test_wrong_data(data, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        crnn.predict(tagger(), data, **options)


def test_wrong_models():
    with pytest.raises(TypeError, match="model: expected a layer, got 3"):
        crnn.predict(3, X[None])
    model = crnn.Seq2Seq(crnn.GRU(2, 2), crnn.GRU(2, 2), source_symbols=3, target_symbols=3)
    with pytest.raises(TypeError, match=r"model: .*wrap it in crnn.TeacherForcing"):
        crnn.predict(model, X[None])


def test_an_empty_list():
    assert crnn.predict(tagger(), []) == []


# ------------------------------------------------------------ forms that an attack has found


class Pairs(crnn.Layer):
    """Joins each step with the one before it, and has a part."""

    receptive_field, keeps_time, input_size, output_size = 2, True, I, K

    def __init__(self):
        self.dense = crnn.Dense(2 * I, K, seed=0)
        self.parts = {"dense": self.dense}

    param_views = property(lambda self: {f"dense.{n}": a for n, a in self.dense.params.items()})
    grad_views = property(lambda self: {f"dense.{n}": a for n, a in self.dense.grads.items()})

    def forward(self, x, state=None, *, lengths=None, training=True):
        x = np.asarray(x)
        before = np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1)
        y, _, tape = self.dense.forward(np.concatenate([before, x], axis=2))
        return y, None, tape

    def backward(self, tape, dy, dstate=None):
        raise NotImplementedError


@pytest.mark.parametrize(
    "make", [Pairs, lambda: crnn.Sequential([crnn.GRU(I, I, seed=0), Pairs()])]
)
def test_a_layer_that_reads_earlier_steps_without_a_state_is_not_cut(monkeypatch, make):
    monkeypatch.setattr(predicting, "_STEPS", 4)
    model, x = make(), rng.normal(size=(2, 11, I))
    np.testing.assert_array_equal(crnn.predict(model, x), model(x)[0])


def test_tuples_are_checked():
    model = crnn.TeacherForcing(
        crnn.Seq2Seq(crnn.GRU(4, H, seed=0), crnn.GRU(4, H, seed=1), source_symbols=5,
                     target_symbols=6, seed=2)
    )  # fmt: skip
    source, target = rng.integers(0, 5, (5, 4)), rng.integers(0, 6, (5, 3))
    for wrong in ((), (source,), (source, None)):
        with pytest.raises(ValueError, match="data: expected a tuple of at least 2 arrays"):
            crnn.predict(model, wrong)
    for size in (None, 1, 2):
        with pytest.raises(ValueError, match=r"data\[1\]: expected as many rows as data\[0\]"):
            crnn.predict(model, (source, target[:4]), batch_size=size)
    y = crnn.predict(model, (source, target, None), batch_size=2)
    np.testing.assert_array_equal(y, model((source, target))[0])


def test_an_answer_does_not_depend_on_the_neighbours():
    x, symbols = rng.normal(size=(3, I)), np.array([1, 2])
    for size in (None, 1):
        with pytest.raises(ValueError, match=r"data\[1\]: expected floats, as in data\[0\], got"):
            crnn.predict(tagger(), [x, rng.integers(0, 2, (3, I))], batch_size=size)
        first, second = crnn.predict(
            tagger(), [symbols.astype("u8"), symbols.astype("i1")], batch_size=size
        )
        np.testing.assert_array_equal(first, second)
        for data in ([[], x], [x, []], [[], symbols], [symbols.tolist(), []]):
            outputs = crnn.predict(tagger(), data, batch_size=size)
            assert [len(y) for y in outputs] == [len(one) for one in data]


def test_nested_lists_in_an_iterator_are_inputs():
    model, x = crnn.Dense(I, K, seed=0), rng.normal(size=(2, 4, I))
    (y,) = crnn.predict(model, (value for value in [x.tolist()]))
    np.testing.assert_array_equal(y, model(x)[0])
    with pytest.raises(ValueError, match="data: "):
        crnn.predict(model, [()])
