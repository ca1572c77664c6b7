"""Training runs in folders: what they are made with, and how one is stopped and taken up again.

A run can be stopped at any moment and resumed: the numbers are those of a run that was not stopped.
(The bits are those of one instruction set; its name stands in the history.)
"""

import hashlib
import os
import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import crnn._core as _core
from crnn import plotting
from crnn._version import __version__
from crnn.callbacks import Callback, Progress
from crnn.callbacks.run import Position
from crnn.callbacks.run import Run as TrainingRun
from crnn.common.checks import check_positive
from crnn.models.char_model import CELLS
from crnn.models.folder import CHECKPOINT, training_of
from crnn.storage import archive
from crnn.storage.files import check_path
from crnn.training.trainer import Trainer

HELD_OUT = 0.1  # share of the data
SAVE_SECONDS = 120  # between checkpoints within an epoch

HISTORY, PICTURE = "history.csv", "loss.png"

Data = TypeVar("Data")
Read = TypeVar("Read", covariant=True)


@dataclass(frozen=True)
class RunSettings:
    """What every run is made with."""

    cell: str
    hidden: int
    layers: int
    epochs: int
    batch: int
    lr: float
    clip: float
    seed: int

    def __post_init__(self) -> None:
        """Check all settings: those of a run that is resumed come from a file."""
        self._check()

    def _check(self) -> None:
        """ValueError that names a setting which is none; subclasses check theirs as well."""
        check_choice("cell", self.cell, sorted(CELLS))
        for name in ("hidden", "layers", "epochs", "batch"):
            check_whole(name, getattr(self, name), 1)
        for name in ("lr", "clip"):
            value = getattr(self, name)
            if type(value) is bool:
                raise ValueError(f"{name}: expected a positive number, got {value!r}")
            check_positive(name, value)
        check_whole("seed", self.seed, 0, 2**64 - 1)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all settings."""
        return tuple(field.name for field in fields(cls))

    def chosen(self, *names: str) -> dict[str, Any]:
        """Return some settings by name."""
        return {name: getattr(self, name) for name in names}

    def differences(self, given: Mapping[str, Any]) -> list[str]:
        """Return the names under which something else is given."""
        return [name for name, value in given.items() if value != getattr(self, name)]

    def check_made(self, made: Mapping[str, Any]) -> None:
        """ValueError unless a model of these settings, by name, was made with these settings."""
        for name, value in made.items():
            if value != getattr(self, name):
                raise ValueError(
                    f"settings: {name}: expected {value!r}, as the model has it, "
                    f"got {getattr(self, name)!r:.60}"
                )


def check_whole(name: str, value: Any, low: int, high: int = 2**63 - 1) -> None:
    """ValueError unless this is an integer in these limits."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name}: expected an integer of at least {low}, got {value!r:.60}")


def check_flags(settings: RunSettings, *names: str) -> None:
    """ValueError unless these settings are True or False."""
    for name in names:
        value = getattr(settings, name)
        if not isinstance(value, bool):
            raise ValueError(f"{name}: expected True or False, got {value!r:.60}")


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """ValueError unless this is one of some choices."""
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        listed = ", ".join(map(str, choices))
        raise ValueError(f"{name}: expected one of {listed}, got {value!r:.60}")


