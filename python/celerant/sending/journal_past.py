"""What follows from a journal: which members have left, may have, and have not."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from celerant._core import Roster
from celerant.dispatch.journaling import MOST, Assignment, Mark, ahead_of
from celerant.errors import JournalError
from celerant.errors.report import Intervals
from celerant.sending.journal_records import VERSION, mark_name

if TYPE_CHECKING:
    from celerant.errors.report import Report
    from celerant.sending.journal_records import KeptJournal

__all__ = ["Epoch", "Past", "Standing"]

#: The length of the record of confirmed members; that of a chunk is longer.
_LOW = 1


@dataclass(slots=True)
class Epoch:
    """What one sender was to send, and what it named."""

    number: int
    rest: Intervals
    #: What of it may have left before.
    unknown: Intervals
    #: How many members there are; None: nobody knows.
    total: int | None
    #: All before it that is not in `rest` has left, or may have.
    known: int = 0
    #: Of its sender alone; None in a journal of an older release.
    token: str | None = None
    #: All that it was to send before it is confirmed.
    low: int = 0
    #: Behind the last member that has left.
    high: int = 0
    #: Ranges with members of which no mark tells.
    generic: Intervals = field(default_factory=list)


class Standing(NamedTuple):
    """Where a group stands that another process sent."""

    #: Members that have not left.
    rest: Intervals
    #: Those that may have, or in part only.
    unknown: Intervals
    #: Those before it have left, or may have.
    known: int
    #: How many the source gave, if it was at its end.
    total: int | None


@dataclass(slots=True)
class Past:
    """A journal as it was read."""

    #: Shown in errors.
    where: str
    head: dict[str, Any]
    epochs: list[Epoch] = field(default_factory=list)
    #: The last sender's own end; None: it did not come to it.
    end: dict[str, Any] | None = None
    prints: bytearray = field(default_factory=bytearray)
    #: Members that may be in a queue twice.
    double: set[int] = field(default_factory=set)
    #: Members whose results are deleted.
    used: Intervals = field(default_factory=list)
    failed: Intervals = field(default_factory=list)
    #: When it was last written, seconds since the epoch.
    written_at: float = 0.0

    @classmethod
    def of(cls, where: str, records: list[Any]) -> Past:
        """Return what records say.

        Raises:
            JournalError: They are not a journal's.
        """
        head = records[0] if records else None
        if not isinstance(head, dict) or "celerant" not in head:
            msg = f"{where} is no journal of a group"
            raise JournalError(msg)
        if head["celerant"] != VERSION:
            msg = f"{where} is a journal of another release: {head['celerant']!r}"
            raise JournalError(msg)
        past = cls(where, head)
        try:
            Roster(past.seed)
            for record in records[1:]:
                past._take(record)
        except (KeyError, IndexError, TypeError, ValueError, binascii.Error) as exc:
            msg = f"{where} is garbled: {exc!r}"
            raise JournalError(msg) from exc
        return past

    def _take(self, record: Any) -> None:
        if isinstance(record, dict):
            self._take_named(record)
            return
        epoch = self.epochs[-1]
        if len(record) == _LOW:
            epoch.low = record[0]
            return
        start, stop, epoch.low, has_generic, prints = record
        epoch.high = stop
        if has_generic:
            epoch.generic.append((start, stop))
        packed = base64.b64decode(prints, validate=True)
        self.take_prints(start, packed)

    def take_prints(self, start: int, packed: bytes) -> None:
        """Take what members from `start` on were sent with."""
        missing = 2 * start - len(self.prints)
        self.prints += bytes(max(0, missing))
        self.prints[2 * start : 2 * start + len(packed)] = packed

    def _take_named(self, record: dict[str, Any]) -> None:
        if "end" in record:
            if self._is_of_the_last(record):
                self.end = record
        elif "epoch" in record:
            rest, unknown = _intervals(record["rest"]), _intervals(record["unknown"])
            made = Epoch(record["epoch"], rest, unknown, record["total"])
            made.low = made.high = rest[0][0] if rest else 0
            made.token = record.get("token")
            if self.epochs and self.epochs[-1].number == made.number:
                # It began twice, because a reply was lost.
                del self.epochs[-1]
            made.known = self._known_before(record.get("known"), rest)
            self.epochs.append(made)
            self.end = None
        elif "double" in record:
            for start, stop in _intervals(record["double"]):
                self.double.update(range(start, stop))
        elif "used" in record:
            self.used += _intervals(record["used"])
            self.failed += _intervals(record["failed"])
        else:
            msg = f"no record: {sorted(record)}"
            raise ValueError(msg)

    def _known_before(self, known: int | None, rest: Intervals) -> int:
        """Return the members that were known when an epoch began."""
        if known is None:
            # Of an older release.
            named = max((epoch.high for epoch in self.epochs), default=0)
            known = _open_at(rest) or named
        return max(known, *(epoch.known for epoch in self.epochs), 0)

    def _is_of_the_last(self, end: dict[str, Any]) -> bool:
        """Whether a sender's end is not that of one that was replaced by then."""
        if not self.epochs or "of" not in end:
            return True
        last = self.epochs[-1]
        # An epoch in which there was nothing to send has not begun.
        return end["token"] == last.token or int(end["of"]) > last.number

    @property
    def seed(self) -> bytes:
        """Of the ids of the group's members."""
        return bytes.fromhex(self.head["seed"])

    @property
    def mark_name(self) -> bytes:
        """The key of its mark, without kombu's prefix."""
        return mark_name(self.seed)

    def next_assignment(
        self,
        number: int | None,
        rest: Intervals,
        unknown: Intervals,
        total: int | None = None,
        known: int = 0,
    ) -> Assignment:
        """Return what the next sender is to send; arguments as of `Assignment`."""
        epoch = self.epochs[-1].number + 1 if self.epochs else 1
        return Assignment(epoch, number, rest, unknown, total, known)

    def again(
        self, journal: KeptJournal, report: Report, number: int | None, rest: Intervals
    ) -> Assignment:
        """Return what a sender is to send that goes on in its process.

        Args:
            journal: Its own.
            report: What became of the members so far.
            number: Of the mark; None: there is none.
            rest: What is to be sent.

        Raises:
            JournalError: Another sender has gone on since.
        """
        last, epoch = self.epochs[-1] if self.epochs else None, journal.assignment.epoch
        is_other = last is not None and (
            last.number >= epoch and last.token != journal.token
        )
        if not is_other and number is not None:
            # From a copy of the journal.
            is_other = last is None or Mark.of(number).epoch > last.number
        if is_other:
            msg = (
                f"{self.where}: another sender has gone on with this group since: go "
                "on by the journal, as it did, and not by this result"
            )
            raise JournalError(msg)
        left = _merged(report.unsent + report.rejected)
        known = max(_known(report.total, left), _open_at(rest))
        return self.next_assignment(number, rest, report.unknown, None, known)

    def standing(self, number: int | None) -> Standing:
        """Return where the group stands.

        Args:
            number: Of the mark in Redis; None: there is none.
        Raises:
            JournalError: Another sender went on from another copy of the journal.
        """
        mark = None if number is None else Mark.of(number)
        if not self.epochs and mark is None:
            return Standing([(0, MOST)], [], 0, None)
        if mark is not None:
            found = [one for one in self.epochs if one.number == mark.epoch]
            if not found:
                msg = (
                    f"{self.where} is an older copy: the group was sent on by another "
                    "one, which is to be used"
                )
                raise JournalError(msg)
            epoch = found[-1]
        else:
            epoch = self.epochs[-1]
        if self.end is not None and epoch is self.epochs[-1] and "count" in self.end:
            return self._standing_at_end(self.end, epoch, mark)
        named = _between(epoch.rest, epoch.low, epoch.high)
        if mark is None:
            rest, unknown, known = ahead_of(epoch.rest, epoch.high), named, epoch.high
        else:
            unknown, known = _unmarked(epoch), max(mark.position, epoch.low)
            rest = ahead_of(epoch.rest, known)
            if mark.part and known == mark.position:
                unknown += _between(epoch.rest, known, known + 1)
        return _standing(epoch, rest, unknown, known, epoch.total)

    def forget_unsent(self, standing: Standing) -> None:
        """Count no member as used that has not left: its end was that it was not sent.

        Args:
            standing: Where the group stands.
        """
        unsent = [*standing.rest, (standing.known, MOST)]
        self.used = _without(self.used, unsent)
        self.failed = _without(self.failed, unsent)

    def _standing_at_end(
        self, end: dict[str, Any], epoch: Epoch, mark: Mark | None
    ) -> Standing:
        count, is_whole = end["count"], end["whole"]
        rest, unknown = _intervals(end["unsent"]), _intervals(end["unknown"])
        if mark is not None and unknown:
            # It knows more.
            rest = _merged(rest + ahead_of(unknown, mark.position))
            amid = _between(unknown, mark.position, mark.position + bool(mark.part))
            behind = _unmarked(epoch)
            unknown = [part for one in behind for part in _between(unknown, *one)]
            unknown += amid
        known = _known(count, rest)
        if not is_whole:
            rest = [*rest, (count, MOST)]
        return _standing(epoch, rest, unknown, known, count if is_whole else None)


