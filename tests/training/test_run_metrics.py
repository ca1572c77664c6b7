"""Metrics in a run: over the outputs of training and of validation, resumed, shown, refused."""

import copy
import csv
import functools
import math

import numpy as np
import pytest

import crnn
from crnn import metrics
from crnn.callbacks import Callback
from crnn.callbacks.history import History
from crnn.data import Batches
from crnn.losses import cross_entropy
from crnn.training import Evaluation, Trainer
from support.runs import K, StopAt, network, streams, trainer

rng = np.random.default_rng(0)
LENGTHS = rng.integers(1, 9, 40)
SEQUENCES = [rng.integers(0, K, T) for T in LENGTHS]
TARGETS = [np.roll(x, 1) for x in SEQUENCES]
ALL = {
    "accuracy": metrics.accuracy,
    "bits": metrics.bits,
    "right": metrics.exact_match,
    "perplexity": metrics.perplexity,
    "f1": metrics.f1,
    "tags": metrics.f1(average=None),
    "confusion": metrics.confusion_matrix,
}


class Mistakes:
    """A metric with an attribute that changes: the number of wrong valid steps."""

    def start(self):
        self.count = 0

    def add(self, y, target, lengths, weights):
        valid = np.ones(target.shape, bool)
        if lengths is not None:
            valid = np.arange(target.shape[1]) < np.asarray(lengths)[:, None]
        self.count += int(((y.argmax(-1) != target) & valid).sum())

    def value(self):
        return self.count


class SavedMistakes(Mistakes):
    """The same metric with a state_dict, which a checkpoint saves."""

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def fit(model, data, epochs=2, lr=0.05, **options):
    optimizer = crnn.optim.Adam(model, lr=lr)
    options = {"loss": cross_entropy, "progress": False} | options
    return crnn.fit(model, data, optimizer=optimizer, epochs=epochs, **options)


def batches(size=8, **options):
    return Batches(SEQUENCES, TARGETS, batch_size=size, shuffle=False, **options)


# ---------------------------------------------------------------------------------- the values


def test_the_metrics_of_training_are_of_the_outputs_before_each_update():
    model, seen = network(dropout=0.3), []

    def loss(y, target, lengths):
        seen.append((y.copy(), target, lengths))
        return cross_entropy(y, target, lengths)

    history = fit(model, batches(), epochs=1, loss=loss, metrics=ALL | {"wrong": Mistakes()})
    for name, metric in ALL.items():
        if hasattr(metric, "start"):
            metric.start()
            for one in seen:
                metric.add(*one)
            expected = metric.value()
        else:
            totals = [metric(*one) for one in seen]
            expected = sum(one.sum for one in totals) / sum(one.weight for one in totals)
        np.testing.assert_allclose(history[name][0], expected, rtol=1e-12, err_msg=name)
    right = sum(metrics.accuracy(*one).sum for one in seen)
    assert history.wrong == [LENGTHS.sum() - right]
    assert history.val_accuracy == history.val_confusion == history.val_wrong == [None]


@pytest.mark.parametrize("size", [1, 3, 40])
def test_validation_does_not_depend_on_the_batches(size):
    model = network()
    history = fit(model, batches(), validation=batches(size), metrics=ALL | {"wrong": Mistakes()})
    outputs = crnn.predict(model, SEQUENCES)
    y, target = (np.concatenate(part)[None] for part in (outputs, TARGETS))
    assert history.val_accuracy[-1] == pytest.approx(metrics.accuracy(y, target).mean, rel=1e-12)
    assert history.val_bits[-1] == pytest.approx(metrics.bits(y, target).mean, rel=1e-6)
    assert history.val_f1[-1] == pytest.approx(metrics.f1(y, target), rel=1e-12)
    assert history.val_wrong[-1] == (y.argmax(-1) != target).sum()
    np.testing.assert_array_equal(history.val_confusion[-1], metrics.confusion_matrix(y, target))
    right = [(p.argmax(-1) == t).all() for p, t in zip(outputs, TARGETS, strict=True)]
    assert history.val_right[-1] == pytest.approx(np.mean(right))


