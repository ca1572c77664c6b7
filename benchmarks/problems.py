"""The tasks of benchmarks/tasks.py that need a memory: their data, sizes and measures.

Random data are a function of the seed, the epoch and the update, so a rerun gives the same numbers,
and no batch occurs twice.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np

import crnn
from crnn.data import Batches, split

EPOCH = 50  # updates between two points of a curve
CURVE_ROWS, TEST_ROWS = 500, 2000
TRAIN, CURVE, TEST = range(3)  # streams of random numbers


def dilated(I: int, H: int, *, T: int, seed: int) -> crnn.Sequential:
    """Return layers without short connections: delays 1, 2, 4, ..., the last at most T / 2."""
    count = int(math.log2(T))
    layers = [crnn.RNN(H if i else I, H, delays=2**i, seed=count * seed + i) for i in range(count)]
    return crnn.Sequential(layers)


def transformer(I: int, H: int, *, T: int, seed: int) -> crnn.Sequential:
    """Return two blocks of self-attention behind a linear map of x."""
    blocks = [crnn.TransformerBlock(H, 4, scale=0.5, seed=3 * seed + i) for i in range(2)]
    return crnn.Sequential([crnn.Dense(I, H, seed=3 * seed + 2), *blocks, crnn.LayerNorm(H)])


LAYERS: dict[str, Callable[..., Any]] = {  # (I, H, *, T, seed)
    "RNN": lambda I, H, T, seed: crnn.RNN(I, H, seed=seed),
    "RNN dilated": dilated,
    "LSTM": lambda I, H, T, seed: crnn.LSTM(I, H, seed=seed),
    "GRU": lambda I, H, T, seed: crnn.GRU(I, H, seed=seed),
    "LSTM chrono": lambda I, H, T, seed: crnn.LSTM(I, H, chrono=T, seed=seed),
    "GRU chrono": lambda I, H, T, seed: crnn.GRU(I, H, chrono=T, seed=seed),
    "JANET chrono": lambda I, H, T, seed: crnn.JANET(I, H, chrono=T, seed=seed),
    "TCN": lambda I, H, T, seed: crnn.TCN.covering(I, H, T, taps=6, seed=seed),
    "Transformer": transformer,
}


class Size(NamedTuple):
    """Size of a task and of its training. `steps` is T; for the task copy, the number of blanks."""

    steps: int
    hidden_size: int
    batch_size: int
    epochs: int
    rate: float  # the peak of the one-cycle rate
    bar: float  # upper bound of the measure for a layer that has learned the task
    own: Mapping[str, Mapping[str, Any]] = MappingProxyType({})  # layer -> other values of it

    def of(self, layer: str) -> Size:
        """Return the size for one layer."""
        return self._replace(**self.own.get(layer, {}))


class Task(ABC):
    """A task at one size. Subclasses define its data and its measure, where lower is better."""

    name: str
    about: str
    measure: str
    full: Size
    quick: Size
    layers: ClassVar[dict[str, bool]]  # name -> whether the layer must be below the bar
    guess: float  # the measure of the best answer that ignores x
    features: int
    outputs: int
    loss: ClassVar[Callable[..., Any]] = staticmethod(crnn.losses.cross_entropy)
    options: ClassVar[dict[str, Any]] = {}  # of crnn.fit
    runs = 1  # with consecutive seeds; the result is their median
    percent = False  # True: the measure is the share of wrong answers; False: the loss

    def __init__(self, size: Size) -> None:
        self.size = size

    @abstractmethod
    def data(self, seed: int) -> tuple[Any, tuple[Any, Any], tuple[Any, Any]]:
        """Return the training data, and (x, target) for the curve and for the result."""

    def model(self, layer: str, seed: int) -> Any:
        """Return the layer with a Dense layer on its last output."""
        H, part = self.size.of(layer).hidden_size, LAYERS[layer]
        return crnn.Sequential(
            [
                part(self.features, H, T=self.size.steps, seed=seed),
                crnn.Pool("last"),
                crnn.Dense(H, self.outputs, seed=seed + 1),
            ]
        )

    def judge(self, model: Any, held_out: tuple[Any, Any]) -> float:
        """Return the measure of a model."""
        x, target = held_out
        y, _ = model(x)
        if self.percent:
            return float((y.argmax(axis=-1) != target).mean())
        return float(self.loss(y, target)[0])

    @property
    def title(self) -> str:
        """Name of the task in a table."""
        return f"{self.name}, T = {self.size.steps}"

    @property
    def setting(self) -> str:
        """Settings of all layers, without H."""
        return f"T = {self.size.steps}, B = {self.size.batch_size}, {self.rates}."

    @property
    def rates(self) -> str:
        """The peak rate, and those of layers that have another one."""
        own = {layer: self.size.of(layer).rate for layer in self.size.own}
        others = [f"{layer} {rate:g}" for layer, rate in own.items() if rate != self.size.rate]
        return f"peak rate {self.size.rate:g}" + (f" ({', '.join(others)})" if others else "")

    def show(self, value: float) -> str:
        """Return a value of the measure as it appears in a table."""
        return f"{value:.1%}" if self.percent else f"{value:.4f}"


class DrawnTask(Task):
    """A task with an unlimited amount of random data."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, rows: int) -> tuple[Any, Any]:
        """Return x and target of `rows` rows."""

    def data(self, seed: int) -> tuple[Any, tuple[Any, Any], tuple[Any, Any]]:
        curve, test = (
            self.draw(np.random.default_rng([seed, stream]), rows)
            for stream, rows in ((CURVE, CURVE_ROWS), (TEST, TEST_ROWS))
        )
        return Draws(self, seed), curve, test


