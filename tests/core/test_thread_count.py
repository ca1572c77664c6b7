"""The default number of threads; csrc/tests/test_cores.c tests CPU quotas."""

import os
import subprocess
import sys

import pytest

import crnn._core as _core

QUESTION = "import crnn._core as core; print(core.num_threads())"
VARIABLES = ("CRNN_NUM_THREADS", "OMP_NUM_THREADS")


def count(before="", **environment):
    """Return the number of threads in a new process with these variables; `before` runs first."""
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", f"import os; {before}\n{QUESTION}"],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.fixture(scope="module")
def default():
    """The default number without environment variables."""
    return count()


def test_no_more_than_the_cores(default):
    assert 1 <= default <= os.cpu_count()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no such call")
def test_one_core():
    assert count("os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])") == 1


@pytest.mark.parametrize("value", ["1", "1,4", " 1 ", "1 , 4"])
def test_omp_num_threads_lowers_the_number(value):
    assert count(OMP_NUM_THREADS=value) == 1


@pytest.mark.parametrize("value", ["100", "100,1", "99999999999999999999", "0", "-1", "two", ""])
def test_omp_num_threads_does_not_raise_the_number(value, default):
    assert count(OMP_NUM_THREADS=value) == default


@pytest.mark.parametrize("openmp", ["1", "2", "two"])
@pytest.mark.parametrize("value", ["1", "3", "100"])
def test_crnn_num_threads_has_precedence(value, openmp):
    assert count(CRNN_NUM_THREADS=value, OMP_NUM_THREADS=openmp) == int(value)


def test_workers_of_joblib_share_the_cores(monkeypatch):
    joblib = pytest.importorskip("joblib")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    jobs = max(2, os.cpu_count())
    counts = joblib.Parallel(n_jobs=jobs)(joblib.delayed(_core.num_threads)() for _ in range(jobs))
    assert counts == [1] * jobs
