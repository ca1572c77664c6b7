"""Features brought to mean 0 and standard deviation 1, and back."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, Floats, as_array, described, underflows
from crnn.common.checks import check_names

_BLOCK = 1 << 16  # rows looked at together: a memory-mapped file may be larger than memory


class Standardizer:
    """Brings every feature to mean 0 and standard deviation 1, as they were in the training data.

    `transform` returns (x - mean) / scale, `inverse_transform` undoes it. The last axis of x counts
    features; an array (N,) has one. A feature that is constant in the training data, or varies by
    no more than rounding errors, has the scale 1: the training data become 0. NaN stays NaN.
    Floats keep their type, integers become float64.

    Attributes
    ----------
    mean_, scale_ : (F,) float64
        Mean and standard deviation (divided by N) of each feature; None before `fit`.

    Examples
    --------
    >>> scaler = Standardizer().fit([[1.0, 10.0], [3.0, 10.0]])
    >>> scaler.transform([[1.0, 10.0], [5.0, 11.0]])
    array([[-1.,  0.],
           [ 3.,  1.]])
    >>> scaler.inverse_transform([[2.0]], columns=[0])
    array([[4.]])
    """

    mean_: Floats | None = None
    scale_: Floats | None = None

    @underflows
    def fit(self, x: Any) -> "Standardizer":
        """Find mean and scale, in float64, and return the object itself.

        Parameters
        ----------
        x : (N, F), (n, T, F) or (N,), or a list of arrays (T, F) or (T,)
            The training data alone. NaN is a missing value and left out. Padding would count: give
            sequences as a list, before they are padded.

        Raises
        ------
        ValueError
            A feature without a number, an infinity, sequences with different features.
        """
        listed = isinstance(x, list | tuple) and any(isinstance(part, np.ndarray) for part in x)
        parts = [_features(part) for part in (x if listed else [x])]
        F = parts[0].shape[-1]
        for part in parts:
            if part.shape[-1] != F:
                raise ValueError(f"x: expected F={F} features in each, got {part.shape[-1]}")
        count, total, squares = np.zeros((3, F))
        low, high = np.full(F, np.inf), np.full(F, -np.inf)
        for block in _blocks(parts):
            count += np.count_nonzero(~np.isnan(block), axis=0)
            total += np.nansum(block, axis=0)
            low = np.fmin(low, np.fmin.reduce(block, axis=0, initial=np.inf))
            high = np.fmax(high, np.fmax.reduce(block, axis=0, initial=-np.inf))
        wrong = np.flatnonzero(~np.isfinite(low) | ~np.isfinite(high))
        if wrong.size:
            what = "infinity" if count[wrong[0]] else "none"
            raise ValueError(f"x: expected finite numbers in column {wrong[0]}, got {what}")
        mean = np.where(low == high, low, total / count)
        reach = np.maximum(high - mean, mean - low)
        reach[reach == 0] = 1
        for block in _blocks(parts):
            squares += np.nansum(((block - mean) / reach) ** 2, axis=0)  # no square overflows
        scale = reach * np.sqrt(squares / count)
        self.mean_, self.scale_ = mean, np.where(_constant(scale, mean, count), 1.0, scale)
        return self

    @underflows
    def transform(self, x: Any, columns: int | Sequence[int] | None = None) -> Array:
        """Return (x - mean) / scale.

        Parameters
        ----------
        x : (..., F) or (N,)
        columns : int or sequence of int, optional
            Which of the features that `fit` saw x has, in order; by default all.

        Raises
        ------
        RuntimeError
            Before `fit`.
        ValueError
            Other features than expected.
        """
        array, mean, scale = self._checked(x, columns)
        return ((array - mean) / scale).astype(_kind(array), copy=False)

    @underflows
    def inverse_transform(self, x: Any, columns: int | Sequence[int] | None = None) -> Array:
        """Return x * scale + mean: what `transform` made x of.

        Parameters and errors are those of `transform`. For predictions of column 2 give
        ``columns=2``.
        """
        array, mean, scale = self._checked(x, columns)
        return (array * scale + mean).astype(_kind(array), copy=False)

    def to_dict(self) -> dict[str, list[float]]:
        """Return mean and scale as JSON can hold them, for `from_dict`."""
        mean, scale = self._fitted()
        return {"mean": mean.tolist(), "scale": scale.tolist()}

    @classmethod
    def from_dict(cls, numbers: Mapping[str, Any]) -> "Standardizer":
        """Return what `to_dict` described.

        Raises
        ------
        ValueError
            Something else than finite means and positive scales, one of each for each feature.
        """
        check_names("numbers", {"mean": 0, "scale": 0}, numbers)
        scaler, names = cls(), ("mean", "scale")
        mean, scale = (np.asarray(numbers[name], dtype=np.float64) for name in names)
        good = mean.ndim == 1 and mean.shape == scale.shape and np.isfinite([mean, scale]).all()
        if not good or not (scale > 0).all():
            raise ValueError(
                f"numbers: expected finite means and positive scales (F,), got {numbers!r:.200}"
            )
        scaler.mean_, scaler.scale_ = mean, scale
        return scaler

    def _fitted(self) -> tuple[Floats, Floats]:
        if self.mean_ is None or self.scale_ is None:
            raise RuntimeError("Standardizer: expected a call of fit before this one")
        return self.mean_, self.scale_

    def _checked(self, x: Any, columns: int | Sequence[int] | None) -> tuple[Array, Floats, Floats]:
        mean, scale = self._fitted()
        if columns is not None:
            chosen = np.atleast_1d(as_array("columns", columns))
            if chosen.dtype.kind not in "iu" or not ((0 <= chosen) & (chosen < len(mean))).all():
                raise ValueError(
                    f"columns: expected integers from 0 to {len(mean) - 1}, got {columns!r}"
                )
            mean, scale = mean[chosen], scale[chosen]
        array, F = as_array("x", x), len(mean)
        fits = array.ndim > 0 and (array.shape[-1] == F or array.ndim == F == 1)
        if array.dtype.kind not in "iuf" or not fits:
            raise ValueError(f"x: expected numbers (..., F={F}), got {described(array)}")
        return array, mean, scale

    def __repr__(self) -> str:
        if self.mean_ is None:
            return "Standardizer()"
        return f"<Standardizer of {len(self.mean_)} features>"


def _constant(scale: Floats, mean: Floats, count: Floats) -> NDArray[np.bool_]:
    """Return which features vary by no more than the rounding errors of N sums.

    The bound is that of scikit-learn: variance <= N eps variance + (N mean eps)**2, here in square
    roots. A scale below it is noise, by which any other value would be divided.
    """
    eps = np.finfo(np.float64).eps
    return np.asarray(scale <= np.hypot(np.sqrt(count * eps) * scale, count * eps * mean))


def _features(x: Any) -> Array:
    """Return data as (..., F), without a copy."""
    array = as_array("x", x)
    if array.ndim == 0 or array.dtype.kind not in "iuf":
        raise ValueError(f"x: expected numbers (N, F), got {described(array)}")
    return array[:, None] if array.ndim == 1 else array


def _blocks(parts: Sequence[Array]) -> Iterator[Floats]:
    """Go through all rows (rows, F), some at a time."""
    for part in parts:
        entries = max(1, _BLOCK // max(1, math.prod(part.shape[1:-1])))
        for first in range(0, len(part), entries):
            block = part[first : first + entries].astype(np.float64)
            yield block.reshape(-1, part.shape[-1])


def _kind(array: Array) -> np.dtype[Any]:
    return array.dtype if array.dtype.kind == "f" else np.dtype(np.float64)
