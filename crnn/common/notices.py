"""Warnings with the location of the call in the user's program."""

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
