"""gradcheck at kinks of a loss, which differ from curvature and from wrong gradients."""

import numpy as np
import pytest

import crnn

F64 = {"dtype": "float64"}
KINK = "kink: one-sided differences disagree"


class Elementwise(crnn.Layer):
    """y = f(x), with a derivative that may be wrong."""

    def __init__(self, f, derivative):
        self.f, self.derivative = f, derivative

    def forward(self, x, state=None, *, lengths=None, training=True):
        return self.f(x), None, x

    def backward(self, tape, dy, dstate=None):
        return dy * self.derivative(tape), None


def check(f, derivative, x):
    """Return the report on one element, and its text."""
    report = crnn.gradcheck(Elementwise(f, derivative), np.full((1, 1, 1), x))
    return report, str(report)


def constant(value):
    return lambda x: np.full(x.shape, value)


def relu(x):
    return np.maximum(x, 0)


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


KINKS = {
    "relu": (relu, 0.0, (0.0, 0.3, 1.0), (-0.1, 1.01, 2.0)),
    "abs": (np.abs, 0.0, (-1.0, 0.0, 1.0), (-1.01, 1.5, 1e3)),
    "clip-low": (lambda x: np.clip(x, -2, 3), -2.0, (0.0, 1.0), (-0.5, 1.1)),
    "clip-high": (lambda x: np.clip(x, -2, 3), 3.0, (0.0, 1.0), (-0.5, 1.1)),
    "hard-sigmoid": (hard_sigmoid, 2.5, (0.0, 0.2), (-0.01, 0.3)),
    "far-away": (lambda x: np.abs(x - 100), 100.0, (0.0, 1.0), (-1.01, 1.01)),
    "very-far": (lambda x: relu(x - 2**20), 2.0**20, (0.0, 1.0), (-0.1, 1.1)),
    "curved": (lambda x: np.abs(x) + 1e3 * x**2, 0.0, (-1.0, 0.0, 1.0), (-1.01, 1.01)),
    "steep": (lambda x: 1e5 * relu(x) + x, 0.0, (1.0, 1e5 + 1), (0.5, 1.1e5)),
    "near": (lambda x: relu(x - 3e-8), 0.0, (0.0,), (-0.1, 1.1)),
}


@pytest.mark.parametrize(("f", "x", "right", "wrong"), KINKS.values(), ids=KINKS)
def test_a_kink(f, x, right, wrong):
    for value in right:
        report, text = check(f, constant(value), x)
        assert report.ok
        assert report.max_error == 0
        assert "WRONG" not in text
        if report.rows[0].kinks:
            assert report.rows[0].kinks == ((0, 0, 0),)
            assert f"{KINK} at (0, 0, 0)" in text
        else:  # the mean of both slopes is what central differences are
            assert value == pytest.approx(report.rows[0].numeric, rel=1e-6)
    for value in wrong:
        report, text = check(f, constant(value), x)
        assert not report
        assert "WRONG" in text
        assert KINK not in text
        assert report.max_error > 1e-3


SMOOTH = {
    "square": (np.square, lambda x: 2 * x, 0.0),
    "steep": (lambda x: 1e5 * x**2, lambda x: 2e5 * x, 0.0),
    "steep-far-away": (lambda x: 1e4 * (x - 1e3) ** 2, lambda x: 2e4 * (x - 1e3), 1e3),
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2, 0.0),
    "x|x|": (lambda x: x * abs(x), lambda x: 2 * abs(x), 0.0),
    "quick": (lambda x: np.tanh(1e4 * x + 1), lambda x: 1e4 / np.cosh(1e4 * x + 1) ** 2, 0.0),
    "linear": (lambda x: 3 * x, constant(3.0), 0.0),
    "constant": (np.ones_like, np.zeros_like, 0.0),
    "near-a-kink": (lambda x: relu(x - 3e-6), constant(0.0), 0.0),
}


@pytest.mark.parametrize(("f", "derivative", "x"), SMOOTH.values(), ids=SMOOTH)
def test_no_kink(f, derivative, x):
    report, text = check(f, derivative, x)
    assert report.ok, text
    assert "kink" not in text
    for error in (1e-4, -0.01):
        scale = max(1.0, abs(float(derivative(np.array([x]))[0])))
        report, text = check(f, lambda x: derivative(x) + error * scale, x)  # noqa: B023
        assert not report.ok
        assert "WRONG" in text
        assert "kink" not in text


