"""Checks of notebook 8: both directions and several layers."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.exercises import Wrong, answer_of, check_close, exercise

Array = NDArray[Any]
Sentence = tuple[str, str, str, float]


@exercise(1)
def reverse_rows(function: Callable[[Array, Array], Array]) -> str:
    """Check that the valid steps of each row are reversed, and the padding is unchanged."""
    rng = np.random.default_rng(0)
    for shape, ends in (((1, 4, 2), [4]), ((3, 5, 2), [5, 3, 1]), ((4, 6, 1), [2, 6, 0, 5])):
        x, lengths = rng.normal(size=shape), np.array(ends)
        expected, argument = x.copy(), x.copy()
        for row, end in enumerate(ends):
            for step in range(end):
                expected[row, step] = x[row, end - 1 - step]
        answer = np.asarray(answer_of(function, argument, lengths))
        if not np.array_equal(argument, x):
            raise Wrong("your function changes x; it must return a new array")
        if answer.shape != x.shape:
            raise Wrong(f"expected the shape of x, {x.shape}, got {answer.shape}")
        if len(ends) > 1 and np.array_equal(answer, x[:, ::-1]):
            raise Wrong("this reverses all T steps: now the padding comes first")
        if np.array_equal(answer, x):
            raise Wrong("this is x: no row is reversed")
        valid = np.arange(shape[1]) < lengths[:, None]
        if not np.array_equal(answer[~valid], x[~valid]):
            raise Wrong(f"with lengths {ends} the padding has changed")
        check_close(f"the rows with lengths {ends}", answer, expected)
    return (
        "reverse the rows, run a forward layer, and reverse its outputs: this is a backward layer. "
        "crnn reads the rows in reverse order without a copy."
    )


@exercise(2)
def unmerge(function: Callable[[str, Array, Array, Array], tuple[Array, Array]]) -> str:
    """Check the gradients of both directions against finite differences."""
    rng = np.random.default_rng(0)
    h, k = rng.normal(size=(2, 2, 3, 2))

    def merged(merge: str, h: Array, k: Array) -> Array:
        """Return the outputs h and k of both directions, merged."""
        if merge == "concat":
            return np.concatenate([h, k], axis=2)
        return {"sum": h + k, "mean": (h + k) / 2, "mul": h * k}[merge]

    for merge in ("concat", "sum", "mean", "mul"):
        dy = rng.normal(size=merged(merge, h, k).shape)
        answer = answer_of(function, merge, dy.copy(), h.copy(), k.copy())
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise Wrong(f'"{merge}": expected two arrays, one for each direction')
        expected = []
        for number in range(2):
            slopes = np.zeros_like(h)
            for place in np.ndindex(h.shape):
                step = np.zeros_like(h)
                step[place] = 0.5  # exact, because y is linear in the output of each direction
                moved = (h + step, k) if number == 0 else (h, k + step)
                back = (h - step, k) if number == 0 else (h, k - step)
                slopes[place] = np.sum(dy * (merged(merge, *moved) - merged(merge, *back)))
            expected.append(slopes)
        if merge in ("concat", "mul") and _same(answer, expected[::-1]):
            raise Wrong(f'"{merge}": the two directions are exchanged')
        for name, array, right in zip(("forward", "backward"), answer, expected, strict=True):
            check_close(f'"{merge}", the gradient of the {name} direction', array, right, 1e-9)
    return (
        'with "concat" each direction receives its half of dy. With "sum" and "mean" both receive '
        'the same gradient. With "mul" the gradient of each direction depends on the output of the '
        "other one, so the model can compare the two directions."
    )


def _same(answer: Any, expected: list[Array]) -> bool:
    """Return whether two arrays have the expected shapes and numbers."""
    return all(
        np.shape(one) == other.shape and np.allclose(one, other)
        for one, other in zip(answer, expected, strict=True)
    )


# A small language: other sentences and probabilities than those of the notebook.
SENTENCES: list[Sentence] = [
    ("a", "x", "p q r", 0.2),
    ("a", "y", "p q s", 0.09),
    ("a", "x", "t", 0.24),
    ("b", "y", "p q r", 0.13),
    ("b", "z", "p u", 0.22),
    ("b", "x", "t v", 0.12),
]


@exercise(3)
def best_with_delay(function: Callable[[list[Sentence], int], float]) -> str:
    """Check the bound for the accuracy of a network with a delay of k words."""
    right = [_best(SENTENCES, k) for k in range(5)]
    for k, expected in enumerate(right):
        answer = float(answer_of(function, list(SENTENCES), k))
        if abs(answer - expected) < 1e-9:
            continue
        if abs(answer - _counted(SENTENCES, k)) < 1e-9:
            raise Wrong("you count all sentences equally; use the probability of each sentence")
        if k < 4 and abs(answer - right[k + 1]) < 1e-9:
            raise Wrong(f"delay {k}: this is the bound for a delay of {k + 1}")
        if abs(answer - _best([("", *rest) for _, *rest in SENTENCES], k)) < 1e-9:
            raise Wrong(f"delay {k}: the network has also read the words on the left")
        if answer > 1 + 1e-9:
            raise Wrong(f"delay {k}: an accuracy of {answer:.3f} is above 1")
        raise Wrong(
            f"delay {k}: expected {expected:.3f} for a language of six sentences, got {answer:.3f}"
        )
    return (
        "the bound never decreases with k, and its last value is the bound for both directions. In "
        "the language of the notebook it increases in jumps: a delay of two words gains nothing, "
        "three words gain most, and five words gain everything."
    )


def _best(sentences: list[Any], k: int) -> float:
    """Return the highest accuracy with a delay of k words."""
    table: dict[Any, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for left, word, right, probability in sentences:
        table[left, tuple(right.split()[:k])][word] += probability
    return sum(max(row.values()) for row in table.values())


def _counted(sentences: list[Sentence], k: int) -> float:
    """Return the result of `_best` if all sentences are wrongly counted equally."""
    return _best([(*rest, 1 / len(sentences)) for *rest, _ in sentences], k)
