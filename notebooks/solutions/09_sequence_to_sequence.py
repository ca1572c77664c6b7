"""Answers to the exercises of notebook 9, and wrong ones that the checks must tell from them."""
# ruff: noqa: F821

# Scores of what is not there are -inf, so their weights are 0; an empty row is kept from 0 / 0.


# %% exercise-1
# Exercise 1. Scores h · e_s, a softmax over the steps that are there, the weighted mean.
def dot_attention(h, e, lengths):
    scores = np.einsum("bp,bsp->bs", h, e)
    there = np.arange(e.shape[1]) < np.asarray(lengths)[:, None]
    top = np.where(there, scores, -np.inf).max(axis=1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    shares = np.where(there, np.exp(np.where(there, scores - top, 0)), 0)
    total = shares.sum(axis=1, keepdims=True)
    weights = shares / np.where(total == 0, 1, total)
    return np.einsum("bs,bsp->bp", weights, e), weights


check.dot_attention(dot_attention)


# %% exercise-1 wrong: looks into the padding
# Exercise 1. Scores h · e_s, a softmax over the steps that are there, the weighted mean.
def dot_attention(h, e, lengths):
    scores = np.einsum("bp,bsp->bs", h, e)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = shares / shares.sum(axis=1, keepdims=True)
    return np.einsum("bs,bsp->bp", weights, e), weights


check.dot_attention(dot_attention)


# %% exercise-1 wrong: the padding is left out after the softmax
# Exercise 1. Scores h · e_s, a softmax over the steps that are there, the weighted mean.
def dot_attention(h, e, lengths):
    scores = np.einsum("bp,bsp->bs", h, e)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = shares / shares.sum(axis=1, keepdims=True)
    weights = np.where(np.arange(e.shape[1]) < lengths[:, None], weights, 0)
    return np.einsum("bs,bsp->bp", weights, e), weights


check.dot_attention(dot_attention)


# %% exercise-1 wrong: the softmax runs over the batch
# Exercise 1. Scores h · e_s, a softmax over the steps that are there, the weighted mean.
def dot_attention(h, e, lengths):
    scores = np.einsum("bp,bsp->bs", h, e)
    shares = np.where(np.arange(e.shape[1]) < lengths[:, None], np.exp(scores - scores.max()), 0)
    weights = shares / shares.sum(axis=0)
    return np.einsum("bs,bsp->bp", weights, e), weights


check.dot_attention(dot_attention)


# Logits become log-probabilities with log-sum-exp; a step counts while no stop stands before it.


# %% exercise-2
# Exercise 2. The log-probability of each row.
def scores_of(logits, tokens, stop):
    logs = logits - logits.max(axis=-1, keepdims=True)
    logs = logs - np.log(np.exp(logs).sum(axis=-1, keepdims=True))
    chosen = np.take_along_axis(logs, tokens[..., None], axis=-1)[..., 0]
    stops_before = np.cumsum(tokens == stop, axis=1) - (tokens == stop)
    return np.where(stops_before == 0, chosen, 0).sum(axis=1)


check.scores_of(scores_of)


# %% exercise-2 wrong: counts what stands behind the stop
# Exercise 2. The log-probability of each row.
def scores_of(logits, tokens, stop):
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return np.take_along_axis(logs, tokens[..., None], axis=-1)[..., 0].sum(axis=1)


check.scores_of(scores_of)


# %% exercise-2 wrong: forgets the stop itself
# Exercise 2. The log-probability of each row.
def scores_of(logits, tokens, stop):
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    chosen = np.take_along_axis(logs, tokens[..., None], axis=-1)[..., 0]
    return np.where(np.cumsum(tokens == stop, axis=1) == 0, chosen, 0).sum(axis=1)


check.scores_of(scores_of)


# %% exercise-2 wrong: takes logits for log-probabilities
# Exercise 2. The log-probability of each row.
def scores_of(logits, tokens, stop):
    chosen = np.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    stops_before = np.cumsum(tokens == stop, axis=1) - (tokens == stop)
    return np.where(stops_before == 0, chosen, 0).sum(axis=1)


check.scores_of(scores_of)


# All continuations of all hypotheses compete; finished ones stand among them as they are.


# %% exercise-3
# Exercise 3. Beam search over anything that gives log-probabilities of the next symbol.
def beam_search(log_shares, stop, beam, max_steps):
    kept = [(0.0, [])]
    for _ in range(max_steps):
        grown = []
        for score, tokens in kept:
            if tokens and tokens[-1] == stop:
                grown.append((score, tokens))
            else:
                logs = log_shares(tokens)
                grown += [(score + log, [*tokens, k]) for k, log in enumerate(logs)]
        kept = sorted(grown, key=lambda item: item[0], reverse=True)[:beam]
    return kept[0][1]


check.beam_search(beam_search)


# %% exercise-3 wrong: each hypothesis keeps its best continuation only
# Exercise 3. Beam search over anything that gives log-probabilities of the next symbol.
def beam_search(log_shares, stop, beam, max_steps):
    first = log_shares([])
    kept = [(first[k], [int(k)]) for k in np.argsort(-first)[:beam]]
    for _ in range(max_steps - 1):
        grown = []
        for score, tokens in kept:
            if tokens[-1] == stop:
                grown.append((score, tokens))
            else:
                logs = log_shares(tokens)
                grown.append((score + logs.max(), [*tokens, int(logs.argmax())]))
        kept = sorted(grown, key=lambda item: item[0], reverse=True)
    return kept[0][1]


check.beam_search(beam_search)


# %% exercise-3 wrong: the first answer that ends is taken
# Exercise 3. Beam search over anything that gives log-probabilities of the next symbol.
def beam_search(log_shares, stop, beam, max_steps):
    kept = [(0.0, [])]
    for _ in range(max_steps):
        grown = []
        for score, tokens in kept:
            logs = log_shares(tokens)
            grown += [(score + log, [*tokens, k]) for k, log in enumerate(logs)]
        kept = sorted(grown, key=lambda item: item[0], reverse=True)[:beam]
        for _, tokens in kept:
            if tokens[-1] == stop:
                return tokens
    return kept[0][1]


check.beam_search(beam_search)


# %% exercise-3 wrong: goes on behind the stop
# Exercise 3. Beam search over anything that gives log-probabilities of the next symbol.
def beam_search(log_shares, stop, beam, max_steps):
    kept = [(0.0, [])]
    for _ in range(max_steps):
        grown = []
        for score, tokens in kept:
            logs = log_shares(tokens)
            grown += [(score + log, [*tokens, k]) for k, log in enumerate(logs)]
        kept = sorted(grown, key=lambda item: item[0], reverse=True)[:beam]
    return kept[0][1]


check.beam_search(beam_search)
