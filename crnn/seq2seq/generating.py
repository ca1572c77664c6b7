"""Generation of targets by feedback: each step reads the model's own output of the step before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_product, check_seed, check_size
from crnn.layers.base.arguments import EVALUATION
from crnn.seq2seq import planned
from crnn.seq2seq.decoding import joined, prediction
from crnn.seq2seq.encoding import Encoding
from crnn.seq2seq.plans import DecoderPlan
from crnn.seq2seq.stepwise import StepwisePass

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
        """Return the core's searches, which choose the symbols; the core checks the other options.

        Parameters
        ----------
        shares : list of pairs of int
            The first row and the end of the rows of each search.
        K : int
            The number of symbols.
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
        options: dict[str, Any] = {name: getattr(self, name) for name in names}
        options |= {"width": width, "beam": beam > 1, "stop": stop, "seed": seed}
        return [
            _core.Search(end - begin, K, steps, first_group=begin, **options)
            for begin, end in shares
        ]

    def check_vectors(self, stop: Any) -> None:
        """Raise ValueError for an option that does not apply to vectors."""
        options = {"stop": stop} | self._asdict()
        for name in ("stop", "temperature", "top_k", "top_p"):
            if options[name] is not None:
                raise ValueError(f"{name}: expected None for vectors, got {options[name]!r:.60}")
        for name in ("beam", "n_best"):
            if check_size(name, options[name]) > 1:
                raise ValueError(f"{name}: expected 1 for vectors, got {options[name]}")


def generate_symbols(
    model: Seq2SeqParts,
    encoding: Encoding,
    start: NDArray[np.int64],
    choosing: Choosing,
    stop: int | None,
    max_steps: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return tokens (B, n_best, N) and scores (B, n_best).

    Parameters
    ----------
    model : Seq2Seq
        A model of symbols.
    encoding : Encoding
        The encoding of the sources.
    start : array (B,)
        The first input symbol of each row.
    choosing, stop, max_steps
        As for `Seq2Seq.generate`.
    """
    B, K = encoding.batch, model.target_symbols
    assert K is not None
    plan = planned.generation_plan(model)
    shares = planned.shares(model, B) if plan else [(0, B)]
    searches = choosing.searches(shares, K, stop, max_steps)
    if plan:
        planned.generate_symbols(plan, encoding, start, searches)
    else:
        _search_step_by_step(model, encoding, start, searches[0])
    return _concatenated([search.result(choosing.n_best) for search in searches], stop)


def _search_step_by_step(
    model: Seq2SeqParts, encoding: Encoding, start: NDArray[np.int64], search: _core.Search
) -> None:
    """Run a search to its end, through the public methods of the decoder."""
    decoder, symbols = StepwisePass(model, encoding, EVALUATION, False), start
    while not search.done:
        step = decoder.step(symbols[:, None])
        logits, _ = model.output(joined(step.y, step.context))
        symbols, parents = search.step(logits[:, 0])
        if not np.array_equal(parents, np.arange(len(logits))):
            decoder.select(parents)


def _concatenated(
    results: list[tuple[NDArray[np.int64], NDArray[np.float64]]], stop: int | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the results of all searches as two arrays, as long as the longest row of tokens."""
    fill = -1 if stop is None else stop
    steps = max(tokens.shape[2] for tokens, _ in results)
    no_padding = [(0, 0), (0, 0)]
    padded = [
        np.pad(tokens, [*no_padding, (0, steps - tokens.shape[2])], constant_values=fill)
        for tokens, _ in results
    ]
    tokens, scores = np.concatenate(padded), np.concatenate([scores for _, scores in results])
    used = np.flatnonzero((tokens != fill).any(axis=(0, 1)))
    return tokens[:, :, : used[-1] + 2 if used.size else 1], scores  # the last stop included


def with_feedback(
    model: Seq2SeqParts,
    plan: DecoderPlan,
    target: Array,
    encoding: Encoding,
    feedback: NDArray[np.bool_],
) -> Array:
    """Return the target, where `feedback` is True replaced by the model's prediction.

    The prediction is the symbol that is most likely after the step before.

    Parameters
    ----------
    model : Seq2Seq
        A model of symbols.
    plan : DecoderPlan
        The `generation_plan` of the model.
    target : array (B, T) of integers
        The target.
    encoding : Encoding
        The encoding of the sources.
    feedback : array (B, T) of booleans
        False in step 0.
    """
    (B, T), K = target.shape, model.target_symbols
    assert K is not None
    if B == 0 or T < 2 or not feedback.any():
        return target
    forced = np.where(feedback, -1, target)[:, 1:]
    searches = [
        _core.Search(end - begin, K, T - 1, first_group=begin, forced=forced[begin:end])
        for begin, end in planned.shares(model, B)
    ]
    planned.generate_symbols(plan, encoding, target[:, 0].astype(np.int64), searches)
    predicted, _ = _concatenated([search.result() for search in searches], None)
    inputs = target.copy()
    inputs[:, 1:] = np.where(feedback[:, 1:], predicted[:, 0], target[:, 1:])
    return inputs


def generate_vectors(
    model: Seq2SeqParts, encoding: Encoding, start: Array, max_steps: int
) -> Array:
    """Return vectors (B, max_steps, E); each is the input of the step after it."""
    decoder = StepwisePass(model, encoding, EVALUATION, False)
    x, outputs = start, []
    for _ in range(max_steps):
        step = decoder.step(x[:, None])
        x = prediction(model, step.y, step.context)
        outputs.append(x)
    return np.stack(outputs, axis=1)
