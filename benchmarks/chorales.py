"""Train layers on the chorales of J. S. Bach, for nats a step to compare with the literature.

    python benchmarks/chorales.py --chorales JSB_Chorales.mat
    CRNN_DATA=folder python benchmarks/chorales.py tcn --epochs 20

The default file is JSB_Chorales.mat in the folder that CRNN_DATA names. Models, training and data
are those of examples/music.py, which says where the file can be had. The validation part chooses
the epoch, the test part gives the result. Bai, Kolter and Koltun (2018) report 8.10
for a TCN, 8.43 for a GRU and 8.45 for an LSTM.

`Chorales(path)` is the task for other programs: `name`, `about`, `measure`, `layers` with the bound
of each, and `train(layer, seed)`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))

import music

from crnn.data import read_piano_rolls


def default_file() -> Path | None:
    """Return JSB_Chorales.mat in the folder of data sets, or None without one."""
    folder = os.environ.get("CRNN_DATA")
    file = Path(folder, "JSB_Chorales.mat") if folder else None
    return file if file is not None and file.is_file() else None


class Result(NamedTuple):
    """Result of one layer."""

    layer: str
    nats: float  # a step of the test part
    f1: float
    seconds: float

    @property
    def passed(self) -> bool:
        return self.nats <= Chorales.layers[self.layer]


class Chorales:
    """The task at one size. The bounds are above the results of several seeds."""

    name = "chorales"
    about = (
        "382 chorales by J. S. Bach (229 for training, 76 to choose the epoch, 77 for the result), "
        "88 keys at each quarter note; the target is the next step (Boulanger-Lewandowski, Bengio "
        "and Vincent 2012; sizes as Bai, Kolter and Koltun 2018)."
    )
    measure = "cross-entropy of 88 keys, nats a step"
    layers: ClassVar[dict[str, float]] = {"tcn": 8.25, "lstm": 8.45, "gru": 8.6}

    def __init__(self, path: str | os.PathLike[str], epochs: int = 60, hidden_size: int = 150):
        self.rolls = read_piano_rolls(path)
        self.epochs, self.hidden_size = epochs, hidden_size

    def train(self, layer: str, seed: int = 0) -> Result:
        """Train a layer, and return its result on the test part."""
        start = time.process_time()
        _, result = music.learn(self.rolls, layer, self.epochs, self.hidden_size, seed)
        return Result(layer, float(result), result["f1"], time.process_time() - start)


def table(results: Sequence[Result]) -> str:
    """Return the results as a table."""
    lines = ["| layer | nats a step | bound | passed | F1 | seconds |", "|---|--:|--:|---|--:|--:|"]
    for one in results:
        passed, bound = "yes" if one.passed else "no", Chorales.layers[one.layer]
        cells = one.layer, f"{one.nats:.3f}", bound, passed, f"{one.f1:.3f}", f"{one.seconds:.0f}"
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the selected layers, and print the table; the status is 1 if a layer is not good."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("layers", nargs="*", metavar="layer", help=", ".join(Chorales.layers))
    parser.add_argument("--chorales", type=Path, default=default_file(), metavar="FILE")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    for name in options.layers:
        if name not in Chorales.layers:
            parser.error(f"layer: expected any of {', '.join(Chorales.layers)}, got {name!r}")
    if options.chorales is None or not options.chorales.is_file():
        parser.error(f"--chorales: expected a file, got {options.chorales}; {music.SOURCE}")
    task = Chorales(options.chorales, options.epochs)
    results = [task.train(name, options.seed) for name in options.layers or Chorales.layers]
    print(table(results))
    return int(not all(one.passed for one in results))


if __name__ == "__main__":
    sys.exit(main())
