"""The column of the history that decides which epoch is the best; the rates after schedules."""

import numpy as np
import pytest

import crnn
from crnn.callbacks import Callback, Cosine, EarlyStopping, KeepBest, OneCycle, OnPlateau, Step
from crnn.callbacks.history import History
from crnn.losses import cross_entropy
from support.runs import StopAt, network, streams, trainer

rng = np.random.default_rng(0)


class Values:
    """A metric that returns the next of these values in each pass."""

    def __init__(self, *values):
        self.values = list(values)

    def start(self):
        self.current = self.values.pop(0) if self.values else 0.0

    def add(self, y, target, lengths, weights):
        pass

    def value(self):
        return self.current


class Recorded(Callback):
    """The parameters after each epoch."""

    def __init__(self):
        self.params, self.lrs = [], []

    def on_epoch(self, run):
        self.params.append(run.model.state_dict())

    def on_update(self, run):
        self.lrs.append(run.optimizer.lr)


def fit(callbacks, metrics=None, epochs=6, model=None, optimizer=None, **options):
    model = model or network()
    optimizer = optimizer or crnn.optim.SGD(model, lr=0.1)
    return model, crnn.fit(
        model, streams(40), loss=cross_entropy, optimizer=optimizer, epochs=epochs,
        callbacks=callbacks, metrics=metrics, progress=False, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "values", "best"),
    [
        ("max", (1, 5, 2, 5, 4, 3), 2),
        ("min", (3, 2, 4, 2, 9, 7), 2),
        ("max", (-3, -2, -1, 0, -1), 4),
    ],
)
def test_the_best_epoch_is_that_of_the_column(mode, values, best):
    keep, recorded = KeepBest(monitor="score", mode=mode), Recorded()
    model, history = fit([keep, recorded], {"score": Values(*values)})
    assert keep.epoch == best
    assert keep.loss == max(history.score) if mode == "max" else min(history.score)
    for name, array in model.params.items():
        np.testing.assert_array_equal(array, recorded.params[best - 1][name])


def test_early_stopping_waits_for_the_column():
    stopping = EarlyStopping(2, monitor="score", mode="max", min_delta=0.5)
    _, history = fit([stopping], {"score": Values(1, 2, 2.4, 2.5, 9, 9)})
    assert (len(history), stopping.epoch) == (4, 2)
    stopping = EarlyStopping(2, monitor="val_accuracy", mode="max")
    metrics = {"accuracy": crnn.metrics.accuracy}
    _, history = fit([stopping], metrics, validation=streams(40), epochs=20)
    best = int(np.argmax(history.val_accuracy))
    assert len(history) in (best + 3, 20)


def test_the_rate_falls_with_the_column():
    _, history = fit(
        [OnPlateau(0.5, 1, monitor="score", mode="max")], {"score": Values(1, 2, 2, 3, 3, 3)}
    )
    assert history.lr == [0.1, 0.1, 0.1, 0.05, 0.05, 0.025]


@pytest.mark.parametrize("make", [KeepBest, lambda **k: EarlyStopping(3, **k), OnPlateau])
def test_wrong_columns(make):
    model = network()
    before = model.state_dict()
    with pytest.raises(
        ValueError, match=r"monitor: expected a column of the history, epoch, .*'acc'"
    ):
        fit([make(monitor="acc")], model=model)
    for name, array in model.params.items():
        np.testing.assert_array_equal(array, before[name])
    accuracy = {"accuracy": crnn.metrics.accuracy, "c": crnn.metrics.confusion_matrix}
    with pytest.raises(ValueError, match=r"monitor: .* give validation data"):
        fit([make(monitor="val_accuracy", mode="max")], accuracy)
    with pytest.raises(ValueError, match="monitor: expected a column of numbers, got array"):
        fit([make(monitor="c")], accuracy)
    with pytest.raises(ValueError, match="mode: expected 'min' or 'max', got 'auto'"):
        make(mode="auto")
    with pytest.raises(TypeError, match="monitor: expected None or the name of a column, got 3"):
        make(monitor=3)


def test_a_run_that_is_resumed_keeps_the_best_value_of_the_column(tmp_path):
    metrics = {"accuracy": crnn.metrics.accuracy}

    def make(*more, **options):
        options = {"monitor": "accuracy", "mode": "max"} | options
        return trainer(metrics=metrics, callbacks=[KeepBest(**options), *more])

    whole, first = make(), make(StopAt(epoch=2))
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        first.run()
    first.save(tmp_path / "run.npz")
    again = make()
    again.resume(tmp_path / "run.npz")
    assert again._callbacks[1].loss == max(first.history.accuracy)
    again.run()
    assert again._callbacks[1].loss == whole._callbacks[1].loss
    other = make(monitor="loss", mode="min")
    with pytest.warns(crnn.training.ResumeWarning, match="KeepBest: monitor='loss' now"):
        other.resume(tmp_path / "run.npz")
    assert other._callbacks[1].loss == np.inf  # the saved value was an accuracy, not a loss


# ------------------------------------------------------------------- what a schedule leaves


@pytest.mark.parametrize(
    "schedule", [Cosine(0.3), OneCycle(0.3), Step(0.3, every=2)], ids=["cosine", "cycle", "step"]
)
def test_a_run_after_one_with_a_schedule_has_the_rate_of_the_optimizer(schedule):
    model = network()
    optimizer = crnn.optim.SGD(model, lr=0.1)
    _, first = fit([schedule], model=model, optimizer=optimizer, epochs=2)
    assert first.lr[-1] != 0.1
    assert optimizer.lr == optimizer.given_lr == 0.1
    _, second = fit([], model=model, optimizer=optimizer, epochs=2)
    assert second.lr == [0.1, 0.1]


# ----------------------------------------------------------------------- tables are mappings


def test_a_history_and_an_evaluation_are_mappings():
    model, history = fit([], {"accuracy": crnn.metrics.accuracy})
    assert dict(history) == history.columns
    assert list(history) == history.keys() == [*History.NAMES, "accuracy", "val_accuracy"]
    assert "accuracy" in history
    assert "acc" not in history
    assert {"accuracy", "loss", "plot"} <= set(dir(history))
    assert len(history) == 6
    metrics = {"accuracy": crnn.metrics.accuracy, "c": crnn.metrics.confusion_matrix}
    result = crnn.evaluate(model, streams(40), loss=cross_entropy, metrics=metrics)
    assert list(dict(result)) == ["loss", "accuracy", "c"]
    with pytest.raises(TypeError, match="iterable"):
        _, _ = result  # these would be names
    assert "accuracy" in result
    assert "acc" not in result
    assert repr(result).startswith("<Evaluation: loss ")
    assert ", accuracy " in repr(result)
    assert f"{result:.3f}" == f"{float(result):.3f}"


def test_a_column_of_validation_needs_validation_data():
    for monitor in ("val_loss", "val_accuracy"):
        model = network()
        before = model.state_dict()
        with pytest.raises(ValueError, match=r"monitor: .* give validation data"):
            fit([KeepBest(monitor=monitor)], {"accuracy": crnn.metrics.accuracy}, model=model)
        for name, array in model.params.items():
            np.testing.assert_array_equal(array, before[name])
