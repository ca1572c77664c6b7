"""Parameters as a mapping with fixed names, as one buffer, and in read-only memory."""

import copy
import pickle

import joblib
import numpy as np
import pytest

import crnn
from crnn.layers.base.layer import Layer
from crnn.layers.base.parameters import Parameters
from crnn.models import SequenceAutoencoder
from support.comparing import assert_same_bits
from support.processes import trained
from support.running import copied, fill
from support.tables import CELLS, LAYERS, H, I, K, every_layer

# ------------------------------------------------------------------------------------- the mapping


def filled(name="sequential", dtype="float64"):
    layer = fill(LAYERS[name].make(dtype))
    for array in layer.grads.values():
        array[...] = 3.0
    return layer


KINDS = ["lstm", "gru_after", "dense", "embedding", "layernorm", "bidirectional-sum", "tied"]
KINDS += ["sequential-embedded", "residual", "checkpointed"]
both = pytest.mark.parametrize("what", ["params", "grads"])


def wanted(arrays):
    """Return new numbers for all parameters, in another type and memory order."""
    return {
        name: np.asfortranarray(np.arange(array.size).reshape(array.shape))
        for name, array in arrays.items()
    }


UPDATES = {
    "update": lambda layer, what, values: getattr(layer, what).update(values),
    "pairs": lambda layer, what, values: getattr(layer, what).update(iter(values.items())),
    "keywords": lambda layer, what, values: getattr(layer, what).update(**values),
    "|=": lambda layer, what, values: getattr(layer, what).__ior__(values),
    "[]": lambda layer, what, values: [
        getattr(layer, what).__setitem__(name, value) for name, value in values.items()
    ],
}


@pytest.mark.parametrize("name", KINDS)
@both
@pytest.mark.parametrize("how", UPDATES)
def test_assigning_copies_into_the_arrays(name, what, how):
    layer = filled(name)
    before, arrays = getattr(layer, what), dict(getattr(layer, what))
    values = wanted(arrays)
    UPDATES[how](layer, what, values)
    for key, array in getattr(layer, what).items():
        np.testing.assert_array_equal(array, values[key])
        np.testing.assert_array_equal(before[key], values[key])
        assert np.shares_memory(array, arrays[key])
        assert not np.shares_memory(array, values[key])
        assert array.dtype == np.float64


@both
def test_augmented_assignment_of_the_mapping(what):
    layer = filled("lstm")
    if what == "params":
        layer.params |= {"b": 2.0}
    else:
        layer.grads |= {"b": 2.0}
    assert (getattr(layer, what)["b"] == 2).all()
    named = getattr(layer, what)
    named |= {"b": np.arange(4.0 * H)}
    assert type(named) is Parameters
    np.testing.assert_array_equal(getattr(layer, what)["b"], np.arange(4.0 * H))
    joined = layer.params | {"more": 1}  # a new dictionary
    assert joined["more"] == 1
    assert "more" not in layer.params


def test_values_that_are_parameters_themselves():
    """All values are read before the first one is written."""
    layer = crnn.Sequential([crnn.Dense(2, 2, seed=1), crnn.Dense(2, 2, seed=2)])
    first, second = (layer.params[f"{i}.W"].copy() for i in range(2))
    layer.params.update({"0.W": layer.params["1.W"], "1.W": layer.params["0.W"]})
    assert_same_bits([layer.params["0.W"], layer.params["1.W"]], [second, first])
    layer.params["0.W"] = layer.params["0.W"].T
    assert_same_bits(np.array(layer.params["0.W"]), second.T.copy())
    state = layer.params | {"0.W": layer.params["1.W"], "1.W": layer.params["0.W"]}
    layer.load_state_dict(state)
    assert_same_bits(layer.params["0.W"].copy(), first)