class RunSource(Protocol[Read]):
    """Where the data of a run come from: a frozen dataclass whose text is its short name."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def read(self) -> Read:
        """Return the data."""


@dataclass
class Record:
    """What a checkpoint holds of a run, checked."""

    settings: Any
    source: Any
    digest: str  # of the data
    state: dict[str, Any]  # of the trainer
    model: Any = None

    @classmethod
    def of(cls, training: Mapping[str, Any], settings: Any, source: Any) -> "Record":
        """Return the record of a checkpoint; classes are those of its settings and its source.

        Raises
        ------
        ValueError, TypeError
            Something is missing or unknown, is of another type or out of range, or does not fit
            the rest.
        """
        names = ("settings", "source", "digest", "trainer")
        options, recorded, digest, state = archive.entries(dict(training), *names)
        for name, value in {"settings": options, "source": recorded, "trainer": state}.items():
            if not isinstance(value, dict):
                raise ValueError(f"{name}: expected a dictionary, got {value!r:.100}")
        if not isinstance(digest, str):
            raise ValueError(f"digest: expected a text, got {digest!r:.100}")
        record = cls(settings(**options), source(**recorded), digest, state)
        then = state.get("arguments", {})
        for name in ("epochs", "lr"):
            if isinstance(then, dict) and then.get(name, options[name]) != options[name]:
                raise ValueError(f"settings: {name}: expected {then[name]!r}, as the run has it")
        if record.epoch > record.settings.epochs:
            raise ValueError(f"settings: epochs: expected at least {record.epoch}, which are done")
        return record

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return Position.of(self.state.get("position")).epoch

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return bool(self.epoch >= self.settings.epochs)


class Run(ABC, Generic[Data]):
    """A run, new or taken up again with `resume`.

    Parameters
    ----------
    folder : str or path
        Made where there is none.
    source
        Where the data come from, of the class `source_class`.
    settings
        Of the class `settings_class`.

    Attributes
    ----------
    data
        What `source` read.
    model
        What is trained.
    trainer : Trainer
    """

    command: ClassVar[str]  # what starts such a run, and goes on with it
    model_class: ClassVar[Any]
    settings_class: ClassVar[Any]
    source_class: ClassVar[Any]
    unit: ClassVar[str] = "loss"  # of the picture
    scale: ClassVar[float] = 1.0  # from nats to that unit

    def __init__(
        self,
        folder: str | os.PathLike[str],
        source: RunSource[Data],
        settings: Any,
        record: "Record | None" = None,
    ) -> None:
        self.folder, self.source, self.settings = Path(check_path(folder)), source, settings
        self.data = source.read()
        if record is not None and self.digest != record.digest:
            raise ValueError(f"{source}: expected the {self._named()} that the run began with")
        self.model = self._make_model() if record is None else record.model
        self.trainer = self._make_trainer()
        self.folder.mkdir(parents=True, exist_ok=True)

    @classmethod
    def resume(
        cls,
        folder: str | os.PathLike[str],
        source: RunSource[Data] | None,
        given: Mapping[str, Any],
    ) -> Self:
        """Take up the run whose checkpoint is in a folder.

        Parameters
        ----------
        folder : str or path
        source : optional
            Where the data are now; by default where they were.
        given : mapping
            Settings by name, which must be those of the run.

        Raises
        ------
        FileNotFoundError
            There is no checkpoint.
        ValueError
            It is damaged or has no run, or the settings or the data differ.
        """
        tree, path = cls.model_class.read_tree(folder), Path(folder, CHECKPOINT)
        with archive.blaming(path):
            training = training_of(tree)
        if training is None:
            raise ValueError(f"{path}: holds a model without a run that could be resumed")
        with archive.blaming(path):
            record = Record.of(training, cls.settings_class, cls.source_class)
        for name in record.settings.differences(given):
            raise ValueError(
                f"{name}: a run is resumed as it began, with {getattr(record.settings, name)!r}, "
                f"got {given[name]!r}"
            )
        with archive.blaming(path):
            record.model = cls.model_class.of_tree(tree)
            record.settings.check_made(cls.made_of(record.model))
        run = cls(folder, source or record.source, record.settings, record)
        with archive.blaming(path):
            run.trainer.load_state_dict(record.state | {"model": run.model.network.state_dict()})
        return run

    @classmethod
    def settings_for(cls, source: Any, given: Mapping[str, Any]) -> Any:
        """Return the settings of a new run, of which some are given."""
        return cls.settings_class(**given)

    @classmethod
    def unfinished(cls, folder: str | os.PathLike[str]) -> bool:
        """Return whether a folder has the checkpoint of such a run that is not at its end.

        Raises
        ------
        OSError, ValueError
            There is a checkpoint that cannot be read: it may be one of a run.
        """
        try:
            tree = cls.model_class.read_tree(folder)
        except FileNotFoundError:
            return False
        with archive.blaming(Path(folder, CHECKPOINT)):
            training = training_of(tree)
            if training is None:
                return False
            return not Record.of(training, cls.settings_class, cls.source_class).finished

    # ---------------------------------------------------------------- what is told by each kind

    @classmethod
    @abstractmethod
    def made_of(cls, model: Any) -> dict[str, Any]:
        """Return those settings of a model, by name, that can be seen in it."""

    @abstractmethod
    def _make_model(self) -> Any:
        """Return the untrained model."""

    @abstractmethod
    def _make_trainer(self) -> Trainer:
        """Return the run, which tells a `Report`."""

    @abstractmethod
    def _content(self) -> str:
        """Return a text that tells the data from all others."""

    @abstractmethod
    def _named(self) -> str:
        """Return what the data are called."""

    @abstractmethod
    def glimpse(self) -> str:
        """Return a line of what the model does now."""

    @abstractmethod
    def _amount(self) -> dict[str, Any]:
        """Return columns of the history that say how much data there are."""

    @abstractmethod
    def _write_samples(self) -> list[str]:
        """Write what the trained model does; return what there is to say about it."""

    def _measures(self) -> dict[str, list[Any]]:
        """Return columns of the history besides the losses."""
        return {}

    # ------------------------------------------------------------------------------- for all

    @property
    def digest(self) -> str:
        """What tells the data from all others."""
        return hashlib.sha256(self._content().encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return bool(self.trainer.position.epoch >= self.settings.epochs)

    def describe(self) -> str:
        """Return a line about what is trained on what."""
        parameters = sum(array.size for array in self.model.network.params.values())
        amount = [f"{number:,} {name}" for name, number in self._amount().items()]
        return (
            f"{self._layers()}, {parameters:,} parameters, on {self.source}: "
            f"{', '.join(amount).replace('_', ' ')}"
        )

    def _layers(self) -> str:
        """Say what the network is made of."""
        settings = self.settings
        return f"{settings.layers} x {settings.cell.upper()} {settings.hidden}"

    def save(self) -> None:
        """Write the checkpoint."""
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
        """Write history, picture and samples; return what there is to say about them."""
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
            **{self._named(): str(self.source)},
            **self._amount(),
            **settings,
            crnn=__version__,
            python=platform.python_version(),
            isa=_core.isa(),
        )


class Report(Callback):
    """Shows a run's progress, prints figures and a glimpse after each epoch, and saves it.

    Parameters
    ----------
    run : Run
    progress : Progress
        What shows it.
    """

    def __init__(self, run: Run[Any], progress: Progress) -> None:
        self._run, self._progress = run, progress
        self._saved = time.monotonic()

    def on_new_run(self, run: TrainingRun) -> None:
        """Begin afresh."""
        super().on_new_run(run)
        self._progress.on_new_run(run)

    def on_start(self, run: TrainingRun) -> None:
        """Open the bar."""
        self._progress.on_start(run)

    def on_update(self, run: TrainingRun) -> None:
        """Move the bar, and save now and then."""
        self._progress.on_update(run)
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self._save()

    def on_epoch(self, run: TrainingRun) -> None:
        """Print, and save."""
        self._progress.write(self._progress.line(run))
        self._progress.write(f"    {self._run.glimpse()}")
        self._save()

    def on_end(self, run: TrainingRun) -> None:
        """Close the bar."""
        self._progress.on_end(run)

    def _save(self) -> None:
        self._run.save()
        self._saved = time.monotonic()
