"""``crnn translate train`` and ``crnn translate``: translators."""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from crnn import plotting
from crnn.callbacks.metrics import ExactMatch, TranslationProgress
from crnn.cli.arguments import FLAG, LR, PATH, POSITIVE, SEED, RunSettings, choice, integer, setting
from crnn.cli.run import HELD_OUT, FolderCheckpoint, Run, add_run_arguments, train_run
from crnn.data import read_pairs
from crnn.data.pairs import Pair, text_lines
from crnn.layers.attention.alignment import KINDS
from crnn.layers.compose.bidirectional import Bidirectional
from crnn.layers.compose.sequential import Sequential
from crnn.models.networks import CELLS
from crnn.models.texts import held_apart
from crnn.models.translator import Translator
from crnn.storage.files import check_path, check_target
from crnn.training.trainer import Trainer

TRANSLATIONS = "held-out.tsv"
SIDE_BY_SIDE = 512  # lines that are read before they are translated


# ----------------------------------------------------------------------------------------- the run


@dataclass(frozen=True)
class Settings(RunSettings):
    """The settings of ``crnn translate train``. The defaults are those of `Translator`."""

    words: bool = setting(False, "symbols are words, not characters", FLAG)
    min_count: int = setting(1, "symbols that occur less often are unknown", integer(1))
    cell: str = setting("gru", "recurrent layer", choice(*sorted(CELLS)))
    hidden_size: int = setting(128, "units of a recurrent layer", integer(1))
    layers: int = setting(1, "recurrent layers of encoder and of decoder", integer(1))
    embedding: int = setting(64, "length of the vectors for symbols", integer(1))
    bidirectional: bool = setting(True, "the encoder reads in both directions (the default)", FLAG)
    attention: str | None = setting(
        "additive", "how the decoder looks at the source", choice(*KINDS, None)
    )
    epochs: int = setting(15, "times to go through the pairs", integer(1))
    batch_size: int = setting(32, "pairs in an update", integer(1))
    lr: float = setting(3e-3, LR, POSITIVE)
    clip_norm: float = setting(1.0, "largest norm of a gradient", POSITIVE)
    seed: int = setting(0, "decides the initial weights, the pairs held out and their order", SEED)


@dataclass(frozen=True)
class Source:
    """Where the pairs come from: a file, as `read_pairs` reads it."""

    path: str

    def __post_init__(self) -> None:
        check_path(self.path)

    def read(self) -> list[Pair]:
        """Return the pairs."""
        return read_pairs(self.path)

    def __str__(self) -> str:
        return Path(self.path).name


class TranslatorRun(Run):
    """A run of a `Translator` on a file of pairs."""

    data: list[Pair]
    model: Translator
    settings: Settings

    command = "crnn translate train"
    model_class, settings_class, source_class = Translator, Settings, Source
    noun, unit = "file", "nats per symbol"

    @classmethod
    def made_of(cls, model: Translator) -> dict[str, Any]:
        """Return the settings, by name, that can be seen in a model."""
        network: Any = model.network
        encoder = network.encoder
        layers = encoder.layers if isinstance(encoder, Sequential) else [encoder]
        bidirectional = isinstance(layers[0], Bidirectional)
        first = layers[0].forward_layer if bidirectional else layers[0]
        return {
            "cell": type(first).__name__.lower(),
            "hidden_size": first.hidden_size,
            "layers": len(layers),
            "embedding": network.source_embedding.size,
            "bidirectional": bidirectional,
            "attention": None if network.attention is None else network.attention.kind,
            "words": model.words,
        }

    def _make_model(self) -> Translator:
        return Translator.for_pairs(self.data, **self.settings.parameters_of(Translator.for_pairs))

    def _make_trainer(self) -> Trainer:
        pairs, self.held_out = held_apart(self.data, HELD_OUT, self.settings.seed)
        self.exact = ExactMatch(self.model.evaluate, self.held_out)
        progress = TranslationProgress(self.exact, self.glimpse)
        return self.model.trainer(
            pairs,
            self.held_out,
            **self.settings.parameters_of(Translator.train),
            callbacks=[self.exact, progress, FolderCheckpoint(self)],
        )

    def _content(self) -> str:
        return "\n".join("\t".join(pair) for pair in self.data)

    def _layers(self) -> str:
        settings = self.settings
        both = "bidirectional " if settings.bidirectional else ""
        looks = f"{settings.attention} attention" if settings.attention else "no attention"
        return f"{both}{super()._layers()} to {super()._layers()} with {looks}"

    def _amount(self) -> dict[str, int]:
        return {
            "pairs": len(self.data),
            "source_symbols": len(self.model.source),
            "target_symbols": len(self.model.target),
        }

    def _measures(self) -> dict[str, list[Any]]:
        return {"exact": list(self.exact.rates)}

    def glimpse(self) -> str:
        """Return a held-out source and its translation."""
        source, _ = self.held_out[self.trainer.position.epoch % len(self.held_out)]
        return f"{source[:60]} -> {self.model.translate([source])[0][:60]}"

    def _write_samples(self) -> list[str]:
        """Translate all that was held out, into a third column."""
        translations = self.model.translate([source for source, _ in self.held_out])
        rows = [
            "\t".join([*pair, translation]) + "\n"
            for pair, translation in zip(self.held_out, translations, strict=True)
        ]
        Path(self.folder, TRANSLATIONS).write_text("".join(rows), encoding="utf-8", newline="\n")
        rate = self.model.evaluate(self.held_out)
        return [f"Of {len(rows):,} pairs held out, {rate:.1%} are translated exactly right"]


