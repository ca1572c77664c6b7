"""gradcheck on layers written in NumPy, with right and with wrong gradients."""

import copy

import numpy as np
import pytest

import crnn
from crnn import reference
from crnn.diagnostics.gradcheck import gradcheck

B, T, I, H = 3, 4, 3, 4
LENGTHS = np.array([2, 4, 0])


class Toy:
    """A cell of the reference as a layer with the methods of a layer."""

    def __init__(self, cell, input_size=I, hidden_size=H, seed=0):
        rng = np.random.default_rng(seed)
        self.cell = cell
        shapes = cell.shapes(input_size, hidden_size)
        self.params = {name: rng.normal(0, 0.7, shape) for name, shape in shapes.items()}
        self.grads = {name: np.zeros(shape) for name, shape in shapes.items()}

    def zero_grad(self):
        for grad in self.grads.values():
            grad[...] = 0

    def forward(self, x, state=None, *, lengths=None, training=True):
        return self.cell.forward(self.params, x, state, lengths)

    def backward(self, tape, dy, dstate=None):
        dx, dstate, grads = self.cell.backward(self.params, tape, dy, dstate)
        for name, grad in grads.items():
            self.grads[name] += grad
        return dx, dstate


class Stack:
    """Stacked layers; the state is the list of their states."""

    def __init__(self, *layers):
        self.layers = layers

    def _named(self, kind):
        pairs = enumerate(self.layers)
        return {f"{k}.{name}": a for k, one in pairs for name, a in getattr(one, kind).items()}

    params = property(lambda self: self._named("params"))
    grads = property(lambda self: self._named("grads"))

    def zero_grad(self):
        for layer in self.layers:
            layer.zero_grad()

    def forward(self, x, state=None, *, lengths=None, training=True):
        states, tapes = [], []
        for layer, part in zip(self.layers, state or [None] * len(self.layers), strict=True):
            x, end, tape = layer.forward(x, part, lengths=lengths)
            states.append(end)
            tapes.append(tape)
        return x, states, tapes

    def backward(self, tape, dy, dstate=None):
        found = []
        for layer, one, part in reversed(list(zip(self.layers, tape, dstate, strict=True))):
            dy, dpart = layer.backward(one, dy, part)
            found.append(dpart)
        return dy, found[::-1]


class Noise:
    """Multiplies by random numbers of its own generator; no parameters, no state."""

    def __init__(self, seed=0):
        self.params, self.grads, self.rng = {}, {}, np.random.default_rng(seed)

    def zero_grad(self):
        pass

    def forward(self, x, state=None, *, lengths=None, training=True):
        tape = self.rng.normal(size=x.shape)
        return x * tape, None, tape

    def backward(self, tape, dy, dstate=None):
        return dy * tape, None


class Spoiled(Toy):
    """A small layer; `spoil(dx, dstate, grads)` may change the results of its backward."""

    def __init__(self, spoil, cell=None):
        super().__init__(cell or reference.RNN())
        self.spoil = spoil

    def backward(self, tape, dy, dstate=None):
        dx, dstate = super().backward(tape, dy, dstate)
        return self.spoil(dx, dstate, self.grads) or (dx, dstate)


def inputs(seed=1):
    return np.random.default_rng(seed).normal(size=(B, T, I))


def named(report):
    return {row.name: row for row in report.rows}


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("cell", [reference.RNN(), reference.LSTM(), reference.GRU()], ids=type)
def test_right_gradients_pass(cell, lengths):
    report = gradcheck(Toy(cell), inputs(), lengths=lengths)
    assert report.ok is True
    assert bool(report)
    assert report.max_error < 1e-8
    states = ["state"] if len(cell.state_names) == 1 else ["state[0]", "state[1]"]
    assert list(named(report)) == [*cell.shapes(I, H), "x", *states]
    assert named(report)["x"].shape == (B, T, I)
    assert {named(report)[name].shape for name in states} == {(B, H)}


def test_nothing_of_the_users_changes():
    layer, x, state = Toy(reference.LSTM()), inputs(), (np.ones((B, H)), np.full((B, H), 0.5))
    layer.grads["W_h"][...] = 7.0
    before = copy.deepcopy((layer.params, layer.grads, x, state))
    assert gradcheck(layer, x, state).ok
    np.testing.assert_equal((layer.params, layer.grads, x, state), before)


def test_an_error_in_the_middle_changes_nothing():
    calls = iter([False] * 10)

    class Tired(Toy):
        def forward(self, x, state=None, *, lengths=None, training=True):
            if next(calls, True):
                raise KeyboardInterrupt
            return super().forward(x, state, lengths=lengths)

    layer = Tired(reference.GRU())
    before = copy.deepcopy((layer.params, layer.grads))
    with pytest.raises(KeyboardInterrupt):
        gradcheck(layer, inputs())
    np.testing.assert_equal((layer.params, layer.grads), before)


def test_one_percent_in_one_entry_is_found():
    def spoil(dx, dstate, grads):
        grads["W_h"][2, 1] *= 1.01

    report = gradcheck(Spoiled(spoil), inputs())
    assert not report
    assert not report.ok
    row = named(report)["W_h"]
    assert row.where == (2, 1)
    assert row.analytic / row.numeric == pytest.approx(1.01, rel=1e-6)
    assert row.error == report.max_error
    assert 1e-4 < row.error <= 0.01
    assert all(other.error < 1e-8 for other in report.rows if other is not row)


