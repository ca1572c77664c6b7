"""Forecasts: sampled futures of many series.

Letters: n series, S samples, H steps, Q levels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from crnn.common.arrays import Array, Floats, as_array
from crnn.common.checks import check_array, check_number, check_size
from crnn.common.representation import never_raising
from crnn.data import Panel
from crnn.data.representation import counted
from crnn.data.times import Times

if TYPE_CHECKING:
    from crnn.plotting.arguments import Axes


def check_quantiles(name: str, levels: Any) -> Floats:
    """Return levels of quantiles, one or (Q,), as float64, or raise.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    levels : number or (Q,) numbers

    Returns
    -------
    array () or (Q,) of float64
    """
    array = as_array(name, levels)
    if array.ndim > 1 or (array.size and array.dtype.kind not in "iuf"):
        raise TypeError(f"{name}: expected a number or numbers of shape (Q,), got {levels!r:.60}")
    wrong = ~((array > 0) & (array < 1))
    if wrong.any():
        value = array if array.ndim == 0 else array[int(wrong.argmax())]
        raise ValueError(f"{name}: expected numbers between 0 and 1, got {value}")
    return array.astype(np.float64)


class Forecast:
    """Forecast: S sampled futures of each of n series.

    A sample is a path: its steps belong together, so that any function of a path, such as its sum
    or its maximum, has the distribution that its values have over the samples.

    Parameters
    ----------
    samples : floats (n, S, H)
        The paths.
    names : sequence of n str
        Names of the series.
    times : array (n, H) of datetime64, optional
        Times of the steps. None: steps have no times.
    history : Panel, optional
        The series before the forecast, for `plot`.

    Attributes
    ----------
    samples : array (n, S, H) of float32
        The paths.
    names : tuple of n str
        Names of the series.
    times : array (n, H) of datetime64, or None
        Times of the steps.
    history : Panel or None
        The series before the forecast.

    Raises
    ------
    ValueError, TypeError
        Other shapes than those above.

    Examples
    --------
    >>> import numpy as np
    >>> from crnn.models.forecast import Forecast
    >>> forecast = Forecast(np.arange(6.0).reshape(1, 3, 2), ["shop"])
    >>> forecast
    <Forecast: 3 samples of 2 steps of 1 series>
    >>> forecast.median, forecast.quantile(0.25)
    (array([[2., 3.]], dtype=float32), array([[1., 2.]], dtype=float32))
    >>> forecast.sum().samples
    array([[[1.],
            [5.],
            [9.]]], dtype=float32)
    """

    def __init__(
        self,
        samples: ArrayLike,
        names: Sequence[str],
        times: Times | None = None,
        history: Panel | None = None,
    ) -> None:
        drawn = check_array("samples", samples, "floats", ("n", "S", "H"))
        self.samples: Array = drawn.astype(np.float32, copy=False)
        self.names = tuple(map(str, names))
        n, H = len(self.samples), self.samples.shape[2]
        if len(self.names) != n:
            raise ValueError(f"names: expected n={n}, one for each series, got {len(self.names)}")
        if times is not None and np.shape(times) != (n, H):
            raise ValueError(f"times: expected shape {(n, H)}, got {np.shape(times)}")
        self.times, self.history = times, history

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Forecast]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: int | str) -> Forecast:
        i = self._position(key)
        times = None if self.times is None else self.times[i : i + 1]
        history = None if self.history is None else self.history[i]
        return Forecast(self.samples[i : i + 1], self.names[i : i + 1], times, history)

    def _position(self, key: Any) -> int:
        """Return the position of a series from its name or a position."""
        if isinstance(key, str):
            if key not in self.names:
                raise KeyError(f"expected the name of one of {len(self)} series, got {key!r:.60}")
            return self.names.index(key)
        if isinstance(key, bool) or not isinstance(key, int | np.integer):
            raise TypeError(f"expected the name or the position of a series, got {key!r:.60}")
        if not -len(self) <= key < len(self):
            raise IndexError(f"expected a position of one of {len(self)} series, got {key}")
        return int(key) % len(self)

    @property
    def mean(self) -> Array:
        """Mean of the samples (n, H)."""
        return np.asarray(self.samples.mean(axis=1, dtype=np.float64).astype(np.float32))

    @property
    def median(self) -> Array:
        """Median of the samples (n, H)."""
        return self.quantile(0.5)

    def quantile(self, q: ArrayLike) -> Array:
        """Return quantiles of the samples of each step.

        Parameters
        ----------
        q : number or (Q,) numbers, between 0 and 1
            The levels.

        Returns
        -------
        array (n, H) of float32, or (Q, n, H)
            Quantiles, interpolated as `numpy.quantile` does.

        Raises
        ------
        ValueError, TypeError
            A level is not between 0 and 1, or there is no sample.
        """
        levels = check_quantiles("q", q)
        self._check_samples()
        found = np.quantile(self.samples, np.atleast_1d(levels), axis=1).astype(np.float32)
        return np.asarray(found if levels.ndim else found[0])

    def _check_samples(self) -> None:
        if not self.samples.shape[1]:
            raise ValueError("samples: expected at least one, got none")

    def interval(self, p: float = 0.9) -> tuple[Array, Array]:
        """Return the interval of each step that contains a share of the samples, in the middle.

        Parameters
        ----------
        p : float, default 0.9
            The share, between 0 and 1.

        Returns
        -------
        low, high : arrays (n, H) of float32
            The quantiles (1 - p) / 2 and (1 + p) / 2.

        Raises
        ------
        ValueError, TypeError
            `p` is not between 0 and 1.
        """
        share = check_number("p", p, np.nextafter(0, 1), np.nextafter(1, 0))
        low, high = self.quantile([(1 - share) / 2, (1 + share) / 2])
        return low, high

    def sum(self, first: int = 0, last: int | None = None) -> Forecast:
        """Return the forecast of a sum over steps, such as the demand of a week.

        Quantiles of a sum are no sums of quantiles: they are computed from the sums of the paths.

        Parameters
        ----------
        first : int, default 0
            The first step, counted from 0.
        last : int, optional
            The step after the last one, as in a slice. None: up to the end.

        Returns
        -------
        Forecast
            With one step, and without times.

        Raises
        ------
        ValueError, TypeError
            No step is in the range.
        """
        H = self.samples.shape[2]
        for name, value in (("first", first), ("last", last)):
            if value is not None and not isinstance(value, int | np.integer):
                raise TypeError(f"{name}: expected an integer or None, got {value!r:.60}")
        begin, end, _ = slice(first, last).indices(H)
        if begin >= end:
            raise ValueError(
                f"first, last: expected a range of the H={H} steps, got {first}, {last}"
            )
        total = self.samples[:, :, begin:end].sum(axis=2, keepdims=True, dtype=np.float64)
        return Forecast(total, self.names)

    def plot(
        self, i: int | str = 0, ax: Axes | None = None, *, p: float = 0.8, past: int | None = None
    ) -> Axes:
        """Draw the median and an interval of a series, behind its history.

        Parameters
        ----------
        i : int or str, default 0
            Position or name of the series.
        ax : matplotlib axes, optional
            Axes to draw into; by default those of a new figure.
        p : float, default 0.8
            The share of the samples in the interval, see `interval`.
        past : int, optional
            How many steps of the history to draw. None: three times as many as the forecast has.

        Returns
        -------
        matplotlib axes

        Raises
        ------
        KeyError, IndexError, TypeError, ValueError
            An unknown series, or an option out of range.
        ImportError
            If matplotlib is not installed.
        """
        from crnn import plotting

        one = self[i]
        H = one.samples.shape[2]
        numbers: Floats = np.empty(0) if one.history is None else one.history.series[0]
        shown = min(len(numbers), 3 * H if past is None else check_size("past", past))
        low, high = one.interval(p)
        time: Any = np.arange(len(numbers) - shown, len(numbers) + H)
        if one.times is not None and one.history is not None and one.history.step is not None:
            time = one.times[0, 0] + np.arange(-shown, H) * one.history.step
        label = f"median, {p:.0%} interval"
        axes = plotting.series(
            numbers[len(numbers) - shown :] if shown else [np.nan],
            one.median[0],
            ax,
            start=shown,
            time=time if shown else None,
            interval=(low[0], high[0]),
            label=label,
        )
        axes.set_title(one.names[0])
        return axes

    def to_frame(self, quantiles: Sequence[float] = (0.1, 0.5, 0.9)) -> Any:
        """Return a data frame with a row for each step of each series.

        Parameters
        ----------
        quantiles : sequence of float, default (0.1, 0.5, 0.9)
            Levels, each of which is a column.

        Returns
        -------
        pandas.DataFrame
            Columns "series", "step" (from 1), "time" if there are times, "mean", and the levels.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        import pandas

        return pandas.DataFrame(self.columns(quantiles))

    def columns(self, quantiles: Sequence[float] = (0.1, 0.5, 0.9)) -> dict[str, Any]:
        """Return the columns of `to_frame` by name, without pandas.

        Parameters
        ----------
        quantiles : sequence of float, default (0.1, 0.5, 0.9)
            As for `to_frame`.

        Returns
        -------
        dict of str to array (n H,)

        Raises
        ------
        ValueError, TypeError
            A level is not between 0 and 1, or occurs twice.
        """
        levels = check_quantiles("quantiles", quantiles)
        if levels.ndim != 1 or len(set(levels.tolist())) < len(levels):
            raise ValueError(f"quantiles: expected distinct levels, got {quantiles!r:.60}")
        n, _, H = self.samples.shape
        table: dict[str, Any] = {
            "series": np.repeat(np.array(self.names, object), H),
            "step": np.tile(np.arange(1, H + 1), n),
        }
        if self.times is not None:
            table["time"] = np.asarray(self.times).ravel()
        table["mean"] = self.mean.ravel()
        found: Any = self.quantile(levels) if len(levels) else []
        names = map(repr, levels.tolist())
        return table | {q: rows.ravel() for q, rows in zip(names, found, strict=True)}

    @never_raising
    def __repr__(self) -> str:
        n, S, H = self.samples.shape
        series = counted(n, "series", "series")
        return (
            f"<{type(self).__name__}: {counted(S, 'sample')} of {counted(H, 'step')} of {series}>"
        )
