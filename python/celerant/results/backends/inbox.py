"""Records that came over rpc: those without a waiter, and those taken lately.

A message comes once, so a record that is not kept here is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from celerant._core import monotonic
from celerant.states import READY_STATES

__all__ = ["Inbox"]

#: How many taken records stay readable, for `date_done` and similar fields.
_TAKEN_MOST = 10_000
#: How many records come between two checks for expired ones.
_PURGE_EVERY = 1024
#: The first bytes of a done task's record, as Celery writes them.
_READY_STARTS = tuple(f'{{"status": "{state}"'.encode() for state in READY_STATES)


class Inbox:
    """The records of one process; the consumer's thread writes, any thread reads.

    Args:
        expires: Seconds that an unread record is kept; 0 is for ever.
    """

    def __init__(self, expires: int) -> None:
        self._life = expires or float("inf")
        #: Records with their ends of life (`monotonic`), the oldest first.
        self._kept: dict[str, tuple[bytes, float]] = {}
        self._taken: dict[str, bytes] = {}
        self._puts = 0

    def keep(self, task_id: str, record: bytes) -> None:
        """Keep a record until it is taken."""
        self._taken.pop(task_id, None)
        found = self._kept.get(task_id)
        if found is not None and found[0].startswith(_READY_STARTS):
            # The task was delivered twice; it stays done.
            return
        now = monotonic()
        self._kept.pop(task_id, None)
        self._kept[task_id] = (record, now + self._life)
        self._puts += 1
        if self._puts % _PURGE_EVERY == 0:
            self._purge(now)

    def take(self, task_id: str) -> bytes | None:
        """Return a record and move it to the taken ones."""
        found = self._kept.pop(task_id, None)
        if found is None:
            return self._taken.get(task_id)
        self.note(task_id, found[0])
        return found[0]

    def note(self, task_id: str, record: bytes) -> None:
        """Keep a taken record readable for some time."""
        self._taken.pop(task_id, None)
        self._taken[task_id] = record
        if len(self._taken) > _TAKEN_MOST:
            self._taken.pop(next(iter(self._taken)), None)

    def read(self, task_id: str) -> bytes | None:
        """Return a record without taking it."""
        found = self._kept.get(task_id)
        return self._taken.get(task_id) if found is None else found[0]

    def drop(self, ids: Sequence[str]) -> None:
        """Delete records; unknown ids are no error."""
        for task_id in ids:
            self._kept.pop(task_id, None)
            self._taken.pop(task_id, None)

    def _purge(self, now: float) -> None:
        while self._kept:
            oldest = next(iter(self._kept))
            if self._kept[oldest][1] > now:
                return
            del self._kept[oldest]
