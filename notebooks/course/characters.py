"""Checks of notebook 5, a character model."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

import crnn
from course.exercises import Wrong, answer_of, check_close, exercise
from crnn.data import END_OF_LINE, Vocabulary

Array = NDArray[Any]


def _number(what: str, found: Any) -> float:
    """Return a number that an answer gave; `Wrong` for anything else."""
    if np.shape(found) != ():
        raise Wrong(f"{what}: expected one number, got shape {np.shape(found)}")
    return float(found)


def _is(found: float, other: float) -> bool:
    return abs(found - other) <= 1e-6 * max(1.0, abs(other))


def _log2_softmax(logits: Array) -> Array:
    z = logits - logits.max(axis=-1, keepdims=True)
    return z / np.log(2) - np.log2(np.exp(z).sum(axis=-1, keepdims=True))


@exercise(1)
def bits(function: Callable[..., Any]) -> str:
    """Check the bits per character of logits."""
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        for T, K, scale in ((1, 2, 1.0), (7, 5, 2.0), (40, 11, 3.0)):
            logits, target = scale * rng.normal(size=(T, K)) + 1, rng.integers(0, K, T)
            found = _number("bits", answer_of(function, logits.copy(), target.copy()))
            scores = -_log2_softmax(logits)[np.arange(T), target]
            _explain_bits(found, logits, target, scores)
            check_close("bits", found, scores.mean())
        large = np.array([[1000.0, 990.0, 0.0], [0.0, 1000.0, 990.0]])
        found = _number("bits", answer_of(function, large, np.array([1, 1])))
    if not np.isfinite(found):
        raise Wrong(
            f"with a logit of 1000 it gives {found}: exp(1000) is more than a float can hold. "
            "Softmax stays the same when the same number is subtracted from all logits of a row"
        )
    check_close("bits of logits up to 1000", found, -_log2_softmax(large)[[0, 1], [1, 1]].mean())
    return (
        "the largest logit of each row can be subtracted without changing anything, so nothing "
        "overflows. That is how crnn.losses.cross_entropy does it too, in nats."
    )


def _explain_bits(found: float, logits: Array, target: Array, scores: Array) -> None:
    """Raise `Wrong` for the usual mistakes."""
    right, steps = scores.mean(), np.arange(len(target))
    together = logits - np.log(np.exp(logits).sum())
    told = {
        "the probabilities of all steps together sum up to 1; those of each step should": (
            -together[steps, target].mean() / np.log(2)
        ),
        "it is in nats: the logarithm is to base e": right * np.log(2),
        "the sign is turned: bits are positive": -right,
        "it is the sum over the steps, not their mean": scores.sum(),
        "it is the perplexity, 2 to the power of the bits": 2**right,
        "the logits themselves were averaged: they are no logarithms of probabilities before the "
        "softmax has made their row sum up to 1": -logits[steps, target].mean(),
        "the logarithm was taken of the mean probability; it is the mean of the logarithms": (
            -np.log2(np.mean(2.0**-scores))
        ),
    }
    for why, other in told.items():
        if _is(found, other) and not _is(other, right):
            raise Wrong(why)


@exercise(2)
def nucleus(function: Callable[..., Any]) -> str:
    """Check the nucleus of distributions."""
    cases = [
        ([0.5, 0.3, 0.15, 0.05], 0.6),
        ([0.1, 0.2, 0.4, 0.3], 0.65),
        ([0.05, 0.6, 0.05 + 1e-3, 0.299], 0.5),
        ([0.02, 0.9, 0.03, 0.05], 0.999),
        ([0.25, 0.5, 0.125, 0.125 - 1e-3, 1e-3], 0.75),  # reached exactly
        ([1.0], 0.3),
    ]
    for numbers, share in cases:
        p = np.array(numbers)
        given = p.copy()
        found = np.asarray(answer_of(function, given, share))
        if not np.array_equal(given, p):
            raise Wrong("it changes p itself; the caller may still need it")
        where = f"nucleus({numbers}, {share})"
        _explain_nucleus(where, found, p, share)
        check_close(where, found, _nucleus(p, share))
    return (
        "the nucleus grows where the model is unsure and shrinks to one symbol where it is sure, "
        "which no fixed number of symbols (top_k) and no temperature does."
    )


def _kept(p: Array, share: float) -> Array:
    """Which symbols are in the nucleus."""
    order = np.argsort(-p, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(p[order])[:-1]])
    kept = np.zeros(len(p), bool)
    kept[order[before < share]] = True
    return kept


def _nucleus(p: Array, share: float) -> Array:
    return np.where(_kept(p, share), p, 0) / p[_kept(p, share)].sum()


def _explain_nucleus(where: str, found: Array, p: Array, share: float) -> None:
    """Raise `Wrong` for the usual mistakes."""
    right = _kept(p, share)
    if found.shape != p.shape or found.dtype.kind not in "biuf":
        return
    if np.allclose(np.sort(found), np.sort(_nucleus(p, share))) and not np.allclose(
        found[right], found.max() * p[right] / p.max()
    ):
        raise Wrong(f"{where}: the probabilities are right, but not in the places of their symbols")
    kept = found > 0
    if kept.sum() < right.sum():
        raise Wrong(
            f"{where}: it keeps {kept.sum()} symbols, which together have less than {share}"
        )
    if kept.sum() > right.sum():
        raise Wrong(
            f"{where}: it keeps {kept.sum()} symbols, but fewer have at least {share} together"
        )
    if not np.isclose(found.sum(), 1):
        raise Wrong(f"{where}: the sum is {found.sum():.3f}, so these are not probabilities")


@exercise(3)
def name(function: Callable[..., Any]) -> str:
    """Check the probability of a name."""
    vocabulary = Vocabulary.from_text("abc" + END_OF_LINE)
    K = len(vocabulary)
    for seed, layer in enumerate((crnn.RNN, crnn.GRU, crnn.LSTM)):
        model = crnn.Sequential(
            [
                layer(K, 6, dtype="float64", seed=seed),
                crnn.Dense(6, K, dtype="float64", seed=seed + 10),
            ]
        )
        for array in model.params.values():
            array *= 2
        for word in ("abba", "c", "cabbac"):
            what = f"log2_probability of {word!r}"
            found = _number(what, answer_of(function, model, vocabulary, word))
            _explain_name(found, model, vocabulary, word)
            check_close(what, found, _steps(model, vocabulary, word).sum(), 1e-6)
    return (
        "the stop symbol counts as much as the letters: because of it the probabilities of all "
        "names, of all lengths together, sum up to at most 1."
    )


def _steps(model: Any, vocabulary: Vocabulary, word: str, start: bool = True) -> Array:
    """log2 of the probability of each symbol, the stop symbol last, one step at a time."""
    known = [END_OF_LINE, *word, END_OF_LINE] if start else [*word, END_OF_LINE]
    numbers = vocabulary.encode(known)
    stream = model.stream(batch_size=1)
    return np.array([_log2_softmax(stream.step(np.array([a])))[0, b] for a, b in pairwise(numbers)])


def _explain_name(found: float, model: Any, vocabulary: Vocabulary, word: str) -> None:
    """Raise `Wrong` for the usual mistakes."""
    steps = _steps(model, vocabulary, word)
    bare = _steps(model, vocabulary, word, start=False)
    told = {
        "it leaves out how likely it is that the name ends there": steps[:-1].sum(),
        "it leaves out how likely the first letter is, after the start symbol": bare.sum(),
        "it leaves out the first letter, and the end of the name": bare[:-1].sum(),
        "it leaves out the first letter": steps[1:].sum(),
        "it is the mean over the symbols; what has to happen all together is multiplied, so the "
        "logarithms are added": steps.mean(),
        "the logarithm is to base e": steps.sum() * np.log(2),
        "the sign is turned: a probability is below 1, so its logarithm is negative": -steps.sum(),
        "it is the probability, not its logarithm": 2 ** steps.sum(),
    }
    for why, other in told.items():
        if _is(found, float(other)) and not _is(float(other), float(steps.sum())):
            raise Wrong(why)
