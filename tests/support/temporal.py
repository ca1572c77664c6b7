"""Convolutions, attention and positions: a table of layers, and problems for them and their twins.

Letters: B sequences, T steps, I inputs, H hidden units, C features of a memory, T_S of its steps.
"""

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

import crnn
from crnn import reference
from support.comparing import assert_close
from support.running import leaves, like
from support.twin_options import LENGTHS, MASK, RESETS, B, T
from support.twins import differences

I, H, C, T_S = 3, 4, 5, 3
READ = [0, 2, 9, 1]  # steps of each row before the initial state
KNOWN = 3  # of them, rows of an initial state without a window
SOURCE_LENGTHS = [2, 3, 1, 0]


class Case(NamedTuple):
    """A layer: the name of its class, its sizes, its options and whether it has biases.

    The options are those of the twin in `crnn.reference` and of the layer in `crnn`.
    """

    kind: str
    sizes: tuple
    options: dict
    bias: bool = True

    def twin(self):
        return getattr(reference, self.kind)(**self.options)

    def layer(self, **options):
        """Return the layer, in float64 if the options name no dtype."""
        options = {"dtype": "float64"} | self.options | self._bias() | options
        return getattr(crnn, self.kind)(*self.sizes, **options)

    def shapes(self):
        """Return the shapes of the parameters."""
        return self.twin().shapes(*self.sizes, **self._bias())

    def _bias(self):
        return {} if self.kind == "Positions" else {"bias": self.bias}


def conv(sizes=(I, H), bias=True, **options):
    return Case("CausalConv", sizes, options, bias)


def block(sizes=(H, H), bias=True, **options):
    return Case("TCNBlock", sizes, options, bias)


def attention(size=H, bias=True, **options):
    return Case("SelfAttention", (size,), options, bias)


def transformer(size=H, bias=True, **options):
    return Case("TransformerBlock", (size,), {"feedforward_size": 5} | options, bias)


CONVS = {
    "conv": conv(),
    "conv-one-tap": conv(taps=1, activation="tanh"),
    "conv-dilated": conv(taps=2, dilation=3, activation="relu"),
    "conv-longer-than-x": conv(taps=3, dilation=4, activation="tanh"),
    "conv-normed": conv(weight_norm=True, dilation=2),
    "conv-no-bias": conv(bias=False, weight_norm=True, activation="tanh"),
    "tcn": block(dilation=2),
    "tcn-skip": block((I, H), taps=2, dilation=2),
    "tcn-plain": block((I, H), weight_norm=False),
    "tcn-no-bias": block((I, H), bias=False),
}
ATTENTIONS = {
    "attention": attention(heads=2),
    "attention-plain": attention(heads=4, rotary=False),
    "attention-odd": attention(6, heads=2, rotary=False, window=3),
    "attention-window": attention(heads=1, window=3),
    "attention-window-1": attention(heads=2, window=1),
    "attention-long-window": attention(heads=2, window=20),
    "attention-no-bias": attention(heads=2, bias=False),
    "attention-whole": attention(heads=2, causal=False),
}
BLOCKS = {
    "transformer": transformer(heads=2),
    "transformer-exact": transformer(heads=2, activation="gelu_exact", rotary=False, window=4),
    "transformer-swiglu": transformer(heads=2, activation="swiglu"),
    "transformer-relu": transformer(heads=1, activation="relu", causal=False),
    "transformer-memory": transformer(heads=2, memory_size=C, window=3),
    "transformer-memory-whole": transformer(heads=2, memory_size=C, causal=False),
    "transformer-no-bias": transformer(heads=2, memory_size=C, bias=False, activation="swiglu"),
}
POSITIONS = {
    "positions": Case("Positions", (H,), {"steps": 16}),
    "positions-sinusoidal": Case("Positions", (5,), {"kind": "sinusoidal"}),
    "positions-sinusoidal-end": Case("Positions", (H,), {"kind": "sinusoidal", "steps": 16}),
}
CASES = CONVS | ATTENTIONS | BLOCKS | POSITIONS
WHOLE = {name for name, case in CASES.items() if not case.options.get("causal", True)}
CAUSAL = [name for name in CASES if name not in WHOLE]

RUNS = {
    "full": {},
    "lengths": {"lengths": LENGTHS},
    "mask": {"mask": MASK},
    "resets": {"resets": RESETS},
    "holes": {"lengths": LENGTHS, "mask": MASK, "resets": RESETS},
    "reverse": {"lengths": LENGTHS, "reverse": True},
    "holes-reverse": {"lengths": LENGTHS, "mask": MASK, "resets": RESETS, "reverse": True},
}
every_case = pytest.mark.parametrize("name", CASES)
every_causal_case = pytest.mark.parametrize("name", CAUSAL)
every_run = pytest.mark.parametrize("run", RUNS)
every_start = pytest.mark.parametrize("given", [False, True], ids=["beginning", "state"])


