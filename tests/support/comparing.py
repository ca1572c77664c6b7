"""Assertions that arrays are close, or bit-identical."""

import numpy as np

from support.running import leaves


def assert_close(found, expected, tolerance, what=""):
    """Assert that the largest difference divided by the largest magnitude is within tolerance."""
    assert found.shape == expected.shape, what
    scale = np.max(np.abs(expected), initial=0.0) or 1.0
    if not np.max(np.abs(found - expected), initial=0.0) <= tolerance * scale:  # also NaN
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale, err_msg=what)


def assert_same_bits(found, expected):
    """Assert that nested arrays are equal: names, dtypes, shapes and every bit."""
    found, expected = leaves(found), leaves(expected)
    assert list(found) == list(expected)
    for name, array in found.items():
        twin = expected[name]
        assert (array.dtype, array.shape) == (twin.dtype, twin.shape), name
        if array.tobytes() != twin.tobytes():
            np.testing.assert_array_equal(array, twin, err_msg=f"{name}: not the same bits")
            raise AssertionError(f"{name}: equal numbers, but not the same bits")
