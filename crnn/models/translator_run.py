"""A training run of a translator and its folder: checkpoint, history, picture, translations."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crnn.callbacks.metrics import ExactMatch, TranslationProgress
from crnn.data import read_pairs
from crnn.data.pairs import Pair
from crnn.layers.attention.alignment import KINDS
from crnn.layers.compose.bidirectional import Bidirectional
from crnn.layers.compose.sequential import Sequential
from crnn.models.run import (
    HELD_OUT,
    Report,
    Run,
    RunSettings,
    check_choice,
    check_flags,
    check_whole,
)
from crnn.models.texts import held_apart
from crnn.models.translator import Translator
from crnn.storage.files import check_path
from crnn.training.trainer import Trainer

TRANSLATIONS = "held-out.tsv"


@dataclass(frozen=True)
class Settings(RunSettings):
    """What a run is made with."""

    cell: str = "gru"
    hidden: int = 128
    layers: int = 1
    embedding: int = 64
    bidirectional: bool = True
    attention: str | None = "additive"
    words: bool = False
    min_count: int = 1
    epochs: int = 15
    batch: int = 32
    lr: float = 3e-3
    clip: float = 1.0
    seed: int = 0

    def _check(self) -> None:
        super()._check()
        check_whole("embedding", self.embedding, 1)
        check_whole("min_count", self.min_count, 1)
        check_flags(self, "bidirectional", "words")
        check_choice("attention", self.attention, [*KINDS, None])


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


class TranslatorRun(Run[list[Pair]]):
    """A run of a `Translator` on a file of pairs."""

    command = "crnn translate train"
    model_class, settings_class, source_class = Translator, Settings, Source
    unit = "nats per symbol"

    @classmethod
    def made_of(cls, model: Translator) -> dict[str, Any]:
        """Return those settings of a model that can be seen in it."""
        network: Any = model.network
        encoder = network.encoder
        layers = encoder.layers if isinstance(encoder, Sequential) else [encoder]
        bidirectional = isinstance(layers[0], Bidirectional)
        first = layers[0].forward_layer if bidirectional else layers[0]
        return {
            "cell": type(first).__name__.lower(),
            "hidden": first.hidden_size,
            "layers": len(layers),
            "embedding": network.source_embedding.size,
            "bidirectional": bidirectional,
            "attention": None if network.attention is None else network.attention.kind,
            "words": model.words,
        }

    def _make_model(self) -> Translator:
        kinds = ("words", "min_count", "cell", "hidden", "layers", "embedding", "bidirectional")
        return Translator.for_pairs(self.data, **self.settings.chosen(*kinds, "attention", "seed"))

    def _make_trainer(self) -> Trainer:
        names = ("epochs", "batch", "lr", "clip", "seed")
        pairs, self.held_out = held_apart(self.data, HELD_OUT, self.settings.seed)
        self.exact = ExactMatch(self.model.evaluate, self.held_out)
        report = Report(self, TranslationProgress(self.exact))
        trainer: Trainer = self.model.trainer(
            pairs, self.held_out, **self.settings.chosen(*names), callbacks=[self.exact, report]
        )
        return trainer

    def _content(self) -> str:
        return "\n".join("\t".join(pair) for pair in self.data)

    def _named(self) -> str:
        return "file"

    def _layers(self) -> str:
        settings = self.settings
        both = "bidirectional " if settings.bidirectional else ""
        looks = f"{settings.attention} attention" if settings.attention else "no attention"
        return f"{both}{super()._layers()} to {super()._layers()} with {looks}"

    def _amount(self) -> dict[str, Any]:
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