WRONG = {
    "shape": (np.zeros((7, 7)), ValueError),
    "one axis less": (np.zeros(I), ValueError),
    "transposed": (np.zeros((I, 4 * H)), ValueError),
    "row": (np.zeros((1, I)), ValueError),
    "one number in an array": (np.zeros((1, 1)), ValueError),
    "complex": (np.zeros((4 * H, I), complex), TypeError),
    "booleans": (np.zeros((4 * H, I), bool), TypeError),
    "strings": (np.full((4 * H, I), "1"), TypeError),
    "objects": (np.full((4 * H, I), None), TypeError),
    "None": (None, TypeError),
    "ragged": ([[1.0], [1.0, 2.0]], TypeError),
}


@both
@pytest.mark.parametrize("how", UPDATES)
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_value_changes_nothing(what, how, wrong):
    layer = filled("lstm")
    value, error = WRONG[wrong]
    before = copied([layer.params, layer.grads])
    others = {} if how == "[]" else {"b": 9.0, "W_h": np.ones((4 * H, H))}
    values = others | {"W_x": value}
    with pytest.raises(error, match=r"W_x: expected (real numbers of shape \(16, 3\)|an array)"):
        UPDATES[how](layer, what, values)
    assert_same_bits([layer.params, layer.grads], before)


@both
@pytest.mark.parametrize("name", ["lstm", "dense", "sequential", "bidirectional-sum", "dropout"])
def test_names_are_fixed(name, what):
    layer = filled(name)
    named, before = getattr(layer, what), copied([layer.params, layer.grads])
    known = next(iter(named), "W")
    for touch in (
        lambda: named.__setitem__("spam", 1.0),
        lambda: named.update({"spam": 1.0}),
        lambda: named.update(named, spam=1.0),
        lambda: named.__ior__({"spam": 1.0}),
        lambda: named.setdefault("spam", 1.0),
        lambda: named.setdefault("spam"),
        lambda: named.__delitem__(known),
        lambda: named.pop(known),
        lambda: named.pop("spam", None),
        lambda: named.popitem(),
        lambda: named.clear(),
    ):
        with pytest.raises(TypeError, match="names are fixed"):
            touch()
    assert_same_bits([layer.params, layer.grads], before)
    assert list(named) == list(getattr(layer, what))
    if named:
        assert named.setdefault(known) is named[known]
    for value in ({}, {known: 1.0}, 1.0, getattr(filled("gru_after"), what), dict(named)):
        with pytest.raises(AttributeError, match=f"{what}: cannot be set"):
            setattr(layer, what, value)
    assert_same_bits([layer.params, layer.grads], before)


def test_an_array_that_is_read_only_is_refused_before_others_are_written():
    layer = filled("lstm")
    layer.params["b"].flags.writeable = False
    before = copied(layer.params)
    with pytest.raises(ValueError, match=r"b: .*read-only"):
        layer.params.update(W_x=0.0, b=0.0)
    assert_same_bits(layer.params, before)


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_the_mapping_can_be_copied(how):
    params = filled("lstm").params
    other = how(params)
    assert type(other) is Parameters
    assert_same_bits(other, params)
    shared = [np.shares_memory(other[name], params[name]) for name in params]
    assert all(shared) if how is copy.copy else not any(shared)


# -------------------------------------------------------------------------------------- the buffer

SINGLE = [*CELLS, "dense", "dense-no-bias", "embedding", "layernorm", "dropout"]


