"""Layers as objects: parameters, copies, saving, subclasses, initial weights, memory."""

import copy
import gc
import pickle

import numpy as np
import pytest

import crnn
from support.comparing import assert_close, assert_same_bits
from support.running import copied, fill, forward_backward, gradients_like, leaves
from support.tables import CELLS, LAYERS, WITH_W_H, H, I, every_cell, every_layer, every_reading

B, T = 3, 4


def made(name, dtype="float64"):
    """Return a layer of the table, its input and its output."""
    subject = LAYERS[name]
    layer, x = subject.layer(dtype), subject.inputs(B, T, dtype)
    return layer, x, forward_backward(layer, x)


def with_parameters(names):
    return [name for name in names if LAYERS[name].make("float32").params]


# ------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize("name", with_parameters(LAYERS))
def test_parameters_are_edited_in_place(name):
    layer, x, before = made(name)
    for key in layer.params:
        layer = LAYERS[name].layer()
        array = layer.params[key]
        array += 0.25  # a layer norm removes a constant that is equal for all features
        array.flat[0] += 1.0
        assert np.shares_memory(layer.params[key], array)
        assert (forward_backward(layer, x)["y"] != before["y"]).any(), key


@pytest.mark.parametrize("name", with_parameters(LAYERS))
def test_assignment_writes_in_place(name):
    layer, _, _ = made(name)
    for what in ("params", "grads"):
        for key, array in getattr(layer, what).items():
            getattr(layer, what)[key] = 0.5
            assert (array == 0.5).all()
            getattr(layer, what)[key] = np.arange(array.size).reshape(array.shape)
            assert array.flat[-1] == array.size - 1
            getattr(layer, what)[key] += 1.0
            assert array.flat[0] == 1.0
            before = array.copy()
            with pytest.raises((ValueError, TypeError)):
                getattr(layer, what)[key] = np.zeros((7, 7, 7))
            np.testing.assert_array_equal(array, before)
        with pytest.raises(TypeError, match="names are fixed"):
            getattr(layer, what)["W_y"] = 0.0


@pytest.mark.parametrize("name", [n for n in with_parameters(LAYERS) if n in {*CELLS, "dense"}])
def test_flat_arrays_are_the_same_memory(name):
    layer, _, _ = made(name)
    for flat, named in (
        (layer.flat_params, layer.params),
        (layer.flat_grads, layer.grads),
    ):
        assert flat.ndim == 1
        assert flat.size == sum(array.size for array in named.values())
        flat[...] = np.arange(flat.size)
        numbers = np.concatenate([array.ravel() for array in named.values()])
        assert sorted(numbers) == list(range(flat.size))
        for array in named.values():
            assert np.shares_memory(array, flat)
            array[...] = -1
        assert (flat == -1).all()


@every_layer
def test_grads_match_params(name, dtype):
    layer, _, _ = made(name, dtype)
    assert list(layer.grads) == list(layer.params)
    for key, array in layer.params.items():
        grad = layer.grads[key]
        assert (grad.shape, grad.dtype) == (array.shape, array.dtype)
        assert array.flags.writeable
        assert grad.flags.writeable
        assert grad.any()
    layer.zero_grad()
    assert not any(grad.any() for grad in layer.grads.values())


@every_cell
def test_shapes_and_names_are_documented_ones(kind):
    layer = CELLS[kind](I, H)
    G = len(layer.gate_order)
    expected = {"W_x": (G * H, I), "W_h": (G * H, H), "b": (G * H,)}
    expected |= {"b_hn": (H,)} if kind == "gru_after" else {}
    if kind not in WITH_W_H:
        del expected["W_h"]
    assert {key: array.shape for key, array in layer.params.items()} == expected
    assert layer.gate_order == CELLS[kind].twin.gate_order
    assert set(CELLS[kind](I, H, bias=False).params) == {"W_x", "W_h"} & set(expected)
    _, _, tape = layer.forward(np.zeros((1, 1, I)))
    assert tuple(tape.gates) == layer.gate_order


def test_dotted_names():
    inner = crnn.Bidirectional(crnn.GRU(H, H), "sum")
    seq = crnn.Sequential([crnn.RNN(I, H), crnn.Residual(inner)])
    names = ["W_x", "W_h", "b"]
    gru = [f"1.layer.{way}.{key}" for way in ("forward", "backward") for key in [*names, "b_hn"]]
    assert list(seq.params) == [f"0.{key}" for key in names] + gru
    assert np.shares_memory(seq.params["1.layer.backward.b"], inner.backward_layer.params["b"])
    assert np.shares_memory(seq.grads["1.layer.forward.b"], inner.forward_layer.grads["b"])


@every_layer
def test_arrays_outlive_the_layer(name):
    layer, x, _ = made(name)
    tape = layer.forward(x)[2]
    kept = [layer.params, layer.grads]
    expected = copied(kept)
    state = layer.state_dict()
    del layer, tape, x
    gc.collect()
    made(name)  # reuses free memory
    assert_same_bits(kept, expected)
    assert_same_bits(state, {key[4:]: a for key, a in expected.items() if key.startswith("[0].")})


