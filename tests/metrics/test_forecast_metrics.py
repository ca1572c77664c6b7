"""Metrics of forecasts, by their definitions. Letters: B series, T steps, S samples, Q levels."""

import math

import numpy as np
import pytest

from crnn import metrics
from crnn.losses import quantile
from support.comparing import assert_close

LEVELS = np.arange(1, 10) / 10


def problem(seed=0, B=7, T=6, S=40):
    """Return samples, targets of which some are missing, and the past of each series."""
    rng = np.random.default_rng(seed)
    target = 10 + 3 * rng.normal(size=(B, T))
    target[rng.random((B, T)) < 0.2] = np.nan
    past = [10 + 3 * rng.normal(size=n) for n in rng.integers(1, 30, B)]
    past[0][::3] = np.nan
    return 10 + 3 * rng.normal(size=(B, S, T)), target, past


def quantiles(samples, levels):
    return np.moveaxis(np.quantile(samples, levels, axis=1), 0, -1)


def test_crps_is_the_mean_over_pairs():
    samples, target, _ = problem()
    for fair in (False, True):
        total = metrics.crps(samples, target, fair=fair)
        scores = []
        for b, t in zip(*np.nonzero(~np.isnan(target)), strict=True):
            x, S = samples[b, :, t], samples.shape[1]
            pairs = np.abs(x[:, None] - x).sum() / (S * (S - 1) if fair else S * S)
            scores.append(np.abs(x - target[b, t]).mean() - pairs / 2)
        assert total.mean == pytest.approx(np.mean(scores), rel=1e-12)
        assert total.weight == len(scores)
    assert metrics.crps(samples[:, :1], target).sum == pytest.approx(
        np.nansum(np.abs(samples[:, 0] - target)), rel=1e-12
    )


def test_crps_of_many_quantiles_is_the_quantile_loss():
    """The CRPS is the integral of the quantile losses over all levels."""
    samples, target, _ = problem(S=2000)
    levels = (np.arange(400) + 0.5) / 400
    loss = metrics.quantile_loss(quantiles(samples, levels), target, levels=levels)
    assert loss.mean == pytest.approx(metrics.crps(samples, target).mean, rel=1e-3)


def test_quantile_losses_by_definition():
    samples, target, _ = problem()
    y, there = quantiles(samples, LEVELS), ~np.isnan(target)
    z = np.where(there, target, 0)[..., None]
    each = np.where(there[..., None], 2 * np.abs((y - z) * ((z <= y) - LEVELS)), 0)
    total = metrics.quantile_loss(y, target, levels=LEVELS)
    assert total.sum == pytest.approx(each.sum(), rel=1e-12)
    assert total.weight == 9 * there.sum()
    size = np.abs(z).sum()
    assert metrics.wql(y, target) == pytest.approx(each.sum(axis=(0, 1)).mean() / size, rel=1e-12)
    median = y[..., 4]
    assert metrics.nd(median, target) == pytest.approx(
        np.nansum(np.abs(median - target)) / size, rel=1e-12
    )
    one = metrics.wql(y[..., 4:5], target, levels=[0.5])
    assert one == pytest.approx(metrics.nd(median, target), rel=1e-12)
    trained, _ = quantile(y, z[..., 0], levels=LEVELS, weights=there)
    assert 2 * trained == pytest.approx(total.mean, rel=1e-12)


def test_scaled_errors_by_definition():
    samples, target, past = problem()
    scale = metrics.seasonal_error(past, 4)
    for row, unit in zip(past, scale, strict=True):
        m = 4 if len(row) > 4 else 1
        steps = [abs(row[t] - row[t - m]) for t in range(m, len(row))]
        steps = [step for step in steps if not math.isnan(step)]
        expected = np.mean(steps) if steps else math.nan
        assert unit == pytest.approx(expected, rel=1e-12, nan_ok=True)
    scale[2], target[4] = 0, np.nan
    y = quantiles(samples, [0.025, 0.5, 0.975])
    use = [b for b in range(7) if scale[b] > 0 and not np.isnan(target[b]).all()]
    errors = [np.nanmean(np.abs(y[b, :, 1] - target[b])) / scale[b] for b in use]
    total = metrics.mase(y[..., 1], target, scale=scale)
    assert total.mean == pytest.approx(np.mean(errors), rel=1e-12)
    assert total.weight == len(use) < 7
    low, high = y[..., 0], y[..., 2]
    score = high - low + 40 * ((low - target) * (target < low) + (target - high) * (target > high))
    intervals = [np.nanmean(score[b]) / scale[b] for b in use]
    got = metrics.msis(y[..., [0, 2]], target, scale=scale).mean
    assert got == pytest.approx(np.mean(intervals), rel=1e-12)


