"""``crnn translate train`` and ``crnn translate``: translators."""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from crnn import plotting
from crnn.callbacks.translations import ExactMatch, TranslationProgress
from crnn.cli.arguments import (
    CLIP_NORM,
    FLAG,
    LR,
    PATH,
    POSITIVE,
    SEED,
    RunSettings,
    choice,
    integer,
    setting,
)
from crnn.cli.output import write_utf8
from crnn.cli.run import FOLDER, HELD_OUT, FolderCheckpoint, Run, add_run_arguments, train_run
from crnn.data import read_pairs
from crnn.data.pairs import Pair, text_lines
from crnn.layers.attention.alignment import KINDS
from crnn.layers.compose.bidirectional import Bidirectional
from crnn.layers.compose.sequential import Sequential
from crnn.layers.temporal.transformer import TransformerBlock
from crnn.models.networks import CELLS
from crnn.models.texts import held_apart
from crnn.models.translator import Translator
from crnn.storage.files import check_path, check_target
from crnn.training.trainer import Trainer

TRANSLATIONS = "held-out.tsv"
BLOCK = 512  # lines that are translated as one batch


# --------------------------------------------------------------------------------------------- run


@dataclass(frozen=True)
class Settings(RunSettings):
    """Settings of ``crnn translate train``, with the defaults of `Translator`."""

    words: bool = setting(False, "use words as symbols, not characters", FLAG)
    min_count: int = setting(
        1, "least number of occurrences; rarer symbols are unknown", integer(1)
    )
    cell: str = setting(
        "gru", "type of recurrent layer, or transformer", choice(*sorted((*CELLS, "transformer")))
    )
    hidden_size: int = setting(128, "hidden units per layer or block", integer(1))
    layers: int = setting(1, "layers or blocks of the encoder and of the decoder", integer(1))
    heads: int = setting(4, "heads of attention of a transformer", integer(1))
    embedding: int = setting(64, "size of the embedding vectors, for recurrent layers", integer(1))
    bidirectional: bool = setting(True, "use a bidirectional encoder (default: yes)", FLAG)
    attention: str | None = setting(
        "additive", "attention of a recurrent decoder", choice(*KINDS, None)
    )
    epochs: int = setting(15, "number of passes through the pairs", integer(1))
    batch_size: int = setting(32, "pairs per update", integer(1))
    lr: float = setting(3e-3, LR, POSITIVE)
    clip_norm: float = setting(1.0, CLIP_NORM, POSITIVE)
    seed: int = setting(0, "seed of initial weights, held-out pairs and order of pairs", SEED)


@dataclass(frozen=True)
class Source:
    """Source of pairs: a file that `read_pairs` reads."""

    path: str

    def __post_init__(self) -> None:
        check_path(self.path)

    def read(self) -> list[Pair]:
        """Return the pairs."""
        return read_pairs(self.path)

    def __str__(self) -> str:
        return Path(self.path).name


