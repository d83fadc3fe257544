"""Results in this process: a dict of records that expire and are pushed to feeds.

It holds no more than ``celerant_result_memory_limit``. Once all its users have closed
or dropped it, it is empty.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from celerant._core import monotonic
from celerant.common.per_process import PerProcess, ProcessLock
from celerant.errors import CelerantError, ForkError
from celerant.results.backends.base import Backend
from celerant.results.backends.beside import INDEX_MOST
from celerant.results.backends.memory_chord import MemoryChords
from celerant.results.backends.memory_feed import MemoryFeed
from celerant.states import RETRY

if TYPE_CHECKING:
    from celerant.context.request import Request
    from celerant.results.tracking.members import Members

__all__ = ["MemoryBackend", "Store"]

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


class Store:
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
        self._users: weakref.WeakSet[MemoryBackend] = weakref.WeakSet()
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
        self._records[name] = (payload, _end(expires))
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
        kept = before if before is not seen else (payload, _end(expires))
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

    def join(self, user: MemoryBackend) -> None:
        """Add a user."""
        self._users.add(user)

    def leave(self, user: MemoryBackend) -> None:
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


class HandlesInMemory:
    """Keeps the data of handles that are valid in this process only."""

    def __init__(self, store: Store, expires: int) -> None:
        """Keep data in `store` for `expires` seconds; 0 is for ever."""
        self._store = store
        self._expires = expires

    def handle_key(self) -> bytes:
        """Return the key of this process's store."""
        return self._store.key

    def put_aside(self, name: str, payload: bytes) -> None:
        """Store `payload` as a record of no task."""
        self._store.put(f"aside-{name}", payload, self._expires)

    def take_aside(self, name: str) -> bytes | None:
        """Return a payload that was put aside; None if it is gone."""
        found = self._store.get(f"aside-{name}")
        return None if found == self._store.gone_record else found


def _end(expires: int) -> float:
    return monotonic() + expires if expires else math.inf


#: Stores by the names of apps; they live while backends use them.
_stores: PerProcess[weakref.WeakValueDictionary[str, Store]] = PerProcess(
    weakref.WeakValueDictionary
)
_stores_lock = ProcessLock()


