"""Broker connections of a process: pooled, exclusive while held, dropped by a fork."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kombu import Connection
from kombu.exceptions import OperationalError

__all__ = ["Connections", "Patience", "abandon", "connect", "recoverable_errors"]

logger = logging.getLogger("celerant")

#: Sockets of a parent process must be neither used nor closed politely by a forked
#: child: they are kept here, so that nobody collects them.
_abandoned: list[Any] = []


def abandon(of_parent: Any) -> None:
    """Keep what holds a parent's sockets, unused, for as long as this child lives."""
    _abandoned.append(of_parent)


class Connections:
    """A pool of kombu connections for sending."""

    def __init__(self, make: Callable[[], Connection], limit: int | None) -> None:
        self._make = make
        self._limit = limit or None
        self._pool: Any = None
        self._lock = threading.Lock()
        self._held = _Held()

    @contextmanager
    def acquire(self) -> Iterator[Connection]:
        """Hold one connection; it may not be connected yet.

        Waits while all are in use, but for a thread that holds one already (it sends
        from within a generator that is being sent): it gets one beyond the limit.
        """
        held = self._held
        connection = self._take(wait=held.count == 0)
        held.count += 1
        try:
            yield connection
        finally:
            held.count -= 1
            # Back to its pool; one without a pool is closed.
            connection.release()

    def _take(self, *, wait: bool) -> Connection:
        with self._lock:
            if self._pool is None:
                self._pool = self._make().Pool(limit=self._limit)
            pool = self._pool
        try:
            return pool.acquire(block=wait)
        except pool.LimitExceeded:
            if wait:
                raise
            return self._make()

    def close(self) -> None:
        """Close all connections of the pool."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.force_close_all()

    def after_fork(self) -> None:
        """Forget the parent's connections."""
        abandon(self._pool)
        self._pool = None
        self._lock = threading.Lock()
        self._held = _Held()


class _Held(threading.local):
    """How many connections this thread holds."""

    count = 0


class Patience:
    """How often and after which pauses a failed operation is tried again.

    Args:
        policy: kombu's retry policy: `max_retries` (None: for ever),
            `interval_start`, `interval_step`, `interval_max`, all in seconds.
        enabled: False tries once.
    """

    def __init__(self, policy: Mapping[str, Any], *, enabled: bool) -> None:
        self._limit = policy.get("max_retries", 3) if enabled else 0
        self._start = float(policy.get("interval_start") or 0)
        self._step = float(policy.get("interval_step") or 0)
        self._max = float(policy.get("interval_max") or 0)
        self.tries = 0

    def reset(self) -> None:
        """Forget the failures so far: something succeeded."""
        self.tries = 0

    def pause(self, exc: BaseException) -> None:
        """Wait before the next try.

        Raises:
            BaseException: `exc` itself, where no try is left.
        """
        if self._limit is not None and self.tries >= self._limit:
            raise exc
        seconds = min(self._start + self.tries * self._step, self._max)
        self.tries += 1
        logger.warning("broker lost (%s); try %d follows", exc, self.tries + 1)
        time.sleep(seconds)


def recoverable_errors(connection: Connection) -> tuple[type[BaseException], ...]:
    """Return what may be mended by connecting again."""
    return (
        OperationalError,
        OSError,
        *connection.recoverable_connection_errors,
        *connection.recoverable_channel_errors,
    )


def connect(connection: Connection, patience: Patience) -> None:
    """Make sure that `connection` is connected, over its failover list.

    Raises:
        OperationalError: No broker answered within the retry policy.
    """
    while True:
        try:
            # One try of each URL, no pause of kombu's own: the pauses are ours.
            rest = max(0, len(connection.alt) - 1)
            connection.ensure_connection(max_retries=rest, interval_start=0)
        except recoverable_errors(connection) as exc:
            patience.pause(exc)
            connection.maybe_switch_next()
        else:
            return
