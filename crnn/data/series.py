"""One long series: parallel streams, windows, and delayed targets."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from crnn.common.arrays import Array, as_array, described
from crnn.common.checks import check_flag, check_size
from crnn.common.representation import never_raising
from crnn.data.representation import counted, with_names


class Streams:
    """A long series as parallel streams, for training with the state carried from item to item.

    The series is cut into `batch_size` streams of the same length, one in each row. An item is
    ``(x (B, T, ...), target (B, T, ...))`` with the next `steps` steps of each stream: row b of an
    item is continued by row b of the next item, as ``fit(..., stateful=True)`` expects. Up to B - 1
    steps at the end, which would not fill one step of all rows, are left out. Nothing is copied, so
    a memory-mapped file may be larger than memory.

    Parameters
    ----------
    x : array (N, F) or (N,)
        Features or symbols. Floats (N,) are one feature.
    target : array (N, F') or (N,), optional
        The target of each step. None: the next step of x.
    batch_size : int
        B, the number of streams.
    steps : int, optional
        T of an item; the last item of an epoch may have fewer steps. None: one item with all steps,
        which ``fit(..., tbptt=(k1, k2))`` cuts into windows.
    mask : array (N,) of bool, optional
        True for each step that is read.
    resets : array (N,) of bool, optional
        True for each step before which the state is reset.
    weights : array (N,), optional
        The weight of each step in the loss. With `mask`, `resets` or `weights` an item is ``(x,
        target, None, extras)``, where the dictionary `extras` holds these arrays by name.

    Attributes
    ----------
    x, target : array (B, N // B, ...)
        The streams, as views of the arguments. Without `target`, N - 1 steps are cut instead of N.

    Raises
    ------
    ValueError
        Arrays that are not numbers, with another number of steps than `x`, or with fewer than B
        steps.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> streams = crnn.data.Streams(np.arange(9), batch_size=2, steps=3)
    >>> streams
    <Streams: 2 streams of 4 steps in 2 items of 3 steps>
    >>> for x, target in streams:
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
        targets = series[1:] if target is None else _aligned("target", target, series)
        if len(series) - ahead < batch_size:
            raise ValueError(f"x: expected N of at least {batch_size + ahead}, got {len(series)}")
        length = (len(series) - ahead) // batch_size

        def streams(array: Array) -> Array:
            return array[: batch_size * length].reshape(batch_size, length, *array.shape[1:])

        self.x, self.target = streams(series), streams(targets)
        self._window = length if steps is None else check_size("steps", steps)
        options = {"mask": mask, "resets": resets, "weights": weights}
        self._extras = {
            name: streams(_step_values(name, value, series))
            for name, value in options.items()
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

    @never_raising
    def __repr__(self) -> str:
        B, length = self.x.shape[:2]
        streams = f"{counted(B, 'stream')} of {counted(length, 'step')}"
        items = counted(len(self), "item")
        if len(self) > 1:
            items += f" of {counted(self._window, 'step')}"
        return f"<{type(self).__name__}: {streams} in {items}{with_names(self._extras)}>"


def windows(
    series: Any,
    steps: int,
    *,
    horizon: int = 1,
    stride: int = 1,
    target: Any = None,
    every_step: bool = False,
) -> tuple[Array, Array]:
    """Return the windows of a long series, and the steps after each window as its target.

    Window i is ``series[i*stride : i*stride + steps]``, and its target the `horizon` steps after
    it. Both are read-only views, also of a memory-mapped file: nothing is copied until `Batches`
    takes a batch of them. Windows and targets overlap if `stride` is below steps + horizon. Split a
    series before it is cut, so that no held-out step is in a training window.

    Parameters
    ----------
    series : array (N, F) or (N,)
        The inputs. Floats (N,) are one feature.
    steps : int
        T, the steps of a window.
    horizon : int, default 1
        The number of steps after the window that are predicted, at least 1. With `every_step`, the
        distance from a step to its target, at least 0.
    stride : int, default 1
        The distance from the start of a window to the start of the next one.
    target : array (N, F') or (N,), optional
        The series that is predicted. None: `series` itself.
    every_step : bool, default False
        Return a target for each step of the window: the value `horizon` steps later.

    Returns
    -------
    x : array (n, steps, F), or (n, steps) for symbols
        The n windows.
    target : array (n, horizon, F') or (n, horizon)
        The targets; (n, steps, F') or (n, steps) with `every_step`. For a model with one output
        (B, F') and horizon=1 use ``target[:, 0]``.

    Raises
    ------
    ValueError
        A series too short for one window, a target of another length, or an option outside of its
        range.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> x, target = crnn.data.windows(np.arange(7), 3, horizon=2, stride=2)
    >>> x.tolist(), target.tolist()
    ([[0, 1, 2], [2, 3, 4]], [[3, 4], [5, 6]])
    >>> x, target = crnn.data.windows(np.arange(5), 3, every_step=True)
    >>> x.tolist(), target.tolist()
    ([[0, 1, 2], [1, 2, 3]], [[1, 2, 3], [2, 3, 4]])
    """
    x, every_step = _series("series", series), check_flag("every_step", every_step)
    steps, stride = check_size("steps", steps), check_size("stride", stride)
    y = x if target is None else _aligned("target", target, x)
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
    """Return an item for `fit` whose targets come k steps later.

    The model then reads k further steps before it predicts the target of a step.

    Parameters
    ----------
    x : array (B, T, ...)
        The inputs. They are returned unchanged.
    target : array (B, T, ...)
        The target of each step of x.
    k : int
        The delay in steps, 0 to T - 1. The targets of the last k steps are left out.
    lengths : array (B,) of integers, optional
        The lengths of the rows. They are returned unchanged.

    Returns
    -------
    (x, target, lengths, {"weights": weights})
        ``target[:, t]`` is the target of step t - k, and 0 in the first k steps. `weights` (B, T)
        is 0 in the first k steps and 1 after them.

    Raises
    ------
    ValueError
        A target without the B and T of x, or a delay outside of 0 to T - 1.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> _, target, _, extras = crnn.data.delayed(np.zeros((1, 4, 2)), [[5, 6, 7, 8]], 2)
    >>> target, extras["weights"]
    (array([[0, 0, 5, 6]]), array([[0., 0., 1., 1.]]))
    """
    inputs, targets = as_array("x", x), as_array("target", target)
    if inputs.ndim < 2 or targets.shape[:2] != inputs.shape[:2]:
        raise ValueError(
            f"target: expected shape (B, T, ...) with the B and T of x (B, T, ...), "
            f"got shapes {targets.shape} and {inputs.shape}"
        )
    B, T = targets.shape[:2]
    if not isinstance(k, int | np.integer) or not 0 <= k < T:
        raise ValueError(f"k: expected an integer from 0 to T-1={T - 1}, got {k!r}")
    later, weights = np.zeros_like(targets), np.zeros((B, T))
    later[:, k:] = targets[:, : T - k]
    weights[:, k:] = 1
    return x, later, lengths, {"weights": weights}


def _series(name: str, value: Any) -> Array:
    """Return a view (N, F) of features, (N,) of symbols, or (N,) of booleans."""
    array = as_array(name, value)
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected numbers (N, F) or (N,), got {described(array)}")
    return array[:, None] if array.ndim == 1 and array.dtype.kind == "f" else array


def _aligned(name: str, value: Any, series: Array) -> Array:
    """Return a view of a second series, which has as many steps as the first."""
    array = _series(name, value)
    if len(array) != len(series):
        raise ValueError(
            f"{name}: expected N={len(series)} steps, as in the series, got {len(array)}"
        )
    return array


def _step_values(name: str, value: Any, series: Array) -> Array:
    """Return an array (N,) with one number for each step of the series."""
    array = as_array(name, value)
    if array.shape != series.shape[:1]:
        raise ValueError(f"{name}: expected shape (N,)={series.shape[:1]}, got {array.shape}")
    return array


def _cut(array: Array, first: int, steps: int, stride: int, n: int) -> Array:
    """Return n windows (n, steps, ...) that begin at first, first + stride, and so on."""
    all_windows = sliding_window_view(array[first:], steps, axis=0)
    return np.moveaxis(all_windows[::stride][:n], -1, 1)
