"""Ridge: weights of least squares from a triangular factor, and its face as a layer."""

import copy
import pickle
import threading

import numpy as np
import pytest

import crnn
from crnn.layers.compose.planned import planned_runs
from crnn.layers.pointwise.readable import after_washout

RNG = np.random.default_rng


def data(B=3, T=60, H=7, K=2, seed=0):
    rng = RNG(seed)
    h = rng.normal(size=(B, T, H)) + 1
    return h, h @ rng.normal(size=(H, K)) + 0.1 * rng.normal(size=(B, T, K)) + 3


def ridge(H=7, K=2, **options):
    return crnn.Ridge(H, K, **{"dtype": "float64", "seed": 0} | options)


def flat(h, y, kept=None):
    kept = np.ones(h.shape[:2], bool) if kept is None else kept
    return h[kept], y[kept]


def assert_params(layer, expected, tolerance=1e-10):
    assert set(layer.params) == set(expected)
    for name, values in expected.items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(layer.params[name], values, rtol=0, atol=tolerance * scale)


def bits(layer):
    return layer.flat_params.tobytes()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("alpha", [0, 1e-9, 1e-2, 1e4])
@pytest.mark.parametrize(("H", "K", "T"), [(1, 1, 9), (7, 2, 60), (40, 70, 100), (150, 1, 300)])
def test_weights_are_those_of_the_twin(H, K, T, alpha, bias):
    h, y = data(H=H, K=K, T=T)
    layer = ridge(H, K, alpha=alpha, bias=bias).fit(h, y)
    assert_params(layer, crnn.reference.ridge(*flat(h, y), alpha, bias=bias))
    assert layer.alpha_ == alpha
    assert layer.cv_error_ is None
    assert layer.steps_ == 3 * T
    Z = h.reshape(-1, H) - (h.reshape(-1, H).mean(axis=0) if bias else 0)
    assert layer.trace_ == pytest.approx((Z**2).sum())


@pytest.mark.parametrize("bias", [True, False])
def test_weights_are_those_of_scikit_learn(bias):
    linear = pytest.importorskip("sklearn.linear_model")
    h, y = data()
    weights = RNG(1).uniform(0, 2, h.shape[:2])
    weights[:, ::5] = 0
    twin = linear.Ridge(alpha=0.3, fit_intercept=bias, solver="svd")
    twin.fit(*flat(h, y), sample_weight=weights.ravel())
    layer = ridge(alpha=0.3, bias=bias).fit(h, y, weights=weights)
    expected = {"W": twin.coef_} | ({"b": twin.intercept_} if bias else {})
    assert_params(layer, expected)
    assert layer.steps_ == (weights > 0).sum()


@pytest.mark.parametrize("folds", [2, 5, 7])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_validation_is_that_of_scikit_learn(folds, weighted):
    linear = pytest.importorskip("sklearn.linear_model")
    selection = pytest.importorskip("sklearn.model_selection")
    h, y = data(B=1, T=40, H=30)
    h = h + 0.001 * RNG(5).normal(size=h.shape)
    alphas = (1e-4, 1e-1, 10.0, 1e3)
    x, target = flat(h, y)
    weights = RNG(2).uniform(0.5, 2, len(x)) if weighted else np.ones(len(x))
    errors = np.zeros(len(alphas))
    for train, test in selection.KFold(folds).split(x):
        for i, alpha in enumerate(alphas):
            twin = linear.Ridge(alpha=alpha, solver="svd")
            twin.fit(x[train], target[train], sample_weight=weights[train])
            errors[i] += (weights[test, None] * (twin.predict(x[test]) - target[test]) ** 2).sum()
    errors /= 2 * weights.sum()
    layer = ridge(30, alpha=alphas).fit(h, y, weights=weights[None], folds=folds)
    np.testing.assert_allclose(layer.cv_error_, errors, rtol=1e-9)
    assert layer.alpha_ == alphas[int(errors.argmin())]
    assert_params(layer, crnn.reference.ridge(x, target, layer.alpha_, weights=weights), 1e-9)


