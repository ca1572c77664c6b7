"""The derivative of the last state with respect to every earlier state, and the memory length."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.checks import check_flag, check_positive
from crnn.common.nested import arrays_of, check_no_counts
from crnn.diagnostics.chains import Chain, ChainSteps, chains_of, jacobian_products
from crnn.diagnostics.display import Axes, Display, by_row_and_step, stacked
from crnn.diagnostics.subject import prepare
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.protocol import Input, LayerLike
from crnn.layers.compose.base import run_layer

Floats = NDArray[np.float64]


class ChainJacobians:
    """The derivatives of one recurrence: a part of `StateJacobians`.

    Parameters
    ----------
    chain : Chain
        The recurrence and its input.
    keep : bool
        Whether to keep the matrices.

    Attributes
    ----------
    norms : float64 array (B, T)
        Spectral norm of ∂s_T/∂s_t at each step; 0 past the end of a row.
    values : float64 array (B, T, S)
        All singular values, largest first.
    matrices : float64 array (B, T, S, S), or None
        The derivatives, if they are kept.
    lengths : int64 array (B,)
        Number of valid steps of each row.
    back : int64 array (B, T)
        Number of steps between a step and the last one that is read: T - t, or t - 1 for a layer
        that reads backwards; -1 past the end of a row.
    by_distance : float64 array (B, T)
        The norms in order of decreasing distance from the last step that is read.

    Methods
    -------
    memory(fraction)
        Number of steps back after which the norm stays below a fraction.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer = crnn.Bidirectional(crnn.GRU(2, 3, seed=0))
    >>> jacobians = crnn.diagnostics.state_jacobians(layer, np.ones((1, 5, 2)))
    >>> part = jacobians.parts["backward"]
    >>> part.back, part.values.shape
    (array([[0, 1, 2, 3, 4]]), (1, 5, 3))
    """

    def __init__(self, chain: Chain, keep: bool) -> None:
        steps = ChainSteps(chain)
        B, T, S = steps.batch, steps.steps, steps.width
        self.lengths, t = steps.lengths, np.arange(T)
        distance = t if chain.backwards else steps.lengths[:, None] - 1 - t
        self.back = np.where(t < steps.lengths[:, None], distance, -1)
        self.values = np.zeros((B, T, S))
        self.matrices = np.zeros((B, T, S, S)) if keep else None
        with np.errstate(over="ignore", invalid="ignore"):  # a norm that overflows is infinite
            self._compute(steps)
        self.norms = self.values[:, :, 0]

    def _compute(self, steps: ChainSteps) -> None:
        """Compute the singular values and the matrices of all steps."""
        for t, product, exponent in jacobian_products(steps):
            rows = np.flatnonzero(t < self.lengths)
            power = exponent[rows, None]
            self.values[rows, t] = np.ldexp(_singular_values(product[rows]), power)
            if self.matrices is not None:
                self.matrices[rows, t] = np.ldexp(product[rows], power[:, :, None])

    @property
    def by_distance(self) -> Floats:
        """Norms (B, T) by distance from the last step read: distance 0 is in the last column."""
        ordered = np.zeros_like(self.norms)
        rows, steps = np.nonzero(self.back >= 0)
        ordered[rows, -1 - self.back[rows, steps]] = self.norms[rows, steps]
        return ordered

    def memory(self, fraction: float) -> Floats:
        """Return the number of steps back after which the norm stays below a fraction.

        Parameters
        ----------
        fraction : float
            As a fraction of the norm at distance 0.

        Returns
        -------
        float64 array (B,)
            Infinite if the norm at the farthest step is not below the fraction; NaN for a row of
            length 0.
        """
        return steps_until_below(self.norms, self.back, fraction)


class StateJacobians(Display):
    """Result of `state_jacobians`.

    Parameters
    ----------
    parts : dict of str to ChainJacobians
        The recurrences of the model, by their place.
    count : int
        Number of singular values to keep. 0: none.

    Attributes
    ----------
    norms : float64 array (B, T)
        Spectral norm of ∂s_T/∂s_t, at index t - 1: 1 at the last step of a row, 0 past it. If the
        model reads in both directions, the largest norm of all `parts`.
    singular_values : float64 array (B, T, k), or None
        The k largest singular values of ∂s_T/∂s_t, largest first. None unless they were requested.
    matrices : float64 array (B, T, S, S), or None
        The derivatives: entry [i, j] is that of unit i of s_T with respect to unit j of s_t. None
        unless they were requested.
    lengths : int64 array (B,)
        Number of valid steps of each row.
    parts : dict of str to ChainJacobians
        The recurrences: one, at place "", unless the model reads in both directions.
    columns : dict of str to array
        Table with one row per part, row and valid step: "part", "row", "step", "steps_back",
        "norm".

    Methods
    -------
    memory(fraction=0.01)
        Number of steps back after which the norm stays below a fraction.
    plot(ax=None)
        Plot the norm against the distance from the last step.
    to_frame()
        Return the table as a pandas DataFrame.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer = crnn.RNN(2, 4, activation="identity", seed=0)
    >>> layer.params["W_h"] = 0.5 * np.eye(4)  # ∂s_T/∂s_t = 0.5**(T - t)
    >>> jacobians = crnn.diagnostics.state_jacobians(layer, np.ones((1, 10, 2)))
    >>> jacobians.norms[0, -3:], jacobians.memory(0.1)
    (array([0.25, 0.5 , 1.  ]), array([4.]))
    """

    def __init__(self, parts: dict[str, ChainJacobians], count: int) -> None:
        self.parts = parts
        chains = list(parts.values())
        values = np.concatenate([part.values for part in chains], axis=2)
        values = np.sort(values, axis=2)[:, :, ::-1]
        self.norms = values[:, :, 0].copy()
        self.singular_values = values[:, :, :count].copy() if count else None
        self.lengths = chains[0].lengths
        blocks = [part.matrices for part in chains if part.matrices is not None]
        self.matrices = _block_diagonal(blocks) if blocks else None

    @property
    def columns(self) -> dict[str, Any]:
        tables = []
        for place, part in self.parts.items():
            table, at = by_row_and_step(place, part.back >= 0)
            tables.append(table | {"steps_back": part.back[at], "norm": part.norms[at]})
        return stacked(tables)

    def memory(self, fraction: float = 0.01) -> Floats:
        """Return the number of steps back after which the norm stays below a fraction.

        Parameters
        ----------
        fraction : float, default 0.01
            As a fraction of the norm at distance 0.

        Returns
        -------
        float64 array (B,)
            As `steps` of `MemoryLength`.

        Raises
        ------
        ValueError
            If the fraction is not positive.
        """
        limit = check_positive("fraction", fraction)
        by_part = np.stack([part.memory(limit) for part in self.parts.values()])
        return np.asarray(by_part.max(axis=0))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the norm against the distance from the last step, on a logarithmic axis.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Axes to draw into. None: those of a new figure.

        Returns
        -------
        matplotlib axes
        """
        from crnn.plotting import gradient_against_distance

        return gradient_against_distance(self, ax)


