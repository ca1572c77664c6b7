"""Convolutions, attention and positions in models: wherever a recurrent layer can be."""

import copy
import pickle
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import crnn
from crnn.layers.compose.joined import Joined
from crnn.losses import cross_entropy, mse
from crnn.optim import Adam
from support.comparing import assert_close, assert_same_bits
from support.running import copied, fill, forward_backward, leaves, like
from support.temporal_layers import random_steps

B, T, F, K = 3, 14, 4, 6
CONVOLUTIONS = {
    "conv": lambda **o: crnn.CausalConv(F, F, 3, dilation=2, **o),
    "conv-normed": lambda **o: crnn.CausalConv(
        F, F, 2, dilation=2, activation="tanh", weight_norm=True, **o
    ),
    "block": lambda **o: crnn.TCNBlock(F, F, 2, dilation=2, **o),
    "tcn": lambda **o: crnn.TCN(F, [6, F], 2, **o),
}
ATTENTIONS = {
    "attention": lambda **o: crnn.SelfAttention(F, 2, **o),
    "attention-window": lambda **o: crnn.SelfAttention(F, 1, window=3, **o),
    "transformer": lambda **o: crnn.TransformerBlock(F, 2, **o),
    "transformer-window": lambda **o: crnn.TransformerBlock(
        F, 2, window=3, activation="swiglu", **o
    ),
}
POSITIONS = {
    "positions": lambda **o: crnn.Positions(F, 100, **o),
    "positions-sinusoidal": lambda **o: crnn.Positions(F, kind="sinusoidal", **o),
}
LAYERS = CONVOLUTIONS | ATTENTIONS | POSITIONS
every_convolution = pytest.mark.parametrize("kind", CONVOLUTIONS)
every_attention = pytest.mark.parametrize("kind", ATTENTIONS)
every_counting = pytest.mark.parametrize("kind", ATTENTIONS | POSITIONS)
every_layer = pytest.mark.parametrize("kind", LAYERS)


def make(kind, dtype="float64", **options):
    return fill(LAYERS[kind](dtype=dtype, seed=1, **options), 2, 0.5)


def dense(I, O, dtype="float64"):
    return fill(crnn.Dense(I, O, dtype=dtype, seed=3), 3)


def inputs(dtype="float64", seed=0):
    return np.random.default_rng(seed).normal(size=(B, T, F)).astype(dtype)


def steps():
    return random_steps(np.random.default_rng(5), B, T)


COMPOSITIONS = {
    "sequential": lambda layer: crnn.Sequential([layer, dense(F, 2)]),
    "behind": lambda layer: crnn.Sequential([crnn.GRU(F, F, dtype="float64", seed=4), layer]),
    "residual": crnn.Residual,
    "bidirectional": crnn.Bidirectional,
    "bidirectional-sum": lambda layer: crnn.Bidirectional(layer, "sum"),
    "checkpointed": lambda layer: crnn.Checkpointed(layer, 3),
    "last-state": lambda layer: crnn.LastState(layer, "all"),
    "pooled": lambda layer: crnn.Sequential([layer, crnn.Pool("mean"), dense(F, 2)]),
    "joined": lambda layer: Joined(layer, 2),
    "nested": lambda layer: crnn.Sequential(
        [crnn.Residual(crnn.Sequential([layer, crnn.LayerNorm(F, dtype="float64")])), dense(F, 2)]
    ),
}
PAIRS = [
    (kind, around)
    for kind in LAYERS
    for around in COMPOSITIONS
    if kind in CONVOLUTIONS or around != "last-state"  # other states are no vectors
]
every_pair = pytest.mark.parametrize(("kind", "around"), PAIRS)


@every_pair
def test_gradients_of_compositions(kind, around):
    model = fill(COMPOSITIONS[around](make(kind)), 2, 0.5)
    x, given = (
        inputs()[:, :8],
        {name: array[:, :8] for name, array in steps().items() if array.ndim > 1},
    )
    given["lengths"] = np.array([8, 0, 5])
    if around == "checkpointed":  # a window may begin with a masked step
        del given["mask"]
    report = crnn.gradcheck(model, x, **given, tolerance=1e-7)
    assert report, str(report)


@every_pair
def test_rows_of_compositions_are_independent(kind, around):
    model, x, given = COMPOSITIONS[around](make(kind)), inputs(), steps()
    if around == "checkpointed":
        given.pop("mask")
    y, _ = model(x, **given)
    for b in range(B):
        own = {name: array[b : b + 1] for name, array in given.items()}
        assert_same_bits(model(x[b : b + 1], **own)[0], y[b : b + 1])


