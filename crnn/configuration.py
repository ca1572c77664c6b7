"""What runs: version, instruction set, threads."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from crnn import _core
from crnn._version import __version__


def show_config() -> dict[str, Any]:
    """Print, and return, the version, the instruction set in use and those available, and threads.

    The environment variables CRNN_ISA and CRNN_NUM_THREADS choose before the import;
    `set_num_threads` chooses later.

    Returns
    -------
    dict
        "crnn", "isa", "isa_available", "threads", "numpy", "python", "machine".
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
    """Use at most n threads from now on. Results have the same bits for every n.

    Parameters
    ----------
    n : int
        At least 1. At first it is the number of cores this process may use, or CRNN_NUM_THREADS.
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
