"""Fit reservoirs to known tasks: Mackey-Glass, NARMA-10, memory capacity, speakers of vowels.

    python benchmarks/readouts.py [--networks 8]

The networks are those of examples/, where each task can be run separately. Writes the table between
two marks in docs/tasks.md, and the curves to docs/images/readouts.png; benchmarks/tasks.py writes
the rest of the page. The exit status is 1 if a result is not below its bound.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measuring import ROOT, processor, update

import crnn

sys.path.append(str(ROOT / "examples"))

import mackey_glass
import narma
import speakers

UNITS, WEIGHT = 50, 0.9  # of the reservoirs whose memory is measured
CAPACITY = UNITS - (1 - WEIGHT ** (2 * UNITS))  # of a linear cycle (Rodan and Tino 2011)
STEPS, LONG = 3000, 21000  # of the Mackey-Glass series


class Problem(NamedTuple):
    """A task, and the networks that are fitted to it."""

    task: str
    network: str
    measure: str
    counted: str  # which of the networks: "median", "best" or "worst"
    bound: float
    published: str
    run: Callable[[int], Sequence[float]]  # number of networks -> the measure of each


class Result(NamedTuple):
    """The measure of each network, and the time of all."""

    problem: Problem
    values: list[float]
    seconds: float

    @property
    def value(self) -> float:
        count = {"median": np.median, "best": np.min, "worst": np.max}[self.problem.counted]
        return float(count(self.values))

    @property
    def passed(self) -> bool:
        return self.value < self.problem.bound


def ring(topology: str, activation: str) -> Any:
    """Return a reservoir whose memory is measured."""
    options = {"topology": topology, "activation": activation, "density": 1.0}
    return crnn.Reservoir(1, UNITS, spectral_radius=WEIGHT, seed=0, **options)


def capacity_error(networks: int) -> list[float]:
    """Return how far the memory capacity of a linear cycle is from its value."""
    del networks  # one
    return [abs(crnn.diagnostics.memory_capacity(ring("cycle", "identity")).total - CAPACITY)]


PROBLEMS = (
    Problem(
        f"Mackey-Glass, {STEPS} steps",
        "400 units",
        "NRMSE84",
        "median",
        1e-3,
        "2.8e-4",
        lambda networks: mackey_glass.main(networks=networks),
    ),
    Problem(
        f"Mackey-Glass, {LONG} steps",
        "400 units",
        "NRMSE84",
        "best",
        2e-4,
        "1.2e-4",
        lambda networks: mackey_glass.main(steps=LONG, alpha=1e-13, networks=min(networks, 3)),
    ),
    Problem(
        "NARMA-10, 2000 steps",
        "400 units",
        "NRMSE",
        "median",
        0.22,
        "",
        lambda networks: narma.main(networks=networks)[0],
    ),
    Problem(
        "memory capacity",
        f"linear cycle of {UNITS} units, weight {WEIGHT}",
        f"distance from {CAPACITY:.2f}",
        "worst",
        0.1,
        "0",
        capacity_error,
    ),
    Problem(
        "speakers of vowels",
        "300 units, leak 0.3",
        "wrong answers of 370",
        "worst",
        5,
        "0",
        lambda networks: speakers.main(seeds=min(networks, 3)),
    ),
)

ABOUT = """\
## Readouts of reservoirs

Written by `make tasks` (benchmarks/readouts.py): the recurrence is fixed, and a linear readout is
fitted by ridge regression ([examples](../examples): mackey_glass.py, narma.py, speakers.py).

- **Mackey-Glass**: the series of the delay 17 is continued for 84 steps behind 1000 steps that are
  read; NRMSE84 is the error of the last one over 50 runs (Jaeger 2001). Of the networks for 3000
  steps the median is counted, of those for 21000 steps the best of three.
- **NARMA-10**: the output of a nonlinear system depends on ten earlier ones (Atiya and Parlos
  2000).
- **memory capacity**: the sum over all delays of the squared correlation of an earlier input with
  the best readout; a linear cycle of N units with the weight r has N - (1 - r^2N) (Rodan and Tiňo
  2011).
- **speakers of vowels**: the Japanese vowels (Kudo, Toyama and Shimbo 1999), 270 recordings for
  training, 370 others for the result; the worst of three networks. Published: Jaeger et al. 2007.
"""


def table(results: Sequence[Result]) -> list[str]:
    """Return the lines of the table."""
    lines = [
        "| task | network | measure | networks | counted | result | bound | published | seconds |",
        "|---|---|---|--:|---|--:|--:|--:|--:|",
    ]
    for result in results:
        task, network, measure, counted, bound, published, _ = result.problem
        value = f"**{result.value:.2g}**" if result.passed else f"{result.value:.2g}, not passed"
        count = len(result.values)
        lines.append(
            f"| {task} | {network} | {measure} | {count} | {counted} | {value} | {bound:g} "
            f"| {published} | {result.seconds:.1f} |"
        )
    return lines


def report(results: Sequence[Result]) -> str:
    """Return the section of the page."""
    setting = f"- {processor()}; crnn {crnn.__version__}, {time.strftime('%Y-%m-%d')}"
    picture = [
        "![Errors of free runs, and memory curves](images/readouts.png)",
        "",
        "Left: error of the Mackey-Glass networks (seed 0) over the steps of the free run. Right: "
        f"memory of reservoirs of {UNITS} units with the spectral radius {WEIGHT}.",
    ]
    return "\n".join([ABOUT + setting, "", *table(results), "", *picture])


def draw(path: Path) -> None:
    """Draw the errors of free runs, and memory curves."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for steps, alpha, style in ((STEPS, 1e-12, "-"), (LONG, 1e-13, "--")):
        esn = mackey_glass.fitted(400, steps, alpha, seed=0)
        errors = mackey_glass.errors(esn, runs=50)
        left.semilogy(np.arange(1, len(errors) + 1), errors, style, label=f"{steps} steps")
    left.set(xlabel="step of the free run", ylabel="NRMSE")
    left.legend(frameon=False)
    left.spines[["top", "right"]].set_visible(False)
    kinds = (("cycle", "identity"), ("cycle", "tanh"), ("orthogonal", "tanh"), ("random", "tanh"))
    memories = {
        f"{topology}, {activation}": crnn.diagnostics.memory_capacity(ring(topology, activation))
        for topology, activation in kinds
    }
    crnn.plotting.memory_curve(memories, right)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all tasks, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", type=int, default=8, help="networks of each task")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="folder for the page")
    options = parser.parse_args(arguments)
    results = []
    for problem in PROBLEMS:
        if problem.task.startswith("speakers") and speakers.find() is None:
            print("speakers: skipped, the files are missing (pip install --no-deps aeon)")
            continue
        print(problem.task, flush=True)
        start = time.perf_counter()
        values = [float(value) for value in problem.run(options.networks)]
        results.append(Result(problem, values, time.perf_counter() - start))
    section = report(results)
    draw(options.output / "images/readouts.png")
    update(options.output / "tasks.md", "readouts", section)
    print(section)
    return int(not all(result.passed for result in results))


if __name__ == "__main__":
    sys.exit(main())
