"""The slots of a worker: threads that run deliveries side by side."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import weakref
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from celerant.common.foreign import traceback_text
from celerant.common.printable import Lines
from celerant.running.trace import Outcome, run_task
from celerant.worker.time_limits import TimeLimit, TimeLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.worker.message import Delivery

__all__ = ["Engine", "Pool", "Threads"]

logger = logging.getLogger("celerant.worker")

_UNLIMITED = TimeLimit(None, None)


class Engine:
    """Runs the tasks of slots: in their threads, or in child processes.

    The methods here do nothing, as slots that are threads need; subclasses override
    them.
    """

    #: Its name in ``celery inspect stats``.
    name: str

    def start(self) -> None:
        """Get ready to run tasks, or raise."""

    def terminate(self, task_id: str, signal: int) -> bool:  # noqa: ARG002 - subclasses use it
        """End a task that runs or is about to; return whether that is possible."""
        return False

    def recall(self) -> set[str]:
        """Let tasks that have not begun be checked again; return their ids."""
        return set()

    def limit(self, task: str, hard: float | None, soft: float | None) -> bool:  # noqa: ARG002 - subclasses use it
        """Set a task's time limits in seconds; return whether they can be kept."""
        return False

    def resize(self, more: int) -> None:
        """Get ready for `more` slots more, or for fewer if it is negative."""

    def restart(self) -> bool:
        """Replace the processes; return whether there are any."""
        return False

    def pids(self) -> list[int]:
        """Return the processes that run tasks."""
        return [os.getpid()]

    def stop(self) -> None:
        """Release the resources of `start`; called once no task runs."""

    def kill(self) -> None:
        """Release them although tasks may run."""


class Threads(Engine):
    """Runs tasks in the slots' own threads, which cannot be ended from outside."""

    name = "threads"

    def __init__(self) -> None:
        self._limits = TimeLimits()
        self._told: set[str] = set()

    def run(self, delivery: Delivery) -> Outcome:
        """Run a delivery's task in the calling thread."""
        if self._limits.of(delivery) != _UNLIMITED:
            self._tell(delivery.request.task)
        return run_task(delivery.task, delivery.request)

    def _tell(self, task: str) -> None:
        if task not in self._told:
            self._told.add(task)
            logger.warning(
                "task %s has a time limit, which threads cannot keep; use "
                "pool='processes'",
                task,
            )

    def terminate(self, task_id: str, signal: int) -> bool:  # noqa: ARG002 - see the class
        """Log that this is not possible."""
        logger.warning(
            "task %s is not terminated: threads cannot be; use pool='processes'",
            task_id,
        )
        return False


