"""Wrong arguments of input_saliency and receptive_field."""

import numpy as np
import pytest

import crnn
from crnn.diagnostics import input_saliency, receptive_field
from support.readers import (
    LENGTHS,
    Moved,
    T,
    floats,
    gru,
    symbols,
    symbols_model,
)

pytestmark = pytest.mark.filterwarnings("error")


X = floats()
MODEL = gru()
PAIR = symbols(), symbols(steps=4)
WRONG = [
    ((None, X), {}, TypeError, "model: expected a layer, got None"),
    ((crnn.GRU, X), {}, TypeError, "model: expected a layer, got .*a class"),
    ((symbols_model().model, PAIR), {}, TypeError, "model: .*got a Seq2Seq: wrap it in"),
    ((MODEL, None), {}, TypeError, "x: expected .*, got object"),
    ((MODEL, 1.0), {}, ValueError, r"x: expected .*, got float64 of shape \(\)"),
    ((MODEL, X[0]), {}, ValueError, r"x: expected .*, got float64 of shape \(6, 3\)"),
    ((MODEL, X > 0), {}, TypeError, "x: expected .*, got bool"),
    ((MODEL, (X, X[:, 0])), {}, TypeError, "x: expected"),
    ((MODEL, ()), {}, ValueError, r"x: expected .*, got float64 of shape \(0,\)"),
    ((MODEL, symbols(9)), {}, ValueError, "x: expected symbols from 0 to I-1=2, got"),
    ((MODEL, X, "a"), {}, TypeError, "state: expected .*, got <U1"),
    ((MODEL, X, X[:1, 0]), {}, ValueError, r"state: expected .*\(B=3, H=4\), got .*\(1, 3\)"),
    ((MODEL, X), {"lengths": [6]}, ValueError, r"lengths: expected .*\(B=3,\), got .*\(1,\)"),
    ((MODEL, X), {"lengths": 2}, ValueError, r"lengths: expected .*\(B=3,\), got .*\(\)"),
    ((MODEL, X), {"lengths": [2, 3, 9]}, ValueError, "lengths: expected .* 6, got 9"),
    ((MODEL, X), {"mask": np.ones((1, T), bool)}, ValueError, r"mask: .*\(B=3, T=6\), got"),
    ((MODEL, X), {"resets": True}, ValueError, r"resets: .*\(B=3, T=6\), got .*\(\)"),
    ((MODEL, X), {"row": 3}, ValueError, "row: expected an integer from 0 to B - 1 = 2, got 3"),
    ((MODEL, X), {"row": 1.0}, ValueError, "row: expected an integer .*, got 1.0"),
    ((MODEL, X), {"row": None}, ValueError, "row: expected an integer .*, got None"),
    ((MODEL, X), {"array": 1}, ValueError, r"array: expected .*one of \[0\], got 1"),
    ((MODEL, X), {"array": -1}, ValueError, r"array: expected .*one of \[0\], got -1"),
    ((MODEL, X), {"array": "x"}, ValueError, r"array: expected .*one of \[0\], got 'x'"),
    (
        (symbols_model(), (*PAIR, LENGTHS)),
        {"array": 2},
        ValueError,
        r"array: expected .* one of \[0, 1\], got 2",
    ),
    ((symbols_model(), PAIR[0]), {}, TypeError, r"x: expected the tuple \(source, target_in\)"),
    ((MODEL, X[:0]), {}, ValueError, "row: expected .*, got 0"),
]


@pytest.mark.parametrize("function", [input_saliency, receptive_field])
@pytest.mark.parametrize(("arguments", "options", "error", "message"), WRONG)
def test_wrong_arguments(function, arguments, options, error, message):
    with pytest.raises(error, match=message):
        function(*arguments, **options)


@pytest.mark.parametrize(
    ("function", "options", "error", "message"),
    [
        (input_saliency, {"step": 6}, ValueError, "step: expected an integer from 0 to 5, .*got 6"),
        (input_saliency, {"step": -7}, ValueError, "step: expected .* from -6 to -1 .*got -7"),
        (input_saliency, {"step": 1.0}, ValueError, "step: expected an integer .*got 1.0"),
        (input_saliency, {"output": 4}, ValueError, "output: expected .* from 0 to 3, .*got 4"),
        (input_saliency, {"output": "a"}, ValueError, "output: expected an integer .*got 'a'"),
        (input_saliency, {"method": "lime"}, ValueError, "method: expected 'gradient' or 'occl"),
        (
            input_saliency,
            {"lengths": LENGTHS, "row": 1},
            ValueError,
            "row: expected a row with valid steps, got row 1 of length 0",
        ),
        (input_saliency, {"lengths": LENGTHS, "row": 2, "step": 4}, ValueError, "step: .* 3, "),
        (receptive_field, {"fraction": 1}, ValueError, "fraction: expected .* below 1, got 1"),
        (receptive_field, {"fraction": -0.1}, ValueError, "fraction: expected .*, got -0.1"),
        (receptive_field, {"fraction": np.nan}, ValueError, "fraction: expected .*, got nan"),
        (receptive_field, {"repeats": 0}, ValueError, "repeats: expected .* at least 1.*, got 0"),
        (receptive_field, {"repeats": 1.5}, TypeError, "repeats: expected .*, got 1.5"),
        (receptive_field, {"seed": -1}, ValueError, "seed: expected .*, got -1"),
        (receptive_field, {"seed": "a"}, TypeError, "seed: expected .*, got 'a'"),
    ],
)
def test_wrong_options(function, options, error, message):
    with pytest.raises(error, match=message):
        function(MODEL, X, **options)


def test_a_model_without_a_gradient_of_x():
    with pytest.raises(ValueError, match="model: expected one whose backward gives the gradient"):
        input_saliency(Moved(0), X)
