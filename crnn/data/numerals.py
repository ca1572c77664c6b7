"""Numbers as they are written in tables."""

import math
from collections.abc import Iterable
from typing import Any

NOTHING = frozenset({"", "?", "na", "n/a", "<na>", "nan", "nat", "null", "none"})  # lower case


def is_missing(text: str) -> bool:
    """Whether a text stands for a missing value."""
    return text.strip().lower() in NOTHING


class Numerals:
    """How numbers are written.

    Parameters
    ----------
    decimal : str
        The character between whole part and fraction.
    thousands : str, optional
        The character between groups of digits.
    na_values : str, number, or several of these
        What stands for a missing value besides nothing, spaces, ?, NA, N/A, NaN, null and None.

    Raises
    ------
    ValueError
        Something else than a single character, or twice the same one.
    """

    def __init__(
        self, decimal: str = ".", thousands: str | None = None, na_values: Any = ()
    ) -> None:
        if not isinstance(decimal, str) or len(decimal) != 1:
            raise ValueError(f"decimal: expected one character, got {decimal!r}")
        if thousands is not None and (not isinstance(thousands, str) or len(thousands) != 1):
            raise ValueError(f"thousands: expected None or one character, got {thousands!r}")
        if thousands == decimal:
            raise ValueError(f"thousands: expected another character than decimal={decimal!r}")
        self.decimal, self.thousands = decimal, thousands
        several = isinstance(na_values, Iterable) and not isinstance(na_values, str)
        words = [str(value).strip().lower() for value in (na_values if several else [na_values])]
        self._missing = NOTHING.union(words)
        self._numbers = frozenset(filter(math.isfinite, map(_known, words)))

    def number(self, text: str) -> float:
        """Return the number that is written, NaN where a value is missing.

        Raises
        ------
        ValueError
            Something else than a finite number.
        """
        word = text.strip()
        if word.lower() in self._missing:
            return math.nan
        if self.thousands is not None and self.thousands in word:
            word = self._together(word)
        if self.decimal != ".":
            if "." in word:
                raise ValueError(text)
            word = word.replace(self.decimal, ".")
        number = float(word)
        if not math.isfinite(number) or "_" in word:  # 1_000 is a number in Python alone
            raise ValueError(text)
        return math.nan if number in self._numbers else number

    def _together(self, word: str) -> str:
        """A number without its separators: 1,234.5, also 12,34,567, but not 1,5."""
        whole, point, rest = word.partition(self.decimal)
        first, *groups = whole.split(self.thousands)
        right = first.lstrip("+-") and len(groups[-1]) == 3
        if not right or any(len(group) not in (2, 3) for group in groups):
            raise ValueError(word)
        return "".join([first, *groups, point, rest])


def _known(word: str) -> float:
    """The number that a word for a missing value is, -999 say; NaN if it is none."""
    try:
        return float(word)
    except ValueError:
        return math.nan
