"""Shared code of all notebooks of the course: style of figures, sizes of runs, exercises.

The checks of the exercises of each notebook are in a separate module of this package.
"""

from course.exercises import (
    Unanswered,
    Wrong,
    answer_of,
    array_of,
    check_close,
    exercise,
    number_of,
)
from course.setting import size, style

__all__ = [
    "Unanswered",
    "Wrong",
    "answer_of",
    "array_of",
    "check_close",
    "exercise",
    "number_of",
    "size",
    "style",
]
