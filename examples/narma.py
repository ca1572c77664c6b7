"""A nonlinear system with a memory: an echo state network models NARMA-10.

python examples/narma.py

y[t] depends on the ten values before it and on products of inputs that are ten steps apart (Atiya
and Parlos, 2000). The network reads u and predicts y. Its NRMSE is compared with that of a readout
of the inputs themselves, a shift register of 50 steps, which has the memory without the products.
"""

import argparse

import numpy as np

import crnn
from crnn.data import narma

WASHOUT = 100  # first steps of each series, which are left out


def network(units, seed, alpha=1e-8):
    """Return a network for the inputs u - 0.25, which are from -0.25 to 0.25."""
    reservoir = crnn.Reservoir(
        1, units, spectral_radius=0.95, input_scaling=0.4, bias_scaling=0.2, seed=seed
    )
    return crnn.ESN(reservoir, crnn.Ridge(units, 1, alpha=alpha))


def error(esn, x, y, washout):
    """Return the NRMSE after a washout."""
    return float(crnn.metrics.nrmse(esn.predict(x)[None, washout:], y[None, washout:]))


def register(steps, taps=50):
    """Return a network that shifts its input through `taps` linear units."""
    ring = crnn.RNN(1, taps, activation="identity", bias=False)
    ring.params["W_x"], ring.params["W_h"] = np.eye(taps, 1), np.eye(taps, k=-1)
    return crnn.ESN(ring, crnn.Ridge(taps, 1, alpha=1e-8))


def main(units=400, steps=2000, networks=8, washout=WASHOUT):
    """Fit some networks, and return the NRMSE of each on other inputs, and of a shift register."""
    (u, y), (u_test, y_test) = narma(steps, seed=0), narma(steps, seed=1)
    x, x_test = (part[:, None] - 0.25 for part in (u, u_test))
    y, y_test = y[:, None], y_test[:, None]
    errors = []
    for seed in range(networks):
        esn = network(units, seed).fit(x, y, washout=washout)
        errors.append(error(esn, x_test, y_test, washout))
        print(f"network {seed}: NRMSE {errors[-1]:.3f}")
    shifted = error(register(steps).fit(x, y, washout=washout), x_test, y_test, washout)
    print(f"median {np.median(errors):.3f}; shift register {shifted:.3f}")
    return errors, shifted


def count(text, above=0):
    """Return an integer above a number, or raise the error of a wrong argument."""
    if not text.isdecimal() or int(text) <= above:
        raise argparse.ArgumentTypeError(f"expected an integer above {above}, got {text}")
    return int(text)


def steps_after_washout(text):
    """Return an integer above the washout, or raise the error of a wrong argument."""
    return count(text, WASHOUT)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=count, default=400)
    parser.add_argument("--steps", type=steps_after_washout, default=2000, help="of each series")
    parser.add_argument("--networks", type=count, default=8)
    main(**vars(parser.parse_args()))
