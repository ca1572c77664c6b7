"""Warnings with the location of the call in the user's program."""

import sys
import warnings


class ResumeWarning(UserWarning):
    """Warning: a run is resumed with other arguments than it was started with."""


def warn(text: str, category: type[Warning]) -> None:
    """Issue a warning at the nearest caller outside of crnn.

    Parameters
    ----------
    text : str
        Message.
    category : subclass of Warning
        Class of the warning.
    """
    frame, calls = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("crnn."):
        frame, calls = frame.f_back, calls + 1
    warnings.warn(text, category, stacklevel=calls)
