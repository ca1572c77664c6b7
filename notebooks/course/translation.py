"""Checks of notebook 9: sequence to sequence."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.exercises import Wrong, answer_of, check_close, exercise

Array = NDArray[Any]
LogProbabilities = Callable[[list[int]], Array]


def _softmax(scores: Array, axis: int = -1) -> Array:
    """Return the softmax of scores along an axis."""
    exponentials = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=axis, keepdims=True))


@exercise(1)
def dot_attention(function: Callable[[Array, Array, Array], tuple[Array, Array]]) -> str:
    """Check the context and the weights of one step, with rows of different lengths."""
    rng = np.random.default_rng(0)
    for scale, ends in ((1.0, [4, 4]), (1.0, [4, 2, 1]), (300.0, [3, 4]), (1.0, [2, 0, 4])):
        B, S = len(ends), 4
        h, e = scale * rng.normal(size=(B, 3)), rng.normal(size=(B, S, 3))
        context, weights = np.zeros((B, 3)), np.zeros((B, S))
        for row, end in enumerate(ends):
            if end:
                weights[row, :end] = _softmax(e[row, :end] @ h[row])
                context[row] = weights[row, :end] @ e[row, :end]
        answer = answer_of(function, h, e, np.array(ends))
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise Wrong("expected two arrays, the context and the weights")
        array = np.asarray(answer[1])
        if array.shape != weights.shape:
            raise Wrong(f"the weights: expected shape (B, S) = {weights.shape}, got {array.shape}")
        if not np.isfinite(array).all():
            case = "a row of length 0" if 0 in ends else "large scores, because exp overflows"
            raise Wrong(f"the weights are not finite for {case}")
        if not np.allclose(array, weights):
            _explain_weights(array, h, e, ends)
        check_close(f"the weights for lengths {ends}", array, weights)
        check_close(f"the context for lengths {ends}", answer[0], context)
    return (
        "this attention consists of two products and a softmax. Scores of longer vectors are "
        "larger, and large scores make one weight nearly 1. So the Transformer divides the scores "
        "by the square root of P."
    )


def _explain_weights(weights: Array, h: Array, e: Array, ends: list[int]) -> None:
    """Raise `Wrong` with an explanation if the weights show a common mistake."""
    scores = np.einsum("bp,bsp->bs", h, e)
    valid = np.arange(e.shape[1]) < np.array(ends)[:, None]
    if np.any(weights[~valid] != 0):
        if np.allclose(weights, _softmax(scores)):
            raise Wrong("the softmax includes the padding; compute it over the valid steps only")
        raise Wrong("the weights of the padding are not 0")
    if np.allclose(weights, np.where(valid, _softmax(scores), 0)) and not valid.all():
        raise Wrong(
            "the weights of a shorter row do not have the sum 1, because the sum in the softmax "
            "includes the padding"
        )
    if valid.all() and len(ends) > 1 and np.allclose(weights, _softmax(scores, axis=0)):
        raise Wrong("the softmax is over the rows of the batch; compute it over the steps")


@exercise(2)
def scores_of(function: Callable[[Array, Array, int], Array]) -> str:
    """Check the sum of the log-probabilities up to the first stop."""
    rng = np.random.default_rng(1)
    for scale, tokens, stop in (
        (2.0, [[0, 2, 1, 3]], 3),
        (2.0, [[0, 3, 3, 3], [3, 3, 3, 3], [1, 2, 0, 1]], 3),
        (2.0, [[2, 1, 0, 0], [1, 1, 2, 0]], 0),
        (500.0, [[1, 3, 3], [0, 1, 2]], 3),
    ):
        written = np.array(tokens)
        logits = scale * rng.normal(size=(*written.shape, 4))
        logs = logits - logits.max(axis=-1, keepdims=True)
        logs -= np.log(np.exp(logs).sum(axis=-1, keepdims=True))
        chosen = np.take_along_axis(logs, written[..., None], axis=-1)[..., 0]
        ended = np.cumsum(written == stop, axis=1) - (written == stop)
        with_stop, without = ended == 0, (ended == 0) & (written != stop)
        right = (chosen * with_stop).sum(axis=1)
        answer = np.asarray(answer_of(function, logits.copy(), written.copy(), stop))
        if answer.shape != right.shape:
            raise Wrong(f"expected a score for each row, shape {right.shape}, got {answer.shape}")
        if not np.isfinite(answer).all():
            raise Wrong("with large logits some scores are not finite")
        if np.allclose(answer, right):
            continue
        picked = np.take_along_axis(logits, written[..., None], axis=-1)[..., 0]
        for wrong, message in (
            (chosen.sum(axis=1), "symbols after the first stop must not count"),
            ((chosen * without).sum(axis=1), "the log-probability of the stop is missing"),
            (right / with_stop.sum(axis=1), "this is the mean over the steps, not the sum"),
            (-right, "the sign is wrong: the logarithm of a probability is at most 0"),
            (
                (picked * with_stop).sum(axis=1),
                "these are sums of logits, not of log-probabilities",
            ),
        ):
            if np.allclose(answer, wrong):
                raise Wrong(message)
        check_close(f"the scores for stop={stop}", answer, right)
    return (
        "each symbol can only lower the score, so short answers have an advantage. The argument "
        "length_penalty of generate compensates for this."
    )


@exercise(3)
def beam_search(function: Callable[[LogProbabilities, int, int, int], Sequence[int]]) -> str:
    """Check beam search with several widths, from 1 (greedy) to a width that keeps all answers."""
    for seed in range(8):
        model = _model(seed)
        for beam, max_steps in itertools.product((1, 2, 3, 400), (1, 3, 4)):
            symbols = answer_of(function, model, STOP, beam, max_steps)
            answer = [int(symbol) for symbol in symbols]
            right = _search(model, beam, max_steps)
            if answer == right:
                continue
            if not answer or (answer[-1] != STOP and len(answer) < max_steps):
                raise Wrong(
                    f"{answer} is not finished: it does not end with a stop, and has fewer than "
                    f"max_steps={max_steps} symbols"
                )
            if len(answer) > max_steps:
                raise Wrong(f"{answer} has more than max_steps={max_steps} symbols")
            if STOP in answer[:-1]:
                raise Wrong(f"{answer} has symbols after its stop (symbol {STOP})")
            if beam == 1:
                raise Wrong(f"beam=1 is greedy search, which returns {right}, got {answer}")
            greedy = _search(model, 1, max_steps)
            if answer == greedy:
                raise Wrong(f"with beam={beam} you return the answer of greedy search, {answer}")
            low, high = _score(model, answer), _score(model, right)
            if low < high:
                raise Wrong(
                    f"with beam={beam} the search finds an answer with the score {high:.3f}; the "
                    f"score of your answer {answer} is {low:.3f}"
                )
            raise Wrong(
                f"with beam={beam} you return {answer}, but a search of this width drops this "
                "hypothesis before the end"
            )
    return (
        "with beam=1 this is greedy search. With a large beam it compares all answers. The work "
        "grows in proportion to the beam, not to the number of possible answers."
    )


STOP, _SYMBOLS = 3, 4


def _model(seed: int) -> LogProbabilities:
    """Return a function: log-probabilities (K,) that depend on all symbols before."""

    def log_shares(tokens: list[int]) -> Array:
        if STOP in tokens:
            raise Wrong(f"{list(tokens)} is finished, but your search continues it")
        key = [int(symbol) for symbol in tokens]
        logits = 2 * np.random.default_rng([seed, len(key), *key]).normal(size=_SYMBOLS)
        return np.log(_softmax(logits))

    return log_shares


def _score(model: LogProbabilities, answer: list[int]) -> float:
    """Return the log-probability of an answer."""
    return float(sum(model(answer[:t])[symbol] for t, symbol in enumerate(answer)))


def _search(model: LogProbabilities, beam: int, max_steps: int) -> list[int]:
    """Return the answer of beam search."""
    kept: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(max_steps):
        grown: list[tuple[float, list[int]]] = []
        for score, tokens in kept:
            if tokens[-1:] == [STOP]:
                grown.append((score, tokens))
                continue
            logs = model(tokens)
            grown += [(score + float(logs[k]), [*tokens, k]) for k in range(_SYMBOLS)]
        kept = sorted(grown, key=lambda item: -item[0])[:beam]
    return kept[0][1]
