"""Metrics of classes and symbols. The outputs y are scores (B, T, K) or (B, K)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, TypedDict, Unpack, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.arrays import Array, Floats
from crnn.common.checks import check_array, check_counted
from crnn.common.representation import never_raising
from crnn.losses import cross_entropy
from crnn.losses.steps import check_classes, step_weights
from crnn.metrics.base import Metric, Total, called


class _Labels(NamedTuple):
    """Predicted and target classes of the steps of positive weight, with their weights."""

    predicted: NDArray[np.intp]
    target: NDArray[np.intp]
    weights: Floats
    K: int


def _labels(y: Any, target: Any, lengths: Any, weights: Any) -> _Labels:
    """Return the classes of the steps of positive weight, as vectors, or raise."""
    scores, classes, step_weight = _checked_steps(y, target, lengths, weights)
    valid = step_weight > 0
    targets = classes[valid].astype(np.intp)
    predicted = _predicted(scores[valid], targets)
    return _Labels(predicted, targets, step_weight[valid], scores.shape[-1])


def _predicted(scores: Array, targets: Array) -> Array:
    """Return the class of the largest score; where a score is NaN, a class that is wrong."""
    wrong = np.isnan(scores).any(axis=-1)
    predicted: Array = scores.argmax(axis=-1)
    return np.where(wrong, (targets + 1) % scores.shape[-1], predicted)


def _checked_steps(y: Any, target: Any, lengths: Any, weights: Any) -> tuple[Array, Array, Floats]:
    """Return scores (B, T, K) or (B, K), and targets and weights (B, T) or (B,).

    Raises
    ------
    TypeError, ValueError
        If y are not scores of K classes, or the target of a step of positive weight is not a class.
    """
    scores, classes = _checked_scores(y, target)
    step_weight = step_weights(weights, classes.shape, lengths)
    targets, K = classes[step_weight > 0], scores.shape[-1]
    if targets.size and not (0 <= targets.min() and targets.max() < K):
        raise ValueError(
            f"target: expected integers from 0 to K-1={K - 1}, "
            f"got {targets.min()} to {targets.max()}"
        )
    return scores, classes, step_weight


def _checked_scores(y: Any, target: Any) -> tuple[Array, Array]:
    """Return scores (B, T, K) or (B, K) and targets (B, T) or (B,), or raise."""
    scores = check_array("y", y, "floats", ("B", "T", "K"), ("B", "K"))
    if not scores.shape[-1]:
        raise ValueError(f"y: expected scores of K >= 1 classes, got shape {scores.shape}")
    return scores, check_classes("target", target, scores.shape)


def accuracy(
    y: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
) -> Total:
    """Return the number of valid steps whose highest score is that of the target.

    Parameters
    ----------
    y : (B, T, K) or (B, K) floats
        Scores or probabilities of the classes. Among equal scores the first class is predicted.
    target : (B, T) or (B,) integers
        The correct class of each step, or of each row, 0 ... K-1.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of each step, or of each row. None: 1.

    Returns
    -------
    Total
        The weight of the correct steps, and of all valid steps. ``.mean`` is the accuracy.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a target is not a class, or a weight is negative or not finite.

    Examples
    --------
    >>> import crnn
    >>> y = [[[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]]
    >>> crnn.metrics.accuracy(y, [[1, 1, 0]], lengths=[2])
    Total(sum=1.0, weight=2.0)
    >>> crnn.metrics.accuracy(y, [[1, 1, 0]], lengths=[2]).mean
    0.5
    """
    labels = _labels(y, target, lengths, weights)
    right = labels.predicted == labels.target
    return Total(float(labels.weights[right].sum()), float(labels.weights.sum()))


def bits(
    y: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
) -> Total:
    """Return the cross-entropy to base 2, in bits per symbol.

    It is the mean number of bits that an ideal code with the probabilities softmax(y) needs for a
    target.

    Parameters
    ----------
    y : (B, T, K) or (B, K) floats
        Logits: scores before the softmax.
    target : (B, T) or (B,) integers
        The correct class of each step, or of each row, 0 ... K-1.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of each step, or of each row. None: 1.

    Returns
    -------
    Total
        The sum of -log2(softmax(y)[target]), and the weight of the valid steps. ``.mean`` is the
        number of bits per symbol.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a target is not a class, or a weight is negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> crnn.metrics.bits(np.zeros((1, 3, 4)), [[0, 1, 2]]).mean  # four equally likely symbols
    2.0
    """
    loss, _ = cross_entropy(*_checked_scores(y, target), lengths, weights=weights)
    return Total(float(loss) * loss.weight / math.log(2), loss.weight)


def exact_match(
    y: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
) -> Total:
    """Return the number of sequences that are correct at every valid step.

    With truncated BPTT (``tbptt``) each window counts as a sequence.

    Parameters
    ----------
    y : (B, T, K) or (B, K) floats
        Scores or probabilities of the classes. Among equal scores the first class is predicted.
    target : (B, T) or (B,) integers
        The correct class of each step, or of each row, 0 ... K-1.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Steps of weight 0 are not compared. The weight of a row is the largest weight of its steps.
        None: 1.

    Returns
    -------
    Total
        The weight of the correct rows, and of all rows with a valid step. ``.mean`` is the fraction
        of correct rows.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a target is not a class, or a weight is negative or not finite.

    Examples
    --------
    >>> import crnn
    >>> y = [[[0.1, 0.9], [0.8, 0.2]], [[0.1, 0.9], [0.3, 0.7]]]
    >>> crnn.metrics.exact_match(y, [[1, 0], [1, 0]])
    Total(sum=1.0, weight=2.0)
    """
    scores, classes, step_weight = _checked_steps(y, target, lengths, weights)
    right = (_predicted(scores, classes) == classes) | (step_weight == 0)
    steps = tuple(range(1, classes.ndim))
    by_row = step_weight.max(axis=steps, initial=0.0)
    return Total(float(by_row[right.all(axis=steps)].sum()), float(by_row.sum()))


class Perplexity(Metric):
    """Perplexity: e to the power of the mean cross-entropy in nats.

    Parameters
    ----------
    y : (B, T, K) or (B, K) floats
        Logits: scores before the softmax.
    target : (B, T) or (B,) integers
        The correct class of each step, or of each row, 0 ... K-1.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of each step, or of each row. None: 1.

    Returns
    -------
    float
        1 for a model that gives each target the probability 1, K for equal probabilities of all
        symbols; nan without a valid step. If called without arrays: a metric object for batches.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a target is not a class, or a weight is negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> round(crnn.metrics.perplexity(np.zeros((1, 3, 4)), [[0, 1, 2]]), 6)
    4.0
    """

    def __call__(
        self,
        y: ArrayLike | None = None,
        target: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        *,
        weights: ArrayLike | None = None,
    ) -> Any:
        return called(self, y, target, lengths, weights)

    def sums(
        self, y: Any, target: Any, lengths: Any = None, weights: Any = None
    ) -> tuple[Any, ...]:
        loss, _ = cross_entropy(*_checked_scores(y, target), lengths, weights=weights)
        return float(loss) * loss.weight, loss.weight

    def value_of(self, totals: tuple[Any, ...]) -> float:
        nats, weight = totals
        return _exp(nats / weight) if weight else math.nan

    def __repr__(self) -> str:
        return "perplexity()"


def _exp(nats: float) -> float:
    """Return e**nats, infinity beyond the largest float."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


class ConfusionMatrix(Metric):
    """Confusion matrix: number of predictions of each class for each target.

    `crnn.plotting.confusion_matrix` draws it.

    Parameters
    ----------
    y : (B, T, K) or (B, K) floats
        Scores or probabilities of the classes. Among equal scores the first class is predicted.
    target : (B, T) or (B,) integers
        The correct class of each step, or of each row, 0 ... K-1.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of each step, or of each row. None: 1.

    Returns
    -------
    ndarray (K, K)
        Row k, column j: the number of valid steps with the target k and the prediction j (int64);
        with weights the sum of their weights (float64). The layout is that of scikit-learn. If
        called without arrays: a metric object for batches.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a target is not a class, or a weight is negative or not finite.

    Examples
    --------
    >>> import crnn
    >>> y = [[[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]]
    >>> crnn.metrics.confusion_matrix(y, [[1, 0, 0]])
    array([[1, 1],
           [0, 1]])
    """

    def __call__(
        self,
        y: ArrayLike | None = None,
        target: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        *,
        weights: ArrayLike | None = None,
    ) -> Any:
        return called(self, y, target, lengths, weights)

    def sums(
        self, y: Any, target: Any, lengths: Any = None, weights: Any = None
    ) -> tuple[Any, ...]:
        return (_confusions(_labels(y, target, lengths, weights), weights is not None),)

    def value_of(self, totals: tuple[Any, ...]) -> Array:
        return np.asarray(totals[0])

    def __repr__(self) -> str:
        return "confusion_matrix()"


def _confusions(labels: _Labels, weighted: bool) -> Array:
    """Return the sum of weights (K, K) of each pair of target and predicted class."""
    K, pairs = labels.K, labels.target * labels.K + labels.predicted
    weights = labels.weights if weighted else None
    return np.bincount(pairs, weights, minlength=K * K).reshape(K, K)


Average: TypeAlias = Literal["macro", "micro", "weighted"]


class F1Options(TypedDict, total=False):
    """Options of `f1`."""

    average: Average | None
    ignore: Sequence[int]


class F1(Metric):
    """F1 of tags: the harmonic mean of precision and recall, by class and averaged.

    F1 of a class is 2 TP / (2 TP + FP + FN), with the numbers of true positives, false positives
    and false negatives at the valid steps. It is 0 for a class that occurs as target or prediction
    but never as both at one step. The values equal those of scikit-learn's ``f1_score``.

    Parameters
    ----------
    y : (B, T, K) or (B, K) floats
        Scores or probabilities of the classes. Among equal scores the first class is predicted.
    target : (B, T) or (B,) integers
        The correct class of each step, or of each row, 0 ... K-1.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of each step, or of each row. None: 1.
    average : {"macro", "micro", "weighted"} or None, default "macro"
        "macro": the mean over the classes that occur as target or prediction, with equal weights,
        so that rare tags count as much as frequent ones. "micro": F1 of the summed counts of all
        classes. "weighted": the mean, weighted by the number of targets of each class. None: F1 of
        each class, (K,), nan for a class that does not occur.
    ignore : sequence of int, default ()
        Classes that are excluded from the average, such as the tag of words that are not names.
        Steps with these classes still count as errors of the other classes.

    Returns
    -------
    float, or ndarray (K,)
        From 0 to 1; nan if no class occurs. If called without arrays: a metric object with these
        options, for batches or for `crnn.fit`.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a target is not a class, a weight is negative or not finite, the
        average is unknown, or a class to ignore is not below K.

    Examples
    --------
    >>> import crnn
    >>> y = [[[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]]
    >>> round(crnn.metrics.f1(y, [[1, 0, 0]]), 3)
    0.667
    >>> metric = crnn.metrics.f1(average=None)
    >>> metric.start()
    >>> metric.add(y, [[1, 0, 0]])
    >>> metric.value().round(3)
    array([0.667, 0.667])
    """

    def __init__(self, average: Average | None = "macro", ignore: Sequence[int] = ()) -> None:
        if average is not None and not (isinstance(average, str) and average in get_args(Average)):
            raise ValueError(
                f"average: expected 'macro', 'micro', 'weighted' or None, got {average!r:.60}"
            )
        self.average = average
        if not hasattr(ignore, "__iter__"):
            raise TypeError(f"ignore: expected a sequence of classes, got {ignore!r:.60}")
        self.ignore = tuple(check_counted("ignore", k) for k in ignore)

    def __call__(
        self,
        y: ArrayLike | None = None,
        target: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        *,
        weights: ArrayLike | None = None,
        **options: Unpack[F1Options],
    ) -> Any:
        defaults: F1Options = {"average": self.average, "ignore": self.ignore}
        return called(F1(**(defaults | options)), y, target, lengths, weights)

    def sums(
        self, y: Any, target: Any, lengths: Any = None, weights: Any = None
    ) -> tuple[Any, ...]:
        pairs = _confusions(_labels(y, target, lengths, weights), True)
        if wrong := [k for k in self.ignore if k >= len(pairs)]:
            raise ValueError(f"ignore: expected classes below K={len(pairs)}, got {wrong[0]}")
        return np.diag(pairs), pairs.sum(axis=0), pairs.sum(axis=1)

    def value_of(self, totals: tuple[Any, ...]) -> Any:
        keep = ~np.isin(np.arange(len(totals[0])), self.ignore)
        right, predicted, wanted = (np.where(keep, part, 0.0) for part in totals)
        occur = predicted + wanted
        with np.errstate(invalid="ignore"):
            each = np.where(occur > 0, 2 * right / np.where(occur > 0, occur, 1.0), np.nan)
        if self.average is None:
            return each
        if not occur.any():
            return math.nan
        if self.average == "micro":
            return float(2 * right.sum() / occur.sum())
        shares = wanted if self.average == "weighted" else (occur > 0).astype(np.float64)
        return float(np.nansum(each * shares) / shares.sum()) if shares.any() else 0.0

    @never_raising
    def __repr__(self) -> str:
        ignore = f", ignore={self.ignore}" if self.ignore else ""
        return f"f1(average={self.average!r}{ignore})"


perplexity = Perplexity()
confusion_matrix = ConfusionMatrix()
f1 = F1()
