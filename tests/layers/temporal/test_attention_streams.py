"""Streams and generation with attention: memory that grows, rows that begin anew, end and branch.

Letters: B sequences, T steps, H features, K symbols.
"""

import signal
import tracemalloc

import numpy as np
import pytest

import crnn
import crnn._core as _core
from crnn.layers.compose.streams import stream_of
from support.attentions import B, H, first_state, inputs, layer_of, seen_of
from support.comparing import assert_close, assert_same_bits
from support.running import fill

KINDS = ("all", "window", "window-1", "block", "block-window")
every_kind = pytest.mark.parametrize("kind", KINDS)
K, MANY = 7, 300  # more steps than several enlargements of a memory


@every_kind
def test_many_steps(kind, dtype, isa, threads):
    """State read and set in between, past several enlargements."""
    threads(2)
    layer = layer_of(kind, dtype)
    x, state = inputs(dtype, steps=MANY), first_state(layer)
    y, end = layer(x, state)
    stream = layer.stream(B, state)
    for t in range(MANY):
        assert_same_bits(stream.step(x[:, t]), y[:, t])
        if t in (61, 62, 63, 127, 200):
            other, now = layer.stream(B), stream.state
            stream.state = now
            other.state = now
            assert_same_bits(seen_of(now), seen_of(layer(x[:, : t + 1], state)[1]))
            assert_same_bits(other.step(x[:, t + 1]), y[:, t + 1])
    assert_same_bits(seen_of(stream.state), seen_of(end))
    if layer.window:
        assert stream.state[0].shape == (B, layer.window - 1, H)


@every_kind
@pytest.mark.parametrize("when", [0, 5, 64, 130])
def test_rows_begin_anew(kind, when, dtype, isa):
    """A row that was reset has the bits of a new one; its neighbours do not change."""
    layer = layer_of(kind, dtype)
    x, state = inputs(dtype, steps=200), first_state(layer)
    y, whole = layer(x, state)
    anew, end = layer(x[:, when:])
    stream = layer.stream(B, state)
    for t in range(200):
        if t == when:
            stream.reset([1, 4])
        out = stream.step(x[:, t])
        rows = [0, 2, 3, 5] if t >= when else range(B)
        assert_same_bits(out[rows], y[rows, t])
        if t >= when:
            assert_same_bits(out[[1, 4]], anew[[1, 4], t - when])
    k, v, steps = stream.state
    np.testing.assert_array_equal(steps[[1, 4]], 200 - when)
    for rows, part in (([1, 4], end), ([0, 2, 3, 5], whole)):
        own = tuple(a[rows] for a in (k, v, steps))
        assert_same_bits(seen_of(own), seen_of(tuple(a[rows] for a in part)))


@pytest.mark.parametrize("kind", ["all", "block"])
@pytest.mark.parametrize("rows", [None, [0]], ids=["all rows", "a row"])
def test_the_memory_does_not_grow_over_resets(kind, rows):
    """It is that of the steps that rows have seen, not of the steps of the stream."""
    layer = layer_of(kind, "float64")
    x = inputs(steps=50, rows=1)
    y, _ = layer(x)
    stream, most = layer.stream(), 0
    for _ in range(40):
        for t in range(50):
            assert_same_bits(stream.step(x[:, t]), y[:, t])
        most = max(most, stream.state[0].shape[1])
        stream.reset(rows)
    assert 50 <= most <= 300
    assert stream.state[2] == [0]
    stream.reset()
    assert stream.state[0].shape == (1, 0, H)


def test_a_long_run_in_constant_memory():
    """20,000 steps of blocks with a window of 16."""
    layers = [crnn.TransformerBlock(H, 2, window=16, seed=k) for k in range(2)]
    model = crnn.Sequential(layers)
    x = np.random.default_rng(0).normal(size=(1, 100, H)).astype("float32")
    stream = model.stream(1)
    for t in range(100):
        stream.step(x[:, t])
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for t in range(20_000):
            y = stream.step(x[:, t % 100])
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.isfinite(y).all()
    assert after - before < 2000
    assert peak - before < 20_000
    state = stream.state
    assert [part[0].shape for part in state] == [(1, 15, H)] * 2
    assert [list(part[2]) for part in state] == [[20_100]] * 2


