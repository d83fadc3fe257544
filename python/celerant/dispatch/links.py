"""A pool of links.

A link is held by one dispatch at a time and kept for the next, so that a single task
costs no channel, mark or template of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from kombu import Connection

from celerant._core import monotonic
from celerant.common.abandoned import abandon
from celerant.common.per_process import PerProcess
from celerant.dispatch.connections import Patience, is_refusal
from celerant.dispatch.interruption import is_interruption
from celerant.dispatch.link import Link
from celerant.dispatch.wires.base import Broken, Dispatch, Refused, broken

__all__ = ["Links"]

#: Seconds until a connection of ours is tried again that the broker did not take.
_REFUSED = 30.0
#: Seconds that a broker has for its goodbye.
_CLOSE_TIMEOUT = 0.1


class Links:
    """A pool of links.

    Args:
        make: Makes a connection, not yet connected.
        limit: How many there may be; None: each dispatch makes its own.
        lend: Lends a connection of somebody else's pool, where the broker takes no
            more of ours; None: nobody does.
    """

    def __init__(
        self,
        make: Callable[[], Connection],
        limit: int | None,
        lend: Callable[[], AbstractContextManager[Connection]] | None = None,
    ) -> None:
        self._lend = lend
        #: Monotonic; until then no connection of ours is tried.
        self._refused_until = 0.0
        self._make = make
        self._limit = limit or None
        self._own = PerProcess(_Own)

    @property
    def lends(self) -> bool:
        """Whether there is a connection to `borrow`."""
        return self._lend is not None

    @contextmanager
    def acquire(self, dispatch: Dispatch) -> Iterator[Link]:
        """Hold a link for a dispatch.

        Waits while all are in use, but for a thread that holds one already (it sends
        from within a generator that is being sent): it gets one beyond the limit.

        Raises:
            Broken: No broker answered within the retry policy, or it refused.
        """
        pid, own = self._own.get_with_pid()
        held = own.held
        if self._lend is not None and monotonic() < self._refused_until:
            message = "the broker takes no more connections"
            raise Refused(message, recoverable=True)
        pool = self._begin(own, wait=held.count == 0)
        connection, link = (self._make(), None) if pool is None else pool.take()
        held.count += 1
        try:
            while True:
                try:
                    link = _open(connection, link, dispatch.patience)
                except Refused as exc:
                    if self._lend is not None:
                        self._refused_until = monotonic() + _REFUSED
                        raise
                    # Those that there are go round.
                    if pool is not None and held.count == 1 and pool.drop(connection):
                        pool.free.acquire()
                        connection, link = pool.take()
                    else:
                        _pause(dispatch.patience, exc)
                else:
                    break
            yield from _using(link, dispatch, pid)
        finally:
            held.count -= 1
            if os.getpid() == pid:
                is_kept = link is not None and link.is_sound
                self._give_back(own, pool, connection, link if is_kept else None)

    @contextmanager
    def borrow(self, dispatch: Dispatch) -> Iterator[Link]:
        """Hold a link over a lent connection; waits while others have it.

        Raises:
            Broken: It cannot be used either, or nobody lends one.
        """
        pid, own = self._own.get_with_pid()
        held = own.held
        if self._lend is None or held.count:
            # Who waited here for what this thread holds would wait for ever.
            message = "the broker takes no more connections"
            raise Broken(message, recoverable=True)
        held.count += 1
        try:
            with self._lend() as connection:
                link = _open(connection, None, dispatch.patience)
                try:
                    yield from _using(link, dispatch, pid)
                finally:
                    if os.getpid() == pid:
                        link.leave()
        finally:
            held.count -= 1

    def _begin(self, own: _Own, *, wait: bool) -> _Pool | None:
        """Return the pool, of which one more may be held now; None: go without."""
        if self._limit is None:
            return None
        pool = own.pool
        if pool is None:
            with own.lock:
                if own.pool is None:
                    own.pool = _Pool(self._make, self._limit)
                pool = own.pool
        return pool if pool.free.acquire(blocking=wait) else None

    @staticmethod
    def _give_back(
        own: _Own, pool: _Pool | None, connection: Connection, link: Link | None
    ) -> None:
        if pool is not None and pool is own.pool:
            pool.give_back(connection, link)
            return
        if pool is not None:
            # Somebody may have waited for it until the pool was closed.
            pool.free.release()
        try:
            if link is not None:
                link.close()
        finally:
            connection.release()

    def close(self) -> None:
        """Close all connections of the pool."""
        own = self._own.get()
        with own.lock:
            pool, own.pool = own.pool, None
        if pool is not None:
            pool.close()


class _Own:
    """What of the links belongs to one process."""

    def __init__(self) -> None:
        self.pool: _Pool | None = None
        self.lock = threading.Lock()
        self.held = _Held()


def _using(link: Link, dispatch: Dispatch, pid: int) -> Iterator[Link]:
    """Begin and end a dispatch; the link says whether it is as good as before."""
    link.is_sound = False
    link.begin(dispatch)
    is_sound = False
    try:
        yield link
        is_sound = True
    except BaseException as exc:
        if is_interruption(exc):
            link.settle(pid)
        elif not isinstance(exc, Broken):
            # A member or its source failed: that says nothing of the wire.
            is_sound = link.flush(pid)
        raise
    finally:
        if os.getpid() != pid:
            # In a forked child the connection is still the parent's.
            abandon(link)
        elif is_sound:
            link.end()
            link.is_sound = True
        else:
            link.abort()


def _pause(patience: Patience, exc: Broken) -> None:
    """Wait before the next try, or raise `exc`."""
    cause = exc.__cause__ or exc
    try:
        patience.pause(cause)
    except BaseException as last:
        if last is cause:
            raise exc from exc.__cause__
        raise


class _Pool:
    """Connections up to a limit, each with its link; what was used last goes first.

    kombu's pool keeps connections alone, and costs a single task three times as much.
    """

    def __init__(self, make: Callable[[], Connection], limit: int) -> None:
        self._make = make
        #: Acquired before `take`.
        self.free = threading.Semaphore(limit)
        self._idle: list[tuple[Connection, Link | None]] = []
        #: All of them, also those in use.
        self._made: set[Connection] = set()
        self._lock = threading.Lock()

    def take(self) -> tuple[Connection, Link | None]:
        """Return a connection, and its link if it has one."""
        try:
            return self._idle.pop()
        except IndexError:
            pass
        try:
            connection = self._make()
        except BaseException:
            self.free.release()
            raise
        self._made.add(connection)
        return connection, None

    def drop(self, connection: Connection) -> bool:
        """Give up a connection for good, and its place, where there are others."""
        with self._lock:
            if not self._made - {connection}:
                return False
            self._made.discard(connection)
        connection.release()
        return True

    def give_back(self, connection: Connection, link: Link | None) -> None:
        """Keep them for the next one."""
        self._idle.append((connection, link))
        self.free.release()

    def close(self) -> None:
        """Close all connections, also those in use."""
        while self._idle:
            try:
                link = self._idle.pop()[1]
            except IndexError:  # somebody took the last one
                break
            if link is not None:
                link.close()
        failure: BaseException | None = None
        while self._made:
            # In use, it may be closed half-way already: kombu's own pool, too, takes
            # no notice of an AttributeError then.
            try:
                self._made.pop().collect(_CLOSE_TIMEOUT)
            except AttributeError:
                continue
            except Exception as exc:  # noqa: BLE001 - raised once all are closed
                failure = exc
        if failure is not None:
            raise failure


def _open(connection: Connection, link: Link | None, patience: Patience) -> Link:
    try:
        with broken(connection):
            if link is not None:
                if link.is_alive():
                    return link
                link.close()
                connection.collect()
            link = Link.over(connection, patience)
    except Broken as exc:
        cause = exc.__cause__
        if not is_refusal(cause):
            raise
        raise Refused(str(exc), recoverable=True) from cause
    patience.reset()
    return link


class _Held(threading.local):
    """How many links this thread holds."""

    count = 0
