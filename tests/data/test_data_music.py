"""Piano rolls in files of MATLAB, and to and from MIDI files."""

import struct
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crnn.data import matlab, read_midi, read_piano_rolls, write_midi
from crnn.data.matlab import read_cells

mido = pytest.importorskip("mido")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "piece.mid"


def random_roll(T=50, share=0.1, seed=0):
    return (np.random.default_rng(seed).random((T, 88)) < share).astype(np.float32)


def messages(path):
    """The notes in a file: (kind, number, ticks since the begin)."""
    now, found = 0, []
    for message in mido.MidiFile(path).tracks[0]:
        now += message.time
        if message.type.startswith("note"):
            found.append((message.type, message.note, now))
    return found


# ------------------------------------------------------------------------------------- MIDI files


@pytest.mark.parametrize("steps_per_beat", [1, 2, 3, 4, 7, 96])
def test_a_roll_that_is_written_and_read_is_the_same(path, steps_per_beat):
    roll = random_roll()
    write_midi(path, roll, steps_per_beat=steps_per_beat, tempo=77.5)
    again = read_midi(path, steps_per_beat=steps_per_beat)
    np.testing.assert_array_equal(again, roll)
    assert again.dtype == np.float32


@settings(max_examples=40)
@given(st.integers(1, 30), st.floats(0, 1), st.integers(0, 2**32), st.integers(1, 96))
def test_any_roll_with_a_note_is_the_same_again(tmp_path_factory, T, share, seed, steps_per_beat):
    roll = random_roll(T, share, seed)
    roll[seed % T, seed % 88] = 1
    path = tmp_path_factory.mktemp("rolls") / "a.mid"
    write_midi(path, roll.astype(bool), steps_per_beat=steps_per_beat)
    np.testing.assert_array_equal(read_midi(path, steps_per_beat=steps_per_beat), roll)


def test_held_keys_are_one_note(path):
    roll = np.zeros((5, 88), int)
    roll[0:3, 39] = roll[3:5, 40] = roll[4, 0] = roll[1, 87] = 1
    write_midi(path, roll, tempo=60, steps_per_beat=2, program=19)
    assert messages(path) == [
        ("note_on", 60, 0), ("note_on", 108, 48), ("note_off", 108, 96), ("note_off", 60, 144),
        ("note_on", 61, 144), ("note_on", 21, 192), ("note_off", 21, 240), ("note_off", 61, 240),
    ]  # fmt: skip
    file = mido.MidiFile(path)
    assert file.ticks_per_beat == 96
    assert file.length == pytest.approx(2.5)  # seconds: five half beats at 60 beats a minute
    assert [m.program for m in file.tracks[0] if m.type == "program_change"] == [19]


def test_silence_at_the_end_and_in_between_is_kept(path):
    roll = np.zeros((9, 88))
    roll[2, 5] = roll[5, 5] = 1
    write_midi(path, roll)
    assert read_midi(path).shape == (9, 88)
    np.testing.assert_array_equal(read_midi(path), roll)
    np.testing.assert_array_equal(read_midi(path, steps_per_beat=2), roll.repeat(2, axis=0))


def saved(path, *tracks, beat=100, **options):
    """Write tracks of (kind, number, time since the last message, channel)."""
    file = mido.MidiFile(ticks_per_beat=beat, **options)
    for track in tracks:
        file.tracks.append(mido.MidiTrack())
        for kind, note, time, channel in track:
            velocity = 0 if kind == "silent" else 64
            name = "note_on" if kind == "silent" else kind
            file.tracks[-1].append(
                mido.Message(name, note=note, time=time, channel=channel, velocity=velocity)
            )
    file.save(path)
    return path


