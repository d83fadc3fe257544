"""Members that have arrived and were not taken yet, even while more are sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from celerant._core import Barrier

if TYPE_CHECKING:
    from celerant.results.tracking.arriving import Arriving

__all__ = ["Coming"]


class Coming:
    """Gives each member once, after it has arrived; one thread at a time takes them.

    Args:
        members: The members of one dispatch.
    """

    def __init__(self, members: Arriving) -> None:
        self._members = members
        #: Indices of members whose records came in. A record may come twice.
        self._noted: deque[int] = deque()
        #: A byte for each member that is 1 if it was taken, and how many were.
        self._seen = bytearray()
        self._taken = 0
        self._is_begun = False

    def note(
        self, indices: Sequence[int], records: Sequence[bytes | None] = ()
    ) -> None:
        """Note that records came in; any thread calls it."""
        if not records:
            self._noted.extend(indices)
            return
        # A sweep asks for many members without records. These are left out, or they
        # would pile up while the taker is slow.
        pairs = zip(indices, records, strict=False)
        self._noted.extend(index for index, record in pairs if record is not None)

    def begin(self) -> None:
        """Begin to follow members, also arrived ones; a second call does nothing."""
        if not self._is_begun:
            self._is_begun = True
            # Checked after it is registered, so that no arrival is missed.
            self._pass_over_used()
            self._members.follow(self)
            self._note_all()

    def take(self, most: int | None = None) -> list[int]:
        """Return at most `most` members that have arrived and were not taken."""
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
            # Some members were done without a record, or their notes come just now.
            self._note_all()
            return self.take(most) if noted else []
        return found

    @property
    def has_news(self) -> bool:
        """Whether `take` may return members."""
        return bool(self._noted) or self._members.barrier.is_complete

    @property
    def is_over(self) -> bool:
        """Whether all members were taken and no more will come."""
        barrier = self._members.barrier
        return barrier.is_complete and self._taken == len(barrier)

    def _pass_over_used(self) -> None:
        """Count those as taken that were, before the group was gone on with here."""
        survival = self._members.survival
        for start, stop in () if survival is None else survival.used:
            self._seen.extend(bytes(max(0, stop - len(self._seen))))
            self._taken += self._seen[start:stop].count(0)
            self._seen[start:stop] = b"\1" * (stop - start)

    def _note_all(self) -> None:
        seen = self._seen
        known = len(seen)
        # The order of earlier arrivals is not known.
        self._noted.extend(
            index
            for index, state in enumerate(self._members.barrier.states())
            if state != Barrier.PENDING and not (index < known and seen[index])
        )
