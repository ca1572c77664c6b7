"""Checks of the notebook on vanishing and exploding gradients."""

import numpy as np

from course.exercises import Wrong, answer_of, array_of, check_close, exercise, number_of
from crnn.reference import sigmoid


def _norm(grads):
    return float(np.sqrt(sum(float((np.asarray(grad) ** 2).sum()) for grad in grads)))


@exercise(1)
def clip(function):
    """`function(grads, limit)` clips a list of arrays by their norm together."""
    rng = np.random.default_rng(0)
    grads = [rng.normal(size=shape) for shape in ((4, 3), (4, 4), (4,))]
    grads[0] *= 10  # so that one array is most of the norm
    given = [grad.copy() for grad in grads]
    found = answer_of(function, given, 1.0)
    if not isinstance(found, (list, tuple)) or len(found) != len(grads):
        raise Wrong(f"expected a list of {len(grads)} arrays, as many as came")
    found = [array_of("a clipped gradient", one) for one in found]
    if any(not np.array_equal(one, other) for one, other in zip(grads, given, strict=True)):
        raise Wrong("the arrays you were given have changed; return new ones")
    if any(one.shape != grad.shape for one, grad in zip(found, grads, strict=True)):
        raise Wrong("each array should keep its shape")
    ratios = [float(np.median(one / grad)) for one, grad in zip(found, grads, strict=True)]
    straight = all(
        np.allclose(one, ratio * grad, rtol=1e-3)
        for one, ratio, grad in zip(found, ratios, grads, strict=True)
    )
    if not straight:
        raise Wrong("the direction has changed: all entries should shrink in the same proportion")
    if max(ratios) - min(ratios) > 1e-3 * max(ratios):
        raise Wrong(
            "each array was scaled by a factor of its own "
            f"({', '.join(f'{ratio:.3g}' for ratio in ratios)}), so the direction has changed"
        )
    if abs(_norm(found) - 1) > 1e-3:
        raise Wrong(f"with the limit 1 the norm of all together came out as {_norm(found):.4g}")
    for limit in (2 * _norm(grads), 1e6):
        small = list(answer_of(function, [grad.copy() for grad in grads], limit))
        if _norm(small) > 1.001 * _norm(grads):
            raise Wrong("a gradient shorter than the limit was made longer")
        for one, grad in zip(small, grads, strict=True):
            check_close("a gradient shorter than the limit", one, grad, 1e-3)
    with np.errstate(divide="ignore", invalid="ignore"):  # min(1, c / 0) is 1, and right
        zero = answer_of(function, [np.zeros(3)], 1.0)
    if np.isnan(array_of("a gradient of zero", zero[0])).any():
        raise Wrong("a gradient of zero has become nan: what is 0 divided by 0?")
    check_close("a gradient of zero", zero[0], np.zeros(3))
    return (
        "one factor for all of them, so the step is shorter and points the same way. "
        "That is what `clip_norm` does."
    )


def _norms(W_h, h, *, slope_right=False, reverse=False, previous=False, order=2):
    """Norms of the products; the options make the usual mistakes."""
    product, norms = np.eye(len(W_h)), [1.0]
    for t in range(len(h) - 1, 0, -1):
        slope = 1 - h[t - 1 if previous else t] ** 2
        step = W_h * slope if slope_right else slope[:, None] * W_h
        product = step @ product if reverse else product @ step
        norms.insert(0, float(np.linalg.norm(product, order)))
    return np.array(norms)


@exercise(2)
def norms(function):
    """`function(W_h, h)` gives the spectral norms of products of Jacobians of a tanh network."""
    rng = np.random.default_rng(1)
    mistakes = {
        "the slope of a step belongs to its output: it scales rows of W_h, not columns": {
            "slope_right": True
        },
        "the factors stand in the wrong order: the last step is the leftmost": {"reverse": True},
        "the slope of a step is 1 - h² with the state after the step, not before it": {
            "previous": True
        },
        "the slope should scale rows of W_h, and be that of the state after the step": {
            "previous": True,
            "slope_right": True,
        },
    }
    for size, steps in ((3, 6), (5, 12), (1, 4)):
        W_h = rng.normal(size=(size, size)) * 1.2 / np.sqrt(size)
        h = np.tanh(rng.normal(size=(steps, size)))
        right = _norms(W_h, h)
        found = array_of("the norms", answer_of(function, W_h.copy(), h.copy()))
        if found.shape != right.shape:
            raise Wrong(f"expected {steps} numbers for {steps} steps, got shape {found.shape}")
        if np.allclose(found, right[::-1], rtol=1e-6) and steps > 1:
            raise Wrong("the numbers are right, but from the last step to the first")
        plain = [np.linalg.norm(np.linalg.matrix_power(W_h, k), 2) for k in range(steps)][::-1]
        if np.allclose(found, plain, rtol=1e-6):
            raise Wrong("this is the product for a linear network: where is the slope of tanh?")
        frobenius = _norms(W_h, h, order=None)[:-1]  # of the identity: 1, or the root of H
        if size > 1 and np.allclose(found[:-1], frobenius, rtol=1e-6):
            raise Wrong(
                "the products are right, but these are their Frobenius norms, the root of the sum "
                "of squares: what np.linalg.norm takes when it is not told which"
            )
        for words, options in mistakes.items():
            wrong = _norms(W_h, h, **options)
            if np.allclose(found, wrong, rtol=1e-6) and not np.allclose(wrong, right, rtol=1e-6):
                raise Wrong(words)
        bound = right * (1 + 1e-6)
        if size > 1 and np.all(found >= bound * 0.999) and np.any(found > bound * 1.5):
            raise Wrong(
                "some numbers are too large: take the norm of the product, not the product of "
                "norms, which is only an upper bound"
            )
        check_close(f"the norms for H = {size}, T = {steps}", found, right, 1e-7)
    return (
        "a product of matrices is not commutative, and its norm is at most the product of the "
        "norms, often much less."
    )


@exercise(3)
def bias_for(function):
    """`function(steps, fraction)` gives the forget bias of a memory of a given length."""
    for steps, fraction in ((1, 0.5), (10, 0.5), (100, np.exp(-1)), (200, 0.01), (3, 0.9)):
        found = number_of("the bias", answer_of(function, steps, fraction))
        keep = fraction ** (1 / steps)  # of each step
        if abs(found - keep) < 1e-6:
            raise Wrong(
                f"{found:.4f} is the value that the gate should have; the bias is what goes into "
                "the logistic function"
            )
        if np.isfinite(found) and abs(found - np.log(keep)) < 1e-6:
            raise Wrong("the gate is the logistic function of its bias, not the exponential")
        left = float(sigmoid(np.float64(found)) ** steps)
        if not abs(left - fraction) < 1e-6:
            after = f"{steps} steps" if steps > 1 else "1 step"
            raise Wrong(
                f"with the bias {found:.4g} the fraction of the gradient that is left after "
                f"{after} is {left:.4g}, not {fraction:.4g}"
            )
    return (
        "for long memories it is nearly ln(n / ln(1/p)). With p = 1/e that is ln n, and ln 100 is "
        "nearly ln 99: a unit with the largest bias of chrono=100 keeps about 1/e over 100 steps. "
        "This is why chrono draws logarithms of lengths: memory grows with the exponential of the "
        "bias."
    )
