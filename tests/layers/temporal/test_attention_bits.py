"""SelfAttention and TransformerBlock: what has equal bits, and what has no effect."""

import numpy as np
import pytest

from support.attentions import (
    BLOCKS,
    CAUSAL,
    KINDS,
    B,
    H,
    T,
    first_state,
    gradients_of,
    inputs,
    layer_of,
    rows_of,
    run,
    seen_of,
    some_steps,
    unseen,
)
from support.comparing import assert_close, assert_same_bits

every_kind = pytest.mark.parametrize("kind", KINDS)
every_causal_kind = pytest.mark.parametrize("kind", CAUSAL)


def task(kind, dtype, **options):
    """Return a layer, x and an initial state."""
    layer = layer_of(kind, dtype, **options)
    return layer, inputs(dtype), first_state(layer)


@every_kind
def test_a_row_alone_and_in_a_batch(kind, dtype, isa, threads):
    threads(2)
    layer, x, state = task(kind, dtype)
    steps = some_steps()
    y, end, tape = layer.forward(x, state, **steps)
    dy, dend = np.cos(y), gradients_of(end)
    dx, dstate = layer.backward(tape, dy, dend)
    for b in range(B):
        row = slice(b, b + 1)
        own = {key: array[row] for key, array in steps.items()}
        out, last, tape = layer.forward(x[row], rows_of(state, row), **own)
        assert_same_bits([out, seen_of(last)], [y[row], seen_of(rows_of(end, row))])
        dlast = None
        if end is not None:  # the state of a row alone has fewer slots
            dlast = tuple(part[row, part.shape[1] - last[0].shape[1] :] for part in dend)
        found = layer.backward(tape, dy[row], dlast)
        assert_same_bits(found[0], dx[row])
        if dstate is not None:
            assert_same_bits(found[1], tuple(part[row] for part in dstate))


@every_causal_kind
@pytest.mark.parametrize("chunk", [1, 7, 64])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_chunks_are_the_whole(kind, chunk, dropout, dtype, isa):
    """Outputs and states; dropout too, whose draws depend on the step."""
    layer, x, state = task(kind, dtype, dropout=dropout)
    steps = some_steps(("mask", "resets"), seed=2)
    steps["mask"][:, ::chunk] = True  # a chunk has no output before its first step
    y, end, _ = layer.forward(x, state, call=5, **steps)
    parts, now = [], state
    for first in range(0, T, chunk):
        own = {key: array[:, first : first + chunk] for key, array in steps.items()}
        part = x[:, first : first + chunk]
        out, now, _ = layer.forward(part, now, call=5, first_step=first, **own)
        parts.append(out)
    assert_same_bits(np.concatenate(parts, axis=1), y)
    assert_same_bits(seen_of(now), seen_of(end))


@every_kind
@pytest.mark.parametrize("chunk", [7, 64])
def test_dropout_of_part_of_a_batch(kind, chunk, dtype):
    """Rows from `first_row` on draw what they do in the whole batch."""
    layer, x, state = task(kind, dtype, dropout=0.4)
    y, _, tape = layer.forward(x, state, call=5)
    dx, _ = layer.backward(tape, np.ones_like(y))
    rows = slice(2, 5)
    out, _, tape = layer.forward(x[rows], rows_of(state, rows), call=5, first_row=2)
    assert_same_bits(out, y[rows])
    assert_same_bits(layer.backward(tape, np.ones_like(out))[0], dx[rows])
    assert np.abs(layer.forward(x, state, call=6)[0] - y).max() > 0.01
    assert np.abs(layer.forward(x, state, call=5, layer=1)[0] - y).max() > 0.01


@every_causal_kind
@pytest.mark.parametrize("given", [False, True], ids=["beginning", "state"])
def test_streams_are_the_whole(kind, given, dtype, isa):
    layer, x, state = task(kind, dtype)
    state = state if given else None
    y, end = layer(x, state)
    stream = layer.stream(B, state)
    for t in range(T):
        assert_same_bits(stream.step(x[:, t]), y[:, t])
        if t in (0, 3, 40):
            expected = layer(x[:, : t + 1], state)[1]
            assert_same_bits(seen_of(stream.state), seen_of(expected))
    assert_same_bits(seen_of(stream.state), seen_of(end))