@pytest.mark.parametrize("entry", [(0, 0), (7, 3), (15, 2)])
@pytest.mark.parametrize("name", ["W_x", "W_h", "b", "x", "state[0]", "state[1]"])
def test_one_percent_in_any_array_is_found(name, entry):
    def spoil(dx, dstate, grads):
        arrays = {**grads, "x": dx, "state[0]": dstate[0], "state[1]": dstate[1]}
        flat = arrays[name].reshape(-1)
        flat[(7 * entry[0] + entry[1]) % flat.size] *= 1.01

    report = gradcheck(Spoiled(spoil, reference.LSTM()), inputs())
    assert [row.name for row in report.rows if row.error > report.tolerance] == [name]


def test_a_gradient_that_is_not_finite_is_found():
    def spoil(dx, dstate, grads):
        grads["b"][1] = np.nan

    row = named(gradcheck(Spoiled(spoil), inputs()))["b"]
    assert row.error == np.inf
    assert row.where == (1,)


def test_missing_gradients_count_as_zero():
    report = gradcheck(Spoiled(lambda dx, dstate, grads: (None, None)), inputs())
    wrong = {row.name: row.error for row in report.rows if row.error > report.tolerance}
    assert wrong == {"x": pytest.approx(1.0), "state": pytest.approx(1.0)}


def test_a_misshapen_gradient_is_refused():
    layer = Spoiled(lambda dx, dstate, grads: (dx[:, :-1], dstate))
    with pytest.raises(ValueError, match=r"gradient of x .*\(3, 4, 3\), got \(3, 3, 3\)"):
        gradcheck(layer, inputs())


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_nested_states(lengths):
    stack = Stack(Toy(reference.LSTM()), Noise(), Toy(reference.GRU(), input_size=H))
    h, c = np.random.default_rng(2).normal(size=(2, B, H))
    for state in (None, [(h, c), None, h], [None, None, h]):
        report = gradcheck(stack, inputs(), state, lengths=lengths)
        assert report.ok, str(report)
        assert list(named(report))[-4:] == ["x", "state[0][0]", "state[0][1]", "state[2]"]
    assert "2.b_hn" in named(report)


@pytest.mark.parametrize("junk", [np.nan, 1e30])
def test_padding_is_ignored(junk):
    class Careless(Toy):  # writes into its padding, as a dense layer does
        def forward(self, x, state=None, *, lengths=None, training=True):
            y, state, tape = super().forward(x, state, lengths=lengths)
            y[np.arange(T) >= lengths[:, None]] = np.nan
            return y, state, tape

    x = inputs()
    x[0, 2:] = junk
    report = gradcheck(Careless(reference.GRU("before")), x, lengths=LENGTHS)
    assert report.ok, str(report)


def test_symbols_are_not_moved():
    symbols = np.random.default_rng(3).integers(0, I, (B, T))
    report = gradcheck(Toy(reference.JANET()), symbols)
    assert report.ok
    assert list(named(report)) == ["W_x", "W_h", "b", "state"]


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2"])
def test_the_input_is_copied_to_float64(dtype):
    x = inputs().astype(dtype)
    x.flags.writeable = False
    assert gradcheck(Toy(reference.LSTM()), x).max_error < 1e-8


@pytest.mark.parametrize("sizes", [(0, T), (B, 0)])
def test_empty_batches(sizes):
    report = gradcheck(Toy(reference.LSTM()), np.zeros((*sizes, I)))
    assert report.ok
    assert named(report)["x"].where is None
    assert named(report)["W_x"].error == 0  # no step uses it


def test_a_gradient_of_zero_is_no_error():
    """With sums far below 0 a relu has a gradient of 0: 0/0 is no error."""
    layer = Toy(reference.RNN("relu"))
    layer.params["b"][...] = -100
    assert gradcheck(layer, inputs()).max_error == 0


def test_rounding_is_no_error():
    """A gradient of zero, whose differences are the rounding error of the loss."""

    class One(Noise):
        def forward(self, x, state=None, *, lengths=None, training=True):
            return np.sin(x) ** 2 + np.cos(x) ** 2, None, x

        def backward(self, tape, dy, dstate=None):
            return np.zeros_like(dy), None

    row = named(gradcheck(One(), inputs()))["x"]
    assert row.error == 0
    assert row.numeric != 0


def test_the_report_prints_a_table():
    def spoil(dx, dstate, grads):
        grads["b"][3] += 1.0

    head, titles, *rows = str(gradcheck(Spoiled(spoil), inputs())).splitlines()
    assert head.startswith("gradcheck FAILED: largest error ")
    assert head.endswith("(tolerance 1e-07)")
    assert titles.split() == ["name", "shape", "error", "where", "analytic", "numeric"]
    assert [row.split()[0] for row in rows] == ["W_x", "W_h", "b", "x", "state"]
    assert [row.endswith("WRONG") for row in rows] == [False, False, True, False, False]
    assert len({row.index("(") for row in rows}) == 1  # aligned
    assert "(3,)" in rows[2]
    assert str(gradcheck(Toy(reference.RNN()), inputs())).startswith("gradcheck ok: ")


class Louder(crnn.TransformerBlock):
    """A block whose gradient of one map is wrong by one percent."""

    def backward(self, tape, dy, dstate=None, *, trace=False):
        result = super().backward(tape, dy, dstate, trace=trace)
        self.grads["cross.W_q"][...] *= 1.01
        return result


@pytest.mark.parametrize("block", [crnn.TransformerBlock, Louder])
def test_tiny_gradients_are_resolved_over_longer_steps(block):
    """At the initial weights, the loss hardly depends on the queries of a memory."""
    rng = np.random.default_rng(1)
    state = None, None, None, rng.normal(size=(2, 5, 6)), [5, 2]
    report = crnn.gradcheck(block(8, 2, memory_size=6, seed=0), rng.normal(size=(2, 6, 8)), state)
    assert report.ok == (block is crnn.TransformerBlock), str(report)
