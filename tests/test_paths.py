"""Guard against accidents: no option, length or size is a cliff.

Ratios of crnn's own paths, taken in one run (benchmarks/paths.py), with room for the noise of a
shared machine: what fails here is slow by accident, not by a few percent.
"""

import os
import time
from pathlib import Path

import paths
import pytest
from compare import busy_elsewhere

ROOM, TRIES = 1.4, 4


def two_free_cores():
    """Whether there are two, and others use less than a fifth of one core."""
    if not hasattr(os, "sched_getaffinity") or not Path("/proc/stat").exists():
        return False
    cores = os.cpu_count()
    return len(os.sched_getaffinity(0)) >= 2 and busy_elsewhere(cores, 0.2) * cores < 0.2


@pytest.mark.parametrize("cell", paths.CELLS)
@pytest.mark.parametrize(
    "kind",
    [paths.option_paths, paths.size_paths, paths.underflow_paths, paths.thread_paths],
    ids=lambda kind: kind.__name__,
)
def test_no_path_is_a_cliff(cell, kind, threads):
    threads(1)
    if kind is paths.thread_paths and not two_free_cores():
        pytest.skip("two cores are not free")
    for path in kind(cell):
        found = []
        while len(found) < TRIES and not (found and min(found) <= ROOM * path.most):
            found.append(paths.ratio(path, rounds=5))
        if min(found) > ROOM * path.most and path.cores > 1 and not two_free_cores():
            pytest.skip("two cores are no longer free")
        assert min(found) <= ROOM * path.most, f"{path.name}: {found}, meant to be {path.most}"


def test_a_cliff_is_seen():
    slow = paths.Path("a pause", lambda: None, lambda: time.sleep(0.001), 1.1)
    assert paths.ratio(slow, rounds=3) > ROOM * slow.most
