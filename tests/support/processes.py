"""Functions that other processes of tests import and run."""

import gc
import sys
import tracemalloc

import numpy as np

from support.running import gradients_like, leaves
from support.tables import CELLS, LAYERS

B, T = 3, 4
# Number of rounds in which each layer is used in all ways.
ROUNDS = dict.fromkeys(CELLS, 10_000)
ROUNDS |= dict.fromkeys(["bidirectional-concat", "bidirectional-mul", "dense", "embedding"], 3000)


def exercise(name, rounds):
    """Use a layer in all ways, also wrongly; return the objects whose reference counts changed."""
    subject = LAYERS[name]
    layer, x = subject.layer("float32"), subject.inputs(B, T, "float32")
    lengths, wrong = np.array([2, 0, 4]), np.zeros((1, 1, 9), "float32")
    y, end, tape = layer.forward(x)
    dy, dend = gradients_like([y, end], np.random.default_rng(0))
    symbols = np.zeros((B, T), int)
    stream = layer.stream(B) if layer.has_state and not layer.reads_backwards else None
    watched = {"layer": layer, "x": x, "lengths": lengths, "dy": dy, "wrong": wrong}
    watched |= {"symbols": symbols, "y": y, "tape": tape} | leaves({"end": end, "dend": dend})
    watched |= {str(one): one for one in (type(tape), type(stream), type(layer))}
    watched |= {str(one): one for one in (np.dtype("float32"), np.dtype("int64"))}
    attempts = [
        lambda: layer(wrong),
        lambda: layer.forward(x, lengths=wrong),
        lambda: layer.forward(x, wrong),
        lambda: layer.backward(tape, wrong),
        lambda: layer.backward(tape, dy, wrong),
        lambda: layer.backward("tape", dy),
    ]
    _ = layer.grads  # which have no memory before they are read
    before = {key: sys.getrefcount(one) for key, one in watched.items()}
    for _ in range(rounds):
        layer(x, end, lengths=lengths)
        layer.backward(layer.forward(x, end, lengths=lengths)[2], dy, dend)
        layer.backward(tape, None)
        for attempt in attempts:
            try:
                attempt()
            except (ValueError, TypeError):
                continue
            raise AssertionError("no error")
        if stream:
            use_recurrent(layer, tape, stream, x, symbols)
    after = {key: sys.getrefcount(one) for key, one in watched.items()}
    return {key: (before[key], after[key]) for key in before if before[key] != after[key]}


def use_recurrent(layer, tape, stream, x, symbols):
    layer.backward(tape, None, trace=True)
    _ = tape.gates, tape.h, tape.dh, layer.gate_order
    layer.forward(symbols)
    stream.step(x[:, 0])
    stream.state = stream.state
    stream.reset([1])
    layer.stream(2)


def watch_memory(name, queue):
    """Measure memory in a new process, whose peak is not that of another test."""
    import resource  # not on Windows

    def peak():  # in kilobytes; on macOS in bytes
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return size if sys.platform != "darwin" else size // 1024

    exercise(name, 500)
    gc.collect()
    before = peak()
    references = exercise(name, ROUNDS[name])
    growth = peak() - before
    tracemalloc.start()
    traced = []
    for rounds in (50, 500, 500):
        exercise(name, rounds)
        gc.collect()
        traced.append(tracemalloc.get_traced_memory()[0])
    # Memory that the interpreter keeps occurs in one of the two, a leak in both.
    queue.put((references, growth, min(traced[1] - traced[0], traced[2] - traced[1])))


def trained(model, optimizer):
    """Return the parameters after an update."""
    y, _, tape = model.forward(np.ones((2, 600), np.float32))
    model.backward(tape, y)
    optimizer.step()
    return dict(model.params)
