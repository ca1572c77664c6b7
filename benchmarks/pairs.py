"""The tasks of benchmarks/tasks.py that map a sequence, or a vector, to another sequence.

Their data and models come from examples/, where each task can be run separately.
"""

from __future__ import annotations

import functools
import sys
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from problems import Size, Task

import crnn
from crnn.data import Batches, split

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))

CURVE_ROWS = 500


class Texts(NamedTuple):
    """Numbers of pairs of texts."""

    rows: int  # for training
    held_out: int  # for the result; those of the curve are not counted


class Writer(crnn.TeacherForcing):
    """The network of a model of `crnn.models`, as `crnn.fit` trains it, with its owner."""

    def __init__(self, owner: Any) -> None:
        super().__init__(owner.network, seed=0)
        self.owner = owner


class Written(Task):
    """A task whose answers are texts; the measure is the share of texts with any error."""

    measure = "wrong answers"
    percent = True

    def judge(self, model: Any, held_out: tuple[Any, ...]) -> float:
        return 1 - model.owner.evaluate(*held_out)

    @property
    def setting(self) -> str:
        return f"B = {self.size.batch_size}, {self.rates}."

    @property
    def title(self) -> str:
        return self.name


class Translated(Written):
    """A task from texts to texts."""

    full_texts: ClassVar[Texts]
    quick_texts: ClassVar[Texts]

    @property
    def texts(self) -> Texts:
        return self.full_texts if self.size == self.full else self.quick_texts

    @abstractmethod
    def pairs(self, n: int, seed: int) -> list[tuple[str, str]]:
        """Return n pairs of texts, all different."""

    @abstractmethod
    def untrained(self, layer: str, pairs: list[tuple[str, str]], seed: int) -> Any:
        """Return an untrained Translator."""

    @functools.cache  # noqa: B019
    def all_pairs(self, seed: int) -> list[tuple[str, str]]:
        rows, held_out = self.texts
        return self.pairs(rows + CURVE_ROWS + held_out, seed)

    def model(self, layer: str, seed: int) -> Any:
        return Writer(self.untrained(layer, self.all_pairs(seed), seed))

    def data(self, seed: int) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
        pairs, rows = self.all_pairs(seed), self.texts.rows
        train, curve, test = np.split(np.arange(len(pairs)), [rows, rows + CURVE_ROWS])
        first, *held_out = ([pairs[number] for number in part] for part in (train, curve, test))
        owner = self.untrained(next(iter(self.layers)), pairs, seed)  # for its vocabularies
        data = owner.batches(first, self.size.batch_size, seed)
        return data, (held_out[0],), (held_out[1],)


class Dates(Translated):
    name = "dates"
    about = (
        "The source is a date of 1900 to 2099 in English, Spanish, Portuguese, French, German, "
        "Italian, Dutch or Polish (CLDR's medium, long and full forms), the target its form in "
        "ISO 8601; 20,000 texts for training, 4,000 others for the result. The encoder is a GRU "
        "in both directions, the decoder a GRU: without attention, or with additive (Bahdanau et "
        "al. 2015) or dot attention (Luong et al. 2015)."
    )
    full = Size(steps=38, hidden_size=128, batch_size=64, epochs=2, rate=1e-2, bar=0.001)
    quick = Size(steps=38, hidden_size=64, batch_size=32, epochs=4, rate=1e-2, bar=0.05)
    full_texts, quick_texts = Texts(20_000, 4000), Texts(2000, 300)
    layers: ClassVar = {"GRU": False, "GRU additive": True, "GRU dot": False}
    guess = 1 - 1 / 73049  # the number of days

    def pairs(self, n: int, seed: int) -> list[tuple[str, str]]:
        from dates import dates

        return dates(n, seed) if self.size == self.full else dates(n, seed, ["en", "es", "pt"])

    def untrained(self, layer: str, pairs: list[tuple[str, str]], seed: int) -> Any:
        from dates import untrained

        _, *attention = layer.split()
        return untrained(pairs, (attention or [None])[0], self.size.hidden_size, seed)


