"""One callback in several runs, and several runs with one optimizer."""

import copy

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
    Progress,
    Step,
)
from crnn.data import Batches
from crnn.losses import cross_entropy
from crnn.training.fitting import fit
from support.runs import K, Recorder, StopAt, lines, network, streams

OFF = {"loss": cross_entropy, "progress": False}


def batches(n=17, seed=3):
    draw = np.random.default_rng(4)
    x = [draw.integers(0, K, T) for T in draw.integers(2, 9, n)]
    return Batches(x, [one[::-1].copy() for one in x], batch_size=4, seed=seed)


def made(seed=0, lr=0.02):
    model = network(seed, dropout=0.3)
    return model, crnn.optim.Adam(model, lr=lr, clip_norm=1.0)


# ----------------------------------------------------------------------- callbacks of several runs


class Counter(Callback):
    """A user-defined callback that counts updates and stores their losses."""

    def __init__(self):
        self.updates, self.losses = 0, []

    def on_update(self, run):
        self.updates += 1
        self.losses.append(run.position.loss)

    def state_dict(self):
        return {"updates": self.updates, "losses": self.losses}

    def load_state_dict(self, state):
        self.updates, self.losses = state["updates"], state["losses"]


def losses_of(callback, seed, epochs=4, lr=0.02):
    """Losses, rates and parameters of a run with a callback and a new model."""
    model, optimizer = made(seed, lr)
    recorder = Recorder()
    history = fit(
        model, batches(), optimizer=optimizer, epochs=epochs, callbacks=[callback, recorder], **OFF
    )
    return history.loss, recorder.rates, model.state_dict()


@pytest.mark.parametrize(
    "make",
    [
        lambda: EarlyStopping(1, min_delta=0.2),
        lambda: KeepBest(min_delta=0.2),
        lambda: OnPlateau(0.5, patience=1, min_delta=0.5),
        lambda: Constant(0.02, warmup=5),
        lambda: Step(0.02, every=3),
        lambda: Cosine(0.05),
        lambda: Cosine(0.05, warmup=3),
        lambda: OneCycle(0.05),
        lambda: OneCycle(0.05, total=20),
        Counter,
    ],
)
def test_a_callback_of_several_runs_is_reset(make):
    used, fresh = make(), [make(), make()]
    for seed, alone in enumerate(fresh):
        # the first run learns, the second one does not: it is never better than the first
        lr = 0.05 if seed == 0 else 0.0
        epochs = 6 - seed
        np.testing.assert_equal(
            losses_of(used, seed, epochs, lr), losses_of(alone, seed, epochs, lr)
        )
        np.testing.assert_equal(used.state_dict(), alone.state_dict())


def test_a_watch_of_a_second_run_is_reset():
    model, optimizer = made()
    watch = crnn.watch(model, every=2)
    for _ in range(2):
        fit(model, batches(), optimizer=optimizer, epochs=1, callbacks=[watch], **OFF)
        kept = [record["update"] for record in watch.records]
    assert kept == [7, 9]  # of updates 6 to 10


def test_the_weights_of_another_model_are_not_restored():
    """The second run has no epoch that is better than the best epoch of the first run."""
    stopping = EarlyStopping(2)
    first, optimizer = made()
    fit(first, batches(), optimizer=optimizer, epochs=8, callbacks=[stopping], **OFF)
    second = crnn.Sequential([crnn.RNN(K, 2, seed=9), crnn.Dense(2, K, seed=9)])
    history = fit(
        second, batches(), optimizer=crnn.optim.SGD(second, 0.01), epochs=3,
        callbacks=[stopping], **OFF,
    )  # fmt: skip
    assert stopping.loss == min(history.loss)
    assert history.epoch == [1, 2, 3]


def test_progress_of_a_second_run_resets_the_length_of_an_epoch():
    progress = Progress()
    progress._epoch_steps, progress._last = 99, 99  # as of an earlier run, on a terminal
    losses_of(progress, 0, epochs=1)
    assert (progress._epoch_steps, progress._last) == (None, progress._last)
    assert progress._last != 99


# ------------------------------------------------------------------- several runs of one optimizer


def in_pieces(data, pieces, make_callbacks=lambda: [], **options):
    """Several runs with one optimizer: parameters, histories, rates."""
    model, optimizer = made()
    rows, rates = [], []
    for epochs in pieces:
        recorder = Recorder()
        history = fit(
            model, data, optimizer=optimizer, epochs=epochs,
            callbacks=[*make_callbacks(), recorder], **OFF, **options,
        )  # fmt: skip
        rates += recorder.rates
        rows += [
            {name: value for name, value in row.items() if "second" not in name}
            for row in history.rows()
        ]
    return model.state_dict(), optimizer.state_dict(), rows, rates


