"""Sequence to sequence in plain NumPy: encoder, bridge, attention, decoder, output.

Letters: ``B`` sequences, ``T_s`` and ``T_t`` steps of source and target, ``C`` units of the
encoder's output y, ``P`` units of the decoder's h. At each step t the decoder reads the vector of
the target's symbol t (the start symbol first), and the output layer computes the logits of the next
symbol::

    query_t   = h_{t-1} with input feeding (h_{-1}: the initial state), else h_t
    context_t = attention of query_t over y                   see `crnn.reference.attention`
    h_t       = cell([embedded_t, context_t], state)          with input feeding,
                cell(embedded_t, state)                       without it
    logits_t  = W [h_t, context_t] + b

The queries and keys depend on the form of attention: W_query h and W_key y ("additive"), h and W y
("general"), h and y ("dot"). Without attention there are no contexts.

I. Sutskever, O. Vinyals, Q. Le, arXiv:1409.3215 (2014); D. Bahdanau, K. Cho, Y. Bengio,
arXiv:1409.0473 (2015); M.-T. Luong, H. Pham, C. Manning, arXiv:1508.04025 (2015).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crnn.reference.arrays import Array, part
from crnn.reference.attention import attention_forward
from crnn.reference.recurrence import Cell
from crnn.reference.training import dense, valid_steps


def bridged(params: Mapping[str, Array], state: Any, widths: list[int]) -> Any:
    """Return the initial state of the decoder, computed from the last state of the encoder.

    Both are h or (h, c). Where their widths differ, the parameters contain a bridge: a dense map of
    the encoder's arrays side by side. Without a bridge the state is passed on unchanged.
    """
    arrays = list(state) if isinstance(state, tuple) else [state]
    if "bridge.W" in params:
        flat = dense(part(params, "bridge"), np.concatenate(arrays, axis=1))
        arrays = np.split(flat, np.cumsum(widths)[:-1], axis=1)
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def attend(
    params: Mapping[str, Array], h: Array, y: Array, source_lengths: Any
) -> tuple[Array, Array]:
    """Return the context (B, C) of h (B, P) over y (B, T_s, C), and the weights (B, T_s)."""
    w = part(params, "attention")
    queries, keys = h @ w["W_query"].T if "v" in w else h, y
    if "W_key" in w or "W" in w:
        keys = y @ (w["W_key"] if "v" in w else w["W"]).T
    inputs = "v" in w, queries[:, None], keys, y, w.get("v"), source_lengths, None
    context, weights = attention_forward(*inputs)
    return context[:, 0], weights[:, 0]


def seq2seq_forward(
    encoder: Cell,
    decoder: Cell,
    params: Mapping[str, Array],
    source: ArrayLike,
    target: ArrayLike,
    source_lengths: ArrayLike | None = None,
    target_lengths: ArrayLike | None = None,
    *,
    attention: bool = False,
    input_feeding: bool = True,
) -> tuple[Array, Array]:
    """Return the logits of an encoder-decoder model for a target, and the attention weights.

    Parameters
    ----------
    encoder, decoder : Cell
        Cells that read forwards.
    params : dict of arrays
        Parameters under the names that `crnn.Seq2Seq` has: "encoder.W_x", "output.b", ... The form
        of attention is recognised by the names: "attention.v" (additive), "attention.W" (general),
        neither (dot).
    source : array (B, T_s) of integers
        Symbols, or without "source_embedding.W" floats (B, T_s, I).
    target : array (B, T_t) of integers
        Symbols, the start symbol first, or without "target_embedding.W" floats (B, T_t, I).
    source_lengths, target_lengths : arrays (B,) of integers, optional
        Number of valid steps of each row. None: all.
    attention : bool, default False
        Whether the model has attention.
    input_feeding : bool, default True
        Whether the context is a part of the decoder's input. Used with attention only.

    Returns
    -------
    logits : float64 array (B, T_t, K)
        0 past the end of a row.
    weights : float64 array (B, T_t, T_s)
        Attention weights; 0 past the end of a row, and everywhere without attention.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> encoder, decoder = crnn.GRU(3, 4, seed=0), crnn.GRU(7, 4, seed=1)
    >>> model = crnn.Seq2Seq(
    ...     encoder, decoder, source_symbols=5, target_symbols=6, attention="dot", seed=2
    ... )
    >>> source, target = np.array([[1, 4, 2]]), np.array([[0, 3]])
    >>> cell = crnn.reference.GRU()
    >>> logits, weights = crnn.reference.seq2seq_forward(
    ...     cell, cell, model.params, source, target, attention=True
    ... )
    >>> expected, tape = model.forward(source, target)
    >>> logits.shape, weights.shape, np.allclose(logits, expected, atol=1e-5)
    ((1, 2, 6), (1, 2, 3), True)
    """
    x, target_steps = _embedded(params, "source", source), _embedded(params, "target", target)
    y, state, _ = encoder.forward(part(params, "encoder"), x, None, source_lengths)
    w = part(params, "decoder")
    state = bridged(params, state, decoder.state_sizes(len(w["W_x"]) // len(decoder.gate_order)))
    h = state[0] if isinstance(state, tuple) else state
    B, T_t = target_steps.shape[:2]
    logits = np.zeros((B, T_t, len(params["output.W"])))
    weights = np.zeros((B, T_t, x.shape[1]))
    for t in range(T_t):
        decoder_input = target_steps[:, t]
        if attention and input_feeding:
            context, weights[:, t] = attend(params, h, y, source_lengths)
            decoder_input = np.concatenate([decoder_input, context], axis=1)
        decoded, state, _ = decoder.forward(w, decoder_input[:, None], state)
        h = features = decoded[:, 0]
        if attention and not input_feeding:
            context, weights[:, t] = attend(params, h, y, source_lengths)
        if attention:
            features = np.concatenate([h, context], axis=1)
        logits[:, t] = dense(part(params, "output"), features)
    valid = valid_steps((B, T_t), target_lengths)[..., None]
    return np.where(valid, logits, 0), np.where(valid, weights, 0)


def _embedded(params: Mapping[str, Array], name: str, steps: ArrayLike) -> Array:
    """Return the vectors of symbols (B, T); floats are returned unchanged."""
    table = params.get(f"{name}_embedding.W")
    return np.asarray(steps, np.float64) if table is None else table[np.asarray(steps)]
