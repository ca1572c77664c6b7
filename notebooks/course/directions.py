"""Checks of notebook 8, both directions and several layers."""

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
    """Each row is turned around within its own length."""
    rng = np.random.default_rng(0)
    for shape, ends in (((1, 4, 2), [4]), ((3, 5, 2), [5, 3, 1]), ((4, 6, 1), [2, 6, 0, 5])):
        x, lengths = rng.normal(size=shape), np.array(ends)
        expected, given = x.copy(), x.copy()
        for row, end in enumerate(ends):
            for step in range(end):
                expected[row, step] = x[row, end - 1 - step]
        found = np.asarray(answer_of(function, given, lengths))
        if not np.array_equal(given, x):
            raise Wrong("x itself was changed; the caller still needs it")
        if found.shape != x.shape:
            raise Wrong(f"expected the shape of x, {x.shape}, got {found.shape}")
        if len(ends) > 1 and np.array_equal(found, x[:, ::-1]):
            raise Wrong("this turns the whole array around: the padding now comes first")
        if np.array_equal(found, x):
            raise Wrong("nothing was turned around")
        there = np.arange(shape[1]) < lengths[:, None]
        if not np.array_equal(found[~there], x[~there]):
            raise Wrong(f"with lengths {ends} the padding is not what and where it was")
        check_close(f"the rows with lengths {ends}", found, expected)
    return (
        "a forward layer on these rows, turned around once more, is the backward layer. crnn reads "
        "the rows where they are, without a copy."
    )


@exercise(2)
def unmerge(function: Callable[[str, Array, Array, Array], tuple[Array, Array]]) -> str:
    """The gradients of both directions, against differences."""
    rng = np.random.default_rng(0)
    h, k = rng.normal(size=(2, 2, 3, 2))

    def merged(merge: str, h: Array, k: Array) -> Array:
        if merge == "concat":
            return np.concatenate([h, k], axis=2)
        return {"sum": h + k, "mean": (h + k) / 2, "mul": h * k}[merge]

    for merge in ("concat", "sum", "mean", "mul"):
        dy = rng.normal(size=merged(merge, h, k).shape)
        found = answer_of(function, merge, dy.copy(), h.copy(), k.copy())
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise Wrong(f'"{merge}": expected two arrays, one for each direction')
        expected = []
        for number in range(2):
            slopes = np.zeros_like(h)
            for place in np.ndindex(h.shape):
                step = np.zeros_like(h)
                step[place] = 0.5  # all four are linear in each direction, so this is exact
                moved = (h + step, k) if number == 0 else (h, k + step)
                back = (h - step, k) if number == 0 else (h, k - step)
                slopes[place] = np.sum(dy * (merged(merge, *moved) - merged(merge, *back)))
            expected.append(slopes)
        if merge in ("concat", "mul") and _same(found, expected[::-1]):
            raise Wrong(f'"{merge}": the two directions are exchanged')
        for name, array, right in zip(("forward", "backward"), found, expected, strict=True):
            check_close(f'"{merge}", the gradient of the {name} direction', array, right, 1e-9)
    return (
        'with "concat" each direction hears its own half; with "sum" and "mean" both hear the '
        'same; with "mul" each hears what the other one says, which is how they can be compared.'
    )


def _same(found: Any, expected: list[Array]) -> bool:
    """Whether two arrays are those expected."""
    return all(
        np.shape(one) == other.shape and np.allclose(one, other)
        for one, other in zip(found, expected, strict=True)
    )


OWN: list[Sentence] = [
    ("a", "x", "p q r", 0.2),
    ("a", "y", "p q s", 0.09),
    ("a", "x", "t", 0.24),
    ("b", "y", "p q r", 0.13),
    ("b", "z", "p u", 0.22),
    ("b", "x", "t v", 0.12),
]


@exercise(3)
def best_with_delay(function: Callable[[list[Sentence], int], float]) -> str:
    """The bound for a network that answers some words late."""
    right = [_best(OWN, k) for k in range(5)]
    for k, expected in enumerate(right):
        found = float(answer_of(function, list(OWN), k))
        if abs(found - expected) < 1e-9:
            continue
        if abs(found - _counted(OWN, k)) < 1e-9:
            raise Wrong("each sentence counts the same here; they have probabilities of their own")
        if k < 4 and abs(found - right[k + 1]) < 1e-9:
            raise Wrong(f"delay {k}: this is the bound for one more word")
        if abs(found - _best([("", *rest) for _, *rest in OWN], k)) < 1e-9:
            raise Wrong(f"delay {k}: what stands on the left is known as well")
        if found > 1 + 1e-9:
            raise Wrong(f"delay {k}: an accuracy of {found:.3f} is above 1")
        raise Wrong(
            f"delay {k}: expected {expected:.3f} for a language of six sentences, got {found:.3f}"
        )
    return (
        "it never falls with k, and ends at the bound of both directions. In the notebook's "
        "language it comes in jumps: two words gain nothing, three gain most, five all there is."
    )


def _best(sentences: list[Any], k: int) -> float:
    table: dict[Any, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for left, word, right, probability in sentences:
        table[left, tuple(right.split()[:k])][word] += probability
    return sum(max(row.values()) for row in table.values())


def _counted(sentences: list[Sentence], k: int) -> float:
    return _best([(*rest, 1 / len(sentences)) for *rest, _ in sentences], k)
