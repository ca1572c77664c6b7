"""Positions: against the NumPy twin and PyTorch, their gradients, and rows that are too long."""

import numpy as np
import pytest

import crnn
from crnn import _core, reference
from crnn.layers.compose.streams import stream_of
from support.comparing import assert_close, assert_same_bits
from support.running import fill
from support.temporal import POSITIONS, RUNS, Case, Problem, every_start, packed
from support.temporal_layers import TOLERANCES, assert_agree, expected, random_steps, solve

AHEAD = {name: run for name, run in RUNS.items() if "reverse" not in name}
every_case = pytest.mark.parametrize("name", POSITIONS)
every_run = pytest.mark.parametrize("run", AHEAD)
K, H, STEPS = 7, 8, 20
TOO_MANY = f"x: expected at most {STEPS} steps in a row, as many as there are positions, got "


def compare(problem, dtype, **options):
    """Compare a layer with its twin: y, the state, all gradients."""
    found, wanted = (
        solve(problem, problem.layer(dtype=dtype), **options),
        expected(problem, **options),
    )
    np.testing.assert_array_equal(found.pop("state 0"), wanted.pop("state 0"))
    assert_agree(found, wanted, dtype)


# --------------------------------------------------------------------------------- the NumPy twin


@every_case
@every_run
@every_start
def test_agrees_with_the_twin(name, run, given, dtype, isa, threads):
    threads(2)
    compare(Problem(name, given=given), dtype, **AHEAD[run])


@pytest.mark.parametrize("kind", ["learned", "sinusoidal"])
@pytest.mark.parametrize("size", [1, 2, 7, 16, 33])
def test_widths_and_many_steps(kind, size, dtype, threads):
    threads(3)
    steps = {"steps": 70} if kind == "learned" else {}
    problem = Problem(Case("Positions", (size,), {"kind": kind} | steps), sizes=(9, 60))
    compare(problem, dtype)
    for seed in range(3):
        compare(problem, dtype, **random_steps(np.random.default_rng(seed), 9, 60))


def test_sines_of_far_positions():
    """Computed in double and rounded once: far positions are as exact as near ones."""
    layer = crnn.Positions(6, kind="sinusoidal")
    state = np.array([0, 10**4, 10**8, 10**12])
    y, after = layer(np.zeros((4, 3, 6), "float32"), state)
    t = (state[:, None] + np.arange(3))[..., None] * 10000.0 ** (-2 * (np.arange(3)) / 6)
    np.testing.assert_array_equal(y[..., ::2], np.sin(t).astype("float32"))
    np.testing.assert_array_equal(y[..., 1::2], np.cos(t).astype("float32"))
    np.testing.assert_array_equal(after, state + 3)
    y, after = layer(np.zeros((1, 2, 6)), [2**60])
    assert np.isfinite(y).all()
    np.testing.assert_array_equal(after, [2**60 + 2])


def test_positions_of_a_small_batch_by_hand():
    """Masked steps do not count and repeat the last output; a reset begins at 0."""
    layer = crnn.Positions(1, 9, dtype="float64")
    layer.params["P"] = np.arange(9.0)[:, None]
    mask = [[1, 1, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1]]
    resets = [[0, 0, 0, 0, 1, 0], [0] * 6]
    y, state = layer(np.zeros((2, 6, 1)), [3, 4], lengths=[6, 4], mask=mask, resets=resets)
    np.testing.assert_array_equal(y[:, :, 0], [[3, 4, 4, 5, 0, 1], [0, 4, 5, 6, 0, 0]])
    np.testing.assert_array_equal(state, [2, 7])


# -------------------------------------------------------------------------------------- gradients


@every_case
@pytest.mark.parametrize("run", ["full", "holes"])
def test_gradients(name, run):
    problem = Problem(name)
    layer = problem.layer()
    report = crnn.gradcheck(layer, problem.x, packed(problem.state), **AHEAD[run], tolerance=1e-7)
    assert report, str(report)
    assert {row.name for row in report.rows} == {*layer.params, "x"}


def language_model(kind="learned", dtype="float64", *, steps=STEPS, depth=2, tied=False):
    embedding = crnn.Embedding(K, H, dtype=dtype, seed=1)
    positions = crnn.Positions(H, steps, kind, dtype=dtype, seed=2)
    blocks = [
        crnn.TransformerBlock(H, 2, rotary=False, dtype=dtype, seed=3 + k) for k in range(depth)
    ]
    dense = crnn.Dense(H, K, dtype=dtype, seed=9)
    head = crnn.TiedDense(embedding, bias=False) if tied else dense
    layers = [embedding, positions, *blocks, crnn.LayerNorm(H, dtype=dtype), head]
    return fill(crnn.Sequential(layers), scale=0.5)


