"""Activation functions of the gates with their slopes, and clipping of the sums.

Every function here is nondecreasing and its slope can be computed from its output y alone, so the
backward pass needs to keep y only.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from crnn.reference.arrays import Array


def sigmoid(s: ArrayLike) -> Array:
    """Return the logistic function σ(s) = 1 / (1 + e^-s).

    Parameters
    ----------
    s : array (...) of floats

    Returns
    -------
    float64 array (...)
        Values from 0 to 1. The form used here neither overflows nor loses digits where abs(s) is
        large.

    Examples
    --------
    >>> import crnn
    >>> crnn.reference.sigmoid([-1000.0, 0.0, 1000.0])
    array([0. , 0.5, 1. ])
    """
    return np.exp(-np.logaddexp(0, np.negative(s)))


class Activation(NamedTuple):
    """A function φ and its slope: ``y = φ(s)``, and ``φ.slope(y)`` is ∂y/∂s."""

    function: Callable[[Any], Any]
    slope: Callable[[Array], Any]

    def __call__(self, s: ArrayLike) -> Array:
        """Return φ(s)."""
        return np.asarray(self.function(s))


ACTIVATIONS = {
    "tanh": Activation(np.tanh, lambda y: 1 - y**2),
    "sigmoid": Activation(sigmoid, lambda y: y * (1 - y)),
    "hard_sigmoid": Activation(
        lambda s: np.clip(0.2 * s + 0.5, 0, 1), lambda y: 0.2 * ((y > 0) & (y < 1))
    ),
    "softsign": Activation(lambda s: s / (1 + np.abs(s)), lambda y: (1 - np.abs(y)) ** 2),
    "relu": Activation(lambda s: np.maximum(s, 0), lambda y: 1.0 * (y > 0)),
    "identity": Activation(lambda s: s, np.ones_like),
}


def activation(name: str, clip: float | None = None) -> Activation:
    """Return the activation φ of this name; with `clip`, φ of the sum limited to [-clip, clip].

    The slope is 0 where the sum was clipped, that is where y is φ(-clip) or φ(clip).
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation: expected one of {sorted(ACTIVATIONS)}, got {name!r}")
    phi = ACTIVATIONS[name]
    if clip is None:
        return phi
    low, high = phi(-clip), phi(clip)
    return Activation(
        lambda s: phi(np.clip(s, -clip, clip)), lambda y: phi.slope(y) * ((y > low) & (y < high))
    )
