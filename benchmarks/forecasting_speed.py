"""Compare DeepAR with that of GluonTS: training, samples, a whole program.

    python benchmarks/forecasting_speed.py [--rounds 16]

Both libraries have networks of the same size, with the same lags, and the same series. They run in
turn on the same cores, as benchmarks/measuring.py describes. Before the measurement, the script
checks that the networks have about as many parameters. `make bench` installs GluonTS in an
environment of its own, because it needs packages that crnn does not.

Writes the table between two marks in docs/benchmark.md; benchmarks/compare.py writes the rest.
"""

from __future__ import annotations

import importlib.metadata
import logging
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import sections

SERIES, STEPS, HORIZON, HIDDEN, LAYERS, ROWS = 100, 1000, 24, 40, 2, 32
BATCHES, SAMPLES = 100, 100
PROGRAM = "--program"  # the option with which this script is the program that is measured
#: The lags of GluonTS for hours: the last steps, and those around 1, 2, ... days, and weeks.
LAGS = (
    *range(1, 8),
    *(24 * day + hour for day in range(1, 8) for hour in (-1, 0, 1)),
    *(168 * week + hour for week in range(2, 5) for hour in (-1, 0, 1)),
    719,
    720,
    721,
)


def series() -> Any:
    """Return positive hourly series (n, T): a level, a day, a week, autoregressive noise."""
    import numpy as np

    rng, t = np.random.default_rng(0), np.arange(STEPS)
    level = np.exp(rng.normal(2, 1, (SERIES, 1)))
    phase, size = rng.uniform(size=(2, SERIES, 1))
    day = (0.25 + size / 4) * np.sin(2 * np.pi * (t / 24 + phase))
    week = 0.2 * np.sin(2 * np.pi * t / 168)
    noise = 0.1 * rng.standard_normal((SERIES, STEPS))
    for step in range(1, STEPS):
        noise[:, step] += 0.7 * noise[:, step - 1]
    return (level * np.exp(day + week + noise)).astype("float32")


class Crnn:
    """The tasks in crnn."""

    name = "crnn"

    def __init__(self, cores: int) -> None:
        import numpy as np

        import crnn

        crnn.set_num_threads(cores)
        self.version = crnn.__version__
        self.panel = crnn.data.Panel(series(), times=("2020-01-01T00", np.timedelta64(1, "h")))
        self.one = self.panel[:1]
        self.model = crnn.models.DeepAR.for_panel(
            self.panel, HORIZON, lags=LAGS, hidden_size=HIDDEN, layers=LAYERS, seed=0
        )

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(array.size for array in self.model.network.params.values())

    def train(self) -> None:
        """Train for some batches."""
        options = {"validation_windows": 0, "progress": False}
        self.model.train(self.panel, updates=BATCHES, batch_size=ROWS, **options)

    def forecast(self) -> None:
        """Sample futures of all series."""
        self.model.predict(self.panel, samples=SAMPLES)

    def forecast_one(self) -> None:
        """Sample futures of one series."""
        self.model.predict(self.one, samples=SAMPLES)


class GluonTS:
    """The tasks in GluonTS, with PyTorch."""

    name = "GluonTS"

    def __init__(self, cores: int) -> None:
        warnings.filterwarnings("ignore")
        for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "gluonts"):
            logging.getLogger(name).setLevel(logging.ERROR)
        import pandas
        import torch
        from gluonts.dataset.common import ListDataset
        from gluonts.torch.model.deepar import DeepAREstimator

        torch.set_num_threads(cores)
        self.version = importlib.metadata.version("gluonts") + f" with PyTorch {torch.__version__}"
        start = pandas.Period("2020-01-01 00:00", freq="h")
        rows = [{"start": start, "target": row} for row in series()]
        self.panel, self.one = (ListDataset(part, freq="h") for part in (rows, rows[:1]))
        self.estimator = DeepAREstimator(
            freq="h",
            prediction_length=HORIZON,
            context_length=HORIZON,
            num_layers=LAYERS,
            hidden_size=HIDDEN,
            lags_seq=list(LAGS),
            batch_size=ROWS,
            num_batches_per_epoch=BATCHES,
            trainer_kwargs={
                "max_epochs": 1,
                "accelerator": "cpu",
                "logger": False,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "default_root_dir": tempfile.mkdtemp(),
            },
        )
        self.predictor: Any = None

    @property
    def parameters(self) -> int:
        network = self.predictor.prediction_net
        return sum(parameter.numel() for parameter in network.parameters())

    def train(self) -> None:
        self.predictor = self.estimator.train(self.panel)

    def forecast(self) -> None:
        list(self.predictor.predict(self.panel, num_samples=SAMPLES))

    def forecast_one(self) -> None:
        list(self.predictor.predict(self.one, num_samples=SAMPLES))


SIDES: dict[str, type[Any]] = {side.name: side for side in (Crnn, GluonTS)}


def run_program(name: str, cores: int) -> None:
    """Import a library, train, and forecast all series, in a process of its own."""
    subprocess.run([sys.executable, __file__, PROGRAM, name, str(cores)], check=True)


def program(name: str, cores: int) -> None:
    """Do what `run_program` measures."""
    side = SIDES[name](cores)
    side.train()
    side.forecast()


# name -> a method of both libraries, or None for the whole program
TASKS: dict[str, str | None] = {
    f"training, {BATCHES} batches": "train",
    f"{SERIES} series, {SAMPLES} samples of each": "forecast",
    f"1 series, {SAMPLES} samples": "forecast_one",
    "program: import, training, forecast": None,
}


def prepare(cores: int) -> tuple[dict[str, str], Any]:
    """Return the versions and the calls of all tasks."""
    sides = [side(cores) for side in SIDES.values()]
    for side in sides:
        side.train()
    ours, theirs = (side.parameters for side in sides)
    sections.check("sizes", abs(ours / theirs - 1), 0.05)

    def calls(method: str | None) -> sections.Calls:
        if method is None:
            return {side.name: partial(run_program, side.name, cores) for side in sides}
        return {side.name: getattr(side, method) for side in sides}

    versions = {side.name: side.version for side in sides}
    tasks: dict[str, Callable[[], sections.Calls]] = {
        name: partial(calls, method) for name, method in TASKS.items()
    }
    return versions, tasks


SECTION = sections.Section(
    script=__file__,
    name="forecasting",
    title="Forecasting",
    about=f"DeepAR with {LAYERS} LSTM of {HIDDEN} units, Student's t and {len(LAGS)} lags, on "
    f"{SERIES} hourly series of {STEPS:,} steps; context and horizon have {HORIZON} steps. A batch "
    f"has {ROWS} windows; training is a whole call, without validation. The program is a process "
    "that imports the library, trains and forecasts all series.",
    peer="GluonTS",
    module="gluonts",
    cores=(1, 2),
    tasks=tuple(TASKS),
    prepare=prepare,
)

if __name__ == "__main__":
    if PROGRAM in sys.argv:
        program(sys.argv[-2], int(sys.argv[-1]))
    else:
        sections.main(SECTION, __doc__)
