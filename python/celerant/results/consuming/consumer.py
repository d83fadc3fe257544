"""The thread that takes in results as they are stored: one for a process and backend.

`Consumer` has the thread's life, the calls of other threads, and the recovery from
errors. `Service` knows the members and reads for them.

While the thread waits, it holds no reference to the consumer. If no app or result holds
the consumer either, it is collected, and its thread ends.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from celerant._core import Roster, monotonic
from celerant.common.per_process import PerProcess
from celerant.errors import CelerantError
from celerant.results.consuming.feed import FeedLostError
from celerant.results.consuming.service import Service
from celerant.results.tracking.member_backend import Trouble
from celerant.results.tracking.members import Members

if TYPE_CHECKING:
    from celerant.results.consuming.feed import ConsumerBackend, Feed

__all__ = ["Consumer"]

logger = logging.getLogger("celerant")

#: Chunks of a sweep between two reads of the feed, so that Redis need not buffer all
#: pushed records.
_CHUNKS_PER_LOOK = 10
_BACKOFF_FIRST = 0.1
_BACKOFF_MOST = 1.0
#: Seconds after which a store without an answer is reported to those that wait.
_SILENCE = 1.0
#: Errors that do not end the thread. Others do, such as the one that ends a greenlet;
#: the next look starts another thread.
_SURVIVED = (Exception, SystemExit, KeyboardInterrupt, asyncio.CancelledError)

_Heard = list[tuple[str, bytes]] | BaseException


class Consumer:
    """Serves all results of one backend in this process; the first look starts it."""

    def __init__(self, backend: ConsumerBackend) -> None:
        self._backend = backend
        _consumers.get().add(self)
        #: Made at the first look.
        self._service: Service | None = None
        self._orders: deque[Callable[[], None]] = deque()
        #: Why the backend is not reachable, and since when; None if it is.
        self._trouble: Trouble | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closing = False
        #: The backend is not asked before this time (`monotonic`), after an error.
        self._resting_until = 0.0
        #: Whether all members have to be subscribed to and read again.
        self._is_interrupted = False
        self._failures = 0
        self._pause: float | None = None

    # Called by other threads.

    def watch(self, members: Members, timeout: float | None) -> bool:
        """Serve `members` from now on, and wait for their first sweep.

        Returns:
            False if `timeout` (seconds) passed before.

        Raises:
            CelerantError: The backend is not reachable within its retry policy.
        """
        deadline = None if timeout is None else monotonic() + timeout
        self.begin(members)
        # A timeout of zero still makes one sweep.
        first = None if timeout == 0 else deadline
        return members.wait(
            lambda: members.is_watched or members.barrier.is_complete, first
        )

    def begin(self, members: Members) -> None:
        """Serve `members` from now on, without waiting."""
        members.error = None
        self.service.arriving.append(weakref.ref(members))
        self._order(None)

    def open(self) -> None:
        """Wait until new records reach this process.

        In the consumer's own thread it returns at once: a callback calls it there, and
        the feed is open then.

        Raises:
            CelerantError: The backend is not reachable within its retry policy.
        """
        service = self._service
        if service is not None and service.feed.is_open and not self._is_closing:
            return
        if not self.is_here:
            # A sweep of no members ends once the feed is open.
            self.watch(Members(Roster(bytes(16)), self._backend), None)

    def keep(self, members: Members) -> None:
        """Serve `members` until all callbacks were called, and hold them until then."""
        service = self.service
        service.kept.add(members)
        service.arriving.append(weakref.ref(members))
        self._order(partial(service.call_back, members))

    def close(self, timeout: float | None = 5.0) -> None:
        """Stop the thread and close the feed; wait up to `timeout` seconds for it."""
        with self._lock:
            thread, self._is_closing = self._thread, True
            if self._service is not None:
                self._service.feed.wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def unfinished(self) -> int:
        """Return how many of the served members are pending."""
        service = self._service
        return 0 if service is None else service.unfinished()

    @property
    def is_here(self) -> bool:
        """Whether the calling thread is the consumer's."""
        return threading.current_thread() is self._thread

    @property
    def trouble(self) -> Trouble | None:
        """Why the backend is not reachable, for errors of waits; None if it is."""
        if self._trouble is not None:
            return self._trouble
        since = None if self._service is None else self._service.asking_since
        if since is not None and monotonic() - since > _SILENCE:
            return Trouble(since, None)
        return None

    @property
    def service(self) -> Service:
        """The service of members, made with the feed at the first look.

        Raises:
            CelerantError: The consumer is closed.
        """
        with self._lock:
            if self._is_closing:
                msg = f"the results on {self._backend.as_uri()} were closed"
                raise CelerantError(msg)
            if self._service is None:
                self._service = Service(self._backend, self._backend.open_feed())
            return self._service

    def _order(self, act: Callable[[], None] | None) -> None:
        feed = self.service.feed
        with self._lock:
            if act is not None:
                self._orders.append(act)
            if self._thread is None or not self._thread.is_alive():
                reference = weakref.ref(self, partial(_wake, feed))
                self._thread = threading.Thread(
                    target=_serve,
                    args=(reference, feed),
                    name="celerant-results",
                    daemon=True,
                )
                self._thread.start()
            else:
                feed.wake()

    # The thread.

    def turn(self, heard: _Heard) -> bool:
        """Do all work that is due; return False if the thread must end.

        Args:
            heard: The feed's records since the last turn, or the error that it raised.
        """
        if self._is_closing:
            return False
        try:
            self._pause = self._serve_once(heard)
        except _SURVIVED as exc:
            self._pause = 0.0
            self._recover(exc)
        return True

    @property
    def rest(self) -> tuple[float | None, Consumer | None]:
        """Seconds to wait, and the consumer if it must not be collected meanwhile."""
        # A user who waits by a callback may hold neither result nor app.
        is_kept = bool(self._known_service().kept or self._orders)
        return self._pause, self if is_kept else None

    def _serve_once(self, heard: _Heard) -> float | None:
        service = self._known_service()
        if isinstance(heard, BaseException):
            raise heard
        service.deliver(heard)
        left = self._resting_until - monotonic()
        if left > 0:
            return left
        service.feed.open()
        while self._orders:
            self._orders.popleft()()
        service.tidy()
        if self._is_interrupted:
            service.resume()
            self._is_interrupted = False
        service.admit_arriving()
        service.admit_grown()
        was_reading = service.is_reading
        for _ in range(_CHUNKS_PER_LOOK):
            if service.is_reading and not self._is_closing:
                service.read_chunk()
        if not service.is_reading and (self._failures or was_reading):
            self._on_back()
        if service.until_next_sweep() == 0.0:
            service.sweep_all()
        if service.is_busy or self._orders:
            return 0.0
        return service.until_next_sweep()

    def _known_service(self) -> Service:
        assert self._service is not None  # noqa: S101 - made before the thread
        return self._service

    def _on_back(self) -> None:
        if self._failures > 1:
            logger.info("results: %s is back", self._backend.as_uri())
        self._failures, self._trouble = 0, None

    # Recovery from errors.

    def _recover(self, exc: BaseException) -> None:
        self._is_interrupted = True
        try:
            if isinstance(exc, FeedLostError):
                self._failures = max(1, self._failures)
                self._known_service().subscriptions.on_lost(exc, monotonic())
                self._backend.forget_connections()
            elif isinstance(exc, self._backend.connection_errors):
                self._on_unreachable(exc)
            else:
                self._on_bug(exc)
        except _SURVIVED as worse:
            self._on_bug(worse)

    def _on_bug(self, exc: BaseException) -> None:
        # It may also be a refusal of the backend. Waiters get the error, and may look
        # again at once, but the pause prevents a busy loop.
        logger.error("results: the consumer failed", exc_info=exc)
        self._resting_until = monotonic() + _BACKOFF_MOST
        self._give_up(exc)

    def _on_unreachable(self, exc: BaseException) -> None:
        self._failures += 1
        if self._trouble is None:
            self._trouble = Trouble(monotonic(), exc)
        self._trouble = self._trouble._replace(error=exc)
        if self._failures == 2:  # noqa: PLR2004 - one lost connection is usual
            logger.warning("results: %s is gone: %s", self._backend.as_uri(), exc)
        most = self._backend.retry_policy.get("max_retries")
        if most is not None and self._failures > most:
            self._give_up(exc)
            self._known_service().await_kept()
        self._known_service().feed.reset()
        self._backend.forget_connections()
        pause = min(_BACKOFF_MOST, _BACKOFF_FIRST * 2.0 ** min(self._failures, 10))
        self._resting_until = monotonic() + pause

    def end(self, exc: BaseException | None) -> None:
        """Tell waiters that the thread ends; the next look starts another.

        Args:
            exc: The error that ended it; None if the consumer was closed.
        """
        with self._lock:
            # Calls from now on start another thread, and do not get this error.
            self._thread = None
            service = self._known_service()
        if exc is None:
            self._give_up(CelerantError(f"{self._backend!r} was closed"))
        else:
            logger.error("results: the consumer's thread ended", exc_info=exc)
            self._is_interrupted = True
            self._give_up(exc)
            service.await_kept()
        if self._is_closing:
            self._service = None
            service.feed.close()

    def _give_up(self, exc: BaseException) -> None:
        """Raise an error in all waiters; the next look starts again."""
        if isinstance(exc, CelerantError):
            error = exc
        else:
            error = self._backend.failure_of(exc)
            error.__cause__ = exc
        service = self._known_service()
        waiting = service.drop_all()
        # Each is told once, and only after all were dropped: it may look again at once,
        # and must not get the same error then.
        for members in {id(members): members for members in waiting}.values():
            if members is not None:
                members.fail(error)
        self._failures = 0
        service.feed.reset()

    def leave(self) -> None:
        """In a forked child, release the feed: thread and socket are its parent's."""
        if self._service is not None:
            self._service.feed.after_fork()


