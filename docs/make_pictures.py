"""Make the pictures of the documents.

python docs/make_pictures.py                pictures of diagnostics.md, by running its code
python docs/make_pictures.py forecasting    the picture of forecasting.md, in the same way
python docs/make_pictures.py plan           the picture of architecture.md
python docs/make_pictures.py demo-output    pictures of the README, from the folder of `make demo`
"""

import contextlib
import csv
import math
import re
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from crnn.data import corpus
from crnn.models import CharModel
from crnn.plotting import gates_over_text

IMAGES = Path(__file__).parent / "images"
CHARACTERS = 320

#: Nodes of a decoder with input feeding: value, operation, file of the operation, its kernels.
NODES = (
    ("target symbols", "INPUT", "", ""),
    ("query", "SUM", "op_sum.c", "product.inc"),
    ("context", "ATTEND", "op_attend.c", "attention.inc"),
    ("h of layer 0", "RECURRENT", "op_recurrent.c", "forward.inc, backward.inc"),
    ("dropout of h", "ROWWISE", "op_rowwise.c", "rowwise.inc"),
    ("h of layer 1", "RECURRENT", "op_recurrent.c", "forward.inc, backward.inc"),
)
#: Files through which a call passes before the operations run: place, file, purpose.
PASSED = (
    (0.1, "crnn/seq2seq/plans.py", "describes the nodes"),
    (3.5, "binding/plan*.c", "checks and allocates"),
    (6.6, "core/plan.c, plan_back.c", "order of nodes and steps"),
)
HALF_WIDTH, HALF_HEIGHT = 1.2, 0.25  # of the box of a node


def positions_in_lines(text):
    """Return the position of each character in its line, from 0."""
    position, positions = 0, []
    for character in text:
        positions.append(position)
        position = 0 if character == "\n" else position + 1
    return np.array(positions, float)


def run_document(name):
    """Run the code of a document, and keep the pictures that it saves."""
    text = (Path(__file__).parent / name).read_text("utf-8")
    namespace = {}
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.chdir(folder):
            for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
                exec(block, namespace)
        for picture in Path(folder).glob("*.png"):
            shutil.copy(picture, IMAGES)


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


def draw_arrow(axes, begin, end, bend=0.0, color="0.1", **options):
    """Draw an arrow between two points; `bend` curves it."""
    style = {"arrowstyle": "-|>", "connectionstyle": f"arc3,rad={bend}", "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, begin, arrowprops=style | {"color": color} | options)


def draw_nodes(axes):
    """Draw the nodes of the decoder, one below the other, and their edges."""
    blue, last = "#2b5c9e", 1 - len(NODES)
    axes.add_patch(plt.Rectangle((-3.2, last - 0.5), 5.4, 4.95, fc="#eaf1fa", ec="none"))
    axes.text(-3.05, -0.68, "cycle: runs\nstep by step", color=blue, size=9, va="top")
    for row, (value, operation, *files) in enumerate(NODES):
        corner = -HALF_WIDTH, -row - HALF_HEIGHT
        size = 2 * HALF_WIDTH, 2 * HALF_HEIGHT
        axes.add_patch(plt.Rectangle(corner, *size, fc="white", ec="0.3"))
        axes.text(0, -row, value, ha="center", va="center")
        axes.text(2.5, -row, operation, va="center", size=9)
        for place, file in zip((4.1, 6.1), files, strict=True):
            axes.text(place, -row, file, va="center", size=9, family="monospace")
        if row > 1:
            draw_arrow(axes, (0, 1 - row - HALF_HEIGHT), (0, HALF_HEIGHT - row))
    draw_arrow(axes, (HALF_WIDTH, 0), (HALF_WIDTH, -3), bend=-0.3)
    draw_arrow(axes, (-HALF_WIDTH, last), (-HALF_WIDTH, -1), bend=-0.2, color=blue, lw=1.8)
    axes.text(-3.05, -3, "delay 1:\nreads the\nstep before", color=blue, size=9, va="center")


def draw_plan():
    """Draw the plan of a decoder, and the files through which its call passes."""
    figure, axes = plt.subplots(figsize=(10, 6))
    for place, file, purpose in PASSED:
        axes.text(place, 1.9, file, ha="center", size=9, family="monospace")
        axes.text(place, 1.6, purpose, ha="center", size=9, color="0.35")
    draw_arrow(axes, (1.6, 1.97), (2.3, 1.97))
    draw_arrow(axes, (4.65, 1.97), (5.0, 1.97))
    draw_arrow(axes, (6.6, 1.5), (6.6, 0.95))
    for place, heading in ((2.5, "operation"), (4.1, "core/"), (6.1, "core/kernels/")):
        axes.text(place, 0.6, heading, size=9, weight="bold")
    axes.text(0, 0.6, "nodes of the plan", size=9, weight="bold", ha="center")
    draw_nodes(axes)
    axes.set(xlim=(-3.3, 8.9), ylim=(-5.6, 2.2))
    axes.axis("off")
    figure.savefig(IMAGES / "plan.png", dpi=150, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    if sys.argv[1:] == ["plan"]:
        draw_plan()
    elif sys.argv[1:] == ["forecasting"]:
        run_document("forecasting.md")
    elif sys.argv[1:]:
        draw_demo(sys.argv[1])
    else:
        run_document("diagnostics.md")
