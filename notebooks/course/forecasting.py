"""Checks of notebook 11: forecasting with uncertainty."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.exercises import Wrong, answer_of, array_of, check_close, exercise, number_of

Array = NDArray[Any]


def _same(answer: Array, other: Array) -> bool:
    """Return whether an answer has the shape and nearly the numbers of an array."""
    return (
        answer.shape == np.shape(other)
        and answer.dtype.kind in "biuf"
        and np.allclose(answer, other, rtol=1e-7, atol=1e-10)
    )


def _unchanged(*pairs: tuple[str, Array, Array]) -> None:
    """Raise `Wrong` if an argument of an answer has other numbers than before."""
    for name, argument, original in pairs:
        if not np.array_equal(argument, original, equal_nan=True):
            raise Wrong(f"your function changes {name}; it must return a new array")


# -------------------------------------------------------------------------------- exercise 1


def _terms(o: Array, nu: float, z: Array) -> tuple[Array, Array, Array, Array]:
    """Return the loss of each step, its derivatives by μ and s, and ds/do_2; 0 at missing steps."""
    there = ~np.isnan(z)
    s = nu * np.logaddexp(0, o[:, 1])
    r = np.where(there, (np.where(there, z, 0) - nu * o[:, 0]) / s, 0)
    loss = np.where(there, 0.5 * np.log(2 * np.pi) + np.log(s) + r**2 / 2, 0)
    dmu, ds = np.where(there, -r / s, 0), np.where(there, (1 - r**2) / s, 0)
    return loss, dmu, ds, nu / (1 + np.exp(-o[:, 1]))


@exercise(1)
def masked_loss(function: Callable[..., Any]) -> str:
    """Check the mean Gaussian loss of the observed steps, and its gradient."""
    rng = np.random.default_rng(11)
    for T, nu, missing in ((6, 1.0, []), (8, 3.0, [2, 5]), (9, 0.4, [0, 1, 8])):
        o, z = rng.normal(size=(T, 2)), 3 * nu * rng.normal(size=T)
        z[missing] = np.nan
        copies = o.copy(), z.copy()
        with np.errstate(all="ignore"):
            answer = answer_of(function, copies[0], nu, copies[1])
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise Wrong("expected the loss and its gradient, (loss, d)")
        _unchanged(("o", copies[0], o), ("z", copies[1], z))
        loss, d = number_of("the loss", answer[0]), array_of("the gradient", answer[1])
        case = f"nu={nu:g}, {len(missing)} of {T} numbers missing"
        _explain_loss(case, loss, o, nu, z)
        count = T - len(missing)
        each, dmu, ds, s_slope = _terms(o, nu, z)
        check_close(f"{case}: the loss", loss, each.sum() / count)
        right = np.stack([dmu * nu, ds * s_slope], axis=1) / count
        _explain_gradient(case, d, right, missing, (dmu, ds, nu, s_slope, count))
        check_close(f"{case}: the gradient", d, right)
    return (
        "the gradient is 0 at missing steps, so no number there can have an effect. A mean over "
        "all steps would make the loss smaller where more is missing, and so would train the "
        "series with gaps less."
    )


def _explain_loss(case: str, loss: float, o: Array, nu: float, z: Array) -> None:
    """Raise `Wrong` with an explanation if the loss shows a common mistake."""
    if np.isnan(loss):
        raise Wrong(
            f"{case}: the loss is nan, because a missing number is part of it: nan times 0 is nan, "
            "too. Replace missing numbers first, or select the observed steps"
        )
    each, *_ = _terms(o, nu, z)
    there = ~np.isnan(z)
    count = int(there.sum())
    filled, *_ = _terms(o, nu, np.nan_to_num(z))
    s = nu * np.logaddexp(0, o[there, 1])
    error = z[there] - nu * o[there, 0]
    mistakes = {
        "the sum is divided by the number of all steps; divide by that of the observed steps": (
            each.sum() / len(z)
        ),
        "this is the sum of the observed steps, not their mean": each.sum(),
        "missing numbers are counted as zeros": filled.mean(),
        "the sign is wrong: the loss is -ln p": -each.sum() / count,
        "ν sp(o_2) is the deviation s, not the variance": (
            np.mean(0.5 * np.log(2 * np.pi * s) + error**2 / s / 2)
        ),
        "the deviation is not multiplied by ν": (
            np.mean(0.5 * np.log(2 * np.pi) + np.log(s / nu) + (error / s * nu) ** 2 / 2)
        ),
    }
    right = each.sum() / count
    for message, wrong in mistakes.items():
        if np.isclose(loss, wrong, rtol=1e-9) and not np.isclose(wrong, right, rtol=1e-9):
            raise Wrong(f"{case}: {message}")


def _explain_gradient(case: str, d: Array, right: Array, missing: list[int], parts: Any) -> None:
    """Raise `Wrong` with an explanation if the gradient shows a common mistake."""
    if d.shape != right.shape:
        raise Wrong(f"{case}: the gradient: expected shape (T, 2) = {right.shape}, got {d.shape}")
    if _same(d, right):
        return
    if missing and not np.isfinite(d[missing]).all():
        raise Wrong(f"{case}: the gradient of a missing step is not a number; it must be 0")
    if missing and d[missing].any():
        raise Wrong(f"{case}: the gradient of a missing step is not 0, but it has no term")
    dmu, ds, nu, s_slope, count = parts
    mistakes = {
        "the derivative of the softplus, σ(o_2), is missing in the gradient with respect to o_2": (
            [dmu * nu, ds * nu]
        ),
        "these are the derivatives with respect to μ and s; those with respect to o have the "
        "factors ν and ν σ(o_2)": [dmu, ds],
        "the factor ν is missing": [dmu, ds * s_slope / nu],
        "the sign of the gradient is wrong": [-dmu * nu, -ds * s_slope],
    }
    for message, wrong in mistakes.items():
        stacked = np.stack(wrong, axis=1) / count
        if _same(d, stacked):
            raise Wrong(f"{case}: {message}")
    if _same(d, right * count) or _same(d, right * count / len(d)):
        raise Wrong(f"{case}: the loss is divided by the observed steps; so is its gradient")


# -------------------------------------------------------------------------------- exercise 2


def _paths(predict: Callable[..., Any], past: Array, noise: Array, mistake: str = "") -> Array:
    """Return sampled paths; `mistake` chooses what is fed back instead of the own number."""
    S, H = noise.shape
    numbers = np.tile(past, (S, 1))
    found = []
    for h in range(H):
        mu, s = predict(numbers)
        drawn = mu + s * noise[:, h]
        if mistake == "variance":
            drawn = mu + s**2 * noise[:, h]
        if mistake == "one draw":
            drawn = mu + s * noise[0, h]
        if mistake == "same noise":
            drawn = mu + s * noise[:, 0]
        found.append(drawn)
        back = {"mean": mu, "average": np.full(S, drawn.mean())}.get(mistake, drawn)
        if mistake != "history":
            numbers = np.column_stack([numbers, back])
    return np.stack(found, axis=1)


@exercise(2)
def sample_paths(function: Callable[..., Any]) -> str:
    """Check sampled paths of a model whose mean and deviation depend on two earlier numbers."""
    rng = np.random.default_rng(12)
    for S, N, H in ((4, 5, 3), (3, 2, 6), (5, 3, 1)):
        past, noise = rng.normal(size=N), rng.normal(size=(S, H))

        def predict(numbers: Any, S: int = S) -> tuple[Array, Array]:
            array = array_of("the argument of predict", numbers)
            if array.ndim != 2 or len(array) != S:
                raise Wrong(f"predict needs the numbers of all paths, (S, t), got {array.shape}")
            last, before = array[:, -1], array[:, -2]
            return 0.9 * last - 0.4 * before + 0.1, 0.3 + 0.2 * np.abs(last)

        copies = past.copy(), noise.copy()
        answer = array_of("the paths", answer_of(function, predict, *copies))
        _unchanged(("past", copies[0], past), ("noise", copies[1], noise))
        right = _paths(predict, past, noise)
        _explain_paths(answer, right, predict, past, noise)
        check_close(f"the paths for S={S}, H={H}", answer, right)
    return (
        "each path reads its own numbers. This is all that ancestral sampling is: the joint "
        "distribution of the steps is the product of the conditional ones, "
        "p(z_1) p(z_2 | z_1) p(z_3 | z_1, z_2) ..."
    )


def _explain_paths(
    answer: Array, right: Array, predict: Callable[..., Any], past: Array, noise: Array
) -> None:
    """Raise `Wrong` with an explanation if the paths show a common mistake."""
    S, H = noise.shape
    if answer.shape == (S, len(past) + H):
        raise Wrong(f"expected the H={H} sampled numbers of each path, without the history")
    if answer.shape == (H, S) and S != H:
        raise Wrong(f"expected shape (S, H) = {(S, H)}, got {(H, S)}: the transpose")
    mistakes = {
        "mean": "the mean is fed back; each path must read the number that it has drawn",
        "average": "all paths read the average of their numbers; each path must read its own",
        "history": "the paths read the history alone, but not their own earlier numbers",
        "variance": "predict returns the deviation s; the noise is multiplied by s, not by s²",
        "one draw": "all paths get the same noise; each path has its own row of noise",
        "same noise": "each step must have its own noise; yours is that of the first step",
    }
    for mistake, message in mistakes.items():
        wrong = _paths(predict, past, noise, mistake)
        if _same(answer, wrong) and not _same(wrong, right):
            raise Wrong(message)


# -------------------------------------------------------------------------------- exercise 3


@exercise(3)
def covered_sums(function: Callable[..., Any]) -> str:
    """Check the share of the series whose sum lies in its interval."""
    rng = np.random.default_rng(13)
    for n, S, H, p, missing in ((40, 50, 6, 0.8, 0), (60, 80, 4, 0.5, 9), (50, 41, 8, 0.9, 12)):
        level = 3 * rng.normal(size=(n, 1))
        truth = level + np.cumsum(rng.normal(size=(n, H)), axis=1)
        samples = level[:, :, None] + np.cumsum(rng.normal(size=(n, S, H)), axis=2)
        truth[rng.permutation(n)[:missing], rng.integers(0, H, missing)] = np.nan
        copies = samples.copy(), truth.copy()
        with np.errstate(all="ignore"):
            answer = number_of("the share", answer_of(function, *copies, p))
        _unchanged(("samples", copies[0], samples), ("truth", copies[1], truth))
        case = f"n={n}, p={p:g}, {missing} series with a missing number"
        low, high = np.quantile(samples.sum(axis=2), [(1 - p) / 2, (1 + p) / 2], axis=1)
        total = truth.sum(axis=1)
        right = ((low <= total) & (total <= high))[~np.isnan(total)].mean()
        _explain_share(case, answer, right, samples, truth, p)
        check_close(f"{case}: the share", answer, right)
    return (
        "the intervals are computed from the sums of whole paths. In these data the steps of a "
        "path are related, so that sums of the quantiles of the steps would be too wide, and "
        "would seem to cover very well."
    )


def _explain_share(
    case: str, answer: float, right: float, samples: Array, truth: Array, p: float
) -> None:
    """Raise `Wrong` with an explanation if the share shows a common mistake."""
    ends = [(1 - p) / 2, (1 + p) / 2]
    sums, total = samples.sum(axis=2), truth.sum(axis=1)
    there = ~np.isnan(total)
    low, high = np.quantile(sums, ends, axis=1)
    inside = (low <= total) & (total <= high)
    a, b = np.quantile(samples, ends, axis=1)
    by_step = ((a <= truth) & (truth <= b))[there]
    c, d = np.quantile(sums, [1 - p, p], axis=1)
    filled = np.nansum(truth, axis=1)
    summed = (a.sum(axis=1) <= total) & (total <= b.sum(axis=1))
    mistakes = {
        "the ends are sums of quantiles; take quantiles of the sums of the paths": (
            summed[there].mean(),
            summed.mean(),
        ),
        "series with a missing number count as not covered; leave them out": (inside.mean(),),
        "missing numbers are counted as zeros; leave these series out": (
            ((low <= filled) & (filled <= high)).mean(),
        ),
        "this is the share of the steps in the intervals of steps": (by_step.mean(),),
        "the levels are wrong: an interval in the middle that holds p leaves (1 - p) / 2 at each "
        "end": (((c <= total) & (total <= d))[there].mean(),),
    }
    for message, shares in mistakes.items():
        if any(np.isclose(answer, wrong) and not np.isclose(wrong, right) for wrong in shares):
            raise Wrong(f"{case}: {message}")
