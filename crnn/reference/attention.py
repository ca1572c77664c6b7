"""Attention in plain NumPy: a decoder reads a weighted mean of the steps of its source.

Letters: ``B`` sequences, ``T_q`` queries per sequence (steps of the target), ``T_s`` steps of the
source, ``A`` the width of a query and of a key, ``C`` the width of a value. Each query q is
compared with the key k_s of every step s of its source. Its context is the mean of the values,
weighted by the softmax of the scores::

    score_s = q · k_s                   Luong et al., arXiv:1508.04025 (2015)
            = v · tanh(k_s + q)         additive: Bahdanau et al., arXiv:1409.0473 (2015)
    w       = softmax(score)            over the valid steps of the source
    context = sum over s of w_s value_s

A model computes the queries from its decoder's h, the keys and the values from its encoder's
output. For an empty source, and for a query past the end of its row, the weights and the context
are 0. Values past the end of a row are never used. The results have the dtype of the arrays.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.reference.training import valid_steps

Floats = NDArray[Any]


def attention_forward(
    additive: bool,
    queries: Floats,
    keys: Floats,
    values: Floats,
    v: Floats | None,
    source_lengths: ArrayLike | None,
    target_lengths: ArrayLike | None,
) -> tuple[Floats, Floats]:
    """Return the context of each query, and the weights of the steps of its source.

    Parameters
    ----------
    additive : bool
        True: score v · tanh(k_s + q). False: score q · k_s.
    queries : array (B, T_q, A)
    keys : array (B, T_s, A)
    values : array (B, T_s, C)
    v : array (A,), or None
        Parameter of the additive score; not used by the other.
    source_lengths : array (B,) of integers, or None
        Number of valid steps of each source. None: T_s.
    target_lengths : array (B,) of integers, or None
        Number of valid queries of each row. None: T_q.

    Returns
    -------
    context : array (B, T_q, C)
    weights : array (B, T_q, T_s)
        They sum to 1 over the valid steps of the source.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> queries, keys, values = (rng.normal(size=(2, T, 3)) for T in (1, 4, 4))
    >>> context, weights = crnn.reference.attention_forward(
    ...     False, queries, keys, values, None, [4, 2], None
    ... )
    >>> context.shape, weights.sum(axis=2).round(6).ravel(), weights[1, 0] > 0
    ((2, 1, 3), array([1., 1.]), array([ True,  True, False, False]))
    """
    source = valid_steps(keys.shape[:2], source_lengths)
    target = valid_steps(queries.shape[:2], target_lengths)
    queries, keys, values = cleared(queries, target), cleared(keys, source), cleared(values, source)
    scores = np.tanh(_sums(queries, keys)) @ v if additive else queries @ keys.transpose(0, 2, 1)
    weights = softmax(scores, source[:, None] & target[:, :, None])
    return weights @ values, weights


def attention_backward(
    additive: bool,
    queries: Floats,
    keys: Floats,
    values: Floats,
    v: Floats | None,
    source_lengths: ArrayLike | None,
    target_lengths: ArrayLike | None,
    weights: Floats,
    dcontext: Floats,
    dv: Floats | None,
) -> tuple[Floats, Floats, Floats]:
    """Return the gradients of queries, keys and values, and add that of v to `dv`.

    Parameters
    ----------
    additive : bool
        As in `attention_forward`.
    queries, keys, values : arrays (B, T_q, A), (B, T_s, A), (B, T_s, C)
        As in `attention_forward`.
    v : array (A,), or None
        As in `attention_forward`.
    source_lengths, target_lengths : arrays (B,) of integers, or None
        As in `attention_forward`.
    weights : array (B, T_q, T_s)
        The weights that `attention_forward` returned.
    dcontext : array (B, T_q, C)
        The gradient of the loss with respect to the context.
    dv : array (A,), or None
        The gradient with respect to v is added to this array. None: it is not computed.

    Returns
    -------
    dqueries, dkeys, dvalues : arrays (B, T_q, A), (B, T_s, A), (B, T_s, C)

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> queries, keys, values = (rng.normal(size=(2, T, 3)) for T in (1, 4, 4))
    >>> inputs = False, queries, keys, values, None, [4, 2], None
    >>> context, weights = crnn.reference.attention_forward(*inputs)
    >>> dcontext = np.ones_like(context)
    >>> _, _, dvalues = crnn.reference.attention_backward(*inputs, weights, dcontext, None)
    >>> np.allclose(dvalues, weights.transpose(0, 2, 1))  # dvalue_s = w_s dcontext
    True
    """
    source = valid_steps(keys.shape[:2], source_lengths)
    target = valid_steps(queries.shape[:2], target_lengths)
    queries, keys, values = cleared(queries, target), cleared(keys, source), cleared(values, source)
    dcontext = cleared(dcontext, target)
    dvalues = weights.transpose(0, 2, 1) @ dcontext
    dweights = dcontext @ values.transpose(0, 2, 1)
    mean = np.sum(weights * dweights, axis=2, keepdims=True)
    dscores = weights * (dweights - mean)
    if not additive:
        return dscores @ keys, dscores.transpose(0, 2, 1) @ queries, dvalues
    t = np.tanh(_sums(queries, keys))
    if dv is not None:
        dv += np.einsum("bqs,bqsa->a", dscores, t)
    dsums = dscores[..., None] * (v * (1 - t**2))
    return dsums.sum(axis=2), dsums.sum(axis=1), dvalues


def softmax(scores: Floats, valid: NDArray[np.bool_]) -> Floats:
    """Return the softmax along the last axis over the valid entries; 0 at the others."""
    scores = np.where(valid, scores, -np.inf)
    largest = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    powers = np.exp(scores - np.where(largest == -np.inf, 0, largest))
    total = powers.sum(axis=-1, keepdims=True)
    return np.asarray(powers / np.where(total == 0, 1, total))


def cleared(steps: Floats, valid: NDArray[np.bool_]) -> Floats:
    """Return the steps (B, T, ...) with 0 in place of those that are not valid."""
    return np.where(valid[..., None], steps, steps.dtype.type(0))


def _sums(queries: Floats, keys: Floats) -> Floats:
    """Return k_s + q of each pair, (B, T_q, T_s, A)."""
    return np.asarray(queries[:, :, None] + keys[:, None])
