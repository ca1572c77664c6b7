"""Make the pictures of the documents.

python docs/make_pictures.py                pictures of diagnostics.md, by running its code
python docs/make_pictures.py demo-output    pictures of the README, from the folder of `make demo`
"""

import contextlib
import csv
import math
import re
import shutil
import sys
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from crnn.data import corpus
from crnn.models import CharModel
from crnn.plotting import gates_over_text

IMAGES = Path(__file__).parent / "images"
CHARACTERS = 320


def positions_in_lines(text):
    """Return the position of each character in its line, from 0."""
    position, positions = 0, []
    for character in text:
        positions.append(position)
        position = 0 if character == "\n" else position + 1
    return np.array(positions, float)


def run_document(name):
    """Run the code of a document, which saves pictures, in the folder of the pictures."""
    text = (Path(__file__).parent / name).read_text("utf-8")
    namespace = {}
    with contextlib.chdir(IMAGES):
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(block, namespace)


def draw_demo(folder):
    """Draw the pictures of the README from the folder of a run."""
    shutil.copy(Path(folder, "loss.png"), IMAGES / "loss.png")
    model = CharModel.load(folder)
    text = corpus("pydoc")
    text = text[len(text) - len(text) // 10 :][:20_000]
    _, _, tapes = model.network.forward(model.vocabulary.encode(text)[None])
    states = np.tanh(tapes[1].c[0])  # layer 1 is the LSTM, layer 0 the embedding
    positions, units = positions_in_lines(text), range(states.shape[1])
    correlations = [abs(np.corrcoef(states[:, unit], positions)[0, 1]) for unit in units]
    unit = int(np.argmax(correlations))
    print(f"unit {unit}: correlation {correlations[unit]:.2f} with the position in the line")
    begin = text.index("\n", 4000) + 1
    part = slice(begin, begin + CHARACTERS)
    axes = gates_over_text(
        text[part], states[part, unit], label=f"tanh(c) of unit {unit}", columns=80
    )
    axes.figure.savefig(IMAGES / "gates.png", dpi=150, bbox_inches="tight")
    plt.close(axes.figure)
    with open(Path(folder, "history.csv"), newline="") as file:
        last = list(csv.DictReader(file))[-1]
    print(f"validation: {float(last['val_loss']) / math.log(2):.3f} bits per character")


if __name__ == "__main__":
    if sys.argv[1:]:
        draw_demo(sys.argv[1])
    else:
        run_document("diagnostics.md")
