"""What the arguments of the commands have in common."""

import argparse
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from crnn.models.char_model import CELLS
from crnn.models.run import RunSettings


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def integer(low: int, high: int | None = None) -> Callable[[str], int]:
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


def positive(text: str) -> float:
    """Read a positive number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return value


def path(text: str) -> str:
    """Read a path, which is not empty."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got an empty one")
    return text


SEED = integer(0, 2**64 - 1)


def add_settings(
    parser: argparse.ArgumentParser,
    defaults: RunSettings,
    options: Mapping[str, tuple[Callable[[str], Any], str]],
) -> None:
    """Add the options that are settings of a run.

    They have no default of their own, so that those given can be told from those that are not.

    Parameters
    ----------
    parser : parser
    defaults : RunSettings
        What the help shows.
    options : mapping of name to (type, help)
        Those that have a value, besides ``--cell``.
    """
    parser.add_argument(
        "--cell",
        choices=sorted(CELLS),
        default=argparse.SUPPRESS,
        help=f"recurrent layer ({defaults.cell})",
    )
    for name, (kind, text) in options.items():
        default = getattr(defaults, name)
        shown = "as hidden" if default is None else default
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=kind,
            default=argparse.SUPPRESS,
            metavar="N",
            help=f"{text} ({shown})",
        )


def given_settings(arguments: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings that were given."""
    return {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