def state_jacobians(
    layer: LayerLike,
    x: Input,
    state: Any = None,
    *,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    singular_values: int = 0,
    matrices: bool = False,
) -> StateJacobians:
    r"""Return the derivative of the last state with respect to each earlier one.

    .. math:: \frac{\partial s_T}{\partial s_t} = \prod_{k=t+1}^{T}
              \frac{\partial s_k}{\partial s_{k-1}},

    The norm of this derivative shows whether a gradient at step T reaches step t: it vanishes or
    explodes with the distance T - t (Bengio, Simard and Frasconi, "Learning long-term dependencies
    with gradient descent is difficult", 1994; Pascanu, Mikolov and Bengio, "On the difficulty of
    training recurrent neural networks", 2013). s is the whole state: h; for an LSTM h and c side by
    side; for stacked layers the states of all layers; of a layer with delays those of its last D
    steps.

    Parameters
    ----------
    layer : layer
        Any layer or composition with a state. A float64 copy runs in evaluation mode.
    x : array (B, T, I) of floats, or (B, T) of symbols
        For a `crnn.Conditioned` the pair that it reads.
    state : state, optional
        The initial state. None: that of the layer's forward, zeros by default.
    lengths : array (B,) of integers, optional
        Number of valid steps of each row. None: T.
    mask, resets : arrays (B, T) of bools, optional
        As in the layer's forward. The Jacobian of a masked step is the identity. The derivative
        with respect to states before a reset is 0.
    singular_values : int, default 0
        Number k of the largest singular values to keep.
    matrices : bool, default False
        Keep the derivatives themselves: B T S² numbers.

    Returns
    -------
    StateJacobians
        With ``norms`` (B, T).

    Raises
    ------
    TypeError, ValueError
        If the layer's forward refuses an argument, or `singular_values` is not an integer >= 0; if
        the layer has no state, or its state depends on other values than the state before and the
        input of the same step.

    Notes
    -----
    The Jacobians of the steps are exact: one forward pass over all steps at once, and S backward
    passes. This is S times the work of a backward pass, and about S³ operations for each step of
    each row. A few dozen units take milliseconds. An LSTM with 256 units (S = 512) takes seconds
    for every ten steps of a row: pass one row only. `gradient_flow` costs one backward pass at any
    size.

    A layer that reads backwards ends with step 1, where the norm is 1. A model that reads in both
    directions (`crnn.Bidirectional`, or layers on top of it) is not one recurrence. Each group of
    layers that reads in one direction is one block, whose input is held constant; the norm is the
    largest norm of all blocks.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer = crnn.RNN(2, 4, activation="identity", seed=0)  # W_h is orthogonal
    >>> jacobians = crnn.diagnostics.state_jacobians(layer, np.ones((1, 50, 2)))
    >>> jacobians.norms.shape, round(float(jacobians.norms.min()), 6)
    ((1, 50), 1.0)
    """
    if not isinstance(singular_values, (int, np.integer)) or singular_values < 0:
        raise ValueError(
            f"singular_values: expected an integer of at least 0, got {singular_values!r}"
        )
    matrices = check_flag("matrices", matrices)
    model, steps, options = prepare(layer, x, lengths=lengths, mask=mask, resets=resets)
    _, after, _ = run_layer(model, steps, state, options, False)  # raises for wrong arguments
    if not arrays_of(after):
        hint = "; its encoder has one" if layer_of(layer).sequence_input else ""
        raise ValueError(f"layer: expected one with a state, got {layer!r:.100}{hint}")
    check_no_counts("layer", layer, after)
    chains = chains_of(model, steps, state, options)
    parts = {chain.place: ChainJacobians(chain, matrices) for chain in chains}
    return StateJacobians(parts, int(singular_values))


