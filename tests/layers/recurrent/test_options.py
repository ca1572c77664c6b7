"""Every option of the recurrent layers agrees with the reference, and has the common properties.

The tables OPTIONS and VARIED are in support/tables.py. Every option in them is tested here.
"""

import itertools
import zlib

import numpy as np
import pytest

import crnn
from support.comparing import assert_close, assert_same_bits
from support.running import copied, fill, forward_backward, leaves, like
from support.tables import CELLS, VARIED, every_cell

every_varied = pytest.mark.parametrize("name", VARIED)
ALL = CELLS | VARIED
every_one = pytest.mark.parametrize("name", ALL)

SHAPES = [(3, 5, 4, 5), (2, 2, 3, 6), (1, 4, 2, 17), (9, 3, 2, 33)]  # (B, T, I, H)
LARGE = (40, 12, 33, 70)  # enough work for several threads
FEW = (3, 12, 64, 260)  # few rows: each thread computes some units of every step
COUNTS = {"call": 3, "first_row": 5, "first_step": 7, "layer": 2}
TOLERANCE = {"float32": 3e-5, "float64": 1e-11}


def made(name, shape, dtype, **options):
    """Return a layer with random float32 numbers in all parameters, and its input."""
    I, H = shape[2:]
    layer = fill(ALL[name](I, H, dtype=dtype, seed=2**40 + 9, **options), 1, 0.6 / np.sqrt(H / 5))
    for array in layer.params.values():
        array[...] = array.astype("float32")
    x = np.random.default_rng(shape).normal(size=shape[:3]).astype("float32")
    return layer, x


def steps_of(shape, kind):
    """Return lengths, mask and resets, as arguments of forward."""
    B, T = shape[:2]
    rng = np.random.default_rng([*shape, 1])
    given = {
        "lengths": rng.integers(0, T + 1, B),
        "mask": rng.random((B, T)) < 0.6,
        "resets": rng.random((B, T)) < 0.35,
    }
    wanted = {"full": (), "all": given}.get(kind, (kind,))
    return {key: given[key] for key in wanted}


# ------------------------------------------------------------------------------ of which type

COMMON = {"bias", "reverse", "dtype", "layer_norm", "clip", "learn_state", "delays"}
COMMON |= {"recurrent_dropout", "zoneout", "weight_drop"}
GATES = {"activation", "recurrent_activation"}
OWN = {
    "RNN": {"activation", "leak", "learn_leak", "noise"},
    "LSTM": GATES | {"output_activation", "peepholes", "coupled", "proj_size"},
    "GRU": GATES | {"reset"},
    "JANET": {"beta"},
}


@pytest.mark.parametrize("name", OWN)
def test_a_type_takes_its_options_and_no_others(name):
    layer = getattr(crnn, name)
    assert layer(2, 3).options.keys() == COMMON | OWN[name]
    for other in set().union(*OWN.values()) - OWN[name]:
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{other}'"):
            layer(2, 3, **{other: 1})


# --------------------------------------------------------------------------- against the twins


def answer(y, state, tape, dx, dstate, grads):
    parts = {"y": y, "state": state, "h": tape.h, "gates": tape.gates, "dh": tape.dh, "dx": dx}
    parts |= {"dgates": tape.dgates}
    if isinstance(state, tuple):
        parts |= {"c": tape.c, "dc": tape.dc}
    return leaves(parts | {"dstate": dstate, "grads": dict(grads)})


def of_the_core(layer, x, state, training, steps):
    layer.zero_grad()
    y, end, tape = layer.forward(x, state, training=training, **COUNTS, **steps)
    dy, dend = like((y, end), np.random.default_rng(3))
    dx, dstate = layer.backward(tape, dy.astype("float32"), dend, trace=True)
    return answer(y, end, tape, dx, dstate, layer.grads), (dy.astype("float32"), dend)


def of_the_twin(name, layer, x, state, training, steps, gradients):
    twin, steps = ALL[name].twin, dict(steps)
    params = {key: array.astype("float64") for key, array in layer.params.items()}
    counts = COUNTS | {"seed": layer.seed, "training": training}
    lengths = steps.pop("lengths", None)
    y, end, tape = twin.forward(params, x, state, lengths, layer.reverse, **steps, **counts)
    dx, dstate, grads = twin.backward(params, tape, *gradients)
    return answer(y, end, tape, dx, dstate, grads)


