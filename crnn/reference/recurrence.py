"""The recurrence: the loop over time, and the options that all cells share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from crnn.reference.arrays import Array, Arrays, Blocks, Integers, Named, Shapes, one_hot
from crnn.reference.drops import RECURRENT_DROPOUT, WEIGHT_DROP, ZONEOUT_C, ZONEOUT_H, Draws
from crnn.reference.reading import Reading

# dx (rows, I), ∂L/∂ of each part of the state (rows, H) and of what W_h read (rows, K*H)
Back = tuple[Array, Arrays, Array]

ORDER = ["W_x", "W_h", "b", "b_hn", "p_i", "p_f", "p_o", "gain_x", "gain_h", "gain_c", "b_c"]
ORDER += ["W_p", "h0", "c0", "leak"]
BY_GATE = {"W_x": "W_x", "W_h": "W_h", "b": "b_", "gain_x": "gain_x", "gain_h": "gain_h"}


class Step(NamedTuple):
    """Values of one step that the backward pass needs."""

    where: tuple[Integers, Integers, Integers]  # the pieces that have this step, their rows, times
    x: Array  # (rows, I)
    state: Arrays  # that the cell keeps: h, or h and c (rows, H)
    read: Array  # h as W_h read it: m∘h, of each delay side by side (rows, K*H)
    m: Array  # the mask of recurrent dropout (rows, H)
    d: Arrays  # zoneout: the fraction of each part of the state that is kept (rows, H)
    values: Blocks  # the gates after the activation (rows, H), and other values of the cell


@dataclass(eq=False, kw_only=True)
class Cell(ABC):
    """Base class of the cells: the loop over time.

    A subclass defines `gate_order`, `state_names`, `step` and `step_backward`. In these methods
    ``w`` and ``dw`` have each gate's block of rows under the names of the equations: ``w.W_xi``,
    ``w.W_hi``, ``w.b_i`` for the gate i. Other parameters keep their names.

    Parameters
    ----------
    layer_norm : bool, default False
        Normalise the sums of the gates: see `crnn.reference.sums`.
    clip : float, optional
        Limit the sum of each gate to [-clip, clip] before the activation. None: no limit.
    learn_state : bool, default False
        Make the initial state a parameter, h0 (and c0). It is used where the caller passes no
        state, and after resets.
    delays : int or tuple of int, default 1
        Steps from an earlier state to the step that reads it: s = W_x x + Σ_k W_h,k h_{t−d_k} + b,
        with the blocks W_h,k side by side in W_h. c, and h where it does not pass through W_h, are
        those of the shortest delay. Only steps that are read count. With a longest delay D > 1 a
        state has those of the last D steps, the oldest first. T. Lin et al., Learning long-term
        dependencies in NARX recurrent neural networks, IEEE Trans. Neural Networks 7 (1996); one
        delay: S. Chang et al., Dilated recurrent neural networks, arXiv:1710.02224 (2017).
    recurrent_dropout : float, default 0.0
        Probability p: ``W_h (m∘h)`` in place of ``W_h h``, with one m for all steps of a row that
        is 0 with probability p and else 1/(1-p). Y. Gal, Z. Ghahramani, arXiv:1512.05287 (2016).
    zoneout : float or tuple of float, default 0.0
        Probability that a unit keeps its old state; a tuple has one for each part of the state (h,
        c). ``d∘h + (1-d)∘h̃`` with a d of 0 and 1 for each row, step and unit. D. Krueger et al.,
        arXiv:1606.01305 (2017).
    weight_drop : float, default 0.0
        Probability p that an entry of W_h is 0 during a whole call; the others are divided by 1-p.
        S. Merity et al., arXiv:1708.02182 (2018).

    Attributes
    ----------
    gate_order : tuple of str
        Letters of the gates, in the order of the rows of W_x, W_h and b.
    state_names : tuple of str
        Names of the parts of the state: ("h",) or ("h", "c").
    multiplies_h : bool
        Whether the sums have products with W_h. Without them there is no W_h.
    zoneouts : tuple of float
        Probability of zoneout for each part of the state.

    Methods
    -------
    shapes(input_size, hidden_size, bias=True)
        Shapes of the parameters.
    forward(params, x, state=None, lengths=None, reverse=False, *, ...)
        Run the cell over whole sequences.
    backward(params, tape, dy, dstate=None)
        Compute the gradients by backpropagation through time.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np
    >>> cell = crnn.reference.RNN(activation="identity")
    >>> isinstance(cell, crnn.reference.Cell), cell.gate_order
    (True, ('h',))
    >>> params = {"W_x": np.eye(1), "W_h": np.eye(1)}  # h' = x + h
    >>> y, h, tape = cell.forward(params, np.ones((1, 4, 1)), resets=[[0, 0, 1, 0]])
    >>> y[0, :, 0]
    array([1., 2., 1., 2.])
    """

    layer_norm: bool = False
    clip: float | None = None
    learn_state: bool = False
    delays: int | tuple[int, ...] = 1
    recurrent_dropout: float = 0.0
    zoneout: float | tuple[float, ...] = 0.0
    weight_drop: float = 0.0

    gate_order: tuple[str, ...] = field(init=False, repr=False)  # of the rows of W_x, W_h and b
    state_names: tuple[str, ...] = field(init=False, repr=False)
    multiplies_h: ClassVar[bool] = True

    @abstractmethod
    def step(self, w: Blocks, x: Array, state: Arrays, read: Array) -> tuple[Blocks, Arrays]:
        """Return the values of one step and its new state.

        Parameters
        ----------
        w : Blocks
            The parameters, by gate.
        x : array (rows, I)
        state : list of arrays (rows, H)
            The state that the cell keeps, of the shortest delay: h, or h and c.
        read : array (rows, K*H)
            h as W_h reads it: times the mask of recurrent dropout, of each delay side by side.

        Returns
        -------
        values : Blocks
            The gates after the activation, and other values that `step_backward` needs.
        state : list of arrays (rows, H)
        """

    def noise_of(self, draws: Draws, row: Integers, step: Integers, H: int) -> Array:
        """Return the noise that a cell adds to its sums in training, for rows (B,) and steps (T,).

        Returns
        -------
        array (B, T, H) or (B, T, 1)
            `step` reads the part for its rows and its step as ``w.noise``.
        """
        return np.zeros((len(row), len(step), 1))

    def step_backward(self, w: Blocks, dw: Blocks, step: Step, dstate: Arrays) -> Back:
        """Return dx, ∂L/∂state and ∂L/∂read, and add the gradients of the parameters to `dw`.

        If the loss depends on one part of the new state through another (the LSTM's c' through h'),
        that derivative is added to `dstate` in place, which then holds the total derivatives.

        Parameters
        ----------
        w, dw : Blocks
            The parameters and their gradients, by gate.
        step : Step
            The values of the forward pass. ``step.values.ds`` is set here: a dict from the letter
            of each gate to ∂L/∂s of its sum s.
        dstate : list of arrays (rows, H)
            ∂L/∂state' of the state after the step.

        Returns
        -------
        dx : array (rows, I)
        dstate : list of arrays (rows, H)
            ∂L/∂state of the state that the cell keeps, but for the way through W_h.
        dread : array (rows, K*H)
        """
        raise NotImplementedError

    # ---------------------------------------------------------------------------- the parameters

    def sizes(self, input_size: int, hidden_size: int) -> Shapes:
        """Return the shapes of all parameters of the equations; some may be `absent`, that is 0."""
        rows, width = len(self.gate_order) * hidden_size, self.state_sizes(hidden_size)
        reads = len(self.delay_list) * width[0]
        sizes: Shapes = {"W_x": (rows, input_size), "W_h": (rows, reads), "b": (rows,)}
        if self.layer_norm:
            sizes |= {"gain_x": (rows,), "gain_h": (rows,)}
        if not self.multiplies_h:
            sizes = {name: size for name, size in sizes.items() if not name.endswith("_h")}
        shapes = self.state_shapes(hidden_size)
        return sizes | {n + "0": k for n, k in zip(self.state_names, shapes, strict=True)}

    def absent(self, bias: bool) -> set[str]:
        """Return the names in `sizes` that a layer with these options does not have."""
        without_bias = set() if bias else {"b", "b_hn", "b_c"}
        return without_bias | (set() if self.learn_state else {"h0", "c0"})

    def state_sizes(self, hidden_size: int) -> list[int]:
        """Return the width of each part of the state."""
        return [hidden_size for _ in self.state_names]

    def state_shapes(self, hidden_size: int) -> list[tuple[int, ...]]:
        """Return the shape of each part of the state of a row: (H,), or (D, H) if D > 1."""
        D = self.depth
        return [(D, k) if D > 1 else (k,) for k in self.state_sizes(hidden_size)]

    @property
    def delay_list(self) -> tuple[int, ...]:
        """The delays, of the blocks of W_h in their order."""
        return self.delays if isinstance(self.delays, tuple) else (self.delays,)

    @property
    def depth(self) -> int:
        """D, the longest delay."""
        return max(self.delay_list)

    def shapes(self, input_size: int, hidden_size: int, bias: bool = True) -> Shapes:
        """Return the shapes of the parameters of a layer.

        Parameters
        ----------
        input_size, hidden_size : int
            I and H.
        bias : bool, default True
            Whether the layer has biases.

        Returns
        -------
        dict of str to tuple of int
            From the name of a parameter to its shape.
        """
        sizes, absent = self.sizes(input_size, hidden_size), self.absent(bias)
        return {name: sizes[name] for name in ORDER if name in sizes and name not in absent}

    # ----------------------------------------------------------------------- forward and backward

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
            ``W_x (G*H, I)``, ``W_h (G*H, H)``, ``b (G*H,)`` with the gates in `gate_order`, and the
            other parameters that `shapes` names. Absent biases (``bias=False``) are zero.
        x : array (B, T, I) of floats, or (B, T) of integers
            Integers are symbols: they stand for one-hot vectors of width I.
        state : array (B, H), or the pair (h, c) for the LSTM; optional
            The state before the first step; (B, D, H) with D > 1. None: zeros, or h0 and c0 with
            `learn_state`.
        lengths : array (B,) of integers, optional
            Number of valid steps in each row, from 0 to T. Later values in `x` are never used.
            None: T.
        reverse : bool, default False
            Read each row from its own last step to its first.
        mask : array (B, T) of bools, optional
            A step where it is false is not read: the state is carried, the output repeated. None:
            all steps are read.
        resets : array (B, T) of bools, optional
            The state is reset before each step where it is true: see `crnn.reference.reading`.
            Resets past the end of a row have no effect. With a reset before step 0 the argument
            `state` is not used. None: no resets.
        training : bool, default True
            Apply dropout. In evaluation nothing is dropped, and zoneout takes its mean, d = p.
        call, first_row, first_step, layer, seed : int, default 0
            The random numbers of dropout are computed from them (see `crnn.reference.Draws`); row 0
            of `x` is row `first_row`, step 0 is step `first_step`.

        Returns
        -------
        y : array (B, T, H)
            h' of every step, aligned with `x`. At a masked step the output of the last step read
            before it, zero if there is none; zero past the end of a row.
        state : as the argument
            The state after the last step of each row (with `reverse`: after step 0).
        tape : namespace
            ``gates`` (dict of arrays (B, T, H), after the activation, zero at masked steps); ``h``
            and, for the LSTM, ``c`` (B, T, H) without the initial state, repeated as y is; all zero
            past the end of a row; and the values that `backward` needs.
        """
        symbols = np.asarray(x).dtype.kind in "iu"
        x = one_hot(x, params["W_x"].shape[1]) if symbols else np.asarray(x, np.float64)
        B, T, _ = x.shape
        H = len(params["W_x"]) // len(self.gate_order)
        tape = SimpleNamespace(x=x, symbols=symbols, state_passed=state is not None, steps=[])
        tape.reading = reading = Reading((B, T), lengths, mask, resets, reverse)
        self._draw_masks(tape, H, Draws(seed, call, layer), (first_row, first_step), training)
        complete = self._complete(params)
        w = self._blocks(complete, tape)
        learned = [self._deep(complete[name + "0"][None])[0] for name in self.state_names]
        states = reading.starts(self._unpack(state), learned)
        tape.gates = {name: np.zeros((B, T, H)) for name in self.gate_order}
        history = [np.zeros((B, T, size)) for size in self.state_sizes(H)]

        for where in reading.steps():
            pieces, rows, t = where
            before = [part[pieces, -min(self.delay_list)] for part in states]
            m, d = tape.m[rows], [part[rows, t] for part in tape.d]
            w.noise = tape.noise[rows, t]
            read = np.hstack([m * states[0][pieces, -delay] for delay in self.delay_list])
            values, new = self.step(w, x[rows, t], before, read)
            after = [k * old + (1 - k) * n for k, old, n in zip(d, before, new, strict=True)]
            tape.steps.append(Step(where, x[rows, t], before, read, m, d, values))
            for name, gate in tape.gates.items():
                gate[rows, t] = vars(values)[name]
            for current, sequence, part in zip(states, history, after, strict=True):
                current[pieces] = np.hstack([current[pieces, 1:], part[:, None]])
                sequence[rows, t] = part

        shown = [reading.repeated(sequence) for sequence in history]
        vars(tape).update(zip(self.state_names, shown, strict=True))
        return tape.h.copy(), self._pack([part[reading.last] for part in states]), tape

    def backward(
        self,
        params: Mapping[str, Array],
        tape: SimpleNamespace,
        dy: ArrayLike | None,
        dstate: Any = None,
    ) -> tuple[Array | None, Any, Named]:
        """Compute the gradients of a forward pass: backpropagation through time.

        Parameters
        ----------
        params : dict of arrays
            As in `forward`.
        tape : namespace
            From `forward`. These attributes are set: ``dh`` and, for the LSTM, ``dc`` (B, T, H),
            the total derivatives ∂L/∂h_t and ∂L/∂c_t, zero at masked steps and past the end of a
            row; ``dgates``, a dict of arrays (B, T, H), the derivatives of the gates' sums. With
            zoneout c_t is the cell state at the end of the step; h_t is computed from c̃ and does
            not depend on it.
        dy : array (B, T, H), or None
            ∂L/∂y. Values past the end of a row are never used. None: zeros.
        dstate : as the state, optional
            ∂L/∂state for the state that `forward` returned. None: zeros.

        Returns
        -------
        dx : array (B, T, I), or None where x was symbols
            Zero at masked steps and past the end of a row.
        dstate : as the state
            The gradient with respect to the initial state.
        grads : dict of arrays
            The gradient of every array in `params`.
        """
        complete, reading = self._complete(params), tape.reading
        grads = {name: np.zeros_like(array) for name, array in complete.items()}
        w, dw = self._blocks(complete, tape), self._blocks(grads)
        dx = np.zeros_like(tape.x)
        history = [np.zeros_like(vars(tape)[name]) for name in self.state_names]
        shape = len(reading.rows), self.depth
        dstates = [np.zeros((*shape, sequence.shape[2])) for sequence in history]
        for part, passed in zip(dstates, self._unpack(dstate), strict=False):
            part[reading.last] = passed
        tape.dgates = {name: np.zeros_like(gate) for name, gate in tape.gates.items()}
        dshown = np.zeros_like(tape.h) if dy is None else reading.repeated_backward(dy)

        for step in reversed(tape.steps):
            pieces, rows, t = step.where
            total = [part[pieces, -1] for part in dstates]  # of the states after the step
            total[0] += dshown[rows, t]
            for part in dstates:  # of the states before it
                part[pieces] = np.roll(part[pieces], 1, axis=1)
                part[pieces, 0] = 0
            dnew = [dpart * (1 - d) for dpart, d in zip(total, step.d, strict=True)]
            dx[rows, t], dbefore, dread = self.step_backward(w, dw, step, dnew)
            for name, ds in step.values.ds.items():
                tape.dgates[name][rows, t] = ds
            for k, (d, p) in enumerate(zip(step.d, self.zoneouts, strict=True)):
                dstates[k][pieces, -min(self.delay_list)] += dbefore[k] + total[k] * d
                history[k][rows, t] = total[k] if p else dnew[k]
            blocks = np.split(dread, len(self.delay_list), axis=1)
            for delay, block in zip(self.delay_list, blocks, strict=True):
                dstates[0][pieces, -delay] += step.m * block

        self._add_learned(grads, dstates, tape)
        if self.multiplies_h:
            grads["W_h"] *= tape.weight_mask
        vars(tape).update(zip(["d" + name for name in self.state_names], history, strict=True))
        dstate = self._pack([part[reading.first] for part in dstates])
        return None if tape.symbols else dx, dstate, {name: grads[name] for name in params}

    # --------------------------------------------------------------------------------- the options

    @property
    def zoneouts(self) -> tuple[float, ...]:
        """Probability of zoneout for each part of the state."""
        if isinstance(self.zoneout, tuple):
            return self.zoneout
        return (self.zoneout,) * len(self.state_names)

    def _draw_masks(
        self, tape: SimpleNamespace, H: int, draws: Draws, first: tuple[int, int], training: bool
    ) -> None:
        """Store the masks of this call on the tape: m (B, H), each d (B, T, H), and that of W_h.

        And its noise (B, T, H), or (B, T, 1) if the cell has none.
        """
        B, T, _ = tape.x.shape
        sizes = self.state_sizes(H)
        tape.noise = np.zeros((B, T, 1))
        if not training:
            tape.m, tape.weight_mask = np.ones((B, sizes[0])), 1.0
            tape.d = [np.full((B, T, n), p) for n, p in zip(sizes, self.zoneouts, strict=True)]
            return
        row, step = first[0] + np.arange(B), first[1] + np.arange(T)
        unit, gate_unit = np.arange(sizes[0]), np.arange(len(self.gate_order) * H)
        column = np.arange(len(self.delay_list) * sizes[0])
        tape.noise = self.noise_of(draws, row, step, H)
        tape.m = draws.mask(self.recurrent_dropout, RECURRENT_DROPOUT, np.c_[row], 0, unit)
        tape.weight_mask = draws.mask(self.weight_drop, WEIGHT_DROP, column, 0, np.c_[gate_unit])
        tape.d = [
            1.0 * draws.hits(p, kind, row[:, None, None], np.c_[step], np.arange(n))
            for kind, p, n in zip((ZONEOUT_H, ZONEOUT_C), self.zoneouts, sizes, strict=False)
        ]

    def _add_learned(self, grads: Named, dstates: Arrays, tape: SimpleNamespace) -> None:
        """Add the gradient of the learned state: the sum over all pieces that started from it."""
        learned = np.ones(len(tape.reading.rows), bool)
        learned[tape.reading.first] = not tape.state_passed
        for name, part in zip(self.state_names, dstates, strict=True):
            grads[name + "0"] += part[learned].sum(axis=0).reshape(grads[name + "0"].shape)

    # ------------------------------------------------------------------------- parameters, states

    def _complete(self, params: Mapping[str, Array]) -> Named:
        """Return all parameters in float64, with zeros for those that are absent in `params`."""
        rows, input_size = params["W_x"].shape
        sizes = self.sizes(input_size, rows // len(self.gate_order))
        arrays = {name: np.asarray(params.get(name, 0), np.float64) for name in sizes}
        return {name: arrays[name] + np.zeros(shape) for name, shape in sizes.items()}

    def _blocks(self, arrays: Named, tape: SimpleNamespace | None = None) -> Blocks:
        """Return the blocks of rows of each gate by name: views, so they can be added to."""
        if tape and self.multiplies_h:
            arrays = arrays | {"W_h": arrays["W_h"] * tape.weight_mask}
        others = {name: array for name, array in arrays.items() if name not in BY_GATE}
        w = Blocks(noise=0.0, **others)
        for name in BY_GATE.keys() & arrays.keys():
            blocks = np.split(arrays[name], len(self.gate_order))
            for gate, block in zip(self.gate_order, blocks, strict=True):
                setattr(w, BY_GATE[name] + gate, block)
        return w

    def _unpack(self, state: Any) -> Arrays:
        """Return a state as a list of float64 arrays (B, D, H), the empty list for None."""
        if state is None:
            return []
        parts = [state] if len(self.state_names) == 1 else state
        return [self._deep(np.asarray(part, np.float64)) for part in parts]

    def _deep(self, part: Array) -> Array:
        """Return a part of a state as (B, D, H): it is (B, H) if D is 1."""
        return part[:, None] if self.depth == 1 else part

    def _pack(self, parts: Arrays) -> Any:
        """Return a list of arrays (B, D, H) as a state: one array, or a tuple."""
        parts = [part[:, 0] if self.depth == 1 else part for part in parts]
        return parts[0] if len(parts) == 1 else tuple(parts)
