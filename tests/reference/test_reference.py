"""The NumPy reference against finite differences, PyTorch, and golden numbers."""

import numpy as np
import pytest

from crnn import reference
from support.comparing import assert_close
from support.folders import GOLDEN
from support.twins import CELLS, LENGTHS, B, H, I, T, differences, packed, unpacked

TORCH_KINDS = ["rnn_tanh", "rnn_relu", "lstm", "gru"]

every_cell = pytest.mark.parametrize("kind", CELLS)
every_run = [
    pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS),
    pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"]),
]


def for_runs(test):
    for mark in every_run:
        test = mark(test)
    return test


class Problem:
    """Random parameters, inputs, initial state (a tuple) and gradients of the outputs."""

    def __init__(self, kind, *, bias=True, sizes=(B, T, I, H)):
        B, T, I, H = sizes
        rng = np.random.default_rng(7)
        self.cell = CELLS[kind]
        shapes = self.cell.shapes(I, H, bias)
        self.params = {name: rng.normal(0, 0.7, shape) for name, shape in shapes.items()}
        self.x, self.dy = rng.normal(size=(B, T, I)), rng.normal(size=(B, T, H))
        self.state = tuple(rng.normal(size=(B, H)) for _ in self.cell.state_names)
        self.dstate = tuple(rng.normal(size=(B, H)) for _ in self.cell.state_names)

    def loss(self, cell=None, **options):
        y, state, _ = (cell or self.cell).forward(
            self.params, self.x, packed(self.state), **options
        )
        return np.vdot(y, self.dy) + np.vdot(unpacked(state), self.dstate)

    def solve(self, **options):
        y, state, tape = self.cell.forward(self.params, self.x, packed(self.state), **options)
        dx, dstate, grads = self.cell.backward(self.params, tape, self.dy, packed(self.dstate))
        return SimpleResult(y, unpacked(state), tape, dx, unpacked(dstate), grads)


class SimpleResult:
    def __init__(self, y, state, tape, dx, dstate, grads):
        self.y, self.state, self.tape = y, state, tape
        self.dx, self.dstate, self.grads = dx, dstate, grads

    def arrays(self):
        named = {"y": self.y, "dx": self.dx, **self.grads}
        named |= {f"state {k}": part for k, part in enumerate(self.state)}
        return named | {f"dstate {k}": part for k, part in enumerate(self.dstate)}


# ------------------------------------------------------------------------- finite differences


@every_cell
@for_runs
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_gradients_are_the_finite_differences(kind, lengths, reverse, bias):
    problem, options = Problem(kind, bias=bias), {"lengths": lengths, "reverse": reverse}
    result = problem.solve(**options)
    pairs = [(problem.params[name], grad) for name, grad in result.grads.items()]
    pairs += [(problem.x, result.dx), *zip(problem.state, result.dstate, strict=True)]
    assert list(result.grads) == list(problem.params)
    for array, grad in pairs:
        assert_close(grad, differences(lambda: problem.loss(**options), array), 1e-8)


@every_cell
@for_runs
def test_traces_are_total_derivatives(kind, lengths, reverse):
    """A change of h_t, or of c_t within its step, changes the loss by the traced derivative."""
    problem, options = Problem(kind), {"lengths": lengths, "reverse": reverse}
    result = problem.solve(**options)
    for k, name in enumerate(problem.cell.state_names):
        nudge = np.zeros((B, T, H))
        moved = Moved(problem.cell, k, nudge, **options)
        slopes = differences(lambda moved=moved: problem.loss(moved, **options), nudge)
        assert_close(getattr(result.tape, "d" + name), slopes, 1e-8)


