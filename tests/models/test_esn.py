"""Echo state networks, against loops in NumPy and other libraries.

Letters: B sequences, T steps, I inputs, H states, O outputs.
"""

import numpy as np
import pytest

import crnn
from crnn.layers.compose.joined import Joined
from crnn.training import readouts
from support.comparing import assert_close
from support.esns import (
    F64,
    LENGTHS,
    RNG,
    B,
    H,
    I,
    O,
    Plain,
    T,
    X,
    Y,
    network,
    reservoir,
    ridge,
    trained,
)
from support.running import fill


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("join_input", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_it_is_a_loop_in_numpy(feedback, join_input, lengths):
    esn = network(feedback=feedback, join_input=join_input)
    plain = Plain(esn)
    ends = [T] * B if lengths is None else lengths
    rows = [(X[b, :n], Y[b, :n]) for b, n in enumerate(ends)]
    plain.fit(*zip(*rows, strict=True), washout=5, alpha=1e-3)
    assert esn.fit(X, Y, lengths, washout=5) is esn
    assert_close(esn.readout.params["W"], plain.W, 1e-9)
    assert_close(esn.readout.params["b"], plain.bias, 1e-9)
    y = esn.predict(X, lengths)
    assert y.shape == (B, T, O)
    expected = []
    for b, (row, _) in enumerate(rows):
        plain.h = np.zeros(H)
        expected.append(plain.run(row))
        assert_close(y[b, : ends[b]], expected[b], 1e-9)
        assert not y[b, ends[b] :].any()
    kept = [np.concatenate([one[5:] for one in part]) for part in (expected, [r[1] for r in rows])]
    squares = np.square(kept[1] - kept[0]).sum(axis=0)
    total = np.square(kept[1] - kept[1].mean(axis=0)).sum(axis=0)
    assert esn.score(X, Y, lengths, washout=5) == pytest.approx((1 - squares / total).mean(), 1e-9)


def test_the_score_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    linear = pytest.importorskip("sklearn.linear_model")
    esn = network().fit(X, Y, washout=4)
    z = esn.reservoir(X)[0][:, 4:].reshape(-1, H)
    expected = linear.Ridge(alpha=1e-3).fit(z, Y[:, 4:].reshape(-1, O))
    assert_close(esn.readout.params["W"], expected.coef_, 1e-9)
    score = metrics.r2_score(Y[:, 4:].reshape(-1, O), esn.predict(X)[:, 4:].reshape(-1, O))
    assert esn.score(X, Y, washout=4) == pytest.approx(score, 1e-12)
    constant = np.concatenate([Y[..., :1], np.zeros((B, T, 1))], axis=2)
    flat = network(alpha=1e-9).fit(X, constant)
    score = metrics.r2_score(constant.reshape(-1, O), flat.predict(X).reshape(-1, O))
    assert flat.score(X, constant) == pytest.approx(score, 1e-12)


def test_it_is_the_network_of_reservoirpy():
    """The same W, W_in, leak and penalty; reservoirpy has no bias in the reservoir here."""
    nodes = pytest.importorskip("reservoirpy.nodes")
    esn = crnn.ESN(reservoir(bias_scaling=0.0), ridge())
    params = esn.reservoir.params
    theirs = nodes.Reservoir(
        units=H,
        W=np.array(params["W_h"]),
        Win=np.array(params["W_x"]),
        bias=np.zeros(H),
        lr=esn.reservoir.leak,
        seed=0,
    )
    model = theirs >> nodes.Ridge(ridge=1e-3)
    model.fit(X[0], Y[0], warmup=10)
    esn.fit(X[:1], Y[:1], washout=10)
    model.reset()
    assert_close(esn.predict(X[0]), model.run(X[0]), 1e-6)  # of the normal equations


FORMS = {
    "array": (X, Y),
    "list": ([X[b, :n] for b, n in enumerate(LENGTHS)], [Y[b, :n] for b, n in enumerate(LENGTHS)]),
    "single": (X[0], Y[0]),
}


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_the_forms_of_data(form, feedback):
    x, y = FORMS[form]
    esn = network(feedback=feedback).fit(x, y, washout=5)
    arrays = {"array": (X, Y, None), "list": (X, Y, LENGTHS), "single": (X[:1], Y[:1], None)}[form]
    other = network(feedback=feedback).fit(*arrays, washout=5)
    np.testing.assert_array_equal(esn.readout.params["W"], other.readout.params["W"])
    predicted, whole = esn.predict(x), other.predict(arrays[0], arrays[2])
    for b, row in enumerate(predicted if form != "single" else [predicted]):
        assert row.shape == (LENGTHS[b] if form == "list" else T, O)
        np.testing.assert_array_equal(row, whole[b, : len(row)])
    score = other.score(*arrays, washout=5)
    assert esn.score(x, y, washout=5) == pytest.approx(score, 1e-12)


@pytest.mark.parametrize("feedback", [False, True])
def test_predictions_go_on_from_a_state(feedback):
    esn = network(feedback=feedback, join_input=True).fit(X, Y)
    whole = esn.predict(X)
    first = esn.predict(X[:, :15])
    np.testing.assert_array_equal(first, whole[:, :15])
    before = np.concatenate([np.zeros((B, 1, O)), first[:, :-1]], axis=1)
    x = np.concatenate([X[:, :15], before], axis=2) if feedback else X[:, :15]
    _, state = esn(x)
    options = {"state": state} | ({"output": first[:, -1]} if feedback else {})
    np.testing.assert_array_equal(esn.predict(X[:, 15:], **options), whole[:, 15:])


def test_deep_reservoirs_other_layers_and_the_last_state():
    deep = crnn.Sequential([reservoir(), reservoir(H, seed=3)])
    other = crnn.Sequential([crnn.Embedding(5, I, **F64), crnn.LSTM(I, H, **F64)])
    symbols = RNG.integers(0, 5, (B, T))
    for layer, x in ((deep, X), (crnn.GRU(I, H, seed=0, **F64), X), (other, symbols)):
        esn = crnn.ESN(layer, ridge()).fit(x, Y, washout=3)
        expected = ridge().fit(layer(x)[0], Y, washout=3)
        np.testing.assert_array_equal(esn.readout.params["W"], expected.params["W"])
        np.testing.assert_array_equal(esn.predict(x), esn(x)[0])
    both = crnn.Bidirectional(crnn.GRU(I, H, seed=0, **F64), "sum")
    esn = crnn.ESN(both, ridge()).fit(X, Y, LENGTHS, washout=3)
    t = np.arange(T)
    kept = (t >= 3) & (t < LENGTHS[:, None] - 3)
    expected = ridge().fit(both(X, lengths=LENGTHS)[0], Y, mask=kept)
    np.testing.assert_array_equal(esn.readout.params["W"], expected.params["W"])
    assert esn.score(X, Y, LENGTHS, washout=3) < 1
    last = crnn.ESN(crnn.LastState(reservoir()), ridge(alpha=(0.1, 1.0)))
    last.fit(X, Y[:, 0], LENGTHS, folds=3)
    expected = ridge(alpha=(0.1, 1.0)).fit(last.reservoir(X, lengths=LENGTHS)[0], Y[:, 0], folds=3)
    np.testing.assert_array_equal(last.readout.params["W"], expected.params["W"])
    assert last.predict(X, LENGTHS).shape == (B, O)
    lists = [X[b, :n] for b, n in enumerate(LENGTHS)]
    np.testing.assert_array_equal(np.stack(last.predict(lists)), last.predict(X, LENGTHS))
    assert last.score(X[:, :O], Y[:, 0], [1, 2, 1]) < 1  # outputs (B, O) are not steps (B, T)
    score = last.score(X, Y[:, 0], LENGTHS)
    assert last.score(lists, Y[:, 0]) == pytest.approx(score, 1e-12)


def test_an_rls_is_the_ridge_with_a_penalty_of_the_bias():
    esn = crnn.ESN(reservoir(), crnn.RLS(H, O, alpha=0.1)).fit(X, Y, washout=3)
    z = esn.reservoir(X)[0][:, 3:].reshape(-1, H)
    Z, target = np.concatenate([z, np.ones((len(z), 1))], axis=1), Y[:, 3:].reshape(-1, O)
    W = np.linalg.solve(Z.T @ Z + 0.1 * np.eye(H + 1), Z.T @ target)
    assert_close(esn.readout.params["W"], W[:-1].T, 1e-9)
    assert_close(esn.readout.params["b"], W[-1], 1e-9)
    assert esn.fit(X, Y, washout=3).readout.trace_ > 0


@pytest.mark.parametrize("feedback", [False, True])
def test_short_windows_have_the_same_bits(monkeypatch, feedback):
    whole = network(feedback=feedback, join_input=True, alpha=(1e-3, 1.0)).fit(X, Y, LENGTHS)
    monkeypatch.setattr(readouts, "_FEWEST", 16)
    monkeypatch.setattr(readouts, "_MOST", 16)
    cut = network(feedback=feedback, join_input=True, alpha=(1e-3, 1.0)).fit(X, Y, LENGTHS)
    np.testing.assert_array_equal(cut.readout.params["W"], whole.readout.params["W"])
    np.testing.assert_array_equal(cut.readout.cv_error_, whole.readout.cv_error_)


def test_the_noise_of_the_reservoir_is_for_fitting_alone(monkeypatch):
    esn, plain = crnn.ESN(reservoir(noise=0.1), ridge()), network()
    h, _, _ = esn.reservoir.forward(X, call=0, layer=1)
    expected = ridge().fit(h, Y, washout=3)
    esn.fit(X, Y, washout=3)
    np.testing.assert_array_equal(esn.readout.params["W"], expected.params["W"])
    assert np.abs(h - plain.reservoir(X)[0]).max() > 1e-3
    monkeypatch.setattr(readouts, "_FEWEST", 16)
    monkeypatch.setattr(readouts, "_MOST", 16)
    again = esn.fit(X, Y, washout=3)  # in short windows, and a second time
    np.testing.assert_array_equal(again.readout.params["W"], expected.params["W"])
    plain.readout.params.update(expected.params)
    np.testing.assert_array_equal(esn.predict(X), plain.predict(X))
    assert esn.reservoir.calls == 0


@pytest.mark.parametrize("features", [I, 1])
@pytest.mark.parametrize("masked", [False, True])
def test_joined_inputs(features, masked):
    layer = fill(crnn.LSTM(I, H, **F64))
    joined = Joined(layer, features)
    options = {"lengths": LENGTHS} | ({"mask": RNG.random((B, T)) < 0.7} if masked else {})
    z, state = joined(X, **options)
    h, expected = layer(X, **options)
    np.testing.assert_array_equal(z[..., :H], h)
    np.testing.assert_array_equal(state[0], expected[0])
    read = np.arange(T) < LENGTHS[:, None]
    if masked:
        read = read & options["mask"]
    np.testing.assert_array_equal(z[..., H:], X[..., :features] * read[..., None])
    assert crnn.gradcheck(joined, X[:, :6], lengths=[6, 0, 3]).ok
    model = crnn.Sequential([joined, fill(crnn.Dense(H + features, O, **F64))])
    assert crnn.gradcheck(model, X[:, :6], lengths=[6, 0, 3]).ok
    assert type(model.stream(B)) is type(layer.stream(B))  # of the core
    stream, of_layers = joined.stream(B), model.stream(B)
    for t in range(3):
        z = stream.step(X[:, t])
        np.testing.assert_array_equal(of_layers.step(X[:, t]), model[1](z)[0])
    assert repr(stream).startswith("<JoinedStream of <Stream of LSTM")
    stream.state = None
    np.testing.assert_array_equal(stream.state[0], np.zeros((B, H)))


# ----------------------------------------------------------------------------------- parameters


def test_get_params_gives_the_arguments_of_the_constructors():
    esn = network(feedback=True)
    params = esn.get_params()
    assert list(params)[:4] == ["reservoir", "readout", "feedback", "join_input"]
    assert params["reservoir"] is esn.reservoir
    assert esn.get_params(deep=False).keys() == set(list(params)[:4])
    for prefix, cls in (("reservoir", crnn.Reservoir), ("readout", crnn.Ridge)):
        own = {
            name.removeprefix(f"{prefix}__"): value
            for name, value in params.items()
            if name.startswith(f"{prefix}__")
        }
        assert repr(cls(**own)) == repr(params[prefix])
    deep = crnn.ESN(crnn.Sequential([reservoir(), reservoir(H)]), ridge())
    assert deep.get_params()["reservoir__1__leak"] == 0.4


def test_set_params_rebuilds_with_the_same_seed():
    esn = network().fit(X, Y)
    assert esn.set_params(reservoir__leak=0.7, reservoir__spectral_radius=0.5) is esn
    assert (esn.reservoir.leak, esn.reservoir.seed) == (0.7, 0)
    assert esn.reservoir.params["W_h"] == pytest.approx(
        reservoir(spectral_radius=0.5).params["W_h"]
    )
    with pytest.raises(ValueError, match=r"^readout: expected one that is fitted"):
        esn.predict(X)
    esn.set_params(reservoir__hidden_size=12, readout__alpha=0.5)
    assert (esn.readout.input_size, esn.readout.alpha) == (12, 0.5)
    esn.set_params(join_input=True)
    assert (esn.readout.input_size, esn.join_input) == (12 + I, True)
    esn.fit(X, Y)
    esn.set_params(reservoir=reservoir(), readout=ridge(H + I)).fit(X, Y)
    deep = crnn.ESN(crnn.Sequential([reservoir(), reservoir(H)]), ridge())
    deep.set_params(reservoir__1__leak=0.9)
    assert [layer.leak for layer in deep.reservoir] == [0.4, 0.9]
    online = crnn.ESN(reservoir(), crnn.RLS(H, O)).set_params(readout__forgetting=0.9)
    assert online.readout.forgetting == 0.9


def test_alpha_needs_no_other_pass():
    esn, other = network().fit(X, Y, washout=2), network(alpha=5.0).fit(X, Y, washout=2)
    before = esn.readout
    esn.set_params(readout__alpha=5.0)
    assert esn.readout is before
    assert (before.alpha, before.alpha_) == (5.0, 5.0)
    np.testing.assert_array_equal(before.params["W"], other.readout.params["W"])
    with pytest.raises(ValueError, match=r"^readout__alpha: expected one number, because"):
        esn.set_params(readout__alpha=(1.0, 2.0))
    assert before.alpha == 5.0
    new = network().set_params(readout__alpha=(1.0, 2.0))
    assert new.readout.alpha == (1.0, 2.0)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"leak": 0.1}, "leak: expected a parameter of the network, one of reservoir, readout"),
        ({"reservoir__lag": 0.1}, "reservoir__lag: expected a parameter of the network"),
        ({"reservoir__leak": 2.0}, "reservoir__leak: expected"),
        ({"reservoir__leak": 0.1, "readout__alpha": -1}, "readout__alpha: expected"),
        ({"readout__alpha": -1}, "readout__alpha: expected"),
        ({"readout__alpha": [1, 2]}, "readout__alpha: expected one number, because rows are in 1"),
        ({"readout__input_size": 3}, "readout: expected input_size = H = 9"),
        ({"reservoir__input_size": 0}, "reservoir__input_size: expected"),
        ({"feedback": 2}, "feedback: expected True or False, got 2"),
        ({"reservoir": reservoir(1), "feedback": True}, r"reservoir: expected input_size = I \+ O"),
    ],
)
def test_wrong_params_change_nothing(params, message):
    esn = network().fit(X, Y)
    before, weights = esn.get_params(), esn.state_dict()
    with pytest.raises((TypeError, ValueError), match="^" + message):
        esn.set_params(**params)
    assert esn.get_params() == before
    for name, array in weights.items():
        np.testing.assert_array_equal(esn.params[name], array)


