# Commands of the project; `make help` lists them. All packages are installed into ./.venv,
# but GluonTS, with what it needs, into ./.venv-gluonts.
#
#   PYTHON=python3.12     Python that creates .venv (default python3)
#   WITH_TORCH=1          `make test` installs PyTorch and compares with it
#   TESTS=tests/data      tests that pytest runs (default: all); PYTEST=-x adds options
#   MINUTES=5             duration of `make fuzz` (default 60)
#   BENCH="--cores 1"     options of benchmarks/compare.py
#   CRNN_SKIP_ISA=avx512  instruction sets that are not built, for compilers without them

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
TORCH := torch==2.13.0
GLUONTS := $(VENV)-gluonts
CORES := $(shell getconf _NPROCESSORS_ONLN)
TESTS ?=
PYTEST ?=
MINUTES ?= 60

# Python tests of `make asan`: those that pass arrays through the C core.
ASAN_TESTS ?= tests/layers/recurrent/test_cells.py tests/layers/recurrent/test_options.py \
    tests/layers/test_traces.py tests/common/test_errors.py tests/core/test_search.py \
    tests/seq2seq/test_seq2seq_core.py

# Python tests of `make tsan`: those that call the core from several Python threads, or with several
# threads of its own. Excluded: writing parameters while another thread reads them; it is not defined
# which values are read (docs/architecture.md).
TSAN_TESTS ?= tests/core/test_signals.py tests/core/test_threads.py -k 'not anew_while'

PACKAGE := pyproject.toml setup.py $(shell find crnn csrc -type f \
    -not -path '*/build/*' -not -path '*/__pycache__/*' -not -name '*.so' 2>/dev/null)
C_FILES = $(shell find csrc benchmarks examples -name '*.[ch]' -not -path '*/build/*') \
    $(shell find csrc -name '*.inc' -not -path '*/build/*')

# $(call from_pyproject,["a"]["b"]): a list of pyproject.toml, as words.
from_pyproject = $$($(BIN)/python -c 'import tomllib; \
    print(*tomllib.load(open("pyproject.toml", "rb"))$(1))')

# $(call need,shell command,what to install): stops make with one line if the command fails.
need = $(if $(shell { $(1); } >/dev/null 2>&1 && echo yes),,$(error crnn needs $(2)))

HAS_VERSION = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'
HAS_VENV = $(PYTHON) -c 'import venv, ensurepip'
HAS_HEADERS = $(PYTHON) -c 'import os, sysconfig as s; os.stat(s.get_path("include") + "/Python.h")'

NEEDED_PYTHON = Python 3.11 or newer: install python3, or select one with PYTHON=python3.12
NEEDED_HEADERS = the headers of Python: apt install python3-dev (Debian, Ubuntu) or \
    dnf install python3-devel (Fedora)
NEEDED_COMPILER = a C compiler: apt install gcc libc6-dev (Debian, Ubuntu), \
    dnf install gcc (Fedora) or xcode-select --install (macOS)

.PHONY: help demo test smoke build asan tsan clang fuzz neon bench paths tasks notebooks course lint format \
    wheel clean check
.DEFAULT_GOAL := help

help: ## list the commands
	@echo "make ..."
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/demo.stamp ## install crnn and train a character model on Python's documentation
	@$(BIN)/crnn demo -o demo-output

test: build ## run the C tests and the Python tests
ifeq ($(WITH_TORCH),1)
	@$(BIN)/python -c 'import torch' 2>/dev/null || \
	    { echo "Installing $(TORCH)"; $(PIP) install $(TORCH); }
endif
	@echo "Running the C tests"
	@$(MAKE) --no-print-directory -C csrc -j$(CORES) test
	@echo "Running the Python tests"
ifeq ($(TESTS),)
	@$(BIN)/python -m pytest -q -n $(CORES) --dist worksteal $(PYTEST)
else
	@$(BIN)/python -m pytest -q $(PYTEST) $(TESTS)
endif

smoke: build ## run a few tests of every part, for work in progress (half a minute)
	@$(BIN)/python -m pytest -q -m smoke $(PYTEST)

build: $(VENV)/test.stamp ## compile the core in place, for development
	@$(BIN)/python setup.py --quiet build_ext --inplace

