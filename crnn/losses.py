"""Losses: value and gradient at once, averaged over the valid steps.

What lies past a row's end is not looked at, and its gradient is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn import _core
from crnn.layers.base import Array, as_array, valid_steps


def _floats(name: str, value: Any) -> Array:
    array = as_array(name, value)
    if array.dtype.kind != "f":
        raise TypeError(f"{name}: expected floats, got {array.dtype} of shape {array.shape}")
    return array


def _valid(lengths: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.ones(shape, dtype=bool) if lengths is None else valid_steps(lengths, shape)


def cross_entropy(logits: Any, targets: Any, lengths: Any = None) -> tuple[float, Array]:
    """Softmax with cross-entropy, in nats, the mean over the valid steps.

    Parameters
    ----------
    logits : (B, T, K) or (B, K) floats
        Scores before the softmax.
    targets : (B, T) or (B,) integers
        The right class of each, 0 ... K-1.
    lengths : (B,) integers, optional
        Steps of each row that are there, 0 ... T; None: all are.

    Returns
    -------
    loss : float
        -log softmax(logits)[target], the mean; 0 where no step is valid. Divide by log(2) for bits.
    dlogits : array like logits
        Its gradient, (softmax - one-hot) over the number of valid steps.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not match or targets that are no class.
    """
    scores, wanted = _floats("logits", logits), as_array("targets", targets)
    if scores.ndim < 2 or scores.shape[-1] == 0:
        raise ValueError(
            f"logits: expected shape (B, T, K) or (B, K) with K >= 1, got {scores.shape}"
        )
    lead, K = scores.shape[:-1], scores.shape[-1]
    if wanted.dtype.kind not in "iu":
        raise TypeError(f"targets: expected integers of shape {lead}, got {wanted.dtype}")
    if wanted.shape != lead:
        raise ValueError(f"targets: expected integers of shape {lead}, got shape {wanted.shape}")
    valid = _valid(lengths, lead)
    chosen = wanted[valid]
    if chosen.size and not (0 <= chosen.min() and chosen.max() < K):
        raise ValueError(
            f"targets: expected integers from 0 to K-1={K - 1}, "
            f"got {chosen.min()} to {chosen.max()}"
        )
    count = max(chosen.size, 1)
    total, dlogits = _core.cross_entropy(scores, np.where(valid, wanted, -1).ravel(), 1 / count)
    return total / count, dlogits


def mse(y: Any, target: Any, lengths: Any = None) -> tuple[float, Array]:
    """Mean squared error over the valid elements.

    Parameters
    ----------
    y, target : (B, T, ...) floats of one shape
    lengths : (B,) integers, optional
        Steps of each row that are there, 0 ... T; None: all are.

    Returns
    -------
    loss : float
        Mean of (y - target)**2; 0 where no element is valid.
    dy : array like y
        Its gradient, 2 (y - target) over the number of valid elements.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not match or values that are not real numbers.
    """
    values, wanted = _floats("y", y), as_array("target", target)
    if wanted.dtype.kind not in "fiu":
        raise TypeError(
            f"target: expected real numbers of shape {values.shape}, got {wanted.dtype}"
        )
    if wanted.shape != values.shape:
        raise ValueError(f"target: expected shape {values.shape}, that of y, got {wanted.shape}")
    if lengths is None:
        count = max(values.size, 1)
        total, dy = _core.squared_error(values, wanted, 1 / count)
        return total / count, dy
    valid = valid_steps(lengths, values.shape[:2])
    kept = values[valid]
    count = max(kept.size, 1)
    total, rows = _core.squared_error(kept, wanted[valid], 1 / count)
    dy = np.zeros(values.shape, dtype=rows.dtype)
    dy[valid] = rows
    return total / count, dy
