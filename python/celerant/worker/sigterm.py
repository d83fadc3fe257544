"""SIGTERM in a child process: it ends the child only if the parent means it.

A supervisor may send SIGTERM to all processes of a worker. The parent then waits for
the running tasks, so their processes must outlive the signal.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.context import SpawnContext

__all__ = ["GRACE", "MeantEnd"]

#: Seconds in which a child notices that it is meant. Only a task that holds the
#: interpreter for all that time keeps it from that.
GRACE = 1.0


class MeantEnd:
    """Shared by a child and its parent, which says so before it sends SIGTERM."""

    def __init__(self, context: SpawnContext) -> None:
        self._meant: Any = context.Semaphore(0)
        self._is_noticed: Any = context.RawValue("B", 0)

    def mean(self) -> None:
        """Say in the parent that the next SIGTERM ends the child."""
        self._meant.release()

    @property
    def is_noticed(self) -> bool:
        """Whether the child has seen it, and the task handles the signal itself."""
        return bool(self._is_noticed.value)

    def listen(self) -> None:
        """Let this child outlive any other SIGTERM; called in its main thread."""
        # A handler, because programs that the task starts would inherit an ignored
        # signal.
        signal.signal(signal.SIGTERM, _pass_over)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_end_as_usual)
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        # A thread, because a handler does not run while the main thread waits in C.
        while self._meant.acquire():
            if signal.getsignal(signal.SIGTERM) is _pass_over:
                os.kill(os.getpid(), signal.SIGKILL)
            # The task has a handler of its own.
            self._is_noticed.value = 1


def _pass_over(_number: int, _frame: Any) -> None:
    pass


def _end_as_usual() -> None:
    """Let a process that a task forks be ended as any other."""
    if signal.getsignal(signal.SIGTERM) is _pass_over:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
