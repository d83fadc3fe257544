"""Results that are dropped once they were used: a stream takes no more memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celerant.results.tracking.forms import ids_in

if TYPE_CHECKING:
    from celerant.results.tracking.members import Members

__all__ = ["Forgetting"]

#: Records deleted together: one command of Redis.
_VOLLEY = 1000


class Forgetting:
    """Drops members' values here, and their records in the store in volleys."""

    def __init__(self, members: Members) -> None:
        self._members = members
        #: Members that are in use: dropped at the next step.
        self.yielded: list[int] = []
        self._ids: list[str] = []

    @property
    def has_more(self) -> bool:
        """Whether records are to be deleted."""
        return bool(self._ids)

    def forget_last(self) -> bool:
        """Drop what was yielded last; return whether it is time to delete."""
        gone, self.yielded = self.yielded, []
        if gone:
            members = self._members
            # Before the value: a record that comes again finds its member done.
            self._ids += members.roster.select(gone)
            for index in gone:
                form = members.roster.form(index)
                if form is not None:
                    self._ids += ids_in(form)
            members.forget(gone)
        return len(self._ids) >= _VOLLEY

    def delete(self) -> None:
        """Delete the records of what was dropped.

        Raises:
            CelerantError: The store is not reached; asked again, it tries again.
        """
        while self._ids:
            volley = self._ids[:_VOLLEY]
            self._members.backend.forget(volley)
            del self._ids[: len(volley)]
