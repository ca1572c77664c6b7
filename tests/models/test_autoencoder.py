"""The recurrent autoencoder: a sequence is encoded and decoded, learned without labels."""

import numpy as np
import pytest

import crnn
from crnn.data import Batches
from crnn.models import SequenceAutoencoder
from support.comparing import assert_same_bits
from support.running import fill
from support.stubs import assert_differences

B, T, I, K, C = 3, 4, 2, 5, 2
RNG = np.random.default_rng(0)
X, SYMBOLS = RNG.normal(size=(B, T, I)), RNG.integers(0, K, (B, T))
F64 = {"dtype": "float64"}


def lstm():
    return crnn.LSTM(I, 3, seed=1, **F64)


def stack():
    return crnn.Sequential([crnn.GRU(I, 2, seed=2, **F64), crnn.LSTM(2, 2, seed=3, **F64)])


PARTS = {
    "gru": (lambda: crnn.GRU(I, 3, seed=1, **F64), lambda: crnn.GRU(I, 4, seed=2, **F64)),
    "lstm": (lstm, stack),
    "both ways": (lambda: crnn.Bidirectional(lstm()), lambda: crnn.RNN(I, C, seed=2, **F64)),
    "stack": (stack, lstm),
}
every_kind = pytest.mark.parametrize("name", PARTS)


def made(name, **options):
    encoder, decoder = (make() for make in PARTS[name])
    return fill(SequenceAutoencoder(encoder, decoder, C, seed=5, **options))


@every_kind
@pytest.mark.parametrize("lengths", [None, [T, 0, 2]], ids=["full", "lengths"])
def test_gradients(name, lengths):
    """The gradients of x, too: encoder and decoder read it."""
    assert_differences(made(name), X.copy(), {"lengths": lengths})


@every_kind
def test_gradients_of_symbols(name):
    assert crnn.gradcheck(made(name, symbols=K), SYMBOLS, lengths=[T, 0, 2]).ok


def test_the_code_is_a_map_of_the_last_state():
    model = made("both ways")
    _, ((h, c), (h_back, c_back)) = model.encoder(X)
    last = np.concatenate([h, c, h_back, c_back], axis=1)
    expected = last @ model.params["code.W"].T + model.params["code.b"]
    np.testing.assert_allclose(model.encode(X), expected, rtol=1e-12)


def test_the_decoder_starts_from_the_code_and_reads_its_output():
    model, code = made("gru"), RNG.normal(size=(B, C))
    state, _ = model.model.bridge(code)
    step, steps = np.zeros((B, 1, I)), []
    for _ in range(6):
        y, state = model.decoder(step, state)
        step, _ = model.model.output(y)
        steps.append(step[:, 0])
    np.testing.assert_allclose(model.decode(code, 6), np.stack(steps, 1), rtol=1e-12)


def test_a_code_as_wide_as_the_decoders_state_is_the_state():
    model = made("both ways")
    assert model.model.bridge is None
    y, _ = model.decoder(np.zeros((B, 1, I)), model.encode(X))
    np.testing.assert_allclose(model.decode(model.encode(X), 1), model.model.output(y)[0])


def test_symbols_are_written_from_symbol_0_on():
    model = made("gru", symbols=K)
    written = model.decode(model.encode(SYMBOLS), T)
    fed = np.concatenate([np.zeros((B, 1), int), written[:, :-1]], axis=1)
    logits, _ = model.model.forward(SYMBOLS, fed, training=False)
    assert logits.shape == (B, T, K)
    np.testing.assert_array_equal(written, logits.argmax(axis=-1))


def test_with_probability_0_training_decodes_freely():
    model = made("gru", probability=0.0)
    y, _, _ = model.forward(X)
    np.testing.assert_allclose(y, model.decode(model.encode(X), T), rtol=1e-12)
    forced, _ = model(X)
    assert not np.allclose(forced[:, 2:], y[:, 2:])


@pytest.mark.parametrize("options", [{}, {"symbols": K}])
def test_a_row_depends_on_its_own_steps_alone(options):
    model, x = made("gru", **options), SYMBOLS if options else X
    x, lengths = x.copy(), np.array([T, 0, 2])
    y, _ = model(x, lengths=lengths)
    assert_same_bits(model.encode(x[2:, :2].copy())[0], model.encode(x, lengths)[2])
    assert_same_bits(model(x[2:, :2].copy())[0][0], y[2, :2])
    assert not y[1].any()
    x[2, 2:] = 99
    assert_same_bits(model(x, lengths=lengths)[0], y)


@every_kind
@pytest.mark.parametrize("options", [{}, {"symbols": K, "probability": 0.5}])
def test_copies_and_files(name, options, tmp_path):
    model, x = made(name, **options), SYMBOLS if options else X
    crnn.save(tmp_path / "model.npz", model)
    again = crnn.load(tmp_path / "model.npz")
    assert repr(again) == repr(model)
    assert again.config == model.config
    assert_same_bits(again.encode(x), model.encode(x))
    assert_same_bits(again.decode(again.encode(x), 3), model.decode(model.encode(x), 3))
    assert_same_bits(again.forward(x, call=2)[0], model.forward(x, call=2)[0])
    assert model.astype("float32").encode(x.astype("float32" if not options else int)).dtype == "f4"