def symbols(steps, rows=4, seed=0):
    return np.random.default_rng(seed).integers(0, K, (rows, steps))


@pytest.mark.parametrize("kind", ["learned", "sinusoidal"])
def test_gradients_of_a_model(kind):
    model, x = language_model(kind), symbols(9)
    _, state = model(symbols(5, seed=1), lengths=[5, 0, 3, 2])
    for given in (None, state):
        report = crnn.gradcheck(model, x, given, lengths=[9, 4, 0, 7], tolerance=1e-7)
        assert report, str(report)


def test_gradients_in_both_directions():
    layer = fill(crnn.Bidirectional(crnn.Positions(3, 20, dtype="float64", seed=2)))
    x = np.random.default_rng(0).normal(size=(3, 6, 3))
    y, (ahead, back), _ = layer.forward(x, lengths=[6, 2, 0])
    np.testing.assert_array_equal(ahead, [6, 2, 0])
    np.testing.assert_array_equal(back, [6, 2, 0])
    assert_same_bits(y[1, 1, 3:], x[1, 1] + layer.params["backward.P"][0])
    assert crnn.gradcheck(layer, x, lengths=[6, 2, 0], tolerance=1e-7)


@pytest.mark.parametrize("tied", [False, True], ids=["dense", "tied"])
def test_a_run_of_training_learns_what_only_positions_tell(tied):
    """Which half of the row a step is in, from symbols that are all the same."""
    model = language_model(dtype="float32", tied=tied)
    x, target = np.zeros((8, 12), int), np.repeat([0, 1], 6) * np.ones((8, 1), int)
    crnn.fit(
        model,
        [(x, target)],
        loss=crnn.losses.cross_entropy,
        optimizer=crnn.optim.Adam(model, 1e-2),
        epochs=60,
        progress=False,
    )
    assert crnn.losses.cross_entropy(model(x)[0], target)[0] < 0.05


# ------------------------------------------------------------------------------------------- bits


@every_case
@pytest.mark.parametrize("count", [1, 3])
def test_chunks_streams_and_rows_have_the_bits_of_the_whole(name, count, dtype, isa, threads):
    threads(count)
    problem = Problem(Case("Positions", (5,), POSITIONS[name].options | _many(name)), sizes=(6, 90))
    layer = problem.layer(dtype=dtype)
    x, state = problem.x.astype(dtype), np.array([0, 3, 3, 40, 1, 3])
    y, end = layer(x, state)
    for size in (1, 7, 64):
        after, parts = state, []
        for begin in range(0, 90, size):
            part, after = layer(x[:, begin : begin + size], after)
            parts.append(part)
        assert_same_bits([np.concatenate(parts, axis=1), after], [y, end])
    stream = layer.stream(6, state)
    for t in range(90):
        assert_same_bits(stream.step(x[:, t]), y[:, t])
    assert_same_bits(stream.state, end)
    for b in range(6):
        assert_same_bits(layer(x[b : b + 1], state[b : b + 1])[0], y[b : b + 1])


def _many(name):
    return {"steps": 130} if "steps" in POSITIONS[name].options else {}


def test_unread_steps_have_no_effect():
    layer = crnn.Positions(3, 20, dtype="float64", seed=0)
    x, options = np.random.default_rng(0).normal(size=(3, 8, 3)), {"lengths": [8, 3, 0]}
    options["mask"] = np.arange(24).reshape(3, 8) % 3 > 0
    spoiled = np.where(options["mask"][..., None], x, np.nan)
    spoiled[1, 3:] = spoiled[2] = np.nan
    results = []
    for one in (x, spoiled):
        layer.zero_grad()
        y, state, tape = layer.forward(one, **options)
        dx, _ = layer.backward(tape, np.cos(y))
        results.append([y, state, dx, layer.grads["P"].copy()])
    assert_same_bits(results[1], results[0])


# ---------------------------------------------------------------------------------------- PyTorch


