"""Checks of the data before the first update: mistakes raise, and the checks are fast."""

import functools

import numpy as np
import pytest

import crnn
from crnn.data import Batches, PairBatches, Streams
from crnn.losses import cross_entropy, mse
from crnn.training.fitting import fit
from crnn.training.trainer import Trainer
from support.runs import K, Recorder, Told, network

DRAW = np.random.default_rng(6)


def items(n=5, B=3, T=6, high=K):
    return [(DRAW.integers(0, high, (B, T)), DRAW.integers(0, high, (B, T))) for _ in range(n)]


def floats(n=5, B=3, T=6, size=2, out=3):
    return [
        (DRAW.normal(size=(B, T, size)).astype("f"), DRAW.normal(size=(B, T, out)).astype("f"))
        for _ in range(n)
    ]


def series(size=2, out=3):
    return crnn.Sequential([crnn.RNN(size, 4, seed=1), crnn.Dense(4, out, seed=2)])


def replaced(data, number, **parts):
    """Data with one item changed."""
    data = [list(item) for item in data]
    for place, value in parts.items():
        at = {"x": 0, "target": 1, "lengths": 2, "extras": 3}[place]
        item = data[number]
        item += [None] * (at + 1 - len(item))
        item[at] = value(item[at]) if callable(value) else value
    return [tuple(item) for item in data]


def at(row, step, value):
    """An array with one entry changed."""

    def change(array):
        array = array.copy()
        array[row, step] = value
        return array

    return change


class Reader:
    """Data of a user-defined class."""

    def __init__(self, data):
        self.data = data

    def __iter__(self):
        yield from self.data


def lambda_loss(y, target, lengths, weights=None):
    return cross_entropy(y, target, lengths, weights=weights)


SYMBOL_MISTAKES = [
    ({"x": at(2, 5, K)}, rf"item 3: x: expected .* from 0 to .*{K - 1}, got"),
    ({"x": at(0, 0, -1)}, "item 3: x: expected .*, got -1"),
    ({"target": at(1, 4, K)}, rf"item 3: targets: expected integers from 0 to K-1={K - 1}, got"),
    ({"target": at(1, 4, -1)}, "item 3: targets: expected integers from 0 to"),
    ({"target": lambda a: a[:, :-1]}, "item 3: targets: expected integers of shape"),
    ({"target": lambda a: a[:, 0]}, "item 3: targets: expected integers of shape"),
    ({"target": lambda a: a.astype("f")}, "item 3: targets: expected integers"),
    ({"x": lambda a: a[..., None].repeat(3, -1).astype("f")}, "item 3: x: expected"),
    ({"x": lambda a: a[..., None]}, "item 3: x: expected"),
    ({"lengths": [1, 2, 7]}, "lengths: expected integers from 0 to T=6, got 7 in row 2"),
    ({"lengths": [1, 2]}, "lengths: expected shape"),
    ({"lengths": [1.0, 2.0, 3.0]}, "lengths: expected integers"),
    ({"extras": {"mask": np.ones((3, 5), bool)}}, "mask: expected shape"),
    ({"extras": {"weights": -np.ones((3, 6))}}, "item 3: weights: expected finite numbers"),
    ({"extras": {"spam": 1}}, "the fourth entry of an item"),
]


@pytest.mark.parametrize("kind", [list, Reader])
@pytest.mark.parametrize("loss", [cross_entropy, lambda_loss])
@pytest.mark.parametrize(("mistake", "message"), SYMBOL_MISTAKES)
def test_a_mistake_in_the_validation_data_is_found_before_the_first_update(
    kind, loss, mistake, message
):
    model, recorder = network(), Recorder()
    before, optimizer = model.state_dict(), crnn.optim.SGD(model)
    with pytest.raises((ValueError, TypeError), match=f"^validation: {message}"):
        fit(
            model, items(), loss=loss, optimizer=optimizer, epochs=1, callbacks=[recorder],
            validation=kind(replaced(items(), 3, **mistake)), progress=False,
        )  # fmt: skip
    np.testing.assert_equal(model.state_dict(), before)
    assert recorder.events == []