@every_reading
def test_results_are_new_arrays(name, symbols):
    """Results are new arrays: changing them changes neither the layer nor the tape."""
    subject = LAYERS[name]
    layer, x = subject.layer(), subject.inputs(B, T, symbols=symbols)
    for training in (True, False):
        y, state, tape = layer.forward(x, training=training)
        dy, dstate = gradients_like([y, state], np.random.default_rng(0))
        expected = copied(layer.backward(tape, dy, dstate))
        for array in leaves([y, state]).values():
            array[...] = np.nan if array.dtype.kind == "f" else 77
        back = layer.backward(tape, dy, dstate)
        assert_same_bits(back, expected)
        arrays = [*leaves([y, state, layer(x), back, dstate, layer.params]).values(), x, dy]
        for k, one in enumerate(arrays):
            assert not any(np.shares_memory(one, other) for other in arrays[:k]), k


# --------------------------------------------------------------------------- copies and saving


COPIES = {"deepcopy": copy.deepcopy, "copy.copy": copy.copy} | {
    f"pickle-{protocol}": lambda layer, p=protocol: pickle.loads(pickle.dumps(layer, p))
    for protocol in (0, 2, pickle.HIGHEST_PROTOCOL)
}


@every_layer
@pytest.mark.parametrize("how", [how for how in COPIES if how != "copy.copy"])
def test_copies(name, how, dtype):
    """Copies have parameters, gradients and attributes, and share no memory."""
    layer, x, expected = made(name, dtype)
    layer.note = {"a": [1, 2]}
    other = COPIES[how](layer)
    assert type(other) is type(layer)
    assert other.note == layer.note
    assert repr(other) == repr(layer)
    assert_same_bits([other.params, other.grads], [layer.params, layer.grads])
    for one, two in zip(layer.params.values(), other.params.values(), strict=True):
        assert not np.shares_memory(one, two)
    fill(other, seed=9)
    other.zero_grad()
    assert_same_bits(forward_backward(layer, x), expected)
    other.load_state_dict(layer.state_dict())
    assert_same_bits(forward_backward(other, x), expected)


def test_copies_keep_shared_layers():
    shared = crnn.Dense(I, I)
    for how in ("deepcopy", "pickle-2"):
        other = COPIES[how](crnn.Sequential([shared, crnn.Residual(shared)]))
        assert other.layers[0] is other.layers[1].layer


@every_layer
def test_state_dict(name, dtype):
    layer, x, expected = made(name, dtype)
    state = layer.state_dict()
    assert list(state) == list(layer.params)
    frozen = copied(state)
    fill(layer, seed=9)
    assert_same_bits(state, frozen)  # copies
    layer.load_state_dict(dict(reversed(state.items())))
    assert_same_bits(forward_backward(layer, x), expected)
    other = LAYERS[name].make("float64" if dtype == "float32" else "float32")
    other.load_state_dict(state)
    for key, array in other.params.items():
        np.testing.assert_array_equal(array, state[key].astype(array.dtype))


@every_layer
def test_astype(name):
    layer, _, _ = made(name, "float32")
    other = layer.astype("float64")
    assert type(other) is type(layer)
    for key, array in layer.params.items():
        assert array.dtype == np.float32
        assert other.params[key].dtype == np.float64
        np.testing.assert_array_equal(other.params[key], array)
        assert not other.grads[key].any()
        assert layer.grads[key].any()
        assert not np.shares_memory(other.params[key], array)
    assert_same_bits(other.astype(np.float32).params, layer.params)
    assert repr(layer).replace("float32", "") == repr(other.astype("<f4")).replace("float32", "")


@every_layer
def test_a_repr_can_be_typed_back(name, dtype):
    layer = LAYERS[name].make(dtype)
    other = eval(repr(layer), vars(crnn))
    assert type(other) is type(layer)
    assert repr(other) == repr(layer)
    assert_same_bits(other.params, layer.params)  # the repr has the seed


@pytest.mark.parametrize(
    "text",
    [
        "LSTM(2, 3, forget_bias=0.5, bias=False, reverse=True, dtype='float64', seed=1)",
        "RNN(2, 3, activation='relu', seed=1)",
        "GRU(2, 3, reset='before', seed=1)",
        "JANET(2, 3, beta=-2.5, seed=1)",
        "Dense(2, 3, bias=False, seed=1)",
        "Embedding(2, 3, dtype='float64', seed=1)",
        "Dropout(0.25, seed=1)",
        "LayerNorm(2, eps=0.1)",
        "Residual(Dense(2, 2, seed=1))",
        "Bidirectional(RNN(2, 3, seed=1), merge='mean')",
        "Sequential([Bidirectional(RNN(2, 3, seed=1)), Dropout(0.5, seed=2)])",
    ],
)
def test_reprs_are_the_expressions_that_made_the_layers(text):
    assert repr(eval(text, vars(crnn))) == text


