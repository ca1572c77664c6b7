"""Metrics of labels that do not exclude each other. The outputs y are logits (B, T, K) or (B, K).

They belong to `crnn.losses.binary_cross_entropy`. K = 1 is a single yes or no.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, Literal, NamedTuple, TypeAlias, TypedDict, Unpack, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.arrays import Array, Floats, as_array
from crnn.common.checks import check_array, check_real, check_size
from crnn.common.representation import never_raising
from crnn.losses.steps import check_values, step_weights
from crnn.metrics.base import Metric, Total, called


class _Steps(NamedTuple):
    """The steps of positive weight: logits and targets (N, K), and weights (N,)."""

    scores: Array
    target: NDArray[np.bool_]
    weights: Floats


def _steps(y: Any, target: Any, lengths: Any, weights: Any) -> _Steps:
    """Return the steps of positive weight, or raise."""
    scores = check_array("y", y, "floats", ("B", "T", "K"), ("B", "K"))
    if not scores.shape[-1]:
        raise ValueError(f"y: expected logits of K >= 1 labels, got shape {scores.shape}")
    wanted = as_array("target", target)
    if wanted.dtype.kind == "b":
        wanted = wanted.astype(np.int8)
    wanted = check_values("target", wanted, scores.shape)
    step_weight = step_weights(weights, scores.shape[:-1], lengths)
    valid = step_weight > 0
    true = wanted[valid]
    wrong = (true != 0) & (true != 1)
    if wrong.any():
        raise ValueError(f"target: expected 0 and 1 at all valid steps, got {true[wrong][0]!s:.20}")
    return _Steps(scores[valid], true != 0, step_weight[valid])


def _predicted(steps: _Steps, threshold: float) -> NDArray[np.bool_]:
    """Return which labels are predicted; for a logit that is NaN, the wrong answer."""
    predicted: NDArray[np.bool_] = steps.scores > threshold
    return np.where(np.isnan(steps.scores), ~steps.target, predicted)


def multilabel_accuracy(
    y: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
) -> Total:
    """Return the number of labels that are right, as true or as false.

    Where most labels are false, such as the keys of a piano, a model that predicts no label has a
    high accuracy; `multilabel_f1` and `jaccard` do not count labels that are rightly false.

    Parameters
    ----------
    y : (B, T, K) or (B, K) floats
        Logits: scores before the logistic function. A label is predicted if its logit is above 0; a
        logit that is NaN is a wrong answer.
    target : array of 0 and 1, or of booleans, of the shape of y
        Which labels are true.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of all labels of each step, or of each row. None: 1.

    Returns
    -------
    Total
        The weight of the right labels, and of all labels. ``.mean`` is the accuracy.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a target is not 0 or 1, or a weight is negative or not finite.

    Examples
    --------
    >>> import crnn
    >>> y = [[[2.0, -1.0, -3.0], [0.5, 1.0, -1.0]]]
    >>> crnn.metrics.multilabel_accuracy(y, [[[1, 0, 0], [1, 0, 1]]]).mean
    0.6666666666666666
    """
    steps = _steps(y, target, lengths, weights)
    right = (_predicted(steps, 0.0) == steps.target).sum(axis=1)
    return Total(float(steps.weights @ right), float(steps.weights.sum()) * steps.target.shape[1])


Average: TypeAlias = Literal["micro", "macro", "weighted"]


class MultilabelOptions(TypedDict, total=False):
    """Options of `multilabel_f1` and `jaccard`."""

    average: Average | None
    threshold: float


class _Counted(Metric):
    """A value of the counts of labels that are true, predicted, and both."""

    name: str

    def __init__(self, average: Average | None = "micro", threshold: float = 0.0) -> None:
        if average is not None and not (isinstance(average, str) and average in get_args(Average)):
            raise ValueError(
                f"average: expected 'micro', 'macro', 'weighted' or None, got {average!r:.60}"
            )
        self.average, self.threshold = average, check_real("threshold", threshold)

    def __call__(
        self,
        y: ArrayLike | None = None,
        target: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        *,
        weights: ArrayLike | None = None,
        **options: Unpack[MultilabelOptions],
    ) -> Any:
        defaults: MultilabelOptions = {"average": self.average, "threshold": self.threshold}
        return called(type(self)(**(defaults | options)), y, target, lengths, weights)

    def sums(
        self, y: Any, target: Any, lengths: Any = None, weights: Any = None
    ) -> tuple[Any, ...]:
        steps = _steps(y, target, lengths, weights)
        predicted = _predicted(steps, self.threshold)
        parts = predicted & steps.target, predicted, steps.target
        return tuple(steps.weights @ part for part in parts)

    @abstractmethod
    def _share(self, both: Any, predicted: Any, wanted: Any) -> tuple[Any, Any]:
        """Return the numerator and the denominator of the value."""

    def value_of(self, totals: tuple[Any, ...]) -> Any:
        above, below = self._share(*totals)
        occur = below > 0
        each = np.where(occur, above / np.where(occur, below, 1.0), np.nan)
        if self.average is None:
            return each
        if not occur.any():
            return math.nan
        if self.average == "micro":
            return float(above.sum() / below.sum())
        shares = totals[2] if self.average == "weighted" else occur.astype(np.float64)
        return float(np.nansum(each * shares) / shares.sum()) if shares.any() else 0.0

    @never_raising
    def __repr__(self) -> str:
        threshold = f", threshold={self.threshold!r}" if self.threshold else ""
        return f"{self.name}(average={self.average!r}{threshold})"


class MultilabelF1(_Counted):
    """F1 of labels that do not exclude each other: the harmonic mean of precision and recall.

    F1 of a label is 2 TP / (2 TP + FP + FN), with the numbers of true positives, false positives
    and false negatives at the valid steps. The values equal those of scikit-learn's ``f1_score`` of
    the labels that occur.

    Parameters
    ----------
    y : (B, T, K) or (B, K) floats
        Logits: scores before the logistic function.
    target : array of 0 and 1, or of booleans, of the shape of y
        Which labels are true.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of all labels of each step, or of each row. None: 1.
    average : {"micro", "macro", "weighted"} or None, default "micro"
        "micro": F1 of the summed counts of all labels, the usual one for music. "macro": the mean
        over the labels that are true or predicted at any step. "weighted": the mean, weighted by
        the number of steps at which each label is true. None: F1 of each label, (K,), nan for a
        label that is neither true nor predicted.
    threshold : float, default 0.0
        A label is predicted if its logit is above it; 0 is the probability 1/2.

    Returns
    -------
    float, or ndarray (K,)
        From 0 to 1; nan if no label occurs. If called without arrays: a metric object with these
        options, for batches or for `crnn.fit`.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a target is not 0 or 1, a weight is negative or not finite, or an
        option is invalid.

    Examples
    --------
    >>> import crnn
    >>> y = [[[2.0, -1.0, -3.0], [0.5, 1.0, -1.0]]]
    >>> round(crnn.metrics.multilabel_f1(y, [[[1, 0, 0], [1, 0, 1]]]), 3)
    0.667
    """

    name = "multilabel_f1"

    def _share(self, both: Any, predicted: Any, wanted: Any) -> tuple[Any, Any]:
        return 2 * both, predicted + wanted


class Jaccard(_Counted):
    """Jaccard index of labels: TP / (TP + FP + FN), "accuracy" in works on music.

    M. Bay, A. Ehmann and J. Downie, "Evaluation of multiple-F0 estimation and tracking systems"
    (2009), call the micro average accuracy at the level of frames.

    Parameters
    ----------
    y : (B, T, K) or (B, K) floats
        Logits: scores before the logistic function.
    target : array of 0 and 1, or of booleans, of the shape of y
        Which labels are true.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of all labels of each step, or of each row. None: 1.
    average : {"micro", "macro", "weighted"} or None, default "micro"
        As for `multilabel_f1`.
    threshold : float, default 0.0
        A label is predicted if its logit is above it; 0 is the probability 1/2.

    Returns
    -------
    float, or ndarray (K,)
        From 0 to 1; nan if no label occurs. If called without arrays: a metric object with these
        options, for batches or for `crnn.fit`.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a target is not 0 or 1, a weight is negative or not finite, or an
        option is invalid.

    Examples
    --------
    >>> import crnn
    >>> y = [[[2.0, -1.0, -3.0], [0.5, 1.0, -1.0]]]
    >>> crnn.metrics.jaccard(y, [[[1, 0, 0], [1, 0, 1]]])
    0.5
    """

    name = "jaccard"

    def _share(self, both: Any, predicted: Any, wanted: Any) -> tuple[Any, Any]:
        return both, predicted + wanted - both


class RankingOptions(TypedDict, total=False):
    """Options of `roc_auc` and `average_precision`."""

    average: Literal["macro"] | None


class _Ranking(Metric):
    """A value of the order of the logits. The logits of all batches are kept until `value`."""

    name: str
    _parts: list[tuple[Any, ...]] | None = None

    def __init__(self, average: Literal["macro"] | None = "macro") -> None:
        if average is not None and average != "macro":
            raise ValueError(f"average: expected 'macro' or None, got {average!r:.60}")
        self.average = average

    def __call__(
        self,
        y: ArrayLike | None = None,
        target: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        *,
        weights: ArrayLike | None = None,
        **options: Unpack[RankingOptions],
    ) -> Any:
        defaults: RankingOptions = {"average": self.average}
        return called(type(self)(**(defaults | options)), y, target, lengths, weights)

    def sums(
        self, y: Any, target: Any, lengths: Any = None, weights: Any = None
    ) -> tuple[Any, ...]:
        return tuple(_steps(y, target, lengths, weights))

    def start(self) -> None:
        self._parts = None

    def add(self, y: Any, target: Any, lengths: Any = None, weights: Any = None) -> None:
        part, before = self.sums(y, target, lengths, weights), self._parts or []
        if before and before[0][0].shape[1] != part[0].shape[1]:
            raise ValueError(
                f"y: expected logits of K={before[0][0].shape[1]} labels, as in the batch before, "
                f"got K={part[0].shape[1]}"
            )
        self._parts = [*before, part]

    def value(self) -> Any:
        if self._parts is None:
            return None
        return self.value_of(tuple(map(np.concatenate, zip(*self._parts, strict=True))))

    def value_of(self, totals: tuple[Any, ...]) -> Any:
        scores, target, weights = totals
        each = np.array([
            self._of_label(scores[:, k], target[:, k], weights) for k in range(scores.shape[1])
        ])  # fmt: skip
        if self.average is None:
            return each
        known = ~np.isnan(each)
        return float(each[known].mean()) if known.any() else math.nan

    def _of_label(self, scores: Array, target: NDArray[np.bool_], weights: Floats) -> float:
        if np.isnan(scores).any():
            return math.nan
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], [True] * (len(ranked) > 0)))
        true = np.cumsum(np.where(target[order], weights[order], 0.0))[last]
        false = np.cumsum(np.where(target[order], 0.0, weights[order]))[last]
        return self._of_counts(true, false)

    @abstractmethod
    def _of_counts(self, true: Floats, false: Floats) -> float:
        """Return the value from the weights of true and of false labels above each threshold."""

    def __repr__(self) -> str:
        return f"{self.name}(average={self.average!r})"


class RocAuc(_Ranking):
    """Area under the ROC curve: how often a true label has a higher logit than a false one.

    It is the share of the pairs of a step where the label is true and a step where it is false in
    which the first one has the higher logit; equal logits count 1/2. It does not depend on how
    frequent the label is, nor on the calibration of the logits. The values equal those of
    scikit-learn's ``roc_auc_score``.

    Parameters
    ----------
    y : (B, T, K) or (B, K) floats
        Logits, or other scores.
    target : array of 0 and 1, or of booleans, of the shape of y
        Which labels are true.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of each step, or of each row. None: 1.
    average : {"macro"} or None, default "macro"
        "macro": the mean over the labels that are true at some step and false at another one.
        None: the value of each label, (K,).

    Returns
    -------
    float, or ndarray (K,)
        1 for a perfect order, 1/2 for a random one; nan for a label that is always true or always
        false, or that has a logit that is NaN. If called without arrays: a metric object.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a target is not 0 or 1, a weight is negative or not finite, or the
        average is unknown.

    Examples
    --------
    >>> import crnn
    >>> crnn.metrics.roc_auc([[0.1], [0.4], [0.35], [0.8]], [[0], [0], [1], [1]])
    0.75
    """

    name = "roc_auc"

    def _of_counts(self, true: Floats, false: Floats) -> float:
        if not len(true) or not true[-1] or not false[-1]:
            return math.nan
        heights = true + np.append(0.0, true[:-1])  # twice the mean height of each trapezium
        return float((np.diff(false, prepend=0.0) @ heights) / (2 * true[-1] * false[-1]))


class AveragePrecision(_Ranking):
    """Area under the curve of precision over recall, the usual measure for rare labels.

    It is the mean precision at the thresholds of all true labels: the sum of (R_n - R_{n-1}) P_n
    over the distinct logits in descending order, without interpolation. A random order has the
    share of true labels. The values equal those of scikit-learn's ``average_precision_score``.

    Parameters
    ----------
    y : (B, T, K) or (B, K) floats
        Logits, or other scores.
    target : array of 0 and 1, or of booleans, of the shape of y
        Which labels are true.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of each step, or of each row. None: 1.
    average : {"macro"} or None, default "macro"
        "macro": the mean over the labels that are true at some step. None: the value of each label,
        (K,).

    Returns
    -------
    float, or ndarray (K,)
        1 for a perfect order; nan for a label that is never true, or that has a logit that is NaN.
        If called without arrays: a metric object.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a target is not 0 or 1, a weight is negative or not finite, or the
        average is unknown.

    Examples
    --------
    >>> import crnn
    >>> y, target = [[0.1], [0.4], [0.35], [0.8]], [[0], [0], [1], [1]]
    >>> round(crnn.metrics.average_precision(y, target), 4)
    0.8333
    """

    name = "average_precision"

    def _of_counts(self, true: Floats, false: Floats) -> float:
        if not len(true) or not true[-1]:
            return math.nan
        precision = true / (true + false)
        return float(np.diff(true, prepend=0.0) @ precision / true[-1])


class CalibrationOptions(TypedDict, total=False):
    """Options of `calibration_error`."""

    bins: int


class CalibrationError(Metric):
    """Calibration error: the mean difference of predicted probabilities and shares of true labels.

    All labels at all valid steps are divided by their predicted probability into bins of equal
    width. The error is the mean over the bins of abs(mean probability - share of true labels),
    weighted by the labels in each bin (M. Naeini, G. Cooper and M. Hauskrecht, "Obtaining well
    calibrated probabilities using Bayesian binning", 2015).

    Parameters
    ----------
    y : (B, T, K) or (B, K) floats
        Logits: scores before the logistic function.
    target : array of 0 and 1, or of booleans, of the shape of y
        Which labels are true.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of all labels of each step, or of each row. None: 1.
    bins : int, default 10
        Number of bins. More bins show more detail, and need more data.

    Returns
    -------
    float
        From 0 to 1; nan without a valid step. If called without arrays: a metric object.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a target is not 0 or 1, a weight is negative or not finite, or
        `bins` is below 1.
    FloatingPointError
        If a logit is NaN.

    Examples
    --------
    Logits of 0, the probability 1/2, of a label that is true in one of four rows:

    >>> import crnn
    >>> crnn.metrics.calibration_error([[0.0], [0.0], [0.0], [0.0]], [[0], [0], [1], [0]])
    0.25
    """

    def __init__(self, bins: int = 10) -> None:
        self.bins = check_size("bins", bins)

    def __call__(
        self,
        y: ArrayLike | None = None,
        target: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        *,
        weights: ArrayLike | None = None,
        **options: Unpack[CalibrationOptions],
    ) -> Any:
        defaults: CalibrationOptions = {"bins": self.bins}
        return called(CalibrationError(**(defaults | options)), y, target, lengths, weights)

    def sums(
        self, y: Any, target: Any, lengths: Any = None, weights: Any = None
    ) -> tuple[Any, ...]:
        steps = _steps(y, target, lengths, weights)
        if np.isnan(steps.scores).any():
            raise FloatingPointError("y: expected logits that are numbers, got NaN")
        p = 0.5 + 0.5 * np.tanh(0.5 * steps.scores.astype(np.float64)).ravel()
        each = np.repeat(steps.weights, steps.scores.shape[1])
        place = np.minimum((p * self.bins).astype(np.intp), self.bins - 1)
        parts = each, each * p, each * steps.target.ravel()
        return tuple(np.bincount(place, part, minlength=self.bins) for part in parts)

    def value_of(self, totals: tuple[Any, ...]) -> float:
        weight, predicted, true = totals
        return float(np.abs(predicted - true).sum() / weight.sum()) if weight.any() else math.nan

    def __repr__(self) -> str:
        return f"calibration_error(bins={self.bins!r})"


multilabel_f1 = MultilabelF1()
jaccard = Jaccard()
roc_auc = RocAuc()
average_precision = AveragePrecision()
calibration_error = CalibrationError()
