"""The task of benchmarks/tasks.py that is a language model: data, sizes and measure.

An LSTM, convolutions and self-attention read the same text, in models of about as many parameters:
once in as many epochs, and once in about the time of the LSTM. The numbers of epochs of the latter
are constants, so a rerun gives the same losses; the seconds in the table show how equal the times
are.

All have the same rate: of 4e-3 and 1e-2 the latter is better for the TCN and the Transformer after
two epochs, too. A window of attention of 256 steps has a higher loss after two epochs than one of
64 (1.68 and 1.59 nats), and takes 1.6 times as long.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from typing import Any, ClassVar

from problems import Size, Task

import crnn
from crnn.data import TextStreams, corpus

WINDOW = 64  # steps of an update
EQUAL_TIME = " equal time"
DEPTH = {"LSTM": 1, "TCN": 5, "Transformer": 3}


class Characters(Task):
    name = "characters"
    about = (
        "The next character of the documentation topics of Python, the text of `crnn demo`; the "
        "last tenth is held out. The models have about as many parameters: an LSTM, five blocks of "
        "convolutions with 3 taps, three blocks of self-attention with 4 heads and a window of 64 "
        "steps. They are trained for as many epochs, and (equal time) for as many as take about "
        "the time of the LSTM. All carry their state from one window of 64 steps to the next."
    )
    measure = "cross-entropy, nats a character"
    full = Size(
        steps=WINDOW,
        hidden_size=128,
        batch_size=32,
        epochs=8,
        rate=1e-2,
        bar=1.35,
        own={
            "TCN": {"hidden_size": 70},
            "Transformer": {"hidden_size": 64},
            "TCN" + EQUAL_TIME: {"hidden_size": 70, "epochs": 4},
            "Transformer" + EQUAL_TIME: {"hidden_size": 64, "epochs": 3},
        },
    )
    quick = full._replace(
        hidden_size=64,
        batch_size=8,
        epochs=2,
        bar=2.6,
        own={"TCN": {"hidden_size": 32}, "Transformer": {"hidden_size": 32, "epochs": 4}},
    )
    layers: ClassVar = {
        "LSTM": True,
        "TCN": True,
        "Transformer": True,
        "TCN" + EQUAL_TIME: False,
        "Transformer" + EQUAL_TIME: False,
    }
    options: ClassVar = {"tbptt": (WINDOW, WINDOW)}

    @functools.cached_property
    def text(self) -> str:
        """The whole text, or its beginning."""
        text = corpus("pydoc")
        return text if self.size.own == self.full.own else text[:50_000]

    def halves(self) -> tuple[str, str]:
        """Return the text for training, and the one that is held out."""
        end = len(self.text) - round(0.1 * len(self.text))
        return self.text[:end], self.text[end:]

    @property
    def guess(self) -> float:  # type: ignore[override]
        """The loss of the shares of the characters in the text for training."""
        first, held_out = map(Counter, self.halves())
        shares = {symbol: count / first.total() for symbol, count in first.items()}
        least = 1 / first.total()  # of a character that is not in it
        nats = (n * math.log(shares.get(symbol, least)) for symbol, n in held_out.items())
        return -sum(nats) / held_out.total()

    def model(self, layer: str, seed: int) -> Any:
        kind, size = layer.removesuffix(EQUAL_TIME), self.size.of(layer)
        return crnn.models.CharModel.for_text(
            self.text,
            cell=kind.lower(),
            hidden_size=size.hidden_size,
            layers=DEPTH[kind],
            window=WINDOW,
            seed=seed,
        ).network

    def data(self, seed: int) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
        vocabulary = crnn.data.Vocabulary.from_text(self.text)
        first, held_out = (vocabulary.encode(part) for part in self.halves())
        rows = self.size.batch_size
        streams = TextStreams(held_out, rows)
        return TextStreams(first, rows), (streams,), (streams,)

    def judge(self, model: Any, held_out: tuple[Any, ...]) -> float:
        return float(crnn.evaluate(model, *held_out, loss=self.loss, **self.options))


TASKS: dict[str, type[Task]] = {Characters.name: Characters}
