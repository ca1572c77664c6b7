"""Losses and optimizers against NumPy, PyTorch and finite differences."""

import functools
import math

import numpy as np
import pytest

import crnn
from crnn import losses, optim, reference
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
from support.running import copied, fill, valid_steps
from support.tables import DTYPES

B, T, K = 4, 5, 6
LENGTHS = {"full": None, "lengths": [2, 0, 5, 1]}

every_length = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)


def scores_and_targets(shape=(B, T), classes=K, scale=3.0, dtype="float64"):
    rng = np.random.default_rng(0)
    scores = rng.normal(0, scale, (*shape, classes)).astype(dtype)
    return scores, rng.integers(0, classes, shape)


# ---------------------------------------------------------------------------------- cross entropy


@every_length
@pytest.mark.parametrize("classes", [1, 2, 15, 16, 17, 33, 100])
def test_cross_entropy_agrees_with_its_twin(classes, lengths, dtype, isa):
    scores, targets = scores_and_targets(classes=classes, dtype=dtype)
    loss, gradient = losses.cross_entropy(scores, targets, lengths)
    expected_loss, expected = reference.softmax_cross_entropy(scores, targets, lengths)
    assert isinstance(loss, float)
    assert gradient.dtype == dtype
    assert loss == pytest.approx(expected_loss, rel=TOLERANCE[dtype], abs=1e-7)
    assert_close(gradient, expected, TOLERANCE[dtype])


def test_cross_entropy_without_a_time_axis(dtype):
    scores, targets = scores_and_targets((B,), dtype=dtype)
    loss, gradient = losses.cross_entropy(scores, targets)
    expected_loss, expected = losses.cross_entropy(scores[:, None], targets[:, None])
    assert loss == expected_loss
    assert_same_bits(gradient, expected[:, 0])


@every_length
def test_losses_agree_with_torch(lengths, dtype):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    scores, targets = scores_and_targets(dtype=dtype)
    goal = rng.normal(size=scores.shape).astype(dtype)
    valid = np.ones((B, T), bool) if lengths is None else valid_steps(lengths, T)
    x = torch.tensor(scores, requires_grad=True)
    pairs = [
        (
            losses.cross_entropy(scores, targets, lengths),
            torch.nn.functional.cross_entropy(x[valid], torch.tensor(targets[valid])),
        ),
        (
            losses.mse(scores, goal, lengths),
            torch.nn.functional.mse_loss(x[valid], torch.tensor(goal[valid])),
        ),
    ]
    for (loss, gradient), twin in pairs:
        x.grad = None
        twin.backward()
        assert loss == pytest.approx(twin.item(), rel=TOLERANCE[dtype])
        assert_close(gradient, x.grad.numpy(), TOLERANCE[dtype])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [1e4, 1e30, 3e38])
def test_extreme_logits(size, dtype):
    """The largest score has probability 1, equal scores share it, -inf has probability 0."""
    s = 1 / (1 + math.exp(-1))
    for row, target, expected_loss, expected in (
        ([size, -size, 0.0], 0, 0.0, [0, 0, 0]),
        ([size / 2, -size / 2, 0.0], 1, size, [1, -1, 0]),
        ([-size, -size, -size], 1, math.log(3), [1 / 3, -2 / 3, 1 / 3]),
        ([size, size, -size], 1, math.log(2), [1 / 2, -1 / 2, 0]),
        ([-np.inf, 1.0, 2.0], 2, -math.log(s), [0, 1 - s, s - 1]),
    ):
        loss, gradient = losses.cross_entropy(np.array([row], dtype), [target])
        assert loss == pytest.approx(expected_loss, rel=1e-6)
        assert_close(gradient, np.array([expected]), 1e-6)


@pytest.mark.parametrize("shift", [0.0, 1e3, -1e3])
def test_cross_entropy_is_the_same_for_shifted_logits(shift):
    scores, targets = scores_and_targets()
    loss, gradient = losses.cross_entropy(scores + shift, targets)
    expected_loss, expected = losses.cross_entropy(scores, targets)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    assert_close(gradient, expected, 1e-11)


@pytest.mark.parametrize("name", ["cross_entropy", "mse"])
def test_a_loss_that_is_not_finite_is_returned(name):
    """A NaN on a valid step makes the loss NaN."""
    scores, targets = scores_and_targets()
    goal = scores + 1 if name == "mse" else targets
    scores[1, 2, 3] = np.nan
    loss, gradient = getattr(losses, name)(scores, goal)
    assert math.isnan(loss)
    assert np.isnan(gradient[1, 2]).any()
    assert np.isfinite(np.delete(gradient.reshape(-1, K), T + 2, axis=0)).all()


# -------------------------------------------------------------------------------------------- mse