def test_clones_of_scikit_learn():
    base = pytest.importorskip("sklearn.base")
    esn = network(feedback=True).fit(X, Y)
    esn.reservoir.params["W_h"] *= 0.5
    other = base.clone(esn)
    assert repr(other) == repr(esn)
    assert other.reservoir is not esn.reservoir
    np.testing.assert_array_equal(other.reservoir.params["W_h"], esn.reservoir.params["W_h"])
    with pytest.raises(ValueError, match=r"^readout: expected one that is fitted"):
        other.predict(X)
    np.testing.assert_array_equal(other.fit(X, Y).predict(X), esn.fit(X, Y).predict(X))


def test_a_grid_search_of_scikit_learn():
    selection = pytest.importorskip("sklearn.model_selection")
    grid = {"reservoir__hidden_size": [5, 9], "readout__alpha": [1e-3, 1e9]}
    x = np.concatenate([X, X[:, ::-1]])
    search = selection.GridSearchCV(network(), grid, cv=3).fit(x, np.cumsum(x, axis=1))
    assert search.best_params_ == {"readout__alpha": 1e-3, "reservoir__hidden_size": 9}
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.readout.input_size == 9


# ----------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((3, ridge()), TypeError, "reservoir: expected a layer, got 3"),
        (
            (reservoir(), crnn.Dense(H, O)),
            TypeError,
            "readout: expected a crnn.Ridge or a crnn.RLS",
        ),
        ((reservoir(), ridge(H + 1)), ValueError, "readout: expected input_size = H = 9, as"),
        (
            (reservoir(), ridge(), {"join_input": True}),
            ValueError,
            r"readout: expected input_size = H \+ I = 11, as the reservoir has",
        ),
        (
            (reservoir(1), ridge(), {"feedback": True}),
            ValueError,
            r"reservoir: expected input_size = I \+ O, with I >= 0 inputs and the O=2 outputs",
        ),
        (
            (crnn.GRU(4, H, reverse=True), ridge(), {"feedback": True}),
            ValueError,
            "reservoir: expected one that runs step by step, because outputs are fed back",
        ),
        (
            (reservoir(O), ridge(H), {"feedback": True, "join_input": True}),
            ValueError,
            "join_input: expected False for a reservoir without other inputs",
        ),
        (
            (crnn.LastState(reservoir()), ridge(H + I), {"join_input": True}),
            ValueError,
            "join_input: expected False for a reservoir without other inputs .* or without a time",
        ),
        ((reservoir(), ridge(), {"feedback": "no"}), TypeError, "feedback: expected True or False"),
        (
            (reservoir(), ridge(), {"join_input": "yes"}),
            TypeError,
            "join_input: expected True or False",
        ),
    ],
)
def test_parts_that_do_not_fit(arguments, kind, message):
    *parts, options = (*arguments, {}) if not isinstance(arguments[-1], dict) else arguments
    with pytest.raises(kind, match="^" + message):
        crnn.ESN(*parts, **options)


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": X[..., :1]}, r"x: expected floats of shape \(B, T, I=2\) or \(T, I=2\), got shape"),
        ({"x": X[0, 0]}, "x: expected floats of shape"),
        ({"x": None}, "x: expected"),
        ({"y": Y[..., :1]}, r"y: expected real numbers of shape \(B=3, T=40, O=2\), got shape"),
        ({"y": Y[:, 1:]}, "y: expected real numbers of shape"),
        ({"y": Y[0]}, "y: expected real numbers of shape"),
        ({"x": X[0]}, r"y: expected real numbers of shape \(T=40, O=2\)"),
        ({"y": Y * np.nan}, "y: expected finite numbers"),
        ({"x": X * np.nan}, "x: expected finite numbers .* got nan in row 0 at step 0"),
        ({"lengths": [1, 2]}, "lengths: expected"),
        ({"lengths": [1, 2, 99]}, "lengths: expected"),
        ({"x": list(X), "y": list(Y), "lengths": LENGTHS}, "lengths: expected None for a list"),
        ({"x": [], "y": []}, "x: expected sequences, got an empty list"),
        ({"x": X[:, :0], "y": Y[:, :0]}, "x: expected steps that are read, .* got none"),
        ({"x": list(X), "y": list(Y[:2])}, "y: expected one for each of the 3 sequences in x"),
        (
            {"x": list(X), "y": list(Y[:, 1:])},
            r"y\[0\]: expected real numbers of shape \(T=40",
        ),
        ({"washout": -1}, "washout: expected an integer from 0"),
        ({"washout": T}, "washout: expected fewer steps than a sequence has"),
        ({"washout": 1.0}, "washout: expected an integer"),
        ({"folds": 1}, "folds: expected None, or an integer of at least 2"),
    ],
)
def test_a_wrong_fit_changes_nothing(options, message, feedback):
    esn = network(feedback=feedback).fit(X, Y)
    before, factors = esn.state_dict(), esn.readout._factors
    with pytest.raises((TypeError, ValueError), match=f"^({message})"):
        esn.fit(**({"x": X, "y": Y} | options))
    assert esn.readout._factors is factors
    for name, array in before.items():
        np.testing.assert_array_equal(esn.params[name], array)


