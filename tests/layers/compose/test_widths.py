"""A Sequential checks that each layer can read the output before it; it is a container."""

import copy
import pickle

import numpy as np
import pytest

import crnn


def layers():
    return [crnn.Embedding(7, 3, seed=0), crnn.GRU(3, 4, seed=1), crnn.Dense(4, 2, seed=2)]


# --------------------------------------------------------------------------------- a container


def test_length_items_and_iteration():
    parts = layers()
    model = crnn.Sequential(parts)
    assert len(model) == 3
    assert list(model) == parts
    assert [model[0], model[1], model[-1]] == parts
    assert model[np.int64(1)] is parts[1]
    assert parts[1] in model
    for wrong in (3, -4):
        with pytest.raises(IndexError):
            model[wrong]


def test_a_slice_is_a_model_of_the_same_layers():
    model, symbols = crnn.Sequential(layers()), np.array([[1, 2, 6]])
    head, rest = model[:2], model[2:]
    assert isinstance(head, crnn.Sequential)
    assert head[1] is model[1]
    h, _ = head(symbols)
    np.testing.assert_array_equal(rest(h)[0], model(symbols)[0])


def test_an_empty_slice_is_refused():
    with pytest.raises(TypeError, match="layers: expected a list of at least one layer, got"):
        crnn.Sequential(layers())[3:]
    with pytest.raises(
        ValueError, match=r"layers\[1\]: expected a layer that reads the 3 features"
    ):
        crnn.Sequential(layers())[::2]


def test_append():
    model = crnn.Sequential(layers()[:2])
    optimizer = crnn.optim.SGD(model)
    assert model.append(crnn.Dense(4, 2, seed=2)) is None
    assert len(model) == 3
    symbols = np.array([[1, 2, 6]])
    np.testing.assert_array_equal(model(symbols)[0], crnn.Sequential(layers())(symbols)[0])
    assert set(model.params) == set(crnn.Sequential(layers()).params)
    with pytest.raises(ValueError, match=r"made without 2\.W, 2\.b: make a new one"):
        optimizer.step()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert len(other) == 3


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (crnn.Dense(3, 2), ValueError, r"layers\[2\]: expected a layer that reads the 4 features"),
        ("Dense", TypeError, "layer: expected a layer, got 'Dense'"),
        (None, TypeError, "layer: expected a layer, got None"),
        (crnn.Dense, TypeError, "layer: expected a layer, got <class"),
        (crnn.Embedding(4, 2), ValueError, r"layers\[2\]: .* which reads symbols"),
    ],
)
def test_a_wrong_append_changes_nothing(layer, error, message):
    model = crnn.Sequential(layers()[:2])
    with pytest.raises(error, match=message):
        model.append(layer)
    assert len(model) == 2
    assert model(np.array([[1, 2]]))[0].shape == (1, 2, 4)


def test_a_model_is_not_appended_to_itself():
    model = crnn.Sequential([crnn.GRU(3, 3)])
    for layer in (model, crnn.Sequential([model]), crnn.Residual(model)):
        with pytest.raises(ValueError, match="layer: expected a layer that does not contain this"):
            model.append(layer)
    assert len(model) == 1


# ------------------------------------------------------------------ what cannot follow each other


@pytest.mark.parametrize(
    "pool", [crnn.Pool(), crnn.LastState(crnn.LSTM(3, 3))], ids=["pool", "last"]
)
@pytest.mark.parametrize(
    "after",
    [
        crnn.GRU(3, 2),
        crnn.Pool("max"),
        crnn.Bidirectional(crnn.RNN(3, 2)),
        crnn.Sequential([crnn.Dense(3, 3), crnn.LSTM(3, 2)]),
        crnn.LastState(crnn.GRU(3, 2)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_after_a_removed_time_axis_read_vectors(pool, after):
    message = r"layers\[2\]: expected a layer that reads vectors .* removes the time axis, got"
    with pytest.raises(ValueError, match=message):
        crnn.Sequential([pool, crnn.Dense(3, 3), after])
    crnn.Sequential([pool, crnn.Dense(3, 3), crnn.LayerNorm(3), crnn.Dropout(0.5)])


def test_only_the_first_layer_reads_symbols():
    with pytest.raises(ValueError, match=r"layers\[1\]: .*, which reads symbols"):
        crnn.Sequential([crnn.Embedding(7, 3), crnn.Embedding(3, 2)])
    crnn.Sequential([crnn.GRU(7, 3), crnn.GRU(3, 2)])  # they read symbols and vectors
