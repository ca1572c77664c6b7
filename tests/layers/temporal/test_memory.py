"""TransformerBlock with a memory: bits, streams, states, weights, and PyTorch beside it.

Letters: B sequences, T steps, H features, S steps of the memory, C of its features.
"""

import copy
import pickle

import numpy as np
import pytest

import crnn
from support.comparing import assert_close, assert_same_bits
from support.running import fill
from support.temporal_layers import TOLERANCES, random_steps

B, T, H, S, C = 6, 70, 8, 11, 5
LENGTHS = np.array([11, 0, 4, 1, 8, 2])
KINDS = {
    "all": {},
    "window": {"window": 5, "activation": "swiglu"},
    "plain": {"rotary": False, "bias": False, "activation": "relu", "heads": 4},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def layer_of(kind, dtype="float64", **options):
    options = {"heads": 2, "memory_size": C, "dtype": dtype} | KINDS[kind] | options
    return fill(crnn.TransformerBlock(H, options.pop("heads"), seed=3, **options), 0, 0.4)


def inputs(dtype="float64", rows=B, steps=T):
    return np.random.default_rng(0).normal(size=(rows, steps, H)).astype(dtype)


def memory_of(dtype="float64", rows=B, garbage=np.nan):
    """Return a memory, with garbage behind the lengths of its rows."""
    lengths = np.resize(LENGTHS, rows)
    memory = np.random.default_rng(1).normal(size=(rows, S, C)).astype(dtype)
    memory[np.arange(S) >= lengths[:, None]] = garbage
    return memory, lengths


def begun(dtype="float64", rows=B):
    return None, None, None, *memory_of(dtype, rows)


def read_before(layer, dtype="float64"):
    """Return the state after some steps, of another number for each row."""
    x = np.random.default_rng(2).normal(size=(B, 9, H)).astype(dtype)
    return layer(x, begun(dtype), lengths=[9, 0, 3, 5, 1, 7])[1]


def rows_of(state, rows):
    return tuple(part[rows] for part in state)


def gradients_of(state):
    """Return random gradients of the floats of a state, 0 for steps that do not exist."""
    k, v, steps, memory, _ = state
    rng, dtype = np.random.default_rng(5), k.dtype
    found = [rng.normal(size=part.shape).astype(dtype) for part in (k, v, memory)]
    for part in found[:2]:
        slots = part.shape[1]
        part[np.arange(slots) < slots - np.minimum(steps, slots)[:, None]] = 0
    return tuple(found)


def solve(layer, x, state, **options):
    """Return all results of forward and backward; the gradients begin at 0."""
    layer.zero_grad()
    y, end, tape = layer.forward(x, state, **({"call": 0} | options))
    dx, dstate = layer.backward(tape, np.cos(np.arange(y.size)).reshape(y.shape), gradients_of(end))
    return [y, dx, *dstate, *(grad.copy() for grad in layer.grads.values())]


@every_kind
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("steps", [(), ("lengths", "mask", "resets")], ids=["full", "holes"])
def test_gradients(kind, dropout, steps):
    layer, x = layer_of(kind, dropout=dropout), inputs(steps=7)
    state = read_before(layer)
    state = *state[:3], memory_of(garbage=0)[0], state[4]
    options = random_steps(np.random.default_rng(3), B, 7, steps) | {"call": 3}
    report = crnn.gradcheck(layer, x, state, **options, tolerance=1e-7)
    assert report, str(report)
    assert {row.name for row in report.rows} == {
        *layer.params,
        "x",
        "state[0]",
        "state[1]",
        "state[2]",
    }


@every_kind
def test_a_row_alone_and_in_a_batch(kind, dtype, isa, threads):
    threads(2)
    layer, x = layer_of(kind, dtype), inputs(dtype)
    state, steps = read_before(layer, dtype), random_steps(np.random.default_rng(4), B, T)
    y, end, tape = layer.forward(x, state, **steps)
    dend = gradients_of(end)
    dx, dstate = layer.backward(tape, np.cos(y), dend)
    for b in range(B):
        row, n = slice(b, b + 1), LENGTHS[b]
        own = {key: array[row] for key, array in steps.items()}
        k, v, read, memory, _ = rows_of(state, row)
        out, last, tape = layer.forward(x[row], (k, v, read, memory[:, :n], None), **own)
        assert_same_bits(out, y[row])
        dlast = (
            *(part[row, part.shape[1] - last[0].shape[1] :] for part in dend[:2]),
            dend[2][row, :n],
        )
        found = layer.backward(tape, np.cos(y[row]), dlast)
        assert_same_bits(found[0], dx[row])
        assert_same_bits(found[1], (dstate[0][row], dstate[1][row], dstate[2][row, :n]))


@every_kind
@pytest.mark.parametrize("chunk", [1, 7, 64])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_chunks_are_the_whole(kind, chunk, dropout, dtype, isa):
    layer, x = layer_of(kind, dtype, dropout=dropout), inputs(dtype)
    steps = random_steps(np.random.default_rng(2), B, T, ("mask", "resets"))
    steps["mask"][:, ::chunk] = True
    y, _, _ = layer.forward(x, begun(dtype), call=5, **steps)
    parts, now = [], begun(dtype)
    for first in range(0, T, chunk):
        own = {key: array[:, first : first + chunk] for key, array in steps.items()}
        own |= {"call": 5, "first_step": first}
        out, now, _ = layer.forward(x[:, first : first + chunk], now, **own)
        parts.append(out)
    assert_same_bits(np.concatenate(parts, axis=1), y)


@every_kind
@pytest.mark.parametrize("chunk", [1, 7])
def test_gradients_of_chunks_are_those_of_the_whole(kind, chunk):
    """The gradient of the memory adds up from chunk to chunk."""
    layer, x, state = layer_of(kind, dropout=0.2), inputs(), read_before(layer_of(kind))
    y, end, tape = layer.forward(x, state, call=5)
    dend = gradients_of(end)
    dx, dstate = layer.backward(tape, np.cos(y), dend)
    wanted = [grad.copy() for grad in layer.grads.values()]
    now, tapes = state, []
    for first in range(0, T, chunk):
        _, now, tape = layer.forward(x[:, first : first + chunk], now, call=5, first_step=first)
        tapes.append((slice(first, first + chunk), tape))
    layer.zero_grad()
    found, dnow = np.zeros_like(x), dend
    for part, tape in reversed(tapes):
        found[:, part], dnow = layer.backward(tape, np.cos(y[:, part]), dnow)
    assert_close(found, dx, 1e-12)
    for pair in zip([*dnow, *layer.grads.values()], [*dstate, *wanted], strict=True):
        assert_close(*pair, 1e-12)


@every_kind
@pytest.mark.parametrize("stacked", [False, True])
def test_streams_are_the_whole(kind, stacked, dtype, isa):
    layer, x = layer_of(kind, dtype), inputs(dtype)
    state, model = read_before(layer, dtype), layer
    if stacked:
        model = crnn.Sequential([layer, layer_of("all", dtype), crnn.LayerNorm(H, dtype=dtype)])
        state = [state, begun(dtype), None]
    y, end = model(x, state)
    stream = model.stream(B, state)
    for t in range(T):
        assert_same_bits(stream.step(x[:, t]), y[:, t])
        if t == 20:
            now = stream.state
            again = model.stream(B, now)
            assert_same_bits(again.step(x[:, t + 1]), y[:, t + 1])
    for part, wanted in zip(
        [*(stream.state[0] if stacked else stream.state)][2:],
        (end[0] if stacked else end)[2:],
        strict=True,
    ):
        np.testing.assert_array_equal(part, wanted)


def test_a_stream_keeps_its_memory():
    """Through resets, and through later changes of parameters and of the array; until it is set."""
    layer, x = layer_of("all"), inputs()
    memory, lengths = memory_of()
    y, _ = layer(x, begun())
    stream = layer.stream(B, (None, None, None, memory, lengths))
    memory[...] = 7
    lengths[...] = 0
    for array in layer.params.values():
        array += 1
    assert_same_bits(stream.step(x[:, 0]), y[:, 0])
    stream.step(x[:, 1])
    stream.reset([1, 4])
    assert_same_bits(stream.step(x[:, 0])[[1, 4]], y[[1, 4], 0])
    stream.reset()
    assert_same_bits(stream.step(x[:, 0]), y[:, 0])
    stream.state = None
    assert_same_bits(stream.step(x[:, 0]), y[:, 0])
    np.testing.assert_array_equal(stream.state[3], memory_of()[0])
    for array in layer.params.values():
        array -= 1
    other = np.random.default_rng(8).normal(size=(B, 40, C)), np.full(B, 40)
    stream.state = None, None, None, *other
    assert_close(stream.step(x[:, 0]), layer(x[:, :1], (None, None, None, *other))[0][:, 0], 1e-12)


def test_a_closed_loop_reads_the_memory(threads):
    """A stream whose output is its next input, in the core; its rows are shared out."""
    threads(2)
    layers = [layer_of("all"), layer_of("window")]
    model = crnn.Sequential(layers)
    state, start = [begun(), begun()], inputs(steps=1)[:, 0]
    stream, x, wanted = model.stream(B, state), start, []
    for _ in range(90):
        x = stream.step(x)
        wanted.append(x)
    other = model.stream(B, state)
    found = other._feed(start, 90, None)
    assert_same_bits(found, np.stack(wanted, axis=1))
    assert_same_bits(other.step(x), stream.step(x))
    assert_same_bits(other.state[1][3:], state[1][3:])


@pytest.mark.parametrize("length", [0, 1, 3, 8, 33, 300])
def test_lengths_of_a_memory(length, dtype, isa):
    """Around vectors and panels; of no steps the context is 0."""
    layer, x = layer_of("all", dtype), inputs(dtype, rows=2, steps=20)
    memory = np.random.default_rng(1).normal(size=(2, length, C)).astype(dtype)
    state = None, None, None, memory, None
    y, _, tape = layer.forward(x, state)
    dx, dstate = layer.backward(tape, np.cos(y))
    wide = np.full((2, length + 40, C), np.inf, dtype)
    wide[:, :length] = memory
    found, _, other = layer.forward(x, (None, None, None, wide, [length] * 2))
    assert_same_bits(found, y)
    assert_same_bits(other.memory_attention[..., :length], tape.memory_attention)
    dx2, dstate2 = layer.backward(other, np.cos(y))
    assert_same_bits([dx2, dstate2[2][:, :length]], [dx, dstate[2]])
    assert not dstate2[2][:, length:].any()
    if length == 0:
        assert not tape.memory_context.any()
        np.testing.assert_array_equal(tape.joined, tape.middle + layer.cross.params["b_o"])
    else:
        assert_close(tape.memory_attention.sum(axis=3), np.ones((2, 2, 20)), 1e-5)


@every_kind
def test_threads_give_equal_bits(kind, dtype, isa, threads):
    layer, x = layer_of(kind, dtype, dropout=0.2), inputs(dtype, 30)
    found = []
    for n in (1, 2, 3):
        threads(n)
        found.append(solve(layer, x, begun(dtype, 30)))
    assert_same_bits(found[1], found[0])
    assert_same_bits(found[2], found[0])


@every_kind
@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e30], ids=str)
def test_what_is_not_read_changes_nothing(kind, garbage, dtype, isa):
    layer, x = layer_of(kind, dtype), inputs(dtype)
    steps = random_steps(np.random.default_rng(9), B, T)
    wanted = solve(layer, x, (None, None, None, *memory_of(dtype, garbage=0)), **steps)
    x[(np.arange(T) >= steps["lengths"][:, None]) | ~steps["mask"]] = garbage
    found = solve(layer, x, (None, None, None, *memory_of(dtype, garbage=garbage)), **steps)
    assert_same_bits(found, wanted)
    assert all(np.isfinite(array).all() for array in found)


