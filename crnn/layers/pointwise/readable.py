"""The steps of a batch that a least squares fit reads: those behind the washout, with weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn.common.arrays import Array, Floats, as_array
from crnn.common.checks import check_array, check_steps, steps_there
from crnn.layers.pointwise.factor import Factor, check_range

_WHERE = " at the steps that are read"

Places = tuple[NDArray[np.intp], ...]


def after_washout(
    valid: NDArray[np.bool_],
    resets: NDArray[np.bool_] | None,
    washout: NDArray[Any],
    read: NDArray[Any] | None = None,
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Return the steps behind the washout of their piece, and the counts for the next window.

    Parameters
    ----------
    valid : booleans (B, T)
        The steps that are read.
    resets : booleans (B, T), or None
        True at the first step of a piece.
    washout : integers (B, 1) or (1, 1)
        Number of steps of each piece that are left out.
    read : integers (B,), optional
        Number of steps that were read in the present piece of each row, in earlier windows of the
        same rows. None: 0.

    Returns
    -------
    kept : booleans (B, T)
    read : integers (B,)
        The same number after this window.
    """
    counts: NDArray[Any] = np.cumsum(valid, axis=1)  # including the step itself
    if read is not None:
        counts += np.asarray(read)[:, None]
    earlier: NDArray[Any] = counts - valid
    if resets is not None:
        begins = np.maximum.accumulate(np.where(resets, earlier, 0), axis=1)
        earlier, counts = earlier - begins, counts - begins
    if counts.shape[1]:
        after = counts[:, -1]
    else:
        after = np.zeros(len(counts), int) if read is None else np.asarray(read)
    return valid & (earlier >= washout), after


@dataclass(frozen=True)
class Steps:
    """Steps of h and target in the order of rows and steps."""

    h: Array
    target: Array
    places: Places  # indices of the leading axes
    weights: Floats | None

    @property
    def count(self) -> int:
        """Number of the steps."""
        return len(self.places[0])

    def check_target(self, name: str) -> None:
        """Raise ValueError if a number of the target has not the range that `rows` expects."""
        check_range(name, self.target[self.places].astype(np.float64), _WHERE)

    def part(self, begin: int, end: int) -> Steps:
        """Return the steps from `begin` to `end` - 1."""
        places = tuple(index[begin:end] for index in self.places)
        weights = None if self.weights is None else self.weights[begin:end]
        return Steps(self.h, self.target, places, weights)

    def rows(self, bias: bool) -> Floats:
        """Return rows [1, h, target] (N, F + K), times the roots of their weights.

        Raises
        ------
        ValueError
            If a number is not finite, or too large for sums of squares.
        """
        h, target = self.h[self.places], self.target[self.places]
        first, last = int(bias), int(bias) + h.shape[1]
        rows = np.ones((len(h), last + target.shape[1]))
        rows[:, first:last], rows[:, last:] = h, target
        check_range("h", rows[:, first:last], _WHERE)
        check_range("target", rows[:, last:], _WHERE)
        if self.weights is not None:
            rows *= np.sqrt(self.weights)[:, None]
            check_range("weights", rows, _WHERE)
        return rows


def add_steps(factor: Factor, steps: Steps, bias: bool) -> None:
    """Add the rows of steps to a factor, in blocks.

    If a row raises an error, the rows of the blocks before it have been added.
    """
    begin = 0
    while begin < steps.count:
        part = steps.part(begin, begin + factor.room())
        factor.add(part.rows(bias), 1.0 if part.weights is None else part.weights)
        begin += part.count


def _check_washout(washout: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the washout as integers (B, 1) or (1, 1), or raise."""
    array = as_array("washout", washout)
    if array.dtype.kind not in "iu" or (array.ndim and array.shape != shape[:1]):
        raise (TypeError if array.dtype.kind not in "iu" else ValueError)(
            f"washout: expected an integer, or integers of shape (B={shape[0]},), got "
            f"{array.dtype} of shape {array.shape}"
        )
    if array.size and array.min() < 0:
        raise ValueError(f"washout: expected integers of at least 0, got {array.min()}")
    if len(shape) < 2 and array.any():
        raise ValueError(f"washout: expected 0 for an input without a time axis, of shape {shape}")
    return array.reshape(-1, 1)


def _check_weights(weights: Any, shape: tuple[int, ...]) -> Floats:
    """Return weights as an array of the leading shape of h, or raise."""
    sizes = tuple(zip("BT", shape, strict=False))
    array = check_array("weights", weights, "real numbers", sizes, sizes[:1]).astype(np.float64)
    wrong = ~((array >= 0) & (array < np.inf))
    if wrong.any():
        raise ValueError(f"weights: expected finite numbers of at least 0, got {array[wrong][0]}")
    if array.ndim < len(shape):
        array = array[:, None]
    return np.broadcast_to(array, shape)


def readable_steps(
    sizes: tuple[int, int],
    h: Any,
    target: Any,
    lengths: Any,
    mask: Any,
    washout: Any,
    resets: Any,
    weights: Any,
) -> Steps:
    """Return the steps that a fit reads, from its arguments, or raise.

    Parameters
    ----------
    sizes : (int, int)
        Widths of h and of the target.
    h, target, lengths, mask, washout, resets, weights
        As for `Ridge.fit`.
    """
    h = check_array("h", h, "floats", ("B", "T", ("H", sizes[0])), ("B", ("H", sizes[0])))
    shape = h.shape[:-1]
    named = (*zip("BT", shape, strict=False), ("K", sizes[1]))
    target = check_array("target", target, "real numbers", named)
    washout = _check_washout(washout, shape)
    valid = np.ones(shape, bool)
    if lengths is not None or mask is not None:
        valid = steps_there(lengths, mask, shape)
    cuts = None if resets is None else check_steps("resets", resets, shape)
    if len(shape) > 1:
        valid, _ = after_washout(valid, cuts, washout)
    if weights is not None:
        weights = _check_weights(weights, shape)
        valid = valid & (weights > 0)
    places = np.nonzero(valid)
    return Steps(h, target, places, None if weights is None else weights[places])


def no_steps(name: str, washout: Any) -> ValueError:
    """Return the error of a fit in which no step is left.

    Parameters
    ----------
    name : str
        Name of the data.
    washout : int or integers (B,)
    """
    if np.any(washout):
        return ValueError(
            "washout: expected fewer steps than a sequence has that are read, with weights above "
            f"0, got {washout!s:.60}, which leaves no step"
        )
    return ValueError(f"{name}: expected steps that are read, with weights above 0, got none")
