"""``crnn forecast train``, ``test`` and ``predict``: forecasts of the series of a CSV file."""

import argparse
import csv
import hashlib
import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from crnn.callbacks import Progress
from crnn.cli.arguments import (
    CLIP_NORM,
    FLAG,
    PATH,
    POSITIVE,
    SEED,
    SHARE,
    OptionType,
    RunSettings,
    choice,
    integer,
    setting,
)
from crnn.cli.output import write_utf8
from crnn.cli.run import (
    FOLDER,
    FolderCheckpoint,
    Run,
    Saved,
    add_run_arguments,
    digest_of,
    train_run,
)
from crnn.data import Panel
from crnn.data.times import moment
from crnn.layers.compose.sequential import Sequential
from crnn.layers.pointwise.dropout import Dropout
from crnn.layers.recurrent.base import Recurrent
from crnn.layers.temporal.base import CoreTemporal
from crnn.layers.temporal.tcn import TCNBlock
from crnn.layers.temporal.transformer import TransformerBlock
from crnn.losses.likelihoods import Likelihood
from crnn.models.categories import WithCategories
from crnn.models.deepar import DeepAR
from crnn.models.deepar_windows import EPOCH, Weights
from crnn.models.folder import CHECKPOINT
from crnn.models.networks import BLOCKS, CELLS
from crnn.storage.files import check_path
from crnn.training.trainer import Trainer

BACKTEST = "backtest.csv"
SAMPLES = 100  # of each series, for intervals
QUANTILES = (0.1, 0.5, 0.9)


# --------------------------------------------------------------------------------------- settings


def _in_commas(read: Any) -> Any:
    """Return a function that reads values with commas between them; quotes may enclose a comma."""
    return lambda text: tuple(read(word.strip()) for word in next(csv.reader([text])))