BAD = np.array(X)
BAD[1, 2, 1] = np.inf


@pytest.mark.parametrize("method", ["fit", "score"])
@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused_by_name_and_place(method, feedback, bad):
    esn = network(feedback=feedback).fit(X, Y)
    before = esn.state_dict()
    x = np.where(np.isinf(BAD), bad, BAD)
    cases = [
        ((x, Y), rf"x: expected finite numbers .* got {bad} in row 1 at step 2"),
        ((x[1], Y[1]), rf"x: expected finite numbers .* got {bad} at step 2"),
        (([X[0], x[1, :30]], [Y[0], Y[1, :30]]), rf"x\[1\]: .* got {bad} at step 2"),
    ]
    for data, message in cases:
        with pytest.raises(ValueError, match=f"^{message}$"):
            getattr(esn, method)(*data, washout=5)
    for name, array in before.items():
        np.testing.assert_array_equal(esn.params[name], array)
    getattr(esn, method)(x, Y, [T, 2, T])  # behind the end nothing is read


def test_targets_that_are_fed_back_are_finite_in_the_washout_too():
    y = np.array(Y)
    y[2, 1, 0] = np.nan
    network().fit(X, y, washout=5)
    with pytest.raises(ValueError, match=r"^y: expected finite numbers .* nan in row 2 at step 1"):
        network(feedback=True).fit(X, y, washout=5)
    force = crnn.ESN(reservoir(I + O), crnn.RLS(H, O), feedback=True)
    with pytest.raises(ValueError, match=r"^x: expected finite numbers .* inf in row 1 at step 2"):
        force.fit_force(BAD, Y)


