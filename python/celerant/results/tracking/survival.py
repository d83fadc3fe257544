"""What the members of a group with a journal know of that."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["Survival"]


@dataclass(slots=True)
class Survival:
    """The part of a journal that results take part in."""

    #: Keeps that the results of members are about to be deleted, for they were used.
    #: Called with their indices, and with those among them that failed.
    on_forget: Callable[[Sequence[int], Sequence[int]], None]
    #: Whether the journal is beside the broker, so that a handle leads to it.
    has_handle: bool = False
    #: Half-open ranges of members whose results were used before this process.
    used: list[tuple[int, int]] = field(default_factory=list)

    def reuse(self, indices: Sequence[int]) -> None:
        """Have other results of members (ascending): they are sent once more."""
        rest = []
        for start, stop in self.used:
            at = start
            first, last = bisect_left(indices, start), bisect_left(indices, stop)
            for index in (*indices[first:last], stop):
                if at < index:
                    rest.append((at, index))
                at = index + 1
        self.used = rest