def _standing(
    epoch: Epoch,
    rest: Intervals,
    unknown: Intervals,
    known: int,
    total: int | None,
) -> Standing:
    """Return where a group stands; what was unknown and is left over is so still."""
    for start, stop in epoch.unknown:
        unknown = unknown + _between(rest, start, stop)
    unknown = _merged(unknown)
    rest = _without(rest, unknown)
    known = max(known, epoch.known, *(stop for _, stop in unknown))
    return Standing(_merged(rest), unknown, known, total)


def _known(count: int, left: Intervals) -> int:
    """Return behind which of `count` members none has left."""
    return left[-1][0] if left and left[-1][1] == count else count


def _open_at(ranges: Intervals) -> int:
    """Return where the last of ranges begins, if it has no end; else 0."""
    return ranges[-1][0] if ranges and ranges[-1][1] == MOST else 0


def _unmarked(epoch: Epoch) -> Intervals:
    """Return what may have left, and no mark tells of it."""
    ranges = ((max(start, epoch.low), stop) for start, stop in epoch.generic)
    named = [one for one in ranges if one[0] < one[1]]
    return [part for start, stop in named for part in _between(epoch.rest, start, stop)]


def _merged(ranges: Intervals) -> Intervals:
    """Return ranges ascending and apart that have the same members."""
    merged: Intervals = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], stop)
        else:
            merged.append((start, stop))
    return merged


def _without(ranges: Intervals, others: Intervals) -> Intervals:
    """Return the parts of ranges that are not in others."""
    for start, stop in others:
        ranges = [
            part
            for one in ranges
            for part in ((one[0], min(one[1], start)), (max(one[0], stop), one[1]))
            if part[0] < part[1]
        ]
    return ranges


def _between(ranges: Intervals, start: int, stop: int) -> Intervals:
    """Return the parts of ranges between two members."""
    parts = ((max(one, start), min(other, stop)) for one, other in ranges)
    return [part for part in parts if part[0] < part[1]]


def _intervals(pairs: Any) -> Intervals:
    """Return ranges as they were kept.

    Raises:
        ValueError: They are none.
    """
    found = [(start, stop) for start, stop in pairs]
    flat = [bound for one in found for bound in one]
    if not all(isinstance(bound, int) for bound in flat) or sorted(flat) != flat:
        msg = f"no ranges: {pairs!r}"
        raise ValueError(msg)
    return found