def test_the_alpha_is_that_of_ridgecv():
    linear = pytest.importorskip("sklearn.linear_model")
    selection = pytest.importorskip("sklearn.model_selection")
    h, y = data(B=1, T=50, H=30)
    alphas = np.logspace(-4, 4, 9)
    twin = linear.RidgeCV(alphas=alphas, cv=selection.KFold(5), scoring="neg_mean_squared_error")
    layer = ridge(30, alpha=alphas).fit(h, y)  # 5 folds of 10 steps each
    assert layer.alpha_ == twin.fit(*flat(h, y)).alpha_


# ---- which steps are read


def steps_by_hand(h, lengths, mask, resets, washout):
    B, T = h.shape[:2]
    kept = np.zeros((B, T), bool)
    for row in range(B):
        count = 0
        for t in range(lengths[row]):
            count = 0 if resets[row, t] else count
            if mask[row, t]:
                kept[row, t] = count >= washout[row]
                count += 1
    return kept


@pytest.mark.parametrize("seed", range(6))
def test_steps_behind_the_washout_are_read(seed):
    rng = RNG(seed)
    h, y = data(B=5, T=40)
    lengths = rng.integers(0, 41, 5)
    mask, resets = rng.random((5, 40)) < 0.8, rng.random((5, 40)) < 0.08
    washout = rng.integers(0, 9, 5)
    kept = steps_by_hand(h, lengths, mask, resets, washout)
    h[~kept], y[~kept] = np.nan, np.inf  # what is not read may be anything
    layer = ridge().fit(h, y, lengths, mask, washout=washout, resets=resets)
    assert layer.steps_ == kept.sum() > 8
    assert_params(layer, crnn.reference.ridge(*flat(h, y, kept), 1e-6))


def test_the_washout_continues_in_the_next_window():
    rng = RNG(3)
    valid, resets = rng.random((6, 90)) < 0.7, rng.random((6, 90)) < 0.05
    for cuts in (None, resets):
        washout = np.array([[11]])
        whole, _ = after_washout(valid, cuts, washout)
        read, parts = None, []
        for begin, end in [(0, 17), (17, 17), (17, 60), (60, 90)]:
            part = None if cuts is None else cuts[:, begin:end]
            kept, read = after_washout(valid[:, begin:end], part, washout, read)
            parts.append(kept)
        assert np.array_equal(np.hstack(parts), whole)


def test_weights_of_rows_and_steps():
    h, y = data(B=4)
    rows = np.array([0, 1, 2.5, 7])
    layer = ridge().fit(h, y, weights=rows)
    steps = ridge().fit(h, y, weights=np.repeat(rows, 60).reshape(4, 60))
    assert bits(layer) == bits(steps)
    repeated = ridge().fit(np.concatenate([h[1:3], h[1:3]]), np.concatenate([y[1:3], y[1:3]]))
    assert_params(ridge().fit(h, y, weights=[0, 2, 2, 0]), dict(repeated.params), 1e-9)
    ones = ridge().fit(h, y, weights=np.ones(4, int))
    assert bits(ones) == bits(ridge().fit(h, y))


def test_rows_without_a_time_axis():
    h, y = data()
    layer = ridge().fit(h.reshape(-1, 7), y.reshape(-1, 2), weights=np.ones(180))
    assert bits(layer) == bits(ridge().fit(h, y))
    with pytest.raises(ValueError, match=r"^washout: expected 0 for an input without a time axis"):
        layer.fit(h[0], y[0], washout=3)


# ---- accuracy


def test_more_accurate_than_the_normal_equations():
    n = 11
    hilbert = 1 / (np.arange(n) + np.arange(20)[:, None] + 1)
    assert 1e12 < np.linalg.cond(hilbert) < 1e13
    exact = np.ones((n, 1))
    y = hilbert @ exact
    layer = ridge(n, 1, alpha=0, bias=False).fit(hilbert, y)
    errors = [np.abs(layer.params["W"].T - exact).max()]
    errors.append(np.abs(np.linalg.solve(hilbert.T @ hilbert, hilbert.T @ y) - exact).max())
    assert errors[0] < 1e-3
    assert errors[1] > 0.05
    residual = np.abs(layer(hilbert)[0] - y).max()
    assert residual < 1e-13


