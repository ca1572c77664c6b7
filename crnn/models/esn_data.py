"""The data of an echo state network: forms of inputs and targets, teacher forcing, the score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from crnn.common.arrays import Array, Floats, as_array
from crnn.common.checks import check_array, check_lengths
from crnn.layers.base.adapted import layer_of, stepwise_obstacle
from crnn.layers.base.protocol import LayerLike
from crnn.layers.pointwise.factor import check_range
from crnn.layers.pointwise.ridge import Ridge
from crnn.layers.pointwise.rls import RLS
from crnn.training.nonfinite import Located, check_finite, in_row, steps_read
from crnn.training.predicting import alike
from crnn.training.readouts import Features
from crnn.training.sequences import Sequences
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


#: What an error adds if x is of integers that are not read as symbols.
_AS_FLOATS = "; integers are read as symbols: give numbers as floats"


def inputs_array(esn: Any, x: Any, y: Any = None) -> tuple[Array, bool]:
    """Return inputs (B, T, I), or symbols, and whether x was a single sequence.

    Parameters
    ----------
    esn : ESN
    x : array_like
    y : array, optional
        Targets. They tell a single sequence of integers from symbols of many.
    """
    inputs = esn._external
    if esn.feedback and inputs == 0:
        raise ValueError("x: expected a network with inputs, got one with I=0: use generate(steps)")
    _check_no_tuple("x", x)
    array = as_array("x", x)
    of_integers = array.dtype.kind in "iu"
    is_series = y is not None and y.ndim == 2 and array.shape == (len(y), inputs)
    if of_integers and array.ndim == 2 and _reads_symbols(esn) and not is_series:
        return array, False
    hint = _AS_FLOATS if of_integers else ""
    array = check_array("x", array, "floats", *sizes_of("I", inputs), hint=hint)
    return (array[None], True) if array.ndim == 2 else (array, False)


def inputs_list(esn: Any, x: list[Any]) -> list[Array]:
    """Return sequences (T, I) of floats, or (T,) of symbols, after a check of each."""
    inputs: Any = esn._external
    width = "I" if inputs is None else ("I", inputs)
    symbols = _reads_symbols(esn)
    sequences = alike([as_array(f"x[{i}]", one) for i, one in enumerate(x)])
    for i, one in enumerate(sequences):
        kind, hint = one.dtype.kind, ""
        if kind == "i" and one.ndim == 1 and symbols:
            continue
        if kind == "i":
            hint = _AS_FLOATS
        elif one.ndim < 2:
            hint = "; a list has an entry for each sequence: write np.array(x) for a single one"
        check_array(f"x[{i}]", one, "floats", ("T", width), hint=hint)
    if len({one.dtype.kind for one in sequences}) > 1:
        raise ValueError("x: expected floats in all sequences, or symbols in all, got both")
    return sequences


def check_none(where: str, **values: Any) -> None:
    """Raise ValueError for an argument that is not None."""
    for name, value in values.items():
        if value is not None:
            raise ValueError(f"{name}: expected None {where}, got {type(value).__name__}")


def _check_no_tuple(name: str, value: Any) -> None:
    """Raise TypeError for a tuple, which might be meant as one array or as many sequences."""
    if isinstance(value, tuple):
        raise TypeError(
            f"{name}: expected an array, or a list of sequences, got a tuple: write "
            f"list({name}) for sequences"
        )


def _reads_symbols(esn: Any) -> bool:
    """Return whether x may be symbols."""
    return esn.symbols is not None and not esn.feedback


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
            check_none("for a network with I=0 inputs", x=x)
            x = _no_inputs(y, esn.readout.output_size)
        self._form = "list" if isinstance(x, list) else "array"
        width = "O", esn.readout.output_size
        if isinstance(x, list):
            check_none("for a list of sequences", lengths=lengths)
            if not x:
                raise ValueError(
                    f"{'y' if without else 'x'}: expected sequences, got an empty list"
                )
            x = x if without else inputs_list(esn, x)
            self._items = Sequences(x, y, width, name="y", **features.form)
            return
        _check_no_tuple("x", x)
        _check_no_tuple("y", y)
        target = as_array("y", y)
        if without:
            array, single = (x[None], True) if x.ndim == 2 else (x, False)
        else:
            array, single = inputs_array(esn, x, target if features.keeps_time else None)
        B, T = ("B", len(array)), ("T", array.shape[1])
        shape: tuple[Any, ...] = (B, T, width) if features.keeps_time else (B, width)
        if single and features.keeps_time:
            shape = T, width
        target = check_array("y", target, "real numbers", shape)
        if single and features.keeps_time:
            self._form, target = "single", target[None]
        if lengths is not None:
            lengths = check_lengths(lengths, array.shape)
        self._items = [(array, target, lengths)]

    def __iter__(self) -> Iterator[Item]:
        return items_of(self._items, "data", None, self._esn)

    def located(self, name: str, row: int, step: int | None) -> tuple[str, str]:
        """Return the name and the place of a number in x or y; see `Located`."""
        if self._form == "list":
            return f"{name}[{row}]", f"at step {step}"
        return (name, f"at step {step}") if self._form == "single" else in_row(name, row, step)


class TeacherForced(Features):
    """The reservoir of a network with feedback: the targets of the step before are joined to x.

    The state is that of the layers, and the last target.
    """

    def check(self, item: Item, located: Located) -> None:
        super().check(item, located)
        check_finite("y", item.target, steps_read(item), located)

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
        return [np.zeros((len(np.atleast_1d(as_array(f"y[{i}]", y[i]))), 0)) for i in range(len(y))]
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
