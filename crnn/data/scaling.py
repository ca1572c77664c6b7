"""Scaling of features to mean 0 and standard deviation 1, and back."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, Floats, as_array, described, underflows
from crnn.common.checks import check_names
from crnn.common.representation import never_raising
from crnn.data.representation import counted

_BLOCK = 1 << 16  # rows that are read at a time: a memory-mapped file may be larger than memory

Columns = int | Sequence[int] | None
Sequences = list[NDArray[Any]] | tuple[NDArray[Any], ...]
Formula = Callable[[Array, Floats, Floats], Array]  # (x, mean, scale) -> x in other units


class Standardizer:
    """Scaling of every feature to mean 0 and standard deviation 1, as in the training data.

    `transform` returns (x - mean) / scale, and `inverse_transform` its inverse. The last axis of x
    counts features; an array (N,) has one feature. A list of arrays holds sequences of different
    lengths. A feature that is constant in the training data, or varies by no more than rounding
    errors, has the scale 1, so that its training data become 0. NaN stays NaN. Floats keep their
    dtype, integers become float64.

    Attributes
    ----------
    mean_, scale_ : array (F,) of float64, or None
        Mean and standard deviation (divided by N) of each feature. None before `fit`.

    Notes
    -----
    Mean, scale, and the rule for constant features are those of scikit-learn's ``StandardScaler``.

    Examples
    --------
    >>> import crnn
    >>> scaler = crnn.data.Standardizer()
    >>> scaler.fit_transform([[1.0, 10.0], [3.0, 10.0]])
    array([[-1.,  0.],
           [ 1.,  0.]])
    >>> scaler.transform([[5.0, 11.0]])
    array([[3., 1.]])
    >>> scaler.inverse_transform([[2.0]], columns=[0])
    array([[4.]])
    >>> scaler
    <Standardizer: 2 features>
    """

    mean_: Floats | None = None
    scale_: Floats | None = None

    @underflows
    def fit(self, x: Any) -> "Standardizer":
        """Compute mean and scale of each feature, in float64, and return the object itself.

        Parameters
        ----------
        x : array (N, F), (n, T, F) or (N,), or list of arrays (T, F) or (T,)
            The training data alone, without validation and test data. NaN is a missing value and is
            ignored. Padding would change the mean: pass sequences as a list, before padding. A list
            or tuple that contains an array is a list of sequences; any other list, such as nested
            lists of numbers, is converted to one array.

        Returns
        -------
        Standardizer
            The object itself.

        Raises
        ------
        ValueError
            A feature without a number, an infinite number, or sequences with different numbers of
            features. Mean and scale are then unchanged.
        """
        sequences = _sequences(x)
        parts = [_features(part) for part in ([x] if sequences is None else sequences)]
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
            got = "infinity" if count[wrong[0]] else "none"
            raise ValueError(f"x: expected finite numbers in column {wrong[0]}, got {got}")
        mean = np.where(low == high, low, total / count)
        reach = np.maximum(high - mean, mean - low)
        reach[reach == 0] = 1
        for block in _blocks(parts):
            squares += np.nansum(((block - mean) / reach) ** 2, axis=0)  # no square overflows
        scale = reach * np.sqrt(squares / count)
        self.mean_, self.scale_ = mean, np.where(_constant(scale, mean, count), 1.0, scale)
        return self

    @overload
    def fit_transform(self, x: Sequences) -> list[Array]: ...

    @overload
    def fit_transform(self, x: Any) -> Array: ...

    def fit_transform(self, x: Any) -> Any:
        """Compute mean and scale as `fit` does, and return x scaled by them.

        Parameters
        ----------
        x : array (N, F), (n, T, F) or (N,), or list of arrays (T, F) or (T,)
            The training data, as for `fit`.

        Returns
        -------
        array or list of arrays
            The result of ``fit(x).transform(x)``. A list of sequences gives a list.

        Raises
        ------
        ValueError
            As for `fit`.

        Examples
        --------
        >>> import crnn
        >>> import numpy as np
        >>> sequences = [np.array([1.0, 3.0]), np.array([2.0, 1.0, 3.0])]
        >>> crnn.data.Standardizer().fit_transform(sequences)[0].round(1).tolist()
        [-1.1, 1.1]
        """
        return self.fit(x).transform(x)

    @overload
    def transform(self, x: Sequences, columns: Columns = ...) -> list[Array]: ...

    @overload
    def transform(self, x: Any, columns: Columns = ...) -> Array: ...

    def transform(self, x: Any, columns: Columns = None) -> Any:
        """Return (x - mean) / scale.

        Parameters
        ----------
        x : array (..., F) or (N,), or list of such arrays
            The data, with the features of `fit`. A list or tuple that contains an array is a list
            of sequences, as for `fit`.
        columns : int or sequence of int, optional
            The features of `fit` that x has, in this order, counted from 0. None: all of them.

        Returns
        -------
        array or list of arrays
            A new array of the shape of x. For a list of sequences, the list of their results, in
            the same order.

        Raises
        ------
        RuntimeError
            `fit` was not called before.
        ValueError
            Another number of features than expected, or columns outside of 0 ... F-1.
        """
        return self._applied(x, columns, lambda array, mean, scale: (array - mean) / scale)

    @overload
    def inverse_transform(self, x: Sequences, columns: Columns = ...) -> list[Array]: ...

    @overload
    def inverse_transform(self, x: Any, columns: Columns = ...) -> Array: ...

    def inverse_transform(self, x: Any, columns: Columns = None) -> Any:
        """Return x * scale + mean, the inverse of `transform`.

        Parameters
        ----------
        x : array (..., F) or (N,), or list of such arrays
            Scaled data, as for `transform`.
        columns : int or sequence of int, optional
            The features of `fit` that x has, as for `transform`: for predictions of feature 2 pass
            ``columns=2``.

        Returns
        -------
        array or list of arrays
            A new array of the shape of x, or a list of arrays, as for `transform`.

        Raises
        ------
        RuntimeError, ValueError
            As for `transform`.
        """
        return self._applied(x, columns, lambda array, mean, scale: array * scale + mean)

    def to_dict(self) -> dict[str, list[float]]:
        """Return mean and scale in a dictionary that JSON can store, for `from_dict`.

        Returns
        -------
        dict
            ``{"mean": [...], "scale": [...]}``, with one number for each feature.

        Raises
        ------
        RuntimeError
            `fit` was not called before.
        """
        mean, scale = self._fitted()
        return {"mean": mean.tolist(), "scale": scale.tolist()}

    @classmethod
    def from_dict(cls, numbers: Mapping[str, Any]) -> "Standardizer":
        """Return the standardizer that `to_dict` describes.

        Parameters
        ----------
        numbers : mapping
            ``{"mean": [...], "scale": [...]}``, with one number for each feature.

        Returns
        -------
        Standardizer
            A fitted standardizer.

        Raises
        ------
        ValueError
            Other names, or numbers other than finite means and positive scales (F,).
        """
        check_names("numbers", {"mean": 0, "scale": 0}, numbers)
        scaler, names = cls(), ("mean", "scale")
        mean, scale = (np.asarray(numbers[name], dtype=np.float64) for name in names)
        valid = mean.ndim == 1 and mean.shape == scale.shape and np.isfinite([mean, scale]).all()
        if not valid or not (scale > 0).all():
            raise ValueError(
                f"numbers: expected finite means and positive scales (F,), got {numbers!r:.200}"
            )
        scaler.mean_, scaler.scale_ = mean, scale
        return scaler

    def _fitted(self) -> tuple[Floats, Floats]:
        if self.mean_ is None or self.scale_ is None:
            raise RuntimeError("Standardizer: expected a call of fit before this one")
        return self.mean_, self.scale_

    @underflows
    def _applied(self, x: Any, columns: Columns, formula: Formula) -> Any:
        """Return a formula's result for an array, or for each array of a list."""
        mean, scale = self._selected(columns)
        sequences = _sequences(x)
        parts = {"x": x} if sequences is None else {f"x[{i}]": s for i, s in enumerate(sequences)}
        arrays = [_checked(name, part, len(mean)) for name, part in parts.items()]
        results = [formula(a, mean, scale).astype(_float_dtype(a), copy=False) for a in arrays]
        return results[0] if sequences is None else results

    def _selected(self, columns: Columns) -> tuple[Floats, Floats]:
        """Return mean and scale of some features."""
        mean, scale = self._fitted()
        if columns is None:
            return mean, scale
        numbers = np.atleast_1d(as_array("columns", columns))
        if numbers.dtype.kind not in "iu" or not ((0 <= numbers) & (numbers < len(mean))).all():
            raise ValueError(
                f"columns: expected integers from 0 to {len(mean) - 1}, got {columns!r}"
            )
        return mean[numbers], scale[numbers]

    @never_raising
    def __repr__(self) -> str:
        if self.mean_ is None:
            return f"{type(self).__name__}()"
        return f"<{type(self).__name__}: {counted(len(self.mean_), 'feature')}>"


