"""The option delays: products that read earlier states than the last one.

The tables of support/tables.py contain layers with delays, so the tests of options, gradients,
traces, plans, streams and copies run on them. Here are the properties of delays themselves;
compose/test_delays_in_models.py has models with such layers.

Letters: B sequences, T steps, I inputs, H hidden units, K delays, D the longest of them.
"""

import copy
import inspect
import pickle

import numpy as np
import pytest

import crnn
from support.comparing import assert_close, assert_same_bits
from support.running import fill, forward_backward, leaves, like
from support.tables import CELLS, WITH_W_H, every_cell, every_cell_with_W_h

B, T, I, H = 4, 13, 3, 5
LENGTHS = [13, 0, 2, 7]
SEVERAL = [(1, 4), (3, 2), (5, 1, 2)]
both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
each_delay = pytest.mark.parametrize("d", [2, 3, 5, 40])
each_delays = pytest.mark.parametrize("delays", SEVERAL, ids=str)
every_delays = pytest.mark.parametrize("delays", [3, *SEVERAL], ids=str)
CASES = [(kind, delays) for kind in CELLS for delays in [3, *(SEVERAL if kind in WITH_W_H else [])]]
every_case = pytest.mark.parametrize(
    ("kind", "delays"), CASES, ids=[f"{kind}-{delays}" for kind, delays in CASES]
)
some_cells = pytest.mark.parametrize("kind", ["rnn_tanh", "lstm", "gru_before"])


def inputs(dtype="float64", batch=B, steps=T):
    return np.random.default_rng(5).normal(size=(batch, steps, I)).astype(dtype)


def made(kind, delays, dtype="float64", **options):
    return fill(CELLS[kind](I, H, delays=delays, dtype=dtype, seed=3, **options), 2, 0.4)


def with_params_of(layer, source):
    layer.flat_params[...] = source.flat_params
    return layer


def random_state(layer, batch=B, seed=8):
    return like(layer(np.zeros((batch, 0, I), layer.dtype))[1], np.random.default_rng(seed))


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def packed(arrays):
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def marks(seed, share):
    return np.random.default_rng(seed).random((B, T)) < share


STEPS = {
    "full": {},
    "lengths": {"lengths": LENGTHS},
    "mask": {"mask": marks(1, 0.6)},
    "resets": {"resets": marks(2, 0.2)},
    "all": {"lengths": LENGTHS, "mask": marks(1, 0.7), "resets": marks(2, 0.15)},
}
every_steps = pytest.mark.parametrize("steps", STEPS)


# ------------------------------------------------------------------ one delay: d plain runs


def strand_runs(layer, plain, x, state, lengths, reverse, d):
    """Run the plain layer over every d-th step, as rows of their own, in the order of reading.

    Return the results of forward and backward as the layer with the delay has them, but for the
    gradients of parameters, which are sums over all runs.
    """
    y, after, _ = layer.forward(x, state, lengths=lengths)
    dy, dafter = like((y, after), np.random.default_rng(5))
    y, dx = np.zeros_like(y), np.zeros_like(x)
    ends, dstarts = [[np.zeros_like(part) for part in parts(after)] for _ in range(2)]
    plain.zero_grad()
    for row, length in enumerate(lengths or [T] * B):
        for strand in range(d):
            times = np.arange(length)[::-1][strand::d] if reverse else np.arange(strand, length, d)
            end = (strand - length) % d
            start = packed([part[row, strand][None] for part in parts(state)])
            found, last, tape = plain.forward(x[row, times][None], start)
            dlast = packed([part[row, end][None] for part in parts(dafter)])
            dfound, dstart = plain.backward(tape, dy[row, times][None], dlast)
            y[row, times], dx[row, times] = found[0], dfound[0]
            for whole, part in zip(ends, parts(last), strict=True):
                whole[row, end] = part[0]
            for whole, part in zip(dstarts, parts(dstart), strict=True):
                whole[row, strand] = part[0]
    grads = {name: grad.copy() for name, grad in plain.grads.items()}
    return {"y": y, "state": packed(ends), "dx": dx, "dstate": packed(dstarts)}, grads


