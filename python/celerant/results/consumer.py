"""The one thread per process and backend that takes in results as they are stored.

It sweeps (reads what is pending) at the first look, after a lost connection, and at
intervals, because pub/sub loses messages: a lost one delays a result, never hangs it.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier
from celerant.errors import CelerantError, TaskError
from celerant.results.backends.base import FeedLostError
from celerant.results.routes import Routes, Watch

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend, Feed
    from celerant.results.members import Members

__all__ = ["Consumer", "after_fork_in_child"]

logger = logging.getLogger("celerant")

#: Members read by one call of the backend.
SWEEP_CHUNK = 1000
#: Chunks of a sweep between two looks at what was pushed, so that Redis does not have
#: to buffer it all.
_CHUNKS_PER_LOOK = 10
#: Seconds between two sweeps, at least; and this many times the last sweep's own.
_SWEEP_INTERVAL = 1.0
_SWEEP_SHARE = 20
#: The same where nothing is pushed: a sweep is then the only news.
_SWEEP_INTERVAL_ALONE = 0.2
#: Up to this many members are subscribed to before their first sweep; above it the
#: first sweep may save most of the subscriptions.
_SUBSCRIBE_FIRST = 1000
#: Above this many pending members one pattern instead of a channel each. Every pattern
#: costs the server at every PUBLISH (1,000 of them: 202k/s down to 19k/s), hence few.
_CHANNELS_MOST = 50_000
_PATTERNS_MOST = 2
#: A feed lost twice within so many seconds: the server kills it for its output buffer.
_LOST_WITHIN = 60.0
_BACKOFF_FIRST = 0.1
_BACKOFF_MOST = 1.0


class Consumer:
    """Serves all results of one backend in this process; starts at the first look."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._reset()
        _consumers.add(self)

    def _reset(self) -> None:
        self._feed: Feed | None = None
        self._routes = Routes()
        self._orders: deque[Callable[[], None]] = deque()
        #: Those whose first sweep is due, in the order they came.
        self._arriving: deque[weakref.ref[Members]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closing = False
        #: Members somebody waits for with a callback: not to be dropped.
        self._kept: set[Members] = set()
        self._sweeps_alone = False
        self._lost_at: float | None = None
        self._failures = 0
        self._next_sweep = 0.0

    # What other threads call.

    def watch(self, members: Members, timeout: float | None) -> bool:
        """Serve `members` from now on; return after their first sweep.

        Returns:
            False where `timeout` (seconds) ended before.

        Raises:
            CelerantError: The backend is not reached within its retry policy.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        members.error = None
        self._arriving.append(weakref.ref(members))
        self._order(None)
        # A deadline of zero looks once: that is one sweep, not none.
        first = None if timeout == 0 else deadline
        return members.wait(lambda: members.is_watched, first)

    def keep(self, members: Members) -> None:
        """Serve `members` even if nobody else holds them, until they are called."""
        self._kept.add(members)
        self._arriving.append(weakref.ref(members))
        self._order(lambda: self._notify(members))

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
        self._give_up(CelerantError(f"{self._backend!r} was closed"))
        with self._lock:
            feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()

    def _serve_once(self) -> None:
        feed = self._open_feed()
        members = None
        while self._orders:
            self._orders.popleft()()
        if self._failures:
            self._resume()
        while self._arriving:
            members = self._arriving[0]()
            if members is not None and not members.is_watched:
                self._admit(members)
            self._arriving.popleft()
        del members
        if self._failures:
            self._on_back()
        if self._is_sweep_due():
            self._sweep_all()
        if not self._orders and not self._arriving:
            self._deliver(feed.receive(self._until_next_sweep()))

    def _open_feed(self) -> Feed:
        if self._feed is None:
            self._feed = self._backend.open_feed()
        return self._feed

    def _admit(self, members: Members) -> None:
        watch = Watch(members, self._on_dropped)
        members.reserve()
        self._routes.add(watch)
        is_few = members.barrier.remaining <= _SUBSCRIBE_FIRST
        try:
            if is_few:
                self._subscribe(watch, members)
            self._sweep(watch, members, at_first=True)
        except BaseException:
            # It stays among the arriving ones, to be admitted once the backend is back.
            self._routes.discard(watch)
            raise
        if not is_few and not members.barrier.is_complete:
            self._subscribe(watch, members)
            # What was stored between that sweep and the subscription.
            self._sweep(watch, members)
        self._plan_sweep(0.0)

    def _resume(self) -> None:
        """Take up all watches after a lost connection."""
        for watch in tuple(self._routes.watches):
            members = watch.members()
            if members is None:
                self._end(watch)
                continue
            self._subscribe(watch, members)
            self._sweep(watch, members)

    def _on_back(self) -> None:
        if self._failures > 1:
            logger.info("results: %s is back", self._backend.as_uri())
        self._failures = 0

    def _subscribe(self, watch: Watch, members: Members) -> None:
        feed = self._open_feed()
        watch.channels, watch.has_pattern = [], False
        if feed.is_complete or self._sweeps_alone:
            return
        pending = members.barrier.remaining
        if pending > _CHANNELS_MOST and self._patterns() < _PATTERNS_MOST:
            if feed.subscribe_prefix(watch.roster.prefix):
                watch.has_pattern = True
                self._subscribe_to(watch, self._own_pending(watch, members))
                return
            logger.warning(
                "results: %s does not permit PSUBSCRIBE; a channel per task instead",
                self._backend.as_uri(),
            )
        indices = members.barrier.pending(0, len(members.barrier))
        self._subscribe_to(watch, watch.roster.select(indices))

    def _patterns(self) -> int:
        return sum(watch.has_pattern for watch in self._routes.watches)

    def _subscribe_to(self, watch: Watch, ids: list[str]) -> None:
        if not ids:
            return
        if self._open_feed().subscribe(ids):
            watch.channels = ids
            return
        logger.warning(
            "results: %s does not permit SUBSCRIBE; reading every %s s instead",
            self._backend.as_uri(),
            _SWEEP_INTERVAL_ALONE,
        )
        self._sweeps_alone = True

    @staticmethod
    def _own_pending(watch: Watch, members: Members) -> list[str]:
        state = members.barrier.state
        return [
            task_id
            for index, task_id in watch.own.items()
            if state(index) == Barrier.PENDING
        ]

    def _sweep(self, watch: Watch, members: Members, *, at_first: bool = False) -> None:
        """Read the records of what is pending."""
        barrier, roster = members.barrier, watch.roster
        start, chunks = 0, 0
        while True:
            indices = barrier.pending(start, SWEEP_CHUNK)
            if not indices or self._is_closing:
                break
            start = indices[-1] + 1
            records = self._backend.fetch(roster.select(indices))
            self._absorb(members, indices, records)
            chunks += 1
            if chunks % _CHUNKS_PER_LOOK == 0:
                self._deliver(self._open_feed().receive(0))
        if at_first:
            self._expire(members)
            members.is_watched = True
            self._notify(members)
        self._finish_if_done(members, watch)

    def _expire(self, members: Members) -> None:
        """Let those arrive whose record, if there ever was one, is gone by now."""
        kept = self._backend.expires
        if not kept or time.time() - members.sent_at <= kept:
            return
        barrier = members.barrier
        for index in barrier.pending(0, len(barrier)):
            barrier.arrive(index, Barrier.EXPIRED)

    def _absorb(
        self,
        members: Members,
        indices: list[int],
        records: list[bytes | None],
    ) -> None:
        barrier = members.barrier
        members.reserve()
        _, failed, deferred = barrier.absorb(indices, records, members.values)
        if members.first_failure is None and failed is not None:
            members.first_failure = failed
        for position in deferred:
            self._absorb_by_kombu(members, indices[position], records[position])
        self._notify(members)

    def _absorb_by_kombu(
        self, members: Members, index: int, record: bytes | None
    ) -> None:
        try:
            meta = self._backend.decode(record)
        except Exception as exc:  # noqa: BLE001 - any serializer's own errors
            task_id = members.roster.id(index)
            error = TaskError(
                f"the stored result of {task_id} cannot be read: {exc}",
                exc_type=type(exc).__name__,
                exc_module=type(exc).__module__,
            )
            error.__cause__ = exc
            value: Any = error
            state = Barrier.FAILURE
        else:
            found = _READY.get(str(meta.get("status")))
            if found is None:
                return
            state = found
            value = meta.get("result") if state == Barrier.SUCCESS else record
        if members.barrier.state(index) != Barrier.PENDING:
            return
        members.values[index] = value
        members.barrier.arrive(index, state)
        if state != Barrier.SUCCESS and members.first_failure is None:
            members.first_failure = index

    def _deliver(self, batch: list[tuple[str, bytes]]) -> None:
        if not batch:
            return
        found: defaultdict[Watch, tuple[list[int], list[bytes | None]]]
        found = defaultdict(lambda: ([], []))
        for task_id, record in batch:
            for watch, index in self._routes.find(task_id):
                indices, records = found[watch]
                indices.append(index)
                records.append(record)
        for watch, (indices, records) in found.items():
            members = watch.members()
            if members is not None:
                self._absorb(members, indices, records)
                self._finish_if_done(members, watch)

    # Sweeps.

    def _is_sweep_due(self) -> bool:
        return self._must_sweep() and time.monotonic() >= self._next_sweep

    def _until_next_sweep(self) -> float | None:
        if not self._must_sweep():
            return None
        return max(0.0, self._next_sweep - time.monotonic())

    def _must_sweep(self) -> bool:
        return bool(self._routes.watches) and not self._open_feed().is_complete

    def _sweep_all(self) -> None:
        start = time.monotonic()
        few: list[tuple[Watch, Members, list[int]]] = []
        ids: list[str] = []
        for watch in tuple(self._routes.watches):
            members = watch.members()
            if members is None:
                continue
            if members.barrier.remaining >= SWEEP_CHUNK:
                self._sweep(watch, members)
                continue
            # Many results of single tasks: together, not a round trip each.
            indices = members.barrier.pending(0, SWEEP_CHUNK)
            few.append((watch, members, indices))
            ids += watch.roster.select(indices)
            if len(ids) >= SWEEP_CHUNK:
                self._sweep_few(few, ids)
                few, ids = [], []
        self._sweep_few(few, ids)
        self._plan_sweep(time.monotonic() - start)

    def _sweep_few(
        self, few: list[tuple[Watch, Members, list[int]]], ids: list[str]
    ) -> None:
        records = self._backend.fetch(ids) if ids else []
        at = 0
        for watch, members, indices in few:
            found = records[at : at + len(indices)]
            at += len(indices)
            self._absorb(members, indices, found)
            self._finish_if_done(members, watch)

    def _plan_sweep(self, took: float) -> None:
        least = _SWEEP_INTERVAL_ALONE if self._sweeps_alone else _SWEEP_INTERVAL
        self._next_sweep = time.monotonic() + max(least, _SWEEP_SHARE * took)

    # Ends.

    def _finish_if_done(self, members: Members, watch: Watch) -> None:
        if not members.barrier.is_complete:
            return
        members.is_watched = True
        self._notify(members)
        self._end(watch)

    def _notify(self, members: Members) -> None:
        members.notify()
        if not members.callbacks:
            self._kept.discard(members)

    def _on_dropped(self, watch: Watch) -> None:
        # Runs wherever the last reference went, under any lock: only leaves a note.
        self._orders.append(lambda: self._end(watch))

    def _end(self, watch: Watch) -> None:
        self._routes.discard(watch)
        feed = self._feed
        if feed is None:
            return
        if not self._routes.watches:
            self._sweeps_alone = False
            if len(watch.channels) > _SUBSCRIBE_FIRST or watch.has_pattern:
                # One disconnect instead of as many replies as channels.
                feed.reset()
                return
        if watch.channels:
            feed.unsubscribe(watch.channels)
        if watch.has_pattern:
            feed.unsubscribe_prefix(watch.roster.prefix)
        watch.channels, watch.has_pattern = [], False

    # Trouble.

    def _on_feed_lost(self, exc: FeedLostError) -> None:
        now = time.monotonic()
        self._failures = max(1, self._failures)
        if self._lost_at is not None and now - self._lost_at < _LOST_WITHIN:
            if not self._sweeps_alone:
                logger.warning(
                    "results: %s closed the subscription twice (%s); reading instead",
                    self._backend.as_uri(),
                    exc,
                )
            self._sweeps_alone = True
        self._lost_at = now

    def _on_unreachable(self, exc: Exception) -> None:
        self._failures += 1
        if self._failures == 2:  # noqa: PLR2004 - one lost connection is no news
            logger.warning("results: %s is gone: %s", self._backend.as_uri(), exc)
        policy = getattr(self._backend, "retry_policy", {})
        most = policy.get("max_retries")
        if most is not None and self._failures > most:
            self._give_up(exc)
            # A callback has nobody to raise to: it waits for as long as it takes.
            self._arriving.extend(map(weakref.ref, tuple(self._kept)))
        feed = self._open_feed()
        feed.reset()
        pause = min(_BACKOFF_MOST, _BACKOFF_FIRST * 2.0 ** min(self._failures, 10))
        end = time.monotonic() + pause
        while not self._is_closing and time.monotonic() < end:
            feed.receive(end - time.monotonic())

    def _give_up(self, exc: Exception) -> None:
        """Tell all that wait; the next look starts again."""
        error = exc
        if not isinstance(error, CelerantError):
            error = CelerantError(
                f"result backend {self._backend.as_uri()} failed: {exc}"
            )
            error.__cause__ = exc
        waiting = [watch.members() for watch in self._routes.watches]
        while self._arriving:
            waiting.append(self._arriving.popleft()())
        self._routes = Routes()
        for members in waiting:
            if members is not None:
                members.fail(error)
        self._failures = 0
        if self._feed is not None:
            self._feed.reset()

    def after_fork(self) -> None:
        """Start anew in a forked child: its parent's thread and socket are not ours."""
        feed, watches = self._feed, self._routes.watches
        for watch in watches:
            members = watch.members()
            if members is not None:
                members.forget_threads()
        self._reset()
        self._backend.after_fork()
        if feed is not None:
            feed.after_fork()


_READY = {
    "SUCCESS": Barrier.SUCCESS,
    "FAILURE": Barrier.FAILURE,
    "REVOKED": Barrier.REVOKED,
}

_consumers: weakref.WeakSet[Consumer] = weakref.WeakSet()


def after_fork_in_child() -> None:
    """Reset every consumer; registered with `os.register_at_fork`."""
    for consumer in tuple(_consumers):
        consumer.after_fork()


def _close_all() -> None:
    for consumer in tuple(_consumers):
        consumer.close(timeout=1.0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=after_fork_in_child)
# A daemon thread that runs on while the interpreter goes down may speak up.
atexit.register(_close_all)