def test_evaluate_gives_the_same():
    model = network()
    history = fit(model, batches(), validation=batches(5), metrics=ALL | {"wrong": Mistakes()})
    wrong = Mistakes()
    result = crnn.evaluate(model, batches(5), loss=cross_entropy, metrics=ALL | {"wrong": wrong})
    assert isinstance(result, Evaluation)
    assert result == result["loss"] == history.val_loss[-1]
    assert result.weight == LENGTHS.sum()
    for name in ALL:
        np.testing.assert_array_equal(result[name], history[f"val_{name}"][-1])
    assert result["wrong"] == wrong.count == history.val_wrong[-1]
    with pytest.raises(KeyError, match=r"expected one of loss, accuracy, .*, got 'acc'"):
        result["acc"]
    assert copy.deepcopy(result).metrics["accuracy"] == result["accuracy"]
    assert result / 2 == float(result) / 2
    assert crnn.evaluate(model, batches(5), loss=cross_entropy).metrics == {}


@pytest.mark.parametrize("options", [{"tbptt": (4, 4)}, {"tbptt": (3, 7)}, {"tbptt": (5, 2)}, {}])
def test_windows_of_a_stream(options):
    data, model = streams(60), network()
    options = {"stateful": True} | options
    history = fit(model, data, validation=data, lr=1e-9, metrics=ALL, epochs=1, **options)
    y, _ = model(data.x)
    assert history.val_accuracy[-1] == metrics.accuracy(y, data.target).mean
    assert history.accuracy[-1] == pytest.approx(history.val_accuracy[-1], abs=0.02)
    assert history.confusion[-1].sum() == data.target.size


def test_items_for_one_update_count_together():
    one, several = network(), network()
    fitted = [
        fit(model, batches(size), accumulate=n, epochs=1, metrics=ALL | {"wrong": Mistakes()})
        for model, size, n in ((one, 40, 1), (several, 8, 5))
    ]
    for name in (*ALL, "wrong"):
        np.testing.assert_allclose(fitted[0][name][0], fitted[1][name][0], rtol=1e-5, err_msg=name)


def test_weights_reach_the_metrics():
    weights = [rng.uniform(size=T) * (rng.uniform(size=T) < 0.7) for T in LENGTHS]
    model = network()
    data = Batches(SEQUENCES, TARGETS, batch_size=7, weights=weights, shuffle=False)
    result = crnn.evaluate(model, data, loss=cross_entropy, metrics=ALL)
    y, target, flat = (
        np.concatenate(part)[None] for part in (crnn.predict(model, SEQUENCES), TARGETS, weights)
    )
    expected = metrics.accuracy(y, target, weights=flat).mean
    assert result["accuracy"] == pytest.approx(expected, rel=1e-12)
    expected = metrics.confusion_matrix(y, target, weights=flat)
    np.testing.assert_allclose(result["confusion"], expected, rtol=1e-12)


def test_many_to_one():
    model = crnn.Sequential([crnn.GRU(K, 5, seed=0), crnn.Pool(), crnn.Dense(5, 3, seed=1)])
    labels = rng.integers(0, 3, 40)
    data = Batches(SEQUENCES, labels, batch_size=6, seed=0)
    history = fit(model, data, validation=data, metrics=ALL | {"wrong": Mistakes()})
    y = np.stack(crnn.predict(model, SEQUENCES))
    assert history.val_accuracy[-1] == pytest.approx((y.argmax(-1) == labels).mean())
    assert history.val_right == pytest.approx(history.val_accuracy)
    assert history.confusion[0].sum() == 40


def test_a_metric_of_ones_own():
    def by_class(y, target, lengths=None, *, weights=None):
        """Number of right steps of each class (an array), and of all steps."""
        matrix = metrics.confusion_matrix(y, target, lengths, weights=weights)
        return np.diag(matrix), float(matrix.sum())

    def pair(y, target, lengths, weights=None):
        return [np.float32(3), np.int64(2)]

    own = {"by class": by_class, "pair": pair, "none": lambda y, t, n=None: (0, 0)}
    own["partial"] = functools.partial(metrics.f1, average="micro", ignore=[1])
    with pytest.raises(TypeError, match=r"metrics\['partial'\]: .*\(sum, weight\)"):
        fit(network(), batches(), metrics=own)
    del own["partial"]
    history = fit(network(), batches(), metrics=own)
    assert history["by class"][0].shape == (K,)
    assert history.pair == [1.5, 1.5]
    assert all(map(math.isnan, history["none"]))


