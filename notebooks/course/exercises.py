"""How an answer to an exercise is judged, and what its author is told."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Unanswered(Exception):
    """Nothing stands yet where the answer goes."""


class Wrong(Exception):
    """What the answer gives, and what was expected, in words that help."""


class _Raised(Exception):
    """What an answer that is a function raised."""


def exercise(number: int) -> Callable[[Callable[..., str]], Callable[..., None]]:
    """Make a check of a function that looks at answers.

    The function is given the answers and returns what there is to say of a right one, or raises
    `Wrong` or `Unanswered`. The check prints a line: ``Exercise 1 is right: ...``, ``Exercise 1 is
    not right yet: ...`` or ``Exercise 1: not answered yet.`` An answer of None or ``...`` counts as
    none, and an exception raised in it as a wrong one; so does one that the judge meets in what the
    answer gave, and then it is not said that the answer raised it.
    """

    def decorate(judge: Callable[..., str]) -> Callable[..., None]:
        @functools.wraps(judge)
        def check(*answers: Any) -> None:
            try:
                for answer in answers:
                    _look_at(answer)
                print(f"Exercise {number} is right: {judge(*answers)}")
            except Unanswered:
                print(f"Exercise {number}: not answered yet.")
            except Wrong as error:
                print(f"Exercise {number} is not right yet: {error}")
            except _Raised as error:
                print(f"Exercise {number} is not right yet: your code raised {error}")
            except Exception as error:
                print(
                    f"Exercise {number} is not right yet: what your code gives has another form "
                    f"than was asked for (looking at it raised {type(error).__name__}: {error})"
                )

        return check

    return decorate


def _look_at(answer: Any) -> Any:
    if answer is None or answer is Ellipsis:
        raise Unanswered
    return answer


def answer_of(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Return what an answer that is a function gives; `Unanswered` for None or ``...``."""
    if not callable(function):
        raise Wrong(f"expected a function, got {function!r:.60}")
    try:
        found = function(*arguments, **named)
    except (Unanswered, Wrong):  # from what the check handed in
        raise
    except Exception as error:
        raise _Raised(f"{type(error).__name__}: {error}") from error
    return _look_at(found)


def array_of(what: str, found: Any) -> NDArray[Any]:
    """Return the numbers of an answer as an array; raise `Wrong` where they are not in one."""
    try:
        array = np.asarray(found)
    except (TypeError, ValueError):  # a list of unequal parts
        array = np.array(None)
    if array.dtype == object:
        parts = f" of {len(found)} parts" if isinstance(found, list | tuple) else ""
        raise Wrong(f"{what}: expected one array of numbers, got a {type(found).__name__}{parts}")
    return array


def number_of(what: str, found: Any) -> float:
    """Return an answer that is one number; raise `Wrong` for anything else."""
    array = array_of(what, found)
    if array.shape != ():
        raise Wrong(f"{what}: expected one number, got an array of shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise Wrong(f"{what}: expected a number, got {array.dtype}")
    return float(array)


def check_close(what: str, found: ArrayLike, expected: ArrayLike, tolerance: float = 1e-9) -> None:
    """Raise `Wrong` unless two arrays have the same shape and, nearly, the same numbers.

    `tolerance` is of the largest magnitude in `expected`.
    """
    given, right = array_of(what, found), np.asarray(expected)
    if given.shape != right.shape:
        raise Wrong(f"{what}: expected shape {right.shape}, got shape {given.shape}")
    if given.dtype.kind not in "biuf":
        raise Wrong(f"{what}: expected numbers, got {given.dtype}")
    scale = float(np.max(np.abs(right), initial=0.0)) or 1.0
    off = float(np.max(np.abs(given - right), initial=0.0))
    if not off <= tolerance * scale:
        raise Wrong(f"{what}: the largest difference from what was expected is {off:.3g}")
