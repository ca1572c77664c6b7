"""crnn beside itself: no option, length or size is a cliff.

    python benchmarks/paths.py [--cells LSTM GRU] [--rounds 15]
    python benchmarks/paths.py --check [--cells LSTM GRU]

Each line is a ratio of times, taken in one run, the two in turn; `most` is what it is meant to stay
below. With --check a ratio has room above that, for the noise of a shared machine, and is taken
again where it is beyond: what fails is slow by accident, not by a few percent. The exit code is 1
then. What needs cores that others use is left out.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from measuring import busy_elsewhere
from peers import CELLS

import crnn

B, T, I, H = 32, 100, 64, 128  # where nothing else is said
ROOM, TRIES, ROUNDS = 1.4, 4, 5  # of a check
Call = Callable[[], object]


class Path(NamedTuple):
    """Two calls; the time of `other` over that of `plain` should be at most `most`."""

    name: str
    plain: Call
    other: Call
    most: float
    cores: int = 1  # that must be free


def layer(cell: str, inputs: int = I, hidden: int = H, **options: Any) -> Any:
    """One of the table's cells."""
    row = CELLS[cell]
    return getattr(crnn, row.crnn)(inputs, hidden, seed=0, **row.options | options)


def floats(*shape: int) -> Any:
    """Normal numbers, float32."""
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def inference(made: Any, x: Any, *state: Any, **options: Any) -> Call:
    """Evaluation, nothing kept."""
    return lambda: made(x, *state, **options)


def training(made: Any, x: Any, *state: Any, dy: Any = None, **options: Any) -> Call:
    """Forward and backward."""
    given = floats(*x.shape[:2], made.hidden_size).astype(made.dtype) if dy is None else dy

    def step() -> None:
        tape = made.forward(x, *state, **options)[2]
        made.backward(tape, given)

    return step


def in_threads(n: int, call: Call) -> Call:
    """The same on n threads."""

    def run() -> None:
        crnn.set_num_threads(n)
        call()
        crnn.set_num_threads(1)

    return run


def option_paths(cell: str) -> Iterator[Path]:
    """Options and layouts beside the plain call."""
    plain, x = layer(cell), floats(B, T, I)
    h = floats(B, H)
    state = (h, h) if cell == "LSTM" else h
    others: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "reverse": (layer(cell, reverse=True), (x,)),
        "initial state": (plain, (x, state)),
        "no bias": (layer(cell, bias=False), (x,)),
        "time-major x": (plain, (np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1),)),
        "strided x": (plain, (floats(B, 2 * T, I)[:, ::2],)),
        "symbols": (plain, (np.random.default_rng(0).integers(0, I, (B, T)),)),
    }
    if cell == "RNN":
        others["relu"] = (layer(cell, activation="relu"), (x,))
    for task in (inference, training):
        for name, (made, arguments) in others.items():
            yield Path(f"{task.__name__}, {name}", task(plain, x), task(made, *arguments), 1.1)
    yield Path("forward, tape kept", inference(plain, x), lambda: plain.forward(x), 1.1)


VARIANTS: dict[str, dict[str, Any]] = {
    "layer norm": {"layer_norm": True},
    "dropout of h": {"recurrent_dropout": 0.3},
    "zoneout": {"zoneout": 0.1},
    "weight drop": {"weight_drop": 0.3},
    "clip": {"clip": 5.0},
    "learned state": {"learn_state": True},
    "other activation": {"activation": "softsign"},
    "other gates": {"recurrent_activation": "hard_sigmoid"},
    "peepholes": {"peepholes": True},
    "coupled": {"coupled": True},
    "projection": {"proj_size": 128},
}


def variant_paths(cell: str) -> Iterator[Path]:
    """What options inside the kernels cost: 32 rows, 256 units."""
    plain, x = layer(cell, 256, 256), floats(B, 50, 256)
    for name, options in VARIANTS.items():
        if options.keys() <= plain.options.keys() - CELLS[cell].options.keys():
            made = layer(cell, 256, 256, **options)
            dy = floats(B, 50, made.output_size)
            yield Path(f"inference, {name}", inference(plain, x), inference(made, x), 1.25)
            yield Path(f"training, {name}", training(plain, x), training(made, x, dy=dy), 1.25)
    for name, dropout in {
        "dropout of x": crnn.Dropout(0.3, seed=0),
        "variational dropout of x": crnn.Dropout(0.3, variational=True, seed=0),
    }.items():
        model, dy = crnn.Sequential([dropout, plain]), floats(B, 50, 256)
        yield Path(f"training, {name}", training(plain, x), training(model, x, dy=dy), 1.25)
    holes = np.random.default_rng(0).random((B, 50)) < 0.5
    for task in (inference, training):
        name, one = task.__name__, task(plain, x)
        yield Path(f"{name}, half of it masked", one, task(plain, x, mask=holes), 0.65)
        yield Path(f"{name}, resets", one, task(plain, x, resets=~holes & holes[:, ::-1]), 1.1)