@every_cell
@each_delay
@both_ways
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_one_delay_is_plain_runs_over_every_dth_step(kind, d, reverse, lengths, dtype, isa):
    layer = made(kind, d, dtype, reverse=reverse)
    plain = with_params_of(CELLS[kind](I, H, dtype=dtype), layer)
    x, state = inputs(dtype), random_state(layer)
    found = forward_backward(layer, x, state, lengths=lengths)
    expected, grads = strand_runs(layer, plain, x, state, lengths, reverse, d)
    for name, array in leaves(expected).items():
        assert_same_bits(found[name], array)
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    for name, array in grads.items():
        assert_close(found[f"grads.{name}"], array, tolerance, name)


@every_cell
@every_steps
@both_ways
def test_a_delay_of_1_has_the_bits_of_a_layer_without(kind, steps, reverse, dtype):
    plain = made(kind, 1, dtype, reverse=reverse)
    for delays in ((1,), [1], np.int64(1)):
        layer = with_params_of(
            CELLS[kind](I, H, dtype=dtype, reverse=reverse, delays=delays), plain
        )
        assert layer.delays == 1
        assert layer.options == plain.options
        results = [forward_backward(each, inputs(dtype), **STEPS[steps]) for each in (layer, plain)]
        assert_same_bits(*results)


# ------------------------------------------------------------- several delays, zeros in all but one


@every_cell_with_W_h
@every_steps
@both_ways
@pytest.mark.parametrize("d", [1, 2, 4])
def test_blocks_of_zeros_leave_the_layer_with_one_delay(kind, d, steps, reverse, dtype, isa):
    """The state of (d, 6) has rows before those of d, and c of the shortest delay is that of d."""
    one, both = made(kind, d, dtype, reverse=reverse), made(kind, (6, d), dtype, reverse=reverse)
    for name, array in both.params.items():
        if name == "W_h":
            array[...] = 0
            array[:, H:] = one.params[name]
        else:
            array[...] = one.params[name]
    state = random_state(both)
    short = packed([part[:, -1] if d == 1 else part[:, -d:] for part in parts(state)])
    results = []
    for layer, start in ((both, state), (one, short)):
        y, end, tape = layer.forward(inputs(dtype), start, **STEPS[steps])
        dy = like(y, np.random.default_rng(5))
        layer.zero_grad()
        dx, dstart = layer.backward(tape, dy)
        results.append((y, parts(end), dx, parts(dstart), layer.grads["W_h"].copy()))
    (y, end, dx, dstart, grad), (y1, end1, dx1, dstart1, grad1) = results
    assert_same_bits((y, dx), (y1, dx1))
    for long, shorter in zip(end + dstart, end1 + dstart1, strict=True):
        assert_same_bits(long[:, -1] if d == 1 else long[:, -d:], shorter)
    assert not any(part[:, : 6 - d].any() for part in dstart)
    assert_close(grad[:, H:], grad1, 1e-12 if dtype == "float64" else 2e-5)
    assert grad[:, :H].any()


# ----------------------------------------------------------------------------- against PyTorch


