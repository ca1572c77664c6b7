"""Time of `import crnn` beyond `import numpy`, alone and with a first layer, in milliseconds.

Each round starts a new process for each program. The result is the median over the rounds of the
difference to NumPy.

    python benchmarks/importing.py [ROUNDS]
"""

import statistics
import subprocess
import sys
import time

NUMPY = "import numpy"
PROGRAMS = {
    "import crnn": f"{NUMPY}; import crnn",
    "first layer": f"{NUMPY}; import crnn; crnn.LSTM(1, 1)",
    "everything": f"{NUMPY}; from crnn import *",
}


def milliseconds(program):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    return 1000 * (time.perf_counter() - start)


def main(rounds):
    programs = {NUMPY: NUMPY, **PROGRAMS}
    for program in programs.values():
        milliseconds(program)  # Python writes its compiled files
    times = [{name: milliseconds(code) for name, code in programs.items()} for _ in range(rounds)]
    print(f"{NUMPY:14} {statistics.median(each[NUMPY] for each in times):6.1f}")
    for name in PROGRAMS:
        beyond = statistics.median(each[name] - each[NUMPY] for each in times)
        print(f"{name:14} {beyond:+6.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
