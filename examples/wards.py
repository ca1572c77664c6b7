"""Predict the end of a stay in a hospital ward, and deaths, from simulated hours of vital signs.

python examples/wards.py

All data are simulated; results say nothing about real wards. Each hour of a stay has five vital
signs, many of them not measured, and the doses of a drug. What happens depends on whether a patient
responds to the drug: then the blood pressure rises in the three hours after each dose. The pressure
of other patients rises as often and as much, at other hours. Means, extremes and slopes therefore
do not show who responds; the order of doses and rises does. This is built into the simulation to
show what a network that reads a sequence can use. How much of it there is in real data is another
question, which only real data can answer.

1. Length of stay: at each hour, the hours until the patient leaves. The measure is the mean
   absolute error of the logarithm. A ridge regression reads summaries of the hours so far.
2. Mortality: from the first 36 hours, whether the patient dies, as 1 in 20 do. A logistic
   regression reads the same summaries. 200 deaths are few examples to learn from, so the network
   starts from the GRU that has learned the length of stay. Both are trained as they are, with
   weights of the classes, and with resampled data, so that deaths count as much as survival. The
   predicted probabilities are then too high, by a factor of the odds that is known and can be
   corrected (Elkan, "The foundations of cost-sensitive learning", 2001). Weights hardly change the
   order of the patients by risk. A network that reads the same deaths again and again learns them
   by heart, so resampling is worse here.
"""

import copy
import functools
from typing import NamedTuple

import numpy as np

import crnn
from crnn.callbacks import OneCycle
from crnn.data import Batches, Standardizer
from crnn.losses import binary_cross_entropy, mse

HOURS = 168  # a stay is at most this long
FIRST = 36  # hours from which the death is predicted
SIGNS = ("pressure", "heart rate", "temperature", "breathing", "oxygen")
USUAL = np.array([80.0, 80.0, 37.0, 16.0, 96.0])  # of a patient of mean severity
SEVERE = np.array([-4.0, 8.0, 0.3, 2.0, -1.0])  # added for each unit of severity
NOISE = np.array([3.0, 6.0, 0.3, 1.5, 1.0])
MEASURED = np.array([0.8, 0.7, 0.3, 0.5, 0.6])  # probability in each hour
DOSE, RISE = 0.15, np.array([0.0, 6.0, 14.0, 8.0])  # of the pressure, by hours


class Stays(NamedTuple):
    """Simulated stays of n patients."""

    x: list  # n arrays (T, 11): five signs, five flags (measured or not), and the dose
    died: np.ndarray  # (n, 1) of 0 and 1
    risk: np.ndarray  # (n, 1), the logit of the probability of death
    left: list  # n arrays (T, 1): the hours until the end of the stay


def simulate(n, seed=0):
    """Return n stays; the same arguments give the same stays."""
    rng = np.random.default_rng(seed)
    responds, severity = rng.random(n) < 0.7, rng.normal(size=n)
    doses, others = rng.random((2, n, HOURS)) < DOSE
    progress = np.cumsum(0.5 + np.where(responds, 6.0, 0.0)[:, None] * doses, axis=1)
    needed = np.clip(80 + 20 * severity, 40, 120)
    ends = np.minimum((progress < needed[:, None]).sum(axis=1) + 1, HOURS)
    risk = -5.7 + 1.0 * severity + 3.7 * ~responds
    died = rng.random(n) < 1 / (1 + np.exp(-risk))

    illness = severity[:, None] * (1 - 0.4 * np.minimum(progress / needed[:, None], 1))
    signs = USUAL + SEVERE * illness[..., None] + NOISE * rng.normal(size=(n, HOURS, len(SIGNS)))
    causes = np.where(responds[:, None], doses, others)
    for delay, rise in enumerate(RISE):
        signs[:, delay:, 0] += rise * causes[:, : HOURS - delay]
    often = MEASURED * (0.8 + 0.2 / (1 + np.exp(-2 * illness[..., None])))  # more if ill
    measured = rng.random(signs.shape) < often
    x = np.concatenate([filled(signs, measured), measured, doses[..., None]], axis=2)
    return Stays(
        [row[:end].astype(np.float32) for row, end in zip(x, ends, strict=True)],
        died[:, None].astype(np.int64),
        risk[:, None],
        [np.arange(end, 0, -1.0)[:, None].astype(np.float32) for end in ends],
    )


def filled(signs, measured):
    """Return signs (n, T, 5) with the last measured value, or the usual one, where none is."""
    steps = np.where(measured, np.arange(signs.shape[1])[:, None], -1)
    last = np.maximum.accumulate(steps, axis=1)
    values = np.take_along_axis(signs, np.maximum(last, 0), axis=1)
    return np.where(last >= 0, values, USUAL)


def summaries(x):
    """Return summaries of each hour and those before it (T, F), for a linear model.

    Mean, last value, slope, minimum and maximum of each sign, the share of hours in which it was
    not measured, the share of hours with a dose, the number of hours and its logarithm.
    """
    x = x.astype(np.float64)
    signs, hours = x[:, :5], np.arange(1.0, len(x) + 1)[:, None]
    mean = np.cumsum(signs, axis=0) / hours
    product = np.cumsum(signs * hours, axis=0) / hours - mean * (hours + 1) / 2
    slope = product / np.maximum((hours**2 - 1) / 12, 1 / 12)
    low, high = np.minimum.accumulate(signs, axis=0), np.maximum.accumulate(signs, axis=0)
    shares = np.cumsum(x[:, 5:], axis=0) / hours
    parts = mean, signs, slope, low, high, 1 - shares[:, :5], shares[:, 5:], hours, np.log(hours)
    return np.concatenate(parts, axis=1)


