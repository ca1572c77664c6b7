"""The cells of the NumPy reference, their inputs in tests, and central differences.

Letters: B sequences, T steps, I inputs, H hidden units.
"""

import numpy as np

from crnn import reference
from support.tables import CELLS as LAYERS

CELLS = {
    "rnn_tanh": reference.RNN("tanh"),
    "rnn_relu": reference.RNN("relu"),
    "lstm": reference.LSTM(),
    "gru": reference.GRU("after"),
    "gru_before": reference.GRU("before"),
    "janet": reference.JANET(),
    "janet_beta": reference.JANET(beta=-0.5),
}
TYPES = {type(cell) for cell in CELLS.values()}
CELLS |= {name: cell.twin for name, cell in LAYERS.items() if type(cell.twin) not in TYPES}
B, T, I, H = 4, 5, 3, 4
LENGTHS = {"full": None, "lengths": [2, 5, 0, 3]}


def packed(parts):
    return parts[0] if len(parts) == 1 else tuple(parts)


def unpacked(state):
    return state if isinstance(state, tuple) else (state,)


def differences(function, array, step=1e-5):
    """Return central differences of a function for every entry of `array`, edited in place."""
    slopes = np.zeros(array.shape)
    for where in np.ndindex(array.shape):
        middle = array[where]
        array[where] = middle + step
        above = function()
        array[where] = middle - step
        slopes[where] = (above - function()) / (2 * step)
        array[where] = middle
    return slopes
