"""Answers to the exercises of notebook 11 (forecasting), and common wrong answers."""
# ruff: noqa: F821


# %% exercise-1
# The observed steps are selected before any arithmetic, so that no nan can enter. Both the loss and
# its gradient are divided by their number; the gradient stays 0 at the other steps.
def masked_loss(o, nu, z):
    there = ~np.isnan(z)
    mu, s = nu * o[there, 0], nu * softplus(o[there, 1])
    r = (z[there] - mu) / s
    loss = np.mean(np.log(2 * np.pi) / 2 + np.log(s) + r**2 / 2)
    d = np.zeros(o.shape)
    d[there, 0] = -r / s * nu / there.sum()
    d[there, 1] = (1 - r**2) / s * nu * logistic(o[there, 1]) / there.sum()
    return loss, d


check.masked_loss(masked_loss)


# %% exercise-1 wrong: multiplies nan by 0
def masked_loss(o, nu, z):
    there = ~np.isnan(z)
    s = nu * softplus(o[:, 1])
    r = (z - nu * o[:, 0]) / s
    loss = (there * (np.log(2 * np.pi) / 2 + np.log(s) + r**2 / 2)).sum() / there.sum()
    d = np.stack([-r / s * nu, (1 - r**2) / s * nu * logistic(o[:, 1])], axis=1)
    return loss, there[:, None] * d / there.sum()


check.masked_loss(masked_loss)


# %% exercise-1 wrong: a mean over all steps
def masked_loss(o, nu, z):
    there = ~np.isnan(z)
    s = nu * softplus(o[:, 1])
    r = np.where(there, z - nu * o[:, 0], 0) / s
    loss = np.where(there, np.log(2 * np.pi) / 2 + np.log(s) + r**2 / 2, 0).mean()
    d = np.stack([-r / s * nu, (1 - r**2) / s * nu * logistic(o[:, 1])], axis=1)
    return loss, there[:, None] * d / len(z)


check.masked_loss(masked_loss)


# %% exercise-1 wrong: missing numbers are zeros
def masked_loss(o, nu, z):
    s = nu * softplus(o[:, 1])
    r = (np.nan_to_num(z) - nu * o[:, 0]) / s
    loss = np.mean(np.log(2 * np.pi) / 2 + np.log(s) + r**2 / 2)
    d = np.stack([-r / s * nu, (1 - r**2) / s * nu * logistic(o[:, 1])], axis=1)
    return loss, d / len(z)


check.masked_loss(masked_loss)


# %% exercise-1 wrong: the gradient of a missing step is not 0
def masked_loss(o, nu, z):
    there = ~np.isnan(z)
    s = nu * softplus(o[:, 1])
    r = np.where(there, z - nu * o[:, 0], 0) / s
    loss = (np.log(2 * np.pi) / 2 + np.log(s) + r**2 / 2)[there].mean()
    d = np.stack([-r / s * nu, (1 - r**2) / s * nu * logistic(o[:, 1])], axis=1)
    return loss, d / there.sum()


check.masked_loss(masked_loss)


# %% exercise-1 wrong: forgets the derivative of the softplus
def masked_loss(o, nu, z):
    there = ~np.isnan(z)
    s = nu * softplus(o[:, 1])
    r = np.where(there, z - nu * o[:, 0], 0) / s
    loss = (np.log(2 * np.pi) / 2 + np.log(s) + r**2 / 2)[there].mean()
    d = np.stack([-r / s * nu, (1 - r**2) / s * nu], axis=1)
    return loss, there[:, None] * d / there.sum()


check.masked_loss(masked_loss)


# %% exercise-1 wrong: forgets the scale in the gradient
def masked_loss(o, nu, z):
    there = ~np.isnan(z)
    s = nu * softplus(o[:, 1])
    r = np.where(there, z - nu * o[:, 0], 0) / s
    loss = (np.log(2 * np.pi) / 2 + np.log(s) + r**2 / 2)[there].mean()
    d = np.stack([-r / s, (1 - r**2) / s * logistic(o[:, 1])], axis=1)
    return loss, there[:, None] * d / there.sum()


check.masked_loss(masked_loss)


# %% exercise-1 wrong: takes the variance for the deviation
def masked_loss(o, nu, z):
    there = ~np.isnan(z)
    s = np.sqrt(nu * softplus(o[:, 1]))
    r = np.where(there, z - nu * o[:, 0], 0) / s
    loss = (np.log(2 * np.pi) / 2 + np.log(s) + r**2 / 2)[there].mean()
    d = np.stack([-r / s * nu, (1 - r**2) / s**2 / 2 * nu * logistic(o[:, 1])], axis=1)
    return loss, there[:, None] * d / there.sum()


check.masked_loss(masked_loss)


