"""fit_readout: least squares on what the layers before the readout return, window by window.

Letters: B sequences, T steps, I inputs, H hidden units, K outputs.
"""

import copy
import tracemalloc

import numpy as np
import pytest

import crnn
from crnn.training import readouts
from support.comparing import assert_close
from support.running import fill

B, T, I, H, K = 5, 23, 2, 7, 3
F64 = {"dtype": "float64"}
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(B, T, I)), RNG.normal(size=(B, T, K))
LENGTHS = np.array([23, 0, 4, 11, 6])
MASK = RNG.random((B, T)) < 0.7
RESETS = RNG.random((B, T)) < 0.1
WEIGHTS = RNG.random((B, T)) * (RNG.random((B, T)) < 0.9)


@pytest.fixture(params=[16, 1 << 14], ids=["short windows", "long windows"])
def windows(request, monkeypatch):
    """The largest number of steps of a window, times rows."""
    monkeypatch.setattr(readouts, "_FEWEST", request.param)
    monkeypatch.setattr(readouts, "_MOST", request.param)


def layers(**options):
    return [
        crnn.RNN(I, H, leak=0.3, seed=0, **F64, **options),
        crnn.RNN(H, H, leak=0.5, seed=1, **F64, **options),
    ]


def model_of(before, features=H, **options):
    return crnn.Sequential([*before, crnn.Ridge(features, K, seed=2, **F64, **options)])


def assert_same(readout, expected):
    """Check that two fitted layers have the same bits."""
    for name in expected.params:
        np.testing.assert_array_equal(readout.params[name], expected.params[name])
    assert (readout.steps_, readout.alpha_) == (expected.steps_, expected.alpha_)
    np.testing.assert_array_equal(readout.cv_error_, expected.cv_error_)


OPTIONS = {
    "nothing": {},
    "lengths": {"lengths": LENGTHS},
    "mask": {"mask": MASK},
    "resets": {"resets": RESETS},
    "weights": {"weights": WEIGHTS},
    "row weights": {"weights": WEIGHTS[:, 0] + 0.1},
    "all": {"lengths": LENGTHS, "mask": MASK, "resets": RESETS, "weights": WEIGHTS},
}


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("washout", [0, 3])
@pytest.mark.parametrize("alpha", [1e-3, (1e-4, 1e-2, 10.0)])
def test_windows_have_the_bits_of_all_states_at_once(name, washout, alpha):
    options = OPTIONS[name]
    model = model_of(layers(), alpha=alpha)
    before = crnn.Sequential(model.layers[:-1])
    steps = {key: value for key, value in options.items() if key != "weights"}
    states, _ = before(X, **steps)
    expected = copy.deepcopy(model[-1]).fit(states, Y, washout=washout, **options)
    extras = {key: value for key, value in options.items() if key != "lengths"}
    readout = crnn.fit_readout(model, (X, Y, options.get("lengths"), extras), washout=washout)
    assert readout is model[-1]
    assert_same(readout, expected)
    assert model.calls == 0


@pytest.mark.usefixtures("windows")
def test_lists_arrays_and_items_are_the_same():
    xs = [X[b, :n] for b, n in enumerate(LENGTHS)]
    ys = [Y[b, :n] for b, n in enumerate(LENGTHS)]
    items = [(X[b : b + 1, :n], Y[b : b + 1, :n]) for b, n in enumerate(LENGTHS) if n]
    alphas = (1e-4, 1e-2, 10.0)
    expected = crnn.fit_readout(
        model_of(layers(), alpha=alphas), (X, Y, LENGTHS), washout=2, folds=3
    )
    for data in ((xs, ys), items, iter(items), tuple(items), [(X, Y, LENGTHS)]):
        readout = crnn.fit_readout(model_of(layers(), alpha=alphas), data, washout=2, folds=3)
        if hasattr(data, "__next__"):  # other folds
            assert readout.steps_ == expected.steps_
        else:
            assert_same(readout, expected)


