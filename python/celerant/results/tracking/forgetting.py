"""Drop used results, so that a stream of them takes no more and more memory."""

from __future__ import annotations

from collections.abc import Sequence
from threading import RLock
from typing import TYPE_CHECKING

from celerant._core import Barrier
from celerant.results.tracking.forms import member_tasks
from celerant.results.tracking.intake import tells_end

if TYPE_CHECKING:
    from celerant.results.tracking.members import Members

__all__ = ["Forgetting"]

#: The most records that one command of Redis deletes.
_VOLLEY = 1000


class Forgetting:
    """Drops members' values here, and deletes their records in volleys."""

    def __init__(self, members: Members) -> None:
        self._members = members
        #: Members that are in use, to be dropped at the next step.
        self._used: list[int] = []
        #: Members whose records are to be deleted.
        self._due: list[int] = []
        #: The same, of a group with a journal, which is told first.
        self._untold: list[int] = []
        #: Held while records are deleted: meanwhile none may be sent once more.
        self._lock = RLock()
        members.heed(self)

    @property
    def has_more(self) -> bool:
        """Whether there are records to delete."""
        return bool(self._due)

    def use(self, indices: list[int]) -> None:
        """Drop these members at the next step."""
        with self._lock:
            self._used = indices

    def spare(self, indices: Sequence[int]) -> None:
        """Keep what comes of members from now on: they are sent once more."""
        again = set(indices)
        with self._lock:
            for kept in (self._used, self._due, self._untold):
                kept[:] = [index for index in kept if index not in again]

    def forget_last(self) -> bool:
        """Drop the members that were used last; return whether a volley is full."""
        with self._lock:
            gone, self._used = self._used, []
            if gone:
                # Any record that comes later finds its member done.
                self._due += gone
                if self._members.survival is not None:
                    self._untold += gone
                self._members.forget(gone)
            return len(self._due) >= _VOLLEY

    def delete(self) -> None:
        """Delete the records of dropped members.

        Raises:
            CelerantError: The store is not reachable; the next call tries again.
        """
        members = self._members
        with self._lock:
            self._tell_journal()
            while self._due:
                some = self._due[:_VOLLEY]
                self._note_dropped(some)
                ids = list(member_tasks(members.roster, some))
                for start in range(0, len(ids), _VOLLEY):
                    members.backend.forget(ids[start : start + _VOLLEY])
                del self._due[: len(some)]

    def _tell_journal(self) -> None:
        survival = self._members.survival
        if survival is not None and self._untold:
            gone, self._untold = self._untold, []
            state = self._members.barrier.state
            failed = [index for index in gone if state(index) != Barrier.SUCCESS]
            survival.on_forget(gone, failed)

    def _note_dropped(self, indices: list[int]) -> None:
        """Note of cancelled members whether a worker has dropped their messages.

        Only their records tell it, which are about to be deleted.
        """
        members = self._members
        state = members.barrier.state
        revoked = [index for index in indices if state(index) == Barrier.REVOKED]
        if not revoked:
            return
        ids, backend = members.roster.select(revoked), members.backend
        told = zip(revoked, ids, backend.fetch(ids), strict=True)
        for index, task_id, record in told:
            if tells_end(backend, task_id, record):
                members.unqueued.add(index)
