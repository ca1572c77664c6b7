"""Program in which every allocation of an operation fails in turn, run by test_allocations.py.

CPython's `_testcapi.set_nomemory(n, n + 1)` lets its n-th allocation from now on fail: those of
objects, and those of the core's workspaces and tapes, which the binding allocates through CPython.
An operation must raise MemoryError or return its normal result, and must not change other arrays.
"""

import _testcapi
import gc
import sys

import numpy as np

import crnn
import crnn._core as _core
from crnn.layers.base.arguments import ForwardOptions
from crnn.seq2seq.encoding import encode
from crnn.seq2seq.planned import decoder_plan, generation_plan
from support.comparing import assert_same_bits
from support.running import copied, fill
from support.tables import CELLS

B, T, I, H, K = 3, 4, 3, 5, 6
ALL = {"layer_norm": True, "clip": 0.7, "learn_state": True, "recurrent_dropout": 0.4}
FLOATS = np.random.default_rng(0).normal(size=(B, T, I))
SYMBOLS = np.random.default_rng(1).integers(0, I, (B, T))
STEPS = {"lengths": [4, 2, 0], "mask": np.arange(B * T).reshape(B, T) % 3 > 0}
STEPS["resets"] = ~STEPS["mask"]


class Operation:
    """An operation, and the arrays that it adds to, which must not change if it fails."""

    def __init__(self, do, *watched):
        self.do, self.watched = do, watched
        self.before = [array.copy() for array in watched]

    def done(self):
        """Return the result and the added values; restore the watched arrays."""
        found = copied({"": self.do(), "watched": list(self.watched)})
        for array, old in zip(self.watched, self.before, strict=True):
            array[...] = old
        return found

    def sweep(self):
        """Let each allocation fail in turn, alone and with all later ones; return their number."""
        expected = self.done()
        counts = [self.fail(expected, lambda n: (n, n + 1)), self.fail(expected, lambda n: (n, 0))]
        assert_same_bits(self.done(), expected)
        return max(counts)

    def fail(self, expected, span):
        n = last = 0
        while n < last + 25:  # an optional allocation may fail without an error
            crnn.release_memory()  # otherwise it would be released, and the allocation repeated
            _testcapi.set_nomemory(*span(n))
            try:
                found = self.do()
            except MemoryError:
                found, last = None, n
            finally:
                _testcapi.remove_mem_hooks()
            if last == n and found is None:
                assert_same_bits(list(self.watched), self.before)
            else:
                assert_same_bits(copied({"": found, "watched": list(self.watched)}), expected)
            for array, old in zip(self.watched, self.before, strict=True):
                array[...] = old
            n += 1
        return last + 1


class Assignment:
    """The state of a stream is set: it is the new one then, or all of it is still the old one."""

    def __init__(self, layer, old, new):
        self.layer, self.old, self.new = layer, old, new

    def sweep(self):
        """Let each allocation fail in turn, alone and with all later ones; return their number."""
        return max(self.fail(lambda n: (n, n + 1)), self.fail(lambda n: (n, 0)))

    def check(self, stream, expected):
        """Compare the state of a stream with a state, or None; a row of it may have more room."""
        if expected is None:
            expected = self.layer.stream(B).state
        assert_same_bits(stream.state, expected)

    def fail(self, span):
        n = last = 0
        while n < last + 25:
            stream, expected = self.layer.stream(B, self.old), self.new
            crnn.release_memory()
            _testcapi.set_nomemory(*span(n))
            try:
                stream.state = self.new
            except MemoryError:
                expected, last = self.old, n
            finally:
                _testcapi.remove_mem_hooks()
            self.check(stream, expected)
            y, _ = self.layer(FLOATS[:, :1], expected)
            assert_same_bits(stream.step(FLOATS[:, 0]), y[:, 0])
            n += 1
        return last + 1


def assignments():
    """Yield assignments of states that need more memory than the stream has, of several layers."""
    blocks = [crnn.TransformerBlock(8, 2, window=window, seed=1) for window in (None, 3, None)]
    layers = [crnn.CausalConv(I, 8, seed=2), crnn.Positions(8, 200, seed=3), *blocks]
    model = fill(crnn.Sequential([*layers, crnn.GRU(8, H, seed=4)]))
    x = np.random.default_rng(3).normal(size=(B, 90, I))
    old, new = (model(x, lengths=lengths)[1] for lengths in ([2, 1, 0], [90, 70, 3]))
    yield Assignment(model, old, new)
    yield Assignment(model, new, old)
    yield Assignment(model, old, None)


