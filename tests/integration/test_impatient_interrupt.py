"""Ctrl-C twice ends a program with a worker in it, children too."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from harness.logged_process import LoggedProcess
from harness.until import until

_TASKS = """
import os
import threading
from celerant import Celerant

app = Celerant("impatient", broker="memory://", backend="memory://")

@app.task
def wait():
    # One write: of two prints at once one line can be made.
    os.write(1, b"runs in %d\\n" % os.getpid())
    threading.Event().wait(60)
"""

_PROGRAM = """
import logging
import signal
import sys
from impatient import app, wait

if __name__ == "__main__":
    # As from a terminal: a shell starts background jobs without it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.basicConfig(level="INFO")
    with app.worker(concurrency=2, pool=sys.argv[1]):
        results = [wait.delay() for _ in range(2)]
        results[0].get()
"""


def is_gone(pid):
    """Whether a process has ended, even if its exit code was not asked for yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


@pytest.mark.timeout(90)
@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_second_interrupt_ends_a_program_with_a_worker(tmp_path, pool):
    (tmp_path / "impatient.py").write_text(_TASKS)
    (tmp_path / "program.py").write_text(_PROGRAM)
    program = LoggedProcess(
        [sys.executable, "program.py", pool],
        is_ready=lambda line: "runs in" in line,
        folder=tmp_path,
        environment={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with program:
        until(lambda: sum("runs in" in line for line in program.log) == 2, 30)
        running = {int(line.split()[-1]) for line in program.log if "runs in" in line}
        program.process.send_signal(signal.SIGINT)
        until(lambda: any("one more interrupt" in line for line in program.log))
        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(20) == -signal.SIGINT
        until(lambda: all(map(is_gone, running)))
    assert any("stops at once" in line for line in program.log)