@every_length
@pytest.mark.parametrize("shape", [(B, T), (B, T, 1), (B, T, 17), (B, T, 2, 3)])
def test_mse_agrees_with_its_twin(shape, lengths, dtype, isa):
    rng = np.random.default_rng(0)
    y, target = rng.normal(size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)
    loss, gradient = losses.mse(y, target, lengths)
    expected_loss, expected = reference.mse(y, target, lengths)
    assert isinstance(loss, float)
    assert gradient.dtype == dtype
    assert loss == pytest.approx(expected_loss, rel=TOLERANCE[dtype])
    assert_close(gradient, expected, TOLERANCE[dtype])


def test_mse_with_integers_as_target():
    y = np.array([[0.5, 2.0]])
    loss, gradient = losses.mse(y, [[1, 2]])
    assert loss == 0.125
    assert gradient.tolist() == [[-0.5, 0.0]]


# ------------------------------------------------------------------------------------------- both


@every_length
@pytest.mark.parametrize("name", ["cross_entropy", "mse"])
def test_gradients_are_the_finite_differences(name, lengths):
    loss = getattr(losses, name)
    scores, targets = scores_and_targets()
    goal = targets if name == "cross_entropy" else scores[::-1].copy()
    _, gradient = loss(scores, goal, lengths)
    slopes = np.zeros_like(scores)
    for where in np.ndindex(scores.shape):
        values = []
        for step in (1e-5, -1e-5):
            moved = scores.copy()
            moved[where] += step
            values.append(loss(moved, goal, lengths)[0])
        slopes[where] = (values[0] - values[1]) / 2e-5
    assert_close(gradient, slopes, 1e-8)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["cross_entropy", "mse"])
@pytest.mark.parametrize("shape", [(B, T), (0, T), (B, 0), (0, 0)])
def test_no_valid_step(name, shape, dtype):
    scores, targets = scores_and_targets(shape, dtype=dtype)
    goal = targets if name == "cross_entropy" else scores + 1
    for lengths in ([0] * shape[0], None if 0 in shape else [0] * shape[0]):
        loss, gradient = getattr(losses, name)(scores, goal, lengths)
        assert loss == 0
        assert isinstance(loss, float)
        assert (gradient.shape, gradient.dtype) == (scores.shape, dtype)
        assert not gradient.any()


# ------------------------------------------------------------------------------------- optimizers

# name -> (makes one for a model, the twin for one array, the optimizer in PyTorch and its options)
every_clip = pytest.mark.parametrize("clip", [None, 0.3, 1e6], ids=["free", "clipped", "loose"])


def test_every_optimizer_is_in_the_table():
    classes = {one for one in vars(optim).values() if isinstance(one, type)}
    public = {one for one in classes if issubclass(one, optim.Optimizer)} - {optim.Optimizer}
    assert {row[0] for row in OPTIMIZERS.values()} == public


@every_optimizer
@every_clip
def test_optimizers_agree_with_their_twins(name, clip, dtype, isa):
    make, options, twin, _ = OPTIMIZERS[name]
    layer = model(dtype)
    optimizer = make(layer, clip_norm=clip, **options)
    params = {key: array.astype("float64") for key, array in layer.params.items()}
    memory = dict.fromkeys(params)
    twin = functools.partial(twin, **defaults(name))
    for step in range(STEPS):
        given = gradients(layer, step)
        for key, grad in given.items():
            layer.grads[key] = grad
        clipped, norm = reference.clip_norm(
            {key: grad.astype("float64") for key, grad in given.items()}, clip or math.inf
        )
        found = optimizer.step()
        assert found == pytest.approx(norm, rel=1e-12)
        for key, grad in clipped.items():
            params[key], memory[key] = twin(params[key], grad, memory[key])
            assert_close(layer.params[key], params[key], 20 * TOLERANCE[dtype], f"{step}: {key}")
        assert not any(grad.any() for grad in layer.grads.values())


@every_optimizer
@every_clip
def test_optimizers_agree_with_torch(name, clip, dtype):
    torch = pytest.importorskip("torch")
    make, options, _, torch_name = OPTIMIZERS[name]
    layer = model(dtype)
    optimizer = make(layer, clip_norm=clip, **options)
    twins = {key: torch.tensor(array, requires_grad=True) for key, array in layer.params.items()}
    twin = getattr(torch.optim, torch_name)(twins.values(), **defaults(name))
    for step in range(STEPS):
        for key, grad in gradients(layer, step).items():
            layer.grads[key] = grad
            twins[key].grad = torch.tensor(grad)
        if clip:
            torch.nn.utils.clip_grad_norm_(twins.values(), clip)
        twin.step()
        optimizer.step()
    for key, array in layer.params.items():
        assert_close(array, twins[key].detach().numpy(), 20 * TOLERANCE[dtype], key)


