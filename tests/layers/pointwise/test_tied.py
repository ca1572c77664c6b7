"""TiedDense: logits with the weights of the embedding, which all copies share."""

import copy
import pickle

import numpy as np
import pytest

import crnn
from crnn.layers.base.description import describe
from support.comparing import assert_close, assert_same_bits
from support.running import fill, forward_backward

B, T, H, K = 3, 5, 4, 6
SYMBOLS = np.random.default_rng(0).integers(0, K, (B, T))
LENGTHS = [5, 0, 3]


def model_of(dtype="float64", bias=True):
    embedding = crnn.Embedding(K, H, dtype=dtype, seed=1)
    head = crnn.TiedDense(embedding, bias=bias)
    return crnn.Sequential([embedding, crnn.LSTM(H, H, dtype=dtype, seed=2), head])


def deep(dtype="float64"):
    """Return a model with two layers tied to one embedding, at different depths."""
    embedding = crnn.Embedding(K, H, dtype=dtype)
    between = crnn.Sequential([crnn.TiedDense(embedding), crnn.Dense(K, H, dtype=dtype)])
    reader = crnn.Sequential([embedding, crnn.GRU(H, H, dtype=dtype)])
    tied = crnn.TiedDense(embedding, bias=False)
    return crnn.Sequential([reader, crnn.Residual(between), tied])


MODELS = {"flat": model_of, "deep": deep}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def tied_to(model):
    """Return the embedding, and the embeddings of the tied layers."""
    if isinstance(model.layers[0], crnn.Embedding):
        return model.layers[0], [model.layers[2].embedding]
    inner = model.layers[1].layer.layers[0]
    return model.layers[0].layers[0], [inner.embedding, model.layers[2].embedding]


@pytest.mark.parametrize("bias", [True, False])
def test_logits_are_products_with_the_vectors(bias, dtype):
    model = fill(model_of(dtype, bias))
    assert list(model.params) == ["0.W", "1.W_x", "1.W_h", "1.b"] + ["2.b"] * bias
    h, _ = model.layers[1](model.layers[0](SYMBOLS)[0])
    expected = h @ model.params["0.W"].T + model.params.get("2.b", 0)
    assert_close(model(SYMBOLS)[0], expected, 1e-5 if dtype == "float32" else 1e-13)


@every_model
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_the_embedding_has_both_gradients(make, lengths):
    report = crnn.gradcheck(fill(make()), SYMBOLS, lengths=lengths)
    assert report.ok, f"\n{report}"
    assert [row.name for row in report.rows].count("0.W" if make is model_of else "0.0.W") == 1
    assert crnn.gradcheck(fill(make("float32")), SYMBOLS, lengths=lengths).ok


def test_a_tied_layer_alone():
    """Backward adds to the gradient of the embedding; b is the only parameter."""
    embedding, x = fill(crnn.Embedding(K, H, dtype="float64")), np.ones((B, H))
    layer = crnn.TiedDense(embedding)
    dense = crnn.Dense(H, K, dtype="float64")
    dense.params["W"] = embedding.params["W"]
    for _ in range(2):
        found, expected = forward_backward(layer, x), forward_backward(dense, x)
        W = expected.pop("grads.W")
        assert_same_bits(found, expected)
    np.testing.assert_allclose(embedding.grads["W"], 2 * W, rtol=1e-14)
    assert crnn.gradcheck(layer, x).ok
    assert list(layer.params) == ["b"]


def loaded(model, path):
    crnn.save(path / "model.npz", model)
    return crnn.load(path / "model.npz")


COPIES = {
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "file": loaded,
    "residual": lambda model, path: loaded(crnn.Residual(model), path).layer,
}


@every_model
@pytest.mark.parametrize("how", COPIES.values(), ids=COPIES)
def test_copies_keep_the_tie(make, how, tmp_path, dtype):
    model = fill(make(dtype))
    other = how(model, tmp_path)
    embedding, found = tied_to(other)
    assert all(one is embedding for one in found)
    assert embedding is not tied_to(model)[0]
    assert_same_bits(forward_backward(other, SYMBOLS), forward_backward(model, SYMBOLS))
    wide = other.astype("float64")
    embedding, found = tied_to(wide)
    assert all(one is embedding for one in found)
    assert {array.dtype for array in wide.params.values()} == {np.dtype("float64")}
    assert wide(SYMBOLS)[0].dtype == np.float64


def test_a_copy_alone_takes_the_embedding_along():
    layer = crnn.TiedDense(crnn.Embedding(K, H))
    assert layer.astype("float64")(np.ones((B, H)))[0].dtype == np.float64
    assert layer.embedding.dtype == np.float32
    typed = eval(repr(crnn.TiedDense(crnn.Embedding(K, H, seed=1), bias=False)), vars(crnn))
    assert repr(typed) == f"TiedDense(Embedding({K}, {H}, seed=1), bias=False)"


def test_the_file_names_the_place():
    layers = describe(deep())["config"]["layers"]
    assert layers[2]["config"] == {"embedding": "0.0", "bias": False}


def test_a_tied_layer_without_its_embedding_is_not_saved(tmp_path):
    layer = crnn.TiedDense(crnn.Embedding(K, H))
    for model in (layer, crnn.Sequential([crnn.LSTM(H, H), layer]), crnn.Residual(layer)):
        with pytest.raises(
            ValueError, match=r"^embedding: expected one inside the Sequential that"
        ):
            crnn.save(tmp_path / "model.npz", model)
    assert crnn.Sequential.from_config(model_of().config).layers[2].embedding.K == K  # as before


@pytest.mark.parametrize("place", ["1", "3", "", None, 0])
def test_a_wrong_place_in_a_description(place):
    config = model_of().config
    config["layers"][2]["config"]["embedding"] = place
    with pytest.raises(ValueError, match=r"^embedding: expected the name of an Embedding, got"):
        crnn.Sequential.from_config(config)
    with pytest.raises(ValueError, match=r"^embedding: expected a layer inside a Sequential"):
        crnn.TiedDense.from_config(config["layers"][2]["config"])


def test_errors_of_tied_dense():
    with pytest.raises(TypeError, match=r"^embedding: expected an Embedding, got Dense"):
        crnn.TiedDense(crnn.Dense(K, H))
    layer = crnn.TiedDense(crnn.Embedding(K, H))
    with pytest.raises(ValueError, match=r"^x: expected floats of shape .*size=4.*, got shape"):
        layer(np.ones((B, H + 1)))
    other = crnn.TiedDense(crnn.Embedding(K, H + 1))
    tape = other.forward(np.ones((B, H + 1)))[2]
    with pytest.raises(ValueError, match=r"^tape: expected one of a layer like this"):
        layer.backward(tape, np.ones((B, K)))


def test_training_changes_the_shared_weights():
    model = model_of()
    optimizer = crnn.optim.SGD(model, lr=0.1)
    y, _, tape = model.forward(SYMBOLS)
    model.backward(tape, np.ones_like(y))
    before, slope = model.params["0.W"].copy(), model.grads["0.W"].copy()
    optimizer.step()
    np.testing.assert_allclose(model.layers[2].embedding.params["W"], before - 0.1 * slope)
