"""Sample paths of forecasts: each number that is drawn is an input of later steps.

Letters: n series, S samples, H steps, B = n S rows, P parameters of the likelihood.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

import crnn._core as _core
from crnn.common.arrays import Array, Floats
from crnn.common.nested import map_state
from crnn.data import Panel
from crnn.data.gathering import Gatherer
from crnn.layers.base.adapted import layer_of
from crnn.layers.compose.streams import stream_of
from crnn.losses.likelihoods import Likelihood
from crnn.models.categories import WithCategories, joined_before
from crnn.models.deepar_inputs import PanelInputs

Integers = NDArray[np.int64]

_ROWS = 2**16  # series times samples that run together


def series_hash(name: str) -> int:
    """Return the number that stands for the name of a series in random numbers.

    Parameters
    ----------
    name : str

    Returns
    -------
    int
        64 bits of the BLAKE2b hash of the name in UTF-8, as a signed integer.

    Examples
    --------
    >>> from crnn.models.deepar_sampling import series_hash
    >>> series_hash("north")
    6164347370713582292
    """
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def last_observed(panel: Panel) -> Integers:
    """Return the step after the last number of each series (n,); 0 if it has none.

    Parameters
    ----------
    panel : Panel

    Returns
    -------
    array (n,) of int64
    """
    ends = np.zeros(len(panel), np.int64)
    for row, numbers in enumerate(panel.series):
        there = np.flatnonzero(~np.isnan(numbers))
        ends[row] = there[-1] + 1 if there.size else 0
    return ends


def sample_paths(
    network: Any,
    inputs: PanelInputs,
    likelihood: Likelihood,
    panel: Panel,
    *,
    steps: int,
    samples: int,
    seed: int,
) -> Array:
    """Return sample paths of the steps after the end of each series.

    The network reads the context of each series once; its state is the initial state of all
    samples. Numbers that are missing at the end of a series are sampled before. A number that is
    drawn depends on the outputs of the network, `seed`, the name of the series, the sample and the
    step alone.

    Parameters
    ----------
    network : layer
        From inputs to P outputs of each step.
    inputs : PanelInputs
    likelihood : {"gaussian", "student_t", "negative_binomial"}
        The distribution.
    panel : Panel
        n series that `inputs` accepts.
    steps, samples : int
        H and S.
    seed : int
        Seed of the samples.

    Returns
    -------
    array (n, S, H) of float32

    Raises
    ------
    FloatingPointError
        The network returns numbers that are not finite.
    """
    ends = last_observed(panel)
    call = _Call(
        network,
        inputs,
        get_args(Likelihood).index(likelihood),
        inputs.gatherer(panel, steps),
        panel,
        inputs.categories(panel),
        np.array([series_hash(name) for name in panel.names], np.int64),
        samples,
        seed,
    )
    paths = np.empty((len(panel), samples, steps), np.float32)
    for rows, gap in _groups(panel.lengths - ends, max(_ROWS // samples, 1)):
        paths[rows] = _sample(call, rows, ends[rows], gap, steps)
    return paths


class _Call(NamedTuple):
    """What all groups of series of a call share."""

    network: Any
    inputs: PanelInputs
    kind: int
    gather: Gatherer
    panel: Panel
    categories: Array | None
    hashes: Integers
    samples: int
    seed: int


class _Futures(NamedTuple):
    """Steps to be sampled of n series that end at the same distance before their first step.

    Parameters
    ----------
    x : array (n, T, F)
        Inputs, without the numbers that are drawn.
    scales : array (n,)
        Scale of each series.
    hashes : array (n,) of int64
        `series_hash` of each series.
    lags : array (L,) of int64
        Lags in descending order, whose numbers are the last L inputs.
    indicators : bool
        Whether the L inputs before them tell which of them are there.
    """

    x: Array
    scales: Floats
    hashes: Integers
    lags: Integers
    indicators: bool


def _groups(gaps: Integers, size: int) -> Iterator[tuple[Integers, int]]:
    """Yield at most so many series at a time, all with the same number of missing last steps."""
    for gap in np.unique(gaps):
        rows = np.flatnonzero(gaps == gap)
        for first in range(0, len(rows), size):
            yield rows[first : first + size], int(gap)


def _sample(call: _Call, rows: Integers, ends: Integers, gap: int, steps: int) -> Array:
    """Return sample paths (n, S, steps) of some series, from `gap` steps after `ends` on."""
    inputs = call.inputs
    begins = ends - inputs.context
    scales = inputs.scale(call.panel, rows, begins, ends)
    past = call.gather(rows, begins, inputs.context, scales)
    x = call.gather(rows, ends, gap + steps, scales).x
    layer, read = call.network, past.x
    if isinstance(layer, WithCategories) and call.categories is not None:
        vectors = layer.vectors(call.categories[rows])
        read, x = joined_before(vectors, read), joined_before(vectors, x)
        layer = layer.layer
    _, state = layer(read, lengths=past.lengths)
    lags = np.array(inputs.lags, np.int64)
    futures = _Futures(x, scales, call.hashes[rows], lags, inputs.indicators)
    stream = layer_of(layer)._core_stream(len(rows), state)
    sampled, bad = (
        _sample_by_steps(layer, state, futures, call, gap)
        if stream is None
        else stream._sample_paths(call.kind, *futures, call.samples, gap, call.seed)
    )
    if bad is not None:
        raise FloatingPointError(
            f"series {call.panel.names[rows[bad[0]]]!r}, step {bad[1]} of the forecast: the "
            f"outputs of the network are not finite; a smaller learning rate may help"
        )
    return sampled


def _sample_by_steps(
    layer: Any, state: Any, futures: _Futures, call: _Call, gap: int
) -> tuple[Array, tuple[int, int] | None]:
    """Return what `Stream._sample_paths` does, of a layer that the core does not know."""
    x, scales, hashes, lags, indicators = futures
    n, T, _ = x.shape
    S = call.samples
    stream = stream_of(layer, n * S, map_state(lambda array: np.repeat(array, S, axis=0), state))
    wide, numbers = np.repeat(scales, S), np.repeat(hashes, S)
    sample = np.tile(np.arange(S, dtype=np.int64), n)
    paths = np.empty((n * S, T))
    for step in range(T):
        now = np.repeat(x[:, step], S, axis=0)
        for column, lag in enumerate(lags, now.shape[1] - len(lags)):
            if lag <= step:
                now[:, column] = paths[:, step - lag] / wide
                if indicators:
                    now[:, column - len(lags)] = 1
        raw = np.ascontiguousarray(stream.step(now))
        places = numbers, sample, np.full(n * S, step, np.int64)
        paths[:, step] = _core.draw_observed(call.kind, raw, wide, call.seed, *places)
    wrong = ~np.isfinite(paths)
    bad = None
    if wrong.any():
        row = int(wrong.any(axis=1).argmax())
        bad = row // S, int(wrong[row].argmax())
    return paths.reshape(n, S, T)[:, :, gap:].astype(np.float32), bad
