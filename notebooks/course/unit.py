"""Checks of notebook 1, a unit with memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import crnn
from course.exercises import Wrong, answer_of, array_of, check_close, exercise

Array = NDArray[Any]


class _Counted:
    """A layer that writes down what it was called with."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self.calls: list[int] = []
        self.given_state: list[bool] = []

    def __call__(self, x: Any, state: Any = None, **options: Any) -> tuple[Any, Any]:
        self.calls.append(np.shape(x)[1])
        self.given_state.append(state is not None)
        y, state = self._layer(x, state, **options)
        return y, state


@exercise(1)
def in_two_pieces(function: Callable[..., Any]) -> str:
    """Check that reading in two pieces gives the y of one call."""
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
                raise Wrong("it returns several values; only y, (B, T, H), was asked for")
            if counted.calls != [cut, T - cut]:
                raise Wrong(
                    f"for T = {T} and cut = {cut} the layer was called on {counted.calls} steps, "
                    f"not on {[cut, T - cut]}"
                )
            whole, _ = layer(x)
            forgetful, _ = layer(x[:, cut:])
            if isinstance(y, list) and [np.shape(piece) for piece in y] == [
                whole[:, :cut].shape,
                whole[:, cut:].shape,
            ]:
                raise Wrong("it returns a list of the two pieces, not one array (B, T, H)")
            y = array_of("y", y)
            if y.shape == whole.shape and np.array_equal(y[:, cut:], forgetful):
                raise Wrong(
                    "the second piece begins from zeros, as if there had been nothing before it"
                )
            check_close("y", y, whole)
    return (
        "the state is all that the network knows of the past, so whoever keeps it can go on at any "
        "time. It works for the LSTM as well, whose state is a pair: you never had to look inside."
    )


def _states(W_x: Array, W_h: Array, b: Array, x: Array) -> Array:
    """All states of one row x (T, I), with h_0 in front: (T + 1, H)."""
    states = [np.zeros(len(b))]
    for step in x:
        states.append(np.tanh(W_x @ step + W_h @ states[-1] + b))
    return np.array(states)


@exercise(2)
def last_states(function: Callable[..., Any]) -> str:
    """Check the state of each row after its own last step."""
    rng = np.random.default_rng(2)
    B, T, I, H = 4, 6, 2, 3
    W_x, W_h, b = (rng.normal(size=shape) for shape in ((H, I), (H, H), (H,)))
    x, lengths = rng.normal(size=(B, T, I)), np.array([6, 3, 1, 0])
    right = np.array([_states(W_x, W_h, b, x[k])[lengths[k]] for k in range(B)])
    found = array_of("the last states", answer_of(function, W_x, W_h, b, x.copy(), lengths.copy()))
    if found.shape == (B, H) and found.dtype.kind in "biuf" and not np.allclose(found, right):
        _diagnose(found, W_x, W_h, b, x, lengths)
    check_close("the last states", found, right)

    spoilt = x.copy()
    for row, length in enumerate(lengths):
        spoilt[row, length:] = np.nan
    again = np.asarray(answer_of(function, W_x, W_h, b, spoilt, lengths.copy()))
    if not np.isfinite(again).all():
        raise Wrong(
            "right where the padding is numbers; with nan in the padding some states are nan. "
            "Remember that 0 times nan is nan"
        )
    check_close("the last states, with nan in the padding", again, right)

    order = np.array([2, 0, 3, 1])
    swapped = answer_of(function, W_x, W_h, b, x[order], lengths[order])
    check_close("the last states, with the rows in another order", swapped, right[order])
    return (
        "a row that has ended keeps its state while the others go on, and a row of length 0 hands "
        "the zeros through. This is what `lengths` does in every layer of crnn."
    )


