"""Schedules, early stopping, the best parameters and checkpoints, also in resumed runs."""

import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import crnn
from crnn.callbacks import (
    Callback,
    Checkpoint,
    Constant,
    Cosine,
    EarlyStopping,
    KeepBest,
    OneCycle,
    OnPlateau,
    Step,
)
from crnn.losses import cross_entropy
from crnn.training.fitting import fit
from crnn.training.trainer import Trainer
from support.runs import Recorder, StopAt, network, run_of, streams


class Losses:
    """Validation data with a prescribed loss for each epoch."""

    def __init__(self, values):
        self.values = values
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        x = np.zeros((1, 1), int)
        yield x, x, None, {"weights": np.full((1, 1), 1.0)}

    def loss(self, y, target, lengths, weights=None):
        value, dy = cross_entropy(y, target, lengths)
        return (self.values[self.epoch] if weights is not None else value), dy


def told(values, callbacks, epochs=None):
    """A run with these validation losses."""
    validation = Losses(values)
    run = run_of(callbacks, epochs or len(values), validation)
    run._loss = validation.loss
    return run


# ---------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Constant(0.3), ("ConstantLR", {"factor": 1.0})),
        (Step(0.3, every=4, factor=0.5), ("StepLR", {"step_size": 4, "gamma": 0.5})),
        (Cosine(0.3, total=19, low=0.01), ("CosineAnnealingLR", {"T_max": 19, "eta_min": 0.01})),
        (Constant(0.3, warmup=5), ("LinearLR", {"start_factor": 1 / 6, "total_iters": 5})),
    ],
)
def test_schedules_are_pytorchs(ours, theirs):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    name, options = theirs
    schedule = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
    for update in range(20):
        assert ours.rate(update) == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        schedule.step()


