"""One to many: a network that reads what it gave."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import crnn._core as _core
from crnn.common.arrays import Array, as_array
from crnn.common.checks import check_seed, check_size
from crnn.layers.base.protocol import LayerLike
from crnn.layers.compose.streams import stream_of


def generate(
    model: LayerLike,
    start: ArrayLike,
    steps: int,
    *,
    state: Any = None,
    stop: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    feedback: Callable[[Array], ArrayLike] | None = None,
) -> Array:
    """Run a model step by step on its own output.

    Each step's output becomes the next step's input: of logits over K symbols the likeliest symbol
    or one that is drawn; a vector as it is, or what `feedback` makes of it.

    Parameters
    ----------
    model : layer
        Any that runs step by step: what has a ``stream``, `Sequential` with layers like Dense.
    start : integers (B,), or floats (B, F)
        The first input: a symbol for each row, or a vector.
    steps : int
        How many outputs to give.
    state : state, optional
        The initial state, as `model` has it; None stands for zeros.
    stop : int, optional
        The symbol that ends a row; what is behind it is filled with it.
    temperature : float, optional
        Draw symbols with probabilities softmax(logits / temperature). None, the default, takes the
        likeliest.
    top_k : int, optional
        Draw among the k likeliest symbols alone; of equal ones the first.
    top_p : float, optional
        Draw among the fewest likeliest symbols that have at least this probability together, after
        `top_k`: Holtzman et al., "The curious case of neural text degeneration" (2020).
    seed : int, optional
        The same seed gives the same symbols, row b the same ones in any batch. None draws one.
    feedback : callable, optional
        ``feedback(y)`` (B, G) -> the next input (B, F) floats, for vectors. None: y itself.

    Returns
    -------
    symbols (B, steps) of int64, or vectors (B, steps, G)
        Without `start`.

    Raises
    ------
    TypeError, ValueError
        For a start of another kind, a model that cannot run step by step, an option out of range or
        one that says nothing here (of drawing without a temperature, of symbols for vectors).
    FloatingPointError
        If a logit is not a number.
    """
    first, steps = as_array("start", start), check_size("steps", steps)
    if first.dtype.kind in "iu" and first.ndim == 1:
        if feedback is not None:
            raise ValueError(f"feedback: expected None for symbols, got {feedback!r:.100}")
        drawing = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        if temperature is not None:
            drawing["seed"] = check_seed(seed)
        return _symbols(stream_of(model, len(first), state), first, steps, stop, drawing)
    if first.dtype.kind != "f" or first.ndim != 2:
        raise (TypeError if first.dtype.kind not in "iuf" else ValueError)(
            "start: expected integers of shape (B,) or floats of shape (B, F), "
            f"got {first.dtype} of shape {first.shape}"
        )
    of_symbols = {"stop": stop, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    for name, value in of_symbols.items():
        if value is not None:
            raise ValueError(f"{name}: expected None for vectors, got {value!r}")
    return _vectors(stream_of(model, len(first), state), first, steps, feedback)


def _symbols(
    stream: Any, first: Array, steps: int, stop: int | None, drawing: dict[str, Any]
) -> NDArray[np.int64]:
    logits = stream.step(first)
    search = _core.Search(len(first), logits.shape[1], steps, stop=stop, **drawing)
    x, rows = first.astype(np.int64), np.arange(len(first))
    while not search.done:
        symbols, parents = search.step(logits[rows])
        rows = rows[parents]
        x[rows] = symbols  # a row that has ended reads what it read before, for nobody
        if not search.done:
            logits = stream.step(x)
    tokens = search.result()[0][:, 0]
    given = np.full((len(first), steps), -1 if stop is None else stop, np.int64)
    given[:, : tokens.shape[1]] = tokens
    return given


def _vectors(
    stream: Any, x: Array, steps: int, feedback: Callable[[Array], ArrayLike] | None
) -> Array:
    given = []
    for _ in range(steps):
        y = stream.step(x)
        given.append(y)
        x = y if feedback is None else as_array("feedback", feedback(y))
    return np.stack(given, axis=1)
