"""Training from the command line: a run is begun or taken up, and leaves its folder."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Mapping
from typing import Any

from crnn.cli.arguments import given_settings, path
from crnn.models.run import Run

INTERRUPTED = 130  # 128 + SIGINT


def train(kind: type[Run[Any]], arguments: argparse.Namespace, source: Any, missing: str) -> int:
    """Begin a run or resume one.

    Parameters
    ----------
    kind : class
        Of the run.
    arguments : Namespace
        With ``output``, ``resume`` and the settings that were given.
    source
        Where the data come from, or None.
    missing : str
        What to say where a new run has no data.
    """
    given = given_settings(arguments, kind.settings_class.names())
    if arguments.resume:
        return carry_out(kind.resume(arguments.output, source, given))
    if source is None:
        raise ValueError(f"expected {missing} to train on (or --resume)")
    return begin(kind, arguments.output, source, given)


def begin(kind: type[Run[Any]], folder: str, source: Any, given: Mapping[str, Any]) -> int:
    """Begin a run in a folder that has none, or one that is finished.

    Raises
    ------
    OSError, ValueError
        The folder holds a run that is not finished, or a checkpoint that cannot be read.
    """
    try:
        unfinished = kind.unfinished(folder)
    except ValueError as error:
        raise ValueError(f"{error}. Move it away, or choose another folder") from error
    if unfinished:
        raise ValueError(
            f"{folder}: holds a run that is not finished. Add --resume to go on with it, "
            f"or choose another folder"
        )
    return carry_out(kind(folder, source, kind.settings_for(source, given)))


def carry_out(run: Run[Any]) -> int:
    """Train to the end, and leave everything in the folder."""
    begun = time.monotonic()
    print(run.describe())
    if run.trainer.position.update:
        print(f"Going on after {_place(run)}")
    try:
        run.trainer.run()
    except KeyboardInterrupt:
        return _leave(run)
    for line in run.write_results():
        print(line)
    seconds = time.monotonic() - begun
    print(f"Done in {seconds:.1f} s. {run.folder}: {', '.join(sorted(os.listdir(run.folder)))}")
    return 0


def _leave(run: Run[Any]) -> int:
    """Write the checkpoint of a run that Ctrl-C stopped, and say how to go on."""
    try:
        run.save()
    except RuntimeError as error:
        print(f"Stopped at once, and not saved: {error}", file=sys.stderr)
        return INTERRUPTED
    command = f"{run.command} -o {shlex.quote(str(run.folder))} --resume"
    print(f"Stopped and saved after {_place(run)}. Go on with: {command}", file=sys.stderr)
    return INTERRUPTED


def _place(run: Run[Any]) -> str:
    place = run.trainer.position
    return f"{place.epoch} of {run.settings.epochs} epochs, {place.update} updates"


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say where a run is."""
    parser.add_argument(
        "-o", "--output", type=path, metavar="DIR", required=True, help="folder of the run"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in DIR")
