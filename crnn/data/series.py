"""One long series: continuous streams, windows, and targets that come later."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from crnn.common.arrays import Array, as_array, described
from crnn.common.checks import check_size


class Streams:
    """A long series as parallel streams, for training with the state carried from item to item.

    The series is cut into `batch_size` strands of the same length, one a row, and an item has the
    next `steps` of each: row b of one item goes on in row b of the next, as
    ``fit(..., stateful=True)`` expects. Steps at the end that do not fill a step of all rows, fewer
    than `batch_size`, are left out. Nothing is copied, so a memory-mapped file may be longer than
    memory.

    Parameters
    ----------
    x : (N, F) or (N,)
        Features, or symbols. Floats (N,) are one feature.
    target : (N, F') or (N,), optional
        What to predict at each step. By default what comes next: x one step later.
    batch_size : int
        B, the number of strands.
    steps : int, optional
        T of an item; the last one of an epoch may have fewer. By default an item is all of it,
        which ``fit(..., tbptt=(k1, k2))`` cuts into windows.
    mask, resets, weights : (N,), optional
        For each step of x: is it read, does the state start anew before it, what does it count in
        the loss. An item is then ``(x, target, None, {"mask": ...})``, else ``(x, target)``.

    Attributes
    ----------
    x, target : (B, T, ...)
        The strands, views of the arguments.

    Examples
    --------
    >>> for x, target in Streams(np.arange(9), batch_size=2, steps=3):
    ...     print(x.tolist(), target.tolist())
    [[0, 1, 2], [4, 5, 6]] [[1, 2, 3], [5, 6, 7]]
    [[3], [7]] [[4], [8]]
    """

    def __init__(
        self,
        x: Any,
        target: Any = None,
        *,
        batch_size: int,
        steps: int | None = None,
        mask: Any = None,
        resets: Any = None,
        weights: Any = None,
    ) -> None:
        series, batch_size = _series("x", x), check_size("batch_size", batch_size)
        ahead = int(target is None)
        wanted = series[1:] if target is None else _beside("target", target, series)
        if len(series) - ahead < batch_size:
            raise ValueError(f"x: expected N of at least {batch_size + ahead}, got {len(series)}")
        length = (len(series) - ahead) // batch_size

        def strands(array: Array) -> Array:
            return array[: batch_size * length].reshape(batch_size, length, *array.shape[1:])

        self.x, self.target = strands(series), strands(wanted)
        self._window = length if steps is None else check_size("steps", steps)
        given = {"mask": mask, "resets": resets, "weights": weights}
        self._extras = {
            name: strands(_flat(name, value, series))
            for name, value in given.items()
            if value is not None
        }

    def __len__(self) -> int:
        length: int = self.x.shape[1]
        return -(-length // self._window)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for start in range(0, self.x.shape[1], self._window):
            part = (slice(None), slice(start, start + self._window))
            extras = {name: array[part] for name, array in self._extras.items()}
            item = (self.x[part], self.target[part])
            yield (*item, None, extras) if extras else item


def windows(
    series: Any,
    steps: int,
    *,
    horizon: int = 1,
    stride: int = 1,
    target: Any = None,
    every_step: bool = False,
) -> tuple[Array, Array]:
    """Cut a long series into windows, each with the steps that come after it.

    Window i is ``series[i*stride : i*stride + steps]``; to be predicted are the `horizon` steps
    after it. Both are read-only views, also of a memory-mapped file: nothing is copied until
    `Batches` takes a batch of them. Neighbours overlap where `stride` is below steps + horizon, so
    split a series before it is cut.

    Parameters
    ----------
    series : (N, F) or (N,)
        What is read. Floats (N,) are one feature.
    steps : int
        T of a window.
    horizon : int
        How many steps after the window are predicted, from 1; with `every_step`, how far ahead each
        step looks, from 0.
    stride : int
        Steps from the start of one window to the start of the next.
    target : (N, F') or (N,), optional
        What is predicted, by default the series itself.
    every_step : bool
        A target for each step of the window: the value `horizon` steps after it.

    Returns
    -------
    x : (n, steps, F), or (n, steps) for symbols
    target : (n, horizon, F') or (n, horizon)
        With `every_step` (n, steps, F') or (n, steps). For a model with one output (B, F') and
        horizon=1 take ``target[:, 0]``.

    Examples
    --------
    >>> x, target = windows(np.arange(7), 3, horizon=2, stride=2)
    >>> x.tolist(), target.tolist()
    ([[0, 1, 2], [2, 3, 4]], [[3, 4], [5, 6]])
    >>> x, target = windows(np.arange(5), 3, every_step=True)
    >>> x.tolist(), target.tolist()
    ([[0, 1, 2], [1, 2, 3]], [[1, 2, 3], [2, 3, 4]])
    """
    x = _series("series", series)
    steps, stride = check_size("steps", steps), check_size("stride", stride)
    y = x if target is None else _beside("target", target, x)
    if not (every_step and isinstance(horizon, int) and horizon == 0):
        horizon = check_size("horizon", horizon)
    reach = steps + horizon
    if len(x) < reach:
        raise ValueError(
            f"series: expected N of at least steps + horizon = {reach} for one window, got {len(x)}"
        )
    n = (len(x) - reach) // stride + 1
    if every_step:
        return _cut(x, 0, steps, stride, n), _cut(y, horizon, steps, stride, n)
    return _cut(x, 0, steps, stride, n), _cut(y, steps, horizon, stride, n)


def delayed(
    x: Any, target: Any, k: int, lengths: Any = None
) -> tuple[Any, Array, Any, dict[str, Array]]:
    """Return an item for `fit` whose answer to step t is asked for k steps later.

    Parameters
    ----------
    x : (B, T, ...)
        Handed on as it is.
    target : (B, T, ...)
        What belongs to each step of x.
    k : int
        How many steps later, 0 to T - 1. The targets of the last k steps are not asked for.
    lengths : (B,) integers, optional
        Handed on as they are.

    Returns
    -------
    (x, target, lengths, {"weights": weights})
        ``target[:, t]`` is what stood at t - k; `weights` (B, T) are 0 in the first k steps, where
        the target is filled with 0, and 1 after them.

    Examples
    --------
    >>> _, target, _, extras = delayed(np.zeros((1, 4, 2)), [[5, 6, 7, 8]], 2)
    >>> target, extras["weights"]
    (array([[0, 0, 5, 6]]), array([[0., 0., 1., 1.]]))
    """
    read, wanted = as_array("x", x), as_array("target", target)
    if read.ndim < 2 or wanted.shape[:2] != read.shape[:2]:
        raise ValueError(
            f"target: expected shape (B, T, ...) beside x (B, T, ...), "
            f"got shapes {wanted.shape} and {read.shape}"
        )
    B, T = wanted.shape[:2]
    if not isinstance(k, int | np.integer) or not 0 <= k < T:
        raise ValueError(f"k: expected an integer from 0 to T-1={T - 1}, got {k!r}")
    later, weights = np.zeros_like(wanted), np.zeros((B, T))
    later[:, k:] = wanted[:, : T - k]
    weights[:, k:] = 1
    return x, later, lengths, {"weights": weights}


def _series(name: str, given: Any) -> Array:
    """Return a series (N, F), (N,) of symbols, or (N,) of booleans, as a view."""
    array = as_array(name, given)
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected numbers (N, F) or (N,), got {described(array)}")
    return array[:, None] if array.ndim == 1 and array.dtype.kind == "f" else array


def _beside(name: str, given: Any, series: Array) -> Array:
    array = _series(name, given)
    if len(array) != len(series):
        raise ValueError(f"{name}: expected N={len(series)} steps, as the series, got {len(array)}")
    return array


def _flat(name: str, given: Any, series: Array) -> Array:
    """Return one number for each step (N,)."""
    array = as_array(name, given)
    if array.shape != series.shape[:1]:
        raise ValueError(f"{name}: expected shape (N,)={series.shape[:1]}, got {array.shape}")
    return array


def _cut(array: Array, first: int, steps: int, stride: int, n: int) -> Array:
    """Return n windows (n, steps, ...), `stride` apart, of which the first begins at `first`."""
    every = sliding_window_view(array[first:], steps, axis=0)
    return np.moveaxis(every[::stride][:n], -1, 1)
