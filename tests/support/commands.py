"""Helpers to test the command: run it, read its files, press Ctrl-C at a certain update."""

import csv
from pathlib import Path

from crnn import cli
from support.runs import StopAt


def runner(capsys):
    """Return a function that runs the command: exit code, standard output, standard error."""

    def run(*arguments):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


def stopper(monkeypatch, kind):
    """Return a function that makes runs of a class press Ctrl-C in a certain update."""
    original = kind.__init__

    def stop(update):
        def init(self, *arguments):
            original(self, *arguments)
            self.trainer._callbacks += (StopAt(update),)

        monkeypatch.setattr(kind, "__init__", init)

    return stop


def rows(folder):
    """Return the rows of the history of a run."""
    with open(Path(folder, "history.csv"), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def steady(table):
    """Return a table without the columns that depend on the clock."""
    return [{k: v for k, v in row.items() if "second" not in k} for row in table]


def numbers(model_class, folder):
    """Return the results of a run that do not depend on the clock."""
    model, training = model_class.load_training(folder)
    state = training["trainer"]
    position = {k: v for k, v in state["position"].items() if k != "seconds"}
    columns = {k: v for k, v in state["history"].items() if "second" not in k}
    return model.network.state_dict(), state["optimizer"], position, columns
