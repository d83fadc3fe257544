"""The messages that were written to RabbitMQ and are not settled yet.

An interruption may come between any two steps of Python. So writes and answers are
noted before they are acted upon; acting again changes nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from amqp.exceptions import MessageNacked

from celerant._core import Chunk, Fate, Ledger
from celerant.dispatch.wires.amqp_messages import is_meant, said_at

__all__ = ["OpenChunk", "Refusal", "Window"]


class OpenChunk:
    """A chunk, with the messages of it that are written or settled.

    Messages are told apart by their position in the chunk: those of a chord share an
    index.
    """

    __slots__ = ("chunk", "indices", "open", "written")

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        #: Position -> index of the member.
        self.indices = chunk.wired()
        self.open = set(range(len(self.indices)))
        #: How many were written, from the first on.
        self.written = 0

    def doubtful(self) -> set[int]:
        """Return positions of messages that were written and are not settled."""
        return {position for position in self.open if position < self.written}

    def keep_open(self) -> set[int]:
        """Forget the settled messages; return the members that are doubtful."""
        doubtful = self.doubtful()
        members = {self.indices[position] for position in doubtful}
        kept = sorted(self.open)
        self.chunk = self.chunk.select(kept)
        self.indices = [self.indices[position] for position in kept]
        self.open = set(range(len(kept)))
        # Written messages come before the others.
        self.written = len(doubtful)
        return members


@dataclass(slots=True)
class Refusal:
    """The reason for which the broker did not take messages."""

    reason: str
    cause: Exception
    #: The first member that was refused; None: nobody knows.
    index: int | None = None


@dataclass(slots=True, frozen=True)
class _Answer:
    """The broker's answer about written messages."""

    tag: int
    #: Whether all before it are meant, too.
    multiple: bool
    fate: Fate


class Window:
    """Chunks that are under way, and delivery tags that are open."""

    def __init__(self) -> None:
        self.opened: deque[OpenChunk] = deque()
        #: Delivery tag -> (chunk, position in it), in order of tags.
        self.tags: dict[int, tuple[OpenChunk, int]] = {}
        #: The ledger of the dispatch that is carried; fates are noted there.
        self.ledger = Ledger()
        #: The refusals so far.
        self.refusal: Refusal | None = None
        self._tag = 0
        #: The chunk that is being written, and its positions.
        self._pending: tuple[OpenChunk, range] | None = None
        #: The answer that is being noted.
        self._answer: _Answer | None = None
        #: Task id of an unroutable message -> why, until its ack comes.
        self._returned: dict[str, Refusal] = {}

    def add(self, chunk: Chunk) -> OpenChunk:
        """Take up a chunk that will be written."""
        opened = OpenChunk(chunk)
        if opened.open:
            self.opened.append(opened)
        return opened

    # -- writing ---------------------------------------------------------------

    @property
    def is_writing(self) -> bool:
        """Whether a write is under way that was not noted."""
        return self._pending is not None

    def write(self, opened: OpenChunk, positions: range) -> None:
        """Note the messages that are being written; `note_written` follows."""
        opened.written = max(opened.written, positions.stop)
        self._pending = opened, positions

    def note_written(self, *, confirms: bool) -> None:
        """Expect confirms for the written messages; after an interruption, again."""
        assert self._pending is not None  # noqa: S101 - the caller has written
        opened, positions = self._pending
        if confirms:
            entries = ((opened, position) for position in positions)
            self.tags.update(enumerate(entries, self._tag + 1))
        else:
            for position in positions:
                self._settle(opened, position, Fate.CONFIRMED)
        self._pending, self._tag = None, self._tag + len(positions)

    # -- answers ---------------------------------------------------------------

    def answer(self, tag: int, multiple: bool, fate: Fate) -> None:  # noqa: FBT001 - as py-amqp's callbacks
        """Note the broker's answer to a message, and if `multiple` to all before."""
        if fate == Fate.REJECTED and self.refusal is None:
            # A full queue, as a rule: there may be room later.
            reason = "the broker refused them (basic.nack): is a queue full?"
            self.refusal = Refusal(reason, MessageNacked(reason))
        self._answer = _Answer(tag, multiple, fate)
        self.take_answer()

    def take_answer(self) -> None:
        """Act upon an answer; after an interruption anywhere, again."""
        answer = self._answer
        if answer is None:
            return
        if not answer.multiple:
            entry = self.tags.get(answer.tag)
            if entry is not None:
                self._settle(*entry, answer.fate)
                del self.tags[answer.tag]
        while answer.multiple and self.tags:
            first = next(iter(self.tags))
            if first > answer.tag:
                break
            self._settle(*self.tags[first], answer.fate)
            del self.tags[first]
        self._answer = None

    def returned(
        self, exc: Exception, exchange: str, routing_key: str, message: Any
    ) -> None:
        """Note an unroutable message; its ack follows."""
        headers = message.properties.get("application_headers") or {}
        where = f"exchange {exchange!r}, routing key {routing_key!r}"
        reason = f"unroutable ({where}): {exc}"
        self._returned[str(headers.get("id"))] = Refusal(reason, exc)

    def _settle(self, opened: OpenChunk, position: int, fate: Fate) -> None:
        if position in opened.open:
            index, task_id = opened.indices[position], ""
            if self._returned:
                task_id = opened.chunk.id(position)
                refusal = self._returned.get(task_id)
                if refusal is not None:
                    fate = Fate.REJECTED
                    refusal.index = None if self.refusal is None else self.refusal.index
                    self.refusal = refusal
            if (
                fate == Fate.REJECTED
                and self.refusal is not None
                and self.refusal.index is None
            ):
                self.refusal.index = index
            self.ledger.close(opened.open, position, index, fate)
            self._returned.pop(task_id, None)
        while self.opened and not self.opened[0].open:
            self.opened.popleft()

    # -- a channel that is lost --------------------------------------------------

    def reject(self, refusal: str) -> int | None:
        """Mark the message that is meant as rejected; return its member, if known.

        The broker has not looked at the messages behind it: they never left.
        """
        written = [
            (opened, position)
            for opened in self.opened
            for position in sorted(opened.doubtful())
        ]
        meant = (
            number
            for number, (opened, position) in enumerate(written)
            if len(written) == 1 or is_meant(refusal, said_at(opened.chunk, position))
        )
        number = next(meant, None)
        if number is None:
            return None
        opened, position = written[number]
        index = opened.indices[position]
        self.ledger.mark_index(index, Fate.REJECTED)
        for behind, unseen in written[number:]:
            behind.open.discard(unseen)
        return index

    def reopen(self) -> None:
        """Count from 1 for a new channel: open messages go out again."""
        self.tags.clear()
        self._pending = None
        self._tag = 0
        # They may find a queue now.
        self._returned.clear()

    def give_up(self) -> None:
        """Mark the written messages as unknown, and forget all."""
        for opened in self.opened:
            # Messages that were not written never left.
            for position in opened.doubtful():
                self.ledger.mark_index(opened.indices[position], Fate.UNKNOWN)
        self.opened.clear()
        self._answer = None
        self.reopen()

    def end(self) -> None:
        """Forget the messages that were returned in this dispatch."""
        self._returned.clear()
