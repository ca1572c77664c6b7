"""RLS: recursive least squares, exact and stable over many steps."""

import copy
import pickle
from threading import Event, Thread

import numpy as np
import pytest

import crnn

RNG = np.random.default_rng


def data(T=80, H=6, K=2, seed=0):
    rng = RNG(seed)
    h = rng.normal(size=(T, H)) + 0.5
    return h, h @ rng.normal(size=(H, K)) + 0.1 * rng.normal(size=(T, K)) - 2


def trained(h, target, **options):
    layer = crnn.RLS(h.shape[1], target.shape[1], **options)
    return layer, np.array([layer.step(a, b) for a, b in zip(h, target, strict=True)])


def state(layer):
    factor = () if layer._factor is None else (layer._factor,)
    return [array.tobytes() for array in (layer.flat_params, layer._extent, *factor)]


@pytest.mark.parametrize("forgetting", [1.0, 0.99, 0.8])
@pytest.mark.parametrize("alpha", [1e-6, 1.0, 50.0])
@pytest.mark.parametrize(("H", "K"), [(1, 1), (6, 2), (37, 5)])
def test_steps_are_those_of_the_twin(H, K, alpha, forgetting):
    h, target = data(H=H, K=K)
    layer, y = trained(h, target, alpha=alpha, forgetting=forgetting)
    expected, params = crnn.reference.rls(h, target, alpha=alpha, forgetting=forgetting)
    tolerance = 1e-5 if alpha < 1e-3 else 1e-10  # the twin itself is inexact where P is large
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())
    for name, values in params.items():
        np.testing.assert_allclose(layer.params[name], values, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("H", "T", "alpha"), [(6, 80, 1e-3), (50, 400, 1e-2), (20, 10, 1.0)])
def test_without_forgetting_it_is_ridge_with_a_penalised_bias(H, T, alpha):
    h, target = data(T, H)
    layer, _ = trained(h, target, alpha=alpha)
    ridge = crnn.Ridge(H + 1, 2, alpha=alpha, bias=False, dtype="float64")
    ridge.fit(np.insert(h, H, 1, axis=1), target)
    got = np.hstack([layer.params["W"], layer.params["b"][:, None]])
    np.testing.assert_allclose(got, ridge.params["W"], rtol=0, atol=1e-8 * np.abs(got).max())


