"""Python threads that share layers, tapes and settings.

Any number of threads may run forward on one layer at the same time. Two may not add to the same
gradients at a time: the second backward raises RuntimeError and changes nothing.
"""

import contextlib
import copy
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import crnn
import crnn._core as _core
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.compose.bidirectional import Pair
from crnn.seq2seq import fused
from crnn.seq2seq.encoding import encode
from support.comparing import assert_same_bits
from support.running import copied, fill
from support.tables import CELLS, LAYERS

THREADS, ROUNDS = 4, 30
LARGE = 40, 60, 64, 96  # B, T, I, H: a backward of some milliseconds


@pytest.fixture(autouse=True)
def frequent_switches():
    """Make Python switch threads often, so that race conditions occur."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def together(*functions):
    """Run each function in a new thread at the same time; raise an error of any of them."""
    start = threading.Barrier(len(functions))

    def run(function):
        start.wait()
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        return [future.result() for future in [pool.submit(run, one) for one in functions]]


def large(seed=0):
    B, T, I, H = LARGE
    layer = fill(crnn.LSTM(I, H, seed=1), scale=0.1)
    return layer, np.random.default_rng(seed).normal(size=(B, T, I)).astype("float32")


# --------------------------------------------------------------------------------- at the same time


@pytest.mark.parametrize("name", ["lstm", "gru_before", "bidirectional-mul", "sequential", "tied"])
def test_forward_in_many_threads(name):
    layer = LAYERS[name].layer()
    inputs = [LAYERS[name].inputs(3, 7, seed=seed) for seed in range(THREADS)]
    expected = [layer(x) for x in inputs]

    def work(x, right):
        for _ in range(ROUNDS):
            assert_same_bits(layer(x), right)
            assert_same_bits(layer.forward(x, training=False)[:2], right)

    together(*(lambda x=x, r=r: work(x, r) for x, r in zip(inputs, expected, strict=True)))


def test_copies_train_in_many_threads():
    """Each thread has another model, so that no backward is refused."""
    model = LAYERS["sequential-bidirectional"].layer()
    x = LAYERS["sequential-bidirectional"].inputs(3, 6)

    def work(own):
        own.zero_grad()
        for _ in range(ROUNDS):
            y, _, tape = own.forward(x)
            own.backward(tape, np.ones_like(y))
        return copied(dict(own.grads))

    models = [copy.deepcopy(model) for _ in range(THREADS)]
    found = together(*(lambda own=own: work(own) for own in models))
    assert_same_bits(found[1:], found[:1] * (THREADS - 1))


# ---------------------------------------------------------------------------- backward of one layer


class Halting:
    """A gradient that halts its thread inside backward until another thread continues it."""

    def __init__(self):
        self.inside, self.go_on = threading.Event(), threading.Event()

    def wait(self):
        self.inside.set()
        assert self.go_on.wait(60)


def halting_part(halt):
    """Return a layer that halts in backward, while the backward of its model has begun."""

    class Halt(crnn.Dense):
        def _rows_back(self, memory, dy):
            found = super()._rows_back(memory, dy)
            if threading.current_thread() is not threading.main_thread():
                halt.wait()
            return found

    return Halt(3, 3, dtype="float64", seed=1)


def models(part):
    """Return compositions that contain a part and a recurrent layer."""
    gru = crnn.GRU(3, 3, dtype="float64", seed=2)
    return {
        "alone": (part, part),
        "in front": (stack := crnn.Sequential([part, gru]), stack),
        "behind": (stack := crnn.Sequential([gru, part]), stack),
        "nested": (stack := crnn.Sequential([crnn.Residual(crnn.Sequential([gru, part]))]), stack),
        "a part of the other": (crnn.Sequential([gru, part]), gru),
        "two models with one part": (crnn.Sequential([part]), crnn.Sequential([gru, part])),
        "checkpointed": (c := crnn.Checkpointed(crnn.Sequential([gru, part]), 2), c),
        "bidirectional": (
            crnn.Sequential([b := crnn.Bidirectional(gru, "sum"), part]),
            b,
        ),
    }


@pytest.mark.parametrize("name", models(crnn.Dense(3, 3)))
def test_a_second_backward_is_refused_and_changes_nothing(name):
    halt = Halting()
    first, second = models(halting_part(halt))[name]
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    (y1, _, tape1), (y2, _, tape2) = first.forward(x), second.forward(x)
    with ThreadPoolExecutor(1) as pool:
        walk = pool.submit(first.backward, tape1, np.ones_like(y1))
        try:
            assert halt.inside.wait(60)
            before = copied(dict(second.grads))
            with pytest.raises(RuntimeError, match="another thread"):
                second.backward(tape2, np.ones_like(y2))
            assert_same_bits(copied(dict(second.grads)), before)
            twin = copy.deepcopy(second)  # with other gradient arrays
            twin.backward(tape2, np.ones_like(y2))
        finally:
            halt.go_on.set()
        walk.result()
    second.backward(tape2, np.ones_like(y2))  # after the first has ended


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_can_run_backward_during_one_of_the_parent():
    halt = Halting()
    part = halting_part(halt)
    x = np.ones((2, 5, 3))
    y, _, tape = part.forward(x)
    with ThreadPoolExecutor(1) as pool:
        walk = pool.submit(part.backward, tape, np.ones_like(y))
        try:
            assert halt.inside.wait(60)
            child = os.fork()
            if child == 0:
                try:
                    part.backward(tape, np.ones_like(y))
                    os._exit(7)
                finally:
                    os._exit(1)
        finally:
            halt.go_on.set()
        walk.result()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.parametrize("kind", CELLS)
def test_no_gradient_is_lost(kind):
    """Each backward either adds its whole gradient or raises."""
    B, T, I, H = LARGE
    layer = fill(CELLS[kind](I, H), scale=0.05)
    x = np.random.default_rng(0).normal(size=(B, T, I)).astype("float32")
    y, _, tape = layer.forward(x)
    dy = np.ones_like(y)
    done = []

    def work():
        for _ in range(5):
            with contextlib.suppress(RuntimeError):
                layer.backward(tape, dy)
                done.append(1)

    layer.zero_grad()
    together(*[work] * THREADS)
    found = layer.flat_grads.copy()
    layer.zero_grad()
    for _ in done:
        layer.backward(tape, dy)
    assert done
    assert_same_bits(found, layer.flat_grads)


def test_backward_inside_backward_of_one_thread_is_allowed():
    """A layer that occurs twice adds twice; a layer of the user may call other layers."""
    shared = crnn.GRU(3, 3, dtype="float64", seed=1)
    model = crnn.Sequential([shared, crnn.Residual(shared)])
    x = np.ones((2, 4, 3))
    y, _, tape = model.forward(x)
    model.backward(tape, np.ones_like(y))
    assert np.abs(shared.flat_grads).max() > 0
    with _core.Writing(model), _core.Writing(shared):
        model.backward(tape, np.ones_like(y))


def test_backward_of_one_tape_in_several_models():
    """An embedding and the layer after it share a table in the tape."""
    model = crnn.Sequential([crnn.Embedding(50, 32, seed=1), crnn.LSTM(32, 64, seed=2)])
    models = [copy.deepcopy(model) for _ in range(THREADS)]
    y, _, tape = model.forward(np.random.default_rng(0).integers(0, 50, (16, 30)))

    def work(own):
        own.zero_grad()
        for _ in range(ROUNDS):
            own.backward(tape, np.ones_like(y))
        return copied(dict(own.grads))

    found = together(*(lambda own=own: work(own) for own in models))
    assert_same_bits(found, [work(model)] * THREADS)


def test_backward_can_run_after_an_error_in_backward():
    class Broken(crnn.Dense):
        def backward(self, tape, dy, dstate=None):
            raise ZeroDivisionError

    gru = crnn.GRU(3, 3, dtype="float64", seed=1)
    model = crnn.Sequential([Broken(3, 3, dtype="float64"), gru])
    y, _, tape = model.forward(np.ones((2, 4, 3)))
    with pytest.raises(ZeroDivisionError):
        model.backward(tape, np.ones_like(y))
    y, _, tape = gru.forward(np.ones((2, 4, 3)))
    together(lambda: gru.backward(tape, np.ones_like(y)))


# ----------------------------------------------------------------- __init__ while a layer is in use


def remake(layer, other):
    """Run __init__ and __setstate__ on a layer, with smaller and with larger sizes."""
    states = [copy.deepcopy(one).__reduce__()[2] for one in (layer, other)]
    for _ in range(ROUNDS):
        for state in states:
            layer.__setstate__(state)
        type(layer).__init__(layer, 2, 3)
        layer.__setstate__(states[0])


@pytest.mark.parametrize("kind", CELLS)
def test_a_layer_made_anew_while_it_is_in_use(kind):
    """Every call uses the old or the new layer; it succeeds or raises."""
    B, T, I, H = 8, 40, 32, 48
    layer, other = (fill(CELLS[kind](I, size), scale=0.1) for size in (H, 2 * H))
    x = np.random.default_rng(0).normal(size=(B, T, I)).astype("float32")
    ends = {3, H, 2 * H}

    def use():
        for _ in range(ROUNDS):
            with contextlib.suppress(
                RuntimeError, ValueError
            ):  # the layer has other sizes, or is in use
                y, _, tape = layer.forward(x)
                assert y.shape[2] in ends
                layer.backward(tape, np.ones_like(y))
                layer.stream(2).step(x[:2, 0])

    together(use, use, lambda: remake(layer, other))


def test_an_argument_that_initializes_the_layer_again():
    class Remakes:
        def __array__(self, dtype=None, copy=None):
            layer.__init__(3, 50)
            return np.ones((2, 4))

    layer = crnn.GRU(3, 4, dtype="float64")
    x = np.ones((2, 5, 3))
    assert layer.forward(x, Remakes())[0].shape == (2, 5, 4)
    layer.__init__(3, 4, dtype="float64")
    y, _, tape = layer.forward(x)
    _, dstate = layer.backward(tape, np.ones_like(y), Remakes())
    assert dstate.shape == (2, 4)


def test_bidirectional_made_anew_while_it_is_in_use():
    twins = [crnn.Bidirectional(crnn.GRU(8, size, seed=1)) for size in (16, 24)]
    layer = crnn.Bidirectional(twins[0].forward_layer)
    x, stop = np.ones((64, 100, 8), "float32"), threading.Event()

    def use():
        try:
            for _ in range(2 * ROUNDS):
                y, _, tape = layer.forward(x)
                assert y.shape[2] in (32, 48)  # both directions of the same pair
                with contextlib.suppress(RuntimeError, ValueError):
                    layer.backward(tape, np.ones_like(y))
        finally:
            stop.set()

    def change():
        while not stop.is_set():
            for twin in twins:
                layer._pair = Pair(twin.forward_layer, twin.backward_layer, "concat")

    together(use, change)


# ---------------------------------------------------------------------------- settings and searches


def test_one_instruction_set_for_each_call():
    """Another thread changes the instruction set between two calls, never during one."""
    rng = np.random.default_rng(0)
    dense = crnn.Dense(300, 200, seed=1)
    x = rng.normal(size=(3, 40, 300)).astype("float32")
    before, names, right = _core.isa(), _core.isa_available(), set()
    stop = threading.Event()

    def result():
        return dense.forward(x)[0].tobytes()

    def change():
        while not stop.is_set():
            for name in names:
                _core.select_isa(name)

    try:
        for name in names:
            _core.select_isa(name)
            right.add(result())

        def use():
            try:
                return [result() in right for _ in range(10 * ROUNDS)]
            finally:
                stop.set()

        found, _ = together(use, change)
    finally:
        _core.select_isa(before)
    assert all(found)


def test_a_search_that_a_generation_uses_is_not_used_twice():
    K, rows = 9, 16
    model = crnn.Seq2Seq(
        crnn.GRU(8, 64, seed=1), crnn.GRU(8, 64, seed=2), source_symbols=K, target_symbols=K, seed=3
    )
    source = np.random.default_rng(0).integers(0, K, (rows, 5))
    encoding = encode(model, source, None, ForwardOptions(training=False), False)
    search, start, refused = _core.Search(rows, K, 4000), np.zeros(rows, np.int64), []

    def use():
        try:
            fused.generate_symbols(model, encoding, start, [search])
        except (RuntimeError, ValueError) as error:
            refused.append(str(error))

    together(use, use)
    assert len(refused) == 1
    assert search.done