def torch_step(torch, layer, tensors, x, reads, kept):
    """Return h and c of one step of the RNN or the LSTM: reads (K*H,), kept (h, c)."""
    s = tensors["W_x"] @ x + tensors["W_h"] @ reads + tensors["b"]
    if isinstance(layer, crnn.RNN):
        return (torch.tanh(s),)
    i, f, g, o = s.split(H)
    c = torch.sigmoid(f) * kept[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def torch_results(torch, layer, x, state, steps, reverse):
    tensors = {key: torch.tensor(array, requires_grad=True) for key, array in layer.params.items()}
    starts = [torch.tensor(part, requires_grad=True) for part in parts(state)]
    x = torch.tensor(x, requires_grad=True)
    delays = layer.delays if isinstance(layer.delays, tuple) else (layer.delays,)
    lengths = steps.get("lengths", [T] * B)
    mask, resets = steps.get("mask"), steps.get("resets")
    zero = torch.zeros(H, dtype=x.dtype)
    rows, ends = [], []
    for row in range(B):
        ring = [list(part[row]) for part in starts]
        shown, ys = zero, {}
        order = range(lengths[row])
        for t in reversed(order) if reverse else order:
            cut = t + 1 if reverse else t
            if resets is not None and cut < lengths[row] and resets[row, cut]:
                ring, shown = [[zero] * max(delays) for _ in ring], zero
            if mask is None or mask[row, t]:
                reads = torch.cat([ring[0][-d] for d in delays])
                kept = [part[-min(delays)] for part in ring]
                new = torch_step(torch, layer, tensors, x[row, t], reads, kept)
                ring = [[*part[1:], value] for part, value in zip(ring, new, strict=True)]
                shown = new[0]
            ys[t] = shown
        rows.append(torch.stack([ys.get(t, zero) for t in range(T)]))
        ends.append([torch.stack(part) for part in ring])
    y, end = torch.stack(rows), [torch.stack(each) for each in zip(*ends, strict=True)]
    numbers = (y.detach().numpy(), packed([part.detach().numpy() for part in end]))
    dy, dend = like(numbers, np.random.default_rng(5))
    loss = (y * torch.tensor(dy)).sum()
    for part, dpart in zip(end, parts(dend), strict=True):
        loss = loss + (part * torch.tensor(dpart)).sum()
    loss.backward()
    grads = {name: tensor.grad.numpy() for name, tensor in tensors.items()}
    dstate = packed([part.grad.numpy() for part in starts])
    found = {"y": numbers[0], "state": numbers[1], "dx": x.grad.numpy(), "dstate": dstate}
    return leaves(found | {"grads": grads})


@pytest.mark.parametrize("kind", ["rnn_tanh", "lstm"])
@every_delays
@every_steps
@both_ways
def test_a_loop_of_pytorch_agrees(kind, delays, steps, reverse):
    torch = pytest.importorskip("torch")
    layer = made(kind, delays, reverse=reverse)
    x, state = inputs(), random_state(layer)
    found = forward_backward(layer, x, state, **STEPS[steps])
    for name, array in torch_results(torch, layer, x, state, STEPS[steps], reverse).items():
        assert_close(found[name], array, 1e-12, name)


# ------------------------------------------------------------------- masks, resets, short rows


@every_case
@both_ways
def test_masked_steps_are_no_steps(kind, delays, reverse):
    """A row with holes has the outputs and the states of the row without them."""
    layer, x, mask = made(kind, delays, reverse=reverse), inputs(), STEPS["mask"]["mask"]
    state = random_state(layer)
    y, end = layer(x, state, mask=mask)
    for row in range(B):
        start = packed([part[[row]] for part in parts(state)])
        y_row, end_row = layer(x[row, mask[row]][None], start)
        assert_same_bits(y[row, mask[row]], y_row[0])
        assert_same_bits(packed([part[row] for part in parts(end)]), packed(
            [part[0] for part in parts(end_row)]
        ))  # fmt: skip


@every_case
def test_a_reset_clears_all_states(kind, delays):
    layer, x = made(kind, delays, learn_state=True), inputs()
    resets = np.zeros((B, T), bool)
    resets[:, 6] = True
    y, end = layer(x, random_state(layer), resets=resets)
    expected = layer(x[:, 6:])
    assert_same_bits((y[:, 6:], end), expected)


@every_case
def test_a_row_shorter_than_the_delays_shifts_its_state(kind, delays):
    layer, x = made(kind, delays), inputs()
    state, lengths = random_state(layer), [0, 1, 2, 13]
    D = layer.state_depth
    _, end, tape = layer.forward(x, state, lengths=lengths)
    for name, start, last in zip(("h", "c"), parts(state), parts(end), strict=False):
        assert last.shape == (B, D, H)
        made_here = getattr(tape, name)
        for row, length in enumerate(lengths):
            history = np.concatenate([start[row], made_here[row, :length]])
            assert_same_bits(last[row], history[-D:])


@every_case
def test_initial_states_of_zeros_are_none(kind, delays):
    layer = made(kind, delays)
    zeros = packed([np.zeros_like(part) for part in parts(random_state(layer))])
    assert_same_bits(layer(inputs(), zeros), layer(inputs()))


@every_case
def test_learned_states_have_a_row_for_each_step(kind, delays):
    layer = made(kind, delays, learn_state=True)
    D, state = (
        layer.state_depth,
        packed([layer.params[n] for n in ("h0", "c0") if n in layer.params]),
    )
    assert all(part.shape == (D, H) and part.flags.c_contiguous for part in parts(state))
    given = packed([np.tile(part, (B, 1, 1)) for part in parts(state)])
    assert_same_bits(layer(inputs()), layer(inputs(), given))
    learned, passed = forward_backward(layer, inputs()), forward_backward(layer, inputs(), given)
    for name, dstate in zip(("h0", "c0"), ("dstate[0]", "dstate[1]"), strict=True):
        dstate = dstate if dstate in passed else "dstate"
        if name in layer.params:
            assert_close(learned[f"grads.{name}"], passed[dstate].sum(axis=0), 1e-12)


# ------------------------------------------------------------------------- windows, threads, ways


@every_case
@pytest.mark.parametrize("windows", [[1] * T, [2, 1, 3, 1, 6], [4, 9], [12, 1]], ids=str)
def test_windows_have_the_bits_of_the_whole(kind, delays, windows, dtype):
    layer, x = made(kind, delays, dtype), inputs(dtype)
    state = random_state(layer)
    expected, begin, ys = layer(x, state), 0, []
    for size in windows:
        y, state = layer(x[:, begin : begin + size], state)
        ys.append(y)
        begin += size
    assert_same_bits((np.concatenate(ys, axis=1), state), expected)


@every_case
def test_windows_run_backwards_give_all_gradients(kind, delays):
    layer, x = made(kind, delays), inputs()
    y, end, tape = layer.forward(x)
    dy, dend = like((y, end), np.random.default_rng(5))
    layer.zero_grad()
    dx, dstart = layer.backward(tape, dy, dend)
    whole, tapes, state = layer.flat_grads.copy(), [], None
    for begin in range(0, T, 2):
        _, state, tape = layer.forward(x[:, begin : begin + 2], state)
        tapes.append((begin, tape))
    layer.zero_grad()
    for begin, tape in reversed(tapes):
        part, dend = layer.backward(tape, dy[:, begin : begin + 2], dend)
        assert_close(part, dx[:, begin : begin + 2], 1e-12)
    for found, expected in zip(parts(dend), parts(dstart), strict=True):
        assert_close(found, expected, 1e-12)
    assert_close(layer.flat_grads, whole, 1e-12)


@every_case
@pytest.mark.parametrize("shape", [(1, 60), (5, 40), (40, 9)], ids=str)
def test_threads_and_ways_of_reading_weights_have_the_same_bits(kind, delays, shape, dtype):
    """Rows alone read their weights as they lie or ahead, many rows packed; streams packed."""
    batch, steps = shape
    layer = fill(CELLS[kind](I, 70, delays=delays, dtype=dtype, seed=3), 2, 0.1)
    x, before = inputs(dtype, batch, steps), crnn._core.num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            crnn.set_num_threads(threads)
            results.append(forward_backward(layer, x))
    finally:
        crnn.set_num_threads(before)
    assert_same_bits(results[1], results[0])
    assert_same_bits(results[2], results[0])
    y, end = layer(x)
    assert_same_bits(y, results[0]["y"])
    last = (0, batch - 1)
    for row in last:
        y_row, end_row = layer(x[[row]])
        assert_same_bits(y_row[0], y[row])
        for part, part_row in zip(parts(end), parts(end_row), strict=True):
            assert_same_bits(part_row[0], part[row])


# ------------------------------------------------------------------------------------- streams


@every_case
@pytest.mark.parametrize("learn_state", [False, True], ids=["zeros", "learned"])
def test_a_stream_has_the_bits_of_a_call(kind, delays, learn_state, dtype):
    layer, x = made(kind, delays, dtype, learn_state=learn_state), inputs(dtype)
    y, end = layer(x)
    stream = layer.stream(B)
    for t in range(T):
        assert_same_bits(stream.step(x[:, t]), np.ascontiguousarray(y[:, t]))
        if t == 6:
            middle = stream.state
    assert_same_bits(stream.state, end)
    assert_same_bits(middle, layer(x[:, :7])[1])
    stream.state = middle
    for t in range(7, T):
        stream.step(x[:, t])
    assert_same_bits(stream.state, end)
    stream.reset([1])
    rest = packed([np.delete(part, 1, axis=0) for part in parts(stream.state)])
    assert_same_bits(rest, packed([np.delete(part, 1, axis=0) for part in parts(end)]))
    stream.reset()
    assert_same_bits(stream.step(x[:, 0]), np.ascontiguousarray(y[:, 0]))
    started = layer.stream(B, middle)
    assert_same_bits(started.step(x[:, 7]), np.ascontiguousarray(y[:, 7]))


@some_cells
@every_delays
def test_symbols_are_one_hot_vectors(kind, delays):
    layer = made(kind, delays)
    symbols = np.random.default_rng(4).integers(0, I, (B, T))
    steps = STEPS["all"]
    found = forward_backward(layer, symbols, **steps)
    expected = forward_backward(layer, np.eye(I)[symbols], **steps)
    del expected["dx"]
    assert_same_bits(found, expected)


# --------------------------------------------------------------------------- gradients, traces


@every_case
@pytest.mark.parametrize("learn_state", [False, True], ids=["given", "learned"])
@both_ways
def test_gradients(kind, delays, learn_state, reverse):
    layer = made(kind, delays, learn_state=learn_state, reverse=reverse)
    state = None if learn_state else random_state(layer)
    report = crnn.gradcheck(layer, inputs(), state, **STEPS["all"])
    assert report.ok, report


@some_cells
@every_delays
def test_terms_of_a_trace_sum_to_the_gradient(kind, delays):
    layer = made(kind, delays)
    y, end, tape = layer.forward(inputs(), **STEPS["all"])
    layer.zero_grad()
    layer.backward(tape, np.ones_like(y), end, trace=True)
    for gate, rows in zip(layer.gate_order, np.split(layer.grads["W_h"], len(layer.gate_order)),
                          strict=True):  # fmt: skip
        d, h = tape.W_h_terms[gate]
        assert h.shape == (B, T, layer.params["W_h"].shape[1])
        assert_close(np.einsum("bti,btj->ij", d, h), rows, 1e-12)


# ------------------------------------------------------------------------- shapes and bad input


@every_cell_with_W_h
def test_shapes(kind):
    layer = CELLS[kind](I, H, delays=(1, 4, 16))
    G = len(layer.gate_order)
    assert layer.params["W_h"].shape == (G * H, 3 * H)
    assert layer.state_depth == 16
    assert all(part.shape == (B, 16, H) for part in parts(layer(inputs("float32"))[1]))
    assert CELLS[kind](I, H, delays=7).params["W_h"].shape == (G * H, H)
    for block in np.split(layer.params["W_h"], 3, axis=1):
        for rows in np.split(block, G):
            np.testing.assert_allclose(3 * rows @ rows.T, np.eye(H), atol=1e-5)


def test_the_weights_of_one_delay_are_those_of_a_plain_layer():
    assert_same_bits(
        crnn.GRU(I, H, seed=4).flat_params, crnn.GRU(I, H, delays=9, seed=4).flat_params
    )


def test_projections_are_read_and_c_is_not():
    layer = crnn.LSTM(I, H, proj_size=2, delays=(2, 3), learn_state=True, dtype="float64", seed=1)
    assert layer.params["W_h"].shape == (4 * H, 4)
    assert (layer.params["h0"].shape, layer.params["c0"].shape) == ((3, 2), (3, H))
    h, c = layer(inputs())[1]
    assert (h.shape, c.shape) == ((B, 3, 2), (B, 3, H))


BAD = {
    "zero": (0, ValueError),
    "negative": (-3, ValueError),
    "bool": (True, TypeError),
    "float": (2.0, TypeError),
    "word": ("2", TypeError),
    "none": (None, TypeError),
    "array": (np.array([1, 2]), TypeError),
    "huge": (10**30, ValueError),
    "empty": ((), ValueError),
    "repeated": ((2, 5, 2), ValueError),
    "zero-in-tuple": ((1, 0), ValueError),
    "bool-in-tuple": ((True, 2), TypeError),
    "float-in-tuple": ((1, 2.5), TypeError),
    "nested": (((1, 2), 3), TypeError),
    "too-many": (tuple(range(1, 18)), ValueError),
    "overflow": (2**62, ValueError),
    "overflow-in-tuple": ((1, 2**62), ValueError),
}


def test_a_delay_that_is_too_long_is_said_to_be_so():
    assert crnn.GRU(I, H, delays=2**20).state_depth == 2**20
    for delay in (2**20 + 1, 10**9, 2**63):
        with pytest.raises(ValueError, match=rf"an int from 1 to 1048576, .*got {delay}\Z"):
            crnn.GRU(I, H, delays=delay)
        with pytest.raises(ValueError, match=r"an int from 1 to 1048576"):
            crnn.GRU(I, H, delays=(1, delay))


@every_cell
@pytest.mark.parametrize("name", BAD)
def test_bad_delays(kind, name):
    value, error = BAD[name]
    with pytest.raises(error, match="delays"):
        CELLS[kind](I, H, delays=value)
    with pytest.raises(error, match="delays"):
        type(CELLS[kind](I, H)).parameter_count(CELLS[kind](I, H).config | {"delays": value})
    layer = made(kind, 3)
    before = layer.flat_params.copy()
    with pytest.raises(error, match="delays"):
        layer._core_type.__init__(layer, I, H, delays=value)
    assert layer.delays == 3
    assert_same_bits(layer.flat_params, before)


@pytest.mark.parametrize("kind", [kind for kind in CELLS if kind not in WITH_W_H])
def test_a_layer_without_W_h_has_one_delay(kind):
    name = CELLS[kind].layer.__name__
    for delays in ((2, 3), [1, 4]):
        with pytest.raises(ValueError, match=f"delays: expected one number .* {name} has no W_h"):
            CELLS[kind](I, H, delays=delays)
    layer = CELLS[kind](I, H, delays=[2])
    assert layer.delays == layer.state_depth == 2


@every_case
def test_states_of_another_shape(kind, delays):
    layer, x = made(kind, delays), inputs()
    D = layer.state_depth
    for shape in ((B, H), (B, D + 1, H), (B, D - 1, H), (B, H, D), (B - 1, D, H), (B, D, H + 1)):
        wrong = packed([np.zeros(shape) for _ in parts(random_state(layer))])
        if shape == (B, D, H):
            continue
        with pytest.raises(ValueError, match=f"state: expected .*B={B}, D={D}, H={H}"):
            layer(x, wrong)
        y, _, tape = layer.forward(x)
        before = layer.flat_grads.copy()
        with pytest.raises(ValueError, match=f"dstate: expected .*B={B}, D={D}, H={H}"):
            layer.backward(tape, y, wrong)
        assert_same_bits(layer.flat_grads, before)
        stream = layer.stream(B)
        with pytest.raises(ValueError, match="state"):
            stream.state = wrong
    with pytest.raises(ValueError, match="tape"):
        made(kind, 2).backward(tape, y)


def test_options_and_copies():
    layer = crnn.LSTM(I, H, delays=[3, 1], seed=1)
    assert layer.delays == (3, 1)
    assert layer.options["delays"] == layer.config["delays"] == (3, 1)
    assert inspect.signature(crnn.LSTM).parameters["delays"].default == 1
    assert "delays=(3, 1)" in repr(layer)
    with pytest.raises(AttributeError, match="delays: cannot be set"):
        layer.delays = 1
    x = inputs("float32")
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert again.delays == (3, 1)
        assert_same_bits(again(x), layer(x))
    assert_close(layer.astype("float64")(x)[0], layer(x)[0], 1e-5)


@every_delays
def test_files(delays, tmp_path):
    layer = crnn.GRU(I, H, delays=delays, learn_state=True, seed=1)
    crnn.save(tmp_path / "layer.npz", layer)
    again = crnn.load(tmp_path / "layer.npz")
    assert again.delays == delays
    assert_same_bits(again(inputs("float32")), layer(inputs("float32")))


def test_a_file_of_a_layer_without_the_option_has_no_delays():
    config = crnn.GRU(I, H, seed=1).config
    del config["delays"]
    assert crnn.GRU.from_config(config).delays == 1
