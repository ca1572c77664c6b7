"""Compare crnn with PyTorch, ONNX Runtime and JAX: cells, inference and training, 1 and 2 cores.

    make bench                                        installs the peers and measures everything
    python benchmarks/compare.py --cells LSTM --cores 1 --rows medium b1

The libraries of a row are measured in turn, as benchmarks/measuring.py describes. GF/s counts
2 B T G H (I + H) operations, and three times as many for training (forward, and backward to the
parameters and to x). The peak is that of multiply-adds in registers, measured on the same cores
with each row (benchmarks/core.c).

Writes the tables to docs/benchmark.md and the chart to docs/images/benchmark.png. If every cell and
shape was measured, it also writes the summary between two marks in README.md. The parts of
docs/benchmark.md that benchmarks/seq2seq.py, reservoirs.py, blocks.py and forecasting.py write are
kept.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from measuring import (
    NOTE,
    ROOT,
    from_worker,
    in_turn,
    keep_to,
    processor,
    setting,
    update,
    usable_cores,
    write_page,
)

PEAK_PROGRAM = ROOT / "csrc/build/bench"
SHAPES = {  # B, T, I, H
    "tiny": (1, 100, 16, 32),
    "small": (32, 100, 64, 128),
    "medium": (64, 50, 256, 256),
    "large": (64, 50, 512, 1024),
    "b1": (1, 100, 256, 256),
    "wide": (128, 100, 128, 512),
}
TASKS = {"inference": 1, "training": 3}  # passes over the sequence


class Row(NamedTuple):
    """Result for one cell, task and shape; rates are medians in GF/s."""

    cores: int
    cell: str
    task: str
    shape: str
    peak: float
    rates: dict[str, float]
    ratio: float  # of crnn to the best peer: median over the rounds
    disturbed: bool

    @property
    def best(self) -> str:
        """Name of the fastest peer."""
        return max((name for name in self.rates if name != "crnn"), key=self.rates.__getitem__)

    @property
    def share(self) -> float:
        """Share of the peak that crnn reaches."""
        return self.rates["crnn"] / self.peak if self.peak else float("nan")


# ---------------------------------------------------------------------- in the measuring process


def peak_of(cores: int) -> float:
    """Return the peak of this many cores together, in GF/s."""
    programs = [
        subprocess.Popen(
            ["taskset", "-c", str(core), PEAK_PROGRAM, "peak"], stdout=subprocess.PIPE, text=True
        )
        for core in range(cores)
    ]
    return sum(float(program.communicate()[0]) for program in programs)


def measure(peers: list[Any], cores: int, cell: str, task: str, name: str, rounds: int) -> Row:
    """Return one row of the results."""
    from peers import CELLS, Shape

    shape = Shape(*SHAPES[name])
    work = 2 * shape.B * shape.T * CELLS[cell].gates * shape.H * (shape.I + shape.H) * TASKS[task]
    calls = {peer.name: getattr(peer, task)(cell, shape, cores) for peer in peers}
    calls = {peer: call for peer, call in calls.items() if call is not None}
    turns = in_turn(calls, cores, rounds)
    rates = {
        peer: statistics.median(work / each[peer] / 1e9 for each in turns.seconds) for peer in calls
    }
    row = Row(cores, cell, task, name, peak_of(cores), rates, 0.0, turns.disturbed)
    ratio = statistics.median(each[row.best] / each["crnn"] for each in turns.seconds)
    return row._replace(ratio=ratio)


def work_through(arguments: argparse.Namespace, cores: int) -> None:
    """Print the versions, then a line of JSON for each row."""
    keep_to(cores)
    from peers import PEERS, Crnn

    peers: list[Any] = [Crnn()]
    for peer in PEERS:
        try:
            peers.append(peer())
        except ImportError:
            print(f"{peer.name} is not installed", file=sys.stderr)
    print(json.dumps({peer.name: peer.version for peer in peers}), flush=True)
    for cell in arguments.cells:
        for task in TASKS:
            for shape in arguments.rows:
                row = measure(peers, cores, cell, task, shape, arguments.rounds)
                print(json.dumps(row), flush=True)


# ------------------------------------------------------------------------- in the main process


def collect(arguments: argparse.Namespace) -> tuple[dict[str, str], list[Row]]:
    """Return the versions and all rows, measured in one process for each number of cores."""
    from tqdm import tqdm

    versions: dict[str, str] = {}
    rows: list[Row] = []
    total = len(arguments.cores) * len(arguments.cells) * len(TASKS) * len(arguments.rows)
    with tqdm(total=total, unit="row") as progress:
        for cores in arguments.cores:
            lines = from_worker(__file__, cores)
            versions = next(lines, {})
            for line in lines:
                row = Row(*line)
                rows.append(row)
                progress.set_postfix_str(f"{row.cell} {row.task} {row.shape} {row.ratio:.2f}")
                progress.update()
    return versions, rows


def mean_ratio(rows: list[Row]) -> float:
    """Return the geometric mean of the ratios."""
    return statistics.geometric_mean([row.ratio for row in rows])


def table(rows: list[Row], cores: int, task: str) -> list[str]:
    """Return Markdown lines, one for each cell and shape."""
    names = list(dict.fromkeys(name for row in rows for name in row.rates))
    lines = [
        f"| cell | shape | {' | '.join(names)} | share of the peak | ratio to the best peer |",
        "|---|---|" + "--:|" * (len(names) + 2),
    ]
    for row in (row for row in rows if (row.cores, row.task) == (cores, task)):
        cells = [f"{row.rates[name]:.1f}" if name in row.rates else "" for name in names]
        note = " \\*" if row.disturbed else ""
        lines.append(
            f"| {row.cell} | {row.shape} | {' | '.join(cells)} | {row.share:.0%} "
            f"| {row.ratio:.2f}{note} |"
        )
    return lines


def report(versions: dict[str, str], rows: list[Row]) -> str:
    """Return the page."""
    page = [
        "# crnn compared with other libraries",
        "",
        "Speed of crnn, PyTorch, ONNX Runtime and JAX by cell and shape. `make bench` measures it "
        "on your machine and writes this page; benchmarks/compare.py describes the method.",
        "",
        *setting(versions),
        f"- B, T, I, H: {'; '.join(f'{name} {SHAPES[name]}' for name in SHAPES)}",
        f"- rates in GF/s; {NOTE}",
    ]
    for cores in dict.fromkeys(row.cores for row in rows):
        for task in TASKS:
            some = [row for row in rows if (row.cores, row.task) == (cores, task)]
            peak = statistics.median(row.peak for row in some)
            page += [
                "",
                f"## {task.capitalize()}, {cores} core{'s' * (cores > 1)}",
                "",
                f"Peak {peak:.0f} GF/s. Ratio of crnn to the best peer: geometric mean "
                f"{mean_ratio(some):.2f}, minimum {min(row.ratio for row in some):.2f}.",
                "",
                *table(rows, cores, task),
            ]
    return "\n".join(page) + "\n"


def digest(versions: dict[str, str], rows: list[Row]) -> str:
    """Return the table of README.md: rates of the first cell, and mean ratios of all cells."""
    cell = rows[0].cell
    peers = ", ".join(f"{name} {versions[name]}" for name in versions if name != "crnn")
    lines = [
        f"{cell}, float32, GF/s beside the best of {peers}, on the same cores in one run "
        f"({processor()}; the dotted line is the peak of multiply-adds):",
        "",
        f"| | {' | '.join(SHAPES)} | all cells, mean ratio |",
        "|---|" + "--:|" * (len(SHAPES) + 1),
    ]
    for cores, task in dict.fromkeys((row.cores, row.task) for row in rows):
        some = [row for row in rows if (row.cores, row.task) == (cores, task)]
        cells = [
            f"**{row.rates['crnn']:.0f}** / {row.rates[row.best]:.0f}"
            for row in some
            if row.cell == cell
        ]
        lines.append(
            f"| {task}, {cores} core{'s' * (cores > 1)} | {' | '.join(cells)} "
            f"| {mean_ratio(some):.2f}, least {min(row.ratio for row in some):.2f} |"
        )
    return "\n".join(lines)


COLOURS = {"crnn": "#2a6f97", "PyTorch": "#ee6c4d", "ONNX Runtime": "#9aa5b1", "JAX": "#6a994e"}


def draw(rows: list[Row], path: Path) -> None:
    """Draw the rates of the first cell, one panel for each task and number of cores."""
    import matplotlib.pyplot as plt

    cell = rows[0].cell
    panels = list(dict.fromkeys((row.cores, row.task) for row in rows))
    figure, axes = plt.subplots(
        len(panels) // 2 or 1, min(2, len(panels)), figsize=(10, 3.2 * (len(panels) // 2 or 1)),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for axis, (cores, task) in zip(axes.flat, panels, strict=True):
        some = [row for row in rows if (row.cores, row.task, row.cell) == (cores, task, cell)]
        names = list(dict.fromkeys(name for row in some for name in row.rates))
        for i, name in enumerate(names):
            positions = [
                x + (i - (len(names) - 1) / 2) * 0.8 / len(names) for x in range(len(some))
            ]
            heights = [row.rates.get(name, 0) for row in some]
            axis.bar(positions, heights, 0.8 / len(names), label=name, color=COLOURS[name])
        axis.axhline(statistics.median(row.peak for row in some), color="black", lw=0.8, ls=":")
        axis.set_xticks(range(len(some)), [row.shape for row in some])
        axis.set_ylabel("GF/s")
        axis.set_title(f"{cell}, {task}, {cores} core{'s' * (cores > 1)}", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = ("LSTM", "GRU", "GRU before", "RNN", "JANET")
    parser.add_argument("--cells", nargs="+", choices=names, default=names)
    parser.add_argument("--rows", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--cores", nargs="+", type=int, default=usable_cores())
    parser.add_argument("--rounds", type=int, default=8, help="rounds for each library")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="folder for the page")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work_through(arguments, arguments.worker)
        return
    if not PEAK_PROGRAM.exists():
        parser.error("the program that measures the peak is missing: make -C csrc bench")
    versions, rows = collect(arguments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_page(arguments.output / "benchmark.md", report(versions, rows))
    draw(rows, arguments.output / "images/benchmark.png")
    if len(rows) == len(arguments.cores) * len(TASKS) * len(names) * len(SHAPES):
        update(ROOT / "README.md", "benchmark", digest(versions, rows))
    print(report(versions, rows))


if __name__ == "__main__":
    main()
