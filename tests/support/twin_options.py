"""Options of the NumPy reference: a table of options, of masks, and a problem to test them.

Letters: B sequences, T steps, I inputs, H hidden units, P numbers of a projection.
"""

import functools
from types import SimpleNamespace

import numpy as np
import pytest

from crnn import reference
from support.comparing import assert_close
from support.twins import CELLS as TWINS
from support.twins import differences, packed, unpacked

B, T, I, H, P = 4, 6, 2, 3, 2
SOFT = {"recurrent_activation": "hard_sigmoid", "activation": "softsign"}

CELLS = {
    "rnn": reference.RNN,
    "lstm": reference.LSTM,
    "gru": reference.GRU,
    "gru_before": functools.partial(reference.GRU, "before"),
    "janet": reference.JANET,
}
ALL = {
    "layer_norm": {"layer_norm": True},
    "clip": {"clip": 0.8},
    "learn_state": {"learn_state": True},
    "recurrent_dropout": {"recurrent_dropout": 0.4},
    "zoneout": {"zoneout": 0.4},
    "weight_drop": {"weight_drop": 0.4},
    "delay": {"delays": 2},
    "delays": {"delays": (3, 1, 8)},
}
SOME = {
    "rnn": {name: {"activation": name} for name in reference.ACTIVATIONS}
    | {
        "leak": {"leak": (0.3, 0.8, 1.0)},
        "learn_leak": {"learn_leak": True},
        "noise": {"noise": 0.5},
        "leaky-activations": {"leak": 0.4, "activation": "softsign"},
    },
    "lstm": {
        "peepholes": {"peepholes": True},
        "coupled": {"coupled": True},
        "peepholes-coupled": {"peepholes": True, "coupled": True},
        "proj_size": {"proj_size": P},
        "activations": SOFT | {"output_activation": "identity"},
        "zoneout-pair": {"zoneout": (0.1, 0.5)},
        "zoneout-h": {"zoneout": (0.5, 0.0)},
    },
    "gru": {"activations": SOFT},
    "gru_before": {"activations": SOFT},
    "janet": {"beta": {"beta": -0.4}},
}
TYPES = {type(make()) for make in CELLS.values()}
CELLS |= {kind: type(twin) for kind, twin in TWINS.items() if type(twin) not in TYPES}
SOME |= {kind: {} for kind in CELLS if kind not in SOME}
EVERYTHING = functools.reduce(dict.__or__, ALL.values())
del EVERYTHING["delays"]
SOME["rnn"]["everything"] = EVERYTHING | {
    "learn_leak": True,
    "noise": 0.3,
    "activation": "softsign",
}
SOME["lstm"]["everything"] = EVERYTHING | {
    "peepholes": True, "coupled": True, "proj_size": P, "zoneout": (0.0, 0.4),
    "output_activation": "softsign",
}  # fmt: skip
for kind in CELLS:
    SOME[kind].setdefault("everything", EVERYTHING | SOME[kind].get("activations", {}))
    SOME[kind]["everything-delays"] = SOME[kind]["everything"] | {"delays": (2, 3)}
CASES = [(kind, name) for kind in CELLS for name in (*ALL, *SOME[kind])]
every_case = pytest.mark.parametrize(("kind", "name"), CASES, ids=["-".join(c) for c in CASES])
every_cell = pytest.mark.parametrize("kind", CELLS)
every_cell_with_W_h = pytest.mark.parametrize(
    "kind", [kind for kind, make in CELLS.items() if make().multiplies_h]
)


def make(kind, name="plain"):
    return CELLS[kind](**{"plain": {}, **ALL, **SOME[kind]}[name])


LENGTHS = [5, 6, 0, 3]
# The first row starts masked, the second ends so; the fourth is masked between a reset and its end.
MASK = np.array([[0, 1, 0, 1, 1, 1], [1, 0, 0, 1, 1, 0], [1] * 6, [1, 1, 0, 1, 1, 1]], bool)
RESETS = np.array([[0, 0, 1, 0, 0, 1], [0, 0, 1, 0, 1, 0], [1] * 6, [1, 0, 1, 0, 0, 0]], bool)
RUNS = {
    "full": {},
    "reverse": {"reverse": True, "lengths": LENGTHS},
    "mask": {"mask": MASK},
    "resets": {"resets": RESETS},
    "holes": {"lengths": LENGTHS, "mask": MASK, "resets": RESETS},
    "holes-reverse": {"lengths": LENGTHS, "mask": MASK, "resets": RESETS, "reverse": True},
}
NAMES = {"call": 5, "first_row": 7, "layer": 2, "seed": 2**40 + 1}
every_run = pytest.mark.parametrize("run", RUNS)


class Problem:
    """Random parameters, inputs, initial state (a tuple) and gradients of the outputs."""

    def __init__(self, cell, *, bias=True, given=True, seed=3):
        rng = np.random.default_rng(seed)
        self.cell = cell
        shapes = cell.shapes(I, H, bias)
        self.params = {name: rng.normal(0, 0.7, shape) for name, shape in shapes.items()}
        sizes = cell.state_sizes(H)
        self.x, self.dy = rng.normal(size=(B, T, I)), rng.normal(size=(B, T, sizes[0]))
        states = [(B, *shape) for shape in cell.state_shapes(H)]
        self.state = tuple(rng.normal(size=shape) for shape in states) if given else None
        self.dstate = tuple(rng.normal(size=shape) for shape in states)

    def forward(self, cell=None, **options):
        state = self.state and packed(self.state)
        return (cell or self.cell).forward(self.params, self.x, state, **options)

    def loss(self, cell=None, **options):
        y, state, _ = self.forward(cell, **options)
        return np.vdot(y, self.dy) + sum(map(np.vdot, unpacked(state), self.dstate))

    def solve(self, **options):
        y, state, tape = self.forward(**options)
        dx, dstate, grads = self.cell.backward(self.params, tape, self.dy, packed(self.dstate))
        return SimpleNamespace(
            y=y, state=unpacked(state), tape=tape, dx=dx, dstate=unpacked(dstate), grads=grads
        )

    def check(self, tolerance=1e-7, **options):
        """Compare all gradients with central differences."""
        result = self.solve(**options)
        assert list(result.grads) == list(self.params)
        pairs = [(self.params[name], grad) for name, grad in result.grads.items()]
        pairs += [(self.x, result.dx), *zip(self.state or (), result.dstate, strict=False)]
        for array, grad in pairs:
            slopes = differences(lambda: self.loss(**options), array, 2e-6)
            assert_close(grad, slopes, tolerance)