@pytest.mark.parametrize(("mistake", "message"), SYMBOL_MISTAKES)
def test_a_mistake_in_the_data_is_found_before_the_first_update(mistake, message):
    model, recorder = network(), Recorder()
    before, optimizer = model.state_dict(), crnn.optim.SGD(model)
    with pytest.raises((ValueError, TypeError), match=f"^data: {message}"):
        fit(
            model, replaced(items(), 3, **mistake), loss=cross_entropy, optimizer=optimizer,
            epochs=1, callbacks=[recorder], progress=False,
        )  # fmt: skip
    np.testing.assert_equal(model.state_dict(), before)
    assert recorder.events == []


FLOAT_MISTAKES = [
    {"x": lambda a: a[..., :1]},
    {"x": lambda a: a[..., 0]},
    {"target": lambda a: a[..., :2]},
    {"target": lambda a: a[:, :5]},
    {"target": lambda a: a[:2]},
    {"target": lambda a: a > 0},
]


@pytest.mark.parametrize("mistake", FLOAT_MISTAKES)
@pytest.mark.parametrize("where", ["data", "validation"])
def test_series_of_another_width_are_found(mistake, where):
    model, recorder = series(), Recorder()
    data = {"data": floats(), "validation": floats()}
    data[where] = replaced(data[where], 4, **mistake)
    with pytest.raises((ValueError, TypeError), match=f"^{where}: item 4: "):
        fit(
            model, loss=mse, optimizer=crnn.optim.SGD(model), epochs=1, callbacks=[recorder],
            progress=False, **data,
        )  # fmt: skip
    assert recorder.events == []


@pytest.mark.parametrize("mistake", FLOAT_MISTAKES[:4])
def test_all_validation_data_of_another_width_are_found(mistake):
    model, recorder, data = series(), Recorder(), floats()
    for number in range(5):
        data = replaced(data, number, **mistake)
    with pytest.raises((ValueError, TypeError), match=r"^validation: item 0: "):
        fit(
            model, floats(), validation=data, loss=mse, optimizer=crnn.optim.SGD(model), epochs=1,
            callbacks=[recorder], progress=False,
        )  # fmt: skip
    assert recorder.events == []


def test_values_that_are_not_read_are_not_checked():
    """Symbols in the padding and at masked steps, and targets of weight 0, are not checked."""
    x, target = items(1)[0]
    x[1, 4], target[1, 4], target[2, 1] = 99, -1, 99
    weights = np.ones((3, 6))
    weights[2, 1] = 0
    item = (x, target, [6, 4, 6], {"weights": weights})
    model = network()
    fit(
        model, [item, item], validation=[item], loss=cross_entropy, epochs=1, progress=False,
        optimizer=crnn.optim.SGD(model),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "expected items, got none"),
        ([(np.zeros((2, 0), int), np.zeros((2, 0), int))], "expected data with valid steps"),
        ([(np.zeros((2, 3), int), np.zeros((2, 3), int), [0, 0])], "expected data with valid"),
        ([3], r"expected items \(x, target\)"),
    ],
)
@pytest.mark.parametrize("where", ["data", "validation"])
def test_data_that_give_nothing(data, message, where):
    model, recorder = network(), Recorder()
    given = {"data": items(), "validation": items()} | {where: data}
    with pytest.raises(ValueError, match=f"^{where}: {message}"):
        fit(
            model, loss=cross_entropy, optimizer=crnn.optim.SGD(model), epochs=1,
            callbacks=[recorder], progress=False, **given,
        )  # fmt: skip
    assert recorder.events == []


def test_all_windows_and_streams_are_checked():
    model = network()
    text = DRAW.integers(0, K, 400)
    text[390] = K
    options = {"loss": cross_entropy, "optimizer": crnn.optim.SGD(model), "epochs": 1}
    for more in ({"tbptt": (8, 8)}, {"tbptt": (8, 11)}, {}):
        with pytest.raises(ValueError, match=f"^validation: item 0: .* got .*{K}"):
            fit(
                model, Streams(text[:300], batch_size=2), validation=Streams(text, batch_size=2),
                progress=False, **more, **options,
            )  # fmt: skip
    with pytest.raises(
        ValueError, match=r"^validation: expected items of B=3 rows with stateful=True"
    ):
        fit(model, items(), validation=items(2) + items(1, B=2), stateful=True, **options)


