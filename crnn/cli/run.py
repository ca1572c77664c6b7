"""A training run in a folder: a command begins it, Ctrl-C stops it, ``--resume`` goes on with it.

A run can be stopped at any moment and resumed: the numbers are those of a run that was not stopped.
(The bits are those of one instruction set, which the history names.)
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
from crnn.cli.arguments import PATH, RunSettings, add_settings, given_settings
from crnn.models.folder import CHECKPOINT
from crnn.storage import archive
from crnn.storage.files import check_path
from crnn.training.trainer import Trainer

HELD_OUT = 0.1  # share of the data
SAVE_SECONDS = 120  # between checkpoints within an epoch
INTERRUPTED = 130  # 128 + SIGINT

HISTORY, PICTURE = "history.csv", "loss.png"


# ------------------------------------------------------------------------------------ the commands


def add_run_arguments(parser: argparse.ArgumentParser, run_type: type[Run]) -> None:
    """Add the arguments of a command that trains: the folder, ``--resume`` and the settings."""
    parser.add_argument(
        "-o", "--output", type=PATH, metavar="DIR", required=True, help="folder of the run"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in DIR")
    add_settings(parser, run_type.settings_class)


def train_run(run_type: type[Run], arguments: argparse.Namespace, source: Any, missing: str) -> int:
    """Begin a run or resume one; return the exit code.

    Parameters
    ----------
    run_type : subclass of Run
    arguments : Namespace
        With ``output``, ``resume`` and the settings that were given.
    source
        Where the data come from, or None.
    missing : str
        What is asked for in the error if a new run has no data.
    """
    given = given_settings(arguments, run_type.settings_class)
    if arguments.resume:
        return carry_out(resumed(run_type, arguments.output, source, given))
    if source is None:
        raise ValueError(f"expected {missing} to train on (or --resume)")
    return begin(run_type, arguments.output, source, given)


def begin(run_type: type[Run], folder: str, source: Any, given: Mapping[str, Any]) -> int:
    """Begin a run in a folder without one, or with one that is finished; return the exit code.

    Raises
    ------
    OSError, ValueError
        The folder holds a run that is not finished, or a checkpoint that cannot be read.
    """
    try:
        saved = Saved.read(run_type, folder)
    except FileNotFoundError:
        saved = None
    except ValueError as error:
        raise ValueError(f"{error}. Move it away, or choose another folder") from error
    if saved is not None and saved.epoch < saved.settings.epochs:
        raise ValueError(
            f"{folder}: holds a run that is not finished. Add --resume to go on with it, "
            f"or choose another folder"
        )
    return carry_out(run_type(folder, source, run_type.settings_for(source, given)))


def resumed(run_type: type[Run], folder: str, source: Any, given: Mapping[str, Any]) -> Run:
    """Return the run whose checkpoint is in a folder.

    Parameters
    ----------
    run_type : subclass of Run
    folder : str
    source
        Where the data are now; None: where they were.
    given : mapping
        Settings by name, which must be those of the run.

    Raises
    ------
    FileNotFoundError
        There is no checkpoint.
    ValueError
        It is damaged or has no run, or the settings or the data differ.
    """
    saved = Saved.read(run_type, folder)
    if saved is None:
        path = Path(folder, CHECKPOINT)
        raise ValueError(f"{path}: holds a model without a run that could be resumed")
    for name, value in given.items():
        then = getattr(saved.settings, name)
        if value != then:
            raise ValueError(f"{name}: a run is resumed as it began, with {then!r}, got {value!r}")
    return run_type(folder, source or saved.source, saved.settings, saved)


def carry_out(run: Run) -> int:
    """Train to the end and write the results into the folder; return the exit code."""
    begun = time.monotonic()
    print(run.describe())
    if run.trainer.position.update:
        print(f"Going on after {_place(run)}")
    try:
        run.trainer.run()
    except KeyboardInterrupt:
        return _leave(run)
    for line in run.write_results():
        print(line)
    seconds = time.monotonic() - begun
    print(f"Done in {seconds:.1f} s. {run.folder}: {', '.join(sorted(os.listdir(run.folder)))}")
    return 0


def _leave(run: Run) -> int:
    """Write the checkpoint of a run that Ctrl-C stopped, and say how to go on."""
    try:
        if not run.trainer.callbacks_complete:
            raise RuntimeError("a callback was interrupted")
        run.save()
    except RuntimeError as error:
        print(f"Stopped at once, and not saved: {error}", file=sys.stderr)
        return INTERRUPTED
    command = f"{run.command} -o {shlex.quote(str(run.folder))} --resume"
    print(f"Stopped and saved after {_place(run)}. Go on with: {command}", file=sys.stderr)
    return INTERRUPTED


def _place(run: Run) -> str:
    place = run.trainer.position
    return f"{place.epoch} of {run.settings.epochs} epochs, {place.update} updates"


# ----------------------------------------------------------------------------------------- the run


@dataclass(frozen=True)
class Saved:
    """A run as a checkpoint has it, checked.

    Attributes
    ----------
    model, settings, source
        As in `Run`.
    digest : str
        Of the data.
    state : dict
        Of the trainer.
    """

    model: Any
    settings: Any
    source: Any
    digest: str
    state: dict[str, Any]

    @classmethod
    def read(cls, run_type: type[Run], folder: str) -> Saved | None:
        """Read the checkpoint in a folder; None if it has a model without a run.

        Raises
        ------
        FileNotFoundError
            There is no checkpoint.
        ValueError
            It cannot be read: something is missing or unknown, of another type or out of range, or
            does not fit the rest.
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
        """Raise unless the settings are those of the model and of the trainer."""
        self.settings.check_made(run_type.made_of(self.model))
        if self.epoch > self.settings.epochs:
            raise ValueError(f"settings: epochs: expected at least {self.epoch}, which are done")
        then = self.state.get("arguments") or {}
        for name in ("epochs", "lr"):
            value = getattr(self.settings, name)
            if then.get(name, value) != value:
                raise ValueError(f"settings: {name}: expected {then[name]!r}, as the run has it")

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return Position.of(*archive.entries(self.state, "position")).epoch


