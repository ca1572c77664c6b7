"""Signals sent to the process reach the program, never the threads of the core."""

import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "pthread_sigmask"), reason="the system has no masks of signals"
)

NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD")

PROGRAM = f"""
import os, signal
import numpy as np
import crnn

sent = {{getattr(signal, name) for name in {NAMES}}}

def train():
    crnn.set_num_threads(4)
    layer = crnn.LSTM(64, 128, seed=0)
    y, _, tape = layer.forward(np.ones((16, 20, 64), "float32"))
    layer.backward(tape, y)

def block():
    signal.pthread_sigmask(signal.SIG_BLOCK, sent)

def wait():
    for number in sent:
        os.kill(os.getpid(), number)  # reaches any thread that does not block it
        assert signal.sigwait([number]) == number
"""


def run(program):
    """Run a program that has no threads but its main thread and those of the core."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM + program],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    "order", ["block(); train()", "train(); block()", "train(); block(); train()"]
)
def test_a_program_waits_for_signals(order):
    """Threads of the core that start before and after the program blocks the signals."""
    done = run(f"{order}; wait()")
    assert done.returncode == 0, done.stderr


def test_the_mask_of_the_caller_stays():
    done = run(
        "mask = {signal.SIGUSR1, signal.SIGSEGV}\n"
        "signal.pthread_sigmask(signal.SIG_SETMASK, mask)\n"
        "train()\n"
        "assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask\n"
    )
    assert done.returncode == 0, done.stderr