@every_layer
def test_reverse_layers_are_mirrored_ones(kind):
    """`reverse` of a convolution has the bits of the backward layer of a Bidirectional."""
    model, x, given = crnn.Bidirectional(make(kind)), inputs(), steps()
    back = model.backward_layer
    for name, array in back.params.items():
        array[...] = model.forward_layer.params[name]
    y, (_, state) = model(x, **given)
    if kind.startswith("conv"):
        own = make(kind, reverse=True)
        assert_same_bits(own(x, **given), (y[..., F:], state))
    lengths = given["lengths"]
    y, _ = model(x, lengths=lengths)
    for b, n in enumerate(lengths):
        ahead = make(kind)(x[b : b + 1, :n][:, ::-1])[0][:, ::-1]
        assert_same_bits(np.ascontiguousarray(ahead[0]), y[b, :n, F:])


@every_convolution
def test_a_conditioned_layer_starts_from_a_map_of_features(kind):
    layer = make(kind)
    _, state = layer(inputs())
    wide = sum(array[0].size for array in leaves(state).values())
    model = crnn.Conditioned(layer, dense(2, wide))
    x, features = inputs(), np.random.default_rng(4).normal(size=(B, 2))
    y, _, tape = model.forward((x, features))
    rows = features @ model.init.params["W"].T + model.init.params["b"]
    parts = np.split(rows, np.cumsum([a[0].size for a in leaves(state).values()])[:-1], axis=1)
    shaped = iter([p.reshape(a.shape) for p, a in zip(parts, leaves(state).values(), strict=True)])

    def build(form):
        return [build(part) for part in form] if isinstance(form, list) else next(shaped)

    assert_close(y, layer(x, build(state))[0], 1e-12)
    (dx, dfeatures), _ = model.backward(tape, np.ones_like(y))
    assert dx.shape == x.shape
    assert dfeatures.any()


# ------------------------------------------------------------------------------------- training


def adding(dtype="float32", rows=32, seed=0):
    """Return x, and the sum of its first feature and of that two steps before, which is small."""
    x = np.random.default_rng(seed).normal(size=(rows, T, F)).astype(dtype)
    past = np.pad(x[..., :1], ((0, 0), (2, 0), (0, 0)))
    return x, 0.3 * (past[:, 2:] + past[:, :-2])


def train(model, data, epochs=1, rate=0.02, loss=mse, **options):
    """Train a model on one batch, or on a list of batches."""
    data = data if isinstance(data, list) else [data]
    return crnn.fit(
        model,
        data,
        loss=loss,
        optimizer=Adam(model, rate),
        epochs=epochs,
        progress=False,
        **options,
    )


@every_layer
@pytest.mark.parametrize("options", [{}, {"tbptt": (5, 5)}, {"tbptt": (4, 8)}], ids=str)
def test_fit_learns(kind, options):
    model = crnn.Sequential([LAYERS[kind](seed=0), crnn.Dense(F, 1, seed=1)])
    x, target = adding()
    before = np.mean((model(x)[0] - target) ** 2)
    train(model, [(x[k : k + 8], target[k : k + 8]) for k in range(0, 32, 8)], 25, **options)
    assert np.mean((model(x)[0] - target) ** 2) < 0.25 * before


@every_layer
def test_windows_of_truncated_bptt_carry_the_state(kind):
    """Without a change of the parameters, the loss is that of whole sequences."""
    model = crnn.Sequential([make(kind), dense(F, 1)])
    data = inputs(), np.zeros((B, T, 1))
    losses = [
        train(model, data, rate=1e-300, **options)["loss"][0]
        for options in ({}, {"tbptt": (5, 5)}, {"tbptt": (4, 8)})
    ]
    assert_close(np.array(losses), np.full(3, losses[0]), 1e-12)


@every_layer
def test_predictions_are_those_of_any_batch(kind):
    model, x = crnn.Sequential([make(kind), dense(F, 2)]), inputs()
    assert_same_bits(crnn.predict(model, x, batch_size=1), model(x)[0])


