"""Saliency of inputs: the gradient of an output with respect to each input, also of symbols."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike

from crnn.common.arrays import Array, Floats
from crnn.common.checks import check_flag
from crnn.common.choices import SaliencyMethod
from crnn.diagnostics.display import Axes, Display
from crnn.diagnostics.norms import norms
from crnn.diagnostics.rows import SingleRow, absolute_change, altered_copies, single_row
from crnn.layers.base.protocol import Input, LayerLike


class InputSaliency(Display):
    """Result of `input_saliency`.

    Parameters
    ----------
    values : float64 array (T,)
        The saliency of each input step.
    step, output : int
        Step and feature of the output.
    symbols : array (T,), or None
        The symbols that were read.
    aligned : bool
        Whether the output steps are the input steps.

    Attributes
    ----------
    values : float64 array (T,)
        How strongly the output depends on each input step: not negative, except for the gradient
        times the input.
    step, output : int
        Step of the output, counted from 0, and its feature.
    symbols : array (T,), or None
        As the parameter.
    aligned : bool
        As the parameter.
    columns : dict of str to array
        Table with one row per step: "step", "symbol" (for symbols only), "saliency".

    Methods
    -------
    plot(ax=None, *, text=None)
        Plot the values over the steps, or over the characters of a text.
    to_frame()
        Return the table as a pandas DataFrame.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer = crnn.RNN(1, 1, activation="identity", seed=0)
    >>> layer.params["W_x"], layer.params["W_h"] = 1.0, 0.5
    >>> saliency = crnn.diagnostics.input_saliency(layer, np.ones((1, 4, 1)))
    >>> saliency.values, saliency.step, saliency.output
    (array([0.125, 0.25 , 0.5  , 1.   ]), 3, 0)
    """

    def __init__(
        self, values: Floats, step: int, output: int, symbols: Array | None, aligned: bool
    ) -> None:
        self.values, self.step, self.output, self.symbols = values, step, output, symbols
        self.aligned = aligned

    @property
    def columns(self) -> dict[str, Any]:
        columns: dict[str, Any] = {"step": np.arange(len(self.values))}
        if self.symbols is not None:
            columns["symbol"] = self.symbols
        return columns | {"saliency": self.values}

    def plot(self, ax: Axes | None = None, *, text: Any = None) -> Axes:
        """Plot the values over the steps, or over the characters or words of a text.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Axes to draw into. None: those of a new figure.
        text : str or list of str, optional
            T characters or words. None: a curve over the steps.

        Returns
        -------
        matplotlib axes
        """
        from crnn.plotting import saliency

        at = self.step if self.aligned else None
        return saliency(self.values, ax, symbols=text, at=at)


def input_saliency(
    model: LayerLike,
    x: Input,
    state: Any = None,
    *,
    row: int = 0,
    step: int = -1,
    output: int | None = None,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    array: int = 0,
    times_input: bool = False,
    method: SaliencyMethod = "gradient",
) -> InputSaliency:
    """Return how strongly an output depends on each input step.

    The saliency is the gradient of one number of y, a feature at a step, with respect to x.
    Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks" (2014); for text Li et
    al., "Visualizing and understanding neural models in NLP" (2016).

    Parameters
    ----------
    model : layer
        Any layer or composition. A float64 copy runs in evaluation mode.
    x : array (B, T, I) of floats, or (B, T) of symbols; or a tuple of arrays
        The input, as in the model's forward.
    state : state, optional
        The initial state. None: that of the model's forward, zeros by default.
    row : int, default 0
        The row of x; negative numbers count from the end.
    step : int, default -1
        The step of y; negative numbers count from the last valid step of the row. If the model
        gives one vector per row, there is one step.
    output : int, optional
        The feature of y, such as the logit of a symbol. None: the one with the largest value.
    lengths : array (B,) of integers, optional
        Number of valid steps of each row. None: T.
    mask, resets : arrays (B, T) of bools, optional
        As in the model's forward.
    array : int, default 0
        The array of a tuple x to use: 0 is the source of a `crnn.TeacherForcing`, 1 its target.
    times_input : bool, default False
        True: the gradient times the input, summed over the features. It has a sign, and is 0 for an
        input of 0. False: the norm of the gradient over the features.
    method : {"gradient", "occlusion"}, default "gradient"
        "gradient": for symbols the gradient with respect to their vectors in an `Embedding`, or
        with respect to the one-hot vectors that a recurrent layer reads. "occlusion": the mean
        absolute change of the output when a step is replaced by random others; it needs no
        gradient.

    Returns
    -------
    InputSaliency
        With ``values`` (T,), 0 past the end of the row.

    Raises
    ------
    TypeError, ValueError
        If the model's forward refuses an argument, or an argument is out of range; if the row has
        length 0; for the gradient with respect to symbols, if the model does not provide the
        vectors of its symbols.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> model = crnn.Sequential([crnn.Embedding(5, 3, seed=0), crnn.GRU(3, 4, seed=1)])
    >>> x = np.array([[0, 3, 1, 4]])
    >>> saliency = crnn.diagnostics.input_saliency(model, x, step=2, output=0)
    >>> saliency.symbols, saliency.values > 0  # y_3 does not depend on x_4
    (array([0, 3, 1, 4]), array([ True,  True,  True, False]))
    """
    if method not in get_args(SaliencyMethod):
        names = " or ".join(map(repr, get_args(SaliencyMethod)))
        raise ValueError(f"method: expected {names}, got {method!r}")
    options = {"lengths": lengths, "mask": mask, "resets": resets}
    examined = single_row(model, x, state, options, row, array, "array")
    y = examined.outputs(examined.x[None])
    end = examined.valid_outputs(y.shape[1])
    if not end:
        raise ValueError(f"row: expected a row with valid steps, got row {row} of length 0")
    step = _position("step", step, end)
    if output is None:
        feature = int(y[0, step].argmax())
    else:
        feature = _position("output", output, y.shape[2])
    times_input = check_flag("times_input", times_input)
    if method == "occlusion":
        values = _occlusion(examined, y, step, feature)
    else:
        values = _gradient(examined, step, feature, times_input)
    symbols = examined.x if examined.x.dtype.kind in "iu" else None
    return InputSaliency(values, step, feature, symbols, y.shape[1] == len(examined.x))


def _position(name: str, value: int, count: int) -> int:
    """Return an index as a number from 0 to count - 1; negative ones count from the end."""
    if not isinstance(value, (int, np.integer)) or not -count <= value < count:
        raise ValueError(
            f"{name}: expected an integer from 0 to {count - 1}, or one from -{count} to -1 that "
            f"counts from the end, got {value!r}"
        )
    return int(value) % count


def _occlusion(examined: SingleRow, y: Floats, step: int, output: int, repeats: int = 8) -> Floats:
    """Return the mean absolute change of the output when each step is replaced."""
    rng, total = np.random.default_rng(0), np.zeros(len(examined.x))
    for _ in range(repeats):
        for steps, copies in altered_copies(examined, rng):
            changed = examined.outputs(copies)[:, step, output]
            total[steps] += absolute_change(changed, y[0, step, output])
    return total / repeats


def _gradient(examined: SingleRow, step: int, output: int, times_input: bool) -> Floats:
    """Return the norm of the gradient at each step, or the gradient times the input."""
    floats, valid = examined, examined.valid
    if examined.x.dtype.kind in "iu":
        floats = _with_vectors(examined)
    y, tape = floats.run(floats.x[None], keep=True)
    dy = np.zeros_like(y)
    dy[(0, output) if y.ndim == 2 else (0, step, output)] = 1
    dx, _ = floats.model.backward(tape, dy)
    gradient = dx[floats.array_index] if floats.reads_tuple else dx
    if gradient is None:
        raise ValueError("model: expected one whose backward gives the gradient of x, got None")
    gradient = np.asarray(gradient)[0].reshape(len(valid), -1)[valid]
    values = np.zeros(len(valid))
    if times_input:
        with np.errstate(over="ignore", invalid="ignore"):
            products = gradient * floats.x[valid].reshape(gradient.shape)
        # A gradient of 0 counts as 0 also where the input is infinite or NaN.
        values[valid] = np.where(gradient == 0, 0, products).sum(axis=1)
    else:
        values[valid] = norms(gradient, 1)
    return values


def _with_vectors(examined: SingleRow) -> SingleRow:
    """Return the row with vectors in place of its symbols, and a model that reads them."""
    model, index = examined.model, examined.array_index
    K, x = model.symbols_of(index) or 0, examined.arrays[index]
    x = np.where(examined.read | ((x >= 0) & (x < K)), x, 0)
    pair = model.with_vectors(x, index)
    if pair is None:
        raise ValueError(
            "x: expected floats, because the vectors of the symbols that "
            f"{type(model).__name__} reads are unknown, got integers; method='occlusion' needs no "
            "gradient"
        )
    model, x = pair
    arrays = tuple(x if i == index else array for i, array in enumerate(examined.arrays))
    return examined._replace(model=model, arrays=arrays)
