"""``crnn train``, ``crnn sample`` and ``crnn demo``: character models.

``crnn demo`` is ``crnn train`` on one text, with the settings that are its defaults.
"""

import argparse
import os
from typing import Any

from crnn.cli import runs
from crnn.cli.arguments import SEED, add_settings, integer, path, positive
from crnn.data import corpora
from crnn.models.char_model import CharModel
from crnn.models.char_run import CharRun, Settings, Source

# The options of train that are settings: their type and what they say.
_OPTIONS: dict[str, tuple[Any, str]] = {
    "hidden": (integer(1), "units of a recurrent layer"),
    "layers": (integer(1), "recurrent layers, one on top of the other"),
    "embedding": (integer(0), "length of the vectors for symbols, 0 for symbols as they are"),
    "epochs": (integer(1), "times to go through the text"),
    "batch": (integer(1), "streams of text, or lines, in an update"),
    "steps": (integer(1), "characters that an update goes back"),
    "lr": (positive, "peak of the learning rate, which goes up and down in one cycle"),
    "clip": (positive, "largest norm of a gradient"),
    "seed": (SEED, "decides the initial weights and the order of lines"),
}


def train(arguments: argparse.Namespace) -> int:
    """``crnn train``: begin a run or resume one."""
    return runs.train(CharRun, arguments, _source(arguments), "a TEXT or a --corpus")


def demo(arguments: argparse.Namespace) -> int:
    """``crnn demo``: ``crnn train --corpus pydoc``."""
    return runs.begin(CharRun, arguments.output, Source(corpus="pydoc"), {})


def sample(arguments: argparse.Namespace) -> int:
    """``crnn sample``: print a text."""
    model = CharModel.load(arguments.folder)
    print(
        model.sample(
            arguments.prime,
            arguments.length,
            temperature=arguments.temperature,
            seed=arguments.seed,
        )
    )
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
    add.add_argument("text", nargs="?", type=path, metavar="TEXT", help="a file in UTF-8")
    add.add_argument("--corpus", choices=corpora(), help="a text that is at hand, instead of TEXT")
    runs.add_run_arguments(add)
    add.add_argument(
        "--lines",
        action="store_true",
        default=argparse.SUPPRESS,
        help="each line is a sequence of its own",
    )
    add_settings(add, Settings(), _OPTIONS)
    add.set_defaults(run=train)

    add = commands.add_parser("sample", help="let a trained model write")
    add.add_argument("folder", type=path, metavar="DIR", help="the folder of a run")
    add.add_argument("--prime", default="", metavar="TEXT", help="what the text begins with")
    add.add_argument("--temperature", type=float, default=0.8, help="0: always the likeliest (0.8)")
    add.add_argument("--length", type=int, default=500, help="characters to add, at most (500)")
    add.add_argument("--seed", type=SEED, help="the same seed writes the same (a fresh one)")
    add.set_defaults(run=sample)

    add = commands.add_parser("demo", help="train on the documentation that comes with Python")
    add.add_argument(
        "-o", "--output", type=path, metavar="DIR", default="demo-output", help="(demo-output)"
    )
    add.set_defaults(run=demo)
