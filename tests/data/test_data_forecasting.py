"""The data sets of benchmarks/forecasting.py, in small files of the same forms."""

import forecast_accuracy as accuracy
import forecasting
import numpy as np
import pytest

nan = np.nan


def test_a_series_in_each_line(tmp_path):
    rows = np.arange(40.0).reshape(2, 20)
    rows[1, 17:] = nan
    text = "\n".join(",".join("" if np.isnan(v) else f"{v:g}" for v in row) for row in rows)
    for name in ("hospital", "car_parts"):
        (tmp_path / f"{name}.csv").write_text(text + "\n")
        data = forecasting.load(name, tmp_path)
        assert (data.horizon, data.period) == (12, 12)
        np.testing.assert_array_equal(data.train.series, rows[:, :8])
        np.testing.assert_array_equal(data.truth, rows[:, 8:])


def test_a_series_in_each_column(tmp_path):
    first = ["a,b", "3,1", "1979,1980", "11,2", "1,2", "3,", "5,"]
    later = ["a,b", "24,24", "1980,1980", "2,3", *(f"{k},{-k}" for k in range(24))]
    for part, lines in (("in", first), ("oos", later)):
        (tmp_path / f"tourism_monthly_{part}.csv").write_text("\n".join(lines))
    data = forecasting.load("tourism_monthly", tmp_path)
    assert (data.horizon, data.period, data.panel.names) == (24, 12, ("a", "b"))
    np.testing.assert_array_equal(data.train.series[0], [1, 3, 5])
    np.testing.assert_array_equal(data.train.series[1], [2])
    np.testing.assert_array_equal(data.truth, [np.arange(24), -np.arange(24)])
    begins = np.array(["1980-02", "1980-03"], "datetime64[M]")
    np.testing.assert_array_equal(data.train.future_times(1)[:, 0], begins)


def test_a_name_and_a_series_in_each_line(tmp_path):
    (tmp_path / "m4_hourly_train.csv").write_text('"V1","V2","V3"\n"H1","5","6"\n"H2","7",""\n')
    test = "\n".join(f'"H{i}",' + ",".join(f'"{i * k}"' for k in range(48)) for i in (1, 2))
    (tmp_path / "m4_hourly_test.csv").write_text(f'"V1"\n{test}\n')
    data = forecasting.load("m4_hourly", tmp_path)
    assert (data.horizon, data.period, data.panel.names) == (48, 24, ("H1", "H2"))
    np.testing.assert_array_equal(data.train.series[0], [5, 6])
    np.testing.assert_array_equal(data.train.lengths, [2, 1])
    np.testing.assert_array_equal(data.truth[1], 2 * np.arange(48))


def test_names_and_files_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"name: expected one of hospital, car_parts, .*, got 'x'"):
        forecasting.load("x", tmp_path)
    with pytest.raises(FileNotFoundError):
        forecasting.load("hospital", tmp_path)


@pytest.fixture
def hospital(tmp_path):
    """Write small files of the data set hospital."""
    rows = np.random.default_rng(0).poisson(20, size=(5, 50))
    (tmp_path / "hospital.csv").write_text("\n".join(",".join(map(str, row)) for row in rows))
    return tmp_path


def test_the_window_before_the_test(hospital):
    data = forecasting.load("hospital", hospital)
    np.testing.assert_array_equal(accuracy.before_test(data).truth, data.panel.last(12, skip=12))


def test_every_data_set_has_a_setting():
    assert set(accuracy.SETTINGS) == set(forecasting.NAMES)


def test_models_are_scored(hospital, tmp_path, capsys):
    """The table has the numbers of backtests; the exit status tells whether a goal is missed."""
    options = ["--train", "hospital", "--updates", "3", "--samples", "8", "--seeds", "3"]
    missed = forecasting.main([str(hospital), *options, "--output", str(tmp_path)])
    data, setting = forecasting.load("hospital", hospital), accuracy.SETTINGS["hospital"]
    scores = [
        accuracy.score(data, setting, seed, updates=3, samples=8).table["DeepAR"]["wql"]
        for seed in range(3)
    ]
    assert missed == (sorted(scores)[1] > setting.goal)
    page = (tmp_path / "benchmark.md").read_text("utf-8")
    assert ", ".join(f"{score:.4f}" for score in scores) in page
    assert f"{sorted(scores)[1]:.4f}" in capsys.readouterr().out


def test_validation_does_not_read_the_test(hospital, capsys):
    options = [str(hospital), "--train", "hospital", "--validate", "--seeds", "1"]
    options += ["--updates", "2", "--samples", "8"]
    shown = []
    for _ in range(2):
        assert forecasting.main(options) == 0
        shown.append([line.split()[:-1] for line in capsys.readouterr().out.splitlines()])
        lines = (hospital / "hospital.csv").read_text().splitlines()
        cut = ["".join(f"{v}," for v in line.split(",")[:38]) + "7," * 11 + "7" for line in lines]
        (hospital / "hospital.csv").write_text("\n".join(cut))
    assert shown[0] == shown[1]
