"""An initial state from data: write the name of a digit, letter by letter, from its 64 pixels.

python examples/conditioned.py        needs scikit-learn, which contains the digits
"""

import numpy as np
from sklearn.datasets import load_digits

import crnn
from crnn.callbacks import OneCycle
from crnn.data import Vocabulary, pad, split

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
VOCABULARY = Vocabulary.from_text("".join(NAMES) + ".")  # a point begins and ends each name
STOP = int(VOCABULARY.encode(".")[0])


def batches(pixels, digits, size=32):
    """Yield items: (preceding letters, pixels), next letters, lengths."""
    order = np.random.default_rng(0).permutation(len(digits))
    for rows in np.array_split(order, len(order) // size):
        x, lengths = pad([VOCABULARY.encode("." + NAMES[digit]) for digit in digits[rows]])
        target, _ = pad([VOCABULARY.encode(NAMES[digit] + ".") for digit in digits[rows]])
        yield (x, pixels[rows]), target, lengths


def write(model, pixels):
    """Return the name that the model writes for each image."""
    start = np.full(len(pixels), STOP)
    _, state = model((start[:, None][:, :0], pixels))
    rows = crnn.generate(model, start, 6, state=state, stop=STOP)
    return [VOCABULARY.decode(row).split(".")[0] for row in rows]


def main(epochs=15, seed=0):
    """Train, print some names, and return the share of held-out images with the right name."""
    digits = load_digits()
    pixels = (digits.data / 16).astype(np.float32)
    x, x_out, y, y_out = split(pixels, digits.target, share=0.2, by="sequence", seed=seed)
    K, H, data = len(VOCABULARY), 64, list(batches(x, y))
    writer = crnn.Sequential([crnn.GRU(K, H, seed=seed), crnn.Dense(H, K, seed=seed + 1)])
    model = crnn.Conditioned(writer, crnn.Dense(64, H, seed=seed + 2))
    crnn.fit(
        model,
        data,
        loss=crnn.losses.cross_entropy,
        optimizer=crnn.optim.Adam(model, clip_norm=1.0),
        epochs=epochs,
        callbacks=[OneCycle(1e-2)],
        progress=False,
    )
    written, right = write(model, x_out), [NAMES[digit] for digit in y_out]
    share = float(np.mean(np.array(written) == right))
    print(f"{share:.2%} of {len(y_out)} names right, such as {', '.join(written[:5])}")
    return share


if __name__ == "__main__":
    main()