def _sequences(x: Any) -> list[Any] | None:
    """Return the sequences of a list or tuple that contains an array, None for other data."""
    if isinstance(x, list | tuple) and any(isinstance(part, np.ndarray) for part in x):
        return list(x)
    return None


def _checked(name: str, x: Any, F: int) -> Array:
    """Return data with F features in the last axis, or an array (N,) where F is 1."""
    array = as_array(name, x)
    fits = array.ndim > 0 and (array.shape[-1] == F or array.ndim == F == 1)
    if array.dtype.kind not in "iuf" or not fits:
        raise ValueError(f"{name}: expected numbers (..., F={F}), got {described(array)}")
    return array


def _constant(scale: Floats, mean: Floats, count: Floats) -> NDArray[np.bool_]:
    """Return which features vary by no more than the rounding errors of N sums.

    The bound is that of scikit-learn: variance <= N eps variance + (N mean eps)**2, here in square
    roots. A scale below it is rounding noise; a division by it would blow up other values.
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
    """Yield all rows in blocks (rows, F) of float64."""
    for part in parts:
        entries = max(1, _BLOCK // max(1, math.prod(part.shape[1:-1])))
        for first in range(0, len(part), entries):
            block = part[first : first + entries].astype(np.float64)
            yield block.reshape(-1, part.shape[-1])


def _float_dtype(array: Array) -> np.dtype[Any]:
    """Return the dtype of floats, and float64 for integers."""
    return array.dtype if array.dtype.kind == "f" else np.dtype(np.float64)