@pytest.mark.parametrize("name", SINGLE)
def test_a_step_of_descent_as_it_is_written(name):
    for layer in (filled(name), filled(name, "float32")):
        expected = {key: array - 0.1 * 3.0 for key, array in layer.params.items()}
        held = dict(layer.params)
        layer.flat_params -= 0.1 * layer.flat_grads
        layer.flat_grads *= 0.5
        for key, array in layer.params.items():
            np.testing.assert_allclose(array, expected[key], rtol=1e-6)
            assert np.shares_memory(array, held[key])
            assert (layer.grads[key] == 1.5).all()
        layer.flat_params = layer.flat_params[::-1]  # a view of the same memory
        layer.flat_grads = 0
        assert not layer.flat_grads.any()


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("what", ["flat_params", "flat_grads"])
def test_assigning_copies_into_the_buffer(name, what):
    layer = filled(name)
    buffer = getattr(layer, what)
    values = np.arange(buffer.size, dtype=np.float16)
    setattr(layer, what, values)
    assert getattr(layer, what).dtype == buffer.dtype
    np.testing.assert_array_equal(getattr(layer, what), values)
    assert np.shares_memory(buffer, getattr(layer, what)) or not buffer.size
    setattr(layer, what, list(range(buffer.size)) or np.empty(0))
    before = getattr(layer, what).copy()
    for wrong, error in (
        (np.zeros(buffer.size + 1), ValueError),
        (np.zeros((buffer.size, 1)), ValueError),
        (np.zeros((1, buffer.size + 1)), ValueError),
        (np.zeros(buffer.size, complex), TypeError),
        (np.zeros(buffer.size, bool), TypeError),
        ("spam", TypeError),
        (None, TypeError),
    ):
        with pytest.raises(error, match=rf"{what}: expected real numbers of shape \(\d+,\)"):
            setattr(layer, what, wrong)
        np.testing.assert_array_equal(getattr(layer, what), before)
    with pytest.raises(AttributeError):
        delattr(layer, what)


def test_every_layer_of_a_stack_takes_a_step():
    model = crnn.Sequential(
        [crnn.Embedding(K, I), crnn.Dropout(0.1), crnn.LSTM(I, H), crnn.LayerNorm(H), crnn.Pool()]
    )
    for array in model.grads.values():
        array[...] = 1.0
    before = model.state_dict()
    for layer in model.layers:
        layer.flat_params -= 0.5 * layer.flat_grads
    for key, array in model.params.items():
        np.testing.assert_allclose(array, before[key] - 0.5, rtol=1e-6, atol=1e-7)


COMPOSITIONS = ["sequential", "bidirectional-sum", "residual", "checkpointed"]


@pytest.mark.parametrize("name", COMPOSITIONS)
@pytest.mark.parametrize("what", ["flat_params", "flat_grads"])
def test_a_composition_has_no_buffer(name, what):
    layer = filled(name)
    before = copied([layer.params, layer.grads])
    for touch in (
        lambda: getattr(layer, what),
        lambda: setattr(layer, what, getattr(layer, what)),
        lambda: setattr(layer, what, 0.0),
    ):
        with pytest.raises(AttributeError, match=f"{what}: {type(layer).__name__} is a compos"):
            touch()
    assert not hasattr(layer, what)
    assert_same_bits([layer.params, layer.grads], before)


def test_a_class_of_a_user_may_have_such_attributes():
    class Mine(Layer):
        forward = backward = None

        def __init__(self):
            self.flat_params = np.zeros(3)

    assert Mine().flat_params.shape == (3,)


# ---------------------------------------------------------------------------------- in other memory


class Scaled(Layer):
    """A layer of a user with arrays, one of which occurs twice."""

    def __init__(self, size):
        self.w, self.dw = np.ones(size), np.zeros(size)
        self.arrays = {"w": self.w}

    @property
    def param_views(self):
        return self.arrays

    @property
    def grad_views(self):
        return {"w": self.dw}

    def forward(self, x, state=None, *, training=True):
        return x * self.w, None, x

    def backward(self, tape, dy, dstate=None):
        self.dw += (tape * dy).reshape(-1, self.w.size).sum(axis=0)
        return dy * self.w, None


def out_of_band(value):
    """Unpickle with arrays in read-only memory."""
    buffers = []
    data = pickle.dumps(value, 5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer) for buffer in buffers])


