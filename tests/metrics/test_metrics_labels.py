"""Metrics of several labels against scikit-learn and direct definitions, for any batches."""

import itertools
import math

import numpy as np
import pytest

import crnn
from crnn import metrics

B, T, K = 7, 6, 5
LENGTHS = np.array([6, 3, 0, 5, 1, 6, 2])
VALID = np.arange(T) < LENGTHS[:, None]
rng = np.random.default_rng(0)
TARGET = (rng.random((B, T, K)) < [0.0, 0.1, 0.3, 0.6, 1.0]).astype(np.int64)
Y = np.round(rng.normal(size=(B, T, K)) + TARGET - 0.5, 1)  # rounded: some are equal
Y[..., 0] = -1  # label 0 is neither true nor predicted
WEIGHTS = rng.uniform(0.1, 2, (B, T))

OBJECTS = [
    metrics.multilabel_f1, metrics.multilabel_f1(average="macro"),
    metrics.multilabel_f1(average="weighted", threshold=0.5), metrics.multilabel_f1(average=None),
    metrics.jaccard, metrics.jaccard(average=None), metrics.roc_auc, metrics.roc_auc(average=None),
    metrics.average_precision, metrics.average_precision(average=None), metrics.calibration_error,
    metrics.calibration_error(bins=3),
]  # fmt: skip
weighted = pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])


@pytest.fixture
def sklearn():
    return pytest.importorskip("sklearn.metrics")


def name_of(metric):
    return getattr(metric, "__name__", None) or repr(metric)


@weighted
def test_accuracy_is_the_share_of_right_labels(weights):
    by_step = np.ones(VALID.sum()) if weights is None else weights[VALID]
    right = ((Y > 0) == TARGET)[VALID].mean(axis=1)
    total = metrics.multilabel_accuracy(Y, TARGET, LENGTHS, weights=weights)
    assert total.mean == pytest.approx(np.average(right, weights=by_step))
    assert total.weight == pytest.approx(K * by_step.sum())


@weighted
@pytest.mark.parametrize("average", ["micro", "macro", "weighted", None])
@pytest.mark.parametrize("name", ["f1", "jaccard"])
def test_f1_and_jaccard_are_those_of_scikit_learn(sklearn, name, average, weights):
    ours = {"f1": metrics.multilabel_f1, "jaccard": metrics.jaccard}[name]
    by_step = None if weights is None else weights[VALID]
    theirs = getattr(sklearn, f"{name}_score")(
        TARGET[VALID], Y[VALID] > 0, average=average, labels=range(1, K), sample_weight=by_step
    )
    value = ours(Y, TARGET, LENGTHS, weights=weights, average=average)
    if average is None:
        assert math.isnan(value[0])
        value = value[1:]
    np.testing.assert_allclose(value, theirs, rtol=1e-12)


def test_the_threshold_is_a_logit(sklearn):
    expected = sklearn.f1_score(TARGET[VALID], Y[VALID] > 0.5, average="micro")
    assert metrics.multilabel_f1(Y, TARGET, LENGTHS, threshold=0.5) == pytest.approx(expected)
    assert metrics.multilabel_f1(threshold=1)(Y, TARGET) == metrics.multilabel_f1(
        Y, TARGET, threshold=1.0
    )


@weighted
@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_areas_are_those_of_scikit_learn(sklearn, name, weights):
    by_step = None if weights is None else weights[VALID]
    theirs = [
        getattr(sklearn, f"{name}_score")(
            TARGET[VALID][:, k], Y[VALID][:, k], sample_weight=by_step
        )
        for k in (1, 2, 3)
    ]
    ours = getattr(metrics, name)(Y, TARGET, LENGTHS, weights=weights, average=None)
    np.testing.assert_allclose(ours[1:4], theirs, rtol=1e-12)
    assert math.isnan(ours[0])  # never true
    known = ours[~np.isnan(ours)]
    assert getattr(metrics, name)(Y, TARGET, LENGTHS, weights=weights) == pytest.approx(
        known.mean()
    )


