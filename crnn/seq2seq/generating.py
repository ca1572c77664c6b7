"""A model that reads what it gave: the loop over the steps of a target that is being written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crnn.layers.base import Array, check_number, check_positive, check_size
from crnn.layers.options import Given
from crnn.seq2seq.decoding import joined
from crnn.seq2seq.encoding import encode
from crnn.seq2seq.stepwise import Walk

if TYPE_CHECKING:
    from crnn.seq2seq.model import Seq2Seq

EVALUATION = Given(training=False)


class Choosing:
    """How the next symbols are chosen; the parameters are those of `Seq2Seq.generate`."""

    def __init__(
        self,
        beam: int,
        n_best: int,
        length_penalty: float,
        temperature: float | None,
        top_k: int | None,
        top_p: float | None,
        seed: int | None,
    ) -> None:
        self.beam, self.n_best = check_size("beam", beam), check_size("n_best", n_best)
        self.length_penalty = check_number("length_penalty", length_penalty, -np.inf)
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.seed = seed
        if temperature is None:
            self._check_search()
        else:
            self._check_drawing()

    def _check_search(self) -> None:
        for name in ("top_k", "top_p"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name}: expected None without a temperature, got {getattr(self, name)!r}"
                )
        if self.n_best > self.beam:
            raise ValueError(
                f"n_best: expected at most beam={self.beam} without a temperature, "
                f"got {self.n_best}"
            )

    def _check_drawing(self) -> None:
        check_number("temperature", self.temperature or 0.0, 0)
        if self.beam != 1:
            raise ValueError(f"beam: expected 1 with a temperature, got {self.beam}")
        if self.top_k is not None:
            check_size("top_k", self.top_k)
        if self.top_p is not None and check_positive("top_p", self.top_p) > 1:
            raise ValueError(f"top_p: expected a probability, 0 < p <= 1, got {self.top_p!r}")

    def check_vectors(self, stop: Any) -> None:
        """ValueError for what says nothing of vectors."""
        if stop is not None:
            raise ValueError(f"stop: expected None for vectors, got {stop!r:.60}")
        for name in ("temperature", "top_k", "top_p", "seed"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name}: expected None for vectors, got {getattr(self, name)!r}")
        for name in ("beam", "n_best"):
            if getattr(self, name) != 1:
                raise ValueError(f"{name}: expected 1 for vectors, got {getattr(self, name)}")


def generate_symbols(
    model: Seq2Seq,
    source: Array,
    lengths: NDArray[np.int64] | None,
    start: NDArray[np.int64],
    stop: int | None,
    max_steps: int,
    how: Choosing,
) -> tuple[Array, Array]:
    """tokens, scores: see `Seq2Seq.generate`."""
    search = Greedy(len(start), stop, check_size("max_steps", max_steps), how.length_penalty)
    if how.beam > 1 or how.temperature is not None:
        raise NotImplementedError("beam, temperature")
    walk = Walk(model, encode(model, source, lengths, EVALUATION, False), EVALUATION, False)
    symbols = start
    while not search.done:
        step = walk.step(symbols[:, None])
        logits, _ = model.output(joined(step.y, step.context))
        symbols, parents = search.step(logits[:, 0])
        if not _same_rows(parents, len(logits)):
            walk.rows(parents)
    return search.result()


def _same_rows(parents: NDArray[np.int64], rows: int) -> bool:
    return len(parents) == rows and bool((parents == np.arange(rows)).all())


class Greedy:
    """The likeliest symbol of each row, until all have ended."""

    def __init__(self, rows: int, stop: int | None, max_steps: int, length_penalty: float) -> None:
        self._stop, self._max, self._penalty = stop, max_steps, length_penalty
        self._live = np.arange(rows)
        self._steps: list[NDArray[np.int64]] = []
        self._scores, self._counts = np.zeros(rows), np.zeros(rows, np.int64)

    @property
    def done(self) -> bool:
        return not len(self._live) or len(self._steps) == self._max

    def step(self, logits: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if np.isnan(logits).any():
            raise FloatingPointError(
                f"logits: expected numbers at step {len(self._steps)}, got NaN"
            )
        numbers, symbols = logits.astype(np.float64), logits.argmax(axis=1)
        log_p = numbers.max(axis=1) - np.logaddexp.reduce(numbers, axis=1)
        self._scores[self._live] += log_p
        self._counts[self._live] += 1
        whole = np.full(len(self._scores), 0 if self._stop is None else self._stop, np.int64)
        whole[self._live] = symbols
        self._steps.append(whole)
        parents = np.flatnonzero(symbols != self._stop) if self._stop is not None else None
        if parents is None:
            return symbols, np.arange(len(symbols))
        self._live = self._live[parents]
        return symbols[parents], parents

    def result(self) -> tuple[Array, Array]:
        rows = len(self._scores)
        tokens = np.stack(self._steps, axis=1) if self._steps else np.zeros((rows, 0), np.int64)
        return tokens, self._scores / np.maximum(self._counts, 1) ** self._penalty


def generate_vectors(
    model: Seq2Seq,
    source: Array,
    lengths: NDArray[np.int64] | None,
    start: Array,
    max_steps: int,
) -> Array:
    """Vectors (B, max_steps, E): each is fed to the step after it."""
    steps = check_size("max_steps", max_steps)
    walk = Walk(model, encode(model, source, lengths, EVALUATION, False), EVALUATION, False)
    x, given = start, []
    for _ in range(steps):
        x = model.choice(walk.step(x[:, None]))
        given.append(x)
    return np.stack(given, axis=1)
