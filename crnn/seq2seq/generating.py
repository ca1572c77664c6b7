"""A model that reads what it gave: the loop over the steps of a target that is being written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_product, check_seed, check_size
from crnn.layers.base.arguments import EVALUATION
from crnn.seq2seq import fused
from crnn.seq2seq.decoding import choice, joined
from crnn.seq2seq.encoding import Encoding
from crnn.seq2seq.stepwise import WindowPass

if TYPE_CHECKING:
    from crnn.seq2seq.parts import Seq2SeqParts


class Choosing(NamedTuple):
    """How the next symbols are chosen: parameters of `Seq2Seq.generate`."""

    beam: int
    n_best: int
    length_penalty: float
    temperature: float | None
    top_k: int | None
    top_p: float | None
    seed: int | None

    def searches(
        self, shares: list[tuple[int, int]], K: int, stop: int | None, max_steps: int
    ) -> list[_core.Search]:
        """What chooses: the core's searches, which check what they are given.

        Parameters
        ----------
        shares : list of pairs
            The first source of each, and the one behind its last.
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
        width, (_, batch) = max(beam, n_best), shares[-1]
        check_product(f"{'beam' if width == beam else 'n_best'}, B, K", width, batch, K)
        steps, seed = check_size("max_steps", max_steps), check_seed(self.seed)
        names = ("length_penalty", "temperature", "top_k", "top_p")
        how: dict[str, Any] = {name: getattr(self, name) for name in names}
        how |= {"width": width, "beam": beam > 1, "stop": stop, "seed": seed}
        return [
            _core.Search(end - begin, K, steps, first_group=begin, **how) for begin, end in shares
        ]

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
    model: Seq2SeqParts,
    encoding: Encoding,
    start: NDArray[np.int64],
    choosing: Choosing,
    stop: int | None,
    max_steps: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """tokens (B, n_best, N) and scores (B, n_best), from one encoding of each source.

    Parameters
    ----------
    model : Seq2Seq
    encoding : Encoding
    start : array (B,)
        The symbol that each row is fed first.
    choosing, stop, max_steps
        As for `Seq2Seq.generate`.
    """
    B, K = encoding.batch, model.target_symbols
    assert K is not None
    in_core = fused.levels_of(model) is not None
    shares = fused.shares(model, B) if in_core else [(0, B)]
    searches = choosing.searches(shares, K, stop, max_steps)
    if in_core:
        fused.generate_symbols(model, encoding, start, searches)
    else:
        _walk(model, encoding, start, searches[0])
    return _gathered([search.result(choosing.n_best) for search in searches], stop)


def _walk(
    model: Seq2SeqParts, encoding: Encoding, start: NDArray[np.int64], search: _core.Search
) -> None:
    """Go through a search to its end, step by step."""
    walk, symbols = WindowPass(model, encoding, EVALUATION, False), start
    while not search.done:
        step = walk.step(symbols[:, None])
        logits, _ = model.output(joined(step.y, step.context))
        symbols, parents = search.step(logits[:, 0])
        if not np.array_equal(parents, np.arange(len(logits))):
            walk.rows(parents)


def _gathered(
    results: list[tuple[NDArray[np.int64], NDArray[np.float64]]], stop: int | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The results of all searches, all as long as the longest row that is given."""
    fill = -1 if stop is None else stop
    steps = max(tokens.shape[2] for tokens, _ in results)
    wider = [(0, 0), (0, 0)]
    filled = [
        np.pad(tokens, [*wider, (0, steps - tokens.shape[2])], constant_values=fill)
        for tokens, _ in results
    ]
    tokens, scores = np.concatenate(filled), np.concatenate([scores for _, scores in results])
    written = np.flatnonzero((tokens != fill).any(axis=(0, 1)))  # and the stop behind the last one
    return tokens[:, :, : written[-1] + 2 if written.size else 1], scores


def own_choices(
    model: Seq2SeqParts, target: Array, encoding: Encoding, own: NDArray[np.bool_]
) -> Array:
    """The target, where `own` is true with what the model finds likeliest after the step before.

    Parameters
    ----------
    model : Seq2Seq
        Of symbols, with a decoder that `fused` runs.
    target : array (B, T) of integers
    encoding : Encoding
    own : array (B, T) of booleans
        False in step 0.
    """
    (B, T), K = target.shape, model.target_symbols
    assert K is not None
    if B == 0 or T < 2 or not own.any():
        return target
    told = np.where(own, -1, target)[:, 1:]
    searches = [
        _core.Search(end - begin, K, T - 1, first_group=begin, forced=told[begin:end])
        for begin, end in fused.shares(model, B)
    ]
    fused.generate_symbols(model, encoding, target[:, 0].astype(np.int64), searches)
    chosen, _ = _gathered([search.result() for search in searches], None)
    fed = target.copy()
    fed[:, 1:] = np.where(own[:, 1:], chosen[:, 0], target[:, 1:])
    return fed


def generate_vectors(
    model: Seq2SeqParts, encoding: Encoding, start: Array, max_steps: int
) -> Array:
    """Vectors (B, max_steps, E): each is fed to the step after it."""
    walk = WindowPass(model, encoding, EVALUATION, False)
    x, given = start, []
    for _ in range(max_steps):
        step = walk.step(x[:, None])
        x = choice(model, step.y, step.context)
        given.append(x)
    return np.stack(given, axis=1)
