"""Many to many, delayed: say again what was heard k steps ago, in streams that never end.

python examples/echo.py

The streams come in pieces and the state goes on from one to the next. After every 4 new steps the
model is trained, through the last k2: it must see back to what it has to say again.
"""

import numpy as np

import crnn
from crnn.callbacks import OneCycle
from crnn.data import delayed


def pieces(k, rows=16, steps=4000, size=200, seed=0):
    """Streams of bits (rows, steps), cut into items of `size` steps."""
    bits = np.random.default_rng(seed).integers(0, 2, (rows, steps))
    x, target, _, extras = delayed(bits, bits, k)
    for start in range(0, steps, size):
        part = (slice(None), slice(start, start + size))
        yield x[part], target[part], None, {"weights": extras["weights"][part]}


def train(k, k2, steps):
    """A model trained in one pass, through the last k2 steps."""
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
    """The share of bits that it says again in streams it has not heard."""
    state, right, asked = None, 0.0, 0.0
    for x, target, _, extras in pieces(k, steps=1000, seed=1):
        logits, state = model(x, state)
        right += ((logits.argmax(axis=-1) == target) * extras["weights"]).sum()
        asked += extras["weights"].sum()
    return float(right / asked)


def main(k=6, steps=4000):
    """The share of right bits, with a gradient that reaches k steps back and with a shorter one."""
    shares = [accuracy(train(k, k2, steps), k) for k2 in (2 * k, 4)]
    print(f"delay {k}, right bits: {shares[0]:.2%} trained through {2 * k} steps, ", end="")
    print(f"{shares[1]:.2%} through 4")
    return shares


if __name__ == "__main__":
    main()
