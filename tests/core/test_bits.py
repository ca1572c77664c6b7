"""Bit-identical results: for any batch, any number of threads, and every way to call a layer."""

import ctypes
import multiprocessing
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import crnn
from crnn import reference
from support.comparing import assert_same_bits
from support.running import (
    copied,
    fill,
    forward_backward,
    gradients_like,
    leaves,
    like,
    valid_steps,
)
from support.tables import CELLS, LAYERS, every_cell, every_layer, every_reading

# (B, T, I, H): sizes near multiples of the tiles, and large enough for several threads (a million
# multiply-adds each: csrc/core/threads.c) in every cell.
SMALL = [(2, 3, 3, 5), (7, 2, 2, 16), (8, 3, 5, 17), (15, 4, 1, 33), (9, 1, 17, 1)]
LARGE = (40, 20, 33, 70)
FEW = (3, 40, 64, 260)  # with so few rows threads share the units of every step


def ragged(B, T, seed=0):
    """Return lengths that include 0 and T."""
    lengths = np.random.default_rng(seed).integers(0, T + 1, B)
    lengths[[0, -1]] = [0, T]
    return lengths


def task(kind, shape, dtype, **options):
    """Return a layer, its input and an initial state."""
    B, T, I, H = shape
    rng = np.random.default_rng(shape)
    layer = fill(CELLS[kind](I, H, dtype=dtype, **options), scale=0.5 / np.sqrt(H))
    x = rng.normal(size=(B, T, I)).astype(dtype)
    return layer, x, like(layer(x)[1], rng)


def rows_of(state, rows):
    if isinstance(state, tuple | list):
        return type(state)(rows_of(part, rows) for part in state)
    return None if state is None else state[rows]


# ----------------------------------------------------------------------- a row in different batches


@every_cell
@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
def test_a_row_alone(kind, reverse, dtype, isa, threads):
    threads(3)
    for shape in [*SMALL, LARGE]:
        layer, x, state = task(kind, shape, dtype, reverse=reverse)
        lengths = ragged(*shape[:2])
        y, end, tape = layer.forward(x, state, lengths=lengths)
        for b in range(shape[0]) if shape != LARGE else (1, 17, 39):
            row, n = slice(b, b + 1), lengths[b]
            alone_y, alone_end, alone = layer.forward(x[row, :n], rows_of(state, row))
            assert_same_bits([alone_y, alone_end], [y[row, :n], rows_of(end, row)])
            assert_same_bits(alone.h, tape.h[row, :n])


@every_cell
def test_a_row_in_any_batch(kind, dtype, isa):
    """With other rows, in another order, and with more padding."""
    layer, x, state = task(kind, (15, 5, 3, 33), dtype)
    lengths = ragged(15, 5)
    whole = layer(x, state, lengths=lengths)
    order = np.random.default_rng(1).permutation(15)
    for rows in (order, order[:8], order[3:7], np.repeat(order[:2], 5)):
        wider = np.concatenate([x[rows], x[rows]], axis=1)
        y, end = layer(wider, rows_of(state, rows), lengths=lengths[rows])
        assert_same_bits([y[:, :5], end], [whole[0][rows], rows_of(whole[1], rows)])


@every_reading
def test_a_row_alone_in_every_layer(name, symbols, dtype):
    subject = LAYERS[name]
    layer, x = subject.layer(dtype), subject.inputs(9, 4, dtype, symbols)
    lengths = ragged(9, 4)
    y, end = layer(x, lengths=lengths)
    for b, n in enumerate(lengths):
        alone_y, alone_end = layer(x[b : b + 1, :n])
        own = y[b : b + 1, :n] if y.ndim > 2 else y[b : b + 1]
        assert_same_bits(alone_y, own)
        found, expected = leaves(alone_end), leaves(rows_of(end, slice(b, b + 1)))
        for key, array in found.items():  # of attention a state has as many steps as were read
            longer = array.ndim == 3 and array.shape[1] < expected[key].shape[1]
            first = expected[key].shape[1] - array.shape[1] if longer else 0
            assert_same_bits(array, expected[key][:, first:] if longer else expected[key])


# ------------------------------------------------------------------------------------------ threads


def everything(layer, x, state, lengths=None):
    found = forward_backward(layer, x, state, lengths=lengths)
    return found | {"called": layer(x, state, lengths=lengths)[0]}


