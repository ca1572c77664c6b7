"""Layers and arrays are freed: reference counts, memory, and garbage collection."""

import copy
import gc
import multiprocessing
import sys
import weakref

import numpy as np
import pytest

from support.processes import ROUNDS, watch_memory
from support.running import forward_backward
from support.tables import LAYERS

B, T = 3, 4


def test_layers_are_freed_without_garbage_collection():
    """Layers have no reference cycles, so they are freed when they go out of scope."""
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
def test_cycles_are_collected(name):
    class Owned(type(LAYERS[name].make("float32"))):
        """A layer with an attribute that references the layer."""

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


@pytest.mark.skipif(sys.platform == "win32", reason="no module resource")
@pytest.mark.parametrize("name", ROUNDS)
def test_memory_is_constant_over_many_rounds(name):
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
