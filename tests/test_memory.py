"""Layers and arrays are freed: reference counts, memory, and what the collector has to do."""

import copy
import gc
import multiprocessing
import sys
import tracemalloc
import weakref

import numpy as np
import pytest
from conftest import CELLS, LAYERS, forward_backward, leaves, like

B, T = 3, 4
# How often each layer is used in all ways there are.
ROUNDS = dict.fromkeys(CELLS, 10_000)
ROUNDS |= dict.fromkeys(["bidirectional-concat", "bidirectional-mul", "dense", "embedding"], 3000)


def test_layers_end_without_the_collector():
    """No cycle of crnn's own: what goes out of scope is gone."""
    gc.collect()
    gc.disable()
    try:
        for name, subject in LAYERS.items():
            layer = subject.layer()
            kept = forward_backward(layer, subject.inputs(B, T)), layer.params
            gone = weakref.ref(layer)
            del layer
            assert gone() is None, name
            del kept
    finally:
        gc.enable()


@pytest.mark.parametrize("name", ["lstm", "gru_before", "bidirectional-sum"])
def test_the_collector_finds_cycles(name):
    class Owned(type(LAYERS[name].make("float32"))):
        """With an attribute that leads back to it."""

    layer = copy.copy(LAYERS[name].make("float32"))
    layer.__class__ = Owned
    layer.owner = [layer]
    if name.startswith("bidirectional"):
        layer.forward_layer.owner = layer
    gone, array = weakref.ref(layer), next(iter(layer.params.values()))
    expected = array.copy()
    gc.collect()
    assert gone() is layer
    del layer
    gc.collect()
    assert gone() is None
    np.testing.assert_array_equal(array, expected)


def exercise(name, rounds):
    """Use a layer in all ways, wrong ones included; return whose reference counts have changed."""
    subject = LAYERS[name]
    layer, x = subject.layer("float32"), subject.inputs(B, T, "float32")
    lengths, wrong = np.array([2, 0, 4]), np.zeros((1, 1, 9), "float32")
    y, end, tape = layer.forward(x)
    dy, dend = like((y, end), np.random.default_rng(0))
    symbols = np.zeros((B, T), int)
    stream = layer.stream(B) if hasattr(layer, "stream") else None
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
    """In a process of its own, where no other test has left its peak."""
    import resource  # not on Windows

    def peak():  # in kilobytes; macOS counts bytes
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
    # What the interpreter keeps once counts in one of the two, what leaks in both.
    queue.put((references, growth, min(traced[1] - traced[0], traced[2] - traced[1])))


@pytest.mark.skipif(sys.platform == "win32", reason="no module resource")
@pytest.mark.parametrize("name", ROUNDS)
def test_memory_stays(name):
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    child = context.Process(target=watch_memory, args=(name, queue))
    child.start()
    child.join(timeout=300)
    assert child.exitcode == 0
    references, growth, traced = queue.get()
    assert references == {}
    assert growth < 600, f"{growth} kB in {ROUNDS[name]} rounds"
    assert traced < 15_000, f"{traced} bytes in 500 rounds"  # no object is smaller than 30
