"""Reservoirs: their weights as functions of the options, and errors of the constructor.

The tables of support/tables.py contain a reservoir, so the tests of gradients, plans, streams,
copies and files run on it.
"""

import copy
import functools
import hashlib
import inspect
import pickle
import re
import threading

import numpy as np
import pytest

import crnn
from crnn.common import spectral
from crnn.common.choices import Topology
from crnn.layers.recurrent import topologies
from support.comparing import assert_same_bits

SIZES = (1, 2, 3, 16, 17, 47, 48, 50, 65, 100, 130, 200)
every_topology = pytest.mark.parametrize("topology", Topology.__args__)


def eigen_radius(matrix):
    return np.abs(np.linalg.eigvals(matrix.astype(np.float64))).max()


# ----------------------------------------------------------------------------------------- weights


@every_topology
@pytest.mark.parametrize("H", SIZES)
def test_W_h_has_the_spectral_radius(topology, H, dtype):
    layer = crnn.Reservoir(1, H, spectral_radius=0.8, topology=topology, dtype=dtype, seed=H)
    tolerance = 1e-6 if dtype == "float32" else 1e-9
    assert abs(eigen_radius(layer.params["W_h"]) - 0.8) < tolerance
    if H <= 100:
        assert abs(layer.spectral_radius - 0.8) < tolerance


def test_radii_are_those_of_the_present_weights():
    leak = np.linspace(0.1, 1, 60)
    layer = crnn.Reservoir(1, 60, leak=leak, seed=0, dtype="float64")
    W = layer.params["W_h"]
    effective = np.diag(1 - leak) + leak[:, None] * W
    assert layer.effective_radius == pytest.approx(eigen_radius(effective), rel=1e-10)
    one = crnn.Reservoir(1, 60, seed=0)
    assert one.effective_radius == one.spectral_radius
    W *= 2
    assert layer.spectral_radius == pytest.approx(1.8, rel=1e-10)
    assert layer.config["spectral_radius"] == 0.9  # as passed
    assert crnn.Reservoir(1, 60, spectral_radius=0, seed=0).spectral_radius == 0


# SHA-256 of the weights in float64, the first digits: they are the same on every machine.
BITS = {
    "random": "cd3948890d7c",
    "orthogonal": "3677e450a0e9",
    "cycle": "f6ca48064fa0",
}


@every_topology
def test_weights_have_the_same_bits_on_every_machine(topology, isa, monkeypatch):
    for name in ("qr", "eigvals", "svd", "norm", "inv"):
        monkeypatch.setattr(np.linalg, name, None)  # LAPACK is not used
    layer = crnn.Reservoir(
        2, 200, topology=topology, input_scaling=(0.5, 2), bias_scaling=0.3, dtype="float64", seed=1
    )
    little_endian = layer.flat_params.astype("<f8").tobytes()
    assert hashlib.sha256(little_endian).hexdigest()[:12] == BITS[topology]
    single = crnn.Reservoir(
        2, 200, topology=topology, input_scaling=(0.5, 2), bias_scaling=0.3, seed=1
    )
    assert_same_bits(single.flat_params, layer.flat_params.astype(np.float32))