@every_layer
def test_frozen_layers(kind):
    """No gradients, no tape; the gradient of what they read still passes."""
    layer, x = make(kind), inputs()
    model = crnn.Sequential([dense(F, F), layer, dense(F, 2)])
    whole = forward_backward(model, x)
    layer.trainable = False
    found = forward_backward(model, x)
    assert_same_bits(found["dx"], whole["dx"])
    names = [name for name in found if name.startswith("grads.1.")]
    assert bool(names) == bool(layer.params)
    for name, array in found.items():
        if name in names:
            assert not array.any()
        else:
            assert_same_bits(array, whole[name])
    before = copied(dict(layer.params))
    train(model, (x, np.zeros((B, T, 2))))
    assert_same_bits(dict(layer.params), before)


@pytest.mark.parametrize("kind", ["block", "tcn"])
@pytest.mark.parametrize("part", ["conv1", "conv2", "skip"])
def test_frozen_parts_of_blocks(kind, part):
    layer = crnn.TCNBlock(F, 5, 2, dtype="float64", seed=1)
    layer = layer if kind == "block" else crnn.TCN(F, [5, 5], 2, dtype="float64", seed=1)
    fill(layer, 2, 0.5)
    whole = forward_backward(layer, inputs())
    block = layer if kind == "block" else layer[0]
    getattr(block, part).trainable = False
    found = forward_backward(layer, inputs())
    frozen = [name for name in found if f"{part}." in name and not name.startswith("grads.1")]
    assert frozen
    for name, array in found.items():
        assert_same_bits(array, np.zeros_like(array) if name in frozen else whole[name])


@every_layer
def test_a_backward_of_parameters_alone(kind):
    layer, x = make(kind), inputs()
    y, _, tape = layer.forward(x, call=0)
    layer.backward(tape, np.cos(y))
    whole = copied(dict(layer.grads))
    layer.zero_grad()
    y, _, tape = layer.forward(x, call=0, needs_dx=False)
    dx, _ = layer.backward(tape, np.cos(y))
    assert dx is None
    assert_same_bits(dict(layer.grads), whole)


@every_layer
def test_gradients_are_added(kind):
    layer, x = make(kind), inputs()
    y, _, tape = layer.forward(x, call=0)
    layer.backward(tape, np.cos(y))
    once = copied(dict(layer.grads))
    layer.backward(tape, np.cos(y))
    for name, grad in layer.grads.items():
        assert_close(grad, 2 * once[name], 1e-12, name)


# -------------------------------------------------------------------------------- diagnostics


@every_layer
def test_diagnostics(kind):
    """Those of any layer work; those of gates say that there are none."""
    layer, x = make(kind), inputs()
    model = crnn.Sequential([layer, dense(F, 2)])
    field = crnn.diagnostics.receptive_field(model, x)
    assert not field.ahead.any()
    assert min(1, layer.receptive_field - 1) <= field.back.max() <= layer.receptive_field - 1
    saliency = crnn.diagnostics.input_saliency(model, x, step=9)
    assert not saliency.values[: max(10 - min(layer.receptive_field, T), 0)].any()
    assert not saliency.values[10:].any()
    if kind in CONVOLUTIONS:
        jacobians = crnn.diagnostics.state_jacobians(model, x)
        assert max(jacobians.columns["norm"]) > 0
    with pytest.raises(ValueError, match="expected one with a recurrent part"):
        crnn.diagnostics.gate_statistics(model, x)
    y, _, tape = model.forward(x)
    model.backward(tape, np.ones_like(y), trace=True)
    with pytest.raises((ValueError, TypeError), match="tape: expected"):
        crnn.diagnostics.gradient_flow(tape)
    text = str(model.summary())
    assert type(layer).__name__ in text
    assert f"{sum(array.size for array in model.params.values()):,}" in text


@every_counting
def test_states_that_count_steps_are_no_vectors(kind):
    """What reads a state as vectors, or needs its derivative, says so."""
    layer, x, expected = make(kind), inputs(), "layer: expected one whose state has floats alone"
    with pytest.raises(ValueError, match=expected):
        crnn.diagnostics.state_jacobians(layer, x)
    with pytest.raises(ValueError, match=expected):
        crnn.Conditioned(layer, dense(2, F))((x, np.zeros((B, 2))))
    for of in ("h", "c", "all"):
        for model in (crnn.LastState(layer, of), crnn.Sequential([crnn.LastState(layer, of)])):
            with pytest.raises(ValueError, match=f"{expected}.*; Pool"):
                model(x)


