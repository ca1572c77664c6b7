"""Training runs in folders: a command starts a run, Ctrl-C stops it, ``--resume`` continues it.

A run can be stopped at any time and resumed; its results equal those of a run that was not stopped.
(They are bit-identical on one instruction set, which is a column of the history.)
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shlex
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import crnn._core as _core
from crnn import plotting
from crnn._version import __version__
from crnn.callbacks import Checkpoint
from crnn.callbacks.run import Position
from crnn.callbacks.run import Run as TrainingRun
from crnn.cli.arguments import PATH, RunSettings, add_settings, settings_in
from crnn.models.folder import CHECKPOINT
from crnn.storage import archive
from crnn.storage.files import check_path
from crnn.training.trainer import Trainer

HELD_OUT = 0.1  # share of the data for validation
SAVE_SECONDS = 120  # between two checkpoints within an epoch
INTERRUPTED = 130  # 128 + SIGINT

HISTORY, PICTURE = "history.csv", "loss.png"

#: Sentences for the help of the commands that train.
FOLDER = (
    "The folder of the run gets a checkpoint, the history, a plot of the loss and {}. "
    "Ctrl-C saves the run and stops it; --resume continues it."
)


# ---------------------------------------------------------------------------------------- commands


def add_run_arguments(parser: argparse.ArgumentParser, run_type: type[Run]) -> None:
    """Add the arguments of a command that trains: ``--output``, ``--resume`` and the settings."""
    parser.add_argument(
        "-o", "--output", type=PATH, metavar="DIR", required=True, help="folder of the run"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in DIR")
    add_settings(parser, run_type.settings_class)


def train_run(run_type: type[Run], arguments: argparse.Namespace, source: Any, missing: str) -> int:
    """Start a run or resume one; return the exit code.

    Parameters
    ----------
    run_type : subclass of Run
        Class of the run.
    arguments : Namespace
        Arguments of the command line: ``output``, ``resume`` and settings.
    source
        Source of the data, or None.
    missing : str
        Arguments that an error names if a new run has no source.

    Returns
    -------
    int
    """
    options = settings_in(arguments, run_type.settings_class)
    if arguments.resume:
        return carry_out(resumed(run_type, arguments.output, source, options))
    if source is None:
        raise ValueError(f"expected {missing}, got none of them")
    return begin(run_type, arguments.output, source, options)


def begin(run_type: type[Run], folder: str, source: Any, options: Mapping[str, Any]) -> int:
    """Start a run in a folder without a run, or with a finished run; return the exit code.

    Raises
    ------
    OSError, ValueError
        If the folder contains an unfinished run, or a checkpoint that cannot be read.
    """
    try:
        saved = Saved.read(run_type, folder)
    except FileNotFoundError:
        saved = None
    except ValueError as error:
        raise ValueError(f"{error}. Move the file, or choose another folder") from error
    if saved is not None and saved.epoch < saved.settings.epochs:
        raise ValueError(
            f"{folder}: contains an unfinished run. Add --resume to continue it, "
            f"or choose another folder"
        )
    return carry_out(run_type(folder, source, run_type.settings_for(source, options)))


def resumed(run_type: type[Run], folder: str, source: Any, options: Mapping[str, Any]) -> Run:
    """Return the run whose checkpoint is in a folder.

    Parameters
    ----------
    run_type : subclass of Run
        Class of the run.
    folder : str
        Folder of the run.
    source
        Source of the data; None for the source in the checkpoint.
    options : mapping
        Some settings by name, which must be equal to those of the run.

    Returns
    -------
    Run

    Raises
    ------
    FileNotFoundError
        If the folder has no checkpoint.
    ValueError
        If the checkpoint is damaged or has no run, or the settings or the data differ.
    """
    saved = Saved.read(run_type, folder)
    if saved is None:
        path = Path(folder, CHECKPOINT)
        raise ValueError(f"{path}: contains a model without a training run to resume")
    for name, value in options.items():
        expected = getattr(saved.settings, name)
        if value != expected:
            raise ValueError(f"{name}: expected {expected!r}, the value of the run, got {value!r}")
    return run_type(folder, source or saved.source, saved.settings, saved)


def carry_out(run: Run) -> int:
    """Train to the end and write the results into the folder; return the exit code."""
    start = time.monotonic()
    print(run.describe())
    if run.trainer.position.update:
        print(f"Resumed after {_position(run)}")
    try:
        run.trainer.run()
    except KeyboardInterrupt:
        return _stop(run)
    for line in run.write_results():
        print(line)
    seconds = time.monotonic() - start
    print(f"Done in {seconds:.1f} s. {run.folder}: {', '.join(sorted(os.listdir(run.folder)))}")
    return 0


def _stop(run: Run) -> int:
    """Save a run that Ctrl-C stopped, print how to resume it, and return the exit code."""
    try:
        if not run.trainer.callbacks_complete:
            raise RuntimeError("a callback was interrupted")
        run.save()
    except RuntimeError as error:
        print(f"Stopped without saving: {error}", file=sys.stderr)
        return INTERRUPTED
    command = f"{run.command} -o {shlex.quote(str(run.folder))} --resume"
    print(f"Stopped and saved after {_position(run)}. Resume with: {command}", file=sys.stderr)
    return INTERRUPTED


def _position(run: Run) -> str:
    """Return the number of finished epochs and updates as a text."""
    position = run.trainer.position
    return f"{position.epoch} of {run.settings.epochs} epochs, {position.update} updates"


# --------------------------------------------------------------------------------------------- run


@dataclass(frozen=True)
class Saved:
    """Run in a checkpoint, after all checks.

    Attributes
    ----------
    model, settings, source
        Model, settings and source of the `Run`.
    digest : str
        Hash of the data.
    state : dict
        State of the trainer.
    """

    model: Any
    settings: Any
    source: Any
    digest: str
    state: dict[str, Any]

    @classmethod
    def read(cls, run_type: type[Run], folder: str) -> Saved | None:
        """Read the checkpoint in a folder; return None if it has a model without a run.

        Raises
        ------
        FileNotFoundError
            If the folder has no checkpoint.
        ValueError
            If an entry of the checkpoint is missing, unknown, of a wrong type, out of range, or
            inconsistent with the others.
        """
        model, training = run_type.model_class.load_training(folder)
        if training is None:
            return None
        names = ("settings", "source", "digest", "trainer")
        with archive.blaming(Path(folder, CHECKPOINT)):
            options, origin, digest, state = archive.entries(training, *names)
            settings, source = run_type.settings_class(**options), run_type.source_class(**origin)
            saved = cls(model, settings, source, digest, state)
            saved._check(run_type)
        return saved

    def _check(self, run_type: type[Run]) -> None:
        """Raise unless the settings agree with the model and with the trainer."""
        self.settings.check_model(run_type.settings_of(self.model))
        if self.epoch > self.settings.epochs:
            raise ValueError(
                f"settings: epochs: expected at least {self.epoch}, the number of finished epochs, "
                f"got {self.settings.epochs}"
            )
        arguments = self.state.get("arguments") or {}
        for name in ("epochs", "lr"):
            value = getattr(self.settings, name)
            if arguments.get(name, value) != value:
                raise ValueError(
                    f"settings: {name}: expected {arguments[name]!r}, the value of the trainer, "
                    f"got {value!r}"
                )

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return Position.of(*archive.entries(self.state, "position")).epoch


class Run(ABC):
    """Training run in a folder. Each command that trains has a subclass.

    Parameters
    ----------
    folder : str or path
        Folder of the run, which is created if it does not exist.
    source
        Source of the data, of the class `source_class`.
    settings
        Settings of the run, of the class `settings_class`.
    saved : Saved, optional
        Checkpoint of a run to resume; None starts a new run.

    Attributes
    ----------
    data
        Data that `source` read.
    model
        Model that is trained.
    trainer : Trainer
        Trainer of the model.
    """

    command: ClassVar[str]  # starts and resumes such a run
    model_class: ClassVar[Any]
    settings_class: ClassVar[type[RunSettings]]
    source_class: ClassVar[Any]  # frozen dataclass: str() is a short name, read() the data
    noun: ClassVar[str]  # name of the data
    unit: ClassVar[str] = "loss"  # label of the loss in the plot
    scale: ClassVar[float] = 1.0  # factor from nats to that unit
    read_by: ClassVar[Mapping[str, set[str]]] = {}  # the cells that read a setting, if not all do

    def __init__(
        self, folder: str | os.PathLike[str], source: Any, settings: Any, saved: Saved | None = None
    ) -> None:
        self.folder, self.source, self.settings = Path(check_path(folder)), source, settings
        self.data = self._read()
        if saved is not None and saved.digest != self.digest:
            raise ValueError(f"{source}: expected the {self.noun} of the run, got other data")
        self.model = self._make_model() if saved is None else saved.model
        self.trainer = self._make_trainer()
        self.folder.mkdir(parents=True, exist_ok=True)
        if saved is not None:
            with archive.blaming(Path(folder, CHECKPOINT)):
                state = saved.state | {"model": self.model.network.state_dict()}
                self.trainer.load_state_dict(state)

    # -------------------------------------------------------------- defined by each subclass

    @classmethod
    def settings_for(cls, source: Any, options: Mapping[str, Any]) -> Any:
        """Return the settings of a new run from those of the command line."""
        return cls.settings_with({}, options)

    @classmethod
    def settings_with(cls, defaults: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
        """Return the settings of a new run; raise for an option that its cell does not read."""
        settings = cls.settings_class(**{**defaults, **options})
        for name, cells in cls.read_by.items():
            cell = getattr(settings, "cell", None)
            if name in options and cell not in cells:
                raise ValueError(
                    f"{name}: expected this option with cell {' or '.join(sorted(cells))} alone, "
                    f"got {options[name]!r} with cell {cell}"
                )
        return settings

    @classmethod
    @abstractmethod
    def settings_of(cls, model: Any) -> dict[str, Any]:
        """Return the settings that a model was made with, by name."""

    def _read(self) -> Any:
        """Return the data of the source."""
        return self.source.read()

    @abstractmethod
    def _make_model(self) -> Any:
        """Return the untrained model."""

    @abstractmethod
    def _make_trainer(self) -> Trainer:
        """Return the trainer, with callbacks for the progress and for checkpoints."""

    @abstractmethod
    def _content(self) -> str:
        """Return all data as one text."""

    @abstractmethod
    def _amount(self) -> dict[str, int]:
        """Return the amounts of data, which are columns of the history."""

    @abstractmethod
    def _measures(self) -> dict[str, list[Any]]:
        """Return measures of each epoch, which are columns of the history beside the losses."""

    @abstractmethod
    def _write_samples(self) -> list[str]:
        """Write a file with what the model generates; return messages to print."""

    # ----------------------------------------------------------------- common to all subclasses

    @property
    def digest(self) -> str:
        """Hash of the data."""
        return digest_of(self._content())

    def describe(self) -> str:
        """Return one line with the network and the data."""
        parameters = sum(array.size for array in self.model.network.params.values())
        amount = [f"{number:,} {name}" for name, number in self._amount().items()]
        return (
            f"{self._layers()}, {parameters:,} parameters, on {self.source}: "
            f"{', '.join(amount).replace('_', ' ')}"
        )

    def _layers(self) -> str:
        """Return the number, the type and the size of the layers."""
        settings = self.settings
        return f"{settings.layers} x {settings.cell.upper()} {settings.hidden_size}"

    def save(self) -> None:
        """Write the checkpoint with the model and the state of the run."""
        state = self.trainer.state_dict()
        del state["model"]  # the checkpoint has it with the model
        training = {
            "settings": asdict(self.settings),
            "source": asdict(self.source),
            "digest": self.digest,
            "trainer": state,
        }
        self.model.save(self.folder, training)

    def write_results(self) -> list[str]:
        """Write the history, the samples and the plot of the loss; return messages to print."""
        self._write_history()
        messages = self._write_samples()
        try:
            plotting.save_loss_curve(
                Path(self.folder, PICTURE), self.trainer.history, unit=self.unit, scale=self.scale
            )
        except ImportError as error:
            messages.append(f"No {PICTURE}: {error}")
        return messages

    def _write_history(self) -> None:
        """Write the history as a table, with the settings as columns."""
        settings = asdict(self.settings)
        settings["peak_lr"] = settings.pop(
            "lr"
        )  # the column lr has the rate of the last update of each epoch
        self.trainer.history.to_csv(
            Path(self.folder, HISTORY),
            **self._measures(),
            **{self.noun: str(self.source)},
            **self._amount(),
            **settings,
            crnn=__version__,
            python=platform.python_version(),
            isa=_core.isa(),
        )


def digest_of(content: str) -> str:
    """Return the hash of data as one text."""
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


class FolderCheckpoint(Checkpoint):
    """Callback that saves a run after each epoch, and every `SAVE_SECONDS` within an epoch."""

    def __init__(self, run: Run) -> None:
        super().__init__(Path(run.folder, CHECKPOINT), epochs=1, seconds=SAVE_SECONDS)
        self._run = run

    def write(self, run: TrainingRun) -> None:
        """Write the checkpoint."""
        self._run.save()

    def on_end(self, run: TrainingRun) -> None:
        """Write nothing: `carry_out` saves a stopped run; an error leaves the last file."""
