"""The command ``crnn``: train models on texts and series, generate, translate and forecast.

The modules `characters`, `translate` and `forecast` have the commands and their arguments.
"""

import os
import sys
from collections.abc import Sequence

from crnn._version import __version__
from crnn.cli import characters, forecast, translate
from crnn.cli.arguments import Parser
from crnn.cli.run import INTERRUPTED
from crnn.common.configuration import show_config

FAILURES = (ValueError, OSError, ImportError, FloatingPointError, MemoryError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command ``crnn``.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments of the command, without its name; by default those of the process.

    Returns
    -------
    int
        Exit code: 0; 1 if the reader closes standard output; 2 after an error, which is one line on
        standard error; 130 after Ctrl-C.
    """
    arguments = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    _replace_unencodable()
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader closed the pipe: the flush at exit must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except FAILURES as error:
        print(f"crnn: error: {_one_line(error)}", file=sys.stderr)
        return 2


def config(arguments: object) -> int:
    """Run ``crnn config``: print version, instruction set and threads."""
    show_config()
    return 0


def _parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="crnn",
        description="Train recurrent networks on texts and series; generate, translate, forecast.",
        epilog="crnn COMMAND --help shows the arguments of a command.",
    )
    parser.add_argument("--version", action="version", version=f"crnn {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    characters.add_commands(commands)
    translate.add_commands(commands)
    forecast.add_commands(commands)
    config_parser = commands.add_parser(
        "config",
        help="show version, instruction set and number of threads",
        description="Show version, instruction set and number of threads.",
    )
    config_parser.set_defaults(run=config)
    return parser


def _one_line(error: BaseException) -> str:
    """Return the message of an error in one line."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"not enough memory ({text})" if text else "not enough memory"
    return text


def _replace_unencodable() -> None:
    """Print a question mark for each character that the encoding of the terminal does not have."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
