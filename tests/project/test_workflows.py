"""The workflows of CI: they test the installed package, with all packages that tests need."""

import re
import tomllib

import pytest

from support.folders import ROOT

WORKFLOWS = ROOT / ".github" / "workflows"
PROJECT = ROOT / "pyproject.toml"
NOT_EVERYWHERE = {"onnx", "onnxruntime", "scikit-learn"}  # no wheels for musllinux

pytestmark = pytest.mark.skipif(not WORKFLOWS.is_dir(), reason="not in a checkout")


def jobs():
    for path in sorted(WORKFLOWS.glob("*.yml")):
        body = path.read_text("utf-8").partition("\njobs:\n")[2]
        parts = re.split(r"^  ([\w-]+):\n", body, flags=re.MULTILINE)[1:]
        yield from zip(parts[::2], parts[1::2], strict=True)


def test_child_processes_find_the_installed_package_too():
    """`python -P` removes the checkout from the path of one process only, not of its children."""
    direct = {name: job for name, job in jobs() if re.search(r"python .*-m pytest", job)}
    assert {"windows", "oldest-numpy"} <= set(direct)
    for name, job in direct.items():
        assert 'PYTHONSAFEPATH: "1"' in job, name


def packages(extras, project):
    """Return the names of the packages that extras install, also through other extras."""
    found = set()
    for line in (line for extra in extras for line in project["optional-dependencies"][extra]):
        inside = re.fullmatch(r"crnn\[([\w,]+)\]", line)
        if inside:
            found |= packages(inside[1].split(","), project)
        else:
            found.add(re.match(r"[\w-]+", line)[0])
    return found


def test_wheels_are_tested_with_packages_of_every_platform():
    config = tomllib.loads(PROJECT.read_text("utf-8"))
    extras = config["tool"]["cibuildwheel"]["test-extras"]
    assert not packages(extras, config["project"]) & NOT_EVERYWHERE
    assert (
        packages(["dev"], config["project"]) >= NOT_EVERYWHERE
    )  # the tests of other jobs install them
