"""Which inputs moved an output: gradients with respect to inputs, symbols among them."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike

from crnn.common.arrays import Array, Floats
from crnn.common.choices import SaliencyMethod
from crnn.diagnostics.display import Axes, Display
from crnn.diagnostics.norms import norms
from crnn.diagnostics.rows import Row, altered, change_of, row_of
from crnn.layers.base.protocol import LayerLike


class InputSaliency(Display):
    """What `input_saliency` found.

    Attributes
    ----------
    values : float64 array (T,)
        How strongly each input step moves the output: not negative, unless the gradient is taken
        times the input.
    step, output : int
        The output's step, from 0, and feature.
    symbols : array (T,), or None
        Those that were read.
    aligned : bool
        Whether outputs and inputs are of the same steps.
    """

    def __init__(
        self, values: Floats, step: int, output: int, symbols: Array | None, aligned: bool
    ) -> None:
        self.values, self.step, self.output, self.symbols = values, step, output, symbols
        self.aligned = aligned

    @property
    def columns(self) -> dict[str, Any]:
        found: dict[str, Any] = {"step": np.arange(len(self.values))}
        if self.symbols is not None:
            found["symbol"] = self.symbols
        return found | {"saliency": self.values}

    def plot(self, ax: Axes | None = None, *, text: Any = None) -> Axes:
        """The values over the steps; with `text`, T characters or words, over these."""
        from crnn.plotting import saliency

        at = self.step if self.aligned else None
        return saliency(self.values, ax, symbols=text, at=at)


def input_saliency(
    model: LayerLike,
    x: Any,
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
    """Which inputs moved this output: the gradient of one number of y with respect to each x_t.

    Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks" (2014); for text Li et
    al., "Visualizing and understanding neural models in NLP" (2016).

    Parameters
    ----------
    model : layer
        Any layer or composition. It is looked at in evaluation, in a float64 copy.
    x, state, lengths, mask, resets
        As in the model's forward.
    row : int, default 0
        Which sequence.
    step : int, default -1
        Which step of y; negative ones count from the row's last step. A model that gives one vector
        has one step.
    output : int, optional
        Which feature of y, such as the logit of a symbol. None: the largest.
    array : int, default 0
        Where x is a tuple, which of its arrays is asked about.
    times_input : bool, default False
        The gradient times the input, summed over its features: signed, and of an input that is
        zero, zero. By default the norm of the gradient over the features.
    method : {"gradient", "occlusion"}
        "occlusion": the mean change of the output when a step is replaced by others, which needs no
        gradient. The gradient with respect to symbols is taken at their vectors (of an `Embedding`;
        of a recurrent layer that reads symbols, their one-hot rows).

    Returns
    -------
    InputSaliency
        With ``values`` (T,), 0 past the row's end.

    Raises
    ------
    TypeError, ValueError
        For arguments that the model's forward refuses, or that are out of range; for a row of
        length 0; for a gradient with respect to symbols in a model whose vectors cannot be found.
    """
    if method not in get_args(SaliencyMethod):
        names = " or ".join(map(repr, get_args(SaliencyMethod)))
        raise ValueError(f"method: expected {names}, got {method!r}")
    marks = {"lengths": lengths, "mask": mask, "resets": resets}
    one = row_of(model, x, state, marks, row, array, "array")
    y = one.outputs(one.x[None])
    end = one.end(y.shape[1])
    if not end:
        raise ValueError(f"row: expected one that has steps, got row {row} of length 0")
    step = _place("step", step, end)
    chosen = int(y[0, step].argmax()) if output is None else _place("output", output, y.shape[2])
    if method == "occlusion":
        values = _occluded(one, y, step, chosen)
    else:
        values = _gradient(one, step, chosen, times_input)
    symbols = one.x if one.x.dtype.kind in "iu" else None
    return InputSaliency(values, step, chosen, symbols, y.shape[1] == len(one.x))


def _place(name: str, value: int, count: int) -> int:
    if not isinstance(value, (int, np.integer)) or not -count <= value < count:
        raise ValueError(
            f"{name}: expected an integer from 0 to {count - 1}, or one from -{count} to -1 that "
            f"counts from the end, got {value!r}"
        )
    return int(value) % count


def _occluded(one: Row, y: Floats, step: int, output: int, repeats: int = 8) -> Floats:
    rng, total = np.random.default_rng(0), np.zeros(len(one.x))
    for _ in range(repeats):
        for steps, copies in altered(one, rng):
            found = one.outputs(copies)[:, step, output]
            total[steps] += change_of(found, y[0, step, output])
    return total / repeats


def _gradient(one: Row, step: int, output: int, times_input: bool) -> Floats:
    vectors, there = one, one.there
    if one.x.dtype.kind in "iu":
        K, x = one.model.symbols_of(one.which) or 0, one.arrays[one.which]
        x = np.where(one.read | ((x >= 0) & (x < K)), x, 0)
        found = one.model.with_vectors(x, one.which)
        if found is None:
            raise _unknown(one.model)
        model, x = found
        arrays = [x if i == one.which else own for i, own in enumerate(one.arrays)]
        vectors = one._replace(model=model, arrays=tuple(arrays))
    y, tape = vectors.run(vectors.x[None], keep=True)
    dy = np.zeros_like(y)
    dy[(0, output) if y.ndim == 2 else (0, step, output)] = 1
    dx, _ = vectors.model.backward(tape, dy)
    found = dx[vectors.which] if vectors.several else dx
    if found is None:
        raise ValueError("model: expected one whose backward gives the gradient of x, got None")
    found = np.asarray(found)[0].reshape(len(there), -1)[there]
    values = np.zeros(len(there))
    if times_input:
        with np.errstate(over="ignore", invalid="ignore"):
            each = found * vectors.x[there].reshape(found.shape)
        values[there] = np.where(found == 0, 0, each).sum(axis=1)  # 0 also of what is no number
    else:
        values[there] = norms(found, 1)
    return values


def _unknown(model: Any) -> ValueError:
    return ValueError(
        "x: expected floats, because it is not known what vectors stand for the symbols that "
        f"{type(model).__name__} reads, got integers; method='occlusion' needs no gradient"
    )