def _singular_values(product: Floats) -> Floats:
    """Return the singular values of each matrix; NaN if it is not finite."""
    finite = np.isfinite(product).all(axis=(1, 2))
    values = np.full(product.shape[:2], np.nan)
    values[finite] = np.linalg.svd(product[finite], compute_uv=False)
    return values


def _block_diagonal(blocks: list[Floats]) -> Floats:
    """Return larger matrices with these (B, T, S, S) as the blocks of their diagonal."""
    width = sum(block.shape[2] for block in blocks)
    whole, begin = np.zeros((*blocks[0].shape[:2], width, width)), 0
    for block in blocks:
        end = begin + block.shape[2]
        whole[:, :, begin:end, begin:end] = block
        begin = end
    return whole


def steps_until_below(norms: Floats, back: NDArray[np.int64], fraction: float) -> Floats:
    """Return the number of steps back after which the norms stay below a fraction.

    Parameters
    ----------
    norms : array (B, T)
    back : array (B, T)
        Distance from the last step that is read; -1 for steps that are not valid.
    fraction : float
        As a fraction of the norm at distance 0.

    Returns
    -------
    float64 array (B,)
        Infinite if the norm at the farthest step is not below it; NaN for a row without steps.
    """
    rows, steps = np.nonzero(back >= 0)
    at_end = np.zeros(len(norms))
    ends = back[rows, steps] == 0
    at_end[rows[ends]] = norms[rows[ends], steps[ends]]
    above = norms >= fraction * np.where(at_end > 0, at_end, np.inf)[:, None]
    farthest = np.where(above & (back >= 0), back, -1).max(axis=1, initial=-1)
    count = back.max(axis=1, initial=-1)
    lengths = np.where(farthest == count, np.inf, farthest + 1.0)
    return np.where(count < 0, np.nan, lengths)


