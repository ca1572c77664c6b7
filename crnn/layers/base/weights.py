"""Initial weights. They are a function of the seed, by a counter-based random generator.

Each array has its own stream of random numbers, so an additional array changes no other array.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Array

INPUT_STREAM, RECURRENT_STREAM, MIRROR_STREAM, PROJECTION_STREAM, CHRONO_STREAM = range(5)
PARTS_STREAM = 5
LAYER_STREAM = int.from_bytes(b"layer")

_drawn: ContextVar[bool] = ContextVar("_drawn", default=True)


@contextmanager
def undrawn() -> Iterator[None]:
    """Let layers whose initial weights take long leave them out, because others replace them."""
    token = _drawn.set(False)
    try:
        yield
    finally:
        _drawn.reset(token)


def are_drawn() -> bool:
    """Return whether layers draw initial weights that take long; see `undrawn`."""
    return _drawn.get()


def uniform(seed: int, stream: int, shape: tuple[int, ...], limit: float) -> Array:
    """Draw uniform numbers in (-limit, limit)."""
    draws = _core.random_uniform(seed, stream, 0, int(np.prod(shape)))
    return (limit * (2.0 * draws - 1.0)).reshape(shape)


def normal(seed: int, stream: int, shape: tuple[int, ...]) -> Array:
    """Draw standard normal numbers by the transform of Box and Muller (1958)."""
    count = int(np.prod(shape))
    draws = _core.random_uniform(seed, stream, 0, 2 * count)
    radius = np.sqrt(-2.0 * np.log1p(-draws[:count]))
    return np.asarray(radius * np.cos(2.0 * np.pi * draws[count:])).reshape(shape)


def glorot_uniform(
    seed: int, stream: int, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> Array:
    """Draw uniform numbers with variance 2 / (fan_in + fan_out), Glorot and Bengio (2010)."""
    return uniform(seed, stream, shape, np.sqrt(6.0 / (fan_in + fan_out)))


def orthogonal(seed: int, stream: int, blocks: int, rows: int, columns: int) -> Array:
    """Draw `blocks` orthogonal matrices (rows, columns), stacked by rows: Saxe et al. (2014).

    Each is the factor Q of the QR decomposition of a matrix of normal numbers. Its signs are chosen
    so that Q is uniform over all orthogonal matrices (Mezzadri 2007). If it is not square, its rows
    or its columns are orthonormal.
    """
    long, short = max(rows, columns), min(rows, columns)
    q, r = np.linalg.qr(normal(seed, stream, (blocks, long, short)))
    q = q * np.where(np.diagonal(r, axis1=1, axis2=2) < 0, -1.0, 1.0)[:, None, :]
    return np.asarray(q if rows >= columns else q.transpose(0, 2, 1)).reshape(-1, columns)


def chrono(seed: int, size: int, longest: float) -> Array:
    """Draw biases log u, with u uniform in (1, longest - 1), of gates that keep the state.

    They give the units memories of up to `longest` steps: Tallec and Ollivier, "Can recurrent
    neural networks warp time?" (2018).
    """
    draws = _core.random_uniform(seed, CHRONO_STREAM, 0, size)
    return np.asarray(np.log(1 + draws * (longest - 2)))


def seed_of_part(seed: int, stream: int, place: int = 0) -> int:
    """Return the seed of a part of a layer, computed from the seed of the layer."""
    return int(_core.random_uniform(seed, stream, place, 1)[0] * 2**53)


def layer_seeds(seed: int, count: int) -> list[int]:
    """Return a seed for each layer of a model, computed from the seed of the model."""
    return [seed_of_part(seed, LAYER_STREAM, place) for place in range(count)]
