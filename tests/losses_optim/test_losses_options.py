"""Weights, class weights and label smoothing against PyTorch and finite differences."""

import itertools
import math

import numpy as np
import pytest

from crnn import losses
from support.comparing import assert_close, assert_same_bits

B, T, K = 4, 5, 6
rng = np.random.default_rng(0)
SCORES = rng.normal(0, 3, (B, T, K))
TARGETS = rng.integers(0, K, (B, T))
WEIGHTS = rng.random((B, T)) * (rng.random((B, T)) < 0.7)
CLASSES = np.array([0.5, 0.0, 3.0, 1.0, 0.1, 2.0])
LENGTHS = np.array([2, 0, 5, 1])
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}

OPTIONS = [
    dict(zip(("weights", "class_weights", "label_smoothing"), values, strict=True))
    for values in itertools.product((None, WEIGHTS), (None, CLASSES), (0.0, 0.1, 1.0))
]
every_option = pytest.mark.parametrize("options", OPTIONS)
every_length = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])


def within(lengths):
    return np.ones((B, T), bool) if lengths is None else np.arange(T) < lengths[:, None]


def by_torch(torch, scores, targets, lengths, weights, class_weights, label_smoothing):
    """PyTorch's weighted loss of each step; the mean divides by the weights of the targets."""
    x = torch.tensor(scores, requires_grad=True)
    classes = None if class_weights is None else torch.tensor(class_weights.astype(scores.dtype))
    each = torch.nn.functional.cross_entropy(
        x.reshape(-1, K), torch.tensor(targets).reshape(-1), weight=classes,
        label_smoothing=label_smoothing, reduction="none",
    )  # fmt: skip
    v = torch.tensor((within(lengths) * (1 if weights is None else weights)).reshape(-1))
    hit = v if classes is None else v * classes[torch.tensor(targets).reshape(-1)]
    loss = (v * each).sum() / hit.sum()
    loss.backward()
    return loss.item(), x.grad.numpy()


@every_option
@every_length
def test_cross_entropy_is_pytorchs(options, lengths, dtype):
    torch = pytest.importorskip("torch")
    scores = SCORES.astype(dtype)
    loss, gradient = losses.cross_entropy(scores, TARGETS, lengths, **options)
    expected, expected_gradient = by_torch(torch, scores, TARGETS, lengths, **options)
    assert isinstance(loss, float)
    assert gradient.dtype == dtype
    assert loss == pytest.approx(expected, rel=TOLERANCE[dtype])
    assert_close(gradient, expected_gradient, TOLERANCE[dtype])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_mean_itself_is_pytorchs(smoothing):
    torch = pytest.importorskip("torch")
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(SCORES[0]), torch.tensor(TARGETS[0]), weight=torch.tensor(CLASSES),
        label_smoothing=smoothing,
    )  # fmt: skip
    loss, _ = losses.cross_entropy(
        SCORES[0], TARGETS[0], class_weights=CLASSES, label_smoothing=smoothing
    )
    assert loss == pytest.approx(expected.item(), rel=1e-12)


def slopes(loss, y):
    found = np.zeros_like(y)
    for where in np.ndindex(y.shape):
        values = []
        for step in (1e-5, -1e-5):
            moved = y.copy()
            moved[where] += step
            values.append(loss(moved))
        found[where] = (values[0] - values[1]) / 2e-5
    return found


@every_option
@every_length
def test_gradients_are_the_finite_differences(options, lengths):
    _, gradient = losses.cross_entropy(SCORES, TARGETS, lengths, **options)
    expected = slopes(lambda y: losses.cross_entropy(y, TARGETS, lengths, **options)[0], SCORES)
    assert_close(gradient, expected, 1e-7)


@every_length
@pytest.mark.parametrize("shape", [(B, T), (B, T, 3), (B, T, 2, 2)])
def test_mse_with_weights(shape, lengths, dtype):
    y, target = rng.normal(size=(2, *shape))
    loss, gradient = losses.mse(y.astype(dtype), target, lengths, weights=WEIGHTS)
    v = (WEIGHTS * within(lengths)).reshape(B, T, *(1,) * (len(shape) - 2))
    expected = np.average((y - target) ** 2, weights=np.broadcast_to(v, shape))
    assert loss == pytest.approx(expected, rel=1e-5 if dtype == "float32" else 1e-12)
    assert gradient.dtype == dtype
    expected = slopes(lambda y: losses.mse(y, target, lengths, weights=WEIGHTS)[0], y)
    assert_close(gradient, expected, 1e-5 if dtype == "float32" else 1e-8)


