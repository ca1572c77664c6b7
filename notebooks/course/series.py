"""Checks for notebook 7, time series."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.exercises import Wrong, answer_of, check_close, exercise


@exercise(1)
def scaled(answer: Callable[..., Any]) -> str:
    rng = np.random.default_rng(3)
    for n_train in (12, 40):
        series = np.concatenate([rng.normal(20, 5, n_train), rng.normal(90, 30, 25)])
        kept = series.copy()
        found = np.asarray(answer_of(answer, series, n_train))
        if not np.array_equal(series, kept):
            raise Wrong("the series that was given has been changed: return a new array")
        if found.shape == (n_train,):
            raise Wrong("only the training part came back: the later values are scaled too")
        if found.shape != series.shape:
            raise Wrong(f"expected shape (N,) = {series.shape}, got {found.shape}")
        part = series[:n_train]
        usual = {
            "mean and deviation come from all values, the later ones among them": (
                (series - series.mean()) / series.std()
            ),
            "the mean is right, but the deviation comes from all values": (
                (series - part.mean()) / series.std()
            ),
            "the later values have a mean and a deviation of their own: a network that reads "
            "them would not know that they have grown": np.concatenate(
                [(piece - piece.mean()) / piece.std() for piece in (part, series[n_train:])]
            ),
            "it is divided by the variance": (series - part.mean()) / part.var(),
            "the variance is divided by n_train - 1": (series - part.mean()) / part.std(ddof=1),
        }
        for why, wrong in usual.items():
            if np.allclose(found, wrong):
                raise Wrong(why)
        check_close("the scaled series", found, (series - part.mean()) / part.std())
    return (
        "the later values come out far from 0, and that is the truth: they are unlike what was "
        "known. Whoever scales with all values hides it, and tells the model of the future."
    )


@exercise(2)
def cycle_ago(answer: Callable[..., Any]) -> str:
    rng = np.random.default_rng(4)
    for period in (11, 4):
        series = rng.normal(size=60)
        for n in (40, 30):
            for h in (1, 2, period - 1, period, period + 1, 2 * period, 2 * period + 3):
                masked = series.copy()
                masked[n:] = np.nan  # a look at the future gives NaN
                found = answer_of(answer, masked, n, h, period)
                case = f"h={h}, period={period}"
                if np.ndim(found) != 0:
                    raise Wrong(f"{case}: expected one number, got shape {np.shape(found)}")
                _judge_cycle(case, series, n, h, period, float(found))
    return (
        "a value that is h years ahead is looked up ceil(h / period) cycles back. Beyond the first "
        "cycle the easy formula, one period back, reads years that are not known yet, and would "
        "look like a wonderful forecast."
    )


def _judge_cycle(case: str, series: np.ndarray, n: int, h: int, period: int, found: float) -> None:
    place = n + h - 1
    right = place
    while right >= n:
        right -= period
    if found == series[right]:
        return
    if np.isnan(found):
        raise Wrong(
            f"{case}: the value at a place from n on was read, which is not known at the origin"
        )
    where = np.flatnonzero(series[:n] == found)
    if not where.size:
        raise Wrong(f"{case}: the prediction is none of the known values")
    back = place - int(where[0])
    if back % period:
        raise Wrong(
            f"{case}: the value comes from {back} years before the year to be predicted, which is "
            f"no multiple of {period}"
        )
    raise Wrong(
        f"{case}: the value comes from {back // period} cycles before, and there is a later one "
        "that is known as well"
    )


@exercise(3)
def decompose(answer: Callable[..., Any]) -> str:
    rng = np.random.default_rng(5)
    for M, T in ((3, 20), (7, 5)):
        true = rng.normal(size=T)
        members = true + rng.normal(1, 0.5, (M, T)) + rng.normal(size=T)
        given = answer_of(answer, members.copy(), true.copy())
        if np.shape(given) != (3,):
            raise Wrong(f"expected three numbers, got something of shape {np.shape(given)}")
        of_mean, mean_error, spread = (float(number) for number in given)
        middle = members.mean(axis=0)
        right = np.mean((middle - true) ** 2)
        _name_spread(members, spread)
        if np.isclose(of_mean, np.mean(middle - true) ** 2):
            raise Wrong("1: the mean over the years must be taken after squaring, not before")
        if np.isclose(of_mean, np.mean((members - true) ** 2)):
            raise Wrong("1: that is the error of the members; average them first")
        check_close("1, the error of the mean", of_mean, right)
        check_close("2, the mean error of the members", mean_error, np.mean((members - true) ** 2))
        check_close("3, the spread", spread, np.mean((members - middle) ** 2))
        assert np.isclose(of_mean, mean_error - spread)
    return (
        "the first is the second minus the third, exactly, whatever the members are. A variance is "
        "never negative: so the mean is at least as good as a member on average, and the better, "
        "the more they disagree. That is why members should differ."
    )


def _name_spread(members: np.ndarray, spread: float) -> None:
    """Recognise what the third number was taken for."""
    if np.isclose(spread, members.var(axis=0, ddof=1).mean()):
        raise Wrong("3: the variance is divided by M - 1; it is of these members, so by M")
    if np.isclose(spread, members.var(axis=1).mean()):
        raise Wrong("3: that is how a member varies from year to year; the members in one year")
    if np.isclose(spread, members.std(axis=0).mean()):
        raise Wrong("3: that is the standard deviation; the variance is its square")
