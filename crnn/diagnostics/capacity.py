"""The memory capacity of a model: how many earlier inputs a linear readout recovers."""

from __future__ import annotations

from typing import Any

import numpy as np

import crnn._core as _core
from crnn.common.arrays import Floats, first_nonfinite
from crnn.common.checks import check_number, check_positive, check_product, check_seed, check_size
from crnn.common.representation import never_raising
from crnn.diagnostics.display import Axes, Display
from crnn.diagnostics.subject import prepare
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.layer import check_layer
from crnn.layers.base.protocol import LayerLike
from crnn.layers.compose.base import run_layer

_STREAM = int.from_bytes(b"capacity")
_SETTLING = 100  # steps of the washout besides the longest delay


class MemoryCapacity(Display):
    """Result of `memory_capacity`.

    Parameters
    ----------
    capacities : float64 array (K,)
        The squared correlation for each delay from 1 to K.
    states : int
        H, the number of states that the readout reads.

    Attributes
    ----------
    capacities : float64 array (K,)
        Element k - 1: the squared correlation of the input k steps before with the best linear
        function of the states, from 0 to 1.
    total : float
        The memory capacity: the sum of `capacities`.
    states : int
        H, which the capacity of infinitely many steps does not exceed.
    columns : dict of str to array
        Table with one row per delay: "delay", "capacity".

    Methods
    -------
    plot(ax=None)
        Plot the capacities against the delay.
    to_frame()
        Return the table as a pandas DataFrame.

    Examples
    --------
    >>> import crnn
    >>> layer = crnn.RNN(1, 2, activation="identity", seed=0)
    >>> layer.params["W_x"], layer.params["W_h"] = [[1.0], [0.0]], [[0.0, 0.0], [1.0, 0.0]]
    >>> memory = crnn.diagnostics.memory_capacity(layer)  # h is u[t] and u[t-1]
    >>> memory
    <MemoryCapacity: 1.00 of at most 2, delays 1 to 4>
    >>> memory.capacities.round(1)
    array([1., 0., 0., 0.])
    """

    def __init__(self, capacities: Floats, states: int) -> None:
        self.capacities, self.states = capacities, states

    @property
    def total(self) -> float:
        return float(self.capacities.sum())

    @property
    def columns(self) -> dict[str, Any]:
        delays = np.arange(1, len(self.capacities) + 1)
        return {"delay": delays, "capacity": self.capacities}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the capacities against the delay.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Axes to draw into. None: those of a new figure.

        Returns
        -------
        matplotlib axes
        """
        from crnn.plotting import memory_curve

        return memory_curve({type(self).__name__: self.capacities}, ax)

    @never_raising
    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}: {self.total:.2f} of at most {self.states}, "
            f"delays 1 to {len(self.capacities)}>"
        )


def memory_capacity(
    model: LayerLike,
    *,
    delays: int | None = None,
    steps: int = 10_000,
    washout: int | None = None,
    scale: float = 0.5,
    alpha: float = 1e-9,
    seed: int | None = 0,
) -> MemoryCapacity:
    """Measure how many earlier inputs a linear readout recovers from the states of a model.

    ::

        MC = Σ_k corr²(u[t-k], ŷ_k[t]),  k = 1, 2, ..., K

    u are independent inputs, and ŷ_k is the linear function of the states at step t, with a bias,
    that is fitted to u[t-k] on other steps. For independent inputs and infinitely many steps, MC
    is at most the number of states (Jaeger, "Short term memory in echo state networks", 2001). A
    linear ring of N units with the weight r has the capacity N - (1 - r^(2N)) (Rodan and Tiňo,
    "Minimum complexity echo state network", 2011).

    Parameters
    ----------
    model : layer
        Any layer or composition that maps (B, T, 1) to states (B, T, H). A float64 copy runs in
        evaluation mode from its initial state.
    delays : int, optional
        K, the longest delay. None: 2 * H, beyond which little is left.
    steps : int, default 10000
        Number of steps of the fit, more than H, and again of the measurement. For delays beyond the
        memory, chance adds about 1 / steps each.
    washout : int, optional
        Number of steps before the fit, at least K, at which the initial state is forgotten. None:
        K + 100.
    scale : float, default 0.5
        The inputs are uniform from -scale to scale. The capacity of a linear model does not depend
        on it; a model with tanh remembers small inputs better.
    alpha : float, default 1e-9
        The readout minimises the sum of squared errors plus alpha times the sum of its squared
        weights. 0: if some states are linear functions of others, the smallest weights.
    seed : int, optional
        Seed of the inputs. None: a fresh one.

    Returns
    -------
    MemoryCapacity
        With ``total``, the memory capacity, and ``capacities`` (K,).

    Raises
    ------
    TypeError, ValueError
        If the model does not map (B, T, 1) to finite states (B, T, H), or an argument is out of
        range.

    Examples
    --------
    >>> import crnn
    >>> layer = crnn.RNN(1, 20, activation="identity", seed=0)
    >>> layer.params["W_h"] *= 0.9
    >>> round(crnn.diagnostics.memory_capacity(layer, steps=5000).total)
    19
    """
    count, half = check_size("steps", steps), check_positive("scale", scale)
    check_number("alpha", alpha, 0)
    number = check_seed(seed)
    longest = None if delays is None else check_size("delays", delays)
    if longest is None:
        longest = 2 * _states(model, np.zeros((1, 1))).shape[1]
    settling = longest + _SETTLING if washout is None else check_size("washout", washout)
    if settling < longest:
        raise ValueError(f"washout: expected at least the longest delay, {longest}, got {washout}")
    check_product("washout, steps", settling + 2 * count)
    check_product("steps, delays", count, longest)
    u = half * (2 * _core.random_uniform(number, _STREAM, 0, settling + 2 * count) - 1)
    states = _states(model, u[:, None])
    if count <= states.shape[1]:
        raise ValueError(f"steps: expected more than H={states.shape[1]} states, got {count}")
    fitted, measured = slice(settling, settling + count), slice(settling + count, None)
    past = np.lib.stride_tricks.sliding_window_view(u, longest + 1)[:, longest - 1 :: -1]
    past = past[settling - longest :]  # (2 * steps, K): u[t-1], ..., u[t-K]
    W, b = _ridge(states[fitted], past[:count], alpha)
    predicted = states[measured] @ W + b
    return MemoryCapacity(_squared_correlation(predicted, past[count:]), states.shape[1])


def _states(model: Any, u: Floats) -> Floats:
    """Return the states (T, H) of a model for inputs (T, 1), or raise."""
    check_layer("model", model)
    layer = layer_of(model)
    if layer.input_size not in (None, 1):
        raise ValueError(
            f"model: expected one with input_size = 1, because it reads one series, got "
            f"{layer.input_size}, of {model!r:.100}"
        )
    try:
        examined, x, options = prepare(model, u[None], "model")
        y, _, _ = run_layer(examined, x, None, options, False)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        text = str(error).removeprefix("model: ")
        raise kind(
            f"model: expected one that maps (B, T, 1) to states (B, T, H): {text}"
        ) from error
    states = np.asarray(y)
    if states.ndim != 3 or states.shape[:2] != (1, len(u)) or not states.shape[2]:
        raise ValueError(
            f"model: expected one that maps (B, T, 1) to states (B, T, H), got {states.shape} for "
            f"{x.shape}"
        )
    if bad := first_nonfinite([("y", states)]):
        raise ValueError(f"model: expected finite states, got {bad.number}")
    return np.asarray(states[0], np.float64)


def _ridge(Z: Floats, Y: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Return W (H, K) and b (K,) that minimise |Z W + b - Y|² + alpha |W|².

    The triangular factor of Z is used, because the condition number of Z'Z is the square of its.
    """
    mean, target = Z.mean(axis=0), Y.mean(axis=0)
    Q, R = np.linalg.qr(Z - mean)
    penalty = np.sqrt(alpha) * np.eye(Z.shape[1])
    right = np.concatenate([Q.T @ (Y - target), np.zeros((Z.shape[1], Y.shape[1]))])
    W, *_ = np.linalg.lstsq(np.concatenate([R, penalty]), right, rcond=None)
    return W, target - mean @ W


def _squared_correlation(a: Floats, b: Floats) -> Floats:
    """Return the squared correlation (K,) of the columns of two arrays (T, K); 0 for a constant."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    products = np.square((a * b).sum(axis=0))
    sizes = np.square(a).sum(axis=0) * np.square(b).sum(axis=0)
    return np.asarray(np.minimum(products / np.where(sizes > 0, sizes, 1.0), 1.0))
