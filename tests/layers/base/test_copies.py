"""Copies of layers by `copy.copy`: own parameters and gradients; compositions share their parts."""

import copy

import numpy as np
import pytest

import crnn
from support.subjects import layers, seq2seqs


def leaves():
    """Return a layer of each class that has parameters and no parts, by the name of its class."""
    found = {}

    def add(layer):
        if not layer.parts and layer.params:
            found[type(layer).__name__] = layer
        for part in layer.parts.values():
            add(part)

    for model, *_ in (layers() | seq2seqs()).values():
        add(model)
    return found


def test_all_classes_are_found():
    expected = {"RNN", "LSTM", "GRU", "JANET", "Reservoir", "Dense", "Ridge", "RLS", "Embedding"}
    assert leaves().keys() >= expected | {"LayerNorm", "TiedDense", "Attention"}


@pytest.mark.parametrize("name", leaves())
def test_a_copy_has_arrays_of_its_own(name):
    layer = leaves()[name]
    for array in layer.grads.values():
        array[...] = 1.5
    other = copy.copy(layer)
    assert type(other) is type(layer)
    assert repr(other) == repr(layer)
    for mine, copied in ((layer.params, other.params), (layer.grads, other.grads)):
        for key, array in mine.items():
            np.testing.assert_array_equal(copied[key], array)
            assert not np.shares_memory(copied[key], array)
    before = other.state_dict()
    layer.flat_params[...] = 0.25
    for key, array in before.items():
        np.testing.assert_array_equal(other.params[key], array)


@pytest.mark.parametrize("steps", [0, 4])
def test_a_copy_of_an_rls_learns_by_itself(steps):
    h, target = np.random.default_rng(0).normal(size=(2, 9, 3))
    layer = crnn.RLS(3, 3)
    for t in range(steps):
        layer.step(h[t], target[t])
    other, whole = copy.copy(layer), copy.deepcopy(layer)
    for t in range(steps, 9):
        layer.step(h[t], target[t])
        whole.step(h[t], target[t])
    assert other.trace_ != layer.trace_
    for t in range(steps, 9):
        other.step(h[t], target[t])
    for one in (layer, other):
        np.testing.assert_array_equal(one.params["W"], whole.params["W"])
        assert one.trace_ == whole.trace_


def test_a_copy_of_a_ridge_is_solved_by_itself():
    h = np.random.default_rng(0).normal(size=(30, 3))
    layer = crnn.Ridge(3, 1, alpha=0.1).fit(h, h[:, :1])
    other, before = copy.copy(layer), layer.state_dict()
    other.solve(100.0)
    assert (layer.alpha_, other.alpha_, other.steps_) == (0.1, 100.0, 30)
    np.testing.assert_array_equal(layer.params["W"], before["W"])
    other.partial_fit(h, h[:, :1])
    assert (layer.steps_, other.steps_) == (30, 60)


def test_a_copy_of_a_composition_has_the_same_layers():
    model = crnn.Sequential([crnn.GRU(2, 3, seed=0), crnn.Dense(3, 2, seed=1)])
    x = np.ones((1, 4, 2), np.float32)
    y = model(x)[0]
    other = copy.copy(model)
    assert other.layers == model.layers
    other.append(crnn.Activation("relu"))
    assert (len(other), len(model)) == (3, 2)
    np.testing.assert_array_equal(other(x)[0], np.maximum(y, 0))
    np.testing.assert_array_equal(model(x)[0], y)
    residual = crnn.Residual(crnn.GRU(2, 2, seed=0))
    assert copy.copy(residual).layer is residual.layer
    esn = crnn.ESN(crnn.Reservoir(1, 4, seed=0), crnn.Ridge(4, 1))
    assert copy.copy(esn).readout is esn.readout
