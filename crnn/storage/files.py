"""Files: reading of regular files only, and atomic replacement."""

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

_FILE_TYPES = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_path(path: Path) -> str:
    """Return a path as a string.

    Raises
    ------
    TypeError
        If `path` is neither a string nor a path.
    ValueError
        If `path` is empty.
    """
    if not isinstance(path, str | bytes | os.PathLike):
        raise TypeError(f"path: expected a string or a path, got {path!r:.100}")
    name = os.fsdecode(path)
    if not name:
        raise ValueError("path: expected the name of a file, got an empty string")
    return name


def check_target(path: Path) -> str:
    """Return the path of a file to write as a string.

    Raises
    ------
    TypeError
        If `path` is neither a string nor a path.
    ValueError
        If `path` is empty or a directory.
    FileNotFoundError
        If the folder of `path` does not exist.
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
    """Open a regular file for reading, without blocking.

    Parameters
    ----------
    path : str or path
        File to open.
    whole : bool, default True
        Whether the caller reads the whole content into memory; a file that is larger than the
        memory of this machine then raises.

    Returns
    -------
    binary file

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    IsADirectoryError
        If `path` is a directory.
    ValueError
        If `path` is a FIFO, a socket or a device, or the file is too large.
    """
    name = check_path(path)
    # Checked before the open, which has side effects on some devices.
    _check_regular(name, os.stat(name), whole)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(name, flags)
    try:
        _check_regular(name, os.fstat(descriptor), whole)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file, up to the size that it has when it is opened.

    Raises
    ------
    OSError, ValueError
        If the file cannot be opened, as for `open_regular`.
    """
    with open_regular(path) as file:
        return file.read(os.fstat(file.fileno()).st_size) or b""


def read_text(path: Path) -> str:
    r"""Return the text of a regular file in UTF-8, with ``\n`` at the end of each line.

    Raises
    ------
    OSError, ValueError
        If the file cannot be opened, as for `open_regular`.
    UnicodeDecodeError
        If the file is not in UTF-8.
    """
    return io.TextIOWrapper(io.BytesIO(read_bytes(path)), encoding="utf-8-sig").read()


def _check_regular(name: str, status: os.stat_result, whole: bool) -> None:
    """Raise unless the status is that of a regular file that fits into the memory."""
    file_type = stat.S_IFMT(status.st_mode)
    if file_type == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if file_type != stat.S_IFREG:
        raise ValueError(
            f"{name}: expected a file, got {_FILE_TYPES.get(file_type, 'something else')}"
        )
    memory = _memory()
    if whole and status.st_size > memory:
        raise ValueError(
            f"{name}: expected a file that fits into the {memory:,} bytes of this machine's "
            f"memory, got {status.st_size:,} bytes"
        )


def _memory() -> int:
    """Return the size of the memory of this machine in bytes; 2**40 if it is unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**40


# --------------------------------------------------------------------------------------------------
# Writing
# --------------------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Yield a temporary file that replaces `path` atomically at the end of the block.

    The old file is unchanged if the block raises or the process is killed. The new file has the
    permissions of the old one. Temporary files that killed processes left beside `path` are
    removed. If `path` exists and is no regular file, such as ``/dev/null`` or a FIFO, the content
    is written to it at the end of the block.

    Raises
    ------
    ValueError
        If `path` is empty or a directory.
    FileNotFoundError
        If the folder of `path` does not exist.
    OSError
        If the file cannot be written.
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
                os.replace(partial, target)  # under the lock
        if sys.platform == "win32":  # Windows cannot rename an open file
            os.replace(partial, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise
    _sync_folder(os.path.dirname(target))


def _status(name: str) -> os.stat_result | None:
    """Return the status of a path after symbolic links; None if it does not exist."""
    try:
        return os.stat(name)
    except FileNotFoundError:
        return None


def _create(target: str, old: os.stat_result | None) -> tuple[str, int]:
    """Create a locked temporary file beside `target`; return its name and its descriptor."""
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
        os.close(descriptor)  # removed as abandoned before it was locked: try again


def _lock(descriptor: int) -> bool:
    """Lock a file for this process; return False if another process has locked it.

    Return True, too, if the system has no locks: abandoned files are then not removed, or (on
    Windows) the system does not remove open files.
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
    """Remove the temporary files of `target` that no running process has locked."""
    folder, name = os.path.split(target)
    pattern = re.compile(re.escape(name) + r"\.[0-9a-f]{8}\.tmp")
    with suppress(OSError):
        for entry in os.listdir(folder):
            if pattern.fullmatch(entry):
                with suppress(OSError):
                    _remove_unlocked(os.path.join(folder, entry))


def _remove_unlocked(path: str) -> None:
    """Remove a file, or raise OSError if a process has locked it."""
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
    """Set the mode of a file to that of `old`, and the owner if this process may."""
    if hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(path, old.st_uid, old.st_gid)
    os.chmod(path, old.st_mode & 0o777)


def _sync_folder(folder: str) -> None:
    """Write the entries of a folder to the disk, if the system can."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
