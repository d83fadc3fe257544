"""When a group is fed no more, because too many of its members fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celerant._core import Barrier

if TYPE_CHECKING:
    from celerant.results.tracking.members import Members

__all__ = ["Breaker"]

#: Members that are looked at before a share of them says something.
_LEAST = 100
_FAILED = (Barrier.FAILURE, Barrier.REVOKED, Barrier.EXPIRED)


class Breaker:
    """Counts failures from here on.

    Args:
        members: Of the group.
        canary: How many leave first, alone; 0: none.
        stop_if: More failures than that stop it: a count, or a share of those done.
        counts_all: Whether failures from before count, too.
    """

    def __init__(
        self, members: Members, canary: int, stop_if: float, *, counts_all: bool = False
    ) -> None:
        self._members = members
        self.canary = canary
        self._stop_if = stop_if
        self._least = canary or _LEAST
        self._done, self._failed = 0, 0
        if not counts_all:
            self._done, self._failed = self._counts()

    @property
    def is_proving(self) -> bool:
        """Whether the canary is not done yet."""
        return self.done < self.canary

    @property
    def done(self) -> int:
        """How many members are done."""
        return self._counts()[0]

    @property
    def trips(self) -> bool:
        """Whether too many have failed."""
        done, failed = self._counts()
        if isinstance(self._stop_if, int):
            return failed > self._stop_if
        return failed > self._stop_if * max(done, self._least)

    def _counts(self) -> tuple[int, int]:
        """Return how many are done and have failed since this was made."""
        barrier = self._members.barrier
        failed = sum(map(barrier.count, _FAILED))
        done = failed + barrier.count(Barrier.SUCCESS)
        return done - self._done, failed - self._failed
