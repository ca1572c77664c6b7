"""Clipping by value, frozen parameters, decay without biases: against PyTorch."""

import math

import numpy as np
import pytest

import crnn
from crnn import optim
from support.comparing import assert_close, assert_same_bits
from support.optimizers import (
    OPTIMIZERS,
    STEPS,
    TOLERANCE,
    defaults,
    every_optimizer,
    gradients,
    model,
)
from support.running import copied, fill


def give(layer, grads):
    for key, grad in grads.items():
        layer.grads[key] = grad


@every_optimizer
@pytest.mark.parametrize("clip_norm", [None, 0.3])
def test_clipping_by_value_is_pytorchs_and_comes_first(name, clip_norm, dtype):
    torch = pytest.importorskip("torch")
    make, options, _, torch_name = OPTIMIZERS[name]
    layer = model(dtype)
    optimizer = make(layer, clip_norm=clip_norm, clip_value=0.5, **options)
    twins = {key: torch.tensor(array, requires_grad=True) for key, array in layer.params.items()}
    twin = getattr(torch.optim, torch_name)(twins.values(), **defaults(name))
    for step in range(STEPS):
        grads = gradients(layer, step)
        give(layer, grads)
        for key, grad in grads.items():
            twins[key].grad = torch.tensor(grad)
        torch.nn.utils.clip_grad_value_(twins.values(), 0.5)
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(twins.values(), clip_norm)
        twin.step()
        norm = math.sqrt(sum(np.sum(np.square(g, dtype="float64")) for g in grads.values()))
        assert optimizer.step() == pytest.approx(norm, rel=1e-6)  # before any clipping
    for key, array in layer.params.items():
        assert_close(array, twins[key].detach().numpy(), 20 * TOLERANCE[dtype], key)


@every_optimizer
@pytest.mark.parametrize("freeze", ["1.W_h", ("0.*", "1.b*"), ["*.W*"], ("3.W", "3.b")])
def test_frozen_parameters_stay_and_are_in_no_norm(name, freeze):
    torch = pytest.importorskip("torch")
    make, options, _, torch_name = OPTIMIZERS[name]
    layer = model()
    before = copied(dict(layer.params))
    optimizer = make(layer, clip_norm=0.3, freeze=freeze, **options)
    frozen = {
        "1.W_h": ["1.W_h"],
        ("0.*", "1.b*"): ["0.W", "1.b", "1.b_hn"],
        "*.W*": ["0.W", "1.W_x", "1.W_h", "3.W"],
        ("3.W", "3.b"): ["3.W", "3.b"],
    }[freeze[0] if isinstance(freeze, list) else freeze]
    twins = {
        key: torch.tensor(array, requires_grad=True)
        for key, array in layer.params.items()
        if key not in frozen
    }
    twin = getattr(torch.optim, torch_name)(twins.values(), **defaults(name))
    for step in range(5):
        grads = gradients(layer, step)
        give(layer, grads)
        for key, tensor in twins.items():
            tensor.grad = torch.tensor(grads[key])
        norm = torch.nn.utils.clip_grad_norm_(twins.values(), 0.3)
        twin.step()
        assert optimizer.step() == pytest.approx(norm.item(), rel=1e-12)
        assert not any(grad.any() for grad in layer.grads.values())
    for key, array in layer.params.items():
        if key in frozen:
            np.testing.assert_array_equal(array, before[key])
        else:
            assert_close(array, twins[key].detach().numpy(), 1e-10, key)
            assert not np.array_equal(array, before[key])