def _serve(reference: weakref.ref[Consumer], feed: Feed) -> None:
    """Run a consumer's thread until the consumer is closed or collected."""
    heard: _Heard = []
    consumer = reference()
    try:
        while consumer is not None and consumer.turn(heard):
            pause, held = consumer.rest
            del consumer
            heard = _hear(feed, pause)
            del held
            consumer = reference()
    except BaseException as exc:  # noqa: BLE001 - waiters get it, and it is logged
        consumer = reference()
        if consumer is not None:
            consumer.end(exc)
        return
    if consumer is None:
        feed.close()
    else:
        consumer.end(None)


def _hear(feed: Feed, timeout: float | None) -> _Heard:
    try:
        return feed.receive(timeout)
    except Exception as exc:  # noqa: BLE001 - the next turn recovers from it
        return exc


def _wake(feed: Feed, _: object) -> None:
    # Called where the last reference to a consumer is dropped, while any lock may be
    # held.
    feed.wake()


_consumers: PerProcess[weakref.WeakSet[Consumer]] = PerProcess(weakref.WeakSet)


def _close_all() -> None:
    for consumer in tuple(_consumers.get()):
        consumer.close(timeout=1.0)


# A daemon thread that runs while the interpreter ends may raise or log.
atexit.register(_close_all)