@pytest.mark.parametrize("rows", [1, 5])
def test_agrees_with_nanogpt(rows, dtype):
    """The whole model: learned positions, blocks, the last norm, and the head tied to W."""
    torch = pytest.importorskip("torch")
    from support.torch_attention import gpt

    model, x = language_model(dtype=dtype, depth=3, tied=True), symbols(STEPS, rows)
    w = {name: torch.tensor(W, requires_grad=True) for name, W in model.params.items()}
    assert list(w)[:2] == ["0.W", "1.P"]
    logits = gpt(w, torch.tensor(x), 2)
    targets = symbols(STEPS, rows, seed=1)
    flat = torch.tensor(targets.ravel())
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), flat)
    loss.backward()
    found, _, tape = model.forward(x)
    value, dlogits = crnn.losses.cross_entropy(found, targets)
    model.backward(tape, dlogits)
    assert_close(found, logits.detach().numpy(), TOLERANCES[dtype])
    assert abs(value - loss.item()) < TOLERANCES[dtype]
    assert list(model.grads) == list(w)
    for name, parameter in w.items():
        scale = np.abs(model.grads[name]).max()
        np.testing.assert_allclose(
            model.grads[name] / scale, parameter.grad / scale, rtol=0, atol=10 * TOLERANCES[dtype]
        )


def test_initial_weights():
    """Normal with deviation 0.02; those of sines are none."""
    P = crnn.Positions(64, 200, seed=0).params["P"]
    assert abs(P.std() / 0.02 - 1) < 0.02
    assert abs(P.mean()) < 4e-4
    assert_same_bits(P, crnn.Positions(64, 200, seed=0).params["P"])
    assert not crnn.Positions(64, kind="sinusoidal").params
    assert crnn.Positions(64, 200).seed != crnn.Positions(64, 200).seed


def test_the_layer_describes_itself():
    layer = crnn.Positions(4, 9, seed=1)
    assert repr(layer) == "Positions(4, steps=9, seed=1)"
    assert repr(crnn.Positions(4, kind="sinusoidal", seed=1)) == (
        "Positions(4, kind='sinusoidal', seed=1)"
    )
    assert (layer.input_size, layer.output_size, layer.receptive_field) == (4, 4, 1)
    assert layer.summary().parameters == crnn.Positions.parameter_count(layer.config) == 36
    _, _, tape = layer.forward(np.ones((1, 2, 4)))
    assert dir(tape) == ["y"]
    assert "Positions" in repr(layer.stream())


# -------------------------------------------------------------------- more steps than there may be


KINDS = ("learned", "sinusoidal")
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_forward_refuses_more_steps(kind):
    layer = crnn.Positions(3, STEPS, kind, seed=0)
    x = np.zeros((3, 25, 3), "float32")
    layer(x, lengths=[20, 3, 0])
    layer(x, mask=np.arange(25) % 2 * np.ones((3, 1), int))
    layer(x, resets=np.arange(25) % 10 * np.ones((3, 1), int) == 9)
    for call in (layer, layer.forward):
        with pytest.raises(ValueError, match=f"{TOO_MANY}25"):
            call(x)
        with pytest.raises(ValueError, match=f"{TOO_MANY}21"):
            call(x, lengths=[3, 21, 0])
        with pytest.raises(ValueError, match=f"{TOO_MANY}23"):
            call(x, [0, 19, 20], lengths=[20, 1, 3])
        with pytest.raises(ValueError, match="state: expected steps from 0 to 20, got 21 in row 1"):
            call(x, [0, 21, 0])
    state = np.array([0, 20, 0])
    assert_same_bits(layer(x, state, lengths=[20, 0, 1])[1], np.array([20, 20, 1]))


@every_kind
def test_models_refuse_more_steps(kind):
    model = language_model(kind)
    _, state = model(symbols(15))
    for call in (model, model.forward):
        with pytest.raises(ValueError, match=f"{TOO_MANY}21") as caught:
            call(symbols(6), state)
        assert "layers[1]" in caught.value.__notes__[0]


