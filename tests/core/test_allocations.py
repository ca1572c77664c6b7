"""Allocations that fail, and memory that is kept for later calls."""

import gc
import subprocess
import sys
import tracemalloc
import weakref

import numpy as np
import pytest

import crnn
from crnn.layers.base.adapted import named_layers
from support.comparing import assert_same_bits
from support.folders import for_programs
from support.seq2seqs import KINDS, model_of


def run(*arguments):
    """Return the output of a Python program, which must succeed."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=for_programs(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_every_allocation_fails_in_turn():
    """No crash, no SystemError, no half-changed array: see support/allocations.py."""
    pytest.importorskip("_testcapi", reason="CPython's own test module is not installed")
    found = run("-m", "support.allocations", "0", "1")
    assert int(found.split("swept")[1]) > 1500


# --------------------------------------------------------------------------- release of kept memory


def trained(rows=64):
    """Run one training step whose tape is large."""
    layer = crnn.LSTM(64, 64, seed=1)
    y, _, tape = layer.forward(np.ones((rows, 200, 64), "float32"))
    layer.backward(tape, np.ones_like(y))
    return layer.flat_grads.copy()


def test_release_memory():
    trained()
    assert crnn.release_memory() > 20 << 20
    assert crnn.release_memory() == 0
    expected = trained()
    crnn.release_memory()
    assert_same_bits(trained(), expected)


LIMITED = """
import resource, sys
import numpy as np, crnn

def used():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

layer = crnn.LSTM(64, 64, seed=1)
x = np.ones((256, 100, 64), np.float32)
y = layer.forward(x)[0]  # the tape is kept for the next call
del y
kept = used()
resource.setrlimit(resource.RLIMIT_AS, (kept + (4 << 20), -1))
what = {
    "workspace": lambda: crnn.LSTM(64, 64, seed=1).stream(12_000),
    "new array": lambda: crnn.Dense(64, 300)(x),
    "conversion": lambda: crnn.GRU(64, 2)(wide),
}
wide = np.broadcast_to(np.float64(1), (256, 100, 64))
result = what[sys.argv[1]]()
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
print("released" if crnn.release_memory() < 20 << 20 else "kept")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits address space")
@pytest.mark.parametrize("what", ["workspace", "new array", "conversion"])
def test_kept_memory_is_released_before_a_memory_error(what):
    assert run("-c", LIMITED, what) == "released\n"


RELEASED = """
import resource
import numpy as np, crnn

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

layer = crnn.LSTM(64, 64, seed=1)
layer(np.ones((2, 5, 64), np.float32))
before = resident()
layer.forward(np.ones((512, 200, 64), np.float32))
kept = resident() - before
crnn.release_memory()
print(kept >> 20, resident() - before >> 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_released_memory_goes_to_the_operating_system():
    kept, left = map(int, run("-c", RELEASED).split())
    assert kept > 100
    assert left < 16


# ------------------------------------------------------------------------------- garbage collection


@pytest.mark.parametrize("name", KINDS)
def test_a_tape_that_its_model_references_is_freed(name):
    """A tape references arrays but no layers, so a layer may reference it without a cycle."""
    model = model_of(name)
    source, target = KINDS[name].inputs(2, 4, 3)
    logits, tape = model.forward(source, target)
    model.backward(tape, np.ones_like(logits))
    parts = [part for _, part in named_layers(model)]
    for part in parts:
        part.last_tape = tape
    gone = [weakref.ref(part) for part in parts]
    del model, tape, part, parts
    gc.collect()
    assert [ref() for ref in gone] == [None] * len(gone)


class Leading:
    """A tape of a subclass, which references its layer."""

    def __init__(self, tape, layer):
        self.tape, self.layer = tape, layer


def test_a_pair_of_tapes_in_a_cycle_is_freed():
    class Own(crnn.GRU):
        def forward(self, *given, **options):
            y, state, tape = super().forward(*given, **options)
            return y, state, Leading(tape, self)

    layer = crnn.Bidirectional(Own(2, 3))
    tape = layer.forward(np.ones((2, 4, 2), "float32"))[2]
    layer.forward_layer.last_tape = tape
    gone = weakref.ref(tape.forward)
    del layer, tape
    gc.collect()
    assert gone() is None


def test_memory_is_constant_where_a_layer_keeps_its_tape():
    model = KINDS["additive"].model("float32")
    source, target = KINDS["additive"].inputs(64, 60, 50)
    sizes = []
    tracemalloc.start()
    try:
        for _ in range(9):
            model.decoder.last_tape = model.forward(source, target)[1]
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    settled = sizes[4]  # buffers that are used again are there by then
    assert max(sizes[5:]) < 1.05 * settled
