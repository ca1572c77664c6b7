"""The loop: what an update is, what is kept, and that a run taken up again is the same run."""

import csv
import doctest
import importlib
import math
import signal
import sys
import threading
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

import crnn
from crnn import checkpoint
from crnn.callbacks import Callback, OneCycle, Progress
from crnn.data import Lines, TextStreams, Vocabulary
from crnn.history import History
from crnn.losses import cross_entropy, mse
from crnn.training import Trainer, count_updates, evaluate, fit

K = 4
rng = np.random.default_rng(0)


def network(seed=0, dropout=0.0):
    """A small model over K symbols, with a state of every shape."""
    return crnn.Sequential(
        [
            crnn.LSTM(K, 5, seed=seed),
            crnn.Dropout(dropout, seed=seed + 1),
            crnn.GRU(5, 3, seed=seed + 2),
            crnn.Dense(3, K, seed=seed + 3),
        ]
    )


def streams(length=200, batch=3):
    return TextStreams(np.random.default_rng(1).integers(0, K, length), batch)


def lines(count=20, batch=3, seed=0):
    vocabulary = Vocabulary("\nabc")
    draw = np.random.default_rng(2)
    words = ["".join(draw.choice(list("abc"), draw.integers(0, 7))) for _ in range(count)]
    return Lines(words, vocabulary, batch, seed=seed)


def trainer(model=None, data=None, epochs=3, **options):
    """A run with the things that have a memory: momentum, a schedule, carried states."""
    model, data = model or network(dropout=0.3), data or streams()
    options = {"tbptt": None if isinstance(data, Lines) else (8, 8)} | options
    optimizer = crnn.optim.Adam(model, lr=1e-2, clip_norm=1.0)
    schedule = OneCycle(1e-2, epochs * count_updates(data, options["tbptt"]))
    options["callbacks"] = [schedule, *options.get("callbacks", ())]
    options = {"loss": cross_entropy, "optimizer": optimizer} | options
    return Trainer(model, data, epochs=epochs, **options)


class Recorder(Callback):
    """Writes down what it is told."""

    def __init__(self):
        self.events, self.losses, self.rates = [], [], []

    def on_start(self, run):
        self.events.append("start")

    def on_update(self, run):
        self.events.append("update")
        self.losses.append(run.position.loss)
        self.rates.append(run.position.lr)

    def on_epoch(self, run):
        self.events.append("epoch")

    def on_end(self, run):
        self.events.append("end")


class StopAt(Callback):
    """Presses Ctrl-C in a certain update, or epoch."""

    def __init__(self, update=None, epoch=None):
        self.update, self.epoch = update, epoch

    def on_update(self, run):
        if run.position.update == self.update:
            signal.raise_signal(signal.SIGINT)

    def on_epoch(self, run):
        if run.position.epoch == self.epoch:
            signal.raise_signal(signal.SIGINT)


def numbers(run):
    """Everything of a run that does not depend on the clock."""
    state = run.state_dict()
    position = {k: v for k, v in state["position"].items() if k != "seconds"}
    columns = {k: v for k, v in state["history"].items() if "second" not in k}
    return position, columns, state["model"], state["optimizer"]


# --------------------------------------------------------------------------------- what fit does


def test_fit_is_the_loop_that_one_would_write():
    data = [
        (rng.integers(0, K, (2, 5)), rng.integers(0, K, (2, 5)), np.array(lengths))
        for lengths in ([5, 3], [0, 4], [1, 1])
    ]
    model, twin = network(), network()
    history = fit(
        model,
        data,
        loss=cross_entropy,
        optimizer=crnn.optim.SGD(model, lr=0.1),
        epochs=2,
        progress=False,
    )
    optimizer, means = crnn.optim.SGD(twin, lr=0.1), []
    for _ in range(2):
        total = 0.0
        for x, target, lengths in data:
            y, _, tape = twin.forward(x, lengths=lengths)
            loss, dy = cross_entropy(y, target, lengths)
            twin.backward(tape, dy)
            optimizer.step()
            total += loss * lengths.sum()
        means.append(total / 14)
    assert history.loss == means
    assert history.update == [3, 6]
    for name, array in twin.params.items():
        np.testing.assert_array_equal(model.params[name], array)


