"""Checks of notebook 9, sequence to sequence."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.exercises import Wrong, answer_of, check_close, exercise

Array = NDArray[Any]
LogShares = Callable[[list[int]], Array]


def _softmax(scores: Array, axis: int = -1) -> Array:
    shares = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return np.asarray(shares / shares.sum(axis=axis, keepdims=True))


@exercise(1)
def dot_attention(function: Callable[[Array, Array, Array], tuple[Array, Array]]) -> str:
    """Context and weights of a step, with rows of different lengths."""
    rng = np.random.default_rng(0)
    for scale, ends in ((1.0, [4, 4]), (1.0, [4, 2, 1]), (300.0, [3, 4]), (1.0, [2, 0, 4])):
        B, S = len(ends), 4
        h, e = scale * rng.normal(size=(B, 3)), rng.normal(size=(B, S, 3))
        context, weights = np.zeros((B, 3)), np.zeros((B, S))
        for row, end in enumerate(ends):
            if end:
                weights[row, :end] = _softmax(e[row, :end] @ h[row])
                context[row] = weights[row, :end] @ e[row, :end]
        found = answer_of(function, h, e, np.array(ends))
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise Wrong("expected two arrays, the context and the weights")
        given = np.asarray(found[1])
        if given.shape != weights.shape:
            raise Wrong(f"the weights: expected shape (B, S) = {weights.shape}, got {given.shape}")
        if not np.isfinite(given).all():
            why = "a row without steps" if 0 in ends else "large scores: exp of them overflows"
            raise Wrong(f"the weights are not finite for {why}")
        if not np.allclose(given, weights):
            _look_at_weights(given, h, e, ends)
        check_close(f"the weights for lengths {ends}", given, weights)
        check_close(f"the context for lengths {ends}", found[0], context)
    return (
        "two products and a softmax are all there is to it. The longer the vectors, the larger the "
        "scores: the Transformer divides them by the root of P to keep the softmax soft."
    )


def _look_at_weights(given: Array, h: Array, e: Array, ends: list[int]) -> None:
    """Say which of the usual mistakes the weights show."""
    scores = np.einsum("bp,bsp->bs", h, e)
    there = np.arange(e.shape[1]) < np.array(ends)[:, None]
    if np.any(given[~there] != 0):
        if np.allclose(given, _softmax(scores)):
            raise Wrong("steps past the end of a row have weights; the softmax must leave them out")
        raise Wrong("steps past the end of a row have weights other than 0")
    if np.allclose(given, np.where(there, _softmax(scores), 0)) and not there.all():
        raise Wrong("the weights of a shorter row do not sum to one: what is left out still counts")
    if there.all() and len(ends) > 1 and np.allclose(given, _softmax(scores, axis=0)):
        raise Wrong("the softmax runs over the rows of the batch, not over the steps of each row")


@exercise(2)
def scores_of(function: Callable[[Array, Array, int], Array]) -> str:
    """The sum of the log-probabilities up to the first stop."""
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
        found = np.asarray(answer_of(function, logits.copy(), written.copy(), stop))
        if found.shape != right.shape:
            raise Wrong(f"expected a score for each row, shape {right.shape}, got {found.shape}")
        if not np.isfinite(found).all():
            raise Wrong("scores are not finite where logits are large")
        if np.allclose(found, right):
            continue
        picked = np.take_along_axis(logits, written[..., None], axis=-1)[..., 0]
        for wrong, why in (
            (chosen.sum(axis=1), "what stands behind the first stop is counted, too"),
            ((chosen * without).sum(axis=1), "the stop is written, too, and has a probability"),
            (right / with_stop.sum(axis=1), "this is the mean over the steps, not the sum"),
            (-right, "the sign: a probability is at most 1, so its logarithm is at most 0"),
            ((picked * with_stop).sum(axis=1), "logits are not yet log-probabilities"),
        ):
            if np.allclose(found, wrong):
                raise Wrong(why)
        check_close(f"the scores for stop={stop}", found, right)
    return (
        "each symbol can only lower the score, so short answers have an advantage. That is what "
        "length_penalty of generate makes up for."
    )


@exercise(3)
def beam_search(function: Callable[[LogShares, int, int, int], Sequence[int]]) -> str:
    """Beams of several widths, against a search of its own and against all answers."""
    for seed in range(8):
        model = _model(seed)
        for beam, max_steps in itertools.product((1, 2, 3, 400), (1, 3, 4)):
            found = answer_of(function, model, STOP, beam, max_steps)
            answer = [int(symbol) for symbol in found]
            right = _search(model, beam, max_steps)
            if answer == right:
                continue
            if not answer or (answer[-1] != STOP and len(answer) < max_steps):
                raise Wrong(
                    f"{answer} is not finished: it has no stop, and fewer than {max_steps} symbols"
                )
            if len(answer) > max_steps:
                raise Wrong(f"{answer} has more than max_steps={max_steps} symbols")
            if STOP in answer[:-1]:
                raise Wrong(f"{answer}: a hypothesis goes on behind its stop (symbol {STOP})")
            if beam == 1:
                raise Wrong(f"a beam of 1 is greedy search, which gives {right}, got {answer}")
            greedy = _search(model, 1, max_steps)
            if answer == greedy:
                raise Wrong(f"with beam={beam} it gives what greedy search gives, {answer}")
            low, high = _score(model, answer), _score(model, right)
            if low < high:
                raise Wrong(
                    f"with beam={beam} the search should find an answer with the score {high:.3f}, "
                    f"got {answer} with {low:.3f}"
                )
            raise Wrong(
                f"with beam={beam} it finds {answer}, which a beam of this width has no place for"
            )
    return (
        "with beam=1 it is greedy, with a large beam it is exhaustive; in between the work grows "
        "with the beam, not with the number of answers."
    )


STOP, _SYMBOLS = 3, 4


def _model(seed: int) -> LogShares:
    """Log-probabilities that depend on all that was written."""

    def log_shares(tokens: list[int]) -> Array:
        if STOP in tokens:
            raise Wrong(f"{list(tokens)} has ended, and is continued all the same")
        key = [int(symbol) for symbol in tokens]
        logits = 2 * np.random.default_rng([seed, len(key), *key]).normal(size=_SYMBOLS)
        return np.log(_softmax(logits))

    return log_shares


def _score(model: LogShares, answer: list[int]) -> float:
    return float(sum(model(answer[:t])[symbol] for t, symbol in enumerate(answer)))


def _search(model: LogShares, beam: int, max_steps: int) -> list[int]:
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
