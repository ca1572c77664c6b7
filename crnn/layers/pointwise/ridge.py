"""Dense layers whose weights are the solution of a least squares problem."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from crnn.common.arrays import Array, Floats, fitting
from crnn.common.checks import check_count, check_real
from crnn.layers.base.attributes import Checked
from crnn.layers.pointwise.dense import Dense
from crnn.layers.pointwise.factor import Factor, leave_one_out, merged
from crnn.layers.pointwise.readable import (
    Steps,
    add_steps,
    no_steps,
    readable_steps,
)

#: Held while the results of a fit are stored.
_storing = threading.Lock()
#: Number of folds of `fit` if alpha is a sequence.
_FOLDS = 5


def check_alpha(name: str, alpha: Any) -> float | tuple[float, ...]:
    """Return a penalty of at least 0, or a tuple of different ones, or raise."""
    if isinstance(alpha, (str, bytes, Mapping)) or not np.iterable(alpha):
        return check_real(name, alpha, 0.0)
    alphas = tuple(check_real(name, one, 0.0) for one in alpha)
    if not alphas or len(set(alphas)) < len(alphas):
        raise ValueError(f"{name}: expected a number, or different numbers, got {alpha!r:.100}")
    return alphas


def folds_of(alpha: float | tuple[float, ...], folds: int | None) -> int:
    """Return the number of folds of a fit: 5 by default if there are several alphas, else 1.

    Raises
    ------
    ValueError, TypeError
        `folds` is no integer of at least 2, and not None.
    """
    if folds is None:
        return _FOLDS if isinstance(alpha, tuple) else 1
    is_integer = isinstance(folds, (int, np.integer))
    if not is_integer or folds < 2:
        raise (ValueError if is_integer else TypeError)(
            f"folds: expected None, or an integer of at least 2, got {folds!r:.60}"
        )
    return int(folds)


def fold_ends(count: int, folds: int) -> list[int]:
    """Return the ends of folds of consecutive steps, equal but for one step.

    Raises
    ------
    ValueError
        There are fewer steps than folds.
    """
    if count < folds:
        raise ValueError(
            f"folds: expected at most one for each of the {count} steps that are read, got {folds}"
        )
    sizes = (count // folds + (fold < count % folds) for fold in range(folds))
    return list(itertools.accumulate(sizes))


class Ridge(Dense):
    """Dense layer that is fitted by ridge regression: y = W h + b, without a gradient.

    The weights are those with the least

        sum over all steps that are read of weight * |target - W h - b|^2  +  alpha * |W|^2

    The bias is not penalised, as in scikit-learn, so the result does not depend on the mean of h or
    of the targets. alpha is absolute: compare it with `trace_`.

    All rows are reduced to a triangular factor in float64 as they arrive, in blocks. Memory does
    not depend on the number of steps, and the weights of any alpha follow without another pass.
    The layer can be used and trained like any `Dense`, too.

    Parameters
    ----------
    input_size, output_size : int
        Number of inputs H, and of outputs K.
    alpha : float or sequence of float, default 1e-6
        Penalty, at least 0. A sequence: the one with the least error in cross-validation is used.
    bias : bool, default True
        Whether the layer has a bias b.
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters and outputs. The regression is computed in float64 for both.
    seed : int, optional
        Seed of the initial W, as in `Dense`. None draws a seed.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W (K, H) and b (K,).
    alpha : float or tuple of float
        As passed. The next `fit` or `solve` reads it.
    alpha_ : float or None
        The penalty of the present weights; None before `solve`.
    cv_error_ : ndarray (number of alphas,) or None
        Weighted mean of the squared errors, over the steps and outputs of all folds, of weights
        that were fitted to the other folds. None unless alpha is a sequence.
    trace_ : float or None
        The trace of Z'Z, the matrix to whose diagonal alpha is added: the sum of the squares of h,
        minus its mean if there is a bias.
    steps_ : int
        Number of steps in the regression.
    seed : int
        The seed that was used.

    Raises
    ------
    ValueError, TypeError
        If a size is below 1, or an alpha, the dtype or the seed is invalid.

    See Also
    --------
    RLS : The same weights, updated at every step.

    Notes
    -----
    The factor is R <- qr([R; rows]) by Householder reflections (Golub and Van Loan, "Matrix
    computations", chapter 5; Schreiber and Van Loan, 1989, for the blocks). It is more accurate
    than the normal equations, whose condition is the square of that of h. One step costs about
    (H + 1) (H + 1 + 2 K) multiply-adds, and a solution (H + 1)^3 / 3.

    The bits of the weights are a function of the rows and their order. They do not depend on how
    the rows are divided among calls of `partial_fit`, or on the number of threads. With several
    folds, the order is that of the folds.

    Copies by `copy.copy`, `copy.deepcopy` and `pickle` have the factors, and can be fitted further.
    `crnn.save` stores the parameters alone.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> h = np.random.default_rng(0).normal(size=(2, 50, 3))
    >>> target = h @ [[1.0], [2.0], [3.0]] + 4
    >>> layer = crnn.Ridge(3, 1, alpha=1e-9, dtype="float64").fit(h, target, washout=10)
    >>> layer.params["W"].round(6), layer.params["b"].round(6)
    (array([[1., 2., 3.]]), array([4.]))
    >>> layer.solve(alpha=1e3).params["W"].round(2)  # without another pass over h
    array([[0.08, 0.18, 0.22]])
    """

    _arguments = (*Dense._leading, "alpha", "bias", "dtype", "seed")
    alpha = Checked[float | tuple[float, ...]](check_alpha)

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        alpha: float | Sequence[float] = 1e-6,
        bias: bool = True,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        checked = check_alpha("alpha", alpha)
        super().__init__(input_size, output_size, bias=bias, dtype=dtype, seed=seed)
        self.alpha = checked
        self._factors: dict[int, Factor] = {}
        self.alpha_: float | None = None
        self.cv_error_: Floats | None = None
        self.trace_: float | None = None

    @property
    def steps_(self) -> int:
        """Number of steps in the regression, of all folds."""
        return sum(factor.steps for factor in self._factors.values())

    def fit(
        self,
        h: ArrayLike,
        target: ArrayLike,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        *,
        washout: ArrayLike = 0,
        resets: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        folds: int | None = None,
    ) -> Self:
        """Forget all rows of earlier calls, add these, and solve for the weights.

        Parameters
        ----------
        h : floats (B, T, H) or (B, H)
            Input of the layer, such as the states of a reservoir.
        target : real numbers (B, T, K) or (B, K)
            Outputs to fit.
        lengths : integers (B,), optional
            Number of valid steps of each row. None: all T steps.
        mask : booleans or integers 0 and 1 (B, T), optional
            False at steps that are not read. None: all steps are read.
        washout : int or integers (B,), default 0
            Steps at the beginning of each row that are left out, because they depend on the initial
            state. Only steps that are read count. A shorter row gives nothing.
        resets : booleans or integers 0 and 1 (B, T), optional
            True at steps before which the state was reset: the washout begins again.
        weights : real numbers (B, T) or (B,), optional
            Weights of the squared errors of steps, or of rows, at least 0. Steps of weight 0 are
            left out. None: all are 1.
        folds : int, optional
            Number of folds for cross-validation, at least 2. The steps are divided into so many
            parts of consecutive steps, equal but for one step. None: 5 if alpha is a sequence, else
            there is one fold.

        Returns
        -------
        Ridge
            The layer itself.

        Raises
        ------
        ValueError, TypeError
            If an argument has a wrong type, shape or value; if no step is left; if there are fewer
            steps than folds; if alpha is 0, or lost in rounding errors, and the rank of h is too
            low. The layer has not changed then.
        RuntimeError
            If another thread fits the layer. This call has changed nothing then.
        """
        before = self._factors
        folds = folds_of(self.alpha, folds)
        sizes = self.input_size, self.output_size
        steps = readable_steps(sizes, h, target, lengths, mask, washout, resets, weights)
        if steps.count == 0:
            raise no_steps("h", washout)
        ends = [0, *fold_ends(steps.count, folds)]
        factors = {
            fold: self._added(None, steps.part(ends[fold], ends[fold + 1])) for fold in range(folds)
        }
        return self._store(before, factors, self.alpha)

    def partial_fit(
        self,
        h: ArrayLike,
        target: ArrayLike,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        *,
        washout: ArrayLike = 0,
        resets: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        fold: int = 0,
    ) -> Self:
        """Add rows to those of earlier calls. The weights change when `solve` is called.

        Parameters
        ----------
        h, target, lengths, mask, washout, resets, weights
            As for `fit`. The washout counts from the first step of this call.
        fold : int, default 0
            Number of the fold to which the rows belong. Cross-validation needs rows in at least two
            folds.

        Returns
        -------
        Ridge
            The layer itself.

        Raises
        ------
        ValueError, TypeError
            If an argument has a wrong type, shape or value. The layer has not changed then. A call
            in which no step is left is allowed.
        RuntimeError
            If another thread fits the layer. This call has changed nothing then.
        """
        before, fold = self._factors, check_count("fold", fold, 63)
        sizes = self.input_size, self.output_size
        steps = readable_steps(sizes, h, target, lengths, mask, washout, resets, weights)
        if steps.count == 0:
            return self
        factors = before | {fold: self._added(before.get(fold), steps)}
        return self._store(before, factors, None)

    def solve(self, alpha: float | Sequence[float] | None = None) -> Self:
        """Set the weights to those of the rows so far, for any alpha.

        Parameters
        ----------
        alpha : float or sequence of float, optional
            Penalty. A sequence: the one with the least error in cross-validation over the folds.
            None: the attribute `alpha`.

        Returns
        -------
        Ridge
            The layer itself.

        Raises
        ------
        ValueError
            If there are no rows, or fewer than two folds for a sequence of alphas; if alpha is 0,
            or lost in rounding errors, and the rank of h is too low. The layer has not changed
            then.
        RuntimeError
            If another thread fits the layer. This call has changed nothing then.
        """
        before = self._factors
        return self._store(
            before, before, check_alpha("alpha", self.alpha if alpha is None else alpha)
        )

    def _added(self, factor: Factor | None, steps: Steps) -> Factor:
        """Return a factor with further rows."""
        features = self.input_size + self.bias
        new = Factor(features, self.output_size) if factor is None else factor.copy()
        add_steps(new, steps, self.bias)
        return new

    def _store(
        self,
        before: dict[int, Factor],
        factors: dict[int, Factor],
        alpha: float | tuple[float, ...] | None,
    ) -> Self:
        """Store factors, and for an alpha the weights, unless another thread changed the layer."""
        new: dict[str, Any] = {"_factors": factors}
        params = self._flat.params.copy()
        if alpha is not None:
            results, solved = self._solution(factors, alpha)
            new |= results
            views = self._flat._views(params)
            for name, values in solved.items():
                views[name][...] = values
        with _storing:
            if self._factors is not before:
                raise RuntimeError("Ridge: expected no other thread that fits the layer, got one")
            if alpha is not None:
                self._flat.params[...] = params
            vars(self).update(new)
        return self

    def _solution(
        self, factors: dict[int, Factor], alpha: float | tuple[float, ...]
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return attributes, and parameters by name."""
        if not factors:
            raise ValueError("Ridge: expected rows from fit or partial_fit before solve, got none")
        folds, first = [factors[fold] for fold in sorted(factors)], int(self.bias)
        errors = None
        if isinstance(alpha, tuple):
            errors = _cross_validated(folds, alpha, first)
            alpha = alpha[int(np.argmin(errors))]
        total = merged(folds)
        weights = total.solve(alpha, first)
        params = {"W": fitting("W", weights[first:].T, self.dtype)}
        if first:
            params["b"] = fitting("b", weights[0], self.dtype)
        squares = total.R[first:, first : total.features] ** 2
        return {"alpha_": alpha, "cv_error_": errors, "trace_": float(squares.sum())}, params


def _cross_validated(folds: list[Factor], alphas: tuple[float, ...], first: int) -> Floats:
    """Return the mean squared error of each alpha over folds, each with weights of the others."""
    if len(folds) < 2:
        raise ValueError(
            f"alpha: expected one number, because rows are in {len(folds)} fold, or rows in at "
            f"least two folds, to choose one of {alphas}"
        )
    errors = np.zeros(len(alphas))
    for fold, others in zip(folds, leave_one_out(folds), strict=True):
        whole = fold.complete()
        for i, alpha in enumerate(alphas):
            errors[i] += whole.squared_error(others.solve(alpha, first)).sum()
    count = sum(fold.weight for fold in folds) * folds[0].outputs
    return np.asarray(errors / count)