@every_kind
def test_streams_refuse_more_steps(kind):
    """The stream stays as it is; a row that begins anew goes on."""
    model, x = language_model(kind), symbols(STEPS)
    for layer, steps in ((model, x), (model[1], np.zeros((4, STEPS, H)))):
        stream = stream_of(layer, 4, None)
        for t in range(STEPS):
            y = stream.step(steps[:, t])
        before = stream.state
        for _ in range(2):
            with pytest.raises(ValueError, match=f"{TOO_MANY}21"):
                stream.step(steps[:, 0])
        assert_same_bits(stream.state, before)
        stream.reset([0, 1, 2])
        with pytest.raises(ValueError, match=f"{TOO_MANY}21"):
            stream.step(steps[:, 0])
        stream.reset([3])
        for t in range(STEPS):
            y = stream.step(steps[:, t])
        assert_same_bits(y, layer(steps)[0][:, -1])
        stream.state = before
        with pytest.raises(ValueError, match=f"{TOO_MANY}21"):
            stream.step(steps[:, 0])
        wrong = np.array([0, 0, -1, 0])
        with pytest.raises(ValueError, match=r"state\[?1?\]?: expected steps from 0 to 20, got -1"):
            stream.state = [None, wrong, *[None] * 4] if layer is model else wrong
        assert_same_bits(stream.state, before)


@every_kind
@pytest.mark.parametrize("count", [1, 2])
def test_generation_refuses_more_steps(kind, count, threads):
    threads(count)
    model = language_model(kind)
    start = np.array([0, 3, 5, 1])
    found = crnn.generate(model, start, STEPS)
    x = np.concatenate([start[:, None], found[:, :-1]], axis=1)
    np.testing.assert_array_equal(found, model(x)[0].argmax(axis=2))
    with pytest.raises(ValueError, match=f"{TOO_MANY}21"):
        crnn.generate(model, start, STEPS + 1)
    _, state = model(symbols(15), lengths=[15, 0, 3, 7])
    found = crnn.generate(model, start, 5, state=state)
    with pytest.raises(ValueError, match=f"{TOO_MANY}21"):
        crnn.generate(model, start, 6, state=state)
    vectors = crnn.Sequential([model[1], model[2]])
    loop = stream_of(vectors, 3, None)
    given = np.zeros((3, H))
    with pytest.raises(ValueError, match=f"{TOO_MANY}1000000"):
        loop._feed(given, 10**6, None)
    assert not loop.state[0].any()
    first = loop._feed(given, STEPS, None)
    assert first.shape == (3, STEPS, H)
    with pytest.raises(ValueError, match=f"{TOO_MANY}22"):
        loop._feed(given, 2, None)


def test_a_search_that_ends_in_time_is_not_refused(threads):
    """A row that has ended does not count. Symbol k + 1 follows k; symbol 4 ends a row."""
    threads(2)
    embedding, dense = (
        make(*size, seed=0) for make, size in ((crnn.Embedding, (K, K)), (crnn.Dense, (K, K)))
    )
    embedding.params["W"], dense.params["W"] = np.eye(K), np.roll(np.eye(K), 1, axis=0)
    model = crnn.Sequential([embedding, crnn.Positions(K, STEPS, seed=1), dense])
    state = [None, np.array([18, 0]), None]
    found = crnn.generate(model, [3, 5], 10, state=state, stop=4)
    np.testing.assert_array_equal(found[:, :6], [[4] * 6, [6, 0, 1, 2, 3, 4]])
    with pytest.raises(ValueError, match=f"{TOO_MANY}21"):
        crnn.generate(model, [5, 3], 10, state=state, stop=4)
    search = _core.Search(2, K, 10, width=3, beam=True, stop=4)
    stream = stream_of(model, 2, state)
    with pytest.raises(ValueError, match=f"{TOO_MANY}21"):  # other beams of row 0 go on
        stream._generate(np.array([3, 5]), (search,))
    assert_same_bits(stream.state[1], state[1])


def _rows(state, rows):
    return tuple(part[rows] for part in state) if isinstance(state, tuple) else state[rows]


@every_kind
def test_beams(kind, dtype, threads):
    """What beams find is what a plain loop finds, whose rows are put in the order of parents."""
    threads(2)
    model, start = language_model(kind, dtype), np.array([0, 3, 5, 1])
    _, state = model(symbols(7), lengths=[7, 0, 3, 5])
    make = {"width": 3, "beam": True, "stop": 4}
    search, plain = (_core.Search(4, K, 12, **make) for _ in range(2))
    stream_of(model, 4, state)._generate(start, (search,))
    stream = stream_of(model, 4, state)
    logits = stream.step(start)
    while not plain.done:
        found, parents = plain.step(logits)
        if not plain.done:
            after = [None if part is None else _rows(part, parents) for part in stream.state]
            stream = stream_of(model, len(parents), after)
            logits = stream.step(found)
    for array, other in zip(search.result(), plain.result(), strict=True):
        np.testing.assert_array_equal(array, other)