def test_times_are_rounded_and_a_note_has_a_step(path):
    saved(path, [
        ("note_on", 30, 149, 0), ("note_off", 30, 1, 0),  # rounded: step 1 to 2 (halves up)
        ("note_on", 31, 0, 0), ("note_off", 31, 10, 0),  # too short: one step
        ("note_on", 32, 90, 0), ("note_on", 33, 0, 0), ("silent", 32, 149, 0),
    ])  # fmt: skip
    roll = read_midi(path)
    assert [np.flatnonzero(roll[:, key - 21]).tolist() for key in (30, 31, 32, 33)] == [
        [1], [2], [3], [3],
    ]  # fmt: skip
    assert roll.sum() == 4


def test_tracks_and_channels_are_joined_without_percussion(path):
    saved(
        path,
        [("note_on", 60, 0, 0), ("note_off", 60, 200, 0)],
        [("note_on", 60, 100, 1), ("note_off", 60, 300, 1), ("note_on", 5, 0, 1)],
        [("note_on", 40, 0, 9), ("note_off", 40, 500, 9)],
    )
    roll = read_midi(path)
    assert roll.shape == (5, 88)
    assert np.argwhere(roll).tolist() == [[0, 39], [1, 39], [2, 39], [3, 39]]


def test_a_key_that_is_struck_again_before_its_end(path):
    on, off = ("note_on", 60, 100, 0), ("note_off", 60, 100, 0)
    assert read_midi(saved(path, [on, on, off, off])).sum() == 3


BROKEN = [
    (b"", "expected a MIDI file, got EOFError"),
    (b"MThd", "expected a MIDI file, got EOFError"),
    (b"RIFF" + 100 * b"\0", "expected a MIDI file, got OSError"),
    (b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\xff\xff\xff\xff\0", "expected a MIDI file"),
    (b"MThd\0\0\0\6\0\0\0\0\0\x60", "expected notes of the 88 keys of a piano, got none"),
    (
        b"MThd\0\0\0\6\0\2\0\0\0\x60",
        r"expected times in beats, one for all tracks, got independent tracks \(type 2\)",
    ),
    (b"MThd\0\0\0\6\0\0\0\0\xe7\x28", "expected times in beats, one for all tracks, got ticks of"),
]


@pytest.mark.parametrize(("content", "message"), BROKEN)
def test_damaged_files_of_midi(path, content, message):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"piece.mid: {message}"):
        read_midi(path)


def test_every_cut_of_a_file_is_read_or_refused(path):
    write_midi(path, random_roll(6))
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"piece\.mid: expected"):
            read_midi(path)


def test_a_small_file_cannot_take_much_memory(path):
    saved(path, [("note_on", 60, 2**28 - 1, 0), ("note_off", 60, 1, 0)], beat=1)
    with pytest.raises(ValueError, match="expected at most 1,000,000 steps, got 268,435,456"):
        read_midi(path)
    assert read_midi(saved(path, [("note_on", 60, 10**5, 0)], beat=2)).shape == (50_001, 88)


