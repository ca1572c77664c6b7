"""One step at a time: how long a step takes, and how long the slow ones take.

    python benchmarks/streaming.py [--steps 20000]

A step of batch 1, the state carried on: crnn's stream, the same as a call of the layer with one
step, PyTorch's layer under inference_mode, ONNX Runtime's operator. Everything in turn, in blocks
of a hundred steps, on one core. `arithmetic` is the least that a step can take: its weights once
through the core, at the speed at which the core reads as much memory again and again.
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
    """Weights packed once."""
    stream, x = crnn.LSTM(I, H, seed=0).stream(), np.zeros((1, I), "float32")
    return lambda: stream.step(x)


def crnn_layer(I: int, H: int) -> Step:
    """A call of one step, with the state of the last one."""
    layer, x = crnn.LSTM(I, H, seed=0), np.zeros((1, 1, I), "float32")
    state = layer(x)[1]

    def step() -> None:
        nonlocal state
        state = layer(x, state)[1]

    return step


def torch_layer(I: int, H: int) -> Step:
    """torch.nn.LSTM with one step."""
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
    """The operator with one step; its state begins at zero each time, which costs it nothing."""
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
    """Microseconds to read 4 H (I + H) floats that were read just before."""
    weights = np.zeros(4 * H * (I + H), "float32")
    times = []
    for _ in range(200):
        start = time.perf_counter()
        weights.max()
        times.append(time.perf_counter() - start)
    return 1e6 * min(times)


def measure(steps: dict[str, Step], count: int) -> dict[str, Any]:
    """Microseconds of every step of each."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(count // BLOCK):
        for name, step in steps.items():
            step()
            for _ in range(BLOCK):
                start = time.perf_counter()
                step()
                times[name].append(1e6 * (time.perf_counter() - start))
    return {name: np.array(found) for name, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=20000)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [0])
    crnn.set_num_threads(1)
    print("LSTM, batch 1, microseconds for a step: half, 99 % and 99.9 % of the steps take at most")
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
