"""Many to many, delayed: repeat the input of k steps ago, in streams without an end.

python examples/echo.py

The streams are cut into pieces, and the state passes from one piece to the next. The parameters are
updated after every 4 steps, with gradients through the last k2 steps. The model learns the task if
k2 is greater than k, so that a gradient reaches the step whose input is repeated.
"""

import numpy as np

import crnn
from crnn.callbacks import OneCycle
from crnn.data import delayed


def pieces(k, rows=16, steps=4000, size=200, seed=0):
    """Yield streams of bits (rows, steps), cut into items of `size` steps."""
    bits = np.random.default_rng(seed).integers(0, 2, (rows, steps))
    x, target, _, extras = delayed(bits, bits, k)
    for start in range(0, steps, size):
        part = (slice(None), slice(start, start + size))
        yield x[part], target[part], None, {"weights": extras["weights"][part]}


def train(k, k2, steps):
    """Return a model trained in one pass, with gradients through the last k2 steps."""
    model = crnn.Sequential([crnn.GRU(2, 32, seed=0), crnn.Dense(32, 2, seed=1)])
    crnn.fit(
        model,
        pieces(k, steps=steps),
        loss=crnn.losses.cross_entropy,
        optimizer=crnn.optim.Adam(model, clip_norm=1.0),
        epochs=1,
        tbptt=(4, k2),
        stateful=True,
        callbacks=[OneCycle(2e-2, total=steps // 4)],
        progress=False,
    )
    return model


def accuracy(model, k):
    """Return the share of bits that the model repeats correctly in new streams."""
    state, right, total = None, 0.0, 0.0
    for x, target, _, extras in pieces(k, steps=1000, seed=1):
        logits, state = model(x, state)
        right += ((logits.argmax(axis=-1) == target) * extras["weights"]).sum()
        total += extras["weights"].sum()
    return float(right / total)


def main(k=6, steps=4000):
    """Return the accuracies of training through 2 k steps and through 4."""
    shares = [accuracy(train(k, k2, steps), k) for k2 in (2 * k, 4)]
    print(f"delay {k}, right bits: {shares[0]:.2%} with gradients through {2 * k} steps, ", end="")
    print(f"{shares[1]:.2%} through 4")
    return shares


if __name__ == "__main__":
    main()
