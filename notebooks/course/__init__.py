"""What all notebooks of the course share: the look of figures, sizes, exercises.

The checks of each notebook's exercises are in a module of their own beside this one.
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