# ------------------------------------------------------------------------------------ subclasses


class Noted(crnn.GRU):
    """A subclass with an option, other defaults, and a forward that counts its calls."""

    def __init__(self, input_size, hidden_size, *, note="n", reset="before", **options):
        super().__init__(input_size, hidden_size, reset=reset, **options)
        self.note = note
        self.calls = 0

    def forward(self, x, *args, **kwargs):
        self.calls += 1
        return super().forward(x, *args, **kwargs)

    @property
    def config(self):
        return super().config | {"note": self.note}


def test_a_subclass_with_attributes():
    layer = fill(Noted(I, H, note=["x"], dtype="float64", seed=1))
    x = np.ones((B, T, I))
    expected = forward_backward(layer, x)
    for how in COPIES.values():
        other = how(layer)
        assert type(other) is Noted
        assert (other.note, other.calls, other.seed, other.reset) == (["x"], 1, 1, "before")
        assert_same_bits(forward_backward(other, x), expected)
    assert layer.calls == 1
    assert layer.astype("float32").note == ["x"]
    text = repr(crnn.Bidirectional(crnn.Residual(layer).layer))
    assert text.startswith("Bidirectional(Noted(")
    assert "note=['x']" in text
    assert repr(eval(text, vars(crnn) | {"Noted": Noted})) == text


class Halved(crnn.GRU):
    """A subclass whose call returns other outputs than forward."""

    def __call__(self, *args, **options):
        y, state = super().__call__(*args, **options)
        return y / 2, state


def test_the_core_uses_an_overridden_call():
    symbols, stack = np.array([[1, 0, 2]]), [crnn.Embedding(3, 2, seed=1)]
    plain, halved = (crnn.Sequential([*stack, kind(2, 4, seed=2)]) for kind in (crnn.GRU, Halved))
    assert_same_bits(halved(symbols)[0], plain(symbols)[0] / 2)
    options = {"source_symbols": 3, "target_symbols": 9, "seed": 3}
    plain, halved = (
        crnn.Seq2Seq(crnn.GRU(2, 4, seed=1), kind(2, 4, seed=2), **options)
        for kind in (crnn.GRU, Halved)
    )
    halved.output.params["W"] *= 2
    asked = {"start": 0, "stop": None, "max_steps": 9}
    assert_close(halved.generate(symbols, **asked)[1], plain.generate(symbols, **asked)[1], 1e-6)


def test_compositions_use_methods_of_a_subclass():
    layer = Noted(I, I, seed=1)
    for whole in (crnn.Sequential([layer]), crnn.Residual(layer), crnn.Bidirectional(layer)):
        before = layer.calls
        whole.forward(np.ones((B, T, I)))
        assert layer.calls == before + 1


@every_cell
def test_a_subclass_that_never_calls_init(kind):
    """Every method raises an error, and none crashes."""
    base = CELLS[kind].layer

    class Forgetful(base):
        def __init__(self):
            self.note = 1

    layer, x = Forgetful(), np.ones((B, T, I))
    tape = CELLS[kind](I, H).forward(x)[2]
    for touch in (
        lambda: layer(x),
        lambda: layer.forward(x),
        lambda: layer.backward(tape, None),
        lambda: layer.check_backward(tape, None),
        lambda: layer.stream(),
        lambda: layer.params,
        lambda: layer.grads,
        lambda: layer.flat_params,
        lambda: layer.hidden_size,
        lambda: layer.gate_order,
        lambda: layer.state_dict(),
        lambda: layer.zero_grad(),
        lambda: copy.deepcopy(layer),
        lambda: pickle.dumps(layer),
        lambda: crnn.Bidirectional(layer),
    ):
        with pytest.raises(RuntimeError, match="__init__ was not called"):
            touch()


def test_a_bidirectional_that_never_calls_init():
    class Forgetful(crnn.Bidirectional):
        def __init__(self):
            pass

    layer, x = Forgetful(), np.ones((B, T, I))
    for touch in (
        lambda: layer(x),
        lambda: layer.forward(x),
        lambda: layer.backward(None, None),
        lambda: layer.params,
        lambda: pickle.dumps(layer),
    ):
        with pytest.raises(RuntimeError, match="__init__ was not called"):
            touch()


def test_init_once_more_makes_the_layer_anew():
    layer = crnn.LSTM(I, H, seed=1)
    old = layer.params["W_h"]
    layer.__init__(I + 1, H, seed=2)
    assert layer.params["W_x"].shape == (4 * H, I + 1)
    assert not np.shares_memory(old, layer.params["W_h"])
    with pytest.raises(ValueError, match="input_size"):
        layer.__init__(0, H)
    assert layer(np.zeros((1, 1, I + 1)))[0].shape == (1, 1, H)
