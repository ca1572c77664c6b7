"""``crnn train``, ``crnn sample`` and ``crnn demo``: character models.

``crnn demo`` is ``crnn train`` on one text, with the settings that are its defaults.
"""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crnn.cli.arguments import (
    FLAG,
    LR,
    PATH,
    POSITIVE,
    SEED,
    TEMPERATURE,
    RunSettings,
    choice,
    integer,
    setting,
)
from crnn.cli.run import HELD_OUT, FolderCheckpoint, Run, add_run_arguments, begin, train_run
from crnn.data import corpora, corpus, lines_of
from crnn.layers.pointwise.embedding import Embedding
from crnn.layers.recurrent.cells import Recurrent
from crnn.models.char_model import BITS, BitsProgress, CharModel
from crnn.models.networks import CELLS
from crnn.storage.files import check_path, read_text
from crnn.training.trainer import Trainer

TEMPERATURES = (0.5, 0.8)  # of the texts that are written at the end
WRITTEN = 2000  # characters, at each
INVENTED, SHOWN = 1000, 50  # lines counted and lines shown, at each, where lines are sequences

SAMPLES = "samples.txt"

# Settings of a corpus in place of the defaults.
CORPUS_SETTINGS: dict[str, dict[str, Any]] = {
    "dinosaurs": {"lines": True, "hidden_size": 128, "embedding": 32, "batch_size": 16}
}


# ----------------------------------------------------------------------------------------- the run


@dataclass(frozen=True)
class Settings(RunSettings):
    """The settings of ``crnn train``. The defaults are those of the demo."""

    cell: str = setting("lstm", "recurrent layer", choice(*sorted(CELLS)))
    hidden_size: int = setting(256, "units of a recurrent layer", integer(1))
    layers: int = setting(1, "recurrent layers, one on top of the other", integer(1))
    embedding: int | None = setting(
        None,
        "length of the vectors for symbols, 0 for symbols as they are (as hidden_size)",
        integer(0),
    )
    lines: bool = setting(False, "each line is a sequence of its own", FLAG)
    epochs: int = setting(12, "times to go through the text", integer(1))
    batch_size: int = setting(32, "streams of text, or lines, in an update", integer(1))
    steps: int = setting(64, "characters that an update goes back", integer(1))
    lr: float = setting(6e-3, LR, POSITIVE)
    clip_norm: float = setting(1.0, "largest norm of a gradient", POSITIVE)
    seed: int = setting(0, "decides the initial weights and the order of lines", SEED)

    def check_made(self, made: Mapping[str, Any]) -> None:
        """Raise ValueError unless the settings seen in a model are these."""
        if self.embedding is None and made["embedding"] == made["hidden_size"]:
            made = {**made, "embedding": None}
        super().check_made(made)


@dataclass(frozen=True)
class Source:
    """Where a text comes from: a file, or a corpus of `crnn.data`."""

    path: str | None = None
    corpus: str | None = None

    def __post_init__(self) -> None:
        if self.path is None:
            choice(*corpora()).check("corpus", self.corpus)
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


