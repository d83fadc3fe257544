"""Celery's `GroupResult` whose members are made when they are looked at."""

from __future__ import annotations

import itertools
import logging
import time
import weakref
from collections.abc import Iterator
from typing import Any

from celery import states
from celery.backends.redis import RedisBackend
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult, GroupResult
from vine import barrier, promise

from celerant._core import Roster, monotonic
from celerant.celery.bulk import (
    AT_ONCE,
    Reader,
    UnreadError,
    are_replies,
    reader_of,
    receive,
)
from celerant.celery.member_tasks import MemberChain, MemberTask

__all__ = ["Segment", "group_result", "late_result"]

logger = logging.getLogger("celerant")

#: Seconds between two sweeps: at first, and as a share of a sweep's own time.
_PAUSE, _PAUSE_PER_SWEEP = 0.01, 2.0
#: The factor by which pauses grow while no result comes.
_PAUSE_GROWS_BY = 1.5


class Segment:
    """Members that were sent together: their ids and tasks.

    Args:
        roster: Their ids.
        tasks: The task or chain of each.
        backend: The backend of their results; None: the app's own.
    """

    __slots__ = ("_backend", "_roster", "_tasks")

    def __init__(
        self, roster: Roster, tasks: list[MemberTask | MemberChain], backend: Any = None
    ) -> None:
        self._roster = roster
        self._backend = backend
        # Most groups have one task: one reference instead of one per member.
        first = tasks[0]
        same = all(task is first for task in tasks)
        self._tasks: MemberTask | MemberChain | list[MemberTask | MemberChain] = (
            first if same else tasks
        )

    def __len__(self) -> int:
        return len(self._roster)

    def ids(self) -> list[str]:
        """Return the members' ids."""
        return self._roster.ids(0, len(self._roster))

    def results(self) -> list[Any]:
        """Make the members' results."""
        made = self._made()
        if self._backend is not None:
            for result in made:
                while result is not None:
                    result.backend = self._backend
                    result = result.parent  # noqa: PLW2901 - the result before it
        return made

    def _made(self) -> list[Any]:
        tasks = self._tasks
        if isinstance(tasks, MemberTask):
            return [tasks.result(task_id) for task_id in self.ids()]
        several = tasks if isinstance(tasks, list) else itertools.repeat(tasks)
        return [
            task.result(task_id)
            if isinstance(task, MemberTask)
            else task.result(self._roster.form(index))
            for (index, task_id), task in zip(
                enumerate(self.ids()), several, strict=False
            )
        ]


def group_result(app: Any, group_id: str, segments: list[Segment | list[Any]]) -> Any:
    """Return the result of a group.

    Args:
        app: The Celery app.
        group_id: The group's.
        segments: Its members in order: sent together, or their results.
    Returns:
        A `celery.result.GroupResult` of the app. If the only member is a group, it is
        that group's result, as with `group.apply_async`.
    """
    if any(isinstance(segment, Segment) for segment in segments):
        return late_result(app, group_id, *segments)
    results: list[Any] = list(itertools.chain.from_iterable(segments))  # type: ignore[arg-type] # no `Segment`
    ready = barrier()
    for found in results:
        ready.size += 1
        found.then(ready, weak=True)
    whole = app.GroupResult(group_id, results, ready_barrier=ready)
    ready.finalize()
    if len(results) == 1 and isinstance(results[0], GroupResult):
        return results[0]
    return whole


def late_result(app: Any, group_id: str, *segments: Segment | list[Any]) -> Any:
    """Return the result of a group that subscribes to its members only if needed.

    Args:
        app: The Celery app.
        group_id: The group's.
        *segments: As in `group_result`.
    """
    return _lazy_class(app)(group_id, list(segments))


def _lazy_class(app: Any) -> Any:
    # Only its instances keep it: an app is freed when its user drops it, and no class
    # of Celery's gets another attribute.
    own = app.GroupResult
    bases = (_LazyGroupResult, own)
    for found in own.__subclasses__():
        if found.__bases__ == bases:
            return found
    return type(own.__name__, bases, {"__module__": own.__module__})