@pytest.fixture(params=["joblib", "joblib-c", "out of band"])
def foreign(request, tmp_path):
    """Return a function that copies by way of read-only memory, or of a file."""

    def through_file(value):
        joblib.dump(value, tmp_path / "dump")
        return joblib.load(tmp_path / "dump", mmap_mode="r" if request.param == "joblib" else "c")

    return out_of_band if request.param == "out of band" else through_file


@every_layer
def test_a_layer_from_memory_that_is_read_only_can_be_trained(name, foreign):
    layer = filled(name, "float32")
    other = foreign(layer)
    assert_same_bits([other.params, other.grads], [layer.params, layer.grads])
    for array in [*other.params.values(), *other.grads.values()]:
        assert array.flags.writeable
        assert type(array) is np.ndarray
        array += 1.0
    other.zero_grad()
    other.load_state_dict(layer.state_dict())


@pytest.mark.parametrize("how", [copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("name", [name for name in SINGLE if name != "dropout"])
def test_a_copy_of_arrays_that_are_read_only_can_be_written(name, how):
    layer = filled(name)
    expected = copied([layer.params, layer.grads])
    for buffer in (layer.flat_params, layer.flat_grads):
        buffer.flags.writeable = False
    other = copy.deepcopy(how(layer)) if how is copy.copy else how(layer)
    assert_same_bits([other.params, other.grads], expected)
    other.flat_params -= 0.1 * other.flat_grads
    other.zero_grad()


def seq2seq():
    return crnn.Seq2Seq(
        crnn.GRU(I, H),
        crnn.GRU(I + H, H + 1),
        source_symbols=K,
        target_symbols=K,
        attention="additive",
    )


MODELS = {
    "dense": lambda: crnn.Sequential([crnn.Dense(I, H), crnn.LayerNorm(H)]),
    "tied": lambda: LAYERS["tied"].make("float32"),
    "own": lambda: Scaled(I),
    "teacher": lambda: crnn.TeacherForcing(seq2seq()),
    "subclass": lambda: crnn.Sequential([crnn.LSTM(I, H), crnn.Residual(Scaled(H))]),
    "autoencoder": lambda: SequenceAutoencoder(crnn.GRU(I, H), crnn.GRU(I, H), 2),
}


def inputs(name):
    rng = np.random.default_rng(0)
    symbols = rng.integers(0, K, (2, 3))
    if name == "teacher":
        return symbols, symbols
    return symbols if name == "tied" else rng.normal(size=(2, 3, I))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("optimizer", [crnn.optim.Adam, crnn.optim.RMSprop])
def test_a_model_and_its_optimizer_from_memory_that_is_read_only(name, optimizer, foreign):
    """Training continues bit-identically after a copy, as for a worker of joblib."""

    def update(model, optimizer):
        y, _, tape = model.forward(inputs(name))
        model.backward(tape, np.cos(y))
        optimizer.step()

    model = MODELS[name]()
    pair = model, optimizer(model)
    update(*pair)
    other = foreign(pair)
    update(*pair)
    update(*other)
    assert_same_bits(
        [other[0].params, other[1].state_dict()], [pair[0].params, pair[1].state_dict()]
    )
    assert copy.deepcopy(other[0]).params.keys() == model.params.keys()


def test_a_large_model_is_trained_in_a_worker():
    """A Dense of more than 1 MB is passed to a worker of joblib as a file."""
    model = crnn.Dense(600, 600, seed=1)
    pair = model, crnn.optim.Adam(model)
    expected = trained(*copy.deepcopy(pair))
    found = joblib.Parallel(2, max_nbytes="1M")(joblib.delayed(trained)(*pair) for _ in range(2))
    for one in found:
        assert_same_bits(one, expected)


def test_shared_arrays_stay_shared():
    layer = crnn.Dense(2, 2)
    layer.notes = layer.also = [1, {"a": 2}]
    layer.loop = []
    layer.loop.append(layer.loop)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), out_of_band(layer)):
        assert other.notes is other.also
        assert other.loop[0] is other.loop
