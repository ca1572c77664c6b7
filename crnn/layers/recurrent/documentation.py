"""The part of the recurrent layers' docstrings that they share, written once."""

from __future__ import annotations

_ACTIVATIONS = (
    '"tanh", "sigmoid", "hard_sigmoid" (0.2 s + 0.5, between 0 and 1), "relu", "softsign" '
)
_ACTIVATIONS += '(s / (1 + |s|)), "identity"'

_CHRONO = """chrono : float, optional
        Longest memory, in steps, that the layer should begin with, and nothing after that: the
        biases of the gates that keep are log u, u uniform between 1 and chrono - 1 (Tallec and
        Ollivier 2018)."""

_SHARED = """
    bias : bool, default True
        Whether there are biases.
    reverse : bool, default False
        Read each row from its own last step to its first. `y` stays aligned with `x`; the state
        returned is the one after step 0.
    layer_norm : bool, default False
        Normalise the sums of x and those of h, apart, over all units (of the gates together; the
        candidate n of a GRU by itself), and the LSTM's c' on its way to h': Ba, Kiros and Hinton,
        "Layer normalization" (2016).
    clip : float, optional
        Bound of the gates' sums before their activations.
    learn_state : bool, default False
        The state that rows begin with, where none is given and after resets, is a parameter.
    recurrent_dropout : float, default 0
        Probability that a unit of h is not read by the products, the same in all steps of a row
        (Gal and Ghahramani 2016). In training alone, like the next two.
    zoneout : float, default 0
        Probability that a unit of the state stays what it was, drawn for each step (Krueger et al.
        2017); in evaluation states are mixed in that proportion. For the LSTM also a pair, of h
        and of c.
    weight_drop : float, default 0
        Probability that an element of W_h is 0 throughout a call (Merity et al. 2018).
    dtype : {"float32", "float64"}, default "float32"
        Type of parameters, outputs and states. float64 is what gradients are checked in.
    seed : int, optional
        Decides the initial weights (W_h orthogonal gate by gate, Saxe et al. 2014, W_x uniform with
        fans I and H, Glorot and Bengio 2010) and, with the arguments of forward, what is dropped.
        None, the default, draws a fresh one; the attribute `seed` tells it.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        W_x (G*H, I), W_h (G*H, P), b (G*H,) in row blocks of H by `gate_order`<b_hn>. Options add:
        p_i, p_f, p_o (H,) of peepholes; gain_x, gain_h (G*H,) and gain_c, b_c (H,) of
        normalisation; W_p (P, H); h0 (P,), c0 (H,) learned. They can be edited in place and outlive
        the layer; assigning copies into them.
    flat_params, flat_grads : ndarray
        The same numbers as one vector each; assigning copies into it.
    calls : int
        How many training calls were given no `call`, where anything is drawn: the number of the
        next one.
    gate_order : tuple of str
        <gates>.
    input_size, hidden_size, output_size, dtype, seed
        I, H and P, which is H but for projections.
    options : dict
        All options of the core by name; each is an attribute, too.

    Raises
    ------
    ValueError, TypeError
        For a size below 1 or too large for memory, an unknown option, a wrong seed.

    Methods
    -------
    layer(x, state=None, *, lengths=None, mask=None, resets=None) -> y, state
        Evaluation: keeps nothing. `x` is (B, T, I) floats, or (B, T) integers, which stand for the
        columns of W_x. `lengths` (B,) says how many steps of each row are there, 0 allowed; past
        them `y` is 0. `y` is (B, T, P). `state` is <state>; None stands for zeros, or the learned
        state. `mask` (B, T) is False at steps that are not read: the state stays, and `y` repeats
        what was last (0 before the first). `resets` (B, T) is True at steps before which a row is
        cut: what follows begins anew, and nothing of the steps before it is known.
    forward(x, ..., training=True, call=0, first_row=0, first_step=0, layer=0) -> y, state, tape
        The same and a tape: what backward needs, and the gates and states of every step, as
        `tape.gates[letter]`, each (B, T, H), and `tape.h`<tape_c>. What is dropped in training is a
        function of the layer's seed, of `call`, `layer`, and of the numbers of row and step, which
        are counted from `first_row` and `first_step`.
    backward(tape, dy, dstate=None, *, trace=False) -> dx, dstate
        Backpropagation through time, from the gradients of `y` (or None) and of the last state.
        Adds to `grads`; returns the gradients of `x` (None for integers) and of the initial state.
        With `trace`, the tape then has `dh`<tape_dc>, the total derivatives at every step, and
        `dgates[letter]`, those of the gates' sums: see `crnn.diagnostics.gradient_flow`.
    stream(batch=1, state=None) -> Stream
        The layer one step at a time, with the weights as they are now.
    zero_grad(), state_dict(), load_state_dict(state), astype(dtype)
        As in every layer.
"""


def document(cls: type, *, gates: str, state: str = "h (B, H)", b_hn: str = "") -> None:
    """Fill in the part of a recurrent layer's docstring that all of them share."""
    facts = {
        "<activations>": _ACTIVATIONS,
        "<chrono>": _CHRONO,
        "<gates>": gates,
        "<state>": state,
        "<b_hn>": b_hn,
        "<tape_c>": " and `tape.c`" if "c" in state else "",
        "<tape_dc>": " and `dc`" if "c" in state else "",
    }
    text = (cls.__doc__ or "").rstrip() + _SHARED
    for place, fact in facts.items():
        text = text.replace(place, fact)
    cls.__doc__ = text
