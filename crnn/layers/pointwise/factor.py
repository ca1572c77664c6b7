"""Least squares over rows that arrive in blocks: one triangular factor in place of all rows.

The factor R of [z, target] is updated by Householder reflections, R <- qr([R; rows]). Z'Z is never
formed, so the accuracy is that of the condition of Z and not of its square. For any weights, R
gives the sum of the squared errors over all rows without another pass over them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Floats

#: Largest magnitude of a number in a row: sums of squares of many such numbers do not overflow.
LARGEST = 1e140


class Factor:
    """Triangular factor of rows, in float64.

    Rows are kept until a block of them is complete. The bits of the factor are therefore a function
    of the rows and their order: they do not depend on how many rows each call of `add` has, or on
    the number of threads.

    Parameters
    ----------
    features, outputs : int
        F and O: a row has F features, then O targets.
    """

    def __init__(self, features: int, outputs: int) -> None:
        self.features, self.outputs = features, outputs
        rows, pitch = _core.ridge_sizes(features, outputs)
        self.R = np.zeros((features, pitch))  # the factor, and the rotated targets
        self.rest = np.zeros(outputs)  # squares that no weights can explain
        self.block = np.zeros((rows, pitch))  # rows that are not in R yet: the first `waiting`
        self.waiting = 0
        self.steps = 0  # rows that were added
        self._weights = np.zeros(rows)  # of the rows in the block
        self._weight = 0.0  # sum of those of all rows in R
        self._shared = False  # R and rest are those of another factor, too

    def copy(self) -> Factor:
        """Return a copy. Adding rows to it does not change this factor."""
        new = object.__new__(Factor)
        vars(new).update(vars(self))
        new.block = np.zeros_like(self.block)
        new.block[: self.waiting] = self.block[: self.waiting]
        new._weights = self._weights.copy()
        new._shared = True
        return new

    def _reduce(self, count: int, first: int = 0) -> None:
        """Add the first rows of the block to R."""
        if self._shared:
            self.R, self.rest, self._shared = self.R.copy(), self.rest.copy(), False
        _core.ridge_add(self.features, self.outputs, self.R, self.rest, self.block, count, first)

    @property
    def weight(self) -> float:
        """Sum of the weights of all rows, in an order that depends on the rows alone."""
        return self._weight + float(self._weights[: self.waiting].sum())

    def room(self) -> int:
        """Return how many rows the block has room for: at least 1."""
        return len(self.block) - self.waiting

    def add(self, rows: Floats, weights: Floats | float = 1.0) -> None:
        """Add rows (N, F + O), at most as many as there is room for, and their weights (N,)."""
        end = self.waiting + len(rows)
        self.block[self.waiting : end, : self.features + self.outputs] = rows
        self._weights[self.waiting : end] = weights
        self.waiting, self.steps = end, self.steps + len(rows)
        if self.waiting == len(self.block):
            self._empty()

    def _empty(self) -> None:
        """Add the waiting rows to R."""
        if self.waiting:
            self._reduce(self.waiting)
            self._weight, self.waiting = self.weight, 0

    def complete(self) -> Factor:
        """Return a copy without waiting rows: they are in R."""
        new = self.copy()
        new._empty()
        return new

    def merged(self, other: Factor) -> Factor:
        """Return the factor of the rows of both. Neither factor has waiting rows."""
        new, rows = self.copy(), len(self.block)
        for i in range(0, self.features, rows):
            part = other.R[i : i + rows]
            new.block[: len(part)] = part
            new._reduce(len(part), i)  # R is triangular
        new.rest = new.rest + other.rest
        new.steps += other.steps
        new._weight += other._weight
        return new

    def penalised(self, alpha: float, first: int) -> Factor:
        """Return the factor with a penalty alpha of the squared weights of features from `first`.

        The penalty is one more row sqrt(alpha) e_i for each feature i.
        """
        new, rows = self.copy(), len(self.block)
        for i in range(first, self.features, rows):
            count = min(rows, self.features - i)
            new.block[:count] = 0
            new.block[np.arange(count), np.arange(i, i + count)] = np.sqrt(alpha)
            new._reduce(count, i)
        return new

    def solve(self, alpha: float, first: int) -> Floats:
        """Return the weights (F, O) with the least squared error and penalty.

        Parameters
        ----------
        alpha : float
            Factor of the squared weights.
        first : int
            The first feature whose weights are penalised.

        Raises
        ------
        ValueError
            If the weights are not determined: alpha is 0, or so small that it is lost in rounding
            errors, and the rank of the features is too low.
        """
        factor = self.penalised(alpha, first) if alpha > 0 else self.copy()
        triangle = factor.R[:, : self.features]
        # The rounding errors of R, relative to the norms of its columns.
        error = np.finfo(float).eps * (self.features + 100 + self.steps**0.5)
        if np.sqrt(alpha) <= error * np.linalg.norm(self.R[:, : self.features]):
            rank = _rank(triangle, error)
            if rank < self.features:
                raise ValueError(
                    f"alpha: expected a larger penalty, because the {self.features} features "
                    f"(h, and 1 for the bias) have rank {rank} in the {self.steps} steps that are "
                    f"read, got {alpha:g}"
                )
        return _core.ridge_solve(self.features, self.outputs, factor.R)

    def squared_error(self, weights: Floats) -> Floats:
        """Return the sum of squared errors (O,) over the rows of this factor for weights (F, O)."""
        F, O = self.features, self.outputs
        triangle = np.ascontiguousarray(self.R[:, :F])
        errors = _core.dense_forward(triangle, weights, None) - self.R[:, F : F + O]
        return np.asarray(self.rest + (errors * errors).sum(axis=0))


def check_range(name: str, values: Floats, where: str = "") -> None:
    """Raise ValueError unless sums of the squares of all values are finite."""
    inside = np.abs(values) <= LARGEST
    if not inside.all():
        raise ValueError(
            f"{name}: expected finite numbers of magnitude at most {LARGEST:g}{where}, "
            f"got {values[~inside][0]}"
        )


def _rank(triangle: Floats, error: float) -> int:
    """Return the numerical rank. Columns are scaled: the units of a feature do not matter."""
    norms = np.sqrt((triangle * triangle).sum(axis=0))
    scaled = triangle / np.where(norms > 0, norms, 1)
    values = np.linalg.svd(scaled, compute_uv=False)
    return int((values > error * values[0]).sum())


def merged(factors: Sequence[Factor]) -> Factor:
    """Return the factor of all rows of some factors, merged in their order."""
    total = factors[0].complete()
    for factor in factors[1:]:
        total = total.merged(factor.complete())
    return total


def leave_one_out(factors: Sequence[Factor]) -> list[Factor]:
    """Return for each of at least two factors that of the rows of all others.

    Factors of neighbours are merged once for all: the number of merges is linear in that of the
    factors.
    """
    whole = [factor.complete() for factor in factors]
    after = whole[-1:]  # those from i on, in reverse
    for factor in whole[-2:0:-1]:
        after.append(factor.merged(after[-1]))
    others, before = [after.pop()], whole[0]
    for factor in whole[1:-1]:
        others.append(before.merged(after.pop()))
        before = before.merged(factor)
    return [*others, before]
