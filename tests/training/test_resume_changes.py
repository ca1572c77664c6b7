"""Runs that are resumed with other arguments, or from a file with wrong contents."""

import functools
import math
import warnings

import numpy as np
import pytest

import crnn
from crnn.callbacks import (
    Callback,
    Checkpoint,
    Constant,
    EarlyStopping,
    KeepBest,
    OneCycle,
    OnPlateau,
    Step,
)
from crnn.common.notices import ResumeWarning
from crnn.data import Batches, Streams
from crnn.losses import cross_entropy
from crnn.storage import archive
from crnn.training.fitting import fit
from crnn.training.trainer import Trainer
from support.runs import K, Recorder, StopAt, network

DRAW = np.random.default_rng(5)
SYMBOLS = DRAW.integers(0, K, (24, 6))


def batches(batch_size=4, seed=0, x=SYMBOLS):
    return Batches(x, x, batch_size, seed=seed)


def run_of(
    data=None, *, lr=0.02, epochs=4, callbacks=(), optimizer=None, loss=cross_entropy, **more
):
    model = network(dropout=0.3)
    make = optimizer or functools.partial(crnn.optim.Adam, clip_norm=1.0)
    return Trainer(
        model, batches() if data is None else data, loss=loss, optimizer=make(model, lr=lr),
        epochs=epochs, callbacks=callbacks, **more,
    )  # fmt: skip


def interrupted(update=8, callbacks=(), **options):
    run = run_of(callbacks=[*callbacks, StopAt(update)], **options)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    return run.state_dict()


def everything(run):
    """Everything that loading may change."""
    callbacks = [
        (vars(one).copy(), one.state_dict())
        for one in run._callbacks
        if not isinstance(one, StopAt)
    ]
    return (
        vars(run.position), run.epochs, run.stopped, run.history.columns, run.model.state_dict(),
        run.optimizer.state_dict(), run.optimizer.given_lr, callbacks,
    )  # fmt: skip


# ---------------------------------------------------------------- arguments that must not change


def of_lists(x, batch_size):
    return [(x[i : i + batch_size], x[i : i + batch_size]) for i in range(0, len(x), batch_size)]


@pytest.mark.parametrize("update", [6, 8])
@pytest.mark.parametrize(
    ("then", "now"),
    [
        (batches, lambda: batches(batch_size=8)),
        (batches, lambda: batches(batch_size=3)),
        (batches, lambda: batches(seed=1)),
        (batches, lambda: batches(x=SYMBOLS[:20])),
        (batches, lambda: batches(x=(SYMBOLS + 1) % K)),
        (lambda: of_lists(SYMBOLS, 4), lambda: of_lists(SYMBOLS, 8)),
        (lambda: of_lists(SYMBOLS, 4), lambda: of_lists(SYMBOLS, 4)[::-1]),
        (lambda: of_lists(SYMBOLS, 4), lambda: of_lists(SYMBOLS, 4)[:5]),
        (lambda: of_lists(SYMBOLS, 4), lambda: of_lists(SYMBOLS[:, :5], 4)),
        (lambda: of_lists(SYMBOLS, 4), batches),
    ],
)
def test_other_data_are_refused(then, now, update):
    state = interrupted(update, data=then())
    again = run_of(data=now())
    before = everything(again)
    with pytest.raises(ValueError, match="data: expected the data of the saved run"):
        again.load_state_dict(state)
    np.testing.assert_equal(everything(again), before)
    run_of(data=then()).load_state_dict(state)


def test_streams_in_other_batches_are_refused():
    series = np.concatenate(SYMBOLS)
    then, now = (Streams(series, batch_size=batch_size, steps=7) for batch_size in (3, 6))
    state = interrupted(3, data=then, stateful=True)
    with pytest.raises(ValueError, match=r"data: .* at most B=3 rows.*, got .* at most B=6 rows"):
        run_of(data=now, stateful=True).load_state_dict(state)