def _several(valid: Any) -> Any:
    """Return a function that tells whether a value is a tuple of distinct valid values."""
    return lambda value: (
        isinstance(value, tuple) and all(map(valid, value)) and len({*value}) == len(value)
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


COLUMN = OptionType("the name of a column", _is_name, str.strip, "COLUMN")
COLUMNS = OptionType(
    "distinct names of columns with commas between them",
    _several(_is_name),
    _in_commas(str),
    "COLUMN,...",
)
CHARACTER = OptionType(
    "one character, or \\t for a tab",
    lambda value: isinstance(value, str) and len(value) == 1,
    lambda text: text.replace("\\t", "\t"),
    "C",
)
ENCODING = OptionType("the name of an encoding", _is_name, str.strip, "NAME")
LAGS = OptionType(
    "distinct integers of at least 1 with commas between them",
    lambda value: bool(value) and _several(integer(1).valid)(value),
    _in_commas(int),
    "N,...",
)
LEVELS = OptionType(
    "distinct numbers between 0 and 1 with commas between them",
    lambda value: bool(value) and _several(lambda q: 0 < q < 1)(value),
    _in_commas(float),
    "Q,...",
)


@dataclass(frozen=True)
class Settings(RunSettings):
    """Settings of ``crnn forecast train``, with the defaults of `Panel.read_csv` and `DeepAR`."""

    target: str | None = setting(None, "column of the numbers to forecast (required)", COLUMN)
    horizon: int | None = setting(None, "steps of a forecast (required)", integer(1))
    group: str | None = setting(
        None, "column that names the series of each line (default: all lines are one)", COLUMN
    )
    time: str | None = setting(
        None, "column of the times, as 2024-02-29 (default: the lines are the steps)", COLUMN
    )
    known: tuple[str, ...] = setting(
        (), "columns of numbers that are known in advance, such as a price", COLUMNS
    )
    static: tuple[str, ...] = setting(
        (), "columns of numbers that do not change within a series", COLUMNS
    )
    categories: tuple[str, ...] = setting(
        (), "columns of texts that do not change within a series", COLUMNS
    )
    delimiter: str = setting(",", "character between the values of a line", CHARACTER)
    decimal: str = setting(".", "decimal point of the numbers", CHARACTER)
    encoding: str = setting("utf-8", "encoding of the file", ENCODING)
    context: int | None = setting(
        None, "steps before a forecast that the network reads (default: the horizon)", integer(1)
    )
    period: int | None = setting(
        None, "steps of a season, such as 7 for days (default: no season)", integer(1)
    )
    lags: tuple[int, ...] | None = setting(
        None, "earlier steps whose numbers are read (default: from the period)", LAGS
    )
    likelihood: str = setting(
        "student_t",
        "distribution of a number; negative-binomial: counts",
        choice(*get_args(Likelihood)),
    )
    cell: str = setting(
        "lstm", "type of recurrent layer, or of block", choice(*sorted((*CELLS, *BLOCKS)))
    )
    hidden_size: int = setting(40, "hidden units per layer", integer(1))
    layers: int = setting(2, "number of stacked layers or blocks", integer(1))
    dropout: float = setting(0.1, "share of the outputs of a layer that are dropped", SHARE)
    scale: str | None = setting(
        "mean", "unit of each series: the mean of its numbers, or 1", choice("mean", None)
    )
    age: bool = setting(False, "read the time since each series began (default: no)", FLAG)
    updates: int = setting(5000, "number of updates", integer(1))
    batch_size: int = setting(32, "windows per update", integer(1))
    lr: float = setting(1e-3, "first learning rate; it falls to 0", POSITIVE)
    clip_norm: float = setting(10.0, CLIP_NORM, POSITIVE)
    weights: str = setting(
        "length", "whether long series, or large ones, count more", choice(*get_args(Weights))
    )
    validation_windows: int = setting(
        1, "windows at the end of each series that are held out", integer(0, 2**31 - 1)
    )
    seed: int = setting(0, "seed of the initial weights, of dropout and of the windows", SEED)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("target", "horizon"):
            if getattr(self, name) is None:
                raise ValueError(f"{name}: expected --{name}, got none")

    @property
    def epochs(self) -> int:
        """Number of epochs of the run."""
        return -(-self.updates // EPOCH)

    def check_model(self, values: Mapping[str, Any]) -> None:
        """Raise ValueError unless the settings agree with a model."""
        own = {"lags": self.lags, "context": self.context}
        if self.context is None and values["context"] == values["horizon"]:
            own["context"] = values["context"]
        if self.lags is None or {*self.lags} == {*values["lags"]}:
            own["lags"] = values["lags"]
        for name, value in own.items():
            if value != values[name]:
                raise ValueError(
                    f"settings: {name}: expected {values[name]!r:.60}, the value of the model, "
                    f"got {value!r:.60}"
                )
        super().check_model({name: value for name, value in values.items() if name not in own})

    def read(self, source: "Source") -> Panel:
        """Return the panel of a file; warnings are printed, each in one line.

        Parameters
        ----------
        source : Source
            The file.
        """
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            panel = Panel.read_csv(source.path, **self.parameters_of(Panel.read_csv))
        for note in notes:
            _note(f"{source}: {' '.join(str(note.message).split())}")
        return panel


def _note(text: str) -> None:
    """Print a line on standard error, where it does not become part of a result."""
    print(f"crnn: note: {text}", file=sys.stderr)


# --------------------------------------------------------------------------------------------- run


@dataclass(frozen=True)
class Source:
    """Source of series: a CSV file, whose columns are settings of the run."""

    path: str

    def __post_init__(self) -> None:
        check_path(self.path)

    def __str__(self) -> str:
        return Path(self.path).name


class ForecastRun(Run):
    """Training run of a `DeepAR` on a CSV file."""

    data: Panel
    model: DeepAR
    settings: Settings

    command = "crnn forecast train"
    model_class, settings_class, source_class = DeepAR, Settings, Source
    noun, unit = "file", "nats per number"

    @classmethod
    def settings_of(cls, model: DeepAR) -> dict[str, Any]:
        """Return the settings that a model was made with, by name."""
        inputs, network = model.inputs, model.network
        inner: Any = network.layer if isinstance(network, WithCategories) else network
        below = inner.layers[0].layer  # of a crnn.layers.compose.joined.Joined
        layers = below.layers if isinstance(below, Sequential) else [below]
        stack = [layer for layer in layers if isinstance(layer, Recurrent | CoreTemporal)]
        blocks = {TCNBlock: "tcn", TransformerBlock: "transformer"}
        dropped = [layer.p for layer in layers if isinstance(layer, Dropout)]
        return {
            **inputs.columns,
            "horizon": inputs.horizon,
            "context": inputs.context,
            "period": inputs.period,
            "lags": inputs.lags,
            "likelihood": model.likelihood,
            "cell": blocks.get(type(stack[0]), type(stack[0]).__name__.lower()),
            "hidden_size": stack[0].output_size,
            "layers": len(stack),
            "scale": None if inputs.scale.kind is None else "mean",
            "age": inputs.age,
            "seed": model.seed,
        } | ({"dropout": dropped[0]} if dropped else {})

    def _read(self) -> Panel:
        return self.settings.read(self.source)

    def _make_model(self) -> DeepAR:
        return DeepAR.for_panel(self.data, **self.settings.parameters_of(DeepAR.for_panel))

    def _make_trainer(self) -> Trainer:
        return self.model.trainer(
            self.data,
            **self.settings.parameters_of(DeepAR.trainer),
            callbacks=[Progress(label=self.unit), FolderCheckpoint(self)],
        )

    def _content(self) -> str:
        return content_of(self.data)

    def _amount(self) -> dict[str, int]:
        numbers = [int(np.isnan(series).sum()) for series in self.data.series]
        return {
            "series": len(self.data),
            "steps": int(self.data.lengths.sum()),
            "missing_numbers": sum(numbers),
        }

    def _measures(self) -> dict[str, list[Any]]:
        return {}

    def write_results(self) -> list[str]:
        """Save the model with the parameters of the best epoch; write the results as other runs."""
        self.save()
        return super().write_results()

    def _write_samples(self) -> list[str]:
        """Write the metrics of the held-out windows; return them as messages to print."""
        windows = self.settings.validation_windows
        if not windows:
            return ["No backtest, because no windows were held out"]
        report = self.model.backtest(self.data, windows=windows, samples=SAMPLES)
        _write_rows(Path(self.folder, BACKTEST), report.columns())
        return ["Backtest of the held-out windows:", *repr(report).splitlines()]


def content_of(panel: Panel) -> str:
    """Return a text that two panels share only if all that they contain is equal.

    Parameters
    ----------
    panel : Panel

    Returns
    -------
    str
    """
    arrays = (panel.numbers, panel.lengths, panel.known_numbers, panel.known_lengths, panel.static)
    digests = [None if a is None else hashlib.sha256(a.tobytes()).hexdigest() for a in arrays]
    starts = None if panel.starts is None else panel.starts.astype(str).tolist()
    categories = None if panel.categories is None else panel.categories.tolist()
    return repr((panel.names, panel.columns, digests, categories, starts, panel.step))


def _write_rows(path: Path, columns: Mapping[str, Any]) -> None:
    """Write a table to a CSV file."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        _write_table(file, columns)


def _write_table(file: Any, columns: Mapping[str, Any]) -> None:
    """Write a table as CSV."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))


# ---------------------------------------------------------------------------------------- commands


def train(arguments: argparse.Namespace) -> int:
    """Run ``crnn forecast train``: start a run or resume one."""
    source = None if arguments.file is None else Source(os.path.abspath(arguments.file))
    return train_run(ForecastRun, arguments, source, "FILE.csv or --resume")


def test(arguments: argparse.Namespace) -> int:
    """Run ``crnn forecast test``: print metrics of forecasts of the last windows."""
    saved, panel = _loaded(arguments)
    report = saved.model.backtest(
        panel, windows=arguments.windows, samples=arguments.samples, seed=arguments.seed
    )
    held_out = saved.settings.validation_windows
    if arguments.windows > held_out and digest_of(content_of(panel)) == saved.digest:
        seen = arguments.windows - held_out
        _note(f"the network was trained on the first {seen} of {arguments.windows} windows")
    print(report)
    return 0


def predict(arguments: argparse.Namespace) -> int:
    """Run ``crnn forecast predict``: write forecasts as CSV to standard output."""
    saved, panel = _loaded(arguments)
    forecast = saved.model.predict(
        panel, steps=arguments.steps, samples=arguments.samples, seed=arguments.seed
    )
    columns = forecast.columns(arguments.quantiles)
    if "time" in columns:
        columns["time"] = ["" if np.isnat(time) else moment(time) for time in columns["time"]]
    write_utf8()
    _write_table(sys.stdout, columns)
    return 0


def _loaded(arguments: argparse.Namespace) -> tuple[Saved, Panel]:
    """Return the run in a folder, and the panel of a file with the columns of the run."""
    saved = Saved.read(ForecastRun, arguments.folder)
    if saved is None:
        path = Path(arguments.folder, CHECKPOINT)
        raise ValueError(
            f"{path}: expected a run of crnn forecast train, which has the names of the columns, "
            f"got a model alone"
        )
    return saved, saved.settings.read(Source(os.path.abspath(arguments.file)))


def _add_reader(commands: Any, name: str, run: Any, **texts: str) -> Any:
    """Add a command that reads the folder of a run and a CSV file, and return its parser."""
    parser = commands.add_parser(name, **texts)
    parser.add_argument("folder", type=PATH, metavar="DIR", help="folder of a run")
    parser.add_argument(
        "file", type=PATH, metavar="FILE.csv", help="CSV file with the columns of the run"
    )
    parser.add_argument(
        "--samples",
        type=integer(1),
        default=SAMPLES,
        metavar="N",
        help=f"sampled futures of each series (default: {SAMPLES})",
    )
    parser.add_argument(
        "--seed", type=SEED, default=0, metavar="N", help="seed of the samples (default: 0)"
    )
    parser.set_defaults(run=run)
    return parser


def add_commands(commands: Any) -> None:
    """Add the commands and their arguments."""
    group = commands.add_parser(
        "forecast",
        help="forecast the series of a CSV file: forecast train, forecast test, forecast predict",
        description="Forecast many related series of a CSV file, with intervals.",
        epilog="crnn forecast COMMAND --help shows the arguments of a command.",
    ).add_subparsers(required=True, metavar="COMMAND")
    parser = group.add_parser(
        "train",
        help="train a model on the series of a CSV file",
        description=f"Train a model on the series of a CSV file. {FOLDER.format('a backtest')}",
    )
    parser.add_argument(
        "file",
        nargs="?",
        type=PATH,
        metavar="FILE.csv",
        help="CSV file with column names in its first line, and a line for each step of each "
        "series, in the order of time",
    )
    add_run_arguments(parser, ForecastRun)
    parser.set_defaults(run=train)

    parser = _add_reader(
        group,
        "test",
        test,
        help="compare forecasts of the last windows with the numbers there",
        description="Compare forecasts of the last windows of each series with the numbers there, "
        "beside the seasonal naive forecast.",
    )
    parser.add_argument(
        "--windows",
        type=integer(1, 2**31 - 1),
        default=1,
        metavar="N",
        help="windows at the end of each series (default: 1)",
    )
    parser = _add_reader(
        group,
        "predict",
        predict,
        help="forecast the steps after the end of each series",
        description="Write forecasts of the steps after the end of each series as CSV to standard "
        "output: series, step, time, mean and quantiles.",
    )
    parser.add_argument(
        "--steps",
        type=integer(1),
        metavar="N",
        help="steps of the forecast (default: the horizon of the run)",
    )
    parser.add_argument(
        "--quantiles",
        type=LEVELS,
        default=QUANTILES,
        metavar=LEVELS.metavar,
        help="quantiles of the samples (default: 0.1,0.5,0.9)",
    )
