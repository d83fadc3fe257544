"""Members that are cancelled or sent again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from celerant._core import Barrier
from celerant.results.tracking.arriving import Arriving

__all__ = ["Steered"]


class Steered(Arriving):
    """The part of `Members` that cancels members and sends some again."""

    __slots__ = ()

    def cancel(self, running: frozenset[int]) -> None:
        """After one more sweep, wait only for running members.

        Args:
            running: The members that are known to run.
        """
        self.cancelled_but = running
        self._watched = None
        if not self.barrier.is_complete:
            self.begin()

    @property
    def is_cancelled(self) -> bool:
        """Whether only running members are waited for."""
        return self.cancelled_but is not None

    def settle_cancelled(self) -> None:
        """End pending members that do not run as REVOKED; called after a sweep."""
        running = self.cancelled_but
        if running is None:
            return
        start = 0
        for index in (*sorted(running), len(self.barrier)):
            if index > start:
                self.settle(range(start, index), Barrier.REVOKED)
            start = index + 1

    def mend(self, indices: Sequence[int]) -> None:
        """Make some members (ascending) pending, to be sent again in any state."""
        self.cancelled_but = None
        edges = [-1, *indices, len(self.barrier)]
        gaps = [(one + 1, other) for one, other in pairwise(edges)]
        for index in indices:
            self.values.set(index, None)
        self._renew([gap for gap in gaps if gap[0] < gap[1]], Barrier.PENDING)
