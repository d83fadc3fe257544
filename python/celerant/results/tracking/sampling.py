"""How many members of a stored group are done, by a sample of those not known to be.

One call is one round trip. What it finds done is known from then on, so that the
sample is drawn from ever fewer.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, NamedTuple

from celerant._core import Barrier, Values
from celerant.results.tracking.intake import read

if TYPE_CHECKING:
    from celerant.results.tracking.members import Members

__all__ = ["Estimate", "Sampling", "margin_of"]

#: Members that are read at most: one `MGET`.
SAMPLE = 1000
#: Standard deviations that 95 % of a normal distribution lie within.
_Z = 1.96
#: Above this share of members that may be drawn, drawing anew from all is cheap.
_SHARE = 1 / 8


class Estimate(NamedTuple):
    """Members per state, by the states' numbers, and how far off `done` may be."""

    counts: list[float]
    margin: int


class Sampling:
    """What samples have found of members; for any thread.

    Args:
        members: Of a store that reads many keys at once.
    """

    def __init__(self, members: Members) -> None:
        self._known = Barrier()
        self._known.grow(len(members.barrier))
        #: How many were done by other ways when these were taken over.
        self._told = 0

    def look(self, members: Members) -> Estimate:
        """Read a sample; return what is to be believed.

        Raises:
            Exception: The store's own.
        """
        known, size = self._known, len(members.barrier)
        if size > len(known):
            known.grow(size - len(known))
        arrived = members.barrier.arrived
        if arrived != self._told:
            # Only then: a million take a while.
            known.inherit(members.barrier, Barrier.PENDING, 0, size)
            self._told = arrived
        before, left = known.counts(), known.remaining
        drawn = _drawn(known, left)
        self._read(members, drawn)
        counts: list[float] = [float(count) for count in known.counts()]
        found = known.arrived - (size - left)
        unread = left - len(drawn)
        if drawn and unread > 0:
            for state in range(1, len(counts)):
                share = (counts[state] - before[state]) / len(drawn)
                counts[state] += share * unread
            counts[0] = size - sum(counts[1:])
        return Estimate(counts, margin_of(found, len(drawn), left))

    def _read(self, members: Members, drawn: list[int]) -> None:
        if not drawn:
            return
        records = members.backend.fetch(members.roster.select(drawn))
        # The values are of no interest here.
        _, _, deferred = self._known.absorb(drawn, records, Values())
        for position in deferred:
            index = drawn[position]
            task_id = members.roster.id(index)
            found = read(members.backend, task_id, records[position])
            if found is not None:
                self._known.arrive(index, found[0])


def _drawn(known: Barrier, left: int) -> list[int]:
    """Return members that are not known to be done: all, or some by chance."""
    size = len(known)
    if left <= SAMPLE:
        return known.pending(0, size)
    if left < _SHARE * size:
        return sorted(random.sample(known.pending(0, size), SAMPLE))
    drawn: set[int] = set()
    while len(drawn) < SAMPLE:
        index = random.randrange(size)  # noqa: S311 - a sample, not a secret
        if known.state(index) == Barrier.PENDING:
            drawn.add(index)
    return sorted(drawn)


def margin_of(found: int, drawn: int, population: int) -> int:
    """Return how many members an estimate may be off in 95 of 100 cases.

    Wilson's interval, for a sample without replacement.

    Args:
        found: Members of the sample that are done.
        drawn: Members of the sample.
        population: Members that it was drawn from; the estimate is of these.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical
    inference, 1927; the finite population correction of W. G. Cochran, Sampling
    Techniques, 1977, section 2.
    """
    if drawn >= population:
        return 0
    share = found / drawn
    # A sample of a finite population says as much as a larger one of an infinite one.
    worth = drawn * (population - 1) / (population - drawn)
    spread = _Z * _Z / worth
    center = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    off = max(share - max(0.0, center - half), min(1.0, center + half) - share)
    return math.ceil(off * population)
