"""One to many: a network that reads what it gave."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn import _core
from crnn.layers.base import as_array, check_number, check_positive, check_seed, check_size
from crnn.layers.streams import stream_of

Array = NDArray[Any]

SAMPLE_STREAM = int.from_bytes(b"sample")  # of the counter-based generator


def generate(
    model: Any,
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
        choose = _Choice(temperature, top_k, top_p)
        if temperature is not None:
            choose.draw_from(check_seed(seed), len(first), steps)
        stop = _check_stop(stop)
        return _symbols(stream_of(model, len(first), state), first, steps, stop, choose)
    if first.dtype.kind != "f" or first.ndim != 2:
        raise (TypeError if first.dtype.kind not in "iuf" else ValueError)(
            "start: expected integers of shape (B,) or floats of shape (B, F), "
            f"got {first.dtype} of shape {first.shape}"
        )
    drawing = {"stop": stop, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    for name, value in drawing.items():
        if value is not None:
            raise ValueError(f"{name}: expected None for vectors, got {value!r}")
    return _vectors(stream_of(model, len(first), state), first, steps, feedback)


def _symbols(
    stream: Any, x: Array, steps: int, stop: int | None, choose: "_Choice"
) -> NDArray[np.int64]:
    given = np.full((len(x), steps), -1 if stop is None else stop, np.int64)
    running = np.ones(len(x), bool)
    for step in range(steps):
        logits = stream.step(x)
        if np.isnan(logits[running]).any():
            raise FloatingPointError(f"logits: expected numbers at step {step}, got NaN")
        x = choose(logits, step)
        given[running, step] = x[running]
        if stop is not None:
            running &= x != stop
            x[~running] = stop
            if not running.any():
                break
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


def _check_stop(stop: int | None) -> int | None:
    if stop is None or (isinstance(stop, (int, np.integer)) and stop >= 0):
        return stop
    kind = ValueError if isinstance(stop, (int, np.integer)) else TypeError
    raise kind(f"stop: expected None or a symbol, an integer of at least 0, got {stop!r}")


class _Choice:
    """How the next symbol of each row comes from its logits; the parameters are `generate`'s."""

    def __init__(self, temperature: float | None, top_k: int | None, top_p: float | None) -> None:
        if temperature is None:
            for name, value in {"top_k": top_k, "top_p": top_p}.items():
                if value is not None:
                    raise ValueError(f"{name}: expected None without a temperature, got {value!r}")
        self._temperature = (
            None if temperature is None else check_number("temperature", temperature, 0)
        )
        self._top_k = None if top_k is None else check_size("top_k", top_k)
        self._top_p = None if top_p is None else check_positive("top_p", top_p)
        if top_p is not None and top_p > 1:
            raise ValueError(f"top_p: expected a probability, 0 < p <= 1, got {top_p!r}")
        self._numbers: Array = np.empty(0)

    def draw_from(self, seed: int, rows: int, steps: int) -> None:
        """Make the random numbers, one for each row and step."""
        streams = (
            _core.random_uniform(seed, SAMPLE_STREAM, row << 32, steps) for row in range(rows)
        )
        self._numbers = np.array([*streams]).reshape(rows, steps)

    def __call__(self, logits: Array, step: int) -> NDArray[np.int64]:
        """The next symbols (B,) from logits (B, K)."""
        if self._temperature is None:
            return np.asarray(logits.argmax(axis=1))
        symbols = []
        for row, u in zip(logits, self._numbers[:, step], strict=True):
            kept = self._kept(row, self._temperature)
            symbols.append(kept[draw(row[kept], self._temperature, u)])
        return np.array(symbols, np.int64)

    def _kept(self, logits: Array, temperature: float) -> NDArray[np.intp]:
        """The symbols to draw among, ascending."""
        if self._top_k is None and self._top_p is None:
            return np.arange(len(logits))
        likeliest = np.argsort(-logits, kind="stable")[: self._top_k]
        if self._top_p is not None and temperature > 0:
            ordered = logits[likeliest].astype(np.float64)
            shares = np.exp((ordered - ordered[0]) / temperature).cumsum()
            enough = int(np.searchsorted(shares, self._top_p * shares[-1]))
            likeliest = likeliest[: enough + 1]
        return np.sort(likeliest)


def draw(logits: Array, temperature: float, u: float) -> int:
    """Return a symbol drawn with probabilities softmax(logits / temperature).

    Parameters
    ----------
    logits : array (K,)
    temperature : float
        From 0, which takes the likeliest.
    u : float
        A random number, uniform in [0, 1).
    """
    best = int(np.argmax(logits))
    if temperature == 0:
        return best
    if np.isinf(logits[best]):  # as likely as each other, and all others not at all
        shares = (logits == logits[best]).cumsum().astype(np.float64)
    else:
        shares = np.exp((logits.astype(np.float64) - logits[best]) / temperature).cumsum()
    return min(int(np.searchsorted(shares, u * shares[-1], side="right")), len(logits) - 1)
