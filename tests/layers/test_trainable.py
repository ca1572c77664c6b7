"""Frozen layers: `trainable = False`. The gradient passes through, and none of theirs changes."""

import copy
import os
import pickle
import threading

import numpy as np
import pytest

import crnn
from crnn.layers.base.adapted import named_layers
from crnn.layers.base.trainable import NO_TAPE, trains
from crnn.layers.compose.joined import Joined
from support.comparing import assert_same_bits
from support.running import copied, first_call, gradients_like, like
from support.tables import LAYERS, H, I, K, every_layer, every_reading

B, T = 3, 5
LENGTHS = [5, 2, 0]


def backward(layer, x, state=None, **options):
    """Return y, the state, and the gradients of x and of the state."""
    y, end, tape = layer.forward(x, state, lengths=LENGTHS, **first_call(layer), **options)
    dy, dend = gradients_like([y, end], np.random.default_rng(3))
    return copied({"forward": (y, end), "backward": layer.backward(tape, dy, dend)})


def gradients(layer, x, freeze=(), **options):
    """Return all gradients after a backward pass in which some parts are frozen."""
    layer.trainable = True
    for name, part in named_layers(layer):
        if name in freeze:
            part.trainable = False
    layer.zero_grad()
    y, _, tape = layer.forward(x, **first_call(layer), **options)
    layer.backward(tape, like(y, np.random.default_rng(4)))
    return copied(dict(layer.grads))


# ---- one layer


@every_reading
def test_a_frozen_layer_passes_the_same_gradients_and_adds_none(name, symbols):
    layer, twin = LAYERS[name].layer(), LAYERS[name].layer()
    x = LAYERS[name].inputs(B, T, symbols=symbols)
    for grad in layer.grads.values():
        grad[...] = np.random.default_rng(5).normal(size=grad.shape)
    before = copied(dict(layer.grads))
    layer.trainable = False
    assert not layer.trainable or not layer.params
    assert_same_bits(backward(layer, x), backward(twin, x))
    assert_same_bits(copied(dict(layer.grads)), before)


@every_layer
def test_gradients_have_no_memory_before_they_are_read(name):
    layer = LAYERS[name].make("float32")
    layer.trainable = False
    backward(layer, LAYERS[name].inputs(B, T, "float32"))
    layer.zero_grad()
    holders = [part for _, part in named_layers(layer) if hasattr(part, "_has_grads")]
    assert not any(part._has_grads for part in holders)
    for part in holders:
        assert not part.flat_grads.any()
        assert all(not grad.any() for grad in part.grads.values())
        assert part._has_grads
        assert part.flat_grads is part.flat_grads


@every_layer
def test_gradcheck_through_a_frozen_layer(name):
    layer, x = LAYERS[name].layer(), LAYERS[name].inputs(2, 3)
    layer.trainable = False
    report = crnn.gradcheck(layer, x, lengths=[3, 2])
    assert report, report
    assert not {row.name for row in report.rows} & layer.params.keys()
    if x.dtype.kind == "f":
        assert "x" in {row.name for row in report.rows}


def test_gradcheck_skips_frozen_parts_alone():
    model = LAYERS["sequential"].layer()
    model[0].trainable = False
    report = crnn.gradcheck(model, LAYERS["sequential"].inputs(2, 3))
    assert report, report
    assert [row.name for row in report.rows if row.name in model.params] == ["1.W", "1.b"]


@pytest.mark.parametrize("value", [None, 2, 0.0, "no", np.array([True])])
@pytest.mark.parametrize("name", ["lstm", "dense", "sequential", "dropout"])
def test_other_types_are_refused(name, value):
    layer = LAYERS[name].make("float32")
    with pytest.raises(TypeError, match="trainable: expected True or False, got"):
        layer.trainable = value
    assert layer.trainable


def test_a_class_sets_it_in_its_constructor():
    class Fixed(crnn.Dense):
        def __init__(self, input_size, output_size):
            super().__init__(input_size, output_size, seed=0)
            self.trainable = False

    assert not Fixed(3, 2).trainable
    assert not crnn.Sequential([Fixed(3, 2)]).trainable
    with pytest.raises(TypeError, match="trainable: set it in __init__, not on the class Other"):

        class Other(crnn.Dense):
            trainable = False


