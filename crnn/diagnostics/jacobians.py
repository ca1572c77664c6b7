"""How far a state is felt: the derivative of the last state with respect to every earlier one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.checks import check_positive
from crnn.common.nested import arrays_of
from crnn.diagnostics.chains import Chain, Steps, chains_of, products
from crnn.diagnostics.display import Axes, Display, by_row_and_step, stacked
from crnn.diagnostics.subject import prepared
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.protocol import LayerLike
from crnn.layers.compose.base import run_layer

Floats = NDArray[np.float64]


class ChainJacobians:
    """The derivatives of one recurrence: a part of `StateJacobians`.

    Attributes
    ----------
    norms : float64 array (B, T)
    values : float64 array (B, T, S)
        All singular values, largest first.
    matrices : float64 array (B, T, S, S), or None
    lengths : int64 array (B,)
    back : int64 array (B, T)
        How many steps lie between a step and the last one read: T - t, or t - 1 for a layer that
        reads backwards; -1 past the end of a row.
    """

    def __init__(self, chain: Chain, keep: bool) -> None:
        steps = Steps(chain)
        B, T, S = steps.batch, steps.steps, steps.width
        self.lengths, t = steps.lengths, np.arange(T)
        distance = t if chain.backwards else steps.lengths[:, None] - 1 - t
        self.back = np.where(t < steps.lengths[:, None], distance, -1)
        self.values = np.zeros((B, T, S))
        self.matrices = np.zeros((B, T, S, S)) if keep else None
        with np.errstate(over="ignore", invalid="ignore"):  # infinite is what it says
            self._measure(steps)
        self.norms = self.values[:, :, 0]

    def _measure(self, steps: Steps) -> None:
        for t, product, exponent in products(steps):
            rows = np.flatnonzero(t < self.lengths)
            power = exponent[rows, None]
            self.values[rows, t] = np.ldexp(_singular_values(product[rows]), power)
            if self.matrices is not None:
                self.matrices[rows, t] = np.ldexp(product[rows], power[:, :, None])

    @property
    def by_distance(self) -> Floats:
        """The norms (B, T) with the last step read at the right: distance 0 stands last."""
        shown = np.zeros_like(self.norms)
        rows, steps = np.nonzero(self.back >= 0)
        shown[rows, -1 - self.back[rows, steps]] = self.norms[rows, steps]
        return shown

    def memory(self, fraction: float) -> Floats:
        """After how many steps back the norm stays below a fraction, (B,)."""
        return steps_above(self.norms, self.back, fraction)


class StateJacobians(Display):
    """What `state_jacobians` found.

    Attributes
    ----------
    norms : float64 array (B, T)
        The spectral norm of ∂s_T/∂s_t, at index t - 1; 1 at a row's last step, 0 past it. Where the
        model reads in both directions, the larger of those of `parts`.
    singular_values : float64 array (B, T, k), or None
        Its k largest singular values, largest first; None where they were not asked for.
    matrices : float64 array (B, T, S, S), or None
        The derivatives: entry [i, j] is that of unit i of s_T with respect to unit j of s_t. None
        where they were not asked for.
    lengths : int64 array (B,)
        Steps of each row.
    parts : dict of str to ChainJacobians
        The recurrences: one, under the name "", unless the model reads in both directions.
    """

    def __init__(self, parts: dict[str, ChainJacobians], count: int) -> None:
        self.parts = parts
        found = list(parts.values())
        values = np.concatenate([part.values for part in found], axis=2)
        values = np.sort(values, axis=2)[:, :, ::-1]
        self.norms = values[:, :, 0].copy()
        self.singular_values = values[:, :, :count].copy() if count else None
        self.lengths = found[0].lengths
        blocks = [part.matrices for part in found if part.matrices is not None]
        self.matrices = _side_by_side(blocks) if blocks else None

    @property
    def columns(self) -> dict[str, Any]:
        tables = []
        for place, part in self.parts.items():
            table, at = by_row_and_step(place, part.back >= 0)
            tables.append(table | {"steps_back": part.back[at], "norm": part.norms[at]})
        return stacked(tables)

    def memory(self, fraction: float = 0.01) -> Floats:
        """After how many steps the norm stays below a fraction: as `memory_length`, (B,)."""
        limit = check_positive("fraction", fraction)
        found = np.stack([part.memory(limit) for part in self.parts.values()])
        return np.asarray(found.max(axis=0))

    def plot(self, ax: Axes | None = None) -> Axes:
        """The norm against the distance from the last step, on a logarithmic axis."""
        from crnn.plotting import gradient_against_distance

        return gradient_against_distance(self, ax)


def state_jacobians(
    layer: LayerLike,
    x: Any,
    state: Any = None,
    *,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    singular_values: int = 0,
    matrices: bool = False,
) -> StateJacobians:
    r"""How much the last state depends on each earlier one.

    .. math:: \frac{\partial s_T}{\partial s_t} = \prod_{k=t+1}^{T}
              \frac{\partial s_k}{\partial s_{k-1}},

    whose norm says whether what is learned at step T reaches back to step t: it vanishes or
    explodes with T - t (Bengio, Simard and Frasconi 1994; Pascanu, Mikolov and Bengio 2013). s is
    the whole state: h, for an LSTM h and c side by side, for layers on top of each other those of
    all.

    Parameters
    ----------
    layer : layer
        Any layer or composition with a state. It is looked at in evaluation, in a float64 copy.
    x : array (B, T, I) of floats, or (B, T) of symbols
        For a `crnn.Conditioned` the pair that it reads.
    state : state, optional
        The initial one.
    lengths, mask, resets : optional
        As in the layer's forward. A masked step changes nothing, so its Jacobian is the identity;
        behind a reset nothing is felt of what was before.
    singular_values : int, default 0
        How many of the largest singular values to keep.
    matrices : bool, default False
        Keep the derivatives themselves: B T S² numbers.

    Returns
    -------
    StateJacobians
        With ``norms`` (B, T).

    Raises
    ------
    TypeError, ValueError
        For arguments that the layer's forward refuses, a layer without a state, or one whose state
        depends on more than the state before and the input of its own step.

    Notes
    -----
    The Jacobians of the steps are exact: one run over all steps at once, and S walks back. That is
    S times the work of a backward pass, and some S³ for each step of each row. Some dozen units
    take milliseconds; an LSTM of 256 units, S = 512, takes seconds for each ten steps of a row, so
    give it one row. `gradient_flow` costs one backward pass at any size.

    A layer that reads backwards ends with step 1, where the norm is 1. In a model that reads in
    both directions (`crnn.Bidirectional`, or layers on top of it) there is no one recurrence: each
    run of layers that read in one direction is a block of its own, with its input held; the norm is
    the largest of any block.

    Examples
    --------
    >>> import numpy as np
    >>> layer = crnn.RNN(2, 4, activation="identity", seed=0)  # W_h is orthogonal
    >>> state_jacobians(layer, np.ones((1, 50, 2))).norms.round(12).max()
    1.0
    """
    if not isinstance(singular_values, (int, np.integer)) or singular_values < 0:
        raise ValueError(
            f"singular_values: expected an integer of at least 0, got {singular_values!r}"
        )
    model, steps, given = prepared(layer, x, lengths=lengths, mask=mask, resets=resets)
    _, after, _ = run_layer(model, steps, state, given, False)  # which says what is wrong
    if not arrays_of(after):
        inside = "; its encoder has one" if layer_of(layer).sequence_input else ""
        raise ValueError(f"layer: expected one with a state, got {layer!r:.100}{inside}")
    chains = chains_of(model, steps, state, given)
    parts = {chain.place: ChainJacobians(chain, matrices) for chain in chains}
    return StateJacobians(parts, int(singular_values))


def _singular_values(product: Floats) -> Floats:
    """Of each of the matrices; NaN where one is not finite."""
    finite = np.isfinite(product).all(axis=(1, 2))
    values = np.full(product.shape[:2], np.nan)
    values[finite] = np.linalg.svd(product[finite], compute_uv=False)
    return values


def _side_by_side(blocks: list[Floats]) -> Floats:
    """Matrices (B, T, S, S) as the blocks on the diagonal of larger ones."""
    width = sum(block.shape[2] for block in blocks)
    whole, begin = np.zeros((*blocks[0].shape[:2], width, width)), 0
    for block in blocks:
        end = begin + block.shape[2]
        whole[:, :, begin:end, begin:end] = block
        begin = end
    return whole


def steps_above(norms: Floats, back: NDArray[np.int64], fraction: float) -> Floats:
    """After how many steps back norms stay below a fraction of that at the end, (B,).

    Parameters
    ----------
    norms : array (B, T)
    back : array (B, T)
        Distance from the end; -1 for steps that do not count.
    fraction : float

    Returns
    -------
    float64 array (B,)
        Infinite where the farthest step is not below it; NaN for a row without steps.
    """
    rows, steps = np.nonzero(back >= 0)
    at_end = np.zeros(len(norms))
    ends = back[rows, steps] == 0
    at_end[rows[ends]] = norms[rows[ends], steps[ends]]
    above = norms >= fraction * np.where(at_end > 0, at_end, np.inf)[:, None]
    farthest = np.where(above & (back >= 0), back, -1).max(axis=1, initial=-1)
    count = back.max(axis=1, initial=-1)
    found = np.where(farthest == count, np.inf, farthest + 1.0)
    return np.where(count < 0, np.nan, found)


class MemoryLength(Display):
    """What `memory_length` found.

    Attributes
    ----------
    steps : float64 array (B,)
        After how many steps the influence stays below the fraction: infinite where it does not in
        as many steps as the row has, NaN for a row of length 0.
    fraction : float
    jacobians : StateJacobians
        What it was measured by.
    """

    def __init__(self, jacobians: StateJacobians, fraction: float) -> None:
        self.jacobians, self.fraction = jacobians, fraction
        self.steps = jacobians.memory(fraction)

    @property
    def columns(self) -> dict[str, Any]:
        rows = np.arange(len(self.steps))
        return {"row": rows, "length": self.jacobians.lengths, "memory": self.steps}

    def plot(self, ax: Axes | None = None) -> Axes:
        """The influence against the distance, and where it falls below the fraction."""
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
    x: Any,
    state: Any = None,
    *,
    lengths: ArrayLike | None = None,
    fraction: float = 0.01,
    mask: ArrayLike | None = None,
    resets: ArrayLike | None = None,
) -> MemoryLength:
    """After how many steps the influence of a state falls below a fraction.

    The influence over k steps is the norm of ∂s_T/∂s_{T-k}, as `state_jacobians` has it; at
    distance 0 it is 1.

    Parameters
    ----------
    layer, x, state, lengths, mask, resets
        As for `state_jacobians`.
    fraction : float, default 0.01
        Of the influence at distance 0.

    Returns
    -------
    MemoryLength
        With ``steps`` (B,): from that many steps back on the norm stays below the fraction. Where
        it rises again farther back, the rise counts.

    Raises
    ------
    TypeError, ValueError
        As `state_jacobians`, and for a fraction that is not positive.
    """
    limit = check_positive("fraction", fraction)
    found = state_jacobians(layer, x, state, lengths=lengths, mask=mask, resets=resets)
    return MemoryLength(found, limit)
