"""Mutated files: each loads as an object that works, or raises a ValueError that names the file.

    PYTHONPATH=tests python -m support.fuzzing --cases 1000 --seed 7     # or --minutes 60
    PYTHONPATH=tests python -m support.fuzzing --seed 7 --case 123       # one of them again

Cases run in a child process with limited memory. A case fails if it allocates more than
`ALLOWANCE`, crashes, takes more than `SECONDS`, or raises another exception.
A case is a function of the seed and its number alone; run alone, it shows its traceback.
"""

import argparse
import contextlib
import json
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np

from support.corpus import CORPUS
from support.folders import for_programs
from support.mutations import mutate
from support.subjects import SUBJECTS

ALLOWANCE = 96 * 2**20  # bytes of memory in addition to those of the child at its start
SECONDS = 60  # for one case, on a busy machine
BATCH = 2000  # number of cases per child process
PROGRAM = "PYTHONPATH=tests python -m support.fuzzing"


# ----------------------------------------------------------------------------------------- one case


def case_of(seed, number):
    """The name, the subject and the file of a case, and whether it must be refused; None: it may.

    The first are those of the corpus, whatever the seed is.
    """
    if number < len(CORPUS):
        return CORPUS[number]
    rng = np.random.default_rng([seed, number])
    name = sorted(SUBJECTS)[rng.integers(len(SUBJECTS))]
    other = sorted(SUBJECTS)[rng.integers(len(SUBJECTS))]
    content = mutate(rng, SUBJECTS[name].content, SUBJECTS[other].content)
    return name, SUBJECTS[name], content, None


def try_file(subject, content, refused, folder):
    """Load a file; return None if the outcome is correct, otherwise an exception."""
    path = Path(folder, subject.place)
    path.write_bytes(content)
    try:
        loaded = subject.load(path)
    except ValueError as error:
        right = refused is not False and str(path) in str(error) and not ran_out_of_memory(error)
        return None if right else error
    except Exception as error:
        return error
    if refused:
        return AssertionError(f"expected to be refused, got {loaded!r:.200}")
    try:
        subject.use(loaded)
    except Exception as error:
        return error
    return None


def ran_out_of_memory(error):
    """Return whether a MemoryError caused an exception."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def limit_memory():
    """Limit the memory of this process to `ALLOWANCE` more than now, on systems that support it."""
    if not Path("/proc/self/statm").exists():
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + ALLOWANCE
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def child(seed, numbers):
    """Run cases; print a line when a case begins, and one when it fails."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for subject in SUBJECTS.values():  # allocate memory that is kept
            assert try_file(subject, subject.content, False, folder) is None
        limit_memory()
        for number in numbers:
            print(json.dumps({"begins": number}), flush=True)
            name, *case = case_of(seed, number)
            signal.alarm(SECONDS)
            error = try_file(*case, folder)
            signal.alarm(0)
            if error is not None:
                text = "".join(traceback.format_exception(error))
                print(json.dumps({"fails": number, "subject": name, "why": text}), flush=True)


# ------------------------------------------------------------------------------------- many of them


def run(seed, numbers):
    """Run cases in a child process; return the failures as texts."""
    command = [sys.executable, "-m", "support.fuzzing", "--seed", str(seed), "--child"]
    command += [str(numbers.start), str(numbers.stop)]
    one_thread = {"CRNN_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        env=for_programs(**one_thread),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    again = f"{PROGRAM} --seed {seed} --case"
    failures = [
        f"{line['subject']}: {again} {line['fails']}\n{line['why']}"
        for line in lines
        if "fails" in line
    ]
    if done.returncode:
        begun = [line["begins"] for line in lines if "begins" in line]
        what = f"{again} {begun[-1]}" if begun else "before the first case"
        failures.append(f"exit code {done.returncode}: {what}\n{done.stderr[-4000:]}")
    return failures


def main():
    parser = argparse.ArgumentParser(description="Load mutated files.")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--cases", type=int, default=None, help="how many")
    parser.add_argument("--minutes", type=float, default=60.0, help="go on for so long (60)")
    parser.add_argument("--case", type=int, default=None, help="this one alone, in this process")
    parser.add_argument("--child", type=int, nargs=2, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    seed = secrets.randbits(32) if given.seed is None else given.seed
    if given.child is not None:
        child(seed, range(*given.child))
        return 0
    if given.case is not None:
        return one(seed, given.case)
    return many(seed, given.cases, given.minutes)


def one(seed, number):
    """Run a case in this process, and keep its file."""
    name, *case = case_of(seed, number)
    kept = Path(tempfile.mkdtemp(), "file.npz")
    print(f"{name}: {kept}")
    error = try_file(*case, kept.parent)
    if error is not None:
        traceback.print_exception(error)
    return error is not None


def many(seed, cases, minutes):
    """Run batches of cases until all are done, or the minutes are over."""
    begun, number, failed = time.monotonic(), 0, 0
    print(f"seed {seed}", flush=True)
    while number < cases if cases is not None else time.monotonic() - begun < 60 * minutes:
        end = number + BATCH if cases is None else min(number + BATCH, cases)
        failures = run(seed, range(number, end))
        for failure in failures:
            print(failure, flush=True)
        number, failed = end, failed + len(failures)
        print(f"{number} cases, {failed} failures", flush=True)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
