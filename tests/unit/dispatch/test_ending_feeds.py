"""A program may end while a group is fed from a source that takes its time."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import queue, signal, sys, threading, time
from celerant import Celerant, group

app, began, never = Celerant("ending"), threading.Event(), queue.Queue()

@app.task
def same(x):
    return x

def slow():
    for number in range(100_000):
        began.set()
        # Each member takes its time, as one read from a database.
        time.sleep(0.01)
        yield same.s(number)

def stuck():
    yield same.s(0)
    began.set()
    never.get()

with app.worker(concurrency=1):
    result = group({source}()).apply_async(window=100)
    began.wait()
{end}
"""

ENDS = {
    "its end": ("pass", 0),
    "an exit": ("sys.exit(3)", 3),
    "an error": ("raise ValueError", 1),
    "Ctrl-C": ("signal.raise_signal(signal.SIGINT)", -2),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("source", ["slow", "stuck"])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.skipif(sys.platform == "win32", reason="its exit codes are others")
def test_a_program_ends_as_it_is_told(source, end):
    line, code = ENDS[end]
    program = PROGRAM.format(source=source, end=line)
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.returncode == code, ran.stderr
    assert "Fatal Python error" not in ran.stderr
