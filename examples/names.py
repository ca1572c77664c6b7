"""One to many: write new names of dinosaurs, letter by letter from a start symbol.

python examples/names.py
"""

import math

import crnn
from crnn.callbacks import KeepBest, OneCycle
from crnn.data import END_OF_LINE, Lines, Vocabulary, corpus, hold_out, lines_of


def main(epochs=15, n=10, seed=0):
    """Print new names; return the bits per letter of held-out names and the new names."""
    names = lines_of(corpus("dinosaurs"))
    vocabulary = Vocabulary.from_text("".join(names) + END_OF_LINE)
    known, held_out = hold_out(names, share=0.1, seed=seed)
    data = Lines(known, vocabulary, batch_size=32, seed=seed)
    K = len(vocabulary)
    layers = [
        crnn.GRU(
            K, 128, recurrent_dropout=0.2, seed=seed
        ),  # reads integers: each selects a row of weights
        crnn.Dropout(0.2, seed=seed),
        crnn.Dense(128, K, seed=seed + 1),
    ]
    model = crnn.Sequential(layers)
    history = crnn.fit(
        model,
        data,
        loss=crnn.losses.cross_entropy,
        optimizer=crnn.optim.Adam(model, clip_norm=1.0),
        epochs=epochs,
        validation=Lines(held_out, vocabulary, seed=None),
        callbacks=[OneCycle(1e-2), KeepBest()],
        progress=False,
    )
    stop = int(vocabulary.encode(END_OF_LINE)[0])
    rows = crnn.generate(model, [stop] * n, 30, stop=stop, temperature=0.8, seed=seed)
    written = [vocabulary.decode(row).split(END_OF_LINE)[0] for row in rows]
    for name in written:
        print(name.capitalize(), "" if name not in names else "(in the corpus)")
    bits = min(history.val_loss) / math.log(2)
    print(f"{bits:.2f} bits per letter of {len(held_out)} held-out names")
    return bits, written


if __name__ == "__main__":
    main()
