"""Attention: translate dates in eight languages to ISO 8601.

python examples/dates.py [picture.png]        needs Babel, and matplotlib for the picture
"""

import argparse
from datetime import date, timedelta

import numpy as np
from babel.dates import format_date

from crnn.models import Translator
from crnn.plotting import save_attention

LANGUAGES = ["en", "es", "pt", "fr", "de", "it", "nl", "pl"]
FORMS = ["medium", "long", "full"]  # of CLDR: Mar 4, 1987; March 4, 1987; Wednesday, March 4, 1987
FIRST, DAYS = date(1900, 1, 1), (date(2100, 1, 1) - date(1900, 1, 1)).days


def dates(n, seed=0, languages=LANGUAGES):
    """Return n pairs such as ("4. März 1987", "1987-03-04"), all with different texts."""
    rng, pairs = np.random.default_rng(seed), {}
    while len(pairs) < n:
        day = FIRST + timedelta(days=int(rng.integers(DAYS)))
        text = format_date(day, str(rng.choice(FORMS)), locale=str(rng.choice(languages)))
        pairs[text] = day.isoformat()
    return list(pairs.items())


def untrained(pairs, attention="additive", hidden_size=128, seed=0):
    """Return a model with a GRU in each direction as encoder and a GRU as decoder."""
    return Translator.for_pairs(
        pairs, hidden_size=hidden_size, embedding=32, attention=attention, seed=seed
    )


def main(
    n=20_000, held_out=4000, epochs=2, languages=LANGUAGES, hidden_size=128, picture=None, seed=0
):
    """Train, print some dates, and return the share of held-out dates that are exactly right."""
    pairs = dates(n + held_out, seed, languages)
    train, test = pairs[held_out:], pairs[:held_out]
    model = untrained(pairs, hidden_size=hidden_size, seed=seed)
    model.train(train, epochs=epochs, batch_size=64, lr=1e-2, validation_split=0, progress=False)
    texts = [text for text, _ in test[:5]]
    for text, iso in zip(texts, model.translate(texts), strict=True):
        print(f"{text:>38} = {iso}")
    share = model.evaluate(test)
    print(f"{share:.2%} of {len(test)} held-out dates right")
    if picture:
        save_attention(picture, *model.attention(texts[0]))
    return share


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", nargs="?", help="file for a picture of the attention")
    main(**vars(parser.parse_args()))
