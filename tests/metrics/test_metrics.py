"""Metrics against scikit-learn and direct definitions, at the valid steps, for any batches."""

import copy
import math

import numpy as np
import pytest

import crnn
from crnn import metrics

B, T, K = 7, 6, 5
LENGTHS = np.array([6, 3, 0, 5, 1, 6, 2])
VALID = np.arange(T) < LENGTHS[:, None]
rng = np.random.default_rng(0)
TARGET = rng.integers(0, K - 1, (B, T))  # class K-1 is no target
Y = rng.normal(size=(B, T, K)) + 1.5 * np.eye(K)[TARGET]
WEIGHTS = rng.uniform(0.1, 2, (B, T))
PREDICTED = Y.argmax(axis=-1)


def split_into(sizes, *arrays):
    """Batches of these sizes."""
    ends = np.cumsum(sizes)
    return [[a[end - n : end] for a in arrays] for n, end in zip(sizes, ends, strict=True)]


@pytest.fixture
def sklearn():
    return pytest.importorskip("sklearn.metrics")


# -------------------------------------------------------------------------------- the definitions


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_accuracy_is_that_of_scikit_learn(sklearn, weights):
    by_step = None if weights is None else weights[VALID]
    total = metrics.accuracy(Y, TARGET, LENGTHS, weights=weights)
    args = TARGET[VALID], PREDICTED[VALID]
    assert total.mean == pytest.approx(sklearn.accuracy_score(*args, sample_weight=by_step))
    assert total.weight == pytest.approx(VALID.sum() if weights is None else by_step.sum())
    assert total == (total.sum, total.weight)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
