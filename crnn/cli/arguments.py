"""The arguments of the commands: a parser, what options take, and the settings of runs.

A setting is a field of a dataclass, which `setting` makes: its default, its help and its kind are
written there once, for the command line, for the run and for checkpoints.
"""

import argparse
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from inspect import signature
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and which may have commands beside its arguments.

    The subparsers of argparse are a positional argument, and beside another one, the DIR of
    ``crnn translate DIR``, argparse takes each word for the name of a subparser. Here the first
    argument alone may name a command; its parser then parses the arguments that follow.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._commands: dict[str, Parser] = {}

    def add_command(self, name: str, **options: Any) -> "Parser":
        """Return the parser of a new command; `options` are those of a parser."""
        self._commands[name] = Parser(prog=f"{self.prog} {name}", **options)
        return self._commands[name]

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, as `argparse.ArgumentParser.parse_known_args` does."""
        if args and args[0] in self._commands:
            return self._commands[args[0]].parse_known_args(args[1:], namespace)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Write the error in one line and exit."""
        self.exit(2, f"{self.prog}: error: {message}\n")


@dataclass(frozen=True)
class Kind:
    """What an option takes. It is also the ``type`` that argparse is given.

    Attributes
    ----------
    expected : str
        The words for it in an error.
    valid : callable
        Whether a value is one of this kind.
    read : callable
        From a text to a value; it raises ValueError for a text without one.
    metavar : str
        What the help shows for the value.
    """

    expected: str
    valid: Callable[[Any], bool]
    read: Callable[[str], Any] = str
    metavar: str = "N"

    def __call__(self, text: str) -> Any:
        """Read a value from the command line."""
        with suppress(ValueError):
            value = self.read(text)
            if self.valid(value):
                return value
        raise argparse.ArgumentTypeError(f"expected {self.expected}, got {text!r}")

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError unless a value is one of this kind."""
        if not self.valid(value):
            raise ValueError(f"{name}: expected {self.expected}, got {value!r:.60}")


def integer(low: int, high: int = 2**63 - 1) -> Kind:
    """Return the kind of the integers within these limits."""
    limits = f"of at least {low}" if high == 2**63 - 1 else f"from {low} to {high}"
    return Kind(f"an integer {limits}", lambda n: type(n) is int and low <= n <= high, int)


def choice(*values: str | None) -> Kind:
    """Return the kind of these values; on the command line None is the word none."""
    words = {value or "none": value for value in values}
    shown = "|".join(words)
    return Kind(shown, lambda value: value in values, lambda word: words.get(word, word), shown)


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


LR = "peak of the learning rate, which goes up and down in one cycle"
SEED = integer(0, 2**64 - 1)
POSITIVE = Kind("a positive number", _is_positive, float)
TEMPERATURE = Kind(
    "a positive number or none",
    lambda value: value is None or _is_positive(value),
    lambda text: None if text == "none" else float(text),
)
PATH = Kind("a path", bool)
FLAG = Kind("True or False", lambda value: isinstance(value, bool))


def setting(default: Any, text: str, kind: Kind) -> Any:
    """Return a field of a subclass of `RunSettings`.

    Parameters
    ----------
    default
        None stands for a default that depends on other settings.
    text : str
        The help. A default is added to it, unless it is True, False or None.
    kind : Kind
    """
    return field(default=default, metadata={"text": text, "kind": kind})


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run. Subclasses have a field for each, made by `setting`."""

    def __post_init__(self) -> None:
        """Check all settings: those of a run that is resumed come from a file."""
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None or one.default is not None:
                one.metadata["kind"].check(one.name, value)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all settings."""
        return tuple(one.name for one in fields(cls))

    def parameters_of(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Return the settings that are parameters of a function, by name."""
        known = signature(function).parameters
        return {name: getattr(self, name) for name in self.names() if name in known}

    def check_made(self, made: Mapping[str, Any]) -> None:
        """Raise ValueError unless the settings seen in a model are these.

        Parameters
        ----------
        made : mapping
            Some settings by name, as the model has them.
        """
        for name, value in made.items():
            if value != getattr(self, name):
                raise ValueError(
                    f"settings: {name}: expected {value!r}, as the model has it, "
                    f"got {getattr(self, name)!r:.60}"
                )


def add_settings(parser: argparse.ArgumentParser, settings: type[RunSettings]) -> None:
    """Add an option for each setting.

    The options have no default, so that `given_settings` can tell which of them were given.
    """
    for one in fields(settings):
        kind, text = one.metadata["kind"], one.metadata["text"]
        option: dict[str, Any] = {"type": kind, "metavar": kind.metavar}
        if kind is FLAG:
            option = {"action": argparse.BooleanOptionalAction if one.default else "store_true"}
        elif one.default is not None:
            text = f"{text} ({one.default})"
        flag = f"--{one.name.replace('_', '-')}"
        parser.add_argument(flag, default=argparse.SUPPRESS, help=text, **option)


def given_settings(arguments: argparse.Namespace, settings: type[RunSettings]) -> dict[str, Any]:
    """Return the settings that were given on the command line, by name."""
    return {name: value for name, value in vars(arguments).items() if name in settings.names()}
