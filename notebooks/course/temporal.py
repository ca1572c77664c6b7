"""Checks of notebook 12: convolutions in time and attention."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.exercises import Wrong, answer_of, array_of, check_close, exercise

Array = NDArray[Any]


def _sums(taps: int, dilations: Sequence[int]) -> list[int]:
    """Return all sums of one distance per layer, ascending."""
    choices = [[j * d for j in range(taps)] for d in dilations]
    return sorted({sum(chosen) for chosen in itertools.product(*choices)})


@exercise(1)
def steps_read(function: Callable[[int, list[int]], Sequence[int]]) -> str:
    """Check the distances that the last output of a stack of convolutions depends on."""
    for taps, dilations in (
        (2, [1]),
        (3, [2]),
        (2, [1, 2, 4]),
        (3, [1, 2]),
        (2, [1, 4]),
        (2, [3, 3]),
        (3, [1, 5, 2]),
        (1, [1, 2]),
        (2, []),
    ):
        argument = list(dilations)
        value = list(answer_of(function, taps, argument))
        if argument != dilations:
            raise Wrong("your function changes the list of dilations")
        answer = array_of("the distances", value)
        case = f"{taps} taps, dilations {dilations}"
        right = np.array(_sums(taps, dilations))
        if answer.shape == right.shape and np.array_equal(answer, right):
            continue
        _explain_distances(case, answer, right, taps, dilations)
        raise Wrong(f"{case}: expected {right.tolist()}, got {value}")
    return (
        "no step is left out if each dilation, in ascending order, is at most the field of the "
        "layers before it: with two taps 1, 2, 4, ..., with three 1, 3, 9, ... Larger ones skip "
        "steps; smaller ones read steps on several paths."
    )


def _explain_distances(
    case: str, answer: Array, right: Array, taps: int, dilations: list[int]
) -> None:
    """Raise `Wrong` with an explanation if the distances show a common mistake."""
    whole = np.arange(right[-1] + 1)
    alone = np.unique([j * d for d in dilations for j in range(taps)])
    mistakes = {
        "this is the whole field, but some steps in it are not read": whole,
        "each layer is used alone; a path goes through all layers, and their distances add": alone,
        "a step that is reached on several paths must appear once": np.sort(
            [sum(c) for c in itertools.product(*[[j * d for j in range(taps)] for d in dilations])]
        ),
        "the order must be ascending": right[::-1],
        "with J taps the distances of a layer are 0, d, ..., (J - 1) d; yours have one more": (
            np.array(_sums(taps + 1, dilations))
        ),
        "the distance 0, the current step, is missing": right[1:],
    }
    for message, wrong in mistakes.items():
        if answer.shape == np.shape(wrong) and np.array_equal(answer, wrong):
            raise Wrong(f"{case}: {message}")
    if answer.ndim == 1 and np.array_equal(np.sort(answer), right):
        raise Wrong(f"{case}: the order must be ascending")


def _softmax(scores: Array, axis: int = -1) -> Array:
    """Return the softmax of scores along an axis."""
    exponentials = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=axis, keepdims=True))


def _weights(q: Array, k: Array, window: int, *, power: float = 0.5) -> Array:
    """Return the weights (T, T) of causal attention with a window."""
    t = np.arange(len(q))
    seen = (t <= t[:, None]) & (t > t[:, None] - window)
    scores = q @ k.T / q.shape[1] ** power
    return _softmax(np.where(seen, scores, -np.inf))


@exercise(2)
def attend(function: Callable[[Array, Array, Array, int], tuple[Array, Array]]) -> str:
    """Check causal attention with a window."""
    rng = np.random.default_rng(2)
    for T, A, window, scale in ((6, 4, 3, 1.0), (5, 9, 5, 1.0), (7, 2, 1, 1.0), (4, 4, 2, 40.0)):
        q, k, v = (factor * rng.normal(size=(T, A)) for factor in (scale, scale, 1.0))
        copies = [array.copy() for array in (q, k, v)]
        answer = answer_of(function, *copies, window)
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise Wrong("expected two arrays, the contexts and the weights")
        if any(not np.array_equal(*pair) for pair in zip((q, k, v), copies, strict=True)):
            raise Wrong("your function changes its arguments")
        context, weights = (array_of(*pair) for pair in zip(NAMED, answer, strict=True))
        right = _weights(q, k, window)
        if weights.shape != right.shape:
            raise Wrong(f"the weights: expected shape (T, T) = {right.shape}, got {weights.shape}")
        if not np.isfinite(weights).all():
            raise Wrong("some weights are not finite: subtract the largest score of a row first")
        if not np.allclose(weights, right, atol=1e-9):
            _explain_weights(weights, q, k, window)
        check_close(f"the weights for window={window}", weights, right)
        expected, transposed = right @ v, right.T @ v
        close = [
            context.shape == v.shape and np.allclose(context, a) for a in (expected, transposed)
        ]
        if close == [False, True]:
            raise Wrong("a context is a sum over the steps that are read, p @ v, not p.T @ v")
        check_close(f"the contexts for window={window}", context, expected)
    return (
        "with window=1 a step sees itself alone, and the context is its own value. `SelfAttention` "
        "does not compute the scores outside of the window, so a step costs the same however long "
        "the sequence is."
    )


NAMED = ("the contexts", "the weights")


def _explain_weights(weights: Array, q: Array, k: Array, window: int) -> None:
    """Raise `Wrong` with an explanation if the weights show a common mistake."""
    T, A = q.shape
    t = np.arange(T)
    causal = t <= t[:, None]
    seen = causal & (t > t[:, None] - window)
    scores = q @ k.T / np.sqrt(A)
    if np.any(np.triu(weights, 1) != 0):
        if np.allclose(weights, _softmax(np.where(seen, scores, 0.0))):
            raise Wrong(
                "a score of 0 is no exclusion, because exp(0) is 1; use -inf, or set the "
                "exponentials to 0"
            )
        raise Wrong("later steps have a weight: step t may read the steps up to t only")
    mistakes = {
        "a window of W steps has the current step and W - 1 before it; yours has one step more": (
            _weights(q, k, window + 1)
        ),
        "the window is missing: all earlier steps have a weight": _weights(q, k, T),
        "the scores are not divided by the square root of A": _weights(q, k, window, power=0.0),
        "the scores are divided by A; divide them by its square root": (
            _weights(q, k, window, power=1.0)
        ),
        "the rows do not have the sum 1: exclude steps before the softmax, not after it": (
            _softmax(scores) * seen
        ),
        "queries and keys are exchanged: row t belongs to the query of step t": (
            _weights(k, q, window)
        ),
    }
    for message, wrong in mistakes.items():
        if np.allclose(weights, wrong, atol=1e-9):
            raise Wrong(message)
    with np.errstate(invalid="ignore"):
        columns = _softmax(np.where(seen, scores, -np.inf), axis=0)
    if np.allclose(weights, columns, atol=1e-9):
        raise Wrong("the softmax is over the queries; compute it over the steps that are read")


@exercise(3)
def step(function: Callable[[Array, Array, Array, Array, int], tuple[Array, Array]]) -> str:
    """Check single steps of a causal convolution against the whole sequence."""
    rng = np.random.default_rng(3)
    for J, d, H, inputs in ((2, 1, 3, 2), (3, 1, 2, 2), (3, 4, 2, 3), (1, 1, 2, 2)):
        W, b = rng.normal(size=(J, H, inputs)), rng.normal(size=H)
        x = rng.normal(size=(3 * (J - 1) * d + 4, inputs))
        past = np.zeros(((J - 1) * d, inputs))
        for t, x_t in enumerate(x):
            argument = past.copy()
            answer = answer_of(function, x_t.copy(), argument, W.copy(), b.copy(), d)
            if not isinstance(answer, tuple | list) or len(answer) != 2:
                raise Wrong("expected two arrays, the output and the past for the next step")
            if not np.array_equal(argument, past):
                raise Wrong("your function changes past; it must return a new array")
            read = np.concatenate([past, x_t[None]])  # ((J - 1) d + 1, I)
            right = b + sum(W[j] @ read[j * d] for j in range(J))
            output, new = array_of("the output", answer[0]), array_of("the past", answer[1])
            case = f"{J} taps, d={d}, step {t + 1}"
            if output.shape == right.shape and not np.allclose(output, right):
                _explain_output(case, output, read, W, b, d)
            check_close(f"{case}: the output", output, right)
            if new.shape == past.shape and not np.allclose(new, read[1:]):
                _explain_past(case, new, read)
            check_close(f"{case}: the past", new, read[1:])
            past = read[1:]
    return (
        "a step costs J products, however many steps there were. Moving all of past by one place "
        "costs (J - 1) d copies; a stream of crnn keeps a ring and overwrites the oldest input."
    )


def _explain_output(case: str, output: Array, read: Array, W: Array, b: Array, d: int) -> None:
    """Raise `Wrong` with an explanation if the output shows a common mistake."""
    J = len(W)
    mistakes = {
        "the taps are in reverse order: W[0] belongs to the oldest input": (
            b + sum(W[J - 1 - j] @ read[j * d] for j in range(J))
        ),
        "the dilation is missing: the inputs are d steps apart": (
            b + sum(W[j] @ read[len(read) - J + j] for j in range(J))
        ),
        "the bias is missing": sum(W[j] @ read[j * d] for j in range(J)),
        "the current input is missing": b + sum(W[j] @ read[j * d] for j in range(J - 1)),
    }
    for message, wrong in mistakes.items():
        if np.allclose(output, wrong):
            raise Wrong(f"{case}: {message}")


def _explain_past(case: str, new: Array, read: Array) -> None:
    """Raise `Wrong` with an explanation if the new past shows a common mistake."""
    mistakes = {
        "the past has not moved: it must contain the input of this step": read[:-1],
        "the newest input must be last in past": np.concatenate([read[-1:], read[:-2]]),
    }
    for message, wrong in mistakes.items():
        if np.allclose(new, wrong):
            raise Wrong(f"{case}: {message}")
