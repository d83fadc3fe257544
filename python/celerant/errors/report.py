"""The fates of a dispatch's members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from celerant._core import Fate, Ledger
from celerant.markup import shares

__all__ = ["Intervals", "Report", "runs_of"]

#: Half-open ranges of ``group_index``.
Intervals = list[tuple[int, int]]

#: The fate of a member; until it is known the member is unsent.
_FATES = {
    "confirmed": Fate.CONFIRMED,
    "rejected": Fate.REJECTED,
    "unknown": Fate.UNKNOWN,
}


@dataclass(slots=True, frozen=True, repr=False)
class Report:
    """The confirmed, rejected, unknown and unsent members.

    Shape: every member is in exactly one of the four; intervals are half open. If a
    generator stopped at a bad member, that one and those behind it are in none. A chain
    or chord can be several messages: it is confirmed with the last of them, rejected if
    nothing of it is in, and unknown if only some of it may be.
    """

    ledger: Ledger
    #: Members that may be in a queue twice (sent again after an unknown fate).
    maybe_double: Intervals = field(default_factory=list)

    @classmethod
    def joined(cls, parts: Sequence[Report]) -> Report:
        """Return one report of dispatches whose members follow each other."""
        if len(parts) == 1:
            return parts[0]
        ledger, double = Ledger(), []
        for part in parts:
            base = len(ledger)
            _note(ledger, part.total, _fates(part))
            double += [(base + start, base + stop) for start, stop in part.maybe_double]
        return cls(ledger, double)

    def __reduce__(self) -> tuple[Any, ...]:
        # Celery pickles a task's exception, which may be an interruption with this.
        return _again, (self.total, _fates(self), self.maybe_double)

    @property
    def total(self) -> int:
        """How many members the dispatch has seen."""
        return len(self.ledger)

    @property
    def confirmed(self) -> Intervals:
        """The broker has them."""
        return self.ledger.intervals(Fate.CONFIRMED)

    @property
    def rejected(self) -> Intervals:
        """The broker refused them."""
        return self.ledger.intervals(Fate.REJECTED)

    @property
    def unknown(self) -> Intervals:
        """Members that left and may not have arrived, or arrived in part only."""
        return self.ledger.intervals(Fate.UNKNOWN)

    @property
    def unsent(self) -> Intervals:
        """They never left."""
        return self.ledger.intervals(Fate.UNSENT)

    @property
    def complete(self) -> bool:
        """Whether the broker has all of them."""
        return self.ledger.count(Fate.CONFIRMED) == self.total

    def counts(self) -> dict[str, int]:
        """Return how many members have each fate."""
        fates = {**_FATES, "unsent": Fate.UNSENT}
        return {name: self.ledger.count(fate) for name, fate in fates.items()}

    def _repr_html_(self) -> str:
        """Return it for a notebook: a bar of the states."""
        return shares(f"report of {self.total:,} members", self.counts())

    def __repr__(self) -> str:
        return f"<Report: {self}>"

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {state}" for state, n in self.counts().items() if n)
        return f"{self.total} members: {counts or 'none'}"


def _fates(report: Report) -> dict[str, Intervals]:
    return {name: report.ledger.intervals(fate) for name, fate in _FATES.items()}


def _again(
    total: int, fates: Mapping[str, Intervals], maybe_double: Intervals
) -> Report:
    """Return a report that was pickled."""
    ledger = Ledger()
    _note(ledger, total, fates)
    return Report(ledger, maybe_double)


def _note(ledger: Ledger, total: int, fates: Mapping[str, Intervals]) -> None:
    """Add members and the fate of each."""
    base = len(ledger)
    ledger.grow(base + total)
    for name, runs in fates.items():
        for start, stop in runs:
            for index in range(base + start, base + stop):
                ledger.mark_index(index, _FATES[name])


def runs_of(indices: Iterable[int]) -> Intervals:
    """Return the ranges of indices, ascending and apart."""
    runs: Intervals = []
    for index in sorted(indices):
        if runs and runs[-1][1] == index:
            runs[-1] = runs[-1][0], index + 1
        else:
            runs.append((index, index + 1))
    return runs