def test_windows_carry_the_state_on_and_cut_the_gradient():
    data = streams(length=41, batch=2)  # T = 20: windows of 8, 8 and 4
    model, twin = network(), network()
    options = {"loss": cross_entropy, "epochs": 1, "progress": False}
    history = fit(model, data, optimizer=crnn.optim.SGD(model, lr=0.1), tbptt=(8, 8), **options)
    optimizer, state, total = crnn.optim.SGD(twin, lr=0.1), None, 0.0
    for start in (0, 8, 16):
        window = slice(start, start + 8)
        y, state, tape = twin.forward(data.x[:, window], state)
        loss, dy = cross_entropy(y, data.target[:, window])
        twin.backward(tape, dy)
        optimizer.step()
        total += loss * dy.shape[0] * dy.shape[1]
    assert history.loss == [total / 40]
    for name, array in twin.params.items():
        np.testing.assert_array_equal(model.params[name], array)


def test_one_window_is_plain_backpropagation_to_the_last_bit():
    found = []
    for tbptt in (None, (66, 66), (1000, 1000)):
        model = network()
        optimizer = crnn.optim.Adam(model)
        options = {"loss": cross_entropy, "optimizer": optimizer, "epochs": 2, "progress": False}
        found.append(fit(model, streams(), tbptt=tbptt, **options).loss)
    assert found[0] == found[1] == found[2]


def test_windows_clip_lengths_and_leave_out_what_is_padding():
    seen = []

    def loss(y, target, lengths):
        seen.append((target.shape[1], lengths.tolist()))
        return cross_entropy(y, target, lengths)

    x = rng.integers(0, K, (3, 20))
    data = [
        (x, x, np.array([3, 9, 0])),
        (x, x, np.array([0, 0, 0])),
        (x[:0], x[:0], np.zeros(0, int)),
    ]
    run = trainer(network(), data, epochs=1, loss=loss, tbptt=(4, 4))
    run.run()
    assert seen == [(4, [3, 4, 0]), (4, [0, 4, 0]), (1, [0, 1, 0])]
    assert run.history.update == [3]


def test_items_without_valid_steps_are_no_updates():
    x = rng.integers(0, K, (2, 3))
    data = [(x, x, np.array([0, 0])), (x[:, :0], x[:, :0]), (x, x)]
    run = trainer(network(), data, epochs=1, tbptt=None)
    run.run()
    assert run.history.update == [1]
    assert count_updates(data) == 1


def test_a_target_for_each_row_counts_rows():
    class Last(crnn.LSTM):
        """Gives the last state alone."""

        def forward(self, x, state=None, *, lengths=None, training=True):
            _, (h, c), tape = super().forward(x, state, lengths=lengths)
            return h, (h, c), tape

        def backward(self, tape, dy, dstate=None):
            return super().backward(tape, None, (dy, np.zeros_like(dy)))

    model = Last(2, K, seed=0)
    del crnn.Layer.registry["Last"]
    data = [(rng.normal(size=(B, 3, 2)), rng.integers(0, K, B)) for B in (2, 6)]
    expected = []

    def loss(y, target, lengths):
        value, dy = cross_entropy(y, target)
        expected.append(value * len(y))
        return value, dy

    optimizer = crnn.optim.SGD(model, lr=0.1)
    history = fit(model, data, loss=loss, optimizer=optimizer, epochs=1, progress=False)
    assert history.loss == [sum(expected) / 8]


def test_the_loss_goes_down_with_mse_too():
    x = rng.normal(size=(4, 10, 2))
    model = crnn.Sequential([crnn.RNN(2, 8, seed=0), crnn.Dense(8, 2, seed=1)])
    optimizer = crnn.optim.Adam(model, lr=0.03)
    data = [(x, np.roll(x, 1, axis=1))]
    history = fit(model, data, loss=mse, optimizer=optimizer, epochs=60, progress=False)
    assert history.loss[-1] < 0.3 * history.loss[0]


