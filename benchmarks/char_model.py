"""Train the same character model in crnn and in PyTorch, one epoch of each in turn.

    python benchmarks/char_model.py [--epochs 12] [--threads 2]

Both train the model of `crnn demo` on the documentation topics of Python: an embedding, an LSTM of
256 units, a dense layer; batches of 32 rows, windows of 64 steps with the state carried on, Adam
with a one-cycle rate (peak 6e-3), gradients clipped at norm 1, the last tenth held out. They run in
turn, so that a change of the machine's speed affects both. PyTorch uses time-major data and the
fused optimizer.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from typing import Any, Protocol

import numpy as np
import torch

import crnn
from crnn.callbacks import OneCycle
from crnn.data import TextStreams, Vocabulary, corpus

HIDDEN, EMBEDDING, BATCH, STEPS, PEAK, CLIP = 256, 256, 32, 64, 6e-3, 1.0


class Contender(Protocol):
    """A model that is trained for an epoch and evaluated."""

    name: str

    def epoch(self) -> None: ...
    def bits(self) -> float: ...


class Text:
    """The corpus as windows, for both models."""

    def __init__(self) -> None:
        text = corpus("pydoc")
        self.vocabulary = Vocabulary.from_text(text)
        split = len(text) - round(0.1 * len(text))
        self.train = TextStreams(self.vocabulary.encode(text[:split]), BATCH)
        self.held_out = TextStreams(self.vocabulary.encode(text[split:]), BATCH)

    @staticmethod
    def windows(streams: TextStreams) -> list[tuple[Any, Any]]:
        ((x, target),) = streams
        starts = range(0, x.shape[1], STEPS)
        return [(x[:, t : t + STEPS], target[:, t : t + STEPS]) for t in starts]


class Crnn:
    """The model in crnn, with a training loop like that of PyTorch."""

    name = "crnn"

    def __init__(self, text: Text, epochs: int) -> None:
        K = len(text.vocabulary)
        layers = [
            crnn.Embedding(K, EMBEDDING, seed=0),
            crnn.LSTM(EMBEDDING, HIDDEN, seed=1),
            crnn.Dense(HIDDEN, K, seed=2),
        ]
        self.model = crnn.Sequential(layers)
        self.optimizer = crnn.optim.Adam(self.model, lr=PEAK, clip_norm=CLIP)
        self.train, self.held_out = text.windows(text.train), text.windows(text.held_out)
        self.schedule, self.update = OneCycle(PEAK, total=epochs * len(self.train)), 0

    def epoch(self) -> None:
        state = None
        for x, target in self.train:
            self.optimizer.lr = self.schedule.rate(self.update)
            logits, state, tape = self.model.forward(x, state)
            _, dlogits = crnn.losses.cross_entropy(logits, target)
            self.model.backward(tape, dlogits)
            self.optimizer.step()
            self.update += 1

    def bits(self) -> float:
        state, total, count = None, 0.0, 0
        for x, target in self.held_out:
            logits, state = self.model(x, state)
            total += crnn.losses.cross_entropy(logits, target)[0] * target.size
            count += target.size
        return total / count / math.log(2)


class Torch:
    """The model in PyTorch."""

    name = "torch"

    def __init__(self, text: Text, epochs: int) -> None:
        torch.manual_seed(0)
        K = len(text.vocabulary)
        self.embedding = torch.nn.Embedding(K, EMBEDDING)
        self.lstm = torch.nn.LSTM(EMBEDDING, HIDDEN)
        self.dense = torch.nn.Linear(HIDDEN, K)
        self.model = torch.nn.ModuleList([self.embedding, self.lstm, self.dense])
        self.optimizer = torch.optim.Adam(self.model.parameters(), PEAK, fused=True)
        self.train = [self._tensors(w) for w in text.windows(text.train)]
        self.held_out = [self._tensors(w) for w in text.windows(text.held_out)]
        self.schedule, self.update = OneCycle(PEAK, total=epochs * len(self.train)), 0

    def _tensors(self, window: tuple[Any, Any]) -> tuple[Any, Any]:
        x, target = (torch.from_numpy(np.ascontiguousarray(a.T).astype(np.int64)) for a in window)
        return x, target

    def _loss(self, x: Any, target: Any, state: Any) -> tuple[Any, Any]:
        y, state = self.lstm(self.embedding(x), state)
        logits = self.dense(y)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())
        return loss, tuple(part.detach() for part in state)

    def epoch(self) -> None:
        state = None
        for x, target in self.train:
            for group in self.optimizer.param_groups:
                group["lr"] = self.schedule.rate(self.update)
            self.optimizer.zero_grad()
            loss, state = self._loss(x, target, state)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            self.optimizer.step()
            self.update += 1

    def bits(self) -> float:
        state, total, count = None, 0.0, 0
        with torch.no_grad():
            for x, target in self.held_out:
                loss, state = self._loss(x, target, state)
                total, count = total + loss.item() * target.numel(), count + target.numel()
        return total / count / math.log(2)


def main() -> None:
    """Train both models and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    crnn.set_num_threads(options.threads)
    text = Text()
    contenders: list[Contender] = [Crnn(text, options.epochs), Torch(text, options.epochs)]
    seconds: dict[str, list[float]] = {c.name: [] for c in contenders}
    print(f"{len(text.vocabulary)} symbols, {options.threads} threads, torch {torch.__version__}")
    for number in range(1, options.epochs + 1):
        line = f"epoch {number:2d}"
        for contender in contenders:
            start = time.perf_counter()
            contender.epoch()
            spent = time.perf_counter() - start
            seconds[contender.name].append(spent)
            line += f"   {contender.name} {contender.bits():.3f} bits, {spent:.2f} s"
        print(line, flush=True)
    ratios = [a / b for a, b in zip(seconds["crnn"], seconds["torch"], strict=True)]
    totals = {name: sum(times) for name, times in seconds.items()}
    print(
        f"total: crnn {totals['crnn']:.1f} s, torch {totals['torch']:.1f} s; ratio of "
        f"times, crnn to torch, epoch by epoch: median {statistics.median(ratios):.2f}, "
        f"{min(ratios):.2f} to {max(ratios):.2f}"
    )


if __name__ == "__main__":
    main()
