"""Python calls and files that one operation enters: `python benchmarks/calls.py [--list fit]`.

Counted by sys.setprofile: functions written in Python, in this package alone. A count repeats to
the digit, whatever the machine.
"""

import argparse
import collections
import sys
from pathlib import Path

import numpy as np

import crnn

PACKAGE = str(Path(crnn.__file__).parent)
B, T, I, H, K = 4, 5, 3, 8, 4

#: Calls and files at most, of each operation.
GOALS = {"forward": (12, 4), "fit": (90, 10), "seq2seq": (90, 10)}


def calls_of(function):
    """Python functions of crnn that a function enters: (file, name) -> how often."""
    found = collections.Counter()

    def note(frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            found[code.co_filename.removeprefix(PACKAGE + "/"), code.co_qualname] += 1

    function()  # what is made once is made
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return found


def forward():
    """One forward of a small model."""
    model = crnn.Sequential([crnn.LSTM(I, H, seed=1), crnn.Dense(H, K, seed=2)])
    x = np.zeros((B, T, I), np.float32)
    return lambda: model.forward(x)


def fit():
    """One epoch of one batch."""
    model = crnn.Sequential([crnn.LSTM(I, H, seed=1), crnn.Dense(H, K, seed=2)])
    data = [(np.zeros((B, T, I), np.float32), np.zeros((B, T), np.int64))]
    loss, optimizer = crnn.losses.cross_entropy, crnn.optim.Adam(model)
    options = {"loss": loss, "optimizer": optimizer, "epochs": 1, "progress": False}
    return lambda: crnn.fit(model, data, **options)


def seq2seq():
    """One forward of an encoder and a decoder with attention."""
    encoder, decoder = crnn.GRU(I, H, seed=1), crnn.GRU(I + H, H, seed=2)
    options = {"source_symbols": K, "target_symbols": K, "attention": "additive", "seed": 3}
    model = crnn.Seq2Seq(encoder, decoder, **options)
    source = np.zeros((B, T), np.int64)
    return lambda: model.forward(source, source)


OPERATIONS = {"forward": forward, "fit": fit, "seq2seq": seq2seq}


def main():
    """Print a line for each operation; with --list all calls of one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--list", choices=OPERATIONS, help="list the calls of this operation")
    parser.add_argument("--check", action="store_true", help="exit with 1 beyond a goal")
    arguments = parser.parse_args()
    beyond = False
    for name, prepare in OPERATIONS.items():
        found = calls_of(prepare())
        calls, files = sum(found.values()), len({file for file, _ in found})
        most, within = GOALS[name]
        beyond |= calls > most or files > within
        print(f"{name:8} {calls:4} calls (at most {most}) in {files:2} files (at most {within})")
        if name == arguments.list:
            for (file, function), count in sorted(found.items()):
                print(f"    {count:3}  {file}: {function}")
    return int(arguments.check and beyond)


if __name__ == "__main__":
    sys.exit(main())