def test_old_gradients_do_no_harm():
    model, twin = network(), network()
    model.grads["0.W_x"] = 1e9
    for one in (model, twin):
        optimizer = crnn.optim.SGD(one)
        fit(one, streams(), loss=cross_entropy, optimizer=optimizer, epochs=1, progress=False)
    np.testing.assert_array_equal(model.params["0.W_x"], twin.params["0.W_x"])


def test_validation_is_the_mean_over_valid_steps_without_dropout():
    held_out = lines(count=7)
    run = trainer(network(dropout=0.5), lines(), epochs=2, validation=held_out)
    history = run.run()
    total = sum(
        cross_entropy(run.model(x, lengths=n)[0], t, n)[0] * n.sum() for x, t, n in held_out
    )
    assert history.val_loss[-1] == pytest.approx(total / held_out.steps, rel=1e-12)
    assert history.val_loss[-1] == evaluate(run.model, held_out, cross_entropy)


def test_evaluation_in_windows_is_evaluation():
    model, data = network(), streams()
    whole = evaluate(model, data, cross_entropy)
    assert evaluate(model, data, cross_entropy, tbptt=(7, 7)) == pytest.approx(whole, rel=1e-6)


def test_set_epoch_is_told_before_each_pass():
    told = []

    class Data:
        def set_epoch(self, epoch):
            told.append(epoch)

        def __iter__(self):
            x = np.zeros((1, 2), int)
            yield x, x

    trainer(data=Data(), epochs=3, validation=Data()).run()
    assert told == [0, 0, 1, 1, 2, 2]


def test_callbacks_hear_everything_in_order():
    recorder = Recorder()
    run = trainer(data=lines(count=6), epochs=2, callbacks=[recorder])
    run.run()
    assert recorder.events == ["start", *["update", "update", "epoch"] * 2, "end"]
    assert len(run.history) == 2


def test_the_end_is_told_when_an_exception_ends_a_run():
    class Fails(Callback):
        def on_update(self, run):
            raise ZeroDivisionError

    recorder = Recorder()
    with pytest.raises(ZeroDivisionError):
        trainer(callbacks=[recorder, Fails()]).run()
    assert recorder.events == ["start", "update", "end"]


def test_steps_of_an_item_may_have_no_lengths():
    x = rng.integers(0, K, (2, 5))
    for data in ([(x, x, None)], [[x.tolist(), x.tolist()]]):
        assert trainer(data=data, epochs=1).run().update == [1]


# ----------------------------------------------------------------------------------- wrong things


def generator():
    x = np.zeros((1, 2), int)
    yield x, x


def ragged(*lengths):
    x = np.zeros((2, 8), int)
    return [(x, x, np.array(lengths))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs: expected an integer of at least 1"),
        ({"tbptt": 8}, r"tbptt: expected None or \(k1, k2\), got 8"),
        ({"tbptt": (8, 0)}, "k2: expected an integer of at least 1"),
        ({"tbptt": (8, 4)}, r"tbptt: only k1 == k2 is there so far, got \(8, 4\)"),
        ({"data": []}, "data: expected items, got none"),
        ({"data": generator()}, "data: expected items, got none. An iterator can be gone through"),
        ({"data": [np.zeros(3)]}, r"data: expected items \(x, target\) or .* got array"),
        ({"data": [(1,)]}, r"data: expected items \(x, target\) or .* got \(1,\)"),
        ({"data": ragged(1, 2, 3)}, r"lengths: expected .* \(B=2,\), got shape \(3,\)"),
        ({"data": ragged(1, 99)}, "lengths: expected integers from 0 to T=8, got 1 to 99"),
        ({"data": ragged(-1, 2)}, "lengths: expected integers from 0 to T=8, got -1 to 2"),
        (
            {"data": [(np.zeros((2, 3), int), np.zeros(2, int))]},
            r"data: windows \(tbptt\) need .* got shapes \(2, 3\) and \(2,\)",
        ),
        ({"validation": []}, "validation: expected items, got none"),
        (
            {"validation": [(np.zeros((2, 0), int), np.zeros((2, 0), int))]},
            "validation: expected data with valid steps, got none",
        ),
        (
            {"data": [(np.zeros((2, 0), int), np.zeros((2, 0), int))]},
            "data: expected data with valid steps, got none",
        ),
    ],
)
def test_wrong_arguments(options, message):
    model = network()
    before = model.state_dict()
    given = {"data": streams(), "epochs": 2, "tbptt": (8, 8)} | options
    with pytest.raises(ValueError, match=message):
        Trainer(
            model,
            given.pop("data"),
            loss=cross_entropy,
            optimizer=crnn.optim.SGD(model, lr=0.0),
            **given,
        ).run()
    for name, array in model.params.items():
        np.testing.assert_array_equal(array, before[name])