# ------------------------------------------------------------------------------------ the commands


def train(arguments: argparse.Namespace) -> int:
    """``crnn translate train``: begin a run or resume one."""
    source = None if arguments.pairs is None else Source(os.path.abspath(arguments.pairs))
    return train_run(TranslatorRun, arguments, source, "a file of PAIRS")


def translate(arguments: argparse.Namespace) -> int:
    """``crnn translate``: translate standard input, line by line."""
    model = Translator.load(arguments.folder)
    options = {"beam": arguments.beam, "length_penalty": arguments.length_penalty}
    picture = arguments.attention_plot
    if picture is not None:
        check_target(picture)
    _write_utf8()
    # At a terminal each line is answered at once; of a file many are translated together.
    together = 1 if sys.stdin.isatty() else SIDE_BY_SIDE
    for lines in _blocks(text_lines(sys.stdin.buffer, "standard input"), together):
        first = next((line for line in lines if line.strip()), None)
        if picture is not None and first is not None:
            plotting.save_attention(picture, *model.attention(first, **options))
            picture = None
        for translation in model.translate(lines, **options):
            print(translation)
        sys.stdout.flush()
    if picture is not None:
        raise ValueError(f"{picture}: expected a line to translate, got none")
    return 0


def _blocks(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    lines = iter(lines)
    while block := list(islice(lines, size)):
        yield block


def _write_utf8() -> None:
    """Write as the input is read, whatever the system's own encoding is, but to a terminal."""
    if not sys.stdout.isatty() and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")


def add_commands(commands: Any) -> None:
    """Add the commands and their arguments."""
    add = commands.add_parser(
        "translate",
        help="translate the lines of standard input; translate train: train a translator",
        epilog="crnn translate train makes a translator: see crnn translate train --help",
    )
    add.add_argument("folder", type=PATH, metavar="DIR", help="the folder of a run")
    add.add_argument(
        "--beam", type=integer(1), default=1, metavar="N", help="translations pursued at a time (1)"
    )
    add.add_argument(
        "--length-penalty",
        type=float,
        default=0.0,
        metavar="P",
        help="with a beam: above 0 favours longer translations (0)",
    )
    add.add_argument(
        "--attention-plot",
        type=PATH,
        metavar="FILE.png",
        help="draw where the first line is looked at",
    )
    add.set_defaults(run=translate)

    add = add.add_command("train")
    add.add_argument(
        "pairs",
        nargs="?",
        type=PATH,
        metavar="PAIRS",
        help="a file in UTF-8: source, tab, target in a line",
    )
    add_run_arguments(add, TranslatorRun)
    add.set_defaults(run=train)