def test_weights_on_the_tape():
    layer, x = layer_of("plain", bias=True), inputs()
    lengths = np.array([70, 3, 9, 70, 70, 0])
    _, _, tape = layer.forward(x, begun(), lengths=lengths)
    p, (memory, known) = tape.memory_attention, memory_of(garbage=0)
    assert p.shape == (B, 4, T, S)
    W_kv, b_kv = layer.cross.params["W_kv"], layer.cross.params["b_kv"]
    k, v = np.split(memory @ W_kv.T + b_kv, 2, axis=2)
    for b in range(B):
        n, m = lengths[b], known[b]
        assert not p[b, :, n:].any()
        assert not p[b, :, :, m:].any()
        if n == 0 or m == 0:
            assert not p[b].any()
            continue
        q = tape.memory_query[b, :n].reshape(n, 4, -1)
        scores = np.einsum("nma,sma->mns", q, k[b, :m].reshape(m, 4, -1)) / np.sqrt(H // 4)
        e = np.exp(scores - scores.max(axis=2, keepdims=True))
        assert_close(p[b, :, :n, :m], e / e.sum(axis=2, keepdims=True), 1e-12)
        context = np.einsum("mns,sma->nma", p[b, :, :n, :m], v[b, :m].reshape(m, 4, -1))
        assert_close(tape.memory_context[b, :n], context.reshape(n, H), 1e-12)


@pytest.mark.parametrize("causal", [True, False])
def test_agrees_with_pytorch(causal, dtype):
    """The layers of PyTorch's encoder and decoder with their weights copied, and its gradients."""
    torch = pytest.importorskip("torch")
    from support.torch_attention import decoder_layer, encoder_layer

    options = {"rotary": False, "activation": "gelu_exact", "feedforward_size": 13, "dtype": dtype}
    options |= {"memory_size": C} if causal else {"causal": False}
    layer = fill(crnn.TransformerBlock(H, 2, seed=1, **options), 0, 0.5)
    rng, x = np.random.default_rng(0), inputs(dtype, 3, 9)
    e, lengths = rng.normal(size=(3, 6, C)).astype(dtype), np.array([6, 2, 5])
    inputs_ = [torch.tensor(array, requires_grad=True) for array in (x, e)]
    w = {name: torch.tensor(array, requires_grad=True) for name, array in layer.params.items()}
    dy = rng.normal(size=x.shape).astype(dtype)
    if causal:
        y = decoder_layer(w, *inputs_, torch.tensor(lengths), heads=2)
        found, _, tape = layer.forward(x, (None, None, None, e, lengths))
    else:
        y = encoder_layer(w, inputs_[0], torch.tensor(lengths + 1), heads=2)
        found, _, tape = layer.forward(x, lengths=lengths + 1)
        read = np.arange(9) < (lengths + 1)[:, None]
        dy[~read] = 0
        y = y * torch.tensor(read[..., None].astype(dtype))
    y.backward(torch.tensor(dy))
    dx, dstate = layer.backward(tape, dy)
    tolerance = 4 * TOLERANCES[dtype]
    assert_close(found, y.detach().numpy(), tolerance)
    assert_close(dx, inputs_[0].grad.numpy(), tolerance)
    if causal:
        assert_close(dstate[2], inputs_[1].grad.numpy(), tolerance)
    for name, parameter in w.items():
        assert_close(layer.grads[name], parameter.grad.numpy(), tolerance, name)


def test_frozen_parts():
    """Without gradients of parameters, those of the memory are the same; and the reverse."""
    layer, x = layer_of("all"), inputs()
    wanted = solve(layer, x, begun())
    layer.cross.trainable = False
    found = solve(layer, x, begun())
    assert_same_bits(found[:5], wanted[:5])
    assert not layer.cross.flat_grads.any()
    layer.trainable = False
    assert_same_bits(solve(layer, x, begun())[:5], wanted[:5])
    layer.cross.trainable = True
    layer.zero_grad()
    y, _, tape = layer.forward(x, begun(), call=0, needs_dx=False)
    dy = np.cos(np.arange(y.size)).reshape(y.shape)
    assert layer.backward(tape, dy)[0] is None
    grads = dict(zip(layer.params, wanted[5:], strict=True))
    for name, grad in layer.grads.items():
        if name.startswith("cross"):
            assert_same_bits(grad, grads[name])
        else:
            assert not grad.any()


def test_one_array_for_several_blocks():
    """The tapes of all blocks of a model keep one copy of the memory."""
    model = crnn.Sequential([layer_of("all"), layer_of("window"), layer_of("all")])
    memory, lengths = memory_of()
    state = [(None, None, None, memory, lengths)] * 3
    _, end, tape = model.forward(inputs(), state)
    assert all(part[3] is memory for part in end)
    memory[...] = 0  # the tape has its own copy
    dy = np.ones((B, T, H))
    dx, dstate = model.backward(tape, dy)
    other = [(None, None, None, *memory_of())] * 3
    _, _, tape = model.forward(inputs(), other)
    assert_same_bits([dx, dstate], list(model.backward(tape, dy)))


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "file", "config"])
def test_copies(how, tmp_path):
    layer, x = layer_of("window", dropout=0.2), inputs()
    if how == "file":
        crnn.save(tmp_path / "block.npz", layer)
        other = crnn.load(tmp_path / "block.npz")
    elif how == "config":
        other = type(layer).from_config(layer.config)
        for name, array in layer.params.items():
            other.params[name] = array
    else:
        other = copy.deepcopy(layer) if how == "deepcopy" else pickle.loads(pickle.dumps(layer))
    assert other.config == layer.config
    assert type(layer).parameter_count(layer.config) == sum(a.size for a in layer.params.values())
    assert_same_bits(solve(other, x, begun(), call=2), solve(layer, x, begun(), call=2))