@every_varied
@pytest.mark.parametrize("kind", ["full", "lengths", "mask", "resets", "all"])
def test_options_agree_with_the_reference(name, kind, dtype, isa):
    number = zlib.crc32(f"{name}{kind}".encode())
    for i, shape in enumerate(SHAPES):
        layer, x = made(name, shape, dtype, reverse=bool((number + i) & 1))
        x = x if (number + i) & 2 else np.abs(x[..., 0] * 10).astype(int) % shape[2]
        steps, training = steps_of(shape, kind), bool((number + i) % 3)
        state = like(layer(x)[1], np.random.default_rng(i)) if (number + i) & 4 else None
        found, gradients = of_the_core(layer, x, state, training, steps)
        expected = of_the_twin(name, layer, x, state, training, steps, gradients)
        if x.ndim == 2:  # symbols have no gradient
            expected.pop("dx", None)
        assert found.keys() == expected.keys()
        for key, array in expected.items():
            assert_close(found[key], array, TOLERANCE[dtype], f"{key} of {shape}")


# ----------------------------------------------------------------------- promises, bit for bit


def rows_of(state, rows):
    if isinstance(state, tuple):
        return tuple(part[rows] for part in state)
    return state[rows]


@every_one
@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
def test_a_row_alone_in_training(name, reverse, dtype):
    for shape in ((9, 5, 3, 17), (15, 4, 1, 5)):
        layer, x = made(name, shape, dtype, reverse=reverse)
        steps = steps_of(shape, "all")
        state = like(layer(x)[1], np.random.default_rng(0))
        y, end, _ = layer.forward(x, state, **steps, **COUNTS)
        for b in range(shape[0]):
            row, counts = slice(b, b + 1), COUNTS | {"first_row": COUNTS["first_row"] + b}
            own = {key: array[row] for key, array in steps.items()}
            alone, alone_end, _ = layer.forward(x[row], rows_of(state, row), **own, **counts)
            assert_same_bits([alone, alone_end], [y[row], rows_of(end, row)])


@every_one
@pytest.mark.parametrize("shape", [LARGE, FEW], ids=["large", "few"])
def test_any_number_of_threads(name, shape, dtype, threads):
    layer, x = made(name, shape, dtype)
    steps = steps_of(shape, "all")
    found = {}
    for n in (1, 2, 3):
        threads(n)
        found[n] = [forward_backward(layer, x, **COUNTS), forward_backward(layer, x, **steps)]
        assert_same_bits(found[n], found[1])


@every_one
def test_values_that_are_not_read_have_no_effect(name, dtype):
    """Values at padding and masked steps, and gradients at padding, change no bit."""
    shape = (7, 6, 3, 9)
    layer, x = made(name, shape, dtype)
    steps = steps_of(shape, "all")
    there = steps["mask"] & (np.arange(shape[1]) < steps["lengths"][:, None])
    junk = np.where(there[..., None], x, np.float32(np.nan))

    def spoil(dy):
        dy[np.arange(shape[1]) >= steps["lengths"][:, None]] = np.inf

    clean = forward_backward(layer, x, **steps, **COUNTS)
    assert_same_bits(forward_backward(layer, junk, **steps, **COUNTS, spoil=spoil), clean)


@every_one
@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
def test_a_mask_is_a_shorter_row(name, reverse, dtype):
    """The steps that are read, as a sequence without a mask, have the same outputs."""
    shape = (6, 7, 3, 5)
    layer, x = made(name, shape, dtype, reverse=reverse)
    mask = steps_of(shape, "mask")["mask"]
    y, end = layer(x, mask=mask)
    for b, read in enumerate(mask):
        alone, alone_end = layer(x[b : b + 1, read])
        assert_same_bits([y[b : b + 1, read], rows_of(end, slice(b, b + 1))], [alone, alone_end])
        order = range(7)[::-1] if reverse else range(7)
        last = np.zeros_like(y[b, 0])
        for t in order:
            last = y[b, t] if read[t] else last
            assert_same_bits(y[b, t], last)


@every_one
@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "reverse"])
def test_a_reset_begins_a_row(name, reverse, dtype):
    shape = (6, 7, 3, 5)
    layer, x = made(name, shape, dtype, reverse=reverse)
    resets = steps_of(shape, "resets")["resets"]
    y, end = layer(x, resets=resets)
    for b in range(shape[0]):
        cuts = [0, *(np.flatnonzero(resets[b, 1:]) + 1), 7]
        pieces = [layer(x[b : b + 1, i:j]) for i, j in itertools.pairwise(cuts)]
        assert_same_bits(y[b : b + 1], np.concatenate([piece[0] for piece in pieces], axis=1))
        last = pieces[0 if reverse else -1][1]
        assert_same_bits(rows_of(end, slice(b, b + 1)), last)