def test_a_wrong_entry_beside_a_kink():
    def f(x):
        return np.stack([relu(x[..., 0]), x[..., 1] ** 2], axis=-1)

    def derivative(x):
        return np.stack([0 * x[..., 0], 2 * x[..., 1] + 0.01], axis=-1)

    report = crnn.gradcheck(Elementwise(f, derivative), np.array([[[0.0, 1.0]]]))
    assert not report.ok
    assert f"WRONG; {KINK} at (0, 0, 0)" in str(report)
    assert report.rows[0].where == (0, 0, 1)
    assert report.max_error == pytest.approx(0.01 / 2.01, rel=1e-6)


def test_kinks_that_cancel():
    """relu(x) - relu(-x): each term has a kink, their sum has none; the relu's slope at 0 is 0."""

    def f(x):
        return np.concatenate([relu(x), relu(-x)], axis=-1)

    class Both(Elementwise):
        def backward(self, tape, dy, dstate=None):
            off = dy * self.derivative(np.concatenate([tape, -tape], axis=-1))
            return off[..., :1] - off[..., 1:], None

    for value in (0.0, 1.0):
        report = crnn.gradcheck(Both(f, constant(value)), np.zeros((2, 3, 1)))
        assert report.ok, f"\n{report}"
        assert KINK in str(report)


RELU = {"activation": "relu", **F64}
LAYERS = {
    "rnn": lambda: crnn.RNN(2, 3, **RELU),
    "reverse": lambda: crnn.RNN(2, 3, reverse=True, **RELU),
    "dense": lambda: crnn.Sequential([crnn.RNN(2, 3, **RELU), crnn.Dense(3, 2, **F64)]),
    "two": lambda: crnn.Sequential([crnn.RNN(2, 3, **RELU), crnn.RNN(3, 3, **RELU)]),
    "gru": lambda: crnn.GRU(2, 3, **RELU),
    "max": lambda: crnn.Sequential([crnn.Dense(2, 3, **F64), crnn.Pool("max")]),
    "hard-sigmoid": lambda: crnn.LSTM(2, 3, recurrent_activation="hard_sigmoid", **F64),
    "softsign": lambda: crnn.RNN(2, 3, activation="softsign", **F64),
    "clip": lambda: crnn.RNN(2, 3, clip=1.0, **F64),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", LAYERS)
def test_crnns_layers_at_zero(name, seed):
    layer, rng = LAYERS[name](), np.random.default_rng(seed)
    for key, array in layer.params.items():
        array[...] = rng.normal(size=array.shape) if "W" in key else 0.0
    if name == "clip":
        layer.params["b"] = 1.0
    report = crnn.gradcheck(layer, np.zeros((2, 3, 2)))
    assert report.ok, f"\n{report}"
    assert (KINK in str(report)) == (name not in ("softsign", "hard-sigmoid"))


def test_hard_sigmoid_at_its_bounds():
    x = np.zeros((1, 1, 1))
    value = crnn.RNN(1, 1, activation="hard_sigmoid", **F64)
    for bound in (-2.5, 2.5, -3.0, 3.0):
        value.params["b"] = bound
        layer = crnn.RNN(2, 3, activation="hard_sigmoid", seed=0, **F64)
        layer.params["b"] = bound
        report = crnn.gradcheck(layer, np.zeros((2, 3, 2)))
        assert report.ok, f"\n{report}"
        at_bound = value(x)[0].item() in (0.0, 1.0)
        value.params["b"] = bound * 0.999
        inside = value(x)[0].item() not in (0.0, 1.0)
        assert (KINK in str(report)) == (at_bound and inside)


@pytest.mark.parametrize("name", ["rnn", "dense", "gru", "max"])
def test_a_wrong_gradient_at_zero_is_found(name):
    layer = LAYERS[name]()

    class Wrong(type(layer)):
        def backward(self, tape, dy, dstate=None):
            dx, dstate = super().backward(tape, dy, dstate)
            dx[1, 0, 0] += 50.0
            return dx, dstate

    layer.__class__ = Wrong
    report = crnn.gradcheck(layer, np.zeros((2, 3, 2)))
    assert not report.ok
    row = {row.name: row for row in report.rows}["x"]
    assert row.where == (1, 0, 0)
    assert "WRONG" in str(report)
