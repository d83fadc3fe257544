"""The one thread per process and backend that takes in results as they are stored.

Here: its life, what other threads ask of it, and trouble; `service` does the rest.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from celerant._core import Barrier
from celerant.errors import CelerantError
from celerant.per_process import PerProcess
from celerant.results.backends.base import FeedLostError
from celerant.results.members import Members
from celerant.results.service import Service

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend, Feed

__all__ = ["Consumer"]

logger = logging.getLogger("celerant")

_BACKOFF_FIRST = 0.1
_BACKOFF_MOST = 1.0


class Consumer:
    """Serves all results of one backend in this process; starts at the first look."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        _consumers.get().add(self)
        self._feed: Feed | None = None
        self._orders: deque[Callable[[], None]] = deque()
        #: Those whose first sweep is due, in the order they came.
        self._arriving: deque[weakref.ref[Members]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closing = False
        self._service = Service(
            self._backend, self._open_feed, lambda: self._is_closing
        )
        #: A bug may come back at once: not in a busy loop.
        self._must_pause = False
        self._failures = 0

    # What other threads call.

    def watch(self, members: Members, timeout: float | None) -> bool:
        """Serve `members` from now on; return after their first sweep.

        Returns:
            False where `timeout` (seconds) ended before.

        Raises:
            CelerantError: The backend is not reached within its retry policy.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self.begin(members)
        # A deadline of zero looks once: that is one sweep, not none.
        first = None if timeout == 0 else deadline
        return members.wait(lambda: members.is_watched, first)

    def begin(self, members: Members) -> None:
        """Serve `members` from now on; returns at once."""
        members.error = None
        self._arriving.append(weakref.ref(members))
        self._order(None)

    def open(self) -> None:
        """Return once new records reach this process.

        On the consumer's own thread it returns at once: who calls from there, a
        callback, was called by an open feed.

        Raises:
            CelerantError: The backend is not reached within its retry policy.
        """
        feed = self._feed
        if feed is not None and feed.is_open and not self._is_closing:
            return
        if threading.current_thread() is not self._thread:
            # A look at nothing ends after its sweep, and that follows the opening. None
            # of its results can be lost.
            nothing = Members.alone("", self._backend)
            nothing.barrier.arrive(0, Barrier.IGNORED)
            self.watch(nothing, None)

    def keep(self, members: Members) -> None:
        """Serve `members` even if nobody else holds them, until they are called."""
        self._service.kept.add(members)
        self._arriving.append(weakref.ref(members))
        self._order(lambda: self._service.notify(members))

    def close(self, timeout: float | None = 5.0) -> None:
        """Stop the thread and let the feed go; waits up to `timeout` seconds for it."""
        with self._lock:
            thread, self._is_closing = self._thread, True
            if self._feed is not None:
                self._feed.wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _order(self, act: Callable[[], None] | None) -> None:
        with self._lock:
            if self._is_closing:
                msg = f"the results on {self._backend.as_uri()} were closed"
                raise CelerantError(msg)
            if act is not None:
                self._orders.append(act)
            if self._feed is None:
                self._feed = self._backend.open_feed()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._serve, name="celerant-results", daemon=True
                )
                self._thread.start()
            else:
                self._feed.wake()

    # The thread.

    def _serve(self) -> None:
        while not self._is_closing:
            try:
                self._serve_once()
            except FeedLostError as exc:
                self._on_feed_lost(exc)
            except self._backend.connection_errors as exc:
                self._on_unreachable(exc)
            except Exception as exc:
                # A bug, or a refusal of the backend: nobody may hang on it.
                logger.exception("results: the consumer failed")
                self._give_up(exc)
                self._must_pause = True
        self._give_up(CelerantError(f"{self._backend!r} was closed"))
        with self._lock:
            feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()

    def _serve_once(self) -> None:
        feed, service = self._open_feed(), self._service
        if self._must_pause:
            self._must_pause = False
            service.deliver(feed.receive(_BACKOFF_MOST))
        feed.open()
        while self._orders:
            self._orders.popleft()()
        service.tidy()
        if self._failures:
            service.resume()
        self._admit_arriving()
        if self._failures:
            self._on_back()
        if service.is_sweep_due():
            service.sweep_all()
        if not self._orders and not self._arriving and not service.notes:
            service.deliver(feed.receive(service.until_next_sweep()))

    def _admit_arriving(self) -> None:
        service = self._service
        while self._arriving or service.again:
            if not self._arriving:
                self._arriving.append(weakref.ref(service.again.popleft()))
            members = self._arriving[0]()
            if members is not None and not members.is_watched:
                service.admit(members)
            self._arriving.popleft()

    def _open_feed(self) -> Feed:
        if self._feed is None:
            self._feed = self._backend.open_feed()
        return self._feed

    def _on_back(self) -> None:
        if self._failures > 1:
            logger.info("results: %s is back", self._backend.as_uri())
        self._failures = 0

    # Trouble.

    def _on_feed_lost(self, exc: FeedLostError) -> None:
        self._failures = max(1, self._failures)
        self._service.subscriptions.on_lost(exc, time.monotonic())

    def _on_unreachable(self, exc: Exception) -> None:
        self._failures += 1
        if self._failures == 2:  # noqa: PLR2004 - one lost connection is no news
            logger.warning("results: %s is gone: %s", self._backend.as_uri(), exc)
        policy = getattr(self._backend, "retry_policy", {})
        most = policy.get("max_retries")
        if most is not None and self._failures > most:
            self._give_up(exc)
            # A callback has nobody to raise to: it waits for as long as it takes.
            self._arriving.extend(map(weakref.ref, tuple(self._service.kept)))
        feed = self._open_feed()
        feed.reset()
        pause = min(_BACKOFF_MOST, _BACKOFF_FIRST * 2.0 ** min(self._failures, 10))
        end = time.monotonic() + pause
        while not self._is_closing and time.monotonic() < end:
            self._service.deliver(feed.receive(end - time.monotonic()))

    def _give_up(self, exc: Exception) -> None:
        """Tell all that wait; the next look starts again."""
        error = exc
        if not isinstance(error, CelerantError):
            error = CelerantError(
                f"result backend {self._backend.as_uri()} failed: {exc}"
            )
            error.__cause__ = exc
        waiting = self._service.drop_all()
        while self._arriving:
            waiting.append(self._arriving.popleft()())
        # Each once, and only now: who is told may look again at once, and must not
        # be told of the same trouble then.
        for members in {id(members): members for members in waiting}.values():
            if members is not None:
                members.fail(error)
        self._failures = 0
        if self._feed is not None:
            self._feed.reset()

    def leave(self) -> None:
        """Let go in a forked child: the thread and the socket are its parent's."""
        if self._feed is not None:
            self._feed.after_fork()


_consumers: PerProcess[weakref.WeakSet[Consumer]] = PerProcess(weakref.WeakSet)


def _close_all() -> None:
    for consumer in tuple(_consumers.get()):
        consumer.close(timeout=1.0)


# A daemon thread that runs on while the interpreter goes down may speak up.
atexit.register(_close_all)
