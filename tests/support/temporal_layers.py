"""Layers with a time axis beside their NumPy twins: results of both by name, and random steps."""

import numpy as np

from crnn.common.nested import gradient_form, map_state
from support.temporal import packed

TOLERANCES = {"float64": 1e-12, "float32": 1e-5}


def random_steps(rng, rows, steps, kinds=("lengths", "mask", "resets")):
    """Return random options of forward; the first row is whole, the second one has no steps."""
    lengths = rng.integers(0, steps + 1, rows)
    lengths[:2] = [steps, 0][:rows]
    options = {
        "lengths": lengths,
        "mask": rng.random((rows, steps)) < 0.7,
        "resets": rng.random((rows, steps)) < 0.15,
    }
    return {kind: options[kind] for kind in kinds}


def parts_of(state):
    """Return the arrays of a state, which may be nested in lists."""
    if isinstance(state, list | tuple):
        return [array for part in state for array in parts_of(part)]
    return [] if state is None else [state]


def as_state(like, parts):
    """Return arrays in the form of a state."""
    parts = iter(parts)

    return map_state(lambda _: next(parts), like)


def _named(y, state, dx, dstate, grads):
    named = {"y": y, "dx": dx}
    named |= {f"state {k}": part for k, part in enumerate(parts_of(state))}
    named |= {f"dstate {k}": part for k, part in enumerate(parts_of(dstate))}
    return named | {f"d{name}": np.array(grad) for name, grad in grads.items()}


def solve(problem, layer, **options):
    """Return the results of a layer with the numbers of a `Problem`, by name."""

    def converted(parts):
        return [part.astype(layer.dtype) if part.dtype.kind == "f" else part for part in parts]

    layer.zero_grad()
    state = packed(converted(problem.state))
    y, end, tape = layer.forward(problem.x.astype(layer.dtype), state, **options)
    dend = as_state(gradient_form(end), converted(problem.dstate(packed(parts_of(end)))))
    dx, dstate = layer.backward(tape, problem.dy.astype(layer.dtype), dend)
    return _named(y, end, dx, dstate, layer.grads)


def expected(problem, **options):
    """Return the results of the twin of a `Problem`, as `solve` does."""
    found = problem.solve(**options)
    return _named(found.y, found.state, found.dx, found.dstate, found.grads)


def assert_agree(found, wanted, dtype, what="", factor=1):
    """Compare results by name, within the tolerance of a dtype.

    It is relative to the largest magnitude, or to 1: the terms of all sums are near 1. `factor` is
    for layers of more parts.
    """
    assert list(found) == list(wanted)
    for name, array in found.items():
        assert array.dtype == (dtype if wanted[name].dtype.kind == "f" else np.int64), name
        scale = 1 / max(1, np.max(np.abs(wanted[name]), initial=0.0))
        close = {"rtol": 0, "atol": factor * TOLERANCES[dtype], "err_msg": f"{what} {name}"}
        np.testing.assert_allclose(array * scale, wanted[name] * scale, **close)
