"""Series that are computed: the Mackey-Glass equation, and the NARMA systems."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import get_args

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Floats
from crnn.common.checks import check_positive, check_product, check_seed, check_size
from crnn.common.choices import Integration

# Streams of the counter-based generator (crnn._core.random_uniform), independent of one another.
_HISTORY = int.from_bytes(b"mackey")
_INPUT = int.from_bytes(b"narma")

_DROPPED = 1000  # time units before the first value of a Mackey-Glass series
_LEVEL = 1.2  # value of its history
_MOST_TRIALS = 100  # sequences of inputs that are drawn for one NARMA series
_BOUND = 10.0  # a NARMA series above it grows without end


def mackey_glass(
    steps: int,
    *,
    tau: float = 17,
    method: Integration = "euler",
    dt: float = 0.1,
    seed: int | None = None,
) -> Floats:
    """Return a series of the Mackey-Glass equation, chaotic from a delay of about 17 on.

    ::

        dy/dt = 0.2 y(t-τ) / (1 + y(t-τ)^10) - 0.1 y(t)

    It is solved with the step `dt`. The first 1000 units of time are dropped, and of the others one
    value per unit is returned.

    Parameters
    ----------
    steps : int
        T, the number of values.
    tau : float, default 17
        The delay τ, a multiple of `dt`. 17 and 30 are usual; the second is harder to predict.
    method : {"euler", "rk4"}, default "euler"
        "euler": the steps y + dt dy/dt of Jaeger (2001), for comparisons with published results.
        "rk4": Runge-Kutta of order 4. The delayed value in the middle of a step is that of the
        cubic polynomial with the values and slopes at its ends, so that the error is of order 4,
        too. After 60 units the two methods differ by 0.7 % with dt = 0.1.
    dt : float, default 0.1
        The step of the solver: 1 divided by an integer.
    seed : int, optional
        Seed of the values for t <= 0, uniform from 1.1 to 1.3 and independent at multiples of `dt`.
        None: they are all 1.2.

    Returns
    -------
    float64 array (T,)
        For τ = 17 between about 0.4 and 1.4. Networks with tanh are usually trained with
        ``np.tanh(y - 1)``; ``np.arctanh(z) + 1`` is the inverse. The same arguments give the same
        bits on every machine.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or `tau` and 1 are not multiples of `dt`.

    Notes
    -----
    Mackey and Glass, "Oscillation and chaos in physiological control systems" (1977); Jaeger, "The
    echo state approach to analysing and training recurrent neural networks" (2001).

    Examples
    --------
    >>> import crnn
    >>> y = crnn.data.mackey_glass(2000)
    >>> y.shape, float(y.min().round(2)), float(y.max().round(2))
    ((2000,), 0.41, 1.32)
    >>> float(crnn.data.mackey_glass(2000, tau=30, method="rk4", seed=0).max().round(2))
    1.38
    """
    count = check_size("steps", steps)
    check_product("steps", count)
    if not isinstance(method, str) or method not in get_args(Integration):
        names = " or ".join(map(repr, get_args(Integration)))
        raise ValueError(f"method: expected {names}, got {method!r:.60}")
    per_unit, delay = _grid(tau, dt)
    history = [_LEVEL] * (delay + 1)
    if seed is not None:
        draws = _core.random_uniform(check_seed(seed), _HISTORY, 0, delay + 1)
        history = (_LEVEL + 0.2 * (draws - 0.5)).tolist()
    solve = _euler if method == "euler" else _runge_kutta
    return _sampled(solve(history, 1 / per_unit), per_unit, _DROPPED, count)


def _grid(tau: float, dt: float) -> tuple[int, int]:
    """Return the steps of the solver in a unit of time and in the delay, or raise."""
    per_unit = round(1 / max(check_positive("dt", dt), 1e-15))
    if per_unit < 1 or abs(per_unit * dt - 1) > 1e-9:
        raise ValueError(f"dt: expected 1 divided by an integer, such as 0.1, got {dt!r}")
    delay = round(check_positive("tau", tau) * per_unit)
    check_product("tau / dt", delay)
    if delay < 1 or abs(delay - tau * per_unit) > 1e-9 * delay:
        raise ValueError(f"tau: expected a multiple of dt={dt!r}, got {tau!r}")
    return per_unit, delay


def _sampled(values: Iterator[float], per_unit: int, dropped: int, count: int) -> Floats:
    """Return every `per_unit`-th value after the first `dropped` units of time."""
    series = np.empty(count)
    for _ in range(dropped * per_unit):
        next(values)
    for i in range(count):
        for _ in range(per_unit):
            series[i] = next(values)
    return series


def _production(delayed: float) -> float:
    """Return 0.2 y / (1 + y^10), with products for the power: every machine rounds them alike."""
    square = delayed * delayed
    fourth = square * square
    return 0.2 * delayed / (1.0 + fourth * fourth * square)


def _euler(history: list[float], dt: float) -> Iterator[float]:
    """Yield the values after the last one of the history (delay + 1,), by Euler's method."""
    ring, y, place = history[:-1], history[-1], 0
    while True:
        delayed, ring[place] = ring[place], y
        y += dt * (_production(delayed) - 0.1 * y)
        place = (place + 1) % len(ring)
        yield y