class TransformerDates(Dates):
    name = "dates-transformer"
    about = (
        "The same dates. Encoder and decoder are two blocks of a Transformer each, of 4 heads: "
        "those of the encoder see the whole source, those of the decoder attend to its output "
        "(Vaswani et al. 2017, with normalisation in front of each part). The rate grows to its "
        "peak during the first 30 % of the updates."
    )
    full = Size(steps=38, hidden_size=128, batch_size=64, epochs=4, rate=2e-3, bar=0.005)
    quick = Size(steps=38, hidden_size=64, batch_size=32, epochs=9, rate=3e-3, bar=0.05)
    layers: ClassVar = {"Transformer": True}

    def untrained(self, layer: str, pairs: list[tuple[str, str]], seed: int) -> Any:
        options = {"cell": "transformer", "hidden_size": self.size.hidden_size, "layers": 2}
        return crnn.models.Translator.for_pairs(pairs, **options, seed=seed)


class Addition(Translated):
    name = "addition"
    about = (
        "The source is a sum of two numbers of up to three digits in reverse order, such as "
        "`7+69`, the target its result, `103` (an example of Keras); 45,000 sums for training, "
        "4,500 others for the result, none of which is among the former in either order of its "
        "numbers. Encoder and decoder are LSTMs."
    )
    full = Size(steps=7, hidden_size=128, batch_size=64, epochs=10, rate=1e-2, bar=0.01)
    quick = Size(steps=5, hidden_size=64, batch_size=16, epochs=12, rate=1e-2, bar=0.15)
    full_texts, quick_texts = Texts(45_000, 4500), Texts(3000, 300)
    layers: ClassVar = {"LSTM": True}
    guess = 0.99  # approximately: the most common result is rarer

    def pairs(self, n: int, seed: int) -> list[tuple[str, str]]:
        from addition import sums

        return sums(n, seed, digits=3 if self.size == self.full else 2)

    def untrained(self, layer: str, pairs: list[tuple[str, str]], seed: int) -> Any:
        from addition import untrained

        return untrained(pairs, self.size.hidden_size, seed)


class Captions(Written):
    name = "captions"
    about = (
        "The 64 pixels of scikit-learn's digits determine the initial state of a GRU, which writes "
        "the name of the digit in one of three languages (English, Spanish, Portuguese), selected "
        "by the start symbol; a fifth of the images is held out."
    )
    full = Size(steps=1, hidden_size=192, batch_size=64, epochs=20, rate=1e-2, bar=0.035)
    quick = Size(steps=1, hidden_size=64, batch_size=64, epochs=8, rate=1e-2, bar=0.1)
    layers: ClassVar = {"GRU": True}
    guess = 0.9

    def model(self, layer: str, seed: int) -> Any:
        from captions import halves, untrained

        return Writer(untrained(halves(seed)[0], self.size.hidden_size, seed))

    def data(self, seed: int) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
        from captions import halves, untrained

        data, out = halves(seed)
        batches = untrained(data, 1, seed).batches(*data, self.size.batch_size, seed)
        return batches, out, out


class Codes(Task):
    name = "autoencoder"
    about = (
        "The same digits, 8 steps of 8 pixels, are encoded as 16 numbers and decoded, GRU to GRU, "
        "without labels; the decoder reads only its own output. The measure is the error of a "
        "linear classifier of the codes: 15 to 18 % before training; with the 16 principal "
        "components of the 64 pixels instead of codes, 5 %."
    )
    measure = "wrong answers"
    full = Size(steps=8, hidden_size=128, batch_size=64, epochs=40, rate=1e-2, bar=0.1)
    quick = Size(steps=8, hidden_size=64, batch_size=64, epochs=30, rate=1e-2, bar=0.12)
    layers: ClassVar = {"GRU": True}
    percent, guess = True, 0.9
    loss = staticmethod(crnn.losses.mse)

    def model(self, layer: str, seed: int) -> Any:
        from autoencoder import untrained

        return untrained(self.size.hidden_size, seed=seed)

    def data(self, seed: int) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = (digits.images / 16).astype(np.float32)
        x, x_out, y, y_out = split(images, digits.target, share=0.2, by="sequence", seed=seed)
        held_out = (x, y, x_out, y_out)
        return Batches(x, x, self.size.batch_size, seed=seed), held_out, held_out

    def judge(self, model: Any, held_out: tuple[Any, ...]) -> float:
        from autoencoder import readable

        x, y, x_out, y_out = held_out
        return 1 - readable(model.encode(x), y, model.encode(x_out), y_out)


TASKS: dict[str, type[Task]] = {
    task.name: task for task in (Dates, TransformerDates, Addition, Captions, Codes)
}