def test_initial_weights_of_a_memory():
    """Those of the other parts are the same as without."""
    plain, block = (
        crnn.TransformerBlock(64, 4, memory_size=m, scale=0.25, seed=5) for m in (None, 48)
    )
    for name in ("norm1.gain", "attention.W_qkv", "attention.W_o"):
        np.testing.assert_array_equal(block.params[name], plain.params[name])
    for name, shape in (("W_q", (64, 64)), ("W_kv", (128, 48)), ("W_o", (64, 64))):
        W = block.cross.params[name]
        assert W.shape == shape
        assert abs(W.std() / (0.02 * (0.25 if name == "W_o" else 1)) - 1) < 0.05
    assert block.memory_size == 48
    assert plain.memory_size is None


# ------------------------------------------------------------------------------------------ errors

K0 = np.zeros((B, 0, H))
MEMORY = np.zeros((B, S, C))
STATES = [
    (None, r"state: expected \(k, v, steps, memory, lengths\) for a layer with memory_size=5, got"),
    ((K0, K0, [0] * B), r"state: expected \(k, v, steps, memory, lengths\), got"),
    ((None, None, None, MEMORY), r"state: expected \(k, v, steps, memory, lengths\), got"),
    ((None, None, None, None, None), r"state\[3\]: expected"),
    (
        (None, None, None, MEMORY[..., :4], None),
        r"state\[3\]: expected floats of shape \(B=6, T_s, C=5\)",
    ),
    (
        (None, None, None, MEMORY[:5], None),
        r"state\[3\]: expected floats of shape \(B=6, T_s, C=5\)",
    ),
    ((None, None, None, MEMORY[0], None), r"state\[3\]: expected"),
    ((None, None, None, MEMORY.astype(int), None), r"state\[3\]: expected"),
    ((None, None, None, "memory", None), r"state\[3\]: expected"),
    ((None, None, None, MEMORY, [12] * B), r"state\[4\]: expected integers from 0 to 11"),
    ((None, None, None, MEMORY, [-1] * B), r"state\[4\]: expected integers from 0 to 11"),
    ((None, None, None, MEMORY, [1.0] * B), r"state\[4\]: expected"),
    ((None, None, None, MEMORY, [3] * 5), r"state\[4\]: expected"),
    ((None, None, None, MEMORY, 3), r"state\[4\]: expected"),
    ((K0, None, None, MEMORY, None), r"state: expected"),
    ((None, None, [0] * B, MEMORY, None), r"state: expected"),
]


