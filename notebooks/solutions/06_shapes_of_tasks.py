"""Solutions of notebook 6, and usual mistakes."""
# ruff: noqa: F821


# %% exercise-1
# A step counts if it is before the row's end, and for the shape. The last step is the one whose
# number is length - 1: for length 0 no step has the number -1, so nothing counts.
def weights(shape, lengths, T, k=0):
    t, end = np.arange(T), np.asarray(lengths)[:, None]
    if shape == "last":
        return (t == end - 1).astype(float)
    first = k if shape == "delay" else 0
    return ((first <= t) & (t < end)).astype(float)


check.weights(weights)


# %% exercise-1 wrong: takes the last column of the array for the last step
def weights(shape, lengths, T, k=0):
    t, end = np.arange(T), np.asarray(lengths)[:, None]
    if shape == "last":
        return np.broadcast_to(t == T - 1, (len(lengths), T)).astype(float)
    first = k if shape == "delay" else 0
    return ((first <= t) & (t < end)).astype(float)


check.weights(weights)


# %% exercise-1 wrong: looks the last step up by number, so that a row of length 0 has one at -1
def weights(shape, lengths, T, k=0):
    t, end = np.arange(T), np.asarray(lengths)[:, None]
    if shape == "last":
        w = np.zeros((len(lengths), T))
        w[np.arange(len(lengths)), np.asarray(lengths) - 1] = 1
        return w
    first = k if shape == "delay" else 0
    return ((first <= t) & (t < end)).astype(float)


check.weights(weights)


# %% exercise-1 wrong: forgets the padding where there is a delay
def weights(shape, lengths, T, k=0):
    t, end = np.arange(T), np.asarray(lengths)[:, None]
    if shape == "last":
        return (t == end - 1).astype(float)
    if shape == "delay":
        return np.broadcast_to(t >= k, (len(lengths), T)).astype(float)
    return (t < end).astype(float)


check.weights(weights)


# %% exercise-2
# The output is the next input; the state goes on from step to step.
def run_free(model, x, steps):
    state, given = None, []
    for _ in range(steps):
        y, state = model(x[:, None], state)
        x = y[:, 0]
        given.append(x)
    return np.stack(given, axis=1)


check.run_free(run_free)


# %% exercise-2 wrong: reads the first input at every step
def run_free(model, x, steps):
    state, given = None, []
    for _ in range(steps):
        y, state = model(x[:, None], state)
        given.append(y[:, 0])
    return np.stack(given, axis=1)


check.run_free(run_free)


# %% exercise-2 wrong: forgets the state
def run_free(model, x, steps):
    given = []
    for _ in range(steps):
        x = model(x[:, None])[0][:, 0]
        given.append(x)
    return np.stack(given, axis=1)


check.run_free(run_free)


# %% exercise-2 wrong: begins the results with the input
def run_free(model, x, steps):
    state, given = None, []
    for _ in range(steps):
        given.append(x)
        y, state = model(x[:, None], state)
        x = y[:, 0]
    return np.stack(given, axis=1)


check.run_free(run_free)


# %% exercise-3
# The answer to step t is given at t + k, when inputs up to t + k have been read: so t + k must be
# at least needs[t], at every t; and no answer comes before its step.
def smallest_delay(needs):
    return max(0, max(need - t for t, need in enumerate(needs)))


check.smallest_delay(smallest_delay)


# %% exercise-3 wrong: allows answers before their time
def smallest_delay(needs):
    return max(need - t for t, need in enumerate(needs))


check.smallest_delay(smallest_delay)


# %% exercise-3 wrong: the average answer is in time
def smallest_delay(needs):
    return max(0, round(float(np.mean(needs - np.arange(len(needs))))))


check.smallest_delay(smallest_delay)


# %% exercise-3 wrong: waits one step too long
def smallest_delay(needs):
    return max(0, max(need - t for t, need in enumerate(needs))) + 1


check.smallest_delay(smallest_delay)
