"""The one thread per process and backend that takes in results as they are stored.

Here: its life, what other threads ask of it, and trouble. Which members there are and
what is read for them is `Service`'s.

The thread holds the consumer only while it works, not while it waits: a consumer that
nobody holds any more, neither an app nor a result, is collected, and its thread ends.
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
from celerant.common.printable import line
from celerant.errors import CelerantError
from celerant.results.consuming.feed import FeedLostError
from celerant.results.consuming.service import Service
from celerant.results.tracking.members import Members
from celerant.results.tracking.source import Trouble

if TYPE_CHECKING:
    from celerant.results.consuming.feed import Feed, Store

__all__ = ["Consumer"]

logger = logging.getLogger("celerant")

#: Chunks of a sweep between two looks at what was pushed, so that Redis does not have
#: to buffer it all.
_CHUNKS_PER_LOOK = 10
_BACKOFF_FIRST = 0.1
_BACKOFF_MOST = 1.0
#: Seconds after which a store that is asked and says nothing is worth a word.
_SILENCE = 1.0
#: What code that is called here may raise without ending the thread. Anything else,
#: as greenlets are ended by, does; the next look starts another.
_SURVIVED = (Exception, SystemExit, KeyboardInterrupt, asyncio.CancelledError)

_Heard = list[tuple[str, bytes]] | BaseException


class Consumer:
    """Serves all results of one backend in this process; starts at the first look."""

    def __init__(self, backend: Store) -> None:
        self._backend = backend
        _consumers.get().add(self)
        #: Made at the first look.
        self._service: Service | None = None
        self._orders: deque[Callable[[], None]] = deque()
        #: Why and since when the backend is not reached; None while it is.
        self._trouble: Trouble | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closing = False
        #: Nothing is asked before this time (monotonic): what failed is left alone.
        self._resting_until = 0.0
        #: All watches have to be taken up again.
        self._is_interrupted = False
        self._failures = 0
        self._pause: float | None = None

    # What other threads call.

    def watch(self, members: Members, timeout: float | None) -> bool:
        """Serve `members` from now on; return after their first sweep.

        Returns:
            False where `timeout` (seconds) ended before.

        Raises:
            CelerantError: The backend is not reached within its retry policy.
        """
        deadline = None if timeout is None else monotonic() + timeout
        self.begin(members)
        # A deadline of zero looks once: that is one sweep, not none.
        first = None if timeout == 0 else deadline
        return members.wait(
            lambda: members.is_watched or members.barrier.is_complete, first
        )

    def begin(self, members: Members) -> None:
        """Serve `members` from now on; returns at once."""
        members.error = None
        self.service.arriving.append(weakref.ref(members))
        self._order(None)

    def open(self) -> None:
        """Return once new records reach this process.

        On the consumer's own thread it returns at once: who calls from there, a
        callback, was called by an open feed.

        Raises:
            CelerantError: The backend is not reached within its retry policy.
        """
        service = self._service
        if service is not None and service.feed.is_open and not self._is_closing:
            return
        if not self.is_here:
            # A look at nothing ends after its sweep, and that follows the opening.
            self.watch(Members(Roster(bytes(16)), self._backend), None)

    def keep(self, members: Members) -> None:
        """Serve `members` even if nobody else holds them, until they are called."""
        service = self.service
        service.kept.add(members)
        service.arriving.append(weakref.ref(members))
        self._order(partial(service.call_back, members))

    def close(self, timeout: float | None = 5.0) -> None:
        """Stop the thread and let the feed go; waits up to `timeout` seconds for it."""
        with self._lock:
            thread, self._is_closing = self._thread, True
            if self._service is not None:
                self._service.feed.wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def unfinished(self) -> int:
        """Return how many members are pending of all that are served here."""
        service = self._service
        return 0 if service is None else service.unfinished()

    @property
    def is_here(self) -> bool:
        """Whether this is its own thread."""
        return threading.current_thread() is self._thread

    @property
    def trouble(self) -> Trouble | None:
        """What is wrong with the way to the backend, for who waits in vain."""
        if self._trouble is not None:
            return self._trouble
        since = None if self._service is None else self._service.asking_since
        if since is not None and monotonic() - since > _SILENCE:
            return Trouble(since, None)
        return None

    @property
    def service(self) -> Service:
        """What it does for members; made with the feed at the first look.

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
        """Do what there is to do; False where the thread is to end.

        Args:
            heard: What the feed brought since the last turn, or what it raised.
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
        """How long to wait for news, and who must not be collected until then."""
        # Who waits with a callback may hold nothing else.
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
        if service.is_sweep_due():
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

    # Trouble.

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
        # Or a refusal of the backend: nobody may hang on it, and it may come back at
        # once, but not in a busy loop.
        logger.error("results: the consumer failed", exc_info=exc)
        self._resting_until = monotonic() + _BACKOFF_MOST
        self._give_up(exc)

    def _on_unreachable(self, exc: BaseException) -> None:
        self._failures += 1
        if self._trouble is None:
            self._trouble = Trouble(monotonic(), exc)
        self._trouble = self._trouble._replace(error=exc)
        if self._failures == 2:  # noqa: PLR2004 - one lost connection is no news
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
        """Tell who waits that the thread ends; the next look starts another.

        Args:
            exc: What ended it; None: the consumer was closed.
        """
        with self._lock:
            # Who comes from now on finds no thread, and is not told of this one's end.
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
        """Tell all that wait; the next look starts again."""
        if isinstance(exc, CelerantError):
            error = exc
        else:
            error = CelerantError(
                f"result backend {self._backend.as_uri()} failed: {line(exc)}"
            )
            error.__cause__ = exc
        service = self._known_service()
        waiting = service.drop_all()
        # Each once, and only now: who is told may look again at once, and must not
        # be told of the same trouble then.
        for members in {id(members): members for members in waiting}.values():
            if members is not None:
                members.fail(error)
        self._failures = 0
        service.feed.reset()

    def leave(self) -> None:
        """Let go in a forked child: the thread and the socket are its parent's."""
        if self._service is not None:
            self._service.feed.after_fork()


def _serve(reference: weakref.ref[Consumer], feed: Feed) -> None:
    """Run a consumer's thread, until it is closed or nobody holds it any more."""
    heard: _Heard = []
    consumer = reference()
    try:
        while consumer is not None and consumer.turn(heard):
            pause, held = consumer.rest
            del consumer
            heard = _hear(feed, pause)
            del held
            consumer = reference()
    except BaseException as exc:  # noqa: BLE001 - told to who waits, and logged
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
    except Exception as exc:  # noqa: BLE001 - the next turn's to deal with
        return exc


def _wake(feed: Feed, _: object) -> None:
    # Called wherever the last reference to a consumer went, under any lock.
    feed.wake()


_consumers: PerProcess[weakref.WeakSet[Consumer]] = PerProcess(weakref.WeakSet)


def _close_all() -> None:
    for consumer in tuple(_consumers.get()):
        consumer.close(timeout=1.0)


# A daemon thread that runs on while the interpreter goes down may speak up.
atexit.register(_close_all)