def test_encoders_and_decoders():
    options = {"dtype": "float64"}
    encoder = crnn.Sequential(
        [crnn.Positions(8, 9, seed=0, **options), crnn.SelfAttention(8, 2, seed=1, **options)]
    )
    decoder = crnn.Sequential(
        [crnn.Positions(8, 6, seed=2, **options), crnn.GRU(8, 8, seed=3, **options)]
    )
    model = crnn.Seq2Seq(
        encoder,
        decoder,
        source_symbols=K,
        target_symbols=K,
        attention="dot",
        input_feeding=False,
        seed=4,
    )
    fill(model, scale=0.4)
    source, target = symbols(9, 3), symbols(6, 3, seed=1)
    report = crnn.gradcheck(crnn.TeacherForcing(model), (source, target), tolerance=1e-7)
    assert report, str(report)
    tokens, _ = model.generate(source, start=0, stop=1, max_steps=6)
    assert tokens.shape[0] == 3
    with pytest.raises(ValueError, match="x: expected at most 6 steps in a row"):
        model.forward(source, symbols(7, 3))
    with pytest.raises(ValueError, match="x: expected at most 9 steps in a row"):
        model.forward(symbols(10, 3), target)
    model.params["output.b"][1] = -99  # it never stops
    with pytest.raises(ValueError, match="x: expected at most 6 steps in a row"):
        model.generate(source, start=0, stop=1, max_steps=7)


def test_tbptt_counts_on():
    """Windows of a long row go on from the positions of the window before."""
    model, x = language_model("sinusoidal", steps=None), symbols(40)
    history = crnn.fit(
        model,
        [(x, x)],
        loss=crnn.losses.cross_entropy,
        optimizer=crnn.optim.SGD(model, 0.0),
        epochs=1,
        tbptt=(8, 16),
        progress=False,
    )
    whole, _ = crnn.losses.cross_entropy(model(x)[0], x)
    assert_close(np.array(history["loss"]), np.array([whole]), 1e-12)


# ------------------------------------------------------------------------------------- bad input


def test_wrong_arguments():
    for make, message in (
        (lambda: crnn.Positions(8), 'steps: expected an integer with kind="learned", got None'),
        (lambda: crnn.Positions(0, 3), "size: expected an integer of at least 1.*, got 0"),
        (lambda: crnn.Positions(8, 0), "steps: expected an integer of at least 1.*, got 0"),
        (lambda: crnn.Positions(8, 3, "rotary"), "kind: expected one of .*, got 'rotary'"),
        (lambda: crnn.Positions(8, 3, ["learned"]), r"kind: expected one of .*, got \['learned'\]"),
        (lambda: crnn.Positions(2**40, 2**40), "size, steps: expected"),
        (lambda: crnn.Positions(8, 3, dtype="int8"), "dtype: expected"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            make()


def test_wrong_states_and_tapes():
    layer, x = crnn.Positions(3, 9, seed=0), np.zeros((2, 4, 3))
    y, _, tape = layer.forward(x)
    for state, message in (
        (
            np.zeros(3, int),
            r"state: expected integers of shape \(B=2,\), got int64 of shape \(3,\)",
        ),
        (np.zeros(2), r"state: expected integers of shape \(B=2,\), got float64"),
        ([3, -1], "state: expected steps from 0 to 9, got -1 in row 1"),
        ("state", r"state: expected integers of shape \(B=2,\)"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            layer(x, state)
        with pytest.raises((ValueError, TypeError), match=message):
            layer.stream(2, state)
    endless = crnn.Positions(3, kind="sinusoidal")
    with pytest.raises(
        ValueError, match="state: expected steps from 0 to 2305843009213693951, got"
    ):
        endless(x, [0, 2**62])
    with pytest.raises(TypeError, match="dstate: expected None, because a number of steps has no"):
        layer.backward(tape, y, np.zeros(2))
    assert not layer.grads["P"].any()
    for other in (crnn.Positions(3, 8), crnn.Positions(3, 9, dtype="float64"), endless):
        with pytest.raises(TypeError, match="tape: expected one that forward of this layer"):
            other.backward(tape, y)
    with pytest.raises(TypeError, match="x: expected floats"):
        layer(np.zeros((2, 4), int))


def test_the_twin_refuses_what_the_layer_refuses():
    twin = reference.Positions(steps=4)
    with pytest.raises(ValueError, match="x: expected at most 4 steps in a row, got 5"):
        twin.forward({"P": np.zeros((4, 2))}, np.zeros((1, 5, 2)))