def recurrent(layer, x, **options):
    """Return the operations of one layer."""
    y, state, tape = layer.forward(x, **options, call=1)
    dy = np.ones_like(y)
    layer.backward(tape, dy, trace=True)
    layer.zero_grad()
    stream = layer.stream(B)
    names = ("gates", "h", "read", "dh", "dgates", "W_h_terms", "W_h_kept")
    yield Operation(lambda: layer(x, state, **options))
    yield Operation(lambda: layer.forward(x, state, **options, call=1)[:2])
    yield Operation(lambda: layer.backward(tape, dy, state, trace=True), layer.flat_grads)
    yield Operation(lambda: [getattr(tape, name) for name in names])
    yield Operation(lambda: layer.stream(B, state).step(x[:, 0]))
    yield Operation(lambda: (stream.reset([0]), stream.state)[1:])


def bidirectional(merge):
    layer = crnn.Bidirectional(fill(crnn.GRU(I, H, dtype="float64")), merge)
    y, _, tape = layer.forward(FLOATS, **STEPS)
    dy = np.ones_like(y)
    yield Operation(lambda: layer(FLOATS, **STEPS))
    yield Operation(lambda: layer.forward(FLOATS, **STEPS)[:2])
    yield Operation(lambda: layer.check_backward(tape, None))
    yield Operation(lambda: (layer.zero_grad(), layer.backward(tape, dy), dict(layer.grads))[1:])


def functions():
    rows, W, dW = FLOATS.reshape(-1, I), np.ones((I, H)), np.zeros((I, H))
    dy, b, db = np.ones((B * T, H)), np.ones(H), np.zeros(H)
    yield Operation(lambda: _core.dense_forward(rows, W, b))
    yield Operation(lambda: _core.dense_backward(rows, W, dy, dW, db), dW, db)
    yield Operation(lambda: _core.cross_entropy(rows, SYMBOLS.ravel(), 1.0))
    yield Operation(lambda: _core.squared_error(rows.astype("float32"), rows, 1.0))
    drop, norm, valid = ("drop", 0.5, False, (1, 0, 0, 0, 0)), ("norm", 1e-5), STEPS["mask"]
    pair, gains, dgains = (FLOATS, FLOATS.astype("float32")), np.ones(2 * I), np.zeros(2 * I)
    yield Operation(lambda: _core.rowwise_forward(drop, None, (rows,), None, False, False))
    yield Operation(lambda: _core.rowwise_forward(norm, gains, (FLOATS,), valid, True, True))
    _, statistics = _core.rowwise_forward(norm, gains, (FLOATS,), valid, True, True)
    back = norm, gains, (FLOATS,), None, statistics, valid, FLOATS, dgains
    yield Operation(lambda: _core.rowwise_backward(*back), dgains)
    products = ("mul",), None, pair, None, None, valid, FLOATS, None
    yield Operation(lambda: _core.rowwise_backward(*products))
    yield Operation(lambda: _core.pool_forward("max", FLOATS, valid))
    taken = np.zeros((B, I), int)
    yield Operation(lambda: _core.pool_backward("max", FLOATS.shape, valid, taken, FLOATS[:, 0]))
    yield Operation(lambda: _core.embedding_backward(SYMBOLS.ravel(), dy, dW), dW)
    yield Operation(lambda: _core.random_uniform(1, 2, 3, 10))
    yield Operation(lambda: _core.kept(FLOATS))


def searches():
    logits = np.random.default_rng(2).normal(size=(B, K))
    kinds = {}, {"width": 3, "beam": True, "stop": 1}, {"temperature": 1.0, "top_k": 3}
    for options in kinds:
        yield Operation(lambda options=options: searched(logits, options))


def searched(logits, options):
    search = _core.Search(B, K, 20, **options)
    symbols, parents = search.step(logits)
    return symbols, parents, search.result()


def made(layer):
    """Return a new layer of the core with the same arguments."""
    return layer._core_type(I, H, **layer.options).param_views