@every_cell
@pytest.mark.parametrize("shape", [LARGE, FEW], ids=["large", "few"])
def test_any_number_of_threads(kind, shape, dtype, isa, threads):
    layer, x, state = task(kind, shape, dtype)
    symbols = np.random.default_rng(0).integers(0, shape[2], shape[:2])
    found = {}
    for n in (1, 2, 3, 5):
        threads(n)
        found[n] = [
            everything(layer, x, state),
            everything(layer, x, state, ragged(*shape[:2])),
            everything(layer, symbols, state),
        ]
        assert_same_bits(found[n], found[1])


def test_any_number_of_threads_in_dense(dtype, isa, threads):
    layer = fill(crnn.Dense(67, 70, dtype=dtype))
    x, found = np.random.default_rng(0).normal(size=(45, 13, 67)), {}
    for n in (1, 2, 3, 5):
        threads(n)
        found[n] = everything(layer, x, None, ragged(45, 13))
        assert_same_bits(found[n], found[1])


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
@every_cell
def test_the_sizes_above_use_the_pool(kind, threads):
    """In a new process, because threads that were started once remain."""
    program = (
        "import os, numpy as np, crnn; crnn.set_num_threads(5); "
        f"layer = crnn.{CELLS[kind].layer.__name__}(*{LARGE[2:]}, **{CELLS[kind].options}); "
        f"x = np.zeros({LARGE[:3]}, 'float32'); "
        "before = len(os.listdir('/proc/self/task')); layer(x); "
        "print(len(os.listdir('/proc/self/task')) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(done.stdout) == 4


def test_one_layer_in_several_python_threads(dtype, threads):
    """Forward at the same time: the thread pool runs one call, the other calls run without it."""
    for kind in CELLS:
        layer, x, state = task(kind, LARGE, dtype)
        threads(3)
        lengths = ragged(*LARGE[:2])

        def run(_, layer=layer, x=x, state=state, lengths=lengths):
            y, end, tape = layer.forward(x, state, lengths=lengths)
            return copied([y, end, tape.gates, tape.h, layer(x, state)])

        expected = run(None)
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(run, range(12)):
                assert_same_bits(found, expected)


def test_several_layers_in_several_python_threads(threads):
    """Backward at the same time, each into the gradients of another layer."""
    threads(3)
    made = [(kind, task(kind, LARGE, "float32")) for kind in CELLS for _ in range(2)]
    expected = {kind: everything(*parts) for kind, parts in made}
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda one: everything(*one[1]), made)
        for (kind, _), result in zip(made, found, strict=True):
            assert_same_bits(result, expected[kind])


def _in_child(kind, dtype, queue):
    queue.put(everything(*task(kind, LARGE, dtype)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_after_fork(threads, dtype):
    threads(4)
    expected = everything(*task("lstm", LARGE, dtype))  # starts the threads of the pool
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=_in_child, args=("lstm", dtype, queue)) for _ in range(2)]
    for child in children:
        child.start()
    try:
        for _ in children:
            assert_same_bits(queue.get(timeout=60), expected)
        for child in children:
            child.join(timeout=60)
            assert child.exitcode == 0
    finally:
        for child in children:
            child.kill()
    assert_same_bits(everything(*task("lstm", LARGE, dtype)), expected)


# ---------------------------------------------------------------------- the caller's floating point

ROUND_UP = {"x86_64": 0x800, "aarch64": 0x400000}.get(platform.machine())


@pytest.fixture
def rounding_up():
    """Return a function that sets the rounding mode of this thread: up, or to nearest."""
    if not sys.platform.startswith("linux") or ROUND_UP is None:
        pytest.skip("how to set the rounding is not known here")
    libm = ctypes.CDLL("libm.so.6")
    yield lambda up: libm.fesetround(ROUND_UP if up else 0)
    libm.fesetround(0)


def test_the_rounding_mode_of_the_caller_changes_no_bit(rounding_up, threads, dtype):
    layer, x, state = task("lstm", LARGE, dtype)
    dense = crnn.Dense(70, 300, seed=0, dtype=dtype)
    h = layer(x)[0]

    def results():
        for each in (layer, dense):
            each.zero_grad()
        y, end, tape = layer.forward(x, state)
        dx, back = layer.backward(tape, h, end)
        logits, _, dense_tape = dense.forward(h)
        dh, _ = dense.backward(dense_tape, logits)
        return copied([y, end, dx, back, layer.grads, logits, dh, dense.grads["W"]])

    expected = results()
    for n in (1, 3):
        threads(n)
        rounding_up(True)
        found = results()
        assert np.float64(1) + np.float64(1e-30) > 1, "the caller's own rounding is back"
        rounding_up(False)
        assert_same_bits(found, expected)