class MemoryLength(Display):
    """Result of `memory_length`.

    Parameters
    ----------
    jacobians : StateJacobians
        The derivatives that the memory is computed from.
    fraction : float
        The fraction of the influence at distance 0.

    Attributes
    ----------
    steps : float64 array (B,)
        Number of steps back after which the influence stays below the fraction: infinite if this
        does not happen within the row, NaN for a row of length 0.
    fraction : float
        As the parameter.
    jacobians : StateJacobians
        As the parameter.
    columns : dict of str to array
        Table with one row per row of the batch: "row", "length", "memory".

    Methods
    -------
    plot(ax=None)
        Plot the influence against the distance, with the fraction and the median memory.
    to_frame()
        Return the table as a pandas DataFrame.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer = crnn.RNN(1, 1, activation="identity", seed=0)
    >>> layer.params["W_h"] = 0.5
    >>> memory = crnn.diagnostics.memory_length(layer, np.ones((2, 10, 1)), lengths=[10, 5])
    >>> memory.columns
    {'row': array([0, 1]), 'length': array([10,  5]), 'memory': array([ 7., inf])}
    """

    def __init__(self, jacobians: StateJacobians, fraction: float) -> None:
        self.jacobians, self.fraction = jacobians, fraction
        self.steps = jacobians.memory(fraction)

    @property
    def columns(self) -> dict[str, Any]:
        rows = np.arange(len(self.steps))
        return {"row": rows, "length": self.jacobians.lengths, "memory": self.steps}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the influence against the distance, with the fraction and the median memory.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Axes to draw into. None: those of a new figure.

        Returns
        -------
        matplotlib axes
        """
        from crnn.plotting.axes import legend_on_top

        axes = self.jacobians.plot(ax)
        axes.axhline(self.fraction, color="0.35", linestyle=":", label=f"{self.fraction:g}")
        finite = self.steps[np.isfinite(self.steps)]
        if len(finite):
            median = float(np.median(finite))
            axes.axvline(median, color="0.35", linestyle="--", label=f"{median:g} steps")
        legend_on_top(axes)
        return axes


def memory_length(
    layer: LayerLike,
    x: Input,
    state: Any = None,
    *,
    lengths: ArrayLike | None = None,
    fraction: float = 0.01,
    mask: ArrayLike | None = None,
    resets: ArrayLike | None = None,
) -> MemoryLength:
    """Return the number of steps after which the influence of a state falls below a fraction.

    The influence over k steps is the norm of ∂s_T/∂s_{T-k}, as in `state_jacobians`. At distance 0
    it is 1.

    Parameters
    ----------
    layer : layer
        Any layer or composition with a state. A float64 copy runs in evaluation mode.
    x : array (B, T, I) of floats, or (B, T) of symbols
        For a `crnn.Conditioned` the pair that it reads.
    state : state, optional
        The initial state. None: that of the layer's forward, zeros by default.
    lengths : array (B,) of integers, optional
        Number of valid steps of each row. None: T.
    fraction : float, default 0.01
        As a fraction of the influence at distance 0.
    mask, resets : arrays (B, T) of bools, optional
        As in the layer's forward.

    Returns
    -------
    MemoryLength
        With ``steps`` (B,): the norm stays below the fraction at all distances of at least this
        many steps. If the norm falls below the fraction and rises above it again at a larger
        distance, the larger distance counts.

    Raises
    ------
    TypeError, ValueError
        As `state_jacobians`, and if the fraction is not positive.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer = crnn.RNN(1, 1, activation="identity", seed=0)
    >>> layer.params["W_h"] = 0.5
    >>> x = np.ones((1, 20, 1))
    >>> crnn.diagnostics.memory_length(layer, x).steps  # 0.5**7 < 0.01 < 0.5**6
    array([7.])
    """
    limit = check_positive("fraction", fraction)
    jacobians = state_jacobians(layer, x, state, lengths=lengths, mask=mask, resets=resets)
    return MemoryLength(jacobians, limit)
