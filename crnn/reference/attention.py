"""Attention in plain NumPy: where a decoder looks in its source.

Letters: ``B`` sequences, ``T_q`` queries of each (steps of the target), ``T_s`` steps of its
source, ``A`` numbers of a query and of a key, ``C`` numbers of a value. Each query q is compared
with the key k_s of every step s of its source, and gets the mean of the values, weighted by how
well they fit::

    score_s = q · k_s                   Luong et al., arXiv:1508.04025 (2015)
            = v · tanh(k_s + q)         additive: Bahdanau et al., arXiv:1409.0473 (2015)
    w       = softmax(score)            over the steps that the source has
    context = sum over s of w_s value_s

Queries, keys and values are what a model makes of its decoder's h and its encoder's output. An
empty source, and a query past the end of its row, have weights of 0 and a context of 0. What stands
past an end is not looked at. Numbers keep the type of the arrays.
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
    """Return context (B, T_q, C) and weights (B, T_q, T_s).

    Parameters
    ----------
    additive : bool
        Which of the two scores.
    queries, keys, values : arrays (B, T_q, A), (B, T_s, A), (B, T_s, C)
    v : array (A,)
        For the additive score.
    source_lengths, target_lengths : arrays (B,) of integers, optional
        Steps of each source, and queries of each row; None: all.
    """
    source, target = valid_steps(keys.shape[:2], source_lengths), _there(queries, target_lengths)
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

    `weights` are those of `attention_forward`, `dcontext` (B, T_q, C) is the gradient of the
    context, the other arguments are those of `attention_forward`.
    """
    source, target = valid_steps(keys.shape[:2], source_lengths), _there(queries, target_lengths)
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


def softmax(scores: Floats, there: NDArray[np.bool_]) -> Floats:
    """Shares that sum to 1 along the last axis, over what is there; 0 where nothing is."""
    scores = np.where(there, scores, -np.inf)
    best = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    shares = np.exp(scores - np.where(best == -np.inf, 0, best))
    total = shares.sum(axis=-1, keepdims=True)
    return np.asarray(shares / np.where(total == 0, 1, total))


def cleared(steps: Floats, there: NDArray[np.bool_]) -> Floats:
    """The steps (B, T, ...), with zeros in place of those that are not there."""
    return np.where(there[..., None], steps, steps.dtype.type(0))


def _there(queries: Floats, lengths: ArrayLike | None) -> NDArray[np.bool_]:
    return valid_steps(queries.shape[:2], lengths)


def _sums(queries: Floats, keys: Floats) -> Floats:
    """k_s + q for each pair, (B, T_q, T_s, A)."""
    return np.asarray(queries[:, :, None] + keys[:, None])