def test_a_prediction_of_nan_has_no_score():
    esn = network(feedback=True).fit(X, Y)
    esn.readout.params["W"] = np.nan
    with pytest.raises(ValueError, match=r"^outputs: expected finite numbers .* got nan"):
        esn.score(X, Y)
    assert np.isnan(esn.predict(X)).any()


SERIES_OF_INTEGERS = np.arange(T)[:, None] % 3


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (SERIES_OF_INTEGERS, r"x: expected floats .*, got int64 .*: give numbers as floats$"),
        (SERIES_OF_INTEGERS[None], r"x: expected floats .*, got int64 .* give numbers as floats$"),
        ([SERIES_OF_INTEGERS], r"x\[0\]: expected floats .*, got int64 .* give numbers as floats$"),
        ((X[0], X[1, :5]), r"x: expected an array, or a list of sequences, got a tuple"),
        (X[0, :, :1].tolist(), r"x\[0\]: expected floats of shape .* write np.array\(x\)"),
        ([X[0, :, 0]], r"x\[0\]: expected floats of shape \(T, I=1\), got shape \(40,\)"),
        ([X[0]], r"x\[0\]: expected floats of shape \(T, I=1\), got shape \(40, 2\)$"),
        ([X[0, :, :1], np.arange(3)], r"x: expected floats in all sequences, or symbols in all"),
        ([[[1.0], [2.0, 3.0]]], r"x\[0\]: expected an array"),
    ],
)
def test_wrong_forms_of_x(x, message):
    esn = network(1)
    y = [Y[0]] * len(x) if isinstance(x, list) else Y[0] if x is SERIES_OF_INTEGERS else Y[:1]
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        esn.fit(x, y)
    esn.fit(X[..., :1], Y)
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        esn.score(x, y)
    if x is not SERIES_OF_INTEGERS:  # without a target they may be symbols of many sequences
        with pytest.raises((TypeError, ValueError), match=f"^{message}"):
            esn.predict(x)


