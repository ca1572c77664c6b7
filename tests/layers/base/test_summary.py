"""The summary of a model agrees with a run of the model."""

import doctest

import numpy as np

import crnn
import crnn.layers.base.summary
from crnn.layers.base.summary import summarize
from crnn.layers.compose.checkpointed import Checkpointed
from crnn.layers.compose.conditioned import Conditioned
from crnn.layers.compose.pooling import Pool
from crnn.layers.pointwise.tied import TiedDense


def nested():
    embedding = crnn.Embedding(30, 8)
    return crnn.Sequential(
        [
            embedding,
            crnn.Bidirectional(crnn.LSTM(8, 16)),
            crnn.Residual(crnn.Sequential([crnn.GRU(32, 32), crnn.Dropout(0.1)])),
            crnn.Bidirectional(crnn.RNN(32, 8), "sum"),
            crnn.LayerNorm(8),
            TiedDense(embedding),
        ]
    )


def test_shapes_are_those_of_a_run():
    model = nested()
    rows = {row.name: row for row in summarize(model).rows}
    x = np.zeros((2, 3), int)
    for i, layer in enumerate(model.layers):
        x, _ = layer(x)
        expected = f"(B, T, {x.shape[-1]})"
        assert rows[str(i)].shape == expected, i
    assert rows["2.layer.0"].shape == "(B, T, 32)"
    assert rows["1.backward"].shape == "(B, T, 16)"


def test_parameters_and_bytes_are_counted_once():
    model = nested()
    summary = summarize(model)
    distinct = {array.ctypes.data: array for array in model.params.values()}
    assert summary.parameters == sum(array.size for array in distinct.values())
    assert summary.bytes == sum(array.nbytes for array in distinct.values())
    shared = crnn.Dense(4, 4, dtype="float64")
    twice = summarize(crnn.Sequential([shared, shared]))
    assert [row.parameters for row in twice.rows] == [20, 0]
    assert (twice.parameters, twice.bytes, twice.multiply_adds) == (20, 160, 32)


def test_multiply_adds_are_the_products_of_a_step():
    rows = {row.name: row.multiply_adds for row in summarize(nested()).rows}
    assert rows["0"] == rows["4"] == 0
    assert rows["1.forward"] == rows["1.backward"] == 4 * 16 * (8 + 16)
    assert rows["2.layer.0"] == 3 * 32 * (32 + 32)
    assert rows["5"] == 30 * 8
    assert rows["1"] is rows["2"] is None


def test_layers_without_a_time_axis():
    model = crnn.Sequential([crnn.LSTM(2, 6), Pool(), crnn.Dense(6, 3)])
    rows = summarize(model).rows
    assert [row.shape for row in rows] == ["(B, T, 6)", "(B, 6)", "(B, 3)"]
    assert rows[2].multiply_adds == 0  # runs once for each sequence
    rows = summarize(Conditioned(crnn.GRU(2, 6), crnn.Dense(5, 6))).rows
    assert [(row.name, row.shape) for row in rows] == [
        ("", "(B, T, 6)"), ("layer", "(B, T, 6)"), ("init", "(B, 6)"),
    ]  # fmt: skip


def test_unknown_sizes_are_question_marks():
    class Own(crnn.Layer):
        def forward(self, x, state=None, *, lengths=None, training=True):
            return x, None, None

        def backward(self, tape, dy, dstate=None):
            return dy, None

    model = crnn.Sequential([crnn.Dropout(0.1), crnn.Dense(3, 2), Own(), crnn.Dropout(0.2)])
    shapes = [row.shape for row in summarize(model).rows]
    assert shapes == ["(B, T, ?)", "(B, T, 2)", "(B, T, ?)", "(B, T, ?)"]


def test_compositions_show_their_options():
    rows = summarize(Checkpointed(crnn.Sequential([crnn.RNN(2, 3, seed=0)]), 4)).rows
    assert [row.layer for row in rows] == ["Checkpointed(every=4)", "RNN(2, 3, seed=0)"]
    assert summarize(crnn.Bidirectional(crnn.RNN(2, 3), "mul")).rows[0].layer == (
        "Bidirectional(merge='mul')"
    )


def test_text_and_html():
    class Odd(crnn.Dense):
        def __repr__(self):
            return "<Odd & even>"

    summary = summarize(crnn.Sequential([Odd(1000, 2000)]))
    lines = str(summary).splitlines()
    assert lines[0].split() == ["name", "layer", "output", "parameters", "bytes", summary.NAMES[5]]
    assert lines[-1].split() == ["total", "2,002,000", "8,008,000", "2,000,000"]
    assert repr(summary) == str(summary)
    page = summary._repr_html_()
    assert "&lt;Odd &amp; even&gt;" in page
    assert page.count("<tr>") == page.count("</tr>") == 3


def test_examples():
    failed, tried = doctest.testmod(crnn.layers.base.summary)
    assert (failed, tried) == (0, 2)
    assert str(crnn.Dense(2, 3, seed=0).summary()) == str(summarize(crnn.Dense(2, 3, seed=0)))
