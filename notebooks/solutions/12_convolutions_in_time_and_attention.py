"""Answers to the exercises of notebook 12 (convolutions, attention), and common wrong answers."""
# ruff: noqa: F821


# %% exercise-1
# Exercise 1. The distances that a stack of convolutions reads, ascending.
# Each layer adds one of its distances to those of the layers above it. A set keeps each sum once.
def steps_read(taps, dilations):
    distances = {0}
    for d in dilations:
        distances = {distance + j * d for distance in distances for j in range(taps)}
    return sorted(distances)


check.steps_read(steps_read)


# %% exercise-1 wrong: the whole field
def steps_read(taps, dilations):
    return list(range(1 + (taps - 1) * sum(dilations)))


check.steps_read(steps_read)


# %% exercise-1 wrong: each layer by itself
def steps_read(taps, dilations):
    return sorted({j * d for d in dilations for j in range(taps)})


check.steps_read(steps_read)


# %% exercise-1 wrong: one tap too many
def steps_read(taps, dilations):
    distances = {0}
    for d in dilations:
        distances = {distance + j * d for distance in distances for j in range(taps + 1)}
    return sorted(distances)


check.steps_read(steps_read)


# %% exercise-1 wrong: counts paths
def steps_read(taps, dilations):
    distances = [0]
    for d in dilations:
        distances = [distance + j * d for distance in distances for j in range(taps)]
    return sorted(distances)


check.steps_read(steps_read)


# %% exercise-2
# Exercise 2. Contexts and weights of causal attention with a window.
# Scores outside of the window are -inf, so that their exponentials are 0, before the softmax.
def attend(q, k, v, window):
    t = np.arange(len(q))
    distance = t[:, None] - t
    scores = q @ k.T / np.sqrt(q.shape[1])
    scores = np.where((distance >= 0) & (distance < window), scores, -np.inf)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p @ v, p


check.attend(attend)


# %% exercise-2 wrong: one step too many
def attend(q, k, v, window):
    t = np.arange(len(q))
    distance = t[:, None] - t
    scores = q @ k.T / np.sqrt(q.shape[1])
    scores = np.where((distance >= 0) & (distance <= window), scores, -np.inf)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p @ v, p


check.attend(attend)


# %% exercise-2 wrong: excludes steps after the softmax
def attend(q, k, v, window):
    t = np.arange(len(q))
    distance = t[:, None] - t
    scores = q @ k.T / np.sqrt(q.shape[1])
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p = np.where((distance >= 0) & (distance < window), p, 0)
    return p @ v, p


check.attend(attend)


# %% exercise-2 wrong: excluded scores are 0
def attend(q, k, v, window):
    t = np.arange(len(q))
    distance = t[:, None] - t
    scores = q @ k.T / np.sqrt(q.shape[1])
    scores = np.where((distance >= 0) & (distance < window), scores, 0)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p @ v, p


check.attend(attend)


# %% exercise-2 wrong: without the square root
def attend(q, k, v, window):
    t = np.arange(len(q))
    distance = t[:, None] - t
    scores = np.where((distance >= 0) & (distance < window), q @ k.T, -np.inf)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p @ v, p


check.attend(attend)


# %% exercise-2 wrong: later steps are read
def attend(q, k, v, window):
    t = np.arange(len(q))
    distance = np.abs(t[:, None] - t)
    scores = q @ k.T / np.sqrt(q.shape[1])
    scores = np.where(distance < window, scores, -np.inf)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p @ v, p


check.attend(attend)


# %% exercise-3
# Exercise 3. The output of one step, and the past for the next one.
# With the current input at its end, the array begins with the oldest input that is read, and every
# d-th row belongs to a tap. Without its first row it is the past of the next step.
def step(x, past, W, b, d):
    read = np.concatenate([past, x[None]])
    output = b + sum(W[j] @ read[j * d] for j in range(len(W)))
    return output, read[1:]


check.step(step)


# %% exercise-3 wrong: the taps are reversed
def step(x, past, W, b, d):
    read = np.concatenate([past, x[None]])
    output = b + sum(W[j] @ read[len(read) - 1 - j * d] for j in range(len(W)))
    return output, read[1:]


check.step(step)


# %% exercise-3 wrong: ignores the dilation
def step(x, past, W, b, d):
    read = np.concatenate([past, x[None]])
    recent = read[len(read) - len(W) :]
    return b + sum(W[j] @ recent[j] for j in range(len(W))), read[1:]


check.step(step)


# %% exercise-3 wrong: the past does not move
def step(x, past, W, b, d):
    read = np.concatenate([past, x[None]])
    return b + sum(W[j] @ read[j * d] for j in range(len(W))), past


check.step(step)


# %% exercise-3 wrong: the newest input comes first
def step(x, past, W, b, d):
    read = np.concatenate([past, x[None]])
    output = b + sum(W[j] @ read[j * d] for j in range(len(W)))
    return output, np.concatenate([x[None], past])[: len(past)]


check.step(step)


# %% exercise-3 wrong: changes its argument
def step(x, past, W, b, d):
    read = np.concatenate([past, x[None]])
    past[:] = read[1:]
    return b + sum(W[j] @ read[j * d] for j in range(len(W))), past


check.step(step)
