/* Docstrings of the recurrent layers, with their signatures. `help` shows
 * them, and tests/core/test_docstrings.py runs their examples. Letters: B rows, T steps, I inputs,
 * H hidden units, P units of the output (H, or proj_size). */
#ifndef CRNN_BINDING_DOCS_H
#define CRNN_BINDING_DOCS_H

/* ---- text that several of them share */

#define DOC_OF_X \
    "Parameters\n" \
    "----------\n" \
    "x : floats (B, T, I), or integers (B, T)\n" \
    "    The sequences. Integers are symbols from 0 to I - 1, which stand for one-hot\n" \
    "    vectors.\n"

#define DOC_OF_STATE \
    "state : array (B, P), or for the LSTM the pair (h, c) of (B, P) and (B, H); optional\n" \
    "    Initial state. None stands for zeros, or for h0 and c0 with learn_state=True. With\n" \
    "    delays, of which D > 1 is the longest, all states are (B, D, P) and (B, D, H).\n"

#define DOC_OF_LENGTHS \
    "lengths : integers (B,), optional\n" \
    "    Number of valid steps of each row, from 0 to T. The steps after them are padding:\n" \
    "    they are not read, and y is 0 there. None: all T steps are valid.\n" \
    "mask : booleans or integers 0 and 1 (B, T), optional\n" \
    "    False at steps that are not read. The state does not change there, and y repeats the\n" \
    "    output of the last step that was read, or is 0 before the first one. None: all steps\n" \
    "    are read.\n"

#define DOC_OF_RESETS \
    "resets : booleans or integers 0 and 1 (B, T), optional\n" \
    "    True at steps before which the state of a row is set to zeros, or to h0 and c0 with\n" \
    "    learn_state=True. A layer with reverse=True sets it before it reads step t - 1.\n"

#define DOC_OF_TRAINING \
    "training : bool, default True\n" \
    "    Apply recurrent_dropout, zoneout, weight_drop and noise, if the layer has them.\n" \
    "    False: as in evaluation.\n" \
    "call : int, optional\n" \
    "    Number of this call, from 0 to 2**64 - 1. The dropout mask is a function of the seed,\n" \
    "    of `call`, of `layer`, and of the numbers of row and step: equal numbers give the\n" \
    "    same mask. None: the next number, which the attribute `calls` counts.\n" \
    "first_row, first_step : int, default 0\n" \
    "    Number of the first row and of the first step of x, where x is part of a larger\n" \
    "    batch or of longer sequences.\n" \
    "layer : int, default 0\n" \
    "    Number of this layer in a model.\n"

#define DOC_OF_RAISES \
    "Raises\n" \
    "------\n" \
    "TypeError, ValueError\n" \
    "    If an argument has another type or shape, or a value out of range.\n"

/* ---- recurrent layers */

#define DOC_CALL \
    "__call__($self, /, x, state=None, *, lengths=None, mask=None, resets=None)\n--\n\n" \
    "Run the layer in evaluation: nothing is dropped, and nothing is kept for backward.\n" \
    "\n" DOC_OF_X DOC_OF_STATE DOC_OF_LENGTHS DOC_OF_RESETS "\n" \
    "Returns\n" \
    "-------\n" \
    "y : array (B, T, P)\n" \
    "    Output h of every step, in the dtype of the layer.\n" \
    "state : array (B, P), or the pair (h, c)\n" \
    "    State after the last valid step of each row; with reverse=True, after step 0.\n" \
    "\n" DOC_OF_RAISES "\n" \
    "Examples\n" \
    "--------\n" \
    ">>> import crnn\n" \
    ">>> import numpy as np\n" \
    ">>> layer = crnn.LSTM(3, 4, seed=0)\n" \
    ">>> y, (h, c) = layer(np.ones((2, 5, 3)), lengths=[5, 2])\n" \
    ">>> y.shape, h.shape, c.shape\n" \
    "((2, 5, 4), (2, 4), (2, 4))\n" \
    ">>> bool((y[1, 2:] == 0).all())  # padding\n" \
    "True\n"