WRONG = [
    ({"roll": np.zeros((4, 87))}, r"roll: expected real numbers of shape \(T, K=88\), got shape"),
    ({"roll": np.zeros((0, 88))}, "roll: expected at least one step, got none"),
    ({"roll": np.full((4, 88), 0.5)}, "roll: expected 0 and 1, got 0.5 at step 0, key 0"),
    ({"roll": np.full((4, 88), np.nan)}, "roll: expected 0 and 1, got nan"),
    ({"roll": "abc"}, "roll: expected real numbers"),
    ({"roll": np.broadcast_to(np.uint8(0), (10**6 + 1, 88))}, "roll: expected at most 1,000,000"),
    ({"tempo": 0}, "tempo: expected a finite number of at least 4"),
    ({"tempo": 1001}, "tempo: expected"),
    ({"steps_per_beat": 0}, "steps_per_beat: expected an integer of at least 1"),
    ({"steps_per_beat": 97}, "steps_per_beat: expected an integer from 1 to 96, got 97"),
    ({"steps_per_beat": 1.5}, "steps_per_beat: expected an integer"),
    ({"program": 128}, "program: expected an integer from 0 to 127, got 128"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_arguments_write_nothing(path, options, message):
    options = {"roll": random_roll()} | options
    with pytest.raises((ValueError, TypeError), match=message):
        write_midi(path, **options)
    assert not path.exists()


def test_wrong_paths(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_midi(tmp_path / "lost.mid")
    with pytest.raises(FileNotFoundError):
        write_midi(tmp_path / "lost" / "a.mid", random_roll())
    with pytest.raises(ValueError, match="got a directory"):
        write_midi(tmp_path, random_roll())


def test_without_mido_an_error_names_it(monkeypatch, path):
    write_midi(path, random_roll())
    monkeypatch.setitem(sys.modules, "mido", None)
    with pytest.raises(ImportError, match=r'read_midi\(\) needs mido: pip install "\.\[music\]"'):
        read_midi(path)
    with pytest.raises(ImportError, match=r"write_midi\(\) needs mido"):
        write_midi(path.with_name("other.mid"), random_roll())


# ------------------------------------------------------------------------------- files of MATLAB


@pytest.fixture
def savemat():
    """SciPy's writer. Its reader crashes on damaged files, so crnn has one of its own."""
    return pytest.importorskip("scipy.io", reason="SciPy writes files of MATLAB").savemat


def cells(*arrays):
    made = np.empty((1, len(arrays)), object)
    for number, array in enumerate(arrays):
        made[0, number] = array
    return made


def three_parts(T):
    return {name: cells(random_roll(T)) for name in ("traindata", "validdata", "testdata")}


@pytest.mark.parametrize("compressed", [True, False])
def test_the_parts_of_a_data_set(savemat, path, compressed):
    rolls = [random_roll(T, seed=T) for T in (5, 1, 9)]
    parts = {
        "words": cells("a text", np.zeros(3)),
        "traindata": cells(rolls[0].astype(np.uint8), rolls[1].astype(np.float64)),
        "validdata": cells(rolls[1].astype(bool), rolls[2].astype(np.int64)),
        "testdata": cells(rolls[2]),
        "other": np.zeros(3),
        "text": "a text",
        "complex": np.ones((2, 2)) * 1j,
        "structure": {"a": 1.0},
    }
    savemat(path, parts, do_compression=compressed)
    found = read_piano_rolls(path)
    assert list(found) == ["train", "valid", "test"]
    expected = {"train": rolls[:2], "valid": rolls[1:], "test": rolls[2:]}
    for part, wanted in expected.items():
        assert len(found[part]) == len(wanted)
        for one, other in zip(found[part], wanted, strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == np.float32


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_numbers_of_every_type(savemat, path, dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    savemat(path, {"a": cells(array, array[:0], np.ones((2, 3, 4), dtype))})
    found = read_cells("a file", path.read_bytes())["a"]
    assert [one.shape for one in found] == [(2, 3), (0, 3), (2, 3, 4)]
    np.testing.assert_array_equal(found[0], array)


def element(kind, content):
    """An element of a file, most significant byte first."""
    return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(kind, shape, *parts, name=b""):
    flags, sizes = struct.pack(">II", kind, 0), struct.pack(f">{len(shape)}i", *shape)
    head = element(6, flags) + element(5, sizes) + element(1, name)
    return element(14, head + b"".join(parts))


HEADER = b"a file".ljust(124) + b"\x01\x00MI"


def test_files_of_machines_with_the_other_order_of_bytes():
    numbers = element(3, np.array([1, 2, 3, 300, 5, 6], ">i2").tobytes())
    made = HEADER + matrix(1, (1, 1), matrix(6, (2, 3), numbers), name=b"a")
    (found,) = read_cells("a file", made)["a"]
    assert found.tolist() == [[1, 3, 5], [2, 300, 6]]
    assert found.dtype == np.int16


ONE = element(2, b"\1")
DAMAGED = [
    (b"", "it has not the header of one"),
    (HEADER[:-2] + b"XX", "it has not the header of one"),
    (HEADER + b"\0\0\0", "an element is longer than what holds it"),
    (HEADER + struct.pack(">II", 14, 2**32 - 1), "an element is longer than what holds it"),
    (HEADER + struct.pack(">HHI", 5, 1, 0), "a short element has 5 bytes in place of at most 4"),
    (HEADER + element(14, b""), "a variable has no flags, sizes and name"),
    (
        HEADER + element(14, element(6, bytes(8)) + element(9, b"\x7f\xf8" + bytes(6)) + ONE),
        "flags, sizes or name of a variable are no integers",
    ),
    (HEADER + matrix(6, (2, 2), ONE), r"an array of shape \(2, 2\) has 1 numbers"),
    (HEADER + matrix(6, (2**31 - 1,) * 4, ONE), "an array of shape .* has 1 numbers"),
    (HEADER + matrix(6, (-1, -1), ONE), r"an array of shape \(-1, -1\) has 1 numbers"),
    (HEADER + matrix(6, (1, 1), element(8, b"\1")), "numbers have the unknown type 8"),
    (HEADER + matrix(6, (1, 1), element(9, b"\1")), "1 bytes are no whole number of float64"),
    (HEADER + matrix(1, (1, 1), ONE), "a cell is an element of type 2 in place of 14"),
    (HEADER + matrix(1, (3, 5), matrix(6, (1, 1), ONE)), r"shape \(3, 5\) has 1 cells"),
    (HEADER + struct.pack(">II", 15, 4) + b"\1\2\3\4", "a compressed variable is damaged"),
    (HEADER + struct.pack(">II", 15, 2) + b"\x78\x9c", "a variable ends too early"),
]


@pytest.mark.parametrize(("content", "message"), DAMAGED)
def test_damaged_files_of_matlab(content, message):
    with pytest.raises(ValueError, match=f"a file: expected a file of MATLAB 5: .*{message}"):
        read_cells("a file", content)


def test_a_small_file_that_expands_to_much(monkeypatch):
    monkeypatch.setattr(matlab, "_MOST_BYTES", 1000)
    packed = zlib.compress(matrix(6, (500, 1), element(2, bytes(500))))
    one = struct.pack(">II", 15, len(packed)) + packed
    assert read_cells("a file", HEADER + one) == {}
    with pytest.raises(ValueError, match="it expands to more than 512 MiB"):
        read_cells("a file", HEADER + 2 * one)


def test_other_files_of_matlab(savemat, path):
    for change, message in (
        ({"testdata": np.zeros((3, 88))}, "got none named 'testdata'"),
        ({"testdata": cells("text")}, "got none named 'testdata'"),
        ({"testdata": cells(cells(random_roll(3)))}, "got none named 'testdata'"),
        ({"testdata": cells(np.zeros((3, 87)))}, "testdata: piece 0: expected real numbers"),
        ({"validdata": cells(random_roll(3), 2 * random_roll(3))}, "validdata: piece 1: expected"),
        ({"validdata": cells(np.zeros((0, 88)))}, "piece 0: expected at least one step, got none"),
    ):
        savemat(path, three_parts(4) | change)
        with pytest.raises(ValueError, match=message):
            read_piano_rolls(path)
    savemat(path, {"traindata": cells(random_roll(3))})
    with pytest.raises(ValueError, match="got none named 'validdata'"):
        read_piano_rolls(path)


@pytest.mark.parametrize("compressed", [True, False])
def test_every_cut_of_a_file_of_matlab_is_refused(savemat, path, compressed):
    savemat(path, three_parts(2), do_compression=compressed)
    content = path.read_bytes()
    for size in range(0, len(content) - 8, 7):  # the last bytes may be padding
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"piece\.mid: expected"):
            read_piano_rolls(path)


@pytest.mark.parametrize("compressed", [True, False])
def test_changed_bytes_of_a_file_of_matlab(savemat, path, compressed):
    savemat(path, three_parts(2), do_compression=compressed)
    content, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(500):
        changed = bytearray(content)
        for place in rng.integers(128, len(content), 3):
            changed[place] = rng.integers(256)
        path.write_bytes(changed)
        try:
            read_piano_rolls(path)
        except ValueError:
            refused += 1
    assert refused > 150