class Draws:
    """An epoch of batches, each drawn when it is needed."""

    def __init__(self, task: DrawnTask, seed: int) -> None:
        self.task, self.seed, self.epoch = task, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return EPOCH

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for update in range(EPOCH):
            rng = np.random.default_rng([self.seed, TRAIN, self.epoch, update])
            yield self.task.draw(rng, self.task.size.batch_size)


class Adding(DrawnTask):
    name = "adding"
    about = (
        "The input has T numbers in [0, 1) and two marks, one in each half; the target is the sum "
        "of the two marked numbers (Hochreiter and Schmidhuber 1997; in this form Le, Jaitly and "
        "Hinton 2015, Arjovsky, Shah and Bengio 2016). The constant answer 1 has the error 1/6, "
        "the variance of the sum."
    )
    measure = "mean squared error"
    full = Size(steps=100, hidden_size=64, batch_size=32, epochs=40, rate=1e-2, bar=0.01)
    quick = Size(steps=30, hidden_size=32, batch_size=32, epochs=12, rate=2e-2, bar=0.01)
    layers: ClassVar = {
        "RNN": False,
        "LSTM": True,
        "GRU": True,
        "LSTM chrono": True,
        "JANET chrono": True,
    }
    features, outputs = 2, 1
    loss = staticmethod(crnn.losses.mse)
    guess = 1 / 6

    def draw(self, rng: np.random.Generator, rows: int) -> tuple[Any, Any]:
        T, every = self.size.steps, np.arange(rows)
        x = np.zeros((rows, T, 2), np.float32)
        x[..., 0] = rng.random((rows, T))
        x[every, rng.integers(0, T // 2, rows), 1] = 1
        x[every, rng.integers(T // 2, T, rows), 1] = 1
        return x, (x[..., 0] * x[..., 1]).sum(axis=1, keepdims=True)


class Distant(Adding):
    name = "adding-200"
    about = (
        "The task adding with twice as many steps, also for convolutions (Bai, Kolter and Koltun "
        "2018: 6 taps, H = 27 for T = 200; here as many blocks as cover T steps) and for two "
        "blocks of self-attention."
    )
    full = Size(
        steps=200,
        hidden_size=64,
        batch_size=32,
        epochs=60,
        rate=1e-2,
        bar=1e-3,
        own={
            "TCN": {"hidden_size": 27, "rate": 5e-3},
            "Transformer": {"hidden_size": 32, "rate": 4e-3},
        },
    )
    quick = Size(
        steps=60,
        hidden_size=32,
        batch_size=32,
        epochs=12,
        rate=1e-2,
        bar=0.03,
        own={"TCN": {"hidden_size": 16, "rate": 5e-3}, "Transformer": {"rate": 4e-3}},
    )
    layers: ClassVar = {
        "LSTM": False,
        "GRU": True,
        "JANET chrono": True,
        "TCN": True,
        "Transformer": True,
    }


class Copy(DrawnTask):
    name = "copy"
    about = (
        "The input has ten symbols, out of eight, and then T blank steps, the last of which is a "
        "start sign; then the model must write the ten symbols (Hochreiter and Schmidhuber 1997; "
        "in this form Arjovsky, Shah and Bengio 2016). The best loss without a memory is "
        "10 ln 8 / (T + 20)."
    )
    measure = "cross-entropy, nats a step"
    full = Size(steps=50, hidden_size=128, batch_size=32, epochs=60, rate=2.5e-2, bar=0.03)
    quick = Size(steps=20, hidden_size=64, batch_size=32, epochs=24, rate=3e-2, bar=0.35)
    layers: ClassVar = {
        "LSTM": False,
        "LSTM chrono": False,
        "GRU chrono": True,
        "JANET chrono": True,
    }
    features, outputs = (
        10,
        9,
    )  # inputs: blank, 1 ... 8, the sign; outputs: the same without the sign

    @property
    def guess(self) -> float:  # type: ignore[override]
        return 10 * math.log(8) / (self.size.steps + 20)

    def draw(self, rng: np.random.Generator, rows: int) -> tuple[Any, Any]:
        word = rng.integers(1, 9, (rows, 10))
        x = np.zeros((rows, self.size.steps + 20), np.int64)
        target = np.zeros_like(x)
        x[:, :10], x[:, -11], target[:, -10:] = word, 9, word
        return x, target

    def model(self, layer: str, seed: int) -> Any:
        H, T = self.size.of(layer).hidden_size, self.size.steps + 20
        part = LAYERS[layer](self.features, H, T=T, seed=seed)
        return crnn.Sequential([part, crnn.Dense(H, self.outputs, seed=seed + 1)])


class Skips(Copy):
    name = "skips"
    about = (
        "The task copy for plain RNNs: one, and several with delays of 1, 2, 4, ... steps, whose "
        "longest path through time is short (Chang et al. 2017)."
    )
    full = Size(steps=44, hidden_size=20, batch_size=20, epochs=30, rate=1e-2, bar=0.03)
    quick = Size(steps=12, hidden_size=20, batch_size=20, epochs=16, rate=1e-2, bar=0.1)
    layers: ClassVar = {"RNN": False, "RNN dilated": True}


class Order(DrawnTask):
    name = "order"
    about = (
        "The input has T symbols a, b, c, d between two signs, with X or Y at two steps, one "
        "between T/10 and T/5 and one between T/2 and 3T/5. The target is the pair of these in "
        "their order, one of four (temporal order: Hochreiter and Schmidhuber 1997, task 6a)."
    )
    measure = "wrong answers"
    full = Size(steps=100, hidden_size=32, batch_size=32, epochs=12, rate=1e-2, bar=0.01)
    quick = Size(steps=100, hidden_size=24, batch_size=32, epochs=10, rate=1e-2, bar=0.05)
    layers: ClassVar = {
        "RNN": False,
        "LSTM": False,  # learns the task with some seeds
        "LSTM chrono": True,
        "GRU chrono": True,
        "JANET chrono": True,
    }
    features, outputs = 8, 4  # X, Y, a, b, c, d and the two signs
    percent, guess = True, 3 / 4

    def draw(self, rng: np.random.Generator, rows: int) -> tuple[Any, Any]:
        T, every, which = self.size.steps, np.arange(rows), rng.integers(0, 2, (rows, 2))
        x = rng.integers(2, 6, (rows, T))
        x[:, 0], x[:, -1] = 6, 7
        x[every, rng.integers(T // 10, T // 5 + 1, rows)] = which[:, 0]
        x[every, rng.integers(T // 2, 3 * T // 5 + 1, rows)] = which[:, 1]
        return x, 2 * which[:, 0] + which[:, 1]


class Pixels(Task):
    name = "pixels"
    about = (
        "The 1797 digits of scikit-learn, 8 x 8 pixels, one pixel per step: 64 steps of one "
        "number; a fifth is held out (with larger images: Le, Jaitly and Hinton 2015). The TCN has "
        "as many blocks with 6 taps as cover all steps."
    )
    measure = "wrong answers"
    full = Size(
        steps=64,
        hidden_size=64,
        batch_size=32,
        epochs=40,
        rate=1e-2,
        bar=0.08,
        own={"TCN": {"hidden_size": 32}, "Transformer": {"hidden_size": 32, "rate": 4e-3}},
    )
    quick = Size(
        steps=64,
        hidden_size=32,
        batch_size=32,
        epochs=15,
        rate=2e-2,
        bar=0.25,
        own={"TCN": {"hidden_size": 16, "rate": 1e-2}, "Transformer": {"rate": 4e-3}},
    )
    runs = 3
    layers: ClassVar = {
        "RNN": False,
        "LSTM": True,
        "GRU": True,
        "JANET chrono": True,
        "TCN": True,
        "Transformer": False,
    }
    outputs = 10
    percent, guess = True, 9 / 10

    @property
    def features(self) -> int:  # type: ignore[override]
        return 64 // self.size.steps

    def data(self, seed: int) -> tuple[Any, tuple[Any, Any], tuple[Any, Any]]:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = (digits.images / 16).astype(np.float32).reshape(-1, self.size.steps, self.features)
        x, x_out, y, y_out = split(images, digits.target, share=0.2, by="sequence", seed=seed)
        return Batches(x, y, self.size.batch_size, seed=seed), (x_out, y_out), (x_out, y_out)


class Rows(Pixels):
    name = "rows"
    about = "The same digits, one row of pixels per step: 8 steps of 8 numbers."
    full = Size(steps=8, hidden_size=64, batch_size=32, epochs=20, rate=1e-2, bar=0.03)
    quick = Size(steps=8, hidden_size=32, batch_size=32, epochs=8, rate=2e-2, bar=0.08)
    layers: ClassVar = {"RNN": False, "LSTM": True, "GRU": True, "JANET chrono": True}


TASKS: dict[str, type[Task]] = {
    task.name: task for task in (Adding, Distant, Copy, Skips, Order, Pixels, Rows)
}
