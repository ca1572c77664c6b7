"""The dense layer, the losses and the optimizers in plain NumPy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.reference.activations import sigmoid
from crnn.reference.arrays import Array, Named, one_hot


def dense(params: Mapping[str, Array], x: ArrayLike) -> Array:
    """Return the dense map ``y = W x + b``.

    Parameters
    ----------
    params : dict of arrays
        ``W (O, I)`` and, optionally, ``b (O,)``.
    x : array (..., I) of floats

    Returns
    -------
    y : float64 array (..., O)

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> params = {"W": np.array([[1.0, 2.0]]), "b": np.array([10.0])}
    >>> crnn.reference.dense(params, [[3.0, 4.0], [0.0, 1.0]])
    array([[21.],
           [12.]])
    """
    return np.asarray(x, np.float64) @ params["W"].T + params.get("b", 0)


def dense_backward(params: Mapping[str, Array], x: Array, dy: Array) -> tuple[Array, Named]:
    """Return the gradients of `dense` with respect to x and the parameters.

    Parameters
    ----------
    params : dict of arrays
        ``W (O, I)`` and, optionally, ``b (O,)``.
    x : array (..., I)
        The input of `dense`.
    dy : array (..., O)
        The gradient of the loss with respect to y.

    Returns
    -------
    dx : array (..., I)
    grads : dict of arrays
        The gradient of every array in `params`.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> params, x = {"W": np.array([[1.0, 2.0]]), "b": np.zeros(1)}, np.array([[3.0, 4.0]])
    >>> dx, grads = crnn.reference.dense_backward(params, x, np.array([[1.0]]))
    >>> dx, grads["W"], grads["b"]
    (array([[1., 2.]]), array([[3., 4.]]), array([1.]))
    """
    rows_x, rows_dy = (np.reshape(a, (-1, np.shape(a)[-1])) for a in (x, dy))
    grads = {"W": rows_dy.T @ rows_x, "b": rows_dy.sum(axis=0)}
    return dy @ params["W"], {name: grads[name] for name in params}


def valid_steps(shape: tuple[int, ...], lengths: ArrayLike | None) -> NDArray[np.bool_]:
    """Return a mask (B, T) that is true within each row's length; without lengths, everywhere."""
    return np.ones(shape, bool) if lengths is None else np.arange(shape[1]) < np.c_[lengths]


