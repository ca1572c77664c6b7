"""Checks of notebook 2, backpropagation through time."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.exercises import Wrong, answer_of, array_of, check_close, exercise

Array = NDArray[Any]


def _same(found: Array, array: Array) -> bool:
    return (
        found.shape == array.shape
        and found.dtype.kind in "biuf"
        and np.allclose(found, array, rtol=1e-9, atol=1e-12)
    )


@exercise(1)
def back_one_step(function: Callable[..., Any]) -> str:
    """Check one step back through a relu."""
    rng = np.random.default_rng(1)
    K, H = 3, 5
    for last in (False, True):
        V, W_h = rng.normal(size=(K, H)), rng.normal(size=(H, H))
        h = np.array([0.0, 0.7, 0.0, 2.5, 0.3])
        do, ds_next = rng.normal(size=K), rng.normal(size=H) * (not last)
        answer = answer_of(function, V, W_h, h.copy(), do.copy(), ds_next.copy())
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise Wrong("expected two arrays, dh_t and ds_t")
        dh, ds = array_of("dh", answer[0]), array_of("ds", answer[1])
        up, right = V.T @ do, W_h.T @ ds_next
        if not last:
            usual = {
                "dh: what comes back from the next step is missing": up,
                "dh: what comes down from the output is missing": right,
                "dh: h goes forward through W_h, so its gradient comes back through the "
                "transpose of it": up + W_h @ ds_next,
            }
            for message, wrong in usual.items():
                if _same(dh, wrong):
                    raise Wrong(message)
        check_close("dh", dh, up + right)
        if _same(ds, (up + right) * (1 - h**2)):
            raise Wrong("ds: 1 - h² is the slope of the tanh, and here h = max(s, 0)")
        if _same(ds, (up + right) * h):
            raise Wrong("ds: h is the value of the relu, not its slope")
        if _same(ds, up + right):
            raise Wrong("ds: nothing comes back through a unit that is at rest, h = 0")
        check_close("ds", ds, (up + right) * (h > 0))
    return (
        "a relu hands the gradient through whole, or not at all. So it never shrinks it by its "
        "slope, as the tanh does, and nothing but W_h decides whether it grows."
    )


@exercise(2)
def long_jacobian(function: Callable[..., Any]) -> str:
    """Check the derivative of the last state by that of step k."""
    rng = np.random.default_rng(2)
    T, H = 6, 4
    W_h = rng.normal(size=(H, H))
    inputs, h = rng.normal(size=(T + 1, H)), np.zeros((T + 1, H))
    for t in range(1, T + 1):
        h[t] = np.tanh(inputs[t] + W_h @ h[t - 1])

    def one(j: int) -> Array:
        return (1 - h[j] ** 2)[:, None] * W_h

    def product(first: int, last: int, *, backwards: bool = False) -> Array:
        """The Jacobians of first ... last, the later ones on the left."""
        whole = np.eye(H)
        for j in range(first, last + 1):
            whole = whole @ one(j) if backwards else one(j) @ whole
        return whole

    for k in (T - 1, 2, 0, T):
        right = product(k + 1, T)
        found = array_of(f"for k = {k}", answer_of(function, W_h.copy(), h.copy(), k))
        if k == T - 1 and _same(found, W_h * (1 - h[T] ** 2)):
            raise Wrong(
                "one step: 1 - h² belongs to the unit that is written, a row of W_h, not a column"
            )
        if k < T - 1 and _same(found, product(k + 1, T, backwards=True)):
            raise Wrong(
                f"for k = {k} the factors are the right ones in the wrong order: the change at "
                "step k is multiplied first by the Jacobian of the step that comes next"
            )
        if k > 0 and _same(found, product(k, T)):
            raise Wrong(f"for k = {k} there is a factor too many: how does h_k depend on h_k?")
        if k < T and _same(found, product(k + 1, T - 1)):
            raise Wrong(f"for k = {k} the factor of the last step is missing")
        if k < T and _same(found, right.T):
            raise Wrong(f"for k = {k} this is the transpose: entry [i, j] is unit i by unit j")
        if k < T and _same(found, np.linalg.matrix_power(W_h, T - k)):
            raise Wrong("these are the powers of W_h alone; the slopes of the tanh are missing")
        check_close(f"for k = {k}", found, right)
    return (
        "T - k factors, the later ones on the left, none at all for k = T. Whether such a product "
        "shrinks or grows is what `crnn.diagnostics.state_jacobians` measures, for any cell."
    )


@exercise(3)
def smallest_k2(function: Callable[..., Any]) -> str:
    """Check the smallest k2 for some questions and for all."""
    for lag, k1 in ((12, 4), (12, 1), (3, 10), (7, 7), (1, 3)):
        answer = answer_of(function, lag, k1)
        try:
            some, every = (int(number) for number in answer)
        except (TypeError, ValueError):
            raise Wrong(f"expected two numbers, got {answer!r:.60}") from None
        for word, found, needed in (
            ("some", some, _needed(lag, k1, 1)),
            ("all", every, _needed(lag, k1, k1)),
        ):
            if found != needed:
                reach = _reached(lag, k1, found)
                raise Wrong(
                    f"lag {lag}, k1 = {k1}: you say {found} for {word}; with k2 = {found} the "
                    f"questions of {reach} of the {k1} places in a window reach back"
                    + (f", but so they do with less than {found}" if found > needed else "")
                )
    return (
        "the loss's own step counts, and so do the steps behind it in its window. This is why "
        "k2 = k1 serves tasks with a memory badly: only the last loss of a window sees so far."
    )


def _reached(lag: int, k1: int, k2: int) -> int:
    """From how many of the k1 places of a window a walk back of k2 steps comes lag steps back."""
    end = (lag // k1 + 2) * k1  # a window far enough from the beginning
    return sum(t - lag > end - k2 for t in range(end - k1 + 1, end + 1))


def _needed(lag: int, k1: int, places: int) -> int:
    """The smallest k2 with which so many places reach back."""
    k2 = 1
    while _reached(lag, k1, k2) < places:
        k2 += 1
    return k2
