"""Warnings that point to the line of the user's program that led to them."""

import sys
import warnings


class ResumeWarning(UserWarning):
    """Warning that a run was resumed with other arguments than those with which it began.

    Examples
    --------
    Turn the warning into an error:

    >>> import warnings
    >>> import crnn
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", crnn.training.ResumeWarning)
    ...     # history = crnn.fit(..., resume="run.npz")
    >>> issubclass(crnn.training.ResumeWarning, UserWarning)
    True
    """


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