def softmax_cross_entropy(
    logits: ArrayLike, targets: ArrayLike, lengths: ArrayLike | None = None
) -> tuple[float, Array]:
    """Return ``-log softmax(logits)[target]`` in nats, mean over the valid steps, and its gradient.

    Parameters
    ----------
    logits : array (B, T, K) or (B, K)
    targets : array (B, T) or (B,) of integers
        Classes from 0 to K - 1.
    lengths : array (B,) of integers, optional
        Number of valid steps of each row. None: all.

    Returns
    -------
    loss : float
        0 if no step is valid.
    dlogits : float64 array, shape of `logits`
        (softmax - one-hot) / number of valid steps; 0 past the end of a row.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> loss, dlogits = crnn.reference.softmax_cross_entropy(np.zeros((1, 1, 4)), [[2]])
    >>> round(float(loss), 2), dlogits
    (1.39, array([[[ 0.25,  0.25, -0.75,  0.25]]]))
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


def binary_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    lengths: ArrayLike | None = None,
    pos_weight: ArrayLike = 1.0,
) -> tuple[float, Array]:
    """Return ``-(w t log p + (1 − t) log(1 − p))``, mean over all labels of the valid steps.

    p = σ(logits). The gradient of the mean comes with it.

    Parameters
    ----------
    logits, targets : arrays (B, T, K) or (B, K)
        Targets t are numbers from 0 to 1.
    lengths : array (B,) of integers, optional
        Number of valid steps of each row. None: all.
    pos_weight : array (K,) or number, default 1.0
        w, the weight of the term of true labels.

    Returns
    -------
    loss : float
        0 if no step is valid.
    dlogits : float64 array, shape of `logits`
        (p (1 − t) − w t (1 − p)) / number of labels; 0 past the end of a row.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> loss, dlogits = crnn.reference.binary_cross_entropy(np.zeros((1, 1, 2)), [[[1, 0]]])
    >>> round(float(loss), 2), dlogits
    (0.69, array([[[-0.25,  0.25]]]))
    """
    x, t = np.asarray(logits, np.float64), np.asarray(targets, np.float64)
    valid = valid_steps(x.shape[:-1], lengths)
    x_valid, t_valid, w = x[valid], t[valid], np.asarray(pos_weight, np.float64)
    count = max(x_valid.size, 1)
    terms = w * t_valid * np.logaddexp(0, -x_valid) + (1 - t_valid) * np.logaddexp(0, x_valid)
    p, rest = sigmoid(x_valid), sigmoid(-x_valid)  # rest = 1 − p
    dlogits = np.zeros_like(x)
    dlogits[valid] = ((1 - t_valid) * p - w * t_valid * rest) / count
    return terms.sum() / count, dlogits


def mse(y: ArrayLike, target: ArrayLike, lengths: ArrayLike | None = None) -> tuple[float, Array]:
    """Return the mean of (y - target)² over the valid elements, and its gradient.

    Parameters
    ----------
    y, target : arrays (B, T, ...)
        Without `lengths` of any shape.
    lengths : array (B,) of integers, optional
        Number of valid steps of each row. None: all.

    Returns
    -------
    loss : float
        0 if no element is valid.
    dy : float64 array, shape of `y`
        0 past the end of a row.

    Examples
    --------
    >>> import crnn
    >>> loss, dy = crnn.reference.mse([[1.0, 5.0, 9.0]], [[1.0, 3.0, 0.0]], lengths=[2])
    >>> float(loss), dy
    (2.0, array([[0., 2., 0.]]))
    """
    y, target = np.asarray(y, np.float64), np.asarray(target, np.float64)
    valid = valid_steps(y.shape if lengths is None else y.shape[:2], lengths)
    error = y[valid] - target[valid]
    count = max(error.size, 1)
    dy = np.zeros_like(y)
    dy[valid] = 2 * error / count
    return np.sum(error**2) / count, dy


def clip_norm(grads: Mapping[str, Array], limit: float) -> tuple[Named, float]:
    """Return gradients scaled so that their common norm is at most `limit`.

    R. Pascanu, T. Mikolov, Y. Bengio, On the difficulty of training recurrent neural networks,
    arXiv:1211.5063 (2012).

    Parameters
    ----------
    grads : dict of arrays
    limit : float
        The largest Euclidean norm of all gradients together.

    Returns
    -------
    clipped : dict of arrays
        All arrays times min(1, limit / (norm + 1e-6)).
    norm : float
        The norm before scaling.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> grads, norm = crnn.reference.clip_norm({"W": np.array([3.0]), "b": np.array([4.0])}, 1.0)
    >>> float(norm), grads["W"].round(3), grads["b"].round(3)
    (5.0, array([0.6]), array([0.8]))
    """
    norm = np.sqrt(sum(np.sum(np.square(grad)) for grad in grads.values()))
    factor = min(1.0, limit / (norm + 1e-6))
    return {name: factor * grad for name, grad in grads.items()}, norm


# Each optimizer takes one array, its gradient and the memory that its last step returned (None at
# first), and returns the new array and the new memory. Definitions and defaults are PyTorch's.


def sgd_momentum(
    param: Array, grad: Array, memory: Any = None, *, lr: float, momentum: float = 0.0
) -> tuple[Array, Any]:
    """Make a step of gradient descent: v' = momentum v + grad, param' = param - lr v'.

    B. Polyak, Some methods of speeding up the convergence of iteration methods (1964).

    Parameters
    ----------
    param : array
        The parameter.
    grad : array, shape of `param`
        The gradient of the loss with respect to it.
    memory : array, optional
        The memory that the last step returned. None at the first step.
    lr : float
        The learning rate.
    momentum : float, default 0.0
        Factor of the last direction v.

    Returns
    -------
    param : array
        The new parameter.
    memory : array
        The argument `memory` of the next step.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> param, v = crnn.reference.sgd_momentum(np.array([1.0]), np.array([2.0]), lr=0.1)
    >>> param, v = crnn.reference.sgd_momentum(param, np.array([2.0]), v, lr=0.1, momentum=0.5)
    >>> param.round(6), v
    (array([0.5]), array([3.]))
    """
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
    """Make a step of RMSProp: the gradient divided by its running root mean square.

    v' = alpha v + (1 - alpha) grad², param' = param - lr grad / (√v' + eps). G. Hinton, Neural
    networks for machine learning, lecture 6e (2012).

    Parameters
    ----------
    param : array
        The parameter.
    grad : array, shape of `param`
        The gradient of the loss with respect to it.
    memory : array, optional
        The memory that the last step returned. None at the first step.
    lr : float
        The learning rate.
    alpha : float, default 0.99
        Decay of the running mean of grad².
    eps : float, default 1e-8
        Keeps the divisor above 0.

    Returns
    -------
    param : array
        The new parameter.
    memory : array
        The argument `memory` of the next step.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> param, v = crnn.reference.rmsprop(np.array([1.0]), np.array([2.0]), lr=0.01)
    >>> param.round(4), v.round(4)
    (array([0.9]), array([0.04]))
    """
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
    """Make a step of Adam: running means m of grad and v of grad², corrected for their start at 0.

    ::

        m' = β₁ m + (1 - β₁) grad
        v' = β₂ v + (1 - β₂) grad²
        param' = param - lr (m' / (1 - β₁ᵗ)) / (√(v' / (1 - β₂ᵗ)) + eps)      at step t = 1, 2, ...

    D. Kingma, J. Ba, Adam: a method for stochastic optimization, arXiv:1412.6980 (2014).

    Parameters
    ----------
    param : array
        The parameter.
    grad : array, shape of `param`
        The gradient of the loss with respect to it.
    memory : (m, v, number of steps), optional
        The memory that the last step returned. None at the first step.
    lr : float, default 1e-3
        The learning rate.
    betas : (float, float), default (0.9, 0.999)
        Decay of the running means of grad and of grad².
    eps : float, default 1e-8
        Keeps the divisor above 0.

    Returns
    -------
    param : array
        The new parameter.
    memory : (m, v, number of steps)
        The argument `memory` of the next step.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> param, memory = crnn.reference.adam(np.array([1.0]), np.array([5.0]), lr=0.1)
    >>> param.round(4), memory[2]  # the first step has the length lr
    (array([0.9]), 1)
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
    """Make a step of AdamW: multiply the parameter by 1 - lr * weight_decay, then apply Adam.

    I. Loshchilov, F. Hutter, Decoupled weight decay regularization, arXiv:1711.05101 (2017).

    Parameters
    ----------
    param : array
        The parameter.
    grad : array, shape of `param`
        The gradient of the loss with respect to it.
    memory : (m, v, number of steps), optional
        The memory that the last step returned. None at the first step.
    lr : float, default 1e-3
        The learning rate.
    betas : (float, float), default (0.9, 0.999)
        Decay of the running means of grad and of grad².
    eps : float, default 1e-8
        Keeps the divisor above 0.
    weight_decay : float, default 0.01
        Rate of the decay. It is independent of the gradient.

    Returns
    -------
    param : array
        The new parameter.
    memory : (m, v, number of steps)
        The argument `memory` of the next step.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> param, memory = crnn.reference.adamw(np.array([1.0]), np.array([0.0]), weight_decay=0.1)
    >>> param.round(6)
    array([0.9999])
    """
    return adam(param * (1 - lr * weight_decay), grad, memory, lr=lr, betas=betas, eps=eps)
