"""Compare forecasts of DeepAR with the known distribution of an autoregressive process.

    python benchmarks/autoregression.py              a panel of 2,000 series (a minute)
    python benchmarks/autoregression.py --quick      at the reduced size of the tests

The process is z_t = phi z_(t-1) + e, with e of variance 1. Forecasts of its step h have the
variance (1 - phi^2h) / (1 - phi^2). A model that feeds the means of its forecasts back, instead of
numbers that are drawn, has the variance of step 1 at every step: its intervals are shown for
comparison.

Writes the table between two marks in docs/tasks.md; benchmarks/tasks.py writes the rest of the
page. The exit status is 1 if spread or coverage are out of their bounds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from measuring import ROOT, processor, update
from numpy.typing import NDArray

import crnn
from crnn.data import Panel
from crnn.models import DeepAR

Floats = NDArray[np.float64]

PHI, STEPS, HORIZON = 0.8, 80, 20
SHARE = 0.8  # of the intervals
SHOWN = (1, 2, 5, 10, 20)  # steps in the table
SPREAD, COVERAGE = 0.1, 0.03  # bounds: relative for the spread, absolute for the coverage


class Size(NamedTuple):
    """Size of the panel, the network and the training."""

    series: int
    hidden_size: int
    updates: int
    samples: int


FULL, QUICK = Size(2000, 24, 2000, 400), Size(200, 12, 600, 200)


def panel(series: int, seed: int) -> Floats:
    """Return rows of the process (n, STEPS + HORIZON), the first step of which is stationary."""
    z = np.random.default_rng(seed).normal(size=(series, STEPS + HORIZON))
    z[:, 0] /= np.sqrt(1 - PHI**2)
    for t in range(1, z.shape[1]):
        z[:, t] += PHI * z[:, t - 1]
    return z


def spread() -> Floats:
    """Return the standard deviation of each step of a forecast (H,)."""
    ahead = np.arange(1, HORIZON + 1)
    return np.asarray(np.sqrt((1 - PHI ** (2 * ahead)) / (1 - PHI**2)))


def trained(z: Floats, size: Size, seed: int, progress: bool = False) -> DeepAR:
    """Return a model that is trained on all steps of z but the last HORIZON."""
    past = Panel(z[:, :STEPS])
    options = {"hidden_size": size.hidden_size, "dropout": 0.0, "scale": None, "seed": seed}
    model = DeepAR.for_panel(past, HORIZON, likelihood="gaussian", lags=[1], **options)
    training = {"updates": size.updates, "batch_size": 64, "lr": 5e-3}
    model.train(past, validation_windows=0, progress=progress, **training)
    return model


class Result(NamedTuple):
    """What forecasts show at each step (H,)."""

    spread: Floats  # standard deviation of the samples, a mean over the series
    observed: Floats  # share of the numbers of the panel in the intervals
    expected: Floats  # share of all numbers that the process can have, given the past
    fed_means: Floats  # as expected, for a model that feeds means back

    @property
    def passed(self) -> bool:
        near = np.abs(self.spread / spread() - 1) < SPREAD
        shares = np.stack([self.observed, self.expected])
        return bool(near[[0, 4, 19]].all() and (np.abs(shares - SHARE) < COVERAGE).all())


def compare(model: DeepAR, z: Floats, samples: int, seed: int = 0) -> Result:
    """Return how forecasts of a model compare with the process."""
    past, future = z[:, :STEPS], z[:, STEPS:]
    forecast = model.predict(Panel(past), samples=samples, seed=seed)
    interval = forecast.interval(SHARE)
    return Result(
        forecast.samples.std(axis=1, dtype=np.float64).mean(axis=0),
        observed(interval, future),
        expected(interval, past[:, -1:]),
        expected(intervals_of_fed_means(model, past, samples, seed), past[:, -1:]),
    )


def observed(interval: Sequence[NDArray[np.floating]], future: Floats) -> Floats:
    """Return the share of the numbers of each step in intervals (n, H)."""
    low, high = interval
    return np.asarray(((low <= future) & (future <= high)).mean(axis=0))


def expected(interval: Sequence[NDArray[np.floating]], last: Floats) -> Floats:
    """Return the probability of each step to be in intervals, given the last numbers."""
    mean = PHI ** np.arange(1, HORIZON + 1) * last
    below = np.vectorize(NormalDist().cdf)
    low, high = (below((end - mean) / spread()) for end in interval)
    return np.asarray((high - low).mean(axis=0))


def intervals_of_fed_means(
    model: DeepAR, past: Floats, samples: int, seed: int = 0
) -> tuple[Floats, Floats]:
    """Return intervals (n, H) of a model that reads the mean of each step as the number there."""
    known = past
    ends = []
    for _ in range(HORIZON):
        step = model.predict(Panel(known), steps=1, samples=samples, seed=seed)
        ends.append(step.interval(SHARE))
        known = np.concatenate([known, step.mean], axis=1)
    low, high = (np.concatenate(end, axis=1) for end in zip(*ends, strict=True))
    return low, high


ABOUT = f"""\
## Spread of forecasts

Written by `make tasks` (benchmarks/autoregression.py): DeepAR with Gaussian distributions is
trained on a panel of z_t = {PHI} z_(t-1) + e, e of variance 1, and forecasts the {HORIZON} steps
after it. The spread of step h, the standard deviation of the samples, must be within {SPREAD:.0%}
of theory, √((1 - {PHI}^2h) / (1 - {PHI}²)), at the steps 1, 5 and 20, and intervals of {SHARE:.0%}
must contain {SHARE - COVERAGE:.0%} to {SHARE + COVERAGE:.0%} of the numbers of the panel at every
step, and of all that the process can have. The last column is for comparison: the mean of each
step is fed back, and not a number that is drawn.
"""


def table(result: Result) -> list[str]:
    """Return the lines of the table."""
    lines = [
        "| step | spread, theory | spread of samples | in the interval, panel | process "
        "| process, means fed back |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    columns = (spread(), result.spread, result.observed, result.expected, result.fed_means)
    for step in SHOWN:
        cells = (f"{column[step - 1]:.3f}" for column in columns)
        lines.append(f"| {step} | {' | '.join(cells)} |")
    for name, end in (("least", np.min), ("most", np.max)):
        shares = (f"{end(column):.3f}" for column in columns[2:])
        lines.append(f"| {name} of all steps | | | {' | '.join(shares)} |")
    return lines


def report(result: Result, size: Size, seconds: float) -> str:
    """Return the section of the page."""
    setting = (
        f"- {size.series:,} series of {STEPS} steps, {size.updates:,} updates, {size.samples} "
        f"samples, {seconds:.0f} s; {processor()}; crnn {crnn.__version__}, "
        f"{time.strftime('%Y-%m-%d')}"
    )
    return "\n".join([ABOUT + setting, "", *table(result)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and compare, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="use the reduced size of the tests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="folder for the page (default: docs)")
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else FULL
    start = time.perf_counter()
    z = panel(size.series, options.seed)
    model = trained(z, size, options.seed, progress=sys.stderr.isatty())
    result = compare(model, z, size.samples, options.seed)
    section = report(result, size, time.perf_counter() - start)
    print(section)
    if options.output or not options.quick:
        update((options.output or ROOT / "docs") / "tasks.md", "autoregression", section)
    return int(not result.passed)


if __name__ == "__main__":
    sys.exit(main())