class Moved(reference.Cell):
    """A cell that adds ``nudge[:, t]`` to part k of the state in step t."""

    def __init__(self, cell, part, nudge, lengths, reverse):
        super().__init__()
        self.cell, self.part, self.nudge = cell, part, nudge
        self.gate_order, self.state_names, self.sizes = (
            cell.gate_order,
            cell.state_names,
            cell.sizes,
        )
        self.multiplies_h = cell.multiplies_h
        self.lengths, self.reverse = [T] * B if lengths is None else lengths, reverse

    def forward(self, *arguments, **options):
        self.count = iter(range(T))
        return super().forward(*arguments, **options)

    def step(self, w, x, state, m):
        number, lengths = next(self.count), np.array(self.lengths)
        rows = np.flatnonzero(lengths > number)
        t = lengths[rows] - 1 - number if self.reverse else number
        values, after = self.cell.step(w, x, state, m)
        after[self.part] = after[self.part] + self.nudge[rows, t]
        if self.part == 1:  # h' of the LSTM depends on c'
            after[0] = values.o * np.tanh(after[1])
        return values, after


# ---------------------------------------------------------------------------------- properties


@every_cell
@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
@pytest.mark.parametrize("junk", [np.nan, 1e30])
def test_padding_changes_nothing(kind, reverse, junk):
    lengths = LENGTHS["lengths"]
    options = {"lengths": lengths, "reverse": reverse}
    clean, dirty = Problem(kind), Problem(kind)
    padding = np.arange(T) >= np.c_[lengths]
    dirty.x[padding] = dirty.dy[padding] = junk
    expected, found = clean.solve(**options).arrays(), dirty.solve(**options).arrays()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    assert not found["y"][padding].any()
    assert not found["dx"][padding].any()
    for part in range(len(clean.state)):  # a row of length 0 returns both unchanged
        np.testing.assert_array_equal(found[f"state {part}"][2], clean.state[part][2])
        np.testing.assert_array_equal(found[f"dstate {part}"][2], clean.dstate[part][2])


@every_cell
@for_runs
def test_each_row_is_what_it_is_alone(kind, lengths, reverse):
    problem = Problem(kind)
    batch = problem.solve(lengths=lengths, reverse=reverse)
    for row, length in enumerate([T] * B if lengths is None else lengths):
        x = problem.x[row : row + 1, :length]
        first = [part[row : row + 1] for part in problem.state]
        y, state, _ = problem.cell.forward(
            problem.params, x[:, ::-1] if reverse else x, packed(first)
        )
        y = y[:, ::-1] if reverse else y
        assert_close(batch.y[row : row + 1, :length], y, 1e-14)
        for part, alone in zip(batch.state, unpacked(state), strict=True):
            assert_close(part[row : row + 1], alone, 1e-14)


@every_cell
def test_symbols_are_one_hot_rows(kind):
    problem = Problem(kind)
    symbols = np.random.default_rng(1).integers(0, I, (B, T))
    symbols[0, 3:], lengths = 10**9, [3, 5, 5, 4]
    problem.x = reference.one_hot(symbols, I)
    expected = problem.solve(lengths=lengths).arrays()
    problem.x = symbols
    found = problem.solve(lengths=lengths).arrays()
    assert found.pop("dx") is None
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@every_cell
def test_absent_arguments_are_zeros(kind):
    problem = Problem(kind)
    problem.state = problem.dstate = tuple(np.zeros((B, H)) for _ in problem.state)
    problem.dy[:] = 0
    problem.dy[:, -1] = 1
    expected = problem.solve().arrays()
    y, _, tape = problem.cell.forward(problem.params, problem.x)
    np.testing.assert_array_equal(y, expected["y"])
    dx, _, grads = problem.cell.backward(problem.params, tape, problem.dy)
    for name, array in {"dx": dx, **grads}.items():
        np.testing.assert_array_equal(array, expected[name])
    last = [np.ones((B, H)), *(np.zeros((B, H)) for _ in problem.state[1:])]
    dx, _, grads = problem.cell.backward(problem.params, tape, None, packed(last))
    for name, array in {"dx": dx, **grads}.items():
        assert_close(array, expected[name], 1e-14)


