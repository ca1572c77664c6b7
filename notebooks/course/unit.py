"""Checks of notebook 1: a unit with memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import crnn
from course.exercises import Wrong, answer_of, array_of, check_close, exercise

Array = NDArray[Any]


class _Counted:
    """A layer that records how many steps each call reads."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self.calls: list[int] = []

    def __call__(self, x: Any, state: Any = None, **options: Any) -> tuple[Any, Any]:
        self.calls.append(np.shape(x)[1])
        y, state = self._layer(x, state, **options)
        return y, state


@exercise(1)
def in_two_pieces(function: Callable[..., Any]) -> str:
    """Check that two calls give the same y as one call."""
    rng = np.random.default_rng(1)
    for layer in (
        crnn.RNN(3, 4, dtype="float64", seed=1),
        crnn.LSTM(3, 4, dtype="float64", seed=2),
    ):
        for T, cut in ((6, 4), (6, 1), (5, 3)):
            x = rng.normal(size=(2, T, 3))
            counted = _Counted(layer)
            y = answer_of(function, counted, x, cut)
            if isinstance(y, tuple):
                raise Wrong("your function returns several values; return y (B, T, H) only")
            if counted.calls != [cut, T - cut]:
                raise Wrong(
                    f"for T = {T} and cut = {cut} your calls of the layer read {counted.calls} "
                    f"steps, expected {[cut, T - cut]}"
                )
            whole, _ = layer(x)
            without_state, _ = layer(x[:, cut:])
            if isinstance(y, list) and [np.shape(piece) for piece in y] == [
                whole[:, :cut].shape,
                whole[:, cut:].shape,
            ]:
                raise Wrong("your function returns two arrays; concatenate them to one (B, T, H)")
            y = array_of("y", y)
            if y.shape == whole.shape and np.array_equal(y[:, cut:], without_state):
                raise Wrong(
                    "the second call starts from a state of zeros; it must start from the state "
                    "after the first call"
                )
            check_close("y", y, whole)
    return (
        "the state contains all that the network keeps from the past. If you store the state, you "
        "can continue at any time. The same code works for the LSTM, whose state is a pair (h, c)."
    )


def _states(W_x: Array, W_h: Array, b: Array, x: Array) -> Array:
    """Return the states (T + 1, H) of one row x (T, I); the first one is h_0."""
    states = [np.zeros(len(b))]
    for step in x:
        states.append(np.tanh(W_x @ step + W_h @ states[-1] + b))
    return np.array(states)


@exercise(2)
def last_states(function: Callable[..., Any]) -> str:
    """Check the state of each row after its last valid step."""
    rng = np.random.default_rng(2)
    B, T, I, H = 4, 6, 2, 3
    W_x, W_h, b = (rng.normal(size=shape) for shape in ((H, I), (H, H), (H,)))
    x, lengths = rng.normal(size=(B, T, I)), np.array([6, 3, 1, 0])
    right = np.array([_states(W_x, W_h, b, x[k])[lengths[k]] for k in range(B)])
    answer = array_of("the last states", answer_of(function, W_x, W_h, b, x.copy(), lengths.copy()))
    if answer.shape == (B, H) and answer.dtype.kind in "biuf" and not np.allclose(answer, right):
        _explain(answer, W_x, W_h, b, x, lengths)
    check_close("the last states", answer, right)

    with_nan = x.copy()
    for row, length in enumerate(lengths):
        with_nan[row, length:] = np.nan
    again = np.asarray(answer_of(function, W_x, W_h, b, with_nan, lengths.copy()))
    if not np.isfinite(again).all():
        raise Wrong(
            "the states are right if the padding contains numbers, but with nan in the padding "
            "some states are nan. Note that 0 times nan is nan"
        )
    check_close("the last states, with nan in the padding", again, right)

    order = np.array([2, 0, 3, 1])
    swapped = answer_of(function, W_x, W_h, b, x[order], lengths[order])
    check_close("the last states, with the rows in another order", swapped, right[order])
    return (
        "a row keeps its state after its last step, while longer rows continue; a row of length 0 "
        "keeps its initial state of zeros. `lengths` has this effect in every layer of crnn."
    )