def test_lists_of_symbols_and_empty_sequences():
    symbols = [np.array([0, 1, 1]), np.array([1])]
    esn = network().fit(X, Y)
    for y, one in zip(esn.predict(symbols), symbols, strict=True):
        np.testing.assert_array_equal(y, esn.predict(np.eye(2)[one]))
    empty, row = esn.predict([[], X[0]])
    assert empty.shape == (0, O)
    np.testing.assert_array_equal(row, esn.predict(X[0]))


def test_other_errors():
    esn = network()
    for call in (
        lambda: esn.predict(X),
        lambda: esn.score(X, Y),
        lambda: esn.generate(3),
        lambda: crnn.ESN(reservoir(), crnn.RLS(H, O)).predict(X),
    ):
        with pytest.raises(ValueError, match=r"^readout: expected one that is fitted: call fit"):
            call()
    esn.fit(X, Y)
    cases = [
        (lambda: esn.predict(X, output=Y[:, 0]), "output: expected None without feedback"),
        (lambda: esn.predict(list(X), LENGTHS), "lengths: expected None for a list"),
        (lambda: esn.predict(X[..., :1]), "x: expected floats of shape"),
        (lambda: esn.predict(X, state=[np.zeros((1, H)), None]), "state: expected"),
        (lambda: esn.score(X, Y, washout=T), "washout: expected fewer steps than a sequence has"),
        (lambda: esn.score(X, Y * np.nan), "y: expected finite numbers .* got nan"),
        (lambda: esn.score(X, Y * 1e200), "y: expected finite numbers of magnitude at most 1e"),
        (lambda: esn.score([], []), "x: expected sequences, got an empty list"),
        (lambda: esn.score(X[:0], Y[:0]), "x: expected steps of which the outputs are compared"),
        (lambda: esn.generate(0), "steps: expected an integer of at least 1, got 0"),
        (lambda: esn.generate(2**62), "steps: expected sizes that memory can hold"),
        (
            lambda: esn.generate(3, prime=X[..., :1]),
            r"prime: expected floats of shape \(T, I=2\) or",
        ),
        (lambda: esn.generate(3, prime=np.zeros((4, 2), int)), "prime: expected floats"),
        (lambda: esn.fit_force(X, Y), "fit_force: expected a network with feedback=True and"),
        (lambda: esn.append(crnn.Dense(O, 2)), "append: an ESN has two layers"),
    ]
    other = crnn.ESN(reservoir(), ridge(H, 1)).fit(X, Y[..., :1])
    cases.append((lambda: other.generate(3), "generate: expected a network whose I inputs are its"))
    back = crnn.ESN(crnn.GRU(O, H, reverse=True, **F64), ridge()).fit(X, Y)
    cases.append((lambda: back.generate(3), "generate: expected a reservoir that runs step by"))
    alone = trained("feedback")
    cases.append((lambda: alone.predict(X), "x: expected a network with inputs, got one with I=0"))
    cases.append((lambda: alone.fit(X, Y), "x: expected None .* I=0 inputs, got ndarray"))
    cases.append(
        (lambda: alone.fit(None, Y[0, 0]), r"y: expected real numbers of shape \(B, T, O=")
    )
    cases.append((lambda: alone.fit(None, None), "y: expected real numbers"))
    cases.append((lambda: alone.fit(None, []), "y: expected sequences, got an empty list"))
    fed = network(feedback=True).fit(X, Y)
    cases.append((lambda: fed.predict(X, output=Y[0]), "output: expected floats of shape"))
    state = fed(np.concatenate([X, Y], axis=2))[1]
    cases.append((lambda: fed.predict(X, state=state), "output: expected the output before the"))
    cases.append((lambda: fed.predict(X.astype(int)), "x: expected floats"))
    for call, message in cases:
        with pytest.raises((TypeError, ValueError), match="^" + message):
            call()
    low = crnn.ESN(crnn.RNN(1, 2, seed=0, **F64), crnn.Ridge(2, 1, alpha=0.0, **F64))
    low.reservoir.params["W_x"], low.reservoir.params["W_h"] = 1.0, 0.0
    with pytest.raises(ValueError, match=r"^alpha: expected a larger penalty"):
        low.fit(X[..., :1], Y[..., :1])