@every_cell
@pytest.mark.parametrize("sizes", [(0, 5, 3, 4), (4, 0, 3, 4), (1, 1, 1, 1)])
def test_smallest_shapes(kind, sizes):
    problem = Problem(kind, sizes=sizes)
    result = problem.solve()
    assert result.y.shape == problem.dy.shape
    if 0 in sizes:
        for part, first in zip(result.state, problem.state, strict=True):
            np.testing.assert_array_equal(part, first)
        for part, last in zip(result.dstate, problem.dstate, strict=True):
            np.testing.assert_array_equal(part, last)
        assert not any(grad.any() for grad in result.grads.values())


def test_janet_is_its_equation():
    """One unit computed with the equation; the code has another form of 1 − σ(s−β)."""
    cell, s = reference.JANET(beta=1.0), 0.3
    params = {"W_x": np.zeros((2, 1)), "W_h": np.zeros((2, 1)), "b": np.array([s, 0.8])}
    y, _, tape = cell.forward(params, np.zeros((1, 1, 1)), np.full((1, 1), 0.5))

    def sigma(v):
        return 1 / (1 + np.exp(-v))

    expected = sigma(s) * 0.5 + (1 - sigma(s - 1.0)) * np.tanh(0.8)
    np.testing.assert_allclose(y, np.full((1, 1, 1), expected), rtol=1e-15)
    np.testing.assert_allclose(tape.gates["f"], np.full((1, 1, 1), sigma(s)), rtol=1e-15)


def test_sigmoid_is_right_in_its_tails():
    s = np.array([-np.inf, -745.0, -40.0, 0.0, 40.0, np.inf])
    expected = [0.0, np.exp(-745.0), np.exp(-40.0), 0.5, 1.0, 1.0]
    with np.errstate(over="raise"):
        np.testing.assert_allclose(reference.sigmoid(s), expected, rtol=1e-13)


@pytest.mark.parametrize("wrong", [lambda: reference.RNN("sin"), lambda: reference.GRU("never")])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValueError, match=r"expected .*, got '(sin|never)'"):
        wrong()


# ------------------------------------------------------------------------ PyTorch, golden numbers


@pytest.mark.parametrize("kind", TORCH_KINDS)
@for_runs
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_cells_agree_with_torch(kind, lengths, reverse, bias):
    pytest.importorskip("torch")
    from support import torch_twins

    problem = Problem(kind, bias=bias)
    found = problem.solve(lengths=lengths, reverse=reverse)
    twin = torch_twins.forward_backward(
        torch_twins.to_torch(problem.params, kind), kind,
        problem.x, problem.state, problem.dy, problem.dstate, lengths, reverse,
    )  # fmt: skip
    expected = SimpleResult(tape=None, **twin).arrays()
    for name, array in found.arrays().items():
        assert_close(array, expected[name], 1e-10)


@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_cells_agree_with_golden_numbers(kind):
    golden = np.load(GOLDEN / f"{kind}.npz")
    params = {name[6:]: golden[name] for name in golden.files if name.startswith("param.")}
    cell, problem = CELLS[kind], Problem(kind)
    assert set(params) == set(cell.shapes(3, 5))
    problem.params, problem.x, problem.dy = params, golden["x"], golden["dy"]
    problem.state = tuple(golden[name + "0"] for name in cell.state_names)
    problem.dstate = tuple(golden["d" + name] for name in cell.state_names)
    result = problem.solve()
    pairs = [(result.y, "y"), (result.dx, "dx")]
    pairs += zip(result.state, cell.state_names, strict=True)
    pairs += zip(result.dstate, ["d" + name + "0" for name in cell.state_names], strict=True)
    pairs += [(grad, "grad." + name) for name, grad in result.grads.items()]
    for array, name in pairs:
        assert_close(array, golden[name], 1e-10)


@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_golden_numbers_can_be_made_again(kind):
    pytest.importorskip("torch")
    from support.golden import numbers

    golden, found = np.load(GOLDEN / f"{kind}.npz"), numbers(kind)
    assert set(golden.files) == set(found)
    for name in set(found) - {"torch_version"}:
        np.testing.assert_allclose(found[name], golden[name], rtol=0, atol=1e-12, err_msg=name)