@every_causal_kind
@pytest.mark.parametrize("chunk", [1, 7, 64])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_gradients_of_chunks_are_those_of_the_whole(kind, chunk, dropout):
    """With the gradient of the state passed back from chunk to chunk."""
    layer, x, state = task(kind, "float64", dropout=dropout)
    lengths, resets = np.array([70, 0, 31, 64, 7, 69]), some_steps()["resets"]
    wanted = run(layer, x, state, call=5, lengths=lengths, resets=resets)
    y, end, _ = layer.forward(x, state, call=5, lengths=lengths, resets=resets)
    dy, now, tapes = np.cos(np.arange(y.size).reshape(y.shape)), state, []
    for first in range(0, T, chunk):
        part = slice(first, first + chunk)
        own = {"lengths": np.clip(lengths - first, 0, x[:, part].shape[1])}
        own |= {"resets": resets[:, part], "first_step": first, "call": 5}
        _, now, tape = layer.forward(x[:, part], now, **own)
        tapes.append((part, tape))
    layer.zero_grad()
    dx, dnow = np.zeros_like(x), gradients_of(end)
    for part, tape in reversed(tapes):
        dx[:, part], dnow = layer.backward(tape, dy[:, part], dnow)
    assert_close(dx, wanted["dx"], 1e-12)
    for k, array in enumerate(dnow):
        assert_close(array, wanted[f"dstate {k}"], 1e-12)
    for name, grad in layer.grads.items():
        assert_close(grad, wanted[f"d{name}"], 1e-12, name)


@every_kind
def test_threads_give_equal_bits(kind, dtype, isa, threads):
    layer = layer_of(kind, dtype, heads=4, dropout=0.2)
    x, state = inputs(dtype, 30), first_state(layer, 30)
    found = []
    for n in (1, 2, 3):
        threads(n)
        found.append(run(layer, x, state))
    assert_same_bits(found[1], found[0])
    assert_same_bits(found[2], found[0])


@every_kind
@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e30], ids=str)
def test_what_is_not_read_changes_nothing(kind, garbage, dtype, isa):
    """Padding and masked steps of x, padding of dy, and slots of a state for no step."""
    layer, x, state = task(kind, dtype)
    steps = some_steps()
    padding = np.arange(T) >= steps["lengths"][:, None]
    spoilt, other = x.copy(), state
    spoilt[padding | ~steps["mask"]] = garbage
    dy = np.cos(x)
    wanted = run(layer, x, state, dy=dy.copy(), **steps)
    dy[padding] = garbage
    if state is not None:
        other = tuple(part.copy() for part in state)
        for part in other[:2]:
            part[unseen(part, state[2])] = garbage
    found = run(layer, spoilt, other, dy=dy, **steps)
    assert_same_bits(found, wanted)
    assert all(np.isfinite(array).all() for array in found.values())


@every_kind
@pytest.mark.parametrize("garbage", [np.nan, np.inf], ids=str)
def test_nothing_before_a_reset_is_read(kind, garbage, dtype, isa):
    layer, x, state = task(kind, dtype)
    resets = np.zeros((B, T), bool)
    resets[:, 30] = True
    y, end = layer(x, state, resets=resets)
    before = x.copy()
    before[:, :30] = garbage
    found, last = layer(before, None, resets=resets)
    assert_same_bits(found[:, 30:], y[:, 30:])
    assert_same_bits(seen_of(last), seen_of(end))
    assert_same_bits(y[:, 30:], layer(x[:, 30:])[0])


@every_causal_kind
@pytest.mark.parametrize("garbage", [np.nan, np.inf], ids=str)
@pytest.mark.parametrize("first", [1, 30, 69])
def test_later_steps_change_nothing(kind, garbage, first, dtype, isa):
    layer, x, state = task(kind, dtype)
    y, _ = layer(x, state)
    later = x.copy()
    later[:, first:] = garbage
    assert_same_bits(layer(later, state)[0][:, :first], y[:, :first])


