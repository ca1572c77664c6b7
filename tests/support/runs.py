"""Small models and data for tests of training, and callbacks that record or stop a run."""

import signal

import numpy as np

import crnn
from crnn.callbacks import Callback, OneCycle
from crnn.data import Lines, TextStreams, Vocabulary
from crnn.losses import cross_entropy
from crnn.training.evaluation import count_updates
from crnn.training.trainer import Trainer

K = 4
rng = np.random.default_rng(0)


def network(seed=0, dropout=0.0):
    """Return a small model over K symbols, with states of every shape."""
    return crnn.Sequential(
        [
            crnn.LSTM(K, 5, seed=seed),
            crnn.Dropout(dropout, seed=seed + 1),
            crnn.GRU(5, 3, seed=seed + 2),
            crnn.Dense(3, K, seed=seed + 3),
        ]
    )


def streams(length=200, batch_size=3):
    return TextStreams(np.random.default_rng(1).integers(0, K, length), batch_size)


def lines(count=20, batch_size=3, seed=0):
    vocabulary = Vocabulary("\nabc")
    draw = np.random.default_rng(2)
    words = ["".join(draw.choice(list("abc"), draw.integers(0, 7))) for _ in range(count)]
    return Lines(words, vocabulary, batch_size, seed=seed)


def trainer(model=None, data=None, epochs=3, **options):
    """Return a run with everything that has a state: momentum, a schedule, carried states."""
    model, data = model or network(dropout=0.3), data or streams()
    options = {"tbptt": None if isinstance(data, Lines) else (8, 8)} | options
    optimizer = crnn.optim.Adam(model, lr=1e-2, clip_norm=1.0)
    schedule = OneCycle(1e-2, total=epochs * count_updates(data, options["tbptt"]))
    options["callbacks"] = [schedule, *options.get("callbacks", ())]
    options = {"loss": cross_entropy, "optimizer": optimizer} | options
    return Trainer(model, data, epochs=epochs, **options)


def run_of(callbacks=(), epochs=6, validation=None, lr=0.05, dropout=0.3):
    """Return a run over symbols, with truncated BPTT."""
    model = network(dropout=dropout)
    return Trainer(
        model, streams(60), loss=cross_entropy, optimizer=crnn.optim.Adam(model, lr=lr),
        epochs=epochs, tbptt=(8, 8), callbacks=callbacks, validation=validation,
    )  # fmt: skip


class Told(crnn.Layer):
    """A Dense that records the options of forward in `told`."""

    def __init__(self, outputs=K, last=False):
        self.dense, self.last, self.told = crnn.Dense(2, outputs, dtype="float64", seed=0), last, []

    param_views = property(lambda self: self.dense.params)
    grad_views = property(lambda self: self.dense.grads)

    def __call__(self, x, state=None, **options):
        return self.forward(x, state, **options)[:2]

    def forward(
        self, x, state=None, *, lengths=None, mask=None, resets=None, training=True, call=0,
        first_row=0,
    ):  # fmt: skip
        self.told.append((lengths, mask, resets, call, first_row))
        return self.dense.forward(x[:, -1] if self.last else x, None)

    def backward(self, tape, dy, dstate=None):
        return self.dense.backward(tape, dy)


class Recorder(Callback):
    """Callback that records its calls, the losses and the learning rates."""

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
    """Callback that presses Ctrl-C in a certain update or epoch."""

    def __init__(self, update=None, epoch=None):
        self.update, self.epoch = update, epoch

    def on_update(self, run):
        if run.position.update == self.update:
            signal.raise_signal(signal.SIGINT)

    def on_epoch(self, run):
        if run.position.epoch == self.epoch:
            signal.raise_signal(signal.SIGINT)


def numbers(run):
    """Return the state of a run without values that depend on the clock."""
    state = run.state_dict()
    position = {k: v for k, v in state["position"].items() if k != "seconds"}
    columns = {k: v for k, v in state["history"].items() if "second" not in k}
    return position, columns, state["model"], state["optimizer"]