@pytest.mark.parametrize("scale", [1e-130, 1e130])
def test_numbers_whose_squares_are_extreme(scale):
    h, y = data()
    layer = ridge(alpha=0).fit(h * scale, y * scale)
    expected = crnn.reference.ridge(*flat(h, y), 0)
    assert_params(layer, {"W": expected["W"], "b": expected["b"] * scale}, 1e-10)


def test_features_of_different_units():
    h, y = data()
    units = np.logspace(-20, 20, 7)
    layer = ridge(alpha=0).fit(h * units, y)
    np.testing.assert_allclose(
        layer.params["W"] * units, crnn.reference.ridge(*flat(h, y), 0)["W"], rtol=1e-9
    )


def test_float32_states_are_summed_in_float64():
    h, y = (array.astype(np.float32) for array in data(T=500))
    layer = ridge(dtype="float32", alpha=1e-9).fit(h, y)
    expected = crnn.reference.ridge(*flat(h, y), 1e-9)
    for name, values in expected.items():
        assert np.array_equal(layer.params[name], values.astype(np.float32))


@pytest.mark.parametrize("alpha", [0, 1e-40])
def test_a_rank_that_is_too_low(alpha):
    h, y = data()
    h[..., 4] = 2 * h[..., 1] - h[..., 0] + 5
    layer = ridge(alpha=alpha)
    before = bits(layer)
    with pytest.raises(
        ValueError, match=r"^alpha: expected a larger penalty.* 8 features .*rank 7"
    ):
        layer.fit(h, y)
    assert bits(layer) == before
    assert (layer.steps_, layer.alpha_, layer.trace_) == (0, None, None)
    with pytest.raises(ValueError, match="rank 5 in the 5 steps"):
        layer.fit(data()[0][:1, :5], y[:1, :5])
    assert_params(layer.partial_fit(h, y).solve(1e-3), crnn.reference.ridge(*flat(h, y), 1e-3))


def test_units_that_never_move():
    h, y = data()
    h[..., 2] = 0
    layer = ridge(alpha=1e-3).fit(h, y)
    assert (layer.params["W"][:, 2] == 0).all()
    assert_params(layer, crnn.reference.ridge(*flat(h, y), 1e-3))
    with pytest.raises(ValueError, match="rank 7"):
        ridge(alpha=0).fit(h, y)


# ---- bits


@pytest.mark.parametrize("H", [5, 200])
def test_any_blocking_and_any_number_of_threads_have_the_same_bits(H):
    h, y = data(B=1, T=700, H=H)
    weights = RNG(4).uniform(0, 2, (1, 700))
    threads = crnn._core.num_threads()
    results, sums = set(), set()
    try:
        for count, sizes in [(1, [700]), (2, [1] * 130 + [570]), (3, [128, 100, 0, 28, 444])]:
            crnn.set_num_threads(count)
            layer, end = ridge(H, alpha=(1e-4,)), 0
            for size in sizes:
                part = slice(end, end + size)
                end += size
                layer.partial_fit(h[:, part], y[:, part], weights=weights[:, part])
            results.add(bits(layer.solve(1e-4)))
            sums.add(layer._factors[0].weight)
        crnn.set_num_threads(2)
        results.add(bits(ridge(H, alpha=1e-4).fit(h, y, weights=weights)))
    finally:
        crnn.set_num_threads(threads)
    assert len(results) == len(sums) == 1


def test_steps_that_are_not_read_change_no_bits():
    h, y = data(B=2)
    padded = np.full((2, 80, 7), np.nan)
    padded[:, 10:70] = h
    target = np.full((2, 80, 2), np.nan)
    target[:, 10:70] = y
    mask = np.arange(80)[None].repeat(2, axis=0) >= 10
    layer = ridge().fit(padded, target, [70, 70], mask)
    assert bits(layer) == bits(ridge().fit(h, y))


def test_folds_of_partial_fit():
    h, y = data(T=50)
    alphas = (1e-3, 1.0, 100.0)
    parts = ridge(alpha=alphas)
    for fold in (2, 0, 1):
        parts.partial_fit(h[fold, None], y[fold, None], fold=fold)
    whole = ridge(alpha=alphas).fit(h, y, folds=3)
    assert bits(parts.solve()) == bits(whole)
    assert np.array_equal(parts.cv_error_, whole.cv_error_)
    assert parts.solve(0.5).cv_error_ is None
    assert parts.alpha == alphas
    assert parts.alpha_ == 0.5
    assert_params(parts, crnn.reference.ridge(*flat(h, y), 0.5))


