"""Many to one: recognise a digit in an image of 8 x 8 pixels, read row by row.

python examples/digits.py        needs scikit-learn, which contains the digits
"""

import time

import numpy as np
from sklearn.datasets import load_digits

import crnn
from crnn.callbacks import OneCycle
from crnn.data import Batches, split


def train(x, digit, epochs, seed):
    """Return a model trained on images x (B, T=8, I=8) and their digits (B,)."""
    layers = [
        crnn.GRU(8, 128, recurrent_dropout=0.2, seed=seed),
        crnn.Pool("last"),
        crnn.Dropout(0.3, seed=seed),
        crnn.Dense(128, 10, seed=seed + 1),
    ]
    model, data = crnn.Sequential(layers), Batches(x, digit, batch_size=64, seed=seed)
    crnn.fit(
        model,
        data,
        loss=crnn.losses.cross_entropy,
        optimizer=crnn.optim.AdamW(model, clip_norm=1.0),
        epochs=epochs,
        callbacks=[OneCycle(1e-2)],
        progress=False,
    )
    return model


def main(splits=3, epochs=30):
    """Train on several splits, and return the accuracy on the held-out fifth of each."""
    digits = load_digits()
    images, accuracies = (digits.images / 16).astype(np.float32), []
    for seed in range(splits):
        start = time.perf_counter()
        x, x_out, y, y_out = split(images, digits.target, share=0.2, by="sequence", seed=seed)
        logits, _ = train(x, y, epochs, seed)(x_out)
        accuracies.append(float((logits.argmax(axis=-1) == y_out).mean()))
        spent = time.perf_counter() - start
        print(f"split {seed}: {accuracies[-1]:.2%} of {len(y_out)} digits right, {spent:.1f} s")
    print(f"mean: {np.mean(accuracies):.2%}")
    return accuracies


if __name__ == "__main__":
    main()
