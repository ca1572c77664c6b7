"""A training run of a character model and its folder: checkpoint, history, picture, samples.

A run can be stopped at any moment and resumed: the numbers are those of a run that was not stopped.
(The bits are those of one instruction set; its name stands in the history.)
"""

import hashlib
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from crnn import _core, checkpoint, plotting
from crnn._version import __version__
from crnn.data import corpus, lines_of
from crnn.models.char_model import BITS, CHECKPOINT, BitsProgress, CharModel
from crnn.training import Trainer

HELD_OUT = 0.1  # share of the text
TEMPERATURES = (0.5, 0.8)  # of what is written at the end
WRITTEN = 2000  # characters, at each
INVENTED, SHOWN = 1000, 50  # lines counted and lines shown, at each, where lines are sequences
SAVE_SECONDS = 120  # between checkpoints within an epoch

HISTORY, PICTURE, SAMPLES = "history.csv", "loss.png", "samples.txt"


@dataclass(frozen=True)
class Settings:
    """What a run is made with. The defaults are the main job's."""

    cell: str = "lstm"
    hidden: int = 256
    layers: int = 1
    embedding: int | None = None
    lines: bool = False
    epochs: int = 12
    batch: int = 32
    steps: int = 64
    lr: float = 6e-3
    clip: float = 1.0
    seed: int = 0

    def differences(self, given: Mapping[str, Any]) -> list[str]:
        """Return the names under which something else is given."""
        return [name for name, value in given.items() if value != getattr(self, name)]


@dataclass(frozen=True)
class Source:
    """Where a text comes from: a file, or a corpus of `crnn.data`."""

    path: str | None = None
    corpus: str | None = None

    def read(self) -> str:
        """Return the text."""
        if self.path is None:
            return corpus(self.corpus or "")
        try:
            text = Path(self.path).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path}: expected a text in UTF-8: {error}") from None
        if not text.strip():
            raise ValueError(f"{self.path}: expected a text, got an empty file")
        return text

    def __str__(self) -> str:
        return f"corpus {self.corpus}" if self.path is None else Path(self.path).name