def test_the_radius_of_hard_matrices_needs_no_lapack(monkeypatch):
    monkeypatch.setattr(spectral, "_DIRECT_AFTER", 110)
    hard = crnn.Reservoir(1, 120, topology="orthogonal", density=1, seed=0).params["W_h"]
    expected = crnn.spectral_radius(hard)  # of a large orthogonal matrix, by LAPACK
    monkeypatch.setattr(np.linalg, "eigvals", None)
    with pytest.raises(TypeError):
        crnn.spectral_radius(hard)
    assert spectral.fixed_radius(hard.astype(np.float64)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("H", [50, 100, 200, 333])
@pytest.mark.parametrize("density", [0.01, 0.3, 0.5, 0.9, 1])
def test_blocks_are_dealt_evenly(H, density):
    layer = crnn.Reservoir(1, H, density=density, seed=H)
    nonzero = layer.params["W_h"] != 0
    size = -(-H // 16)
    padded = np.zeros((16 * size, 16 * size), bool)
    padded[:H, :H] = nonzero
    blocks = padded.reshape(size, 16, size, 16).any(axis=(1, 3))
    assert (blocks.repeat(16, 0).repeat(16, 1)[:H, :H] == nonzero).all()  # no zero inside
    (read,) = {*blocks.sum(axis=0), *blocks.sum(axis=1)}
    assert read == min(size, max(3 if H % 16 == 0 else 4, np.ceil(density * size)))
    assert nonzero.sum(axis=1).min() >= min(H, 48)
    shown = re.search(r"density=([\d.]+)", repr(layer))
    assert (float(shown[1]) if shown else 0.1) == pytest.approx(read / size)
    assert layer.multiply_adds == H + nonzero.sum()


@pytest.mark.parametrize("density", [0.1, 0.25, 1])
@pytest.mark.parametrize("H", [40, 130, 333])
def test_an_orthogonal_reservoir_is_orthogonal(H, density):
    options = {"topology": "orthogonal", "density": density, "dtype": "float64", "seed": 2}
    W = crnn.Reservoir(1, H, spectral_radius=0.5, **options).params["W_h"]
    np.testing.assert_allclose(W @ W.T, 0.25 * np.eye(H), atol=1e-14)
    if density == 1 and H > 100:  # its entries are nearly those of a uniform orthogonal matrix
        kurtosis = (W**4).mean() / (W**2).mean() ** 2
        assert kurtosis == pytest.approx(3 * H / (H + 2), rel=0.05)
    again = eval(repr(crnn.Reservoir(1, H, **options)), vars(crnn))
    assert_same_bits(again.params["W_h"], crnn.Reservoir(1, H, **options).params["W_h"])


def test_a_cycle_is_a_ring():
    W = crnn.Reservoir(1, 40, spectral_radius=0.75, topology="cycle", seed=0).params["W_h"]
    np.testing.assert_array_equal(W, 0.75 * np.roll(np.eye(40), 1, axis=0))
    layer = crnn.Reservoir(2, 40, input_scaling=[0.5, 3], topology="cycle", seed=0)
    np.testing.assert_array_equal(np.abs(layer.params["W_x"]), [[0.5, 3]] * 40)


@pytest.mark.parametrize("seed", range(6))
def test_a_linear_cycle_remembers_all_inputs(seed):
    layer = crnn.Reservoir(1, 50, topology="cycle", activation="identity", seed=seed)
    assert abs(crnn.diagnostics.memory_capacity(layer).total - 49) < 0.1


@pytest.mark.parametrize("H", [1, 3, 4, 6, 7, 12, 50])
def test_the_signs_of_a_cycle_make_a_regular_circulant(H):
    drawn = np.random.default_rng(H).choice([-1, 1], (60, H))
    for signs in drawn:
        smallest = np.abs(np.fft.fft(signs)).min()
        assert topologies._is_regular(signs) == (smallest > 1e-9)
    for seed in range(20):
        W_x = crnn.Reservoir(1, H, topology="cycle", seed=seed).params["W_x"]
        assert np.abs(np.fft.fft(W_x[:, 0])).min() > 1e-9


def test_weights_are_uniform_in_their_scalings():
    layer = crnn.Reservoir(2, 2000, spectral_radius=0, input_scaling=[0.5, 0], bias_scaling=2)
    W_x, b = layer.params["W_x"], layer.params["b"]
    for array, scale in ((W_x[:, 0], 0.5), (b, 2)):
        assert 0.99 * scale < array.max() <= scale
        assert abs(array.mean()) < 0.1 * scale
        assert array.std() == pytest.approx(scale / 3**0.5, rel=0.1)
    assert not W_x[:, 1].any()


# --------------------------------------------------------------------------------------- as a layer


def test_it_equals_an_rnn_with_its_weights(dtype):
    options = {"leak": 0.3, "activation": "softsign", "reverse": True, "dtype": dtype}
    layer = crnn.Reservoir(3, 70, seed=4, **options)
    rnn = crnn.RNN(3, 70, seed=4, **options)
    rnn.load_state_dict(layer.state_dict())
    x = np.random.default_rng(0).normal(size=(4, 9, 3)).astype(dtype)
    for given in ({}, {"lengths": [9, 0, 4, 7]}):
        assert_same_bits(layer(x, **given), rnn(x, **given))
    model = crnn.Sequential([layer, crnn.Dense(70, 2, dtype=dtype, seed=1)])
    other = crnn.Sequential([rnn, crnn.Dense(70, 2, dtype=dtype, seed=1)])
    assert_same_bits(model(x), other(x))


def test_states_follow_the_equation():
    leak = np.linspace(0.2, 1, 130)
    layer = crnn.Reservoir(2, 130, leak=leak, bias_scaling=0.5, dtype="float64", seed=0)
    x, h = np.random.default_rng(1).normal(size=(1, 30, 2)), np.zeros(130)
    y, _ = layer(x)
    W_x, W_h, b = (layer.params[name] for name in ("W_x", "W_h", "b"))
    for t in range(30):
        h = (1 - leak) * h + leak * np.tanh(W_x @ x[0, t] + W_h @ h + b)
        np.testing.assert_allclose(y[0, t], h, rtol=1e-12, atol=1e-14)


def test_loading_does_not_draw_weights(tmp_path, monkeypatch):
    layer = crnn.Reservoir(2, 100, seed=0)
    layer.params["W_h"] *= 0.5
    model = crnn.Sequential([layer, crnn.Ridge(100, 1)])
    crnn.save(tmp_path / "model", model)
    monkeypatch.setattr(topologies, "fixed_radius", None)
    loaded = crnn.load(tmp_path / "model")
    assert_same_bits(loaded.params, model.params)
    assert loaded[0].config == layer.config
    assert loaded[0].trainable is False
    with pytest.raises(TypeError):
        crnn.Reservoir(2, 100, seed=0)


def test_copies():
    layer = crnn.Reservoir(2, 20, input_scaling=[1, 2], topology="cycle", leak=0.5, seed=1)
    for other in (pickle.loads(pickle.dumps(layer)), crnn.Reservoir.from_config(layer.config)):
        assert_same_bits(other.flat_params, layer.flat_params)
        assert other.config == layer.config
        assert repr(other) == repr(layer)
        assert other.trainable is False
    wide = layer.astype("float64")
    assert wide.config == layer.config | {"dtype": "float64"}
    assert crnn.Reservoir.parameter_count(layer.config) == layer.flat_params.size
    names = list(inspect.signature(crnn.Reservoir).parameters)
    assert names == list(layer.config)


def test_noise_is_added_in_training_alone(dtype):
    options = {"bias_scaling": 0.3, "leak": 0.5, "dtype": dtype, "seed": 2}
    layer, quiet = (crnn.Reservoir(2, 70, noise=noise, **options) for noise in (0.4, 0))
    x = np.random.default_rng(0).normal(size=(3, 8, 2)).astype(dtype)
    assert (layer.stochastic, quiet.stochastic) == (True, False)
    assert_same_bits(layer(x), quiet(x))
    assert_same_bits(layer.forward(x, training=False)[0], quiet(x)[0])
    y = layer.forward(x, call=3)[0]
    twin = crnn.reference.RNN(leak=0.5, noise=0.4)
    params = {name: array.astype(np.float64) for name, array in layer.params.items()}
    expected = twin.forward(params, x, call=3, seed=2)[0]
    np.testing.assert_allclose(y, expected, atol=2e-6 if dtype == "float32" else 1e-13)
    part = layer.forward(
        x[1:, 3:],
        layer.forward(x[1:, :3], call=3, first_row=1)[1],
        call=3,
        first_row=1,
        first_step=3,
    )[0]
    assert_same_bits(part, y[1:, 3:])  # in any batch, and in windows
    model = crnn.Sequential([layer, crnn.Activation("identity")])
    assert_same_bits(model.forward(x, call=3)[0], layer.forward(x, call=3, layer=1)[0])
    assert crnn.gradcheck(layer, x).ok
    draws = crnn.reference.Draws(seed=1).uniform(5, np.arange(100)[:, None], 0, np.arange(100))
    assert abs(draws.mean()) < 0.02
    assert draws.std() == pytest.approx(3**-0.5, rel=0.02)
    assert np.abs(draws).max() < 1


# ---------------------------------------------------------------------------------- blocks of zeros
#
# A zero of W_h with the sign bit set is no zero bit by bit, so blocks with such zeros are
# multiplied like all others. They disable the skipping, and change no result that is not 0.

SPARSE = {
    "reservoir": (crnn.Reservoir, {"leak": 0.3, "bias_scaling": 0.2}),
    "orthogonal": (crnn.Reservoir, {"topology": "orthogonal", "activation": "identity"}),
    "cycle": (crnn.Reservoir, {"topology": "cycle", "reverse": True}),
    "relu": (crnn.RNN, {"activation": "relu"}),
    "lstm": (crnn.LSTM, {"peepholes": True}),
    "gru": (crnn.GRU, {"reset": "before"}),
    "layer-norm": (crnn.JANET, {"layer_norm": True}),
    "rnn, delays": (crnn.RNN, {"delays": (1, 3)}),
    "lstm, delays": (crnn.LSTM, {"delays": (1, 3)}),
    "gru, delays": (crnn.GRU, {"delays": (1, 3), "reset": "before"}),
    "gru after, delays": (crnn.GRU, {"delays": (5, 1, 3), "reset": "after", "reverse": True}),
}
every_sparse = pytest.mark.parametrize("kind", SPARSE)


@functools.cache
def sparse(kind, H, dtype):
    cls, options = SPARSE[kind]
    sparse = cls(3, H, seed=1, dtype=dtype, **options)
    if cls is not crnn.Reservoir:
        rows, columns = (size // H for size in sparse.params["W_h"].shape)  # gates and delays
        blocks = np.random.default_rng(H).random((rows, H, columns, H)) < 0.2
        kept = blocks[:, ::16, :, ::16].repeat(16, 1).repeat(16, 3)[:, :H, :, :H]
        sparse.params["W_h"] *= kept.reshape(rows * H, columns * H)
        sparse.params["W_h"] += 0.0  # -0 becomes 0
    return sparse


def sparse_and_whole(kind, H, dtype="float32"):
    """Return two layers with the same W_h, in blocks of 16 x 16: one whose zeros are skipped."""
    layer = copy.deepcopy(sparse(kind, H, dtype))
    whole = copy.deepcopy(layer)
    W_h = whole.params["W_h"]
    W_h[W_h == 0] = -0.0
    return layer, whole


def results(layer, x, **steps):
    y, state, tape = layer.forward(x, **steps)
    layer.zero_grad()
    dx, dstate = layer.backward(tape, np.cos(np.arange(y.size, dtype=y.dtype)).reshape(y.shape))
    found = {"y": y, "call": layer(x, **steps)[0], "dx": dx}
    found |= {name: grad.copy() for name, grad in layer.grads.items()}
    parts = (state, dstate) if isinstance(state, np.ndarray) else (*state, *dstate)
    return found | {f"state {place}": part for place, part in enumerate(parts)}


@every_sparse
def test_skipping_zeros_changes_no_bit(kind, dtype, isa):
    sparse, whole = sparse_and_whole(kind, 130, dtype)
    rng = np.random.default_rng(2)
    for B in (1, 9):
        x = rng.normal(size=(B, 20, 3)).astype(dtype)
        steps = {"lengths": rng.integers(0, 21, B), "mask": rng.random((B, 20)) < 0.8}
        for given in ({}, steps):
            assert_same_bits(results(sparse, x, **given), results(whole, x, **given))


def test_a_delay_runs_interleaved_reservoirs(dtype):
    options = {"leak": 0.4, "bias_scaling": 0.2, "dtype": dtype, "seed": 3}
    one, four = (crnn.Reservoir(3, 130, delays=delays, **options) for delays in (1, 4))
    assert_same_bits(four.params, one.params)
    x = np.random.default_rng(1).normal(size=(2, 22, 3)).astype(dtype)
    y, _, tape = four.forward(x)
    dx, _ = four.backward(tape, np.ones_like(y))
    for phase in range(4):
        part, _, tape = one.forward(x[:, phase::4])
        assert_same_bits(y[:, phase::4], part)
        assert_same_bits(dx[:, phase::4], one.backward(tape, np.ones_like(part))[0])
    with pytest.raises(AttributeError, match="delays: cannot be set"):
        four.delays = 1
    assert eval(repr(four), vars(crnn)).delays == four.config["delays"] == 4


@every_sparse
def test_streams_and_plans_skip_zeros(kind, dtype):
    sparse, whole = sparse_and_whole(kind, 130, dtype)
    x = np.random.default_rng(3).normal(size=(4, 12, 3)).astype(dtype)
    head = crnn.Dense(130, 2, dtype=dtype, seed=1)
    models = [crnn.Sequential([layer, head]) for layer in (sparse, whole)]
    assert_same_bits(*(results(model, x) for model in models))
    if not sparse.reverse:
        for some in ((sparse, whole), models):
            streams = [layer.stream(4) for layer in some]
            for t in range(12):
                assert_same_bits(*(stream.step(x[:, t]) for stream in streams))


@pytest.mark.parametrize("kind", ["reservoir", "orthogonal", "lstm"])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_pass_through_zeros(kind, odd, dtype):
    sparse, whole = sparse_and_whole(kind, 130, dtype)
    x = np.random.default_rng(4).normal(size=(3, 6, 3)).astype(dtype)
    x[1, 2, 0] = odd
    state = np.zeros((3, 130), dtype)
    state[2, 77] = odd
    given = {"state": state if kind != "lstm" else (state, state)}
    for name, array in results(sparse, x, **given).items():
        np.testing.assert_array_equal(array, results(whole, x, **given)[name], err_msg=name)
    y = sparse.forward(x, **given)[0]
    assert np.isfinite(y[0]).all()
    assert np.isnan(y[2, 2:]).all()  # 0 times a number that is not finite is NaN


def test_steps_of_zeros():
    sparse, whole = sparse_and_whole("reservoir", 130)
    for layer in (sparse, whole):
        layer.params["b"] = 0
    x = np.zeros((2, 5, 3), np.float32)
    x[1, 3] = 1e-44  # subnormal
    assert_same_bits(results(sparse, x), results(whole, x))
    sparse.params["b"] = -0.0
    assert not sparse(x)[0][0].any()


def test_threads_that_change_weights_do_no_harm():
    layer, _ = sparse_and_whole("reservoir", 130)
    W_h, x = layer.params["W_h"], np.ones((2, 40, 3), np.float32)
    kept, stop = W_h.copy(), threading.Event()

    def change():
        while not stop.is_set():
            W_h[...] = 0.01
            W_h[...] = kept

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(60):
            y, _, tape = layer.forward(x)
            layer.backward(tape, np.ones_like(y))
    finally:
        stop.set()
        thread.join()
    W_h[...] = kept
    assert np.isfinite(layer(x)[0]).all()


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"density": 0}, ValueError, "density: expected 0 < density <= 1, got 0"),
        ({"density": 1.01}, ValueError, "density: expected 0 < density <= 1"),
        ({"density": float("nan")}, ValueError, "density: expected a finite number"),
        ({"density": "0.1"}, ValueError, "density: expected a number"),
        ({"leak": 0}, ValueError, "leak: expected 0 < leak <= 1"),
        ({"leak": 1.5}, ValueError, "leak: expected 0 < leak <= 1"),
        ({"leak": [0.5, 0.5]}, ValueError, "leak: "),
        ({"spectral_radius": -0.1}, ValueError, "spectral_radius: expected a finite number of at"),
        ({"spectral_radius": float("nan")}, ValueError, "spectral_radius: expected a finite"),
        ({"spectral_radius": 1e39}, ValueError, "spectral_radius: expected weights in the range"),
        ({"input_scaling": -1}, ValueError, "input_scaling: expected a finite number of at least"),
        ({"input_scaling": [1, 2]}, ValueError, r"input_scaling: .* \(\) or \(I=3,\)"),
        ({"input_scaling": [1, 2, -1]}, ValueError, "input_scaling: expected a finite number of"),
        ({"input_scaling": "0.3"}, ValueError, "input_scaling: expected a number, got '0.3'"),
        ({"input_scaling": 1e39}, ValueError, "input_scaling: expected weights in the range"),
        ({"bias_scaling": -1}, ValueError, "bias_scaling: expected a finite number of at least 0"),
        ({"bias_scaling": [1.0]}, ValueError, "bias_scaling: expected a number"),
        (
            {"noise": -1e-9},
            ValueError,
            "noise: expected a finite float32 of at least 0, got -1e-09",
        ),
        ({"noise": float("nan")}, ValueError, "noise: expected a finite float32"),
        ({"noise": 1e39}, ValueError, "noise: expected a finite float32"),
        ({"noise": "no"}, TypeError, "noise: expected a finite float32"),
        ({"topology": "ring"}, ValueError, "topology: expected one of random, orthogonal, cycle"),
        ({"topology": None}, ValueError, "topology: expected one of"),
        ({"activation": "sin"}, ValueError, "activation"),
        ({"delays": (1, 2)}, ValueError, "delays: expected one integer of at least 1"),
        ({"delays": True}, TypeError, "delays: expected one integer of at least 1, got True"),
        ({"delays": (True,)}, TypeError, "delays: expected one integer of at least 1, got"),
        ({"delays": ()}, ValueError, "delays: expected one integer of at least 1, got"),
        ({"leak": "0.3"}, TypeError, "leak: expected .*, got '0.3'"),
        ({"reverse": "a"}, TypeError, "reverse: expected True or False, got 'a'"),
        ({"delays": 0}, ValueError, "delays: expected an integer of at least 1"),
        ({"dtype": "float16"}, ValueError, "dtype: "),
        ({"seed": -1}, ValueError, "seed: "),
        ({"hidden_size": 0}, ValueError, "hidden_size"),
        ({"hidden_size": 2**40}, ValueError, "hidden_size"),
        ({"clip": 1.0}, TypeError, "clip"),
    ],
)
def test_bad_input(options, error, message):
    arguments = {"input_size": 3, "hidden_size": 4}
    with pytest.raises(error, match=message):
        crnn.Reservoir(**arguments | options)
    layer = crnn.Reservoir(3, 4, seed=0)
    before, config = layer.flat_params, layer.config
    with pytest.raises(error, match=message):
        layer.__init__(**arguments | options)
    assert layer.flat_params is before  # nothing has changed
    assert layer.config == config


def test_one_delay_in_a_tuple_is_the_delay():
    layer = crnn.Reservoir(2, 20, delays=(4,), seed=0)
    assert layer.delays == 4
    assert_same_bits(layer.params, crnn.Reservoir(2, 20, delays=4, seed=0).params)


def test_sizes_of_numpy():
    sizes = np.int8(2), np.uint8(200)  # their product is no uint8
    layer = crnn.Reservoir(*sizes, seed=1)
    assert_same_bits(layer.params, crnn.Reservoir(2, 200, seed=1).params)
    assert type(layer.config["hidden_size"]) is int


def test_options_cannot_be_set():
    layer = crnn.Reservoir(1, 2, seed=0)
    for name in ("spectral_radius", "effective_radius", "density", "leak", "topology"):
        with pytest.raises(AttributeError, match=f"{name}: cannot be set"):
            setattr(layer, name, 0.5)
