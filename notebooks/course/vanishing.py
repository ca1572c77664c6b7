"""Checks of notebook 3: vanishing and exploding gradients."""

import numpy as np

from course.exercises import Wrong, answer_of, array_of, check_close, exercise, number_of
from crnn.reference import sigmoid


def _norm(grads):
    """Return the norm of all arrays together."""
    return float(np.sqrt(sum(float((np.asarray(grad) ** 2).sum()) for grad in grads)))


@exercise(1)
def clip(function):
    """Check `function(grads, limit)`, which clips arrays by the norm of all of them together."""
    rng = np.random.default_rng(0)
    grads = [rng.normal(size=shape) for shape in ((4, 3), (4, 4), (4,))]
    grads[0] *= 10  # so that the norm depends mainly on one array
    arguments = [grad.copy() for grad in grads]
    answer = answer_of(function, arguments, 1.0)
    if not isinstance(answer, (list, tuple)) or len(answer) != len(grads):
        raise Wrong(f"expected a list of {len(grads)} arrays, one for each array of grads")
    clipped = [array_of("a clipped gradient", array) for array in answer]
    if any(not np.array_equal(*pair) for pair in zip(grads, arguments, strict=True)):
        raise Wrong("your function changes its arguments; it must return new arrays")
    if any(array.shape != grad.shape for array, grad in zip(clipped, grads, strict=True)):
        raise Wrong("each array must keep its shape")
    ratios = [float(np.median(array / grad)) for array, grad in zip(clipped, grads, strict=True)]
    proportional = all(
        np.allclose(array, ratio * grad, rtol=1e-3)
        for array, ratio, grad in zip(clipped, ratios, grads, strict=True)
    )
    if not proportional:
        raise Wrong("the direction has changed: multiply all entries by the same factor")
    if max(ratios) - min(ratios) > 1e-3 * max(ratios):
        raise Wrong(
            "the arrays are multiplied by different factors "
            f"({', '.join(f'{ratio:.3g}' for ratio in ratios)}), so the direction has changed"
        )
    if abs(_norm(clipped) - 1) > 1e-3:
        raise Wrong(f"with limit = 1 the norm of all arrays together is {_norm(clipped):.4g}")
    for limit in (2 * _norm(grads), 1e6):
        unchanged = list(answer_of(function, [grad.copy() for grad in grads], limit))
        if _norm(unchanged) > 1.001 * _norm(grads):
            raise Wrong("a gradient whose norm is below the limit must not grow")
        for array, grad in zip(unchanged, grads, strict=True):
            check_close("a gradient whose norm is below the limit", array, grad, 1e-3)
    with np.errstate(divide="ignore", invalid="ignore"):  # min(1, limit / 0) is 1, which is right
        zero = answer_of(function, [np.zeros(3)], 1.0)
    if np.isnan(array_of("a gradient of zero", zero[0])).any():
        raise Wrong("a gradient of zero becomes nan. Note that 0 divided by 0 is nan")
    check_close("a gradient of zero", zero[0], np.zeros(3))
    return (
        "one factor multiplies all arrays, so the gradient is shorter and keeps its direction. "
        "`clip_norm` does the same."
    )


def _norms(W_h, h, *, slope_right=False, reverse=False, previous=False, order=2):
    """Return the norms of the products; the options make common mistakes."""
    product, norms = np.eye(len(W_h)), [1.0]
    for t in range(len(h) - 1, 0, -1):
        slope = 1 - h[t - 1 if previous else t] ** 2
        step = W_h * slope if slope_right else slope[:, None] * W_h
        product = step @ product if reverse else product @ step
        norms.insert(0, float(np.linalg.norm(product, order)))
    return np.array(norms)


@exercise(2)
def norms(function):
    """Check `function(W_h, h)`: the spectral norms of products of Jacobians of a tanh network."""
    rng = np.random.default_rng(1)
    mistakes = {
        "the slope 1 - h² of a unit must multiply its row of W_h, not its column": {
            "slope_right": True
        },
        "the order of the factors is wrong: the Jacobian of the last step is the leftmost one": {
            "reverse": True
        },
        "the slope of a step is 1 - h² with the state after the step, not before it": {
            "previous": True
        },
        "the slope must be computed from the state after the step, and multiply rows of W_h": {
            "previous": True,
            "slope_right": True,
        },
    }
    for size, steps in ((3, 6), (5, 12), (1, 4)):
        W_h = rng.normal(size=(size, size)) * 1.2 / np.sqrt(size)
        h = np.tanh(rng.normal(size=(steps, size)))
        right = _norms(W_h, h)
        answer = array_of("the norms", answer_of(function, W_h.copy(), h.copy()))
        if answer.shape != right.shape:
            raise Wrong(f"expected {steps} numbers for {steps} steps, got shape {answer.shape}")
        if np.allclose(answer, right[::-1], rtol=1e-6) and steps > 1:
            raise Wrong("the numbers are right, but in reverse order; begin with step 1")
        linear = [np.linalg.norm(np.linalg.matrix_power(W_h, k), 2) for k in range(steps)][::-1]
        if np.allclose(answer, linear, rtol=1e-6):
            raise Wrong("these are the norms for a linear network: the slopes of tanh are missing")
        frobenius = _norms(W_h, h, order=None)[:-1]  # without that of the identity
        if size > 1 and np.allclose(answer[:-1], frobenius, rtol=1e-6):
            raise Wrong(
                "the products are right, but these are their Frobenius norms, which np.linalg.norm "
                "computes by default. The spectral norm is np.linalg.norm(M, 2)"
            )
        for message, options in mistakes.items():
            wrong = _norms(W_h, h, **options)
            if np.allclose(answer, wrong, rtol=1e-6) and not np.allclose(wrong, right, rtol=1e-6):
                raise Wrong(message)
        bound = right * (1 + 1e-6)
        if size > 1 and np.all(answer >= bound * 0.999) and np.any(answer > bound * 1.5):
            raise Wrong(
                "some numbers are too large: compute the norm of the product. The product of the "
                "norms is only an upper bound"
            )
        check_close(f"the norms for H = {size}, T = {steps}", answer, right, 1e-7)
    return (
        "the product of matrices depends on their order. Its norm is at most the product of the "
        "norms, and often much smaller."
    )


@exercise(3)
def bias_for(function):
    """Check `function(steps, fraction)`: the forget bias for a memory of a certain length."""
    for steps, fraction in ((1, 0.5), (10, 0.5), (100, np.exp(-1)), (200, 0.01), (3, 0.9)):
        bias = number_of("the bias", answer_of(function, steps, fraction))
        gate = fraction ** (1 / steps)
        if abs(bias - gate) < 1e-6:
            raise Wrong(
                f"{bias:.4f} is the right value of the gate; the bias is the argument of the "
                "logistic function"
            )
        if np.isfinite(bias) and abs(bias - np.log(gate)) < 1e-6:
            raise Wrong("the gate is the logistic function of the bias, not the exponential")
        left = float(sigmoid(np.float64(bias)) ** steps)
        if not abs(left - fraction) < 1e-6:
            after = f"{steps} steps" if steps > 1 else "1 step"
            raise Wrong(
                f"with the bias {bias:.4g} the fraction of the gradient that is left after "
                f"{after} is {left:.4g}, expected {fraction:.4g}"
            )
    return (
        "for many steps n the bias is nearly ln(n / ln(1/p)). With p = 1/e this is ln n, and ln "
        "100 is nearly ln 99: over 100 steps, a unit with the largest bias of chrono=100 keeps "
        "about 1/e of the gradient. The length of the memory grows with the exponential of the "
        "bias, so chrono samples lengths and uses their logarithms as biases."
    )