class _LazyGroupResult:
    """The part of a `GroupResult` that makes its members late.

    While only this class's own methods look, nothing is subscribed. A method that needs
    Celery's barrier (`then`, `add`, a parent's barrier) makes it, and after that all is
    as in Celery.
    """

    app: Any
    backend: Any
    supports_native_join: Any
    _on_ready: Any

    def __init__(self, group_id: str, segments: list[Segment | list[Any]]) -> None:
        self.id = group_id
        self.parent: Any = None
        self._segments = segments
        self._made: list[Any] | None = None
        self._barrier: Any = None
        self._promise: Any = None

    # -- members -------------------------------------------------------------------

    @property
    def results(self) -> list[Any]:
        """The members' results; made at the first look."""
        if self._made is None:
            made: list[Any] = []
            for segment in self._segments:
                made += segment.results() if isinstance(segment, Segment) else segment
            self._made, self._segments = made, []
        return self._made

    @results.setter
    def results(self, results: list[Any]) -> None:
        self._made, self._segments = results, []

    def __len__(self) -> int:
        if self._made is not None:
            return len(self._made)
        return sum(len(segment) for segment in self._segments)

    # -- Celery's barrier ------------------------------------------------------------

    @property
    def _on_full(self) -> Any:
        self._arm()
        return self._barrier

    @_on_full.setter
    def _on_full(self, value: Any) -> None:
        self._barrier = value

    @property
    def on_ready(self) -> Any:
        """Celery's promise of the whole group."""
        self._arm()
        return self._promise

    @on_ready.setter
    def on_ready(self, value: Any) -> None:
        self._promise = value

    def _arm(self) -> None:
        """Wait for every member as `group.apply_async` of Celery does."""
        if self._barrier is not None:
            return
        ready = self._barrier = barrier()
        for found in self.results:
            ready.size += 1
            found.then(ready, weak=True)
        # `ResultSet` does the same when it is made with a barrier.
        self._promise = promise(args=(weakref.proxy(self),))
        ready.then(promise(self._on_ready, weak=True))
        ready.finalize()

    # -- looking -----------------------------------------------------------------------

    def ready(self) -> bool:
        """See `celery.result.ResultSet.ready`; one bulk read."""
        pending = self._look()
        return bool(self._celery("ready")) if pending is None else not pending

    def waiting(self) -> bool:
        """See `celery.result.ResultSet.waiting`; one bulk read."""
        pending = self._look()
        return bool(self._celery("waiting") if pending is None else pending)

    def successful(self) -> bool:
        """See `celery.result.ResultSet.successful`; one bulk read."""
        pending = self._look()
        if pending is None:
            return bool(self._celery("successful"))
        return not pending and self._count(states.SUCCESS) == len(self)

    def failed(self) -> bool:
        """See `celery.result.ResultSet.failed`; one bulk read."""
        if self._look() is None:
            return bool(self._celery("failed"))
        return self._count(states.FAILURE) > 0

    def completed_count(self) -> int:
        """See `celery.result.ResultSet.completed_count`; one bulk read."""
        if self._look() is None:
            return int(self._celery("completed_count"))
        return self._count(states.SUCCESS)

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,  # noqa: FBT001, FBT002 - as Celery's
        on_message: Any = None,
        on_interval: Any = None,
    ) -> Iterator[tuple[str, Any]]:
        """See `celery.result.ResultSet.iter_native`; bulk reads, no subscriptions.

        `interval` is the longest pause between two reads.
        """
        read = self._reader()
        if on_message is not None or read is None or not self._is_of(self.backend):
            told = (timeout, interval, no_ack, on_message, on_interval)
            return iter(self._celery("iter_native", *told))
        self.backend._ensure_not_eager()  # noqa: SLF001 - Celery has no public one
        return self._iter_swept(read, timeout, interval, on_interval)

    def _iter_swept(
        self,
        read: Reader,
        timeout: float | None,
        interval: float,
        on_interval: Any,
    ) -> Iterator[tuple[str, Any]]:
        deadline = None if timeout is None else monotonic() + timeout
        pending = list(self.results)
        read = _patient(self.backend, read)
        pause = _PAUSE
        while True:
            started = monotonic()
            ready: list[Any] = []
            pending = _sweep(self.backend, read, pending, ready)
            for found in ready:
                yield found.id, found._cache  # noqa: SLF001 - as Celery's own
            if not pending:
                return
            now = monotonic()
            if deadline is not None and now >= deadline:
                raise CeleryTimeoutError("The operation timed out.")
            if on_interval is not None:
                on_interval()
            pause = _PAUSE if ready else pause * _PAUSE_GROWS_BY
            pause = max(pause, _PAUSE_PER_SWEEP * (now - started))
            pause = min(pause, interval or _PAUSE)
            time.sleep(pause if deadline is None else min(pause, deadline - now))

    # -- bulk reads --------------------------------------------------------------------

    def _look(self) -> list[Any] | None:
        """Read the unknown members in bulk.

        Returns:
            The pending members; None if only Celery's own methods serve.
        """
        backend = self.backend
        if not self._is_of(backend):
            return None
        if are_replies(backend):
            # Celery's consumer gives them to their waiters.
            self._arm()
            receive(backend)
            return [found for found in self.results if found._cache is None]  # noqa: SLF001 - otherwise a round trip for each
        read = self._reader()
        if read is None:
            return None
        try:
            return _sweep(backend, read, self.results, [])
        except Exception as exc:
            refused = isinstance(exc, UnreadError)
            if not (refused or backend.exception_safe_to_retry(exc)):
                raise
            # Celery's own methods try again, or not, by their settings.
            logger.debug("a bulk read failed", exc_info=True)
            return None

    def _reader(self) -> Reader | None:
        # Once Celery's barrier is there, its consumer gets the results.
        if self._barrier is not None and self.backend.is_async:
            return None
        return reader_of(self.backend)

    def _is_of(self, backend: Any) -> bool:
        """Whether all members are plain tasks with results in one store."""
        return all(
            isinstance(found, AsyncResult) and found.backend is backend
            for found in self.results
        )

    def _count(self, state: str) -> int:
        return sum(
            1
            for found in self.results
            if found._cache is not None and found._cache["status"] == state  # noqa: SLF001 - otherwise a round trip for each
        )

    def _celery(self, method: str, *args: Any) -> Any:
        return getattr(super(), method)(*args)


def _patient(backend: Any, read: Reader) -> Reader:
    """Return a reader that tries again if Redis is lost, within Celery's policy."""
    if not isinstance(backend, RedisBackend):
        return read
    return lambda backend, ids: backend.ensure(read, (backend, ids))


def _sweep(
    backend: Any, read: Reader, results: list[Any], ready: list[Any]
) -> list[Any]:
    """Read results that are not known; add all that are done to `ready`.

    Returns:
        The ids that are not done.
    """
    pending: list[Any] = []
    unknown: list[Any] = []
    for found in results:
        (unknown if found._cache is None else ready).append(found)  # noqa: SLF001 - otherwise a round trip for each
    for start in range(0, len(unknown), AT_ONCE):
        part = unknown[start : start + AT_ONCE]
        metas = read(backend, [found.id for found in part])
        for found in part:
            meta = metas.get(found.id)
            if meta is None:
                pending.append(found)
            else:
                found._maybe_set_cache(meta)  # noqa: SLF001 - as Celery's own consumers
                ready.append(found)
    return pending
