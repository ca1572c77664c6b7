"""What runs: version, instruction set, threads."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

import crnn._core as _core
from crnn._version import __version__


def show_config() -> dict[str, Any]:
    """Print, and return, the version, the instruction set in use and those available, and threads.

    The environment variables CRNN_ISA and CRNN_NUM_THREADS choose before the import;
    `set_num_threads` chooses later.

    Returns
    -------
    dict
        "crnn", "isa", "isa_available", "threads", "numpy", "python", "machine"; "threads" is the
        largest number that works on one call.

    Examples
    --------
    >>> import crnn
    >>> config = crnn.show_config()  # doctest: +ELLIPSIS
              crnn: ...
    >>> config["threads"] >= 1
    True
    """
    found = {
        "crnn": __version__,
        "isa": _core.isa(),
        "isa_available": _core.isa_available(),
        "threads": _core.num_threads(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    for name, value in found.items():
        print(f"{name:>14}: {', '.join(value) if isinstance(value, tuple) else value}")
    return found


def set_num_threads(n: int) -> None:
    """Use at most n threads for each call from now on. Results have the same bits for every n.

    The default is the number of cores that this process may use: the least of its affinity, the
    CPU quota of its control groups (versions 1 and 2, rounded up), and OMP_NUM_THREADS where that
    is set, as it is in the workers of joblib. CRNN_NUM_THREADS, where set, replaces the default.

    Parameters
    ----------
    n : int
        At least 1. More than 256 count as 256.

    Raises
    ------
    ValueError
        n is below 1.
    TypeError
        n is not an integer.

    Examples
    --------
    >>> import crnn
    >>> crnn.set_num_threads(2)
    """
    _core.set_num_threads(n)


def release_memory() -> int:
    """Give memory that is kept for later calls back to the operating system.

    Freed tapes and large arrays are kept, up to 64 MiB and one block of up to 512 MiB, because the
    next training step asks for blocks of the same sizes. Memory that is kept is also given back
    before a MemoryError is raised.

    Returns
    -------
    int
        Bytes that were given back.

    Examples
    --------
    >>> import crnn
    >>> _ = crnn.release_memory()
    >>> crnn.release_memory()
    0
    """
    return _core.release_memory()
