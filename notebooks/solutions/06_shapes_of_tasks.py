"""Answers to the exercises of notebook 6 (shapes of tasks), and common wrong answers."""
# ruff: noqa: F821


# %% exercise-1
# Only steps before the end of a row may count. The number of the last step is length - 1. If length
# is 0 this is -1, which is not the number of any step, so no step counts.
def weights(shape, lengths, T, k=0):
    t, end = np.arange(T), np.asarray(lengths)[:, None]
    if shape == "last":
        return (t == end - 1).astype(float)
    first = k if shape == "delay" else 0
    return ((first <= t) & (t < end)).astype(float)


check.weights(weights)


# %% exercise-1 wrong: uses the last column of the array as the last step of every row
def weights(shape, lengths, T, k=0):
    t, end = np.arange(T), np.asarray(lengths)[:, None]
    if shape == "last":
        return np.broadcast_to(t == T - 1, (len(lengths), T)).astype(float)
    first = k if shape == "delay" else 0
    return ((first <= t) & (t < end)).astype(float)


check.weights(weights)


# %% exercise-1 wrong: uses the index -1 as the last step of a row of length 0
def weights(shape, lengths, T, k=0):
    t, end = np.arange(T), np.asarray(lengths)[:, None]
    if shape == "last":
        w = np.zeros((len(lengths), T))
        w[np.arange(len(lengths)), np.asarray(lengths) - 1] = 1
        return w
    first = k if shape == "delay" else 0
    return ((first <= t) & (t < end)).astype(float)


check.weights(weights)


# %% exercise-1 wrong: counts the padding if the task has a delay
def weights(shape, lengths, T, k=0):
    t, end = np.arange(T), np.asarray(lengths)[:, None]
    if shape == "last":
        return (t == end - 1).astype(float)
    if shape == "delay":
        return np.broadcast_to(t >= k, (len(lengths), T)).astype(float)
    return (t < end).astype(float)


check.weights(weights)


# %% exercise-2
# Each output is the next input; the state is passed from step to step.
def run_free(model, x, steps):
    state, outputs = None, []
    for _ in range(steps):
        y, state = model(x[:, None], state)
        x = y[:, 0]
        outputs.append(x)
    return np.stack(outputs, axis=1)


check.run_free(run_free)


# %% exercise-2 wrong: reads the first input at every step
def run_free(model, x, steps):
    state, outputs = None, []
    for _ in range(steps):
        y, state = model(x[:, None], state)
        outputs.append(y[:, 0])
    return np.stack(outputs, axis=1)


check.run_free(run_free)


# %% exercise-2 wrong: does not pass the state
def run_free(model, x, steps):
    outputs = []
    for _ in range(steps):
        x = model(x[:, None])[0][:, 0]
        outputs.append(x)
    return np.stack(outputs, axis=1)


check.run_free(run_free)


# %% exercise-2 wrong: the first result is the input
def run_free(model, x, steps):
    state, outputs = None, []
    for _ in range(steps):
        outputs.append(x)
        y, state = model(x[:, None], state)
        x = y[:, 0]
    return np.stack(outputs, axis=1)


check.run_free(run_free)


# %% exercise-3
# The network writes the answer to step t at step t + k, after it has read the inputs up to t + k.
# So t + k must be at least needs[t] at every t, and k must be at least 0.
def smallest_delay(needs):
    return max(0, max(need - t for t, need in enumerate(needs)))


check.smallest_delay(smallest_delay)


# %% exercise-3 wrong: allows a negative delay
def smallest_delay(needs):
    return max(need - t for t, need in enumerate(needs))


check.smallest_delay(smallest_delay)


# %% exercise-3 wrong: the mean of the delays
def smallest_delay(needs):
    return max(0, round(float(np.mean(needs - np.arange(len(needs))))))


check.smallest_delay(smallest_delay)


# %% exercise-3 wrong: one step too long
def smallest_delay(needs):
    return max(0, max(need - t for t, need in enumerate(needs))) + 1


check.smallest_delay(smallest_delay)
