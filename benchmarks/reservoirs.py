"""Compare echo state networks with reservoirpy: states, a whole fit, RLS, a closed loop.

    python benchmarks/reservoirs.py [--rounds 16]

Both libraries have the same matrices, and run in turn on one core, as benchmarks/measuring.py
describes. Before the measurement, the script checks that both compute the same states and outputs.

Writes the table between two marks in docs/benchmark.md; benchmarks/compare.py writes the rest.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from functools import partial
from typing import Any

import sections

UNITS, DENSITY, LEAK, ALPHA, WASHOUT = 1000, 0.1, 0.3, 1e-4, 100
STEPS, ROWS, ROW_STEPS, FIT_STEPS, RLS_STEPS, FREE_STEPS = 1000, 32, 100, 10000, 50, 500


class Crnn:
    """The tasks in crnn."""

    name = "crnn"

    def __init__(self) -> None:
        import crnn

        crnn.set_num_threads(1)
        self.library, self.version = crnn, crnn.__version__
        self.reservoir = crnn.Reservoir(1, UNITS, density=DENSITY, leak=LEAK, seed=0)
        self.rls = crnn.RLS(UNITS, 1)
        self.network: Any = None

    def states(self, x: Any) -> Any:
        """Return h (B, T, H) of x (B, T, 1)."""
        return self.reservoir(x)[0]

    def fit(self, x: Any) -> None:
        """Fit a network that predicts the next step of one sequence (1, T, 1)."""
        readout = self.library.Ridge(UNITS, 1, alpha=ALPHA)
        self.network = self.library.ESN(self.reservoir, readout)
        self.network.fit(x[:, :-1], x[:, 1:], washout=WASHOUT)

    def predict(self, x: Any) -> Any:
        """Return the outputs (1, T, 1) of the fitted network."""
        return self.network.predict(x)

    def learn(self, h: Any) -> None:
        """Update the weights for each row of h (N, H), towards its first number."""
        self.rls.step(h, h[:, :1])

    def learn_alone(self, h: Any) -> None:
        """Do as `learn`, with a call for each row."""
        for row in h:
            self.rls.step(row, row[:1])

    def run_free(self, x: Any) -> Any:
        """Return FREE_STEPS outputs (T, 1) of the fitted network, in a closed loop behind x."""
        return self.network.generate(FREE_STEPS, prime=x[0])


class Reservoirpy:
    """The tasks in reservoirpy, with the matrices of crnn's reservoir."""

    name = "reservoirpy"

    def __init__(self, params: Any) -> None:
        import reservoirpy
        import scipy.sparse

        self.library, self.version = reservoirpy, importlib.metadata.version("reservoirpy")
        self.W = scipy.sparse.csr_array(params["W_h"].astype("float64"))
        self.Win = params["W_x"].astype("float64")
        self.reservoir = self.new_reservoir()
        self.rls = self.library.nodes.RLS()
        self.network: Any = None

    def new_reservoir(self) -> Any:
        """Return a node with the state zero."""
        nodes = self.library.nodes
        return nodes.Reservoir(W=self.W, Win=self.Win, bias=0.0, lr=LEAK, input_dim=1)

    def states(self, x: Any) -> Any:
        return self.reservoir.run(list(x))

    def fit(self, x: Any) -> None:
        self.network = self.new_reservoir() >> self.library.nodes.Ridge(ridge=ALPHA)
        self.network.fit(x[0, :-1], x[0, 1:], warmup=WASHOUT)

    def predict(self, x: Any) -> Any:
        self.network.reset()
        return self.network.run(x[0])[None]

    def learn(self, h: Any) -> None:
        self.rls.partial_fit(h, h[:, :1])

    def learn_alone(self, h: Any) -> None:
        for row in h:
            self.rls.partial_fit(row[None], row[None, :1])

    def run_free(self, x: Any) -> Any:
        import numpy as np

        self.network.reset()
        outputs = [self.network.run(x[0])[-1]]
        while len(outputs) < FREE_STEPS:
            outputs.append(self.network.step(outputs[-1]))
        return np.array(outputs)


def series(steps: int) -> Any:
    """Return a Mackey-Glass series (1, steps, 1) in float64, scaled as in Jaeger (2001)."""
    import numpy as np

    import crnn

    return np.tanh(crnn.data.mackey_glass(steps, seed=0).reshape(1, -1, 1) - 1)


def noise(*shape: int) -> Any:
    """Return normal random numbers in float64."""
    import numpy as np

    return np.random.default_rng(0).normal(size=shape)


# name -> a method of either library, and a function that returns its argument
TASKS: dict[str, tuple[str, Callable[[], Any]]] = {
    f"states of 1 row, {STEPS} steps": ("states", lambda: series(STEPS)),
    f"states of {ROWS} rows, {ROW_STEPS} steps": ("states", lambda: noise(ROWS, ROW_STEPS, 1)),
    f"fit, {FIT_STEPS} steps": ("fit", lambda: series(FIT_STEPS + 1)),
    f"RLS, {RLS_STEPS} steps": ("learn", lambda: noise(RLS_STEPS, UNITS)),
    f"RLS, {RLS_STEPS} calls": ("learn_alone", lambda: noise(RLS_STEPS, UNITS)),
    f"closed loop, {FREE_STEPS} steps": ("run_free", lambda: series(10)),
}


def check_same(sides: list[Any]) -> None:
    """End the program unless both compute the same states, outputs and free runs."""
    x = series(FIT_STEPS + 1)  # (1, T, 1)

    def check(name: str, tolerance: float, compute: Callable[[Any], Any]) -> None:
        ours, theirs = (compute(side) for side in sides)
        relative = float(abs(ours - theirs).max() / abs(theirs).max())
        sections.check(name, relative, tolerance)

    check("states", 1e-5, lambda side: side.states(x[:, :STEPS])[0])
    for side in sides:
        side.fit(x)
    check("outputs", 1e-3, lambda side: side.predict(x[:, :STEPS])[:, WASHOUT:])
    check("free runs", 1e-2, lambda side: side.run_free(x[:, :STEPS])[:20])


def prepare(cores: int) -> tuple[dict[str, str], Any]:
    """Return the versions and the calls of all tasks."""
    assert cores == 1
    ours = Crnn()
    sides: list[Any] = [ours, Reservoirpy(ours.reservoir.params)]
    check_same(sides)

    def calls(method: str, argument: Callable[[], Any]) -> sections.Calls:
        x = argument()
        return {side.name: partial(getattr(side, method), x) for side in sides}

    versions = {side.name: side.version for side in sides}
    return versions, {name: partial(calls, *task) for name, task in TASKS.items()}


SECTION = sections.Section(
    script=__file__,
    name="reservoirs",
    title="Reservoirs",
    about=f"echo state networks of {UNITS} units with the same matrices in both libraries, "
    f"{DENSITY:.0%} of W_h not zero. crnn's states are in float32 and the sums of its readouts in "
    "float64; reservoirpy computes in float64. fit is a whole fit of one sequence, states and "
    "ridge regression. RLS updates a readout of all units after each step. In the closed loop, "
    "each output is the next input.",
    peer="reservoirpy",
    module="reservoirpy",
    cores=(1,),
    tasks=tuple(TASKS),
    prepare=prepare,
)

if __name__ == "__main__":
    sections.main(SECTION, __doc__)
