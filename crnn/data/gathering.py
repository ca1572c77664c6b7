"""Windows of a panel as batches, gathered in the core, and the scales of windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

import crnn._core as _core
from crnn.common.arrays import Array, Floats, as_array
from crnn.common.checks import check_choice, check_count, check_dtype, check_real, check_size
from crnn.data.panel import Integers, Panel
from crnn.data.panel_checks import check_known_ahead
from crnn.data.scaling import Standardizer
from crnn.data.times import calendar

#: Scales of windows: the mean of the sizes of numbers, and 1 + the mean of counts.
ScaleKind: TypeAlias = Literal["mean", "count"]

_FLOOR = 1e-3  # of the median of the training set
_FARTHEST = 2**52


class Windows(NamedTuple):
    """Windows of a batch.

    Parameters
    ----------
    x : array (B, T, I)
        Inputs; 0 behind the end of each row.
    target : array (B, T) of float64
        The numbers themselves, not divided by a scale; 0 where one is missing or beyond the end.
    weights : array (B, T) of float64
        1 where there is a number, else 0.
    lengths : array (B,) of int64
        Steps of each row: a row begins where its series does.
    """

    x: Array
    target: Floats
    weights: Floats
    lengths: Integers


class Gatherer:
    """Maker of batches: windows of the series of a panel, with lags as inputs.

    The inputs of step t of a series are, in this order: F features of the step; F' constants of the
    series; its age log10(2 + t); log(scale); for each lag l an indicator, 1 if z_(t-l) is there and
    0 if not; z_(t-l) / scale, 0 if it is not there. It is not there if it is missing, before the
    first step of the series, or after its last one. All inputs but the lags are thus the same for
    all forecasts of a series.

    Parameters
    ----------
    panel : Panel
        n series. Their numbers are read where they lie.
    lags : sequence of L integers
        Lags in steps, of at least 1, in the order of the columns.
    features : list of n arrays (S_i, F), optional
        Features of the first S_i steps of each series, as `step_features` returns them.
    constants : array (n, F'), optional
        Features of each series.
    age, log_scale, indicators : bool, default True, True, False
        Whether there are these inputs.
    dtype : {"float32", "float64"}
        Type of the inputs.

    Attributes
    ----------
    input_size : int
        I = F + F' + age + log_scale + (2 L with indicators, else L).
    lags : array (L,) of int64
        The lags.

    Raises
    ------
    ValueError, TypeError
        A lag below 1, or features of another number of series.

    Notes
    -----
    Salinas et al., "DeepAR" (2017), let windows begin before their series and read zeros there.
    Here such a row is shorter. The results are the same for any number of threads, and a row is the
    same in any batch.

    Examples
    --------
    >>> from crnn.data import Panel
    >>> from crnn.data.gathering import Gatherer
    >>> gather = Gatherer(Panel([[2.0, 4.0, 6.0]]), [2, 1], log_scale=False, age=False)
    >>> x, target, weights, lengths = gather([0, 0], [-1, 1], 3, [2.0, 1.0])
    >>> x.tolist(), lengths.tolist()
    ([[[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]], [[0.0, 2.0], [2.0, 4.0], [4.0, 6.0]]], [2, 3])
    >>> target.tolist(), weights.tolist()
    ([[2.0, 4.0, 0.0], [4.0, 6.0, 0.0]], [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    """

    def __init__(
        self,
        panel: Panel,
        lags: Sequence[int],
        *,
        features: Sequence[Array] | None = None,
        constants: ArrayLike | None = None,
        age: bool = True,
        log_scale: bool = True,
        indicators: bool = False,
        dtype: DTypeLike = "float32",
    ) -> None:
        self._panel, self._dtype = panel, check_dtype(dtype)
        self.lags = np.array([check_size("lags", lag) for lag in lags], np.int64)
        if self.lags.size and self.lags.max() > _FARTHEST:
            raise ValueError(f"lags: expected integers up to 2**52, got {self.lags.max()}")
        self._flags = (bool(age), bool(log_scale), bool(indicators))
        self._features, self._extents = _joined(features, panel)
        self._feature_firsts = np.cumsum(self._extents) - self._extents
        self._constants = None
        if constants is not None:
            self._constants = np.asarray(constants, np.float64)
            if self._constants.ndim != 2 or len(self._constants) != len(panel):
                raise ValueError(
                    f"constants: expected shape (n={len(panel)}, F'), got {self._constants.shape}"
                )
        sizes = [0 if a is None else a.shape[1] for a in (self._features, self._constants)]
        self.input_size = sum(sizes) + age + log_scale + len(self.lags) * (1 + indicators)

    def __call__(
        self, series: ArrayLike, begins: ArrayLike, steps: int, scales: ArrayLike
    ) -> Windows:
        """Return the windows of a batch.

        Parameters
        ----------
        series : array (B,) of integers
            Positions of series in the panel.
        begins : array (B,) of integers
            The step of its series with which each window begins; below 0 before the series.
        steps : int
            T.
        scales : array (B,)
            The scale of each window, above 0.

        Returns
        -------
        Windows

        Raises
        ------
        ValueError, TypeError
            A position that the panel has not, arrays of other shapes, a scale that is not positive,
            or a window that ends behind the features of its series.
        """
        rows = _positions(series, self._panel)
        steps = check_count("steps", steps, 52)
        starts = _places("begins", begins, rows)
        if self._features is not None:
            self._check_features(rows, starts, steps)
        places = np.stack(
            [
                self._panel.firsts[rows],
                self._panel.lengths[rows],
                starts,
                self._feature_firsts[rows],
                self._extents[rows],
            ]
        )
        constants = None if self._constants is None else self._constants[rows]
        return Windows(
            *_core.gather_windows(
                self._panel.numbers,
                places,
                np.asarray(scales, np.float64),
                self._features,
                constants,
                self.lags,
                steps,
                *self._flags,
                self._dtype,
            )
        )

    def _check_features(self, rows: Integers, begins: Integers, steps: int) -> None:
        ends = begins + steps
        short = (ends > 0) & (ends > self._extents[rows])
        if short.any():
            row = int(short.argmax())
            raise ValueError(
                f"features: series {self._panel.names[rows[row]]!r}: expected features of "
                f"{ends[row]} steps, got {self._extents[rows[row]]}"
            )


def _joined(features: Sequence[Array] | None, panel: Panel) -> tuple[Floats | None, Integers]:
    """Return the features of all series one after another, and how many steps each has."""
    if features is None:
        return None, np.zeros(len(panel), np.int64)
    if len(features) != len(panel):
        raise ValueError(f"features: expected n={len(panel)} arrays, got {len(features)}")
    store = np.concatenate([np.asarray(part, np.float64) for part in features])
    return store, np.array([len(part) for part in features], np.int64)


def _positions(series: ArrayLike, panel: Panel) -> Integers:
    """Return positions of series (B,), or raise."""
    array = as_array("series", series)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(f"series: expected integers of shape (B,), got {array.dtype}")
    if array.size and not (0 <= array.min() and array.max() < len(panel)):
        raise ValueError(
            f"series: expected integers from 0 to n-1={len(panel) - 1}, "
            f"got {array.min()} to {array.max()}"
        )
    return array.astype(np.int64)


def _places(name: str, places: ArrayLike, rows: Integers) -> Integers:
    """Return steps of series (B,), or raise."""
    array = as_array(name, places)
    if array.shape != rows.shape or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(
            f"{name}: expected integers of shape (B={len(rows)},), got {array.dtype} of shape "
            f"{array.shape}"
        )
    if array.size and not (-_FARTHEST <= array.min() and array.max() <= _FARTHEST):
        raise ValueError(f"{name}: expected integers from -2**52 to 2**52, got others")
    return array.astype(np.int64)


def step_features(
    panel: Panel,
    calendar_names: Sequence[str] = (),
    *,
    ahead: int = 0,
    scaler: Standardizer | None = None,
) -> list[Floats]:
    """Return the features of the steps of each series: its covariates, and the calendar.

    Parameters
    ----------
    panel : Panel
        n series.
    calendar_names : sequence of str, default ()
        Features of `crnn.data.calendar`, behind the covariates.
    ahead : int, default 0
        How many steps after the end of each series are included.
    scaler : Standardizer, optional
        Scaling of the covariates. None: they stay as they are.

    Returns
    -------
    list of n arrays (T_i + ahead, F) of float64

    Raises
    ------
    ValueError
        If covariates end too early, or a series has no time.

    Examples
    --------
    >>> import numpy as np
    >>> from crnn.data import Panel
    >>> from crnn.data.gathering import step_features
    >>> panel = Panel([[1.0, 2.0]], times=("2024-01", np.timedelta64(1, "M")))
    >>> step_features(panel, ["month"], ahead=1)[0].round(2).tolist()
    [[-0.5], [-0.41], [-0.32]]
    """
    check_known_ahead(panel, ahead)
    ends = panel.lengths + ahead
    columns: list[list[Any]] = [[] for _ in panel.names]
    if (known := panel.known) is not None:
        for parts, covariates, end in zip(columns, known, ends, strict=True):
            part = covariates[:end]
            parts.append(part if scaler is None or not len(part) else scaler.transform(part))
    if calendar_names:
        if panel.starts is None:
            raise ValueError("panel: expected one with times for features of the calendar")
        for parts, name, start, end in zip(columns, panel.names, panel.starts, ends, strict=True):
            if end and np.isnat(start):
                raise ValueError(f"times: series {name!r}: expected a start, got NaT")
            parts.append(calendar(start + np.arange(end) * panel.step, *calendar_names))
    return [
        np.concatenate(parts, axis=1) if parts else np.empty((end, 0))
        for parts, end in zip(columns, ends, strict=True)
    ]


class WindowScale:
    """Scale of a window: the size of the numbers in its conditioning range.

    The mean of |z| for "mean", and 1 + the mean of z for "count". Without a number in the range, it
    is that of the earlier steps of the series; without any, that of the training set, as for a
    series that begins. The scale of a window depends on no other series of the batch, and on no
    later number of its own series.

    Parameters
    ----------
    kind : {"mean", "count"} or None
        None: every scale is 1.
    typical : float, default 1.0
        The scale of a series without numbers.
    floor : float, default 1.0
        The least scale of the kind "mean"; a scale of 0 would divide by 0.

    Attributes
    ----------
    kind, typical, floor
        The arguments.

    Raises
    ------
    ValueError
        An unknown kind, or a number that is not positive.

    Notes
    -----
    The kind "mean" is that of GluonTS, "count" that of Salinas et al., "DeepAR" (2017).

    Examples
    --------
    >>> import numpy as np
    >>> from crnn.data import Panel
    >>> from crnn.data.gathering import WindowScale
    >>> panel = Panel([[2.0, np.nan, -4.0], []])
    >>> scale = WindowScale.fit(panel, "mean")
    >>> scale
    WindowScale(kind='mean', typical=3.0, floor=0.003)
    >>> scale(panel, [0, 0, 1], [0, 1, 0], [3, 2, 0])
    array([3., 2., 3.])
    """

    def __init__(self, kind: ScaleKind | None, typical: float = 1.0, floor: float = 1.0) -> None:
        self.kind: ScaleKind | None = (
            None if kind is None else check_choice("kind", kind, ("mean", "count"))
        )
        self.typical = check_real("typical", typical, np.finfo(float).tiny)
        self.floor = check_real("floor", floor, np.finfo(float).tiny)

    @classmethod
    def fit(cls, panel: Panel, kind: ScaleKind | None) -> WindowScale:
        """Return the scale with the constants of a training set.

        `typical` is computed from the mean of all numbers, `floor` is 1/1000 of the median of the
        scales of series, without those of 0. They do not depend on the order of the series.

        Parameters
        ----------
        panel : Panel
            The training set.
        kind : {"mean", "count"} or None
            As for the class.
        """
        if kind is None:
            return cls(None)
        sums, counts = _core.sum_ranges(
            panel.numbers, np.stack([panel.firsts, panel.firsts + panel.lengths]), kind == "mean"
        )
        _check_finite(sums, panel.names)
        mean = math.fsum(sums) / max(int(counts.sum()), 1)
        if kind == "count":
            return cls(kind, 1 + mean)
        sizes = sums[sums > 0] / counts[sums > 0]
        floor = _FLOOR * float(np.median(sizes)) if sizes.size else 1.0
        return cls(kind, max(mean, floor), floor)

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of a scale equal to this one, in types that JSON can store."""
        return {"kind": self.kind, "typical": self.typical, "floor": self.floor}

    def __call__(
        self, panel: Panel, series: ArrayLike, begins: ArrayLike, ends: ArrayLike
    ) -> Floats:
        """Return the scale of each window.

        Parameters
        ----------
        panel : Panel
            n series.
        series : array (B,) of integers
            Positions of series in the panel.
        begins, ends : array (B,) of integers
            The first step of each conditioning range, and the step after the last one. Steps that
            the series has not are left out.

        Returns
        -------
        array (B,) of float64

        Raises
        ------
        ValueError, TypeError
            A position that the panel has not, arrays of other shapes, or numbers too large to add.
        """
        rows = _positions(series, panel)
        lengths = panel.lengths[rows]
        last = np.clip(_places("ends", ends, rows), 0, lengths)
        first = np.clip(_places("begins", begins, rows), 0, last)
        if self.kind is None:
            return np.ones(len(rows))
        scales = np.full(len(rows), np.nan)
        for begin in (first, np.zeros_like(first)):
            left = np.flatnonzero(np.isnan(scales))
            if not left.size:
                break
            ranges = panel.firsts[rows[left]] + np.stack([begin[left], last[left]])
            sums, counts = _core.sum_ranges(panel.numbers, ranges, self.kind == "mean")
            _check_finite(sums, [panel.names[row] for row in rows[left]])
            some = counts > 0
            scales[left[some]] = sums[some] / counts[some] + (self.kind == "count")
        scales[np.isnan(scales)] = self.typical
        return np.maximum(scales, self.floor) if self.kind == "mean" else scales

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config.items())})"


def _check_finite(sums: Floats, names: Sequence[str]) -> None:
    """Raise if the sum of the numbers of a series is infinite."""
    if not np.isfinite(sums).all():
        name = names[int((~np.isfinite(sums)).argmax())]
        raise ValueError(f"series {name!r}: expected numbers whose sum is finite, got larger ones")