@pytest.mark.parametrize("kind", ["window", "window-1", "block-window"])
def test_a_state_of_far_positions(kind):
    """Positions count on: a stream of a state has the bits of a call, far from the beginning."""
    layer = layer_of(kind, "float64")
    k, v, _ = first_state(layer)
    state = np.nan_to_num(k), np.nan_to_num(v), np.array([0, 10**3, 10**6, 10**9, 10**12, 2**60])
    x = inputs(steps=20)
    y, end = layer(x, state)
    stream = layer.stream(B, state)
    for t in range(20):
        assert_same_bits(stream.step(x[:, t]), y[:, t])
    np.testing.assert_array_equal(end[2], state[2] + 20)
    assert_same_bits(seen_of(stream.state), seen_of(end))


# -------------------------------------------------------------------------------------- generation


def language_model(window=None, dtype="float64", heads=2, depth=2, seed=0):
    options = {"window": window, "dtype": dtype}
    blocks = [crnn.TransformerBlock(H, heads, seed=k, **options) for k in range(depth)]
    layers = [crnn.Embedding(K, H, dtype=dtype, seed=1), *blocks]
    layers += [crnn.LayerNorm(H, dtype=dtype), crnn.Dense(H, K, dtype=dtype, seed=2)]
    model = fill(crnn.Sequential(layers), seed, 0.7)
    for name, array in model.params.items():
        if name.endswith(("W_o", "linear2.W")):
            array *= 0.3
    # The next symbol is likely, so that they are not always the same.
    last, E = depth + 2, np.eye(K, H)
    model.params["0.W"], model.params[f"{last}.W"] = 4 * E, np.roll(E, 1, axis=0)
    model.params[f"{last - 1}.gain"] = 1
    model.params[f"{last - 1}.bias"] = model.params[f"{last}.b"] = 0
    return model


def chosen(state, rows):
    """Return the rows of a nested state, in this order."""
    if isinstance(state, list | tuple):
        return type(state)(chosen(part, rows) for part in state)
    return None if state is None else state[rows]


START = np.array([0, 3, 5, 1])


