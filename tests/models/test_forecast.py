"""Forecasts, the seasonal naive forecast, and tables of backtests."""

import numpy as np
import pytest

import crnn
from crnn.metrics.forecasts import seasonal_error
from crnn.models.backtest import LEVELS, Backtest, Quantiles, scores_of, seasonal_naive
from crnn.models.forecast import Forecast
from support.comparing import assert_close

RNG = np.random.default_rng(0)
SAMPLES = RNG.normal(size=(3, 40, 5)).astype(np.float32)
TIMES = np.datetime64("2024-01") + np.arange(15).reshape(3, 5) * np.timedelta64(1, "M")
PANEL = crnn.data.Panel(
    RNG.normal(size=(3, 20)), times=("2022-05", np.timedelta64(1, "M")), names=["a", "b", "c"]
)


@pytest.fixture
def forecast():
    return Forecast(SAMPLES, ["a", "b", "c"], PANEL.future_times(5), PANEL)


def test_summaries(forecast):
    assert_close(forecast.mean, SAMPLES.mean(axis=1), 1e-6)
    assert_close(forecast.median, np.median(SAMPLES, axis=1), 1e-6)
    both = forecast.quantile([0.1, 0.9])
    assert both.shape == (2, 3, 5)
    np.testing.assert_array_equal(both[0], forecast.quantile(0.1))
    assert_close(both, np.quantile(SAMPLES, [0.1, 0.9], axis=1), 1e-6)
    low, high = forecast.interval(0.8)
    assert_close(np.stack([low, high]), both, 1e-6)


def test_sums_are_those_of_paths(forecast):
    total = forecast.sum(1, 4)
    assert total.samples.shape == (3, 40, 1)
    assert_close(total.samples[:, :, 0], SAMPLES[:, :, 1:4].sum(axis=2), 1e-6)
    assert_close(forecast.sum().median[:, 0], np.median(SAMPLES.sum(axis=2), axis=1), 1e-6)
    for wrong in ((3, 3), (5, None)):
        with pytest.raises(ValueError, match="expected a range of the H=5 steps"):
            forecast.sum(*wrong)


def test_one_series(forecast):
    for key in ("b", 1, -2):
        one = forecast[key]
        assert one.names == ("b",)
        np.testing.assert_array_equal(one.samples, SAMPLES[1:2])
        np.testing.assert_array_equal(one.times, forecast.times[1:2])
    assert [one.names for one in forecast] == [("a",), ("b",), ("c",)]
    with pytest.raises(KeyError, match="expected the name of one of 3 series"):
        forecast["d"]
    with pytest.raises(IndexError, match="expected a position"):
        forecast[3]


def test_columns(forecast):
    table = forecast.columns((0.25, 0.5))
    assert list(table) == ["series", "step", "time", "mean", "0.25", "0.5"]
    assert {len(column) for column in table.values()} == {15}
    assert table["step"][:6].tolist() == [1, 2, 3, 4, 5, 1]
    np.testing.assert_array_equal(table["0.5"].reshape(3, 5), forecast.median)


def test_frames(forecast):
    pytest.importorskip("pandas")
    frame = forecast.to_frame((0.1,))
    assert frame.columns.tolist() == ["series", "step", "time", "mean", "0.1"]
    assert frame["series"].tolist()[::5] == ["a", "b", "c"]


@pytest.mark.parametrize("history", [PANEL, None])
def test_plots(history):
    pytest.importorskip("matplotlib").use("Agg")
    times = None if history is None else PANEL.future_times(5)
    axes = Forecast(SAMPLES, ["a", "b", "c"], times, history).plot("b")
    assert axes.get_title() == "b"
    lines = [line.get_ydata() for line in axes.lines]
    assert any(
        len(line) == 5 and np.allclose(line, np.median(SAMPLES[1], axis=0)) for line in lines
    )


@pytest.mark.parametrize(
    ("levels", "error", "message"),
    [
        (2, ValueError, "q: expected numbers between 0 and 1, got 2"),
        ([0.5, 0], ValueError, "q: expected numbers between 0 and 1, got 0.0"),
        (np.nan, ValueError, "q: expected numbers between 0 and 1, got nan"),
        ([[0.5]], TypeError, r"q: expected a number or numbers of shape \(Q,\), got \[\[0.5"),
        ("x", TypeError, "q: expected a number or numbers"),
        (None, TypeError, "q: expected a number or numbers"),
        (True, TypeError, "q: expected a number or numbers"),
    ],
)
def test_bad_levels(forecast, levels, error, message):
    with pytest.raises(error, match=message):
        forecast.quantile(levels)


