"""Files: only regular files are opened, and a replaced file keeps its owner and its mode."""

import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

import crnn
from crnn.cli.characters import Source
from crnn.data import Vocabulary, read_csv, read_pairs
from crnn.models import Captioner, CharModel, Translator
from crnn.storage import files
from support.subjects import trainer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="files of Unix")


def layer(seed=1):
    return crnn.RNN(2, 3, seed=seed)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.npz"


# ------------------------------------------------------------------------------------ opening files


def model_in(folder_of):
    """Load the model of a folder whose checkpoint is the path."""

    def load(path):
        target = path.parent / "checkpoint.npz"
        if not target.exists():
            target.symlink_to(path)
        return folder_of.load(path.parent)

    return load


READERS = {
    "load": crnn.load,
    "CharModel": model_in(CharModel),
    "Translator": model_in(Translator),
    "Captioner": model_in(Captioner),
    "resume": lambda path: trainer().resume(path),
    "Vocabulary": Vocabulary.load,
    "read_pairs": read_pairs,
    "read_csv": read_csv,
    "text": lambda path: Source(str(path)).read(),
}


@pytest.fixture(params=READERS)
def read(request):
    return READERS[request.param]


def test_a_fifo_is_refused_at_once(read, path):
    os.mkfifo(path)
    with pytest.raises(ValueError, match="expected a file, got a FIFO"):
        read(path)


def test_a_device_is_refused(read, path):
    path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="expected a file, got a device"):
        read(path)


def test_a_socket_is_refused(read, path, monkeypatch):
    monkeypatch.chdir(path.parent)  # the names of sockets are short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)
        with pytest.raises(ValueError, match="expected a file, got a socket"):
            read(path)


def test_a_directory_is_refused(read, path):
    path.mkdir()
    with pytest.raises((ValueError, IsADirectoryError), match=r"(?i)directory"):
        read(path)


@pytest.mark.parametrize("name", sorted(set(READERS) - {"read_csv"}))  # which reads line by line
def test_a_file_beyond_this_machines_memory_is_refused(name, path, monkeypatch):
    monkeypatch.setattr(files, "_memory", lambda: 1000)
    path.write_bytes(bytes(1001))
    with pytest.raises(ValueError, match=r"fits into the 1,000 bytes .* got 1,001 bytes"):
        READERS[name](path)


def test_the_size_of_the_memory_is_plausible():
    assert files._memory() > 2**24


@pytest.mark.parametrize("name", ["load", "resume", "Vocabulary", "read_pairs", "read_csv"])
def test_an_empty_path_is_refused(name):
    with pytest.raises(ValueError, match="path: expected the name of a file, got an empty string"):
        READERS[name]("")


def test_an_empty_folder_is_refused(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    model = CharModel.for_text("ab", hidden_size=1)
    with pytest.raises(ValueError, match="got an empty string"):
        model.save("")
    with pytest.raises(ValueError, match="got an empty string"):
        CharModel.load("")
    with pytest.raises(ValueError, match="got an empty string"):
        crnn.save("", layer())
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("wrong", [0, 1.5, None])
def test_a_value_that_is_no_path_is_a_type_error(wrong):
    with pytest.raises(TypeError, match="path"):
        crnn.load(wrong)
    with pytest.raises(TypeError, match="path"):
        crnn.save(wrong, layer())


# ---------------------------------------------------------------------------------- replacing files


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o666])
def test_a_file_keeps_its_mode(path, mode):
    crnn.save(path, layer())
    path.chmod(mode)
    crnn.save(path, layer(2))
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert crnn.load(path).seed == 2


def test_content_of_a_private_file_is_never_public(path, monkeypatch):
    crnn.save(path, layer())
    path.chmod(0o600)
    modes = []

    def watched(descriptor, fsync=os.fsync):
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    crnn.save(path, layer(2))
    assert modes[0] == 0o600


def test_a_new_file_has_the_mode_of_new_files(path):
    before = os.umask(0o027)
    try:
        crnn.save(path, layer())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="needs root")