def test_coverage_counts_observed_targets():
    samples, target, _ = problem()
    y = quantiles(samples, [0.1, 0.9])
    there = ~np.isnan(target)
    inside = there & (y[..., 0] <= target) & (target <= y[..., 1])
    assert metrics.coverage(y, target) == (inside.sum(), there.sum())
    by_step = [metrics.coverage(y[:, [t]], target[:, [t]]).mean for t in range(6)]
    assert_close(np.array(by_step), inside.sum(axis=0) / there.sum(axis=0), 1e-12)


def test_missing_steps_are_those_of_weight_0():
    samples, target, past = problem()
    there, y = ~np.isnan(target), quantiles(samples, LEVELS)
    filled, scale = np.where(there, target, -1e6), np.abs(metrics.seasonal_error(past, 1)) + 1
    calls = {
        "crps": (samples, {}),
        "quantile_loss": (y, {"levels": LEVELS}),
        "wql": (y, {}),
        "nd": (y[..., 4], {}),
        "mase": (y[..., 4], {"scale": scale}),
        "msis": (y[..., [0, 8]], {"scale": scale}),
        "coverage": (y[..., [0, 8]], {}),
    }
    for name, (values, options) in calls.items():
        metric = getattr(metrics, name)
        expected = metric(values, target, **options)
        assert metric(values, filled, weights=there, **options) == expected, name
        some = metric(values, target, lengths=[3] * 7, **options)
        axis = 2 if name == "crps" else 1
        first = metric(np.take(values, range(3), axis), target[:, :3], **options)
        assert some == pytest.approx(first, rel=1e-12), name


def test_batches_add_up():
    samples, target, _ = problem()
    y = quantiles(samples, LEVELS)
    for metric, values in ((metrics.wql(levels=LEVELS), y), (metrics.nd(), y[..., 4])):
        metric.start()
        for rows in (slice(0, 3), slice(3, 7)):
            metric.add(values[rows], target[rows])
        assert metric.value() == pytest.approx(metric(values, target), rel=1e-12)
        assert eval(repr(metric), vars(metrics))(values, target) == metric(values, target)


def test_no_observed_step_and_targets_of_0():
    y, nothing, zero = np.ones((2, 3)), np.full((2, 3), np.nan), np.zeros((2, 3))
    assert math.isnan(metrics.nd(y, nothing))
    assert metrics.nd(y, zero) == math.inf
    assert math.isnan(metrics.nd(zero, zero))
    assert math.isnan(metrics.mase(y, nothing, scale=[1, 1]).mean)
    assert math.isnan(metrics.crps(np.ones((2, 4, 3)), nothing).mean)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda y, z: metrics.crps(y[:, 0], z), r"samples: expected floats of shape \(B, S, T\)"),
        (lambda y, z: metrics.crps(y, z.T), r"target: expected real numbers of shape \(7, 6\)"),
        (lambda y, z: metrics.crps(y[:, :1], z, fair=True), "samples: expected at least 2"),
        (lambda y, z: metrics.crps(y, z, fair=1.5), "fair: expected"),
        (lambda y, z: metrics.coverage(y, z), r"y: expected floats of shape \(B, T, 2\)"),
        (lambda y, z: metrics.wql(np.ones((7, 6, 9)), z, levels=[0.5]), r"levels: .*\(9,\)"),
        (lambda y, z: metrics.wql(levels=[0, 0.5]), "levels: expected numbers between 0 and 1"),
        (lambda y, z: metrics.wql(levels="some"), "levels: expected"),
        (lambda y, z: metrics.mase(z, z, scale=[1.0]), "scale: expected a number for each series"),
        (lambda y, z: metrics.mase(z, z, scale=[-1] * 7), "scale: expected finite numbers"),
        (lambda y, z: metrics.seasonal_error([[1, 2]], 0), "period: expected"),
        (lambda y, z: metrics.seasonal_error([[[1]]], 1), r"series\[0\]: expected"),
        (lambda y, z: metrics.msis(z[..., None][..., [0, 0]], z, scale=np.ones(7), alpha=0),
         "alpha: expected"),
        (lambda y, z: metrics.nd(z, z, weights=np.full(7, -1)), "weights: expected finite"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, message):
    samples, target, _ = problem()
    with pytest.raises((ValueError, TypeError), match=message):
        call(samples, target)