def test_f1_is_that_of_scikit_learn(sklearn, average, weights):
    by_step = None if weights is None else weights[VALID]
    args, options = (TARGET[VALID], PREDICTED[VALID]), {"sample_weight": by_step}
    theirs = sklearn.f1_score(
        *args, average=average, labels=sorted({*args[0], *args[1]}), **options
    )
    ours = metrics.f1(Y, TARGET, LENGTHS, weights=weights, average=average)
    if average is None:
        ours = ours[~np.isnan(ours)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_f1_leaves_classes_out_of_the_average(sklearn):
    args = TARGET[VALID], PREDICTED[VALID]
    labels = sorted({*args[0], *args[1]} - {0})
    for average in ("macro", "micro", "weighted"):
        ours = metrics.f1(Y, TARGET, LENGTHS, average=average, ignore=[0])
        assert ours == pytest.approx(sklearn.f1_score(*args, average=average, labels=labels))


def test_f1_of_classes_that_do_not_occur():
    y = np.eye(4)[[[1, 1, 2]]]
    np.testing.assert_array_equal(
        metrics.f1(y, [[1, 1, 1]], average=None), [np.nan, 0.8, 0.0, np.nan]
    )
    assert metrics.f1(y, [[1, 1, 1]]) == pytest.approx(0.4)
    assert math.isnan(metrics.f1(y, [[1, 1, 1]], ignore=[0, 1, 2, 3]))
    assert math.isnan(metrics.f1(y, [[1, 1, 1]], [0]))


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_the_confusion_matrix_is_that_of_scikit_learn(sklearn, weights):
    by_step = None if weights is None else weights[VALID]
    theirs = sklearn.confusion_matrix(
        TARGET[VALID], PREDICTED[VALID], labels=range(K), sample_weight=by_step
    )
    ours = metrics.confusion_matrix(Y, TARGET, LENGTHS, weights=weights)
    assert ours.dtype == (np.int64 if weights is None else np.float64)
    np.testing.assert_allclose(ours, theirs)


def test_bits_and_perplexity_are_those_of_the_cross_entropy():
    for weights in (None, WEIGHTS):
        loss, _ = crnn.losses.cross_entropy(Y, TARGET, LENGTHS, weights=weights)
        bits = metrics.bits(Y, TARGET, LENGTHS, weights=weights)
        assert bits.mean == pytest.approx(loss / math.log(2))
        assert bits.weight == loss.weight
        perplexity = metrics.perplexity(Y, TARGET, LENGTHS, weights=weights)
        assert perplexity == pytest.approx(math.exp(loss))
    assert metrics.perplexity(1e6 * np.eye(2)[[[0]]], [[1]]) == math.inf


def test_exact_match_counts_sequences():
    right = copy.copy(TARGET)
    right[3, 5] += 1  # padding
    right[0, 2] = (right[0, 2] + 1) % K
    y = np.eye(K)[right % K]
    assert metrics.exact_match(y, TARGET, LENGTHS) == (5, 6)  # row 2 has no valid step
    weights = np.ones((B, T))
    weights[0, 2] = 0
    assert metrics.exact_match(y, TARGET, LENGTHS, weights=weights) == (6, 6)
    by_row = np.arange(B, dtype=float)
    assert metrics.exact_match(y, TARGET, LENGTHS, weights=by_row) == (19, 19)  # row 0 counts 0
    assert metrics.exact_match(y[:, 0], TARGET[:, 0]) == (7, 7)


def test_the_mean_absolute_error(sklearn):
    y, target = rng.normal(size=(2, B, T, 3))
    theirs = sklearn.mean_absolute_error(target[VALID], y[VALID])
    assert metrics.mae(y, target, LENGTHS).mean == pytest.approx(theirs)
    theirs = sklearn.mean_absolute_error(target[VALID], y[VALID], sample_weight=WEIGHTS[VALID])
    total = metrics.mae(y, target, LENGTHS, weights=WEIGHTS)
    assert total.mean == pytest.approx(theirs)
    assert total.weight == pytest.approx(3 * WEIGHTS[VALID].sum())
    flat, wanted = y[:, 0], target[:, 0]
    assert metrics.mae(flat, wanted).mean == pytest.approx(np.abs(flat - wanted).mean())
    by_row = metrics.mae(flat, wanted, weights=WEIGHTS[:, 0]).mean
    assert by_row == pytest.approx(
        np.average(np.abs(flat - wanted).mean(axis=1), weights=WEIGHTS[:, 0])
    )


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_the_normalised_root_mean_square_error(sklearn, weights):
    y, target = rng.normal(size=(2, B, T, 3)) + 2
    by_step = None if weights is None else weights[VALID]
    rmse = math.sqrt(sklearn.mean_squared_error(target[VALID], y[VALID], sample_weight=by_step))
    each = np.repeat(np.ones(VALID.sum()) if by_step is None else by_step, 3)
    flat = target[VALID].ravel()
    mean = np.average(flat, weights=each)
    std = math.sqrt(np.average((flat - mean) ** 2, weights=each))
    size = np.average(np.abs(flat), weights=each)
    for scale, divisor in (("std", std), ("mean", size), (0.25, 0.25), (np.float32(2), 2)):
        ours = metrics.nrmse(y, target, LENGTHS, weights=weights, scale=scale)
        assert ours == pytest.approx(rmse / divisor, rel=1e-12)
    assert metrics.nrmse(y, target, LENGTHS, weights=weights) == pytest.approx(rmse / std)
    by_row = metrics.nrmse(y[:, 0], target[:, 0], weights=WEIGHTS[:, 0])
    assert by_row == pytest.approx(metrics.nrmse(y[:, :1], target[:, :1], weights=WEIGHTS[:, :1]))


def test_a_scale_of_0():
    assert metrics.nrmse(np.ones((2, 3)), np.zeros((2, 3))) == math.inf
    assert math.isnan(metrics.nrmse(np.zeros((2, 3)), np.zeros((2, 3)), scale="mean"))
    assert math.isnan(metrics.nrmse(np.ones((1, 3, 1)), np.ones((1, 3, 1)), [0]))
    assert metrics.nrmse(np.ones((2, 3)), np.zeros((2, 3)), scale=0.5) == 2


def test_a_large_mean_costs_digits_only():
    target = 1e6 + rng.normal(size=(50, 40, 1))
    error = metrics.nrmse(target + 0.5, target)
    assert error == pytest.approx(0.5 / np.std(target - 1e6), rel=1e-3)


# -------------------------------------------------------------------------------------- the class


def name_of(metric):
    """A name that is the same in every process."""
    return getattr(metric, "__name__", None) or repr(metric)


MEANS = [metrics.accuracy, metrics.bits, metrics.exact_match]
OBJECTS = [
    metrics.perplexity, metrics.confusion_matrix, metrics.f1, metrics.f1(average="weighted"),
    metrics.f1(average=None), metrics.f1(ignore=[1]),
]  # fmt: skip


@pytest.mark.parametrize("sizes", [(7,), (1,) * 7, (3, 4), (2, 0, 5)])
@pytest.mark.parametrize("metric", [*MEANS, *OBJECTS], ids=name_of)
def test_the_value_is_the_same_for_any_batches(metric, sizes):
    batches = split_into(sizes, Y, TARGET, LENGTHS, WEIGHTS)
    if metric in OBJECTS:
        whole = metric(Y, TARGET, LENGTHS, weights=WEIGHTS)
        metric.start()
        for batch in batches:
            metric.add(*batch)
        parts = metric.value()
    else:
        whole = metric(Y, TARGET, LENGTHS, weights=WEIGHTS).mean
        totals = [metric(*batch[:3], weights=batch[3]) for batch in batches]
        parts = sum(one.sum for one in totals) / sum(one.weight for one in totals)
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


@pytest.mark.parametrize("junk", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("metric", [*MEANS, *OBJECTS], ids=name_of)
def test_padding_is_not_read(metric, junk):
    y, target = Y.copy(), TARGET.copy()
    y[~VALID], target[~VALID] = junk, 999
    np.testing.assert_equal(metric(y, target, LENGTHS), metric(Y, TARGET, LENGTHS))
    weights = VALID.astype(float)
    ours = metric(y, target, weights=weights)
    if metric in (metrics.bits, metrics.perplexity):  # NumPy computes the loss with weights
        np.testing.assert_allclose(ours, metric(Y, TARGET, LENGTHS), rtol=1e-14)
    elif metric is not metrics.confusion_matrix:
        np.testing.assert_equal(ours, metric(Y, TARGET, LENGTHS))


def test_padding_of_values_is_not_read():
    y, target = np.where(VALID, Y[..., 0], np.nan), np.where(VALID, Y[..., 1], np.inf)
    clean = np.where(VALID, Y[..., 0], 0), np.where(VALID, Y[..., 1], 0)
    assert metrics.mae(y, target, LENGTHS) == metrics.mae(*clean, LENGTHS)


@pytest.mark.parametrize("sizes", [(7,), (1,) * 7, (3, 4), (2, 0, 5)])
@pytest.mark.parametrize("scale", ["std", "mean", 0.3])
def test_nrmse_is_the_same_for_any_batches(scale, sizes):
    metric = metrics.nrmse(scale=scale)
    y, target = np.where(VALID, Y[..., 0], np.nan), np.where(VALID, Y[..., 1], np.inf)
    for batch in split_into(sizes, y[..., None], target[..., None], LENGTHS, WEIGHTS):
        metric.add(*batch)
    clean = np.where(VALID, Y[..., 0], 0), np.where(VALID, Y[..., 1], 0)
    whole = metric(*(part[..., None] for part in clean), LENGTHS, weights=WEIGHTS)
    assert metric.value() == pytest.approx(whole, rel=1e-12)
    assert repr(metric) == f"nrmse(scale={scale!r})"


def test_an_object_starts_anew_and_two_do_not_share_anything():
    one, other = metrics.f1(), metrics.f1()
    one.start()
    assert one.value() is None
    one.add(Y, TARGET, LENGTHS)
    other.start()
    assert other.value() is None
    first = one.value()
    one.start()
    one.add(Y, TARGET, LENGTHS)
    assert one.value() == first == metrics.f1(Y, TARGET, LENGTHS)


def test_options_are_those_of_the_object_unless_the_call_has_others():
    micro = metrics.f1(average="micro")
    assert micro(Y, TARGET, LENGTHS) == metrics.f1(Y, TARGET, LENGTHS, average="micro")
    assert micro(Y, TARGET, LENGTHS, average="macro") == metrics.f1(Y, TARGET, LENGTHS)
    assert micro(Y, TARGET, LENGTHS) != metrics.f1(Y, TARGET, LENGTHS)


def test_what_objects_are_called():
    assert repr(metrics.f1(average="micro", ignore=[0])) == "f1(average='micro', ignore=(0,))"
    assert [repr(one) for one in OBJECTS[:3]] == [
        "perplexity()", "confusion_matrix()", "f1(average='macro')",
    ]  # fmt: skip


# -------------------------------------------------------------------------------------- mistakes

WRONG = [
    ((Y, TARGET[:, :3]), {}, r"target: expected integers of shape \(7, 6\), got shape \(7, 3\)"),
    ((Y, TARGET.astype(float)), {}, r"target: expected integers .* got float64"),
    ((TARGET, TARGET), {}, r"y: expected floats of shape \(B, T, K\) or \(B, K\), got int64"),
    ((Y[..., :0], TARGET), {}, "K >= 1"),
    ((Y, TARGET, LENGTHS + 5), {}, r"lengths: expected integers from 0 to T=6, got \d+ in row"),
    ((Y, TARGET), {"weights": -WEIGHTS}, "weights: expected finite numbers of at least 0"),
    ((Y, TARGET), {"weights": WEIGHTS[:3]}, r"weights: expected real numbers of shape \(7, 6\)"),
    ((Y, TARGET + K), {}, "expected integers from 0 to K-1=4, got 5 to 8"),
]


@pytest.mark.parametrize(("arguments", "options", "message"), WRONG)
@pytest.mark.parametrize(
    "metric", [metrics.accuracy, metrics.exact_match, *OBJECTS[1:]], ids=name_of
)
def test_wrong_arrays(metric, arguments, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        metric(*arguments, **options)


def test_wrong_options():
    with pytest.raises(ValueError, match="average: expected 'macro', 'micro', 'weighted' or None"):
        metrics.f1(average="binary")
    with pytest.raises(ValueError, match="ignore: expected classes below K=5, got 7"):
        metrics.f1(Y, TARGET, ignore=[7])
    with pytest.raises(ValueError, match="ignore: expected an integer of at least 0, got -1"):
        metrics.f1(ignore=[-1])
    with pytest.raises(TypeError, match="avg"):
        metrics.f1(avg="macro")


@pytest.mark.parametrize("scale", ["var", None, True, 0, -1.0, math.nan, math.inf, [1], 1j])
def test_wrong_scales(scale):
    with pytest.raises(ValueError, match=r"scale: expected .*positive number, got"):
        metrics.nrmse(scale=scale)


def test_wrong_values():
    y = Y[..., :2]
    with pytest.raises(ValueError, match=r"target: expected real numbers of shape .*, that of y"):
        metrics.mae(y, y[:, :2])
    with pytest.raises(ValueError, match=r"target: expected real numbers of shape .*, that of y"):
        metrics.nrmse(y, y[:, :2])
    with pytest.raises(TypeError, match="y: expected floats"):
        metrics.mae(TARGET, TARGET)
    with pytest.raises(ValueError, match=r"y: expected shape \(B, T, ...\) or \(B, F\)"):
        metrics.mae(y[0, 0], y[0, 0])
