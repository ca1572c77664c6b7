"""Checks of notebook 10: memory without training."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.exercises import Wrong, answer_of, array_of, check_close, exercise


def _states(
    x: np.ndarray,
    W_x: np.ndarray,
    W_h: np.ndarray,
    b: np.ndarray,
    leak: np.ndarray,
    *,
    swapped: bool = False,
    inside: bool = False,
    without: bool = False,
) -> np.ndarray:
    """Return the states (T, H) of a leaky reservoir; the options make common mistakes."""
    h, found = np.zeros(len(W_h)), []
    for x_t in x:
        sums = W_x @ x_t + W_h @ h + b
        if inside:  # the leak is applied to the sums
            h = np.tanh((1 - leak) * h + leak * sums)
        elif swapped:
            h = leak * h + (1 - leak) * np.tanh(sums)
        elif without:
            h = np.tanh(sums)
        else:
            h = (1 - leak) * h + leak * np.tanh(sums)
        found.append(h)
    return np.array(found)


@exercise(1)
def last_states(function: Callable[..., Any]) -> str:
    """Check the states of a leaky reservoir after the washout."""
    rng = np.random.default_rng(6)
    for H, inputs, steps, washout in ((5, 2, 30, 10), (3, 1, 12, 0)):
        x = rng.normal(size=(steps, inputs))
        W_x, W_h = rng.normal(size=(H, inputs)), 0.5 * rng.normal(size=(H, H))
        b, leak = 0.3 * rng.normal(size=H), rng.uniform(0.1, 0.9, H)
        arguments = x, W_x, W_h, b, leak
        copies = [array.copy() for array in arguments]
        answer = array_of("the states", answer_of(function, *copies, washout))
        if any(not np.array_equal(*pair) for pair in zip(arguments, copies, strict=True)):
            raise Wrong("your function changes its arguments")
        right = _states(*arguments)
        _explain_washout(answer, right, washout)
        mistakes: dict[str, dict[str, bool]] = {
            "a and 1 - a are exchanged: the old state has the factor 1 - a": {"swapped": True},
            "the leak is inside tanh; it mixes the old state with the value of tanh": {
                "inside": True
            },
            "these are the states without a leak": {"without": True},
        }
        for message, options in mistakes.items():
            if np.allclose(answer, _states(*arguments, **options)[washout:]):
                raise Wrong(message)
        check_close(f"the states for washout={washout}", answer, right[washout:])
    return (
        "the washout is a cut at the end of the computation: the first steps must be computed, "
        "because the later states depend on them."
    )


def _explain_washout(answer: np.ndarray, right: np.ndarray, washout: int) -> None:
    """Raise `Wrong` with an explanation if the number of steps is wrong."""
    wanted = (len(right) - washout, right.shape[1])
    if answer.shape == right.shape != wanted:
        raise Wrong(f"your answer has all {len(right)} steps; leave out the first {washout}")
    if answer.shape == (len(right) - washout + 1, right.shape[1]):
        raise Wrong("one step too many: the zero state at the beginning is no state of a step")
    if answer.shape == wanted[::-1] != wanted:
        raise Wrong(f"expected shape (T - washout, H) = {wanted}; yours is transposed")
    if washout and answer.shape == wanted and np.allclose(answer, right[:-washout]):
        raise Wrong("your answer leaves out the last steps; leave out the first ones")


def _solution(Z: np.ndarray, Y: np.ndarray, alpha: float) -> np.ndarray:
    """Return the weights (H, K) of ridge regression without a bias."""
    return np.linalg.solve(Z.T @ Z + alpha * np.eye(Z.shape[1]), Z.T @ Y)


@exercise(2)
def ridge(function: Callable[..., Any]) -> str:
    """Check the weights of ridge regression whose bias is not penalised."""
    rng = np.random.default_rng(7)
    for alpha in (3.0, 50.0):
        Z = rng.normal(1.0, 1.0, size=(40, 4))
        Y = Z @ rng.normal(size=(4, 2)) + np.array([5.0, -3.0]) + 0.1 * rng.normal(size=(40, 2))
        answer = answer_of(function, Z.copy(), Y.copy(), alpha)
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise Wrong("expected two arrays, W and c")
        W, c = array_of("W", answer[0]), array_of("c", answer[1])
        mean_z, mean_y = Z.mean(axis=0), Y.mean(axis=0)
        right = _solution(Z - mean_z, Y - mean_y, alpha).T
        if W.shape == right.T.shape:
            raise Wrong(f"W: expected shape (K, H) = {right.shape}, got {W.shape}: transpose it")
        if c.ndim == 2 and c.size == 2:
            raise Wrong(f"c: expected shape (K,) = (2,), got {c.shape}")
        with_one = _solution(np.column_stack([Z, np.ones(len(Z))]), Y, alpha).T
        mistakes = {
            "the bias is penalised: do not add alpha to its entry of the diagonal, or subtract the "
            "means first": (with_one[:, :-1], with_one[:, -1]),
            "there is no bias: without it the weights must also fit the mean": (
                _solution(Z, Y, alpha).T,
                None,
            ),
            "alpha is multiplied by the number of steps; the penalty here is absolute": (
                _solution(Z - mean_z, Y - mean_y, alpha * len(Z)).T,
                None,
            ),
            "the penalty is missing": (_solution(Z - mean_z, Y - mean_y, 0.0).T, None),
            "W is right; c must also take away W times the mean of Z": (right, mean_y),
        }
        for message, (wrong, bias) in mistakes.items():
            if _close(W, wrong) and (bias is None or _close(c, bias)):
                raise Wrong(message)
        check_close(f"W for alpha={alpha}", W, right, 1e-7)
        check_close(f"c for alpha={alpha}", c, mean_y - right @ mean_z, 1e-7)
    return (
        "with this bias the mean error over the steps is 0 for every alpha, so adding a constant "
        "to the targets changes c alone."
    )


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two arrays have the same shape and nearly the same numbers."""
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-7, atol=1e-9)


