"""Guard against accidents: no option, length or size is a cliff.

Ratios of crnn's own paths, taken in one run (benchmarks/paths.py), with room for the noise of a
shared machine: what fails here is slow by accident, not by a few percent.
"""

import os
import time
from pathlib import Path

import paths
import pytest
from measuring import busy_elsewhere

ROOM, TRIES = 1.4, 4


def free_cores(wanted):
    """Whether there are so many, and others use less than a fifth of one core."""
    if not hasattr(os, "sched_getaffinity") or not Path("/proc/stat").exists():
        return wanted == 1
    cores = os.cpu_count()
    return len(os.sched_getaffinity(0)) >= wanted and busy_elsewhere(cores, 0.2) * cores < 0.2


@pytest.mark.parametrize("cell", paths.CELLS)
@pytest.mark.parametrize("kind", paths.KINDS, ids=lambda kind: kind.__name__)
def test_no_path_is_a_cliff(cell, kind, threads):
    threads(1)
    if kind is paths.thread_paths and not free_cores(2):
        pytest.skip("two cores are not free")
    for path in kind(cell):
        found = []
        while len(found) < TRIES and not (found and min(found) <= ROOM * path.most):
            found.append(paths.ratio(path, rounds=5))
        if min(found) > ROOM * path.most and not free_cores(path.cores):
            pytest.skip("others use the cores")
        assert min(found) <= ROOM * path.most, f"{path.name}: {found}, meant to be {path.most}"


def test_a_cliff_is_seen():
    slow = paths.Path("a pause", lambda: None, lambda: time.sleep(0.001), 1.1)
    assert paths.ratio(slow, rounds=3) > ROOM * slow.most
