"""Compare sequence to sequence with PyTorch: training, generation of a batch and of one sequence.

    python benchmarks/seq2seq.py [--cores 1] [--rounds 16]

Both libraries run the same model (benchmarks/peers_seq2seq.py), on one core and on two, in turn, as
benchmarks/measuring.py describes. Before the measurement, the script checks that both compute the
same logits, loss and gradient, and choose the same symbols up to rounding.

Writes the table between two marks in docs/benchmark.md; benchmarks/compare.py writes the rest.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import sections

TOLERANCE = 1e-4


def check(name: str, difference: float) -> None:
    """End the program if the two libraries differ by more than the tolerance."""
    sections.check(name, difference, TOLERANCE)


def below_maximum(side: Any, chosen: Any) -> float:
    """Return the largest difference between the greatest logit and that of the chosen symbol."""
    import numpy as np
    from peers_seq2seq import START

    target_in = np.insert(chosen[:, :-1], 0, START, axis=1)
    logits = side.logits(target_in)
    of_chosen = np.take_along_axis(logits, chosen[..., None], 2)[..., 0]
    return float((logits.max(2) - of_chosen).max())


def check_same(ours: Any, theirs: Any) -> None:
    """End the program unless both compute the same logits, loss, gradient and symbols."""
    from peers_seq2seq import TARGET_IN

    check("logits", float(abs(ours.logits(TARGET_IN) - theirs.logits(TARGET_IN)).max()))
    check("symbols", below_maximum(theirs, ours.generation(len(TARGET_IN))))
    check("symbols", below_maximum(ours, theirs.generation(len(TARGET_IN))))
    check("losses", abs(ours.learn() - theirs.learn()))
    gradient, expected = ours.gradient(), theirs.gradient()
    check("gradients", float(abs(gradient - expected).max() / abs(expected).max()))


TASKS = {  # name -> function from a library's model to the call that is measured
    "training": lambda side: side.training,
    "generation, 64 sequences": lambda side: partial(side.generation, 64),
    "generation, 1 sequence": lambda side: partial(side.generation, 1),
}


def prepare(cores: int) -> tuple[dict[str, str], Any]:
    """Return the versions and the calls of all tasks."""
    from peers_seq2seq import Crnn, Torch

    ours = Crnn(cores)
    sides = [ours, Torch(ours.model, cores)]
    check_same(*sides)

    def calls(call: Any) -> sections.Calls:
        return {side.name: call(side) for side in sides}

    tasks = {name: partial(calls, call) for name, call in TASKS.items()}
    return {side.name: side.version for side in sides}, tasks


SECTION = sections.Section(
    script=__file__,
    name="seq2seq",
    title="Sequence to sequence",
    about="crnn.Seq2Seq and the same model in PyTorch (nn.GRU as encoder, nn.GRUCell as decoder), "
    "with additive attention and input feeding. B = 64, H = 256, embeddings of 256, sources and "
    "targets of 30 steps, 64 symbols. Training is one update with the true symbols as input: "
    "forward, cross-entropy, backward, Adam. Generation takes the most likely symbol at each step; "
    "no symbol ends a sequence early.",
    peer="PyTorch",
    module="torch",
    cores=(1, 2),
    tasks=tuple(TASKS),
    prepare=prepare,
)

if __name__ == "__main__":
    sections.main(SECTION, __doc__)
