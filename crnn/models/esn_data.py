"""The data of an echo state network: forms of inputs and targets, teacher forcing, the score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from crnn.common.arrays import Array, Floats
from crnn.common.checks import check_array, check_lengths
from crnn.layers.base.adapted import layer_of, stepwise_obstacle
from crnn.layers.base.protocol import LayerLike
from crnn.layers.pointwise.factor import check_range
from crnn.layers.pointwise.ridge import Ridge
from crnn.layers.pointwise.rls import RLS
from crnn.training.readouts import Features, Sequences
from crnn.training.windows import Item, items_of


def inputs_of(reservoir: LayerLike, readout: Ridge | RLS, feedback: bool) -> int | None:
    """Return the number of inputs without outputs that are fed back; None if it is not known."""
    width, outputs = layer_of(reservoir).input_size, readout.output_size
    if not feedback:
        return width
    if width is None or width < outputs:
        raise ValueError(
            f"reservoir: expected input_size = I + O, with I >= 0 inputs and the O={outputs} "
            f"outputs that are fed back, got {reservoir!r:.100}"
        )
    obstacle = stepwise_obstacle(reservoir)
    if obstacle is not None:
        raise ValueError(
            "reservoir: expected one that runs step by step, because outputs are fed back, got "
            f"{reservoir!r:.100}{obstacle}"
        )
    return width - outputs


def inputs_array(esn: Any, x: Any) -> tuple[Array, bool]:
    """Return inputs (B, T, I), or symbols, and whether x was a single sequence."""
    inputs = esn._external
    if esn.feedback and inputs == 0:
        raise ValueError("x: expected a network with inputs, got one with I=0: use generate(steps)")
    array = np.asarray(x)
    if array.dtype.kind in "iu" and esn.symbols is not None and not esn.feedback:
        return check_array("x", x, "integers", ("B", "T")), False
    array = check_array("x", x, "floats", *sizes_of("I", inputs))
    return (array[None], True) if array.ndim == 2 else (array, False)


class Given:
    """The data of a fit as items.

    Parameters
    ----------
    esn : ESN
    x, y, lengths
        As for `ESN.fit`.
    features : Features
    """

    once, name, names = False, "", ("x", "y")

    def __init__(
        self,
        esn: Any,
        x: Any,
        y: Any,
        lengths: Any,
        features: Features,
    ) -> None:
        self._esn = esn
        self._items: Iterable[Any]
        without = esn.feedback and esn._external == 0
        if without:
            if x is not None:
                raise ValueError("x: expected None for a network with I=0 inputs, got an argument")
            x = _no_inputs(y, esn.readout.output_size)
        if isinstance(x, list):
            if lengths is not None:
                raise ValueError("lengths: expected None for a list of sequences, got an argument")
            if not x:
                raise ValueError(
                    f"{'y' if without else 'x'}: expected sequences, got an empty list"
                )
            self._items = Sequences(x, y, features, "y")
            return
        if without:
            array, single = (x[None], True) if x.ndim == 2 else (x, False)
        else:
            array, single = inputs_array(esn, x)
        O = ("O", esn.readout.output_size)
        B, T = ("B", len(array)), ("T", array.shape[1])
        shape: tuple[Any, ...] = (B, T, O) if features.keeps_time else (B, O)
        if single and features.keeps_time:
            shape = T, O
        target = check_array("y", y, "real numbers", shape)
        if single and features.keeps_time:
            target = target[None]
        if lengths is not None:
            lengths = check_lengths(lengths, array.shape)
        self._items = [(array, target, lengths)]

    def __iter__(self) -> Iterator[Item]:
        return items_of(self._items, "data", None, self._esn)


class TeacherForced(Features):
    """The reservoir of a network with feedback: the targets of the step before are joined to x.

    The state is that of the layers, and the last target.
    """

    def __call__(self, item: Item, state: Any, row: int, step: int) -> tuple[Array, Any]:
        before = np.zeros(item.target.shape)
        before[:, 1:] = item.target[:, :-1]
        if state is not None:
            state, before[:, 0] = state
        x = np.concatenate([item.x, before], axis=2)
        z, after = super().__call__(item._replace(x=x), state, row, step)
        return z, (after, item.target[:, -1])


def _no_inputs(y: Any, outputs: int) -> Any:
    """Return inputs without features for targets."""
    if isinstance(y, list):
        return [np.zeros((len(np.atleast_1d(one)), 0)) for one in y]
    target = check_array("y", y, "real numbers", *(sizes_of("O", outputs)))
    return np.zeros((*target.shape[:-1], 0))


def sizes_of(letter: str, width: int | None) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the two shapes that an array of sequences may have: (B, T, I) and (T, I)."""
    size: Any = letter if width is None else (letter, width)
    return ("B", "T", size), ("T", size)


def determination(errors: Floats, targets: Floats, washout: int) -> float:
    """Return R² from errors and targets (N, O)."""
    if not len(targets):
        raise ValueError(
            f"washout: expected fewer steps than a sequence has, got {washout}, which leaves no "
            "step"
            if washout
            else "x: expected steps of which the outputs are compared, got none"
        )
    check_range("y", targets, " at the steps that are compared")
    rest = np.square(errors).sum(axis=0)
    total = np.square(targets - targets.mean(axis=0)).sum(axis=0)
    scores = 1 - rest / np.where(total > 0, total, 1)
    return float(np.where(total > 0, scores, rest == 0).mean())
