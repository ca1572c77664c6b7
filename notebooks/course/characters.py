"""Checks of notebook 5: a character model."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

import crnn
from course.exercises import Wrong, answer_of, check_close, exercise
from crnn.data import END_OF_LINE, Vocabulary

Array = NDArray[Any]


def _number(name: str, value: Any) -> float:
    """Return an answer that is one number; raise `Wrong` for anything else."""
    if np.shape(value) != ():
        raise Wrong(f"{name}: expected one number, got shape {np.shape(value)}")
    return float(value)


def _same(answer: float, other: float) -> bool:
    """Return whether two numbers are nearly equal."""
    return abs(answer - other) <= 1e-6 * max(1.0, abs(other))


def _log2_softmax(logits: Array) -> Array:
    """Return the logarithm to base 2 of the softmax over the last axis."""
    z = logits - logits.max(axis=-1, keepdims=True)
    return z / np.log(2) - np.log2(np.exp(z).sum(axis=-1, keepdims=True))


@exercise(1)
def bits(function: Callable[..., Any]) -> str:
    """Check the bits per character that are computed from logits."""
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        for T, K, scale in ((1, 2, 1.0), (7, 5, 2.0), (40, 11, 3.0)):
            logits, target = scale * rng.normal(size=(T, K)) + 1, rng.integers(0, K, T)
            answer = _number("bits", answer_of(function, logits.copy(), target.copy()))
            scores = -_log2_softmax(logits)[np.arange(T), target]
            _explain_bits(answer, logits, target, scores)
            check_close("bits", answer, scores.mean())
        large = np.array([[1000.0, 990.0, 0.0], [0.0, 1000.0, 990.0]])
        answer = _number("bits", answer_of(function, large, np.array([1, 1])))
    if not np.isfinite(answer):
        raise Wrong(
            f"with a logit of 1000 the result is {answer}: exp(1000) is larger than the largest "
            "float. The softmax does not change if you subtract the same number from all logits of "
            "a step"
        )
    check_close("bits of logits up to 1000", answer, -_log2_softmax(large)[[0, 1], [1, 1]].mean())
    return (
        "subtracting the largest logit of each step does not change the softmax, and prevents the "
        "overflow. crnn.losses.cross_entropy does the same; its result is in nats."
    )


def _explain_bits(answer: float, logits: Array, target: Array, scores: Array) -> None:
    """Raise `Wrong` with an explanation if the answer shows a common mistake."""
    right, steps = scores.mean(), np.arange(len(target))
    together = logits - np.log(np.exp(logits).sum())
    mistakes = {
        "the probabilities of all steps together have the sum 1; those of each step should have "
        "the sum 1": -together[steps, target].mean() / np.log(2),
        "this is in nats: the logarithm is to base e": right * np.log(2),
        "the sign is wrong: bits are positive": -right,
        "this is the sum over the steps, not the mean": scores.sum(),
        "this is the perplexity, 2 to the power of the bits": 2**right,
        "this is the mean of the logits; logits are not logarithms of probabilities, so compute "
        "the softmax of each step first": -logits[steps, target].mean(),
        "this is the logarithm of the mean probability; compute the mean of the logarithms": (
            -np.log2(np.mean(2.0**-scores))
        ),
    }
    for message, wrong in mistakes.items():
        if _same(answer, wrong) and not _same(wrong, right):
            raise Wrong(message)


@exercise(2)
def nucleus(function: Callable[..., Any]) -> str:
    """Check the nucleus of some distributions."""
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
        argument = p.copy()
        answer = np.asarray(answer_of(function, argument, share))
        if not np.array_equal(argument, p):
            raise Wrong("your function changes p; it must return a new array")
        call = f"nucleus({numbers}, {share})"
        _explain_nucleus(call, answer, p, share)
        check_close(call, answer, _nucleus(p, share))
    return (
        "the nucleus is large where the model is uncertain, and has one symbol where the model is "
        "certain. A fixed number of symbols (top_k) or a temperature does not adapt in this way."
    )


def _kept(p: Array, share: float) -> Array:
    """Return which symbols are in the nucleus, as booleans (K,)."""
    order = np.argsort(-p, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(p[order])[:-1]])
    kept = np.zeros(len(p), bool)
    kept[order[before < share]] = True
    return kept


def _nucleus(p: Array, share: float) -> Array:
    """Return the distribution over the nucleus."""
    return np.where(_kept(p, share), p, 0) / p[_kept(p, share)].sum()


def _explain_nucleus(call: str, answer: Array, p: Array, share: float) -> None:
    """Raise `Wrong` with an explanation if the answer shows a common mistake."""
    right = _kept(p, share)
    if answer.shape != p.shape or answer.dtype.kind not in "biuf":
        return
    if np.allclose(np.sort(answer), np.sort(_nucleus(p, share))) and not np.allclose(
        answer[right], answer.max() * p[right] / p.max()
    ):
        raise Wrong(f"{call}: the probabilities are right, but not in the places of their symbols")
    kept = answer > 0
    if kept.sum() < right.sum():
        raise Wrong(
            f"{call}: the probabilities of the symbols that your answer keeps have a sum below "
            f"{share}"
        )
    if kept.sum() > right.sum():
        raise Wrong(
            f"{call}: your answer keeps {kept.sum()} symbols, but the probabilities of fewer "
            f"symbols have a sum of at least {share}"
        )
    if not np.isclose(answer.sum(), 1):
        raise Wrong(f"{call}: the sum is {answer.sum():.3f}, but probabilities have the sum 1")


@exercise(3)
def name(function: Callable[..., Any]) -> str:
    """Check the probability of some names."""
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
            call = f"log2_probability of {word!r}"
            answer = _number(call, answer_of(function, model, vocabulary, word))
            _explain_name(answer, model, vocabulary, word)
            check_close(call, answer, _steps(model, vocabulary, word).sum(), 1e-6)
    return (
        "the probability of the stop symbol is a factor, too. Because of it, the sum of the "
        "probabilities of all names of all lengths is at most 1."
    )


def _steps(model: Any, vocabulary: Vocabulary, word: str, start: bool = True) -> Array:
    """Return log2 of the probability of each symbol in order; the last one is the stop symbol."""
    symbols = [END_OF_LINE, *word, END_OF_LINE] if start else [*word, END_OF_LINE]
    numbers = vocabulary.encode(symbols)
    stream = model.stream(batch_size=1)
    return np.array([_log2_softmax(stream.step(np.array([a])))[0, b] for a, b in pairwise(numbers)])


def _explain_name(answer: float, model: Any, vocabulary: Vocabulary, word: str) -> None:
    """Raise `Wrong` with an explanation if the answer shows a common mistake."""
    steps = _steps(model, vocabulary, word)
    without_start = _steps(model, vocabulary, word, start=False)
    mistakes = {
        "the probability that the name ends after its last letter is missing": steps[:-1].sum(),
        "the probability of the first letter after the start symbol is missing": (
            without_start.sum()
        ),
        "the probabilities of the first letter and of the end of the name are missing": (
            without_start[:-1].sum()
        ),
        "the probability of the first letter is missing": steps[1:].sum(),
        "this is the mean over the symbols. The probabilities are multiplied, so add their "
        "logarithms": steps.mean(),
        "the logarithm is to base e": steps.sum() * np.log(2),
        "the sign is wrong: a probability is below 1, so its logarithm is negative": -steps.sum(),
        "this is the probability, not its logarithm": 2 ** steps.sum(),
    }
    for message, wrong in mistakes.items():
        if _same(answer, float(wrong)) and not _same(float(wrong), float(steps.sum())):
            raise Wrong(message)
