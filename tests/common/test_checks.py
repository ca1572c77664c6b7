"""Checks of arrays: valid arrays are returned unchanged; messages for the others."""

import numpy as np
import pytest

from crnn.common.checks import check_array


def test_a_valid_array_is_returned_without_a_copy():
    x = np.zeros((2, 5, 3))
    for shape in ((2, 5, 3), ("B", "T", "I"), ("B", 5, ("I", 3)), (("B", 2), "T", 3)):
        assert check_array("x", x, "floats", shape) is x
    assert check_array("x", x, "real numbers") is x
    assert check_array("x", x, "floats", ("B", "I"), ("B", "T", "I")) is x
    assert check_array("x", [[1, 2]], "integers", ("B", "T")).dtype.kind == "i"
    assert check_array("x", 1, "integers", ()).shape == ()


@pytest.mark.parametrize(
    ("value", "kinds", "shapes", "error", "message"),
    [
        (
            np.zeros((2, 5), np.int64),
            "floats",
            [("B", "T", ("I", 3))],
            TypeError,
            "x: expected floats of shape (B, T, I=3), got int64 of shape (2, 5)",
        ),
        (
            np.zeros((2, 5, 4)),
            "floats",
            [("B", "T", ("I", 3)), ("B", ("I", 3))],
            ValueError,
            "x: expected floats of shape (B, T, I=3) or (B, I=3), got shape (2, 5, 4)",
        ),
        (1.5, "integers", [], TypeError, "x: expected integers, got float64 of shape ()"),
        (
            [True],
            "real numbers",
            [(1,)],
            TypeError,
            "x: expected real numbers of shape (1,), got b",
        ),
        ([1], "integers", [()], ValueError, "x: expected integers of shape (), got shape (1,)"),
        ([1], "integers", [(1, "T")], ValueError, "x: expected integers of shape (1, T), got sh"),
    ],
)
def test_a_wrong_array(value, kinds, shapes, error, message):
    with pytest.raises(error) as caught:
        check_array("x", value, kinds, *shapes)
    assert str(caught.value).startswith(message)


def test_a_note_and_another_exception():
    with pytest.raises(
        ValueError, match=r"^x: expected floats of shape \(2,\), that of y, got <U1"
    ):
        check_array("x", "a", "floats", (2,), note=", that of y", kind_error=ValueError)
