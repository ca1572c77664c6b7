"""How an answer to an exercise is judged, and what its author is told."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


class Unanswered(Exception):
    """Nothing stands yet where the answer goes."""


class Wrong(Exception):
    """What the answer gives, and what was expected, in words that help."""


def exercise(number: int) -> Callable[[Callable[..., str]], Callable[..., None]]:
    """Make a check of a function that looks at answers.

    The function is given the answers and returns what there is to say of a right one, or raises
    `Wrong` or `Unanswered`. The check prints a line: ``Exercise 1 is right: ...``, ``Exercise 1 is
    not right yet: ...`` or ``Exercise 1: not answered yet.`` An answer of None or ``...`` counts as
    none, and an exception raised in it as a wrong one.
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
            except Exception as error:
                print(
                    f"Exercise {number} is not right yet: your code raised "
                    f"{type(error).__name__}: {error}"
                )

        return check

    return decorate


def _look_at(answer: Any) -> Any:
    if answer is None or answer is Ellipsis:
        raise Unanswered
    return answer


def answer_of(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Return what an answer that is a function gives; `Unanswered` for None or ``...``."""
    return _look_at(function(*arguments, **named))


def check_close(what: str, found: ArrayLike, expected: ArrayLike, tolerance: float = 1e-9) -> None:
    """Raise `Wrong` unless two arrays have the same shape and, nearly, the same numbers.

    `tolerance` is of the largest magnitude in `expected`.
    """
    given, right = np.asarray(found), np.asarray(expected)
    if given.shape != right.shape:
        raise Wrong(f"{what}: expected shape {right.shape}, got shape {given.shape}")
    if given.dtype.kind not in "biuf":
        raise Wrong(f"{what}: expected numbers, got {given.dtype}")
    scale = float(np.max(np.abs(right), initial=0.0)) or 1.0
    off = float(np.max(np.abs(given - right), initial=0.0))
    if not off <= tolerance * scale:
        raise Wrong(f"{what}: the largest difference from what was expected is {off:.3g}")
