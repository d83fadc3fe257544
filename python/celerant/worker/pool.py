"""Slots that run deliveries side by side: threads, each with a child if wanted."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import weakref
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from celerant.common.foreign import traceback_text
from celerant.common.printable import Lines
from celerant.running.trace import Outcome, run_task
from celerant.worker.limits import Limits, TimeLimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.worker.message import Delivery

__all__ = ["Engine", "Pool", "Threads"]

logger = logging.getLogger("celerant.worker")

_UNLIMITED = TimeLimit(None, None)


class Engine(Protocol):
    """What slots run tasks in."""

    #: As ``celery inspect stats`` tells it.
    name: str

    def start(self) -> None:
        """Get ready; raise where that cannot be."""
        ...

    def terminate(self, task_id: str, signal: int) -> bool:
        """End a task that runs, or will at once; say whether that can be done."""
        ...

    def recall(self) -> set[str]:
        """Have what has not begun looked at once more; return the ids of that."""
        ...

    def limit(self, task: str, hard: float | None, soft: float | None) -> bool:
        """Set a task's time limits; return whether they can be kept."""
        ...

    def resize(self, more: int) -> None:
        """Get ready for so many more slots, or fewer."""
        ...

    def restart(self) -> bool:
        """Begin again with new processes; return whether there are any."""
        ...

    def pids(self) -> list[int]:
        """Return the processes that run tasks."""
        ...

    def stop(self) -> None:
        """Release what `start` took, when nothing runs any more."""
        ...

    def kill(self) -> None:
        """Release it although something runs."""
        ...


class Threads:
    """Runs a task in the slot's own thread."""

    name = "threads"

    def __init__(self) -> None:
        self._limits = Limits()
        self._told: set[str] = set()

    def start(self) -> None:
        """Do nothing: the slot is all it takes."""

    def run(self, delivery: Delivery) -> Outcome:
        """Run it here."""
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

    def terminate(self, task_id: str, signal: int) -> bool:  # noqa: ARG002 - no thread can
        """Do nothing: a thread cannot be ended from outside."""
        logger.warning(
            "task %s is not terminated: threads cannot be; use pool='processes'",
            task_id,
        )
        return False

    def recall(self) -> set[str]:
        """Do nothing: a slot begins a task right after it has looked at it."""
        return set()

    def limit(self, task: str, hard: float | None, soft: float | None) -> bool:  # noqa: ARG002 - no thread can
        """Do nothing: a thread cannot be ended from outside."""
        return False

    def resize(self, more: int) -> None:
        """Do nothing: the slots are all it takes."""

    def restart(self) -> bool:
        """Do nothing: a thread has nothing to begin again with."""
        return False

    def pids(self) -> list[int]:
        """Return this process."""
        return [os.getpid()]

    def stop(self) -> None:
        """Do nothing."""

    def kill(self) -> None:
        """Do nothing: a thread cannot be killed."""


class Pool:
    """At most `size` threads that take and execute deliveries until none is left.

    A thread is busy until `take` has nothing more, so a burst costs a wake per slot
    and not one per message. Idle ones wait for a token: an executor's future instead
    costs as much as a no-op task, and lies between a send and its result.
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
        """Execute what `take` gives.

        Args:
            size: How many slots there are.
            take: Returns the next delivery, None where nothing waits.
            execute: Runs one; what it raises is logged.
            waiting: Whether `take` may have something.
            name: Begins the names of the threads.
            rest: Called by a slot that has nothing to run for now.
            part: Called when nothing runs and the interpreter ends.
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
        #: Started when there is first something for them.
        self._threads: list[threading.Thread] = []
        #: True puts a thread to work, False ends all of them, one after the other.
        self._tokens: SimpleQueue[bool] = SimpleQueue()
        _pools.add(self)

    @property
    def is_awaited(self) -> bool:
        """Whether the end of the interpreter waits for what runs."""
        return not self._abandoned and self._pid == os.getpid()

    @property
    def is_stopping(self) -> bool:
        """Whether nothing more is to begin."""
        return self._stopping

    @property
    def busy(self) -> int:
        """How many slots run."""
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
        # The interpreter waits for its task by `_await_all`, unless it was abandoned.
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is going down: what waits stays with the broker.
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
                # For the next one: `dismiss` may not know of all threads, for instance
                # of one whose start Ctrl-C came upon.
                self._tokens.put(False)  # noqa: FBT003 - as `_tokens` says

    def _bury(self, *, had_token: bool) -> None:
        """Have another thread in place of this one, which was ended from outside."""
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
                    logger.error(  # noqa: TRY400 - its text may be code of its own
                        "a slot of the worker failed and goes on%s",
                        Lines(traceback_text(exc)),
                    )
                is_busy = False
                self._leave()
                # Who added between our last `take` and `_leave` saw this slot busy and
                # did not wake another: so look once more.
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
                # Not kept while waiting: arguments and results may be large.
                del delivery
        finally:
            if self._rest is not None:
                self._rest()

    def resize(self, size: int) -> None:
        """Have this many slots; those too many end after what they run."""
        with self._lock:
            self.size = size
        # What waits may run in the new ones.
        if self._waiting():
            self.wake(size)

    def close(self) -> None:
        """Start nothing more; what runs goes on."""
        self._stopping = True

    def join(self) -> None:
        """Wait until nothing runs."""
        self.dismiss()
        for thread in tuple(self._threads):
            thread.join()

    def abandon(self) -> None:
        """Start nothing more and do not wait, at the interpreter's end neither."""
        self._stopping = self._abandoned = True
        self.dismiss()

    def dismiss(self) -> None:
        """End all threads once they have nothing more to do, and wake none."""
        # Without the lock: a forked child comes here too, and finds it as it was.
        self._dismissed = True
        self._tokens.put(False)  # noqa: FBT003 - as `_tokens` says


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _await_all() -> None:
    # Threads of a parent process are not here, and waiting for them would never end.
    pools = [pool for pool in list(_pools) if pool.is_awaited]
    for pool in pools:
        pool.dismiss()
    for pool in pools:
        pool.join()
        if pool.part is not None:
            pool.part()


# As `concurrent.futures` does it: the interpreter waits for the threads at its end, and
# an `atexit` comes too late.
threading._register_atexit(_await_all)  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public one
