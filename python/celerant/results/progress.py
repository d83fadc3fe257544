"""How far a group has come."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celerant._core import Barrier
from celerant.results.tracking.sampling import Estimate

if TYPE_CHECKING:
    from celerant.results.tracking.members import Members

__all__ = ["Progress", "in_words", "progress_of"]

_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a group has come; `str()` gives one line."""

    #: How many members there are; None while the group is being sent.
    total: int | None
    #: Members that are done, successfully or not.
    done: int
    #: Members that returned a value, or whose results are ignored.
    succeeded: int
    #: Members that raised, were not sent, or have an expired result.
    failed: int
    #: Members that were revoked.
    revoked: int
    #: Members that become done in a second; None if that is not known.
    rate: float | None
    #: Seconds until all are done at this rate; None if that is not known.
    eta: float | None
    #: How far off `done` may be in 95 of 100 cases; 0 if it is exact.
    margin: int = 0

    @property
    def share(self) -> float | None:
        """The part that is done, from 0 to 1; None while the group is being sent."""
        if self.total is None:
            return None
        return self.done / self.total if self.total else 1.0

    def __str__(self) -> str:
        about = f" (+-{self.margin:,})" if self.margin else ""
        share = self.share
        text = f"{self.done:,}{about}"
        if share is not None:
            text += f" of {self.total:,} done ({share:.1%})"
        else:
            text += " done, and more are being sent"
        for count, what in ((self.failed, "failed"), (self.revoked, "revoked")):
            if count:
                text += f", {count:,} {what}"
        if self.rate is not None:
            text += f", {self.rate:,.1f}/s"
        if self.eta:
            text += f", {in_words(self.eta)} left"
        return text


def progress_of(members: Members) -> Progress:
    """Return the progress of members; see `GroupResult.progress`."""
    members.learn()
    estimate = _looked(members)
    barrier = members.barrier
    counts = [round(count) for count in estimate.counts]
    done = sum(counts[1:])
    total = len(barrier) if barrier.is_sealed else None
    rate = _rate(members, done)
    eta = None
    if total is not None and done >= total:
        eta = 0.0
    elif total is not None and rate:
        eta = (total - done) / rate
    return Progress(
        total,
        done,
        succeeded=counts[Barrier.SUCCESS] + counts[Barrier.IGNORED],
        failed=counts[Barrier.FAILURE]
        + counts[Barrier.NOT_SENT]
        + counts[Barrier.EXPIRED],
        revoked=counts[Barrier.REVOKED],
        rate=rate,
        eta=eta,
        margin=estimate.margin,
    )


def _looked(members: Members) -> Estimate:
    is_known = members.is_watched or members.barrier.is_complete
    if not is_known and members.backend.supports_handles:
        return members.sampling.look(members)
    if not is_known:
        members.look()
    return Estimate([float(count) for count in members.barrier.counts()], 0)


def _rate(members: Members, done: int) -> float | None:
    pace = members.pace
    rate = None if pace is None or not members.is_watched else pace.rate(done)
    if rate is None:
        # The average since they were sent, by the clock, because another process may
        # have sent them.
        seconds = time.time() - members.sent_since
        rate = done / seconds if seconds > 0 else None
    return rate


def in_words(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h"
