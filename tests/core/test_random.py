"""The random generator Philox4x32-10, compared with plain Python; initial weights and dropout."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import crnn
import crnn._core as _core
from support.comparing import assert_same_bits
from support.philox import MASK, VECTORS, philox
from support.running import leaves
from support.tables import CELLS, DTYPES, H, I, every_cell

words = st.integers(0, 2**64 - 1)


def number(seed, stream, position):
    """Return a number in [0, 1) of 53 bits; each block has two numbers, of two words each."""
    block = position // 2
    counter = (block & MASK, block >> 32, stream & MASK, stream >> 32)
    high, low = philox((seed & MASK, seed >> 32), counter)[2 * (position % 2) :][:2]
    return ((high << 32 | low) >> 11) / 2**53


@pytest.mark.parametrize(("counter", "key", "answer"), VECTORS)
def test_known_answers(counter, key, answer):
    """The known answers hold for the plain generator, and for block and stream in the core."""
    counter, key, answer = ([int(w, 16) for w in text.split()] for text in (counter, key, answer))
    assert list(philox(key, counter)) == answer
    block, stream = counter[0] | counter[1] << 32, counter[2] | counter[3] << 32
    seed = key[0] | key[1] << 32
    expected = [((answer[k] << 32 | answer[k + 1]) >> 11) / 2**53 for k in (0, 2)]
    if block < 2**63:  # a block has two positions
        assert _core.random_uniform(seed, stream, 2 * block, 2).tolist() == expected


@given(seed=words, stream=words, first=words, n=st.integers(0, 20))
def test_the_core_agrees_with_the_twin(seed, stream, first, n):
    first = min(first, 2**64 - 1 - n)
    found = _core.random_uniform(seed, stream, first, n)
    assert found.dtype == np.float64
    assert found.tolist() == [number(seed, stream, first + k) for k in range(n)]


def test_a_number_does_not_depend_on_the_range_that_is_drawn(isa, threads):
    whole = _core.random_uniform(7, 3, 0, 1000)
    threads(3)
    for first, n in ((0, 1), (1, 1), (1, 2), (2, 5), (999, 1), (500, 500), (333, 0)):
        found = _core.random_uniform(7, 3, first, n)
        assert found.tobytes() == whole[first : first + n].tobytes()


def test_seeds_and_streams_differ():
    draws = [
        _core.random_uniform(seed, stream, 0, 100) for seed in (0, 1, 2**32) for stream in range(3)
    ]
    assert len(np.unique(draws)) == 900


def test_numbers_are_uniform():
    """Mean, variance, tenths of the interval and neighbours are within five standard deviations."""
    n = 200_000
    draws = _core.random_uniform(11, 0, 0, n)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert abs(draws.mean() - 1 / 2) < 5 * np.sqrt(1 / 12 / n)
    assert abs(draws.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / n)
    counts = np.histogram(draws, 10, (0, 1))[0]
    assert np.sum((counts - n / 10) ** 2 / (n / 10)) < 9 + 5 * np.sqrt(18)
    for lag in (1, 2, 3):
        pairs = (draws[:-lag] - 0.5) * (draws[lag:] - 0.5) * 12
        assert abs(pairs.mean()) < 5 / np.sqrt(n)


def test_all_53_bits_are_used():
    bits = (_core.random_uniform(5, 0, 0, 4096) * 2**53).astype(np.uint64)
    for bit in range(53):
        assert 1800 < np.count_nonzero(bits >> np.uint64(bit) & np.uint64(1)) < 2300


@pytest.mark.parametrize(
    ("arguments", "error"),
    [((0, 0, 0, -1), ValueError), ((0, 0, 0), TypeError), (("a", 0, 0, 1), TypeError)],
)
def test_wrong_arguments(arguments, error):
    with pytest.raises(error):
        _core.random_uniform(*arguments)


# ---------------------------------------------------------------------------------- initial weights


@every_cell
def test_initial_weights(kind, dtype):
    inputs, hidden = 30, 20
    layer = CELLS[kind](inputs, hidden, dtype=dtype, seed=4)
    bound = np.sqrt(6 / (inputs + hidden))
    W_x = layer.params["W_x"]
    assert np.abs(W_x).max() <= bound * (1 + 1e-6)
    assert np.abs(W_x).max() > 0.97 * bound
    assert W_x.std() == pytest.approx(bound / np.sqrt(3), rel=0.1)
    assert abs(W_x.mean()) < 0.1 * bound
    W_h = layer.params.get("W_h", np.empty((0, hidden))).astype("float64")
    blocks = np.split(W_h, len(layer.gate_order)) if len(W_h) else []
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(hidden), atol=1e-6)
    for k, block in enumerate(blocks[1:], 1):
        assert np.abs(block - blocks[k - 1]).max() > 0.1
    biases = {key: array for key, array in layer.params.items() if key.startswith("b")}
    assert biases
    for array in biases.values():
        expected = np.zeros(array.shape)
        if kind in ("lstm", "min_lstm"):
            expected[hidden : 2 * hidden] = 1
        if kind == "lstm_coupled":  # f = 1 - i
            expected[:hidden] = -1
        np.testing.assert_array_equal(array, expected)


def test_the_forget_bias_only_initialises():
    for value in (0.0, 2.5, -1):
        layer = crnn.LSTM(I, H, forget_bias=value)
        assert (layer.params["b"].reshape(4, H) == np.array([0, value, 0, 0])[:, None]).all()
    layer.params["b"] = 0.0
    x = np.ones((2, 3, I))
    before = layer(x)
    with pytest.raises(AttributeError, match=r"^forget_bias: cannot be set"):
        layer.forget_bias = 7.0
    assert_same_bits(layer(x), before)
    assert "b" not in crnn.LSTM(I, H, forget_bias=3.0, bias=False).params
    b = crnn.MinLSTM(I, H, forget_bias=-2).params["b"]
    assert (b.reshape(3, H) == np.array([0, -2, 0])[:, None]).all()


SEEDED = {name: functools.partial(cell, I, H) for name, cell in CELLS.items()} | {
    "dense": functools.partial(crnn.Dense, I, H),
    "embedding": functools.partial(crnn.Embedding, I, H),
    "dropout": functools.partial(crnn.Dropout, 0.5),
}


@pytest.mark.parametrize("name", SEEDED)
def test_seeds(name):
    def make(seed):
        return SEEDED[name](seed=seed)

    def bits(layer):
        x = np.ones((3, 4), int) if name == "embedding" else np.ones((3, 4, I))
        found = leaves([layer.params, layer.forward(x)[0]])
        return b"".join(array.tobytes() for array in found.values())

    assert make(5).seed == 5
    assert bits(make(5)) == bits(make(5)) == bits(make(np.int64(5)))
    assert len({bits(make(seed)) for seed in (0, 1, 2**32, 2**64 - 1)}) == 4
    first, second = make(None), make(None)
    assert first.seed != second.seed
    assert bits(first) != bits(second)
    first.calls = 0
    assert bits(make(first.seed)) == bits(first)


def test_dtypes_draw_the_same_weights():
    for cell in CELLS.values():
        one, two = (cell(I, H, dtype=dtype, seed=3) for dtype in DTYPES)
        for key, array in two.params.items():
            np.testing.assert_array_equal(one.params[key], array.astype("float32"))


@every_cell
def test_the_backward_layer_has_other_weights(kind):
    layer = crnn.Bidirectional(CELLS[kind](I, H, seed=3))
    one, two = layer.forward_layer, layer.backward_layer
    assert (one.reverse, two.reverse) == (False, True)
    assert type(one) is type(two)
    assert one.config | {"reverse": True, "seed": two.seed} == two.config
    for key in {"W_x", "W_h"} & set(one.params):
        assert np.abs(one.params[key] - two.params[key]).max() > 0.1
    again = crnn.Bidirectional(CELLS[kind](I, H, seed=3))
    assert_same_bits(again.params, layer.params)


def test_dropout_draws_by_call():
    layer, x = crnn.Dropout(0.25, seed=3), np.ones((50, 20, 10))
    draws = [layer.forward(x, call=call)[0] for call in (0, 1, 0)]
    assert_same_bits(draws[0], draws[2])
    assert (draws[0] != draws[1]).any()
    assert set(np.unique(draws[0])) == {0.0, 1 / 0.75}
    assert np.mean(draws[0] == 0) == pytest.approx(0.25, abs=0.02)
    lengths = np.arange(50) % 21
    y, _, _ = layer.forward(x, lengths=lengths)  # lengths do not change which units are dropped
    valid = np.arange(20) < lengths[:, None]
    assert_same_bits(y[valid], draws[0][valid])
    assert_same_bits(layer(x)[0], x)
    assert_same_bits(layer.forward(x, training=False)[0], x)