def test_a_loss_that_is_not_finite_stops_the_run_before_the_update():
    values = iter([1.0, math.nan])

    def loss(y, target, lengths):
        return next(values), np.ones_like(y)

    run = trainer(loss=loss)
    with pytest.raises(FloatingPointError, match="the loss is nan after 1 updates, in epoch 1"):
        run.run()
    assert run.position.update == 1
    assert all(np.isfinite(array).all() for array in run.model.params.values())
    run.state_dict()  # the state after the first update


def test_a_gradient_that_is_not_finite_stops_the_run():
    def loss(y, target, lengths):
        return 1.0, np.full_like(y, np.inf)

    model = network()
    before = model.state_dict()
    with pytest.raises(FloatingPointError, match="gradient"):
        trainer(model, loss=loss).run()
    np.testing.assert_array_equal(model.params["3.W"], before["3.W"])


# ----------------------------------------------------------------------- interrupted and resumed


@pytest.mark.parametrize("data", [streams, lines])
@pytest.mark.parametrize("update", [1, 5, 9, 10, 13])
def test_a_run_taken_up_again_is_the_same_run(tmp_path, data, update):
    recorder = Recorder()
    whole = trainer(data=data(), validation=data(), callbacks=[recorder])
    whole.run()

    first, second = Recorder(), Recorder()
    run = trainer(data=data(), validation=data(), callbacks=[first, StopAt(update)])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert run.position.update == update
    checkpoint.write(tmp_path / "run.npz", "training", run.state_dict())

    again = trainer(network(seed=7, dropout=0.3), data(), validation=data(), callbacks=[second])
    again.model.layers[1].seed = run.model.layers[1].seed  # dropout's, which is no parameter
    again.load_state_dict(checkpoint.read(tmp_path / "run.npz", "training"))
    again.run()
    np.testing.assert_equal(numbers(again), numbers(whole))
    assert first.losses + second.losses == recorder.losses
    assert first.rates + second.rates == recorder.rates


def test_a_state_is_a_snapshot():
    class Keep(Callback):
        def on_update(self, run):
            if run.position.update == 12:
                self.state = run.state_dict()

    keep = Keep()
    whole = trainer(callbacks=[keep])
    whole.run()
    again = trainer(network(seed=2, dropout=0.3))
    again.model.layers[1].seed = whole.model.layers[1].seed
    again.load_state_dict(keep.state)
    again.run()
    np.testing.assert_equal(numbers(again), numbers(whole))


def test_a_run_that_stopped_can_go_on_by_itself():
    whole, run = trainer(), trainer(callbacks=[StopAt(3)])
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        run.run()
    run.run()
    np.testing.assert_equal(numbers(run), numbers(whole))


