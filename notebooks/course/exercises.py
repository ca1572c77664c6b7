"""Exercises: run the check of an answer and print the result; helpers to write checks."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Unanswered(Exception):
    """The answer is None or ``...``: the student has not written it yet."""


class Wrong(Exception):
    """The answer is wrong; the message says how it differs from the expected one."""


class _Raised(Exception):
    """A function that is an answer raised an exception; the message describes it."""


def exercise(number: int) -> Callable[[Callable[..., str]], Callable[..., None]]:
    """Return a decorator that turns a function into the check of an exercise.

    The function takes the answers. It returns a comment on a right answer, or raises `Wrong` or
    `Unanswered`. The check prints one line: ``Exercise 1 is right: ...``, ``Exercise 1 is not right
    yet: ...`` or ``Exercise 1: not answered yet.`` An answer of None or ``...`` is not answered. If
    the student's code raises an exception, the answer is wrong. If the function raises another
    exception while it checks a returned value, the answer is wrong, too, but the line does not say
    that the student's code raised it.
    """

    def decorate(function: Callable[..., str]) -> Callable[..., None]:
        @functools.wraps(function)
        def check(*answers: Any) -> None:
            try:
                for answer in answers:
                    _answered(answer)
                print(f"Exercise {number} is right: {function(*answers)}")
            except Unanswered:
                print(f"Exercise {number}: not answered yet.")
            except Wrong as error:
                print(f"Exercise {number} is not right yet: {error}")
            except _Raised as error:
                print(f"Exercise {number} is not right yet: your code raised {error}")
            except Exception as error:
                print(
                    f"Exercise {number} is not right yet: your answer does not have the form that "
                    f"the exercise requires (the check raised {type(error).__name__}: {error})"
                )

        return check

    return decorate


def _answered(answer: Any) -> Any:
    """Return the answer; raise `Unanswered` for None or ``...``."""
    if answer is None or answer is Ellipsis:
        raise Unanswered
    return answer


def answer_of(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a function that is an answer; raise `Unanswered` if it returns None or ``...``."""
    if not callable(function):
        raise Wrong(f"expected a function, got {function!r:.60}")
    try:
        value = function(*arguments, **options)
    except (Unanswered, Wrong):  # raised by an argument of the check, which the answer called
        raise
    except Exception as error:
        raise _Raised(f"{type(error).__name__}: {error}") from error
    return _answered(value)


def array_of(name: str, value: Any) -> NDArray[Any]:
    """Return the numbers of an answer as an array; raise `Wrong` if they do not form one array."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # a list of parts with different shapes
        array = np.array(None)
    if array.dtype == object:
        parts = f" of {len(value)} parts" if isinstance(value, list | tuple) else ""
        raise Wrong(f"{name}: expected one array of numbers, got a {type(value).__name__}{parts}")
    return array


def number_of(name: str, value: Any) -> float:
    """Return an answer that is one number; raise `Wrong` for anything else."""
    array = array_of(name, value)
    if array.shape != ():
        raise Wrong(f"{name}: expected one number, got an array of shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise Wrong(f"{name}: expected a number, got {array.dtype}")
    return float(array)


def check_close(name: str, value: ArrayLike, expected: ArrayLike, tolerance: float = 1e-9) -> None:
    """Raise `Wrong` unless an answer has the expected shape and nearly the expected numbers.

    The largest difference may be `tolerance` times the largest magnitude in `expected`.
    """
    array, right = array_of(name, value), np.asarray(expected)
    if array.shape != right.shape:
        raise Wrong(f"{name}: expected shape {right.shape}, got shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise Wrong(f"{name}: expected numbers, got {array.dtype}")
    scale = float(np.max(np.abs(right), initial=0.0)) or 1.0
    difference = float(np.max(np.abs(array - right), initial=0.0))
    if not difference <= tolerance * scale:  # also for NaN
        raise Wrong(f"{name}: the largest difference from the expected numbers is {difference:.3g}")
