"""Losses of distributions: -log p(target), where a model gives the parameters.

Letters: P parameters. Outputs o become parameters by maps that accept any number: with the scale ν
of the row, sp(o) = log(1 + exp(o)), and e = 2^-23.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

import crnn._core as _core
from crnn.common.arrays import Array, Floats, as_array
from crnn.common.checks import check_array
from crnn.losses.mean import Mean
from crnn.losses.steps import check_values, step_weights

#: Distributions of observed numbers, in the order of the core.
Likelihood: TypeAlias = Literal["gaussian", "student_t", "negative_binomial"]

#: How many parameters each of them has.
PARAMETERS: dict[Likelihood, int] = {"gaussian": 2, "student_t": 3, "negative_binomial": 2}


def gaussian_nll(
    raw: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> tuple[Mean, Array]:
    """Return the negative log-likelihood of a normal distribution, in nats, and its gradient.

    The mean is ν o_1 and the standard deviation ν max(sp(o_2), e): Salinas et al., "DeepAR" (2017).

    Parameters
    ----------
    raw : (B, T, 2) or (B, 2) floats
        Outputs o of a model, such as those of a `Dense` layer.
    target : (B, T) or (B,) real numbers
        Observed numbers z.
    lengths : (B,) integers, optional
        Number of valid steps of each row, 0 ... T. None: all steps are valid.
    weights : (B, T) or (B,) numbers of at least 0, optional
        Weight of each step, or of each row, in the mean. Steps of weight 0 are not read: missing
        numbers have this weight. None: 1.
    scale : (B,) or (B, T) positive numbers, optional
        ν, the unit of the numbers of a row, such as the mean of their sizes. None: 1.

    Returns
    -------
    loss : Mean
        Mean of -log p(z) over the valid steps; 0 if no step is valid. ``loss.weight`` is the sum of
        the weights.
    draw : array like raw
        Gradient of the loss.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, a target at a valid step is not finite, a scale is not positive, or
        a weight is negative or not finite.

    Notes
    -----
    Losses and gradients are computed in double, whatever the type of `raw`.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> raw, target = np.zeros((1, 3, 2)), np.array([[0.0, 1.0, np.nan]])
    >>> loss, draw = crnn.losses.gaussian_nll(raw, target, weights=[[1, 1, 0]])
    >>> round(loss, 4), loss.weight  # the standard deviation is log(2)
    (1.0728, 2.0)
    >>> draw.shape
    (1, 3, 2)
    """
    return _nll("gaussian", raw, target, lengths, weights, scale)


def student_t_nll(
    raw: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> tuple[Mean, Array]:
    """Return the negative log-likelihood of Student's t distribution, in nats, and its gradient.

    The location is ν o_1, the scale ν max(sp(o_2), e), and 2 + sp(o_3) are the degrees of freedom,
    so that the variance is finite. Its tails are heavier than those of a normal distribution:
    single large errors change the parameters less.

    Parameters
    ----------
    raw : (B, T, 3) or (B, 3) floats
        Outputs o of a model.
    target, lengths, weights, scale
        As for `gaussian_nll`.

    Returns
    -------
    loss, draw
        As for `gaussian_nll`.

    Raises
    ------
    ValueError, TypeError
        As `gaussian_nll` does.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> loss, draw = crnn.losses.student_t_nll(np.zeros((1, 2, 3)), [[0.0, 1.0]], scale=[2.0])
    >>> round(loss, 4), draw.shape
    (1.4996, (1, 2, 3))
    """
    return _nll("student_t", raw, target, lengths, weights, scale)


def negative_binomial_nll(
    raw: ArrayLike,
    target: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> tuple[Mean, Array]:
    """Return the negative log-likelihood of a negative binomial distribution, and its gradient.

    The distribution of counts whose variance m + α m² is above their mean m, with m = ν sp(o_1) and
    α = sp(o_2) / √ν: Salinas et al., "DeepAR" (2017). For α = 0 it is Poisson's.

    Parameters
    ----------
    raw : (B, T, 2) or (B, 2) floats
        Outputs o of a model.
    target : (B, T) or (B,) whole numbers of at least 0
        Counts z, as integers or as floats.
    lengths, weights, scale
        As for `gaussian_nll`.

    Returns
    -------
    loss, draw
        As for `gaussian_nll`.

    Raises
    ------
    ValueError, TypeError
        If a target at a valid step is negative or has a fraction, or as `gaussian_nll` does.

    Notes
    -----
    The gradient with respect to α is a small difference of large numbers where α is small. It is
    computed from what the terms differ by, and keeps its digits down to α = 1e-20.

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> loss, draw = crnn.losses.negative_binomial_nll(np.zeros((1, 2, 2)), [[0, 3]])
    >>> round(loss, 4), draw.shape
    (1.902, (1, 2, 2))
    """
    return _nll("negative_binomial", raw, target, lengths, weights, scale)


def _nll(
    kind: Likelihood, raw: Any, target: Any, lengths: Any, weights: Any, scale: Any
) -> tuple[Mean, Array]:
    P = PARAMETERS[kind]
    outputs = check_array("raw", raw, "floats", ("B", "T", P), ("B", P))
    lead = outputs.shape[:-1]
    shares = step_weights(weights, lead, lengths)
    observed = _observed(kind, check_values("target", target, lead, "raw[..., 0]"), shares)
    scales = None if scale is None else _scales(scale, lead)
    total = float(shares.sum())
    loss, draw = _core.negative_log_likelihood(
        get_args(Likelihood).index(kind),
        outputs,
        observed.ravel(),
        None if scales is None else scales.ravel(),
        shares.ravel(),
        1 / total if total else 0.0,
    )
    return Mean(loss / total if total else 0.0, total), draw


def _observed(kind: Likelihood, target: Array, shares: Floats) -> Floats:
    """Return targets in float64, 0 at steps of weight 0, or raise."""
    observed = np.where(shares > 0, target, 0).astype(np.float64)
    if not np.isfinite(observed).all():
        step = _first(~np.isfinite(observed))
        raise ValueError(
            f"target: expected finite numbers at all valid steps, got {observed[step]} at "
            f"target{list(step)}; leave steps out by weights=0"
        )
    if kind == "negative_binomial":
        wrong = (observed < 0) | (observed != np.floor(observed))
        if wrong.any():
            step = _first(wrong)
            raise ValueError(
                f"target: expected whole numbers of at least 0, got {observed[step]} at "
                f"target{list(step)}"
            )
    return observed


def _first(wrong: Any) -> tuple[int, ...]:
    """Return the index of the first element that is True."""
    return tuple(int(i) for i in np.unravel_index(wrong.argmax(), wrong.shape))


def _scales(scale: Any, lead: tuple[int, ...]) -> Floats:
    """Return a scale for each step, from those of rows or of steps."""
    array = as_array("scale", scale)
    if array.dtype.kind not in "fiu" or array.ndim == 0 or array.shape != lead[: array.ndim]:
        raise ValueError(
            f"scale: expected positive numbers of shape {lead[:1]} or {lead}, "
            f"got {array.dtype} of shape {array.shape}"
        )
    numbers = array.astype(np.float64)
    if not (np.isfinite(numbers).all() and (numbers > 0).all()):
        raise ValueError("scale: expected positive numbers, got others")
    wide = numbers.reshape(numbers.shape + (1,) * (len(lead) - array.ndim))
    return np.ascontiguousarray(np.broadcast_to(wide, lead))
