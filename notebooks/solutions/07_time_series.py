"""Answers to the exercises of notebook 7 (time series), and common wrong answers."""
# ruff: noqa: F821


# %% exercise-1
# The mean and the deviation are parameters: compute them from the training part, and use them for
# all values.
def scaled(series, n_train):
    train = series[:n_train]
    return (series - train.mean()) / train.std()


check.scaled(scaled)


# %% exercise-1 wrong: uses the mean and the deviation of all values
def scaled(series, n_train):
    return (series - series.mean()) / series.std()


check.scaled(scaled)


# %% exercise-1 wrong: scales the later part with its own mean and deviation
def scaled(series, n_train):
    parts = series[:n_train], series[n_train:]
    return np.concatenate([(part - part.mean()) / part.std() for part in parts])


check.scaled(scaled)


# %% exercise-2
# The year to predict has the index n + h - 1. The smallest number of whole cycles back to a known
# index is h / period, rounded up.
def cycle_ago(series, n, h, period=11):
    cycles = -(-h // period)
    return series[n + h - 1 - cycles * period]


check.cycle_ago(cycle_ago)


# %% exercise-2 wrong: one cycle back for every h, which is the future for h above the period
def cycle_ago(series, n, h, period=11):
    return series[n + h - 1 - period]


check.cycle_ago(cycle_ago)


# %% exercise-2 wrong: one cycle too many if h is a multiple of the period
def cycle_ago(series, n, h, period=11):
    cycles = h // period + 1
    return series[n + h - 1 - cycles * period]


check.cycle_ago(cycle_ago)


# %% exercise-2 wrong: one cycle before the origin instead of the year to predict
def cycle_ago(series, n, h, period=11):
    return series[n - period]


check.cycle_ago(cycle_ago)


# %% exercise-3
# All three numbers are means over the years. For the first one, average the members, then square;
# for the second one, square the errors of the members, then average.
def decompose(members, true):
    middle = members.mean(axis=0)
    of_mean = np.mean((middle - true) ** 2)
    mean_error = np.mean((members - true) ** 2)
    spread = np.mean((members - middle) ** 2)
    return of_mean, mean_error, spread


check.decompose(decompose)


# %% exercise-3 wrong: the variance over the years
def decompose(members, true):
    of_mean = np.mean((members.mean(axis=0) - true) ** 2)
    return of_mean, np.mean((members - true) ** 2), members.var(axis=1).mean()


check.decompose(decompose)


# %% exercise-3 wrong: divides the variance by M - 1
def decompose(members, true):
    of_mean = np.mean((members.mean(axis=0) - true) ** 2)
    return of_mean, np.mean((members - true) ** 2), members.var(axis=0, ddof=1).mean()


check.decompose(decompose)


# %% exercise-3 wrong: squares the mean error over the years
def decompose(members, true):
    middle = members.mean(axis=0)
    of_mean = np.mean(middle - true) ** 2
    return of_mean, np.mean((members - true) ** 2), np.mean((members - middle) ** 2)


check.decompose(decompose)
