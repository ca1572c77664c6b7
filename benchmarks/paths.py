"""Compare crnn with itself: the cost of options, lengths, sizes and dilations.

    python benchmarks/paths.py [--cells LSTM GRU] [--rounds 15]
    python benchmarks/paths.py --check [--cells LSTM GRU]

Each line is the ratio of two times, measured in turn in one run, and its intended maximum, `most`.
With --check, the bound is higher by a margin for the noise of a shared machine, and a ratio above
the bound is measured again. A failure therefore means a serious loss of speed, not a few percent;
the exit code is then 1. Measurements that need more cores than are free are skipped.
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

B, T, I, H = 32, 100, 64, 128  # default sizes
MARGIN, TRIES, ROUNDS = 1.4, 4, 5  # of a check
CONVOLUTION = "CausalConv"
Call = Callable[[], object]


class Path(NamedTuple):
    """Two calls; the time of `other` over that of `plain` should be at most `most`."""

    name: str
    plain: Call
    other: Call
    most: float
    cores: int = 1  # number of cores that must be free


def layer(cell: str, inputs: int = I, hidden: int = H, **options: Any) -> Any:
    """Return a layer of one of the cells."""
    row = CELLS[cell]
    return getattr(crnn, row.crnn)(inputs, hidden, seed=0, **row.options | options)


def floats(*shape: int) -> Any:
    """Return normal random numbers in float32."""
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def inference(model: Any, x: Any, *state: Any, **options: Any) -> Call:
    """Return a function that evaluates the model, without a tape."""
    return lambda: model(x, *state, **options)


def training(model: Any, x: Any, *state: Any, dy: Any = None, **options: Any) -> Call:
    """Return a function that runs forward and backward."""
    if dy is None:
        dy = floats(*x.shape[:2], model.hidden_size).astype(model.dtype)

    def step() -> None:
        tape = model.forward(x, *state, **options)[2]
        model.backward(tape, dy)

    return step


def in_threads(n: int, call: Call) -> Call:
    """Return a function that makes the call on n threads."""

    def run() -> None:
        crnn.set_num_threads(n)
        call()
        crnn.set_num_threads(1)

    return run


def option_paths(cell: str) -> Iterator[Path]:
    """Yield options and layouts, compared with the plain call."""
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
        for name, (model, arguments) in others.items():
            yield Path(f"{task.__name__}, {name}", task(plain, x), task(model, *arguments), 1.1)
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
    "leak": {"leak": 0.3},
}


def variant_paths(cell: str) -> Iterator[Path]:
    """Yield options of the kernels, compared with the plain layer: 32 rows, 256 units."""
    plain, x = layer(cell, 256, 256), floats(B, 50, 256)
    for name, options in VARIANTS.items():
        if options.keys() <= plain.options.keys() - CELLS[cell].options.keys():
            model = layer(cell, 256, 256, **options)
            dy = floats(B, 50, model.output_size)
            yield Path(f"inference, {name}", inference(plain, x), inference(model, x), 1.25)
            yield Path(f"training, {name}", training(plain, x), training(model, x, dy=dy), 1.25)
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
    """Yield lengths, rows and steps, to which the time should be proportional."""
    model, x = layer(cell), floats(B, T, I)
    lengths = np.random.default_rng(0).permutation(np.linspace(1, T, B).round().astype(int))
    tile, long = floats(7, T, I), floats(4, 3200, I)
    for task in (inference, training):
        name = task.__name__
        yield Path(f"{name}, lengths 1 to T", task(model, x), task(model, x, lengths=lengths), 0.55)
        yield Path(
            f"{name}, a row more", task(model, tile), task(model, floats(8, T, I)), 1.1 * 8 / 7
        )
        yield Path(f"{name}, 32 T", task(model, long[:, :100]), task(model, long), 1.1 * 32)
        double = layer(cell, dtype="float64")
        yield Path(f"{name}, float64", task(model, x), task(double, x.astype("float64")), 2.0)


def delay_paths(cell: str) -> Iterator[Path]:
    """Yield delays: one row of which 64 pieces run side by side, and a second matrix."""
    one, long = layer(cell, 16, 256), floats(1, 4096, 16)
    apart, both, x = layer(cell, 16, 256, delays=64), layer(cell, delays=(1, 8)), floats(B, T, I)
    for task, most in ((inference, 0.5), (training, 0.62)):
        name = task.__name__
        yield Path(f"{name}, delay 64", task(one, long), task(apart, long), most)
        yield Path(f"{name}, two delays", task(layer(cell), x), task(both, x), 1.1 * 5 / 3)


def underflow_paths(cell: str) -> Iterator[Path]:
    """Yield training with subnormal numbers."""
    plain, x = layer(cell), floats(B, T, I)
    tiny, fading = layer(cell), layer(cell)
    tiny.flat_params[:] *= 1e-20
    fading.params["W_h"][...] *= 0.05
    last = np.zeros((B, T, H), "float32")
    last[:, -1] = 1
    first = x * (np.arange(T)[:, None] == 0)
    yield Path("training, weights of 1e-20", training(plain, x), training(tiny, x), 1.1)
    yield Path(
        "training, vanishing gradient", training(plain, x), training(fading, first, dy=last), 1.1
    )


def thread_paths(cell: str) -> Iterator[Path]:
    """Yield two threads compared with one, for a large and for a small amount of work."""
    model, x = layer(cell, 128, 256), floats(64, 50, 128)
    small, few = layer(cell, 16, 32), floats(1, 100, 16)
    for task in (inference, training):
        one = task(model, x)
        yield Path(f"{task.__name__}, two threads", one, in_threads(2, one), 1 / 1.85, cores=2)
        one = task(small, few)
        yield Path(f"{task.__name__}, too small to share", one, in_threads(2, one), 1.1, cores=2)


def insight_paths(cell: str) -> Iterator[Path]:
    """Yield the cost of diagnostics: training with a watch at its default, and with a trace."""
    model = crnn.Sequential([layer(cell), crnn.Dense(H, 8, seed=1)])
    data = [(floats(B, 50, I), np.zeros((B, 50), np.int64))] * 40

    def fit(*callbacks: Any) -> None:
        adam = crnn.optim.Adam(model, lr=1e-6)
        options = {"epochs": 1, "progress": False, "callbacks": callbacks}
        crnn.fit(model, data, loss=crnn.losses.cross_entropy, optimizer=adam, **options)

    yield Path("fit, watched", fit, lambda: fit(crnn.watch(model, warn=False)), 1.1)
    plain, x, dy = layer(cell), floats(B, T, I), floats(B, T, H)

    def traced() -> None:
        plain.backward(plain.forward(x)[2], dy, trace=True)

    yield Path("training, traced", training(plain, x), traced, 1.15)


def convolution_paths() -> Iterator[Path]:
    """Yield dilations, which cost nothing, and lengths: convolutions of 32 rows of 256 steps."""
    x = floats(B, 256, 64)
    near = crnn.CausalConv(64, 64, seed=0)
    lengths = np.random.default_rng(0).permutation(np.linspace(1, 256, B).round().astype(int))
    for task in (inference, training):
        name = task.__name__
        for dilation in (2, 4, 8, 16, 32, 64):
            far = crnn.CausalConv(64, 64, dilation=dilation, seed=0)
            yield Path(f"{name}, dilation {dilation}", task(near, x), task(far, x), 1.08)
        one = task(near, x)
        yield Path(f"{name}, lengths 1 to T", one, task(near, x, lengths=lengths), 0.55)


def paths(cell: str) -> Iterator[Path]:
    """Yield all comparisons for one cell, or for convolutions."""
    if cell == CONVOLUTION:
        yield from convolution_paths()
    else:
        for group in GROUPS:
            yield from group(cell)


NAMES = [*CELLS, CONVOLUTION]
GROUPS = (
    option_paths,
    variant_paths,
    size_paths,
    delay_paths,
    underflow_paths,
    insight_paths,
    thread_paths,
)


def seconds(call: Call) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratio(path: Path, rounds: int = 15) -> float:
    """Return the median over rounds of other / plain, after a warm-up call of each."""
    path.plain()
    path.other()
    return statistics.median(seconds(path.other) / seconds(path.plain) for _ in range(rounds))


def cores_here() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_cores(wanted: int) -> bool:
    """Return whether so many cores exist and other processes use less than 0.2 cores."""
    if not hasattr(os, "sched_getaffinity") or not pathlib.Path("/proc/stat").exists():
        return wanted == 1
    cores = os.cpu_count() or 1
    return cores_here() >= wanted and busy_elsewhere(cores, 0.2) * cores < 0.2


def least_ratio(path: Path) -> float:
    """Measure until a ratio is within its bound, a few times at most; return the smallest."""
    ratios: list[float] = []
    while len(ratios) < TRIES and not (ratios and min(ratios) <= MARGIN * path.most):
        ratios.append(ratio(path, ROUNDS))
    return min(ratios)


def line(cell: str, path: Path, value: float, most: float, note: str = "") -> None:
    """Print one ratio."""
    print(f"{cell:12} {path.name:32} {value:7.3f} {most:7.3f}{note}", flush=True)


def measure(cells: Sequence[str], rounds: int) -> None:
    """Print all ratios."""
    for cell in cells:
        for path in paths(cell):
            if path.cores <= cores_here():
                value = ratio(path, rounds)
                line(cell, path, value, path.most, "  above" if value > path.most else "")


def check(cells: Sequence[str]) -> int:
    """Print all ratios with their bounds, and return the number of ratios above their bounds."""
    above = 0
    for cell in cells:
        for path in paths(cell):
            if path.cores > 1 and not free_cores(path.cores):
                print(f"{cell:12} {path.name:32} skipped: {path.cores} cores are not free")
                continue
            value, note = least_ratio(path), ""
            if value > MARGIN * path.most:
                free = free_cores(path.cores)
                note = "  above" if free else "  skipped: other processes use the cores"
                above += free
            line(cell, path, value, MARGIN * path.most, note)
    print(f"{above} above their bounds")
    return above


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure or check, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--check", action="store_true", help="exit with status 1 if a ratio is above its bound"
    )
    options = parser.parse_args(arguments)
    crnn.set_num_threads(1)
    print(f"{'cell':12} {'path':32} {'ratio':>7} {'most':>7}")
    if options.check:
        return 1 if check(options.cells) else 0
    measure(options.cells, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
