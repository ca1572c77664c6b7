"""libcrnn for other programs: headers, what `make install` installs, and its use through ctypes.

Only scalar code is built, with few optimizations, because that takes a few seconds.
"""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from ctypes import POINTER, byref, c_bool, c_double, c_int, c_size_t, c_ssize_t, c_void_p

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


def struct(name, **fields):
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items())})


Layer = struct(
    "Layer",
    **dict.fromkeys(("cell", "dtype"), c_int),
    **dict.fromkeys(("inputs", "hidden", "projected"), c_size_t),
    **dict.fromkeys(("bias", "reverse", "learns_state", "layer_norm", "peepholes"), c_bool),
    **dict.fromkeys(("gate", "candidate", "output"), c_int),
    **dict.fromkeys(("beta", "clip", "recurrent_dropout", "weight_drop"), c_double),
    **dict.fromkeys(("zoneout_h", "zoneout_c"), c_double),
)
Steps = struct(
    "Steps",
    batch=c_size_t,
    steps=c_size_t,
    **dict.fromkeys(("lengths", "mask", "resets"), c_void_p),
    reverse=c_bool,
)
Rows = struct(
    "Rows",
    given=Steps,
    **dict.fromkeys(("places", "total"), c_size_t),
    **dict.fromkeys(("order", "length", "begin", "ends", "active", "first", "times"), c_void_p),
)
Seq = struct("Seq", data=c_void_p, row=c_ssize_t, step=c_ssize_t)
Input = struct("Input", x=Seq, symbols=c_void_p, table=c_size_t)
State = struct("State", h=c_void_p, c=c_void_p)
Tape = struct("Tape", kernels=c_void_p, memory=c_void_p)
Noise = struct(
    "Noise",
    on=c_bool,
    **dict.fromkeys(("seed", "call", "first_row"), ctypes.c_uint64),
    **dict.fromkeys(("first_step", "layer"), ctypes.c_uint32),
)
Forward = struct(
    "Forward",
    layer=POINTER(Layer),
    kernels=c_void_p,
    rows=POINTER(Rows),
    params=c_void_p,
    packed=c_void_p,
    **{"in": Input},
    stepwise=c_bool,
    noise=Noise,
    initial=State,
    y=Seq,
    final=State,
    tape=POINTER(Tape),
    workspace=c_void_p,
)
Backward = struct(
    "Backward",
    layer=POINTER(Layer),
    rows=POINTER(Rows),
    tape=POINTER(Tape),
    params=c_void_p,
    **{"in": Input},
    noise=Noise,
    from_learned=c_bool,
    dy=Seq,
    dfinal=State,
    dinitial=State,
    grads=c_void_p,
    dx=Seq,
    add_dx=c_bool,
    trace=c_void_p,
    workspace=c_void_p,
)
CRNN_GRU_AFTER, CRNN_F32, CRNN_F64 = 4, 0, 1


class Library:
    """The shared library, with memory for its calls."""

    def __init__(self, prefix):
        (path,) = (prefix / "lib").glob(f"libcrnn*.{crnn.__version__}*")
        self.functions = ctypes.CDLL(str(path))
        self.functions.crnn_kernels_now.restype = c_void_p
        self.functions.crnn_version.restype = ctypes.c_char_p
        self.functions.crnn_isa_name.restype = ctypes.c_char_p
        self.memory = []

    def sized(self, name, *arguments, item=1):
        """Return the address of a buffer as large as a function of the library says."""
        size = c_size_t()
        assert getattr(self.functions, name)(*arguments, byref(size)) == 0
        self.memory.append(np.zeros(size.value * item + 64, np.uint8))
        return -(-self.memory[-1].ctypes.data // 64) * 64


def seq_of(array):
    row, step, _ = (stride // array.itemsize for stride in array.strides)
    return Seq(array.ctypes.data, row, step)


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
    before = _core.isa()
    _core.select_isa("scalar")
    try:
        y, h1, tape = layer.forward(x, h0, lengths=lengths)
        dx, dh0 = layer.backward(tape, dy, dh1)
    finally:
        _core.select_isa(before)

    lib = Library(prefix)
    assert lib.functions.crnn_version().decode() == crnn.__version__
    assert lib.functions.crnn_isa_name() == b"scalar"
    own = Layer(CRNN_GRU_AFTER, CRNN_F64 if dtype == "float64" else CRNN_F32, I, H, bias=True)
    kernels = c_void_p(lib.functions.crnn_kernels_now(own.dtype))
    steps = Steps(B, T, lengths.ctypes.data)
    rows = Rows()
    words = lib.sized("crnn_rows_size", byref(steps), item=ctypes.sizeof(c_size_t))
    lib.functions.crnn_rows_init(byref(rows), c_void_p(words), byref(steps))
    memory = lib.sized("crnn_tape_size", byref(own), kernels, byref(rows))
    taped = Tape(kernels, memory)
    found = {
        name: np.full_like(value, np.nan)
        for name, value in {"y": y, "h1": h1, "dx": dx, "dh0": dh0}.items()
    }
    grads, params = np.zeros_like(layer.flat_grads), np.array(layer.flat_params)
    forward = Forward(
        layer=ctypes.pointer(own),
        kernels=kernels,
        rows=ctypes.pointer(rows),
        params=params.ctypes.data,
        initial=State(h0.ctypes.data),
        y=seq_of(found["y"]),
        final=State(found["h1"].ctypes.data),
        tape=ctypes.pointer(taped),
        **{"in": Input(seq_of(x))},
    )
    forward.workspace = lib.sized("crnn_forward_workspace", byref(forward))
    lib.functions.crnn_forward(byref(forward))
    backward = Backward(
        layer=ctypes.pointer(own),
        rows=ctypes.pointer(rows),
        tape=ctypes.pointer(taped),
        params=params.ctypes.data,
        dy=seq_of(dy),
        dfinal=State(dh1.ctypes.data),
        dinitial=State(found["dh0"].ctypes.data),
        grads=grads.ctypes.data,
        dx=seq_of(found["dx"]),
        **{"in": Input(seq_of(x))},
    )
    backward.workspace = lib.sized("crnn_backward_workspace", byref(backward))
    lib.functions.crnn_backward(byref(backward))

    for name, value in {"y": y, "h1": h1, "dx": dx, "dh0": dh0}.items():
        assert found[name].tobytes() == value.tobytes(), name
    assert grads.tobytes() == layer.flat_grads.tobytes()
    assert np.abs(grads).min() > 0