# ------------------------------------------------------------------------------ saved and resumed


@pytest.mark.parametrize("stop", [1, 4, 9, 13])
@pytest.mark.parametrize("own", [SavedMistakes, None])
def test_a_run_that_is_resumed_has_the_same_metrics(tmp_path, stop, own):
    def make(**options):
        chosen = ALL if own is None else ALL | {"wrong": own()}
        return trainer(validation=streams(80), metrics=chosen, **options)

    whole = make()
    whole.run()
    first = make(callbacks=[StopAt(stop)])
    with pytest.raises(KeyboardInterrupt):
        first.run()
    first.save(tmp_path / "run.npz")
    again = make()
    again.resume(tmp_path / "run.npz")
    history = again.run()
    for name, column in whole.history.columns.items():
        if name not in ("seconds", "steps_per_second"):
            np.testing.assert_equal(history[name], column, err_msg=name)


def resumed(tmp_path, then, now, stop=12):
    """The history of a run that is resumed with other metrics."""
    first = trainer(validation=streams(80), metrics=then, callbacks=[StopAt(stop)])
    with pytest.raises(KeyboardInterrupt):
        first.run()
    first.save(tmp_path / "run.npz")
    again = trainer(validation=streams(80), metrics=now)
    with pytest.warns(crnn.training.ResumeWarning, match="metrics"):
        again.resume(tmp_path / "run.npz")
    return first.position, again.run()


def test_other_metrics_are_taken_up(tmp_path):
    position, history = resumed(tmp_path, None, {"accuracy": metrics.accuracy})
    assert 0 < position.epoch < 3
    assert position.steps > 0
    known = [value is not None for value in history.accuracy]
    assert known == [epoch > position.epoch + 1 for epoch in history.epoch]
    _, history = resumed(tmp_path, {"accuracy": metrics.accuracy}, None)
    assert list(history.columns) == list(History.NAMES)


def test_an_object_that_cannot_be_saved_has_no_value_in_the_epoch_that_was_resumed(tmp_path):
    first = trainer(metrics={"wrong": Mistakes()}, callbacks=[StopAt(7)])
    with pytest.raises(KeyboardInterrupt):
        first.run()
    first.save(tmp_path / "run.npz")
    again = trainer(metrics={"wrong": Mistakes()})
    again.resume(tmp_path / "run.npz")
    epochs = [
        e for e, wrong in zip(again.run().epoch, again.history.wrong, strict=True) if wrong is None
    ]
    assert epochs == [first.position.epoch + 1]


@pytest.mark.parametrize(
    "totals", [3, {"accuracy": 3}, {"accuracy": ("a", 1)}, {"accuracy": (None,)}]
)
def test_a_file_with_other_sums_is_refused(totals):
    run = trainer(metrics={"accuracy": metrics.accuracy}, callbacks=[StopAt(7)])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    state = run.state_dict()
    state["position"]["metrics"] = totals
    with pytest.raises(ValueError, match=r"position\.metrics"):
        trainer(metrics={"accuracy": metrics.accuracy}).load_state_dict(state)


# -------------------------------------------------------------------------------------- shown


def test_lines_show_the_numbers(capfd):
    fit(network(), batches(), epochs=1, validation=batches(), metrics=ALL, progress=True)
    out, _ = capfd.readouterr()
    (line,) = out.splitlines()
    assert ", accuracy 0." in line
    assert "perplexity " in line
    assert "(validation 0." in line
    assert "confusion" not in line
    assert "tags" not in line


