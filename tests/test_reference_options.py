"""The options of the NumPy reference: finite differences, plain loops, PyTorch, onnxruntime."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
from test_reference import CELLS as TWINS
from test_reference import assert_close, differences, packed, unpacked

from crnn import reference

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
}
SOME = {
    "rnn": {name: {"activation": name} for name in reference.ACTIVATIONS},
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
SOME["lstm"]["everything"] = EVERYTHING | {
    "peepholes": True, "coupled": True, "proj_size": P, "zoneout": (0.0, 0.4),
    "output_activation": "softsign",
}  # fmt: skip
for kind in CELLS:
    SOME[kind].setdefault("everything", EVERYTHING | SOME[kind].get("activations", {}))
CASES = [(kind, name) for kind in CELLS for name in (*ALL, *SOME[kind])]
every_case = pytest.mark.parametrize(("kind", "name"), CASES, ids=["-".join(c) for c in CASES])
every_cell = pytest.mark.parametrize("kind", CELLS)


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
        self.state = tuple(rng.normal(size=(B, size)) for size in sizes) if given else None
        self.dstate = tuple(rng.normal(size=(B, size)) for size in sizes)

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


# ------------------------------------------------------------------------- finite differences

NAMES = {"call": 5, "first_row": 7, "layer": 2, "seed": 2**40 + 1}


@every_case
def test_gradients_are_the_finite_differences(kind, name):
    Problem(make(kind, name)).check(**RUNS["holes"], **NAMES)


@every_cell
@every_run
def test_gradients_of_every_reading(kind, run):
    for name in ("plain", "everything"):
        Problem(make(kind, name), given=name == "plain").check(**RUNS[run], **NAMES)


@every_cell
def test_gradients_without_bias_and_in_evaluation(kind):
    problem = Problem(make(kind, "everything"), bias=False, given=False)
    assert not [name for name in problem.params if name.startswith("b")]
    problem.check(training=False, **RUNS["holes"])


@every_cell
@pytest.mark.parametrize("name", ["zoneout", "everything"])
def test_traces_are_the_gradients_of_the_rest(kind, name):
    """∂L/∂h_t and ∂L/∂c_t are dstate of the steps after t run alone, with dy_t for h."""
    problem = Problem(make(kind, name))
    whole = problem.solve(training=False)
    for t in range(T - 1):
        state = packed([vars(whole.tape)[part][:, t] for part in problem.cell.state_names])
        rest = problem.cell.forward(problem.params, problem.x[:, t + 1 :], state, training=False)
        dy, dend = problem.dy[:, t + 1 :], packed(problem.dstate)
        _, dstate, _ = problem.cell.backward(problem.params, rest[2], dy, dend)
        expected = list(unpacked(dstate))
        expected[0] = expected[0] + problem.dy[:, t]
        for part, array in zip(problem.cell.state_names, expected, strict=True):
            assert_close(vars(whole.tape)["d" + part][:, t], array, 1e-13)


# ------------------------------------------------------------------------- masks and resets


def by_hand(problem, lengths=None, mask=None, resets=None, reverse=False):
    """One row and one step at a time, the state carried along."""
    cell, params = problem.cell, problem.params
    lengths = [T] * B if lengths is None else lengths
    mask = np.ones((B, T), bool) if mask is None else mask
    resets = np.zeros((B, T), bool) if resets is None else resets
    sizes = cell.state_sizes(H)
    learned = [
        params.get(name + "0", np.zeros(size))[None]
        for name, size in zip(cell.state_names, sizes, strict=True)
    ]
    tracks, ends = [np.zeros((B, T, size)) for size in sizes], []
    for row in range(B):
        state = [part[[row]] for part in problem.state] if problem.state else learned
        shown = [np.zeros(size) for size in sizes]
        for number in range(lengths[row]):
            t = lengths[row] - 1 - number if reverse else number
            if resets[row, t] if not reverse else number and resets[row, t + 1]:
                state, shown = learned, [np.zeros(size) for size in sizes]
            if mask[row, t]:
                x = problem.x[[row], t : t + 1]
                _, end, _ = cell.forward(params, x, packed(state), training=False)
                state = unpacked(end)
                shown = [part[0] for part in state]
            for track, part in zip(tracks, shown, strict=True):
                track[row, t] = part
        ends.append(state)
    return tracks, [np.concatenate(parts) for parts in zip(*ends, strict=True)]


@every_cell
@every_run
@pytest.mark.parametrize("given", [True, False], ids=["given", "learned"])
def test_readings_are_what_a_plain_loop_does(kind, run, given):
    problem = Problem(make(kind, "everything"), given=given)
    result = problem.solve(**RUNS[run], training=False)
    tracks, state = by_hand(problem, **RUNS[run])
    np.testing.assert_allclose(result.y, tracks[0], rtol=0, atol=1e-14)
    for name, track in zip(problem.cell.state_names, tracks, strict=True):
        np.testing.assert_allclose(vars(result.tape)[name], track, rtol=0, atol=1e-14)
    for found, expected in zip(result.state, state, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


@every_cell
@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
def test_masked_steps_and_padding_are_not_read(kind, reverse):
    """Nor dy past a row's end; at masked steps the gates and all gradients are 0."""
    options = RUNS["holes"] | {"reverse": reverse}
    clean, dirty = Problem(make(kind)), Problem(make(kind))
    past = np.arange(T) >= np.c_[LENGTHS]
    dirty.x[past | ~MASK] = dirty.dy[past] = np.nan
    expected, found = clean.solve(**options), dirty.solve(**options)
    for one, other in ((found.y, expected.y), (found.dx, expected.dx)):
        np.testing.assert_array_equal(one, other)
    for name, grad in found.grads.items():
        np.testing.assert_array_equal(grad, expected.grads[name])
    traces = [vars(found.tape)["d" + name] for name in clean.cell.state_names]
    for array in (found.dx, *found.tape.gates.values(), *traces):
        assert not array[past | ~MASK].any()
        assert array[~past & MASK].any(axis=-1).all()
    for part, first in zip(found.state, clean.state, strict=True):  # the row without steps
        np.testing.assert_array_equal(part[2], first[2])


