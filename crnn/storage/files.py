"""Files: replaced in one step when they are complete, and opened only where they are regular."""

import errno
import io
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

if sys.platform != "win32":
    import fcntl

Path = str | os.PathLike[str]

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_path(path: Path) -> str:
    """The path as a string, which is not empty.

    Raises
    ------
    TypeError
        It is neither a string nor a path.
    ValueError
        It is empty.
    """
    if not isinstance(path, str | bytes | os.PathLike):
        raise TypeError(f"path: expected a string or a path, got {path!r:.100}")
    name = os.fsdecode(path)
    if not name:
        raise ValueError("path: expected the name of a file, got an empty one")
    return name


def check_target(path: Path) -> str:
    """The path of a file to write, as a string.

    Raises
    ------
    TypeError, ValueError
        As `check_path`; it is a directory.
    FileNotFoundError
        Its folder does not exist.
    """
    name = check_path(path)
    if os.path.isdir(name):
        raise ValueError(f"{name}: expected the name of a file, got a directory")
    if not os.path.isdir(os.path.dirname(os.path.realpath(name))):
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist", name)
    return name


# --------------------------------------------------------------------------------------------------
# Reading
# --------------------------------------------------------------------------------------------------


def open_regular(path: Path, *, whole: bool = True) -> IO[bytes]:
    """Open a regular file for reading; nothing else is opened, and no open waits.

    Parameters
    ----------
    path : str or path
    whole : bool, default True
        Its content will be in memory at once: a file larger than this machine's memory is refused.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        There is no such file, but nothing or a directory.
    ValueError
        It is a FIFO, a socket or a device, or too large.
    """
    name = check_path(path)
    _check_regular(name, os.stat(name), whole)  # opening a device may already do something
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(name, flags)
    try:
        _check_regular(name, os.fstat(descriptor), whole)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path) -> bytes:
    """The content of a regular file, as much as it has when it is opened.

    Raises
    ------
    OSError, ValueError
        As `open_regular`.
    """
    with open_regular(path) as file:
        return file.read(os.fstat(file.fileno()).st_size) or b""


def read_text(path: Path) -> str:
    r"""The text of a regular file in UTF-8; each of its lines ends with ``\n``.

    Raises
    ------
    OSError, ValueError
        As `open_regular`; UnicodeDecodeError where it is not in UTF-8.
    """
    return io.TextIOWrapper(io.BytesIO(read_bytes(path)), encoding="utf-8-sig").read()


def _check_regular(name: str, status: os.stat_result, whole: bool) -> None:
    """Raise unless the status is that of a regular file that memory can hold."""
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if kind != stat.S_IFREG:
        raise ValueError(f"{name}: expected a file, got {_KINDS.get(kind, 'something else')}")
    memory = _memory()
    if whole and status.st_size > memory:
        raise ValueError(
            f"{name}: expected a file that fits into the {memory:,} bytes of this machine's "
            f"memory, got one of {status.st_size:,} bytes"
        )


def _memory() -> int:
    """Bytes of memory that this machine has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**40


# --------------------------------------------------------------------------------------------------
# Writing
# --------------------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write into, which takes the place of `path` at the end.

    A process that is killed while writing, or an exception, leaves the old file as it was. The new
    file has the old one's permissions. Temporary files that killed processes left beside `path` are
    removed. What is no regular file, as ``/dev/null`` or a FIFO, is written into at the end.

    Raises
    ------
    ValueError
        `path` is a directory, or empty.
    FileNotFoundError
        Its folder does not exist.
    OSError
        The file cannot be written.
    """
    name = check_path(path)
    old = _status(name)
    if old is not None and stat.S_ISDIR(old.st_mode):
        raise ValueError(f"{name}: expected the name of a file, got a directory")
    if old is not None and not stat.S_ISREG(old.st_mode):
        content = io.BytesIO()
        yield content
        with open(name, "wb") as device:
            device.write(content.getbuffer())
        return
    target = os.path.realpath(name)
    if not os.path.isdir(os.path.dirname(target)):
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist", name)
    _remove_abandoned(target)
    partial, descriptor = _create(target, old)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if sys.platform != "win32":
                os.replace(partial, target)  # while it is locked
        if sys.platform == "win32":  # where an open file cannot be renamed
            os.replace(partial, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise
    _sync_folder(os.path.dirname(target))


def _status(name: str) -> os.stat_result | None:
    """The status of what a path leads to; None where there is nothing."""
    try:
        return os.stat(name)
    except FileNotFoundError:
        return None


def _create(target: str, old: os.stat_result | None) -> tuple[str, int]:
    """Create a temporary file beside a file: its name, and a descriptor that holds its lock."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        partial = f"{target}.{secrets.token_hex(4)}.tmp"
        descriptor = os.open(partial, flags, 0o666 if old is None else 0o600)
        try:
            locked = _lock(descriptor)
            if locked and os.fstat(descriptor).st_nlink:
                if old is not None:
                    _keep_permissions(partial, old)
                return partial, descriptor
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(partial)
            raise
        os.close(descriptor)  # between both, another process took it for abandoned: again


def _lock(descriptor: int) -> bool:
    """Lock a file for this process; False if another one has locked it.

    True as well where there are no locks: there, abandoned files are not removed, or (on Windows)
    the system removes no file that is open.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _remove_abandoned(target: str) -> None:
    """Remove the temporary files of `target` that no living process writes."""
    folder, name = os.path.split(target)
    pattern = re.compile(re.escape(name) + r"\.[0-9a-f]{8}\.tmp")
    with suppress(OSError):
        for entry in os.listdir(folder):
            if pattern.fullmatch(entry):
                with suppress(OSError):
                    _remove_unlocked(os.path.join(folder, entry))


def _remove_unlocked(path: str) -> None:
    """Remove a file, or OSError where a process has locked it."""
    if sys.platform == "win32":
        os.unlink(path)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(descriptor)


def _keep_permissions(path: str, old: os.stat_result) -> None:
    """Give a file the owner, as far as this process may, and the mode of another."""
    if hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(path, old.st_uid, old.st_gid)
    os.chmod(path, old.st_mode & 0o777)


def _sync_folder(folder: str) -> None:
    """Write the names in a folder to the disk, where the system can."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