def test_callbacks_see_the_metrics_so_far():
    class Notes(Callback):
        def __init__(self):
            self.seen = []

        def on_update(self, run):
            self.seen.append(run.metrics["accuracy"])

    notes = Notes()
    history = fit(network(), batches(), metrics=ALL, callbacks=[notes], epochs=1)
    assert len(notes.seen) == 5
    assert notes.seen[-1] == history.accuracy[-1]
    model = network()
    run = Trainer(model, batches(), loss=cross_entropy, optimizer=crnn.optim.SGD(model), epochs=1)
    assert run.metrics == {}


def test_a_csv_file_has_them(tmp_path):
    chosen = {name: ALL[name] for name in ("accuracy", "confusion")}
    fit(network(), batches(), validation=batches(), metrics=chosen).to_csv(tmp_path / "h.csv")
    with open(tmp_path / "h.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert 0 <= float(rows[1]["val_accuracy"]) <= 1
    assert np.sum(eval(rows[1]["confusion"])) == LENGTHS.sum()


def test_a_history_is_read_by_name():
    history = fit(network(), batches(), metrics={"bits per symbol": metrics.bits})
    assert history["bits per symbol"] == history.columns["bits per symbol"]
    assert history["loss"] is history.loss
    assert "bits per symbol" in repr(history)
    with pytest.raises(KeyError, match="a history has no 'accuracy'; its columns are epoch"):
        history["accuracy"]
    with pytest.raises(AttributeError, match="a history has no 'accuracy'"):
        _ = history.accuracy
    assert copy.deepcopy(history).loss == history.loss


# ------------------------------------------------------------------------------------ mistakes

ACCURACY = r"write metrics=\{\"accuracy\": crnn.metrics.accuracy\}"
WRONG = [
    (["accuracy"], TypeError, f"metrics: expected a mapping .* got \\['accuracy'\\]: {ACCURACY}"),
    ("accuracy", TypeError, f"metrics: expected a mapping .*: {ACCURACY}"),
    (metrics.accuracy, TypeError, "metrics: expected a mapping"),
    ({"accuracy": "accuracy"}, TypeError, r"metrics\['accuracy'\]: expected a function or an obj"),
    ({"wrong": Mistakes}, TypeError, r"metrics\['wrong'\]: expected .*, got <class"),
    ({3: metrics.accuracy}, TypeError, "metrics: expected names that are strings, got 3"),
    ({"loss": metrics.accuracy}, ValueError, "metrics: expected a name other than the columns"),
    ({"val_loss": metrics.accuracy}, ValueError, "metrics: expected a name other than the columns"),
    ({"a": metrics.bits, "val_a": metrics.bits}, ValueError, "names other than 'val_a'"),
    ({"a": lambda y, t, n: 0.5}, TypeError, r"metrics\['a'\]: .* returns \(sum, weight\), got 0.5"),
    ({"a": lambda y, t, n: (1, -1)}, ValueError, r"metrics\['a'\]: the weight: .* got -1"),
    (
        {"a": lambda y, t, n: (1, None)},
        TypeError,
        r"metrics\['a'\]: expected sums that are .* got None",
    ),
    ({"a": metrics.mae}, ValueError, "target: expected real numbers"),
]


@pytest.mark.parametrize(("given", "error", "message"), WRONG)
def test_wrong_metrics_are_refused_before_anything_is_learned(given, error, message):
    model = network()
    before = model.state_dict()
    with pytest.raises(error, match=message) as raised:
        fit(model, batches(), metrics=given)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
        assert not model.grads[name].any()
    if message.startswith("target"):
        assert "in metrics['a']" in raised.value.__notes__
    with pytest.raises(error, match=message):
        crnn.evaluate(model, batches(), loss=cross_entropy, metrics=given)


def test_what_to_write_instead():
    model, data = network(), batches()
    good = {"loss": cross_entropy, "optimizer": crnn.optim.Adam(model), "epochs": 1}
    x, y = np.zeros((2, 3), int), np.zeros((2, 3), int)
    for wrong, error, message in [
        ({"loss": "mse"}, TypeError, "got 'mse': write loss=crnn.losses.mse"),
        ({"loss": "CrossEntropyLoss"}, TypeError, "write loss=crnn.losses.cross_entropy"),
        (
            {"loss": "huber"},
            TypeError,
            "write loss=crnn.losses.binary_cross_entropy or loss=crnn.losses.c",
        ),
        ({"loss": None}, TypeError, "loss: expected a function such as crnn.losses.mse, got None"),
        ({"optimizer": "adam"}, TypeError, r"write optimizer=crnn.optim.Adam\(model, lr=1e-3\)"),
        ({"optimizer": "sgd"}, TypeError, r"write optimizer=crnn.optim.SGD\(model, lr=1e-3\)"),
        ({"optimizer": crnn.optim.AdamW}, TypeError, r"write optimizer=crnn.optim.AdamW\(model"),
        ({"data": (x, y)}, ValueError, r"got a tuple of arrays: write data=\[\(x, target\)\]"),
        ({"data": [x, y]}, ValueError, "got a list of arrays: write"),
        ({"data": x}, ValueError, r"got an array: write .*crnn.data.Batches\(x, target, batch_s"),
        ({"data": 3}, TypeError, r"data: expected an iterable of items .*, got int"),
        ({"validation": (x, y)}, ValueError, r"validation: .* write validation=\[\(x, target\)\]"),
        ({"callbacks": crnn.callbacks.EarlyStopping(3)}, TypeError, r"callbacks=\[EarlyStopping\("),
        ({"callbacks": [crnn.callbacks.KeepBest]}, TypeError, r"write KeepBest\(...\)"),
    ]:
        options = {"data": data} | good | wrong
        with pytest.raises(error, match=message):
            crnn.fit(model, progress=False, **options)
    with pytest.raises(ValueError, match=r"got a tuple of arrays: write data=\[\(x, target\)\]"):
        crnn.evaluate(model, (x, y), loss=cross_entropy)
    with pytest.raises(TypeError, match=r"write loss=crnn.losses.mse"):
        crnn.evaluate(model, data, loss="mse")


# ------------------------------------------------------------- metrics that fail in the middle


class Once(Mistakes):
    """Fails in one batch of the first epoch."""

    failed = False

    def add(self, y, target, lengths, weights):
        if not self.failed and self.count > 20:
            self.failed = True
            raise RuntimeError("once")
        super().add(y, target, lengths, weights)


def run_of(metrics, data=None, **options):
    model = network()
    optimizer = crnn.optim.SGD(model, lr=0.05)
    options = {"loss": cross_entropy, "optimizer": optimizer, "epochs": 2} | options
    return Trainer(model, data or batches(), metrics=metrics, **options)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("order", [1, -1])
def test_after_an_error_objects_have_no_value_that_counts_a_batch_twice(accumulate, order):
    chosen = dict(list({"wrong": Mistakes(), "once": Once()}.items())[::order])
    chosen["accuracy"] = metrics.accuracy
    run, whole = run_of(chosen, accumulate=accumulate), run_of(chosen, accumulate=accumulate)
    with pytest.raises(RuntimeError, match="once") as raised:
        run.run()
    assert "in metrics['once']" in raised.value.__notes__
    assert run.position.update == run.optimizer.steps
    assert not any(grad.any() for grad in run.model.grads.values())
    run.state_dict()
    history, expected = run.run(), whole.run()
    assert history.accuracy == expected.accuracy
    begun = accumulate == 1  # with 2, the first update fails and the epoch begins anew
    assert history.wrong == [None if begun else expected.wrong[0], expected.wrong[1]]


def by_step(y, target, lengths=None, *, weights=None):
    return (y.argmax(-1) == target).sum(axis=0), len(y)


class Recall(metrics.Metric):
    """The recall of class 3, which need not occur in the first batch."""

    def __init__(self, label=3):
        self.label = label

    def sums(self, y, target, lengths=None, weights=None):
        hits = (y.argmax(-1) == target) & (target == self.label)
        return int(hits.sum()), int((target == self.label).sum())

    def value_of(self, totals):
        return totals[0] // totals[1]


LATE = [
    (rng.integers(0, 3, (2, 5)), rng.integers(0, 3, (2, 5))),
    (rng.integers(0, K, (2, 3)), np.full((2, 3), 3)),
]


@pytest.mark.parametrize(
    ("metric", "error", "message"),
    [
        (by_step, ValueError, r"metrics\['m'\]: expected sums of the same shapes in all batches"),
        (lambda y, t, n: ("a", 1), TypeError, r"metrics\['m'\]: expected sums that are numbers"),
        (lambda y, t, n: ({}, 1), TypeError, r"metrics\['m'\]: expected sums that are numbers"),
        (lambda y, t, n: (1j, 1), TypeError, r"metrics\['m'\]: expected sums that are numbers"),
    ],
)
def test_sums_that_cannot_be_added_leave_a_consistent_run(metric, error, message):
    run = run_of({"m": metric}, LATE)
    with pytest.raises(error, match=message):
        run.run()
    assert run.position.update == run.optimizer.steps
    run.state_dict()


def test_a_value_that_cannot_be_computed_leaves_a_consistent_run():
    run = run_of({"m": Recall()}, LATE[:1])
    with pytest.raises(ZeroDivisionError) as raised:
        run.run()
    assert "in metrics['m']" in raised.value.__notes__
    assert run.metrics == {}  # as a progress bar asks for it
    assert (run.position.update, run.optimizer.steps) == (1, 1)
    run.state_dict()
    assert run_of({"m": Recall()}, LATE).run().m == [0, 0]


def test_booleans_and_reused_buffers_are_sums():
    buffer = np.zeros(2)

    def reused(y, target, lengths=None, *, weights=None):
        buffer[:] = (y.argmax(-1) == target).sum(), 1
        return buffer, len(y)

    class Any(metrics.Metric):
        def sums(self, y, target, lengths=None, weights=None):
            return (np.bool_(True), np.array([True, False]))

        def value_of(self, totals):
            return float(totals[0])

    run = run_of({"any": Any(), "reused": reused}, LATE, epochs=1)
    run.run()
    assert run.history["any"] == [2.0]
    right = sum(metrics.accuracy(network()(x)[0], t).sum for x, t in LATE[:1])
    assert run.history.reused[0][1] == 0.5
    assert run.history.reused[0][0] >= right / 4


def test_a_metric_with_other_methods_is_used_through_them():
    class Percent(type(metrics.f1)):
        def value(self):
            return 100 * super().value()

    model = network()
    chosen = {"plain": metrics.f1, "percent": Percent()}
    result = crnn.evaluate(model, batches(), loss=cross_entropy, metrics=chosen)
    assert result["percent"] == pytest.approx(100 * result["plain"])


def test_one_object_for_two_names_is_refused():
    wrong = Mistakes()
    with pytest.raises(ValueError, match="metrics: expected an object for each name"):
        crnn.evaluate(network(), batches(), loss=cross_entropy, metrics={"a": wrong, "b": wrong})


def test_functions_are_not_copied_for_validation():
    class Holder:
        def __deepcopy__(self, memo):
            raise RuntimeError("copied")

        def metric(self, y, target, lengths=None, *, weights=None):
            return metrics.accuracy(y, target, lengths, weights=weights)

    history = fit(network(), batches(), validation=batches(), metrics={"a": Holder().metric})
    assert len(history.val_a) == 2


def test_another_metric_of_the_same_name_has_no_value_in_the_epoch_that_was_resumed(tmp_path):
    position, history = resumed(tmp_path, {"m": metrics.bits}, {"m": metrics.perplexity})
    assert [value is None for value in history.m] == [
        epoch == position.epoch + 1 for epoch in history.epoch
    ]
    position, history = resumed(tmp_path, {"m": metrics.accuracy}, {"m": metrics.confusion_matrix})
    assert history.m[position.epoch] is None
    assert history.m[-1].shape == (K, K)


def test_a_row_of_other_columns_changes_nothing():
    history = fit(network(), batches(), metrics={"self": metrics.accuracy})
    with pytest.raises(ValueError, match="row: expected"):
        history.append(epoch=3)
    assert {len(column) for column in history.columns.values()} == {2}
    assert len(history["self"]) == 2
