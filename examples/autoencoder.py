"""Learning without labels: encode images of digits, read row by row, as 16 numbers.

python examples/autoencoder.py        needs scikit-learn, which contains the digits
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import crnn
from crnn.callbacks import OneCycle
from crnn.data import Batches, split
from crnn.models import SequenceAutoencoder

SHADES = " .:-=+*#%@"


def untrained(hidden_size=128, code=16, seed=0):
    """Return an autoencoder of two GRUs, whose decoder reads only its own output."""
    encoder, decoder = crnn.GRU(8, hidden_size, seed=seed), crnn.GRU(8, hidden_size, seed=seed + 1)
    return SequenceAutoencoder(encoder, decoder, code, probability=0.0, seed=seed)


def readable(codes, digits, codes_out, digits_out):
    """Return the accuracy of a linear classifier of the codes on held-out digits."""
    mean, scale = codes.mean(axis=0), codes.std(axis=0)
    classifier = LogisticRegression(max_iter=5000).fit((codes - mean) / scale, digits)
    return float(classifier.score((codes_out - mean) / scale, digits_out))


def show(*images):
    """Print images side by side, as characters."""
    for rows in zip(*images, strict=True):
        shades = (np.clip(row * len(SHADES), 0, len(SHADES) - 1).astype(int) for row in rows)
        print("   ".join("".join(2 * SHADES[shade] for shade in row) for row in shades))


def main(epochs=40, hidden_size=128, code=16, seed=0):
    """Train, print some images, and return the accuracy of a linear classifier of the codes."""
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)  # 8 steps of 8 pixels
    x, x_out, y, y_out = split(images, digits.target, share=0.2, by="sequence", seed=seed)
    model, data = untrained(hidden_size, code, seed), Batches(x, x, batch_size=64, seed=seed)
    crnn.fit(
        model,
        data,
        loss=crnn.losses.mse,
        optimizer=crnn.optim.Adam(model, clip_norm=1.0),
        epochs=epochs,
        callbacks=[OneCycle(1e-2)],
        progress=False,
    )
    share = readable(model.encode(x), y, model.encode(x_out), y_out)
    show(*x_out[:3], *model.decode(model.encode(x_out[:3]), steps=8))
    print(f"{share:.2%} of {len(y_out)} held-out digits recognised from codes of {code} numbers")
    return share


if __name__ == "__main__":
    main()
