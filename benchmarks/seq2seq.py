"""Compare sequence to sequence with PyTorch: training, generation of a batch and of one sequence.

    python benchmarks/seq2seq.py [--cores 1] [--rounds 16]

Both libraries run the same model (benchmarks/peers_seq2seq.py), on one core and on two, in turn, as
benchmarks/measuring.py describes. Before the measurement, the script checks that both compute the
same logits, loss and gradient, and choose the same symbols up to rounding.

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
    """Result for one task; times are medians in milliseconds."""

    cores: int
    task: str
    crnn: float
    torch: float
    ratio: float  # of PyTorch's time to crnn's: median over the rounds
    disturbed: bool


# ---------------------------------------------------------------------- in the measuring process


def check(name: str, difference: float) -> None:
    """End the program if the two libraries differ by more than the tolerance."""
    if not difference < TOLERANCE:
        raise SystemExit(f"{name} of crnn and PyTorch differ by {difference:.1e}")


def below_maximum(side: Any, chosen: Any) -> float:
    """Return the largest difference between the greatest logit and that of the chosen symbol."""
    import numpy as np
    from peers_seq2seq import START

    target_in = np.insert(chosen[:, :-1], 0, START, axis=1)
    logits = side.logits(target_in)
    of_chosen = np.take_along_axis(logits, chosen[..., None], 2)[..., 0]
    return float((logits.max(2) - of_chosen).max())


def check_same(ours: Any, theirs: Any) -> None:
    """End the program unless both compute the same logits, loss, gradient and symbols."""
    from peers_seq2seq import TARGET_IN

    check("logits", float(abs(ours.logits(TARGET_IN) - theirs.logits(TARGET_IN)).max()))
    check("symbols", below_maximum(theirs, ours.generation(len(TARGET_IN))))
    check("symbols", below_maximum(ours, theirs.generation(len(TARGET_IN))))
    check("losses", abs(ours.learn() - theirs.learn()))
    gradient, expected = ours.gradient(), theirs.gradient()
    check("gradients", float(abs(gradient - expected).max() / abs(expected).max()))


def measure(sides: list[Any], cores: int, task: str, rounds: int) -> Row:
    """Return one row of the results."""
    turns = in_turn({side.name: TASKS[task](side) for side in sides}, cores, rounds)
    ours, theirs = ([each[side.name] for each in turns.seconds] for side in sides)
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    times = (1e3 * statistics.median(seconds) for seconds in (ours, theirs))
    return Row(cores, task, *times, ratio, turns.disturbed)


TASKS = {  # name -> function from a library's model to the call that is measured
    "training": lambda side: side.training,
    "generation, 64 sequences": lambda side: lambda: side.generation(64),
    "generation, 1 sequence": lambda side: lambda: side.generation(1),
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


# ------------------------------------------------------------------------- in the main process


def collect(arguments: argparse.Namespace) -> tuple[dict[str, str], list[Row]]:
    """Return the versions and all rows, measured in one process for each number of cores."""
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
    """Return the section of the page."""
    lines = [
        "## Sequence to sequence",
        "",
        "Written by `make bench` (benchmarks/seq2seq.py): crnn.Seq2Seq and the same model in "
        "PyTorch (nn.GRU as encoder, nn.GRUCell as decoder), with additive attention and input "
        "feeding. B = 64, H = 256, embeddings of 256, sources and targets of 30 steps, 64 symbols. "
        "Training is one update with the true symbols as input: forward, cross-entropy, backward, "
        "Adam. Generation takes the most likely symbol at each step; no symbol ends a sequence "
        "early.",
        "",
        *setting(versions),
        f"- {NOTE}",
        "",
        "| task | cores | crnn, ms | PyTorch, ms | PyTorch / crnn |",
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
    parser.add_argument("--rounds", type=int, default=16, help="rounds for each library")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="folder for the page")
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
