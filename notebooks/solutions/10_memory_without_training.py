"""Answers to the exercises of notebook 10 (memory without training), and common wrong answers."""
# ruff: noqa: F821


# %% exercise-1
# The old state has the factor 1 - a, the new value of tanh the factor a. All steps are computed;
# the first ones are left out at the end.
def last_states(x, W_x, W_h, b, leak, washout):
    h, found = np.zeros(len(W_h)), []
    for x_t in x:
        h = (1 - leak) * h + leak * np.tanh(W_x @ x_t + W_h @ h + b)
        found.append(h)
    return np.array(found)[washout:]


check.last_states(last_states)


# %% exercise-1 wrong: exchanges a and 1 - a
def last_states(x, W_x, W_h, b, leak, washout):
    h, found = np.zeros(len(W_h)), []
    for x_t in x:
        h = leak * h + (1 - leak) * np.tanh(W_x @ x_t + W_h @ h + b)
        found.append(h)
    return np.array(found)[washout:]


check.last_states(last_states)


# %% exercise-1 wrong: applies the leak inside tanh
def last_states(x, W_x, W_h, b, leak, washout):
    h, found = np.zeros(len(W_h)), []
    for x_t in x:
        h = np.tanh((1 - leak) * h + leak * (W_x @ x_t + W_h @ h + b))
        found.append(h)
    return np.array(found)[washout:]


check.last_states(last_states)


# %% exercise-1 wrong: begins at zero after the washout
def last_states(x, W_x, W_h, b, leak, washout):
    h, found = np.zeros(len(W_h)), []
    for x_t in x[washout:]:
        h = (1 - leak) * h + leak * np.tanh(W_x @ x_t + W_h @ h + b)
        found.append(h)
    return np.array(found)


check.last_states(last_states)


# %% exercise-1 wrong: returns all steps
def last_states(x, W_x, W_h, b, leak, washout):
    h, found = np.zeros(len(W_h)), []
    for x_t in x:
        h = (1 - leak) * h + leak * np.tanh(W_x @ x_t + W_h @ h + b)
        found.append(h)
    return np.array(found)


check.last_states(last_states)


# %% exercise-2
# With centred states and targets the bias drops out of the minimum, so the penalty does not reach
# it. Afterwards c makes the mean error zero.
def ridge(Z, Y, alpha):
    mean_z, mean_y = Z.mean(axis=0), Y.mean(axis=0)
    Z, Y = Z - mean_z, Y - mean_y
    W = np.linalg.solve(Z.T @ Z + alpha * np.eye(Z.shape[1]), Z.T @ Y).T
    return W, mean_y - W @ mean_z


check.ridge(ridge)


# %% exercise-2 wrong: penalises the bias
def ridge(Z, Y, alpha):
    Z = np.column_stack([Z, np.ones(len(Z))])
    W = np.linalg.solve(Z.T @ Z + alpha * np.eye(Z.shape[1]), Z.T @ Y).T
    return W[:, :-1], W[:, -1]


check.ridge(ridge)


# %% exercise-2 wrong: multiplies alpha by the number of steps
def ridge(Z, Y, alpha):
    mean_z, mean_y = Z.mean(axis=0), Y.mean(axis=0)
    Z, Y = Z - mean_z, Y - mean_y
    W = np.linalg.solve(Z.T @ Z + alpha * len(Z) * np.eye(Z.shape[1]), Z.T @ Y).T
    return W, mean_y - W @ mean_z


check.ridge(ridge)


# %% exercise-2 wrong: the bias is the mean of the targets
def ridge(Z, Y, alpha):
    centred = Z - Z.mean(axis=0)
    W = np.linalg.solve(
        centred.T @ centred + alpha * np.eye(Z.shape[1]), centred.T @ (Y - Y.mean(axis=0))
    ).T
    return W, Y.mean(axis=0)


check.ridge(ridge)


# %% exercise-2 wrong: W has the shape (H, K)
def ridge(Z, Y, alpha):
    mean_z, mean_y = Z.mean(axis=0), Y.mean(axis=0)
    Z, Y = Z - mean_z, Y - mean_y
    W = np.linalg.solve(Z.T @ Z + alpha * np.eye(Z.shape[1]), Z.T @ Y)
    return W, mean_y - mean_z @ W


check.ridge(ridge)


# %% exercise-3
# The state after the whole prime gives the first prediction. Each prediction is the next input, and
# the state is carried on.
def run_loop(network, prime, steps):
    W_x, W_h, b, W, c = (network[name] for name in ("W_x", "W_h", "b", "W", "c"))
    h = np.zeros(len(W_h))
    for value in prime:
        h = np.tanh(W_x[:, 0] * value + W_h @ h + b)
    found = []
    for _ in range(steps):
        y = (W @ h + c)[0]
        found.append(y)
        h = np.tanh(W_x[:, 0] * y + W_h @ h + b)
    return np.array(found)


check.run_loop(run_loop)


# %% exercise-3 wrong: reads the last value of the prime twice
def run_loop(network, prime, steps):
    W_x, W_h, b, W, c = (network[name] for name in ("W_x", "W_h", "b", "W", "c"))
    h = np.zeros(len(W_h))
    for value in prime:
        h = np.tanh(W_x[:, 0] * value + W_h @ h + b)
    y, found = prime[-1], []
    for _ in range(steps):
        h = np.tanh(W_x[:, 0] * y + W_h @ h + b)
        y = (W @ h + c)[0]
        found.append(y)
    return np.array(found)


check.run_loop(run_loop)


# %% exercise-3 wrong: reads only the last value of the prime
def run_loop(network, prime, steps):
    W_x, W_h, b, W, c = (network[name] for name in ("W_x", "W_h", "b", "W", "c"))
    h = np.tanh(W_x[:, 0] * prime[-1] + b)
    found = []
    for _ in range(steps):
        y = (W @ h + c)[0]
        found.append(y)
        h = np.tanh(W_x[:, 0] * y + W_h @ h + b)
    return np.array(found)


check.run_loop(run_loop)


# %% exercise-3 wrong: forgets the bias of the readout
def run_loop(network, prime, steps):
    W_x, W_h, b, W = (network[name] for name in ("W_x", "W_h", "b", "W"))
    h = np.zeros(len(W_h))
    for value in prime:
        h = np.tanh(W_x[:, 0] * value + W_h @ h + b)
    found = []
    for _ in range(steps):
        y = (W @ h)[0]
        found.append(y)
        h = np.tanh(W_x[:, 0] * y + W_h @ h + b)
    return np.array(found)


check.run_loop(run_loop)


# %% exercise-3 wrong: returns the prime, too
def run_loop(network, prime, steps):
    W_x, W_h, b, W, c = (network[name] for name in ("W_x", "W_h", "b", "W", "c"))
    h = np.zeros(len(W_h))
    for value in prime:
        h = np.tanh(W_x[:, 0] * value + W_h @ h + b)
    found = list(prime)
    for _ in range(steps):
        y = (W @ h + c)[0]
        found.append(y)
        h = np.tanh(W_x[:, 0] * y + W_h @ h + b)
    return np.array(found)


check.run_loop(run_loop)
