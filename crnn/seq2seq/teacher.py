"""TeacherForcing: a sequence-to-sequence model as a layer, for `crnn.fit` and `crnn.gradcheck`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

import crnn._core as _core
from crnn.common.arrays import Array
from crnn.common.checks import check_seed
from crnn.common.representation import tape_text
from crnn.layers.base.arguments import ForwardOptions
from crnn.layers.base.attributes import Checked
from crnn.layers.base.layer import Layer, check_no_state
from crnn.layers.base.tapes import check_tape
from crnn.layers.compose.base import Composition
from crnn.seq2seq.model import Seq2Seq, check_counts
from crnn.seq2seq.tape import Seq2SeqTape


class TeacherForcingTape(NamedTuple):
    """Tape of `TeacherForcing.forward`: the tape of the model, and the number of arrays in x."""

    model: Seq2SeqTape
    arrays: int

    @property
    def parts(self) -> dict[str, Any]:
        """Tapes of encoder and decoder, by name."""
        return self.model.parts

    @property
    def attention(self) -> Array:
        """Attention weights (B, T_t, T_s)."""
        return self.model.attention

    @property
    def target_in(self) -> Array:
        """Inputs of the decoder: the target, or in part the model's own output."""
        return self.model.target_in

    def __repr__(self) -> str:
        return tape_text(self)


def _checked(probability: Any) -> float:
    """Return a probability as a float, or raise."""
    if not isinstance(probability, (int, float, np.number)) or not 0 <= probability <= 1:
        raise ValueError(
            "probability: expected a number from 0 to 1, or a function that returns one, "
            f"got {probability!r:.60}"
        )
    return float(probability)


def _check_probability(name: str, value: Any) -> float | Callable[[int], float]:
    return value if callable(value) else _checked(value)