def test_an_iterator_deals_its_items_to_the_folds():
    alphas = (1e-4, 1e-2, 10.0)
    items = [(X[b : b + 1], Y[b : b + 1]) for b in range(B)]
    readout = crnn.fit_readout(model_of(layers(), alpha=alphas), iter(items), washout=4, folds=2)
    expected = crnn.Ridge(H, K, seed=2, alpha=alphas, **F64)
    states, _ = crnn.Sequential(layers())(X)
    for b in range(B):
        expected.partial_fit(states[b : b + 1], Y[b : b + 1], washout=4, fold=b % 2)
    assert_same(readout, expected.solve())
    with pytest.raises(ValueError, match=r"^folds: expected an item .* none in 2 of them"):
        crnn.fit_readout(model_of(layers(), alpha=alphas), iter(items), folds=7)


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("name", OPTIONS)
def test_a_layer_that_reads_backwards_begins_at_the_end(name):
    """Steps are left out where the state begins: at the last steps of each piece."""
    options, washout = OPTIONS[name], 3
    model = model_of([crnn.RNN(I, H, reverse=True, seed=0, **F64)])
    steps = {key: value for key, value in options.items() if key != "weights"}
    states, _ = model[0](X, **steps)
    kept = np.zeros((B, T), bool)
    ends, mask = options.get("lengths", [T] * B), options.get("mask", np.ones((B, T), bool))
    for b in range(B):
        count = 0
        for t in reversed(range(ends[b])):
            kept[b, t] = mask[b, t] and count >= washout
            count += mask[b, t]
            if "resets" in options and RESETS[b, t]:
                count = 0
    weights = options.get("weights")
    expected = copy.deepcopy(model[-1]).fit(states, Y, mask=kept, weights=weights)
    extras = {key: value for key, value in options.items() if key != "lengths"}
    data = X, Y, options.get("lengths"), extras
    assert_same(crnn.fit_readout(model, data, washout=washout), expected)


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize(
    "before",
    [
        lambda: [crnn.Bidirectional(crnn.RNN(I, H, seed=0, **F64), "sum")],
        lambda: [crnn.RNN(I, H, **F64), crnn.RNN(H, H, reverse=True, **F64)],
    ],
)
def test_both_ends_are_left_out_where_layers_read_in_both_directions(before):
    model = model_of(before())
    states, _ = crnn.Sequential(model.layers[:-1])(X, lengths=LENGTHS)
    t = np.arange(T)
    kept = (t >= 3) & (t < LENGTHS[:, None] - 3)
    expected = copy.deepcopy(model[-1]).fit(states, Y, mask=kept)
    assert_same(crnn.fit_readout(model, (X, Y, LENGTHS), washout=3), expected)


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("last", [crnn.LastState, lambda layer: [layer, crnn.Pool("mean")]])
def test_one_vector_for_each_row(last):
    layer = crnn.RNN(I, H, leak=0.3, seed=0, **F64)
    before = last(layer)
    model = model_of(before if isinstance(before, list) else [before], alpha=(0.1, 1.0))
    lengths = LENGTHS + (LENGTHS == 0)
    states, _ = crnn.Sequential(model.layers[:-1])(X, lengths=lengths)
    targets = Y[:, 0]
    expected = copy.deepcopy(model[-1]).fit(states, targets, folds=2)
    assert_same(crnn.fit_readout(model, (X, targets, lengths), folds=2), expected)
    xs = [X[b, :n] for b, n in enumerate(lengths)]
    again = crnn.fit_readout(copy.deepcopy(model), (xs, targets), folds=2)
    assert_close(again.params["W"], expected.params["W"], 1e-12)
    again = crnn.fit_readout(copy.deepcopy(model), (xs, list(targets)), folds=2)
    assert_close(again.params["W"], expected.params["W"], 1e-12)
    with pytest.raises(ValueError, match=r"^washout: expected 0, because the readout reads one"):
        crnn.fit_readout(model, (X, targets), washout=1)