class TranslatorRun(Run):
    """Training run of a `Translator` on a file of pairs."""

    data: list[Pair]
    model: Translator
    settings: Settings

    command = "crnn translate train"
    model_class, settings_class, source_class = Translator, Settings, Source
    noun, unit = "file", "nats per symbol"
    read_by: ClassVar = {
        "heads": {"transformer"},
        "embedding": set(CELLS),
        "attention": set(CELLS),
    }

    @classmethod
    def settings_of(cls, model: Translator) -> dict[str, Any]:
        """Return the settings that a model was made with, by name."""
        network: Any = model.network
        encoder = network.encoder
        layers = encoder.layers if isinstance(encoder, Sequential) else [encoder]
        if isinstance(layers[0], TransformerBlock):
            return {
                "cell": "transformer",
                "hidden_size": layers[0].size,
                "layers": len(layers) - 1,  # the last one is a LayerNorm
                "heads": layers[0].heads,
                "bidirectional": not layers[0].causal,
                "words": model.words,
            }
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
        directions = "bidirectional " if settings.bidirectional else ""
        if settings.cell == "transformer":
            return f"{directions}{super()._layers()} to {super()._layers()}"
        attention = f"{settings.attention or 'no'} attention"
        return f"{directions}{super()._layers()} to {super()._layers()} with {attention}"

    def _amount(self) -> dict[str, int]:
        return {
            "pairs": len(self.data),
            "source_symbols": len(self.model.source),
            "target_symbols": len(self.model.target),
        }

    def _measures(self) -> dict[str, list[Any]]:
        return {"exact": list(self.exact.rates)}

    def glimpse(self) -> str:
        """Return a held-out source text and its translation."""
        source, _ = self.held_out[self.trainer.position.epoch % len(self.held_out)]
        return f"{source[:60]} -> {self.model.translate([source])[0][:60]}"

    def _write_samples(self) -> list[str]:
        """Write all held-out pairs, with the translations as a third column."""
        translations = self.model.translate([source for source, _ in self.held_out])
        rows = [
            "\t".join([*pair, translation]) + "\n"
            for pair, translation in zip(self.held_out, translations, strict=True)
        ]
        Path(self.folder, TRANSLATIONS).write_text("".join(rows), encoding="utf-8", newline="\n")
        rate = self.model.evaluate(self.held_out)
        return [f"Exact translations of {len(rows):,} held-out pairs: {rate:.1%}"]


# ---------------------------------------------------------------------------------------- commands


def train(arguments: argparse.Namespace) -> int:
    """Run ``crnn translate train``: start a run or resume one."""
    source = None if arguments.pairs is None else Source(os.path.abspath(arguments.pairs))
    return train_run(TranslatorRun, arguments, source, "PAIRS or --resume")


def translate(arguments: argparse.Namespace) -> int:
    """Run ``crnn translate``: translate standard input, line by line."""
    model = Translator.load(arguments.folder)
    options = {"beam": arguments.beam, "length_penalty": arguments.length_penalty}
    plot = arguments.attention_plot
    if plot is not None:
        check_target(plot)
    write_utf8()
    # At a terminal each line is translated at once; the lines of a file are translated in batches.
    size = 1 if sys.stdin.isatty() else BLOCK
    for lines in _blocks(text_lines(sys.stdin.buffer, "standard input"), size):
        first = next((line for line in lines if line.strip()), None)
        if plot is not None and first is not None:
            plotting.save_attention(plot, *model.attention(first, **options))
            plot = None
        for translation in model.translate(lines, **options):
            print(translation)
        sys.stdout.flush()
    if plot is not None:
        raise ValueError(f"{plot}: expected a line to translate, got none")
    return 0


def _blocks(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield lists of `size` lines; the last one may be shorter."""
    lines = iter(lines)
    while block := list(islice(lines, size)):
        yield block


def add_commands(commands: Any) -> None:
    """Add the commands and their arguments."""
    parser = commands.add_parser(
        "translate",
        help="translate the lines of standard input; translate train: train a translator",
        description="Translate the lines of standard input (UTF-8) to standard output.",
        epilog="To train a translator: crnn translate train; see crnn translate train --help.",
    )
    parser.add_argument("folder", type=PATH, metavar="DIR", help="folder of a run")
    parser.add_argument(
        "--beam",
        type=integer(1),
        default=1,
        metavar="N",
        help="width of the beam search: number of candidate translations (default: 1)",
    )
    parser.add_argument(
        "--length-penalty",
        type=float,
        default=0.0,
        metavar="P",
        help="length penalty of the beam search; above 0 favours longer translations (default: 0)",
    )
    parser.add_argument(
        "--attention-plot",
        type=PATH,
        metavar="FILE.png",
        help="write a plot of the attention weights of the first line",
    )
    parser.set_defaults(run=translate)

    parser = parser.add_command(
        "train",
        description=f"Train a translator on pairs of texts. {FOLDER.format('samples')}",
    )
    parser.add_argument(
        "pairs",
        nargs="?",
        type=PATH,
        metavar="PAIRS",
        help="UTF-8 file with one pair per line: source, tab, target",
    )
    add_run_arguments(parser, TranslatorRun)
    parser.set_defaults(run=train)