@pytest.mark.parametrize(("state", "message"), STATES)
@pytest.mark.parametrize("stacked", [False, True])
def test_states_that_do_not_fit(state, message, stacked):
    layer, x = layer_of("all"), inputs()
    model = crnn.Sequential([layer, crnn.Dense(H, 2, dtype="float64")]) if stacked else layer
    given = [state, None] if stacked else state
    stream = model.stream(B, [begun(), None] if stacked else begun())
    stream.step(x[:, 0])
    before = model.stream(B, stream.state).step(x[:, 1])
    for call in (model, model.forward):
        with pytest.raises((ValueError, TypeError), match=message.replace("state", "state.*", 1)):
            call(x, given)
    if state is not None:  # a stream that has a memory is reset
        with pytest.raises((ValueError, TypeError), match=message.replace("state", "state.*", 1)):
            stream.state = given
    with pytest.raises((ValueError, TypeError)):
        model.stream(B, given)
    assert_same_bits(stream.step(x[:, 1]), before)


@pytest.mark.parametrize(
    "dstate",
    [
        (np.zeros((B, T, H)),) * 2,
        (np.zeros((B, T, H)), np.zeros((B, T, H)), np.zeros((B, S + 1, C))),
        (np.zeros((B, T, H)), np.zeros((B, T, H)), np.zeros((B, S, C + 1))),
        (np.zeros((B, T, H)), np.zeros((B, T, H)), None),
    ],
)
def test_gradients_of_a_state_that_do_not_fit(dstate):
    layer, x = layer_of("all"), inputs()
    y, _, tape = layer.forward(x, begun())
    with pytest.raises((ValueError, TypeError), match=r"dstate.*: expected"):
        layer.backward(tape, y, dstate)
    assert not any(grad.any() for grad in layer.grads.values())
    other = fill(crnn.TransformerBlock(H, 2, memory_size=C + 1, dtype="float64"))
    with pytest.raises((ValueError, TypeError), match="tape: expected"):
        other.backward(tape, y)
    with pytest.raises((ValueError, TypeError), match="tape: expected"):
        crnn.TransformerBlock(H, 2, dtype="float64").backward(tape, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_size": 0}, "memory_size: expected"),
        ({"memory_size": -1}, "memory_size: expected"),
        ({"memory_size": 2.0}, "memory_size: expected"),
        ({"memory_size": "5"}, "memory_size: expected"),
        ({"memory_size": 2**62}, "memory_size"),
        (
            {"memory_size": 5, "causal": False},
            "memory_size: expected None with causal=False, got 5",
        ),
        ({"causal": 1.5}, "causal: expected"),
        ({"causal": False, "window": 3}, "window: expected None with causal=False"),
    ],
)
def test_arguments(options, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        crnn.TransformerBlock(8, 2, **options)


def test_the_part_with_the_memory_has_no_forward():
    cross = layer_of("all").cross
    with pytest.raises(TypeError, match="expected a call of the TransformerBlock that has Cross"):
        cross.forward(inputs())
    with pytest.raises(TypeError, match="expected a call of the TransformerBlock"):
        cross.backward(None, None)
