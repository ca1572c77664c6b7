"""Losses: the value and the gradient in one call, averaged over the valid steps.

Padding is not read, and its gradient is 0. With weights the mean is the weighted mean, divided by
the sum of the weights; steps of weight 0 are not read either.

The value is a `Mean`: a float that also has the sum of the weights, so that means over several
batches can be combined into the mean over all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

import crnn._core as _core
from crnn.common.arrays import Array, as_array, fitting, underflows
from crnn.common.checks import check_array, check_entry, check_number, valid_steps

__all__ = ["Mean", "binary_cross_entropy", "cross_entropy", "mse"]


def _keeping_weight(name: str) -> Any:
    """Return an arithmetic operation of float whose result is a Mean of the same weight."""
    operation = getattr(float, name)

    def method(self: Mean, other: Any) -> Any:
        value = operation(self, other)
        if value is NotImplemented or getattr(other, "weight", self.weight) != self.weight:
            return value
        return Mean(value, self.weight)

    return method


class Mean(float):
    """Mean with the sum of the weights that it was divided by.

    `crnn.fit` and `crnn.evaluate` weight the loss of each batch by it. A loss function of your own
    that does not average over the valid steps returns a `Mean`, too. Sums, differences, products
    and quotients with numbers keep the weight.

    Parameters
    ----------
    value : float
        The mean.
    weight : float
        The divisor, finite and at least 0: the sum of the weights, or the number of valid steps.

    Raises
    ------
    ValueError
        If `weight` is negative or not finite.

    Examples
    --------
    >>> import crnn
    >>> loss = crnn.losses.Mean(0.5, weight=12)
    >>> loss, (loss / 2).weight
    (0.5, 12.0)
    """

    __slots__ = ("weight",)
    weight: float

    def __new__(cls, value: float, weight: float) -> Mean:
        mean = super().__new__(cls, value)
        is_valid = type(weight) in (int, float) and 0 <= weight < math.inf
        mean.weight = float(weight) if is_valid else check_number("weight", weight, 0)
        return mean

    def __getnewargs__(self) -> tuple[float, float]:  # type: ignore[override]
        return float(self), self.weight

    __add__ = _keeping_weight("__add__")
    __radd__ = _keeping_weight("__radd__")
    __sub__ = _keeping_weight("__sub__")
    __rsub__ = _keeping_weight("__rsub__")
    __mul__ = _keeping_weight("__mul__")
    __rmul__ = _keeping_weight("__rmul__")
    __truediv__ = _keeping_weight("__truediv__")


def _valid(lengths: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.ones(shape, dtype=bool) if lengths is None else valid_steps(lengths, shape)


def step_weights(weights: Any, lead: tuple[int, ...], lengths: Any) -> NDArray[np.float64]:
    """Return weights of the shape `lead`: 0 in the padding, elsewhere those passed, or 1.

    Weights of shape (B,) hold for all steps of a row.
    """
    if weights is None:
        return _valid(lengths, lead).astype(np.float64)
    array = as_array("weights", weights)
    if array.dtype.kind not in "fiub" or array.ndim == 0 or array.shape != lead[: array.ndim]:
        raise ValueError(
            f"weights: expected real numbers of shape {lead}, "
            f"got {array.dtype} of shape {array.shape}"
        )
    numbers = array.astype(np.float64)
    wide = np.broadcast_to(numbers.reshape(numbers.shape + (1,) * (len(lead) - array.ndim)), lead)
    wide = np.where(_valid(lengths, lead), wide, 0.0)
    if not (np.isfinite(wide).all() and (wide >= 0).all()):
        raise ValueError("weights: expected finite numbers of at least 0, got others")
    return wide


def _class_weights(class_weights: Any, K: int) -> NDArray[np.float64]:
    array = check_entry("class_weights", class_weights, (K,)).astype(np.float64)
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise ValueError(f"class_weights: expected finite numbers of at least 0, got {array}")
    return array


def check_classes(name: str, targets: Any, shape: tuple[int, ...]) -> Array:
    """Return targets as an array of integers, one for each vector of scores.

    Parameters
    ----------
    name : str
        Name of the argument.
    targets : array_like
    shape : tuple of int
        Shape of the scores, (B, T, K) or (B, K).

    Raises
    ------
    TypeError, ValueError
        If they have another dtype or shape. The message says how to convert targets of a frequent
        other form.
    """
    array, lead, hint = as_array(name, targets), shape[:-1], ""
    if array.shape == shape and shape[-1] > 1:
        hint = f"of one-hot rows: {name}.argmax(axis=-1)"
    elif array.shape == (*lead, 1):
        hint = f"without the last axis: {name}[..., 0]"
    elif array.shape == lead and array.dtype.kind == "f":
        hint = f"of whole numbers: {name}.astype(int)"
    elif len(lead) == 2 and array.shape == lead[:1]:
        hint = _ONE_FOR_EACH_ROW
    with _hinting(hint):
        return check_array(name, array, "integers", lead)


_ONE_FOR_EACH_ROW = "for one target for each sequence put crnn.Pool() into the model"


@contextmanager
def _hinting(hint: str) -> Iterator[None]:
    """Add a hint to the message of an error."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if not hint:
            raise
        raise type(error)(f"{error}: {hint}") from None


