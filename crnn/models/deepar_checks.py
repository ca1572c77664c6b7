"""Checks of the arguments of forecasting models: sizes, and what a file says of the inputs."""

from collections.abc import Sequence
from typing import Any

from crnn.common.checks import check_size
from crnn.data import Panel
from crnn.data.times import CALENDAR

_MOST = 2**31 - 1
_NUMBERS = 2**60  # of all samples


def check_small_size(name: str, value: int) -> int:
    """Return an integer from 1 to 2**31 - 1, or raise.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    value : int

    Returns
    -------
    int
    """
    if check_size(name, value) > _MOST:
        raise ValueError(f"{name}: expected an integer from 1 to 2**31 - 1, got {value!r}")
    return int(value)


def check_samples(samples: int, series: int, steps: int) -> None:
    """Raise if an array of all samples would be too large.

    Parameters
    ----------
    samples, series, steps : int
        S, n and H.
    """
    if samples * series * steps > _NUMBERS:
        raise ValueError(
            f"samples: expected n S H of at most 2**60 numbers, got {series} x {samples} x {steps}"
        )


def check_windows(name: str, windows: int, stride: int, panel: Panel, horizon: int) -> None:
    """Raise if there are more windows at the end than the longest series has.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    windows, stride : int
        How many windows, and the steps between two of them.
    panel : Panel
    horizon : int
        H, the steps of a window.
    """
    longest = int(panel.lengths.max())
    if windows > 1 and longest < horizon:
        raise ValueError(
            f"{name}: expected a series of {horizon} steps, as windows have, got at most {longest}"
        )
    if windows > 1 and horizon + (windows - 1) * stride > longest:
        most = (longest - horizon) // stride + 1
        raise ValueError(
            f"{name}: expected at most {most}, as the longest series has {longest} steps, and "
            f"windows have {horizon}, got {windows}"
        )


def check_texts(name: str, texts: Any) -> tuple[str, ...]:
    """Return distinct strings as a tuple, or raise.

    Parameters
    ----------
    name : str
        Name of the argument, for the message.
    texts : list or tuple of str

    Returns
    -------
    tuple of str
    """
    valid = isinstance(texts, list | tuple) and all(isinstance(text, str) for text in texts)
    if not valid or len(set(texts)) < len(texts):
        raise ValueError(f"{name}: expected distinct strings, got {texts!r:.60}")
    return tuple(texts)


def check_calendar(names: Sequence[str], step: str | None) -> tuple[str, ...]:
    """Return features of the calendar as a tuple, or raise.

    Parameters
    ----------
    names : sequence of str
        Features of `crnn.data.calendar`.
    step : str or None
        Time between two steps, in words; None where there are no features.

    Returns
    -------
    tuple of str
    """
    features = check_texts("calendar", names)
    if not set(features) <= set(CALENDAR):
        raise ValueError(f"calendar: expected some of {', '.join(CALENDAR)}, got {names!r:.60}")
    if not isinstance(step, str if features else str | None):
        raise ValueError(f"step: expected a string with a calendar, got {step!r:.60}")
    return features
