"""Models that the core runs in one call: the bits, errors and tapes of a call layer by layer."""

import copy

import numpy as np
import pytest

import crnn
from crnn.layers.compose.planned import PlannedTape
from support.comparing import assert_close, assert_same_bits
from support.planning import B, LayerByLayer, T, calls_of, results_of, steps_of
from support.running import leaves

I, K = 5, 6


def layers_of(name, dtype="float64"):
    """Return the layers of a model; the same at each call."""
    options = {"dtype": dtype}
    return {
        "stack": lambda: [
            crnn.LSTM(I, 8, seed=1, **options),
            crnn.Dropout(0.3, seed=2),
            crnn.GRU(8, 7, seed=3, zoneout=0.2, **options),
            crnn.Dense(7, K, seed=4, **options),
        ],
        "embedded": lambda: [
            crnn.Embedding(K, 5, seed=1, **options),
            crnn.GRU(5, 8, seed=2, **options),
            crnn.Dropout(0.4, variational=True, seed=5),
            crnn.LSTM(8, 7, seed=3, recurrent_dropout=0.3, **options),
            crnn.Dense(7, K, seed=4, **options),
        ],
        "pointwise": lambda: [
            crnn.Dense(I, 9, seed=1, **options),
            crnn.Activation("gelu"),
            crnn.LayerNorm(9, **options),
            crnn.JANET(9, 8, seed=2, reverse=True, learn_state=True, **options),
            crnn.LayerNorm(8, **options),
            crnn.Activation("tanh"),
        ],
        "nested": lambda: [
            crnn.Sequential([crnn.RNN(I, 6, seed=1, **options), crnn.Dropout(0.2, seed=7)]),
            crnn.Sequential([crnn.LSTM(6, 8, proj_size=3, seed=2, **options)]),
        ],
        "both ways": lambda: [
            crnn.Embedding(K, 5, seed=1, **options),
            crnn.Bidirectional(crnn.LSTM(5, 4, seed=2, recurrent_dropout=0.3, **options)),
            crnn.Dropout(0.4, seed=5),
            crnn.Bidirectional(crnn.GRU(8, 7, seed=3, zoneout=0.2, **options), "mul"),
            crnn.Sequential([crnn.Bidirectional(crnn.RNN(7, 3, seed=4, **options), "mean")]),
            crnn.Dense(3, K, seed=4, **options),
        ],
        "looked up": lambda: [
            crnn.Embedding(K, 5, seed=1, **options),
            crnn.LayerNorm(5, **options),
            crnn.GRU(5, 8, seed=2, **options),
        ],
        "pooled": lambda: [
            crnn.Embedding(K, 5, seed=1, **options),
            crnn.LSTM(5, 8, seed=2, **options),
            crnn.Dropout(0.3, seed=3),
            crnn.Pool("mean"),
            crnn.Dropout(0.4, seed=4),
            crnn.Dense(8, 3, seed=5, **options),
        ],
        "pooled steps": lambda: [
            crnn.Dense(I, 8, seed=1, **options),
            crnn.Pool("max"),
            crnn.LayerNorm(8, **options),
            crnn.Residual(crnn.Sequential([crnn.Dense(8, 8, seed=2, **options)])),
            crnn.Activation("gelu"),
        ],
        "last step": lambda: [crnn.GRU(I, 8, seed=1, **options), crnn.Pool("last")],
        "last state": lambda: [
            crnn.Embedding(K, 5, seed=1, **options),
            crnn.LastState(crnn.LSTM(5, 8, seed=2, learn_state=True, **options)),
            crnn.Dense(8, 3, seed=3, **options),
        ],
        "last cell state": lambda: [
            crnn.LastState(crnn.LSTM(I, 8, proj_size=3, seed=2, reverse=True, **options), of="c")
        ],
        "all last states": lambda: [
            crnn.LastState(
                crnn.Sequential(
                    [crnn.GRU(I, 6, seed=1, **options), crnn.LSTM(6, 4, seed=2, **options)]
                ),
                of="all",
            ),
            crnn.Dropout(0.2, variational=True, seed=3),
        ],
        "both last states": lambda: [
            crnn.Embedding(K, 5, seed=1, **options),
            crnn.LastState(crnn.Bidirectional(crnn.LSTM(5, 6, seed=2, **options))),
            crnn.Dense(12, 3, seed=3, **options),
        ],
        "merged last states": lambda: [
            crnn.Residual(crnn.Bidirectional(crnn.GRU(I, I, seed=1, **options), "mean")),
            crnn.LastState(crnn.Bidirectional(crnn.GRU(I, 6, seed=2, **options), "mul")),
        ],
        "residual": lambda: [
            crnn.Embedding(K, 8, seed=1, **options),
            crnn.Residual(crnn.LSTM(8, 8, seed=2, **options)),
            crnn.Residual(
                crnn.Sequential(
                    [
                        crnn.GRU(8, 6, seed=3, **options),
                        crnn.Dropout(0.2, seed=4),
                        crnn.Dense(6, 8, seed=5, **options),
                    ]
                )
            ),
            crnn.Residual(crnn.Residual(crnn.Activation("tanh"))),
            crnn.Dense(8, 3, seed=6, **options),
        ],
        "residual of steps": lambda: [
            crnn.Residual(crnn.Dense(I, I, seed=1, **options)),
            crnn.Residual(crnn.RNN(I, I, seed=2, **options)),
        ],
    }[name]()