@pytest.mark.parametrize("value", [True, np.False_, 0, None, property(lambda layer: False)])
@pytest.mark.parametrize("base", [crnn.Dense, crnn.GRU, crnn.Sequential])
def test_a_class_has_no_other_attribute_of_this_name(base, value):
    """The flag would not follow it: the layer would be trained though `trainable` is False."""
    mixed = type("Mixed", (), {"trainable": value})
    for bases, attributes in (((base,), {"trainable": value}), ((mixed, base), {})):
        with pytest.raises(
            TypeError, match="trainable: set it in __init__, not on the class Other"
        ):
            type("Other", bases, attributes)


# ---- compositions


@pytest.mark.parametrize(
    "name", ["sequential-bidirectional", "residual", "checkpointed", "last-state", "tied"]
)
def test_a_composition_sets_it_for_all_layers_inside(name):
    layer = LAYERS[name].make("float32")
    layer.trainable = False
    parts = [part for _, part in named_layers(layer)]
    assert not any(part.trainable for part in parts)
    leaf = next(part for part in parts if part.params and not part.parts)
    leaf.trainable = True
    assert layer.trainable
    assert trains(layer)
    layer.trainable = True
    assert all(part.trainable for part in parts)


def test_parts_without_parameters_do_not_count():
    model = crnn.Sequential([crnn.Dropout(0.5, seed=0), crnn.Dense(3, 2, seed=0)])
    model[1].trainable = False
    assert not model.trainable
    assert model[0].trainable
    assert not trains(model)
    assert crnn.Sequential([crnn.Dropout(0.5, seed=0)]).trainable


def test_a_bidirectional_layer_mirrors_it():
    layer = crnn.GRU(3, 4, seed=0)
    layer.trainable = False
    both = crnn.Bidirectional(layer)
    assert not both.backward_layer.trainable
    both.backward_layer.trainable = True
    assert both.trainable
    assert not layer.trainable


MODELS = {
    "embedded": lambda: crnn.Sequential(
        [
            crnn.Embedding(K, 4, seed=0),
            crnn.LSTM(4, 5, learn_state=True, seed=1),
            crnn.Dropout(0.4, seed=2),
            crnn.Residual(crnn.GRU(5, 5, layer_norm=True, seed=3)),
            crnn.LayerNorm(5),
            crnn.Dense(5, 2, seed=4),
        ]
    ),
    "bidirectional": lambda: crnn.Sequential(
        [
            crnn.Dense(I, 4, seed=0),
            crnn.Bidirectional(crnn.LSTM(4, 3, seed=1), "mul"),
            crnn.LastState(crnn.JANET(3, 4, seed=2)),
            crnn.Dense(4, 2, seed=3),
        ]
    ),
    "by methods": lambda: crnn.Sequential(
        [
            crnn.GRU(I, 4, recurrent_dropout=0.3, seed=0),
            Doubled(4),
            crnn.Bidirectional(crnn.LSTM(4, 3, seed=1)),
            crnn.Checkpointed(crnn.GRU(6, 4, seed=2), 2),
            crnn.Dense(4, 4, seed=3),
            crnn.Pool("mean"),
            Doubled(4),
        ]
    ),
    "joined": lambda: crnn.Sequential(
        [
            Joined(crnn.Sequential([crnn.GRU(I, 4, seed=0), Doubled(4)]), 2),
            Joined(crnn.Checkpointed(crnn.GRU(6, 4, delays=(1, 3), seed=2), 2), 3),
            crnn.Dense(7, 2, seed=3),
        ]
    ),
}


class Doubled(crnn.Layer):
    """A layer of a user with a parameter; its backward does not look at `trainable`."""

    keeps_features = True

    def __init__(self, size):
        self.scale, self.d_scale = np.full(size, 2.0, "f"), np.zeros(size, "f")

    param_views = property(lambda self: {"scale": self.scale})
    grad_views = property(lambda self: {"scale": self.d_scale})

    def forward(self, x, state=None, *, lengths=None, training=True):
        return x * self.scale, None, x

    def backward(self, tape, dy, dstate=None):
        self.d_scale += (dy * tape).reshape(-1, len(self.scale)).sum(axis=0)
        return dy * self.scale, None


def input_of(name):
    rng = np.random.default_rng(1)
    if name == "embedded":
        return rng.integers(0, K, (B, T))
    return rng.normal(size=(B, T, I)).astype("f")


def leaves_of(model):
    return [name for name, part in named_layers(model) if part.params and not part.parts]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("needs_dx", [True, False])
