"""Results in this process: a dict with a time to live, and records pushed to feeds."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from celerant.errors import CelerantError, ForkError
from celerant.per_process import PerProcess, ProcessLock
from celerant.results.backends.base import Backend, Feed
from celerant.results.backends.memory_chord import MemoryChords

if TYPE_CHECKING:
    from celerant.results.members import Members

__all__ = ["MemoryBackend", "MemoryFeed", "Store"]

#: Stores between two looks for what expired: often enough to bound what is kept,
#: rare enough not to show.
_PURGE_EVERY = 1024


class Store:
    """The records of one app, by task id. Safe to use from any thread.

    Storing a record and reading one take no lock: slots that store at the same time
    would wait for each other at it, and hand the interpreter over each time.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.feeds: set[MemoryFeed] = set()
        #: Who waits for one record, by task id.
        self._listeners: dict[str, tuple[Callable[[], None], ...]] = {}
        self.chords = MemoryChords()
        #: (record, monotonic end of life or infinity), oldest first.
        self._records: dict[str, tuple[bytes, float]] = {}
        self._lock = threading.Lock()
        self._stored = 0

    def put(self, name: str, payload: bytes, expires: int) -> None:
        """Store a record for `expires` seconds, 0 for ever, and push it."""
        now = time.monotonic()
        # Anew at the end, so that the oldest stay in front.
        self._records.pop(name, None)
        self._records[name] = (payload, now + expires if expires else float("inf"))
        # Two threads may count as one: it is about how often to look.
        self._stored += 1
        if self._stored % _PURGE_EVERY == 0:
            with self._lock:
                self._purge(now)
        for feed in tuple(self.feeds):
            feed.push(name, payload)
        for tell in self._listeners.get(name, ()):
            tell()

    def listen(self, name: str, tell: Callable[[], None]) -> None:
        """Call `tell` for each record of this name, in the thread that stores it."""
        with self._lock:
            self._listeners[name] = (*self._listeners.get(name, ()), tell)

    def unlisten(self, name: str, tell: Callable[[], None]) -> None:
        """Undo one `listen`."""
        with self._lock:
            left = list(self._listeners.get(name, ()))
            left.remove(tell)
            # Never without those who stay: who stores looks without the lock.
            if left:
                self._listeners[name] = tuple(left)
            else:
                del self._listeners[name]

    def get(self, name: str) -> bytes | None:
        """Return the record, None where it is missing or expired."""
        found = self._records.get(name)
        return None if found is None or found[1] <= time.monotonic() else found[0]

    def drop(self, names: Sequence[str]) -> None:
        """Delete records; unknown ones are no error."""
        for name in names:
            self._records.pop(name, None)

    def _purge(self, now: float) -> None:
        # From the front, up to one that lives: a failure with a shorter life of its
        # own may stay longer than it must, and `get` does not return it.
        while True:
            try:
                oldest, (_, end) = next(iter(self._records.items()))
            except RuntimeError:
                # Somebody stored just now.
                continue
            except StopIteration:
                return
            if end > now:
                return
            found = self._records.pop(oldest, None)
            if found is not None and found[1] > now:
                # Stored anew in between; unless even newer, it stays.
                self._records.setdefault(oldest, found)


_stores: PerProcess[dict[str, Store]] = PerProcess(dict)
_stores_lock = ProcessLock()


class MemoryFeed(Feed):
    """What was stored since the last look."""

    is_complete = True

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records: deque[tuple[str, bytes]] = deque()
        self._news = threading.Event()
        self._is_idle = False
        store.feeds.add(self)

    def push(self, task_id: str, payload: bytes) -> None:
        """Take a record; wakes the consumer only where it waits."""
        self._records.append((task_id, payload))
        if self._is_idle:
            self._news.set()

    def receive(self, timeout: float | None) -> list[tuple[str, bytes]]:
        """Return what was pushed."""
        if not self._records:
            # Say so first, look second: a push in between sets the event.
            self._is_idle = True
            if not self._records:
                self._news.wait(timeout)
            self._is_idle = False
            self._news.clear()
        # A push by several threads at once may still append: take what is there.
        return [self._records.popleft() for _ in range(len(self._records))]

    def wake(self) -> None:
        """Make `receive` return."""
        self._news.set()

    def subscribe(self, ids: Sequence[str]) -> bool:  # noqa: ARG002 - all are pushed
        """Do nothing: every record is pushed."""
        return True

    def subscribe_prefix(self, prefix: str) -> bool:  # noqa: ARG002 - all are pushed
        """Do nothing: every record is pushed."""
        return True

    def unsubscribe(self, ids: Sequence[str]) -> None:
        """Do nothing: every record is pushed."""

    def unsubscribe_prefix(self, prefix: str) -> None:
        """Do nothing: every record is pushed."""

    def reset(self) -> None:
        """Forget what was pushed."""
        self._records.clear()

    def close(self) -> None:
        """Be pushed to no more."""
        self._store.feeds.discard(self)


class MemoryBackend(Backend):
    """Results in this process, one store for each app name.

    Args:
        url: Only named in messages.
        name: The app's name.
        settings: As `Backend`.
    """

    def __init__(self, url: str, *, name: str, **settings: Any) -> None:
        super().__init__(url, **settings)
        #: Who waits by `listen`; the same may do so in several threads.
        self._listening: list[Members] = []
        with _stores_lock:
            self._shared = _stores.get().setdefault(name, Store())
        self._shared.chords.expires = self.chord_expires

    def fetch(self, ids: Sequence[str]) -> list[bytes | None]:
        """Return the records of `ids`."""
        get = self._checked().get
        return [get(task_id) for task_id in ids]

    def store(self, task_id: str, payload: bytes, *, expires: int) -> None:
        """Store a record and push it to this process's consumers."""
        self._checked().put(task_id, payload, expires)

    def forget(self, ids: Sequence[str]) -> None:
        """Delete the records of `ids`."""
        self._checked().drop(ids)

    def chord_counter(self) -> MemoryChords:
        """Return what counts the chords of this process."""
        return self._checked().chords

    def listen(self, members: Members, task_id: str, tell: Callable[[], None]) -> bool:
        """Tell who waits in the thread that stores: no third one is needed."""
        self._checked().listen(task_id, tell)
        self._listening.append(members)
        return True

    def unlisten(
        self, members: Members, task_id: str, tell: Callable[[], None]
    ) -> None:
        """Undo one `listen`."""
        self._listening.remove(members)
        self._shared.unlisten(task_id, tell)

    def close(self) -> None:
        """Stop the consumer and tell who waits."""
        super().close()
        for members in tuple(self._listening):
            members.fail(CelerantError(f"{self!r} was closed"))

    def open_feed(self) -> MemoryFeed:
        """Return a feed of all that is stored from now on."""
        return MemoryFeed(self._checked())

    def _checked(self) -> Store:
        if self._shared.pid != os.getpid():
            msg = (
                f"results on {self.as_uri()} live in process {self._shared.pid} and do "
                "not follow a fork; use redis://, or start children with spawn"
            )
            raise ForkError(msg, created_in_pid=self._shared.pid)
        return self._shared