class CharRun(Run):
    """A run of a `CharModel` on a text."""

    data: str
    model: CharModel
    settings: Settings

    command = "crnn train"
    model_class, settings_class, source_class = CharModel, Settings, Source
    noun, unit, scale = "text", "bits per character", BITS

    @classmethod
    def settings_for(cls, source: Source, given: Mapping[str, Any]) -> Settings:
        """Return the settings of a new run; a corpus may have other defaults."""
        return Settings(**{**CORPUS_SETTINGS.get(source.corpus or "", {}), **given})

    @classmethod
    def made_of(cls, model: CharModel) -> dict[str, Any]:
        """Return the settings, by name, that can be seen in a model."""
        network: Any = model.network
        layers = network.layers
        recurrent = [layer for layer in layers if isinstance(layer, Recurrent)]
        return {
            "cell": type(recurrent[0]).__name__.lower(),
            "hidden_size": recurrent[0].hidden_size,
            "layers": len(recurrent),
            "embedding": layers[0].size if isinstance(layers[0], Embedding) else 0,
            "lines": model.lines,
        }

    def _make_model(self) -> CharModel:
        return CharModel.for_text(self.data, **self.settings.parameters_of(CharModel.for_text))

    def _make_trainer(self) -> Trainer:
        return self.model.trainer(
            self.data,
            **self.settings.parameters_of(CharModel.train),
            validation_split=HELD_OUT,
            callbacks=[BitsProgress(self.glimpse), FolderCheckpoint(self)],
        )

    def _content(self) -> str:
        return self.data

    def _amount(self) -> dict[str, int]:
        return {"characters": len(self.data), "symbols": len(self.model.vocabulary)}

    def _measures(self) -> dict[str, list[Any]]:
        history = self.trainer.history
        return {
            "bits": [BITS * loss for loss in history.loss],
            "val_bits": [BITS * loss for loss in history.val_loss],
        }

    def glimpse(self) -> str:
        """Return a line of what the model writes now."""
        if self.settings.lines:
            return ", ".join(self._invent(6, 0.8))
        return " ".join(self._write(150, 0.8).split())[:90]

    def _write_samples(self) -> list[str]:
        said, samples = self._lines() if self.settings.lines else self._texts()
        Path(self.folder, SAMPLES).write_text("\n\n".join(samples) + "\n", encoding="utf-8")
        return said

    def _texts(self) -> tuple[list[str], list[str]]:
        """Return nothing to print, and a text at each temperature."""
        texts = [(one, self._write(WRITTEN, one).strip()) for one in TEMPERATURES]
        return [], [f"temperature {temperature}\n\n{text}" for temperature, text in texts]

    def _lines(self) -> tuple[list[str], list[str]]:
        """Return how many lines are new at each temperature, and the first of these."""
        said, samples = [], []
        known = set(lines_of(self.data))
        for temperature in TEMPERATURES:
            lines = self._invent(INVENTED, temperature)
            new = [line for line in lines if line not in known]
            count = (
                f"temperature {temperature}: of {len(lines)} lines invented, "
                f"{len(new) / len(lines):.1%} are new, {len(set(lines)) / len(lines):.1%} distinct"
            )
            said.append(count)
            samples.append("\n".join([count, "", *sorted(set(new[:SHOWN]))]))
        return said, samples

    def _write(self, max_steps: int, temperature: float) -> str:
        return self.model.sample("", max_steps, temperature=temperature, seed=self.settings.seed)

    def _invent(self, count: int, temperature: float) -> list[str]:
        """Return lines, cut off at twice the length of the longest of the data."""
        longest = 2 * max(map(len, lines_of(self.data)))
        seed = self.settings.seed
        return self.model.invent(count, longest, temperature=temperature, seed=seed)


# ------------------------------------------------------------------------------------ the commands


def train(arguments: argparse.Namespace) -> int:
    """``crnn train``: begin a run or resume one."""
    return train_run(CharRun, arguments, _source(arguments), "a TEXT or a --corpus")


def demo(arguments: argparse.Namespace) -> int:
    """``crnn demo``: ``crnn train --corpus pydoc``."""
    return begin(CharRun, arguments.output, Source(corpus="pydoc"), {})


def sample(arguments: argparse.Namespace) -> int:
    """``crnn sample``: print a text."""
    model = CharModel.load(arguments.folder)
    how = {"temperature": arguments.temperature, "seed": arguments.seed}
    print(model.sample(arguments.prime, arguments.max_steps, **how))
    return 0


def _source(arguments: argparse.Namespace) -> Source | None:
    if arguments.text is not None and arguments.corpus is not None:
        raise ValueError("expected a TEXT or a --corpus, got both")
    if arguments.text is not None:
        return Source(path=os.path.abspath(arguments.text))
    return None if arguments.corpus is None else Source(corpus=arguments.corpus)


def add_commands(commands: Any) -> None:
    """Add the commands and their arguments."""
    add = commands.add_parser("train", help="train a character model on a text")
    add.add_argument("text", nargs="?", type=PATH, metavar="TEXT", help="a file in UTF-8")
    add.add_argument("--corpus", choices=corpora(), help="a text that is at hand, instead of TEXT")
    add_run_arguments(add, CharRun)
    add.set_defaults(run=train)

    add = commands.add_parser("sample", help="let a trained model write")
    add.add_argument("folder", type=PATH, metavar="DIR", help="the folder of a run")
    add.add_argument("--prime", default="", metavar="TEXT", help="what the text begins with")
    add.add_argument(
        "--temperature",
        type=TEMPERATURE,
        default=0.8,
        help="what the logits are divided by; none: always the likeliest character (0.8)",
    )
    add.add_argument("--max-steps", type=int, default=500, help="characters to add, at most (500)")
    add.add_argument("--seed", type=SEED, help="the same seed writes the same (a fresh one)")
    add.set_defaults(run=sample)

    add = commands.add_parser("demo", help="train on the documentation that comes with Python")
    add.add_argument(
        "-o", "--output", type=PATH, metavar="DIR", default="demo-output", help="(demo-output)"
    )
    add.set_defaults(run=demo)
