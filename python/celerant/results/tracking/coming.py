"""Which members have come and were not taken yet, also while more are sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from celerant._core import Barrier

if TYPE_CHECKING:
    from celerant.results.tracking.arriving import Arriving

__all__ = ["Coming"]


class Coming:
    """Gives each member once, after it has come. One thread at a time takes.

    Args:
        members: Of one dispatch.
    """

    def __init__(self, members: Arriving) -> None:
        self._members = members
        #: Indices whose records came in, with repetitions: a record may come twice.
        self._noted: deque[int] = deque()
        #: Who was taken, a byte each, and how many these are.
        self._seen = bytearray()
        self._taken = 0
        self._is_begun = False

    def note(
        self, indices: Sequence[int], records: Sequence[bytes | None] = ()
    ) -> None:
        """Take note that records came in; called by any thread."""
        if not records:
            self._noted.extend(indices)
            return
        # A sweep asks for many that have none: whoever is slow must not pile them up.
        pairs = zip(indices, records, strict=False)
        self._noted.extend(index for index, record in pairs if record is not None)

    def begin(self) -> None:
        """Hear of members from now on, and of those that are there; again: nothing."""
        if not self._is_begun:
            self._is_begun = True
            # Registered first, looked second: those that arrive in between are noted.
            self._members.follow(self)
            self._note_all()

    def take(self, most: int | None = None) -> list[int]:
        """Return members that have come and were not taken, at most so many."""
        barrier, noted, seen = self._members.barrier, self._noted, self._seen
        if len(seen) < len(barrier):
            seen.extend(bytes(len(barrier) - len(seen)))
        state = barrier.state
        found: list[int] = []
        while noted and len(found) != most:
            index = noted.popleft()
            if not seen[index] and state(index) != Barrier.PENDING:
                seen[index] = 1
                found.append(index)
        self._taken += len(found)
        if not found and barrier.is_complete and not self.is_over:
            # Of some no record told, or it is just about to.
            self._note_all()
            return self.take(most) if noted else []
        return found

    @property
    def has_news(self) -> bool:
        """Whether it is time to take."""
        return bool(self._noted) or self._members.barrier.is_complete

    @property
    def is_over(self) -> bool:
        """Whether all were taken, and no more will come."""
        barrier = self._members.barrier
        return barrier.is_complete and self._taken == len(barrier)

    def _note_all(self) -> None:
        seen = self._seen
        known = len(seen)
        # Of what arrived before anybody listened the order is not known.
        self._noted.extend(
            index
            for index, state in enumerate(self._members.barrier.states())
            if state != Barrier.PENDING and not (index < known and seen[index])
        )