def sequence_to_sequence():
    decoder = [crnn.LSTM(4 + H, H, seed=2), crnn.Dropout(0.3, seed=3), crnn.GRU(H, H, seed=5)]
    model = crnn.Seq2Seq(
        crnn.GRU(4, H, seed=1),
        crnn.Sequential(decoder),
        source_symbols=K,
        target_symbols=K,
        attention="additive",
        seed=4,
    )
    yield from decoding(model, encode(model, SYMBOLS, None, ForwardOptions(), False))


def decoding(model, encoding):
    plan, memory = decoder_plan(model).core, encoding.memory
    options = None, None, None, True, 1, 0, 0, False
    given = SYMBOLS[:, :3], encoding.state, *options, True, (memory.keys, memory.values, [4, 2, 0])
    y, _, tape = plan.forward(*given)
    parts = model.target_embedding, model.attention, *model.decoder.layers[::2]
    grads = [part.flat_grads for part in parts]
    dy = np.ones_like(y)
    yield Operation(lambda: plan.forward(*given)[:2])
    yield Operation(lambda: plan.backward(model, tape, dy, encoding.state, True), *grads)
    yield Operation(lambda: (tape.weights, repr(tape)))
    source = memory.keys, memory.values, np.array([4, 2, 0])
    logits = generation_plan(model).core
    yield Operation(lambda: generated(logits.stream(B, encoding.state, source), {"width": 2}))


def reading():
    """Return the operations of a block with a memory, and of a decoder of such blocks."""
    options = {"memory_size": 3, "feedforward_size": 3, "dtype": "float64"}
    block = fill(crnn.TransformerBlock(4, 2, **options))
    core, rng = block._plan(0).core, np.random.default_rng(0)
    x, memory = rng.normal(size=(B, T, 4)), rng.normal(size=(B, 5, 3))
    state = None, None, None, memory, [5, 0, 2]
    given = x, state, None, None, STEPS["resets"], True, 1, 0, 0, False, True
    y, after, tape = core.forward(*given)
    node = block._plan(0).described.weights["memory_attention"]
    dy, dstate = np.ones_like(y), (np.ones_like(after[0]), np.ones_like(after[1]), memory)
    grads = [part.flat_grads for part in block.parts.values()]
    yield Operation(lambda: core.forward(*given)[:2])
    yield Operation(lambda: core.backward(block, tape, dy, dstate, False), *grads)
    yield Operation(lambda: tape.attention(node))
    yield Operation(lambda: core.stream(B, state).step(x[:, 0]))
    stream = core.stream(B, state)
    yield Operation(lambda: stream.state)
    encoder = crnn.Dense(2, 3, dtype="float64")
    embedded = {"source_symbols": K, "target_symbols": K}
    model = fill(crnn.Seq2Seq(encoder, crnn.Sequential([block, block]), **embedded))
    source = np.random.default_rng(1).integers(0, K, (B, 5))
    encoding = encode(model, source, np.array([4, 2, 0]), ForwardOptions(), False)
    logits = generation_plan(model).core
    yield Operation(lambda: generated(logits.stream(B, encoding.state), {"width": 2}))


def generated(stream, options):
    start, searches = (
        np.array([0, 2, 1]),
        [
            _core.Search(groups, K, 40, first_group=first, beam=True, stop=1, **options)
            for first, groups in ((0, 1), (1, B - 1))
        ],
    )
    stream._generate(start, tuple(searches))
    return [search.result() for search in searches]


def groups():
    """Return the operations by name."""
    for kind, cell in CELLS.items():
        options = {key: value for key, value in ALL.items() if cell.takes({key: value})}
        layer = fill(cell(I, H, dtype="float64", **options))
        yield kind, recurrent(layer, FLOATS, **STEPS)
        yield f"{kind} symbols", recurrent(fill(cell(I, H)), SYMBOLS)
        yield f"new {kind}", iter([Operation(lambda layer=layer: made(layer))])
    for merge in ("concat", "mul", "mean"):
        yield f"bidirectional {merge}", bidirectional(merge)
    yield "functions", functions()
    yield "searches", searches()
    yield "states of streams", assignments()
    yield "seq2seq", sequence_to_sequence()
    yield "memory", reading()


def main(part, parts):
    gc.disable()
    total = 0
    for name, operations in list(groups())[int(part) :: int(parts)]:
        print(name, end=": ", flush=True)
        counts = [operation.sweep() for operation in operations]
        print(*counts, flush=True)
        total += sum(counts)
    print("swept", total)


if __name__ == "__main__":
    main(*sys.argv[1:])
