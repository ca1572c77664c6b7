"""The NumPy reference of losses, the dense map and optimizers: finite differences and PyTorch."""

import numpy as np
import pytest

from crnn import reference
from support.comparing import assert_close
from support.twins import LENGTHS, B, T, differences


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_losses_have_the_right_gradients(lengths):
    rng = np.random.default_rng(3)
    logits, target = rng.normal(size=(B, T, 6)), rng.normal(size=(B, T, 6))
    targets = rng.integers(0, 6, (B, T))
    for loss, goal in ((reference.softmax_cross_entropy, targets), (reference.mse, target)):
        _, gradient = loss(logits, goal, lengths)
        slopes = differences(lambda loss=loss, goal=goal: loss(logits, goal, lengths)[0], logits)
        assert_close(gradient, slopes, 1e-8)


def test_losses_ignore_padding_and_answer_nothing_with_zero():
    rng = np.random.default_rng(3)
    logits, targets, lengths = rng.normal(size=(B, T, 6)), rng.integers(0, 6, (B, T)), [2, 5, 0, 3]
    padding = np.arange(T) >= np.c_[lengths]
    for loss, goal, junk in (
        (reference.softmax_cross_entropy, targets, -7),
        (reference.mse, rng.normal(size=(B, T, 6)), np.nan),
    ):
        dirty, dirty_goal = logits.copy(), goal.copy()
        dirty[padding], dirty_goal[padding] = np.nan, junk
        clean, dclean = loss(logits, goal, lengths)
        found, dfound = loss(dirty, dirty_goal, lengths)
        assert found == clean
        np.testing.assert_array_equal(dfound, dclean)
        value, gradient = loss(dirty, dirty_goal, [0] * B)
        assert value == 0
        assert not gradient.any()


def test_losses_agree_with_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    for shape in ((3, 6), (2, 3, 6)):
        logits, targets = 30 * rng.normal(size=shape), rng.integers(0, 6, shape[:-1])
        goal = rng.normal(size=shape)
        x = torch.tensor(logits, requires_grad=True)
        for twin, (value, gradient) in (
            (
                torch.nn.functional.cross_entropy(x.reshape(-1, 6), torch.tensor(targets.ravel())),
                reference.softmax_cross_entropy(logits, targets),
            ),
            (
                torch.nn.functional.mse_loss(x, torch.tensor(goal)),
                reference.mse(logits, goal),
            ),
        ):
            x.grad = None
            twin.backward()
            np.testing.assert_allclose(value, twin.item(), rtol=1e-12)
            assert_close(gradient, x.grad.numpy(), 1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_dense_gradients(bias):
    rng = np.random.default_rng(5)
    params = {"W": rng.normal(size=(6, 3))} | ({"b": rng.normal(size=6)} if bias else {})
    x, dy = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 4, 6))

    def loss():
        return np.vdot(reference.dense(params, x), dy)

    dx, grads = reference.dense_backward(params, x, dy)
    assert list(grads) == list(params)
    for array, gradient in [(x, dx), *((params[name], grads[name]) for name in params)]:
        assert_close(gradient, differences(loss, array), 1e-8)


@pytest.mark.parametrize(
    ("function", "torch_name", "options"),
    [
        (reference.sgd_momentum, "SGD", {"lr": 0.1}),
        (reference.sgd_momentum, "SGD", {"lr": 0.1, "momentum": 0.9}),
        (reference.rmsprop, "RMSprop", {"lr": 0.01}),
        (reference.adam, "Adam", {}),
        (reference.adam, "Adam", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3}),
        (reference.adamw, "AdamW", {"lr": 0.1}),
    ],
)
def test_optimizers_agree_with_torch(function, torch_name, options):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    param, memory = rng.normal(size=(3, 2)), None
    twin = torch.tensor(param, requires_grad=True)
    optimizer = getattr(torch.optim, torch_name)([twin], **options)
    for _ in range(5):
        grad = rng.normal(size=(3, 2))
        twin.grad = torch.tensor(grad)
        optimizer.step()
        defaults = {} if "adam" in function.__name__ else {"lr": 0.01}
        param, memory = function(param, grad, memory, **(defaults | options))
        assert_close(param, twin.detach().numpy(), 1e-12)


@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_clipping_agrees_with_torch(limit):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(8)
    grads = {"a": rng.normal(size=(3, 2)), "b": rng.normal(size=4)}
    twins = {name: torch.zeros(grad.shape, dtype=torch.float64) for name, grad in grads.items()}
    for name, grad in grads.items():
        twins[name].grad = torch.tensor(grad)
    expected = torch.nn.utils.clip_grad_norm_(twins.values(), limit).item()
    clipped, norm = reference.clip_norm(grads, limit)
    np.testing.assert_allclose(norm, expected, rtol=1e-14)
    for name, grad in clipped.items():
        assert_close(grad, twins[name].grad.numpy(), 1e-14)
