"""Many to one, with a fixed recurrence: the speaker of a vowel, one of nine people.

python examples/speakers.py [folder]

The Japanese vowels (Kudo, Toyama and Shimbo 1999): 12 numbers a step, 7 to 29 steps, 270 recordings
for training and 370 others. A reservoir reads each recording; ridge regression maps its last state
to nine numbers, the largest of which names the speaker. The states are standardised first, because
the penalty is relative to their size.

The files are in the wheels of the packages aeon and sktime: `pip install --no-deps aeon`. Without a
folder, the program looks for an installed one.
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np

import crnn
from crnn.data import Standardizer

NAME = "JapaneseVowels"


def find():
    """Return the folder with the files, or None."""
    for package in ("aeon", "sktime"):
        found = importlib.util.find_spec(package)
        for place in found.submodule_search_locations if found else ():
            folder = Path(place, "datasets", "data", NAME)
            if folder.exists():
                return folder
    return None


def read(path):
    """Return recordings, a list of arrays (T, 12), and their speakers from 0 on."""
    lines = path.read_text(encoding="utf-8").splitlines()
    recordings, speakers = [], []
    for line in lines[lines.index("@data") + 1 :]:
        *channels, speaker = line.split(":")
        recordings.append(np.array([channel.split(",") for channel in channels], float).T)
        speakers.append(int(speaker) - 1)
    return recordings, np.array(speakers)


def padded(recordings):
    """Return one array (B, T, 12) with zeros behind short recordings, and the lengths."""
    lengths = np.array([len(recording) for recording in recordings])
    x = np.zeros((len(lengths), lengths.max(), recordings[0].shape[1]), np.float32)
    for row, recording in zip(x, recordings, strict=True):
        row[: len(recording)] = recording
    return x, lengths


def errors(train, test, leak, hidden_size, seed):
    """Return the number of wrong answers for the recordings of `test`."""
    scaler = Standardizer().fit(np.concatenate(train[0]))
    (x, lengths), (x_test, lengths_test) = (
        padded([scaler.transform(recording) for recording in part[0]]) for part in (train, test)
    )
    speakers = train[1].max() + 1
    reservoir = crnn.Reservoir(
        x.shape[2], hidden_size, input_scaling=0.1, bias_scaling=0.5, leak=leak, seed=seed
    )
    h, h_test = reservoir(x, lengths=lengths)[1], reservoir(x_test, lengths=lengths_test)[1]
    states = Standardizer().fit(h)
    readout = crnn.Ridge(hidden_size, speakers, alpha=30.0)
    readout.fit(states.transform(h), np.eye(speakers)[train[1]])
    y, _ = readout(states.transform(h_test).astype(np.float32))
    return int((y.argmax(axis=-1) != test[1]).sum())


def main(folder=None, leak=0.3, hidden_size=300, seeds=3):
    """Print and return the errors for each seed."""
    folder = find() if folder is None else Path(folder)
    if folder is None:
        raise SystemExit("the files of the Japanese vowels are missing: pip install --no-deps aeon")
    files = [folder / f"{NAME}_{part}.ts" for part in ("TRAIN", "TEST")]
    for file in files:
        if not file.is_file():
            raise SystemExit(f"folder: expected one with the file {file.name}, got {folder}")
    train, test = map(read, files)
    wrong = [errors(train, test, leak, hidden_size, seed) for seed in range(seeds)]
    print(f"wrong speakers of {len(test[1])}: {', '.join(map(str, wrong))} ({seeds} seeds)")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help=f"with {NAME}_TRAIN.ts and {NAME}_TEST.ts")
    main(**vars(parser.parse_args()))
