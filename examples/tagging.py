"""Many to many, aligned: a tag for each symbol of a text, from the symbols on both sides of it.

python examples/tagging.py

A text consists of letters and brackets, some of which have no partner. The four tags are: a letter
outside of all pairs of brackets, a letter inside a pair, a bracket with a partner, and a bracket
without one. The tag of an opening bracket depends on the symbols behind it, the tag of a closing
bracket on the symbols before it, so the model needs both directions.
"""

import numpy as np

import crnn
from crnn.callbacks import OneCycle
from crnn.data import Batches, Vocabulary

VOCABULARY = Vocabulary("()a")
OUTSIDE, INSIDE, PAIR, ALONE = range(4)


def tags_of(text):
    """Return the right tags of a text, computed with a stack."""
    tags, stack = [OUTSIDE if symbol == "a" else ALONE for symbol in text], []
    for place, symbol in enumerate(text):
        if symbol == "(":
            stack.append(place)
        elif symbol == ")" and stack:
            first = stack.pop()
            tags[first] = tags[place] = PAIR
            for between in range(first + 1, place):
                tags[between] = INSIDE if tags[between] == OUTSIDE else tags[between]
    return tags


def texts(n, seed):
    """Return batches of n random texts of 3 to 20 symbols, with tags and lengths."""
    rng = np.random.default_rng(seed)
    strings = ["".join(rng.choice(list("()a"), rng.integers(3, 21))) for _ in range(n)]
    return Batches(
        [VOCABULARY.encode(text) for text in strings], [tags_of(text) for text in strings]
    )


def train(layer, width, data, epochs):
    """Return a trained model from symbols (B, T) to logits (B, T, K=4)."""
    model = crnn.Sequential([layer, crnn.Dense(width, 4, seed=1)])
    adam = crnn.optim.Adam(model, clip_norm=1.0)
    cycle, loss = OneCycle(1e-2), crnn.losses.cross_entropy
    crnn.fit(
        model, data, loss=loss, optimizer=adam, epochs=epochs, callbacks=[cycle], progress=False
    )
    return model


def accuracy(model, data):
    """Return the share of right tags."""
    right = []
    for x, tags, lengths in data:
        logits, _ = model(x, lengths=lengths)
        right.append((logits.argmax(axis=-1) == tags)[np.arange(x.shape[1]) < lengths[:, None]])
    return float(np.concatenate(right).mean())


def main(n=2000, epochs=30):
    """Train in both directions and forward alone, and return the accuracies."""
    data, others = texts(n, seed=0), texts(500, seed=1)
    both = train(crnn.Bidirectional(crnn.GRU(3, 32, seed=0)), 64, data, epochs)
    left = train(crnn.GRU(3, 64, seed=0), 64, data, epochs)
    text = "a)((a)a"
    logits, _ = both(VOCABULARY.encode(text)[None])
    print(text, "".join("oipx"[tag] for tag in logits[0].argmax(axis=-1)), sep="\n")
    shares = accuracy(both, others), accuracy(left, others)
    print("right tags: {:.2%} in both directions, {:.2%} forward alone".format(*shares))
    return shares


if __name__ == "__main__":
    main()