@pytest.mark.parametrize("pieces", [[1, 1, 1, 1], [1, 3], [3, 1], [2, 2]])
@pytest.mark.parametrize(
    ("data", "options"),
    [
        (batches, {}),
        (lines, {}),
        (streams, {"tbptt": (8, 8)}),
        (streams, {"tbptt": (8, 11)}),
        (batches, {"accumulate": 2}),
    ],
)
def test_a_run_in_pieces_is_the_run(data, options, pieces):
    data = data()
    whole = in_pieces(data, [4], validation=batches(6), **options)
    np.testing.assert_equal(in_pieces(data, pieces, validation=batches(6), **options), whole)
    assert [row["epoch"] for row in whole[2]] == [1, 2, 3, 4]
    assert whole[1]["epochs"] == 4


@pytest.mark.parametrize(
    "schedule",
    [
        lambda: Constant(0.02, warmup=7),
        lambda: Step(0.02, every=7, factor=0.5),
        lambda: Cosine(0.02, total=20),
        lambda: Cosine(0.02, total=20, warmup=7),
        lambda: OneCycle(0.02, total=20),
    ],
)
def test_schedules_of_a_run_in_pieces_continue(schedule):
    whole = in_pieces(batches(), [4], lambda: [schedule()])
    np.testing.assert_equal(in_pieces(batches(), [1] * 4, lambda: [schedule()]), whole)


def test_a_schedule_as_long_as_the_run_begins_with_it():
    _, _, _, rates = in_pieces(batches(), [2, 2], lambda: [Cosine(0.1)])
    assert rates[:10] == rates[10:] == [Cosine(0.1, total=10).rate(update) for update in range(10)]


@pytest.mark.parametrize("make", [lambda: Cosine(0.1, total=10), lambda: OneCycle(0.1, total=10)])
def test_a_schedule_that_ended_before_a_run_begins_anew(make):
    _, _, _, rates = in_pieces(batches(), [1, 1, 2], lambda: [make()])
    assert rates == [make().rate(update % 10) for update in range(20)]


def test_the_numbers_are_saved_with_the_optimizer():
    model, optimizer = made()
    fit(model, batches(), optimizer=optimizer, epochs=2, **OFF)
    again, other = made(7)
    again.load_state_dict(model.state_dict())
    again.layers[1].seed = model.layers[1].seed
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    first = fit(model, batches(), optimizer=optimizer, epochs=1, **OFF)
    second = fit(again, batches(), optimizer=other, epochs=1, **OFF)
    assert first.loss == second.loss
    assert (first.epoch, first.update) == (second.epoch, second.update) == ([3], [15])


def test_a_state_of_an_earlier_version_has_no_epochs():
    _, optimizer = made()
    state = optimizer.state_dict() | {"steps": 6}
    del state["epochs"]
    optimizer.epochs = 5
    optimizer.load_state_dict(state)
    assert (optimizer.steps, optimizer.epochs) == (6, 0)
    for wrong in (-1, 1.5):
        with pytest.raises(ValueError, match="epochs: expected an integer of at least 0"):
            optimizer.load_state_dict(optimizer.state_dict() | {"epochs": wrong})
        assert optimizer.epochs == 0


def test_early_stopping_counts_the_epochs_of_its_own_run():
    model, optimizer = made()
    optimizer.epochs = 50
    x = np.zeros((1, 2, K), np.float32)
    nan = lambda y, target, lengths: (np.nan if len(y) == 2 else 1.0, np.zeros_like(y))  # noqa: E731
    data, validation = [(x, x)], [(np.concatenate([x, x]),) * 2]
    history = fit(
        model, data, loss=nan, optimizer=optimizer, epochs=9, validation=validation,
        callbacks=[EarlyStopping(2)], progress=False,
    )  # fmt: skip
    assert history.epoch == [51, 52]


def test_an_interrupted_run_with_the_same_optimizer_continues_to_its_old_end(tmp_path):
    path, (model, optimizer) = tmp_path / "run.npz", made()
    fit(model, batches(), optimizer=optimizer, epochs=2, **OFF)
    options = {"optimizer": optimizer, "epochs": 3, "resume": path, **OFF}
    with pytest.raises(KeyboardInterrupt):
        fit(model, batches(), callbacks=[Checkpoint(path), StopAt(17)], **options)
    history = fit(model, batches(), callbacks=[Checkpoint(path)], **options)
    assert (history.epoch, optimizer.epochs) == ([3, 4, 5], 5)
    whole = in_pieces(batches(), [5])
    np.testing.assert_equal(model.state_dict(), whole[0])


def test_a_callback_without_a_state_before_its_start():
    class Started(Callback):
        def on_start(self, run):
            self.seen = []

        def state_dict(self):
            return {"seen": self.seen}

    model, optimizer = made()
    for _ in range(2):
        fit(model, batches(), optimizer=optimizer, epochs=1, callbacks=[Started()], **OFF)
