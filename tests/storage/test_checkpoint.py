"""Files: saved models are loaded unchanged, and every defect of a file is a clear ValueError."""

import io
import json
import os
import zipfile

import numpy as np
import pytest

import crnn
from crnn.storage import archive

rng = np.random.default_rng(0)


def small():
    """Return a model with every composition."""
    return crnn.Sequential(
        [
            crnn.Embedding(5, 3, seed=1),
            crnn.Bidirectional(crnn.GRU(3, 4, reset="before", seed=2), merge="sum"),
            crnn.Residual(crnn.JANET(4, 4, beta=0.5, seed=3)),
            crnn.Dropout(0.25, seed=4),
            crnn.LayerNorm(4),
            crnn.LSTM(4, 2, dtype="float32", reverse=True, bias=False, seed=5),
            crnn.Dense(2, 5, seed=6),
        ]
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.npz"


def members(path):
    """Return the arrays of a file, and its JSON."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    return arrays, json.loads(arrays.pop("crnn").tobytes())


def rewrite(path, arrays, document):
    text = json.dumps(document).encode()
    np.savez(path, crnn=np.frombuffer(text, np.uint8), **arrays)


# ------------------------------------------------------------------------------- what comes back


def test_a_model_is_loaded_unchanged(path):
    model = small()
    for array in model.params.values():
        array[...] = rng.normal(size=array.shape)
    crnn.save(path, model)
    again = crnn.load(path)
    assert repr(again) == repr(model)
    x = rng.integers(0, 5, (3, 6))
    np.testing.assert_array_equal(again(x)[0], model(x)[0])
    for name, array in model.params.items():
        assert again.params[name].dtype == array.dtype
        np.testing.assert_array_equal(again.params[name], array)
    assert not any(grad.any() for grad in again.grads.values())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer", [crnn.RNN, crnn.LSTM, crnn.GRU, crnn.JANET, crnn.Dense])
def test_single_layers_are_loaded_unchanged(path, layer, dtype):
    model = layer(3, 4, dtype=dtype, seed=9)
    crnn.save(str(path), model)
    again = crnn.load(str(path))
    assert repr(again) == repr(model)
    assert again.params["b"].dtype == dtype
    for name, array in model.params.items():
        np.testing.assert_array_equal(again.params[name], array)


def test_the_same_model_makes_the_same_bytes(path, tmp_path):
    crnn.save(path, small())
    crnn.save(tmp_path / "other", small())
    assert path.read_bytes() == (tmp_path / "other").read_bytes()


def test_numpy_can_open_a_file_without_pickle(path):
    model = crnn.GRU(3, 4, seed=1)
    crnn.save(path, model)
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["params/W_h"], model.params["W_h"])


def test_a_tree_is_read_with_its_types(path):
    tree = {
        "none": None,
        "flags": [True, False],
        "numbers": [1, -(2**70), 0.1, float("inf"), np.float32(0.5), np.int8(3)],
        "text": "∂ \ud800 \n",
        "state": [None, (np.arange(3.0), np.zeros((2, 0), np.float32)), {"deep": (1,)}],
        "fortran": np.asfortranarray(rng.normal(size=(2, 3))),
        "scalar": np.array(2.5),
        "big-endian": np.arange(4, dtype=">i4"),
        "bools": np.array([True, False]),
    }
    archive.write(path, "anything", tree)
    again = archive.read(path, "anything")
    assert list(again) == list(tree)
    np.testing.assert_equal(again, tree)
    assert isinstance(again["state"][1], tuple)
    assert again["state"][1][1].dtype == np.float32
    assert again["fortran"].flags.writeable


def test_names_of_arrays_are_unique(path):
    tree = {"a": {"b": np.array(1)}, "a/b": np.array(2), "crnn": np.array(3)}
    archive.write(path, "anything", tree)
    assert archive.read(path, "anything") == tree


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1: 2}, "inside: expected keys that are strings without .*, got 1"),
        ({"$array": 2}, r"inside: expected keys that are strings without .*, got '\$array'"),
        ({"f": print}, "inside/f: expected a dictionary, .* got builtin_function_or_method"),
        ([np.array([None])], "inside/0: expected an array of numbers, got object"),
        ([np.array(["text"])], "inside/0: expected an array of numbers, got <U4"),
    ],
)
def test_values_of_other_types_raise(path, value, message):
    with pytest.raises(TypeError, match=message):
        archive.write(path, "anything", {"inside": value})
    assert not path.exists()


def test_a_class_of_the_user_is_loaded(path):
    class Doubled(crnn.GRU):
        def __call__(self, x, state=None, *, lengths=None):
            y, state = super().__call__(x, state, lengths=lengths)
            return 2 * y, state

    crnn.save(path, Doubled(2, 3, seed=1))
    assert type(crnn.load(path)) is Doubled


# ----------------------------------------------------------------------------------- atomic writes


def test_a_write_that_fails_leaves_the_old_file(path, monkeypatch):
    crnn.save(path, crnn.RNN(2, 3, seed=1))
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        crnn.save(path, crnn.RNN(2, 3, seed=2))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_ctrl_c_while_writing_leaves_the_old_file(path, monkeypatch):
    crnn.save(path, crnn.RNN(2, 3, seed=1))
    before = path.read_bytes()

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(np.lib.format, "write_array", interrupted)
    with pytest.raises(KeyboardInterrupt):
        crnn.save(path, crnn.RNN(2, 3, seed=2))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_keeps_pointing_at_the_file(path, tmp_path):
    link = tmp_path / "link.npz"
    link.symlink_to(path)
    crnn.save(link, crnn.RNN(2, 3, seed=1))
    assert link.is_symlink()
    assert path.is_file()


# ------------------------------------------------------------------------------------- wrong paths


def test_a_directory_is_no_file(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path.name}: expected the name of a file"):
        crnn.save(tmp_path, crnn.RNN(2, 3))
    with pytest.raises(ValueError, match=f"{tmp_path.name}: expected a file, got a directory"):
        crnn.load(tmp_path)


def test_a_missing_file_is_an_os_error(path):
    with pytest.raises(FileNotFoundError, match=r"model\.npz"):
        crnn.load(path)
    with pytest.raises(FileNotFoundError):
        crnn.save(path / "below" / "nothing", crnn.RNN(2, 3))


# ------------------------------------------------------------------------------------- wrong files


def loads_wrongly(path, message):
    with pytest.raises(ValueError, match=rf"model\.npz: cannot be read: {message}"):
        crnn.load(path)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", bytes(1000)])
def test_foreign_bytes(path, content):
    path.write_bytes(content)
    loads_wrongly(path, "BadZipFile: File is not a zip file")


def test_foreign_archives(path):
    np.savez(path, a=np.zeros(3))
    loads_wrongly(path, "the file is an .npz file that crnn did not write")
    np.savez(path, crnn=np.frombuffer(b'{"format": "other"}', np.uint8))
    loads_wrongly(path, "the file is an .npz file that crnn did not write")
    np.savez(path, a=np.array([print]))
    loads_wrongly(path, "the array 'a' has the dtype object, which is no number")
    np.savez_compressed(path, a=np.zeros(3))
    loads_wrongly(path, r"the member 'a\.npy' is compressed")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("note.txt", "hello")
    loads_wrongly(path, "the member 'note.txt' is no array")


def test_every_truncation_is_refused(path):
    crnn.save(path, crnn.RNN(2, 3, seed=1))
    content = path.read_bytes()
    for size in range(0, len(content), 13):
        path.write_bytes(content[:size])
        loads_wrongly(path, "BadZipFile")


def test_a_flipped_bit_is_refused_or_harmless(path):
    model = crnn.RNN(2, 3, seed=1)
    crnn.save(path, model)
    content = path.read_bytes()
    refused = 0
    for place in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            again = crnn.load(path)
        except ValueError:
            refused += 1
        else:
            for name, array in model.params.items():
                np.testing.assert_array_equal(again.params[name], array)
    assert refused > 0.5 * len(content) / 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, r"the file has version 2 of the format; crnn \S+ reads version 1"),
        ({"kind": "soup"}, "expected a file with a model, got a file with a soup"),
        ({"format": "frnn"}, "the file is an .npz file that crnn did not write"),
        ({"tree": []}, "the tree is not a dictionary"),
        ({"tree": {}}, "expected a dictionary with layer, params"),
    ],
)
def test_wrong_heads(path, change, message):
    crnn.save(path, crnn.RNN(2, 3, seed=1))
    arrays, document = members(path)
    rewrite(path, arrays, document | change)
    loads_wrongly(path, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class": "Spam"}, "layer: no class 'Spam' is known"),
        ({"class": ["RNN"]}, r"layer: expected the name of a class, got \['RNN'\]"),
        ({"config": None}, ".*"),
        (
            {"config": {"input_size": 2}},
            "the options of a layer are invalid for its class: .*hidden_s",
        ),
        ({"config": {"input_size": 2, "hidden_size": 3, "spam": 1}}, "the options .* 'spam'"),
        ({"config": {"input_size": 2, "hidden_size": -3}}, "hidden_size: "),
        ({"config": {"input_size": 2, "hidden_size": 4}}, "W_x: expected .* of shape"),
        ({"config": {"input_size": 2, "hidden_size": 3, "bias": False}}, ".*unknown: .*b"),
    ],
)
def test_false_descriptions_raise(path, change, message):
    crnn.save(path, crnn.RNN(2, 3, seed=1))
    arrays, document = members(path)
    document["tree"]["layer"] |= change
    rewrite(path, arrays, document)
    loads_wrongly(path, message)


@pytest.mark.parametrize(
    "config",
    [
        {"input_size": 2, "hidden_size": 100_000},
        {"input_size": 10**9, "hidden_size": 100},
        {"hidden_size": 2000, "bias": 0},
        {"input_size": 10**8, "hidden_size": 1, "bias": False, "reverse": 0},
    ],
)
def test_false_sizes_raise_before_memory_is_allocated(path, config):
    crnn.save(path, crnn.Sequential([crnn.RNN(2, 3, seed=1)]))
    arrays, document = members(path)
    document["tree"]["layer"]["config"]["layers"][0]["config"] |= config
    rewrite(path, arrays, document)
    loads_wrongly(path, r"expected \d+ parameters, .*, got 18 in the file")


@pytest.mark.parametrize("symbols", ["source_symbols", "target_symbols"])
def test_false_sizes_of_embeddings_raise_before_memory_is_allocated(path, symbols):
    encoder = crnn.Sequential([crnn.Bidirectional(crnn.RNN(50, 2, seed=1)), crnn.RNN(4, 2)])
    sizes = {"source_symbols": 3, "target_symbols": 4}
    crnn.save(path, crnn.Seq2Seq(encoder, crnn.RNN(50, 2, seed=2), **sizes))
    crnn.load(path)
    arrays, document = members(path)
    document["tree"]["layer"]["config"][symbols] = 10**6
    rewrite(path, arrays, document)
    loads_wrongly(path, r"expected \d+ parameters, .*, got \d+ in the file")


def test_many_symbols_on_both_sides_are_loaded(path):
    sizes = {"source_symbols": 9000, "target_symbols": 8000}
    crnn.save(path, crnn.Seq2Seq(crnn.RNN(1, 2, seed=1), crnn.RNN(1, 2, seed=2), **sizes))
    assert crnn.load(path).target_symbols == 8000


def test_nesting_without_end_is_refused(path):
    text = b'{"format": "crnn", "version": 1, "kind": "model", "tree": ' + b"[" * 10**6
    np.savez(path, crnn=np.frombuffer(text, np.uint8))
    loads_wrongly(path, "(RecursionError|.*)")


def test_missing_unknown_and_misshapen_arrays(path):
    crnn.save(path, crnn.RNN(2, 3, seed=1))
    arrays, document = members(path)
    rewrite(path, {k: v for k, v in arrays.items() if k != "params/b"}, document)
    loads_wrongly(path, "the array 'params/b' is missing")
    rewrite(path, arrays | {"params/b": np.zeros(4, np.float32)}, document)
    loads_wrongly(path, r"b: expected .* of shape \(3,\)")
    document["tree"]["params"]["b"] = [1.0, 2.0, 3.0]
    rewrite(path, arrays, document)
    loads_wrongly(path, "params: expected arrays")
    del document["tree"]["params"]["b"]
    rewrite(path, arrays, document)
    loads_wrongly(path, ".*missing: .*b")


def npy(shape, data, descr="<f8"):
    """Return the bytes of an .npy file with a shape in its header that it does not have."""
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + data


@pytest.mark.parametrize("shape", [(10**12,), (3,), (10**30, 10**30), (0, 10**30), (-2, -1)])
def test_false_headers_raise_before_memory_is_allocated(path, shape):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy(shape, bytes(16)))
    loads_wrongly(path, ".*")


def test_a_member_that_is_larger_than_the_file(path):
    crnn.save(path, crnn.RNN(2, 3, seed=1))
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02")  # the last entry of the directory
    content[place + 20 : place + 28] = b"\x00\x00\x00\x70" * 2  # both sizes: 1.9 GB
    path.write_bytes(content)
    loads_wrongly(path, r"the member 'crnn\.npy' is larger than the file")


def test_a_member_that_occurs_twice(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy((2,), bytes(16)))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.npy", npy((2,), bytes(16)))
    loads_wrongly(path, r"the member 'a\.npy' occurs twice")