def random_params(shapes, rng, scale=0.7):
    """Return random parameters of these shapes; gains of normalisations are near 1."""
    params = {name: rng.normal(0, scale, shape) for name, shape in shapes.items()}
    return {name: array + name.endswith(("gain", "g")) for name, array in params.items()}


def random_state(case, rng, rows=B):
    """Return an initial state as a list: the parts of the layer, then its memory if it reads one.

    Row b has read READ[b] steps, later rows as many as those four. A part (rows, S, width) has as
    many steps as the layer keeps, else KNOWN. In rows that have read fewer steps, the first entries
    have no meaning.
    """
    shapes = case.twin().state_shapes({name: np.empty(s) for name, s in case.shapes().items()})
    read = np.resize(READ, rows)
    if any(shape and shape[0] is None for shape in shapes):
        read = np.minimum(read, KNOWN)
    state = [
        rng.normal(size=(rows, KNOWN if shape[0] is None else shape[0], shape[1]))
        if shape
        else read
        for shape in shapes
    ]
    return state + random_memory(case, rng, rows)


def random_memory(case, rng, rows=B):
    """Return a memory (rows, T_S, C) and the lengths of its rows, or nothing."""
    if case.options.get("memory_size") is None:
        return []
    memory = rng.normal(size=(rows, T_S, case.options["memory_size"]))
    return [memory, np.resize(SOURCE_LENGTHS, rows)]


def packed(parts):
    """Return a list of parts as a state: None, an array or a tuple."""
    return (tuple(parts) if len(parts) > 1 else parts[0]) if parts else None


def unpacked(state):
    """Return the parts of a state as a list."""
    return [] if state is None else list(state) if isinstance(state, tuple) else [state]


def floats(parts):
    """Return the parts that have a gradient."""
    return [part for part in parts if part.dtype.kind == "f"]


class Problem:
    """Random parameters, inputs, initial state (a list) and gradients of the outputs.

    Without `given`, the state has only the memory of a layer that reads one.
    """

    def __init__(self, case, *, given=True, sizes=(B, T), seed=4):
        rng = np.random.default_rng(seed)
        self.case = CASES[case] if isinstance(case, str) else case
        self.twin, (rows, steps) = self.case.twin(), sizes
        self.params = random_params(self.case.shapes(), rng)
        self.x = rng.normal(size=(rows, steps, self.case.sizes[0]))
        self.dy = rng.normal(size=(rows, steps, self.case.sizes[-1]))
        self.state = random_state(self.case, rng, rows)
        if not given:
            memory = random_memory(self.case, rng, rows)
            first = self.state[: len(self.state) - len(memory)]
            self.state = [np.zeros_like(part) for part in first] + memory if memory else []
        self.seed = seed

    def layer(self, **options):
        """Return the layer of the case with the parameters of the problem."""
        layer = self.case.layer(**options)
        assert {name: array.shape for name, array in layer.params.items()} == self.case.shapes()
        for name, array in self.params.items():
            layer.params[name] = array
        return layer

    def forward(self, **options):
        return self.twin.forward(self.params, self.x, packed(self.state), **options)

    def dstate(self, state):
        """Return random gradients of the floats of a final state."""
        parts = floats(unpacked(state))
        return [like(part, np.random.default_rng(self.seed + k)) for k, part in enumerate(parts)]

    def loss(self, **options):
        y, state, _ = self.forward(**options)
        pairs = zip(floats(unpacked(state)), self.dstate(state), strict=True)
        return np.vdot(y, self.dy) + sum(np.vdot(part, dpart) for part, dpart in pairs)

    def solve(self, **options):
        """Return y, state, dx, dstate (lists of parts) and grads of a forward and a backward."""
        y, state, tape = self.forward(**options)
        dend = packed(self.dstate(state))
        dx, dstate, grads = self.twin.backward(self.params, tape, self.dy, dend)
        return SimpleNamespace(
            y=y, state=unpacked(state), dx=dx, dstate=unpacked(dstate), grads=grads, tape=tape
        )

    def check(self, tolerance=1e-7, **options):
        """Compare all gradients with central differences."""
        found = self.solve(**options)
        assert list(found.grads) == list(self.params)
        pairs = [(f"d{name}", self.params[name], grad) for name, grad in found.grads.items()]
        pairs += [("dx", self.x, found.dx)]
        starts = zip(floats(self.state), found.dstate, strict=bool(self.state))
        pairs += [(f"dstate {k}", *pair) for k, pair in enumerate(starts)]
        for name, array, grad in pairs:
            slopes = differences(lambda: self.loss(**options), array, 4e-6)
            assert_close(grad, slopes, tolerance, name)


def arrays(found):
    """Return the results of `Problem.solve` by name."""
    named = {"y": found.y, "state": found.state, "dx": found.dx, "dstate": found.dstate}
    return leaves(named | {"grads": found.grads})