def test_any_frozen_layers_leave_the_gradients_of_others(name, needs_dx):
    model, x = MODELS[name](), input_of(name)
    whole, leaves = gradients(model, x), leaves_of(model)
    for chosen in range(2 ** len(leaves)):
        frozen = [leaf for i, leaf in enumerate(leaves) if chosen >> i & 1]
        found = gradients(model, x, frozen, needs_dx=needs_dx)
        parts = dict(named_layers(model))
        untouched = {g.ctypes.data for leaf in frozen for g in parts[leaf].grads.values()}
        for parameter, grad in found.items():
            is_frozen = model.grads[parameter].ctypes.data in untouched
            expected = np.zeros_like(grad) if is_frozen else whole[parameter]
            assert grad.tobytes() == expected.tobytes(), (frozen, parameter)


@every_reading
def test_without_dx_the_gradients_of_parameters_are_the_same(name, symbols):
    layer = LAYERS[name].layer()
    if not layer.parts:
        layer = crnn.Sequential([layer])
    x = LAYERS[name].inputs(B, T, symbols=symbols)
    whole = gradients(layer, x)
    assert_same_bits(gradients(layer, x, needs_dx=False), whole)
    y = layer.forward(x, **first_call(layer), needs_dx=False)[0]
    assert_same_bits(y, layer.forward(x, **first_call(layer))[0])


def test_conditioned_layers_get_the_gradient_of_the_state():
    model = crnn.Conditioned(crnn.LSTM(I, H, seed=0), crnn.Dense(2, 2 * H, seed=1))
    x = input_of("floats"), np.random.default_rng(2).normal(size=(B, 2)).astype("f")
    whole = gradients(model, x)
    for frozen in (["layer"], ["init"]):
        for needs_dx in (True, False):
            found = gradients(model, x, frozen, needs_dx=needs_dx)
            for name, grad in found.items():
                expected = 0 * grad if name.startswith(frozen[0]) else whole[name]
                np.testing.assert_array_equal(grad, expected)


# ---- tapes


def test_layers_before_the_first_trained_one_keep_no_tape():
    model, x = MODELS["embedded"](), input_of("embedded")
    model.trainable = False
    model[4].trainable = model[5].trainable = True
    y, _, tape = model.forward(x, call=0, needs_dx=False)
    assert [part is NO_TAPE for part in tape] == [True] * 4 + [False] * 2
    assert_same_bits(y, model.forward(x, call=0)[0])
    dx, dstates = model.backward(tape, like(y, np.random.default_rng(0)))
    assert dx is None
    assert dstates == [None] * 6
    assert "no tape" in repr(tape)


def tape_bytes(model, x, **options):
    """Return the bytes that a tape keeps."""
    model.forward(x, call=0, **options)
    crnn.release_memory()
    before = memory_in_use()
    kept = [model.forward(x, call=0, **options)[2] for _ in range(8)]
    crnn.release_memory()
    found = (memory_in_use() - before) / len(kept)
    del kept
    crnn.release_memory()
    return found


