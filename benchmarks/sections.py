"""Sections of docs/benchmark.md that compare crnn with one other library, task by task.

benchmarks/seq2seq.py and benchmarks/reservoirs.py describe their tasks as a Section. `main` runs
them in a process of their own for each number of cores, and writes the section between two marks.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from measuring import (
    NOTE,
    ROOT,
    Call,
    from_worker,
    in_turn,
    keep_to,
    setting,
    update,
    usable_cores,
)

Calls = dict[str, Call]  # by the name of the library


class Row(NamedTuple):
    """Result for one task; times are medians in milliseconds."""

    cores: int
    task: str
    crnn: float
    peer: float
    ratio: float  # of the peer's time to crnn's: median over the rounds
    disturbed: bool


class Section(NamedTuple):
    """Tasks, and what to say of them."""

    script: str  # the program that measures them
    name: str  # of the marks
    title: str
    about: str
    peer: str
    module: str  # of the peer
    cores: Sequence[int]
    tasks: Sequence[str]
    # cores -> the versions, and functions that return the calls of each task. The function checks
    # first that both libraries compute the same.
    prepare: Callable[[int], tuple[dict[str, str], Mapping[str, Callable[[], Calls]]]]


# ---------------------------------------------------------------------- in the measuring process


def check(name: str, difference: float, tolerance: float) -> None:
    """End the program if the two libraries differ by more than the tolerance."""
    if not difference < tolerance:
        raise SystemExit(f"{name} of the two libraries differ by {difference:.1e}")


def measure(calls: Calls, cores: int, task: str, rounds: int) -> Row:
    """Return one row of the results."""
    (peer,) = set(calls) - {"crnn"}
    turns = in_turn(calls, cores, rounds)
    ours, theirs = ([each[name] for each in turns.seconds] for name in ("crnn", peer))
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    times = (1e3 * statistics.median(seconds) for seconds in (ours, theirs))
    return Row(cores, task, *times, ratio, turns.disturbed)


def work_through(section: Section, cores: int, rounds: int) -> None:
    """Print the versions, then a line of JSON for each row."""
    keep_to(cores)
    versions, tasks = section.prepare(cores)
    print(json.dumps(versions), flush=True)
    for task in section.tasks:
        print(json.dumps(measure(tasks[task](), cores, task, rounds)), flush=True)


# ------------------------------------------------------------------------- in the main process


def collect(section: Section, cores: Sequence[int]) -> tuple[dict[str, str], list[Row]]:
    """Return the versions and all rows, measured in one process for each number of cores."""
    from tqdm import tqdm

    versions: dict[str, str] = {}
    rows: list[Row] = []
    with tqdm(total=len(cores) * len(section.tasks), unit="row") as progress:
        for count in cores:
            lines: Iterator[Any] = from_worker(section.script, count)
            versions = next(lines, {})
            for line in lines:
                rows.append(Row(*line))
                progress.set_postfix_str(f"{rows[-1].task} {rows[-1].ratio:.2f}")
                progress.update()
    return versions, rows


def report(section: Section, versions: dict[str, str], rows: list[Row]) -> str:
    """Return the section of the page."""
    peer = section.peer
    lines = [
        f"## {section.title}",
        "",
        f"Written by `make bench` (benchmarks/{Path(section.script).name}): {section.about}",
        "",
        *setting(versions),
        f"- {NOTE}",
        "",
        f"| task | cores | crnn, ms | {peer}, ms | {peer} / crnn |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        note = " \\*" if row.disturbed else ""
        lines.append(
            f"| {row.task} | {row.cores} | {row.crnn:.2f} | {row.peer:.2f} "
            f"| {row.ratio:.2f}{note} |"
        )
    return "\n".join(lines)


def main(section: Section, description: str) -> None:
    """Measure a section and write it."""
    possible = [count for count in section.cores if count in usable_cores()]
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--cores", nargs="+", type=int, default=possible)
    parser.add_argument("--rounds", type=int, default=16, help="rounds for each library")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="folder for the page")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work_through(section, arguments.worker, arguments.rounds)
        return
    if importlib.util.find_spec(section.module) is None:
        parser.error(f"{section.peer} is missing: pip install {section.module}")
    text = report(section, *collect(section, arguments.cores))
    arguments.output.mkdir(parents=True, exist_ok=True)
    update(arguments.output / "benchmark.md", section.name, text)
    print(text)