# $(call sanitized,asan,address,Python tests): runs the C tests under a sanitizer, then the Python
# tests with a package built with it, in build/. PYTHONSAFEPATH prevents that Python imports the
# package of the checkout instead. --capture=sys leaves file descriptor 2 to the sanitizer's reports.
define sanitized
@echo "Running the C tests under the $(2) sanitizer"
@$(MAKE) --no-print-directory -C csrc -j$(CORES) $(1)
@echo "Building crnn with the $(2) sanitizer"
@rm -rf build/$(1)/lib
@CRNN_SANITIZE=$(2) $(BIN)/python setup.py --quiet build --build-base build/$(1) \
    --build-lib build/$(1)/lib
@$($(1)_env) $(BIN)/python -c 'import crnn._core as c; \
    assert "build/$(1)/lib" in c.__file__, c.__file__'
@echo "Running $(3)"
@$($(1)_env) $(BIN)/python -m pytest -q -n $(CORES) --dist worksteal -p no:cacheprovider \
    --capture=sys $(PYTEST) $(3)
endef

sanitized_env = env LD_PRELOAD="$$($(CC) -print-file-name=lib$(1).so)" PYTHONMALLOC=malloc \
    PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/build/$(1)/lib
asan_env = $(call sanitized_env,asan) ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
# csrc/Makefile explains setarch, and why only scalar code is built.
tsan_env = $$(setarch -R true 2>/dev/null && echo setarch -R) $(call sanitized_env,tsan) \
    TSAN_OPTIONS="halt_on_error=1 die_after_fork=0"

asan: $(VENV)/test.stamp ## run C and Python tests under the address and behaviour sanitizers
	$(call sanitized,asan,address,$(ASAN_TESTS))

tsan: export CRNN_SKIP_ISA := avx2,avx512,neon
tsan: $(VENV)/test.stamp ## run C and Python tests with threads under the thread sanitizer
	$(call sanitized,tsan,thread,$(TSAN_TESTS))

clang: ## run the C tests compiled by clang
	@echo "Running the C tests compiled by clang"
	@$(MAKE) --no-print-directory -C csrc -j$(CORES) clang

fuzz: build ## load mutated files for an hour (MINUTES=5: for five minutes)
	@PYTHONPATH=tests $(BIN)/python -m support.fuzzing --minutes $(MINUTES)

neon: ## run the C tests for 64-bit ARM, cross-compiled, in an emulator
	@echo "Running the C tests for 64-bit ARM"
	@$(MAKE) --no-print-directory -C csrc -j$(CORES) neon

# BENCH="--cells LSTM --cores 1" measures only a part of compare.py.
bench: build $(VENV)/bench.stamp $(GLUONTS)/bench.stamp ## compare the speed with PyTorch, ONNX Runtime, JAX, reservoirpy and GluonTS (25 minutes)
	@$(MAKE) --no-print-directory -C csrc bench
	@$(BIN)/python benchmarks/compare.py $(BENCH)
	@$(BIN)/python benchmarks/seq2seq.py
	@$(BIN)/python benchmarks/reservoirs.py
	@$(BIN)/python benchmarks/blocks.py
	@PYTHONPATH=$(CURDIR) $(GLUONTS)/bin/python benchmarks/forecasting_speed.py

paths: build ## fail if an option, a length or a size is too slow (90 seconds)
	@$(BIN)/python benchmarks/paths.py --check

tasks: build $(VENV)/test.stamp ## train the benchmark tasks, write docs/tasks.md (15 minutes)
	@$(BIN)/python benchmarks/tasks.py
	@$(BIN)/python -c 'import importlib.util as i, sys; sys.exit(not i.find_spec("aeon"))' || \
	    $(PIP) install --no-deps "aeon>=1"
	@$(BIN)/python benchmarks/readouts.py
	@$(BIN)/python benchmarks/autoregression.py

notebooks: build $(VENV)/notebooks.stamp ## run the course's notebooks, store their outputs (10 minutes)
	@$(BIN)/python notebooks/store.py

course: build $(VENV)/notebooks.stamp ## open the course's notebooks in JupyterLab
	@$(BIN)/jupyter lab notebooks

lint: build $(VENV)/lint.stamp ## check style, formatting and types
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet --diff .
	@$(BIN)/clang-format --dry-run -Werror $(C_FILES)
	@$(BIN)/mypy
	@$(BIN)/python -m mypy.stubtest crnn._core --mypy-config-file pyproject.toml