WITHOUT_TIME = ["pooled", "pooled steps", "last step", "last state", "last cell state"]
WITHOUT_TIME += ["all last states", "both last states", "merged last states"]
MODELS = ["stack", "embedded", "pointwise", "nested", "both ways", "looked up", "residual"]
MODELS += ["residual of steps", *WITHOUT_TIME]
SYMBOLS = {"embedded", "both ways", "looked up", "pooled", "last state", "both last states"}
SYMBOLS |= {"residual"}


def input_of(name):
    rng = np.random.default_rng(3)
    if name in SYMBOLS:
        return rng.integers(0, K, (B, T))
    return rng.standard_normal((B, T, I))


def pair_of(name, dtype="float64"):
    """Return a model with a plan, and the same model without."""
    planned, plain = crnn.Sequential(layers_of(name, dtype)), LayerByLayer(layers_of(name, dtype))
    assert planned._planned().planned(0) is not None
    assert plain._planned().planned(0) is None
    return planned, plain


def grads_of(model):
    return {name: grad.copy() for name, grad in model.grads.items()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("steps", ["all", "lengths", "holes", "answered"])
@pytest.mark.parametrize("name", MODELS)
def test_the_bits_of_a_call_layer_by_layer(name, steps, dtype):
    planned, plain = pair_of(name, dtype)
    x, options = input_of(name), steps_of(steps)
    found, expected = results_of(planned, x, **options), results_of(plain, x, **options)
    assert_same_bits(leaves(found), leaves(expected))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_gradients(name, count, threads):
    threads(count)
    model = crnn.Sequential(layers_of(name))
    report = crnn.gradcheck(model, input_of(name), lengths=[T, 3, 0, 5])
    assert report.ok, report


@pytest.mark.parametrize("name", MODELS)
def test_tapes_of_single_layers(name):
    model, _ = pair_of(name)
    x = input_of(name)
    y, _, tape = model.forward(x, lengths=[T, 3, 0, 5], call=1)
    assert type(tape) is PlannedTape
    assert len(tape) == len(model.layers)
    model.backward(tape, np.cos(y))
    at_once = grads_of(model)
    model.zero_grad()
    model.backward(tape.layers, np.cos(y))  # layer by layer
    for key, grad in grads_of(model).items():
        assert_close(grad, at_once[key], 1e-12, key)


@pytest.mark.parametrize(
    "name", ["stack", "embedded", "looked up", "residual", "residual of steps"]
)
def test_a_stream_is_the_whole(name):
    model, _ = pair_of(name)
    x = input_of(name)
    y, after = model(x)
    stream = model.stream(B)
    assert_same_bits(np.stack([stream.step(x[:, t]) for t in range(T)], axis=1), y)
    assert_same_bits(leaves(stream.state), leaves(after))
    stream.reset([1])
    first = model(x[1:2])[0][:, 0]
    assert_same_bits(stream.step(x[:, 0])[1:2], first)


def test_a_stream_has_copies_of_the_parameters():
    model, _ = pair_of("embedded")
    x = input_of("embedded")
    stream, y = model.stream(B), model(x)[0]
    for param in model.params.values():
        param[...] = 7
    assert_same_bits(np.stack([stream.step(x[:, t]) for t in range(T)], axis=1), y)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stop": 2},
        {"temperature": 1.2},
        {"temperature": 1.2, "top_k": 3, "stop": 1},
        {"temperature": 1.2, "top_p": 0.6},
    ],
)
@pytest.mark.parametrize("symbols", [K, 300])
def test_generated_symbols_are_those_of_a_stream(symbols, options, threads):
    threads(2)
    layers = [
        crnn.Embedding(symbols, 5, seed=1),
        crnn.LSTM(5, 8, seed=2, learn_state=True),
        crnn.Dropout(0.2),
        crnn.GRU(8, 7, seed=3),
        crnn.Dense(7, symbols, seed=4),
    ]
    planned, plain = crnn.Sequential(layers), LayerByLayer(layers)
    planned.params["1.h0"] = planned.params["4.b"] = 0.5
    start, (_, state) = np.arange(B), planned(np.ones((B, 3), int))
    for begun in (None, state):
        made = [
            crnn.generate(m, start, 40, state=begun, seed=3, **options) for m in (planned, plain)
        ]
        assert_same_bits(*made)
    alone = crnn.generate(planned, start[:1], 40, state=None, seed=3, **options)
    assert_same_bits(alone, crnn.generate(planned, start, 40, seed=3, **options)[:1])


