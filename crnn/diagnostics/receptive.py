"""The input steps that an output step depends on, measured by changing the input."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.checks import check_count, check_number, check_size
from crnn.diagnostics.display import Axes, Display
from crnn.diagnostics.rows import absolute_change, altered_copies, single_row
from crnn.layers.base.protocol import Input, LayerLike

Floats = NDArray[np.float64]


class ReceptiveField(Display):
    """Result of `receptive_field`.

    Parameters
    ----------
    influence : float64 array (T_out, T_in)
        The largest change of each output step for a change of each input step.
    fraction : float
        Influences above this fraction of the largest influence count. 0: all that are not 0.
    end : int, optional
        Number of valid input steps, for a model with one output step. None: T_in.

    Attributes
    ----------
    influence : float64 array (T_out, T_in)
        The largest change of any feature of y at a step, when one input step is changed: exactly 0
        if the output does not change, infinite if an output becomes NaN.
    first, last : int64 array (T_out,)
        The first and the last input step, counted from 0, that each output step depends on; -1 if
        it depends on none.
    back, ahead : int64 array (T_out,)
        The largest number of steps before, and after, the output step at which an input step can
        lie that the output depends on; 0 if it depends on none.
    columns : dict of str to array
        Table with one row per pair of steps: "output", "input", "influence".

    Methods
    -------
    plot(ax=None)
        Plot the influence as an image.
    to_frame()
        Return the table as a pandas DataFrame.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(1, 4, 2))
    >>> field = crnn.diagnostics.receptive_field(crnn.RNN(2, 3, reverse=True, seed=0), x)
    >>> (field.influence > 0).astype(int)
    array([[1, 1, 1, 1],
           [0, 1, 1, 1],
           [0, 0, 1, 1],
           [0, 0, 0, 1]])
    """

    def __init__(self, influence: Floats, fraction: float, end: int | None = None) -> None:
        self.influence = influence
        limit = fraction * influence.max(initial=0) if fraction else 0.0
        reaches = influence > limit
        T_out, T_in = influence.shape
        some = reaches.any(axis=1) if T_in else np.zeros(T_out, bool)
        self.first = np.where(some, reaches.argmax(axis=1) if T_in else 0, -1)
        self.last = np.where(some, T_in - 1 - (reaches[:, ::-1].argmax(axis=1) if T_in else 0), -1)
        # One output of the whole row belongs to the last valid step.
        step = np.arange(T_out) if T_out > 1 else np.full(T_out, (T_in if end is None else end) - 1)
        self.back = np.where(some, np.maximum(step - self.first, 0), 0)
        self.ahead = np.where(some, np.maximum(self.last - step, 0), 0)

    @property
    def columns(self) -> dict[str, Any]:
        out, steps = np.indices(self.influence.shape).reshape(2, -1)
        return {"output": out, "input": steps, "influence": self.influence.ravel()}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the influence as an image: a row per output step, a column per input step.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Axes to draw into. None: those of a new figure.

        Returns
        -------
        matplotlib axes
        """
        from crnn.plotting import influence

        return influence(self.influence, ax)


def receptive_field(
    model: LayerLike,
    x: Input,
    state: Any = None,
    *,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    row: int = 0,
    array: int = 0,
    fraction: float = 0.0,
    repeats: int = 3,
    seed: int = 0,
) -> ReceptiveField:
    """Measure which input steps each output step depends on, by changing the input steps in turn.

    Nothing is assumed about the model: it runs on T altered copies of a sequence. So the result
    holds for this input and these weights: an influence below the rounding of float64 is 0.

    Parameters
    ----------
    model : layer
        Any layer or composition. A float64 copy runs in evaluation mode.
    x : array (B, T, I) of floats, or (B, T) of symbols; or a tuple of arrays
        The input, as in the model's forward.
    state : state, optional
        The initial state. None: that of the model's forward, zeros by default.
    lengths : array (B,) of integers, optional
        Number of valid steps of each row. None: T.
    mask, resets : arrays (B, T) of bools, optional
        As in the model's forward.
    row : int, default 0
        The row of x to change; negative numbers count from the end.
    array : int, default 0
        The array of a tuple x to change: 0 is the source of a `crnn.TeacherForcing`, 1 its target.
    fraction : float, default 0.0
        Only influences above this fraction of the largest influence count for `first`, `last`,
        `back` and `ahead`; from 0 to below 1. 0: every change counts, however small.
    repeats : int, default 3
        Number of random changes of each step; the largest effect counts.
    seed : int, default 0
        Seed of the random changes.

    Returns
    -------
    ReceptiveField

    Raises
    ------
    TypeError, ValueError
        If the model's forward refuses an argument, or an argument is out of range.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer = crnn.Bidirectional(crnn.GRU(2, 3, seed=0))
    >>> field = crnn.diagnostics.receptive_field(layer, np.ones((1, 5, 2)))
    >>> field.back, field.ahead
    (array([0, 1, 2, 3, 4]), array([4, 3, 2, 1, 0]))
    """
    check_number("fraction", fraction, 0, 1)
    options = {"lengths": lengths, "mask": mask, "resets": resets}
    examined = single_row(model, x, state, options, row, array, "array")
    y = examined.outputs(examined.x[None])
    largest = np.zeros((y.shape[1], len(examined.x)))
    rng = np.random.default_rng(check_count("seed", seed, 64))
    for _ in range(check_size("repeats", repeats)):
        for steps, copies in altered_copies(examined, rng):
            change = absolute_change(examined.outputs(copies), y)
            change = change.reshape(len(steps), y.shape[1], -1).max(axis=2)
            largest[:, steps] = np.maximum(largest[:, steps], change.T)
    largest[examined.valid_outputs(len(y[0])) :] = 0  # outputs in padding are not valid
    last = np.flatnonzero(examined.valid)
    return ReceptiveField(largest, fraction, int(last[-1]) + 1 if len(last) else 0)
