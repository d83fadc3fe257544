"""What became of each member of a dispatch."""

from __future__ import annotations

from dataclasses import dataclass, field

from celerant._core import Ledger

__all__ = ["Report"]

#: Half-open ranges of ``group_index``.
Intervals = list[tuple[int, int]]


@dataclass(slots=True, frozen=True, repr=False)
class Report:
    """Which members are confirmed, rejected, unknown and unsent.

    Shape: every member is in exactly one of the four; intervals are half open. Where
    a generator stopped at a bad member, that one and those behind it are in none.
    A chain or chord can be several messages: it is confirmed with the last of them,
    rejected where nothing of it is in, and unknown where only some of it may be.
    """

    ledger: Ledger
    #: Members that may be in a queue twice (sent again after an unknown fate).
    maybe_double: Intervals = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many members the dispatch has seen."""
        return len(self.ledger)

    @property
    def confirmed(self) -> Intervals:
        """The broker has them."""
        return self.ledger.intervals("confirmed")

    @property
    def rejected(self) -> Intervals:
        """The broker refused them."""
        return self.ledger.intervals("rejected")

    @property
    def unknown(self) -> Intervals:
        """They left, and nobody knows whether they arrived; or only part of them is."""
        return self.ledger.intervals("unknown")

    @property
    def unsent(self) -> Intervals:
        """They never left."""
        return self.ledger.intervals("unsent")

    @property
    def complete(self) -> bool:
        """Whether the broker has all of them."""
        return self.ledger.count("confirmed") == self.total

    def counts(self) -> dict[str, int]:
        """Return how many members are in each state."""
        states = ("confirmed", "rejected", "unknown", "unsent")
        return {state: self.ledger.count(state) for state in states}

    def __repr__(self) -> str:
        return f"<Report: {self}>"

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {state}" for state, n in self.counts().items() if n)
        return f"{self.total} members: {counts or 'none'}"
