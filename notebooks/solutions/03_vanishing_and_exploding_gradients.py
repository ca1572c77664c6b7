"""Solutions of the notebook on vanishing and exploding gradients, and usual mistakes."""

# ruff: noqa: F821


# One norm over all arrays gives one factor for all of them; min(1, ...) leaves short gradients
# alone.
# %% exercise-1
# Exercise 1. Clip gradients by their norm, all together.
def clip(grads, limit):
    norm = np.sqrt(sum((grad**2).sum() for grad in grads))
    factor = min(1.0, limit / (norm + 1e-6))
    return [factor * grad for grad in grads]


check.clip(clip)


# %% exercise-1 wrong: each array by its own norm
def clip(grads, limit):
    return [grad * min(1.0, limit / (np.linalg.norm(grad) + 1e-6)) for grad in grads]


check.clip(clip)


# %% exercise-1 wrong: always scales, also what is short
def clip(grads, limit):
    norm = np.sqrt(sum((grad**2).sum() for grad in grads))
    return [grad * limit / (norm + 1e-6) for grad in grads]


check.clip(clip)


# %% exercise-1 wrong: entry by entry
def clip(grads, limit):
    return [np.clip(grad, -limit, limit) for grad in grads]


check.clip(clip)


# %% exercise-1 wrong: zero divided by zero
def clip(grads, limit):
    norm = np.sqrt(sum((grad**2).sum() for grad in grads))
    return [grad / norm * min(norm, limit) for grad in grads]


check.clip(clip)


# Going back from the last step, each Jacobian joins the product on the right. The slope 1 - h² is
# that of the step's output, so it scales the rows of W_h.
# %% exercise-2
# Exercise 2. Norms of the products of Jacobians, from the states of a tanh network.
def norms(W_h, h):
    product, found = np.eye(len(W_h)), [1.0]
    for t in range(len(h) - 1, 0, -1):
        product = product @ ((1 - h[t] ** 2)[:, None] * W_h)
        found.insert(0, np.linalg.norm(product, 2))
    return np.array(found)


check.norms(norms)


# %% exercise-2 wrong: the slope scales columns
def norms(W_h, h):
    product, found = np.eye(len(W_h)), [1.0]
    for t in range(len(h) - 1, 0, -1):
        product = product @ ((1 - h[t] ** 2) * W_h)
        found.insert(0, np.linalg.norm(product, 2))
    return np.array(found)


check.norms(norms)


# %% exercise-2 wrong: factors in the wrong order
def norms(W_h, h):
    product, found = np.eye(len(W_h)), [1.0]
    for t in range(len(h) - 1, 0, -1):
        product = ((1 - h[t] ** 2)[:, None] * W_h) @ product
        found.insert(0, np.linalg.norm(product, 2))
    return np.array(found)


check.norms(norms)


# %% exercise-2 wrong: Frobenius norms
def norms(W_h, h):
    product, found = np.eye(len(W_h)), [1.0]
    for t in range(len(h) - 1, 0, -1):
        product = product @ ((1 - h[t] ** 2)[:, None] * W_h)
        found.insert(0, np.linalg.norm(product))
    return np.array(found)


check.norms(norms)


# %% exercise-2 wrong: a product of norms
def norms(W_h, h):
    found = [1.0]
    for t in range(len(h) - 1, 0, -1):
        found.insert(0, found[0] * np.linalg.norm((1 - h[t] ** 2)[:, None] * W_h, 2))
    return np.array(found)


check.norms(norms)


# What is left after n steps is f to the n, so f is the n-th root of the fraction, and the bias is
# where the logistic function has this value: ln(f / (1 - f)).
# %% exercise-3
# Exercise 3. The forget bias for a memory of a given length.
def bias_for(steps, fraction):
    f = fraction ** (1 / steps)
    return np.log(f / (1 - f))


check.bias_for(bias_for)


# %% exercise-3 wrong: the gate, not its bias
def bias_for(steps, fraction):
    return fraction ** (1 / steps)


check.bias_for(bias_for)


# %% exercise-3 wrong: lost linearly
def bias_for(steps, fraction):
    f = 1 - (1 - fraction) / steps
    return np.log(f / (1 - f))


check.bias_for(bias_for)


# %% exercise-3 wrong: an array of one number
def bias_for(steps, fraction):
    f = fraction ** (1 / steps)
    return np.log([f / (1 - f)])


check.bias_for(bias_for)
