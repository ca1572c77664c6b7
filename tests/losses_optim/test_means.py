"""Means over several batches are sum(w loss) / sum(w), for any division into batches."""

import copy
import functools
import pickle

import numpy as np
import pytest

import crnn
from crnn.losses import Mean, cross_entropy, mse
from crnn.training.evaluation import evaluate
from crnn.training.trainer import Trainer
from support.comparing import assert_close
from support.running import fill

N, T, F, K = 12, 6, 3, 4
RNG = np.random.default_rng(8)
X, TARGETS = RNG.normal(size=(N, T, F)), RNG.integers(0, K, (N, T))
GOAL = RNG.normal(size=(N, T, K))
WEIGHTS = RNG.random((N, T)) * (RNG.random((N, T)) < 0.7)
LENGTHS = np.append(RNG.integers(1, T + 1, N - 2), [0, T])
CLASSES = np.array([0.1, 5.0, 1.0, 0.0])
F64 = {"dtype": "float64"}


def weighted(**options):
    return functools.partial(cross_entropy, **options)


def in_bits(y, target, lengths, **options):
    value, gradient = cross_entropy(y, target, lengths, class_weights=CLASSES, **options)
    return value / np.log(2), gradient / np.log(2)


def regularised(y, target, lengths, **options):
    value, gradient = cross_entropy(y, target, lengths, class_weights=CLASSES, **options)
    return 1.0 + 0.5 * value, 0.5 * gradient


LOSSES = {
    "plain": cross_entropy,
    "classes": weighted(class_weights=CLASSES),
    "smoothing": weighted(label_smoothing=0.2),
    "both": weighted(class_weights=CLASSES + 0.05, label_smoothing=0.2),
    "lambda": lambda y, t, n, **w: cross_entropy(y, t, n, class_weights=CLASSES, **w),
    "bits": in_bits,
    "regularised": regularised,
    "mse": mse,
}
EXTRAS = {
    "steps": {},
    "weights": {"weights": WEIGHTS},
    "row-weights": {"weights": WEIGHTS[:, 0] + 0.1},
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
every_extra = pytest.mark.parametrize("extras", EXTRAS.values(), ids=EXTRAS)
every_length = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])


def model():
    return fill(crnn.Sequential([crnn.GRU(F, 5, **F64), crnn.Dense(5, K, **F64)]))


def cut(sizes, loss, lengths, extras):
    """The data as items with these numbers of rows."""
    target, ends = GOAL if loss is mse else TARGETS, np.cumsum(sizes)
    return [
        (
            X[b:e],
            target[b:e],
            None if lengths is None else lengths[b:e],
            {key: array[b:e] for key, array in extras.items()},
        )
        for b, e in zip(ends - sizes, ends, strict=True)
    ]


def run(data, loss, **options):
    """A run of plain gradient descent with the learning rate 1, and its model."""
    layer = model()
    optimizer = crnn.optim.SGD(layer, options.pop("lr", 1.0))
    trainer = Trainer(layer, data, loss=loss, optimizer=optimizer, epochs=1, **options)
    trainer.run()
    return trainer


@every_loss
@every_extra
@every_length
def test_accumulated_items_are_one_batch(loss, extras, lengths):
    sizes = [1, 3, 2, 6]
    whole = run(cut([N], loss, lengths, extras), loss)
    parts = run(cut(sizes, loss, lengths, extras), loss, accumulate=4)
    assert parts.position.update == whole.position.update == 1
    assert parts.norm == pytest.approx(whole.norm, rel=1e-12)
    assert parts.position.loss == pytest.approx(whole.position.loss, rel=1e-12)
    assert parts.history.loss == pytest.approx(whole.history.loss, rel=1e-12)
    for name, array in whole.model.params.items():
        assert_close(parts.model.params[name], array, 1e-12, name)


