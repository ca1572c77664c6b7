"""The initial weights of reservoirs: functions of the seed, with the same bits on every machine.

They are made of random integers by sums, products, quotients and square roots in a fixed order.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

import crnn._core as _core
from crnn.common.arrays import Array, Floats
from crnn.common.choices import Topology
from crnn.common.spectral import fixed_radius
from crnn.layers.base.weights import INPUT_STREAM, RECURRENT_STREAM

#: Units that are connected together: they read the same units, and the same units read them.
BLOCK = 16
#: The least number of units that a unit reads.
_LEAST = 48
_BIAS_STREAM = int.from_bytes(b"biases")
_DEALING_STREAM = int.from_bytes(b"dealing")
_SIGN_STREAM = int.from_bytes(b"signs")
_PRIME = 2**31 - 1


def draw(topology: Topology, radius: float, density: float, H: int, seed: int) -> Floats:
    """Return W_h (H, H) with this spectral radius.

    The density is rounded up to a number of blocks; "cycle" does not use it.
    """
    if radius == 0:
        return np.zeros((H, H))
    if topology == "cycle":
        return radius * np.eye(H)[np.arange(H) - 1]
    blocks = blocks_read(H, density)
    if topology == "orthogonal":
        return radius * _orthogonal(seed, H, blocks)
    weights = np.where(_dealt(seed, H, blocks), _nonzero(seed, RECURRENT_STREAM, (H, H)), 0.0)
    return weights * (radius / fixed_radius(weights))


def draw_inputs(topology: Topology, scaling: Floats, H: int, seed: int) -> Floats:
    """Return W_x (H, I) for scalings (I,): uniform numbers, or signs for a cycle."""
    shape = H, len(scaling)
    if topology != "cycle":
        return scaling * _nonzero(seed, INPUT_STREAM, shape)
    return scaling * np.stack([_signs(seed, column, H) for column in range(shape[1])], axis=1)


def draw_bias(scaling: float, H: int, seed: int) -> Floats:
    """Return b (H,), uniform in (-scaling, scaling)."""
    return np.asarray(scaling * _nonzero(seed, _BIAS_STREAM, (H,)))


def blocks_in(H: int) -> int:
    """Return the number of blocks of H units, the last of which may be smaller."""
    return -(-H // BLOCK)


def blocks_read(H: int, density: float) -> int:
    """Return how many blocks of units each unit reads; the density is rounded up.

    One of them may be smaller, and does not count as one of those that are needed at least.
    """
    blocks, least = blocks_in(H), _LEAST // BLOCK + (H % BLOCK > 0)
    return min(blocks, max(least, math.ceil(density * blocks - 1e-9)))


def rounded_density(topology: Topology, H: int, density: float) -> float:
    """Return the density that a reservoir has, as a share of blocks; of a cycle as it was given."""
    if topology == "cycle":
        return density
    blocks, read = blocks_in(H), blocks_read(H, density)
    return (read if topology == "random" else blocks // (blocks // read)) / blocks


def entries_in_blocks(matrix: Array) -> int:
    """Return the number of entries of the blocks of a matrix that are not all zero."""
    sizes = [np.diff([*range(0, size, BLOCK), size]) for size in matrix.shape]
    rows = np.logical_or.reduceat(matrix != 0, np.arange(0, matrix.shape[0], BLOCK), axis=0)
    blocks = np.logical_or.reduceat(rows, np.arange(0, matrix.shape[1], BLOCK), axis=1)
    return int((blocks * np.multiply.outer(*sizes)).sum())


# ----------------------------------------------------------------------------------------- drawing


def _nonzero(seed: int, stream: int, shape: tuple[int, ...]) -> Floats:
    """Draw uniform numbers in (-1, 1), none of which is 0: odd multiples of 2^-53."""
    draws = _core.random_uniform(seed, stream, 0, math.prod(shape))
    return np.asarray((2.0 * draws - 1.0) + 2.0**-53).reshape(shape)


def _permutation(seed: int, place: int, count: int) -> NDArray[np.intp]:
    """Draw an order of `count` things; equal draws keep their order."""
    return np.argsort(_core.random_uniform(seed, _DEALING_STREAM, place, count), kind="stable")


def _dealt(seed: int, H: int, read: int) -> NDArray[np.bool_]:
    """Return which units (H, H) are connected: each block reads `read` blocks, and is read by them.

    Block rows[i] reads blocks columns[i + s] for `read` different numbers s, modulo their number.
    """
    count = blocks_in(H)
    rows, columns, shifts = (_permutation(seed, place * count, count) for place in range(3))
    blocks = np.zeros((count, count), bool)
    for shift in shifts[:read]:
        blocks[rows, np.roll(columns, -shift)] = True
    return blocks.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)[:H, :H]


def _orthogonal(seed: int, H: int, read: int) -> Floats:
    """Draw an orthogonal matrix (H, H) in which each block reads at least `read` blocks.

    The blocks are dealt to groups twice. The units of a group of the first deal read all units of
    the same group of the second deal, by an orthogonal matrix. The last block may be smaller, so it
    is in the last group of both deals.
    """
    full = H // BLOCK
    groups = max(1, blocks_in(H) // read)
    ends = blocks_in(H) * np.arange(groups + 1) // groups * BLOCK
    deals = [
        np.arange(full * BLOCK).reshape(full, BLOCK)[_permutation(seed, place * full, full)]
        for place in range(2)
    ]
    rows, columns = (np.append(deal, np.arange(full * BLOCK, H)) for deal in deals)
    weights, drawn = np.zeros((H, H)), 0
    for begin, end in zip(ends, np.minimum(ends[1:], H), strict=False):
        units = slice(begin, end)
        rotated, drawn = _rotated(seed, drawn, int(end - begin))
        weights[np.ix_(rows[units], columns[units])] = rotated
    return weights


def _rotated(seed: int, drawn: int, n: int) -> tuple[Floats, int]:
    """Return the product (n, n) of random rotations and signs, and the number of draws so far.

    Each round deals the rows into pairs, and rotates each pair: the random walk of Kac,
    "Foundations of kinetic theory" (1956), n / 2 steps at a time. The number of rounds is a few times log2(n),
    after which the entries have nearly the moments of uniform orthogonal matrices.
    """
    half, rounds = n // 2, 4 * n.bit_length() + 8
    matrix = np.eye(n)
    for _ in range(rounds if half else 0):
        order = np.argsort(_core.random_uniform(seed, RECURRENT_STREAM, drawn, n), kind="stable")
        x, y = 2.0 * _core.random_uniform(seed, RECURRENT_STREAM, drawn + n, n - n % 2).reshape(
            2, half, 1
        ) - (1.0 - 2.0**-53)
        drawn += 2 * n
        length = np.sqrt(x * x + y * y)
        cosine, sine = x / length, y / length
        first, second = matrix[order[:half]], matrix[order[half : 2 * half]]
        matrix[order[:half]] = cosine * first - sine * second
        matrix[order[half : 2 * half]] = sine * first + cosine * second
    signs = np.where(_core.random_uniform(seed, RECURRENT_STREAM, drawn, n) < 0.5, -1.0, 1.0)
    return matrix * signs[:, None], drawn + n


# ------------------------------------------------------------------------- the signs of a cycle


def _signs(seed: int, column: int, H: int, tries: int = 100) -> Floats:
    """Draw signs (H,) with which the states of a ring determine H inputs, if there are such signs.

    After H inputs of 1 and of r, r^2 ..., the state of a linear ring is a circulant matrix times
    them. If that matrix is singular, for instance because the sum of the signs is 0, the ring
    remembers fewer inputs. There are no such signs for H = 2.
    """
    first = column * tries * H
    for place in range(first, first + tries * H, H):
        draws = _core.random_uniform(seed, _SIGN_STREAM, place, H)
        signs = np.where(draws < 0.5, -1, 1)
        if _is_regular(signs):
            break
    return signs.astype(np.float64)


def _is_regular(signs: NDArray[np.int_]) -> bool:
    """Return whether the circulant matrix of some integers is regular modulo a prime number.

    It is if the polynomial with these coefficients has no common divisor with x^H - 1. A matrix
    that is regular modulo a prime number is regular.
    """
    a = np.zeros(len(signs) + 1, np.int64)
    a[0], a[-1] = -1 % _PRIME, 1
    b = signs % _PRIME
    while len(b) > 1:  # a, b = b, a mod b; the last coefficient is the leading one
        inverse = pow(int(b[-1]), -1, _PRIME)
        b = b * inverse % _PRIME
        while len(a) >= len(b):
            at = len(a) - len(b)
            a[at:] = (a[at:] - a[-1] * b) % _PRIME
            a = a[: int(np.flatnonzero(a)[-1]) + 1] if a.any() else a[:0]
        if not len(a):
            return False
        a, b = b, a
    return True