def test_weights_that_are_all_the_same_change_nothing(dtype):
    scores, goal = SCORES.astype(dtype), SCORES[::-1].astype(dtype)
    same = np.full((B, T), 0.3)
    for found, expected in (
        (losses.cross_entropy(scores, TARGETS, LENGTHS, weights=same), (TARGETS,)),
        (losses.mse(scores, goal, LENGTHS, weights=same), (goal,)),
    ):
        loss = losses.cross_entropy if expected[0] is TARGETS else losses.mse
        plain = loss(scores, *expected, LENGTHS)
        assert found[0] == pytest.approx(plain[0], rel=TOLERANCE[dtype])
        assert_close(found[1], plain[1], TOLERANCE[dtype])


def test_a_weight_for_each_row():
    rows = np.array([1.0, 0.0, 2.0, 0.5])
    wide = np.repeat(rows[:, None], T, axis=1)
    found = losses.cross_entropy(SCORES, TARGETS, weights=rows)
    assert_same_bits(found[1], losses.cross_entropy(SCORES, TARGETS, weights=wide)[1])
    found = losses.cross_entropy(SCORES[:, 0], TARGETS[:, 0], weights=rows)
    expected = losses.cross_entropy(SCORES[:, :1], TARGETS[:, :1], weights=rows[:, None])
    assert found[0] == expected[0]
    pooled, goal = SCORES[:, 0], SCORES[:, 1]
    loss, _ = losses.mse(pooled, goal, weights=rows)
    assert loss == pytest.approx(np.average((pooled - goal) ** 2, axis=0, weights=rows).mean())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "options",
    [
        {"weights": np.zeros((B, T))},
        {"class_weights": np.zeros(K)},
        {"class_weights": np.zeros(K), "label_smoothing": 0.1},
    ],
)
def test_weights_that_are_all_zero(options):
    loss, gradient = losses.cross_entropy(SCORES, TARGETS, **options)
    assert (loss, gradient.any()) == (0, False)
    if "weights" in options:
        loss, gradient = losses.mse(SCORES, SCORES + 1, **options)
        assert (loss, gradient.any()) == (0, False)


@pytest.mark.filterwarnings("error")
def test_a_step_of_weight_zero_is_not_read():
    scores, targets, goal = SCORES.copy(), TARGETS.copy(), SCORES + 1.0
    weights = np.ones((B, T))
    weights[1, 2] = 0
    scores[1, 2], targets[1, 2], goal[1, 2] = np.nan, -1, np.inf
    for loss, wanted in ((losses.cross_entropy, targets), (losses.mse, goal)):
        value, gradient = loss(scores, wanted, weights=weights)
        assert math.isfinite(value)
        assert np.isfinite(gradient).all()
        assert not gradient[1, 2].any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [1e4, 3e38])
def test_extreme_logits(size, dtype):
    logits = np.array([[size, -size, 0.0], [-np.inf, 1.0, 2.0]], dtype)
    loss, gradient = losses.cross_entropy(logits, [0, 2], weights=[1.0, 1.0])
    s = 1 / (1 + math.exp(-1))
    assert loss == pytest.approx(-math.log(s) / 2, rel=1e-6)
    assert_close(gradient, np.array([[0, 0, 0], [0, (1 - s) / 2, (s - 1) / 2]]), 1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": np.ones((B, T + 1))}, r"weights: expected real numbers of shape \(4, 5\)"),
        ({"weights": np.ones((B, T)) * 1j}, "weights: expected real numbers"),
        ({"weights": 1.0}, "weights: expected real numbers"),
        ({"weights": -np.ones((B, T))}, "weights: expected finite numbers of at least 0"),
        ({"weights": np.full((B, T), np.nan)}, "weights: expected finite numbers of at least 0"),
        ({"class_weights": np.ones(K + 1)}, r"class_weights: expected real numbers of shape \(6,"),
        ({"class_weights": -np.ones(K)}, "class_weights: expected finite numbers of at least 0"),
        ({"label_smoothing": -0.1}, "label_smoothing: expected a finite number"),
        ({"label_smoothing": 1.1}, "label_smoothing: expected a finite number"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        losses.cross_entropy(SCORES, TARGETS, **options)
    if "weights" in options:
        with pytest.raises(ValueError, match=message):
            losses.mse(SCORES, SCORES, **options)
