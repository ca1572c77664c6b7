"""Checks of the tables and plots of all diagnostics."""

import numpy as np
import pytest


def check_display(shown, **options):
    """Check columns of one length, an equal data frame, and plots into new and existing axes."""
    columns = shown.columns
    (rows,) = {len(column) for column in columns.values()}
    assert repr(shown).startswith(f"<{type(shown).__name__}: {rows} x ({', '.join(columns)}")
    pd = pytest.importorskip("pandas")
    frame = shown.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == list(columns)
    for name, column in columns.items():
        np.testing.assert_array_equal(frame[name].to_numpy(), np.asarray(column), err_msg=name)
    pytest.importorskip("matplotlib")
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    plt.switch_backend("agg")
    given = Figure().subplots()
    assert shown.plot(given, **options) is given
    drawn = shown.plot(**options)
    assert isinstance(drawn, Axes)
    assert drawn is not given
    drawn.figure.canvas.draw()
    plt.close("all")
