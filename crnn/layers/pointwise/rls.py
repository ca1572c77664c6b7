"""Recursive least squares: the weights of a readout, updated at every step."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

import crnn._core as _core
from crnn.common.arrays import Array, Floats
from crnn.common.checks import check_array, check_positive, check_product, check_real, check_size
from crnn.layers.base.attributes import Checked, Fixed
from crnn.layers.pointwise.dense import Dense
from crnn.layers.pointwise.factor import check_range

#: Sums of squares up to this number do not overflow in a step.
_LARGEST = 1e280
#: Rows of `step` that the core updates P with at a time.
_STEPS = 16


def _check_forgetting(name: str, value: Any) -> float:
    """Return a number above 0 and at most 1, or raise."""
    number = check_real(name, value)
    if not 0 < number <= 1:
        raise ValueError(f"{name}: expected a number above 0 and at most 1, got {value!r:.60}")
    return number


class RLS(Dense):
    """Dense layer that is fitted by recursive least squares, one step at a time.

    With z = [h, 1] and an error e = target - W z, each step is

        k = P z / (forgetting + z' P z);   W <- W + e k';   P <- (P - k z' P) / forgetting

    from W = 0 and P = I / alpha. After T steps without forgetting, W is exactly the solution of
    ridge regression with the penalty alpha, of the bias, too. Where the output is fed back to the
    network, this is FORCE learning.

    Parameters
    ----------
    input_size, output_size : int
        Number of inputs H, and of outputs K.
    alpha : float, default 1.0
        Penalty of the squared weights, above 0. A small one makes the first steps large.
    forgetting : float, default 1.0
        Factor of the weights of earlier steps at each step, above 0 and at most 1. 1: all steps
        count alike. Below 1, P grows in directions that h does not have.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W (K, H) and b (K,), 0 at first. They may be set before the first step.
    alpha : float
        As passed.
    forgetting : float
        As passed. It may be set at any time, and the next step reads it.
    trace_ : float
        The trace of P.
    dtype : dtype
        float64, the type of parameters and outputs.

    Raises
    ------
    ValueError, TypeError
        If a size is below 1, or another argument is invalid.

    See Also
    --------
    Ridge : The same weights from many steps at once, for any alpha.

    Notes
    -----
    The layer has the factors of P = U' D U, a triangle and a diagonal (Bierman, "Factorization
    methods for discrete sequential estimation", 1977, chapter V). P therefore remains symmetric and
    positive definite. The equations as written above lose this over many steps with forgetting.
    One step costs about 2 (H + 1)^2 multiply-adds. Many rows in one call of `step` are faster than
    as many calls, because the factors are read from memory less often. The weights and P after it
    are the same, bit by bit; the outputs that it returns are all those of the weights before it.
    FORCE: Sussillo and Abbott, "Generating coherent patterns of activity from chaotic neural
    networks" (2009).

    Copies by `copy.copy`, `copy.deepcopy` and `pickle` have P, and can be trained further.
    `crnn.save` stores the parameters alone: a loaded layer has its weights, and begins with
    P = I / alpha again.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer = crnn.RLS(3, 1, alpha=1e-6)
    >>> for h in np.random.default_rng(0).normal(size=(50, 3)):
    ...     y = layer.step(h, target=h[:1] + 2 * h[1:2] + 4)
    >>> layer.params["W"].round(4)[0, :2], layer.params["b"].round(4)
    (array([1., 2.]), array([4.]))
    """

    _arguments = (*Dense._leading, "alpha", "forgetting")
    _hints: ClassVar[dict[str, str]] = dict.fromkeys(
        ("fit", "partial_fit"),
        "write layer.step(h, target) for each step, or crnn.fit_readout(model, data)",
    )
    alpha, forgetting = Fixed[float](), Checked[float](_check_forgetting)

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        alpha: float = 1.0,
        forgetting: float = 1.0,
    ) -> None:
        alpha = check_positive("alpha", alpha)
        checked = _check_forgetting("forgetting", forgetting)
        n = check_size("input_size", input_size) + 1
        check_product("input_size, input_size", n, n)
        if not n / alpha < _LARGEST:
            raise ValueError(f"alpha: expected a number above {n / _LARGEST:g}, got {alpha!r}")
        super().__init__(input_size, output_size, dtype="float64", seed=0)
        self.params["W"] = 0
        vars(self).update(alpha=alpha, forgetting=checked)
        # The first step makes the factors of P, because `crnn.load` has compared only the number of
        # parameters with the size of the file.
        self._factor: Floats | None = None
        self._extent = np.array([n / alpha, 1 / alpha])  # trace of P, least element of D

    def step(self, h: ArrayLike, target: ArrayLike | None = None) -> Array:
        """Return the prediction, then update the weights towards a target.

        Parameters
        ----------
        h : real numbers (H,) or (B, H)
            Input of the layer at one step.
        target : real numbers (K,) or (B, K), optional
            The right output. None: nothing is updated.

        Returns
        -------
        y : array (K,) or (B, K)
            Output of the layer before the update: for B rows, that of the weights before the call
            for all of them. The update then uses one row after the other, and forgets after each.

        Raises
        ------
        ValueError, TypeError
            If an argument has a wrong type or shape, or a number is not finite. The layer has not
            changed then.
        RuntimeError
            If another thread is updating the layer, or is in its backward.
        FloatingPointError
            If a number would overflow: h or an error is too large, or P has grown over many steps
            with forgetting in which h has not changed in some direction. The layer has not changed
            then.

        Examples
        --------
        >>> import crnn
        >>> layer = crnn.RLS(2, 1)
        >>> layer.step([1.0, 2.0], target=[3.0])
        array([0.])
        >>> layer.step([1.0, 2.0]).round(2)
        array([2.57])
        """
        H, K = self.input_size, self.output_size
        rows = check_array("h", h, "real numbers", (("H", H),), ("B", ("H", H)))
        shape = (*rows.shape[:-1], K)
        rows = _floats("h", rows.reshape(-1, H))
        if target is None:
            return self(rows)[0].reshape(shape)
        sizes = tuple(zip("BK"[-len(shape) :], shape, strict=True))
        targets = check_array("target", target, "real numbers", sizes)
        targets = _floats("target", targets.reshape(-1, K))
        with ExitStack() as stack:
            try:
                stack.enter_context(_core.Writing(self))
            except RuntimeError:
                raise RuntimeError(
                    "RLS: expected no other thread in step or backward of the layer, got one"
                ) from None
            y = self(rows)[0]
            self._update(rows, targets, y)
        return y.reshape(shape)

    def _replace(self, other: RLS) -> None:
        """Continue from where another layer of the same sizes is."""
        with _core.Writing(self):
            self._factor = other._factor
            self._extent[...] = other._extent
            self._flat.params[...] = other._flat.params

    @property
    def trace_(self) -> float:
        """The trace of P, the matrix of the recursion."""
        return float(self._extent[0])

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of the constructor for a layer like this one, of types that JSON has."""
        return {name: getattr(self, name) for name in self._arguments}

    def _convert(self, dtype: np.dtype[Any]) -> None:
        if dtype != np.float64:
            raise ValueError(
                f"dtype: expected 'float64', the type of an RLS, got {dtype.name!r}: copy W and b "
                "to a crnn.Dense of that type"
            )
        super()._convert(dtype)

    def _update(self, rows: Floats, targets: Floats, y: Floats) -> None:
        """Make a step of the recursion for each row, in order. All are made, or none is."""
        if self._factor is None:
            self._factor = _core.rls_begin(self.input_size + 1, self.alpha)
        state = self._factor, self._extent, self._flat.params
        backup = [array.copy() for array in state] if len(rows) > 1 else None
        try:
            for first in range(0, len(rows), _STEPS):
                part = slice(first, first + _STEPS)
                known = y[0] if first == 0 else None
                self._update_part(self._factor, rows[part], targets[part], known)
        except FloatingPointError:
            for array, before in zip(state, backup or (), strict=False):
                array[...] = before
            raise

    def _update_part(self, factor: Floats, rows: Floats, targets: Floats, y: Floats | None) -> None:
        """Make a few steps. y is the output at the first one, where it is known."""
        z = np.column_stack([rows, np.ones(len(rows))])
        error = targets[0] - (self(rows[:1])[0][0] if y is None else y)
        _check_step(self._extent, self.forgetting, z, error)
        gains = _core.rls_gains(self.forgetting, z, factor, self._extent)
        weights = self._flat.params.reshape(z.shape[1], -1)
        for i, gain in enumerate(gains):
            if i > 0:
                error = targets[i] - self(rows[i : i + 1])[0][0]
                _check_step(self._extent, self.forgetting, z, error)
            weights += np.outer(gain, error)


def _check_step(extent: Floats, forgetting: float, z: Floats, error: Floats) -> None:
    """Raise FloatingPointError if a step might overflow.

    With s = z' P z, at most trace z'z / forgetting, no element of U exceeds the root of
    trace (1 + s) / least, and no product of U and z the root of s (1 + s) / least.
    """
    trace, least, n = extent[0] / forgetting, extent[1], z.shape[1]
    largest_h, largest_error = float(np.abs(z).max()), float(np.abs(error).max(initial=0))
    largest = max(1.0, largest_h, largest_error)
    with np.errstate(all="ignore"):
        s = trace * n * largest * largest
        most = s * (1 + s) / min(least, 1.0)
        if 0 < least and most < _LARGEST:
            return
        limit = np.sqrt(np.sqrt(_LARGEST * min(least, 1.0)) / (trace * n))
    if not limit > 1:
        raise FloatingPointError(
            f"RLS: expected a step without overflow, got a P with the trace {trace:.3g}. It begins "
            "as I / alpha, and with forgetting it grows in directions in which h does not change"
        )
    name, number = ("h", largest_h) if largest_h >= largest_error else ("target", largest_error)
    of = "numbers" if name == "h" else "differences from the output"
    raise FloatingPointError(
        f"{name}: expected {of} of magnitude at most {limit:.1g}, so that no product with P "
        f"overflows, got {number:.3g}"
    )


def _floats(name: str, values: Array) -> Floats:
    """Return real numbers as finite float64, or raise."""
    floats = values.astype(np.float64)
    check_range(name, floats)
    return floats
