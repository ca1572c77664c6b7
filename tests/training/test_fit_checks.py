"""Checks of the arguments of a run."""

import numpy as np
import pytest

import crnn
from crnn.callbacks import EarlyStopping, OneCycle
from crnn.losses import cross_entropy
from crnn.training.fitting import fit
from support.runs import K

OFF = {"epochs": 1, "progress": False}


def batch(B=2, T=5):
    draw = np.random.default_rng(0)
    return draw.normal(size=(B, T, 2)), draw.integers(0, K, (B, T))


def test_arguments_of_fit_are_checked():
    model, data = crnn.Sequential([crnn.RNN(2, 3), crnn.Dense(3, K)]), [batch()]
    right = {"loss": cross_entropy, "optimizer": crnn.optim.SGD(model), "epochs": 1}
    other = crnn.optim.SGD(crnn.Dense(2, K))
    wrong = [
        ({"loss": "mse"}, TypeError, "loss: expected a function"),
        ({"optimizer": crnn.optim.SGD}, TypeError, "optimizer: expected one of crnn.optim"),
        ({"optimizer": other}, ValueError, "optimizer: expected one made for this model"),
        ({"callbacks": EarlyStopping(1)}, TypeError, "callbacks: expected a list, got"),
        ({"callbacks": [EarlyStopping]}, TypeError, r"callbacks\[0\]: expected a Callback, got"),
    ]
    before = model.state_dict()
    for given, kind, message in wrong:
        with pytest.raises(kind, match=message):
            fit(model, data, **right | given, progress=False)
    for name, array in model.params.items():
        np.testing.assert_array_equal(array, before[name])


def test_reversed_layers_cannot_carry_a_state_between_windows():
    model = crnn.Sequential([crnn.Bidirectional(crnn.RNN(2, 3)), crnn.Dense(6, K)])
    right = {"loss": cross_entropy, "optimizer": crnn.optim.SGD(model), **OFF}
    fit(model, [batch()], tbptt=(5, 5), **right)  # one window contains the whole sequence
    for windows in ({"tbptt": (2, 2)}, {"stateful": True}):
        with pytest.raises(ValueError, match=r"reverse=True in '0.backward'"):
            fit(model, [batch(), batch()], **right, **windows)


def test_schedules_count_the_updates_of_a_run():
    model = crnn.Sequential([crnn.RNN(2, 3), crnn.Dense(3, K)])
    cycle, data = OneCycle(1e-2), [batch(), batch()]
    right = {"loss": cross_entropy, "optimizer": crnn.optim.SGD(model), "progress": False}
    history = fit(model, data, epochs=3, tbptt=(2, 2), callbacks=[cycle], **right)
    assert cycle.total == history.update[-1] == 3 * 2 * 3
    with pytest.raises(ValueError, match="total: expected the number of updates"):
        fit(model, iter(data), epochs=1, callbacks=[OneCycle(1e-2)], **right)


def test_a_tied_layer_needs_its_embedding_in_the_model():
    tied = crnn.TiedDense(crnn.Embedding(5, 3))
    with pytest.raises(ValueError, match="model: expected the embedding that TiedDense shares"):
        crnn.optim.Adam(crnn.Sequential([crnn.Embedding(5, 3), tied]))


def test_options_of_a_layer_are_fixed():
    layer = crnn.LSTM(2, 3, zoneout=0.3)
    with pytest.raises(AttributeError, match="zoneout: cannot be set; make a new layer"):
        layer.zoneout = 0.0
    assert layer.zoneout == 0.3
