"""Answers to the exercises of notebook 8 (both directions), and common wrong answers."""
# ruff: noqa: F821


# %% exercise-1
# Exercise 1. Each row's own steps in reverse; the padding stays.
# Reverse only the steps before the end of each row.
def reverse_rows(x, lengths):  # x (B, T, I), lengths (B,)
    reversed_x = x.copy()
    for row, end in enumerate(lengths):
        reversed_x[row, :end] = x[row, :end][::-1]
    return reversed_x


check.reverse_rows(reverse_rows)


# %% exercise-1 wrong: reverses all steps, also the padding
# Exercise 1. Each row's own steps in reverse; the padding stays.
def reverse_rows(x, lengths):  # x (B, T, I), lengths (B,)
    return x[:, ::-1]


check.reverse_rows(reverse_rows)


# %% exercise-1 wrong: changes x
# Exercise 1. Each row's own steps in reverse; the padding stays.
def reverse_rows(x, lengths):  # x (B, T, I), lengths (B,)
    for row, end in enumerate(lengths):
        x[row, :end] = x[row, :end][::-1].copy()
    return x


check.reverse_rows(reverse_rows)


# %% exercise-1 wrong: sets the padding to 0
# Exercise 1. Each row's own steps in reverse; the padding stays.
def reverse_rows(x, lengths):  # x (B, T, I), lengths (B,)
    reversed_x = np.zeros_like(x)
    for row, end in enumerate(lengths):
        reversed_x[row, :end] = x[row, :end][::-1]
    return reversed_x


check.reverse_rows(reverse_rows)


# %% exercise-2
# Exercise 2. The gradient of each direction, for "concat", "sum", "mean" and "mul".
# The chain rule for each way to merge. The derivative of a product with respect to one factor is
# the other factor.
def unmerge(merge, dy, h_forward, h_backward):  # (B, T, H) each; dy (B, T, 2H) for "concat"
    if merge == "concat":
        return tuple(np.split(dy, 2, axis=2))
    if merge == "mul":
        return dy * h_backward, dy * h_forward
    gradient = dy / 2 if merge == "mean" else dy
    return gradient, gradient


check.unmerge(unmerge)


# %% exercise-2 wrong: the factors are exchanged
# Exercise 2. The gradient of each direction, for "concat", "sum", "mean" and "mul".
def unmerge(merge, dy, h_forward, h_backward):  # (B, T, H) each; dy (B, T, 2H) for "concat"
    if merge == "concat":
        return tuple(np.split(dy, 2, axis=2))
    if merge == "mul":
        return dy * h_forward, dy * h_backward
    gradient = dy / 2 if merge == "mean" else dy
    return gradient, gradient


check.unmerge(unmerge)


# %% exercise-2 wrong: uses the gradient of the sum for the mean
# Exercise 2. The gradient of each direction, for "concat", "sum", "mean" and "mul".
def unmerge(merge, dy, h_forward, h_backward):  # (B, T, H) each; dy (B, T, 2H) for "concat"
    if merge == "concat":
        return tuple(np.split(dy, 2, axis=2))
    return (dy * h_backward, dy * h_forward) if merge == "mul" else (dy, dy)


check.unmerge(unmerge)


# %% exercise-3
# Exercise 3. The highest accuracy with a delay of k words.
# The network reads the left side and the first k words on the right. The rest is equal to the
# computation of the other bounds.
def best_with_delay(sentences, k):
    table = {}
    for left, word, right, p in sentences:
        row = table.setdefault((left, *right.split()[:k]), {})
        row[word] = row.get(word, 0) + p
    return sum(max(row.values()) for row in table.values())


check.best_with_delay(best_with_delay)


# %% exercise-3 wrong: reads one word too many
# Exercise 3. The highest accuracy with a delay of k words.
def best_with_delay(sentences, k):
    table = {}
    for left, word, right, p in sentences:
        row = table.setdefault((left, *right.split()[: k + 1]), {})
        row[word] = row.get(word, 0) + p
    return sum(max(row.values()) for row in table.values())


check.best_with_delay(best_with_delay)


# %% exercise-3 wrong: counts all sentences equally
# Exercise 3. The highest accuracy with a delay of k words.
def best_with_delay(sentences, k):
    table = {}
    for left, word, right, _ in sentences:
        row = table.setdefault((left, *right.split()[:k]), {})
        row[word] = row.get(word, 0) + 1 / len(sentences)
    return sum(max(row.values()) for row in table.values())


check.best_with_delay(best_with_delay)


# %% exercise-3 wrong: does not use the left side
# Exercise 3. The highest accuracy with a delay of k words.
def best_with_delay(sentences, k):
    table = {}
    for _, word, right, p in sentences:
        row = table.setdefault(tuple(right.split()[:k]), {})
        row[word] = row.get(word, 0) + p
    return sum(max(row.values()) for row in table.values())


check.best_with_delay(best_with_delay)
