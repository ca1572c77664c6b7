"""Inputs of forecasts: how windows of a panel become what a network reads.

Letters: n series, F covariates, F' static numbers, C categories, H steps of the horizon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from crnn.common.arrays import Array
from crnn.common.checks import check_flag
from crnn.data import Panel, Vocabulary
from crnn.data.gathering import Gatherer, ScaleKind, WindowScale, step_features
from crnn.data.panel_checks import check_known_ahead, check_magnitudes, check_same_columns
from crnn.data.scaling import Standardizer
from crnn.data.times import duration
from crnn.models.deepar_checks import check_calendar, check_small_size, check_texts
from crnn.storage import archive

_CYCLES = 3  # seasons back of which lags are read
_RECENT = 7  # lags 1 ... 7
_DAY = np.timedelta64(1, "D")


def default_lags(period: int | None, longest: int) -> tuple[int, ...]:
    """Return the lags of a period: the last 7 steps, and the steps around 1, 2 and 3 periods ago.

    Lags of 2 and 3 periods are left out if they are longer than half of the longest series: they
    have no number at most steps of the training data.

    Parameters
    ----------
    period : int or None
        Steps of a season. None: the last steps alone.
    longest : int
        The length of the longest series: longer lags never have a number.

    Returns
    -------
    tuple of int
        In descending order.

    Examples
    --------
    >>> from crnn.models.deepar_inputs import default_lags
    >>> default_lags(12, 30)
    (13, 12, 11, 7, 6, 5, 4, 3, 2, 1)
    >>> default_lags(12, 72)
    (25, 24, 23, 13, 12, 11, 7, 6, 5, 4, 3, 2, 1)
    """
    lags = set(range(1, _RECENT + 1))
    if period is not None:
        cycles = [k for k in range(1, _CYCLES + 1) if k == 1 or k * period < longest // 2]
        lags |= {k * period + around for k in cycles for around in (-1, 0, 1)}
    return tuple(sorted((lag for lag in lags if 1 <= lag < max(longest, 2)), reverse=True))


def calendar_names(step: np.timedelta64 | None) -> tuple[str, ...]:
    """Return the features of `crnn.data.calendar` that differ between steps of this length.

    Parameters
    ----------
    step : timedelta64 or None
        Time between two steps. None: steps have no times.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> import numpy as np
    >>> from crnn.models.deepar_inputs import calendar_names
    >>> calendar_names(np.timedelta64(1, "D")), calendar_names(np.timedelta64(1, "M"))
    (('weekday', 'monthday', 'yearday'), ('month',))
    """
    if step is None:
        return ()
    unit, _ = np.datetime_data(step.dtype)
    if unit in ("Y", "M"):
        months = int(step.astype(np.int64)) * np.datetime_data(step.dtype)[1]
        return ("month",) if unit == "M" and months % 12 else ()
    names = ("hour",) if step % _DAY else ()
    weekday = ("weekday",) if step % (7 * _DAY) else ()
    return (*names, *weekday, "monthday", "yearday")


class PanelInputs:
    """Inputs of forecasts: which there are, in which units, and how they are read from panels.

    Parameters
    ----------
    context : int
        Steps before a forecast that the network reads.
    horizon : int
        H, the steps of a forecast in training.
    period : int or None
        Steps of a season.
    lags : sequence of int
        Earlier steps whose numbers are inputs of a step.
    indicators : bool
        Whether there is an input for each lag that tells whether its number is there.
    scale : WindowScale
        Scale of the numbers of a window.
    age : bool, default False
        Whether log10(2 + t), t being the steps since the series began, is an input.
    calendar : sequence of str, default ()
        Features of the calendar.
    step : str, optional
        Time between two steps, in words, if there is a calendar.
    columns : mapping
        Names of the columns "known", "static" and "categories" of the training data.
    known, static : Standardizer, optional
        Scaling of covariates, and of static numbers. None: there are none.
    vocabularies : sequence of C Vocabulary, default ()
        Categories.

    Raises
    ------
    ValueError, TypeError
        A size below 1, or a lag below 1.

    See Also
    --------
    fit : make the inputs from training data.
    """

    def __init__(
        self,
        *,
        context: int,
        horizon: int,
        period: int | None,
        lags: Sequence[int],
        indicators: bool,
        scale: WindowScale,
        columns: Mapping[str, Sequence[str]],
        age: bool = False,
        calendar: Sequence[str] = (),
        step: str | None = None,
        known: Standardizer | None = None,
        static: Standardizer | None = None,
        vocabularies: Sequence[Vocabulary] = (),
    ) -> None:
        self.context = check_small_size("context", context)
        self.horizon = check_small_size("horizon", horizon)
        self.period = None if period is None else check_small_size("period", period)
        self.lags = _check_lags(lags)
        self.indicators, self.scale = check_flag("indicators", indicators), scale
        self.age = check_flag("age", age)
        self.columns = {
            role: check_texts(f"columns: {role}", columns[role])
            for role in ("known", "static", "categories")
        }
        self.calendar, self.step = check_calendar(calendar, step), step
        self._known, self._static = known, static
        self.vocabularies = tuple(vocabularies)
        for name, fitted in (
            ("known", _width(known)),
            ("static", _width(static)),
            ("categories", len(self.vocabularies)),
        ):
            if fitted != (count := len(self.columns[name])):
                raise ValueError(
                    f"{name}: expected scales or categories of {count} columns, got {fitted}"
                )

    @classmethod
    def fit(
        cls,
        panel: Panel,
        horizon: int,
        *,
        context: int | None,
        period: int | None,
        lags: Sequence[int] | None,
        scale: ScaleKind | None,
        age: bool = False,
    ) -> Self:
        """Return the inputs for a panel of training data, from whose numbers units are computed.

        Parameters
        ----------
        panel : Panel
            The training data.
        horizon, period
            As for the class.
        context : int, optional
            As for the class. None: the horizon.
        lags : sequence of int, optional
            As for the class. None: `default_lags`.
        scale : {"mean", "count"} or None
            Kind of the scale.
        age : bool, default False
            As for the class.
        """
        horizon = check_small_size("horizon", horizon)
        check_magnitudes(panel)
        calendar = () if panel.starts is None else calendar_names(panel.step)
        if lags is None:
            period = None if period is None else check_small_size("period", period)
            lags = default_lags(period, int(panel.lengths.max()))
        known, static = panel.known_numbers, panel.static
        return cls(
            context=horizon if context is None else context,
            horizon=horizon,
            period=period,
            lags=lags,
            indicators=any(bool(np.isnan(series).any()) for series in panel.series),
            scale=WindowScale.fit(panel, scale),
            age=age,
            columns=panel.columns,
            calendar=calendar,
            step=duration(panel.step) if calendar else None,
            known=None if known is None else _fitted(known),
            static=None if static is None else _fitted(static),
            vocabularies=panel.vocabularies(),
        )

    @property
    def vector_sizes(self) -> list[tuple[int, int]]:
        """K and the size of the vector of each of the C categories."""
        return [(len(one), min(50, (len(one) + 1) // 2)) for one in self.vocabularies]

    @property
    def input_size(self) -> int:
        """I, the number of inputs of a step without the vectors of categories."""
        fixed = len(self.columns["known"]) + len(self.calendar) + len(self.columns["static"])
        return fixed + self.age + 1 + len(self.lags) * (1 + self.indicators)

    def check(self, panel: Panel, ahead: int) -> None:
        """Raise unless a panel has all that forecasts of it read.

        Parameters
        ----------
        panel : Panel
        ahead : int
            How many steps after the end of each series are read.

        Raises
        ------
        TypeError, ValueError
            It is no panel, has other columns than the training data or other times between steps,
            or its covariates end too early.
        """
        if not isinstance(panel, Panel):
            raise TypeError(f"panel: expected a crnn.data.Panel, got {type(panel).__name__}")
        check_same_columns(panel, self.columns)
        if self.calendar and (panel.step is None or duration(panel.step) != self.step):
            step = "no times" if panel.step is None else f"steps of {duration(panel.step)}"
            raise ValueError(f"panel: expected times with steps of {self.step}, got {step}")
        check_magnitudes(panel)
        check_known_ahead(panel, ahead)

    def gatherer(self, panel: Panel, ahead: int = 0, least: int = 0) -> Gatherer:
        """Return what gathers windows of a panel.

        Parameters
        ----------
        panel : Panel
            A panel that passes `check`.
        ahead : int, default 0
            How many steps after the end of each series windows may have.
        least : int, default 0
            How many steps windows of shorter series may have: their features are 0 behind the end.

        Returns
        -------
        Gatherer
        """
        features = step_features(panel, self.calendar, ahead=ahead, scaler=self._known)
        features = [
            np.pad(part, ((0, max(least - len(part), 0)), (0, 0))) if len(part) < least else part
            for part in features
        ]
        static = panel.static
        if static is not None and self._static is not None:
            static = self._static.transform(static)
        return Gatherer(
            panel,
            self.lags,
            features=features,
            constants=static,
            age=self.age,
            indicators=self.indicators,
        )

    def categories(self, panel: Panel) -> Array | None:
        """Return the categories (n, C) of a panel as numbers, or None if there are none.

        Parameters
        ----------
        panel : Panel

        Returns
        -------
        array (n, C) of int64, or None

        Raises
        ------
        ValueError
            A category that is not in the training data.
        """
        return panel.category_numbers(self.vocabularies) if self.vocabularies else None

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of inputs equal to these, in types that JSON can store."""
        return {
            "context": self.context,
            "horizon": self.horizon,
            "period": self.period,
            "lags": list(self.lags),
            "indicators": self.indicators,
            "scale": self.scale.config,
            "age": self.age,
            "columns": {role: list(titles) for role, titles in self.columns.items()},
            "calendar": list(self.calendar),
            "step": self.step,
            "known": None if self._known is None else self._known.to_dict(),
            "static": None if self._static is None else self._static.to_dict(),
            "vocabularies": [one.config for one in self.vocabularies],
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the inputs that `config` describes.

        Parameters
        ----------
        config : mapping
            The value of `config`.

        Returns
        -------
        PanelInputs
        """
        names = ("context", "horizon", "period", "lags", "indicators", "columns", "age")
        simple = dict(zip(names, archive.entries(config, *names), strict=True))
        scale, known, static, vocabularies, calendar, step = archive.entries(
            config, "scale", "known", "static", "vocabularies", "calendar", "step"
        )
        return cls(
            **simple,
            calendar=calendar,
            step=step,
            scale=WindowScale(**scale),
            known=None if known is None else Standardizer.from_dict(known),
            static=None if static is None else Standardizer.from_dict(static),
            vocabularies=[Vocabulary.from_config(one) for one in vocabularies],
        )

    def __repr__(self) -> str:
        period = "no period" if self.period is None else f"period {self.period}"
        lags = ", ".join(map(str, reversed(self.lags))) or "none"
        calendar = "".join(f", {name}" for name in (*self.calendar, *["age"] * self.age))
        return (
            f"<{type(self).__name__}: context {self.context}, horizon {self.horizon}, {period}, "
            f"lags {lags}{calendar}>"
        )


def _width(scaler: Standardizer | None) -> int:
    """Return how many columns a scaling has; 0 without one."""
    return 0 if scaler is None or scaler.mean_ is None else len(scaler.mean_)


def _check_lags(lags: Any) -> tuple[int, ...]:
    """Return distinct lags in descending order, or raise."""
    if isinstance(lags, str) or not hasattr(lags, "__iter__"):
        raise TypeError(f"lags: expected a sequence of integers, got {lags!r:.60}")
    return tuple(sorted({check_small_size("lags", lag) for lag in lags}, reverse=True))


def _fitted(numbers: Array) -> Standardizer:
    """Return the scaling of covariates; of none, if there are no numbers."""
    scaler = Standardizer()
    return scaler.fit(numbers if len(numbers) else np.zeros((1, numbers.shape[1])))
