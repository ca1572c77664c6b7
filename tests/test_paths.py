"""Guard against accidents: no option, length or size is a cliff.

Ratios of crnn's own paths, taken in one run (benchmarks/paths.py), with room for the noise of a
shared machine: what fails here is slow by accident, not by a few percent.
"""

import os
import time
from pathlib import Path

import paths
import pytest

ROOM, TRIES = 1.4, 4


def busy(cores):
    """The share of all cores that somebody uses while this process sleeps."""

    def used():
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        return sum(int(fields[i]) for i in (0, 1, 2, 7))

    before = used()
    time.sleep(0.2)
    return (used() - before) / os.sysconf("SC_CLK_TCK") / 0.2 / cores


def two_free_cores():
    if not hasattr(os, "sched_getaffinity") or not Path("/proc/stat").exists():
        return False
    return len(os.sched_getaffinity(0)) >= 2 and busy(2) < 0.1


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
