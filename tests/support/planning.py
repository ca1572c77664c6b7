"""Models with and without plans, and what tests of both compare."""

import sys

import numpy as np

import crnn
from crnn.layers.compose.planned import planned_runs

B, T = 4, 7


class LayerByLayer(crnn.Sequential):
    """A Sequential without runs, but that of an Embedding and the recurrent layer behind it."""

    def _planned(self):
        plan = super()._planned()
        first, second, *_ = [*map(type, plan.layers), None]
        looked_up = first is crnn.Embedding and second in (crnn.GRU, crnn.LSTM)
        plan.runs = lambda number: planned_runs(plan.layers[:2], number) if looked_up else {}
        return plan


def steps_of(kind):
    """Return the arguments that describe the steps of B rows of T steps."""
    rng = np.random.default_rng(5)
    lengths = [T, 3, 0, 5]
    return {
        "all": {},
        "lengths": {"lengths": lengths},
        "holes": {
            "lengths": lengths,
            "mask": rng.random((B, T)) < 0.7,
            "resets": rng.random((B, T)) < 0.2,
        },
        "answered": {"mask": np.arange(B * T).reshape(B, T) % 4 > B - 2, "filled": True},
    }[kind]


def results_of(model, x, **options):
    """Return the arrays that all ways to run a model return, and its gradients, by name."""
    begun = model(x)[1]
    kept, after, tape = model.forward(x, begun, call=4, first_row=2, first_step=1, **options)
    results = {"call": model(x, **options), "kept": kept, "after": after}
    for given, arguments in {"y": (np.cos(kept),), "state": (None, after)}.items():
        model.zero_grad()
        results[given] = model.backward(tape, *arguments)
    model.zero_grad()
    back = model.backward(tape, np.cos(kept), after)
    return results | {"back": back} | {name: grad.copy() for name, grad in model.grads.items()}


def calls_of(function):
    """Return the number of calls of Python functions of crnn."""
    count = 0

    def note(frame, event, _):
        nonlocal count
        count += event == "call" and "/crnn/" in frame.f_code.co_filename

    function()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count