def test_a_restored_optimizer_with_frozen_parameters_continues():
    layers = [model(), model()]
    options = {"freeze": "1.*", "clip_value": 0.1}
    optimizers = [optim.Adam(layer, **options) for layer in layers]
    for step in range(3):
        give(layers[0], gradients(layers[0], step))
        optimizers[0].step()
    layers[1].load_state_dict(layers[0].state_dict())
    optimizers[1].load_state_dict(optimizers[0].state_dict())
    for layer, optimizer in zip(layers, optimizers, strict=True):
        give(layer, gradients(layer, 3))
        optimizer.step()
    assert_same_bits(dict(layers[1].params), dict(layers[0].params))
    assert not any(key.startswith("m.1.") for key in optimizers[0].state_dict())
    with pytest.raises(ValueError, match="state_dict"):
        optim.Adam(model()).load_state_dict(optimizers[0].state_dict())


def test_a_parameter_in_two_places_is_frozen_by_either_name():
    shared = fill(crnn.Dense(3, 3, dtype="float64"))
    before = shared.params["W"].copy()
    for freeze in ("0.W", "1.W"):
        optimizer = optim.SGD(crnn.Sequential([shared, shared]), 0.1, freeze=freeze)
        shared.grads["W"][...] = shared.grads["b"][...] = 1.0
        assert optimizer.step() == pytest.approx(math.sqrt(3))
        np.testing.assert_array_equal(shared.params["W"], before)


def test_gradients_that_are_not_finite_do_no_harm_where_frozen():
    layer = model()
    optimizer = optim.Adam(layer, freeze="1.W_h")
    layer.grads["1.W_h"] = np.nan
    optimizer.step()
    assert not layer.grads["1.W_h"].any()
    assert all(np.isfinite(array).all() for array in layer.params.values())


def test_decay_without_biases(dtype):
    torch = pytest.importorskip("torch")
    layer = model(dtype)
    optimizer = optim.AdamW(layer, 0.1, weight_decay=0.5, decay_biases=False)
    assert (optimizer.decay_biases, optimizer.weight_decay) == (False, 0.5)
    twins = {key: torch.tensor(array, requires_grad=True) for key, array in layer.params.items()}
    groups = [
        {"params": [t for t in twins.values() if t.ndim > 1], "weight_decay": 0.5},
        {"params": [t for t in twins.values() if t.ndim == 1], "weight_decay": 0.0},
    ]
    twin = torch.optim.AdamW(groups, lr=0.1)
    for step in range(STEPS):
        grads = gradients(layer, step)
        give(layer, grads)
        for key, grad in grads.items():
            twins[key].grad = torch.tensor(grad)
        twin.step()
        optimizer.step()
    for key, array in layer.params.items():
        assert_close(array, twins[key].detach().numpy(), 20 * TOLERANCE[dtype], key)


def test_clipping_changes_nothing_where_a_gradient_is_not_finite():
    layer = model()
    optimizer = optim.SGD(layer, clip_value=0.1)
    give(layer, gradients(layer, 1))
    layer.grads["1.W_h"][20, 3] = np.inf
    before = copied([dict(layer.params), dict(layer.grads)])
    with pytest.raises(FloatingPointError, match=r"1\.W_h"):
        optimizer.step()
    assert_same_bits([dict(layer.params), dict(layer.grads)], before)


def test_gradients_can_be_scaled():
    shared = fill(crnn.Dense(3, 3, dtype="float64"))
    optimizer = optim.SGD(crnn.Sequential([shared, shared]), freeze="0.b")
    shared.grads["W"] = shared.grads["b"] = 4.0
    optimizer.scale_grads(0.25)
    assert (shared.grads["W"] == 1).all()  # scaled once, although the model contains it twice
    assert (shared.grads["b"] == 1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_value": 0}, "clip_value: expected None or a positive number, got 0"),
        ({"clip_value": -1.0}, "clip_value: expected a finite number"),
        ({"freeze": "7.*"}, r"freeze: expected names .* 0\.W, 1\.W_x.*; '7\.\*' matches none"),
        ({"freeze": ["0.*", "0.w"]}, r"freeze: .*'0\.w' matches none"),
    ],
)
def test_wrong_options(options, message):
    for make in (optim.SGD, optim.RMSprop, optim.Adam, optim.AdamW):
        with pytest.raises(ValueError, match=message):
            make(model(), **options)