def test_pairs_are_checked():
    model = crnn.TeacherForcing(
        crnn.Seq2Seq(crnn.GRU(4, 4), crnn.GRU(8, 4), source_symbols=6, target_symbols=5,
                     attention="dot")
    )  # fmt: skip
    good = PairBatches([[1, 2], [3]] * 3, [[1], [2, 3]] * 3, 2, start=0, stop=4)
    options = {"loss": cross_entropy, "optimizer": crnn.optim.SGD(model), "epochs": 1}
    for sources, targets in (([[1, 6]], [[1]]), ([[1, 5]], [[1, 5]])):
        bad = PairBatches([[1]] * 5 + sources, [[2]] * 5 + targets, 2, start=0, stop=4, seed=None)
        with pytest.raises(ValueError, match=r"^validation: item \d: .* expected .* from 0 to"):
            fit(model, good, validation=bad, progress=False, **options)
    wrong = [((s, t, n + 9), *rest) for (s, t, n), *rest in good]
    with pytest.raises(ValueError, match=r"^validation: item 0: .*lengths"):
        fit(model, good, validation=wrong, progress=False, **options)


class Strict(crnn.Layer):
    """A user-defined model that accepts only three rows of six steps."""

    def __init__(self):
        self.inside, self.calls = network(), []

    param_views = property(lambda self: self.inside.params)
    grad_views = property(lambda self: self.inside.grads)

    def forward(self, x, state=None, *, lengths=None, training=True):
        assert x.shape == (3, 6)
        self.calls.append(training)
        return self.inside.forward(x, state, training=training)

    def backward(self, tape, dy, dstate=None):
        return self.inside.backward(tape, dy, dstate)


def test_a_model_that_needs_whole_items_is_tested_on_whole_items():
    model = Strict()
    options = {"loss": cross_entropy, "optimizer": crnn.optim.SGD(model), "epochs": 1}
    fit(model, Reader(items(2)), validation=items(4), progress=False, **options)
    assert model.calls.count(True) == 2
    assert 5 <= model.calls.count(False) <= 8
    with pytest.raises(ValueError, match=r"^validation: item 3: "):
        fit(model, items(2), validation=replaced(items(4), 3, x=at(0, 0, K)), **options)


def test_the_model_seldom_runs_more_often():
    """Validation data with the form of the training data: the model does not run for the check."""
    for data in (items(), Batches(np.zeros((9, 4), int), np.zeros((9, 4), int), 3)):
        model, calls = network(), []
        run = functools.partial(type(model).__call__, model)

        class Counted(crnn.Sequential):
            def __call__(self, x, state=None, *, run=run, calls=calls, **options):
                calls.append(len(x))
                return run(x, state, **options)

        model.__class__ = Counted
        fit(
            model, data, validation=data, loss=cross_entropy, epochs=2, progress=False,
            optimizer=crnn.optim.SGD(model),
        )  # fmt: skip
        assert calls == [3] * 2 * len(list(data))


def test_iterators_are_checked_item_by_item():
    model, data = network(), items()
    bad = replaced(data, 3, x=at(0, 0, K))
    run = Trainer(
        model, iter(bad), loss=cross_entropy, optimizer=crnn.optim.SGD(model), epochs=1,
        validation=iter(data),
    )  # fmt: skip
    with pytest.raises(ValueError, match=f"got .*{K}"):
        run.run()
    assert run.position.update == 3
    fit(
        model, iter(data), loss=cross_entropy, optimizer=crnn.optim.SGD(model), epochs=1,
        validation=iter(data), progress=False,
    )  # fmt: skip


class Endless:
    """Data without an end, and without a length: a callback stops the run."""

    def __iter__(self):
        while True:
            yield items(1)[0]


def test_endless_data_are_not_read_before_the_run():
    class Stops(crnn.callbacks.Callback):
        def on_update(self, run):
            if run.position.update == 3:
                run.stop()

    model = network()
    run = Trainer(
        model, Endless(), loss=cross_entropy, optimizer=crnn.optim.SGD(model), epochs=1,
        callbacks=[Stops()],
    )  # fmt: skip
    run.run()
    assert run.position.update == 3


def test_a_user_defined_model_is_not_run_to_check_training_data():
    model = Told()
    x, target = DRAW.normal(size=(2, 5, 2)), DRAW.integers(0, K, (2, 5))
    data = [(x, target), (x, target), (x[:1], target[:1], [3])]
    options = {"loss": cross_entropy, "optimizer": crnn.optim.SGD(model), "epochs": 1}
    fit(model, data, progress=False, **options)
    assert len(model.told) == 3