def test_rows_without_steps_and_no_rows():
    esn = network(feedback=True).fit(X, Y)
    assert esn.predict(X[:0]).shape == (0, T, O)
    assert esn.predict(X[:, :0]).shape == (B, 0, O)
    assert esn.predict([]) == []
    assert network().fit(X, Y).predict(X[:, :0]).shape == (B, 0, O)
    assert network().fit(X, Y).generate(3, X[:0]).shape == (0, 3, O)


def test_an_rls_that_learned_zeros_is_fitted():
    esn = crnn.ESN(reservoir(), crnn.RLS(H, O)).fit(X, 0 * Y)
    assert not esn.predict(X).any()


def test_a_loaded_readout_has_no_sums_for_another_alpha(tmp_path):
    crnn.save(tmp_path / "esn", network().fit(X, Y))
    loaded = crnn.load(tmp_path / "esn")
    before = loaded.predict(X)
    with pytest.raises(ValueError, match=r"^readout__alpha: expected a readout that has the sums"):
        loaded.set_params(readout__alpha=100.0)
    assert loaded.readout.alpha == 1e-3
    np.testing.assert_array_equal(loaded.predict(X), before)
    loaded.readout.alpha = 100.0
    expected = network(alpha=100.0).fit(X, Y).readout.params["W"]
    np.testing.assert_array_equal(loaded.fit(X, Y).readout.params["W"], expected)
    loaded.set_params(readout__alpha=1e-3)
    np.testing.assert_array_equal(loaded.predict(X), before)


