"""``crnn translate train`` and ``crnn translate``: translators."""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from crnn import plotting
from crnn.cli import runs
from crnn.cli.arguments import SEED, add_settings, integer, path, positive
from crnn.data.pairs import text_lines
from crnn.layers.attention.alignment import KINDS
from crnn.models.translator import Translator
from crnn.models.translator_run import Settings, Source, TranslatorRun
from crnn.storage.files import check_target

TRAIN = "translate train"
SIDE_BY_SIDE = 512  # lines that are read before they are translated

# The options of train that are settings: their type and what they say.
_OPTIONS: dict[str, tuple[Any, str]] = {
    "hidden": (integer(1), "units of a recurrent layer"),
    "layers": (integer(1), "recurrent layers of encoder and of decoder"),
    "embedding": (integer(1), "length of the vectors for symbols"),
    "min_count": (integer(1), "symbols that occur less often are unknown"),
    "epochs": (integer(1), "times to go through the pairs"),
    "batch": (integer(1), "pairs in an update"),
    "lr": (positive, "peak of the learning rate, which goes up and down in one cycle"),
    "clip": (positive, "largest norm of a gradient"),
    "seed": (SEED, "decides the initial weights, the pairs held out and their order"),
}

_ATTENTION = (*KINDS, "none")


def named(arguments: Sequence[str]) -> list[str]:
    """Make one word of ``translate train``, which is a command of its own."""
    if list(arguments[:2]) == TRAIN.split():
        return [TRAIN, *arguments[2:]]
    return list(arguments)


def train(arguments: argparse.Namespace) -> int:
    """``crnn translate train``: begin a run or resume one."""
    pairs = arguments.pairs
    source = None if pairs is None else Source(os.path.abspath(pairs))
    return runs.train(TranslatorRun, arguments, source, "a file of PAIRS")


def translate(arguments: argparse.Namespace) -> int:
    """``crnn translate``: translate standard input, line by line."""
    model = Translator.load(arguments.folder)
    options = {"beam": arguments.beam, "length_penalty": arguments.length_penalty}
    picture = arguments.attention_plot
    if picture is not None:
        check_target(picture)
    _write_utf8()
    # Who types waits for each line; who sends a file does not.
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
    add = commands.add_parser(TRAIN, help="train a translator on pairs of texts")
    add.add_argument(
        "pairs",
        nargs="?",
        type=path,
        metavar="PAIRS",
        help="a file in UTF-8: source, tab, target in a line",
    )
    runs.add_run_arguments(add)
    _add_settings(add)
    add.set_defaults(run=train)

    add = commands.add_parser(
        "translate",
        help="translate the lines of standard input",
        epilog="crnn translate train makes a translator: see crnn translate train --help",
    )
    add.add_argument("folder", type=path, metavar="DIR", help="the folder of a run")
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
        type=path,
        metavar="FILE.png",
        help="draw where the first line is looked at",
    )
    add.set_defaults(run=translate)


def _attention(text: str) -> str | None:
    """Read a kind of attention, or that there is none."""
    if text not in _ATTENTION:
        raise argparse.ArgumentTypeError(f"expected {'|'.join(_ATTENTION)}, got {text!r}")
    return None if text == "none" else text


def _add_settings(add: argparse.ArgumentParser) -> None:
    defaults, none = Settings(), argparse.SUPPRESS
    add.add_argument(
        "--words", action="store_true", default=none, help="symbols are words, not characters"
    )
    add.add_argument(
        "--attention",
        type=_attention,
        metavar="|".join(_ATTENTION),
        default=none,
        help=f"how the decoder looks at the source ({defaults.attention})",
    )
    add.add_argument(
        "--bidirectional",
        action=argparse.BooleanOptionalAction,
        default=none,
        help="the encoder reads in both directions (it does)",
    )
    add_settings(add, defaults, _OPTIONS)