class Prepared(NamedTuple):
    """What models read, with mean 0 and standard deviation 1 in the training data."""

    x: list  # n arrays (T, 11)
    summaries: list  # n arrays (T, F)
    left: list  # n arrays (T, 1): the logarithm of the hours that are left, plus 1


def prepared(train, test):
    """Return the data of both parts, scaled by the training part."""
    parts = []
    for stays in (train, test):
        texts = [summaries(x).astype(np.float32) for x in stays.x]
        parts.append([list(stays.x), texts, [np.log1p(left) for left in stays.left]])
    for kind in (0, 1):
        scaler = Standardizer().fit(parts[0][kind])
        for part in parts:
            part[kind] = scaler.transform(part[kind])
    return [Prepared(*part) for part in parts]


def fitted(model, x, target, loss, epochs, rate, seed):
    """Return the model, trained."""
    adam = crnn.optim.Adam(model, clip_norm=1.0)
    data = Batches(x, target, 64, seed=seed)
    cycle = [OneCycle(rate)]
    crnn.fit(model, data, loss=loss, optimizer=adam, epochs=epochs, callbacks=cycle, progress=False)
    return model


def stay(train, test, epochs, hidden_size, seed):
    """Return the trained GRU, and the mean absolute errors of the ridge regression and of it."""
    F, H = train.summaries[0].shape[1], hidden_size
    ridge = crnn.Ridge(F, 1, alpha=1e-3)
    ridge.fit(np.concatenate(train.summaries)[None], np.concatenate(train.left)[None])
    network = crnn.Sequential([crnn.GRU(11, H, seed=seed), crnn.Dense(H, 1, seed=seed + 1)])
    fitted(network, train.x, train.left, mse, epochs, 1e-2, seed)
    truth, errors = np.concatenate(test.left), []
    for model, x in ((ridge, test.summaries), (network, test.x)):
        errors.append(crnn.metrics.mae(np.concatenate(crnn.predict(model, x)), truth).mean)
    return network.layers[0], errors


def death(model, x, died, how, epochs, rate, seed):
    """Return a model of the risk, trained on x (n, ...) in one of three ways, and its correction.

    `how` is "plain", "weighted" or "resampled". The correction is added to logits.
    """
    dead, alive = np.flatnonzero(died), np.flatnonzero(died == 0)
    loss, rows, factor = binary_cross_entropy, np.arange(len(died)), len(alive) / len(dead)
    if how == "weighted":
        loss = functools.partial(loss, pos_weight=factor)
    elif how == "resampled":
        again = np.random.default_rng(seed).choice(dead, len(alive))
        rows = np.concatenate([alive, again])
    fitted(model, x[rows], died[rows], loss, epochs, rate, seed)
    return model, 0.0 if how == "plain" else -np.log(factor)


def judged(name, logits, died, correction=0.0):
    """Print and return the quality of predicted risks."""
    result = {
        "roc": crnn.metrics.roc_auc(logits, died),
        "precision": crnn.metrics.average_precision(logits, died),
        "calibration": crnn.metrics.calibration_error(logits, died),
        "corrected": crnn.metrics.calibration_error(logits + correction, died),
    }
    print(f"{name:<30}" + "".join(f"{value:>12.3f}" for value in result.values()))
    return result


def main(n=4000, test_n=4000, epochs=30, hidden_size=32, seed=0):
    """Train all models; return the errors of the stay, and the results of death by name."""
    train_stays, test_stays = simulate(n, seed), simulate(test_n, seed + 1000)
    train, test = prepared(train_stays, test_stays)
    gru, errors = stay(train, test, epochs, hidden_size, seed)
    print("hours until the end of the stay, mean absolute error of the logarithm:")
    print("ridge regression of summaries {:.3f}, GRU {:.3f}".format(*errors))

    long = [[i for i, x in enumerate(part.x) if len(x) >= FIRST] for part in (train, test)]
    died, died_test = train_stays.died[long[0]], test_stays.died[long[1]]
    inputs = {"logistic regression": [], "GRU": []}
    for part, rows in zip((train, test), long, strict=True):
        texts = np.stack([part.summaries[i][FIRST - 1] for i in rows])
        inputs["logistic regression"].append(texts[:, None])
        inputs["GRU"].append(np.stack([part.x[i][:FIRST] for i in rows]))
    print(f"death, {died.mean():.1%} of {len(died)} patients:")
    columns = ("area ROC", "precision", "calibration", "corrected")
    print(" " * 30 + "".join(f"{column:>12}" for column in columns))
    results = {"truth": judged("the true risk", test_stays.risk[long[1]], died_test)}
    for name, (x, x_test) in inputs.items():
        for how in ("plain", "weighted", "resampled"):
            first = [] if name != "GRU" else [copy.deepcopy(gru)]
            width = x.shape[2] if name != "GRU" else hidden_size
            head = [crnn.Pool("last"), crnn.Dense(width, 1, seed=seed + 2)]
            options = {"epochs": 40, "rate": 1e-2} if name != "GRU" else {"epochs": 6, "rate": 3e-3}
            model = crnn.Sequential([*first, *head])
            model, correction = death(model, x, died, how, **options, seed=seed)
            logits = crnn.predict(model, x_test)
            results[name, how] = judged(f"{name}, {how}", logits, died_test, correction)
    return errors, results


if __name__ == "__main__":
    main()
