"""Check the gradients of a layer against central differences.

The check uses only the public methods of a layer, so it applies to every cell, every composition
of layers, and every user's class with the same methods. It is slow: two forward passes for each
number that is checked.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.arrays import as_array, memory_key, underflows
from crnn.common.checks import check_number, check_positive
from crnn.common.nested import arrays_of, filled_like, gradient_form, map_state, named_arrays
from crnn.common.tables import aligned
from crnn.diagnostics.kinks import SMALLEST_STEP, at_kinks
from crnn.layers.base.adapted import layer_of, named_layers
from crnn.layers.base.arguments import is_stochastic
from crnn.layers.base.layer import as_dtype, check_layer
from crnn.layers.base.protocol import Input, LayerLike

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CheckedArray:
    """Result of `gradcheck` for one array.

    Attributes
    ----------
    name : str
        Name of the array: of a parameter, ``"x"``, or ``"state"`` with its place in a nested state,
        as in ``"state[0][1]"``.
    shape : tuple of int
        Shape of the array.
    error : float
        Largest ``|analytic - numeric|`` divided by the largest magnitude of the gradient.
    where : tuple of int, or None
        Index of the entry with the largest difference; None for an empty array.
    analytic, numeric : float
        Gradient of this entry, from ``layer.backward`` and from central differences.
    kinks : tuple of tuple of int
        Entries at a kink of the loss, where the one-sided differences disagree and the gradient
        lies between them. They do not count in the error.
    """

    name: str
    shape: tuple[int, ...]
    error: float
    where: tuple[int, ...] | None
    analytic: float
    numeric: float
    kinks: tuple[tuple[int, ...], ...] = ()

    def verdict(self, tolerance: float) -> str:
        """Return the last column of the table: wrong gradients and kinks, or an empty string."""
        words = ["WRONG"] if not self.error <= tolerance else []
        if self.kinks:
            more = f" and {len(self.kinks) - 1} more" if len(self.kinks) > 1 else ""
            words.append(f"kink: one-sided differences disagree at {self.kinks[0]}{more}")
        return "; ".join(words)


@dataclass(frozen=True)
class Report:
    """Result of `gradcheck`: one entry per array. It is true if all errors are small enough.

    Attributes
    ----------
    rows : tuple of CheckedArray
        One for each parameter, then for the input, then for each array of the initial state.
    tolerance : float
        The largest error that passes.
    """

    rows: tuple[CheckedArray, ...]
    tolerance: float

    @property
    def max_error(self) -> float:
        """Largest error of all arrays; 0.0 if no array was checked."""
        return max((row.error for row in self.rows), default=0.0)

    @property
    def ok(self) -> bool:
        """True if no error is above the tolerance."""
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
    x: Input,
    state: Any = None,
    *,
    lengths: ArrayLike | None = None,
    epsilon: float = 1e-5,
    tolerance: float = 1e-7,
    **options: Any,
) -> Report:
    r"""Compare the gradients of a layer with central differences in float64.

    The loss is ``sum(R * y) + sum(R' * state)`` of the y and the state that ``layer.forward``
    returns, with fixed random weights R and R' (R is zero past the end of a row). Each number p
    that the loss depends on is moved in both directions,

    .. math:: \frac{\partial L}{\partial p} \approx
              \frac{L(p + \varepsilon) - L(p - \varepsilon)}{2 \varepsilon},

    and the result is compared with that of ``layer.backward``: for every entry of every parameter,
    of the input if it is floats, and of the initial state. Parameters of frozen layers
    (``trainable = False``) have no gradients and are not checked; the gradients that pass through
    these layers are.

    Parameters
    ----------
    layer : layer
        Any object with ``params``, ``grads``, ``zero_grad()``, ``forward(x, state, lengths=...)``
        and ``backward(tape, dy, dstate)``. A float64 copy is checked through these methods, so
        overridden methods are checked, too; the layer itself does not change. Every forward pass
        runs on a new copy, so a layer with a random generator draws the same numbers in each.
    x : array (B, T, I) of floats, or (B, T) of integers; or a tuple of arrays
        The input. Use a small one: each number of the checked arrays needs two forward passes.
    state : state, optional
        The initial state: an array, None, or lists and tuples of states. If it is None and the
        layer has a state, the gradient with respect to the state is checked at zeros. Parameters
        and input are checked with None, for which a layer may use a learned state.
    lengths : array (B,) of integers, optional
        Number of valid steps of each row. None: the argument is not passed to ``forward``.
    epsilon : float, default 1e-5
        The step, in the unit of the numbers that are moved. The default is close to the cube root
        of the rounding unit of float64: it balances the rounding error of the loss against the
        truncation error, which is proportional to its third derivative.
    tolerance : float, default 1e-7
        The largest error that passes. Correct gradients of smooth layers have errors near 1e-9. If
        one entry of average size is wrong by one percent, the error is about 1e-3.
    **options
        Further arguments of ``forward``, such as ``mask``, ``resets`` or ``call``. The default of
        ``call`` is 0 for layers with dropout: the dropped units are a function of such arguments,
        so gradients can be checked with dropout.

    Returns
    -------
    report : Report
        With ``ok`` (also its truth value), ``max_error`` and ``rows``; printed, it is a table.

    Raises
    ------
    ValueError
        If the shape of a gradient differs from that of its array, or epsilon is not positive, or
        tolerance is negative or not a number.
    TypeError
        If `layer` is not a layer.

    Notes
    -----
    The error of an array is the largest difference divided by the largest magnitude of its
    gradient, analytic or numeric. If all gradients are below the resolution of the differences
    (the rounding error of the loss divided by epsilon), they count as zero, with an error of 0. A
    gradient that is not finite has an infinite error. A missing gradient (None) counts as zeros.

    If a gradient is so small that the rounding error hides a relative difference of `tolerance`, it
    is computed again over 10 and 100 times the step, extrapolated from two steps; differences below
    the resolution of these steps do not count.

    If the differences disagree with the gradient, they are computed again with a half, a tenth and
    a hundredth of the step and extrapolated to a step of 0 (L. F. Richardson 1911), and the best
    result counts. So a loss with strong curvature, such as a normalised state near 0, is not
    reported as a wrong gradient.

    At a kink, such as the relu's at 0 or equal numbers in a maximum, the derivative does not exist.
    An entry does not count if its one-sided differences disagree, both over a tenth and over a
    hundredth of the step, and its gradient lies between them; the table shows "kink". A different
    input can show whether that gradient is correct. If several kinks coincide in one number of y, a
    gradient outside of the one-sided differences may be correct, too.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> report = crnn.gradcheck(crnn.LSTM(3, 2, seed=0), np.ones((2, 3, 3)), lengths=[3, 1])
    >>> report.ok, report.max_error < 1e-7
    (True, True)
    >>> [(row.name, row.shape) for row in report.rows][:3]
    [('W_x', (8, 3)), ('W_h', (8, 2)), ('b', (8,))]
    """
    check_layer("layer", layer)
    epsilon = check_positive("epsilon", epsilon)
    tolerance = check_number("tolerance", tolerance, 0)
    x = map_state(_input, x) if isinstance(x, tuple) else _input(x)
    if lengths is not None:
        options["lengths"] = lengths
    if is_stochastic(layer):  # without it, each call would drop other units
        options.setdefault("call", 0)
    loss = _Loss(as_dtype(copy.deepcopy(layer), "float64"), x, options)
    rng = np.random.default_rng(0)
    loss.state = map_state(_to_float64, state)
    y, end = loss.forward(loss.state)
    loss.filled_state = map_state(_to_float64, filled_like(end, loss.state))
    loss.y_weights = rng.standard_normal(np.shape(y)) * loss.valid(np.shape(y))
    ends = gradient_form(end)
    loss.end_weights = map_state(lambda part: rng.standard_normal(np.shape(part)), ends)

    rows = []
    for start, arrays in ((loss.state, loss.inputs()), (loss.filled_state, loss.states())):
        resolution = loss.rounding(start) / epsilon
        analytic = loss.gradients(start)
        for name, array in arrays:
            target = _Target(name, start, array, _gradient(name, array, analytic.get(name)))
            rows.append(loss.check(target, epsilon, tolerance, resolution))
    return Report(tuple(rows), tolerance)


class _Target(NamedTuple):
    """An array to check: its name, the initial state of the runs, and its analytic gradient."""

    name: str
    state: Any
    array: Array  # edited in place and restored
    gradient: Array


def _nearest(gradient: Array, estimates: list[Array]) -> Array:
    """Return for each entry the estimate that is nearest to its gradient."""
    stacked = np.stack(estimates)
    distance = np.abs(stacked - gradient)
    nearest = np.where(np.isnan(distance), np.inf, distance).argmin(axis=0)
    return np.asarray(np.take_along_axis(stacked, nearest[None], axis=0)[0])


class _Loss:
    """The loss as a function of the parameters, the input and the initial state of a layer."""

    def __init__(self, layer: Any, x: Any, options: dict[str, Any]) -> None:
        self.layer, self.x, self.options = layer, x, options
        self.state: Any = None  # the initial state that the caller passed
        self.filled_state: Any = None  # the same with zeros in place of each None
        self.y_weights: Array = np.empty(0)
        self.end_weights: Any = None

    def forward(self, state: Any) -> tuple[Array, Any]:
        """Return y and the last state of a new copy of the layer."""
        y, end, _ = copy.deepcopy(self.layer).forward(self.x, state, **self.options)
        return y, end

    def valid(self, shape: tuple[int, ...]) -> Array:
        """Return 1 for the outputs (B, T, ...) of valid steps, 0 past the end of a row."""
        lengths = self.options.get("lengths")
        if lengths is None or not layer_of(self.layer).keeps_time:
            return np.ones(shape)
        valid = np.arange(shape[1]) < np.asarray(lengths)[:, None]
        return np.broadcast_to(valid.reshape(valid.shape + (1,) * (len(shape) - 2)), shape)

    def terms(self, state: Any) -> Array:
        """Return the weighted outputs: a flat array whose sum is the loss."""
        y, end = self.forward(state)
        counted = self.y_weights != 0  # y may be NaN in padding
        parts = [y[counted] * self.y_weights[counted]]
        for part, weights in zip(
            arrays_of(gradient_form(end)), arrays_of(self.end_weights), strict=True
        ):
            parts.append((part * weights).ravel())
        return np.concatenate(parts)

    def rounding(self, state: Any) -> float:
        """Return the size of the rounding error of the loss."""
        return float(np.finfo(np.float64).eps * np.sum(np.abs(self.terms(state))))

    def inputs(self) -> list[tuple[str, Array]]:
        """Return the parameters and the input by name."""
        inputs = named_arrays(self.x, "x")
        floats = [(name, part) for name, part in inputs if part.dtype.kind == "f"]
        frozen = _frozen_keys(self.layer)
        params = [
            (name, array)
            for name, array in self.layer.params.items()
            if memory_key(array) not in frozen
        ]
        return [*params, *floats]

    def states(self) -> list[tuple[str, Array]]:
        """Return the arrays of the initial state by name."""
        return named_arrays(gradient_form(self.filled_state), "state")

    def gradients(self, state: Any) -> dict[str, Any]:
        """Return the analytic gradients by name, for an initial state."""
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
            middle = kept if np.isfinite(kept) else 0.0  # padding may be NaN
            step = max(epsilon, abs(middle) * SMALLEST_STEP)
            array[where] = above = middle + step
            terms = self.terms(state)
            array[where] = below = middle - step
            # The difference is taken term by term, because the rounding error of a large sum can
            # exceed it. The step is the difference of the rounded numbers.
            slopes[where] = np.sum(terms - self.terms(state)) / (above - below)
            array[where] = kept
        return slopes

    def check(
        self, target: _Target, epsilon: float, tolerance: float, resolution: float
    ) -> CheckedArray:
        """Return the result for one array.

        Parameters
        ----------
        target : _Target
        epsilon, tolerance : float
        resolution : float
            The smallest gradient that differences over epsilon can resolve.
        """
        name, start, array, gradient = target
        numeric = self.differences(start, array, epsilon)
        result, estimates = _compare(name, gradient, numeric, resolution), [numeric]
        if result.error > tolerance and tolerance * _scale(gradient, numeric) < resolution:
            result = min(result, *self._wider(target, epsilon, resolution), key=_error)
        for divisor in (2, 10, 100):
            if result.error <= tolerance:
                return result
            finer = self.differences(start, array, epsilon / divisor)
            change = finer - numeric
            # The truncation error is of order 2 in the step, or of order 1 where the second
            # derivative jumps. Where the longer step crosses a kink, extrapolation is wrong and
            # the finer differences count as they are.
            finer_estimates = [finer, *(finer + change / (divisor**order - 1) for order in (1, 2))]
            estimates += finer_estimates
            finer_results = (
                _compare(name, gradient, estimate, divisor * resolution)
                for estimate in finer_estimates
            )
            result = min(result, *finer_results, key=_error)
        if result.error <= tolerance:
            return result
        best = _nearest(gradient, estimates)
        allowed = tolerance * _scale(gradient, best)
        kinks = at_kinks(lambda: self.terms(start), array, gradient, best, epsilon, allowed)
        return _compare(name, gradient, best, resolution, kinks)

    def _wider(self, target: _Target, epsilon: float, resolution: float) -> Iterator[CheckedArray]:
        """Yield the results over longer steps, for gradients too small for the rounding error."""
        name, start, array, gradient = target
        for factor in (10, 100):
            wide = self.differences(start, array, factor * epsilon)
            half = self.differences(start, array, factor / 2 * epsilon)
            numeric = half + (half - wide) / 3
            yield _compare(name, gradient, numeric, 3 * resolution / factor, resolved=True)


def _error(result: CheckedArray) -> float:
    return result.error


def _frozen_keys(layer: Any) -> set[tuple[int, tuple[int, ...]]]:
    """Return the addresses and shapes of the parameters of frozen layers."""
    keys: dict[tuple[int, tuple[int, ...]], bool] = {}
    for _, part in named_layers(layer):  # the innermost layer that holds an array is the last one
        for array in part.params.values():
            keys[memory_key(array)] = part._frozen
    return {key for key, is_frozen in keys.items() if is_frozen}


def _compare(
    name: str,
    analytic: Array,
    numeric: Array,
    resolution: float,
    kinks: tuple[tuple[int, ...], ...] = (),
    *,
    resolved: bool = False,
) -> CheckedArray:
    """Return the comparison of two gradients; entries at kinks do not count.

    With `resolved`, differences below the resolution do not count, either.
    """
    if not analytic.size:
        return CheckedArray(name, analytic.shape, 0.0, None, 0.0, 0.0)
    finite = np.isfinite(analytic) & np.isfinite(numeric)
    difference = np.full(analytic.shape, np.inf)
    np.subtract(analytic, numeric, out=difference, where=finite)
    difference = np.abs(difference)
    for kink in kinks:
        difference[kink] = 0.0
    if resolved:
        difference[difference <= resolution] = 0.0
    where = tuple(int(k) for k in np.unravel_index(np.argmax(difference), difference.shape))
    scale = _scale(analytic, numeric)
    negligible = finite.all() and scale <= resolution
    error = 0.0 if negligible else float(difference[where] / (scale or 1.0))
    values = float(analytic[where]), float(numeric[where])
    return CheckedArray(name, analytic.shape, error, where, *values, kinks)


def _scale(analytic: Array, numeric: Array) -> float:
    """Return the largest magnitude of two gradients at the entries where both are finite."""
    finite = np.isfinite(analytic) & np.isfinite(numeric)
    magnitudes = np.abs(np.concatenate([analytic[finite], numeric[finite]]))
    return float(np.max(magnitudes, initial=0.0))


def _gradient(name: str, array: Array, grad: ArrayLike | None) -> Array:
    """Return a copy of a gradient in float64; zeros for None."""
    grad = np.zeros(array.shape) if grad is None else np.array(grad, np.float64)
    if grad.shape != array.shape:
        raise ValueError(
            f"layer: expected a gradient of {name} of shape {array.shape}, got {grad.shape}"
        )
    return grad


def _input(x: Any) -> NDArray[Any]:
    """Return an input as an array, floats as a copy in float64."""
    array = as_array("x", x)
    return np.array(array, np.float64) if array.dtype.kind == "f" else array


def _to_float64(array: ArrayLike) -> Any:
    """Return a copy in float64; of integers, such as numbers of steps, one of the same type."""
    given = np.asarray(array)
    return given.copy() if given.dtype.kind in "iu" else given.astype(np.float64)