def test_generation_in_the_core_refuses_what_does_not_fit():
    model, _ = pair_of("embedded")
    stream = model.stream(B)
    start, Search = np.zeros(B, int), crnn._core.Search
    with pytest.raises(ValueError, match=r"^start: expected integers from 0 to K-1=5, got 6 in"):
        stream._generate([0, 0, 0, K], (Search(B, K, 4),))
    with pytest.raises(ValueError, match=r"^start: expected integers of shape \(B=4,\)"):
        stream._generate([0, 0], (Search(B, K, 4),))
    begun = Search(B, K, 4)
    begun.step(np.zeros((B, K)))
    for searches in [
        (),
        (5,),
        (begun,),
        (Search(B - 1, K, 4),),
        (Search(B + 1, K, 4),),
        (Search(B, K + 1, 4),),
        (Search(2, K, 4), Search(2, K, 4)),
        (Search(B, K, 4), Search(1, K, 4, first_group=B)),
    ]:
        with pytest.raises(ValueError, match=r"^searches: expected sizes and types that fit"):
            stream._generate(start, searches)
    plain = crnn.GRU(3, 4).stream(B)
    with pytest.raises(ValueError, match=r"^searches: "):
        plain._generate(start, (Search(B, 3, 4),))
    search = Search(B, K, 4)
    with pytest.raises(RuntimeError, match=r"^search: expected one that is not in use"):
        stream._generate(start, (search, search))
    stream._generate(start, (Search(2, K, 4), Search(2, K, 4, first_group=2)))


def test_a_logit_that_is_nan_ends_the_generation():
    model, _ = pair_of("embedded")
    model.params["4.b"][1] = np.nan
    with pytest.raises(FloatingPointError, match=r"^logits: expected numbers at step 0, got NaN"):
        crnn.generate(model, [0, 1], 5)


def test_few_python_calls():
    three = [crnn.Embedding(K, 5), crnn.Bidirectional(crnn.LSTM(5, 4)), crnn.Dense(8, K)]
    x = input_of("embedded")
    others = [pair_of(name)[0] for name in ("embedded", "pooled", "last state", "residual")]
    for model in (*others, crnn.Sequential(three)):
        y, _, tape = model.forward(x)
        operations = {
            "call": lambda m=model: m(x),
            "forward": lambda m=model: m.forward(x),
            "backward": lambda m=model, t=tape, dy=y: m.backward(t, dy),
        }
        assert {name: calls_of(f) for name, f in operations.items() if calls_of(f) > 12} == {}
    model, _ = pair_of("embedded")
    stream = model.stream(B)
    drawn = {"temperature": 0.9, "top_k": 4, "top_p": 0.9, "seed": 2, "stop": 1}
    operations = {
        "generate": lambda: crnn.generate(model, [0, 1], 20, **drawn),
        "step": lambda: stream.step(x[:, 0]),
    }
    assert {name: calls_of(f) for name, f in operations.items() if calls_of(f) > 12} == {}


# ------------------------------------------------------------------------- changes of the model


def test_replaced_methods_are_noticed():
    model, _ = pair_of("stack")
    x = input_of("stack")
    y, _ = model(x)
    model.layers[3].forward = lambda *args, **kwargs: crnn.Dense.forward(
        model.layers[3], *args, **kwargs
    )
    assert model._planned().planned(0) is None
    assert_same_bits(model(x)[0], y)
    del model.layers[3].forward
    assert model._planned().planned(0) is not None


