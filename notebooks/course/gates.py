"""Checks of notebook 4: gates."""

import numpy as np

import crnn
from course.exercises import Wrong, answer_of, array_of, check_close, exercise, number_of
from crnn.reference import sigmoid


def _count(gates, inputs, units):
    """Return the number of parameters of a layer: W_x, W_h and b of all gates."""
    return gates * (units * inputs + units**2 + units)


@exercise(1)
def units_for(function):
    """Check `function(budget, gates, inputs)`, which returns the largest H."""
    cases = [(4000, 4, 2), (4000, 1, 2), (4000, 3, 50), (10**6, 4, 256), (20, 2, 3)]
    cases.append((_count(3, 7, 20), 3, 7))  # exactly the budget
    for budget, gates, inputs in cases:
        answer = number_of("H", answer_of(function, budget, gates, inputs))
        if not answer.is_integer():
            raise Wrong(f"expected an integer H, got {answer}")
        H, case = int(answer), f"{budget} parameters, G = {gates} and I = {inputs}"
        if _count(gates, inputs, H) > budget:
            raise Wrong(
                f"with {case}, H = {H} is too large: this layer has "
                f"{_count(gates, inputs, H)} parameters. Do you count W_x, W_h and b of every gate?"
            )
        if _count(gates, inputs, H + 1) <= budget:
            raise Wrong(f"with {case}, H = {H} is not the largest: H = {H + 1} is possible, too")
    return (
        "the term with the square of H is the largest one: with equal numbers of parameters, an "
        "LSTM has about half as many units as an RNN."
    )


def _other_gru(W_x, W_h, b, x, h):
    """Return the states of a GRU with reset="before" in which z = 1 keeps the old state."""
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
    """Check `function(W_x, W_h, b)`, which returns weights for a GRU that uses 1 - z for z."""
    rng = np.random.default_rng(0)
    for I, H in ((3, 4), (2, 3)):
        gru = crnn.GRU(I, H, reset="before", dtype="float64", seed=0)
        gru.params["b"][...] = rng.normal(size=3 * H)
        names = ("W_x", "W_h", "b")
        weights = [gru.params[name].copy() for name in names]
        arguments = [array.copy() for array in weights]
        answer = answer_of(function, *arguments)
        if not isinstance(answer, (tuple, list)) or len(answer) != 3:
            raise Wrong("expected three arrays: W_x, W_h and b")
        if any(not np.array_equal(*pair) for pair in zip(weights, arguments, strict=True)):
            raise Wrong("your function changes its arguments; it must return new arrays")
        new = [array_of(name, array) for name, array in zip(names, answer, strict=True)]
        for name, array, old in zip(names, new, weights, strict=True):
            if array.shape != old.shape:
                raise Wrong(f"{name}: expected shape {old.shape}, got {array.shape}")
            for gate, rows in (("r", slice(0, H)), ("n", slice(2 * H, 3 * H))):
                if not np.allclose(array[rows], old[rows]):
                    raise Wrong(
                        f"{name}: the rows of {gate} have changed, but {gate} is equal in both GRUs"
                    )
            if np.allclose(array[H : 2 * H], old[H : 2 * H]):
                raise Wrong(
                    f"{name}: the rows of z have not changed, but z has the opposite meaning"
                )
        x, h = rng.normal(size=(2, 6, I)), rng.normal(size=(2, H))
        check_close("the states of the colleague's GRU", _other_gru(*new, x, h), gru(x, h)[0], 1e-9)
    return "1 - σ(s) = σ(-s). Programs that convert weights between libraries do the same."


def _adding(rng, rows, steps):
    """Return inputs (rows, steps, 2) and answers (rows,) of the adding problem."""
    x, each = np.zeros((rows, steps, 2)), np.arange(rows)
    x[..., 0] = rng.random((rows, steps))
    x[each, rng.integers(0, steps // 2, rows), 1] = 1
    x[each, rng.integers(steps // 2, steps, rows), 1] = 1
    return x, (x[..., 0] * x[..., 1]).sum(axis=1)


@exercise(3)
def weights(function):
    """Check `function()`: W_x, W_h, b and scale of an LSTM unit that adds the marked numbers."""
    answer = answer_of(function)
    if not isinstance(answer, (tuple, list)) or len(answer) != 4:
        raise Wrong("expected W_x, W_h, b and scale")
    lstm = crnn.LSTM(2, 1, dtype="float64", seed=0)
    for name, value in zip(("W_x", "W_h", "b"), answer, strict=False):
        array, shape = array_of(name, value), lstm.params[name].shape
        if array.shape != shape:
            raise Wrong(f"{name}: expected shape {shape}, got {array.shape}")
        lstm.params[name][...] = array
    scale = number_of("scale", answer[3])
    for steps in (10, 100, 1000):
        x, right = _adding(np.random.default_rng(steps), 50, steps)
        y, _, tape = lstm.forward(x)
        error = float(((scale * y[:, -1, 0] - right) ** 2).mean())
        if not error < 1e-3:
            raise Wrong(f"T = {steps}: the mean squared error is {error:.3g}. {_hint(tape, x)}")
    return (
        "one unit is enough for rows of any length. A trained network solves the task in a similar "
        "way, with many units."
    )


def _hint(tape, x):
    """Return a sentence about the first fault that prevents the unit from adding."""
    marked = x[..., 1] > 0
    i, f, g, o = (tape.gates[name][..., 0] for name in "ifgo")
    if i[marked].mean() < 0.5:
        return f"At marked steps the input gate is {i[marked].mean():.2g}: the unit writes nothing."
    if i[~marked].mean() > 1e-3 * i[marked].mean():
        return f"The input gate is {i[~marked].mean():.2g} at steps without a mark."
    left = f.prod(axis=1).mean()
    if left < 0.95:
        return (
            "The product of the forget gates of all steps should be nearly 1, so that c keeps the "
            f"numbers; it is {left:.2g}."
        )
    if o[:, -1].mean() < 0.1:
        return f"At the last step the output gate is {o[:, -1].mean():.2g}: h is nearly 0."
    if not np.corrcoef(g[marked], x[marked][:, 0])[0, 1] > 0.9:
        return "At marked steps the candidate does not grow in proportion to the number."
    if np.abs(g[marked]).max() > 0.3 or np.abs(tape.c).max() > 0.3:
        return (
            f"The largest c is {np.abs(tape.c).max():.2g}. tanh is not linear for such values, so "
            "large sums become too small."
        )
    return "The gates are right, so check the scale."