def test_the_area_under_the_roc_curve_counts_pairs():
    scores, true = Y[VALID][:, 2], TARGET[VALID][:, 2] == 1
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(scores[true], scores[~true])]
    value = metrics.roc_auc(scores[:, None], true[:, None])
    assert value == pytest.approx(np.mean(pairs), rel=1e-12)
    assert metrics.roc_auc([[1.0], [1.0]], [[0], [1]]) == 0.5
    assert metrics.average_precision([[1.0], [1.0]], [[0], [1]]) == 0.5


@weighted
@pytest.mark.parametrize("bins", [1, 3, 10])
def test_the_calibration_error_by_its_definition(weights, bins):
    p, true = 1 / (1 + np.exp(-Y[VALID].ravel())), TARGET[VALID].ravel()
    each = np.repeat(np.ones(VALID.sum()) if weights is None else weights[VALID], K)
    error = 0.0
    for b in range(bins):
        inside = (b / bins <= p) & (p < (b + 1) / bins)
        if inside.any():
            gap = np.average(p[inside] - true[inside], weights=each[inside])
            error += abs(gap) * each[inside].sum() / each.sum()
    ours = metrics.calibration_error(Y, TARGET, LENGTHS, weights=weights, bins=bins)
    assert ours == pytest.approx(error, rel=1e-12)


def test_perfect_and_extreme_logits():
    y, target = [[1e300], [-1e300]], [[1], [0]]
    assert metrics.calibration_error(y, target) == 0
    assert metrics.calibration_error(y, [[0], [1]]) == 1
    for metric in (metrics.roc_auc, metrics.average_precision, metrics.jaccard):
        assert metric([[np.inf], [-np.inf]], target) == 1


@pytest.mark.parametrize("metric", OBJECTS, ids=name_of)
def test_without_a_valid_step_there_is_no_value(metric):
    assert np.isnan(metric(Y, TARGET, np.zeros(B, int))).all()


@pytest.mark.parametrize("metric", OBJECTS, ids=name_of)
def test_targets_may_be_booleans_or_floats_and_outputs_float32(metric):
    expected = metric(Y, TARGET, LENGTHS)
    for kind in (bool, np.float32):
        np.testing.assert_array_equal(metric(Y, TARGET.astype(kind), LENGTHS), expected)
    np.testing.assert_allclose(metric(Y.astype(np.float32), TARGET, LENGTHS), expected, rtol=1e-6)


@pytest.mark.parametrize("sizes", [(7,), (1,) * 7, (3, 4), (2, 0, 5)])
@pytest.mark.parametrize("metric", OBJECTS, ids=name_of)
def test_the_value_is_the_same_for_any_batches(metric, sizes):
    metric.start()
    for end, n in zip(np.cumsum(sizes), sizes, strict=True):
        rows = slice(end - n, end)
        metric.add(Y[rows], TARGET[rows], LENGTHS[rows], WEIGHTS[rows])
    whole = metric(Y, TARGET, LENGTHS, weights=WEIGHTS)
    np.testing.assert_allclose(metric.value(), whole, rtol=1e-12)


