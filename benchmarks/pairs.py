"""The tasks of benchmarks/tasks.py in which a sequence, or a vector, becomes another sequence.

Their data and models are those of examples/, where each can be run for itself.
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
    """How many pairs of texts there are."""

    rows: int  # to train on
    held_out: int  # to be judged by, besides those of the curve


class Writer(crnn.TeacherForcing):
    """A model of `crnn.models` in training: what `crnn.fit` trains, and whose it is."""

    def __init__(self, owner: Any) -> None:
        super().__init__(owner.network, seed=0)
        self.owner = owner


class Written(Task):
    """A task whose answers are texts; the measure is the share that is not exactly right."""

    measure = "wrong answers"
    percent = True

    def judge(self, model: Any, held_out: tuple[Any, ...]) -> float:
        return 1 - model.owner.evaluate(*held_out)

    @property
    def setting(self) -> str:
        return f"B = {self.size.batch}, peak rate {self.size.rate:g}."

    @property
    def title(self) -> str:
        return self.name


class Translated(Written):
    """Texts come in as well."""

    full_texts: ClassVar[Texts]
    quick_texts: ClassVar[Texts]

    @property
    def texts(self) -> Texts:
        return self.full_texts if self.size == self.full else self.quick_texts

    @abstractmethod
    def pairs(self, n: int, seed: int) -> list[tuple[str, str]]:
        """Pairs of texts, all different."""

    @abstractmethod
    def untrained(self, layer: str, pairs: list[tuple[str, str]], seed: int) -> Any:
        """A translator."""

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
        "Dates of 1900 to 2099 as people write them, in English, Spanish, Portuguese, French, "
        "German, Italian, Dutch and Polish (CLDR's medium, long and full forms), to ISO 8601; "
        "20,000 texts to learn from, 4,000 others to be translated. A GRU reads in both "
        "directions, a GRU writes: with the last state alone, or with attention, additive "
        "(Bahdanau et al. 2015) or dot (Luong et al. 2015)."
    )
    full = Size(steps=38, hidden_size=128, batch_size=64, epochs=2, rate=1e-2, bar=0.001)
    quick = Size(steps=38, hidden_size=64, batch_size=32, epochs=4, rate=1e-2, bar=0.05)
    full_texts, quick_texts = Texts(20_000, 4000), Texts(2000, 300)
    layers: ClassVar = {"GRU": False, "GRU additive": True, "GRU dot": False}
    guess = 1 - 1 / 73049  # that many days

    def pairs(self, n: int, seed: int) -> list[tuple[str, str]]:
        from dates import dates

        return dates(n, seed) if self.size == self.full else dates(n, seed, ["en", "es", "pt"])

    def untrained(self, layer: str, pairs: list[tuple[str, str]], seed: int) -> Any:
        from dates import untrained

        _, *attention = layer.split()
        return untrained(pairs, (attention or [None])[0], self.size.hidden_size, seed)


class Addition(Translated):
    name = "addition"
    about = (
        "Sums of two numbers of up to three digits, read backwards: `7+69`, to `103` (an example "
        "of Keras); 45,000 to learn from, 4,500 others to be added, none of them in either order "
        "among those. An LSTM reads, an LSTM writes."
    )
    full = Size(steps=7, hidden_size=128, batch_size=64, epochs=10, rate=1e-2, bar=0.01)
    quick = Size(steps=5, hidden_size=64, batch_size=16, epochs=12, rate=1e-2, bar=0.15)
    full_texts, quick_texts = Texts(45_000, 4500), Texts(3000, 300)
    layers: ClassVar = {"LSTM": True}
    guess = 0.99  # about: no result is that common

    def pairs(self, n: int, seed: int) -> list[tuple[str, str]]:
        from addition import sums

        return sums(n, seed, digits=3 if self.size == self.full else 2)

    def untrained(self, layer: str, pairs: list[tuple[str, str]], seed: int) -> Any:
        from addition import untrained

        return untrained(pairs, self.size.hidden_size, seed)


class Captions(Written):
    name = "captions"
    about = (
        "The 64 pixels of scikit-learn's digits set the state of a GRU, which writes the digit's "
        "name, in the language asked for (English, Spanish, Portuguese); a fifth of the images "
        "held out."
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
        "The same digits, 8 steps of 8 pixels, through a code of 16 numbers and back, GRU to GRU, "
        "without labels, the decoder reading what it has given itself; the measure is what a "
        "linear classifier of the codes gets wrong: 15 to 18 % before training, 5 % of the 16 "
        "principal components of the 64 pixels."
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


TASKS: dict[str, type[Task]] = {task.name: task for task in (Dates, Addition, Captions, Codes)}
