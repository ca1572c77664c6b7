"""Answers to the exercises of notebook 4 (gates), and common wrong answers."""

# ruff: noqa: F821


# %% exercise-1
# Exercise 1. The largest layer within a budget of parameters.
# G (H I + H² + H) <= budget: increase H, or solve the quadratic equation and round down.
def units_for(budget, gates, inputs):
    H = 0
    while gates * ((H + 1) * inputs + (H + 1) ** 2 + (H + 1)) <= budget:
        H += 1
    return H


check.units_for(units_for)


# %% exercise-1 wrong: does not count the biases
def units_for(budget, gates, inputs):
    H = 0
    while gates * ((H + 1) * inputs + (H + 1) ** 2) <= budget:
        H += 1
    return H


check.units_for(units_for)


# %% exercise-1 wrong: one unit too few
def units_for(budget, gates, inputs):
    H = 0
    while gates * ((H + 1) * inputs + (H + 1) ** 2 + (H + 1)) < budget:
        H += 1
    return H


check.units_for(units_for)


# %% exercise-2
# Exercise 2. Weights for a GRU whose z means the opposite.
# The colleague's z must be equal to our 1 - z, and 1 - σ(s) = σ(-s). So the rows of z change their
# sign in all three arrays.
def convert(W_x, W_h, b):
    H = len(b) // 3
    sign = np.ones(3 * H)
    sign[H : 2 * H] = -1
    return sign[:, None] * W_x, sign[:, None] * W_h, sign * b


check.convert(convert)


# %% exercise-2 wrong: one minus the weights
def convert(W_x, W_h, b):
    H = len(b) // 3
    z, new = slice(H, 2 * H), [W_x.copy(), W_h.copy(), b.copy()]
    for array in new:
        array[z] = 1 - array[z]
    return tuple(new)


check.convert(convert)


# %% exercise-2 wrong: without the bias
def convert(W_x, W_h, b):
    H = len(b) // 3
    sign = np.ones(3 * H)
    sign[H : 2 * H] = -1
    return sign[:, None] * W_x, sign[:, None] * W_h, b.copy()


check.convert(convert)


# %% exercise-2 wrong: all rows change their sign
def convert(W_x, W_h, b):
    return -W_x, -W_h, -b


check.convert(convert)


# %% exercise-3
# Exercise 3. A one-unit LSTM that adds up what is marked.
# The input gate is 1 at marked steps and 0 at others. The forget gate and the output gate are 1 at
# all steps. tanh is nearly linear close to 0, so the unit adds a hundredth of each number, and
# `scale` is 100.
def weights():
    W_x = np.array([[0, 40], [0, 0], [0.01, 0], [0, 0]])  # i, f, g, o; number, mark
    W_h = np.zeros((4, 1))
    b = np.array([-20, 20, 0, 20])
    return W_x, W_h, b, 100


check.weights(weights)


# %% exercise-3 wrong: tanh is not linear for large sums
def weights():
    W_x = np.array([[0, 40], [0, 0], [1, 0], [0, 0]])
    return W_x, np.zeros((4, 1)), np.array([-20, 20, 0, 20]), 1


check.weights(weights)


# %% exercise-3 wrong: the forget bias of a new LSTM
def weights():
    W_x = np.array([[0, 40], [0, 0], [0.01, 0], [0, 0]])
    return W_x, np.zeros((4, 1)), np.array([-20, 1, 0, 20]), 100


check.weights(weights)


# %% exercise-3 wrong: writes all numbers
def weights():
    W_x = np.array([[0, 0], [0, 0], [0.01, 0], [0, 0]])
    return W_x, np.zeros((4, 1)), np.array([20, 20, 0, 20]), 100


check.weights(weights)
