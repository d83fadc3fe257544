"""A process that is stopped for a while, as on a machine that hangs."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from harness.until import until

__all__ = ["freeze"]


def freeze(pid: int) -> None:
    """Stop a process, and wait until all of its threads have stopped."""
    os.kill(pid, signal.SIGSTOP)
    if Path("/proc/self/task").exists():
        until(lambda: _states(pid) == {"T"})


def _states(pid: int) -> set[str]:
    states = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            # The name of a program may have spaces and brackets.
            states.add((task / "stat").read_text().rpartition(")")[2].split()[0])
    return states
