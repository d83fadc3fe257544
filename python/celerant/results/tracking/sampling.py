"""Estimate how many members of a stored group are done, by samples.

One estimate is one round trip. It reads some of the members that are not known to be
done. Those that it finds done are known from then on, so later samples are drawn from
fewer members.
"""

from __future__ import annotations

import math
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from celerant._core import Barrier, Values
from celerant.common.per_process import PerProcess
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
        #: Held while states are drawn from or added to, but not while the store is
        #: asked: one that is slow or away must not hold up other threads.
        self._lock = PerProcess(threading.Lock)
        self._barrier = members.barrier
        self._known = Barrier()
        #: How many arrived members were taken over from their barrier.
        self._told = 0

    def look(self, members: Members) -> Estimate:
        """Read a sample and return the estimate.

        Raises:
            Exception: The store's own.
        """
        with self._lock.get():
            known = self._caught_up(members)
            before, left = known.counts(), known.remaining
            drawn = _drawn(known, left)
        if not drawn:
            return Estimate([float(count) for count in before], 0)
        # What this sample has found: other threads find more meanwhile.
        came = self._read(members, known, drawn)
        worth = left / len(drawn)
        counts = [
            count + came[state] * worth for state, count in enumerate(before[1:], 1)
        ]
        found = len(drawn) - came[Barrier.PENDING]
        margin = margin_of(found, len(drawn), left)
        return Estimate([sum(before) - sum(counts), *counts], margin)

    def _caught_up(self, members: Members) -> Barrier:
        """Return the known states, with those that the members' barrier has by now."""
        barrier = members.barrier
        if barrier is not self._barrier:
            # They are sent once more, and what was found of them is over.
            self._barrier, self._known, self._told = barrier, Barrier(), 0
        known, size = self._known, len(barrier)
        if size > len(known):
            known.grow(size - len(known))
        arrived = barrier.arrived
        if arrived != self._told:
            # Only if the number has changed, because a million members take a while.
            known.inherit(barrier, Barrier.PENDING, 0, size)
            self._told = arrived
        return known

    def _read(self, members: Members, known: Barrier, drawn: list[int]) -> Counter[int]:
        """Read members' records, and return how many of them are in each state."""
        backend, roster = members.backend, members.roster
        records = backend.fetch(roster.select(drawn))
        with self._lock.get():
            # The values are dropped.
            _, _, deferred = known.absorb(drawn, records, Values())
            if members.barrier.is_sealed and members.may_have_expired():
                for index, record in zip(drawn, records, strict=True):
                    if record is None:
                        known.arrive(index, Barrier.EXPIRED)
        late = [
            (drawn[position], read(backend, roster.id(drawn[position]), record))
            for position, record in ((at, records[at]) for at in deferred)
        ]
        with self._lock.get():
            for index, found in late:
                if found is not None:
                    known.arrive(index, found[0])
            return Counter(map(known.state, drawn))


def _drawn(known: Barrier, left: int) -> list[int]:
    """Return the members that are not known to be done, or a random sample."""
    size = len(known)
    if left <= SAMPLE:
        return known.pending(0, size)
    if left < _SHARE * size:
        return sorted(random.sample(known.pending(0, size), SAMPLE))
    drawn: set[int] = set()
    while len(drawn) < min(SAMPLE, known.remaining):
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
