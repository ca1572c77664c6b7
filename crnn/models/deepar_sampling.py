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
from crnn.layers.compose.streams import stream_of
from crnn.losses.likelihoods import Likelihood
from crnn.models.categories import WithCategories, joined_behind
from crnn.models.deepar_inputs import PanelInputs

Integers = NDArray[np.int64]

_ROWS = 4096  # series times samples that run together


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
    for rows, gap in _groups(panel.lengths - ends, max(_ROWS // max(samples, 1), 1)):
        paths[rows] = _sample(call, rows, ends[rows], gap + steps)[:, :, gap:]
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


def _groups(gaps: Integers, size: int) -> Iterator[tuple[Integers, int]]:
    """Yield at most so many series at a time, all with the same number of missing last steps."""
    for gap in np.unique(gaps):
        rows = np.flatnonzero(gaps == gap)
        for first in range(0, len(rows), size):
            yield rows[first : first + size], int(gap)


def _sample(call: _Call, rows: Integers, ends: Integers, steps: int) -> Floats:
    """Return sample paths (B, S, steps) of the steps after `ends` of some series."""
    inputs, S = call.inputs, call.samples
    begins = ends - inputs.context
    scales = inputs.scale(call.panel, rows, begins, ends)
    past = call.gather(rows, begins, inputs.context, scales)
    future = call.gather(rows, ends, steps, scales).x
    layer, x = call.network, past.x
    if isinstance(layer, WithCategories) and call.categories is not None:
        vectors = layer.vectors(call.categories[rows])
        x, layer = joined_behind(x, vectors), layer.layer
    else:
        vectors = np.empty((len(rows), 0), np.float32)
    _, state = layer(x, lengths=past.lengths)
    repeated = map_state(lambda array: np.repeat(array, S, axis=0), state)
    stream = stream_of(layer, len(rows) * S, repeated)
    wide = np.repeat(scales, S)
    paths = np.empty((len(rows) * S, steps))
    places = np.repeat(call.hashes[rows], S), np.tile(np.arange(S, dtype=np.int64), len(rows))
    for step in range(steps):
        now = np.repeat(future[:, step], S, axis=0)
        _feed_back(now, paths, step, wide, inputs)
        joined = np.concatenate([now, np.repeat(vectors, S, axis=0)], axis=1)
        numbers = np.full(len(wide), step, np.int64)
        raw = np.ascontiguousarray(stream.step(joined))
        drawn = _core.draw_observed(call.kind, raw, wide, call.seed, *places, numbers)
        if not np.isfinite(drawn).all():
            name = call.panel.names[rows[int(np.isfinite(drawn).argmin()) // S]]
            raise FloatingPointError(
                f"series {name!r}, step {step} of the forecast: the outputs of the network are "
                f"not finite; a smaller learning rate may help"
            )
        paths[:, step] = drawn
    return paths.reshape(len(rows), S, steps)


def _feed_back(x: Array, paths: Floats, step: int, scales: Floats, inputs: PanelInputs) -> None:
    """Write numbers that were drawn into the inputs (B, I) of a step, where lags read them."""
    there, numbers = inputs.lag_columns
    for place, lag in enumerate(inputs.lags):
        if lag <= step:
            x[:, numbers.start + place] = paths[:, step - lag] / scales
            if there is not None:
                x[:, there.start + place] = 1
