"""Optimizers skip layers with ``trainable = False``, and notice when it changes."""

import copy
import pickle

import numpy as np
import pytest

import crnn
from support.comparing import assert_same_bits
from support.running import copied

OPTIMIZERS = {
    "sgd": lambda model: crnn.optim.SGD(model, lr=0.1),
    "momentum": lambda model: crnn.optim.SGD(model, lr=0.1, momentum=0.9),
    "rmsprop": lambda model: crnn.optim.RMSprop(model, lr=0.1),
    "adam": lambda model: crnn.optim.Adam(model, lr=0.1),
    "adamw": lambda model: crnn.optim.AdamW(model, lr=0.1, weight_decay=0.5),
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def model():
    layers = [crnn.Embedding(5, 3, seed=0), crnn.GRU(3, 4, seed=1), crnn.Dense(4, 2, seed=2)]
    return crnn.Sequential([layer.astype("float64") for layer in layers])


def add_gradients(layer, step):
    """Add random gradients to the layers that are trainable, as backward does."""
    for place, part in layer.parts.items():
        rng = np.random.default_rng([step, int(place)])
        for grad in part.grads.values() if part.trainable else ():
            grad += rng.normal(size=grad.shape)


def train(layer, optimizer, steps):
    for step in steps:
        add_gradients(layer, step)
        optimizer.step()


@every_optimizer
def test_frozen_layers_stay_and_have_no_memory(name):
    layer = model()
    layer[0].trainable = layer[1].trainable = False
    before, optimizer = copied(dict(layer.params)), OPTIMIZERS[name](layer)
    train(layer, optimizer, range(3))
    changed = {key for key, array in layer.params.items() if (array != before[key]).any()}
    assert changed == {"2.W", "2.b"}
    assert not layer[0]._has_grads
    assert not layer[1]._has_grads
    arrays = [key for key in optimizer.state_dict() if "." in key]
    assert all(key.partition(".")[2].startswith("2.") for key in arrays)
    frozen = layer[0].params["W"].size + sum(p.size for p in layer[1].params.values())
    assert f", {frozen} frozen" in repr(optimizer)


def test_norms_and_clipping_do_not_read_frozen_gradients():
    layer = model()
    layer[1].grads["W_h"][...] = np.nan
    layer[1].trainable = False
    optimizer = crnn.optim.SGD(layer, lr=1.0, clip_norm=1.0, clip_value=2.0)
    layer[2].grads["b"][...] = [3.0, 4.0]
    assert optimizer.grad_norm() == 5.0
    optimizer.scale_grads(0.5)
    np.testing.assert_allclose(optimizer.step(), 2.5)
    assert np.isnan(layer[1].grads["W_h"]).all()
    assert not layer[2].grads["b"].any()


@every_optimizer
def test_a_layer_that_is_unfrozen_begins_like_one_of_a_new_optimizer(name):
    """Also the correction of Adam's means begins with the first update of a parameter."""
    layer = model()
    layer[1].trainable = False
    optimizer = OPTIMIZERS[name](layer)
    train(layer, optimizer, range(5))
    twin = copy.deepcopy(layer[1])
    twin.trainable = layer[1].trainable = True
    alone, moved = crnn.Sequential([twin]), OPTIMIZERS[name](crnn.Sequential([twin]))
    for step in range(5, 9):
        add_gradients(layer, step)
        for grad, source in zip(twin.grads.values(), layer[1].grads.values(), strict=True):
            grad[...] = source
        optimizer.step()
        moved.step()
        assert_same_bits(dict(alone[0].params), dict(layer[1].params))


@every_optimizer
def test_a_layer_that_is_frozen_for_a_time_continues(name):
    """The other layers do not notice; its own memory and its count of updates are kept."""
    layer, other, steady = model(), model(), model()
    optimizers = [OPTIMIZERS[name](each) for each in (layer, other, steady)]
    for step in range(3):
        for each, optimizer in zip((layer, other, steady), optimizers, strict=True):
            train(each, optimizer, [step])
    layer[1].trainable = False
    for each, optimizer in ((layer, optimizers[0]), (steady, optimizers[2])):
        train(each, optimizer, [3, 4])
    layer[1].trainable = True
    train(layer, optimizers[0], [5])
    train(steady, optimizers[2], [5])
    train(other, optimizers[1], [5])
    assert_same_bits(dict(layer[1].params), dict(other[1].params))
    assert_same_bits(dict(layer[2].params), dict(steady[2].params))


def test_gradients_of_before_are_gone_when_a_layer_is_frozen():
    layer = model()
    optimizer = crnn.optim.SGD(layer, lr=1.0)
    add_gradients(layer, 0)
    layer[1].trainable = False
    optimizer.step()
    assert not any(grad.any() for grad in layer[1].grads.values())
    layer[1].trainable = True
    before = copied(dict(layer[1].params))
    optimizer.step()
    assert_same_bits(copied(dict(layer[1].params)), before)


def test_freeze_of_an_optimizer_and_of_a_layer():
    layer = model()
    layer[1].trainable = False
    optimizer = crnn.optim.SGD(layer, lr=1.0, freeze="2.b")
    assert optimizer.settings()["freeze"] == ["2.b"]
    before = copied(dict(layer.params))
    add_gradients(layer, 0)
    optimizer.step()
    changed = {key for key, array in layer.params.items() if (array != before[key]).any()}
    assert changed == {"0.W", "2.W"}
    assert not layer[2].grads["b"].any()


@every_optimizer
def test_a_state_has_the_updates_of_each_parameter(name):
    layer = model()
    layer[1].trainable = False
    optimizer = OPTIMIZERS[name](layer)
    train(layer, optimizer, range(4))
    layer[1].trainable = True
    train(layer, optimizer, range(4, 6))
    layer[0].trainable = False
    train(layer, optimizer, [6])
    state = optimizer.state_dict()
    has_memory = bool(optimizer._memory)
    counts = {key: value for key, value in state.items() if key.startswith("updates.")}
    expected = {f"updates.1.{each}": 3 for each in layer[1].params} | {"updates.0.W": 6}
    assert counts == (expected if has_memory else {})
    twin = copy.deepcopy(layer)
    loaded = OPTIMIZERS[name](twin)
    loaded.load_state_dict(state)
    assert_same_bits(loaded.state_dict(), state)
    pickled_layer, pickled = pickle.loads(pickle.dumps((layer, optimizer)))
    for each, one in ((twin, loaded), (pickled_layer, pickled), (layer, optimizer)):
        each[0].trainable = True
        train(each, one, range(7, 10))
    assert_same_bits(dict(twin.params), dict(layer.params))
    assert_same_bits(dict(pickled_layer.params), dict(layer.params))
    assert_same_bits(pickled.state_dict(), optimizer.state_dict())


def test_wrong_states_are_refused():
    layer = model()
    layer[0].trainable = False
    optimizer = crnn.optim.Adam(layer)
    state = optimizer.state_dict()
    before = copied(state)
    memory = {"m.0.W": np.ones((5, 3)), "v.0.W": np.ones((5, 3))}
    wrong = [
        state | {"m.0.W": np.ones((5, 3))},
        state | {"updates.0.W": 1},
        state | memory | {"updates.0.W": -1},
        state | memory | {"updates.0.W": 1.5},
        state | {"m.9.W": np.ones(1)},
        {key: value for key, value in state.items() if key != "m.2.W"},
    ]
    for each in wrong:
        with pytest.raises(ValueError, match=r"m\.|v\.|updates\."):
            optimizer.load_state_dict(each)
        assert_same_bits(copied(optimizer.state_dict()), before)
    optimizer.load_state_dict(state | memory)
    assert "m.0.W" in optimizer.state_dict()


def test_nothing_to_train_is_an_error():
    layer = model()
    optimizer = crnn.optim.Adam(layer)
    layer.trainable = False
    message = "model: expected one with a layer that is trainable, got Sequential in which all"
    with pytest.raises(ValueError, match=message):
        optimizer.step()
    with pytest.raises(ValueError, match=message):
        crnn.optim.Adam(layer)
    data = [(np.zeros((1, 2), int), np.zeros((1, 2, 2)))]
    with pytest.raises(ValueError, match=message):
        crnn.fit(layer, data, loss=crnn.losses.mse, optimizer=optimizer, epochs=1, progress=False)
    layer[2].trainable = True
    optimizer.step()


def test_a_copy_of_model_and_optimizer_notices_changes():
    layer, optimizer = copy.deepcopy((pair := model(), crnn.optim.SGD(pair, lr=1.0)))
    train(layer, optimizer, [0])
    layer[1].trainable = False
    before = copied(dict(layer[1].params))
    train(layer, optimizer, [1, 2])
    assert_same_bits(copied(dict(layer[1].params)), before)
    layer[1].trainable = True
    train(layer, optimizer, [3])
    assert (layer[1].params["W_h"] != before["W_h"]).any()


def by_state(layer, optimizer, name):
    made = OPTIMIZERS[name](layer)
    made.load_state_dict(optimizer.state_dict())
    return layer, made


TRANSFERS = {
    "state": by_state,
    "deepcopy": lambda layer, optimizer, name: copy.deepcopy((layer, optimizer)),
    "pickle": lambda layer, optimizer, name: pickle.loads(pickle.dumps((layer, optimizer))),
}


@every_optimizer
@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize("when", ["before", "after", "both"])
@pytest.mark.parametrize("trained_first", [0, 2])
def test_flags_may_change_between_a_state_or_a_copy_and_a_step(name, transfer, when, trained_first):
    """Memory, numbers of updates and gradients are those of an optimizer that is not replaced."""
    steady, moved = model(), model()
    optimizers = [OPTIMIZERS[name](steady), OPTIMIZERS[name](moved)]
    flags = [*[True] * trained_first, False, False, True, True, False, True]
    for step, flag in enumerate(flags):
        for layer in (*steady[1:], *moved[1:]):
            layer.trainable = flag
        if when != "after":
            moved, optimizers[1] = TRANSFERS[transfer](moved, optimizers[1], name)
        for layer, optimizer in zip((steady, moved), optimizers, strict=True):
            train(layer, optimizer, [step])
        if when != "before":
            moved, optimizers[1] = TRANSFERS[transfer](moved, optimizers[1], name)
        assert_same_bits(dict(moved.params), dict(steady.params))
    assert_same_bits(*(each.state_dict() for each in optimizers))


class Scale:
    """A layer of a user that is no `Layer`."""

    def __init__(self, size):
        self.params, self.grads = {"scale": np.ones(size)}, {"scale": np.zeros(size)}

    def forward(self, x, state=None, *, training=True):
        return x * self.params["scale"], None, x

    def backward(self, tape, dy, dstate=None):
        self.grads["scale"] += (dy * tape).reshape(-1, tape.shape[-1]).sum(axis=0)
        return dy * self.params["scale"], None


@pytest.mark.parametrize("transfer", ["deepcopy", "pickle"])
def test_copies_with_a_layer_of_a_user(transfer):
    scale = Scale(3)
    layer = crnn.Sequential([scale, crnn.Dense(3, 2, seed=0, dtype="float64")])
    optimizer = crnn.optim.SGD(layer, lr=1.0, clip_norm=None)
    copied_layer, copied_optimizer = TRANSFERS[transfer](layer, optimizer, "sgd")
    inside = copied_layer[0]
    inside.grads["scale"] += [1.0, 2.0, 3.0]
    copied_optimizer.step()
    assert inside.params["scale"].tolist() == [0.0, -1.0, -2.0]
    assert scale.params["scale"].tolist() == [1.0, 1.0, 1.0]
    inside.trainable = False
    inside.grads["scale"] += 1.0
    copied_optimizer.step()
    assert inside.params["scale"].tolist() == [0.0, -1.0, -2.0]


@pytest.mark.parametrize("transfer", ["deepcopy", "pickle"])
def test_gradients_of_before_are_gone_in_a_copy(transfer):
    layer = model()
    optimizer = crnn.optim.SGD(layer, lr=0.1)
    add_gradients(layer, 0)
    layer[1].trainable = False
    layer, optimizer = TRANSFERS[transfer](layer, optimizer, "sgd")
    optimizer.step()
    assert not layer[1].flat_grads.any()


def test_a_pickle_of_a_version_without_flags():
    layer = model()
    optimizer = crnn.optim.Adam(layer, lr=0.1)
    train(layer, optimizer, [0, 1])
    state = optimizer.__getstate__()
    for name in ("_counts", "_counted", "_trained"):
        del state[name]
    old = object.__new__(crnn.optim.Adam)
    old.__setstate__(state)
    other = copy.deepcopy((layer, optimizer))
    train(layer, old, [2])
    train(*other, [2])
    assert_same_bits(dict(layer.params), dict(other[0].params))
    assert_same_bits(old.state_dict(), other[1].state_dict())