@every_layer
def test_a_watched_run(kind):
    model = crnn.Sequential([make(kind), dense(F, 1)])
    other = copy.deepcopy(model)
    data = inputs(), np.zeros((B, T, 1))
    watch = crnn.watch(model, 1)
    train(model, data, 2, callbacks=[watch])
    train(other, data, 2)
    assert_same_bits(dict(model.params), dict(other.params))


# ------------------------------------------------------------------------ streams, generation


@every_layer
@pytest.mark.parametrize("rows", [1, 2, 7, 33])
def test_streams(kind, rows, dtype):
    layer = make(kind, dtype)
    model = crnn.Sequential([layer, dense(F, 2, dtype)])
    x = np.random.default_rng(0).normal(size=(rows, T, F)).astype(dtype)
    y, end = model(x)
    stream = model.stream(rows)
    found = np.stack([stream.step(x[:, t]) for t in range(T)], axis=1)
    assert_same_bits(found, y)
    assert_same_bits(stream.state, end)


@every_layer
def test_streams_reset_rows_and_take_states(kind):
    layer, x = make(kind), inputs()
    state = like(layer(x)[1], np.random.default_rng(3))
    stream = layer.stream(B)
    stream.state = state
    assert_same_bits(stream.state, state)
    for t in range(5):
        stream.step(x[:, t])
    stream.reset([1])
    resets = np.zeros((B, T), bool)
    resets[1, 5] = True
    y, _ = layer(x, state, resets=resets)
    for t in range(5, 9):
        assert_same_bits(stream.step(x[:, t]), y[:, t])
    kept = stream.state
    later = [stream.step(x[:, t]) for t in range(9, T)]
    stream.state = kept
    assert_same_bits([stream.step(x[:, t]) for t in range(9, T)], later)
    stream.reset()
    assert_same_bits(stream.step(x[:, 0]), layer(x[:, :1])[0][:, 0])
    given = [array.copy() for array in leaves(kept).values()]
    assert_same_bits(list(leaves(kept).values()), given)  # of the stream's own memory no view


@every_layer
def test_a_stream_does_not_follow_the_parameters(kind):
    layer, x = make(kind), inputs()
    stream, y = layer.stream(B), layer(x)[0]
    for array in layer.params.values():
        array *= 0
    for t in range(T):
        assert_same_bits(stream.step(x[:, t]), y[:, t])


def test_streams_of_layers_without_a_past():
    layer = fill(crnn.CausalConv(F, 3, 1, dtype="float64"))
    x = inputs()
    y, state = layer(x)
    assert state.shape == (B, 0, F)
    stream = layer.stream(B, state)
    assert_same_bits(np.stack([stream.step(x[:, t]) for t in range(T)], axis=1), y)
    stream.reset([0])
    assert stream.state.shape == (B, 0, F)


@pytest.fixture
def language():
    """A model of symbols whose output depends on what was read."""
    layers = [crnn.Embedding(K, F, dtype="float64"), LAYERS["tcn"](dtype="float64")]
    model = fill(crnn.Sequential([*layers, crnn.Dense(F, K, dtype="float64")]), 11, 1.2)
    model.params["2.b"] = 0  # so that the symbols depend on what was read
    return model


START = np.array([0, 3, 5, 3])


def test_generated_symbols_are_the_likeliest(language):
    symbols = crnn.generate(language, START, 40)
    x = np.concatenate([START[:, None], symbols[:, :-1]], axis=1)
    assert_same_bits(symbols, language(x)[0].argmax(axis=2))
    assert len(np.unique(symbols)) > 2
    _, state = language(np.tile(np.arange(K), (4, 1)))
    going_on = crnn.generate(language, START, 40, state=state)
    assert_same_bits(
        going_on,
        language(np.concatenate([START[:, None], going_on[:, :-1]], axis=1), state)[0].argmax(2),
    )
    assert (going_on != symbols).any()


@pytest.mark.parametrize("options", [{"temperature": 0.8, "seed": 4}, {"stop": 2}], ids=str)
def test_generated_rows_are_independent(language, options, threads):
    """Rows end, and the others move; one thread or two; sampled numbers depend on the row."""
    found = []
    for n in (1, 2):
        threads(n)
        found.append(crnn.generate(language, np.tile(START, 9), 50, **options))
    assert_same_bits(found[1], found[0])
    alone = crnn.generate(language, START[:1], 50, **options)
    assert_same_bits(alone, found[0][:1])