# %% exercise-2
# Each path appends its own number and is predicted from it at the next step.
def sample_paths(predict, past, noise):
    numbers = np.tile(past, (len(noise), 1))
    for h in range(noise.shape[1]):
        mu, s = predict(numbers)
        numbers = np.column_stack([numbers, mu + s * noise[:, h]])
    return numbers[:, len(past) :]


check.sample_paths(sample_paths)


# %% exercise-2 wrong: feeds the mean back
def sample_paths(predict, past, noise):
    numbers, found = np.tile(past, (len(noise), 1)), []
    for h in range(noise.shape[1]):
        mu, s = predict(numbers)
        found.append(mu + s * noise[:, h])
        numbers = np.column_stack([numbers, mu])
    return np.stack(found, axis=1)


check.sample_paths(sample_paths)


# %% exercise-2 wrong: feeds the average of the samples back
def sample_paths(predict, past, noise):
    numbers, found = np.tile(past, (len(noise), 1)), []
    for h in range(noise.shape[1]):
        mu, s = predict(numbers)
        found.append(mu + s * noise[:, h])
        numbers = np.column_stack([numbers, np.full(len(noise), found[-1].mean())])
    return np.stack(found, axis=1)


check.sample_paths(sample_paths)


# %% exercise-2 wrong: predicts all steps from the history
def sample_paths(predict, past, noise):
    mu, s = predict(np.tile(past, (len(noise), 1)))
    return mu[:, None] + s[:, None] * noise


check.sample_paths(sample_paths)


# %% exercise-2 wrong: multiplies the noise by the variance
def sample_paths(predict, past, noise):
    numbers = np.tile(past, (len(noise), 1))
    for h in range(noise.shape[1]):
        mu, s = predict(numbers)
        numbers = np.column_stack([numbers, mu + s**2 * noise[:, h]])
    return numbers[:, len(past) :]


check.sample_paths(sample_paths)


# %% exercise-2 wrong: one draw for all paths
def sample_paths(predict, past, noise):
    numbers = np.tile(past, (len(noise), 1))
    for h in range(noise.shape[1]):
        mu, s = predict(numbers)
        numbers = np.column_stack([numbers, mu + s * noise[0, h]])
    return numbers[:, len(past) :]


check.sample_paths(sample_paths)


# %% exercise-2 wrong: returns the history, too
def sample_paths(predict, past, noise):
    numbers = np.tile(past, (len(noise), 1))
    for h in range(noise.shape[1]):
        mu, s = predict(numbers)
        numbers = np.column_stack([numbers, mu + s * noise[:, h]])
    return numbers


check.sample_paths(sample_paths)


# %% exercise-3
# Sum first, then take quantiles. A sum with a missing number is nan, and is selected away.
def covered_sums(samples, truth, p):
    low, high = np.quantile(samples.sum(axis=2), [(1 - p) / 2, (1 + p) / 2], axis=1)
    total = truth.sum(axis=1)
    inside = (low <= total) & (total <= high)
    return inside[~np.isnan(total)].mean()


check.covered_sums(covered_sums)


# %% exercise-3 wrong: sums of quantiles
def covered_sums(samples, truth, p):
    low, high = np.quantile(samples, [(1 - p) / 2, (1 + p) / 2], axis=1).sum(axis=2)
    total = truth.sum(axis=1)
    inside = (low <= total) & (total <= high)
    return inside[~np.isnan(total)].mean()


check.covered_sums(covered_sums)


# %% exercise-3 wrong: series with a missing number are not covered
def covered_sums(samples, truth, p):
    low, high = np.quantile(samples.sum(axis=2), [(1 - p) / 2, (1 + p) / 2], axis=1)
    total = truth.sum(axis=1)
    return ((low <= total) & (total <= high)).mean()


check.covered_sums(covered_sums)


# %% exercise-3 wrong: missing numbers are zeros
def covered_sums(samples, truth, p):
    low, high = np.quantile(samples.sum(axis=2), [(1 - p) / 2, (1 + p) / 2], axis=1)
    total = np.nansum(truth, axis=1)
    return ((low <= total) & (total <= high)).mean()


check.covered_sums(covered_sums)


# %% exercise-3 wrong: 1 - p at each end
def covered_sums(samples, truth, p):
    low, high = np.quantile(samples.sum(axis=2), [1 - p, p], axis=1)
    total = truth.sum(axis=1)
    inside = (low <= total) & (total <= high)
    return inside[~np.isnan(total)].mean()


check.covered_sums(covered_sums)


# %% exercise-3 wrong: the share of the steps
def covered_sums(samples, truth, p):
    low, high = np.quantile(samples, [(1 - p) / 2, (1 + p) / 2], axis=1)
    inside = (low <= truth) & (truth <= high)
    return inside[~np.isnan(truth.sum(axis=1))].mean()


check.covered_sums(covered_sums)