def test_columns_of_levels_that_are_close(forecast):
    assert list(forecast.columns((0.1, 0.1000001, 1e-7)))[-3:] == ["0.1", "0.1000001", "1e-07"]
    for levels in ((0.5, 0.5), 0.5):
        with pytest.raises(ValueError, match="quantiles: expected distinct levels, got"):
            forecast.columns(levels)
    with pytest.raises(TypeError, match="quantiles: expected a number or numbers"):
        forecast.columns(("x",))


def test_sums_of_wrong_steps(forecast):
    with pytest.raises(TypeError, match=r"first: expected an integer or None, got 1.5"):
        forecast.sum(1.5)
    with pytest.raises(TypeError, match="last: expected an integer or None, got 'x'"):
        forecast.sum(0, "x")


def test_bad_forecasts():
    with pytest.raises(ValueError, match="names: expected n=3"):
        Forecast(SAMPLES, ["a"])
    with pytest.raises(ValueError, match="times: expected shape"):
        Forecast(SAMPLES, ["a", "b", "c"], TIMES[:2])
    with pytest.raises((TypeError, ValueError), match="samples: expected"):
        Forecast(SAMPLES[0], ["a", "b", "c"])


# --------------------------------------------------------------------------------- seasonal naive


def by_definition(past, steps, m):
    """The number one season before; earlier ones where it is missing."""
    m, found = m if m <= len(past) else 1, []
    for h in range(steps):
        t = len(past) - m + h % m
        while t >= 0 and np.isnan(past[t]):
            t -= m
        found.append(past[t] if t >= 0 else 0.0)
    return found


@pytest.mark.parametrize("period", [1, 4, 7])
def test_seasonal_naive(period):
    series = [RNG.normal(size=n) for n in (0, 1, 3, 4, 9, 30)]
    for numbers in series[2:]:
        numbers[RNG.random(len(numbers)) < 0.3] = np.nan
    found = seasonal_naive(series, 11, period)
    expected = [by_definition(past, 11, period) for past in series]
    np.testing.assert_array_equal(found.mean, expected)
    assert (np.diff(found.levels, axis=0) >= 0).all()
    np.testing.assert_allclose(found.levels[len(LEVELS) // 2], expected, atol=1e-12)


def test_spread_of_the_seasonal_naive_forecast():
    past = np.cumsum(RNG.normal(size=50))
    found = seasonal_naive([past], 4, 2)
    deviation = np.sqrt(np.mean((past[2:] - past[:-2]) ** 2))
    width = found.levels[-1, 0] - found.levels[0, 0]
    expected = 2 * 1.959963984540054 * deviation * np.sqrt([1, 1, 2, 2])
    np.testing.assert_allclose(width, expected, rtol=1e-12)


def test_scores():
    levels = np.repeat(np.array(LEVELS)[:, None, None] * 10, 2, axis=2)  # quantiles of a uniform
    truth = np.array([[5.0, np.nan]])
    scores = scores_of(Quantiles(levels, levels[5]), truth, np.array([2.0]))
    assert scores.values["nd"] == 0
    assert scores.values["mase"] == 0
    assert scores.values["nrmse"] == 0
    assert scores.values["msis"] == pytest.approx(9.5 / 2)
    assert scores.values["coverage 80%"] == scores.coverage[0] == 1
    assert np.isnan(scores.coverage[1])
    loss = np.mean([2 * abs((q * 10 - 5) * ((5 <= q * 10) - q)) for q in np.arange(1, 10) / 10])
    assert scores.values["wql"] == pytest.approx(loss / 5)


def test_tables():
    naive = seasonal_naive(PANEL.series, 2)
    errors = seasonal_error(PANEL.series, 1)
    table = Backtest({"naive": scores_of(naive, np.ones((3, 2)), errors)}, 1, 2, 3)
    assert table["naive"]["mase"] > 0
    assert table.coverage("naive").shape == (2,)
    lines = repr(table).splitlines()
    assert lines[0] == "3 series, 1 x 2 steps"
    assert len(lines) == 1 + 1 + 7 + 2