@pytest.mark.parametrize("junk", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("metric", [metrics.multilabel_accuracy, *OBJECTS], ids=name_of)
def test_padding_is_not_read(metric, junk):
    y, target = Y.copy(), TARGET.astype(float)
    y[~VALID], target[~VALID] = junk, junk
    np.testing.assert_equal(metric(y, target, LENGTHS), metric(Y, TARGET, LENGTHS))
    weights = VALID.astype(float)
    np.testing.assert_equal(metric(y, target, weights=weights), metric(Y, TARGET, LENGTHS))


def test_logits_that_are_nan_have_no_order():
    y = Y.copy()
    y[0, 0, 2] = np.nan
    for metric in (metrics.roc_auc, metrics.average_precision):
        assert np.isnan(metric(y, TARGET, average=None)).tolist()[1:4] == [False, True, False]
    with pytest.raises(FloatingPointError, match="y: expected logits that are numbers, got NaN"):
        metrics.calibration_error(y, TARGET)


def test_what_objects_are_called():
    assert [repr(one) for one in (OBJECTS[2], OBJECTS[5], OBJECTS[7], OBJECTS[8], OBJECTS[11])] == [
        "multilabel_f1(average='weighted', threshold=0.5)", "jaccard(average=None)",
        "roc_auc(average=None)", "average_precision(average='macro')", "calibration_error(bins=3)",
    ]  # fmt: skip


WRONG = [
    ((Y, TARGET[..., 0]), {}, "target: expected real numbers of shape .*, that of y"),
    ((Y, TARGET + 1), {}, "target: expected 0 and 1 at all valid steps, got 2"),
    ((Y, TARGET + 0.5), {}, "target: expected 0 and 1 at all valid steps, got "),
    ((TARGET, TARGET), {}, r"y: expected floats of shape \(B, T, K\) or \(B, K\), got int64"),
    ((Y[..., :0], TARGET[..., :0]), {}, "K >= 1"),
    ((Y, TARGET, LENGTHS + 5), {}, r"lengths: expected integers from 0 to T=6"),
    ((Y, TARGET), {"weights": -WEIGHTS}, "weights: expected finite numbers of at least 0"),
]


@pytest.mark.parametrize(("arguments", "options", "message"), WRONG)
@pytest.mark.parametrize("metric", [metrics.multilabel_accuracy, *OBJECTS], ids=name_of)
def test_wrong_arrays(metric, arguments, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        metric(*arguments, **options)


def test_wrong_options():
    for metric in (metrics.multilabel_f1, metrics.jaccard):
        with pytest.raises(ValueError, match="average: expected 'micro', 'macro', 'weighted' or"):
            metric(average="samples")
        with pytest.raises(ValueError, match="threshold: expected a finite number, got nan"):
            metric(threshold=math.nan)
    for metric in (metrics.roc_auc, metrics.average_precision):
        with pytest.raises(ValueError, match="average: expected 'macro' or None, got 'micro'"):
            metric(average="micro")
    with pytest.raises(ValueError, match="bins: expected an integer of at least 1, got 0"):
        metrics.calibration_error(bins=0)


@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("average", ["macro", None])
def test_rankings_in_training_and_evaluation(K, average):
    """Batches of unequal lengths have the value of one call over all of them."""
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(T, 3)).astype("float32") for T in (5, 2, 7, 4, 6)]
    y = [(part[:, :K] + rng.normal(size=(len(part), K)) > 0).astype(int) for part in x]
    model = crnn.Sequential([crnn.GRU(3, 4, seed=0), crnn.Dense(4, K, seed=1)])
    batches = crnn.data.Batches(x, y, batch_size=2)
    rankings = {
        "auc": crnn.metrics.roc_auc(average=average),
        "precision": crnn.metrics.average_precision(average=average),
    }
    loss = crnn.losses.binary_cross_entropy
    found = crnn.evaluate(model, batches, loss=loss, metrics=rankings)
    logits = np.concatenate([model(part[None])[0][0] for part in x])
    for name, metric in rankings.items():
        np.testing.assert_array_equal(found[name], metric(logits, np.concatenate(y)))
    if average:
        adam = crnn.optim.Adam(model, lr=1e-3)
        options = {"epochs": 2, "progress": False, "validation": batches, "metrics": rankings}
        history = crnn.fit(model, batches, loss=loss, optimizer=adam, **options)
        assert all(0 <= value <= 1 for value in history["val_auc"])


def test_rankings_refuse_batches_of_other_labels():
    metric = crnn.metrics.roc_auc()
    metric.start()
    metric.add(np.zeros((2, 3)), np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"y: expected logits of K=3 labels.* got K=1"):
        metric.add(np.zeros((2, 1)), np.ones((2, 1)))


def test_logits_that_are_nan_are_wrong():
    """A model that has diverged is not called accurate."""
    target = np.array([[0, 1, 0], [1, 1, 0]])
    y = np.full((2, 3), np.nan)
    assert crnn.metrics.multilabel_accuracy(y, target).mean == 0
    assert crnn.metrics.multilabel_f1(y, target) == 0
    assert crnn.metrics.jaccard(y, target) == 0
    classes = np.array([0, 2])
    assert crnn.metrics.accuracy(y, classes).mean == 0
    assert crnn.metrics.f1(y, classes) == 0
    assert crnn.metrics.exact_match(y[None], classes[None]).mean == 0
    y[0] = [1, 0, 0]
    assert crnn.metrics.accuracy(y, classes).mean == 0.5
    assert crnn.metrics.confusion_matrix(y, classes)[0, 0] == 1
