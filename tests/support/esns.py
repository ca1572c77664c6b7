"""Echo state networks for tests, and the same network as a loop in NumPy.

Letters: B sequences, T steps, I inputs, H states, O outputs.
"""

import numpy as np

import crnn

F64 = {"dtype": "float64"}
B, T, I, H, O = 3, 40, 2, 9, 2
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(B, T, I)), RNG.normal(size=(B, T, O))
LENGTHS = np.array([40, 17, 25])
SERIES = np.sin(np.arange(400) / 5)[:, None] * [1.0, 0.5] + [0.0, 0.3]


def reservoir(inputs=I, **options):
    options = {"leak": 0.4, "bias_scaling": 0.3, "seed": 0} | F64 | options
    return crnn.Reservoir(inputs, H, **options)


def ridge(inputs=H, outputs=O, **options):
    return crnn.Ridge(inputs, outputs, **({"alpha": 1e-3, "seed": 1} | F64 | options))


def network(inputs=I, *, feedback=False, join_input=False, **options):
    width = inputs + O * feedback
    readout = ridge(H + inputs * join_input, **options)
    return crnn.ESN(reservoir(width), readout, feedback=feedback, join_input=join_input)


class Plain:
    """The same network in NumPy, one row and one step at a time."""

    def __init__(self, esn):
        layer = esn.reservoir
        self.W_x, self.W_h, self.b = (np.array(layer.params[k]) for k in ("W_x", "W_h", "b"))
        self.leak, self.feedback, self.join = layer.leak, esn.feedback, esn.join_input
        self.W = self.bias = None
        self.h = np.zeros(H)

    def state(self, x, y):
        """Return z after one step, for an input and the output of the step before."""
        u = np.concatenate([x, y]) if self.feedback else x
        new = np.tanh(self.W_x @ u + self.W_h @ self.h + self.b)
        self.h = (1 - self.leak) * self.h + self.leak * new
        return np.concatenate([self.h, x]) if self.join else self.h

    def fit(self, x, y, washout, alpha):
        Z, targets = [], []
        for row, target in zip(x, y, strict=True):
            self.h, before = np.zeros(H), np.zeros(O)
            for t in range(len(row)):
                z = self.state(row[t], before)
                before = target[t]
                if t >= washout:
                    Z.append(z)
                    targets.append(target[t])
        Z, targets = np.array(Z), np.array(targets)
        mean, about = Z.mean(axis=0), targets.mean(axis=0)
        penalty = np.sqrt(alpha) * np.eye(Z.shape[1])
        left = np.concatenate([Z - mean, penalty])
        right = np.concatenate([targets - about, np.zeros((len(penalty), O))])
        W, *_ = np.linalg.lstsq(left, right, rcond=None)
        self.W, self.bias = W.T, about - mean @ W

    def run(self, x, y=None):
        """Return the outputs of a row, with its own outputs fed back; y: the one before."""
        y, outputs = np.zeros(O) if y is None else y, []
        for step in x:
            y = self.W @ self.state(step, y) + self.bias
            outputs.append(y)
        return np.array(outputs)


LOOPS = {
    "input": {"inputs": O},
    "join": {"inputs": O, "join_input": True},
    "feedback": {"inputs": 0, "feedback": True},
    "both": {"inputs": O, "feedback": True},
    "all": {"inputs": O, "feedback": True, "join_input": True},
}


def trained(kind, series=SERIES):
    esn = network(**LOOPS[kind], alpha=1e-8)
    if kind == "feedback":
        return esn.fit(None, series, washout=50)
    return esn.fit(series[:-1], series[1:], washout=50)
