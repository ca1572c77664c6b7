"""Prediction of chaos: an echo state network continues the Mackey-Glass series by itself.

python examples/mackey_glass.py
python examples/mackey_glass.py --steps 21000 --alpha 1e-13 --networks 3

The task is that of Jaeger, "The echo state approach to analysing and training recurrent neural
networks" (2001). A network of 400 units is fitted to a series for one step ahead. It then reads
1000 steps of 50 other series, and its own outputs for 84 steps. NRMSE84 is the root of the mean
squared error of the last output, divided by the standard deviation of the series.
"""

import argparse

import numpy as np

import crnn
from crnn.data import mackey_glass


def series(steps, seed):
    """Return tanh(y - 1) of a series of the delay 17 (steps, 1)."""
    return np.tanh(mackey_glass(steps, seed=seed) - 1)[:, None]


def network(units, alpha, seed):
    """Return a network that reads the series and predicts its next value."""
    reservoir = crnn.Reservoir(
        1,
        units,
        spectral_radius=0.88,
        leak=0.4,
        input_scaling=0.56,
        bias_scaling=0.03,
        dtype="float64",
        seed=seed,
    )
    return crnn.ESN(reservoir, crnn.Ridge(units, 1, alpha=alpha, dtype="float64"))


def fitted(units, steps, alpha, seed):
    """Return a network that is fitted to a series of so many steps."""
    y = series(steps + 1, 0)
    return network(units, alpha, seed).fit(y[:-1], y[1:], washout=min(1000, steps // 3))


def errors(esn, runs, horizon=84, forced=1000):
    """Return the NRMSE of each value of `horizon` steps of generation, over so many runs."""
    tests = np.stack([series(forced + horizon, 1000 + run) for run in range(runs)])
    free = esn.generate(horizon, prime=tests[:, :forced])[..., 0]
    predicted = np.arctanh(np.clip(free, -0.99, 0.99))
    expected = np.arctanh(tests[:, forced:, 0])
    deviation = mackey_glass(20_000, seed=0).std()
    return np.sqrt(np.mean((predicted - expected) ** 2, axis=0)) / deviation


def main(units=400, steps=3000, alpha=1e-12, networks=8, runs=50):
    """Fit some networks, and return the NRMSE84 of each."""
    last = []
    for seed in range(networks):
        last.append(float(errors(fitted(units, steps, alpha, seed), runs)[-1]))
        print(f"network {seed}: NRMSE84 {last[-1]:.2e}")
    print(f"median {np.median(last):.2e}, best {min(last):.2e}")
    return last


def count(text):
    """Return an integer of at least 1, or raise the error of a wrong argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text}")
    return int(text)


def penalty(text):
    """Return a finite number of at least 0, or raise the error of a wrong argument."""
    if not 0 <= float(text) < np.inf:
        raise argparse.ArgumentTypeError(f"expected a finite number of at least 0, got {text}")
    return float(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=count, default=400)
    parser.add_argument("--steps", type=count, default=3000, help="of the training series")
    parser.add_argument("--alpha", type=penalty, default=1e-12, help="penalty of the readout")
    parser.add_argument("--networks", type=count, default=8)
    main(**vars(parser.parse_args()))