# ---- a layer


def test_it_is_a_dense():
    h, y = data()
    layer = ridge().fit(h, y)
    dense = crnn.Dense(7, 2, dtype="float64")
    dense.params["W"], dense.params["b"] = layer.params["W"], layer.params["b"]
    assert np.array_equal(layer(h)[0], dense(h)[0])
    assert crnn.gradcheck(layer, h[:, :3]).ok
    assert np.array_equal(layer.stream(3).step(h[:, 0]), dense(h[:, 0])[0])
    with_ridge = crnn.Sequential([crnn.GRU(3, 7, dtype="float64", seed=0), layer])
    with_dense = crnn.Sequential([with_ridge.layers[0], dense])
    x = RNG(0).normal(size=(2, 5, 3))
    assert np.array_equal(with_ridge(x)[0], with_dense(x)[0])
    assert list(planned_runs(with_ridge.layers, 0)) == [0]  # both layers in one call of the core
    assert crnn.gradcheck(with_ridge, x).ok


def test_a_subclass_with_other_rows_runs_them():
    class Own(crnn.Ridge):
        def _rows(self, rows, draw):
            return super()._rows(rows, draw)[0] * 2, rows

    h, y = data()
    layer = ridge().fit(h, y)
    own = Own(7, 2, dtype="float64").fit(h, y)
    seq = crnn.Sequential([crnn.Dense(7, 7, dtype="float64", seed=1), own])
    first = seq.layers[0](h)[0]
    np.testing.assert_array_equal(seq.forward(h)[0], 2 * layer(first)[0])


def test_config_and_files(tmp_path):
    h, y = data()
    for alpha in (0.25, (0.5, 1.0)):
        layer = crnn.Ridge(7, 2, alpha=alpha, seed=3).fit(h.astype("f"), y)
        text = repr(layer)
        assert repr(eval(text, vars(crnn))) == text
        crnn.save(tmp_path / "ridge.npz", crnn.Sequential([layer]))
        loaded = crnn.load(tmp_path / "ridge.npz").layers[0]
        assert type(loaded) is crnn.Ridge
        assert loaded.alpha == alpha
        assert bits(loaded) == bits(layer)
        assert (loaded.steps_, loaded.alpha_) == (0, None)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_can_be_fitted_further(copied):
    h, y = data()
    layer = ridge().partial_fit(h[:2], y[:2])
    other = copied(layer)
    layer.partial_fit(h[2:], y[2:])
    assert other.steps_ == 120
    assert bits(other.partial_fit(h[2:], y[2:]).solve()) == bits(layer.solve())


# ---- errors