@every_one
def test_symbols_are_one_hot_rows(name, dtype):
    layer, _ = made(name, (5, 4, 6, 17), dtype)
    symbols = np.random.default_rng(0).integers(0, 6, (5, 4))
    steps = steps_of((5, 4, 6, 17), "all")
    found = forward_backward(layer, symbols, **steps, **COUNTS)
    expected = forward_backward(layer, np.eye(6)[symbols], **steps, **COUNTS)
    expected.pop("dx")
    for key, array in expected.items():
        assert_close(found[key], array, 10 * TOLERANCE[dtype], key)


@every_one
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_a_stream_is_a_call(name, batch, dtype, isa):
    layer, x = made(name, (batch, 5, 3, 17), dtype)
    y, end = layer(x)
    stream = layer.stream(batch)
    assert_same_bits(np.stack([stream.step(x[:, t]) for t in range(5)], axis=1), y)
    assert_same_bits(stream.state, end)
    stream.reset([0])
    again, _ = layer(x[:1, :1])
    assert_same_bits(stream.step(x[:, 0])[:1], again[:, 0])


@pytest.mark.parametrize("cls", [crnn.RNN, crnn.LSTM, crnn.GRU, crnn.JANET])
def test_steps_of_a_stream_may_be_symbols_or_floats(cls):
    layer, symbols = cls(5, 7, seed=1), np.random.default_rng(2).integers(0, 5, (3, 8))
    vectors = np.eye(5, dtype=np.float32)[symbols]
    stream = layer.stream(3)
    steps = [stream.step((symbols if t % 3 else vectors)[:, t]) for t in range(8)]
    np.testing.assert_allclose(np.stack(steps, 1), layer(symbols)[0], rtol=1e-6, atol=1e-7)


# --------------------------------------------------------------------------------- what is drawn

NOISY = [
    name
    for name, cell in VARIED.items()
    if {"recurrent_dropout", "zoneout", "weight_drop"} & cell.options.keys()
]


@pytest.mark.parametrize("name", NOISY)
def test_dropout_is_a_function_of_the_arguments(name, dtype):
    layer, x = made(name, (4, 9, 3, 33), dtype)
    other = type(layer).from_config(layer.config | {"seed": layer.seed + 1})
    other.load_state_dict(layer.state_dict())
    first = layer.forward(x, **COUNTS)[0]
    assert_same_bits(layer.forward(x, **COUNTS)[0], first)
    assert (other.forward(x, **COUNTS)[0] != first).any()
    noiseless = layer.forward(x, training=False)[0]
    assert_same_bits(layer(x)[0], noiseless)
    assert (noiseless != first).any()
    for key in ("call", "layer"):
        assert (layer.forward(x, **COUNTS | {key: 4})[0] != first).any(), key


def test_how_often_units_are_dropped():
    """With a saturated new state, y shows at which steps a unit was kept."""
    layer = crnn.RNN(1, 200, zoneout=0.3, activation="identity", dtype="float64")
    layer.flat_params[...] = 0
    layer.params["b"] = 1.0  # h' = 1 after the first step at which it is not kept
    y = layer.forward(np.zeros((50, 1, 1)))[0]
    assert set(np.unique(y)) == {0.0, 1.0}
    assert abs(np.mean(y == 0) - 0.3) < 4 * np.sqrt(0.3 * 0.7 / y.size)


def test_dropout_layers_of_one_seed_differ_within_a_model():
    twice = crnn.Sequential([crnn.Dropout(0.5, seed=1), crnn.Dropout(0.5, seed=1)])
    y = twice.forward(np.ones((20, 5, 8)))[0]
    assert np.mean(y != 0) == pytest.approx(0.25, abs=0.1)  # with equal masks it would be one half


def test_a_rows_mask_can_be_had_alone():
    for variational in (False, True):
        layer = crnn.Dropout(0.4, variational=variational, seed=5)
        whole = layer.forward(np.ones((4, 6, 9)), call=2)[0]
        alone = layer.forward(np.ones((1, 6, 9)), call=2, first_row=2)[0]
        assert_same_bits(whole[2:3], alone)
        tail = layer.forward(np.ones((4, 2, 9)), call=2, first_step=4)[0]
        assert_same_bits(whole[:, 4:], tail)
        assert (np.ptp(whole, axis=1) == 0).all() == variational


