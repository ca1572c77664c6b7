"""Build crnn._core, the only extension module; pyproject.toml has all other settings.

setuptools compiles all sources of an extension with the same flags. The files in
csrc/core/isa each need the flags of their instruction set (csrc/flags.mk), so this
build_ext compiles file by file and links the objects.

Environment variables:

CRNN_SKIP_ISA=avx512,avx2
    Do not build these instruction sets, for example if the compiler does not support them.
CRNN_SANITIZE=address|thread
    Build with the address and undefined-behaviour sanitizers, and fill new memory with NaN; or
    build with the thread sanitizer.
CFLAGS=-g
    Keep debugging symbols. Other builds have none, even if Python itself was built with -g,
    because they make the extension ten times as large.
"""

import os
import platform
import re
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, OptionError

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))  # without the limited API
SANITIZE = os.environ.get("CRNN_SANITIZE", "")
SYMBOLS = any(word.startswith("-g") for word in os.environ.get("CFLAGS", "").split())
HEADERS = (".h", ".inc", ".def", ".mk")  # a change in one of these recompiles every file

if sys.platform == "darwin":  # a universal Python would compile for both machines
    os.environ.setdefault("ARCHFLAGS", f"-arch {platform.machine()}")


def read_flags(path="csrc/flags.mk"):
    """Return the words of each line `NAME = words` in the file shared with csrc/Makefile."""
    text = Path(path).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^(\w+) =(.*)$", text, re.MULTILINE)
    return {name: words.split() for name, words in lines}


def target_machine(plat_name):
    """Return the target machine, in the spelling of csrc/flags.mk."""
    if sys.platform == "darwin":
        machines = [word for word in os.environ["ARCHFLAGS"].split() if word != "-arch"]
        return machines[0] if len(machines) == 1 else "any"
    machine = re.split(r"[-.]", plat_name)[-1].replace("amd64", "x86_64")
    return machine if sys.maxsize > 2**32 else "any"


def chosen_levels(flags, machine):
    """Return the instruction sets to build, without those in CRNN_SKIP_ISA."""
    levels = flags.get(f"LEVELS_{machine}", flags["LEVELS_any"])
    optional = set(flags["LEVELS_optional"])
    skip = set(re.findall(r"[^\s,]+", os.environ.get("CRNN_SKIP_ISA", "")))
    if not skip <= optional:
        raise OptionError(
            f"CRNN_SKIP_ISA: expected some of {','.join(sorted(optional))}, "
            f"got {','.join(sorted(skip))}"
        )
    return [level for level in levels if level not in skip]


def sanitizer_flags(flags):
    """Return the flags of the sanitizer in CRNN_SANITIZE, for the compiler and for the linker."""
    if not SANITIZE:
        return [], []
    if SANITIZE not in ("address", "thread"):
        raise OptionError(f"CRNN_SANITIZE: expected address or thread, got {SANITIZE}")
    link = flags[f"LDFLAGS_{SANITIZE}"]
    return flags["CFLAGS_sanitize"] + flags[f"CFLAGS_{SANITIZE}"] + link, link


class BuildCore(build_ext):
    """Compile each file with the flags of its instruction set, then link the extension."""

    def finalize_options(self):
        """Choose a folder for objects by the options, so that later builds can reuse them."""
        build = self.get_finalized_command("build")
        self.flags = read_flags()
        self.levels = chosen_levels(self.flags, target_machine(build.plat_name))
        self.sanitize_compile, self.sanitize_link = sanitizer_flags(self.flags)
        if self.build_temp is None:
            kinds = filter(None, [SANITIZE, "symbols" * SYMBOLS])
            options = "-".join([*self.levels, *kinds])
            suffix = sysconfig.get_config_var("EXT_SUFFIX")
            self.build_temp = os.path.join(build.build_base, f"objects-{options}{suffix}")
        super().finalize_options()

    def build_extension(self, ext):
        """Compile files that are out of date, several at a time, and link."""
        ext.extra_link_args += self.sanitize_link
        if SANITIZE == "address":
            ext.define_macros.append(("CRNN_POISON", "1"))
        for level in self.levels:
            if level != "scalar":
                ext.define_macros.append((f"CRNN_HAVE_{level.upper()}", "1"))
        sources = [*Path("csrc/core").glob("*.c"), *Path("csrc/binding").glob("*.c")]
        units = [(source, None) for source in sources]
        for level in self.levels:
            units += [(Path(f"csrc/core/isa/{level}_{real}.c"), level) for real in ("f32", "f64")]
        jobs = 1 if self.compiler.compiler_type == "msvc" else os.cpu_count()
        units.sort(key=lambda unit: unit[1] or "", reverse=True)  # files that take long first
        with ThreadPoolExecutor(jobs) as pool:
            objects = list(pool.map(lambda unit: self.compile_unit(ext, *unit), units))
        ext.extra_objects = sorted(objects)
        self.force = True  # always link: it is fast, and the objects may be in another folder
        super().build_extension(ext)

    def compile_unit(self, ext, source, level):
        """Compile one file if it or a header has changed; return the path of the object."""
        (target,) = self.compiler.object_filenames([str(source)], output_dir=self.build_temp)
        inputs = [source, Path("setup.py")]
        inputs += (path for path in Path("csrc").rglob("*") if path.suffix in HEADERS)
        newest = max(path.stat().st_mtime for path in inputs)
        if os.path.exists(target) and os.path.getmtime(target) > newest:
            return target
        try:
            self.compiler.compile(
                [str(source)],
                output_dir=self.build_temp,
                macros=ext.define_macros,
                include_dirs=ext.include_dirs,
                extra_postargs=self.compile_flags(level),
            )
        except CompileError as error:
            if level in (None, "scalar"):
                raise
            raise CompileError(
                f"{source} was not compiled (see the messages above). "
                f"If the compiler does not support {level}, set CRNN_SKIP_ISA={level}"
            ) from error
        return target

    def compile_flags(self, level):
        """Return the flags for files of one instruction set, or for all other files (None)."""
        kind = "MSVC" if self.compiler.compiler_type == "msvc" else "CFLAGS"
        flags = self.flags[f"{kind}_base"] + (self.flags[f"{kind}_{level}"] if level else [])
        release = kind == "CFLAGS" and not SANITIZE and not SYMBOLS
        return flags + self.sanitize_compile + (self.flags["CFLAGS_release"] if release else [])


core = Extension(
    "crnn._core",
    sources=[],  # BuildCore compiles them
    include_dirs=["csrc/core", numpy.get_include()],
    define_macros=[
        ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
        ("NPY_TARGET_VERSION", "NPY_1_25_API_VERSION"),  # runs on NumPy 1.26, too
        *([] if FREE_THREADED else [("Py_LIMITED_API", "0x030B0000")]),
    ],
    extra_link_args=[] if os.name == "nt" else ["-pthread"],
    py_limited_api=not FREE_THREADED,
)

setup(
    ext_modules=[core],
    cmdclass={"build_ext": BuildCore},
    options={} if FREE_THREADED else {"bdist_wheel": {"py_limited_api": "cp311"}},
)