@every_cell
def test_a_reset_before_the_first_step_throws_the_state_away(kind):
    resets = np.zeros((B, T), bool)
    resets[0, 0] = True
    for reverse in (False, True):
        options = {"resets": resets, "reverse": reverse}
        problem = Problem(make(kind))
        found, plain = problem.solve(**options), problem.solve(reverse=reverse)
        same = [np.array_equal(found.y[row], plain.y[row]) for row in range(B)]
        assert same == [reverse, True, True, True]  # reversed, nothing is read after the cut
        assert found.dstate[0][0].any() == reverse


# ------------------------------------------------------------------------- parameters


def test_parameters_have_their_order_and_shapes():
    rows = 3 * H
    expected = {
        "W_x": (rows, I), "W_h": (rows, P), "b": (rows,), "p_i": (H,), "p_o": (H,),
        "gain_x": (rows,), "gain_h": (rows,), "gain_c": (H,), "b_c": (H,),
        "W_p": (P, H), "h0": (P,), "c0": (H,),
    }  # fmt: skip
    assert list(make("lstm", "everything").shapes(I, H).items()) == list(expected.items())
    assert list(make("lstm", "peepholes").shapes(I, H, False)) == [
        "W_x",
        "W_h",
        "p_i",
        "p_f",
        "p_o",
    ]
    assert list(make("gru", "everything").shapes(I, H)) == [
        "W_x", "W_h", "b", "b_hn", "gain_x", "gain_h", "h0",
    ]  # fmt: skip
    assert make("lstm", "coupled").gate_order == ("i", "g", "o")
    assert set(make("lstm").shapes(I, H)) == {"W_x", "W_h", "b"}


def test_coupled_gates_share_one():
    problem = Problem(make("lstm", "coupled"))
    _, _, tape = problem.forward()
    assert set(tape.gates) == {"i", "g", "o"}
    c_old = np.concatenate([problem.state[1][:, None], tape.c[:, :-1]], axis=1)
    i, g = tape.gates["i"], tape.gates["g"]
    np.testing.assert_allclose(tape.c, (1 - i) * c_old + i * g, atol=1e-14)
