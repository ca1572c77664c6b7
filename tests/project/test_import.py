"""The modules that `import crnn` imports at once, and those that it imports at first use."""

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

import crnn

INIT = Path(crnn.__file__).read_text("utf-8")


def loaded(code):
    """Return the modules that are imported in a new process after this code."""
    program = f"import sys\n{code}\nimport json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return set(json.loads(done.stdout))


def crnns(modules):
    return {name for name in modules if name.partition(".")[0] == "crnn"}


def test_import_crnn_imports_only_the_core():
    modules = loaded("import crnn")
    assert crnns(modules) == {"crnn", "crnn._version", "crnn._core"}
    assert modules - loaded("import numpy") == crnns(modules)


def test_a_layer_imports_the_layers():
    modules = loaded("import crnn; crnn.LSTM(2, 3)")
    others = {"diagnostics", "plotting", "reference", "data", "models", "seq2seq", "training"}
    assert not crnns(modules) & {f"crnn.{name}" for name in (*others, "callbacks", "checkpoint")}
    assert not modules & {"hashlib", "html", "pandas", "matplotlib", "tqdm"}


@pytest.mark.parametrize(
    "name", ["data", "models", "callbacks", "diagnostics", "plotting", "reference", "losses"]
)
def test_packages_are_available_after_import_crnn(name):
    assert f"crnn.{name}" in loaded(f"import crnn; assert dir(crnn.{name})")


def test_every_public_name_exists():
    program = "import crnn; assert set(crnn.__all__) <= set(dir(crnn)); from crnn import *"
    assert {"crnn.data", "crnn.models", "crnn.plotting"} <= loaded(program)
    for name in crnn.__all__:
        value = getattr(crnn, name)
        assert isinstance(value, types.ModuleType) == (f"crnn.{name}" in MODULES)
        assert getattr(crnn, name) is value
    assert crnn.gradcheck.__module__ == "crnn.diagnostics.gradcheck"
    with pytest.raises(AttributeError, match="module 'crnn' has no attribute 'nothing'"):
        crnn.nothing  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'nothing' from 'crnn'"):
        from crnn import nothing  # noqa: F401


def modules_of(package):
    found = {}
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if info.name.endswith(".__main__"):  # importing it would run the command
            continue
        found[info.name] = importlib.import_module(info.name)
        if info.ispkg:
            found |= modules_of(found[info.name])
    return found


MODULES = modules_of(crnn)


def test_no_module_has_the_name_of_another_public_object():
    for name, module in MODULES.items():
        package, _, last = name.rpartition(".")
        assert getattr(sys.modules[package], last) is module, name


def test_type_checkers_see_the_names_that_are_imported_later():
    (block,) = (
        node
        for node in ast.parse(INIT).body
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
    )
    seen = {(node.module, alias.name) for node in block.body for alias in node.names}
    expected = {(f"crnn.{module}", name) for name, module in crnn._HOMES.items()}
    packages = {("crnn", name) for name in crnn.__all__ if f"crnn.{name}" in MODULES}
    assert seen == expected | packages
    names = {name for _, name in seen}
    assert names | {"__version__"} == set(crnn.__all__)


@pytest.mark.parametrize("model", ["Pool()", "Checkpointed(GRU(2, 3), 2)", "LastState(GRU(2, 3))"])
def test_a_model_is_loaded_without_earlier_imports(tmp_path, model):
    path = str(tmp_path / "model.npz")
    crnn.save(path, eval(model, vars(crnn) | {name: getattr(crnn, name) for name in crnn.__all__}))
    loaded(f"import crnn; assert type(crnn.load({path!r})).__name__ == {model.partition('(')[0]!r}")


def test_a_model_of_two_sequences_is_loaded(tmp_path):
    path = str(tmp_path / "model.npz")
    crnn.save(path, crnn.Seq2Seq(crnn.GRU(2, 3), crnn.GRU(2, 3), target_symbols=4))
    loaded(f"import crnn; assert crnn.load({path!r}).target_symbols == 4")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Linear", "crnn.Dense"),
        ("Adam", "crnn.optim.Adam"),
        ("Batches", "crnn.data.Batches"),
        ("KeepBest", "crnn.callbacks.KeepBest"),
        ("accuracy", "crnn.metrics.accuracy"),
        ("lstm", "crnn.LSTM"),
    ],
)
def test_a_name_of_another_module_or_library_is_answered(name, hint):
    with pytest.raises(AttributeError, match=f"has no attribute '{name}': write {hint}$"):
        getattr(crnn, name)


def test_other_names_have_the_usual_error():
    for name in ("nothing", "_private", "__wrapped__"):
        with pytest.raises(AttributeError, match=f"^module 'crnn' has no attribute '{name}'$"):
            getattr(crnn, name)


def test_tab_completion_shows_public_names_alone():
    assert dir(crnn) == sorted(crnn.__all__)
