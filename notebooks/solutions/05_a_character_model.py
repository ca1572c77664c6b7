"""Answers to the exercises of notebook 5 (a character model), and common wrong answers."""

# ruff: noqa: F821


# %% exercise-1
# Subtract the largest logit of each step first: the softmax does not change, and exp does not
# overflow.
def bits_per_character(logits, target):
    z = logits - logits.max(axis=-1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    return -log_p[np.arange(len(target)), target].mean() / np.log(2)


check.bits(bits_per_character)


# %% exercise-1 wrong: in nats
def bits_per_character(logits, target):
    z = logits - logits.max(axis=-1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    return -log_p[np.arange(len(target)), target].mean()


check.bits(bits_per_character)


# %% exercise-1 wrong: overflows
def bits_per_character(logits, target):
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return -np.log2(p[np.arange(len(target)), target]).mean()


check.bits(bits_per_character)


# %% exercise-1 wrong: one softmax over all steps
def bits_per_character(logits, target):
    z = logits - logits.max()
    log_p = z - np.log(np.exp(z).sum())
    return -log_p[np.arange(len(target)), target].mean() / np.log(2)


check.bits(bits_per_character)


# %% exercise-1 wrong: the sum over the text
def bits_per_character(logits, target):
    z = logits - logits.max(axis=-1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    return -log_p[np.arange(len(target)), target].sum() / np.log(2)


check.bits(bits_per_character)


# %% exercise-2
# A symbol is in the nucleus if the probabilities of all likelier symbols have a sum below `share`.
def nucleus(p, share):
    order = np.argsort(-p)
    before = np.cumsum(p[order]) - p[order]
    kept = order[before < share]
    inside = np.zeros_like(p)
    inside[kept] = p[kept]
    return inside / inside.sum()


check.nucleus(nucleus)


# %% exercise-2 wrong: without the symbol that reaches the share
def nucleus(p, share):
    order = np.argsort(-p)
    kept = order[np.cumsum(p[order]) <= share]
    inside = np.zeros_like(p)
    inside[kept] = p[kept]
    return inside / max(inside.sum(), 1e-9)


check.nucleus(nucleus)


# %% exercise-2 wrong: the sum is not 1
def nucleus(p, share):
    order = np.argsort(-p)
    kept = order[np.cumsum(p[order]) - p[order] < share]
    inside = np.zeros_like(p)
    inside[kept] = p[kept]
    return inside


check.nucleus(nucleus)


# %% exercise-2 wrong: sorted by probability
def nucleus(p, share):
    ordered = -np.sort(-p)
    kept = np.where(np.cumsum(ordered) - ordered < share, ordered, 0)
    return kept / kept.sum()


check.nucleus(nucleus)


# %% exercise-2 wrong: a threshold for each probability
def nucleus(p, share):
    kept = np.where(p >= (1 - share) * p.max(), p, 0)
    return kept / kept.sum()


check.nucleus(nucleus)


# %% exercise-3
# The factors: the first letter after the start symbol, each next letter, and the stop symbol.
def log2_probability(model, vocabulary, name):
    x = vocabulary.encode([END_OF_LINE, *name, END_OF_LINE])
    logits, _ = model(x[None, :-1])
    z = logits[0].astype(np.float64)
    z -= z.max(axis=-1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    return log_p[np.arange(len(x) - 1), x[1:]].sum() / np.log(2)


check.name(log2_probability)


# %% exercise-3 wrong: without the stop symbol
def log2_probability(model, vocabulary, name):
    x = vocabulary.encode([END_OF_LINE, *name])
    logits, _ = model(x[None, :-1])
    return -cross_entropy(logits, x[None, 1:])[0] * len(name) * BITS


check.name(log2_probability)


# %% exercise-3 wrong: without the first letter
def log2_probability(model, vocabulary, name):
    x = vocabulary.encode([*name, END_OF_LINE])
    logits, _ = model(x[None, :-1])
    return -cross_entropy(logits, x[None, 1:])[0] * len(name) * BITS


check.name(log2_probability)


# %% exercise-3 wrong: the mean
def log2_probability(model, vocabulary, name):
    x = vocabulary.encode([END_OF_LINE, *name, END_OF_LINE])
    logits, _ = model(x[None, :-1])
    return -cross_entropy(logits, x[None, 1:])[0] * BITS


check.name(log2_probability)