format: $(VENV)/lint.stamp ## format every file as `make lint` requires
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .
	@$(BIN)/clang-format -i $(C_FILES)

wheel: $(VENV)/wheel.stamp ## build a wheel in dist/ and test it in a new environment
	@rm -rf dist build/wheel-venv
	@mkdir -p build
	@echo "Building the source distribution and the wheel"
	@$(BIN)/python -m build --outdir dist . >build/wheel.log 2>&1 || \
	    { cat build/wheel.log; exit 1; }
	@echo "Testing the wheel in a new environment"
	@$(PYTHON) -m venv build/wheel-venv
	@build/wheel-venv/bin/python -m pip -qq install dist/*.whl
	@cd build/wheel-venv && bin/python -P -c '$(SMOKE_TEST)'
	@ls dist

define SMOKE_TEST
import crnn, numpy as np; \
assert "wheel-venv" in crnn.__file__, crnn.__file__; \
layer = crnn.LSTM(3, 4, seed=1, dtype="float64"); \
x = np.ones((2, 5, 3)); \
assert layer(x)[0].shape == (2, 5, 4); \
assert crnn.gradcheck(layer, x).ok; \
crnn.show_config()
endef

clean: ## remove all build results (not .venv)
	@rm -rf build dist csrc/build examples/c/build *.egg-info crnn/_core*.so
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# .venv contains crnn either as an installed package (demo) or as a link to the checkout (test). For
# demo, the compiled core is also copied to crnn/, because Python started in this folder imports the
# sources of the checkout.
$(VENV)/demo.stamp: $(PACKAGE) | $(BIN)/python
	@echo "Installing crnn with NumPy, matplotlib and tqdm (compiles the core)"
	@rm -rf build/lib* build/bdist* $(VENV)/test.stamp
	@$(PIP) install ".[demo]"
	@cp "$$(cd / && $(abspath $(BIN))/python -c 'import crnn._core as c; print(c.__file__)')" crnn/
	@touch $@

$(VENV)/test.stamp: pyproject.toml setup.py | $(BIN)/python
	@echo "Installing the packages of the tests, and crnn in place (compiles the core)"
	@rm -f $(VENV)/demo.stamp
	@$(PIP) install $(call from_pyproject,["build-system"]["requires"])
	@$(PIP) install --no-build-isolation --editable ".[test,peers]"
	@touch $@

$(VENV)/lint.stamp: pyproject.toml | $(BIN)/python
	@echo "Installing the linters"
	@$(PIP) install $(call from_pyproject,["project"]["optional-dependencies"]["lint"])
	@touch $@

$(VENV)/notebooks.stamp: pyproject.toml | $(VENV)/test.stamp
	@echo "Installing JupyterLab and the packages of the notebooks"
	@$(PIP) install $(call from_pyproject,["project"]["optional-dependencies"]["notebooks"])
	@touch $@

$(VENV)/bench.stamp: pyproject.toml | $(VENV)/test.stamp
	@echo "Installing $(TORCH), ONNX Runtime and JAX"
	@$(PIP) install $(TORCH) $(call from_pyproject,["project"]["optional-dependencies"]["bench"])
	@touch $@

$(GLUONTS)/bench.stamp: pyproject.toml | $(BIN)/python
	@echo "Installing $(TORCH) and GluonTS in $(GLUONTS)"
	@$(PYTHON) -m venv $(GLUONTS)
	@$(GLUONTS)/bin/python -m pip -qq --disable-pip-version-check install $(TORCH) \
	    $(call from_pyproject,["project"]["optional-dependencies"]["gluonts"])
	@touch $@

$(VENV)/wheel.stamp: | $(BIN)/python
	@echo "Installing build"
	@$(PIP) install build
	@touch $@

$(BIN)/python: | check
	@echo "Creating a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

check:
	$(call need,$(PYTHON) --version,$(NEEDED_PYTHON))
	$(call need,$(HAS_VERSION),$(NEEDED_PYTHON) ($(PYTHON) is older))
	$(call need,$(HAS_VENV),the Python module venv: apt install python3-venv)
	$(call need,$(HAS_HEADERS),$(NEEDED_HEADERS))
	$(call need,command -v $(CC),$(NEEDED_COMPILER))