# ------------------------------------------------------------------------------ initial numbers


def test_chrono_biases():
    """Biases are log u for gates that keep the state, with u between 1 and T_max - 1 (2018)."""
    for layer, gate, sign in (
        (crnn.LSTM(2, 500, chrono=100, seed=0), "f", 1),
        (crnn.LSTM(2, 500, chrono=100, seed=0), "i", -1),
        (crnn.LSTM(2, 500, chrono=100, coupled=True, seed=0), "i", -1),
        (crnn.GRU(2, 500, chrono=100, seed=0), "z", -1),
        (crnn.JANET(2, 500, chrono=100, seed=0), "f", 1),
    ):
        begin = layer.gate_order.index(gate) * 500
        u = np.exp(sign * layer.params["b"][begin : begin + 500])
        assert (u > 0.999).all()
        assert (u < 99.001).all()
        assert np.mean(u) == pytest.approx(50, abs=5)


def test_the_mean_of_zoneout_in_evaluation():
    layer, x = made("gru_after-zoneout", (3, 1, 4, 5), "float64")
    plain = crnn.GRU(4, 5, dtype="float64")
    plain.load_state_dict(layer.state_dict())
    h = np.random.default_rng(0).normal(size=(3, 5))
    np.testing.assert_allclose(layer(x, h)[0][:, 0], 0.3 * h + 0.7 * plain(x, h)[0][:, 0], 1e-12)


def test_states_of_a_bidirectional_layer_have_names():
    layer = crnn.Bidirectional(crnn.GRU(2, 3))
    _, state = layer(np.zeros((2, 4, 2)))
    assert state.forward is state[0]
    assert state.backward is state[1]
    assert_same_bits(layer(np.zeros((2, 4, 2)), state)[0], layer(np.zeros((2, 4, 2)), (*state,))[0])


def test_resets_of_both_directions_let_nothing_pass():
    """A row with a reset has the results of two rows, also stacked and bidirectional."""
    model = crnn.Sequential(
        [crnn.Bidirectional(crnn.LSTM(3, 4)), crnn.Bidirectional(crnn.GRU(8, 5), "sum")]
    )
    x = np.random.default_rng(0).normal(size=(2, 9, 3)).astype("float32")
    resets = np.zeros((2, 9), bool)
    resets[0, 4] = resets[1, [0, 7]] = True
    y, _ = model(x, resets=resets)
    for b, cuts in ((0, [0, 4, 9]), (1, [0, 7, 9])):
        for i, j in itertools.pairwise(cuts):
            assert_same_bits(y[b : b + 1, i:j], model(x[b : b + 1, i:j])[0])


def test_learned_states_are_trained():
    layer = fill(crnn.LSTM(2, 3, learn_state=True, dtype="float64"))
    x, resets = np.random.default_rng(0).normal(size=(4, 5, 2)), np.zeros((4, 5), bool)
    resets[1, 3] = True
    y, _, tape = layer.forward(x, resets=resets)
    _, (dh, _) = layer.backward(tape, np.ones_like(y))
    without = copied(dict(layer.grads))
    assert (
        np.abs(without["h0"] - dh.sum(axis=0)).max() > 1e-3
    )  # the steps after the reset contribute, too
    layer.zero_grad()
    _, _, tape = layer.forward(x, (np.zeros((4, 3)), np.zeros((4, 3))))
    layer.backward(tape, np.ones_like(y))
    assert not layer.grads["h0"].any()
    assert not layer.grads["c0"].any()


@every_cell
@pytest.mark.parametrize("symbols", [False, True], ids=["floats", "symbols"])
def test_a_tape_has_copies_of_lengths_mask_and_resets(kind, symbols):
    """The tape has copies of lengths, mask and resets: the caller may change the arrays."""
    layer, x = made(kind, (4, 6, 3, 5), "float64")
    x = x[..., 0].astype(int) % 3 if symbols else x
    steps = steps_of((4, 6), "all")
    expected = forward_backward(layer, x, **steps)
    y, end, tape = layer.forward(x, **steps)
    dy, dend = like((y, end), np.random.default_rng(5))
    steps["lengths"][:], steps["mask"][:], steps["resets"][:] = 10**8, True, True
    if symbols:
        x[:] = 10**8
    layer.zero_grad()
    dx, dstate = layer.backward(tape, dy, dend)
    found = copied({"dx": dx, "dstate": dstate, "grads": dict(layer.grads)})
    assert_same_bits(found, {name: expected[name] for name in found})
