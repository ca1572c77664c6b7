"""Time of single steps: the median, and the slowest ones.

    python benchmarks/streaming.py [--steps 20000]

One step of batch size 1, with the state carried on: crnn's stream, a call of crnn's layer,
PyTorch's layer under inference_mode, ONNX Runtime's operator. They run in turn, in blocks of a
hundred steps, on one core. `arithmetic` is a lower bound: the time to read the weights once, at the
speed of reading the same amount of memory repeatedly.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from peers import Onnx, Shape

import crnn

SIZES = ((16, 32), (64, 128), (128, 256), (256, 512))
BLOCK = 100
Step = Callable[[], object]


def crnn_stream(I: int, H: int) -> Step:
    """Return a step of a stream, which packs its weights once."""
    stream, x = crnn.LSTM(I, H, seed=0).stream(), np.zeros((1, I), "float32")
    return lambda: stream.step(x)


def crnn_layer(I: int, H: int) -> Step:
    """Return a call of the layer with one step and the state of the call before."""
    layer, x = crnn.LSTM(I, H, seed=0), np.zeros((1, 1, I), "float32")
    state = layer(x)[1]

    def step() -> None:
        nonlocal state
        state = layer(x, state)[1]

    return step


def torch_layer(I: int, H: int) -> Step:
    """Return a call of torch.nn.LSTM with one step."""
    import torch

    torch.set_num_threads(1)
    layer, x = torch.nn.LSTM(I, H, batch_first=True), torch.zeros(1, 1, I)
    state = layer(x)[1]

    def step() -> None:
        nonlocal state
        with torch.inference_mode():
            state = layer(x, state)[1]

    return step


def onnx_operator(I: int, H: int) -> Step:
    """Return a call of the operator with one step. Its state is zero each time, at no cost."""
    step = Onnx().inference("LSTM", Shape(1, 1, I, H), threads=1)
    assert step is not None
    return step


CONTENDERS = {
    "crnn stream": crnn_stream,
    "crnn layer": crnn_layer,
    "PyTorch": torch_layer,
    "ONNX Runtime": onnx_operator,
}


def arithmetic(I: int, H: int) -> float:
    """Return the microseconds to read 4 H (I + H) floats that are in the cache."""
    weights = np.zeros(4 * H * (I + H), "float32")
    times = []
    for _ in range(200):
        start = time.perf_counter()
        weights.max()
        times.append(time.perf_counter() - start)
    return 1e6 * min(times)


def measure(steps: dict[str, Step], count: int) -> dict[str, Any]:
    """Return the microseconds of every step of each library."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(count // BLOCK):
        for name, step in steps.items():
            step()
            for _ in range(BLOCK):
                start = time.perf_counter()
                step()
                times[name].append(1e6 * (time.perf_counter() - start))
    return {name: np.array(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=20000)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [0])
    crnn.set_num_threads(1)
    print("LSTM, batch size 1, microseconds per step: percentiles")
    print(f"{'I, H':>10} {'':14} {'50 %':>8} {'99 %':>8} {'99.9 %':>8}")
    for I, H in SIZES:
        steps = {}
        for name, make in CONTENDERS.items():
            try:
                steps[name] = make(I, H)
            except ImportError:
                continue
        print(f"{I:>5} {H:>4} {'arithmetic':14} {arithmetic(I, H):8.2f}")
        for name, times in measure(steps, arguments.steps).items():
            shown = " ".join(f"{q:8.2f}" for q in np.percentile(times, (50, 99, 99.9)))
            print(f"{'':10} {name:14} {shown}")


if __name__ == "__main__":
    main()
