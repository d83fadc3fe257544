"""Estimate how many members of a stored group are done, by samples.

One estimate is one round trip. It reads some of the members that are not known to be
done. Those that it finds done are known from then on, so later samples are drawn from
fewer members.
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

#: The most members of a sample: one `MGET`.
SAMPLE = 1000
#: Standard deviations around the mean that hold 95 % of a normal distribution.
_Z = 1.96
#: If at least this share of all members may be drawn, it is cheap to draw from all
#: and skip the others.
_SHARE = 1 / 8


class Estimate(NamedTuple):
    """Members per state, by the states' numbers, and the margin of their sum."""

    counts: list[float]
    margin: int


class Sampling:
    """The states of members that samples have found; any thread may use it.

    Args:
        members: Members in a store that reads many keys at once.
    """

    def __init__(self, members: Members) -> None:
        self._known = Barrier()
        self._known.grow(len(members.barrier))
        #: How many arrived members were taken over from their barrier.
        self._told = 0

    def look(self, members: Members) -> Estimate:
        """Read a sample and return the estimate.

        Raises:
            Exception: The store's own.
        """
        known, size = self._known, len(members.barrier)
        if size > len(known):
            known.grow(size - len(known))
        arrived = members.barrier.arrived
        if arrived != self._told:
            # Only if the number has changed, because a million members take a while.
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
        # The values are dropped.
        _, _, deferred = self._known.absorb(drawn, records, Values())
        for position in deferred:
            index = drawn[position]
            task_id = members.roster.id(index)
            found = read(members.backend, task_id, records[position])
            if found is not None:
                self._known.arrive(index, found[0])


def _drawn(known: Barrier, left: int) -> list[int]:
    """Return the members that are not known to be done, or a random sample."""
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
    """Return how far off an estimate may be in 95 of 100 cases, in members.

    It is Wilson's interval, for a sample without replacement.

    Args:
        found: How many members of the sample are done.
        drawn: How many members the sample has.
        population: How many members it was drawn from, which the estimate is about.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical
    inference, 1927; the finite population correction of W. G. Cochran, Sampling
    Techniques, 1977, section 2.
    """
    if drawn >= population:
        return 0
    share = found / drawn
    # A sample of a finite population tells as much as a larger one of an infinite one.
    worth = drawn * (population - 1) / (population - drawn)
    spread = _Z * _Z / worth
    center = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    off = max(share - max(0.0, center - half), min(1.0, center + half) - share)
    return math.ceil(off * population)
