"""The imports of the package: no cycle, and none from a lower level to a higher one."""

import ast
import tomllib

from support.folders import ROOT

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "crnn").rglob("*.py"))
}
LEVELS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["crnn"]["levels"]
MOST = 16  # packages and modules at the top


def imports(path):
    """Return all modules of crnn that a module imports, also in functions and for type checkers."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "crnn":
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] == "crnn")


GRAPH = {name: set(imports(path)) - {name} for name, path in MODULES.items() if name != "crnn"}


def level(module):
    """Return the level of a module: that of the longest entry of LEVELS that contains it."""
    name = module.removeprefix("crnn.")
    found = [entry for entry in LEVELS if name == entry or name.startswith(f"{entry}.")]
    assert found, f"{module}: in no level of [tool.crnn] in pyproject.toml"
    return LEVELS.index(max(found, key=len))


def rising(graph):
    """Return the imports from a lower level to a higher one, also of the package itself."""
    edges = ((one, other) for one, others in graph.items() for other in others)
    return [(a, b) for a, b in edges if b == "crnn" or level(b) > level(a)]


def cycles(graph):
    """Return the modules that import themselves through other modules."""

    def reached(start):
        found, todo = set(), [start]
        while todo:
            new = graph.get(todo.pop(), set()) - found
            found |= new
            todo += new
        return found

    return [module for module in graph if module in reached(module)]


def test_imports_go_down():
    assert rising(GRAPH) == []


def test_no_module_imports_itself_through_others():
    assert cycles(GRAPH) == []


def test_faults_are_found():
    assert rising({"crnn.common.checks": {"crnn.layers"}, "crnn.losses": {"crnn"}}) == [
        ("crnn.common.checks", "crnn.layers"),
        ("crnn.losses", "crnn"),
    ]
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def test_every_level_has_modules():
    assert all(f"crnn.{entry}" in {*MODULES, "crnn._core"} for entry in LEVELS)


def test_the_top_of_the_package_is_small():
    top = {name.split(".")[1] for name in MODULES if "." in name} - {"_version"}
    assert len(top) <= MOST, sorted(top)