def test_names_of_parameters():
    names = list(made("gru").params)
    assert {name.split(".")[0] for name in names} == {
        "encoder",
        "code",
        "bridge",
        "decoder",
        "output",
    }
    assert {"encoder.W_h", "code.W", "bridge.b", "decoder.W_x", "output.W"} <= set(names)


def test_backward_twice_from_one_tape():
    model = made("lstm")
    y, _, tape = model.forward(X)
    once = model.backward(tape, y)[0]
    grads = {name: grad.copy() for name, grad in model.grads.items()}
    assert_same_bits(model.backward(tape, y)[0], once)
    for name, grad in model.grads.items():
        np.testing.assert_allclose(grad, 2 * grads[name], rtol=1e-9, atol=1e-12)


def test_it_learns_repeated_vectors():
    """Sequences that repeat one vector are decoded from their codes."""
    rng = np.random.default_rng(1)
    vectors = rng.uniform(-1, 1, (200, 1, 2))
    x = np.repeat(vectors, 6, axis=1).astype(np.float32)
    layers = crnn.GRU(2, 16, seed=1), crnn.GRU(2, 16, seed=2)
    model = SequenceAutoencoder(*layers, 2, probability=0.0, seed=3)
    history = crnn.fit(
        model,
        Batches(x, x, batch_size=20, seed=0),
        loss=crnn.losses.mse,
        optimizer=crnn.optim.Adam(model, lr=1e-2, clip_norm=1.0),
        epochs=30,
        progress=False,
    )
    assert history.loss[-1] < 0.05 * history.loss[0]
    back = model.decode(model.encode(x), 6)
    assert np.mean((back - x) ** 2) < 0.02
    swapped = model.decode(model.encode(x[::-1].copy()), 6)
    assert_same_bits(swapped[::-1], back)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((3, 4, 2), {}, TypeError, "encoder: expected a layer, got 3"),
        (("gru", 4, 2), {}, TypeError, "decoder: expected a layer, got 4"),
        (("gru", "gru", 0), {}, ValueError, "code: expected an integer of at least 1"),
        (("gru", "gru", 1.5), {}, TypeError, "code: expected an integer of at least 1"),
        (("dense", "gru", 2), {}, ValueError, "layer: expected one with a state, got Dense"),
        (("gru", "dense", 2), {}, ValueError, "decoder: expected one with a state, got Dense"),
        (("pool", "gru", 2), {}, ValueError, "encoder: expected a layer that reads vectors"),
        (
            ("gru", "wide", 2),
            {},
            ValueError,
            "decoder: expected a layer that reads 2 features, .*, got 3",
        ),
        (("gru", "gru", 2), {"probability": 2}, ValueError, "probability: expected a number"),
        (("gru", "gru", 2), {"symbols": 0}, ValueError, "symbols: expected an integer"),
        (("gru", "gru", 2), {"dtype": "int8"}, ValueError, "dtype: expected 'float32'"),
        (("gru", "gru", 2), {"seed": -1}, ValueError, "seed: expected None or an integer"),
    ],
)
def test_wrong_arguments(arguments, options, error, message):
    layers = {
        "gru": crnn.GRU(I, 3),
        "wide": crnn.GRU(3, 3),
        "dense": crnn.Dense(I, 3),
        "pool": crnn.Pool(),
    }
    encoder, decoder, code = arguments
    with pytest.raises(error, match=message):
        SequenceAutoencoder(
            layers.get(encoder, encoder), layers.get(decoder, decoder), code, **options
        )


def test_wrong_arrays():
    model, code = made("gru"), np.zeros((B, C))
    for call, error, message in [
        (lambda: model(X[..., :1]), ValueError, r"x: expected floats of shape \(B, T, 2\), got"),
        (lambda: model(SYMBOLS), TypeError, r"x: expected floats of shape \(B, T, 2\), got int64"),
        (lambda: model(X, lengths=[5, 1, 1]), ValueError, "lengths: expected integers from 0 to T"),
        (lambda: model(X, code), ValueError, "state: SequenceAutoencoder has no state"),
        (lambda: model.encode(X, [1]), ValueError, r"lengths: expected shape \(B=3,\)"),
        (lambda: model.decode(code, 0), ValueError, "steps: expected an integer of at least 1"),
        (lambda: model.decode(code[:, :1], 2), ValueError, r"code: .* \(B, C=2\), got shape"),
        (lambda: model.decode(code.astype(int), 2), TypeError, r"code: .*, got int64"),
        (lambda: model.backward(None, X), TypeError, "tape: expected the one that forward"),
        (lambda: model.backward(model.forward(X)[2], X[:2]), ValueError, "dy: expected floats of"),
        (lambda: made("gru", symbols=K)(SYMBOLS + 2), ValueError, "x: expected integers from 0"),
    ]:
        with pytest.raises(error, match=message):
            call()
    assert not any(grad.any() for grad in model.grads.values())