@pytest.mark.parametrize("window", [None, 5, 1])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_greedy(window, count, dtype, isa, threads):
    threads(count)
    model = language_model(window, dtype)
    symbols = crnn.generate(model, START, MANY)
    x = np.concatenate([START[:, None], symbols[:, :-1]], axis=1)
    np.testing.assert_array_equal(symbols, model(x)[0].argmax(axis=2))
    assert len(np.unique(symbols)) > 2


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("steps", [0, 3, 90])
def test_from_a_state(window, steps, threads):
    threads(2)
    model = language_model(window)
    prompt = np.random.default_rng(0).integers(0, K, (4, steps))
    _, state = model(prompt, lengths=[steps, 0, steps // 2, steps])
    symbols = crnn.generate(model, START, MANY, state=state)
    x = np.concatenate([START[:, None], symbols[:, :-1]], axis=1)
    np.testing.assert_array_equal(symbols, model(x, state)[0].argmax(axis=2))


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize(
    "options",
    [{"temperature": 1.0}, {"temperature": 0.7, "top_k": 3, "stop": 2}, {"stop": 4}],
    ids=["sampled", "stopped", "greedy-stopped"],
)
def test_generation_is_what_single_steps_give(window, options, threads):
    threads(2)
    model = language_model(window, seed=3)
    seed = {"seed": 3} if "temperature" in options else {}
    symbols = crnn.generate(model, START, MANY, **options, **seed)
    search = _core.Search(4, K, MANY, **options, **seed)
    stream, x = stream_of(model, 4, None), START.copy()
    rows, logits = np.arange(4), stream.step(START)
    while not search.done:
        found, parents = search.step(logits[rows])
        rows = rows[parents]
        x[rows] = found
        if not search.done:
            logits = stream.step(x)
    tokens = search.result()[0][:, 0]
    np.testing.assert_array_equal(symbols[:, : tokens.shape[1]], tokens)


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("options", [{}, {"stop": 4}, {"stop": 4, "length_penalty": 0.8}])
def test_beams(window, options, dtype, threads):
    """Partial results branch and end; those that remain are what a plain loop gives."""
    threads(2)
    model, steps = language_model(window, dtype, seed=5), 150
    _, state = model(np.random.default_rng(0).integers(0, K, (4, 70)), lengths=[70, 0, 3, 65])
    for given in (None, state):
        make = {"width": 3, "beam": True} | options
        search = _core.Search(4, K, steps, **make)
        stream_of(model, 4, given)._generate(START, (search,))
        plain = _core.Search(4, K, steps, **make)
        expected = beam_by_steps(model, START, plain, given)
        for array, other in zip(search.result(), expected, strict=True):
            np.testing.assert_array_equal(array, other)


def beam_by_steps(model, start, search, state):
    """Run a search step by step, with a stream whose rows are put in the order of the parents."""
    stream = stream_of(model, len(start), state)
    logits = stream.step(start)
    while not search.done:
        symbols, parents = search.step(logits)
        if not search.done:
            after = chosen(stream.state, parents)
            stream = stream_of(model, len(parents), after)
            logits = stream.step(symbols)
    return search.result()


def test_several_searches_of_one_stream(threads):
    """Each reads its own rows; the stream keeps its state."""
    threads(2)
    model = language_model()
    whole = _core.Search(4, K, MANY, width=2, beam=True)
    parts = [_core.Search(2, K, MANY, width=2, beam=True, first_group=g) for g in (0, 2)]
    stream = stream_of(model, 4, None)
    before = stream.state
    stream._generate(START, (whole,))
    stream._generate(START, tuple(parts))
    assert_same_bits(stream.state, before)
    found = [np.concatenate(pair) for pair in zip(*(p.result() for p in parts), strict=True)]
    for array, other in zip(whole.result(), found, strict=True):
        np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize("window", [None, 5, 1])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("rows", [1, 5, 9])
def test_closed_loops_of_vectors(window, count, rows, dtype, threads):
    threads(count)
    options = {"window": window, "dtype": dtype}
    blocks = [fill(crnn.TransformerBlock(H, 2, seed=k, **options), k, 0.4) for k in range(2)]
    model = crnn.Sequential([*blocks, crnn.LayerNorm(H, dtype=dtype)])
    start = np.random.default_rng(0).normal(size=(rows, H)).astype(dtype)
    _, state = model(inputs(dtype, rows, 40), lengths=np.arange(rows) * 3)
    for given in (None, state):
        found = crnn.generate(model, start, MANY, state=given)
        stream, x = model.stream(rows, given), start
        for t in range(MANY):
            x = stream.step(x)
            assert_same_bits(found[:, t], x)
        feeding = stream_of(model, rows, given)
        parts = [feeding._feed(x, n, None) for x, n in ((start, 130), (found[:, 129], 170))]
        assert_same_bits(np.concatenate(parts, axis=1), found)
        pairs = zip(feeding.state, stream.state, strict=True)
        for one, other in pairs:
            assert (one is None) == (other is None)
            if one is not None:
                assert_same_bits(seen_of(one), seen_of(other))
        x = found[:, -1]
        for _ in range(3):  # the stream goes on with single steps
            one, other = feeding.step(x), stream.step(x)
            assert_same_bits(one, other)
            x = one


def test_ctrl_c_ends_generation():
    """The stream of a loop that was interrupted has the state that it had."""
    model = crnn.Sequential([layer_of("block-window"), crnn.LayerNorm(H, dtype="float64")])
    stream = stream_of(model, 1, None)
    stream.step(inputs(rows=1)[:, 0])
    before = stream.state
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    with pytest.raises(KeyboardInterrupt):
        stream._feed(inputs(rows=1)[:, 0], 5_000_000, None)
    assert_same_bits(stream.state, before)
    assert_close(stream.step(inputs(rows=1)[:, 1]), model(inputs(rows=1)[:, :2])[0][:, 1], 0)
