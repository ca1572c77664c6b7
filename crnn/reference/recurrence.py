"""The recurrence: the loop over time, and the options that are the same for every cell."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from crnn.reference.arrays import Array, Arrays, Blocks, Integers, Named, Shapes, one_hot
from crnn.reference.drops import RECURRENT_DROPOUT, WEIGHT_DROP, ZONEOUT_C, ZONEOUT_H, Draws
from crnn.reference.reading import Reading

Back = tuple[Array, Arrays]  # dx (rows, I), and dL/d of each part of the state (rows, H)

ORDER = ["W_x", "W_h", "b", "b_hn", "p_i", "p_f", "p_o", "gain_x", "gain_h", "gain_c", "b_c"]
ORDER += ["W_p", "h0", "c0"]
BY_GATE = {"W_x": "W_x", "W_h": "W_h", "b": "b_", "gain_x": "gain_x", "gain_h": "gain_h"}


class Step(NamedTuple):
    """What one step leaves for the way back."""

    where: tuple[Integers, Integers, Integers]  # the pieces that have this step, their rows, times
    x: Array  # (rows, I)
    state: Arrays  # before the step: h, or h and c (rows, H)
    m: Array  # the mask of recurrent dropout (rows, H)
    d: Arrays  # zoneout: how much of each part of the state is kept (rows, H)
    values: Blocks  # the gates after the activation (rows, H), and what else the cell computed


@dataclass(eq=False, kw_only=True)
class Cell(ABC):
    """The loop over time, for every cell.

    A cell says what its gates and its states are called, and gives `step` and `step_backward`.
    Their ``w`` and ``dw`` name each gate's block of rows as the lectures do: ``w.W_xi``,
    ``w.W_hi``, ``w.b_i`` for the gate i; other parameters have their own names.

    Parameters
    ----------
    layer_norm : bool
        Normalise the gates' sums: see `crnn.reference.sums`.
    clip : float, optional
        Clip each gate's complete sum to [-clip, clip] before the activation.
    learn_state : bool
        The initial state h0 (and c0) is a parameter: used where no state is given, and after
        resets.
    recurrent_dropout : float
        Probability p: ``W_h (m∘h)`` in place of ``W_h h``, with one m for all steps of a row that
        is 0 with probability p and else 1/(1-p). Y. Gal, Z. Ghahramani, arXiv:1512.05287 (2016).
    zoneout : float, or the pair (of h, of c)
        Probability that a unit keeps its old state: ``d∘h + (1-d)∘h̃`` with a d of 0 and 1 for each
        row, step and unit. D. Krueger et al., arXiv:1606.01305 (2017).
    weight_drop : float
        Probability that an entry of W_h is 0 for the whole call, else it is divided by 1-p.
        S. Merity et al., arXiv:1708.02182 (2018).
    """

    layer_norm: bool = False
    clip: float | None = None
    learn_state: bool = False
    recurrent_dropout: float = 0.0
    zoneout: float | tuple[float, ...] = 0.0
    weight_drop: float = 0.0

    gate_order: tuple[str, ...] = field(init=False, repr=False)  # of the rows of W_x, W_h and b
    state_names: tuple[str, ...] = field(init=False, repr=False)

    @abstractmethod
    def step(self, w: Blocks, x: Array, state: Arrays, m: Array) -> tuple[Blocks, Arrays]:
        """Return the gates (with what else the way back needs) and the new state of one step.

        `x` is (rows, I); `m` (rows, H) multiplies h wherever W_h reads it.
        """

    def step_backward(self, w: Blocks, dw: Blocks, step: Step, dstate: Arrays) -> Back:
        """Return dx and ∂L/∂state from dstate, ∂L/∂state'; add to the gradients in dw.

        Where one part of the state reaches the loss through another (the LSTM's c' through h'),
        that is added to `dstate` in place, which then holds the total derivatives. ``step.values``
        gets ``ds``, ∂L/∂s of each gate's sum s, by letter.
        """
        raise NotImplementedError

    # ---------------------------------------------------------------------------- the parameters

    def sizes(self, input_size: int, hidden_size: int) -> Shapes:
        """Return the shapes of all that the equations name; what is absent in a layer is zero."""
        rows, width = len(self.gate_order) * hidden_size, self.state_sizes(hidden_size)
        sizes: Shapes = {"W_x": (rows, input_size), "W_h": (rows, width[0]), "b": (rows,)}
        if self.layer_norm:
            sizes |= {"gain_x": (rows,), "gain_h": (rows,)}
        return sizes | {n + "0": (k,) for n, k in zip(self.state_names, width, strict=True)}

    def absent(self, bias: bool) -> set[str]:
        """Return the names in `sizes` that a layer with these options does not have."""
        without_bias = set() if bias else {"b", "b_hn", "b_c"}
        return without_bias | (set() if self.learn_state else {"h0", "c0"})

    def state_sizes(self, hidden_size: int) -> list[int]:
        """Return the width of each part of the state."""
        return [hidden_size for _ in self.state_names]

    def shapes(self, input_size: int, hidden_size: int, bias: bool = True) -> Shapes:
        """Return the parameters of a layer, as a dict of name -> shape."""
        sizes, absent = self.sizes(input_size, hidden_size), self.absent(bias)
        return {name: sizes[name] for name in ORDER if name in sizes and name not in absent}

    # ------------------------------------------------------------------------------ the two walks

    def forward(
        self,
        params: Mapping[str, Array],
        x: ArrayLike,
        state: Any = None,
        lengths: ArrayLike | None = None,
        reverse: bool = False,
        *,
        mask: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        training: bool = True,
        call: int = 0,
        first_row: int = 0,
        first_step: int = 0,
        layer: int = 0,
        seed: int = 0,
    ) -> tuple[Array, Any, SimpleNamespace]:
        """Run the cell over whole sequences.

        Parameters
        ----------
        params : dict of arrays
            ``W_x (G*H, I)``, ``W_h (G*H, H)``, ``b (G*H,)`` with the gates in `gate_order`, and
            what else `shapes` names. Absent biases (``bias=False``) are zero.
        x : array (B, T, I) of floats, or (B, T) of integers
            Integers are symbols, that is one-hot rows.
        state : array (B, H), or the pair (h, c) for the LSTM; optional
            The state before the first step; zero (or h0 and c0) by default.
        lengths : array (B,) of integers, optional
            Steps in each row, 0 allowed. What stands in `x` after them is never looked at.
        reverse : bool
            Read each row from its own last step to its first.
        mask : array (B, T) of bools, optional
            A step where it is false is not read: the state is carried, the output repeated.
        resets : array (B, T) of bools, optional
            A row is cut before each step where it is true: see `crnn.reference.reading`. Cuts past
            a row's end mean nothing. A cut before step 0 throws the given state away.
        training : bool
            Drop; in evaluation nothing is dropped, and zoneout takes its mean, d = p.
        call, first_row, first_step, layer, seed : int
            They decide what is dropped; row 0 of `x` is row `first_row`, step 0 `first_step`.

        Returns
        -------
        y : array (B, T, H)
            h' of every step, aligned with `x`; at a masked step the output read before it, zero if
            there is none; zero past the end of a row.
        state : as the argument
            The state after each row's last step (with `reverse`: after step 0).
        tape : namespace
            ``gates`` (dict of arrays (B, T, H), after the activation, zero at masked steps), ``h``
            and, for the LSTM, ``c`` (B, T, H) without the initial state, repeated as y is, all zero
            past the end; and what `backward` needs.
        """
        symbols = np.asarray(x).dtype.kind in "iu"
        x = one_hot(x, params["W_x"].shape[1]) if symbols else np.asarray(x, np.float64)
        B, T, _ = x.shape
        H = len(params["W_x"]) // len(self.gate_order)
        tape = SimpleNamespace(x=x, symbols=symbols, given=state is not None, steps=[])
        tape.reading = reading = Reading((B, T), lengths, mask, resets, reverse)
        self._draw(tape, H, Draws(seed, call, layer), (first_row, first_step), training)
        complete = self._complete(params)
        w = self._blocks(complete, tape)
        learned = [complete[name + "0"] for name in self.state_names]
        states = reading.starts(self._unpack(state), learned)
        tape.gates = {name: np.zeros((B, T, H)) for name in self.gate_order}
        history = [np.zeros((B, T, size)) for size in self.state_sizes(H)]

        for where in reading.steps():
            pieces, rows, t = where
            before = [part[pieces] for part in states]
            m, d = tape.m[rows], [part[rows, t] for part in tape.d]
            values, new = self.step(w, x[rows, t], before, m)
            after = [k * old + (1 - k) * n for k, old, n in zip(d, before, new, strict=True)]
            tape.steps.append(Step(where, x[rows, t], before, m, d, values))
            for name, gate in tape.gates.items():
                gate[rows, t] = vars(values)[name]
            for whole, story, part in zip(states, history, after, strict=True):
                whole[pieces] = story[rows, t] = part

        shown = [reading.repeated(story) for story in history]
        vars(tape).update(zip(self.state_names, shown, strict=True))
        return tape.h.copy(), self._pack([part[reading.last] for part in states]), tape

    def backward(
        self,
        params: Mapping[str, Array],
        tape: SimpleNamespace,
        dy: ArrayLike | None,
        dstate: Any = None,
    ) -> tuple[Array | None, Any, Named]:
        """Walk a tape back: backpropagation through time.

        Parameters
        ----------
        params : dict of arrays
            As in `forward`.
        tape : namespace
            From `forward`. It receives ``dh`` and, for the LSTM, ``dc`` (B, T, H): the total
            derivatives ∂L/∂h_t and ∂L/∂c_t, zero at masked steps and past the end of a row. With
            zoneout c_t is what the step ends with; h_t is made of c̃, and does not depend on it.
            ``dgates``, a dict of (B, T, H), are those of the gates' sums.
        dy : array (B, T, H) or None
            ∂L/∂y; never looked at past the end of a row. None stands for zeros.
        dstate : as the state, optional
            ∂L/∂state for the state that `forward` returned; zero by default.

        Returns
        -------
        dx : array (B, T, I), or None where x was symbols
            Zero at masked steps and past the end of a row.
        dstate : as the state
            The gradient at the initial state.
        grads : dict of arrays
            The gradient of every array in `params`.
        """
        complete, reading = self._complete(params), tape.reading
        grads = {name: np.zeros_like(array) for name, array in complete.items()}
        w, dw = self._blocks(complete, tape), self._blocks(grads)
        dx = np.zeros_like(tape.x)
        history = [np.zeros_like(vars(tape)[name]) for name in self.state_names]
        dstates = [np.zeros((len(reading.rows), story.shape[2])) for story in history]
        for part, given in zip(dstates, self._unpack(dstate), strict=False):
            part[reading.last] = given
        tape.dgates = {name: np.zeros_like(gate) for name, gate in tape.gates.items()}
        dshown = np.zeros_like(tape.h) if dy is None else reading.repeated_backward(dy)

        for step in reversed(tape.steps):
            pieces, rows, t = step.where
            total = [part[pieces] for part in dstates]
            total[0] += dshown[rows, t]
            dnew = [dpart * (1 - d) for dpart, d in zip(total, step.d, strict=True)]
            dx[rows, t], dbefore = self.step_backward(w, dw, step, dnew)
            for name, ds in step.values.ds.items():
                tape.dgates[name][rows, t] = ds
            for k, (d, p) in enumerate(zip(step.d, self.zoneouts, strict=True)):
                dstates[k][pieces] = dbefore[k] + total[k] * d
                history[k][rows, t] = total[k] if p else dnew[k]

        self._add_learned(grads, dstates, tape)
        grads["W_h"] *= tape.weight_mask
        vars(tape).update(zip(["d" + name for name in self.state_names], history, strict=True))
        dstate = self._pack([part[reading.first] for part in dstates])
        return None if tape.symbols else dx, dstate, {name: grads[name] for name in params}

    # --------------------------------------------------------------------------------- the options

    @property
    def zoneouts(self) -> tuple[float, ...]:
        """The probability for each part of the state."""
        if isinstance(self.zoneout, tuple):
            return self.zoneout
        return (self.zoneout,) * len(self.state_names)

    def _draw(
        self, tape: SimpleNamespace, H: int, draws: Draws, first: tuple[int, int], training: bool
    ) -> None:
        """Put the masks of this call on the tape: m (B, H), d (B, T, H) each, and W_h's."""
        B, T, _ = tape.x.shape
        sizes = self.state_sizes(H)
        if not training:
            tape.m, tape.weight_mask = np.ones((B, sizes[0])), 1.0
            tape.d = [np.full((B, T, n), p) for n, p in zip(sizes, self.zoneouts, strict=True)]
            return
        row, step = first[0] + np.arange(B), first[1] + np.arange(T)
        column, gate_unit = np.arange(sizes[0]), np.arange(len(self.gate_order) * H)
        tape.m = draws.mask(self.recurrent_dropout, RECURRENT_DROPOUT, np.c_[row], 0, column)
        tape.weight_mask = draws.mask(self.weight_drop, WEIGHT_DROP, column, 0, np.c_[gate_unit])
        tape.d = [
            1.0 * draws.hits(p, kind, row[:, None, None], np.c_[step], np.arange(n))
            for kind, p, n in zip((ZONEOUT_H, ZONEOUT_C), self.zoneouts, sizes, strict=False)
        ]

    def _add_learned(self, grads: Named, dstates: Arrays, tape: SimpleNamespace) -> None:
        """Add the gradient of the learned state: of all pieces that started from it."""
        learned = np.ones(len(tape.reading.rows), bool)
        learned[tape.reading.first] = not tape.given
        for name, part in zip(self.state_names, dstates, strict=True):
            grads[name + "0"] += part[learned].sum(axis=0)

    # ------------------------------------------------------------------------------------ the rest

    def _complete(self, params: Mapping[str, Array]) -> Named:
        """Return `params` in float64, with zeros for what is absent."""
        rows, input_size = params["W_x"].shape
        sizes = self.sizes(input_size, rows // len(self.gate_order))
        given = {name: np.asarray(params.get(name, 0), np.float64) for name in sizes}
        return {name: given[name] + np.zeros(shape) for name, shape in sizes.items()}

    def _blocks(self, arrays: Named, tape: SimpleNamespace | None = None) -> Blocks:
        """Name the blocks of rows of each gate; they are views, so what is added to them stays."""
        if tape:
            arrays = arrays | {"W_h": arrays["W_h"] * tape.weight_mask}
        w = Blocks(**{name: array for name, array in arrays.items() if name not in BY_GATE})
        for name in BY_GATE.keys() & arrays.keys():
            blocks = np.split(arrays[name], len(self.gate_order))
            for gate, block in zip(self.gate_order, blocks, strict=True):
                setattr(w, BY_GATE[name] + gate, block)
        return w

    def _unpack(self, state: Any) -> Arrays:
        """Return a state as a list of float64 arrays, the empty list for None."""
        if state is None:
            return []
        parts = [state] if len(self.state_names) == 1 else state
        return [np.asarray(part, np.float64) for part in parts]

    def _pack(self, parts: Arrays) -> Any:
        return parts[0] if len(parts) == 1 else tuple(parts)
