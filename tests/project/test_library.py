"""libcrnn for other programs: headers, what `make install` installs, and its use through ctypes.

Only scalar code is built, with few optimizations, because that takes a few seconds.
"""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from ctypes import byref, c_size_t, c_void_p

import numpy as np
import pytest

import crnn
from crnn import _core
from support.folders import ROOT
from support.trees import SCALAR

CORE = ROOT / "csrc" / "core"
HEADERS = sorted(CORE.glob("crnn/*.h"))
QUICK = SCALAR | {"CFLAGS": "-O1"}
COMPILERS = {"c++": "c++", "c": "cc"}
WARNINGS = ("-Wall", "-Wextra", "-pedantic", "-Werror")

pytestmark = pytest.mark.skipif(
    os.name != "posix" or not (CORE.exists() and all(map(shutil.which, ("make", "cc", "c++")))),
    reason="needs the source tree, make and compilers for C and C++",
)


def run(*command, **environment):
    done = subprocess.run(
        [str(word) for word in command],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def make(folder, *arguments, **environment):
    return run("make", "-s", "-C", folder, *arguments, **environment)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Return the variable of csrc/Makefile that chooses the folder of objects."""
    return f"B={tmp_path_factory.mktemp('build')}"


@pytest.fixture(scope="module")
def prefix(build, tmp_path_factory):
    """Install the library in a temporary folder; return the folder."""
    folder = tmp_path_factory.mktemp("prefix")
    make(ROOT / "csrc", f"-j{os.cpu_count()}", "install", build, f"PREFIX={folder}", **QUICK)
    return folder


@pytest.fixture(scope="module")
def flags(prefix):
    """Return the flags of crnn.pc for the compiler and for the linker."""
    text = (prefix / "lib" / "pkgconfig" / "crnn.pc").read_text("utf-8")
    values = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    words = " ".join(re.findall(r"^(?:Cflags|Libs): (.*)$", text, re.MULTILINE))
    found = re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], words).split()
    if shutil.which("pkg-config"):
        folder = str(prefix / "lib" / "pkgconfig")
        told = run("pkg-config", "--cflags", "--libs", "crnn", PKG_CONFIG_PATH=folder)
        assert told.split() == found
    return found


def declared():
    """Return the names of the functions that the headers mark as exported."""
    text = "\n".join(header.read_text("utf-8") for header in HEADERS)
    return set(re.findall(r"^CRNN_API[^;]*?\b(crnn_\w+)\(", text, re.MULTILINE))


# ------------------------------------------------------------------------------------- the headers


@pytest.mark.parametrize("standard", ["c11", "c17", "c++11", "c++17"])
@pytest.mark.parametrize("header", ["crnn.h", *(f"crnn/{path.name}" for path in HEADERS)])
def test_a_header_compiles_alone(header, standard, tmp_path):
    """From a folder that has the public headers and nothing else."""
    shutil.copy(CORE / "crnn.h", tmp_path)
    shutil.copytree(CORE / "crnn", tmp_path / "crnn")
    language = standard.rstrip("0123456789")
    program = tmp_path / "program"
    program.write_text(f"#include <{header}>\nint main(void) {{ return 0; }}\n")
    command = (COMPILERS[language], "-x", language, f"-std={standard}", *WARNINGS, "-fsyntax-only")
    run(*command, "-I", tmp_path, program)


def test_every_enumerator_has_a_number():
    for header in HEADERS:
        text = re.sub(r"/\*.*?\*/", "", header.read_text("utf-8"), flags=re.DOTALL)
        for body in re.findall(r"\benum\b[^{;]*\{(.*?)\}", text, re.DOTALL):
            for enumerator in filter(None, map(str.strip, body.split(","))):
                assert re.fullmatch(r"CRNN_\w+ = \d+", enumerator), f"{header.name}: {enumerator}"


def test_every_function_is_exported_or_inline():
    for header in HEADERS:
        text = re.sub(r"/\*.*?\*/", "", header.read_text("utf-8"), flags=re.DOTALL)
        for line in re.findall(r"^\w.*\bcrnn_\w+\(.*$", text, re.MULTILINE):
            assert line.startswith(("CRNN_API ", "static inline ")), f"{header.name}: {line}"


def test_the_version_is_that_of_the_package():
    numbers = re.findall(
        r"^#define CRNN_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$",
        (CORE / "crnn" / "base.h").read_text("utf-8"),
        re.MULTILINE,
    )
    assert ".".join(numbers) == crnn.__version__


# ----------------------------------------------------------------------------------- what installs


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names of ELF libraries")
def test_a_shared_library_has_its_names(prefix):
    folder, major = prefix / "lib", crnn.__version__.partition(".")[0]
    file, soname = f"libcrnn.so.{crnn.__version__}", f"libcrnn.so.{major}"
    assert os.readlink(folder / "libcrnn.so") == soname
    assert os.readlink(folder / soname) == file
    assert f"\0{soname}\0".encode() in (folder / file).read_bytes()


@pytest.mark.skipif(shutil.which("nm") is None, reason="lists symbols with nm")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="symbols of ELF libraries")
def test_the_public_functions_are_exported_and_nothing_else(prefix):
    lines = run("nm", "-D", "--defined-only", prefix / "lib" / "libcrnn.so").splitlines()
    assert {line.split()[-1] for line in lines} == declared()
    assert len(declared()) > 50


PROGRAM = """
#include <crnn.h>
#include <stdio.h>
#include <string.h>
int main(void) {
    crnn_layout at;
    crnn_layer layer;
    memset(&layer, 0, sizeof layer);
    layer.cell = CRNN_GRU_AFTER;
    layer.inputs = 3;
    layer.hidden = 4;
    if (crnn_layer_layout(&layer, &at) != CRNN_OK || strcmp(crnn_version(), CRNN_VERSION)) return 1;
    printf("%d %s\\n", (int)at.total, crnn_cell_describe(layer.cell)->gates);
    return 0;
}
"""


@pytest.mark.parametrize(("language", "standard"), [("c", "c11"), ("c++", "c++11")])
@pytest.mark.parametrize("static", [False, True])
def test_a_program_compiles_with_the_flags_of_pkg_config(
    language, standard, static, prefix, flags, tmp_path
):
    source, program = tmp_path / "program.source", tmp_path / "program"
    source.write_text(PROGRAM)
    own = [f"-std={standard}", *WARNINGS, "-x", language, source, "-x", "none"]
    library = [prefix / "lib" / "libcrnn.a", "-pthread", "-lm"] if static else flags
    include = [word for word in flags if word.startswith("-I")]
    run(COMPILERS[language], *own, *include, *library, "-o", program)
    path = {} if static else {"LD_LIBRARY_PATH": str(prefix / "lib")}
    assert run(program, **path) == f"{3 * 4 * (3 + 4)} rzn\n"


def test_the_example_runs_with_the_installed_library(prefix, flags, tmp_path):
    environment = {
        "PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig"),
        "LD_LIBRARY_PATH": str(prefix / "lib"),
    }
    if shutil.which("pkg-config") is None:
        pytest.skip("its Makefile calls pkg-config")
    lines = make(ROOT / "examples" / "c", "run", f"B={tmp_path}", **environment).splitlines()
    assert b"libcrnn" in (tmp_path / "sine").read_bytes()
    losses = [float(line.split()[-1]) for line in lines if line.startswith("epoch")]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.001
    after, right, predicted = map(float, re.findall(r"-?\d\.\d+", lines[-1]))
    assert after == pytest.approx(np.sin(0.2 * 49), abs=5e-4)
    assert right == pytest.approx(np.sin(0.2 * 50), abs=5e-4)
    assert predicted == pytest.approx(right, abs=0.05)


@pytest.mark.usefixtures("prefix")  # where everything was built
def test_uninstall_removes_every_file(build, tmp_path):
    variables = (build, f"DESTDIR={tmp_path}", "PREFIX=/usr")
    make(ROOT / "csrc", "install", *variables, **QUICK)
    text = (tmp_path / "usr" / "lib" / "pkgconfig" / "crnn.pc").read_text("utf-8")
    assert "prefix=/usr\n" in text
    assert f"Version: {crnn.__version__}\n" in text
    make(ROOT / "csrc", "uninstall", *variables, **QUICK)
    assert not [path for path in tmp_path.rglob("*") if not path.is_dir()]


# -------------------------------------------------------------------------------------- by ctypes


SIMPLE = {
    "bool": ctypes.c_bool,
    "double": ctypes.c_double,
    "ptrdiff_t": ctypes.c_ssize_t,
    "size_t": ctypes.c_size_t,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
}


def field_of(declarator, type_name, types):
    """Return the name and the type of a field, from the C declaration of it."""
    name, array = re.fullmatch(r"\**(\w+)(?:\[(\w+)\])?", declarator.strip()).groups()
    kind = ctypes.c_void_p if "*" in declarator else types[type_name]
    return name, kind * types[array] if array else kind


def read_types():
    """Return the structs of the headers as classes, the numbers of the enumerators, and c_int for
    each enum.
    """
    types = dict(SIMPLE)
    for part in ("base.h", "layer.h", "recurrent.h"):
        text = re.sub(r"/\*.*?\*/", "", (CORE / "crnn" / part).read_text("utf-8"), flags=re.DOTALL)
        text = text.replace("*const *", "**")
        types |= {name: int(number) for name, number in re.findall(r"\b(CRNN_\w+) = (\d+)", text)}
        types |= dict.fromkeys(re.findall(r"typedef enum (\w+)", text), ctypes.c_int)
        for name, body in re.findall(r"typedef struct (\w+) \{(.*?)\}", text, re.DOTALL):
            fields = []
            for declaration in filter(None, map(str.strip, body.split(";"))):
                first, *others = declaration.removeprefix("const ").split(",")
                type_name, pointer, last = re.fullmatch(r"(\w+)\s*(\**)(.*)", first).groups()
                declarators = (pointer + last, *others)
                fields += [field_of(each, type_name, types) for each in declarators]
            types[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    return types


class Library:
    """The shared library, its types as attributes, and memory for its calls."""

    def __init__(self, prefix):
        (path,) = (prefix / "lib").glob(f"libcrnn*.{crnn.__version__}*")
        self.functions = ctypes.CDLL(str(path))
        self.functions.crnn_kernels_now.restype = c_void_p
        for name in ("crnn_version", "crnn_isa_name"):
            getattr(self.functions, name).restype = ctypes.c_char_p
        self.types = read_types()
        self.memory = []

    def make(self, name, **fields):
        """Return a struct; fields that are structs are given by address, for pointers."""
        return self.types[name](
            **{
                field: ctypes.addressof(value)
                if dict(self.types[name]._fields_)[field] is c_void_p
                and isinstance(value, ctypes.Structure)
                else value
                for field, value in fields.items()
            }
        )

    def sized(self, name, *arguments, item=1):
        """Return the address of a buffer as large as a function of the library says."""
        size = c_size_t()
        assert getattr(self.functions, name)(*arguments, byref(size)) == 0
        self.memory.append(np.zeros(size.value * item + 64, np.uint8))
        return -(-self.memory[-1].ctypes.data // 64) * 64

    def seq(self, array):
        row, step, _ = (stride // array.itemsize for stride in array.strides)
        return self.make("crnn_seq", data=array.ctypes.data, row=row, step=step)

    def state(self, h):
        return self.make("crnn_state", h=h.ctypes.data)

    def rows(self, batch, steps, lengths):
        given = self.make("crnn_steps", batch=batch, steps=steps, lengths=lengths.ctypes.data)
        rows = self.make("crnn_rows")
        words = self.sized("crnn_rows_size", byref(given), item=ctypes.sizeof(c_size_t))
        self.functions.crnn_rows_init(byref(rows), c_void_p(words), byref(given))
        return rows


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gru_through_ctypes_has_the_bits_of_crnn(dtype, prefix):
    """Forward and backward over rows of several lengths, with states."""
    B, T, I, H = 4, 7, 3, 5
    layer = crnn.GRU(I, H, dtype=dtype, seed=1)
    rng = np.random.default_rng(2)
    x, dy, h0, dh1 = (
        rng.normal(size=shape).astype(dtype) for shape in ((B, T, I), (B, T, H), (B, H), (B, H))
    )
    lengths = np.array([7, 3, 0, 5], np.int64)
    expected = {}
    before = _core.isa()
    _core.select_isa("scalar")
    try:
        expected["y"], expected["h1"], tape = layer.forward(x, h0, lengths=lengths)
        expected["dx"], expected["dh0"] = layer.backward(tape, dy, dh1)
    finally:
        _core.select_isa(before)

    lib = Library(prefix)
    assert lib.functions.crnn_version().decode() == crnn.__version__
    assert lib.functions.crnn_isa_name() == b"scalar"
    found = {name: np.full_like(value, np.nan) for name, value in expected.items()}
    grads, params = np.zeros_like(layer.flat_grads), np.array(layer.flat_params)
    own = lib.make(
        "crnn_layer",
        cell=lib.types["CRNN_GRU_AFTER"],
        dtype=lib.types["CRNN_F64" if dtype == "float64" else "CRNN_F32"],
        inputs=I,
        hidden=H,
        bias=True,
    )
    kernels = lib.functions.crnn_kernels_now(own.dtype)
    rows = lib.rows(B, T, lengths)
    memory = lib.sized("crnn_tape_size", byref(own), c_void_p(kernels), byref(rows))
    tape = lib.make("crnn_tape", kernels=kernels, memory=memory)
    common = {
        "layer": own,
        "rows": rows,
        "tape": tape,
        "params": params.ctypes.data,
        "in": lib.make("crnn_input", x=lib.seq(x)),
    }
    forward = lib.make(
        "crnn_forward_args",
        **common,
        kernels=kernels,
        initial=lib.state(h0),
        y=lib.seq(found["y"]),
        final=lib.state(found["h1"]),
    )
    forward.workspace = lib.sized("crnn_forward_workspace", byref(forward))
    lib.functions.crnn_forward(byref(forward))
    backward = lib.make(
        "crnn_backward_args",
        **common,
        dy=lib.seq(dy),
        dfinal=lib.state(dh1),
        dinitial=lib.state(found["dh0"]),
        grads=grads.ctypes.data,
        dx=lib.seq(found["dx"]),
    )
    backward.workspace = lib.sized("crnn_backward_workspace", byref(backward))
    lib.functions.crnn_backward(byref(backward))

    for name, value in expected.items():
        assert found[name].tobytes() == value.tobytes(), name
    assert grads.tobytes() == layer.flat_grads.tobytes()
    assert np.abs(grads).min() > 0