class CharRun:
    """A run, new or taken up again with `resume`.

    Parameters
    ----------
    folder : str or path
        Made where there is none.
    source : Source
    settings : Settings
    """

    def __init__(self, folder: str | os.PathLike[str], source: Source, settings: Settings) -> None:
        self.folder, self.source, self.settings = Path(folder), source, settings
        self.text = source.read()
        kinds = ("cell", "hidden", "layers", "embedding", "lines", "seed")
        values = asdict(settings)
        self.model = CharModel.for_text(self.text, **{name: values[name] for name in kinds})
        names = ("epochs", "batch", "steps", "lr", "clip", "seed")
        self.report = Report(self)
        self.trainer = self.model.trainer(
            self.text,
            **{name: values[name] for name in names},
            held_out=HELD_OUT,
            callbacks=[self.report],
        )
        self.folder.mkdir(parents=True, exist_ok=True)

    @classmethod
    def resume(
        cls, folder: str | os.PathLike[str], source: Source | None, given: Mapping[str, Any]
    ) -> "CharRun":
        """Take up the run whose checkpoint is in a folder.

        Parameters
        ----------
        folder : str or path
        source : Source, optional
            Where the text is now; by default where it was.
        given : mapping
            Settings by name, which must be those of the run.

        Raises
        ------
        FileNotFoundError
            There is no checkpoint.
        ValueError
            It is damaged or has no run, or the settings or the text differ.
        """
        model, training = CharModel.load_training(folder)
        path = Path(folder, CHECKPOINT)
        if training is None:
            raise ValueError(f"{path}: holds a model without a run that could be resumed")
        with checkpoint.blaming(path):
            settings, recorded = Settings(**training["settings"]), Source(**training["source"])
            digest, state = training["digest"], training["trainer"]
        for name in settings.differences(given):
            raise ValueError(
                f"{name}: a run is resumed as it began, with {getattr(settings, name)!r}, "
                f"got {given[name]!r}"
            )
        run = cls(folder, source or recorded, settings)
        if run.digest != digest:
            raise ValueError(f"{run.source}: expected the text that the run began with")
        run.trainer.load_state_dict(state | {"model": model.network.state_dict()})
        return run

    @property
    def digest(self) -> str:
        """What tells the text from every other."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.trainer.position.epoch == self.settings.epochs

    def describe(self) -> str:
        """Return a line about what is trained on what."""
        parameters = sum(array.size for array in self.model.network.params.values())
        settings = self.settings
        return (
            f"{settings.layers} x {settings.cell.upper()} {settings.hidden}, "
            f"{parameters:,} parameters, on {self.source}: {len(self.text):,} characters, "
            f"{len(self.model.vocabulary)} symbols"
        )

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

    def glimpse(self) -> str:
        """Return a line of what the model writes now."""
        if self.settings.lines:
            names = self.model.invent(6, self._longest, temperature=0.8, seed=self.settings.seed)
            return ", ".join(names)
        text = self.model.sample("", 150, temperature=0.8, seed=self.settings.seed)
        return " ".join(text.split())[:90]

    def write_results(self) -> list[str]:
        """Write history, picture and samples; return what there is to say about them."""
        self._write_history()
        said, samples = self._lines() if self.settings.lines else self._texts()
        Path(self.folder, SAMPLES).write_text("\n\n".join(samples) + "\n", encoding="utf-8")
        try:
            plotting.save_loss_curve(
                Path(self.folder, PICTURE),
                self.trainer.history,
                unit="bits per character",
                scale=BITS,
            )
        except ImportError as error:
            said.append(f"No {PICTURE}: {error}")
        return said

    def _write_history(self) -> None:
        history, settings = self.trainer.history, asdict(self.settings)
        settings["peak_lr"] = settings.pop("lr")  # beside the rate of each epoch's last update
        history.to_csv(
            Path(self.folder, HISTORY),
            bits=[BITS * loss for loss in history.loss],
            val_bits=[BITS * loss for loss in history.val_loss],
            text=str(self.source),
            characters=len(self.text),
            symbols=len(self.model.vocabulary),
            **settings,
            crnn=__version__,
            python=platform.python_version(),
            isa=_core.isa(),
        )

    def _texts(self) -> tuple[list[str], list[str]]:
        samples = []
        for temperature in TEMPERATURES:
            seed = self.settings.seed
            text = self.model.sample("", WRITTEN, temperature=temperature, seed=seed)
            samples.append(f"{_title(temperature)}\n\n{text.strip()}")
        return [], samples

    def _lines(self) -> tuple[list[str], list[str]]:
        """Invent lines at each temperature, and count those that are new."""
        said, samples = [], []
        known = set(lines_of(self.text))
        for temperature in TEMPERATURES:
            lines = self.model.invent(
                INVENTED, self._longest, temperature=temperature, seed=self.settings.seed
            )
            new = [line for line in lines if line not in known]
            count = (
                f"{_title(temperature)}: of {len(lines)} lines invented, "
                f"{len(new) / len(lines):.1%} are new, {len(set(lines)) / len(lines):.1%} distinct"
            )
            said.append(count)
            samples.append("\n".join([count, "", *sorted(set(new[:SHOWN]))]))
        return said, samples

    @property
    def _longest(self) -> int:
        """The length at which an invented line is cut off."""
        return 2 * max(map(len, lines_of(self.text)))


def _title(temperature: float) -> str:
    return f"temperature {temperature}"


class Report(BitsProgress):
    """Shows a run's progress, prints figures and a line of text after each epoch, and saves it."""

    def __init__(self, run: CharRun) -> None:
        super().__init__()
        self._run = run
        self._saved = time.monotonic()

    def on_update(self, run: Trainer) -> None:
        """Move the bar, and save now and then."""
        super().on_update(run)
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self._save()

    def on_epoch(self, run: Trainer) -> None:
        """Print, and save."""
        self.write(self.line(run))
        self.write(f"    {self._run.glimpse()}")
        self._save()

    def _save(self) -> None:
        self._run.save()
        self._saved = time.monotonic()


def unfinished(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder has the checkpoint of a run that is not at its end."""
    try:
        _, training = CharModel.load_training(folder)
    except (OSError, ValueError):
        return False
    if training is None:
        return False
    return bool(training["trainer"]["position"]["epoch"] < training["settings"]["epochs"])


SETTINGS = tuple(field.name for field in fields(Settings))
