"""Forecasts of a process whose distribution is known (benchmarks/autoregression.py)."""

import autoregression
import numpy as np
import pytest
from autoregression import HORIZON, PHI, QUICK, STEPS


def test_the_panel_is_the_process():
    z = autoregression.panel(4000, seed=1)
    assert z.shape == (4000, STEPS + HORIZON)
    np.testing.assert_allclose(z.var(axis=0), 1 / (1 - PHI**2), rtol=0.12)
    noise = z[:, 1:] - PHI * z[:, :-1]
    assert noise.std() == pytest.approx(1, rel=0.01)
    assert abs(np.mean(noise[:, 1:] * noise[:, :-1])) < 0.01


def test_the_distribution_of_a_forecast():
    """Futures behind one past have the spread that is expected, and are in the interval."""
    rng = np.random.default_rng(2)
    last = 1.7
    z = np.full(40_000, last)
    low, high = np.full((1, HORIZON), -0.5), np.full((1, HORIZON), 1.5)
    inside = autoregression.expected((low, high), np.array([[last]]))
    for step in range(HORIZON):
        z = PHI * z + rng.normal(size=len(z))
        assert z.std() == pytest.approx(autoregression.spread()[step], rel=0.02)
        assert np.mean((z > -0.5) & (z < 1.5)) == pytest.approx(inside[step], abs=0.015)


@pytest.mark.slow
def test_forecasts_spread_as_the_process_does(threads):
    threads(1)
    z = autoregression.panel(QUICK.series, seed=0)
    model = autoregression.trained(z, QUICK, seed=0)
    result = autoregression.compare(model, z, QUICK.samples)
    ahead = [0, 4, 19]
    np.testing.assert_allclose(result.spread[ahead], autoregression.spread()[ahead], rtol=0.1)
    np.testing.assert_allclose(result.expected, 0.8, atol=0.03)
    # means that are fed back: the spread of one step around the mean of the process
    np.testing.assert_allclose(result.fed_means[[0, 19]], [0.8, 0.56], atol=0.03)


def test_the_section_is_written(monkeypatch, tmp_path):
    exact = autoregression.spread()
    wrong = exact.copy()
    wrong[4] *= 1.2
    shares = np.full(HORIZON, 0.8)
    monkeypatch.setattr(autoregression, "trained", lambda *args, **options: None)
    for spread, status in ((exact, 0), (wrong, 1)):
        result = autoregression.Result(spread, shares, shares, 0.7 * shares)
        monkeypatch.setattr(autoregression, "compare", lambda *args, result=result: result)
        assert autoregression.main(["--quick", "--output", str(tmp_path)]) == status
    page = (tmp_path / "tasks.md").read_text("utf-8")
    assert "| 5 | 1.575 | 1.890 | 0.800 | 0.800 | 0.560 |" in page
