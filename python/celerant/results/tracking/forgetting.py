"""Drop used results, so that a stream of them takes no more and more memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celerant._core import Barrier
from celerant.results.tracking.forms import ids_in

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
        self.yielded: list[int] = []
        self._ids: list[str] = []
        #: The same, of a group with a journal, which is told first.
        self._indices: list[int] = []

    @property
    def has_more(self) -> bool:
        """Whether there are records to delete."""
        return bool(self._ids)

    def forget_last(self) -> bool:
        """Drop the last yielded members; return whether a volley is full."""
        gone, self.yielded = self.yielded, []
        if gone:
            members = self._members
            # Any record that comes later finds its member done.
            self._ids += members.roster.select(gone)
            for index in gone:
                form = members.roster.form(index)
                if form is not None:
                    self._ids += ids_in(form)
            if members.survival is not None:
                self._indices += gone
            members.forget(gone)
        return len(self._ids) >= _VOLLEY

    def delete(self) -> None:
        """Delete the records of dropped members.

        Raises:
            CelerantError: The store is not reachable; the next call tries again.
        """
        survival = self._members.survival
        if survival is not None and self._indices:
            gone, self._indices = self._indices, []
            state = self._members.barrier.state
            failed = [index for index in gone if state(index) != Barrier.SUCCESS]
            survival.on_forget(gone, failed)
        while self._ids:
            volley = self._ids[:_VOLLEY]
            self._members.backend.forget(volley)
            del self._ids[: len(volley)]
