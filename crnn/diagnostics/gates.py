"""What gates do: how often each unit's stand open, shut, or in between."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.checks import check_number
from crnn.diagnostics.display import Axes, Display, stacked
from crnn.diagnostics.subject import Part, parts_of, prepared, tape_of
from crnn.layers.base.protocol import LayerLike

Floats = NDArray[np.float64]

RANGES = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu": (0.0, math.inf),
    "identity": (-math.inf, math.inf),
}
"""Where the values of each activation lie."""


class GateValues(NamedTuple):
    """One gate of a layer, unit by unit.

    Attributes
    ----------
    mean, low, high : float64 array (H,)
        The mean of its values, and the fraction of steps at which it lies near the lower, and near
        the upper end of its range: σ near 0 (shut) and near 1 (open), tanh near -1 and 1, relu at 0
        (the unit is off).
    """

    mean: Floats
    low: Floats
    high: Floats

    @property
    def saturated(self) -> float:
        """The fraction of all its values that lie near an end, where the slope is small."""
        return float(np.mean(self.low + self.high)) if self.low.size else 0.0


def gate_values(gate: NDArray[Any], activation: str, margin: float) -> GateValues:
    """What the values (N, H) of a gate are like.

    Parameters
    ----------
    gate : array (N, H)
        At N steps; where there is none, all is 0.
    activation : str
    margin : float
        What counts as near: a share of the range. Of a range without an upper end, the lower end
        itself.
    """
    low, high = RANGES[activation]
    near = margin * (high - low) if math.isfinite(high - low) else 0.0
    count = max(len(gate), 1)
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf has no mean
        mean = gate.sum(axis=0, dtype=np.float64) / count
    return GateValues(
        mean,
        np.count_nonzero(gate <= low + near, axis=0) / count,
        np.count_nonzero(gate >= high - near, axis=0) / count,
    )


def values_of(part: Part, margin: float) -> Iterator[tuple[str, GateValues]]:
    """The gates of a recurrent layer, by letter, over all steps that were read."""
    read = part.read
    shown = [tape.gates for tape in part.pieces]
    for gate, activation in part.layer.gate_activations.items():
        values = np.concatenate([one[gate] for one in shown], axis=1)
        flat = values.reshape(-1, values.shape[2]) if read.all() else values[read]
        yield gate, gate_values(flat, activation, margin)


class GateStatistics(Display):
    """What `gate_statistics` found.

    Attributes
    ----------
    parts : dict of str to dict of str to GateValues
        By place and letter: ``parts["0"]["f"].high`` is the fraction of steps, for each unit, at
        which f stands open.
    margin : float

    Notes
    -----
    Where there is one recurrent layer, ``statistics["f"]`` is its gate f.
    """

    def __init__(self, parts: dict[str, dict[str, GateValues]], margin: float) -> None:
        self.parts, self.margin = parts, margin

    def __getitem__(self, gate: str) -> GateValues:
        if len(self.parts) != 1:
            raise KeyError(
                f"{gate}: ask one of the parts for it, parts[place], with place one of "
                f"{', '.join(map(repr, self.parts))}"
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
        """The fraction of steps at the lower end against that at the upper end, a point a unit."""
        from crnn.plotting import saturation

        points = {
            f"{place}: {gate}" if place else gate: (values.high, values.low)
            for place, gates in self.parts.items()
            for gate, values in gates.items()
        }
        return saturation(points, ax)


def gate_statistics(
    layer: LayerLike,
    x: Any,
    state: Any = None,
    *,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    margin: float = 0.1,
) -> GateStatistics:
    """How often each gate of each unit is saturated: shut, open, or at the ends of tanh.

    A unit whose forget gate is open at nearly all steps remembers; one whose input gate is shut at
    nearly all is never written to. Where all of a gate is saturated no gradient passes through it.
    The picture is that of Karpathy, Johnson and Fei-Fei, "Visualizing and understanding recurrent
    networks" (2015).

    Parameters
    ----------
    layer : layer
        Any layer or composition with recurrent parts. It is looked at in evaluation.
    x, state, lengths, mask, resets
        As in the layer's forward.
    margin : float, default 0.1
        What counts as near an end: this share of the activation's range, so below 0.1 and above 0.9
        for σ, below -0.8 and above 0.8 for tanh, which are the same sums but for a factor of 2. At
        least 0 and below 0.5.

    Returns
    -------
    GateStatistics

    Raises
    ------
    TypeError, ValueError
        For arguments that the layer's forward refuses, a margin out of range, or a layer without
        recurrent parts.
    """
    check_number("margin", margin, 0, 0.5)
    model, steps, given = prepared(layer, x, lengths=lengths, mask=mask, resets=resets)
    tape = tape_of(model, steps, state, given)
    parts = {part.place: dict(values_of(part, margin)) for part in parts_of(model, tape)}
    if not parts:
        raise ValueError(f"layer: expected one with a recurrent part, got {layer!r:.100}")
    return GateStatistics(parts, margin)
