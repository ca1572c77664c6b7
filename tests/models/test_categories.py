"""Layers that read the categories of a sequence beside its steps."""

import copy
import pickle

import numpy as np
import pytest

import crnn
from crnn.models.categories import WithCategories
from support.comparing import assert_same_bits
from support.running import fill

RNG = np.random.default_rng(0)
X, C = RNG.normal(size=(4, 6, 3)), np.array([[0, 1], [2, 0], [1, 1], [1, 0]])
F64 = {"dtype": "float64"}


def made(cell=crnn.GRU, **options):
    inner = crnn.Sequential(
        [cell(6, 5, seed=0, **options), crnn.Dropout(0.2, seed=9), crnn.Dense(5, 2, seed=5)]
    )
    return WithCategories(inner, [crnn.Embedding(3, 2, seed=1), crnn.Embedding(2, 1, seed=2)])


@pytest.mark.parametrize("cell", [crnn.GRU, crnn.LSTM, crnn.MinGRU])
def test_gradients(cell):
    model = fill(made(cell))
    report = crnn.gradcheck(model, (X, C), lengths=[6, 2, 0, 5])
    assert report.ok, report
    assert {"embedding_0.W", "embedding_1.W", "layer.0.W_x", "x[0]"} <= {
        row.name for row in report.rows
    }


def test_output_is_that_of_joined_features():
    model = fill(made())
    vectors = np.concatenate(
        [part.params["W"][C[:, i]] for i, part in enumerate(model.embeddings)], axis=1
    )
    np.testing.assert_array_equal(vectors, model.vectors(C))
    joined = np.concatenate([np.repeat(vectors[:, None], 6, axis=1), X], axis=2)
    y, state = model((X, C), lengths=[6, 2, 0, 5])
    expected, expected_state = model.layer(joined, lengths=[6, 2, 0, 5])
    assert_same_bits(y, expected)
    assert_same_bits(state, expected_state)


def test_widths_and_parts():
    model = made()
    assert (model.input_size, model.output_size) == (3, 2)
    assert list(model.parts) == ["layer", "embedding_0", "embedding_1"]
    assert "WithCategories(Sequential(" in repr(model)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(again):
    model = fill(made())
    assert_same_bits(again(model)((X, C)), model((X, C)))


def test_files(tmp_path):
    model = fill(made())
    crnn.save(tmp_path / "model.npz", model)
    assert_same_bits(crnn.load(tmp_path / "model.npz")((X, C)), model((X, C)))


def test_frozen_parts_keep_their_gradients():
    for frozen in ("layer", "embedding_0"):
        model = fill(made())
        getattr(model, frozen).trainable = False
        y, _, tape = model.forward((X, C), call=0)
        model.backward(tape, np.ones_like(y))
        changed = {name.split(".")[0] for name, grad in model.grads.items() if grad.any()}
        assert changed == set(model.parts) - {frozen}


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X, "x: expected the pair"),
        ((X, C[:, :1]), r"x\[1\]: expected integers of shape \(B"),
        ((X, C[:3]), r"x\[1\]: expected integers of shape \(B"),
        ((X, C * 1.0), r"x\[1\]: expected .*integers"),
        ((X, C + 1), "expected integers from 0 to K-1=2"),
        ((X[..., :2], C), r"x\[0\]: expected floats of shape \(B, T, I=3\)"),
    ],
)
def test_bad_input(x, message):
    with pytest.raises((TypeError, ValueError), match=message):
        made()(x)


def test_bad_parts():
    with pytest.raises(TypeError, match="embeddings: expected at least one"):
        WithCategories(crnn.GRU(6, 5), [])
    with pytest.raises(TypeError, match="embeddings: expected at least one"):
        WithCategories(crnn.GRU(6, 5), [crnn.Dense(2, 3)])
    with pytest.raises(ValueError, match="expected one that reads more features than the E=6"):
        WithCategories(crnn.GRU(6, 5), [crnn.Embedding(3, 6)])