def _runge_kutta(history: list[float], dt: float) -> Iterator[float]:
    """Yield the values after the last one of the history (delay + 1,), by Runge and Kutta.

    The history is linear between its values. The delay is a multiple of the step, so that the
    solution is smooth within each step.
    """
    values, y = history[:-1], history[-1]  # at the places of the last `delay` steps
    slopes: list[float | None] = [None] * len(values)  # None in the history
    place, delayed = 0, values[0]
    while True:
        following = (place + 1) % len(values)
        slope = _production(delayed) - 0.1 * y
        first, first_slope = delayed, slopes[place]
        values[place], slopes[place] = y, slope
        ahead = values[following]  # of a delay of one step: y itself
        middle = 0.5 * (first + ahead)
        if first_slope is not None:
            ahead_slope = slopes[following]
            assert ahead_slope is not None
            middle += 0.125 * dt * (first_slope - ahead_slope)
        b, c = _production(middle), _production(ahead)
        k2 = b - 0.1 * (y + 0.5 * dt * slope)
        k3 = b - 0.1 * (y + 0.5 * dt * k2)
        k4 = c - 0.1 * (y + dt * k3)
        y += dt / 6.0 * (slope + 2.0 * k2 + 2.0 * k3 + k4)
        place, delayed = following, ahead
        yield y


def narma(steps: int, *, order: int = 10, seed: int | None = None) -> tuple[Floats, Floats]:
    """Return inputs and targets of a NARMA system: nonlinear, with a memory of `order` inputs.

    ::

        y[t] = a y[t-1] + b y[t-1] (y[t-1] + ... + y[t-n]) + 1.5 u[t-n+1] u[t] + c

    u is uniform from 0 to 0.5; y and u are 0 before step 0. The coefficients (a, b, c) are (0.3,
    0.05, 0.1) up to n = 10 and (0.2, 0.04, 0.001) above, those of the usual systems of the orders
    10 and 30. A network reads u[t] and predicts y[t].

    Parameters
    ----------
    steps : int
        T, the number of steps. The first 5 * `order` or so depend on the start at 0.
    order : int, default 10
        n, the number of inputs and of values that y depends on.
    seed : int, optional
        Seed of the inputs. None: a fresh one.

    Returns
    -------
    u, y : float64 arrays (T,)
        The inputs and the targets. The same arguments give the same bits on every machine.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range; or if 100 sequences of inputs all made y grow without end,
        as they do for orders of about 40 and more.

    Notes
    -----
    Atiya and Parlos, "New results on recurrent network training" (2000). The system is not stable:
    some inputs make y grow without end, at order 10 about once in 400,000 steps (Kubota, Nakajima
    and Takahashi, "Dynamical anatomy of NARMA10 benchmark task", arXiv:1906.04608, 2019). As is
    usual, such inputs are replaced: the whole sequence is drawn again with other numbers of the
    same seed, until y stays below 10. A long series is therefore often drawn several times.

    Examples
    --------
    >>> import crnn
    >>> u, y = crnn.data.narma(2000, seed=0)
    >>> u.shape, y.shape, bool(0 < y[10:].min() < y.max() < 1.2)
    ((2000,), (2000,), True)
    """
    count, n = check_size("steps", steps), check_size("order", order)
    check_product("steps", count)
    check_product("order", n)
    number = check_seed(seed)
    for trial in range(_MOST_TRIALS):
        u = 0.5 * _core.random_uniform(number, _INPUT, trial * count, count)
        y = _narma_of(u, n)
        if y is not None:
            return u, y
    raise ValueError(
        f"order: expected a system that stays bounded for {count} steps, got order {n}, of which "
        f"{_MOST_TRIALS} series grew without end; shorter series may not"
    )


def _narma_of(u: Floats, n: int) -> Floats | None:
    """Return the values of the system of order n for inputs (T,); None if one is too large."""
    a, b, c = (0.3, 0.05, 0.1) if n <= 10 else (0.2, 0.04, 0.001)
    window, y = [0.0] * min(n, len(u)), 0.0  # the last n values of y, in a ring
    inputs, series = u.tolist(), np.empty(len(u))
    for t, now in enumerate(inputs):
        earlier = inputs[t - n + 1] if t >= n - 1 else 0.0
        y = a * y + b * y * math.fsum(window) + 1.5 * earlier * now + c
        if not y <= _BOUND:
            return None
        window[t % len(window)] = series[t] = y
    return series
