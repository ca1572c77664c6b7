"""Answers to the exercises of notebook 1 (a unit with memory), and common wrong answers."""

# ruff: noqa: F821


# %% exercise-1
# The second call starts from the state that the first call returns; time is axis 1.
def in_two_pieces(layer, x, cut):
    first, state = layer(x[:, :cut])
    second, _ = layer(x[:, cut:], state)
    return np.concatenate([first, second], axis=1)


check.in_two_pieces(in_two_pieces)


# %% exercise-1 wrong: does not pass the state to the second call
def in_two_pieces(layer, x, cut):
    first, _ = layer(x[:, :cut])
    second, _ = layer(x[:, cut:])
    return np.concatenate([first, second], axis=1)


check.in_two_pieces(in_two_pieces)


# %% exercise-1 wrong: splits the batch axis instead of the time axis
def in_two_pieces(layer, x, cut):
    first, _ = layer(x[:cut])
    second, _ = layer(x[cut:])
    return np.concatenate([first, second], axis=0)


check.in_two_pieces(in_two_pieces)


# %% exercise-1 wrong: a list of two arrays
def in_two_pieces(layer, x, cut):
    first, state = layer(x[:, :cut])
    second, _ = layer(x[:, cut:], state)
    return [first, second]


check.in_two_pieces(in_two_pieces)


# %% exercise-2
# The state of a row changes only in its valid steps, t < lengths. `np.where` discards a nan that is
# computed from the padding; a product with 0 would keep it.
def last_states(W_x, W_h, b, x, lengths):
    B, T, _ = x.shape
    h = np.zeros((B, len(b)))
    for t in range(T):
        new = np.tanh(x[:, t] @ W_x.T + h @ W_h.T + b)
        h = np.where((t < lengths)[:, None], new, h)
    return h


check.last_states(last_states)


# %% exercise-2 wrong: the state after T steps
def last_states(W_x, W_h, b, x, lengths):
    h = np.zeros((len(x), len(b)))
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ W_x.T + h @ W_h.T + b)
    return h


check.last_states(last_states)


# %% exercise-2 wrong: reads zeros after the end
def last_states(W_x, W_h, b, x, lengths):
    h = np.zeros((len(x), len(b)))
    for t in range(x.shape[1]):
        x_t = np.where((t < lengths)[:, None], x[:, t], 0.0)
        h = np.tanh(x_t @ W_x.T + h @ W_h.T + b)
    return h


check.last_states(last_states)


# %% exercise-2 wrong: one step too many
def last_states(W_x, W_h, b, x, lengths):
    h = np.zeros((len(x), len(b)))
    for t in range(x.shape[1]):
        new = np.tanh(x[:, t] @ W_x.T + h @ W_h.T + b)
        h = np.where((t <= lengths)[:, None], new, h)
    return h


check.last_states(last_states)


# %% exercise-2 wrong: index -1 for the row of length 0
def last_states(W_x, W_h, b, x, lengths):
    h, states = np.zeros((len(x), len(b))), []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ W_x.T + h @ W_h.T + b)
        states.append(h)
    return np.array(states)[lengths - 1, np.arange(len(x))]


check.last_states(last_states)


# %% exercise-2 wrong: multiplies nan by 0
def last_states(W_x, W_h, b, x, lengths):
    h = np.zeros((len(x), len(b)))
    for t in range(x.shape[1]):
        valid = (t < lengths)[:, None]
        h = valid * np.tanh(x[:, t] @ W_x.T + h @ W_h.T + b) + (1 - valid) * h
    return h


check.last_states(last_states)


# %% exercise-3
# With w_h = 2 the stable state is h = tanh(2 h), about 0.96. The sum then contains 2 * 0.96 = 1.9
# from the state, so w_x = 4 is large enough: -4 + 1.9 = -2.1, and tanh(-2.1) is below -0.8. b = 0,
# because "on" and "off" are symmetric.
answer = (4.0, 2.0, 0.0)

check.switch(answer)

# %% exercise-3 wrong: the state decays
answer = (4.0, 0.9, 0.0)

check.switch(answer)

# %% exercise-3 wrong: the command does not change the sign
answer = (2.0, 4.0, 0.0)

check.switch(answer)

# %% exercise-3 wrong: the sign changes, but h is not far enough from 0
answer = (2.0, 2.0, 0.0)

check.switch(answer)

# %% exercise-3 wrong: keeps only one of the two states
answer = (4.0, 1.5, 1.0)

check.switch(answer)