def test_defaults():
    """The defaults of the public interface."""
    adam = optim.Adam(model())
    assert (adam.lr, adam.betas, adam.eps, adam.clip_norm) == (1e-3, (0.9, 0.999), 1e-8, None)
    assert optim.SGD(model()).momentum == 0
    assert optim.Adam(model(), 0.5, clip_norm=2.0).clip_norm == 2.0


@every_optimizer
def test_the_rate_can_be_changed_between_steps(name):
    make, options, _, _ = OPTIMIZERS[name]
    layer = model()
    optimizer = make(layer, **options)
    optimizer.lr = 0.0
    assert optimizer.lr == 0
    before = copied(layer.params)
    for key, grad in gradients(layer, 0).items():
        layer.grads[key] = grad
    optimizer.step()
    assert_same_bits(layer.params, before)


@every_optimizer
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(name, value, dtype):
    make, options, _, _ = OPTIMIZERS[name]
    layer = model(dtype)
    optimizer = make(layer, clip_norm=1.0, **options)
    for step in range(2):
        for key, grad in gradients(layer, step).items():
            layer.grads[key] = grad
        if step == 0:
            optimizer.step()
    layer.grads["1.W_h"][20, 3] = value
    before = copied([layer.params, layer.grads, optimizer.state_dict()])
    with pytest.raises(FloatingPointError, match=r"1\.W_h.*(nan|inf).*\(20, 3\)"):
        optimizer.step()
    assert_same_bits([layer.params, layer.grads, optimizer.state_dict()], before)
    layer.grads["1.W_h"][20, 3] = 0  # a valid gradient: the next update succeeds
    optimizer.step()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("clip", [None, 1.0])
def test_gradients_whose_squares_overflow(dtype, clip):
    """Their norm is finite and is returned, and clipping scales them."""
    layer = crnn.Dense(2, 3, dtype=dtype)
    size = float(np.finfo(dtype).max) / 8
    layer.grads["W"][0] = [3 * size, -4 * size]
    before = layer.params["W"].copy()
    norm = optim.SGD(layer, 1.0 if clip else 0.0, clip_norm=clip).step()
    assert norm == pytest.approx(5 * size, rel=1e-6)
    if clip:
        assert_close(before[0] - layer.params["W"][0], np.array([0.6, -0.8]), 1e-5)


@every_optimizer
def test_a_restored_optimizer_continues_to_the_same_bits(name, dtype):
    make, options, _, _ = OPTIMIZERS[name]
    layers = [model(dtype), model(dtype)]
    optimizers = [make(layer, clip_norm=0.5, **options) for layer in layers]

    def walk(which, steps):
        for step in steps:
            for key, grad in gradients(layers[which], step).items():
                layers[which].grads[key] = grad
            optimizers[which].step()

    walk(0, range(5))
    optimizers[0].lr = 0.25
    saved = optimizers[0].state_dict()
    frozen = copied(saved)
    layers[1].load_state_dict(layers[0].state_dict())
    walk(0, range(5, 10))
    assert_same_bits(saved, frozen)  # copies
    optimizers[1].load_state_dict(saved)
    assert_same_bits(optimizers[1].state_dict(), frozen)
    walk(1, range(5, 10))
    assert_same_bits(layers[1].params, layers[0].params)
    assert_same_bits(optimizers[1].state_dict(), optimizers[0].state_dict())


def test_a_layer_in_two_places_is_updated_once():
    """As in PyTorch, where a shared parameter is one parameter."""
    shared = fill(crnn.Dense(3, 3, dtype="float64"))
    layer = crnn.Sequential([shared, shared])
    shared.grads["W"][...] = 1.0
    before = shared.params["W"].copy()
    norm = optim.SGD(layer, 0.1).step()
    assert norm == pytest.approx(3.0)
    np.testing.assert_allclose(before - shared.params["W"], 0.1, rtol=1e-12)


def test_a_small_problem_is_learned():
    """All parts together: the sum of up to 6 symbols, modulo 2."""
    rng = np.random.default_rng(0)
    layer = crnn.Sequential([crnn.LSTM(2, 8, seed=1), crnn.Dense(8, 2, seed=2)])
    optimizer = optim.Adam(layer, 0.02, clip_norm=1.0)
    history = []
    for _ in range(150):
        x, lengths = rng.integers(0, 2, (32, 6)), rng.integers(0, 7, 32)
        logits, _, tape = layer.forward(x, lengths=lengths)
        loss, dlogits = losses.cross_entropy(logits, np.cumsum(x, axis=1) % 2, lengths)
        layer.backward(tape, dlogits)
        optimizer.step()
        history.append(loss)
    assert np.mean(history[-5:]) < 0.1 < 0.6 < history[0]
