"""A training run of a character model and its folder: checkpoint, history, picture, samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crnn.data import corpora, corpus, lines_of
from crnn.layers.pointwise.embedding import Embedding
from crnn.layers.recurrent.cells import Recurrent
from crnn.models.char_model import BITS, BitsProgress, CharModel
from crnn.models.run import (
    HELD_OUT,
    Report,
    Run,
    RunSettings,
    check_choice,
    check_flags,
    check_whole,
)
from crnn.storage.files import check_path, read_text
from crnn.training.trainer import Trainer

TEMPERATURES = (0.5, 0.8)  # of what is written at the end
WRITTEN = 2000  # characters, at each
INVENTED, SHOWN = 1000, 50  # lines counted and lines shown, at each, where lines are sequences

SAMPLES = "samples.txt"

# Where a corpus wants other settings than the defaults.
CORPUS_SETTINGS: dict[str, dict[str, Any]] = {
    "dinosaurs": {"lines": True, "hidden": 128, "embedding": 32, "batch": 16},
}


@dataclass(frozen=True)
class Settings(RunSettings):
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

    def _check(self) -> None:
        super()._check()
        if self.embedding is not None:
            check_whole("embedding", self.embedding, 0)
        check_flags(self, "lines")
        check_whole("steps", self.steps, 1)

    def check_made(self, made: Mapping[str, Any]) -> None:
        if self.embedding is None and made["embedding"] == made["hidden"]:
            made = {**made, "embedding": None}
        super().check_made(made)


@dataclass(frozen=True)
class Source:
    """Where a text comes from: a file, or a corpus of `crnn.data`."""

    path: str | None = None
    corpus: str | None = None

    def __post_init__(self) -> None:
        if self.path is None:
            check_choice("corpus", self.corpus, corpora())
        elif self.corpus is not None:
            raise ValueError(f"corpus: expected None beside a path, got {self.corpus!r:.60}")
        else:
            check_path(self.path)

    def read(self) -> str:
        """Return the text."""
        if self.path is None:
            return corpus(self.corpus or "")
        try:
            text = read_text(self.path)
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path}: expected a text in UTF-8: {error}") from None
        if not text.strip():
            raise ValueError(f"{self.path}: expected a text, got an empty file")
        return text

    def __str__(self) -> str:
        return f"corpus {self.corpus}" if self.path is None else Path(self.path).name


class CharRun(Run[str]):
    """A run of a `CharModel` on a text."""

    command = "crnn train"
    model_class, settings_class, source_class = CharModel, Settings, Source
    unit, scale = "bits per character", BITS

    @classmethod
    def settings_for(cls, source: Source, given: Mapping[str, Any]) -> Settings:
        """Return the settings of a new run: a corpus may want others than the defaults."""
        return Settings(**{**CORPUS_SETTINGS.get(source.corpus or "", {}), **given})

    @classmethod
    def made_of(cls, model: CharModel) -> dict[str, Any]:
        """Return those settings of a model that can be seen in it."""
        network: Any = model.network
        layers = network.layers
        recurrent = [layer for layer in layers if isinstance(layer, Recurrent)]
        hidden = recurrent[0].hidden_size
        embedding = layers[0].size if isinstance(layers[0], Embedding) else 0
        return {
            "cell": type(recurrent[0]).__name__.lower(),
            "hidden": hidden,
            "layers": len(recurrent),
            "embedding": embedding,
            "lines": model.lines,
        }

    @property
    def text(self) -> str:
        """What is trained on."""
        return self.data

    def _make_model(self) -> CharModel:
        kinds = ("cell", "hidden", "layers", "embedding", "lines", "seed")
        return CharModel.for_text(self.text, **self.settings.chosen(*kinds))

    def _make_trainer(self) -> Trainer:
        names = ("epochs", "batch", "steps", "lr", "clip", "seed")
        report = Report(self, BitsProgress())
        trainer: Trainer = self.model.trainer(
            self.text, **self.settings.chosen(*names), held_out=HELD_OUT, callbacks=[report]
        )
        return trainer

    def _content(self) -> str:
        return self.text

    def _named(self) -> str:
        return "text"

    def _amount(self) -> dict[str, Any]:
        return {"characters": len(self.text), "symbols": len(self.model.vocabulary)}

    def _measures(self) -> dict[str, list[Any]]:
        history = self.trainer.history
        return {
            "bits": [BITS * loss for loss in history.loss],
            "val_bits": [BITS * loss for loss in history.val_loss],
        }

    def glimpse(self) -> str:
        """Return a line of what the model writes now."""
        if self.settings.lines:
            names = self.model.invent(6, self._longest, temperature=0.8, seed=self.settings.seed)
            return ", ".join(names)
        text = self.model.sample("", 150, temperature=0.8, seed=self.settings.seed)
        return " ".join(text.split())[:90]

    def _write_samples(self) -> list[str]:
        said, samples = self._lines() if self.settings.lines else self._texts()
        Path(self.folder, SAMPLES).write_text("\n\n".join(samples) + "\n", encoding="utf-8")
        return said

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
