"""Train benchmark tasks: adding, copying, order, digits, dates, sums, captions, characters.

    python benchmarks/tasks.py                          all tasks (some minutes)
    python benchmarks/tasks.py adding copy --quick      some tasks, at a reduced size

Every task (benchmarks/problems.py, pairs.py, characters.py) is trained with the same settings for
all layers, but for sizes and rates that it names. The result is that of the last update: the test
data neither stop nor select a run. (Sizes, rates and bars were chosen with a few seeds.) Of several
runs the median is the result. A rerun with the same seed gives the same numbers.

If all tasks were trained at full size, the table is written to docs/tasks.md and the curves to
docs/images/tasks.png; with --output, they are always written to that folder. The parts of the page
that benchmarks/readouts.py and benchmarks/autoregression.py write are kept. The exit status is 1 if
a layer that must be below the bar of a task is not.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import characters
import numpy as np
from measuring import processor, write_page
from pairs import TASKS as PAIRS
from problems import TASKS as MEMORIES
from problems import Task

import crnn
import crnn._core as _core
from crnn.callbacks import Callback, OneCycle

ROOT = Path(__file__).resolve().parent.parent
TASKS = MEMORIES | PAIRS | characters.TASKS


class Row(NamedTuple):
    """Result of one layer on one task."""

    task: Task
    layer: str
    updates: list[int]
    curve: list[float]  # the measure after the numbers of updates above
    result: float  # the measure on data of neither training nor curve
    seconds: float  # of the updates
    parameters: int
    runs: int = 1  # whose median this is

    @property
    def passed(self) -> bool:
        return self.result < self.task.size.bar

    @property
    def must(self) -> bool:
        return self.task.layers[self.layer]


class Curve(Callback):
    """Record the measure after each epoch."""

    def __init__(self, measure: Callable[[Any], float]) -> None:
        self.measure, self.updates, self.values = measure, [0], []

    def on_start(self, run: Any) -> None:
        self.values.append(self.measure(run.model))

    def on_epoch(self, run: Any) -> None:
        self.updates.append(run.position.update)
        self.values.append(self.measure(run.model))


def train_all(task: Task, layer: str, seed: int = 0, progress: bool = False) -> Row:
    """Train one layer on a task, with as many seeds as the task has runs: return the median."""
    rows = [train(task, layer, seed + run, progress) for run in range(task.runs)]
    median = sorted(rows, key=lambda row: row.result)[len(rows) // 2]
    return median._replace(seconds=sum(row.seconds for row in rows), runs=len(rows))


def train(task: Task, layer: str, seed: int = 0, progress: bool = False) -> Row:
    """Train one layer on a task."""
    model, (data, held_out, test) = task.model(layer, seed), task.data(seed)
    size, curve = task.size.of(layer), Curve(partial(task.judge, held_out=held_out))
    history = crnn.fit(
        model,
        data,
        loss=task.loss,
        optimizer=crnn.optim.Adam(model, lr=size.rate, clip_norm=1.0),
        epochs=size.epochs,
        callbacks=[OneCycle(size.rate), curve],
        progress=progress,
        **task.options,
    )
    result = task.judge(model, test)
    parameters = sum(param.size for param in model.params.values())
    seconds = sum(history.seconds)
    return Row(task, layer, curve.updates, curve.values, result, seconds, parameters)


# ------------------------------------------------------------------------------------- the report


def table(rows: Sequence[Row]) -> list[str]:
    """Return the lines of the table."""
    lines = [
        "| task | layer | H | parameters | updates | measure | result | bound | passed | guess "
        "| seconds |",
        "|---|---|--:|--:|--:|---|--:|--:|---|--:|--:|",
    ]
    for row in rows:
        task, size = row.task, row.task.size
        cells = [
            task.title,
            row.layer,
            size.of(row.layer).hidden_size,
            f"{row.parameters:,}",
            row.updates[-1],
            task.measure if row.runs == 1 else f"{task.measure}, median of {row.runs}",
            f"**{task.show(row.result)}**" if row.passed else task.show(row.result),
            task.show(size.bar),
            "yes" if row.passed else "no, but required" if row.must else "no",
            task.show(task.guess),
            f"{row.seconds:.1f}",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def report(rows: Sequence[Row], seed: int, threads: int) -> str:
    """Return the page."""
    page = [
        "# Training results on known tasks",
        "",
        "Results of crnn's layers on known tasks, to compare with other implementations and with "
        "the literature. `make tasks` trains them and writes this page; benchmarks/tasks.py "
        "describes the method.",
        "",
        f"- {processor()}; threads: {threads}; crnn {crnn.__version__}, Python "
        f"{platform.python_version()}, float32, {time.strftime('%Y-%m-%d')}; seed {seed}",
        "- all tasks: Adam with a one-cycle rate, gradients clipped at norm 1; chrono: the initial "
        "biases of Tallec and Ollivier (2018), for memories of T steps",
        "- results are measured on held-out data; seconds are those of all updates; a layer passes "
        "if its result is below the bound; guess is the result of the best answer that ignores "
        "the input",
        "",
        *(f"- **{task.name}**: {task.about} {task.setting}" for task in tasks_of(rows)),
        "",
        *table(rows),
        "",
        "![Curves of all layers, a panel for each task](images/tasks.png)",
        "",
        "The measure on held-out data over the updates. Dotted grey: guess; dashed black: bound.",
    ]
    return "\n".join(page) + "\n"


def tasks_of(rows: Sequence[Row]) -> list[Task]:
    """Return each task once."""
    return list(dict.fromkeys(row.task for row in rows))


# Colours for colour-blind readers (Okabe and Ito 2008, Tol 2021); the line styles differ, too.
STYLES = {
    "RNN": ("#000000", ":"),
    "RNN dilated": ("#000000", "--"),
    "LSTM": ("#0072B2", "-"),
    "GRU": ("#D55E00", "-"),
    "LSTM chrono": ("#56B4E9", "--"),
    "GRU chrono": ("#E69F00", "--"),
    "JANET chrono": ("#009E73", "-."),
    "TCN": ("#999933", "-"),
    "Transformer": ("#882255", "-"),
    "TCN equal time": ("#999933", "--"),
    "Transformer equal time": ("#882255", "--"),
    "GRU additive": ("#CC79A7", "-"),
    "GRU dot": ("#CC79A7", "--"),
}


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw the curves, one panel for each task."""
    import matplotlib.pyplot as plt

    tasks = tasks_of(rows)
    across = min(3, len(tasks))
    down = -(-len(tasks) // across)
    figure, axes = plt.subplots(
        down, across, figsize=(4 * across, 3.2 * down + 0.4), squeeze=False, layout="constrained"
    )
    handles: dict[str, Any] = {}
    for axis, task in zip(axes.flat, tasks, strict=False):
        for row in (row for row in rows if row.task is task):
            colour, style = STYLES[row.layer]
            values = np.array(row.curve) * (100 if task.percent else 1)
            (handles[row.layer],) = axis.plot(
                row.updates, values, style, color=colour, lw=1.6, label=row.layer
            )
        decorate(axis, task)
    for axis in axes.flat[len(tasks) :]:
        axis.set_axis_off()
    figure.legend(
        handles.values(),
        handles,
        loc="outside lower center",
        ncols=min(7, len(handles)),
        frameon=False,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def decorate(axis: Any, task: Task) -> None:
    """Add the title, the scales, and the lines of guess and bar."""
    scale = 100 if task.percent else 1
    axis.axhline(scale * task.guess, color="0.5", lw=1, ls=":")
    axis.axhline(scale * task.size.bar, color="black", lw=0.8, ls=(0, (6, 4)))
    axis.set_title(task.title, fontsize=10)
    axis.set_xlabel("updates")
    axis.set_ylabel(f"{task.measure}, %" if task.percent else task.measure)
    if task.percent:
        axis.set_ylim(0, 100)
    else:
        axis.set_yscale("log")
    axis.spines[["top", "right"]].set_visible(False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the selected tasks, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tasks", nargs="*", metavar="task", help=f"any of {', '.join(TASKS)}")
    parser.add_argument("--quick", action="store_true", help="use the reduced sizes of the tests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="folder for the page (default: docs)")
    options = parser.parse_args(arguments)
    for name in options.tasks:
        if name not in TASKS:
            parser.error(f"task: expected any of {', '.join(TASKS)}, got {name!r}")
    rows = []
    for name in options.tasks or TASKS:
        task_class = TASKS[name]
        task = task_class(task_class.quick if options.quick else task_class.full)
        for layer in task.layers:
            rows.append(train_all(task, layer, options.seed, progress=sys.stderr.isatty()))
            result = f"{task.measure} {task.show(rows[-1].result)}"
            print(f"{name}, {layer}: {result}, {rows[-1].seconds:.1f} s", flush=True)
    page = report(rows, options.seed, _core.num_threads())
    print(f"\n{page}")
    complete = not options.quick and set(options.tasks or TASKS) == set(TASKS)
    if complete or options.output:
        folder = options.output or ROOT / "docs"
        draw(rows, folder / "images/tasks.png")
        write_page(folder / "tasks.md", page)
    return int(any(row.must and not row.passed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
