"""Data sets of forecasting benchmarks: many related series, as panels.

    python benchmarks/forecasting.py FOLDER     list the data sets of a folder

The files are public and not part of crnn: hospital.csv and car_parts.csv (R package expsmooth, a
series in each line, empty where a number is missing), tourism_monthly_in.csv and _oos.csv (R
package Tcomp, a series in each column), m4_hourly_train.csv and _test.csv (M4 competition).
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crnn.common.tables import aligned
from crnn.data import Panel

Floats = NDArray[np.float64]


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


def main() -> None:
    parser = argparse.ArgumentParser(description="List data sets of forecasting benchmarks.")
    parser.add_argument("folder", help="folder with the files")
    folder = parser.parse_args().folder
    rows = [("name", "series", "steps", "horizon", "missing")]
    for name in NAMES:
        data = load(name, folder)
        lengths = data.panel.lengths
        missing = int(np.isnan(data.panel.numbers).sum())
        row = (len(data.panel), f"{lengths.min()}-{lengths.max()}", data.horizon, missing)
        rows.append((name, *map(str, row)))
    print("\n".join(aligned(rows, right=range(1, 5))))


if __name__ == "__main__":
    main()
