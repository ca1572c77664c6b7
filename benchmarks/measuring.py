"""Common code of the benchmarks against other libraries: quiet cores, rounds, pages of results.

All libraries are measured in turn, round after round, in one process on fixed cores, so that a
change of the machine's speed affects all of them. A measurement begins when the cores are quiet,
and is repeated if its rounds differ too much.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SECONDS, PAUSE = 0.03, 0.005
LONG = 0.15  # from this many seconds on, a call needs no warm-up and half as many rounds
QUIET, STEADY, TRIES = 0.05, 0.25, 2
NOTE = f"\\* other processes used the machine, or the rounds differed by more than {STEADY:.0%}"

Call = Callable[[], object]


class Turns(NamedTuple):
    """Seconds of one call of each library, for every round."""

    seconds: list[dict[str, float]]
    disturbed: bool


# ---------------------------------------------------------------------- in the measuring process


def keep_to(cores: int) -> None:
    """Restrict this process to the first cores. Call it before a library starts threads."""
    os.sched_setaffinity(0, range(cores))
    os.environ["OMP_NUM_THREADS"] = str(cores)


def busy_elsewhere(cores: int, seconds: float = 0.1) -> float:
    """Return the share of the cores' time that other processes use."""

    def used() -> int:
        lines = Path("/proc/stat").read_text().splitlines()
        fields = [line.split()[1:] for line in lines if line.startswith("cpu") and line[3] != " "]
        return sum(int(row[0]) + int(row[1]) + int(row[2]) + int(row[7]) for row in fields[:cores])

    if not Path("/proc/stat").exists():
        return 0.0
    before = used()
    time.sleep(seconds)
    return (used() - before) / os.sysconf("SC_CLK_TCK") / seconds / cores


def wait_for_quiet(cores: int) -> None:
    """Wait until other processes leave the cores idle, for half a second at most."""
    for _ in range(5):
        if busy_elsewhere(cores) < QUIET:
            break


def seconds_of(call: Call, long: bool) -> float:
    """Return the seconds of one call, from a block of calls, after a warm-up call."""
    time.sleep(PAUSE)  # the threads of the previous library go to sleep
    if not long:
        call()
    calls, start = 0, time.perf_counter()
    while True:
        call()
        calls += 1
        took = time.perf_counter() - start
        if took > SECONDS:
            return took / calls


def was_disturbed(seconds: list[dict[str, float]], cores: int) -> bool:
    """Return whether other processes run, or the middle half of crnn's rounds differ."""
    count = len(seconds)
    ours = sorted(each["crnn"] for each in seconds)[count // 4 : count - count // 4]
    return ours[-1] / ours[0] - 1 > STEADY or busy_elsewhere(cores) > QUIET


def in_turn(calls: dict[str, Call], cores: int, rounds: int) -> Turns:
    """Measure all calls, crnn's among them, and repeat if other processes disturbed them."""
    for call in calls.values():
        call()  # compiles, allocates
    start = time.perf_counter()
    calls["crnn"]()
    long = time.perf_counter() - start > LONG
    for _ in range(TRIES):
        wait_for_quiet(cores)
        seconds = [
            {name: seconds_of(call, long) for name, call in calls.items()}
            for _ in range(rounds // 2 if long else rounds)
        ]
        disturbed = was_disturbed(seconds, cores)
        if not disturbed:
            break
    return Turns(seconds, disturbed)


# ------------------------------------------------------------------------- in the main process


def from_worker(script: str, cores: int) -> Iterator[Any]:
    """Run the script with `--worker cores` and yield the JSON values of its output lines."""
    command = [sys.executable, script, *sys.argv[1:], "--worker", str(cores)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        for line in worker.stdout:
            yield json.loads(line)
    if worker.returncode:
        raise SystemExit(worker.returncode)


def usable_cores() -> list[int]:
    """Return the numbers of cores to measure with."""
    return [n for n in (1, 2) if n <= len(os.sched_getaffinity(0))]


def processor() -> str:
    """Return the name, cores and caches of the processor, as the system reports them."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "")
    caches = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        if (index / "type").read_text().strip() != "Instruction":
            level, size = ((index / name).read_text().strip() for name in ("level", "size"))
            caches.append(f"L{level} {size}")
    return f"{name or platform.processor()}, {os.cpu_count()} cores, {', '.join(caches)}"


def setting(versions: dict[str, str]) -> list[str]:
    """Return Markdown lines with the processor, the versions and the date."""
    import crnn._core as _core

    peers = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [
        f"- processor: {processor()}; instruction set {_core.isa()}",
        f"- {peers}; Python {platform.python_version()}, float32, {time.strftime('%Y-%m-%d')}",
    ]


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"


def between_marks(path: Path, name: str) -> str:
    """Return the part of a file between two marks, marks included; "" if it has none."""
    begin, end = _marks(name)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if begin not in text:
        return ""
    start = text.index(begin)
    return text[start : text.index(end, start) + len(end)]


def update(path: Path, name: str, text: str) -> None:
    """Replace the text between the marks of that name; without marks, append it to the file."""
    begin, end = _marks(name)
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    old, new = between_marks(path, name), f"{begin}{text}\n{end}"
    page = page.replace(old, new) if old else f"{page}\n{new}" if page else new
    path.write_text(page, encoding="utf-8")


def write_page(path: Path, text: str) -> None:
    """Write a page, but keep all parts between marks."""
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    names = re.findall(r"<!-- (?!end of )(.+) -->\n", page)
    parts = [between_marks(path, name) for name in names]
    path.write_text("\n".join([text, *parts]), encoding="utf-8")
