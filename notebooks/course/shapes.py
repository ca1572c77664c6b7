"""Checks for notebook 6, shapes of tasks."""

from collections.abc import Callable
from typing import Any

import numpy as np

import crnn
from course.exercises import Wrong, answer_of, check_close, exercise


@exercise(1)
def weights(answer: Callable[..., Any]) -> str:
    lengths, T = np.array([4, 2, 6, 0]), 6
    for shape, k in (("step", 0), ("last", 0), ("delay", 2), ("delay", 3), ("delay", 0)):
        found = np.asarray(answer_of(answer, shape, lengths.copy(), T, k), float)
        case = f'shape="{shape}"' + (f", k={k}" if shape == "delay" else "")
        if found.shape != (len(lengths), T):
            raise Wrong(f"{case}: expected shape (B, T) = (4, 6), got {found.shape}")
        right = _weights(shape, lengths, T, k)
        _explain_weights(case, shape, found, right, lengths)
        check_close(f"weights for {case}", found, right)
    return (
        "one small array says what a task asks. A row of length 0 takes care of itself where steps "
        "are compared with the length, and is a trap where the last step is looked up by number."
    )


def _weights(shape: str, lengths: np.ndarray, T: int, k: int) -> np.ndarray:
    right = np.zeros((len(lengths), T))
    for row, length in zip(right, lengths, strict=True):
        if shape == "last" and length:
            row[length - 1] = 1
        elif shape != "last":
            row[min(k, length) : length] = 1
    return right


def _explain_weights(
    case: str, shape: str, found: np.ndarray, right: np.ndarray, lengths: np.ndarray
) -> None:
    """Name the usual mistakes, by what they do to the rows of lengths 4, 2, 6 and 0."""
    past = np.arange(found.shape[1]) >= lengths[:, None]
    if (found * past)[:3].any():
        raise Wrong(
            f"{case}: a step past the end of its row counts. The lengths are "
            f"{lengths.tolist()}, and the weights of the second row {found[1]}"
        )
    if found[3].any():
        raise Wrong(f"{case}: a row of length 0 has no steps, and yet one counts: {found[3]}")
    if shape == "last" and (found.sum(axis=1) > 1).any():
        raise Wrong(f"{case}: more than one step of a row counts: {found[0]}")
    if shape == "delay" and np.array_equal(found, _weights("step", lengths, found.shape[1], 0)):
        if not np.array_equal(found, right):
            raise Wrong(f"{case}: the first k steps still count: {found[0]}")
    elif shape == "delay" and found[0].sum() != right[0].sum():
        raise Wrong(
            f"{case}: in a row of length {lengths[0]} the number of steps that count should be "
            f"{right[0].sum():.0f}, got {found[0].sum():.0f}: {found[0]}"
        )


@exercise(2)
def run_free(answer: Callable[..., Any]) -> str:
    rng = np.random.default_rng(7)
    for layer_class, H in ((crnn.GRU, 5), (crnn.LSTM, 4)):
        layer = layer_class(2, H, dtype="float64", seed=3)
        head = crnn.Dense(H, 2, dtype="float64", seed=5)
        model = crnn.Sequential([layer, head])
        for name, array in model.params.items():
            if "W" in name:
                array *= 2  # so that what is fed back matters
        x = rng.normal(size=(3, 2))
        for steps in (1, 4):
            given = answer_of(answer, model, x.copy(), steps)
            found, right = np.asarray(given), crnn.generate(model, x, steps)
            if found.shape != right.shape:
                raise Wrong(
                    f"expected outputs of shape (B, steps, F) = {right.shape}, got {found.shape}"
                )
            _explain_run(model, x, steps, found, right)
            check_close(f"{steps} outputs of {type(layer).__name__}", found, right, 1e-6)
    return (
        "output in, output out, and the state carried on between. Nothing here looks at the "
        "truth: an error of step 1 is read at step 2, and nobody corrects it."
    )


def _explain_run(
    model: Any, x: np.ndarray, steps: int, found: np.ndarray, right: np.ndarray
) -> None:
    """Recognise the usual mistakes by their numbers."""
    if np.allclose(found, right, atol=1e-6):
        return
    same, _ = model(np.repeat(x[:, None], steps, axis=1))
    forgetful, now = [], x
    for _ in range(steps):
        now = model(now[:, None])[0][:, 0]
        forgetful.append(now)
    if np.allclose(found[:, 0], x):
        raise Wrong("the first of the results is the input x: it is no output of the model")
    if steps > 1 and np.allclose(found, same, atol=1e-6):
        raise Wrong("each step reads the first input x again: nothing is fed back")
    if steps > 1 and np.allclose(found, np.stack(forgetful, axis=1), atol=1e-6):
        raise Wrong("each step begins with an empty state: what was read before is forgotten")


@exercise(3)
def smallest_delay(answer: Callable[..., Any]) -> str:
    T = 9
    t = np.arange(T)
    tasks = {
        "a copy of each input": t,
        "the vote of seven": np.minimum(t + 3, T - 1),
        "the row in reverse": T - 1 - t,
        "the whole row's sum, asked at every step": np.full(T, T - 1),
        "what stood 2 steps ago": np.maximum(t - 2, -1),
        "answers that depend on nothing": np.full(T, -1),
        "one that needs the future in the middle alone": np.where(t == 4, 6, t),
        "a vote in a short row": np.minimum(t + 3, T - 1)[-2:],
    }
    tasks["a vote in a short row"] = np.minimum(np.arange(2) + 3, 1)
    for name, needs in tasks.items():
        found = answer_of(answer, needs.copy())
        right = max([0, *(int(need) - step for step, need in enumerate(needs))])
        if np.ndim(found) != 0:
            raise Wrong(f"expected one number for the whole row, got {found!r}")
        if found < 0:
            raise Wrong(
                f"{name}, needs={needs.tolist()}: {found} would be an answer before its time"
            )
        if found < right:
            late = next(step for step, need in enumerate(needs) if need > step + found)
            raise Wrong(
                f"{name}, needs={needs.tolist()}: with delay {found} the answer to step {late} is "
                f"due at step {late + int(found)}, before step {needs[late]} has been read"
            )
        if found > right:
            raise Wrong(f"{name}, needs={needs.tolist()}: delay {found} is longer than it must be")
    return (
        "it is the worst step that decides. To reverse a row of T the first answer waits for the "
        "last input, T - 1 steps: the network has to hold the whole row, which is what an encoder "
        "and a decoder do."
    )
