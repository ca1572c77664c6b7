"""Data sets of forecasting benchmarks, many related series as panels; the accuracy of DeepAR.

    python benchmarks/forecasting.py FOLDER                         list the data sets of a folder
    python benchmarks/forecasting.py FOLDER --train                 train and score a model of each
    python benchmarks/forecasting.py FOLDER --train car_parts       ... of some
    python benchmarks/forecasting.py FOLDER --train --validate      score the window before the test

benchmarks/forecast_accuracy.py has the options of the models and the goals. If all data sets were
trained at full size, the table is written between two marks in docs/benchmark.md; the experiments
behind the options are listed there, too. The exit status is 1 if a goal is missed.

The files are public and not part of crnn: hospital.csv and car_parts.csv (R package expsmooth, a
series in each line, empty where a number is missing), tourism_monthly_in.csv and _oos.csv (R
package Tcomp, a series in each column), m4_hourly_train.csv and _test.csv (M4 competition).
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import forecast_accuracy as accuracy
import numpy as np
from measuring import ROOT, update
from numpy.typing import NDArray

from crnn.common.tables import aligned
from crnn.data import Panel

Floats = NDArray[np.float64]

FULL = (3, accuracy.UPDATES, accuracy.SAMPLES)  # seeds, updates, samples


class Data(NamedTuple):
    """Data set: train on `train`, forecast `horizon` steps, compare with `truth`.

    Parameters
    ----------
    panel : Panel
        All numbers; the last `horizon` steps of each series are the test.
    horizon : int
        H.
    period : int
        Steps of a season.
    """

    panel: Panel
    horizon: int
    period: int

    @property
    def train(self) -> Panel:
        """The panel without the test."""
        return self.panel.until(self.horizon)

    @property
    def truth(self) -> Floats:
        """The numbers of the test (n, H), NaN where one is missing."""
        return self.panel.last(self.horizon)


def load(name: str, folder: str | Path) -> Data:
    """Return a data set by its name, one of `NAMES`, from the files of a folder."""
    if name not in _LOADERS:
        raise ValueError(f"name: expected one of {', '.join(NAMES)}, got {name!r}")
    return _LOADERS[name](Path(folder))


def _lines(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def _numbers(texts: list[str]) -> Floats:
    return np.array([float(text) if text else np.nan for text in texts])


def _in_lines(name: str) -> Callable[[Path], Data]:
    """Return the loader of months in a file that has a series in each line."""

    def load(folder: Path) -> Data:
        lines = _lines(folder / f"{name}.csv")
        return Data(Panel([_numbers(line) for line in lines]), 12, 12)

    return load


def _tourism(folder: Path) -> Data:
    """Columns with a name, a number of months, the first year and month, and the numbers."""
    first, later = (_lines(folder / f"tourism_monthly_{part}.csv") for part in ("in", "oos"))
    series, starts = [], []
    for column in range(len(first[0])):
        parts = []
        for lines in (first, later):
            count = int(float(lines[1][column]))
            parts.append(_numbers([line[column] for line in lines[4 : 4 + count]]))
        year, month = (int(float(first[line][column])) for line in (2, 3))
        series.append(np.concatenate(parts))
        starts.append(f"{year}-{month:02}")
    times = (np.array(starts, "datetime64[M]"), np.timedelta64(1, "M"))
    return Data(Panel(series, times=times, names=first[0]), 24, 12)


def _m4_hourly(folder: Path) -> Data:
    """Lines with a name and the numbers, which shorter series leave empty at the end."""
    first, later = (_lines(folder / f"m4_hourly_{part}.csv")[1:] for part in ("train", "test"))
    series = [
        _numbers([text for text in [*one[1:], *other[1:]] if text])
        for one, other in zip(first, later, strict=True)
    ]
    return Data(Panel(series, names=[line[0] for line in first]), 48, 24)


_LOADERS: dict[str, Callable[[Path], Data]] = {
    "hospital": _in_lines("hospital"),
    "car_parts": _in_lines("car_parts"),
    "tourism_monthly": _tourism,
    "m4_hourly": _m4_hourly,
}
#: The names of the data sets.
NAMES = tuple(_LOADERS)


def table(folder: str | Path) -> list[str]:
    """Return the lines of a list of the data sets."""
    rows = [("name", "series", "steps", "horizon", "missing")]
    for name in NAMES:
        data = load(name, folder)
        lengths = data.panel.lengths
        missing = int(np.isnan(data.panel.numbers).sum())
        row = (len(data.panel), f"{lengths.min()}-{lengths.max()}", data.horizon, missing)
        rows.append((name, *map(str, row)))
    return aligned(rows, right=range(1, 5))


def train(options: argparse.Namespace) -> int:
    """Train and score models of data sets, and return the exit status."""
    results = []
    for name in options.train or NAMES:
        data, setting = load(name, options.folder), accuracy.SETTINGS[name]
        if options.validate:
            data = accuracy.before_test(data)
        sizes = {"updates": options.updates, "samples": options.samples}
        scores = [accuracy.score(data, setting, seed, **sizes) for seed in range(options.seeds)]
        results.append(accuracy.Result(name, setting, scores))
        rows = [(name, *row[1:]) if not row[0] else row for row in accuracy.lines(results[-1])]
        print("\n".join([*aligned(rows, right=range(1, len(rows[0]))), ""]), flush=True)
    if options.validate:
        return 0
    section = accuracy.report(results)
    full = (options.seeds, options.updates, options.samples) == FULL
    if options.output or (full and {result.name for result in results} == set(NAMES)):
        update((options.output or ROOT / "docs") / "benchmark.md", "accuracy", section)
    return int(not all(result.passed for result in results))


def main(arguments: Sequence[str] | None = None) -> int:
    """List the data sets, or train and score models."""
    parser = argparse.ArgumentParser(description="Data sets of forecasting, and DeepAR there.")
    parser.add_argument("folder", help="folder with the files")
    parser.add_argument("--train", nargs="*", choices=NAMES, help="data sets (default: all)")
    parser.add_argument("--validate", action="store_true", help="score the window before the test")
    for name, value in zip(("seeds", "updates", "samples"), FULL, strict=True):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--output", type=Path, help="folder for the page (default: docs)")
    options = parser.parse_args(arguments)
    if options.train is None:
        print("\n".join(table(options.folder)))
        return 0
    return train(options)


if __name__ == "__main__":
    sys.exit(main())
