"""A model in the usual protocol, as `crnn.fit` and `crnn.gradcheck` take it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_seed
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.layer import Layer, check_no_state
from crnn.layers.base.tapes import check_tape
from crnn.layers.compose.base import Composition
from crnn.seq2seq.model import Seq2Seq, check_counts
from crnn.seq2seq.tape import Seq2SeqTape


class TeacherForcingTape(NamedTuple):
    """The tape of the model, and how many arrays x was of."""

    model: Seq2SeqTape
    arrays: int

    @property
    def parts(self) -> dict[str, Any]:
        """Of the model's tape."""
        return self.model.parts

    @property
    def attention(self) -> Array:
        """Of the model's tape."""
        return self.model.attention

    @property
    def target_in(self) -> Array:
        """Of the model's tape: what was fed."""
        return self.model.target_in


class TeacherForcing(Composition):
    """A model that is told the right target, step by step, while it learns.

    The input x is the pair (source, target_in), or (source, target_in, source_lengths); `lengths`
    are those of the target. y are the logits. So the model trains as any layer does:
    ``crnn.fit(crnn.TeacherForcing(model), data, ...)`` with items
    ``((source, target_in, source_lengths), target, target_lengths)``.

    Parameters
    ----------
    model : Seq2Seq
        Its parameters keep their names here, without a prefix.
    probability : float or callable, default 1.0
        Of each step, but the first, being fed the true symbol; else it is fed what the model itself
        finds likeliest after the step before, with no gradient through that choice: scheduled
        sampling (Bengio et al. 2015). A callable is asked with the number of the call, in `fit` the
        number of updates done: a schedule. 0 is free running. Models of vectors are fed their own
        output.
    seed : int, optional
        Each decision is a function of it, ``call``, the row and the step. None draws one.

    Attributes
    ----------
    model : Seq2Seq
    probability : float or callable

    Raises
    ------
    TypeError
        If `model` is not a Seq2Seq.
    ValueError
        If `probability` is no number from 0 to 1; from forward, if a schedule gives none.

    Notes
    -----
    In evaluation (``training=False``) every step is fed the true symbol. Its tape has `attention`
    and `target_in`, what was fed. A schedule cannot be put into a file: save ``model`` itself.
    """

    _leading = _layers = ("model",)
    _arguments = ("probability", "seed")

    sequence_input, has_state, once = 1, False, ("bridge",)

    def __init__(
        self,
        model: Seq2Seq,
        probability: float | Callable[[int], float] = 1.0,
        seed: int | None = None,
    ) -> None:
        if not isinstance(model, Seq2Seq):
            raise TypeError(f"model: expected a Seq2Seq, got {model!r:.100}")
        self.model, self.seed = model, check_seed(seed)
        self.probability = probability if callable(probability) else _checked(probability)

    symbols = property(lambda self: self.model.source_symbols or self.model.own_symbols)

    def symbols_of(self, which: int) -> int | None:
        return self.model.target_symbols if which else self.symbols

    def with_vectors(self, symbols: Array, which: int = 0) -> tuple[Layer, Array] | None:
        side, inside = ("source", "target")[which], copy.copy(self.model)
        embedding = inside.parts.get(f"{side}_embedding")
        if embedding is None:  # the encoder reads symbols by itself
            return None
        setattr(inside, f"{side}_embedding", None)
        setattr(inside, f"{side}_symbols", None)
        return TeacherForcing(inside, seed=0), embedding.params["W"][symbols]

    @property
    def parts(self) -> dict[str, Any]:
        return self.model.parts

    @property
    def stochastic(self) -> bool:
        """Whether the model draws, or the symbols that are fed are drawn."""
        return super().stochastic or self.probability != 1

    output_size = property(lambda self: self.model.output_size)

    @property
    def config(self) -> dict[str, Any]:
        if callable(self.probability):
            raise ValueError(
                "probability: expected a number in what is put into a file, got "
                f"{self.probability!r:.60}; save the model inside"
            )
        return super().config

    def forward(
        self,
        x: tuple[ArrayLike | None, ...],
        state: None = None,
        *,
        lengths: ArrayLike | None = None,
        training: bool = True,
        call: int | None = None,
        first_row: int = 0,
        layer: int = 0,
    ) -> tuple[Array, None, TeacherForcingTape]:
        """logits, None, tape.

        Parameters
        ----------
        x : tuple of arrays
            (source, target_in) or (source, target_in, source_lengths).
        state : None
        lengths : (B,) integers, optional
            Of the target.
        training, call, first_row, layer
            As in every layer.
        """
        check_no_state(type(self).__name__, "state", state)
        check_counts(call, first_row, layer)
        checked = self.model.checked(*_triple(x), lengths, lengths_name="lengths")
        number = self.call_number(call, training)
        given = ForwardOptions(None, None, None, training, number, first_row, 0, layer)
        own = self._own(checked[1].shape, given) if training else None
        logits, tape = self.model.run(*checked, given, own)
        return logits, None, TeacherForcingTape(tape, len(x))

    def _own(self, shape: tuple[int, ...], given: ForwardOptions) -> NDArray[np.bool_] | None:
        """(B, T): which steps are fed the model's own output; None if none is."""
        probability = self.probability
        call = given.call or 0
        p = _checked(probability(call) if callable(probability) else probability)
        if p == 1:
            return None
        own = np.ones(shape[:2], bool)
        if p > 0:
            rows, steps = (places.ravel() for places in np.indices(shape[:2]))
            counts = self.seed, call, given.first_row, given.layer
            drawn = _core.dropout(np.ones((rows.size, 1)), p, rows, steps, *counts)
            own = (drawn > 0).reshape(shape[:2])  # dropped with p, those that are told
        own[:, :1] = False
        return own

    def check_backward(self, tape: Any, dstate: Any) -> None:
        super().check_backward(tape, dstate)
        check_tape(tape, TeacherForcingTape)
        self.model.check_run_back(tape.model, None, "dy")

    def backward(
        self,
        tape: TeacherForcingTape,
        dy: ArrayLike | None,
        dstate: None = None,
        *,
        trace: bool = False,
    ) -> tuple[tuple[Array | None, ...], None]:
        """dx, None: gradients of source and target, None for integers; adds to the model's."""
        self.check_backward(tape, dstate)
        dx = (*self.model.run_back(tape.model, dy, name="dy", trace=trace), None)
        return dx[: tape.arrays], None


def _triple(x: Any) -> tuple[Any, Any, Any]:
    """source, target_in, source_lengths."""
    if not isinstance(x, tuple) or len(x) not in (2, 3):
        given = f"a tuple of {len(x)}" if isinstance(x, tuple) else type(x).__name__
        raise TypeError(
            "x: expected the tuple (source, target_in) or (source, target_in, source_lengths), "
            f"got {given}"
        )
    return (*x, None)[:3]


def _checked(probability: Any) -> float:
    """A probability."""
    if not isinstance(probability, (int, float, np.number)) or not 0 <= probability <= 1:
        raise ValueError(
            "probability: expected a number from 0 to 1, or a function that gives one, "
            f"got {probability!r:.60}"
        )
    assert not math.isnan(probability)
    return float(probability)
