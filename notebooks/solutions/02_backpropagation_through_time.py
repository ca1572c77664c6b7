"""Answers to the exercises of notebook 2 (BPTT), and common wrong answers."""

# ruff: noqa: F821


# %% exercise-1
# Only the slope changes: 1 where h is above 0, and 0 elsewhere. dh has the same two terms as with
# tanh, because they do not depend on the activation.
def back_one_step(V, W_h, h, do, ds_next):
    dh = V.T @ do + W_h.T @ ds_next
    return dh, dh * (h > 0)


check.back_one_step(back_one_step)


# %% exercise-1 wrong: the slope of the tanh
def back_one_step(V, W_h, h, do, ds_next):
    dh = V.T @ do + W_h.T @ ds_next
    return dh, dh * (1 - h**2)


check.back_one_step(back_one_step)


# %% exercise-1 wrong: without the transpose
def back_one_step(V, W_h, h, do, ds_next):
    dh = V.T @ do + W_h @ ds_next
    return dh, dh * (h > 0)


check.back_one_step(back_one_step)


# %% exercise-1 wrong: without the term from the next step
def back_one_step(V, W_h, h, do, ds_next):
    dh = V.T @ do
    return dh, dh * (h > 0)


check.back_one_step(back_one_step)


# %% exercise-2
# A change of h_k is first multiplied by the Jacobian of step k + 1, so later Jacobians are on the
# left. For k = T the loop has no iteration, and the result is the identity.
def long_jacobian(W_h, h, k):
    product = np.eye(len(W_h))
    for j in range(k + 1, len(h)):
        product = np.diag(1 - h[j] ** 2) @ W_h @ product
    return product


check.long_jacobian(long_jacobian)


# %% exercise-2 wrong: the order of the factors is reversed
def long_jacobian(W_h, h, k):
    product = np.eye(len(W_h))
    for j in range(k + 1, len(h)):
        product = product @ np.diag(1 - h[j] ** 2) @ W_h
    return product


check.long_jacobian(long_jacobian)


# %% exercise-2 wrong: one factor too many
def long_jacobian(W_h, h, k):
    product = np.eye(len(W_h))
    for j in range(k, len(h)):
        product = np.diag(1 - h[j] ** 2) @ W_h @ product
    return product


check.long_jacobian(long_jacobian)


# %% exercise-2 wrong: without the slopes
def long_jacobian(W_h, h, k):
    return np.linalg.matrix_power(W_h, len(h) - 1 - k)


check.long_jacobian(long_jacobian)


# %% exercise-3
# The k2 steps end at the last step of the window. For a loss at this step they must contain the
# step of the loss and `lag` steps before it. For a loss at the first step of the window they also
# contain the k1 - 1 later steps.
def smallest_k2(lag, k1):
    return lag + 1, lag + k1


check.smallest_k2(smallest_k2)


# %% exercise-3 wrong: does not count the step of the loss
def smallest_k2(lag, k1):
    return lag, lag + k1 - 1


check.smallest_k2(smallest_k2)


# %% exercise-3 wrong: does not count the later steps of the window
def smallest_k2(lag, k1):
    return lag + 1, lag + 1


check.smallest_k2(smallest_k2)