def test_symbols_and_a_readout_alone():
    symbols = RNG.integers(0, 4, (B, T))
    model = model_of([crnn.Embedding(4, I, **F64), *layers()])
    states, _ = crnn.Sequential(model.layers[:-1])(symbols)
    expected = copy.deepcopy(model[-1]).fit(states, Y, washout=2)
    assert_same(crnn.fit_readout(model, (symbols, Y), washout=2), expected)
    lists = [list(row) for row in symbols], list(Y)
    assert_same(crnn.fit_readout(model, lists, washout=2), expected)
    alone = model_of([], I)
    for x, y in ((X, Y), (X[:, 0], Y[:, 0])):
        assert_same(crnn.fit_readout(alone, (x, y)), copy.deepcopy(alone[-1]).fit(x, y))


def test_layers_that_are_no_layers_of_the_core_and_dropout():
    class Double(crnn.Layer):
        keeps_features, receptive_field = True, 1

        def forward(self, x, state=None, *, lengths=None, training=True):
            assert not training
            return 2 * x, None, None

        def backward(self, tape, dy, dstate=None):
            raise NotImplementedError

    model = model_of([*layers(), Double(), crnn.Dropout(0.5, seed=0)])
    states, _ = crnn.Sequential(layers())(X)
    expected = copy.deepcopy(model[-1]).fit(2 * states, Y, washout=2)
    assert_same(crnn.fit_readout(model, (X, Y), washout=2), expected)


class Noisy(crnn.Temporal):
    """Layer with a noise in training, which is a function of the row and the step."""

    input_size = output_size = I

    def __init__(self, noise):
        self.noise = noise

    def forward(
        self, x, state=None, *, training=True, call=None, first_row=0, first_step=0, layer=0
    ):
        assert not training or call == 0
        rows, steps = first_row + np.arange(len(x)), first_step + np.arange(x.shape[1])
        noise = np.sin(rows[:, None] * 100 + steps)[..., None]
        return x + training * self.noise * noise, np.zeros((len(x), 1)), None

    def backward(self, tape, dy, dstate=None):
        raise NotImplementedError


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_noise_is_drawn_by_row_and_step(noise):
    model = model_of([Noisy(noise)], I)
    states, _, _ = model[0].forward(X, call=0, training=True)
    expected = copy.deepcopy(model[-1]).fit(states, Y)
    assert_same(crnn.fit_readout(model, (X, Y)), expected)
    split = [(X[:2], Y[:2]), (X[2:], Y[2:])]
    assert_same(crnn.fit_readout(model, split), expected)


def test_the_states_of_all_steps_are_never_in_memory():
    steps, states = 300_000, 100
    x = np.sin(np.arange(steps, dtype=np.float32))[None, :, None]
    model = crnn.Sequential([crnn.RNN(1, states, seed=0), crnn.Ridge(states, 1, alpha=1.0)])
    crnn.fit_readout(model, (x[:, :1000], x[:, :1000]))  # imports
    tracemalloc.start()
    crnn.fit_readout(model, (x, x), washout=10)
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert memory < steps * states * 4 / 5


def test_an_rls_learns_step_by_step():
    model = crnn.Sequential([*layers(), crnn.RLS(H, K, alpha=0.1, forgetting=0.99)])
    states, _ = crnn.Sequential(model.layers[:-1])(X)
    expected = crnn.RLS(H, K, alpha=0.1, forgetting=0.99)
    for b in range(B):
        for t in range(3, T):
            expected.step(states[b, t], Y[b, t])
    for _ in range(2):  # the second fit forgets the first one
        readout = crnn.fit_readout(model, (X, Y), washout=3)
        for name in expected.params:
            np.testing.assert_array_equal(readout.params[name], expected.params[name])
        assert readout.trace_ == expected.trace_
    step = states[0, 0], Y[0, 0]
    np.testing.assert_array_equal(readout.step(*step), expected.step(*step))
    with pytest.raises(ValueError, match=r"^folds: expected None for a crnn.RLS, got 2"):
        crnn.fit_readout(model, (X, Y), folds=2)
    with pytest.raises(ValueError, match=r"^data: item 0: weights: expected None for a crnn.RLS"):
        crnn.fit_readout(model, (X, Y, None, {"weights": WEIGHTS}))


