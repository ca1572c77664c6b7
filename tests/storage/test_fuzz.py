"""Mutated files, fewer than in `make fuzz`, and the corpus of files that once caused failures.

Repeat a failed case with ``PYTHONPATH=tests python -m support.fuzzing --seed ... --case ...``.
"""

import sys

import pytest

if sys.platform == "win32":
    pytest.skip("needs alarms and limits of memory", allow_module_level=True)

from support.fuzzing import CORPUS, run

SEED = 0
PARTS, CASES = 8, 3000


def test_files_that_did_harm():
    assert not run(SEED, range(len(CORPUS)))


@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_files_work_or_are_refused(part):
    begin = len(CORPUS) + part * CASES
    failures = run(SEED, range(begin, begin + CASES))
    assert not failures, "\n".join(failures)
