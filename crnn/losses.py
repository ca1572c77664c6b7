"""Losses: value and gradient at once, averaged over the valid steps.

What lies past a row's end is not looked at, and its gradient is 0. With weights the mean is the
weighted one, divided by the sum of the weights; a step of weight 0 is not looked at either.

The value is a `Mean`: a float that carries the sum of the weights, with which means over several
batches become the mean over all.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import crnn._core as _core
from crnn.common.arrays import Array, as_array, underflows
from crnn.common.checks import check_array, check_entry, check_number, valid_steps

__all__ = ["Mean", "cross_entropy", "mse"]


def _keeping_weight(name: str) -> Any:
    """The arithmetic operation of float, whose result is a Mean of the same weight."""
    operation = getattr(float, name)

    def method(self: Mean, other: Any) -> Any:
        value = operation(self, other)
        if value is NotImplemented or getattr(other, "weight", self.weight) != self.weight:
            return value
        return Mean(value, self.weight)

    return method


class Mean(float):
    """A mean, with the sum of the weights that it was divided by.

    `crnn.fit` and `crnn.training.evaluate` weigh the loss of each batch with it; a loss of one's
    own that is no mean over the valid steps returns one, too. Sums, differences, products and
    quotients with numbers keep the weight.

    Parameters
    ----------
    value : float
    weight : float
        Finite, at least 0.

    Raises
    ------
    ValueError
        If `weight` is no such number.

    Examples
    --------
    >>> loss = crnn.losses.Mean(0.5, weight=12)  # doctest: +SKIP
    >>> (loss / 2).weight  # doctest: +SKIP
    12.0
    """

    __slots__ = ("weight",)
    weight: float

    def __new__(cls, value: float, weight: float) -> Mean:
        mean = super().__new__(cls, value)
        right = type(weight) in (int, float) and 0 <= weight < math.inf
        mean.weight = float(weight) if right else check_number("weight", weight, 0)
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
    """Return weights of the shape `lead`: 0 past each row's end, elsewhere 1 or those given.

    Weights (B,) hold for all steps of a row.
    """
    if weights is None:
        return _valid(lengths, lead).astype(np.float64)
    given = as_array("weights", weights)
    if given.dtype.kind not in "fiub" or given.ndim == 0 or given.shape != lead[: given.ndim]:
        raise ValueError(
            f"weights: expected real numbers of shape {lead}, "
            f"got {given.dtype} of shape {given.shape}"
        )
    numbers = given.astype(np.float64)
    wide = np.broadcast_to(numbers.reshape(numbers.shape + (1,) * (len(lead) - given.ndim)), lead)
    wide = np.where(_valid(lengths, lead), wide, 0.0)
    if not (np.isfinite(wide).all() and (wide >= 0).all()):
        raise ValueError("weights: expected finite numbers of at least 0, got others")
    return wide


def _class_weights(class_weights: Any, K: int) -> NDArray[np.float64]:
    given = check_entry("class_weights", class_weights, (K,)).astype(np.float64)
    if not (np.isfinite(given).all() and (given >= 0).all()):
        raise ValueError(f"class_weights: expected finite numbers of at least 0, got {given}")
    return given


def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
    label_smoothing: float = 0.0,
) -> tuple[Mean, Array]:
    """Softmax with cross-entropy, in nats, the mean over the valid steps.

    Parameters
    ----------
    logits : (B, T, K) or (B, K) floats
        Scores before the softmax.
    targets : (B, T) or (B,) integers
        The right class of each, 0 ... K-1.
    lengths : (B,) integers, optional
        Steps of each row that are there, 0 ... T; None: all are.
    weights : (B, T) or (B,) numbers of at least 0, optional
        What each step, or each row, counts in the mean.
    class_weights : (K,) numbers of at least 0, optional
        What each class counts: PyTorch's ``weight``.
    label_smoothing : float, default 0
        The share e of the target's probability that all K classes are given in equal parts, 0 to 1
        (Szegedy et al. 2016).

    Returns
    -------
    loss : Mean
        -log softmax(logits)[target], the mean; 0 where no step is valid. Divide by log(2) for bits.
        ``loss.weight`` is what it was divided by.
    dlogits : array like logits
        Its gradient, (softmax - one-hot) over the number of valid steps.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not match, targets that are no class, weights that are negative.

    Notes
    -----
    With options the definition is PyTorch's: with the step's weight v, the classes' weights w, the
    target k and p = softmax(logits), a step has the loss
    v ((1 - e) w_k (-log p_k) + e/K sum over c of w_c (-log p_c)), and their sum is divided by the
    sum of v w_k, not by that of all weights. Where that is 0, loss and gradient are 0: a batch in
    which only classes of weight 0 are targets takes no part in a mean over several.
    """
    if type(logits) is np.ndarray and logits.dtype.kind == "f":
        scores: Array = logits
    else:
        scores = check_array("logits", logits, "floats")
    wanted = targets if type(targets) is np.ndarray else as_array("targets", targets)
    if scores.ndim < 2 or scores.shape[-1] == 0:
        raise ValueError(
            f"logits: expected shape (B, T, K) or (B, K) with K >= 1, got {scores.shape}"
        )
    lead, K = scores.shape[:-1], scores.shape[-1]
    if wanted.dtype.kind not in "iu" or wanted.shape != lead:
        check_array("targets", wanted, "integers", lead)
    smoothing = 0.0
    if label_smoothing != 0:
        smoothing = check_number("label_smoothing", label_smoothing, 0, np.nextafter(1, 2))
    by_class = None if class_weights is None else _class_weights(class_weights, K)
    by_step = None if weights is None else step_weights(weights, lead, lengths)
    if by_step is not None:
        valid = by_step > 0
    else:
        valid = np.ones(lead, bool) if lengths is None else valid_steps(lengths, lead)
    chosen = wanted[valid]
    if chosen.size and not (0 <= chosen.min() and chosen.max() < K):
        raise ValueError(
            f"targets: expected integers from 0 to K-1={K - 1}, "
            f"got {chosen.min()} to {chosen.max()}"
        )
    if by_step is None and by_class is None and smoothing == 0:
        count = chosen.size
        kept = np.where(valid, wanted, -1).ravel()
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
    """Loss and gradient of the valid steps, with targets `chosen` and weights v."""
    if by_class is not None and not smoothing:  # a target of a class of weight 0 has no loss
        counts = by_class[chosen] > 0
        valid[valid], chosen, v = counts, chosen[counts], v[counts]
    loss, rows = _weighted(scores[valid], chosen, v, by_class, smoothing)
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
    """Loss and gradient of logits (N, K), rows with weights v (N,), classes with w (K,)."""
    N, K = z.shape
    places = np.arange(N)
    hit = v if w is None else v * w[targets]  # what the target counts
    total = float(hit.sum())
    if total == 0:
        return Mean(0.0, 0.0), np.zeros_like(z)
    with np.errstate(over="ignore"):  # a logit far below the largest one: exp(-inf) is 0
        log_p = z - z.max(axis=1, keepdims=True)
    p = np.exp(log_p)
    whole = p.sum(axis=1, keepdims=True)
    log_p -= np.log(whole)
    p /= whole
    hit = (1 - smoothing) * (hit / total)
    loss = -float(hit @ log_p[places, targets])
    mass = hit  # of all classes together, by row
    if smoothing:
        classes = smoothing / K * (np.ones(K) if w is None else w)
        loss -= float((v / total) @ (log_p @ classes))
        mass = hit + v / total * classes.sum()
    dz = mass[:, None].astype(z.dtype) * p
    dz[places, targets] -= hit.astype(z.dtype)
    if smoothing:
        dz -= np.outer(v / total, classes).astype(z.dtype)
    return Mean(loss, total), dz


def mse(
    y: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
) -> tuple[Mean, Array]:
    """Mean squared error over the valid elements.

    Parameters
    ----------
    y, target : (B, T, ...) floats of one shape
    lengths : (B,) integers, optional
        Steps of each row that are there, 0 ... T; None: all are.
    weights : (B, T) or (B,) numbers of at least 0, optional
        What all elements of each step, or each row, count in the mean.

    Returns
    -------
    loss : Mean
        Mean of (y - target)**2; 0 where no element is valid, or all weights are 0.
        ``loss.weight`` is the number of valid elements, or the sum of their weights.
    dy : array like y
        Its gradient, 2 (y - target) over the number of valid elements.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not match or values that are not real numbers.
    """
    values = check_array("y", y, "floats")
    wanted = check_array("target", target, "real numbers", values.shape, note=", that of y")
    if weights is not None:
        return _weighted_squares(values, wanted, lengths, weights)
    if lengths is None:
        total, dy = _core.squared_error(values, wanted, 1 / max(values.size, 1))
        return Mean(total / values.size if values.size else 0.0, values.size), dy
    valid = valid_steps(lengths, values.shape[:2])
    kept = values[valid]
    total, rows = _core.squared_error(kept, wanted[valid], 1 / max(kept.size, 1))
    dy = np.zeros(values.shape, dtype=rows.dtype)
    dy[valid] = rows
    return Mean(total / kept.size if kept.size else 0.0, kept.size), dy


@underflows
def _weighted_squares(
    values: Array, wanted: Array, lengths: Any, weights: Any
) -> tuple[Mean, Array]:
    """Loss and gradient of `mse` with weights."""
    lead = values.shape[:2]
    v = step_weights(weights, lead, lengths)
    dy = np.zeros_like(values)
    valid = v > 0
    error = values[valid] - wanted[valid]
    each = v[valid].reshape(-1, *(1,) * (error.ndim - 1))
    total = float(each.sum()) * (error[0].size if len(error) else 1)
    if not total:
        return Mean(0.0, 0.0), dy
    share = each / total
    dy[valid] = 2 * share * error
    return Mean(float((share * np.square(error, dtype=np.float64)).sum()), total), dy
