"""Sequence to sequence beside PyTorch: training, and writing for a batch and for one sequence.

    python benchmarks/seq2seq.py [--cores 1] [--rounds 16]

The same model in both (benchmarks/peers_seq2seq.py), on one core and on two, measured in turn
(benchmarks/measuring.py says how). Before anything is measured both have to give the same logits,
loss and gradient, and symbols that the other finds likeliest as well.

Writes the table between two marks in docs/benchmark.md; benchmarks/compare.py writes the rest.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from measuring import NOTE, ROOT, from_worker, in_turn, keep_to, setting, update, usable_cores

TOLERANCE = 1e-4


class Row(NamedTuple):
    """What was measured for one task; medians of milliseconds."""

    cores: int
    task: str
    crnn: float
    torch: float
    ratio: float  # of PyTorch's time to crnn's, round by round
    disturbed: bool


# ------------------------------------------------------------------ in the process that measures


def check(what: str, difference: float) -> None:
    """End the program where the two sides do not compute the same."""
    if not difference < TOLERANCE:
        raise SystemExit(f"{what} of crnn and PyTorch differ by {difference:.1e}")


def behind_likeliest(side: Any, chosen: Any) -> float:
    """By how much the logits of the chosen symbols are below the greatest, at most."""
    import numpy as np
    from peers_seq2seq import START

    told = np.insert(chosen[:, :-1], 0, START, axis=1)
    logits = side.logits(told)
    own = np.take_along_axis(logits, chosen[..., None], 2)[..., 0]
    return float((logits.max(2) - own).max())


def check_same(ours: Any, theirs: Any) -> None:
    """The same logits, loss, gradient and choices."""
    from peers_seq2seq import TOLD

    check("logits", float(abs(ours.logits(TOLD) - theirs.logits(TOLD)).max()))
    check("symbols", behind_likeliest(theirs, ours.generation(len(TOLD))))
    check("symbols", behind_likeliest(ours, theirs.generation(len(TOLD))))
    check("losses", abs(ours.learn() - theirs.learn()))
    found, expected = ours.gradient(), theirs.gradient()
    check("gradients", float(abs(found - expected).max() / abs(expected).max()))


def measure(sides: list[Any], cores: int, task: str, rounds: int) -> Row:
    """One row."""
    turns = in_turn({side.name: TASKS[task](side) for side in sides}, cores, rounds)
    ours, theirs = ([each[side.name] for each in turns.seconds] for side in sides)
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    times = (1e3 * statistics.median(seconds) for seconds in (ours, theirs))
    return Row(cores, task, *times, ratio, turns.disturbed)


TASKS = {  # what it is called -> from a side to the call
    "training": lambda side: side.training,
    "writing, 64 sequences": lambda side: lambda: side.generation(64),
    "writing, 1 sequence": lambda side: lambda: side.generation(1),
}


def work_through(cores: int, rounds: int) -> None:
    """Print the versions, then a line of JSON for each row."""
    keep_to(cores)
    from peers_seq2seq import Crnn, Torch

    ours = Crnn(cores)
    sides = [ours, Torch(ours.model, cores)]
    check_same(*sides)
    print(json.dumps({side.name: side.version for side in sides}), flush=True)
    for task in TASKS:
        print(json.dumps(measure(sides, cores, task, rounds)), flush=True)


# ------------------------------------------------------------------ in the one that was started


def collect(arguments: argparse.Namespace) -> tuple[dict[str, str], list[Row]]:
    """Versions, and all rows; a process for each number of cores."""
    from tqdm import tqdm

    versions: dict[str, str] = {}
    rows: list[Row] = []
    with tqdm(total=len(arguments.cores) * len(TASKS), unit="row") as progress:
        for cores in arguments.cores:
            lines = from_worker(__file__, cores)
            versions = next(lines, {})
            for line in lines:
                rows.append(Row(*line))
                progress.set_postfix_str(f"{rows[-1].task} {rows[-1].ratio:.2f}")
                progress.update()
    return versions, rows


def report(versions: dict[str, str], rows: list[Row]) -> str:
    """The section."""
    lines = [
        "## Sequence to sequence",
        "",
        "Written by `make bench` (benchmarks/seq2seq.py): crnn.Seq2Seq and the same model in "
        "PyTorch (nn.GRU reads, nn.GRUCell writes), with additive attention and input feeding. "
        "B = 64, H = 256, embeddings of 256, 30 steps read and 30 written, 64 symbols. Training is "
        "one update with the true symbols as input: forward, cross-entropy, backward, Adam; "
        "writing takes the likeliest symbol at each step, and nothing ends a sequence early.",
        "",
        *setting(versions),
        f"- {NOTE}",
        "",
        "| task | cores | crnn, ms | PyTorch, ms | times as fast |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        note = " \\*" if row.disturbed else ""
        lines.append(
            f"| {row.task} | {row.cores} | {row.crnn:.2f} | {row.torch:.2f} "
            f"| {row.ratio:.2f}{note} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cores", nargs="+", type=int, default=usable_cores())
    parser.add_argument("--rounds", type=int, default=16, help="turns that each side has")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="folder of the page")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work_through(arguments.worker, arguments.rounds)
        return
    if importlib.util.find_spec("torch") is None:
        parser.error("PyTorch is missing: pip install torch")
    section = report(*collect(arguments))
    arguments.output.mkdir(parents=True, exist_ok=True)
    update(arguments.output / "benchmark.md", "seq2seq", section)
    print(section)


if __name__ == "__main__":
    main()