def test_a_schedule_sets_the_rate_of_every_update():
    recorder, schedule = Recorder(), Step(0.1, every=3, factor=0.5)
    run_of([schedule, recorder], epochs=2).run()
    assert recorder.rates == [0.1 * 0.5 ** (update // 3) for update in range(6)]
    assert Cosine(1.0, total=10).rate(10) == Cosine(1.0, total=10).rate(99) == 0


def test_a_cosine_with_a_warm_up_is_the_schedule_of_nanogpt():
    """Its function get_lr, literally."""

    def get_lr(it, learning_rate=1e-3, warmup_iters=10, lr_decay_iters=40, min_lr=1e-4):
        if it < warmup_iters:
            return learning_rate * (it + 1) / (warmup_iters + 1)
        if it > lr_decay_iters:
            return min_lr
        decay_ratio = (it - warmup_iters) / (lr_decay_iters - warmup_iters)
        coeff = 0.5 * (1.0 + math.cos(math.pi * decay_ratio))
        return min_lr + coeff * (learning_rate - min_lr)

    schedule = Cosine(1e-3, total=40, low=1e-4, warmup=10)
    assert [schedule.rate(it) for it in range(60)] == pytest.approx(
        [get_lr(it) for it in range(60)], rel=1e-12
    )


def test_a_warm_up_that_is_as_long_as_the_run_is_refused_before_it_begins():
    run = run_of([Cosine(0.1, warmup=3)], epochs=1)
    before, lr = run.model.state_dict(), run.optimizer.lr
    with pytest.raises(ValueError, match=r"warmup: expected fewer updates than the 3 .* got 3"):
        run.run()
    np.testing.assert_equal(run.model.state_dict(), before)
    assert run.optimizer.lr == lr


def test_on_plateau_lowers_the_rate():
    values = [3.0, 2.0, 2.5, 2.0, 1.0, 0.95, 0.94, 0.93, 0.92]
    rates = []

    class Rates(Callback):
        def on_epoch(self, run):
            rates.append(run.optimizer.lr)

    plateau = OnPlateau(0.5, patience=2, min_delta=0.1, low=0.02)
    told(values, [plateau, Rates()]).run()
    # epochs 3 and 4 are no better than 2; 6 and 7 than 5; then 8 and 9, down to `low`
    assert rates == pytest.approx([0.05] * 3 + [0.025] * 3 + [0.02] * 3)


def test_on_plateau_does_not_raise_a_rate_below_its_floor():
    run = told([1.0, 1.0], [OnPlateau(0.5, patience=1, low=0.1)])
    run.run()
    assert run.optimizer.lr == 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(0), "lr: expected a positive number"),
        (lambda: Constant(1, warmup=-1), "warmup: expected an integer of at least 1"),
        (lambda: Step(0.1, every=0), "every: expected an integer"),
        (lambda: Step(0.1, every=1, factor=0), "factor: expected a positive number"),
        (lambda: Cosine(0.1, total=0), "total: expected an integer"),
        (lambda: Cosine(0.1, total=1, low=-1), "low: expected a finite number"),
        (lambda: Cosine(0.1, total=9, warmup=9), "warmup: expected fewer updates than the 9"),
        (lambda: Cosine(0.1, warmup=-1), "warmup: expected an integer of at least 1"),
        (lambda: OnPlateau(1.0), "factor: expected .* below 1"),
        (lambda: OnPlateau(patience=0), "patience: expected an integer"),
        (lambda: EarlyStopping(0), "patience: expected an integer"),
        (lambda: KeepBest(min_delta=-1), "min_delta: expected a finite number"),
        (lambda: Checkpoint("x", updates=0), "updates: expected an integer"),
        (lambda: Checkpoint("x", seconds=0), "seconds: expected a positive number"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ------------------------------------------------------------ early stopping, the best parameters


class Snapshots(Callback):
    def __init__(self):
        self.params = []

    def on_epoch(self, run):
        self.params.append(run.model.state_dict())


def test_early_stopping_stops_and_gives_the_best_parameters_back():
    snapshots, stopping = Snapshots(), EarlyStopping(2)
    run = told([3.0, 1.0, 2.0, 1.0, 0.5, 0.4], [snapshots, stopping])
    history = run.run()
    assert history.epoch == [1, 2, 3, 4]
    assert (run.finished, run.stopped) == (True, True)
    assert (stopping.epoch, stopping.loss) == (2, 1.0)
    np.testing.assert_equal(run.model.state_dict(), snapshots.params[1])


def test_early_stopping_needs_an_improvement_of_min_delta():
    run = told([3.0, 2.9, 2.8, 2.7, 0.0], [EarlyStopping(2, min_delta=0.15, restore=False)])
    last = Snapshots()
    run._callbacks = (last, *run._callbacks)
    assert run.run().epoch == [1, 2, 3, 4, 5]  # 2.8 is 0.2 better than 3.0
    np.testing.assert_equal(run.model.state_dict(), last.params[-1])
    assert told([3.0, 2.9, 2.88, 0.0], [EarlyStopping(2, min_delta=0.15)]).run().epoch == [1, 2, 3]


def test_a_loss_that_is_nan_is_never_the_best():
    run = told([np.nan, np.nan, 1.0], [EarlyStopping(2)])
    assert run.run().epoch == [1, 2]


def test_without_validation_the_training_loss_counts():
    best = KeepBest()
    run = run_of([best])
    history = run.run()
    assert best.loss == min(history.loss)
    assert best.epoch == 1 + int(np.argmin(history.loss))


def test_keep_best_saves_the_best_model(tmp_path):
    snapshots = Snapshots()
    keep = KeepBest(tmp_path / "best.npz", restore=False)
    run = told([3.0, 1.0, 2.0], [keep, snapshots])
    run.run()
    np.testing.assert_equal(crnn.load(tmp_path / "best.npz").state_dict(), snapshots.params[1])
    np.testing.assert_equal(run.model.state_dict(), snapshots.params[2])


def test_a_run_that_is_broken_off_keeps_its_last_parameters():
    snapshots = Snapshots()
    run = told([1.0, 2.0, 3.0], [KeepBest(), snapshots, StopAt(epoch=2)])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    np.testing.assert_equal(run.model.state_dict(), snapshots.params[1])
    run.run()
    np.testing.assert_equal(run.model.state_dict(), snapshots.params[0])


def test_any_callback_can_stop_a_run():
    class Stops(Callback):
        def on_update(self, run):
            if run.position.update == 4:
                run.stop()

    recorder = Recorder()
    run = run_of([Stops(), recorder])
    history = run.run()
    assert recorder.events == ["start", *["update"] * 3, "epoch", "update", "end"]
    assert (history.epoch, run.position.update) == ([1], 4)
    assert run.run() is history
    assert run.position.update == 4  # the run has ended


# ------------------------------------------------------------------------------------ checkpoints


def everything(path):
    return [
        OneCycle(0.05, total=18),
        OnPlateau(0.5, patience=1),
        Checkpoint(path, updates=1),  # called last, although it is not the last in the list
        KeepBest(),
        EarlyStopping(2, min_delta=0.01),
    ]


VALUES = [3.0, 1.0, 1.5, 0.9, 0.895, 0.894, 0.1]


@pytest.mark.parametrize("update", [1, 3, 5, 6, 9, 12, 14])
def test_the_state_of_callbacks_is_restored(tmp_path, update):
    path = tmp_path / "run.npz"
    recorder = Recorder()
    whole = told(VALUES, [*everything(tmp_path / "whole.npz"), recorder])
    whole.run()
    first, second = Recorder(), Recorder()
    run = told(VALUES, [*everything(path), first, StopAt(update)])
    with pytest.raises(KeyboardInterrupt):
        run.run()
    again = told(VALUES, [*everything(path), second])
    again.resume(path)
    assert again.position.update == update
    again.run()
    assert again.history.epoch == whole.history.epoch == [1, 2, 3, 4, 5, 6]
    assert first.losses + second.losses == recorder.losses
    assert first.rates + second.rates == recorder.rates
    np.testing.assert_equal(again.model.state_dict(), whole.model.state_dict())
    done = told(VALUES, everything(path))
    done.resume(path)  # of a run that has ended
    assert done.finished
    done.run()
    np.testing.assert_equal(done.model.state_dict(), whole.model.state_dict())


def test_a_run_that_is_over_can_be_made_longer(tmp_path):
    """The file has the last parameters, from which the run continues, and not the best ones."""
    path, values = tmp_path / "run.npz", [1.0, 2.0, 3.0, 0.5, 4.0]
    told(values, [KeepBest(), Checkpoint(path)], epochs=3).run()
    whole, again = told(values, [KeepBest()]), told(values, [KeepBest()])
    whole.run()
    again.resume(path)
    again.run()
    np.testing.assert_equal(again.model.state_dict(), whole.model.state_dict())


def test_other_callbacks_are_refused(tmp_path):
    run = run_of([KeepBest()])
    run.run()
    run.save(tmp_path / "run.npz")
    other = run_of([OnPlateau()])
    before = other.model.state_dict()
    with pytest.raises(ValueError, match=r"callbacks: expected those .* KeepBest, got OnPlateau"):
        other.resume(tmp_path / "run.npz")
    np.testing.assert_equal(other.model.state_dict(), before)
    state = run.state_dict()
    state["callbacks"][0]["state"] = {"loss": 1.0}
    same = run_of([KeepBest()])
    with pytest.raises(ValueError, match="callbacks: expected a saved state of KeepBest: 'epoch'"):
        same.load_state_dict(state)
    np.testing.assert_equal(same.model.state_dict(), before)


def test_checkpoints_are_written_when_they_are_due(tmp_path, monkeypatch):
    written, clock = [], [0.0]
    monkeypatch.setattr(Trainer, "save", lambda run, path: written.append(run.position.update))
    monkeypatch.setattr("crnn.callbacks.saving.time.monotonic", lambda: clock[0])
    for options, expected in (
        ({}, [3, 6, 9, 9]),  # each epoch, and at the end
        ({"updates": 4}, [4, 8, 9]),
        ({"epochs": 2}, [6, 9]),
        ({"updates": 5, "epochs": 1}, [3, 5, 6, 9, 9]),
        ({"seconds": 2.5}, [3, 6, 9, 9]),
    ):

        class Ticks(Callback):
            def on_update(self, run):
                clock[0] += 1.0

        written.clear()
        run_of([Checkpoint("x", **options), Ticks()], epochs=3).run()
        assert written == expected, options


def test_a_run_that_breaks_in_a_callback_leaves_the_last_file(tmp_path):
    class Breaks(Callback):
        def on_update(self, run):
            if run.position.update == 5:
                raise ZeroDivisionError

    path = tmp_path / "run.npz"
    with pytest.raises(ZeroDivisionError):
        run_of([Breaks(), Checkpoint(path, updates=1)]).run()
    again = run_of()
    again.resume(path)
    assert again.position.update == 4


def test_fit_resumes_where_there_is_a_file(tmp_path):
    def trained(*callbacks, **options):
        model = network(dropout=0.3)
        optimizer = crnn.optim.Adam(model, 0.05)
        history = fit(
            model, streams(60), loss=cross_entropy, optimizer=optimizer, epochs=4, tbptt=(8, 8),
            callbacks=callbacks, progress=False, **options,
        )  # fmt: skip
        return model.state_dict(), history.loss

    path = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        trained(Checkpoint(path), StopAt(7), resume=path)
    np.testing.assert_equal(trained(Checkpoint(path), resume=path), trained())


KILLED = """
import sys
sys.path[:0] = {path!r}
from support.runs import run_of
from crnn.callbacks import Checkpoint
run_of([Checkpoint({file!r}, updates=1)], epochs=10**6).run()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no kill here")
def test_a_kill_at_any_moment_leaves_a_good_file(tmp_path):
    file = str(tmp_path / "run.npz")
    code = KILLED.format(path=sys.path, file=file)
    found = []
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code])
        while not os.path.exists(file) and process.poll() is None:
            time.sleep(0.01)
        found.append(os.stat(file).st_ino)
        while os.stat(file).st_ino == found[-1] and process.poll() is None:
            time.sleep(0.001)  # so that the process is killed while it replaces the file
        process.kill()
        assert process.wait() == -signal.SIGKILL
        again = run_of(epochs=10**6)
        again.resume(file)
        assert again.position.update >= 1
        assert all(np.isfinite(array).all() for array in again.model.params.values())


def test_history_plots_itself():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    run = told([3.0, 1.0], [])
    run.run()
    axes = run.history.plot(unit="bits", scale=2.0)
    lines = {line.get_label(): line for line in axes.get_lines()}
    np.testing.assert_allclose(lines["validation"].get_ydata(), [6.0, 2.0])
    assert axes.get_ylabel() == "bits"
