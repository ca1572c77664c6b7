"""Check the gradients of a layer against central differences.

The check knows a layer only by its public methods, so it holds for every cell, every composition
of layers, and every class a user writes with the same methods. It refuses to be fast: two runs
forward for each number that is checked.
"""

import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.arrays import as_array, underflows
from crnn.common.checks import check_number, check_positive
from crnn.common.nested import arrays_of, filled_like, map_state, named_arrays
from crnn.common.tables import aligned
from crnn.diagnostics.kinks import SMALLEST_STEP, at_kinks
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.arguments import is_stochastic
from crnn.layers.base.layer import as_dtype, check_layer
from crnn.layers.base.protocol import LayerLike

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """What was found for one array.

    Attributes
    ----------
    name : str
        A parameter's name, ``"x"``, or ``"state"`` with its place in a nested state, as in
        ``"state[0][1]"``.
    shape : tuple of int
        The array's shape.
    error : float
        Largest ``|analytic - numeric|`` over the largest magnitude of the array's gradient.
    where : tuple of int or None
        Index of the entry with the largest difference; None in an empty array.
    analytic, numeric : float
        Its gradient as the layer computed it, and by central differences.
    kinks : tuple of tuple of int
        Entries at a kink of the loss, where the one-sided differences disagree and the gradient
        lies between them. They are not counted in the error.
    """

    name: str
    shape: tuple[int, ...]
    error: float
    where: tuple[int, ...] | None
    analytic: float
    numeric: float
    kinks: tuple[tuple[int, ...], ...] = ()

    def verdict(self, tolerance: float) -> str:
        """Return what there is to say of it; nothing where all entries are right."""
        words = ["WRONG"] if not self.error <= tolerance else []
        if self.kinks:
            more = f" and {len(self.kinks) - 1} more" if len(self.kinks) > 1 else ""
            words.append(f"kink: one-sided differences disagree at {self.kinks[0]}{more}")
        return "; ".join(words)


@dataclass(frozen=True)
class Report:
    """The outcome of `gradcheck`: a row for each array, true when all are within the tolerance.

    Attributes
    ----------
    rows : tuple of Row
        One for each parameter, then the input, then each array of the initial state.
    tolerance : float
        The largest error that passes.
    """

    rows: tuple[Row, ...]
    tolerance: float

    @property
    def max_error(self) -> float:
        """The largest error of all rows (0.0 when nothing was checked)."""
        return max((row.error for row in self.rows), default=0.0)

    @property
    def ok(self) -> bool:
        """Whether no error is above the tolerance."""
        return self.max_error <= self.tolerance

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        cells: list[tuple[str, ...]]
        cells = [("name", "shape", "error", "where", "analytic", "numeric", "")]
        for row in self.rows:
            where = "-" if row.where is None else str(row.where)
            values = [f"{value:.9g}" for value in (row.analytic, row.numeric)]
            verdict = row.verdict(self.tolerance)
            cells.append((row.name, str(row.shape), f"{row.error:.1e}", where, *values, verdict))
        verdict = "ok" if self.ok else "FAILED"
        head = f"gradcheck {verdict}: largest error {self.max_error:.1e}"
        return "\n".join([f"{head} (tolerance {self.tolerance:.0e})", *aligned(cells)])


