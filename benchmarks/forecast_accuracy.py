"""Train DeepAR on data sets and score its forecasts; benchmarks/forecasting.py is the command."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from measuring import processor

import crnn
from crnn.models import DeepAR
from crnn.models.backtest import Backtest

if TYPE_CHECKING:
    from forecasting import Data

MODEL, NAIVE = "DeepAR", "seasonal naive"
#: Metrics of `crnn.models.backtest.Backtest`, and their titles.
TITLES = {
    "wql": "wQL",
    "mase": "MASE",
    "nd": "ND",
    "coverage 80%": "80% interval",
    "coverage 95%": "95% interval",
}
SAMPLES, UPDATES = 200, 5000


class Setting(NamedTuple):
    """How a model of a data set is made and trained, and what it must reach.

    Parameters
    ----------
    measure : {"wql", "mase"}
        The metric that has a goal.
    goal : float
        The largest value that passes.
    published : str
        The best value of a model of this kind in print, and whose it is.
    model : mapping
        Options of `crnn.models.DeepAR.for_panel`.
    training : mapping
        Options of `crnn.models.DeepAR.train`; all numbers but the test are trained on.
    """

    measure: Literal["wql", "mase"]
    goal: float
    published: str
    model: Mapping[str, Any]
    training: Mapping[str, Any] = MappingProxyType({})


#: Recent hours, and those around the same time on each day of a week.
_HOURS = (*range(1, 8), *(24 * day + around for day in range(1, 8) for around in (-1, 0, 1)))
#: All options that differ between the data sets. They were chosen by `--validate`: forecasts of the
#: last window before the test (hospital: the last two), by models that are trained without both.
SETTINGS = {
    "car_parts": Setting(
        "wql",
        0.97,
        "0.953",
        {"likelihood": "negative_binomial", "context": 24, "layers": 1},
        {"updates": 1000, "lr": 3e-3},
    ),
    "hospital": Setting(
        "wql",
        0.059,
        "0.0532",
        {"hidden_size": 20, "layers": 1},
        {"updates": 600, "lr": 5e-3},
    ),
    "tourism_monthly": Setting(
        "mase",
        1.55,
        "1.409",
        {"context": 48, "layers": 1},
        {"updates": 1500, "lr": 3e-3},
    ),
    "m4_hourly": Setting(
        "wql",
        0.0376,
        "0.0337",
        {"context": 48, "layers": 1, "lags": _HOURS},
        {"updates": 3000, "lr": 3e-3},
    ),
}


class Score(NamedTuple):
    """Forecasts of one model, scored.

    Parameters
    ----------
    seed : int
        Seed of the model.
    table : Backtest
        The metrics.
    updates : int
        Of the training.
    seconds : float
        Of the training.
    """

    seed: int
    table: Backtest
    updates: int
    seconds: float


class Result(NamedTuple):
    """Scores of a data set: a model for each seed."""

    name: str
    setting: Setting
    scores: Sequence[Score]

    def of(self, metric: str) -> float:
        """Return the median of a metric over the seeds."""
        return median(score.table[MODEL][metric] for score in self.scores)

    @property
    def passed(self) -> bool:
        """Whether the median of the measure is at most the goal."""
        return self.of(self.setting.measure) <= self.setting.goal


def score(
    data: Data, setting: Setting, seed: int, *, updates: int = UPDATES, samples: int = SAMPLES
) -> Score:
    """Train a model without the last window of each series, and forecast this window."""
    past = data.train
    model = DeepAR.for_panel(past, data.horizon, period=data.period, seed=seed, **setting.model)
    start = time.perf_counter()
    progress = sys.stderr.isatty()
    training = dict(setting.training)
    updates = min(updates, training.pop("updates", updates))
    model.train(past, updates=updates, validation_windows=0, progress=progress, **training)
    seconds = time.perf_counter() - start
    return Score(seed, model.backtest(data.panel, samples=samples), updates, seconds)


def before_test(data: Data) -> Data:
    """Return the data without the test: options are chosen by the last window before it."""
    return data._replace(panel=data.train)


# ------------------------------------------------------------------------------------- the report


def lines(result: Result) -> list[tuple[str, ...]]:
    """Return the rows of a table of all scores of a data set."""
    rows = [("", *TITLES.values(), "seconds")]
    for seed, table, _, seconds in result.scores:
        rows.append((f"{MODEL}, seed {seed}", *_cells(table[MODEL]), f"{seconds:.0f}"))
    medians = {metric: result.of(metric) for metric in TITLES}
    rows.append((f"{MODEL}, median", *_cells(medians), ""))
    rows.append((NAIVE, *_cells(result.scores[0].table[NAIVE]), ""))
    for name, text in (
        ("goal", f"{result.setting.goal:g}"),
        ("published", result.setting.published),
    ):
        cells = (text if metric == result.setting.measure else "" for metric in TITLES)
        rows.append((name, *cells, ""))
    return rows


def _cells(values: Mapping[str, float]) -> list[str]:
    return [f"{values[metric]:.4f}" for metric in TITLES]


ABOUT = f"""\
## Accuracy of forecasts

Written by `python benchmarks/forecasting.py FOLDER --train`; the script names the files of FOLDER.
DeepAR is trained with at most {UPDATES:,} updates and forecasts the last window of each series with
{SAMPLES} samples, for the seeds 0, 1 and 2; the result is the median. The options of each data set
are in benchmarks/forecast_accuracy.py. They were chosen by the last window before the test
(`--validate`; hospital: the last two). An interval of 80% or 95% should contain so many of the
numbers. Seasonal naive: the last season repeated, with normal distributions around it.
"""


def report(results: Iterable[Result]) -> str:
    """Return the section of docs/benchmark.md."""
    page = [
        ABOUT,
        f"- {processor()}; crnn {crnn.__version__}, float32, {time.strftime('%Y-%m-%d')}",
        "",
        f"| data | measure | {NAIVE} | {MODEL} | all seeds | goal | passed | published "
        f"| {' | '.join(TITLES.values())} | updates | seconds a model |",
        f"|---|---|--:|--:|---|--:|---|--:|{'--:|' * (len(TITLES) + 2)}",
    ]
    page += [f"| {' | '.join(_row(result))} |" for result in results]
    return "\n".join(page)


def _row(result: Result) -> list[str]:
    measure, value = result.setting.measure, result.of(result.setting.measure)
    seeds = ", ".join(f"{score.table[MODEL][measure]:.4f}" for score in result.scores)
    return [
        result.name,
        TITLES[measure],
        f"{result.scores[0].table[NAIVE][measure]:.4f}",
        f"**{value:.4f}**" if result.passed else f"{value:.4f}",
        seeds,
        f"{result.setting.goal:g}",
        "yes" if result.passed else "no",
        result.setting.published,
        *_cells({metric: result.of(metric) for metric in TITLES}),
        f"{result.scores[0].updates:,}",
        f"{median(score.seconds for score in result.scores):.0f}",
    ]
