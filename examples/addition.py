"""Sequence to sequence: add two numbers written as digits, last digit first.

python examples/addition.py

After the Keras example "Sequence to sequence learning for performing number addition". The source
is a sum such as 96+7 in reverse order, the target its result. One LSTM reads, another one writes.
"""

import numpy as np

from crnn.models import Translator


def sums(n, seed=0, digits=3):
    """Return n pairs such as ("7+69", "103"), no two of them with the same two numbers."""
    rng, pairs = np.random.default_rng(seed), {}
    while len(pairs) < n:
        a, b = (int(rng.integers(10**size)) for size in rng.integers(1, digits + 1, 2))
        pairs.setdefault((min(a, b), max(a, b)), (f"{a}+{b}"[::-1], str(a + b)))
    everything = list(pairs.values())  # without this, the few short sums come first
    return [everything[number] for number in rng.permutation(n)]


def untrained(pairs, hidden_size=128, seed=0):
    """Return a model without attention: the decoder starts from the encoder's last state."""
    return Translator.for_pairs(
        pairs, cell="lstm", hidden_size=hidden_size, attention=None, bidirectional=False, seed=seed
    )


def main(n=45_000, held_out=5000, epochs=10, batch_size=64, digits=3, hidden_size=128, seed=0):
    """Train, print some results, and return the share of held-out sums that are exactly right."""
    pairs = sums(n + held_out, seed, digits)
    train, test = pairs[held_out:], pairs[:held_out]
    model = untrained(pairs, hidden_size, seed)
    model.train(
        train, epochs=epochs, batch_size=batch_size, lr=1e-2, validation_split=0, progress=False
    )
    share = model.evaluate(test)
    questions = [question for question, _ in test[:5]]
    for question, result in zip(questions, model.translate(questions), strict=True):
        print(f"{question[::-1]} = {result}")
    print(f"{share:.2%} of {len(test)} held-out sums right")
    return share


if __name__ == "__main__":
    main()
