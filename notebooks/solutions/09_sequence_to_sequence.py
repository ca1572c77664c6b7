"""Answers to the exercises of notebook 9 (sequence to sequence), and common wrong answers."""
# ruff: noqa: F821


# %% exercise-1
# Exercise 1. Scores h · e_s, a softmax over the steps that are there, the weighted mean.
# The weights of the padding are 0. A row of length 0 has the sum 0: divide it by 1 instead.
def dot_attention(h, e, lengths):
    scores = np.einsum("bp,bsp->bs", h, e)
    valid = np.arange(e.shape[1]) < np.asarray(lengths)[:, None]
    top = np.where(valid, scores, -np.inf).max(axis=1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    exponentials = np.where(valid, np.exp(np.where(valid, scores - top, 0)), 0)
    total = exponentials.sum(axis=1, keepdims=True)
    weights = exponentials / np.where(total == 0, 1, total)
    return np.einsum("bs,bsp->bp", weights, e), weights


check.dot_attention(dot_attention)


# %% exercise-1 wrong: the softmax includes the padding
# Exercise 1. Scores h · e_s, a softmax over the steps that are there, the weighted mean.
def dot_attention(h, e, lengths):
    scores = np.einsum("bp,bsp->bs", h, e)
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = exponentials / exponentials.sum(axis=1, keepdims=True)
    return np.einsum("bs,bsp->bp", weights, e), weights


check.dot_attention(dot_attention)


# %% exercise-1 wrong: sets the weights of the padding to 0 after the softmax
# Exercise 1. Scores h · e_s, a softmax over the steps that are there, the weighted mean.
def dot_attention(h, e, lengths):
    scores = np.einsum("bp,bsp->bs", h, e)
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = exponentials / exponentials.sum(axis=1, keepdims=True)
    weights = np.where(np.arange(e.shape[1]) < lengths[:, None], weights, 0)
    return np.einsum("bs,bsp->bp", weights, e), weights


check.dot_attention(dot_attention)


# %% exercise-1 wrong: the softmax is over the batch
# Exercise 1. Scores h · e_s, a softmax over the steps that are there, the weighted mean.
def dot_attention(h, e, lengths):
    scores = np.einsum("bp,bsp->bs", h, e)
    exponentials = np.where(
        np.arange(e.shape[1]) < lengths[:, None], np.exp(scores - scores.max()), 0
    )
    weights = exponentials / exponentials.sum(axis=0)
    return np.einsum("bs,bsp->bp", weights, e), weights


check.dot_attention(dot_attention)


# %% exercise-2
# Exercise 2. The log-probability of each row.
# Subtract the log-sum-exp from the logits to get log-probabilities. A step counts if no symbol
# before it is a stop.
def scores_of(logits, tokens, stop):
    logs = logits - logits.max(axis=-1, keepdims=True)
    logs = logs - np.log(np.exp(logs).sum(axis=-1, keepdims=True))
    chosen = np.take_along_axis(logs, tokens[..., None], axis=-1)[..., 0]
    stops_before = np.cumsum(tokens == stop, axis=1) - (tokens == stop)
    return np.where(stops_before == 0, chosen, 0).sum(axis=1)


check.scores_of(scores_of)


# %% exercise-2 wrong: counts symbols after the stop
# Exercise 2. The log-probability of each row.
def scores_of(logits, tokens, stop):
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return np.take_along_axis(logs, tokens[..., None], axis=-1)[..., 0].sum(axis=1)


check.scores_of(scores_of)


# %% exercise-2 wrong: does not count the stop
# Exercise 2. The log-probability of each row.
def scores_of(logits, tokens, stop):
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    chosen = np.take_along_axis(logs, tokens[..., None], axis=-1)[..., 0]
    return np.where(np.cumsum(tokens == stop, axis=1) == 0, chosen, 0).sum(axis=1)


check.scores_of(scores_of)


# %% exercise-2 wrong: uses logits as log-probabilities
# Exercise 2. The log-probability of each row.
def scores_of(logits, tokens, stop):
    chosen = np.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    stops_before = np.cumsum(tokens == stop, axis=1) - (tokens == stop)
    return np.where(stops_before == 0, chosen, 0).sum(axis=1)


check.scores_of(scores_of)


# %% exercise-3
# Exercise 3. Beam search over anything that gives log-probabilities of the next symbol.
# Keep the best of all continuations of all hypotheses; finished hypotheses are candidates, too.
def beam_search(log_shares, stop, beam, max_steps):
    kept = [(0.0, [])]
    for _ in range(max_steps):
        candidates = []
        for score, tokens in kept:
            if tokens and tokens[-1] == stop:
                candidates.append((score, tokens))
            else:
                logs = log_shares(tokens)
                candidates += [(score + log, [*tokens, k]) for k, log in enumerate(logs)]
        kept = sorted(candidates, key=lambda item: item[0], reverse=True)[:beam]
    return kept[0][1]


check.beam_search(beam_search)


# %% exercise-3 wrong: continues each hypothesis with its best symbol only
# Exercise 3. Beam search over anything that gives log-probabilities of the next symbol.
def beam_search(log_shares, stop, beam, max_steps):
    first = log_shares([])
    kept = [(first[k], [int(k)]) for k in np.argsort(-first)[:beam]]
    for _ in range(max_steps - 1):
        candidates = []
        for score, tokens in kept:
            if tokens[-1] == stop:
                candidates.append((score, tokens))
            else:
                logs = log_shares(tokens)
                candidates.append((score + logs.max(), [*tokens, int(logs.argmax())]))
        kept = sorted(candidates, key=lambda item: item[0], reverse=True)
    return kept[0][1]


check.beam_search(beam_search)


# %% exercise-3 wrong: returns the first hypothesis that is finished
# Exercise 3. Beam search over anything that gives log-probabilities of the next symbol.
def beam_search(log_shares, stop, beam, max_steps):
    kept = [(0.0, [])]
    for _ in range(max_steps):
        candidates = []
        for score, tokens in kept:
            logs = log_shares(tokens)
            candidates += [(score + log, [*tokens, k]) for k, log in enumerate(logs)]
        kept = sorted(candidates, key=lambda item: item[0], reverse=True)[:beam]
        for _, tokens in kept:
            if tokens[-1] == stop:
                return tokens
    return kept[0][1]


check.beam_search(beam_search)


# %% exercise-3 wrong: continues finished hypotheses
# Exercise 3. Beam search over anything that gives log-probabilities of the next symbol.
def beam_search(log_shares, stop, beam, max_steps):
    kept = [(0.0, [])]
    for _ in range(max_steps):
        candidates = []
        for score, tokens in kept:
            logs = log_shares(tokens)
            candidates += [(score + log, [*tokens, k]) for k, log in enumerate(logs)]
        kept = sorted(candidates, key=lambda item: item[0], reverse=True)[:beam]
    return kept[0][1]


check.beam_search(beam_search)
