"""The records of apps in this process: a dict of records that expire."""

from __future__ import annotations

import logging
import math
import os
import secrets
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from celerant._core import monotonic
from celerant.results.backends.beside import INDEX_MOST
from celerant.results.backends.memory_chord import MemoryChords

if TYPE_CHECKING:
    from celerant.results.backends.memory_feed import MemoryFeed

__all__ = ["MemoryStore", "end_of_life"]

logger = logging.getLogger("celerant")

#: How many records are stored between two checks for expired ones: few enough to limit
#: memory, and enough to cost little time.
_PURGE_EVERY = 1024
#: Bytes that a record takes besides its own, for its id, its entry and its time.
_OVERHEAD = 300
#: The share of the limit that is left when old records are dropped, so that they are
#: not dropped one by one.
_LEFT = 0.9
#: How many records that were dropped early are remembered.
_GONE_MOST = 100_000


class MemoryStore:
    """The records of one app by task id; any thread may use it.

    Storing and reading take no lock: slots that store at the same time would wait for
    each other and hand the interpreter over each time.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        #: The most bytes that are kept, as the last user says.
        self.limit = math.inf
        #: The record that stands for each one that was dropped early.
        self.gone_record: bytes | None = None
        #: How often all records were dropped because no users were left.
        self.losses = 0
        self._users: weakref.WeakSet[object] = weakref.WeakSet()
        self._gone: dict[str, None] = {}
        self._bytes = 0
        self.feeds: set[MemoryFeed] = set()
        #: The waiters for one record, by task id.
        self._listeners: dict[str, tuple[Callable[[], None], ...]] = {}
        self.chords = MemoryChords()
        #: Entries of groups, what is kept of each, and its end of life, oldest first.
        self.groups: deque[tuple[bytes, object, float]] = deque(maxlen=INDEX_MOST)
        #: Payloads kept beside results, with their ends of life, the oldest first.
        self.asides: dict[str, tuple[bytes, float]] = {}
        #: Records with their ends of life (`monotonic`, or infinity), the oldest first.
        self._records: dict[str, tuple[bytes, float]] = {}
        self._lock = threading.Lock()
        self._stored = 0
        #: The key for proofs of handles that tasks in this process get.
        self.key = secrets.token_bytes(32)

    def put(self, name: str, payload: bytes, expires: int) -> None:
        """Store a record for `expires` seconds (0 is for ever) and push it."""
        # Removed first, so that it comes last and the oldest stay in front.
        before = self._records.pop(name, None)
        self._records[name] = (payload, end_of_life(expires))
        self._tell(name, payload, before)

    def put_unless_ended(
        self,
        name: str,
        payload: bytes,
        expires: int,
        may_replace: Callable[[bytes | None], bool],
    ) -> None:
        """Store a record if it may replace the present one."""
        seen = self._records.get(name)
        if not may_replace(self.get(name)):
            return
        before = self._records.pop(name, None)
        kept = before if before is not seen else (payload, end_of_life(expires))
        if kept is None or self._records.setdefault(name, kept)[0] is not payload:
            # Another thread has stored a record in between.
            return
        self._tell(name, payload, before)

    def _tell(
        self, name: str, payload: bytes, before: tuple[bytes, float] | None
    ) -> None:
        # Threads that store at once may count wrongly. `_let_go` counts again.
        self._bytes += len(payload) + _OVERHEAD
        if before is not None:
            self._bytes -= len(before[0]) + _OVERHEAD
        # This count only decides how often to check.
        self._stored += 1
        if self._stored % _PURGE_EVERY == 0:
            with self._lock:
                self._purge(monotonic())
        for feed in tuple(self.feeds):
            feed.push(name, payload)
        for tell in self._listeners.get(name, ()):
            tell()
        if self._bytes > self.limit:
            self._let_go()

    def join(self, user: object) -> None:
        """Add a user."""
        self._users.add(user)

    def leave(self, user: object) -> None:
        """Remove a user; after the last one, drop the results."""
        self._users.discard(user)
        if not self._users:
            self.losses += 1
            self._records.clear()
            self.groups.clear()
            self.asides.clear()
            self._gone.clear()
            self._bytes = 0
            self.chords.clear()

    def _let_go(self) -> None:
        """Drop the oldest records until there is room."""
        with self._lock:
            now = monotonic()
            self._purge(now)
            sizes = [len(found[0]) for found in tuple(self._records.values())]
            self._bytes = sum(sizes) + len(sizes) * _OVERHEAD
            if self._bytes <= self.limit:
                return
            if not self._gone:
                logger.warning(
                    "results: memory:// holds %d bytes, above "
                    "celerant_result_memory_limit; the oldest results go; "
                    "forget results that are read, or send tasks whose results are not "
                    "wanted with ignore_result",
                    self._bytes,
                )
            while self._records and self._bytes > self.limit * _LEFT:
                oldest = next(iter(self._records), None)
                found = None if oldest is None else self._records.pop(oldest, None)
                if oldest is not None and found is not None:
                    self._bytes -= len(found[0]) + _OVERHEAD
                    self._gone[oldest] = None
            while len(self._gone) > _GONE_MOST:
                del self._gone[next(iter(self._gone))]

    def listen(self, name: str, tell: Callable[[], None]) -> None:
        """Call `tell` for each record with this name, in the thread that stores it."""
        with self._lock:
            self._listeners[name] = (*self._listeners.get(name, ()), tell)

    def unlisten(self, name: str, tell: Callable[[], None]) -> None:
        """Undo one `listen`."""
        with self._lock:
            left = list(self._listeners.get(name, ()))
            left.remove(tell)
            # Replaced at once, because storing threads read it without the lock.
            if left:
                self._listeners[name] = tuple(left)
            else:
                del self._listeners[name]

    def get(self, name: str) -> bytes | None:
        """Return a record; None if it is missing or expired."""
        found = self._records.get(name)
        if found is None:
            return self.gone_record if name in self._gone else None
        return None if found[1] <= monotonic() else found[0]

    def is_free(self, name: str) -> bool:
        """Whether there is no record, and none was dropped early."""
        return name not in self._records and name not in self._gone

    def drop(self, names: Sequence[str]) -> None:
        """Delete records; unknown names are no error."""
        for name in names:
            found = self._records.pop(name, None)
            if found is not None:
                self._bytes -= len(found[0]) + _OVERHEAD
            self._gone.pop(name, None)

    def _purge(self, now: float) -> None:
        # From the front up to the first live record. An expired failure, which lives
        # shorter, may stay behind it, but `get` does not return it.
        while True:
            try:
                oldest, (_, end) = next(iter(self._records.items()))
            except RuntimeError:
                # Another thread has just stored a record.
                continue
            except StopIteration:
                return
            if end > now:
                return
            found = self._records.pop(oldest, None)
            if found is not None and found[1] > now:
                # Another thread has stored it again, so it stays.
                self._records.setdefault(oldest, found)
            elif found is not None:
                self._bytes -= len(found[0]) + _OVERHEAD


def end_of_life(expires: int) -> float:
    """Return the `monotonic` time `expires` seconds from now; 0 is for ever."""
    return monotonic() + expires if expires else math.inf
