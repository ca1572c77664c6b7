"""The learning rate, the history, the progress, and the examples in the documentation."""

import csv
import doctest
import importlib
import sys
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

import crnn
from crnn.callbacks import OneCycle, Progress
from crnn.callbacks.history import History
from crnn.losses import cross_entropy
from crnn.training.fitting import fit
from support.runs import StopAt, network, streams, trainer

# -------------------------------------------------------------------------------- the learning rate


def test_one_cycle_goes_up_and_down():
    schedule = OneCycle(0.5, total=100)
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
        assert OneCycle(0.3, total=total).rate(update) == pytest.approx(
            theirs.get_last_lr()[0], rel=1e-9
        )
        optimizer.step()
        if update < total - 1:
            theirs.step()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 10), "peak: expected a positive number"), ((1.0, 0), "total: expected an integer")],
)
def test_a_wrong_schedule(arguments, message):
    with pytest.raises(ValueError, match=message):
        OneCycle(arguments[0], total=arguments[1])


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
    """A replacement for the bar of tqdm on a terminal."""

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
    monkeypatch.setattr("crnn.callbacks.progress.sys", terminal)
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


def test_a_glimpse_is_printed_below_the_figures_of_each_epoch(bars, capsys, monkeypatch):
    def glimpse():
        return "hello"

    trainer(epochs=2, callbacks=[Progress(glimpse=glimpse)]).run()
    (bar,) = bars
    assert [line[:10] for line in bar.written] == [
        "epoch 1/2:",
        "    hello",
        "epoch 2/2:",
        "    hello",
    ]
    monkeypatch.setattr("crnn.callbacks.progress.sys.stderr.isatty", lambda: False)
    trainer(epochs=1, callbacks=[Progress(glimpse=glimpse)]).run()
    lines = capsys.readouterr().out.splitlines()
    assert [line[:10] for line in lines] == ["epoch 1/1:", "    hello"]


def test_a_bar_learns_the_total_from_the_first_epoch(bars):
    x = np.zeros((2, 5), int)
    trainer(data=[(x, x), (x, x)], epochs=3, callbacks=[Progress()]).run()
    assert (bars[0].total, bars[0].n, bars[0].initial) == (60, 60, 0)


@pytest.mark.parametrize("known", [True, False])
def test_the_bar_of_a_resumed_run_continues(bars, known):
    x = np.zeros((2, 5), int)
    data = streams(length=41, batch_size=2) if known else [(x, x)] * 4
    run = trainer(data=data, callbacks=[StopAt(5), Progress()])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    run.run()
    again = bars[1]
    assert (again.total, again.n, again.closed) == (120, 120, True)


# ------------------------------------------------------------------------------------- doctests


@pytest.mark.parametrize("name", ["crnn.training.fitting", "crnn.data", "crnn.models.char_model"])
def test_examples_in_the_documentation(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried > 0
    assert failed == 0


def test_a_bar_shows_metrics_and_the_last_validation(bars):
    metrics = {"accuracy": crnn.metrics.accuracy, "confusion": crnn.metrics.confusion_matrix}
    run = trainer(epochs=2, validation=streams(60), metrics=metrics, callbacks=[Progress(scale=2)])
    history = run.run()
    (bar,) = bars
    loss, val_loss = 2 * history.loss[-1], 2 * history.val_loss[-1]
    accuracy, val_accuracy = history.accuracy[-1], history.val_accuracy[-1]
    assert bar.text[-1] == (
        f"loss {loss:.3f}, accuracy {accuracy:.4g}, validation {val_loss:.3f}, "
        f"accuracy {val_accuracy:.4g}"
    )
