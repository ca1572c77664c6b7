"""Checks of the notebook on gates."""

import numpy as np

import crnn
from course.exercises import Wrong, answer_of, array_of, check_close, exercise, number_of
from crnn.reference import sigmoid


def _count(gates, inputs, units):
    return gates * (units * inputs + units**2 + units)


@exercise(1)
def units_for(function):
    """`function(budget, gates, inputs)` gives the largest H."""
    cases = [(4000, 4, 2), (4000, 1, 2), (4000, 3, 50), (10**6, 4, 256), (20, 2, 3)]
    cases.append((_count(3, 7, 20), 3, 7))  # exactly spent
    for budget, gates, inputs in cases:
        found = number_of("H", answer_of(function, budget, gates, inputs))
        if not found.is_integer():
            raise Wrong(f"H is a whole number, got {found}")
        H, case = int(found), f"{budget} parameters, G = {gates} and I = {inputs}"
        if _count(gates, inputs, H) > budget:
            raise Wrong(
                f"with {case}, H = {H} is too many: that layer has "
                f"{_count(gates, inputs, H)} parameters. Are W_x, W_h and b all counted, of "
                "every gate?"
            )
        if _count(gates, inputs, H + 1) <= budget:
            raise Wrong(f"with {case}, H = {H} is not the largest: H = {H + 1} fits as well")
    return (
        "the square of H rules: an LSTM has about half as many units as an RNN with as many "
        "parameters."
    )


def _other_gru(W_x, W_h, b, x, h):
    """The GRU, reset before, in which z = 1 keeps the old state."""
    H, states = h.shape[1], []
    for t in range(x.shape[1]):
        a = x[:, t] @ W_x.T + b
        r = sigmoid(a[:, :H] + h @ W_h[:H].T)
        z = sigmoid(a[:, H : 2 * H] + h @ W_h[H : 2 * H].T)
        n = np.tanh(a[:, 2 * H :] + (r * h) @ W_h[2 * H :].T)
        h = z * h + (1 - z) * n
        states.append(h)
    return np.stack(states, axis=1)


@exercise(2)
def convert(function):
    """`function(W_x, W_h, b)` gives weights for a GRU whose z means the opposite."""
    rng = np.random.default_rng(0)
    for I, H in ((3, 4), (2, 3)):
        gru = crnn.GRU(I, H, reset="before", dtype="float64", seed=0)
        gru.params["b"][...] = rng.normal(size=3 * H)
        own = [gru.params[name].copy() for name in ("W_x", "W_h", "b")]
        given = [array.copy() for array in own]
        found = answer_of(function, *given)
        if not isinstance(found, (tuple, list)) or len(found) != 3:
            raise Wrong("expected three arrays: W_x, W_h and b")
        if any(not np.array_equal(one, other) for one, other in zip(own, given, strict=True)):
            raise Wrong("the arrays you were given have changed; return new ones")
        names = ("W_x", "W_h", "b")
        new = [array_of(name, array) for name, array in zip(names, found, strict=True)]
        for name, array, old in zip(names, new, own, strict=True):
            if array.shape != old.shape:
                raise Wrong(f"{name}: expected shape {old.shape}, got {array.shape}")
            for gate, rows in (("r", slice(0, H)), ("n", slice(2 * H, 3 * H))):
                if not np.allclose(array[rows], old[rows]):
                    raise Wrong(f"{name}: the rows of {gate} have changed, but {gate} is the same")
            if np.allclose(array[H : 2 * H], old[H : 2 * H]):
                raise Wrong(f"{name}: the rows of z are as they were, but z means the opposite")
        x, h = rng.normal(size=(2, 6, I)), rng.normal(size=(2, H))
        check_close("the states of the colleague's GRU", _other_gru(*new, x, h), gru(x, h)[0], 1e-9)
    return "1 - σ(s) = σ(-s). This is what converters between libraries do."


def _adding(rng, rows, steps):
    x, each = np.zeros((rows, steps, 2)), np.arange(rows)
    x[..., 0] = rng.random((rows, steps))
    x[each, rng.integers(0, steps // 2, rows), 1] = 1
    x[each, rng.integers(steps // 2, steps, rows), 1] = 1
    return x, (x[..., 0] * x[..., 1]).sum(axis=1)


@exercise(3)
def weights(function):
    """`function()` gives W_x, W_h, b and scale of a one-unit LSTM that adds what is marked."""
    found = answer_of(function)
    if not isinstance(found, (tuple, list)) or len(found) != 4:
        raise Wrong("expected W_x, W_h, b and scale")
    lstm = crnn.LSTM(2, 1, dtype="float64", seed=0)
    for name, value in zip(("W_x", "W_h", "b"), found, strict=False):
        array, shape = array_of(name, value), lstm.params[name].shape
        if array.shape != shape:
            raise Wrong(f"{name}: expected shape {shape}, got {array.shape}")
        lstm.params[name][...] = array
    scale = number_of("scale", found[3])
    for steps in (10, 100, 1000):
        x, answer = _adding(np.random.default_rng(steps), 50, steps)
        y, _, tape = lstm.forward(x)
        error = float(((scale * y[:, -1, 0] - answer) ** 2).mean())
        if not error < 1e-3:
            raise Wrong(f"T = {steps}: the mean squared error is {error:.3g}. {_hint(tape, x)}")
    return (
        "one unit is enough, for rows of any length. A network that has learnt the task does much "
        "the same, with many units."
    )


def _hint(tape, x):
    """Return what stands in the way, first things first."""
    marked = x[..., 1] > 0
    i, f, g, o = (tape.gates[name][..., 0] for name in "ifgo")
    if i[marked].mean() < 0.5:
        return f"At marked steps the input gate is {i[marked].mean():.2g}: nothing is written."
    if i[~marked].mean() > 1e-3 * i[marked].mean():
        return f"The input gate is {i[~marked].mean():.2g} at steps without a mark."
    left = f.prod(axis=1).mean()
    if left < 0.95:
        return f"Of what is written first, {left:.2g} is left at the end: look at the forget gate."
    if o[:, -1].mean() < 0.1:
        return f"At the last step the output gate is {o[:, -1].mean():.2g}: nothing is shown."
    if not np.corrcoef(g[marked], x[marked][:, 0])[0, 1] > 0.9:
        return "The candidate does not follow the number."
    if np.abs(g[marked]).max() > 0.3 or np.abs(tape.c).max() > 0.3:
        return (
            f"c grows to {np.abs(tape.c).max():.2g}, where tanh is no longer a straight line, so "
            "large sums come out too small."
        )
    return "The gates do the right thing: look at the scale."
