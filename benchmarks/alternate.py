"""Compare the kernels of two builds of the core, alternately, on one CPU core.

    python benchmarks/alternate.py OLD NEW [rounds]

OLD and NEW are benchmark programs. `make -C csrc bench` builds csrc/build/bench; copy that of the
earlier commit. In each round both run `kernels`, so that other load on the machine affects both.
The result is the minimum time of each kernel.
"""

import subprocess
import sys


def times(program: str) -> dict[str, float]:
    """Return the microseconds of each kernel, by its name."""
    lines = subprocess.check_output([program, "kernels"], text=True).splitlines()
    fields = (line.rsplit(maxsplit=2) for line in lines)
    return {name: float(value) for name, value, _ in fields}


def main(old: str, new: str, rounds: str = "5") -> None:
    """Print one line for each kernel: both times, and the old time divided by the new one."""
    best: list[dict[str, float]] = [{}, {}]
    for _ in range(int(rounds)):
        for result, program in zip(best, (old, new), strict=True):
            for name, value in times(program).items():
                result[name] = min(value, result.get(name, value))
    for name, before in best[0].items():
        after = best[1][name]
        print(f"{name:44} {before:10.2f} {after:10.2f} us {before / after:7.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