def _diagnose(found: Array, W_x: Array, W_h: Array, b: Array, x: Array, lengths: Array) -> None:
    """Raise `Wrong` where a usual mistake explains the numbers."""

    def like(states: list[Array]) -> bool:
        return np.allclose(found, np.array(states))

    rows = range(len(x))
    if like([_states(W_x, W_h, b, x[k])[-1] for k in rows]):
        raise Wrong("these are the states after all T steps: the rows' ends were not looked at")
    if like([_states(W_x, W_h, b, x[k])[max(lengths[k] - 1, 0)] for k in rows]):
        raise Wrong("these are the states one step before each row's last one")
    if like([_states(W_x, W_h, b, x[k])[min(lengths[k] + 1, x.shape[1])] for k in rows]):
        raise Wrong(
            "each row that ends before T has read one step too many. Which t are those of its own "
            "steps, when t counts from 0?"
        )
    if like([_states(W_x, W_h, b, x[k])[lengths[k] or -1] for k in rows]):
        raise Wrong(
            "all rows are right but the one of length 0. Of a list of the states after each step, "
            "what does index -1 give?"
        )
    if like([_states(W_x, W_h, b, x[k])[max(lengths[k], 1)] for k in rows]):
        raise Wrong("all rows are right but the one of length 0, which has read nothing")
    if like([_states(W_x, W_h, 0 * b, x[k])[lengths[k]] for k in rows]):
        raise Wrong("the bias is missing in the sum")
    if like([_states(W_x, W_h.T, b, x[k])[lengths[k]] for k in rows]):
        raise Wrong("W_h is used transposed: a row of it belongs to the unit that reads")
    zeroed = [x[k] * (np.arange(x.shape[1]) < lengths[k])[:, None] for k in rows]
    if like([_states(W_x, W_h, b, zeroed[k])[-1] for k in rows]):
        raise Wrong(
            "past a row's end zeros are read, but reading a zero is a step too: the state goes on "
            "changing"
        )


@exercise(3)
def switch(answer: Any) -> str:
    """Check a unit that stays where it was put, and can be put anywhere."""
    try:
        w_x, w_h, b = (float(number) for number in answer)
    except (TypeError, ValueError):
        raise Wrong(f"expected three numbers (w_x, w_h, b), got {answer!r:.60}") from None
    if not np.isfinite([w_x, w_h, b]).all():
        raise Wrong("expected finite numbers")
    wait = 500
    for word, command in (("on", 1.0), ("off", -1.0)):
        trace = _run(w_x, w_h, b, [command, *[0.0] * wait])
        if trace[0] * command < 0.8:
            raise Wrong(f'the first "{word}" leaves h at {trace[0]:+.3f}, from h = 0')
        late = np.flatnonzero(trace * command < 0.8)
        if late.size:
            raise Wrong(
                f'after an "{word}", "stay" number {late[0]} leaves h at {trace[late[0]]:+.3f}, '
                f"and number {wait} at {trace[-1]:+.3f}: it does not stay far enough from 0"
            )
        back = _run(w_x, w_h, b, [command, *[0.0] * wait, -command])
        if back[-1] * -command < 0.8:
            turns = "does not turn far enough" if back[-1] * command < 0 else "does not turn"
            raise Wrong(
                f'after an "{word}" and {wait} steps of "stay" the opposite command leaves h at '
                f"{back[-1]:+.3f}: it holds, but {turns} in one step"
            )
    rng = np.random.default_rng(3)
    commands = rng.choice([-1.0, 0.0, 1.0], size=3000, p=[0.1, 0.8, 0.1])
    commands[0] = 1.0
    wanted = 1.0
    for t, h in enumerate(_run(w_x, w_h, b, commands)):
        wanted = commands[t] or wanted
        if h * wanted < 0.8:
            raise Wrong(f"in a long random series of commands h is {h:+.3f} at step {t + 1}")
    return (
        "w_h above 1 gives two places to rest, and w_x is large enough to push the state from one "
        "over the middle to the other in one step: with b = 0 it has to beat w_h h by 1.1, since "
        "tanh(1.1) is 0.8. So w_h may be large, if w_x is larger still. The gates of an LSTM do "
        "better, since there holding and listening do not have to share one sum."
    )


def _run(w_x: float, w_h: float, b: float, xs: Any) -> Array:
    """The states of one unit."""
    h, states = 0.0, []
    for x in xs:
        h = float(np.tanh(w_x * x + w_h * h + b))
        states.append(h)
    return np.array(states)