def test_other_layers_and_options_are_noticed():
    model, _ = pair_of("stack")
    x = input_of("stack")
    model(x)
    model.layers[1].p = 0.0
    y, _, _ = model.forward(x, call=1)
    model.layers[1].p = 0.9
    other, _, _ = model.forward(x, call=1)
    assert (y != other).any()
    model.layers[3] = crnn.Dense(7, 2, dtype="float64", seed=1)
    assert model(x)[0].shape == (B, T, 2)
    model.layers[0].__init__(I, 8, dtype="float64", seed=9)
    assert_same_bits(model(x)[0], LayerByLayer(model.layers)(x)[0])


@pytest.mark.parametrize("replaced", [False, True])
def test_backward_draws_what_forward_drew(replaced):
    results = []
    for model in pair_of("stack"):
        x = input_of("stack")
        _, _, tape = model.forward(x, call=1)
        params = model.layers[2].flat_params.copy()
        options = {"zoneout": 0.2, "dtype": "float64", "seed": 8}
        if replaced:
            model.layers[2] = crnn.GRU(8, 7, **options)
        else:
            model.layers[2].__init__(8, 7, **options)
        model.layers[2].flat_params = params
        model.layers[1].variational = True
        dx, _ = model.backward(tape, np.ones((B, T, K)))
        results.append([dx, *grads_of(model).values()])
    for one, other in zip(*results, strict=True):
        assert_same_bits(one, other)


def test_a_layer_that_is_made_anew_changes_no_gradient_of_others():
    for model in pair_of("looked up"):
        y, _, tape = model.forward(input_of("looked up"))
        model.layers[0].__init__(K, 6, dtype="float64")
        with pytest.raises(ValueError, match=r"^tape: expected one of a layer like this"):
            model.backward(tape, y)
        assert not any(grad.any() for grad in model.grads.values())


def test_a_layer_that_is_made_anew_with_other_sizes_is_an_error():
    model, _ = pair_of("stack")
    x = input_of("stack")
    y, _, tape = model.forward(x)
    model.layers[0].__init__(I, 3, dtype="float64")
    with pytest.raises(ValueError, match=r"^x: expected floats of shape \(B, T, I=8\)"):
        model(x)
    with pytest.raises(ValueError, match=r"^tape: expected one of a layer like this"):
        model.backward(tape, y)


def test_backward_of_a_copy_adds_to_the_copy():
    model, _ = pair_of("embedded")
    y, _, tape = model.forward(input_of("embedded"), call=0)
    other = copy.deepcopy(model)
    other.backward(tape, y)
    assert not any(grad.any() for grad in model.grads.values())
    model.backward(tape, y)
    for key, grad in model.grads.items():
        assert_same_bits(grad, other.grads[key])


@pytest.mark.parametrize("name", WITHOUT_TIME)
def test_no_stream_without_the_time_axis(name):
    errors = []
    for model in pair_of(name):
        with pytest.raises(ValueError, match=r"step by step") as caught:
            model.stream(B)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]


def test_changes_inside_of_a_residual_and_a_last_state_are_noticed():
    model, _ = pair_of("residual")
    x = input_of("residual")
    y, _, _ = model.forward(x, call=0)
    model.layers[2].layer.layers[1].p = 0.9
    other, _, _ = model.forward(x, call=0)
    assert (y != other).any()
    inner = model.layers[1].layer
    inner.forward = lambda *args, **kwargs: crnn.LSTM.forward(inner, *args, **kwargs)
    assert model._planned().planned(0) is None
    model = crnn.Sequential([crnn.LastState(crnn.LSTM(I, 4, seed=1))])
    x = input_of("stack")
    h, state = model(x)
    model.layers[0].of = "c"
    assert_same_bits(h, state[0][0])
    assert_same_bits(model(x)[0], state[0][1])


def test_a_state_of_another_width_is_an_error():
    model = crnn.Sequential([crnn.LastState(crnn.LSTM(I, 8, proj_size=3), of="c")])
    x = input_of("stack")
    y, _, tape = model.forward(x)
    model.layers[0].layer.__init__(I, 9, proj_size=3)
    with pytest.raises(ValueError, match=r"^tape: expected one of a layer like this"):
        model.backward(tape, y)
    assert model(x)[0].shape == (B, 9)


