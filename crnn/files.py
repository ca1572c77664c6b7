"""Files that are replaced in one step when they are complete."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

Path = str | os.PathLike[str]


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write into, which takes the place of `path` at the end.

    Whoever is killed while writing, or raises an exception, leaves what was there before.

    Raises
    ------
    ValueError
        `path` is a directory.
    FileNotFoundError
        Its folder does not exist.
    OSError
        The file cannot be written.
    """
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise ValueError(f"{os.fspath(path)}: expected the name of a file, got a directory")
    if not os.path.isdir(os.path.dirname(target)):
        raise FileNotFoundError(f"{os.fspath(path)}: its folder does not exist")
    partial = f"{target}.{secrets.token_hex(4)}.tmp"
    try:
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise
