"""What stands around a recurrent layer, in plain NumPy: a dense map, losses, optimizers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.reference.arrays import Array, Named, one_hot


def dense(params: Mapping[str, Array], x: ArrayLike) -> Array:
    """Return ``y = W x + b`` (..., O) for x (..., I), W (O, I), b (O,) (may be absent)."""
    return np.asarray(x, np.float64) @ params["W"].T + params.get("b", 0)


def dense_backward(params: Mapping[str, Array], x: Array, dy: Array) -> tuple[Array, Named]:
    """Return dx (..., I) and the gradients of `params`, from dy (..., O)."""
    rows_x, rows_dy = (np.reshape(a, (-1, np.shape(a)[-1])) for a in (x, dy))
    grads = {"W": rows_dy.T @ rows_x, "b": rows_dy.sum(axis=0)}
    return dy @ params["W"], {name: grads[name] for name in params}


def valid_steps(shape: tuple[int, ...], lengths: ArrayLike | None) -> NDArray[np.bool_]:
    """Return the mask (B, T) of the steps within each row's length; all where there are none."""
    return np.ones(shape, bool) if lengths is None else np.arange(shape[1]) < np.c_[lengths]


def softmax_cross_entropy(
    logits: ArrayLike, targets: ArrayLike, lengths: ArrayLike | None = None
) -> tuple[float, Array]:
    """Return ``-log softmax(logits)[target]`` in nats, mean over the valid steps, and its gradient.

    `logits` is (B, T, K) with `targets` (B, T), or (B, K) with (B,). The gradient with respect to
    the logits is (softmax - one-hot) / number of valid steps.
    """
    logits, targets = np.asarray(logits, np.float64), np.asarray(targets)
    valid = valid_steps(targets.shape, lengths)
    count = max(valid.sum(), 1)
    z = logits[valid]
    log_p = z - np.logaddexp.reduce(z, axis=-1, keepdims=True)
    hot = one_hot(targets[valid], logits.shape[-1])
    dlogits = np.zeros_like(logits)
    dlogits[valid] = (np.exp(log_p) - hot) / count
    return -np.sum(log_p[hot == 1]) / count, dlogits


def mse(y: ArrayLike, target: ArrayLike, lengths: ArrayLike | None = None) -> tuple[float, Array]:
    """Return the mean of (y - target)² over the valid elements, and its gradient at `y`.

    `y` and `target` are (B, T, ...), or any shape where there are no `lengths`.
    """
    y, target = np.asarray(y, np.float64), np.asarray(target, np.float64)
    valid = valid_steps(y.shape if lengths is None else y.shape[:2], lengths)
    error = y[valid] - target[valid]
    count = max(error.size, 1)
    dy = np.zeros_like(y)
    dy[valid] = 2 * error / count
    return np.sum(error**2) / count, dy


def clip_norm(grads: Mapping[str, Array], limit: float) -> tuple[Named, float]:
    """Scale all arrays of the dict `grads` so that their common norm is at most `limit`.

    Returns the scaled gradients and the norm before. The factor is min(1, limit / (norm + 1e-6)).
    R. Pascanu, T. Mikolov, Y. Bengio, On the difficulty of training recurrent neural networks,
    arXiv:1211.5063 (2012).
    """
    norm = np.sqrt(sum(np.sum(np.square(grad)) for grad in grads.values()))
    factor = min(1.0, limit / (norm + 1e-6))
    return {name: factor * grad for name, grad in grads.items()}, norm


# Each optimizer takes one array, its gradient and the memory left by its last step (None at first),
# and returns the new array and the new memory. Definitions and defaults are PyTorch's.


def sgd_momentum(
    param: Array, grad: Array, memory: Any = None, *, lr: float, momentum: float = 0.0
) -> tuple[Array, Any]:
    """Gradient descent with Polyak's momentum: v' = momentum v + grad, param' = param - lr v'."""
    v = momentum * (0 if memory is None else memory) + grad
    return param - lr * v, v


def rmsprop(
    param: Array,
    grad: Array,
    memory: Any = None,
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
) -> tuple[Array, Any]:
    """Divide by the running root mean square of the gradient (G. Hinton, lecture 6e, 2012)."""
    v = alpha * (0 if memory is None else memory) + (1 - alpha) * grad**2
    return param - lr * grad / (np.sqrt(v) + eps), v


def adam(
    param: Array,
    grad: Array,
    memory: Any = None,
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> tuple[Array, Any]:
    """Adam: running means m of grad and v of grad², both freed from the bias of starting at 0.

    The memory is (m, v, number of steps). D. Kingma, J. Ba, Adam: a method for stochastic
    optimization, arXiv:1412.6980 (2014).
    """
    m, v, steps = (0, 0, 0) if memory is None else memory
    (beta1, beta2), steps = betas, steps + 1
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    m_hat, v_hat = m / (1 - beta1**steps), v / (1 - beta2**steps)
    return param - lr * m_hat / (np.sqrt(v_hat) + eps), (m, v, steps)


def adamw(
    param: Array,
    grad: Array,
    memory: Any = None,
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> tuple[Array, Any]:
    """Adam after shrinking the parameter by lr * weight_decay, apart from the gradient.

    I. Loshchilov, F. Hutter, Decoupled weight decay regularization, arXiv:1711.05101 (2017).
    """
    return adam(param * (1 - lr * weight_decay), grad, memory, lr=lr, betas=betas, eps=eps)
