"""Results in this process: a dict of records that expire and are pushed to feeds.

It holds no more than ``celerant_result_memory_limit``. Once all its users have closed
or dropped it, it is empty.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from celerant._core import monotonic
from celerant.common.per_process import PerProcess
from celerant.errors import CelerantError, ForkError
from celerant.results.backends.base import Backend
from celerant.results.backends.memory_chord import MemoryChords
from celerant.results.backends.memory_feed import MemoryFeed
from celerant.results.backends.memory_store import MemoryStore, end_of_life
from celerant.states import RETRY

if TYPE_CHECKING:
    from celerant.context.request import Request
    from celerant.results.tracking.members import Members

__all__ = ["MemoryBackend"]


class HandlesInMemory:
    """Keeps the data of handles that are valid in this process only."""

    def __init__(self, store: MemoryStore, expires: int) -> None:
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


#: Stores by the names of apps; they live while backends use them.
_stores: PerProcess[weakref.WeakValueDictionary[str, MemoryStore]] = PerProcess(
    weakref.WeakValueDictionary
)
_stores_lock = PerProcess(threading.Lock)


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
        with _stores_lock.get():
            self._shared = _stores.get().setdefault(name, MemoryStore())
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
        asides[name] = payload, end_of_life(self.expires)
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
        self._checked().groups.append((payload, kept, end_of_life(self.expires)))

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

    def _checked(self) -> MemoryStore:
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
