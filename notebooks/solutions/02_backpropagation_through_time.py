"""Solutions of notebook 2, backpropagation through time, and the usual mistakes."""

# ruff: noqa: F821


# %% exercise-1
# Only the slope is another one: 1 where h is above 0, and 0 where it is not. That h goes two ways
# is a matter of the network, not of the activation.
def back_one_step(V, W_h, h, do, ds_next):
    dh = V.T @ do + W_h.T @ ds_next
    return dh, dh * (h > 0)


check.back_one_step(back_one_step)


# %% exercise-1 wrong: the slope of the tanh
def back_one_step(V, W_h, h, do, ds_next):
    dh = V.T @ do + W_h.T @ ds_next
    return dh, dh * (1 - h**2)


check.back_one_step(back_one_step)


# %% exercise-1 wrong: forgets the transpose
def back_one_step(V, W_h, h, do, ds_next):
    dh = V.T @ do + W_h @ ds_next
    return dh, dh * (h > 0)


check.back_one_step(back_one_step)


# %% exercise-1 wrong: forgets the next step
def back_one_step(V, W_h, h, do, ds_next):
    dh = V.T @ do
    return dh, dh * (h > 0)


check.back_one_step(back_one_step)


# %% exercise-2
# The change at step k meets the Jacobian of step k + 1 first, so later ones go to the left. For
# k = T the loop does nothing: the identity.
def long_jacobian(W_h, h, k):
    product = np.eye(len(W_h))
    for j in range(k + 1, len(h)):
        product = np.diag(1 - h[j] ** 2) @ W_h @ product
    return product


check.long_jacobian(long_jacobian)


# %% exercise-2 wrong: the order of the factors
def long_jacobian(W_h, h, k):
    product = np.eye(len(W_h))
    for j in range(k + 1, len(h)):
        product = product @ np.diag(1 - h[j] ** 2) @ W_h
    return product


check.long_jacobian(long_jacobian)


# %% exercise-2 wrong: a factor too many
def long_jacobian(W_h, h, k):
    product = np.eye(len(W_h))
    for j in range(k, len(h)):
        product = np.diag(1 - h[j] ** 2) @ W_h @ product
    return product


check.long_jacobian(long_jacobian)


# %% exercise-2 wrong: no slopes
def long_jacobian(W_h, h, k):
    return np.linalg.matrix_power(W_h, len(h) - 1 - k)


check.long_jacobian(long_jacobian)


# %% exercise-3
# From a loss at the end of its window, k2 steps back must cover the loss's own step and lag more.
# A loss at the window's beginning has k1 - 1 steps of the window behind it, which count as well.
def smallest_k2(lag, k1):
    return lag + 1, lag + k1


check.smallest_k2(smallest_k2)


# %% exercise-3 wrong: does not count the loss's own step
def smallest_k2(lag, k1):
    return lag, lag + k1 - 1


check.smallest_k2(smallest_k2)


# %% exercise-3 wrong: forgets that windows have a beginning
def smallest_k2(lag, k1):
    return lag + 1, lag + 1


check.smallest_k2(smallest_k2)
