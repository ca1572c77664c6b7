"""Layers that treat every step alike: activations of each element, and layer normalisation."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from crnn.reference.activations import ACTIVATIONS, sigmoid
from crnn.reference.arrays import Array

CUBE = 0.044715
SCALE = 2 * math.sqrt(2 / math.pi)


def normal_share(s: Array) -> Array:
    """Return Φ(s), the distribution function of the standard normal distribution."""
    each = np.vectorize(lambda z: math.erfc(-z / math.sqrt(2)) / 2, otypes=[float])
    return np.asarray(each(s))


def _cubic_slope(s: Array, share: Array) -> Array:
    return share * (1 - share) * SCALE * (1 + 3 * CUBE * s**2)


def _normal_slope(s: Array, share: Array) -> Array:
    return np.asarray(np.exp(-(s**2) / 2) / math.sqrt(2 * math.pi))


class Share(NamedTuple):
    """The share φ(s) / s of an activation φ, and its slope as a function of s and of the share."""

    function: Callable[[Array], Array]
    slope: Callable[[Array, Array], Array]


SHARES = {
    "gelu": Share(lambda s: sigmoid(SCALE * (s + CUBE * s**3)), _cubic_slope),
    "gelu_exact": Share(normal_share, _normal_slope),
    "silu": Share(sigmoid, lambda s, share: share * (1 - share)),
}


def activate(name: str, s: Array) -> Array:
    """Return φ(s) of every element.

    Parameters
    ----------
    name : str
        One of the names of `crnn.Activation`.
    s : float64 array (...)

    Returns
    -------
    y : float64 array (...)

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> crnn.reference.activate("silu", np.array([-1000.0, 0.0, 1000.0]))
    array([  -0.,    0., 1000.])
    """
    return s * SHARES[name].function(s) if name in SHARES else ACTIVATIONS[name](s)


def activate_backward(name: str, s: Array, dy: Array) -> Array:
    """Return the gradient with respect to s.

    Parameters
    ----------
    name : str
        As for `activate`.
    s : float64 array (...)
        The argument of `activate`.
    dy : float64 array (...)
        Gradient with respect to φ(s).

    Returns
    -------
    ds : float64 array (...)

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> crnn.reference.activate_backward("silu", np.zeros(2), np.ones(2))
    array([0.5, 0.5])
    """
    if name not in SHARES:
        phi = ACTIVATIONS[name]
        return np.asarray(dy * phi.slope(phi(s)))
    share = SHARES[name].function(s)
    return dy * (share + s * SHARES[name].slope(s, share))


def layer_norm(x: Array, gain: Array, bias: Array, eps: float = 1e-5) -> Array:
    """Return gain ∘ (x - mean) / sqrt(var + eps) + bias over the last axis.

    Parameters
    ----------
    x : float64 array (..., F)
    gain, bias : float64 arrays (F,)
    eps : float, default 1e-5
        Positive number that is added to the variance.

    Returns
    -------
    y : float64 array (..., F)

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> y = crnn.reference.layer_norm(np.array([[1.0, 3.0]]), np.ones(2), np.zeros(2))
    >>> y.round(3)
    array([[-1.,  1.]])
    """
    return gain * _normalised(x, eps)[0] + bias


def layer_norm_backward(
    x: Array, gain: Array, dy: Array, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Return the gradients with respect to x, gain and bias.

    Parameters
    ----------
    x : float64 array (..., F)
    gain : float64 array (F,)
    dy : float64 array (..., F)
        Gradient with respect to the result of `layer_norm`.
    eps : float, default 1e-5
        As for `layer_norm`.

    Returns
    -------
    dx : float64 array (..., F)
    dgain, dbias : float64 arrays (F,)

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> x, dy = np.array([[1.0, 3.0]]), np.array([[1.0, 1.0]])
    >>> dx, dgain, dbias = crnn.reference.layer_norm_backward(x, np.ones(2), dy)
    >>> dbias
    array([1., 1.])
    """
    hat, scale = _normalised(x, eps)
    d = gain * dy
    through_scale = hat * (d * hat).mean(axis=-1, keepdims=True)
    dx = scale * (d - d.mean(axis=-1, keepdims=True) - through_scale)
    steps = tuple(range(x.ndim - 1))
    return dx, (dy * hat).sum(axis=steps), dy.sum(axis=steps)


def _normalised(x: Array, eps: float) -> tuple[Array, Array]:
    """Return (x - mean) / sqrt(var + eps) and 1 / sqrt(var + eps)."""
    scale = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    return (x - x.mean(axis=-1, keepdims=True)) * scale, scale
