"""Members that are cancelled, and those that are sent once more."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from celerant._core import Barrier
from celerant.results.tracking.arriving import Arriving

__all__ = ["Steered"]


class Steered(Arriving):
    """What `Members` are, but for waiting, when somebody steers them."""

    __slots__ = ()

    def cancel(self, running: frozenset[int]) -> None:
        """Wait for no member that is pending after another look, but for some.

        Args:
            running: Those that are known to run, and whose end is awaited.
        """
        self.cancelled_but = running
        self._watched = None
        if not self.barrier.is_complete:
            self.begin()

    @property
    def is_cancelled(self) -> bool:
        """Whether those that are pending after a look are waited for no longer."""
        return self.cancelled_but is not None

    def settle_cancelled(self) -> None:
        """Let those be REVOKED that are pending, after a look at what is stored."""
        running = self.cancelled_but
        if running is None:
            return
        start = 0
        for index in (*sorted(running), len(self.barrier)):
            if index > start:
                self.settle(range(start, index), Barrier.REVOKED)
            start = index + 1

    def mend(self, indices: Sequence[int]) -> None:
        """Have some members, ascending, be sent once more, whatever became of them."""
        self.cancelled_but = None
        edges = [-1, *indices, len(self.barrier)]
        gaps = [(one + 1, other) for one, other in pairwise(edges)]
        for index in indices:
            self.values.set(index, None)
        self._renew([gap for gap in gaps if gap[0] < gap[1]], Barrier.PENDING)
