"""Check that time grows smoothly with the number of rows and of steps.

    CRNN_ISA=avx2 taskset -c 0 python benchmarks/cliffs.py [H ...]

How the weights of a recurrent layer are read (packed, projected ahead, as they lie) depends on the
sizes of the call. A change of the way must not be a cliff: one row or step more may not be faster
by more than 5 %, nor slower than its share by more than 15 %. The table has the minimum time of
alternating rounds in microseconds; a size that breaks the rule is marked with its ratio.
"""

import itertools
import os
import sys
import time

os.environ.setdefault("CRNN_NUM_THREADS", "1")

import numpy as np

import crnn

STEPS, ROWS = 32, 4  # of the series over rows, of the series over steps
SECONDS = 0.3  # per size


def fastest(layer: crnn.LSTM, inputs: list[np.ndarray]) -> list[float]:
    """Return the minimum time of a call for each input, in seconds."""
    best = [float("inf")] * len(inputs)
    end = time.perf_counter() + SECONDS * len(inputs)
    while time.perf_counter() < end:
        for i, x in enumerate(inputs):
            for _ in range(3):
                start = time.perf_counter()
                layer(x)
                best[i] = min(best[i], time.perf_counter() - start)
    return best


def show(name: str, times: list[float]) -> int:
    """Print a series, and return how many sizes break the rule."""
    cells, broken = [f"{1e6 * times[0]:.0f}"], 0
    for n, (before, after) in enumerate(itertools.pairwise(times), start=1):
        ratio = after / before
        bad = ratio < 0.95 or ratio > 1.15 * (n + 1) / n
        broken += bad
        cells.append(f"{1e6 * after:.0f}" + (f" ({ratio:.2f}!)" if bad else ""))
    print(f"{name:24}", "  ".join(cells), flush=True)
    return broken


def main(sizes: list[int]) -> int:
    """Print both series for each hidden size, and return how many sizes break the rule."""
    rng, broken = np.random.default_rng(0), 0
    for size in sizes:
        layer = crnn.LSTM(size, size, seed=0)
        x = rng.standard_normal((16, STEPS, size)).astype(np.float32)
        rows = [np.ascontiguousarray(x[:n]) for n in range(1, 17)]
        broken += show(f"H {size}, T {STEPS}, B 1..16", fastest(layer, rows))
        for batch in (1, ROWS):
            steps = [np.ascontiguousarray(x[:batch, :n]) for n in range(1, 9)]
            broken += show(f"H {size}, B {batch}, T 1..8", fastest(layer, steps))
        steps = [np.ascontiguousarray(x[:n, :1]) for n in range(1, 17)]
        broken += show(f"H {size}, T 1, B 1..16", fastest(layer, steps))
    return broken


if __name__ == "__main__":
    sys.exit(main([int(a) for a in sys.argv[1:]] or [64, 128, 256, 512]) > 0)
