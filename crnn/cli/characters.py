"""``crnn train``, ``crnn sample`` and ``crnn demo``: character models.

``crnn demo`` is ``crnn train --corpus pydoc`` with the default settings.
"""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from crnn.cli.arguments import (
    CLIP_NORM,
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
from crnn.cli.run import (
    FOLDER,
    HELD_OUT,
    FolderCheckpoint,
    Run,
    add_run_arguments,
    begin,
    train_run,
)
from crnn.data import corpora, corpus, lines_of
from crnn.layers.pointwise.embedding import Embedding
from crnn.layers.recurrent.base import Recurrent
from crnn.layers.temporal.base import CoreTemporal
from crnn.layers.temporal.tcn import TCNBlock
from crnn.layers.temporal.transformer import TransformerBlock
from crnn.models.char_model import BITS, BitsProgress, CharModel
from crnn.models.networks import BLOCKS, CELLS
from crnn.storage.files import check_path, read_text
from crnn.training.trainer import Trainer

TEMPERATURES = (0.5, 0.8)  # of the samples at the end of a run
WRITTEN = 2000  # characters per temperature
INVENTED, SHOWN = 1000, 50  # with lines: lines generated and lines saved per temperature

SAMPLES = "samples.txt"

# Settings of a corpus that replace the defaults.
CORPUS_SETTINGS: dict[str, dict[str, Any]] = {
    "dinosaurs": {"lines": True, "hidden_size": 128, "embedding": 32, "batch_size": 16}
}


# --------------------------------------------------------------------------------------------- run


@dataclass(frozen=True)
class Settings(RunSettings):
    """Settings of ``crnn train``, with the defaults of ``crnn demo``."""

    cell: str = setting(
        "lstm", "type of recurrent layer, or of block", choice(*sorted((*CELLS, *BLOCKS)))
    )
    hidden_size: int = setting(256, "hidden units per layer", integer(1))
    layers: int = setting(1, "number of stacked layers or blocks", integer(1))
    embedding: int | None = setting(
        None,
        "size of the embedding vectors; 0: one-hot symbols (default: the hidden size)",
        integer(0),
    )
    heads: int = setting(4, "heads of attention of a transformer", integer(1))
    taps: int = setting(3, "steps that a convolution of a tcn reads", integer(1))
    window: int = setting(256, "steps that a step of a transformer sees", integer(1))
    lines: bool = setting(False, "train on each line as a separate sequence", FLAG)
    epochs: int = setting(12, "number of passes through the text", integer(1))
    batch_size: int = setting(32, "text streams, or lines, per update", integer(1))
    steps: int = setting(64, "characters per update in each text stream", integer(1))
    lr: float = setting(6e-3, LR, POSITIVE)
    clip_norm: float = setting(1.0, CLIP_NORM, POSITIVE)
    seed: int = setting(0, "seed of the initial weights and of the order of lines", SEED)

    def check_model(self, values: Mapping[str, Any]) -> None:
        """Raise ValueError unless the settings agree with a model."""
        if self.embedding is None and values["embedding"] == values["hidden_size"]:
            values = {**values, "embedding": None}
        super().check_model(values)


@dataclass(frozen=True)
class Source:
    """Source of a text: a file, or a corpus of `crnn.data`."""

    path: str | None = None
    corpus: str | None = None

    def __post_init__(self) -> None:
        if self.path is None:
            choice(*corpora()).check("corpus", self.corpus)
        elif self.corpus is not None:
            raise ValueError(f"corpus: expected None with a path, got {self.corpus!r:.60}")
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
    """Training run of a `CharModel` on a text."""

    data: str
    model: CharModel
    settings: Settings

    command = "crnn train"
    model_class, settings_class, source_class = CharModel, Settings, Source
    noun, unit, scale = "text", "bits per character", BITS
    read_by: ClassVar = {"heads": {"transformer"}, "window": {"transformer"}, "taps": {"tcn"}}

    @classmethod
    def settings_for(cls, source: Source, options: Mapping[str, Any]) -> Settings:
        """Return the settings of a new run, with the defaults of the corpus."""
        defaults = CORPUS_SETTINGS.get(source.corpus or "", {})
        if options.get("cell") in BLOCKS:  # they read as many features as they return
            defaults = {name: value for name, value in defaults.items() if name != "embedding"}
        settings: Settings = cls.settings_with(defaults, options)
        return settings

    @classmethod
    def settings_of(cls, model: CharModel) -> dict[str, Any]:
        """Return the settings that a model was made with, by name."""
        network: Any = model.network
        layers = network.layers
        stack = [layer for layer in layers if isinstance(layer, (Recurrent, CoreTemporal))]
        first, others = stack[0], dict[str, Any]()
        if isinstance(first, TCNBlock):
            others = {"cell": "tcn", "taps": first.taps}
        elif isinstance(first, TransformerBlock):
            others = {"cell": "transformer", "heads": first.heads, "window": first.window}
        return {
            "cell": type(first).__name__.lower(),
            "hidden_size": first.output_size,
            "layers": len(stack),
            "embedding": layers[0].size if isinstance(layers[0], Embedding) else 0,
            "lines": model.lines,
        } | others

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
        """Return one line of text that the model generates now."""
        if self.settings.lines:
            return ", ".join(self._invent(6, 0.8))
        return " ".join(self._write(150, 0.8).split())[:90]

    def _write_samples(self) -> list[str]:
        messages, samples = self._lines() if self.settings.lines else self._texts()
        Path(self.folder, SAMPLES).write_text("\n\n".join(samples) + "\n", encoding="utf-8")
        return messages

    def _texts(self) -> tuple[list[str], list[str]]:
        """Return no messages, and one text per temperature."""
        texts = [(each, self._write(WRITTEN, each).strip()) for each in TEMPERATURES]
        return [], [f"temperature {temperature}\n\n{text}" for temperature, text in texts]

    def _lines(self) -> tuple[list[str], list[str]]:
        """Return a message with the share of new lines, and new lines, per temperature."""
        messages, samples = [], []
        known = set(lines_of(self.data))
        for temperature in TEMPERATURES:
            lines = self._invent(INVENTED, temperature)
            new = [line for line in lines if line not in known]
            count = (
                f"temperature {temperature}: {len(lines)} lines generated, "
                f"{len(new) / len(lines):.1%} new, {len(set(lines)) / len(lines):.1%} distinct"
            )
            messages.append(count)
            samples.append("\n".join([count, "", *sorted(set(new[:SHOWN]))]))
        return messages, samples

    def _write(self, max_steps: int, temperature: float) -> str:
        """Return a text of `max_steps` characters that the model generates."""
        return self.model.sample("", max_steps, temperature=temperature, seed=self.settings.seed)

    def _invent(self, count: int, temperature: float) -> list[str]:
        """Return generated lines, at most twice as long as the longest line of the data."""
        longest = 2 * max(map(len, lines_of(self.data)))
        seed = self.settings.seed
        return self.model.invent(count, longest, temperature=temperature, seed=seed)


# ---------------------------------------------------------------------------------------- commands


def train(arguments: argparse.Namespace) -> int:
    """Run ``crnn train``: start a run or resume one."""
    return train_run(CharRun, arguments, _source(arguments), "TEXT, --corpus or --resume")


def demo(arguments: argparse.Namespace) -> int:
    """Run ``crnn demo``: ``crnn train --corpus pydoc``."""
    return begin(CharRun, arguments.output, Source(corpus="pydoc"), {})


def sample(arguments: argparse.Namespace) -> int:
    """Run ``crnn sample``: print a text that a model generates."""
    model = CharModel.load(arguments.folder)
    options = {"temperature": arguments.temperature, "seed": arguments.seed}
    print(model.sample(arguments.prime, arguments.max_steps, **options))
    return 0


def _source(arguments: argparse.Namespace) -> Source | None:
    """Return the source on the command line, or None."""
    if arguments.text is not None and arguments.corpus is not None:
        raise ValueError("expected either TEXT or --corpus, got both")
    if arguments.text is not None:
        return Source(path=os.path.abspath(arguments.text))
    return None if arguments.corpus is None else Source(corpus=arguments.corpus)


def add_commands(commands: Any) -> None:
    """Add the commands and their arguments."""
    parser = commands.add_parser(
        "train",
        help="train a character model on a text",
        description=f"Train a character model on a text. {FOLDER.format('samples')}",
    )
    parser.add_argument("text", nargs="?", type=PATH, metavar="TEXT", help="text file in UTF-8")
    parser.add_argument(
        "--corpus",
        choices=corpora(),
        help="text of crnn.data to use instead of TEXT; dinosaurs has other defaults",
    )
    add_run_arguments(parser, CharRun)
    parser.set_defaults(run=train)

    parser = commands.add_parser(
        "sample",
        help="generate text with a trained model",
        description="Generate text with a model that crnn train or crnn demo trained.",
    )
    parser.add_argument("folder", type=PATH, metavar="DIR", help="folder of a run")
    parser.add_argument(
        "--prime", default="", metavar="TEXT", help="beginning of the text (default: empty)"
    )
    parser.add_argument(
        "--temperature",
        type=TEMPERATURE,
        default=0.8,
        metavar="X",
        help="divisor of the logits: the smaller, the more probable the text; "
        "none selects the most probable character at each step (default: 0.8)",
    )
    parser.add_argument(
        "--max-steps",
        type=int,
        default=500,
        metavar="N",
        help="largest number of characters to generate (default: 500)",
    )
    parser.add_argument(
        "--seed",
        type=SEED,
        metavar="N",
        help="seed of the random numbers; equal seeds give equal texts (default: random)",
    )
    parser.set_defaults(run=sample)

    parser = commands.add_parser(
        "demo",
        help="train a character model on the documentation of Python",
        description="Train a character model on the documentation of Python, with the default "
        "settings of crnn train. Ctrl-C saves the run and stops it; crnn train --resume continues "
        "it.",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=PATH,
        metavar="DIR",
        default="demo-output",
        help="folder of the run (default: demo-output)",
    )
    parser.set_defaults(run=demo)
