"""A chunk on its way to Redis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from celerant._core import Chunk, Fate
from celerant.dispatch.journaling import Mark

__all__ = ["MULTI", "Flight", "is_in"]

#: How each transaction begins, and what commits it.
MULTI = b"*1\r\n$5\r\nMULTI\r\n"
_EXEC = b"*1\r\n$4\r\nEXEC\r\n"


@dataclass(slots=True)
class Flight:
    """A chunk whose reply is awaited."""

    chunk: Chunk
    buffer: memoryview
    #: Between MULTI and EXEC.
    commands: int
    #: Where the buffer's end begins, which commits the transaction.
    end: int
    #: The mark's number once it is in.
    step: int
    #: MULTI and commands of its journal, if it has some, and how many those are. They
    #: are no part of the buffer then.
    before: bytes = b""
    beside: int = 0

    @classmethod
    def of(  # noqa: PLR0913, PLR0917 - called by position alone
        cls,
        chunk: Chunk,
        transaction: bytes,
        commands: int,
        step: int,
        before: bytes,
        beside: int,
    ) -> Flight:
        """Return a flight, given its whole transaction and what goes before."""
        buffer, end = memoryview(transaction), transaction.rindex(_EXEC)
        if before:
            assert transaction.startswith(MULTI)  # noqa: S101 - as the core wrote it
            buffer, end = buffer[len(MULTI) :], end - len(MULTI)
        return cls(chunk, buffer, commands, end, step, before, beside)

    def fates(
        self, replies: Sequence[Any], of_taken: Fate
    ) -> tuple[list[tuple[list[int], Fate]], int | None]:
        """Return the members of each queue with their fate, and the first refused one.

        Args:
            replies: To the commands between MULTI and EXEC.
            of_taken: The fate of those that are not refused.
        """
        found: list[tuple[list[int], Fate]] = []
        culprit, at = None, self.beside
        for commands, members in self.chunk.by_route():
            is_refused = isinstance(replies[at], Exception)
            if is_refused and culprit is None:
                culprit = members[0]
            found.append((members, Fate.REJECTED if is_refused else of_taken))
            at += commands
        return found, culprit

    @property
    def replies(self) -> int:
        """How many replies come before that of EXEC."""
        return 1 + self.beside + self.commands


def is_in(value: int | None, step: int) -> bool | None:
    """Whether a chunk is in, by the mark and what it was to be; None: it cannot say."""
    return None if value is None else Mark.of(value).covers(Mark.of(step))
