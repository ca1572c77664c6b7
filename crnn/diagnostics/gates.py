"""Statistics of gates: how often the gates of each unit are open, shut or in between."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.checks import check_number
from crnn.diagnostics.display import Axes, Display, stacked
from crnn.diagnostics.subject import RecurrentPart, prepare, recurrent_parts, tape_of
from crnn.layers.base.protocol import Input, LayerLike

Floats = NDArray[np.float64]

RANGES = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu": (0.0, math.inf),
    "identity": (-math.inf, math.inf),
}
"""The lowest and the highest value of each activation."""


class GateValues(NamedTuple):
    """Statistics of one gate of a layer, for each unit: a part of `GateStatistics`.

    Parameters
    ----------
    mean : float64 array (H,)
        Mean of the values over all steps.
    low : float64 array (H,)
        Fraction of steps at which the value is near the lower end of its range: σ near 0 (shut),
        tanh near -1, relu at 0 (the unit is off).
    high : float64 array (H,)
        Fraction of steps at which the value is near the upper end of its range: σ near 1 (open),
        tanh near 1.

    Attributes
    ----------
    saturated : float
        Fraction of all values that are near an end of the range.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> layer = crnn.LSTM(2, 3, forget_bias=10.0, seed=0)
    >>> f = crnn.diagnostics.gate_statistics(layer, np.ones((1, 20, 2)))["f"]
    >>> f.low, f.high, f.saturated  # always open
    (array([0., 0., 0.]), array([1., 1., 1.]), 1.0)
    """

    mean: Floats
    low: Floats
    high: Floats

    @property
    def saturated(self) -> float:
        """Fraction of all values that are near an end of the range, where the slope is small."""
        return float(np.mean(self.low + self.high)) if self.low.size else 0.0


def gate_values(gate: NDArray[Any], activation: str, margin: float) -> GateValues:
    """Return the statistics of the values of a gate.

    Parameters
    ----------
    gate : array (N, H)
        The values at N steps. For N = 0 all statistics are 0.
    activation : str
        The activation of the gate, which determines the range of its values.
    margin : float
        Distance from an end that counts as near, as a fraction of the range. If the range has no
        upper end, only the lower end itself counts.
    """
    low, high = RANGES[activation]
    near = margin * (high - low) if math.isfinite(high - low) else 0.0
    count = max(len(gate), 1)
    with np.errstate(invalid="ignore", over="ignore"):  # the mean of inf and -inf is NaN
        mean = gate.sum(axis=0, dtype=np.float64) / count
    return GateValues(
        mean,
        np.count_nonzero(gate <= low + near, axis=0) / count,
        np.count_nonzero(gate >= high - near, axis=0) / count,
    )


def values_of(part: RecurrentPart, margin: float) -> Iterator[tuple[str, GateValues]]:
    """Yield the letter and the statistics of each gate, over all steps that were read."""
    read = part.read
    gates = [tape.gates for tape in part.pieces]
    for gate, activation in part.layer.gate_activations.items():
        values = np.concatenate([one[gate] for one in gates], axis=1)
        flat = values.reshape(-1, values.shape[2]) if read.all() else values[read]
        yield gate, gate_values(flat, activation, margin)


class GateStatistics(Display):
    """Result of `gate_statistics`.

    Parameters
    ----------
    parts : dict of str to dict of str to GateValues
        The statistics by place of the layer and letter of the gate.
    margin : float
        Distance from an end of the range that counts as near, as a fraction of the range.

    Attributes
    ----------
    parts : dict of str to dict of str to GateValues
        ``parts["0"]["f"].high`` is, for each unit of layer 0, the fraction of steps at which its
        forget gate is open. The place of a layer that is the whole model is "".
    margin : float
        As the parameter.
    columns : dict of str to array
        Table with one row per gate and unit: "part", "gate", "unit", "mean", "low", "high".

    Methods
    -------
    plot(ax=None)
        Plot the fraction of steps near the lower end against that near the upper end.
    to_frame()
        Return the table as a pandas DataFrame.

    Notes
    -----
    If the model has one recurrent layer, ``statistics["f"]`` is its gate f.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(2, 30, 3))
    >>> statistics = crnn.diagnostics.gate_statistics(crnn.GRU(3, 4, seed=0), x)
    >>> statistics["z"].mean.shape, sorted(statistics.parts[""])
    ((4,), ['n', 'r', 'z'])
    >>> statistics
    <GateStatistics: 12 x (part, gate, unit, mean, low, high)>
    """

    def __init__(self, parts: dict[str, dict[str, GateValues]], margin: float) -> None:
        self.parts, self.margin = parts, margin

    def __getitem__(self, gate: str) -> GateValues:
        if len(self.parts) != 1:
            raise KeyError(
                f"{gate}: expected statistics of one part, got the parts "
                f"{', '.join(map(repr, self.parts))}; use parts[place][{gate!r}]"
            )
        gates = next(iter(self.parts.values()))
        if gate not in gates:
            raise KeyError(f"{gate}: expected one of {', '.join(map(repr, gates))}")
        return gates[gate]

    @property
    def columns(self) -> dict[str, Any]:
        tables = []
        for place, gates in self.parts.items():
            for gate, values in gates.items():
                units = np.arange(len(values.mean))
                names = {"part": np.full(len(units), place), "gate": np.full(len(units), gate)}
                tables.append(names | {"unit": units} | values._asdict())
        return stacked(tables)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the fraction of steps near the lower end against that near the upper end.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Axes to draw into. None: those of a new figure.

        Returns
        -------
        matplotlib axes
            With one point per unit.
        """
        from crnn.plotting import saturation

        points = {
            f"{place}: {gate}" if place else gate: (values.high, values.low)
            for place, gates in self.parts.items()
            for gate, values in gates.items()
        }
        return saturation(points, ax)


