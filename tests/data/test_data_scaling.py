"""Features brought to mean 0 and standard deviation 1."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import crnn.data.scaling
from crnn.data import Standardizer

values = st.floats(-1e6, 1e6)


@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=3, max_side=9), elements=values))
def test_what_was_transformed_comes_back(x):
    scaler = Standardizer().fit(x)
    scaled = scaler.transform(x)
    np.testing.assert_allclose(scaler.inverse_transform(scaled), x, rtol=1e-9, atol=1e-9)
    rows = x.reshape(-1, x.shape[-1])
    np.testing.assert_allclose(scaler.mean_, rows.mean(axis=0), rtol=1e-9, atol=1e-9)
    spread = rows.std(axis=0)
    varied = spread > 1e-6 * np.abs(rows).max(initial=1)
    np.testing.assert_allclose(scaler.scale_[varied], spread[varied], rtol=1e-6)
    flat = scaled.reshape(rows.shape)[:, varied]
    np.testing.assert_allclose(flat.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(flat.std(axis=0), 1, rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e300, 3.0])
def test_a_constant_feature_becomes_zero(value):
    x = np.column_stack([np.full(7, value), np.arange(7.0)])
    scaler = Standardizer().fit(x)
    assert (scaler.mean_[0], scaler.scale_[0]) == (value, 1)
    assert not scaler.transform(x)[:, 0].any()
    np.testing.assert_array_equal(scaler.inverse_transform(scaler.transform(x))[:, 0], value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("N", [10, 1000])
@pytest.mark.parametrize("mean", [1e-10, 1.0, -3e10])
def test_features_that_vary_by_rounding_alone_count_as_constant(dtype, N, mean):
    spread = np.float64(10.0) ** np.arange(-28, 12)
    x = np.empty((N, len(spread)), dtype)
    x[::2], x[1::2] = mean + spread, mean - spread
    exact = x.astype(np.float64)
    center = exact[:2].mean(axis=0)  # of two numbers: exact to one rounding
    variance, eps = ((exact[:2] - center) ** 2).mean(axis=0), np.finfo(np.float64).eps
    bound = N * eps * variance + (N * center * eps) ** 2  # scikit-learn's
    scale = Standardizer().fit(x).scale_
    constant, varied = variance < 0.3 * bound, variance > 3 * bound
    assert constant.sum() > 3
    assert varied.sum() > 3
    np.testing.assert_array_equal(scale[constant | (variance == 0)], 1)
    np.testing.assert_allclose(scale[varied], np.sqrt(variance[varied]), rtol=0.2)
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    theirs = preprocessing.StandardScaler().fit(x).scale_
    np.testing.assert_allclose(scale[varied], theirs[varied], rtol=1e-3)


@pytest.mark.parametrize("listed", [False, True])
def test_a_nearly_constant_feature_is_not_blown_up(listed):
    x = np.column_stack([np.full(30, 0.3), np.arange(30.0)])
    x[::3, 0] = 0.1 + 0.2  # the next number
    x[4] = np.nan
    scaler = Standardizer().fit(list(x[:, None]) if listed else x)
    assert scaler.scale_[0] == 1
    assert np.abs(scaler.transform([[0.31, 0.0]])[0, 0]) < 0.02


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_very_small_and_very_large_features_are_scaled(unit):
    x = np.array([-1, 1, 3, 5.0]) * unit
    np.testing.assert_allclose(
        Standardizer().fit(x).transform(x), [-1.3416, -0.4472, 0.4472, 1.3416], rtol=1e-4
    )


def test_missing_values_are_left_out():
    x = np.array([[1, np.nan], [3, 10], [np.nan, 20], [5, 30]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scaler = Standardizer().fit(x)
        scaled = scaler.transform(x)
    np.testing.assert_allclose(scaler.mean_, [3, 20])
    np.testing.assert_allclose(scaler.scale_, [np.sqrt(8 / 3), np.sqrt(200 / 3)])
    np.testing.assert_array_equal(np.isnan(scaled), np.isnan(x))


def test_sequences_of_different_lengths_count_by_their_steps():
    parts = [np.random.default_rng(n).normal(3, 2, (n, 2)) for n in (1, 5, 30, 0)]
    one, whole = Standardizer().fit(parts), Standardizer().fit(np.concatenate(parts))
    np.testing.assert_allclose(one.mean_, whole.mean_)
    np.testing.assert_allclose(one.scale_, whole.scale_)


# ------------------------------------------------------------------------- lists of sequences


@pytest.mark.parametrize("container", [list, tuple])
@pytest.mark.parametrize("tail", [(), (1,), (3,)])
def test_lists_are_transformed_sequence_by_sequence(container, tail):
    rng = np.random.default_rng(0)
    sequences = container(rng.normal(3, 2, (n, *tail)).astype("f4") for n in (4, 1, 30, 0))
    before = [sequence.copy() for sequence in sequences]
    scaler = Standardizer().fit(sequences)
    scaled = scaler.transform(sequences)
    assert isinstance(scaled, list)
    for one, sequence in zip(scaled, sequences, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, scaler.transform(sequence))
    together = Standardizer().fit_transform(sequences)
    assert isinstance(together, list)
    for one, other in zip(together, scaled, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, sequence in zip(scaler.inverse_transform(scaled), before, strict=True):
        assert one.shape == sequence.shape
        np.testing.assert_allclose(one, sequence, rtol=1e-5, atol=1e-5)
    np.testing.assert_equal(list(sequences), before)


def test_columns_of_lists():
    x = np.random.default_rng(0).normal([0, 10, 20], [1, 2, 3], (40, 3))
    scaler = Standardizer().fit(x)
    scaled = scaler.transform(x)
    first, second = scaler.transform([x[:5, [2, 0]], x[5:, [2, 0]]], columns=[2, 0])
    np.testing.assert_array_equal(first, scaled[:5, [2, 0]])
    np.testing.assert_array_equal(second, scaled[5:, [2, 0]])
    first, second = scaler.inverse_transform([scaled[:5, 1], scaled[5:, 1]], columns=1)
    np.testing.assert_allclose(first, x[:5, 1])
    np.testing.assert_allclose(second, x[5:, 1])


def test_lists_of_numbers_are_one_array():
    numbers = [[1.0, 2.0], [3.0, 6.0]]
    for scaled in (
        Standardizer().fit_transform(numbers),
        Standardizer().fit([1, 3]).transform([5]),
    ):
        assert isinstance(scaled, np.ndarray)
    scaler = Standardizer().fit(numbers)
    np.testing.assert_array_equal(scaler.transform(numbers), [[-1, -1], [1, 1]])
    np.testing.assert_array_equal(scaler.inverse_transform(scaler.transform(numbers)), numbers)
    mixed = scaler.transform([np.array([[1.0, 2.0]]), numbers])  # one array makes it a list
    np.testing.assert_array_equal(mixed[1], [[-1, -1], [1, 1]])


def test_a_wrong_sequence_in_a_list_is_named():
    scaler = Standardizer().fit(np.arange(6.0).reshape(3, 2))
    for call in (scaler.transform, scaler.inverse_transform):
        with pytest.raises(
            ValueError, match=r"x\[1\]: expected numbers \(\.\.\., F=2\), got float64"
        ):
            call([np.ones((3, 2)), np.ones((3, 3))])


def test_fit_transform_changes_nothing_after_an_error():
    scaler = Standardizer().fit([1.0, 2.0])
    before = scaler.to_dict()
    for x in ([[1.0, np.inf]], [np.ones((2, 3)), np.ones((2, 4))], ["a"]):
        with pytest.raises(ValueError, match="x: expected"):
            scaler.fit_transform(x)
        assert scaler.to_dict() == before


# ------------------------------------------------------------------------------ scikit-learn


@pytest.mark.parametrize("dtype", ["int64", "float32", "float64"])
def test_fit_transform_against_scikit_learn(dtype):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    x = (100 * np.random.default_rng(1).normal([0, 5, -9], [1, 20, 3], (50, 3))).astype(dtype)
    x[:, 1] = 7
    if dtype != "int64":
        x[::9, 2] = np.nan
    ours, theirs = Standardizer(), preprocessing.StandardScaler()
    scaled, expected = ours.fit_transform(x), theirs.fit_transform(x)
    assert scaled.dtype == expected.dtype
    tolerance = {"rtol": 1e-5 if dtype == "float32" else 1e-12, "atol": 1e-6}
    np.testing.assert_allclose(scaled, expected, **tolerance)
    np.testing.assert_allclose(ours.mean_, theirs.mean_, rtol=1e-12)
    np.testing.assert_allclose(ours.scale_, theirs.scale_, rtol=1e-12)
    np.testing.assert_array_equal(scaled, ours.transform(x))
    back = ours.inverse_transform(scaled)
    np.testing.assert_allclose(back, theirs.inverse_transform(expected), rtol=1e-5)


def test_lists_against_scikit_learn():
    """A list of sequences is scaled as the array of all their steps."""
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    parts = [np.random.default_rng(n).normal(3, 2, (n, 2)) for n in (1, 5, 30)]
    expected = preprocessing.StandardScaler().fit_transform(np.concatenate(parts))
    scaled = Standardizer().fit_transform(parts)
    np.testing.assert_allclose(np.concatenate(scaled), expected, rtol=1e-9, atol=1e-12)


# --------------------------------------------------------------------------------- properties


def test_a_file_is_read_in_blocks(monkeypatch):
    x = np.random.default_rng(0).normal(1e4, 1, (50, 7, 3)).astype(np.float32)
    largest = []
    monkeypatch.setattr(crnn.data.scaling, "_BLOCK", 20)
    blocks = crnn.data.scaling._blocks

    def watched(parts):
        for block in blocks(parts):
            largest.append(len(block))
            yield block

    monkeypatch.setattr(crnn.data.scaling, "_blocks", watched)
    scaler = Standardizer().fit(x)
    assert max(largest) <= 20
    rows = x.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(scaler.mean_, rows.mean(axis=0))
    np.testing.assert_allclose(scaler.scale_, rows.std(axis=0))


def test_some_columns():
    x = np.random.default_rng(0).normal([0, 10, 20], [1, 2, 3], (40, 3))
    scaler = Standardizer().fit(x)
    scaled = scaler.transform(x)
    np.testing.assert_array_equal(scaler.transform(x[:, [2, 0]], columns=[2, 0]), scaled[:, [2, 0]])
    np.testing.assert_allclose(scaler.inverse_transform(scaled[:, 1], columns=1), x[:, 1])
    np.testing.assert_allclose(
        scaler.inverse_transform(scaled[None, :, 1:2], columns=1), x[None, :, 1:2]
    )


def test_types_and_shapes():
    scaler = Standardizer().fit(np.arange(6))
    assert scaler.transform(np.arange(6)).dtype == np.float64
    assert scaler.transform(np.arange(6)).shape == (6,)
    assert scaler.transform(np.ones((4, 1), np.float32)).dtype == np.float32
    x = np.ones(3)
    scaler.transform(x)
    np.testing.assert_array_equal(x, 1)  # a copy was scaled


def test_dictionaries_for_json():
    x = np.random.default_rng(0).normal(0.1, 3, (40, 3))
    scaler = Standardizer().fit(x)
    again = Standardizer.from_dict(json.loads(json.dumps(scaler.to_dict())))
    np.testing.assert_array_equal(again.transform(x), scaler.transform(x))


def test_nothing_is_transformed_before_fit():
    for call in ("transform", "inverse_transform"):
        with pytest.raises(RuntimeError, match="expected a call of fit before this one"):
            getattr(Standardizer(), call)(np.ones(3))
    with pytest.raises(RuntimeError, match="expected a call of fit before this one"):
        Standardizer().to_dict()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[1.0, np.nan]], "x: expected finite numbers in column 1, got none"),
        ([[1.0, 2.0], [np.inf, 2]], "x: expected finite numbers in column 0, got infinity"),
        ([], "x: expected finite numbers in column 0, got none"),
        (["a"], r"x: expected numbers \(N, F\), got <U1"),
        ([np.ones((2, 3)), np.ones((2, 4))], "x: expected F=3 features in each, got 4"),
    ],
)
def test_what_cannot_be_fitted(x, message):
    scaler = Standardizer().fit([1.0, 2.0])
    before = scaler.to_dict()
    with pytest.raises(ValueError, match=message):
        scaler.fit(x)
    assert scaler.to_dict() == before


@pytest.mark.parametrize(
    ("x", "columns", "message"),
    [
        (
            np.ones((3, 3)),
            None,
            r"x: expected numbers \(\.\.\., F=2\), got float64 of shape \(3, 3\)",
        ),
        (np.ones((3, 2)), 1, r"x: expected numbers \(\.\.\., F=1\), got float64 of shape \(3, 2\)"),
        (np.ones(()), None, r"x: expected numbers .* got float64 of shape \(\)"),
        (np.ones((3, 1)), 2, "columns: expected integers from 0 to 1, got 2"),
        (np.ones((3, 1)), ["a"], r"columns: expected integers from 0 to 1, got \['a'\]"),
    ],
)
def test_what_cannot_be_transformed(x, columns, message):
    with pytest.raises(ValueError, match=message):
        Standardizer().fit([[1, 2], [3, 4]]).transform(x, columns)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"mean": [0.0]}, r"missing: \['scale'\]"),
        ({"mean": [0.0], "scale": [1.0], "more": 1}, r"unknown: \['more'\]"),
        (
            {"mean": [0.0], "scale": [1.0, 2.0]},
            "numbers: expected finite means and positive scales",
        ),
        ({"mean": [0.0], "scale": [0.0]}, "numbers: expected finite means and positive scales"),
        ({"mean": [float("nan")], "scale": [1.0]}, "numbers: expected finite means"),
        ({"mean": None, "scale": None}, "numbers: expected finite means"),
    ],
)
def test_wrong_numbers(numbers, message):
    with pytest.raises(ValueError, match=message):
        Standardizer.from_dict(numbers)