def test_a_run_stopped_while_it_validates_validates_again():
    class Stops:
        def __init__(self):
            self.passes = 0

        def __iter__(self):
            self.passes += 1
            if self.passes == 2:
                signal.raise_signal(signal.SIGINT)
            return iter(streams(batch=2))

    whole, run = trainer(validation=streams(batch=2)), trainer(validation=Stops())
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert (run.position.epoch, len(run.history)) == (1, 1)
    again = trainer(network(seed=3, dropout=0.3), validation=streams(batch=2))
    again.model.layers[1].seed = run.model.layers[1].seed
    again.load_state_dict(run.state_dict())
    again.run()
    np.testing.assert_equal(numbers(again), numbers(whole))


def test_ctrl_c_in_a_callback_lets_the_others_be_told():
    recorder = Recorder()
    run = trainer(callbacks=[StopAt(epoch=1), recorder])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert recorder.events[-2:] == ["epoch", "end"]
    assert run.position.epoch == 1


def test_ctrl_c_at_the_very_end_is_not_lost():
    run = trainer(callbacks=[StopAt(epoch=3)])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert len(run.history) == 3


def test_a_second_ctrl_c_does_not_wait():
    class Twice(Callback):
        def on_update(self, run):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the second one came to nothing")

    run = trainer(callbacks=[Twice()])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    run.state_dict()  # between two updates


def test_an_update_broken_off_is_not_saved():
    run = trainer()
    step = run.optimizer.step

    def broken():
        step()
        raise KeyboardInterrupt

    run.optimizer.step = broken
    with pytest.raises(KeyboardInterrupt):
        run.run()
    with pytest.raises(RuntimeError, match="broken off in the middle of an update"):
        run.state_dict()


def test_the_handler_of_ctrl_c_is_put_back():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    trainer(epochs=1).run()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_user_is_left_alone():
    pressed = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        trainer(epochs=1, callbacks=[StopAt(2)]).run()
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed == [signal.SIGINT]


def test_a_run_in_another_thread():
    run = trainer(epochs=1)
    thread = threading.Thread(target=run.run)
    thread.start()
    thread.join()
    assert len(run.history) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"position": {"spam": 1}},
        {"history": {}},
        {"history": {"epoch": [1]}},
        {"model": {}},
        {"optimizer": {}},
    ],
)
def test_a_wrong_state_changes_nothing(change):
    run, other = trainer(), trainer(network(seed=4))
    run.run()
    before = numbers(other)
    with pytest.raises(ValueError, match="expected"):
        other.load_state_dict(run.state_dict() | change)
    np.testing.assert_equal(numbers(other), before)
    with pytest.raises(ValueError, match=r"state: expected what Trainer.state_dict returned"):
        other.load_state_dict({})


# -------------------------------------------------------------------------------- the learning rate


def test_one_cycle_goes_up_and_down():
    schedule = OneCycle(0.5, 100)
    rates = [schedule.rate(update) for update in range(102)]
    assert rates[0] == pytest.approx(0.5 / 25)
    assert max(rates) == rates[29] == 0.5
    assert np.all(np.diff(rates[:30]) > 0)
    assert np.all(np.diff(rates[29:100]) < 0)
    assert rates[99] == rates[100] == rates[101] == pytest.approx(0.5 / 250_000)


@pytest.mark.parametrize("total", [1, 2, 3, 4, 7, 50])
def test_one_cycle_is_pytorchs(total):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.3, total_steps=total, cycle_momentum=False
    )
    for update in range(total):
        assert OneCycle(0.3, total).rate(update) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if update < total - 1:
            theirs.step()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 10), "peak: expected a positive number"), ((1.0, 0), "total: expected an integer")],
)
def test_a_wrong_schedule(arguments, message):
    with pytest.raises(ValueError, match=message):
        OneCycle(*arguments)


# ----------------------------------------------------------------------------------- the history


