"""Solutions of notebook 1, a unit with memory, and the usual mistakes."""

# ruff: noqa: F821


# %% exercise-1
# The state that the first call returns is where the second one begins; time is axis 1.
def in_two_pieces(layer, x, cut):
    first, state = layer(x[:, :cut])
    second, _ = layer(x[:, cut:], state)
    return np.concatenate([first, second], axis=1)


check.in_two_pieces(in_two_pieces)


# %% exercise-1 wrong: does not hand the state on
def in_two_pieces(layer, x, cut):
    first, _ = layer(x[:, :cut])
    second, _ = layer(x[:, cut:])
    return np.concatenate([first, second], axis=1)


check.in_two_pieces(in_two_pieces)


# %% exercise-1 wrong: cuts the batch instead of time
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
# A row moves on only while t is before its end. `np.where` chooses, so that a nan that was computed
# for a row at rest is thrown away; a product with 0 would keep it.
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


# %% exercise-2 wrong: reads zeros past the end
def last_states(W_x, W_h, b, x, lengths):
    h = np.zeros((len(x), len(b)))
    for t in range(x.shape[1]):
        read = np.where((t < lengths)[:, None], x[:, t], 0.0)
        h = np.tanh(read @ W_x.T + h @ W_h.T + b)
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


# %% exercise-2 wrong: nan times 0
def last_states(W_x, W_h, b, x, lengths):
    h = np.zeros((len(x), len(b)))
    for t in range(x.shape[1]):
        reads = (t < lengths)[:, None]
        h = reads * np.tanh(x[:, t] @ W_x.T + h @ W_h.T + b) + (1 - reads) * h
    return h


check.last_states(last_states)


# %% exercise-3
# With w_h = 2 the state rests at h* = tanh(2 h*), some 0.96. There the past puts 2 x 0.96 into the
# sum, so w_x = 4 turns it: -4 + 1.9 = -2.1, and tanh(-2.1) is below -0.8. The bias stays 0, as on
# and off are alike.
answer = (4.0, 2.0, 0.0)

check.switch(answer)

# %% exercise-3 wrong: forgets
answer = (4.0, 0.9, 0.0)

check.switch(answer)

# %% exercise-3 wrong: does not listen
answer = (2.0, 4.0, 0.0)

check.switch(answer)

# %% exercise-3 wrong: turns, but not far enough
answer = (2.0, 2.0, 0.0)

check.switch(answer)

# %% exercise-3 wrong: holds one side only
answer = (4.0, 1.5, 1.0)

check.switch(answer)
