"""Make the pictures of the documents.

python docs/make_pictures.py                those of diagnostics.md, by the code in it
python docs/make_pictures.py demo-output    the README's, from what `make demo` left
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


def inside_line(text):
    """How far each character lies from the start of its line."""
    place, places = 0, []
    for character in text:
        places.append(place)
        place = 0 if character == "\n" else place + 1
    return np.array(places, float)


def run_document(name):
    """Run the code of a document in the folder of pictures, which it draws into."""
    text = (Path(__file__).parent / name).read_text("utf-8")
    namespace = {}
    with contextlib.chdir(IMAGES):
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(block, namespace)


def draw_demo(folder):
    """Draw the pictures of a run's folder."""
    shutil.copy(Path(folder, "loss.png"), IMAGES / "loss.png")
    model = CharModel.load(folder)
    text = corpus("pydoc")
    text = text[len(text) - len(text) // 10 :][:20_000]
    _, _, tapes = model.network.forward(model.vocabulary.encode(text)[None])
    states = np.tanh(tapes[1].c[0])  # of the LSTM, which stands on the embedding
    wanted = inside_line(text)
    share = [abs(np.corrcoef(states[:, unit], wanted)[0, 1]) for unit in range(states.shape[1])]
    unit = int(np.argmax(share))
    print(f"unit {unit}: correlation {share[unit]:.2f} with the place in the line")
    begin = text.index("\n", 4000) + 1
    part = slice(begin, begin + CHARACTERS)
    axes = gates_over_text(
        text[part], states[part, unit], label=f"tanh(c) of unit {unit}", columns=80
    )
    axes.figure.savefig(IMAGES / "gates.png", dpi=150, bbox_inches="tight")
    plt.close(axes.figure)
    with open(Path(folder, "history.csv"), newline="") as file:
        last = list(csv.DictReader(file))[-1]
    print(f"held out: {float(last['val_loss']) / math.log(2):.3f} bits per character")


if __name__ == "__main__":
    if sys.argv[1:]:
        draw_demo(sys.argv[1])
    else:
        run_document("diagnostics.md")