class Interrupted(crnn.Layer):
    """Layer that raises KeyboardInterrupt in its second call."""

    keeps_features, receptive_field, count = True, 1, 0

    def forward(self, x, state=None, *, lengths=None, training=True):
        self.count += 1
        if self.count == 2:
            raise KeyboardInterrupt
        return x, None, None

    def backward(self, tape, dy, dstate=None):
        raise NotImplementedError


@pytest.mark.parametrize(
    "readout", [crnn.Ridge(I, K, seed=0, **F64), crnn.RLS(I, K)], ids=["Ridge", "RLS"]
)
def test_after_ctrl_c_the_readout_has_not_changed(readout):
    crnn.fit_readout(crnn.Sequential([readout]), (X, Y))
    params = {name: array.copy() for name, array in readout.params.items()}
    steps, trace = getattr(readout, "steps_", None), readout.trace_
    with pytest.raises(KeyboardInterrupt):
        crnn.fit_readout(crnn.Sequential([Interrupted(), readout]), [(X, 2 * Y), (X, Y)])
    for name, array in params.items():
        np.testing.assert_array_equal(readout.params[name], array)
    assert (getattr(readout, "steps_", None), readout.trace_) == (steps, trace)


def spoiled(array, value):
    array = array.copy()
    array[2, 5] = value
    return array


WRONG = [
    ({"model": crnn.RNN(2, 3)}, TypeError, "model: expected a crnn.Sequential whose last"),
    (
        {"model": crnn.Sequential([crnn.RNN(2, 3), crnn.Dense(3, 3)])},
        TypeError,
        "model: expected a crnn.Sequential whose last layer is a crnn.Ridge",
    ),
    ({"washout": -1}, ValueError, "washout: expected an integer from 0"),
    ({"washout": 1.5}, TypeError, "washout: expected an integer from 0"),
    ({"washout": T}, ValueError, "washout: expected fewer steps .* got 23, which leaves no step"),
    ({"washout": T, "folds": 2}, ValueError, "washout: expected fewer steps"),
    ({"data": (X, Y, LENGTHS * 0)}, ValueError, "data: expected steps that are read"),
    ({"data": (X, Y, None, {"weights": WEIGHTS * 0})}, ValueError, "data: expected steps"),
    ({"data": (X, Y, None, {"weights": -WEIGHTS})}, ValueError, "data: item 0: weights: expected"),
    ({"folds": 1}, ValueError, "folds: expected None, or an integer of at least 2, got 1"),
    ({"folds": B * T + 1}, ValueError, "folds: expected at most one for each of the 115 steps"),
    ({"data": X}, TypeError, r"data: expected a tuple \(x, target\).*got ndarray"),
    ({"data": 3}, TypeError, r"data: expected a tuple \(x, target\).*got int"),
    ({"data": (X,)}, ValueError, "data: expected items"),
    ({"data": []}, ValueError, "data: expected items, got none$"),
    ({"data": (X, Y[..., :2])}, ValueError, r"data: item 0: target: expected .* \(B=5, T=23, K=3"),
    ({"data": (X, Y[:, :-1])}, ValueError, "data: item 0: target: expected"),
    ({"data": (X, Y[:-1])}, ValueError, "data: item 0: target: expected"),
    ({"data": (X, Y > 0)}, TypeError, "data: item 0: target: expected real numbers"),
    ({"data": (X[..., :1], Y)}, ValueError, "data: item 0: x: expected floats of shape"),
    ({"data": (X, Y, [3] * 4)}, ValueError, "data: lengths: expected"),
    ({"data": (X, Y, None, {"mask": MASK[:2]})}, ValueError, "data: mask: expected shape"),
    ({"data": (X, Y, None, {"mask": MASK * 1.0})}, TypeError, "data: item 0: mask: expected bool"),
    ({"data": (X, Y, None, {"resets": MASK * 2})}, ValueError, "data: item 0: resets: expected"),
    ({"folds": 0}, ValueError, "folds: expected None, or an integer of at least 2, got 0"),
    (
        {"data": (spoiled(X, np.nan), Y)},
        ValueError,
        "data: item 0: x: expected finite numbers .* got nan in row 2 at step 5",
    ),
    (
        {"data": (X, spoiled(Y, np.inf))},
        ValueError,
        "data: item 0: target: expected finite numbers",
    ),
    ({"data": (list(X), list(Y[:-1]))}, ValueError, "target: expected one for each of the 5"),
    ({"data": (list(X), list(Y[:, :-1]))}, ValueError, r"target\[0\]: expected .*\(T=23, K"),
    ({"data": (list(X), 3)}, ValueError, "target: expected one for each of the 5 .* got int"),
    ({"data": ([X], [Y])}, ValueError, r"x\[0\]: expected a sequence \(T, I\) of floats"),
    ({"data": (list(X), list(Y), LENGTHS)}, ValueError, "data: expected .* without lengths"),
]


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize(("options", "kind", "message"), WRONG)
def test_a_wrong_call_changes_nothing(options, kind, message):
    model = model_of(layers())
    crnn.fit_readout(model, (X, Y))
    before, factors = model.state_dict(), model[-1]._factors
    arguments = {"model": model, "data": (X, Y)} | options
    with pytest.raises(kind, match="^" + message):
        crnn.fit_readout(**arguments)
    assert model[-1]._factors is factors
    for name, array in before.items():
        np.testing.assert_array_equal(model.params[name], array)