H0, Y0 = data()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"h": H0[..., :6]}, ValueError, r"h: expected floats of shape"),
        ({"target": Y0[:, :9]}, ValueError, r"target: expected real numbers of shape"),
        ({"target": Y0[..., :1]}, ValueError, r"target: .*K=2"),
        ({"target": Y0.astype(str)}, TypeError, r"target: "),
        ({"h": H0 * [[[np.nan]]]}, ValueError, r"h: expected finite numbers .* got nan"),
        ({"target": Y0 * 1e150}, ValueError, r"target: expected finite numbers"),
        ({"weights": [-1, 1, 1]}, ValueError, r"weights: .* at least 0, got -1"),
        ({"weights": [np.nan, 1, 1]}, ValueError, r"weights: .* at least 0, got nan"),
        ({"weights": np.full(3, 1e290)}, ValueError, r"weights: expected finite numbers"),
        ({"weights": np.ones(60)}, ValueError, r"weights: .*B=3"),
        (
            {"weights": np.zeros(3)},
            ValueError,
            r"h: .* steps that are read, .* above 0, got none",
        ),
        (
            {"washout": 60},
            ValueError,
            r"washout: expected fewer steps .* above 0, got 60",
        ),
        ({"washout": -1}, ValueError, r"washout: .* at least 0, got -1"),
        ({"washout": 1.5}, TypeError, r"washout: expected an integer"),
        ({"washout": [1, 2]}, ValueError, r"washout: .*B=3"),
        ({"lengths": [61, 1, 1]}, ValueError, r"lengths: "),
        (
            {"lengths": [0, 0, 0]},
            ValueError,
            r"h: .* steps that are read, .* above 0, got none",
        ),
        ({"mask": np.ones((3, 4), int)}, ValueError, r"mask: "),
        ({"resets": np.full((3, 60), 2)}, ValueError, r"resets: "),
        ({"folds": 1}, ValueError, r"folds: expected None, or an integer of at least 2"),
        ({"folds": -1}, ValueError, r"folds: expected None, or an integer of at least 2, got -1"),
        ({"folds": 2.0}, TypeError, r"folds: expected None, or an integer of at least 2, got 2.0"),
        ({"folds": 181}, ValueError, r"folds: expected at most one"),
        ({"folds": "two"}, TypeError, r"folds: "),
    ],
)
def test_an_error_changes_nothing(change, error, message):
    h, y = data()
    layer = ridge(alpha=(0.1, 1.0)).fit(h, y, folds=3)
    before = bits(layer), layer._factors, layer.alpha_
    with pytest.raises(error, match=f"^{message}"):
        layer.fit(**({"h": h, "target": y} | change))
    assert (bits(layer), layer._factors, layer.alpha_) == before
    if "folds" in change or "above 0, got" in message:
        return
    with pytest.raises(error, match=f"^{message}"):
        layer.partial_fit(**({"h": h, "target": y} | change))
    assert (bits(layer), layer._factors, layer.alpha_) == before


@pytest.mark.parametrize("alpha", [-1, np.nan, np.inf, "1", [], [1, 1], [1, -2], None, True])
def test_wrong_alpha(alpha):
    with pytest.raises(ValueError, match=r"^alpha: "):
        ridge(alpha=alpha)
    if alpha is not None:
        with pytest.raises(ValueError, match=r"^alpha: "):
            ridge().fit(*data()).solve(alpha)


def test_other_errors():
    h, y = data()
    with pytest.raises(ValueError, match=r"^Ridge: expected rows from fit or partial_fit"):
        ridge().solve()
    with pytest.raises(ValueError, match=r"^alpha: expected one number, because .* 1 fold"):
        ridge().fit(h, y).solve([0.1, 1])
    with pytest.raises(ValueError, match=r"^fold: "):
        ridge().partial_fit(h, y, fold=-1)
    with pytest.raises(ValueError, match=r"^W: expected numbers in the range of float32"):
        ridge(dtype="float32", alpha=0).fit(h * 1e-60, y)
    with pytest.raises(ValueError, match="overflow"):
        crnn.Ridge(2**40, 2**40)
    layer = ridge().partial_fit(h, y, washout=60)  # nothing is left: allowed
    assert layer.steps_ == 0


def test_an_interrupted_call_changes_nothing(monkeypatch):
    h, y = data(T=300)
    layer = ridge().fit(h, y)
    before, add, calls = (bits(layer), layer.steps_), crnn._core.ridge_add, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        add(*args)

    monkeypatch.setattr(crnn._core, "ridge_add", interrupted)
    for call in (layer.fit, layer.partial_fit):
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            call(h, y)
    monkeypatch.undo()
    assert (bits(layer), layer.steps_) == before
    assert bits(layer.solve()) == before[0]


def test_two_threads_that_fit_one_layer(monkeypatch):
    h, y = data()
    layer, add, inside = ridge(), crnn._core.ridge_add, threading.Event()
    go, errors = threading.Event(), []

    def slow(*args):
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            go.wait(30)
        add(*args)

    def run():
        try:
            layer.fit(h, y)
        except RuntimeError as error:
            errors.append(str(error))

    monkeypatch.setattr(crnn._core, "ridge_add", slow)
    thread = threading.Thread(target=run)
    thread.start()
    assert inside.wait(30)
    layer.fit(h[:1], y[:1])
    go.set()
    thread.join(30)
    assert errors == ["Ridge: expected no other thread that fits the layer, got one"]
    assert layer.steps_ == 60
    assert_params(layer, crnn.reference.ridge(*flat(h[:1], y[:1]), 1e-6))