class Run(ABC):
    """A run of training and its folder. Each command that trains has a subclass.

    Parameters
    ----------
    folder : str or path
        Made if there is none.
    source
        Where the data come from, of the class `source_class`.
    settings
        Of the class `settings_class`.
    saved : Saved, optional
        For a run that is resumed.

    Attributes
    ----------
    data
        What `source` read.
    model
        What is trained.
    trainer : Trainer
    """

    command: ClassVar[str]  # begins such a run, and resumes it
    model_class: ClassVar[Any]
    settings_class: ClassVar[type[RunSettings]]
    source_class: ClassVar[Any]  # a frozen dataclass: read() gives the data, str() a short name
    noun: ClassVar[str]  # for the data
    unit: ClassVar[str] = "loss"  # of the picture
    scale: ClassVar[float] = 1.0  # from nats to that unit

    def __init__(
        self, folder: str | os.PathLike[str], source: Any, settings: Any, saved: Saved | None = None
    ) -> None:
        self.folder, self.source, self.settings = Path(check_path(folder)), source, settings
        self.data = source.read()
        if saved is not None and saved.digest != self.digest:
            raise ValueError(f"{source}: expected the {self.noun} that the run began with")
        self.model = self._make_model() if saved is None else saved.model
        self.trainer = self._make_trainer()
        self.folder.mkdir(parents=True, exist_ok=True)
        if saved is not None:
            with archive.blaming(Path(folder, CHECKPOINT)):
                state = saved.state | {"model": self.model.network.state_dict()}
                self.trainer.load_state_dict(state)

    # ------------------------------------------------------------- what each command says itself

    @classmethod
    def settings_for(cls, source: Any, given: Mapping[str, Any]) -> Any:
        """Return the settings of a new run, of which some are given."""
        return cls.settings_class(**given)

    @classmethod
    @abstractmethod
    def made_of(cls, model: Any) -> dict[str, Any]:
        """Return the settings, by name, that can be seen in a model."""

    @abstractmethod
    def _make_model(self) -> Any:
        """Return the untrained model."""

    @abstractmethod
    def _make_trainer(self) -> Trainer:
        """Return the trainer, with a progress that shows `glimpse` and a `FolderCheckpoint`."""

    @abstractmethod
    def _content(self) -> str:
        """Return a text of all data."""

    @abstractmethod
    def _amount(self) -> dict[str, int]:
        """Return columns of the history that say how much data there are."""

    @abstractmethod
    def _measures(self) -> dict[str, list[Any]]:
        """Return columns of the history besides the losses."""

    @abstractmethod
    def _write_samples(self) -> list[str]:
        """Write a file of texts by the trained model; return lines to print about them."""

    @abstractmethod
    def glimpse(self) -> str:
        """Return a line of what the model writes now."""

    # -------------------------------------------------------------------------- what all have

    @property
    def digest(self) -> str:
        """A hash of the data."""
        return hashlib.sha256(self._content().encode("utf-8", "surrogatepass")).hexdigest()

    def describe(self) -> str:
        """Return a line about the network and the data."""
        parameters = sum(array.size for array in self.model.network.params.values())
        amount = [f"{number:,} {name}" for name, number in self._amount().items()]
        return (
            f"{self._layers()}, {parameters:,} parameters, on {self.source}: "
            f"{', '.join(amount).replace('_', ' ')}"
        )

    def _layers(self) -> str:
        """Return the number, the kind and the size of the layers."""
        settings = self.settings
        return f"{settings.layers} x {settings.cell.upper()} {settings.hidden_size}"

    def save(self) -> None:
        """Write the checkpoint: the model, and with it the state of the run."""
        state = self.trainer.state_dict()
        del state["model"]  # the checkpoint has it already
        training = {
            "settings": asdict(self.settings),
            "source": asdict(self.source),
            "digest": self.digest,
            "trainer": state,
        }
        self.model.save(self.folder, training)

    def write_results(self) -> list[str]:
        """Write history, samples and picture; return lines to print about them."""
        self._write_history()
        said = self._write_samples()
        try:
            plotting.save_loss_curve(
                Path(self.folder, PICTURE), self.trainer.history, unit=self.unit, scale=self.scale
            )
        except ImportError as error:
            said.append(f"No {PICTURE}: {error}")
        return said

    def _write_history(self) -> None:
        settings = asdict(self.settings)
        settings["peak_lr"] = settings.pop("lr")  # beside the rate of each epoch's last update
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


class FolderCheckpoint(Checkpoint):
    """Writes the checkpoint of a run's folder after each epoch, and now and then within one."""

    def __init__(self, run: Run) -> None:
        super().__init__(Path(run.folder, CHECKPOINT), epochs=1, seconds=SAVE_SECONDS)
        self._run = run

    def write(self, run: TrainingRun) -> None:
        """Write the model with the state of its run."""
        self._run.save()

    def on_end(self, run: TrainingRun) -> None:
        """Write nothing: `carry_out` saves what Ctrl-C stops; an error leaves the last file."""