class MemoryBackend(Backend):
    """Results in this process, one store for each app name.

    Args:
        url: Used only in messages.
        name: The app's name.
        limit: ``celerant_result_memory_limit`` in bytes; None is without limit.
        settings: Those of `Backend`.
    """

    def __init__(
        self, url: str, *, name: str, limit: int | None = None, **settings: Any
    ) -> None:
        super().__init__(url, **settings)
        self._is_open = False
        #: The members of `listen`; they may be there once for each waiting thread.
        self._listening: list[Members] = []
        with _stores_lock:
            self._shared = _stores.get().setdefault(name, Store())
        self._shared.chords.expires = self.chord_expires
        self._shared.limit = math.inf if limit is None else limit
        self._shared.gone_record = self._gone_record(limit)

    keeps_index = True

    def fetch(self, ids: Sequence[str]) -> list[bytes | None]:
        """Return the stored records of `ids`; None for each that has none."""
        get = self._checked().get
        return [get(task_id) for task_id in ids]

    def store_encoded(
        self,
        task_id: str,
        payload: bytes,
        state: str,
        *,
        request: Request | None = None,
    ) -> None:
        """Store a record, unless there is one of a success."""
        store = self._checked()
        if state != RETRY and store.is_free(task_id):
            store.put(task_id, payload, self.expires_of(state))
        else:
            super().store_encoded(task_id, payload, state, request=request)

    def store(self, task_id: str, payload: bytes, *, expires: int) -> None:
        """Store a record and push it to this process's consumers."""
        self._checked().put(task_id, payload, expires)

    def store_retry(self, task_id: str, payload: bytes, *, expires: int) -> None:
        """Store the record of a retry, unless the next run has ended."""
        may_replace = partial(self.may_replace, state=RETRY)
        self._checked().put_unless_ended(task_id, payload, expires, may_replace)

    def forget(self, ids: Sequence[str]) -> None:
        """Delete the records of `ids`."""
        self._checked().drop(ids)

    def handles_here(self) -> HandlesInMemory:
        """Return a store of handles for this process's tasks."""
        return HandlesInMemory(self._checked(), self.expires)

    def chord_counter(self) -> MemoryChords:
        """Return the counter of this process's chords."""
        return self._checked().chords

    def put_aside(self, name: str, payload: bytes) -> None:
        """Keep `payload` in this process, for as long as results live."""
        asides, now = self._checked().asides, monotonic()
        asides.pop(name, None)
        asides[name] = payload, _end(self.expires)
        for old, (_, end) in tuple(asides.items()):
            if end > now:
                break
            asides.pop(old, None)

    def take_aside(self, name: str) -> bytes | None:
        """Return the payload that was put aside, None if it is gone."""
        payload, end = self._checked().asides.get(name, (None, 0.0))
        return payload if end > monotonic() else None

    def add_to_index(self, payload: bytes, kept: object) -> None:
        """Add an entry; the oldest goes if there are too many."""
        self._checked().groups.append((payload, kept, _end(self.expires)))

    def index(self) -> list[tuple[bytes, object]]:
        """Return the entries of this process."""
        # A copy is made without letting another thread append meanwhile.
        entries, now = self._checked().groups.copy(), monotonic()
        return [(payload, kept) for payload, kept, end in entries if end > now]

    def listen(self, members: Members, task_id: str, tell: Callable[[], None]) -> bool:
        """Call `tell` for each record of a task, in the thread that stores it.

        Raises:
            CelerantError: The results were dropped.
        """
        store = self._checked()
        if members.losses != store.losses and store.get(task_id) is None:
            doubt = self.doubt(members)
            if doubt is not None:
                raise doubt
        store.listen(task_id, tell)
        self._listening.append(members)
        return True

    def unlisten(
        self, members: Members, task_id: str, tell: Callable[[], None]
    ) -> None:
        """Undo one `listen`."""
        self._listening.remove(members)
        self._shared.unlisten(task_id, tell)

    @property
    def losses(self) -> int:  # type: ignore[override]
        """How often all records were dropped because no users were left."""
        return self._shared.losses

    def doubt(self, members: Members) -> CelerantError | None:
        """Return, once for each loss, why results of `members` may never come."""
        if members.losses == self._shared.losses:
            return None
        members.losses = self._shared.losses
        return CelerantError(
            f"{members.barrier.remaining} results on {self.as_uri()} are gone or may "
            "never come: the app was closed after their tasks were sent"
        )

    def close(self) -> None:
        """Stop the consumer and raise an error in waiters; the backend stays usable.

        The results are dropped when the last user closes.
        """
        super().close()
        for members in tuple(self._listening):
            members.fail(CelerantError(f"{self!r} was closed"))
        if self._is_open and self._shared.pid == os.getpid():
            self._is_open = False
            self._shared.leave(self)

    def _gone_record(self, limit: int | None) -> bytes:
        told = (
            f"this result was dropped early: {self.as_uri()} keeps no more than "
            f"celerant_result_memory_limit ({limit} bytes); "
            "forget results that are read"
        )
        kind = {"exc_type": "ResultExpired", "exc_module": "celerant.errors"}
        result = {**kind, "exc_message": [told]}
        return self.codec.pack(
            {"status": "FAILURE", "result": result, "traceback": None}
        )

    def open_feed(self) -> MemoryFeed:
        """Return a feed of all records that are stored from now on."""
        return MemoryFeed(self._checked().feeds)

    def _checked(self) -> Store:
        if self._shared.pid != os.getpid():
            msg = (
                f"results on {self.as_uri()} live in process {self._shared.pid} and do "
                "not follow a fork; use redis://, or start children with spawn"
            )
            raise ForkError(msg, created_in_pid=self._shared.pid)
        if not self._is_open:
            self._is_open = True
            self._shared.join(self)
        return self._shared
