"""Configuration: version, instruction set, threads, memory."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

import crnn._core as _core
from crnn._version import __version__


def show_config() -> dict[str, Any]:
    """Print and return the version, the instruction set and the number of threads.

    The environment variables CRNN_ISA and CRNN_NUM_THREADS select the instruction set and the
    number of threads when crnn is imported; `set_num_threads` changes the number later.

    Returns
    -------
    dict
        The versions "crnn", "numpy" and "python"; "isa", the instruction set in use, and
        "isa_available", a tuple of all that this machine and this build support; "threads", the
        largest number of threads of a call; "machine", the operating system and the processor.

    See Also
    --------
    set_num_threads : Change the number of threads.

    Examples
    --------
    >>> import crnn
    >>> config = crnn.show_config()  # doctest: +ELLIPSIS
              crnn: ...
    >>> config["threads"] >= 1
    True
    """
    configuration = {
        "crnn": __version__,
        "isa": _core.isa(),
        "isa_available": _core.isa_available(),
        "threads": _core.num_threads(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    for name, value in configuration.items():
        print(f"{name:>14}: {', '.join(value) if isinstance(value, tuple) else value}")
    return configuration


def set_num_threads(n: int) -> None:
    """Set the largest number of threads of each call.

    Results are bit-identical for every number of threads. The default is the number of cores that
    this process may use: the minimum of its CPU affinity (on Linux, hyperthreads of one core count
    once), the CPU quota of its control groups (versions 1 and 2, rounded up) and, if set, the
    environment variable OMP_NUM_THREADS. The environment variable CRNN_NUM_THREADS replaces this
    default.

    Parameters
    ----------
    n : int
        Number of threads, at least 1. Values above 256 are reduced to 256.

    Raises
    ------
    ValueError
        If `n` is below 1.
    TypeError
        If `n` is no integer.

    See Also
    --------
    show_config : Print the number of threads.

    Examples
    --------
    >>> import crnn
    >>> threads = crnn._core.num_threads()
    >>> crnn.set_num_threads(2)
    >>> crnn._core.num_threads()
    2
    >>> crnn.set_num_threads(threads)
    """
    _core.set_num_threads(n)


def release_memory() -> int:
    """Return cached memory to the operating system.

    crnn caches the memory of freed tapes and large arrays, up to 64 MiB and one block of up to 512
    MiB, because the next training step allocates blocks of the same sizes. The cache is also
    released before a MemoryError is raised.

    Returns
    -------
    int
        Number of bytes that were released.

    Examples
    --------
    >>> import crnn
    >>> _ = crnn.release_memory()
    >>> crnn.release_memory()  # the cache is empty now
    0
    """
    return _core.release_memory()
