"""A model that reads what it gave: the loop over the steps of a target that is being written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn import _core
from crnn.layers.base import Array, check_seed, check_size
from crnn.layers.options import Given
from crnn.seq2seq.decoding import joined
from crnn.seq2seq.encoding import Encoding
from crnn.seq2seq.stepwise import Walk

if TYPE_CHECKING:
    from crnn.seq2seq.model import Seq2Seq

EVALUATION = Given(training=False)


class Choosing(NamedTuple):
    """How the next symbols are chosen: parameters of `Seq2Seq.generate`."""

    beam: int
    n_best: int
    length_penalty: float
    temperature: float | None
    top_k: int | None
    top_p: float | None
    seed: int | None

    def search(self, groups: int, K: int, stop: int | None, max_steps: int) -> _core.Search:
        """What chooses: the core's search, which checks what it is given.

        Parameters
        ----------
        groups : int
            How many sources there are.
        K : int
            Symbols.
        stop, max_steps
            As for `Seq2Seq.generate`.
        """
        beam, n_best = check_size("beam", self.beam), check_size("n_best", self.n_best)
        if self.temperature is None and n_best > beam:
            raise ValueError(
                f"n_best: expected at most beam={beam} without a temperature, got {n_best}"
            )
        if self.temperature is not None and beam > 1:
            raise ValueError(f"beam: expected 1 with a temperature, got {beam}")
        return _core.Search(
            groups,
            K,
            check_size("max_steps", max_steps),
            width=max(beam, n_best),
            beam=beam > 1,
            stop=stop,
            length_penalty=self.length_penalty,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            seed=check_seed(self.seed),
        )

    def check_vectors(self, stop: Any) -> None:
        """ValueError for what says nothing of vectors."""
        asked = {"stop": stop} | self._asdict()
        for name in ("stop", "temperature", "top_k", "top_p"):
            if asked[name] is not None:
                raise ValueError(f"{name}: expected None for vectors, got {asked[name]!r:.60}")
        for name in ("beam", "n_best"):
            if check_size(name, asked[name]) > 1:
                raise ValueError(f"{name}: expected 1 for vectors, got {asked[name]}")


def generate_symbols(
    model: Seq2Seq,
    encoding: Encoding,
    start: NDArray[np.int64],
    search: _core.Search,
) -> None:
    """Go through a search to its end, from one encoding of each source.

    Parameters
    ----------
    model : Seq2Seq
    encoding : Encoding
    start : array (B,)
        The symbol that each row is fed first.
    search : Search
        Of B groups.
    """
    walk = Walk(model, encoding, EVALUATION, False)
    symbols = start
    while not search.done:
        step = walk.step(symbols[:, None])
        logits, _ = model.output(joined(step.y, step.context))
        symbols, parents = search.step(logits[:, 0])
        if not np.array_equal(parents, np.arange(len(logits))):
            walk.rows(parents)


def generate_vectors(
    model: Seq2Seq,
    encoding: Encoding,
    start: Array,
    max_steps: int,
) -> Array:
    """Vectors (B, max_steps, E): each is fed to the step after it."""
    walk = Walk(model, encoding, EVALUATION, False)
    x, given = start, []
    for _ in range(max_steps):
        x = model.choice(walk.step(x[:, None]))
        given.append(x)
    return np.stack(given, axis=1)