class Pool:
    """At most `size` threads, the slots, that take and execute deliveries.

    A slot is busy until `take` has no more, so a burst costs one wake for each slot and
    not one for each message. Idle slots wait for a token. An executor would cost a
    future for each message, which takes as long as a task that does nothing.
    """

    def __init__(  # noqa: PLR0913 - what the worker joins here
        self,
        size: int,
        take: Callable[[], Delivery | None],
        execute: Callable[[Delivery], Any],
        *,
        waiting: Callable[[], bool],
        name: str,
        rest: Callable[[], None] | None = None,
        part: Callable[[], None] | None = None,
    ) -> None:
        """Execute the deliveries that `take` returns.

        Args:
            size: How many slots there are.
            take: Returns the next delivery; None if none waits.
            execute: Runs a delivery; its errors are logged.
            waiting: Whether `take` may have a delivery.
            name: Begins the names of the threads.
            rest: Called by a slot that has no more to run for now.
            part: Called when the interpreter ends and no task runs.
        """
        self.size = size
        self._take = take
        self._execute = execute
        self._waiting = waiting
        self._rest = rest
        self.part = part
        self._name = name
        self._lock = threading.Lock()
        self._busy = 0
        self._stopping = False
        self._dismissed = False
        self._abandoned = False
        self._pid = os.getpid()
        self._numbers = itertools.count()
        #: Each is started when it is first needed.
        self._threads: list[threading.Thread] = []
        #: True puts one thread to work; False ends all, each passing it on.
        self._tokens: SimpleQueue[bool] = SimpleQueue()
        _pools.add(self)

    @property
    def is_awaited(self) -> bool:
        """Whether the end of the interpreter waits for running tasks."""
        return not self._abandoned and self._pid == os.getpid()

    @property
    def is_stopping(self) -> bool:
        """Whether no more tasks begin."""
        return self._stopping

    @property
    def busy(self) -> int:
        """How many slots are busy."""
        return self._busy

    def wake(self, waiting: int) -> None:
        """Put idle slots to work for `waiting` more deliveries."""
        while waiting > 0 and not self._dismissed and self._enter():
            self._tokens.put(True)  # noqa: FBT003 - as `_tokens` says
            waiting -= 1

    def _enter(self) -> bool:
        with self._lock:
            if self._stopping or self._busy >= self.size:
                return False
            if self._busy >= len(self._threads) and not self._start_thread():
                return False
            self._busy += 1
            return True

    def _start_thread(self) -> bool:
        name = f"{self._name}_{next(self._numbers)}"
        # Its end is awaited by `_await_all`, unless the pool was abandoned.
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is ending; waiting messages stay with the broker.
            self._stopping = True
            return False
        self._threads.append(thread)
        return True

    def _leave(self) -> None:
        with self._lock:
            self._busy -= 1

    def _run(self) -> None:
        drains = is_told = False
        try:
            while self._tokens.get():
                drains = True
                self._drain()
                drains = False
            is_told = True
        finally:
            if not is_told:
                self._bury(had_token=not drains)
            if is_told or self._dismissed:
                # For the next thread: `dismiss` may not know all of them, for instance
                # if Ctrl-C interrupted the start of one.
                self._tokens.put(False)  # noqa: FBT003 - as `_tokens` says

    def _bury(self, *, had_token: bool) -> None:
        """Replace this thread, which was ended from outside."""
        logger.error("a thread of the worker was ended; another takes its place")
        with self._lock:
            self._threads.remove(threading.current_thread())
        if had_token and not self._dismissed:
            self._leave()
        if self._waiting():
            self.wake(1)

    def _drain(self) -> None:
        is_busy = True
        try:
            while True:
                try:
                    self._execute_all()
                except BaseException as exc:  # noqa: BLE001 - a slot outlives its tasks
                    logger.error(  # noqa: TRY400 - the text may run the exception's own code
                        "a slot of the worker failed and goes on%s",
                        Lines(traceback_text(exc)),
                    )
                is_busy = False
                self._leave()
                # A delivery that came between our last `take` and `_leave` found this
                # slot busy and woke no other, so check again.
                if self._stopping or not self._waiting() or not self._enter():
                    return
                is_busy = True
        finally:
            if is_busy:
                self._leave()

    def _execute_all(self) -> None:
        try:
            while not self._stopping and self._busy <= self.size:
                delivery = self._take()
                if delivery is None:
                    break
                self._execute(delivery)
                # Not kept while this slot waits: arguments and results may be large.
                del delivery
        finally:
            if self._rest is not None:
                self._rest()

    def resize(self, size: int) -> None:
        """Have this many slots; surplus ones end after their running tasks."""
        with self._lock:
            self.size = size
        if self._waiting():
            self.wake(size)

    def close(self) -> None:
        """Start no more deliveries; running ones go on."""
        self._stopping = True

    def join(self) -> None:
        """Wait until no delivery runs."""
        self.dismiss()
        for thread in tuple(self._threads):
            thread.join()

    def abandon(self) -> None:
        """Start no more, and do not wait for running ones at the interpreter's end."""
        self._stopping = self._abandoned = True
        self.dismiss()

    def dismiss(self) -> None:
        """End all threads once they are idle, and wake none."""
        # Without the lock, because a forked child calls this too, and another thread
        # may have held the lock at the fork.
        self._dismissed = True
        self._tokens.put(False)  # noqa: FBT003 - as `_tokens` says


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _await_all() -> None:
    # A forked child has none of its parent's threads and must not wait for them.
    pools = [pool for pool in list(_pools) if pool.is_awaited]
    for pool in pools:
        pool.dismiss()
    for pool in pools:
        pool.join()
        if pool.part is not None:
            pool.part()


# As `concurrent.futures` does: the interpreter calls this before it waits for threads,
# whereas `atexit` comes later.
threading._register_atexit(_await_all)  # type: ignore[attr-defined]  # noqa: SLF001 - Python has no public one
