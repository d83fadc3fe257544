"""A pool of carriers.

A carrier is held by one dispatch at a time and kept for the next, so that a single task
costs no channel, mark or template of its own.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from kombu import Connection

from celerant._core import monotonic
from celerant.common.abandoned import abandon
from celerant.common.per_process import PerProcess
from celerant.dispatch.carrier import Carrier
from celerant.dispatch.connections import Patience, is_refusal
from celerant.dispatch.interruption import is_interruption
from celerant.dispatch.wires.base import Broken, ConnectionRefused, Dispatch, broken

__all__ = ["Carriers"]

logger = logging.getLogger("celerant")

#: Seconds until a connection of ours is tried again after the broker refused one.
_REFUSED = 30.0
#: Seconds for which nobody waits for a connection after a wait in vain: each turn of a
#: group would wait anew.
_FULL = 30.0
#: Seconds that a broker has for its goodbye.
_CLOSE_TIMEOUT = 0.1


class Carriers:
    """A pool of carriers.

    Args:
        make: Makes a connection, not yet connected.
        limit: How many there may be; None: each dispatch makes its own.
        lend: Lends a connection of another pool, if the broker takes no more of ours;
            None: no pool does.
        waits: Seconds that a dispatch waits while all are in use; then it makes one of
            its own. None: it waits until one is free.
    """

    def __init__(
        self,
        make: Callable[[], Connection],
        limit: int | None,
        lend: Callable[[], AbstractContextManager[Connection]] | None = None,
        *,
        waits: float | None = None,
    ) -> None:
        self._lend = lend
        self._waits = waits
        #: Whether it was said that all are in use.
        self._has_said = False
        #: Monotonic; until then nobody waits again: a wait was in vain.
        self._full_until = 0.0
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
    def acquire(self, dispatch: Dispatch) -> Iterator[Carrier]:
        """Hold a carrier for a dispatch.

        Waits while all are in use, as long as was said. A thread that holds one
        already, because it sends from within a generator that is being sent, gets one
        beyond the limit.

        Raises:
            Broken: No broker answered within the retry policy, or it refused.
        """
        pid, own = self._own.get_with_pid()
        held = own.held
        if self._lend is not None and monotonic() < self._refused_until:
            message = "the broker takes no more connections"
            raise ConnectionRefused(message, recoverable=True)
        pool = self._begin(own, wait=held.count == 0)
        connection, carrier = (self._make(), None) if pool is None else pool.take()
        held.count += 1
        try:
            while True:
                try:
                    carrier = _open(connection, carrier, dispatch.patience)
                except ConnectionRefused as exc:
                    if self._lend is not None:
                        self._refused_until = monotonic() + _REFUSED
                        raise
                    # The existing ones are used again.
                    if pool is not None and held.count == 1 and pool.drop(connection):
                        pool.free.acquire()
                        connection, carrier = pool.take()
                    else:
                        _pause(dispatch.patience, exc)
                except AttributeError as exc:
                    if pool is None or pool is own.pool:
                        raise
                    # kombu raises no better error if another thread closes its
                    # connection.
                    message = "the app was closed meanwhile"
                    raise Broken(message, recoverable=True) from exc
                else:
                    break
            yield from _using(carrier, dispatch, pid)
        finally:
            held.count -= 1
            if os.getpid() == pid:
                is_kept = carrier is not None and carrier.is_sound
                self._give_back(own, pool, connection, carrier if is_kept else None)

    @contextmanager
    def borrow(self, dispatch: Dispatch) -> Iterator[Carrier]:
        """Hold a carrier over a lent connection; waits while others have it.

        Raises:
            Broken: It cannot be used either, or no pool lends one.
        """
        pid, own = self._own.get_with_pid()
        held = own.held
        if self._lend is None or held.count:
            # This thread holds the one it would wait for, and would wait for ever.
            message = "the broker takes no more connections"
            raise Broken(message, recoverable=True)
        held.count += 1
        try:
            with self._lend() as connection:
                carrier = _open(connection, None, dispatch.patience)
                try:
                    yield from _using(carrier, dispatch, pid)
                finally:
                    if os.getpid() == pid:
                        carrier.leave()
        finally:
            held.count -= 1

    def _begin(self, own: _Own, *, wait: bool) -> _Pool | None:
        """Return the pool, from which one more may be held now; None: go without."""
        if self._limit is None:
            return None
        pool = own.pool
        if pool is None:
            with own.lock:
                if own.pool is None:
                    own.pool = _Pool(self._make, self._limit)
                pool = own.pool
        if not wait:
            return pool if pool.free.acquire(blocking=False) else None
        waits = 0.0 if monotonic() < self._full_until else self._waits
        if pool.free.acquire(timeout=waits):
            return pool
        if waits:
            self._be_full()
        return None

    def _be_full(self) -> None:
        """Note and log that connections beyond the limit are made."""
        self._full_until = monotonic() + _FULL
        level = logging.DEBUG if self._has_said else logging.WARNING
        self._has_said = True
        logger.log(
            level,
            "all %s connections have been in use for %s s, which is so if the sources "
            "of so many groups are slow: more are made, and closed after use",
            self._limit,
            self._waits,
        )

    @staticmethod
    def _give_back(
        own: _Own, pool: _Pool | None, connection: Connection, carrier: Carrier | None
    ) -> None:
        if pool is not None and pool is own.pool:
            pool.give_back(connection, carrier)
            return
        if pool is not None:
            # Another thread may have waited for it until the pool was closed.
            pool.free.release()
        try:
            if carrier is not None:
                carrier.close()
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
    """The part of the carriers that belongs to one process."""

    def __init__(self) -> None:
        self.pool: _Pool | None = None
        self.lock = threading.Lock()
        self.held = _Held()


def _using(carrier: Carrier, dispatch: Dispatch, pid: int) -> Iterator[Carrier]:
    """Begin and end a dispatch; the carrier says whether it is as good as before."""
    carrier.is_sound = False
    carrier.begin(dispatch)
    is_sound = False
    try:
        yield carrier
        is_sound = True
    except BaseException as exc:
        if os.getpid() == pid:
            is_sound = _is_sound_after(exc, carrier)
        raise
    finally:
        if os.getpid() != pid:
            # In a forked child the connection is still the parent's.
            abandon(carrier)
        elif is_sound:
            carrier.end()
            carrier.is_sound = True
        else:
            carrier.abort()


def _is_sound_after(exc: BaseException, carrier: Carrier) -> bool:
    if is_interruption(exc):
        carrier.settle()
        return False
    if isinstance(exc, Broken):
        return False
    # A member or its source failed; the wire is as good as before.
    try:
        carrier.flush()
    except Broken:
        return False
    return True


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
    """Connections up to a limit, each with its carrier; the one used last comes first.

    kombu's pool keeps connections alone, and costs a single task three times as much.
    """

    def __init__(self, make: Callable[[], Connection], limit: int) -> None:
        self._make = make
        #: Acquired before `take`.
        self.free = threading.Semaphore(limit)
        self._idle: list[tuple[Connection, Carrier | None]] = []
        #: All of them, also those in use.
        self._made: set[Connection] = set()
        self._lock = threading.Lock()

    def take(self) -> tuple[Connection, Carrier | None]:
        """Return a connection, and its carrier if it has one."""
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
        """Give up a connection for good, and its place among the others."""
        with self._lock:
            if not self._made - {connection}:
                return False
            self._made.discard(connection)
        connection.release()
        return True

    def give_back(self, connection: Connection, carrier: Carrier | None) -> None:
        """Keep them for the next one."""
        self._idle.append((connection, carrier))
        self.free.release()

    def close(self) -> None:
        """Close all connections, also those in use."""
        while self._idle:
            try:
                carrier = self._idle.pop()[1]
            except IndexError:  # somebody took the last one
                break
            if carrier is not None:
                carrier.close()
        failure: BaseException | None = None
        while self._made:
            # One in use may be half closed already. kombu's own pool ignores an
            # AttributeError then, too.
            try:
                self._made.pop().collect(_CLOSE_TIMEOUT)
            except AttributeError:
                continue
            except Exception as exc:  # noqa: BLE001 - raised once all are closed
                failure = exc
        if failure is not None:
            raise failure


def _open(
    connection: Connection, carrier: Carrier | None, patience: Patience
) -> Carrier:
    try:
        with broken(connection):
            if carrier is not None:
                if carrier.is_alive():
                    return carrier
                carrier.close()
                connection.collect()
            carrier = Carrier.over(connection, patience)
    except Broken as exc:
        cause = exc.__cause__
        if not is_refusal(cause):
            raise
        raise ConnectionRefused(str(exc), recoverable=True) from cause
    patience.reset()
    return carrier


class _Held(threading.local):
    """How many carriers this thread holds."""

    count = 0
