"""A vector to a sequence: write the name of a digit, from its image, in one of three languages.

python examples/captions.py        needs scikit-learn, which contains the digits

The 64 pixels determine the initial state of a GRU, which writes the name letter by letter.
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
    """Return each image with its name in each language: pixels, names, languages."""
    languages = [language for language in NAMES for _ in digits]
    names = [NAMES[language][digit] for language in NAMES for digit in digits]
    return np.concatenate([pixels] * len(NAMES)), names, languages


def halves(seed=0):
    """Return `captions` of four fifths of the images, and of the held-out fifth."""
    digits = load_digits()
    pixels = (digits.data / 16).astype(np.float32)
    x, x_out, y, y_out = split(pixels, digits.target, share=0.2, by="sequence", seed=seed)
    return captions(x, y), captions(x_out, y_out)


def untrained(data, hidden_size=192, seed=0):
    """Return a model for data from `captions`."""
    _, names, languages = data
    return Captioner.for_captions(64, names, languages, hidden_size=hidden_size, seed=seed)


def main(epochs=20, hidden_size=192, seed=0):
    """Train, print some names, and return the share of held-out names that are exactly right."""
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