def test_a_file_keeps_its_owner(path):
    crnn.save(path, layer())
    os.chown(path, 12345, 54321)
    crnn.save(path, layer(2))
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


def test_the_folder_is_written_to_the_disk_after_the_file(path, monkeypatch):
    synced = []

    def watched(descriptor, fsync=os.fsync):
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    crnn.save(path, layer())
    assert synced == [(False, False), (True, True)]


def test_a_device_stays_one(path):
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # a null device of our own
        path.write_bytes(b"")
    except PermissionError:
        pytest.skip("needs a device")
    crnn.save(path, layer())
    assert stat.S_ISCHR(path.stat().st_mode)
    assert os.listdir(path.parent) == [path.name]


def test_a_fifo_is_written_into(path):
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    crnn.save(path, layer())
    reader.join()
    assert stat.S_ISFIFO(path.stat().st_mode)
    crnn.save(path.parent / "file", layer())
    assert read == [(path.parent / "file").read_bytes()]


def test_standard_output_is_written_into():
    code = "import crnn; crnn.save('/dev/stdout', crnn.RNN(2, 3, seed=1))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout[:2] == b"PK"


# ------------------------------------------------------------------- temporary files of killed runs


def test_files_of_killed_processes_are_removed(path):
    code = (
        "import os, signal, sys, crnn, numpy as np\n"
        "np.lib.format.write_array = lambda *a, **o: os.kill(os.getpid(), signal.SIGKILL)\n"
        "crnn.save(sys.argv[1], crnn.RNN(2, 3))"
    )
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
        assert done.returncode == -signal.SIGKILL
        assert len(os.listdir(path.parent)) == 1  # the second process removed that of the first
    assert not path.exists()
    crnn.save(path, layer())
    assert os.listdir(path.parent) == [path.name]


def test_other_files_are_left_alone(path):
    others = ["model.npz.tmp", "other.npz.0123abcd.tmp", "model.npz.0123abcx.tmp", "model.npz.old"]
    for name in others:
        (path.parent / name).write_bytes(b"")
    (path.parent / "model.npz.0123abcd.tmp").mkdir()
    crnn.save(path, layer())
    assert sorted(os.listdir(path.parent)) == sorted(
        [*others, "model.npz.0123abcd.tmp", "model.npz"]
    )


def test_a_file_that_a_process_writes_is_left_alone(path):
    with files.replacing(path) as file:
        crnn.save(path, layer())
        file.write(b"later")
        names = os.listdir(path.parent)
        assert len(names) == 2
    assert path.read_bytes() == b"later"
    assert os.listdir(path.parent) == [path.name]


def test_a_file_that_is_taken_for_abandoned_is_made_anew(path, monkeypatch):
    """Another process may examine a file between its creation and its lock."""
    taken = []

    def lock(descriptor, lock=files._lock):
        if len(taken) < 2:
            (name,) = os.listdir(path.parent)
            taken.append(name)
            os.unlink(path.parent / name)
        return lock(descriptor)

    monkeypatch.setattr(files, "_lock", lock)
    crnn.save(path, layer())
    assert len(set(taken)) == 2
    assert crnn.load(path).seed == 1


def test_threads_may_write_one_file(path):
    failures = []

    def write(seed):
        try:
            for _ in range(20):
                crnn.save(path, layer(seed))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert crnn.load(path).seed in range(4)
    assert os.listdir(path.parent) == [path.name]


def test_names_of_temporary_files_are_not_reused(path, monkeypatch):
    """If the random name belongs to an existing file, this file is not overwritten."""
    names = iter(["00000000", "00000001"])
    monkeypatch.setattr(secrets, "token_hex", lambda count: next(names))
    (path.parent / "model.npz.00000000.tmp").mkdir()
    with pytest.raises(FileExistsError):
        crnn.save(path, layer())
    crnn.save(path, layer())
    np.testing.assert_array_equal(crnn.load(path).params["W_h"], layer().params["W_h"])
