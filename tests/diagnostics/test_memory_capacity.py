"""Memory capacity against known values, a direct computation and scikit-learn."""

import copy

import numpy as np
import pytest

import crnn
from crnn.diagnostics import capacity, memory_capacity

pytestmark = pytest.mark.filterwarnings("error")


def linear(W_h, W_x, dtype="float64"):
    layer = crnn.RNN(1, len(W_h), activation="identity", dtype=dtype, seed=0)
    layer.params["W_h"], layer.params["W_x"] = W_h, np.reshape(W_x, (-1, 1))
    return layer


def ring(N, weight, dtype="float64"):
    return linear(weight * np.roll(np.eye(N), 1, axis=0), np.eye(N)[0], dtype)


# -------------------------------------------------------------------------------- known capacities


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_linear_ring_of_50_units(seed, dtype):
    memory = memory_capacity(ring(50, 0.9, dtype), seed=seed)
    assert memory.total == pytest.approx(50 - (1 - 0.9**100), abs=0.05)
    assert (memory.states, memory.capacities.shape) == (50, (100,))
    assert memory.capacities[:49].min() > 0.999
    assert memory.capacities[49] < 1e-3


@pytest.mark.parametrize(("N", "weight"), [(5, 0.9), (8, 0.95), (3, 0.99)])
def test_a_linear_ring_that_does_not_forget_at_once(N, weight):
    """The capacity is N - (1 - r^2N); of delay k it is (1 - r^2N) r^(2N floor(k / N))."""
    lost = weight ** (2 * N)
    K = 6 * N
    memory = memory_capacity(ring(N, weight), delays=K, steps=40_000, washout=800)
    expected = (1 - lost) * lost ** (np.arange(1, K + 1) // N)
    np.testing.assert_allclose(memory.capacities, expected, atol=0.02)
    assert memory.total == pytest.approx(expected.sum(), abs=0.03)


def test_a_chain_of_delays_remembers_its_length():
    memory = memory_capacity(linear(np.eye(6, k=-1), np.eye(6)[0]), steps=4000)
    np.testing.assert_allclose(memory.capacities[:5], 1, atol=1e-12)
    assert memory.capacities[5:].max() < 5e-3
    assert memory.total == pytest.approx(5, abs=0.01)


def test_no_memory():
    assert memory_capacity(linear(np.zeros((3, 3)), np.ones(3)), steps=3000).total < 0.01
    silent = memory_capacity(linear(np.zeros((3, 3)), np.zeros(3)), steps=3000)
    assert silent.total < 1e-9


def test_the_capacity_is_not_above_the_number_of_states():
    layer = crnn.RNN(1, 30, seed=0)
    layer.params["W_h"] *= 0.95
    small = memory_capacity(layer, scale=0.01, steps=3000).total
    large = memory_capacity(layer, scale=2.0, steps=3000).total
    assert large < 0.7 * small < small < 30.1


def test_a_stack_and_other_layers():
    stack = crnn.Sequential([crnn.GRU(1, 6, seed=0), crnn.Dense(6, 3, seed=1)])
    memory = memory_capacity(stack, steps=500)
    assert (memory.states, len(memory.capacities)) == (3, 6)
    assert memory_capacity(crnn.LSTM(1, 4, seed=0), steps=500, delays=3).capacities.shape == (3,)


# ----------------------------------------------------------------------------------- the definition


def test_it_is_the_squared_correlation_on_other_steps():
    model = crnn.RNN(1, 7, dtype="float64", seed=3)
    memory = memory_capacity(model, delays=4, steps=200, washout=30, scale=0.3, seed=9, alpha=0.01)
    u = 0.3 * (2 * crnn._core.random_uniform(9, capacity._STREAM, 0, 430) - 1)
    states = model(u[None, :, None])[0][0]
    for k in range(1, 5):
        train, test = np.arange(30, 230), np.arange(230, 430)
        Z, y = states[train] - states[train].mean(axis=0), u[train - k] - u[train - k].mean()
        w = np.linalg.solve(Z.T @ Z + 0.01 * np.eye(7), Z.T @ y)
        r = np.corrcoef(states[test] @ w, u[test - k])[0, 1]
        assert memory.capacities[k - 1] == pytest.approx(r**2, rel=1e-9)


@pytest.mark.parametrize("alpha", [1e-3, 10.0])
def test_the_readout_is_that_of_scikit_learn(alpha):
    Ridge = pytest.importorskip("sklearn.linear_model").Ridge
    rng = np.random.default_rng(0)
    Z, Y = rng.normal(size=(60, 5)) + 3, rng.normal(size=(60, 2)) - 1
    W, b = capacity._ridge(Z, Y, alpha)
    peer = Ridge(alpha, solver="svd").fit(Z, Y)
    np.testing.assert_allclose(W, peer.coef_.T, rtol=1e-10)
    np.testing.assert_allclose(b, peer.intercept_, rtol=1e-10)


def test_states_that_depend_on_each_other():
    layer = linear(np.kron(np.eye(2), np.eye(4, k=-1)), np.tile(np.eye(4)[0], 2))  # each twice
    for alpha in (0, 1e-9):
        memory = memory_capacity(layer, steps=2000, alpha=alpha)
        assert memory.total == pytest.approx(3, abs=0.03)


def test_seeds_and_the_model():
    model = crnn.RNN(1, 5, seed=0)
    before = copy.deepcopy(model.state_dict())
    first = memory_capacity(model, steps=300, seed=4).capacities
    np.testing.assert_array_equal(first, memory_capacity(model, steps=300, seed=4).capacities)
    assert (first != memory_capacity(model, steps=300).capacities).any()
    assert (first != memory_capacity(model, steps=300, seed=None).capacities).any()
    assert model.calls == 0
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_the_table_and_the_text():
    memory = memory_capacity(ring(4, 0.5), steps=500)
    assert repr(memory) == "<MemoryCapacity: 3.00 of at most 4, delays 1 to 8>"
    assert list(memory.columns) == ["delay", "capacity"]
    np.testing.assert_array_equal(memory.columns["delay"], np.arange(1, 9))
    pandas = pytest.importorskip("pandas")
    assert isinstance(memory.to_frame(), pandas.DataFrame)


# ---------------------------------------------------------------------------------- wrong arguments


def exploding():
    return linear(3.0 * np.eye(2), np.ones(2))


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (None, {}, TypeError, "model: expected a layer, got None"),
        (crnn.RNN(2, 3), {}, ValueError, r"model: expected one with input_size = 1, .* got 2"),
        (
            crnn.Sequential([crnn.RNN(1, 3), crnn.Pool("last")]),
            {},
            ValueError,
            r"model: expected one that maps \(B, T, 1\) to states \(B, T, H\), got \(1, 3\)",
        ),
        (exploding(), {}, ValueError, r"model: expected finite states, got .* at \(0, \d+, \d\)"),
        (crnn.RNN(1, 3), {"steps": 3}, ValueError, "steps: expected more than H=3 states, got 3"),
        (crnn.RNN(1, 3), {"steps": 0}, ValueError, "steps: expected an integer of at least 1"),
        (crnn.RNN(1, 3), {"steps": 2**60}, ValueError, "washout, steps: expected sizes"),
        (crnn.RNN(1, 3), {"delays": 0}, ValueError, "delays: expected an integer of at least 1"),
        (crnn.RNN(1, 3), {"delays": 1.5}, TypeError, "delays: expected an integer of at least 1"),
        (crnn.RNN(1, 3), {"delays": 2**58}, ValueError, "washout, steps: expected sizes"),
        (crnn.RNN(1, 3), {"delays": 2**50}, ValueError, "steps, delays: expected sizes"),
        (crnn.RNN(1, 3), {"washout": 5}, ValueError, "washout: expected at least .* 6, got 5"),
        (crnn.RNN(1, 3), {"scale": 0}, ValueError, "scale: expected a positive number, got 0"),
        (crnn.RNN(1, 3), {"alpha": -1}, ValueError, "alpha: expected .* at least 0, got -1"),
        (crnn.RNN(1, 3), {"alpha": np.nan}, ValueError, "alpha: expected a finite number"),
        (crnn.RNN(1, 3), {"alpha": np.inf}, ValueError, "alpha: expected a finite number"),
        (crnn.RNN(1, 3), {"seed": -1}, ValueError, "seed: expected None or an integer"),
    ],
)
def test_wrong_arguments(model, options, error, message):
    with pytest.raises(error, match=message):
        memory_capacity(model, **options)