def size_paths(cell: str) -> Iterator[Path]:
    """Lengths, rows and steps: time follows what is there."""
    made, x = layer(cell), floats(B, T, I)
    lengths = np.random.default_rng(0).permutation(np.linspace(1, T, B).round().astype(int))
    tile, long = floats(7, T, I), floats(4, 3200, I)
    for task in (inference, training):
        name = task.__name__
        yield Path(f"{name}, lengths 1 to T", task(made, x), task(made, x, lengths=lengths), 0.55)
        yield Path(
            f"{name}, a row more", task(made, tile), task(made, floats(8, T, I)), 1.1 * 8 / 7
        )
        yield Path(f"{name}, 32 T", task(made, long[:, :100]), task(made, long), 1.1 * 32)
        double = layer(cell, dtype="float64")
        yield Path(f"{name}, float64", task(made, x), task(double, x.astype("float64")), 2.0)


def underflow_paths(cell: str) -> Iterator[Path]:
    """Numbers too small to be normal ones."""
    plain, x = layer(cell), floats(B, T, I)
    tiny, fading = layer(cell), layer(cell)
    tiny.flat_params[:] *= 1e-20
    fading.params["W_h"][...] *= 0.05
    last = np.zeros((B, T, H), "float32")
    last[:, -1] = 1
    silent = x * (np.arange(T)[:, None] == 0)
    yield Path("training, weights of 1e-20", training(plain, x), training(tiny, x), 1.1)
    yield Path(
        "training, vanishing gradient", training(plain, x), training(fading, silent, dy=last), 1.1
    )


def thread_paths(cell: str) -> Iterator[Path]:
    """Two threads beside one: where there is work for two, and where there is not."""
    made, x = layer(cell, 128, 256), floats(64, 50, 128)
    small, few = layer(cell, 16, 32), floats(1, 100, 16)
    for task in (inference, training):
        one = task(made, x)
        yield Path(f"{task.__name__}, two threads", one, in_threads(2, one), 1 / 1.85, cores=2)
        one = task(small, few)
        yield Path(f"{task.__name__}, too small to share", one, in_threads(2, one), 1.1, cores=2)


def insight_paths(cell: str) -> Iterator[Path]:
    """What it costs to be looked at: training watched at the default, a trace in every step."""
    model = crnn.Sequential([layer(cell), crnn.Dense(H, 8, seed=1)])
    data = [(floats(B, 50, I), np.zeros((B, 50), np.int64))] * 40

    def fit(*callbacks: Any) -> None:
        adam = crnn.optim.Adam(model, lr=1e-6)
        told = {"epochs": 1, "progress": False, "callbacks": callbacks}
        crnn.fit(model, data, loss=crnn.losses.cross_entropy, optimizer=adam, **told)

    yield Path("fit, watched", fit, lambda: fit(crnn.watch(model, warn=False)), 1.1)
    made, x, dy = layer(cell), floats(B, T, I), floats(B, T, H)

    def traced() -> None:
        made.backward(made.forward(x)[2], dy, trace=True)

    yield Path("training, traced", training(made, x), traced, 1.15)


def paths(cell: str) -> Iterator[Path]:
    """All of one cell."""
    for kind in KINDS:
        yield from kind(cell)


KINDS = (
    option_paths,
    variant_paths,
    size_paths,
    underflow_paths,
    insight_paths,
    thread_paths,
)


def seconds(call: Call) -> float:
    """What one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratio(path: Path, rounds: int = 15) -> float:
    """Median over rounds of other / plain, after one call of each that is not counted."""
    path.plain()
    path.other()
    return statistics.median(seconds(path.other) / seconds(path.plain) for _ in range(rounds))


def cores_here() -> int:
    """The number that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_cores(wanted: int) -> bool:
    """Whether there are so many, and others use less than a fifth of one core."""
    if not hasattr(os, "sched_getaffinity") or not pathlib.Path("/proc/stat").exists():
        return wanted == 1
    cores = os.cpu_count() or 1
    return cores_here() >= wanted and busy_elsewhere(cores, 0.2) * cores < 0.2


def least_ratio(path: Path) -> float:
    """The least of a few ratios, of which the first that is within its bound is the last."""
    found: list[float] = []
    while len(found) < TRIES and not (found and min(found) <= ROOM * path.most):
        found.append(ratio(path, ROUNDS))
    return min(found)


def line(cell: str, path: Path, found: float, most: float, note: str = "") -> None:
    """Print one ratio."""
    print(f"{cell:12} {path.name:32} {found:7.3f} {most:7.3f}{note}", flush=True)


def measure(cells: Sequence[str], rounds: int) -> None:
    """Print all ratios."""
    for cell in cells:
        for path in paths(cell):
            if path.cores <= cores_here():
                found = ratio(path, rounds)
                line(cell, path, found, path.most, "  above" if found > path.most else "")


def check(cells: Sequence[str]) -> int:
    """Print all ratios beside their bounds; how many are beyond."""
    beyond = 0
    for cell in cells:
        for path in paths(cell):
            if path.cores > 1 and not free_cores(path.cores):
                print(f"{cell:12} {path.name:32} left out: {path.cores} cores are not free")
                continue
            found, note = least_ratio(path), ""
            if found > ROOM * path.most:
                free = free_cores(path.cores)
                note = "  beyond" if free else "  left out: others use the cores"
                beyond += free
            line(cell, path, found, ROOM * path.most, note)
    print(f"{beyond} beyond their bounds")
    return beyond


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure or check; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--check", action="store_true", help="fail where a ratio is beyond")
    given = parser.parse_args(arguments)
    crnn.set_num_threads(1)
    print(f"{'cell':12} {'path':32} {'ratio':>7} {'most':>7}")
    if given.check:
        return 1 if check(given.cells) else 0
    measure(given.cells, given.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
