"""A state from data: an image of a digit, and its name in the language asked for.

python examples/captions.py        needs scikit-learn, which brings the digits along

The 64 pixels set the state from which a GRU writes, letter by letter.
"""

import numpy as np
from sklearn.datasets import load_digits

from crnn.data import split
from crnn.models import Captioner

NAMES = {  # 0 to 9
    "English": ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
    "Spanish": ["cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"],
    "Portuguese": ["zero", "um", "dois", "três", "quatro", "cinco", "seis", "sete", "oito", "nove"],
}


def captions(pixels, digits):
    """Each image with its name in each language: pixels, names, languages."""
    languages = [language for language in NAMES for _ in digits]
    names = [NAMES[language][digit] for language in NAMES for digit in digits]
    return np.concatenate([pixels] * len(NAMES)), names, languages


def halves(seed=0):
    """What to train on and a held-out fifth of the images, as `captions` gives them."""
    digits = load_digits()
    pixels = (digits.data / 16).astype(np.float32)
    x, x_out, y, y_out = split(pixels, digits.target, share=0.2, by="sequence", seed=seed)
    return captions(x, y), captions(x_out, y_out)


def untrained(data, hidden_size=192, seed=0):
    """A model for what `captions` gives."""
    _, names, languages = data
    return Captioner.for_captions(64, names, languages, hidden_size=hidden_size, seed=seed)


def main(epochs=20, hidden_size=192, seed=0):
    """The share of held-out names that are right to the last letter."""
    data, out = halves(seed)
    model = untrained(data, hidden_size, seed)
    model.train(*data, epochs=epochs, batch_size=64, lr=1e-2, seed=seed, progress=False)
    for language in NAMES:
        print(f"{language}: {', '.join(model.caption(out[0][:6], language))}")
    share = model.evaluate(*out)
    print(f"{share:.2%} of {len(out[1])} held-out names right")
    return share


if __name__ == "__main__":
    main()
