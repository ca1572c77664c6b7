"""Losses of classes that exclude each other, and of labels that do not."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

import crnn._core as _core
from crnn.common.arrays import Array, as_array, fitting, in_order, underflows
from crnn.common.checks import check_array, check_entry, check_number, valid_steps
from crnn.losses.mean import Mean
from crnn.losses.steps import check_classes, check_values, hinting, step_weights


def _class_weights(class_weights: Any, K: int) -> NDArray[np.float64]:
    array = check_entry("class_weights", class_weights, (K,)).astype(np.float64)
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise ValueError(f"class_weights: expected finite numbers of at least 0, got {array}")
    return array


def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
    label_smoothing: float = 0.0,
) -> tuple[Mean, Array]:
    """Return the softmax cross-entropy in nats, averaged over the valid steps, and its gradient.

    Parameters
    ----------
    logits : (B, T, K) or (B, K) floats
        Scores before the softmax.
    targets : (B, T) or (B,) integers
        The correct class of each step, or of each row, 0 ... K-1.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of each step, or of each row, in the mean. None: 1.
    class_weights : (K,) numbers of at least 0, optional
        Weight of each class: PyTorch's ``weight``. None: 1.
    label_smoothing : float, default 0
        Fraction e of the target's probability that is distributed evenly over all K classes, 0 to 1
        (C. Szegedy and others, "Rethinking the Inception architecture", 2016).

    Returns
    -------
    loss : Mean
        Mean of -log softmax(logits)[target]; 0 if no step is valid. Divide by log(2) for bits.
        ``loss.weight`` is the divisor of the mean.
    dlogits : array like logits
        Gradient of the loss: (softmax - one-hot) divided by the number of valid steps.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a target is not a class, or a weight is negative or not finite.

    Notes
    -----
    With options the definition is that of PyTorch. With the step's weight v, the class weights w,
    the target k and p = softmax(logits), a step has the loss
    v ((1 - e) w_k (-log p_k) + e/K sum over c of w_c (-log p_c)). Their sum is divided by the sum
    of v w_k. If this divisor is 0, loss and gradient are 0: a batch whose targets all have class
    weight 0 does not contribute to a mean over several batches.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> logits, targets = np.zeros((1, 3, 4), "f"), np.array([[0, 2, 3]])
    >>> loss, dlogits = crnn.losses.cross_entropy(logits, targets, lengths=[2])
    >>> round(loss / np.log(2), 3), loss.weight  # four equally likely classes: 2 bits
    (2.0, 2.0)
    >>> dlogits[0, 0]
    array([-0.375,  0.125,  0.125,  0.125], dtype=float32)
    """
    if type(logits) is np.ndarray and logits.dtype.kind == "f":
        scores: Array = logits
    else:
        scores = check_array("logits", logits, "floats")
    classes = targets if type(targets) is np.ndarray else as_array("targets", targets)
    if scores.ndim < 2 or scores.shape[-1] == 0:
        raise ValueError(
            f"logits: expected shape (B, T, K) or (B, K) with K >= 1, got {scores.shape}"
        )
    lead, K = scores.shape[:-1], scores.shape[-1]
    if classes.dtype.kind not in "iu" or classes.shape != lead:
        check_classes("targets", classes, (*lead, K))
    smoothing = 0.0
    if label_smoothing != 0:
        smoothing = check_number("label_smoothing", label_smoothing, 0, np.nextafter(1, 2))
    by_class = None if class_weights is None else _class_weights(class_weights, K)
    by_step = None if weights is None else step_weights(weights, lead, lengths)
    if by_step is not None:
        valid = by_step > 0
    else:
        valid = np.ones(lead, bool) if lengths is None else valid_steps(lengths, lead)
    chosen = classes[valid]
    if chosen.size and not (0 <= chosen.min() and chosen.max() < K):
        raise ValueError(
            f"targets: expected integers from 0 to K-1={K - 1}, "
            f"got {chosen.min()} to {chosen.max()}"
        )
    if by_step is None and by_class is None and smoothing == 0:
        count = chosen.size
        kept = np.where(valid, classes.astype(np.int64, copy=False), -1).ravel()
        total, dlogits = _core.cross_entropy(scores, kept, 1 / max(count, 1))
        return Mean(total / count if count else 0.0, count), dlogits
    v = np.ones(chosen.size) if by_step is None else by_step[valid]
    return _with_options(scores, chosen, valid, v, by_class, smoothing)


def _with_options(
    scores: Array,
    chosen: NDArray[Any],
    valid: NDArray[np.bool_],
    v: NDArray[np.float64],
    by_class: NDArray[np.float64] | None,
    smoothing: float,
) -> tuple[Mean, Array]:
    """Return loss and gradient for the targets `chosen` of the valid steps and their weights v."""
    if by_class is not None and not smoothing:  # targets of class weight 0 have no loss
        counts = by_class[chosen] > 0
        valid[valid], chosen, v = counts, chosen[counts], v[counts]
    rows_of = scores[valid].astype(np.result_type(scores.dtype, np.float32), copy=False)
    loss, rows = _weighted(rows_of, chosen, v, by_class, smoothing)
    dlogits = np.zeros_like(scores)
    dlogits[valid] = rows
    return loss, dlogits


@underflows
def _weighted(
    z: Array,
    targets: NDArray[Any],
    v: NDArray[np.float64],
    w: NDArray[np.float64] | None,
    smoothing: float,
) -> tuple[Mean, Array]:
    """Return loss and gradient of logits z (N, K), with weights v (N,) and class weights w (K,)."""
    N, K = z.shape
    rows = np.arange(N)
    hit = v if w is None else v * w[targets]  # weight of the target class
    total = float(hit.sum())
    if total == 0:
        return Mean(0.0, 0.0), np.zeros_like(z)
    with np.errstate(over="ignore"):  # a logit far below the largest one: exp(-inf) is 0
        log_p = z - z.max(axis=1, keepdims=True)
    p = np.exp(log_p)
    total_p = p.sum(axis=1, keepdims=True)
    log_p -= np.log(total_p)
    p /= total_p
    hit = (1 - smoothing) * (hit / total)
    loss = -in_order(hit * log_p[rows, targets])
    mass = hit  # sum over all classes, by row
    if smoothing:
        classes = smoothing / K * (np.ones(K) if w is None else w)
        loss -= in_order(v / total * (log_p * classes).sum(axis=1))
        mass = hit + v / total * classes.sum()
    dz = mass[:, None].astype(z.dtype) * p
    dz[rows, targets] -= hit.astype(z.dtype)
    if smoothing:
        dz -= np.outer(v / total, classes).astype(z.dtype)
    return Mean(loss, total), dz


def binary_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    labels: Literal["mean", "sum"] = "mean",
) -> tuple[Mean, Array]:
    """Return the binary cross-entropy in nats of labels that do not exclude each other.

    Each of the K numbers of a step is the logit of a label that is true or false by itself: a
    diagnosis, or a key of a piano. K = 1 is a single yes or no.

    Parameters
    ----------
    logits : (B, T, K) or (B, K) floats
        Scores before the logistic function.
    targets : array of numbers from 0 to 1, or of booleans, of the shape of logits
        1 for a label that is true, 0 for one that is false, or a probability in between.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of all labels of each step, or of each row, in the mean. None: 1.
    pos_weight : (K,) numbers of at least 0, or one number, optional
        Weight of the term of true labels: PyTorch's ``pos_weight``. For a label that is true once
        in 20 rows, 19 gives the true and the false ones equal influence. None: 1.
    labels : {"mean", "sum"}, default "mean"
        Whether the loss of a step is the mean over its labels, as in PyTorch, or their sum, which
        is the number of nats of a step.

    Returns
    -------
    loss : Mean
        Mean over the valid steps of the mean or sum of -(w t log p + (1 - t) log(1 - p)) over the
        labels, with p = σ(logits), the target t and w, the weight of true labels; 0 if no step is
        valid or all weights are 0. ``loss.weight`` is the divisor: the number of valid steps, or
        the sum of their weights, with labels="mean" times K.
    dlogits : array like logits
        Gradient of the loss: (p (1 - t) - w t (1 - p)), times the weight of the step, divided by
        ``loss.weight``.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a target is not between 0 and 1, or a weight is negative or not
        finite.

    Notes
    -----
    The terms are computed from the logits x as (w t + 1 - t) log(1 + exp(-|x|)), plus |x| times
    w t or 1 - t, whichever belongs to the answer that x contradicts. No term overflows, and small
    losses keep their digits. `pos_weight` does not count in the divisor, as in PyTorch.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> logits, targets = np.zeros((1, 3, 4), "f"), np.array([[[0, 1, 0, 1]] * 3])
    >>> loss, dlogits = crnn.losses.binary_cross_entropy(logits, targets, lengths=[2])
    >>> round(loss / np.log(2), 3), loss.weight  # each label is a coin: 1 bit
    (1.0, 8.0)
    >>> dlogits[0, 0]
    array([ 0.0625, -0.0625,  0.0625, -0.0625], dtype=float32)
    >>> loss, _ = crnn.losses.binary_cross_entropy(logits, targets, labels="sum")
    >>> round(loss / np.log(2), 3), loss.weight
    (4.0, 3.0)
    """
    if labels not in ("mean", "sum"):
        raise ValueError(f"labels: expected 'mean' or 'sum', got {labels!r:.60}")
    scores = check_array("logits", logits, "floats", ("B", "T", "K"), ("B", "K"))
    lead, K = scores.shape[:-1], scores.shape[-1]
    if K == 0:
        raise ValueError(f"logits: expected logits of K >= 1 labels, got shape {scores.shape}")
    wanted = _labels(targets, scores.shape)
    dtype = np.dtype(np.float32 if scores.dtype == np.float32 else np.float64)
    by_label = None if pos_weight is None else _pos_weight(pos_weight, K, dtype)
    by_step = None
    if weights is not None or lengths is not None:
        by_step = step_weights(weights, lead, lengths)
        wanted = np.where(by_step[..., None] > 0, wanted, wanted.dtype.type(0))
    if not ((wanted >= 0) & (wanted <= 1)).all():
        raise ValueError("targets: expected numbers from 0 to 1 at all valid steps, got others")
    total = float(scores.size // K if by_step is None else by_step.sum())
    divisor = total * K if labels == "mean" else total
    loss, dlogits = _core.binary_cross_entropy(
        scores,
        wanted.astype(dtype),
        None if by_step is None else by_step.ravel(),
        by_label,
        1 / divisor if divisor else 0.0,
    )
    return Mean(loss / divisor if divisor else 0.0, divisor), dlogits


def _labels(targets: Any, shape: tuple[int, ...]) -> Array:
    """Return targets as an array of booleans or real numbers of the shape of the logits."""
    array = as_array("targets", targets)
    if array.dtype.kind == "b" and array.shape == shape:
        return array.astype(np.int8)
    if array.dtype.kind in "iu" and array.shape == shape[:-1] and shape[-1] > 1:
        hint = "of one class for each step: use crnn.losses.cross_entropy"
        with hinting(hint):
            return check_array("targets", array, "real numbers", shape, note=", that of logits")
    return check_values("targets", array, shape, "logits")


def _pos_weight(pos_weight: Any, K: int, dtype: np.dtype[Any]) -> Array:
    array = as_array("pos_weight", pos_weight)
    if array.shape == () and array.dtype.kind in "fiu":
        array = np.full(K, array)
    array = check_entry("pos_weight", array, (K,)).astype(np.float64)
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise ValueError(f"pos_weight: expected finite numbers of at least 0, got {array}")
    return fitting("pos_weight", array, dtype)