def test_a_row_without_steps_ends_with_its_initial_state():
    model, _ = pair_of("last state")
    begin = [None, (np.full((B, 8), 0.5), np.full((B, 8), 2.0)), None]
    lengths, x = [T, 0, 3, 0], input_of("last state")
    y, after, tape = model.forward(x, begin, lengths=lengths)
    assert_same_bits(after[1][0][1], begin[1][0][1])
    assert_same_bits(y, model[2](after[1][0])[0])
    dh = np.ones((B, 3)) @ model.params["2.W"]
    _, dbegin = model.backward(tape, np.ones((B, 3)))
    assert_close(dbegin[1][0][[1, 3]], dh[[1, 3]], 1e-15)


def test_dstate_is_not_changed():
    model, _ = pair_of("last state")
    y, after, tape = model.forward(input_of("last state"))
    before = copy.deepcopy(after)
    model.backward(tape, np.ones_like(y), after)
    for one, other in zip(leaves(after), leaves(before), strict=True):
        assert_same_bits(one, other)


# ----------------------------------------------------------------------------------- arguments


def arguments():
    x = input_of("stack")
    yield "x of another width", lambda m: m(x[..., :2])
    yield "x without steps", lambda m: m(x[0])
    yield "x of words", lambda m: m([["a"]])
    yield "state of another length", lambda m: m(x, [None])
    yield "state of another shape", lambda m: m(x, [np.ones((B, 3)), None, None, None])
    yield "a state of Dropout", lambda m: m(x, [None, 1, None, None])
    yield "lengths", lambda m: m(x, lengths=[1, 2])
    yield "long lengths", lambda m: m(x, lengths=[T + 1] * B)
    yield "mask", lambda m: m(x, mask=np.full((B, T), 2))
    yield "call", lambda m: m.forward(x, call=-1)
    yield "a state of another layer", lambda m: m(x, [None, None, None, np.ones((B, K))])
    yield "first_row", lambda m: m.forward(x, first_row=-1)
    yield "dy", lambda m: m.backward(m.forward(x)[2], np.ones((B, T, K + 1)))
    yield "dstate", lambda m: m.backward(m.forward(x)[2], None, [np.ones(3), None, None, None])
    yield "tape", lambda m: m.backward(5, None)


@pytest.mark.parametrize(
    "use", [use for _, use in arguments()], ids=[name for name, _ in arguments()]
)
def test_errors_are_those_of_a_call_layer_by_layer(use):
    errors = []
    for model in pair_of("stack"):
        with pytest.raises((ValueError, TypeError)) as caught:
            use(model)
        assert not any(grad.any() for grad in model.grads.values())
        errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("x", [[[0, 1], [2, 3]], np.ones((2, 0), np.int64), np.ones((0, 3), int)])
def test_lists_and_empty_batches(x):
    planned, plain = pair_of("embedded")
    y, state = planned(x)
    assert_same_bits(y, plain(x)[0])
    y, _, tape = planned.forward(x)
    dx, _ = planned.backward(tape, y)
    assert dx is None
    assert state[0] is None


@pytest.mark.parametrize("symbol", [-1, K, -(2**62), 2**62])
def test_symbols_at_steps_that_the_mask_leaves_out(symbol):
    """An Embedding reads all steps where they are answered: they are symbols, or an error."""
    x, mask = input_of("looked up"), np.ones((B, T), bool)
    x[1, 2], mask[1, 2] = symbol, False
    planned, plain = pair_of("looked up")
    assert_same_bits(planned(x, mask=mask)[0], plain(x, mask=mask)[0])
    for model in (planned, plain):
        with pytest.raises(ValueError, match=r"^x: expected integers from 0 to K-1=5, got"):
            model(x, mask=mask, filled=True)
    x[1, 2] = 0
    assert_same_bits(planned(x, mask=mask, filled=True)[0], plain(x, mask=mask, filled=True)[0])


def test_an_embedding_has_no_state():
    for model in pair_of("embedded"):
        with pytest.raises(ValueError, match=r"^state: Embedding has no state, expected None"):
            model(input_of("embedded"), [1, None, None, None, None])


def test_numbers_of_numpy():
    planned, plain = pair_of("stack")
    options = {"call": np.int64(3), "first_row": np.int8(2), "first_step": np.uint32(1)}
    x = input_of("stack")
    y = planned.forward(x, call=3, first_row=2, first_step=1)[0]
    assert_same_bits(planned.forward(x, **options)[0], y)
    assert_same_bits(plain.forward(x, **options)[0], y)
