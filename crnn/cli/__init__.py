"""The command ``crnn``: train models of text, let them write and translate, show what runs.

Each command has a module of its own, with what it does and the arguments that it takes.
"""

import os
import sys
from collections.abc import Sequence

from crnn._version import __version__
from crnn.cli import characters, translate
from crnn.cli.arguments import Parser
from crnn.cli.run import INTERRUPTED
from crnn.common.configuration import show_config

FAILURES = (ValueError, OSError, ImportError, FloatingPointError, MemoryError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the arguments are those of the process by default.

    Returns
    -------
    int
        The exit code: 0, 2 after an error (one line on standard error), 130 after Ctrl-C.
    """
    arguments = _parser().parse_args(sys.argv[1:] if argv is None else argv)
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


def config(arguments: object) -> int:
    """``crnn config``: print what runs."""
    show_config()
    return 0


def _parser() -> Parser:
    parser = Parser(prog="crnn", description="Recurrent networks with a core in C.")
    parser.add_argument("--version", action="version", version=f"crnn {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    characters.add_commands(commands)
    translate.add_commands(commands)
    add = commands.add_parser("config", help="show version, instruction set and threads")
    add.set_defaults(run=config)
    return parser


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"not enough memory ({text})" if text else "not enough memory"
    return text


def _print_whatever_comes() -> None:
    """Let a character that the terminal does not know become a question mark, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