def test_a_closed_loop_of_vectors(dtype, threads):
    model = crnn.Sequential([make("tcn", dtype), dense(F, F, dtype)])
    start = 0.3 * inputs(dtype)[:, 0]
    threads(2)
    found = crnn.generate(model, start, 30)
    stream, x = model.stream(B), start
    for t in range(30):
        x = stream.step(x)
        assert_same_bits(found[:, t], x)


# ----------------------------------------------------------------------- copies, files, threads


@every_layer
@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies(kind, duplicate):
    layer, x = make(kind), inputs()
    y, _, _ = layer.forward(x)
    other = duplicate(layer)
    assert repr(other) == repr(layer)
    assert_same_bits(other(x)[0], y)
    again = layer.astype("float32")
    assert {array.dtype.name for array in [*again.params.values(), again(x)[0]]} == {"float32"}
    assert_close(again(x)[0].astype(float), y, 1e-5)
    with pytest.raises(TypeError, match="tape: expected"):
        again.backward(layer.forward(x)[2], y)


@every_layer
def test_files(kind, tmp_path):
    layer, x = make(kind), inputs()
    model = crnn.Sequential([layer, dense(F, 2)])
    crnn.save(tmp_path / "model.npz", model)
    loaded = crnn.load(tmp_path / "model.npz")
    assert repr(loaded) == repr(model)
    assert_same_bits(loaded(x), model(x))


@every_layer
def test_several_python_threads(kind, threads):
    """Forward and backward at the same time; gradients are added to by one thread at a time."""
    threads(2)
    layer, x = make(kind), inputs()
    expected = copied(layer.forward(x, call=0)[:2])

    def run(_):
        return copied(layer.forward(x, call=0)[:2])

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(run, range(40)):
            assert_same_bits(found, expected)
    copies = [copy.deepcopy(layer) for _ in range(4)]
    whole = forward_backward(layer, x)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda one: forward_backward(one, x), copies):
            assert_same_bits(found, whole)


@pytest.fixture
def interrupted():
    """Ctrl-C, 0.2 seconds from now."""

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no timer")
def test_ctrl_c_ends_a_generation(language, interrupted):
    with pytest.raises(KeyboardInterrupt):
        crnn.generate(language, START, 10**7)


def test_symbols_and_cross_entropy():
    """A language model of one TCN learns to count."""
    layers = [
        crnn.Embedding(K, 8, seed=0),
        crnn.TCN(8, [8, 8], 2, seed=1),
        crnn.Dense(8, K, seed=2),
    ]
    language = crnn.Sequential(layers)
    x = (np.arange(20) + np.arange(8)[:, None]) % K
    data = x[:, :-1], x[:, 1:]
    train(language, data, 150, loss=cross_entropy)
    assert_same_bits(crnn.generate(language, np.array([2]), 6)[0], (3 + np.arange(6)) % K)


# ------------------------------------------------------------------------- what cannot be changed


def test_the_blocks_of_a_tcn_are_those_it_was_made_with(tmp_path):
    """A file has the arguments of the TCN, so a changed one is not saved as another network."""
    tcn = crnn.TCN(4, [4, 4], dropout=0.5, seed=0)
    with pytest.raises(AttributeError, match="append: a TCN has the blocks"):
        tcn.append(crnn.TCNBlock(4, 4))
    tcn.layers[0], tcn.layers[1] = tcn.layers[1], tcn.layers[0]
    assert repr(tcn)
    with pytest.raises(ValueError, match="layers: expected the blocks that the TCN was made with"):
        crnn.save(tmp_path / "model.npz", tcn)
    assert not list(tmp_path.iterdir())
    crnn.save(tmp_path / "model.npz", crnn.Sequential(tcn.layers))


@pytest.mark.parametrize(
    "block",
    [crnn.TCNBlock(3, 4), crnn.TransformerBlock(4, 2, memory_size=3, activation="swiglu")],
    ids=lambda block: type(block).__name__,
)
def test_the_parts_of_a_block_cannot_be_replaced(block):
    for name, part in block.parts.items():
        with pytest.raises(AttributeError, match=f"{name}: cannot be set"):
            setattr(block, name, part)


def test_a_folded_tcn_computes_the_same():
    tcn = crnn.TCN(3, [4, 5], dtype="float64", seed=0)
    for block in tcn.layers:
        block.params["conv1.g"][...] *= 1.5
    x = np.random.default_rng(0).normal(size=(2, 9, 3))
    folded = tcn.fold()
    assert not folded.weight_norm
    np.testing.assert_allclose(folded(x)[0], tcn(x)[0], rtol=1e-12, atol=1e-14)
