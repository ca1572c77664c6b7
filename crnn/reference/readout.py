"""Linear readouts in plain NumPy: ridge regression and recursive least squares."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from crnn.reference.arrays import Array, Named


def ridge(
    h: ArrayLike,
    target: ArrayLike,
    alpha: float,
    *,
    bias: bool = True,
    weights: ArrayLike | None = None,
) -> Named:
    """Return the weights of ridge regression, whose bias is not penalised.

    The regression is a least squares problem with one more row sqrt(alpha) e_i for each column i of
    h, solved by a singular value decomposition: Hoerl and Kennard, "Ridge regression: biased
    estimation for nonorthogonal problems" (1970).

    Parameters
    ----------
    h : array (N, H) of floats
    target : array (N, K) of floats
    alpha : float
        Penalty of the squared weights.
    bias : bool, default True
        Whether there is a bias.
    weights : array (N,) of floats, optional
        Weights of the squared errors. None: all are 1.

    Returns
    -------
    params : dict of arrays
        ``W (K, H)`` and, with a bias, ``b (K,)``.

    Examples
    --------
    >>> import crnn
    >>> params = crnn.reference.ridge([[0.0], [1.0], [2.0]], [[1.0], [3.0], [5.0]], alpha=0.0)
    >>> params["W"].round(6), params["b"].round(6)
    (array([[2.]]), array([1.]))
    """
    h, target = np.asarray(h, np.float64), np.asarray(target, np.float64)
    root = np.ones(len(h)) if weights is None else np.sqrt(np.asarray(weights, np.float64))
    penalty = np.sqrt(alpha) * np.eye(h.shape[1])
    if bias:
        h, penalty = np.insert(h, 0, 1, axis=1), np.insert(penalty, 0, 0, axis=1)
    rows = np.vstack([h * root[:, None], penalty])
    wanted = np.vstack([target * root[:, None], np.zeros((len(penalty), target.shape[1]))])
    solution = np.linalg.lstsq(rows, wanted, rcond=None)[0].T
    return {"W": solution[:, 1:], "b": solution[:, 0]} if bias else {"W": solution}


def rls(
    h: ArrayLike, target: ArrayLike, *, alpha: float = 1.0, forgetting: float = 1.0
) -> tuple[Array, Named]:
    """Return the outputs before each step of recursive least squares, and the final weights.

    The equations are those of Haykin, "Adaptive filter theory", chapter on recursive least squares,
    for z = [h, 1].

    Parameters
    ----------
    h : array (T, H) of floats
    target : array (T, K) of floats
    alpha : float, default 1.0
        P is I / alpha at first.
    forgetting : float, default 1.0
        Factor of the weights of earlier steps at each step.

    Returns
    -------
    y : float64 array (T, K)
    params : dict of arrays
        ``W (K, H)`` and ``b (K,)``.

    Examples
    --------
    >>> import crnn
    >>> y, params = crnn.reference.rls([[1.0], [1.0]], [[2.0], [2.0]])
    >>> y.round(3)
    array([[0.   ],
           [1.333]])
    """
    z = np.insert(np.asarray(h, np.float64), np.shape(h)[1], 1, axis=1)
    wanted = np.asarray(target, np.float64)
    P, W = np.eye(z.shape[1]) / alpha, np.zeros((wanted.shape[1], z.shape[1]))
    y = np.zeros_like(wanted)
    for t, row in enumerate(z):
        k = P @ row / (forgetting + row @ P @ row)
        y[t] = W @ row
        W = W + np.outer(wanted[t] - y[t], k)
        P = (P - np.outer(k, row @ P)) / forgetting
    return y, {"W": W[:, :-1], "b": W[:, -1]}