@every_loss
@every_extra
@every_length
@pytest.mark.parametrize("sizes", [[1] * N, [5, 7], [1, 3, 2, 6]], ids=str)
def test_losses_do_not_depend_on_how_data_are_cut(loss, extras, lengths, sizes):
    data = cut(sizes, loss, lengths, extras)
    expected = float(loss(model()(X, lengths=lengths)[0], cut([N], loss, None, {})[0][1], lengths,
                          **extras)[0])  # fmt: skip
    close = pytest.approx(expected, rel=1e-12)
    for windows in ({}, {"tbptt": (4, 4)}, {"tbptt": (2, 5)}):
        assert evaluate(model(), data, loss=loss, **windows) == close
        trainer = run(data, loss, lr=0.0, validation=data, **windows)
        assert trainer.history.loss == [close]
        assert trainer.history.val_loss == [close]
        assert trainer.mean_loss == 0  # the next epoch's


@every_loss
def test_streams(loss):
    """Items along T, in which row b continues row b."""
    target, layer = GOAL if loss is mse else TARGETS, model()
    pieces = [slice(0, 1), slice(1, 4), slice(4, 6)]
    data = [(X[:, p], target[:, p], None, {"weights": WEIGHTS[:, p]}) for p in pieces]
    close = pytest.approx(float(loss(layer(X)[0], target, None, weights=WEIGHTS)[0]), rel=1e-12)
    assert evaluate(layer, data, loss=loss, stateful=True) == close
    trainer = run(data, loss, lr=0.0, stateful=True, validation=data)
    assert trainer.history.loss == trainer.history.val_loss == [close]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_accumulated_gradients_are_pytorchs_of_one_batch(smoothing):
    torch = pytest.importorskip("torch")
    loss = weighted(class_weights=CLASSES, label_smoothing=smoothing)
    layer = fill(crnn.Dense(F, K, **F64))
    W = torch.tensor(layer.params["W"].copy(), requires_grad=True)
    logits = torch.tensor(X.reshape(-1, F)) @ W.T + torch.tensor(layer.params["b"].copy())
    twin = torch.nn.functional.cross_entropy(
        logits, torch.tensor(TARGETS.reshape(-1)), torch.tensor(CLASSES), label_smoothing=smoothing
    )
    twin.backward()
    data, before = cut([5, 7], loss, None, {}), layer.params["W"].copy()
    trainer = Trainer(
        layer, data, loss=loss, optimizer=crnn.optim.SGD(layer, 1.0), epochs=1, accumulate=2
    )
    trainer.run()
    assert trainer.history.loss == [pytest.approx(twin.item(), rel=1e-12)]
    assert_close(before - layer.params["W"], W.grad.numpy(), 1e-12)


@every_length
@pytest.mark.parametrize("shape", [(N, K), (N, T, K), (N, T, 2, 2)])
def test_the_divisor_of_a_loss(shape, lengths):
    rng, lead = np.random.default_rng(0), shape[: 1 if len(shape) == 2 else 2]
    there = np.ones(lead, bool)
    if len(lead) == 2 and lengths is not None:
        there = np.arange(T) < lengths[:, None]
    elif lengths is not None:
        return
    y, weights = rng.normal(size=shape), rng.random(lead)
    value, _ = mse(y, y + 1, lengths)
    assert value.weight == there.sum() * np.prod(shape[len(lead) :])
    value, _ = mse(y, y + 1, lengths, weights=weights)
    assert value.weight == pytest.approx((there * weights).sum() * np.prod(shape[len(lead) :]))
    if shape[-1] == K:
        targets = rng.integers(0, K, lead)
        assert cross_entropy(y, targets, lengths)[0].weight == there.sum()
        for smoothing in (0.0, 0.3):
            options = {"class_weights": CLASSES, "label_smoothing": smoothing}
            value, _ = cross_entropy(y, targets, lengths, weights=weights, **options)
            assert value.weight == pytest.approx((there * weights * CLASSES[targets]).sum())
    assert mse(y, y, np.zeros(N, int))[0].weight == 0


