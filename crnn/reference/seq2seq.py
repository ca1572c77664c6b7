"""Sequence to sequence in plain NumPy: encoder, bridge, attention, decoder, output.

Letters: ``B`` sequences, ``T_s`` and ``T_t`` steps of source and target, ``C`` units of the
encoder's output y, ``P`` of the decoder's h. At each step t the decoder reads what stands for the
target's symbol t (the start symbol first), and the output layer gives the logits of the next one::

    query_t   = h_{t-1} with input feeding (h_{-1}: the initial state), else h_t
    context_t = attention of query_t over y                   see `crnn.reference.attention`
    h_t       = cell([embedded_t, context_t], state)          with input feeding,
                cell(embedded_t, state)                       without it
    logits_t  = W [h_t, context_t] + b

What asks and is asked, by the kind of attention: W_query h and W_key y ("additive"), h and W y
("general"), h and y ("dot"). Without attention there are no contexts.

I. Sutskever, O. Vinyals, Q. Le, arXiv:1409.3215 (2014); D. Bahdanau, K. Cho, Y. Bengio,
arXiv:1409.0473 (2015); M.-T. Luong, H. Pham, C. Manning, arXiv:1508.04025 (2015).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crnn.reference.arrays import Array, Named
from crnn.reference.attention import attention_forward
from crnn.reference.recurrence import Cell
from crnn.reference.training import dense, valid_steps


def part(params: Mapping[str, Array], name: str) -> Named:
    """Return the parameters of a part: "encoder.W_x" as "W_x"."""
    return {key[len(name) + 1 :]: params[key] for key in params if key.startswith(f"{name}.")}


def bridged(params: Mapping[str, Array], state: Any, widths: list[int]) -> Any:
    """Return the decoder's first state from the encoder's last, h or (h, c) each.

    As it is where the widths are the decoder's, else through the map of all of it side by side.
    """
    arrays = list(state) if isinstance(state, tuple) else [state]
    if "bridge.W" in params:
        flat = dense(part(params, "bridge"), np.concatenate(arrays, axis=1))
        arrays = np.split(flat, np.cumsum(widths)[:-1], axis=1)
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def attend(
    params: Mapping[str, Array], h: Array, y: Array, source_lengths: Any
) -> tuple[Array, Array]:
    """Return the context (B, C) that h (B, P) asks y (B, T_s, C) for, and the weights (B, T_s)."""
    w = part(params, "attention")
    queries, keys = h @ w["W_query"].T if "v" in w else h, y
    if "W_key" in w or "W" in w:
        keys = y @ (w["W_key"] if "v" in w else w["W"]).T
    asked = "v" in w, queries[:, None], keys, y, w.get("v"), source_lengths, None
    context, weights = attention_forward(*asked)
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
    """Return logits (B, T_t, K) and weights (B, T_t, T_s), 0 past a row's end.

    Parameters
    ----------
    encoder, decoder : Cell
    params : dict of arrays
        With the names that `crnn.Seq2Seq` has: "encoder.W_x", "output.b", ...
    source, target : arrays (B, T_s), (B, T_t) of integers
        Or of floats (B, T, features), where there are no embeddings.
    source_lengths, target_lengths : arrays (B,) of integers, optional
    attention : bool
        Its kind can be told from its parameters.
    input_feeding : bool
    """
    x, told = _embedded(params, "source", source), _embedded(params, "target", target)
    y, state, _ = encoder.forward(part(params, "encoder"), x, None, source_lengths)
    w = part(params, "decoder")
    state = bridged(params, state, decoder.state_sizes(len(w["W_x"]) // len(decoder.gate_order)))
    h = state[0] if isinstance(state, tuple) else state
    B, T_t = told.shape[:2]
    logits = np.zeros((B, T_t, len(params["output.W"])))
    weights = np.zeros((B, T_t, x.shape[1]))
    for t in range(T_t):
        read = told[:, t]
        if attention and input_feeding:
            context, weights[:, t] = attend(params, h, y, source_lengths)
            read = np.concatenate([read, context], axis=1)
        steps, state, _ = decoder.forward(w, read[:, None], state)
        h = shown = steps[:, 0]
        if attention and not input_feeding:
            context, weights[:, t] = attend(params, h, y, source_lengths)
        if attention:
            shown = np.concatenate([h, context], axis=1)
        logits[:, t] = dense(part(params, "output"), shown)
    there = valid_steps((B, T_t), target_lengths)[..., None]
    return np.where(there, logits, 0), np.where(there, weights, 0)


def _embedded(params: Mapping[str, Array], name: str, steps: ArrayLike) -> Array:
    """Return what stands for symbols (B, T), or the vectors themselves."""
    table = params.get(f"{name}_embedding.W")
    return np.asarray(steps, np.float64) if table is None else table[np.asarray(steps)]