#define DOC_FORWARD \
    "forward($self, /, x, state=None, *, lengths=None, mask=None, resets=None, " \
    "training=True, call=None, first_row=0, first_step=0, layer=0)\n--\n\n" \
    "Run the layer, and return a tape with all that `backward` needs.\n" \
    "\n" DOC_OF_X DOC_OF_STATE DOC_OF_LENGTHS DOC_OF_RESETS DOC_OF_TRAINING "\n" \
    "Returns\n" \
    "-------\n" \
    "y : array (B, T, P)\n" \
    "    Output h of every step, in the dtype of the layer.\n" \
    "state : array (B, P), or the pair (h, c)\n" \
    "    State after the last valid step of each row; with reverse=True, after step 0.\n" \
    "tape : Tape\n" \
    "    Gates and states of every step, such as ``tape.gates[letter]`` (B, T, H) and\n" \
    "    ``tape.h`` (B, T, P). It has its own copy of the arguments.\n" \
    "\n" DOC_OF_RAISES "\n" \
    "Examples\n" \
    "--------\n" \
    ">>> import crnn\n" \
    ">>> import numpy as np\n" \
    ">>> layer = crnn.GRU(3, 4, seed=0)\n" \
    ">>> y, state, tape = layer.forward(np.ones((2, 5, 3)))\n" \
    ">>> tape\n" \
    "<Tape of GRU: B=2, T=5, H=4, gates r z n>\n" \
    ">>> tape.gates[\"z\"].shape\n" \
    "(2, 5, 4)\n"

#define DOC_BACKWARD \
    "backward($self, /, tape, dy, dstate=None, *, trace=False)\n--\n\n" \
    "Backpropagate through time: add to `grads`, and return the gradients of x and state.\n" \
    "\n" \
    "Parameters\n" \
    "----------\n" \
    "tape : Tape\n" \
    "    Returned by `forward` of this layer, or of one with the same sizes and options.\n" \
    "dy : array (B, T, P), or None\n" \
    "    Gradient of the loss with respect to y. None stands for zeros.\n" \
    "dstate : array (B, P), or for the LSTM the pair of (B, P) and (B, H); optional\n" \
    "    Gradient with respect to the state that `forward` returned. None stands for zeros.\n" \
    "trace : bool, default False\n" \
    "    Keep the gradients of every step on the tape: ``tape.dh``, ``tape.dc`` and\n" \
    "    ``tape.dgates``, which `crnn.diagnostics.gradient_flow` reads.\n" \
    "\n" \
    "Returns\n" \
    "-------\n" \
    "dx : array (B, T, I), or None\n" \
    "    Gradient with respect to x; None where x was integers.\n" \
    "dstate : array (B, P), or the pair (dh, dc)\n" \
    "    Gradient with respect to the initial state.\n" \
    "\n" \
    "Raises\n" \
    "------\n" \
    "TypeError, ValueError\n" \
    "    If an argument has another type or shape, or the tape is one of a different layer.\n" \
    "    The gradients have not changed then.\n" \
    "RuntimeError\n" \
    "    If another thread is adding to the same gradients.\n" \
    "\n" \
    "Examples\n" \
    "--------\n" \
    ">>> import crnn\n" \
    ">>> import numpy as np\n" \
    ">>> layer = crnn.GRU(3, 4, seed=0)\n" \
    ">>> y, state, tape = layer.forward(np.ones((2, 5, 3)))\n" \
    ">>> layer.zero_grad()\n" \
    ">>> dx, dstate = layer.backward(tape, np.ones_like(y))\n" \
    ">>> dx.shape, dstate.shape, layer.grads[\"W_h\"].shape\n" \
    "((2, 5, 3), (2, 4), (12, 4))\n"

#define DOC_CHECK_BACKWARD \
    "check_backward($self, tape, dstate, /)\n--\n\n" \
    "Raise the error that `backward` would raise for these arguments, and change nothing.\n" \
    "\n" \
    "Parameters\n" \
    "----------\n" \
    "tape, dstate\n" \
    "    As for `backward`.\n"

#define DOC_STREAM \
    "stream($self, /, batch_size=1, state=None)\n--\n\n" \
    "Return a stream, which runs the layer one step at a time.\n" \
    "\n" \
    "The stream has a copy of the parameters: it does not follow later changes of them. It runs\n" \
    "the layer in evaluation: nothing is dropped.\n" \
    "\n" \
    "Parameters\n" \
    "----------\n" \
    "batch_size : int, default 1\n" \
    "    B, the number of rows.\n" DOC_OF_STATE "\n" \
    "Returns\n" \
    "-------\n" \
    "stream : Stream\n" \
    "    ``stream.step(x)`` takes floats (B, I) or integers (B,) and returns y (B, P).\n" \
    "    ``stream.state`` is the state, and ``stream.reset(rows)`` sets it back. A layer with\n" \
    "    reverse=True expects the last step first.\n" \
    "\n" DOC_OF_RAISES "\n" \
    "Examples\n" \
    "--------\n" \
    ">>> import crnn\n" \
    ">>> import numpy as np\n" \
    ">>> x = np.ones((2, 5, 3))\n" \
    ">>> layer = crnn.GRU(3, 4, seed=0)\n" \
    ">>> stream = layer.stream(batch_size=2)\n" \
    ">>> for t in range(5):\n" \
    "...     y = stream.step(x[:, t])\n" \
    ">>> bool((y == layer(x)[0][:, -1]).all())\n" \
    "True\n"

#endif
