"""Arguments of the commands: the parser, types of options, and settings of runs.

A setting is a field of a dataclass, made by `setting`. Its default, its help text and its type are
defined there once, for the command line, for the run and for checkpoints.
"""

import argparse
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from inspect import signature
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Parser with errors of one line, and with optional commands beside positional arguments.

    argparse cannot combine subparsers with another positional argument, such as the DIR of ``crnn
    translate DIR``, because it reads every word as the name of a subparser. Here only the first
    argument may be the name of a command; the parser of the command parses the other arguments.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._commands: dict[str, Parser] = {}

    def add_command(self, name: str, **options: Any) -> "Parser":
        """Add a command and return its parser, which is created with `options`."""
        self._commands[name] = Parser(prog=f"{self.prog} {name}", **options)
        return self._commands[name]

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments; if the first one is a command, by the parser of the command."""
        if args and args[0] in self._commands:
            return self._commands[args[0]].parse_known_args(args[1:], namespace)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the error in one line and exit."""
        self.exit(2, f"{self.prog}: error: {message}\n")


@dataclass(frozen=True)
class OptionType:
    """Type of the value of an option; also the argument ``type`` of argparse.

    Attributes
    ----------
    expected : str
        Description of the valid values, for messages.
    valid : callable
        Function of a value that returns whether it is valid.
    read : callable
        Function that converts a text to a value, or raises ValueError.
    metavar : str
        Name of the value in the help.
    """

    expected: str
    valid: Callable[[Any], bool]
    read: Callable[[str], Any] = str
    metavar: str = "N"

    def __call__(self, text: str) -> Any:
        """Convert a text of the command line to a value, or raise."""
        with suppress(ValueError):
            value = self.read(text)
            if self.valid(value):
                return value
        raise argparse.ArgumentTypeError(f"expected {self.expected}, got {text!r}")

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError unless a value is valid."""
        if not self.valid(value):
            raise ValueError(f"{name}: expected {self.expected}, got {value!r:.60}")


def integer(low: int, high: int = 2**63 - 1) -> OptionType:
    """Return the type of the integers from `low` to `high`."""
    limits = f"of at least {low}" if high == 2**63 - 1 else f"from {low} to {high}"
    return OptionType(f"an integer {limits}", lambda n: type(n) is int and low <= n <= high, int)


def choice(*values: str | None) -> OptionType:
    """Return the type of these values; the command line has none for None, and - for _."""
    words = {_word(value): value for value in values}
    shown = "|".join(words)
    return OptionType(
        shown, lambda value: value in values, lambda word: words.get(word, word), shown
    )


def _word(value: str | None) -> str:
    """Return a value as the command line has it."""
    return "none" if value is None else value.replace("_", "-")


def _is_positive(value: Any) -> bool:
    """Return whether a value is a finite number above 0."""
    return type(value) in (int, float) and 0 < value < math.inf


LR = "largest learning rate of the one-cycle schedule"
CLIP_NORM = "largest norm of the gradient; a larger gradient is scaled down to it"
SEED = integer(0, 2**64 - 1)
POSITIVE = OptionType("a positive number", _is_positive, float)
TEMPERATURE = OptionType(
    "a positive number or none",
    lambda value: value is None or _is_positive(value),
    lambda text: None if text == "none" else float(text),
)
SHARE = OptionType(
    "a number of at least 0 and below 1",
    lambda value: type(value) in (int, float) and 0 <= value < 1,
    float,
)
PATH = OptionType("a path", bool)
FLAG = OptionType("True or False", lambda value: isinstance(value, bool))


def setting(default: Any, text: str, option_type: OptionType) -> Any:
    """Return a field of a subclass of `RunSettings`.

    Parameters
    ----------
    default
        Default value; None if it depends on other settings.
    text : str
        Help text. The default is appended unless it is True, False or None.
    option_type : OptionType
        Type of the value.
    """
    return field(default=default, metadata={"text": text, "type": option_type})


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run. Subclasses have one field per setting, made by `setting`."""

    def __post_init__(self) -> None:
        """Check all settings, because those of a resumed run come from a file."""
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None or item.default is not None:
                item.metadata["type"].check(item.name, value)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all settings."""
        return tuple(item.name for item in fields(cls))

    def parameters_of(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Return the settings that are parameters of a function, by name."""
        parameters = signature(function).parameters
        return {name: getattr(self, name) for name in self.names() if name in parameters}

    def check_model(self, values: Mapping[str, Any]) -> None:
        """Raise ValueError unless the settings agree with a model.

        Parameters
        ----------
        values : mapping
            Values of some settings, by name, that the model was made with.
        """
        for name, value in values.items():
            if value != getattr(self, name):
                raise ValueError(
                    f"settings: {name}: expected {value!r}, the value of the model, "
                    f"got {getattr(self, name)!r:.60}"
                )


def add_settings(parser: argparse.ArgumentParser, settings: type[RunSettings]) -> None:
    """Add one option per setting to a parser.

    The options have no default, so that `settings_in` returns those of the command line only.
    """
    for item in fields(settings):
        option_type, text = item.metadata["type"], item.metadata["text"]
        option: dict[str, Any] = {"type": option_type, "metavar": option_type.metavar}
        if option_type is FLAG:
            option = {"action": argparse.BooleanOptionalAction if item.default else "store_true"}
        elif item.default not in (None, ()):
            shown = _word(item.default) if isinstance(item.default, str) else item.default
            text = f"{text} (default: {shown})"
        flag = f"--{item.name.replace('_', '-')}"
        parser.add_argument(flag, default=argparse.SUPPRESS, help=text, **option)


def settings_in(arguments: argparse.Namespace, settings: type[RunSettings]) -> dict[str, Any]:
    """Return the settings that the command line has, by name."""
    return {name: value for name, value in vars(arguments).items() if name in settings.names()}