def test_threads_started_by_a_caller_that_rounds_up(rounding_up):
    program = (
        "import ctypes, crnn, numpy as np; libm = ctypes.CDLL('libm.so.6'); "
        "layer = crnn.LSTM(64, 128, seed=0); x = np.ones((32, 50, 64), 'float32'); "
        f"crnn.set_num_threads(3); libm.fesetround({ROUND_UP}); layer(x); libm.fesetround(0); "
        "dense = crnn.Dense(256, 512, seed=0); found = []\n"
        "xs = np.random.default_rng(0).standard_normal((64, 100, 256)).astype('float32')\n"
        "for n in (1, 3):\n"
        "    crnn.set_num_threads(n); dense.zero_grad(); y, _, tape = dense.forward(xs)\n"
        "    found.append([dense.backward(tape, y)[0].tobytes(), dense.grads['W'].tobytes()])\n"
        "print(found[0] == found[1])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.split() == [b"True"]


@every_cell
def test_subnormal_numbers_of_the_caller_stay(kind, dtype, isa, threads):
    """Kernels treat them as zero; outside of the kernels they remain, also after an error."""
    threads(2)
    tiny = np.array([np.finfo(dtype).tiny], dtype)
    layer, x, state = task(kind, LARGE, dtype)
    everything(layer, x * tiny, state)
    with pytest.raises(ValueError, match="x: expected"):
        layer(x[0])
    assert (tiny * np.array([0.5], dtype))[0] > 0


# ------------------------------------------------------------------ different calls with one result


@every_cell
@pytest.mark.parametrize("lengths", [False, True], ids=["full", "lengths"])
def test_integers_are_one_hot_rows(kind, lengths, dtype, isa):
    for shape in [*SMALL, LARGE]:
        layer, _, state = task(kind, shape, dtype, reverse=lengths)
        ends = ragged(*shape[:2]) if lengths else None
        symbols = np.random.default_rng(0).integers(0, shape[2], shape[:2])
        hot = reference.one_hot(symbols, shape[2])
        found = forward_backward(layer, symbols, state, lengths=ends)
        expected = forward_backward(layer, hot, state, lengths=ends)
        expected.pop("dx")
        assert_same_bits(found, expected)


@every_reading
def test_forward_is_call_in_every_layer(name, symbols, dtype):
    subject, lengths = LAYERS[name], ragged(9, 4)
    layer, x = subject.layer(dtype), subject.inputs(9, 4, dtype, symbols)
    for ends in (None, lengths):
        y, end, _ = layer.forward(x, lengths=ends, training=False)
        assert_same_bits([y, end], layer(x, lengths=ends))
        if end is not None:
            state = like(end, np.random.default_rng(0))
            y, end, _ = layer.forward(x, state, lengths=ends, training=False)
            assert_same_bits([y, end], layer(x, state, lengths=ends))


@every_cell
def test_forward_is_call(kind, dtype, isa):
    for shape in [*SMALL, LARGE]:
        for reverse in (False, True):
            layer, x, state = task(kind, shape, dtype, reverse=reverse)
            lengths = ragged(*shape[:2])
            y, end, tape = layer.forward(x, state, lengths=lengths)
            assert_same_bits([y, end], layer(x, state, lengths=lengths))
            assert_same_bits(tape.h, y)


@every_layer
def test_a_second_run_equals_the_first(name, dtype):
    """A layer has no hidden state between calls."""
    subject = LAYERS[name]
    layer, x = subject.layer(dtype), subject.inputs(9, 4, dtype)
    first = forward_backward(layer, x)
    layer(subject.inputs(5, 7, dtype, seed=2), lengths=ragged(5, 7))
    forward_backward(layer, subject.inputs(5, 7, dtype, seed=2))
    assert_same_bits(forward_backward(layer, x), first)


@every_cell
def test_old_contents_of_buffers_are_not_read(kind, dtype, isa):
    """Buffers of earlier calls are used again; here they contain NaN."""
    layer, x, state = task(kind, LARGE, dtype)
    lengths = ragged(*LARGE[:2])
    expected = everything(layer, x, state, lengths)
    for ends in (None, lengths):
        everything(layer, np.full_like(x, np.nan), state, ends)
    assert_same_bits(everything(layer, x, state, lengths), expected)


def test_memory_of_results_is_not_reused_while_they_exist(dtype):
    """It is reused only after a result and all views of it are freed."""
    made = {kind: task(kind, LARGE, dtype) for kind in CELLS}
    kept, expected = [], []
    for _ in range(3):
        for layer, x, state in made.values():
            y, end, tape = layer.forward(x, state)
            dx, dstate = layer.backward(tape, y, end)
            kept.append([y[1:, ::2], dx.T[0], end, dstate, tape.h, layer(x)[0].reshape(-1)[7:]])
            expected.append(copied(kept[-1]))
            del y, dx, tape
    for one, twin in zip(kept, expected, strict=True):
        assert_same_bits(one, twin)


@every_cell
def test_windows_are_the_whole(kind, dtype, isa):
    """Windows of a sequence, with the state passed on, equal the whole sequence."""
    layer, x, state = task(kind, (8, 9, 5, 17), dtype)
    y, end = layer(x, state)
    for cut in (0, 1, 4, 9):
        first, middle = layer(x[:, :cut], state)
        last, final = layer(x[:, cut:], middle)
        assert_same_bits([np.concatenate([first, last], axis=1), final], [y, end])


# ------------------------------------------------------------------------------------------ streams


@every_cell
@pytest.mark.parametrize("symbols", [False, True], ids=["floats", "symbols"])
def test_steps_of_a_stream_are_forward(kind, symbols, dtype, isa):
    for shape in [(1, 5, 3, 5), (1, 5, 5, 65), *SMALL]:
        layer, x, state = task(kind, shape, dtype)
        if symbols:
            x = np.random.default_rng(0).integers(0, shape[2], shape[:2])
        y, end = layer(x, state)
        stream = layer.stream(shape[0], state)
        assert_same_bits(stream.state, state)
        layer.flat_params[...] = 0  # the stream has a copy of the weights
        del layer
        assert_same_bits(np.stack([stream.step(x[:, t]) for t in range(shape[1])], axis=1), y)
        assert_same_bits(stream.state, end)


@every_cell
def test_the_initial_state_of_a_stream(kind, dtype):
    layer, x, state = task(kind, (4, 3, 5, 17), dtype)
    stream, zero = layer.stream(batch_size=4), layer.stream(4)
    assert not any(part.any() for part in leaves(stream.state).values())
    first = [stream.step(x[:, t]) for t in range(3)]
    given = copied(stream.state)
    for part in leaves(stream.state).values():
        part[...] = np.nan  # a copy
    assert_same_bits(stream.state, given)

    stream.reset(rows=[2, 0])
    state = rows_of(stream.state, slice(None))
    for part, old in zip(leaves(state).values(), given.values(), strict=True):
        assert not part[[0, 2]].any()
        np.testing.assert_array_equal(part[[1, 3]], old[[1, 3]])
    y = stream.step(x[:, 0])
    np.testing.assert_array_equal(y[[0, 2]], first[0][[0, 2]])
    stream.reset([])
    stream.reset()
    assert_same_bits([stream.step(x[:, t]) for t in range(3)], first)

    stream.state = state
    assert_same_bits(stream.state, state)
    zero.state = state
    for t in range(3):
        assert_same_bits(stream.step(x[:, t]), zero.step(x[:, t]))
    stream.state = None
    assert_same_bits(stream.step(x[:, 0]), first[0])


@every_cell
def test_a_stream_keeps_its_instruction_set(kind, dtype, isa):
    """Its weights are packed for the instruction set at its creation."""
    layer, x, _ = task(kind, (3, 2, 5, 17), dtype)
    stream = layer.stream(3)
    expected = layer(x)[0]
    before = crnn._core.isa()
    assert before == isa
    try:
        for other in crnn._core.isa_available():
            crnn._core.select_isa(other)
            stream.reset()
            assert_same_bits(np.stack([stream.step(x[:, t]) for t in range(2)], axis=1), expected)
    finally:
        crnn._core.select_isa(before)


@every_cell
def test_a_tape_keeps_its_instruction_set(kind, dtype, isa):
    layer, x, state = task(kind, (3, 2, 5, 17), dtype)
    expected = forward_backward(layer, x, state)
    y, end, tape = layer.forward(x, state)
    dy, dend = gradients_like([y, end], np.random.default_rng(5))
    gates = copied(tape.gates)
    try:
        for other in crnn._core.isa_available():
            crnn._core.select_isa(other)
            layer.zero_grad()
            dx, dstate = layer.backward(tape, dy, dend)
            found = {"y": y, "state": end, "dx": dx, "dstate": dstate, "grads": dict(layer.grads)}
            assert_same_bits(found, expected)
            assert_same_bits(tape.gates, gates)
    finally:
        crnn._core.select_isa(isa)


def test_the_helper_of_valid_steps():
    """Many tests depend on valid_steps, so its result is compared with numbers here."""
    assert valid_steps([2, 0, 3], 3).tolist() == [[True, True, False], [False] * 3, [True] * 3]
