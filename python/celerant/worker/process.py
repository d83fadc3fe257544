"""One child process of the pool, and its successors."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

from celerant.common.receivers import tell
from celerant.worker.child import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ChildProcess"]


class ChildProcess:
    """An executor of one spawned process; `replace` makes a new one."""

    def __init__(
        self, modules: Sequence[str], set_up: Callable[[], None] | None = None
    ) -> None:
        """Start nothing yet: the first `submit` does.

        Args:
            modules: What a child imports before its first task.
            set_up: What it calls before that.
        """
        self._set_up = set_up
        self._modules = tuple(modules)
        self._executor = self._new()
        self._pid: Future[int] | None = None
        #: How many tasks it has run.
        self.served = 0
        #: Whether somebody has sent it a signal to end its task.
        self.terminated = False
        #: Whether it is to be replaced before another task.
        self.is_worn = False

    def _new(self) -> ProcessPoolExecutor:
        tell("worker_before_create_process", self)
        # One process each: where an executor breaks, all its tasks fail with it and
        # none can be blamed. Spawned, for a fork would share sockets and locks.
        return ProcessPoolExecutor(
            1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=prepare,
            initargs=(self._modules, self._set_up),
        )

    @property
    def pid(self) -> int | None:
        """Its process, once that is ready for tasks."""
        told = self._pid
        if told is None or not told.done() or told.cancelled() or told.exception():
            return None
        return told.result()

    def start(self) -> Future[int]:
        """Start the process; the future holds its id once it is ready."""
        if self._pid is None:
            self._pid = self._executor.submit(os.getpid)
        return self._pid

    def submit(self, function: Any, *args: Any) -> Future[Any]:
        """Call a function there."""
        return self._executor.submit(function, *args)

    def replace(self) -> None:
        """Begin again with a new process; the old one ends after its task."""
        self._executor.shutdown(wait=False)
        self._executor, self._pid = self._new(), None
        self.served, self.terminated, self.is_worn = 0, False, False
        # So that it imports its modules before the next task wants them.
        self.start()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self, *, wait: bool = True) -> None:
        """Let it end by itself."""
        self._executor.shutdown(wait=wait)

    def kill(self) -> None:
        """End it at once."""
        # Also one that is not ready yet; Python has a public way from 3.14 on.
        for process in list((self._executor._processes or {}).values()):  # noqa: SLF001 - as above
            process.kill()
        self._executor.shutdown(wait=False, cancel_futures=True)
