"""Initial weights, from the counter-based generator: a function of the seed alone.

Each array has a stream of its own, so that one drawn more or less changes no other.
"""

from __future__ import annotations

import numpy as np

from crnn import _core
from crnn.layers.base import Array

INPUT_STREAM, RECURRENT_STREAM, MIRROR_STREAM, DROPOUT_STREAM = range(4)
STREAMS = 4  # streams that a seed's first call uses; the n-th has those from n * STREAMS on


def uniform(seed: int, stream: int, shape: tuple[int, ...], limit: float) -> Array:
    """Uniform in (-limit, limit)."""
    draws = _core.random_uniform(seed, stream, 0, int(np.prod(shape)))
    return (limit * (2.0 * draws - 1.0)).reshape(shape)


def normal(seed: int, stream: int, shape: tuple[int, ...]) -> Array:
    """Standard normal, by the transform of Box and Muller (1958)."""
    count = int(np.prod(shape))
    draws = _core.random_uniform(seed, stream, 0, 2 * count)
    radius = np.sqrt(-2.0 * np.log1p(-draws[:count]))
    return np.asarray(radius * np.cos(2.0 * np.pi * draws[count:])).reshape(shape)


def glorot_uniform(
    seed: int, stream: int, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> Array:
    """Uniform with variance 2 / (fan_in + fan_out): Glorot and Bengio (2010)."""
    return uniform(seed, stream, shape, np.sqrt(6.0 / (fan_in + fan_out)))


def orthogonal(seed: int, stream: int, blocks: int, size: int) -> Array:
    """`blocks` orthogonal matrices (size, size), one below the other: Saxe et al. (2014).

    Each is the Q of a normal matrix, its signs fixed so that it is uniform over all such matrices
    (Mezzadri 2007).
    """
    q, r = np.linalg.qr(normal(seed, stream, (blocks, size, size)))
    signs = np.where(np.diagonal(r, axis1=1, axis2=2) < 0, -1.0, 1.0)
    return np.asarray(q * signs[:, None, :]).reshape(blocks * size, size)
