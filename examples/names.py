"""One to many: names of dinosaurs that never were, letter by letter from a start symbol.

python examples/names.py
"""

import math

import crnn
from crnn.callbacks import KeepBest, OneCycle
from crnn.data import END_OF_LINE, Lines, Vocabulary, corpus, hold_out, lines_of


def main(epochs=15, n=10, seed=0):
    """Bits per letter of held-out names, and the new ones."""
    names = lines_of(corpus("dinosaurs"))
    vocabulary = Vocabulary.from_text("".join(names) + END_OF_LINE)
    known, held_out = hold_out(names, share=0.1, seed=seed)
    data = Lines(known, vocabulary, batch_size=32, seed=seed)
    K = len(vocabulary)
    layers = [
        crnn.GRU(K, 128, recurrent_dropout=0.2, seed=seed),  # reads symbols as they are
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
        print(name.capitalize(), "" if name not in names else "(which there is)")
    bits = min(history.val_loss) / math.log(2)
    print(f"{bits:.2f} bits per letter of {len(held_out)} names held out")
    return bits, written


if __name__ == "__main__":
    main()
