"""The series that are computed: Mackey-Glass and NARMA."""

import itertools
import math

import numpy as np
import pytest

import crnn
from crnn.data import generated, mackey_glass, narma

pytestmark = pytest.mark.filterwarnings("error")


def units(solve, dt, count, tau=17, level=1.2):
    """The first values of a series with a constant history, one per unit of time."""
    per_unit = round(1 / dt)
    values = solve([level] * (round(tau * per_unit) + 1), dt)
    return np.array(list(itertools.islice(values, count * per_unit))[per_unit - 1 :: per_unit])


# ------------------------------------------------------------------------------------ Mackey-Glass


def test_the_first_unit_is_the_exact_solution():
    # The delayed value is 1.2 until t = tau, and the equation is linear: y = q + (1.2 - q) e^-0.1t
    production = 0.2 * 1.2 / (1 + 1.2**10) / 0.1
    exact = production + (1.2 - production) * math.exp(-0.1)
    assert exact == pytest.approx(1.11756, abs=5e-6)
    assert units(generated._runge_kutta, 1.0, 1)[0] == pytest.approx(exact, abs=1e-7)
    assert units(generated._runge_kutta, 0.1, 1)[0] == pytest.approx(exact, abs=1e-11)
    euler = production + (1.2 - production) * 0.99**10
    assert units(generated._euler, 0.1, 1)[0] == pytest.approx(euler, abs=1e-14)