def test_history_is_a_table(tmp_path):
    run = trainer(epochs=2)
    history = run.run()
    assert history.epoch == [1, 2]
    assert history.val_loss == [None, None]
    assert history.lr == [row["lr"] for row in history.rows()]
    assert all(seconds > 0 for seconds in history.seconds)
    assert history.steps_per_second[0] == pytest.approx(198 / history.seconds[0])
    assert repr(history).startswith("<History of 2 epochs: epoch, update, loss")
    history.to_csv(tmp_path / "history.csv", bits=[1.5, 2.5], seed=3)
    with open(tmp_path / "history.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*History.NAMES, "bits", "seed"]
    assert [float(row["loss"]) for row in rows] == history.loss
    assert [row["val_loss"] for row in rows] == ["", ""]
    assert [(row["bits"], row["seed"]) for row in rows] == [("1.5", "3"), ("2.5", "3")]


def test_history_names_its_columns_when_asked_for_another():
    with pytest.raises(AttributeError, match="a history has no 'accuracy'; its columns are epoch"):
        _ = History().accuracy
    with pytest.raises(ValueError, match="columns: expected epoch, update, loss"):
        History({"epoch": []})


# ----------------------------------------------------------------------------------- the progress


def test_progress_off_is_silent(capfd):
    model = network()
    optimizer = crnn.optim.SGD(model)
    fit(model, streams(), loss=cross_entropy, optimizer=optimizer, epochs=2, progress=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("tqdm", [True, False])
def test_without_a_terminal_progress_is_a_line_for_each_epoch(capfd, monkeypatch, tqdm):
    if not tqdm:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    model = network()
    optimizer = crnn.optim.SGD(model)
    options = {"loss": cross_entropy, "optimizer": optimizer, "epochs": 2}
    history = fit(model, streams(), validation=streams(), **options)
    out, err = capfd.readouterr()
    assert err == ""
    first, second = out.splitlines()
    assert first.startswith(
        f"epoch 1/2: loss {history.loss[0]:.3f}, validation {history.val_loss[0]:.3f}, "
    )
    assert second.startswith("epoch 2/2: ")
    assert second.endswith(" steps/s")


class Bar:
    """Stands for tqdm's, on a terminal."""

    made: ClassVar = []

    def __init__(self, **options):
        self.options, self.total, self.n = options, options["total"], options["initial"]
        self.initial, self.text, self.closed, self.written = self.n, [], False, []
        Bar.made.append(self)

    def update(self, n):
        assert n > 0
        self.n += n

    def set_description_str(self, text, refresh):
        self.text.append(text)

    def set_postfix_str(self, text, refresh):
        self.text.append(text)

    def write(self, text):
        self.written.append(text)

    def close(self):
        self.closed = True


@pytest.fixture
def bars(monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr("tqdm.tqdm", Bar)
    terminal = SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("crnn.callbacks.sys", terminal)
    Bar.made.clear()
    return Bar.made


def test_on_a_terminal_progress_is_a_bar(bars, capsys):
    trainer(epochs=2, callbacks=[Progress(unit="character", label="bits", scale=2)]).run()
    (bar,) = bars
    assert (bar.total, bar.n, bar.closed) == (396, 396, True)
    assert bar.options["delay"] == 2
    assert bar.text[0] == "epoch 1/2"
    assert bar.text[1].startswith("bits ")
    assert capsys.readouterr().out == ""


def test_a_bar_learns_the_total_from_the_first_epoch(bars):
    x = np.zeros((2, 5), int)
    trainer(data=[(x, x), (x, x)], epochs=3, callbacks=[Progress()]).run()
    assert (bars[0].total, bars[0].n, bars[0].initial) == (60, 60, 0)


@pytest.mark.parametrize("known", [True, False])
def test_the_bar_of_a_run_taken_up_again_goes_on(bars, known):
    x = np.zeros((2, 5), int)
    data = streams(length=41, batch=2) if known else [(x, x)] * 4
    run = trainer(data=data, callbacks=[StopAt(5), Progress()])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    run.run()
    again = bars[1]
    assert (again.total, again.n, again.closed) == (120, 120, True)


# ------------------------------------------------------------------------------------- doctests


@pytest.mark.parametrize("name", ["crnn.training", "crnn.data", "crnn.models.char_model"])
def test_examples_in_the_documentation(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried > 0
    assert failed == 0