def memory_in_use():
    """Return the resident memory of this process, in bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no count of resident pages")
def test_the_tape_of_a_frozen_prefix_has_no_memory():
    rows, steps, size = 64, 200, 64
    layers = [crnn.LSTM(size, size, seed=0), crnn.LSTM(size, size, seed=1), crnn.Dense(size, 1)]
    model, x = crnn.Sequential(layers), np.ones((rows, steps, size), "f")
    layers[0].trainable = layers[1].trainable = False
    one = rows * steps * size * 4  # bytes of h of all steps; the tape of an LSTM has six of them
    whole, without = tape_bytes(model, x), tape_bytes(model, x, needs_dx=False)
    assert whole > 12 * one
    assert without < 1.7 * one  # what the Dense reads


def test_values_that_no_trained_layer_reads_are_not_kept():
    layers = [crnn.GRU(3, 4, seed=0), crnn.GRU(4, 4, seed=1), crnn.Dense(4, 2, seed=2)]
    model, x = crnn.Sequential(layers), np.ones((2, 3, 3), "f")
    layers[0].trainable = layers[1].trainable = False
    tape = model.forward(x, needs_dx=False)[2].core
    assert [tape.keeps(node) for node in range(4)] == [False, False, False, True]
    assert tape.value(0) is None
    assert tape.value(1) is None
    assert tape.value(2).shape == (2, 3, 4)
    with pytest.raises(ValueError, match="expected sizes and types that fit"):
        tape.keeps(4)
    with pytest.raises(ValueError, match="expected sizes and types that fit"):
        tape.layer(1, None)


@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_backward_follows_the_flags_of_its_own_time(name, freeze):
    """Forward may have run when other layers were frozen."""
    model, x = MODELS[name](), input_of(name)
    place = leaves_of(model)[1]
    expected = gradients(model, x, [place] if freeze else [])
    part = dict(named_layers(model))[place]
    model.trainable = True
    part.trainable = freeze
    model.zero_grad()
    y, _, tape = model.forward(x, **first_call(model))
    part.trainable = not freeze
    model.backward(tape, like(y, np.random.default_rng(4)))
    assert_same_bits(copied(dict(model.grads)), expected)


def test_a_tape_without_a_layer_gives_it_no_gradient():
    model, x = MODELS["embedded"](), input_of("embedded")
    whole = gradients(model, x)
    model.zero_grad()
    model[0].trainable = model[1].trainable = False
    y, _, tape = model.forward(x, call=0, needs_dx=False)
    model.trainable = True
    model.backward(tape, like(y, np.random.default_rng(4)))
    for name, grad in model.grads.items():
        expected = 0 * grad if name[0] in "01" else whole[name]
        np.testing.assert_array_equal(grad, expected)


# ---- tied weights


def test_a_frozen_tied_layer_freezes_its_bias_alone():
    model, x = LAYERS["tied"].layer(), LAYERS["tied"].inputs(B, T)
    whole = gradients(model, x)
    found = gradients(model, x, ["2"], needs_dx=False)
    assert not found.pop("2.b").any()
    assert_same_bits(found, {name: whole[name] for name in found})
    assert trains(model[2])
    report = crnn.gradcheck(model, x)
    assert report
    assert "2.b" not in {row.name for row in report.rows}


def test_a_frozen_embedding_gets_no_gradient_of_either_layer():
    model, x = LAYERS["tied"].layer(), LAYERS["tied"].inputs(B, T)
    whole = gradients(model, x)
    found = gradients(model, x, ["0"], needs_dx=False)
    assert not found.pop("0.W").any()
    assert_same_bits(found, {name: whole[name] for name in found})


# ---- layers of others


class Foreign:
    """An object with the methods of a layer."""

    def __init__(self):
        self.params, self.grads = {"b": np.zeros(3, "f")}, {"b": np.zeros(3, "f")}

    def forward(self, x, state=None, *, lengths=None, training=True):
        return x + self.params["b"], None, None

    def backward(self, tape, dy, dstate=None):
        self.grads["b"] += dy.sum(axis=(0, 1))
        return dy, None


@pytest.mark.parametrize("make", [Foreign, lambda: Doubled(3)])
def test_a_layer_of_a_user_is_left_as_it_is(make):
    layer = make()
    model, x = crnn.Sequential([crnn.Dense(3, 3, seed=0), layer]), np.ones((2, 4, 3), "f")
    model.parts["1"].trainable = False
    assert not getattr(layer, "trainable", True)
    y, _, tape = model.forward(x)
    model.backward(tape, np.ones_like(y))
    assert not any(grad.any() for grad in layer.grads.values())
    assert model.grads["0.W"].any()
    optimizer = crnn.optim.SGD(model, lr=1.0)
    before = copied(dict(layer.params))
    optimizer.step()
    assert_same_bits(copied(dict(layer.params)), before)
    model.parts["1"].trainable = True
    model.backward(model.forward(x)[2], np.ones_like(y))
    assert all(grad.any() for grad in layer.grads.values())


def test_an_object_that_does_not_take_the_attribute_changes_nothing():
    class Closed(Foreign):
        __slots__ = ()

        def __setattr__(self, name, value):
            if name == "trainable":
                raise AttributeError("trainable cannot be set")
            super().__setattr__(name, value)

    first, second = crnn.Dense(3, 3, seed=0), crnn.Dense(3, 3, seed=1)
    second.trainable = False
    model = crnn.Sequential([first, second, Closed()])
    with pytest.raises(AttributeError, match="trainable cannot be set"):
        model.trainable = False
    assert [first.trainable, second.trainable, model.trainable] == [True, False, True]


class Mixed(crnn.Layer):
    """A layer of a user with a parameter of its own, and a layer inside."""

    def __init__(self):
        self.inner, self.scale = crnn.Dense(3, 3, seed=0), Doubled(3)
        self.own = {"scale": self.scale.scale}

    parts = property(lambda self: {"inner": self.inner})
    param_views = property(
        lambda self: self.own | {f"inner.{k}": v for k, v in self.inner.params.items()}
    )
    grad_views = property(
        lambda self: (
            {"scale": self.scale.d_scale} | {f"inner.{k}": v for k, v in self.inner.grads.items()}
        )
    )

    def forward(self, x, state=None, *, lengths=None, training=True):
        y, _, inner = self.inner.forward(x)
        z, _, outer = self.scale.forward(y)
        return z, None, (inner, outer)

    def backward(self, tape, dy, dstate=None):
        dy, _ = self.scale.backward(tape[1], dy)
        return self.inner.backward(tape[0], dy)


def test_a_layer_with_parameters_of_its_own_and_a_part(tmp_path):
    layer = Mixed()
    layer.trainable = False
    assert (layer.trainable, layer.inner.trainable, trains(layer)) == (False, False, False)
    layer.inner.trainable = True
    assert layer.trainable
    optimizer = crnn.optim.SGD(layer, lr=1.0)
    assert ", 3 frozen" in repr(optimizer)
    crnn.save(tmp_path / "model", layer)
    loaded = crnn.load(tmp_path / "model", classes={"Mixed": Mixed})
    assert (loaded._frozen, loaded.inner.trainable) == (True, True)
    layer.inner.trainable, layer._frozen = False, False
    assert layer.trainable


# ---- copies, files, tables


@every_layer
def test_copies_and_files_have_it(name, tmp_path):
    model = crnn.Sequential([LAYERS[name].make("float32")])
    leaves = [part for _, part in named_layers(model) if not part.parts]
    for part in leaves[::2]:
        part.trainable = False
    expected = [part.trainable for _, part in named_layers(model)]
    crnn.save(tmp_path / "model", model)
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.astype("float64")]
    for twin in [*twins, crnn.load(tmp_path / "model")]:
        assert [part.trainable for _, part in named_layers(twin)] == expected


def test_files_without_it_and_files_with_other_names(tmp_path):
    from crnn.storage import archive
    from crnn.storage.models import build_model, model_tree

    tree = model_tree(crnn.GRU(2, 3, seed=0))
    del tree["frozen"]
    assert build_model(tree).trainable
    for names in (["x"], "", [1], None):
        archive.write(tmp_path / "model", "model", tree | {"frozen": names})
        with pytest.raises(ValueError, match="frozen: expected names of layers of the model"):
            crnn.load(tmp_path / "model")


def test_the_summary_counts_frozen_parameters():
    model = crnn.Sequential([crnn.GRU(8, 16, seed=0), crnn.Dense(16, 4, seed=1)])
    assert "frozen" not in str(model.summary())
    model[0].trainable = False
    summary = model.summary()
    assert [row.trainable for row in summary.rows] == [False, True]
    counts = summary.parameters, summary.trainable_parameters, summary.frozen_parameters
    assert counts == (1284, 68, 1216)
    lines = str(summary).splitlines()
    assert [line.split()[:2] for line in lines[-3:]] == [
        ["total", "1,284"],
        ["trainable", "68"],
        ["frozen", "1,216"],
    ]
    assert summary._repr_html_().count("<th") > model[1].summary()._repr_html_().count("<th")


# ---- threads


def test_backward_through_a_shared_frozen_layer_in_several_threads():
    """Two models with one frozen layer add to different gradients."""
    shared, x = crnn.GRU(8, 64, seed=0), np.ones((16, 100, 8), "f")
    shared.trainable = False
    models = [crnn.Sequential([shared, crnn.LSTM(64, 64, seed=i)]) for i in (1, 2)]
    tapes = [model.forward(x) for model in models]
    errors = []

    def work(model, result):
        try:
            for _ in range(20):
                model.backward(result[2], np.ones_like(result[0]))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(models, tapes, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert not shared._has_grads


def test_gradients_are_made_once_by_several_threads():
    for _ in range(20):
        layer, found = crnn.LSTM(4, 64, seed=0), []
        start = threading.Barrier(4)

        def read(layer=layer, found=found, start=start):
            start.wait()
            found.append(layer.flat_grads.ctypes.data)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found)) == 1