@pytest.mark.usefixtures("windows")
def test_a_bar_counts_the_steps_and_is_closed(monkeypatch):
    class Bar:
        steps, closed = 0, 0

        def update(self, steps):
            self.steps += steps

        def close(self):
            self.closed += 1

    bar = Bar()
    monkeypatch.setattr(readouts, "open_bar", lambda total, units: bar)
    crnn.fit_readout(model_of(layers()), (X, Y))
    assert (bar.steps, bar.closed) == (B * T, 1)
    with pytest.raises(ValueError, match=r"^data: item 0: x: expected finite numbers"):
        crnn.fit_readout(model_of(layers()), (X * np.nan, Y))
    assert bar.closed == 2


def test_a_rank_that_is_too_low():
    x = np.repeat(X[..., :1], 2, axis=2)
    with pytest.raises(ValueError, match=r"^alpha: expected a larger penalty, because the 3"):
        crnn.fit_readout(model_of([], I, alpha=0.0), (x, Y))


def test_another_thread_that_fits_the_readout():
    model = model_of(layers())

    def items():
        yield X, Y
        crnn.fit_readout(model, (X, Y))

    with pytest.raises(RuntimeError, match=r"^Ridge: expected no other thread"):
        crnn.fit_readout(model, items())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_solution_is_that_of_numpy(dtype):
    before = [fill(crnn.RNN(I, H, leak=0.3, dtype=dtype))]
    model = crnn.Sequential([*before, crnn.Ridge(H, K, alpha=0.01, dtype=dtype)])
    crnn.fit_readout(model, (X, Y), washout=4)
    Z = np.asarray(before[0](X)[0][:, 4:].reshape(-1, H), np.float64)
    target = Y[:, 4:].reshape(-1, K)
    mean, about = Z.mean(axis=0), target.mean(axis=0)
    Z, target = Z - mean, target - about
    W = np.linalg.solve(Z.T @ Z + 0.01 * np.eye(H), Z.T @ target)
    precision = 1e-6 if dtype == "float32" else 1e-10
    assert_close(model.params["1.W"], W.T, precision)
    assert_close(model.params["1.b"], about - mean @ W, precision)