class Reader:
    """Data of a user-defined class, read again in each epoch."""

    def __init__(self, items):
        self.items = items

    def __iter__(self):
        yield from self.items


@pytest.mark.parametrize(
    ("kind", "now"),
    [
        (iter, of_lists(SYMBOLS, 8)),
        (iter, of_lists((SYMBOLS + 1) % K, 4)),
        (iter, of_lists(SYMBOLS, 4)[:1]),
        (Reader, of_lists(SYMBOLS, 8)),
        (Reader, of_lists(SYMBOLS[:, :5], 4)),
    ],
)
def test_data_that_are_not_checked_before_are_compared_item_by_item(kind, now):
    right = of_lists(SYMBOLS, 4)
    state = interrupted(3, data=kind(right), epochs=1)
    again = run_of(data=kind(now), epochs=1)
    again.load_state_dict(state)
    before = again.model.state_dict()
    with pytest.raises(
        ValueError, match=r"^data: (expected the data of the saved run|expected more than 2 items)"
    ):
        again.run()
    np.testing.assert_equal(again.model.state_dict(), before)
    again = run_of(data=kind(right), epochs=1)
    again.load_state_dict(state)
    assert again.run().epoch == [1]


def smoothed(e):
    return functools.partial(cross_entropy, label_smoothing=e)


@pytest.mark.parametrize(
    ("then", "now", "name"),
    [
        ({}, {"optimizer": crnn.optim.Adam}, r"optimizer\.clip_norm"),
        ({}, {"optimizer": crnn.optim.AdamW}, "optimizer"),
        ({}, {"optimizer": crnn.optim.RMSprop}, "optimizer"),
        (
            {"optimizer": crnn.optim.Adam},
            {"optimizer": functools.partial(crnn.optim.Adam, betas=(0.5, 0.9))},
            r"optimizer\.betas",
        ),
        (
            {"optimizer": crnn.optim.Adam},
            {"optimizer": functools.partial(crnn.optim.Adam, clip_value=1.0)},
            r"optimizer\.clip_value",
        ),
        (
            {"optimizer": crnn.optim.SGD},
            {"optimizer": functools.partial(crnn.optim.SGD, momentum=0.9)},
            r"optimizer\.momentum",
        ),
        (
            {"optimizer": functools.partial(crnn.optim.SGD, freeze="0.*")},
            {"optimizer": crnn.optim.SGD},
            r"optimizer\.freeze",
        ),
        ({}, {"loss": smoothed(0.1)}, "loss"),
        ({"loss": smoothed(0.2)}, {"loss": smoothed(0.1)}, "loss"),
        (
            {"loss": functools.partial(cross_entropy, class_weights=np.ones(K))},
            {"loss": functools.partial(cross_entropy, class_weights=np.arange(K) + 1.0)},
            "loss",
        ),
        ({}, {"tbptt": (3, 3)}, "tbptt"),
        ({"tbptt": (2, 3)}, {"tbptt": (2, 2)}, r"tbptt"),
        ({}, {"stateful": True}, "stateful"),
        ({"accumulate": 2}, {}, "accumulate"),
    ],
)
def test_other_arguments_are_refused(then, now, name):
    state = interrupted(2, **then)
    again = run_of(**now)
    before = everything(again)
    with pytest.raises(ValueError, match=f"{name}: expected .*, as when the run began, got"):
        again.load_state_dict(state)
    np.testing.assert_equal(everything(again), before)


# --------------------------------------------------------------------- arguments that may change