def test_a_plain_number_counts_as_the_mean_over_the_valid_steps():
    def own(y, target, lengths):
        value, gradient = cross_entropy(y, target, lengths)
        return float(value), gradient

    data = cut([5, 7], own, LENGTHS, {})
    whole, parts = run(cut([N], own, LENGTHS, {}), own), run(data, own, accumulate=2)
    assert parts.norm == pytest.approx(whole.norm, rel=1e-12)
    assert parts.history.loss == pytest.approx(whole.history.loss, rel=1e-12)


def test_a_loss_of_ones_own_gives_its_weight():
    def last_step(y, target, lengths):
        """The mean over the rows."""
        error = y[:, -1] - target[:, -1]
        gradient = np.zeros_like(y)
        gradient[:, -1] = 2 * error / len(y)
        return Mean(np.square(error).sum() / len(y), len(y)), gradient

    def item(rows, steps):
        return (X[rows, :steps], GOAL[rows, :steps])

    data = [item(slice(0, 5), 2), item(slice(5, N), T)]
    values = [np.square(model()(x)[0][:, -1] - t[:, -1]).sum(axis=1) for x, t in data]
    expected = pytest.approx(np.concatenate(values).mean(), rel=1e-12)
    assert evaluate(model(), data, loss=last_step) == expected
    assert run(data, last_step, accumulate=2).history.loss == [expected]


def test_items_of_weight_zero_take_no_part():
    """Also if the loss of these items is NaN."""

    def own(y, target, lengths):
        value, gradient = mse(y, target, lengths)
        return value if value.weight else Mean(np.nan, 0), gradient

    data = cut([5, 7], mse, LENGTHS, {})
    empty = (X[:2], GOAL[:2], [0, 0])
    assert evaluate(model(), [*data, empty], loss=own) == evaluate(model(), data, loss=mse)
    nothing = [(X, TARGETS, None, {"weights": np.zeros((N, T))})]
    with pytest.raises(ValueError, match="data: expected data with valid steps, got none"):
        evaluate(model(), nothing, loss=cross_entropy)


def test_a_mean_is_a_number_that_keeps_its_weight():
    mean = Mean(3.0, 4)
    for value, expected in (
        (mean * 2, 6), (2 * mean, 6), (mean / 2, 1.5), (mean + 1, 4), (1 + mean, 4), (mean - 1, 2),
        (1 - mean, -2), (mean * np.float64(2), 6), (sum([mean, mean]), 6), (mean + mean, 6),
    ):  # fmt: skip
        assert value == expected
        assert value.weight == 4
    assert type(mean + Mean(1.0, 5)) is float  # of neither
    assert isinstance(mean, float)
    assert repr(mean) == "3.0"
    for twin in (copy.copy(mean), copy.deepcopy(mean), pickle.loads(pickle.dumps(mean))):
        assert (twin, twin.weight) == (3.0, 4.0)
    np.testing.assert_array_equal(mean * np.ones(2), [3.0, 3.0])
    for weight in (-1, np.nan, np.inf, "1"):
        with pytest.raises(ValueError, match="weight: expected a finite number of at least 0"):
            Mean(1.0, weight)


@every_length
@pytest.mark.parametrize("validated", [False, True])
def test_weights_of_rows_and_one_target_a_row(lengths, validated):
    """Many to one: a row of weight 0 is not read, and may have any target."""
    layer = fill(
        crnn.Sequential([crnn.GRU(F, 5, **F64), crnn.Pool("mean"), crnn.Dense(5, K, **F64)])
    )
    targets, weights = TARGETS[:, 0].copy(), RNG.random(N) + 0.1
    targets[3], weights[3] = -1, 0
    expected, _ = cross_entropy(layer(X, lengths=lengths)[0], targets, weights=weights)
    data = [
        (X[part], targets[part], None if lengths is None else lengths[part], {"weights": w})
        for part, w in ((slice(0, 5), weights[:5]), (slice(5, N), weights[5:]))
    ]
    trainer = Trainer(
        layer, data, loss=cross_entropy, optimizer=crnn.optim.SGD(layer, 0.0), epochs=1,
        validation=data if validated else None,
    )  # fmt: skip
    trainer.run()
    assert trainer.history.loss == [pytest.approx(float(expected), rel=1e-12)]
