"""Cost of idle threads, as CPU time of the whole process, and two callers at a time.

    python benchmarks/threads.py [--calls 200]

Linux only, because the second part restricts the process to one core.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import crnn

Call = Callable[[], object]


def floats(*shape: int) -> np.ndarray:
    """Return normal random numbers in float32."""
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def cpu_time(call: Call, calls: int, pause: float = 0.0) -> float:
    """Return the CPU seconds of a call, workers included, after two warm-up calls."""
    call(), call()
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(calls):
        call()
        time.sleep(pause)
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent / calls


def report(name: str, plain: float, other: float) -> None:
    print(f"{name:58} {plain * 1e6:9.0f} us {other * 1e6:9.0f} us {other / plain:7.2f}", flush=True)


def idle_workers(calls: int) -> None:
    """Measure a call on two threads, before and after a call that started 63 workers."""
    small, large = crnn.Dense(128, 128, seed=0), crnn.Dense(512, 512, seed=0)
    x, many = floats(128, 128), floats(512, 512)
    crnn.set_num_threads(2)
    before = [cpu_time(lambda: small(x), calls, pause) for pause in (0.0, 0.005)]
    crnn.set_num_threads(64)
    large(many)
    crnn.set_num_threads(2)
    after = [cpu_time(lambda: small(x), calls, pause) for pause in (0.0, 0.005)]
    report("two threads after 64, calls close together", before[0], after[0])
    report("two threads after 64, pauses of 5 ms", before[1], after[1])


def more_threads_than_cores(calls: int) -> None:
    """Measure 32 threads on one core. The workers that start here inherit this restriction."""
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    for name, shape, hidden in (("32 rows", (32, 50, 128), 128), ("one row", (1, 100, 256), 256)):
        layer, x = crnn.LSTM(shape[2], hidden, seed=0), floats(*shape)
        dy = floats(*shape[:2], hidden)

        def step(layer: crnn.LSTM = layer, x: np.ndarray = x, dy: np.ndarray = dy) -> None:
            layer.backward(layer.forward(x)[2], dy)

        crnn.set_num_threads(1)
        alone = cpu_time(step, calls)
        crnn.set_num_threads(32)
        report(f"32 threads on one core, training, {name}", alone, cpu_time(step, calls))


def two_callers(calls: int) -> None:
    """Measure the wall time of two training loops, one after the other and side by side."""
    crnn.set_num_threads(len(os.sched_getaffinity(0)))
    for name, shape, hidden in (("64 rows", (64, 50, 128), 128), ("one row", (1, 100, 256), 256)):
        layers = [crnn.LSTM(shape[2], hidden, seed=seed) for seed in range(2)]
        x, dy = floats(*shape), floats(*shape[:2], hidden)

        def train(layer: crnn.LSTM, x: np.ndarray = x, dy: np.ndarray = dy) -> None:
            for _ in range(calls):
                layer.backward(layer.forward(x)[2], dy)

        times = []
        with ThreadPoolExecutor(2) as pool:
            for run in (map, pool.map):
                list(run(train, layers))
                start = time.perf_counter()
                list(run(train, layers))
                times.append((time.perf_counter() - start) / calls)
        report(f"two callers side by side, training, {name}", *times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=200)
    calls = parser.parse_args().calls
    print(f"{'':58} {'plain':>12} {'other':>12} {'ratio':>7}")
    if os.fork() == 0:  # a separate process, because started threads stay
        more_threads_than_cores(max(1, calls // 20))
        os._exit(0)
    os.wait()
    idle_workers(calls)
    two_callers(max(1, calls // 10))


if __name__ == "__main__":
    main()