def gate_statistics(
    layer: LayerLike,
    x: Input,
    state: Any = None,
    *,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    margin: float = 0.1,
) -> GateStatistics:
    """Return how often each gate of each unit is saturated: shut, open, or at the ends of tanh.

    If the forget gate of a unit is open at nearly all steps, the unit keeps its state; if its input
    gate is shut at nearly all steps, the state never changes. If all values of a gate are
    saturated, no gradient passes through the gate. The plot is that of Karpathy, Johnson and
    Fei-Fei, "Visualizing and understanding recurrent networks" (2015).

    Parameters
    ----------
    layer : layer
        Any layer or composition with recurrent parts. A float64 copy runs in evaluation mode.
    x : array (B, T, I) of floats, or (B, T) of symbols
        The input, as in the layer's forward.
    state : state, optional
        The initial state. None: that of the layer's forward, zeros by default.
    lengths : array (B,) of integers, optional
        Number of valid steps of each row. None: T.
    mask, resets : arrays (B, T) of bools, optional
        As in the layer's forward. Masked steps are not counted.
    margin : float, default 0.1
        Distance from an end that counts as near, as a fraction of the activation's range, from 0 to
        below 0.5. With 0.1 these are the values below 0.1 and above 0.9 for σ, below -0.8 and above
        0.8 for tanh. As tanh(s) = 2σ(2s) - 1, tanh reaches these values at half the sum.

    Returns
    -------
    GateStatistics

    Raises
    ------
    TypeError, ValueError
        If the layer's forward refuses an argument, the margin is out of range, or the layer has no
        recurrent part.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> model = crnn.Sequential([crnn.GRU(3, 4, seed=0), crnn.LSTM(4, 2, seed=1)])
    >>> model.layers[1].params["b"][:2] = -10  # input gates that are shut
    >>> x = np.random.default_rng(0).normal(size=(2, 30, 3))
    >>> statistics = crnn.diagnostics.gate_statistics(model, x)
    >>> list(statistics.parts), statistics.parts["1"]["i"].low
    (['0', '1'], array([1., 1.]))
    """
    check_number("margin", margin, 0, 0.5)
    model, steps, options = prepare(layer, x, lengths=lengths, mask=mask, resets=resets)
    tape = tape_of(model, steps, state, options)
    parts = {part.place: dict(values_of(part, margin)) for part in recurrent_parts(model, tape)}
    if not parts:
        raise ValueError(f"layer: expected one with a recurrent part, got {layer!r:.100}")
    return GateStatistics(parts, margin)