def _explain(answer: Array, W_x: Array, W_h: Array, b: Array, x: Array, lengths: Array) -> None:
    """Raise `Wrong` with an explanation if the answer shows a common mistake."""

    def same(states: list[Array]) -> bool:
        """Return whether the answer has these states."""
        return np.allclose(answer, np.array(states))

    rows = range(len(x))
    if same([_states(W_x, W_h, b, x[k])[-1] for k in rows]):
        raise Wrong("these are the states after all T steps; your function must use `lengths`")
    if same([_states(W_x, W_h, b, x[k])[max(lengths[k] - 1, 0)] for k in rows]):
        raise Wrong("these are the states one step before the last step of each row")
    if same([_states(W_x, W_h, b, x[k])[min(lengths[k] + 1, x.shape[1])] for k in rows]):
        raise Wrong(
            "each row that ends before T reads one step too many. Which t are the valid steps of a "
            "row, when t counts from 0?"
        )
    if same([_states(W_x, W_h, b, x[k])[lengths[k] or -1] for k in rows]):
        raise Wrong(
            "all rows are right, except the row of length 0. Which item of the list of states does "
            "the index -1 select?"
        )
    if same([_states(W_x, W_h, b, x[k])[max(lengths[k], 1)] for k in rows]):
        raise Wrong("all rows are right, except the row of length 0, which must read no step")
    if same([_states(W_x, W_h, 0 * b, x[k])[lengths[k]] for k in rows]):
        raise Wrong("the sum does not include the bias b")
    if same([_states(W_x, W_h.T, b, x[k])[lengths[k]] for k in rows]):
        raise Wrong("W_h is transposed: unit i of the new state uses W_h[i]")
    zeroed = [x[k] * (np.arange(x.shape[1]) < lengths[k])[:, None] for k in rows]
    if same([_states(W_x, W_h, b, zeroed[k])[-1] for k in rows]):
        raise Wrong(
            "your function reads zeros after the end of a row. This is a step, too: it changes the "
            "state"
        )


@exercise(3)
def switch(answer: Any) -> str:
    """Check a unit that keeps its sign until a command changes it."""
    try:
        w_x, w_h, b = (float(number) for number in answer)
    except (TypeError, ValueError):
        raise Wrong(f"expected three numbers (w_x, w_h, b), got {answer!r:.60}") from None
    if not np.isfinite([w_x, w_h, b]).all():
        raise Wrong(f"expected finite numbers, got {answer!r:.60}")
    wait = 500  # steps without a command
    for word, command in (("on", 1.0), ("off", -1.0)):
        trace = _run(w_x, w_h, b, [command, *[0.0] * wait])
        if trace[0] * command < 0.8:
            raise Wrong(
                f'the command "{word}" changes h from 0 to {trace[0]:+.3f}, expected '
                f"{'above 0.8' if command > 0 else 'below -0.8'}"
            )
        late = np.flatnonzero(trace * command < 0.8)
        if late.size:
            raise Wrong(
                f'after "{word}" and {late[0]} times "stay", h is {trace[late[0]]:+.3f}, and '
                f'after {wait} times "stay" {trace[-1]:+.3f}: h does not stay far enough from 0'
            )
        back = _run(w_x, w_h, b, [command, *[0.0] * wait, -command])
        if back[-1] * -command < 0.8:
            fault = (
                "h changes its sign, but it is not far enough from 0"
                if back[-1] * command < 0
                else "the unit keeps its state, but the command does not change the sign of h"
            )
            raise Wrong(
                f'after "{word}" and {wait} times "stay", the opposite command changes h to '
                f"{back[-1]:+.3f}: {fault}"
            )
    rng = np.random.default_rng(3)
    commands = rng.choice([-1.0, 0.0, 1.0], size=3000, p=[0.1, 0.8, 0.1])
    commands[0] = 1.0
    sign = 1.0
    for t, h in enumerate(_run(w_x, w_h, b, commands)):
        sign = commands[t] or sign
        if h * sign < 0.8:
            raise Wrong(f"in a long random sequence of commands h is {h:+.3f} at step {t + 1}")
    return (
        "with w_h above 1 the unit has two stable states. w_x must be large enough to change the "
        "sign of h in one step: with b = 0, w_x must be larger than w_h |h| + 1.1, because "
        "tanh(1.1) is 0.8. So w_h may be large if w_x is even larger. An LSTM is better, because "
        "its gates separate keeping a state from reading an input; here one sum does both."
    )


def _run(w_x: float, w_h: float, b: float, xs: Any) -> Array:
    """Return the states of one unit, from h = 0."""
    h, states = 0.0, []
    for x in xs:
        h = float(np.tanh(w_x * x + w_h * h + b))
        states.append(h)
    return np.array(states)