@underflows
def gradcheck(
    layer: LayerLike,
    /,
    x: Any,
    state: Any = None,
    *,
    lengths: ArrayLike | None = None,
    epsilon: float = 1e-5,
    tolerance: float = 1e-7,
    **options: Any,
) -> Report:
    r"""Compare the gradients of a layer with central differences in float64.

    The loss is ``sum(R * y) + sum(R' * state)`` over what ``layer.forward`` returns, with fixed
    random weights R and R' (zero where a row has ended, whatever stands there). Each number p that
    the loss depends on is moved both ways,

    .. math:: \frac{\partial L}{\partial p} \approx
              \frac{L(p + \varepsilon) - L(p - \varepsilon)}{2 \varepsilon},

    and compared with what ``layer.backward`` computes: every entry of every parameter, of the
    input where it is floats, and of the initial state.

    Parameters
    ----------
    layer : layer
        Anything with ``params``, ``grads``, ``zero_grad()``, ``forward(x, state, lengths=...)`` and
        ``backward(tape, dy, dstate)``. A float64 copy is checked, through these methods (an
        overridden one is what gets checked); the layer itself does not change. Every run starts
        from a fresh copy, so a layer that carries a random generator draws the same numbers in
        each.
    x : array (B, T, I) of floats, or of integers (B, T); or a tuple of arrays
        The input. Keep it small: the time grows with the size of all arrays checked.
    state : state, optional
        The initial state: an array, or None, or lists and tuples of states. Where it is None and
        the layer has a state, the gradient at a state of zeros is checked; parameters and input are
        checked with None, which a layer may take for a state that it has learned.
    lengths : array (B,) of integers, optional
        Steps in each row. Not passed on when None.
    **options
        Further arguments of ``forward``, such as ``mask``, ``resets`` or ``call``, which is 0 by
        default. What is dropped in training is a function of such arguments, so gradients can be
        checked with it.
    epsilon : float
        The step, in the unit of the numbers moved. The default, near the cube root of float64's
        rounding unit, balances the rounding of the loss against its third derivative.
    tolerance : float
        The largest error that passes. Right gradients of smooth layers stay near 1e-9; a gradient
        wrong by one percent in one entry of ordinary size is off by 1e-3 or so.

    Returns
    -------
    report : Report
        ``ok`` (also its truth value), ``max_error``, ``rows``; printed, a table.

    Raises
    ------
    ValueError
        When a gradient's shape is not that of its array, or epsilon or tolerance is no such number.
    TypeError
        When `layer` is not a layer.

    Notes
    -----
    The error of an array is the largest difference over the largest magnitude of its gradient,
    analytic or numeric. Gradients that are all below what differences of this loss can resolve, the
    rounding of its terms over epsilon, count as zero: 0/0 is an error of 0. A gradient that is
    not finite is an error of infinity, and a missing one (None) stands for zeros.

    Where the differences disagree, they are taken again over a half, a tenth and a hundredth of
    the step and extrapolated to none (Richardson 1911), and the best counts: so that a loss of
    strong curvature, such as a normalised state near 0, is not taken for a wrong gradient.

    At a kink, such as the relu's at 0 or equal numbers in a maximum, there is no derivative. An
    entry of which the one-sided differences disagree, over a tenth and a hundredth of the step
    alike, is not counted if its gradient lies between them; the table says "kink". Another input
    can tell whether that gradient is right. Where several kinks meet in one number of y, a
    gradient outside of them may be right, too.

    Examples
    --------
    >>> print(gradcheck(layer, np.ones((2, 3, layer.input_size))))  # doctest: +SKIP
    gradcheck ok: largest error 6.1e-11 (tolerance 1e-07)
    name   shape      error    where      analytic       numeric
    W_x    (8, 3)     6.1e-11  (5, 1)     0.0392270301   0.0392270301
    ...
    """
    check_layer("layer", layer)
    epsilon = check_positive("epsilon", epsilon)
    tolerance = check_number("tolerance", tolerance, 0)
    x = map_state(_input, x) if isinstance(x, tuple) else _input(x)
    if lengths is not None:
        options["lengths"] = lengths
    if is_stochastic(layer):  # each run drops the same
        options.setdefault("call", 0)
    run = _Run(as_dtype(copy.deepcopy(layer), "float64"), x, options)
    rng = np.random.default_rng(0)
    run.given = map_state(_to_float64, state)
    y, end = run.forward(run.given)
    run.filled = map_state(_to_float64, filled_like(end, run.given))
    run.y_weights = rng.standard_normal(np.shape(y)) * run.valid(np.shape(y))
    run.end_weights = map_state(lambda part: rng.standard_normal(np.shape(part)), end)

    rows = []
    for start, arrays in ((run.given, run.inputs()), (run.filled, run.states())):
        resolution = run.rounding(start) / epsilon
        analytic = run.gradients(start)
        for name, array in arrays:
            place = _Place(name, start, array, _gradient(name, array, analytic.get(name)))
            rows.append(run.row(place, epsilon, tolerance, resolution))
    return Report(tuple(rows), tolerance)


