"""The recurrent cells in plain NumPy: the page to read, and the oracle of the tests.

A recurrent layer is a *cell*, a few lines of mathematics for one step, inside a *recurrence*, the
loop over time. `Cell` is the recurrence, written once; its subclasses `RNN`, `LSTM`, `GRU` and
`JANET` are the cells, each with its step forward and its step backward.

Letters: ``B`` sequences in a batch, ``T`` steps, ``I`` inputs, ``H`` hidden units, ``G`` gates,
``K`` classes. σ is the logistic function, ∘ the elementwise product; a prime marks the value after
the step (``h`` becomes ``h'``). A row of an array is one sequence, so the lecture's ``W h`` reads
``h @ W.T`` here. ``s`` is the sum that goes into a gate's activation. A name that begins with ``d``
is a derivative of the loss L: ``dh`` is ∂L/∂h.

Everything is computed in float64, and nothing is optimised. Arguments are taken to be right: the
layers, not this module, check them.

    >>> import numpy as np
    >>> cell, rng = LSTM(), np.random.default_rng(0)
    >>> params = {name: rng.normal(size=shape) for name, shape in cell.shapes(3, 5).items()}
    >>> y, (h, c), tape = cell.forward(params, rng.normal(size=(2, 4, 3)), lengths=[4, 2])
    >>> y.shape, c.shape, tape.gates["f"].shape
    ((2, 4, 5), (2, 5), (2, 4, 5))
    >>> dx, (dh, dc), grads = cell.backward(params, tape, np.ones_like(y))
    >>> dx.shape, grads["W_h"].shape
    ((2, 4, 3), (20, 5))
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Arrays = list[Array]
Named = dict[str, Array]
Back = tuple[Array, Arrays]  # dx (rows, I), and dL/d of each part of the state (rows, H)
Blocks = SimpleNamespace  # each gate's rows under the lecture's name: W_xi (H, I), b_i (H,), ...

# --------------------------------------------------------------------------------------------------
# The recurrence
# --------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """What one step leaves for the way back."""

    t: int
    rows: NDArray[np.intp]  # of the batch: those that have a step t
    x: Array  # (rows, I)
    state: Arrays  # before the step: h, or h and c (rows, H)
    gates: Named  # after the activation (rows, H)
    new_state: Arrays


class Cell:
    """The loop over time, for every cell.

    A cell says what its gates and its states are called, and gives `step` and `step_backward`.
    Their ``w`` and ``dw`` name each gate's block of rows as the lectures do: ``w.W_xi``,
    ``w.W_hi``, ``w.b_i`` for the gate i.
    """

    gate_order: tuple[str, ...]
    state_names: tuple[str, ...] = ("h",)
    hidden_biases: tuple[str, ...] = ()  # biases (H,) inside a recurrent sum

    def step(self, w: Blocks, x: Array, state: Arrays) -> tuple[Named, Arrays]:
        """Return the gates and the new state of one step on rows x (rows, I)."""
        raise NotImplementedError

    def step_backward(self, w: Blocks, dw: Blocks, step: Step, dstate: Arrays) -> Back:
        """Return dx and ∂L/∂state from dstate, ∂L/∂state'; add to the gradients in dw.

        Where one part of the state reaches the loss through another (the LSTM's c' through h'),
        that is added to `dstate` in place, which then holds the total derivatives.
        """
        raise NotImplementedError

    def shapes(
        self, input_size: int, hidden_size: int, bias: bool = True
    ) -> dict[str, tuple[int, ...]]:
        """Return the parameters of a layer, as a dict of name -> shape."""
        rows = len(self.gate_order) * hidden_size
        shapes: dict[str, tuple[int, ...]]
        shapes = {"W_x": (rows, input_size), "W_h": (rows, hidden_size)}
        if bias:
            shapes |= {"b": (rows,)} | dict.fromkeys(self.hidden_biases, (hidden_size,))
        return shapes

    def forward(
        self,
        params: Mapping[str, Array],
        x: ArrayLike,
        state: Any = None,
        lengths: ArrayLike | None = None,
        reverse: bool = False,
    ) -> tuple[Array, Any, SimpleNamespace]:
        """Run the cell over whole sequences.

        Parameters
        ----------
        params : dict of arrays
            ``W_x (G*H, I)``, ``W_h (G*H, H)``, ``b (G*H,)`` with the gates in `gate_order`, and the
            `hidden_biases`. Absent biases (``bias=False``) are zero.
        x : array (B, T, I) of floats, or (B, T) of integers
            Integers are symbols, that is one-hot rows.
        state : array (B, H), or the pair (h, c) for the LSTM; optional
            The state before the first step; zero by default.
        lengths : array (B,) of integers, optional
            Steps in each row, 0 allowed. What stands in `x` after them is never looked at.
        reverse : bool
            Read each row from its own last step to its first.

        Returns
        -------
        y : array (B, T, H)
            h' of every step, aligned with `x`; zero past the end of a row.
        state : as the argument
            The state after each row's last step (with `reverse`: after step 0).
        tape : namespace
            ``gates`` (dict of arrays (B, T, H), after the activation), ``h`` and, for the LSTM,
            ``c`` (B, T, H) without the initial state, all zero past the end; and what `backward`
            needs.
        """
        w = self._blocks(self._complete(params))
        (_, input_size), (_, H) = params["W_x"].shape, params["W_h"].shape
        symbols = np.asarray(x).dtype.kind in "iu"
        x = one_hot(x, input_size) if symbols else np.asarray(x, np.float64)
        B, T, _ = x.shape
        lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
        state = self._unpack(state, (B, H))
        tape = SimpleNamespace(x=x, symbols=symbols, steps=[])
        tape.gates = {name: np.zeros((B, T, H)) for name in self.gate_order}
        history = [np.zeros((B, T, H)) for _ in self.state_names]

        for t in reversed(range(T)) if reverse else range(T):
            rows = np.flatnonzero(t < lengths)  # the rows that have a step t
            before = [part[rows] for part in state]
            gates, after = self.step(w, x[rows, t], before)
            tape.steps.append(Step(t, rows, x[rows, t], before, gates, after))
            for name, gate in gates.items():
                tape.gates[name][rows, t] = gate
            for whole, story, part in zip(state, history, after, strict=True):
                whole[rows] = story[rows, t] = part

        vars(tape).update(zip(self.state_names, history, strict=True))
        return tape.h.copy(), self._pack(state), tape

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
            derivatives ∂L/∂h_t and ∂L/∂c_t, zero past the end of a row.
        dy : array (B, T, H) or None
            ∂L/∂y; never looked at past the end of a row. None stands for zeros.
        dstate : as the state, optional
            ∂L/∂state for the state that `forward` returned; zero by default.

        Returns
        -------
        dx : array (B, T, I), or None where x was symbols
            Zero past the end of a row.
        dstate : as the state
            The gradient at the initial state.
        grads : dict of arrays
            The gradient of every array in `params`.
        """
        complete = self._complete(params)
        grads = {name: np.zeros_like(array) for name, array in complete.items()}
        w, dw = self._blocks(complete), self._blocks(grads)
        dx = np.zeros_like(tape.x)
        dstate = self._unpack(dstate, (len(tape.x), params["W_h"].shape[1]))
        history = [np.zeros_like(tape.h) for _ in self.state_names]

        for step in reversed(tape.steps):
            t, rows = step.t, step.rows
            total = [part[rows] for part in dstate]
            if dy is not None:
                total[0] += np.asarray(dy)[rows, t]
            dx[rows, t], dbefore = self.step_backward(w, dw, step, total)
            for whole, story, now, earlier in zip(dstate, history, total, dbefore, strict=True):
                story[rows, t] = now
                whole[rows] = earlier

        vars(tape).update(zip(["d" + name for name in self.state_names], history, strict=True))
        return None if tape.symbols else dx, self._pack(dstate), {k: grads[k] for k in params}

    def _complete(self, params: Mapping[str, Array]) -> Named:
        """Return `params` in float64, with zeros for absent biases."""
        shapes = self.shapes(params["W_x"].shape[1], params["W_h"].shape[1])
        given = {name: np.asarray(params.get(name, 0), np.float64) for name in shapes}
        return {name: given[name] + np.zeros(shape) for name, shape in shapes.items()}

    def _blocks(self, arrays: Named) -> Blocks:
        """Name the blocks of rows of each gate; they are views, so what is added to them stays."""
        w = Blocks(**{name: arrays[name] for name in self.hidden_biases})
        for name, letters in (("W_x", "W_x"), ("W_h", "W_h"), ("b", "b_")):
            blocks = np.split(arrays[name], len(self.gate_order))
            for gate, block in zip(self.gate_order, blocks, strict=True):
                setattr(w, letters + gate, block)
        return w

    def _unpack(self, state: Any, shape: tuple[int, int]) -> Arrays:
        """Return a state as a list of float64 copies; None is zeros."""
        if state is None:
            return [np.zeros(shape) for _ in self.state_names]
        parts = [state] if len(self.state_names) == 1 else state
        return [np.array(part, np.float64) for part in parts]

    def _pack(self, parts: Arrays) -> Any:
        return parts[0] if len(parts) == 1 else tuple(parts)


def sigmoid(s: ArrayLike) -> Array:
    """σ(s) = 1 / (1 + e^-s), written so that neither tail overflows or loses digits."""
    return np.exp(-np.logaddexp(0, np.negative(s)))


def one_hot(symbols: ArrayLike, size: int) -> Array:
    """Turn integers (...,) into rows (..., size) with a single 1."""
    return np.array(np.asarray(symbols)[..., None] == np.arange(size), np.float64)


def product_backward(w: Blocks, dw: Blocks, name: str, ds: Array, v: Array) -> Array:
    """Go back through ``s = W v``: add dW = ds vᵀ to ``dw``, return dv = Wᵀ ds."""
    weights: Array = vars(w)[name]
    vars(dw)[name] += ds.T @ v
    return ds @ weights


def sums_backward(w: Blocks, dw: Blocks, ds: Named, x: Array, h: Array) -> tuple[Array, Array]:
    """Go back through the sums ``s = W_x x + W_h h + b`` of the gates in the dict ``ds``.

    Adds to ``dw``, and returns dx and dh: each is used by every gate, so its parts are summed.
    """
    dx, dh = np.zeros_like(x), np.zeros_like(h)
    for gate, ds_gate in ds.items():
        dx += product_backward(w, dw, "W_x" + gate, ds_gate, x)
        dh += product_backward(w, dw, "W_h" + gate, ds_gate, h)
        vars(dw)["b_" + gate] += ds_gate.sum(axis=0)
    return dx, dh


# --------------------------------------------------------------------------------------------------
# The cells
# --------------------------------------------------------------------------------------------------


class RNN(Cell):
    """The simple recurrent network, ``h' = φ(W_x x + W_h h + b)`` with φ = tanh or relu.

    J. L. Elman, Finding structure in time, Cognitive Science 14 (1990).
    """

    gate_order = ("h",)

    def __init__(self, activation: str = "tanh") -> None:
        if activation not in ("tanh", "relu"):
            raise ValueError(f"activation must be 'tanh' or 'relu', not {activation!r}")
        self.activation = activation

    def step(self, w: Blocks, x: Array, state: Arrays) -> tuple[Named, Arrays]:
        """Apply the equations above."""
        (h,) = state
        s = x @ w.W_xh.T + h @ w.W_hh.T + w.b_h
        h_new = np.tanh(s) if self.activation == "tanh" else np.maximum(s, 0)
        return {"h": h_new}, [h_new]

    def step_backward(self, w: Blocks, dw: Blocks, step: Step, dstate: Arrays) -> Back:
        """Go back through them."""
        x, (h,), (h_new,), (dh,) = step.x, step.state, step.new_state, dstate
        ds = dh * (1 - h_new**2) if self.activation == "tanh" else dh * (h_new > 0)
        dx, dh = sums_backward(w, dw, {"h": ds}, x, h)
        return dx, [dh]


class LSTM(Cell):
    """Long short-term memory: a cell state c that is only ever scaled and added to.

    ::

        i = σ(W_xi x + W_hi h + b_i)      what to write
        f = σ(W_xf x + W_hf h + b_f)      what to keep
        g = tanh(W_xg x + W_hg h + b_g)   the candidate
        o = σ(W_xo x + W_ho h + b_o)      what to show
        c' = f∘c + i∘g
        h' = o∘tanh(c')

    S. Hochreiter, J. Schmidhuber, Long short-term memory, Neural Computation 9 (1997), with the
    forget gate of F. Gers, J. Schmidhuber, F. Cummins, Learning to forget, Neural Computation 12
    (2000).
    """

    gate_order = ("i", "f", "g", "o")
    state_names = ("h", "c")

    def step(self, w: Blocks, x: Array, state: Arrays) -> tuple[Named, Arrays]:
        """Apply the equations above."""
        h, c = state
        i = sigmoid(x @ w.W_xi.T + h @ w.W_hi.T + w.b_i)
        f = sigmoid(x @ w.W_xf.T + h @ w.W_hf.T + w.b_f)
        g = np.tanh(x @ w.W_xg.T + h @ w.W_hg.T + w.b_g)
        o = sigmoid(x @ w.W_xo.T + h @ w.W_ho.T + w.b_o)
        c_new = f * c + i * g
        h_new = o * np.tanh(c_new)
        return {"i": i, "f": f, "g": g, "o": o}, [h_new, c_new]

    def step_backward(self, w: Blocks, dw: Blocks, step: Step, dstate: Arrays) -> Back:
        """Go back through them."""
        x, (h, c), (_, c_new), (dh, dc) = step.x, step.state, step.new_state, dstate
        i, f, g, o = (step.gates[name] for name in self.gate_order)
        tanh_c = np.tanh(c_new)
        dc += dh * o * (1 - tanh_c**2)  # c' reaches the loss through h' too: the total derivative
        ds = {
            "i": dc * g * i * (1 - i),
            "f": dc * c * f * (1 - f),
            "g": dc * i * (1 - g**2),
            "o": dh * tanh_c * o * (1 - o),
        }
        dx, dh = sums_backward(w, dw, ds, x, h)
        return dx, [dh, dc * f]


class GRU(Cell):
    """The gated recurrent unit; z = 1 takes the new candidate, z = 0 keeps the old state.

    ::

        r = σ(W_xr x + W_hr h + b_r)      how much of h the candidate sees
        z = σ(W_xz x + W_hz h + b_z)      how much of it is taken
        n = tanh(W_xn x + b_n + r∘(W_hn h + b_hn))     reset "after" the product
        n = tanh(W_xn x + W_hn (r∘h) + b_n)            reset "before" the product
        h' = (1−z)∘h + z∘n

    K. Cho et al., Learning phrase representations using RNN encoder-decoder, arXiv:1406.1078
    (2014): version 1 resets after the product, version 3 before it. The sense of z is that of
    J. Chung et al., Empirical evaluation of gated recurrent neural networks, arXiv:1412.3555
    (2014).
    """

    gate_order = ("r", "z", "n")

    def __init__(self, reset: str = "after") -> None:
        if reset not in ("after", "before"):
            raise ValueError(f"reset must be 'after' or 'before', not {reset!r}")
        self.reset = reset
        self.hidden_biases = ("b_hn",) if reset == "after" else ()

    def step(self, w: Blocks, x: Array, state: Arrays) -> tuple[Named, Arrays]:
        """Apply the equations above."""
        (h,) = state
        r = sigmoid(x @ w.W_xr.T + h @ w.W_hr.T + w.b_r)
        z = sigmoid(x @ w.W_xz.T + h @ w.W_hz.T + w.b_z)
        if self.reset == "after":
            n = np.tanh(x @ w.W_xn.T + w.b_n + r * (h @ w.W_hn.T + w.b_hn))
        else:
            n = np.tanh(x @ w.W_xn.T + (r * h) @ w.W_hn.T + w.b_n)
        return {"r": r, "z": z, "n": n}, [(1 - z) * h + z * n]

    def step_backward(self, w: Blocks, dw: Blocks, step: Step, dstate: Arrays) -> Back:
        """Go back through them."""
        x, (h,), (dh,) = step.x, step.state, dstate
        r, z, n = (step.gates[name] for name in self.gate_order)
        ds_n = dh * z * (1 - n**2)
        if self.reset == "after":
            m, dm = h @ w.W_hn.T + w.b_hn, ds_n * r  # n = tanh(W_xn x + b_n + r∘m)
            dr = ds_n * m
            dx_n = product_backward(w, dw, "W_xn", ds_n, x)
            dh_n = product_backward(w, dw, "W_hn", dm, h)
            dw.b_n += ds_n.sum(axis=0)
            dw.b_hn += dm.sum(axis=0)
        else:
            dx_n, drh = sums_backward(w, dw, {"n": ds_n}, x, r * h)
            dr, dh_n = drh * h, drh * r
        ds = {"r": dr * r * (1 - r), "z": dh * (n - h) * z * (1 - z)}
        dx_rz, dh_rz = sums_backward(w, dw, ds, x, h)
        return dx_n + dx_rz, [dh * (1 - z) + dh_n + dh_rz]


class JANET(Cell):
    """Just another network: an LSTM with nothing but its forget gate.

    ::

        s = W_xf x + W_hf h + b_f
        g = tanh(W_xg x + W_hg h + b_g)
        h' = σ(s)∘h + (1−σ(s−β))∘g

    β > 0 writes more than it forgets. ``gates["f"]`` is σ(s).

    J. van der Westhuizen, J. Lasenby, The unreasonable effectiveness of the forget gate,
    arXiv:1804.04849 (2018).
    """

    gate_order = ("f", "g")

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def step(self, w: Blocks, x: Array, state: Arrays) -> tuple[Named, Arrays]:
        """Apply the equations above."""
        (h,) = state
        s = x @ w.W_xf.T + h @ w.W_hf.T + w.b_f
        f, i = sigmoid(s), sigmoid(self.beta - s)  # i = 1 − σ(s−β)
        g = np.tanh(x @ w.W_xg.T + h @ w.W_hg.T + w.b_g)
        return {"f": f, "g": g}, [f * h + i * g]

    def step_backward(self, w: Blocks, dw: Blocks, step: Step, dstate: Arrays) -> Back:
        """Go back through them."""
        x, (h,), (dh,) = step.x, step.state, dstate
        f, g = step.gates["f"], step.gates["g"]
        i = sigmoid(self.beta - (x @ w.W_xf.T + h @ w.W_hf.T + w.b_f))
        ds = {"f": dh * (h * f * (1 - f) - g * i * (1 - i)), "g": dh * i * (1 - g**2)}
        dx, dh_sums = sums_backward(w, dw, ds, x, h)
        return dx, [dh * f + dh_sums]