@every_kind
def test_steps_outside_a_window_change_nothing(kind, dtype, isa):
    layer, x, _ = task(kind, dtype)
    field = layer.receptive_field
    y, _ = layer(x)
    before = x.copy()
    before[:, 3] = np.nan
    found, _ = layer(before)
    if field < T:
        end = 3 + int(field)
        assert_same_bits(found[:, end:], y[:, end:])
        assert np.isnan(found[:, 3:end]).all()
    else:
        assert np.isnan(found[:, 3:]).all()
        assert np.isnan(found[:, :3]).all() == (not layer.has_state)


@every_kind
def test_steps_without_gradient_may_have_nan(kind, dtype, isa):
    """dy of padding is not read; dx there is 0."""
    layer, x, state = task(kind, dtype)
    lengths = np.array([70, 0, 31, 64, 7, 69])
    padding = np.arange(T) >= lengths[:, None]
    dy = np.where(padding[..., None], np.nan, np.cos(x)).astype(dtype)
    found = run(layer, x, state, dy=dy, lengths=lengths)
    assert not found["dx"][padding].any()
    assert not found["y"][padding].any()


@every_kind
@pytest.mark.parametrize("threads_now", [1, 2])
def test_a_call_of_the_layer_is_its_evaluation(kind, threads_now, dtype, threads):
    threads(threads_now)
    layer, x, state = task(kind, dtype, dropout=0.4)
    y, end, tape = layer.forward(x, state, training=False, **some_steps())
    found, last = layer(x, state, **some_steps())
    assert_same_bits([found, seen_of(last)], [y, seen_of(end)])
    assert_same_bits(tape.y, y)


@every_kind
@pytest.mark.parametrize("layout", ["strides", "order", "read-only", "other float"])
def test_any_layout_of_x_and_of_a_state(kind, layout, dtype):
    layer, x, state = task(kind, dtype)
    wanted = run(layer, x, state)

    def changed(array):
        if array.dtype.kind != "f":
            return array.astype(np.int32) if layout == "other float" else array[::-1].copy()[::-1]
        if layout == "strides":
            wide = np.full((*array.shape[:2], 2 * H), np.nan, array.dtype)
            wide[..., ::2] = array
            return wide[..., ::2]
        if layout == "order":
            return np.asfortranarray(array)
        if layout == "read-only":
            array = array.copy()
            array.flags.writeable = False
            return array
        return array.astype("float32" if dtype == "float64" else "float64")

    if layout == "other float":
        x = x.astype("float32").astype(dtype)
        state = state and (*(part.astype("float32").astype(dtype) for part in state[:2]), state[2])
        wanted = run(layer, x, state)
    assert_same_bits(run(layer, changed(x), state and tuple(map(changed, state))), wanted)


def test_masked_steps_repeat_the_last_output():
    layer, x, _ = task("window", "float64")
    steps = some_steps(("lengths", "mask"))
    y, _ = layer(x, **steps)
    dense = np.zeros_like(y)
    for b in range(B):
        read = np.flatnonzero(steps["mask"][b, : steps["lengths"][b]])
        own = layer(x[[b]][:, read])[0][0]
        for number, t in enumerate(read):
            dense[b, t : steps["lengths"][b]] = own[number]
    assert_same_bits(y, dense)


@pytest.mark.parametrize("kind", [kind for kind in CAUSAL if kind in BLOCKS] + ["all", "window"])
def test_long_sequences_go_through_blocks_of_scores(kind, isa):
    """More steps than a block of scores has columns."""
    layer = layer_of(kind, "float32")
    x = np.random.default_rng(0).normal(size=(1, 3000, H)).astype("float32")
    y, _ = layer(x)
    _, state = layer(x[:, :1700])
    assert_same_bits(layer(x[:, 1700:], state)[0], y[:, 1700:])
    assert np.isfinite(y).all()
