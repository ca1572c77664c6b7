"""Models and inputs for tests of the inputs on which outputs depend."""

import numpy as np

import crnn
from support.running import fill

B, T, I, H, K = 3, 6, 3, 4, 5
LENGTHS = np.array([6, 0, 4])


def seq(*layers):
    return crnn.Sequential(list(layers))


def floats(seed=1, features=I, steps=T):
    return np.random.default_rng(seed).normal(size=(B, steps, features))


def symbols(count=K, seed=1, steps=T):
    return np.random.default_rng(seed).integers(0, count, (B, steps))


def marks(seed=3):
    rng = np.random.default_rng(seed)
    mask, resets = rng.random((B, T)) < 0.8, rng.random((B, T)) < 0.2
    return {"lengths": LENGTHS, "mask": mask, "resets": resets}


def gru(width=I, units=H, **options):
    return crnn.GRU(width, units, dtype="float64", seed=1, **options)


def dense(width=H, size=2):
    return crnn.Dense(width, size, dtype="float64", seed=3)


def embedding():
    return crnn.Embedding(K, I, dtype="float64", seed=2)


def vectors_model(attention="additive"):
    """Return a Seq2Seq whose source and target are vectors."""
    encoder, decoder = gru(2), crnn.LSTM(2 + H, H, dtype="float64", seed=4)
    options = {"target_symbols": None, "attention": attention, "dtype": "float64", "seed": 3}
    return fill(crnn.TeacherForcing(crnn.Seq2Seq(encoder, decoder, **options), seed=0))


def symbols_model():
    encoder, decoder = gru(2), crnn.GRU(2 + H, H, dtype="float64", seed=4)
    options = {"source_symbols": K, "target_symbols": K, "attention": "dot", "seed": 3}
    return fill(crnn.TeacherForcing(crnn.Seq2Seq(encoder, decoder, **options), seed=0))


class Moved:
    """Layer whose y[t] is the sum of x[t + k] over some k: its receptive field is known."""

    def __init__(self, *places):
        self.places, self.params, self.grads = places, {}, {}

    def __call__(self, x, state=None):
        return self.forward(x)[:2]

    def forward(self, x, state=None, *, training=True):
        steps, y = x.shape[1], np.zeros(x.shape)
        for t in range(steps):
            for k in self.places:
                if 0 <= t + k < steps:
                    y[:, t] += x[:, t + k]
        return y, None, None

    def backward(self, tape, dy, dstate=None):
        return None, None


def reach(field):
    return field.influence > 0