def solution(tau, level, count):
    """Values at 1, 2, ..., count of an independent solver, from one delay to the next."""
    solve_ivp = pytest.importorskip("scipy.integrate").solve_ivp
    parts = []

    def past(t):
        return level if t <= 0 else parts[min(int(t // tau), len(parts) - 1)](t)[0]

    def slope(t, y):
        delayed = past(t - tau)
        return 0.2 * delayed / (1 + delayed**10) - 0.1 * y

    y, options = [level], {"rtol": 1e-11, "atol": 1e-12, "dense_output": True, "max_step": 0.5}
    while len(parts) * tau < count:
        ends = len(parts) * tau, (len(parts) + 1) * tau
        done = solve_ivp(slope, ends, y, method="DOP853", **options)
        parts.append(done.sol)
        y = done.y[:, -1]
    return np.array([past(t) for t in range(1, count + 1)])


@pytest.mark.parametrize(("tau", "level"), [(17, 1.2), (6, 0.9), (2, 1.2)])
def test_the_methods_have_their_orders(tau, level):
    exact = solution(tau, level, 60)
    for solve, order in ((generated._runge_kutta, 4), (generated._euler, 1)):
        coarse, fine = (np.abs(units(solve, dt, 60, tau, level) - exact).max() for dt in (0.2, 0.1))
        assert 0.8 * 2**order < coarse / fine < 1.25 * 2**order
        assert fine < {4: 2e-8, 1: 0.02}[order]


def test_euler_is_the_recursion_that_is_published():
    rng = np.random.default_rng(0)
    history = (1.2 + 0.2 * (rng.random(171) - 0.5)).tolist()
    y = list(history)
    for n in range(170, 1170):
        d = y[n - 170]
        y.append(y[n] + 0.1 * (0.2 * d / (1 + d**10) - 0.1 * y[n]))
    ours = list(itertools.islice(generated._euler(history, 0.1), 1000))
    np.testing.assert_allclose(ours, y[171:], rtol=1e-9)


def test_a_delay_of_one_step():
    np.testing.assert_allclose(
        units(generated._runge_kutta, 1.0, 2, tau=1), solution(1, 1.2, 2), atol=2e-5
    )
    # The history goes in a line from 1.0 to 1.2; an independent value by many small steps.
    y, n = 1.2, 10000
    for i in range(n):
        d = 1.0 + 0.2 * (i + 0.5) / n
        y += 0.1 / n * (0.2 * d / (1 + d**10) - 0.1 * y)
    assert next(generated._runge_kutta([1.0, 1.2], 0.1)) == pytest.approx(y, abs=2e-5)
    assert next(generated._runge_kutta([1.2, 1.2], 0.1)) != pytest.approx(y, abs=2e-4)


def test_1000_units_are_dropped():
    values = units(generated._runge_kutta, 0.1, 1005)
    np.testing.assert_array_equal(mackey_glass(5, method="rk4"), values[1000:])
    assert mackey_glass(5, dt=0.5)[0] == units(generated._euler, 0.5, 1001)[-1]


def test_moments_are_those_of_the_literature():
    y = mackey_glass(21000)
    assert (y.dtype, y.shape) == (np.float64, (21000,))
    assert y.var() == pytest.approx(0.0511, abs=5e-4)
    assert 0.4 < y.min() < 0.45
    assert 1.3 < y.max() < 1.35
    assert mackey_glass(3000, method="rk4").var() == pytest.approx(0.051, abs=1e-3)


def test_seeds_change_the_history():
    first = mackey_glass(50, seed=0)
    np.testing.assert_array_equal(first, mackey_glass(50, seed=0))
    others = [mackey_glass(50), mackey_glass(50, seed=1)]
    assert all(np.abs(first - other).max() > 0.01 for other in others)


def test_bits():
    """The series is chaotic: one wrong bit would change its values."""
    assert mackey_glass(3000)[-1].hex() == "0x1.d7f8a98db09ccp-1"
    assert mackey_glass(3000, method="rk4", seed=5)[-1].hex() == "0x1.881847f3489f3p-1"
    u, y = narma(3000, seed=5)
    assert (u[-1].hex(), y[-1].hex()) == ("0x1.3de8f94d2771ep-3", "0x1.3d458d4ea3538p-2")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps: expected an integer of at least 1"),
        ({"steps": 2.0}, TypeError, "steps: expected an integer of at least 1, got 2.0"),
        ({"steps": 2**60}, ValueError, "steps: expected sizes that memory can hold"),
        ({"tau": 17.05}, ValueError, r"tau: expected a multiple of dt=0.1, got 17.05"),
        ({"tau": 0}, ValueError, "tau: expected a positive number, got 0"),
        ({"tau": math.nan}, ValueError, "tau: expected a positive number, got nan"),
        ({"tau": 1e30}, ValueError, "tau / dt: expected sizes that memory can hold"),
        ({"tau": 1e-9}, ValueError, "tau: expected a multiple of dt=0.1, got 1e-09"),
        ({"dt": 0.3}, ValueError, "dt: expected 1 divided by an integer, such as 0.1, got 0.3"),
        ({"dt": 2.0}, ValueError, "dt: expected 1 divided by an integer, such as 0.1, got 2.0"),
        ({"dt": 0}, ValueError, "dt: expected a positive number, got 0"),
        ({"dt": 5e-324}, ValueError, "dt: expected 1 divided by an integer"),
        ({"dt": "a"}, ValueError, "dt: expected a positive number, got 'a'"),
        ({"method": "heun"}, ValueError, "method: expected 'euler' or 'rk4', got 'heun'"),
        ({"method": ["rk4"]}, ValueError, "method: expected 'euler' or 'rk4', got .*rk4"),
        ({"seed": -1}, ValueError, "seed: expected None or an integer from 0"),
        ({"seed": 1.5}, TypeError, "seed: expected None or an integer from 0"),
    ],
)
def test_wrong_arguments_of_mackey_glass(options, error, message):
    with pytest.raises(error, match=message):
        mackey_glass(**({"steps": 3} | options))


# ------------------------------------------------------------------------------------------- NARMA


@pytest.mark.parametrize("order", [1, 2, 10, 11, 30])
def test_narma_is_its_equation(order):
    u, y = narma(400, order=order, seed=3)
    a, b, c = (0.3, 0.05, 0.1) if order <= 10 else (0.2, 0.04, 0.001)
    u_before, y_before = (np.concatenate([np.zeros(order), array]) for array in (u, y))
    for t in range(400):
        past = y_before[t : t + order]
        delayed = u_before[t + 1]  # u[t - order + 1]
        value = a * past[-1] + b * past[-1] * past.sum() + 1.5 * delayed * u[t] + c
        assert y[t] == pytest.approx(value, rel=1e-12)
    assert u.min() >= 0
    assert 0.49 < u.max() < 0.5


def test_a_shift_register_has_the_error_of_the_literature():
    """A linear filter of many inputs has an NMSE of 0.16 (Appeltant et al. 2011)."""
    u, y = narma(6000, seed=0)
    lags = np.stack([np.roll(u, k) for k in range(50)] + [np.ones(6000)], axis=1)
    train, test = slice(100, 3100), slice(3100, None)
    w = np.linalg.lstsq(lags[train], y[train], rcond=None)[0]
    assert np.mean((lags[test] @ w - y[test]) ** 2) / y[test].var() == pytest.approx(
        0.155, abs=0.02
    )


def test_narma_needs_fewer_steps_than_its_order():
    u, y = narma(3, order=10, seed=3)
    np.testing.assert_allclose(y, [0.1, 0.1305, 0.1 + 0.3 * 0.1305 + 0.05 * 0.1305 * 0.2305])
    np.testing.assert_array_equal(u, narma(10, order=10, seed=3)[0][:3])


def test_a_series_that_grows_is_drawn_again():
    trials = 0.5 * crnn._core.random_uniform(4, generated._INPUT, 0, 1200).reshape(2, 600)
    assert generated._narma_of(trials[0], 38) is None
    u, y = narma(600, order=38, seed=4)
    np.testing.assert_array_equal(u, trials[1])
    assert y.max() < 10


def test_orders_that_are_not_stable():
    with pytest.raises(
        ValueError, match=r"order: .* order 60, of which 100 series grew without end"
    ):
        narma(5000, order=60, seed=0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps: expected an integer of at least 1"),
        ({"order": 0}, ValueError, "order: expected an integer of at least 1"),
        ({"order": "10"}, TypeError, "order: expected an integer of at least 1, got '10'"),
        ({"order": 2**60}, ValueError, "order: expected sizes that memory can hold"),
        ({"seed": 2**64}, ValueError, "seed: expected None or an integer from 0"),
    ],
)
def test_wrong_arguments_of_narma(options, error, message):
    with pytest.raises(error, match=message):
        narma(**({"steps": 3} | options))


def test_a_narma_without_a_seed_is_fresh():
    assert (narma(20)[0] != narma(20)[0]).any()