def _loop(
    network: dict[str, np.ndarray],
    prime: np.ndarray,
    steps: int,
    *,
    twice: bool = False,
    forgets: bool = False,
    cold: bool = False,
    bias: bool = True,
) -> np.ndarray:
    """Return the free run (steps,) after a prime; the options make common mistakes."""
    W_x, W_h, b, W = (network[name] for name in ("W_x", "W_h", "b", "W"))
    c = network["c"] if bias else 0 * network["c"]

    def step(value: float, h: np.ndarray) -> np.ndarray:
        return np.asarray(np.tanh(W_x[:, 0] * value + W_h @ h + b))

    h = np.zeros(len(W_h))
    for value in prime if not cold else prime[-1:]:
        h = step(float(value), h)
    y = float(prime[-1]) if twice else float((W @ h + c)[0])
    found = [] if twice else [y]
    while len(found) < steps:
        h = step(y, np.zeros(len(W_h)) if forgets else h)
        y = float((W @ h + c)[0])
        found.append(y)
    return np.array(found)


@exercise(3)
def run_loop(function: Callable[..., Any]) -> str:
    """Check predictions of a network that reads its own output."""
    rng = np.random.default_rng(8)
    mistakes: dict[str, dict[str, bool]] = {
        "the last value of the prime is read twice: the first prediction follows from the state "
        "after the prime": {"twice": True},
        "the state is zero again at each step of the free run": {"forgets": True},
        "only the last value of the prime is read: read all of them, so that the state knows the "
        "past": {"cold": True},
        "the bias c of the readout is missing": {"bias": False},
    }
    for H, length, steps in ((6, 10, 8), (4, 3, 5)):
        network = {
            "W_x": rng.normal(size=(H, 1)),
            "W_h": 0.6 * rng.normal(size=(H, H)),
            "b": 0.3 * rng.normal(size=H),
            "W": rng.normal(size=(1, H)),
            "c": np.array([0.2]),
        }
        prime = rng.normal(size=length)
        copies = {name: array.copy() for name, array in network.items()}
        answer = array_of("the predictions", answer_of(function, copies, prime.copy(), steps))
        right = _loop(network, prime, steps)
        if answer.shape == (steps + length,):
            raise Wrong("return the predictions alone, without the prime")
        if answer.ndim > 1 and answer.size == steps:
            raise Wrong(f"expected shape (steps,) = ({steps},), got {answer.shape}")
        if answer.shape == right.shape:
            if np.allclose(answer, _loop(network, prime, steps + 1)[1:]):
                raise Wrong("the first prediction, which follows the prime, is missing")
            for message, options in mistakes.items():
                if np.allclose(answer, _loop(network, prime, steps, **options)):
                    raise Wrong(message)
        check_close("the predictions", answer, right)
    return (
        "the loop has no input of its own any more. With a good readout it is a model of the "
        "system that made the series."
    )
