"""What the workflows of CI must hold: what is tested is the installed package."""

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
    """`python -P` keeps the unbuilt checkout off the path of one process alone."""
    direct = {name: job for name, job in jobs() if re.search(r"python .*-m pytest", job)}
    assert {"windows", "oldest-numpy"} <= set(direct)
    for name, job in direct.items():
        assert 'PYTHONSAFEPATH: "1"' in job, name


def packages(extras, project):
    """The names of what extras install, those that they refer to included."""
    found = set()
    for line in (line for extra in extras for line in project["optional-dependencies"][extra]):
        inside = re.fullmatch(r"crnn\[([\w,]+)\]", line)
        if inside:
            found |= packages(inside[1].split(","), project)
        else:
            found.add(re.match(r"[\w-]+", line)[0])
    return found


def test_wheels_are_tested_with_what_every_platform_has():
    config = tomllib.loads(PROJECT.read_text("utf-8"))
    extras = config["tool"]["cibuildwheel"]["test-extras"]
    assert not packages(extras, config["project"]) & NOT_EVERYWHERE
    assert packages(["dev"], config["project"]) >= NOT_EVERYWHERE  # elsewhere tests have them
