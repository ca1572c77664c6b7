"""Parameters are counted before memory is allocated; numbers beyond the type are refused."""

import json
from itertools import product

import numpy as np
import pytest

import crnn
from crnn.layers.pointwise.dense import Dense
from crnn.models import SequenceAutoencoder
from crnn.storage.models import build_model, model_tree
from support.seq2seqs import KINDS, model_of
from support.tables import LAYERS, VARIED


def count(model):
    return sum(array.size for array in model.params.values())


def declared_count(model):
    return type(model).parameter_count(json.loads(json.dumps(model.config)))


# ------------------------------------------------------------------------------- declared counts


@pytest.mark.parametrize("name", LAYERS)
def test_layers_declare_their_number_of_parameters(name):
    model = LAYERS[name].make("float32")
    assert declared_count(model) == count(model)


@pytest.mark.parametrize("name", VARIED)
def test_options_are_counted(name):
    layer = VARIED[name](3, 5, bias=len(name) % 2 == 0)
    assert declared_count(layer) == count(layer)


@pytest.mark.parametrize("name", KINDS)
def test_models_with_encoder_and_decoder_are_counted(name):
    model = model_of(name)
    for one in (model, crnn.TeacherForcing(model, 0.5)):
        assert declared_count(one) == count(one)


ENCODERS = {
    "lstm": lambda: crnn.LSTM(4, 6),
    "both": lambda: crnn.Bidirectional(crnn.GRU(4, 3)),
    "sum": lambda: crnn.Bidirectional(crnn.LSTM(4, 6, proj_size=6), "sum"),
    "stack": lambda: crnn.Sequential([crnn.Dropout(0.1), crnn.GRU(4, 5), crnn.LSTM(5, 6)]),
    "pooled": lambda: crnn.Sequential([crnn.GRU(4, 6), crnn.Pool()]),
    "vector": lambda: crnn.Dense(4, 6),
    "table": lambda: crnn.Sequential([crnn.Embedding(9, 4), crnn.GRU(4, 6)]),
    "windows": lambda: crnn.Checkpointed(crnn.Residual(crnn.GRU(6, 6)), 3),
}
DECODERS = {
    "lstm": lambda: crnn.LSTM(9, 6),
    "stack": lambda: crnn.Sequential([crnn.LayerNorm(9), crnn.GRU(9, 6), crnn.Dense(6, 6)]),
    "projected": lambda: crnn.LSTM(9, 8, proj_size=6, learn_state=True),
}
CHOICES = {
    "attention": [None, "additive", "dot", "general"],
    "input_feeding": [True, False],
    "symbols": [{}, {"source_symbols": 5}, {"target_symbols": 8}],
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_every_part_of_a_seq2seq_is_counted(encoder, decoder):
    made = 0
    for attention, feeding, symbols in product(*CHOICES.values()):
        parts = ENCODERS[encoder](), DECODERS[decoder]()
        options = {"attention": attention, "input_feeding": feeding, **symbols}
        try:
            model = crnn.Seq2Seq(*parts, **options)
        except ValueError:
            continue  # there is no such model
        assert declared_count(model) == count(model), options
        made += 1
    assert made


@pytest.mark.parametrize("encoder", ["lstm", "both", "stack"])
@pytest.mark.parametrize("symbols", [None, 7])
def test_every_part_of_an_autoencoder_is_counted(encoder, symbols):
    model = SequenceAutoencoder(ENCODERS[encoder](), crnn.GRU(4, 3), code=2, symbols=symbols)
    assert declared_count(model) == count(model)


def test_tied_layers_are_counted_at_any_depth():
    first, second = crnn.Embedding(5, 3), crnn.Embedding(7, 5)
    inner = crnn.Residual(
        crnn.Sequential([second, crnn.Residual(crnn.RNN(5, 5)), crnn.Dense(5, 3)])
    )
    ends = [crnn.TiedDense(first), crnn.TiedDense(second, bias=False)]
    model = crnn.Residual(crnn.Sequential([first, inner, *ends]))
    assert declared_count(model) == count(model) == 5 * 3 + 7 * 5 + 5 * 11 + 18 + 5


@pytest.mark.parametrize(
    ("cls", "config"),
    [
        (crnn.Dense, {"input_size": 0, "output_size": 2}),
        (crnn.Dense, {"input_size": 1.5, "output_size": 2}),
        (crnn.Dense, {"input_size": "3", "output_size": 2}),
        (crnn.Embedding, {"K": -1, "size": 2}),
        (crnn.Embedding, {"K": 3}),
        (crnn.LayerNorm, {"size": None}),
        (crnn.LSTM, {"input_size": 2, "hidden_size": -3}),
        (crnn.LSTM, {"input_size": 2, "hidden_size": 3, "spam": 1}),
        (crnn.GRU, {"input_size": 10**30, "hidden_size": 3}),
        (crnn.RNN, {"input_size": 2**62, "hidden_size": 2**62}),
        (crnn.Sequential, {"layers": [{"class": "Pool"}, {"class": "Spam", "config": {}}]}),
    ],
)
def test_configurations_of_no_layer(cls, config):
    with pytest.raises((ValueError, TypeError)):
        cls.parameter_count(config)


def test_nothing_is_allocated_to_tell():
    assert crnn.Dense.parameter_count({"input_size": 10**9, "output_size": 10**9}) == 10**18 + 10**9
    assert crnn.RNN.parameter_count({"input_size": 10**8, "hidden_size": 10**7}) > 10**15


# --------------------------------------------------------------------------------- layers of users


class Scale(crnn.Layer):
    """A layer of a user with parameters, with or without `parameter_count`."""

    def __init__(self, size):
        self.size, self.w, self.dw = size, np.ones(size), np.zeros(size)

    param_views = property(lambda self: {"w": self.w})
    grad_views = property(lambda self: {"w": self.dw})
    config = property(lambda self: {"size": self.size})

    def forward(self, x, state=None, *, lengths=None, training=True):
        return x * self.w, None, x

    def backward(self, tape, dy, dstate=None):
        self.dw += (tape * dy).sum(axis=(0, 1))
        return dy * self.w, None


class Counted(Scale):
    @classmethod
    def parameter_count(cls, config):
        return config["size"]


class Narrow(crnn.Dense):
    """A subclass with other arguments than its base."""

    def __init__(self, size):
        super().__init__(size, size, seed=1)

    config = property(lambda self: {"size": self.input_size})


class Quiet(Dense):
    """A subclass with the arguments of its base."""


@pytest.mark.parametrize("make", [Scale, Counted, Narrow, lambda size: Quiet(size, size)])
def test_layers_of_users_come_back(make):
    model = crnn.Sequential([make(3), crnn.Residual(make(3))])
    again = build_model(json_of(model_tree(model)))
    x = np.ones((1, 2, 3))
    np.testing.assert_array_equal(again(x)[0], model(x)[0])


def test_parameters_of_a_users_class_are_not_guessed():
    assert Scale.parameter_count({"size": 10**9}) == 0
    assert Counted.parameter_count({"size": 10**9}) == 10**9
    assert Narrow.parameter_count({"size": 10**9}) == 0
    assert Quiet.parameter_count({"input_size": 10, "output_size": 2}) == 22
    inside = {"class": "Dense", "config": {"input_size": 2, "output_size": 3}}
    assert Scale.parameter_count({"size": 3, "more": [{"a": [inside]}, (inside,)]}) == 18


def test_a_mixin_changes_the_arguments_as_well():
    class Mixin:
        def __init__(self, size):
            super().__init__(size, size)

    class Mixed(Mixin, crnn.Dense):
        config = Narrow.config

    class Plain(crnn.Dense):
        forward = crnn.Dense.forward

    assert Mixed.parameter_count(Mixed(3).config) == 0
    assert Plain.parameter_count(Plain(3, 2).config) == 8


def json_of(tree):
    """Return the tree with its description as JSON, as in a file."""
    return tree | {"layer": json.loads(json.dumps(tree["layer"]))}


@pytest.mark.parametrize(
    "claim", [Counted, lambda size: crnn.Residual(Counted(size)), lambda size: Quiet(size, 1)]
)
def test_the_count_of_a_users_class_is_used(claim):
    tree = json_of(model_tree(claim(3)))
    text = json.dumps(tree["layer"]).replace('size": 3', f'size": {10**9}')
    with pytest.raises(ValueError, match=r"expected \d+ parameters, .*, got \d in the file"):
        build_model(tree | {"layer": json.loads(text)})


def test_an_encoder_of_the_user_does_not_hide_the_symbols():
    class Mine(crnn.GRU):
        pass

    model = crnn.Seq2Seq(Mine(2, 3), crnn.GRU(2, 3), source_symbols=4, target_symbols=5)
    tree = json_of(model_tree(model))
    assert declared_count(model) <= count(model)
    assert build_model(tree).source_symbols == 4
    for name in ("source_symbols", "target_symbols"):
        config = tree["layer"]["config"] | {name: 10**9}
        with pytest.raises(ValueError, match=r"expected \d+ parameters, "):
            build_model(tree | {"layer": tree["layer"] | {"config": config}})


# ------------------------------------------------------------------------- what is saved is loaded


@pytest.mark.parametrize(
    "model",
    [
        crnn.Checkpointed(crnn.LSTM(2, 2, seed=1), every=10_000_000),
        crnn.Checkpointed(crnn.LSTM(2, 2, seed=1), every=2**62),
        crnn.Sequential([crnn.Dropout(0.5, seed=1)]),
        crnn.Pool(),
    ],
    ids=repr,
)
def test_sizes_that_make_no_parameters_are_no_lie(model, tmp_path):
    crnn.save(tmp_path / "m", model)
    assert repr(crnn.load(tmp_path / "m")) == repr(model)


def test_an_array_with_two_names_counts_once():
    layers = [crnn.Dense(100, 100, bias=False), crnn.Dense(100, 100, bias=False)]
    model = crnn.Sequential(layers)
    tree = json_of(model_tree(model))
    tree["params"]["1.W"] = tree["params"]["0.W"]
    with pytest.raises(ValueError, match=r"expected 20000 parameters, .*, got 10000 in the file"):
        build_model(tree)


def test_layers_in_a_tuple_are_seen():
    layer = {"class": "RNN", "config": {"input_size": 2, "hidden_size": 2000}}
    for layers in ((layer,), [layer], ([layer],)):
        tree = {"layer": {"class": "Sequential", "config": {"layers": layers}}, "params": {}}
        with pytest.raises(ValueError, match=r"expected \d+ parameters, |description"):
            build_model(tree)


# -------------------------------------------------------------- numbers beyond the type of an array


BEYOND = [1e300, -1e300, 3.5e38, np.longdouble(1e39)]


@pytest.mark.parametrize("value", BEYOND)
def test_parameters_can_represent_loaded_numbers(value):
    layer = crnn.Sequential([crnn.LSTM(2, 3, seed=1), crnn.Dense(3, 2, seed=2)])
    before, state = layer.state_dict(), layer.state_dict()
    state["1.b"] = np.array([0.5, value])
    with pytest.raises(ValueError, match=r"1\.b: expected numbers in the range of float32, got "):
        layer.load_state_dict(state)
    for name, array in layer.params.items():
        np.testing.assert_array_equal(array, before[name])
    tree = model_tree(layer) | {"params": state}
    with pytest.raises(ValueError, match=r"1\.b: expected numbers in the range of float32"):
        build_model(tree)


def test_numbers_that_are_not_finite_can_be_loaded():
    layer = crnn.Dense(2, 3, seed=1)
    state = layer.state_dict() | {"b": np.array([np.inf, -np.inf, np.nan])}
    layer.load_state_dict(state)
    np.testing.assert_array_equal(layer.params["b"], state["b"])
    layer.load_state_dict(state | {"b": np.array([1, 2, 3])})
    np.testing.assert_array_equal(layer.params["b"], [1, 2, 3])
    wide = crnn.Dense(2, 3, dtype="float64")
    wide.load_state_dict(state | {"b": np.array([1e300, 0, 0])})
    assert wide.params["b"][0] == 1e300


@pytest.mark.parametrize("name", ["m.W", "v.b"])
def test_optimizers_can_represent_loaded_numbers(name):
    layer = crnn.Dense(2, 3, seed=1)
    optimizer = crnn.optim.Adam(layer)
    before = optimizer.state_dict()
    state = before | {"lr": 0.5, name: np.full(before[name].shape, 1e300)}
    with pytest.raises(ValueError, match=f"{name}: expected numbers in the range of float32"):
        optimizer.load_state_dict(state)
    np.testing.assert_equal(optimizer.state_dict(), before)


def test_options_that_a_parameter_cannot_hold():
    with pytest.raises(ValueError, match="forget_bias: expected numbers in the range of float32"):
        crnn.LSTM(2, 3, forget_bias=1e300)
    assert crnn.LSTM(2, 3, forget_bias=1e300, dtype="float64").params["b"].max() == 1e300
    for eps in (1e300, 1e-300):
        with pytest.raises(ValueError, match=r"eps: expected .* float32"):
            crnn.LayerNorm(3, eps=eps)
        assert crnn.LayerNorm(3, eps=eps, dtype="float64").eps == eps


def test_integers_of_a_users_layer_are_not_rounded():
    class Counts(Scale):
        def __init__(self, size):
            super().__init__(size)
            self.w = np.zeros(size, np.int8)

    layer = Counts(2)
    for wrong in ([1.5, 0], [300, 0], [np.nan, 0]):
        with pytest.raises(ValueError, match="w: expected numbers in the range of int8"):
            layer.load_state_dict({"w": np.array(wrong)})
    layer.load_state_dict({"w": np.array([3.0, -4.0])})
    assert layer.w.tolist() == [3, -4]


# --------------------------------------------------------------------------- options of other types


@pytest.mark.parametrize(
    ("make", "name", "wrong"),
    [
        (lambda: crnn.RNN(2, 3, seed=1), "bias", "no"),
        (lambda: crnn.RNN(2, 3, seed=1), "reverse", 0.0),
        (lambda: crnn.RNN(1, 3, seed=1), "input_size", True),
        (lambda: crnn.LSTM(2, 3, seed=1), "zoneout", False),
        (lambda: crnn.LSTM(2, 3, seed=1), "peepholes", []),
        (lambda: crnn.Dense(2, 3, seed=1), "bias", "false"),
        (lambda: crnn.Dense(2, 3, seed=1), "dtype", None),
        (lambda: crnn.Dropout(0.0, seed=1), "variational", 1),
        (lambda: crnn.Dropout(0.0, seed=1), "p", False),
        (lambda: crnn.Embedding(1, 3, seed=1), "K", True),
        (lambda: model_of("additive"), "input_feeding", "yes"),
        (lambda: SequenceAutoencoder(crnn.GRU(2, 2), crnn.GRU(2, 2), code=1), "code", True),
    ],
)
def test_options_are_not_taken_for_others(make, name, wrong):
    for tree in (json_of(model_tree(make())), json_of(model_tree(crnn.Sequential([make()])))):
        build_model(tree)
        layer = tree["layer"]
        config = layer["config"].get("layers", [layer])[0]["config"]
        assert name in config
        config[name] = wrong
        with pytest.raises(ValueError, match=name):
            build_model(tree)


def test_options_of_users_are_not_compared():
    class Drawn(crnn.Dropout):
        @property
        def config(self):
            return super().config | {"p": str(self.p)}

        @classmethod
        def from_config(cls, config):
            return cls(float(config["p"]) / 2)

    again = build_model(json_of(model_tree(crnn.Residual(Drawn(0.5)))))
    assert again.layer.p == 0.25
