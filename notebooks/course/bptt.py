"""Checks of notebook 2: backpropagation through time."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.exercises import Wrong, answer_of, array_of, check_close, exercise

Array = NDArray[Any]


def _same(answer: Array, array: Array) -> bool:
    """Return whether an answer has the shape and the numbers of an array."""
    return (
        answer.shape == array.shape
        and answer.dtype.kind in "biuf"
        and np.allclose(answer, array, rtol=1e-9, atol=1e-12)
    )


@exercise(1)
def back_one_step(function: Callable[..., Any]) -> str:
    """Check one step of the backward pass with a relu."""
    rng = np.random.default_rng(1)
    K, H = 3, 5
    for last in (False, True):
        V, W_h = rng.normal(size=(K, H)), rng.normal(size=(H, H))
        h = np.array([0.0, 0.7, 0.0, 2.5, 0.3])
        do, ds_next = rng.normal(size=K), rng.normal(size=H) * (not last)
        answer = answer_of(function, V, W_h, h.copy(), do.copy(), ds_next.copy())
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise Wrong("expected two arrays, (dh_t, ds_t)")
        dh, ds = array_of("dh", answer[0]), array_of("ds", answer[1])
        from_output, from_next = V.T @ do, W_h.T @ ds_next
        if not last:
            mistakes = {
                "dh: the term from the next step is missing": from_output,
                "dh: the term from the output is missing": from_next,
                "dh: the forward pass multiplies h by W_h, so the backward pass multiplies the "
                "gradient by the transpose of W_h": from_output + W_h @ ds_next,
            }
            for message, wrong in mistakes.items():
                if _same(dh, wrong):
                    raise Wrong(message)
        right = from_output + from_next
        check_close("dh", dh, right)
        if _same(ds, right * (1 - h**2)):
            raise Wrong("ds: 1 - h² is the slope of the tanh, but here h = max(s, 0)")
        if _same(ds, right * h):
            raise Wrong("ds: h is the value of the relu, not its slope")
        if _same(ds, right):
            raise Wrong("ds: where h = 0 the slope of the relu is 0, so the gradient is 0, too")
        check_close("ds", ds, right * (h > 0))
    return (
        "the slope of a relu is 1 where h > 0, and 0 elsewhere. So the relu does not make the "
        "gradient of an active unit smaller, as the tanh does: whether this gradient grows or "
        "shrinks depends on W_h alone."
    )


@exercise(2)
def long_jacobian(function: Callable[..., Any]) -> str:
    """Check the derivative of the last state with respect to the state of step k."""
    rng = np.random.default_rng(2)
    T, H = 6, 4
    W_h = rng.normal(size=(H, H))
    inputs, h = rng.normal(size=(T + 1, H)), np.zeros((T + 1, H))
    for t in range(1, T + 1):
        h[t] = np.tanh(inputs[t] + W_h @ h[t - 1])

    def jacobian(j: int) -> Array:
        """Return the Jacobian of step j."""
        return (1 - h[j] ** 2)[:, None] * W_h

    def product(first: int, last: int, *, backwards: bool = False) -> Array:
        """Return the product of the Jacobians of these steps, later ones on the left."""
        result = np.eye(H)
        for j in range(first, last + 1):
            result = result @ jacobian(j) if backwards else jacobian(j) @ result
        return result

    for k in (T - 1, 2, 0, T):
        right = product(k + 1, T)
        answer = array_of(f"for k = {k}", answer_of(function, W_h.copy(), h.copy(), k))
        if k == T - 1 and _same(answer, W_h * (1 - h[T] ** 2)):
            raise Wrong(
                "one step: the slope 1 - h² of a unit multiplies its row of W_h, not its column"
            )
        if k < T - 1 and _same(answer, product(k + 1, T, backwards=True)):
            raise Wrong(
                f"for k = {k} the factors are right, but their order is wrong: a change of h_k is "
                "first multiplied by the Jacobian of step k + 1"
            )
        if k > 0 and _same(answer, product(k, T)):
            raise Wrong(f"for k = {k} there is one factor too many: how does h_k depend on h_k?")
        if k < T and _same(answer, product(k + 1, T - 1)):
            raise Wrong(f"for k = {k} the factor of the last step is missing")
        if k < T and _same(answer, right.T):
            raise Wrong(f"for k = {k} this is the transpose: i is a unit of h_T, j a unit of h_k")
        if k < T and _same(answer, np.linalg.matrix_power(W_h, T - k)):
            raise Wrong("these are powers of W_h; the slopes of the tanh are missing")
        check_close(f"for k = {k}", answer, right)
    return (
        "the product has T - k factors, later ones on the left, and no factor for k = T. "
        "`crnn.diagnostics.state_jacobians` measures for any cell whether this product shrinks or "
        "grows."
    )


@exercise(3)
def smallest_k2(function: Callable[..., Any]) -> str:
    """Check the smallest k2 for some questions, and for all."""
    for lag, k1 in ((12, 4), (12, 1), (3, 10), (7, 7), (1, 3)):
        answer = answer_of(function, lag, k1)
        try:
            some, every = (int(number) for number in answer)
        except (TypeError, ValueError):
            raise Wrong(f"expected two numbers, got {answer!r:.60}") from None
        for word, k2, right in (
            ("some", some, _needed(lag, k1, 1)),
            ("all", every, _needed(lag, k1, k1)),
        ):
            if k2 != right:
                reached = _reached(lag, k1, k2)
                raise Wrong(
                    f"lag {lag}, k1 = {k1}: your answer for {word} is {k2}. With k2 = {k2} the "
                    f"gradient reaches back far enough from {reached} of {k1} places in a window"
                    + (", but a smaller k2 is enough for this" if k2 > right else "")
                )
    return (
        "the step of the loss counts, and so do the later steps of its window. This is why k2 = k1 "
        "is a bad choice for tasks that need memory: only the last loss of a window reaches back "
        "k2 steps."
    )


def _reached(lag: int, k1: int, k2: int) -> int:
    """Return from how many of the k1 places of a window the gradient reaches back lag steps."""
    end = (lag // k1 + 2) * k1  # the end of a window that the start of the row does not affect
    return sum(t - lag > end - k2 for t in range(end - k1 + 1, end + 1))


def _needed(lag: int, k1: int, places: int) -> int:
    """Return the smallest k2 with which the gradient reaches back from so many places."""
    k2 = 1
    while _reached(lag, k1, k2) < places:
        k2 += 1
    return k2