class TeacherForcing(Composition):
    """Layer that trains a `crnn.Seq2Seq`: its decoder reads the correct target of the step before.

    The input x is the tuple (source, target_in) or (source, target_in, source_lengths); the
    `lengths` are those of the target; y are the logits. So `crnn.fit` trains the model as any layer
    on items ``((source, target_in, source_lengths), target, target_lengths)``, as
    `crnn.data.PairBatches` makes them.

    Parameters
    ----------
    model : Seq2Seq
        The model. Its parameters keep their names here, without a prefix.
    probability : float or callable, default 1.0
        Probability that the decoder reads the correct symbol, at each step but the first. Otherwise
        it reads the symbol that the model finds most likely after the step before, and no gradient
        passes through this choice: scheduled sampling (S. Bengio et al., "Scheduled sampling for
        sequence prediction with recurrent neural networks", 2015). A function is a schedule: it is
        called with the number of the call, in `crnn.fit` the number of updates so far, and returns
        the probability. 0: the decoder reads its own output only. Models of vectors read their own
        output vectors.
    seed : int, optional
        Seed of these choices. A choice is a function of it, of `call`, and of the numbers of row
        and step. None: a random seed.

    Attributes
    ----------
    model : Seq2Seq
        The model.
    probability : float or callable
        The probability or schedule.
    seed : int
        The seed, also where it was drawn.

    Methods
    -------
    forward(x, lengths=None)
        Logits of every step of the target.
    backward(tape, dy)
        Gradients of a forward pass.

    Raises
    ------
    TypeError
        If `model` is not a Seq2Seq.
    ValueError
        If `probability` is not a number from 0 to 1. From forward, if a schedule returns no such
        number.

    See Also
    --------
    crnn.data.PairBatches : batches of pairs of sequences.

    Notes
    -----
    In evaluation (``training=False``) the decoder reads the correct symbol at every step. The tape
    has the attributes `attention` and `target_in`, the inputs of the decoder. A layer with a
    schedule cannot be saved to a file: save ``model`` instead.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> parts = crnn.GRU(4, 8, seed=0), crnn.GRU(4, 8, seed=1)
    >>> model = crnn.Seq2Seq(*parts, source_symbols=6, target_symbols=6, seed=2)
    >>> source, target = np.array([[2, 3, 4]]), np.array([[4, 3, 2, 1]])  # symbol 1 stops
    >>> target_in = np.array([[0, 4, 3, 2]])  # symbol 0 starts
    >>> optimizer, loss = crnn.optim.Adam(model, lr=0.05), crnn.losses.cross_entropy
    >>> history = crnn.fit(crnn.TeacherForcing(model), [((source, target_in), target)],
    ...                    loss=loss, optimizer=optimizer, epochs=60, progress=False)
    >>> tokens, scores = model.generate(source, start=0, stop=1, max_steps=6)
    >>> tokens
    array([[4, 3, 2, 1]])
    """

    _leading = _layers = ("model",)
    _arguments = ("probability", "seed")
    probability = Checked[float | Callable[[int], float]](_check_probability)
    seed = Checked[int](lambda name, value: check_seed(value))

    sequence_input, has_state, once = 1, False, ("bridge",)

    def __init__(
        self,
        model: Seq2Seq,
        probability: float | Callable[[int], float] = 1.0,
        seed: int | None = None,
    ) -> None:
        if not isinstance(model, Seq2Seq):
            raise TypeError(f"model: expected a Seq2Seq, got {model!r:.100}")
        self.model, self.seed, self.probability = model, seed, probability

    symbols = property(lambda self: self.model.source_symbols or self.model.encoder_symbols)

    def symbols_of(self, which: int) -> int | None:
        return self.model.target_symbols if which else self.symbols

    def with_vectors(self, symbols: Array, which: int = 0) -> tuple[Layer, Array] | None:
        side, model = ("source", "target")[which], copy.copy(self.model)
        embedding = model.parts.get(f"{side}_embedding")
        if embedding is None:  # the encoder has its own embedding
            return None
        setattr(model, f"{side}_embedding", None)
        vars(model)[f"{side}_symbols"] = None
        return TeacherForcing(model, seed=0), embedding.params["W"][symbols]

    @property
    def parts(self) -> dict[str, Any]:
        return self.model.parts

    @property
    def stochastic(self) -> bool:
        """Whether the model draws random numbers, or the inputs of the decoder are drawn."""
        return super().stochastic or self.probability != 1

    output_size = property(lambda self: self.model.output_size)

    @property
    def config(self) -> dict[str, Any]:
        if callable(self.probability):
            raise ValueError(
                "probability: expected a number in a layer that is saved to a file, got "
                f"{self.probability!r:.60}; save its attribute model instead"
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
        needs_dx: bool | None = True,
    ) -> tuple[Array, None, TeacherForcingTape]:
        """Return the logits of every step of the target, None for the state, and a tape.

        Parameters
        ----------
        x : tuple (source, target_in) or (source, target_in, source_lengths)
            The source, the inputs of the decoder and the lengths of the source, as for
            `crnn.Seq2Seq.forward`.
        state : None
            The layer has no state.
        lengths : integers (B,), optional
            Number of valid steps of each row of the target. None: all T_t.
        training : bool, default True
            False: no dropout, and the decoder reads the correct symbol at every step.
        call, first_row, layer : int
            As for `crnn.Seq2Seq.forward`. A schedule is called with `call`.
        needs_dx : bool, default True
            False: the tape is for the gradients of the parameters that are trained now; `backward`
            returns None for the gradients of x.

        Returns
        -------
        y : array (B, T_t, K), or (B, T_t, E)
            Logits of the symbols of the target, or vectors; 0 in the padding.
        state : None
            The layer has no state.
        tape : TeacherForcingTape
            Values for `backward`; `attention` and `target_in`, the inputs of the decoder.

        Raises
        ------
        TypeError, ValueError
            If x is not such a tuple, an array or a number is not valid, a state is passed, or the
            schedule returns no probability.
        """
        check_no_state(type(self).__name__, "state", state)
        check_counts(call, first_row, layer)
        inputs = self.model.checked_inputs(*_triple(x), lengths, lengths_name="lengths")
        number = self.call_number(call, training)
        unwanted = None if needs_dx or needs_dx is None else False
        counts = number, first_row, 0, layer, None
        options = ForwardOptions(None, None, None, training, *counts, unwanted)
        feedback = self._feedback(inputs[1].shape, options) if training else None
        logits, tape = self.model.run(*inputs, options, feedback)
        return logits, None, TeacherForcingTape(tape, len(x))

    def _feedback(
        self, shape: tuple[int, ...], options: ForwardOptions
    ) -> NDArray[np.bool_] | None:
        """Return where the decoder reads the model's own output (B, T), None for nowhere."""
        probability = self.probability
        call = options.call or 0
        p = _checked(probability(call)) if callable(probability) else probability
        if p == 1:
            return None
        feedback = np.ones(shape[:2], bool)
        if p > 0:
            counts = self.seed, call, options.first_row, 0, options.layer
            ones, drop = np.ones((*shape[:2], 1)), ("drop", p, False, counts)
            kept, _ = _core.rowwise_forward(drop, None, (ones,), None, False, False)
            feedback = kept[..., 0] > 0  # each step is dropped with probability p
        feedback[:, :1] = False
        return feedback

    def check_backward(self, tape: Any, dstate: Any) -> None:
        super().check_backward(tape, dstate)
        check_tape(tape, TeacherForcingTape)
        self.model.check_run_backward(tape.model, None, "dy")

    def backward(
        self,
        tape: TeacherForcingTape,
        dy: ArrayLike | None,
        dstate: None = None,
        *,
        trace: bool = False,
    ) -> tuple[tuple[Array | None, ...], None]:
        """Return the gradient at x, and add to the gradients of the model.

        Parameters
        ----------
        tape : TeacherForcingTape
            The tape that `forward` returned.
        dy : floats (B, T_t, K), or (B, T_t, E)
            Gradient at y. The padding is ignored. None stands for zeros.
        dstate : None
            The layer has no state.
        trace : bool, default False
            Keep the gradient at each step in the tapes of the recurrent layers.

        Returns
        -------
        dx : tuple of arrays or None
            Gradients at the arrays of x; None for symbols and for lengths.
        dstate : None
            The layer has no state.

        Raises
        ------
        TypeError, ValueError
            If the tape is of another model, or dy has another dtype or shape. No gradient changes
            then.
        """
        self.check_backward(tape, dstate)
        dx = (*self.model.run_backward(tape.model, dy, name="dy", trace=trace), None)
        return dx[: tape.arrays], None


def _triple(x: Any) -> tuple[Any, Any, Any]:
    """Return source, target_in and source_lengths, None where x has no lengths."""
    if not isinstance(x, tuple) or len(x) not in (2, 3):
        got = f"a tuple of {len(x)}" if isinstance(x, tuple) else type(x).__name__
        raise TypeError(
            "x: expected the tuple (source, target_in) or (source, target_in, source_lengths), "
            f"got {got}"
        )
    return (*x, None)[:3]