def test_with_forgetting_it_is_ridge_with_weights():
    h, target = data()
    layer, _ = trained(h, target, alpha=0.1, forgetting=0.95)
    age = np.arange(len(h))[::-1]
    ridge = crnn.Ridge(7, 2, alpha=0.1 * 0.95 ** len(h), bias=False, dtype="float64")
    ridge.fit(np.insert(h, 6, 1, axis=1), target, weights=0.95**age)
    np.testing.assert_allclose(layer.params["W"], ridge.params["W"][:, :6], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("forgetting", [1.0, 0.98])
def test_it_does_not_drift(forgetting):
    """100,000 steps of a nearly singular input, compared with the weighted regression."""
    T, H = 100_000, 10
    rng = RNG(1)
    h = rng.normal(size=(T, 2)) @ rng.normal(size=(2, H)) + 1e-4 * rng.normal(size=(T, H))
    target = h @ rng.normal(size=(H, 1)) + 1e-3 * rng.normal(size=(T, 1))
    layer, _ = trained(h, target, alpha=1e-6, forgetting=forgetting)
    last = min(T, 2000)  # 0.98**2000 is 3e-18
    last = T if forgetting == 1 else last
    ridge = crnn.Ridge(H + 1, 1, alpha=1e-6 if forgetting == 1 else 0, bias=False, dtype="float64")
    z = np.insert(h, H, 1, axis=1)[-last:]
    ridge.fit(z, target[-last:], weights=forgetting ** np.arange(last)[::-1])
    np.testing.assert_allclose(layer.params["W"][0], ridge.params["W"][0, :H], rtol=1e-6)
    assert 0 < layer.trace_ < np.inf


def test_prediction_is_before_the_update():
    h, target = data()
    layer, _ = trained(h[:50], target[:50])
    before = layer(h[50:51])[0][0]
    assert np.array_equal(layer.step(h[50]), before)
    assert np.array_equal(layer.step(h[50], target[50]), before)
    assert not np.array_equal(layer.step(h[50]), before)


def test_rows_are_updated_in_order():
    h, target = data()
    one, two = crnn.RLS(6, 2, forgetting=0.9), crnn.RLS(6, 2, forgetting=0.9)
    for t in range(0, 80, 4):
        before = one(h[t : t + 4])[0]
        assert np.array_equal(one.step(h[t : t + 4], target[t : t + 4]), before)
        for i in range(t, t + 4):
            two.step(h[i], target[i])
    assert state(one) == state(two)
    assert one.step(np.zeros((0, 6)), np.zeros((0, 2))).shape == (0, 2)


def test_force_learning():
    """A reservoir that reads its own output learns a sine, then goes on alone."""
    rng = RNG(3)
    rnn = crnn.RNN(1, 200, dtype="float64", seed=0)
    rnn.params["W_h"] *= 1.2
    rnn.params["W_x"] = rng.uniform(-1, 1, (200, 1))
    layer, stream, y = crnn.RLS(200, 1, alpha=1.0), rnn.stream(1), np.zeros((1, 1))
    wave = np.sin(np.arange(3000) / 6)
    for value in wave[:2000]:
        y = layer.step(stream.step(y), target=[[value]])
    errors = []
    for value in wave[2000:2300]:
        y = layer.step(stream.step(y))
        errors.append(abs(y[0, 0] - value))
    assert max(errors) < 0.2


def test_it_is_a_dense(tmp_path):
    h, target = data()
    layer, _ = trained(h, target, alpha=0.5, forgetting=0.9)
    assert repr(layer) == "RLS(6, 2, alpha=0.5, forgetting=0.9)"
    assert crnn.gradcheck(layer, h[None, :3]).ok
    crnn.save(tmp_path / "rls.npz", layer)
    loaded = crnn.load(tmp_path / "rls.npz")
    assert (type(loaded), loaded.alpha, loaded.forgetting) == (crnn.RLS, 0.5, 0.9)
    assert np.array_equal(loaded(h)[0], layer(h)[0])
    assert not crnn.RLS(6, 2).flat_params.any()
    with pytest.raises(ValueError, match=r"^dtype: expected 'float64', the type of an RLS"):
        layer.astype("float32")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_can_be_trained_further(copied):
    h, target = data()
    layer, _ = trained(h[:40], target[:40])
    other, before = copied(layer), state(layer)
    for a, b in zip(h[40:], target[40:], strict=True):
        other.step(a, b)
    assert state(layer) == before
    assert state(other) == state(trained(h, target)[0])


def test_a_second_thread_is_refused(monkeypatch):
    h, target = data()
    layer, step, inside, go = crnn.RLS(6, 2), crnn._core.rls_gains, Event(), Event()

    def slow(*args):
        inside.set()
        assert go.wait(30)
        return step(*args)

    monkeypatch.setattr(crnn._core, "rls_gains", slow)
    thread = Thread(target=layer.step, args=(h[0], target[0]))
    thread.start()
    assert inside.wait(30)
    with pytest.raises(RuntimeError, match=r"^RLS: expected no other thread in step"):
        layer.step(h[1], target[1])
    go.set()
    thread.join(30)
    assert state(layer) == state(trained(h[:1], target[:1])[0])


def test_a_file_with_many_inputs_needs_no_more_memory_than_its_parameters(tmp_path):
    crnn.save(tmp_path / "wide.npz", crnn.RLS(2**21, 1))  # P would have 2**42 elements
    assert crnn.load(tmp_path / "wide.npz").input_size == 2**21


H0, Y0 = data()


@pytest.mark.parametrize(
    ("h", "target", "error", "message"),
    [
        (H0[0, :5], Y0[0], ValueError, r"h: expected real numbers of shape \(H=6,\)"),
        (H0[0], Y0[0, :1], ValueError, r"target: expected real numbers of shape \(K=2,\)"),
        (H0[:2], Y0[:3], ValueError, r"target: .*\(B=2, K=2\)"),
        (H0[0] * np.nan, Y0[0], ValueError, r"h: expected finite numbers .*nan"),
        (H0[0], Y0[0] * np.inf, ValueError, r"target: expected finite numbers .*inf"),
        (["a"] * 6, Y0[0], TypeError, r"h: expected real numbers"),
        (np.full(6, 9e139), Y0[0], FloatingPointError, r"h: .* at most 3e\+69, .* got 9e\+139"),
        (H0[:2] * [[1], [1e139]], Y0[:2] * 1e138, FloatingPointError, r"h: expected numbers of"),
        (H0[0], Y0[0] * 1e138, FloatingPointError, r"target: expected differences from the"),
    ],
)
def test_an_error_changes_nothing(h, target, error, message):
    layer, _ = trained(H0, Y0, alpha=1e-9)
    before = state(layer)
    with pytest.raises(error, match=f"^{message}"):
        layer.step(h, target)
    assert state(layer) == before


def test_errors_that_overflow_when_they_are_squared():
    layer = crnn.RLS(2, 1)
    layer.params["W"] = 1e200
    with pytest.raises(FloatingPointError, match=r"^target: expected .* got 2e\+200$"):
        layer.step([1.0, 1.0], [1.0])
    assert (layer.params["W"] == 1e200).all()


def test_forgetting_without_new_directions_is_refused_before_it_overflows():
    layer, h = crnn.RLS(2, 1, forgetting=0.5), np.array([1.0, 0.0])
    for _ in range(450):  # 2**465 is 1e140
        layer.step(h, [1.0])
    with pytest.raises(FloatingPointError, match="with forgetting it grows"):
        [layer.step(h, [1.0]) for _ in range(20)]
    assert np.isfinite(layer.flat_params).all()
    assert np.isfinite(layer._factor).all()
    assert layer.step(h) == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0}, r"alpha: expected a positive number"),
        ({"alpha": np.nan}, r"alpha: expected a positive number"),
        ({"alpha": 1e-300}, r"alpha: expected a number above"),
        ({"forgetting": 0}, r"forgetting: expected a number above 0"),
        ({"forgetting": 1.01}, r"forgetting: expected a number above 0"),
        ({"forgetting": np.nan}, r"forgetting: "),
        ({"input_size": 2**40}, r"input_size, input_size: .* overflows"),
        ({"output_size": 0}, r"output_size: "),
    ],
)
def test_wrong_arguments(options, message):
    arguments = {"input_size": 3, "output_size": 2} | options
    with pytest.raises(ValueError, match=f"^{message}"):
        crnn.RLS(**arguments)