class _Place(NamedTuple):
    """An array that is checked: its name, the initial state of the runs, its analytic gradient."""

    name: str
    state: Any
    array: Array  # edited in place, and put back
    gradient: Array


def _nearest(gradient: Array, estimates: list[Array]) -> Array:
    """Return for each entry the estimate that is nearest to its gradient."""
    several = np.stack(estimates)
    distance = np.abs(several - gradient)
    place = np.where(np.isnan(distance), np.inf, distance).argmin(axis=0)
    return np.asarray(np.take_along_axis(several, place[None], axis=0)[0])


class _Run:
    """The arrays that a loss is computed from, and ways to run the layer on them."""

    def __init__(self, layer: Any, x: Any, options: dict[str, Any]) -> None:
        self.layer, self.x, self.options = layer, x, options
        self.given: Any = None  # the initial state, as it was given
        self.filled: Any = None  # with zeros in place of each None
        self.y_weights: Array = np.empty(0)
        self.end_weights: Any = None

    def forward(self, state: Any) -> tuple[Array, Any]:
        """Return y and the last state, from a fresh copy of the layer."""
        y, end, _ = copy.deepcopy(self.layer).forward(self.x, state, **self.options)
        return y, end

    def valid(self, shape: tuple[int, ...]) -> Array:
        """Return 1 for the outputs (B, T, ...) of a row's own steps, 0 past its end."""
        lengths = self.options.get("lengths")
        if lengths is None or not layer_of(self.layer).keeps_time:
            return np.ones(shape)
        own = np.arange(shape[1]) < np.asarray(lengths)[:, None]
        return np.broadcast_to(own.reshape(own.shape + (1,) * (len(shape) - 2)), shape)

    def terms(self, state: Any) -> Array:
        """Return the weighted outputs: a flat array that sums to the loss."""
        y, end = self.forward(state)
        counted = self.y_weights != 0  # a row's padding may hold anything, even NaN
        parts = [y[counted] * self.y_weights[counted]]
        for part, weights in zip(arrays_of(end), arrays_of(self.end_weights), strict=True):
            parts.append((part * weights).ravel())
        return np.concatenate(parts)

    def rounding(self, state: Any) -> float:
        """Return the size of the rounding errors in the loss."""
        return float(np.finfo(np.float64).eps * np.sum(np.abs(self.terms(state))))

    def inputs(self) -> list[tuple[str, Array]]:
        """Return the parameters and the input by name."""
        inputs = named_arrays(self.x, "x")
        floats = [(name, part) for name, part in inputs if part.dtype.kind == "f"]
        return [*self.layer.params.items(), *floats]

    def states(self) -> list[tuple[str, Array]]:
        """Return the arrays of the initial state by name."""
        return named_arrays(self.filled, "state")

    def gradients(self, state: Any) -> dict[str, Any]:
        """Return the analytic gradients by name, from an initial state."""
        layer = copy.deepcopy(self.layer)
        layer.zero_grad()
        _, _, tape = layer.forward(self.x, state, **self.options)
        dx, dstate = layer.backward(tape, self.y_weights, self.end_weights)
        return dict(layer.grads) | dict(named_arrays(dx, "x")) | dict(named_arrays(dstate, "state"))

    def differences(self, state: Any, array: Array, epsilon: float) -> Array:
        """Return the central differences of the loss over `array`, edited in place."""
        slopes = np.zeros(array.shape)
        for where in np.ndindex(array.shape):
            kept = float(array[where])
            middle = kept if np.isfinite(kept) else 0.0  # NaN, in padding
            step = max(epsilon, abs(middle) * SMALLEST_STEP)
            array[where] = above = middle + step
            terms = self.terms(state)
            array[where] = below = middle - step
            # Term by term: the rounding of a large sum would drown a small difference. The step is
            # the one that the rounded numbers really took.
            slopes[where] = np.sum(terms - self.terms(state)) / (above - below)
            array[where] = kept
        return slopes

    def row(self, place: _Place, epsilon: float, tolerance: float, resolution: float) -> Row:
        """Return what is found for an array.

        Parameters
        ----------
        place : _Place
        epsilon, tolerance : float
        resolution : float
            What differences over epsilon can resolve.
        """
        name, start, array, gradient = place
        numeric = self.differences(start, array, epsilon)
        row, estimates = _compare(name, gradient, numeric, resolution), [numeric]
        for shorter in (2, 10, 100):
            if row.error <= tolerance:
                return row
            finer = self.differences(start, array, epsilon / shorter)
            change = finer - numeric
            # The error's order in the step: 2, or 1 where the second derivative jumps. Without
            # either, where the longer step crossed a kink.
            again = [finer, *(finer + change / (shorter**order - 1) for order in (1, 2))]
            estimates += again
            finer_rows = (_compare(name, gradient, one, shorter * resolution) for one in again)
            row = min(row, *finer_rows, key=lambda row: row.error)
        if row.error <= tolerance:
            return row
        best = _nearest(gradient, estimates)
        allowed = tolerance * _scale(gradient, best)
        kinks = at_kinks(lambda: self.terms(start), array, gradient, best, epsilon, allowed)
        return _compare(name, gradient, best, resolution, kinks)


