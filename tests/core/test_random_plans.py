"""Random descriptions of plans, most of which do not fit: none crashes, all gradients are right.

A description that is accepted runs with and without a tape, and its gradients are compared with
differences. The message of a failure has the seed.
"""

import numpy as np
import pytest

import crnn
import crnn._core as _core

SEEDS, GROUPS = 1000, 4
LAYERS = crnn.RNN, crnn.LSTM, crnn.GRU, crnn.JANET
DELAYS = (1, 1, 1, 2, 3, (1, 2), (3, 1))
ROWWISE = (
    ("activate", "tanh"),
    ("drop", 0.4, False, (1, 0, 0, 0, 2)),
    ("norm", 1e-3),
    ("mul",),
    ("sum",),
    ("concat",),
)
OPERATIONS = ("sum", "sum", "recurrent", "recurrent", "rowwise", "residual")
OPERATIONS += ("attend", "pool", "final")
STEP = 1e-6


class Drawn:
    """A random description, the arrays of its parameters and their gradients."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.integer = lambda *ends: int(self.rng.integers(*ends))
        self.maybe = lambda probability=0.5: bool(self.rng.random() < probability)
        self.features, self.symbols = [(2, 0), (0, 3), (3, 3)][self.integer(3)]
        self.count = self.integer(1, 7)
        self.width = [self.features or self.symbols]
        self.width += [self.integer(2, 4) for _ in range(self.count)]
        self.nodes = [("input", (), False, (self.features, self.symbols))]
        self.layers, self.pairs, self.attends = [], [], []
        for _ in range(self.count):
            getattr(self, f"add_{self.rng.choice(OPERATIONS)}")()

    def normal(self, *shape):
        return self.rng.normal(size=shape) * 0.7

    def pair(self, *shape):
        """Return parameters and their gradients, which a plan adds to."""
        made = self.normal(*shape), np.zeros(shape)
        self.pairs.append(made)
        return made

    def edge(self, may_delay):
        delay = self.integer(1, 3) if may_delay and self.maybe(0.4) else 0
        return self.integer(self.count + 1 if delay else len(self.nodes)), delay

    def add(self, operation, edges, *rest):
        self.nodes.append((operation, tuple(edges), self.maybe(), rest))

    def rows(self, edges):
        return sum(self.width[node] for node, _ in edges)

    def add_sum(self):
        edges, own = [self.edge(True) for _ in range(self.integer(1, 4))], len(self.nodes)
        W, dW = self.pair(self.rows(edges), self.width[own])
        b, db = self.pair(self.width[own]) if self.maybe() else (None, None)
        self.add("sum", edges, W, b, dW, db)

    def add_rowwise(self):
        operation, own = ROWWISE[self.integer(len(ROWWISE))], len(self.nodes)
        edges = [self.edge(False) for _ in range(1 + (operation[0] in ("mul", "sum", "concat")))]
        joined = self.rows(edges) if operation[0] == "concat" else self.width[edges[0][0]]
        self.width[own] = joined
        params = self.pair(2 * joined) if operation[0] == "norm" else (None, None)
        self.add("rowwise", edges, operation, *params)

    def add_residual(self):
        edges = self.edge(False), self.edge(False)
        self.width[len(self.nodes)] = self.width[edges[0][0]]
        self.add("residual", edges)

    def add_pool(self):
        edge = self.edge(False)
        self.width[len(self.nodes)] = self.width[edge[0]]
        self.add("pool", [edge], str(self.rng.choice(["last", "mean", "max"])))

    def add_final(self):
        edge = self.edge(False)
        if self.layers and self.maybe(0.8):
            edge = self.layers[-1][0], 0
        self.width[len(self.nodes)] = self.width[edge[0]]
        self.add("state", [edge], self.maybe())

    def add_attend(self):
        edge, own = self.edge(True), len(self.nodes)
        vectors = self.pair(self.width[edge[0]]) if self.maybe() else (None, None)
        self.attends.append(own)
        self.add("attend", [edge], self.width[own], *vectors)

    def add_recurrent(self):
        edges, vectors, own = [self.edge(False)], (None, None), len(self.nodes)
        inputs = self.rows(edges)
        if self.symbols and not self.features and self.maybe():
            E = self.integer(1, 4)
            vectors = self.pair(self.symbols, E)
            inputs = E if edges[0][0] == 0 else inputs + E
            edges += [] if edges[0][0] == 0 else [(0, 0)]
        options = {"learn_state": self.maybe(), "reverse": self.maybe(0.15)}
        options["delays"] = DELAYS[self.integer(len(DELAYS))]
        make = LAYERS[self.integer(len(LAYERS))]
        layer = make(inputs, self.width[own], dtype="float64", seed=1, **options)
        layer.flat_params = self.normal(len(layer.flat_params))
        self.layers.append((own, layer))
        self.pairs.append((layer.flat_params, layer.flat_grads))
        self.add("recurrent", edges, layer, own, *vectors)

    def state(self, batch):
        """Return initial states of all layers, or None."""
        states = []
        for _, layer in self.layers:
            steps = (layer.state_depth,) if layer.state_depth > 1 else ()
            part = self.normal(batch, *steps, layer.hidden_size)
            states.append((part,) * (1 + isinstance(layer, crnn.LSTM)))
        states = [tuple(map(np.copy, one)) if len(one) > 1 else one[0] for one in states]
        return states if self.maybe() else None

    def memory(self, batch):
        """Return a memory for the first attention, or, seldom, none."""
        if not self.attends or self.maybe(0.1):
            return None
        ((asked, _),), steps = self.nodes[self.attends[0]][1], self.integer(4)
        lengths = self.rng.integers(0, steps + 1, batch) if self.maybe() else None
        keys = self.normal(batch, steps, self.width[asked])
        return keys, self.normal(batch, steps, self.width[self.attends[0]]), lengths


def call_of(drawn):
    """Return x and the other arguments of a call of forward."""
    batch, steps, rng = drawn.integer(4), drawn.integer(5), drawn.rng
    is_symbols = drawn.symbols and (not drawn.features or drawn.maybe())
    x = drawn.normal(batch, steps, drawn.features)
    if is_symbols:
        x = rng.integers(0, drawn.symbols, (batch, steps))
    lengths = rng.integers(0, steps + 1, batch) if drawn.maybe() else None
    mask = rng.random((batch, steps)) < 0.7 if drawn.maybe(0.25) else None
    resets = rng.random((batch, steps)) < 0.3 if drawn.maybe(0.25) else None
    filled = drawn.maybe() and not (mask is not None and is_symbols)
    options = lengths, mask, resets, drawn.maybe(), 3, 1, 2, filled
    return x, drawn.state(batch), options, drawn.memory(batch)


def flat(states):
    """Return the arrays of states."""
    return [part for one in states for part in (one if isinstance(one, tuple) else (one,))]


def check(drawn, plan):
    """Run a plan forward and back; return whether the arguments fit."""
    x, state, options, memory = call_of(drawn)

    def forward(keep):
        return plan.forward(x, state, *options, keep, memory)

    result = forward(True)
    if result is None:
        return False
    y, _, tape = result
    assert forward(False)[0].tobytes() == y.tobytes()
    dy = drawn.normal(*y.shape)
    dx, dstate, *dmemory = plan.backward(object(), tape, dy, None, drawn.maybe())
    pairs = [(value, gradient.copy()) for value, gradient in drawn.pairs]
    pairs += [] if dx is None else [(x, dx)]
    pairs += [] if memory is None else list(zip(memory[:2], dmemory, strict=True))
    pairs += [] if state is None else list(zip(flat(state), flat(dstate), strict=True))
    for value, gradient in pairs:
        if value.size and y.size:
            place = tuple(drawn.integer(size) for size in value.shape)
            before, ends = value[place], []
            for moved in (before + STEP, before - STEP):
                value[place] = moved
                ends.append((forward(False)[0] * dy).sum())
            value[place] = before
            slope = (ends[0] - ends[1]) / (2 * STEP)
            assert abs(slope - gradient[place]) <= 1e-5 * max(1, abs(slope))
    return True


@pytest.mark.parametrize("group", range(GROUPS))
def test_no_description_crashes_and_all_gradients_are_right(group):
    accepted = ran = 0
    for seed in range(group * SEEDS, (group + 1) * SEEDS):
        drawn = Drawn(seed)
        form = tuple(node for node, _ in drawn.layers)
        try:
            plan = _core.Plan("float64", tuple(drawn.nodes), form)
        except ValueError:
            continue
        accepted += 1
        try:
            ran += check(drawn, plan)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {drawn.nodes}") from error
    assert accepted > SEEDS / 8
    assert ran > SEEDS / 12
