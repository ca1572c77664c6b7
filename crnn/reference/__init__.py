"""The mathematics of crnn in plain NumPy: a textbook, and the expected values of the tests.

Begin with `cells`: the recurrent cells, forward and backward; `minimal` has those without W_h.
`sums` computes the sums of the gates (with layer normalisation), `activations` the functions that
are applied to them. `recurrence` is the loop over time with the options that all cells share,
`reading` the order of the steps (lengths, masks, resets), `drops` the random numbers. `convolution`
has dilated causal convolutions, `transformer` self-attention, its blocks and positions; `temporal`
is the loop over pieces that these share. `pointwise` has the layers that treat every step alike.
`training` has the dense layer, the losses and the optimizers, `likelihoods` the losses of
distributions, `paths` samples of forecasts, `readout` linear least squares.
`seq2seq` is a model of an encoder and a decoder, `attention` its attention mechanism.
"""

from crnn.reference.activations import ACTIVATIONS, sigmoid
from crnn.reference.arrays import one_hot
from crnn.reference.attention import attention_backward, attention_forward
from crnn.reference.cells import GRU, JANET, LSTM, RNN
from crnn.reference.convolution import CausalConv, TCNBlock
from crnn.reference.drops import Draws, philox
from crnn.reference.likelihoods import (
    digamma,
    gaussian_nll,
    negative_binomial_nll,
    softplus,
    student_t_nll,
)
from crnn.reference.minimal import MinGRU, MinLSTM
from crnn.reference.paths import sample_path
from crnn.reference.pointwise import (
    activate,
    activate_backward,
    layer_norm,
    layer_norm_backward,
)
from crnn.reference.readout import ridge, rls
from crnn.reference.recurrence import Cell
from crnn.reference.seq2seq import seq2seq_forward
from crnn.reference.temporal import Temporal
from crnn.reference.training import (
    adam,
    adamw,
    binary_cross_entropy,
    clip_norm,
    dense,
    dense_backward,
    mse,
    rmsprop,
    sgd_momentum,
    softmax_cross_entropy,
)
from crnn.reference.transformer import Positions, SelfAttention, TransformerBlock

__all__ = [
    "ACTIVATIONS",
    "GRU",
    "JANET",
    "LSTM",
    "RNN",
    "CausalConv",
    "Cell",
    "Draws",
    "MinGRU",
    "MinLSTM",
    "Positions",
    "SelfAttention",
    "TCNBlock",
    "Temporal",
    "TransformerBlock",
    "activate",
    "activate_backward",
    "adam",
    "adamw",
    "attention_backward",
    "attention_forward",
    "binary_cross_entropy",
    "clip_norm",
    "dense",
    "dense_backward",
    "digamma",
    "gaussian_nll",
    "layer_norm",
    "layer_norm_backward",
    "mse",
    "negative_binomial_nll",
    "one_hot",
    "philox",
    "ridge",
    "rls",
    "rmsprop",
    "sample_path",
    "seq2seq_forward",
    "sgd_momentum",
    "sigmoid",
    "softmax_cross_entropy",
    "softplus",
    "student_t_nll",
]
