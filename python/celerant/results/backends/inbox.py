"""Records that came over rpc and have no waiter yet, or were just taken.

A message comes once: a record that is not kept here is gone.
"""

from __future__ import annotations

from collections.abc import Sequence

from celerant._core import monotonic
from celerant.states import READY_STATES

__all__ = ["Inbox"]

#: How many taken records stay readable, for `date_done` and the like.
_TAKEN_MOST = 10_000
#: How many records are kept between two looks for expired ones.
_PURGE_EVERY = 1024
#: The first bytes of a done task's record, as Celery writes it.
_READY_STARTS = tuple(f'{{"status": "{state}"'.encode() for state in READY_STATES)


class Inbox:
    """Written by the consumer's thread, read by any.

    Args:
        expires: Seconds that an unread record is kept; 0 for ever.
    """

    def __init__(self, expires: int) -> None:
        self._life = expires or float("inf")
        #: (record, monotonic end of life), oldest first.
        self._kept: dict[str, tuple[bytes, float]] = {}
        self._taken: dict[str, bytes] = {}
        self._puts = 0

    def keep(self, task_id: str, record: bytes) -> None:
        """Keep a record until it is taken."""
        self._taken.pop(task_id, None)
        found = self._kept.get(task_id)
        if found is not None and found[0].startswith(_READY_STARTS):
            # The task was delivered twice: a done one stays done.
            return
        now = monotonic()
        self._kept.pop(task_id, None)
        self._kept[task_id] = (record, now + self._life)
        self._puts += 1
        if self._puts % _PURGE_EVERY == 0:
            self._purge(now)

    def take(self, task_id: str) -> bytes | None:
        """Return a record, which is now among the taken ones."""
        found = self._kept.pop(task_id, None)
        if found is None:
            return self._taken.get(task_id)
        self.note(task_id, found[0])
        return found[0]

    def note(self, task_id: str, record: bytes) -> None:
        """Keep a record that went to its result readable for a while."""
        self._taken.pop(task_id, None)
        self._taken[task_id] = record
        if len(self._taken) > _TAKEN_MOST:
            self._taken.pop(next(iter(self._taken)), None)

    def read(self, task_id: str) -> bytes | None:
        """Return a record, which stays here."""
        found = self._kept.get(task_id)
        return self._taken.get(task_id) if found is None else found[0]

    def drop(self, ids: Sequence[str]) -> None:
        """Forget records; unknown ones are no error."""
        for task_id in ids:
            self._kept.pop(task_id, None)
            self._taken.pop(task_id, None)

    def _purge(self, now: float) -> None:
        while self._kept:
            oldest = next(iter(self._kept))
            if self._kept[oldest][1] > now:
                return
            del self._kept[oldest]
