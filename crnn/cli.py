"""The command ``crnn``: train a character model, let it write, show what runs.

``crnn demo`` is ``crnn train`` on one text, with the settings that are its defaults.
"""

import argparse
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from crnn._version import __version__
from crnn.configuration import show_config
from crnn.data import corpora
from crnn.models.char_model import CELLS, CharModel
from crnn.models.char_run import SETTINGS, CharRun, Settings, Source, unfinished

FAILURES = (ValueError, OSError, ImportError, FloatingPointError, MemoryError)
INTERRUPTED = 130  # 128 + SIGINT

# Where a corpus wants other settings than the defaults.
CORPUS_SETTINGS: dict[str, dict[str, Any]] = {
    "dinosaurs": {"lines": True, "hidden": 128, "embedding": 32, "batch": 16},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the arguments are those of the process by default.

    Returns
    -------
    int
        The exit code: 0, 2 after an error (one line on standard error), 130 after Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    _print_whatever_comes()
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except FAILURES as error:
        print(f"crnn: error: {_one_line(error)}", file=sys.stderr)
        return 2


def train(arguments: argparse.Namespace) -> int:
    """``crnn train``: begin a run or resume one."""
    given = {name: getattr(arguments, name) for name in SETTINGS if hasattr(arguments, name)}
    source = _source(arguments)
    if arguments.resume:
        return _carry_out(CharRun.resume(arguments.output, source, given))
    if source is None:
        raise ValueError("expected a TEXT or a --corpus to train on (or --resume)")
    if unfinished(arguments.output):
        raise ValueError(
            f"{arguments.output}: holds a run that is not finished. Add --resume to go on with it, "
            f"or choose another folder"
        )
    preset = CORPUS_SETTINGS.get(source.corpus or "", {})
    return _carry_out(CharRun(arguments.output, source, Settings(**preset | given)))


def demo(arguments: argparse.Namespace) -> int:
    """``crnn demo``: ``crnn train --corpus pydoc``, begun anew."""
    return _carry_out(CharRun(arguments.output, Source(corpus="pydoc"), Settings()))


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


def config(arguments: argparse.Namespace) -> int:
    """``crnn config``: print what runs."""
    show_config()
    return 0


def _carry_out(run: CharRun) -> int:
    """Train to the end, and leave everything in the folder."""
    begun = time.monotonic()
    print(run.describe())
    if run.trainer.position.update:
        print(f"Going on after {_place(run)}")
    try:
        run.trainer.run()
    except KeyboardInterrupt:
        return _leave(run)
    for line in run.write_results():
        print(line)
    seconds = time.monotonic() - begun
    print(f"Done in {seconds:.1f} s. {run.folder}: {', '.join(sorted(os.listdir(run.folder)))}")
    return 0


def _leave(run: CharRun) -> int:
    """Write the checkpoint of a run that Ctrl-C stopped, and say how to go on."""
    try:
        run.save()
    except RuntimeError as error:
        print(f"Stopped at once, and not saved: {error}", file=sys.stderr)
        return INTERRUPTED
    command = f"crnn train -o {shlex.quote(str(run.folder))} --resume"
    print(f"Stopped and saved after {_place(run)}. Go on with: {command}", file=sys.stderr)
    return INTERRUPTED


def _place(run: CharRun) -> str:
    place = run.trainer.position
    return f"{place.epoch} of {run.settings.epochs} epochs, {place.update} updates"


def _source(arguments: argparse.Namespace) -> Source | None:
    if arguments.text is not None and arguments.corpus is not None:
        raise ValueError("expected a TEXT or a --corpus, got both")
    if arguments.text is not None:
        return Source(path=os.path.abspath(arguments.text))
    return None if arguments.corpus is None else Source(corpus=arguments.corpus)


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = " ".join(str(error).split())
    return f"not enough memory ({text})" if isinstance(error, MemoryError) else text


def _print_whatever_comes() -> None:
    """Let a character that the terminal does not know become a question mark, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


# --------------------------------------------------------------------------------------------------
# Arguments
# --------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def _integer(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return a function that reads an integer in these limits."""
    limits = f"of at least {low}" if high is None else f"from {low} to {high}"

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"expected an integer {limits}, got {text!r}")
        return value

    return read


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return value


_SEED = _integer(0, 2**64 - 1)

# The options of train that are settings: their type and what they say. Without a default of their
# own, so that those given can be told from those that are not.
_OPTIONS: dict[str, tuple[Any, str]] = {
    "hidden": (_integer(1), "units of a recurrent layer"),
    "layers": (_integer(1), "recurrent layers, one on top of the other"),
    "embedding": (_integer(0), "length of the vectors for symbols, 0 for symbols as they are"),
    "epochs": (_integer(1), "times to go through the text"),
    "batch": (_integer(1), "streams of text, or lines, in an update"),
    "steps": (_integer(1), "characters that an update goes back"),
    "lr": (_positive, "peak of the learning rate, which goes up and down in one cycle"),
    "clip": (_positive, "largest norm of a gradient"),
    "seed": (_SEED, "decides the initial weights and the order of lines"),
}


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="crnn", description="Recurrent networks with a core in C.")
    parser.add_argument("--version", action="version", version=f"crnn {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands)

    add = commands.add_parser("sample", help="let a trained model write")
    add.add_argument("folder", metavar="DIR", help="the folder of a run")
    add.add_argument("--prime", default="", metavar="TEXT", help="what the text begins with")
    add.add_argument("--temperature", type=float, default=0.8, help="0: always the likeliest (0.8)")
    add.add_argument("--length", type=int, default=500, help="characters to add, at most (500)")
    add.add_argument("--seed", type=_SEED, help="the same seed writes the same (a fresh one)")
    add.set_defaults(run=sample)

    add = commands.add_parser("demo", help="train on the documentation that comes with Python")
    add.add_argument("-o", "--output", metavar="DIR", default="demo-output", help="(demo-output)")
    add.set_defaults(run=demo)

    add = commands.add_parser("config", help="show version, instruction set and threads")
    add.set_defaults(run=config)
    return parser


def _add_train(commands: Any) -> None:
    add = commands.add_parser("train", help="train a character model on a text")
    add.add_argument("text", nargs="?", metavar="TEXT", help="a file in UTF-8")
    add.add_argument("--corpus", choices=corpora(), help="a text that is at hand, instead of TEXT")
    add.add_argument("-o", "--output", metavar="DIR", required=True, help="folder of the run")
    add.add_argument("--resume", action="store_true", help="go on with the run in DIR")
    defaults = Settings()
    none = argparse.SUPPRESS
    add.add_argument(
        "--cell", choices=sorted(CELLS), default=none, help=f"recurrent layer ({defaults.cell})"
    )
    add.add_argument(
        "--lines", action="store_true", default=none, help="each line is a sequence of its own"
    )
    for name, (kind, text) in _OPTIONS.items():
        default = getattr(defaults, name)
        shown = "as hidden" if default is None else default
        add.add_argument(
            f"--{name}", type=kind, default=none, metavar="N", help=f"{text} ({shown})"
        )
    add.set_defaults(run=train)


if __name__ == "__main__":
    sys.exit(main())