def test_another_alpha_of_an_rls_needs_another_fit():
    esn = crnn.ESN(reservoir(), crnn.RLS(H, O, alpha=0.1)).fit(X, Y)
    esn.set_params(readout__alpha=10.0)
    with pytest.raises(ValueError, match=r"^readout: expected one that is fitted"):
        esn.predict(X)
    expected = crnn.ESN(reservoir(), crnn.RLS(H, O, alpha=10.0)).fit(X, Y)
    np.testing.assert_array_equal(esn.fit(X, Y).predict(X), expected.predict(X))


def test_errors_of_set_params_have_its_names():
    deep = crnn.ESN(crnn.Sequential([reservoir(), reservoir(H)]), ridge())
    with pytest.raises(ValueError, match=r"^reservoir__1__leak: expected 0 < leak <= 1, got 0"):
        deep.set_params(reservoir__1__leak=0)
    with pytest.raises(TypeError, match=r"^readout__bias: expected True or False, got 'no'"):
        deep.set_params(readout__bias="no")


def test_options_are_set_by_set_params_alone():
    esn = network().fit(X, Y)
    for name in ("reservoir", "readout", "feedback", "join_input"):
        with pytest.raises(AttributeError, match=rf"^{name}: cannot be set; call set_params"):
            setattr(esn, name, True)
    with pytest.raises(TypeError, match=r"^feedback: expected True or False, got array"):
        esn.set_params(feedback=np.array([True, False]))
    assert esn.readout.steps_ == B * T
