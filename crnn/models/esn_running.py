"""Echo state networks that read their own outputs: closed loops, and training in them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_array, valid_steps
from crnn.data.batches import pad
from crnn.layers.compose.streams import stream_of
from crnn.layers.pointwise.factor import check_range
from crnn.training.sequences import groups_of
from crnn.training.windows import Item

_STEPS = 1 << 14  # steps of a window, times rows


def driven(esn: Any, prime: Array) -> Any:
    """Return the states of all layers after a prime (B, T, O), without its last step.

    The closed loop reads the last step.
    """
    state: Any = None
    if not prime.shape[1]:
        return None
    x = prime[:, :-1]
    if esn.feedback and esn._external:  # the target of a step is the next input
        before = x.copy()
        before[:, :1] = 0
        x = np.concatenate([x, before], axis=2)
    elif esn.feedback:
        x = np.concatenate([np.zeros_like(prime[:, :1]), x], axis=1)
    for begin in range(0, x.shape[1], _STEPS):
        _, state = esn.reservoir(x[:, begin : begin + _STEPS], state)
    return [state, None]


def run_loop(esn: Any, start: Array, steps: int, x: Array | None, states: Any) -> Array:
    """Return the outputs (B, steps, O) of a closed loop.

    Parameters
    ----------
    start : floats (B, O)
        Output of the step before.
    steps : int
    x : floats (B, steps, I), or None
        Inputs beside the outputs. None: the output is the whole input, perhaps twice.
    states : list of states, or None
    """
    stream = stream_of(esn, len(start), states)
    if type(stream) is _core.Stream:
        return stream._feed(start, steps, x)
    times = 1 if x is not None else (esn.input_size or 1) // start.shape[1]
    y, outputs = start, []
    for t in range(steps):
        fed = [y] * times
        y = stream.step(np.concatenate(fed if x is None else [x[:, t], *fed], axis=1))
        outputs.append(y)
    return np.stack(outputs, axis=1)


def closed_loop(esn: Any, x: Array, lengths: Any, state: Any, output: Any) -> Array:
    """Return the outputs (B, T, O) for inputs (B, T, I), with feedback."""
    (B, T), O = x.shape[:2], esn.readout.output_size
    if state is not None and output is None:
        raise ValueError(
            "output: expected the output before the first step, because `state` continues a "
            "sequence whose outputs are fed back, got None"
        )
    start = np.zeros((B, O), x.dtype)
    if output is not None:
        start = check_array("output", output, "floats", (("B", B), ("O", O)))
    if not B or not T:
        return np.zeros((B, T, O), esn.readout.dtype)
    y = run_loop(esn, start, T, x, state)
    if lengths is not None:
        y[~valid_steps(lengths, (B, T))] = 0
    return y


def predict_list(esn: Any, sequences: list[Array]) -> list[Array]:
    """Return the outputs for sequences (T, I) of different lengths, with feedback."""
    outputs = list[Array]()
    for begin, end in groups_of([len(one) for one in sequences], _STEPS):
        padded, lengths = pad(sequences[begin:end])
        y = closed_loop(esn, padded, None, None, None)
        outputs += [np.array(row[:length]) for row, length in zip(y, lengths, strict=True)]
    return outputs


def force(esn: Any, item: Item, washout: int, every: int) -> None:
    """Train the RLS of a network step by step, with its own output fed back."""
    target = np.asarray(item.target, np.float64)
    B, T, O = target.shape
    ends = np.full(B, T) if item.lengths is None else item.lengths
    check_range("y", target[:, washout::every][valid_steps(ends, (B, T))[:, washout::every]])
    learner = copy.deepcopy(esn.readout)
    stream = stream_of(esn.layers[0], B, None)
    y: Array = np.zeros((B, O))
    for t in range(T):
        z = stream.step(np.concatenate([item.x[:, t], y], axis=1))
        live = t < ends
        y = learner(z)[0]
        if t >= washout and (t - washout) % every == 0 and live.any():
            learner.step(z[live], target[live, t])
    esn.readout._replace(learner)
