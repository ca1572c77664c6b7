"""Standard output of the commands."""

import sys


def write_utf8() -> None:
    """Set the encoding of standard output to UTF-8, that of the input, except for a terminal."""
    if not sys.stdout.isatty() and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")
