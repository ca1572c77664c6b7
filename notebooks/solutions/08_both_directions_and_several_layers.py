"""Answers to the exercises of notebook 8, and wrong ones that the checks must tell from them."""
# ruff: noqa: F821

# Index each row with its own last steps; everything past the length stays.


# %% exercise-1
# Exercise 1. Each row's own steps in reverse; the padding stays.
def reverse_rows(x, lengths):  # x (B, T, I), lengths (B,)
    turned = x.copy()
    for row, end in enumerate(lengths):
        turned[row, :end] = x[row, :end][::-1]
    return turned


check.reverse_rows(reverse_rows)


# %% exercise-1 wrong: turns the whole array around
# Exercise 1. Each row's own steps in reverse; the padding stays.
def reverse_rows(x, lengths):  # x (B, T, I), lengths (B,)
    return x[:, ::-1]


check.reverse_rows(reverse_rows)


# %% exercise-1 wrong: works in x itself
# Exercise 1. Each row's own steps in reverse; the padding stays.
def reverse_rows(x, lengths):  # x (B, T, I), lengths (B,)
    for row, end in enumerate(lengths):
        x[row, :end] = x[row, :end][::-1].copy()
    return x


check.reverse_rows(reverse_rows)


# %% exercise-1 wrong: clears the padding
# Exercise 1. Each row's own steps in reverse; the padding stays.
def reverse_rows(x, lengths):  # x (B, T, I), lengths (B,)
    turned = np.zeros_like(x)
    for row, end in enumerate(lengths):
        turned[row, :end] = x[row, :end][::-1]
    return turned


check.reverse_rows(reverse_rows)

# The chain rule for each form of y; a product hands each factor what the other one is.


# %% exercise-2
# Exercise 2. The gradient of each direction, for "concat", "sum", "mean" and "mul".
def unmerge(merge, dy, h_forward, h_backward):  # (B, T, H) each; dy (B, T, 2H) for "concat"
    if merge == "concat":
        return tuple(np.split(dy, 2, axis=2))
    if merge == "mul":
        return dy * h_backward, dy * h_forward
    share = dy / 2 if merge == "mean" else dy
    return share, share


check.unmerge(unmerge)


# %% exercise-2 wrong: the factors are exchanged
# Exercise 2. The gradient of each direction, for "concat", "sum", "mean" and "mul".
def unmerge(merge, dy, h_forward, h_backward):  # (B, T, H) each; dy (B, T, 2H) for "concat"
    if merge == "concat":
        return tuple(np.split(dy, 2, axis=2))
    if merge == "mul":
        return dy * h_forward, dy * h_backward
    share = dy / 2 if merge == "mean" else dy
    return share, share


check.unmerge(unmerge)


# %% exercise-2 wrong: the mean is taken for a sum
# Exercise 2. The gradient of each direction, for "concat", "sum", "mean" and "mul".
def unmerge(merge, dy, h_forward, h_backward):  # (B, T, H) each; dy (B, T, 2H) for "concat"
    if merge == "concat":
        return tuple(np.split(dy, 2, axis=2))
    return (dy * h_backward, dy * h_forward) if merge == "mul" else (dy, dy)


check.unmerge(unmerge)

# What is seen is the left side with the first k words on the right; the rest is as for the bounds.


# %% exercise-3
# Exercise 3. The highest accuracy with a delay of k words.
def best_with_delay(sentences, k):
    table = {}
    for left, word, right, p in sentences:
        row = table.setdefault((left, *right.split()[:k]), {})
        row[word] = row.get(word, 0) + p
    return sum(max(row.values()) for row in table.values())


check.best_with_delay(best_with_delay)


# %% exercise-3 wrong: sees one word more
# Exercise 3. The highest accuracy with a delay of k words.
def best_with_delay(sentences, k):
    table = {}
    for left, word, right, p in sentences:
        row = table.setdefault((left, *right.split()[: k + 1]), {})
        row[word] = row.get(word, 0) + p
    return sum(max(row.values()) for row in table.values())


check.best_with_delay(best_with_delay)


# %% exercise-3 wrong: counts sentences
# Exercise 3. The highest accuracy with a delay of k words.
def best_with_delay(sentences, k):
    table = {}
    for left, word, right, _ in sentences:
        row = table.setdefault((left, *right.split()[:k]), {})
        row[word] = row.get(word, 0) + 1 / len(sentences)
    return sum(max(row.values()) for row in table.values())


check.best_with_delay(best_with_delay)


# %% exercise-3 wrong: forgets the left side
# Exercise 3. The highest accuracy with a delay of k words.
def best_with_delay(sentences, k):
    table = {}
    for _, word, right, p in sentences:
        row = table.setdefault(tuple(right.split()[:k]), {})
        row[word] = row.get(word, 0) + p
    return sum(max(row.values()) for row in table.values())


check.best_with_delay(best_with_delay)
