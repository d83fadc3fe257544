"""The tasks that a worker runs, has run, and must not run."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from kombu.clocks import LamportClock

from celerant._core import monotonic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from celerant.context.request import Request

__all__ = ["Revocations", "WorkerState", "bears", "described"]

#: The most revoked ids, and the seconds for which each is remembered: Celery's numbers.
_MOST_REVOKED, _REVOKED_FOR = 50_000, 10_800.0


class Revocations:
    """The ids and stamps of tasks that must not run; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: The time until which each id is remembered (`monotonic`), the oldest first.
        self._ids: dict[str, float] = {}
        self._stamps: dict[str, set[Any]] = {}

    def add(self, ids: Iterable[str]) -> None:
        """Revoke ids; if there are too many, the oldest are forgotten."""
        until = monotonic() + _REVOKED_FOR
        with self._lock:
            for task_id in ids:
                self._ids.pop(task_id, None)
                self._ids[task_id] = until
            for task_id in list(self._ids)[: max(0, len(self._ids) - _MOST_REVOKED)]:
                del self._ids[task_id]

    def add_stamps(self, stamps: Mapping[str, Iterable[Any]]) -> None:
        """Revoke all tasks with one of these values of a stamp."""
        with self._lock:
            for name, values in stamps.items():
                # A new set, because `cover` reads without the lock.
                self._stamps[name] = self._stamps.get(name, set()) | set(values)

    def ids(self) -> list[str]:
        """Return the revoked ids."""
        now = monotonic()
        with self._lock:
            return [task_id for task_id, until in self._ids.items() if until > now]

    def cover(self, request: Request) -> bool:
        """Whether the task of `request` is revoked."""
        if self._ids:
            until = self._ids.get(request.id)
            if until is not None and until > monotonic():
                return True
        return bool(self._stamps) and bears(request, self._stamps)


def bears(request: Request, stamps: Mapping[str, set[Any]]) -> bool:
    """Whether a stamp of the request has one of the given values."""
    for name in request.stamped_headers or ():
        value = request.stamps.get(name)
        values = value if isinstance(value, (list, tuple)) else (value,)
        wanted = stamps.get(name, ())
        if any(_hashable(v) and v in wanted for v in values if v is not None):
            return True
    return False


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


class WorkerState:
    """The running tasks, counts of all that have begun, and the revoked ones.

    Safe between threads. A run takes no lock: if tasks are short and slots are many,
    the slots would wait for each other and hand the interpreter over each time.
    """

    def __init__(self) -> None:
        self.revoked = Revocations()
        #: Puts the events of all workers in order: it is set by what others tell.
        self.clock = LamportClock()
        #: Running requests, with the times at which they began. The keys are the
        #: requests' identities, because a redelivered task may run twice at a time.
        self._active: dict[int, tuple[Request, float]] = {}
        self._tallies: list[Counter[str]] = []
        self._own = _OwnTally(self._tallies)

    def begin(self, request: Request) -> None:
        """Note that a run begins."""
        self._active[id(request)] = (request, time.time())
        self._own.tally[request.task] += 1

    def end(self, request: Request) -> None:
        """Note that a run has ended."""
        self._active.pop(id(request), None)

    def withdraw(self, request: Request) -> None:
        """Note that a run does not begin after all; called in the thread of `begin`."""
        self._active.pop(id(request), None)
        self._own.tally[request.task] -= 1

    def active(self) -> list[tuple[Request, float]]:
        """Return the running requests, with the times (`time.time`) of their begin."""
        return list(self._active.copy().values())

    @property
    def running(self) -> int:
        """How many tasks run."""
        return len(self._active)

    def total(self) -> dict[str, int]:
        """Return how many runs have begun, by the tasks' names."""
        total: Counter[str] = Counter()
        for tally in tuple(self._tallies):
            total.update(tally.copy())
        return dict(total)


class _OwnTally(threading.local):
    """The calling thread's own counts, which are also in the list of all."""

    def __init__(self, tallies: list[Counter[str]]) -> None:
        self.tally: Counter[str] = Counter()
        tallies.append(self.tally)


def described(
    request: Request, since: float | None = None, *, safe: bool = False
) -> dict[str, Any]:
    """Return a description of a task, as of Celery's ``Request.info``.

    Args:
        request: The task's request.
        since: The time (`time.time`) at which it began; None if it has not.
        safe: Whether the arguments are given as text.
    """
    args, kwargs = request.args, request.kwargs
    return {
        "id": request.id,
        "name": request.shadow or request.task,
        "args": repr(tuple(args)) if safe else args,
        "kwargs": repr(kwargs) if safe else kwargs,
        "type": request.task,
        "hostname": request.hostname,
        "time_start": since,
        "acknowledged": since is not None,
        "delivery_info": request.delivery_info,
        "worker_pid": os.getpid() if since is not None else None,
    }
