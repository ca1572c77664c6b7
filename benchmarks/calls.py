"""Python calls and files of one operation: `python benchmarks/calls.py [--list fit]`.

sys.setprofile counts the calls of functions written in Python in the package crnn. The counts are
the same on every machine.
"""

import argparse
import collections
import sys
from pathlib import Path

import numpy as np

import crnn

PACKAGE = str(Path(crnn.__file__).parent)
B, T, I, H, K = 4, 5, 3, 8, 4

#: Largest number of calls and of files for each operation.
GOALS = {"forward": (12, 4), "fit": (90, 10), "seq2seq": (90, 10)}


def calls_of(function):
    """Return the number of calls of each Python function of crnn: (file, name) -> count."""
    counts = collections.Counter()

    def note(frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            counts[code.co_filename.removeprefix(PACKAGE + "/"), code.co_qualname] += 1

    function()  # not counted: work that is done only once
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return counts


def forward():
    """Return a function that runs forward of a small model once."""
    model = crnn.Sequential([crnn.LSTM(I, H, seed=1), crnn.Dense(H, K, seed=2)])
    x = np.zeros((B, T, I), np.float32)
    return lambda: model.forward(x)


def fit():
    """Return a function that trains one epoch of one batch."""
    model = crnn.Sequential([crnn.LSTM(I, H, seed=1), crnn.Dense(H, K, seed=2)])
    data = [(np.zeros((B, T, I), np.float32), np.zeros((B, T), np.int64))]
    loss, optimizer = crnn.losses.cross_entropy, crnn.optim.Adam(model)
    options = {"loss": loss, "optimizer": optimizer, "epochs": 1, "progress": False}
    return lambda: crnn.fit(model, data, **options)


def seq2seq():
    """Return a function that runs forward of an encoder and a decoder with attention."""
    encoder, decoder = crnn.GRU(I, H, seed=1), crnn.GRU(I + H, H, seed=2)
    options = {"source_symbols": K, "target_symbols": K, "attention": "additive", "seed": 3}
    model = crnn.Seq2Seq(encoder, decoder, **options)
    source = np.zeros((B, T), np.int64)
    return lambda: model.forward(source, source)


OPERATIONS = {"forward": forward, "fit": fit, "seq2seq": seq2seq}


def main():
    """Print a line for each operation, and with --list all calls of one operation."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--list", choices=OPERATIONS, help="list the calls of this operation")
    parser.add_argument(
        "--check", action="store_true", help="exit with status 1 if a goal is exceeded"
    )
    arguments = parser.parse_args()
    exceeded = False
    for name, prepare in OPERATIONS.items():
        counts = calls_of(prepare())
        calls, files = sum(counts.values()), len({file for file, _ in counts})
        most_calls, most_files = GOALS[name]
        exceeded |= calls > most_calls or files > most_files
        limits = f"{calls:4} calls (at most {most_calls}) in {files:2} files (at most {most_files})"
        print(f"{name:8} {limits}")
        if name == arguments.list:
            for (file, function), count in sorted(counts.items()):
                print(f"    {count:3}  {file}: {function}")
    return int(arguments.check and exceeded)


if __name__ == "__main__":
    sys.exit(main())
