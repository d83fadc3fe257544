"""Drop used results, so that a stream of them takes no more and more memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
            members.forget(gone)
        return len(self._ids) >= _VOLLEY

    def delete(self) -> None:
        """Delete the records of dropped members.

        Raises:
            CelerantError: The store is not reachable; the next call tries again.
        """
        while self._ids:
            volley = self._ids[:_VOLLEY]
            self._members.backend.forget(volley)
            del self._ids[: len(volley)]
