"""A journal: what is kept of a dispatch, so that another process can send the rest.

The journal is written ahead: it names the members of a chunk before the chunk leaves.
So what it does not name has never left, and of what it names it says which are
confirmed. On Redis a mark tells the rest: a key that is set in the transaction that
pushes a chunk. Its number says how far the dispatch has come: nothing is in doubt.

Whoever goes on with a dispatch begins an epoch. The journal keeps the members that an
epoch is to send, then the mark gets its number: from then on no transaction of an
earlier epoch is executed, because its sender watches the mark.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from celerant._core import Chunk, Ledger, Prints
from celerant.errors import JournalError
from celerant.errors.report import Intervals

__all__ = [
    "MOST",
    "Assignment",
    "Command",
    "Journal",
    "Mark",
    "Resumed",
    "ahead_of",
]

#: One more than the index of any member: the end of a range that is open.
MOST = (1 << 32) - 1

#: A command of Redis: its name, the name of its key without kombu's prefix, arguments.
Command = tuple[Any, ...]


class Mark(NamedTuple):
    """How far a dispatch has come, as one number of 64 bits that only grows.

    The marks of dispatches without a journal are of epoch 0.
    """

    #: 16 bits: who sends; each sender of the same members has another.
    epoch: int
    #: 32 bits: of the members that the epoch sends, those before it have left.
    position: int = 0
    #: 16 bits: how many chunks have left with a part of the member at `position`.
    part: int = 0

    def pack(self) -> int:
        """Return it as a number."""
        return self.epoch << 48 | self.position << 16 | self.part

    @classmethod
    def of(cls, number: int) -> Mark:
        """Return what `pack` made."""
        return cls(number >> 48, number >> 16 & 0xFFFFFFFF, number & 0xFFFF)

    def covers(self, other: Mark) -> bool | None:
        """Whether what `other` was set for is in; None: it is of another epoch."""
        return self >= other if self.epoch == other.epoch else None


class Resumed(NamedTuple):
    """What a dispatch goes on with that another process has begun."""

    #: Ascending half-open ranges of members to send.
    rest: Intervals
    #: Members before it have left, or may have: they are compared with what was sent.
    known: int
    #: How many members the source gave, if it was at its end; None: nobody knows.
    total: int | None
    #: Members that may be in a queue twice already.
    double: Intervals

    def rest_of(self, chunk: Chunk) -> Chunk:
        """Return the chunk without members that are not sent again."""
        ranges = chunk.ranges()
        if self.rest and ranges:
            first, last = self.rest[-1]
            if all(first <= start and stop <= last for start, stop in ranges):
                return chunk
        return chunk.within(self.rest)


class Assignment(NamedTuple):
    """What a sender is to send."""

    #: Of this sender, from 1 on.
    epoch: int
    #: The mark's number when this sender looked; None: there was none.
    before: int | None = None
    #: Ascending half-open ranges of members.
    rest: Intervals = [(0, MOST)]  # noqa: RUF012 - nobody changes it
    #: Those among them that may have left before.
    unknown: Intervals = []  # noqa: RUF012 - the same
    #: How many members the source gave, if it was at its end; None: nobody knows.
    total: int | None = None
    #: Members before it that are not to be sent have left before.
    known: int = 0


class Journal(ABC):
    """The journal of one dispatch, which is written by whoever sends.

    Args:
        name: Of its mark, without kombu's prefix.
        assignment: What this sender is to send.
        prints: What members are sent with.
    """

    #: Whether it is of no use without a mark.
    needs_mark = False
    #: What this sender is to send.
    assignment: Assignment
    #: What the mark is once all chunks are in that have left.
    mark: Mark
    #: Whether the epoch has begun.
    is_begun: bool
    #: Whether another sender goes on by it: this one keeps nothing more.
    is_lost: bool

    def __init__(self, name: bytes, assignment: Assignment, prints: Prints) -> None:
        self.name = name
        self.prints = prints
        #: What the wire of a Redis adds to the transaction of the last chunk.
        self.beside: Sequence[Command] = ()
        #: Chunks that have left and were not confirmed: first index, and ranges.
        self._open: deque[tuple[int, Intervals]] = deque()
        self.renew(assignment)

    def renew(self, assignment: Assignment) -> None:
        """Be the journal of another sender."""
        self.assignment, self.mark = assignment, Mark(assignment.epoch)
        self.is_begun = self.is_lost = False
        #: How many of those that may be double are kept.
        self._doubles = 0
        self._open.clear()
        rest = assignment.rest
        self._low = self._high = rest[0][0] if rest else 0

    def begin(self) -> Sequence[Command]:
        """Keep what this epoch is to send, before its first chunk leaves.

        Returns:
            What a wire of Redis adds to the transaction that sets the mark.
        """
        if self.is_begun:
            return ()
        self.is_begun = True
        return self.write_begin()

    def lose(self) -> JournalError:
        """Leave it to another sender; return what this one is told."""
        self.is_lost = True
        return JournalError(
            "another sender goes on with this group by its journal, so this one sends "
            "no more of it"
        )

    def leaving(
        self, chunk: Chunk, ledger: Ledger, double: set[int], *, is_amid: bool
    ) -> None:
        """Name the members of a chunk that is about to leave.

        Args:
            chunk: Their messages.
            ledger: Says which of those before it are confirmed.
            double: All members so far that may be in a queue twice.
            is_amid: Whether more messages of its last member follow.
        """
        ranges = chunk.ranges()
        start = min(start for start, _ in ranges)
        stop = max(stop for _, stop in ranges)
        before, part = self.mark, 0
        position = stop
        if is_amid:
            position -= 1
            part = before.part + 1 if position == before.position else 1
        self.mark = Mark(before.epoch, position, part)
        self._keep_double(double)
        self._count_settled(ledger)
        self._open.append((start, ranges))
        self._high = stop
        self.write_leaving(start, stop, chunk.has_generic)

    def settle(self, ledger: Ledger, double: set[int]) -> None:
        """Hear that nothing is under way: the fate of all that left is known."""
        self._keep_double(double)
        if self._open:
            self._count_settled(ledger)
            self.write_low()

    def _keep_double(self, double: set[int]) -> None:
        # Before it is kept that they are confirmed: else they are unknown, and named.
        if len(double) != self._doubles:
            self._doubles = len(double)
            self.write_double(double)

    @property
    def low(self) -> int:
        """All members before it that were to be sent are confirmed."""
        return self._low

    def _count_settled(self, ledger: Ledger) -> None:
        chunks = self._open
        while chunks and all(ledger.is_confirmed(*one) for one in chunks[0][1]):
            chunks.popleft()
        self._low = chunks[0][0] if chunks else self._high

    @abstractmethod
    def write_begin(self) -> Sequence[Command]:
        """Keep `assignment`; see `begin`."""

    @abstractmethod
    def write_leaving(self, start: int, stop: int, has_generic: bool) -> None:  # noqa: FBT001 - called by position alone
        """Keep that members `start` to `stop` leave.

        Args:
            start: The first.
            stop: Behind the last.
            has_generic: Whether some go by `Producer.publish`, of which no mark tells.
        """

    @abstractmethod
    def write_double(self, double: set[int]) -> None:
        """Keep which members may be in a queue twice."""

    @abstractmethod
    def write_low(self) -> None:
        """Keep `low`."""


def ahead_of(ranges: Intervals, position: int) -> Intervals:
    """Return the parts of ascending ranges that are not before `position`."""
    return [(max(start, position), stop) for start, stop in ranges if stop > position]
