"""Checks of notebook 7: time series."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.exercises import Wrong, answer_of, check_close, exercise


@exercise(1)
def scaled(function: Callable[..., Any]) -> str:
    """Check a series that is scaled with the mean and deviation of its training part."""
    rng = np.random.default_rng(3)
    for n_train in (12, 40):
        series = np.concatenate([rng.normal(20, 5, n_train), rng.normal(90, 30, 25)])
        original = series.copy()
        answer = np.asarray(answer_of(function, series, n_train))
        if not np.array_equal(series, original):
            raise Wrong("your function changes the series; it must return a new array")
        if answer.shape == (n_train,):
            raise Wrong("this is the training part only; scale the later values, too")
        if answer.shape != series.shape:
            raise Wrong(f"expected shape (N,) = {series.shape}, got {answer.shape}")
        part = series[:n_train]
        mistakes = {
            "the mean and the deviation are computed from all values, also from the later ones": (
                (series - series.mean()) / series.std()
            ),
            "the mean is right, but the deviation is computed from all values": (
                (series - part.mean()) / series.std()
            ),
            "the later values are scaled with their own mean and deviation: this hides from a "
            "network that they are larger": np.concatenate(
                [(piece - piece.mean()) / piece.std() for piece in (part, series[n_train:])]
            ),
            "you divide by the variance; divide by the standard deviation": (series - part.mean())
            / part.var(),
            "the variance is computed with n_train - 1; divide by n_train": (series - part.mean())
            / part.std(ddof=1),
        }
        for message, wrong in mistakes.items():
            if np.allclose(answer, wrong):
                raise Wrong(message)
        check_close("the scaled series", answer, (series - part.mean()) / part.std())
    return (
        "the scaled later values are far from 0. This is correct, because they differ from the "
        "values of the training part. If you scale with all values you hide this difference, and "
        "the training data contain information about the future."
    )


@exercise(2)
def cycle_ago(function: Callable[..., Any]) -> str:
    """Check predictions from the latest known value at the same place in a cycle."""
    rng = np.random.default_rng(4)
    for period in (11, 4):
        series = rng.normal(size=60)
        for n in (40, 30):
            for h in (1, 2, period - 1, period, period + 1, 2 * period, 2 * period + 3):
                masked = series.copy()
                masked[n:] = np.nan  # an answer that reads a later value is NaN
                answer = answer_of(function, masked, n, h, period)
                case = f"h={h}, period={period}"
                if np.ndim(answer) != 0:
                    raise Wrong(f"{case}: expected one number, got shape {np.shape(answer)}")
                _check_cycle(case, series, n, h, period, float(answer))
    return (
        "the prediction for h years ahead is the value ceil(h / period) cycles before. For h above "
        "the period, the simple formula (one period before) reads years that are not known yet. "
        "Its measured error is too small, because it uses the future."
    )


def _check_cycle(case: str, series: np.ndarray, n: int, h: int, period: int, answer: float) -> None:
    """Raise `Wrong` unless the answer is the latest known value of the same place in a cycle."""
    place = n + h - 1
    right = place
    while right >= n:
        right -= period
    if answer == series[right]:
        return
    if np.isnan(answer):
        raise Wrong(f"{case}: your function reads a value of series[n:], which is not known yet")
    places = np.flatnonzero(series[:n] == answer)
    if not places.size:
        raise Wrong(f"{case}: the prediction is not one of the known values")
    back = place - int(places[0])
    if back % period:
        raise Wrong(
            f"{case}: the value is that of {back} years before the year to predict, and {back} is "
            f"not a multiple of {period}"
        )
    raise Wrong(
        f"{case}: the value is that of {back // period} cycles before the year to predict; a later "
        "value is known"
    )


@exercise(3)
def decompose(function: Callable[..., Any]) -> str:
    """Check the error of the mean, the mean error and the spread of an ensemble."""
    rng = np.random.default_rng(5)
    for M, T in ((3, 20), (7, 5)):
        true = rng.normal(size=T)
        members = true + rng.normal(1, 0.5, (M, T)) + rng.normal(size=T)
        answer = answer_of(function, members.copy(), true.copy())
        if np.shape(answer) != (3,):
            raise Wrong(f"expected three numbers, got a value of shape {np.shape(answer)}")
        of_mean, mean_error, spread = (float(number) for number in answer)
        middle = members.mean(axis=0)
        right = np.mean((middle - true) ** 2)
        _explain_spread(members, spread)
        if np.isclose(of_mean, np.mean(middle - true) ** 2):
            raise Wrong("number 1: square the errors first, then take the mean over the years")
        if np.isclose(of_mean, np.mean((members - true) ** 2)):
            raise Wrong("number 1: this is the error of the members; average the members first")
        check_close("number 1, the error of the mean", of_mean, right)
        error = np.mean((members - true) ** 2)
        check_close("number 2, the mean error of the members", mean_error, error)
        check_close("number 3, the spread", spread, np.mean((members - middle) ** 2))
        assert np.isclose(of_mean, mean_error - spread)
    return (
        "number 1 is number 2 minus number 3, for any members. A variance is never negative, so "
        "the error of the mean is at most the mean error of the members. The more the members "
        "differ, the larger this advantage is."
    )


def _explain_spread(members: np.ndarray, spread: float) -> None:
    """Raise `Wrong` with an explanation if the spread shows a common mistake."""
    if np.isclose(spread, members.var(axis=0, ddof=1).mean()):
        raise Wrong("number 3: the variance is computed with M - 1; divide by M")
    if np.isclose(spread, members.var(axis=1).mean()):
        raise Wrong("number 3: this is the variance over the years; compute it over the members")
    if np.isclose(spread, members.std(axis=0).mean()):
        raise Wrong("number 3: this is the standard deviation; the variance is its square")
