"""Solutions of notebook 7, and usual mistakes."""
# ruff: noqa: F821


# %% exercise-1
# Mean and deviation are parameters: they are fitted on the training part, and used everywhere.
def scaled(series, n_train):
    known = series[:n_train]
    return (series - known.mean()) / known.std()


check.scaled(scaled)


# %% exercise-1 wrong: scales with all values
def scaled(series, n_train):
    return (series - series.mean()) / series.std()


check.scaled(scaled)


# %% exercise-1 wrong: scales the later part by itself
def scaled(series, n_train):
    parts = series[:n_train], series[n_train:]
    return np.concatenate([(part - part.mean()) / part.std() for part in parts])


check.scaled(scaled)


# %% exercise-2
# The year to be predicted is place n + h - 1. Go back whole cycles until the place is known: as
# many as h holds, rounded up.
def cycle_ago(series, n, h, period=11):
    cycles = -(-h // period)
    return series[n + h - 1 - cycles * period]


check.cycle_ago(cycle_ago)


# %% exercise-2 wrong: goes back one cycle always, into the future for h above the period
def cycle_ago(series, n, h, period=11):
    return series[n + h - 1 - period]


check.cycle_ago(cycle_ago)


# %% exercise-2 wrong: goes back one cycle too far for h equal to the period
def cycle_ago(series, n, h, period=11):
    cycles = h // period + 1
    return series[n + h - 1 - cycles * period]


check.cycle_ago(cycle_ago)


# %% exercise-2 wrong: counts from the origin and not from the year to be predicted
def cycle_ago(series, n, h, period=11):
    return series[n - period]


check.cycle_ago(cycle_ago)


# %% exercise-3
# All three are means over the years; what is averaged over the members before it is squared, and
# what after, makes the difference.
def decompose(members, true):
    middle = members.mean(axis=0)
    of_mean = np.mean((middle - true) ** 2)
    mean_error = np.mean((members - true) ** 2)
    spread = np.mean((members - middle) ** 2)
    return of_mean, mean_error, spread


check.decompose(decompose)


# %% exercise-3 wrong: takes the variance over the years
def decompose(members, true):
    of_mean = np.mean((members.mean(axis=0) - true) ** 2)
    return of_mean, np.mean((members - true) ** 2), members.var(axis=1).mean()


check.decompose(decompose)


# %% exercise-3 wrong: divides the variance by M - 1
def decompose(members, true):
    of_mean = np.mean((members.mean(axis=0) - true) ** 2)
    return of_mean, np.mean((members - true) ** 2), members.var(axis=0, ddof=1).mean()


check.decompose(decompose)


# %% exercise-3 wrong: squares after the mean over the years
def decompose(members, true):
    middle = members.mean(axis=0)
    of_mean = np.mean(middle - true) ** 2
    return of_mean, np.mean((members - true) ** 2), np.mean((members - middle) ** 2)


check.decompose(decompose)