def check_values(name: str, target: Any, shape: tuple[int, ...], outputs: str = "y") -> Array:
    """Return targets as an array of real numbers of the shape of the outputs y.

    Parameters
    ----------
    name, outputs : str
        Names of the arguments.
    target : array_like
    shape : tuple of int
        Shape of the outputs.

    Raises
    ------
    TypeError, ValueError
        If they have another dtype or shape, as `check_classes` does.
    """
    array, hint = as_array(name, target), ""
    if array.shape == shape and array.dtype.kind in "fiu":
        return array
    if (*array.shape, 1) == shape:
        hint = f"with the last axis: {name}[..., None]"
    elif len(shape) == 3 and array.shape in (shape[:1], (shape[0], shape[2])):
        hint = _ONE_FOR_EACH_ROW
    with _hinting(hint):
        return check_array(name, array, "real numbers", shape, note=f", that of {outputs}")


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
    loss = -float(hit @ log_p[rows, targets])
    mass = hit  # sum over all classes, by row
    if smoothing:
        classes = smoothing / K * (np.ones(K) if w is None else w)
        loss -= float((v / total) @ (log_p @ classes))
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
        with _hinting(hint):
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


def mse(
    y: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
) -> tuple[Mean, Array]:
    """Return the mean squared error over the valid elements, and its gradient.

    Parameters
    ----------
    y : (B, T, ...) floats
        Outputs of a model.
    target : array of real numbers, of the shape of y
        Target values.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of all elements of each step, or of each row, in the mean. None: 1.

    Returns
    -------
    loss : Mean
        Mean of (y - target)**2; 0 if no element is valid or all weights are 0. ``loss.weight`` is
        the number of valid elements, or the sum of their weights.
    dy : array like y
        Gradient of the loss: 2 (y - target) divided by the number of valid elements.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match or values are not real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> loss, dy = crnn.losses.mse(np.ones((1, 4, 1)), np.zeros((1, 4, 1)), lengths=[2])
    >>> loss, loss.weight, dy[0, :, 0]
    (1.0, 2.0, array([1., 1., 0., 0.]))
    """
    values = check_array("y", y, "floats")
    targets = check_values("target", target, values.shape)
    if weights is not None:
        return _weighted_squares(values, targets, lengths, weights)
    if lengths is None:
        total, dy = _core.squared_error(values, targets, 1 / max(values.size, 1))
        return Mean(total / values.size if values.size else 0.0, values.size), dy
    valid = valid_steps(lengths, values.shape[:2])
    kept = values[valid]
    total, rows = _core.squared_error(kept, targets[valid], 1 / max(kept.size, 1))
    dy = np.zeros(values.shape, dtype=rows.dtype)
    dy[valid] = rows
    return Mean(total / kept.size if kept.size else 0.0, kept.size), dy


@underflows
def _weighted_squares(
    values: Array, targets: Array, lengths: Any, weights: Any
) -> tuple[Mean, Array]:
    """Return loss and gradient of `mse` with weights."""
    lead = values.shape[:2]
    v = step_weights(weights, lead, lengths)
    dy = np.zeros_like(values)
    valid = v > 0
    error = values[valid] - targets[valid]
    each = v[valid].reshape(-1, *(1,) * (error.ndim - 1))
    total = float(each.sum()) * (error[0].size if len(error) else 1)
    if not total:
        return Mean(0.0, 0.0), dy
    share = each / total
    dy[valid] = 2 * share * error
    return Mean(float((share * np.square(error, dtype=np.float64)).sum()), total), dy
