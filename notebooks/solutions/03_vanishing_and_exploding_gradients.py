"""Answers to the exercises of notebook 3 (vanishing gradients), and common wrong answers."""

# ruff: noqa: F821


# %% exercise-1
# Exercise 1. Clip gradients by their norm, all together.
# The norm of all arrays together gives one factor for all of them. min(1, ...) leaves gradients
# whose norm is below the limit unchanged.
def clip(grads, limit):
    norm = np.sqrt(sum((grad**2).sum() for grad in grads))
    factor = min(1.0, limit / (norm + 1e-6))
    return [factor * grad for grad in grads]


check.clip(clip)


# %% exercise-1 wrong: clips each array by its own norm
def clip(grads, limit):
    return [grad * min(1.0, limit / (np.linalg.norm(grad) + 1e-6)) for grad in grads]


check.clip(clip)


# %% exercise-1 wrong: scales short gradients, too
def clip(grads, limit):
    norm = np.sqrt(sum((grad**2).sum() for grad in grads))
    return [grad * limit / (norm + 1e-6) for grad in grads]


check.clip(clip)


# %% exercise-1 wrong: clips each entry
def clip(grads, limit):
    return [np.clip(grad, -limit, limit) for grad in grads]


check.clip(clip)


# %% exercise-1 wrong: divides zero by zero
def clip(grads, limit):
    norm = np.sqrt(sum((grad**2).sum() for grad in grads))
    return [grad / norm * min(norm, limit) for grad in grads]


check.clip(clip)


# %% exercise-2
# Exercise 2. Norms of the products of Jacobians, from the states of a tanh network.
# From the last step back to the first one, each Jacobian is multiplied on the right. The slope
# 1 - h² of a unit multiplies its row of W_h.
def norms(W_h, h):
    product, result = np.eye(len(W_h)), [1.0]
    for t in range(len(h) - 1, 0, -1):
        product = product @ ((1 - h[t] ** 2)[:, None] * W_h)
        result.insert(0, np.linalg.norm(product, 2))
    return np.array(result)


check.norms(norms)


# %% exercise-2 wrong: the slope multiplies columns
def norms(W_h, h):
    product, result = np.eye(len(W_h)), [1.0]
    for t in range(len(h) - 1, 0, -1):
        product = product @ ((1 - h[t] ** 2) * W_h)
        result.insert(0, np.linalg.norm(product, 2))
    return np.array(result)


check.norms(norms)


# %% exercise-2 wrong: the order of the factors is reversed
def norms(W_h, h):
    product, result = np.eye(len(W_h)), [1.0]
    for t in range(len(h) - 1, 0, -1):
        product = ((1 - h[t] ** 2)[:, None] * W_h) @ product
        result.insert(0, np.linalg.norm(product, 2))
    return np.array(result)


check.norms(norms)


# %% exercise-2 wrong: Frobenius norms
def norms(W_h, h):
    product, result = np.eye(len(W_h)), [1.0]
    for t in range(len(h) - 1, 0, -1):
        product = product @ ((1 - h[t] ** 2)[:, None] * W_h)
        result.insert(0, np.linalg.norm(product))
    return np.array(result)


check.norms(norms)


# %% exercise-2 wrong: a product of norms
def norms(W_h, h):
    result = [1.0]
    for t in range(len(h) - 1, 0, -1):
        result.insert(0, result[0] * np.linalg.norm((1 - h[t] ** 2)[:, None] * W_h, 2))
    return np.array(result)


check.norms(norms)


# %% exercise-3
# Exercise 3. The forget bias for a memory of a given length.
# After n steps the fraction f to the power of n is left, so f is the n-th root of the fraction. The
# logistic function has the value f at the bias ln(f / (1 - f)).
def bias_for(steps, fraction):
    f = fraction ** (1 / steps)
    return np.log(f / (1 - f))


check.bias_for(bias_for)


# %% exercise-3 wrong: the gate, not its bias
def bias_for(steps, fraction):
    return fraction ** (1 / steps)


check.bias_for(bias_for)


# %% exercise-3 wrong: a linear decay
def bias_for(steps, fraction):
    f = 1 - (1 - fraction) / steps
    return np.log(f / (1 - f))


check.bias_for(bias_for)


# %% exercise-3 wrong: an array of one number
def bias_for(steps, fraction):
    f = fraction ** (1 / steps)
    return np.log([f / (1 - f)])


check.bias_for(bias_for)
