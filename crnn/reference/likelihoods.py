"""Likelihoods of observed numbers in plain Python, one number at a time.

Every function takes the outputs o of a model, a scale ν and the number z; it returns -log p(z), and
its derivatives with respect to o. Salinas et al., "DeepAR" (2017).
"""

import math
from collections.abc import Sequence

import numpy as np

from crnn.reference.activations import sigmoid


def softplus(x: float) -> float:
    """Return log(1 + exp(x)).

    Parameters
    ----------
    x : float

    Returns
    -------
    float

    Examples
    --------
    >>> import crnn
    >>> round(crnn.reference.softplus(0.0), 4)
    0.6931
    """
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def digamma(x: float) -> float:
    """Return the derivative of log Γ(x), for x > 0.

    From ψ(x) = ψ(x + 1) - 1/x and, for large x, the series
    ln x - 1/(2x) - 1/(12x²) + 1/(120x⁴) - 1/(252x⁶) + ...

    Parameters
    ----------
    x : float
        Above 0.

    Returns
    -------
    float

    Examples
    --------
    >>> import crnn
    >>> round(crnn.reference.digamma(1.0), 6)
    -0.577216
    """
    below = 0.0
    while x < 20:
        below += 1 / x
        x += 1
    return math.log(x) - 1 / (2 * x) - x**-2 / 12 + x**-4 / 120 - x**-6 / 252 - below


def gaussian_nll(o: Sequence[float], nu: float, z: float) -> tuple[float, list[float]]:
    """Return -log p(z) of a normal distribution, and its derivatives.

    Parameters
    ----------
    o : 2 floats
        o_1 and o_2 stand for the mean and the standard deviation.
    nu : float
        The scale, above 0.
    z : float
        The number.

    Returns
    -------
    loss : float
    d : list of 2 floats
        Derivatives of the loss with respect to o.

    Examples
    --------
    >>> import crnn
    >>> loss, d = crnn.reference.gaussian_nll([0.0, 0.0], 1.0, 0.0)
    >>> round(loss, 4)
    0.5524
    """
    mu, s = nu * o[0], nu * softplus(o[1])
    r = (z - mu) / s
    loss = math.log(2 * math.pi) / 2 + math.log(s) + r * r / 2
    d = np.array([-r, 1 - r * r]) / s * nu * [1, sigmoid(o[1])]
    return loss, d.tolist()


def student_t_nll(o: Sequence[float], nu: float, z: float) -> tuple[float, list[float]]:
    """Return -log p(z) of Student's t distribution, and its derivatives.

    Parameters
    ----------
    o : 3 floats
        o_1, o_2, o_3 stand for location, scale and degrees of freedom.
    nu : float
        The scale, above 0.
    z : float
        The number.

    Returns
    -------
    loss : float
    d : list of 3 floats
        Derivatives of the loss with respect to o.

    Examples
    --------
    >>> import crnn
    >>> loss, d = crnn.reference.student_t_nll([0.0, 0.0, 0.0], 1.0, 0.0)
    >>> round(loss, 4)
    0.6434
    """
    mu, s, v = nu * o[0], nu * softplus(o[1]), 2 + softplus(o[2])
    r = (z - mu) / s
    w = (v + 1) / (v + r * r)
    log_p = math.lgamma((v + 1) / 2) - math.lgamma(v / 2) - math.log(math.pi * v) / 2
    log_p -= math.log(s) + (v + 1) / 2 * math.log1p(r * r / v)
    dv = digamma((v + 1) / 2) - digamma(v / 2) - 1 / v - math.log1p(r * r / v) + w * r * r / v
    d = np.array([w * r / s * nu, (w * r * r - 1) / s * nu, dv / 2]) * [1, *sigmoid(o[1:3])]
    return -log_p, (-d).tolist()


def negative_binomial_nll(o: Sequence[float], nu: float, z: float) -> tuple[float, list[float]]:
    """Return -log p(z) of a negative binomial distribution, and its derivatives.

    Parameters
    ----------
    o : 2 floats
        o_1 and o_2 stand for the mean and for α.
    nu : float
        The scale, above 0.
    z : float
        The count.

    Returns
    -------
    loss : float
    d : list of 2 floats
        Derivatives of the loss with respect to o.

    Examples
    --------
    >>> import crnn
    >>> loss, d = crnn.reference.negative_binomial_nll([0.0, 0.0], 1.0, 0.0)
    >>> round(loss, 4)
    0.566
    """
    mu, alpha = nu * softplus(o[0]), softplus(o[1]) / math.sqrt(nu)
    R = 1 / alpha
    log_p = math.lgamma(z + R) - math.lgamma(R) - math.lgamma(z + 1)
    log_p += z * math.log(mu / (R + mu)) - R * math.log1p(mu / R)
    dmu = (z - mu) / (mu * (1 + alpha * mu))
    terms = digamma(z + R) - digamma(R) - math.log1p(mu / R) + (mu - z) / (R + mu)
    d = np.array([dmu * nu, -R * R * terms / math.sqrt(nu)]) * sigmoid(o[:2])
    return -log_p, (-d).tolist()