def _compare(
    name: str,
    analytic: Array,
    numeric: Array,
    resolution: float,
    kinks: tuple[tuple[int, ...], ...] = (),
) -> Row:
    """Return the row of one array; entries at kinks are not compared."""
    if not analytic.size:
        return Row(name, analytic.shape, 0.0, None, 0.0, 0.0)
    finite = np.isfinite(analytic) & np.isfinite(numeric)
    difference = np.full(analytic.shape, np.inf)
    np.subtract(analytic, numeric, out=difference, where=finite)
    difference = np.abs(difference)
    for kink in kinks:
        difference[kink] = 0.0
    where = tuple(int(k) for k in np.unravel_index(np.argmax(difference), difference.shape))
    scale = _scale(analytic, numeric)
    negligible = finite.all() and scale <= resolution
    error = 0.0 if negligible else float(difference[where] / (scale or 1.0))
    values = float(analytic[where]), float(numeric[where])
    return Row(name, analytic.shape, error, where, *values, kinks)


def _scale(analytic: Array, numeric: Array) -> float:
    """Return the largest magnitude of a gradient, of the entries at which both are finite."""
    finite = np.isfinite(analytic) & np.isfinite(numeric)
    magnitudes = np.abs(np.concatenate([analytic[finite], numeric[finite]]))
    return float(np.max(magnitudes, initial=0.0))


def _gradient(name: str, array: Array, grad: ArrayLike | None) -> Array:
    """Return a gradient as a float64 array of its own; None is zeros."""
    grad = np.zeros(array.shape) if grad is None else np.array(grad, np.float64)
    if grad.shape != array.shape:
        raise ValueError(
            f"the gradient of {name} must have its shape {array.shape}, got {grad.shape}"
        )
    return grad


def _input(x: Any) -> NDArray[Any]:
    """Return an array of its own, floats in float64."""
    array = as_array("x", x)
    return np.array(array, np.float64) if array.dtype.kind == "f" else array


def _to_float64(array: ArrayLike) -> Array:
    return np.array(array, np.float64)
