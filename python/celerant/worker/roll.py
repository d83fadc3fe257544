"""What a worker runs, has run, and shall not run."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from celerant._core import monotonic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from celerant.context.request import Request

__all__ = ["Revocations", "Roll", "bears", "described"]

#: How many ids are remembered, and for how many seconds: Celery's numbers.
_MOST_REVOKED, _REVOKED_FOR = 50_000, 10_800.0


class Revocations:
    """The ids and stamps of tasks that must not run; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Until when each is remembered (`monotonic`), the oldest first.
        self._ids: dict[str, float] = {}
        self._stamps: dict[str, set[Any]] = {}

    def add(self, ids: Iterable[str]) -> None:
        """Remember ids, at the cost of the oldest ones if need be."""
        until = monotonic() + _REVOKED_FOR
        with self._lock:
            for task_id in ids:
                self._ids.pop(task_id, None)
                self._ids[task_id] = until
            for task_id in list(self._ids)[: max(0, len(self._ids) - _MOST_REVOKED)]:
                del self._ids[task_id]

    def add_stamps(self, stamps: Mapping[str, Iterable[Any]]) -> None:
        """Remember values of stamped headers."""
        with self._lock:
            for name, values in stamps.items():
                # A new set: others look without the lock.
                self._stamps[name] = self._stamps.get(name, set()) | set(values)

    def ids(self) -> list[str]:
        """Return the ids that are remembered."""
        now = monotonic()
        with self._lock:
            return [task_id for task_id, until in self._ids.items() if until > now]

    def cover(self, request: Request) -> bool:
        """Whether `request` must not run."""
        if self._ids:
            until = self._ids.get(request.id)
            if until is not None and until > monotonic():
                return True
        return bool(self._stamps) and bears(request, self._stamps)


def bears(request: Request, stamps: Mapping[str, set[Any]]) -> bool:
    """Whether one of the request's stamps has one of these values."""
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


class Roll:
    """What runs now, and how much has run; safe between threads.

    No slot takes a lock for a run: where tasks are short and slots many, they would
    wait for each other at it, and hand the interpreter over each time.
    """

    def __init__(self) -> None:
        self.revoked = Revocations()
        #: By identity: a redelivered task may run twice at a time.
        self._active: dict[int, tuple[Request, float]] = {}
        self._tallies: list[Counter[str]] = []
        self._own = _OwnTally(self._tallies)

    def begin(self, request: Request) -> None:
        """Note that a run begins."""
        self._active[id(request)] = (request, time.time())
        self._own.tally[request.task] += 1

    def end(self, request: Request) -> None:
        """Note that it has ended."""
        self._active.pop(id(request), None)

    def withdraw(self, request: Request) -> None:
        """Note that it did not begin after all; for the thread that noted it."""
        self._active.pop(id(request), None)
        self._own.tally[request.task] -= 1

    def active(self) -> list[tuple[Request, float]]:
        """Return what runs, and since when (`time.time`)."""
        return list(self._active.copy().values())

    def total(self) -> dict[str, int]:
        """Return how many runs have begun, by the task's name."""
        total: Counter[str] = Counter()
        for tally in tuple(self._tallies):
            total.update(tally.copy())
        return dict(total)


class _OwnTally(threading.local):
    """A slot's own count of runs by task, among those of all slots."""

    def __init__(self, tallies: list[Counter[str]]) -> None:
        self.tally: Counter[str] = Counter()
        tallies.append(self.tally)


def described(
    request: Request, since: float | None = None, *, safe: bool = False
) -> dict[str, Any]:
    """Return what Celery's ``Request.info`` says of a task.

    Args:
        request: Of the task.
        since: When it began (`time.time`), if it has.
        safe: Whether arguments are given as text.
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
