"""How far the inputs may lie that reach an output: measured by changing them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.checks import check_count, check_number, check_size
from crnn.diagnostics.display import Axes, Display
from crnn.diagnostics.rows import altered, change_of, row_of
from crnn.layers.base.protocol import LayerLike

Floats = NDArray[np.float64]


class ReceptiveField(Display):
    """What `receptive_field` found.

    Attributes
    ----------
    influence : float64 array (T_out, T_in)
        The largest change of any feature of y at a step, when one input step is changed. Exactly 0
        where nothing changes, to the last bit; infinite where a number becomes none.
    first, last : int64 array (T_out,)
        The first and the last input step, counted from 0, that reaches each output; -1 where none
        does.
    back, ahead : int64 array (T_out,)
        How many steps before, and after its own, an input may lie and reach each output; 0 where
        none does.
    """

    def __init__(self, influence: Floats, fraction: float, end: int | None = None) -> None:
        self.influence = influence
        limit = fraction * influence.max(initial=0) if fraction else 0.0
        reaches = influence > limit
        T_out, T_in = influence.shape
        some = reaches.any(axis=1) if T_in else np.zeros(T_out, bool)
        self.first = np.where(some, reaches.argmax(axis=1) if T_in else 0, -1)
        self.last = np.where(some, T_in - 1 - (reaches[:, ::-1].argmax(axis=1) if T_in else 0), -1)
        own = np.arange(T_out) if T_out > 1 else np.full(T_out, (T_in if end is None else end) - 1)
        self.back = np.where(some, np.maximum(own - self.first, 0), 0)
        self.ahead = np.where(some, np.maximum(self.last - own, 0), 0)

    @property
    def columns(self) -> dict[str, Any]:
        out, steps = np.indices(self.influence.shape).reshape(2, -1)
        return {"output": out, "input": steps, "influence": self.influence.ravel()}

    def plot(self, ax: Axes | None = None) -> Axes:
        """A row for each output step, a column for each input step."""
        from crnn.plotting import influence

        return influence(self.influence, ax)


def receptive_field(
    model: LayerLike,
    x: Any,
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
    """Measure which input steps reach which output steps: by changing them, one by one.

    Nothing is assumed about the model: it is run on T altered copies of a sequence. So what it
    finds is the field at this input, with these weights: an influence that vanishes below the
    rounding of float64 is none.

    Parameters
    ----------
    model : layer
        Any layer or composition. It is looked at in evaluation, in a float64 copy.
    x, state, lengths, mask, resets
        As in the model's forward.
    row : int, default 0
        Which sequence.
    array : int, default 0
        Where x is a tuple, which of its arrays to change: 0 is the source of a
        `crnn.TeacherForcing`, 1 its target.
    fraction : float, default 0
        Of the largest influence, from which on `first`, `last`, `back` and `ahead` count one: 0
        counts whatever changes a bit, 0.01 what is felt.
    repeats : int, default 3
        How many changes of each step to try; the largest effect counts.
    seed : int, default 0
        Decides the changes.

    Returns
    -------
    ReceptiveField

    Raises
    ------
    TypeError, ValueError
        For arguments that the model's forward refuses, or that are out of range.

    Examples
    --------
    >>> import numpy as np
    >>> layer = crnn.Bidirectional(crnn.GRU(2, 3, seed=0))
    >>> field = receptive_field(layer, np.ones((1, 5, 2)))
    >>> field.back, field.ahead
    (array([0, 1, 2, 3, 4]), array([4, 3, 2, 1, 0]))
    """
    check_number("fraction", fraction, 0, 1)
    marks = {"lengths": lengths, "mask": mask, "resets": resets}
    one = row_of(model, x, state, marks, row, array, "array")
    y = one.outputs(one.x[None])
    largest = np.zeros((y.shape[1], len(one.x)))
    rng = np.random.default_rng(check_count("seed", seed, 64))
    for _ in range(check_size("repeats", repeats)):
        for steps, copies in altered(one, rng):
            change = change_of(one.outputs(copies), y)
            change = change.reshape(len(steps), y.shape[1], -1).max(axis=2)
            largest[:, steps] = np.maximum(largest[:, steps], change.T)
    largest[one.end(len(y[0])) :] = 0  # what is written into padding means nothing
    last = np.flatnonzero(one.there)
    return ReceptiveField(largest, fraction, int(last[-1]) + 1 if len(last) else 0)
