"""Checks of notebook 6: shapes of tasks."""

from collections.abc import Callable
from typing import Any

import numpy as np

import crnn
from course.exercises import Wrong, answer_of, check_close, exercise


@exercise(1)
def weights(function: Callable[..., Any]) -> str:
    """Check the weights of the loss for each shape of a task."""
    lengths, T = np.array([4, 2, 6, 0]), 6
    for shape, k in (("step", 0), ("last", 0), ("delay", 2), ("delay", 3), ("delay", 0)):
        answer = np.asarray(answer_of(function, shape, lengths.copy(), T, k), float)
        case = f'shape="{shape}"' + (f", k={k}" if shape == "delay" else "")
        if answer.shape != (len(lengths), T):
            raise Wrong(f"{case}: expected shape (B, T) = (4, 6), got {answer.shape}")
        right = _weights(shape, lengths, T, k)
        _explain_weights(case, shape, answer, right, lengths)
        check_close(f"weights for {case}", answer, right)
    return (
        "one small array defines the shape of a task. If you compare the step numbers with the "
        "lengths, rows of length 0 need no special case. If you compute the index of the last step "
        "as length - 1, it is -1 for these rows, which is a wrong step."
    )


def _weights(shape: str, lengths: np.ndarray, T: int, k: int) -> np.ndarray:
    """Return the weights of the loss, (B, T)."""
    right = np.zeros((len(lengths), T))
    for row, length in zip(right, lengths, strict=True):
        if shape == "last" and length:
            row[length - 1] = 1
        elif shape != "last":
            row[min(k, length) : length] = 1
    return right


def _explain_weights(
    case: str, shape: str, answer: np.ndarray, right: np.ndarray, lengths: np.ndarray
) -> None:
    """Raise `Wrong` with an explanation if the rows of lengths 4, 2, 6 and 0 show a mistake."""
    padding = np.arange(answer.shape[1]) >= lengths[:, None]
    if (answer * padding)[:3].any():
        raise Wrong(
            f"{case}: a step of the padding has a weight that is not 0. The lengths are "
            f"{lengths.tolist()}, and the weights of the second row are {answer[1]}"
        )
    if answer[3].any():
        raise Wrong(f"{case}: a row of length 0 has a weight that is not 0: {answer[3]}")
    if shape == "last" and (answer.sum(axis=1) > 1).any():
        raise Wrong(f"{case}: more than one step of a row counts: {answer[0]}")
    if shape == "delay" and np.array_equal(answer, _weights("step", lengths, answer.shape[1], 0)):
        if not np.array_equal(answer, right):
            raise Wrong(f"{case}: the first k steps must not count: {answer[0]}")
    elif shape == "delay" and answer[0].sum() != right[0].sum():
        raise Wrong(
            f"{case}: in a row of length {lengths[0]} the number of steps that count should be "
            f"{right[0].sum():.0f}, got {answer[0].sum():.0f}: {answer[0]}"
        )


@exercise(2)
def run_free(function: Callable[..., Any]) -> str:
    """Check the outputs of models that read their own outputs."""
    rng = np.random.default_rng(7)
    for layer_class, H in ((crnn.GRU, 5), (crnn.LSTM, 4)):
        layer = layer_class(2, H, dtype="float64", seed=3)
        head = crnn.Dense(H, 2, dtype="float64", seed=5)
        model = crnn.Sequential([layer, head])
        for name, array in model.params.items():
            if "W" in name:
                array *= 2  # so that the outputs that are fed back change the result
        x = rng.normal(size=(3, 2))
        for steps in (1, 4):
            answer = np.asarray(answer_of(function, model, x.copy(), steps))
            right = crnn.generate(model, x, steps)
            if answer.shape != right.shape:
                raise Wrong(
                    f"expected outputs of shape (B, steps, F) = {right.shape}, got {answer.shape}"
                )
            _explain_run(model, x, steps, answer, right)
            check_close(f"{steps} outputs of {type(layer).__name__}", answer, right, 1e-6)
    return (
        "each output is the next input, and the state is passed from step to step. The model never "
        "reads the true values: step 2 reads the error of step 1, and no input corrects it."
    )


def _explain_run(
    model: Any, x: np.ndarray, steps: int, answer: np.ndarray, right: np.ndarray
) -> None:
    """Raise `Wrong` with an explanation if the answer shows a common mistake."""
    if np.allclose(answer, right, atol=1e-6):
        return
    not_fed_back, _ = model(np.repeat(x[:, None], steps, axis=1))
    without_state, y = [], x
    for _ in range(steps):
        y = model(y[:, None])[0][:, 0]
        without_state.append(y)
    if np.allclose(answer[:, 0], x):
        raise Wrong("the first result is the input x, which is not an output of the model")
    if steps > 1 and np.allclose(answer, not_fed_back, atol=1e-6):
        raise Wrong("each step reads the first input x; it should read the output before it")
    if steps > 1 and np.allclose(answer, np.stack(without_state, axis=1), atol=1e-6):
        raise Wrong("each step starts from a state of zeros; pass the state to the next step")


@exercise(3)
def smallest_delay(function: Callable[..., Any]) -> str:
    """Check the smallest delay for some tasks."""
    T = 9
    t = np.arange(T)
    tasks = {
        "a copy of each input": t,
        "the majority of seven": np.minimum(t + 3, T - 1),
        "the row in reverse": T - 1 - t,
        "the sum of the whole row at every step": np.full(T, T - 1),
        "the input of 2 steps before": np.maximum(t - 2, -1),
        "answers that depend on no input": np.full(T, -1),
        "a task that needs later inputs only at the middle step": np.where(t == 4, 6, t),
        "the majority of seven in a short row": np.minimum(np.arange(2) + 3, 1),
    }
    for name, needs in tasks.items():
        delay = answer_of(function, needs.copy())
        right = max([0, *(int(need) - step for step, need in enumerate(needs))])
        if np.ndim(delay) != 0:
            raise Wrong(f"expected one number for the whole row, got {delay!r}")
        case = f"{name}, needs={needs.tolist()}"
        if delay < 0:
            raise Wrong(f"{case}: the delay must be at least 0, got {delay}")
        if delay < right:
            early = next(step for step, need in enumerate(needs) if need > step + delay)
            raise Wrong(
                f"{case}: with delay {delay} the answer to step {early} must be written at step "
                f"{early + int(delay)}, before the network has read step {needs[early]}"
            )
        if delay > right:
            raise Wrong(f"{case}: delay {delay} is not the smallest one")
    return (
        "the step that needs the longest delay determines k. To reverse a row of T steps, the "
        "first answer must wait T - 1 steps for the last input. The network has to store the whole "
        "row, as an encoder and a decoder do."
    )
