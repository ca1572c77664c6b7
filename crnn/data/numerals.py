"""Numbers as texts in tables."""

import math
from collections.abc import Iterable
from typing import Any

MISSING = frozenset({"", "?", "na", "n/a", "<na>", "nan", "nat", "null", "none"})  # lower case


def is_missing(text: str) -> bool:
    """Return whether a text stands for a missing value."""
    return text.strip().lower() in MISSING


class Numerals:
    """Notation of numbers in texts.

    Parameters
    ----------
    decimal : str
        The character between integer part and fraction.
    thousands : str, optional
        The character between groups of digits.
    na_values : str, number, or iterable of these
        Texts and numbers for a missing value, besides empty ones, spaces, ?, NA, N/A, NaN, null and
        None.

    Raises
    ------
    ValueError
        `decimal` or `thousands` is not a single character, or both are the same.
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
        self._missing = MISSING.union(words)
        self._missing_numbers = frozenset(filter(math.isfinite, map(_as_number, words)))

    def number(self, text: str) -> float:
        """Return the number of a text, NaN for a missing value.

        Raises
        ------
        ValueError
            The text is not a finite number.
        """
        word = text.strip()
        if word.lower() in self._missing:
            return math.nan
        if self.thousands is not None and self.thousands in word:
            word = self._without_separators(word)
        if self.decimal != ".":
            if "." in word:
                raise ValueError(text)
            word = word.replace(self.decimal, ".")
        number = float(word)
        if not math.isfinite(number) or "_" in word:  # Python reads 1_000 as a number
            raise ValueError(text)
        return math.nan if number in self._missing_numbers else number

    def _without_separators(self, word: str) -> str:
        """Return a number without thousands separators: 1,234.5, also 12,34,567, but not 1,5."""
        integer, point, fraction = word.partition(self.decimal)
        first, *groups = integer.split(self.thousands)
        valid = first.lstrip("+-") and len(groups[-1]) == 3
        if not valid or any(len(group) not in (2, 3) for group in groups):
            raise ValueError(word)
        return "".join([first, *groups, point, fraction])


def _as_number(word: str) -> float:
    """Return a text for a missing value as a number, such as -999, or NaN if it is none."""
    try:
        return float(word)
    except ValueError:
        return math.nan
