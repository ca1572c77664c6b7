"""Warnings that point to the line of the user's program that led to them."""

import sys
import warnings


class ResumeWarning(UserWarning):
    """A run was resumed with arguments that differ from those with which it began."""


def warn(text: str, category: type[Warning]) -> None:
    """Issue a warning for the nearest caller outside the package.

    Parameters
    ----------
    text : str
    category : class
    """
    frame, calls = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("crnn."):
        frame, calls = frame.f_back, calls + 1
    warnings.warn(text, category, stacklevel=calls)
