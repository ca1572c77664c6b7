"""Generation of sequences by feedback: the output of a step is the input of the next step."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import crnn._core as _core
from crnn.common.arrays import Array, as_array
from crnn.common.checks import check_product, check_seed, check_size
from crnn.layers.base.adapted import layer_of
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
    """Generate a sequence: the output of each step is the input of the next step.

    For a model of symbols the output of a step is logits over K symbols, and the next input is the
    most probable symbol or a symbol that is sampled. For a model of vectors the next input is the
    output, or a function of it.

    Parameters
    ----------
    model : layer
        Layer or composition that runs step by step, such as a recurrent layer or a
        `crnn.Sequential` of one and a `crnn.Dense`. It must not read backwards.
    start : int array (B,), or float array (B, F)
        First input: one symbol or one vector per row.
    steps : int
        Number of steps to generate, at least 1.
    state : state of `model`, default None
        Initial state; None stands for zeros.
    stop : int, optional
        Symbol that ends a row. All symbols after the first `stop` are `stop`. By default all rows
        have `steps` symbols.
    temperature : float, default None
        Sample symbols with the probabilities softmax(logits / temperature); above 0. None selects
        the most probable symbol (greedy).
    top_k : int, optional
        Sample from the `top_k` most probable symbols only; of equally probable symbols the first
        are kept. Requires a temperature.
    top_p : float, optional
        Sample from the smallest set of most probable symbols whose probabilities sum to at least
        `top_p`, after `top_k`. Requires a temperature.
    seed : int, optional
        Seed of the sampling. Equal seeds give equal symbols, and row b does not depend on the other
        rows of the batch. None: a random seed.
    feedback : callable, optional
        For vectors, a function from the output (B, G) of a step to the next input (B, F). None: the
        output is the next input.

    Returns
    -------
    array (B, steps) of int64, or array (B, steps, G) of floats
        Symbols or outputs, without `start`.

    Raises
    ------
    TypeError, ValueError
        If `start` has a wrong dtype or shape, the model does not run step by step, an option is out
        of range, or an option does not apply: `top_k` and `top_p` without a temperature, options of
        symbols for vectors, `feedback` for symbols.
    FloatingPointError
        If a logit is NaN.

    Notes
    -----
    All steps run in the core if all layers of the model are layers of crnn of one dtype and there
    is no `feedback`. Ctrl-C ends them. Outputs have the bits of single steps of ``model.stream``.

    `top_p` is nucleus sampling: A. Holtzman et al., "The curious case of neural text degeneration"
    (2020).

    Examples
    --------
    >>> import numpy as np
    >>> import crnn
    >>> model = crnn.Sequential([crnn.GRU(5, 8, seed=0), crnn.Dense(8, 5, seed=1)])  # K = 5
    >>> crnn.generate(model, [0, 3], steps=6, temperature=1.0, seed=0).shape
    (2, 6)
    >>> predictor = crnn.Sequential([crnn.GRU(1, 8, seed=0), crnn.Dense(8, 1, seed=1)])
    >>> crnn.generate(predictor, np.zeros((2, 1), np.float32), steps=4).shape
    (2, 4, 1)
    """
    first, steps = as_array("start", start), check_size("steps", steps)
    check_product("steps", max(first.size, 1), steps)
    if first.dtype.kind in "iu" and first.ndim == 1:
        if feedback is not None:
            raise ValueError(f"feedback: expected None for symbols, got {feedback!r:.100}")
        sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        if temperature is not None:
            sampling["seed"] = check_seed(seed)
        stream = stream_of(model, len(first), state)
        return _symbols(model, stream, first, steps, stop, sampling)
    if first.dtype.kind != "f" or first.ndim != 2:
        raise (TypeError if first.dtype.kind not in "iuf" else ValueError)(
            "start: expected integers of shape (B,) or floats of shape (B, F), "
            f"got {first.dtype} of shape {first.shape}"
        )
    options = {"stop": stop, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name}: expected None for vectors, got {value!r}")
    _check_start(model, first)
    stream = stream_of(model, len(first), state)
    fits = feedback is None and layer_of(model).output_size == first.shape[1]
    if fits and type(stream) is _core.Stream:  # the core runs all steps
        return stream._feed(first, steps, None)
    return _vectors(stream, first, steps, feedback)


def _check_start(model: LayerLike, first: Array) -> int | None:
    """Return the number of symbols that a model reads, None if it is not known.

    Raises
    ------
    TypeError, ValueError
        The model does not read these symbols (B,), or floats (B, F).
    """
    layer = layer_of(model)
    K, width, B = layer.symbols, layer.input_size, len(first)
    if first.ndim == 1:
        if K is not None and first.size and not 0 <= first.min() <= first.max() < K:
            row = int(np.flatnonzero((first < 0) | (first >= K))[0])
            raise ValueError(
                f"start: expected integers from 0 to K-1={K - 1}, got {first[row]} in row {row}"
            )
    elif width is not None and first.shape[1] != width:
        raise ValueError(
            f"start: expected floats of shape (B={B}, F={width}), got shape {first.shape}"
        )
    elif width is None and K is not None:
        raise TypeError(
            f"start: expected integers of shape (B={B},), got {first.dtype} of shape {first.shape}"
        )
    return K


def _symbols(
    model: LayerLike,
    stream: Any,
    first: Array,
    steps: int,
    stop: int | None,
    sampling: dict[str, Any],
) -> NDArray[np.int64]:
    """Return the symbols (B, steps) that follow the first ones (B,)."""
    if type(stream) is _core.Stream and stream._symbols:  # the core runs all steps
        search = _core.Search(len(first), stream._symbols, steps, stop=stop, **sampling)
        stream._generate(first, (search,))
    else:
        K = _check_start(model, first)
        logits = stream.step(first)
        if K is not None and logits.shape[1] > K:
            raise ValueError(
                f"model: expected at most as many outputs as the K={K} symbols that it reads, "
                f"got {logits.shape[1]}"
            )
        search = _core.Search(len(first), logits.shape[1], steps, stop=stop, **sampling)
        _search(stream, first, logits, search)
    tokens = search.result()[0][:, 0]
    symbols = np.full((len(first), steps), -1 if stop is None else stop, np.int64)
    symbols[:, : tokens.shape[1]] = tokens
    return symbols


def _search(stream: Any, first: Array, logits: Array, search: _core.Search) -> None:
    """Run a search to its end, from the logits (B, K) of the first step."""
    x, rows = first.astype(np.int64), np.arange(len(first))
    while not search.done:
        symbols, parents = search.step(logits[rows])
        rows = rows[parents]
        x[rows] = symbols  # finished rows read their last symbol again; their output is ignored
        if not search.done:
            logits = stream.step(x)


def _vectors(
    stream: Any, x: Array, steps: int, feedback: Callable[[Array], ArrayLike] | None
) -> Array:
    """Return the outputs (B, steps, G) that follow the first input (B, F)."""
    outputs = []
    for _ in range(steps):
        y = stream.step(x)
        outputs.append(y)
        x = y if feedback is None else as_array("feedback", feedback(y))
    return np.stack(outputs, axis=1)
