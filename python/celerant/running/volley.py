"""Records on their way to the result backend, stored many at a time.

The slots of a worker add their tasks' records and go on. A volley leaves when it is
large, when a slot has nothing more to run, and otherwise a few milliseconds after its
first record. So a task's result does not wait for the tasks behind it.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celerant._core import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.context.request import Request
    from celerant.running.storing import Storing

__all__ = ["Record", "Volley"]

#: Records that one volley has at most.
_MOST = 200
#: Records, and seconds, after which a slot that runs on stores them itself.
_MANY, _LONG = 64, 0.002


@dataclass(slots=True, eq=False)
class Record:
    """A task's record, and the function to call once it is stored."""

    request: Request
    payload: bytes
    state: str
    #: Must not raise.
    then: Callable[[], Any] | None


class Volley:
    """The records of one worker; safe between threads, and without a lock for each."""

    def __init__(self, storing: Storing) -> None:
        """Store by `storing`."""
        self._storing = storing
        self._records: deque[Record] = deque()
        #: When the oldest record came (`monotonic`), or before.
        self._since = 0.0
        self._busy = threading.Lock()
        #: Held by the slot that stores what is late.
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Record) -> None:
        """Let a record be stored soon."""
        if not self._records:
            self._since = monotonic()
        self._records.append(record)

    def store_due(self) -> None:
        """Store the records if they are many, or have been here for long."""
        waiting = len(self._records)
        if waiting >= _MANY:
            self._store_some()
        elif (
            waiting
            and monotonic() - self._since >= _LONG
            # Else each of many slots would store the few records that have come while
            # another waits for the store.
            and self._turn.acquire(blocking=False)
        ):
            try:
                self._store_some()
            finally:
                self._turn.release()

    def store(self) -> None:
        """Store all records, waiting for a backend that is away."""
        while self._records:
            self._store_some()

    def _store_some(self) -> None:
        records: list[Record] = []
        self._since = monotonic()
        try:
            while len(records) < _MOST:
                records.append(self._records.popleft())
        except IndexError:
            pass
        if not records:
            return
        self._storing.many(records)
        for record in records:
            if record.then is not None:
                record.then()

    def store_late(self) -> bool:
        """Store the records that have been here for long.

        Return whether none is left.
        """
        with self._busy:
            if self._records and monotonic() - self._since < _LONG:
                # A slot that runs on stores them itself, or rests.
                return False
            self.store()
            return True

    def wait(self) -> None:
        """Wait for the records that `store_late` has taken, so that none is left."""
        with self._busy:
            pass
