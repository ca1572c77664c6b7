"""Compare temporal convolutions and Transformers with PyTorch: training, and one step of a stream.

    python benchmarks/blocks.py [--rounds 16]

Both libraries have the same weights, and run in turn on one core, as benchmarks/measuring.py
describes. PyTorch has the code of the authors of both networks in its usual form: convolutions with
weight normalisation that are cut at the end, `scaled_dot_product_attention`, and for single steps a
ring of inputs for each convolution and a preallocated cache of keys and values. Before the
measurement, the script checks that both compute the same.

Writes the table between two marks in docs/benchmark.md; benchmarks/compare.py writes the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import sections
import torch_blocks

ROWS, STEPS, TAPS, LEVELS = 32, 256, 3, 6  # of the convolutions
WIDTH, HEADS, BLOCKS, SYMBOLS = 128, 4, 4, 65  # of the Transformer
REPEATS = 50  # of single steps


def numbers(*shape: int) -> Any:
    """Return normal random numbers in float32."""
    import numpy as np

    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def symbols(steps: int) -> tuple[Any, Any]:
    """Return inputs and targets (ROWS, steps)."""
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.integers(0, SYMBOLS, (ROWS, steps)), rng.integers(0, SYMBOLS, (ROWS, steps))


def new_tcn(width: int) -> Any:
    """Return crnn's stack of blocks."""
    import crnn

    return crnn.TCN(width, [width] * LEVELS, TAPS, seed=0)


def new_transformer(dropout: float = 0.0) -> Any:
    """Return crnn's language model."""
    import crnn

    blocks = [crnn.TransformerBlock(WIDTH, HEADS, dropout=dropout, seed=i) for i in range(BLOCKS)]
    ends = crnn.LayerNorm(WIDTH), crnn.Dense(WIDTH, SYMBOLS, seed=9)
    return crnn.Sequential([crnn.Embedding(SYMBOLS, WIDTH, seed=8), *blocks, *ends])


def train_tcn(model: Any, x: Any) -> None:
    """Compute all gradients for a given gradient of the output: x."""
    model.zero_grad()
    tape = model.forward(x)[2]
    model.backward(tape, x)


def train_transformer(model: Any, x: Any, y: Any) -> None:
    """Compute all gradients of the cross-entropy."""
    import crnn

    model.zero_grad()
    logits, _, tape = model.forward(x)
    model.backward(tape, crnn.losses.cross_entropy(logits, y)[1])


def repeat(step: Callable[[Any], Any], x: Any) -> Any:
    """Run REPEATS steps; return the last output."""
    for _ in range(REPEATS):
        y = step(x)
    return y


def tcn_tasks(width: int) -> tuple[sections.Calls, sections.Calls]:
    """Return the calls of training and of single steps, once both libraries agree."""
    import numpy as np

    model, x = new_tcn(width), numbers(ROWS, STEPS, width)
    peer = torch_blocks.tcn(model.state_dict(), TAPS, LEVELS)
    sections.check("outputs", float(abs(model(x)[0] - peer.run(x)).max()), 1e-3)
    stream, ring = model.stream(1), peer.stream()
    ours = np.stack([stream.step(x[:1, t]) for t in range(80)], 1)
    theirs = np.stack([ring(x[:1, t]) for t in range(80)], 1)
    sections.check("steps", float(abs(ours - theirs).max()), 1e-3)
    one = x[:1, 0].copy()
    training = {"crnn": partial(train_tcn, model, x), "PyTorch": partial(peer.train, x)}
    steps = {"crnn": partial(repeat, stream.step, one), "PyTorch": partial(repeat, ring, one)}
    return training, steps


def transformer_training(steps: int, dropout: float) -> sections.Calls:
    """Return the calls of training, once both libraries agree."""
    model, (x, y) = new_transformer(dropout), symbols(steps)
    peer = torch_blocks.transformer(model.state_dict(), HEADS, BLOCKS, dropout)
    sections.check("logits", float(abs(model(x)[0] - peer.run(x)).max()), 1e-3)
    ours = partial(train_transformer, model, x, y)
    return {"crnn": ours, "PyTorch": partial(peer.train, x, y)}


def transformer_steps(steps: int) -> sections.Calls:
    """Return the calls of single steps behind so many others, with no more than twice as many."""
    model, x = new_transformer(), symbols(steps)[0][0, :1]
    peer = torch_blocks.transformer(model.state_dict(), HEADS, BLOCKS, 0.0)
    stream, cached = model.stream(1), peer.stream(steps + REPEATS)
    for _ in range(steps):
        ours, theirs = stream.step(x), cached(x)
    sections.check("steps", float(abs(ours - theirs).max()), 1e-3)
    before = stream.state

    def crnn_steps() -> None:
        stream.state = before
        repeat(stream.step, x)

    def torch_steps() -> None:
        cached.rewind(steps)
        repeat(cached, x)

    return {"crnn": crnn_steps, "PyTorch": torch_steps}


TASKS: dict[str, Callable[[], sections.Calls]] = {
    "TCN, C = 64, training": lambda: tcn_tasks(64)[0],
    "TCN, C = 128, training": lambda: tcn_tasks(128)[0],
    f"TCN, C = 64, {REPEATS} streamed steps": lambda: tcn_tasks(64)[1],
    f"TCN, C = 128, {REPEATS} streamed steps": lambda: tcn_tasks(128)[1],
    "Transformer, T = 64, training": lambda: transformer_training(64, 0.0),
    "Transformer, T = 128, training": lambda: transformer_training(128, 0.0),
    "Transformer, T = 64, training, dropout": lambda: transformer_training(64, 0.1),
    "Transformer, T = 128, training, dropout": lambda: transformer_training(128, 0.1),
    f"Transformer, {REPEATS} tokens behind 64": lambda: transformer_steps(64),
}


def prepare(cores: int) -> tuple[dict[str, str], Any]:
    """Return the versions and the calls of all tasks."""
    import torch

    import crnn

    assert cores == 1
    torch.set_num_threads(1)
    crnn.set_num_threads(1)
    return {"crnn": crnn.__version__, "PyTorch": torch.__version__}, TASKS


SECTION = sections.Section(
    script=__file__,
    name="blocks",
    title="Convolutions and Transformers",
    about=f"the TCN has {LEVELS} residual blocks of two convolutions with {TAPS} taps, dilations "
    f"1, 2, 4, ..., C channels and weight normalisation, B = {ROWS}, T = {STEPS}; the Transformer "
    f"has {BLOCKS} blocks of width {WIDTH} with {HEADS} heads and {SYMBOLS} symbols, B = {ROWS}, "
    "with dropout 0.1 where it says so. Training is forward and backward to all weights, without "
    "an optimizer. A streamed step, or a token, is one step of one row that has the steps before "
    "it in memory.",
    peer="PyTorch",
    module="torch",
    cores=(1,),
    tasks=tuple(TASKS),
    prepare=prepare,
)

if __name__ == "__main__":
    sections.main(SECTION, __doc__)