def test_the_same_arguments_give_no_warning(tmp_path):
    path = tmp_path / "run.npz"
    archive.write(path, "training run", interrupted(callbacks=[OneCycle(0.05), EarlyStopping(9)]))
    again = run_of(callbacks=[OneCycle(0.05), EarlyStopping(9)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.resume(path)


def test_more_epochs_are_used_with_a_warning():
    state = interrupted(epochs=2)
    again = run_of(epochs=3)
    with pytest.warns(ResumeWarning, match="resume: epochs: 3 now, 2 when the run began") as said:
        again.load_state_dict(state)
    assert said[0].filename == __file__
    assert again.run().epoch == [1, 2, 3]
    whole = run_of(epochs=3)
    whole.run()
    np.testing.assert_equal(again.model.state_dict(), whole.model.state_dict())


class Halves(Callback):
    """A user-defined schedule."""

    def on_update(self, run):
        run.optimizer.lr *= 0.5


@pytest.mark.parametrize("callbacks", [[], [Halves()], [OnPlateau(0.5, 1)]])
def test_another_learning_rate_is_used_with_a_warning(callbacks):
    state = interrupted(callbacks=callbacks)
    again = run_of(lr=0.01, callbacks=callbacks)
    with pytest.warns(ResumeWarning, match=r"lr: 0\.01 now, 0\.02 when the run began"):
        again.load_state_dict(state)
    assert again.optimizer.lr == 0.01
    later = again.state_dict()
    third = run_of(lr=0.01, callbacks=callbacks)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        third.load_state_dict(later)


@pytest.mark.parametrize("make", [Halves, lambda: Step(0.02, every=2), lambda: OneCycle(0.3)])
def test_a_scheduled_rate_is_compared_with_nothing(make):
    """It is neither that in the file nor that of the optimizer after an earlier run."""
    whole, recorder = run_of(callbacks=[make()]), Recorder()
    whole._callbacks += (recorder,)
    whole.run()
    state, second = interrupted(callbacks=[make()]), Recorder()
    again = run_of(callbacks=[make(), second])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.load_state_dict(state)
    again.run()
    assert second.rates == recorder.rates[8:]


def test_the_given_rate_is_not_that_of_an_earlier_run(tmp_path):
    """The third run of a loop is interrupted; the script that resumes it makes a new optimizer."""
    model = network(dropout=0.3)
    optimizer, path = crnn.optim.SGD(model, lr=0.02), tmp_path / "run.npz"
    options = {"loss": cross_entropy, "progress": False}
    for epoch in range(3):
        stops = [StopAt(15)] if epoch == 2 else []
        run = {
            "optimizer": optimizer,
            "epochs": 1,
            "callbacks": [Halves(), Checkpoint(path), *stops],
        }
        if stops:
            with pytest.raises(KeyboardInterrupt):
                fit(model, batches(), **run, **options)
        else:
            fit(model, batches(), **run, **options)
    assert (optimizer.lr, optimizer.given_lr) == (0.02 * 0.5**15, 0.02)
    again = run_of(epochs=1, optimizer=crnn.optim.SGD, callbacks=[Halves()])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.resume(path)
    assert (again.optimizer.lr, again.epochs) == (optimizer.lr, 3)


def test_a_rate_that_a_schedule_sets_is_the_schedules():
    state = interrupted(callbacks=[Constant(0.03)])
    again = run_of(lr=0.7, callbacks=[Constant(0.04)])
    with pytest.warns(ResumeWarning, match=r"Constant: lr=0\.04 now, 0\.03 when") as said:
        again.load_state_dict(state)
    assert len(said) == 1
    new = run_of(lr=0.02, callbacks=[Constant(0.03), OneCycle(0.5)])
    with pytest.warns(ResumeWarning, match=r"OneCycle: peak=0\.5 now, not set when it began"):
        new.load_state_dict(state)


class Worse:
    """Validation data with a prescribed loss."""

    def __iter__(self):
        yield SYMBOLS[:1], SYMBOLS[:1]


def worse(y, target, lengths):
    """The loss on one row, the validation data, never falls."""
    value, dy = cross_entropy(y, target, lengths)
    return (1.0 if len(y) == 1 else value), dy


def early(patience, epochs=9, **options):
    callbacks = [EarlyStopping(patience, **options)]
    return run_of(callbacks=callbacks, loss=worse, validation=Worse(), epochs=epochs)


def test_more_patience_continues_a_stopped_run():
    whole, again, state = early(4), early(4), early_state(2)
    whole.run()
    assert state["history"]["epoch"] == [1, 2, 3]
    with pytest.warns(ResumeWarning, match="EarlyStopping: patience=4 now, 2 when the run began"):
        again.load_state_dict(state)
    assert not again.finished
    assert again.run().epoch == whole.history.epoch == [1, 2, 3, 4, 5]
    np.testing.assert_equal(again.model.state_dict(), whole.model.state_dict())


def early_state(patience):
    """The state of a run that early stopping ended, as `Checkpoint` writes it."""
    states = []

    class Keep(Callback):
        saves = True

        def on_end(self, run):
            states.append(run.state_dict())

    run = early(patience)
    run._callbacks += (Keep(),)
    run.run()
    return states[0]


def test_as_much_patience_as_before_and_more_epochs_do_not():
    state = early_state(2)
    for again in (early(2, epochs=20), early(1)):
        with pytest.warns(ResumeWarning, match="was stopped after epoch 3 and stays stopped"):
            again.load_state_dict(state)
        assert again.finished
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        early(2).load_state_dict(state)


def test_a_run_that_another_callback_stopped_stays_stopped():
    class Stops(Callback):
        def on_epoch(self, run):
            run.stop()

    run = early(2)
    run._callbacks += (Stops(),)
    run.run()
    again = early(7)
    with pytest.warns(ResumeWarning):
        again.load_state_dict(run.state_dict())
    assert again.stopped


def test_other_options_of_the_model_and_other_validation_data_are_said():
    state = interrupted(validation=batches(8))
    again = run_of(validation=batches(8, x=SYMBOLS[:9]))
    again.model.layers[1].p = 0.5
    with pytest.warns(ResumeWarning) as said:
        again.load_state_dict(state)
    texts = [str(one.message) for one in said]
    assert any("model.config.layers[1].config.p: 0.5 now, 0.3 when" in text for text in texts)
    assert any(text.startswith("resume: validation: 2 items") for text in texts)
    assert len(texts) == 2


# ------------------------------------------------------------------------------------- callbacks


class Late(Callback):
    """A callback without a state before its first event."""

    def __init__(self):
        self.seen = {}

    def on_update(self, run):
        self.seen[f"u{run.position.update}"] = run.position.loss

    def state_dict(self):
        return dict(self.seen)

    def load_state_dict(self, state):
        self.seen = dict(state)


@pytest.mark.parametrize("old", [False, True])
def test_a_callback_that_remembers_nothing_at_first_is_resumed(tmp_path, old):
    whole, first, again = Late(), Late(), Late()
    run_of(callbacks=[whole]).run()
    state = interrupted(callbacks=[Late(), first] if not old else [first])
    if old:
        state = of_an_earlier_version(state)
    archive.write(tmp_path / "x.npz", "training run", state)
    run = run_of(callbacks=[Late(), again] if not old else [again])
    run.resume(tmp_path / "x.npz")
    assert again.seen == first.seen
    run.run()
    assert again.seen == whole.seen


def of_an_earlier_version(state):
    """A state as an earlier version wrote it."""
    state = {name: state[name] for name in state if name not in ("start", "arguments", "stopper")}
    state["position"] = {name: v for name, v in state["position"].items() if name != "seen"}
    state["optimizer"] = {name: v for name, v in state["optimizer"].items() if name != "epochs"}
    state["callbacks"] = [
        {"callback": one["callback"], "state": one["state"]}
        for one in state["callbacks"]
        if one["state"]
    ]
    return state


def test_a_run_of_an_earlier_version_is_resumed(tmp_path):
    def callbacks():
        return [OneCycle(0.05), EarlyStopping(5), OnPlateau(), Late()]

    whole = run_of(callbacks=callbacks(), validation=batches(8))
    whole.run()
    state = of_an_earlier_version(interrupted(13, callbacks=callbacks(), validation=batches(8)))
    archive.write(tmp_path / "x.npz", "training run", state)
    again = run_of(callbacks=callbacks(), validation=batches(8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.resume(tmp_path / "x.npz")
    again.run()
    np.testing.assert_equal(again.model.state_dict(), whole.model.state_dict())
    assert again.optimizer.epochs == 4


class Half(Callback):
    """A callback that refuses a state when half of it is loaded."""

    def __init__(self, kept):
        self.items, self.other = [kept], 0

    def state_dict(self):
        return {"items": list(self.items), "other": self.other}

    def load_state_dict(self, state):
        self.items += state["items"]
        self.extra = True
        self.other = state["other"]
        if self.other == "lie":
            raise LookupError("other: expected a number")


def test_after_a_refusal_no_callback_has_changed():
    state = interrupted(callbacks=[KeepBest(), Half(1), OnPlateau()])
    state["callbacks"][1]["state"]["other"] = "lie"
    again = run_of(callbacks=[KeepBest(), Half(2), OnPlateau()])
    again._callbacks[0]._best.value, again._callbacks[0].epoch = 1.5, 3
    before = everything(again)
    with pytest.raises(ValueError, match=r"callbacks: expected a saved state of Half: .*other"):
        again.load_state_dict(state)
    after = everything(again)
    assert after[-1][1][1] == before[-1][1][1]
    assert after[-1][0][1] == before[-1][0][1] == {
        "loss": 1.5, "monitor": None, "mode": "min", "epoch": 3, "params": {}
    }  # fmt: skip
    assert "extra" not in vars(again._callbacks[1])
    np.testing.assert_equal(after[:-1], before[:-1])


# ------------------------------------------------------------------ files with wrong contents


def changed(state, path, value):
    *where, last = path
    state = inside = dict(state)
    for name in where:
        inside[name] = dict(inside[name]) if isinstance(inside[name], dict) else list(inside[name])
        inside = inside[name]
    inside[last] = value
    return state


LIES = [
    *((("position", name), value)
      for name in ("epoch", "item", "window", "update", "steps", "seen")
      for value in (math.nan, -1, 1.0, "1", None, True, 10**30, [1])),
    *((("position", name), value)
      for name in ("total", "weight", "seconds")
      for value in (math.nan, math.inf, "1", None, True, [])),
    *((("position", name), -1.0) for name in ("weight", "seconds")),
    *((("position", name), value) for name in ("loss", "lr") for value in ("1", None, [], False)),
    (("position", "epoch"), 3),
    (("position", "state"), "x"),
    (("position", "state"), [np.array([np.nan])]),
    (("position", "spam"), 1),
    (("position",), [1]),
    (("start",), {"epoch": 0}),
    (("start",), None),
    (("start", "epoch"), 5),
    (("start", "epoch"), math.nan),
    (("start", "update"), 10**6),
    *((("history", name), value)
      for name in ("epoch", "update", "loss", "val_loss", "lr", "seconds", "steps_per_second")
      for value in ([], [1, 2], ["x"], [[1]], "x", 3, {"a": 1}, [True])),
    (("history", "loss"), [None]),
    (("history", "epoch"), [2]),
    (("history", "epoch"), [1.0]),
    (("history", "update"), [9999]),
    (("history", "update"), [-1]),
    (("history", "seconds"), [math.nan]),
    (("history", "seconds"), [-1.0]),
    (("history", "spam"), [1]),
    (("history",), []),
    (("stopped",), 1),
    (("stopped",), "no"),
    (("tapes",), None),
    (("tapes",), [1]),
    (("tapes",), 1),
    (("model",), []),
    (("optimizer",), None),
    (("optimizer", "steps"), -1),
    (("optimizer", "epochs"), math.nan),
    (("optimizer", "lr"), math.nan),
    (("arguments",), 3),
    (("arguments",), {"lr": 1}),
    (("arguments", "data"), {"items": 1, "rows": 2}),
    (("callbacks",), None),
    (("callbacks",), [1]),
    (("callbacks",), []),
    (("callbacks", 0), {}),
    (("callbacks", 0, "state"), None),
    (("callbacks", 0, "state"), [1]),
    (("callbacks", 0, "callback"), 3),
    (("callbacks", 0, "arguments"), 3),
    *((("callbacks", 0, "state", "loss"), value) for value in (math.nan, "x", None, True)),
    *((("callbacks", 0, "state", "epoch"), value) for value in (math.nan, -1, 0.5, "x", None)),
    *((("callbacks", 0, "state", "params"), value) for value in (3, {"a": 1}, None)),
    *((("callbacks", 1, "state", "best"), value) for value in (math.nan, "x", None)),
    *((("callbacks", 1, "state", "waited"), value) for value in (math.nan, -1, 0.5, "x", None)),
    *((("callbacks", 2, "state", "records"), value) for value in (3, [3], [{"update": "x"}], None)),
    *((("callbacks", 2, "state", "messages"), value) for value in (3, [3], None)),
]  # fmt: skip


@pytest.fixture(scope="module")
def state():
    return watched(StopAt(8))[1]


def watched(*more):
    run = run_of(callbacks=[EarlyStopping(3), OnPlateau(), *more])
    run._callbacks += (crnn.watch(run.model, every=4),)
    if not more:
        return run, None
    with pytest.raises(KeyboardInterrupt):
        run.run()
    return run, run.state_dict()


@pytest.mark.parametrize(("path", "value"), LIES)
def test_a_file_that_lies_is_refused_and_nothing_changes(tmp_path, state, path, value):
    lie = changed(state, path, value)
    run, _ = watched()
    before = everything(run)
    with pytest.raises(ValueError, match=r"."):
        run.load_state_dict(lie)
    np.testing.assert_equal(everything(run), before)
    archive.write(tmp_path / "x.npz", "training run", lie)
    with pytest.raises(ValueError, match=r"x\.npz: cannot be read: "):
        run.resume(tmp_path / "x.npz")
    np.testing.assert_equal(everything(run), before)
    run.load_state_dict(state)


def test_windows_that_an_item_has_not_are_refused():
    state = interrupted(2, tbptt=(2, 2))
    run = run_of(tbptt=(2, 2))
    run.load_state_dict(changed(state, ("position", "window"), 10**9))
    with pytest.raises(ValueError, match="data: item 0: expected more than 1000000000 windows"):
        run.run()


def test_only_a_file_that_is_not_there_begins_a_run(tmp_path):
    model = network()
    options = {
        "loss": cross_entropy, "optimizer": crnn.optim.SGD(model), "epochs": 1, "progress": False
    }  # fmt: skip
    (tmp_path / "damaged.npz").write_bytes(b"PK")
    (tmp_path / "loop.npz").symlink_to(tmp_path / "loop.npz")
    for name, error in {"damaged.npz": ValueError, "loop.npz": OSError, "": ValueError}.items():
        path = tmp_path / name if name else tmp_path
        with pytest.raises(error):
            fit(model, batches(), resume=path, **options)
    with pytest.raises(ValueError, match="path: expected the name of a file, got an empty string"):
        fit(model, batches(), resume="", **options)
    assert model.params["0.b"].any() == network().params["0.b"].any()
    assert fit(model, batches(), resume=tmp_path / "none.npz", **options).epoch == [1]


def test_a_model_whose_options_no_file_can_hold_is_saved_and_resumed(tmp_path):
    class Odd(crnn.Sequential):
        config = property(lambda self: {"layers": [object()]})

    def make():
        model = Odd(network().layers)
        return Trainer(
            model, batches(), loss=cross_entropy, optimizer=crnn.optim.SGD(model), epochs=1
        )  # fmt: skip

    make().save(tmp_path / "x.npz")
    make().resume(tmp_path / "x.npz")
